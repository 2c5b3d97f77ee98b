package rtp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Chapters of a channel journal, as bits of its table of contents, in the
// order in which they follow it (RFC 6295, 5.2 and appendix A).
const (
	chapterP = 0x80 // program change
	chapterC = 0x40 // control change
	chapterM = 0x20 // parameters
	chapterW = 0x10 // pitch wheel
	chapterN = 0x08 // notes
	chapterE = 0x04 // release velocities and counts of notes
	chapterT = 0x02 // channel pressure
	chapterA = 0x01 // key pressure
)

// Chapters of the system journal (appendix B).
const (
	chapterD = 0x40 // reset, tune request, song select, undefined commands
	chapterV = 0x20 // active sensing
	chapterQ = 0x10 // sequencer
	chapterF = 0x08 // time code
	chapterX = 0x04 // system exclusive
)

// How a log of chapter C codes its controller.
const (
	toolValue = iota
	toolToggle
	toolCount
)

// Fields of a log of chapter M.
const (
	fieldMSB     = 0x80 // J
	fieldLSB     = 0x40 // K
	fieldSteps   = 0x20 // L: the A button
	fieldCSteps  = 0x10 // M: the C button
	fieldCount   = 0x08 // N
	toolMCount   = 0x04 // T
	toolMValue   = 0x02 // V
	maxJournal   = 0x3ff
	journalHead  = 3
	maxLogs      = 128
	exclusiveEnd = 3 // STA of a log of chapter X: the message has ended
)

// journal is a decoded recovery journal. In all its parts s is the S bit: true
// where nothing of the packet before this one is coded.
type journal struct {
	s          bool
	checkpoint uint16
	system     *systemJournal
	channels   []channelJournal

	room systemJournal // that system points to after parse
}

type channelJournal struct {
	s        bool
	channel  uint8
	enhanced bool  // H
	has      uint8 // chapters

	program struct {
		s              bool
		value          uint8
		bank, bankFine uint8
		hasBank, reset bool
	}
	controlsS bool
	controls  []controlLog
	params    struct {
		s           bool
		pending     bool
		pendingNRPN bool
		pendingHigh uint8
		selected    bool // E: the last log is of the selected parameter
		logs        []paramLog
	}
	wheelS    bool
	wheel     uint16
	offS      bool // B: no note-off in the packet before this one
	notes     []noteLog
	off       [16]uint8 // a bit for each note, the lowest in the highest bit
	extrasS   bool
	extras    []extraLog
	pressureS bool
	pressure  uint8
	keysS     bool
	keys      []keyLog
}

type controlLog struct {
	s      bool
	number uint8
	tool   uint8
	value  uint8
}

type paramLog struct {
	s          bool
	nrpn       bool
	number     uint16
	fields     uint8
	msb, lsb   uint8
	msbX, lsbX bool // a reset of controllers came after it
	steps      int16
	stepsX     bool
	cSteps     int16
	count      uint8
	countX     bool
}

type noteLog struct {
	s        bool
	note     uint8
	play     bool // Y: it is recent enough to be played now
	velocity uint8
}

type extraLog struct {
	s        bool
	note     uint8
	velocity bool // value is a release velocity, else a count
	value    uint8
}

type keyLog struct {
	s     bool
	note  uint8
	reset bool // X: a command that resets it came after it
	value uint8
}

type countLog struct {
	s     bool
	has   bool
	value uint8
}

type systemJournal struct {
	s   bool
	has uint8

	simpleS           bool
	reset, tune, song countLog
	sensing           countLog
	sequencer         struct {
		s               bool
		running, played bool
		hasPosition     bool
		position        uint32
		hasTime         bool
		time            uint32
	}
	timecode struct {
		s                       bool
		hasComplete, hasPartial bool
		quarters, reverse       bool
		point                   uint8
		complete, partial       uint32
	}
	exclusives []exclusiveLog
}

