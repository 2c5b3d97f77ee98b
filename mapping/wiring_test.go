package mapping

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// wiringRig is a patch with a Service that nothing selects yet, and jacks of a
// case.
func wiringRig(t testing.TB) *rig {
	r := newRig(t, func(c *Config) {
		c.Sockets = instrument.Sockets{Outputs: map[string]int{"a": 0, "b": 1}, Inputs: map[string]int{"x": 0, "y": 1}}
	})
	p := r.patch.Clone()
	p.Modules = append(p.Modules, []instrument.Module{
		{ID: "service/web"}, {ID: "service/two"}, {ID: "lfo/slow"}, {ID: "mixer/m"}, {ID: "vca/v"},
		{ID: "cv_out/pods", Text: map[string]string{"jack": "a"}}, {ID: "gate_out/b"},
		{ID: "cv_in/service", Text: map[string]string{"jack": "x", "socket": "service/web/selector"}},
		{ID: "cv_in/y", Text: map[string]string{"socket": "service/two/selector"}},
	}...)
	p.Cables = append(p.Cables, cable("deployment/web/pods", "cv_out/pods/in"), cable("pod/solo/ready", "gate_out/b/in"))
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.run(0.1)
	r.Topology()
	return r
}

func ref(s string) instrument.JackRef {
	j, err := instrument.ParseJackRef(s)
	if err != nil {
		panic(err)
	}
	return j
}

// has tells whether the patch has a cable, and whether the topology has it.
func (r *rig) has(from, to string) (patch, topology bool) {
	t, _ := r.Topology()
	c := cable(from, to)
	return slices.Contains(r.patch.Cables, c), slices.Contains(t.Cables, FormatCable(c))
}

