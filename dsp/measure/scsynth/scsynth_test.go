package scsynth_test

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/dsp/measure/scsynth"
)

// TestSine: a sine comes out at its pitch and level, on its channel, from its
// time on.
func TestSine(t *testing.T) {
	d, in := scsynth.Define("sine", []string{"hertz"}, []float32{440})
	d.Units("Out", scsynth.Audio, 0, d.Constant(1),
		d.Operator(scsynth.Multiply, scsynth.Audio, d.Unit("SinOsc", scsynth.Audio, in[0], d.Constant(0)), d.Constant(0.5)))
	s := scsynth.NewScore(d)
	n := s.Synth(0.5, "sine", map[string]float32{"hertz": 997})
	s.Set(1, n, "hertz", 1994)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	r, err := scsynth.Render(ctx, t.TempDir(), s, 1.5, 48000, 2)
	if errors.Is(err, scsynth.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	if n := len(r.Channels[1]); n < 1.4*48000 || n > 1.6*48000 {
		t.Fatalf("%d frames came back of 72000", n)
	}
	if p := measure.Peak(r.Channels[0]) + measure.Peak(r.Channels[1][:23800]); p != 0 {
		t.Errorf("where there should be silence there is %v", p)
	}
	for _, c := range []struct {
		from  int
		hertz float64
	}{{24500, 997}, {48500, 1994}} {
		x := r.Channels[1][c.from : c.from+20000]
		hertz, err := measure.Pitch(x, 48000)
		if err != nil || math.Abs(measure.Cents(hertz, c.hertz)) > 1 {
			t.Errorf("pitch is %v (%v), expected %v", hertz, err, c.hertz)
		}
		if p := measure.Peak(x); math.Abs(p-0.5) > 0.001 {
			t.Errorf("peak is %v, expected 0.5", p)
		}
	}
}
