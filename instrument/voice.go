package instrument

import (
	"math"
	"math/bits"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/kernel"
)

// controlFrames is how often a voice looks at its slow inputs: 3 kHz at
// 48 kHz. It divides BlockSize, and voices look at multiples of it since the
// engine's first frame, so that slices do not change the sound.
const controlFrames = 16

// What the states of a pod do to its voice. Each state has two cues: level
// and brightness, pitch and roughness, and so on.
const (
	closedLevel = 0.35  // of a voice that runs but is not ready
	closedCents = -28   // and how flat it is
	closedRatio = 1.6   // and its cutoff over its pitch: dull
	openSeconds = 0.055 // time constant of coming into tune: 97 % in 200 ms
	cutSeconds  = 0.006 // time constant of a voice that is cut

	spreadCents    = 35   // of the voices at full tension
	tensionSeconds = 0.09 // time constant of tension: 99.6 % gone within 500 ms
	tensionVolts   = 1.2  // tension at which the spread has 63 % of its size

	breathLevel   = 0.16 // of a pending pod's noise at its opening
	breathSeconds = 2.5  // over which it opens to four times that
	breathFade    = 0.06 // time constant of its coming and going
	airLevel      = 0.10 // of the noise that tension brings to a sounding voice

	restPhase    = 0.05  // cycles between the two oscillators at rest: cancels no harmonic below the tenth
	lockSeconds  = 0.1   // time constant of getting there
	widthSeconds = 0.005 // the same of a pulse that takes on another width

	levelFloor = 1e-5 // amplitude below which a voice is silent, −100 dB

	stealSeconds = 0.0015 // time constant of a voice that is stolen: −60 dB in 12 ms
	parkedHertz  = 20     // cutoff of a lane that has ended
	attackEnd    = 0.99   // share of its peak at which the decay of a note begins

	vibratoHertz = 5.3
	vibratoCents = 18 // at 10 V of load
)

// fadeSteps are the time constants of the first control periods of a fade, by
// stealSeconds.
var fadeSteps = []float64{16, 8, 5, 3.5, 2.5, 1.8, 1.4, 1.2, 1}

// podVoice is the voice of one pod: two saws in unison through a low-pass,
// a breath of filtered noise, and a struck body. Tension pulls the unison
// apart. Its output is within ±5 V in use. The saws, their filter, level and
// place are one lane of a bank, which renders sixteen at once; the rest joins
// there as an extra.
type podVoice struct {
	in    voiceInput
	shape *voiceShape
	rate  float64
	bank  *kernel.Voices
	lane  int

	noise  dsp.Noise
	air    dsp.SVF
	body   dsp.Modal
	sweep  dsp.Sine
	sweepE dsp.Decay
	clickE dsp.Decay
	click  dsp.SVF
	// A noise of its own, so that the two never take turns.
	clickNoise dsp.Noise

	breath, breathTo    float32 // amplitude and its target
	breathA             float32 // shares of the way a frame, by time constant
	cutA, openLevelA    float32
	fadeA               float32
	tensionA, openA     float32 // a period
	attack, attackA     float32
	decay, decayA       float32
	release, releaseA   float32
	slide, slideA       float32
	contour, contourA   float32
	pitch               float32 // where the glide is, V/oct
	fallen              float32 // what is left of the contour, 1…0
	loud                float32 // by velocity, 0…1
	falls               bool    // the attack is over
	keyed               bool    // open from the start, as a keyboard's notes are
	tune                float32 // of the state, in cents
	tension             float32 // smoothed, in volts with its sign
	bright              float32
	waited              float32 // seconds of breath so far
	drift               uint32  // phase of the slow detuning
	driftStep           uint32
	side                float32 // −1…1: which way this voice is pulled
	vibrato             uint32
	vibratoStep         uint32
	sweepHz, sweepEnd   float32
	sweepMul            float32
	sweepDrive, sweepLv float32
	first, second       tuned // pitches of the oscillators
	base                tuned
	spread              power // strain, in the exponent
	opening             power
	calm                stance // in which the voice was settled for good

	score score
	cut   bool // since the last strike that cut the voice

	// Stolen voices fade; what is left of them is this.
	fading bool
	left   float32
	steps  int // of the fade

	parked bool // the lane has ended
}

// stance is all that settle looks at, of a voice without tension and load.
type stance struct {
	pitch, tune, bright, fallen float32
	shape                       int
}

// tuned is a pitch and its frequency, computed when it changes.
type tuned struct{ volts, hertz float32 }

