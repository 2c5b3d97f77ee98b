package dsp

import "math"

const (
	pitchMostPartials = 12
	// pitchBlocks is into how many blocks the demodulated window is summed.
	pitchBlocks   = 128
	pitchMostHums = 3
	// pitchNuisance is how many real unknowns a partial has of its own: two
	// parts of its amplitude, and two of each line of hum within its lobe.
	pitchNuisance = 2 + 2*pitchMostHums
	// Together with the two that all partials share: frequency and its change.
	pitchUnknowns = pitchNuisance + 2
	// humReach is how far from a partial a line of hum matters, in widths of
	// 1/window.
	humReach = 6
	// humShare is how strong hum is expected to be, as a share of the signal's
	// RMS; its lines fall as one over their number.
	humShare = 0.01
)

// pitchPartial is a partial in the fit.
type pitchPartial struct {
	k     int
	worth float64
	hums  pitchHums
	a     complex128 // half the amplitude, with the phase in the middle of the window
}

// pitchHums are the lines of hum within a partial's lobe.
type pitchHums struct {
	n     int
	hertz [pitchMostHums]float64
	line  [pitchMostHums]float64 // number of the line
	a     [pitchMostHums]complex128
}

// humsNear lists the lines of hum that come nearest.
func (p *PitchTracker) humsNear(hertz, seconds float64) pitchHums {
	var h pitchHums
	for _, m := range mains {
		for k := 1.0; k <= mainsLines; k++ {
			d := math.Abs(k*m - hertz)
			if d > humReach/seconds {
				continue
			}
			at := h.n
			if h.n < pitchMostHums {
				h.n++
			} else {
				at = 0
				for i := range h.hertz {
					if math.Abs(h.hertz[i]-hertz) > math.Abs(h.hertz[at]-hertz) {
						at = i
					}
				}
				if math.Abs(h.hertz[at]-hertz) <= d {
					continue
				}
			}
			h.hertz[at], h.line[at] = k*m, k
		}
	}
	return h
}

// pitchFit is the window as the fit sees it: for each partial the samples under
// the taper, turned back by the phase that is assumed, summed over blocks, and
// the same with the time from the block's middle as a factor. Times are shares
// of the window, from its middle; frequencies are cycles per window.
type pitchFit struct {
	at    [pitchBlocks]float64 // the middle of a block
	w, ww [pitchBlocks]float64 // sums of the taper and of its square
	c, d  [pitchMostPartials][pitchBlocks]complex128
}

// follow fits the chosen partials to a fundamental near f and fills in what
// was found. Sigma is the variance of the noise, square the signal's power.
func (p *PitchTracker) follow(out *Pitch, f float64, n int, sigma, square float64) {
	seconds := float64(n) / p.rate
	taper := &p.tapers[taperWide]
	if f*seconds >= pitchNarrow {
		taper = &p.tapers[taperNarrow]
		taper.prepare(n)
	}
	for i, v := range p.x[:n] {
		p.buf[i] = v * taper.w[i]
	}
	e := &p.fit
	for b := range pitchBlocks {
		from, to := b*n/pitchBlocks, (b+1)*n/pitchBlocks
		sum, square, first := 0.0, 0.0, 0.0
		for i := from; i < to; i++ {
			w := taper.w[i]
			sum += w
			square += w * w
			first += w * float64(i)
		}
		e.w[b], e.ww[b], e.at[b] = sum, square, (float64(from+to)-float64(n))/2/float64(n)
		if sum > 0 {
			e.at[b] = ((first/sum)+0.5)/float64(n) - 0.5
		}
	}

	// Even a signal without noise is not what the model says to the last digit.
	noise := max(sigma/2, 1e-8*square)
	unit := noise * taper.square / taper.sum
	frequency, change := f*seconds, 0.0
	var r pitchSolution
	settled := false
	for range 4 {
		p.demodulate(n, frequency, change)
		var df, dc float64
		for i := range p.strong {
			p.amplitude(i)
		}
		for range 3 {
			r = p.solve(df, dc, frequency, seconds, noise, unit, square)
			df += r.frequency
			dc += r.change
		}
		frequency += df
		change += dc
		top := float64(p.strong[len(p.strong)-1].k)
		if !(math.Abs(df) < 2*frequency && math.Abs(dc) < frequency) {
			break
		}
		if settled = top*(math.Abs(df)+math.Abs(dc)/2) < 0.02; settled {
			break
		}
	}
	cents := 1200 / math.Ln2 / frequency
	if !settled || math.Abs(frequency-f*seconds) > 1.5 {
		out.Verdict = PitchUnsteady
		return
	}
	out.Hertz = frequency / seconds
	out.Drift = cents * change / seconds
	stray := p.stray(noise, frequency, seconds)
	out.Wander = cents * stray
	scale := math.Sqrt(noise) // of the noise in r's covariance
	out.StandardError = cents * math.Hypot(scale*math.Sqrt(r.varFrequency), math.Hypot(stray/2, p.grid(seconds)))
	out.DriftError = cents * scale * math.Sqrt(r.varChange) / seconds
	out.Verdict = Pitched
	if math.Abs(cents*change) > pitchFarthest || out.Wander > pitchStray {
		out.Verdict = PitchUnsteady
	}
}

