package osc

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// everything is the pattern of those who name none: all containers.
	everything = "/*"
	// subscriptionLife is how long a subscription lasts without renewal, where
	// no connection tells when the client is gone.
	subscriptionLife = 60 * time.Second
	// listened is how long what is sent to a client must not have been refused
	// until a refusal tells that it is gone: there are those that play and name a
	// port on which they never listen, and a machine may refuse once a second only.
	listened = 5 * time.Second
	// defaultResend is how often clients that ask for it are told everything
	// again, leastResend the most often.
	defaultResend = 2 * time.Second
	leastResend   = 100 * time.Millisecond
	// maxSubscribers and maxPatterns bound the work for one change.
	maxSubscribers = 64
	maxPatterns    = 16
	// flushInterval is the least time between two values of one address.
	flushInterval = time.Second / 60
	// maxChanges and maxPulled bound what one client gets at once. A socket
	// buffer of Linux's default size holds about 270 small datagrams, and
	// what it cannot hold is lost; together these stay below that.
	maxChanges = 128
	maxPulled  = 64
	// maxPulls bounds the questions that wait for their answers.
	maxPulls = 256
	// maxBundle is the largest bundle: an Ethernet frame's 1500 bytes less the
	// headers of IPv6 (40) and UDP (8), and 20 for a tunnel.
	maxBundle = 1432
)

// Client is one subscriber.
type Client struct {
	To       netip.AddrPort // see Transport and Peer
	Patterns []string
	Listens  int       // addresses that it hears by OSCQuery's LISTEN
	Static   bool      // configured, never expires
	Resend   bool      // is told everything again from time to time
	Expires  time.Time // zero when Static, or while a connection stands
}

// terms are the terms of a subscription.
type terms struct {
	lasting bool // until unsubscribed or left
	static  bool // configured
	resend  bool // everything again from time to time
}

// subscriber is a Client as the feedback keeps it.
type subscriber struct {
	to, source netip.AddrPort // where it is told, whence it subscribed
	patterns   []Pattern      // never changed in place: flush reads it unlocked
	listens    *listens       // nil without
	terms      terms
	expires    time.Time
	resent     time.Time
	// sent is when it was sent something first since anything was refused, in
	// Unix nanoseconds; 0 before.
	sent *atomic.Int64
}

// lost is a client that is gone, as it was then.
type lost struct {
	subscriber
	refused bool // it is subscribed still
}

// listens are the addresses that a client of OSCQuery hears one by one.
type listens struct {
	mu sync.RWMutex
	to map[string]struct{}
}

func (l *listens) has(address string) bool {
	if l == nil {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	_, ok := l.to[address]
	return ok
}

func (l *listens) count() int {
	if l == nil {
		return 0
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.to)
}

func (s *subscriber) wants(address string) bool {
	if s.listens.has(address) {
		return true
	}
	for _, p := range s.patterns {
		if p.MatchUnder(address) {
			return true
		}
	}
	return false
}

// sends notes that it is about to be sent something; nil is nobody who has
// subscribed. A refusal may come before the sending is over.
func (s *subscriber) sends(now time.Time) {
	if s != nil {
		s.sent.CompareAndSwap(0, now.UnixNano())
	}
}

// change is the latest value of one address that is yet to be sent.
type change struct {
	address string
	except  netip.AddrPort
	message []byte // encoded; empty when it is to be read by Get
	queued  bool
}

// pull is a question for many values, answered in portions.
type pull struct {
	to      netip.AddrPort
	pattern Pattern
	under   bool
	after   string // the last address sent
	number  uint64 // tells it from the same question that is asked again
}

// feedback carries values to clients. Everything below mu is shared; what
// flush uses beside it belongs to the goroutine of run.
type feedback struct {
	names     *Namespace
	bundles   bool
	replyPort uint16
	every     time.Duration                               // between two resends
	gone      func(gone func(client netip.AddrPort) bool) // nil: nobody wants to know
	log       *slog.Logger
	wakeup    chan struct{}
	stop      chan struct{}

	mu      sync.Mutex
	subs    []subscriber
	lost    []lost // that are yet to be told of
	changes map[string]*change
	queue   []*change // in the order of their first Notify
	pulls   []pull
	pulled  uint64 // number of the last one

	out     []byte
	pieces  []piece
	told    []subscriber
	asked   []pull
	args    []Arg
	bundle  []byte
	pulling []netip.AddrPort

	panicLog throttle
}

// piece is one encoded message in feedback.out.
type piece struct {
	address    string
	except     netip.AddrPort
	start, end int
	read       bool // encode from Get first
}

func newFeedback(names *Namespace, bundles bool, log *slog.Logger) *feedback {
	return &feedback{names: names, bundles: bundles, log: log, wakeup: make(chan struct{}, 1), stop: make(chan struct{}), changes: map[string]*change{}}
}

func (p Pattern) clone() Pattern {
	p.text = bytes.Clone(p.text)
	return p
}

func (f *feedback) wake() {
	select {
	case f.wakeup <- struct{}{}:
	default:
	}
}

func (f *feedback) close() { close(f.stop) }

// subscribe adds or renews a subscription, and asks for the current values.
// The pattern is kept.
func (f *feedback) subscribe(to, source netip.AddrPort, p Pattern, t terms, now time.Time) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, err := f.subscriber(to, source, t, now)
	if err != nil {
		return err
	}
	if s.source != source {
		f.lose(lost{subscriber: *s}) // a program that has begun anew
	}
	if !slices.ContainsFunc(s.patterns, p.equal) {
		if len(s.patterns) >= maxPatterns {
			return fmt.Errorf("%d patterns are subscribed already, which is the most; unsubscribe one or use a wider pattern", maxPatterns)
		}
		s.patterns = append(slices.Clone(s.patterns), p)
	}
	s.source = source
	s.expires = now.Add(subscriptionLife)
	if s.terms.resend = s.terms.resend || t.resend; s.terms.resend {
		s.resent = now
		f.wake()
	}
	return f.addPull(pull{to: to, pattern: p, under: true})
}

