package rtp

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// relay stands between two hosts and loses, doubles and mixes up what it
// carries, of both ports and both ways.
type relay struct {
	conns [2]*net.UDPConn
	addr  netip.AddrPort
	far   netip.AddrPort // control port of the host that is invited through it
	loss  atomic.Int64   // per mille
	mu    sync.Mutex
	r     *rand.Rand
	near  [2]netip.AddrPort
	sent  atomic.Int64
	lost  atomic.Int64
}

func newRelay(t *testing.T, far netip.AddrPort, seed uint64) *relay {
	r := &relay{far: far, r: rand.New(rand.NewPCG(seed, 9))}
	for try := 0; ; try++ {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		a := c.LocalAddr().(*net.UDPAddr)
		d, err := net.ListenUDP("udp", &net.UDPAddr{IP: a.IP, Port: a.Port + 1})
		if err != nil {
			c.Close()
			if try > 20 {
				t.Fatal(err)
			}
			continue
		}
		r.conns, r.addr = [2]*net.UDPConn{c, d}, a.AddrPort()
		break
	}
	var done sync.WaitGroup
	for i, c := range r.conns {
		done.Add(1)
		go func() {
			defer done.Done()
			b := make([]byte, 1<<16)
			for {
				n, from, err := c.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				r.carry(i, slices.Clone(b[:n]), from)
			}
		}()
	}
	t.Cleanup(func() {
		r.conns[0].Close()
		r.conns[1].Close()
		done.Wait()
	})
	return r
}

func (r *relay) carry(port int, b []byte, from netip.AddrPort) {
	r.mu.Lock()
	defer r.mu.Unlock()
	far := netip.AddrPortFrom(r.far.Addr(), r.far.Port()+uint16(port))
	to := far
	if from == far {
		to = r.near[port]
	} else {
		r.near[port] = from
	}
	r.sent.Add(1)
	loss := int(r.loss.Load())
	if r.r.IntN(1000) < loss {
		r.lost.Add(1)
		return
	}
	copies := 1
	if r.r.IntN(2000) < loss {
		copies = 2
	}
	for range copies {
		if r.r.IntN(1000) < loss {
			time.AfterFunc(time.Duration(r.r.IntN(8000))*time.Microsecond, func() { r.conns[port].WriteToUDPAddrPort(b, to) })
		} else {
			r.conns[port].WriteToUDPAddrPort(b, to)
		}
	}
}

// Two hosts with real sockets and a network between them that loses a tenth
// and a third: what was played at the far end is what was sent.
func TestLossyNetwork(t *testing.T) {
	messages := 800
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		messages = 10000
	}
	for _, loss := range []int64{10, 100, 300} {
		t.Run(fmt.Sprintf("%d%%", loss/10), func(t *testing.T) {
			b := open(t, Config{Name: "b"})
			r := newRelay(t, b.Addr(), uint64(loss))
			a := open(t, Config{Name: "a", Remotes: []string{r.addr.String()}})
			within(t, "a session", func() bool { return len(a.Peers()) == 1 && len(b.Peers()) == 1 })
			var mu sync.Mutex
			heard, sent := newStream(), newStream()
			if _, _, err := b.Virtual("", func(at time.Time, m []byte) {
				mu.Lock()
				heard.apply(m, 1, at)
				mu.Unlock()
			}); err != nil {
				t.Fatal(err)
			}
			_, out, err := a.Virtual("", func(time.Time, []byte) {})
			if err != nil {
				t.Fatal(err)
			}
			r.loss.Store(loss)
			random := rand.New(rand.NewPCG(uint64(loss), 10))
			for i := range messages {
				for _, m := range performance(random) {
					sent.apply(m, 1, time.Time{})
					send(t, out, m...)
				}
				if i%2 == 1 {
					time.Sleep(time.Millisecond)
				}
			}
			stuck := func() (out []string) {
				mu.Lock()
				defer mu.Unlock()
				on := notesOf(sent, true)
				for _, n := range notesOf(heard, true) {
					if !slices.Contains(on, n) {
						out = append(out, n)
					}
				}
				return out
			}
			begun := time.Now()
			var d string
			for {
				mu.Lock()
				d = difference(sent, heard)
				mu.Unlock()
				if d == "" && len(stuck()) == 0 {
					break
				}
				if time.Since(begun) > 15*time.Second {
					t.Fatalf("after 15 s: stuck notes %v, other differences:\n%s", stuck(), d)
				}
				time.Sleep(time.Millisecond)
			}
			settled := time.Since(begun)
			held, played := len(notesOf(sent, true)), len(notesOf(heard, true))
			var p Peer
			within(t, "counts", func() bool { p = b.Peers()[0]; return p.Repaired > 0 || loss < 100 })
			t.Logf("%d datagrams, %d lost; b: %d lost, %d losses repaired, %d put in order; settled %v after the end; %d notes held, %d of them played",
				r.sent.Load(), r.lost.Load(), p.Lost, p.Repaired, p.Reordered, settled.Round(time.Millisecond), held, played)
			r.loss.Store(0)
		})
	}
}

