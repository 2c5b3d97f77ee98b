package osc

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"
)

// Addresses that the surface itself answers or sends.
const (
	addrSubscribe   = "/subscribe"
	addrUnsubscribe = "/unsubscribe"
	addrResend      = "/resend"
	addrError       = "/error"
)

// Config says how a Surface listens and whom it tells. Zero values take
// defaults.
type Config struct {
	// Addr is host:port, see ServerConfig.Addr.
	Addr string
	// Logger takes what goes wrong. Default: slog.Default.
	Logger *slog.Logger
	// Subscribers are told of changes for as long as the surface lives.
	Subscribers []Subscription
	// Bundles packs feedback into bundles of up to 1432 bytes, which fit an
	// Ethernet frame. By default each message is a datagram of its own, which
	// every peer understands.
	Bundles bool
	// Lookahead hands messages with a time tag over this much before it.
	Lookahead time.Duration
}

// Subscription names a client and what it wants to know.
type Subscription struct {
	To      netip.AddrPort
	Pattern string // as in /subscribe; empty means everything
}

// Surface is a Namespace that is played over a Server: it sets nodes,
// answers questions and tells subscribers what changed.
type Surface struct {
	server *Server
	names  Namespace
	feed   *feedback
	errors errorLimiter
	log    *slog.Logger

	stop    sync.Once
	served  chan struct{}
	flushed chan struct{}

	// Scratch space of the server's goroutine.
	args  []Arg
	reply []byte
}

// Open listens and serves the nodes until Close. A Set may be called before
// Open returns; where it needs the Surface itself, pass no nodes here and the
// first ones to Replace. The error wraps ErrPortInUse when the port is taken.
func Open(cfg Config, nodes []Node) (*Surface, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	s := &Surface{log: cfg.Logger, served: make(chan struct{}), flushed: make(chan struct{})}
	if err := s.names.Replace(nodes); err != nil {
		return nil, err
	}
	s.feed = newFeedback(&s.names, cfg.Bundles, cfg.Logger)
	for _, sub := range cfg.Subscribers {
		if sub.Pattern == "" {
			sub.Pattern = everything
		}
		if !sub.To.IsValid() || sub.To.Port() == 0 {
			return nil, fmt.Errorf("osc: subscriber %s: expected address:port", sub.To)
		}
		p, err := ParsePattern([]byte(sub.Pattern))
		if err != nil {
			return nil, fmt.Errorf("osc: subscriber %s: %w", sub.To, err)
		}
		if err := s.feed.subscribe(unmap(sub.To), unmap(sub.To), p, true, time.Now()); err != nil {
			return nil, fmt.Errorf("osc: subscriber %s: %w", sub.To, err)
		}
	}
	server, err := Listen(ServerConfig{Addr: cfg.Addr, Logger: cfg.Logger, Lookahead: cfg.Lookahead})
	if err != nil {
		return nil, err
	}
	s.server = server
	s.errors.init()
	go func() {
		defer close(s.served)
		if err := server.Serve(s); err != nil {
			s.log.Error("osc: server ended", "error", err)
		}
	}()
	go func() {
		defer close(s.flushed)
		s.feed.run(server.Send)
	}()
	return s, nil
}

// Addr returns the address that the surface listens on.
func (s *Surface) Addr() netip.AddrPort { return s.server.Addr() }

// Stats returns the server's counters.
func (s *Surface) Stats() Stats { return s.server.Stats() }

// Clients returns those who are subscribed.
func (s *Surface) Clients() []Client { return s.feed.clients(time.Now()) }

// Namespace returns the nodes that are served. Use Surface.Replace to change
// them, so that subscribers learn of it.
func (s *Surface) Namespace() *Namespace { return &s.names }

// Replace makes nodes the whole set of nodes, while clients play. Subscribers
// are sent the values of those that are new. On an error, which names the
// address at fault, nothing has changed.
func (s *Surface) Replace(nodes []Node) error {
	old := s.names.load()
	if err := s.names.Replace(nodes); err != nil {
		return err
	}
	s.feed.replaced(old, s.names.load())
	return nil
}

// Notify tells every subscriber whose pattern matches, except the client that
// caused the change (Cause.From; the zero AddrPort spares nobody), that the
// node at address now has the value args. It copies the value and returns at
// once; any goroutine may call it, also a Node's Set. Of several values for
// one address within 1/60 s the latest is sent. Addresses that are no
// readable node are ignored.
//
// When a node's Set takes another value than the one it was given, name the
// zero AddrPort, so that the client's control moves to the true value.
func (s *Surface) Notify(address string, except netip.AddrPort, args ...Arg) {
	s.feed.notify(address, unmap(except), args)
}

