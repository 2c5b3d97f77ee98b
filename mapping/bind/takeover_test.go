package bind

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// TestPickup: nothing happens until the control passes the value.
func TestPickup(t *testing.T) {
	r := newRig(t, wrap("", "{control: cc 20, to: /deployment/web/cpu}"))
	set := func(v float64) {
		if err := r.Set("/deployment/web/cpu", v, "", "", 0); err != nil {
			t.Fatal(err)
		}
	}
	set(8000)
	r.midi("p", cc(20, 100)) // the first word of it: nobody knows whence it came
	r.wantValue("/deployment/web/cpu", 8000)
	r.midi("p", cc(20, 80))
	r.wantValue("/deployment/web/cpu", 8000)
	s := r.e.Takeovers()
	if len(s) != 1 || s[0].Distance >= 0 || s[0].Want != 0.5 {
		t.Errorf("takeovers: %+v", s)
	}
	r.midi("p", cc(20, 50)) // passes
	r.wantValue("/deployment/web/cpu", 16000*50.0/128)
	set(8000)
	r.midi("p", cc(20, 63), cc(20, 80)) // one step below is near enough
	r.wantValue("/deployment/web/cpu", 16000*travel7(80))
	// Of whole numbers the step that it stands in is near enough.
	r = newRig(t, wrap("", "{control: cc 20, to: /deployment/web/replicas}"))
	r.midi("p", cc(20, 6), cc(20, 30))
	if v := r.value("/deployment/web/replicas"); v < 2 {
		t.Errorf("replicas: %g", v)
	}
}

// TestPickupAcrossLayers: a control that turned something else meanwhile has
// let go of what it held.
func TestPickupAcrossLayers(t *testing.T) {
	r := newRig(t, wrap("layers: [{number: 1, shift: note 9}]", "{control: cc 20, to: /deployment/web/cpu}", "{control: cc 20, to: /deployment/api/cpu, layer: 1}"))
	r.midi("p", cc(20, 0), cc(20, 30), cc(20, 64))
	r.wantValue("/deployment/web/cpu", 8000)
	r.midi("p", midi.On(0, 9, 1), cc(20, 100), midi.Off(0, 9, 0), cc(20, 101))
	r.wantValue("/deployment/web/cpu", 8000)
	r.wantValue("/deployment/api/cpu", 0)
	if s := r.e.Takeovers(); len(s) != 1 || s[0].Distance >= 0 {
		t.Errorf("takeovers: %+v", s)
	}
	r.midi("p", cc(20, 32))
	r.wantValue("/deployment/web/cpu", 4000)
	// Untouched meanwhile, it still holds.
	r.midi("p", midi.On(0, 9, 1), midi.Off(0, 9, 0), cc(20, 96))
	r.wantValue("/deployment/web/cpu", 16000*travel7(96))
}

// TestScaled: the value meets the control at the end, from both sides.
func TestScaled(t *testing.T) {
	for _, end := range []int{0, 127} {
		r := newRig(t, wrap("takeover: scaled", "{control: cc 20, to: /deployment/web/cpu}"))
		r.midi("p", cc(20, 100))
		if err := r.Set("/deployment/web/cpu", 4000, "", "", 0); err != nil {
			t.Fatal(err)
		}
		last := 4000.0
		for v := 100; v != end; {
			if end == 0 {
				v--
			} else {
				v++
			}
			r.midi("p", cc(20, v))
			now := r.value("/deployment/web/cpu")
			if end == 0 && now > last || end == 127 && now < last {
				t.Errorf("the value goes the other way: %g after %g", now, last)
			}
			last = now
		}
		if end == 0 && last != 0 || end == 127 && last < 15000 {
			t.Errorf("at %d the value is %g", end, last)
		}
	}
}

