package osc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// ErrPortInUse says that another program listens on the port.
var ErrPortInUse = errors.New("port in use")

const (
	// maxDatagram is larger than any UDP payload (65507 bytes), so that
	// nothing is ever cut off.
	maxDatagram = 65536
	// defaultReadBuffer is what the kernel is asked to hold between two reads:
	// some 5000 small datagrams. It may grant less (net.core.rmem_max).
	defaultReadBuffer = 4 << 20
	// DefaultMaxScheduled bounds the messages that wait for their time.
	DefaultMaxScheduled = 4096
	// maxScheduledBytes bounds the memory that they take.
	maxScheduledBytes = 8 << 20
	// defaultMaxAhead is how far in the future a time tag may lie. Further
	// ones come from a peer whose clock is wrong.
	defaultMaxAhead = 10 * time.Minute
	// clockCheck is how long to wait at most for a scheduled message before
	// looking at the wall clock again, which may have been stepped.
	clockCheck = 100 * time.Millisecond
	// logInterval is the least time between two log lines of one kind.
	logInterval = time.Second
)

// Handler takes the messages that a Server receives.
type Handler interface {
	// Handle is called for one message after another, never for two at once.
	// The message is valid during the call only. From is the client, see
	// Transport. The time is when the message is meant to take effect: its
	// time tag where that lies ahead (see ServerConfig.Lookahead), else its
	// arrival.
	Handle(from netip.AddrPort, m *Message, at time.Time)
}

// Leaver is a Handler that wants to know when a connection has ended. Left is
// called as Handle is, after what the client sent, and once more after the last
// of it that waits for its time.
type Leaver interface{ Left(client netip.AddrPort) }

// HandlerFunc is a function as a Handler.
type HandlerFunc func(from netip.AddrPort, m *Message, at time.Time)

// Handle calls f.
func (f HandlerFunc) Handle(from netip.AddrPort, m *Message, at time.Time) { f(from, m, at) }

// ServerConfig says where and how a Server listens. Zero values take defaults.
type ServerConfig struct {
	// Addr is host:port for UDP. Without a host it is the loopback address,
	// because OSC knows no authentication: to listen to a network, name its
	// address, or 0.0.0.0 for all, and in Allow who may play. Port 0 takes a
	// free one.
	Addr string
	// TCP is host:port for connections, empty for none. Packets come with
	// their size before them (OSC 1.0) or in SLIP (OSC 1.1), which each
	// connection's first byte tells: END (0xC0), '/' or '#' is SLIP. Answers
	// take the same way back.
	TCP string
	// Allow names the addresses that may play besides this machine's own.
	// Whoever else sends is refused and counted. To listen on an address that
	// is not loopback without it is an error.
	Allow []netip.Prefix
	// Rate is how many messages a second one client may send for long; at once
	// it may send as many as in two seconds. A bundle is as many as it holds.
	// What is more is dropped and counted, but never what ends a sound: a
	// message whose arguments are all 0 or false, and what Urgent names.
	// Default: 2000. Negative: no limit.
	Rate int
	// Urgent reports whether a message is to pass although its client sends
	// too much, such as one to /panic.
	Urgent func(m *Message) bool
	// Refused, if set, is told of addresses to which datagrams were sent and no
	// program was there to take them; on Linux, which says so. It may be called
	// by any goroutine, also during Send and Handle, and must not wait.
	Refused func(to netip.AddrPort)
	// ReplyPort is the port that answers to datagrams go to, for clients that
	// do not listen where they send from. Default: the sender's.
	ReplyPort uint16
	// Logger takes what goes wrong, each kind at most once a second. Default:
	// slog.Default.
	Logger *slog.Logger
	// ReadBuffer is the size asked of the kernel's socket buffer, in bytes.
	// Default: 4 MiB.
	ReadBuffer int
	// MaxScheduled is how many messages may wait for their time. Default: 4096.
	MaxScheduled int
	// MaxAhead is how far ahead a time tag may lie. Default: 10 minutes.
	MaxAhead time.Duration
	// Lookahead hands messages over this much before their time, so that the
	// handler can schedule them to the frame. Default: 0.
	Lookahead time.Duration
}

