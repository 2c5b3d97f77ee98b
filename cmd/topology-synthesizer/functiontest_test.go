package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Azure/eno/pkg/functiontest"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

const examples = "../../kube/examples"

// TestWithEnosKit compares the objects of each published example with its file
// by Eno's own assertions, the strict check of Eno's annotations among them:
// an override that Eno could not read would be told here.
func TestWithEnosKit(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(examples, "*.yaml"))
	if err != nil || len(files) < 12 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	assertion := functiontest.AssertionChain(
		functiontest.LoadSnapshots[eno.Inputs](t, filepath.Join(examples, "objects")),
		functiontest.ValidateResourceMeta[eno.Inputs](),
	)
	var scenarios []functiontest.Scenario[eno.Inputs]
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		// The kit passes a scenario over that has no snapshot.
		if _, err := os.Stat(filepath.Join(examples, "objects", name+".yaml")); err != nil {
			t.Errorf("the example has no objects: %v", err)
		}
		scenarios = append(scenarios, functiontest.Scenario[eno.Inputs]{
			Name:      name,
			Assertion: assertion,
			Inputs: eno.Inputs{Topology: &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Name: eno.ConfigMapName, Namespace: "k8s-synth"},
				Data:       map[string]string{eno.ConfigMapKey: string(text)},
			}},
		})
	}
	functiontest.Evaluate(t, eno.Synthesize, scenarios...)
}

func TestSynthesizerRefsMatchTheInputs(t *testing.T) {
	text, err := yaml.Marshal(eno.Synthesizer())
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "synthesizer.yaml")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	functiontest.InputsMatchSynthesizerRefs(t, eno.Inputs{}, file, functiontest.KeyMatchStrict)
}
