package eno

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
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
	// RestartsAnnotation counts the rollouts that were asked for. It sits in
	// the pod template, so each new count is a new template.
	RestartsAnnotation = "k8s-synth.io/restarts"
	// GenerationAnnotation holds the topology's generation on its ConfigMap,
	// and tags the synthesizer's result in the composition's status.
	GenerationAnnotation = "k8s-synth.io/generation"

	// ConfigMapName is the topology's ConfigMap, ConfigMapKey the key of its
	// text, InputKey the input's name at the synthesizer.
	ConfigMapName = "topology"
	ConfigMapKey  = "topology.yaml"
	InputKey      = "topology"
	// SynthesizerName and CompositionName are the two Eno objects that turn
	// the ConfigMap into Deployments and Pods.
	SynthesizerName = "k8s-synth-topology"
	CompositionName = "topology"
	// SynthesizerImage is a name only where no kubelet runs: the synthesizer
	// pod's command is executed as a local process then.
	SynthesizerImage = "k8s-synth/topology-synthesizer"
	// SynthesizerCommand is the program that Eno's executor looks for on PATH.
	SynthesizerCommand = "topology-synthesizer"

	// ReconcileInterval is how often Eno compares each object with the
	// topology: without it, drift is never repaired.
	ReconcileInterval = "1s"
)

// imagePattern follows the reference grammar of container images closely
// enough to catch what a node would refuse.
var imagePattern = regexp.MustCompile(`^[a-z0-9][a-zA-Z0-9._-]*(:[0-9]+)?(/[a-z0-9][a-z0-9._-]*)*(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`)

// ErrInvalidTopology is in the chain of every error of Validate.
var ErrInvalidTopology = errors.New("invalid topology")

// Validate checks a topology and returns every fault that it finds, each
// naming its place: "deployments[1].replicas: 17 is over 16".
func Validate(t mapping.Topology) error {
	var faults []string
	fault := func(place, format string, args ...any) {
		faults = append(faults, place+": "+fmt.Sprintf(format, args...))
	}
	switch {
	case t.Version > mapping.TopologyVersion:
		fault("version", "%d is later than %d, the last one this program knows; use a newer k8s-synth", t.Version, mapping.TopologyVersion)
	case t.Version < 1:
		fault("version", "%d is not a version; write %d", t.Version, mapping.TopologyVersion)
	}
	if t.Generation < 0 {
		fault("generation", "%d is negative", t.Generation)
	}
	if e := validation.IsDNS1123Label(t.Namespace); len(e) > 0 {
		fault("namespace", "%q: %s", t.Namespace, e[0])
	}
	if _, err := t.Patch(); err != nil {
		faults = append(faults, strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	if len(faults) > 0 {
		return fmt.Errorf("%w: %s", ErrInvalidTopology, strings.Join(faults, "; "))
	}
	return nil
}

// Encode returns the text of a topology as it is published.
func Encode(t mapping.Topology) (string, error) {
	text, err := yaml.Marshal(t)
	if err != nil {
		return "", fmt.Errorf("topology %d as YAML: %w", t.Generation, err)
	}
	return string(text), nil
}

// Decode reads a topology from its ConfigMap. Unknown fields are errors, so
// that a slip of a hand with kubectl edit is told and not ignored. An empty
// namespace becomes the ConfigMap's.
func Decode(cm *corev1.ConfigMap) (mapping.Topology, error) {
	var t mapping.Topology
	if cm == nil {
		return t, fmt.Errorf("%w: there is no ConfigMap %q", ErrInvalidTopology, ConfigMapName)
	}
	text, ok := cm.Data[ConfigMapKey]
	if !ok {
		return t, fmt.Errorf("%w: ConfigMap %s/%s has no key %q", ErrInvalidTopology, cm.Namespace, cm.Name, ConfigMapKey)
	}
	if err := yaml.UnmarshalStrict([]byte(text), &t); err != nil {
		return t, fmt.Errorf("%w: ConfigMap %s/%s, key %q: %s", ErrInvalidTopology, cm.Namespace, cm.Name, ConfigMapKey, oneLine(err))
	}
	if t.Namespace == "" {
		t.Namespace = cm.Namespace
	}
	return t, nil
}

// oneLine joins what the YAML reader tells in several lines.
func oneLine(err error) string {
	return strings.Join(strings.Fields(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: ")), " ")
}

// seconds formats a lifecycle's duration for its annotation.
func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}
