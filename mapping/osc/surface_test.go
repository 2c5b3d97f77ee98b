package osc

import (
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// rack is a small instrument: values under addresses, with feedback.
type rack struct {
	mu      sync.Mutex
	values  map[string][]Arg
	sets    []string
	causes  []Cause
	surface *Surface
}

func (r *rack) node(address, tags string, ranges ...Range) Node {
	r.mu.Lock()
	if r.values[address] == nil {
		for i := range len(tags) {
			v := Int32(0)
			coerce(&v, tags[i], nil)
			if tags[i] == TagString {
				v = String("")
			}
			r.values[address] = append(r.values[address], v)
		}
	}
	r.mu.Unlock()
	return Node{
		Address: address, Tags: tags, Access: ReadWrite, Range: ranges,
		Get: func(dst []Arg) []Arg {
			r.mu.Lock()
			defer r.mu.Unlock()
			return append(dst, r.values[address]...)
		},
		Set: func(args []Arg, c Cause) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			kept := make([]Arg, len(args))
			for i, a := range args {
				a.data = slices.Clone(a.data)
				kept[i] = a
			}
			r.values[address] = kept
			r.sets = append(r.sets, fmt.Sprintf("%s %v", address, kept))
			r.causes = append(r.causes, c)
			r.surface.Notify(address, c.From, args...)
			return nil
		},
	}
}

func (r *rack) nodes() []Node {
	readOnly := r.node("/deployment/web/ready", "i")
	readOnly.Access, readOnly.Set = Read, nil
	writeOnly := r.node("/voice/write", "f")
	writeOnly.Access, writeOnly.Get = Write, nil
	command := r.node("/transport/start", "")
	command.Access, command.Get = Write, nil
	bang := r.node("/voice/strike", "I")
	bang.Access, bang.Get = Write, nil
	refuses := r.node("/voice/refuses", "f")
	refuses.Set = func([]Arg, Cause) error { return errors.New("the cable is not patched") }
	freq := r.node("/voice/frequency", "f", Range{Min: 20, Max: 20000})
	freq.Unit = "Hz"
	return []Node{
		r.node("/deployment/web/replicas", "i", Range{Min: 0, Max: 50}), r.node("/deployment/db/replicas", "i", Range{Min: 0, Max: 50}),
		readOnly, writeOnly, command, bang, refuses, freq,
		r.node("/voice/wave", "s", Range{Values: []string{"saw", "pulse"}}), r.node("/voice/on", "T"), r.node("/voice/xy", "ff"),
		r.node("/voice/big", "h"), r.node("/voice/tenth", "d", Range{Min: 0, Max: 0.1}),
	}
}

func (r *rack) takeSets() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sets
	r.sets = nil
	return s
}

