package bind

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func cc(n, v int) midi.Message { return midi.CC(0, n, v) }

// TestControls: each kind of control turns what it is bound to.
func TestControls(t *testing.T) {
	for _, c := range []struct {
		binding string
		send    []midi.Message
		address mapping.Address
		want    float64
	}{
		{"{control: cc 20, to: /deployment/web/replicas}", []midi.Message{cc(20, 127)}, "/deployment/web/replicas", instrument.MaxReplicas},
		{"{control: cc 20, to: /deployment/web/cpu}", []midi.Message{cc(20, 64)}, "/deployment/web/cpu", 8000},
		{"{control: cc 20 ch 3, to: /deployment/web/cpu}", []midi.Message{cc(20, 64)}, "/deployment/web/cpu", 0},
		{"{control: cc 20 ch 3, to: /deployment/web/cpu}", []midi.Message{midi.CC(2, 20, 127)}, "/deployment/web/cpu", 16000},
		{"{control: cc 20, to: /deployment/web/cpu, range: [1000, 200]}", []midi.Message{cc(20, 127)}, "/deployment/web/cpu", 200},
		{"{control: cc 20, to: /deployment/web/cpu, range: [1000, 200]}", []midi.Message{cc(20, 64)}, "/deployment/web/cpu", 600},
		{"{control: cc 20, to: /deployment/web/cpu, steps: 3}", []midi.Message{cc(20, 80)}, "/deployment/web/cpu", 8000},
		{"{control: cc 20, to: /vcf/air/cutoff, range: [100, 10000]}", []midi.Message{cc(20, 64)}, "/vcf/air/cutoff", 1000},
		{"{control: cc 20, to: /vcf/air/cutoff, range: [100, 10100], curve: linear}", []midi.Message{cc(20, 64)}, "/vcf/air/cutoff", 5100},
		{"{control: cc14 1, to: /deployment/web/cpu}", []midi.Message{cc(1, 64), cc(33, 0)}, "/deployment/web/cpu", 8000},
		{"{control: cc14 1, to: /deployment/web/cpu}", []midi.Message{cc(1, 127), cc(33, 127)}, "/deployment/web/cpu", 16000},
		{"{control: nrpn 300 ch 1, to: /deployment/web/cpu}", midi.AppendNRPN(nil, 0, 300, 8192), "/deployment/web/cpu", 8000},
		{"{control: nrpn 301 ch 1, to: /deployment/web/cpu}", midi.AppendNRPN(nil, 0, 300, 8192), "/deployment/web/cpu", 0},
		{"{control: rpn 1, to: /deployment/web/cpu}", midi.AppendRPN(nil, 4, 1, 16383), "/deployment/web/cpu", 16000},
		{"{control: bend ch 1, to: /deployment/web/cpu}", []midi.Message{midi.BendTo(0, 0)}, "/deployment/web/cpu", 8000},
		{"{control: bend ch 1, to: /deployment/web/cpu}", []midi.Message{midi.BendTo(0, 8191)}, "/deployment/web/cpu", 16000},
		{"{control: pressure ch 2, to: /deployment/web/cpu}", []midi.Message{midi.Pressure(1, 127)}, "/deployment/web/cpu", 16000},
		{"{control: key_pressure 60, to: /deployment/web/cpu}", []midi.Message{midi.KeyPressure(1, 60, 64)}, "/deployment/web/cpu", 8000},
		{"{control: note 60, to: /deployment/web/cpu, mode: absolute}", []midi.Message{midi.On(0, 60, 64), midi.Off(0, 60, 0)}, "/deployment/web/cpu", 8000},
		{"{control: note 60, to: /node/one/cordon}", []midi.Message{midi.On(0, 60, 64), midi.Off(0, 60, 0)}, "/node/one/cordon", 1},
		{"{control: note 60, to: /node/one/cordon}", []midi.Message{midi.On(0, 60, 64), midi.On(0, 60, 0), midi.On(0, 60, 9)}, "/node/one/cordon", 0},
		{"{control: note 60, to: /deployment/web/cpu, mode: momentary, range: [5, 50]}", []midi.Message{midi.On(0, 60, 64)}, "/deployment/web/cpu", 50},
		{"{control: note 60, to: /deployment/web/cpu, mode: momentary, range: [5, 50]}", []midi.Message{midi.On(0, 60, 64), midi.Off(0, 60, 0)}, "/deployment/web/cpu", 5},
		{"{control: note 60, to: /pod/solo/lifecycle}", []midi.Message{midi.On(0, 60, 64)}, "/pod/solo/lifecycle", 10},
		{"{control: note 60, to: /pod/solo/lifecycle}", []midi.Message{midi.On(0, 60, 64), midi.Off(0, 60, 3)}, "/pod/solo/lifecycle", 0},
		{"{control: cc 64, to: /pod/solo/lifecycle}", []midi.Message{cc(64, 127)}, "/pod/solo/lifecycle", 10},
		{"{control: cc 20, to: /vcf/air/cutoff_cv}", []midi.Message{cc(20, 64)}, "/vcf/air/cutoff_cv", 5},
		{"{control: bend, to: /vcf/air/cutoff_cv}", []midi.Message{midi.BendTo(0, -8192)}, "/vcf/air/cutoff_cv", -5},
		{"{control: cc 20, to: /voice/chord/wave, mode: toggle}", []midi.Message{cc(20, 127), cc(20, 0), cc(20, 127)}, "/voice/chord/wave", 2},
		{"{control: cc 20, to: /voice/chord/wave, mode: toggle, range: [0, 1]}", []midi.Message{cc(20, 127), cc(20, 0), cc(20, 127), cc(20, 0)}, "/voice/chord/wave", 0},
		// One that never lets go says the same each time.
		{"{control: cc 20, to: /node/one/cordon, mode: toggle}", []midi.Message{cc(20, 127), cc(20, 127), cc(20, 127)}, "/node/one/cordon", 1},
		{"{control: cc 20, to: /deployment/web/restarts, mode: trigger}", []midi.Message{cc(20, 127), cc(20, 0), cc(20, 100)}, "/deployment/web/restarts", 2},
		{"{control: cc 20, to: '/deployment/*/cpu[2]'}", []midi.Message{cc(20, 127)}, "/deployment/api/cpu", 16000},
		{"{control: cc 20, to: '/*/a*/cpu'}", []midi.Message{cc(20, 127)}, "/deployment/api/cpu", 16000},
		{"{control: cc 20-22, to: 'knobs[1-3]'}", []midi.Message{cc(22, 127)}, "/deployment/api/replicas", instrument.MaxReplicas},
		{"{control: cc 7 ch 1-4, to: 'strip[1-4]/1'}", []midi.Message{midi.CC(2, 7, 127)}, "/voice/chord/level", 12},
	} {
		r := newRig(t, wrap("takeover: jump", c.binding))
		if spec := instrument.Spec("voice"); c.address == "/voice/chord/level" {
			c.want = spec.Params[spec.Param("level")].Max
		}
		if spec := instrument.Spec("voice"); c.address == "/voice/chord/wave" && c.want == 2 {
			p := spec.Params[spec.Param("wave")]
			c.want = p.Value + 2
			if c.want > p.Max {
				c.want -= p.Max + 1
			}
		}
		r.midi("a", c.send...)
		if got := r.value(c.address); got < c.want-1e-6 || got > c.want+1e-6 {
			t.Errorf("%s after %v: %s is at %g, want %g", c.binding, c.send, c.address, got, c.want)
		}
	}
}