type exclusiveLog struct {
	s        bool
	hasType  bool
	typed    uint8 // TCOUNT
	hasCount bool
	count    uint8
	first    uint32 // octets of the message before data
	hasFirst bool
	data     []byte // without 0xf0 and 0xf7
	hasData  bool
	listed   bool
	status   uint8 // 0 unfinished, 1 cancelled, 2 ended without 0xf7, 3 ended
}

// reader takes a journal apart. After the first octet that is missing all it
// returns is zero, and short is set.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) u8() uint8 {
	if len(r.b) < 1 {
		r.short = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) u16() uint16 { return uint16(r.u8())<<8 | uint16(r.u8()) }
func (r *reader) u32() uint32 { return uint32(r.u16())<<16 | uint32(r.u16()) }

// take returns a reader of the next n octets.
func (r *reader) take(n int) reader {
	if n < 0 || n > len(r.b) {
		r.short = true
		r.b = nil
		return reader{short: true}
	}
	t := reader{b: r.b[:n:n]}
	r.b = r.b[n:]
	return t
}

// parse decodes a journal, into the memory of the one decoded before. What
// follows it is ignored.
func (j *journal) parse(b []byte) error {
	r := reader{b: b}
	head := r.u8()
	j.s, j.checkpoint, j.system = head&0x80 != 0, r.u16(), nil
	all := j.channels[:cap(j.channels)]
	j.channels = all[:0]
	if r.short {
		return errShort
	}
	if head&0x40 != 0 {
		if len(r.b) < 2 {
			return errShort
		}
		n := int(binary.BigEndian.Uint16(r.b)) & maxJournal
		if n < 2 {
			return fmt.Errorf("system journal of %d octets; expected 2 at least", n)
		}
		part := r.take(n)
		if r.short {
			return errShort
		}
		if err := j.room.parse(&part); err != nil {
			return err
		}
		j.system = &j.room
	}
	if head&0x20 == 0 {
		return nil
	}
	last := -1
	for range int(head&0x0f) + 1 {
		if len(r.b) < 3 {
			return errShort
		}
		n := int(binary.BigEndian.Uint16(r.b)) & maxJournal
		if n < 3 {
			return fmt.Errorf("channel journal of %d octets; expected 3 at least", n)
		}
		part := r.take(n)
		if r.short {
			return errShort
		}
		if len(j.channels) == len(all) {
			all = append(all, channelJournal{})
		}
		j.channels = all[:len(j.channels)+1]
		c := &j.channels[len(j.channels)-1]
		if err := c.parse(&part); err != nil {
			return err
		}
		if int(c.channel) <= last {
			return errors.New("channel journals out of order")
		}
		last = int(c.channel)
	}
	return nil
}

// clear empties it but keeps the memory of its lists.
func (c *channelJournal) clear() {
	controls, params, notes, extras, keys := c.controls[:0], c.params.logs[:0], c.notes[:0], c.extras[:0], c.keys[:0]
	*c = channelJournal{}
	c.controls, c.params.logs, c.notes, c.extras, c.keys = controls, params, notes, extras, keys
}