// Stats counts what a Server has seen since it began. What the kernel drops
// because its socket buffer is full does not appear here.
type Stats struct {
	Packets   uint64 // packets received
	Messages  uint64 // messages handed to the Handler
	Malformed uint64 // packets, and streams of packets, that could not be read
	Late      uint64 // messages whose time tag had passed; delivered at once
	Dropped   uint64 // messages not delivered: schedule full, too far ahead, or closed before their time
	Limited   uint64 // messages not delivered: their client sent too many
	Refused   uint64 // datagrams, connections and requests of clients that are not allowed or too many
	Scheduled int    // messages that wait now
	Sent      uint64 // packets sent, to connections: queued
	Unsent    uint64 // packets that the system, or a connection's end, kept from being sent
	Slow      uint64 // connections dropped because the client did not read
	Panics    uint64 // calls of the Handler that panicked
	TCP       int    // connections now
	WebSocket int    // connections now
}

// Server receives OSC over UDP and TCP. For each transport and connection one
// goroutine reads and decodes, so that the order of a client is kept; they
// take turns in calling the Handler, packet by packet.
type Server struct {
	conn   *net.UDPConn
	tcp    *net.TCPListener // nil without
	cfg    ServerConfig
	access access
	log    *slog.Logger
	links  connections
	// frameTimeout is shorter in tests.
	frameTimeout time.Duration

	packets, messages, malformed, late, dropped, limited, refused, sent, unsent, slow, panics atomic.Uint64
	scheduled                                                                                 atomic.Int64
	closed, serving                                                                           atomic.Bool
	done                                                                                      chan struct{}

	handler Handler
	buf     []byte // of the goroutine that reads datagrams

	// mu is held while a packet takes effect. What follows belongs to whoever
	// holds it.
	mu              sync.Mutex
	msg             Message
	schedule        schedule
	rate            limiter
	from            netip.AddrPort // of the packet at hand
	now             time.Time      // its arrival
	total           int            // messages of this packet
	ahead, aheadLen int            // those that lie ahead, and their bytes
	only            bool           // only what ends a sound passes
	passed          int            // of this packet, although only is set
	count, deliver  func(*Message, []byte, TimeTag)
	deadline        time.Time // of the read of datagrams; zero: none
	complaint       []byte

	malformedLog, droppedLog, limitedLog, refusedLog, readLog, panicLog throttle
	sendLog                                                             struct {
		last atomic.Int64
	}
}

