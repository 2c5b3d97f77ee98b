package backplane

// Times of the protocol, in microseconds.
const (
	// KeepAlive is the longest that either end is silent in a session.
	KeepAlive = 50_000
	// PanelPatience is how long a panel hears nothing before the daemon is gone
	// for it, DaemonPatience how long the daemon waits before the panel is gone.
	// The daemon's is shorter: its gates are low before the panel says so.
	PanelPatience  = 500_000
	DaemonPatience = 300_000
	// Again is after how long what was not acknowledged is sent again; sooner,
	// after AgainSoon, when the other end says that it misses it.
	Again     = 20_000
	AgainSoon = 4_000
	// ValueInterval is the least between two tables of values.
	ValueInterval = 2_000
)

const (
	edgeQueue = 64 // edges that wait for their acknowledgement
	edgeBurst = 12 // in one message
)

// edge is one change of a gate.
type edge struct {
	at   uint32 // µs of the panel's clock
	what uint8  // slot, and 0x80 for high
}

// Panel is the panel's end of a session. Init it, tell it what its controls do
// and what it receives, and send what Next returns. Time is in microseconds of
// any clock of its own that does not go back.
type Panel struct {
	id       Identity
	controls []Control
	framing  Framing
	decoder  Decoder
	w        writer

	session uint32 // 0 is none
	heard   int64  // when the daemon was last heard
	bound   bool
	module  [MaxModule]byte
	length  int

	values             [MaxValues]uint16
	valueCount         int
	valueSeq, valueAck uint16
	valuesNew          bool
	valuesAt           int64 // when last sent

	high     uint16 // gates as they are
	queued   uint16 // gates as the newest queued edge leaves them
	since    [MaxGates]uint32
	gates    int
	ring     [edgeQueue]edge
	base     uint16 // number of the oldest edge that is not acknowledged
	count    int
	sent     int // of count, those that were sent
	edgesAt  int64
	dropped  uint16
	outputs  [MaxOutputs]uint16
	outCount int
	outSeq   uint16

	echo      uint32 // the daemon's time in its newest Ack
	echoAt    int64  // when that came
	echoed    bool   // it was not told back yet
	aliveAt   int64
	aliveDue  bool
	greet     uint32 // session of a Hello to answer
	speak     uint8  // the protocol that was agreed on
	answer    bool
	describe  int // control that was asked for, -1 none
	boundDue  bool
	faultDue  FaultCode
	faultWith uint8
	faultTo   uint32 // session that a fault is told to
}

// Init sets the panel up. The controls are the caller's and do not change.
func (p *Panel) Init(id Identity, controls []Control, f Framing) {
	*p = Panel{id: id, controls: controls, framing: f, describe: -1}
	p.decoder.Framing = f
	for i := range controls {
		n := int(controls[i].Slot) + 1
		switch c := controls[i].Class; {
		case c.IsValue():
			p.valueCount = min(max(p.valueCount, n), MaxValues)
		case c.IsGate():
			p.gates = min(max(p.gates, n), MaxGates)
		case c.IsOutput():
			p.outCount = min(max(p.outCount, n), MaxOutputs)
		}
	}
}

// Connected tells whether the daemon is there.
func (p *Panel) Connected() bool { return p.session != 0 }

// Bound tells whether the panel stands for a module.
func (p *Panel) Bound() bool { return p.bound }

// Module returns the id of the module that the panel stands for, or nothing.
func (p *Panel) Module() []byte { return p.module[:p.length] }

// Output returns what the daemon last set an output to, and 0 without one.
func (p *Panel) Output(slot int) uint16 { return p.outputs[slot] }

// Bad returns how many frames came damaged.
func (p *Panel) Bad() uint32 { return p.decoder.Bad }

// Dropped returns how many edges were left out because too many waited, always
// an edge and the one that undoes it. It wraps.
func (p *Panel) Dropped() uint16 { return p.dropped }

// Value tells where a knob stands.
func (p *Panel) Value(slot int, v uint16) {
	if p.values[slot] != v {
		p.values[slot] = v
		p.valuesNew = true
	}
}

