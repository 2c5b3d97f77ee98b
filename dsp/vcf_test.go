package dsp_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// vcfRun drives a VCF: each function gives what sample i has.
type vcfRun struct {
	in, hertz, resonance func(i int) float32
	drive                float32
}

func always(v float32) func(int) float32 { return func(int) float32 { return v } }

func (r vcfRun) render(f *dsp.VCF, n int, blocks func() int) (out [dsp.VCFOutputs][]float32) {
	var in, drive, hertz, resonance [dsp.VCFBlock]float32
	var bufs [dsp.VCFOutputs][dsp.VCFBlock]float32
	var to [dsp.VCFOutputs]*[dsp.VCFBlock]float32
	for k := range to {
		to[k] = &bufs[k]
	}
	for at := 0; at < n; {
		m := min(blocks(), n-at)
		for i := range m {
			in[i], hertz[i], resonance[i], drive[i] = r.in(at+i), r.hertz(at+i), r.resonance(at+i), r.drive
			if r.drive == 0 {
				drive[i] = 1
			}
		}
		f.Process(&to, m, &in, &drive, &hertz, &resonance)
		for k := range out {
			out[k] = append(out[k], bufs[k][:m]...)
		}
		at += m
	}
	return out
}

const (
	low = iota
	bandOut
	highOut
	notchOut
)

