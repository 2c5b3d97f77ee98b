package dsp_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// vcoRun drives a VCO sample by sample: each function gives what sample i has.
type vcoRun struct {
	inc   func(i int) int32
	width func(i int) float32
	sync  func(i int) float32
}

// render returns n samples of every shape, after skip.
func (r vcoRun) render(o *dsp.VCO, skip, n int, blocks func() int) (out [dsp.VCOOutputs][]float32) {
	var inc [dsp.VCOBlock]int32
	var width [dsp.VCOBlock]uint32
	var sync [dsp.VCOBlock]float32
	var bufs [dsp.VCOOutputs][dsp.VCOBlock]float32
	var to [dsp.VCOOutputs]*[dsp.VCOBlock]float32
	for k := range to {
		to[k] = &bufs[k]
	}
	for at := 0; at < skip+n; {
		m := min(blocks(), skip+n-at)
		for i := range m {
			inc[i] = r.inc(at + i)
			width[i] = dsp.PulseWidth(0.5)
			if r.width != nil {
				width[i] = dsp.PulseWidth(r.width(at + i))
			}
			if r.sync != nil {
				sync[i] = r.sync(at + i)
			}
		}
		if r.sync != nil {
			o.Process(&to, m, &inc, &width, &sync)
		} else {
			o.Process(&to, m, &inc, &width, nil)
		}
		for k := range out {
			for i := range m {
				if at+i >= skip {
					out[k] = append(out[k], bufs[k][i])
				}
			}
		}
		at += m
	}
	return out
}

func whole() int { return dsp.VCOBlock }

func hertzOf(inc int32) float64 { return float64(inc) * rate / (1 << 32) }

// TestVCOAliasing: steady tones in both directions, in the four shapes at once.
func TestVCOAliasing(t *testing.T) {
	limits := map[float32][dsp.VCOOutputs]float64{
		500.7:  {-104, -107, -130, -140},
		2500.7: {-98, -101, -120, -140},
		5000.7: {-93, -93, -106, -140},
	}
	for _, hertz := range []float32{500.7, 2500.7, 5000.7} {
		for _, sign := range []float32{1, -1} {
			var o dsp.VCO
			o.Init(rate)
			inc := o.Increment(sign * hertz)
			out := vcoRun{inc: func(int) int32 { return inc }}.render(&o, 256, 1<<16, whole)
			for k, b := range out {
				got := measure.AliasLevel(b, math.Abs(hertzOf(inc)), rate)
				t.Logf("%-8v %8.1f Hz: total %6.1f dB, worst %6.1f dB", dsp.Waveform(k), sign*hertz, got.TotalDB, got.WorstDB)
				if got.TotalDB > limits[hertz][k] {
					t.Errorf("%v at %v Hz aliases at %.1f dB, above %v dB", dsp.Waveform(k), sign*hertz, got.TotalDB, limits[hertz][k])
				}
			}
		}
	}
}

// TestVCOIsOscillator: forwards and undisturbed it is the Oscillator's sound.
func TestVCOIsOscillator(t *testing.T) {
	for _, hertz := range []float32{0, 55, 440, 3000, 11000, 23000} {
		var v dsp.VCO
		v.Init(rate)
		inc := v.Increment(hertz)
		out := vcoRun{inc: func(int) int32 { return inc }}.render(&v, 0, 4800, whole)
		for k := range out {
			var o dsp.Oscillator
			o.Init(rate)
			o.SetWaveform(dsp.Waveform(k))
			want := make([]float32, 4800)
			o.Process(want, hertz)
			for i := range want[1:] {
				if d := math.Abs(float64(want[i] - out[k][i+dsp.VCOLatency-dsp.OscillatorLatency])); d > 1e-5 {
					t.Fatalf("%v at %v Hz: sample %d is %v, the Oscillator's %v", dsp.Waveform(k), hertz, i, out[k][i+1], want[i])
				}
			}
		}
	}
}

