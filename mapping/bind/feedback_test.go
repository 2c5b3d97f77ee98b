package bind

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func (r *rig) set(a mapping.Address, v float64, source string) {
	r.t.Helper()
	if err := r.Set(a, v, "", source, 0); err != nil {
		r.t.Fatal(err)
	}
}

// TestFeedback: every surface is told but the one that spoke.
func TestFeedback(t *testing.T) {
	r := newRig(t, wrap("takeover: jump", "{control: cc 20, to: /deployment/web/cpu}", "{control: note 1, to: /node/one/cordon}"))
	r.e.Plugged("a")
	r.e.Plugged("b")
	outs := r.tick(500 * time.Millisecond)
	for _, p := range []string{"a", "b"} {
		if got := told(outs, p); !slices.Equal(got, []string{"cc ch 1 number 20 value 0", "note on ch 1 key 1 velocity 0"}) {
			t.Errorf("%s is told %q at first", p, got)
		}
	}
	r.tick(3 * time.Second)
	r.midi("a", cc(20, 64))
	if got := told(r.e.Tick(r.now), "b"); len(got) != 1 || got[0] != "cc ch 1 number 20 value 64" {
		t.Errorf("b is told %q", got)
	}
	r.now = r.now.Add(20 * time.Millisecond)
	if outs := r.e.Tick(r.now); len(outs) != 0 {
		t.Errorf("an echo: %v", outs)
	}
	// It is where it is; it is told so with everything else, every two seconds.
	n := 0
	for _, m := range told(r.tick(2*time.Second), "a") {
		if strings.HasPrefix(m, "cc") {
			n++
		}
	}
	if n > 1 {
		t.Errorf("a fader that did it is told %d times in two seconds", n)
	}
	// A pad is lit by its own press.
	r.midi("a", midi.On(0, 1, 127))
	outs = r.e.Tick(r.now)
	if len(told(outs, "a")) != 1 || len(told(outs, "b")) != 1 || outs[0].Message.Data[2] != 127 {
		t.Errorf("the pad: %v", outs)
	}
}

// TestMotor: a fader is never told anything while a hand is on it, and is told
// the newest value when it left.
func TestMotor(t *testing.T) {
	for _, touch := range []bool{false, true} {
		b := "{control: bend ch 1, to: /deployment/web/cpu}"
		if touch {
			b = "{control: bend ch 1, to: /deployment/web/cpu, touch: note 104}"
		}
		r := newRig(t, wrap("", b))
		r.e.Plugged("m")
		r.tick(4 * time.Second)
		if touch {
			r.midi("m", midi.On(0, 104, 127))
		}
		r.midi("m", midi.BendTo(0, 0))
		r.set("/deployment/web/cpu", 16000, "kube")
		r.set("/deployment/web/cpu", 4000, "kube")
		for range 25 {
			for _, o := range r.tick(10 * time.Millisecond) {
				t.Errorf("touch %v: told %v while a hand is on it", touch, o.Message)
			}
		}
		if touch {
			for _, o := range r.tick(5 * time.Second) {
				t.Errorf("told %v while it is touched", o.Message)
			}
			r.midi("m", midi.On(0, 104, 0))
		}
		got := told(r.tick(500*time.Millisecond), "m")
		if len(got) == 0 || got[0] != "pitch bend ch 1 value -4096" {
			t.Errorf("touch %v: afterwards told %q", touch, got)
		}
	}
	// One that was moved and picked nothing up goes back.
	r := newRig(t, wrap("takeover: pickup", "{control: cc 20, to: /deployment/web/cpu}"))
	r.e.Plugged("m")
	r.tick(4 * time.Second)
	r.set("/deployment/web/cpu", 8000, "kube")
	r.tick(time.Second)
	r.midi("m", cc(20, 127))
	r.wantValue("/deployment/web/cpu", 8000)
	if got := told(r.tick(600*time.Millisecond), "m"); len(got) == 0 || got[0] != "cc ch 1 number 20 value 64" {
		t.Errorf("it is told %q", got)
	}
}

// TestCoalesced: a light is told fifty times a second at most, and the last
// value always.
func TestCoalesced(t *testing.T) {
	r := newRig(t, wrap("", "{control: cc 20, to: /deployment/web/cpu, feedback: cc 30 ch 4}"))
	r.e.Plugged("a")
	r.tick(100 * time.Millisecond)
	n, last := 0, ""
	for i := range 1000 {
		r.set("/deployment/web/cpu", float64(i*16), "kube")
		for _, o := range r.e.Tick(r.now) {
			n++
			last = o.Message.String()
		}
		r.after(time.Millisecond)
	}
	for _, o := range r.tick(100 * time.Millisecond) {
		last = o.Message.String()
	}
	if n > 51 || n < 45 {
		t.Errorf("told %d times in a second", n)
	}
	if last != "cc ch 4 number 30 value 127" {
		t.Errorf("at last it is told %q", last)
	}
}

