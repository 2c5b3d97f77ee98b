package rtp

import (
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

var (
	_ port.Driver    = (*Host)(nil)
	_ port.Watcher   = (*Host)(nil)
	_ port.Listeners = (*Host)(nil)
	_ port.Arrivals  = (*Host)(nil)
	_ port.Checker   = (*output)(nil)
	_ port.Checker   = (*input)(nil)
)

// Name returns "rtp".
func (h *Host) Name() string { return "rtp" }

// Changed tells when a session opens or ends.
func (h *Host) Changed() <-chan struct{} { return h.changed }

// Ports lists the open sessions by the names of their peers. Each can be sent
// to and received from.
func (h *Host) Ports() (ins, outs []string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.shown {
		ins = append(ins, s.Name)
	}
	return ins, append(outs, ins...), nil
}

// input is a receiver of one peer, or of all.
type input struct {
	h       *Host
	id      uint64 // 0: of all that have none of their own
	gone    atomic.Bool
	mu      sync.Mutex // held during receive
	closed  bool
	receive func(at time.Time, b []byte)
}

// Alive tells whether its session is still open.
func (in *input) Alive() bool { return !in.gone.Load() }

// Close ends it; no call is under way or comes afterwards.
func (in *input) Close() error {
	in.mu.Lock()
	in.closed = true
	in.mu.Unlock()
	in.h.mu.Lock()
	defer in.h.mu.Unlock()
	remove := func(list []*input) []*input {
		out := make([]*input, 0, len(list))
		for _, i := range list {
			if i != in {
				out = append(out, i)
			}
		}
		return out
	}
	if in.id == 0 {
		in.h.merged = remove(in.h.merged)
	} else if list, ok := in.h.peerIn[in.id]; ok {
		if in.h.peerIn[in.id] = remove(list); len(in.h.peerIn[in.id]) == 0 {
			delete(in.h.peerIn, in.id)
		}
	}
	return nil
}

// find returns the peer of a port. The host is locked.
func (h *Host) find(name string) (uint64, error) {
	if h.closed {
		return 0, fmt.Errorf("rtp: %q: %w", name, port.ErrClosed)
	}
	for _, s := range h.shown {
		if s.Name == name {
			return s.id, nil
		}
	}
	return 0, fmt.Errorf("rtp: %q: %w; expected the name of a session that is open", name, port.ErrNoPort)
}

// OpenIn receives from one session. Its times are those at which the peer
// played, plus the configured latency; what comes later than that, or from a
// peer whose clock is not known yet, has the time of its arrival. When the
// session ends, all that it holds is ended through receive first.
func (h *Host) OpenIn(name string, receive func(at time.Time, b []byte)) (io.Closer, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, err := h.find(name)
	if err != nil {
		return nil, err
	}
	in := &input{h: h, id: id, receive: receive}
	// The list is read without the lock; it is never changed in place.
	h.peerIn[id] = append(h.peerIn[id][:len(h.peerIn[id]):len(h.peerIn[id])], in)
	return in, nil
}

// deliver hands a message of a peer to its receivers, or to those of the
// virtual port if it has none of its own.
func (h *Host) deliver(p *peer, at time.Time, b []byte) {
	h.mu.Lock()
	list, ok := h.peerIn[p.id]
	if !ok {
		list = h.merged
	}
	h.mu.Unlock()
	for _, in := range list {
		in.call(at, b)
	}
}

func (in *input) call(at time.Time, b []byte) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.closed {
		in.receive(at, b)
	}
}

// output sends to one peer, or to all that have no output of their own.
type output struct {
	h      *Host
	id     uint64
	name   string
	mu     sync.Mutex
	closed bool
	parser midi.Parser
}

// OpenOut sends to one session.
func (h *Host) OpenOut(name string) (port.Out, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, err := h.find(name)
	if err != nil {
		return nil, err
	}
	h.taken[id]++
	return &output{h: h, id: id, name: name}, nil
}

// Virtual is the host's own session under the name that it was opened with: it
// receives from and sends to all peers but those that were opened by their
// names, so that nothing is received or sent twice. name only stands in
// errors.
func (h *Host) Virtual(name string, receive func(at time.Time, b []byte)) (io.Closer, port.Out, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, nil, fmt.Errorf("rtp: %q: %w", name, port.ErrClosed)
	}
	in := &input{h: h, receive: receive}
	h.merged = append(h.merged[:len(h.merged):len(h.merged)], in)
	return in, &output{h: h, name: name}, nil
}

// Connected lists the peers that hear the virtual port.
func (h *Host) Connected(string) []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	var out []string
	for _, s := range h.shown {
		if h.taken[s.id] == 0 {
			out = append(out, s.Name)
		}
	}
	return out
}

// Arrived counts the sessions so far; what one holds ends with it, whoever is
// next.
func (h *Host) Arrived(string) (listeners, feeders uint64, feeding int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.opened, 0, 0
}

// Alive tells whether its session is still open.
func (o *output) Alive() bool {
	if o.id == 0 {
		return true
	}
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	for _, s := range o.h.shown {
		if s.id == o.id {
			return true
		}
	}
	return false
}

// Send stamps the messages with at and sends them at once. It never blocks.
func (o *output) Send(at time.Time, b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return fmt.Errorf("rtp: %q: %w", o.name, port.ErrClosed)
	}
	if !o.Alive() {
		return fmt.Errorf("rtp: %q: %w; its session has ended", o.name, port.ErrNoPort)
	}
	var failed error
	o.parser.Parse(b, func(m midi.Message) {
		if err := o.h.enqueue(o.id, at, m); err != nil {
			failed = err
		}
	})
	select {
	case o.h.wake <- struct{}{}:
	default:
	}
	return failed
}

// Ahead returns how long before its time a message is wanted.
func (o *output) Ahead() time.Duration { return o.h.cfg.Ahead }

// Close gives the session back to the virtual port.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil
	}
	o.closed = true
	if o.id == 0 {
		return nil
	}
	o.h.mu.Lock()
	defer o.h.mu.Unlock()
	if o.h.taken[o.id]--; o.h.taken[o.id] <= 0 {
		delete(o.h.taken, o.id)
	}
	return nil
}
