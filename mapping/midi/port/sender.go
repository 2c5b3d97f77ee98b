package port

import (
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// began is the origin of all times within the process.
var began = time.Now()

// nanoseconds of a time since began, by the monotonic clock where it has one.
func nanoseconds(at time.Time) int64 { return int64(at.Sub(began)) }

// sender plays the queue of one output, on a thread of its own.
type sender struct {
	out    Out
	wake   *waiter
	done   chan struct{}
	failed func(error) // called once, on the thread

	// The thread's, until done:
	endings []ending
	unsent  []midi.Message // of what was to end
	unknown bool           // a panic did not get through
	buf     []byte

	mu      sync.Mutex
	held    *midi.Held // nobody holds mu while the driver has a message
	q       queue
	panic   bool
	release bool  // end what sounds, then go on
	stop    bool  // then end
	quiet   bool  // with stop: end at once, nobody is there to hear
	err     error // of the output; nothing is sent any more
	gone    bool  // the thread has ended
	sent    uint64
	late    histogram
	hurries uint64
	lastP   time.Duration // how long the last panic waited for the thread
	asked   time.Time
}

// newSender begins to play to an output. held is what sounds on it, which is
// ended before anything else; if unknown, everything is.
func newSender(out Out, held *midi.Held, unknown bool, failed func(error)) *sender {
	s := &sender{out: out, wake: newWaiter(), done: make(chan struct{}), failed: failed, held: held, release: true, panic: unknown, asked: time.Now()}
	go s.run()
	return s
}

// send queues messages.
func (s *sender) send(at time.Time, ms []midi.Message) error {
	now := time.Now()
	if at.IsZero() {
		at = now
	}
	key := nanoseconds(at)
	s.mu.Lock()
	if s.err != nil || s.stop {
		s.mu.Unlock()
		return ErrClosed
	}
	first := false
	for _, m := range ms {
		if m.Status() != 0 {
			first = s.q.put(key, at, m) || first
		}
	}
	if first && !s.gone {
		s.wake.wake()
	}
	s.mu.Unlock()
	return nil
}

// hurry asks for a panic, before all that waits.
func (s *sender) hurry() {
	s.mu.Lock()
	s.panic, s.asked = true, time.Now()
	s.q.silence()
	if !s.gone {
		s.wake.wake()
	}
	s.mu.Unlock()
}

// end stops the thread, after all notes were ended, or at once if quiet. It
// does not wait.
func (s *sender) end(quiet bool) {
	s.mu.Lock()
	s.stop, s.quiet = true, s.quiet || quiet
	s.q.clear()
	if !s.gone {
		s.wake.wake()
	}
	s.mu.Unlock()
}

// ending is the end of a note that a driver has, but that is not heard yet.
type ending struct {
	key int64
	m   midi.Message
}

func (s *sender) run() {
	s.wake.bind()
	ahead := s.out.Ahead()
	for {
		s.mu.Lock()
		switch {
		case s.err != nil || s.stop && s.quiet:
			s.q.clear()
			s.gone = true
			s.wake.close() // nobody wakes what is gone
			s.mu.Unlock()
			close(s.done)
			return
		case s.panic:
			s.panic = false
			asked := s.asked
			s.mu.Unlock()
			s.hurryOut()
			s.endings = s.endings[:0]
			s.mu.Lock()
			s.held.ReleaseAll(s.direct)
			s.unknown = s.keep()
			s.mu.Unlock()
			s.hurryOut()
			s.mu.Lock()
			s.hurries++
			s.lastP = time.Since(asked)
			s.mu.Unlock()
			continue
		case s.release || s.stop:
			s.release = false
			s.endings = s.endings[:0]
			s.held.Release(s.direct)
			s.keep()
			if s.stop {
				s.quiet = true
			}
			s.mu.Unlock()
			continue
		}
		now := int64(time.Since(began))
		s.settle(now)
		it, ok, wait := s.q.get(now + int64(ahead))
		if ok {
			s.held.Sending(it.m)
		}
		s.mu.Unlock()
		if !ok {
			s.wake.wait(wait)
			ahead = s.out.Ahead()
			continue
		}
		s.buf = it.m.Bytes(s.buf[:0])
		if err := s.out.Send(it.at, s.buf); err != nil {
			s.fail(err)
			continue
		}
		if it.key > now {
			// It goes off the record when it is due: a driver that is killed with
			// the process loses what it has.
			s.endings = append(s.endings, ending{it.key, it.m})
		}
		s.mu.Lock()
		if it.key <= now {
			s.held.Sent(it.m)
		}
		s.sent++
		s.late.add(time.Duration(int64(time.Since(began)) + int64(ahead) - it.key))
		s.mu.Unlock()
	}
}

// abandon returns a copy of what sounds, of a sender that is stuck in its driver:
// what it still does is not on record any more.
func (s *sender) abandon() *midi.Held {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.held.Attach(nil)
	held := *s.held
	return &held
}

// settle takes off the record what has ended by now. The caller holds mu.
func (s *sender) settle(now int64) {
	n := 0
	for n < len(s.endings) && s.endings[n].key <= now {
		s.held.Sent(s.endings[n].m)
		n++
	}
	s.endings = s.endings[:copy(s.endings, s.endings[n:])]
}

// hurryOut has a driver that keeps messages for later send them.
func (s *sender) hurryOut() {
	if h, ok := s.out.(Hurrier); ok {
		h.Hurry()
	}
}

// direct sends at once what the record of held notes emits. The caller holds mu,
// but not while the driver has the message.
func (s *sender) direct(m midi.Message) {
	if s.err == nil {
		s.mu.Unlock()
		s.buf = m.Bytes(s.buf[:0])
		err := s.out.Send(time.Time{}, s.buf)
		if err != nil {
			s.fail(err)
		}
		s.mu.Lock()
		if err == nil {
			s.sent++
			return
		}
	}
	s.unsent = append(s.unsent, m)
}

// keep puts back on record what direct could not end, as on a cable that is
// plugged in and falls out again, and tells whether there is any. The caller holds
// mu.
func (s *sender) keep() bool {
	for _, m := range s.unsent {
		switch ch := m.Channel(); {
		case m.IsNoteOff():
			s.held.Sending(midi.On(ch, int(m.Data[1]), 1))
		case pedalOf(m) >= 0:
			s.held.Sending(midi.CC(ch, int(m.Data[1]), 127))
		}
	}
	some := len(s.unsent) > 0
	s.unsent = s.unsent[:0]
	return some
}

// fail notes that nothing passes any more.
func (s *sender) fail(err error) {
	s.mu.Lock()
	first := s.err == nil
	if first {
		s.err = err
	}
	s.mu.Unlock()
	if first && s.failed != nil {
		s.failed(err)
	}
}
