package rtp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/announce"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// ErrPortInUse says that another program has one of the two ports.
var ErrPortInUse = errors.New("port in use")

const (
	// DefaultPort is the control port that others expect; the data port is the
	// next one.
	DefaultPort = 5004
	// DefaultLatency is added to the time at which a peer says that it played:
	// more than a packet needs in a wired network, so that each arrives before
	// its time and none is heard later than another.
	DefaultLatency = 5 * time.Millisecond
	// defaultWait is how long a packet waits for one before it.
	defaultWait = 4 * time.Millisecond
	// DefaultPeers is how many sessions there may be at once.
	DefaultPeers = 16
	// maxQueue bounds the messages that wait to be sent; the ends of notes may
	// take as much again.
	maxQueue = 4096
	// datagramSize is larger than any datagram of a sensible peer.
	datagramSize = 1 << 16
	logInterval  = time.Second
)

// timing holds the pauses of the session protocol; tests shorten them.
type timing struct {
	invite     time.Duration // between invitations
	inviteSlow time.Duration // after tries of them
	tries      int
	rejected   time.Duration // after a refusal
	handshake  time.Duration // from one invitation to the other
	syncFast   time.Duration // between the first clock exchanges
	syncs      int           // how many those are
	syncSlow   time.Duration
	quiet      time.Duration // without any packet, until a peer that would be missed is asked whether it is there
	idle       time.Duration // until one is that compares clocks by itself
	again      time.Duration // from a question that is not answered to the next
	asks       int           // unanswered ones in a row, after which a session is lost
	hush       time.Duration // without any packet, until what a peer holds is ended
	silence    time.Duration // without a clock exchange, until a session is lost
	feedback   time.Duration // between confirmations of what was received
}

var standard = timing{
	invite: time.Second, inviteSlow: 10 * time.Second, tries: 12, rejected: 30 * time.Second, handshake: 15 * time.Second,
	syncFast: 300 * time.Millisecond, syncs: 6, syncSlow: 10 * time.Second,
	quiet: 2 * time.Second, idle: 12 * time.Second, again: 500 * time.Millisecond, asks: 16,
	hush: 25 * time.Second, silence: time.Minute, feedback: 500 * time.Millisecond,
}

// Config says who a Host is and whom it speaks to. Zero values take defaults.
type Config struct {
	// Name is the session's name for others, at most 63 bytes. Default:
	// k8s-synth.
	Name string
	// Listen is the host:port of the control port; the data port is the next
	// one. Without a host it is the loopback address: the protocol knows no
	// secrets, so a network has to be named. Port 0 takes a free pair.
	// Default: 127.0.0.1:5004.
	Listen string
	// Remotes are the control ports of sessions to invite, host:port; without
	// a port it is 5004. Each is tried for ever.
	Remotes []string
	// Allow lists who may invite itself: addresses, networks and patterns of
	// session names. A name proves nothing; use addresses where strangers are.
	// While the host listens on loopback only, all of this machine may.
	Allow []string
	// Latency is added to the time of what is received, 0 to 1 s. Default: 5 ms;
	// negative is none.
	Latency time.Duration
	// Ahead is how long before its time a message is sent, for peers that wait
	// with it. Default: 0.
	Ahead time.Duration
	// Peers is how many sessions there may be for others to invite themselves.
	// Default: 16.
	Peers int
	// Announce tells the network of the session, by multicast DNS; on loopback
	// only if Interfaces names the loopback interface.
	Announce   bool
	Interfaces []string
	// Logger takes what happens and what goes wrong. Default: slog.Default.
	Logger *slog.Logger

	timing timing
}

// Peer is what is known of a session.
type Peer struct {
	Name      string // unique among the peers, as the port's
	Addr      netip.AddrPort
	Invited   bool          // by us
	Synced    bool          // the clocks have been compared
	Trip      time.Duration // the shortest of the last round trips
	Received  uint64        // packets
	Sent      uint64
	Lost      uint64 // packets that never came in time
	Repaired  uint64 // losses that a journal made good
	Reordered uint64
	Tardy     uint64 // messages that came after their time and Latency
	Malformed uint64
	Journals  bool // the peer confirms what it receives
	Answers   bool // it has answered when it was asked for its time, so that its end is noticed soon
}

// Stats counts what the whole host has seen.
type Stats struct {
	Datagrams uint64
	Malformed uint64
	Refused   uint64 // invitations
	Limited   uint64 // datagrams over a limit
	Unknown   uint64 // RTP packets of no session
	Dropped   uint64 // messages that found the queue full
	Panics    uint64 // of receivers
}

