package dsp

import "math"

// VCOBlock is the most samples that one call of VCO.Process takes.
const VCOBlock = 64

// VCOOutputs is how many shapes a VCO puts out: saw, pulse, triangle and sine,
// in the order of Waveform.
const VCOOutputs = 4

// VCO makes all four shapes from one phase, each band-limited as those of
// Oscillator and with one delay of VCOLatency samples, so that they stay
// aligned. Its frequency may be negative: the phase then runs
// backwards, and every step and corner is as band-limited as forwards.
type VCO struct {
	toIncrement float32 // 2^32 / sample rate
	past        vcoPast
	live        uint8 // shapes that were made in the last call
	lanes       [VCOOutputs]vcoLane
}

// vcoPast is what the next call needs of the last. A sample is rendered when
// the one after it is known: where between two samples a phase passed 0 is
// found on the cubic through four of them.
type vcoPast struct {
	waits bool // there is a sample that waits for its successor
	phase uint32
	inc   [2]int32  // of the sample before the one that waits, and of that
	width [3]uint32 // of the two before it, and of that
	sync  float32   // of the one that waits
}

// vcoLane holds the samples of one shape that are under way.
type vcoLane [VCOBlock + blepTaps]float32

// vcoMoves is how phase and width move over the samples of one call. Sample i
// goes from phase[i] to phase[i+1] by inc[i+1], and from width[i+1] to
// width[i+2].
type vcoMoves struct {
	phase [VCOBlock + 1]uint32
	inc   [VCOBlock + 2]int32
	width [VCOBlock + 3]uint32
	sync  [VCOBlock + 1]float32
}

const (
	// VCOLatency is the delay of every shape in samples: that of a residual,
	// and one for the look at the next sample.
	VCOLatency = OscillatorLatency + 1

	// vcoTop is the highest frequency, as a share of the sample rate.
	vcoTop = 0.49
	// vcoWidthStep bounds how far the width moves in a sample, in shares of a
	// cycle, so that no edge is passed twice within one.
	vcoWidthStep = 1 << 30
	// vcoPeak is the volts of a phase step of 1, per cycle of 2^32.
	vcoPeak = AudioPeak * (1.0 / (1 << 32))
)

// Init sets the sample rate, phase 0 and a width of one half.
func (o *VCO) Init(sampleRate float64) {
	*o = VCO{toIncrement: float32(1 << 32 / rateOr(sampleRate))}
	o.Reset()
}

// Reset returns to phase 0 and forgets the samples under way.
//
// Audio thread.
func (o *VCO) Reset() {
	*o = VCO{toIncrement: o.toIncrement, past: vcoPast{sync: -1, width: [3]uint32{1 << 31, 1 << 31, 1 << 31}}}
}

// Increment is the step of the phase for a frequency in hertz, which is
// bounded to ±0.49 of the sample rate; NaN stands still.
//
// Audio thread.
func (o *VCO) Increment(hertz float32) int32 {
	inc := hertz * o.toIncrement
	if !(inc > -vcoTop*(1<<32)) {
		if inc != inc {
			return 0
		}
		inc = -vcoTop * (1 << 32)
	}
	return int32(min(inc, vcoTop*(1<<32)))
}

// PulseWidth is the threshold of the phase for a share of a cycle, bounded to
// 0.01…0.99 so that the pulse never falls silent.
//
// Audio thread.
func PulseWidth(share float32) uint32 {
	if !(share > 0.01) {
		share = 0.01
	}
	return uint32(int64(min(share, 0.99) * (1 << 32)))
}

// Process renders n samples of each shape whose place in out is not nil. Inc
// is the step of the phase for each sample (see Increment), width the
// threshold of the pulse (see PulseWidth), and sync, if not nil, how many
// samples before each sample the cycle was restarted, 0…1, or less than 0
// where it was not. The volts stay within the rails, whatever the modulation.
//
// Audio thread.
func (o *VCO) Process(out *[VCOOutputs]*[VCOBlock]float32, n int, inc *[VCOBlock]int32, width *[VCOBlock]uint32, sync *[VCOBlock]float32) {
	n = min(n, VCOBlock)
	if n <= 0 {
		return
	}
	var m vcoMoves
	past := &o.past
	m.inc[0], m.inc[1] = past.inc[0], past.inc[1]
	copy(m.inc[2:], inc[:n])
	past.inc = [2]int32{m.inc[n], m.inc[n+1]}
	synced := sync != nil || past.sync >= 0
	if synced {
		m.sync[0] = past.sync
		past.sync = -1
		for i := range n {
			m.sync[i+1] = -1
			if sync != nil {
				m.sync[i+1] = sync[i]
			}
		}
		past.sync = m.sync[n]
	}
	first := 0
	if !past.waits {
		first, past.waits = 1, true
	}
	p := past.phase
	for i := first; i < n; i++ {
		m.phase[i] = p
		if d := m.inc[i+1]; synced && m.sync[i] >= 0 {
			m.sync[i] = min(m.sync[i], 1)
			p = uint32(int32(float32(d) * m.sync[i]))
		} else {
			p += uint32(d)
		}
		m.phase[i+1] = p
	}
	past.phase = p
	if out[Pulse] == nil {
		w := width[n-1]
		past.width = [3]uint32{w, w, w}
	} else {
		m.widths(past, width, n)
	}
	for k, b := range out {
		l := &o.lanes[k]
		bit := uint8(1) << k
		if b == nil {
			o.live &^= bit
			continue
		}
		if o.live&bit == 0 {
			*l = vcoLane{}
			o.live |= bit
		}
		for i := first; i < n; {
			end := n
			if synced {
				for end = i; end < n && !(m.sync[end] >= 0); {
					end++
				}
			}
			switch Waveform(k) {
			case Saw:
				l.saw(i, end, &m)
			case Pulse:
				l.pulse(i, end, &m)
			case Triangle:
				l.triangle(i, end, &m)
			case SineWave:
				l.sine(i, end, &m)
			}
			if i = end; i < n {
				l.restart(Waveform(k), i, &m)
				i++
			}
		}
		for i, v := range l[:n] {
			b[i] = Rail(v)
		}
		copy(l[:blepTaps], l[n:])
		clear(l[blepTaps : n+blepTaps])
	}
}

