package dsp

import "math"

// Waveform is the shape of an Oscillator.
type Waveform uint8

// The four shapes of a VCO.
const (
	Saw Waveform = iota
	Pulse
	Triangle
	SineWave
)

// String names the shape.
func (w Waveform) String() string {
	switch w {
	case Saw:
		return "saw"
	case Pulse:
		return "pulse"
	case Triangle:
		return "triangle"
	case SineWave:
		return "sine"
	}
	return "unknown"
}

// The steps and corners of the shapes are made band-limited by adding, around
// each, the difference between a windowed-sinc step (or corner) and the ideal
// one: the BLEP of Eli Brandt, "Hard sync without aliasing" (ICMC 2001), here
// symmetric, so that corners (BLAMP) have a residual that ends as well.
const (
	// OscillatorLatency is the delay of every shape in samples: half a
	// residual must sound before its step.
	OscillatorLatency = blepTaps / 2

	// oscillatorSpan is how many samples pass before the samples under way
	// are moved back to the start of their array.
	oscillatorSpan = 64

	// 32 taps leave a transition band of about 6 kHz at 48 kHz.
	blepTaps = 32
	// blepCorner is where the step's spectrum is 6 dB down, as a share of
	// the sample rate; the transition band ends at the Nyquist frequency.
	blepCorner = 0.4275
	// blepShape is the parameter of the Kaiser window, for a stop band
	// about 75 dB down before the slope of the step's own spectrum.
	blepShape = 7.4
	// blepPhases is how finely the position between two samples is
	// tabulated; linear interpolation between rows leaves an error of -90 dB.
	blepPhases = 128
)

// blepTable and blampTable hold residuals for a step of height 1 and for a
// change of slope of 1 per sample. Row r is for an event r/blepPhases of a
// sample before the present one; column c is the sample c-blepTaps/2 later.
var (
	blepTable  [blepPhases + 1][blepTaps]float32
	blampTable [blepPhases + 1][blepTaps]float32
)

func init() {
	// Integrate the kernel on a grid much finer than the table by Simpson's
	// rule; the symmetric kernel makes both residuals end at zero.
	const fine = 4
	const n = blepTaps * blepPhases
	var step, corner [n + 1]float64
	h := 1 / float64(blepPhases*fine)
	sum := 0.0
	kernel := func(t float64) float64 {
		x := 2 * t / blepTaps
		if x <= -1 || x >= 1 {
			return 0
		}
		w := besselI0(blepShape * math.Sqrt(1-x*x))
		if t == 0 {
			return 2 * blepCorner * w
		}
		return w * math.Sin(2*math.Pi*blepCorner*t) / (math.Pi * t)
	}
	for i := 1; i <= n; i++ {
		t := float64(i-1)/blepPhases - blepTaps/2
		for j := range fine {
			a := t + float64(j)*h
			sum += h / 6 * (kernel(a) + 4*kernel(a+h/2) + kernel(a+h))
		}
		step[i] = sum
	}
	for i := range step {
		step[i] /= sum
		if i > n/2 {
			step[i]--
		}
	}
	// At the event itself the residual jumps from +1/2 to -1/2. Row 0 means
	// that the step has just happened, so its value there is -1/2; the row
	// before (a whole sample earlier or later) takes +1/2.
	total := 0.0
	for i := 1; i <= n; i++ {
		a, b := step[i-1], step[i]
		if i == n/2+1 {
			a = -0.5
		}
		total += (a + b) / 2 / blepPhases
		corner[i] = total
	}
	for r := range blepPhases + 1 {
		for c := range blepTaps {
			i := c*blepPhases + r
			blepTable[r][c] = float32(step[i])
			if i == n/2 && r == 0 {
				blepTable[r][c] = -0.5
			}
			blampTable[r][c] = float32(corner[i])
		}
	}
}

// besselI0 is the modified Bessel function of order 0 by its power series.
func besselI0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}

// Oscillator is a band-limited voltage-controlled oscillator, ±5 V (its steps
// overshoot by about a tenth, as those of any band-limited signal do). The
// phase is an integer that wraps by itself: it never drifts and never loses
// precision.
type Oscillator struct {
	toIncrement float32 // 2^32 / sample rate
	phase       uint32
	increment   uint32
	startPhase  uint32
	width       uint32
	shape       Waveform
	high        bool
	wrapped     bool
	started     bool
	last        float32 // naive value of the latest sample, for HardSync
	at          int     // the slot that sounds next
	// slots are samples under way; those from at+blepTaps on are still zero.
	slots [oscillatorSpan + blepTaps]float32
}

// Init sets the sample rate, a saw, a pulse width of one half, and phase 0.
func (o *Oscillator) Init(sampleRate float64) {
	*o = Oscillator{toIncrement: float32(1 << 32 / rateOr(sampleRate)), width: 1 << 31}
}

// Reset returns to the start phase and forgets the samples under way.
func (o *Oscillator) Reset() {
	o.phase, o.increment, o.at = o.startPhase, 0, 0
	o.wrapped, o.started = false, false
	clear(o.slots[:])
}

// SetWaveform chooses the shape. A change at run time steps; a caller that
// does it while it is heard crossfades two oscillators.
//
// Audio thread.
func (o *Oscillator) SetWaveform(w Waveform) {
	if w <= SineWave {
		o.shape, o.started = w, false
	}
}

// SetPhase sets the phase in cycles at once, and for each Reset from now on,
// so that voices in unison do not all start alike.
//
// Audio thread.
func (o *Oscillator) SetPhase(cycles float64) {
	cycles = finiteOr(cycles, -1e6, 1e6, 0)
	o.startPhase = uint32(int64((cycles - math.Floor(cycles)) * (1 << 32)))
	o.phase = o.startPhase
	o.started = false
}

// Phase is the present phase in cycles, 0…1.
//
// Audio thread.
func (o *Oscillator) Phase() float32 { return float32(o.phase) * (1.0 / (1 << 32)) }

// SetPulseWidth sets the share of a cycle in which the pulse is high, bounded
// to 0.01…0.99 so that it never falls silent.
//
// Audio thread.
func (o *Oscillator) SetPulseWidth(width float32) {
	if !(width > 0.01) {
		width = 0.01
	}
	o.width = uint32(int64(min(width, 0.99) * (1 << 32)))
}

// Wrapped tells whether a cycle began with the latest sample, and how many
// samples before it (0…1), for HardSync of another oscillator.
//
// Audio thread.
func (o *Oscillator) Wrapped() (bool, float32) {
	if !o.wrapped || o.increment == 0 {
		return false, 0
	}
	return true, min(float32(o.phase)/float32(o.increment), 1)
}

// incrementFor bounds the frequency to 0…0.49 of the sample rate.
func (o *Oscillator) incrementFor(hertz float32) uint32 {
	inc := hertz * o.toIncrement
	if !(inc > 0) {
		return 0
	}
	if inc > 0.49*(1<<32) {
		inc = 0.49 * (1 << 32)
	}
	return uint32(int64(inc))
}

// Next advances by one sample at the given frequency and returns volts. Any
// frequency may follow any other (FM at audio rate); those below 0, and NaN,
// stand still.
//
// Audio thread.
func (o *Oscillator) Next(hertz float32) float32 {
	inc := o.incrementFor(hertz)
	if o.at == oscillatorSpan {
		o.makeRoom()
	}
	o.increment = inc
	o.phase += inc
	p := o.phase
	o.wrapped = p < inc
	var v float32
	switch o.shape {
	case Saw:
		v = AudioPeak * sawAt(p)
		if o.wrapped {
			o.step(-2*AudioPeak, float32(p)/float32(inc))
		}
	case Pulse:
		v = o.pulse(p, inc)
	case Triangle:
		v = AudioPeak * triangleAt(p)
		if o.wrapped {
			o.corner(inc, 1, p)
		} else if p >= 1<<31 && p-inc < 1<<31 && inc > 0 {
			o.corner(inc, -1, p-1<<31)
		}
	case SineWave:
		v = AudioPeak * sineAt(p)
	}
	o.last = v
	i := o.at & (oscillatorSpan - 1)
	o.at++
	o.slots[i+OscillatorLatency] += v
	return o.slots[i]
}

// makeRoom moves the samples under way to the start of their array.
func (o *Oscillator) makeRoom() {
	copy(o.slots[:blepTaps], o.slots[oscillatorSpan:])
	clear(o.slots[blepTaps:])
	o.at = 0
}

// Process fills a block at a steady frequency, faster than Next and equal to
// it.
//
// Audio thread.
func (o *Oscillator) Process(out []float32, hertz float32) {
	inc := o.incrementFor(hertz)
	o.increment = inc
	for len(out) > 0 {
		if o.at == oscillatorSpan {
			o.makeRoom()
		}
		n := min(len(out), oscillatorSpan-o.at)
		first := o.at
		switch o.shape {
		case Saw:
			for range n {
				o.phase += inc
				if o.phase < inc {
					o.step(-2*AudioPeak, float32(o.phase)/float32(inc))
				}
				o.slots[o.at&(oscillatorSpan-1)+OscillatorLatency] += AudioPeak * sawAt(o.phase)
				o.at++
			}
			o.last = AudioPeak * sawAt(o.phase)
			o.wrapped = o.phase < inc
		case Triangle:
			for range n {
				o.phase += inc
				p := o.phase
				if p < inc {
					o.corner(inc, 1, p)
				} else if p >= 1<<31 && p-inc < 1<<31 && inc > 0 {
					o.corner(inc, -1, p-1<<31)
				}
				o.slots[o.at&(oscillatorSpan-1)+OscillatorLatency] += AudioPeak * triangleAt(p)
				o.at++
			}
			o.last = AudioPeak * triangleAt(o.phase)
			o.wrapped = o.phase < inc
		case SineWave:
			p := o.phase
			for i := range o.slots[first+OscillatorLatency : first+OscillatorLatency+n] {
				p += inc
				o.slots[(first+i)&(oscillatorSpan-1)+OscillatorLatency] += AudioPeak * sineAt(p)
			}
			o.phase = p
			o.at += n
			o.last = AudioPeak * sineAt(p)
			o.wrapped = p < inc
		default:
			for range n {
				o.Next(hertz)
			}
		}
		copy(out, o.slots[first:first+n])
		out = out[n:]
	}
}

// pulse finds the edges of the pulse: up where the phase wraps, down where it
// passes the width, which may itself have moved over the phase.
func (o *Oscillator) pulse(p, inc uint32) float32 {
	high := p < o.width
	if !o.started {
		o.high, o.started = high, true
	} else if inc > 0 {
		if o.wrapped {
			if !o.high {
				o.step(2*AudioPeak, float32(p)/float32(inc))
			}
			o.high = true
		}
		if high != o.high {
			if high {
				// The width moved past the phase: the edge is now.
				o.step(2*AudioPeak, 0)
			} else {
				o.step(-2*AudioPeak, min(float32(p-o.width)/float32(inc), 1))
			}
		}
		o.high = high
	} else if high != o.high {
		height := 2 * AudioPeak
		if !high {
			height = -height
		}
		o.step(height, 0)
		o.high = high
	}
	if high {
		return AudioPeak
	}
	return -AudioPeak
}

// step adds the residual of a step that happened ago samples (0…1) before the
// present sample.
func (o *Oscillator) step(height, ago float32) {
	o.residual(&blepTable, height, ago)
}

// corner adds the residual of a triangle's corner, sign +1 at the bottom and
// -1 at the top, at which the slope changes by twice its size.
func (o *Oscillator) corner(inc uint32, sign float32, since uint32) {
	// The triangle travels 4 peaks a cycle; the corner changes that to its
	// negative.
	slope := 8 * AudioPeak * float32(inc) * (1.0 / (1 << 32))
	o.residual(&blampTable, sign*slope, float32(since)/float32(inc))
}

func (o *Oscillator) residual(table *[blepPhases + 1][blepTaps]float32, size, ago float32) {
	ago *= blepPhases
	r := min(int(ago), blepPhases-1)
	f := ago - float32(r)
	a, b := &table[r], &table[r+1]
	sa, sb := size*(1-f), size*f
	slots := (*[blepTaps]float32)(o.slots[o.at:])
	for i := range slots {
		slots[i] += sa*a[i] + sb*b[i]
	}
}

