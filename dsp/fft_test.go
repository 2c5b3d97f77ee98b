package dsp

import (
	"fmt"
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"
)

// byDefinition is the transform as it is written, with phases that are exact
// in integers.
func byDefinition(x []complex128) []complex128 {
	n := len(x)
	out := make([]complex128, n)
	for k := range out {
		for j, v := range x {
			out[k] += v * cmplx.Rect(1, -2*math.Pi*float64(j*k%n)/float64(n))
		}
	}
	return out
}

func TestFFTAgainstItsDefinition(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 1))
	worst := 0.0
	for n := 1; n <= 2048; n *= 2 {
		var f FFT
		f.Init(n)
		x, r := make([]complex128, n), make([]float64, n)
		rc := make([]complex128, n)
		for i := range x {
			x[i] = complex(rnd.NormFloat64(), rnd.NormFloat64())
			r[i] = rnd.NormFloat64()
			rc[i] = complex(r[i], 0)
		}
		scale := math.Sqrt(float64(n))
		near := func(what string, i int, got, want complex128, scale float64) {
			e := cmplx.Abs(got-want) / scale
			worst = max(worst, e)
			if e > 1e-13 || e != e {
				t.Fatalf("%s of %d points, %d: %v, want %v", what, n, i, got, want)
			}
		}
		y := append([]complex128(nil), x...)
		f.Forward(y)
		for k, want := range byDefinition(x) {
			near("forward", k, y[k], want, scale)
		}
		f.Inverse(y)
		for i := range x {
			near("there and back", i, y[i], x[i], 1)
		}
		bins := make([]complex128, n/2+1)
		f.ForwardReal(bins, r)
		for k, want := range byDefinition(rc)[:n/2+1] {
			near("real", k, bins[k], want, scale)
		}
		back := make([]float64, n)
		f.InverseReal(back, bins)
		for i := range r {
			near("real there and back", i, complex(back[i], 0), rc[i], 1)
		}
	}
	t.Logf("worst error %.1e", worst)
}

func TestFFTAllocatesNothing(t *testing.T) {
	const n = 4096
	var f FFT
	f.Init(n)
	x, r, s := make([]complex128, n), make([]float64, n), make([]complex128, n/2+1)
	r[3], x[5] = 1, 1
	if a := testing.AllocsPerRun(3, func() {
		f.Forward(x)
		f.Inverse(x)
		f.ForwardReal(s, r)
		f.InverseReal(r, s)
	}); a != 0 {
		t.Errorf("%g allocations", a)
	}
}

func TestFFTRefusesOtherLengths(t *testing.T) {
	for _, n := range []int{-4, 0, 3, 12} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%d points taken", n)
				}
			}()
			new(FFT).Init(n)
		}()
	}
}

func BenchmarkFFTReal(b *testing.B) {
	for _, n := range []int{1024, 16384, 131072} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var f FFT
			f.Init(n)
			r, s := make([]float64, n), make([]complex128, n/2+1)
			for i := range r {
				r[i] = math.Sin(float64(i))
			}
			for b.Loop() {
				f.ForwardReal(s, r)
			}
		})
	}
}