// TestEncoders: an encoder goes on from where the value is, in its own
// arithmetic.
func TestEncoders(t *testing.T) {
	for _, c := range []struct {
		encoder  string
		up, down int
	}{{"twos_complement", 1, 127}, {"signed_bit", 1, 65}, {"binary_offset", 65, 63}} {
		r := newRig(t, wrap("", "{control: cc 20, to: /deployment/web/replicas, mode: relative, encoder: "+c.encoder+"}", "{control: cc 21, to: /deployment/web/cpu, mode: relative, encoder: "+c.encoder+", acceleration: 0}", "{control: cc 22, to: /deployment/api/cpu, mode: relative, encoder: "+c.encoder+"}"))
		for range 3 {
			r.after(200*time.Millisecond).midi("a", cc(20, c.up))
		}
		r.wantValue("/deployment/web/replicas", 4)
		r.after(time.Second).midi("a", cc(20, c.down))
		r.wantValue("/deployment/web/replicas", 3)
		for range 64 {
			r.midi("a", cc(21, c.up))
		}
		r.wantValue("/deployment/web/cpu", 8000)
		for range 64 {
			r.midi("a", cc(22, c.up)) // a thousand ticks a second: as fast as it gets
		}
		if v := r.value("/deployment/api/cpu"); v != 16000 {
			t.Errorf("%s: turned fast it came to %g", c.encoder, v)
		}
	}
	r := newRig(t, wrap("", "{control: nrpn 5, to: /deployment/web/replicas, mode: relative}"))
	r.midi("a", cc(99, 0), cc(98, 5), cc(96, 0), cc(96, 0), cc(97, 0), cc(96, 0))
	r.wantValue("/deployment/web/replicas", 3)
}

