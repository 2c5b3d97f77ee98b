package main

import (
	"context"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/oscillator"
)

// simulatedBench is an oscillator of package oscillator on a bench whose time
// passes as fast as it is computed.
type simulatedBench struct {
	oscillator.Simulated
	volts   float32
	samples int64
	cv, x   []float32
}

func (b *simulatedBench) SampleRate() float64        { return 48000 }
func (b *simulatedBench) Limits() (float64, float64) { return -10, 10 }

func (b *simulatedBench) Set(ctx context.Context, volts float64) error {
	b.volts = float32(volts)
	_, _, err := b.Listen(ctx, 0.01)
	return err
}

func (b *simulatedBench) Listen(ctx context.Context, seconds float64) ([]float32, float64, error) {
	at, n := b.samples, int(seconds*48000)
	b.cv, b.x = b.cv[:0], b.x[:0]
	for range n {
		b.cv, b.x = append(b.cv, b.volts), append(b.x, 0)
	}
	b.Process(b.cv, b.x)
	b.samples += int64(n)
	return b.x, float64(at) / 48000, ctx.Err()
}

// TestProofCalibrateOscillators: by ear over eight octaves, on oscillators that
// another hand has bent: scale, offset, curvature, a slow reset that makes high
// notes flat, drift, wander, settling, noise at 40 dB, hum and DC;
// K8S_SYNTH_PROOF=1.
func TestProofCalibrateOscillators(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("runs with K8S_SYNTH_PROOF=1")
	}
	const trials = 20
	waves := []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.Pulse, dsp.SineWave}
	var table strings.Builder
	fmt.Fprintln(&table, "trial  wave      scale    offset  curve  reset   drift  wander  before  by itself  in truth  note to note")
	worst, widest := 0.0, 0.0
	for k := range trials {
		r := rand.New(rand.NewPCG(uint64(k), 99))
		even := func(most float64) float64 { return most * (2*r.Float64() - 1) }
		b := &simulatedBench{Simulated: oscillator.Simulated{Waveform: waves[k%len(waves)], ScaleError: even(0.04), Offset: even(300), Curvature: even(4),
			HighTracking: 1e-6 * r.Float64(), Drift: even(1), Wander: 0.1 * r.Float64(), Settle: 0.05, Noise: 0.03, Hum: 0.03 * r.Float64(), DC: even(0.5), Seed: uint64(k)}}
		b.Init(48000)
		d, err := calibration.Ear{}.Run(t.Context(), b)
		if err != nil {
			t.Fatalf("trial %d: %v", k, err)
		}
		for _, l := range d.LeftOut {
			t.Errorf("trial %d: %s is left out: %s", k, calibration.NoteName(l.Note), l.Why)
		}
		c, err := d.Curve()
		if err != nil {
			t.Fatal(err)
		}
		// What it has drifted to by now is what it plays now over what its law says.
		base := 1200 * math.Log2(b.Hertz()/b.Law(float64(b.volts)))
		low, high := math.Inf(1), math.Inf(-1)
		for _, row := range d.Table {
			hertz := b.Law(float64(c.Correct(float32(row.Volts))))
			e := 1200*math.Log2(hertz/calibration.NoteHertz(float64(row.Note+d.Transpose))) + base
			low, high = min(low, e), max(high, e)
		}
		worst, widest = max(worst, high, -low), max(widest, (high-low)/2)
		fmt.Fprintf(&table, "%5d  %-8v  %+.2f %%  %+6.0f  %+5.2f  %.2f µs  %+5.2f  %.3f  %6.1f  %9.3f  %8.3f  %6.3f\n", k, b.Waveform, 100*b.ScaleError, b.Offset, b.Curvature, 1e6*b.HighTracking, b.Drift, b.Wander,
			d.Before.Worst, d.After.Worst, max(high, -low), (high-low)/2)
		if max(high, -low) > 0.5 || d.Table[len(d.Table)-1].Note-d.Table[0].Note < 95 {
			t.Errorf("trial %d: %.3f cents over %d notes", k, max(high, -low), len(d.Table))
		}
	}
	t.Logf("worst of all %.3f cents in truth, %.3f from note to note\n%s", worst, widest, table.String())
}
