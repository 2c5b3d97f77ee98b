package calibration

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// randomCurve is a channel with errors of scale, offset and bend, and a table
// with the noise of measurements.
func randomCurve(t *testing.T, r *rand.Rand) *Curve {
	t.Helper()
	var p []Point
	gain, offset, bend := 1+0.08*(r.Float64()-0.5), 0.2*(r.Float64()-0.5), 0.004*(r.Float64()-0.5)
	for n := -60; n <= 60; n += 1 + r.IntN(6) {
		v := float64(n) / 12
		p = append(p, Point{v, offset + gain*v + bend*v*v + 0.0008*r.NormFloat64()})
	}
	r.Shuffle(len(p), func(i, j int) { p[i], p[j] = p[j], p[i] })
	c, err := NewCurve(p)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestCurveIsWithinAHundredthOfACent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	worst, knots := 0.0, 0.0
	for range 12 {
		c := randomCurve(t, r)
		for _, p := range c.Points() {
			knots = max(knots, math.Abs(c.At(p.Volts)-p.Send))
		}
		last := math.Inf(-1)
		for v := -12.0; v <= 12; v += 0.00137 {
			f := float32(v)
			worst = max(worst, math.Abs(float64(c.Correct(f))-c.At(float64(f))))
			if at := c.At(v); at <= last {
				t.Fatalf("at %g V the curve falls from %g to %g", v, last, at)
			} else {
				last = at
			}
			if back := c.Wanted(c.At(v)); math.Abs(back-v) > 1e-9 {
				t.Fatalf("%g V comes back as %g V", v, back)
			}
		}
	}
	t.Logf("worst error of the table: %.2f µV (%.4f cent); at the points %.2g V", worst*1e6, worst*1200, knots)
	if worst > 8e-6 || knots > 1e-12 {
		t.Errorf("worst error %g V, at the points %g V; want 8 µV and none", worst, knots)
	}
}

func TestCurveGoesOnBeyondItsEnds(t *testing.T) {
	var p []Point
	for n := -24; n <= 24; n++ {
		v := float64(n) / 12
		p = append(p, Point{v, 0.1 + 1.04*v})
	}
	// A bad last note must not turn the whole extrapolation.
	p[len(p)-1].Send += 0.002
	c, err := NewCurve(p)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []float32{-10, -5, 5, 10} {
		want := 0.1 + 1.04*float64(v)
		if got := float64(c.Correct(v)); math.Abs(got-want) > 0.02 {
			t.Errorf("Correct(%g) = %g, want about %g", v, got, want)
		}
	}
	one, err := NewCurve([]Point{{1, 1.25}})
	if err != nil {
		t.Fatal(err)
	}
	two, err := NewCurve([]Point{{0, 0.5}, {4, 4.1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []float32{-3, 0, 1, 2, 7} {
		if got := one.Correct(v); math.Abs(float64(got-v)-0.25) > 1e-6 {
			t.Errorf("an offset: Correct(%g) = %g", v, got)
		}
		if got := two.Correct(v); math.Abs(float64(got)-(0.5+0.9*float64(v))) > 2e-6 {
			t.Errorf("a gain: Correct(%g) = %g", v, got)
		}
		if got := Identity().Correct(v); got != v {
			t.Errorf("identity: Correct(%g) = %g", v, got)
		}
	}
}

func TestCurveIsSafeOnTheAudioThread(t *testing.T) {
	c := randomCurve(t, rand.New(rand.NewPCG(3, 4)))
	var none *Curve
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	for _, k := range []*Curve{c, none, Identity()} {
		if got := k.Correct(nan); got != k.Correct(0) {
			t.Errorf("Correct(NaN) = %g", got)
		}
		for _, v := range []float32{inf, -inf, math.MaxFloat32, -math.MaxFloat32} {
			if got := k.Correct(v); math.IsNaN(float64(got)) || math.Abs(float64(got)) > 2000 {
				t.Errorf("Correct(%g) = %g", v, got)
			}
		}
	}
	x := make([]float32, 64)
	for i := range x {
		x[i] = float32(i)/8 - 4
	}
	if n := testing.AllocsPerRun(100, func() { c.ProcessBlock(x) }); n != 0 {
		t.Errorf("%g allocations a block", n)
	}
	none.ProcessBlock(x)
}

func TestCurveRefuses(t *testing.T) {
	for want, p := range map[string][]Point{
		"needs a point":            nil,
		"at least 0.0001 V apart":  {{1, 1}, {1, 2}},
		"expected it to rise":      {{1, 1}, {2, 1}},
		"from 3 V to 2 V":          {{1, 3}, {2, 2}},
		"two voltages from -24":    {{1, math.NaN()}},
		"two voltages":             {{math.Inf(1), 0}},
		"by 0.05 to 20 V a volt":   {{1, 1}, {1.1, 4}},
		"between 1 V and 1.0002 V": {{1, 1}, {1.0002, 1.00000001}},
	} {
		if _, err := NewCurve(p); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewCurve(%v): %v, want %q", p, err, want)
		}
	}
}

func BenchmarkCurve(b *testing.B) {
	var p []Point
	for n := -60; n <= 60; n++ {
		v := float64(n) / 12
		p = append(p, Point{v, 0.01 + 1.03*v + 0.001*v*v})
	}
	c, err := NewCurve(p)
	if err != nil {
		b.Fatal(err)
	}
	x := make([]float32, 64)
	for b.Loop() {
		for i := range x {
			x[i] = float32(i)/8 - 4
		}
		c.ProcessBlock(x)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/64, "ns/sample")
	b.ReportMetric(float64(len(c.add)), "cells")
}
