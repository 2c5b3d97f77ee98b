//go:build cgo && (linux || darwin)

package jack

// #include "jack.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// Driver is one client of a JACK server, with as many ports as are opened. It
// is safe for any number of goroutines.
type Driver struct {
	settings Settings
	log      *slog.Logger
	ids      atomic.Uint32
	calls    chan func()
	look     chan struct{} // the graph has changed, or the client is dead
	quit     chan struct{}
	gone     chan struct{} // the worker has ended
	once     sync.Once
	busy     atomic.Int64 // since when the worker is in one call, ns of epoch; 0: it is not

	table atomic.Pointer[map[uint32]*line] // for the draining goroutine

	changed chan struct{}
	seen    []string // the worker's: what Changed was last told of

	mu       sync.Mutex
	lines    []*line
	client   *client
	past     Stats               // of clients that are gone
	aliases  map[string]string   // the devices behind ports, as last listed
	remember map[string][]string // by name: the connections of virtual ports that were closed
}

var (
	_ port.Driver    = (*Driver)(nil)
	_ port.Namer     = (*Driver)(nil)
	_ port.Watcher   = (*Driver)(nil)
	_ port.Listeners = (*Driver)(nil)
	_ port.Feeders   = (*Driver)(nil)
	_ port.Arrivals  = (*Driver)(nil)
	_ port.Hurrier   = (*line)(nil)
	_ port.Checker   = (*line)(nil)
)

// New makes a driver. It touches neither library nor server before it is asked
// for ports.
func New(s Settings) *Driver {
	if s.Client == "" {
		s.Client = ClientName
	}
	d := &Driver{
		settings: s,
		log:      s.Logger,
		calls:    make(chan func()),
		look:     make(chan struct{}, 1),
		quit:     make(chan struct{}),
		gone:     make(chan struct{}),
		changed:  make(chan struct{}, 1),
		aliases:  map[string]string{},
		remember: map[string][]string{},
	}
	if d.log == nil {
		d.log = slog.New(slog.DiscardHandler)
	}
	d.table.Store(&map[uint32]*line{})
	go d.work()
	return d
}

// Name is "jack".
func (d *Driver) Name() string { return "jack" }

// Client is the name by which the server knows the driver; "" without a server.
// It is not Settings.Client if that was taken.
func (d *Driver) Client() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client == nil {
		return ""
	}
	return d.client.name
}

// Ports lists the MIDI ports of all other clients: ins can be received from,
// outs sent to. Without a server the error is ErrNoServer; the next call tries
// again.
func (d *Driver) Ports() (ins, outs []string, err error) {
	var send, receive []string
	err = d.do(func() error {
		if err := d.attach(); err != nil {
			return err
		}
		aliases := map[string]string{}
		send, receive = d.names(sends, aliases), d.names(receives, aliases)
		d.mu.Lock()
		d.aliases = aliases
		d.mu.Unlock()
		return nil
	}, nil)
	if err != nil {
		return nil, nil, err
	}
	return send, receive, nil
}

// names lists the ports of others with a flag, and what their devices are
// called. The worker's.
func (d *Driver) names(flag int, aliases map[string]string) []string {
	var names []string
	for _, n := range d.client.ports(flag) {
		if strings.HasPrefix(n, d.client.name+":") {
			continue
		}
		names = append(names, n)
		if a := d.client.alias(n); a != "" {
			aliases[n] = a
		}
	}
	return names
}

// Shown returns what the device behind a port of hardware is called, as
// "Launchpad Mini" for system:midi_capture_1, and for other ports their name.
func (d *Driver) Shown(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if a := d.aliases[name]; a != "" {
		return a
	}
	return name
}

// Changed yields when ports or connections have come or gone, or the server.
func (d *Driver) Changed() <-chan struct{} { return d.changed }

// OpenIn connects a port of our own, named in_ and the other's name, to a port
// that sends. receive gets whole messages, one at a time, with the time of
// their frame, on a goroutine that serves all inputs. The port is connected
// again whenever the other comes back, until it is closed.
func (d *Driver) OpenIn(name string, receive func(at time.Time, b []byte)) (io.Closer, error) {
	return d.open(name, false, receive)
}

// OpenOut does the same to a port that receives, from one named out_ and the
// other's name.
func (d *Driver) OpenOut(name string) (port.Out, error) {
	l, err := d.open(name, true, nil)
	if err != nil {
		return nil, err
	}
	return l, nil
}

