package midi

// MaxSysEx is the longest system exclusive message a Parser keeps when it is
// not told otherwise, in bytes with its 0xf0 and 0xf7.
const MaxSysEx = 64 << 10

// Faults counts what a Parser could not use. A cable with a bad contact shows
// here before it is heard.
type Faults struct {
	Stray     uint64 // data bytes, and ends of exclusive messages, that belong to no message
	Undefined uint64 // status bytes 0xf4, 0xf5, 0xf9 and 0xfd, which have no meaning
	Cut       uint64 // messages that another status cut short, dropped
	Unended   uint64 // exclusive messages that another status ended, passed on with an 0xf7
	TooLong   uint64 // exclusive messages longer than the limit, dropped
}

// Parser makes messages of a stream of bytes as it comes: with running status,
// real-time bytes anywhere, and messages that begin in one call and end in
// another. The zero value is ready. It allocates nothing but the room for
// exclusive messages, which grows to the longest of them and is kept.
type Parser struct {
	// Limit is the longest exclusive message in bytes; 0 is MaxSysEx.
	Limit int
	// Faults counts since the first call.
	Faults Faults

	status byte // of the message that is being read, or the running one; 0: none
	need   uint8
	have   uint8
	data   [2]byte
	sysex  []byte
	in     bool // inside an exclusive message
	over   bool // which is longer than the limit
}

// Reset forgets a message that has begun and the running status, as when a
// cable was pulled. It keeps the counts.
func (p *Parser) Reset() {
	p.status, p.need, p.have, p.in, p.over, p.sysex = 0, 0, 0, false, false, p.sysex[:0]
}

// dataBytes is how many data bytes follow a status below the real-time ones.
func dataBytes(status byte) uint8 {
	switch status & 0xf0 {
	case ProgramChange, ChannelPressure:
		return 1
	case 0xf0:
		switch status {
		case QuarterFrame, SongSelect:
			return 1
		case SongPosition:
			return 2
		}
		return 0
	}
	return 2
}

// Parse takes the next bytes and emits the messages that end in them, in
// order. The bytes of an exclusive message are valid only during the call of
// emit. Parse must not be called from emit.
func (p *Parser) Parse(b []byte, emit func(Message)) {
	for i := 0; i < len(b); i++ {
		c := b[i]
		switch {
		case c < 0x80:
			if p.in {
				// The rest of a long message is taken at once.
				n := i + 1
				for n < len(b) && b[n] < 0x80 {
					n++
				}
				p.keep(b[i:n])
				i = n - 1
				continue
			}
			if p.status == 0 {
				p.Faults.Stray++
				continue
			}
			p.data[p.have&1] = c
			if p.have++; p.have == p.need {
				p.have = 0
				m := Message{Data: [3]byte{p.status, p.data[0]}, Size: p.need + 1}
				if p.need == 2 {
					m.Data[2] = p.data[1]
				}
				if p.status >= SysExStart {
					p.status = 0
				}
				emit(m)
			}
		case c >= Clock:
			if c == 0xf9 || c == 0xfd {
				p.Faults.Undefined++
				continue
			}
			emit(RealTime(c))
		default:
			p.begin(c, emit)
		}
	}
}

// keep adds data to the exclusive message, up to the limit.
func (p *Parser) keep(b []byte) {
	limit := p.Limit
	if limit <= 0 {
		limit = MaxSysEx
	}
	if p.over || len(p.sysex)+len(b)+1 > limit {
		p.over = true
		return
	}
	p.sysex = append(p.sysex, b...)
}

// begin takes a status byte below the real-time ones.
func (p *Parser) begin(c byte, emit func(Message)) {
	wasIn := p.in
	if p.in {
		p.in = false
		if p.over {
			p.Faults.TooLong++
		} else {
			if c != SysExEnd {
				p.Faults.Unended++
			}
			p.sysex = append(p.sysex, SysExEnd)
			emit(Message{SysEx: p.sysex})
		}
		p.over = false
	} else if p.have > 0 {
		p.Faults.Cut++
	}
	p.have, p.need, p.status = 0, 0, 0
	switch c {
	case SysExStart:
		p.in = true
		p.sysex = append(p.sysex[:0], c)
	case SysExEnd:
		if !wasIn {
			p.Faults.Stray++
		}
	case TuneRequest:
		emit(RealTime(c))
	case 0xf4, 0xf5:
		p.Faults.Undefined++
	default:
		p.status, p.need = c, dataBytes(c)
	}
}

// Encoder makes a stream of bytes of messages, the inverse of Parser. The zero
// value writes every status.
type Encoder struct {
	// Running leaves out the status of a channel message that has the same as
	// the one before: a third less on a DIN cable.
	Running bool

	last byte
}

// Reset makes the next message carry its status, as the first of a packet or
// after a cable was plugged.
func (e *Encoder) Reset() { e.last = 0 }

// Append adds a message to dst.
func (e *Encoder) Append(dst []byte, m Message) []byte {
	s := m.Status()
	switch {
	case s == 0:
		return dst
	case s >= Clock: // leaves the running status as it is
	case s >= SysExStart:
		e.last = 0
	case e.Running && s == e.last:
		return append(dst, m.Data[1:m.Size]...)
	default:
		e.last = s
	}
	return m.Bytes(dst)
}