// demodulate turns the window back by each partial's phase.
func (p *PitchTracker) demodulate(n int, frequency, change float64) {
	e := &p.fit
	for j := range p.strong {
		k := float64(p.strong[j].k)
		for b := range pitchBlocks {
			from, to := b*n/pitchBlocks, (b+1)*n/pitchBlocks
			t := e.at[b]
			local := k * (frequency + change*t) / float64(n) // cycles per sample
			// Position of the first sample after the block's middle, in samples.
			off := float64(from) + 0.5 - float64(n)/2 - t*float64(n)
			turn := k*(frequency*t+change*t*t/2) + local*off
			s, c := math.Sincos(-2 * math.Pi * (turn - math.Round(turn)))
			ds, dc := math.Sincos(-2 * math.Pi * local)
			var c0, c1, d0, d1 float64
			for _, v := range p.buf[from:to] {
				vc, vs := v*c, v*s
				c0 += vc
				c1 += vs
				d0 += vc * off
				d1 += vs * off
				off++
				c, s = c*dc-s*ds, c*ds+s*dc
			}
			e.c[j][b] = complex(c0, c1)
			e.d[j][b] = complex(d0/float64(n), d1/float64(n))
		}
	}
}

// amplitude is the first guess of a partial's.
func (p *PitchTracker) amplitude(j int) {
	var sum complex128
	w := 0.0
	for b, c := range p.fit.c[j] {
		sum += c
		w += p.fit.w[b]
	}
	p.strong[j].a = sum / complex(w, 0)
	p.strong[j].hums.a = [pitchMostHums]complex128{}
}

type pitchSolution struct {
	frequency, change       float64 // steps from the last guess
	varFrequency, varChange float64 // per unit of noise
}

