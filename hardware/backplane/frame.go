package backplane

// Framing is how payloads lie in a stream of bytes.
type Framing uint8

const (
	// Serial is for USB serial ports and UARTs: byte stuffing (COBS) between
	// zeros.
	Serial Framing = iota
	// SysEx is for MIDI: exclusive messages, seven bits to the byte.
	SysEx
)

const (
	// MaxPayload is the longest payload in bytes, without its check.
	MaxPayload = 112
	// MaxFrame is the most bytes that a payload takes in a stream, of either
	// framing.
	MaxFrame = len(sysExHeader) + checked + (checked+6)/7 + 1

	checkSize = 4
	checked   = MaxPayload + checkSize
)

const (
	sysExStart = 0xf0
	sysExEnd   = 0xf7
	realTime   = 0xf8 // and above: may stand in the middle of anything
)

// sysExHeader begins an exclusive message of ours: 0x7d is the manufacturer of
// prototypes and teaching, K8 are we.
const sysExHeader = "\xf0\x7dK8"

// Append appends one payload as a frame. It does not allocate where dst has
// room for MaxFrame more. A payload longer than MaxPayload is not sent.
func Append(f Framing, dst, payload []byte) []byte {
	if len(payload) > MaxPayload {
		return dst
	}
	if f == SysEx {
		return appendSysEx(dst, payload)
	}
	return appendSerial(dst, payload)
}

// at is byte i of a payload followed by its check.
func at(payload []byte, check uint32, i int) byte {
	if i < len(payload) {
		return payload[i]
	}
	return byte(check >> (8 * (i - len(payload))))
}

// appendSerial writes zero, the stuffed bytes, zero. Zeros at both ends let one
// that is damaged cost the frame before it only.
func appendSerial(dst, payload []byte) []byte {
	check := Check(payload)
	dst = append(dst, 0, 0)
	code := len(dst) - 1
	for i := range len(payload) + checkSize {
		if b := at(payload, check, i); b != 0 {
			dst = append(dst, b)
			continue
		}
		dst[code] = byte(len(dst) - code)
		code = len(dst)
		dst = append(dst, 0)
	}
	dst[code] = byte(len(dst) - code)
	return append(dst, 0)
}

// appendSysEx writes groups of up to seven bytes, each behind a byte with their
// top bits, the first byte's lowest.
func appendSysEx(dst, payload []byte) []byte {
	check := Check(payload)
	dst = append(dst, sysExHeader...)
	top := 0
	for i := range len(payload) + checkSize {
		if i%7 == 0 {
			top = len(dst)
			dst = append(dst, 0)
		}
		b := at(payload, check, i)
		dst[top] |= b >> 7 << (i % 7)
		dst = append(dst, b&0x7f)
	}
	return append(dst, sysExEnd)
}

// Decoder finds the frames in a stream of bytes. Whatever comes between them,
// or in their place, costs no more than the frames it damages. The zero value
// reads Serial.
type Decoder struct {
	Framing Framing
	// Good counts frames, Bad those that were damaged. Both wrap.
	Good, Bad uint32

	buf  [MaxFrame]byte
	n    int
	skip bool // until the next frame begins
	in   bool // an exclusive message of ours, or the beginning of one
}

// Reset forgets the frame that is under way.
func (d *Decoder) Reset() { d.n, d.skip, d.in = 0, false, false }

// Push takes one byte and returns the payload that it completes, or nil. The
// payload is valid until the next Push.
func (d *Decoder) Push(b byte) []byte {
	if d.Framing == SysEx {
		return d.pushSysEx(b)
	}
	if b != 0 {
		switch {
		case d.skip:
		case d.n == len(d.buf):
			d.skip = true
		default:
			d.buf[d.n] = b
			d.n++
		}
		return nil
	}
	n, skip := d.n, d.skip
	d.n, d.skip = 0, false
	if skip {
		d.Bad++
		return nil
	}
	if n == 0 {
		return nil // between two frames
	}
	return d.judge(d.unstuff(n))
}

// unstuff takes the stuffing out of n bytes in place, and returns how many are
// left, or -1.
func (d *Decoder) unstuff(n int) int {
	to := 0
	for from := 0; from < n; {
		code := int(d.buf[from])
		if from+code > n {
			return -1
		}
		if from > 0 {
			d.buf[to] = 0
			to++
		}
		for i := from + 1; i < from+code; i++ {
			d.buf[to] = d.buf[i]
			to++
		}
		from += code
	}
	return to
}

func (d *Decoder) pushSysEx(b byte) []byte {
	switch {
	case b >= realTime:
		return nil
	case b == sysExStart:
		d.broken()
		d.in, d.n, d.skip = true, 1, false
		return nil
	case !d.in:
		return nil
	case b == sysExEnd:
		n, skip := d.n, d.skip
		if n < len(sysExHeader) { // of somebody else
			d.Reset()
			return nil
		}
		d.Reset()
		if skip {
			d.Bad++
			return nil
		}
		return d.judge(d.unpack(n - len(sysExHeader)))
	case b >= 0x80:
		d.broken()
		d.Reset()
		return nil
	case d.skip:
		return nil
	case d.n < len(sysExHeader):
		if b != sysExHeader[d.n] {
			d.Reset()
			return nil
		}
		d.n++
		return nil
	case d.n-len(sysExHeader) == len(d.buf):
		d.skip = true
		return nil
	}
	d.buf[d.n-len(sysExHeader)] = b
	d.n++
	return nil
}

// broken counts an exclusive message of ours that something cut short.
func (d *Decoder) broken() {
	if d.in && d.n >= len(sysExHeader) {
		d.Bad++
	}
}

// unpack turns n bytes of seven bits into bytes in place, and returns how many,
// or -1.
func (d *Decoder) unpack(n int) int {
	to := 0
	for from := 0; from < n; from += 8 {
		top := d.buf[from]
		group := min(7, n-from-1)
		if group == 0 || top>>group != 0 {
			return -1
		}
		for i := range group {
			d.buf[to] = d.buf[from+1+i] | top>>i&1<<7
			to++
		}
	}
	return to
}

// judge returns the payload of n decoded bytes, if their check is right.
func (d *Decoder) judge(n int) []byte {
	if n <= checkSize || n > checked {
		d.Bad++
		return nil
	}
	payload := d.buf[:n-checkSize]
	check := Check(payload)
	for i := n - checkSize; i < n; i++ {
		if d.buf[i] != at(payload, check, i) {
			d.Bad++
			return nil
		}
	}
	d.Good++
	return payload
}

// checkTable is CRC-32 of half a byte, polynomial 0xedb88320.
var checkTable = [16]uint32{
	0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4, 0x4db26158, 0x5005713c,
	0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c, 0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c,
}

// Check is the CRC-32 of IEEE 802.3, as in Ethernet and zip. Sixteen bits would
// let one damaged frame in 65536 pass, which is one in a bad evening.
func Check(b []byte) uint32 {
	c := ^uint32(0)
	for _, x := range b {
		c ^= uint32(x)
		c = c>>4 ^ checkTable[c&15]
		c = c>>4 ^ checkTable[c&15]
	}
	return ^c
}
