package main

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/Azure/eno/pkg/functiontest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

// TestSynthesizeSnapshots compares the objects of each topology with a file.
// ENO_GEN_SNAPSHOTS=1 writes the files anew.
func TestSynthesizeSnapshots(t *testing.T) {
	// Eno's assertion passes over scenarios without a file, so look for them.
	scenarios, err := filepath.Glob("testdata/topologies/*.yaml")
	if err != nil || len(scenarios) == 0 {
		t.Fatalf("no topologies: %v", err)
	}
	for _, s := range scenarios {
		if _, err := os.Stat(filepath.Join("testdata/objects", filepath.Base(s))); err != nil {
			t.Errorf("%s has no snapshot: %v", s, err)
		}
	}
	assert := functiontest.AssertionChain(
		functiontest.LoadSnapshots[eno.Inputs](t, "testdata/objects"),
		functiontest.ValidateResourceMeta[eno.Inputs](),
		wellFormed,
	)
	functiontest.Evaluate(t, eno.Synthesize, functiontest.LoadScenarios(t, "testdata/topologies", assert)...)
}

// wellFormed checks what Eno and the rest of the instrument rely on.
func wellFormed(t *testing.T, s *functiontest.Scenario[eno.Inputs], outputs []client.Object) {
	again, err := eno.Synthesize(s.Inputs)
	if err != nil || !reflect.DeepEqual(outputs, again) {
		t.Errorf("the same topology gives other objects: %v", err)
	}
	for _, o := range outputs {
		where := fmt.Sprintf("%T %s", o, o.GetName())
		if o.GetObjectKind().GroupVersionKind().Empty() {
			t.Errorf("%s has no TypeMeta", where)
		}
		if o.GetNamespace() != "k8s-synth" {
			t.Errorf("%s is in namespace %q", where, o.GetNamespace())
		}
		if o.GetLabels()[eno.ManagedByLabel] != eno.ManagedBy || o.GetLabels()[eno.ModuleLabel] == "" {
			t.Errorf("%s has labels %v", where, o.GetLabels())
		}
		for key := range o.GetAnnotations() {
			// A readiness expression on an object that is taken away would
			// hold up every later group.
			if strings.HasPrefix(key, "eno.azure.io/readiness") && key != "eno.azure.io/readiness-group" {
				t.Errorf("%s has a readiness expression: %s", where, key)
			}
		}
		if g := o.GetAnnotations()["eno.azure.io/readiness-group"]; g != "0" {
			t.Errorf("%s is in readiness group %q", where, g)
		}
		if g := o.GetAnnotations()["eno.azure.io/reconcile-interval"]; g != "1s" {
			t.Errorf("%s has reconcile interval %q: drift would stay", where, g)
		}
	}
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
	if b := eno.Composition("x").Spec.Bindings; len(b) != 1 || b[0].Key != eno.InputKey || b[0].Resource.Namespace != "x" || b[0].Resource.Name != eno.ConfigMapName {
		t.Errorf("bindings %+v", b)
	}
	if !eno.Synthesizer().Spec.Refs[0].Defer {
		t.Error("the input is not deferred: a turning knob would starve the synthesis")
	}
}