// TestTakeoverProperties: whatever hand and cluster do, in pickup and scaled
// the value never jumps, and the ends can be reached.
func TestTakeoverProperties(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 7))
	for _, takeover := range []string{"pickup", "scaled"} {
		for _, control := range []string{"cc 20", "bend ch 1"} {
			r := newRig(t, wrap("", fmt.Sprintf("{control: %s, to: /deployment/web/cpu, takeover: %s}", control, takeover)))
			at := 0
			send := func(v int) {
				at = v
				if control == "cc 20" {
					r.midi("p", cc(20, v>>7))
				} else {
					r.midi("p", midi.BendTo(0, v-8192))
				}
			}
			pos := func(v int) float64 {
				if control == "cc 20" {
					return travel7(v >> 7)
				}
				return travel(v)
			}
			send(0)
			for i := range 4000 {
				if rng.IntN(40) == 0 {
					if err := r.Set("/deployment/web/cpu", rng.Float64()*16000, "", "kube", 0); err != nil {
						t.Fatal(err)
					}
				}
				if rng.IntN(200) == 0 {
					r.carry(r.e.Rebind(r.Rack))
				}
				before, from := r.value("/deployment/web/cpu")/16000, pos(at)
				step := rng.IntN(800) - 400
				if rng.IntN(10) == 0 {
					step *= 10
				}
				send(min(max(at+step, 0), 16383))
				after, to := r.value("/deployment/web/cpu")/16000, pos(at)
				moved := math.Abs(to - from)
				most := moved + closeBy + 1e-6
				if takeover == "scaled" {
					most = moved*steepest + closeBy + 1e-6
				}
				if d := math.Abs(after - before); d > most {
					t.Fatalf("%s, %s, move %d: the control went from %.4f to %.4f, and the value jumped from %.4f to %.4f", takeover, control, i, from, to, before, after)
				}
			}
			for i := range 20 {
				if err := r.Set("/deployment/web/cpu", rng.Float64()*16000, "", "kube", 0); err != nil {
					t.Fatal(err)
				}
				// From one end to the other it always gets there.
				for v := at; v > 0; v = max(v-200, 0) {
					send(v)
				}
				send(0)
				for v := 0; v < 16383; v = min(v+200, 16383) {
					send(v)
				}
				send(16383)
				if v := r.value("/deployment/web/cpu"); v != 16000 {
					t.Fatalf("%s, %s, sweep %d ends at %g", takeover, control, i, v)
				}
				for v := 16383; v > 0; v = max(v-200, 0) {
					send(v)
				}
				send(0)
				if v := r.value("/deployment/web/cpu"); v != 0 {
					t.Fatalf("%s, %s, sweep %d ends at %g", takeover, control, i, v)
				}
				if len(r.e.Takeovers()) != 0 {
					t.Fatalf("%s, %s: it does not hold what it has: %+v", takeover, control, r.e.Takeovers())
				}
				if i%2 == 1 {
					send(rng.IntN(16384))
				}
			}
		}
	}
}

// TestScale: each curve goes from end to end, up all the way, and back by its
// inverse.
func TestScale(t *testing.T) {
	for _, s := range []scale{
		{low: 0, high: 16, curve: CurveLinear}, {low: 10, high: -3, curve: CurveLinear}, {low: 20, high: 20000, curve: CurveExponential}, {low: 20000, high: 20, curve: CurveExponential},
		{low: 0, high: 1, curve: CurveExponential}, {low: 5, high: -5, curve: CurveExponential}, {low: 0, high: 1, curve: CurveLogarithmic}, {low: 20, high: 90, curve: CurveLogarithmic}, {low: -1, high: 1, curve: CurveS},
		{low: -20, high: -2000, curve: CurveExponential},
	} {
		if s.value(0) != s.low || s.value(1) != s.high || s.value(-1) != s.low || s.value(2) != s.high {
			t.Errorf("%+v: ends at %g and %g", s, s.value(0), s.value(1))
		}
		last := s.low
		for i := 1; i <= 1000; i++ {
			p := float64(i) / 1000
			v := s.value(p)
			if (v-last)*(s.high-s.low) <= 0 {
				t.Fatalf("%+v: at %g it goes from %g to %g", s, p, last, v)
			}
			last = v
			if d := math.Abs(s.travel(v) - p); d > 1e-6 {
				t.Fatalf("%+v: %g comes back as %g", s, p, s.travel(v))
			}
		}
	}
	for v := range 16384 {
		if bits14(travel(v)) != v {
			t.Fatalf("%d comes back as %d", v, bits14(travel(v)))
		}
	}
	for v := range 128 {
		if bits7(travel7(v)) != v || math.Abs(travel(midi.Widen(v))-travel7(v)) > 1.0/128 {
			t.Fatalf("%d comes back as %d", v, bits7(travel7(v)))
		}
	}
	s := scale{low: 0, high: 10, curve: CurveLinear, steps: 5, whole: true}
	if v := s.value(0.3); v != 3 { // the second of five: 2.5, as a whole number
		t.Errorf("steps: %g", v)
	}
	if s.travel(math.NaN()) != 0 || (&scale{low: 1, high: 1}).travel(1) != 0 {
		t.Error("what is no value has a place on the travel")
	}
}
