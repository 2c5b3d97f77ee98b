package instrument

import (
	"fmt"
	"math/bits"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// MIDIControls is how many controllers a MIDI module has jacks for.
const MIDIControls = 4

// MIDIWheelVolts is what a wheel jack puts out at either end of the wheel.
const MIDIWheelVolts = 5

// Modes of MIDI In and MIDI Out, as positions of their switch.
const (
	MIDIPoly = iota
	MIDIMono
	MIDIMPE
)

var midiModes = []string{"poly", "mono", "mpe"}

// midiNumbers are knobs that say which controllers the cc jacks stand for.
func midiNumbers(defaults ...float64) (ps []ParamSpec) {
	for i, v := range defaults {
		ps = append(ps, ParamSpec{Name: fmt.Sprintf("number_%d", i+1), Doc: fmt.Sprintf("controller of cc_%d", i+1), Min: 0, Max: 119, Value: v, Whole: true})
	}
	return ps
}

func midiInSpec() *ModuleSpec {
	s := &ModuleSpec{
		Kind: "midi_in", Title: "MIDI In", HP: 14, Plus12: 45, Minus12: 10,
		Doc: "Keys, wheels, pedals and the clock of a MIDI port: a voice in each channel of its jacks, or with MPE each with its own bend, pressure and timbre.",
		New: func() Processor { return &midiIn{} },
		Params: append([]ParamSpec{
			{Name: "port", Doc: "which ports it hears: a part of the name, or a pattern with * and ?; empty is all of them", Text: true, Free: true},
			{Name: "channel", Doc: "MIDI channel that it hears; 0 is all of them, and with MPE always", Min: 0, Max: 16, Whole: true},
			{Name: "mode", Doc: "poly: a voice a key; mono: one voice; mpe: a voice a note, each on a channel of its own", Choices: midiModes},
			{Name: "voices", Doc: "keys that sound at once; one more takes the voice that was released longest ago, or else of the key that was pressed first", Min: 1, Max: MaxPoly, Value: MaxPoly, Whole: true},
			{Name: "bend_range", Doc: "how far the wheel bends; of MPE the controller says it", Unit: "semitones", Min: 0, Max: 96, Value: 2},
			{Name: "priority", Doc: "mono: which of the keys that are down sounds", Choices: []string{"last", "low", "high"}},
			{Name: "legato", Doc: "mono: whether the gate stays high from key to key", Choices: switchWords},
			{Name: "low", Doc: "lowest key that it hears; 60 is C4", Min: 0, Max: 127, Whole: true},
			{Name: "high", Doc: "highest key that it hears", Min: 0, Max: 127, Value: 127, Whole: true},
			{Name: "beats", Doc: "beats to a bar, for songs that are begun in the middle", Min: 1, Max: 16, Value: 4, Whole: true},
		}, midiNumbers(7, 11, 71, 74)...),
		Outputs: []JackSpec{
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "each key, with its bend; stays after the key"},
			{Name: "gate", Kind: Gate, Poly: true, Doc: "high while a key or the sustain pedal holds the voice"},
			{Name: "velocity", Kind: CV, Poly: true, Unit: "10 V = 127", Step: true, Doc: "how hard the key was struck"},
			{Name: "trigger", Kind: Trigger, Poly: true, Doc: "a key was struck"},
			{Name: "release", Kind: CV, Poly: true, Unit: "10 V = 127", Step: true, Doc: "how fast the key was let go of"},
			{Name: "pressure", Kind: CV, Poly: true, Unit: "10 V = 127", Doc: "pressure of the key or of its channel"},
			{Name: "timbre", Kind: CV, Poly: true, Unit: "10 V = 127", Doc: "controller 74: the third dimension of MPE"},
			{Name: "bend", Kind: CV, Poly: true, Unit: "1 V an octave", Doc: "how far each voice is bent; it is part of pitch"},
			{Name: "wheel", Kind: CV, Unit: "±5 V", Doc: "pitch bend wheel; of MPE that of the master channel"},
			{Name: "mod", Kind: CV, Unit: "10 V = 127", Doc: "modulation wheel"},
			{Name: "sustain", Kind: Gate, Doc: "high while the sustain pedal is down"},
		},
	}
	s.Outputs = append(s.Outputs, numbered("cc", MIDIControls, JackSpec{Kind: CV, Unit: "10 V = 127", Doc: "the controller of number_%d, with its fine part where it has one"})...)
	s.Outputs = append(s.Outputs,
		JackSpec{Name: "clock", Kind: Trigger, Doc: "MIDI clock, 24 a beat: for the clock jack of a Clock whose ppqn is 24"},
		JackSpec{Name: "run", Kind: Gate, Doc: "high from the first clock after start or continue until stop: for run_gate"},
		JackSpec{Name: "reset", Kind: Trigger, Doc: "the first clock after start, or of a song that goes on elsewhere, and then of its next bar: for reset"},
		JackSpec{Name: "start", Kind: Trigger, Doc: "the song starts or goes on"},
		JackSpec{Name: "position", Kind: CV, Unit: "0.5 V a beat", Step: true, Doc: "beats since the bar began: for position"},
	)
	return s
}

