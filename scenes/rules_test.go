package scenes

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

const ruled = `
version: 1
name: ruled
seed: 7
rules:
  - name: ready-bell
    when: kind == "pod" && field == "ready" && new == "true"
    note: scale("minor_pentatonic", 60, slot)     # comments are for people
    velocity: 40 + int(load / 10.0)
    duration: 0.2
    channel: 1
  - when: kind == "node" && field == "cordoned"
    gate: new == "true"
    channel: 2
  - when: |
      // Comments of CEL stay.
      kind == "deployment" &&
        field == "readyPods"
    cv: double(new) / 10.0 * 10.0
    channel: 3
  - when: kind == "pod" && field == "reason" && new == "OOMKilled"
    note: 0x24
    osc: {address: '"/alarm/" + name', args: [pitch, 'new', 1.0, true, -3]}
  - {name: "12", when: true, osc: {address: /tick}}
  - when: kind == "pod" && field == "load"
    port: USB *
    mpe: true
    cc: {number: 20, value: double(new) / 8.0}
    bend: -0.5
    pressure: 12
    program: slot + 1
  - when: kind == "pod" && field == "reason"
    note: 60
    port: '= node == "" ? "12" : node'
    osc: {address: /reason, args: [new], to: "localhost:9000"}
`

func TestRules(t *testing.T) {
	s, err := Parse("ruled.yaml", []byte(ruled))
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Rules) != 7 || s.Rules[0].Duration != "0.2" || s.Rules[3].OSC.Args[2] != "1.0" || s.Rules[4].Name != "12" || s.Rules[4].When != "true" {
		t.Errorf("rules: %+v", s.Rules)
	}
	set, err := s.CompileRules()
	if err != nil {
		t.Fatal(err)
	}
	out := set.Apply(mapping.Transition{Object: mapping.Object{Kind: "pod", Name: "web-a", UID: "a"}, Owner: "web", Field: "ready", New: "true"})
	if len(out) != 2 || !reflect.DeepEqual(out[0], rule.Output{Kind: rule.Note, Rule: "ready-bell", Channel: 1, Note: 60, Velocity: 40, Duration: 0.2}) || out[1].Address != "/tick" {
		t.Errorf("played %+v", out)
	}
	roundTrip(t, s)
	text, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"duration: 0.2\n", "channel: 1\n", "// Comments of CEL stay.\n", "when: |\n", "        - 1.0\n", "        - true\n", "        - -3\n", `name: "12"` + "\n", `note: "0x24"` + "\n", "when: true\n",
		"port: USB *\n", "mpe: true\n", "number: 20\n", "bend: -0.5\n", "pressure: 12\n", "program: slot + 1\n", "to: localhost:9000\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the written scene lacks %q:\n%s", want, text)
		}
	}
	for i, change := range []func(*Scene){
		func(s *Scene) { s.Rules = s.Rules[1:] }, func(s *Scene) { s.Rules[0].Note = "61" }, func(s *Scene) { s.Rules[3].OSC.Args[0] = "1" },
		func(s *Scene) { s.Rules[3].OSC = nil }, func(s *Scene) { s.Rules[3].OSC.Address = "/x" }, func(s *Scene) { s.Rules[3].OSC.Args = nil },
		func(s *Scene) { s.Rules[5].Port = "x" }, func(s *Scene) { s.Rules[5].CC.Value = "1" }, func(s *Scene) { s.Rules[5].CC = nil }, func(s *Scene) { s.Rules[5].Program = "2" },
		func(s *Scene) { s.Rules[6].OSC.To = "" }, func(s *Scene) { s.Rules[6].MPE = "true" },
	} {
		o, _ := Parse("ruled.yaml", []byte(ruled))
		change(o)
		if o.Equal(s) {
			t.Errorf("change %d is not seen", i)
		}
	}
}

