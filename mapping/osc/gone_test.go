package osc

import (
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// departures are what a surface has told of clients that are gone.
type departures struct {
	mu   sync.Mutex
	list []func(netip.AddrPort) bool
}

func (d *departures) left(gone func(netip.AddrPort) bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.list = append(d.list, gone)
}

// of tells how often a client was said to be gone.
func (d *departures) of(client netip.AddrPort) (n int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, gone := range d.list {
		if gone(client) {
			n++
		}
	}
	return n
}

// plays sets a node, and returns as whom.
func (r *rack) plays(t *testing.T, send func(string, ...Arg)) netip.AddrPort {
	t.Helper()
	causes := func() int { r.mu.Lock(); defer r.mu.Unlock(); return len(r.causes) }
	before := causes()
	send("/voice/on", Bool(true))
	eventually(t, "it is set", func() bool { return causes() > before })
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.causes[before].From
}

// The end of a connection is told of, however it ends, of the one that has ended
// alone, and after all that came by it.
func TestConnectionsLeave(t *testing.T) {
	tcp := func(slip bool, end func(c *stream)) func(*testing.T, *rack) (func(string, ...Arg), func()) {
		return func(t *testing.T, r *rack) (func(string, ...Arg), func()) {
			c := r.stream(t, slip)
			return c.send, func() { end(c) }
		}
	}
	web := func(end func(w *watcher)) func(*testing.T, *rack) (func(string, ...Arg), func()) {
		return func(t *testing.T, r *rack) (func(string, ...Arg), func()) {
			w := watchingPlayer{r.watch(t)}
			return w.send, func() { end(w.watcher) }
		}
	}
	for name, open := range map[string]func(*testing.T, *rack) (func(string, ...Arg), func()){
		"TCP, closed":      tcp(false, func(c *stream) { c.conn.Close() }),
		"TCP, reset":       tcp(false, func(c *stream) { c.conn.SetLinger(0); c.conn.Close() }),
		"SLIP, half open":  tcp(true, func(c *stream) { c.conn.CloseWrite() }),
		"SLIP, reset":      tcp(true, func(c *stream) { c.conn.SetLinger(0); c.conn.Close() }),
		"in a packet":      tcp(false, func(c *stream) { c.conn.Write([]byte{0, 0, 1, 0, '/'}); c.conn.Close() }),
		"malformed":        tcp(false, func(c *stream) { c.conn.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }),
		"WebSocket, ended": web(func(w *watcher) { w.conn.Close(websocket.StatusNormalClosure, "") }),
		"WebSocket, reset": web(func(w *watcher) { w.conn.CloseNow() }),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var d departures
			r := openRack(t, Config{TCP: "127.0.0.1:0", Query: "127.0.0.1:0", Left: d.left})
			send, end := open(t, r)
			other, _ := open(t, r)
			client, stays := r.plays(t, send), r.plays(t, other)
			if n := d.of(client) + d.of(stays); n > 0 {
				t.Fatal("gone while they are there")
			}
			last := func() bool {
				r.mu.Lock()
				defer r.mu.Unlock()
				return strings.HasPrefix(r.sets[len(r.sets)-1], "/voice/xy")
			}
			send("/voice/xy", Float32(1), Float32(2))
			if strings.Contains(name, "reset") { // which may overtake it
				eventually(t, "it is set", last)
			}
			end()
			eventually(t, "it is gone", func() bool { return d.of(client) == 1 })
			if !last() {
				t.Error("it was gone before all that it had sent was set")
			}
			if r.plays(t, other) != stays || d.of(stays) != 0 || d.of(client) != 1 {
				t.Errorf("the other was gone %d times", d.of(stays))
			}
		})
	}
}

// What a client that is gone had sent for later still comes, and then it is said
// once more that it is gone.
func TestLeavesAgain(t *testing.T) {
	t.Parallel()
	var d departures
	r := openRack(t, Config{TCP: "127.0.0.1:0", Left: d.left})
	c := r.stream(t, false)
	client := r.plays(t, c.send)
	r.takeSets()
	b := AppendBundle(nil, TimeTagOf(time.Now().Add(time.Second)))
	b = AppendElement(AppendElement(b, encode(t, "/voice/on", Bool(true))), encode(t, "/voice/big", Int64(5)))
	send(t, c.conn, c.frame(nil, b))
	eventually(t, "it waits", func() bool { return r.surface.Stats().Scheduled == 2 })
	c.conn.Close()
	eventually(t, "it is gone", func() bool { return d.of(client) == 1 })
	if s := r.takeSets(); len(s) != 0 {
		t.Fatalf("%q were before their time", s)
	}
	eventually(t, "it is gone again", func() bool { return d.of(client) == 2 })
	if s := r.takeSets(); len(s) != 2 {
		t.Errorf("before it was gone again came %q", s)
	}
}