// Outputs of a MIDI In that its processor treats in a way of its own.
const (
	midiInPitch    = 0
	midiInTrigger  = 3
	midiInPressure = 5
	midiInTimbre   = 6
	midiInBend     = 7
)

// midiIn is a panel whose pitches are the sum of keys, which step, and bends,
// which glide. A voice that begins begins where it is to be.
type midiIn struct {
	panel
	sum [MaxPoly]struct {
		volts float32
		flat  bool // the signal holds volts throughout
	}
}

func (m *midiIn) Init(sampleRate float64, seed uint64) { m.panel.init(Spec("midi_in"), sampleRate) }

// Reset lowers every gate and level. Audio thread.
func (m *midiIn) Reset() {
	m.panel.Reset()
	for c := range m.sum {
		m.sum[c].flat = false
	}
}

// Receive takes a level or a trigger. What glides is there at once as a voice
// is struck: the note before is no place to glide from. Audio thread.
func (m *midiIn) Receive(e Event) {
	m.panel.Receive(e)
	if e.Kind != EventPulse || e.Index != midiInTrigger || int(e.Channel) >= MaxPoly {
		return
	}
	for _, k := range [...]int{midiInPressure, midiInTimbre, midiInBend} {
		j := &m.jacks[k]
		ch := &j.on[e.Channel]
		if ch.level.Moving() {
			ch.level.Jump(ch.level.Target())
			ch.flat, j.rests = false, false
		}
	}
}

// Process renders the panel. Audio thread.
func (m *midiIn) Process(io *IO) {
	m.write(io, midiInPitch+1, len(m.jacks))
	out, bend := io.Out[midiInPitch], io.Out[midiInBend]
	out.Channels = MaxPoly
	for c := range m.sum {
		s, key := &m.sum[c], m.jacks[midiInPitch].on[c].level.Value()
		b := &out.Volts[c]
		if !m.jacks[midiInBend].on[c].flat {
			s.flat = false
			out.Held &^= 1 << c
			for i := range io.N {
				b[i] = key + bend.Volts[c][i]
			}
			continue
		}
		v := key + bend.Volts[c][0]
		if s.flat && v == s.volts {
			continue
		}
		for i := range b {
			b[i] = v
		}
		s.volts, s.flat = v, true
		out.Held |= 1 << c
	}
}

func midiOutSpec() *ModuleSpec {
	s := &ModuleSpec{
		Kind: "midi_out", Title: "MIDI Out", HP: 14, Plus12: 45, Minus12: 10,
		Doc: "Plays other instruments by MIDI: a note for each channel of its gate, such as a Deployment's pods, with MPE each on a channel of its own; controllers; and a clock for others to follow.",
		New: func() Processor { return &midiOut{} },
		Params: append([]ParamSpec{
			{Name: "port", Doc: "which ports it plays: a part of the name, or a pattern with * and ?; empty is all of them", Text: true, Free: true},
			{Name: "channel", Doc: "MIDI channel of its notes and controllers; with MPE the zone's master takes its place", Min: 1, Max: 16, Value: 1, Whole: true},
			{Name: "mode", Doc: "poly: a key a channel of gate; mono: the first channel alone, bent to its pitch; mpe: each bent on a MIDI channel of its own", Choices: midiModes},
			{Name: "bend_range", Doc: "mono: how far the receiver's wheel bends", Unit: "semitones", Min: 1, Max: 96, Value: 2, Whole: true},
			{Name: "zone", Doc: "mpe: which zone; the lower one has channel 1 as its master, the upper one channel 16", Choices: []string{"lower", "upper"}},
			{Name: "members", Doc: "mpe: channels that carry notes", Min: 1, Max: 15, Value: 15, Whole: true},
			{Name: "member_range", Doc: "mpe: how far a note bends; the receiver is told", Unit: "semitones", Min: 1, Max: 96, Value: 48, Whole: true},
			{Name: "cc14", Doc: "sends controllers 0 … 31 with 14 bits", Choices: switchWords},
			{Name: "mute", Doc: "ends all notes and sends nothing", Choices: switchWords},
		}, midiNumbers(1, 11, 71, 74)...),
		Inputs: []JackSpec{
			{Name: "gate", Kind: Gate, Poly: true, Doc: "a note for each channel while it is high"},
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "of each note; 0 V is C4, key 60"},
			{Name: "velocity", Kind: CV, Poly: true, Unit: "10 V = 127", Normal: 100. / 12.7, Doc: "how hard a note is struck, read as its gate rises"},
			{Name: "pressure", Kind: CV, Poly: true, Unit: "10 V = 127", Doc: "pressure of each note; but for mpe that of the channel, the highest"},
			{Name: "timbre", Kind: CV, Poly: true, Unit: "10 V = 127", Normal: 64. / 12.7, Doc: "mpe: controller 74 of each note"},
		},
		Outputs: []JackSpec{
			{Name: "active", Kind: Gate, Doc: "high while any gate is"},
		},
	}
	s.Inputs = append(s.Inputs, numbered("cc", MIDIControls, JackSpec{Kind: CV, Unit: "10 V = 127", Doc: "the controller of number_%d"})...)
	s.Inputs = append(s.Inputs,
		JackSpec{Name: "clock", Kind: Trigger, Doc: "each edge is a MIDI clock: 24 a beat, such as a Clock's pulses"},
		JackSpec{Name: "run", Kind: Gate, Doc: "rising it sends start, or continue where it was stopped in the middle; falling it sends stop"},
		JackSpec{Name: "reset", Kind: Trigger, Doc: "back to the start of the song"},
	)
	return s
}