func (c *channelJournal) parse(r *reader) error {
	c.clear()
	head := r.u16()
	c.s, c.channel, c.enhanced = head&0x8000 != 0, uint8(head>>11)&0x0f, head&0x400 != 0
	c.has = r.u8()
	if c.has&chapterP != 0 {
		a, b, d := r.u8(), r.u8(), r.u8()
		p := &c.program
		p.s, p.value = a >= 0x80, a&0x7f
		p.hasBank, p.bank = b >= 0x80, b&0x7f
		p.reset, p.bankFine = d >= 0x80, d&0x7f
	}
	if c.has&chapterC != 0 {
		n := r.u8()
		c.controlsS = n >= 0x80
		for range int(n&0x7f) + 1 {
			a, b := r.u8(), r.u8()
			l := controlLog{s: a >= 0x80, number: a & 0x7f, value: b & 0x7f}
			if b >= 0x80 {
				l.tool, l.value = toolToggle, b&0x3f
				if b&0x40 != 0 {
					l.tool = toolCount
				}
			}
			c.controls = append(c.controls, l)
		}
	}
	if c.has&chapterM != 0 {
		if err := c.parseParams(r); err != nil {
			return err
		}
	}
	if c.has&chapterW != 0 {
		a, b := r.u8(), r.u8()
		c.wheelS, c.wheel = a >= 0x80, uint16(a&0x7f)|uint16(b&0x7f)<<7
	}
	if c.has&chapterN != 0 {
		if err := c.parseNotes(r); err != nil {
			return err
		}
	}
	if c.has&chapterE != 0 {
		n := r.u8()
		c.extrasS = n >= 0x80
		for range int(n&0x7f) + 1 {
			a, b := r.u8(), r.u8()
			c.extras = append(c.extras, extraLog{a >= 0x80, a & 0x7f, b >= 0x80, b & 0x7f})
		}
	}
	if c.has&chapterT != 0 {
		a := r.u8()
		c.pressureS, c.pressure = a >= 0x80, a&0x7f
	}
	if c.has&chapterA != 0 {
		n := r.u8()
		c.keysS = n >= 0x80
		for range int(n&0x7f) + 1 {
			a, b := r.u8(), r.u8()
			c.keys = append(c.keys, keyLog{a >= 0x80, a & 0x7f, b >= 0x80, b & 0x7f})
		}
	}
	if r.short {
		return errShort
	}
	return nil
}

func (c *channelJournal) parseParams(all *reader) error {
	head := all.u16()
	n := int(head) & maxJournal
	if all.short {
		return errShort
	}
	if n < 2 {
		return fmt.Errorf("chapter M of %d octets; expected 2 at least", n)
	}
	r := all.take(n - 2)
	p := &c.params
	p.s, p.selected = head&0x8000 != 0, head&0x2000 != 0
	if head&0x4000 != 0 {
		a := r.u8()
		p.pending, p.pendingNRPN, p.pendingHigh = true, a >= 0x80, a&0x7f
	}
	allRPN, allNRPN, low := head&0x1000 != 0, head&0x0800 != 0, head&0x0400 != 0
	for len(r.b) > 0 {
		a := r.u8()
		l := paramLog{s: a >= 0x80, number: uint16(a & 0x7f), nrpn: allNRPN && !allRPN}
		if !low || !allRPN && !allNRPN {
			a = r.u8()
			l.nrpn, l.number = a >= 0x80, l.number|uint16(a&0x7f)<<7
		}
		l.fields = r.u8()
		if l.fields&fieldMSB != 0 {
			a = r.u8()
			l.msbX, l.msb = a >= 0x80, a&0x7f
		}
		if l.fields&fieldLSB != 0 {
			a = r.u8()
			l.lsbX, l.lsb = a >= 0x80, a&0x7f
		}
		if l.fields&fieldSteps != 0 {
			w := r.u16()
			l.steps, l.stepsX = signed(w), w&0x4000 != 0
		}
		if l.fields&fieldCSteps != 0 {
			l.cSteps = signed(r.u16())
		}
		if l.fields&fieldCount != 0 {
			a = r.u8()
			l.countX, l.count = a >= 0x80, a&0x7f
		}
		if r.short {
			return errShort
		}
		p.logs = append(p.logs, l)
	}
	if r.short {
		return errShort
	}
	return nil
}

// signed reads a button field: a sign and fourteen bits.
func signed(w uint16) int16 {
	if w&0x8000 != 0 {
		return -int16(w & 0x3fff)
	}
	return int16(w & 0x3fff)
}