// Gate tells whether a gate is high, at any time or at its edges.
func (p *Panel) Gate(now int64, slot int, high bool) {
	bit := uint16(1) << slot
	if high == (p.high&bit != 0) {
		return
	}
	p.high ^= bit
	if p.bound && high == (p.queued&bit != 0) {
		p.dropped += 2 // the edge before waited for room, and is undone
		return
	}
	p.since[slot] = uint32(now)
	p.queue()
}

// queue queues the edges that are due, as long as there is room.
func (p *Panel) queue() {
	if !p.bound {
		return
	}
	for slot := 0; slot < p.gates && p.count < edgeQueue; slot++ {
		bit := uint16(1) << slot
		if (p.high^p.queued)&bit == 0 {
			continue
		}
		e := edge{p.since[slot], uint8(slot)}
		if p.high&bit != 0 {
			e.what |= 0x80
		}
		p.ring[(int(p.base)+p.count)%edgeQueue] = e
		p.count++
		p.queued ^= bit
	}
}

// end forgets the daemon. What the outputs were set to is void.
func (p *Panel) end() {
	p.session, p.bound, p.length = 0, false, 0
	p.outputs = [MaxOutputs]uint16{}
	p.count, p.sent, p.queued = 0, 0, 0
	p.describe, p.boundDue, p.aliveDue = -1, false, false
}

// start begins the session of a Hello.
func (p *Panel) start(session uint32) {
	p.end()
	p.session = session
	p.base, p.valueSeq, p.valueAck, p.outSeq = 0, 0, 0, 0
	p.echoed = false
}

// Receive takes bytes as they come.
func (p *Panel) Receive(now int64, b []byte) {
	for _, c := range b {
		if payload := p.decoder.Push(c); payload != nil {
			p.message(now, payload)
		}
	}
}

func (p *Panel) message(now int64, payload []byte) {
	r := reader{b: payload}
	kind, session := r.u8(), r.u32()
	if kind == kindHello {
		low, high := r.u8(), r.u8()
		if r.short || session == 0 {
			return
		}
		p.greet, p.answer = session, true
		p.speak = min(high, Protocol)
		if p.speak < low || p.speak < OldestProtocol {
			p.speak = 0
			return // the answer says so
		}
		if session != p.session {
			p.start(session)
		}
		p.heard = now
		return
	}
	if kind&0x40 != 0 || r.short {
		return // of a panel: a loop in the cable
	}
	if session != p.session || session == 0 {
		if session != 0 && kind != kindBye {
			p.faultDue, p.faultTo = FaultNoSession, session
		}
		return
	}
	switch kind {
	case kindDescribe:
		i := int(r.u8())
		if r.short {
			return
		}
		if i >= len(p.controls) {
			p.faultDue, p.faultWith, p.faultTo = FaultNoControl, uint8(i), session
			break
		}
		p.describe = i
	case kindBind:
		id := r.text(MaxModule)
		if r.short || len(id) == 0 {
			return
		}
		if p.bound {
			if !same(id, p.Module()) {
				p.faultDue, p.faultTo = FaultBinding, session // a session has one module
				break
			}
		} else {
			p.length = copy(p.module[:], id)
			p.bound = true
			p.valuesNew = true
			p.valuesAt = now - ValueInterval
			p.queue()
		}
		p.boundDue = true
	case kindOutputs:
		seq, n := r.u16(), int(r.u8())
		if n > MaxOutputs || len(r.b) < 2*n {
			return
		}
		if int16(seq-p.outSeq) > 0 {
			p.outSeq = seq
			for i := range n {
				p.outputs[i] = r.u16()
			}
		}
		p.aliveDue = true
	case kindAck:
		t, edges, values := r.u32(), r.u16(), r.u16()
		if r.short {
			return
		}
		p.echo, p.echoAt, p.echoed = t, now, true
		p.acknowledged(now, edges)
		if int16(values-p.valueAck) > 0 && int16(p.valueSeq-values) >= 0 {
			p.valueAck = values
		}
	case kindBye:
		p.end()
		return
	default:
		return // of a later protocol
	}
	p.heard = now
}

