package bind

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// full has every field there is.
const full = `version: 1
name: full
title: All of it
about: |-
  One line.
  And another.
ports: [synth, "*box*"]
rate: 3000
hello: [F0 7E 7F 06 01 F7, f07df7]
takeover: scaled
colours: {ready: 21@3, on: 127, off: 0}
layers:
  - number: 1
    name: more
    shift: [note 98 ch 1, cc 3]
    latch: true
bindings:
  - {name: a knob, port: box, control: cc 20 ch any, to: /deployment/web/replicas, layer: 1, mode: absolute, range: [1, 8], curve: s, steps: 4, takeover: jump, touch: note 104, feedback: {to: cc 30, values: [1, 11], colours: {4: 5}}}
  - {control: [cc 21-22, bend ch 3], to: ["knobs[1-2]", "strip[1]/1"], mode: relative, encoder: signed_bit, sensitivity: 0.5, acceleration: 2}
  - {control: note 51-58, pods: true, first: 9, feedback: same}
  - {control: osc /1/fader1, to: "/voice/*/bright", feedback: off}
  - {control: [program ch 2, program 7], to: ["scene:*", "scenes[2]"]}
  - {control: pressure, to: arm, feedback: note 3}
  - {control: cc 5, to: "layer:1"}
`

// TestFull reads every field.
func TestFull(t *testing.T) {
	m, err := Parse("full.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	b := m.Bindings[0]
	if m.Rate != 3000 || len(m.Hello) != 2 || m.Takeover != Scaled || m.Colours["ready"] != (Colour{21, 3}) || !m.Layers[0].Latch || len(m.Layers[0].Shift) != 2 ||
		b.Takeover != Jump || b.Range[1] != 8 || b.Curve != CurveS || b.Steps != 4 || b.Touch[0].Number != 104 || b.Feedback.High != 11 || b.Feedback.Colours["4"].Value != 5 || b.Layer != 1 ||
		m.Bindings[1].Encoder != SignedBit || m.Bindings[1].Sensitivity != 0.5 || m.Bindings[1].Controls[2].String() != "bend ch 3" || m.Bindings[2].First != 9 || !m.Bindings[3].Feedback.Off {
		t.Errorf("%+v", m)
	}
	if !m.Matches("My Synth 1") || !m.Matches("the BOX here") || m.Matches("piano") {
		t.Error("ports do not match as they should")
	}
	for i := range m.Bindings {
		for _, to := range m.Bindings[i].to {
			again, err := parseTo(to.String())
			if err != nil || len(again) != 1 || again[0] != to {
				t.Errorf("%v is written as %q and read as %v, %v", to, to.String(), again, err)
			}
		}
		for _, c := range m.Bindings[i].Controls {
			if again, err := ParseControl(c.String()); err != nil || again != c {
				t.Errorf("%v is read as %v, %v", c, again, err)
			}
		}
		// What a binding is written as means the same.
		var text bytes.Buffer
		enc := yaml.NewEncoder(&text)
		if err := enc.Encode(map[string]any{"version": 1, "name": "x", "bindings": []*yaml.Node{m.Bindings[i].yaml()}}); err != nil {
			t.Fatal(err)
		}
		again, err := Parse("x", text.Bytes())
		if m.Bindings[i].Controls[0].Number == 5 {
			continue // its layer is in the other file
		}
		if err != nil {
			t.Errorf("%s: %v", text.String(), err)
			continue
		}
		a, b := m.Bindings[i], again.Bindings[0]
		a.node, b.node = nil, nil
		if x, y := describeBinding(a), describeBinding(b); x != y {
			t.Errorf("%s\nis read as\n%s", x, y)
		}
	}
}

func describeBinding(b Binding) string {
	data, _ := json.Marshal(b)
	var to []string
	for _, t := range b.to {
		to = append(to, t.String())
	}
	return string(data) + strings.Join(to, ",")
}

// TestFaults: each mistake is told with its place and with what was meant.
func TestFaults(t *testing.T) {
	var got strings.Builder
	files, err := filepath.Glob("testdata/*.input.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got.Reset()
		if _, err := Parse("map.yaml", data); err != nil {
			got.WriteString(err.Error() + "\n")
		} else {
			got.WriteString("no mistakes\n")
		}
		golden(t, strings.TrimSuffix(f, ".input.yaml")+".output.txt", got.String())
	}
	later := []byte("version: 2\nname: x\n")
	if _, err := Parse("x", later); !errors.Is(err, document.ErrVersion) {
		t.Error(err)
	}
	var e *document.Error
	if _, err := Parse("x", later); !errors.As(err, &e) || e.Line != 1 || e.Column != 10 {
		t.Errorf("%+v", e)
	}
	if _, err := Parse("x", []byte("version: 1\nname: x\nbindings:\n"+strings.Repeat("  - {control: foo}\n", 300))); err == nil || !strings.Contains(err.Error(), "and 200 more mistakes") {
		t.Error(err)
	}
	if _, err := Parse("x", make([]byte, MaxFile+1)); err == nil {
		t.Error("a file of any length is read")
	}
}

// golden compares a text with a file.
func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// TestSchema: the schema that is committed is the one that the code makes, and
// a validator takes what is read and refuses what it can know to be wrong.
func TestSchema(t *testing.T) {
	golden(t, "map.schema.json", string(Schema()))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("map.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("map.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(plainKeys(v))
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	if err := check(full); err != nil {
		t.Error(err)
	}
	list, err := Library{}.List()
	if err != nil || len(list) < 5 {
		t.Fatal(list, err)
	}
	for _, e := range list {
		text, err := Library{}.Text(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if err := check(string(text)); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
	}
	for _, b := range []string{"{control: cc 20}", "{to: undo}", "{control: wheel, to: undo}", "{control: cc, to: undo}", "{control: cc 1, to: tea}", "{control: cc 1, to: 'knobs'}", "{control: cc 1, to: undo, modee: x}",
		"{control: cc 1, to: undo, mode: warp}", "{control: cc 1, to: undo, range: [1]}", "{control: cc 1, to: undo, feedback: {values: [1, 200]}}", "{control: cc 1, to: undo, layer: 100}", "{control: osc fader, to: undo}"} {
		text := wrap("", b)
		if check(text) == nil {
			t.Errorf("the schema takes %s", b)
		}
		if _, err := Parse("x", []byte(text)); err == nil {
			t.Errorf("the reader takes %s", b)
		}
	}
}

// plainKeys makes keys that YAML takes for numbers words, as the reader does.
func plainKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plainKeys(v[k])
		}
	case map[any]any:
		m := map[string]any{}
		for k, x := range v {
			data, _ := json.Marshal(k)
			m[strings.Trim(string(data), `"`)] = plainKeys(x)
		}
		return m
	case []any:
		for i := range v {
			v[i] = plainKeys(v[i])
		}
	}
	return v
}