func (d *Driver) open(name string, output bool, receive func(time.Time, []byte)) (*line, error) {
	var l *line
	err := d.do(func() error {
		if err := d.attach(); err != nil {
			return err
		}
		flag, prefix, what := sends, "in_", "sends"
		if output {
			flag, prefix, what = receives, "out_", "receives"
		}
		if !slices.Contains(d.client.ports(flag), name) {
			return fmt.Errorf("opening %q: JACK has no MIDI port of this name that %s", name, what)
		}
		l = newLine(d, d.free(prefix+plain(name)), name, "", output, receive)
		return d.add(l)
	}, func() { _ = l.Close() })
	if err != nil {
		return nil, err
	}
	return l, nil
}

// plain makes a port's name out of a whole one.
func plain(name string) string {
	name = strings.ReplaceAll(name, ":", "_")
	// Less than any server's limit of name and client together.
	if r := []rune(name); len(r) > 100 {
		name = string(r[:100])
	}
	return name
}

// free adds a number to a port's name if another port of ours has it.
func (d *Driver) free(name string) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, try := 2, name; ; i++ {
		if !slices.ContainsFunc(d.lines, func(l *line) bool { return l.name == try }) {
			return try
		}
		try = fmt.Sprintf("%s_%d", name, i)
	}
}

// Virtual makes a pair of ports for others to connect to: midi_in and midi_out
// when name is that of the client, else name and _in or _out. What was
// connected to them is connected again when it or the server had gone and is
// back, or when the port was closed and is made again; a cable that a hand has
// pulled is not.
func (d *Driver) Virtual(name string, receive func(at time.Time, b []byte)) (in io.Closer, out port.Out, err error) {
	prefix := "midi"
	if name != d.settings.Client {
		prefix = plain(name)
	}
	var from, to *line
	err = d.do(func() error {
		if err := d.attach(); err != nil {
			return err
		}
		from = newLine(d, d.free(prefix+"_in"), "", name, false, receive)
		to = newLine(d, d.free(prefix+"_out"), "", name, true, nil)
		for _, l := range []*line{from, to} {
			l.restore = d.remember[l.name]
			delete(d.remember, l.name)
		}
		if err := d.add(from); err != nil {
			return err
		}
		if err := d.add(to); err != nil {
			d.remove(from)
			return err
		}
		return nil
	}, func() { _, _ = from.Close(), to.Close() })
	if err != nil {
		return nil, nil, err
	}
	return from, to, nil
}

// Feeding counts who is connected to the input of the virtual ports of a name.
func (d *Driver) Feeding(virtual string) (count int) {
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		if !l.output && l.virtual != "" && l.virtual == virtual {
			count += len(l.Connections())
		}
	}
	return count
}

// Connected lists the ports that the output of a virtual port is connected to,
// as last seen: what Release needs after a crash.
func (d *Driver) Connected(virtual string) []string {
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	var names []string
	for _, l := range lines {
		if l.output && l.virtual != "" && l.virtual == virtual {
			names = append(names, l.Connections()...)
		}
	}
	return names
}

// Arrived counts who has connected to the virtual ports of a name, and who is
// connected to their inputs.
func (d *Driver) Arrived(virtual string) (listeners, feeders uint64, feeding int) {
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		if l.virtual == "" || l.virtual != virtual {
			continue
		}
		l.mu.Lock()
		if l.output {
			listeners += l.arrivals
		} else {
			feeders += l.arrivals
			feeding += len(l.connected)
		}
		l.mu.Unlock()
	}
	return listeners, feeders, feeding
}

// Stats returns the counters.
func (d *Driver) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats()
}

// stats adds up. The caller holds mu.
func (d *Driver) stats() Stats {
	s := d.past
	if k := d.client; k != nil {
		var n C.kj_stats
		C.kj_read_stats(k.c, &n)
		s.Client, s.Period, s.Rate, s.Cycles = k.name, int(n.period), int(n.rate), uint64(n.cycles)
		s.Busy = max(s.Busy, time.Duration(n.busy_max_ns))
		s.Xruns += uint64(n.xruns)
		s.Strayed += uint64(n.strayed)
		s.Received += uint64(n.received)
		s.Dropped += uint64(n.dropped)
		s.Owed += uint64(n.owed)
		s.Lost += uint64(n.lost)
	}
	for _, l := range d.lines {
		l.mu.Lock()
		s.count(l.total())
		l.mu.Unlock()
	}
	return s
}

