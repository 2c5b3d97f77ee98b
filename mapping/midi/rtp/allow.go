package rtp

import (
	"fmt"
	"net/netip"
	"path"
	"strings"
	"time"
)

// allowance says which peers may invite themselves.
type allowance struct {
	prefixes []netip.Prefix
	names    []string
}

// parseAllow reads a list of addresses (10.0.0.7), networks (10.0.0.0/24) and
// patterns of session names ("iPad*").
func parseAllow(list []string) (a allowance, err error) {
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			a.prefixes = append(a.prefixes, p.Masked())
			continue
		}
		if ip, err := netip.ParseAddr(s); err == nil {
			ip = ip.Unmap().WithZone("")
			a.prefixes = append(a.prefixes, netip.PrefixFrom(ip, ip.BitLen()))
			continue
		}
		if _, err := path.Match(strings.ToLower(s), ""); err != nil || s == "" {
			return a, fmt.Errorf("rtp: allow %q: expected an address, a network such as 10.0.0.0/24, or a pattern of session names", s)
		}
		a.names = append(a.names, strings.ToLower(s))
	}
	return a, nil
}

// permits tells whether a peer at an address, of a name, may come in.
func (a allowance) permits(ip netip.Addr, name string) bool {
	ip = ip.Unmap().WithZone("")
	for _, p := range a.prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	name = strings.ToLower(name)
	for _, p := range a.names {
		if ok, _ := path.Match(p, name); ok {
			return true
		}
	}
	return false
}

// bucket is a limit of a rate: it holds burst at most, and fills by rate each
// second.
type bucket struct {
	level float64
	last  time.Time
}

func (b *bucket) take(now time.Time, rate, burst float64) bool {
	if b.last.IsZero() {
		b.level = burst
	} else if d := now.Sub(b.last).Seconds(); d > 0 {
		b.level = min(b.level+d*rate, burst)
	}
	b.last = now
	if b.level < 1 {
		return false
	}
	b.level--
	return true
}

const (
	// unknownRate is how many datagrams a second are looked at from an address
	// without a session, unknownBurst how many at once; an invitation takes
	// one for each port, and one more for each try.
	unknownRate, unknownBurst = 10, 20
	// unknownAll bounds those of all such addresses together.
	unknownAll = 400
	// maxUnknown is how many such addresses are remembered.
	maxUnknown = 1024
	// peerRate bounds what one peer sends. A MIDI cable carries a thousand
	// messages a second.
	peerRate, peerBurst = 4000, 4000
)

// strangers limits what addresses without a session can make the host do.
type strangers struct {
	all bucket
	by  map[netip.Addr]*bucket
}

func (s *strangers) take(ip netip.Addr, now time.Time) bool {
	if s.by == nil || len(s.by) >= maxUnknown {
		s.by = make(map[netip.Addr]*bucket) // forged addresses; all begins anew
	}
	b := s.by[ip]
	if b == nil {
		b = &bucket{}
		s.by[ip] = b
	}
	return b.take(now, unknownRate, unknownBurst) && s.all.take(now, unknownAll, unknownAll)
}
