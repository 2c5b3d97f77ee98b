package dsp

import (
	"math"
	"testing"
)

// TestCodesAreOrthogonal: over one length any two members, as they are sent,
// have a product of exactly zero, and each alone is balanced noise.
func TestCodesAreOrthogonal(t *testing.T) {
	var c Code
	for _, members := range []int{1, 5, 16, 64} {
		c.Init(7, members)
		n := c.Length() * ChipFrames
		x := make([][]float32, c.Length())
		for m := range x {
			x[m] = make([]float32, 40*n)
			c.Add(m, 1, 0, x[m])
		}
		for a := range x {
			for b := range x {
				for at := 0; at < len(x[a]); at += n {
					var sum float64
					for i := at; i < at+n; i++ {
						sum += float64(x[a][i] * x[b][i])
					}
					if want := float64(n); a != b && sum != 0 || a == b && sum != want {
						t.Fatalf("%d members: %d times %d from %d: %g", members, a, b, at, sum)
					}
				}
			}
		}
	}
}

// TestCodeIsTheSameInAnyPieces: a member added in pieces is what it is in one.
func TestCodeIsTheSameInAnyPieces(t *testing.T) {
	var c Code
	c.Init(3, 16)
	whole := make([]float32, 3000)
	c.Add(5, 0.5, 12345, whole)
	for _, piece := range []int{1, 3, 64, 255, 1000} {
		got := make([]float32, len(whole))
		for i := 0; i < len(got); i += piece {
			c.Add(5, 0.5, 12345+int64(i), got[i:min(len(got), i+piece)])
		}
		for i := range got {
			if got[i] != whole[i] || math.Abs(float64(got[i])) != 0.5 {
				t.Fatalf("pieces of %d: sample %d is %g, want %g", piece, i, got[i], whole[i])
			}
			chip := (12345 + int64(i)) / ChipFrames
			want := 0.5 * chipPulse[(12345+i)%ChipFrames]
			if c.Signs(5, chip/64)>>uint(chip%64)&1 == 1 {
				want = -want
			}
			if got[i] != want {
				t.Fatalf("sample %d is %g, its sign says %g", i, got[i], want)
			}
		}
	}
}

// TestCodeIsUncorrelatedWithItself at any lag but zero, and with white
// spectrum of signs: what a round trip is measured by.
func TestCodeIsUncorrelatedWithItself(t *testing.T) {
	var c Code
	c.Init(1, 16)
	const n = 1 << 15
	x := make([]float64, n)
	for i := range x {
		x[i] = 1
		if c.Signs(9, int64(i/64))>>uint(i%64)&1 == 1 {
			x[i] = -1
		}
	}
	for lag := 1; lag < 1300; lag++ {
		var sum float64
		for i := lag; i < n; i++ {
			sum += x[i] * x[i-lag]
		}
		if z := sum / math.Sqrt(n); math.Abs(z) > 5 {
			t.Errorf("lag %d: %.1f standard deviations", lag, z)
		}
	}
}

func TestHadamardSumsWithEveryMember(t *testing.T) {
	var c Code
	c.Init(0, 16)
	x := make([]float64, c.Length())
	for i := range x {
		x[i] = float64(i*i%7) - 2
	}
	got := append([]float64(nil), x...)
	Hadamard(got)
	for m := range got {
		var want float64
		for i := range x {
			if (c.Signs(m, 0)^c.Common(0))>>uint(i)&1 == 1 {
				want -= x[i]
			} else {
				want += x[i]
			}
		}
		if got[m] != want {
			t.Errorf("member %d: %g, want %g", m, got[m], want)
		}
	}
}

func BenchmarkCodeAdd(b *testing.B) {
	var c Code
	c.Init(1, 16)
	x := make([]float32, 64)
	b.ReportAllocs()
	for i := range b.N {
		c.Add(i&15, 1e-4, int64(64*i), x)
	}
}
