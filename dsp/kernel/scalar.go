package kernel

import "github.com/k8s-synth/k8s-synth/dsp"

// The twin in Go of the assembly, equal to it bit for bit: each product is
// rounded before it is added, which the conversions to float32 ask of
// compilers that would fuse the two, even where a statement lies between.

// increment is the step of a phase a frame.
func increment(hertz, toInc float32) int32 {
	x := hertz * toInc
	if !(x > 0) {
		x = 0
	}
	if !(x < topPitch*(1<<32)) {
		x = topPitch * (1 << 32)
	}
	return int32(x)
}

// coefficients are those of dsp.SVF with the states at the ends of a frame
// instead of in its middle: a = 2·a1-1, b = 2·a2, c = 2·a3. The tangent is a
// fraction, n/d, the same as that of dsp.SVF, so that one division does.
func coefficients(hertz, k, toPhase, lowest float32) (a, b, c float32) {
	x := hertz * toPhase
	if !(x > lowest) {
		x = lowest
	}
	if !(x < topPhase) {
		x = topPhase
	}
	y := float32(x * x)
	n := float32(x * (135135 + float32(y*(-17325+float32(y*(378-y))))))
	d := 135135 + float32(y*(-62370+float32(y*(3150-float32(28*y)))))
	dd := float32(d * d)
	r := 1 / (dd + float32(n*(n+float32(k*d))))
	r += r
	return float32(dd*r) - 1, float32(float32(n*d) * r), float32(float32(n*n) * r)
}

// topPhase is π times the highest cutoff.
const topPhase = 3.14159265358979323846 * topPitch

// What is new at the beginning of a period.
const (
	newPitches = 1 << iota
	newFilters
	newGains
)

// prepare begins a control period for all lanes, and returns those whose
// level has come to its end.
func (b *bank) prepare(what int) (ended uint16) {
	for l := range Lanes {
		if b.at == 0 {
			b.fold(l)
		}
		for o := range 2 {
			inc := b.next[o][l]
			b.inc[o][l] = inc
			b.lead[o][l] = b.phase[o][l] + inc<<4
			if what&newPitches != 0 {
				next := increment(b.hertz[o][l], b.toInc)
				b.next[o][l] = next
				f := float32(next)
				b.size[o][l] = b.base[o][l] + float32(b.slope[o][l]*f)
				if !(f > 1) {
					f = 1
				}
				b.inv[o][l] = phases / f
			}
			if what&newGains != 0 {
				approach(&b.gain[o][l], &b.dgain[o][l], &b.ggain[o][l], b.want[o][l])
			}
		}
		if what&newFilters != 0 {
			x, y, z := coefficients(b.cutoff[l], b.damp[l], b.toPhase, b.lowest)
			approach(&b.a[l], &b.da[l], &b.ga[l], x)
			approach(&b.b[l], &b.db[l], &b.gb[l], y)
			approach(&b.c[l], &b.dc[l], &b.gc[l], z)
		}
		b.band[l], b.low[l] = sound(b.band[l]), sound(b.low[l])
		if b.to[l] == 0 && b.level[l] < silence {
			b.level[l] = 0
			ended |= 1 << l
		}
	}
	return ended
}

// approach makes the goal of the last period the value of now, and goes to a
// new one.
func approach(now, change, goal *float32, to float32) {
	*now, *goal = *goal, to
	*change = (to - *now) * (1.0 / Period)
}

// sound keeps a state that is neither too small nor too large nor NaN.
func sound(x float32) float32 {
	if x >= stateFloor && x <= stateTop || x <= -stateFloor && x >= -stateTop {
		return x
	}
	return 0
}

// lastRow is just before the end of a residual table.
const lastRow = 127.99999

// residuals adds those of a period's events: wherever the phase comes round.
// The phase is that after the frame before; the residual of an event at the
// first frame begins at sample at. inv is the number of rows of the table over
// inc.
func residuals(ring *[rowSize]float32, at int, table *dsp.ResidualTable, phase, inc uint32, inv, size float32) {
	i := uint64(inc)
	for way := 1<<32 - uint64(phase); 16*i >= way; way += 1 << 32 {
		k := (way + i - 1) / i
		x := min(float32(float32(int32(k*i-way))*inv), lastRow)
		r := int32(x)
		f := x - float32(r)
		second := float32(size * f)
		first := size - second
		p, q := &table[r], &table[r+1]
		start := at + int(k) - 1
		for j := 0; j < taps; j += chunk {
			slots := ring[(start+j)%span:][:chunk]
			for m := range slots {
				slots[m] += float32(first*p[j+m]) + float32(second*q[j+m])
			}
		}
	}
}

