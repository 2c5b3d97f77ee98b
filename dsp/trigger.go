package dsp

import "math"

// SchmittTrigger turns a voltage into a gate with hysteresis: high above
// SchmittHigh, low below SchmittLow, unchanged between them. The zero value is
// ready for use.
type SchmittTrigger struct {
	high bool
}

// Init is there for symmetry; the trigger does not depend on the rate.
func (s *SchmittTrigger) Init(float64) { s.high = false }

// Reset returns to low: an input that is high then counts as a rising edge.
func (s *SchmittTrigger) Reset() { s.high = false }

// Next takes one sample and reports a rising edge. NaN changes nothing.
//
// Audio thread.
func (s *SchmittTrigger) Next(in float32) (rising bool) {
	if s.high {
		s.high = !(in < SchmittLow)
		return false
	}
	s.high = in > SchmittHigh
	return s.high
}

// High is the state after the last sample.
//
// Audio thread.
func (s *SchmittTrigger) High() bool { return s.high }

// PulseGenerator makes triggers: GateHigh for a fixed number of samples, else
// 0 V. A trigger during a pulse makes it last for a whole length again.
type PulseGenerator struct {
	sampleRate float64
	length     int32
	left       int32
}

// Init sets the sample rate and a length of TriggerSeconds.
func (p *PulseGenerator) Init(sampleRate float64) {
	*p = PulseGenerator{sampleRate: rateOr(sampleRate)}
	p.SetSeconds(TriggerSeconds)
}

// Reset ends a pulse.
func (p *PulseGenerator) Reset() { p.left = 0 }

// SetSeconds sets the length of the pulses to come, at least one sample.
//
// Audio thread.
func (p *PulseGenerator) SetSeconds(seconds float64) {
	p.SetSamples(SecondsToSamples(seconds, p.sampleRate))
}

// SetSamples sets the length of the pulses to come, at least one sample.
//
// Audio thread.
func (p *PulseGenerator) SetSamples(n int) { p.length = int32(max(1, min(n, 1<<30))) }

// Trigger starts a pulse with the next sample.
//
// Audio thread.
func (p *PulseGenerator) Trigger() { p.left = p.length }

// High tells whether the next sample is high.
//
// Audio thread.
func (p *PulseGenerator) High() bool { return p.left > 0 }

// Next returns one sample in volts.
//
// Audio thread.
func (p *PulseGenerator) Next() float32 {
	if p.left == 0 {
		return 0
	}
	p.left--
	return GateHigh
}

const (
	// CrossingLatency is the delay of a Crossing in samples.
	CrossingLatency = crossingTaps/2 - 1

	// crossingTaps is the length of the windowed sinc that the signal is
	// interpolated by, and crossingPhases how finely it is tabulated.
	crossingTaps   = 48
	crossingPhases = 256
	// crossingShape is the parameter of its Kaiser window.
	crossingShape = 10
)

// crossingTable holds the taps for a place r/crossingPhases of a sample after
// the one in the middle.
var crossingTable [crossingPhases + 1][crossingTaps]float32

func init() {
	for r := range crossingTable {
		var sum, moment float64
		for k := range crossingTaps {
			t := float64(k-CrossingLatency) - float64(r)/crossingPhases
			x := 2 * t / crossingTaps
			h := besselI0(crossingShape*math.Sqrt(max(0, 1-x*x))) / besselI0(crossingShape)
			if t != 0 {
				h *= math.Sin(math.Pi*t) / (math.Pi * t)
			}
			crossingTable[r][k] = float32(h)
			sum += h
			moment += h * float64(k-CrossingLatency)
		}
		// A straight line must be met exactly, not within the window's ripple.
		right := float64(r)/crossingPhases - moment
		crossingTable[r][CrossingLatency+1] += float32(right)
		crossingTable[r][CrossingLatency] += float32(1 - sum - right)
	}
}

// Crossing finds where a signal rises through 0 V, between the samples: the
// steps of a band-limited oscillator are over within one, so a straight line
// would be wrong by some hundredths of it. The zero value is ready for use.
type Crossing struct {
	past [crossingTaps - 1]float32
}

// Reset forgets the past.
func (z *Crossing) Reset() { z.past = [crossingTaps - 1]float32{} }

// Process takes n samples of at most 64 and writes for each how many samples
// (0…1) before it the signal rose through 0 V, or −1, CrossingLatency samples
// late. It tells whether it rose at all.
//
// Audio thread.
func (z *Crossing) Process(ago *[VCOBlock]float32, in *[VCOBlock]float32, n int) (any bool) {
	const past = crossingTaps - 1
	var x [past + VCOBlock]float32
	copy(x[:], z.past[:])
	for i, v := range in[:n] {
		x[past+i] = Rail(v)
	}
	copy(z.past[:], x[n:])
	for i := range n {
		// The middle two of the taps are the ends of the step in question.
		w := (*[crossingTaps]float32)(x[i:])
		ago[i] = -1
		if w[CrossingLatency] <= 0 && w[CrossingLatency+1] > 0 {
			ago[i], any = 1-risesAt(w), true
		}
	}
	return any
}

// risesAt is the place between the two samples in the middle, 0…1, at which
// the signal that they belong to is 0 V.
func risesAt(w *[crossingTaps]float32) float32 {
	at := func(s float32) float32 {
		s *= crossingPhases
		r := min(int(s), crossingPhases-1)
		f := s - float32(r)
		a, b := &crossingTable[r], &crossingTable[r+1]
		var ya, yb float32
		for k, v := range w {
			ya += v * a[k]
			yb += v * b[k]
		}
		return ya + f*(yb-ya)
	}
	lo, hi := float32(0), float32(1)
	ylo, yhi := w[CrossingLatency], w[CrossingLatency+1]
	// False position, in the form that halves the weight of an end that stays
	// twice (the Illinois method), so that both ends close in.
	side := 0
	for range 6 {
		s := lo + (hi-lo)*(-ylo/(yhi-ylo))
		if !(s > lo && s < hi) {
			return min(max(s, lo), hi)
		}
		switch y := at(s); {
		case y > 0:
			if hi, yhi = s, y; side > 0 {
				ylo *= 0.5
			}
			side = 1
		case y < 0:
			if lo, ylo = s, y; side < 0 {
				yhi *= 0.5
			}
			side = -1
		default:
			return s
		}
	}
	return lo + (hi-lo)*(-ylo/(yhi-ylo))
}
