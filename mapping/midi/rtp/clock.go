package rtp

import "time"

// tick is the unit of the session's clocks and of RTP timestamps.
const tick = 100 * time.Microsecond

const (
	// samples are how many exchanges are remembered.
	samples = 16
	// maxRate is how fast two crystals may run apart, and rateSpan the time
	// over which that can be told from late packets.
	maxRate  = 200e-6
	rateSpan = 25 * time.Second
	// slew bounds how far time is moved with an exchange, so that it does not
	// jump inside a performance; what is further off than jump jumps.
	slew = 300 * time.Microsecond
	jump = 5 * time.Millisecond
	// maxTrip is the longest round trip that says anything.
	maxTrip = 3 * time.Second
	// maxAhead is how far ahead a peer may stamp what it sends; what lies
	// further ahead comes from a clock that is not the one it told us of.
	maxAhead = time.Second
)

// clock knows a peer's clock from exchanges of the times on both. Times here
// are local ones since the host began; a peer's are ticks modulo 2³².
type clock struct {
	base    uint32 // the peer's ticks less ours at the first exchange
	samples [samples]sample
	n       int
	synced  bool
	since   time.Duration // the last exchange
	offset  float64       // ns that the peer was ahead of base then
	rate    float64       // and how that grows
	trip    time.Duration // the shortest round trip remembered
}

type sample struct {
	at     time.Duration
	offset float64 // ns
	trip   time.Duration
}

// ticks counts the ticks of a local time.
func ticks(t time.Duration) uint32 { return uint32(uint64(t / tick)) }

// exchange takes one: at the local time at the peer's clock showed peer, give
// or take half of trip.
func (c *clock) exchange(at time.Duration, peer uint32, trip time.Duration) {
	if trip < 0 || trip > maxTrip {
		return
	}
	if !c.synced {
		c.base = peer - ticks(at)
	}
	ahead := time.Duration(int32(peer-ticks(at)-c.base)) * tick
	// Clocks show whole ticks: on the average half a tick less than it is.
	c.samples[c.n%samples] = sample{at: at, offset: float64(ahead - at%tick + tick/2), trip: trip}
	c.n++
	before := c.ahead(at)
	offset, rate := c.fit(at)
	if d := offset - before; c.synced && d < float64(jump) && d > -float64(jump) {
		offset = before + min(max(d, -float64(slew)), float64(slew))
	}
	c.since, c.offset, c.rate, c.synced = at, offset, rate, true
}

// ahead returns by how many ns the peer's clock is ahead of base.
func (c *clock) ahead(at time.Duration) float64 { return c.offset + c.rate*float64(at-c.since) }

// fit lays a line through the exchanges remembered: the offset now, and its
// growth. A longer round trip than the shortest was held up on one way or the
// other, none knows which, and counts the less for it.
func (c *clock) fit(now time.Duration) (offset, rate float64) {
	all := c.samples[:min(c.n, samples)]
	first, last := now, time.Duration(0)
	c.trip = all[0].trip
	for _, e := range all {
		c.trip, first, last = min(c.trip, e.trip), min(first, e.at), max(last, e.at)
	}
	var w, wx, wy, wxx, wxy float64
	for _, e := range all {
		doubt := float64(e.trip-c.trip+tick/2) / float64(tick)
		k := 1 / (doubt * doubt)
		x, y := float64(e.at-now), e.offset
		w, wx, wy, wxx, wxy = w+k, wx+k*x, wy+k*y, wxx+k*x*x, wxy+k*x*y
	}
	if d := w*wxx - wx*wx; last-first >= rateSpan && d > 0 {
		rate = min(max((w*wxy-wx*wy)/d, -maxRate), maxRate)
	}
	return (wy - rate*wx) / w, rate
}

// local returns the local time of a peer's timestamp that came at arrival. It
// is false if that is not known, or impossible.
func (c *clock) local(timestamp uint32, arrival time.Duration) (time.Duration, bool) {
	if !c.synced {
		return 0, false
	}
	n := ticks(arrival)
	d := time.Duration(int32(timestamp-n-c.base))*tick - time.Duration(c.ahead(arrival))
	at := arrival - arrival%tick + d
	return at, at-arrival < maxAhead
}
