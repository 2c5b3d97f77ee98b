package rtp

import "time"

// Controllers that the model of a stream knows by their meaning.
const (
	ccBank      = 0
	ccModWheel  = 1
	ccEntry     = 6
	ccExpress   = 11
	ccBankFine  = 32
	ccEntryFine = 38
	ccSustain   = 64
	ccSostenuto = 66
	ccHold2     = 69
	ccIncrement = 96
	ccDecrement = 97
	ccNRPNFine  = 98
	ccNRPN      = 99
	ccRPNFine   = 100
	ccRPN       = 101
	ccSoundOff  = 120
	ccReset     = 121
	ccNotesOff  = 123
)

// center is the middle of the pitch wheel.
const center = 0x2000

// maxParameters bounds the parameters that are remembered per channel.
const maxParameters = 256

// maxExclusives and maxExclusiveBytes bound the system exclusive messages that
// are remembered for the journal: what is longer is not recovered.
const (
	maxExclusives     = 16
	maxExclusiveBytes = 512
)

// stamp says when something last changed: in which packet (extended sequence
// number; 0 never) and in which order in the whole stream.
type stamp struct {
	seq   uint32
	order uint32
}

// stream is the model of one direction of a session: what all that was sent
// has led to. Sender and receiver apply the same commands to their models; the
// stamps tell the sender what a packet's journal has to hold.
type stream struct {
	order    uint32
	channels [16]channel
	system   system
}

type channel struct {
	touched uint32 // packet of its last command
	program struct {
		stamp
		known          bool
		value          uint8
		bank, bankFine uint8
		hasBank        bool // a bank select came before it
		reset          bool // and a reset of controllers between them
	}
	controls [128]controller
	params   params
	wheel    struct {
		stamp
		value uint16 // 0…16383
	}
	pressure struct {
		stamp
		value uint8
	}
	notes      [128]note
	keys       [128]key
	offSeq     uint32 // packet of the last note-off
	resetOrder uint32 // order of the last reset of controllers
}

type controller struct {
	stamp
	known   bool
	value   uint8
	count   uint8 // how often it came, modulo 64
	toggles uint8 // how often it crossed the middle, modulo 64
}

type note struct {
	stamp
	on       bool
	silent   bool  // receiver: it is held there, and was not played here
	velocity uint8 // of the last note-on
	release  uint8 // of the last note-off
	count    uint8 // note-ons that no note-off has answered
	at       time.Time
}

type key struct {
	stamp
	value uint8
}

// params is the state of registered and other parameters of a channel.
type params struct {
	last     stamp // of the last command that selects
	selected bool  // one is, by both halves of its number or by data
	pending  bool  // the high half of a number waits for the low one
	nrpn     bool
	number   uint16
	high     [2]uint8 // the last high half of RPN and NRPN
	list     []param  // in order of their last transaction
}

type param struct {
	stamp
	nrpn       bool
	number     uint16
	hasMSB     bool
	hasLSB     bool
	msb, lsb   uint8
	old        bool  // a reset of controllers came after its data
	steps      int16 // increments less decrements since its data
	stepsReset int16 // those since the last reset of controllers
	stepped    bool
}

type system struct {
	reset, tune, sensing counter
	song                 song
	sequencer            sequencer
	timecode             timecode
	exclusive            exclusives
}

type song struct {
	stamp
	known bool
	value uint8
}

type sequencer struct {
	stamp
	running  bool
	played   bool   // the position has been played
	position uint32 // clocks, 19 bits
}

type exclusives struct {
	count uint8 // modulo 256
	list  []exclusive
	size  int // octets in list
}

type counter struct {
	stamp
	count uint8 // modulo 128
}

// timecode is the state of MTC quarter frames: eight nibbles in the order of
// their types, the first one in the highest bits.
type timecode struct {
	stamp
	known    bool   // complete holds something
	quarters bool   // it was made of quarter frames
	complete uint32 // nibbles, or hours, minutes, seconds, frames
	begun    bool   // partial holds nibbles up to point
	reverse  bool
	point    uint8
	partial  uint32
	last     int8 // type of the last quarter frame + 1, 0 none
}

type exclusive struct {
	stamp
	count   uint8
	message []byte
}

