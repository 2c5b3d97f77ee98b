package mapping

import (
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// OutKind is what goes out to another instrument.
type OutKind uint8

// What rules send by MIDI.
const (
	OutNote OutKind = iota
	OutCC
	OutBend
	OutPressure
	OutProgram
)

// Out is what a rule sends to a MIDI port.
type Out struct {
	Kind OutKind
	// Port is a pattern, see PortMatches; empty is every port.
	Port string
	// Channel is 0…15. With MPE it is a member channel of the lower zone, 1…15,
	// that belongs to one pod; the receiver is told of the zone.
	Channel int
	MPE     bool
	// Of an OutNote: 0…127 with a fraction, which MPE bends to, 1…127, and
	// seconds.
	Note, Velocity, Duration float64
	// Number is the controller of an OutCC or the program of an OutProgram,
	// 0…127.
	Number int
	// Value is that of an OutCC or OutPressure, 0…127, or of an OutBend in
	// semitones, of which a channel has 2 each way and one of MPE 48.
	Value float64
}

// OutNotes is the notes that were begun on other instruments for a time: each
// gets its end, whatever else happens. It holds no more than one note a key of
// a channel of a port; the zero value holds none.
type OutNotes struct {
	notes   []outNote
	playing int
}

type outNote struct {
	port         string
	channel, key uint8
	over         bool // its end was told; what comes next comes after it
	began, ends  int64
}

// outMemory is for how many frames it is remembered when a note ended: what is
// told late is not played before that.
const outMemory = 1 << 16

// Play begins a note: channel 0…15, key 0…127, velocity 1…127, to last so many
// frames, at least one. One of the same key that sounds is ended first, at its
// own time or at the new one's, so that each note-on has one note-off.
func (n *OutNotes) Play(port string, channel, key, velocity int, frames, frame int64, emit func(port string, m midi.Message, frame int64)) {
	channel, key = channel&0x0f, key&0x7f
	i := slices.IndexFunc(n.notes, func(o outNote) bool {
		return int(o.key) == key && int(o.channel) == channel && o.port == port
	})
	if i < 0 {
		i = len(n.notes)
		n.notes = append(n.notes, outNote{port: port, channel: uint8(channel), key: uint8(key), over: true, ends: frame})
	}
	o := &n.notes[i]
	// What was told first is sent first, also where time went back.
	if o.over {
		frame = max(frame, o.ends)
		n.playing++
	} else {
		frame = max(frame, o.began)
		emit(port, midi.Off(channel, key, 64), min(o.ends, frame))
	}
	emit(port, midi.On(channel, key, min(max(velocity, 1), 127)), frame)
	o.over, o.began, o.ends = false, frame, frame+max(frames, 1)
}

// Pump ends the notes whose time is up to a frame, in the order of their ends.
func (n *OutNotes) Pump(frame int64, emit func(port string, m midi.Message, frame int64)) {
	for n.playing > 0 {
		next := -1
		for i := range n.notes {
			if o := &n.notes[i]; !o.over && o.ends <= frame && (next < 0 || o.ends < n.notes[next].ends) {
				next = i
			}
		}
		if next < 0 {
			break
		}
		n.end(&n.notes[next], emit)
	}
	if len(n.notes) > n.playing {
		n.notes = slices.DeleteFunc(n.notes, func(o outNote) bool { return o.over && o.ends+outMemory < frame })
	}
}

func (n *OutNotes) end(o *outNote, emit func(port string, m midi.Message, frame int64)) {
	o.over = true
	n.playing--
	emit(o.port, midi.Off(int(o.channel), int(o.key), 64), o.ends)
}

// Clear ends the notes of a channel at a frame, or as soon as they have begun.
func (n *OutNotes) Clear(port string, channel int, frame int64, emit func(port string, m midi.Message, frame int64)) {
	for i := range n.notes {
		if o := &n.notes[i]; !o.over && int(o.channel) == channel && o.port == port {
			o.ends = min(o.ends, max(frame, o.began))
			n.end(o, emit)
		}
	}
}

// Release ends all notes, each as soon as it has begun.
func (n *OutNotes) Release(emit func(port string, m midi.Message, frame int64)) {
	for i := range n.notes {
		if o := &n.notes[i]; !o.over {
			o.ends = o.began
			n.end(o, emit)
		}
	}
}

// Playing returns how many notes are yet to end.
func (n *OutNotes) Playing() int { return n.playing }

// outward is what rules play on other instruments.
type outward struct {
	notes OutNotes
	told  []outLevel // what ports were told, in the order in which it was first told
	zones []string   // ports that were told of the zone
	buf   []midi.Message
}

// outLevel is where a control of a port stands.
type outLevel struct {
	port            string
	kind            OutKind
	channel, number int
	value           int
	frame           int64
}

// outLevels is for how many controls it is remembered where they stand.
const outLevels = 4096

// outBend is how far the wheel of a channel is taken to bend, in semitones.
const outBend = midi.MPEMasterBend

// Send sends what a rule plays on another instrument, to be heard at a frame,
// 0 at once. A note ends when its time is over, and before that at a panic, a
// fade-out and another scene; after a panic there are none until Show.
func (r *Rack) Send(o Out, frame int64) {
	if o.Channel < 0 || o.Channel > 15 {
		return
	}
	for _, v := range []float64{o.Note, o.Velocity, o.Duration, o.Value} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return
		}
	}
	if frame = r.board.inTime(frame); frame <= 0 {
		frame = r.pumped
	}
	w := &r.outward
	if o.MPE && !slices.Contains(w.zones, o.Port) {
		if len(w.zones) >= midiPorts {
			return
		}
		w.zones = append(w.zones, o.Port)
		w.configure(r, o.Port, frame)
	}
	switch o.Kind {
	case OutNote:
		if r.board.dark {
			return
		}
		if r.board.grid.inTime {
			o.Note = r.board.scale.Nearest(o.Note)
		}
		key := nearestKey(o.Note)
		if o.MPE {
			// The channel's bend is the new note's.
			w.notes.Clear(o.Port, o.Channel, frame, r.sendMIDI)
			w.level(r, outLevel{o.Port, OutBend, o.Channel, 0, bendOf(o.Note-float64(key), midi.MPEMemberBend), frame})
		}
		w.notes.Play(o.Port, o.Channel, key, int(math.Round(o.Velocity)), int64(min(max(o.Duration, 0), 3600)*r.cfg.SampleRate), frame, r.sendMIDI)
	case OutCC:
		w.level(r, outLevel{o.Port, OutCC, o.Channel, o.Number & 0x7f, sevenOf(o.Value), frame})
	case OutBend:
		span := float64(outBend)
		if o.MPE {
			span = midi.MPEMemberBend
		}
		w.level(r, outLevel{o.Port, OutBend, o.Channel, 0, bendOf(o.Value, span), frame})
	case OutPressure:
		w.level(r, outLevel{o.Port, OutPressure, o.Channel, 0, sevenOf(o.Value), frame})
	case OutProgram:
		r.sendMIDI(o.Port, midi.Program(o.Channel, o.Number&0x7f), frame)
	}
}

