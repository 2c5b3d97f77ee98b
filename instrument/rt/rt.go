// Package rt holds what may cross the real-time boundary: a bounded queue
// with one producer and one consumer, and a cell that keeps the latest value.
// Neither locks, allocates nor waits once it is made, so either end may be
// the audio thread.
package rt

import "sync/atomic"

// cacheLine keeps the two ends of a queue on lines of their own, so that
// neither core invalidates the other's at every step. 64 bytes hold on amd64
// and most arm64; Apple's 128 cost only a little sharing.
const cacheLine = 64

// Ring is a bounded queue from exactly one producer goroutine to exactly one
// consumer goroutine.
type Ring[T any] struct {
	buf     []T
	mask    uint64
	_       [cacheLine]byte
	head    atomic.Uint64 // next to read; written by the consumer
	_       [cacheLine]byte
	tail    atomic.Uint64 // next to write; written by the producer
	_       [cacheLine]byte
	dropped atomic.Uint64
}

// NewRing returns a Ring that holds at least size values.
func NewRing[T any](size int) *Ring[T] {
	n := 1
	for n < size {
		n <<= 1
	}
	return &Ring[T]{buf: make([]T, n), mask: uint64(n - 1)}
}

// Push appends v and tells whether there was room. A full ring counts the
// loss and keeps what it has. Audio thread.
func (r *Ring[T]) Push(v T) bool {
	t := r.tail.Load()
	if t-r.head.Load() > r.mask {
		r.dropped.Add(1)
		return false
	}
	r.buf[t&r.mask] = v
	r.tail.Store(t + 1)
	return true
}

// Pop removes the oldest value into v and tells whether there was one.
// Audio thread.
func (r *Ring[T]) Pop(v *T) bool {
	h := r.head.Load()
	if h == r.tail.Load() {
		return false
	}
	*v = r.buf[h&r.mask]
	r.head.Store(h + 1)
	return true
}

// Len returns how many values wait; to the producer an upper bound, to the
// consumer a lower one.
func (r *Ring[T]) Len() int { return int(r.tail.Load() - r.head.Load()) }

// Cap returns how many values the ring holds.
func (r *Ring[T]) Cap() int { return len(r.buf) }

// Dropped returns how many values found no room since the start.
func (r *Ring[T]) Dropped() uint64 { return r.dropped.Load() }

// Latest is a cell from one writer to one reader that always holds the newest
// complete value: a triple buffer, so that neither side ever waits and the
// reader never sees half a value.
type Latest[T any] struct {
	buf   [3]T
	state atomic.Uint32 // index of the middle buffer, and fresh
	write uint32        // owned by the writer
	read  uint32        // owned by the reader
}

const (
	middleMask = 3
	freshBit   = 4
)

// NewLatest returns a cell holding T's zero value.
func NewLatest[T any]() *Latest[T] {
	l := &Latest[T]{write: 0, read: 1}
	l.state.Store(2)
	return l
}

// Writing returns the value that the next Publish will hand over. What it
// holds before is an older value, not the last one. Audio thread.
func (l *Latest[T]) Writing() *T { return &l.buf[l.write] }

// Publish hands over what Writing returned. Audio thread.
func (l *Latest[T]) Publish() {
	old := l.state.Swap(l.write | freshBit)
	l.write = old & middleMask
}

// Load returns the newest published value and whether it is newer than what
// Load returned before. The pointer is good until the next Load.
func (l *Latest[T]) Load() (*T, bool) {
	if l.state.Load()&freshBit == 0 {
		return &l.buf[l.read], false
	}
	old := l.state.Swap(l.read)
	l.read = old & middleMask
	return &l.buf[l.read], true
}
