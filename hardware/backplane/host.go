package backplane

// Listener is told what a panel does. Calls come from within the Host's
// methods; they must not call the Host.
type Listener interface {
	// Identified tells who is at the other end. The identity's strings are the
	// listener's.
	Identified(id Identity, protocol uint8)
	// Described tells of one control; all of them are told before Bound.
	Described(index int, c Control)
	// Bound tells that the panel is the module now.
	Bound()
	// Value tells where a knob stands, 0 … 65535, if that is news.
	Value(slot int, v uint16)
	// Gate tells of an edge, with the time at which it was, by the clock that
	// the Host is told, in microseconds.
	Gate(slot int, high bool, at int64)
	// Fault tells what the panel says that it cannot do.
	Fault(code FaultCode, detail uint8)
	// Lost tells that the session is over. The gates that were high have been
	// told low.
	Lost(why Reason)
}

// Reason is why a session ended.
type Reason uint8

// Reasons.
const (
	Silent   Reason = iota // nothing was heard for DaemonPatience
	Unknown                // the panel was switched on again
	Closed                 // we, or the cable
	Confused               // the ends disagree on what happened: a mistake in one of them
)

// String says it for people.
func (r Reason) String() string {
	switch r {
	case Silent:
		return "it does not answer"
	case Unknown:
		return "it was switched on again"
	case Closed:
		return "it was unplugged or let go"
	}
	return "it told of gates that it had not sent"
}

// hostState is how far a session has come.
type hostState uint8

const (
	greeting hostState = iota
	foreign            // it speaks no protocol of ours
	describing
	waiting // for Bind
	binding
	playing
)

const (
	helloInterval = 200_000
	foreignAgain  = 2_000_000
	askInterval   = 50_000
	// pace is how long a byte takes, so that a panel with a buffer of 128 bytes
	// that looks into it every millisecond loses nothing.
	pace = 8
)

// Host is the daemon's end of a session with one panel. Init it, give it what it
// receives, and send what Next returns. Time is in microseconds of a clock that
// does not go back. It looks for the panel until it answers, and again when it
// was lost.
type Host struct {
	listener Listener
	framing  Framing
	decoder  Decoder
	w        writer

	state    hostState
	session  uint32
	seed     uint32
	askedAt  int64
	heard    int64
	protocol uint8
	boot     uint32
	controls int
	asked    int // controls that are known
	module   [MaxModule]byte
	length   int

	gates      uint16
	next       uint16 // edge that is expected
	values     [MaxValues]uint16
	valueKnown uint16 // values that were told
	valueSeq   uint16

	outputs        [MaxOutputs]uint16
	outCount       int
	outSeq, outAck uint16
	outNew         bool
	outAt          int64

	ackDue bool
	ackAt  int64
	freeAt int64 // when the line has taken what was sent

	clock clock

	// RoundTrip is how long a frame and its answer took at the least of late, in
	// microseconds; 0 is unknown.
	RoundTrip int64
	// PanelBad and PanelDropped are what the panel counts: damaged frames, and
	// edges left out. They wrap.
	PanelBad, PanelDropped uint16
}

// Init sets the host up. The seed makes its sessions differ from those of
// another host, or of an earlier one, on the same line.
func (h *Host) Init(l Listener, f Framing, seed uint32) {
	*h = Host{listener: l, framing: f, seed: seed}
	h.decoder.Framing = f
	h.again(0)
	h.askedAt = -foreignAgain
}

// again begins to look for the panel.
func (h *Host) again(now int64) {
	h.state = greeting
	h.askedAt = now - helloInterval/4 // a moment, in which a line clears
	h.seed = h.seed*1664525 + 1013904223
	if h.session = h.seed ^ h.seed>>16; h.session == 0 {
		h.session = 1
	}
	h.length, h.next, h.valueSeq, h.valueKnown = 0, 0, 0, 0
	h.outSeq, h.outAck, h.outNew, h.outCount = 0, 0, false, 0
	h.outputs = [MaxOutputs]uint16{}
	h.ackDue = false
	h.RoundTrip = 0
	h.clock = clock{}
}

