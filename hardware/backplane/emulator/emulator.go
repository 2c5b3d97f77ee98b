// Package emulator runs the firmware of hardware Pod v0 without its hardware: the
// jack and the knob are set by a program, the lights are told to it, and USB is a
// pseudo-terminal or any pair of streams. What is between them is package pod,
// the firmware itself.
//
//	Knob, Jack ─▶ counts ─▶ pod.Pod ─▶ frames ─▶ pseudo-terminal ─▶ daemon (package port)
package emulator

import (
	"context"
	"crypto/sha256"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/pod"
)

// Pod is one panel. Make it with New; it is safe for several goroutines.
type Pod struct {
	mu      sync.Mutex
	pod     pod.Pod
	in      pod.In
	trigger int // ticks for which the jack stays high besides
	out     pod.Out
	wake    chan struct{}
	began   time.Time
	next    int64
}

// New returns a panel that wishes to be that module. Its serial number comes of
// the name, so that it is the same one each time.
func New(module string, f backplane.Framing) *Pod {
	sum := sha256.Sum256([]byte("k8s-synth panel " + module))
	p := &Pod{wake: make(chan struct{}, 1), began: time.Now()}
	p.pod.Init([8]byte(sum[:8]), rand.Uint32()|1, module, f)
	return p
}

// Knob turns the CPU knob, 0 … 1.
func (p *Pod) Knob(v float64) {
	p.mu.Lock()
	p.tick()
	p.in.CPU = uint16(min(max(v, 0), 1) * 65535)
	p.mu.Unlock()
	p.poke()
}

// Jack puts a voltage on the lifecycle jack.
func (p *Pod) Jack(volts float64) {
	p.mu.Lock()
	p.tick()
	p.in.Lifecycle = pod.JackCounts(float32(volts))
	p.mu.Unlock()
	p.poke()
}

// Trigger puts 10 V on the lifecycle jack for a millisecond.
func (p *Pod) Trigger() {
	p.mu.Lock()
	p.tick()
	p.trigger = 1000 / pod.TickMicros
	p.mu.Unlock()
	p.poke()
}

func (p *Pod) poke() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// State is what somebody in front of the panel sees.
type State struct {
	Module string    `json:"module"` // empty while nobody plays
	Ready  float64   `json:"ready"`  // duty of the light, 0 … 1
	Load   []float64 `json:"load"`   // of those of the bar
	// Shown are what the daemon wants shown, 0 … 1.
	ReadyShown float64 `json:"ready_shown"`
	LoadShown  float64 `json:"load_shown"`
}

// State returns what the panel shows.
func (p *Pod) State() State {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := State{Module: string(p.pod.Panel().Module()), Ready: float64(p.out.Ready) / 65535,
		ReadyShown: float64(p.pod.Panel().Output(pod.Ready)) / 65535, LoadShown: float64(p.pod.Panel().Output(pod.Load)) / 65535}
	for _, v := range p.out.Load {
		s.Load = append(s.Load, float64(v)/65535)
	}
	return s
}

// tick does the ticks that are due with the pins as they were, so that a process
// that gets no time loses none of what was done to them. The caller holds mu.
func (p *Pod) tick() (now int64) {
	now = time.Since(p.began).Microseconds()
	if now-p.next > 1_000_000 {
		p.next = now - 1_000_000 // the machine slept
	}
	for ; p.next <= now; p.next += pod.TickMicros {
		in := p.in
		if p.trigger > 0 {
			p.trigger--
			in.Lifecycle = pod.JackCounts(10)
		}
		p.out = p.pod.Tick(p.next, in)
	}
	return now
}

// step does the ticks that are due, and writes the frames.
func (p *Pod) step(received []byte, w io.Writer) error {
	p.mu.Lock()
	now := p.tick()
	p.pod.Receive(now, received)
	var frames []byte
	var buf [backplane.MaxFrame]byte
	for b := p.pod.Next(now, buf[:]); len(b) > 0; b = p.pod.Next(now, buf[:]) {
		frames = append(frames, b...)
	}
	p.mu.Unlock()
	if len(frames) == 0 {
		return nil
	}
	_, err := w.Write(frames)
	return err
}

// Serve runs the panel over a pair of streams until the context ends or the
// reader does.
func (p *Pod) Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	type read struct {
		b   []byte
		err error
	}
	reads := make(chan read)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			b := make([]byte, 512)
			n, err := r.Read(b)
			select {
			case reads <- read{b[:n], err}:
			case <-done:
				return
			}
			if err != nil {
				return
			}
		}
	}()
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for {
		var in read
		select {
		case <-ctx.Done():
			return nil
		case in = <-reads:
		case <-p.wake:
		case <-ticker.C:
			select { // what has come is heard before silence is judged
			case in = <-reads:
			default:
			}
		}
		if in.err == io.EOF {
			return nil
		} else if in.err != nil {
			return in.err
		}
		if err := p.step(in.b, w); err != nil {
			return err
		}
	}
}
