package port

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
)

// Auto in Config.Ports stands for every USB serial port that says it is a panel.
const Auto = "auto"

// Config says where panels are looked for and whom they play.
type Config struct {
	// Ports are serial ports by their path, which need not be there yet, or Auto.
	Ports []string
	// Bind names the module that a panel is to be, such as pod/web-1, or says
	// that it is none now; then it is asked again every second, and at Rebind.
	// Nil gives each panel what it wishes.
	Bind func(Panel) (module string, ok bool)
	// Knob is told where a knob stands, 0 … 1 from the left end to the right; of a
	// CV input it is told the volts.
	Knob func(module, param string, value float64)
	// Gate is told of each edge of a jack or a button, with the time at which it
	// was.
	Gate func(module, jack string, high bool, at time.Time)
	// Plugged is told of a panel that is a module now (true), or is gone (false).
	// Its gates have fallen before.
	Plugged func(info Info, there bool)
	// Logger hears what comes, goes and fails; nil is silent.
	Logger *slog.Logger
	// Poll is how often ports are looked for; 0 is 100 ms.
	Poll time.Duration
}

// Panel is who asks to be bound.
type Panel struct {
	Port   string // path, or the name of the MIDI port
	Kind   string // of module
	Serial string // 16 hexadecimal digits
	Wish   string // module that the panel would like to be, or nothing
}

// Info is what is known of one line.
type Info struct {
	Port     string   `json:"port"`
	State    string   `json:"state"` // closed, looking, foreign, waiting or playing
	Kind     string   `json:"kind,omitempty"`
	Serial   string   `json:"serial,omitempty"`
	Firmware string   `json:"firmware,omitempty"`
	Module   string   `json:"module,omitempty"`
	Controls []string `json:"controls,omitempty"`
	// RoundTrip is how long a frame and its answer took at the least of late.
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Frames    uint32        `json:"frames"`  // that came
	BadHere   uint32        `json:"bad"`     // damaged ones that came
	BadThere  uint16        `json:"bad_far"` // damaged ones that the panel counts
	Dropped   uint16        `json:"dropped"` // edges that the panel had no room for
	Edges     uint64        `json:"edges"`
	Values    uint64        `json:"values"`
	Sessions  uint64        `json:"sessions"`
	Error     string        `json:"error,omitempty"` // why the port is closed
}

// Panels owns the lines to all panels. It is safe for any number of goroutines.
type Panels struct {
	c     Config
	log   *slog.Logger
	epoch time.Time
	quit  chan struct{}
	wg    sync.WaitGroup

	call sync.Mutex // held while the Config's functions are called

	mu     sync.Mutex
	lines  []*line
	wanted map[string]map[string]int32 // module, output: 65535 is 1
	closed bool
}

// Open begins to look for panels. It does not wait for any.
func Open(c Config) *Panels {
	if c.Poll <= 0 {
		c.Poll = 100 * time.Millisecond
	}
	p := &Panels{c: c, log: c.Logger, epoch: time.Now(), quit: make(chan struct{}), wanted: map[string]map[string]int32{}}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	seen := map[string]bool{}
	for _, path := range c.Ports {
		if path == "" || seen[path] {
			continue
		}
		seen[path] = true
		p.wg.Add(1)
		if path == Auto {
			go p.scan(seenPaths(c.Ports))
		} else {
			go p.serve(path, p.line(path), false)
		}
	}
	return p
}

func seenPaths(ports []string) map[string]bool {
	m := map[string]bool{}
	for _, p := range ports {
		m[p] = true
	}
	return m
}

// line returns the line of that name, a new one if there is none.
func (p *Panels) line(name string) *line {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.lines {
		if l.name == name {
			return l
		}
	}
	l := &line{p: p, name: name, wake: make(chan struct{}, 1)}
	l.info = Info{Port: name, State: "closed"}
	p.lines = append(p.lines, l)
	return l
}

// List returns what is known of every line, by name.
func (p *Panels) List() (all []Info) {
	p.mu.Lock()
	lines := slices.Clone(p.lines)
	p.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		i := l.info
		i.Controls = slices.Clone(i.Controls)
		l.mu.Unlock()
		all = append(all, i)
	}
	slices.SortFunc(all, func(a, b Info) int { return cmp.Compare(a.Port, b.Port) })
	return all
}

// Show sets a light, a bar or an output of a module, where 1 is bright, full or
// 10 V, and a CV output goes down to -1. It is kept for panels that come later,
// and does not wait. What is no number is 0.
func (p *Panels) Show(module, output string, value float64) {
	v := int32(0)
	if value == value {
		v = int32(math.Round(min(max(value, -1), 1) * 65535))
	}
	p.mu.Lock()
	m := p.wanted[module]
	if m == nil {
		m = map[string]int32{}
		p.wanted[module] = m
	}
	if old, ok := m[output]; ok && old == v {
		p.mu.Unlock()
		return
	}
	m[output] = v
	lines := p.lines[:len(p.lines):len(p.lines)]
	p.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		it := l.info.Module == module
		l.mu.Unlock()
		if it {
			l.poke()
		}
	}
}