// solve does one step of Gauss and Newton. Each partial's own unknowns are
// eliminated first; what they leave adds up to two equations for the frequency
// and its change. Hum has an expected size, without which it could be taken for
// half of a tone that lies beside it.
func (p *PitchTracker) solve(df, dc, frequency, seconds, noise, unit, square float64) pitchSolution {
	e := &p.fit
	var g, cov [2][2]float64
	var rhs [2]float64
	// A partial's own steps where the shared unknowns stay, and by how much
	// those of frequency and change alter them.
	var steps [pitchMostPartials]struct{ still, along, across [pitchNuisance]float64 }
	for j := range p.strong {
		q := &p.strong[j]
		k := 2 * math.Pi * float64(q.k)
		h := q.hums.n
		own, all := 2+2*h, 4+2*h
		var normal, spread [pitchUnknowns][pitchUnknowns]float64
		var right [pitchUnknowns]float64
		var col, slope [pitchUnknowns]complex128
		for b := range pitchBlocks {
			t := e.at[b]
			s, c := math.Sincos(k * (df*t + dc*t*t/2))
			base := complex(c, s)
			turn := complex(0, k*(df+dc*t))
			col[0], slope[0] = base, base*turn
			col[1], slope[1] = mulI(base), mulI(base*turn)
			model := q.a * base
			modelSlope := model * turn
			for i := range h {
				off := 2 * math.Pi * (q.hums.hertz[i]*seconds - float64(q.k)*frequency)
				s, c := math.Sincos(off * t)
				z := complex(c, s)
				dz := complex(-off*s, off*c)
				col[2+2*i], slope[2+2*i] = z, dz
				col[3+2*i], slope[3+2*i] = mulI(z), mulI(dz)
				model += q.hums.a[i] * z
				modelSlope += q.hums.a[i] * dz
			}
			first := mulI(q.a*base) * complex(k, 0)
			col[own], slope[own] = first*complex(t, 0), first+first*turn*complex(t, 0)
			col[own+1], slope[own+1] = first*complex(t*t/2, 0), first*complex(t, 0)+first*turn*complex(t*t/2, 0)
			w, ww := e.w[b], e.ww[b]
			rest, rest1 := e.c[j][b]-complex(w, 0)*model, e.d[j][b]
			for i := range all {
				ci := col[i]
				right[i] += real(ci)*real(rest) + imag(ci)*imag(rest) + real(slope[i])*real(rest1) + imag(slope[i])*imag(rest1)
				for m := range i + 1 {
					v := real(ci)*real(col[m]) + imag(ci)*imag(col[m])
					normal[i][m] += w * v
					spread[i][m] += ww * v
				}
			}
		}
		for i := range h {
			size := humShare / q.hums.line[i]
			size *= size * square / 4 // variance of either part
			stiff := unit / size
			for _, m := range [2]int{2 + 2*i, 3 + 2*i} {
				normal[m][m] += stiff
				spread[m][m] += stiff * stiff * size / noise
			}
			right[2+2*i] -= stiff * real(q.hums.a[i])
			right[3+2*i] -= stiff * imag(q.hums.a[i])
		}
		o := &steps[j]
		copy(o.still[:own], right[:own])
		copy(o.along[:own], normal[own][:own])
		copy(o.across[:own], normal[own+1][:own])
		cholesky(&normal, own, &o.still, &o.along, &o.across)
		// What is left of the shared unknowns' equations.
		shared := [2]*[pitchNuisance]float64{&o.along, &o.across}
		for a := range 2 {
			row := own + a
			rhs[a] += right[row]
			for i := range own {
				rhs[a] -= shared[a][i] * right[i]
			}
			for c := range a + 1 {
				v := normal[row][own+c]
				for i := range own {
					v -= normal[row][i] * shared[c][i]
				}
				g[a][c] += v
				// Covariance of the reduced right sides.
				u := spread[row][own+c]
				for i := range own {
					u -= shared[a][i]*spread[own+c][i] + shared[c][i]*spread[row][i]
					for m := range own {
						u += shared[a][i] * shared[c][m] * spread[max(i, m)][min(i, m)]
					}
				}
				cov[a][c] += u
			}
		}
	}
	g[0][1], cov[0][1] = g[1][0], cov[1][0]
	var r pitchSolution
	det := g[0][0]*g[1][1] - g[0][1]*g[1][0]
	if !(det > 0) {
		r.frequency = math.Inf(1)
		return r
	}
	inv := [2][2]float64{{g[1][1] / det, -g[0][1] / det}, {-g[1][0] / det, g[0][0] / det}}
	r.frequency = inv[0][0]*rhs[0] + inv[0][1]*rhs[1]
	r.change = inv[1][0]*rhs[0] + inv[1][1]*rhs[1]
	variance := func(a int) float64 {
		v := 0.0
		for i := range 2 {
			for m := range 2 {
				v += inv[a][i] * cov[i][m] * inv[a][m]
			}
		}
		return v
	}
	r.varFrequency, r.varChange = variance(0), variance(1)
	for j := range p.strong {
		q, o := &p.strong[j], &steps[j]
		step := func(i int) float64 { return o.still[i] - o.along[i]*r.frequency - o.across[i]*r.change }
		q.a += complex(step(0), step(1))
		for i := range q.hums.n {
			q.hums.a[i] += complex(step(2+2*i), step(3+2*i))
		}
	}
	return r
}

