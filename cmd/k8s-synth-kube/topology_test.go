package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

// topology runs the command and returns its exit code.
func topology(t *testing.T, stdin string, args ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	c := topologyCommand(strings.NewReader(stdin), &out, &errs)
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&errs)
	if err := c.ExecuteContext(t.Context()); err != nil {
		code = fail(&errs, err)
	}
	return out.String(), errs.String(), code
}

func TestTopologyValidate(t *testing.T) {
	files, err := filepath.Glob("../../kube/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	for _, file := range files {
		if out, errs, code := topology(t, "", "validate", file); code != 0 || !strings.HasPrefix(out, file+": ok: ") {
			t.Errorf("%s: exit code %d, %s%s", file, code, out, errs)
		}
	}
	_, errs, code := topology(t, "version: 2\nmodules:\n  deployment/web:\n    replicas: 17\nx: 1\n", "validate", "-")
	if code != 1 || !strings.Contains(errs, "standard input:4:15: modules.deployment/web.replicas: replicas is 0 … 16, got 17\n") || !strings.Contains(errs, "standard input:5:1: x: there is no such field") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	manifest := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: topology, namespace: band}\ndata:\n  topology.yaml: |\n    version: 2\n    modules:\n      pod/a: {hold: maybe}\n"
	_, errs, code = topology(t, manifest, "validate", "-")
	if code != 1 || !strings.Contains(errs, "standard input:8:21: modules.pod/a.hold: ") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	for in, want := range map[string]string{
		"kind: Pod\nversion: 2":         "standard input:1:7: kind: expected a topology or the ConfigMap",
		"kind: ConfigMap\ndata: {a: b}": `the ConfigMap has no key "topology.yaml"`,
		"":                              "standard input:1:1: there is nothing here",
	} {
		if _, errs, code := topology(t, in, "validate", "-"); code != 1 || !strings.Contains(errs, want) {
			t.Errorf("%q: exit code %d, %s", in, code, errs)
		}
	}
	if _, errs, code := topology(t, "", "validate", "not/there"); code != 1 || !strings.Contains(errs, "not/there") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// TestTopologySynthesize needs no cluster: it is the smoke test.
func TestTopologySynthesize(t *testing.T) {
	const example = "../../kube/examples/service.yaml"
	out, errs, code := topology(t, "", "synthesize", example)
	if code != 0 || errs != "" {
		t.Fatalf("exit code %d, %s", code, errs)
	}
	var fromYAML []any
	for _, doc := range strings.Split(strings.TrimPrefix(out, "---\n"), "\n---\n") {
		var o map[string]any
		if err := yaml.UnmarshalStrict([]byte(doc), &o); err != nil {
			t.Fatal(err)
		}
		if o["status"] != nil || strings.Contains(doc, "eno.azure.io") || strings.Contains(doc, "creationTimestamp") {
			t.Errorf("not as it is applied: %s", doc)
		}
		fromYAML = append(fromYAML, o)
	}
	js, errs, code := topology(t, "", "synthesize", "-o", "json", example)
	var list struct {
		Kind  string
		Items []any
	}
	if err := json.Unmarshal([]byte(js), &list); err != nil || code != 0 || list.Kind != "List" {
		t.Fatalf("%v, exit code %d, %s", err, code, errs)
	}
	if len(fromYAML) != 6 || !reflect.DeepEqual(fromYAML, list.Items) {
		t.Errorf("%d objects as YAML, %d as JSON, want the same 6", len(fromYAML), len(list.Items))
	}
	// The manifest that carries a topology is one, and its namespace counts.
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	manifest := "kind: ConfigMap\nmetadata: {namespace: band}\ndata:\n  topology.yaml: |\n    " + strings.ReplaceAll(strings.ReplaceAll(string(text), "namespace: k8s-synth\n", ""), "\n", "\n    ")
	carried, errs, code := topology(t, manifest, "synthesize", "-")
	if code != 0 || carried != strings.ReplaceAll(out, "namespace: k8s-synth", "namespace: band") {
		t.Errorf("exit code %d, %s%s", code, carried, errs)
	}
	if _, errs, code := topology(t, "", "synthesize", "-o", "xml", example); code != 1 || !strings.Contains(errs, "expected yaml or json") {
		t.Errorf("exit code %d, %s", code, errs)
	}
}

// TestTopologyDiffTellsTroubleFromDifference: whoever asks whether there are
// differences must not take a failure for one.
func TestTopologyDiffTellsTroubleFromDifference(t *testing.T) {
	kubeconfig := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(kubeconfig, []byte("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"no file":           {"diff"},
		"unknown flag":      {"diff", "-", "--nothing"},
		"invalid topology":  {"diff", "../eno/testdata/none"},
		"no kubeconfig":     {"diff", "-", "--kubeconfig", "not/there"},
		"no such context":   {"diff", "-", "--kubeconfig", kubeconfig, "--context", "x"},
		"no answer":         {"diff", "-", "--kubeconfig", kubeconfig, "--timeout", "5s"},
		"another namespace": {"diff", "-", "--kubeconfig", kubeconfig, "--namespace", "band"},
	} {
		out, errs, code := topology(t, "version: 2\nnamespace: k8s-synth\n", args...)
		if code != 2 || errs == "" || out != "" {
			t.Errorf("%s: exit code %d, %q, %q; want 2 and why", name, code, out, errs)
		}
	}
	if _, errs, code := topology(t, "version: 2\nnamespace: prod\n", "apply", "-", "--kubeconfig", kubeconfig); code != 1 || !strings.Contains(errs, `only "k8s-synth" was named`) {
		t.Errorf("a namespace that was not named: exit code %d, %s", code, errs)
	}
}

func TestTopologySchema(t *testing.T) {
	if out, _, code := topology(t, "", "schema"); code != 0 || out != string(eno.Schema()) {
		t.Errorf("exit code %d, and not the schema", code)
	}
}

func TestFail(t *testing.T) {
	var b bytes.Buffer
	if fail(&b, exitDiffers) != 1 || b.Len() > 0 || fail(&b, errors.New("x")) != 1 || b.String() != "k8s-synth-kube: x\n" {
		t.Errorf("fail wrote %q", b.String())
	}
}

// TestUsage: a command line that makes no sense ends with 2, a file that does
// not with 1.
func TestUsage(t *testing.T) {
	for line, want := range map[string]int{
		"topology validate": 2, "topology bogus x": 2, "topology validate --nosuch x": 2, "--nosuch": 2, "topology validate no/such/file": 1,
	} {
		c := command(strings.NewReader(""), io.Discard, io.Discard)
		c.SetArgs(strings.Fields(line))
		err := c.ExecuteContext(t.Context())
		if err == nil {
			t.Errorf("%q: no error", line)
		} else if got := fail(io.Discard, err); got != want {
			t.Errorf("%q ends with %d, want %d", line, got, want)
		}
	}
}