// Inputs of a MIDI Out, by index, and its param that has a say in how finely
// its controllers are looked at.
const (
	MIDIOutGate = iota
	MIDIOutPitch
	MIDIOutVelocity
	MIDIOutPressure
	MIDIOutTimbre
	MIDIOutCC
	MIDIOutClock = MIDIOutCC + MIDIControls
	MIDIOutRun   = MIDIOutClock + 1
	MIDIOutReset = MIDIOutRun + 1

	midiOutCC14 = 7
)

const (
	// midiBendRate and midiControlRate are how often a second what moves is
	// looked at: a DIN cable carries about a thousand messages a second.
	midiBendRate    = 200
	midiControlRate = midiBendRate / midiEvery
	midiEvery       = 2
	// midiSevenBits and midiFourteenBits are the steps of a controller, in
	// volts; midiPitchStep is a tenth of a cent.
	midiSevenBits    = 10. / 127
	midiFourteenBits = 10. / 16383
	midiPitchStep    = 1. / 12000
	// midiHysteresis is the share of a step that a controller must be away from
	// what was told, so that noise between two steps is not told all the time.
	midiHysteresis = 0.6
)

// follower tells of a voltage that moves, when it is looked at.
type follower struct {
	told, last float32
	known      bool
}

// news tells whether v is to be told: it is farther than step from what was
// told, or it has come to rest elsewhere. Audio thread.
func (f *follower) news(v, step float32) bool {
	rest := v == f.last
	f.last = v
	d := v - f.told
	return !f.known || d > step || d < -step || rest && d != 0
}

// midiOut detects what is to be played, and tells the control side, which
// makes messages of it.
type midiOut struct {
	gates             [MaxPoly]dsp.SchmittTrigger
	clock, run, reset dsp.SchmittTrigger
	// What the control side was told, which may lag behind where it has no room.
	on      uint16 // notes that sound
	runs    bool
	resets  bool // a reset is yet to be told
	follows [MaxPoly][MIDIOutCC]follower
	cc      [MIDIControls]follower
	every   int64 // frames from look to look
	flat    bool
}

func (m *midiOut) Init(sampleRate float64, seed uint64) {
	m.every = max(int64(sampleRate/midiBendRate), 1)
}

// Reset forgets what is high. What the control side was told is remembered,
// so that it is told of the end as well. Audio thread.
func (m *midiOut) Reset() {
	for c := range m.gates {
		m.gates[c].Reset()
	}
	m.clock.Reset()
	m.run.Reset()
	m.reset.Reset()
	m.flat, m.resets = false, false
}

// steady tells whether a gate is known to stay as it is through the slice.
// Audio thread.
func (m *midiOut) steady(io *IO, input int, s *dsp.SchmittTrigger) bool {
	in := io.In[input]
	return in.held(0) && !crosses(s, in.Volts[0][0])
}