// subscriber returns the subscriber that is told at to, a new one if there is
// none. The lock is held.
func (f *feedback) subscriber(to, source netip.AddrPort, t terms, now time.Time) (*subscriber, error) {
	f.expire(now)
	i := slices.IndexFunc(f.subs, func(s subscriber) bool { return s.to == to })
	if i < 0 {
		if len(f.subs) >= maxSubscribers {
			return nil, fmt.Errorf("%d clients are subscribed already, which is the most; try again when one has gone", maxSubscribers)
		}
		f.subs = append(f.subs, subscriber{to: to, source: source, terms: t, sent: new(atomic.Int64)})
		i = len(f.subs) - 1
	}
	return &f.subs[i], nil
}

// listen lets a connected client hear one address.
func (f *feedback) listen(client netip.AddrPort, address string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.names.load().byAddress[address]; n == nil || !n.readable() {
		return errors.New("no readable node has this address")
	}
	s, err := f.subscriber(client, client, terms{lasting: true}, time.Now())
	if err != nil {
		return err
	}
	if s.listens == nil {
		s.listens = &listens{to: map[string]struct{}{}}
	}
	s.listens.mu.Lock()
	defer s.listens.mu.Unlock()
	s.listens.to[address] = struct{}{}
	return nil
}

// ignore ends listen.
func (f *feedback) ignore(client netip.AddrPort, address string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.subs, func(s subscriber) bool { return s.to == client })
	if i < 0 || f.subs[i].listens == nil {
		return
	}
	s := &f.subs[i]
	s.listens.mu.Lock()
	delete(s.listens.to, address)
	s.listens.mu.Unlock()
	f.prune(i)
}

// prune removes a subscriber that hears nothing. The lock is held.
func (f *feedback) prune(i int) {
	if s := &f.subs[i]; len(s.patterns) == 0 && s.listens.count() == 0 {
		f.subs = slices.Delete(f.subs, i, i+1)
	}
}

// left forgets a client whose connection has ended.
func (f *feedback) left(client netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.subs = slices.DeleteFunc(f.subs, func(s subscriber) bool { return s.to == client })
	f.pulls = slices.DeleteFunc(f.pulls, func(p pull) bool { return p.to == client })
}

func (p Pattern) equal(q Pattern) bool { return bytes.Equal(p.text, q.text) }

// unsubscribe removes one pattern of a client, or all when pattern is nil.
func (f *feedback) unsubscribe(to netip.AddrPort, pattern []byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.indexOf(to)
	if i < 0 {
		return
	}
	s := &f.subs[i]
	to = s.to
	gone := func(p Pattern) bool { return pattern == nil || bytes.Equal(p.text, pattern) }
	s.patterns = slices.DeleteFunc(slices.Clone(s.patterns), gone)
	f.prune(i)
	f.pulls = slices.DeleteFunc(f.pulls, func(p pull) bool { return p.to == to && p.under && gone(p.pattern) })
}

