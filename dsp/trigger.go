package dsp

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
