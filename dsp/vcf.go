package dsp

import "math"

// VCFBlock is the most samples that one call of VCF.Process takes.
const VCFBlock = 64

// VCFOutputs is how many outputs a VCF has: low, band, high and notch.
const VCFOutputs = 4

// VCF is a state-variable filter (12 dB per octave) by the trapezoidal rule,
// in the form that SVF has as well, that sings by itself at full resonance.
//
// What bounds it is inside the loop: damping grows with the energy of the two
// integrators, the square of the band-pass and of what the low-pass lacks of
// the input. In a sine that energy does not change over the cycle, so the
// filter sings a sine with next to no harmonics and at the pitch of its
// cutoff, while a loud sound takes resonance away as it does in any analog
// filter.
type VCF struct {
	toPhase    float32 // π / sample rate
	s1, s2     float32 // the integrators of band-pass and low-pass
	e1, e2     float32 // energy one sample ago and two
	noise      uint32
	drive      vcfDrive
	lastHertz  float32
	lastTan    float32
	resonance  float32
	resonances [3]float32 // damping, bend and gain of the band-pass for it
}

const (
	// vcfSing is the damping at full resonance: it makes a filter at rest
	// grow by a factor of e in 1.6 cycles.
	vcfSing = -0.2
	// vcfBend is how much damping a squared volt adds at full resonance, so
	// that it sings at AudioPeak; below that it goes with the fourth power of
	// resonance, because what has no resonance needs no bound.
	vcfBend = -vcfSing / (AudioPeak * AudioPeak)
	// vcfSeed is the thermal noise, in volts, that a filter above the edge of
	// oscillation sings up from: 114 dB below AudioPeak.
	vcfSeed = 1e-5
	// vcfKnee and vcfTop are where the output stage begins to bend and where
	// it ends, in volts. The input stage is linear up to vcfLinear, which is
	// above what a band-limited step of AudioPeak overshoots to, and ends at
	// vcfKnee.
	vcfLinear = 6
	vcfKnee   = 10
	vcfTop    = 12
	// vcfStateBound in volts catches what no signal within the rails builds up.
	vcfStateBound = 200
)

// Init sets the sample rate.
func (f *VCF) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*f = VCF{toPhase: float32(math.Pi / rate), resonance: -1, lastHertz: -1}
	f.drive.fall = float32(math.Exp(-1 / (0.05 * rate)))
	f.drive.turn = float32(-math.Expm1(-1 / (0.001 * rate)))
	f.Reset()
}

// Reset forgets the past.
//
// Audio thread.
func (f *VCF) Reset() {
	f.s1, f.s2, f.e1, f.e2, f.noise = 0, 0, 0, 0, 1
	f.drive = vcfDrive{fall: f.drive.fall, turn: f.drive.turn}
}

// Quiet tells whether the filter is at rest and stays so at a resonance
// while 0 V come in.
//
// Audio thread.
func (f *VCF) Quiet(resonance float32) bool {
	return f.drive.quiet() && f.s1 == 0 && f.s2 == 0 && f.e1 == 0 && f.e2 == 0 && !(vcfDamping(resonance) <= 0)
}

// vcfDamping is 1/Q for a resonance: Q is 0.5 at 0, and has no bound from 0.91.
func vcfDamping(resonance float32) float32 { return 2 - (2-vcfSing)*resonance }

// Process renders n samples of the outputs whose place in out is not nil. In
// is volts, drive a factor before the filter, hertz the cutoff (bounded to
// 1 Hz…0.49 of the sample rate) and resonance 0…1, each sample by sample. The
// band-pass has a gain of 1 at the centre without resonance, and half its Q
// and more with it.
//
// Audio thread.
func (f *VCF) Process(out *[VCFOutputs]*[VCFBlock]float32, n int, in, drive, hertz, resonance *[VCFBlock]float32) {
	n = min(n, VCFBlock)
	var x, g, k, bend, low, band, high, gain [VCFBlock]float32
	f.drive.process(&x, in, drive, n)
	if same(hertz, n) && same(resonance, n) {
		f.tune(hertz[0])
		f.damp(resonance[0])
		gv, r := f.lastTan, f.resonances
		for i := range n {
			g[i], k[i], bend[i], gain[i] = gv, r[0], r[1], r[2]
		}
	} else {
		for i := range n {
			if h := hertz[i]; h != f.lastHertz {
				f.tune(h)
			}
			if r := resonance[i]; r != f.resonance {
				f.damp(r)
			}
			g[i], k[i], bend[i], gain[i] = f.lastTan, f.resonances[0], f.resonances[1], f.resonances[2]
		}
	}
	for i := range n {
		if k[i] <= 0 {
			f.noise = f.noise*1664525 + 1013904223
			x[i] += float32(int32(f.noise)) * (vcfSeed / (1 << 31))
		}
	}
	f.filter(n, &x, &g, &k, &bend, &low, &band, &high)
	if b := out[0]; b != nil {
		for i := range n {
			b[i] = vcfOutput(low[i])
		}
	}
	if b := out[1]; b != nil {
		for i := range n {
			b[i] = vcfOutput(band[i] * gain[i])
		}
	}
	if b := out[2]; b != nil {
		for i := range n {
			b[i] = vcfOutput(high[i])
		}
	}
	if b := out[3]; b != nil {
		for i := range n {
			b[i] = vcfOutput(low[i] + high[i])
		}
	}
}

