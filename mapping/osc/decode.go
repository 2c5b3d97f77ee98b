package osc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strconv"
)

const (
	// MaxAddress is the longest address or address pattern, in bytes. It
	// bounds the time that matching can take.
	MaxAddress = 1023
	// MaxDepth is how deep bundles, and arrays, may be nested.
	MaxDepth = 8
)

// bundleHead opens every bundle: an OSC string.
const bundleHead = "#bundle\x00"

// bundleHeadSize is the size of the head and the time tag.
const bundleHeadSize = len(bundleHead) + 8

// DecodeError says where a packet is malformed and what belongs there.
type DecodeError struct {
	Offset   int    // in bytes from the start of the datagram
	Found    string // what is there
	Expected string
	value    int // appended to Found unless negative
}

// Error returns the offset, what is there and what was expected.
func (e *DecodeError) Error() string {
	found := e.Found
	if e.value >= 0 {
		found += " " + strconv.Itoa(e.value)
	}
	return fmt.Sprintf("osc: offset %d: found %s, expected %s", e.Offset, found, e.Expected)
}

func malformed(offset int, found, expected string) error {
	return &DecodeError{Offset: offset, Found: found, Expected: expected, value: -1}
}

func malformedValue(offset int, found string, value int, expected string) error {
	return &DecodeError{Offset: offset, Found: found, Expected: expected, value: value}
}

// Message is a view of one OSC message inside the packet that it was decoded
// from; it is valid only as long as the packet's bytes are not overwritten.
// The zero Message has no address and no arguments.
type Message struct {
	address []byte
	tags    []byte // without the comma
	data    []byte // the arguments' bytes, checked against tags
}

// Address returns the address pattern, without copying it.
func (m *Message) Address() []byte { return m.address }

// Tags returns the type tags without their comma, without copying them.
func (m *Message) Tags() []byte { return m.tags }

// Decode makes m a view of the message that fills the packet. It checks
// everything, so that reading arguments afterwards cannot fail. The error is
// a *DecodeError; m is then unchanged. A message without any type tag string,
// as old senders write it, is taken as one without arguments (OSC 1.0 asks
// receivers to be robust there).
func (m *Message) Decode(packet []byte) error { return m.decode(packet, 0) }

// decode is Decode for a message that begins at offset base of a datagram.
func (m *Message) decode(b []byte, base int) error {
	if len(b) == 0 {
		return malformed(base, "nothing", "an address that begins with '/'")
	}
	if len(b)%4 != 0 {
		return malformedValue(base, "a message of size", len(b), "a multiple of 4 bytes")
	}
	if b[0] != '/' {
		return malformedValue(base, "byte", int(b[0]), "an address that begins with '/'")
	}
	address, at, err := paddedString(b, 0, base)
	if err != nil {
		return err
	}
	if len(address) > MaxAddress {
		return malformedValue(base, "an address of size", len(address), "at most 1023 bytes")
	}
	for i, c := range address {
		if c <= ' ' || c > '~' || c == '#' {
			return malformedValue(base+i, "byte", int(c), "a printable ASCII character other than space and '#' in the address")
		}
	}
	if at == len(b) {
		*m = Message{address: address}
		return nil
	}
	if b[at] != ',' {
		return malformedValue(base+at, "byte", int(b[at]), "type tags that begin with ','")
	}
	tags, at, err := paddedString(b, at, base)
	if err != nil {
		return err
	}
	tags = tags[1:]
	data := b[at:]
	end, err := checkArgs(b, tags, at, base)
	if err != nil {
		return err
	}
	if end != len(b) {
		return malformedValue(base+end, "bytes that no type tag names:", len(b)-end, "the end of the message")
	}
	*m = Message{address: address, tags: tags, data: data}
	return nil
}

// checkArgs walks over the arguments that begin at b[at] and returns where
// they end.
func checkArgs(b, tags []byte, at, base int) (int, error) {
	depth := 0
	for _, tag := range tags {
		size := 0
		switch tag {
		case TagInt32, TagFloat32, TagChar, TagRGBA, TagMIDI:
			size = 4
		case TagInt64, TagFloat64, TagTime:
			size = 8
		case TagTrue, TagFalse, TagNil, TagImpulse:
		case TagString, TagSymbol:
			_, next, err := paddedString(b, at, base)
			if err != nil {
				return 0, err
			}
			at = next
		case TagBlob:
			if len(b)-at < 4 {
				return 0, malformed(base+at, "the end of the message", "the size of a blob")
			}
			n := int(int32(binary.BigEndian.Uint32(b[at:])))
			if n < 0 || n > len(b)-at-4 {
				return 0, malformed(base+at, "a blob size that is negative or beyond the message", "a blob inside the message")
			}
			end := at + 4 + n
			next := (end + 3) &^ 3 // within b: its length is a multiple of 4
			for i := end; i < next; i++ {
				if b[i] != 0 {
					return 0, malformedValue(base+i, "byte", int(b[i]), "zero padding after the blob")
				}
			}
			at = next
		case TagArrayStart:
			if depth++; depth > MaxDepth {
				return 0, malformed(base+at, "arrays nested too deep", "at most 8 levels")
			}
		case TagArrayEnd:
			if depth--; depth < 0 {
				return 0, malformed(base+at, "the end of an array that was not opened", "'[' before ']' in the type tags")
			}
		default:
			return 0, malformedValue(base+at, "an unknown type tag, byte", int(tag), knownTags)
		}
		if size > len(b)-at {
			return 0, malformedValue(base+at, "the end of the message, short by bytes:", size-(len(b)-at), "an argument")
		}
		at += size
	}
	if depth != 0 {
		return 0, malformed(base+at, "the end of the type tags inside an array", "']'")
	}
	return at, nil
}

