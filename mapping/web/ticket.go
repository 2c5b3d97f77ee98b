package web

import (
	"crypto/subtle"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"
)

const (
	// ticketLife is how long a ticket opens the page: a browser that has to start
	// first takes its seconds.
	ticketLife = time.Minute
	maxTickets = 8
)

// ticket opens the page once.
type ticket struct {
	secret string
	until  time.Time
}

// Ticket is an address that opens the page once, within a minute, and only for
// a program of this machine's user. It is what may stand in another program's
// command line, which all users of a machine can read.
func (s *Server) Ticket() string {
	t := ticket{NewToken(), s.now().Add(ticketLife)}
	s.mu.Lock()
	if len(s.tickets) == maxTickets {
		s.tickets = slices.Delete(s.tickets, 0, 1)
	}
	s.tickets = append(s.tickets, t)
	s.mu.Unlock()
	hosts := s.hosts()
	// The loopback, where there is one, takes no network.
	return s.address(hosts[len(hosts)-1]) + "/?ticket=" + url.QueryEscape(t.secret)
}

// admit tells whether a ticket opens the page, and tears it up.
func (s *Server) admit(secret string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	s.tickets = slices.DeleteFunc(s.tickets, func(t ticket) bool { return !now.Before(t.until) })
	n := len(s.tickets)
	s.tickets = slices.DeleteFunc(s.tickets, func(t ticket) bool {
		return subtle.ConstantTimeCompare([]byte(secret), []byte(t.secret)) == 1
	})
	return len(s.tickets) < n
}

// owner is whose the other end of a connection is.
type owner int

const (
	stranger owner = iota // another user of the machine, or another machine
	unknown               // the system does not tell
	us                    // who runs the instrument, or the system's administrator
)

// neighbourly tells whether a request may come from a program of this machine's
// user. Where the system does not tell who that is the machine has to do.
func neighbourly(r *http.Request, remote netip.AddrPort) bool {
	local, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return false
	}
	at := local.AddrPort()
	switch ownerOf(remote, at) {
	case us:
		return true
	case unknown:
		return remote.Addr().Unmap().IsLoopback() || remote.Addr().Unmap() == at.Addr().Unmap()
	}
	return false
}
