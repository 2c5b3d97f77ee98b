package osc

import (
	"net/netip"
	"slices"
	"time"
)

// scheduled is one message that waits for its time.
type scheduled struct {
	at   time.Time
	seq  uint64 // keeps the order of messages of the same time
	from netip.AddrPort
	raw  []byte
}

// schedule is a bounded binary heap, the earliest message on top. The buffers
// of delivered messages are used again.
type schedule struct {
	heap          []scheduled
	seq           uint64
	bytes         int
	max, maxBytes int
	spare         [][]byte
}

// maxSpare bounds the buffers kept for reuse, spareSize the size of each.
const (
	maxSpare  = 256
	spareSize = 1024
)

func (q *schedule) len() int { return len(q.heap) }

func (q *schedule) fits(messages, bytes int) bool {
	return len(q.heap)+messages <= q.max && q.bytes+bytes <= q.maxBytes
}

// fitsReserve reports whether a message that must pass fits: the queue may be
// twice as long for it.
func (q *schedule) fitsReserve(bytes int) bool {
	return len(q.heap) < 2*q.max && q.bytes+bytes <= 2*q.maxBytes
}

func (q *schedule) before(i, j int) bool {
	a, b := &q.heap[i], &q.heap[j]
	if !a.at.Equal(b.at) {
		return a.at.Before(b.at)
	}
	return a.seq < b.seq
}

// push copies raw. The caller has asked fits.
func (q *schedule) push(at time.Time, from netip.AddrPort, raw []byte) {
	var buf []byte
	if n := len(q.spare); n > 0 && len(raw) <= spareSize {
		buf, q.spare = q.spare[n-1][:0], q.spare[:n-1]
	} else {
		buf = make([]byte, 0, max(len(raw), 64))
	}
	q.seq++
	q.bytes += len(raw)
	q.heap = append(q.heap, scheduled{at: at, seq: q.seq, from: from, raw: append(buf, raw...)})
	for i := len(q.heap) - 1; i > 0; {
		parent := (i - 1) / 2
		if !q.before(i, parent) {
			break
		}
		q.heap[i], q.heap[parent] = q.heap[parent], q.heap[i]
		i = parent
	}
}

// has reports whether a message of a client waits.
func (q *schedule) has(from netip.AddrPort) bool {
	return slices.ContainsFunc(q.heap, func(e scheduled) bool { return e.from == from })
}

// next returns the earliest message without taking it.
func (q *schedule) next() (scheduled, bool) {
	if len(q.heap) == 0 {
		return scheduled{}, false
	}
	return q.heap[0], true
}

// pop removes the earliest message.
func (q *schedule) pop() {
	last := len(q.heap) - 1
	q.bytes -= len(q.heap[0].raw)
	q.heap[0] = q.heap[last]
	q.heap[last] = scheduled{}
	q.heap = q.heap[:last]
	for i := 0; ; {
		child := 2*i + 1
		if child >= last {
			return
		}
		if child+1 < last && q.before(child+1, child) {
			child++
		}
		if !q.before(child, i) {
			return
		}
		q.heap[i], q.heap[child] = q.heap[child], q.heap[i]
		i = child
	}
}

// free takes the buffer of a delivered message back.
func (q *schedule) free(raw []byte) {
	if len(q.spare) < maxSpare && cap(raw) <= spareSize {
		q.spare = append(q.spare, raw)
	}
}

// clear removes everything and returns how many messages there were.
func (q *schedule) clear() int {
	n := len(q.heap)
	q.heap, q.bytes = nil, 0
	return n
}