// TestActions: what is not a value is asked for by name, when it is pressed.
func TestActions(t *testing.T) {
	r := newRig(t, wrap("",
		"{control: note 1-8, to: [panic, undo, redo, 'scene:+1', 'cordon:*[2]', 'restart:*[2]', 'kill:solo', 'drain:one']}",
		"{control: note 9-12, pods: true, first: 3}", "{control: program ch 1, to: 'scene:*'}", "{control: note 20-22, to: 'scenes[1-3]'}", "{control: program 9 ch 2, to: undo}", "{control: cc 3, to: panic}",
		"{control: note 30, to: /deployment/web/restart}", "{control: osc /go, to: resend}"))
	r.e.SetScenes([]string{"one", "two"}, "one")
	for n, want := range []string{"panic", "undo", "redo", "scene:+1", "cordon:two", "restart:api", "kill:solo", "drain:one", "kill:slot/3", "kill:slot/4"} {
		r.midi("p", midi.On(0, n+1, 100))
		r.wantDo(want)
		if s := r.done[0].Source; s != "midi:p" {
			t.Errorf("%s is asked for by %q", want, s)
		}
		r.midi("p", midi.Off(0, n+1, 100))
		r.wantDo()
	}
	r.midi("p", midi.Program(0, 1))
	r.wantDo("scene:two")
	r.midi("p", midi.Program(0, 2))
	r.wantDo() // there is none
	r.midi("p", midi.On(0, 20, 1))
	r.wantDo("scene:one")
	r.midi("p", midi.On(0, 22, 1))
	r.wantDo()
	r.midi("p", midi.Program(1, 9))
	r.wantDo("undo")
	r.midi("p", cc(3, 63))
	r.wantDo()
	r.midi("p", cc(3, 64))
	r.wantDo("panic")
	r.midi("p", cc(3, 127))
	r.wantDo()
	r.midi("p", midi.On(0, 30, 1))
	r.wantDo("/deployment/web/restart=10")
	r.carry(r.e.OSC("/go", 1, "127.0.0.1:9", r.now))
	r.wantDo("resend")
	if s := r.done[0].Source; s != "127.0.0.1:9" {
		t.Error("asked for by", s)
	}
	r.carry(r.e.OSC("/go", 0, "127.0.0.1:9", r.now))
	r.wantDo()
	r.e.OSC("/nobody", 0, "127.0.0.1:9", r.now)
}

