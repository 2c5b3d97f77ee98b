package rtp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"
)

// The session protocol's commands, as they stand after the two octets of its
// signature.
const (
	cmdInvite   = "IN"
	cmdAccept   = "OK"
	cmdReject   = "NO"
	cmdEnd      = "BY"
	cmdClock    = "CK"
	cmdFeedback = "RS"
	cmdLimit    = "RL"
)

const (
	// sessionVersion is the protocol's only one.
	sessionVersion = 2
	// sessionSize is the size of an invitation and its answers, without name.
	sessionSize = 16
	clockSize   = 36
	// feedbackSize is that of RS and RL.
	feedbackSize = 12
	// maxName bounds the names that peers send.
	maxName = 128
)

// control is a decoded packet of the session protocol.
type control struct {
	command string
	token   uint32 // IN, OK, NO, BY
	ssrc    uint32
	name    string    // IN, OK; may be empty
	count   uint8     // CK: 0, 1, 2
	times   [3]uint64 // CK, 100 µs each
	value   uint32    // RS: sequence number; RL: bits per second
}

// isControl tells a packet of the session protocol from an RTP one, whose
// version bits differ.
func isControl(b []byte) bool { return len(b) >= 4 && b[0] == 0xff && b[1] == 0xff }

// parseControl decodes a packet of the session protocol.
func parseControl(b []byte) (c control, err error) {
	if !isControl(b) {
		return c, errors.New("no session packet")
	}
	switch string(b[2:4]) {
	case cmdInvite, cmdAccept, cmdReject, cmdEnd:
		if len(b) < sessionSize {
			return c, errShort
		}
		if v := binary.BigEndian.Uint32(b[4:]); v != sessionVersion {
			return c, fmt.Errorf("session protocol version %d; expected %d", v, sessionVersion)
		}
		c.token = binary.BigEndian.Uint32(b[8:])
		c.ssrc = binary.BigEndian.Uint32(b[12:])
		c.name = cleanName(b[sessionSize:])
	case cmdClock:
		if len(b) < clockSize {
			return c, errShort
		}
		c.ssrc = binary.BigEndian.Uint32(b[4:])
		if c.count = b[8]; c.count > 2 {
			return c, fmt.Errorf("clock count %d; expected 0 to 2", c.count)
		}
		for i := range c.times {
			c.times[i] = binary.BigEndian.Uint64(b[12+8*i:])
		}
	case cmdFeedback, cmdLimit:
		if len(b) < feedbackSize {
			return c, errShort
		}
		c.ssrc = binary.BigEndian.Uint32(b[4:])
		c.value = binary.BigEndian.Uint32(b[8:])
	default:
		return c, fmt.Errorf("session command %q; expected IN, OK, NO, BY, CK, RS or RL", b[2:4])
	}
	c.command = string(b[2:4])
	return c, nil
}

// append encodes the packet.
func (c control) append(dst []byte) []byte {
	dst = append(dst, 0xff, 0xff)
	dst = append(dst, c.command...)
	switch c.command {
	case cmdClock:
		dst = binary.BigEndian.AppendUint32(dst, c.ssrc)
		dst = append(dst, c.count, 0, 0, 0)
		for _, t := range c.times {
			dst = binary.BigEndian.AppendUint64(dst, t)
		}
	case cmdFeedback, cmdLimit:
		dst = binary.BigEndian.AppendUint32(dst, c.ssrc)
		dst = binary.BigEndian.AppendUint32(dst, c.value)
	default:
		dst = binary.BigEndian.AppendUint32(dst, sessionVersion)
		dst = binary.BigEndian.AppendUint32(dst, c.token)
		dst = binary.BigEndian.AppendUint32(dst, c.ssrc)
		if c.name != "" {
			dst = append(append(dst, c.name...), 0)
		}
	}
	return dst
}

// cleanName returns a peer's name up to its zero octet, fit to be shown: valid
// UTF-8, without control characters, of bounded length.
func cleanName(b []byte) string {
	for i, c := range b {
		if c == 0 {
			b = b[:i]
			break
		}
	}
	name := strings.TrimSpace(strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(string(b), "�")))
	for len(name) > maxName {
		_, n := utf8.DecodeLastRuneInString(name)
		name = name[:len(name)-n]
	}
	return strings.TrimSpace(name)
}