// at returns the frequency. Audio thread.
func (t *tuned) at(volts float32) float32 {
	if volts != t.volts || t.hertz == 0 {
		t.volts, t.hertz = volts, dsp.VoltsToHertz(volts)
	}
	return t.hertz
}

// power is 2^x, computed when x changes.
type power struct{ x, y float32 }

// of returns 2^x. Audio thread.
func (p *power) of(x float32) float32 {
	if x != p.x || p.y == 0 {
		p.x, p.y = x, dsp.Exp2(x)
	}
	return p.y
}

// voiceInput is what plays a podVoice.
type voiceInput struct {
	pitch   float32 // V/oct
	gate    bool    // it sounds
	open    bool    // in tune and bright; else dull and flat
	breath  bool    // it waits
	tension float32 // V, with sign: more or less is asked for
	load    float32 // 0…10 V
}

// voiceShape is how a podVoice is set up; all voices of a module share it.
type voiceShape struct {
	edition  int     // counts its changes, from 1
	bright   float32 // cutoff over pitch when open, in octaves
	attack   float32 // s
	decay    float32 // s, from the attack's end to the sustain level
	sustain  float32 // 0…1
	release  float32 // s
	glide    float32 // s from pitch to pitch
	contour  float32 // octaves by which a note's start opens the filter
	fall     float32 // s in which the contour is over
	q        float32 // of the filter
	detune   float32 // cents between the oscillators
	interval float32 // V from the first oscillator to the second
	apart    float32 // cycles between the two where they are locked
	lock     float32 // 1/s by which they are pulled there; 0 lets them run
	mix      [2]float32
	strikes  float32 // level of what is struck, 0…1
	breaths  float32 // level of what is breathed, 0…1
}

var defaultShape = voiceShape{edition: 1, bright: 2, attack: 0.35, decay: 0.5, sustain: 1, release: 0.25, fall: 0.5, q: 0.5,
	apart: restPhase, lock: 1 / lockSeconds, mix: [2]float32{AudioVolts / 2, AudioVolts / 2}, strikes: 1, breaths: 1}

// score is a run of strikes that a gesture plays by itself.
type score struct {
	left   int // strikes to go
	wait   int // control periods until the next one
	rest   int // control periods between strikes; doubles where double is set
	double bool
	ratio  float32 // of the next strike
	times  float32 // of each strike's ratio to the last
	g      Gesture
}

func (v *podVoice) Init(bank *kernel.Voices, lane int, sampleRate float64, seed uint64) {
	*v = podVoice{rate: sampleRate, shape: &defaultShape, bank: bank, lane: lane, loud: 1}
	v.air.Init(sampleRate)
	v.air.SetQ(9)
	v.noise.Init(sampleRate)
	v.noise.Seed(seed)
	v.clickNoise.Init(sampleRate)
	v.clickNoise.Seed(seed + 1)
	v.body.Init(sampleRate)
	v.sweep.Init(sampleRate)
	v.sweepE.Init(sampleRate)
	v.clickE.Init(sampleRate)
	v.click.Init(sampleRate)
	v.click.SetHertz(3000)
	r := v.noise.Uint64()
	v.side = 0.6 + 0.4*float32(r&0xff)/255
	if r&0x100 != 0 {
		v.side = -v.side
	}
	v.drift = uint32(r >> 32)
	v.driftStep = perControl((0.13 + 0.17*float64(r>>16&0xff)/255), sampleRate)
	v.vibratoStep = perControl(vibratoHertz, sampleRate)
	v.breathA = v.onePole(breathFade, 1)
	v.cutA, v.openLevelA = v.onePole(cutSeconds, 1), v.onePole(openSeconds*1.5, 1)
	v.tensionA, v.openA = v.onePole(tensionSeconds, controlFrames), v.onePole(openSeconds, controlFrames)
	v.Reset()
}

// perControl is a phase increment for each control period, 2^32 a cycle.
func perControl(hertz, sampleRate float64) uint32 {
	return uint32(hertz * controlFrames / sampleRate * (1 << 32))
}

// Reset silences the voice at once. Audio thread.
func (v *podVoice) Reset() {
	v.bank.Stop(v.lane)
	v.park()
	v.air.Reset()
	v.body.Reset()
	v.sweepE.Reset()
	v.clickE.Reset()
	v.click.Reset()
	v.breath, v.breathTo, v.waited, v.tension = 0, 0, 0, 0
	v.in = voiceInput{}
	v.tune = closedCents
	v.bright = 0
	v.score = score{}
	v.cut, v.fading = false, false
}