// indexOf finds a client by the address where it is told or, failing that, by
// the one whence it subscribed.
func (f *feedback) indexOf(client netip.AddrPort) int {
	i := slices.IndexFunc(f.subs, func(s subscriber) bool { return s.to == client })
	if i < 0 {
		i = slices.IndexFunc(f.subs, func(s subscriber) bool { return s.source == client })
	}
	return i
}

// resend asks for all values that a client is subscribed to.
func (f *feedback) resend(client netip.AddrPort) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := f.indexOf(client)
	if i < 0 {
		return errors.New("not subscribed; send /subscribe first, from the same port or naming it")
	}
	for _, p := range f.subs[i].patterns {
		if err := f.addPull(pull{to: f.subs[i].to, pattern: p, under: true}); err != nil {
			return err
		}
	}
	return nil
}

// pull asks for the values of all readable nodes that match.
func (f *feedback) pull(to netip.AddrPort, p Pattern, under bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	// When too many wait, the question goes unanswered; UDP promises no more.
	_ = f.addPull(pull{to: to, pattern: p, under: under})
}

// addPull queues a question, or begins one anew that is queued already.
func (f *feedback) addPull(q pull) error {
	f.pulled++
	q.number = f.pulled
	same := func(p pull) bool { return p.to == q.to && p.under == q.under && p.pattern.equal(q.pattern) }
	if i := slices.IndexFunc(f.pulls, same); i >= 0 {
		f.pulls[i] = q
	} else {
		if len(f.pulls) >= maxPulls {
			return errors.New("too many questions wait for their answers; ask again later")
		}
		f.pulls = append(f.pulls, q)
	}
	f.wake()
	return nil
}

// expire removes subscribers that were not renewed. The lock is held.
func (f *feedback) expire(now time.Time) {
	f.subs = slices.DeleteFunc(f.subs, func(s subscriber) bool {
		lapsed := !s.terms.lasting && now.After(s.expires)
		if lapsed {
			f.lose(lost{subscriber: s})
		}
		return lapsed
	})
}

// lose notes a client that is gone. The lock is held.
func (f *feedback) lose(l lost) {
	if f.gone != nil {
		f.lost = append(f.lost, l)
		f.wake()
	}
}

// refused takes over that no program was there to take what was sent to an
// address.
func (f *feedback) refused(to netip.AddrPort, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.subs, func(s subscriber) bool { return s.to == to })
	if i < 0 {
		return
	}
	s := &f.subs[i]
	if sent := s.sent.Swap(0); sent != 0 && now.Sub(time.Unix(0, sent)) >= listened {
		f.lose(lost{*s, true})
	}
}

// tellLost tells of the clients that are gone, and not back meanwhile. Who is a
// client of two subscriptions is there as long as one is.
func (f *feedback) tellLost() {
	f.mu.Lock()
	all, subs := f.lost, slices.Clone(f.subs)
	f.lost = nil
	f.mu.Unlock()
	if len(all) == 0 {
		return
	}
	gone := make([]subscriber, len(all))
	for i, l := range all {
		gone[i] = l.subscriber
		if l.refused { // unless it was renewed since
			subs = slices.DeleteFunc(subs, func(s subscriber) bool { return s.to == l.to && s.expires.Equal(l.expires) })
		}
	}
	f.gone(func(client netip.AddrPort) bool {
		of := func(list []subscriber) bool {
			return slices.ContainsFunc(list, func(s subscriber) bool { return f.isOf(&s, client, list) })
		}
		return of(gone) && !of(subs)
	})
}

func (f *feedback) clients(now time.Time) []Client {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	list := make([]Client, 0, len(f.subs))
	for _, s := range f.subs {
		c := Client{To: s.to, Static: s.terms.static, Resend: s.terms.resend, Listens: s.listens.count()}
		if !s.terms.lasting {
			c.Expires = s.expires
		}
		for _, p := range s.patterns {
			c.Patterns = append(c.Patterns, p.String())
		}
		list = append(list, c)
	}
	return list
}

// audience returns who wants to be told of an address.
func (f *feedback) audience(address string, now time.Time) (to []netip.AddrPort) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	for i := range f.subs {
		if f.subs[i].wants(address) {
			to = append(to, f.subs[i].to)
		}
	}
	return to
}

// notify records a value to be sent. It allocates only for an address that it
// sees for the first time.
func (f *feedback) notify(address string, except netip.AddrPort, args []Arg) {
	n := f.names.load().byAddress[address]
	if n == nil || !n.readable() {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.subs) == 0 {
		return
	}
	c := f.enqueue(n.Address)
	c.except = except
	var err error
	if c.message, err = AppendMessage(c.message[:0], n.Address, args...); err != nil {
		c.message = c.message[:0] // read it by Get instead
	}
}

