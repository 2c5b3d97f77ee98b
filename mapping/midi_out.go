package mapping

import (
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

const (
	// legatoMove is how far, in semitones, the pitch of a key that cannot be bent
	// goes until it is another key's: the half to the next and a hysteresis.
	legatoMove = 0.75
	// startAhead is how long, in seconds, a start comes before its first clock,
	// as MIDI wants it.
	startAhead = 0.001
)

// midiOutput is a MIDI Out module: what it has begun, it ends.
type midiOutput struct {
	id     instrument.ModuleID
	handle uint32
	set    midiOutSettings
	send   func(port string, m midi.Message, frame int64)
	voices [instrument.MaxPoly]midiOutVoice
	keys   [128]int // poly and mono: gates that hold each key
	mpe    midi.MPEOut
	bend   int // of the channel
	press  int
	volts  [instrument.MIDIControls]float64
	known  [instrument.MIDIControls]bool
	sent   [instrument.MIDIControls]int // −1 before any
	runs   bool
	begins bool  // run is to start the song, not to go on with it
	moved  bool  // a clock was sent since the start
	at     int64 // frame of the newest message
	buf    []midi.Message
}

// midiOutVoice is one channel of a MIDI Out's gate.
type midiOutVoice struct {
	on    bool
	key   int
	volts [instrument.MIDIOutCC]float64 // by input
}

// midiOutSettings is how a MIDI Out stands.
type midiOutSettings struct {
	port                 string
	channel, mode        int // channel from 0
	bend                 int // semitones
	upper                bool
	members, memberRange int
	cc14, mute           bool
	numbers              [instrument.MIDIControls]int
}

func midiOutSettingsOf(m *instrument.Module) midiOutSettings {
	v := func(name string) int { return int(m.Value(name)) }
	s := midiOutSettings{port: m.Word("port"), channel: v("channel") - 1, mode: v("mode"), bend: v("bend_range"), upper: v("zone") == 1,
		members: v("members"), memberRange: v("member_range"), cc14: v("cc14") != 0, mute: v("mute") != 0}
	if s.mode == instrument.MIDIMPE {
		s.channel = midi.Master(s.upper)
	}
	for i := range s.numbers {
		s.numbers[i] = v(numberParams[i])
	}
	return s
}

// begin makes the output ready as it stands, and tells the receiver what it
// must know.
func (o *midiOutput) begin() {
	config := midi.NewMPEConfig(0, 0)
	if o.set.mode == instrument.MIDIMPE {
		config.Set(o.set.upper, o.set.members)
		zone := &config.Lower
		if o.set.upper {
			zone = &config.Upper
		}
		zone.MemberBend = float64(o.set.memberRange)
	}
	o.mpe.Init(config, o.set.upper)
	o.bend, o.press = 0, 0
	for i := range o.sent {
		o.sent[i] = -1
	}
	o.introduce(o.set.port)
}

// introduce tells a receiver of bend ranges, zones and controllers. Those that
// know already are not told: a zone that is told of ends its notes.
func (o *midiOutput) introduce(port string) {
	all := o.set
	o.set.port = port
	switch o.set.mode {
	case instrument.MIDIMPE:
		o.emitAll(o.mpe.Configure(o.buf[:0]), o.at)
	case instrument.MIDIMono:
		o.emitAll(midi.AppendRPN(o.buf[:0], o.set.channel, midi.RPNBendRange, o.set.bend<<7), o.at)
	}
	for k := range o.known {
		o.sent[k] = -1
		o.control(k, o.at)
	}
	o.set = all
}

// emit sends a message; a frame before that of the last is that frame.
func (o *midiOutput) emit(m midi.Message, frame int64) {
	o.at = max(o.at, frame)
	if !o.set.mute && o.send != nil {
		o.send(o.set.port, m, o.at)
	}
}

func (o *midiOutput) emitAll(all []midi.Message, frame int64) {
	o.buf = all
	for _, m := range all {
		o.emit(m, frame)
	}
}

// sampled takes what an input reads.
func (o *midiOutput) sampled(input, channel int, volts float64, frame int64) {
	if math.IsNaN(volts) || math.IsInf(volts, 0) || channel >= len(o.voices) {
		return
	}
	if input >= instrument.MIDIOutCC {
		if k := input - instrument.MIDIOutCC; k < instrument.MIDIControls {
			o.volts[k], o.known[k] = volts, true
			o.control(k, frame)
		}
		return
	}
	v := &o.voices[channel]
	v.volts[input] = volts
	if !v.on {
		return
	}
	id := uint64(channel) + 1
	switch input {
	case instrument.MIDIOutPitch:
		if o.set.mode == instrument.MIDIMPE {
			o.emitAll(o.mpe.Pitch(o.buf[:0], id, v.pitch()), frame)
		} else {
			o.slide(v, frame)
		}
	case instrument.MIDIOutPressure:
		if o.set.mode == instrument.MIDIMPE {
			o.emitAll(o.mpe.Pressure(o.buf[:0], id, sevenBits(volts)), frame)
		} else {
			o.pressure(frame)
		}
	case instrument.MIDIOutTimbre:
		if o.set.mode == instrument.MIDIMPE {
			o.emitAll(o.mpe.Timbre(o.buf[:0], id, sevenBits(volts)), frame)
		}
	}
}

// pitch is where a voice is, as MIDI counts notes.
func (v *midiOutVoice) pitch() float64 { return middleC + 12*v.volts[instrument.MIDIOutPitch] }

// sevenBits is what a voltage is of 0…127.
func sevenBits(volts float64) int { return int(math.Round(min(max(volts, 0), 10) * 12.7)) }

// gated takes an edge of a gate.
func (o *midiOutput) gated(channel int, high bool, frame int64) {
	if channel >= len(o.voices) || o.set.mode == instrument.MIDIMono && channel > 0 {
		return
	}
	v := &o.voices[channel]
	if !high {
		o.off(channel, frame)
		return
	}
	if o.set.mute || v.on {
		return
	}
	velocity := max(sevenBits(v.volts[instrument.MIDIOutVelocity]), 1)
	if o.set.mode == instrument.MIDIMPE {
		all, ok := o.mpe.On(o.buf[:0], uint64(channel)+1, midi.MPEStart{Pitch: v.pitch(), Velocity: velocity,
			Pressure: sevenBits(v.volts[instrument.MIDIOutPressure]), Timbre: sevenBits(v.volts[instrument.MIDIOutTimbre])})
		v.on, v.key = ok, nearestKey(v.pitch())
		o.yield(channel, frame)
		o.emitAll(all, frame)
		return
	}
	v.on, v.key = true, nearestKey(v.pitch())
	o.bendTo(v, frame)
	o.pressure(frame)
	o.hold(v.key, velocity, frame)
}

// yield ends the note of the same key that had the same channel of MPE: where
// there are more notes than channels, some share one.
func (o *midiOutput) yield(channel int, frame int64) {
	mine, ok := o.mpe.Channel(uint64(channel) + 1)
	for c := range o.voices {
		v := &o.voices[c]
		if !ok || c == channel || !v.on || v.key != o.voices[channel].key {
			continue
		}
		if other, _ := o.mpe.Channel(uint64(c) + 1); other == mine {
			v.on = false
			for _, m := range o.mpe.Off(nil, uint64(c)+1, 64) {
				o.emit(m, frame)
			}
		}
	}
}

func nearestKey(pitch float64) int { return int(math.Round(min(max(pitch, 0), 127))) }

// hold begins a key. One that sounds already is struck again: it ends before.
func (o *midiOutput) hold(key, velocity int, frame int64) {
	if o.keys[key] > 0 {
		o.emit(midi.Off(o.set.channel, key, 64), frame)
	}
	o.keys[key]++
	o.emit(midi.On(o.set.channel, key, velocity), frame)
}

// letGo ends a key that nothing else holds.
func (o *midiOutput) letGo(key int, frame int64) {
	if o.keys[key]--; o.keys[key] == 0 {
		o.emit(midi.Off(o.set.channel, key, 64), frame)
	}
}

// off ends the note of a channel.
func (o *midiOutput) off(channel int, frame int64) {
	v := &o.voices[channel]
	if !v.on {
		return
	}
	v.on = false
	if o.set.mode == instrument.MIDIMPE {
		o.emitAll(o.mpe.Off(o.buf[:0], uint64(channel)+1, 64), frame)
		return
	}
	o.letGo(v.key, frame)
	o.pressure(frame)
}

// slide follows the pitch of a note that sounds: with the wheel where there is
// but one, else, and beyond the wheel's range, with another key, that is
// struck before the first ends.
func (o *midiOutput) slide(v *midiOutVoice, frame int64) {
	reach := legatoMove
	if o.set.mode == instrument.MIDIMono {
		reach = float64(o.set.bend)
	}
	if key := nearestKey(v.pitch()); key != v.key && math.Abs(v.pitch()-float64(v.key)) > reach {
		was := v.key
		v.key = key
		o.bendTo(v, frame)
		o.hold(key, max(sevenBits(v.volts[instrument.MIDIOutVelocity]), 1), frame)
		o.letGo(was, frame)
		return
	}
	o.bendTo(v, frame)
}

// bendTo moves the wheel of a mono voice to where its pitch is.
func (o *midiOutput) bendTo(v *midiOutVoice, frame int64) {
	if o.set.mode != instrument.MIDIMono {
		return
	}
	share := (v.pitch() - float64(v.key)) / float64(o.set.bend)
	if b := int(math.Round(min(max(share, -1), 1) * 8192)); min(b, 8191) != o.bend {
		o.bend = min(b, 8191)
		o.emit(midi.BendTo(o.set.channel, o.bend), frame)
	}
}

// pressure sends the highest pressure of the notes that sound.
func (o *midiOutput) pressure(frame int64) {
	high := 0
	for i := range o.voices {
		if v := &o.voices[i]; v.on {
			high = max(high, sevenBits(v.volts[instrument.MIDIOutPressure]))
		}
	}
	if high != o.press {
		o.press = high
		o.emit(midi.Pressure(o.set.channel, high), frame)
	}
}

// control sends a controller where it has moved.
func (o *midiOutput) control(k int, frame int64) {
	if !o.known[k] || o.set.mute {
		return
	}
	number, share := o.set.numbers[k], min(max(o.volts[k]/10, 0), 1)
	if o.set.cc14 && number < midi.CCFine {
		v := int(math.Round(share * 16383))
		if v == o.sent[k] {
			return
		}
		o.sent[k] = v
		o.emitAll(midi.AppendCC14(o.buf[:0], o.set.channel, number, v), frame)
		return
	}
	if v := int(math.Round(share * 127)); v != o.sent[k] {
		o.sent[k] = v
		o.emit(midi.CC(o.set.channel, number, v), frame)
	}
}

// transport takes an edge of the clock, of run or of reset.
func (o *midiOutput) transport(input int, high bool, frame int64, rate float64) {
	start := func() {
		o.emit(midi.RealTime(midi.Start), frame-int64(startAhead*rate))
		o.begins, o.moved = false, false
	}
	switch input {
	case instrument.MIDIOutClock:
		o.moved = true
		o.emit(midi.RealTime(midi.Clock), frame)
	case instrument.MIDIOutReset:
		switch {
		case !o.runs:
			if !o.begins {
				o.emit(midi.Position(0), frame)
			}
			o.begins = true
		case o.moved:
			o.emit(midi.RealTime(midi.Stop), frame-int64(startAhead*rate))
			start()
		}
	case instrument.MIDIOutRun:
		if high == o.runs {
			return
		}
		switch o.runs = high; {
		case !high:
			o.emit(midi.RealTime(midi.Stop), frame)
		case o.begins:
			start()
		default:
			o.emit(midi.RealTime(midi.Continue), frame-int64(startAhead*rate))
		}
	}
}

// release ends all that sounds.
func (o *midiOutput) release(frame int64) {
	for c := range o.voices {
		o.off(c, frame)
	}
}

// turned takes over how the module stands now.
func (o *midiOutput) turned(now midiOutSettings) {
	was := o.set
	if now == was {
		return
	}
	voices := now
	voices.cc14, voices.numbers = was.cc14, was.numbers
	if voices == was {
		o.set = now
		for k := range o.known {
			o.sent[k] = -1
			o.control(k, o.at)
		}
		return
	}
	o.release(o.at)
	if was.mode == instrument.MIDIMono {
		o.emit(midi.BendTo(was.channel, 0), o.at)
	}
	if o.runs && (now.mute || now.port != was.port) {
		o.emit(midi.RealTime(midi.Stop), o.at)
	}
	o.set = now
	o.begin()
	if o.runs && (was.mute || now.port != was.port) {
		o.emit(midi.RealTime(midi.Continue), o.at)
	}
}

// wireMIDIOut takes over another patch: a module that is gone ends what it
// began.
func (r *Rack) wireMIDIOut() {
	old := r.midiOuts
	r.midiOuts = nil
	var fresh []*midiOutput
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if m.ID.Kind() != kindMIDIOut {
			continue
		}
		h := r.compiler.Handle(m.ID)
		if k := slices.IndexFunc(old, func(o *midiOutput) bool { return o.id == m.ID && o.handle == h }); k >= 0 {
			r.midiOuts = append(r.midiOuts, old[k])
			old = slices.Delete(old, k, k+1)
			r.midiOuts[len(r.midiOuts)-1].turned(midiOutSettingsOf(m))
			continue
		}
		o := &midiOutput{id: m.ID, handle: h, set: midiOutSettingsOf(m), send: r.sendMIDI, begins: true}
		r.midiOuts, fresh = append(r.midiOuts, o), append(fresh, o)
	}
	for _, o := range old {
		o.release(o.at)
		if o.runs {
			o.emit(midi.RealTime(midi.Stop), o.at)
		}
	}
	for _, o := range fresh {
		o.begin()
	}
}

