package osc

import (
	"encoding/hex"
	"math"
	"strconv"
)

// Type tags of OSC 1.0 and 1.1.
const (
	TagInt32      = 'i'
	TagFloat32    = 'f'
	TagString     = 's'
	TagBlob       = 'b'
	TagInt64      = 'h'
	TagTime       = 't'
	TagFloat64    = 'd'
	TagSymbol     = 'S'
	TagChar       = 'c'
	TagRGBA       = 'r'
	TagMIDI       = 'm'
	TagTrue       = 'T'
	TagFalse      = 'F'
	TagNil        = 'N'
	TagImpulse    = 'I' // "infinitum" in OSC 1.0
	TagArrayStart = '['
	TagArrayEnd   = ']'
)

// knownTags is quoted in errors.
const knownTags = "one of the type tags i f s b h t d S c r m T F N I [ ]"

// Arg is one argument. The text or blob of a decoded Arg points into the
// packet and is valid only as long as the packet is; Text copies.
type Arg struct {
	tag  byte
	bits uint64 // the number, as its own type's bits
	data []byte // s, S and b
}

// Int32 returns an argument of type i.
func Int32(v int32) Arg { return Arg{tag: TagInt32, bits: uint64(uint32(v))} }

// Float32 returns an argument of type f.
func Float32(v float32) Arg { return Arg{tag: TagFloat32, bits: uint64(math.Float32bits(v))} }

// Int64 returns an argument of type h.
func Int64(v int64) Arg { return Arg{tag: TagInt64, bits: uint64(v)} }

// Float64 returns an argument of type d.
func Float64(v float64) Arg { return Arg{tag: TagFloat64, bits: math.Float64bits(v)} }

// String returns an argument of type s. OSC strings cannot hold a NUL;
// encoding one that does is an error.
func String(v string) Arg { return Arg{tag: TagString, data: []byte(v)} }

// Symbol returns an argument of type S.
func Symbol(v string) Arg { return Arg{tag: TagSymbol, data: []byte(v)} }

// Blob returns an argument of type b that refers to v.
func Blob(v []byte) Arg { return Arg{tag: TagBlob, data: v} }

// Time returns an argument of type t.
func Time(v TimeTag) Arg { return Arg{tag: TagTime, bits: uint64(v)} }

// Char returns an argument of type c, an ASCII character.
func Char(v byte) Arg { return Arg{tag: TagChar, bits: uint64(v)} }

// RGBA returns an argument of type r: red in the top byte, alpha in the lowest.
func RGBA(v uint32) Arg { return Arg{tag: TagRGBA, bits: uint64(v)} }

// MIDI returns an argument of type m: port id, status, data 1, data 2, from
// the top byte down.
func MIDI(v uint32) Arg { return Arg{tag: TagMIDI, bits: uint64(v)} }

// Bool returns an argument of type T or F.
func Bool(v bool) Arg {
	if v {
		return Arg{tag: TagTrue}
	}
	return Arg{tag: TagFalse}
}

// Nil returns an argument of type N.
func Nil() Arg { return Arg{tag: TagNil} }

// Impulse returns an argument of type I, a bang.
func Impulse() Arg { return Arg{tag: TagImpulse} }

// ArrayStart opens an array, which ends with the matching ArrayEnd.
func ArrayStart() Arg { return Arg{tag: TagArrayStart} }

// ArrayEnd closes an array.
func ArrayEnd() Arg { return Arg{tag: TagArrayEnd} }

// Tag returns the type tag.
func (a Arg) Tag() byte { return a.tag }

// Number returns the value of i, f, h, d, T (1) or F (0), and whether the
// argument is one of these. An h beyond 2⁵³ is rounded.
func (a Arg) Number() (float64, bool) {
	switch a.tag {
	case TagInt32:
		return float64(int32(a.bits)), true
	case TagFloat32:
		return float64(math.Float32frombits(uint32(a.bits))), true
	case TagInt64:
		return float64(int64(a.bits)), true
	case TagFloat64:
		return math.Float64frombits(a.bits), true
	case TagTrue:
		return 1, true
	case TagFalse:
		return 0, true
	}
	return 0, false
}

// Float returns the value of a number, and 0 for anything else.
func (a Arg) Float() float64 {
	v, _ := a.Number()
	return v
}

// Int returns the value of i, h or c exactly, that of another number rounded
// to the nearest integer, and 0 for anything else.
func (a Arg) Int() int64 {
	switch a.tag {
	case TagInt32, TagChar:
		return int64(int32(a.bits))
	case TagInt64:
		return int64(a.bits)
	}
	return int64(math.Round(a.Float()))
}

// Bool reports whether the argument is T or a number other than 0.
func (a Arg) Bool() bool { return a.Float() != 0 }

// Bits returns the 32 bits of r and m, and the bit pattern of any other
// argument of a fixed size.
func (a Arg) Bits() uint64 { return a.bits }

// TimeTag returns the value of t.
func (a Arg) TimeTag() TimeTag { return TimeTag(a.bits) }

// Bytes returns the bytes of s, S or b without copying them.
func (a Arg) Bytes() []byte { return a.data }

// Text returns a copy of the bytes of s or S.
func (a Arg) Text() string { return string(a.data) }

// String returns the value for a log or an error.
func (a Arg) String() string {
	switch a.tag {
	case TagInt32, TagInt64:
		return strconv.FormatInt(a.Int(), 10)
	case TagFloat32:
		return strconv.FormatFloat(a.Float(), 'g', -1, 32)
	case TagFloat64:
		return strconv.FormatFloat(a.Float(), 'g', -1, 64)
	case TagString, TagSymbol:
		return strconv.Quote(string(a.data))
	case TagBlob:
		return strconv.Itoa(len(a.data)) + "-byte blob"
	case TagChar:
		return strconv.QuoteRune(rune(a.bits))
	case TagRGBA, TagMIDI:
		return "0x" + hex.EncodeToString([]byte{byte(a.bits >> 24), byte(a.bits >> 16), byte(a.bits >> 8), byte(a.bits)})
	case TagTime:
		if a.TimeTag().Immediate() {
			return "immediately"
		}
		return a.TimeTag().Time().UTC().Format("2006-01-02T15:04:05.000000000Z")
	case TagTrue:
		return "true"
	case TagFalse:
		return "false"
	case TagNil:
		return "nil"
	case TagImpulse:
		return "impulse"
	case TagArrayStart, TagArrayEnd:
		return string(rune(a.tag))
	}
	return "no argument"
}
