package port

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// source looks at the ports of one driver, again and again. It alone opens and
// closes them.
type source struct {
	h     *Hub
	d     Driver
	first chan struct{} // closed after the first look
	fails int
	said  bool // that the driver's system is not there
	none  bool // it has no virtual ports
	port  *line
	feeds int // connections to its input, as last seen

	heard, fed uint64 // who had connected to its output and its input by then
}

func (s *source) run() {
	defer s.h.wg.Done()
	s.look()
	close(s.first)
	tick := time.NewTicker(s.h.c.Poll)
	defer tick.Stop()
	var changed <-chan struct{}
	if w, ok := s.d.(Watcher); ok {
		changed = w.Changed()
	}
	for {
		select {
		case <-s.h.quit:
			return
		case <-tick.C:
		case _, ok := <-changed:
			if !ok {
				changed = nil
				continue
			}
		}
		s.look()
		// What comes and goes in numbers is looked at together.
		select {
		case <-s.h.quit:
			return
		case <-time.After(together):
		}
	}
}

// together is the least time between two looks.
const together = 10 * time.Millisecond

// look compares the driver's lists with what is open.
func (s *source) look() {
	ins, outs, err := s.d.Ports()
	if err != nil {
		s.fails++
		if !s.said {
			s.said = true
			s.h.log.Warn("MIDI ports cannot be listed; they are used as soon as they can", "driver", s.d.Name(), "error", err)
		}
		// A list that fails once says nothing of what is open.
		if s.fails < lostAfter && s.any() {
			s.check()
			return
		}
		ins, outs = nil, nil
	} else {
		if s.said {
			s.said = false
			s.h.log.Info("MIDI ports can be listed again", "driver", s.d.Name())
		}
		s.fails = 0
	}
	s.merge(s.others(ins), s.others(outs))
	s.check()
	s.open()
	if err == nil {
		s.virtual()
	}
}

// others leaves out our own ports.
func (s *source) others(names []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return strings.HasPrefix(n, s.h.c.Name) })
}

// mine lists the lines of the driver, but the virtual one.
func (s *source) mine() (lines []*line) {
	s.h.mu.RLock()
	defer s.h.mu.RUnlock()
	for _, l := range s.h.lines {
		if l.src == s && !l.virtual {
			lines = append(lines, l)
		}
	}
	return lines
}

// any tells whether a port is open.
func (s *source) any() bool {
	return slices.ContainsFunc(s.mine(), func(l *line) bool { return l.in != nil || l.snd != nil })
}

// merge notes what is there, and closes what is not any more.
func (s *source) merge(ins, outs []string) {
	var gone []*line
	h := s.h
	h.mu.Lock()
	for _, l := range h.lines {
		if l.src != s || l.virtual {
			continue
		}
		in, out := slices.Contains(ins, l.system), slices.Contains(outs, l.system)
		if l.in != nil && !in || l.snd != nil && !out {
			gone = append(gone, l)
		}
		l.hasIn, l.hasOut = in, out
		if !in && !out {
			l.err = ""
		}
	}
	for _, list := range [2][]string{ins, outs} {
		same := map[string]int{}
		for _, n := range list {
			base := shownBy(s.d, n)
			same[base]++
			l := s.find(n, base, numbered(base, same[base]))
			l.hasIn, l.hasOut = slices.Contains(ins, n), slices.Contains(outs, n)
		}
	}
	h.mu.Unlock()
	for _, l := range gone {
		s.shut(l, nil)
	}
}

// numbered is the name of the nth port of those that are shown as base.
func numbered(base string, n int) string {
	if n < 2 {
		return base
	}
	return fmt.Sprintf("%s (%d)", base, n)
}

// find returns the line of a port that is there: the one that has it, or of the
// same device that was pulled out, of which the one that would be called name,
// or a new one. The caller holds mu.
func (s *source) find(system, base, name string) *line {
	var back *line
	for _, l := range s.h.lines {
		if l.src != s || l.virtual {
			continue
		}
		if l.system == system && (!l.left || l.hasIn || l.hasOut || l.name == name) {
			return l
		}
		if l.base == base && !l.hasIn && !l.hasOut && l.in == nil && l.snd == nil && (l.name == name || back == nil && !l.left) {
			back = l
		}
	}
	if back != nil {
		back.system = system
		return back
	}
	l := &line{name: s.h.unique(base, s.d.Name()), base: base, system: system, src: s, driver: s.d.Name(), held: new(midi.Held), slot: -1}
	s.h.lines = append(s.h.lines, l)
	return l
}

