package dsp

import "math"

// Stage is where an envelope is.
type Stage uint8

// The stages of an ADSR.
const (
	Idle Stage = iota
	Attack
	DecayStage
	Sustain
	Release
	HoldStage
)

// String names the stage.
func (s Stage) String() string {
	switch s {
	case Attack:
		return "attack"
	case DecayStage:
		return "decay"
	case Sustain:
		return "sustain"
	case Release:
		return "release"
	case HoldStage:
		return "hold"
	}
	return "idle"
}

const (
	// attackConstants is how many time constants of its RC curve an attack
	// lasts. At 1.5 the curve is as bent as that of the classic envelope
	// chips, which aim at 13 V and stop at 10 V.
	attackConstants = 1.5
	// envelopeSilence, in volts, is 120 dB below UnipolarPeak: there a fall
	// ends.
	envelopeSilence = 1e-5
)

// attackTarget is the voltage an attack aims at so that it reaches
// UnipolarPeak after attackConstants time constants.
var attackTarget = float64(UnipolarPeak) / -math.Expm1(-attackConstants)

// ADSR is an envelope of exponential segments, 0…10 V.
//
// The attack time is the time from 0 V to 10 V. The decay and release times
// are T60s: after them, a thousandth of the distance to the sustain level, or
// to 0 V, is left; the last of a release ends 120 dB down. A new attack starts
// from wherever the level is, so that it never clicks. Between attack and
// decay the level may be held, and attack, hold and decay may go round while
// the gate is high.
type ADSR struct {
	sampleRate               float64
	attack, decay, release   float64 // coefficients per sample
	sustain, level           float64 // volts
	stage                    Stage
	gate                     bool
	attackS, decayS, relS    float64
	sustainTarget, sustainMv float64

	peak, nextPeak float64 // share of UnipolarPeak that this attack goes to, and the next
	hold           float64 // samples
	spent          float64 // of the hold in samples, of decay and release as shares of their time
	decayN, relN   float64 // shares of decay and release that a sample takes
	loop, ended    bool
}

// Init sets the sample rate and a plain shape: 5 ms, 200 ms, 7 V, 300 ms.
func (e *ADSR) Init(sampleRate float64) {
	*e = ADSR{sampleRate: rateOr(sampleRate), peak: 1, nextPeak: 1}
	// A sustain knob that jumps is followed in about 5 ms.
	e.sustainMv = t60Coefficient(0.015, e.sampleRate)
	e.Set(0.005, 0.2, 7, 0.3)
	e.sustain = e.sustainTarget
}

// Reset closes the gate and drops to 0 V at once.
func (e *ADSR) Reset() {
	e.stage, e.level, e.gate = Idle, 0, false
	e.sustain = e.sustainTarget
	e.spent, e.ended, e.peak = 0, false, e.nextPeak
}

// Set changes the shape: attack, decay and release in seconds, sustain in
// volts (0…10). The running segment goes on with its new time.
//
// Audio thread.
func (e *ADSR) Set(attack, decay float64, sustain float32, release float64) {
	e.sustainTarget = finiteOr(float64(sustain), 0, float64(UnipolarPeak), 0)
	if e.stage == Idle {
		e.sustain = e.sustainTarget
	}
	if attack != e.attackS || e.attack == 0 {
		e.attackS = attack
		n := finiteOr(attack, 0, 3600, 0) * e.sampleRate
		if n < 1 {
			e.attack = 1
		} else {
			e.attack = -math.Expm1(-attackConstants / n)
		}
	}
	if decay != e.decayS || e.decay == 0 {
		e.decayS = decay
		e.decay = t60Coefficient(decay, e.sampleRate)
		e.decayN = 1 / max(1, finiteOr(decay, 0, 3600, 0)*e.sampleRate)
	}
	if release != e.relS || e.release == 0 {
		e.relS = release
		e.release = t60Coefficient(release, e.sampleRate)
		e.relN = 1 / max(1, finiteOr(release, 0, 3600, 0)*e.sampleRate)
	}
}

// SetHold sets the time in seconds for which the peak is held, 0 after Init.
//
// Audio thread.
func (e *ADSR) SetHold(seconds float64) {
	e.hold = finiteOr(seconds, 0, 3600, 0) * e.sampleRate
}

// SetLoop makes a new attack follow each decay while the gate is high. A decay
// then lasts exactly its time, and the attack starts from where it has come to.
//
// Audio thread.
func (e *ADSR) SetLoop(on bool) { e.loop = on }

// SetPeak sets the peak of the attacks to come in volts, 0…10 (10 after Init).
// The sustain level is scaled with it. An attack that finds the level above
// its peak falls to it by the decay.
//
// Audio thread.
func (e *ADSR) SetPeak(volts float32) {
	e.nextPeak = finiteOr(float64(volts), 0, float64(UnipolarPeak), 0) / float64(UnipolarPeak)
}

// Ended tells whether the latest sample ended a release, by its time, or a
// round of a loop.
//
// Audio thread.
func (e *ADSR) Ended() bool { return e.ended }

