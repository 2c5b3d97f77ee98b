package instrument

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// TestSlewTimes: a jump of 10 V takes rise or fall up to its last hundredth of
// a volt, in every shape, and the gates are high on the way.
func TestSlewTimes(t *testing.T) {
	for _, shape := range []float64{0, 0.3, 0.7, 1} {
		for _, c := range []struct{ rise, fall float64 }{{0.001, 0.003}, {0.1, 0.05}, {2, 3}} {
			r := patched(t, "slew", map[string]float64{"rise": c.rise, "fall": c.fall, "shape": shape}, []string{"in"}, []string{"out", "rising", "falling"})
			r.feed("in", steady(-5)).settle().seconds(2 * c.fall)
			r.forget()
			up := 10 + int64(2*c.rise*testRate)
			r.feed("in", func(at int64) func(int64, int) float32 {
				return func(f int64, _ int) float32 {
					if f -= at; f >= 10 && f < up {
						return 5
					}
					return -5
				}
			}(r.e.frame)).render(int(up) + int(2*c.fall*testRate))
			out, rising, falling := r.recorded("out"), r.recorded("rising"), r.recorded("falling")
			within(t, fmt.Sprintf("rise %v", shape), firstAt(out, 0, 5-0.01, false)-10+1, c.rise)
			within(t, fmt.Sprintf("fall %v", shape), firstAt(out, int(up), -5+0.01, true)-int(up)+1, c.fall)
			if n := rises(rising); len(n) != 1 || n[0] != 10 || rising[9] != 0 || rising[up-1] != 0 {
				t.Errorf("shape %v, %+v: rising rises at %v", shape, c, n)
			}
			if n := rises(falling); len(n) != 1 || n[0] != int(up) || falling[len(falling)-1] != 0 {
				t.Errorf("shape %v, %+v: falling rises at %v", shape, c, n)
			}
			if out[len(out)-1] != -5 || out[up-1] != 5 {
				t.Errorf("shape %v, %+v: comes to %v and %v V", shape, c, out[up-1], out[len(out)-1])
			}
			mid := 10 + int(c.rise*testRate/2)
			if d := float64(out[mid]); shape == 0 && math.Abs(d) > 0.3 || shape == 1 && d < 4 {
				t.Errorf("shape %v, %+v: half way in time it is at %v V", shape, c, d)
			}
		}
	}
}

// TestSampleHold: it keeps what it found at each trigger, or follows while the
// gate is high; with nothing plugged in it samples noise of its own.
func TestSampleHold(t *testing.T) {
	gate := func(f int64, _ int) float32 {
		if f%1000 < 300 {
			return 10
		}
		return 0
	}
	ramp := func(f int64, c int) float32 { return float32(f%7777)/1000 + float32(c) }
	for mode := range 2 {
		r := patched(t, "sample_hold", map[string]float64{"mode": float64(mode)}, []string{"in", "trigger"}, []string{"out"})
		r.source(sourceOf("in")).channels = 2
		r.feed("in", ramp).feed("trigger", gate).settle()
		at := r.e.frame
		r.seconds(0.5)
		for c := range 2 {
			for i, v := range r.probe(probeOf("out")).rec[c] {
				f := at + int64(i)
				if f -= f % 1000; mode == 1 {
					f = min(f+299, at+int64(i))
				}
				if i > 1000 && v != ramp(f, c) {
					t.Fatalf("mode %d, channel %d: %v V at frame %d, expected %v", mode, c, v, i, ramp(f, c))
				}
			}
		}
	}
	r := patched(t, "sample_hold", nil, []string{"trigger"}, []string{"out"})
	r.source(sourceOf("trigger")).channels = 2
	r.feed("trigger", gate).settle().seconds(20)
	a, b := r.probe(probeOf("out")).rec[0], r.probe(probeOf("out")).rec[1]
	if rms := rmsOf(a); math.Abs(rms-5/math.Sqrt(3)) > 0.3 {
		t.Errorf("of noise it holds %v V RMS, expected 2.9", rms)
	}
	same := 0
	for i := range a {
		if a[i] == b[i] {
			same++
		}
	}
	if same > 2000 {
		t.Error("two channels hold the same noise")
	}
}

