package port

import (
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// inbox is where a driver's callback leaves what came in on a port.
type inbox struct {
	wake func()

	mu       sync.Mutex
	parser   midi.Parser
	at       time.Time
	q        queue
	emit     func(midi.Message)
	held     midi.Held // keys and pedals that are down at the other end
	received uint64
	faults   uint64
}

func newInbox(wake func()) *inbox {
	b := &inbox{wake: wake}
	// In the order of arrival, whatever time a driver gives.
	b.emit = func(m midi.Message) {
		b.received++
		b.held.Track(m)
		b.q.put(0, b.at, m)
	}
	return b
}

// receive is called by the driver. It does not block.
func (b *inbox) receive(at time.Time, p []byte) {
	b.mu.Lock()
	b.at = at
	b.parser.Parse(p, b.emit)
	f := &b.parser.Faults
	b.faults = f.Stray + f.Undefined + f.Cut + f.TooLong
	some := !b.q.empty()
	b.mu.Unlock()
	if some {
		b.wake()
	}
}

// reset is for a cable that was pulled: half a message is forgotten, and the
// keys and pedals that were down are let go, which nobody else will say.
func (b *inbox) reset() {
	b.mu.Lock()
	b.parser.Reset()
	now := time.Now()
	b.held.Release(func(m midi.Message) {
		if m.IsNoteOff() || m.Data[1] < midi.CCAllSoundOff {
			b.q.put(0, now, m)
		}
	})
	some := !b.q.empty()
	b.mu.Unlock()
	if some {
		b.wake()
	}
}

// take returns the next message.
func (b *inbox) take() (at time.Time, m midi.Message, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	it, ok, _ := b.q.get(0)
	if it.at.IsZero() {
		it.at = time.Now() // an end that was owed
	}
	return it.at, it.m, ok
}
