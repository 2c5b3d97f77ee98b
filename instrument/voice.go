package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
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

	restPhase   = 0.05 // cycles between the two oscillators at rest: cancels no harmonic below the tenth
	lockSeconds = 0.1  // time constant of getting there

	levelFloor = 1e-5 // amplitude below which a voice is silent, −100 dB

	vibratoHertz = 5.3
	vibratoCents = 18 // at 10 V of load
)

// podVoice is the voice of one pod: two saws in unison through a low-pass,
// a breath of filtered noise, and a struck body. Tension pulls the unison
// apart. Its output is within ±5 V in use.
type podVoice struct {
	in    voiceInput
	shape voiceShape
	rate  float64

	osc    [2]dsp.Oscillator
	filter dsp.SVF
	noise  dsp.Noise
	air    dsp.SVF
	body   dsp.Modal
	sweep  dsp.Sine
	sweepE dsp.Decay
	clickE dsp.Decay
	click  dsp.SVF
	// A noise of its own, so that the two never take turns.
	clickNoise dsp.Noise

	level, levelTo, levelA float32 // amplitude, its target, its share a frame
	breath, breathTo       float32
	breathA                float32 // shares of the way, by time constant
	cutA, openLevelA       float32
	tensionA, openA        float32
	attack, attackA        float32
	release, releaseA      float32
	hz                     [2]float32
	tune                   float32 // of the state, in cents
	tension                float32 // smoothed, in volts with its sign
	bright                 float32
	waited                 float32 // seconds of breath so far
	drift                  uint32  // phase of the slow detuning
	driftStep              uint32
	side                   float32 // −1…1: which way this voice is pulled
	vibrato                uint32
	vibratoStep            uint32
	sweepHz, sweepEnd      float32
	sweepMul               float32
	sweepDrive, sweepLevel float32

	score score
	cut   bool // since the last strike that cut the voice
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
	wave    dsp.Waveform
	bright  float32 // cutoff over pitch when open, in octaves
	attack  float32 // s
	release float32 // s
	strikes float32 // level of what is struck, 0…1
	breaths float32 // level of what is breathed, 0…1
}

var defaultShape = voiceShape{wave: dsp.Saw, bright: 2, attack: 0.35, release: 0.25, strikes: 1, breaths: 1}

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