func openRack(t testing.TB, cfg Config) *rack {
	t.Helper()
	r := &rack{values: map[string][]Arg{}}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(&logs{})
	}
	s, err := Open(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.surface = s
	if err := s.Replace(r.nodes()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return r
}

// client is a peer of our own making: a socket and the messages it got.
type client struct {
	t    testing.TB
	conn *net.UDPConn
	buf  []byte
	list []string // of the bundle at hand
}

func (r *rack) client(t testing.TB) *client {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(r.surface.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &client{t: t, conn: c, buf: make([]byte, 65536)}
}

func (c *client) addr() netip.AddrPort { return c.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

func (c *client) send(address string, args ...Arg) {
	c.t.Helper()
	send(c.t, c.conn, encode(c.t, address, args...))
}

// get returns the next message as "/address value…", "" when none comes.
func (c *client) get(wait time.Duration) string {
	c.t.Helper()
	for len(c.list) == 0 {
		c.conn.SetReadDeadline(time.Now().Add(wait))
		n, err := c.conn.Read(c.buf)
		if err != nil {
			return ""
		}
		var m Message
		if err := Walk(c.buf[:n], &m, func(m *Message, _ []byte, _ TimeTag) {
			c.list = append(c.list, strings.TrimSpace(string(m.Address())+" "+texts(m)))
		}); err != nil {
			c.t.Fatal(err)
		}
	}
	s := c.list[0]
	c.list = c.list[1:]
	return s
}

func (c *client) want(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.get(5 * time.Second); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func (c *client) silent() {
	c.t.Helper()
	if got := c.get(100 * time.Millisecond); got != "" {
		c.t.Errorf("got %q, want silence", got)
	}
}

// gather reads until n messages have come, and then until it is silent.
func (c *client) gather(n int) (list []string) {
	for len(list) < n {
		s := c.get(5 * time.Second)
		if s == "" {
			return list
		}
		list = append(list, s)
	}
	return append(list, c.drain()...)
}

// drain reads until it is silent and returns what came.
func (c *client) drain() (list []string) {
	for {
		s := c.get(150 * time.Millisecond)
		if s == "" {
			return list
		}
		list = append(list, s)
	}
}

func TestSetAndAsk(t *testing.T) {
	r := openRack(t, Config{})
	c := r.client(t)
	for _, x := range []struct {
		address string
		args    []Arg
		set     string // "" when no Set is wanted
		answer  string // to the message itself
	}{
		{"/deployment/web/replicas", []Arg{Int32(5)}, "/deployment/web/replicas [5]", ""},
		{"/deployment/web/replicas", nil, "", "/deployment/web/replicas 5"},
		{"/deployment/web/replicas", []Arg{Float32(3)}, "/deployment/web/replicas [3]", ""},
		{"/deployment/web/replicas", []Arg{Float64(3.6)}, "/deployment/web/replicas [4]", ""},
		{"/deployment/web/replicas", []Arg{Int64(7)}, "/deployment/web/replicas [7]", ""},
		{"/deployment/web/replicas", []Arg{Bool(true)}, "/deployment/web/replicas [1]", ""},
		{"/deployment/web/replicas", []Arg{Bool(false)}, "/deployment/web/replicas [0]", ""},
		{"/deployment/web/replicas", []Arg{ArrayStart(), Int32(2), ArrayEnd()}, "/deployment/web/replicas [2]", ""},
		{"/deployment/web/replicas", []Arg{Int32(51)}, "", `/error "/deployment/web/replicas" "argument 1 is i 51, expected i in 0…50"`},
		{"/deployment/web/replicas", []Arg{String("five")}, "", `/error "/deployment/web/replicas" "argument 1 is s \"five\", expected i in 0…50"`},
		{"/deployment/web/replicas", []Arg{Int32(1), Int32(2)}, "", `/error "/deployment/web/replicas" "got 2 arguments, expected i in 0…50"`},
		{"/deployment/web/ready", nil, "", "/deployment/web/ready 0"},
		{"/deployment/web/ready", []Arg{Int32(1)}, "", `/error "/deployment/web/ready" "read only"`},
	} {
		c.check(r, x.address, x.args, x.set, x.answer)
	}
	// Errors have a budget, which two clients may share: another rack has another.
	r = openRack(t, Config{})
	c = r.client(t)
	for _, x := range []struct {
		address string
		args    []Arg
		set     string
		answer  string
	}{
		{"/voice/frequency", []Arg{Int32(440)}, "/voice/frequency [440]", ""},
		{"/voice/frequency", []Arg{Float32(10)}, "", `/error "/voice/frequency" "argument 1 is f 10, expected f in 20…20000 Hz"`},
		{"/voice/frequency", []Arg{Float64(1e300)}, "", `/error "/voice/frequency" "argument 1 is d 1e+300, expected f in 20…20000 Hz"`},
		{"/voice/wave", []Arg{String("pulse")}, `/voice/wave ["pulse"]`, ""},
		{"/voice/wave", []Arg{Symbol("saw")}, `/voice/wave ["saw"]`, ""},
		{"/voice/wave", []Arg{Float32(1)}, `/voice/wave ["pulse"]`, ""},
		{"/voice/wave", []Arg{String("sine")}, "", `/error "/voice/wave" "argument 1 is s \"sine\", expected s (saw, pulse)"`},
		{"/voice/wave", []Arg{Int32(2)}, "", `/error "/voice/wave" "argument 1 is i 2, expected s (saw, pulse)"`},
		{"/voice/on", []Arg{Float32(1)}, "/voice/on [true]", ""},
		{"/voice/on", []Arg{Int32(0)}, "/voice/on [false]", ""},
		{"/voice/on", nil, "", "/voice/on false"},
		{"/voice/xy", []Arg{Float32(0.5), Int32(1)}, "/voice/xy [0.5 1]", ""},
		{"/voice/xy", []Arg{Float32(0.5)}, "", `/error "/voice/xy" "got 1 arguments, expected f, f"`},
		{"/voice/big", []Arg{Int64(1<<62 + 1)}, "/voice/big [4611686018427387905]", ""},
		{"/voice/tenth", []Arg{Float32(0.1)}, "/voice/tenth [0.1]", ""},
		{"/voice/write", nil, "", `/error "/voice/write" "write only; expected f"`},
		{"/voice/refuses", []Arg{Int32(1)}, "", `/error "/voice/refuses" "the cable is not patched"`},
		{"/transport/start", nil, "/transport/start []", ""},
		{"/transport/start", []Arg{Float32(1)}, "/transport/start []", ""},
		{"/transport/start", []Arg{Float32(0)}, "", ""},
		{"/voice/strike", nil, "/voice/strike [impulse]", ""},
		{"/voice/strike", []Arg{Impulse()}, "/voice/strike [impulse]", ""},
		{"/voice/strike", []Arg{Int32(0)}, "", ""},
		{"/voice/strike", []Arg{String("x")}, "", `/error "/voice/strike" "argument 1 is s \"x\", expected I"`},
	} {
		c.check(r, x.address, x.args, x.set, x.answer)
	}
	c = r.client(t)
	c.send("/deployment/wbe/replicas", Int32(1))
	c.want(`/error "/deployment/wbe/replicas" "unknown address; below /deployment/ there are: db, web"`)
	c.send("/error", String("/x"), String("from a peer"))
	c.silent()
}

func (c *client) check(r *rack, address string, args []Arg, set, answer string) {
	c.t.Helper()
	c.send(address, args...)
	// A second question is the fence: its answer says that the first message is done.
	c.send("/deployment/web/ready")
	if answer != "" {
		c.want(answer)
	}
	c.want("/deployment/web/ready 0")
	if got := strings.Join(r.takeSets(), "; "); got != set {
		c.t.Errorf("%s %v: set %q, want %q", address, args, got, set)
	}
}

func TestPatternsSetAndAsk(t *testing.T) {
	r := openRack(t, Config{})
	c := r.client(t)
	c.check(r, "/deployment/*/replicas", []Arg{Int32(9)}, "/deployment/db/replicas [9]; /deployment/web/replicas [9]", "")
	c.check(r, "//replicas", []Arg{Int32(8)}, "/deployment/db/replicas [8]; /deployment/web/replicas [8]", "")
	c.check(r, "/nothing/*", []Arg{Int32(8)}, "", `/error "/nothing/*" "no address matches"`)
	c.check(r, "/transport/*", nil, "", `/error "/transport/*" "no address that matches can be read; to run commands by a pattern, send the argument 1"`)
	c.check(r, "/transport/*", []Arg{Int32(1)}, "/transport/start []", "")
	c.send("/deployment/*/re*")
	c.want("/deployment/db/replicas 8", "/deployment/web/ready 0", "/deployment/web/replicas 8")
	c.silent()
	c.send("/[")
	c.want(`/error "/[" "osc: pattern \"/[\", offset 2: expected a ']'"`)
}

func TestErrorsAreRateLimited(t *testing.T) {
	r := openRack(t, Config{})
	c := r.client(t)
	for range 200 {
		c.send("/nowhere")
	}
	if n := len(c.drain()); n < errorBurst || n > errorBurst+5 {
		t.Errorf("%d errors for 200 faults, want about %d", n, errorBurst)
	}
	other := r.client(t)
	other.send("/nowhere")
	if got := other.get(5 * time.Second); !strings.HasPrefix(got, "/error") {
		t.Errorf("another client got %q", got)
	}
}

func TestSubscribe(t *testing.T) {
	for _, bundles := range []bool{false, true} {
		t.Run(fmt.Sprint("bundles=", bundles), func(t *testing.T) {
			r := openRack(t, Config{Bundles: bundles})
			a, b, quiet := r.client(t), r.client(t), r.client(t)
			a.send("/subscribe")
			all := a.gather(10)
			if len(all) != 10 || all[0] != "/deployment/db/replicas 0" || !slices.IsSorted(all[:3]) {
				t.Errorf("on subscription: %q", all)
			}
			b.send("/subscribe", String("/deployment/web/*"))
			b.want("/deployment/web/ready 0", "/deployment/web/replicas 0")
			// The one who spoke is spared, the other is told.
			a.send("/deployment/web/replicas", Int32(5))
			b.want("/deployment/web/replicas 5")
			a.silent()
			b.send("/deployment/db/replicas", Int32(2))
			a.want("/deployment/db/replicas 2")
			b.silent()
			// From nobody, to all whose pattern matches.
			r.surface.Notify("/deployment/web/ready", netip.AddrPort{}, Int32(3))
			a.want("/deployment/web/ready 3")
			b.want("/deployment/web/ready 3")
			r.surface.Notify("/no/such/address", netip.AddrPort{}, Int32(3))
			b.send("/resend")
			b.want("/deployment/web/ready 0", "/deployment/web/replicas 5")
			quiet.send("/resend")
			quiet.want(`/error "/resend" "not subscribed; send /subscribe first, from the same port or naming it"`)
			if cs := r.surface.Clients(); len(cs) != 2 || cs[1].To != b.addr() || cs[1].Patterns[0] != "/deployment/web/*" || cs[1].Static {
				t.Errorf("%+v", cs)
			}
			b.send("/unsubscribe")
			b.send("/deployment/web/ready")
			b.want("/deployment/web/ready 0")
			r.surface.Notify("/deployment/web/ready", netip.AddrPort{}, Int32(4))
			a.want("/deployment/web/ready 4")
			b.silent()
		})
	}
}

func TestTell(t *testing.T) {
	r := openRack(t, Config{})
	all, some := r.client(t), r.client(t)
	all.send("/subscribe")
	all.gather(10)
	some.send("/subscribe", String("/alarm/*"))
	eventually(t, "both are subscribed", func() bool { return len(r.surface.Clients()) == 2 })
	// Two in a row both arrive: they are events.
	for _, pod := range []string{"a", "b"} {
		if err := r.surface.Tell("/alarm/oom", String(pod), Float32(1)); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []*client{all, some} {
		c.want(`/alarm/oom "a" 1`, `/alarm/oom "b" 1`)
	}
	if err := r.surface.Tell("/bell", Int32(1)); err != nil {
		t.Fatal(err)
	}
	all.want("/bell 1")
	some.silent()
	if err := r.surface.Tell("no slash"); err == nil {
		t.Error("an address without a slash is taken")
	}
}

func TestSubscribeNamesAPort(t *testing.T) {
	r := openRack(t, Config{})
	speaks, hears := r.client(t), r.client(t)
	speaks.send("/subscribe", String("/voice/wave"), Int32(int32(hears.addr().Port())))
	hears.want(`/voice/wave ""`)
	// Speaking from the port that subscribed is speaking as that client.
	speaks.send("/voice/wave", String("saw"))
	hears.silent()
	r.surface.Notify("/voice/wave", netip.AddrPort{}, String("pulse"))
	hears.want(`/voice/wave "pulse"`)
	speaks.silent()
	for _, args := range [][]Arg{{Int32(int32(r.surface.Addr().Port()))}, {Int32(0)}, {Int32(70000)}, {String("/a"), String("/b")}, {Nil()}, {String("/[")}} {
		speaks.send("/subscribe", args...)
		if got := speaks.get(5 * time.Second); !strings.HasPrefix(got, `/error "/subscribe"`) || !strings.Contains(got, "expected") {
			t.Errorf("%v: %q", args, got)
		}
	}
	speaks.send("/unsubscribe", Int32(int32(hears.addr().Port())))
	speaks.send("/voice/on")
	speaks.want("/voice/on false")
	if cs := r.surface.Clients(); len(cs) != 0 {
		t.Errorf("%+v", cs)
	}
}

func TestNotifyIsCoalesced(t *testing.T) {
	r := openRack(t, Config{})
	c := r.client(t)
	c.send("/subscribe", String("/voice/frequency"))
	c.want("/voice/frequency 0")
	start := time.Now()
	last := 0
	for time.Since(start) < 500*time.Millisecond {
		last++
		r.surface.Notify("/voice/frequency", netip.AddrPort{}, Int32(int32(last)))
		time.Sleep(200 * time.Microsecond)
	}
	elapsed := time.Since(start)
	want := fmt.Sprint("/voice/frequency ", last)
	var got []string
	for s := ""; s != want; {
		if s = c.get(5 * time.Second); s == "" {
			t.Fatalf("the last message is not %q", want)
		}
		got = append(got, s)
	}
	if got = append(got, c.drain()...); got[len(got)-1] != want {
		t.Errorf("after the last value came %q", got[len(got)-1])
	}
	if most := int(elapsed/flushInterval) + 2; len(got) > most || len(got) < 5 {
		t.Errorf("%d messages for %d values in %v, want at most %d", len(got), last, elapsed, most)
	}
	t.Logf("%d values, %d messages in %v", last, len(got), elapsed)
}

func TestSubscribersExpireUnlessStatic(t *testing.T) {
	var names Namespace
	f := newFeedback(&names, false, slog.Default())
	addr := func(port uint16) netip.AddrPort { return netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port) }
	everythingPattern, _ := ParsePattern([]byte(everything))
	now := time.Unix(1.8e9, 0)
	if err := f.subscribe(addr(1), addr(1), everythingPattern, terms{lasting: true, static: true}, now); err != nil {
		t.Fatal(err)
	}
	for port := uint16(2); port <= maxSubscribers; port++ {
		if err := f.subscribe(addr(port), addr(port), everythingPattern, terms{}, now); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.subscribe(addr(1000), addr(1000), everythingPattern, terms{}, now); err == nil {
		t.Error("one subscriber too many was accepted")
	}
	if err := f.subscribe(addr(2), addr(2), everythingPattern, terms{}, now.Add(30*time.Second)); err != nil {
		t.Errorf("renewal: %v", err)
	}
	if n := len(f.clients(now.Add(60 * time.Second))); n != maxSubscribers {
		t.Errorf("%d clients after 60 s, want %d", n, maxSubscribers)
	}
	if n := len(f.clients(now.Add(61 * time.Second))); n != 2 {
		t.Errorf("%d clients after 61 s, want the static and the renewed one", n)
	}
	if err := f.subscribe(addr(1000), addr(1000), everythingPattern, terms{}, now.Add(61*time.Second)); err != nil {
		t.Error(err)
	}
	cs := f.clients(now.Add(1000 * time.Hour))
	if len(cs) != 1 || !cs[0].Static || cs[0].To != addr(1) {
		t.Errorf("%+v", cs)
	}
	for i := range maxPatterns + 1 {
		p, _ := ParsePattern(fmt.Appendf(nil, "/p%d", i))
		if err := f.subscribe(addr(9), addr(9), p, terms{}, now); (err != nil) != (i == maxPatterns) {
			t.Errorf("pattern %d: %v", i, err)
		}
	}
}

// A Get that panics loses its own value, not the feedback.
func TestGetPanicIsSurvived(t *testing.T) {
	l := &logs{}
	r := openRack(t, Config{Logger: slog.New(l)})
	faulty := Node{Address: "/a", Tags: "i", Access: Read, Get: func([]Arg) []Arg { panic("on purpose") }}
	if err := r.surface.Replace(append(r.nodes(), faulty)); err != nil {
		t.Fatal(err)
	}
	c := r.client(t)
	c.send("/subscribe", String("/a"))
	c.send("/a")
	c.send("/voice/on")
	c.want("/voice/on false")
	c.send("/unsubscribe")
	c.send("/subscribe", String("/voice/wave"))
	c.want(`/voice/wave ""`)
	r.surface.Notify("/voice/wave", netip.AddrPort{}, String("saw"))
	c.want(`/voice/wave "saw"`)
	if lines := strings.Join(l.all(), "\n"); !strings.Contains(lines, "on purpose") {
		t.Errorf("log: %s", lines)
	}
}

func TestStaticSubscribers(t *testing.T) {
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	to := listener.LocalAddr().(*net.UDPAddr).AddrPort()
	rack := &rack{values: map[string][]Arg{}}
	surface, err := Open(Config{Addr: ":0", Logger: slog.New(&logs{}), Subscribers: []Subscription{{To: to, Pattern: "/voice/wave"}}}, rack.nodes())
	if err != nil {
		t.Fatal(err)
	}
	defer surface.Close()
	c := &client{t: t, conn: listener, buf: make([]byte, 65536)}
	c.want(`/voice/wave ""`)
	surface.Notify("/voice/wave", netip.AddrPort{}, String("saw"))
	c.want(`/voice/wave "saw"`)
	for _, s := range []Subscription{{}, {To: to, Pattern: "/["}} {
		if _, err := Open(Config{Addr: ":0", Subscribers: []Subscription{s}}, nil); err == nil || !strings.Contains(err.Error(), "expected") {
			t.Errorf("%+v: %v", s, err)
		}
	}
}

// A patch that changes live: new addresses are announced, old ones are gone,
// and a lookup meanwhile sees one whole set.
func TestReplace(t *testing.T) {
	r := openRack(t, Config{})
	c := r.client(t)
	c.send("/subscribe", String("/deployment"))
	c.want("/deployment/db/replicas 0", "/deployment/web/ready 0", "/deployment/web/replicas 0")
	with := append(r.nodes(), r.node("/deployment/cache/replicas", "i"))
	if err := r.surface.Replace(with); err != nil {
		t.Fatal(err)
	}
	c.want("/deployment/cache/replicas 0")
	if err := r.surface.Replace(with[2:]); err != nil {
		t.Fatal(err)
	}
	c.silent()
	c.send("/deployment/web/replicas", Int32(1))
	c.want(`/error "/deployment/web/replicas" "unknown address; below /deployment/web/ there are: ready"`)

	for _, x := range []struct {
		node Node
		text string
	}{
		{Node{Address: "voice"}, "begin with '/'"}, {Node{Address: "/a//b"}, "a name after each"}, {Node{Address: "/a*"}, "meaning in patterns"},
		{Node{Address: "/subscribe"}, "uses this address"}, {Node{Address: "/a", Tags: "x"}, "type tag"}, {Node{Address: "/a", Tags: "f"}, "access 0"},
		{Node{Address: "/a", Tags: "f", Access: Read}, "expected a Get"}, {Node{Address: "/a", Tags: "f", Access: Write}, "expected a Set"},
		{Node{Address: "/a", Access: Read, Get: func(d []Arg) []Arg { return d }}, "expected Tags"}, {with[3], "registered twice"},
	} {
		if err := r.surface.Replace(append(with[:len(with):len(with)], x.node)); err == nil || !strings.Contains(err.Error(), x.text) || !strings.Contains(err.Error(), x.node.Address) {
			t.Errorf("%+v: %v, want %q", x.node.Address, err, x.text)
		}
	}
	if n := r.surface.Namespace().Len(); n != len(with)-2 {
		t.Errorf("%d nodes after refused sets, want %d", n, len(with)-2)
	}
}

func TestReplaceWhilePlayed(t *testing.T) {
	r := openRack(t, Config{})
	nodes := r.nodes()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if err := r.surface.Replace(nodes[i%2:]); err != nil {
				t.Error(err)
			}
			r.surface.Notify("/voice/on", netip.AddrPort{}, Bool(i%2 == 0))
			time.Sleep(100 * time.Microsecond)
		}
	})
	c := r.client(t)
	c.send("/subscribe", String("/voice/on"))
	for i := range 300 {
		c.send("/voice/x*", Int32(int32(i)), Int32(0))
		c.send("/deployment/db/replicas", Int32(int32(i%50)))
		c.send("/deployment/db/replicas")
		want := fmt.Sprint("/deployment/db/replicas ", i%50)
		for got := ""; got != want; {
			if got = c.get(5 * time.Second); got == "" {
				t.Fatalf("no answer to question %d", i)
			}
		}
	}
	close(stop)
	wg.Wait()
}

// The tree walk and the flat scan find the same nodes.
func TestNamespaceMatch(t *testing.T) {
	var names Namespace
	var nodes []Node
	get := func(d []Arg) []Arg { return append(d, Int32(0)) }
	for _, a := range []string{"/a", "/a/b", "/a-b/c", "/a/b/c", "/b/b", "/b/b/c", "/c", "/a.b/c", "/a/bc"} {
		nodes = append(nodes, Node{Address: a, Tags: "i", Access: Read, Get: get})
	}
	if err := names.Replace(nodes); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"/a", "/*", "/*/b", "/a*/c", "/*/*/c", "/{a,b}/b", "//c", "/a//c", "//*//*", "/x/*", "/?", "/a/b?"} {
		pattern, err := ParsePattern([]byte(p))
		if err != nil {
			t.Fatal(err)
		}
		var got, want []string
		names.Match(pattern, func(n *Node) bool { got = append(got, n.Address); return true })
		for n := range names.All() {
			if pattern.Match(n.Address) {
				want = append(want, n.Address)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
		if len(want) > 1 {
			n := 0
			names.Match(pattern, func(*Node) bool { n++; return false })
			if n != 1 {
				t.Errorf("%s: %d nodes after the first was enough", p, n)
			}
		}
	}
}

// A full resend of a large patch comes in portions that a small socket buffer
// can hold.
func TestLargeResendIsPaced(t *testing.T) {
	r := openRack(t, Config{})
	nodes := r.nodes()
	for i := range 1000 {
		nodes = append(nodes, r.node(fmt.Sprintf("/pod/p%04d/ready", i), "i"))
	}
	c := r.client(t)
	c.conn.SetReadBuffer(defaultReadBuffer) // this end may stand still for a while; portions are looked at below
	if err := r.surface.Replace(nodes); err != nil {
		t.Fatal(err)
	}
	c.send("/subscribe", String("/pod"))
	if got := c.gather(1000); len(got) != 1000 || !slices.IsSorted(got) {
		t.Errorf("%d values, want 1000 in order", len(got))
	}
	for i := range 1000 {
		r.surface.Notify(fmt.Sprintf("/pod/p%04d/ready", i), netip.AddrPort{}, Int32(1))
	}
	if got := c.gather(1000); len(got) != 1000 {
		t.Errorf("%d changes, want 1000", len(got))
	}

	f := newFeedback(r.surface.Namespace(), false, slog.Default())
	to, pattern := c.addr(), Pattern{text: []byte("/pod")}
	portions := func(what string, most int) {
		t.Helper()
		sent := 0
		for more := true; more; {
			n := 0
			more = f.flush(time.Now(), func(netip.AddrPort, []byte) error { n++; return nil })
			if sent += n; n > most {
				t.Errorf("%d %s at once, want at most %d", n, what, most)
			}
		}
		if sent != 1000 {
			t.Errorf("%d %s, want 1000", sent, what)
		}
	}
	if err := f.subscribe(to, to, pattern, terms{lasting: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	portions("values", maxPulled)
	for i := range 1000 {
		f.notify(fmt.Sprintf("/pod/p%04d/ready", i), netip.AddrPort{}, []Arg{Int32(2)})
	}
	portions("changes", maxChanges)
}

func TestDispatchAllocatesNothing(t *testing.T) {
	sum := 0.0
	value := func(dst []Arg) []Arg { return append(dst, Float32(1)) }
	nodes := []Node{
		{Address: "/deployment/web/replicas", Tags: "i", Access: ReadWrite, Range: []Range{{Min: 0, Max: 50}}, Get: value,
			Set: func(args []Arg, _ Cause) error { sum += args[0].Float(); return nil }},
		{Address: "/voice/wave", Tags: "s", Access: ReadWrite, Get: value,
			Set: func(args []Arg, _ Cause) error { sum += float64(len(args[0].Bytes())); return nil }},
	}
	s, err := Open(Config{Addr: ":0", Rate: -1}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // the socket is not needed, its goroutines would be counted
	if err := s.feed.subscribe(s.Addr(), s.Addr(), Pattern{text: []byte(everything)}, terms{lasting: true}, time.Now()); err != nil {
		t.Fatal(err)
	}
	server := s.server
	server.handler, server.from, server.now = s, netip.MustParseAddrPort("127.0.0.1:9"), time.Now()
	number, text := encode(t, "/deployment/web/replicas", Float32(5)), encode(t, "/voice/wave", String("saw"))
	pattern := encode(t, "/dep*/{web,db}/replicas", Int32(5))
	bundle := AppendElement(AppendElement(AppendBundle(nil, Immediately), number), text)
	if n := testing.AllocsPerRun(1000, func() {
		for _, p := range [][]byte{number, text, pattern, bundle} {
			server.receive(p)
		}
		s.Notify("/deployment/web/replicas", server.from, Int32(5))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if sum != 1001*(5+3+5+8) || server.Stats().Malformed != 0 {
		t.Errorf("sum %v, %+v", sum, server.Stats())
	}
}

// 200 000 random datagrams neither stop nor slow the surface.
func TestFlood(t *testing.T) {
	l := &logs{}
	r := openRack(t, Config{Logger: slog.New(l)})
	flood, c := r.client(t), r.client(t)
	valid := [][]byte{
		encode(t, "/every/type", everyType()...), encode(t, "/deployment/web/replicas", Int32(5)), encode(t, "/*/[a-z]*/{x,y}"),
		AppendElement(AppendBundle(nil, TimeTagOf(time.Now().Add(time.Second))), encode(t, "/voice/on", Bool(true))),
	}
	rng := rand.New(rand.NewPCG(2, 1))
	buf := make([]byte, 0, 65536)
	const n = 200000
	seen := uint64(0)
	start := time.Now()
	for i := range n {
		buf = nasty(rng, valid, buf)
		if _, err := flood.conn.Write(buf); err != nil && !strings.Contains(err.Error(), "refused") {
			t.Fatal(err)
		}
		if i%200 == 199 { // stay inside the smallest socket buffer, or others' questions are lost with the flood
			for end := time.Now().Add(100 * time.Millisecond); r.surface.Stats().Packets < seen+200 && time.Now().Before(end); {
				time.Sleep(100 * time.Microsecond)
			}
			seen = r.surface.Stats().Packets
		}
	}
	elapsed := time.Since(start)
	var worst time.Duration
	for i := range 50 {
		asked := time.Now()
		c.send("/deployment/web/replicas", Int32(int32(i)))
		c.send("/deployment/web/replicas")
		c.want(fmt.Sprint("/deployment/web/replicas ", i))
		if i > 0 { // the first waits until the queue in the socket is read
			worst = max(worst, time.Since(asked))
		}
	}
	st := r.surface.Stats()
	t.Logf("%d datagrams in %v; %+v; slowest of 49 answers after it: %v; %d log lines", n, elapsed, st, worst, len(l.all()))
	if st.Packets < n/2 || st.Malformed < st.Packets/4 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
	if worst > time.Second {
		t.Errorf("an answer took %v", worst)
	}
	if lines, most := len(l.all()), 3*(int(elapsed/logInterval)+2); lines > most {
		t.Errorf("%d log lines, want at most %d", lines, most)
	}
	if n := runtime.NumGoroutine(); n > 50 {
		t.Errorf("%d goroutines", n)
	}
}