// check closes what has broken, or leads nowhere though the name is there: it is
// opened again at once.
func (s *source) check() {
	for _, l := range s.mine() {
		s.h.mu.RLock()
		in, out, broken := l.in, l.out, l.broken
		s.h.mu.RUnlock()
		if broken || dead(in) || dead(out) {
			s.shut(l, errors.New("the connection is lost"))
		}
	}
}

func dead(x any) bool {
	c, ok := x.(Checker)
	return ok && x != nil && !c.Alive()
}

// open opens what is wanted and not open.
func (s *source) open() {
	for _, l := range s.mine() {
		h := s.h
		h.mu.RLock()
		want := wanted(h.c.Patterns, l.name) || wanted(h.c.Patterns, l.system)
		// The same name by an earlier driver is the same device.
		if want && slices.ContainsFunc(h.lines, func(o *line) bool {
			return o.src != s && o.base == l.base && !o.virtual && (o.in != nil || o.snd != nil)
		}) {
			want = false
		}
		needIn, needOut := want && l.hasIn && l.in == nil, l.hasOut && l.snd == nil && (want || l.left)
		open := l.in != nil || l.snd != nil
		h.mu.RUnlock()
		if !needIn && !needOut {
			continue
		}
		var (
			in  io.Closer
			out Out
			err error
		)
		box := l.box
		if box == nil {
			box = newInbox(h.wake)
		}
		// One way may work where the other is taken by somebody else. What comes
		// with an error is nothing, whatever it is.
		if needOut {
			if out, err = s.d.OpenOut(l.system); err != nil {
				out = nil
			}
		}
		if needIn {
			var e error
			if in, e = s.d.OpenIn(l.system, box.receive); e != nil {
				in, err = nil, errors.Join(err, e)
			}
		}
		if err != nil {
			h.mu.Lock()
			if l.err != err.Error() {
				h.log.Warn("a MIDI port cannot be opened; it is tried again", "port", l.name, "error", err)
			}
			l.err = err.Error()
			h.mu.Unlock()
		}
		if in == nil && out == nil {
			continue
		}
		if !want { // only to end what an earlier process left
			s.settle(l, out)
			continue
		}
		h.mu.Lock()
		l.broken, l.left = false, false
		if err == nil {
			l.err = ""
		}
		if in != nil {
			l.in, l.box = in, box
		}
		if out != nil {
			s.attach(l, out)
		}
		if !open {
			l.plugged++
		}
		l.announced = true
		h.tell(l, true)
		h.mu.Unlock()
		h.log.Info("MIDI port opened", "port", l.name, "driver", l.driver, "in", l.in != nil, "out", l.snd != nil)
	}
}

// attach begins to play to a line. What it held is ended first. The caller
// holds mu.
func (s *source) attach(l *line, out Out) {
	h := s.h
	if l.slot < 0 && h.record != nil {
		if l.slot = h.record.take(l.driver, l.name, l.system, l.held); l.slot < 0 {
			h.log.Warn("no room on record: notes held on this port do not survive a crash", "port", l.name)
		}
	} else if l.slot >= 0 {
		put(h.record.slot(l.slot)[slotSystem:slotConnected], l.system)
	}
	l.out = out
	l.snd = newSender(out, l.held, l.unknown, func(err error) {
		// On the sender's thread, which this must not wait for.
		h.log.Warn("a MIDI port fails; it is opened again", "port", l.name, "error", err)
		go func() {
			h.mu.Lock()
			if l.out == out {
				l.broken, l.err = true, err.Error()
			}
			h.mu.Unlock()
		}()
	})
	l.unknown = false
}

// settle ends what was left sounding on a port that is not wanted, and closes
// it again.
func (s *source) settle(l *line, out Out) {
	snd := newSender(out, l.held, l.unknown, nil)
	snd.end(false)
	ended := false
	select {
	case <-snd.done:
		ended = !l.held.Any() && !snd.unknown
	case <-time.After(lastWords):
	}
	s.h.mu.Lock()
	select {
	case <-snd.done:
	default:
		s.abandon(l, snd)
	}
	if ended {
		l.left, l.unknown = false, false
		if l.slot >= 0 {
			s.h.record.free(l.slot)
			_ = l.held.Attach(nil)
			l.slot = -1
		}
		s.h.log.Info("notes that an earlier run left sounding were ended", "port", l.name)
	}
	s.h.mu.Unlock()
	_ = out.Close()
}

// abandon leaves a sender that is stuck in the driver to itself. The port that
// comes back ends a copy of what sounds, which is on record in its place, and
// everything besides. The caller holds mu.
func (s *source) abandon(l *line, snd *sender) {
	l.held, l.unknown = snd.abandon(), true
	if l.slot >= 0 {
		_ = l.held.Attach(s.h.record.slot(l.slot)[slotHeld:])
	}
}

