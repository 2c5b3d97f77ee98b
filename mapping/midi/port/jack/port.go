//go:build cgo && (linux || darwin)

package jack

// #include "jack.h"
import "C"

import (
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"
	"unsafe"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// line is one port of ours. It outlives servers: what belongs to one opening of
// the client is c, which the worker lays and takes away.
type line struct {
	d       *Driver
	name    string // in our client
	target  string // the port that it stands for; "": none, others connect to it
	virtual string // whose virtual port it is
	output  bool
	id      uint32

	// Input. reading is held while receive runs.
	reading sync.Mutex
	receive func(at time.Time, b []byte)
	parser  midi.Parser
	emit    func(midi.Message)
	at      time.Time
	scratch [3]byte

	// The worker's own.
	restore []string // who was connected when it or the server went, and is not yet again
	fading  []fade   // who is not connected any more, it is not known yet why
	gone    uint32   // how many ports had gone at the last review

	mu        sync.Mutex // for what follows
	k         *client
	c         *C.kj_port // nil without a server
	there     bool       // the target exists
	lost      bool       // the target, or the server, has been away
	closed    bool
	connected []string // who is connected, as last seen
	arrivals  uint64   // how often somebody came

	// Output.
	ns       C.uint64_t
	staged   int
	fault    error
	unfit    uint64
	sounding [32]C.uint64_t // what sounded when the client went
	pedals   C.uint32_t
	past     C.kj_out_stats // of ports that went with their servers
}

// fade is a connection that has ended a moment ago: by a hand, or because the
// other port goes away, which JACK shows a little later.
type fade struct {
	name  string
	since time.Time
	gone  uint32 // how many ports had gone from the graph when it was last connected
}

// fadeTime is how long the other port may take to go.
const fadeTime = 300 * time.Millisecond

func newLine(d *Driver, name, target, virtual string, output bool, receive func(time.Time, []byte)) *line {
	l := &line{d: d, name: name, target: target, virtual: virtual, output: output, id: d.ids.Add(1), receive: receive}
	if output {
		l.emit = l.stage
	} else {
		l.emit = l.arrived
	}
	return l
}

// ---- Input: the draining goroutine ----

// deliver hands on what arrived; a system exclusive message that came in parts
// is put together.
func (l *line) deliver(at time.Time, b []byte) {
	l.reading.Lock()
	defer l.reading.Unlock()
	if l.receive == nil {
		return
	}
	l.at = at
	l.parser.Parse(b, l.emit)
}

func (l *line) arrived(m midi.Message) {
	if m.Size == 0 {
		l.receive(l.at, m.SysEx)
		return
	}
	l.scratch = m.Data
	l.receive(l.at, l.scratch[:m.Size])
}

// ---- Output: any goroutine ----

// stage lays one message of a Send at the end of the ring.
func (l *line) stage(m midi.Message) {
	if l.fault != nil {
		return
	}
	b := m.SysEx
	if m.Size > 0 {
		l.scratch = m.Data
		b = l.scratch[:m.Size]
	}
	if m.Size == 0 {
		var s C.kj_stats
		if C.kj_read_stats(l.k.c, &s); s.payload > 0 && len(b) > int(s.payload) {
			// Not the port's fault, so no error, which would have it closed.
			l.unfit++
			l.staged++
			l.d.log.Warn("a system exclusive message is longer than a buffer of this JACK server", "port", l.Name(), "bytes", len(b), "buffer", int(s.payload))
			return
		}
	}
	if C.kj_stage(l.c, l.ns, (*C.uint8_t)(unsafe.Pointer(&b[0])), C.uint32_t(len(b))) != 0 {
		l.fault = ErrFull
		return
	}
	l.staged++
}

// fullTime is how long Send waits for room in the ring, which JACK empties by
// more than a thousand messages in every period.
const fullTime = 500 * time.Millisecond

// Send puts the messages in b at the frame whose time is at; the zero time is
// as soon as possible. Either all of them are taken or none. While the ring is
// full it waits; what ends a sound has room when the rest has none any more. A
// system exclusive message that no cycle of this server can hold is counted as
// unfit and dropped.
func (l *line) Send(at time.Time, b []byte) error {
	err := l.trySend(at, b)
	if err != ErrFull {
		return err
	}
	for end := time.Now().Add(fullTime); err == ErrFull && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		err = l.trySend(at, b)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", l.Name(), err)
	}
	return nil
}

