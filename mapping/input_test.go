package mapping

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// TestTakesMissNothing lists the exported methods of Rack: each is an input
// that is recorded, or it is said here why it need not be.
func TestTakesMissNothing(t *testing.T) {
	excused := map[string]string{
		// Readers.
		"Patch": "reads", "Members": "reads", "Member": "reads", "Value": "reads", "Trace": "reads", "Meters": "reads", "Cluster": "reads",
		"Counters": "reads", "Effective": "reads", "Mode": "reads", "SensedCables": "reads", "KeepsSensed": "reads", "Slots": "reads", "Present": "reads", "Silenced": "reads",
		// They follow.
		"Note": "follows from a transition, by the rules", "RuleGate": "follows from a transition, by the rules",
		"RuleCV": "follows from a transition, by the rules", "Send": "follows from a transition, by the rules",
		"Do":         "is itself recorded as what it does",
		"RecordRest": "is no input", "Pump": "is time that passes", "Topology": "is asked for after each input and each Pump, and so it is when a take is played",
		"Next": "is only asked", "Song": "is only asked",
		// They are edits of another name.
		"Plug": "Rewire", "Pull": "Rewire", "Add": "Rewire", "Remove": "Rewire", "Restore": "Set or Rewire",
		// Whoever changes a scene records it whole, with its rules.
		"Load": "of the scene that is recorded", "Launch": "of the scene that is recorded", "Play": "of the scene that is recorded",
	}
	set := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	seen := map[string]bool{}
	for _, f := range files {
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok || fn.Recv == nil || !fn.Name.IsExported() {
				continue
			}
			star, ok := fn.Recv.List[0].Type.(*ast.StarExpr)
			if !ok || star.X.(*ast.Ident).Name != "Rack" {
				continue
			}
			records := false
			ast.Inspect(fn.Body, func(n ast.Node) bool {
				if c, ok := n.(*ast.CallExpr); ok {
					if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "record" {
						records = true
					}
				}
				return true
			})
			name := fn.Name.Name
			seen[name] = true
			if why, ok := excused[name]; !ok && !records {
				t.Errorf("Rack.%s is in no take: record it as an Input, or excuse it here", name)
			} else if ok && records && name != "Plug" {
				t.Errorf("Rack.%s is recorded, and excused because it %s", name, why)
			}
		}
	}
	for name := range excused {
		if !seen[name] {
			t.Errorf("Rack.%s is excused, and there is none", name)
		}
	}
}

