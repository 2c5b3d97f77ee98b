package rtp

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/announce"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// quick are the pauses of the session protocol for tests.
var quick = timing{
	invite: 20 * time.Millisecond, inviteSlow: 100 * time.Millisecond, tries: 12, rejected: 100 * time.Millisecond, handshake: time.Second,
	syncFast: 5 * time.Millisecond, syncs: 6, syncSlow: 200 * time.Millisecond,
	quiet: 200 * time.Millisecond, idle: 500 * time.Millisecond, again: 50 * time.Millisecond, asks: 30,
	hush: time.Second, silence: 2 * time.Second, feedback: 20 * time.Millisecond,
}

func quiet(t *testing.T) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(testWriter{t}, &slog.HandlerOptions{Level: slog.LevelInfo}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

// testWriter writes to a test's log as long as the test runs.
type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	defer func() { _ = recover() }() // the test may have ended
	w.t.Log(string(b[:len(b)-1]))
	return len(b), nil
}

func open(t *testing.T, cfg Config) *Host {
	t.Helper()
	if cfg.Listen == "" {
		cfg.Listen = "127.0.0.1:0"
	}
	if cfg.Logger == nil {
		cfg.Logger = quiet(t)
	}
	if cfg.timing == (timing{}) {
		cfg.timing = quick
	}
	h, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// within waits until ok, and fails after some seconds.
func within(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.Now().Add(10 * time.Second)
	for !ok() {
		if time.Now().After(end) {
			t.Fatalf("not within 10 s: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// ear keeps what was received.
type ear struct {
	mu   sync.Mutex
	at   []time.Time
	came []time.Time
	got  []string
}

func (e *ear) hear(at time.Time, b []byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.at, e.came, e.got = append(e.at, at), append(e.came, time.Now()), append(e.got, fmt.Sprintf("% x", b))
}

func (e *ear) all() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return slices.Clone(e.got)
}

func (e *ear) has(want ...string) bool { return slices.Equal(e.all(), want) }

// pair opens two hosts with a session between them, and their virtual ports.
func pair(t *testing.T, a, b Config) (ha, hb *Host, ea, eb *ear, oa, ob port.Out) {
	t.Helper()
	b.Name = "b"
	hb = open(t, b)
	a.Name, a.Remotes = "a", append(a.Remotes, hb.Addr().String())
	ha = open(t, a)
	within(t, "a session", func() bool { return len(ha.Peers()) == 1 && len(hb.Peers()) == 1 })
	within(t, "clocks compared", func() bool {
		return ha.Peers()[0].Synced && hb.Peers()[0].Synced
	})
	ea, eb = &ear{}, &ear{}
	var err error
	if _, oa, err = ha.Virtual("a", ea.hear); err != nil {
		t.Fatal(err)
	}
	if _, ob, err = hb.Virtual("b", eb.hear); err != nil {
		t.Fatal(err)
	}
	return
}

func send(t *testing.T, o port.Out, b ...byte) {
	t.Helper()
	if err := o.Send(time.Now(), b); err != nil {
		t.Fatal(err)
	}
}

// A session carries messages of every kind both ways, in order.
func TestSession(t *testing.T) {
	ha, hb, ea, eb, oa, ob := pair(t, Config{}, Config{})
	if p := ha.Peers()[0]; p.Name != "b" || !p.Invited || p.Addr != hb.Addr() {
		t.Errorf("a's peer: %+v", p)
	}
	if p := hb.Peers()[0]; p.Name != "a" || p.Invited || p.Addr != ha.Addr() {
		t.Errorf("b's peer: %+v", p)
	}
	long := append(append([]byte{0xf0, 0x7d}, make([]byte, 5000)...), 0xf7)
	var want []string
	for _, m := range [][]byte{
		{0x90, 60, 100}, {0x80, 60, 64}, {0xb1, 7, 90}, {0xc2, 5}, {0xd3, 44}, {0xe4, 1, 2}, {0xa5, 3, 4},
		{0xf0, 1, 2, 3, 0xf7}, long, {0xf1, 0x23}, {0xf2, 1, 2}, {0xf3, 9}, {0xf6}, {0xf8}, {0xfa}, {0xfb}, {0xfc}, {0xfe},
	} {
		send(t, oa, m...)
		send(t, ob, m...)
		want = append(want, fmt.Sprintf("% x", m))
	}
	within(t, "all to b", func() bool { return eb.has(want...) })
	within(t, "all to a", func() bool { return ea.has(want...) })
	within(t, "confirmed", func() bool { return ha.Peers()[0].Journals && hb.Peers()[0].Journals })
}

// Each peer is a port of its name, that the virtual port then leaves alone;
// it comes and goes with its session.
func TestPorts(t *testing.T) {
	ha, hb, _, eb, oa, ob := pair(t, Config{}, Config{})
	for len(hb.Changed()) > 0 {
		<-hb.Changed()
	}
	own := &ear{}
	ins, outs, err := hb.Ports()
	if err != nil || !slices.Equal(ins, []string{"a"}) || !slices.Equal(outs, ins) {
		t.Fatalf("ports %v, %v, %v", ins, outs, err)
	}
	in, err := hb.OpenIn("a", own.hear)
	if err != nil {
		t.Fatal(err)
	}
	out, err := hb.OpenOut("a")
	if err != nil {
		t.Fatal(err)
	}
	if got := hb.Connected("b"); len(got) != 0 {
		t.Errorf("the virtual port still leads to %v", got)
	}
	send(t, oa, 0x90, 60, 100)
	within(t, "the note", func() bool { return own.has("90 3c 64") })
	if got := eb.all(); len(got) != 0 {
		t.Errorf("the virtual port heard %v as well", got)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	send(t, oa, 0x90, 61, 100)
	within(t, "the note at the virtual port", func() bool { return eb.has("90 3d 64") })
	if !out.(port.Checker).Alive() {
		t.Error("the output is said to lead nowhere")
	}
	ha.Close()
	within(t, "its end", func() bool { ins, _, _ := hb.Ports(); return len(ins) == 0 })
	select {
	case <-hb.Changed():
	case <-time.After(time.Second):
		t.Error("that a port has gone is not told")
	}
	if out.(port.Checker).Alive() {
		t.Error("the output is said to lead to a session that has ended")
	}
	if err := out.Send(time.Now(), []byte{0x90, 1, 2}); !errors.Is(err, port.ErrNoPort) {
		t.Errorf("sent to a session that has ended: %v", err)
	}
	if _, err := hb.OpenIn("a", own.hear); !errors.Is(err, port.ErrNoPort) {
		t.Errorf("opened a session that has ended: %v", err)
	}
	_ = ob
}

// What is held is ended at both ends, whoever closes, and when nothing more
// is heard.
func TestNothingStaysHeld(t *testing.T) {
	ends := []string{"80 3c 40", "82 30 40", "b0 40 00"}
	hold := func(t *testing.T, o port.Out, e *ear) {
		send(t, o, 0x90, 60, 100, 0x92, 48, 1, 0xb0, 64, 127)
		within(t, "held", func() bool { return e.has("90 3c 64", "92 30 01", "b0 40 7f") })
	}
	released := func(e *ear) func() bool {
		return func() bool { got := e.all(); return len(got) == 6 && slices.Equal(got[3:], ends) }
	}
	t.Run("closed by who holds", func(t *testing.T) {
		ha, _, _, eb, oa, _ := pair(t, Config{}, Config{})
		hold(t, oa, eb)
		ha.Close()
		within(t, "released", released(eb))
	})
	t.Run("closed by who hears", func(t *testing.T) {
		_, hb, _, eb, oa, _ := pair(t, Config{}, Config{})
		hold(t, oa, eb)
		hb.Close()
		if !released(eb)() {
			t.Errorf("after Close: %v", eb.all())
		}
	})
	t.Run("silence", func(t *testing.T) {
		short := quick
		short.hush, short.silence = 50*time.Millisecond, time.Second
		h := open(t, Config{timing: short})
		e := &ear{}
		if _, _, err := h.Virtual("", e.hear); err != nil {
			t.Fatal(err)
		}
		r := newRaw(t, h.Addr())
		r.join(1, 2, "silent")
		r.send(1, appendSection(appendHeader(nil, 1, 0, 2), []byte{0x90, 60, 100}, false, false, false))
		within(t, "held, and given up", func() bool { return e.has("90 3c 64", "80 3c 40") })
		if len(h.Peers()) != 1 {
			t.Error("the session is given up as well")
		}
		for {
			b := r.answer(0, 5*time.Second)
			if c, err := parseControl(b); b == nil {
				t.Fatal("no goodbye")
			} else if err == nil && c.command == cmdEnd && c.token == 1 {
				return
			}
		}
	})
}

// A session comes back by itself when the peer does.
func TestReconnect(t *testing.T) {
	hb := open(t, Config{Name: "b"})
	addr := hb.Addr()
	ha := open(t, Config{Name: "a", Remotes: []string{addr.String()}})
	within(t, "a session", func() bool { return len(ha.Peers()) == 1 })
	hb.Close()
	within(t, "its end", func() bool { return len(ha.Peers()) == 0 })
	open(t, Config{Name: "b again", Listen: addr.String()})
	within(t, "another one", func() bool { p := ha.Peers(); return len(p) == 1 && p[0].Name == "b again" })
}

// Two that invite each other have one session.
func TestMutualInvitation(t *testing.T) {
	for range 3 {
		l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		free := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(l.LocalAddr().(*net.UDPAddr).Port)&^1)
		l.Close()
		ha := open(t, Config{Name: "a", Remotes: []string{free.String()}})
		hb := open(t, Config{Name: "b", Listen: free.String(), Remotes: []string{ha.Addr().String()}})
		within(t, "a session", func() bool { return len(ha.Peers()) == 1 && len(hb.Peers()) == 1 })
		time.Sleep(100 * time.Millisecond)
		if a, b := ha.Peers(), hb.Peers(); len(a) != 1 || len(b) != 1 {
			t.Errorf("sessions: a %+v, b %+v", a, b)
		}
		ha.Close()
		hb.Close()
	}
}

// Many peers are merged at the virtual port, and all hear what it sends.
func TestManyPeers(t *testing.T) {
	hub := open(t, Config{Name: "hub", Peers: 4})
	heard := &ear{}
	_, out, err := hub.Virtual("hub", heard.hear)
	if err != nil {
		t.Fatal(err)
	}
	var ears []*ear
	var outs []port.Out
	for i := range 4 {
		h := open(t, Config{Name: "same name", Remotes: []string{hub.Addr().String()}})
		within(t, "a session", func() bool { return len(h.Peers()) == 1 && len(hub.Peers()) == i+1 })
		e := &ear{}
		_, o, err := h.Virtual("", e.hear)
		if err != nil {
			t.Fatal(err)
		}
		ears, outs = append(ears, e), append(outs, o)
	}
	ins, _, _ := hub.Ports()
	if !slices.Equal(ins, []string{"same name", "same name 2", "same name 3", "same name 4"}) {
		t.Errorf("ports %q", ins)
	}
	for i, o := range outs {
		send(t, o, 0x90|byte(i), 60, 100)
		within(t, "a note", func() bool { return len(heard.all()) == i+1 })
	}
	send(t, out, 0xb0, 7, 1)
	for i, e := range ears {
		within(t, fmt.Sprintf("peer %d", i), func() bool { return e.has("b0 07 01") })
	}
	late := open(t, Config{Name: "one too many", Remotes: []string{hub.Addr().String()}})
	within(t, "refused", func() bool { return hub.Stats().Refused > 0 })
	if p := late.Peers(); len(p) != 0 {
		t.Errorf("let in: %v", p)
	}
}

// raw is a peer of which each datagram is written by the test.
type raw struct {
	t     *testing.T
	conns [2]*net.UDPConn
	to    netip.AddrPort
}

func newRaw(t *testing.T, to netip.AddrPort) *raw {
	r := &raw{t: t, to: to}
	for i := range r.conns {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		r.conns[i] = c
	}
	return r
}

func (r *raw) send(port int, b []byte) {
	r.t.Helper()
	if _, err := r.conns[port].WriteToUDPAddrPort(b, netip.AddrPortFrom(r.to.Addr(), r.to.Port()+uint16(port))); err != nil {
		r.t.Fatal(err)
	}
}

// answer returns what comes back, nil if nothing does.
func (r *raw) answer(port int, wait time.Duration) []byte {
	b := make([]byte, 2048)
	r.conns[port].SetReadDeadline(time.Now().Add(wait))
	n, err := r.conns[port].Read(b)
	if err != nil {
		return nil
	}
	return b[:n]
}

func (r *raw) invite(token, ssrc uint32, name string) string {
	r.send(0, control{command: cmdInvite, token: token, ssrc: ssrc, name: name}.append(nil))
	return r.verdict(0, token)
}

// verdict returns the answer to an invitation, whatever else comes.
func (r *raw) verdict(port int, token uint32) string {
	for {
		b := r.answer(port, time.Second)
		if b == nil {
			return "nothing"
		}
		if c, err := parseControl(b); err == nil && (c.command == cmdAccept || c.command == cmdReject) {
			if c.token != token {
				return "another token"
			}
			return c.command
		}
	}
}

func (r *raw) join(token, ssrc uint32, name string) {
	r.t.Helper()
	if got := r.invite(token, ssrc, name); got != cmdAccept {
		r.t.Fatalf("control port answers %s", got)
	}
	r.send(1, control{command: cmdInvite, token: token, ssrc: ssrc, name: name}.append(nil))
	if got := r.verdict(1, token); got != cmdAccept {
		r.t.Fatalf("data port answers %s", got)
	}
}

// Who may come in: what is allowed by address or name, and on loopback all.
func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		allow []string
		name  string
		want  string
	}{
		{nil, "x", cmdReject},
		{[]string{"10.0.0.0/8", "192.168.1.1"}, "x", cmdReject},
		{[]string{"127.0.0.0/8"}, "x", cmdAccept},
		{[]string{"127.0.0.1"}, "", cmdAccept},
		{[]string{"ipad*"}, "iPad of the drummer", cmdAccept},
		{[]string{"ipad*"}, "drummer's iPad", cmdReject},
	} {
		h := open(t, Config{Listen: "0.0.0.0:0", Allow: c.allow})
		to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), h.Addr().Port())
		if got := newRaw(t, to).invite(1, 2, c.name); got != c.want {
			t.Errorf("allow %q, name %q: %s, expected %s", c.allow, c.name, got, c.want)
		}
		h.Close()
	}
	h := open(t, Config{})
	if got := newRaw(t, h.Addr()).invite(1, 2, "x"); got != cmdAccept {
		t.Errorf("on loopback: %s", got)
	}
	if _, err := Open(Config{Listen: "127.0.0.1:0", Allow: []string{"[x"}, Logger: quiet(t)}); err == nil {
		t.Error("a malformed pattern is taken")
	}
	if _, err := Open(Config{Listen: h.Addr().String(), Logger: quiet(t)}); !errors.Is(err, ErrPortInUse) {
		t.Errorf("the same ports again: %v", err)
	}
}