// TestArmHeld: a held arm control arms again before its window closes, and
// once more as it is let go.
func TestArmHeld(t *testing.T) {
	r := newRig(t, wrap("", "{control: note 1, to: arm}"))
	var arms Arms
	arm := func(dos []Do) {
		for _, d := range dos {
			if d.Action == "arm" {
				arms.Arm(d.Source, r.now)
			}
		}
	}
	armed := func(want bool) {
		t.Helper()
		if arms.Armed("midi:p", r.now) != want {
			t.Errorf("armed is %v after %v", !want, r.now.Sub(time.Unix(1000, 0)))
		}
	}
	armed(false)
	arm(r.e.MIDI("p", midi.On(0, 1, 1), r.now))
	for range 300 {
		armed(true)
		if arms.Armed("midi:other", r.now) {
			t.Fatal("another port is armed too")
		}
		r.after(100 * time.Millisecond)
		r.e.Tick(r.now)
		arm(r.e.Due(r.now))
	}
	arm(r.e.MIDI("p", midi.Off(0, 1, 1), r.now))
	r.after(ArmWindow - time.Millisecond)
	arm(r.e.Due(r.now))
	armed(true)
	r.after(time.Millisecond)
	arm(r.e.Due(r.now))
	armed(false)
	arms.Hold("x", true, r.now)
	if r.after(time.Hour); !arms.Armed("x", r.now) {
		t.Error("held and not armed")
	}
	arms.Hold("x", false, r.now)
	if !arms.Armed("x", r.now) || arms.Armed("x", r.now.Add(ArmWindow)) {
		t.Error("the window does not begin as the hand leaves")
	}
	arms.Disarm("x")
	if arms.Armed("x", r.now) {
		t.Error("armed after Disarm")
	}
	for i := range 10 * mostArms {
		arms.Arm(fmt.Sprint(i), r.now)
	}
	if len(arms.until) > mostArms {
		t.Errorf("%d clients are remembered", len(arms.until))
	}
	for action, want := range map[string]bool{"kill:slot/1": true, "kill:x": true, "drain:n": true, "power:case": true, "panic": false, "restart:web": false, "cordon:n": false, "scene:kill": false} {
		if Destructive(action) != want {
			t.Errorf("%s: destructive is %v", action, !want)
		}
	}
}

// TestLayers: a shift control chooses what the others do, and what was pressed
// is let go whatever layer is on by then.
func TestLayers(t *testing.T) {
	r := newRig(t, wrap("takeover: jump\nlayers:\n  - {number: 1, shift: note 99}\n  - {number: 2, shift: note 98, latch: true}",
		"{control: cc 20, to: /deployment/web/cpu}", "{control: cc 20, to: /deployment/api/cpu, layer: 1}", "{control: cc 21, to: /pod/solo/cpu}",
		"{control: note 1, to: /pod/solo/lifecycle, layer: 0}", "{control: note 1, to: panic, layer: 1}", "{control: cc 20, to: /etcd/store/key, layer: 2}", "{control: note 97, to: 'layer:2'}"))
	r.midi("p", midi.On(0, 99, 1), cc(20, 127), cc(21, 127))
	r.wantValue("/deployment/web/cpu", 0)
	r.wantValue("/deployment/api/cpu", 16000)
	r.wantValue("/pod/solo/cpu", 4000)
	if r.e.Layer("p") != 1 {
		t.Error("layer", r.e.Layer("p"))
	}
	// A scene is loaded while shift is held.
	r.carry(r.e.Rebind(r.Rack))
	if r.e.Layer("p") != 1 {
		t.Error("shift is lost with the scene")
	}
	r.midi("p", midi.Off(0, 99, 1), cc(20, 64))
	r.wantValue("/deployment/web/cpu", 8000)
	r.wantValue("/deployment/api/cpu", 16000)
	r.midi("p", midi.On(0, 1, 1), midi.On(0, 99, 1))
	r.wantValue("/pod/solo/lifecycle", 10)
	r.midi("p", midi.Off(0, 1, 1))
	r.wantValue("/pod/solo/lifecycle", 0)
	r.midi("p", midi.On(0, 1, 1))
	r.wantDo("panic")
	r.midi("p", midi.Off(0, 1, 1), midi.Off(0, 99, 1), midi.On(0, 98, 1), midi.Off(0, 98, 1), cc(20, 127))
	r.wantValue("/etcd/store/key", 15)
	r.midi("p", midi.On(0, 98, 1))
	if r.e.Layer("p") != 0 {
		t.Error("a second press does not bring layer 0 back")
	}
	r.midi("p", midi.On(0, 97, 1))
	if r.e.Layer("p") != 2 {
		t.Error("layer:2 does not choose it")
	}
	r.e.SetLayer(0)
	r.e.SetLayer(77)
	if r.e.Layer("p") != 0 {
		t.Error("a layer that nothing is bound on was chosen")
	}
	// A port that goes takes its shift with it, and what it held up.
	r.midi("p", midi.On(0, 1, 1), midi.On(0, 99, 1))
	r.carry(r.e.Unplugged("p"))
	r.wantValue("/pod/solo/lifecycle", 0)
	if r.e.Layer("p") != 0 {
		t.Error("shift is held by nobody")
	}
}

