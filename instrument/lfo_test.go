package instrument

import (
	"math"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// cycles lists the frames at which a rising saw begins again.
func cycles(b []float32) (at []int) {
	for i := 1; i < len(b); i++ {
		if b[i] < b[i-1]-1 {
			at = append(at, i)
		}
	}
	return at
}

// TestLFORate: from 0.005 Hz to 100 Hz, by knob and by volts.
func TestLFORate(t *testing.T) {
	for _, c := range []struct{ rate, volts, want float64 }{{100, 0, 100}, {1, 3, 8}, {8, -2, 2}, {2, 10, 100}, {0.5, 0, 0.5}} {
		r := patched(t, "lfo", map[string]float64{"rate": c.rate}, []string{"rate_cv"}, []string{"saw"})
		r.feed("rate_cv", steady(float32(c.volts))).settle().seconds(max(0.5, 4/c.want))
		at := cycles(r.recorded("saw"))
		if len(at) < 2 {
			t.Fatalf("%+v: %d cycles", c, len(at))
		}
		got := float64(len(at)-1) * testRate / float64(at[len(at)-1]-at[0])
		if math.Abs(got/c.want-1) > 0.5/float64(at[len(at)-1]-at[0])*4+1e-4 {
			t.Errorf("%+v: %v Hz", c, got)
		}
	}
	// The slowest: a cycle is 200 s, so ten seconds are a twentieth of it.
	r := patched(t, "lfo", map[string]float64{"rate": 0.005}, nil, []string{"saw"})
	r.settle().seconds(10)
	b := r.recorded("saw")
	if d := float64(b[len(b)-1] - b[0]); math.Abs(d-0.5) > 0.001 {
		t.Errorf("at 0.005 Hz the saw rises %v V in 10 s, expected 0.5", d)
	}
}

// TestLFOShapes: each has its range in both polarities, its phase, its width.
func TestLFOShapes(t *testing.T) {
	shapes := []string{"sine", "triangle", "saw", "square", "random", "smooth"}
	for _, polarity := range []float64{0, 1} {
		for _, phase := range []float64{0, 0.25} {
			r := patched(t, "lfo", map[string]float64{"rate": 10, "polarity": polarity, "phase": phase, "width": 0.3}, []string{"reset"}, shapes)
			r.settle()
			r.feed("reset", gateAt(r.e.frame, 0, 100)).seconds(0.1 * 40)
			lift := 5 * polarity
			rec := map[string][]float32{}
			for _, s := range shapes {
				rec[s] = r.recorded(s)
				low, high := slices.Min(rec[s]), slices.Max(rec[s])
				tight := 0.02
				if s == "random" || s == "smooth" {
					tight = 1.5
				}
				if float64(low) < lift-5.001 || float64(high) > lift+5.001 || float64(low) > lift-5+tight || float64(high) < lift+5-tight {
					t.Errorf("%s goes from %v to %v V, expected around %v", s, low, high, lift)
				}
			}
			for _, at := range []float64{0.03, 0.2, 0.45, 0.7, 0.95} {
				i := int(at * testRate / 10)
				p := math.Mod(at+phase, 1)
				triangle := p / 0.3
				if p > 0.3 {
					triangle = (1 - p) / 0.7
				}
				square := -5.0
				if p < 0.3 {
					square = 5
				}
				for s, want := range map[string]float64{"sine": 5 * math.Sin(2*math.Pi*p), "saw": 10*p - 5, "triangle": 10*triangle - 5, "square": square} {
					if got := float64(rec[s][i]) - lift; math.Abs(got-want) > 0.03 {
						t.Errorf("%s at %v of a cycle from %v on is %v V, expected %v", s, at, phase, got, want)
					}
				}
			}
			steps := 0
			for i := 1; i < len(rec["random"]); i++ {
				if rec["random"][i] != rec["random"][i-1] {
					steps++
				}
			}
			if steps < 39 || steps > 41 {
				t.Errorf("random steps %d times in 40 cycles", steps)
			}
			// A smoothstep of 10 V is never steeper than 1.5 times that a cycle.
			if step, _ := steepest(rec["smooth"]); step > 1.5*10/(testRate/10)*1.01 {
				t.Errorf("smooth steps by %v V", step)
			}
			if thd := measure.THD(rec["sine"], 10, testRate); thd > -60 {
				t.Errorf("the sine has %.1f dB of harmonics", thd)
			}
		}
	}
}

// TestLFOFollowsClock: in step with the clock, by every ratio, within a few
// frames, and again after the tempo has changed; without a jump on the way.
func TestLFOFollowsClock(t *testing.T) {
	for i, ratio := range lfoRatios {
		const first, second = 3000, 2250 // frames to a clock: sixteenths at 240 BPM, then at 320
		speed := float64(ratio.cycles) / float64(ratio.clocks)
		r := patched(t, "lfo", map[string]float64{"ratio": float64(i)}, []string{"clock", "reset"}, []string{"saw"})
		r.settle()
		at := r.e.frame
		turn := int64(40 * first)
		r.feed("reset", gateAt(at, 0, 48))
		r.feed("clock", func(f int64, _ int) float32 {
			f -= at
			period := int64(first)
			if f >= turn {
				f, period = f-turn, second
			}
			if f%period < 48 {
				return 10
			}
			return 0
		}).render(int(turn) + 60*second)
		b := r.recorded("saw")
		check := func(from, edges, frame, period int) {
			want := math.Mod(float64(edges)*speed, 1)
			got := (float64(b[frame]) + 5) / 10
			miss := got - want
			miss -= math.Round(miss)
			if math.Abs(miss) > 3*speed/float64(period)+1e-6 {
				t.Errorf("%s: at edge %d it stands at %.5f of a cycle, expected %.5f", lfoRatioWords[i], edges, got, want)
			}
		}
		for e := 5; e < 40; e++ {
			check(0, e, e*first, first)
		}
		for e := 30; e < 60; e++ {
			check(40, 40+e, int(turn)+e*second, second)
		}
		// Its steps are at most those of one and a half times its speed.
		limit := 10 * 1.51 * speed / second
		for k := 2*first + 1; k < len(b); k++ {
			d := float64(b[k] - b[k-1])
			if d < -5 {
				d += 10
			}
			if d > limit || d < 0 {
				t.Fatalf("%s: a step of %v V at frame %d, expected 0…%v", lfoRatioWords[i], d, k, limit)
			}
		}
	}
}

// TestLFOClockAndReset: an edge within a millisecond of the reset is the first
// of the clock, whichever of the two comes first by a few frames.
func TestLFOClockAndReset(t *testing.T) {
	for _, late := range []int64{0, 1, 40} {
		r := patched(t, "lfo", nil, []string{"clock", "reset"}, []string{"saw"})
		r.settle()
		at := r.e.frame
		r.feed("clock", func(f int64, _ int) float32 {
			if f -= at; (f+12000-late)%12000 < 48 {
				return 10
			}
			return 0
		})
		r.feed("reset", gateAt(at, 5*12000, 5*12000+48)).render(30 * 12000)
		b := r.recorded("saw")
		for e := 8; e < 30; e++ {
			got := (float64(b[e*12000+int(late)-0]) + 5) / 10
			if miss := got - math.Round(got); math.Abs(miss) > 1e-3 {
				t.Errorf("%d frames late: edge %d finds it at %v of a cycle", late, e, got)
			}
		}
	}
}

// TestLFOClockStops: when a clock goes on after it stood still, with a reset or
// without, the cycle goes on at the speed of before.
func TestLFOClockStops(t *testing.T) {
	for _, reset := range []bool{false, true} {
		const period, from, to = 3000, 20 * 3000, 90*3000 + 700
		r := patched(t, "lfo", map[string]float64{"ratio": 6}, []string{"clock", "reset"}, []string{"saw"}) // 1/3
		r.settle()
		at := r.e.frame
		r.feed("clock", func(f int64, _ int) float32 {
			if f -= at; (f < from && f%period < 48) || (f >= to && (f-to)%period < 48) {
				return 10
			}
			return 0
		})
		if reset {
			r.feed("reset", gateAt(at, to, to+48))
		}
		r.render(to + 40*period)
		b := r.recorded("saw")
		first := (float64(b[to+10])/10 - float64(b[to+10+period-20])/10) * -3
		if first -= 3 * math.Floor(first/3); first < 0.49 || first > 1.51 {
			t.Errorf("reset %v: in the first period it goes %v of the way", reset, first)
		}
		// And it is in step again.
		for e := 20; e < 40; e++ {
			got := (float64(b[to+e*period]) + 5) / 10 * 3
			if miss := got - math.Round(got); math.Abs(miss) > 1e-2 {
				t.Errorf("reset %v: edge %d finds it at %v thirds of a cycle", reset, e, got)
			}
		}
	}
}
