package osc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// stream is a peer of our own making that is connected by TCP.
type stream struct {
	t    testing.TB
	conn *net.TCPConn
	slip bool
	f    framer
	list []string
}

func (r *rack) stream(t testing.TB, slip bool) *stream {
	t.Helper()
	return dialStream(t, r.surface.Addrs().TCP, slip)
}

func dialStream(t testing.TB, to netip.AddrPort, slip bool) *stream {
	t.Helper()
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &stream{t: t, conn: conn, slip: slip}
	c.f = framer{broken: func(int) { t.Error("SLIP broken") }, packet: func(b []byte) {
		var m Message
		if err := Walk(b, &m, func(m *Message, _ []byte, _ TimeTag) {
			c.list = append(c.list, strings.TrimSpace(string(m.Address())+" "+texts(m)))
		}); err != nil {
			t.Error(err)
		}
	}}
	return c
}

func (c *stream) frame(dst, packet []byte) []byte {
	if c.slip {
		return AppendSLIP(dst, packet)
	}
	return AppendSized(dst, packet)
}

func (c *stream) send(address string, args ...Arg) {
	c.t.Helper()
	send(c.t, c.conn, c.frame(nil, encode(c.t, address, args...)))
}

// get returns the next message, "" when none comes and "closed" at the end.
func (c *stream) get(wait time.Duration) string {
	c.t.Helper()
	buf := make([]byte, 4096)
	for len(c.list) == 0 {
		c.conn.SetReadDeadline(time.Now().Add(wait))
		n, err := c.conn.Read(buf)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return ""
		}
		if err != nil {
			return "closed"
		}
		if err := c.f.feed(buf[:n]); err != nil {
			c.t.Fatal(err)
		}
	}
	s := c.list[0]
	c.list = c.list[1:]
	return s
}

func (c *stream) want(want ...string) {
	c.t.Helper()
	for _, w := range want {
		if got := c.get(5 * time.Second); got != w {
			c.t.Fatalf("got %q, want %q", got, w)
		}
	}
}

func (c *stream) silent() {
	c.t.Helper()
	if got := c.get(100 * time.Millisecond); got != "" {
		c.t.Errorf("got %q, want silence", got)
	}
}

func forBothFramings(t *testing.T, f func(t *testing.T, slip bool)) {
	for name, slip := range map[string]bool{"sizes": false, "SLIP": true} {
		t.Run(name, func(t *testing.T) { f(t, slip) })
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 5 s: %s", what)
		}
	}
}

func TestTCP(t *testing.T) {
	forBothFramings(t, func(t *testing.T, slip bool) {
		r := openRack(t, Config{TCP: "127.0.0.1:0"})
		a, b, u := r.stream(t, slip), r.stream(t, !slip), r.client(t)
		a.send("/deployment/web/replicas", Int32(5))
		a.send("/deployment/web/replicas")
		a.want("/deployment/web/replicas 5")
		a.send("/deployment/web/replicas", Int32(500))
		a.want(`/error "/deployment/web/replicas" "argument 1 is i 500, expected i in 0…50"`)
		a.send("/subscribe", String("/deployment/web/*"))
		a.want("/deployment/web/ready 0", "/deployment/web/replicas 5")
		b.send("/subscribe", String("/deployment/web/replicas"))
		b.want("/deployment/web/replicas 5")
		u.send("/subscribe", String("/deployment/web/replicas"))
		u.want("/deployment/web/replicas 5")
		// Each transport tells the others, and nobody hears himself.
		a.send("/deployment/web/replicas", Int32(6))
		b.want("/deployment/web/replicas 6")
		u.want("/deployment/web/replicas 6")
		a.silent()
		u.send("/deployment/web/replicas", Int32(7))
		a.want("/deployment/web/replicas 7")
		b.want("/deployment/web/replicas 7")
		u.silent()
		a.send("/subscribe", String("/voice"), Int32(9000))
		a.want(`/error "/subscribe" "got a port, expected none: feedback comes back over the connection"`)
		cs := r.surface.Clients()
		if len(cs) != 3 || Transport(cs[0].To) != "tcp" || Peer(cs[0].To).String() != a.conn.LocalAddr().String() || !cs[0].Expires.IsZero() || Transport(cs[2].To) != "udp" || cs[2].Expires.IsZero() {
			t.Errorf("%+v", cs)
		}
		if st := r.surface.Stats(); st.TCP != 2 || st.Malformed != 0 {
			t.Errorf("%+v", st)
		}
		a.conn.Close()
		eventually(t, "the client that left is forgotten", func() bool { return len(r.surface.Clients()) == 2 && r.surface.Stats().TCP == 1 })
		if err := r.surface.server.Send(cs[0].To, encode(t, "/x")); !errors.Is(err, errGone) {
			t.Errorf("sent to one who left: %v", err)
		}
		b.send("/unsubscribe")
		eventually(t, "unsubscribed", func() bool { return len(r.surface.Clients()) == 1 })
	})
}