// Host is one end of RTP-MIDI sessions: it invites others and is invited, and
// is a port.Driver.
type Host struct {
	cfg      Config
	log      *slog.Logger
	timing   timing
	allow    allowance
	loopback bool
	ssrc     uint32
	start    time.Time
	conns    [2]*net.UDPConn // control, data
	said     *announce.Announcement

	incoming chan datagram
	resolved chan resolution
	wake     chan struct{}
	closing  chan struct{}
	stopped  chan struct{} // the loop has ended
	done     chan struct{} // and all is closed
	readers  sync.WaitGroup
	changed  chan struct{}
	buffers  sync.Pool

	datagrams, malformed, refused, limited, unknown, dropped, panics atomic.Uint64

	mu     sync.Mutex
	closed bool
	queue  []outgoing
	spare  []outgoing
	taken  map[uint64]int // peers with outputs of their own, and how many
	peerIn map[uint64][]*input
	merged []*input // receivers of the virtual port
	shown  []shown  // what Ports and Peers tell
	opened uint64   // sessions so far

	// What follows belongs to the loop.
	peers     []*peer
	remotes   []*remote
	strangers strangers
	nextID    uint64
	scratch   []byte
	published time.Time
	failing   [2]throttle
	batch     []timed
}

// datagram is one that came in.
type datagram struct {
	data *[]byte
	n    int
	from netip.AddrPort
	port int // 0 control, 1 data
	at   time.Time
}

type resolution struct {
	r    *remote
	addr netip.AddrPort
	err  error
}

// outgoing is a message that waits for the loop.
type outgoing struct {
	peer  uint64 // 0: all that have no output of their own
	at    time.Time
	short [3]byte
	n     uint8
	long  []byte
}

// shown is a peer as others see it.
type shown struct {
	id uint64
	Peer
}

// remote is an address to invite.
type remote struct {
	text      string
	p         *peer
	tries     int
	next      time.Time
	resolving bool
}

// peer is one session, or one that begins.
type peer struct {
	id       uint64
	remote   *remote // that it was invited by, nil if it came
	stage    int
	token    uint32
	ssrc     uint32 // its own
	local    uint32 // ours, towards it
	name     string // as a port
	control  netip.AddrPort
	data     netip.AddrPort
	since    time.Time
	next     time.Time // the next invitation
	tries    int
	syncs    int
	nextSync time.Time
	lastSync time.Time
	heard    time.Time // the last packet of any kind
	hushed   bool
	looked   bool          // since it was heard, at what it holds
	holds    bool          // anything, at that time
	begun    time.Time     // the last exchange that we began
	asked    time.Duration // the same, as it stands in the exchange
	asking   bool
	answers  bool // it has answered one
	// unanswered are those since it was heard, again apart, and counted is when
	// the last of them was.
	unanswered int
	counted    time.Time
	answered   time.Duration // when we answered the one that it began
	answer     uint64
	clock      clock
	in         receiver
	out        *sender
	limit      bucket
	feedback   time.Time
	fed        uint32
	tardy      uint64
	received   uint64
	taken      bool // it has an output of its own
}

const (
	stageControl = iota // an invitation to its control port is out
	stageData           // one to its data port is
	stageInvited        // it has invited our control port
	stageOpen
)