func (v *podVoice) Init(sampleRate float64, seed uint64) {
	*v = podVoice{rate: sampleRate, shape: defaultShape}
	for i := range v.osc {
		v.osc[i].Init(sampleRate)
	}
	v.osc[1].SetPhase(restPhase)
	v.filter.Init(sampleRate)
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

// Reset silences the voice. Audio thread.
func (v *podVoice) Reset() {
	for i := range v.osc {
		v.osc[i].Reset()
	}
	v.filter.Reset()
	v.air.Reset()
	v.body.Reset()
	v.sweepE.Reset()
	v.clickE.Reset()
	v.click.Reset()
	v.level, v.levelTo, v.breath, v.breathTo, v.waited, v.tension = 0, 0, 0, 0, 0, 0
	v.in = voiceInput{}
	v.hz = [2]float32{}
	v.tune = closedCents
	v.bright = 0
	v.score = score{}
	v.cut = false
}

// active tells whether Next can return anything but 0. Audio thread.
func (v *podVoice) active() bool {
	return v.level > 0 || v.levelTo > 0 || v.breath > 0 || v.breathTo > 0 || v.body.Active() || v.sweepE.Active() || v.clickE.Active()
}

// onePole is the share of the way that a time constant covers in n frames.
func (v *podVoice) onePole(seconds float64, n float64) float32 {
	return float32(1 - math.Exp(-n/(seconds*v.rate)))
}

// gate takes the edge of the voice's gate, at its very frame. Audio thread.
func (v *podVoice) gate(on bool) {
	v.in.gate = on
	if on {
		v.cut = false
	}
	v.aim()
}

// aim sets where the level goes and how fast. Audio thread.
func (v *podVoice) aim() {
	if v.shape.attack != v.attack || v.shape.release != v.release {
		v.attack, v.release = v.shape.attack, v.shape.release
		v.attackA = v.onePole(float64(v.attack)/2.3, 1)
		v.releaseA = v.onePole(float64(v.release)/2.3, 1)
	}
	switch {
	case v.in.gate && !v.cut && v.in.open:
		v.levelTo, v.levelA = 1, max(v.openLevelA, v.attackA)
	case v.in.gate && !v.cut:
		v.levelTo, v.levelA = closedLevel, v.attackA
	case v.cut:
		v.levelTo, v.levelA = 0, v.cutA
	default:
		v.levelTo, v.levelA = 0, v.releaseA
	}
}

// control looks at the slow inputs; every controlFrames. Audio thread.
func (v *podVoice) control() {
	v.play()
	if v.levelTo == 0 && v.level < levelFloor {
		v.level = 0
	}
	if v.breathTo == 0 && v.breath < levelFloor {
		v.breath = 0
	}
	if !v.active() && !v.in.gate && !v.in.breath {
		// The next note begins in its own state, not in that of the last one.
		v.tension, v.tune, v.bright, v.waited, v.hz = v.in.tension, closedCents, 0, 0, [2]float32{}
		return
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
		v.bright += a * (1 - v.bright)
	} else {
		v.tune += a * (closedCents - v.tune)
		v.bright -= a * v.bright
	}
	v.drift += v.driftStep
	v.vibrato += v.vibratoStep

	size := v.tension
	if size < 0 {
		size = -size
	}
	strain := 1 - dsp.Exp2(-1.442695*size/tensionVolts)
	wander := 0.75 + 0.25*dsp.SineCycles(float32(v.drift)*(1.0/(1<<32)))
	pull := spreadCents * strain * wander * v.side
	vib := vibratoCents * 0.1 * v.in.load * dsp.SineCycles(float32(v.vibrato)*(1.0/(1<<32)))
	pitch := v.in.pitch + (v.tune+vib)*(1.0/1200)
	for i := range v.hz {
		p := pull
		if i == 1 {
			p = -0.55 * pull
		}
		// A step of a third of a millisecond is a hundredth of a cent at the
		// fastest: no ear hears it.
		v.hz[i] = dsp.VoltsToHertz(pitch + p*(1.0/1200))
	}
	// At rest the two are pulled into one angle; left at the one in which
	// tension happened to leave them, they might cancel for as long as it rests.
	if strain < 0.05 {
		apart := v.osc[1].Phase() - v.osc[0].Phase() - restPhase
		apart -= float32(math.Floor(float64(apart) + 0.5))
		v.hz[1] -= apart * (1 - 20*strain) * (1 / lockSeconds)
	}
	base := dsp.VoltsToHertz(v.in.pitch)
	open := closedRatio + v.bright*(dsp.Exp2(v.shape.bright+0.12*v.in.load)-closedRatio)
	v.filter.SetHertz(min(base*open, 12000))

	// Breath: noise at the voice's pitch, opening while the pod waits; and
	// the noise of tension, which rises when more is asked for and falls when
	// less is.
	v.breathTo = 0
	place := base
	if v.in.breath {
		v.waited += controlFrames / float32(v.rate)
		v.breathTo = breathLevel * (1 + 3*min(v.waited/breathSeconds, 1)) * v.shape.breaths
	} else {
		v.waited = 0
	}
	if v.in.gate && !v.cut {
		v.breathTo = max(v.breathTo, airLevel*strain*v.shape.breaths)
		place = base * dsp.Exp2(max(min(v.tension, 3), -3)*0.5)
	}
	v.air.SetHertz(place)
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
		v.sweepLevel = 0
	}
	// One that still rings is not stepped down.
	v.sweepLevel = max(v.sweepLevel, volts*(1.0/50))
	v.sweepE.Set(0.004, decay)
	v.sweepE.Strike(10)
}

