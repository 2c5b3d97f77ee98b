package osc

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxPacket is the largest packet of a TCP connection or WebSocket, in
	// bytes; no datagram can be larger either.
	MaxPacket = 64 << 10
	// Special bytes of SLIP (RFC 1055).
	slipEnd    = 0xC0
	slipEsc    = 0xDB
	slipEscEnd = 0xDC
	slipEscEsc = 0xDD
)

// framing is how packets are told apart on a connection.
type framing uint8

const (
	framingUnknown framing = iota
	framingSize            // OSC 1.0: each packet after its size, an int32
	framingSLIP            // OSC 1.1: RFC 1055 with an END before and after
	framingMessage         // the connection does it: a WebSocket
)

// AppendSLIP appends a packet as SLIP carries it, with an END on both sides
// (OSC 1.1).
func AppendSLIP(dst, packet []byte) []byte {
	dst = append(dst, slipEnd)
	for {
		i := specialIndex(packet)
		dst = append(dst, packet[:i]...)
		if i == len(packet) {
			return append(dst, slipEnd)
		}
		if packet[i] == slipEnd {
			dst = append(dst, slipEsc, slipEscEnd)
		} else {
			dst = append(dst, slipEsc, slipEscEsc)
		}
		packet = packet[i+1:]
	}
}

// AppendSized appends a packet after its size, as TCP carries it in OSC 1.0.
func AppendSized(dst, packet []byte) []byte { return AppendElement(dst, packet) }

// specialIndex returns the index of the first END or ESC in b, or its length.
func specialIndex(b []byte) int {
	end := bytes.IndexByte(b, slipEnd)
	if end < 0 {
		end = len(b)
	}
	if esc := bytes.IndexByte(b[:end], slipEsc); esc >= 0 {
		return esc
	}
	return end
}

// errFraming says that nothing that follows on a connection can be trusted.
var errFraming = errors.New("osc: the stream cannot be cut into packets")

// framingOf tells the framing of a stream from its first byte: END begins SLIP,
// and so do '/' and '#', which begin a packet that has no END before it; as
// the first byte of a size they would mean a packet of more than 500 MB.
// Everything else is a size.
func framingOf(first byte) framing {
	if first == slipEnd || first == '/' || first == '#' {
		return framingSLIP
	}
	return framingSize
}

// framer cuts a stream into packets.
type framer struct {
	framing framing
	// packet takes each packet, which is valid during the call.
	packet func(b []byte)
	// broken takes what SLIP lost by a bad escape and recovered from.
	broken func(size int)

	buf     []byte // of the packet at hand
	escaped bool   // the latest byte was ESC
	skip    bool   // until the next END
}

// partial reports whether a packet has begun and is not complete.
func (f *framer) partial() bool { return len(f.buf) > 0 || f.escaped || f.skip }

// feed takes the next bytes of the stream. After an error, which wraps
// errFraming, the connection is of no more use.
func (f *framer) feed(b []byte) error {
	if f.framing == framingUnknown && len(b) > 0 {
		f.framing = framingOf(b[0])
	}
	if f.framing == framingSLIP {
		return f.feedSLIP(b)
	}
	return f.feedSized(b)
}

func (f *framer) feedSized(b []byte) error {
	for len(b) > 0 {
		if len(f.buf) == 0 && len(b) >= 4 {
			size, err := packetSize(b)
			if err != nil {
				return err
			}
			if len(b) >= 4+size { // the usual case: no copy
				f.packet(b[4 : 4+size])
				b = b[4+size:]
				continue
			}
		}
		if n := min(4-len(f.buf), len(b)); n > 0 {
			f.buf = append(f.buf, b[:n]...)
			b = b[n:]
		}
		if len(f.buf) < 4 {
			return nil
		}
		size, err := packetSize(f.buf)
		if err != nil {
			return err
		}
		n := min(4+size-len(f.buf), len(b))
		f.buf = append(f.buf, b[:n]...)
		b = b[n:]
		if len(f.buf) == 4+size {
			f.packet(f.buf[4:])
			f.buf = f.buf[:0]
		}
	}
	return nil
}

// packetSize reads the size before a packet.
func packetSize(b []byte) (int, error) {
	size := int(int32(binary.BigEndian.Uint32(b)))
	if size < 0 || size > MaxPacket {
		return 0, fmt.Errorf("%w: got a size of %d bytes, expected 0…%d, or SLIP from the first byte on", errFraming, size, MaxPacket)
	}
	return size, nil
}

func (f *framer) feedSLIP(b []byte) error {
	for len(b) > 0 {
		if f.escaped {
			f.escaped = false
			switch b[0] {
			case slipEscEnd:
				f.buf = append(f.buf, slipEnd)
			case slipEscEsc:
				f.buf = append(f.buf, slipEsc)
			default:
				f.skip = true
				continue // it may be the END
			}
			b = b[1:]
			continue
		}
		i := specialIndex(b)
		if f.skip {
			i = bytes.IndexByte(b, slipEnd)
			if i < 0 {
				return nil
			}
		} else {
			if len(f.buf)+i > MaxPacket {
				return fmt.Errorf("%w: more than %d bytes without an END", errFraming, MaxPacket)
			}
			f.buf = append(f.buf, b[:i]...)
		}
		if i == len(b) {
			return nil
		}
		special := b[i]
		b = b[i+1:]
		switch {
		case special == slipEsc:
			f.escaped = true
		case f.skip:
			f.broken(len(f.buf))
			f.skip, f.buf = false, f.buf[:0]
		case len(f.buf) > 0: // two ENDs in a row hold nothing
			f.packet(f.buf)
			f.buf = f.buf[:0]
		}
	}
	return nil
}