// park slows down the filter of a lane that has ended, which runs on beside
// those that sound: a fast one would end among the denormal numbers. Audio thread.
func (v *podVoice) park() {
	v.parked = true
	v.bank.SetFilter(v.lane, parkedHertz, 0.5)
}

// struck tells whether anything sounds that the bank does not make. Audio thread.
func (v *podVoice) struck() bool {
	return v.breath > 0 || v.breathTo > 0 || v.body.Active() || v.sweepE.Active() || v.clickE.Active()
}

// active tells whether the voice can put out anything but 0. Audio thread.
func (v *podVoice) active() bool { return v.bank.Sounds(v.lane) || v.score.left > 0 || v.struck() }

// onePole is the share of the way that a time constant covers in n frames.
func (v *podVoice) onePole(seconds float64, n float64) float32 {
	return float32(1 - math.Exp(-n/(seconds*v.rate)))
}

// share is onePole for a time that is set by a knob: it keeps the last in
// seconds and a. Audio thread.
func (v *podVoice) share(seconds float32, constants, n float64, last, a *float32) float32 {
	if seconds != *last {
		*last, *a = seconds, 1
		if seconds > 0 {
			*a = v.onePole(float64(seconds)/constants, n)
		}
	}
	return *a
}

// begin wakes a silent voice: a note begins in its own state, not in that of
// the last one. One that is open from the start is in tune from the start.
// Audio thread.
func (v *podVoice) begin(keyed bool) {
	v.keyed = keyed
	v.tension, v.pitch, v.waited, v.fallen = v.in.tension, v.in.pitch, 0, 0
	v.tune, v.bright = closedCents, 0
	if keyed {
		v.tune, v.bright = 0, 1
	}
	v.cut, v.fading, v.falls = v.cut && v.in.gate, false, false
	v.score = score{}
	v.settle()
}

// gate takes the edge of the voice's gate, at its very frame. Audio thread.
func (v *podVoice) gate(on bool) {
	v.in.gate = on
	if on {
		v.cut, v.falls, v.fallen = false, false, 1
		if !v.bank.Sounds(v.lane) {
			v.bank.SetMix(v.lane, v.shape.mix[0], v.shape.mix[1])
			// On both sides of where a sine is 0, so that the two begin with silence.
			v.bank.SetPhase(v.lane, 0, -0.5*v.shape.apart)
			v.bank.SetPhase(v.lane, 1, 0.5*v.shape.apart)
			v.parked, v.calm = false, stance{}
			v.settle()
			v.bank.Start(v.lane)
		}
	}
	v.aim()
}

// aim sets where the level goes and how fast. Audio thread.
func (v *podVoice) aim() {
	attack := v.share(v.shape.attack, 2.3, 1, &v.attack, &v.attackA)
	release := v.share(v.shape.release, 2.3, 1, &v.release, &v.releaseA)
	switch {
	case v.cut:
		v.bank.SetLevel(v.lane, 0, v.cutA)
	case !v.in.gate:
		v.bank.SetLevel(v.lane, 0, release)
	case v.falls:
		decay := v.share(v.shape.decay, 3*math.Ln10, 1, &v.decay, &v.decayA)
		v.bank.SetLevel(v.lane, v.peak()*v.shape.sustain, decay)
	case v.in.open && !v.keyed:
		v.bank.SetLevel(v.lane, v.peak(), max(v.openLevelA, attack))
	default:
		v.bank.SetLevel(v.lane, v.peak(), attack)
	}
}

// peak is the level at which the attack ends. Audio thread.
func (v *podVoice) peak() float32 {
	if v.in.open {
		return v.loud
	}
	return closedLevel * v.loud
}

// fade takes the voice away within some milliseconds: another needs its
// place. Audio thread.
func (v *podVoice) fade() {
	v.fading, v.left, v.steps = true, 1, 0
	v.in.gate, v.in.breath, v.score = false, false, score{}
	v.softly()
}

// softly takes the next step of a fade: it begins slowly, for a corner in the
// level clicks. Audio thread.
func (v *podVoice) softly() {
	if v.steps < len(fadeSteps) {
		v.fadeA = v.onePole(stealSeconds*fadeSteps[v.steps], 1)
		v.steps++
		v.bank.SetLevel(v.lane, 0, v.fadeA)
	}
}