// TestAttenuverter: in times gain plus offset within the rails; and a row with
// nothing in it is a source of voltage.
func TestAttenuverter(t *testing.T) {
	r := patched(t, "attenuverter", map[string]float64{"gain_1": -0.5, "offset_1": 2, "gain_2": 0.3, "gain_3": 1, "offset_3": 10}, []string{"in_1", "in_3"}, []string{"out_1", "out_2", "out_3", "out_4"})
	r.source(sourceOf("in_1")).channels = 3
	r.feed("in_1", func(_ int64, c int) float32 { return float32(c) }).feed("in_3", sine(100, 5)).settle().seconds(0.1)
	for c := range 3 {
		rec := r.probe(probeOf("out_1")).rec[c]
		if v := rec[len(rec)-1]; v != 2-0.5*float32(c) {
			t.Errorf("channel %d: %v V, expected %v", c, v, 2-0.5*float32(c))
		}
	}
	for out, want := range map[string]float32{"out_2": 3, "out_4": 0} {
		if v := r.recorded(out)[100]; math.Abs(float64(v-want)) > 1e-6 {
			t.Errorf("%s with nothing plugged in is %v V, expected %v", out, v, want)
		}
	}
	if p := peakOf(r.recorded("out_3")); p != 12 {
		t.Errorf("5 V and 10 V come to %v V, the rails are 12", p)
	}
	// A knob that is turned moves without a step.
	r.forget()
	r.param("attenuverter/"+dutName, "gain_2", -1)
	r.seconds(0.1)
	if step, _ := steepest(r.recorded("out_2")); step > 13.0/480*1.01 {
		t.Errorf("turning the gain steps by %v V", step)
	}
}

// voltageKinds are the modules that this file's last tests hold to.
var voltageKinds = []string{"vco", "vcf", "adsr", "lfo", "sample_hold", "slew", "attenuverter", "scope"}

// TestVoltagesStayWithinRails gives each input what is no voltage and full
// noise, straight to the processor and past the engine, which would scrub it:
// nothing that is not a number, and nothing beyond the rails, comes out, at any
// sample rate; and when it is over, the module is what one is that was reset
// and had a quiet life.
func TestVoltagesStayWithinRails(t *testing.T) {
	for k := range 3 * len(voltageKinds) {
		kind, rate := voltageKinds[k/3], []float64{8000, testRate, 192000}[k%3]
		t.Run(fmt.Sprintf("%s/%v", kind, rate), func(t *testing.T) {
			t.Parallel()
			s := Spec(kind)
			r := bench(t, s)
			r.settle()
			n := r.c.nodes[dutOf(s)]
			n.proc.Init(rate, 1)
			rng := rand.New(rand.NewPCG(11, 12))
			in := make([]*Signal, len(s.Inputs))
			for i := range in {
				in[i] = &Signal{Channels: 1}
			}
			copy(n.io.In, in)
			n.io.Patched, n.io.Wanted = 1<<len(s.Inputs)-1, 1<<len(s.Outputs)-1
			n.io.engine = r.e
			step := func(play func(i, c, f int) float32) {
				n.io.N = 1 + rng.IntN(BlockSize)
				for i := range in {
					in[i].Channels = []int{1, 2, MaxPoly}[rng.IntN(3)]
					for c := range in[i].Channels {
						for f := range n.io.N {
							in[i].Volts[c][f] = play(i, c, f)
						}
					}
				}
				n.proc.Process(&n.io)
				n.io.Frame += int64(n.io.N)
				for k, o := range n.out {
					for c := range o.Channels {
						for f, v := range o.Volts[c][:n.io.N] {
							if !(v >= -12 && v <= 12) {
								t.Fatalf("%s channel %d put out %v V at frame %d", s.Outputs[k].Name, c, v, f)
							}
						}
					}
				}
			}
			for round := range 3000 {
				// Knobs stand at either end or where they began.
				if round%50 == 0 {
					for i := range s.Params {
						p := &s.Params[i]
						v := float32([]float64{p.Min, p.Max, p.Value}[rng.IntN(3)])
						for f := range n.io.Params[i] {
							n.io.Params[i][f] = v
						}
					}
				}
				switch round / 500 % 3 {
				case 0:
					step(func(int, int, int) float32 { return insults[rng.IntN(len(insults))] })
				case 1:
					step(func(int, int, int) float32 { return 24*rng.Float32() - 12 })
				case 2:
					step(func(i, c, f int) float32 {
						if rng.IntN(40) == 0 {
							return insults[rng.IntN(len(insults))]
						}
						return 5 * float32(math.Sin(float64(round*64+f)*0.05*float64(i+c+1)))
					})
				}
			}
			// It recovers by itself: with nothing coming in and its knobs as they
			// were, its outputs come to rest where a fresh one's do, or go on
			// within the standard.
			for i := range s.Params {
				for f := range n.io.Params[i] {
					n.io.Params[i][f] = float32(s.Params[i].Value)
				}
			}
			for range 3000 {
				step(func(int, int, int) float32 { return 0 })
			}
			for k, o := range n.out {
				for c := range o.Channels {
					v := o.Volts[c][0]
					if v != 0 && (kind == "vcf" || kind == "slew" || kind == "attenuverter") {
						t.Errorf("%s channel %d rests at %v V", s.Outputs[k].Name, c, v)
					}
					if v > 10 || v < -10 {
						t.Errorf("%s channel %d stands at %v V", s.Outputs[k].Name, c, v)
					}
				}
			}
		})
	}
}

