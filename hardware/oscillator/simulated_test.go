package oscillator

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"text/tabwriter"

	"github.com/k8s-synth/k8s-synth/dsp"
)

func cents(hertz, of float64) float64 { return 1200 * math.Log2(hertz/of) }

// play renders some seconds of one voltage.
func play(s *Simulated, volts, seconds float64) []float32 {
	x := make([]float32, int(seconds*s.rate))
	for i := range x {
		x[i] = float32(volts)
	}
	s.Process(x, x)
	return x
}

func TestSimulatedKeepsItsLaw(t *testing.T) {
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "oscillator\tV\tequal Hz\tits Hz\tbent cent\theard Hz\terror cent\t±\t")
	for _, c := range []struct {
		name string
		s    Simulated
	}{
		{"perfect saw", Simulated{}},
		{"bent saw", Simulated{ScaleError: 0.04, Offset: -35, Curvature: 3, HighTracking: 4e-7, Noise: 0.03, Hum: 0.02, DC: 0.3, Seed: 1}},
		{"bent pulse", Simulated{Waveform: dsp.Pulse, PulseWidth: 0.2, ScaleError: -0.03, Offset: 70, Curvature: -2, HighTracking: 1e-6, Noise: 0.03, Seed: 2}},
		{"bent sine", Simulated{Waveform: dsp.SineWave, ScaleError: 0.02, Offset: 12, Curvature: 1, Noise: 0.03, Seed: 3}},
	} {
		s := c.s
		for _, rate := range []float64{48000, 96000} {
			s.Init(rate)
			var p dsp.PitchTracker
			p.Init(rate)
			for _, v := range []float64{-3.5, -1, 0, 0.25, 2, 4.5} {
				want := s.Law(float64(float32(v)))
				x := play(&s, v, 0.51)
				got := p.Measure(x)
				e := cents(got.Hertz, want)
				if rate == 48000 {
					equal := c4 * math.Exp2(v)
					fmt.Fprintf(tw, "%s\t%g\t%.3f\t%.3f\t%+.2f\t%.4f\t%+.5f\t%.5f\t\n", c.name, v, equal, want, cents(want, equal), got.Hertz, e, got.StandardError)
				}
				if !got.Found() || !(math.Abs(e) < 0.05) {
					t.Errorf("%s at %g V and %g: %v, want %g Hz (%g cent off)", c.name, v, rate, got, want, e)
				}
			}
		}
	}
	tw.Flush()
	t.Log("\n" + text.String())
}

func TestSimulatedMoves(t *testing.T) {
	const rate = 48000
	var p dsp.PitchTracker
	p.Init(rate)

	s := Simulated{Drift: 60, Seed: 4}
	s.Init(rate)
	play(&s, 1, 9.75)
	got := p.Measure(play(&s, 1, 0.5))
	if e := cents(got.Hertz, 2*c4) - 10; math.Abs(e) > 0.01 || math.Abs(got.Drift-1) > 0.01 {
		t.Errorf("drift of 1 cent/s after 10 s: %v (%g cent off)", got, e)
	}

	s = Simulated{Settle: 0.05, Seed: 5}
	s.Init(rate)
	play(&s, 0, 0.1)
	if math.Abs(cents(s.Hertz(), c4)) > 1e-6 {
		t.Errorf("it does not begin at its pitch: %g", s.Hertz())
	}
	for _, after := range []float64{0.05, 0.1, 0.2} {
		s.Reset()
		play(&s, 0, 0.1)
		play(&s, 1, after)
		if got, want := cents(s.Hertz(), 2*c4), -1200*math.Exp(-after/0.05); math.Abs(got-want) > 0.05 {
			t.Errorf("%g s after an octave's jump: %g cent, want %g", after, got, want)
		}
	}

	s = Simulated{Wander: 2, WanderTime: 0.5, Seed: 6}
	s.Init(4000)
	sum, n := 0.0, 4000
	for range n {
		play(&s, 0, 0.05)
		e := cents(s.Hertz(), c4)
		sum += e * e
	}
	if rms := math.Sqrt(sum / float64(n)); rms < 1.6 || rms > 2.4 {
		t.Errorf("wanders by %g cent RMS, want 2", rms)
	}

	s = Simulated{Waveform: dsp.SineWave, Noise: 0.05, Seed: 7}
	s.Init(rate)
	a := play(&s, 0.3, 0.5)
	s.Reset()
	b := make([]float32, len(a))
	for i := range b {
		b[i] = 0.3
	}
	for i := 0; i < len(b); i += 100 {
		s.Process(b[i:min(i+100, len(b))], b[i:min(i+100, len(b))])
	}
	for i := range a {
		if a[i] != b[i] {
			t.Fatalf("the cut into blocks changes sample %d: %g, %g", i, a[i], b[i])
		}
	}
	if got := p.Measure(a); math.Abs(got.SNR-37) > 0.5 {
		t.Errorf("5 V and 50 mV of noise are %g dB apart, want 37", got.SNR)
	}
	if n := testing.AllocsPerRun(5, func() { s.Process(b, b) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}