// TestPlugAndPull edits cables of the cluster and of sound while they play.
func TestPlugAndPull(t *testing.T) {
	r := wiringRig(t)
	var told []string
	r.Changed = func(a Address, v float64, _, source string) {
		if source == "hand" {
			told = append(told, string(a))
		}
	}
	var wired []Wiring
	r.Wired = func(w Wiring, source string) { wired = append(wired, w) }
	before, _ := r.Topology()
	if err := r.Plug(cable("deployment/web/pods", "service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}
	if now, changed := r.Topology(); !changed || now.Generation != before.Generation+1 || !slices.Contains(now.Cables, "deployment/web/pods -> service/web/selector") {
		t.Errorf("the topology is %+v, changed %t", now.Cables, changed)
	}
	if err := r.Plug(cable("lfo/slow/sine", "vca/v/cv"), "hand"); err != nil {
		t.Fatal(err)
	}
	if _, changed := r.Topology(); changed {
		t.Error("a cable of sound changed the topology")
	}
	for _, c := range []struct{ from, to, says string }{
		{"deployment/sel/pods", "service/web/selector", "holds a cable from deployment/web/pods; pull it first"},
		{"lfo/slow/sine", "service/two/selector", "a Service selects a Deployment's pods"},
		{"lfo/slow/sine", "vca/none/cv", `no module "vca/none"`},
		{"lfo/slow/none", "vca/v/in", `no jack "none"`},
	} {
		patch := r.patch
		if err := r.Plug(cable(c.from, c.to), "hand"); err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "cables[") {
			t.Errorf("%s -> %s: %v; want %q", c.from, c.to, err, c.says)
		}
		if r.patch != patch {
			t.Errorf("%s -> %s: the patch is another", c.from, c.to)
		}
	}
	if err := r.Pull(ref("service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}
	if p, top := r.has("deployment/web/pods", "service/web/selector"); p || top {
		t.Errorf("pulled, it is in the patch: %t, in the topology: %t", p, top)
	}
	for _, at := range []string{"service/web/selector", "service/web/endpoint_1"} {
		if err := r.Pull(ref(at), "hand"); !errors.Is(err, ErrRange) {
			t.Errorf("pulling %s: %v", at, err)
		}
	}
	if err := r.Pull(ref("service/none/selector"), "hand"); !errors.Is(err, ErrNoAddress) {
		t.Errorf("pulling what is not there: %v", err)
	}
	if want := []string{"/service/web/selector", "/vca/v/cv", "/service/web/selector"}; !slices.Equal(told, want) {
		t.Errorf("told of %v, want %v", told, want)
	}
	if len(wired) != 3 {
		t.Errorf("%d edits were told, want 3", len(wired))
	}
}

// TestPlugFades: a cable of sound that is put in and pulled while it plays
// never steps.
func TestPlugFades(t *testing.T) {
	r := emptyRig(t, Config{SampleRate: testRate, Channels: 2, Seed: 1})
	p := &instrument.Patch{Modules: []instrument.Module{{ID: "vco/a"}, {ID: "audio_out/main"}}}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.Fade(true)
	r.run(0.2)
	r.keep = true
	for range 5 {
		if err := r.Plug(cable("vco/a/sine", "audio_out/main/left"), "hand"); err != nil {
			t.Fatal(err)
		}
		r.run(0.05)
		if err := r.Pull(ref("audio_out/main/left"), "hand"); err != nil {
			t.Fatal(err)
		}
		r.run(0.05)
	}
	var peak, step float64
	for i, v := range r.sound[1:] {
		peak, step = max(peak, math.Abs(float64(v))), max(step, math.Abs(float64(v-r.sound[i])))
	}
	// A sine of C4 and 5 V moves by 0.17 V a frame, a fade of 5 ms adds 0.03.
	if peak < 4 || step > 0.25 {
		t.Errorf("peak %.2f V, steps of up to %.3f V", peak, step)
	}
}

// TestRemoveAndUndo takes modules out and brings them back by a History, with
// cables, knobs and words.
func TestRemoveAndUndo(t *testing.T) {
	r := wiringRig(t)
	var h History
	now := time.Unix(1000, 0)
	r.Wired = func(w Wiring, source string) { h.RecordWiring(w, source, now) }
	r.turn("/deployment/web/replicas", 4)
	if err := r.Set("/deployment/web/image", 0, "nginx:1", "hand", 0); err != nil {
		t.Fatal(err)
	}
	sorted := func() (cables []string, modules []string) {
		for _, c := range r.patch.Cables {
			cables = append(cables, FormatCable(c))
		}
		for _, m := range r.patch.Modules {
			modules = append(modules, fmt.Sprint(m))
		}
		slices.Sort(cables)
		slices.Sort(modules)
		return cables, modules
	}
	type state struct{ cables, modules []string }
	var states []state
	note := func() { c, m := sorted(); states = append(states, state{c, m}) }
	note()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		r.run(0.02)
		note()
	}
	must(r.Remove("deployment/web", "hand"))
	must(r.Add(instrument.Module{ID: "deployment/new", Params: map[string]float64{"replicas": 2}}, "hand"))
	must(r.Plug(cable("deployment/new/pods", "service/web/selector"), "hand"))
	must(r.Pull(ref("gate_out/b/in"), "hand"))
	if err := r.Add(instrument.Module{ID: "deployment/new"}, "hand"); err == nil {
		t.Error("a second module of that name was taken")
	}
	if err := r.Add(instrument.Module{ID: "nothing/new"}, "hand"); err == nil {
		t.Error("a module of no kind was taken")
	}
	if err := r.Remove("deployment/none", "hand"); !errors.Is(err, ErrNoAddress) {
		t.Errorf("removing what is not there: %v", err)
	}
	back := func(again bool) {
		t.Helper()
		step := h.Undo
		if again {
			step = h.Redo
		}
		c, ok := step()
		if !ok || c.Wiring == nil {
			t.Fatalf("there is no edit: %+v", c)
		}
		if err := r.Restore(c, again, 0); err != nil {
			t.Fatal(err)
		}
		r.run(0.02)
	}
	check := func(i int) {
		t.Helper()
		c, m := sorted()
		if !reflect.DeepEqual(state{c, m}, states[i]) {
			t.Errorf("state %d: the patch is\n%v\n%v\nwas\n%v\n%v", i, c, m, states[i].cables, states[i].modules)
		}
	}
	for i := len(states) - 2; i >= 0; i-- {
		back(false)
		check(i)
	}
	for i := 1; i < len(states); i++ {
		back(true)
		check(i)
	}
	if _, ok := h.Redo(); ok {
		t.Error("there was more to do again than was undone")
	}
}

// TestSensed: a cable of the case is one of the patch, and of the topology;
// pulled, it goes.
func TestSensed(t *testing.T) {
	r := wiringRig(t)
	var failed []Problem
	r.Failed = func(p Problem) { failed = append(failed, p) }
	pods := []SensedCable{{Output: "a", Input: "x", Polarity: 1}}
	in := func(step string, want bool) {
		t.Helper()
		r.run(0.02)
		if p, top := r.has("deployment/web/pods", "service/web/selector"); p != want || top != want {
			t.Errorf("%s: in the patch %t, in the topology %t, want %t", step, p, top, want)
		}
		if owned := len(r.SensedCables()) > 0; owned != want {
			t.Errorf("%s: owned %t", step, owned)
		}
	}
	says := func(step, text string) {
		t.Helper()
		if text == "" && len(failed) > 0 || text != "" && (len(failed) != 1 || !strings.Contains(failed[0].Text, text)) {
			t.Errorf("%s: told %v, want %q", step, failed, text)
		}
		failed = nil
	}
	in("at first", false)
	r.Sensed(pods, r.frame)
	in("plugged", true)
	generation := r.topology.Generation
	r.Sensed(pods, r.frame)
	in("told again", true)
	if r.topology.Generation != generation {
		t.Error("what was told again was published again")
	}
	r.Sensed(nil, r.frame)
	in("pulled", false)
	says("all that", "")

	// One that a hand pulls stays out until it is plugged again.
	r.Sensed(pods, r.frame)
	if err := r.Pull(ref("service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}
	in("overruled", false)
	r.Sensed(pods, r.frame)
	in("still overruled", false)
	r.Sensed(nil, r.frame)
	r.Sensed(pods, r.frame)
	in("plugged again", true)

	// One that kubectl pulls, too.
	_, _, refused := r.edit(func(t *Topology) {
		t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "service/web/selector") })
	})
	if len(refused) > 0 {
		t.Error(refused)
	}
	in("pulled by kubectl", false)
	r.Sensed(nil, r.frame)
	r.Sensed(pods, r.frame)

	// One that a hand draws as well is the hand's.
	if err := r.Plug(cable("deployment/web/pods", "service/web/selector"), "hand"); err != nil {
		t.Error(err)
	}
	r.Sensed(nil, r.frame)
	if p, _ := r.has("deployment/web/pods", "service/web/selector"); !p {
		t.Error("what a hand drew as well went with the cable of the case")
	}
	r.Sensed(pods, r.frame)
	r.Sensed(nil, r.frame)
	if p, _ := r.has("deployment/web/pods", "service/web/selector"); !p {
		t.Error("what a hand drew went with the cable of the case")
	}
	if err := r.Pull(ref("service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}

	// A hand's cable is not replaced; when it goes, the case's comes.
	if err := r.Plug(cable("deployment/sel/pods", "service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}
	r.Sensed(pods, r.frame)
	r.Sensed(pods, r.frame)
	in("a hand's cable there", false)
	says("a hand's cable there", "service/web/selector holds a cable from deployment/sel/pods, drawn by hand")
	if err := r.Pull(ref("service/web/selector"), "hand"); err != nil {
		t.Fatal(err)
	}
	in("the hand's cable gone", true)

	// What is patched into the CV Out is moved: the cable follows.
	if err := r.Rewire(Wiring{Pulled: []instrument.Cable{cable("deployment/web/pods", "cv_out/pods/in")}, Plugged: []instrument.Cable{cable("deployment/sel/pods", "cv_out/pods/in")}}, "hand"); err != nil {
		t.Fatal(err)
	}
	if p, top := r.has("deployment/sel/pods", "service/web/selector"); !p || !top || len(r.SensedCables()) != 1 {
		t.Error("the cable did not follow what is patched into the CV Out")
	}
}

// TestSensedMore: problems, mixes, stacks, words and scenes.
func TestSensedMore(t *testing.T) {
	r := wiringRig(t)
	var failed []Problem
	r.Failed = func(p Problem) { failed = append(failed, p) }
	cables := func() string {
		r.run(0.02)
		var s []string
		for _, c := range r.SensedCables() {
			s = append(s, FormatCable(c))
		}
		slices.Sort(s)
		return strings.Join(s, ", ")
	}
	step := func(name, want, problem string, pairs ...SensedCable) {
		t.Helper()
		failed = nil
		r.Sensed(pairs, r.frame)
		if got := cables(); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		if problem == "" && len(failed) > 0 || problem != "" && (len(failed) != 1 || !strings.Contains(failed[0].Text, problem)) {
			t.Errorf("%s: told %v, want %q", name, failed, problem)
		}
	}
	a, b, c := SensedCable{"a", "x", 1}, SensedCable{"b", "x", 1}, SensedCable{"a", "y", -1}
	web, solo, two := "deployment/web/pods -> service/web/selector", "pod/solo/ready -> service/web/selector", "deployment/web/pods -> service/two/selector"
	step("a stack", two+", "+web, "", a, c)
	step("a mix", web, "sensed as well", a, b)
	step("one of the mix pulled", solo, "", b)
	step("jacks that nothing stands for", "", "", SensedCable{"a", "z", 1}, SensedCable{"q", "r", 1})
	step("a jack that nothing sends on", "", "no module of the patch sends on q", SensedCable{"q", "x", 1})
	if err := r.Pull(ref("gate_out/b/in"), "hand"); err != nil {
		t.Fatal(err)
	}
	step("nothing patched", "", "nothing is patched into gate_out/b", b)
	failed = nil
	if err := r.Plug(cable("lfo/slow/sine", "gate_out/b/in"), "hand"); err != nil {
		t.Fatal(err)
	}
	if len(failed) != 1 || !strings.Contains(failed[0].Text, "cannot mean anything") {
		t.Errorf("what means nothing: told %v", failed)
	}
	step("told again", "", "", b)
	if err := r.Set("/cv_in/service/socket", 0, "service/web", "hand", 0); !errors.Is(err, ErrRange) {
		t.Errorf("a socket that is no jack: %v", err)
	}
	if err := r.Set("/cv_in/service/socket", 0, "vca/v/in", "hand", 0); err != nil {
		t.Fatal(err)
	}
	step("a socket of sound", "lfo/slow/sine -> vca/v/in", "", b)
	if err := r.Set("/gate_out/b/jack", 0, "elsewhere", "hand", 0); err != nil {
		t.Fatal(err)
	}
	if got := cables(); got != "" {
		t.Errorf("the jack is another module's, and %q stays", got)
	}
	// A scene that has other modules on the same jacks.
	step("before the scene", two, "", c)
	p := r.patch.Clone()
	p.Modules = slices.DeleteFunc(p.Modules, func(m instrument.Module) bool { return m.ID == "cv_out/pods" })
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool {
		return c.To.Module == "cv_out/pods" || c.To.Module == "service/two"
	})
	p.Modules = append(p.Modules, instrument.Module{ID: "cv_out/a"})
	p.Cables = append(p.Cables, cable("deployment/sel/pods", "cv_out/a/in"))
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	if got := cables(); got != "deployment/sel/pods -> service/two/selector" {
		t.Errorf("in the next scene: %q", got)
	}
	// One that the scene's file has stays.
	p = r.patch.Clone()
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	step("pulled, and the file's", "", "")
	if p, _ := r.has("deployment/sel/pods", "service/two/selector"); !p {
		t.Error("a cable of the file went")
	}
}

// undoing is a history of what hands did to a rig, at surfaces and in the case.
type undoing struct {
	*rig
	t *testing.T
	h History
}

func undoingRig(t *testing.T) *undoing {
	u := &undoing{rig: wiringRig(t), t: t}
	u.Wired = func(w Wiring, source string) {
		if source != SourceSense {
			u.h.RecordWiring(w, source, time.Unix(0, 0))
		}
	}
	return u
}

// in tells the rig what is in the case.
func (u *undoing) in(pairs ...SensedCable) {
	wired := u.Wired
	u.Wired = func(w Wiring, source string) {
		if source == SourceSense {
			u.h.RecordSensed(w)
		} else {
			wired(w, source)
		}
	}
	u.Sensed(pairs, u.frame)
	u.Wired = wired
}

// set writes a word, or turns a knob, as a hand does.
func (u *undoing) set(a Address, value float64, word string) {
	u.t.Helper()
	v, w, err := u.Value(a)
	if err == nil {
		err = u.Set(a, value, word, "hand", 0)
	}
	if err != nil {
		u.t.Fatal(err)
	}
	u.h.Record(a, Setpoint{v, w}, Setpoint{value, word}, "hand", time.Unix(0, 0))
}

// back undoes, or does again, and returns why not. What waits for a hand stays.
func (u *undoing) back(again bool) error {
	u.t.Helper()
	step, other := u.h.Undo, u.h.Redo
	if again {
		step, other = other, step
	}
	c, ok := step()
	if !ok {
		return errors.New("nothing")
	}
	if err := u.KeepsSensed(c, again); err != nil {
		other()
		return err
	}
	err := u.Restore(c, again, 0)
	if err != nil {
		u.h.Failed(c, again)
	}
	return err
}

// wants checks cables of the patch, and which of them are the case's.
func (u *undoing) wants(step string, there, owned bool, c instrument.Cable) {
	u.t.Helper()
	if got := slices.Contains(u.patch.Cables, c); got != there {
		u.t.Errorf("%s: %s is in the patch: %t, want %t", step, FormatCable(c), got, there)
	}
	if got := slices.Contains(u.SensedCables(), c); got != owned {
		u.t.Errorf("%s: %s is the case's: %t, want %t", step, FormatCable(c), got, owned)
	}
}

// TestUndoAndTheCase: undo steps over what a hand did in the case, and never
// leaves a patch that says otherwise than the case; what it cannot undo for that
// waits, however often it is asked, until the hand has pulled its cable.
func TestUndoAndTheCase(t *testing.T) {
	pair := SensedCable{"a", "x", 1}
	c := cable("deployment/web/pods", "service/web/selector")
	level := Address("/vca/v/gain")
	do := func(u *undoing, step string, err error) {
		u.t.Helper()
		if err != nil {
			u.t.Fatalf("%s: %v", step, err)
		}
	}
	waits := func(u *undoing, step string, again bool) {
		u.t.Helper()
		patch := u.patch
		for range 4 { // what fails twice is left behind otherwise
			if err := u.back(again); err == nil || !strings.Contains(err.Error(), "the cable from a to x is in the case") {
				u.t.Fatalf("%s: %v", step, err)
			}
		}
		if u.patch != patch {
			u.t.Errorf("%s: the patch is another", step)
		}
	}
	t.Run("steps over", func(t *testing.T) {
		u := undoingRig(t)
		was, _, _ := u.Value(level)
		u.set(level, 0.25, "")
		u.set("/lfo/slow/rate", 2, "")
		do(u, "undo", u.back(false))
		u.in(pair)
		if w := u.h.Since(); !slices.Equal(w.Plugged, []instrument.Cable{c}) || len(w.Pulled) > 0 {
			t.Errorf("since then: %s", w.String())
		}
		u.in()
		u.in(pair)
		u.in()
		if w := u.h.Since(); !w.empty() {
			t.Errorf("plugged and pulled it is %s", w.String())
		}
		u.in(pair)
		// What was undone before can be done again.
		do(u, "redo", u.back(true))
		do(u, "undo", u.back(false))
		do(u, "undo", u.back(false))
		u.wants("all undone", true, true, c)
		if v, _, _ := u.Value(level); v != was {
			t.Errorf("the knob is at %g, was at %g", v, was)
		}
		if w, ok := u.h.Previous(); !ok || !slices.Equal(w.Since.Plugged, []instrument.Cable{c}) {
			t.Errorf("what was stepped over is %+v", w.Since)
		}
		if err := u.back(false); err == nil {
			t.Error("there was more to undo")
		}
		u.wants("nothing more", true, true, c)
	})
	t.Run("its module", func(t *testing.T) {
		u := undoingRig(t)
		do(u, "remove", u.Remove("cv_in/service", "hand"))
		do(u, "add", u.Add(instrument.Module{ID: "cv_in/mine", Text: map[string]string{"jack": "x", "socket": "service/web/selector"}}, "hand"))
		u.in(pair)
		waits(u, "the module", false)
		u.in()
		do(u, "with the cable pulled", u.back(false))
		u.wants("undone", false, false, c)
		do(u, "and the one before", u.back(false))
		u.in(pair)
		u.wants("with the first module", true, true, c)
		waits(u, "its removal again", true)
	})
	t.Run("its words", func(t *testing.T) {
		u := undoingRig(t)
		u.set("/cv_in/service/socket", 0, "")
		u.set(level, 0.25, "")
		u.set("/cv_in/service/socket", 0, "service/web/selector")
		u.in(pair)
		u.wants("plugged", true, true, c)
		waits(u, "no socket", false)
	})
	t.Run("its source", func(t *testing.T) {
		u := undoingRig(t)
		from := cable("deployment/web/pods", "cv_out/pods/in")
		do(u, "pull", u.Pull(from.To, "hand"))
		do(u, "plug", u.Plug(from, "hand"))
		u.in(pair)
		waits(u, "what is patched into its jack", false)
		// Moved, it follows; that leaves none without a meaning.
		other := cable("deployment/sel/pods", "cv_out/pods/in")
		do(u, "move", u.Rewire(Wiring{Pulled: []instrument.Cable{from}, Plugged: []instrument.Cable{other}}, "hand"))
		u.wants("moved", true, true, cable("deployment/sel/pods", "service/web/selector"))
		do(u, "undo of a move", u.back(false))
		u.wants("moved back", true, true, c)
	})
	t.Run("its input", func(t *testing.T) {
		u := undoingRig(t)
		hands := cable("deployment/sel/pods", "service/web/selector")
		do(u, "plug", u.Plug(hands, "hand"))
		do(u, "pull", u.Pull(hands.To, "hand"))
		u.in(pair)
		waits(u, "another cable in its input", false)
		u.in()
		do(u, "with the cable pulled", u.back(false))
		u.wants("undone", true, false, hands)
		do(u, "redo", u.back(true))
		u.in(pair)
		u.wants("plugged", true, true, c)
	})
	t.Run("overruled", func(t *testing.T) {
		u := undoingRig(t)
		u.in(pair)
		do(u, "pull", u.Pull(c.To, "hand"))
		u.wants("overruled", false, false, c)
		do(u, "undo", u.back(false))
		u.wants("let in", true, true, c)
		do(u, "redo", u.back(true))
		u.wants("overruled again", false, false, c)
		u.in(pair)
		u.wants("still", false, false, c)
		do(u, "undo", u.back(false))
		u.in()
		u.wants("pulled in the case", false, false, c)
		// What is not in the case any more does not come back as a hand's.
		u.in(pair)
		do(u, "redo", u.back(true))
		u.in()
		do(u, "undo", u.back(false))
		u.wants("undone without it", false, false, c)
		do(u, "redo", u.back(true))
		u.in(pair)
		u.wants("plugged anew", true, true, c)
	})
	t.Run("drawn as well", func(t *testing.T) {
		u := undoingRig(t)
		u.in(pair)
		do(u, "plug", u.Plug(c, "hand"))
		u.wants("drawn", true, false, c)
		do(u, "undo", u.back(false))
		u.wants("undone", true, true, c)
		do(u, "redo", u.back(true))
		u.in()
		u.wants("the hand's", true, false, c)
		do(u, "undo", u.back(false))
		u.wants("neither's", false, false, c)
		// Over one that was overruled: undone, it is out as before.
		u.in(pair)
		do(u, "pull", u.Pull(c.To, "hand"))
		do(u, "plug", u.Plug(c, "hand"))
		do(u, "undo", u.back(false))
		u.wants("overruled still", false, false, c)
		u.in(pair)
		u.wants("overruled still", false, false, c)
	})
	t.Run("with its ends", func(t *testing.T) {
		u := undoingRig(t)
		u.in(pair)
		for _, id := range []instrument.ModuleID{"service/web", "deployment/web", "cv_in/service", "cv_out/pods"} {
			do(u, "remove", u.Remove(id, "hand"))
			u.wants("removed", false, false, c)
			do(u, "undo", u.back(false))
			u.wants(string(id)+" undone", true, true, c)
			do(u, "remove", u.Remove(id, "hand"))
			u.in()
			do(u, "undo", u.back(false))
			u.wants(string(id)+" undone when it was pulled", false, false, c)
			u.in(pair)
			u.wants("plugged", true, true, c)
		}
	})
}

// meant returns the pairs of the case that mean a cable of the patch, but those
// that a change is to overrule.
func (r *rig) meant(c Change, again bool) map[SensedCable]bool {
	var out []instrument.Cable
	if c.Wiring != nil {
		if out = c.Wiring.Let; again {
			out = c.Wiring.Overruled
		}
	}
	all := map[SensedCable]bool{}
	for _, w := range r.sense.wants(r.patch, func(SensedCable, error) {}) {
		if slices.Contains(r.patch.Cables, w.cable) && !slices.Contains(out, w.cable) {
			all[w.SensedCable] = true
		}
	}
	return all
}

// TestWiringAtRandom plugs, pulls, adds, removes, senses and undoes at random.
// The patch is valid all the time, all can be undone, and what is heard is
// finite.
func TestWiringAtRandom(t *testing.T) {
	for seed := range uint64(3) {
		r := wiringRig(t)
		rnd := rand.New(rand.NewPCG(seed, 5))
		var h History
		r.Wired = func(w Wiring, source string) {
			if source == "hand" {
				h.RecordWiring(w, source, time.Unix(0, 0))
			}
		}
		drawn := map[instrument.Cable]bool{}
		for _, c := range r.patch.Cables {
			drawn[c] = true
		}
		kinds := []string{"vca", "mixer", "lfo", "service", "cv_in", "cv_out", "deployment"}
		for k := range 300 {
			p := r.patch
			from, to := &p.Modules[rnd.IntN(len(p.Modules))], &p.Modules[rnd.IntN(len(p.Modules))]
			var err error
			switch rnd.IntN(10) {
			case 0, 1, 2, 3:
				if len(from.Spec().Outputs) > 0 && len(to.Spec().Inputs) > 0 {
					o, in := from.Spec().Outputs[rnd.IntN(len(from.Spec().Outputs))], to.Spec().Inputs[rnd.IntN(len(to.Spec().Inputs))]
					c := instrument.Cable{From: instrument.JackRef{Module: from.ID, Jack: o.Name}, To: instrument.JackRef{Module: to.ID, Jack: in.Name}}
					if err = r.Plug(c, "hand"); err == nil {
						drawn[c] = true
					}
				}
			case 4:
				if len(p.Cables) > 0 {
					if err = r.Pull(p.Cables[rnd.IntN(len(p.Cables))].To, "hand"); err != nil {
						t.Fatal(err)
					}
				}
			case 5:
				kind := kinds[rnd.IntN(len(kinds))]
				err = r.Add(instrument.Module{ID: instrument.ModuleID(fmt.Sprintf("%s/r%d", kind, k))}, "hand")
				if err != nil {
					t.Fatal(err)
				}
			case 6:
				if err = r.Remove(from.ID, "hand"); err != nil {
					t.Fatal(err)
				}
			case 7:
				var pairs []SensedCable
				for _, o := range []string{"a", "b"} {
					for _, i := range []string{"x", "y"} {
						if rnd.IntN(2) == 0 {
							pairs = append(pairs, SensedCable{o, i, 1})
						}
					}
				}
				r.Sensed(pairs, r.frame)
			default:
				again := rnd.IntN(2) == 0
				step := h.Undo
				if again {
					step = h.Redo
				}
				if c, ok := step(); ok {
					if err = r.KeepsSensed(c, again); err != nil {
						break
					}
					were := r.meant(c, again)
					// What was drawn meanwhile may be in its place.
					if err = r.Restore(c, again, 0); err != nil {
						break
					}
					for pair := range were {
						if !r.meant(Change{}, false)[pair] {
							t.Fatalf("seed %d, step %d: %v is in the case, and its meaning went with %+v", seed, k, pair, c)
						}
					}
				}
			}
			_ = err
			if err := r.patch.Validate(); err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, k, err)
			}
			for _, c := range r.SensedCables() {
				if !slices.Contains(r.patch.Cables, c) {
					t.Fatalf("seed %d, step %d: %s is owned and not there", seed, k, FormatCable(c))
				}
			}
			r.block()
		}
		r.Sensed(nil, r.frame)
		if left := r.SensedCables(); len(left) > 0 || len(r.sense.overruled) > 0 {
			t.Errorf("seed %d: %v, %v are left", seed, left, r.sense.overruled)
		}
		for _, c := range r.patch.Cables {
			if !drawn[c] {
				t.Errorf("seed %d: nothing is in the case, and %s is left that no hand has drawn", seed, FormatCable(c))
			}
		}
		r.run(0.1)
	}
}