// BenchmarkVoltage tells what a sample of one channel of each module costs, as
// it is played: with one channel and sixteen, one output or all, steady and
// modulated.
func BenchmarkVoltage(b *testing.B) {
	for _, c := range []struct {
		name   string
		kind   string
		params map[string]float64
		play   map[string]func(int64, int) float32
		outs   []string
	}{
		{"vco/saw", "vco", nil, map[string]func(int64, int) float32{"pitch": steadyPoly}, []string{"saw"}},
		{"vco/all", "vco", nil, map[string]func(int64, int) float32{"pitch": steadyPoly}, []string{"saw", "pulse", "triangle", "sine"}},
		{"vco/saw-fm", "vco", map[string]float64{"fm_lin": 0.3}, map[string]func(int64, int) float32{"pitch": steadyPoly, "fm": sine(220, 5)}, []string{"saw"}},
		{"vco/saw-sync", "vco", map[string]float64{"tune": 12}, map[string]func(int64, int) float32{"pitch": steadyPoly, "sync": sine(220, 5)}, []string{"saw"}},
		{"vcf/low", "vcf", map[string]float64{"resonance": 0.5}, map[string]func(int64, int) float32{"in": sine(220, 5)}, []string{"low"}},
		{"vcf/low-cv", "vcf", map[string]float64{"resonance": 0.5}, map[string]func(int64, int) float32{"in": sine(220, 5), "cutoff_cv": sine(3, 2)}, []string{"low"}},
		{"vcf/all-sings", "vcf", map[string]float64{"resonance": 1}, map[string]func(int64, int) float32{"in": sine(220, 5), "pitch": steadyPoly}, []string{"low", "band", "high", "notch"}},
		{"vcf/rests", "vcf", nil, map[string]func(int64, int) float32{"in": steady(0)}, []string{"low"}},
		{"adsr/plays", "adsr", nil, map[string]func(int64, int) float32{"gate": gateAt(0, 0, 1<<60)}, []string{"envelope"}},
		{"adsr/moves", "adsr", map[string]float64{"loop": 1, "decay": 0.1}, map[string]func(int64, int) float32{"gate": gateAt(0, 0, 1<<60)}, []string{"envelope"}},
		{"adsr/rests", "adsr", nil, map[string]func(int64, int) float32{"gate": steady(0)}, []string{"envelope"}},
		{"lfo/sine", "lfo", nil, map[string]func(int64, int) float32{"reset": steady(0)}, []string{"sine"}},
		{"lfo/all", "lfo", nil, map[string]func(int64, int) float32{"reset": steady(0)}, []string{"sine", "triangle", "saw", "square", "random", "smooth"}},
		{"sample_hold", "sample_hold", nil, map[string]func(int64, int) float32{"in": sine(220, 5), "trigger": gateAt(0, 0, 1<<60)}, []string{"out"}},
		{"slew", "slew", map[string]float64{"shape": 0.5}, map[string]func(int64, int) float32{"in": sine(220, 5)}, []string{"out"}},
		{"attenuverter", "attenuverter", map[string]float64{"gain_1": 0.5}, map[string]func(int64, int) float32{"in_1": sine(220, 5)}, []string{"out_1"}},
		{"scope", "scope", nil, map[string]func(int64, int) float32{"a": sine(220, 5), "b": sine(110, 5)}, nil},
	} {
		for _, channels := range []int{1, MaxPoly} {
			if channels > 1 && c.kind == "scope" {
				continue
			}
			b.Run(fmt.Sprintf("%s/%d", c.name, channels), func(b *testing.B) {
				var ins []string
				for in := range c.play {
					ins = append(ins, in)
				}
				r := patched(b, c.kind, c.params, ins, c.outs)
				for in, play := range c.play {
					r.source(sourceOf(in)).channels = channels
					r.feed(in, play)
				}
				for _, out := range c.outs {
					r.probe(probeOf(out)).on = false
				}
				r.settle().seconds(0.2)
				n := r.c.nodes[ModuleID(c.kind+"/"+dutName)]
				n.io.N = BlockSize
				b.ResetTimer()
				for b.Loop() {
					n.io.Frame += BlockSize
					n.proc.Process(&n.io)
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize/float64(channels), "ns/sample/channel")
			})
		}
	}
}

// steadyPoly is another note on each channel.
func steadyPoly(_ int64, c int) float32 { return float32(c)*0.25 - 2 }