// render fills b with the voice in volts. It must not reach over a control
// period, within which pitches and filters rest. Audio thread.
func (v *podVoice) render(b []float32) {
	if v.level != 0 || v.levelTo > 0 {
		var t [controlFrames]float32
		other := t[:len(b)]
		v.osc[0].Process(b, v.hz[0])
		v.osc[1].Process(other, v.hz[1])
		for i := range b {
			b[i] += other[i]
		}
		v.filter.ProcessLowPass(b)
		level, to, a := v.level, v.levelTo, v.levelA
		for i := range b {
			level += a * (to - level)
			b[i] *= 0.5 * level
		}
		v.level = level
	} else {
		clear(b)
	}
	if v.breath != 0 || v.breathTo > 0 {
		for i := range b {
			v.breath += v.breathA * (v.breathTo - v.breath)
			b[i] += v.breath * 3 * v.air.BandPass(v.noise.White())
		}
	}
	// Each stops at its own last frame, wherever a call ends.
	for i := 0; i < len(b) && v.body.Active(); i++ {
		b[i] += v.body.Next()
	}
	for i := 0; i < len(b) && v.sweepE.Active(); i++ {
		s := v.sweep.Next(v.sweepHz) * v.sweepE.Next() * v.sweepLevel
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

func voiceSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "voice", Title: "Voice", HP: 18, Plus12: 120, Minus12: 90,
		Doc: "Sixteen voices in one: two oscillators, low-pass, breath and a struck body each, played by polyphonic gates. Made to sing a Deployment's pods, it is as good with a keyboard.",
		New: func() Processor { return &voice{} },
		Params: []ParamSpec{
			{Name: "root", Doc: "pitch over which the chord stands, and of 0 V", Unit: "Hz", Min: 20, Max: 880, Value: 55, Curve: Exponential, PerVolt: 1},
			{Name: "chord", Doc: "pitches of the channels where no pitch is plugged in", Choices: []string{"just", "harmonic", "fifths", "unison"}},
			{Name: "wave", Doc: "waveform of the oscillators", Choices: []string{"saw", "triangle", "sine"}},
			{Name: "bright", Doc: "cutoff over pitch when open", Unit: "octaves", Min: 0, Max: 6, Value: 2, PerVolt: 0.3},
			{Name: "attack", Doc: "time to fade in", Unit: "s", Min: 0.005, Max: 10, Value: 0.35, Curve: Exponential},
			{Name: "release", Doc: "time to fade out", Unit: "s", Min: 0.01, Max: 10, Value: 0.3, Curve: Exponential},
			{Name: "strikes", Doc: "level of what is struck", Min: 0, Max: 2, Value: 1, PerVolt: 0.1},
			{Name: "breaths", Doc: "level of what is breathed", Min: 0, Max: 2, Value: 1, PerVolt: 0.1},
			{Name: "level", Doc: "level of all", Unit: "dB", Min: -60, Max: 12, Value: 0, PerVolt: 6},
			{Name: "gesture", Doc: "what a strike plays with no cable in kind", Choices: gestureWords[1:], Value: float64(GestureReady) - 1},
		},
		Inputs: []JackSpec{
			{Name: "gate", Kind: Gate, Poly: true, Doc: "each channel's voice sounds while high"},
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "each channel's pitch; 0 V is the root"},
			{Name: "open", Kind: Gate, Poly: true, Normal: GateVolts, Doc: "in tune and bright while high, dull and flat while low"},
			{Name: "breath", Kind: Gate, Poly: true, Doc: "breathes at the voice's pitch while high"},
			{Name: "strike", Kind: Trigger, Poly: true, Doc: "plays the gesture of kind"},
			{Name: "kind", Kind: CV, Poly: true, Unit: "0.5 V a gesture", Doc: "which gesture is struck"},
			{Name: "tension", Kind: CV, Doc: "pulls the voices apart by up to 35 cents, and brings noise that rises or falls with its sign"},
			{Name: "load", Kind: CV, Poly: true, Doc: "brightness and vibrato"},
			{Name: "pan", Kind: CV, Poly: true, Unit: "±5 V", Doc: "place of each voice; a sounding one walks there"},
		},
		Outputs: []JackSpec{
			{Name: "left", Kind: Audio, Doc: "left of the sum"},
			{Name: "right", Kind: Audio, Doc: "right of the sum"},
		},
	}
}

const (
	voiceRoot = iota
	voiceChord
	voiceWave
	voiceBright
	voiceAttack
	voiceRelease
	voiceStrikes
	voiceBreaths
	voiceLevel
	voiceGesture
)

const (
	voiceGate = iota
	voicePitch
	voiceOpen
	voiceBreath
	voiceStrike
	voiceKind
	voiceTension
	voiceLoad
	voicePan
)

