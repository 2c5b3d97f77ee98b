package rtp

import (
	"slices"
	"time"
)

const (
	// maxWaiting bounds the packets that wait for one that is missing.
	maxWaiting = 32
	// maxJump is the largest step of sequence numbers that is taken for a
	// loss; a larger one is a new beginning.
	maxJump = 3000
	// strange is how many packets far from the expected one begin a new stream.
	strange = 8
	// maxAssembly bounds a system exclusive message that comes in segments.
	maxAssembly = 1 << 16
)

// receiver is the receiving end of a stream: it puts packets in order, repairs
// what was lost, and hands on messages with the time that they are meant for.
type receiver struct {
	model *stream
	// wait is how long a packet waits for one before it that is missing: the
	// network may have changed their order.
	wait time.Duration
	// local turns a timestamp into local time.
	local func(timestamp uint32, arrival time.Time) time.Time
	// deliver takes whole messages, valid during the call.
	deliver func(at time.Time, b []byte)

	begun     bool
	highest   uint32 // extended sequence number of the last packet used
	waiting   []waiting
	odd       int
	lastClock time.Time
	journal   journal // the last one, for its memory
	assembly  []byte
	assembled bool // assembly is in use

	lost, repaired, reordered, late, malformed, oversize uint64
}

type waiting struct {
	seq     uint32
	arrival time.Time
	data    []byte
}

// packet takes one that has come from the peer. It keeps nothing of b.
func (r *receiver) packet(p *packet, b []byte, arrival time.Time) {
	if !r.begun {
		r.begun = true
		r.highest = 0x10000 + uint32(p.seq) - 1
		r.use(r.highest+1, p, arrival, true)
		return
	}
	seq := extend(p.seq, r.highest)
	switch step := int32(seq - r.highest); {
	case step <= 0 && step > -maxJump:
		r.late++ // a copy, or one whose loss was repaired
		return
	case step > maxJump || step <= 0:
		// A peer that begins anew, or a datagram that is not its own.
		if r.odd++; r.odd < strange {
			r.malformed++
			return
		}
		r.restart(arrival)
		r.packet(p, b, arrival)
		return
	case step == 1:
		r.odd = 0
		r.use(seq, p, arrival, false)
		r.drain(arrival)
		return
	}
	r.odd = 0
	if r.wait <= 0 {
		r.use(seq, p, arrival, true)
		return
	}
	i, found := slices.BinarySearchFunc(r.waiting, seq, func(w waiting, s uint32) int { return int(int32(w.seq - s)) })
	if found {
		r.late++
		return
	}
	r.waiting = slices.Insert(r.waiting, i, waiting{seq, arrival, slices.Clone(b)})
	if len(r.waiting) > maxWaiting {
		r.next(true)
		r.drain(arrival)
	}
}

// extend finds the extended sequence number nearest to one that is known.
func extend(seq uint16, near uint32) uint32 {
	return near + uint32(int32(int16(seq-uint16(near))))
}

// restart forgets the stream, and ends what it holds.
func (r *receiver) restart(now time.Time) {
	r.end(now)
	*r.model = *newStream()
	r.begun, r.odd, r.waiting, r.assembled = false, 0, r.waiting[:0], false
}

// end plays what ends all that the peer holds.
func (r *receiver) end(now time.Time) {
	r.model.release(func(b []byte) {
		r.model.apply(b, r.highest, now)
		r.deliver(now, b)
	})
}

// drain uses the packets that waited and follow now.
func (r *receiver) drain(now time.Time) {
	for len(r.waiting) > 0 && int32(r.waiting[0].seq-r.highest) <= 1 {
		if r.waiting[0].seq == r.highest+1 {
			r.reordered++
		}
		r.next(false)
	}
}