// sendMIDI hands a message to who sends it.
func (r *Rack) sendMIDI(port string, m midi.Message, frame int64) {
	if r.MIDIOut != nil {
		r.MIDIOut(port, m, frame)
	}
}

// midiSaid takes what a MIDI Out tells of itself. Notes that began before a panic,
// and of which it tells after that, never begin.
func (r *Rack) midiSaid(e *instrument.Event) {
	for _, o := range r.midiOuts {
		if o.handle != e.Module {
			continue
		}
		switch {
		case e.Kind == instrument.EventSample:
			o.sampled(int(e.Index), int(e.Channel), float64(e.Value), e.Frame)
		case e.Kind != instrument.EventGate:
		case e.Index == instrument.MIDIOutGate && e.Value > 0 && r.obeyed != r.panics:
		case e.Index == instrument.MIDIOutGate:
			o.gated(int(e.Channel), e.Value > 0, e.Frame)
		default:
			o.transport(int(e.Index), e.Value > 0, e.Frame, r.cfg.SampleRate)
		}
	}
}

// PortCame takes over that a MIDI port was plugged in: the modules and rules
// that play it tell it what it must know.
func (r *Rack) PortCame(port string) {
	r.begin()
	for _, o := range r.midiOuts {
		if PortMatches(o.set.port, port) {
			o.introduce(port)
		}
	}
	r.outward.introduce(r, port)
	if r.ended(nil) {
		r.record(Input{Source: port, Port: &PortInput{Name: port, Came: true}})
	}
}

// releaseOut ends every note that sounds on other instruments.
func (r *Rack) releaseOut() {
	for _, o := range r.midiOuts {
		o.release(o.at)
	}
	r.outward.release(r)
}