// Process looks for what is to be told. Audio thread.
func (m *midiOut) Process(io *IO) {
	gate := io.In[MIDIOutGate]
	live := uint16(0)
	for c := range m.gates {
		switch {
		case m.gates[c].High() != (m.on&(1<<c) != 0):
			live |= 1 << c // it found no room
		case c >= gate.Channels:
			if m.gates[c].High() {
				live |= 1 << c
			}
		case !gate.held(c) || crosses(&m.gates[c], gate.Volts[c][0]):
			live |= 1 << c
		}
	}
	transport := m.resets || m.run.High() != m.runs ||
		!m.steady(io, MIDIOutClock, &m.clock) || !m.steady(io, MIDIOutRun, &m.run) || !m.steady(io, MIDIOutReset, &m.reset)
	look := int((m.every - io.Frame%m.every) % m.every)
	active := &io.Out[0].Volts[0]
	if live == 0 && !transport {
		for ; look < io.N; look += int(m.every) {
			m.look(io, look)
		}
		if !m.flat {
			v := m.volts()
			for i := range active {
				active[i] = v
			}
			io.Out[0].Held, m.flat = 1, true
		}
		return
	}
	io.Out[0].Held, m.flat = 0, false
	for i := range io.N {
		if transport {
			m.transport(io, i)
		}
		for mask := live; mask != 0; mask &= mask - 1 {
			c := bits.TrailingZeros16(mask)
			v := float32(0)
			if c < gate.Channels {
				v = gate.Volts[c][i]
			}
			m.gates[c].Next(v)
			if high := m.gates[c].High(); high != (m.on&(1<<c) != 0) && m.note(io, c, i, high) {
				m.on ^= 1 << c
			}
		}
		if i == look {
			m.look(io, i)
			look += int(m.every)
		}
		active[i] = m.volts()
	}
}

// volts is what the active jack puts out. Audio thread.
func (m *midiOut) volts() float32 {
	for c := range m.gates {
		if m.gates[c].High() {
			return GateVolts
		}
	}
	return 0
}

// transport tells of the clock, at frame i. A clock that finds no room is
// lost. Audio thread.
func (m *midiOut) transport(io *IO, i int) {
	if m.reset.Next(io.In[MIDIOutReset].Volts[0][i]) {
		m.resets = true
	}
	if m.resets && io.tell(EventGate, MIDIOutReset, 0, i, 1) {
		m.resets = false
	}
	m.run.Next(io.In[MIDIOutRun].Volts[0][i])
	if high := m.run.High(); high != m.runs {
		v := float32(0)
		if high {
			v = 1
		}
		if io.tell(EventGate, MIDIOutRun, 0, i, v) {
			m.runs = high
		}
	}
	if m.clock.Next(io.In[MIDIOutClock].Volts[0][i]) {
		io.tell(EventGate, MIDIOutClock, 0, i, 1)
	}
}

// note tells that a note of channel c begins or ends, at frame i, and whether
// there was room to say so. Audio thread.
func (m *midiOut) note(io *IO, c, i int, high bool) bool {
	if !high {
		return io.tell(EventGate, MIDIOutGate, c, i, 0)
	}
	for k := MIDIOutPitch; k < MIDIOutCC; k++ {
		v := voltsAt(io.In[k], c, i)
		if !io.tell(EventSample, k, c, i, v) {
			return false
		}
		m.follows[c][k] = follower{told: v, last: v, known: true}
	}
	return io.tell(EventGate, MIDIOutGate, c, i, 1)
}

// voltsAt is what channel c of a signal reads. Audio thread.
func voltsAt(s *Signal, c, i int) float32 {
	if b := s.Channel(c); b != nil {
		return b[i]
	}
	return 0
}

// look tells of what moves, at frame i. Audio thread.
func (m *midiOut) look(io *IO, i int) {
	all := (io.Frame+int64(i))/m.every%midiEvery == 0
	for mask := m.on; mask != 0; mask &= mask - 1 {
		c := bits.TrailingZeros16(mask)
		m.follow(io, &m.follows[c][MIDIOutPitch], MIDIOutPitch, c, i, midiPitchStep)
		if all {
			m.follow(io, &m.follows[c][MIDIOutPressure], MIDIOutPressure, c, i, midiHysteresis*midiSevenBits)
			m.follow(io, &m.follows[c][MIDIOutTimbre], MIDIOutTimbre, c, i, midiHysteresis*midiSevenBits)
		}
	}
	if !all {
		return
	}
	step := float32(midiHysteresis * midiSevenBits)
	if io.Params[midiOutCC14][i] == 1 {
		step = midiHysteresis * midiFourteenBits
	}
	for k := range m.cc {
		// What nobody plugs in or turns is not played.
		if f := &m.cc[k]; f.known || io.Patched&(1<<(MIDIOutCC+k)) != 0 || voltsAt(io.In[MIDIOutCC+k], 0, i) != 0 {
			m.follow(io, f, MIDIOutCC+k, 0, i, step)
		}
	}
}

// follow tells where a voltage has gone, if it has. Audio thread.
func (m *midiOut) follow(io *IO, f *follower, input, c, i int, step float32) {
	if v := voltsAt(io.In[input], c, i); f.news(v, step) && io.tell(EventSample, input, c, i, v) {
		f.told, f.known = v, true
	}
}
