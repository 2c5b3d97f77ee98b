package instrument

import (
	"math"
	"testing"
)

// gateAt is high from one frame to another, counted from the frame at.
func gateAt(at, from, to int64) func(int64, int) float32 {
	return func(f int64, _ int) float32 {
		if f -= at; f >= from && f < to {
			return GateVolts
		}
		return 0
	}
}

// firstAt is the first frame from which b is at least (or, if falling, at most) v.
func firstAt(b []float32, from int, v float64, falling bool) int {
	for i := from; i < len(b); i++ {
		if (float64(b[i]) >= v) != falling {
			return i
		}
	}
	return -1
}

func within(t *testing.T, name string, frames int, seconds float64) {
	t.Helper()
	got := float64(frames) / testRate
	t.Logf("%-9s %8.4f s: %+.3f %%", name, seconds, 100*(got/seconds-1))
	if math.Abs(got-seconds) > max(0.01*seconds, 1.0/testRate) {
		t.Errorf("%s of %v s takes %v s", name, seconds, got)
	}
}

// TestADSRModuleTimes: attack is the time from 0 V to 10 V, hold that at 10 V;
// decay and release are over when a thousandth of their way is left. All within
// 1 %, or a frame where that is more, from a millisecond to ten seconds.
func TestADSRModuleTimes(t *testing.T) {
	for _, s := range []float64{0.001, 0.003, 0.01, 0.1, 1, 10} {
		r := patched(t, "adsr", map[string]float64{"attack": s, "hold": s, "decay": s, "release": s, "sustain": 0.4}, []string{"gate"}, []string{"envelope", "inverted", "end"})
		r.settle()
		long := int64(s * testRate)
		r.feed("gate", gateAt(r.e.frame, 10, 10+5*long)).render(int(8*long) + 4800)
		env, inv := r.recorded("envelope"), r.recorded("inverted")
		top := firstAt(env, 0, 10, false)
		within(t, "attack", top-10+1, s)
		down := firstAt(env, top, 9.9999999, true)
		within(t, "hold", down-top-1, s)
		rest := firstAt(env, down, 4+6e-3, true)
		within(t, "decay", rest-down+1, s)
		off := 10 + int(5*long)
		level := float64(env[off-1])
		over := firstAt(env, off, level*1e-3, true)
		within(t, "release", over-off+1, s)
		ends := rises(r.recorded("end"))
		if len(ends) != 1 {
			t.Fatalf("%v s: %d ends", s, len(ends))
		}
		within(t, "end", ends[0]-off+1, s)
		for i := range env {
			if env[i]+inv[i] != 10 {
				t.Fatalf("inverted is %v V while the envelope is %v V", inv[i], env[i])
			}
			if env[i] < 0 || env[i] > 10 {
				t.Fatalf("%v V", env[i])
			}
		}
	}
}

// TestADSRRetrigger: a trigger while the gate is high attacks again from where
// the level is; no step is steeper than the attack itself.
func TestADSRRetrigger(t *testing.T) {
	r := patched(t, "adsr", map[string]float64{"attack": 0.01, "decay": 0.05, "sustain": 0.3, "release": 0.1}, []string{"gate", "retrigger"}, []string{"envelope"})
	r.settle()
	at := r.e.frame
	r.feed("gate", func(f int64, _ int) float32 {
		if f -= at; f%9000 < 6000 {
			return 10
		}
		return 0
	})
	r.feed("retrigger", func(f int64, _ int) float32 {
		if f -= at; f%2777 < 48 {
			return 10
		}
		return 0
	}).seconds(3)
	env := r.recorded("envelope")
	// The steepest is the start of an attack from 0 V: 10/(1−e^−1.5)·1.5/n.
	limit := 10 / 0.7768698 * 1.5 / (0.01 * testRate) * 1.01
	if step, at := steepest(env); step > limit {
		t.Errorf("a step of %v V at frame %d, expected at most %v", step, at, limit)
	}
	peaks := 0
	for i := 1; i < len(env); i++ {
		if env[i] == 10 && env[i-1] < 10 {
			peaks++
		}
	}
	// 16 gates, and 35 triggers while one of them is high, less those that
	// come together with a gate or before its attack is over.
	if peaks < 40 || peaks > 56 {
		t.Errorf("%d attacks in 3 s", peaks)
	}
}