// Listen opens the socket; the system queues datagrams from then on, until
// Serve takes them. The error wraps ErrPortInUse when that is the reason.
func Listen(cfg ServerConfig) (*Server, error) {
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("osc: address to listen on: %w; expected host:port, for example 127.0.0.1:9000", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ua, err := net.ResolveUDPAddr("udp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("osc: address to listen on: %w; expected host:port, for example 127.0.0.1:9000", err)
	}
	allow := access(slices.Clone(cfg.Allow))
	if err := allow.check(ua.AddrPort().Addr(), "UDP"); err != nil {
		return nil, err
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Rate == 0 {
		cfg.Rate = DefaultRate
	}
	if cfg.ReadBuffer <= 0 {
		cfg.ReadBuffer = defaultReadBuffer
	}
	if cfg.MaxScheduled <= 0 {
		cfg.MaxScheduled = DefaultMaxScheduled
	}
	if cfg.MaxAhead <= 0 {
		cfg.MaxAhead = defaultMaxAhead
	}
	conn, err := net.ListenUDP("udp", ua)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("osc: %w: UDP port %d on %s is taken by another program, perhaps another k8s-synth; stop it, or choose another port with --osc %s",
			ErrPortInUse, ua.Port, host, net.JoinHostPort(host, fmt.Sprint(ua.Port%65535+1)))
	case err != nil:
		return nil, fmt.Errorf("osc: listen on %s: %w; expected an address of this machine and a port that it may open", cfg.Addr, err)
	}
	var tcp *net.TCPListener
	if cfg.TCP != "" {
		if tcp, err = listenTCP(cfg.TCP, "TCP", "--osc-tcp", allow); err != nil {
			conn.Close()
			return nil, err
		}
	}
	s := &Server{
		conn:         conn,
		tcp:          tcp,
		cfg:          cfg,
		access:       allow,
		log:          cfg.Logger,
		links:        connections{out: map[netip.AddrPort]*outbox{}, tcp: map[netip.AddrPort]*tcpClient{}},
		frameTimeout: frameTimeout,
		done:         make(chan struct{}),
		buf:          make([]byte, maxDatagram),
		schedule:     schedule{max: cfg.MaxScheduled, maxBytes: maxScheduledBytes},
		rate:         newLimiter(float64(cfg.Rate), float64(cfg.Rate)*burstSeconds),
	}
	s.count, s.deliver = s.countAhead, s.deliverOrSchedule
	if err := conn.SetReadBuffer(cfg.ReadBuffer); err != nil {
		s.log.Warn("osc: socket buffer stays small; bursts may be lost", "wanted", cfg.ReadBuffer, "error", err)
	}
	if cfg.Refused != nil {
		if err := reportRefusals(conn); err != nil {
			s.log.Debug("osc: that a client is gone is known by its subscription only", "error", err)
		}
	}
	return s, nil
}

// Addr returns the address that the server listens on for datagrams.
func (s *Server) Addr() netip.AddrPort { return unmap(s.conn.LocalAddr().(*net.UDPAddr).AddrPort()) }

// TCPAddr returns the address that the server listens on for connections, and
// the zero AddrPort where it does not.
func (s *Server) TCPAddr() netip.AddrPort {
	if s.tcp == nil {
		return netip.AddrPort{}
	}
	return unmap(s.tcp.Addr().(*net.TCPAddr).AddrPort())
}

// Serve hands messages to h until Close, and returns nil then. Nothing that
// is received ends it. It may be called once.
func (s *Server) Serve(h Handler) error {
	if !s.serving.CompareAndSwap(false, true) {
		return errors.New("osc: Serve was called before; a server serves once")
	}
	defer close(s.done)
	s.mu.Lock()
	s.handler = h
	s.mu.Unlock()
	if s.tcp != nil {
		s.links.wg.Add(1)
		go s.accept()
	}
	s.serve()
	s.links.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dropped.Add(uint64(s.schedule.clear()))
	s.scheduled.Store(0)
	return nil
}

// serve is the loop of the goroutine that reads datagrams and delivers what
// was scheduled.
func (s *Server) serve() {
	for !s.closed.Load() {
		s.wake(time.Now())
		n, from, err := s.conn.ReadFromUDPAddrPort(s.buf)
		if err != nil {
			s.readFailed(err)
			continue
		}
		now := time.Now()
		from = unmap(from)
		if !s.access.allows(from.Addr()) {
			s.admits(from, now) // refused for good
			continue
		}
		s.take(from, s.buf[:n], now)
	}
}

// admits reports whether a client may play. Whoever may not is counted.
func (s *Server) admits(from netip.AddrPort, now time.Time) bool {
	if s.access.allows(from.Addr()) {
		return true
	}
	s.refused.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	if ok, more := s.refusedLog.allow(now); ok {
		s.log.Warn("osc: refused; name the address in --allow if it may play", "from", from, "suppressed", more)
	}
	return false
}

// take lets one packet take effect.
func (s *Server) take(from netip.AddrPort, packet []byte, at time.Time) {
	s.mu.Lock()
	defer s.release()
	if s.closed.Load() || s.handler == nil {
		return
	}
	s.now, s.from = at, from
	s.packets.Add(1)
	s.receive(packet)
}

// release ends what take and wake do. A fault in one handler must not silence
// the stage.
func (s *Server) release() {
	if r := recover(); r != nil {
		s.panics.Add(1)
		if ok, more := s.panicLog.allow(time.Now()); ok {
			s.log.Error("osc: handler panicked; the server goes on", "panic", r, "suppressed", more, "stack", string(debug.Stack()))
		}
	}
	s.mu.Unlock()
}

// wake delivers what is due and sets the deadline for the next read.
func (s *Server) wake(now time.Time) {
	s.mu.Lock()
	defer s.release()
	for !s.closed.Load() {
		e, ok := s.schedule.next()
		if !ok {
			break
		}
		due := e.at.Add(-s.cfg.Lookahead)
		if due.After(now) {
			s.rearm(now, due)
			return
		}
		s.schedule.pop()
		s.scheduled.Store(int64(s.schedule.len()))
		if err := s.msg.Decode(e.raw); err == nil { // it was decoded when it came
			s.messages.Add(1)
			s.handler.Handle(e.from, &s.msg, e.at)
		}
		s.schedule.free(e.raw)
		if isConnected(e.from) && !s.alive(e.from) && !s.schedule.has(e.from) {
			s.leave(e.from) // what it has pressed since it left it will not let go
		}
	}
	if !s.deadline.IsZero() {
		s.deadline = time.Time{}
		s.conn.SetReadDeadline(s.deadline)
	}
}

// rearm ends the read of datagrams when a scheduled message is due, or when it
// is time to look at the wall clock again. It also ends a read that has begun.
func (s *Server) rearm(now, due time.Time) {
	s.deadline = now.Add(min(due.Sub(now), clockCheck))
	s.conn.SetReadDeadline(s.deadline) // fails only when closed
}

// readFailed tells a deadline and the end from faults of the socket, which
// are logged and survived.
func (s *Server) readFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || s.closed.Load() || s.reported(err) {
		return
	}
	s.mu.Lock()
	if ok, more := s.readLog.allow(time.Now()); ok {
		s.log.Warn("osc: read failed; trying again", "error", err, "suppressed", more)
	}
	s.mu.Unlock()
	time.Sleep(10 * time.Millisecond)
}

