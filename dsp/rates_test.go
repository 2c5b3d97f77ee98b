package dsp_test

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// TestOtherSampleRates proves that pitch, cutoff, times and ceilings do not
// depend on the rate, and that a rate no converter has is bounded.
func TestOtherSampleRates(t *testing.T) {
	for _, rate := range []float64{8000, 44100, 96000, 192000} {
		var o dsp.Oscillator
		o.Init(rate)
		out := make([]float32, 1<<15)
		o.Process(out, 440)
		hertz, err := measure.Pitch(out[64:], rate)
		if err != nil || math.Abs(measure.Cents(hertz, 440)) > 0.05 {
			t.Errorf("at %v Hz: 440 Hz is heard at %v Hz (%v)", rate, hertz, err)
		}
		var f dsp.SVF
		f.Init(rate)
		f.SetHertz(1000)
		f.SetQ(200)
		for i := range out {
			out[i] = f.BandPass(map[bool]float32{true: 1}[i == 0])
		}
		got := measure.NewSpectrum(out, rate, measure.Hann).Near(1000, 100).Hertz
		if c := measure.Cents(got, 1000); math.Abs(c) > 1 {
			t.Errorf("at %v Hz: a cutoff of 1000 Hz rings %.2f cents away", rate, c)
		}
		var e dsp.ADSR
		e.Init(rate)
		e.Set(0.1, 1, 5, 1)
		n := 0
		for e.Next(true) < 10 {
			n++
		}
		if s := float64(n+1) / rate; math.Abs(s-0.1) > 0.001 {
			t.Errorf("at %v Hz: an attack of 0.1 s takes %v s", rate, s)
		}
		var v dsp.Reverb
		var l dsp.Limiter
		v.Init(rate)
		l.Init(rate)
		v.SetDecay(1, 0.5)
		v.Reset()
		l.SetCeiling(2)
		var x dsp.Noise
		x.Init(rate)
		before, after := 0.0, 0.0
		for i := range int(1.6 * rate) {
			var in float32
			if float64(i) < 0.5*rate {
				in = 4 * x.White()
			}
			a, b := l.Next(v.Next(in, in))
			if a > 2 || a < -2 || b > 2 || b < -2 || a != a || b != b {
				t.Fatalf("at %v Hz: %v and %v V pass a ceiling of 2 V", rate, a, b)
			}
			switch s := float64(i) / rate; {
			case s > 0.7 && s < 0.8:
				before += float64(a) * float64(a)
			case s > 1.2 && s < 1.3:
				after += float64(a) * float64(a)
			}
		}
		// Half a second of a T60 of one second, a little more above 1 kHz;
		// the limiter may have held the first part down.
		if db := 10 * math.Log10(after/before); db > -20 || db < -45 {
			t.Errorf("at %v Hz: the reverb falls by %.1f dB in half a second", rate, -db)
		}
	}
	var o dsp.Oscillator
	for _, rate := range []float64{0, -1, math.NaN(), math.Inf(1), 1e12} {
		o.Init(rate)
		for range 1000 {
			if v := o.Next(440); !(v < 7 && v > -7) {
				t.Fatalf("at a rate of %v: %v V", rate, v)
			}
		}
	}
}