// The subscription of a connection stands as long as it does.
func TestTCPSubscriptionsDoNotExpire(t *testing.T) {
	r := openRack(t, Config{TCP: ":0"})
	c := r.stream(t, false)
	c.send("/subscribe", String("/voice/on"))
	c.want("/voice/on false")
	if n := len(r.surface.feed.clients(time.Now().Add(100 * time.Hour))); n != 1 {
		t.Errorf("%d clients after 100 h, want 1", n)
	}
}

func TestTCPKeepsOrder(t *testing.T) {
	forBothFramings(t, func(t *testing.T, slip bool) {
		got := newRecorder()
		s, _ := startServer(t, ServerConfig{TCP: "127.0.0.1:0", Rate: -1}, got)
		c := dialStream(t, s.TCPAddr(), slip)
		const n = 20000
		var all []byte
		for i := range n {
			all = c.frame(all, encode(t, "/n", Int32(int32(i))))
		}
		go c.conn.Write(all)
		for i := range n {
			if m := got.next(t); m.args != fmt.Sprint(i) || Peer(m.from).String() != c.conn.LocalAddr().String() {
				t.Fatalf("message %d: %+v", i, m)
			}
		}
	})
}

// A bundle of a connection takes effect at its time although nothing comes by
// UDP meanwhile.
func TestTCPSchedules(t *testing.T) {
	t.Parallel()
	got := newRecorder()
	s, _ := startServer(t, ServerConfig{TCP: "127.0.0.1:0"}, got)
	c := dialStream(t, s.TCPAddr(), true)
	play := func(ahead time.Duration, n int32) {
		at := time.Now().Add(ahead).Round(0)
		send(t, c.conn, c.frame(nil, AppendElement(AppendBundle(nil, TimeTagOf(at)), encode(t, "/x", Int32(n)))))
	}
	// The server sleeps towards a far message, and must wake for a near one. One
	// that only looked at the clock every 100 ms would be late each time, a busy
	// machine is now and then.
	play(time.Minute, -1)
	least := time.Hour
	for n := int32(0); n < 5 && least > 50*time.Millisecond; n++ {
		play(40*time.Millisecond, n)
		m := got.next(t)
		late := m.now.Sub(m.at)
		if late < 0 || m.args != fmt.Sprint(n) {
			t.Fatalf("%+v: %v after its time", m, late)
		}
		least = min(least, late)
	}
	if least > 50*time.Millisecond {
		t.Errorf("at best %v after its time", least)
	}
}

// What is in one bundle takes effect in immediate succession (OSC 1.0),
// whoever else plays meanwhile by whatever way, now or at its time.
func TestBundlesAreAtomic(t *testing.T) {
	got := newRecorder()
	s, _ := startServer(t, ServerConfig{TCP: "127.0.0.1:0", Rate: -1}, got)
	const each, size = 200, 7
	at := time.Now().Add(200 * time.Millisecond)
	bundle := func(who, i int) []byte {
		tag := Immediately
		if i%2 == 0 {
			tag = TimeTagOf(at) // of all clients at the same time
		}
		b := AppendBundle(nil, tag)
		for j := range size {
			b = AppendElement(b, encode(t, "/x", Int32(int32(who)), Int32(int32(i)), Int32(int32(j))))
		}
		return b
	}
	clients := []*stream{dialStream(t, s.TCPAddr(), false), dialStream(t, s.TCPAddr(), true)}
	u := dial(t, s.Addr())
	for who := range 3 {
		go func() {
			for i := range each {
				if who < len(clients) {
					clients[who].conn.Write(clients[who].frame(nil, bundle(who, i)))
				} else {
					u.Write(bundle(who, i))
					time.Sleep(50 * time.Microsecond) // stay inside the socket's buffer
				}
			}
		}()
	}
	for n := range 3 * each {
		first := got.next(t)
		for j := 1; j < size; j++ {
			if m, want := got.next(t), strings.TrimSuffix(first.args, "0")+fmt.Sprint(j); m.args != want {
				t.Fatalf("bundle %d begins with %s and goes on with %s", n, first.args, m.args)
			}
		}
	}
}

func TestIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skipf("no IPv6 loopback: %v", err)
	} else {
		l.Close()
	}
	r := openRack(t, Config{Addr: "[::1]:0", TCP: "[::1]:0", Query: "[::1]:0"})
	u, c := r.client(t), r.stream(t, true)
	u.send("/subscribe", String("/voice/on"))
	u.want("/voice/on false")
	c.send("/voice/on", Bool(true))
	u.want("/voice/on true")
	if status, body := get(t, "http://"+r.surface.Addrs().Query.String()+"/?HOST_INFO"); status != 200 || !strings.Contains(body, `"OSC_IP":"::1"`) {
		t.Errorf("%d %s", status, body)
	}
}

func TestIdentity(t *testing.T) {
	for _, a := range []string{"127.0.0.1:5000", "192.168.1.5:1", "[2001:db8::5]:80", "[fe80::1%eth0]:5000"} {
		plain := netip.MustParseAddrPort(a)
		seen := map[netip.AddrPort]bool{plain: true}
		if Transport(plain) != "udp" || Peer(plain) != plain || isConnected(plain) {
			t.Errorf("%s: %s %s", a, Transport(plain), Peer(plain))
		}
		for _, kind := range []string{zoneTCP, zoneWebSocket} {
			id := connected(plain, kind)
			if Transport(id) != kind || Peer(id) != plain || seen[id] || unmap(id) != id || !isConnected(id) {
				t.Errorf("%s by %s: %s %s", a, kind, id, Peer(id))
			}
			seen[id] = true
			if back, err := netip.ParseAddrPort(id.String()); err != nil || back != id {
				t.Errorf("%s parsed again: %s, %v", id, back, err)
			}
		}
	}
}