// Tell sends a message that is no node's value, such as that of a rule, to
// every subscriber whose pattern matches its address. It is sent at once and
// whole, since the next one does not replace it; any goroutine may call it.
// The error says what is wrong with the message.
func (s *Surface) Tell(address string, args ...Arg) error {
	if err := CheckAddress(address); err != nil {
		return err
	}
	message, err := AppendMessage(nil, address, args...)
	if err != nil {
		return err
	}
	for _, to := range s.feed.audience(address, time.Now()) {
		_ = s.server.Send(to, message) // the server counts and logs what cannot be sent
	}
	return nil
}

// Refuse tells a client why a message of its had no effect, for what only turns
// out after Set has returned. Any goroutine may call it.
func (s *Surface) Refuse(to netip.AddrPort, address string, why error) {
	message, err := AppendMessage(nil, addrError, String(address), String(why.Error()))
	if err != nil {
		s.log.Error("osc: error cannot be sent", "address", address, "error", err)
		return
	}
	_ = s.server.Send(to, message) // the server counts and logs what cannot be sent
}

// Close stops listening and sending and waits for both to end. No Get or Set
// is called by the surface afterwards. It must not be called by a Set.
func (s *Surface) Close() error {
	var err error
	s.stop.Do(func() {
		err = s.server.Close()
		s.feed.close()
		<-s.served
		<-s.flushed
	})
	return err
}

// Handle implements Handler.
func (s *Surface) Handle(from netip.AddrPort, m *Message, at time.Time) {
	t := s.names.load()
	cause := Cause{From: from, At: at}
	if n := t.byAddress[string(m.address)]; n != nil {
		s.play(n, m, cause)
		return
	}
	switch string(m.address) {
	case addrSubscribe:
		s.subscribe(from, m)
		return
	case addrUnsubscribe:
		pattern, to, err := subscription(from, m)
		if err != nil {
			s.refuse(from, m.address, err)
			return
		}
		s.feed.unsubscribe(to, pattern)
		return
	case addrResend:
		_, to, err := subscription(from, m)
		if err == nil {
			err = s.feed.resend(to)
		}
		if err != nil {
			s.refuse(from, m.address, err)
		}
		return
	case addrError:
		return // a peer's complaint is not answered by another one
	}
	if !HasWildcard(m.address) {
		if s.errors.allow(from, at) {
			s.sendError(from, m.address, "unknown address; "+t.nearest(m.address))
		}
		return
	}
	p, err := ParsePattern(m.address)
	if err != nil {
		s.refuse(from, m.address, err)
		return
	}
	asks := len(m.tags) == 0
	found, readable := false, false
	t.match(p, func(n *Node) bool {
		found, readable = true, readable || n.readable()
		if !asks {
			s.play(n, m, cause)
		}
		return true
	})
	switch {
	case !found:
		s.refuse(from, m.address, errNoMatch)
	case asks && readable:
		s.feed.pull(from, p.clone(), false)
	case asks:
		s.refuse(from, m.address, errNothingToRead)
	}
}

var (
	errNoMatch = errors.New("no address matches")
	// A question such as /*/* must not set off every command there is.
	errNothingToRead = errors.New("no address that matches can be read; to run commands by a pattern, send the argument 1")
	errReadOnly      = errors.New("read only")
)

// play applies one message to one node.
func (s *Surface) play(n *Node, m *Message, c Cause) {
	if len(m.tags) == 0 && !n.command() {
		if !n.readable() {
			if s.errors.allow(c.From, c.At) {
				s.sendError(c.From, []byte(n.Address), "write only; expected "+n.Expected())
			}
			return
		}
		var err error
		s.args = n.Get(s.args[:0])
		if s.reply, err = AppendMessage(s.reply[:0], n.Address, s.args...); err != nil {
			s.log.Error("osc: value cannot be sent", "address", n.Address, "error", err)
			return
		}
		s.server.Send(c.From, s.reply) // the server counts and logs what cannot be sent
		return
	}
	if !n.writable() {
		s.refuse(c.From, []byte(n.Address), errReadOnly)
		return
	}
	if n.command() || n.Tags == string(rune(TagImpulse)) {
		s.trigger(n, m, c)
		return
	}
	args, bad := n.appendCoerced(s.args[:0], m)
	s.args = args
	if bad != nil {
		s.refuse(c.From, []byte(n.Address), bad)
		return
	}
	if err := n.Set(args, c); err != nil {
		s.refuse(c.From, []byte(n.Address), err)
	}
}

