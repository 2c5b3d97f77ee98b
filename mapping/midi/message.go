package midi

import "fmt"

// Status bytes of channel messages, with channel 0 in the low nibble, and of
// system messages (MIDI 1.0 Detailed Specification 4.2).
const (
	NoteOff         = 0x80
	NoteOn          = 0x90
	PolyPressure    = 0xa0
	ControlChange   = 0xb0
	ProgramChange   = 0xc0
	ChannelPressure = 0xd0
	PitchBend       = 0xe0

	SysExStart    = 0xf0
	QuarterFrame  = 0xf1
	SongPosition  = 0xf2
	SongSelect    = 0xf3
	TuneRequest   = 0xf6
	SysExEnd      = 0xf7
	Clock         = 0xf8
	Start         = 0xfa
	Continue      = 0xfb
	Stop          = 0xfc
	ActiveSensing = 0xfe
	SystemReset   = 0xff
)

// Controllers that have a meaning of their own.
const (
	CCBank       = 0
	CCModulation = 1
	CCDataEntry  = 6
	CCVolume     = 7
	CCPan        = 10
	CCExpression = 11
	// CCFine is added to a controller 0…31 for its low seven bits.
	CCFine            = 32
	CCSustain         = 64
	CCTimbre          = 74 // the third dimension of MPE
	CCDataIncrement   = 96
	CCDataDecrement   = 97
	CCNRPNFine        = 98
	CCNRPN            = 99
	CCRPNFine         = 100
	CCRPN             = 101
	CCAllSoundOff     = 120
	CCResetAll        = 121
	CCLocalControl    = 122
	CCAllNotesOff     = 123
	CCOmniOff         = 124
	CCOmniOn          = 125
	CCMonoOn          = 126
	CCPolyOn          = 127
	channels          = 16
	firstModeMessages = CCAllSoundOff
)

// Message is one whole MIDI message, as a plain value: three bytes at most, or
// a system exclusive one, whose bytes it refers to.
type Message struct {
	// Data holds the bytes of a message that is not system exclusive, Size how
	// many there are: 1 to 3. A Size of 0 is a system exclusive message, or, if
	// SysEx is empty, none.
	Data [3]byte
	Size uint8
	// SysEx holds a whole system exclusive message from its 0xf0 to its 0xf7.
	SysEx []byte
}

// Status returns the first byte; of a channel message with its channel.
func (m Message) Status() byte {
	if m.Size == 0 {
		if len(m.SysEx) == 0 {
			return 0
		}
		return m.SysEx[0]
	}
	return m.Data[0]
}

// Kind returns the status byte without the channel of a channel message.
func (m Message) Kind() byte {
	if s := m.Status(); s >= SysExStart {
		return s
	} else {
		return s & 0xf0
	}
}

// Channel returns the channel of a channel message, 0…15; of another it means
// nothing.
func (m Message) Channel() int { return int(m.Data[0] & 0x0f) }

// IsChannel tells whether it is a channel message.
func (m Message) IsChannel() bool { return m.Size > 0 && m.Data[0] < SysExStart }

// IsRealTime tells whether it is a system real-time message, which may stand
// between the bytes of any other.
func (m Message) IsRealTime() bool { return m.Size > 0 && m.Data[0] >= Clock }

// IsNoteOn tells whether it begins a note: a note-on of velocity 0 ends one.
func (m Message) IsNoteOn() bool { return m.Kind() == NoteOn && m.Data[2] > 0 }

// IsNoteOff tells whether it ends a note.
func (m Message) IsNoteOff() bool {
	return m.Kind() == NoteOff || m.Kind() == NoteOn && m.Data[2] == 0
}

// Bytes appends the message to dst.
func (m Message) Bytes(dst []byte) []byte {
	if m.Size == 0 {
		return append(dst, m.SysEx...)
	}
	return append(dst, m.Data[:m.Size]...)
}

// Value14 joins two data bytes, the high one first: 0…16383.
func Value14(high, low byte) int { return int(high&0x7f)<<7 | int(low&0x7f) }