// control looks at the slow inputs; every controlFrames. Audio thread.
func (v *podVoice) control() {
	if v.fading {
		v.softly()
		if v.left < levelFloor {
			v.breath, v.breathTo = 0, 0
			v.body.Reset()
			v.sweepE.Reset()
			v.clickE.Reset()
		}
		return
	}
	v.play()
	if v.breathTo == 0 && v.breath < levelFloor {
		v.breath = 0
	}
	if v.shape.sustain < 1 && v.in.gate && !v.falls && v.bank.Level(v.lane) > attackEnd*v.peak() {
		v.falls = true
	}
	v.aim()
	v.tension += v.tensionA * (v.in.tension - v.tension)
	if v.in.tension == 0 && v.tension < 1e-4 && v.tension > -1e-4 {
		v.tension = 0
	}
	a := v.openA
	if v.in.open {
		v.tune -= a * v.tune
		if v.tune > -0.01 {
			v.tune = 0
		}
		if v.bright += a * (1 - v.bright); v.bright > 0.9999 {
			v.bright = 1
		}
	} else {
		v.tune += a * (closedCents - v.tune)
		if v.bright -= a * v.bright; v.bright < 0.0001 {
			v.bright = 0
		}
	}
	if v.shape.glide > 0 {
		way := v.in.pitch - v.pitch
		if v.pitch += v.share(v.shape.glide, 3*math.Ln10, controlFrames, &v.slide, &v.slideA) * way; way < 1e-5 && way > -1e-5 {
			v.pitch = v.in.pitch
		}
	} else {
		v.pitch = v.in.pitch
	}
	if v.fallen > 0 {
		if v.fallen -= v.share(v.shape.fall, 3*math.Ln10, controlFrames, &v.contour, &v.contourA) * v.fallen; v.fallen < 1e-4 {
			v.fallen = 0
		}
	}
	v.drift += v.driftStep
	v.vibrato += v.vibratoStep
	strain := v.settle()

	// Breath: noise at the voice's pitch, opening while the pod waits; and
	// the noise of tension, which rises when more is asked for and falls when
	// less is.
	v.breathTo = 0
	place := v.base.hertz
	if v.in.breath {
		v.waited += controlFrames / float32(v.rate)
		v.breathTo = breathLevel * (1 + 3*min(v.waited/breathSeconds, 1)) * v.shape.breaths
	} else {
		v.waited = 0
	}
	if v.in.gate && !v.cut && strain > 0 {
		v.breathTo = max(v.breathTo, airLevel*strain*v.shape.breaths)
		place *= dsp.Exp2(max(min(v.tension, 3), -3) * 0.5)
	}
	if v.breath > 0 || v.breathTo > 0 {
		v.air.SetHertz(place)
	}
}

// settle tells the bank where all stands that rests within a period, and
// returns how strained the voice is, 0…1. Audio thread.
func (v *podVoice) settle() (strain float32) {
	now := stance{v.pitch, v.tune, v.bright, v.fallen, v.shape.edition}
	calm := v.tension == 0 && v.in.load == 0
	if calm && now == v.calm {
		return 0
	}
	v.calm = stance{}
	size := v.tension
	if size < 0 {
		size = -size
	}
	pull := float32(0)
	if size > 0 {
		strain = 1 - v.spread.of(-1.442695/tensionVolts*size)
		wander := 0.75 + 0.25*dsp.SineCycles(float32(v.drift)*(1.0/(1<<32)))
		pull = spreadCents * strain * wander * v.side
	}
	cents := v.tune
	if v.in.load > 0 {
		cents += vibratoCents * 0.1 * v.in.load * dsp.SineCycles(float32(v.vibrato)*(1.0/(1<<32)))
	}
	// A step of a third of a millisecond is a hundredth of a cent at the
	// fastest: no ear hears it.
	one := v.first.at(v.pitch + (cents+pull+0.5*v.shape.detune)*(1.0/1200))
	two := v.second.at(v.pitch + v.shape.interval + (cents-0.55*pull-0.5*v.shape.detune)*(1.0/1200))
	// At rest the two are pulled into one angle; left at the one in which
	// tension happened to leave them, they might cancel for as long as it rests.
	if strain < 0.05 && v.shape.lock > 0 {
		apart := v.bank.Phase(v.lane, 1) - v.bank.Phase(v.lane, 0) - v.shape.apart
		apart -= float32(math.Floor(float64(apart) + 0.5))
		if apart > 1e-5 || apart < -1e-5 {
			two -= apart * (1 - 20*strain) * v.shape.lock
			calm = false
		}
	}
	v.bank.SetHertz(v.lane, 0, one)
	v.bank.SetHertz(v.lane, 1, two)
	octaves := v.shape.bright + 0.12*v.in.load
	if v.fallen > 0 {
		octaves += v.shape.contour * v.loud * v.fallen
	}
	open := closedRatio + v.bright*(v.opening.of(octaves)-closedRatio)
	if cutoff := v.base.at(v.pitch) * open; !v.parked {
		v.bank.SetFilter(v.lane, min(cutoff, 12000), v.shape.q)
	}
	if calm {
		v.calm = now
	}
	return strain
}