// lose ends the session: gates fall.
func (h *Host) lose(now int64, why Reason) {
	known := h.state > foreign
	for slot := range MaxGates {
		if bit := uint16(1) << slot; h.gates&bit != 0 {
			h.gates &^= bit
			h.listener.Gate(slot, false, now)
		}
	}
	h.again(now)
	if known {
		h.listener.Lost(why)
	}
}

// Playing tells whether the panel is bound and its edges arrive.
func (h *Host) Playing() bool { return h.state == playing }

// Waiting tells whether all is known of the panel but what module it is.
func (h *Host) Waiting() bool { return h.state == waiting }

// Bad returns how many frames came damaged.
func (h *Host) Bad() uint32 { return h.decoder.Bad }

// Good returns how many frames came.
func (h *Host) Good() uint32 { return h.decoder.Good }

// Bind makes the panel the module of that id: 1 … MaxModule bytes of printable
// ASCII. It is for a Host that is Waiting.
func (h *Host) Bind(id string) bool {
	if h.state != waiting || len(id) == 0 || len(id) > MaxModule {
		return false
	}
	h.length = copy(h.module[:], id)
	h.state = binding
	h.askedAt = -foreignAgain
	return true
}

// Rebind ends the session and begins another, so that the panel can be another
// module.
func (h *Host) Rebind(now int64) { h.lose(now, Closed) }

// Unplugged tells that the line is gone, or will be: gates fall now.
func (h *Host) Unplugged(now int64) {
	h.lose(now, Closed)
	h.decoder.Reset()
}

// Bye writes the frame that ends a session in order, for the last thing sent.
func (h *Host) Bye(dst []byte) []byte {
	if h.state <= foreign {
		return dst[:0]
	}
	h.w.begin(kindBye, h.session)
	return Append(h.framing, dst[:0], h.w.bytes())
}

// Show sets an output. The panel has it within a frame, or when it is there.
func (h *Host) Show(slot int, v uint16) {
	if slot < 0 || slot >= MaxOutputs || h.outputs[slot] == v && slot < h.outCount {
		return
	}
	h.outputs[slot] = v
	h.outCount = max(h.outCount, slot+1)
	h.outNew = true
}

// Receive takes bytes as they come.
func (h *Host) Receive(now int64, b []byte) {
	for _, c := range b {
		if payload := h.decoder.Push(c); payload != nil {
			h.message(now, payload)
		}
	}
}

func (h *Host) message(now int64, payload []byte) {
	r := reader{b: payload}
	kind, session := r.u8(), r.u32()
	if kind&0x40 == 0 || r.short || session != h.session {
		return
	}
	switch kind {
	case kindIdentify:
		h.identified(now, r)
	case kindFault:
		code, detail := FaultCode(r.u8()), r.u8()
		switch {
		case r.short:
		case code == FaultNoSession:
			if h.state > foreign {
				h.lose(now, Unknown)
			}
			return
		default:
			h.listener.Fault(code, detail)
		}
	case kindControl:
		i, c := int(r.u8()), Control{Class: Class(r.u8()), Slot: r.u8()}
		name := r.text(MaxName)
		if r.short || h.state != describing || i != h.asked {
			return
		}
		c.Name = string(name)
		h.asked++
		h.listener.Described(i, c)
		h.askedAt = -foreignAgain // the next one at once
		if h.asked == h.controls {
			h.state = waiting
		}
	case kindBound:
		id := r.text(MaxModule)
		if h.state == binding && !r.short && same(id, h.module[:h.length]) {
			h.state = playing
			h.listener.Bound()
		}
	case kindValues:
		h.valuesCame(r)
	case kindEdges:
		h.edgesCame(now, r)
	case kindAlive:
		if !h.alive(now, r) {
			h.lose(now, Confused)
			return
		}
	default:
		return
	}
	h.heard = now
}

