package instrument

import (
	"math/bits"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// What the second oscillator of a Voice does beside the first.
const (
	secondUnison = iota
	secondSub
	secondFifth
	secondOctave
	secondPulse
)

var secondWords = []string{"unison", "sub", "fifth", "octave", "pulse"}

// secondVolts is where the second oscillator stands over the first.
var secondVolts = [...]float32{secondUnison: 0, secondSub: -1, secondFifth: 0.5849625, secondOctave: 1, secondPulse: 0}

const (
	allocateChannel = iota // each channel of the gate cable is a voice
	allocateRotate         // each new gate takes a voice
)

func voiceSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "voice", Title: "Voice", HP: 18, Plus12: 120, Minus12: 90, Tail: TailRelease,
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
			{Name: "voices", Doc: "how many sound at once; one more takes the place of the quietest that is released, or else of the oldest", Min: 1, Max: MaxPoly, Value: MaxPoly, Whole: true},
			{Name: "allocation", Doc: "channel: each channel of gate is a voice; rotate: each new gate takes a free one, so that what was played before rings on", Choices: []string{"channel", "rotate"}},
			{Name: "decay", Doc: "time from the end of the attack to sustain", Unit: "s", Min: 0.005, Max: 20, Value: 0.5, Curve: Exponential},
			{Name: "sustain", Doc: "level of a note that is held, as a share of that of its attack", Min: 0, Max: 1, Value: 1},
			{Name: "resonance", Doc: "of the low-pass", Min: 0, Max: 1, PerVolt: 0.1},
			{Name: "contour", Doc: "how far a note's start opens the low-pass; velocity has a share in it", Unit: "octaves", Min: -4, Max: 6, PerVolt: 1},
			{Name: "contour_decay", Doc: "time in which that is over", Unit: "s", Min: 0.01, Max: 20, Value: 0.5, Curve: Exponential},
			{Name: "dynamics", Doc: "what velocity does to the level: nothing at 0, all at 1", Min: 0, Max: 1, Value: 1},
			{Name: "glide", Doc: "time from pitch to pitch", Unit: "s", Min: 0, Max: 5},
			{Name: "detune", Doc: "between the two oscillators", Unit: "cents", Min: 0, Max: 100, PerVolt: 10},
			{Name: "second", Doc: "what the second oscillator is to the first: in unison, an octave below, a fifth or an octave above; pulse: the two make a pulse", Choices: secondWords},
			{Name: "blend", Doc: "share of the second oscillator; of a pulse, its width", Min: 0, Max: 1, Value: 0.5, PerVolt: 0.1},
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
			{Name: "velocity", Kind: CV, Poly: true, Normal: 10, Unit: "0…10 V", Doc: "how hard a note is played, read as its gate rises"},
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
	voiceVoices
	voiceAllocation
	voiceDecay
	voiceSustain
	voiceResonance
	voiceContour
	voiceContourDecay
	voiceDynamics
	voiceGlide
	voiceDetune
	voiceSecond
	voiceBlend
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
	voiceVelocity
)

const (
	// walkSeconds is how long a sounding voice takes across the stereo field.
	walkSeconds = 1.5
	// dipSeconds is how long a Voice is faded out before its waveform changes.
	dipSeconds = 0.005
	// samePitch, in volts, is two cents: what is within it is the same note.
	samePitch = 2.0 / 1200
	// never is the frame of an edge that is not in this slice.
	never = BlockSize + 1
	// spares are the places in which stolen voices fade.
	spares = MaxPoly
	places = MaxPoly + spares
)

// voice is sixteen podVoices, each in its place, and as many more places for
// those that were stolen to fade in. A channel owns one of them at most.
type voice struct {
	voices   [places]podVoice
	seats    [places]seat
	sections [2]section // lanes of voices 0…15, and 16…31
	active   uint32     // voices that can put out something
	owner    [MaxPoly]int

	gate, strike [MaxPoly]dsp.SchmittTrigger
	high         uint16 // channels whose gate is high
	next         int    // first frame of this slice with an edge
	nextGate     [MaxPoly]int
	nextStrike   [MaxPoly]int
	breathing    uint16 // channels whose breath may be high

	gain     decibels
	wave     int
	dip      dsp.Ramp // 0 while the waveform changes
	dips     bool
	shape    voiceShape
	turns    bool // a knob is being turned in this slice
	turned   bool // or was since the last look
	switches [4]float32
	chord    [MaxPoly]pitchOf
	root     pitchOf
	last     float32 // pitch of the note before, where a glide begins
	played   bool
}