// acknowledged forgets the edges before next.
func (p *Panel) acknowledged(now int64, next uint16) {
	n := int(next - p.base) // 0 … 65535
	switch {
	case n > p.count:
		return // of before
	case n > 0:
		p.base = next
		p.count -= n
		p.sent = max(0, p.sent-n)
		p.queue()
	case p.sent > 0 && now-p.edgesAt >= AgainSoon:
		p.sent = 0
	}
}

// Next returns the next frame that is due, in dst, which has room for MaxFrame
// bytes; nothing when none is. Call it until then, at least once a millisecond.
func (p *Panel) Next(now int64, dst []byte) []byte {
	if p.session != 0 && now-p.heard > PanelPatience {
		p.end()
	}
	if !p.next(now) {
		return dst[:0]
	}
	return Append(p.framing, dst[:0], p.w.bytes())
}

// next writes the payload that is most urgent.
func (p *Panel) next(now int64) bool {
	w := &p.w
	switch {
	case p.answer:
		p.answer = false
		w.begin(kindIdentify, p.greet)
		w.u8(p.speak)
		w.u32(p.id.Boot)
		for _, c := range p.id.Serial {
			w.u8(c)
		}
		w.u16(p.id.Firmware)
		w.u8(uint8(len(p.controls)))
		text(w, p.id.Kind, MaxName)
		text(w, p.id.Wish, MaxModule)
		return true
	case p.faultDue != 0:
		w.begin(kindFault, p.faultTo)
		w.u8(uint8(p.faultDue))
		w.u8(p.faultWith)
		p.faultDue, p.faultWith = 0, 0
		return true
	case p.session == 0:
		return false
	case p.bound && p.sent > 0 && now-p.edgesAt >= Again:
		p.sent = 0
		fallthrough
	case p.bound && p.sent < p.count:
		n := min(p.count-p.sent, edgeBurst)
		w.begin(kindEdges, p.session)
		w.u16(p.base + uint16(p.sent))
		w.u8(uint8(n))
		for i := range n {
			e := p.ring[(int(p.base)+p.sent+i)%edgeQueue]
			w.u8(e.what)
			w.u32(e.at)
		}
		p.sent += n
		p.edgesAt = now
		return true
	case p.describe >= 0:
		c := &p.controls[p.describe]
		w.begin(kindControl, p.session)
		w.u8(uint8(p.describe))
		w.u8(uint8(c.Class))
		w.u8(c.Slot)
		text(w, c.Name, MaxName)
		p.describe = -1
		return true
	case p.boundDue:
		w.begin(kindBound, p.session)
		text(w, p.Module(), MaxModule)
		p.boundDue = false
		return true
	case p.bound && p.valueCount > 0 && now-p.valuesAt >= ValueInterval &&
		(p.valuesNew || p.valueAck != p.valueSeq && now-p.valuesAt >= Again):
		if p.valuesNew {
			p.valueSeq++
			p.valuesNew = false
		}
		w.begin(kindValues, p.session)
		w.u16(p.valueSeq)
		w.u32(uint32(now))
		w.u8(uint8(p.valueCount))
		for i := range p.valueCount {
			w.u16(p.values[i])
		}
		p.valuesAt = now
		return true
	case p.aliveDue || now-p.aliveAt >= KeepAlive:
		w.begin(kindAlive, p.session)
		w.u32(uint32(now))
		held := int64(1<<16 - 1) // no echo
		if p.echoed {
			held = min(now-p.echoAt, 1<<16-2)
		}
		w.u32(p.echo)
		w.u16(uint16(held))
		w.u16(p.queued)
		w.u16(p.base + uint16(p.count))
		w.u16(p.outSeq)
		w.u16(uint16(p.decoder.Bad))
		w.u16(p.dropped)
		p.aliveDue, p.aliveAt = false, now
		p.echoed = false
		return true
	}
	return false
}