// TestLaterMapCounts: of two maps the later one has the control, and the
// channel counts within one map only.
func TestLaterMapCounts(t *testing.T) {
	a := wrap("takeover: jump", "{control: cc 20 ch 1, to: /deployment/web/cpu}", "{control: cc 21, to: /pod/solo/cpu}", "{control: cc 22, to: [/deployment/web/cpu]}")
	b := strings.Replace(wrap("takeover: jump\nports: [synth]", "{control: cc 20, to: /deployment/api/cpu}", "{control: cc 22, to: 'knobs[500]'}"), "test", "other", 1)
	r := newRig(t, a, b)
	r.midi("My Synth", cc(20, 127), cc(21, 127))
	r.wantValue("/deployment/web/cpu", 0)
	r.wantValue("/deployment/api/cpu", 16000)
	r.wantValue("/pod/solo/cpu", 4000)
	r.midi("piano", cc(20, 64))
	r.wantValue("/deployment/web/cpu", 8000)
	// Halves that are bound each for itself are no fourteen bits.
	r.e.SetMaps([]*Map{parse(t, wrap("takeover: jump", "{control: cc14 1, to: /deployment/web/cpu}")), parse(t, wrap("takeover: jump", "{control: cc 1, to: /pod/solo/cpu}", "{control: cc 33, to: /deployment/api/cpu}"))})
	r.set("/deployment/web/cpu", 7, "x")
	r.midi("piano", cc(1, 64), cc(33, 32))
	r.wantValue("/deployment/web/cpu", 7)
	r.wantValue("/pod/solo/cpu", 2000)
	r.wantValue("/deployment/api/cpu", 4000)
	r.e.SetMaps([]*Map{parse(t, a), parse(t, b)})
	// What the scene has not is bound by nobody.
	r.midi("My Synth", cc(22, 127))
	r.wantValue("/deployment/web/cpu", 16000)
	if !r.e.Bound("piano", cc(20, 0)) || r.e.Bound("piano", cc(90, 0)) || r.e.Bound("nowhere", cc(20, 0)) || r.e.Bound("piano", midi.RealTime(midi.Clock)) {
		t.Error("Bound does not tell what is bound")
	}
}

// TestOnRack plays a scene with pods on the grid that ships.
func TestOnRack(t *testing.T) {
	m, err := Library{}.Open("launchpad")
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t)
	r.e.SetMaps([]*Map{m})
	r.e.SetScenes([]string{"ambient", "default"}, "default")
	const port = "Launchpad X:LPX MIDI 1"
	r.e.Plugged(port)
	outs := r.tick(30 * time.Millisecond)
	if len(outs) == 0 || outs[0].Message.Kind() != midi.SysExStart {
		t.Fatal("the grid is not greeted")
	}
	lamps := map[int]string{}
	note := func(outs []Out) {
		for _, o := range outs {
			if o.Message.Kind() == midi.NoteOn {
				lamps[int(o.Message.Data[1])] = fmt.Sprintf("%d@%d", o.Message.Data[2], o.Message.Channel()+1)
			}
		}
	}
	lamp := func(n int, want string) {
		t.Helper()
		note(r.tick(100 * time.Millisecond))
		if lamps[n] != want {
			t.Errorf("pad %d shows %q, want %q", n, lamps[n], want)
		}
	}
	note(outs)
	lamp(81, "0@1")
	lamp(21, "45@1") // a scene, and the one that plays
	lamp(22, "21@1")
	lamp(41, "23@1") // a node, and one that the scene has not
	lamp(43, "0@1")
	r.play(0.1)
	r.pod("web-1", "web", mapping.FieldExists, "true", mapping.FieldPhase, "Pending")
	r.play(0.1)
	lamp(81, "13@3")
	r.pod("web-1", "web", mapping.FieldPhase, "Running")
	r.play(0.1)
	lamp(81, "37@3")
	r.pod("web-1", "web", mapping.FieldReady, "true")
	r.play(0.6)
	lamp(81, "21@1")
	r.midi(port, midi.On(0, 81, 90))
	r.wantDo("kill:slot/1")
	if err := r.KillSlot(0); err != nil {
		t.Error(err)
	}
	r.pod("web-1", "web", mapping.FieldDeleting, "true")
	r.play(0.1)
	lamp(81, "9@3")
	r.midi(port, midi.On(0, 41, 90), midi.Off(0, 41, 0))
	r.wantValue("/node/one/cordon", 1)
	lamp(41, "9@1")
	// Somebody else uncordons.
	if err := r.Set("/node/one/cordon", 0, "", "kubectl", 0); err != nil {
		t.Fatal(err)
	}
	lamp(41, "23@1")
	r.midi(port, midi.CC(0, 19, 127))
	r.wantDo("arm")
	r.e.Lit("arm", true)
	if got := told(r.tick(50*time.Millisecond), port); !slices.Contains(got, "cc ch 2 number 19 value 5") {
		t.Errorf("the arm button does not flash: %q", got)
	}
	// The scene is another, with the same node: nothing is told twice.
	r.tick(3 * time.Second)
	if err := r.Load(stage(t)); err != nil {
		t.Fatal(err)
	}
	r.carry(r.e.Rebind(r.Rack))
	if outs := r.e.Tick(r.now); len(outs) > 3 {
		t.Errorf("a scene load tells %d things that were told before", len(outs))
	}
}