// apply brings the model up to date with a whole message that is sent in the
// packet seq. What is malformed changes nothing.
func (s *stream) apply(b []byte, seq uint32, at time.Time) {
	if len(b) == 0 {
		return
	}
	s.order++
	now := stamp{seq, s.order}
	status := b[0]
	if status >= 0xf0 {
		s.applySystem(b, now)
		return
	}
	if status < 0x80 || len(b) != 1+dataLength(status) {
		return
	}
	c := &s.channels[status&0x0f]
	c.touched = seq
	switch status & 0xf0 {
	case 0x80:
		c.noteOff(b[1], b[2], now, at)
	case 0x90:
		if b[2] == 0 {
			c.noteOff(b[1], 64, now, at)
		} else {
			c.noteOn(b[1], b[2], now, at)
		}
	case 0xa0:
		c.keys[b[1]] = key{now, b[2]}
	case 0xb0:
		c.control(b[1], b[2], now)
	case 0xc0:
		p := &c.program
		p.stamp, p.known, p.value = now, true, b[1]
		p.hasBank = c.controls[ccBank].known
		p.bank, p.bankFine = c.controls[ccBank].value, c.controls[ccBankFine].value
		p.reset = p.hasBank && c.resetOrder > c.controls[ccBank].order
	case 0xd0:
		c.pressure.stamp, c.pressure.value = now, b[1]
	case 0xe0:
		c.wheel.stamp, c.wheel.value = now, uint16(b[1])|uint16(b[2])<<7
	}
}

func (c *channel) noteOn(number, velocity uint8, now stamp, at time.Time) {
	n := &c.notes[number]
	n.stamp, n.on, n.silent, n.velocity, n.at = now, true, false, velocity, at
	n.count = min(n.count+1, 127)
}

func (c *channel) noteOff(number, velocity uint8, now stamp, at time.Time) {
	n := &c.notes[number]
	n.stamp, n.on, n.silent, n.release, n.at = now, false, false, velocity, at
	if n.count > 0 {
		n.count--
	}
	c.offSeq = now.seq
}

// control applies a control change, and what some of them do to others.
func (c *channel) control(number, value uint8, now stamp) {
	if c.params.takes(number) {
		c.params.apply(number, value, now)
		return
	}
	k := &c.controls[number]
	k.stamp = now
	k.count = (k.count + 1) & 0x3f
	if (k.value >= 64) != (value >= 64) {
		k.toggles = (k.toggles + 1) & 0x3f
	}
	k.known, k.value = true, value
	switch {
	case number == ccReset:
		c.resetControllers(now)
	case number == ccSoundOff, number >= ccNotesOff:
		for i := range c.notes {
			// They need no journal any more: this command is in it.
			n := &c.notes[i]
			n.stamp, n.on, n.silent, n.count = stamp{}, false, false, 0
		}
		c.offSeq = 0
	}
}

// resetControllers does what "reset all controllers" says (RP-015): wheel,
// pressures, modulation, expression and pedals go to their rest, the selected
// parameter is none. Volume, pan, banks, programs and effects stay.
func (c *channel) resetControllers(now stamp) {
	for _, n := range []uint8{ccModWheel, ccModWheel + 32, ccExpress, ccExpress + 32, 64, 65, 66, 67, 68, 69} {
		k := &c.controls[n]
		k.stamp, k.known, k.value = stamp{}, false, 0
		// The sender's count of toggles goes on; the reset is no toggle.
	}
	c.wheel.stamp, c.wheel.value = stamp{}, center
	c.pressure.stamp, c.pressure.value = stamp{}, 0
	for i := range c.keys {
		c.keys[i] = key{}
	}
	c.params.reset(now)
	c.resetOrder = now.order
}

// takes tells whether a controller belongs to the parameters now.
func (p *params) takes(number uint8) bool {
	switch number {
	case ccNRPNFine, ccNRPN, ccRPNFine, ccRPN:
		return true
	case ccEntry, ccEntryFine, ccIncrement, ccDecrement:
		return p.selected || p.pending
	}
	return false
}

