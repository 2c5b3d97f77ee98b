package osc

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime/debug"
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
	// Handle is called by the server's one goroutine, for one message after
	// another. The message is valid during the call only. The time is when
	// the message is meant to take effect: its time tag where that lies ahead
	// (see ServerConfig.Lookahead), else its arrival.
	Handle(from netip.AddrPort, m *Message, at time.Time)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(from netip.AddrPort, m *Message, at time.Time)

// Handle calls f.
func (f HandlerFunc) Handle(from netip.AddrPort, m *Message, at time.Time) { f(from, m, at) }

// ServerConfig says where and how a Server listens. Zero values take defaults.
type ServerConfig struct {
	// Addr is host:port. Without a host it is the loopback address, because
	// OSC knows no authentication: to listen to a network, name its address,
	// or 0.0.0.0 for all. Port 0 takes a free one.
	Addr string
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
	Packets   uint64 // datagrams received
	Messages  uint64 // messages handed to the Handler
	Malformed uint64 // datagrams refused
	Late      uint64 // messages whose time tag had passed; delivered at once
	Dropped   uint64 // messages not delivered: schedule full, too far ahead, or closed before their time
	Scheduled int    // messages that wait now
	Sent      uint64 // datagrams sent
	Unsent    uint64 // datagrams that the system refused to send
	Panics    uint64 // calls of the Handler that panicked
}

// Server receives OSC over UDP. One goroutine reads, decodes, schedules and
// calls the Handler, so that order is kept.
type Server struct {
	conn *net.UDPConn
	cfg  ServerConfig
	log  *slog.Logger

	packets, messages, malformed, late, dropped, sent, unsent, panics atomic.Uint64
	scheduled                                                         atomic.Int64
	closed, serving                                                   atomic.Bool
	done                                                              chan struct{}

	// What follows belongs to the serving goroutine.
	handler         Handler
	buf             []byte
	msg             Message
	schedule        schedule
	from            netip.AddrPort // of the datagram at hand
	now             time.Time      // its arrival
	ahead, aheadLen int            // messages of this datagram that lie ahead, and their bytes
	count, deliver  func(*Message, []byte, TimeTag)
	deadline        bool // a read deadline is set

	malformedLog, droppedLog, readLog, panicLog throttle
	sendLog                                     struct {
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
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
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
	s := &Server{
		conn:     conn,
		cfg:      cfg,
		log:      cfg.Logger,
		done:     make(chan struct{}),
		buf:      make([]byte, maxDatagram),
		schedule: schedule{max: cfg.MaxScheduled, maxBytes: maxScheduledBytes},
	}
	s.count, s.deliver = s.countAhead, s.deliverOrSchedule
	if err := conn.SetReadBuffer(cfg.ReadBuffer); err != nil {
		s.log.Warn("osc: socket buffer stays small; bursts may be lost", "wanted", cfg.ReadBuffer, "error", err)
	}
	return s, nil
}

// Addr returns the address that the server listens on.
func (s *Server) Addr() netip.AddrPort { return unmap(s.conn.LocalAddr().(*net.UDPAddr).AddrPort()) }

// unmap turns an IPv4 address inside an IPv6 one back, so that a client has
// one address however the socket was opened.
func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }

// Serve hands messages to h until Close, and returns nil then. Nothing that
// is received ends it. It may be called once.
func (s *Server) Serve(h Handler) error {
	if !s.serving.CompareAndSwap(false, true) {
		return errors.New("osc: Serve was called before; a server serves once")
	}
	defer close(s.done)
	s.handler = h
	for s.serve() {
	}
	s.dropped.Add(uint64(s.schedule.clear()))
	s.scheduled.Store(0)
	return nil
}

// serve is the loop of the serving goroutine. It returns true after a panic
// of the handler: a fault in one handler must not silence the stage.
func (s *Server) serve() (again bool) {
	defer func() {
		r := recover()
		if r == nil {
			return
		}
		again = !s.closed.Load()
		s.panics.Add(1)
		if ok, more := s.panicLog.allow(time.Now()); ok {
			s.log.Error("osc: handler panicked; the server goes on", "panic", r, "suppressed", more, "stack", string(debug.Stack()))
		}
	}()
	for !s.closed.Load() {
		s.wake(time.Now())
		n, from, err := s.conn.ReadFromUDPAddrPort(s.buf)
		if err != nil {
			s.readFailed(err)
			continue
		}
		s.now, s.from = time.Now(), unmap(from)
		s.packets.Add(1)
		s.receive(s.buf[:n])
	}
	return false
}