// sub is the subscription at an address, for a test to change, with f held.
func (f *feedback) sub(t *testing.T, to netip.AddrPort) *subscriber {
	t.Helper()
	for i := range f.subs {
		if f.subs[i].to == to {
			return &f.subs[i]
		}
	}
	t.Fatalf("%s has not subscribed", to)
	return nil
}

// runsOut lets a subscription end in a moment.
func (f *feedback) runsOut(t *testing.T, to netip.AddrPort, in time.Duration) {
	t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sub(t, to).expires = time.Now().Add(in)
	f.wake()
}

// Who sends datagrams is gone when its subscription ends, without anything else
// happening; not while it has another one, nor when it renews it too late. Who
// never subscribed, and who unsubscribes, is not.
func TestSubscriptionsRunOut(t *testing.T) {
	t.Parallel()
	var d departures
	r := openRack(t, Config{Left: d.left})
	f := r.surface.feed
	u, other, silent := r.client(t), r.client(t), r.client(t)
	ears, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ears.Close()
	aside := ears.LocalAddr().(*net.UDPAddr).AddrPort()
	r.plays(t, silent.send)
	for _, c := range []*client{u, other} {
		if got := r.plays(t, c.send); got != c.addr() {
			t.Fatalf("%s plays as %s", c.addr(), got)
		}
		c.send("/subscribe", String("/voice/big"))
		c.want("/voice/big 0")
	}
	u.send("/subscribe", String("/voice/tenth"), Int32(int32(aside.Port())))
	eventually(t, "all are subscribed", func() bool { return len(r.surface.Clients()) == 3 })

	f.runsOut(t, u.addr(), 0)
	eventually(t, "the first one ends", func() bool { return len(r.surface.Clients()) == 2 })
	u.send("/subscribe", String("/voice/big"))
	u.want("/voice/big 0")
	f.runsOut(t, aside, 0)
	eventually(t, "the second one ends", func() bool { return len(r.surface.Clients()) == 2 })
	other.send("/unsubscribe")
	eventually(t, "the other is not told any more", func() bool { return len(r.surface.Clients()) == 1 })
	p, err := ParsePattern([]byte("/voice/big"))
	if err != nil {
		t.Fatal(err)
	}
	// A minute late, and nobody had noticed.
	if err := f.subscribe(u.addr(), u.addr(), p, terms{}, time.Now().Add(2*subscriptionLife)); err != nil {
		t.Fatal(err)
	}
	u.want("/voice/big 0")
	f.runsOut(t, u.addr(), 10*flushInterval)
	eventually(t, "it is gone", func() bool { return d.of(u.addr()) > 0 })
	if n := d.of(u.addr()); n != 1 {
		t.Errorf("it was gone %d times, want once", n)
	}
	for _, c := range []*client{other, silent} {
		if d.of(c.addr()) != 0 {
			t.Errorf("%s is gone", c.addr())
		}
	}
	if d.of(netip.MustParseAddrPort("127.0.0.2:5000")) != 0 {
		t.Error("somebody else is gone")
	}
}

// A program that has begun anew is another one, which listens where the one
// before did.
func TestClientBeginsAnew(t *testing.T) {
	t.Parallel()
	var d departures
	r := openRack(t, Config{Left: d.left})
	was, is := r.client(t), r.client(t)
	ears, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer ears.Close()
	port := Int32(int32(ears.LocalAddr().(*net.UDPAddr).Port))
	for range 3 {
		r.plays(t, was.send)
		was.send("/subscribe", String("/voice/big"), port)
	}
	r.plays(t, is.send)
	if d.of(was.addr()) != 0 {
		t.Error("it is gone although it renews what it has")
	}
	is.send("/subscribe", String("/voice/big"), port)
	eventually(t, "the one before is gone", func() bool { return d.of(was.addr()) == 1 })
	if d.of(is.addr()) != 0 {
		t.Error("so is the one that is there")
	}
}