// same tells whether n samples are all one.
func same(b *[VCFBlock]float32, n int) bool {
	v := b[0]
	for _, x := range b[:n] {
		if x != v {
			return false
		}
	}
	return true
}

// tune sets the cutoff.
func (f *VCF) tune(hertz float32) {
	f.lastHertz = hertz
	if !(hertz > 1) {
		hertz = 1
	}
	f.lastTan = tanApprox(min(hertz*f.toPhase, math.Pi*svfTop))
}

// damp sets the resonance.
func (f *VCF) damp(resonance float32) {
	f.resonance = resonance
	if !(resonance > 0) {
		resonance = 0
	}
	r := min(resonance, 1)
	d := vcfDamping(r)
	f.resonances = [3]float32{d, vcfBend * r * r * r * r, 1 + max(d, 0)*0.5}
}

// filter is the loop itself. The energy that it damps by is that of the sample
// before the last, so that no sample waits for a division.
//
// Audio thread.
func (f *VCF) filter(n int, x, g, k, bend, low, band, high *[VCFBlock]float32) {
	s1, s2, e1, e2 := f.s1, f.s2, f.e1, f.e2
	for i := range n {
		kk := k[i] + bend[i]*e2
		gi := g[i]
		a1 := 1 / (1 + gi*(gi+kk))
		a2 := gi * a1
		v := x[i]
		b := a1*s1 + a2*(v-s2)
		l := s2 + gi*b
		low[i], band[i], high[i] = l, b, v-kk*b-l
		d := v - l
		e1, e2 = b*b+d*d, e1
		s1, s2 = 2*b-s1, 2*l-s2
		if !(s1 < vcfStateBound && s1 > -vcfStateBound && s2 < vcfStateBound && s2 > -vcfStateBound) {
			s1, s2, e1, e2 = 0, 0, 0, 0
		}
		s1, s2 = flush(s1), flush(s2)
	}
	f.s1, f.s2, f.e1, f.e2 = s1, s2, e1, e2
}

// vcfDrive is the input stage. What bends makes overtones without end, which
// would come back as aliases; so when it is loud enough to bend, the mean of
// the bent signal over the samples' neighbourhood, on the line through points
// twice as dense, takes the place of the bent sample. Below, it is a wire of
// VCFLatency samples.
type vcfDrive struct {
	x          [3]float32 // the samples before the one that comes in
	part       float32    // what the half before a sample adds to its mean
	peak       float32    // of late
	share      float32    // of the mean
	fall, turn float32    // a frame's share of the fall of peak, and of the way of share
}

// VCFLatency is the delay of a VCF's input in samples.
const VCFLatency = 2

func (v *vcfDrive) quiet() bool {
	return v.peak == 0 && v.share == 0 && v.x == [3]float32{}
}

// process bends n samples.
//
// Audio thread.
func (v *vcfDrive) process(out, in, drive *[VCFBlock]float32, n int) {
	x0, x1, x2 := v.x[0], v.x[1], v.x[2]
	for i := range n {
		x3 := Finite(in[i] * drive[i])
		v.peak = max(v.peak*v.fall, min(max(x3, -x3), vcfTop))
		if v.peak < 1 {
			v.peak = 0 // far below where it matters
		}
		y := vcfInput(x1)
		if v.share == 0 && v.peak <= vcfLinear {
			v.part = y * 0.5
		} else {
			v.share += v.turn * (min(max(v.peak-vcfLinear, 0), 1) - v.share)
			if v.share < 1e-4 && v.peak <= vcfLinear {
				v.share = 0
			}
			// The point between x1 and x2, and a quarter of the way to and from it.
			h := (9*(x1+x2) - x0 - x3) * (1.0 / 16)
			a, b := vcfInput(0.75*x1+0.25*h), vcfInput(0.25*x1+0.75*h)
			c, d := vcfInput(0.75*h+0.25*x2), vcfInput(0.25*h+0.75*x2)
			mean := v.part + (7*a+5*b+3*c+d)*(1.0/32)
			v.part = (a + 3*b + 5*c + 7*d) * (1.0 / 32)
			y += v.share * (mean - y)
		}
		out[i] = y
		x0, x1, x2 = x1, x2, x3
	}
	v.x = [3]float32{x0, x1, x2}
}

// vcfInput is linear up to vcfLinear, above which it bends softly to vcfKnee.
func vcfInput(v float32) float32 {
	if v > vcfLinear {
		return vcfLinear + (vcfKnee-vcfLinear)*rationalTanh((v-vcfLinear)*(1.0/(vcfKnee-vcfLinear)))
	}
	if v < -vcfLinear {
		return -vcfLinear + (vcfKnee-vcfLinear)*rationalTanh((v+vcfLinear)*(1.0/(vcfKnee-vcfLinear)))
	}
	return v
}

// vcfOutput is linear up to vcfKnee, above which it bends softly to the rails.
func vcfOutput(v float32) float32 {
	if v > vcfKnee {
		return vcfKnee + (vcfTop-vcfKnee)*rationalTanh((v-vcfKnee)*(1.0/(vcfTop-vcfKnee)))
	}
	if v < -vcfKnee {
		return -vcfKnee + (vcfTop-vcfKnee)*rationalTanh((v+vcfKnee)*(1.0/(vcfTop-vcfKnee)))
	}
	return v
}