// wake delivers what is due and sets the deadline for the next read.
func (s *Server) wake(now time.Time) {
	for {
		e, ok := s.schedule.next()
		if !ok {
			break
		}
		due := e.at.Add(-s.cfg.Lookahead)
		if due.After(now) {
			s.conn.SetReadDeadline(now.Add(min(due.Sub(now), clockCheck))) // fails only when closed
			s.deadline = true
			return
		}
		s.schedule.pop()
		s.scheduled.Store(int64(s.schedule.len()))
		if err := s.msg.Decode(e.raw); err == nil { // it was decoded when it came
			s.messages.Add(1)
			s.handler.Handle(e.from, &s.msg, e.at)
		}
		s.schedule.free(e.raw)
	}
	if s.deadline {
		s.conn.SetReadDeadline(time.Time{})
		s.deadline = false
	}
}

// readFailed tells a deadline and the end from faults of the socket, which
// are logged and survived.
func (s *Server) readFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) || s.closed.Load() {
		return
	}
	if ok, more := s.readLog.allow(time.Now()); ok {
		s.log.Warn("osc: read failed; trying again", "error", err, "suppressed", more)
	}
	time.Sleep(10 * time.Millisecond)
}

// receive handles one datagram.
func (s *Server) receive(packet []byte) {
	if IsBundle(packet) {
		s.ahead, s.aheadLen = 0, 0
		if err := Walk(packet, &s.msg, s.count); err != nil {
			s.refuse(packet, err)
			return
		}
		// A bundle is atomic: if not all of it can wait, none of it does.
		if s.ahead > 0 && !s.schedule.fits(s.ahead, s.aheadLen) {
			s.drop(s.ahead, "the schedule is full")
			return
		}
	}
	if err := Walk(packet, &s.msg, s.deliver); err != nil {
		s.refuse(packet, err)
	}
}

func (s *Server) refuse(packet []byte, err error) {
	s.malformed.Add(1)
	if ok, more := s.malformedLog.allow(s.now); ok {
		s.log.Warn("osc: malformed datagram", "from", s.from, "size", len(packet), "error", err, "suppressed", more)
	}
}

func (s *Server) drop(n int, why string) {
	s.dropped.Add(uint64(n))
	if ok, more := s.droppedLog.allow(s.now); ok {
		s.log.Warn("osc: messages dropped", "from", s.from, "messages", n, "reason", why, "suppressed", more)
	}
}

// countAhead is the first pass over a bundle.
func (s *Server) countAhead(_ *Message, raw []byte, t TimeTag) {
	if !t.Immediate() && t.Time().Sub(s.now) > s.cfg.Lookahead {
		s.ahead++
		s.aheadLen += len(raw)
	}
}

// deliverOrSchedule is the second pass, and the only one over a message.
func (s *Server) deliverOrSchedule(m *Message, raw []byte, t TimeTag) {
	at := s.now
	if !t.Immediate() {
		tagged := t.Time()
		switch ahead := tagged.Sub(s.now); {
		case ahead > s.cfg.MaxAhead:
			s.drop(1, "time tag further ahead than "+s.cfg.MaxAhead.String()+"; is the sender's clock right?")
			return
		case ahead > s.cfg.Lookahead:
			s.schedule.push(tagged, s.from, raw)
			s.scheduled.Store(int64(s.schedule.len()))
			return
		case ahead >= 0:
			at = tagged
		default:
			s.late.Add(1)
		}
	}
	s.messages.Add(1)
	s.handler.Handle(s.from, m, at)
}

// Send sends one packet. It may be called by any goroutine.
func (s *Server) Send(to netip.AddrPort, packet []byte) error {
	if _, err := s.conn.WriteToUDPAddrPort(packet, to); err != nil {
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
		Scheduled: int(s.scheduled.Load()),
		Sent:      s.sent.Load(),
		Unsent:    s.unsent.Load(),
		Panics:    s.panics.Load(),
	}
}

// Close closes the socket and waits until Serve has returned; no Handle runs
// afterwards. Messages that still waited for their time are counted as
// dropped. It must not be called by the Handler. Further calls do nothing.
func (s *Server) Close() error {
	if !s.closed.CompareAndSwap(false, true) {
		return nil
	}
	err := s.conn.Close()
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