// TestRulesAreJudgedAgain: what was good once is judged anew when it changed,
// even in place.
func TestRulesAreJudgedAgain(t *testing.T) {
	s, err := Parse("ruled.yaml", []byte(ruled))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(); err != nil {
		t.Fatal(err)
	}
	s.Rules[3].OSC.Args[0] = "wobble"
	if err := s.Validate(); err == nil || err.Error() != "scene ruled: rules[3].osc.args[0]:1:1: undeclared reference to 'wobble'" {
		t.Errorf("got %v", err)
	}
	if _, err := Encode(s); err == nil {
		t.Error("it was written all the same")
	}
	s.Rules[3].OSC.Args[0] = "new"
	start := time.Now()
	for range 10 {
		if err := s.Validate(); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("validated in %v", time.Since(start)/10)
}

// TestPlaceOfAMistake names the place of one wrong word in each style.
func TestPlaceOfAMistake(t *testing.T) {
	for name, tt := range map[string]struct{ value, want string }{
		"plain":        {`kind == "pod" && slto > 1`, `x.yaml:4:28: when: undeclared reference to 'slto'; did you mean "slot"?`},
		"single":       {`'kind == "pod" && slto > 1'`, `x.yaml:4:29: `},
		"doubled":      {`'kind == ''pod'' && slto > 1'`, `x.yaml:4:31: `},
		"double":       {`"kind == \"pod\" && slto > 1"`, `x.yaml:4:31: `},
		"continued":    {"\"kind ==\n      \\\"pod\\\" && slto > 1\"", `x.yaml:5:18: `},
		"plain folded": {"kind ==\n      \"pod\"\n      && slto > 1", `x.yaml:6:10: `},
		"literal":      {"|\n      kind == \"pod\" &&\n        slto > 1", `x.yaml:6:9: `},
		"folded":       {">\n      kind == \"pod\" &&\n      slto > 1", `x.yaml:6:7: `},
	} {
		text := "version: 1\nname: x\nrules:\n  - when: " + tt.value + "\n    note: 60\n"
		_, err := Parse("x.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s…", name, err, tt.want)
		}
	}
}

func TestManyBadRules(t *testing.T) {
	var b bytes.Buffer
	b.WriteString("version: 1\nname: x\nrules:\n")
	for i := range 300000 {
		fmt.Fprintf(&b, "- {when: a%d}\n", i)
	}
	start := time.Now()
	_, err := Parse("x.yaml", b.Bytes()[:min(b.Len(), MaxFile)])
	if err == nil || !strings.Contains(err.Error(), "x.yaml:3:1: there are ") && !strings.Contains(err.Error(), "YAML") {
		t.Errorf("got %.200v", err)
	}
	if d := time.Since(start); d > 20*time.Second {
		t.Errorf("took %v", d)
	}
}

// TestRulesPlayTheDemo: what a performance of the cluster plays by rules
// agrees with what its transitions say, and is the same each time.
func TestRulesPlayTheDemo(t *testing.T) {
	script, err := (&Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	s := New("demo-rules")
	s.Seed = 11
	s.Rules = []rule.Spec{
		{Name: "bell", When: `kind == "pod" && field == "ready" && new == "true"`, Note: `scale("minor_pentatonic", 60, slot)`, Velocity: "40.0 + 60.0 * random()", Channel: "slot % 16 + 1"},
		{Name: "lives", When: `kind == "pod" && field in ["exists", "ready"]`, Gate: "ready", Channel: "slot % 16 + 1"},
		{Name: "share", When: `kind == "deployment" && field == "readyPods"`, CV: "number(new, 0) / max(replicas, 1) * 10.0"},
		{Name: "death", When: `kind == "pod" && field == "reason" && new != ""`, OSC: &rule.OSC{Address: `"/reason/" + new`, Args: []string{"name", "slot"}}},
	}
	set, err := s.CompileRules()
	if err != nil {
		t.Fatal(err)
	}
	perform := func() (out []rule.Output) {
		set.Reset()
		ready, want := map[string]bool{}, map[rule.Kind]int{}
		got := map[rule.Kind]int{}
		gates := map[int]bool{}
		for _, step := range script.Steps {
			tr := step.Transition
			if tr == nil {
				continue
			}
			if tr.Object.Kind == "pod" {
				switch {
				case tr.Field == "ready":
					ready[tr.Object.UID] = tr.New == "true"
					if tr.New == "true" && !tr.Quiet {
						want[rule.Note]++
					}
				case tr.Field == "exists" && tr.New == "":
					delete(ready, tr.Object.UID)
				case tr.Field == "reason" && tr.New != "" && !tr.Quiet:
					want[rule.OSCMessage]++
				}
			}
			for _, o := range set.Apply(*tr) {
				got[o.Kind]++
				out = append(out, o)
				if o.Kind == rule.Gate {
					if gates[o.Channel] == o.High {
						t.Errorf("%v: gate of channel %d is %t twice", step.At, o.Channel, o.High)
					}
					gates[o.Channel] = o.High
				}
			}
		}
		if got[rule.Note] < 10 || got[rule.Note] != want[rule.Note] || got[rule.OSCMessage] != want[rule.OSCMessage] || got[rule.CV] == 0 {
			t.Errorf("played %v, the transitions say %v", got, want)
		}
		high, alive := 0, 0
		for _, h := range gates {
			if h {
				high++
			}
		}
		for _, r := range ready {
			if r {
				alive++
			}
		}
		if high != min(alive, 16) {
			t.Errorf("%d gates are high at the end, %d pods are ready", high, alive)
		}
		if f := set.Faults(); len(f) > 0 {
			t.Errorf("faults: %v", f)
		}
		return out
	}
	a, b := perform(), perform()
	if !reflect.DeepEqual(a, b) {
		t.Error("it is not the same a second time")
	}
	t.Logf("%d outputs of %d steps", len(a), len(script.Steps))
}
