package eno

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// Labels, annotations and names that the publisher, the synthesizer and the
// simulated nodes agree on. Eno removes its own annotations and owner
// references from what it applies, so everything carries ours.
const (
	// ManagedByLabel with the value ManagedBy marks everything that belongs
	// to the instrument. Nothing without it is ever changed or deleted.
	ManagedByLabel = "app.kubernetes.io/managed-by"
	ManagedBy      = "k8s-synth"
	// ModuleLabel names the module that an object stands for, as kind.name:
	// "deployment.web", "pod.kick".
	ModuleLabel = "k8s-synth.io/module"
	// Durations in Go's notation that the simulated nodes read from a pod:
	// from scheduled to running, from running to ready, from deletion to gone,
	// and what is added at random to each.
	StartAnnotation  = "k8s-synth.io/start"
	ReadyAnnotation  = "k8s-synth.io/ready"
	StopAnnotation   = "k8s-synth.io/stop"
	JitterAnnotation = "k8s-synth.io/jitter"
	// CompleteAnnotation is the duration that a Job's simulated pods take.
	CompleteAnnotation = "k8s-synth.io/complete"
	// RestartsAnnotation counts the rollouts that were asked for. It sits in
	// the pod template, so each new count is a new template.
	RestartsAnnotation = "k8s-synth.io/restarts"
	// PanelLabel is patched onto the replica that a claimed Pod panel shows;
	// its value is the panel's name.
	PanelLabel = "k8s-synth.io/panel"
	// SelectorAnnotation holds, on a Service whose pods spec.selector cannot
	// name, the whole label selector in Kubernetes' own notation. Its
	// EndpointSlices are the kube daemon's: they must name a manager of their
	// own, since the slices of Kubernetes' controller stay there, empty.
	SelectorAnnotation = "k8s-synth.io/selector"
	// NothingLabel is carried by no pod. A Service that selects by it has no
	// endpoints, neither now nor any left over, whereas one without a selector
	// would keep those it had.
	NothingLabel = "k8s-synth.io/nothing"
	// GenerationAnnotation holds the topology's generation on its ConfigMap,
	// and tags the synthesizer's result in the composition's status.
	GenerationAnnotation = "k8s-synth.io/generation"

	// ConfigMapName is the topology's ConfigMap, ConfigMapKey the key of its
	// text, InputKey the input's name at the synthesizer.
	ConfigMapName = "topology"
	ConfigMapKey  = "topology.yaml"
	InputKey      = "topology"
	// SynthesizerName and CompositionName are the two Eno objects that turn
	// the ConfigMap into objects.
	SynthesizerName = "k8s-synth-topology"
	CompositionName = "topology"
	// SynthesizerImage is a name only where no kubelet runs: the synthesizer
	// pod's command is executed as a local process then.
	SynthesizerImage = "ghcr.io/k8s-synth/topology-synthesizer:0.1.0"
	// SynthesizerCommand is the program that Eno's executor looks for on PATH.
	SynthesizerCommand = "topology-synthesizer"

	// ReconcileInterval is how often Eno compares each object with the
	// topology: without it, drift is never repaired.
	ReconcileInterval = "1s"

	// IngressClass is that of every Ingress: the one that the kube daemon
	// serves.
	IngressClass = "k8s-synth"
)

// Encode returns the text of a topology as it is published.
func Encode(t mapping.Topology) (string, error) {
	text, err := yaml.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("topology %d as YAML: %w", t.Generation, err)
	}
	return string(text), nil
}

// Load reads a topology from its ConfigMap and checks it; every error that
// there is names its line. Unknown fields are errors, so that a slip of a hand
// with kubectl edit is told and not ignored. An empty namespace becomes the
// ConfigMap's. A topology of version 1 is converted.
func Load(cm *corev1.ConfigMap) (mapping.Topology, error) {
	text, err := textOf(cm)
	if err != nil {
		return mapping.Topology{}, err
	}
	t, faults := Check([]byte(text), cm.Namespace)
	return t, invalid(place(cm), faults)
}

func textOf(cm *corev1.ConfigMap) (string, error) {
	if cm == nil {
		return "", fmt.Errorf("%w: there is no ConfigMap %q", ErrInvalidTopology, ConfigMapName)
	}
	text, ok := cm.Data[ConfigMapKey]
	if !ok {
		return "", fmt.Errorf("%w: ConfigMap %s/%s has no key %q", ErrInvalidTopology, cm.Namespace, cm.Name, ConfigMapKey)
	}
	return text, nil
}

func place(cm *corev1.ConfigMap) string {
	return fmt.Sprintf("ConfigMap %s/%s, key %q", cm.Namespace, cm.Name, ConfigMapKey)
}

// seconds formats a duration for its annotation.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// oneLine joins what the YAML reader tells in several lines.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }
