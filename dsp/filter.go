package dsp

import "math"

// OnePole is a first-order low-pass and high-pass filter in one (6 dB per
// octave), by the trapezoidal rule with the corner warped into place.
type OnePole struct {
	sampleRate float64
	gain       float64
	state      float64
}

// Init sets the sample rate and a corner of 1 kHz.
func (f *OnePole) Init(sampleRate float64) {
	*f = OnePole{sampleRate: rateOr(sampleRate)}
	f.SetHertz(1000)
}

// Reset forgets the past.
func (f *OnePole) Reset() { f.state = 0 }

// SetHertz sets the frequency at which the response is 3 dB down, up to 0.49
// of the sample rate.
//
// Audio thread.
func (f *OnePole) SetHertz(hertz float64) {
	g := math.Tan(math.Pi * finiteOr(hertz/f.sampleRate, 1e-7, 0.49, 1e-7))
	f.gain = g / (1 + g)
}

// LowPass filters one sample. Use one output of a filter only.
//
// Audio thread.
func (f *OnePole) LowPass(in float32) float32 {
	v := (float64(Finite(in)) - f.state) * f.gain
	y := v + f.state
	f.state = flush64(y + v)
	return float32(y)
}

// HighPass filters one sample. Use one output of a filter only.
//
// Audio thread.
func (f *OnePole) HighPass(in float32) float32 {
	x := float64(Finite(in))
	v := (x - f.state) * f.gain
	y := v + f.state
	f.state = flush64(y + v)
	return float32(x - y)
}

// DCBlocker is a high-pass at 5 Hz: low enough for the lowest bass, high
// enough to let a step fade in a tenth of a second.
type DCBlocker struct{ pole OnePole }

// Init sets the sample rate.
func (d *DCBlocker) Init(sampleRate float64) {
	d.pole.Init(sampleRate)
	d.pole.SetHertz(5)
}

// Reset forgets the past.
func (d *DCBlocker) Reset() { d.pole.Reset() }

// Next filters one sample.
//
// Audio thread.
func (d *DCBlocker) Next(in float32) float32 { return d.pole.HighPass(in) }

// SVF is a state-variable filter (12 dB per octave) by the trapezoidal rule,
// in the form of Andrew Simper, "Solving the continuous SVF equations using
// trapezoidal integration and equivalent currents" (Cytomic, 2013). It stays
// stable when cutoff and resonance change at audio rate.
type SVF struct {
	toPhase       float32 // π / sample rate
	k             float32 // damping, 1/Q
	g, a1, a2, a3 float32
	band, low     float32 // the two integrators
	lastHertz     float32
}

const (
	// svfTop is the highest cutoff, as a share of the sample rate: the
	// tangent grows without bound at one half.
	svfTop = 0.49
	// svfLeastDamping keeps it from oscillating for ever: a Q of 200.
	svfLeastDamping = 0.005
	// svfStateBound in volts is far above any musical level; it catches
	// what a full-scale sine at the peak of the highest resonance builds up.
	svfStateBound = 10000
)

// Init sets the sample rate, a cutoff of 1 kHz and no resonance (a Q of 0.5).
func (f *SVF) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*f = SVF{toPhase: float32(math.Pi / rate), k: 2}
	f.SetHertz(1000)
}

// Reset forgets the past.
func (f *SVF) Reset() { f.band, f.low = 0, 0 }

// SetQ sets the resonance as a quality factor, 0.5…200.
//
// Audio thread.
func (f *SVF) SetQ(q float32) {
	if !(q > 0.5) {
		q = 0.5
	}
	f.k = max(1/q, svfLeastDamping)
	f.update()
}

// SetHertz sets the cutoff, the centre of the band-pass, bounded to 1 Hz…0.49
// of the sample rate. It costs about as much as two samples and may be called
// for each.
//
// Audio thread.
func (f *SVF) SetHertz(hertz float32) {
	if hertz == f.lastHertz {
		return
	}
	f.lastHertz = hertz
	if !(hertz > 1) {
		hertz = 1
	}
	f.g = tanApprox(min(hertz*f.toPhase, math.Pi*svfTop))
	f.update()
}

func (f *SVF) update() {
	f.a1 = 1 / (1 + f.g*(f.g+f.k))
	f.a2 = f.g * f.a1
	f.a3 = f.g * f.a2
}

// tanApprox is the tangent on 0…0.49π by its continued fraction, cut to a
// rational function of degree 7 over 6; the error stays below 0.01 cent of
// cutoff.
func tanApprox(x float32) float32 {
	y := x * x
	n := x * (135135 + y*(-17325+y*(378-y)))
	d := 135135 + y*(-62370+y*(3150-28*y))
	return n / d
}

// Next filters one sample and returns the low-pass, band-pass and high-pass
// outputs. The band-pass has a gain of Q at its centre; times the damping 1/Q
// it is a unit-gain band-pass, and low plus high is a notch.
//
// Audio thread.
func (f *SVF) Next(in float32) (low, band, high float32) {
	in = Finite(in)
	v3 := in - f.low
	band = f.a1*f.band + f.a2*v3
	low = f.low + f.a2*f.band + f.a3*v3
	high = in - f.k*band - low
	b, l := 2*band-f.band, 2*low-f.low
	if !(b < svfStateBound && b > -svfStateBound && l < svfStateBound && l > -svfStateBound) {
		b, l = 0, 0
	}
	f.band, f.low = flush(b), flush(l)
	return low, band, high
}

// LowPass filters one sample.
//
// Audio thread.
func (f *SVF) LowPass(in float32) float32 { low, _, _ := f.Next(in); return low }

// BandPass filters one sample, with unit gain at the centre.
//
// Audio thread.
func (f *SVF) BandPass(in float32) float32 {
	_, band, _ := f.Next(in)
	return band * f.k
}

// HighPass filters one sample.
//
// Audio thread.
func (f *SVF) HighPass(in float32) float32 { _, _, high := f.Next(in); return high }

// Notch filters one sample.
//
// Audio thread.
func (f *SVF) Notch(in float32) float32 { low, _, high := f.Next(in); return low + high }

// rationalTanh is the Padé approximation x(27+x²)/(27+9x²) of the hyperbolic
// tangent; it meets ±1 with slope 0 at ±3, where it is cut.
func rationalTanh(x float32) float32 {
	if x > 3 {
		return 1
	}
	if x < -3 {
		return -1
	}
	y := x * x
	return x * (27 + y) / (27 + 9*y)
}

// SoftClip saturates an audio signal like a valve: unit gain for small
// signals, AudioPeak as the bound for large ones. NaN gives 0.
//
// Audio thread.
func SoftClip(in float32) float32 {
	return AudioPeak * rationalTanh(Finite(in)/AudioPeak)
}