// shut closes a line. What sounds on it stays on record.
func (s *source) shut(l *line, why error) {
	h := s.h
	h.mu.Lock()
	in, out, snd := l.in, l.out, l.snd
	l.in, l.out, l.snd = nil, nil, nil
	h.mu.Unlock()
	if in != nil {
		_ = in.Close()
		l.box.reset()
	}
	if snd != nil {
		snd.end(true)
		select {
		case <-snd.done:
			h.mu.Lock()
			l.unknown = l.unknown || snd.unknown
			h.mu.Unlock()
		case <-time.After(lastWords):
			h.mu.Lock()
			s.abandon(l, snd)
			h.mu.Unlock()
		}
	}
	if out != nil {
		closed := make(chan struct{})
		go func() { _ = out.Close(); close(closed) }()
		select {
		case <-closed:
		case <-time.After(lastWords):
		}
	}
	h.mu.Lock()
	if snd != nil {
		snd.mu.Lock()
		l.sent += snd.sent
		l.dropped += snd.q.dropped
		l.late.merge(&snd.late)
		snd.mu.Unlock()
	}
	l.broken = false
	if l.announced {
		l.announced = false
		h.tell(l, false)
	}
	h.mu.Unlock()
	if why == nil {
		h.log.Info("MIDI port closed", "port", l.name)
	} else {
		h.log.Info("MIDI port closed", "port", l.name, "why", why)
	}
}

// networkDriver is the driver whose virtual port bears its name, so that the
// machine's own port is called the same with it and without.
const networkDriver = "rtp"

// virtual makes the port for others, and notes who listens to it.
func (s *source) virtual() {
	h := s.h
	if !h.c.Virtual || s.none {
		return
	}
	if l := s.port; l != nil {
		h.mu.RLock()
		in, out, broken := l.in, l.out, l.broken
		h.mu.RUnlock()
		if broken || dead(in) || dead(out) {
			s.shut(l, errors.New("the system is another"))
			h.mu.Lock()
			l.hasIn, l.hasOut = false, false
			h.mu.Unlock()
		}
	}
	if l := s.port; l == nil || l.in == nil && l.snd == nil {
		box := newInbox(h.wake)
		if l != nil {
			box = l.box
		}
		in, out, err := s.d.Virtual(h.c.Name, box.receive)
		if errors.Is(err, ErrNoVirtual) {
			s.none = true
			return
		}
		if err != nil {
			if l == nil || l.err != err.Error() {
				h.log.Warn("no virtual MIDI port; it is tried again", "driver", s.d.Name(), "error", err)
			}
		}
		h.mu.Lock()
		if l == nil {
			name := h.c.Name
			if s.d.Name() == networkDriver {
				name += " " + networkDriver
			}
			l = &line{name: h.unique(name, s.d.Name()), base: h.c.Name, system: h.c.Name, src: s, driver: s.d.Name(), virtual: true, held: new(midi.Held), slot: -1, box: box}
			h.lines = append(h.lines, l)
			s.port = l
		}
		if err != nil {
			l.err = err.Error()
			h.mu.Unlock()
			return
		}
		l.err, l.in, l.box, l.hasIn, l.hasOut = "", in, box, true, out != nil
		l.plugged++
		l.announced = true
		if out != nil {
			s.attach(l, out)
		}
		h.tell(l, true)
		h.mu.Unlock()
		h.log.Info("virtual MIDI port opened", "port", l.name, "driver", l.driver)
	}
	heard, fed, feeds := s.heard, s.fed, s.feeds
	if a, ok := s.d.(Arrivals); ok {
		heard, fed, feeds = a.Arrived(h.c.Name)
	} else if f, ok := s.d.(Feeders); ok {
		feeds = f.Feeding(h.c.Name)
	}
	// Where the driver counts anew, all that had connected went.
	if fed < s.fed || feeds < s.feeds+int(fed-s.fed) {
		s.port.box.reset()
	}
	again := heard != s.heard
	s.heard, s.fed, s.feeds = heard, fed, feeds
	who, ok := s.d.(Listeners)
	if !ok {
		return
	}
	names := who.Connected(h.c.Name)
	h.mu.Lock()
	defer h.mu.Unlock()
	l := s.port
	if slices.Equal(l.connected, names) && !again {
		return
	}
	fresh := again || slices.ContainsFunc(names, func(n string) bool { return !slices.Contains(l.connected, n) })
	l.connected = names
	if h.record != nil {
		h.record.listeners(l.slot, names)
	}
	if fresh {
		h.tell(l, true)
	}
}