func (c *channelJournal) parseNotes(r *reader) error {
	a, b := r.u8(), r.u8()
	c.offS = a >= 0x80
	n, low, high := int(a&0x7f), int(b>>4), int(b&0x0f)
	if n == 127 && low == 15 && high == 0 {
		n = 128
	}
	for range n {
		a, b := r.u8(), r.u8()
		c.notes = append(c.notes, noteLog{a >= 0x80, a & 0x7f, b >= 0x80, b & 0x7f})
	}
	if low > high && low != 15 {
		return fmt.Errorf("chapter N with note-offs from %d to %d", low, high)
	}
	for i := low; i <= high; i++ {
		c.off[i] = r.u8()
	}
	if r.short {
		return errShort
	}
	return nil
}

func (y *systemJournal) parse(r *reader) error {
	head := r.u16()
	*y = systemJournal{s: head&0x8000 != 0, has: uint8(head>>8) & 0x7c, exclusives: y.exclusives[:0]}
	count := func() countLog {
		a := r.u8()
		return countLog{a >= 0x80, true, a & 0x7f}
	}
	if y.has&chapterD != 0 {
		d := r.u8()
		y.simpleS = d >= 0x80
		if d&0x40 != 0 {
			y.reset = count()
		}
		if d&0x20 != 0 {
			y.tune = count()
		}
		if d&0x10 != 0 {
			y.song = count()
		}
		// Logs of undefined commands say their size, and are passed over.
		for bit := uint8(0x08); bit >= 0x04; bit >>= 1 {
			if d&bit != 0 {
				n := int(r.u16()) & maxJournal
				r.take(n - 2)
			}
		}
		for bit := uint8(0x02); bit >= 0x01; bit >>= 1 {
			if d&bit != 0 {
				n := int(r.u8()) & 0x1f
				r.take(n - 1)
			}
		}
	}
	if y.has&chapterV != 0 {
		y.sensing = count()
	}
	if y.has&chapterQ != 0 {
		q := &y.sequencer
		a := r.u8()
		q.s, q.running, q.played = a >= 0x80, a&0x40 != 0, a&0x20 != 0
		if a&0x10 != 0 {
			q.hasPosition, q.position = true, uint32(a&0x07)<<16|uint32(r.u16())
		}
		if a&0x08 != 0 {
			q.hasTime, q.time = true, uint32(r.u8())<<16|uint32(r.u16())
		}
	}
	if y.has&chapterF != 0 {
		f := &y.timecode
		a := r.u8()
		f.s, f.hasComplete, f.hasPartial = a >= 0x80, a&0x40 != 0, a&0x20 != 0
		f.quarters, f.reverse, f.point = a&0x10 != 0, a&0x08 != 0, a&0x07
		if f.hasComplete {
			f.complete = r.u32()
		}
		if f.hasPartial {
			f.partial = r.u32()
		}
	}
	if y.has&chapterX != 0 {
		for !r.short && len(r.b) > 0 {
			a := r.u8()
			l := exclusiveLog{s: a >= 0x80, listed: a&0x04 != 0, status: a & 0x03}
			if a&0x40 != 0 {
				l.hasType, l.typed = true, r.u8()
			}
			if a&0x20 != 0 {
				l.hasCount, l.count = true, r.u8()
			}
			if a&0x10 != 0 {
				d, rest, err := readDelta(r.b)
				if err != nil {
					return fmt.Errorf("chapter X: %w", err)
				}
				l.hasFirst, l.first, r.b = true, d, rest
			}
			if a&0x08 != 0 {
				l.hasData = true
				for !r.short {
					c := r.u8()
					l.data = append(l.data, c&0x7f)
					if c >= 0x80 {
						break
					}
				}
			}
			y.exclusives = append(y.exclusives, l)
		}
	}
	if r.short {
		return errShort
	}
	return nil
}

func bit(set bool, b uint8) uint8 {
	if set {
		return b
	}
	return 0
}