func (h *Host) identified(now int64, r reader) {
	if h.state > foreign {
		return // said before
	}
	protocol := r.u8()
	var id Identity
	id.Boot = r.u32()
	for i := range id.Serial {
		id.Serial[i] = r.u8()
	}
	id.Firmware = r.u16()
	controls := int(r.u8())
	kind, wish := r.text(MaxName), r.text(MaxModule)
	if r.short {
		return
	}
	id.Kind, id.Wish = string(kind), string(wish)
	if protocol < OldestProtocol || protocol > Protocol {
		if h.state != foreign {
			h.state = foreign
			h.listener.Identified(id, 0)
		}
		return
	}
	h.protocol, h.boot, h.controls, h.asked = protocol, id.Boot, controls, 0
	h.state = describing
	h.askedAt = -foreignAgain
	h.ackAt = now
	h.listener.Identified(id, protocol)
	if controls == 0 {
		h.state = waiting
	}
}

func (h *Host) valuesCame(r reader) {
	seq, _, n := r.u16(), r.u32(), int(r.u8())
	if h.state != playing && h.state != binding || n > MaxValues || len(r.b) < 2*n {
		return
	}
	h.ackDue = true
	if h.state == binding || int16(seq-h.valueSeq) <= 0 {
		return // Bound was lost; or it is of before
	}
	h.valueSeq = seq
	for i := range n {
		v := r.u16()
		if bit := uint16(1) << i; h.valueKnown&bit == 0 || h.values[i] != v {
			h.valueKnown |= bit
			h.values[i] = v
			h.listener.Value(i, v)
		}
	}
}

func (h *Host) edgesCame(now int64, r reader) {
	first, n := r.u16(), int(r.u8())
	if h.state != playing || len(r.b) < 5*n {
		return
	}
	h.ackDue = true
	for i := range n {
		what, t := r.u8(), r.u32()
		if first+uint16(i) != h.next {
			continue // of before; or one is missing, which is sent again
		}
		h.next++
		bit := uint16(1) << (what & (MaxGates - 1))
		if high := what&0x80 != 0; high != (h.gates&bit != 0) {
			h.gates ^= bit
			h.listener.Gate(int(what&(MaxGates-1)), high, h.clock.convert(now, t))
		}
	}
}

// alive takes what a panel says regularly, and tells whether it can be true.
func (h *Host) alive(now int64, r reader) bool {
	t, echo, held := r.u32(), r.u32(), r.u16()
	gates, end, outputs, bad, dropped := r.u16(), r.u16(), r.u16(), r.u16(), r.u16()
	if r.short {
		return true
	}
	h.PanelBad, h.PanelDropped = bad, dropped
	if int16(outputs-h.outAck) > 0 && int16(h.outSeq-outputs) >= 0 {
		h.outAck = outputs
	}
	trip := int64(-1)
	if held != 1<<16-1 {
		if d := int64(uint32(now)-echo) - int64(held); d >= 0 && d < DaemonPatience {
			trip = d
		}
	}
	h.clock.heard(now, t, trip)
	h.RoundTrip = h.clock.best
	if h.state == playing && end != h.next {
		h.ackDue = true // an edge is on its way, or was lost
	}
	return h.state != playing || end != h.next || gates == h.gates
}

// Next returns the next frame that is due, in dst, which has room for MaxFrame
// bytes; nothing when none is. Call it until then, at least once a millisecond
// and after each Receive and Show.
func (h *Host) Next(now int64, dst []byte) []byte {
	if h.state > foreign && now-h.heard > DaemonPatience {
		h.lose(now, Silent)
	}
	if now < h.freeAt || !h.write(now) {
		return dst[:0]
	}
	b := Append(h.framing, dst[:0], h.w.bytes())
	h.freeAt = now + int64(len(b))*pace
	return b
}