// What a stranger, or a peer with a wrong token or number, sends does nothing;
// and no answer is longer than its question.
func TestStrangers(t *testing.T) {
	h := open(t, Config{Listen: "0.0.0.0:0", Allow: []string{"friend"}})
	to := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), h.Addr().Port())
	heard := &ear{}
	if _, _, err := h.Virtual("", heard.hear); err != nil {
		t.Fatal(err)
	}
	friend := newRaw(t, to)
	friend.join(7, 99, "friend")
	note := func(ssrc uint32, seq uint16, key byte) []byte {
		return appendSection(appendHeader(nil, seq, 0, ssrc), []byte{0x90, key, 1}, false, false, false)
	}
	friend.send(1, note(99, 1, 60))
	within(t, "the friend's note", func() bool { return heard.has("90 3c 01") })

	foe := newRaw(t, to)
	foe.send(1, note(99, 2, 61))                                               // not its address
	friend.send(1, note(98, 2, 62))                                            // not its number
	friend.send(0, note(99, 2, 63))                                            // not its port
	friend.send(0, control{command: cmdEnd, token: 8, ssrc: 99}.append(nil))   // not its token
	foe.send(0, control{command: cmdEnd, token: 7, ssrc: 99}.append(nil))      // not its address
	foe.send(1, control{command: cmdInvite, token: 7, ssrc: 99}.append(nil))   // half of an invitation
	foe.send(0, control{command: cmdAccept, token: 7, ssrc: 99}.append(nil))   // of nothing
	foe.send(0, control{command: cmdFeedback, ssrc: 99, value: 1}.append(nil)) //
	foe.send(1, control{command: cmdClock, ssrc: 99}.append(nil))              //
	question := control{command: cmdInvite, token: 1, ssrc: 2, name: ""}.append(nil)
	foe.send(0, question)
	if a := foe.answer(0, time.Second); len(a) > len(question) || len(a) == 0 {
		t.Errorf("an answer of %d octets to a question of %d", len(a), len(question))
	}
	if a := foe.answer(1, 20*time.Millisecond); a != nil {
		t.Errorf("the data port answers % x", a)
	}
	friend.send(1, note(99, 2, 64))
	within(t, "the friend's next note", func() bool { return heard.has("90 3c 01", "90 40 01") })

	// Many questions have few answers.
	answers := 0
	for range 500 {
		foe.send(0, question)
	}
	for foe.answer(0, 50*time.Millisecond) != nil {
		answers++
	}
	if answers > unknownBurst+10 {
		t.Errorf("%d answers to 500 questions", answers)
	}
	friend.send(1, note(99, 3, 65))
	within(t, "the friend's last note", func() bool { return len(heard.all()) == 3 })
}

