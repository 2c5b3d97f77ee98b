package rtp

import (
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"time"
)

// still is a host with one open session that stands still: the test says what
// time it is. Its peer is known by what it answers.
type still struct {
	*Host
	p    *peer
	ear  *ear
	now  time.Time
	seq  uint16
	asks int           // questions so far
	last time.Duration // p.asked of the last one
}

const stillSSRC = 7

// step is how far the clock of a still host goes at once.
const step = 20 * time.Millisecond

// newStill returns one that has invited its peer, or was invited, with sockets
// that both ends send to and nobody reads.
func newStill(t *testing.T, conns [2]*net.UDPConn, invited bool) *still {
	t.Helper()
	h := &Host{cfg: Config{Name: "still", Latency: DefaultLatency}, log: slog.New(slog.DiscardHandler), timing: standard, ssrc: 1, conns: conns,
		start: time.Now().Add(-time.Hour), changed: make(chan struct{}, 1), taken: map[uint64]int{}, peerIn: map[uint64][]*input{}}
	s := &still{Host: h, ear: &ear{}, now: time.Now()}
	if _, _, err := h.Virtual("", s.ear.hear); err != nil {
		t.Fatal(err)
	}
	s.p = h.newPeer(stillSSRC, h.Addr())
	s.p.data, s.p.token, s.p.name = conns[1].LocalAddr().(*net.UDPAddr).AddrPort(), 9, "peer"
	if invited {
		s.p.remote = &remote{text: h.Addr().String(), p: s.p}
		h.remotes = append(h.remotes, s.p.remote)
	}
	s.p.nextSync = s.now
	h.open(s.p, s.now)
	<-h.changed
	return s
}

func unread(t *testing.T) (conns [2]*net.UDPConn) {
	t.Helper()
	for i := range conns {
		c, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns[i] = c
	}
	return conns
}

func (s *still) open() bool { return s.p.stage == stageOpen }

func (s *still) say(c control) {
	c.ssrc = stillSSRC
	s.datagram(c.append(nil), s.p.data, 1, s.now)
}

// plays sends a message of the peer's.
func (s *still) plays(b ...byte) {
	s.seq++
	s.datagram(appendSection(appendHeader(nil, s.seq, 0, stillSSRC), b, false, false, false), s.p.data, 1, s.now)
}

// run lets time pass while the session is open. Arrives tells whether a packet
// of the one or the other way does, and answers whether the peer answers at all.
// It begins an exchange of its own each time that every has passed, if not 0.
func (s *still) run(d time.Duration, arrives func() bool, answers bool, every time.Duration) {
	for begun, end := s.now, s.now.Add(d); s.now.Before(end) && s.open(); s.now = s.now.Add(step) {
		if every > 0 && s.now.Sub(begun) >= every {
			begun = s.now
			if arrives() {
				s.say(control{command: cmdClock, times: [3]uint64{uint64(s.now.UnixNano())}})
			}
		}
		s.tick(s.now)
		if s.open() && s.p.asked != s.last {
			s.last = s.p.asked
			s.asks++
			if answers && arrives() && arrives() {
				s.say(control{command: cmdClock, count: 1, times: [3]uint64{uint64(s.p.asked / tick)}})
			}
		}
	}
}

func always() bool { return true }
func never() bool  { return false }