// TestVCFTracks: over eight octaves, and at the edges of hearing, the cutoff is
// where it is said to be: the band-pass peaks there, measured by what a short
// click rings at just below the edge of oscillation; and at full resonance the
// filter sings there, at 5 V, with next to no harmonics.
func TestVCFTracks(t *testing.T) {
	for _, hertz := range []float32{32, 64, 128, 256, 512, 1024, 2048, 4096, 8000, 12000, 16000} {
		var f dsp.VCF
		f.Init(rate)
		edge := float32(2-0.004) / 2.2 // a Q of 250
		ring := vcfRun{in: func(i int) float32 {
			if i < 4 {
				return 0.05
			}
			return 0
		}, hertz: always(hertz), resonance: always(edge)}.render(&f, 1<<16, whole)[bandOut]
		rings := measure.NewSpectrum(ring, rate, measure.Hann).Near(float64(hertz), float64(hertz)/10).Hertz
		f.Init(rate)
		out := vcfRun{in: always(0), hertz: always(hertz), resonance: always(1)}.render(&f, 5*rate, whole)
		sings, err := measure.Pitch(out[low][3*rate:], rate)
		if hertz > 9000 { // above what Pitch looks for
			sings, err = measure.NewSpectrum(out[low][3*rate:3*rate+1<<16], rate, measure.BlackmanHarris).Near(float64(hertz), float64(hertz)/10).Hertz, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		peak := 0.0
		for _, v := range out[low][3*rate:] {
			peak = max(peak, math.Abs(float64(v)))
		}
		thd := measure.THD(out[low][3*rate:3*rate+1<<16], sings, rate)
		cut, self := measure.Cents(rings, float64(hertz)), measure.Cents(sings, float64(hertz))
		t.Logf("%7.0f Hz: cutoff %+.3f cents, sings %+.3f cents at %.3f V, THD %.1f dB", hertz, cut, self, peak, thd)
		if math.Abs(cut) > 1 || math.Abs(self) > 1 {
			t.Errorf("a cutoff of %v Hz is %.2f cents off, and it sings %.2f cents off", hertz, cut, self)
		}
		if hertz <= 8000 && math.Abs(peak-5) > 0.1 || thd > -80 {
			t.Errorf("at %v Hz it sings at %.2f V with %.1f dB of harmonics", hertz, peak, thd)
		}
	}
}

// TestVCFResponses holds the four outputs to the filter of the second order
// that they are, with the trapezoidal rule's warp.
func TestVCFResponses(t *testing.T) {
	const cutoff = 1000
	for _, resonance := range []float32{0, 0.5, 0.8} {
		k := float64(2 - 2.2*resonance)
		for _, hertz := range []float64{100, 500, 900, 1000, 1100, 2000, 5000, 12000} {
			// Quiet enough that what bounds it does not bend it.
			var f dsp.VCF
			var got [dsp.VCFOutputs]float64
			for out := range got {
				f.Init(rate)
				var in, drive, cut, res, y [dsp.VCFBlock]float32
				var to [dsp.VCFOutputs]*[dsp.VCFBlock]float32
				to[out] = &y
				drive[0], cut[0], res[0] = 1, cutoff, resonance
				got[out] = response(func(v float32) float32 {
					in[0] = v * 0.01
					f.Process(&to, 1, &in, &drive, &cut, &res)
					return y[0] * 100
				}, hertz)
			}
			w := math.Tan(math.Pi*hertz/rate) / math.Tan(math.Pi*cutoff/rate)
			d := math.Hypot(1-w*w, k*w)
			want := [dsp.VCFOutputs]float64{1 / d, w * (1 + k/2) / d, w * w / d, math.Abs(1-w*w) / d}
			for out := range got {
				if db := measure.Decibels(want[out]); db > -60 && math.Abs(got[out]-db) > 0.05 {
					t.Errorf("output %d at resonance %v and %v Hz: %.2f dB, expected %.2f", out, resonance, hertz, got[out], db)
				} else if db <= -60 && got[out] > -55 {
					t.Errorf("output %d at resonance %v and %v Hz: %.2f dB, expected below −55", out, resonance, hertz, got[out])
				}
			}
		}
	}
}

// TestVCFStable: cutoff thrown about at audio rate by ten octaves and more at
// full resonance, with full-scale noise coming in: it stays within the rails,
// and sings in tune when it is over.
func TestVCFStable(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	for name, hertz := range map[string]func(int) float32{
		"noise":  func(int) float32 { return float32(1000 * math.Exp2(20*r.Float64()-10)) },
		"sine":   func(i int) float32 { return float32(1000 * math.Exp2(10*math.Sin(float64(i)*0.6))) },
		"square": func(i int) float32 { return float32(1000 * math.Exp2(float64(20*(i/7%2)-10))) },
		"slow":   func(i int) float32 { return float32(1000 * math.Exp2(10*math.Sin(float64(i)*0.0005))) },
	} {
		for _, volts := range []float32{0, 5, 12} {
			var f dsp.VCF
			f.Init(rate)
			for k, b := range (vcfRun{in: func(int) float32 { return volts * (2*r.Float32() - 1) }, hertz: hertz, resonance: always(1), drive: 4}).render(&f, 4*rate, whole) {
				for i, v := range b {
					if !(v >= -12 && v <= 12) {
						t.Fatalf("%s, %v V: output %d is %v V at sample %d", name, volts, k, v, i)
					}
				}
			}
			out := vcfRun{in: always(0), hertz: always(440), resonance: always(1)}.render(&f, 2*rate, whole)[low][rate:]
			if hertz, err := measure.Pitch(out, rate); err != nil || math.Abs(measure.Cents(hertz, 440)) > 1 || math.Abs(measure.RMS(out)-5/math.Sqrt2) > 0.05 {
				t.Errorf("%s, %v V: after it, it sings at %v Hz (%v) and %v V RMS", name, volts, hertz, err, measure.RMS(out))
			}
		}
	}
}

// TestVCFSingsUp: from rest, within 60 cycles, and from what was left in it.
func TestVCFSingsUp(t *testing.T) {
	for _, hertz := range []float32{50, 440, 4000} {
		var f dsp.VCF
		f.Init(rate)
		vcfRun{in: always(0), hertz: always(hertz), resonance: always(0)}.render(&f, 1000, whole)
		out := vcfRun{in: always(0), hertz: always(hertz), resonance: always(1)}.render(&f, int(60*rate/hertz), whole)[low]
		if p := measure.Peak(out[len(out)*5/6:]); p < 4.5 || p > 5.5 {
			t.Errorf("%v Hz: after 50 cycles at %v V, expected 5", hertz, p)
		}
	}
}

// TestVCFHostile: whatever comes, what goes out is within the rails, and it
// recovers at once. In slices or not, every bit is the same; and what has died
// away is exactly 0.
func TestVCFHostile(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	bad := []float32{nan, inf, -inf, 1e30, -1e30, math.MaxFloat32, 1e-40, -1e-40, 12, -12, 0, 1, 0.5, 20000}
	const n = 20000
	run := func(r *rand.Rand) vcfRun {
		pick := func(int) float32 { return bad[r.IntN(len(bad))] }
		return vcfRun{pick, pick, pick, 3}
	}
	var f, g dsp.VCF
	f.Init(rate)
	g.Init(rate)
	r := rand.New(rand.NewPCG(3, 3))
	want := run(rand.New(rand.NewPCG(1, 1))).render(&f, n, whole)
	got := run(rand.New(rand.NewPCG(1, 1))).render(&g, n, func() int { return 1 + r.IntN(dsp.VCFBlock) })
	for k := range want {
		for i, v := range want[k] {
			if !(v >= -12 && v <= 12) {
				t.Fatalf("output %d is %v V at sample %d", k, v, i)
			}
			if got[k][i] != v {
				t.Fatalf("output %d in slices: %v V at sample %d, whole %v", k, got[k][i], i, v)
			}
		}
	}
	tail := vcfRun{in: always(0), hertz: always(1000), resonance: always(0.85)}.render(&f, rate/2, whole)
	for k, b := range tail {
		if v := b[len(b)-1]; v != 0 {
			t.Errorf("output %d rests at %v V, expected exactly 0", k, v)
		}
	}
	if !f.Quiet(0.85) || f.Quiet(1) {
		t.Error("a filter at rest is quiet, but not one that is about to sing")
	}
}

// TestVCFDriveAliasing tells what the bending at the input costs.
func TestVCFDriveAliasing(t *testing.T) {
	for _, c := range []struct {
		drive float32
		limit float64
	}{{1, -95}, {2, -55}, {8, -42}} {
		var o dsp.VCO
		var f dsp.VCF
		o.Init(rate)
		f.Init(rate)
		inc := o.Increment(2500.7)
		saw := vcoRun{inc: func(int) int32 { return inc }}.render(&o, 256, 1<<16, whole)[dsp.Saw]
		out := vcfRun{in: func(i int) float32 { return saw[i] }, hertz: always(6000), resonance: always(0.3), drive: c.drive}.render(&f, len(saw), whole)
		got := measure.AliasLevel(out[low], hertzOf(inc), rate)
		t.Logf("drive %v: total %.1f dB, worst %.1f dB at %.0f Hz", c.drive, got.TotalDB, got.WorstDB, got.Hertz)
		if got.TotalDB > c.limit {
			t.Errorf("a drive of %v aliases at %.1f dB, above %v", c.drive, got.TotalDB, c.limit)
		}
	}
}

// TestVoltageUnitsAtOtherRates: pitch, cutoff and aliasing do not depend on the
// sample rate.
func TestVoltageUnitsAtOtherRates(t *testing.T) {
	for _, rate := range []float64{32000, 44100, 96000, 192000} {
		var o dsp.VCO
		o.Init(rate)
		inc := o.Increment(2500.7)
		saw := vcoRun{inc: func(int) int32 { return inc }}.render(&o, 256, 1<<16, whole)[dsp.Saw]
		if got := measure.AliasLevel(saw, float64(inc)*rate/(1<<32), rate); got.TotalDB > -95 {
			t.Errorf("at %v Hz a saw aliases at %.1f dB", rate, got.TotalDB)
		}
		if c := measure.Cents(float64(inc)*rate/(1<<32), 2500.7); math.Abs(c) > 0.001 {
			t.Errorf("at %v Hz a saw is %.4f cents off", rate, c)
		}
		var f dsp.VCF
		f.Init(rate)
		out := vcfRun{in: always(0), hertz: always(1000), resonance: always(1)}.render(&f, int(2*rate), whole)[low]
		sings := measure.NewSpectrum(out[int(rate):int(rate)+1<<15], rate, measure.BlackmanHarris).Near(1000, 50)
		if c := measure.Cents(sings.Hertz, 1000); math.Abs(c) > 0.5 || math.Abs(sings.Amplitude-5) > 0.05 {
			t.Errorf("at %v Hz it sings %.3f cents off at %.3f V", rate, c, sings.Amplitude)
		}
	}
}