// TestSurvivesScenes: a physical control is where it was, whatever is loaded,
// and turns nothing until it is picked up again.
func TestSurvivesScenes(t *testing.T) {
	r := newRig(t, wrap("", "{control: cc 20, to: /deployment/web/cpu}"))
	r.midi("p", cc(20, 0), cc(20, 10), cc(20, 64))
	r.wantValue("/deployment/web/cpu", 8000)
	p := stage(t)
	p.Modules[0].Params = map[string]float64{"cpu": 12000}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.carry(r.e.Rebind(r.Rack))
	if s := r.e.Takeovers(); len(s) != 1 || s[0].Have != 0.5 || s[0].Want != 0.75 || s[0].Distance != 0.25 || s[0].Address != "/deployment/web/cpu" || s[0].Port != "p" {
		t.Errorf("takeovers: %+v", s)
	}
	r.midi("p", cc(20, 70))
	r.wantValue("/deployment/web/cpu", 12000)
	// The position was remembered over the load: one long step passes the value.
	r.midi("p", cc(20, 110))
	if v := r.value("/deployment/web/cpu"); v < 13000 {
		t.Errorf("not picked up: %g", v)
	}
	if len(r.e.Takeovers()) != 0 {
		t.Errorf("takeovers: %+v", r.e.Takeovers())
	}
}

// TestWhoMoved: what another hand moves, the cluster's or a colleague's, is to
// be picked up; what the control itself moved is not.
func TestWhoMoved(t *testing.T) {
	r := newRig(t, wrap("", "{control: cc 20, to: /deployment/web/cpu}", "{control: cc 21, to: /deployment/web/cpu}"))
	r.midi("p", cc(20, 0), cc(20, 40), cc(20, 64))
	r.wantValue("/deployment/web/cpu", 8000)
	for i, source := range []string{"", "kubectl", "127.0.0.1:9", "midi:other"} {
		// Out of the control's reach, and back under it.
		if err := r.Set("/deployment/web/cpu", 2000, "", source, 0); err != nil {
			t.Fatal(err)
		}
		r.midi("p", cc(20, 65+i))
		r.wantValue("/deployment/web/cpu", 2000)
		r.midi("p", cc(20, 10), cc(20, 64))
		r.wantValue("/deployment/web/cpu", 8000)
	}
	// Another control of the same port is another hand too.
	r.midi("p", cc(21, 64), cc(21, 96))
	now := r.value("/deployment/web/cpu")
	r.midi("p", cc(20, 66))
	r.wantValue("/deployment/web/cpu", now)
	// What is refused leaves the control where it is and the value too.
	d := Do{Kind: DoSet, Address: "/deployment/web/cpu", route: r.e.bound["/deployment/web/cpu"].routes[0]}
	r.e.Refused(d)
	r.midi("p", cc(20, 67))
	r.wantValue("/deployment/web/cpu", now)
}

