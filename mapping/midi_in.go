package mapping

import (
	"maps"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

const (
	kindMIDIIn  = "midi_in"
	kindMIDIOut = "midi_out"

	// midiPorts is the most ports whose controllers are remembered; what comes
	// from more is not heard.
	midiPorts = 256
	// midiHeld is the most keys that a mono voice remembers.
	midiHeld = 128
	// clockLost is how long, in seconds, a clock must be silent until that of
	// another port is followed: three times that of 24 a beat at 10 BPM.
	clockLost = 0.75
	// strikeLate is how far, in seconds, strikes of one voice may be put off by
	// the strikes before them.
	strikeLate = 0.05
	// startWait is how long, in seconds, a song that was started waits for its
	// first clock: a little more than one of 24 a beat at 10 BPM. Then it runs
	// without, as it does by what sends starts and no clock.
	startWait = 0.3
	// clocksPerBeat is how often a MIDI clock ticks.
	clocksPerBeat = 24
	// clocksPerPosition is how many of them a step of a song position is.
	clocksPerPosition = 6
)

// midiJack are the outputs of a MIDI In, by index.
var midiJack = func() (j struct {
	pitch, gate, velocity, trigger, release, pressure, timbre, bend uint8
	wheel, mod, sustain, cc, clock, run, reset, start, position     uint8
}) {
	s := instrument.Spec(kindMIDIIn)
	for name, index := range map[string]*uint8{"pitch": &j.pitch, "gate": &j.gate, "velocity": &j.velocity, "trigger": &j.trigger, "release": &j.release,
		"pressure": &j.pressure, "timbre": &j.timbre, "bend": &j.bend, "wheel": &j.wheel, "mod": &j.mod, "sustain": &j.sustain, "cc_1": &j.cc,
		"clock": &j.clock, "run": &j.run, "reset": &j.reset, "start": &j.start, "position": &j.position} {
		*index = uint8(s.Output(name))
	}
	return j
}()

// midiPort is what a port said last.
type midiPort struct {
	numbers midi.Numbers
	bend    [16]int
	press   [16]uint8
	value   [16][128]int16 // of controllers, 0…16383; −1 before any
	pedal   [16]bool
	plays   bool  // its song
	ticks   int64 // clocks since the start of the song
}

func newMIDIPort() *midiPort {
	p := &midiPort{}
	p.reset()
	return p
}

func (p *midiPort) reset() {
	*p = midiPort{}
	for ch := range p.value {
		for n := range p.value[ch] {
			p.value[ch][n] = -1
		}
	}
}

// midiKey is one key of one port.
type midiKey struct {
	port    string
	channel int
	key     int
}

// midiInput is a MIDI In module.
type midiInput struct {
	id     instrument.ModuleID
	handle uint32
	set    midiInSettings
	hears  map[string]bool // ports that it has been asked about
	voices [instrument.MaxPoly]midiVoice
	mpe    map[string]*midi.MPEIn
	held   []midiStruck // mono: keys that are down, in the order in which they were struck
	order  uint64
	at     int64 // frame of the newest message
	song   midiSong
}

// midiInSettings is how a MIDI In stands.
type midiInSettings struct {
	port          string
	channel, mode int
	voices        int
	bend          float64 // semitones
	priority      int
	legato        bool
	low, high     int
	beats         int64
	numbers       [instrument.MIDIControls]int
}

func midiInSettingsOf(m *instrument.Module) midiInSettings {
	v := func(name string) int { return int(m.Value(name)) }
	s := midiInSettings{port: m.Word("port"), channel: v("channel"), mode: v("mode"), voices: v("voices"), bend: m.Value("bend_range"),
		priority: v("priority"), legato: v("legato") != 0, low: v("low"), high: v("high"), beats: int64(v("beats"))}
	for i := range s.numbers {
		s.numbers[i] = v(numberParams[i])
	}
	return s
}

var numberParams = numberedJacks("number", instrument.MIDIControls)

// MIDI takes a message that came in by a port, to be heard at a frame, 0 at
// once: every MIDI In whose port and channel it is for plays it. Messages of
// one port come in their order. Those of the clock are taken as they are: who
// calls has filtered their time.
func (r *Rack) MIDI(port string, m midi.Message, frame int64) {
	if m.Size == 0 {
		return // a system exclusive message plays nothing
	}
	r.begin()
	r.hear(port, m, frame)
	if r.ended(nil) {
		r.record(Input{Frame: frame, Source: port, MIDI: &MIDIInput{port, m}})
	}
}

func (r *Rack) hear(port string, m midi.Message, frame int64) {
	p := r.midiPorts[port]
	if p == nil {
		if len(r.midiPorts) >= midiPorts {
			return
		}
		p = newMIDIPort()
		r.midiPorts[port] = p
	}
	if frame <= 0 {
		frame = r.pumped
	}
	c, isControl := p.take(m)
	for _, in := range r.midiIns {
		if in.hear(port) {
			in.at = max(in.at, frame)
			in.message(r, p, port, m, c, isControl)
		}
	}
}

// take remembers a message, and returns the movement of a control that it is.
func (p *midiPort) take(m midi.Message) (c midi.Control, isControl bool) {
	switch m.Kind() {
	case midi.PitchBend:
		p.bend[m.Channel()] = m.Bend()
	case midi.ChannelPressure:
		p.press[m.Channel()] = m.Data[1] & 0x7f
	case midi.ControlChange:
		ch := m.Channel()
		switch m.Data[1] & 0x7f {
		case midi.CCSustain:
			p.pedal[ch] = m.Data[2] >= 64
		case midi.CCResetAll:
			p.resetControls(ch)
		}
		if c, isControl = p.numbers.Control(m); isControl && (c.Kind == midi.Control7 || c.Kind == midi.Control14) {
			p.value[ch][c.Number] = int16(c.Value14)
		}
	case midi.Start:
		p.ticks, p.plays = 0, true
	case midi.Continue:
		p.plays = true
	case midi.Stop:
		p.plays = false
	case midi.SongPosition:
		p.ticks = clocksPerPosition * int64(midi.Value14(m.Data[2], m.Data[1]))
	case midi.Clock:
		if p.plays {
			p.ticks++
		}
	case midi.SystemReset:
		p.reset()
	}
	return c, isControl
}

// resetControls takes back what RP-015 names.
func (p *midiPort) resetControls(ch int) {
	p.bend[ch], p.press[ch], p.pedal[ch] = 0, 0, false
	for _, n := range []int{midi.CCModulation, midi.CCSustain, 65, 66, 67} {
		if p.value[ch][n] > 0 {
			p.value[ch][n] = 0
		}
	}
	if p.value[ch][midi.CCExpression] >= 0 {
		p.value[ch][midi.CCExpression] = 16383
	}
}

// hear tells whether a module hears a port.
func (in *midiInput) hear(port string) bool {
	h, ok := in.hears[port]
	if !ok {
		h = PortMatches(in.set.port, port)
		if len(in.hears) >= midiPorts {
			clear(in.hears)
		}
		in.hears[port] = h
	}
	return h
}

// listens tells whether a module plays what is on a channel, from 0.
func (s *midiInSettings) listens(channel int) bool {
	return s.mode == instrument.MIDIMPE || s.channel == 0 || s.channel == channel+1
}

// message plays a message of a port that the module hears.
func (in *midiInput) message(r *Rack, p *midiPort, port string, m midi.Message, c midi.Control, isControl bool) {
	if !m.IsChannel() {
		in.system(r, p, port, m)
		return
	}
	ch := m.Channel()
	if !in.set.listens(ch) {
		return
	}
	if in.set.mode == instrument.MIDIMPE {
		z := in.mpeOf(port)
		if m.IsNoteOn() {
			// The end of the last note of this key may have been lost.
			z.Message(midi.Off(ch, int(m.Data[1]), 64), in.mpeChange(r, p, port))
		}
		if m.Kind() == midi.PitchBend {
			if _, master, ok := z.Config().Of(ch); ok && master {
				in.level(r, midiJack.wheel, wheelVolts(m.Bend()))
			}
		}
		if z.Message(m, in.mpeChange(r, p, port)) {
			return
		}
		if _, _, ok := z.Config().Of(ch); ok && (m.IsNoteOn() || m.IsNoteOff()) {
			return
		}
	}
	switch m.Kind() {
	case midi.NoteOn, midi.NoteOff:
		k := midiKey{port, ch, int(m.Data[1] & 0x7f)}
		if m.IsNoteOff() {
			velocity := int(m.Data[2] & 0x7f)
			if m.Kind() == midi.NoteOn {
				velocity = 64
			}
			in.off(r, p, k, velocity)
		} else {
			in.on(r, p, k, int(m.Data[2]&0x7f))
		}
	case midi.PitchBend:
		in.level(r, midiJack.wheel, wheelVolts(m.Bend()))
		in.eachOf(port, ch, func(i int) { in.voice(r, i, midiJack.bend, in.bendVolts(m.Bend())) })
	case midi.ChannelPressure:
		in.eachOf(port, ch, func(i int) { in.voice(r, i, midiJack.pressure, sevenVolts(int(m.Data[1]))) })
	case midi.PolyPressure:
		for i := range in.voices {
			if v := &in.voices[i]; v.high && v.from == (midiKey{port, ch, int(m.Data[1])}) {
				in.voice(r, i, midiJack.pressure, sevenVolts(int(m.Data[2])))
			}
		}
	case midi.ControlChange:
		in.control(r, p, port, m, c, isControl)
	}
}

// control plays a control change.
func (in *midiInput) control(r *Rack, p *midiPort, port string, m midi.Message, c midi.Control, isControl bool) {
	ch := m.Channel()
	switch number := m.Data[1] & 0x7f; {
	case number == midi.CCSustain:
		in.level(r, midiJack.sustain, gateVolts(p.pedal[ch]))
		if !p.pedal[ch] {
			in.pedalUp(r, p, port)
		}
	case number == midi.CCTimbre:
		in.eachOf(port, ch, func(i int) { in.voice(r, i, midiJack.timbre, sevenVolts(int(m.Data[2]))) })
	case number == midi.CCAllSoundOff:
		in.end(r, func(k midiKey) bool { return k.port == port && in.covers(port, ch, k.channel) })
	case number >= midi.CCAllNotesOff:
		for _, k := range in.downKeys() {
			if k.port == port && in.covers(port, ch, k.channel) {
				in.off(r, p, k, 64)
			}
		}
	case number == midi.CCResetAll:
		in.restore(r, p, ch)
		in.pedalUp(r, p, port)
		in.eachOf(port, ch, func(i int) {
			in.voice(r, i, midiJack.bend, 0)
			in.voice(r, i, midiJack.pressure, 0)
		})
	}
	if !isControl {
		return
	}
	switch c.Kind {
	case midi.ControlRPN:
		if c.Number == midi.RPNBendRange && c.Value14 >= 0 && in.set.mode != instrument.MIDIMPE {
			r.put(in.id, "bend_range", min(float64(c.Value14>>7)+float64(min(c.Value14&0x7f, 99))/100, 96), kindMIDIIn)
		}
	case midi.Control7, midi.Control14:
		in.showControl(r, p, ch, c.Number)
	}
}

// showControl shows one controller on the jacks that stand for it.
func (in *midiInput) showControl(r *Rack, p *midiPort, ch, number int) {
	v := p.value[ch][number]
	if v < 0 {
		return
	}
	volts := float32(v) * (10. / 16383)
	if number == midi.CCModulation {
		in.level(r, midiJack.mod, volts)
	}
	for i, n := range in.set.numbers {
		if n == number {
			in.level(r, midiJack.cc+uint8(i), volts)
		}
	}
}

// restore shows what a port last said on a channel.
func (in *midiInput) restore(r *Rack, p *midiPort, ch int) {
	if in.set.mode != instrument.MIDIMPE || ch == midi.Master(false) || ch == midi.Master(true) && p.bend[ch] != 0 {
		in.level(r, midiJack.wheel, wheelVolts(p.bend[ch]))
	}
	in.level(r, midiJack.sustain, gateVolts(p.pedal[ch]))
	in.showControl(r, p, ch, midi.CCModulation)
	for _, n := range in.set.numbers {
		in.showControl(r, p, ch, n)
	}
}

// showPorts shows what the ports that it hears have said before: to a module
// that is new, and after a panic.
func (in *midiInput) showPorts(r *Rack) {
	for _, port := range slices.Sorted(maps.Keys(r.midiPorts)) {
		if !in.hear(port) {
			continue
		}
		p := r.midiPorts[port]
		for ch := range 16 {
			said := p.bend[ch] != 0 || p.pedal[ch]
			for _, n := range append([]int{midi.CCModulation}, in.set.numbers[:]...) {
				said = said || p.value[ch][n] >= 0
			}
			if said && in.set.listens(ch) {
				in.restore(r, p, ch)
			}
		}
	}
	in.level(r, midiJack.run, gateVolts(in.song.runs))
	in.showPosition(r)
}

// PortGone takes over that a MIDI port was unplugged: the gates that its keys
// hold fall, and what runs by its clock stops.
func (r *Rack) PortGone(port string, frame int64) {
	if r.midiPorts[port] == nil {
		return
	}
	r.begin()
	delete(r.midiPorts, port)
	for _, in := range r.midiIns {
		in.at = max(in.at, frame, r.pumped)
		in.gone(r, port)
		delete(in.hears, port)
	}
	if r.ended(nil) {
		r.record(Input{Frame: frame, Source: port, Port: &PortInput{Name: port}})
	}
}

// wireMIDI takes over another patch. A module that stays plays on, with the
// keys that it holds; one that is new learns where wheels and pedals stand.
func (r *Rack) wireMIDI() {
	was := map[instrument.ModuleID]*midiInput{}
	for _, in := range r.midiIns {
		was[in.id] = in
	}
	r.midiIns = nil
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if m.ID.Kind() != kindMIDIIn {
			continue
		}
		in, h := was[m.ID], r.compiler.Handle(m.ID)
		if in == nil || in.handle != h {
			in = &midiInput{id: m.ID, handle: h, set: midiInSettingsOf(m), hears: map[string]bool{}, mpe: map[string]*midi.MPEIn{}, at: r.pumped}
			in.join(r)
			in.showPorts(r)
		} else {
			in.turned(r, midiInSettingsOf(m))
		}
		r.midiIns = append(r.midiIns, in)
	}
	r.wireMIDIOut()
}