func TestTCPFaultsEndTheConnection(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, stream, text string }{
		{"oversized", "\x00\x01\x00\x04/a\x00\x00", "got a size of 65540 bytes, expected 0…65536"},
		{"negative", "\xff\xff\xff\xff", "got a size of -1 bytes"},
		{"HTTP", "GET / HTTP/1.1\r\n\r\n", "SLIP from the first byte"},
		{"oversized SLIP", "\xc0" + strings.Repeat("x", MaxPacket+1), "without an END"},
		{"slow", "\x00\x00\x00\x08/a\x00", "was not complete after"},
		{"slow SLIP", "\xc0/a", "was not complete after"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := openRack(t, Config{TCP: ":0"})
			if strings.HasPrefix(c.name, "slow") {
				r.surface.server.frameTimeout = 50 * time.Millisecond
			}
			s := r.stream(t, false)
			good := r.stream(t, false)
			go s.conn.Write([]byte(c.stream))
			if got := s.get(5 * time.Second); !strings.HasPrefix(got, `/error ""`) || !strings.Contains(got, c.text) {
				t.Errorf("got %q, want %q", got, c.text)
			}
			if got := s.get(5 * time.Second); got != "closed" {
				t.Errorf("got %q, want the end", got)
			}
			good.send("/voice/on")
			good.want("/voice/on false")
			if st := r.surface.Stats(); st.Malformed != 1 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// What is malformed inside its frame harms nothing else; SLIP finds the next
// packet even after a broken one.
func TestTCPMalformedPackets(t *testing.T) {
	forBothFramings(t, func(t *testing.T, slip bool) {
		r := openRack(t, Config{TCP: ":0"})
		c := r.stream(t, slip)
		send(t, c.conn, c.frame(c.frame(nil, []byte("/a\x00\x00,q\x00\x00")), []byte("xy")))
		want := uint64(2)
		if slip {
			send(t, c.conn, []byte("\xc0/broken\xdb\x00\xc0"))
			want = 3
		}
		c.send("/voice/on")
		c.want("/voice/on false")
		if st := r.surface.Stats(); st.Malformed != want {
			t.Errorf("%d malformed, want %d", st.Malformed, want)
		}
	})
}

// A client that does not read is dropped when its queue is full; nobody else
// notices.
func TestTCPSlowReaderIsDropped(t *testing.T) {
	r := openRack(t, Config{TCP: ":0"})
	slow, good := r.stream(t, false), r.stream(t, true)
	slow.conn.SetReadBuffer(4096)
	slow.send("/subscribe")
	good.send("/subscribe", String("/voice/on"))
	good.want("/voice/on false")
	eventually(t, "both are subscribed", func() bool { return len(r.surface.Clients()) == 2 })
	big := strings.Repeat("x", 60000)
	var worst time.Duration
	for i := 0; r.surface.Stats().Slow == 0; i++ {
		if i > 1000 {
			t.Fatal("60 MB went to one who does not read")
		}
		start := time.Now()
		if err := r.surface.Tell("/big", String(big)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			good.send("/voice/big")
			good.want("/voice/big 0")
			worst = max(worst, time.Since(start))
		}
	}
	eventually(t, "it is forgotten", func() bool { return len(r.surface.Clients()) == 1 && r.surface.Stats().TCP == 1 })
	if worst > 500*time.Millisecond {
		t.Errorf("the good client waited %v", worst)
	}
	t.Logf("the good client waited at most %v", worst)
}

// When there is no more room, whoever never said a word makes some.
func TestTCPConnectionsAreBounded(t *testing.T) {
	r := openRack(t, Config{TCP: ":0"})
	var list []*stream
	for range maxConnections {
		list = append(list, r.stream(t, false))
	}
	count := func(n int) func() bool { return func() bool { return r.surface.Stats().TCP == n } }
	eventually(t, "all are served", count(maxConnections))
	late := r.stream(t, false)
	late.send("/voice/on")
	late.want("/voice/on false")
	if got := list[0].get(5 * time.Second); got != "closed" {
		t.Errorf("the eldest silent one got %q", got)
	}
	for _, c := range list[1:] {
		c.send("/voice/on")
		c.want("/voice/on false")
	}
	none := r.stream(t, false)
	if got := none.get(5 * time.Second); got != "closed" {
		t.Errorf("one too many got %q", got)
	}
	eventually(t, "the eldest is forgotten", count(maxConnections)) // a moment after its end
	if st := r.surface.Stats(); st.Refused != 1 {
		t.Errorf("%+v", st)
	}
}

func TestCloseEndsAllConnections(t *testing.T) {
	before := runtime.NumGoroutine()
	rack := &rack{values: map[string][]Arg{}}
	surface, err := Open(Config{Addr: ":0", TCP: ":0", Query: ":0", Logger: slog.New(&logs{})}, rack.nodes())
	if err != nil {
		t.Fatal(err)
	}
	rack.surface = surface
	var list []*stream
	for i := range 10 {
		c := rack.stream(t, i%2 == 0)
		c.send("/subscribe", String("/voice/on"))
		c.want("/voice/on false")
		list = append(list, c)
	}
	send(t, list[0].conn, []byte("\xc0/half a pack"))
	if err := surface.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range list {
		if got := c.get(5 * time.Second); got != "closed" {
			t.Errorf("got %q", got)
		}
	}
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before })
	if _, err := net.DialTimeout("tcp", surface.Addrs().TCP.String(), time.Second); err == nil {
		t.Error("it still listens")
	}
}