// TestADSRLoop: while the gate is high, attack, hold and decay go round in
// exactly their times.
func TestADSRLoop(t *testing.T) {
	r := patched(t, "adsr", map[string]float64{"attack": 0.02, "hold": 0.01, "decay": 0.07, "sustain": 0, "loop": 1}, []string{"gate"}, []string{"envelope", "end"})
	r.settle()
	r.feed("gate", gateAt(r.e.frame, 10, 5*testRate)).seconds(6)
	ends := rises(r.recorded("end"))
	if n := len(ends); n < 50 || n > 52 {
		t.Fatalf("%d rounds of 0.1 s in 5 s", n)
	}
	for i := 2; i < 49; i++ {
		// The attack begins a thousandth up, and is that much shorter.
		if d := ends[i] - ends[i-1]; d < 4790 || d > 4803 {
			t.Errorf("round %d lasts %d frames, expected 4800", i, d)
		}
	}
	if last := r.recorded("envelope"); last[len(last)-1] != 0 {
		t.Error("it goes on after the gate")
	}
}

// TestADSRVelocity: the peak is what velocity says at the attack, by the share.
func TestADSRVelocity(t *testing.T) {
	for _, c := range []struct{ share, velocity, peak float64 }{{1, 10, 10}, {1, 5, 5}, {0.5, 5, 7.5}, {0, 2, 10}, {1, 0, 0}, {1, -3, 0}, {1, 99, 10}} {
		r := patched(t, "adsr", map[string]float64{"velocity_share": c.share, "sustain": 0.5}, []string{"gate", "velocity"}, []string{"envelope"})
		r.settle()
		at := r.e.frame
		r.feed("gate", gateAt(at, 10, testRate))
		// What it does after the attack began does not matter.
		r.feed("velocity", func(f int64, _ int) float32 {
			if f-at < 100 {
				return float32(c.velocity)
			}
			return 7
		}).seconds(0.9)
		env := r.recorded("envelope")
		if p := peakOf(env); math.Abs(p-c.peak) > 1e-5 {
			t.Errorf("%+v: peaks at %v V", c, p)
		}
		if v := float64(env[len(env)-1]); math.Abs(v-c.peak/2) > 1e-4 {
			t.Errorf("%+v: sustains at %v V", c, v)
		}
	}
	// A weaker note in a loud one falls to its peak, without a step.
	r := patched(t, "adsr", map[string]float64{"attack": 0.005, "decay": 0.2, "release": 2, "sustain": 1}, []string{"gate", "velocity"}, []string{"envelope"})
	r.settle()
	at := r.e.frame
	r.feed("gate", func(f int64, _ int) float32 {
		if f -= at; f > 10 && f%9600 < 9000 {
			return 10
		}
		return 0
	})
	r.feed("velocity", func(f int64, _ int) float32 {
		if f-at < 9600 {
			return 10
		}
		return 3
	}).seconds(1)
	env := r.recorded("envelope")
	if step, at := steepest(env); step > 0.09 {
		t.Errorf("a step of %v V at frame %d", step, at)
	}
	if v := env[len(env)-1000]; math.Abs(float64(v)-3) > 0.01 {
		t.Errorf("the weaker note stands at %v V", v)
	}
}

// TestADSRChannels: each channel of the gate has its own envelope, and its own
// time where the CV of a knob is polyphonic.
func TestADSRChannels(t *testing.T) {
	r := patched(t, "adsr", map[string]float64{"attack": 0.01}, []string{"gate", "attack_cv"}, []string{"envelope"})
	r.source(sourceOf("gate")).channels = 3
	r.source(sourceOf("attack_cv")).channels = 3
	r.settle()
	at := r.e.frame
	r.feed("attack_cv", func(_ int64, c int) float32 { return float32(c) })
	r.feed("gate", func(f int64, c int) float32 {
		if f-at >= int64(1000*(c+1)) {
			return 10
		}
		return 0
	}).seconds(0.3)
	for c := range 3 {
		env := r.probe(probeOf("envelope")).rec[c]
		within(t, "attack", firstAt(env, 0, 10, false)-1000*(c+1)+1, 0.01*math.Exp2(float64(c)))
	}
}
