package eno

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/mapping"
)

func good() mapping.Topology {
	return mapping.Topology{
		Version: 1, Generation: 1, Namespace: "k8s-synth",
		Deployments: []mapping.TopologyDeployment{{Name: "web", Replicas: 3, Image: "k8s-synth/voice"}, {Name: "api", Replicas: 16, Image: "k8s-synth/voice"}},
		Pods:        []mapping.TopologyPod{{Name: "kick", Image: "k8s-synth/voice"}, {Name: "web", Image: "k8s-synth/voice"}},
		Cables:      []mapping.TopologyCable{{From: "deployment/web/claim 1", To: "pod/first/lifecycle"}},
	}
}

func TestValidate(t *testing.T) {
	if err := Validate(good()); err != nil {
		t.Fatalf("a good topology: %v", err)
	}
	for _, c := range []struct {
		name   string
		change func(*mapping.Topology)
		want   string
	}{
		{"later version", func(t *mapping.Topology) { t.Version = 2 }, "version: 2 is later than 1"},
		{"no version", func(t *mapping.Topology) { t.Version = 0 }, "version: 0 is not a version"},
		{"negative generation", func(t *mapping.Topology) { t.Generation = -1 }, "generation: -1"},
		{"namespace", func(t *mapping.Topology) { t.Namespace = "K8S" }, `namespace: "K8S"`},
		{"no namespace", func(t *mapping.Topology) { t.Namespace = "" }, `namespace: ""`},
		{"replicas over", func(t *mapping.Topology) { t.Deployments[1].Replicas = 17 }, "deployments[1].replicas: 17 is over 16"},
		{"replicas under", func(t *mapping.Topology) { t.Deployments[0].Replicas = -1 }, "deployments[0].replicas: -1 is under 0"},
		{"name", func(t *mapping.Topology) { t.Deployments[0].Name, t.Cables = "Web_1", nil }, `deployments[0].name: "Web_1"`},
		{"no name", func(t *mapping.Topology) { t.Pods[1].Name = "" }, `pods[1].name: ""`},
		{"long name", func(t *mapping.Topology) { t.Pods[0].Name = strings.Repeat("a", 51) }, "has 51 characters, at most 50 fit"},
		{"duplicate", func(t *mapping.Topology) { t.Deployments[1].Name = "web" }, `deployments[1].name: "web" is the name of deployments[0] already`},
		{"duplicate pod", func(t *mapping.Topology) { t.Pods[1].Name = "kick" }, `pods[1].name: "kick" is the name of pods[0] already`},
		{"image", func(t *mapping.Topology) { t.Deployments[0].Image = "a b" }, `deployments[0].image: "a b"`},
		{"no image", func(t *mapping.Topology) { t.Pods[0].Image = "" }, `pods[0].image: ""`},
		{"strategy", func(t *mapping.Topology) { t.Deployments[0].Strategy = "Canary" }, `deployments[0].strategy: "Canary" is neither`},
		{"surge", func(t *mapping.Topology) { t.Deployments[0].MaxSurge = 17 }, "deployments[0].maxSurge: 17"},
		{"unavailable", func(t *mapping.Topology) { t.Deployments[0].MaxUnavailable = -1 }, "deployments[0].maxUnavailable: -1"},
		{"restarts", func(t *mapping.Topology) { t.Deployments[0].Restarts = -1 }, "deployments[0].restarts: -1"},
		{"start", func(t *mapping.Topology) { t.Deployments[0].Lifecycle = &mapping.Lifecycle{Start: -1} }, "deployments[0].lifecycle.start: -1"},
		{"not a number", func(t *mapping.Topology) { t.Pods[0].Lifecycle = &mapping.Lifecycle{Jitter: math.NaN()} }, "pods[0].lifecycle.jitter: NaN"},
		{"hours", func(t *mapping.Topology) { t.Pods[0].Lifecycle = &mapping.Lifecycle{Stop: 1e9} }, "pods[0].lifecycle.stop: 1e+09"},
		{"cable", func(t *mapping.Topology) { t.Cables[0].To = "pod/first" }, `cables[0].to: "pod/first" is not kind/name/jack`},
		{"cable from nowhere", func(t *mapping.Topology) { t.Cables[0].From = "deployment/gone/claim 1" }, `cables[0].from: there is no deployment "gone"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology := good()
			c.change(&topology)
			err := Validate(topology)
			if !errors.Is(err, ErrInvalidTopology) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if objects, err := Objects(topology); err == nil || objects != nil {
				t.Errorf("it was synthesized all the same: %v", objects)
			}
		})
	}
	both := good()
	both.Version, both.Deployments[0].Replicas = 9, 99
	if err := Validate(both); err == nil || !strings.Contains(err.Error(), "version") || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("two faults give %v, want both", err)
	}
}

func TestDecode(t *testing.T) {
	cm := func(text string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ConfigMapName, Namespace: "k8s-synth"}, Data: map[string]string{ConfigMapKey: text}}
	}
	for text, want := range map[string]string{
		"version: 1\nreplica: 3":                       "replica",
		"version: [":                                   "topology.yaml",
		"version: 1\nversion: 1":                       "already set",
		"deployments: [{name: a, replicas: 3.5}]":      "replicas",
		"version: 1\ndeployments: {name: a}":           "deployments",
		"version: 1\ndeployments: [{lifecycle: 1s}]":   "lifecycle",
		"version: 1\npods:\n  - name: a\n\timage: x\n": "topology.yaml",
	} {
		if _, err := Decode(cm(text)); !errors.Is(err, ErrInvalidTopology) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want an error with %q", text, err, want)
		}
	}
	if _, err := Decode(nil); !errors.Is(err, ErrInvalidTopology) {
		t.Errorf("no ConfigMap gives %v", err)
	}
	if _, err := Decode(&corev1.ConfigMap{}); !errors.Is(err, ErrInvalidTopology) {
		t.Errorf("an empty ConfigMap gives %v", err)
	}
	in := good()
	text, err := Encode(in)
	if err != nil {
		t.Fatal(err)
	}
	out, err := Decode(cm(text))
	if err != nil || !reflect.DeepEqual(in, out) {
		t.Errorf("there and back: %v\n%+v\n%+v", err, in, out)
	}
}

// FuzzDecode looks for texts that the synthesizer cannot take.
func FuzzDecode(f *testing.F) {
	text, err := Encode(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("version: 1\ndeployments: [{name: a, replicas: -1}]")
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := Synthesize(Inputs{Topology: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}, Data: map[string]string{ConfigMapKey: text}}})
		if err == nil && objects == nil {
			t.Error("neither objects nor an error")
		}
	})
}
