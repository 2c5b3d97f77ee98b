package kube

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	apiv1 "github.com/Azure/eno/api/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

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

// shared returns a string that equal ones share: thousands of pods are on
// hundreds of nodes.
func shared(s string) string {
	if s == "" {
		return ""
	}
	return unique.Make(s).Value()
}

func trimPod(p *corev1.Pod, at Stamp) *Pod {
	out := &Pod{
		Stamp:     at,
		Namespace: shared(p.Namespace),
		Name:      p.Name,
		UID:       string(p.UID),
		Replica:   shared(p.Labels[appsv1.DefaultDeploymentUniqueLabelKey]),
		Node:      shared(p.Spec.NodeName),
		Phase:     shared(string(p.Status.Phase)),
		Reason:    shared(podReason(p)),
		Deleting:  p.DeletionTimestamp != nil,
		IP:        p.Status.PodIP,
	}
	out.Owner = shared(podOwner(p, out.Replica))
	if p.Labels[eno.ManagedByLabel] == eno.ManagedBy {
		out.Labels = p.Labels
	}
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
	for _, c := range d.Status.Conditions {
		if c.Type == appsv1.DeploymentReplicaFailure && c.Status == corev1.ConditionTrue {
			out.Reason = c.Reason
		}
	}
	return out
}

func trimNode(n *corev1.Node, at Stamp) *Node {
	out := &Node{Stamp: at, Name: n.Name, UID: string(n.UID), Cordoned: n.Spec.Unschedulable, Deleting: n.DeletionTimestamp != nil,
		Capacity: n.Status.Allocatable.Cpu().MilliValue(), Labels: n.Labels}
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

func trimService(s *corev1.Service, at Stamp) *Service {
	out := &Service{
		Stamp:     at,
		Namespace: shared(s.Namespace),
		Name:      s.Name,
		UID:       string(s.UID),
		Deleting:  s.DeletionTimestamp != nil,
		ClusterIP: s.Spec.ClusterIP,
		Selector:  s.Spec.Selector,
	}
	if s.Labels[eno.ManagedByLabel] == eno.ManagedBy {
		out.Labels = s.Labels
	}
	for _, p := range s.Spec.Ports {
		out.Ports = append(out.Ports, ServicePort{Name: p.Name, Port: p.Port, Target: p.TargetPort.String()})
	}
	return out
}

func trimIngress(i *networkingv1.Ingress, at Stamp) *Ingress {
	out := &Ingress{Stamp: at, Namespace: shared(i.Namespace), Name: i.Name, UID: string(i.UID), Deleting: i.DeletionTimestamp != nil}
	if i.Spec.IngressClassName != nil {
		out.Class = *i.Spec.IngressClassName
	}
	var routes []string
	for _, rule := range i.Spec.Rules {
		if rule.HTTP == nil {
			continue
		}
		for _, p := range rule.HTTP.Paths {
			service := ""
			if p.Backend.Service != nil {
				service = p.Backend.Service.Name
			}
			path := p.Path
			if path == "" {
				path = "/"
			}
			// A comma in a path would look like the next route.
			routes = append(routes, strings.ReplaceAll(path, ",", "%2C")+"="+service)
		}
	}
	out.Routes = strings.Join(routes, ",")
	return out
}

func trimHPA(h *autoscalingv2.HorizontalPodAutoscaler, at Stamp) *HPA {
	out := &HPA{
		Stamp:      at,
		Namespace:  shared(h.Namespace),
		Name:       h.Name,
		UID:        string(h.UID),
		Current:    int64(h.Status.CurrentReplicas),
		Desired:    int64(h.Status.DesiredReplicas),
		Load:       hpaLoad(h),
		Generation: h.Generation,
		Deleting:   h.DeletionTimestamp != nil,
	}
	if h.Status.ObservedGeneration != nil {
		out.Observed = *h.Status.ObservedGeneration
	}
	for _, c := range h.Status.Conditions {
		if c.Type == autoscalingv2.ScalingLimited {
			out.Limited = c.Status == corev1.ConditionTrue
		}
	}
	return out
}

// hpaLoad is what is measured over its target: that of the CPU or, where the
// CPU is no target, the highest, because that is the one that scales. It is
// negative where nothing is measured.
func hpaLoad(h *autoscalingv2.HorizontalPodAutoscaler) float64 {
	load := -1.0
	for i := range h.Spec.Metrics {
		spec := &h.Spec.Metrics[i]
		target, cpu := hpaTarget(spec)
		for j := range h.Status.CurrentMetrics {
			current := hpaCurrent(spec, &h.Status.CurrentMetrics[j])
			if current == nil || target == nil {
				continue
			}
			share := metricRatio(current, target)
			if cpu && share >= 0 {
				return share
			}
			load = max(load, share)
		}
	}
	return load
}

// hpaTarget returns what a metric is to be, and whether it is that of the CPU.
func hpaTarget(m *autoscalingv2.MetricSpec) (target *autoscalingv2.MetricTarget, cpu bool) {
	switch {
	case m.Resource != nil:
		return &m.Resource.Target, m.Resource.Name == corev1.ResourceCPU
	case m.ContainerResource != nil:
		return &m.ContainerResource.Target, m.ContainerResource.Name == corev1.ResourceCPU
	case m.Pods != nil:
		return &m.Pods.Target, false
	case m.Object != nil:
		return &m.Object.Target, false
	case m.External != nil:
		return &m.External.Target, false
	}
	return nil, false
}

// hpaCurrent returns what a metric is, or nil where the status speaks of
// another one.
func hpaCurrent(m *autoscalingv2.MetricSpec, s *autoscalingv2.MetricStatus) *autoscalingv2.MetricValueStatus {
	switch {
	case m.Resource != nil && s.Resource != nil && m.Resource.Name == s.Resource.Name:
		return &s.Resource.Current
	case m.ContainerResource != nil && s.ContainerResource != nil && m.ContainerResource.Name == s.ContainerResource.Name && m.ContainerResource.Container == s.ContainerResource.Container:
		return &s.ContainerResource.Current
	case m.Pods != nil && s.Pods != nil && m.Pods.Metric.Name == s.Pods.Metric.Name:
		return &s.Pods.Current
	case m.Object != nil && s.Object != nil && m.Object.Metric.Name == s.Object.Metric.Name && m.Object.DescribedObject == s.Object.DescribedObject:
		return &s.Object.Current
	case m.External != nil && s.External != nil && m.External.Metric.Name == s.External.Metric.Name:
		return &s.External.Current
	}
	return nil
}

func metricRatio(current *autoscalingv2.MetricValueStatus, target *autoscalingv2.MetricTarget) float64 {
	switch {
	case target.AverageUtilization != nil && *target.AverageUtilization > 0 && current.AverageUtilization != nil:
		return float64(*current.AverageUtilization) / float64(*target.AverageUtilization)
	case target.AverageValue != nil && !target.AverageValue.IsZero() && current.AverageValue != nil:
		return current.AverageValue.AsApproximateFloat64() / target.AverageValue.AsApproximateFloat64()
	case target.Value != nil && !target.Value.IsZero() && current.Value != nil:
		return current.Value.AsApproximateFloat64() / target.Value.AsApproximateFloat64()
	}
	return -1
}

// trimCronJob trims a CronJob as of the given time of the clock, which is what
// its next tick is counted from.
func trimCronJob(c *batchv1.CronJob, at Stamp, clock time.Time) *CronJob {
	out := &CronJob{
		Stamp:     at,
		Namespace: shared(c.Namespace),
		Name:      c.Name,
		UID:       string(c.UID),
		Active:    int64(len(c.Status.Active)),
		Deleting:  c.DeletionTimestamp != nil,
		calendar:  calendarOf(c),
	}
	if c.Status.LastScheduleTime != nil {
		out.Tick = c.Status.LastScheduleTime.Time
	}
	out.Next = out.calendar.next(clock)
	return out
}

func trimJob(j *batchv1.Job, at Stamp) *Job {
	out := &Job{
		Stamp:     at,
		Namespace: shared(j.Namespace),
		Name:      j.Name,
		UID:       string(j.UID),
		Owner:     shared(jobOwner(j)),
		Active:    int64(j.Status.Active),
		Succeeded: int64(j.Status.Succeeded),
		Failed:    int64(j.Status.Failed),
		Deleting:  j.DeletionTimestamp != nil,
	}
	for _, c := range j.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			out.Complete = "true"
		case batchv1.JobFailed:
			out.Complete = "failed"
		}
	}
	return out
}