// widths takes the thresholds of a call, which move by vcoWidthStep a sample at
// most.
func (m *vcoMoves) widths(past *vcoPast, width *[VCOBlock]uint32, n int) {
	copy(m.width[:], past.width[:])
	w := past.width[2]
	for i, v := range width[:n] {
		if d := int32(v - w); d > vcoWidthStep {
			v = w + vcoWidthStep
		} else if d < -vcoWidthStep {
			v = w - vcoWidthStep
		}
		w = v
		m.width[i+3] = w
	}
	copy(past.width[:], m.width[n:n+3])
}

// step adds the residual of a step that happened ago samples (0…1) before
// sample i.
func (l *vcoLane) step(i int, height, ago float32) { l.residual(&blepTable, i, height, ago) }

func (l *vcoLane) residual(table *[blepPhases + 1][blepTaps]float32, i int, size, ago float32) {
	ago *= blepPhases
	r := min(max(int(ago), 0), blepPhases-1)
	f := ago - float32(r)
	a, b := &table[r], &table[r+1]
	sa, sb := size*(1-f), size*f
	slots := (*[blepTaps]float32)(l[i:])
	for k := range slots {
		slots[k] += sa*a[k] + sb*b[k]
	}
}

// passed tells whether a phase that moved by d to p went over 0, and how far
// it is beyond, with its sign.
func passed(p uint32, d int64) (bool, float64) {
	if d > 0 {
		return int64(p) < d, float64(p)
	}
	back := -p
	return back != 0 && int64(back) <= -d, -float64(back)
}

// crossing refines when a phase passed 0 on its way by d to p, with the moves
// before and after it: the root of the cubic through the four phases, in the
// form of Everett. It returns how long before the end of the move that was, as
// a share of it, and how fast the phase was, per sample.
func crossing(p float64, before, d, after int64) (since, speed float32) {
	v := float64(d)
	if before == d && after == d {
		return float32(p / v), float32(v)
	}
	a, b := float64(d-before)*(1.0/6), float64(after-d)*(1.0/6)
	at := func(s float64) (y, slope float64) {
		// s is the share of the move that is over.
		y = p - (1-s)*v - s*(1-s)*((2-s)*a+(1+s)*b)
		slope = v - (2-6*s+3*s*s)*a - (1-3*s*s)*b
		return y, slope
	}
	s := 1 - p/v
	lo, hi := 0.0, 1.0 // the ends lie on the two sides
	for range 4 {
		y, slope := at(s)
		if (y < 0) == (d > 0) {
			lo = s
		} else {
			hi = s
		}
		next := s - y/slope
		if !(next >= lo && next <= hi) {
			next = (lo + hi) / 2
		}
		s = next
	}
	_, slope := at(s)
	return float32(1 - s), float32(slope)
}

// saw renders samples from…to. Where the phase runs backwards the saw falls,
// and steps up.
func (l *vcoLane) saw(from, to int, m *vcoMoves) {
	for i := from; i < to; i++ {
		p, d := m.phase[i+1], m.inc[i+1]
		if d >= 0 {
			if p < uint32(d) {
				since, _ := crossing(float64(p), int64(m.inc[i]), int64(d), int64(m.inc[i+2]))
				l.step(i, -2*AudioPeak, since)
			}
		} else if m.phase[i] < uint32(-d) {
			since, _ := crossing(-float64(-p), int64(m.inc[i]), int64(d), int64(m.inc[i+2]))
			l.step(i, 2*AudioPeak, since)
		}
		l[i+OscillatorLatency] += AudioPeak * sawAt(p)
	}
}

