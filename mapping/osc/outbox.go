package osc

import (
	"encoding/binary"
	"errors"
	"sync"
)

// maxQueued bounds what waits for a connected client, in bytes: all values of
// a rack of ten thousand addresses, and the two seconds after.
const maxQueued = 1 << 20

var (
	errSlow = errors.New("osc: the client does not read what it is sent; its queue is full")
	errGone = errors.New("osc: the client is gone")
)

// outbox holds what a connection is yet to send. Putting into it never waits:
// a client that does not read is dropped instead.
type outbox struct {
	wake chan struct{} // has room for one; closed at the end
	drop func()        // ends the connection; called once, must not wait

	mu      sync.Mutex
	framing framing
	pending []byte // framed as the connection wants it
	spare   []byte // what take returned, to be used again
	max     int
	ended   bool
}

func newOutbox(max int, drop func()) *outbox {
	return &outbox{wake: make(chan struct{}, 1), drop: drop, max: max}
}

// messageHead is the size of what stands before a WebSocket message in an
// outbox: whether it is text, and its size.
const messageHead = 5

// put queues one packet.
func (o *outbox) put(packet []byte) error { return o.putMessage(packet, false) }

func (o *outbox) putMessage(packet []byte, text bool) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return errGone
	}
	if len(o.pending)+len(packet) > o.max {
		o.ended = true
		o.drop()
		return errSlow
	}
	switch o.framing {
	case framingSLIP:
		o.pending = AppendSLIP(o.pending, packet)
	case framingMessage:
		kind := byte(0)
		if text {
			kind = 1
		}
		o.pending = append(o.pending, kind)
		o.pending = AppendSized(o.pending, packet)
	default:
		o.pending = AppendSized(o.pending, packet)
	}
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return nil
}

// frame sets the framing, once it is known.
func (o *outbox) frame(f framing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.framing = f
}

// take returns all that waits; it is valid until the next take.
func (o *outbox) take() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	b := o.pending
	o.pending, o.spare = o.spare[:0], b
	return b
}

// refuse takes nothing more: the connection has failed.
func (o *outbox) refuse() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended, o.pending = true, o.pending[:0]
}

// end ends the loop over wake, and refuses what is put from now on.
func (o *outbox) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.ended = true
	close(o.wake)
}

// nextMessage cuts the first message off what take returned.
func nextMessage(b []byte) (message []byte, text bool, rest []byte) {
	size := int(binary.BigEndian.Uint32(b[1:]))
	return b[messageHead : messageHead+size], b[0] == 1, b[messageHead+size:]
}
