package port

import (
	"slices"
	"sync"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

// MIDI is a panel behind a MIDI port that somebody else has opened.
type MIDI struct {
	received chan []byte
	once     sync.Once
	done     chan struct{}
	closing  chan struct{}
}

// Attach begins a session over a MIDI port. The send function sends one exclusive
// message, and may keep its bytes. The port's name is that of the line.
func (p *Panels) Attach(name string, send func([]byte) error) *MIDI {
	m := &MIDI{received: make(chan []byte, chunks), done: make(chan struct{}), closing: make(chan struct{})}
	in := make(chan []byte)
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.wg.Add(2)
	}
	p.mu.Unlock()
	if closed {
		close(m.done)
		return m
	}
	go func() { // ends what run reads when the port is closed
		defer p.wg.Done()
		defer close(in)
		for {
			select {
			case b := <-m.received:
				select {
				case in <- b:
				case <-m.done:
					return
				}
			case <-m.closing:
				return
			case <-m.done:
				return
			}
		}
	}()
	l := p.line(name)
	go func() {
		defer p.wg.Done()
		l.run(backplane.SysEx, in, send)
		close(m.done)
	}()
	return m
}

// Receive takes one exclusive message of the port, from its 0xf0 to its 0xf7;
// those of others are ignored. It does not wait: what there is no room for is
// sent again.
func (m *MIDI) Receive(b []byte) {
	if !Ours(b) {
		return
	}
	select {
	case m.received <- slices.Clone(b):
	default:
	}
}

// Close tells that the port is gone. The panel's gates have fallen when it
// returns.
func (m *MIDI) Close() {
	m.once.Do(func() { close(m.closing) })
	<-m.done
}

// Ours tells whether an exclusive message is one of the backplane.
func Ours(b []byte) bool {
	return len(b) > 5 && b[0] == 0xf0 && b[1] == 0x7d && b[2] == 'K' && b[3] == '8'
}