// TestNothingIsHeld: whatever hands, plugs, layers and scenes do, no gate is
// left high when the surfaces are gone, and none while no key is down.
func TestNothingIsHeld(t *testing.T) {
	rng := rand.New(rand.NewPCG(11, 4))
	gates := []mapping.Address{"/pod/solo/lifecycle", "/node/one/cordon_gate", "/node/two/cordon_gate", "/voice/drone/gate"}
	r := newRig(t, wrap("layers: [{number: 1, shift: note 100}, {number: 2, shift: cc 101, latch: true}]",
		"{control: note 1-4, to: [/pod/solo/lifecycle, /node/one/cordon_gate, /node/two/cordon_gate, /voice/drone/gate], layer: 0}",
		"{control: note 1-4, to: [/node/one/cordon_gate, /pod/solo/lifecycle, /voice/drone/gate, undo], layer: 1}",
		"{control: note 1-2 ch 2, to: [/node/two/cordon_gate, /deployment/web/cpu], mode: momentary}",
		"{control: cc 1-2, to: [/voice/drone/gate, 'layer:2'], mode: gate}", "{control: osc /x, to: /pod/solo/lifecycle}"))
	down := map[[3]int]bool{} // port, channel, key
	key := func(port, ch, n int, on bool) {
		m := midi.Off(ch, n, 0)
		if on {
			m = midi.On(ch, n, 1+rng.IntN(127))
			down[[3]int{port, ch, n}] = true
		} else {
			delete(down, [3]int{port, ch, n})
		}
		r.midi(fmt.Sprint("port", port), m)
	}
	keys := []int{1, 2, 3, 4, 100}
	for i := range 20000 {
		port := rng.IntN(2)
		switch rng.IntN(20) {
		case 0:
			r.midi(fmt.Sprint("port", port), cc(101, rng.IntN(128)))
		case 1:
			r.carry(r.e.OSC("/x", float64(rng.IntN(2)), "c", r.now))
		case 2:
			r.e.SetLayer(rng.IntN(3))
		case 3:
			r.e.Plugged(fmt.Sprint("port", port))
		case 4:
			if rng.IntN(10) == 0 {
				r.carry(r.e.Unplugged(fmt.Sprint("port", port)))
				for k := range down {
					if k[0] == port {
						delete(down, k)
					}
				}
			}
		case 5:
			if rng.IntN(10) == 0 {
				r.carry(r.e.Rebind(r.Rack))
			}
		case 6:
			r.tick(30 * time.Millisecond)
		case 7:
			r.midi(fmt.Sprint("port", port), cc(1+rng.IntN(2), rng.IntN(128)))
		default:
			key(port, rng.IntN(2), keys[rng.IntN(len(keys))], rng.IntN(2) == 0)
		}
		if i%500 != 499 {
			continue
		}
		for k := range down {
			key(k[0], k[1], k[2], false)
		}
		for p := range 2 {
			r.midi(fmt.Sprint("port", p), cc(1, 0), cc(2, 0))
		}
		r.carry(r.e.OSC("/x", 0, "c", r.now))
		for _, g := range gates {
			if v := r.value(g); v != 0 {
				t.Fatalf("after %d messages %s is held by nobody", i, g)
			}
		}
	}
}

// TestTwoHands: a gate that two keys hold falls with the second.
func TestTwoHands(t *testing.T) {
	r := newRig(t, wrap("", "{control: note 1-2, to: [/pod/solo/lifecycle, /pod/solo/lifecycle]}"))
	r.midi("a", midi.On(0, 1, 1))
	r.midi("b", midi.On(0, 2, 1), midi.On(0, 1, 1))
	r.midi("a", midi.Off(0, 1, 1))
	r.midi("b", midi.Off(0, 1, 1))
	r.wantValue("/pod/solo/lifecycle", 10)
	r.midi("b", midi.Off(0, 2, 1))
	r.wantValue("/pod/solo/lifecycle", 0)
}

