package backplane

import (
	"go/parser"
	"go/token"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// told is what a listener heard of one gate.
type told struct {
	slot int
	high bool
	at   int64
}

// ear is a Listener that writes down.
type ear struct {
	t          *testing.T
	id         Identity
	protocol   uint8
	controls   []Control
	identified int
	bound      int
	values     [MaxValues]uint16
	valueCalls int
	gates      uint16
	edges      []told
	lost       []Reason
	faults     []FaultCode
}

func (e *ear) Identified(id Identity, protocol uint8) {
	e.id, e.protocol, e.controls = id, protocol, nil
	e.identified++
}
func (e *ear) Described(i int, c Control) {
	if i != len(e.controls) {
		e.t.Errorf("control %d was told as the %d-th", i, len(e.controls))
	}
	e.controls = append(e.controls, c)
}
func (e *ear) Bound()                   { e.bound++ }
func (e *ear) Value(slot int, v uint16) { e.values[slot] = v; e.valueCalls++ }
func (e *ear) Gate(slot int, high bool, at int64) {
	bit := uint16(1) << slot
	if high == (e.gates&bit != 0) {
		e.t.Errorf("gate %d was told %v twice", slot, high)
	}
	e.gates ^= bit
	e.edges = append(e.edges, told{slot, high, at})
}
func (e *ear) Fault(c FaultCode, _ uint8) { e.faults = append(e.faults, c) }
func (e *ear) Lost(why Reason) {
	if e.gates != 0 {
		e.t.Errorf("lost with gates %04x high", e.gates)
	}
	e.lost = append(e.lost, why)
}

var testControls = []Control{
	{Knob, 0, "cpu"}, {Knob, 1, "memory"}, {GateIn, 0, "lifecycle"}, {Button, 1, "request"}, {Light, 0, "ready"}, {Bar, 1, "load"},
}

// parcel is bytes under way.
type parcel struct {
	due int64
	b   []byte
}

// way is one direction of a line that does what it is told to.
type way struct {
	rng                                *rand.Rand
	delay, jitter                      int64
	corrupt, lose, twice, insert, gulp float64 // per byte; per parcel for lose and twice
	damaged                            int
	queue                              []parcel
	last                               int64
	dead                               bool
}

func (w *way) send(now int64, b []byte) {
	if w.dead || len(b) == 0 || w.rng.Float64() < w.lose {
		return
	}
	n := 1
	if w.rng.Float64() < w.twice {
		n = 2
	}
	for range n {
		var out []byte
		for _, x := range b {
			if w.rng.Float64() < w.gulp {
				w.damaged++
				continue
			}
			if w.rng.Float64() < w.insert {
				out = append(out, byte(w.rng.Uint32()))
				w.damaged++
			}
			if w.rng.Float64() < w.corrupt {
				x ^= byte(1 + w.rng.IntN(255))
				w.damaged++
			}
			out = append(out, x)
		}
		due := max(now+w.delay+int64(w.rng.Float64()*float64(w.jitter)), w.last) // a line keeps its order
		w.last = due
		w.queue = append(w.queue, parcel{due, out})
	}
}

func (w *way) arrived(now int64) (b []byte) {
	for len(w.queue) > 0 && w.queue[0].due <= now {
		b = append(b, w.queue[0].b...)
		w.queue = w.queue[1:]
	}
	return b
}

// line is a panel and a daemon and what is between them, in a time of its own.
type line struct {
	t      *testing.T
	ear    ear
	panel  Panel
	host   Host
	up     way // panel to daemon
	down   way
	now    int64
	offset int64 // the panel's clock less ours
	ppm    float64
	module string
	auto   bool // binds when it can
	framed Framing
}

func newLine(t *testing.T, f Framing, seed uint64) *line {
	rng := rand.New(rand.NewPCG(seed, 77))
	l := &line{t: t, framed: f, module: "pod/web-1", auto: true, offset: 4_294_000_000}
	l.ear.t = t
	l.up, l.down = way{rng: rng, delay: 300, jitter: 700}, way{rng: rng, delay: 300, jitter: 700}
	l.host.Init(&l.ear, f, uint32(seed)+1)
	l.boot(1)
	return l
}

func (l *line) boot(n uint32) {
	l.panel.Init(Identity{Kind: "pod", Serial: [8]byte{1, 2, 3, 4, 5, 6, 7, 8}, Firmware: 0x0102, Boot: n, Wish: "pod/web-1"}, testControls, l.framed)
}

func (l *line) panelTime() int64 { return l.now + l.offset + int64(float64(l.now)*l.ppm/1e6) }

// run lets time pass in steps of 100 µs; do may be nil.
func (l *line) run(micros int64, do func()) {
	l.runIn(micros, 100, do)
}

func (l *line) runIn(micros, step int64, do func()) {
	var buf [MaxFrame]byte
	for end := l.now + micros; l.now < end; l.now += step {
		if do != nil {
			do()
		}
		l.panel.Receive(l.panelTime(), l.down.arrived(l.now))
		l.host.Receive(l.now, l.up.arrived(l.now))
		if l.auto && l.host.Waiting() {
			l.host.Bind(l.module)
		}
		for {
			b := l.panel.Next(l.panelTime(), buf[:])
			if len(b) == 0 {
				break
			}
			l.up.send(l.now, b)
		}
		if b := l.host.Next(l.now, buf[:]); len(b) > 0 {
			l.down.send(l.now, b)
		}
	}
}

func TestSession(t *testing.T) {
	for _, c := range framings {
		t.Run(c.name, func(t *testing.T) {
			l := newLine(t, c.f, 1)
			l.panel.Gate(l.panelTime(), 0, true) // plugged before anything is on
			l.run(600_000, nil)
			if !l.host.Playing() || !l.panel.Bound() || l.ear.bound != 1 {
				t.Fatal("no session")
			}
			if got := l.ear.id; got.Kind != "pod" || got.Serial != [8]byte{1, 2, 3, 4, 5, 6, 7, 8} || got.Firmware != 0x0102 || got.Boot != 1 || got.Wish != "pod/web-1" || l.ear.protocol != Protocol {
				t.Errorf("identity %+v", got)
			}
			if !slices.Equal(l.ear.controls, testControls) {
				t.Errorf("controls %v", l.ear.controls)
			}
			if got := string(l.panel.Module()); got != "pod/web-1" {
				t.Errorf("it is %q", got)
			}
			if l.ear.gates != 1 {
				t.Error("the gate that was high before is not")
			}
			l.panel.Value(1, 12345)
			l.host.Show(1, 54321)
			l.host.Show(0, 65535)
			l.panel.Gate(l.panelTime(), 0, false)
			l.run(10_000, nil)
			if l.ear.values[1] != 12345 || l.panel.Output(1) != 54321 || l.panel.Output(0) != 65535 || l.ear.gates != 0 {
				t.Errorf("value %d, outputs %d %d, gates %04x", l.ear.values[1], l.panel.Output(0), l.panel.Output(1), l.ear.gates)
			}
			if l.host.RoundTrip < 600 || l.host.RoundTrip > 2500 {
				t.Errorf("round trip %d µs", l.host.RoundTrip)
			}
			l.run(2_000_000, nil)
			if len(l.ear.lost) != 0 || len(l.ear.faults) != 0 || l.host.Bad()+l.panel.Bad() != 0 {
				t.Errorf("lost %v, faults %v, bad %d %d", l.ear.lost, l.ear.faults, l.host.Bad(), l.panel.Bad())
			}
		})
	}
}

// TestEdgeTimes: an edge is told with the time at which it was, whatever the
// line did to it. The panel's clock is 100 ppm off and wraps.
func TestEdgeTimes(t *testing.T) {
	l := newLine(t, Serial, 2)
	l.ppm = 100
	l.up.jitter, l.down.jitter = 4000, 4000
	l.up.corrupt = 0.002
	l.run(1_500_000, nil)
	var truth []int64
	i := 0
	l.run(20_000_000, func() {
		if i++; i%371 == 0 {
			l.panel.Gate(l.panelTime(), 0, len(truth)%2 == 0)
			truth = append(truth, l.now)
		}
	})
	l.up.corrupt = 0
	l.run(200_000, nil)
	if len(l.ear.edges) != len(truth) {
		t.Fatalf("%d edges came of %d", len(l.ear.edges), len(truth))
	}
	worst, sum := 0.0, 0.0
	for i, e := range l.ear.edges {
		d := math.Abs(float64(e.at - truth[i]))
		worst, sum = max(worst, d), sum+d
	}
	t.Logf("%d edges over a line with 0.3…4.3 ms of delay: time off by %.0f µs, at most %.0f µs; %d bytes were damaged", len(truth), sum/float64(len(truth)), worst, l.up.damaged)
	if worst > 2000 {
		t.Errorf("an edge was told %.0f µs off", worst)
	}
}

// noisy plays both ends over a bad line until so many bytes were damaged, then
// over a good one, and compares. Nothing may be lost or stuck.
func noisy(t *testing.T, f Framing, seed uint64, damage int) {
	l := newLine(t, f, seed)
	rng := rand.New(rand.NewPCG(seed, 99))
	l.run(600_000, nil)
	for _, w := range []*way{&l.up, &l.down} {
		w.corrupt, w.gulp, w.insert, w.lose, w.twice = 0.01, 0.002, 0.002, 0.02, 0.02
	}
	var truth []told
	var levels uint16
	lights := [2]uint16{}
	knobs := [2]uint16{}
	stuckAt := int64(-1)
	longest, sessions := int64(0), 0
	moves := func() {
		switch rng.IntN(160) {
		case 0, 1:
			slot := rng.IntN(2)
			levels ^= 1 << slot
			l.panel.Gate(l.panelTime(), slot, levels>>slot&1 != 0)
			truth = append(truth, told{slot, levels>>slot&1 != 0, l.now})
		case 2:
			i := rng.IntN(2)
			knobs[i] = uint16(rng.Uint32())
			l.panel.Value(i, knobs[i])
		case 3:
			i := rng.IntN(2)
			lights[i] = uint16(rng.Uint32())
			l.host.Show(i, lights[i])
		}
		if l.ear.gates&^levels != 0 { // high there, low here
			if stuckAt < 0 {
				stuckAt = l.now
			}
			longest = max(longest, l.now-stuckAt)
		} else {
			stuckAt = -1
		}
		if l.ear.bound != sessions { // a new session shows again what is to be seen
			sessions = l.ear.bound
			l.host.Show(0, lights[0])
			l.host.Show(1, lights[1])
		}
	}
	for l.up.damaged+l.down.damaged < damage {
		l.run(1_000_000, moves)
		if stuckAt >= 0 && l.now-stuckAt > 2_000_000 {
			t.Fatalf("seed %d: gates %04x have been high for 2 s where the panel's are %04x", seed, l.ear.gates, levels)
		}
	}
	for _, w := range []*way{&l.up, &l.down} {
		w.corrupt, w.gulp, w.insert, w.lose, w.twice = 0, 0, 0, 0, 0
	}
	l.run(800_000, func() {
		if l.ear.bound != sessions {
			sessions = l.ear.bound
			l.host.Show(0, lights[0])
			l.host.Show(1, lights[1])
		}
	})
	if l.ear.gates != levels || [2]uint16(l.ear.values[:2]) != knobs || l.panel.Output(0) != lights[0] || l.panel.Output(1) != lights[1] {
		t.Errorf("seed %d: gates %04x for %04x, knobs %v for %v, lights %d %d for %v", seed, l.ear.gates, levels, l.ear.values[:2], knobs, l.panel.Output(0), l.panel.Output(1), lights)
	}
	if len(l.ear.lost) == 0 {
		// One session: every edge came, once and in order, but those that the
		// panel counts.
		came := make([]told, 0, len(l.ear.edges))
		for _, e := range l.ear.edges {
			came = append(came, told{e.slot, e.high, 0})
		}
		for i := range truth {
			truth[i].at = 0
		}
		if l.panel.Dropped() == 0 && !slices.Equal(came, truth) {
			t.Errorf("seed %d: %d edges came of %d", seed, len(came), len(truth))
		}
	}
	if slices.Contains(l.ear.lost, Confused) {
		t.Errorf("seed %d: the ends disagreed: %v", seed, l.ear.lost)
	}
	t.Logf("seed %d: %d bytes damaged in %.0f s, %d frames lost here and %d there; %d edges, %d left out, %d sessions lost; a gate was high too long for %.1f ms at most",
		seed, l.up.damaged+l.down.damaged, float64(l.now)/1e6, l.host.Bad(), l.panel.Bad(), len(truth), l.panel.Dropped(), len(l.ear.lost), float64(longest)/1e3)
}

// TestNoise: 10⁵ damaged bytes, of either framing, and no gate is stuck.
func TestNoise(t *testing.T) {
	for i, c := range framings {
		noisy(t, c.f, uint64(10+i), 50_000)
	}
}

// TestConverges: after anything that a line can do, and a second of good line,
// both ends agree.
func TestConverges(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 8))
	for round := range 60 {
		l := newLine(t, framings[round%2].f, uint64(100+round))
		l.run(600_000, nil)
		var levels uint16
		for range 6 {
			u, d := &l.up, &l.down
			u.lose, d.lose = rng.Float64()*1.2, rng.Float64()*1.2
			u.corrupt, d.corrupt = rng.Float64()*0.1, rng.Float64()*0.1
			u.twice, d.twice = rng.Float64(), rng.Float64()
			u.dead, d.dead = rng.IntN(5) == 0, rng.IntN(5) == 0
			if rng.IntN(8) == 0 {
				l.boot(rng.Uint32())
				for s := range 2 {
					l.panel.Gate(l.panelTime(), s, levels>>s&1 != 0)
				}
			}
			if rng.IntN(8) == 0 {
				l.host.Unplugged(l.now)
			}
			l.run(int64(rng.IntN(700_000)), func() {
				if rng.IntN(40) == 0 {
					s := rng.IntN(2)
					levels ^= 1 << s
					l.panel.Gate(l.panelTime(), s, levels>>s&1 != 0)
				}
			})
		}
		for _, w := range []*way{&l.up, &l.down} {
			*w = way{rng: w.rng, delay: 300, jitter: 700, queue: w.queue, last: w.last}
		}
		l.run(1_300_000, nil)
		if !l.host.Playing() || l.ear.gates != levels {
			t.Errorf("round %d: playing %v, gates %04x for %04x", round, l.host.Playing(), l.ear.gates, levels)
		}
	}
}