// TestVCOBackwards: a negative frequency plays the wave backwards in time.
func TestVCOBackwards(t *testing.T) {
	var fore, back dsp.VCO
	fore.Init(rate)
	back.Init(rate)
	inc := fore.Increment(-440)
	out := vcoRun{inc: func(int) int32 { return inc }}.render(&back, 256, 1<<15, whole)
	falls := 0
	for i := 1; i < len(out[dsp.Saw]); i++ {
		if out[dsp.Saw][i] < out[dsp.Saw][i-1] {
			falls++
		}
	}
	if falls < len(out[dsp.Saw])*9/10 {
		t.Errorf("a saw at −440 Hz falls in %d of %d samples", falls, len(out[dsp.Saw]))
	}
	for k, b := range out {
		hertz, err := measure.Pitch(b, rate)
		if err != nil || math.Abs(measure.Cents(hertz, 440)) > 0.01 {
			t.Errorf("%v at −440 Hz sounds at %v Hz (%v)", dsp.Waveform(k), hertz, err)
		}
	}
	// Forwards and back again over the same steps is where it began.
	r := rand.New(rand.NewPCG(1, 2))
	steps := make([]int32, 2000)
	for i := range steps {
		steps[i] = int32(r.Int64N(1 << 31))
	}
	var both dsp.VCO
	both.Init(rate)
	out = vcoRun{inc: func(i int) int32 {
		switch {
		case i < 2000:
			return steps[i]
		case i < 4000:
			return -steps[3999-i]
		}
		return 0
	}}.render(&both, 4100, 1, whole)
	for k, want := range [dsp.VCOOutputs]float64{-5, 5, -5, 0} {
		if got := float64(out[k][0]); math.Abs(got-want) > 1e-3 {
			t.Errorf("%v comes back to %v V, began at %v V", dsp.Waveform(k), got, want)
		}
	}
}

// ratios gives a lead and a follower in whole-number ratio to a base tone, so
// that everything that belongs to the sound is a multiple of the base.
func base(hertz float64) uint32 { return uint32(hertz / rate * (1 << 32)) }

func TestVCOModulatedAliasing(t *testing.T) {
	const tone = 301.7 // the base
	b := base(tone)
	phaseAt := func(times uint32, i int) float64 { return float64(times*b*uint32(i)) / (1 << 32) }
	sin := func(times uint32, i int) float64 { return math.Sin(2 * math.Pi * phaseAt(times, i)) }
	for _, c := range []struct {
		name   string
		run    vcoRun
		limits [dsp.VCOOutputs]float64
	}{
		{"width ±0.45 at a third of the pitch", vcoRun{
			inc:   func(int) int32 { return int32(3 * b) },
			width: func(i int) float32 { return float32(0.5 + 0.45*sin(1, i)) },
		}, [dsp.VCOOutputs]float64{-100, -100, -125, -140}},
		{"width ±0.45 at four times the pitch", vcoRun{
			inc:   func(int) int32 { return int32(b) },
			width: func(i int) float32 { return float32(0.5 + 0.45*sin(4, i)) },
		}, [dsp.VCOOutputs]float64{-105, -95, -140, -140}},
		{"FM by twice the pitch, half of it", vcoRun{
			inc: func(i int) int32 { return int32(float64(b) * (1 + 0.5*sin(2, i))) },
		}, [dsp.VCOOutputs]float64{-105, -100, -105, -140}},
		{"FM by the pitch through zero, three times it", vcoRun{
			inc: func(i int) int32 { return int32(float64(2*b) * (1 + 3*sin(2, i))) },
		}, [dsp.VCOOutputs]float64{-90, -90, -80, -140}},
	} {
		var o dsp.VCO
		o.Init(rate)
		out := c.run.render(&o, 256, 1<<16, whole)
		for k, v := range out {
			got := measure.AliasLevel(v, hertzOf(int32(b)), rate)
			t.Logf("%s: %-8v total %6.1f dB, worst %6.1f dB at %.0f Hz", c.name, dsp.Waveform(k), got.TotalDB, got.WorstDB, got.Hertz)
			if got.TotalDB > c.limits[k] {
				t.Errorf("%s: %v aliases at %.1f dB, above %v dB", c.name, dsp.Waveform(k), got.TotalDB, c.limits[k])
			}
		}
	}
}

