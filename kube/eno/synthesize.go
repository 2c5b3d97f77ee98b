package eno

import (
	"fmt"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Inputs are what Eno binds for one synthesis.
type Inputs struct {
	Topology *corev1.ConfigMap `json:"topology" eno_key:"topology"`
}

// Synthesize turns the topology ConfigMap into the objects that it asks for.
// It is pure: the same topology always gives the same objects in the same
// order. Its type is that of Eno's function.SynthFunc.
func Synthesize(in Inputs) ([]client.Object, error) {
	t, err := Decode(in.Topology)
	if err != nil {
		return nil, err
	}
	return Objects(t)
}

// Objects returns the Deployments and the bare Pods of a topology, each with
// its TypeMeta: Eno's writer leaves out, without a word, what has none and is
// not in its scheme. An invalid topology gives an error that names each place.
func Objects(t mapping.Topology) ([]client.Object, error) {
	if err := Validate(t); err != nil {
		return nil, err
	}
	var objects []client.Object
	for _, id := range t.IDs(mapping.KindDeployment) {
		objects = append(objects, deployment(t, id))
	}
	for _, id := range t.IDs(mapping.KindPod) {
		if t.Value(id, "hold") != 0 {
			objects = append(objects, pod(t, id))
		}
	}
	for _, o := range objects {
		if o.GetObjectKind().GroupVersionKind().Empty() {
			return nil, fmt.Errorf("%T %s/%s has no TypeMeta: Eno would drop it", o, o.GetNamespace(), o.GetName())
		}
	}
	return objects, nil
}

func deployment(t mapping.Topology, id instrument.ModuleID) *appsv1.Deployment {
	labels := moduleLabels(mapping.KindDeployment, id.Name())
	replicas, history := int32(t.Value(id, "replicas")), int32(2)
	out := &appsv1.Deployment{
		TypeMeta:   metav1.TypeMeta{APIVersion: "apps/v1", Kind: "Deployment"},
		ObjectMeta: meta(t, id.Name(), labels),
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas,
			// The selector is immutable, so it holds the one label that tells
			// this module from all others and nothing that could change.
			Selector:             &metav1.LabelSelector{MatchLabels: map[string]string{ModuleLabel: labels[ModuleLabel]}},
			Strategy:             strategy(t, id),
			RevisionHistoryLimit: &history,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: moduleLabels(mapping.KindDeployment, id.Name()), Annotations: lifecycle(t, id)},
				Spec:       podSpec(t.Word(id, "image")),
			},
		},
	}
	if n := int(t.Value(id, "restarts")); n > 0 {
		out.Spec.Template.Annotations[RestartsAnnotation] = strconv.Itoa(n)
	}
	return out
}

// strategy states both numbers of a rolling update always, so that server-side
// apply owns them and takes them away when the strategy becomes Recreate. Both
// at zero would be refused by the API, because nothing could ever move: then
// one pod more is allowed, and none fewer, so that no voice drops out.
func strategy(t mapping.Topology, id instrument.ModuleID) appsv1.DeploymentStrategy {
	if t.Word(id, "strategy") == string(appsv1.RecreateDeploymentStrategyType) {
		return appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType}
	}
	surge, unavailable := intstr.FromInt32(int32(t.Value(id, "max_surge"))), intstr.FromInt32(int32(t.Value(id, "max_unavailable")))
	if surge.IntValue() == 0 && unavailable.IntValue() == 0 {
		surge = intstr.FromInt32(1)
	}
	return appsv1.DeploymentStrategy{
		Type:          appsv1.RollingUpdateDeploymentStrategyType,
		RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &surge, MaxUnavailable: &unavailable},
	}
}

func pod(t mapping.Topology, id instrument.ModuleID) *corev1.Pod {
	out := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: meta(t, id.Name(), moduleLabels(mapping.KindPod, id.Name())),
		Spec:       podSpec(t.Word(id, "image")),
	}
	for k, v := range lifecycle(t, id) {
		out.Annotations[k] = v
	}
	return out
}

// podSpec is one container that needs nothing of the cluster but a place.
func podSpec(image string) corev1.PodSpec {
	no := false
	return corev1.PodSpec{
		AutomountServiceAccountToken: &no,
		EnableServiceLinks:           &no,
		Containers:                   []corev1.Container{{Name: "voice", Image: image}},
	}
}

// meta sets Eno's annotations, which it removes again from what it applies.
// One readiness group for all lets everything go out at once, because chains
// of groups double the latency at each step.
func meta(t mapping.Topology, name string, labels map[string]string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: t.Namespace,
		Labels:    labels,
		Annotations: map[string]string{
			"eno.azure.io/readiness-group":    "0",
			"eno.azure.io/reconcile-interval": ReconcileInterval,
		},
	}
}

func moduleLabels(kind, name string) map[string]string {
	return map[string]string{ManagedByLabel: ManagedBy, ModuleLabel: kind + "." + name}
}

// lifecycle returns the annotations that time simulated pods.
func lifecycle(t mapping.Topology, id instrument.ModuleID) map[string]string {
	return map[string]string{
		StartAnnotation: seconds(t.Value(id, "start_delay")), ReadyAnnotation: seconds(t.Value(id, "ready_delay")),
		StopAnnotation: seconds(t.Value(id, "stop_delay")), JitterAnnotation: seconds(t.Value(id, "delay_jitter")),
	}
}