func (l *line) trySend(at time.Time, b []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.ready(); err != nil {
		return err
	}
	l.ns, l.staged, l.fault = C.uint64_t(nanoseconds(at)), 0, nil
	l.parser.Reset()
	l.parser.Parse(b, l.emit)
	if l.fault == nil && l.staged == 0 && len(b) > 0 {
		l.fault = fmt.Errorf("sending % x to %s: not a whole MIDI message", b[:min(len(b), 8)], l.Name())
	}
	if l.fault != nil {
		C.kj_abandon(l.c)
		return l.fault
	}
	C.kj_commit(l.c)
	return nil
}

// Alive tells whether the port is in the graph, and its target too, and that
// they have been so since it was opened. After that it works again, but who is
// there knows nothing of what was sent before.
func (l *line) Alive() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.lost && l.ready() == nil
}

// ready says why nothing can be sent. The caller holds mu.
func (l *line) ready() error {
	switch {
	case l.closed:
		return fmt.Errorf("%s: %w", l.Name(), port.ErrClosed)
	case l.c == nil || l.k.dead():
		return fmt.Errorf("%s: %w", l.Name(), ErrNoServer)
	case l.target != "" && !l.there:
		return fmt.Errorf("%s: %w", l.target, ErrGone)
	}
	return nil
}

// Name is what the port stands for.
func (l *line) Name() string {
	if l.target != "" {
		return l.target
	}
	return l.name
}

// Ahead is how long before its time a message is to be sent: two periods and
// what a goroutine may be late by. Without a server it is 0.
func (l *line) Ahead() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.k == nil {
		return 0
	}
	return time.Duration(l.k.ahead.Load())
}

// Hurry sends everything that waits for its time with the next cycle, in order.
func (l *line) Hurry() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c != nil {
		C.kj_hurry(l.c)
	}
}

// Connections lists the ports that are connected to this one.
func (l *line) Connections() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.connected)
}

// Close ends the notes that the port has sounding, and takes it away. That takes
// some cycles. An input's Close must not be called by what it receives.
func (l *line) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	l.mu.Unlock()
	if l.output {
		l.silence()
	} else {
		l.reading.Lock()
		l.receive = nil
		l.reading.Unlock()
	}
	return l.d.do(func() error { l.d.remove(l); return nil }, nil)
}

// silence sends what waits, and then the ends of what still sounds.
func (l *line) silence() {
	l.mu.Lock()
	if l.c == nil {
		l.mu.Unlock()
		return
	}
	C.kj_hurry(l.c)
	l.mu.Unlock()
	l.flush()
	l.mu.Lock()
	if l.c != nil {
		l.remember()
		l.settle(0)
		C.kj_hurry(l.c)
		C.kj_repeat(l.c)
	}
	l.mu.Unlock()
	l.flush()
}

// flush waits until JACK has all that was sent and is to be repeated.
func (l *line) flush() {
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); time.Sleep(500 * time.Microsecond) {
		l.mu.Lock()
		done := l.c == nil || l.k.dead() || C.kj_waiting(l.c) == 0 && C.kj_repeating(l.c) == 0
		l.mu.Unlock()
		if done {
			return
		}
	}
}

// remember adds what sounds now to what is to be ended. The caller holds mu, and
// c is there.
func (l *line) remember() {
	var sounding [32]C.uint64_t
	var pedals C.uint32_t
	C.kj_sounding(l.c, &sounding[0], &pedals)
	for i, w := range sounding {
		l.sounding[i] |= w
	}
	l.pedals |= pedals
}

// settle sends the ends of the notes in sounding, and forgets them. The caller
// holds mu, and c is there. ns is when; 0 is at once.
func (l *line) settle(ns C.uint64_t) {
	l.ns, l.staged, l.fault = ns, 0, nil
	for i, w := range l.sounding {
		for w := uint64(w); w != 0; w &= w - 1 {
			l.stage(midi.Off(i/2, bits.TrailingZeros64(w)+64*(i&1), 64))
		}
	}
	for p := uint32(l.pedals); p != 0; p &= p - 1 {
		l.stage(midi.CC(bits.TrailingZeros32(p), midi.CCSustain, 0))
	}
	C.kj_commit(l.c)
	l.sounding, l.pedals = [32]C.uint64_t{}, 0
}

// ---- The worker's side ----