// play moves the score of a gesture on. Audio thread.
func (v *podVoice) play() {
	s := &v.score
	if s.left == 0 {
		return
	}
	if s.wait--; s.wait > 0 {
		return
	}
	s.left--
	v.hit(s.g, s.ratio)
	s.ratio *= s.times
	s.wait = s.rest
	if s.double {
		s.rest *= 2
	}
}

func (v *podVoice) periods(seconds float64) int {
	return max(1, int(seconds*v.rate/controlFrames))
}

// strike plays a gesture. Audio thread.
func (v *podVoice) strike(g Gesture) {
	v.score = score{}
	switch g {
	case GestureUp:
		v.score = score{left: 2, wait: v.periods(0.09), rest: v.periods(0.09), ratio: 1.25, times: 1.2, g: GestureUp}
	case GestureDown:
		v.score = score{left: 2, wait: v.periods(0.09), rest: v.periods(0.09), ratio: 1 / 1.2, times: 1 / 1.25, g: GestureDown}
	case GestureCrashLoop:
		v.score = score{left: 4, wait: v.periods(0.25), rest: v.periods(0.5), double: true, ratio: 1, times: 1, g: GestureCrashLoop}
	}
	v.hit(g, 1)
}

// register moves a pitch by octaves into a range whose ends are an octave or
// more apart.
func register(hz, low, high float32) float32 {
	for hz < low {
		hz *= 2
	}
	for hz > high {
		hz *= 0.5
	}
	return hz
}

// hit sounds one blow of a gesture. Audio thread.
func (v *podVoice) hit(g Gesture, ratio float32) {
	hz := dsp.VoltsToHertz(min(max(v.in.pitch, -5), 5)) * ratio
	vol := v.shape.strikes
	switch g {
	case GestureScheduled:
		v.ring(dsp.PluckedString, register(hz*2, 300, 1800), 0.45, 2.2*vol)
	case GestureReady:
		v.ring(dsp.PluckedString, register(hz*4, 800, 3600), 0.7, 1.3*vol)
	case GestureUp, GestureDown:
		v.ring(dsp.Bar, register(hz*2, 250, 3000), 0.5, 1.8*vol)
	case GestureServed:
		f := register(hz*2, 500, 2000)
		v.glide(f, f*2, 0.07, 0.16, 1.2*vol, 0)
	case GestureMissed:
		v.clickE.Set(0.0004, 0.008)
		v.clickE.Strike(6 * vol)
	case GestureFailed, GestureCrashLoop:
		// A blow on a skin: the dull body, and the slack of the skin under it.
		low := register(hz, 100, 200)
		v.ring(dsp.Membrane, low, 0.32, 4*vol)
		v.glide(low*1.6, low*0.6, 0.07, 0.25, 6*vol, 0)
		v.cut = true
	case GestureOOM:
		f := register(hz, 160, 640)
		v.glide(f, f/2, 0.3, 0.5, 3*vol, 3)
		v.cut = true
	case GestureSucceeded:
		v.ring(dsp.Bell, register(hz*2, 400, 1600), 2.5, 1.5*vol)
	case GestureEvicted:
		f := register(hz, 250, 1000)
		v.glide(f, f*0.75, 0.5, 0.8, 1.2*vol, 0)
	case GesturePulse:
		v.glide(82.5, 55, 0.15, 0.5, 1.6*vol, 0)
	}
}

// ring strikes the body. Audio thread.
func (v *podVoice) ring(body []dsp.Partial, hz float32, seconds float64, volts float32) {
	v.body.SetBody(body)
	v.body.Set(hz, seconds)
	v.body.Strike(volts)
}

