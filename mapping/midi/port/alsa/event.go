//go:build linux

package alsa

import (
	"encoding/binary"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

var native = binary.NativeEndian

// encode appends the event of a message that is not exclusive, from one of our
// ports to whoever is subscribed to it. It reports false for a message that the
// sequencer does not know.
func encode(b []byte, port uint8, m midi.Message) ([]byte, bool) {
	var e [eventSize]byte
	e[3] = queueDirect
	e[13] = port
	e[14], e[15] = addressSubscribers, addressUnknown
	d, channel := m.Data, byte(m.Channel())
	param, value := uint32(d[1]), int32(d[2])
	switch m.Kind() {
	case midi.NoteOn:
		e[0], e[16], e[17], e[18] = evNoteOn, channel, d[1], d[2]
		return append(b, e[:]...), true
	case midi.NoteOff:
		e[0], e[16], e[17], e[18] = evNoteOff, channel, d[1], d[2]
		return append(b, e[:]...), true
	case midi.PolyPressure:
		e[0], e[16], e[17], e[18] = evKeyPressure, channel, d[1], d[2]
		return append(b, e[:]...), true
	case midi.ControlChange:
		e[0] = evController
	case midi.ProgramChange:
		e[0], param, value = evProgram, 0, int32(d[1])
	case midi.ChannelPressure:
		e[0], param, value = evPressure, 0, int32(d[1])
	case midi.PitchBend:
		e[0], param, value = evBend, 0, int32(m.Bend())
	case midi.SongPosition:
		e[0], channel, param, value = evSongPosition, 0, 0, int32(midi.Value14(d[2], d[1]))
	case midi.SongSelect:
		e[0], channel, param, value = evSongSelect, 0, 0, int32(d[1])
	case midi.QuarterFrame:
		e[0], channel, param, value = evQuarterFrame, 0, 0, int32(d[1])
	default:
		k, ok := plain[m.Status()]
		if !ok {
			return b, false
		}
		e[0] = k
		return append(b, e[:]...), true
	}
	e[16] = channel
	native.PutUint32(e[20:], param)
	native.PutUint32(e[24:], uint32(value))
	return append(b, e[:]...), true
}

// plain are the events without data.
var plain = map[byte]byte{
	midi.TuneRequest: evTuneRequest, midi.Clock: evClock, midi.Start: evStart, midi.Continue: evContinue,
	midi.Stop: evStop, midi.ActiveSensing: evSensing, midi.SystemReset: evReset,
}

// bytesOf are the same from the other side.
var bytesOf = func() (t [256]byte) {
	for b, e := range plain {
		t[e] = b
	}
	return t
}()

// piece is how long a part of an exclusive message is sent at once, in bytes. The
// kernel copies to hardware in parts of 32; of a longer one it might take the
// beginning only, and say that it had no room.
const piece = 32

// exclusive appends the event of a part of an exclusive message.
func exclusive(b []byte, port uint8, part []byte) []byte {
	var e [eventSize]byte
	e[0], e[1], e[3] = evSysEx, evVariable, queueDirect
	e[13] = port
	e[14], e[15] = addressSubscribers, addressUnknown
	native.PutUint32(e[16:], uint32(len(part)))
	return append(append(b, e[:]...), part...)
}

// event is one that was read: its head, and the bytes that follow it.
type event struct {
	head []byte
	data []byte
}

// next takes one event off a buffer; ok is false at its end, and if it is cut.
func next(b []byte) (e event, rest []byte, ok bool) {
	if len(b) < eventSize {
		return event{}, nil, false
	}
	e.head, rest = b[:eventSize], b[eventSize:]
	if e.head[1]&evLength == evVariable {
		n := int(native.Uint32(e.head[16:]) & 0x3fffffff)
		padded := (n + eventSize - 1) / eventSize * eventSize
		if n > len(rest) {
			return event{}, nil, false
		}
		e.data, rest = rest[:n], rest[min(padded, len(rest)):]
	}
	return e, rest, true
}

// decode appends the bytes of an event, or none if it is no message.
func decode(b []byte, e event) []byte {
	h := e.head
	channel := h[16] & 15
	param, value := native.Uint32(h[20:]), int(int32(native.Uint32(h[24:])))
	cc := func(n, v int) { b = midi.CC(int(channel), n, v).Bytes(b) }
	switch h[0] {
	case evNote, evNoteOn:
		return midi.On(int(channel), int(h[17]), int(h[18])).Bytes(b)
	case evNoteOff:
		return midi.Off(int(channel), int(h[17]), int(h[18])).Bytes(b)
	case evKeyPressure:
		return midi.KeyPressure(int(channel), int(h[17]), int(h[18])).Bytes(b)
	case evController:
		cc(int(param), value)
	case evControl14:
		if cc(int(param), value>>7); param < 32 {
			cc(int(param)+midi.CCFine, value)
		}
	case evRPN, evNRPN:
		high, low := midi.CCRPN, midi.CCRPNFine
		if h[0] == evNRPN {
			high, low = midi.CCNRPN, midi.CCNRPNFine
		}
		cc(high, int(param>>7))
		cc(low, int(param))
		cc(midi.CCDataEntry, value>>7)
		cc(midi.CCDataEntry+midi.CCFine, value)
	case evProgram:
		return midi.Program(int(channel), value).Bytes(b)
	case evPressure:
		return midi.Pressure(int(channel), value).Bytes(b)
	case evBend:
		return midi.BendTo(int(channel), value).Bytes(b)
	case evSongPosition:
		return midi.Position(value).Bytes(b)
	case evSongSelect:
		return append(b, midi.SongSelect, byte(value&0x7f))
	case evQuarterFrame:
		return append(b, midi.QuarterFrame, byte(value&0x7f))
	case evSysEx:
		return append(b, e.data...)
	default:
		if c := bytesOf[h[0]]; c != 0 {
			return append(b, c)
		}
	}
	return b
}