// reported reports whether a read or write has failed by what became of other
// datagrams, and tells of those that nobody was there to take.
func (s *Server) reported(err error) bool {
	if s.cfg.Refused == nil {
		return false
	}
	return refusals(s.conn, s.cfg.Refused) || isReport(err)
}

// write sends a datagram. Another one's failure is not its.
func (s *Server) write(packet []byte, to netip.AddrPort) (err error) {
	for range 3 {
		if _, err = s.conn.WriteToUDPAddrPort(packet, to); err == nil || !s.reported(err) {
			return err
		}
	}
	return err
}

// receive handles one packet. The lock is held.
func (s *Server) receive(packet []byte) {
	s.only, s.total, s.ahead, s.aheadLen = false, 1, 0, 0
	bundle := IsBundle(packet)
	if bundle {
		s.total = 0
		if err := walkBundle(packet, 0, 1, Immediately, &s.msg, s.count); err != nil {
			s.refuse(s.from, len(packet), err, s.now)
			return
		}
	}
	if !s.rate.allow(s.from, s.total, s.now) {
		s.excess(packet)
		return
	}
	// A bundle is atomic: if not all of it can wait, none of it does, but for
	// what ends a sound.
	if s.ahead > 0 && !s.schedule.fits(s.ahead, s.aheadLen) {
		n := s.pass(packet)
		s.drop(s.total-n, "the schedule is full")
		return
	}
	var err error
	if bundle {
		err = walkBundle(packet, 0, 1, Immediately, &s.msg, s.deliver) // checked by the first pass
	} else {
		err = Walk(packet, &s.msg, s.deliver)
	}
	if err != nil {
		s.refuse(s.from, len(packet), err, s.now)
	}
}

// excess handles a packet of a client that sends too much.
func (s *Server) excess(packet []byte) {
	n := s.total - s.pass(packet)
	if n <= 0 {
		return
	}
	s.limited.Add(uint64(n))
	lost := s.rate.drop(s.from, n, s.now)
	if lost == 0 {
		return
	}
	if ok, more := s.limitedLog.allow(s.now); ok {
		s.log.Warn("osc: a client sends too much; messages dropped", "from", s.from, "messages", lost, "most a second", s.cfg.Rate, "suppressed", more)
	}
	var err error
	if s.complaint, err = AppendMessage(s.complaint[:0], addrError, String(""), String(fmt.Sprintf("%d messages dropped, expected at most %d a second", lost, s.cfg.Rate))); err == nil {
		s.Send(s.replyTo(s.from), s.complaint) // counted and logged where it cannot be sent
	}
}

// pass delivers what has to pass of a packet that does not, and returns how
// many messages that were.
func (s *Server) pass(packet []byte) int {
	s.only, s.passed = true, 0
	if err := Walk(packet, &s.msg, s.deliver); err != nil {
		s.refuse(s.from, len(packet), err, s.now)
		return s.total
	}
	return s.passed
}

// mustPass reports whether a message ends a sound.
func (s *Server) mustPass(m *Message) bool {
	it := m.Args()
	values, zero := 0, true
	for a, ok := it.Next(); ok && zero; a, ok = it.Next() {
		if a.tag == TagArrayStart || a.tag == TagArrayEnd {
			continue
		}
		v, isNumber := a.Number()
		zero = isNumber && v == 0
		values++
	}
	return values > 0 && zero || s.cfg.Urgent != nil && s.cfg.Urgent(m)
}

// replyTo returns where a client wants its answers.
func (s *Server) replyTo(from netip.AddrPort) netip.AddrPort {
	if s.cfg.ReplyPort != 0 && !isConnected(from) {
		return netip.AddrPortFrom(from.Addr(), s.cfg.ReplyPort)
	}
	return from
}