// enqueue returns the change of an address, in the queue. The lock is held.
func (f *feedback) enqueue(address string) *change {
	c := f.changes[address]
	if c == nil {
		c = &change{address: address}
		f.changes[address] = c
	}
	if !c.queued {
		c.queued = true
		f.queue = append(f.queue, c)
		f.wake()
	}
	return c
}

// replaced forgets the addresses that are gone and queues those that are new.
func (f *feedback) replaced(old, now *tree) {
	f.mu.Lock()
	defer f.mu.Unlock()
	gone := func(address string) bool { n := now.byAddress[address]; return n == nil || !n.readable() }
	f.queue = slices.DeleteFunc(f.queue, func(c *change) bool { return gone(c.address) })
	for address := range f.changes {
		if gone(address) {
			delete(f.changes, address)
		}
	}
	if len(f.subs) == 0 {
		return
	}
	for i := len(f.subs) - 1; i >= 0; i-- {
		if l := f.subs[i].listens; l != nil {
			l.mu.Lock()
			for address := range l.to {
				if gone(address) {
					delete(l.to, address)
				}
			}
			l.mu.Unlock()
			f.prune(i)
		}
	}
	for i := range now.nodes {
		n := &now.nodes[i]
		if before := old.byAddress[n.Address]; n.readable() && (before == nil || !before.readable() || before.Tags != n.Tags) {
			c := f.enqueue(n.Address)
			c.except, c.message = netip.AddrPort{}, c.message[:0]
		}
	}
}

// run sends what is queued, at most once a flushInterval, until close.
func (f *feedback) run(send func(netip.AddrPort, []byte) error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	again := time.NewTimer(time.Hour)
	defer again.Stop()
	for {
		select {
		case <-f.stop:
			return
		case <-pause.C:
		}
		if wait, any := f.repeat(time.Now()); any {
			again.Reset(wait)
		} else {
			again.Stop()
		}
		f.tellLost()
		select {
		case <-f.stop:
			return
		case <-again.C:
			pause.Reset(0)
			continue
		case <-f.wakeup:
		}
		pause.Reset(flushInterval)
		if f.flushSafely(send) {
			f.wake()
		}
	}
}

// repeat asks for everything again for those who want it and whose time has
// come, and returns how long it is until the next one's, or until somebody's
// subscription ends, if there is any. Who has not yet got all of the last time
// waits for that first.
func (f *feedback) repeat(now time.Time) (wait time.Duration, any bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.expire(now)
	for i := range f.subs {
		s := &f.subs[i]
		if w := s.expires.Sub(now) + time.Millisecond; !s.terms.lasting && (!any || w < wait) {
			wait, any = w, true
		}
		if !s.terms.resend {
			continue
		}
		if now.Sub(s.resent) >= f.every {
			s.resent = now
			if !slices.ContainsFunc(f.pulls, func(p pull) bool { return p.to == s.to && p.under }) {
				for _, p := range s.patterns {
					_ = f.addPull(pull{to: s.to, pattern: p, under: true}) // when too many wait, the next time will do
				}
			}
		}
		if w := f.every - now.Sub(s.resent); !any || w < wait {
			wait, any = w, true
		}
	}
	return wait, any
}

// flushSafely is flush, and survives a Get that panics as the server survives
// a Set that does.
func (f *feedback) flushSafely(send func(netip.AddrPort, []byte) error) (more bool) {
	defer func() {
		if r := recover(); r != nil {
			f.bundle, more = f.bundle[:0], false
			if ok, n := f.panicLog.allow(time.Now()); ok {
				f.log.Error("osc: reading a value panicked; feedback goes on", "panic", r, "suppressed", n, "stack", string(debug.Stack()))
			}
		}
	}()
	return f.flush(time.Now(), send)
}

