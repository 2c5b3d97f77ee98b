package dsp

import "math"

// VCOBlock is the most samples that one call of VCO.Process takes.
const VCOBlock = 64

// VCOOutputs is how many shapes a VCO puts out: saw, pulse, triangle and sine,
// in the order of Waveform.
const VCOOutputs = 4

// VCO makes all four shapes from one phase, each band-limited as those of
// Oscillator and with the same delay of OscillatorLatency samples, so that
// they stay aligned. Its frequency may be negative: the phase then runs
// backwards, and every step and corner is as band-limited as forwards.
type VCO struct {
	toIncrement float32 // 2^32 / sample rate
	phase       uint32
	width       uint32
	live        uint8 // shapes that were made in the last call
	lanes       [VCOOutputs]vcoLane
}

// vcoLane holds the samples of one shape that are under way.
type vcoLane [VCOBlock + blepTaps]float32

const (
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
	*o = VCO{toIncrement: float32(1 << 32 / rateOr(sampleRate)), width: 1 << 31}
}

// Reset returns to phase 0 and forgets the samples under way.
//
// Audio thread.
func (o *VCO) Reset() {
	o.phase, o.width, o.live = 0, 1<<31, 0
	o.lanes = [VCOOutputs]vcoLane{}
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
// where it was not.
//
// Audio thread.
func (o *VCO) Process(out *[VCOOutputs]*[VCOBlock]float32, n int, inc *[VCOBlock]int32, width *[VCOBlock]uint32, sync *[VCOBlock]float32) {
	n = min(n, VCOBlock)
	var ph [VCOBlock + 1]uint32
	p := o.phase
	ph[0] = p
	if sync == nil {
		for i, d := range inc[:n] {
			p += uint32(d)
			ph[i+1] = p
		}
	} else {
		for i, d := range inc[:n] {
			if s := sync[i]; s >= 0 {
				p = uint32(int32(float32(d) * min(s, 1)))
			} else {
				p += uint32(d)
			}
			ph[i+1] = p
		}
	}
	o.phase = p
	var wd [VCOBlock + 1]uint32
	if out[Pulse] != nil {
		w := o.width
		wd[0] = w
		for i, v := range width[:n] {
			if d := int32(v - w); d > vcoWidthStep {
				v = w + vcoWidthStep
			} else if d < -vcoWidthStep {
				v = w - vcoWidthStep
			}
			w = v
			wd[i+1] = w
		}
		o.width = w
	} else if n > 0 {
		o.width = width[n-1]
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
		for i := 0; i < n; {
			end := n
			if sync != nil {
				for end = i; end < n && !(sync[end] >= 0); {
					end++
				}
			}
			switch Waveform(k) {
			case Saw:
				l.saw(i, end, &ph, inc)
			case Pulse:
				l.pulse(i, end, &ph, &wd, inc)
			case Triangle:
				l.triangle(i, end, &ph, inc)
			case SineWave:
				l.sine(i, end, &ph)
			}
			if i = end; i < n {
				l.restart(Waveform(k), i, &ph, &wd, inc[i], min(sync[i], 1))
				i++
			}
		}
		copy(b[:n], l[:n])
		copy(l[:blepTaps], l[n:])
		clear(l[blepTaps : n+blepTaps])
	}
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

// passed tells whether a phase that moved by d to p went over 0, and how long
// before the end of the move, as a share of it.
func passed(p uint32, d int64) (bool, float32) {
	if d > 0 {
		if int64(p) < d {
			return true, float32(p) / float32(d)
		}
	} else if d < 0 {
		if back := -p; int64(back) <= -d && back != 0 {
			return true, float32(back) / float32(-d)
		}
	}
	return false, 0
}

// saw renders samples from…to. Where the phase runs backwards the saw falls,
// and steps up.
func (l *vcoLane) saw(from, to int, ph *[VCOBlock + 1]uint32, inc *[VCOBlock]int32) {
	for i := from; i < to; i++ {
		p, d := ph[i+1], inc[i]
		if d >= 0 {
			if p < uint32(d) {
				l.step(i, -2*AudioPeak, float32(p)/float32(d))
			}
		} else if ph[i] < uint32(-d) {
			l.step(i, 2*AudioPeak, float32(-p)/float32(-d))
		}
		l[i+OscillatorLatency] += AudioPeak * sawAt(p)
	}
}

// pulse renders samples from…to. There are two edges, one where the phase
// passes 0 and one where it passes the width; as the width may move itself,
// the second is where the distance of the two passes 0.
func (l *vcoLane) pulse(from, to int, ph, wd *[VCOBlock + 1]uint32, inc *[VCOBlock]int32) {
	for i := from; i < to; i++ {
		p, w, d := ph[i+1], wd[i+1], inc[i]
		l.edges(i, p, p-w, int64(d), int64(d)-int64(int32(w-wd[i])), 0, 1)
		v := -AudioPeak
		if p < w {
			v = AudioPeak
		}
		l[i+OscillatorLatency] += v
	}
}

// edges adds those of the pulse in a move of the phase by d to p, and of its
// distance from the width by e to r. The move takes a share of a sample, and
// ends ago before sample i.
func (l *vcoLane) edges(i int, p, r uint32, d, e int64, ago, share float32) {
	if ok, since := passed(p, d); ok {
		h := 2 * AudioPeak
		if d < 0 {
			h = -h
		}
		l.step(i, h, ago+since*share)
	}
	if ok, since := passed(r, e); ok {
		h := -2 * AudioPeak
		if e < 0 {
			h = -h
		}
		l.step(i, h, ago+since*share)
	}
}

// triangle renders samples from…to; its corners point the same way in both
// directions.
func (l *vcoLane) triangle(from, to int, ph *[VCOBlock + 1]uint32, inc *[VCOBlock]int32) {
	for i := from; i < to; i++ {
		p, d := ph[i+1], inc[i]
		if d >= 0 {
			if p < uint32(d) {
				l.residual(&blampTable, i, 8*vcoPeak*float32(d), float32(p)/float32(d))
			}
			if p -= 1 << 31; p < uint32(d) {
				l.residual(&blampTable, i, -8*vcoPeak*float32(d), float32(p)/float32(d))
			}
		} else {
			l.corners(i, p, int64(d), 0, 1)
		}
		l[i+OscillatorLatency] += AudioPeak * triangleAt(ph[i+1])
	}
}

// corners adds those of the triangle in a move of the phase by d to p.
func (l *vcoLane) corners(i int, p uint32, d int64, ago, share float32) {
	// The size is by the speed of a whole sample.
	size := 8 * vcoPeak * float32(max(d, -d)) / share
	if ok, since := passed(p, d); ok {
		l.residual(&blampTable, i, size, ago+since*share)
	}
	if ok, since := passed(p-1<<31, d); ok {
		l.residual(&blampTable, i, -size, ago+since*share)
	}
}

func (l *vcoLane) sine(from, to int, ph *[VCOBlock + 1]uint32) {
	for i := from; i < to; i++ {
		l[i+OscillatorLatency] += AudioPeak * sineAt(ph[i+1])
	}
}

// restart renders sample i, ago samples before which the cycle was restarted:
// up to there the old cycle went on, with what steps it had.
func (l *vcoLane) restart(shape Waveform, i int, ph, wd *[VCOBlock + 1]uint32, inc int32, ago float32) {
	after := int32(float32(inc) * ago)
	before := inc - after
	p1, p2 := ph[i]+uint32(before), ph[i+1]
	d1, d2 := int64(before), int64(after)
	var v float32
	switch shape {
	case Saw:
		v = AudioPeak * sawAt(p2)
		for _, m := range [2]struct {
			p          uint32
			d          int64
			ago, share float32
		}{{p1, d1, ago, 1 - ago}, {p2, d2, 0, ago}} {
			if ok, since := passed(m.p, m.d); ok {
				h := -2 * AudioPeak
				if m.d < 0 {
					h = -h
				}
				l.step(i, h, m.ago+since*m.share)
			}
		}
		l.step(i, -AudioPeak-AudioPeak*sawAt(p1), ago)
	case Pulse:
		w := wd[i+1]
		if (ph[i] < wd[i]) != (ph[i] < w) {
			// The width moved over the phase: as well at the start of the sample.
			h := 2 * AudioPeak
			if ph[i] >= w {
				h = -h
			}
			l.step(i, h, 1)
		}
		l.edges(i, p1, p1-w, d1, d1, ago, 1-ago)
		if p1 >= w {
			l.step(i, 2*AudioPeak, ago)
		}
		l.edges(i, p2, p2-w, d2, d2, 0, ago)
		v = -AudioPeak
		if p2 < w {
			v = AudioPeak
		}
	case Triangle:
		v = AudioPeak * triangleAt(p2)
		if ago < 1 {
			l.corners(i, p1, d1, ago, 1-ago)
		}
		if p1 >= 1<<31 {
			l.residual(&blampTable, i, 8*vcoPeak*float32(inc), ago)
		}
		l.step(i, AudioPeak*(-1-triangleAt(p1)), ago)
		if ago > 0 {
			l.corners(i, p2, d2, 0, ago)
		}
	case SineWave:
		v = AudioPeak * sineAt(p2)
		l.step(i, -AudioPeak*sineAt(p1), ago)
		l.residual(&blampTable, i, 2*math.Pi*vcoPeak*float32(inc)*(1-sineAt(p1+1<<30)), ago)
	}
	l[i+OscillatorLatency] += v
}