// next uses the first packet that waits.
func (r *receiver) next(loss bool) {
	w := r.waiting[0]
	r.waiting = slices.Delete(r.waiting, 0, 1)
	if int32(w.seq-r.highest) <= 0 {
		r.late++
		return
	}
	p, err := parsePacket(w.data)
	if err != nil {
		return // it was parsed when it came
	}
	r.use(w.seq, &p, w.arrival, loss)
}

// deadline returns when tick has to be called, zero if need not.
func (r *receiver) deadline() time.Time {
	if len(r.waiting) == 0 {
		return time.Time{}
	}
	at := r.waiting[0].arrival
	for _, w := range r.waiting[1:] {
		if w.arrival.Before(at) {
			at = w.arrival
		}
	}
	return at.Add(r.wait)
}

// tick gives up waiting for what is missing too long.
func (r *receiver) tick(now time.Time) {
	for {
		d := r.deadline()
		if d.IsZero() || d.After(now) {
			return
		}
		r.next(true)
		r.drain(now)
	}
}

// use takes the packet that is next, with or without a loss before it.
func (r *receiver) use(seq uint32, p *packet, arrival time.Time, loss bool) {
	at := r.local(p.timestamp, arrival)
	first := seq == r.highest+1 && loss
	var j *journal
	if p.journal != nil {
		if r.journal.parse(p.journal) == nil {
			j = &r.journal
		} else {
			r.malformed++
		}
	}
	switch {
	case loss:
		if !first {
			r.lost += uint64(seq - r.highest - 1)
		}
		r.assembled = false
		r.mend(seq, j, at, first)
	case j != nil:
		r.model.sync(j)
	}
	r.highest = seq
	base := p.timestamp
	err := commands(p.list, p.delta, func(time uint32, b []byte) {
		when := at
		if time > 0 {
			when = r.local(base+time, arrival)
		}
		r.command(when, b)
	})
	if err != nil {
		r.malformed++
	}
}

// mend repairs a loss before the packet seq.
func (r *receiver) mend(seq uint32, j *journal, at time.Time, first bool) {
	m := repair{s: r.model, seq: seq - 1, at: at, emit: r.deliver, adopt: first, covered: true, lastClock: r.lastClock}
	if j == nil {
		if !first {
			m.endAll()
		}
		return
	}
	m.covered = first || int32(extend(j.checkpoint, seq)-(r.highest+1)) <= 0
	m.all(j)
	if !first {
		r.repaired++
	}
}

// command takes one command of a list.
func (r *receiver) command(at time.Time, b []byte) {
	switch {
	case b[0] != 0xf0 && b[0] != 0xf7:
		if b[0] == 0xf8 {
			r.lastClock = at
		}
		if b[0] == 0xf4 || b[0] == 0xf5 || b[0] == 0xf9 || b[0] == 0xfd {
			return // undefined
		}
		r.pass(at, b)
	case len(b) < 2:
	case b[0] == 0xf0:
		switch b[len(b)-1] {
		case 0xf7:
			r.assembled = false
			r.pass(at, b)
		case 0xf5: // the source left the end out
			r.assembled = false
			r.assembly = append(append(r.assembly[:0], b[:len(b)-1]...), 0xf7)
			r.pass(at, r.assembly)
		case 0xf0:
			r.assembly, r.assembled = append(r.assembly[:0], b[:len(b)-1]...), true
		default:
			r.assembled = false
		}
	case r.assembled:
		end := b[len(b)-1]
		if r.assembly = append(r.assembly, b[1:len(b)-1]...); len(r.assembly) > maxAssembly {
			r.assembled = false
			r.oversize++
			return
		}
		switch end {
		case 0xf7, 0xf5:
			r.assembled = false
			r.assembly = append(r.assembly, 0xf7)
			r.pass(at, r.assembly)
		case 0xf4:
			r.assembled = false
		}
	}
}

func (r *receiver) pass(at time.Time, b []byte) {
	r.model.apply(b, r.highest, at)
	r.deliver(at, b)
}