// flush sends one portion and reports whether there is more. Node.Get is
// called without the lock, as it may wait for one that a caller of notify
// holds.
func (f *feedback) flush(now time.Time, send func(netip.AddrPort, []byte) error) (more bool) {
	f.out, f.pieces, f.told, f.asked = f.out[:0], f.pieces[:0], f.told[:0], f.asked[:0]
	f.mu.Lock()
	f.expire(now)
	f.told = append(f.told, f.subs...)
	n := min(len(f.queue), maxChanges)
	for _, c := range f.queue[:n] {
		c.queued = false
		start := len(f.out)
		f.out = append(f.out, c.message...)
		f.pieces = append(f.pieces, piece{address: c.address, except: c.except, start: start, end: len(f.out), read: len(c.message) == 0})
	}
	f.queue = slices.Delete(f.queue, 0, n)
	// One question for each client at a time.
	f.pulling = f.pulling[:0]
	for _, p := range f.pulls {
		if !slices.Contains(f.pulling, p.to) {
			f.pulling = append(f.pulling, p.to)
			f.asked = append(f.asked, p)
		}
	}
	f.mu.Unlock()

	t := f.names.load()
	for i := range f.pieces {
		if p := &f.pieces[i]; p.read {
			p.start, p.end = f.read(t.byAddress[p.address])
		}
	}
	for i := range f.told {
		s := &f.told[i]
		for _, p := range f.pieces {
			if p.end > p.start && !f.spoke(s, p.except) && s.wants(p.address) {
				s.sends(now)
				f.send(s.to, f.out[p.start:p.end], send)
			}
		}
		f.sendBundle(s.to, send)
	}
	for _, p := range f.asked {
		var s *subscriber
		if i := slices.IndexFunc(f.told, func(s subscriber) bool { return s.to == p.to }); i >= 0 {
			s = &f.told[i]
		}
		f.answer(t, p, func(to netip.AddrPort, packet []byte) error {
			s.sends(now)
			return send(to, packet)
		})
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.queue) > 0 || len(f.pulls) > 0
}

// spoke reports whether a subscriber is the client that caused a change.
func (f *feedback) spoke(s *subscriber, client netip.AddrPort) bool {
	return f.isOf(s, client, f.told)
}

// isOf reports whether a subscriber, of all those, is a client. One that is
// configured is the device that it is on, unless another program there has
// subscribed itself: a tablet sends from another port than it listens on. On
// this machine, where many programs run, only the port counts.
func (f *feedback) isOf(s *subscriber, client netip.AddrPort, all []subscriber) bool {
	switch {
	case !client.IsValid():
		return false
	case client == s.to || client == s.source:
		return true
	case isConnected(client) || client.Addr() != s.to.Addr():
		return false
	case f.replyPort != 0 && s.to.Port() == f.replyPort:
		return true
	case !s.terms.static || client.Addr().IsLoopback():
		return false
	}
	return !slices.ContainsFunc(all, func(o subscriber) bool { return client == o.to || client == o.source })
}

// read appends the present value of n to out and returns where it lies.
func (f *feedback) read(n *Node) (start, end int) {
	start = len(f.out)
	if n == nil || !n.readable() {
		return start, start
	}
	f.args = n.Get(f.args[:0])
	// What cannot be encoded leaves out as it was, and is not sent.
	f.out, _ = AppendMessage(f.out, n.Address, f.args...)
	return start, len(f.out)
}

// answer sends one portion of a pull and notes how far it came.
func (f *feedback) answer(t *tree, q pull, send func(netip.AddrPort, []byte) error) {
	f.out = f.out[:0]
	sent, i := 0, t.after(q.after)
	after := q.after
	for ; i < len(t.nodes) && sent < maxPulled; i++ {
		n := &t.nodes[i]
		after = n.Address
		if !n.readable() || !q.pattern.match(n.Address, q.under) {
			continue
		}
		if start, end := f.read(n); end > start {
			f.send(q.to, f.out[start:end], send)
			sent++
		}
	}
	f.sendBundle(q.to, send)

	f.mu.Lock()
	defer f.mu.Unlock()
	for j := range f.pulls {
		p := &f.pulls[j]
		if p.number != q.number {
			continue // another, or this one begun anew meanwhile
		}
		if i == len(t.nodes) {
			f.pulls = slices.Delete(f.pulls, j, j+1)
		} else {
			p.after = after
		}
		return
	}
}

// send sends one message, or collects it in a bundle. Faults are counted and
// logged by the server.
func (f *feedback) send(to netip.AddrPort, message []byte, send func(netip.AddrPort, []byte) error) {
	if !f.bundles {
		_ = send(to, message)
		return
	}
	if len(f.bundle)+4+len(message) > maxBundle {
		f.sendBundle(to, send)
	}
	if len(f.bundle) == 0 {
		f.bundle = AppendBundle(f.bundle, Immediately)
	}
	f.bundle = AppendElement(f.bundle, message)
}

// sendBundle sends what send has collected.
func (f *feedback) sendBundle(to netip.AddrPort, send func(netip.AddrPort, []byte) error) {
	if len(f.bundle) > 0 {
		_ = send(to, f.bundle)
		f.bundle = f.bundle[:0]
	}
}