// paddedString returns the OSC string at b[at:], without its NULs, and where
// the next thing begins. The length of b is a multiple of 4.
func paddedString(b []byte, at, base int) ([]byte, int, error) {
	n := bytes.IndexByte(b[at:], 0)
	if n < 0 {
		return nil, 0, malformed(base+len(b), "the end of the message", "the NUL that ends a string")
	}
	end := at + n
	next := end&^3 + 4
	for i := end + 1; i < next; i++ {
		if b[i] != 0 {
			return nil, 0, malformedValue(base+i, "byte", int(b[i]), "zero padding after the string")
		}
	}
	return b[at:end], next, nil
}

// Args is an iterator over the arguments of a message.
type Args struct{ tags, data []byte }

// Args returns an iterator that stands before the first argument.
func (m *Message) Args() Args { return Args{tags: m.tags, data: m.data} }

// Next returns the next argument, and false at the end. Arrays appear as
// their brackets.
func (it *Args) Next() (a Arg, ok bool) {
	ok = it.read(&a)
	return a, ok
}

// read is Next for an a that is zero.
func (it *Args) read(a *Arg) bool {
	if len(it.tags) == 0 {
		return false
	}
	a.tag = it.tags[0]
	it.tags = it.tags[1:]
	switch a.tag {
	case TagInt32, TagFloat32, TagChar, TagRGBA, TagMIDI:
		a.bits = uint64(binary.BigEndian.Uint32(it.data))
		it.data = it.data[4:]
	case TagInt64, TagFloat64, TagTime:
		a.bits = binary.BigEndian.Uint64(it.data)
		it.data = it.data[8:]
	case TagString, TagSymbol:
		n := bytes.IndexByte(it.data, 0)
		a.data = it.data[:n:n]
		it.data = it.data[n&^3+4:]
	case TagBlob:
		n := int(binary.BigEndian.Uint32(it.data))
		a.data = it.data[4 : 4+n : 4+n]
		it.data = it.data[(4+n+3)&^3:]
	}
	return true
}

// AppendArgs appends all arguments to dst, which may be reused.
func (m *Message) AppendArgs(dst []Arg) []Arg {
	it := m.Args()
	for range it.tags {
		dst = append(dst, Arg{})
		it.read(&dst[len(dst)-1])
	}
	return dst
}

// IsBundle reports whether the packet is a bundle, by its first byte.
func IsBundle(packet []byte) bool { return len(packet) > 0 && packet[0] == '#' }

// Walk calls visit for each message of a packet, which is a message or a
// bundle, in order and with the time tag that applies to it: that of the
// latest of the bundles around it, Immediately outside any bundle. The whole
// packet is checked first: after an error, a *DecodeError, visit has not been
// called. The Message that visit gets is m, decoded anew each time.
func Walk(packet []byte, m *Message, visit func(m *Message, raw []byte, t TimeTag)) error {
	if !IsBundle(packet) {
		if err := m.Decode(packet); err != nil {
			return err
		}
		visit(m, packet, Immediately)
		return nil
	}
	if err := walkBundle(packet, 0, 1, Immediately, m, nil); err != nil {
		return err
	}
	return walkBundle(packet, 0, 1, Immediately, m, visit)
}

func walkBundle(b []byte, base, depth int, outer TimeTag, m *Message, visit func(*Message, []byte, TimeTag)) error {
	if depth > MaxDepth {
		return malformed(base, "bundles nested too deep", "at most 8 levels")
	}
	if len(b) < bundleHeadSize || string(b[:len(bundleHead)]) != bundleHead {
		return malformed(base, "something else", "\"#bundle\", a NUL and a time tag of 8 bytes")
	}
	tag := later(outer, TimeTag(binary.BigEndian.Uint64(b[len(bundleHead):])))
	for at := bundleHeadSize; at < len(b); {
		if len(b)-at < 4 {
			return malformed(base+at, "the end of the bundle", "the size of an element")
		}
		size := int(int32(binary.BigEndian.Uint32(b[at:])))
		at += 4
		if size <= 0 || size%4 != 0 || size > len(b)-at {
			return malformedValue(base+at-4, "an element of size", size, "a positive multiple of 4 inside the bundle")
		}
		element := b[at : at+size]
		if IsBundle(element) {
			if err := walkBundle(element, base+at, depth+1, tag, m, visit); err != nil {
				return err
			}
		} else {
			if err := m.decode(element, base+at); err != nil {
				return err
			}
			if visit != nil {
				visit(m, element, tag)
			}
		}
		at += size
	}
	return nil
}
