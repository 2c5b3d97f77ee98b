package rtp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// rtpHeader is the size of an RTP header without sources and extension.
	rtpHeader = 12
	// payloadType is what AppleMIDI peers agree on without saying so. They
	// send it without the marker bit, and some refuse one.
	payloadType = 97
	// maxList is the longest MIDI list: its length has twelve bits.
	maxList = 0xfff
	// maxDelta is the largest delta time: four octets of seven bits.
	maxDelta = 1<<28 - 1
)

// Bits of the first octet of the MIDI command section (RFC 6295, 3).
const (
	flagLong    = 0x80 // B: the length has twelve bits
	flagJournal = 0x40 // J: a journal follows the list
	flagDelta   = 0x20 // Z: the first command has a delta time
	flagPhantom = 0x10 // P: its status octet was not in the source
)

var errShort = errors.New("packet ends early")

// packet is a decoded RTP packet. Its slices refer to the datagram.
type packet struct {
	seq       uint16
	timestamp uint32 // 100 µs each
	ssrc      uint32
	delta     bool // the first command has a delta time
	phantom   bool
	list      []byte
	journal   []byte // nil if there is none
}

// parsePacket decodes the headers of an RTP-MIDI packet.
func parsePacket(b []byte) (p packet, err error) {
	if len(b) < rtpHeader+1 {
		return p, errShort
	}
	if b[0]>>6 != 2 {
		return p, fmt.Errorf("RTP version %d; expected 2", b[0]>>6)
	}
	if b[1]&0x7f != payloadType {
		return p, fmt.Errorf("RTP payload type %d; expected %d", b[1]&0x7f, payloadType)
	}
	p.seq = binary.BigEndian.Uint16(b[2:])
	p.timestamp = binary.BigEndian.Uint32(b[4:])
	p.ssrc = binary.BigEndian.Uint32(b[8:])
	rest := b[rtpHeader:]
	if b[0]&0x20 != 0 { // padding; its last octet counts it
		n := int(rest[len(rest)-1])
		if n == 0 || n >= len(rest) {
			return p, errors.New("RTP padding of impossible size")
		}
		rest = rest[:len(rest)-n]
	}
	if n := 4 * int(b[0]&0x0f); n > 0 { // contributing sources
		if len(rest) < n {
			return p, errShort
		}
		rest = rest[n:]
	}
	if b[0]&0x10 != 0 { // header extension
		if len(rest) < 4 {
			return p, errShort
		}
		n := 4 + 4*int(binary.BigEndian.Uint16(rest[2:]))
		if len(rest) < n {
			return p, errShort
		}
		rest = rest[n:]
	}
	if len(rest) < 1 {
		return p, errShort
	}
	flags := rest[0]
	n := int(flags & 0x0f)
	rest = rest[1:]
	if flags&flagLong != 0 {
		if len(rest) < 1 {
			return p, errShort
		}
		n, rest = n<<8|int(rest[0]), rest[1:]
	}
	if len(rest) < n {
		return p, errShort
	}
	p.delta, p.phantom = flags&flagDelta != 0, flags&flagPhantom != 0
	p.list = rest[:n]
	if flags&flagJournal != 0 {
		p.journal = rest[n:]
	}
	return p, nil
}

// appendHeader begins a packet.
func appendHeader(dst []byte, seq uint16, timestamp, ssrc uint32) []byte {
	dst = append(dst, 0x80, payloadType)
	dst = binary.BigEndian.AppendUint16(dst, seq)
	dst = binary.BigEndian.AppendUint32(dst, timestamp)
	return binary.BigEndian.AppendUint32(dst, ssrc)
}

// appendSection adds a command section with the list, which has at most
// maxList octets. The journal has to follow if it is said to.
func appendSection(dst, list []byte, delta, phantom, journal bool) []byte {
	var flags byte
	if journal {
		flags |= flagJournal
	}
	if delta {
		flags |= flagDelta
	}
	if phantom {
		flags |= flagPhantom
	}
	if n := len(list); n > 0x0f {
		dst = append(dst, flags|flagLong|byte(n>>8), byte(n))
	} else {
		dst = append(dst, flags|byte(n))
	}
	return append(dst, list...)
}

// appendDelta adds a delta time of one to four octets. One that is too large
// is cut to the largest.
func appendDelta(dst []byte, d uint32) []byte {
	d = min(d, maxDelta)
	switch {
	case d >= 1<<21:
		dst = append(dst, 0x80|byte(d>>21), 0x80|byte(d>>14), 0x80|byte(d>>7))
	case d >= 1<<14:
		dst = append(dst, 0x80|byte(d>>14), 0x80|byte(d>>7))
	case d >= 1<<7:
		dst = append(dst, 0x80|byte(d>>7))
	}
	return append(dst, byte(d&0x7f))
}

// readDelta reads a delta time and returns what follows it.
func readDelta(b []byte) (d uint32, rest []byte, err error) {
	for i := 0; i < 4; i++ {
		if i >= len(b) {
			return 0, nil, errShort
		}
		d = d<<7 | uint32(b[i]&0x7f)
		if b[i] < 0x80 {
			return d, b[i+1:], nil
		}
	}
	return 0, nil, errors.New("delta time of more than four octets")
}