// TestGatesFall: whatever takes the panel away, its gates are low in time.
func TestGatesFall(t *testing.T) {
	start := func(t *testing.T) *line {
		l := newLine(t, Serial, 3)
		l.run(600_000, nil)
		l.panel.Gate(l.panelTime(), 0, true)
		l.run(10_000, nil)
		if l.ear.gates != 1 {
			t.Fatal("the gate did not rise")
		}
		return l
	}
	t.Run("cable cut", func(t *testing.T) {
		l := start(t)
		l.up.dead, l.down.dead = true, true
		l.run(DaemonPatience-KeepAlive-20_000, nil)
		if l.ear.gates != 1 {
			t.Error("too early")
		}
		l.run(KeepAlive+30_000, nil)
		if l.ear.gates != 0 || !slices.Equal(l.ear.lost, []Reason{Silent}) {
			t.Errorf("gates %04x, lost %v", l.ear.gates, l.ear.lost)
		}
		l.run(PanelPatience, nil)
		if l.panel.Connected() {
			t.Error("the panel believes in a daemon")
		}
		l.up.dead, l.down.dead = false, false
		l.run(500_000, nil)
		if l.ear.gates != 1 || l.ear.bound != 2 {
			t.Error("it did not come back")
		}
	})
	t.Run("unplugged", func(t *testing.T) {
		l := start(t)
		l.host.Unplugged(l.now)
		if l.ear.gates != 0 || !slices.Equal(l.ear.lost, []Reason{Closed}) {
			t.Errorf("gates %04x, lost %v", l.ear.gates, l.ear.lost)
		}
	})
	t.Run("switched on again", func(t *testing.T) {
		l := start(t)
		l.boot(2)
		l.run(KeepAlive+20_000, nil)
		if l.ear.gates != 0 || !slices.Equal(l.ear.lost, []Reason{Unknown}) {
			t.Errorf("gates %04x, lost %v", l.ear.gates, l.ear.lost)
		}
	})
	t.Run("goodbye", func(t *testing.T) {
		l := start(t)
		l.panel.Receive(l.panelTime(), l.host.Bye(nil))
		if l.panel.Connected() || l.panel.Bound() {
			t.Error("the panel did not hear it")
		}
	})
	t.Run("another module", func(t *testing.T) {
		l := start(t)
		l.module = "pod/web-2"
		l.host.Rebind(l.now)
		if l.ear.gates != 0 {
			t.Error("the old one's gate stayed")
		}
		l.run(500_000, nil)
		if string(l.panel.Module()) != "pod/web-2" || l.ear.gates != 1 {
			t.Errorf("it is %q, gates %04x", l.panel.Module(), l.ear.gates)
		}
	})
}