// TestResend: everything is told again within two seconds, spread out, never
// faster than a DIN cable bears; on request and after a plug at once.
func TestResend(t *testing.T) {
	for _, c := range []struct {
		controls int
		within   time.Duration
	}{{64, 2100 * time.Millisecond}, {500, 2100 * time.Millisecond}, {1000, 3200 * time.Millisecond}} {
		var bs []string
		for i := range c.controls {
			// Two lines of replicas, one light each.
			bs = append(bs, fmt.Sprintf("{control: cc %d ch %d, to: /deployment/web/cpu}", i%100, i/100+1))
		}
		r := newRig(t, wrap("rate: 20000", bs...))
		r.e.Plugged("a")
		if n := len(r.tick(time.Second)); n < c.controls {
			t.Errorf("%d of %d were told within a second of a plug", n, c.controls)
		}
		r.tick(5 * time.Second)
		seen := map[[2]byte]bool{}
		bytes := 0
		const window = 4
		for at := time.Duration(0); at < window*time.Second; at += 10 * time.Millisecond {
			burst := 0
			for _, o := range r.tick(10 * time.Millisecond) {
				burst += 3
				if at < c.within {
					seen[[2]byte{o.Message.Data[0], o.Message.Data[1]}] = true
				}
			}
			bytes += burst
			if burst > 60 {
				t.Errorf("%d bytes at once", burst)
			}
		}
		if len(seen) != c.controls {
			t.Errorf("%d of %d were told again within %v", len(seen), c.controls, c.within)
		}
		if bytes > window*background+100 {
			t.Errorf("%d bytes a second", bytes/window)
		}
		r.e.Resend("a")
		if n := len(r.tick(time.Second)); n < c.controls {
			t.Errorf("%d of %d were told on request", n, c.controls)
		}
		r.e.Unplugged("a")
		if n := len(r.tick(time.Second)); n != 0 {
			t.Errorf("%d messages to a port that is gone", n)
		}
		r.e.Plugged("a")
		if n := len(r.tick(time.Second)); n < c.controls {
			t.Errorf("%d of %d were told after a plug", n, c.controls)
		}
	}
}

// TestRate: what a cable bears is not exceeded, and nothing is lost by it.
func TestRate(t *testing.T) {
	var bs []string
	for i := range 100 {
		bs = append(bs, fmt.Sprintf("{control: cc %d, to: /deployment/web/cpu}", i))
	}
	r := newRig(t, wrap("rate: 2500", bs...))
	r.e.Plugged("din")
	r.tick(time.Second)
	sent := 0
	for i := range 200 {
		r.set("/deployment/web/cpu", float64(i*79), "kube")
		sent += 3 * len(r.tick(10*time.Millisecond))
	}
	if sent > 2*2500+700 {
		t.Errorf("%d bytes in two seconds", sent)
	}
	r.set("/deployment/web/cpu", 16000, "kube")
	last := map[byte]byte{}
	for _, o := range r.tick(time.Second) {
		last[o.Message.Data[1]] = o.Message.Data[2]
	}
	for i := range 100 {
		if last[byte(i)] != 127 {
			t.Fatalf("controller %d is left at %d", i, last[byte(i)])
		}
	}
}

// TestColours: lights show phases, words, values and whether something is on.
func TestColours(t *testing.T) {
	r := newRig(t, wrap("colours: {on: 9, off: 2, ready: '21@3'}",
		"{control: note 1, to: /voice/chord/wave, feedback: {colours: {saw: 5, sine: 6}}}",
		"{control: note 2, to: /node/one/cordon}",
		"{control: note 3, to: /deployment/web/replicas, mode: toggle, feedback: {colours: {0: 1, 2: 3, '8': 4@2}}}",
		"{control: note 4, pods: true}",
		"{control: cc 5, to: /deployment/web/cpu, feedback: {to: cc 60, values: [1, 11]}}",
		"{control: cc14 6, to: /deployment/web/cpu}",
		"{control: cc 7, to: /deployment/web/cpu, feedback: off}",
		"{control: nrpn 8 ch 2, to: /deployment/web/cpu}",
		"{control: note 9, to: /pod/solo/lifecycle}",
		"{control: osc /1/fader, to: /deployment/web/cpu}",
		"{control: note 10, to: 'layer:1'}", "{control: note 11, to: undo, layer: 1}", "{control: cc 12, to: /deployment/web/cpu, mode: relative}",
	))
	r.e.Plugged("a")
	r.tick(100 * time.Millisecond)
	step := func(d time.Duration, want ...string) {
		t.Helper()
		var got []string
		for _, o := range r.tick(d) {
			if o.Address != "" {
				got = append(got, fmt.Sprintf("%s %g -%s", o.Address, o.Value, o.Except))
			} else if s := o.Message.String(); !slices.Contains(got, s) {
				got = append(got, s)
			}
		}
		for _, w := range want {
			if !slices.Contains(got, w) {
				t.Errorf("told %q, want %q", got, w)
			}
		}
	}
	if err := r.Set("/voice/chord/wave", 0, "saw", "kube", 0); err != nil {
		t.Fatal(err)
	}
	r.set("/node/one/cordon", 1, "kube")
	r.set("/deployment/web/replicas", 9, "kube")
	r.set("/deployment/web/cpu", 16000, "kube")
	r.set("/pod/solo/lifecycle", 10, "kube")
	r.e.Slot(mapping.Slot{Index: 0, Phase: mapping.SlotReady})
	step(time.Second, "note on ch 1 key 1 velocity 5", "note on ch 1 key 2 velocity 9", "note on ch 2 key 3 velocity 4", "note on ch 3 key 4 velocity 21",
		"cc ch 1 number 60 value 11", "cc ch 1 number 6 value 127", "cc ch 1 number 38 value 127", "cc ch 2 number 99 value 0", "cc ch 2 number 98 value 8", "note on ch 1 key 9 velocity 9", "/1/fader 1 -", "cc ch 1 number 12 value 127")
	r.set("/deployment/web/replicas", 3, "kube")
	r.midi("a", midi.On(0, 10, 1))
	step(time.Second, "note on ch 1 key 3 velocity 3", "note on ch 1 key 10 velocity 9", "note on ch 1 key 11 velocity 2")
	r.carry(r.e.OSC("/1/fader", 1, "c", r.now)) // picks it up
	r.carry(r.e.OSC("/1/fader", 0.5, "c", r.now))
	r.wantValue("/deployment/web/cpu", 8000)
	step(time.Second, "/1/fader 0.5 -c", "cc ch 1 number 60 value 6")
	if strings.Contains(fmt.Sprint(told(r.tick(4*time.Second), "a")), "number 7 ") {
		t.Error("a control without feedback is told")
	}
}