// walkSeconds is how long a sounding voice takes across the stereo field.
const walkSeconds = 1.5

// voice is sixteen podVoices, each in its place.
type voice struct {
	voices [MaxPoly]podVoice
	seats  [MaxPoly]seat
	gain   decibels
	wave   int
}

// seat is what a voice needs beside itself.
type seat struct {
	gate, strike dsp.SchmittTrigger
	place        dsp.Ramp   // −1…1, moved once a control period
	at           float32    // place of the gains
	gain, step   [2]float32 // left and right, and their change a frame
	idle         bool       // the voice can only put out 0
	root, rootV  float32    // a frequency, and its voltage
}

// volts is dsp.HertzToVolts for a frequency that seldom changes. Audio thread.
func (s *seat) volts(hertz float32) float32 {
	if hertz != s.root {
		s.root, s.rootV = hertz, dsp.HertzToVolts(hertz)
	}
	return s.rootV
}

func (m *voice) Init(sampleRate float64, seed uint64) {
	for c := range m.voices {
		m.voices[c].Init(sampleRate, seed+uint64(c)*0x9e3779b97f4a7c15)
		s := &m.seats[c]
		s.place.Init(max(sampleRate/controlFrames, 8000))
		s.place.SetSeconds(walkSeconds * min(sampleRate/controlFrames/8000, 1))
		s.idle = true
		s.sit(0)
	}
	m.wave = -1
}

// Reset silences every voice. Audio thread.
func (m *voice) Reset() {
	for c := range m.voices {
		m.voices[c].Reset()
		s := &m.seats[c]
		s.gate.Reset()
		s.strike.Reset()
		s.idle = true
	}
}

// panGains are the equal-power gains of a place, −1…1. Audio thread.
func panGains(place float32) [2]float32 {
	q := (1 + min(max(place, -1), 1)) * 0.125
	return [2]float32{dsp.SineCycles(0.25 + q), dsp.SineCycles(q)}
}

// sit puts a silent voice in its place at once. Audio thread.
func (s *seat) sit(place float32) {
	s.place.Jump(place)
	if place != s.at || s.gain == [2]float32{} {
		s.at, s.gain = place, panGains(place)
	}
	s.step = [2]float32{}
}

// walk moves a sounding voice for one control period. Audio thread.
func (s *seat) walk(place float32) {
	s.place.Set(place)
	p := s.place.Next()
	if p == s.at {
		s.step = [2]float32{}
		return
	}
	to := panGains(p)
	for k := range to {
		s.step[k] = (to[k] - s.gain[k]) * (1.0 / controlFrames)
	}
	s.at = p
}

// Process renders the voices. Audio thread.
func (m *voice) Process(io *IO) {
	left, right := &io.Out[0].Volts[0], &io.Out[1].Volts[0]
	io.Out[0].Channels, io.Out[1].Channels = 1, 1
	n := io.N
	for i := range n {
		left[i], right[i] = 0, 0
	}
	if w := int(io.Params[voiceWave][0]); w != m.wave {
		m.wave = w
		for c := range m.voices {
			for i := range m.voices[c].osc {
				m.voices[c].osc[i].SetWaveform(waves[w])
			}
		}
	}
	sounds := false
	for c := range m.voices {
		sounds = m.channel(io, c, left, right) || sounds
	}
	io.Out[0].Held, io.Out[1].Held = 0, 0
	if !sounds {
		clear(left[:])
		clear(right[:])
		io.Out[0].Held, io.Out[1].Held = 1, 1
		return
	}
	level := io.Params[voiceLevel]
	for i := range n {
		g := m.gain.linear(level[i])
		left[i] *= g
		right[i] *= g
	}
}

// at reads a signal's channel, 0 V where there is none. Audio thread.
func at(s *Signal, c, i int) float32 {
	if s.Channels == 1 {
		return s.Volts[0][i]
	}
	if c < s.Channels {
		return s.Volts[c][i]
	}
	return 0
}

