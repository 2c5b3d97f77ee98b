package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/Azure/eno/pkg/functiontest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

// TestWithEnosKit compares the objects of each topology with its file by Eno's
// own assertions, the strict check of Eno's annotations among them.
func TestWithEnosKit(t *testing.T) {
	functiontest.Evaluate(t, eno.Synthesize, functiontest.LoadScenarios(t, "testdata/topologies", functiontest.AssertionChain(
		functiontest.LoadSnapshots[eno.Inputs](t, "testdata/objects"),
		functiontest.ValidateResourceMeta[eno.Inputs](),
		func(t *testing.T, s *functiontest.Scenario[eno.Inputs], outputs []client.Object) {
			wellFormed(t, s.Inputs, outputs)
		},
	))...)
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