func (s *Server) refuse(from netip.AddrPort, size int, err error, now time.Time) {
	s.malformed.Add(1)
	if ok, more := s.malformedLog.allow(now); ok {
		s.log.Warn("osc: malformed packet", "from", from, "size", size, "error", err, "suppressed", more)
	}
}

func (s *Server) drop(n int, why string) {
	if n <= 0 {
		return
	}
	s.dropped.Add(uint64(n))
	if ok, more := s.droppedLog.allow(s.now); ok {
		s.log.Warn("osc: messages dropped", "from", s.from, "messages", n, "reason", why, "suppressed", more)
	}
}

// countAhead is the first pass over a bundle.
func (s *Server) countAhead(_ *Message, raw []byte, t TimeTag) {
	s.total++
	if !t.Immediate() && t.Time().Sub(s.now) > s.cfg.Lookahead {
		s.ahead++
		s.aheadLen += len(raw)
	}
}

// deliverOrSchedule is the second pass, and the only one over a message.
func (s *Server) deliverOrSchedule(m *Message, raw []byte, t TimeTag) {
	if s.only && !s.mustPass(m) {
		return
	}
	at := s.now
	if !t.Immediate() {
		tagged := t.Time()
		switch ahead := tagged.Sub(s.now); {
		case ahead > s.cfg.MaxAhead:
			s.passed++ // counted here
			s.drop(1, "time tag further ahead than "+s.cfg.MaxAhead.String()+"; is the sender's clock right?")
			return
		case ahead > s.cfg.Lookahead:
			// What ends a sound has as much room again: the beginning of that
			// sound may be what fills the schedule.
			if s.only && !s.schedule.fitsReserve(len(raw)) {
				return
			}
			s.passed++
			s.schedule.push(tagged, s.from, raw)
			s.scheduled.Store(int64(s.schedule.len()))
			if due := tagged.Add(-s.cfg.Lookahead); isConnected(s.from) && (s.deadline.IsZero() || due.Before(s.deadline)) {
				s.rearm(s.now, due)
			}
			return
		case ahead >= 0:
			at = tagged
		default:
			s.late.Add(1)
		}
	}
	s.passed++
	s.messages.Add(1)
	s.handler.Handle(s.from, m, at)
}

// Send sends one packet to a client. It may be called by any goroutine and does
// not wait for the client: a connection's packet is queued, and a client that
// does not read is dropped when its queue is full.
func (s *Server) Send(to netip.AddrPort, packet []byte) error {
	if isConnected(to) {
		if err := s.links.send(to, packet); err != nil {
			s.unsent.Add(1)
			return fmt.Errorf("osc: send to %s: %w", to, err)
		}
		s.sent.Add(1)
		return nil
	}
	if err := s.write(packet, to); err != nil {
		if s.closed.Load() {
			return net.ErrClosed
		}
		s.unsent.Add(1)
		now := time.Now().UnixNano()
		if last := s.sendLog.last.Load(); now-last >= int64(logInterval) && s.sendLog.last.CompareAndSwap(last, now) {
			s.log.Warn("osc: cannot send", "to", to, "size", len(packet), "error", err)
		}
		return fmt.Errorf("osc: send to %s: %w", to, err)
	}
	s.sent.Add(1)
	return nil
}

// Stats returns the counters.
func (s *Server) Stats() Stats {
	return Stats{
		Packets:   s.packets.Load(),
		Messages:  s.messages.Load(),
		Malformed: s.malformed.Load(),
		Late:      s.late.Load(),
		Dropped:   s.dropped.Load(),
		Limited:   s.limited.Load(),
		Refused:   s.refused.Load(),
		Slow:      s.slow.Load(),
		TCP:       s.links.count(zoneTCP),
		WebSocket: s.links.count(zoneWebSocket),
		Scheduled: int(s.scheduled.Load()),
		Sent:      s.sent.Load(),
		Unsent:    s.unsent.Load(),
		Panics:    s.panics.Load(),
	}
}

// Close closes the sockets and connections and waits until Serve has returned;
// no Handle runs afterwards. Messages that still waited for their time are
// counted as dropped. It must not be called by the Handler. Further calls do
// nothing.
func (s *Server) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	err := s.conn.Close()
	if s.tcp != nil {
		err = errors.Join(err, s.tcp.Close())
	}
	s.links.mu.Lock()
	for _, c := range s.links.tcp {
		c.conn.Close()
	}
	s.links.mu.Unlock()
	if s.serving.Load() {
		<-s.done
	}
	return err
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