// channel adds one voice to the sum. A monophonic gate or strike plays the
// first voice alone; other monophonic inputs serve all. It tells whether there
// was anything to add. Audio thread.
func (m *voice) channel(io *IO, c int, left, right *[BlockSize]float32) (sounds bool) {
	v, s := &m.voices[c], &m.seats[c]
	var gate, strike *[BlockSize]float32
	held := uint16(1) << c
	scan := 0 // frames in which gate or strike may change
	if g := io.In[voiceGate]; c < g.Channels {
		gate = &g.Volts[c]
		if g.Held&held == 0 {
			scan = io.N
		}
	}
	if t := io.In[voiceStrike]; c < t.Channels {
		strike = &t.Volts[c]
		if t.Held&held == 0 {
			scan = io.N
		}
	}
	if scan == 0 && s.idle && (gate == nil || gate[0] < dsp.SchmittHigh) && (strike == nil || strike[0] < dsp.SchmittHigh) {
		s.gate.Reset()
		s.strike.Reset()
		if breath := io.In[voiceBreath]; c >= breath.Channels || breath.Held&held != 0 && breath.Volts[c][0] < dsp.SchmittHigh {
			v.in.gate = false
			return false
		}
	}
	scan = max(scan, 1)
	for i := 0; i < io.N; {
		since := int((io.Frame + int64(i)) % controlFrames)
		if since == 0 {
			m.listen(io, c, i)
			if place := at(io.In[voicePan], c, i) * (1 / AudioVolts); v.active() {
				s.walk(place)
			} else {
				s.sit(place)
			}
			v.control()
			s.idle = !v.active()
		}
		if i < scan {
			if gate != nil {
				was := s.gate.High()
				if rose := s.gate.Next(gate[i]); rose || was != s.gate.High() {
					m.listen(io, c, i)
					v.gate(rose)
					s.idle = false
				}
			} else if v.in.gate {
				s.gate.Reset()
				v.gate(false)
			}
			if strike != nil && s.strike.Next(strike[i]) {
				m.listen(io, c, i)
				g := Gesture(io.Params[voiceGesture][i]) + 1
				if io.Patched&(1<<voiceKind) != 0 {
					g = GestureAt(at(io.In[voiceKind], c, i))
				}
				v.strike(g)
				s.idle = false
			}
		}
		// On to the next edge or the next control period.
		end := min(io.N, i+controlFrames-since)
		for k := i + 1; k < min(end, scan); k++ {
			if gate != nil && crosses(&s.gate, gate[k]) || strike != nil && crosses(&s.strike, strike[k]) {
				end = k
				break
			}
		}
		if !s.idle {
			sounds = true
			var buf [controlFrames]float32
			b := buf[:end-i]
			v.render(b)
			l, r := left[i:end], right[i:end]
			gl, gr := s.gain[0], s.gain[1]
			for k, x := range b {
				gl += s.step[0]
				gr += s.step[1]
				l[k] += gl * x
				r[k] += gr * x
			}
			s.gain = [2]float32{gl, gr}
		}
		i = end
	}
	return sounds
}

// crosses tells whether a voltage would change the state of a trigger. Audio thread.
func crosses(s *dsp.SchmittTrigger, volts float32) bool {
	if s.High() {
		return volts < dsp.SchmittLow
	}
	return volts > dsp.SchmittHigh
}

// listen reads the slow inputs and the knobs for one voice. Audio thread.
func (m *voice) listen(io *IO, c, i int) {
	v, s := &m.voices[c], &m.seats[c]
	in := &v.in
	if io.Patched&(1<<voicePitch) != 0 {
		in.pitch = at(io.In[voicePitch], c, i) + s.volts(io.Params[voiceRoot][i])
	} else {
		in.pitch = s.volts(io.Params[voiceRoot][i] * chords[int(io.Params[voiceChord][0])][c])
	}
	in.open = at(io.In[voiceOpen], c, i) > dsp.SchmittHigh
	in.breath = c < io.In[voiceBreath].Channels && at(io.In[voiceBreath], c, i) > dsp.SchmittHigh
	in.tension = io.In[voiceTension].Volts[0][i]
	in.load = min(max(at(io.In[voiceLoad], c, i), 0), 10)
	v.shape.bright = io.Params[voiceBright][i]
	v.shape.attack = io.Params[voiceAttack][i]
	v.shape.release = io.Params[voiceRelease][i]
	v.shape.strikes = io.Params[voiceStrikes][i]
	v.shape.breaths = io.Params[voiceBreaths][i]
}

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