// HardSync restarts the cycle ago samples (0…1) before the latest sample,
// without aliasing. Call it after Next, with what Wrapped of the leading
// oscillator says.
//
// Audio thread.
func (o *Oscillator) HardSync(ago float32) {
	if !(ago > 0) {
		ago = 0
	}
	ago = min(ago, 1)
	old, since := o.phase, uint32(int64(float32(o.increment)*ago))
	o.phase = since
	// Next has already counted its sample, residuals start one slot back,
	// where their first, smallest tap is too late to be heard.
	if o.at == 0 {
		o.last = 0
		return // no sample yet
	}
	o.at--
	slope := AudioPeak * float32(o.increment) * (1.0 / (1 << 32)) // volts per cycle, per sample
	var v, jump float32
	switch o.shape {
	case Saw:
		v = AudioPeak * sawAt(o.phase)
		jump = v - o.last
	case Pulse:
		o.high = o.phase < o.width
		v = -AudioPeak
		if o.high {
			v = AudioPeak
		}
		jump = v - o.last
	case Triangle:
		// The slope may change as well, so the step is that at the moment
		// of the sync, not that at the sample after it.
		v = AudioPeak * triangleAt(o.phase)
		jump = AudioPeak * (triangleAt(0) - triangleAt(old-since))
		if old >= 1<<31 {
			o.residual(&blampTable, 8*slope, ago)
		}
	case SineWave:
		v = AudioPeak * sineAt(o.phase)
		jump = -AudioPeak * sineAt(old-since)
		o.residual(&blampTable, 2*math.Pi*slope*(1-sineAt(old-since+1<<30)), ago)
	}
	o.slots[o.at+OscillatorLatency] += v - o.last
	if jump != 0 {
		o.step(jump, ago)
	}
	o.at++
	o.last = v
}

// sawAt rises from -1 to 1 over the cycle.
func sawAt(phase uint32) float32 {
	return float32(int32(phase^1<<31)) * (1.0 / (1 << 31))
}

// triangleAt rises from -1 to 1 over the first half of the cycle and falls
// over the second.
func triangleAt(phase uint32) float32 {
	// Folding the second half back makes one ramp of both halves.
	m := uint32(int32(phase) >> 31)
	folded := (phase ^ m) << 1
	return float32(int32(folded^1<<31)) * (1.0 / (1 << 31))
}

// sineAt is the sine of a phase where 2^32 is a cycle, by the polynomial of
// degree 9 on a quarter cycle from Hastings, Approximations for Digital
// Computers (1955), sheet 16; with float32 its error is below 2e-7.
func sineAt(phase uint32) float32 {
	// Fold to ±a quarter cycle: where the two top bits differ, mirror.
	q := phase
	if (q^(q<<1))>>31 != 0 {
		q = 1<<31 - q
	}
	x := float32(int32(q)) * (1.0 / (1 << 30))
	y := x * x
	return x * (1.57079631847 + y*(-0.64596371106+y*(0.07968967928+y*(-0.00467376557+y*0.00015148419))))
}

// Sine is a cheap sine oscillator, ±5 V, for vibrato, operators and drones.
// Unlike Oscillator it has no latency.
type Sine struct {
	toIncrement float32
	phase       uint32
	startPhase  uint32
}

// Init sets the sample rate and phase 0.
func (s *Sine) Init(sampleRate float64) {
	*s = Sine{toIncrement: float32(1 << 32 / rateOr(sampleRate))}
}

// Reset returns to the start phase.
func (s *Sine) Reset() { s.phase = s.startPhase }

// SetPhase sets the phase in cycles at once, and for each Reset from now on.
//
// Audio thread.
func (s *Sine) SetPhase(cycles float64) {
	cycles = finiteOr(cycles, -1e6, 1e6, 0)
	s.startPhase = uint32(int64((cycles - math.Floor(cycles)) * (1 << 32)))
	s.phase = s.startPhase
}

// Next returns one sample in volts and advances by the frequency, bounded to
// ±0.5 of the sample rate; a negative one runs backwards. NaN stands still.
//
// Audio thread.
func (s *Sine) Next(hertz float32) float32 {
	v := AudioPeak * sineAt(s.phase)
	s.phase += signedIncrement(hertz * s.toIncrement)
	return v
}

// NextPM is Next with the phase moved by a modulation in cycles.
//
// Audio thread.
func (s *Sine) NextPM(hertz, cycles float32) float32 {
	if !(cycles > -1e4 && cycles < 1e4) {
		cycles = 0
	}
	v := AudioPeak * sineAt(s.phase+uint32(int64(cycles*(1<<32))))
	s.phase += signedIncrement(hertz * s.toIncrement)
	return v
}

func signedIncrement(inc float32) uint32 {
	if !(inc > -(1<<31) && inc < 1<<31) {
		return 0
	}
	return uint32(int64(inc))
}

// SineCycles is the sine of a phase in cycles, within 2e-7; NaN gives 0.
//
// Audio thread.
func SineCycles(cycles float32) float32 {
	if !(cycles > -1e6 && cycles < 1e6) {
		return 0
	}
	return sineAt(uint32(int64(float64(cycles) * (1 << 32))))
}