// Rebind asks Bind anew for every panel, after the patch has changed. One that
// becomes another module lets go of its gates first.
func (p *Panels) Rebind() {
	p.mu.Lock()
	lines := slices.Clone(p.lines)
	p.mu.Unlock()
	for _, l := range lines {
		l.mu.Lock()
		l.rebind = true
		l.mu.Unlock()
		l.poke()
	}
}

// Close ends all sessions: gates fall, and the panels say that nobody plays.
func (p *Panels) Close() error {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		close(p.quit)
	}
	p.mu.Unlock()
	p.wg.Wait()
	return nil
}

func (p *Panels) now() int64 { return time.Since(p.epoch).Microseconds() }

// bind asks whom a panel is to be.
func (p *Panels) bind(who Panel) (string, bool) {
	if p.c.Bind == nil {
		return who.Wish, who.Wish != ""
	}
	p.call.Lock()
	defer p.call.Unlock()
	return p.c.Bind(who)
}

// line is the daemon's end of the line to one panel. It is the Listener of its
// own Host.
type line struct {
	p    *Panels
	name string
	wake chan struct{}

	mu     sync.Mutex // guards info and rebind
	info   Info
	rebind bool

	// Of the goroutine that runs the session.
	host     backplane.Host
	id       backplane.Identity
	controls []backplane.Control
	values   [backplane.MaxValues]backplane.Control
	gates    [backplane.MaxGates]string
	module   string
	askedAt  time.Time
	strange  bool // what the log was told already
	shownAt  int64
}

func (l *line) poke() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *line) change(f func(i *Info)) {
	l.mu.Lock()
	f(&l.info)
	l.mu.Unlock()
}

// chunks is how many reads and writes wait for the other side.
const chunks = 32

// run plays one opening of a line: received has what comes, and is closed when
// the line is gone; send sends one frame, or returns an error when it is gone.
func (l *line) run(f backplane.Framing, received <-chan []byte, send func([]byte) error) {
	p := l.p
	l.host.Init(l, f, rand.Uint32())
	l.change(func(i *Info) { *i = Info{Port: l.name, State: "looking", Sessions: i.Sessions} })
	out := make(chan []byte, chunks)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for b := range out {
			if send(b) != nil {
				for range out { // what is left is lost
				}
				return
			}
		}
	}()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var buf [backplane.MaxFrame]byte
	write := func(b []byte) {
		select {
		case out <- slices.Clone(b):
		default: // the line does not take more; what matters is sent again
		}
	}
	for on := true; on; {
		select {
		case b, ok := <-received:
			if !ok {
				on = false
				break
			}
			l.host.Receive(p.now(), b)
		case <-l.wake:
			l.mu.Lock()
			anew := l.rebind
			l.rebind = false
			l.mu.Unlock()
			if anew {
				l.askedAt = time.Time{}
				if l.module != "" {
					if m, ok := p.bind(l.panel()); !ok || m != l.module {
						l.host.Rebind(p.now())
					}
				}
			}
			l.show()
		case <-timer.C:
		case <-p.quit:
			if b := l.host.Bye(buf[:]); len(b) > 0 {
				write(b)
			}
			on = false
		}
		if !on {
			break
		}
		// What has come is heard before silence is judged: it may be this process
		// that stood still.
		for more := true; more; {
			select {
			case b, ok := <-received:
				if more = ok; ok {
					l.host.Receive(p.now(), b)
				} // a line that is gone is seen above
			default:
				more = false
			}
		}
		if l.host.Waiting() && time.Since(l.askedAt) > time.Second {
			l.askedAt = time.Now()
			if m, ok := p.bind(l.panel()); ok && l.host.Bind(m) {
				l.module = m
			}
		}
		now := p.now()
		for b := l.host.Next(now, buf[:]); len(b) > 0; b = l.host.Next(now, buf[:]) {
			write(b)
		}
		if now-l.shownAt > 200_000 {
			l.shownAt = now
			l.count(func(*Info) {})
		}
		timer.Reset(time.Duration(l.host.Due(now)-now)*time.Microsecond + 1)
	}
	l.host.Unplugged(p.now())
	l.module = ""
	l.change(func(i *Info) { i.State, i.Module, i.RoundTrip = "closed", "", 0 })
	close(out)
	select {
	case <-gone:
	case <-time.After(100 * time.Millisecond): // it hangs in the system, and ends with the port
	}
}

func (l *line) panel() Panel {
	return Panel{Port: l.name, Kind: l.id.Kind, Serial: hex.EncodeToString(l.id.Serial[:]), Wish: l.id.Wish}
}

