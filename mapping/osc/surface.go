package osc

import (
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/announce"
)

// Addresses that the surface itself answers or sends.
const (
	addrSubscribe   = "/subscribe"
	addrUnsubscribe = "/unsubscribe"
	addrResend      = "/resend"
	addrError       = "/error"
	// addrPanic is a node's; it always passes.
	addrPanic = "/panic"
)

// Config says how a Surface listens and whom it tells. Zero values take
// defaults.
type Config struct {
	// Addr is host:port for datagrams, see ServerConfig.Addr.
	Addr string
	// TCP is host:port for connections, empty for none; see ServerConfig.TCP.
	TCP string
	// Query is host:port for OSCQuery, empty for none: the nodes as JSON over
	// HTTP, and a WebSocket for values and changes. HTTP changes nothing; what
	// comes over the WebSocket is played as if it came by TCP.
	Query string
	// Allow names the addresses that may play and look besides this machine's
	// own, see ServerConfig.Allow.
	Allow []netip.Prefix
	// Rate is how many messages a second one client may send, see
	// ServerConfig.Rate. Default: 2000. Negative: no limit.
	Rate int
	// ReplyPort is the port that answers and feedback to datagrams go to.
	// Default: the sender's, or the one that it names in /subscribe.
	ReplyPort uint16
	// Resend is how often Subscribers, and clients that ask for it in
	// /subscribe, are told everything again: datagrams may be lost. Zero means
	// never for Subscribers and 2 s for the others; the least is 0.1 s.
	Resend time.Duration
	// Name is what OSCQuery and the announcement call the instrument. Default:
	// k8s-synth.
	Name string
	// Announce says whether the ports are announced by multicast DNS.
	Announce Announce
	// Interfaces limits the announcement to interfaces of these names.
	Interfaces []string
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
	// Stray, if set, is asked about a message whose address no node has, and
	// tells whether it took it; then nothing is refused. It is called as a
	// Node's Set is.
	Stray func(m *Message, c Cause) bool
	// Left, if set, is told of clients that are gone and will let go of nothing
	// any more; gone reports whether a client, such as Cause.From, is one of them.
	// A connection is gone with its end. Who sends datagrams is known only if it
	// has subscribed: it is gone when it has not renewed that in time, has begun
	// anew at another port, or (on Linux) nobody listens any more where it is
	// told. Left may be called by any goroutine, also during a Node's Set, and
	// must not wait; gone may be called until whenever.
	Left func(gone func(client netip.AddrPort) bool)
}

// Announce says whether ports are announced by multicast DNS.
type Announce uint8

// Kinds of Announce.
const (
	AnnounceReachable Announce = iota // those that others can reach
	AnnounceNever
	AnnounceAlways // also those on loopback, where Interfaces names it
)

// Subscription names a client and what it wants to know.
type Subscription struct {
	To      netip.AddrPort
	Pattern string // as in /subscribe; empty means everything
}

// Surface is a Namespace that is played over a Server: it sets nodes,
// answers questions and tells subscribers what changed.
type Surface struct {
	server  *Server
	query   *queryServer // nil without
	names   Namespace
	feed    *feedback
	errors  errorLimiter
	log     *slog.Logger
	notices []*announce.Announcement
	stray   func(*Message, Cause) bool
	left    func(gone func(netip.AddrPort) bool)

	stop    sync.Once
	served  chan struct{}
	flushed chan struct{}

	// Scratch space of the server's goroutine.
	args  []Arg
	reply []byte
}

