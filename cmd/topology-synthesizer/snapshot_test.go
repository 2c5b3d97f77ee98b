package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

var update = flag.Bool("update", false, "write the objects of the topologies anew")

// TestSnapshots compares the objects of each topology with a file.
func TestSnapshots(t *testing.T) {
	files, err := filepath.Glob("testdata/topologies/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no topologies: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var in eno.Inputs
			if err := yaml.UnmarshalStrict(text, &in); err != nil {
				t.Fatal(err)
			}
			outputs, err := eno.Synthesize(in)
			if err != nil {
				t.Fatal(err)
			}
			wellFormed(t, in, outputs)
			got, err := yaml.Marshal(&outputs)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata/objects", filepath.Base(file))
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(golden)
			if err != nil || string(want) != string(got) {
				t.Errorf("%v; got\n%s\nwant\n%s", err, got, want)
			}
		})
	}
}

// wellFormed checks what Eno and the rest of the instrument rely on.
func wellFormed(t *testing.T, in eno.Inputs, outputs []client.Object) {
	again, err := eno.Synthesize(in)
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

func TestEnoObjects(t *testing.T) {
	if b := eno.Composition("x").Spec.Bindings; len(b) != 1 || b[0].Key != eno.InputKey || b[0].Resource.Namespace != "x" || b[0].Resource.Name != eno.ConfigMapName {
		t.Errorf("bindings %+v", b)
	}
	if !eno.Synthesizer().Spec.Refs[0].Defer {
		t.Error("the input is not deferred: a turning knob would starve the synthesis")
	}
}