func (s *Stats) count(n C.kj_out_stats) {
	s.Sent += uint64(n.sent)
	s.Late += uint64(n.late)
	s.LateMax = max(s.LateMax, time.Duration(n.late_max_ns))
	s.Hurried += uint64(n.early)
	s.Deferred += uint64(n.deferred)
	s.Unfit += uint64(n.unfit)
	s.Repeated += uint64(n.repeated)
}

// Close ends what sounds, and takes ports and client away.
func (d *Driver) Close() error {
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	var errs []error
	for _, l := range lines {
		errs = append(errs, l.Close())
	}
	errs = append(errs, d.do(func() error { d.detach(); return nil }, nil))
	d.once.Do(func() { close(d.quit) })
	return errors.Join(errs...)
}

// ---- The worker: the only goroutine that makes calls which a server may delay ----

// patience is how long a caller waits for a server.
const patience = 2 * time.Second

// do has the worker call f, and returns what it returned, or that it takes too
// long. What f has made when it ends well after that is taken back by undo.
func (d *Driver) do(f func() error, undo func()) error {
	if b := d.busy.Load(); b != 0 && time.Since(epoch)-time.Duration(b) > patience {
		return ErrHangs
	}
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	done := make(chan error, 1)
	select {
	case d.calls <- func() { done <- f() }:
	case <-d.quit:
		return fmt.Errorf("the JACK driver: %w", port.ErrClosed)
	case <-timeout.C:
		return ErrHangs
	}
	select {
	case err := <-done:
		return err
	case <-timeout.C:
		go func() {
			if <-done == nil && undo != nil {
				undo()
			}
		}()
		return ErrHangs
	}
}

// retry is how often a server that was lost is looked for.
const retry = 200 * time.Millisecond

func (d *Driver) work() {
	defer close(d.gone)
	again := time.NewTicker(retry)
	defer again.Stop()
	for {
		var f func()
		select {
		case <-d.quit:
			return
		case f = <-d.calls:
		case <-d.look:
			f = d.review
		case <-again.C:
			if f = d.due(); f == nil {
				continue
			}
		}
		d.busy.Store(int64(time.Since(epoch)) | 1)
		f()
		d.busy.Store(0)
	}
}

// due is what there is to do without being asked.
func (d *Driver) due() func() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.lines) == 0 {
		return nil
	}
	if d.client == nil {
		return func() { _ = d.attach() }
	}
	if slices.ContainsFunc(d.lines, func(l *line) bool { return len(l.fading) > 0 }) {
		return d.review
	}
	return nil
}

// attach opens the client if there is none that lives, and lays all ports in it.
func (d *Driver) attach() error {
	if d.client != nil {
		if !d.client.dead() {
			return nil
		}
		d.detach()
	}
	if err := load(); err != nil {
		return err
	}
	k, err := openClient(d.settings.Client, d.settings.Server)
	if err != nil {
		return err
	}
	if k.name != d.settings.Client {
		d.log.Warn("the name of the JACK client is taken", "wanted", d.settings.Client, "is", k.name)
	}
	go d.drain(k)
	d.mu.Lock()
	d.client = k
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		if err := l.lay(k); err != nil {
			d.log.Error("a port of JACK could not be made again", "port", l.name, "error", err)
		}
	}
	d.review()
	d.log.Info("JACK client opened", "name", k.name, "period", d.Stats().Period, "rate", d.Stats().Rate, "ports", len(lines))
	return nil
}

// detach closes the client, alive or dead, and keeps the ports for the next.
func (d *Driver) detach() {
	k := d.client
	if k == nil {
		return
	}
	d.collect()
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		l.lose()
	}
	d.mu.Lock()
	d.past = d.stats()
	d.past.Client, d.past.Period, d.past.Rate, d.past.Cycles = "", 0, 0, 0
	d.past = d.past.without(d.lines)
	d.client = nil
	d.mu.Unlock()
	if k.dead() {
		d.log.Warn("JACK is lost", "why", k.why())
	}
	k.close()
}

// without takes the counts of ports out again that go on being counted.
func (s Stats) without(lines []*line) Stats {
	for _, l := range lines {
		l.mu.Lock()
		n := l.total()
		l.mu.Unlock()
		s.Sent -= uint64(n.sent)
		s.Late -= uint64(n.late)
		s.Hurried -= uint64(n.early)
		s.Deferred -= uint64(n.deferred)
		s.Unfit -= uint64(n.unfit)
		s.Repeated -= uint64(n.repeated)
	}
	return s
}