// A peer whose number is ours gets another one of ours; one that begins anew
// at the same address ends its old session.
func TestNumbersAndRestarts(t *testing.T) {
	h := open(t, Config{})
	heard := &ear{}
	if _, _, err := h.Virtual("", heard.hear); err != nil {
		t.Fatal(err)
	}
	r := newRaw(t, h.Addr())
	r.send(0, control{command: cmdInvite, token: 1, ssrc: h.ssrc, name: "twin"}.append(nil))
	c, err := parseControl(r.answer(0, time.Second))
	if err != nil || c.command != cmdAccept || c.ssrc == h.ssrc {
		t.Fatalf("answer %+v, %v; our number is %d", c, err, h.ssrc)
	}
	r.send(1, control{command: cmdInvite, token: 1, ssrc: h.ssrc, name: "twin"}.append(nil))
	within(t, "a session", func() bool { return len(h.Peers()) == 1 })
	r.send(1, appendSection(appendHeader(nil, 1, 0, h.ssrc), []byte{0x90, 60, 1}, false, false, false))
	within(t, "a note", func() bool { return heard.has("90 3c 01") })
	for r.answer(1, time.Millisecond) != nil {
	}
	// Some always have the same number, and would be kept out for as long as a
	// session lasts of which nothing is heard.
	r.join(2, h.ssrc, "twin")
	within(t, "the first session's end", func() bool { return heard.has("90 3c 01", "80 3c 40") })
	r.join(3, 77, "twin again")
	within(t, "the new session", func() bool { p := h.Peers(); return len(p) == 1 && p[0].Name == "twin again" })
}

