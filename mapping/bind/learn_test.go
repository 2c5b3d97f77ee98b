package bind

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// wantLearned checks the newest event and what the learned map says.
func (r *rig) wantLearned(done bool, binding string) LearnEvent {
	r.t.Helper()
	evs := r.e.LearnEvents()
	if len(evs) == 0 {
		r.t.Error("learning has nothing to say")
		return LearnEvent{}
	}
	ev := evs[len(evs)-1]
	if ev.Done != done {
		r.t.Errorf("learning says %q; done is %v", ev.Text, ev.Done)
	}
	if done && binding != "" {
		data, err := r.e.User().Encode()
		if err != nil {
			r.t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(string(data[strings.Index(string(data), "bindings:"):])), " "); !strings.HasSuffix(got, binding) {
			r.t.Errorf("learned\n%s\nwant %s", got, binding)
		}
	}
	return ev
}

// TestLearn: what a hand does while learning becomes a binding of its kind.
func TestLearn(t *testing.T) {
	sweep := func(n int, values ...int) (ms []midi.Message) {
		for _, v := range values {
			ms = append(ms, midi.CC(1, n, v))
		}
		return ms
	}
	var nrpn []midi.Message
	for v := 4000; v < 6000; v += 100 {
		nrpn = midi.AppendNRPN(nrpn, 0, 300, v)
	}
	var fine []midi.Message
	for v := 4000; v < 6000; v += 100 {
		fine = midi.AppendCC14(fine, 0, 5, v)
	}
	for _, c := range []struct {
		name    string
		to      string
		send    []midi.Message
		gap     time.Duration
		binding string // empty: nothing is learned of it
	}{
		{"a knob", "/deployment/web/cpu", sweep(20, 30, 31, 33, 35), 10, "control: cc 20 ch 2 to: /deployment/web/cpu"},
		{"a knob near its end", "/deployment/web/cpu", sweep(20, 1, 2, 3, 4, 5, 6, 7, 8, 9), 10, "control: cc 20 ch 2 to: /deployment/web/cpu"},
		{"a knob near its middle", "/deployment/web/cpu", sweep(20, 60, 61, 62, 63, 65, 66, 67, 68, 69, 70), 10, "control: cc 20 ch 2 to: /deployment/web/cpu"},
		{"one that trembles", "/deployment/web/cpu", sweep(20, 63, 64, 63, 64, 63, 64, 65, 64, 63, 64, 63), 10, ""},
		{"one that trembles at the end", "/deployment/web/cpu", sweep(20, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1), 10, ""},
		{"one that trembles at the other end", "/deployment/web/cpu", sweep(20, 127, 126, 127, 126, 127, 126, 127, 126, 127, 126, 127), 10, ""},
		{"a pad", "/node/one/cordon", []midi.Message{midi.On(9, 36, 100), midi.Off(9, 36, 0)}, 50, "control: note 36 ch 10 to: /node/one/cordon"},
		{"a button", "/node/one/cordon", sweep(40, 127, 0), 50, "control: cc 40 ch 2 to: /node/one/cordon mode: toggle"},
		{"a button for a gate", "/pod/solo/lifecycle", sweep(40, 127, 0), 50, "control: cc 40 ch 2 to: /pod/solo/lifecycle"},
		{"a button for an action", "scene:+1", sweep(40, 127, 0), 50, "control: cc 40 ch 2 to: scene:+1"},
		{"a switch", "/node/one/cordon", sweep(40, 127), 50, "control: cc 40 ch 2 to: /node/one/cordon"},
		{"an encoder", "/deployment/web/replicas", sweep(30, 1, 1, 1, 1), 20, "to: /deployment/web/replicas mode: relative encoder: twos_complement"},
		{"an encoder the other way", "/deployment/web/replicas", sweep(30, 127, 127, 127, 127), 20, "mode: relative encoder: twos_complement"},
		{"one to and fro", "/deployment/web/replicas", sweep(30, 1, 127, 2, 126), 20, "mode: relative encoder: twos_complement"},
		{"a sign and a number", "/deployment/web/replicas", sweep(30, 1, 1, 65, 65), 20, "mode: relative encoder: signed_bit"},
		{"an offset", "/deployment/web/replicas", sweep(30, 65, 65, 66, 65, 65), 20, "mode: relative encoder: binary_offset"},
		{"an offset to and fro", "/deployment/web/replicas", sweep(30, 65, 65, 63, 63), 20, "mode: relative encoder: binary_offset"},
		{"presses that are never let go", "/node/one/cordon", sweep(40, 127, 127, 127, 127), 400, ""},
		{"fourteen bits", "/deployment/web/cpu", fine, 1, "control: cc14 5 ch 1 to: /deployment/web/cpu"},
		{"a parameter", "/deployment/web/cpu", nrpn, 1, "control: nrpn 300 ch 1 to: /deployment/web/cpu"},
		{"ticks of a parameter", "/deployment/web/replicas", []midi.Message{cc(99, 0), cc(98, 7), cc(96, 0), cc(96, 0), cc(96, 0)}, 1, "control: nrpn 7 ch 1 to: /deployment/web/replicas"},
		{"a wheel", "/deployment/web/cpu", []midi.Message{midi.BendTo(0, 100), midi.BendTo(0, 1000), midi.BendTo(0, 2000), midi.BendTo(0, 3000)}, 5, "control: bend ch 1 to: /deployment/web/cpu"},
		{"a motor fader", "/deployment/web/cpu", []midi.Message{midi.On(0, 104, 127), midi.BendTo(0, 100), midi.BendTo(0, 1000), midi.BendTo(0, 2000), midi.BendTo(0, 3000), midi.On(0, 104, 0)}, 5, "control: bend ch 1 to: /deployment/web/cpu touch: note 104 ch 1"},
		{"a fader that is touched only", "/deployment/web/cpu", []midi.Message{midi.On(0, 104, 127), midi.BendTo(0, 100), midi.On(0, 104, 0)}, 5, ""},
		{"pressure", "/deployment/web/cpu", []midi.Message{midi.Pressure(0, 10), midi.Pressure(0, 20), midi.Pressure(0, 30), midi.Pressure(0, 40)}, 5, "control: pressure ch 1 to: /deployment/web/cpu"},
		{"a pad with pressure", "/node/one/cordon", []midi.Message{midi.On(9, 36, 100), midi.Pressure(9, 10), midi.Pressure(9, 20), midi.Pressure(9, 30), midi.Pressure(9, 40), midi.Off(9, 36, 0)}, 5, "control: note 36 ch 10 to: /node/one/cordon"},
		{"a program for scenes", "scene:*", []midi.Message{midi.Program(0, 5)}, 5, "control: program ch 1 to: scene:*"},
		{"a program", "undo", []midi.Message{midi.Program(0, 5)}, 5, "control: program 5 ch 1 to: undo"},
	} {
		r := newRig(t)
		r.e.LearnInto(NewMap("learned", "What was learned"))
		if err := r.e.Learn(c.to, "x"); err != nil {
			t.Error(c.name, err)
			continue
		}
		r.tick(20 * time.Millisecond)
		r.e.LearnEvents()
		for _, m := range c.send {
			r.after(c.gap * time.Millisecond)
			r.midi("My Box", m)
			if len(r.done) > 0 {
				t.Errorf("%s: played while it is learned: %v", c.name, r.done)
			}
		}
		if c.binding == "" {
			if evs := r.e.LearnEvents(); len(evs) > 0 {
				t.Errorf("%s: %q", c.name, evs[0].Text)
			}
			continue
		}
		r.tick(1100 * time.Millisecond)
		ev := r.wantLearned(true, c.binding)
		if ev.Done && !strings.Contains(ev.Text, c.to) || ev.Port != "My Box" {
			t.Errorf("%s: %+v", c.name, ev)
		}
		if r.e.Learning() != "" {
			t.Error(c.name, "is not over")
		}
	}
}