func TestTCPPortInUse(t *testing.T) {
	r := openRack(t, Config{TCP: ":0", Query: ":0"})
	a := r.surface.Addrs()
	for flag, cfg := range map[string]Config{"--osc-tcp": {Addr: ":0", TCP: a.TCP.String()}, "--oscquery": {Addr: ":0", Query: a.Query.String()}} {
		if _, err := Open(cfg, nil); !errors.Is(err, ErrPortInUse) || !strings.Contains(err.Error(), flag) {
			t.Errorf("%v, want ErrPortInUse and %s", err, flag)
		}
	}
	for _, cfg := range []Config{{Addr: ":0", TCP: "nowhere"}, {Addr: ":0", Query: "300.1.1.1:5"}} {
		if _, err := Open(cfg, nil); err == nil || !strings.Contains(err.Error(), "expected host:port") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestResend(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	start := time.Now()
	r := openRack(t, Config{Resend: 100 * time.Millisecond, Subscribers: []Subscription{{To: listener.LocalAddr().(*net.UDPAddr).AddrPort(), Pattern: "/voice/on"}}})
	c := &client{t: t, conn: listener, buf: make([]byte, 65536)}
	asks, does := r.client(t), r.client(t)
	asks.send("/subscribe", String("/voice/big"), String("resend"))
	does.send("/subscribe", String("/voice/big"))
	// The first may come twice, as the nodes are new. Those that follow are sent
	// 100 ms apart, however late they are read.
	for range 5 {
		c.want("/voice/on false")
		asks.want("/voice/big 0")
	}
	if d := time.Since(start); d < 300*time.Millisecond || d > 3*time.Second {
		t.Errorf("three resends took %v, want 300 ms", d)
	}
	got := 0 // a second one may come of the nodes being new
	for end := time.Now().Add(500 * time.Millisecond); time.Now().Before(end); {
		if does.get(50*time.Millisecond) != "" {
			got++
		}
	}
	if got < 1 || got > 2 {
		t.Errorf("a client that did not ask for it got %d values", got)
	}
	if cs := r.surface.Clients(); !slices.ContainsFunc(cs, func(c Client) bool { return c.Resend && !c.Static }) {
		t.Errorf("%+v", cs)
	}
	if _, err := Open(Config{Addr: ":0", Resend: time.Millisecond}, nil); err == nil || !strings.Contains(err.Error(), "at least 100ms") {
		t.Errorf("resend every millisecond: %v", err)
	}
}

func TestReplyPort(t *testing.T) {
	t.Parallel()
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	hears := &client{t: t, conn: listener, buf: make([]byte, 65536)}
	r := openRack(t, Config{ReplyPort: uint16(hears.addr().Port()), TCP: ":0"})
	speaks, connected := r.client(t), r.stream(t, false)
	speaks.send("/voice/on")
	hears.want("/voice/on false")
	speaks.send("/voice/*n")
	hears.want("/voice/on false")
	speaks.send("/nowhere")
	if got := hears.get(5 * time.Second); !strings.HasPrefix(got, `/error "/nowhere"`) {
		t.Errorf("got %q", got)
	}
	speaks.send("/subscribe", String("/voice/on"))
	hears.want("/voice/on false")
	speaks.send("/voice/on", Bool(true)) // it is the client that hears there
	hears.silent()
	speaks.silent()
	speaks.send("/voice/on")
	hears.want("/voice/on true") // what was sent before has been played
	connected.send("/voice/on")
	connected.want("/voice/on true")
}

// A tablet that is configured, and sends from another port than it listens on,
// does not hear its own hand; a program beside it that has subscribed does.
func TestConfiguredTabletDoesNotHearItself(t *testing.T) {
	f := newFeedback(&Namespace{}, false, slog.Default())
	addr := netip.MustParseAddrPort
	tablet := subscriber{to: addr("192.168.1.5:9001"), source: addr("192.168.1.5:9001"), terms: terms{static: true, lasting: true}}
	other := subscriber{to: addr("192.168.1.5:7000"), source: addr("192.168.1.5:7000")}
	local := subscriber{to: addr("127.0.0.1:9001"), source: addr("127.0.0.1:9001"), terms: terms{static: true, lasting: true}}
	f.told = []subscriber{tablet, other, local}
	for _, c := range []struct {
		s     *subscriber
		from  string
		spoke bool
	}{
		{&tablet, "192.168.1.5:50000", true}, {&tablet, "192.168.1.5:9001", true}, {&tablet, "192.168.1.5:7000", false},
		{&tablet, "192.168.1.6:9001", false}, {&other, "192.168.1.5:50000", false}, {&other, "192.168.1.5:7000", true},
		{&local, "127.0.0.1:50000", false}, {&local, "127.0.0.1:9001", true},
	} {
		if got := f.spoke(c.s, addr(c.from)); got != c.spoke {
			t.Errorf("%s heard by %s: spoke %v, want %v", c.from, c.s.to, got, c.spoke)
		}
	}
	if f.spoke(&tablet, netip.AddrPort{}) {
		t.Error("nobody is somebody")
	}
}
