package rig

import "fmt"

// The gate and CV expanders of Expert Sleepers take their outputs from the bits of two digital
// channels. The bit layouts are those of the vendor's own published encoders (Pure Data and VCV Rack,
// 2014 and 2018).

// Frame is how the bytes of an expander's headers lie in the words of its two channels.
type Frame uint8

const (
	// ES5 has six headers: b0…b5 are left b0<<16|b1<<8|b2 and right b3<<16|b4<<8|b5.
	ES5 Frame = iota
	// ES40 has five, in the 20 bits of S/PDIF: left b0<<16|b1<<8|high nibble of b4<<4, right
	// b2<<16|b3<<8|low nibble of b4<<4.
	ES40
)

// Card is what is on a header.
type Card uint8

const (
	Gates Card = iota // eight gates, bit i is gate i: the ES-5's own sockets on header 1, or an ESX-8GT
	CVs               // an ESX-8CV: eight voltages of 12 bits
)

var (
	frameWords = []string{"es-5", "es-40"}
	cardWords  = []string{"esx-8gt", "esx-8cv"}
)

// String returns the word of rig files.
func (f Frame) String() string { return word(frameWords, int(f)) }

// Headers is how many headers there are.
func (f Frame) Headers() int {
	if f == ES40 {
		return 5
	}
	return 6
}

// String returns the word of rig files.
func (c Card) String() string { return word(cardWords, int(c)) }

const (
	cardSockets = 8
	// An ESX-8CV takes 2048 + 384·V, 12 bits.
	cvPerVolt = 384.0
	cvZero    = 2048
	cvTop     = 4095
	// cvMin and cvMax are its range in volts, −5.333…5.331.
	cvMin = -cvZero / cvPerVolt
	cvMax = (cvTop - cvZero) / cvPerVolt
	// cvCycle is how many frames pass until each of the eight has had its turn, three each.
	cvCycle = 3 * cardSockets
)

// Expander is a box of further outputs on two channels of the interface. It needs a device whose
// samples arrive as the words that were sent.
type Expander struct {
	Name     string
	Frame    Frame
	Channels [2]int // counted from 0
	// Cards has one for each header that something is on; Fitted says which.
	Cards  [6]Card
	Fitted [6]bool
}

// words packs the bytes of the headers into the two words, left-justified in 32 bits.
//
// Audio thread.
func (f Frame) words(b *[6]byte) (left, right int32) {
	if f == ES40 {
		l := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[4]&0xf0)
		r := uint32(b[2])<<16 | uint32(b[3])<<8 | uint32(b[4]<<4)
		return int32(l << 8), int32(r << 8)
	}
	l := uint32(b[0])<<16 | uint32(b[1])<<8 | uint32(b[2])
	r := uint32(b[3])<<16 | uint32(b[4])<<8 | uint32(b[5])
	return int32(l << 8), int32(r << 8)
}

// GateBits returns which bits of the words on a channel are gates: not those of an ESX-8CV, whose values
// span frames.
func (c *Case) GateBits(channel int) int32 {
	for i := range c.expand {
		e := &c.expand[i]
		var b [6]byte
		for h := range b {
			if e.Fitted[h] && e.Cards[h] == Gates {
				b[h] = 0xff
			}
		}
		left, right := e.Frame.words(&b)
		switch channel {
		case e.Channels[0]:
			return left
		case e.Channels[1]:
			return right
		}
	}
	return 0
}

// cvCode is the 12 bits of a voltage, to the nearest.
//
// Audio thread.
func cvCode(volts float32) uint32 {
	v := float64(volts)*cvPerVolt + cvZero + 0.5
	switch {
	case !(v > 0):
		return 0
	case v >= cvTop+1:
		return cvTop
	}
	return uint32(v)
}

// cvStream is where the three frames a value and the eight values of an ESX-8CV are.
type cvStream struct {
	part, socket uint8
	code         uint32
}

// next is the byte of one frame; code is asked for the 12 bits of a socket once in three.
//
// Audio thread.
func (s *cvStream) next(volts *[cardSockets]float32) (b byte) {
	switch s.part {
	case 0:
		s.code = cvCode(volts[s.socket])
		b = 0x80 | byte(s.code&0x1f)
		s.part = 1
	case 1:
		b = byte(s.code >> 5 & 0x1f)
		s.part = 2
	default:
		b = 0x20 | byte(s.code>>10) | s.socket&3<<2
		if s.socket > 3 {
			b = 0x40 | byte(s.code>>10) | s.socket&3<<2
		}
		s.part, s.socket = 0, (s.socket+1)%cardSockets
	}
	return b
}

func (e *Expander) String() string {
	return fmt.Sprintf("%s on channels %d and %d", e.Frame, e.Channels[0]+1, e.Channels[1]+1)
}
