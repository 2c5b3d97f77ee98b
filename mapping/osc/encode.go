package osc

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
)

// AppendMessage appends the encoding of one message to dst and returns the
// longer slice. The address may be a pattern. On an error, which names the
// argument, dst is returned as it was.
func AppendMessage(dst []byte, address string, args ...Arg) ([]byte, error) {
	if err := checkAddressBytes(address); err != nil {
		return dst, err
	}
	start := len(dst)
	dst = append(dst, address...)
	dst = pad(dst, start)
	tags := len(dst)
	dst = append(dst, ',')
	for i := range args {
		dst = append(dst, args[i].tag)
	}
	dst = pad(dst, tags)
	depth := 0
	for i := range args {
		a := &args[i]
		switch a.tag {
		case TagInt32, TagFloat32, TagChar, TagRGBA, TagMIDI:
			dst = binary.BigEndian.AppendUint32(dst, uint32(a.bits))
		case TagInt64, TagFloat64, TagTime:
			dst = binary.BigEndian.AppendUint64(dst, a.bits)
		case TagTrue, TagFalse, TagNil, TagImpulse:
		case TagString, TagSymbol:
			if bytes.IndexByte(a.data, 0) >= 0 {
				return dst[:start], fmt.Errorf("osc: argument %d of %s: text holds a NUL, which OSC strings cannot; send a blob", i+1, address)
			}
			at := len(dst)
			dst = append(dst, a.data...)
			dst = pad(dst, at)
		case TagBlob:
			if len(a.data) > math.MaxInt32 {
				return dst[:start], fmt.Errorf("osc: argument %d of %s: blob of %d bytes, expected at most %d", i+1, address, len(a.data), math.MaxInt32)
			}
			dst = binary.BigEndian.AppendUint32(dst, uint32(len(a.data)))
			dst = append(dst, a.data...)
			for n := len(a.data); n%4 != 0; n++ {
				dst = append(dst, 0)
			}
		case TagArrayStart:
			if depth++; depth > MaxDepth {
				return dst[:start], fmt.Errorf("osc: argument %d of %s: arrays nested deeper than %d", i+1, address, MaxDepth)
			}
		case TagArrayEnd:
			if depth--; depth < 0 {
				return dst[:start], fmt.Errorf("osc: argument %d of %s: end of an array that was not opened", i+1, address)
			}
		default:
			return dst[:start], fmt.Errorf("osc: argument %d of %s: empty Arg, expected one made by a constructor", i+1, address)
		}
	}
	if depth != 0 {
		return dst[:start], fmt.Errorf("osc: arguments of %s: %d arrays are not closed", address, depth)
	}
	return dst, nil
}

// pad ends the string that began at dst[start] with 1 to 4 NULs.
func pad(dst []byte, start int) []byte {
	return append(dst, "\x00\x00\x00\x00"[(len(dst)-start)%4:]...)
}

// AppendBundle appends the head of a bundle; its elements follow by
// AppendElement.
func AppendBundle(dst []byte, t TimeTag) []byte {
	dst = append(dst, bundleHead...)
	return binary.BigEndian.AppendUint64(dst, uint64(t))
}

// AppendElement appends an encoded message or bundle to the bundle that dst
// ends with.
func AppendElement(dst, element []byte) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(element)))
	return append(dst, element...)
}

// checkAddressBytes applies the rules that Decode applies to an address.
func checkAddressBytes(address string) error {
	if address == "" || address[0] != '/' {
		return fmt.Errorf("osc: address %q: expected it to begin with '/'", address)
	}
	if len(address) > MaxAddress {
		return fmt.Errorf("osc: address of %d bytes, expected at most %d", len(address), MaxAddress)
	}
	for i := range len(address) {
		if c := address[i]; c <= ' ' || c > '~' || c == '#' {
			return fmt.Errorf("osc: address %q: byte %d is %#x, expected printable ASCII other than space and '#'", address, i, c)
		}
	}
	return nil
}