// fold brings what was written behind the ring to its start.
func (b *bank) fold(lane int) {
	r := &b.ring[lane]
	for m := range chunk {
		r[m] += r[span+m]
		r[span+m] = 0
	}
}

// take takes a period's residuals out of the ring.
func (b *bank) take(lane, at int) {
	now := b.ring[lane][at:][:Period]
	for f, x := range now {
		b.wave[f][lane] = x
	}
	clear(now)
}

// run renders n frames of the period.
func (b *bank) run(s *Sum, extra *[Period]lanes, shape dsp.Waveform, from, n int, mask uint16) {
	for l := range Lanes {
		if mask>>l&1 == 0 {
			continue
		}
		p0, p1 := b.phase[0][l], b.phase[1][l]
		i0, i1 := b.inc[0][l], b.inc[1][l]
		s0, s1 := b.scale[0][l], b.scale[1][l]
		a, bb, c := b.a[l], b.b[l], b.c[l]
		da, db, dc := b.da[l], b.db[l], b.dc[l]
		band, low := b.band[l], b.low[l]
		level, to, share, top := b.level[l], b.to[l], b.share[l], b.top[l]
		g0, g1 := b.gain[0][l], b.gain[1][l]
		d0, d1 := b.dgain[0][l], b.dgain[1][l]
		for f := range n {
			p0 += i0
			p1 += i1
			var x float32
			switch shape {
			case dsp.Saw:
				x = float32(float32(p0)*s0) + float32(float32(p1)*s1)
			case dsp.Triangle:
				x = float32(float32(triangle(p0))*s0) + float32(float32(triangle(p1))*s1)
			default:
				x = float32(sine(p0)*s0) + float32(sine(p1)*s1)
			}
			x += b.wave[from+f][l]
			a += da
			bb += db
			c += dc
			t := x - low
			was := low
			low = low + float32(bb*band) + float32(c*t)
			band = float32(a*band) + float32(bb*t)
			level += float32(share * (to - level))
			if level >= top {
				level, to, share = top, b.then[l], b.thenWith[l]
			}
			y := float32((was+low)*level) + extra[from+f][l]
			g0 += d0
			g1 += d1
			s.left[f][l] += float32(y * g0)
			s.right[f][l] += float32(y * g1)
		}
		b.phase[0][l], b.phase[1][l] = p0, p1
		b.a[l], b.b[l], b.c[l] = a, bb, c
		b.band[l], b.low[l] = band, low
		b.level[l], b.to[l], b.share[l] = level, to, share
		b.gain[0][l], b.gain[1][l] = g0, g1
	}
}

// triangle folds a phase, which is stored plus half a cycle, to a ramp that
// rises over the first half and falls over the second.
func triangle(s int32) int32 {
	p := s ^ -1<<31
	return int32(uint32(p^p>>31)<<1 ^ 1<<31)
}

// sine is the sine of a phase that is stored plus half a cycle, by the
// polynomial of degree 9 on a quarter cycle from Hastings, Approximations for
// Digital Computers (1955), sheet 16, as in dsp; its error is below 2e-7.
func sine(s int32) float32 {
	p := s ^ -1<<31
	if p^p<<1 < 0 {
		p = -1<<31 - p
	}
	x := float32(float32(p) * (1.0 / (1 << 30)))
	y := float32(x * x)
	z := 0.07968967928 + float32(y*(-0.00467376557+float32(y*0.00015148419)))
	return x * (1.57079631847 + float32(y*(-0.64596371106+float32(y*z))))
}

// stereo adds up the lanes, in the order of the assembly.
func (s *Sum) stereo(left, right []float32) {
	for f := range left {
		left[f] += total(&s.left[f])
		right[f] += total(&s.right[f])
		s.left[f], s.right[f] = lanes{}, lanes{}
	}
}

func total(x *lanes) float32 {
	var y [Lanes / 2]float32
	for l := range y {
		y[l] = x[l] + x[l+Lanes/2]
	}
	return ((y[0] + y[1]) + (y[2] + y[3])) + ((y[4] + y[5]) + (y[6] + y[7]))
}