func jobOwner(j *batchv1.Job) string {
	for _, ref := range j.OwnerReferences {
		if ref.Controller != nil && *ref.Controller && ref.Kind == "CronJob" {
			return mapping.KindCronJob + "." + ref.Name
		}
	}
	module := j.Labels[eno.ModuleLabel]
	if name, ok := strings.CutPrefix(module, mapping.KindJob+"."); ok {
		return name
	}
	// A Job that was started by hand from a CronJob's template has its label.
	return module
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
	m, err := meta.Accessor(obj)
	if err != nil {
		return obj, nil
	}
	if _, ok := obj.(*unstructured.Unstructured); ok {
		return obj, nil
	}
	switch o := obj.(type) {
	case *corev1.ConfigMap:
		return obj, nil // the topology is told whole
	case *corev1.Pod:
		o.Spec = corev1.PodSpec{NodeName: o.Spec.NodeName}
	case *appsv1.Deployment:
		o.Labels = nil
		o.Spec = appsv1.DeploymentSpec{Replicas: o.Spec.Replicas}
		o.Status.Conditions = slices.DeleteFunc(o.Status.Conditions, func(c appsv1.DeploymentCondition) bool {
			return c.Type != appsv1.DeploymentReplicaFailure
		})
	case *corev1.Node:
		o.Spec = corev1.NodeSpec{Unschedulable: o.Spec.Unschedulable}
		o.Status = corev1.NodeStatus{
			Conditions:  o.Status.Conditions,
			Allocatable: corev1.ResourceList{corev1.ResourceCPU: *o.Status.Allocatable.Cpu()},
		}
	case *batchv1.CronJob:
		o.Spec.JobTemplate = batchv1.JobTemplateSpec{}
	case *batchv1.Job:
		o.Spec = batchv1.JobSpec{}
	}
	m.SetManagedFields(nil)
	m.SetAnnotations(nil)
	return obj, nil
}