// TestNoLoop: two surfaces that send back whatever they are told, as many do,
// come to rest.
func TestNoLoop(t *testing.T) {
	r := newRig(t, wrap("takeover: jump", "{control: cc 20, to: /deployment/web/cpu}", "{control: cc 21, to: /vcf/air/cutoff}", "{control: cc 22, to: /deployment/web/replicas}"))
	rng := rand.New(rand.NewPCG(1, 2))
	for _, p := range []string{"a", "b"} {
		r.e.Plugged(p)
	}
	r.tick(3 * time.Second)
	for range 30 {
		r.midi([]string{"a", "b"}[rng.IntN(2)], cc(20+rng.IntN(3), rng.IntN(128)))
	}
	echo := func(d time.Duration) (changes int) {
		for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(10 * time.Millisecond) {
			for _, o := range slices.Clone(r.e.Tick(r.now)) {
				r.carry(r.e.MIDI(o.Port, o.Message, r.now))
				changes += len(r.done)
			}
		}
		return changes
	}
	echo(2 * time.Second)
	if n := echo(10 * time.Second); n > 0 {
		t.Errorf("%d changes that nobody made", n)
	}
}

// TestTwoNames: where a system names input and output of a surface apart, they
// are one surface all the same.
func TestTwoNames(t *testing.T) {
	for _, names := range [][2]string{
		{"Launchpad Mini MK3 LPMiniMK3 MIDI In", "Launchpad Mini MK3 LPMiniMK3 MIDI Out"}, {"MIDIIN2 (LPX MIDI)", "MIDIOUT2 (LPX MIDI)"},
		{"system:midi_capture_3", "system:midi_playback_3"}, {"X-TOUCH INPUT", "X-TOUCH OUTPUT"}, {"same", "same"},
	} {
		r := newRig(t, wrap("takeover: jump", "{control: cc 20, to: /deployment/web/cpu}", "{port: "+names[0]+", control: cc 21, to: /pod/solo/cpu}"))
		r.e.Plugged(names[1])
		r.tick(3 * time.Second)
		for v := range 60 {
			r.midi(names[0], cc(20, v), cc(21, v))
			for _, o := range r.tick(20 * time.Millisecond) {
				t.Fatalf("%s is told %v while a hand moves it", o.Port, o.Message)
			}
		}
		r.set("/deployment/web/cpu", 16000, "kube")
		if got := told(r.tick(500*time.Millisecond), names[1]); !slices.Contains(got, "cc ch 1 number 20 value 127") {
			t.Errorf("%s is told %q", names[1], got)
		}
		if v := r.value("/pod/solo/cpu"); v == 0 {
			t.Errorf("what is bound on %s only is not bound", names[0])
		}
		r.e.Unplugged(names[1])
		if outs := r.tick(3 * time.Second); len(outs) > 0 {
			t.Errorf("%s is gone and told %v", names[1], outs)
		}
	}
	for _, apart := range [][2]string{{"MIDIIN2 (LPX MIDI)", "MIDIOUT3 (LPX MIDI)"}, {"Box 1", "Box 2"}} {
		if pairKey(apart[0]) == pairKey(apart[1]) {
			t.Errorf("%s and %s are one", apart[0], apart[1])
		}
	}
}