// trigger runs a command. A button on a tablet sends 1 when it is pressed and
// 0 when it is released; the release does nothing.
func (s *Surface) trigger(n *Node, m *Message, c Cause) {
	it := m.Args()
	if a, ok := it.Next(); ok {
		if _, more := it.Next(); more {
			s.refuse(c.From, []byte(n.Address), &refusal{node: n, count: countValues(m)})
			return
		}
		v, isNumber := a.Number()
		if !coerce(&a, TagImpulse, nil) {
			s.refuse(c.From, []byte(n.Address), &refusal{node: n, arg: a, position: 1})
			return
		}
		if isNumber && v == 0 {
			return
		}
	}
	s.args = s.args[:0]
	if n.Tags != "" {
		s.args = append(s.args, Impulse())
	}
	if err := n.Set(s.args, c); err != nil {
		s.refuse(c.From, []byte(n.Address), err)
	}
}

// subscription reads the arguments of /subscribe and its like: a pattern and
// a port, each of which may be missing.
func subscription(from netip.AddrPort, m *Message) (pattern []byte, to netip.AddrPort, err error) {
	to = from
	it := m.Args()
	for a, ok := it.Next(); ok; a, ok = it.Next() {
		if a.tag == TagString || a.tag == TagSymbol {
			if pattern != nil {
				return nil, to, errors.New("got two patterns, expected [s:pattern] [i:port]")
			}
			if pattern = a.data; len(pattern) == 0 {
				pattern = []byte(everything)
			}
			continue
		}
		port, ok := a.Number()
		if !ok || !(port >= 1 && port <= 65535) {
			return nil, to, fmt.Errorf("got %s, expected [s:pattern] [i:port], with a port in 1…65535", a)
		}
		to = netip.AddrPortFrom(from.Addr(), uint16(port))
	}
	return pattern, to, nil
}

func (s *Surface) subscribe(from netip.AddrPort, m *Message) {
	pattern, to, err := subscription(from, m)
	if own := s.Addr(); to.Port() == own.Port() && (to.Addr() == own.Addr() || to.Addr().IsLoopback()) {
		err = errors.New("this is the instrument's own address, expected that of a client")
	}
	if err == nil {
		if pattern == nil {
			pattern = []byte(everything)
		}
		var p Pattern
		if p, err = ParsePattern(pattern); err == nil {
			err = s.feed.subscribe(to, from, p.clone(), false, time.Now())
		}
	}
	if err != nil {
		s.refuse(from, m.address, err)
	}
}

// refuse tells the sender why its message had no effect, unless it was told
// so much lately that more would only be noise.
func (s *Surface) refuse(to netip.AddrPort, address []byte, why error) {
	if s.errors.allow(to, time.Now()) {
		s.sendError(to, address, why.Error())
	}
}

func (s *Surface) sendError(to netip.AddrPort, address []byte, text string) {
	var err error
	if s.reply, err = AppendMessage(s.reply[:0], addrError, Arg{tag: TagString, data: address}, String(text)); err != nil {
		s.log.Error("osc: error cannot be sent", "address", string(address), "error", err)
		return
	}
	s.server.Send(to, s.reply) // the server counts and logs what cannot be sent
}

const (
	// errorBurst and errorRate bound the errors sent to one client.
	errorBurst = 10
	errorRate  = 10 // per second
)

// errorLimiter is a token bucket for each client, of which there are a fixed
// number: clients that fall into one bucket share it.
type errorLimiter struct {
	seed    maphash.Seed
	buckets [256]struct {
		tokens float64
		last   time.Time
	}
}

func (l *errorLimiter) init() { l.seed = maphash.MakeSeed() }

func (l *errorLimiter) allow(client netip.AddrPort, now time.Time) bool {
	b := &l.buckets[maphash.Comparable(l.seed, client)%uint64(len(l.buckets))]
	if b.last.IsZero() {
		b.tokens = errorBurst
	} else if d := now.Sub(b.last).Seconds(); d > 0 {
		b.tokens = min(errorBurst, b.tokens+d*errorRate)
	}
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}