// TestWhatComesInIsRecorded plays a rack by every input that there is, and a
// second one by what was recorded of the first: both end alike, and were asked
// for the same things.
func TestWhatComesInIsRecorded(t *testing.T) {
	patch := func() *instrument.Patch {
		p := &instrument.Patch{}
		for _, id := range []string{"deployment/web", "pod/a", "node/n", "apiserver/api", "vco/v", "audio_out/main", "midi_in/keys", "midi_out/gear", "clock/c", "namespace/case", "cv_out/o", "cv_in/i", "quantizer/q"} {
			p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(id)})
		}
		p.Modules[10].Text = map[string]string{"jack": "a"}
		p.Modules[11].Text = map[string]string{"jack": "x", "socket": "vco/v/pitch"}
		return p
	}
	var all []Input
	sockets := instrument.Sockets{Outputs: map[string]int{"a": 2}, Inputs: map[string]int{"x": 0}}
	rack := func(record func(Input)) *Rack {
		r := NewRack(Config{SampleRate: 48000, Channels: 3, Seed: 7, Namespace: "k8s-synth", Sockets: sockets, Recorded: record})
		if err := r.Load(patch()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := rack(func(in Input) { all = append(all, in) })
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	out := [][]float32{make([]float32, 64), make([]float32, 64), make([]float32, 64)}
	frame := int64(0)
	run := func(r *Rack, blocks int) {
		for range blocks {
			r.Engine.Render(out, nil)
			frame += 64
			r.Pump(frame)
		}
	}
	r.Fade(true)
	run(r, 10)
	cables := Wiring{Plugged: []instrument.Cable{cable("vco/v/sine", "audio_out/main/left")}}
	must(r.Rewire(cables, "hand"))
	run(r, 10)
	must(r.Plug(cable("deployment/web/error", "cv_out/o/in"), "hand"))
	r.Sensed([]SensedCable{{Output: "a", Input: "x", Polarity: 1}}, frame)
	r.Sensed([]SensedCable{{Output: "a", Input: "x", Polarity: 1}}, frame) // no news
	must(r.Set("/vco/v/tune", 7, "", "hand", frame+100))
	must(r.Set("/quantizer/q/tuning", 0, "19-edo", "hand", 0))
	must(r.Set("/deployment/web/replicas", 5, "", "hand", 0))
	r.Apply(Transition{Object: Object{Kind: KindNode, Name: "n"}, Field: FieldExists, New: "true"}, frame+200)
	r.MIDI("keys", midi.On(0, 60, 100), frame+10)
	r.Transport(TransportInput{Port: "keys", Runs: true}, frame+10)
	r.PortCame("gear")
	r.PortGone("keys", frame)
	must(r.SetMode(Real))
	r.Problem(Problem{"x", "y"})
	run(r, 10)
	r.Panic()
	r.Show()
	must(r.Add(instrument.Module{ID: "lfo/l"}, "hand"))
	must(r.Remove("lfo/l", "hand"))
	must(r.Pull(instrument.JackRef{Module: "audio_out/main", Jack: "left"}, "hand"))
	must(r.Restore(Change{Wiring: &Wiring{Pulled: []instrument.Cable{cable("vco/v/sine", "audio_out/main/left")}}}, false, 0))
	if err := r.Set("/vco/v/nothing", 1, "", "hand", 0); err == nil {
		t.Error("an address that there is not was set")
	}
	r.SetSockets(instrument.Sockets{Outputs: map[string]int{"a": 1}})
	base, _ := r.Topology()
	moved := r.Patch().Clone()
	moved.Module("deployment/web").Params["replicas"] = 3
	edited := TopologyOf(moved, nil)
	edited.Generation, edited.Namespace = base.Generation, base.Namespace
	r.Adopt(Edit{By: "kubectl-edit", Base: base, Topology: edited})
	run(r, 4)
	r.Fade(false)
	run(r, 50)

	count := map[string]int{}
	last := int64(0)
	var applied uint64
	for _, in := range all {
		n := 0
		for name, is := range map[string]bool{"transition": in.Transition != nil, "set": in.Set != nil, "midi": in.MIDI != nil, "port": in.Port != nil, "transport": in.Transport != nil,
			"wiring": in.Wiring != nil, "edit": in.Edit != nil, "sensed": in.Sensed != nil, "mode": in.Mode != nil, "problem": in.Problem != nil, "fade": in.Fade != nil,
			"kill": in.Kill != nil, "sockets": in.Sockets != nil, "panic": in.Panic, "show": in.Show, "plan": in.Plan != nil, "applied": in.Applied != nil} {
			if is {
				n++
				count[name]++
			}
		}
		if n != 1 {
			t.Errorf("%s is %d inputs", in.String(), n)
		}
		if in.Present < last {
			t.Errorf("%s came at %d, before %d", in.String(), in.Present, last)
		}
		last = in.Present
		for _, a := range in.Applied {
			if applied++; a.Seq != applied {
				t.Fatalf("entry %d of the journal is called %d", applied, a.Seq)
			}
		}
	}
	want := map[string]int{"transition": 1, "set": 3, "midi": 1, "port": 2, "transport": 1, "wiring": 6, "edit": 1, "sensed": 1, "mode": 1, "problem": 1, "fade": 2, "sockets": 1, "panic": 1, "show": 1}
	for name, n := range want {
		if count[name] != n {
			t.Errorf("%d of %s, want %d", count[name], name, n)
		}
	}
	if count["plan"] < 7 || applied < 20 {
		t.Errorf("%d plans and %d events of the engine", count["plan"], applied)
	}

	again := rack(nil)
	frame = 0
	for _, in := range all {
		for frame < in.Present {
			run(again, 1)
		}
		if err := again.Do(in, 0); err != nil {
			t.Errorf("%s: %v", in.String(), err)
		}
	}
	if got, want := again.Patch(), r.Patch(); !reflect.DeepEqual(got, want) {
		t.Errorf("the patch came to\n%v\nand was\n%v", got, want)
	}
	if a, b := again.Mode(), r.Mode(); a != b {
		t.Errorf("mode %d, was %d", a, b)
	}
	if !slices.Equal(again.SensedCables(), r.SensedCables()) {
		t.Errorf("sensed %v, were %v", again.SensedCables(), r.SensedCables())
	}
}
