package kube

import (
	"strconv"
	"strings"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// revisionOf reads an object's resource version, which is the store's revision
// at its last change, and 0 where it is not a number.
func revisionOf(m metav1.Object) int64 {
	n, err := strconv.ParseInt(m.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func trimPod(p *corev1.Pod, at Stamp) *Pod {
	out := &Pod{
		Stamp:     at,
		Namespace: p.Namespace,
		Name:      p.Name,
		UID:       string(p.UID),
		Replica:   p.Labels[appsv1.DefaultDeploymentUniqueLabelKey],
		Node:      p.Spec.NodeName,
		Phase:     string(p.Status.Phase),
		Reason:    podReason(p),
		Deleting:  p.DeletionTimestamp != nil,
	}
	out.Owner = podOwner(p, out.Replica)
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			out.Ready = c.Status == corev1.ConditionTrue
		}
	}
	for i := range p.Status.ContainerStatuses {
		out.Restarts += int64(p.Status.ContainerStatuses[i].RestartCount)
	}
	return out
}

// podOwner finds the Deployment through the ReplicaSet's name, which is the
// Deployment's followed by the pod template hash: the Deployment controller
// makes it so, and it saves a watch of every ReplicaSet.
func podOwner(p *corev1.Pod, hash string) string {
	for _, ref := range p.OwnerReferences {
		if ref.Controller == nil || !*ref.Controller {
			continue
		}
		if ref.Kind == "ReplicaSet" && hash != "" {
			if name, ok := strings.CutSuffix(ref.Name, "-"+hash); ok {
				return name
			}
		}
		return ref.Name
	}
	if name, ok := strings.CutPrefix(p.Labels[eno.ModuleLabel], mapping.KindPod+"."); ok {
		return name
	}
	return p.Name
}

// podReason tells why a pod is not well, in the word that kubectl would show:
// the pod's own (Evicted), a container's end (OOMKilled, Error) or what holds
// it up (CrashLoopBackOff), or why it has no node (Unschedulable). A container
// that was killed and runs again without being ready still has the reason of
// its last end, because many are started again too fast for any watch to see
// them dead.
func podReason(p *corev1.Pod) string {
	if p.Status.Reason != "" {
		return p.Status.Reason
	}
	reason := ""
	for _, list := range [][]corev1.ContainerStatus{p.Status.InitContainerStatuses, p.Status.ContainerStatuses} {
		for i := range list {
			c := &list[i]
			last := c.LastTerminationState.Terminated
			switch {
			case c.State.Terminated != nil && c.State.Terminated.Reason != "Completed":
				reason = c.State.Terminated.Reason
				if reason == "" {
					reason = "Error"
				}
			case c.State.Waiting != nil && c.State.Waiting.Reason != "ContainerCreating" && c.State.Waiting.Reason != "PodInitializing" && c.State.Waiting.Reason != "":
				reason = c.State.Waiting.Reason
			case c.State.Running != nil && !c.Ready && last != nil && last.Reason != "Completed":
				reason = last.Reason
			}
		}
	}
	if reason != "" {
		return reason
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse && c.Reason == corev1.PodReasonUnschedulable {
			return c.Reason
		}
	}
	return ""
}

func trimDeployment(d *appsv1.Deployment, at Stamp) *Deployment {
	out := &Deployment{
		Stamp:      at,
		Namespace:  d.Namespace,
		Name:       d.Name,
		UID:        string(d.UID),
		Replicas:   1, // the API's default
		ReadyPods:  int64(d.Status.ReadyReplicas),
		Updated:    int64(d.Status.UpdatedReplicas),
		Generation: d.Generation,
		Observed:   d.Status.ObservedGeneration,
		Deleting:   d.DeletionTimestamp != nil,
	}
	if d.Spec.Replicas != nil {
		out.Replicas = int64(*d.Spec.Replicas)
	}
	return out
}

func trimNode(n *corev1.Node, at Stamp) *Node {
	out := &Node{Stamp: at, Name: n.Name, UID: string(n.UID), Cordoned: n.Spec.Unschedulable, Deleting: n.DeletionTimestamp != nil}
	for _, c := range n.Status.Conditions {
		on := c.Status == corev1.ConditionTrue
		switch c.Type {
		case corev1.NodeReady:
			out.Ready = on
		case corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure:
			out.Pressure = out.Pressure || on
		}
	}
	return out
}

func trimComposition(c *apiv1.Composition, at Stamp) *Composition {
	out := &Composition{
		Stamp:     at,
		Namespace: c.Namespace,
		Name:      c.Name,
		UID:       string(c.UID),
		Reason:    compositionError(c),
		Deleting:  c.DeletionTimestamp != nil,
	}
	if current := c.Status.CurrentSynthesis; current != nil {
		for _, r := range current.Results {
			if g := r.Tags[eno.GenerationAnnotation]; g != "" {
				out.Synthesis = g
			}
		}
		out.Ready = current.Ready != nil && c.Status.InFlightSynthesis == nil && out.Reason == ""
	}
	return out
}

// compositionError is the error of the synthesis under way or, where there is
// none, what Eno's summary shows, such as an object that the API refused.
func compositionError(c *apiv1.Composition) string {
	if s := c.Status.InFlightSynthesis; s != nil {
		for _, r := range s.Results {
			if r.Severity == severityError {
				return r.Message
			}
		}
	}
	if s := c.Status.Simplified; s != nil {
		return s.Error
	}
	return ""
}

// severityError is how a KRM function marks a result that is an error.
const severityError = "error"

// strip takes from an object what trimming never looks at, in place, so that a
// first list of thousands does not hold their whole specs in memory at once.
func strip(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Pod:
		o.ManagedFields, o.Annotations, o.Finalizers = nil, nil, nil
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName}
	case *appsv1.Deployment:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas}
		o.Status.Conditions = nil
	case *corev1.Node:
		o.ManagedFields, o.Annotations, o.Labels = nil, nil, nil
		o.Spec = corev1.NodeSpec{Unschedulable: o.Spec.Unschedulable}
		o.Status = corev1.NodeStatus{Conditions: o.Status.Conditions}
	}
	return obj, nil
}