// hears waits until a client is told something, whatever it is told before.
func hears(t *testing.T, c *client, want string) {
	t.Helper()
	for got := ""; got != want; {
		if got = c.get(5 * time.Second); got == "" {
			t.Fatalf("not told %q", want)
		}
	}
}

// On Linux a client is gone when the system says that nobody listens at its port
// any more. Nobody else is harmed by that, nothing is logged, and who never has
// listened is not gone.
func TestNobodyListens(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("the system does not tell")
	}
	t.Parallel()
	var d departures
	var l logs
	configured, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer configured.Close()
	// Who is connected to one takes nothing of another, and keeps the port.
	deaf, err := net.DialUDP("udp", nil, configured.LocalAddr().(*net.UDPAddr))
	if err != nil {
		t.Fatal(err)
	}
	defer deaf.Close()
	static, closed := configured.LocalAddr().(*net.UDPAddr).AddrPort(), deaf.LocalAddr().(*net.UDPAddr).AddrPort()
	r := openRack(t, Config{Left: d.left, Logger: slog.New(&l), Subscribers: []Subscription{{To: static, Pattern: "/voice/big"}}})
	f := r.surface.feed
	u, good, mute := r.client(t), r.client(t), r.client(t)
	for _, c := range []*client{u, good} {
		c.send("/subscribe", String("/voice/big"))
		c.want("/voice/big 0")
	}
	// This one names a port where it does not listen, as long as it plays.
	r.plays(t, mute.send)
	mute.send("/subscribe", String("/voice/big"), Int32(int32(closed.Port())))
	eventually(t, "all are subscribed", func() bool { return len(r.surface.Clients()) == 4 })
	// It was sent something first, and nothing was refused since.
	since := func(to netip.AddrPort, ago time.Duration) {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.sub(t, to).sent.Store(time.Now().Add(-ago).UnixNano())
	}
	n := int64(0)
	notify := func() {
		n++
		r.surface.Notify("/voice/big", netip.AddrPort{}, Int64(n))
		hears(t, good, "/voice/big "+Int64(n).String())
	}
	notify()
	hears(t, u, "/voice/big 1")

	// Refused as soon as it is heard of.
	since(u.addr(), listened/2)
	u.conn.Close()
	refusals := func(to netip.AddrPort) func() bool {
		return func() bool {
			notify()
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.sub(t, to).sent.Load() == 0
		}
	}
	eventually(t, "that it does not listen is known", refusals(u.addr()))
	for range 20 {
		notify()
	}
	if d.of(u.addr()) != 0 {
		t.Error("it is gone although it has hardly listened")
	}
	since(u.addr(), listened+time.Second)
	eventually(t, "it is gone", func() bool { notify(); return d.of(u.addr()) == 1 })

	since(static, listened+time.Second)
	configured.Close()
	eventually(t, "the configured one is gone", func() bool { notify(); return d.of(static) == 1 })
	eventually(t, "the port that is not listened on is refused", refusals(closed))
	if d.of(mute.addr()) != 0 || d.of(good.addr()) != 0 {
		t.Errorf("gone: who never listened %d times, who listens %d times", d.of(mute.addr()), d.of(good.addr()))
	}
	if st := r.surface.Stats(); st.Unsent != 0 || st.Panics != 0 || len(r.surface.Clients()) != 4 {
		t.Errorf("%d clients, %+v", len(r.surface.Clients()), st)
	}
	if got := l.all(); len(got) != 0 {
		t.Errorf("logged: %q", got)
	}
}

// Who asks again in the moment in which it is told is told again.
func TestAskedAgainWhileTold(t *testing.T) {
	var names Namespace
	if err := names.Replace([]Node{{Address: "/x", Tags: "i", Access: Read, Get: func(dst []Arg) []Arg { return append(dst, Int32(1)) }}}); err != nil {
		t.Fatal(err)
	}
	f := newFeedback(&names, false, slog.New(slog.DiscardHandler))
	p, err := ParsePattern([]byte("/x"))
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort("127.0.0.1:9001")
	told := 0
	f.pull(to, p, false)
	for more := true; more; {
		more = f.flush(time.Now(), func(netip.AddrPort, []byte) error {
			if told++; told == 1 {
				f.pull(to, p, false)
			}
			return nil
		})
		if told > 5 {
			t.Fatal("told for ever")
		}
	}
	if told != 2 {
		t.Errorf("told %d times, want 2", told)
	}
}