// cholesky solves the leading n equations of a symmetric matrix, of which the
// lower half is read, for several right sides in place.
func cholesky(a *[pitchUnknowns][pitchUnknowns]float64, n int, sides ...*[pitchNuisance]float64) {
	var l [pitchNuisance][pitchNuisance]float64
	for i := range n {
		for j := range i + 1 {
			v := a[i][j]
			for k := range j {
				v -= l[i][k] * l[j][k]
			}
			if i == j {
				l[i][i] = math.Sqrt(max(v, 1e-14*a[i][i]+1e-300))
			} else {
				l[i][j] = v / l[j][j]
			}
		}
	}
	for _, x := range sides {
		for i := range n {
			for k := range i {
				x[i] -= l[i][k] * x[k]
			}
			x[i] /= l[i][i]
		}
		for i := n - 1; i >= 0; i-- {
			for k := i + 1; k < n; k++ {
				x[i] -= l[k][i] * x[k]
			}
			x[i] /= l[i][i]
		}
	}
}

// grid is what the fundamental may be off because the mains are not quite in
// time and hum was taken for what it is not, in cycles per window.
func (p *PitchTracker) grid(seconds float64) float64 {
	const off = 0.03 // hertz
	sum, weight := 0.0, 0.0
	for _, q := range p.strong {
		a := float64(q.k) * math.Hypot(real(q.a), imag(q.a))
		weight += a * a
		for _, h := range q.hums.a[:q.hums.n] {
			sum += a * math.Hypot(real(h), imag(h))
		}
	}
	return off * seconds * sum / weight
}

// stray is how far the frequency leaves its straight line, RMS in cycles per
// window: a third and a fourth power in the phase that all partials share, as
// far as they stand above the noise.
func (p *PitchTracker) stray(noise, frequency, seconds float64) float64 {
	e := &p.fit
	var m [7]float64
	for b, t := range e.at {
		v := e.w[b]
		for i := range m {
			m[i] += v
			v *= t
		}
	}
	for i := 1; i < len(m); i++ {
		m[i] /= m[0]
	}
	// Orthogonal under the taper, to each other and to what was fitted.
	c3 := m[4] / m[2]
	c4 := (m[6] - m[4]*m[2]) / (m[4] - m[2]*m[2])
	var along, size, spread, steep [2]float64
	slopes := 0.0
	for j := range p.strong {
		q := &p.strong[j]
		k := 2 * math.Pi * float64(q.k)
		power := k * k * (real(q.a)*real(q.a) + imag(q.a)*imag(q.a))
		slopes += power
		for b, t := range e.at {
			poly := [2]float64{t*t*t - c3*t, t*t*t*t - c4*(t*t-m[2]) - m[4]}
			steepness := [2]float64{3*t*t - c3, 4*t*t*t - 2*c4*t}
			model := q.a
			for i := range q.hums.n {
				s, c := math.Sincos(2 * math.Pi * (q.hums.hertz[i]*seconds - float64(q.k)*frequency) * t)
				model += q.hums.a[i] * complex(c, s)
			}
			rest := e.c[j][b] - complex(e.w[b], 0)*model
			turned := k * (real(q.a)*imag(rest) - imag(q.a)*real(rest))
			turned1 := k * (real(q.a)*imag(e.d[j][b]) - imag(q.a)*real(e.d[j][b]))
			for i, v := range poly {
				along[i] += turned*v + turned1*steepness[i]
				size[i] += power * e.w[b] * v * v
				spread[i] += power * e.ww[b] * v * v
				steep[i] += power * e.w[b] * steepness[i] * steepness[i]
			}
		}
	}
	if slopes == 0 {
		return 0
	}
	sum := 0.0
	for i := range along {
		a := along[i] / size[i]
		seen := a*a - 6*noise*spread[i]/(size[i]*size[i])
		if seen > 0 {
			sum += seen * steep[i] / (slopes * m[0])
		}
	}
	return math.Sqrt(sum)
}