// A flood from strangers, and from a peer that has gone mad, leaves another
// session as it is.
func TestFlood(t *testing.T) {
	n := 20_000
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		n = 1_000_000
	}
	ha, hb, _, _, oa, _ := pair(t, Config{timing: standard}, Config{timing: standard})
	in, err := hb.OpenIn("a", func(time.Time, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	in.Close()
	var latency []time.Duration
	var mu sync.Mutex
	came := make(chan struct{}, 1)
	var sentAt time.Time
	in, err = hb.OpenIn("a", func(time.Time, []byte) {
		mu.Lock()
		latency = append(latency, time.Since(sentAt))
		mu.Unlock()
		came <- struct{}{}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	mad := newRaw(t, hb.Addr())
	mad.join(5, 6, "mad")
	stop := make(chan struct{})
	var flood sync.WaitGroup
	var sent atomic.Uint64
	for who := range 2 {
		flood.Add(1)
		go func() {
			defer flood.Done()
			r := rand.New(rand.NewPCG(uint64(who), 1))
			foe := newRaw(t, hb.Addr())
			b := make([]byte, 1500)
			for i := range n / 2 {
				size := r.IntN(60)
				for k := range size {
					b[k] = byte(r.IntN(256))
				}
				from := foe
				if who == 1 {
					from = mad
				}
				switch i % 4 {
				case 0:
					copy(b, control{command: []string{cmdInvite, cmdAccept, cmdEnd, cmdClock, cmdFeedback}[r.IntN(5)], token: 1, ssrc: 6}.append(nil))
					size = max(size, 36)
				case 1:
					copy(b, appendHeader(nil, uint16(i), 0, 6))
					size = max(size, 14)
				}
				from.conns[i&1].WriteToUDPAddrPort(b[:size], netip.AddrPortFrom(hb.Addr().Addr(), hb.Addr().Port()+uint16(i&1)))
				if i%64 == 63 { // the kernel's queue is shared by all
					all := sent.Add(64)
					time.Sleep(500 * time.Microsecond)
					for end := time.Now().Add(100 * time.Millisecond); hb.Stats().Datagrams < all && time.Now().Before(end); {
						time.Sleep(100 * time.Microsecond)
					}
				}
			}
		}()
	}
	go func() { flood.Wait(); close(stop) }()
	lost := 0
	for on := true; on; {
		select {
		case <-stop:
			on = false
		default:
		}
		mu.Lock()
		sentAt = time.Now()
		mu.Unlock()
		send(t, oa, 0x90, 60, 1)
		select {
		case <-came:
		case <-time.After(time.Second):
			lost++
		}
		time.Sleep(2 * time.Millisecond)
	}
	mu.Lock()
	defer mu.Unlock()
	s := hb.Stats()
	slices.Sort(latency)
	t.Logf("%d datagrams of a flood, %+v; %d notes between: p50 %v, p99 %v, max %v, lost %d", n, s, len(latency),
		latency[len(latency)/2], latency[len(latency)*99/100], latency[len(latency)-1], lost)
	if len(ha.Peers()) != 1 || lost > 0 {
		t.Errorf("sessions %v, %d notes lost", ha.Peers(), lost)
	}
	if s.Limited == 0 || s.Panics > 0 {
		t.Errorf("stats %+v", s)
	}
}

// How long a message takes over loopback, and how far the times that are handed
// on are from those at which it was played.
func TestLatency(t *testing.T) {
	n, pause := 200, time.Millisecond
	if os.Getenv("K8S_SYNTH_BENCH") != "" {
		n, pause = 5000, 2*time.Millisecond
	}
	_, hb, _, _, oa, _ := pair(t, Config{}, Config{})
	type event struct{ at, came time.Time }
	var mu sync.Mutex
	var got []event
	if in, err := hb.OpenIn("a", func(at time.Time, b []byte) {
		mu.Lock()
		got = append(got, event{at, time.Now()})
		mu.Unlock()
	}); err != nil {
		t.Fatal(err)
	} else {
		defer in.Close()
	}
	time.Sleep(100 * time.Millisecond) // the first comparisons of clocks
	var sent []time.Time
	r := rand.New(rand.NewPCG(1, 2))
	for i := range n {
		now := time.Now()
		sent = append(sent, now)
		if err := oa.Send(now, []byte{0x90, byte(i & 127), 1}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(r.Int64N(int64(2 * pause))))
	}
	within(t, "all", func() bool { mu.Lock(); defer mu.Unlock(); return len(got) == n })
	mu.Lock()
	defer mu.Unlock()
	var path, stamped []time.Duration
	for i, e := range got {
		path = append(path, e.came.Sub(sent[i]))
		stamped = append(stamped, e.at.Sub(sent[i])-DefaultLatency)
	}
	row := func(name string, d []time.Duration) (p50, p99, most time.Duration) {
		slices.Sort(d)
		p50, p99, most = d[len(d)/2], d[len(d)*99/100], d[len(d)-1]
		t.Logf("%-44s %10v %10v %10v %10v", name, d[0].Round(time.Microsecond), p50.Round(time.Microsecond), p99.Round(time.Microsecond), most.Round(time.Microsecond))
		return
	}
	t.Logf("%-44s %10s %10s %10s %10s", fmt.Sprintf("%d messages over loopback", n), "min", "p50", "p99", "max")
	row("from Send to the receiver", path)
	p50, _, _ := row("time handed on, less sending time and latency", stamped)
	for i := range stamped {
		stamped[i] = max(stamped[i]-p50, p50-stamped[i])
	}
	row("jitter of that: distance from its median", stamped)
	if p50 > 2*time.Millisecond || p50 < -2*time.Millisecond {
		t.Errorf("the clocks are %v apart after their comparison", p50)
	}
}

var _ port.Driver = (*Host)(nil)

// An invitation is repeated, twelve times quickly and then slowly, for ever;
// the clocks are compared six times quickly and then slowly; and each answer
// has to be the right one.
func TestInitiator(t *testing.T) {
	var far *raw
	for try := 0; ; try++ {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		d, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: c.LocalAddr().(*net.UDPAddr).Port + 1})
		if err == nil {
			t.Cleanup(func() { c.Close(); d.Close() })
			far = &raw{t: t, conns: [2]*net.UDPConn{c, d}}
			break
		}
		c.Close()
		if try > 20 {
			t.Fatal(err)
		}
	}
	begun := time.Now()
	h := open(t, Config{Remotes: []string{far.conns[0].LocalAddr().String()}})
	far.to = h.Addr()
	nextIn := func(port int, command string, wait time.Duration) (control, bool) {
		for {
			b := far.answer(port, wait)
			if b == nil {
				return control{}, false
			}
			if c, err := parseControl(b); err == nil && c.command == command {
				return c, true
			}
		}
	}
	next := func(port int, command string) control {
		t.Helper()
		c, ok := nextIn(port, command, 2*time.Second)
		if !ok {
			t.Fatalf("no %s comes", command)
		}
		return c
	}
	var at []time.Time
	tokens := map[uint32]bool{}
	for range 15 {
		c := next(0, cmdInvite)
		tokens[c.token] = true
		at = append(at, time.Now())
	}
	// Each may have been read late, none was sent early.
	if quickly, slowly, all := at[11].Sub(at[0]), at[14].Sub(at[12]), at[14].Sub(begun); quickly > 11*quick.inviteSlow/2 || all < 11*quick.invite+3*quick.inviteSlow {
		t.Errorf("twelve invitations in %v, two more in %v, all in %v", quickly, slowly, all)
	}
	if len(tokens) < 2 {
		t.Error("a new try has the old token")
	}
	invitation := next(0, cmdInvite)
	// Answers that are not to the question.
	far.send(0, control{command: cmdAccept, token: invitation.token + 1, ssrc: 7, name: "x"}.append(nil))
	far.send(1, control{command: cmdAccept, token: invitation.token, ssrc: 7, name: "x"}.append(nil))
	if b := far.answer(1, 30*time.Millisecond); b != nil {
		t.Fatalf("the data port is asked: % x", b)
	}
	// An answer counts until the next try, which on a busy machine may have begun:
	// then that is answered.
	var second control
	for try := 0; len(h.Peers()) == 0; try++ {
		if try == 40 {
			t.Fatal("no session opens")
		}
		invitation = next(0, cmdInvite)
		for newer, ok := nextIn(0, cmdInvite, time.Millisecond); ok; newer, ok = nextIn(0, cmdInvite, time.Millisecond) {
			invitation = newer
		}
		far.send(0, control{command: cmdAccept, token: invitation.token, ssrc: 7, name: "far"}.append(nil))
		var ok bool
		for second, ok = nextIn(1, cmdInvite, 100*time.Millisecond); ok && second.token != invitation.token; {
			second, ok = nextIn(1, cmdInvite, 100*time.Millisecond)
		}
		if !ok {
			continue
		}
		if second.ssrc != invitation.ssrc || second.name != "k8s-synth" {
			t.Fatalf("first %+v, then %+v", invitation, second)
		}
		far.send(1, control{command: cmdAccept, token: second.token, ssrc: 8, name: "far"}.append(nil)) // another number
		if len(h.Peers()) != 0 {
			t.Error("a session with another number")
		}
		far.send(1, control{command: cmdAccept, token: second.token, ssrc: 7, name: "far"}.append(nil))
		for end := time.Now().Add(500 * time.Millisecond); len(h.Peers()) == 0 && time.Now().Before(end); {
			time.Sleep(time.Millisecond)
		}
	}
	var gaps []time.Duration
	last := time.Now()
	for i := range quick.syncs + 2 {
		c := next(1, cmdClock)
		for c.count != 0 {
			c = next(1, cmdClock)
		}
		if i > 0 {
			gaps = append(gaps, time.Since(last))
		}
		last = time.Now()
		if c.ssrc != invitation.ssrc {
			t.Fatalf("%+v", c)
		}
		wrong, right := c, c
		wrong.ssrc, wrong.count, right.ssrc, right.count = 7, 1, 7, 1
		wrong.times[0]++
		right.times[1] = c.times[0] + 12345
		far.send(1, wrong.append(nil))
		far.send(1, right.append(nil))
		if e := next(1, cmdClock); e.count != 2 || e.times[0] != c.times[0] || e.times[1] != right.times[1] || e.times[2] < c.times[0] || e.times[2] > c.times[0]+10000 {
			t.Fatalf("the end of an exchange is %+v after %+v", e, right)
		}
	}
	if slow := gaps[len(gaps)-1]; slow < quick.syncSlow/2 {
		t.Errorf("pauses between comparisons: %v", gaps)
	}
	within(t, "clocks compared", func() bool { p := h.Peers(); return len(p) == 1 && p[0].Synced && p[0].Name == "far" })

	// A refusal ends a session that begins, but only for a while.
	for ok := true; ok; {
		_, ok = nextIn(0, cmdInvite, time.Millisecond) // of before
	}
	far.send(0, control{command: cmdEnd, token: second.token, ssrc: 7}.append(nil))
	invitation = next(0, cmdInvite)
	begun = time.Now()
	far.send(0, control{command: cmdReject, token: invitation.token, ssrc: 7}.append(nil))
	again := next(0, cmdInvite)
	for n := 0; again.token == invitation.token && n < quick.tries-3; n++ { // sent before the refusal came
		again = next(0, cmdInvite)
	}
	if again.token == invitation.token || time.Since(begun) < quick.rejected {
		t.Errorf("after a refusal: token %#x and %#x, %v later", invitation.token, again.token, time.Since(begun))
	}
}

// handle gives datagrams to a host whose own loop has ended, from many
// addresses: what is in b, cut into pieces.
func handle(h *Host, b []byte, now time.Time) {
	for len(b) >= 3 {
		from := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, b[0] >> 5, b[0] & 3}), 1000+uint16(b[0]>>3&3))
		port, size := int(b[1]&1), min(int(b[2]), len(b)-3)
		h.datagram(b[3:3+size], from, port, now)
		b = b[3+size:]
	}
}