func (p *params) apply(number, value uint8, now stamp) {
	switch number {
	case ccNRPN, ccRPN:
		p.last, p.selected, p.pending, p.nrpn = now, false, true, number == ccNRPN
		p.number = uint16(value) << 7
		p.high[which(p.nrpn)] = value
	case ccNRPNFine, ccRPNFine:
		p.last, p.pending, p.nrpn = now, false, number == ccNRPNFine
		p.number = uint16(p.high[which(p.nrpn)])<<7 | uint16(value)
		if p.selected = p.number != 0x3fff; p.selected {
			p.touch(now)
		}
	default: // data; after a lone high half, the low one is 0
		p.pending, p.selected = false, true
		e := p.touch(now)
		switch number {
		case ccEntry:
			e.hasMSB, e.msb, e.hasLSB, e.lsb, e.old = true, value, false, 0, false
			e.steps, e.stepsReset, e.stepped = 0, 0, false
		case ccEntryFine:
			e.hasLSB, e.lsb, e.old = true, value, false
			e.steps, e.stepsReset, e.stepped = 0, 0, false
		case ccIncrement:
			e.steps, e.stepsReset, e.stepped = min(e.steps+1, 0x3fff), min(e.stepsReset+1, 0x3fff), true
		case ccDecrement:
			e.steps, e.stepsReset, e.stepped = max(e.steps-1, -0x3fff), max(e.stepsReset-1, -0x3fff), true
		}
	}
}

func which(nrpn bool) int {
	if nrpn {
		return 1
	}
	return 0
}

// touch makes the selected parameter the last of the list and returns it.
func (p *params) touch(now stamp) *param {
	i := p.find(p.nrpn, p.number)
	if i < 0 {
		if len(p.list) == maxParameters {
			p.list = append(p.list[:0], p.list[1:]...)
		}
		i = len(p.list)
		p.list = append(p.list, param{nrpn: p.nrpn, number: p.number})
	}
	e := p.list[i]
	copy(p.list[i:], p.list[i+1:])
	e.stamp = now
	last := len(p.list) - 1
	p.list[last] = e
	return &p.list[last]
}

func (p *params) find(nrpn bool, number uint16) int {
	for i := range p.list {
		if p.list[i].nrpn == nrpn && p.list[i].number == number {
			return i
		}
	}
	return -1
}

// reset selects none and keeps the values.
func (p *params) reset(now stamp) {
	if p.selected || p.pending {
		p.last = now
	}
	p.selected, p.pending, p.number = false, false, 0x3fff
	for i := range p.list {
		p.list[i].old, p.list[i].stepsReset = true, 0
	}
}

func (s *stream) applySystem(b []byte, now stamp) {
	y := &s.system
	switch b[0] {
	case 0xf0:
		s.applyExclusive(b, now)
	case 0xf1:
		if len(b) == 2 {
			y.timecode.quarter(b[1], now)
		}
	case 0xf2:
		if len(b) == 3 {
			q := &y.sequencer
			q.stamp, q.position, q.played = now, 6*(uint32(b[1])|uint32(b[2])<<7), false
		}
	case 0xf3:
		if len(b) == 2 {
			y.song.stamp, y.song.known, y.song.value = now, true, b[1]
		}
	case 0xf6:
		y.tune.step(now)
	case 0xf8:
		if q := &y.sequencer; q.running {
			q.stamp = now
			if q.played {
				q.position = (q.position + 1) & 0x7ffff
			}
			q.played = true
		}
	case 0xfa:
		q := &y.sequencer
		q.stamp, q.running, q.played, q.position = now, true, false, 0
	case 0xfb:
		q := &y.sequencer
		q.rest()
		q.stamp, q.running = now, true
	case 0xfc:
		q := &y.sequencer
		q.rest()
		q.stamp, q.running = now, false
	case 0xfe:
		y.sensing.step(now)
	case 0xff:
		y.reset.step(now)
		s.clear(now)
	}
}

// rest moves on to the clock that comes next, if this one has been played.
func (q *sequencer) rest() {
	if q.played {
		q.position, q.played = (q.position+1)&0x7ffff, false
	}
}

func (c *counter) step(now stamp) { c.stamp, c.count = now, (c.count+1)&0x7f }