// turned takes over how the module stands now.
func (in *midiInput) turned(r *Rack, now midiInSettings) {
	if now == in.set {
		return
	}
	was := in.set
	in.at = max(in.at, r.pumped)
	if now.port != was.port || now.channel != was.channel || now.mode != was.mode || now.voices != was.voices {
		// Its keys may never be heard to come up.
		in.end(r, func(midiKey) bool { return true })
		in.silenceMPE()
		clear(in.hears)
	}
	in.set = now
	if now.port != was.port && in.song.known && !in.hear(in.song.port) {
		in.song = midiSong{}
	}
	if now.bend != was.bend && now.mode != instrument.MIDIMPE {
		for i := range in.voices {
			if v := &in.voices[i]; v.used {
				if p := r.midiPorts[v.from.port]; p != nil {
					in.voice(r, i, midiJack.bend, in.bendVolts(p.bend[v.from.channel]))
				}
			}
		}
	}
	in.showPorts(r)
}

// midiTurned takes over that a knob or a word of a MIDI module is another.
func (r *Rack) midiTurned(id instrument.ModuleID) {
	switch id.Kind() {
	case kindMIDIIn:
		for _, in := range r.midiIns {
			if in.id == id {
				in.turned(r, midiInSettingsOf(r.patch.Module(id)))
			}
		}
	case kindMIDIOut:
		for _, out := range r.midiOuts {
			if out.id == id {
				out.turned(midiOutSettingsOf(r.patch.Module(id)))
			}
		}
	}
}

// takeBackMIDI lets the notes that are on their way to the engine fall as soon as
// they have risen.
func (r *Rack) takeBackMIDI() {
	for _, in := range r.midiIns {
		for i := range in.voices {
			if v := &in.voices[i]; v.at > r.meters.Frame {
				r.send(instrument.Event{Kind: instrument.EventLevel, Module: in.handle, Index: midiJack.gate, Channel: uint8(i), Frame: v.at})
				v.fell = v.at
			}
		}
	}
}

// panicMIDI ends every note that came in or went out; wheels, pedals and the song
// are where they are, and shown again.
func (r *Rack) panicMIDI() {
	for _, in := range r.midiIns {
		in.held = nil
		in.silenceMPE()
		for i := range in.voices {
			v := &in.voices[i]
			v.high, v.down = false, false
		}
		in.at = max(in.at, r.pumped)
		in.showPorts(r)
	}
	r.releaseOut()
}