// Due returns when Next may have something again, if nothing is received or
// shown until then.
func (h *Host) Due(now int64) int64 {
	t := now + KeepAlive
	earlier := func(due bool, at int64) {
		if due && at < t {
			t = at
		}
	}
	earlier(h.state == greeting, h.askedAt+helloInterval)
	earlier(h.state == describing || h.state == binding, h.askedAt+askInterval)
	earlier(h.state > foreign, h.ackAt+KeepAlive)
	earlier(h.state > foreign, h.heard+DaemonPatience+1)
	earlier(h.ackDue, now)
	switch under := h.outAck != h.outSeq; {
	case h.state != playing:
	case under:
		earlier(true, h.outAt+Again)
	case h.outNew:
		earlier(true, now)
	}
	return max(t, h.freeAt, now)
}

// write writes the payload that is most urgent.
func (h *Host) write(now int64) bool {
	w := &h.w
	switch {
	case h.ackDue || h.state > foreign && now-h.ackAt >= KeepAlive:
		w.begin(kindAck, h.session)
		w.u32(uint32(now))
		w.u16(h.next)
		w.u16(h.valueSeq)
		h.ackDue, h.ackAt = false, now
		return true
	case h.state == greeting && now-h.askedAt >= helloInterval || h.state == foreign && now-h.askedAt >= foreignAgain:
		w.begin(kindHello, h.session)
		w.u8(OldestProtocol)
		w.u8(Protocol)
		h.askedAt = now
		return true
	case h.state == describing && now-h.askedAt >= askInterval:
		w.begin(kindDescribe, h.session)
		w.u8(uint8(h.asked))
		h.askedAt = now
		return true
	case h.state == binding && now-h.askedAt >= askInterval:
		w.begin(kindBind, h.session)
		text(w, h.module[:h.length], MaxModule)
		h.askedAt = now
		return true
	case h.state == playing && (h.outNew || h.outAck != h.outSeq && now-h.outAt >= Again):
		// One table is under way at a time; a newer one goes when that has
		// arrived, or was lost.
		if h.outAck != h.outSeq && now-h.outAt < Again {
			return false
		}
		if h.outNew {
			h.outSeq++
			h.outNew = false
		}
		w.begin(kindOutputs, h.session)
		w.u16(h.outSeq)
		w.u8(uint8(h.outCount))
		for i := range h.outCount {
			w.u16(h.outputs[i])
		}
		h.outAt = now
		return true
	}
	return false
}

const clockSamples = 16

// clock turns the panel's time into ours. A message that came quickly there and
// back tells how they differ to within half of that; of the last ones, the
// quickest counts.
type clock struct {
	offset  [clockSamples]int64 // ours less the panel's, which is 32 bits wide
	trip    [clockSamples]int64
	n, at   int
	begun   bool
	last    int64 // panel time, unwrapped
	best    int64 // shortest trip, 0 is unknown
	current int64 // offset in use
}

// unwrap makes 64 bits of a time that is near the last one.
func (c *clock) unwrap(t uint32) int64 {
	if !c.begun {
		return int64(t)
	}
	return c.last + int64(int32(t-uint32(c.last)))
}

// heard takes a message that was sent at t of the panel's clock. A negative trip
// is unknown.
func (c *clock) heard(now int64, t uint32, trip int64) {
	u := c.unwrap(t)
	if !c.begun || u > c.last {
		c.last, c.begun = u, true
	}
	if trip < 0 {
		if c.n == 0 {
			c.current = now - u // better than nothing
		}
		return
	}
	c.offset[c.at], c.trip[c.at] = now-trip/2-u, trip
	c.at = (c.at + 1) % clockSamples
	c.n = min(c.n+1, clockSamples)
	k := 0
	for i := 1; i < c.n; i++ {
		if c.trip[i] < c.trip[k] {
			k = i
		}
	}
	c.best, c.current = max(c.trip[k], 1), c.offset[k]
}

// convert turns a time of the panel into ours; it is not after now.
func (c *clock) convert(now int64, t uint32) int64 {
	if !c.begun {
		return now
	}
	return min(c.unwrap(t)+c.current, now)
}