// quarter applies a quarter frame. A series runs from type 0 to 7, or from 7
// to 0 while the tape runs backwards; one that does not begin at its beginning
// is not used.
func (t *timecode) quarter(data byte, now stamp) {
	kind, nibble := data>>4&7, uint32(data&0x0f)
	shift := 28 - 4*kind
	last := t.last - 1
	t.last, t.stamp = int8(kind)+1, now
	switch {
	case last >= 0 && t.begun && !t.reverse && kind == uint8(last)+1:
	case last >= 0 && t.begun && t.reverse && kind+1 == uint8(last):
	case kind == 0:
		t.begun, t.reverse, t.partial = true, false, 0
	case kind == 7:
		t.begun, t.reverse, t.partial = true, true, 0
	default:
		t.begun = false
		return
	}
	t.point = kind
	t.partial = t.partial&^(0x0f<<shift) | nibble<<shift
	if !t.reverse && kind == 7 || t.reverse && kind == 0 {
		t.known, t.quarters, t.complete, t.begun, t.partial = true, true, t.partial, false, 0
	}
}

// applyExclusive remembers a message, and does what the few say that the
// journal treats in their own way: full frames and resets.
func (s *stream) applyExclusive(b []byte, now stamp) {
	if len(b) < 2 || b[len(b)-1] != 0xf7 {
		return
	}
	if isReset(b) {
		s.clear(now)
	}
	if len(b) == 10 && b[1] == 0x7f && b[3] == 1 && b[4] == 1 { // MTC full frame
		t := &s.system.timecode
		t.stamp, t.known, t.quarters, t.begun, t.last = now, true, false, false, 0
		t.complete = uint32(b[5])<<24 | uint32(b[6])<<16 | uint32(b[7])<<8 | uint32(b[8])
	}
	x := &s.system.exclusive
	x.count++
	e := exclusive{stamp: now, count: x.count}
	if len(b) <= maxExclusiveBytes {
		e.message = append([]byte(nil), b...)
	}
	x.list = append(x.list, e)
	x.size += len(e.message)
	for len(x.list) > maxExclusives || x.size > maxExclusiveBytes && len(x.list) > 1 {
		x.drop()
	}
}

// drop forgets the oldest message.
func (x *exclusives) drop() {
	x.size -= len(x.list[0].message)
	copy(x.list, x.list[1:])
	x.list[len(x.list)-1] = exclusive{}
	x.list = x.list[:len(x.list)-1]
}

// isReset tells the universal messages that put a whole instrument into its
// initial state: General MIDI 1 and 2 on and off, DLS on and off.
func isReset(b []byte) bool {
	return len(b) == 6 && b[1] == 0x7e && (b[3] == 0x09 && b[4] >= 1 && b[4] <= 3 || b[3] == 0x0a && b[4] >= 1 && b[4] <= 2)
}

// clear is what a reset does to the model: all is as it was at the beginning,
// but what counts goes on counting.
func (s *stream) clear(now stamp) {
	for i := range s.channels {
		c := &s.channels[i]
		old := c.controls
		*c = channel{}
		c.begin()
		for n := range c.controls {
			c.controls[n].count, c.controls[n].toggles = old[n].count, old[n].toggles
		}
		c.resetOrder = now.order
	}
	y := &s.system
	y.sequencer = sequencer{}
	y.timecode = timecode{}
	y.song = song{}
}

// begin sets what is not zero at the beginning.
func (c *channel) begin() {
	c.wheel.value = center
	c.params.number = 0x3fff
}

func newStream() *stream {
	s := &stream{}
	for i := range s.channels {
		s.channels[i].begin()
	}
	return s
}

// held calls each for every note that is on.
func (s *stream) held(each func(channel, number uint8, n *note)) {
	for c := range s.channels {
		for k := range s.channels[c].notes {
			if n := &s.channels[c].notes[k]; n.on {
				each(uint8(c), uint8(k), n)
			}
		}
	}
}

// release calls each with the messages that end all notes and lift all pedals
// that hold notes. It leaves the model as it is.
func (s *stream) release(each func(b []byte)) {
	var buf [3]byte
	emit := func(a, b, c byte) {
		buf = [3]byte{a, b, c}
		each(buf[:])
	}
	s.held(func(c, k uint8, n *note) { emit(0x80|c, k, 64) })
	for c := range s.channels {
		for _, pedal := range []uint8{ccSustain, ccSostenuto, ccHold2} {
			if s.channels[c].controls[pedal].value >= 64 {
				emit(0xb0|uint8(c), pedal, 0)
			}
		}
	}
}
