package sense

import (
	"math"
	"math/cmplx"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const (
	// psdRate is how fast an input's spectrum of noise is learnt, a hop; a bin grows by no more
	// than psdGrowth in one, so that an edge is forgotten as fast as it came.
	psdRate   = 1.0 / 16
	psdGrowth = 4
	// spread is over how many bins to either side this block's own power is averaged.
	spread = 8
	// blank is how many times the mean magnitude of its hop a chip may have.
	blank = 6
	// ridge keeps the fit of outputs that send the same from falling apart: their errors become
	// large, and so they say nothing.
	ridge = 1e-7
	// Two outputs are the same for the fit above this correlation, and a gain is certain below
	// this error.
	same    = 0.95
	certain = 0.15
)

// spectral turns hops of an input into chips: it takes away the programme, weighs each bin of the
// spectrum by how little noise it has, matches the pulse of a chip, and sums with every code.
type spectral struct {
	fft    dsp.FFT
	window []float64
	match  []complex128 // conj(high-pass · pulse), zero outside of the band
	power  []float64    // its magnitude squared
	lo, hi int

	buf   []float64
	read  []float32
	y     []complex128
	pow   []float64
	sum   []float64
	walsh []float64
	chips []float64

	// The programme of this hop.
	x0     int64
	active []int
	p      [][]complex128
	peak   []float64 // greatest magnitude of the high-passed programme, with its sign
	r, inv []float64 // normal matrix of the active ones, normalised, and its inverse
	rho    []float64 // the matrix again
	norm   []float64 // square root of each one's energy
	rhs, g []float64
	res    hopResult
}

// whitener is what is kept of an input from hop to hop.
type whitener struct {
	started bool
	fresh   bool      // has no noise yet
	noise   []float64 // spectrum of what is left when all that is known is taken away
	tail    []float64 // second half of the last block
	deviate float64   // of the last hop's chips, in volts
	clip    bool
	weight  []float64
}

// hopResult is what one hop of one input says of every output.
type hopResult struct {
	chips  bool      // what follows is whole
	sum    []float64 // Σ chip·code/variance
	energy float64   // Σ (chip/variance)²
	info   float64   // Σ 1/variance

	fitted    bool      // the programme was fitted
	gain, se  []float64 // of each output's programme, and the standard error; se is infinite where it says nothing
	signature []float64 // what each one's programme did in this hop
	only      []bool    // no other did the same
}

func (s *spectral) init(outs int) {
	s.fft.Init(frameSize)
	s.window = make([]float64, frameSize)
	for i := range s.window {
		s.window[i] = math.Sin(math.Pi * (float64(i) + 0.5) / frameSize)
	}
	s.match, s.power = make([]complex128, bins), make([]float64, bins)
	s.lo, s.hi = int(math.Floor(lowEdge*frameSize)), int(math.Ceil(highEdge*frameSize))
	h := newHighpass(highPass)
	pulse := dsp.ChipPulse()
	for k := s.lo; k < s.hi; k++ {
		f := float64(k) / frameSize
		var p complex128
		for j, v := range pulse {
			p += complex(float64(v), 0) * cmplx.Rect(1, -2*math.Pi*f*float64(j))
		}
		s.match[k] = cmplx.Conj(h.response(f) * p)
		s.power[k] = real(s.match[k])*real(s.match[k]) + imag(s.match[k])*imag(s.match[k])
	}
	s.buf, s.read, s.y, s.pow = make([]float64, frameSize), make([]float32, frameSize), make([]complex128, bins), make([]float64, bins)
	s.sum, s.chips, s.walsh = make([]float64, bins+1), make([]float64, hopChips), make([]float64, MaxJacks)
	s.p = make([][]complex128, outs)
	for i := range s.p {
		s.p[i] = make([]complex128, bins)
	}
	s.peak, s.norm, s.rhs, s.g = make([]float64, outs), make([]float64, outs), make([]float64, outs), make([]float64, outs)
	s.r, s.inv, s.rho = make([]float64, outs*outs), make([]float64, outs*outs), make([]float64, outs*outs)
	s.res = hopResult{sum: make([]float64, outs), gain: make([]float64, outs), se: make([]float64, outs), signature: make([]float64, outs), only: make([]bool, outs)}
}

// transform puts the windowed spectrum of a block into y.
func (s *spectral) transform(y []complex128, x []float32) {
	for i, v := range x {
		s.buf[i] = s.window[i] * float64(v)
	}
	s.fft.ForwardReal(y, s.buf)
}

// programme prepares what the outputs sent in the block from x0 on: the spectra of those that move,
// and how alike they are.
func (s *spectral) programme(a *analysis, x0 int64) {
	s.x0, s.active = x0, s.active[:0]
	for o := range a.outs {
		if !a.moves(o, x0, frameSize) {
			continue
		}
		x := a.at(a.ph[o], x0, s.read)
		s.transform(s.p[o], x)
		var e, peak float64
		for k := s.lo; k < s.hi; k++ {
			v := s.p[o][k]
			e += real(v)*real(v) + imag(v)*imag(v)
		}
		for _, v := range x {
			if math.Abs(float64(v)) > math.Abs(peak) {
				peak = float64(v)
			}
		}
		if e < 1e-12 {
			continue
		}
		s.norm[o], s.peak[o] = math.Sqrt(e), peak
		s.active = append(s.active, o)
	}
	n := len(s.active)
	for i, oi := range s.active {
		for j, oj := range s.active[:i] {
			s.r[i*n+j] = dot(s.p[oi][s.lo:s.hi], s.p[oj][s.lo:s.hi]) / (s.norm[oi] * s.norm[oj])
			s.r[j*n+i] = s.r[i*n+j]
		}
		s.r[i*n+i] = 1 + ridge
	}
	if n > 0 {
		copy(s.rho[:n*n], s.r[:n*n])
		invert(s.inv[:n*n], s.r[:n*n], n)
	}
}

// dot is Re Σ conj(a)·b.
func dot(a, b []complex128) (sum float64) {
	b = b[:len(a)]
	for k, v := range a {
		sum += real(v)*real(b[k]) + imag(v)*imag(b[k])
	}
	return sum
}

// invert puts the inverse of the positive matrix r into inv, by Gauss and Jordan, and leaves r used up.
func invert(inv, r []float64, n int) {
	clear(inv)
	for i := range n {
		inv[i*n+i] = 1
	}
	for i := range n {
		d := 1 / max(r[i*n+i], ridge/10)
		for k := range n {
			r[i*n+k] *= d
			inv[i*n+k] *= d
		}
		for j := range n {
			if f := r[j*n+i]; j != i && f != 0 {
				for k := range n {
					r[j*n+k] -= f * r[i*n+k]
					inv[j*n+k] -= f * inv[i*n+k]
				}
			}
		}
	}
}

// fit takes the programme away from s.y and notes what share of each output was in it.
func (s *spectral) fit(r *hopResult) {
	n := len(s.active)
	y := s.y[s.lo:s.hi]
	for i, o := range s.active {
		s.rhs[i] = dot(s.p[o][s.lo:s.hi], y) / s.norm[o]
	}
	for i := range n {
		s.g[i] = 0
		for j := range n {
			s.g[i] += s.inv[i*n+j] * s.rhs[j]
		}
	}
	for i, o := range s.active {
		g := s.g[i] / s.norm[o]
		s.g[i] = g
		for k, v := range s.p[o][s.lo:s.hi] {
			y[k] -= complex(g*real(v), g*imag(v))
		}
	}
	var e float64
	for _, v := range y {
		e += real(v)*real(v) + imag(v)*imag(v)
	}
	// Each bin has two real parts, and windows that overlap share half of what they say.
	e /= 2 * float64(len(y))
	for o := range r.se {
		r.se[o] = math.Inf(1)
	}
	for i, o := range s.active {
		r.gain[o] = s.g[i]
		r.se[o] = math.Sqrt(e*s.inv[i*n+i]) / s.norm[o]
		r.signature[o], r.only[o] = s.peak[o], true
	}
	r.fitted = true
	for i, o := range s.active {
		if r.se[o] < certain {
			continue
		}
		// Others may do the same at the same frame. What arrived is this one's alone if it is a
		// cable's gain for this one and for none of the others.
		g := s.alone(i)
		for j := range s.active {
			if j != i && math.Abs(s.rho[i*n+j]) > same {
				if m := math.Abs(s.alone(j)); m > 0.2 && m < 1.7 {
					r.only[o] = false
				}
			}
		}
		r.gain[o], r.se[o] = g, math.Sqrt(e)/s.norm[o]
	}
}

// alone is the gain of an active output if all that came in of it and of those like it was its own.
func (s *spectral) alone(i int) (g float64) {
	n := len(s.active)
	for j, o := range s.active {
		if rho := s.rho[i*n+j]; j == i {
			g += s.g[j]
		} else if math.Abs(rho) > same {
			g += s.g[j] * rho * s.norm[o] / s.norm[s.active[i]]
		}
	}
	return g
}

// hop analyses one hop of input i, the block of outputs from x0 on, lag frames later. It needs the
// hop before it to be the last one that w has seen. learn lets the spectrum of noise follow.
func (s *spectral) hop(a *analysis, w *whitener, i int, x0 int64, lag int, learn bool) *hopResult {
	r := &s.res
	r.fitted = false
	s.transform(s.y, a.at(a.yh[i], x0+int64(lag), s.read))
	if len(s.active) > 0 && s.x0 == x0 {
		s.fit(r)
	}
	r.chips = s.whiten(w, learn)
	if !r.chips {
		return r
	}
	for j := range s.chips {
		s.chips[j] = s.buf[j*dsp.ChipFrames]
	}
	v := robust(s.chips, w)
	inv := 1 / v
	// Strip the signs that all codes share; what is left of each are its Walsh function's.
	length := a.code.Length()
	sums := s.walsh[:length]
	clear(sums)
	chip := x0 / dsp.ChipFrames
	var energy float64
	n := 0
	for j := 0; j < hopChips; {
		word := chip + int64(j)
		signs := a.code.Common(word/64) >> uint(word%64)
		end := min(hopChips, j+64-int(word%64))
		for ; j < end; j++ {
			c := s.chips[j]
			if c != 0 {
				n++
			}
			energy += c * c
			if signs&1 != 0 {
				c = -c
			}
			signs >>= 1
			sums[(chip+int64(j))&int64(length-1)] += c
		}
	}
	dsp.Hadamard(sums)
	for o := range r.sum {
		r.sum[o] = sums[o] * inv
	}
	r.energy, r.info = energy*inv*inv, float64(n)*inv
	return r
}

// copy makes w begin with the noise of another.
func (w *whitener) copy(from *whitener) {
	if w.noise == nil {
		w.noise, w.tail, w.weight = make([]float64, bins), make([]float64, hop), make([]float64, bins)
	}
	copy(w.noise, from.noise)
	w.started, w.fresh = false, false
}

// whiten turns s.y, the spectrum of a block, into what a matched filter makes of it, and overlaps it
// with the block before: the first hop of s.buf. Code of amplitude 1 has amplitude 1 there. It is
// false for the first block.
func (s *spectral) whiten(w *whitener, learn bool) bool {
	if w.noise == nil {
		w.noise, w.tail, w.weight, w.fresh = make([]float64, bins), make([]float64, hop), make([]float64, bins), true
	}
	if !w.started && learn {
		w.fresh = true
	}
	s.sum[s.lo] = 0
	for k := s.lo; k < s.hi; k++ {
		v := s.y[k]
		p := real(v)*real(v) + imag(v)*imag(v)
		s.pow[k] = p
		s.sum[k+1] = s.sum[k] + p
	}
	var norm float64
	for k := s.lo; k < s.hi; k++ {
		from, to := max(s.lo, k-spread), min(s.hi, k+spread+1)
		local := (s.sum[to] - s.sum[from]) / float64(to-from)
		if w.fresh {
			w.noise[k] = local
		}
		g := 1 / (w.noise[k] + local + 1e-20)
		s.pow[k], w.weight[k] = g, s.pow[k]
		norm += s.power[k] * g
	}
	if learn {
		for k := s.lo; k < s.hi; k++ {
			w.noise[k] += psdRate * (min(w.weight[k], psdGrowth*w.noise[k]+1e-16) - w.noise[k])
		}
		w.fresh = false
	}
	// A bin that has more of the code than others is weighed less by its own power among its
	// neighbours': the mean is mended.
	norm = frameSize / (2 * norm) * (2*spread + 2) / (2*spread + 1)
	clear(s.y[:s.lo])
	clear(s.y[s.hi:])
	for k := s.lo; k < s.hi; k++ {
		g := norm * s.pow[k]
		s.y[k] *= complex(g*real(s.match[k]), g*imag(s.match[k]))
	}
	s.fft.InverseReal(s.buf, s.y)
	for i := range hop {
		s.buf[i] = s.window[i]*s.buf[i] + w.tail[i]
		w.tail[i] = s.window[hop+i] * s.buf[hop+i]
	}
	was := w.started
	w.started = true
	return was
}

// robust blanks the chips that stand out of their hop and returns the variance of the others.
func robust(x []float64, w *whitener) float64 {
	var m float64
	for _, v := range x {
		m += math.Abs(v)
	}
	m *= blank / float64(len(x))
	var e float64
	n := 0
	for j, v := range x {
		if v > m || v < -m {
			x[j] = 0
			continue
		}
		e += v * v
		n++
	}
	v := max(e/float64(max(n, 1)), quietest*quietest)
	w.deviate = math.Sqrt(v)
	return v
}