// Resting tells whether the level stays as it is while the gate and the
// settings do.
//
// Audio thread.
func (e *ADSR) Resting() bool {
	return !e.ended && e.sustain == e.sustainTarget &&
		(e.stage == Idle && !e.gate || e.stage == Sustain && e.gate && !e.loop)
}

// Trigger begins a new attack from the present level although the gate has not
// fallen. It does nothing while the gate is low.
//
// Audio thread.
func (e *ADSR) Trigger() {
	if e.gate {
		e.strike()
	}
}

// strike begins an attack.
func (e *ADSR) strike() { e.stage, e.peak = Attack, e.nextPeak }

// Stage is the present stage.
//
// Audio thread.
func (e *ADSR) Stage() Stage { return e.stage }

// Active tells whether the output is, or is about to be, above 0 V.
//
// Audio thread.
func (e *ADSR) Active() bool { return e.stage != Idle }

// Next takes the gate of one sample and returns the level in volts.
//
// Audio thread.
func (e *ADSR) Next(gate bool) float32 {
	if gate != e.gate {
		e.gate = gate
		if gate {
			e.strike()
		} else if e.stage != Idle {
			e.stage, e.spent = Release, 0
		}
	}
	e.ended = false
	if e.sustain != e.sustainTarget {
		d := e.sustainTarget - e.sustain
		e.sustain += d * e.sustainMv
		if d < 1e-7 && d > -1e-7 {
			e.sustain = e.sustainTarget
		}
	}
	switch e.stage {
	case Idle:
		return 0
	case Attack:
		top := float64(UnipolarPeak) * e.peak
		if e.level <= top {
			e.level = min(e.level+(attackTarget*e.peak-e.level)*e.attack, top)
		}
		if e.level >= top*(1-1e-9) {
			e.spent = 0
			if e.level <= top {
				e.level = top
			}
			if e.stage = DecayStage; e.hold > 0 {
				e.stage = HoldStage
			}
		}
	case HoldStage:
		if top := float64(UnipolarPeak) * e.peak; e.level > top {
			e.level += (top - e.level) * e.decay
		}
		if e.spent++; e.spent >= e.hold-0.5 {
			e.stage, e.spent = DecayStage, 0
		}
	case DecayStage:
		d := e.sustain*e.peak - e.level
		e.level += d * e.decay
		if e.loop {
			if e.spent += e.decayN; e.spent >= 1-1e-9 {
				e.ended = true
				e.strike()
			}
		} else if d < envelopeSilence && d > -envelopeSilence {
			e.stage = Sustain
		}
	case Sustain:
		// The sustain level itself moves smoothly when its knob does.
		if e.level = e.sustain * e.peak; e.loop {
			e.ended = true
			e.strike()
		}
	case Release:
		e.level -= e.level * e.release
		if was := e.spent; was < 1-1e-9 {
			e.spent += e.relN
			e.ended = e.spent >= 1-1e-9
		}
		if e.level < envelopeSilence {
			e.ended = e.ended || e.spent < 1-1e-9
			e.level = 0
			e.stage = Idle
		}
	}
	return float32(e.level)
}

// Process fills a block under one gate.
//
// Audio thread.
func (e *ADSR) Process(out []float32, gate bool) {
	for i := range out {
		out[i] = e.Next(gate)
	}
}

// Decay is a struck envelope: a short straight rise to the strength of the
// strike, then an exponential fall. Its level is 0…10 V.
type Decay struct {
	sampleRate float64
	level      float64
	peak       float64
	step       float64
	fall       float64
	rise       float64 // samples of the rise
	rising     bool
}

// Init sets the sample rate, a rise of 1 ms and a fall of 500 ms.
func (d *Decay) Init(sampleRate float64) {
	*d = Decay{sampleRate: rateOr(sampleRate)}
	d.Set(0.001, 0.5)
}

// Reset drops to 0 V at once.
func (d *Decay) Reset() { d.level, d.rising = 0, false }

// Set changes the times in seconds: attack is the whole rise, decay the T60 of
// the fall. A rise that has begun keeps its slope.
//
// Audio thread.
func (d *Decay) Set(attack, decay float64) {
	d.rise = max(1, finiteOr(attack, 0, 3600, 0)*d.sampleRate)
	d.fall = t60Coefficient(decay, d.sampleRate)
}

// Strike starts the envelope with a peak in volts (0…10). A strike on a
// ringing envelope rises from its level; one weaker than what still rings is
// swallowed by it.
//
// Audio thread.
func (d *Decay) Strike(volts float32) {
	p := finiteOr(float64(volts), 0, float64(UnipolarPeak), 0)
	if p <= d.level {
		return
	}
	d.peak = p
	d.step = (p - d.level) / d.rise
	d.rising = true
}

// Active tells whether the output is above 0 V.
//
// Audio thread.
func (d *Decay) Active() bool { return d.rising || d.level > 0 }

// Next returns the level in volts.
//
// Audio thread.
func (d *Decay) Next() float32 {
	if d.rising {
		d.level += d.step
		if d.level >= d.peak-d.step*1e-6 {
			d.level = d.peak
			d.rising = false
		}
		return float32(d.level)
	}
	d.level -= d.level * d.fall
	if d.level < envelopeSilence {
		d.level = 0
	}
	return float32(d.level)
}