// glide starts a sine that moves from one pitch to another. Audio thread.
func (v *podVoice) glide(from, to float32, seconds, decay float64, volts, drive float32) {
	n := max(1, seconds*v.rate)
	v.sweepHz, v.sweepEnd = from, to
	v.sweepMul = float32(math.Pow(float64(to/from), 1/n))
	v.sweepDrive = drive
	if !v.sweepE.Active() {
		v.sweepLv = 0
	}
	// One that still rings is not stepped down.
	v.sweepLv = max(v.sweepLv, volts*(1.0/50))
	v.sweepE.Set(0.004, decay)
	v.sweepE.Strike(10)
}

// extra adds to b, which is silent, what the bank does not make. It must not reach over a
// control period. Audio thread.
func (v *podVoice) extra(b []float32) {
	if v.breath != 0 || v.breathTo > 0 {
		v.noise.Fill(b)
		v.air.ProcessBandPass(b)
		for i := range b {
			v.breath += v.breathA * (v.breathTo - v.breath)
			b[i] *= v.breath * 3
		}
	}
	// Each stops at its own last frame, wherever a call ends.
	for i := 0; i < len(b) && v.body.Active(); i++ {
		b[i] += v.body.Next()
	}
	for i := 0; i < len(b) && v.sweepE.Active(); i++ {
		s := v.sweep.Next(v.sweepHz) * v.sweepE.Next() * v.sweepLv
		if v.sweepDrive > 0 {
			s = dsp.SoftClip(s*v.sweepDrive) * 0.6
		}
		b[i] += s
		if (v.sweepHz-v.sweepEnd)*(v.sweepMul-1) < 0 {
			v.sweepHz *= v.sweepMul
		}
	}
	for i := 0; i < len(b) && v.clickE.Active(); i++ {
		b[i] += v.click.HighPass(v.clickNoise.White()) * v.clickE.Next() * 0.1
	}
	if v.fading {
		for i := range b {
			v.left -= v.fadeA * v.left
			b[i] *= v.left
		}
	}
}

// section is a bank and where its sound is summed.
type section struct {
	bank kernel.Voices
	sum  kernel.Sum
}

// sync puts a silent bank where a voice may start: since frames into the
// control period. Audio thread.
func (s *section) sync(since int) {
	if s.bank.Left() != controlFrames-since {
		s.bank.Begin()
		s.bank.AddTo(&s.sum, since)
	}
}

// render adds the next frames, which must not reach over a control period, of
// those voices of the bank that are in the mask. Audio thread.
func (s *section) render(voices []podVoice, mask uint16, left, right []float32) {
	if mask == 0 {
		s.bank.HasExtra(0)
		s.bank.AddTo(&s.sum, len(left)) // only time
		return
	}
	has, from := uint16(0), controlFrames-s.bank.Left()
	extra := s.bank.Extra()
	for m := mask; m != 0; m &= m - 1 {
		l := bits.TrailingZeros16(m)
		v := &voices[l]
		if !v.struck() {
			continue
		}
		has |= 1 << l
		var b [controlFrames]float32
		v.extra(b[:len(left)])
		for k, x := range b[:len(left)] {
			extra[from+k][l] = x
		}
	}
	s.bank.HasExtra(has)
	s.bank.AddTo(&s.sum, len(left))
	s.sum.Stereo(left, right)
}

// chords are the pitches of a Voice's channels with no pitch cable: ratios
// over its root, so that the converged chord is in just intonation. A
// channel's ratio never changes, so that a pod keeps its pitch for life.
var chords = [][MaxPoly]float32{
	// 4:5:6:8 first, then its neighbours.
	{4, 5, 6, 8, 10, 12, 3, 16, 2, 9, 15, 7.5, 4.5, 11.25, 13.5, 2.5},
	// The harmonic series.
	{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16},
	// Octaves and fifths: a drone.
	{1, 2, 1.5, 1, 2, 1.5, 1, 2, 1, 1.5, 2, 1, 1.5, 2, 1, 2},
	// All at the root.
	{1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
}

var waves = []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.SineWave}

// decibels turns a level in dB into a factor, keeping the last so that a
// resting knob costs a comparison. At the bottom of a knob, −60 dB, it is off.
type decibels struct {
	db, factor float32
	known      bool
}

// linear returns the factor. Audio thread.
func (d *decibels) linear(db float32) float32 {
	if db == d.db && d.known {
		return d.factor
	}
	d.db, d.known = db, true
	if d.factor = dsp.Exp2(db * (1 / 6.0205999)); db <= -60 {
		d.factor = 0
	}
	return d.factor
}
