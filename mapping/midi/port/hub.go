package port

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Config says which ports a Hub opens and whom it tells.
type Config struct {
	// Name is that of the virtual ports, and the beginning of the names by which
	// our own ports are known and left alone; "" is "k8s-synth".
	Name string
	// Virtual makes a port for others to connect to in each driver that can.
	Virtual bool
	// Patterns choose the ports of others, see Match. "all" is all but Midi
	// Through. Ports that appear later are opened, too.
	Patterns []string
	// Drivers are asked at the same time. A port that two of them show by the
	// same name is opened in one.
	Drivers []Driver
	// Poll is how often the lists are looked at; 0 is 500 ms.
	Poll time.Duration
	// Received gets each message, of one port in the order of arrival. Plugged is
	// told of each port that has been opened (true), or is lost (false), and
	// again of a virtual one to which somebody new has connected (true): it wants
	// to be sent all state. Both are called from one goroutine, and may call the
	// Hub, but not Close. Either may be nil. The bytes of an exclusive message
	// are the receiver's.
	Received func(In)
	Plugged  func(Info, bool)
	// Logger hears what comes, goes and fails; nil is silent.
	Logger *slog.Logger
	// Held is the path of the file that keeps what sounds through a crash; "" is
	// none.
	Held string
}

const (
	// defaultName is under which the instrument appears.
	defaultName = "k8s-synth"
	defaultPoll = 500 * time.Millisecond
	// firstLook is how long Open waits for the drivers' first lists.
	firstLook = 2 * time.Second
	// lastWords is how long Close waits for a port to take its note-offs.
	lastWords = 500 * time.Millisecond
	// recordPatience is how long Open waits for a watchdog that ends what an
	// earlier process held.
	recordPatience = time.Second
	// lostAfter is how many failed looks in a row mean that all ports are gone.
	lostAfter = 3
)

// Hub owns the ports of all drivers. It is safe for any number of goroutines.
type Hub struct {
	c   Config
	log *slog.Logger

	quit chan struct{}
	wg   sync.WaitGroup // of the sources
	news chan struct{}  // for the dispatcher
	told chan struct{}  // the dispatcher has ended

	mu     sync.RWMutex
	lines  []*line
	events []event
	record *record
	closed bool
}

// event is what the dispatcher tells.
type event struct {
	info Info
	on   bool
}

// line is one port, present or not. It keeps its name for the hub's life. All
// is guarded by the hub's mu but what is marked.
type line struct {
	name    string // unique in the hub
	base    string // as the driver shows it
	system  string // the driver's own name now, or when last seen
	src     *source
	driver  string
	virtual bool

	hasIn, hasOut bool // present
	in            io.Closer
	box           *inbox
	out           Out
	snd           *sender
	held          *midi.Held // the sender's while there is one
	unknown       bool       // what sounds is not known: everything is ended
	slot          int        // of the record; −1: none
	left          bool       // from an earlier process, to be ended
	connected     []string

	announced bool
	broken    bool
	err       string
	plugged   uint64
	// Of senders that are gone:
	sent, dropped uint64
	late          histogram
}

// Open opens what is there, and looks for more until the hub is closed. What
// an earlier process left sounding is ended. Without any port it works, too;
// its error is of the record only, and then the hub plays without one.
func Open(c Config) (*Hub, error) {
	if c.Name == "" {
		c.Name = defaultName
	}
	if c.Poll <= 0 {
		c.Poll = defaultPoll
	}
	h := &Hub{c: c, log: c.Logger, quit: make(chan struct{}), news: make(chan struct{}, 1), told: make(chan struct{})}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	var sources []*source
	for _, d := range c.Drivers {
		sources = append(sources, &source{h: h, d: d, first: make(chan struct{})})
	}
	var err error
	if c.Held != "" {
		var lefts []left
		if h.record, lefts, err = awaitRecord(context.Background(), c.Held, recordPatience); err != nil {
			h.log.Warn("held notes do not survive a crash", "error", err)
		}
		h.inherit(lefts, sources)
	}
	go h.dispatch()
	h.wg.Add(len(sources))
	for _, s := range sources {
		go s.run()
	}
	timeout := time.After(firstLook)
	for _, s := range sources {
		select {
		case <-s.first:
		case <-timeout:
			return h, err
		}
	}
	return h, err
}

