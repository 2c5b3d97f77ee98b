package osc

import (
	"fmt"
	"hash/maphash"
	"net/netip"
	"time"
)

const (
	// DefaultRate is how many messages a second one client may send. A hand on
	// a tablet makes some hundred; ten fingers on one make less than this.
	DefaultRate = 2000
	// burstSeconds is how long a client may send at once what it saved: with
	// DefaultRate 4000 messages, enough for a scene that is sent whole.
	burstSeconds = 2
)

// access says who may play.
type access []netip.Prefix

// check returns an error if others than this machine could reach a and nobody
// said who may.
func (l access) check(a netip.Addr, what string) error {
	if a.Unmap().IsLoopback() || len(l) > 0 {
		return nil
	}
	return fmt.Errorf("osc: %s on %s would be open to everyone on the network, and OSC knows no passwords; expected --allow with the addresses that may play, for example --allow 192.168.1.0/24", what, a)
}

// allows reports whether a client at a may play. This machine always may.
func (l access) allows(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	if a.IsLoopback() {
		return true
	}
	for _, p := range l {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// limiter is a token bucket for each client, of which there are a fixed
// number: where there are more clients, whoever was silent longest is
// forgotten. A machine on the network is one client whatever ports it sends
// from; on this machine, where many programs share one address, each port is.
type limiter struct {
	rate    float64 // tokens a second; not positive: no limit
	burst   float64
	seed    maphash.Seed
	buckets [256]bucket
	// The latest client is mostly the next one.
	last       netip.AddrPort
	lastBucket *bucket
}

// limiterWays is how many buckets a client may have one of.
const limiterWays = 8

type bucket struct {
	key     netip.AddrPort
	tokens  float64
	at      time.Time // zero: not in use
	told    time.Time // when the client was told last
	dropped int       // since then
}

func newLimiter(rate, burst float64) limiter {
	return limiter{rate: rate, burst: burst, seed: maphash.MakeSeed()}
}

func (l *limiter) bucket(client netip.AddrPort) *bucket {
	if client == l.last && l.lastBucket != nil {
		return l.lastBucket
	}
	key := Peer(client)
	if !key.Addr().IsLoopback() {
		key = netip.AddrPortFrom(key.Addr(), 0)
	}
	first := maphash.Comparable(l.seed, key) % uint64(len(l.buckets)/limiterWays) * limiterWays
	set := l.buckets[first : first+limiterWays]
	b := &set[0]
	for i := range set {
		if set[i].key == key {
			b = &set[i]
			break
		}
		if set[i].at.Before(b.at) {
			b = &set[i]
		}
	}
	if b.key != key {
		*b = bucket{key: key}
	}
	l.last, l.lastBucket = client, b
	return b
}

// allow takes n tokens of a client and reports whether it had them. One who
// asks for more than fits into a bucket gets it when the bucket is full.
func (l *limiter) allow(client netip.AddrPort, n int, now time.Time) bool {
	if l.rate <= 0 {
		return true
	}
	b := l.bucket(client)
	if b.at.IsZero() {
		b.tokens = l.burst
	} else if d := now.Sub(b.at); d > 0 {
		b.tokens = min(l.burst, b.tokens+d.Seconds()*l.rate)
	}
	b.at = now
	if b.tokens < min(float64(n), l.burst) {
		return false
	}
	b.tokens -= float64(n)
	return true
}

// drop counts what a client lost, and returns how much that is when it is time
// to tell it, else 0.
func (l *limiter) drop(client netip.AddrPort, n int, now time.Time) (tell int) {
	b := l.bucket(client)
	b.dropped += n
	if !b.told.IsZero() && now.Sub(b.told) < logInterval {
		return 0
	}
	tell, b.dropped, b.told = b.dropped, 0, now
	return tell
}