// A receiver that panics ends nothing.
func TestReceiverPanics(t *testing.T) {
	_, hb, _, eb, oa, _ := pair(t, Config{}, Config{})
	in, err := hb.OpenIn("a", func(time.Time, []byte) { panic("at the disco") })
	if err != nil {
		t.Fatal(err)
	}
	send(t, oa, 0x90, 60, 100)
	within(t, "the panic", func() bool { return hb.Stats().Panics > 0 })
	in.Close()
	send(t, oa, 0x90, 61, 100)
	within(t, "the next note", func() bool { return slices.Contains(eb.all(), "90 3d 64") })
}

// A session that is announced is found with its name and control port.
func TestAnnounced(t *testing.T) {
	lo := ""
	all, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 && i.Flags&net.FlagUp != 0 {
			lo = i.Name
		}
	}
	if lo == "" {
		t.Skip("no loopback interface is up")
	}
	name := fmt.Sprintf("k8s-synth test %d", time.Now().UnixNano())
	h := open(t, Config{Name: name, Announce: true, Interfaces: []string{lo}})
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if err := announce.Browse(ctx, announce.MIDI, func(f announce.Found) {
		if f.Instance == name {
			if f.Port != int(h.Addr().Port()) || !slices.Equal(f.Addrs, []netip.Addr{h.Addr().Addr()}) {
				t.Errorf("found %+v; it listens on %v", f, h.Addr())
			}
			cancel()
		}
	}, lo); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() != context.Canceled {
		t.Error("not found within 15 s")
	}
	// On loopback it is not announced unasked.
	open(t, Config{Name: name, Announce: true})
}