// A peer that dies without a word is gone 10 or 12 s after its last one if it
// holds anything, and within 18 or 20 s else, in whatever moment it dies; and its
// note ends with it. A network that is away for 7 s, or loses a third, ends
// nothing.
func TestGone(t *testing.T) {
	for _, role := range []struct {
		name    string
		invited bool
		every   time.Duration // between the exchanges of the peer
		held    time.Duration // at most, until it is gone
		idle    time.Duration
	}{{"we invited", true, 0, 10 * time.Second, 18 * time.Second}, {"it invited", false, 10 * time.Second, 12 * time.Second, 20 * time.Second},
		{"it invited, and is never silent", false, standard.quiet / 4, 12 * time.Second, 20 * time.Second}} {
		for _, holds := range []bool{true, false} {
			name, most := role.name+", nothing is held", role.idle
			if holds {
				name, most = role.name+", a note is held", role.held
			}
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				var worst time.Duration
				conns := unread(t)
				for phase := time.Duration(0); phase < 12*time.Second; phase += 140 * time.Millisecond {
					begin := func() *still {
						s := newStill(t, conns, role.invited)
						s.run(15*time.Second, always, true, role.every)
						if holds {
							s.plays(0x90, 60, 100)
						}
						s.run(phase, always, true, role.every)
						return s
					}
					s := begin()
					s.run(7*time.Second, never, true, role.every)
					s.run(30*time.Second, always, true, role.every)
					if !s.open() {
						t.Fatalf("a network that was away for 7 s, after %v, ended the session", phase)
					}
					if holds && !s.ear.has("90 3c 64") {
						t.Fatalf("after it the note was %v", s.ear.all())
					}

					s = begin()
					s.run(2*time.Minute, never, false, 0)
					if s.open() {
						t.Fatal("not gone after two minutes")
					}
					worst = max(worst, s.now.Sub(s.p.heard))
					if holds && !s.ear.has("90 3c 64", "80 3c 40") {
						t.Fatalf("of a peer that is gone came %v", s.ear.all())
					}
					if len(s.Peers()) != 0 || len(s.Changed()) == 0 {
						t.Fatal("that it is gone is not told")
					}
					if !role.invited {
						continue
					}
					// It is invited again, a second later and on.
					ended, tries := s.now, 0
					for ; s.now.Sub(ended) < 5*time.Second; s.now = s.now.Add(step) {
						s.tick(s.now)
						for _, p := range s.peers {
							tries = max(tries, p.tries)
						}
					}
					if tries < 3 {
						t.Fatalf("invited %d times in the 5 s after", tries)
					}
				}
				t.Logf("gone at most %v after its last word", worst)
				if limit := most + 2*step; worst > limit {
					t.Errorf("gone %v after its last word, want %v at most", worst, limit)
				}
			})
		}
		t.Run(role.name+", a third is lost", func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(3, 1))
			s := newStill(t, unread(t), role.invited)
			s.run(15*time.Second, always, true, role.every)
			s.plays(0x90, 60, 100)
			s.run(20*time.Minute, func() bool { return r.IntN(10) >= 3 }, true, role.every)
			if !s.open() {
				t.Errorf("the session ended after %d questions", s.asks)
			}
			t.Logf("%d questions in 20 minutes", s.asks)
		})
	}
}

// One that has invited us is asked in the beginning, also if it plays all the
// time; if it answers no question it has its notes and its session as long as it
// had before.
func TestOnlyAsks(t *testing.T) {
	s := newStill(t, unread(t), false)
	s.run(2*trials*standard.quiet, always, false, standard.quiet/4)
	if s.asks != trials {
		t.Errorf("asked %d times, want %d", s.asks, trials)
	}
	s.plays(0x90, 60, 100)
	s.run(2*time.Minute, always, false, 10*time.Second)
	if !s.open() || !s.ear.has("90 3c 64") {
		t.Fatalf("open: %v; came: %v", s.open(), s.ear.all())
	}
	s.run(standard.hush-step-s.now.Sub(s.p.heard), never, false, 0)
	if !s.ear.has("90 3c 64") {
		t.Errorf("let go before %v", standard.hush)
	}
	s.run(3*step, never, false, 0)
	if !s.ear.has("90 3c 64", "80 3c 40") {
		t.Errorf("after %v: %v", standard.hush, s.ear.all())
	}
	s.run(standard.silence-step-s.now.Sub(s.p.lastSync), never, false, 0)
	if !s.open() {
		t.Errorf("ended before %v", standard.silence)
	}
	s.run(3*step, never, false, 0)
	if s.open() {
		t.Errorf("open after %v", standard.silence)
	}
	if s.asks != trials {
		t.Errorf("asked %d times, want %d", s.asks, trials)
	}
}