// append encodes the journal. Parts that would not fit their length fields are
// left out; fit keeps that from happening.
func (j *journal) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, bit(j.s, 0x80), byte(j.checkpoint>>8), byte(j.checkpoint))
	if j.system != nil {
		dst[at] |= 0x40
		dst = j.system.append(dst)
	}
	if n := len(j.channels); n > 0 {
		dst[at] |= 0x20 | byte(n-1)
		for i := range j.channels {
			dst[at] |= bit(j.channels[i].enhanced, 0x10)
			dst = j.channels[i].append(dst)
		}
	}
	return dst
}

func (c *channelJournal) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, c.has)
	if c.has&chapterP != 0 {
		p := &c.program
		dst = append(dst, bit(p.s, 0x80)|p.value, bit(p.hasBank, 0x80)|p.bank, bit(p.reset, 0x80)|p.bankFine)
	}
	if c.has&chapterC != 0 {
		dst = append(dst, bit(c.controlsS, 0x80)|byte(len(c.controls)-1))
		for _, l := range c.controls {
			v := l.value
			switch l.tool {
			case toolToggle:
				v |= 0x80
			case toolCount:
				v |= 0xc0
			}
			dst = append(dst, bit(l.s, 0x80)|l.number, v)
		}
	}
	if c.has&chapterM != 0 {
		dst = c.appendParams(dst)
	}
	if c.has&chapterW != 0 {
		dst = append(dst, bit(c.wheelS, 0x80)|byte(c.wheel&0x7f), byte(c.wheel>>7))
	}
	if c.has&chapterN != 0 {
		dst = c.appendNotes(dst)
	}
	if c.has&chapterE != 0 {
		dst = append(dst, bit(c.extrasS, 0x80)|byte(len(c.extras)-1))
		for _, l := range c.extras {
			dst = append(dst, bit(l.s, 0x80)|l.note, bit(l.velocity, 0x80)|l.value)
		}
	}
	if c.has&chapterT != 0 {
		dst = append(dst, bit(c.pressureS, 0x80)|c.pressure)
	}
	if c.has&chapterA != 0 {
		dst = append(dst, bit(c.keysS, 0x80)|byte(len(c.keys)-1))
		for _, l := range c.keys {
			dst = append(dst, bit(l.s, 0x80)|l.note, bit(l.reset, 0x80)|l.value)
		}
	}
	n := len(dst) - at
	dst[at] = bit(c.s, 0x80) | c.channel<<3 | bit(c.enhanced, 0x04) | byte(n>>8)&0x03
	dst[at+1] = byte(n)
	return dst
}

func (c *channelJournal) appendParams(dst []byte) []byte {
	at := len(dst)
	p := &c.params
	dst = append(dst, 0, 0)
	if p.pending {
		dst = append(dst, bit(p.pendingNRPN, 0x80)|p.pendingHigh)
	}
	allRPN, allNRPN, low := len(p.logs) > 0, len(p.logs) > 0, len(p.logs) > 0
	for _, l := range p.logs {
		allRPN, allNRPN, low = allRPN && !l.nrpn, allNRPN && l.nrpn, low && l.number < 128
	}
	for _, l := range p.logs {
		dst = append(dst, bit(l.s, 0x80)|byte(l.number&0x7f))
		if !low || !allRPN && !allNRPN {
			dst = append(dst, bit(l.nrpn, 0x80)|byte(l.number>>7))
		}
		dst = append(dst, l.fields)
		if l.fields&fieldMSB != 0 {
			dst = append(dst, bit(l.msbX, 0x80)|l.msb)
		}
		if l.fields&fieldLSB != 0 {
			dst = append(dst, bit(l.lsbX, 0x80)|l.lsb)
		}
		if l.fields&fieldSteps != 0 {
			dst = binary.BigEndian.AppendUint16(dst, unsigned(l.steps)|uint16(bit(l.stepsX, 0x40))<<8)
		}
		if l.fields&fieldCSteps != 0 {
			dst = binary.BigEndian.AppendUint16(dst, unsigned(l.cSteps))
		}
		if l.fields&fieldCount != 0 {
			dst = append(dst, bit(l.countX, 0x80)|l.count)
		}
	}
	n := len(dst) - at
	dst[at] = bit(p.s, 0x80) | bit(p.pending, 0x40) | bit(p.selected, 0x20) |
		bit(allRPN, 0x10) | bit(allNRPN, 0x08) | bit(low, 0x04) | byte(n>>8)&0x03
	dst[at+1] = byte(n)
	return dst
}