// pitchOf is a frequency and its voltage, computed when it changes.
type pitchOf struct{ hertz, volts float32 }

// at returns the voltage. Audio thread.
func (p *pitchOf) at(hertz float32) float32 {
	if hertz != p.hertz {
		p.hertz, p.volts = hertz, dsp.HertzToVolts(hertz)
	}
	return p.volts
}

// seat is whose a voice is and where it sits.
type seat struct {
	channel int   // −1: nobody's
	since   int64 // frame of its last edge
	place   dsp.Ramp
	at      float32
}

func (m *voice) Init(sampleRate float64, seed uint64) {
	for k := range m.sections {
		m.sections[k].bank.Init(sampleRate)
	}
	for i := range m.voices {
		m.voices[i].Init(&m.sections[i/MaxPoly].bank, i%MaxPoly, sampleRate, seed+uint64(i)*0x9e3779b97f4a7c15)
		m.voices[i].shape = &m.shape
		s := &m.seats[i]
		s.channel = -1
		s.place.Init(max(sampleRate/controlFrames, 8000))
		s.place.SetSeconds(walkSeconds * min(sampleRate/controlFrames/8000, 1))
		m.sit(i, 0)
	}
	m.shape, m.turned = defaultShape, true
	for c := range MaxPoly {
		m.nextGate[c], m.nextStrike[c] = never, never
	}
	m.dip.Init(sampleRate)
	m.dip.SetSeconds(dipSeconds)
	m.Reset()
	m.wave = -1
}

// Reset silences every voice. Audio thread.
func (m *voice) Reset() {
	for i := range m.voices {
		m.voices[i].Reset()
		m.seats[i].channel = -1
	}
	for k := range m.sections {
		m.sections[k].bank.Reset()
	}
	for c := range m.owner {
		m.owner[c] = -1
		m.gate[c].Reset()
		m.strike[c].Reset()
	}
	m.active, m.high, m.played = 0, 0, false
	m.dips = false
	m.dip.Jump(1)
}

// panGains are the equal-power gains of a place, −1…1. Audio thread.
func panGains(place float32) [2]float32 {
	q := (1 + min(max(place, -1), 1)) * 0.125
	return [2]float32{dsp.SineCycles(0.25 + q), dsp.SineCycles(q)}
}

// sit puts a silent voice in its place at once. Audio thread.
func (m *voice) sit(i int, place float32) {
	m.seats[i].place.Jump(place)
	m.pan(i, place)
}

// pan tells the bank where a voice sits. Audio thread.
func (m *voice) pan(i int, place float32) {
	if s := &m.seats[i]; place != s.at {
		s.at = place
		g := panGains(place)
		m.sections[i/MaxPoly].bank.SetPan(i%MaxPoly, g[0], g[1])
	}
}

// walk moves a sounding voice for one control period. Audio thread.
func (m *voice) walk(i int, place float32) {
	s := &m.seats[i]
	s.place.Set(place)
	if s.place.Moving() {
		m.pan(i, s.place.Next())
	}
}