// TestFlood: a gate faster than the line loses pairs, which are counted, never
// the last word.
func TestFlood(t *testing.T) {
	l := newLine(t, Serial, 4)
	l.run(600_000, nil)
	l.up.dead = true
	n := 0
	l.run(100_000, func() {
		n++
		l.panel.Gate(l.panelTime(), 0, n%2 == 1)
	})
	l.up.dead = false
	l.panel.Gate(l.panelTime(), 0, true)
	l.run(200_000, nil)
	if l.ear.gates != 1 || l.panel.Dropped() == 0 {
		t.Errorf("gates %04x, %d dropped of %d", l.ear.gates, l.panel.Dropped(), n)
	}
	l.panel.Gate(l.panelTime(), 0, false)
	l.run(20_000, nil)
	if l.ear.gates != 0 {
		t.Error("stuck")
	}
}

func TestLaterProtocols(t *testing.T) {
	l := newLine(t, Serial, 5)
	var w writer
	w.begin(kindHello, 9)
	w.u8(Protocol + 1)
	w.u8(Protocol + 3)
	l.panel.Receive(0, Append(Serial, nil, w.bytes()))
	var buf [MaxFrame]byte
	b := l.panel.Next(0, buf[:])
	if l.panel.Connected() || len(b) == 0 {
		t.Fatal("it agreed, or did not answer")
	}
	l.host.session = 9
	l.host.Receive(1, b)
	if l.ear.protocol != 0 || l.ear.identified != 1 || l.host.state != foreign {
		t.Error("the daemon does not know that there is none in common")
	}
	// Messages of a later protocol, and longer ones, are no harm.
	l = newLine(t, Serial, 6)
	l.run(600_000, nil)
	for _, kind := range []byte{0x3f, 0x7f} {
		w.begin(kind, l.host.session)
		w.u32(1)
		frame := Append(Serial, nil, w.bytes())
		l.panel.Receive(l.panelTime(), frame)
		l.host.Receive(l.now, frame)
	}
	w.begin(kindOutputs, l.host.session)
	w.u16(50)
	w.u8(1)
	w.u16(7)
	w.u32(0xdeadbeef)
	l.panel.Receive(l.panelTime(), Append(Serial, nil, w.bytes()))
	if l.panel.Output(0) != 7 || len(l.ear.lost)+len(l.ear.faults) > 0 {
		t.Error("what is longer was not read")
	}
}