// pulse renders samples from…to. There are two edges, one where the phase
// passes 0 and one where it passes the width; as the width may move itself,
// the second is where the distance of the two passes 0.
func (l *vcoLane) pulse(from, to int, m *vcoMoves) {
	for i := from; i < to; i++ {
		p, w, d := m.phase[i+1], m.width[i+2], m.inc[i+1]
		e := int64(d) - int64(int32(w-m.width[i+1]))
		if ok, far := passed(p, int64(d)); ok {
			h := 2 * AudioPeak
			if d < 0 {
				h = -h
			}
			since, _ := crossing(far, int64(m.inc[i]), int64(d), int64(m.inc[i+2]))
			l.step(i, h, since)
		}
		if ok, far := passed(p-w, e); ok {
			h := -2 * AudioPeak
			if e < 0 {
				h = -h
			}
			before := int64(m.inc[i]) - int64(int32(m.width[i+1]-m.width[i]))
			after := int64(m.inc[i+2]) - int64(int32(m.width[i+3]-w))
			since, _ := crossing(far, before, e, after)
			l.step(i, h, since)
		}
		v := -AudioPeak
		if p < w {
			v = AudioPeak
		}
		l[i+OscillatorLatency] += v
	}
}

// triangle renders samples from…to; its corners point the same way in both
// directions.
func (l *vcoLane) triangle(from, to int, m *vcoMoves) {
	for i := from; i < to; i++ {
		p, d := m.phase[i+1], int64(m.inc[i+1])
		if ok, far := passed(p, d); ok {
			since, speed := crossing(far, int64(m.inc[i]), d, int64(m.inc[i+2]))
			l.residual(&blampTable, i, 8*vcoPeak*max(speed, -speed), since)
		}
		if ok, far := passed(p-1<<31, d); ok {
			since, speed := crossing(far, int64(m.inc[i]), d, int64(m.inc[i+2]))
			l.residual(&blampTable, i, -8*vcoPeak*max(speed, -speed), since)
		}
		l[i+OscillatorLatency] += AudioPeak * triangleAt(p)
	}
}

func (l *vcoLane) sine(from, to int, m *vcoMoves) {
	for i := from; i < to; i++ {
		l[i+OscillatorLatency] += AudioPeak * sineAt(m.phase[i+1])
	}
}

// part is a stretch of a sample: a move of the phase by d to p that takes a
// share of the sample and ends ago before its end.
type part struct {
	p          uint32
	d          int64
	ago, share float32
}

// since tells whether the phase less an offset passed 0, and when.
func (q part) since(offset uint32) (bool, float32) {
	ok, far := passed(q.p-offset, q.d)
	if !ok {
		return false, 0
	}
	return true, q.ago + float32(far/float64(q.d))*q.share
}

// restart renders sample i, in which the cycle was restarted: up to there the
// old cycle went on, with what steps it had.
func (l *vcoLane) restart(shape Waveform, i int, m *vcoMoves) {
	inc, ago := m.inc[i+1], m.sync[i]
	after := int32(float32(inc) * ago)
	before := inc - after
	p1, p2 := m.phase[i]+uint32(before), m.phase[i+1]
	parts := [2]part{{p1, int64(before), ago, 1 - ago}, {p2, int64(after), 0, ago}}
	up := 2 * AudioPeak
	if inc < 0 {
		up = -up
	}
	var v float32
	switch shape {
	case Saw:
		for _, q := range parts {
			if ok, since := q.since(0); ok {
				l.step(i, -up, since)
			}
		}
		l.step(i, -AudioPeak-AudioPeak*sawAt(p1), ago)
		v = AudioPeak * sawAt(p2)
	case Pulse:
		w, was := m.width[i+2], m.width[i+1]
		if high := m.phase[i] < w; high != (m.phase[i] < was) {
			// The width moved over the phase: as well at the start of the sample.
			h := -2 * AudioPeak
			if high {
				h = -h
			}
			l.step(i, h, 1)
		}
		for _, q := range parts {
			if ok, since := q.since(0); ok {
				l.step(i, up, since)
			}
			if ok, since := q.since(w); ok {
				l.step(i, -up, since)
			}
		}
		if p1 >= w {
			l.step(i, 2*AudioPeak, ago)
		}
		v = -AudioPeak
		if p2 < w {
			v = AudioPeak
		}
	case Triangle:
		speed := 8 * vcoPeak * float32(inc)
		bend := max(speed, -speed)
		for _, q := range parts {
			if ok, since := q.since(0); ok {
				l.residual(&blampTable, i, bend, since)
			}
			if ok, since := q.since(1 << 31); ok {
				l.residual(&blampTable, i, -bend, since)
			}
		}
		if p1 >= 1<<31 {
			l.residual(&blampTable, i, speed, ago)
		}
		l.step(i, AudioPeak*(-1-triangleAt(p1)), ago)
		v = AudioPeak * triangleAt(p2)
	case SineWave:
		l.step(i, -AudioPeak*sineAt(p1), ago)
		l.residual(&blampTable, i, 2*math.Pi*vcoPeak*float32(inc)*(1-sineAt(p1+1<<30)), ago)
		v = AudioPeak * sineAt(p2)
	}
	l[i+OscillatorLatency] += v
}
