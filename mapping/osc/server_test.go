package osc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"
)

// received is a message as a test keeps it.
type received struct {
	from    netip.AddrPort
	address string
	args    string
	at, now time.Time
}

// recorder is a Handler that keeps everything.
type recorder struct{ ch chan received }

func newRecorder() *recorder { return &recorder{ch: make(chan received, 65536)} }

func (r *recorder) Handle(from netip.AddrPort, m *Message, at time.Time) {
	r.ch <- received{from: from, address: string(m.Address()), args: texts(m), at: at, now: time.Now()}
}

func texts(m *Message) string {
	var list []string
	for _, a := range m.AppendArgs(nil) {
		list = append(list, a.String())
	}
	return strings.Join(list, " ")
}

func (r *recorder) next(t *testing.T) received {
	t.Helper()
	select {
	case m := <-r.ch:
		return m
	case <-time.After(5 * time.Second):
		t.Fatal("no message within 5 s")
		panic("unreachable")
	}
}

// logs is a slog.Handler that keeps lines.
type logs struct {
	mu    sync.Mutex
	lines []string
}

func (l *logs) Enabled(context.Context, slog.Level) bool { return true }
func (l *logs) WithAttrs([]slog.Attr) slog.Handler       { return l }
func (l *logs) WithGroup(string) slog.Handler            { return l }
func (l *logs) Handle(_ context.Context, r slog.Record) error {
	var b bytes.Buffer
	b.WriteString(r.Message)
	r.Attrs(func(a slog.Attr) bool { fmt.Fprintf(&b, " %s=%v", a.Key, a.Value); return true })
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, b.String())
	return nil
}

func (l *logs) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.lines...)
}

func startServer(t *testing.T, cfg ServerConfig, h Handler) (*Server, *logs) {
	t.Helper()
	l := &logs{}
	cfg.Addr, cfg.Logger = "127.0.0.1:0", slog.New(l)
	s, err := Listen(cfg)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(h) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		select {
		case err := <-served:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(5 * time.Second):
			t.Error("Serve did not return")
		}
	})
	return s, l
}

