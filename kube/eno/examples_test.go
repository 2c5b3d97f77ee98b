package eno

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

var update = flag.Bool("update", false, "write the schema and the objects of the examples anew")

const schemaFile = "../topology.schema.json"

func TestSchemaIsCurrent(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, Schema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(schemaFile)
	if err != nil || !bytes.Equal(have, Schema()) {
		t.Errorf("%s is not what the declarations of the modules say (%v); run this test with -update", schemaFile, err)
	}
}

// schema compiles the published file.
func schema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	s, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// instance is a text as a validator of JSON Schema takes it.
func instance(t *testing.T, text []byte) any {
	t.Helper()
	js, err := yaml.YAMLToJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(js))
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func examples(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../examples/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d examples: %v", len(files), err)
	}
	return files
}

// TestExamples holds each published example to the schema, to Validate and to
// the file of its objects.
func TestExamples(t *testing.T) {
	s := schema(t)
	for _, file := range examples(t) {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text := read(t, file)
			if !bytes.HasPrefix(text, []byte("# ")) {
				t.Error("it does not begin with a comment that says what it shows")
			}
			if err := s.Validate(instance(t, text)); err != nil {
				t.Errorf("the schema refuses it: %v", err)
			}
			topology, faults := Check(text, "k8s-synth")
			if len(faults) > 0 {
				t.Fatalf("Validate refuses it: %v", faults)
			}
			objects, err := Objects(topology)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Objects(topology)
			if err != nil || !reflect.DeepEqual(objects, again) {
				t.Errorf("the same topology gives other objects: %v", err)
			}
			wellFormed(t, objects)
			got, err := yaml.Marshal(&objects)
			if err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("../examples/objects", filepath.Base(file))
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if want := read(t, golden); !bytes.Equal(want, got) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}

			// What is published is the same topology again.
			encoded, err := Encode(topology)
			if err != nil {
				t.Fatal(err)
			}
			back, faults := Check([]byte(encoded), "")
			if len(faults) > 0 || !reflect.DeepEqual(back, topology) {
				t.Errorf("there and back: %v\n%+v\n%+v", faults, topology, back)
			}
			if err := s.Validate(instance(t, []byte(encoded))); err != nil {
				t.Errorf("the schema refuses what is published: %v", err)
			}
		})
	}
	goldens, err := filepath.Glob("../examples/objects/*.yaml")
	if err != nil || len(goldens) != len(examples(t)) {
		t.Errorf("%d files of objects for %d examples: %v", len(goldens), len(examples(t)), err)
	}
}

// wellFormed checks what Eno and the rest of the instrument rely on.
func wellFormed(t *testing.T, objects []client.Object) {
	t.Helper()
	for _, o := range objects {
		where := fmt.Sprintf("%T %s", o, o.GetName())
		if o.GetObjectKind().GroupVersionKind().Empty() {
			t.Errorf("%s has no TypeMeta", where)
		}
		if o.GetNamespace() != "k8s-synth" {
			t.Errorf("%s is in namespace %q", where, o.GetNamespace())
		}
		if o.GetLabels()[ManagedByLabel] != ManagedBy || o.GetLabels()[ModuleLabel] == "" {
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

// TestExamplesShowEveryModuleAndCable keeps the set complete: a module, a param
// of the topology or a kind of cable that is new needs its example.
func TestExamplesShowEveryModuleAndCable(t *testing.T) {
	kinds, params, cables := map[string]bool{}, map[string]bool{}, map[string]bool{}
	digits := regexp.MustCompile(`_\d$`)
	for _, file := range examples(t) {
		topology, _ := Check(read(t, file), "k8s-synth")
		for id, m := range topology.Modules {
			kinds[id.Kind()] = true
			for name := range m {
				params[id.Kind()+"."+name] = true
			}
		}
		for _, text := range topology.Cables {
			c, err := mapping.ParseCable(text)
			if err != nil {
				t.Fatal(err)
			}
			end := func(r instrument.JackRef) string {
				return r.Module.Kind() + "/" + digits.ReplaceAllString(r.Jack, "")
			}
			cables[end(c.From)+" -> "+end(c.To)] = true
		}
	}
	for _, s := range instrument.Specs() {
		if !s.Cluster() {
			continue
		}
		if !kinds[s.Kind] {
			t.Errorf("no example has the module %s", s.Kind)
		}
		for _, p := range s.Params {
			name := s.Kind + "." + p.Name
			lifecycle := strings.HasSuffix(name, "_delay") || strings.HasSuffix(name, "_jitter")
			if p.Cluster && !params[name] && !lifecycle && name != "pod.cpu_request" && name != "job.image" {
				t.Errorf("no example sets %s", name)
			}
		}
	}
	for _, cable := range []string{
		"deployment/claim -> pod/lifecycle", "pod/ready -> deployment/ready", "deployment/pods -> service/selector",
		"pod/ready -> service/selector", "service/endpoint -> pod/request", "ingress/route -> service/request",
		"deployment/pods -> node/load", "pod/load -> node/load", "controller/act -> deployment/replicas_cv",
		"deployment/rollout -> pod/lifecycle", "hpa/scale -> deployment/replicas_cv",
	} {
		if !cables[cable] {
			t.Errorf("no example has a cable %s", cable)
		}
	}
}

// TestRefused holds the schema and Validate to refusing the same. The first
// line of each file says what each of them must say.
func TestRefused(t *testing.T) {
	s := schema(t)
	files, err := filepath.Glob("testdata/refused/*.yaml")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files: %v", len(files), err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text := read(t, file)
			head, _, _ := strings.Cut(strings.TrimPrefix(string(text), "# "), "\n")
			schemaSays, weSay, _ := strings.Cut(head, " | ")
			err := s.Validate(instance(t, text))
			var ve *jsonschema.ValidationError
			if !errors.As(err, &ve) || !strings.Contains(err.Error(), schemaSays) {
				t.Errorf("the schema says %v, want %q", err, schemaSays)
			}
			topology, faults := Check(text, "k8s-synth")
			if !slices.ContainsFunc(faults, func(f Fault) bool { return strings.HasPrefix(f.String(), weSay) }) {
				t.Errorf("Check says %v, want %q", faults, weSay)
			}
			if objects, err := Objects(topology); err == nil && len(faults) == 0 {
				t.Errorf("it was synthesized all the same: %v", objects)
			}
		})
	}
}

// TestSchemaTakesTheNamesThatThePatchTakes compares the one thing that the
// schema has of its own.
func TestSchemaTakesTheNamesThatThePatchTakes(t *testing.T) {
	s := schema(t)
	for _, name := range []string{"a", "0", "a-b", "web-1", strings.Repeat("a", 42), strings.Repeat("a", 43), "-a", "a-", "A", "a_b", "a.b", "", "ä"} {
		topology := mapping.Topology{Version: 2, Namespace: "n", Modules: map[instrument.ModuleID]mapping.TopologyModule{instrument.ModuleID("deployment/" + name): {}}}
		js, err := json.Marshal(topology)
		if err != nil {
			t.Fatal(err)
		}
		_, ours := topology.Patch()
		theirs := s.Validate(instance(t, js))
		if (ours == nil) != (theirs == nil) {
			t.Errorf("%q: the patch says %v, the schema %v", name, ours, theirs)
		}
	}
}