// FuzzParse: no file stops the reader, and what it takes is written and read
// again as the same.
func FuzzParse(f *testing.F) {
	f.Add(full)
	for _, s := range []string{"", "version: 1", "{", "version: !!bool x", "version: 1\nname: x\nbindings: [{control: [[]], to: {}}]", "a: &a [*a]", "version: 1\nname: x\nlayers: [{number: 1, latch: !!bool ''}]", "version: 1\nname: x\nbindings: [*x]"} {
		f.Add(s)
	}
	files, _ := filepath.Glob("testdata/*.input.yaml")
	for _, p := range files {
		data, _ := os.ReadFile(p)
		f.Add(string(data))
	}
	f.Fuzz(checkParse)
}

// anyRack is a scene to bind to, made once.
var anyRack *mapping.Rack

func checkParse(t *testing.T, text string) {
	m, err := Parse("x", []byte(text))
	if err != nil {
		var e *document.Error
		if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
			t.Errorf("%q: %v has no place", text, err)
		}
		return
	}
	data, err := m.Encode()
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	again, err := Parse("x", data)
	if err != nil {
		t.Fatalf("%q is written as %q: %v", text, data, err)
	}
	if len(again.Bindings) != len(m.Bindings) || again.Title != m.Title {
		t.Fatalf("%q is written as %q", text, data)
	}
	for i := range m.Bindings {
		if x, y := describeBinding(m.Bindings[i]), describeBinding(again.Bindings[i]); x != y {
			t.Fatalf("%q is read as %s and then as %s", text, x, y)
		}
	}
	if anyRack == nil {
		anyRack = newRig(t).Rack
	}
	New([]*Map{m}, anyRack).Plugged("p")
}

// TestParseAnything: a bounded run of the fuzz test on files with letters
// changed.
func TestParseAnything(t *testing.T) {
	if flag.Lookup("test.fuzz") != nil && flag.Lookup("test.fuzz").Value.String() != "" {
		t.Skip("the fuzzer runs")
	}
	rng := rand.New(rand.NewPCG(5, 5))
	letters := []byte("{}[]:,-# \n'\"*&!|>09azAZ/@~")
	for range 1500 {
		b := []byte(full)
		for range 1 + rng.IntN(4) {
			i := rng.IntN(len(b))
			switch rng.IntN(3) {
			case 0:
				b[i] = letters[rng.IntN(len(letters))]
			case 1:
				b = append(b[:i], b[min(i+1+rng.IntN(9), len(b)):]...)
			default:
				b = append(b[:i], append([]byte{letters[rng.IntN(len(letters))]}, b[i:]...)...)
			}
		}
		checkParse(t, string(b))
	}
}
