package sense

import (
	"math"
	"math/cmplx"
	"slices"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const (
	fastHops    = 7  // of the quick search, 75 ms at 48 kHz
	mediumHops  = 24 // of the same for inputs with noise, 256 ms
	fastEvery   = 3  // hops
	mediumTurn  = 6
	sliceTurn   = 6 // hops from one input's whole search to the next
	idleTurn    = 94
	longTurn    = 47
	longSeconds = 5.2 // that chips are kept for

	sliceChips    = 8192 // of the transforms of a whole search
	programTurn   = 3    // hops from one search by programme to the next
	programOuts   = 6    // outputs that are looked at in one
	shortSeconds  = 0.35 // of it
	looked        = 4.2  // deviations that make a lag worth weighing
	lookedSlice   = 5.2
	lookedProgram = 7.0
	tolerance     = 0.03 // of the mean magnitude, where a spectrum is empty
	noisy         = -84  // dBFS of an input that takes longer
	maxTries      = 4    // lags that the programme points to are followed at a time
	trySeconds    = 6    // and for so long
	candidates    = 3    // lags of an input that are weighed at a time
	busyRatio     = 5.0
)

// search looks for the round trip, which is the same for all cables of an interface: of 4800 lags
// at 48 kHz.
//
// Every chip at which all Walsh functions are + is the same for all outputs, and one in sixteen:
// summing over those alone finds any output's code in an input at a sixteenth of the cost and of
// the energy. Where that is too little, one input after the other is correlated with every code by
// itself; and where an output's programme covers the codes, with the programme, which says where to
// look. What was found is weighed with the whole code at that lag.
type search struct {
	e     [][]float32 // chips at every frame of the inputs, over their variance
	mask  int
	fresh bool
	from  int64 // e is whole from here
	heard int64 // to here
	sums  [][][]float32
	first int64 // the first hop of outputs that is summed
	count int64 // hops of outputs that are summed
	acc   []float32
	run1  []float32
	tick  int64
	turn  int
	lturn int
	pturn int
	oturn int

	fft      dsp.FFT
	spare    whitener
	slice    []float32
	y        [2][]complex128
	z        []complex128
	ref      []complex128
	sum1     [][]complex64 // cross spectra of every output with both halves
	pfft     dsp.FFT
	frames   int // of its transforms: the longest round trip, and twice that to compare
	py, pz   []complex128
	pp       []complex128
	found    []candidate
	tries    [maxTries]try
	spareTry try
	trial    []pair
	total    []struct{ u, j float64 }
}

type candidate struct {
	input, lag int
	z          float64
	dense      bool // the programme never rests: a short past tells all
}

func (s *search) init(a *analysis) {
	floats := func(n, size int) [][]float32 {
		x := make([][]float32, n)
		for i := range x {
			x[i] = make([]float32, size)
		}
		return x
	}
	size := 1
	for size < int(longSeconds*float64(a.cfg.Rate)) {
		size *= 2
	}
	s.mask = size - 1
	s.e = floats(a.ins, size)
	for range a.ins {
		s.sums = append(s.sums, floats(mediumHops, a.maxLag))
	}
	s.acc, s.run1 = make([]float32, a.maxLag), make([]float32, a.maxLag+hop)
	s.fft.Init(sliceChips)
	s.slice = make([]float32, sliceChips*dsp.ChipFrames)
	for k := range s.y {
		s.y[k] = make([]complex128, sliceChips)
	}
	s.z = make([]complex128, sliceChips)
	s.ref = make([]complex128, sliceChips)
	for range 2 * a.outs {
		s.sum1 = append(s.sum1, make([]complex64, sliceChips))
	}
	for s.frames = 4096; s.frames < a.maxLag*3; s.frames *= 2 {
	}
	s.pfft.Init(s.frames)
	s.py, s.pz, s.pp = make([]complex128, s.frames), make([]complex128, s.frames), make([]complex128, s.frames)
	s.trial, s.total = make([]pair, a.outs), make([]struct{ u, j float64 }, a.outs)
}

func (s *search) restart(a *analysis) {
	s.from, s.heard, s.count, s.first, s.fresh = a.next, a.next, 0, a.next, true
	s.found = s.found[:0]
	for k := range s.tries {
		s.tries[k].on = false
	}
}

// searching tells whether the round trip is unknown or in doubt.
func (a *analysis) searching() bool { return !a.locked || a.now < a.doubtful }

// listen goes through one hop of every input, in step with the inputs.
func (s *search) listen(a *analysis, y0 int64) {
	a.sp.active = a.sp.active[:0]
	for i := range a.ins {
		w := a.work[i]
		a.level[i] = a.mean(a.yr[i], y0, hop)
		w.clip = a.clipped(i, y0, frameSize) > 0.02
		s.chips(a, w, i, y0, true, s.e[i][int(y0)&s.mask:])
		in := &a.inputs[i]
		in.noise += (1 - noiseForget) * (w.deviate*w.deviate - in.noise)
	}
	if s.fresh { // the first block has no other before it
		s.fresh = false
		s.from += hop
		s.first = s.from
	}
	s.heard = y0 + hop
	s.from = max(s.from, s.heard-int64(s.mask+1)+2*hop)
	for x0 := s.first + s.count*hop; x0+hop+int64(a.maxLag) <= s.heard; x0 += hop {
		s.sum(a, x0)
		s.count++
	}
}

// chips puts what a matched filter makes of one hop of input i, over its variance, into e.
func (s *search) chips(a *analysis, w *whitener, i int, y0 int64, learn bool, e []float32) {
	sp := &a.sp
	sp.transform(sp.y, a.at(a.yh[i], y0, sp.read))
	whole := sp.whiten(w, learn)
	x := sp.buf[:hop]
	v := robust(x, w)
	if !whole || a.clipped(i, y0, frameSize) > 0.02 {
		clear(e[:hop])
		return
	}
	for k, c := range x {
		e[k] = float32(c / v)
	}
}

// sum adds up the chips that all codes share, in one hop of the outputs, for every lag.
func (s *search) sum(a *analysis, x0 int64) {
	length := a.code.Length()
	step := length * dsp.ChipFrames
	first := int(-x0 & int64(step-1)) // hops begin at multiples of 512
	var sign [hop / (4 * dsp.ChipFrames)]float32
	n := 0
	for f := first; f < hop; f += step {
		chip := (x0 + int64(f)) / dsp.ChipFrames
		sign[n] = 1 - 2*float32(a.code.Common(chip/64)>>uint(chip%64)&1)
		n++
	}
	for i := range a.ins {
		b := s.sums[i][int(s.count%mediumHops)]
		e := ringAt(s.e[i], x0, s.run1)
		k := 0
		if n >= 4 {
			s0, s1, s2, s3 := sign[0], sign[1], sign[2], sign[3]
			e0, e1, e2, e3 := e[first:], e[first+step:], e[first+2*step:], e[first+3*step:]
			e0, e1, e2, e3 = e0[:len(b)], e1[:len(b)], e2[:len(b)], e3[:len(b)]
			for t := range b {
				b[t] = s0*e0[t] + s1*e1[t] + s2*e2[t] + s3*e3[t]
			}
			k = 4
		} else {
			clear(b)
		}
		for ; k+4 <= n; k += 4 {
			s0, s1, s2, s3 := sign[k], sign[k+1], sign[k+2], sign[k+3]
			at := first + k*step
			e0, e1, e2, e3 := e[at:], e[at+step:], e[at+2*step:], e[at+3*step:]
			e0, e1, e2, e3 = e0[:len(b)], e1[:len(b)], e2[:len(b)], e3[:len(b)]
			for t := range b {
				b[t] += s0*e0[t] + s1*e1[t] + s2*e2[t] + s3*e3[t]
			}
		}
		for ; k < n; k++ {
			s0 := sign[k]
			e0 := e[first+k*step:]
			e0 = e0[:len(b)]
			for t := range b {
				b[t] += s0 * e0[t]
			}
		}
	}
}

// run is called once a hop and takes its turns at the searches that are due.
func (s *search) run(a *analysis) {
	s.tick++
	if a.locked {
		s.runLocked(a)
		return
	}
	for i := range a.ins {
		loud := s.noisy(a, i)
		switch {
		case !loud && s.tick%fastEvery == 0:
			s.quick(a, i, fastHops)
		case loud && s.tick%mediumTurn == int64(i)%mediumTurn:
			s.quick(a, i, mediumHops)
		}
		if a.locked {
			return
		}
	}
	if s.tick%sliceTurn == 1 {
		for range a.ins {
			s.turn = (s.turn + 1) % a.ins
			if s.noisy(a, s.turn) {
				s.whole(a, s.turn, 0)
				break
			}
		}
	}
	if !a.locked && s.tick%longTurn == 3 {
		s.lturn = (s.lturn + 1) % a.ins
		if s.noisy(a, s.lturn) && s.heard-s.from > 2*int64(a.cfg.Rate) {
			s.long(a, s.lturn)
		}
	}
	if !a.locked {
		s.runProgram(a)
	}
}

// noisy tells whether input i takes longer than others.
func (s *search) noisy(a *analysis, i int) bool {
	return decibels(4*a.inputs[i].noise/(nominalVolts*nominalVolts)) > noisy
}

// runLocked looks for another round trip: of inputs whose cables are in doubt at once, and of the
// others now and then.
func (s *search) runLocked(a *analysis) {
	if s.tick%sliceTurn != 1 {
		return
	}
	_, off := a.thresholds()
	for n := range a.ins {
		i := (s.turn + 1 + n) % a.ins
		for o := range a.outs {
			if p := &a.pairs[i*a.outs+o]; p.on && p.gone > off/2 {
				s.turn = i
				s.whole(a, i, p.from)
				return
			}
		}
	}
	if a.now < a.doubtful || s.tick%idleTurn < sliceTurn {
		s.turn = (s.turn + 1) % a.ins
		s.whole(a, s.turn, 0)
	}
	if a.now < a.doubtful {
		s.runProgram(a)
	}
}

// quick looks for any output's code in input i, over the last hops.
func (s *search) quick(a *analysis, i, hops int) {
	n := int(min(int64(hops), s.count))
	if n < 2 {
		return
	}
	acc := s.acc
	clear(acc)
	for k := range n {
		b := s.sums[i][int((s.count-1-int64(k))%mediumHops)][:len(acc)]
		for t := range acc {
			acc[t] += b[t]
		}
	}
	var e float64
	for _, v := range acc {
		e += float64(v) * float64(v)
	}
	if e == 0 {
		return
	}
	limit := looked * math.Sqrt(e/float64(len(acc)))
	for range candidates {
		best, at := limit, -1
		for t, v := range acc {
			if m := math.Abs(float64(v)); m > best {
				best, at = m, t
			}
		}
		if at < 0 {
			return
		}
		if s.weigh(a, i, at, func(f int64, buf []float32) []float32 { return ringAt(s.e[i], f, buf) }, max(s.from, s.heard-int64(a.maxLag)-int64(a.cfg.Rate)/2), s.heard) {
			return
		}
		for t := max(0, at-6); t < min(len(acc), at+7); t++ {
			acc[t] = 0
		}
	}
}

// weigh sums the whole of every code at a lag of input i and at its neighbours, over chips at the
// frames from to end of the input, and takes the lag as the round trip where that leaves no doubt.
func (s *search) weigh(a *analysis, i, lag int, chips func(int64, []float32) []float32, from, end int64) bool {
	on, _ := a.thresholds()
	on += math.Log(float64(a.maxLag))
	best, at, output, code, gain := 0.0, -1, 0, 0.0, 1.0
	for l := max(0, lag-2); l <= min(a.maxLag-1, lag+2); l++ {
		clear(s.trial)
		clear(s.total)
		x0 := max(from-int64(l), 0)
		x0 = (x0 + hop - 1) / hop * hop
		for ; x0+int64(l)+hop <= end; x0 += hop {
			e := chips(x0+int64(l), a.sp.read[:hop])
			s.hear(a, e, x0, a.startAt(i, x0+int64(l)))
		}
		for o := range s.trial {
			// The neighbours of the right lag are beyond doubt too, but not as good.
			t := &s.total[o]
			if t.u*t.u > best*t.j {
				best, at, output = t.u*t.u/t.j, l, o
				code, _, gain = s.trial[o].score()
			}
		}
	}
	if code < on {
		return false
	}
	if a.locked && at == a.lag {
		return true
	}
	a.lock(at)
	// The past that is kept may be too short to find it again.
	if p := &a.pairs[i*a.outs+output]; !p.on && from+int64(a.cfg.Rate) < end {
		a.plug(i, output, gain)
	}
	return true
}

// hear lets the pairs of the trial hear one hop of chips over their variance.
func (s *search) hear(a *analysis, e []float32, x0 int64, start float64) {
	length := a.code.Length()
	sums := a.sp.walsh[:length]
	clear(sums)
	chip := x0 / dsp.ChipFrames
	var energy float64
	for j := range int64(hopChips) {
		c := float64(e[j*dsp.ChipFrames])
		energy += c * c
		if k := chip + j; a.code.Common(k/64)>>uint(k%64)&1 != 0 {
			c = -c
		}
		sums[(chip+j)&int64(length-1)] += c
	}
	dsp.Hadamard(sums)
	for o := range s.trial {
		j := a.amp[o] * a.amp[o] * energy
		s.trial[o].hear(start, a.amp[o]*sums[o], j, j)
		s.total[o].u += a.amp[o] * sums[o]
		s.total[o].j += j
	}
}

// whole correlates input i, from a frame on that is at most half a second ago, with every output's
// whole code, at every lag.
func (s *search) whole(a *analysis, i int, since int64) {
	end := a.now/hop*hop - hop // a hop needs the block after it
	if !a.locked {
		end = s.heard
	}
	from := max(end-int64(len(s.slice)), (max(a.valid, since)+2*hop-1)/hop*hop)
	if !a.locked {
		from = max(from, s.from)
	}
	if end-from < int64(a.maxLag)+4*hop {
		return
	}
	e := s.slice[:end-from]
	if !a.locked {
		for f := from; f < end; f += hop {
			copy(e[f-from:], s.e[i][int(f)&s.mask:int(f)&s.mask+hop])
		}
	} else {
		w := &s.spare
		if a.work[i].noise == nil {
			return
		}
		w.copy(a.work[i])
		a.sp.active = a.sp.active[:0]
		for f := from; f < end; f += hop {
			s.chips(a, w, i, f, false, e[f-from:])
		}
	}
	chips := func(f int64, buf []float32) []float32 { return e[f-from : f-from+int64(len(buf))] }
	s.correlate(a, i, chips, from, end)
}

// long is whole over all that is kept, for inputs of an idle matrix that noise covers.
func (s *search) long(a *analysis, i int) {
	s.correlate(a, i, func(f int64, buf []float32) []float32 { return ringAt(s.e[i], f, buf) }, s.from, s.heard)
}

// correlate looks for the lag at which the chips of input i, from one frame to another, are most
// like any output's code, and weighs it.
func (s *search) correlate(a *analysis, i int, chips func(int64, []float32) []float32, from, end int64) {
	shift := int64(a.maxLag / dsp.ChipFrames)
	step := sliceChips - shift // chips of the code in a segment
	first, last := from/dsp.ChipFrames, end/dsp.ChipFrames-shift
	for _, z := range s.sum1 {
		clear(z)
	}
	var buf [hop]float32
	for seg := first; seg < last; seg += step {
		n := min(step, last-seg)
		for k := range s.y {
			clear(s.y[k])
		}
		for j := int64(0); j < n+shift; {
			m := min(hopChips, n+shift-j)
			e := chips((seg+j)*dsp.ChipFrames, buf[:m*dsp.ChipFrames])
			for c := range m {
				s.y[0][j+c] = complex(float64(e[4*c]), float64(e[4*c+1]))
				s.y[1][j+c] = complex(float64(e[4*c+2]), float64(e[4*c+3]))
			}
			j += m
		}
		s.fft.Forward(s.y[0])
		s.fft.Forward(s.y[1])
		for o := 0; o < a.outs; o += 2 {
			for j := range s.ref {
				s.ref[j] = 0
			}
			for j := range n {
				c := seg + j
				common := a.code.Common(c / 64)
				var v [2]float64
				for k := range min(2, a.outs-o) {
					v[k] = 1 - 2*float64((common^a.code.Walsh(o+k))>>uint(c%64)&1)
				}
				s.ref[j] = complex(v[0], v[1])
			}
			s.fft.Forward(s.ref)
			s.cross(o, a.outs)
		}
	}
	best := candidate{z: lookedSlice}
	for k, z := range s.sum1 {
		half := k & 1
		for j, v := range z {
			s.z[j] = complex128(v)
		}
		s.fft.Inverse(s.z)
		var e float64
		for _, v := range s.z[:shift] {
			e += real(v)*real(v) + imag(v)*imag(v)
		}
		if e == 0 {
			continue
		}
		scale := math.Sqrt(float64(2*shift) / e)
		for t, v := range s.z[:shift] {
			for part, m := range [2]float64{math.Abs(real(v)), math.Abs(imag(v))} {
				if m*scale > best.z {
					best = candidate{input: i, lag: t*dsp.ChipFrames + 2*half + part, z: m * scale}
				}
			}
		}
	}
	if best.z > lookedSlice {
		s.weigh(a, i, best.lag, chips, from, end)
	}
}

// cross adds the cross spectra of s.y with two real signals, whose joint spectrum is s.ref, to the
// sums of outputs o and o+1.
func (s *search) cross(o, outs int) {
	n := len(s.ref)
	for k := range 2 {
		if o+k >= outs {
			return
		}
		u, v := s.sum1[2*(o+k)], s.sum1[2*(o+k)+1]
		for f, r := range s.ref {
			q := s.ref[(n-f)&(n-1)]
			// conj of (r + conj q)/2 or of (r − conj q)/2i
			var c complex128
			if k == 0 {
				c = complex((real(r)+real(q))/2, (imag(q)-imag(r))/2)
			} else {
				c = complex((imag(r)+imag(q))/2, (real(r)-real(q))/2)
			}
			u[f] += complex64(s.y[0][f] * c)
			v[f] += complex64(s.y[1][f] * c)
		}
	}
}

// runProgram looks for programme in the inputs that are busy, and weighs what was found before.
func (s *search) runProgram(a *analysis) {
	if s.tick%2 == 0 {
		s.goOn(a)
		if a.locked && a.doubtful == 0 {
			return
		}
	}
	if s.tick%programTurn == 1 && len(s.found) > 0 {
		k := 0
		for n := range s.found {
			if s.found[n].z > s.found[k].z {
				k = n
			}
		}
		c := s.found[k]
		s.found = slices.Delete(s.found, k, k+1)
		s.replay(a, c)
		return
	}
	if s.tick%programTurn != 2 || a.now-a.valid < int64(s.frames) {
		return
	}
	for range a.ins {
		s.pturn = (s.pturn + 1) % a.ins
		if a.busy(s.pturn) {
			s.program(a, s.pturn)
			return
		}
	}
}

// busy tells whether input i does more than to hiss.
func (a *analysis) busy(i int) bool {
	least, most := math.Inf(1), 0.0
	all := int(min(a.now-a.valid, int64(a.mask+1))) / mini
	for m := range all - 1 {
		p := float64(a.yPow[i][int(a.now/mini-1-int64(m))&(a.mask/mini)])
		least = min(least, p)
		if m < a.search.frames/mini {
			most = max(most, p)
		}
	}
	return most > busyRatio*least+1e-14 || most > 1e-4
}

// program correlates input i with what the outputs play, each frequency with the same weight, and
// notes the lags that stand out.
func (s *search) program(a *analysis, i int) {
	from := a.now - int64(s.frames)
	n := s.frames - a.maxLag
	load := func(z []complex128, ring []float32, n int) {
		for j := range n {
			z[j] = complex(float64(ring[int(from+int64(j))&a.mask]), 0)
		}
		clear(z[n:])
		s.pfft.Forward(z)
		s.flatten(z)
	}
	load(s.py, a.yh[i], s.frames)
	tried := 0
	for range a.outs {
		s.oturn = (s.oturn + 1) % a.outs
		o := s.oturn
		if !a.moves(o, from, n) {
			continue
		}
		if tried++; tried > programOuts {
			return
		}
		rests := 0
		for f := from; f < from+int64(n); f += mini {
			if !a.moves(o, f, 1) {
				rests++
			}
		}
		dense := rests < n/mini/4
		p := s.pp
		load(p, a.ph[o], n)
		for k := range s.pz {
			s.pz[k] = s.py[k] * cmplx.Conj(p[k])
		}
		s.pfft.Inverse(s.pz)
		z := s.pz[:a.maxLag]
		var e float64
		for _, v := range z {
			e += real(v) * real(v)
		}
		limit := lookedProgram * math.Sqrt(e/float64(len(z)))
		for range 2 {
			best, at := limit, -1
			for t, v := range z {
				if m := math.Abs(real(v)); m > best {
					best, at = m, t
				}
			}
			if at < 0 {
				break
			}
			c := candidate{input: i, lag: at, z: best * lookedProgram / limit, dense: dense}
			known := false
			for _, f := range s.found {
				known = known || f.input == i && f.lag == at
			}
			if !known && len(s.found) < 12 && !(a.locked && at == a.lag) {
				s.found = append(s.found, c)
			}
			for t := max(0, at-6); t < min(len(z), at+7); t++ {
				z[t] = 0
			}
		}
	}
}

// flatten gives every bin of the band the same magnitude, but for those that are empty.
func (s *search) flatten(z []complex128) {
	n := len(z)
	lo, hi := int(lowEdge*float64(n)), int(highEdge*float64(n))
	var e float64
	for k := lo; k < hi; k++ {
		e += real(z[k])*real(z[k]) + imag(z[k])*imag(z[k])
	}
	floor := tolerance*math.Sqrt(e/float64(hi-lo)) + 1e-20
	clear(z[:lo])
	clear(z[hi : n-hi+1])
	clear(z[n-lo+1:])
	for k := lo; k < hi; k++ {
		g := 1 / (math.Sqrt(real(z[k])*real(z[k])+imag(z[k])*imag(z[k])) + floor)
		z[k] *= complex(g, 0)
		z[n-k] = cmplx.Conj(z[k])
	}
}

// replay takes up a lag that the programme points to: it goes through what is kept of the past with
// the programme taken away, and goes on with that for a while.
func (s *search) replay(a *analysis, c candidate) {
	past := historySeconds
	if c.dense {
		past = shortSeconds
	}
	best, at := 0.0, -1
	for l := max(0, c.lag-1); l <= min(a.maxLag-1, c.lag+1); l++ {
		if code := s.follow(a, &s.spareTry, c.input, l, past); code > best {
			best, at = code, l
		}
	}
	if at < 0 || a.locked && at == a.lag {
		return
	}
	k := 0 // the weakest of those that are followed
	for n := range s.tries {
		t := &s.tries[n]
		if t.on && t.input == c.input && t.lag == at {
			return
		}
		if !t.on || t.best < s.tries[k].best && s.tries[k].on {
			k = n
		}
	}
	if t := &s.tries[k]; !t.on || best > t.best {
		t.on = false
		t.best = s.follow(a, t, c.input, at, past)
		t.on, t.until = true, a.now+int64(trySeconds*float64(a.cfg.Rate))
		s.judge(a, t)
	}
}

// try is a lag that the programme points to.
type try struct {
	on         bool
	input, lag int
	next       int64
	until      int64
	best       float64
	w          whitener
	pairs      []pair
}

// follow brings a try up to now and returns the nats for its best cable. One that is not on begins
// some seconds ago.
func (s *search) follow(a *analysis, t *try, i, lag int, past float64) (best float64) {
	if !t.on {
		t.input, t.lag = i, lag
		t.pairs = append(t.pairs[:0], make([]pair, a.outs)...)
		t.w.started = false
		t.next = (max(a.valid, a.now-int64(lag)-int64(past*float64(a.cfg.Rate))+2*frameSize) + hop - 1) / hop * hop
	}
	for ; t.next+int64(lag)+frameSize <= a.now; t.next += hop {
		a.sp.programme(a, t.next)
		r := a.sp.hop(a, &t.w, i, t.next, lag, true)
		if a.clipped(i, t.next+int64(lag), frameSize) > 0.02 {
			continue
		}
		start := a.startAt(i, t.next+int64(lag))
		for o := range t.pairs {
			p := &t.pairs[o]
			if r.chips {
				p.hear(start, a.amp[o]*r.sum[o], a.amp[o]*a.amp[o]*r.energy, 0)
			}
			if r.fitted {
				p.see(r.gain[o], r.se[o], r.signature[o], r.only[o], t.next)
			}
		}
	}
	for o := range t.pairs {
		p := &t.pairs[o]
		code, _, _ := p.score()
		if code >= codeLeast {
			// That one edge fits says nothing: the lag was chosen so that one does.
			code += max(0, p.credit-sameMost)
		}
		best = max(best, code)
	}
	return best
}

// judge takes a try's lag as the round trip where that leaves no doubt.
func (s *search) judge(a *analysis, t *try) {
	on, _ := a.thresholds()
	if t.best < on+math.Log(float64(3*maxTries*a.outs)) {
		return
	}
	t.on = false
	if a.locked && t.lag == a.lag {
		return
	}
	a.lock(t.lag)
	for o := range t.pairs {
		p := &a.pairs[t.input*a.outs+o]
		if code, all, gain := t.pairs[o].score(); !p.on && code >= codeLeast && all > on {
			a.plug(t.input, o, gain)
		}
	}
}

// goOn follows all that are tried.
func (s *search) goOn(a *analysis) {
	for k := range s.tries {
		t := &s.tries[k]
		if !t.on {
			continue
		}
		if t.best = s.follow(a, t, t.input, t.lag, 0); a.now > t.until {
			t.on = false
			continue
		}
		if s.judge(a, t); a.locked && a.doubtful == 0 {
			return
		}
	}
}