// Open opens the ports and begins to invite. Close ends it.
func Open(cfg Config) (*Host, error) {
	if cfg.Name == "" {
		cfg.Name = "k8s-synth"
	}
	if len(cfg.Name) > 63 {
		return nil, fmt.Errorf("rtp: session name %q of %d bytes; expected at most 63", cfg.Name, len(cfg.Name))
	}
	if cfg.Listen == "" {
		cfg.Listen = fmt.Sprintf("127.0.0.1:%d", DefaultPort)
	}
	switch {
	case cfg.Latency == 0:
		cfg.Latency = DefaultLatency
	case cfg.Latency < 0:
		cfg.Latency = 0
	case cfg.Latency > time.Second:
		return nil, fmt.Errorf("rtp: latency of %v; expected at most 1s", cfg.Latency)
	}
	if cfg.Peers <= 0 {
		cfg.Peers = DefaultPeers
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.timing == (timing{}) {
		cfg.timing = standard
	}
	allow, err := parseAllow(cfg.Allow)
	if err != nil {
		return nil, err
	}
	h := &Host{
		cfg: cfg, log: cfg.Logger, timing: cfg.timing, allow: allow,
		ssrc:     random(),
		start:    time.Now().Add(-time.Hour), // no time is 0, which some peers take for none
		incoming: make(chan datagram, 1024),
		resolved: make(chan resolution, 16),
		wake:     make(chan struct{}, 1),
		closing:  make(chan struct{}),
		stopped:  make(chan struct{}),
		done:     make(chan struct{}),
		changed:  make(chan struct{}, 1),
		taken:    map[uint64]int{},
		peerIn:   map[uint64][]*input{},
	}
	h.buffers.New = func() any { b := make([]byte, datagramSize); return &b }
	for _, r := range cfg.Remotes {
		host, port, err := net.SplitHostPort(r)
		if err != nil {
			host, port = r, strconv.Itoa(DefaultPort)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 || n == 65535 || host == "" {
			return nil, fmt.Errorf("rtp: remote session %q; expected host:port, for example 192.168.1.5:5004", r)
		}
		h.remotes = append(h.remotes, &remote{text: net.JoinHostPort(host, port)})
	}
	if err := h.listen(); err != nil {
		return nil, err
	}
	if cfg.Announce {
		addr := h.Addr()
		h.said, err = announce.Start(announce.Service{
			Instance: cfg.Name, Type: announce.MIDI, Port: int(addr.Port()), Addr: addr.Addr(), Interfaces: cfg.Interfaces,
		}, h.log)
		switch {
		case errors.Is(err, announce.ErrLoopback):
			h.log.Debug("rtp: not announced", "reason", err)
		case err != nil:
			h.conns[0].Close()
			h.conns[1].Close()
			return nil, err
		}
	}
	for i := range h.conns {
		h.readers.Add(1)
		go h.read(i)
	}
	go h.run()
	return h, nil
}

func random() uint32 {
	var b [4]byte
	rand.Read(b[:]) // never fails
	return max(binary.BigEndian.Uint32(b[:]), 1)
}

// listen opens the pair of ports. A pair that the system chooses begins with
// an even one: some peers tell control from data by that.
func (h *Host) listen() error {
	host, port, err := net.SplitHostPort(h.cfg.Listen)
	if err != nil {
		return fmt.Errorf("rtp: address to listen on: %w; expected host:port, for example 127.0.0.1:%d", err, DefaultPort)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ua, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port))
	if err != nil || ua.Port == 65535 {
		return fmt.Errorf("rtp: address to listen on %q: %w; expected host:port, for example 127.0.0.1:%d", h.cfg.Listen, err, DefaultPort)
	}
	h.loopback = ua.IP.IsLoopback()
	pair := func(port int) error {
		for i := range h.conns {
			at := *ua
			at.Port = port + i
			c, err := net.ListenUDP("udp", &at)
			if err != nil {
				if i == 1 {
					h.conns[0].Close()
				}
				return err
			}
			c.SetReadBuffer(1 << 20) // what is granted will do
			h.conns[i] = c
		}
		return nil
	}
	if ua.Port != 0 {
		err = pair(ua.Port)
	} else {
		for range 64 {
			var c *net.UDPConn
			if c, err = net.ListenUDP("udp", ua); err != nil {
				break
			}
			free := c.LocalAddr().(*net.UDPAddr).Port &^ 1
			c.Close()
			if err = pair(free); err == nil {
				break
			}
		}
	}
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("rtp: %w: UDP port %d or %d on %s is taken by another program, perhaps another k8s-synth; choose another pair", ErrPortInUse, ua.Port, ua.Port+1, host)
	case err != nil:
		return fmt.Errorf("rtp: listen on %s: %w; expected an address of this machine and ports that it may open", h.cfg.Listen, err)
	}
	return nil
}

// Addr returns the address of the control port.
func (h *Host) Addr() netip.AddrPort {
	return unmap(h.conns[0].LocalAddr().(*net.UDPAddr).AddrPort())
}

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Peers returns the open sessions, with counts that are a second old at most.
func (h *Host) Peers() []Peer {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Peer, len(h.shown))
	for i, s := range h.shown {
		out[i] = s.Peer
	}
	return out
}

// Stats returns the counters.
func (h *Host) Stats() Stats {
	return Stats{
		Datagrams: h.datagrams.Load(), Malformed: h.malformed.Load(), Refused: h.refused.Load(), Limited: h.limited.Load(),
		Unknown: h.unknown.Load(), Dropped: h.dropped.Load(), Panics: h.panics.Load(),
	}
}

// Close ends what is held at both ends of every session, says goodbye, and
// closes the ports. No receiver is called afterwards. It must not be called by
// a receiver. Further calls do nothing.
func (h *Host) Close() error {
	h.mu.Lock()
	was := h.closed
	h.closed = true
	h.mu.Unlock()
	if !was {
		h.said.Close()
		close(h.closing)
	}
	<-h.done
	return nil
}