// Open listens and serves the nodes until Close. A Set may be called before
// Open returns; where it needs the Surface itself, pass no nodes here and the
// first ones to Replace. The error wraps ErrPortInUse when a port is taken.
func Open(cfg Config, nodes []Node) (*Surface, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Name == "" {
		cfg.Name = "k8s-synth"
	}
	if cfg.Resend < 0 || cfg.Resend > 0 && cfg.Resend < leastResend {
		return nil, fmt.Errorf("osc: resend every %v, expected 0 for never or at least %v", cfg.Resend, leastResend)
	}
	s := &Surface{log: cfg.Logger, stray: cfg.Stray, left: cfg.Left, served: make(chan struct{}), flushed: make(chan struct{})}
	if err := s.names.Replace(nodes); err != nil {
		return nil, err
	}
	s.feed = newFeedback(&s.names, cfg.Bundles, cfg.Logger)
	s.feed.replyPort, s.feed.gone = cfg.ReplyPort, cfg.Left
	if s.feed.every = cfg.Resend; s.feed.every == 0 {
		s.feed.every = defaultResend
	}
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
		to := unmap(sub.To)
		if err := s.feed.subscribe(to, to, p, terms{lasting: true, static: true, resend: cfg.Resend > 0}, time.Now()); err != nil {
			return nil, fmt.Errorf("osc: subscriber %s: %w", sub.To, err)
		}
	}
	sc := ServerConfig{
		Addr: cfg.Addr, TCP: cfg.TCP, Allow: cfg.Allow, Rate: cfg.Rate, Urgent: s.urgent, ReplyPort: cfg.ReplyPort,
		Logger: cfg.Logger, Lookahead: cfg.Lookahead,
	}
	if cfg.Left != nil {
		sc.Refused = func(to netip.AddrPort) { s.feed.refused(to, time.Now()) }
	}
	server, err := Listen(sc)
	if err != nil {
		return nil, err
	}
	s.server = server
	server.handler = s // a WebSocket may come before Serve has begun
	s.errors.init()
	if cfg.Query != "" {
		if s.query, err = listenQuery(s, cfg); err != nil {
			server.Close()
			return nil, err
		}
	}
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
	if s.query != nil {
		s.query.start()
	}
	if err := s.announce(cfg); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// announce tells the network of the ports.
func (s *Surface) announce(cfg Config) error {
	if cfg.Announce == AnnounceNever {
		return nil
	}
	a := s.Addrs()
	for _, port := range []struct {
		kind string
		addr netip.AddrPort
	}{{announce.OSC, a.UDP}, {oscOverTCP, a.TCP}, {announce.OSCQuery, a.Query}} {
		if !port.addr.IsValid() || port.addr.Addr().IsLoopback() && cfg.Announce != AnnounceAlways {
			continue
		}
		n, err := announce.Start(announce.Service{
			Instance: cfg.Name, Type: port.kind, Port: int(port.addr.Port()), Addr: port.addr.Addr(),
			TXT: []string{"txtvers=1"}, Interfaces: cfg.Interfaces,
		}, cfg.Logger)
		if err != nil {
			return fmt.Errorf("osc: %w", err)
		}
		s.notices = append(s.notices, n)
	}
	return nil
}

// oscOverTCP is announced for the TCP port.
const oscOverTCP = "_osc._tcp"

// Addr returns the address that the surface listens on for datagrams.
func (s *Surface) Addr() netip.AddrPort { return s.server.Addr() }

// Addrs are the addresses of a Surface; those that it does not listen on are
// zero.
type Addrs struct{ UDP, TCP, Query netip.AddrPort }

// Addrs returns all addresses that the surface listens on.
func (s *Surface) Addrs() Addrs {
	a := Addrs{UDP: s.server.Addr(), TCP: s.server.TCPAddr()}
	if s.query != nil {
		a.Query = s.query.addr()
	}
	return a
}

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
	now := s.names.load()
	s.feed.replaced(old, now)
	if s.query != nil {
		s.query.replaced(old, now)
	}
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

// TellTo is Tell to one address, whether it has subscribed or not.
func (s *Surface) TellTo(to netip.AddrPort, address string, args ...Arg) error {
	if err := CheckAddress(address); err != nil {
		return err
	}
	message, err := AppendMessage(nil, address, args...)
	if err != nil {
		return err
	}
	return s.server.Send(unmap(to), message)
}