// A machine that slept has not heard its peers, and asks before it says that
// they are gone.
func TestGoneAfterSleep(t *testing.T) {
	conns := unread(t)
	for _, invited := range []bool{true, false} {
		for awake := time.Duration(0); awake < 9900*time.Millisecond; awake += 70 * time.Millisecond {
			s := newStill(t, conns, invited)
			s.run(15*time.Second, always, true, 10*time.Second)
			s.plays(0x90, 60, 100)
			s.run(awake, never, true, 0)
			s.now = s.now.Add(30 * time.Second)
			s.run(5*time.Second, always, true, 10*time.Second)
			if !s.open() {
				t.Fatalf("invited %v, asleep %v after the last word: the session was ended without a question", invited, awake)
			}
		}
	}
}

// An end that names no token is one, as Arduino's library says it.
func TestEndWithoutToken(t *testing.T) {
	patient := quick
	patient.hush, patient.silence = time.Minute, time.Minute
	h := open(t, Config{timing: patient})
	e := &ear{}
	if _, _, err := h.Virtual("", e.hear); err != nil {
		t.Fatal(err)
	}
	r := newRaw(t, h.Addr())
	r.join(5, 6, "arduino")
	r.send(1, appendSection(appendHeader(nil, 1, 0, 6), []byte{0x90, 60, 100}, false, false, false))
	within(t, "held", func() bool { return e.has("90 3c 64") })
	r.send(0, control{command: cmdEnd, ssrc: 6}.append(nil))
	within(t, "its end", func() bool { return len(h.Peers()) == 0 && e.has("90 3c 64", "80 3c 40") })
}

// With real sockets: a cable that is pulled is noticed at both ends by their
// questions, long before either may take the other for dead; what is held falls,
// and the session is back when the cable is. One that is back at once is not
// noticed.
func TestCablePulled(t *testing.T) {
	pauses := quick
	pauses.quiet, pauses.idle, pauses.again, pauses.asks = 50*time.Millisecond, 300*time.Millisecond, 150*time.Millisecond, 10
	pauses.hush, pauses.silence = time.Minute, time.Minute
	b := open(t, Config{Name: "b", timing: pauses})
	r := newRelay(t, b.Addr(), 5)
	a := open(t, Config{Name: "a", timing: pauses, Remotes: []string{r.addr.String()}})
	hosts := []*Host{a, b}
	var ears [2]*ear
	var again []func()
	for i, h := range hosts {
		ears[i] = &ear{}
		_, out, err := h.Virtual("", ears[i].hear)
		if err != nil {
			t.Fatal(err)
		}
		again = append(again, func() { send(t, out, 0x90, 60, 100) })
	}
	session := func(what string) {
		t.Helper()
		within(t, what, func() bool {
			return !slices.ContainsFunc(hosts, func(h *Host) bool { p := h.Peers(); return len(p) != 1 || !p[0].Answers })
		})
	}
	session("a session, and each has asked the other by itself")
	for _, play := range again {
		play()
	}
	held := func(e *ear) bool { return e.has("90 3c 64") }
	within(t, "held", func() bool { return held(ears[0]) && held(ears[1]) })

	r.loss.Store(1000)
	time.Sleep(3 * pauses.again)
	r.loss.Store(0)
	time.Sleep(time.Duration(pauses.asks) * pauses.again) // in which a longer one is noticed
	if !held(ears[0]) || !held(ears[1]) || len(a.Peers()) != 1 || len(b.Peers()) != 1 {
		t.Fatalf("a short gap: a has %v of %v, b %v of %v", a.Peers(), ears[0].all(), b.Peers(), ears[1].all())
	}

	pulled := time.Now()
	r.loss.Store(1000)
	within(t, "both notice", func() bool { return len(a.Peers()) == 0 && len(b.Peers()) == 0 })
	t.Logf("noticed after %v, want %v", time.Since(pulled).Round(time.Millisecond), pauses.quiet+time.Duration(pauses.asks)*pauses.again)
	for i, e := range ears {
		if !e.has("90 3c 64", "80 3c 40") {
			t.Errorf("%s holds on: %v", hosts[i].cfg.Name, e.all())
		}
	}
	r.loss.Store(0)
	session("the session is back")
	again[1]()
	within(t, "a note", func() bool { return ears[0].has("90 3c 64", "80 3c 40", "90 3c 64") })
}