// review looks at the graph after it has changed.
func (d *Driver) review() {
	defer d.notice()
	k := d.client
	if k == nil {
		return
	}
	if k.dead() {
		d.detach()
		return
	}
	k.measure()
	d.collect()
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		if l.c == nil {
			continue
		}
		if err := l.review(); err != nil {
			d.log.Warn("a JACK port could not be connected", "port", l.target, "error", err)
		}
	}
}

// collect tells each port which cables have been laid to it, among them those
// that came and went between two reviews.
func (d *Driver) collect() {
	k := d.client
	if k == nil {
		return
	}
	laid := list(C.kj_laid(k.c))
	d.mu.Lock()
	defer d.mu.Unlock()
	for ; len(laid) >= 2; laid = laid[2:] {
		for _, l := range d.lines {
			if l.c == nil {
				continue
			}
			ours, other := laid[1], laid[0]
			if l.output {
				ours, other = other, ours
			}
			if ours == l.full() && !slices.Contains(l.connected, other) {
				l.mu.Lock()
				l.connected = append(l.connected, other)
				l.arrivals++
				l.mu.Unlock()
			}
		}
	}
}

// notice tells who waits for Changed if there is news for him: our own ports'
// coming and going is none, or each look of his would make the next.
func (d *Driver) notice() {
	var seen []string
	if d.client != nil {
		ignore := map[string]string{}
		seen = append(seen, d.names(sends, ignore)...)
		seen = append(append(seen, ""), d.names(receives, ignore)...)
	}
	d.mu.Lock()
	lines := slices.Clone(d.lines)
	d.mu.Unlock()
	for _, l := range lines {
		if l.virtual != "" {
			l.mu.Lock()
			if seen = append(seen, fmt.Sprint(l.arrivals)); l.output {
				seen = append(seen, l.connected...)
			}
			l.mu.Unlock()
		}
	}
	if slices.Equal(seen, d.seen) {
		return
	}
	d.seen = seen
	select {
	case d.changed <- struct{}{}:
	default:
	}
}

// add lays a new port and connects it.
func (d *Driver) add(l *line) error {
	d.mu.Lock()
	d.lines = append(d.lines, l)
	d.mu.Unlock()
	d.tabulate()
	err := l.lay(d.client)
	if err == nil {
		err = l.review()
	}
	if err == nil && l.output && len(l.connected) > 0 {
		// A new cable carries only from one of the next cycles on, and what is sent first is often
		// the end of what was left sounding.
		d.client.pass(3)
	}
	if err != nil {
		d.remove(l)
	}
	return err
}

// remove takes a port away for good.
func (d *Driver) remove(l *line) {
	if l.target == "" {
		// A hub that has found it broken makes it again in a moment.
		d.collect()
		l.mu.Lock()
		again := slices.Clone(l.restore)
		for _, c := range l.connected {
			if !slices.Contains(again, c) {
				again = append(again, c)
			}
		}
		l.mu.Unlock()
		d.remember[l.name] = again
	}
	l.take()
	d.mu.Lock()
	if i := slices.Index(d.lines, l); i >= 0 {
		d.lines = slices.Delete(d.lines, i, i+1)
		l.mu.Lock()
		d.past.count(l.past)
		l.mu.Unlock()
	}
	d.mu.Unlock()
	d.tabulate()
}

// tabulate makes the draining goroutine's table of the inputs.
func (d *Driver) tabulate() {
	t := map[uint32]*line{}
	d.mu.Lock()
	for _, l := range d.lines {
		if !l.output {
			t[l.id] = l
		}
	}
	d.mu.Unlock()
	d.table.Store(&t)
}

// drain hands on what arrives at a client's ports, until it is closed.
func (d *Driver) drain(k *client) {
	defer close(k.drained)
	buf := make([]byte, 1<<20+64)
	each := func(id uint32, at time.Time, b []byte) {
		if l := (*d.table.Load())[id]; l != nil {
			l.deliver(at, b)
		}
	}
	var graph uint32
	for !k.stop.Load() {
		k.wait(100 * time.Millisecond)
		for k.read(buf, each) > 0 {
		}
		if g := uint32(C.kj_graph(k.c)); g != graph || k.dead() {
			graph = g
			select {
			case d.look <- struct{}{}:
			default:
			}
		}
	}
}