// TestNoAllocs: what moves allocates nothing, on the way in and on the way out.
func TestNoAllocs(t *testing.T) {
	var maps []*Map
	for _, n := range []string{"knobs", "faders", "launchpad", "daw", "mpe"} {
		m, err := Library{}.Open(n)
		if err != nil {
			t.Fatal(err)
		}
		maps = append(maps, m)
	}
	r := newRig(t)
	r.e.SetMaps(maps)
	const port = "Launchpad X:LPX MIDI 1"
	r.e.Plugged(port)
	r.tick(time.Second)
	i := 0
	step := func() {
		i++
		r.now = r.now.Add(3 * time.Millisecond)
		for _, m := range []midi.Message{cc(21, i&127), cc(16, i&127), midi.On(0, 44, 100), midi.Off(0, 44, 0), midi.Program(15, 1), midi.BendTo(0, i&8191), midi.CC(0, 99, 3), midi.CC(0, 6, i&127)} {
			for _, d := range r.e.MIDI(port, m, r.now) {
				if d.Kind == DoSet {
					r.e.Changed(d.Address, d.Value, "", d.Source)
				}
			}
		}
		r.e.Changed("/deployment/web/replicas", float64(i&15), "", "kubectl")
		r.e.Slot(mapping.Slot{Index: i & 31, Phase: mapping.SlotPhase(i & 7)})
		r.e.OSC("/x", 0.5, "c", r.now)
		r.e.Tick(r.now)
		r.e.Due(r.now)
		r.e.Takeovers()
	}
	for range 2000 {
		step()
	}
	if n := testing.AllocsPerRun(500, step); n != 0 {
		t.Errorf("%g allocations a round", n)
	}
}

func BenchmarkMIDI(b *testing.B) {
	m, err := Library{}.Open("knobs")
	if err != nil {
		b.Fatal(err)
	}
	r := newRig(b)
	r.e.SetMaps([]*Map{m})
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		for _, d := range r.e.MIDI("p", cc(21, i&127), r.now) {
			r.e.Changed(d.Address, d.Value, "", d.Source)
		}
	}
}

func BenchmarkTick(b *testing.B) {
	m, err := Library{}.Open("launchpad")
	if err != nil {
		b.Fatal(err)
	}
	r := newRig(b)
	r.e.SetMaps([]*Map{m})
	r.e.Plugged("lpx midi")
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r.e.Slot(mapping.Slot{Index: i & 31, Phase: mapping.SlotPhase(i & 7)})
		r.now = r.now.Add(10 * time.Millisecond)
		r.e.Tick(r.now)
	}
}

func BenchmarkRebind(b *testing.B) {
	var maps []*Map
	for _, n := range []string{"knobs", "faders", "launchpad", "daw", "mpe"} {
		m, err := Library{}.Open(n)
		if err != nil {
			b.Fatal(err)
		}
		maps = append(maps, m)
	}
	r := newRig(b)
	r.e.SetMaps(maps)
	r.e.Plugged("lpx midi")
	r.e.Plugged("k8s-synth")
	for b.Loop() {
		r.e.Rebind(r.Rack)
	}
}

// TestStageActions: controls launch, step and morph scenes; a fader goes the
// way of a morph, and a program change plays the slot of its number.
func TestStageActions(t *testing.T) {
	r := newRig(t, wrap("",
		"{control: cc 64 ch 1, to: next}", "{control: note 1-6, to: [previous, cancel, 'launch:a:bar:2', 'morph:a:8', 'snapshot:3', 'setlist:friday']}",
		"{control: cc 20 ch 1, to: 'morph:*'}", "{control: program ch 1, to: 'slot:*'}", "{control: note 10, to: 'slot:16'}"))
	r.midi("p", cc(64, 127))
	r.wantDo("next")
	for n, want := range []string{"previous", "cancel", "launch:a:bar:2", "morph:a:8", "snapshot:3", "setlist:friday"} {
		r.midi("p", midi.On(0, n+1, 100))
		r.wantDo(want)
	}
	r.midi("p", cc(20, 127))
	r.wantDo("position")
	if v := r.done[0].Value; v != 1 {
		t.Errorf("the fader's end is %g", v)
	}
	r.midi("p", cc(20, 127))
	r.wantDo()
	r.midi("p", midi.Program(0, 4))
	r.wantDo("slot:5")
	r.midi("p", midi.Program(0, 16))
	r.wantDo()
	r.midi("p", midi.On(0, 10, 100))
	r.wantDo("slot:16")
	for _, bad := range []string{"slot:17", "slot:0", "snapshot:*", "next:x", "launch", "'morph:*'"} {
		if _, err := Parse("x", []byte("version: 1\nname: x\nbindings:\n  - {control: note 1, to: "+bad+"}\n")); err == nil {
			t.Errorf("%s is bound", bad)
		}
	}
}