// show gives the host all that the module is to show.
func (l *line) show() {
	if !l.host.Playing() {
		return
	}
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	wanted := l.p.wanted[l.module]
	for _, c := range l.controls {
		if v, ok := wanted[c.Name]; ok && c.Class.IsOutput() {
			if c.Class == backplane.CVOut {
				v = (v + 65536) / 2 // from −10 V on
			}
			l.host.Show(int(c.Slot), uint16(max(v, 0)))
		}
	}
}

// Identified implements backplane.Listener.
func (l *line) Identified(id backplane.Identity, protocol uint8) {
	l.id, l.controls = id, l.controls[:0]
	l.values, l.gates = [backplane.MaxValues]backplane.Control{}, [backplane.MaxGates]string{}
	l.askedAt = time.Time{}
	who := l.panel()
	state := "waiting"
	if protocol == 0 {
		state = "foreign"
		if !l.strange {
			l.strange = true
			l.p.log.Warn("a panel speaks no protocol of ours; update its firmware or k8s-synth", "port", l.name, "kind", id.Kind, "firmware", version(id.Firmware))
		}
	}
	l.change(func(i *Info) {
		i.State, i.Kind, i.Serial, i.Firmware, i.Controls = state, who.Kind, who.Serial, version(id.Firmware), nil
	})
}

func version(v uint16) string {
	return string(appendInt(append(appendInt(nil, int(v>>8)), '.'), int(v&0xff)))
}

func appendInt(b []byte, n int) []byte {
	if n >= 10 {
		b = appendInt(b, n/10)
	}
	return append(b, byte('0'+n%10))
}

// Described implements backplane.Listener.
func (l *line) Described(_ int, c backplane.Control) {
	l.controls = append(l.controls, c)
	switch {
	case c.Class.IsValue() && c.Slot < backplane.MaxValues:
		l.values[c.Slot] = c
	case c.Class.IsGate() && c.Slot < backplane.MaxGates:
		l.gates[c.Slot] = c.Name
	}
	l.change(func(i *Info) { i.Controls = append(i.Controls, c.Class.String()+" "+c.Name) })
}

// Bound implements backplane.Listener.
func (l *line) Bound() {
	var info Info
	l.change(func(i *Info) { i.State, i.Module = "playing", l.module; i.Sessions++; info = *i })
	l.p.log.Info("a panel plays", "port", l.name, "kind", l.id.Kind, "serial", info.Serial, "module", l.module)
	l.plugged(info, true)
	l.show()
}

func (l *line) plugged(i Info, there bool) {
	if l.p.c.Plugged == nil {
		return
	}
	l.p.call.Lock()
	defer l.p.call.Unlock()
	l.p.c.Plugged(i, there)
}

// Value implements backplane.Listener.
func (l *line) Value(slot int, v uint16) {
	l.count(func(i *Info) { i.Values++ })
	c := &l.values[slot]
	if c.Name == "" || l.p.c.Knob == nil {
		return
	}
	x := float64(v) / 65535
	if c.Class == backplane.CVIn {
		x = 20*x - 10
	}
	l.p.call.Lock()
	defer l.p.call.Unlock()
	l.p.c.Knob(l.module, c.Name, x)
}

// Gate implements backplane.Listener.
func (l *line) Gate(slot int, high bool, at int64) {
	l.count(func(i *Info) { i.Edges++ })
	if name := l.gates[slot]; name != "" && l.p.c.Gate != nil {
		l.p.call.Lock()
		defer l.p.call.Unlock()
		l.p.c.Gate(l.module, name, high, l.p.epoch.Add(time.Duration(at)*time.Microsecond))
	}
}

// count changes the counts, and brings those of the line up to date.
func (l *line) count(f func(*Info)) {
	l.change(func(i *Info) {
		f(i)
		i.Frames, i.BadHere, i.BadThere, i.Dropped = l.host.Good(), l.host.Bad(), l.host.PanelBad, l.host.PanelDropped
		i.RoundTrip = time.Duration(l.host.RoundTrip) * time.Microsecond
	})
}

// Fault implements backplane.Listener.
func (l *line) Fault(c backplane.FaultCode, detail uint8) {
	l.p.log.Warn("a panel says what is wrong", "port", l.name, "module", l.module, "fault", c.String(), "detail", detail)
}

// Lost implements backplane.Listener.
func (l *line) Lost(why backplane.Reason) {
	var info Info
	was := l.module
	l.change(func(i *Info) { info = *i; i.State, i.Module = "looking", "" })
	l.module = ""
	if was == "" || info.State != "playing" {
		return
	}
	level := slog.LevelWarn
	select {
	case <-l.p.quit: // it is we who go
		level = slog.LevelInfo
	default:
	}
	l.p.log.Log(context.Background(), level, "a panel is gone", "port", l.name, "kind", l.id.Kind, "module", was, "why", why.String())
	l.plugged(info, false)
}