// TestImports: TinyGo has little; these have nothing at all.
func TestImports(t *testing.T) {
	for folder, allowed := range map[string][]string{
		".":   nil,
		"pod": {"github.com/k8s-synth/k8s-synth/hardware/backplane"},
	} {
		files, err := filepath.Glob(filepath.Join(folder, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", folder, err)
		}
		for _, name := range files {
			if strings.HasSuffix(name, "_test.go") {
				continue
			}
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(string(text), "//go:build !tinygo\n") {
				continue // it is not there then
			}
			f, err := parser.ParseFile(token.NewFileSet(), name, text, parser.ImportsOnly)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range f.Imports {
				if path := strings.Trim(i.Path.Value, `"`); !slices.Contains(allowed, path) {
					t.Errorf("%s imports %s: this runs on a microcontroller, without reflection, fmt or a large heap", name, path)
				}
			}
		}
	}
}

// silent is a Listener that hears nothing.
type silent struct{}

func (silent) Identified(Identity, uint8) {}
func (silent) Described(int, Control)     {}
func (silent) Bound()                     {}
func (silent) Value(int, uint16)          {}
func (silent) Gate(int, bool, int64)      {}
func (silent) Fault(FaultCode, uint8)     {}
func (silent) Lost(Reason)                {}

func TestNoGarbage(t *testing.T) {
	for _, c := range framings {
		var p Panel
		var h Host
		p.Init(Identity{Kind: "pod", Boot: 1}, testControls, c.f)
		h.Init(silent{}, c.f, 5)
		var buf [MaxFrame]byte
		now, i := int64(0), 0
		step := func() {
			now += 100
			i++
			p.Gate(now, 0, i%20 < 10)
			p.Value(0, uint16(i*9))
			h.Show(1, uint16(i*7))
			for b := p.Next(now, buf[:]); len(b) > 0; b = p.Next(now, buf[:]) {
				h.Receive(now, b)
			}
			p.Receive(now, h.Next(now, buf[:]))
			if h.Waiting() {
				h.Bind("pod/web-1")
			}
		}
		for range 10_000 {
			step()
		}
		if !h.Playing() {
			t.Fatal("no session")
		}
		if n := testing.AllocsPerRun(5000, step); n != 0 {
			t.Errorf("%s: %v allocations a step", c.name, n)
		}
	}
}

func FuzzEnds(f *testing.F) {
	f.Add([]byte{kindHello, 1, 0, 0, 0, 1, 1})
	f.Add([]byte{kindBind, 9, 0, 0, 0, 2, 'a', 'b'})
	f.Add([]byte{kindOutputs, 9, 0, 0, 0, 1, 0, 2, 1, 2, 3})
	f.Add([]byte{kindEdges, 9, 0, 0, 0, 0, 0, 1, 0x80, 1, 2, 3, 4})
	f.Add([]byte{kindIdentify, 9, 0, 0, 0, 1})
	f.Add([]byte{kindAlive, 9, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	f.Fuzz(func(t *testing.T, b []byte) {
		l := newLine(t, Serial, 7)
		l.ear.t = t
		l.runIn(500_000, 1000, nil)
		session := l.host.session
		for len(b) > 0 {
			n := min(len(b), 1+int(b[0])%24)
			p := append([]byte(nil), b[:n]...)
			b = b[n:]
			if len(p) >= 5 { // in the session
				p[1], p[2], p[3], p[4] = byte(session), byte(session>>8), byte(session>>16), byte(session>>24)
			}
			frame := Append(Serial, nil, p)
			l.panel.Receive(l.panelTime(), frame)
			l.host.Receive(l.now, frame)
			l.run(300, nil)
		}
		l.runIn(1_500_000, 1000, nil)
		if !l.host.Playing() {
			t.Fatal("it did not find back")
		}
	})
}
