package dsp_test

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

const rate = 48000

// tone renders a steady tone after the oscillator's latency.
func tone(shape dsp.Waveform, hertz float32, n int) []float32 {
	var o dsp.Oscillator
	o.Init(rate)
	o.SetWaveform(shape)
	skip := make([]float32, 256)
	o.Process(skip, hertz)
	out := make([]float32, n)
	o.Process(out, hertz)
	return out
}

// exact is the frequency that the oscillator's integer phase really runs at.
func exact(hertz float32) float64 {
	inc := math.Floor(float64(hertz * float32(float64(1<<32)/rate)))
	return inc * rate / (1 << 32)
}

func TestOscillatorAliasing(t *testing.T) {
	for _, c := range []struct {
		shape dsp.Waveform
		hertz float32
		limit float64 // dB, all aliases over all harmonics
	}{
		{dsp.Saw, 500.7, -75}, {dsp.Saw, 2500.7, -75}, {dsp.Saw, 5000.7, -70},
		{dsp.Pulse, 500.7, -75}, {dsp.Pulse, 2500.7, -75}, {dsp.Pulse, 5000.7, -70},
		{dsp.Triangle, 500.7, -90}, {dsp.Triangle, 2500.7, -90}, {dsp.Triangle, 5000.7, -85},
		{dsp.SineWave, 2500.7, -100},
	} {
		got := measure.AliasLevel(tone(c.shape, c.hertz, 1<<16), exact(c.hertz), rate)
		t.Logf("%-8v %6.0f Hz: total %6.1f dB, worst %6.1f dB at %5.0f Hz", c.shape, c.hertz, got.TotalDB, got.WorstDB, got.Hertz)
		if got.TotalDB > c.limit {
			t.Errorf("%v at %v Hz aliases at %.1f dB, above %v dB", c.shape, c.hertz, got.TotalDB, c.limit)
		}
	}
}