// Refuse tells a client why a message of its had no effect, for what only turns
// out after Set has returned. Any goroutine may call it.
func (s *Surface) Refuse(to netip.AddrPort, address string, why error) {
	message, err := AppendMessage(nil, addrError, String(address), String(why.Error()))
	if err != nil {
		s.log.Error("osc: error cannot be sent", "address", address, "error", err)
		return
	}
	_ = s.server.Send(s.server.replyTo(unmap(to)), message) // the server counts and logs what cannot be sent
}

// urgent reports whether a message is played although its client sends too
// much.
func (s *Surface) urgent(m *Message) bool {
	n := s.names.load().byAddress[string(m.address)]
	return n != nil && (n.Critical || n.Address == addrPanic)
}

// Left implements Leaver.
func (s *Surface) Left(client netip.AddrPort) {
	s.feed.left(client)
	if s.left != nil {
		s.left(func(c netip.AddrPort) bool { return c == client })
	}
}

// Close stops listening and sending and waits for both to end. No Get or Set
// is called by the surface afterwards. It must not be called by a Set.
func (s *Surface) Close() error {
	var err error
	s.stop.Do(func() {
		for _, n := range s.notices {
			n.Close()
		}
		if s.query != nil {
			err = s.query.close()
		}
		err = errors.Join(err, s.server.Close())
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
		w, err := s.wish(from, m)
		if err != nil {
			s.refuse(from, m.address, err)
			return
		}
		s.feed.unsubscribe(w.to, w.pattern)
		return
	case addrResend:
		w, err := s.wish(from, m)
		if err == nil {
			err = s.feed.resend(w.to)
		}
		if err != nil {
			s.refuse(from, m.address, err)
		}
		return
	case addrError:
		return // a peer's complaint is not answered by another one
	}
	if !HasWildcard(m.address) {
		if s.stray != nil && s.stray(m, cause) {
			return
		}
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
		s.feed.pull(s.server.replyTo(from), p.clone(), false)
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
		s.server.Send(s.server.replyTo(c.From), s.reply) // the server counts and logs what cannot be sent
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

// wish is what a client asks for by /subscribe and its like.
type wish struct {
	pattern []byte // nil when it names none
	to      netip.AddrPort
	resend  bool
}

// wordResend asks for everything again from time to time.
const wordResend = "resend"

// wish reads the arguments of /subscribe and its like, each of which may be
// missing.
func (s *Surface) wish(from netip.AddrPort, m *Message) (w wish, err error) {
	const expected = "expected [s:pattern] [i:port] [s:resend]"
	w.to = s.server.replyTo(from)
	it := m.Args()
	for a, ok := it.Next(); ok; a, ok = it.Next() {
		if a.tag == TagString || a.tag == TagSymbol {
			switch {
			case string(a.data) == wordResend:
				w.resend = true
			case w.pattern != nil:
				return w, errors.New("got two patterns, " + expected)
			case len(a.data) == 0:
				w.pattern = []byte(everything)
			default:
				w.pattern = a.data
			}
			continue
		}
		port, ok := a.Number()
		if !ok || !(port >= 1 && port <= 65535) {
			return w, fmt.Errorf("got %s, %s, with a port in 1…65535", a, expected)
		}
		if isConnected(from) {
			return w, errors.New("got a port, expected none: feedback comes back over the connection")
		}
		w.to = netip.AddrPortFrom(from.Addr(), uint16(port))
	}
	return w, nil
}

func (s *Surface) subscribe(from netip.AddrPort, m *Message) {
	w, err := s.wish(from, m)
	own := s.Addr()
	switch {
	case err != nil:
	case w.to.Port() == own.Port() && (w.to.Addr() == own.Addr() || w.to.Addr().IsLoopback()):
		err = errors.New("this is the instrument's own address, expected that of a client")
	case isConnected(from) && !s.server.alive(from):
		return // it waited for its time longer than its client
	default:
		if w.pattern == nil {
			w.pattern = []byte(everything)
		}
		var p Pattern
		if p, err = ParsePattern(w.pattern); err == nil {
			err = s.feed.subscribe(w.to, from, p.clone(), terms{lasting: isConnected(from), resend: w.resend}, time.Now())
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
	s.server.Send(s.server.replyTo(to), s.reply) // the server counts and logs what cannot be sent
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