// inherit makes lines of what was left sounding, so that it stays on record
// until it is ended.
func (h *Hub) inherit(lefts []left, sources []*source) {
	for _, l := range lefts {
		i := slices.IndexFunc(sources, func(s *source) bool { return s.d.Name() == l.driver })
		if i < 0 {
			h.log.Warn("notes of an earlier run may sound on a port whose driver is not here", "port", l.name, "driver", l.driver)
			continue
		}
		s := sources[i]
		names := l.connected
		if len(names) == 0 {
			names = []string{l.system}
		}
		for _, system := range names {
			base := shownBy(s.d, system)
			name := base
			if len(l.connected) == 0 && l.name != "" {
				name = l.name
			}
			held := new(midi.Held)
			if b, err := l.held.MarshalBinary(); err == nil {
				_ = held.UnmarshalBinary(b)
			}
			n := &line{name: h.unique(name, s.d.Name()), base: base, system: system, src: s, driver: l.driver, held: held, left: true, unknown: !l.known, slot: -1}
			n.slot = h.record.take(n.driver, n.name, n.system, n.held)
			h.lines = append(h.lines, n)
		}
	}
}

// unique makes a name that no other line has.
func (h *Hub) unique(base, driver string) string {
	taken := func(n string) bool {
		return slices.ContainsFunc(h.lines, func(l *line) bool { return l.name == n })
	}
	if !taken(base) {
		return base
	}
	if strings.EqualFold(base, h.c.Name) {
		base += " " + driver
	}
	for i, n := 2, base; ; i++ {
		if !taken(n) {
			return n
		}
		n = numbered(base, i)
	}
}

func shownBy(d Driver, system string) string {
	if n, ok := d.(Namer); ok {
		return n.Shown(system)
	}
	return system
}

// Send queues messages for a port: by its name, by a pattern as of Match, or
// for all open ones if port is "". They go out at a time, the zero time being
// now, in the order in which they were given where it is the same. A note that
// ends before it has begun is not begun. The error is ErrNoPort if no such port
// is open.
func (h *Hub) Send(port string, at time.Time, m ...midi.Message) error {
	if at.IsZero() {
		at = time.Now() // one time for all ports
	}
	h.mu.RLock()
	defer h.mu.RUnlock()
	n := 0
	for _, l := range h.lines {
		if l.snd != nil && strings.EqualFold(l.name, port) {
			if l.snd.send(at, m) == nil {
				n++
			}
		}
	}
	if n > 0 {
		return nil
	}
	for _, l := range h.lines {
		if l.snd != nil && !l.left && (port == "" || Match(port, l.name)) {
			if l.snd.send(at, m) == nil {
				n++
			}
		}
	}
	if n == 0 {
		return fmt.Errorf("sending to MIDI port %q: %w", port, ErrNoPort)
	}
	return nil
}

// Panic ends everything that sounds on every open output, before all that is
// queued for it: all sound off on all channels, note-offs of what is held, all
// notes off. Queued notes are dropped. It does not wait.
func (h *Hub) Panic() {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, l := range h.lines {
		if l.snd != nil {
			l.snd.hurry()
		}
	}
}

// Ports lists all ports that are or were there, in the order in which they
// appeared.
func (h *Hub) Ports() []Info {
	h.mu.RLock()
	defer h.mu.RUnlock()
	all := make([]Info, 0, len(h.lines))
	for _, l := range h.lines {
		all = append(all, l.info())
	}
	return all
}

