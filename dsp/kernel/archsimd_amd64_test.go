//go:build goexperiment.simd

package kernel

import "simd/archsimd"

func init() { loops["archsimd"] = func(b *bank, s *Sum) { archsimdLoop(b, s, Period) } }

// archsimdLoop is the loop with Go's experimental package for AVX-512.
func archsimdLoop(b *bank, s *Sum, n int) {
	p0, p1 := archsimd.LoadInt32x16(&b.phase[0]), archsimd.LoadInt32x16(&b.phase[1])
	i0, i1 := archsimd.LoadInt32x16(&b.inc[0]), archsimd.LoadInt32x16(&b.inc[1])
	s0, s1 := archsimd.LoadFloat32x16(&b.scale[0]), archsimd.LoadFloat32x16(&b.scale[1])
	ca, cb, cc := archsimd.LoadFloat32x16(&b.a), archsimd.LoadFloat32x16(&b.b), archsimd.LoadFloat32x16(&b.c)
	band, low := archsimd.LoadFloat32x16(&b.band), archsimd.LoadFloat32x16(&b.low)
	level, to, share := archsimd.LoadFloat32x16(&b.level), archsimd.LoadFloat32x16(&b.to), archsimd.LoadFloat32x16(&b.share)
	g0, g1 := archsimd.LoadFloat32x16(&b.gain[0]), archsimd.LoadFloat32x16(&b.gain[1])
	for f := range n {
		p0 = p0.Add(i0)
		p1 = p1.Add(i1)
		x := p0.ConvertToFloat32().Mul(s0).Add(p1.ConvertToFloat32().Mul(s1)).Add(archsimd.LoadFloat32x16(&b.wave[f]))
		was := low
		t := x.Sub(low)
		low = low.Add(cb.Mul(band)).Add(cc.Mul(t))
		band = ca.Mul(band).Add(cb.Mul(t))
		level = level.Add(share.Mul(to.Sub(level)))
		y := was.Add(low).Mul(level)
		archsimd.LoadFloat32x16(&s.left[f]).Add(y.Mul(g0)).Store(&s.left[f])
		archsimd.LoadFloat32x16(&s.right[f]).Add(y.Mul(g1)).Store(&s.right[f])
	}
	p0.Store(&b.phase[0])
	p1.Store(&b.phase[1])
	band.Store(&b.band)
	low.Store(&b.low)
	level.Store(&b.level)
	archsimd.ClearAVXUpperBits()
}