// dataLength returns how many data octets follow a status octet, −1 for those
// of a system exclusive command.
func dataLength(status byte) int {
	switch {
	case status < 0xc0, status >= 0xe0 && status < 0xf0, status == 0xf2:
		return 2
	case status < 0xe0, status == 0xf1, status == 0xf3:
		return 1
	case status == 0xf0, status == 0xf7:
		return -1
	}
	return 0
}

// commands calls each for the commands of a MIDI list, with the sum of their
// delta times. What it hands over is a whole message of one to three octets
// with its status, or a whole or a segment of a system exclusive one as it
// stands in the list (its first octet is 0xf0 or 0xf7); it is valid during the
// call only. Real-time octets inside a segment are handed over before it,
// though senders should not put them there. It returns an error at the first
// octet that fits nowhere; what came before it was handed over.
func commands(list []byte, delta bool, each func(time uint32, command []byte)) error {
	var (
		now     uint32
		running byte
		message [3]byte
	)
	for first := true; len(list) > 0; first = false {
		if !first || delta {
			d, rest, err := readDelta(list)
			if err != nil {
				return err
			}
			now, list = now+d, rest
			if len(list) == 0 { // the last command may be empty
				return nil
			}
		}
		status, start := list[0], list
		switch {
		case status < 0x80:
			if running == 0 {
				return fmt.Errorf("data octet %#02x without a status", status)
			}
			status = running
		case status >= 0xf8: // real-time leaves the running status
			message[0] = status
			each(now, message[:1])
			list = list[1:]
			continue
		default:
			list = list[1:]
			running = status
			if status >= 0xf0 {
				running = 0
			}
		}
		n := dataLength(status)
		if n < 0 {
			size, clean, err := segment(start)
			if err != nil {
				return err
			}
			if clean {
				each(now, start[:size:size])
			} else {
				whole := make([]byte, 0, size)
				for _, c := range start[:size] {
					if c >= 0xf8 {
						message[0] = c
						each(now, message[:1])
					} else {
						whole = append(whole, c)
					}
				}
				each(now, whole)
			}
			list = start[size:]
			continue
		}
		if len(list) < n {
			return errShort
		}
		message[0] = status
		for i, c := range list[:n] {
			if c >= 0x80 {
				return fmt.Errorf("status octet %#02x inside a command", c)
			}
			message[i+1] = c
		}
		each(now, message[:n+1])
		list = list[n:]
	}
	return nil
}

// segment returns the size of the system exclusive command or segment that b
// begins with, and whether no real-time octet is in it. It ends with 0xf7
// (whole, or the last one), 0xf0 (another one follows), 0xf4 (it is taken
// back) or 0xf5 (whole, but the source left 0xf7 out).
func segment(b []byte) (size int, clean bool, err error) {
	clean = true
	for i := 1; i < len(b); i++ {
		switch c := b[i]; {
		case c < 0x80:
		case c >= 0xf8:
			clean = false
		case c == 0xf0 || c == 0xf4 || c == 0xf5 || c == 0xf7:
			return i + 1, clean, nil
		default:
			return 0, false, fmt.Errorf("status octet %#02x inside a system exclusive segment", c)
		}
	}
	return 0, false, errors.New("system exclusive segment without an end")
}

// list builds a MIDI list.
type list struct {
	b       []byte
	running byte
	last    uint32 // time of the last command
	delta   bool   // the first one has a delta time
	any     bool
}

func (l *list) reset() { *l = list{b: l.b[:0]} }

// add appends a command at a time of the packet's clock, which must not be
// before that of the one added last. It uses the running status where it can.
func (l *list) add(base, at uint32, command []byte) {
	if !l.any {
		l.last = base
	}
	d := at - l.last
	if int32(d) < 0 {
		d = 0
	} else {
		l.last = at
	}
	if l.any || d > 0 {
		l.b = appendDelta(l.b, d)
		l.delta = l.delta || !l.any
	}
	l.any = true
	switch status := command[0]; {
	case status >= 0xf8:
	case status >= 0xf0:
		l.running = 0
	case status == l.running:
		command = command[1:]
	default:
		l.running = status
	}
	l.b = append(l.b, command...)
}

// segments cuts a whole system exclusive message into segments of at
// most size octets, and hands them over one after another.
func segments(message []byte, size int, each func(segment []byte)) {
	if len(message) <= size {
		each(message)
		return
	}
	data := message[1 : len(message)-1]
	part := make([]byte, 0, size)
	for first := true; len(data) > 0; first = false {
		n := min(len(data), size-2)
		head, tail := byte(0xf7), byte(0xf0)
		if first {
			head = 0xf0
		}
		if n == len(data) {
			tail = 0xf7
		}
		part = append(append(append(part[:0], head), data[:n]...), tail)
		each(part)
		data = data[n:]
	}
}