// lay makes the port in a client.
func (l *line) lay(k *client) error {
	n := C.CString(l.name)
	defer C.kj_free(unsafe.Pointer(n))
	var out C.int
	if l.output {
		out = 1
	}
	c := C.kj_add(k.c, n, out, C.uint32_t(l.id), outRing)
	if c == nil {
		return fmt.Errorf("JACK does not register the port %s:%s: %s", k.name, l.name, message())
	}
	l.gone = uint32(C.kj_unregistered(k.c))
	l.mu.Lock()
	l.k, l.c = k, c
	l.mu.Unlock()
	return nil
}

// full is the port's name in the whole graph.
func (l *line) full() string { return C.GoString(C.kj_port_full_name(l.c)) }

// plug connects the port with another in the direction that it has.
func (l *line) plug(other string) error {
	if l.output {
		return l.k.connect(l.full(), other)
	}
	return l.k.connect(other, l.full())
}

// review connects the port with its target when that has come, and notes who is
// connected.
func (l *line) review() error {
	var err error
	now := list(C.kj_connections(l.k.c, l.c))
	there := l.target != "" && l.k.exists(l.target)
	came := there && !l.there
	if came && !slices.Contains(now, l.target) {
		if err = l.plug(l.target); err == nil {
			now = append(now, l.target)
		}
		there = err == nil
	}
	now, again := l.reconnect(now)
	back := len(again) > 0
	came = came || back && l.target != ""
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, other := range now {
		if slices.Contains(again, other) || !slices.Contains(l.connected, other) {
			l.arrivals++
		}
	}
	l.lost = l.lost || l.there && !there || back && l.target != ""
	l.there, l.connected = there, now
	if l.output && came {
		// A cable that was pulled may have left a note on the far side of it.
		l.remember()
	}
	if l.output && len(now) > 0 && (l.pedals != 0 || l.sounding != [32]C.uint64_t{}) {
		// A new cable carries only from one of the next cycles on.
		l.settle(C.uint64_t(nanoseconds(time.Now().Add(2 * time.Duration(l.k.ahead.Load())))))
		C.kj_repeat(l.c)
	}
	return err
}

// reconnect lays the cables again whose other end has come back, and finds out
// which have lost it. now is who is connected, before and after; again are those
// of them that were not before.
func (l *line) reconnect(now []string) (after, again []string) {
	gone := uint32(C.kj_unregistered(l.k.c))
	for _, other := range l.connected {
		if !slices.Contains(now, other) && !slices.ContainsFunc(l.fading, func(f fade) bool { return f.name == other }) {
			l.fading = append(l.fading, fade{other, time.Now(), l.gone})
		}
	}
	l.fading = slices.DeleteFunc(l.fading, func(f fade) bool {
		switch {
		case slices.Contains(now, f.name):
			return true
		case !l.k.exists(f.name):
			l.restore = append(l.restore, f.name)
			return true
		case f.gone != gone: // it is there again
			l.restore = append(l.restore, f.name)
			return true
		}
		return time.Since(f.since) > fadeTime // no port has gone: a hand has pulled the cable
	})
	l.gone = gone
	l.restore = slices.DeleteFunc(l.restore, func(other string) bool {
		if slices.Contains(now, other) {
			return true
		}
		if l.k.exists(other) && l.plug(other) == nil {
			now, again = append(now, other), append(again, other)
			return true
		}
		return false
	})
	return now, again
}

// lose takes the port out of a client that is gone, whose memory still is.
func (l *line) lose() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.c == nil {
		return
	}
	if l.output {
		l.remember()
		l.past, l.unfit = l.total(), 0
	}
	if l.target == "" {
		for _, c := range l.connected {
			if !slices.Contains(l.restore, c) {
				l.restore = append(l.restore, c)
			}
		}
		l.fading, l.gone = nil, 0
	}
	l.k, l.c, l.there, l.lost = nil, nil, false, true
}

// total adds up what the port has counted. The caller holds mu.
func (l *line) total() C.kj_out_stats {
	s := l.past
	s.unfit += C.uint64_t(l.unfit)
	if l.c == nil {
		return s
	}
	var n C.kj_out_stats
	C.kj_read_out_stats(l.c, &n)
	s.sent += n.sent
	s.late += n.late
	s.late_max_ns = max(s.late_max_ns, n.late_max_ns)
	s.deferred += n.deferred
	s.unfit += n.unfit
	s.early += n.early
	s.repeated += n.repeated
	return s
}

// take removes the port from the client.
func (l *line) take() {
	l.mu.Lock()
	k, c := l.k, l.c
	l.past, l.unfit = l.total(), 0
	l.k, l.c = nil, nil
	l.mu.Unlock()
	if c != nil {
		C.kj_remove(k.c, c)
	}
}