// Process renders the voices. Audio thread.
func (m *voice) Process(io *IO) {
	out, n := io.Out, io.N
	m.scan(io)
	m.turns = false
	for k := 0; k < len(io.Params) && !m.turns; k++ {
		m.turns = !io.rests(k)
	}
	m.turned = m.turned || m.turns
	w := int(io.Params[voiceWave][0])
	if m.active == 0 && m.next == n && m.breathing == 0 {
		if since := int(io.Frame % controlFrames); since == 0 || since+n > controlFrames {
			m.look(io, n-1-(since+n-1)%controlFrames)
			m.change(w)
		}
		for _, o := range out {
			if !o.silent() {
				o.Fill(0)
			}
		}
		return
	}
	left, right := out[0].Volts[0][:n], out[1].Volts[0][:n]
	clear(left)
	clear(right)
	for _, o := range out {
		o.Channels, o.Held = 1, 0
	}
	for i := 0; i < n; {
		since := int((io.Frame + int64(i)) % controlFrames)
		if since == 0 {
			m.tick(io, i)
		}
		for i == m.next {
			m.edges(io, i)
		}
		end := min(n, i+controlFrames-since, m.next)
		if m.active != 0 {
			l, r := left[i:end], right[i:end]
			m.sections[0].sync(since)
			m.sections[0].render(m.voices[:MaxPoly], uint16(m.active), l, r)
			if m.active>>MaxPoly != 0 {
				m.sections[1].sync(since)
				m.sections[1].render(m.voices[MaxPoly:], uint16(m.active>>MaxPoly), l, r)
			}
			if m.dip.Moving() || m.dip.Value() != 1 {
				for k := range l {
					g := smooth(m.dip.Next())
					l[k] *= g
					r[k] *= g
				}
			}
		}
		i = end
	}
	if level := io.Params[voiceLevel]; io.rests(voiceLevel) {
		if g := m.gain.linear(level[0]); g != 1 {
			for i := range left {
				left[i] *= g
				right[i] *= g
			}
		}
	} else {
		for i := range left {
			g := m.gain.linear(level[i])
			left[i] *= g
			right[i] *= g
		}
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

// scan finds the first edge of each gate and strike in this slice. A
// monophonic gate or strike plays the first channel alone; other monophonic
// inputs serve all. Audio thread.
func (m *voice) scan(io *IO) {
	m.next = io.N
	gate, strike, breath := io.In[voiceGate], io.In[voiceStrike], io.In[voiceBreath]
	for c := range gate.Channels {
		if at := edge(&m.gate[c], gate, c, 0, io.N); at != never {
			m.nextGate[c], m.next = at, min(m.next, at)
		}
	}
	for high := m.high >> gate.Channels << gate.Channels; high != 0; high &= high - 1 {
		m.nextGate[bits.TrailingZeros16(high)], m.next = 0, 0 // its cable is gone
	}
	for c := range MaxPoly {
		if c < strike.Channels {
			if at := edge(&m.strike[c], strike, c, 0, io.N); at != never {
				m.nextStrike[c], m.next = at, min(m.next, at)
			}
		} else if m.strike[c].High() {
			m.strike[c].Reset()
		}
	}
	m.breathing = 0
	for c := range breath.Channels {
		if breath.Held&(1<<c) == 0 || breath.Volts[c][0] > dsp.SchmittHigh {
			m.breathing |= 1 << c
		}
	}
}

// edge returns the first frame from i to before n at which a trigger would
// change, never where there is none. Audio thread.
func edge(t *dsp.SchmittTrigger, s *Signal, c, i, n int) int {
	b := &s.Volts[c]
	if s.Held&(1<<c) != 0 {
		if i < n && crosses(t, b[0]) {
			return i
		}
		return never
	}
	for ; i < n; i++ {
		if crosses(t, b[i]) {
			return i
		}
	}
	return never
}

// crosses tells whether a voltage would change the state of a trigger. Audio thread.
func crosses(s *dsp.SchmittTrigger, volts float32) bool {
	if s.High() {
		return volts < dsp.SchmittLow
	}
	return volts > dsp.SchmittHigh
}

// edges takes the edges of frame i and finds the next. Audio thread.
func (m *voice) edges(io *IO, i int) {
	gate, strike := io.In[voiceGate], io.In[voiceStrike]
	m.next = io.N
	for c := range MaxPoly {
		if m.nextGate[c] == i {
			if c < gate.Channels {
				m.gate[c].Next(gate.Volts[c][i])
				m.nextGate[c] = edge(&m.gate[c], gate, c, i+1, io.N)
			} else {
				m.gate[c].Reset()
				m.nextGate[c] = never
			}
			if m.gate[c].High() {
				m.high |= 1 << c
				m.on(io, c, i)
			} else {
				m.high &^= 1 << c
				m.off(io, c, i)
			}
		}
		if m.nextStrike[c] == i {
			if m.strike[c].Next(strike.Volts[c][i]) {
				m.hit(io, c, i)
			}
			m.nextStrike[c] = edge(&m.strike[c], strike, c, i+1, io.N)
		}
		m.next = min(m.next, m.nextGate[c], m.nextStrike[c])
	}
}

// on begins a note. Audio thread.
func (m *voice) on(io *IO, c, i int) {
	k := m.take(io, c, i, true)
	v := &m.voices[k]
	v.loud = 1 - io.Params[voiceDynamics][i]*(1-min(max(dsp.Rail(at(io.In[voiceVelocity], c, i))*0.1, 0), 1))
	m.seats[k].since = io.Frame + int64(i)
	v.gate(true)
	m.last, m.played = v.in.pitch, true
}

// off releases it. Audio thread.
func (m *voice) off(io *IO, c, i int) {
	if k := m.owned(c); k >= 0 {
		m.listen(io, k, i)
		m.seats[k].since = io.Frame + int64(i)
		m.voices[k].gate(false)
	}
}

// hit plays a gesture. Audio thread.
func (m *voice) hit(io *IO, c, i int) {
	k := m.take(io, c, i, false)
	g := Gesture(io.Params[voiceGesture][i]) + 1
	if io.Patched&(1<<voiceKind) != 0 {
		g = GestureAt(at(io.In[voiceKind], c, i))
	}
	m.voices[k].strike(g)
}

// owned returns a channel's voice, −1 where it has none. Audio thread.
func (m *voice) owned(c int) int {
	if k := m.owner[c]; k >= 0 && m.seats[k].channel == c {
		return k
	}
	return -1
}

// take finds the voice for a channel's note or strike, awake and listening.
// Audio thread.
func (m *voice) take(io *IO, c, i int, note bool) int {
	k := m.owned(c)
	if k >= 0 && m.active>>k&1 != 0 {
		v := &m.voices[k]
		moved := m.pitch(io, c, i) - v.in.pitch
		switch same := moved < samePitch && moved > -samePitch; {
		case v.in.gate:
			m.listen(io, k, i)
			return k
		case note && io.Params[voiceAllocation][i] == allocateRotate:
			// Its tail rings on, and nobody would tell it that the breath is over.
			m.seats[k].channel, v.in.breath = -1, false
		case same:
			m.listen(io, k, i)
			return k
		default:
			m.steal(k)
		}
		k = -1
	}
	m.room(int(io.Params[voiceVoices][i]))
	if k < 0 || m.active>>c&1 == 0 {
		k = m.free(c)
	}
	v := &m.voices[k]
	if m.seats[k].channel != c {
		v.in.gate, v.cut = false, false
	}
	m.owner[c], m.seats[k].channel = k, c
	m.active |= 1 << k
	m.sections[k/MaxPoly].sync(int((io.Frame + int64(i)) % controlFrames))
	m.listen(io, k, i)
	v.in.pitch = m.pitch(io, c, i)
	m.sit(k, dsp.Rail(at(io.In[voicePan], c, i))/AudioVolts)
	v.begin(io.Patched&(1<<voiceOpen) == 0)
	if v.shape.glide > 0 && m.played {
		v.pitch = m.last
		v.settle()
	}
	return k
}

// room steals as many voices as it takes for one more to sound. Audio thread.
func (m *voice) room(most int) {
	for {
		used, victim := 0, -1
		for set := m.active; set != 0; set &= set - 1 {
			k := bits.TrailingZeros32(set)
			if m.voices[k].fading {
				continue
			}
			if used++; victim < 0 || m.worth(k, victim) {
				victim = k
			}
		}
		if used < most {
			return
		}
		m.steal(victim)
	}
}

// worth tells whether voice a is to be stolen before voice b: what is released
// before what is held, then the quieter, then the older. Audio thread.
func (m *voice) worth(a, b int) bool {
	v, w := &m.voices[a], &m.voices[b]
	if v.in.gate != w.in.gate {
		return !v.in.gate
	}
	if !v.in.gate {
		if x, y := v.bank.Level(v.lane), w.bank.Level(w.lane); x != y {
			return x < y
		}
	}
	return m.seats[a].since < m.seats[b].since
}

// steal fades a voice and takes it from its channel. Audio thread.
func (m *voice) steal(k int) {
	m.seats[k].channel = -1
	m.voices[k].fade()
}

// free returns a silent voice: the channel's own number if it can. Where all
// sound, it silences the quietest of those that fade. Audio thread.
func (m *voice) free(c int) int {
	if m.active>>c&1 == 0 {
		return c
	}
	if k := bits.TrailingZeros32(^m.active); k < places {
		return k
	}
	best := -1
	for k := range m.voices {
		if v := &m.voices[k]; v.fading && (best < 0 || v.bank.Level(v.lane) < m.voices[best].bank.Level(m.voices[best].lane)) {
			best = k
		}
	}
	m.voices[best].Reset()
	return best
}

// tick begins a control period. Audio thread.
func (m *voice) tick(io *IO, i int) {
	m.look(io, i)
	m.change(int(io.Params[voiceWave][i]))
	for set := m.active; set != 0; set &= set - 1 {
		k := bits.TrailingZeros32(set)
		v := &m.voices[k]
		if c := m.seats[k].channel; c >= 0 {
			m.listen(io, k, i)
			if place := dsp.Rail(at(io.In[voicePan], c, i)) / AudioVolts; v.bank.Sounds(v.lane) {
				m.walk(k, place)
			} else {
				m.sit(k, place) // one that only breathes or is struck
			}
		}
		v.control()
	}
	for k := range m.sections {
		m.sections[k].bank.Begin()
	}
	for set := m.active; set != 0; set &= set - 1 {
		k := bits.TrailingZeros32(set)
		v := &m.voices[k]
		if !v.parked && !v.bank.Sounds(v.lane) {
			v.park()
		}
		if !v.active() {
			m.active &^= 1 << k
			if v.fading {
				v.Reset()
			}
		}
	}
	if m.active == 0 {
		for k := range m.sections {
			m.sections[k].bank.HasExtra(0)
		}
	}
	for set := m.breathing; set != 0; set &= set - 1 {
		c := bits.TrailingZeros16(set)
		if k := m.owned(c); (k < 0 || m.active>>k&1 == 0) && at(io.In[voiceBreath], c, i) > dsp.SchmittHigh {
			m.take(io, c, i, false)
		}
	}
}

// change goes over to another waveform, at once where nothing sounds, else
// when what sounds was faded. Audio thread.
func (m *voice) change(w int) {
	switch {
	case w == m.wave:
		if m.dips {
			m.dips = false
			m.dip.Set(1)
		}
		return
	case m.active != 0 && m.wave >= 0 && (m.dip.Moving() || m.dip.Value() > 0):
		if !m.dips {
			m.dips = true
			m.dip.Set(0)
		}
		return
	}
	m.wave = w
	for k := range m.sections {
		m.sections[k].bank.SetWaveform(waves[w])
	}
	if m.dips = false; m.active == 0 {
		m.dip.Jump(1)
	} else {
		m.dip.Set(1)
	}
}

// pitch reads a channel's pitch. Audio thread.
func (m *voice) pitch(io *IO, c, i int) float32 {
	root := io.Params[voiceRoot][i]
	if io.Patched&(1<<voicePitch) != 0 {
		return dsp.Rail(at(io.In[voicePitch], c, i)) + m.root.at(root)
	}
	return m.chord[c].at(root * chords[int(io.Params[voiceChord][0])][c])
}

// listen reads the slow inputs for one voice. Audio thread.
func (m *voice) listen(io *IO, k, i int) {
	v, c := &m.voices[k], m.seats[k].channel
	in := &v.in
	if in.gate || !v.bank.Sounds(v.lane) {
		// A tail stays where it was: the channel may be at its next note.
		in.pitch = m.pitch(io, c, i)
	}
	in.open = at(io.In[voiceOpen], c, i) > dsp.SchmittHigh
	in.breath = c < io.In[voiceBreath].Channels && at(io.In[voiceBreath], c, i) > dsp.SchmittHigh
	in.tension = dsp.Rail(io.In[voiceTension].Volts[0][i])
	in.load = min(max(dsp.Rail(at(io.In[voiceLoad], c, i)), 0), 10)
}

// look reads the knobs, which all voices share; every controlFrames.
// Audio thread.
func (m *voice) look(io *IO, i int) {
	p := io.Params
	if w := [...]float32{p[voiceAllocation][i], p[voiceSecond][i], p[voiceChord][i], p[voiceVoices][i]}; w != m.switches {
		m.switches, m.turned = w, true
	}
	if !m.turned {
		return
	}
	m.turned = m.turns
	s := &m.shape
	s.edition++
	s.bright, s.attack, s.release = p[voiceBright][i], p[voiceAttack][i], p[voiceRelease][i]
	s.strikes, s.breaths = p[voiceStrikes][i], p[voiceBreaths][i]
	s.decay, s.sustain = p[voiceDecay][i], p[voiceSustain][i]
	s.contour, s.fall = p[voiceContour][i], p[voiceContourDecay][i]
	s.q = 0.5 / (1 - 0.96*p[voiceResonance][i])
	s.glide, s.detune = p[voiceGlide][i], p[voiceDetune][i]
	second, blend := int(p[voiceSecond][i]), p[voiceBlend][i]
	s.interval, s.apart, s.lock = secondVolts[second], restPhase, 1/lockSeconds
	if second != secondUnison || s.detune != 0 {
		s.lock = 0
	}
	s.mix = [2]float32{min(2-2*blend, 1) * AudioVolts / 2, min(2*blend, 1) * AudioVolts / 2}
	if second == secondPulse {
		// A saw less a saw that is behind it is a pulse.
		s.apart, s.lock = min(max(blend, 0.02), 0.98), 1/widthSeconds
		s.mix = [2]float32{AudioVolts / 2, -AudioVolts / 2}
	}
}