func dial(t *testing.T, to netip.AddrPort) *net.UDPConn {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func encode(t testing.TB, address string, args ...Arg) []byte {
	t.Helper()
	b, err := AppendMessage(nil, address, args...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func send(t testing.TB, c net.Conn, packet []byte) {
	t.Helper()
	if _, err := c.Write(packet); err != nil {
		t.Fatal(err)
	}
}

func TestServerKeepsOrder(t *testing.T) {
	r := newRecorder()
	s, _ := startServer(t, ServerConfig{}, r)
	c := dial(t, s.Addr())
	const n = 2000
	before := time.Now()
	for i := range n {
		send(t, c, encode(t, "/n", Int32(int32(i))))
		if i%500 == 499 { // stay inside the smallest socket buffer
			for s.Stats().Messages < uint64(i+1) && time.Since(before) < 5*time.Second {
				time.Sleep(time.Millisecond)
			}
		}
	}
	for i := range n {
		m := r.next(t)
		if m.args != fmt.Sprint(i) || m.from.String() != c.LocalAddr().String() || m.at.Before(before) || m.at.After(m.now) {
			t.Fatalf("message %d: %+v", i, m)
		}
	}
}

func TestServerSchedules(t *testing.T) {
	r := newRecorder()
	s, l := startServer(t, ServerConfig{}, r)
	c := dial(t, s.Addr())
	now := time.Now().Round(0)
	bundle := func(at time.Time, addresses ...string) []byte {
		b := AppendBundle(nil, TimeTagOf(at))
		for _, a := range addresses {
			b = AppendElement(b, encode(t, a))
		}
		return b
	}
	// What is not read before its time comes at once, out of this order.
	send(t, c, bundle(now.Add(1100*time.Millisecond), "/5", "/6"))
	send(t, c, bundle(now.Add(1000*time.Millisecond), "/3"))
	send(t, c, bundle(now.Add(1100*time.Millisecond), "/7"))
	send(t, c, bundle(now.Add(1000*time.Millisecond), "/4"))
	send(t, c, bundle(now.Add(-time.Second), "/1"))
	send(t, c, encode(t, "/2"))
	send(t, c, bundle(now.Add(time.Hour), "/never"))
	for i, due := range []time.Duration{0, 0, 1000, 1000, 1100, 1100, 1100} {
		m := r.next(t)
		if m.address != fmt.Sprintf("/%d", i+1) {
			t.Fatalf("message %d is %s", i+1, m.address)
		}
		want := now.Add(due * time.Millisecond)
		if due > 0 && !m.at.Equal(want) {
			t.Errorf("%s is meant for %v, want %v", m.address, m.at, want)
		}
		if m.now.Before(want) {
			t.Errorf("%s came %v early", m.address, want.Sub(m.now))
		}
		t.Logf("%s: %v after its time", m.address, m.now.Sub(want))
	}
	if st := s.Stats(); st.Late != 1 || st.Dropped != 1 || st.Scheduled != 0 || st.Messages != 7 || st.Packets != 7 {
		t.Errorf("%+v", st)
	}
	if lines := strings.Join(l.all(), "\n"); !strings.Contains(lines, "further ahead than 10m0s") {
		t.Errorf("log: %s", lines)
	}
}

func TestServerLookahead(t *testing.T) {
	r := newRecorder()
	s, _ := startServer(t, ServerConfig{Lookahead: 2 * time.Second}, r)
	c := dial(t, s.Addr())
	at := time.Now().Add(2100 * time.Millisecond).Round(0)
	send(t, c, AppendElement(AppendBundle(nil, TimeTagOf(at)), encode(t, "/x")))
	m := r.next(t)
	if early := at.Sub(m.now); !m.at.Equal(at) || early > 2*time.Second || early < time.Second {
		t.Errorf("handed over %v ahead for %v, want up to 2 s ahead of %v", early, m.at, at)
	}
}

// A bundle that does not fit the schedule whole is dropped whole; what waits
// at the end is counted.
func TestScheduleIsBounded(t *testing.T) {
	r := newRecorder()
	s, l := startServer(t, ServerConfig{MaxScheduled: 5}, r)
	c := dial(t, s.Addr())
	at := time.Now().Add(time.Minute)
	for range 3 {
		b := AppendBundle(nil, TimeTagOf(at))
		b = AppendElement(AppendElement(b, encode(t, "/a")), encode(t, "/b"))
		send(t, c, b)
	}
	send(t, c, encode(t, "/now"))
	if m := r.next(t); m.address != "/now" {
		t.Errorf("got %s", m.address)
	}
	if st := s.Stats(); st.Scheduled != 4 || st.Dropped != 2 {
		t.Errorf("%+v", st)
	}
	if lines := strings.Join(l.all(), "\n"); !strings.Contains(lines, "schedule is full") {
		t.Errorf("log: %s", lines)
	}
	s.Close()
	if st := s.Stats(); st.Scheduled != 0 || st.Dropped != 6 {
		t.Errorf("after Close: %+v", st)
	}
}

func TestScheduleOrder(t *testing.T) {
	q := schedule{max: 1 << 20, maxBytes: 1 << 30}
	rng := rand.New(rand.NewPCG(1, 2))
	base := time.Unix(1.8e9, 0)
	for i := range 5000 {
		q.push(base.Add(time.Duration(rng.IntN(100))*time.Millisecond), netip.AddrPort{}, []byte{byte(i)})
	}
	last := scheduled{at: base}
	for range 5000 {
		e, ok := q.next()
		if !ok || e.at.Before(last.at) || e.at.Equal(last.at) && e.seq < last.seq {
			t.Fatalf("%v %d after %v %d", e.at, e.seq, last.at, last.seq)
		}
		last = e
		q.pop()
	}
	if _, ok := q.next(); ok || q.bytes != 0 {
		t.Errorf("%d bytes left", q.bytes)
	}
}

func TestPortInUse(t *testing.T) {
	s, _ := startServer(t, ServerConfig{}, newRecorder())
	_, err := Listen(ServerConfig{Addr: s.Addr().String()})
	if !errors.Is(err, ErrPortInUse) {
		t.Fatalf("%v, want ErrPortInUse", err)
	}
	for _, text := range []string{fmt.Sprintf("port %d", s.Addr().Port()), "127.0.0.1", "--osc"} {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	for _, addr := range []string{"", "9000", "127.0.0.1:many", "300.1.1.1:9000"} {
		if _, err := Listen(ServerConfig{Addr: addr}); err == nil || !strings.Contains(err.Error(), "expected host:port") {
			t.Errorf("%q: %v", addr, err)
		}
	}
}

func TestListensOnLoopbackByDefault(t *testing.T) {
	s, err := Listen(ServerConfig{Addr: ":0"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if !s.Addr().Addr().IsLoopback() {
		t.Errorf("listens on %s", s.Addr())
	}
}

func TestMalformedIsCountedAndLoggedOnceASecond(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	s, l := startServer(t, ServerConfig{}, r)
	c := dial(t, s.Addr())
	for range 50 {
		send(t, c, []byte("/a\x00\x00,q\x00\x00"))
	}
	send(t, c, nil)             // an empty datagram is one, too
	send(t, c, encode(t, "/[")) // well-formed as a message
	if m := r.next(t); m.address != "/[" {
		t.Errorf("got %s", m.address)
	}
	if st := s.Stats(); st.Malformed != 51 || st.Packets != 52 {
		t.Errorf("%+v", st)
	}
	lines := l.all()
	if len(lines) != 1 || !strings.Contains(lines[0], "offset 8: found an unknown type tag") || !strings.Contains(lines[0], c.LocalAddr().String()) {
		t.Errorf("%q", lines)
	}
	time.Sleep(logInterval)
	send(t, c, []byte("x"))
	for end := time.Now().Add(5 * time.Second); len(l.all()) < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	if lines := l.all(); len(lines) != 2 || !strings.Contains(lines[1], "suppressed=50") {
		t.Errorf("%q", lines)
	}
}

func TestHandlerPanicIsSurvived(t *testing.T) {
	r := newRecorder()
	s, l := startServer(t, ServerConfig{}, HandlerFunc(func(from netip.AddrPort, m *Message, at time.Time) {
		if string(m.Address()) == "/panic" {
			panic("on purpose")
		}
		r.Handle(from, m, at)
	}))
	c := dial(t, s.Addr())
	send(t, c, encode(t, "/panic"))
	send(t, c, AppendElement(AppendBundle(nil, TimeTagOf(time.Now().Add(20*time.Millisecond))), encode(t, "/panic")))
	send(t, c, encode(t, "/fine"))
	if m := r.next(t); m.address != "/fine" {
		t.Errorf("got %s", m.address)
	}
	for end := time.Now().Add(5 * time.Second); s.Stats().Panics < 2 && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
	}
	send(t, c, encode(t, "/still"))
	if m := r.next(t); m.address != "/still" || s.Stats().Panics != 2 {
		t.Errorf("got %s, %+v", m.address, s.Stats())
	}
	if lines := l.all(); len(lines) != 1 || !strings.Contains(lines[0], "on purpose") {
		t.Errorf("%q", lines)
	}
}

func TestCloseTwiceAndServeTwice(t *testing.T) {
	s, _ := startServer(t, ServerConfig{}, newRecorder())
	for !s.serving.Load() {
		time.Sleep(time.Millisecond)
	}
	if err := s.Serve(newRecorder()); err == nil {
		t.Error("a second Serve was accepted")
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Send(s.Addr(), []byte("/a\x00\x00")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("send after Close: %v", err)
	}
}

// nasty returns random datagrams of several makes: noise, noise behind a
// plausible beginning, and valid packets with a few bytes changed.
func nasty(rng *rand.Rand, valid [][]byte, buf []byte) []byte {
	switch rng.IntN(4) {
	case 0:
		buf = buf[:rng.IntN(64)]
	case 1:
		buf = append(buf[:0], "/a\x00\x00,"...)
		buf = buf[:5+rng.IntN(59)]
	case 2:
		buf = append(buf[:0], bundleHead...)
		buf = buf[:8+rng.IntN(56)]
	default:
		buf = append(buf[:0], valid[rng.IntN(len(valid))]...)
		for range 1 + rng.IntN(4) {
			buf[rng.IntN(len(buf))] = byte(rng.Uint32())
		}
		return buf[:rng.IntN(len(buf)+1)]
	}
	start := 0
	if len(buf) > 8 {
		start = 8
	}
	for i := start; i < len(buf); i++ {
		buf[i] = byte(rng.Uint32())
	}
	return buf
}
