package rule

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping"
)

var update = flag.Bool("update", false, "write the golden files anew")

// piece is an input file: rules, and transitions that are given to them.
type piece struct {
	Seed        uint64
	Rules       []specNode
	Transitions []struct {
		At       float64
		Object   string
		UID      string
		Owner    string
		Replica  string
		Field    string
		Old, New string
		Quiet    bool
	}
}

// specNode reads a rule whose values may be bare numbers.
type specNode struct{ Spec }

func (s *specNode) UnmarshalYAML(n *yaml.Node) error {
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, v := n.Content[i].Value, n.Content[i+1]
		switch key {
		case "name":
			s.Name = v.Value
		case "when":
			s.When = v.Value
		case "note":
			s.Note = v.Value
		case "velocity":
			s.Velocity = v.Value
		case "duration":
			s.Duration = v.Value
		case "channel":
			s.Channel = v.Value
		case "port":
			s.Port = v.Value
		case "mpe":
			s.MPE = v.Value
		case "bend":
			s.Bend = v.Value
		case "pressure":
			s.Pressure = v.Value
		case "program":
			s.Program = v.Value
		case "cc":
			s.CC = &CC{}
			for j := 0; j+1 < len(v.Content); j += 2 {
				if v.Content[j].Value == "number" {
					s.CC.Number = v.Content[j+1].Value
				} else {
					s.CC.Value = v.Content[j+1].Value
				}
			}
		case "gate":
			s.Gate = v.Value
		case "cv":
			s.CV = v.Value
		case "osc":
			s.OSC = &OSC{}
			for j := 0; j+1 < len(v.Content); j += 2 {
				switch v.Content[j].Value {
				case "address":
					s.OSC.Address = v.Content[j+1].Value
					continue
				case "to":
					s.OSC.To = v.Content[j+1].Value
					continue
				}
				for _, a := range v.Content[j+1].Content {
					s.OSC.Args = append(s.OSC.Args, a.Value)
				}
			}
		default:
			return fmt.Errorf("line %d: unknown field %q", n.Line, key)
		}
	}
	return nil
}

// line writes an output as the golden files hold it.
func line(o Output) string {
	text := bare(o)
	if o.MPE {
		text += " mpe"
	}
	if o.Port != "" {
		text += fmt.Sprintf(" to %q", o.Port)
	}
	return text
}

func bare(o Output) string {
	switch o.Kind {
	case ControlChange:
		return fmt.Sprintf("cc %s channel %d: %d is %.6g", o.Rule, o.Channel, o.Number, o.Value)
	case PitchBend, ChannelPressure:
		return fmt.Sprintf("%v %s channel %d: %.6g", o.Kind, o.Rule, o.Channel, o.Value)
	case ProgramChange:
		return fmt.Sprintf("program %s channel %d: %d", o.Rule, o.Channel, o.Number)
	case Note:
		return fmt.Sprintf("note %s channel %d: %.6g velocity %.6g for %.6g s", o.Rule, o.Channel, o.Note, o.Velocity, o.Duration)
	case Gate:
		return fmt.Sprintf("gate %s channel %d: %t", o.Rule, o.Channel, o.High)
	case CV:
		return fmt.Sprintf("cv %s channel %d: %.6g V", o.Rule, o.Channel, o.Volts)
	}
	text := fmt.Sprintf("osc %s: %s", o.Rule, o.Address)
	for _, a := range o.Args {
		text += fmt.Sprintf(" %T(%v)", a, a)
	}
	return text
}

func readPiece(t *testing.T, path string) (*Set, []mapping.Transition) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var p piece
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&p); err != nil {
		t.Fatal(err)
	}
	var specs []Spec
	for _, r := range p.Rules {
		specs = append(specs, r.Spec)
	}
	set, err := Compile(specs, p.Seed)
	if err != nil {
		t.Fatal(err)
	}
	var all []mapping.Transition
	for _, s := range p.Transitions {
		kind, name, _ := strings.Cut(s.Object, "/")
		all = append(all, mapping.Transition{
			Time:   time.Unix(0, int64(s.At*1e9)).UTC(),
			Object: mapping.Object{Kind: kind, Namespace: "k8s-synth", Name: name, UID: s.UID},
			Owner:  s.Owner, Replica: s.Replica, Field: s.Field, Old: s.Old, New: s.New, Quiet: s.Quiet,
		})
	}
	return set, all
}

// TestGolden plays transitions in and holds what comes out.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.input.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d pieces, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".input.yaml"), func(t *testing.T) {
			set, transitions := readPiece(t, f)
			play := func() []byte {
				var b bytes.Buffer
				outputs := 0
				for _, tr := range transitions {
					fmt.Fprintf(&b, "- {at: %g, object: %s, field: %s, new: %q}:\n", float64(tr.Time.UnixNano())/1e9, tr.Object, tr.Field, tr.New)
					for _, o := range set.Apply(tr) {
						fmt.Fprintf(&b, "  - %s\n", line(o))
						outputs++
					}
				}
				if outputs == 0 {
					t.Error("nothing was played")
				}
				for _, f := range set.Faults() {
					fmt.Fprintf(&b, "- fault %s, %d times: %v\n", f.Rule, f.Count, f.First)
				}
				for _, o := range set.State() {
					fmt.Fprintf(&b, "- state %s\n", line(o))
				}
				return b.Bytes()
			}
			got := play()
			set.Reset()
			if again := play(); !bytes.Equal(got, again) {
				t.Errorf("played again it differs; at first\n%s\nthen\n%s", got, again)
			}
			path := strings.TrimSuffix(f, ".input.yaml") + ".output.yaml"
			if *update {
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; run go test ./mapping/rule -update", err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs; got\n%s\nwant\n%s", path, got, want)
			}
		})
	}
}