// ended returns a host that handles what a test gives it.
func ended(t testing.TB) *Host {
	h, err := Open(Config{Listen: "127.0.0.1:0", Logger: slog.New(slog.DiscardHandler), Remotes: []string{"127.0.0.1:1000"}})
	if err != nil {
		t.Fatal(err)
	}
	h.Close()
	return h
}

func FuzzHost(f *testing.F) {
	piece := func(who, port byte, b []byte) []byte { return append([]byte{who, port, byte(len(b))}, b...) }
	invite := control{command: cmdInvite, token: 1, ssrc: 2, name: "x"}.append(nil)
	note := appendSection(appendHeader(nil, 1, 0, 2), []byte{0x90, 60, 1}, false, false, false)
	f.Add(slices.Concat(piece(0, 0, invite), piece(8, 1, invite), piece(8, 1, note), piece(8, 1, control{command: cmdClock, ssrc: 2}.append(nil)),
		piece(0, 0, control{command: cmdFeedback, ssrc: 2, value: 1 << 16}.append(nil)), piece(0, 0, control{command: cmdEnd, token: 1, ssrc: 2}.append(nil))))
	h := ended(f)
	now := time.Now()
	f.Fuzz(func(t *testing.T, b []byte) {
		now = now.Add(time.Second)
		handle(h, b, now)
		h.tick(now)
		if n := h.sessions(); n > h.cfg.Peers {
			t.Fatalf("%d sessions", n)
		}
	})
}