// configure tells a port that all of its channels are one zone.
func (w *outward) configure(r *Rack, port string, frame int64) {
	w.buf = midi.NewMPEConfig(15, 0).Append(w.buf[:0])
	for _, m := range w.buf {
		r.sendMIDI(port, m, frame)
	}
}

func sevenOf(v float64) int { return int(math.Round(min(max(v, 0), 127))) }

func bendOf(semitones, span float64) int {
	return int(min(math.Round(min(max(semitones/span, -1), 1)*8192), 8191))
}

// level sends where a control is, if it was elsewhere, and remembers it.
func (w *outward) level(r *Rack, l outLevel) {
	i := slices.IndexFunc(w.told, func(o outLevel) bool {
		return o.port == l.port && o.kind == l.kind && o.channel == l.channel && o.number == l.number
	})
	switch {
	case i >= 0 && w.told[i].value == l.value:
		return
	case i >= 0:
		l.frame = max(l.frame, w.told[i].frame)
		w.told[i] = l
	case len(w.told) < outLevels:
		w.told = append(w.told, l)
	}
	r.sendMIDI(l.port, l.message(), l.frame)
}

func (l *outLevel) message() midi.Message {
	switch l.kind {
	case OutBend:
		return midi.BendTo(l.channel, l.value)
	case OutPressure:
		return midi.Pressure(l.channel, l.value)
	}
	return midi.CC(l.channel, l.number, l.value)
}

// introduce tells a port that was plugged in what it has missed.
func (w *outward) introduce(r *Rack, port string) {
	for _, z := range w.zones {
		if PortMatches(z, port) {
			w.configure(r, port, 0)
			break
		}
	}
	for i := range w.told {
		if l := &w.told[i]; PortMatches(l.port, port) {
			r.sendMIDI(port, l.message(), 0)
		}
	}
}

// release ends all notes.
func (w *outward) release(r *Rack) { w.notes.Release(r.sendMIDI) }

// pump ends the notes whose time is near.
func (w *outward) pump(r *Rack, frame int64) {
	w.notes.Pump(frame+int64(noteAhead*r.cfg.SampleRate), r.sendMIDI)
}