// unsigned writes a button field.
func unsigned(v int16) uint16 {
	if v < 0 {
		return 0x8000 | uint16(-v)
	}
	return uint16(v)
}

func (c *channelJournal) appendNotes(dst []byte) []byte {
	low, high := 15, 0
	for i, b := range c.off {
		if b != 0 {
			low = min(low, i)
			high = i
		}
	}
	n := len(c.notes)
	empty := c.off == [16]uint8{}
	switch {
	case empty && n == 127:
		low, high = 15, 1 // 15 and 0 would mean 128 logs
	case empty:
		low, high = 15, 0
	}
	dst = append(dst, bit(c.offS, 0x80)|byte(min(n, 127)), byte(low<<4|high))
	for _, l := range c.notes {
		dst = append(dst, bit(l.s, 0x80)|l.note, bit(l.play, 0x80)|l.velocity)
	}
	if !empty {
		dst = append(dst, c.off[low:high+1]...)
	}
	return dst
}

func (y *systemJournal) append(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0)
	if y.has&chapterD != 0 {
		dst = append(dst, bit(y.simpleS, 0x80)|bit(y.reset.has, 0x40)|bit(y.tune.has, 0x20)|bit(y.song.has, 0x10))
		for _, l := range []countLog{y.reset, y.tune, y.song} {
			if l.has {
				dst = append(dst, bit(l.s, 0x80)|l.value)
			}
		}
	}
	if y.has&chapterV != 0 {
		dst = append(dst, bit(y.sensing.s, 0x80)|y.sensing.value)
	}
	if y.has&chapterQ != 0 {
		q := &y.sequencer
		a := bit(q.s, 0x80) | bit(q.running, 0x40) | bit(q.played, 0x20) | bit(q.hasPosition, 0x10) | bit(q.hasTime, 0x08)
		if q.hasPosition {
			dst = append(dst, a|byte(q.position>>16)&0x07, byte(q.position>>8), byte(q.position))
		} else {
			dst = append(dst, a)
		}
		if q.hasTime {
			dst = append(dst, byte(q.time>>16), byte(q.time>>8), byte(q.time))
		}
	}
	if y.has&chapterF != 0 {
		f := &y.timecode
		dst = append(dst, bit(f.s, 0x80)|bit(f.hasComplete, 0x40)|bit(f.hasPartial, 0x20)|bit(f.quarters, 0x10)|bit(f.reverse, 0x08)|f.point)
		if f.hasComplete {
			dst = binary.BigEndian.AppendUint32(dst, f.complete)
		}
		if f.hasPartial {
			dst = binary.BigEndian.AppendUint32(dst, f.partial)
		}
	}
	if y.has&chapterX != 0 {
		for _, l := range y.exclusives {
			dst = append(dst, bit(l.s, 0x80)|bit(l.hasType, 0x40)|bit(l.hasCount, 0x20)|bit(l.hasFirst, 0x10)|bit(l.hasData, 0x08)|bit(l.listed, 0x04)|l.status)
			if l.hasType {
				dst = append(dst, l.typed)
			}
			if l.hasCount {
				dst = append(dst, l.count)
			}
			if l.hasFirst {
				dst = appendDelta(dst, l.first)
			}
			if l.hasData {
				dst = append(dst, l.data...)
				dst[len(dst)-1] |= 0x80
			}
		}
	}
	n := len(dst) - at
	dst[at] = bit(y.s, 0x80) | y.has | byte(n>>8)&0x03
	dst[at+1] = byte(n)
	return dst
}