// Bend returns the position of a pitch bend, −8192…8191.
func (m Message) Bend() int { return Value14(m.Data[2], m.Data[1]) - 8192 }

// short returns a channel message of two data bytes.
func short(status byte, channel int, a, b int) Message {
	return Message{Data: [3]byte{status | byte(channel&0x0f), byte(a & 0x7f), byte(b & 0x7f)}, Size: 3}
}

// On returns a note-on. Channels count from 0; data are cut to seven bits.
func On(channel, note, velocity int) Message { return short(NoteOn, channel, note, velocity) }

// Off returns a note-off with a release velocity.
func Off(channel, note, velocity int) Message { return short(NoteOff, channel, note, velocity) }

// CC returns a control change.
func CC(channel, controller, value int) Message {
	return short(ControlChange, channel, controller, value)
}

// Program returns a program change.
func Program(channel, program int) Message {
	return Message{Data: [3]byte{ProgramChange | byte(channel&0x0f), byte(program & 0x7f)}, Size: 2}
}

// Pressure returns the pressure of a whole channel.
func Pressure(channel, value int) Message {
	return Message{Data: [3]byte{ChannelPressure | byte(channel&0x0f), byte(value & 0x7f)}, Size: 2}
}

// KeyPressure returns the pressure of one key.
func KeyPressure(channel, note, value int) Message {
	return short(PolyPressure, channel, note, value)
}

// BendTo returns a pitch bend to a position of −8192…8191.
func BendTo(channel, position int) Message {
	v := min(max(position, -8192), 8191) + 8192
	return short(PitchBend, channel, v&0x7f, v>>7)
}

// Position returns a song position pointer, in sixteenths since the start:
// 0…16383.
func Position(sixteenths int) Message {
	v := min(max(sixteenths, 0), 16383)
	return Message{Data: [3]byte{SongPosition, byte(v & 0x7f), byte(v >> 7)}, Size: 3}
}

// RealTime returns a message of one byte: Clock, Start, Continue, Stop,
// ActiveSensing, SystemReset or TuneRequest.
func RealTime(status byte) Message { return Message{Data: [3]byte{status}, Size: 1} }

// String describes the message for a log: "note on ch 1 key 60 velocity 100".
func (m Message) String() string {
	d, ch := m.Data, m.Channel()+1
	switch m.Kind() {
	case 0:
		return "nothing"
	case NoteOff:
		return fmt.Sprintf("note off ch %d key %d velocity %d", ch, d[1], d[2])
	case NoteOn:
		return fmt.Sprintf("note on ch %d key %d velocity %d", ch, d[1], d[2])
	case PolyPressure:
		return fmt.Sprintf("key pressure ch %d key %d value %d", ch, d[1], d[2])
	case ControlChange:
		return fmt.Sprintf("cc ch %d number %d value %d", ch, d[1], d[2])
	case ProgramChange:
		return fmt.Sprintf("program ch %d number %d", ch, d[1])
	case ChannelPressure:
		return fmt.Sprintf("channel pressure ch %d value %d", ch, d[1])
	case PitchBend:
		return fmt.Sprintf("pitch bend ch %d value %d", ch, m.Bend())
	case SysExStart:
		return fmt.Sprintf("system exclusive, %d bytes", len(m.SysEx))
	case QuarterFrame:
		return fmt.Sprintf("quarter frame %#02x", d[1])
	case SongPosition:
		return fmt.Sprintf("song position %d", Value14(d[2], d[1]))
	case SongSelect:
		return fmt.Sprintf("song select %d", d[1])
	case TuneRequest:
		return "tune request"
	case Clock:
		return "clock"
	case Start:
		return "start"
	case Continue:
		return "continue"
	case Stop:
		return "stop"
	case ActiveSensing:
		return "active sensing"
	case SystemReset:
		return "system reset"
	}
	return fmt.Sprintf("% x", d[:m.Size])
}