// read takes datagrams from one socket until it is closed.
func (h *Host) read(port int) {
	defer h.readers.Done()
	for {
		buf := h.buffers.Get().(*[]byte)
		n, from, err := h.conns[port].ReadFromUDPAddrPort(*buf)
		if err != nil {
			h.buffers.Put(buf)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			// The socket may recover, as after an interface went down.
			select {
			case <-h.stopped:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		h.datagrams.Add(1)
		select {
		case h.incoming <- datagram{buf, n, unmap(from), port, time.Now()}:
		case <-h.stopped:
			return
		}
	}
}

// run is the loop. A receiver that panics costs what it was given.
func (h *Host) run() {
	defer func() {
		close(h.stopped)
		for _, c := range h.conns {
			c.Close()
		}
		h.readers.Wait()
		close(h.done)
	}()
	for h.guarded(h.loop) {
	}
	h.guarded(func() { h.farewell() })
}

// guarded calls f and tells whether it panicked.
func (h *Host) guarded(f func()) (again bool) {
	defer func() {
		if r := recover(); r != nil {
			again = true
			h.panics.Add(1)
			h.log.Error("rtp: a receiver of MIDI panicked; the host goes on", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	f()
	return false
}

func (h *Host) loop() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-h.closing:
			return
		case d := <-h.incoming:
			h.take(d)
			for range len(h.incoming) { // those that wait, but not for ever
				h.take(<-h.incoming)
			}
		case r := <-h.resolved:
			h.invite(r)
		case <-h.wake:
		case <-timer.C:
		}
		now := time.Now()
		h.flush(now)
		timer.Reset(max(h.tick(now).Sub(now), 0))
	}
}

// take looks at one datagram.
func (h *Host) take(d datagram) {
	defer h.buffers.Put(d.data)
	h.datagram((*d.data)[:d.n], d.from, d.port, d.at)
}

// datagram handles one. What it is not sure of costs nothing but a look.
func (h *Host) datagram(b []byte, from netip.AddrPort, port int, now time.Time) {
	p := h.at(from, port)
	if p == nil || p.stage != stageOpen {
		if !h.strangers.take(from.Addr(), now) {
			h.limited.Add(1)
			return
		}
	} else if !p.limit.take(now, peerRate, peerBurst) {
		h.limited.Add(1)
		return
	}
	if isControl(b) {
		c, err := parseControl(b)
		if err != nil {
			h.malformed.Add(1)
			return
		}
		h.session(p, c, from, port, now)
		return
	}
	if p == nil || p.stage != stageOpen || port != 1 {
		h.unknown.Add(1)
		return
	}
	packet, err := parsePacket(b)
	if err != nil || packet.ssrc != p.ssrc {
		h.malformed.Add(1)
		return
	}
	p.hears(now)
	p.received++
	p.in.packet(&packet, b, now)
}

// at finds the peer at an address, as seen from one of our ports.
func (h *Host) at(from netip.AddrPort, port int) *peer {
	for _, p := range h.peers {
		if port == 0 && p.control == from || port == 1 && p.data == from {
			return p
		}
	}
	return nil
}

// local returns the time since the host began.
func (h *Host) local(t time.Time) time.Duration { return t.Sub(h.start) }

func (h *Host) sendControl(c control, to netip.AddrPort, port int) {
	h.scratch = c.append(h.scratch[:0])
	h.write(h.scratch, to, port)
}

// write sends a datagram. What the system refuses is as lost as what the
// network drops.
func (h *Host) write(b []byte, to netip.AddrPort, port int) {
	if _, err := h.conns[port].WriteToUDPAddrPort(b, to); err != nil && !errors.Is(err, net.ErrClosed) {
		if ok, more := h.failing[port].allow(time.Now()); ok {
			h.log.Warn("rtp: cannot send", "to", to, "error", err, "suppressed", more)
		}
	}
}

// throttle lets one of a kind pass per logInterval and counts the others.
type throttle struct {
	last       time.Time
	suppressed int
}

func (t *throttle) allow(now time.Time) (ok bool, suppressed int) {
	if !t.last.IsZero() && now.Sub(t.last) < logInterval {
		t.suppressed++
		return false, 0
	}
	suppressed = t.suppressed
	t.last, t.suppressed = now, 0
	return true, suppressed
}

// session handles a packet of the session protocol.
func (h *Host) session(p *peer, c control, from netip.AddrPort, port int, now time.Time) {
	switch c.command {
	case cmdInvite:
		h.invited(c, from, port, now)
		return
	case cmdAccept:
		h.accepted(c, from, port, now)
		return
	case cmdReject:
		if q := h.byToken(c.token); q != nil && q.remote != nil && q.stage < stageInvited && q.control.Addr() == from.Addr() {
			h.log.Info("rtp: invitation refused", "peer", q.control)
			q.remote.next = now.Add(h.timing.rejected)
			h.forget(q)
		}
		return
	}
	if p == nil || p.ssrc != c.ssrc || p.stage != stageOpen {
		return
	}
	p.hears(now)
	switch c.command {
	case cmdEnd:
		if c.token == p.token || c.token == 0 { // Arduino's library names no token
			h.lose(p, "the peer ended it", now)
		}
	case cmdClock:
		h.exchange(p, c, now)
	case cmdFeedback:
		p.out.confirm(c.value)
	}
}

func (h *Host) byToken(token uint32) *peer {
	for _, p := range h.peers {
		if p.token == token {
			return p
		}
	}
	return nil
}

// invited answers an invitation.
func (h *Host) invited(c control, from netip.AddrPort, port int, now time.Time) {
	refuse := func(why string) {
		h.refused.Add(1)
		h.log.Info("rtp: invitation refused", "from", from, "name", c.name, "reason", why)
		// The answer is never longer than the question.
		h.sendControl(control{command: cmdReject, token: c.token, ssrc: h.ssrc}, from, port)
	}
	if port == 1 { // the second half
		for _, p := range h.peers {
			if p.remote == nil && p.token == c.token && p.ssrc == c.ssrc && p.control.Addr() == from.Addr() {
				switch {
				case p.stage == stageInvited:
					p.data = from
					h.open(p, now)
				case p.data != from:
					return
				}
				h.sendControl(control{command: cmdAccept, token: p.token, ssrc: p.local, name: h.cfg.Name}, from, port)
				return
			}
		}
		return
	}
	if old := h.at(from, 0); old != nil {
		switch {
		case old.remote == nil && old.token == c.token && old.ssrc == c.ssrc: // the answer was lost
			h.sendControl(control{command: cmdAccept, token: old.token, ssrc: old.local, name: h.cfg.Name}, from, port)
			return
		case old.stage == stageOpen && old.ssrc == c.ssrc && old.remote != nil && now.Sub(old.lastSync) < 2*h.timing.syncSlow:
			// It was invited, and invites. Who came by itself has begun anew, even if
			// its number is always the same.
			refuse("there is a session with it")
			return
		case old.stage < stageInvited && c.ssrc > old.local:
			return // both invite; the one with the larger number gives way
		case !h.permitted(from.Addr(), c.name):
		case old.stage == stageOpen:
			h.lose(old, "the peer began anew", now)
		default:
			h.forget(old)
		}
	}
	if !h.permitted(from.Addr(), c.name) {
		refuse("not allowed")
		return
	}
	if h.sessions() >= h.cfg.Peers {
		refuse("too many sessions")
		return
	}
	p := h.newPeer(c.ssrc, from)
	p.stage, p.token, p.since = stageInvited, c.token, now
	p.name = h.unique(c.name, from)
	h.sendControl(control{command: cmdAccept, token: p.token, ssrc: p.local, name: h.cfg.Name}, from, port)
}

func (h *Host) permitted(ip netip.Addr, name string) bool {
	return h.loopback && ip.IsLoopback() || h.allow.permits(ip, name)
}

// sessions counts those that are open or that others have begun. Invitations
// of ours that none answers keep nobody out.
func (h *Host) sessions() int {
	n := 0
	for _, p := range h.peers {
		if p.stage >= stageInvited {
			n++
		}
	}
	return n
}

// newPeer adds a peer whose control port is known.
func (h *Host) newPeer(ssrc uint32, control netip.AddrPort) *peer {
	h.nextID++
	p := &peer{id: h.nextID, ssrc: ssrc, local: h.ssrc, control: control}
	for p.local == ssrc { // one of both has to be another
		p.local = random()
	}
	h.peers = append(h.peers, p)
	return p
}

// unique returns the name of a peer's port.
func (h *Host) unique(name string, addr netip.AddrPort) string {
	if name == "" {
		name = addr.String()
	}
	taken := func(s string) bool {
		return slices.ContainsFunc(h.peers, func(p *peer) bool { return p.name == s })
	}
	out := name
	for n := 2; taken(out); n++ {
		out = fmt.Sprintf("%s %d", name, n)
	}
	return out
}

// accepted goes on with an invitation of ours.
func (h *Host) accepted(c control, from netip.AddrPort, port int, now time.Time) {
	p := h.byToken(c.token)
	if p == nil || p.remote == nil || p.control.Addr() != from.Addr() {
		return
	}
	switch {
	case p.stage == stageControl && port == 0 && from == p.control:
		p.stage, p.ssrc, p.since, p.tries = stageData, c.ssrc, now, 0
		p.name = h.unique(c.name, from)
		for p.local == p.ssrc {
			p.local = random()
		}
		p.data = netip.AddrPortFrom(from.Addr(), from.Port()+1)
		p.next = now
	case p.stage == stageData && port == 1 && from == p.data && c.ssrc == p.ssrc:
		h.open(p, now)
		p.remote.tries = 0
		p.nextSync = now
	}
}

// open begins the streams of a session.
func (h *Host) open(p *peer, now time.Time) {
	p.stage, p.lastSync, p.since, p.heard = stageOpen, now, now, now
	p.out = newSender(p.local, uint16(random()))
	p.in = receiver{
		model: newStream(),
		wait:  min(defaultWait, max(h.cfg.Latency, time.Millisecond)),
		local: func(timestamp uint32, arrival time.Time) time.Time {
			since, ok := p.clock.local(timestamp, h.local(arrival))
			if !ok {
				return arrival
			}
			at := h.start.Add(since).Add(h.cfg.Latency)
			if at.Before(arrival) {
				p.tardy++
				return arrival
			}
			return at
		},
		deliver: func(at time.Time, b []byte) { h.deliver(p, at, b) },
	}
	h.log.Info("rtp: session open", "peer", p.name, "address", p.control, "invited", p.remote != nil)
	h.mu.Lock()
	h.opened++
	h.mu.Unlock()
	h.publish(now)
	h.notice()
}

// exchange takes part in a comparison of clocks, whoever began it.
func (h *Host) exchange(p *peer, c control, now time.Time) {
	at := h.local(now)
	p.lastSync = now
	if !p.clock.synced {
		defer func() {
			if p.clock.synced {
				h.publish(now)
			}
		}()
	}
	switch c.count {
	case 0:
		p.answered, p.answer = at, uint64(at/tick)
		c.times[1] = p.answer
		h.sendControl(control{command: cmdClock, ssrc: p.local, count: 1, times: c.times}, p.data, 1)
	case 1:
		if !p.asking || c.times[0] != uint64(p.asked/tick) {
			return
		}
		p.asking, p.answers = false, true
		trip := at - p.asked
		p.clock.exchange(p.asked+trip/2, uint32(c.times[1]), trip)
		c.times[2] = uint64(at / tick)
		h.sendControl(control{command: cmdClock, ssrc: p.local, count: 2, times: c.times}, p.data, 1)
	case 2:
		if p.answer == 0 || c.times[1] != p.answer {
			return
		}
		p.answer = 0
		trip := c.times[2] - c.times[0]
		p.clock.exchange(p.answered, uint32(c.times[0]+trip/2), time.Duration(min(trip, uint64(time.Hour/tick)))*tick)
	}
}

// invite sends the first invitation to an address that was found.
func (h *Host) invite(r resolution) {
	now := time.Now()
	r.r.resolving = false
	if r.err != nil {
		if r.r.tries%h.timing.tries == 1 {
			h.log.Warn("rtp: address not found; trying again", "remote", r.r.text, "error", r.err)
		}
		h.later(r.r, now)
		return
	}
	if r.r.p != nil {
		return
	}
	if h.at(r.addr, 0) != nil {
		h.later(r.r, now) // there is a session with it
		return
	}
	p := h.newPeer(0, r.addr)
	p.remote, p.stage, p.token, p.since, p.next = r.r, stageControl, random(), now, now
	r.r.p = p
}

// later puts off the next try: the first ones follow quickly.
func (h *Host) later(r *remote, now time.Time) {
	pause := h.timing.invite
	if r.tries >= h.timing.tries {
		pause = h.timing.inviteSlow
	}
	r.next = now.Add(pause)
}

// forget drops a peer that is not open.
func (h *Host) forget(p *peer) {
	h.peers = slices.DeleteFunc(h.peers, func(q *peer) bool { return q == p })
	if p.remote != nil {
		p.remote.p = nil
		if !p.remote.next.After(time.Now()) {
			h.later(p.remote, time.Now())
		}
	}
}

// lose ends a session from which nothing comes any more.
func (h *Host) lose(p *peer, why string, now time.Time) {
	h.log.Info("rtp: session closed", "peer", p.name, "address", p.control, "reason", why)
	p.stage = stageInvited // nothing is sent to it any more
	h.peers = slices.DeleteFunc(h.peers, func(q *peer) bool { return q == p })
	if p.remote != nil {
		p.remote.p, p.remote.tries, p.remote.next = nil, 0, now.Add(h.timing.invite)
	}
	defer func() {
		h.mu.Lock()
		for _, in := range h.peerIn[p.id] {
			in.gone.Store(true)
		}
		delete(h.peerIn, p.id)
		h.mu.Unlock()
		h.publish(now)
		h.notice()
	}()
	p.in.end(now)
}

// tick does what is due and returns when to come again.
func (h *Host) tick(now time.Time) time.Time {
	wake := now.Add(time.Second)
	soon := func(t time.Time) {
		if !t.IsZero() && t.Before(wake) {
			wake = t
		}
	}
	for _, r := range h.remotes {
		if r.p == nil && !r.resolving {
			if !now.Before(r.next) {
				r.tries++
				r.resolving = true
				h.resolve(r)
			} else {
				soon(r.next)
			}
		}
	}
	for i := 0; i < len(h.peers); i++ {
		p := h.peers[i]
		if h.tickPeer(p, now, soon); !slices.Contains(h.peers, p) {
			i--
		}
	}
	if now.Sub(h.published) > 250*time.Millisecond {
		h.publish(now)
	}
	return wake
}

func (h *Host) tickPeer(p *peer, now time.Time, soon func(time.Time)) {
	switch p.stage {
	case stageControl, stageData:
		if now.Before(p.next) {
			soon(p.next)
			return
		}
		slow := p.remote.tries > h.timing.tries
		if p.tries++; p.tries > h.timing.tries || slow && p.tries > 1 {
			p.remote.tries += p.tries
			h.forget(p) // the name may lead elsewhere by now
			soon(p.remote.next)
			return
		}
		c := control{command: cmdInvite, token: p.token, ssrc: p.local, name: h.cfg.Name}
		if p.stage == stageControl {
			h.sendControl(c, p.control, 0)
		} else {
			h.sendControl(c, p.data, 1)
		}
		p.next = now.Add(h.timing.invite)
		soon(p.next)
	case stageInvited:
		if end := p.since.Add(h.timing.handshake); now.Before(end) {
			soon(end)
		} else {
			h.forget(p)
		}
	case stageOpen:
		why := ""
		if now.Sub(p.lastSync) > h.timing.silence {
			why = "nothing heard from the peer"
		} else if h.ask(p, now, soon) {
			why = "the peer does not answer"
		}
		if why != "" {
			to, token, local := p.control, p.token, p.local
			h.lose(p, why, now)
			h.sendControl(control{command: cmdEnd, token: token, ssrc: local}, to, 0)
			return
		}
		soon(p.lastSync.Add(h.timing.silence))
		if end := p.heard.Add(h.timing.hush); p.hushed {
		} else if now.Before(end) {
			soon(end)
		} else {
			// One that only asks, and has not for twice its time, is not there to
			// end its notes.
			p.hushed = true
			p.in.end(now)
		}
		p.in.tick(now)
		soon(p.in.deadline())
		h.confirm(p, now, soon)
		p.out.tick(ticks(h.local(now)), now, func(b []byte) { h.write(b, p.data, 1) })
		soon(p.out.nextGuard())
	}
}

// hears takes over that something of its session has come from a peer.
func (p *peer) hears(now time.Time) {
	p.heard, p.hushed, p.looked, p.unanswered = now, false, false, 0
}

// busy tells whether a peer would be missed: it holds something, or has been
// played to since it was heard.
func (p *peer) busy() bool {
	if p.out.lastSent.After(p.heard) {
		return true
	}
	if !p.looked { // who says nothing holds what it held
		p.looked, p.holds = true, false
		p.in.model.release(func([]byte) { p.holds = true })
	}
	return p.holds
}

// trials are the questions to a peer that has invited us, a quiet apart from the
// beginning on, until it is taken for one that only asks.
const trials = 5

// ask begins the exchanges of clocks that are ours to begin, and those that ask
// a silent peer whether it is there. It tells whether the peer is gone: that is
// not known of one that has invited us and never answers, and a question that
// came late, as after this machine slept, proves nothing.
func (h *Host) ask(p *peer, now time.Time, soon func(time.Time)) (gone bool) {
	t, ours := &h.timing, p.remote != nil
	due := p.heard.Add(t.idle)
	if ours {
		due = p.nextSync
	}
	quiet, again := p.heard.Add(t.quiet), p.begun.Add(t.again)
	switch {
	case !ours && !p.answers && p.syncs >= trials:
		return false
	case !ours && !p.answers && p.syncs > 0:
		due = p.begun.Add(t.quiet)
	case !ours && !p.answers:
		due = p.since.Add(t.quiet)
	case p.unanswered > 0 && !(ours && due.Before(again)):
		due = again
	case p.unanswered == 0 && quiet.Before(due) && (now.Before(quiet) || p.busy()):
		due = quiet
	}
	if now.Before(due) {
		soon(due)
		return false
	}
	switch {
	case p.unanswered == 0:
		p.unanswered, p.counted = 1, now
	case now.Sub(p.counted) < t.again:
		// The first ones follow faster.
	case now.Sub(due) > t.again/2:
		p.counted = now
	case p.unanswered >= t.asks && (ours || now.Sub(p.heard) >= t.idle):
		return true // and not one that has answered before, and now only asks
	default:
		p.unanswered, p.counted = p.unanswered+1, now
	}
	p.syncs++
	pause := t.syncSlow
	if p.syncs <= t.syncs {
		pause = t.syncFast
	}
	p.begun, p.nextSync = now, now.Add(pause)
	p.asked, p.asking = h.local(time.Now()), true
	h.sendControl(control{command: cmdClock, ssrc: p.local, times: [3]uint64{uint64(p.asked / tick)}}, p.data, 1)
	soon(now.Add(t.again))
	if ours {
		soon(p.nextSync)
	}
	return false
}

// confirm tells the peer what has come, so that its journal gets shorter.
func (h *Host) confirm(p *peer, now time.Time, soon func(time.Time)) {
	if !p.in.begun || p.in.highest == p.fed {
		return
	}
	if at := p.feedback.Add(h.timing.feedback); now.Before(at) {
		soon(at)
		return
	}
	p.feedback, p.fed = now, p.in.highest
	h.sendControl(control{command: cmdFeedback, ssrc: p.local, value: p.in.highest << 16}, p.control, 0)
}

// resolve looks a remote's name up, without holding up the loop.
func (h *Host) resolve(r *remote) {
	text := r.text
	if a, err := netip.ParseAddrPort(text); err == nil {
		h.invite(resolution{r, unmap(a), nil})
		return
	}
	go func() {
		ua, err := net.ResolveUDPAddr("udp", text)
		res := resolution{r: r, err: err}
		if err == nil {
			res.addr = unmap(ua.AddrPort())
		}
		select {
		case h.resolved <- res:
		case <-h.stopped:
		}
	}()
}

// flush sends what waits.
func (h *Host) flush(now time.Time) {
	h.mu.Lock()
	queue := h.queue
	h.queue = h.spare[:0]
	for _, p := range h.peers {
		p.taken = h.taken[p.id] > 0
	}
	h.mu.Unlock()
	if len(queue) > 0 {
		for _, p := range h.peers {
			if p.stage != stageOpen {
				continue
			}
			h.batch = h.batch[:0]
			for i := range queue {
				if q := &queue[i]; q.peer == p.id || q.peer == 0 && !p.taken {
					h.batch = append(h.batch, timed{h.stampOf(q.at, now), q.bytes()})
				}
			}
			p.out.send(h.batch, now, func(b []byte) { h.write(b, p.data, 1) })
		}
		clear(queue)
	}
	h.mu.Lock()
	h.spare = queue[:0]
	h.mu.Unlock()
}

func (q *outgoing) bytes() []byte {
	if q.n > 0 {
		return q.short[:q.n]
	}
	return q.long
}

// stampOf returns the timestamp for a time; one that is not near is now.
func (h *Host) stampOf(at, now time.Time) uint32 {
	if d := at.Sub(now); at.IsZero() || d > maxAhead || d < -maxAhead {
		at = now
	}
	return ticks(h.local(at))
}

// farewell ends all sessions.
func (h *Host) farewell() {
	now := time.Now()
	h.flush(now)
	for _, p := range slices.Clone(h.peers) {
		if p.stage == stageOpen {
			write := func(b []byte) { h.write(b, p.data, 1) }
			h.batch = h.batch[:0]
			p.out.model.release(func(b []byte) {
				h.batch = append(h.batch, timed{ticks(h.local(now)), slices.Clone(b)})
			})
			if len(h.batch) > 0 {
				p.out.send(h.batch, now, write)
				p.out.list.reset()
				p.out.packet(ticks(h.local(now)), now, write) // the journal, if that one is lost
			}
			h.sendControl(control{command: cmdEnd, token: p.token, ssrc: p.local}, p.control, 0)
			h.guarded(func() { h.lose(p, "closed here", now) })
		} else if p.remote != nil || p.stage == stageInvited {
			h.sendControl(control{command: cmdEnd, token: p.token, ssrc: p.local}, p.control, 0)
		}
	}
}

// publish brings what Peers and Ports tell up to date.
func (h *Host) publish(now time.Time) {
	h.published = now
	h.mu.Lock()
	defer h.mu.Unlock()
	h.shown = h.shown[:0]
	for _, p := range h.peers {
		if p.stage != stageOpen {
			continue
		}
		h.shown = append(h.shown, shown{p.id, Peer{
			Name: p.name, Addr: p.control, Invited: p.remote != nil, Synced: p.clock.synced, Trip: p.clock.trip,
			Received: p.received, Sent: p.out.packets, Lost: p.in.lost, Repaired: p.in.repaired, Reordered: p.in.reordered,
			Tardy: p.tardy, Malformed: p.in.malformed, Journals: p.out.confirmed, Answers: p.answers,
		}})
	}
}

// notice tells who waits that a port has come or gone.
func (h *Host) notice() {
	select {
	case h.changed <- struct{}{}:
	default:
	}
}

// enqueue takes a message to be sent.
func (h *Host) enqueue(id uint64, at time.Time, m midi.Message) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("rtp: send: %w", os.ErrClosed)
	}
	if n := len(h.queue); n >= maxQueue && !(ends(m) && n < 2*maxQueue) {
		h.dropped.Add(1)
		return nil // it is counted; the port is well
	}
	q := outgoing{peer: id, at: at}
	if m.Size > 0 {
		q.short, q.n = m.Data, m.Size
	} else {
		q.long = slices.Clone(m.SysEx)
	}
	h.queue = append(h.queue, q)
	return nil
}

// ends tells the messages that end what sounds.
func ends(m midi.Message) bool {
	return m.IsNoteOff() || m.Kind() == midi.ControlChange && (m.Data[1] >= midi.CCAllSoundOff || m.Data[1] == midi.CCSustain && m.Data[2] < 64) ||
		m.Kind() == midi.SystemReset
}