// TestLearnPlays: what was learned plays at once, counts more than what ships,
// is kept in its file with its comments, and can be forgotten.
func TestLearnPlays(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "maps", "learned.yaml")
	r := newRig(t, strings.Replace(wrap("takeover: jump", "{control: cc 20, to: /deployment/api/cpu}"), "test", "knobs", 1))
	user, err := Parse("learned", []byte("version: 1\nname: learned\ntakeover: jump\n# Mine.\nbindings:\n  # The first.\n  - control: cc 50\n    to: undo # never\n"))
	if err != nil {
		t.Fatal(err)
	}
	r.e.LearnInto(user)
	learn := func(to string, ms ...midi.Message) LearnEvent {
		t.Helper()
		if err := r.e.Learn(to, "x"); err != nil {
			t.Fatal(err)
		}
		r.midi("box", ms...)
		ev := r.wantLearned(true, "")
		if err := r.e.User().Save(path); err != nil {
			t.Fatal(err)
		}
		return ev
	}
	move := []midi.Message{cc(20, 30), cc(20, 34), cc(20, 37), cc(20, 40)}
	ev := learn("/deployment/web/cpu", move...)
	if ev.Was != "/deployment/api/cpu in the map knobs" || !strings.Contains(ev.Text, "before it was bound to /deployment/api/cpu") {
		t.Errorf("%+v", ev)
	}
	r.midi("box", cc(20, 127))
	r.wantValue("/deployment/web/cpu", 16000)
	r.wantValue("/deployment/api/cpu", 0)
	r.midi("other", cc(20, 127))
	r.wantValue("/deployment/api/cpu", 16000)
	if ev := learn("/pod/solo/cpu", move...); ev.Was != "/deployment/web/cpu" {
		t.Errorf("%+v", ev)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const want = `version: 1
name: learned
takeover: jump
# Mine.
bindings:
  # The first.
  - control: cc 50
    to: undo # never
  - port: box
    control: cc 20 ch 1
    to: /pod/solo/cpu
`
	if string(data) != want {
		t.Errorf("the file is\n%s\nwant\n%s", data, want)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "maps", ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	again, err := Load(path)
	if err != nil || len(again.Bindings) != 2 {
		t.Fatal(err)
	}
	was, err := r.e.Forget("box", Control{Kind: CC, Number: 20, Channel: 1})
	if err != nil || was != "/pod/solo/cpu" {
		t.Error(was, err)
	}
	r.midi("box", cc(20, 0))
	r.wantValue("/deployment/api/cpu", 0)
}

// TestLearnControlFirst: a control, then what it is to turn, by any surface.
func TestLearnControlFirst(t *testing.T) {
	r := newRig(t, wrap("takeover: jump", "{control: cc 20, to: /deployment/api/cpu}"))
	r.e.LearnControlFirst()
	r.midi("box", cc(20, 30), cc(20, 34), cc(20, 37), cc(20, 40))
	evs := r.e.LearnEvents()
	if len(evs) != 2 || evs[1].Done || evs[1].Failed || !strings.Contains(evs[1].Text, "cc 20 ch 1 of box moved") {
		t.Fatalf("%+v", evs)
	}
	// It goes on moving, and the instrument itself does things: that is no answer.
	r.midi("box", cc(20, 45))
	r.set("/deployment/web/cpu", 5, "")
	if r.e.Learning() == "" {
		t.Fatal("bound to what the instrument did")
	}
	r.set("/vcf/air/cutoff", 1234, "127.0.0.1:5000")
	if ev := r.wantLearned(true, "to: /vcf/air/cutoff"); ev.To != "/vcf/air/cutoff" {
		t.Errorf("%+v", ev)
	}
	// An address by name does as well.
	r.e.LearnControlFirst()
	r.midi("box", midi.On(0, 9, 1), midi.Off(0, 9, 0))
	if err := r.e.Learn("restart:web", "x"); err != nil {
		t.Fatal(err)
	}
	r.wantLearned(true, "to: restart:web")
	r.midi("box", midi.On(0, 9, 1))
	r.wantDo("restart:web")
	// And an OSC control.
	if err := r.e.Learn("/pod/solo/cpu", "x"); err != nil {
		t.Fatal(err)
	}
	for i := range 5 {
		r.carry(r.e.OSC("/1/rotary3", float64(i)/10, "tablet", r.now))
	}
	r.wantLearned(true, "control: osc /1/rotary3 to: /pod/solo/cpu")
	r.carry(r.e.OSC("/1/rotary3", 0, "tablet", r.now))
	r.carry(r.e.OSC("/1/rotary3", 1, "tablet", r.now))
	r.wantValue("/pod/solo/cpu", 4000)
}

// TestLearnEnds: learning can be ended, ends by itself, and says why something
// cannot be learned.
func TestLearnEnds(t *testing.T) {
	r := newRig(t)
	for _, to := range []string{"/deployment/web/nothing", "/deployment/nobody/cpu", "/deployment/web/ready_count", "knobs[1-2]", "knobs[400]", "make tea", "/deployment/web/image", ""} {
		if err := r.e.Learn(to, "x"); err == nil || !strings.HasPrefix(err.Error(), "learn: ") {
			t.Errorf("%q: %v", to, err)
		}
	}
	if _, err := r.e.Forget("x", Control{}); err == nil {
		t.Error("forgot what was never learned")
	}
	r.e.LearnControlFirst()
	r.e.CancelLearn()
	if ev := r.wantLearned(false, ""); !ev.Failed || !strings.Contains(ev.Text, "nothing was bound") {
		t.Errorf("%+v", ev)
	}
	r.e.CancelLearn()
	if len(r.e.LearnEvents()) > 0 {
		t.Error("ended twice")
	}
	if err := r.e.Learn("/pod/solo/cpu", "x"); err != nil {
		t.Fatal(err)
	}
	if r.e.Learning() != "/pod/solo/cpu" {
		t.Error(r.e.Learning())
	}
	r.tick(patience + 100*time.Millisecond)
	if ev := r.wantLearned(false, ""); !ev.Failed || r.e.Learning() != "" {
		t.Errorf("%+v", ev)
	}
	// A held gate is let go where its binding goes.
	r = newRig(t, wrap("", "{control: note 1, to: /pod/solo/lifecycle}"))
	r.midi("p", midi.On(0, 1, 1))
	r.carry(r.e.SetMaps(nil))
	r.wantValue("/pod/solo/lifecycle", 0)
}

// TestLearnAnything: no stream of messages makes learning fail or lets it bind
// what cannot be read again.
func TestLearnAnything(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 9))
	r := newRig(t)
	tos := []string{"/deployment/web/cpu", "/node/one/cordon", "undo", "knobs[2]", "/pod/solo/lifecycle", "scene:*", "kill:slot/3"}
	for range 200 {
		if rng.IntN(2) == 0 {
			r.e.LearnControlFirst()
		} else if err := r.e.Learn(tos[rng.IntN(len(tos))], ""); err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(60) {
			m := midi.Message{Data: [3]byte{byte(0x80 + rng.IntN(0x70)), byte(rng.IntN(128)), byte(rng.IntN(128))}, Size: 3}
			r.midi("p", m)
			r.tick(time.Duration(rng.IntN(30)) * time.Millisecond)
		}
		if rng.IntN(3) == 0 {
			r.set("/vcf/air/cutoff", 100+rng.Float64()*1000, "someone")
		}
		for _, ev := range r.e.LearnEvents() {
			if ev.Failed && strings.Contains(ev.Text, "could not") && ev.To != "scene:*" {
				t.Fatal(ev.Text)
			}
		}
	}
	data, err := r.e.User().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse("x", data); err != nil {
		t.Error(err)
	}
}

// A button that was down before learning began is let go while it goes on.
func TestLearnLetsGo(t *testing.T) {
	r := newRig(t, wrap("", "{control: note 36 ch 10, to: /pod/solo/lifecycle}"))
	r.midi("pads", midi.On(9, 36, 100))
	r.wantValue("/pod/solo/lifecycle", 10)
	if err := r.e.Learn("/deployment/web/cpu", "test"); err != nil {
		t.Fatal(err)
	}
	r.midi("pads", midi.Off(9, 36, 0))
	r.wantValue("/pod/solo/lifecycle", 0)
}