func TestVCOHardSyncDoesNotAlias(t *testing.T) {
	for _, c := range []struct {
		lead, follow float64
		limits       [dsp.VCOOutputs]float64
	}{
		{987.7, 2512.3, [dsp.VCOOutputs]float64{-100, -98, -105, -78}},
		{987.7, -2512.3, [dsp.VCOOutputs]float64{-100, -98, -105, -78}},
		{220.3, 1000.9, [dsp.VCOOutputs]float64{-98, -103, -108, -102}},
		{500.3, 441.7, [dsp.VCOOutputs]float64{-98, -103, -108, -102}},
	} {
		lead := base(c.lead)
		var o dsp.VCO
		o.Init(rate)
		inc := o.Increment(float32(c.follow))
		out := vcoRun{
			inc: func(int) int32 { return inc },
			sync: func(i int) float32 {
				if p := lead * uint32(i); p < lead {
					return float32(float64(p) / float64(lead))
				}
				return -1
			},
		}.render(&o, 512, 1<<16, whole)
		for k, v := range out {
			got := measure.AliasLevel(v, hertzOf(int32(lead)), rate)
			t.Logf("%v Hz on %v Hz: %-8v total %6.1f dB, worst %6.1f dB at %.0f Hz", c.follow, c.lead, dsp.Waveform(k), got.TotalDB, got.WorstDB, got.Hertz)
			if got.TotalDB > c.limits[k] {
				t.Errorf("%v Hz on %v Hz: synced %v aliases at %.1f dB, above %v dB", c.follow, c.lead, dsp.Waveform(k), got.TotalDB, c.limits[k])
			}
		}
	}
}

// TestVCOSlices: however the time is cut, every bit is the same; and whatever
// comes, what goes out is bounded.
func TestVCOSlices(t *testing.T) {
	const n = 20000
	wild := func() vcoRun {
		r := rand.New(rand.NewPCG(3, 4))
		incs, widths, syncs := make([]int32, n), make([]float32, n), make([]float32, n)
		for i := range incs {
			incs[i] = int32((r.Float64()*2 - 1) * 0.49 * (1 << 32))
			if i%1000 < 500 {
				incs[i] /= 50
			}
			widths[i] = float32(r.Float64()*3 - 1)
			syncs[i] = -1
			if r.IntN(20) == 0 {
				syncs[i] = []float32{0, 1, 0.5, float32(r.Float64())}[r.IntN(4)]
			}
		}
		return vcoRun{func(i int) int32 { return incs[i] }, func(i int) float32 { return widths[i] }, func(i int) float32 { return syncs[i] }}
	}
	var o, p dsp.VCO
	o.Init(rate)
	p.Init(rate)
	r := rand.New(rand.NewPCG(5, 6))
	want := wild().render(&o, 0, n, whole)
	got := wild().render(&p, 0, n, func() int { return 1 + r.IntN(dsp.VCOBlock) })
	for k := range want {
		for i := range want[k] {
			if want[k][i] != got[k][i] {
				t.Fatalf("%v: sample %d is %v, in whole blocks %v", dsp.Waveform(k), i, got[k][i], want[k][i])
			}
			if v := want[k][i]; !(v >= -12 && v <= 12) {
				t.Fatalf("%v: sample %d is %v V", dsp.Waveform(k), i, v)
			}
		}
	}
	for _, hertz := range []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e38, -1e38} {
		if inc := hertzOf(o.Increment(hertz)); math.Abs(inc) > 0.4901*rate {
			t.Errorf("%v Hz runs at %v Hz", hertz, inc)
		}
	}
}