// A million random datagrams, half of them nearly right, neither stop the
// host's handler nor slow it, nor fill its memory.
func TestRandomDatagrams(t *testing.T) {
	n := 200_000
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		n = 1_000_000
	}
	h := ended(t)
	r := rand.New(rand.NewPCG(7, 8))
	now := time.Now()
	begun := time.Now()
	opened := 0
	for i := range n {
		now = now.Add(time.Millisecond)
		who := byte(r.IntN(256))
		if r.IntN(4) > 0 {
			who = byte(r.IntN(4)) << 3
		}
		var b []byte
		port := byte(r.IntN(2))
		switch r.IntN(6) {
		case 0, 1:
			b = make([]byte, r.IntN(64))
			for k := range b {
				b[k] = byte(r.IntN(256))
			}
		case 2:
			b = control{command: cmdInvite, token: uint32(r.IntN(2)), ssrc: uint32(r.IntN(2)), name: "x"}.append(nil)
		case 3:
			b = control{command: []string{cmdAccept, cmdReject, cmdEnd, cmdClock, cmdFeedback, cmdLimit}[r.IntN(6)], token: uint32(r.IntN(2)), ssrc: uint32(r.IntN(2)),
				count: uint8(r.IntN(3)), value: r.Uint32()}.append(nil)
		default:
			b = appendSection(appendHeader(nil, uint16(i), r.Uint32(), uint32(r.IntN(2))), []byte{0x90, byte(r.IntN(128)), byte(r.IntN(128))}, false, false, r.IntN(2) == 0)
			for range r.IntN(20) {
				b = append(b, byte(r.IntN(256)))
			}
		}
		if r.IntN(3) == 0 && len(b) > 0 {
			b[r.IntN(len(b))] ^= 1 << r.IntN(8)
		}
		handle(h, append([]byte{who, port, byte(len(b))}, b...), now)
		if i%16 == 0 {
			h.tick(now)
		}
		if h.sessions() > 0 {
			opened++
		}
	}
	took := time.Since(begun)
	t.Logf("%d datagrams in %v, %v each; a session was there for %d of them; %+v", n, took, took/time.Duration(n), opened, h.Stats())
	if took > time.Duration(n)*50*time.Microsecond {
		t.Errorf("%v for each", took/time.Duration(n))
	}
	if opened == 0 || h.sessions() > h.cfg.Peers || len(h.strangers.by) > maxUnknown {
		t.Errorf("%d with a session, %d sessions, %d strangers", opened, h.sessions(), len(h.strangers.by))
	}
}