// info describes the line. The caller holds mu.
func (l *line) info() Info {
	i := Info{
		Name: l.name, Driver: l.driver, System: l.system, In: l.hasIn, Out: l.hasOut, Virtual: l.virtual,
		Open: l.in != nil || l.snd != nil, Present: l.hasIn || l.hasOut, Error: l.err,
		Connected: slices.Clone(l.connected), Sent: l.sent, Dropped: l.dropped, Plugged: l.plugged,
	}
	if l.box != nil {
		l.box.mu.Lock()
		i.Received, i.Faults = l.box.received, l.box.faults
		i.Dropped += l.box.q.dropped
		l.box.mu.Unlock()
	}
	late := l.late
	if l.snd != nil {
		l.snd.mu.Lock()
		i.Sent += l.snd.sent
		i.Dropped += l.snd.q.dropped
		late.merge(&l.snd.late)
		l.snd.mu.Unlock()
	}
	i.Late = late.spread()
	return i
}

// tell queues an event. The caller holds mu.
func (h *Hub) tell(l *line, on bool) {
	h.events = append(h.events, event{l.info(), on})
	h.wake()
}

func (h *Hub) wake() {
	select {
	case h.news <- struct{}{}:
	default:
	}
}

// dispatch takes one message from each port in turn, so that a flood on one
// keeps no other waiting.
func (h *Hub) dispatch() {
	defer close(h.told)
	type entry struct {
		name string
		box  *inbox
	}
	var boxes []entry
	for {
		h.mu.Lock()
		events := h.events
		h.events = nil
		closed := h.closed
		boxes = boxes[:0]
		for _, l := range h.lines {
			if l.box != nil {
				boxes = append(boxes, entry{l.name, l.box})
			}
		}
		h.mu.Unlock()
		if closed {
			return
		}
		if h.c.Plugged != nil {
			for _, e := range events {
				h.c.Plugged(e.info, e.on)
			}
		}
		some := false
		// Some rounds before it looks for news again.
		for range 16 {
			some = false
			for _, b := range boxes {
				at, m, ok := b.box.take()
				if !ok {
					continue
				}
				some = true
				if h.c.Received != nil {
					h.c.Received(In{Port: b.name, At: at, Message: m})
				}
			}
			if !some {
				break
			}
		}
		if !some {
			<-h.news
		}
	}
}

// Close ends what sounds on each port, within half a second, and closes all.
// What a port that is blocked does not take stays on record for the next start.
func (h *Hub) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	h.mu.Unlock()
	close(h.quit)
	h.wake()
	// The receiver, a driver and a port may each hang.
	waited := make(chan struct{})
	go func() { h.wg.Wait(); close(waited) }()
	select {
	case <-waited:
	case <-time.After(firstLook): // a driver hangs
	}

	select {
	case <-h.told:
	case <-time.After(firstLook):
	}

	// Nobody else touches the lines now but to read.
	h.mu.RLock()
	defer h.mu.RUnlock()
	for _, l := range h.lines {
		if l.snd != nil {
			l.snd.end(false)
		}
	}
	deadline := time.NewTimer(lastWords)
	defer deadline.Stop()
	var errs []error
	stuck := false
	for _, l := range h.lines {
		if l.snd == nil {
			continue
		}
		select {
		case <-l.snd.done:
			continue
		default:
		}
		select {
		case <-l.snd.done:
		case <-deadline.C:
			deadline.Reset(0)
			errs = append(errs, fmt.Errorf("MIDI port %q takes no note-offs", l.name))
			stuck = true
		}
	}
	shut := make(chan struct{})
	lines := slices.Clone(h.lines)
	go func() {
		defer close(shut)
		for _, l := range lines {
			if l.in != nil {
				_ = l.in.Close()
			}
			if l.out != nil {
				_ = l.out.Close()
			}
		}
	}()
	select {
	case <-shut:
	case <-time.After(lastWords):
		errs = append(errs, errors.New("a MIDI port does not close"))
	}
	if h.record != nil && !stuck { // a thread that is stuck may yet write to it
		errs = append(errs, h.record.close())
	}
	return errors.Join(errs...)
}
