package rtp

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// A peer's clock is known to a tick though packets are late by chance and the
// crystals drift apart; and time does not jump.
func TestClock(t *testing.T) {
	for _, ppm := range []float64{0, 40, -40} {
		r := rand.New(rand.NewPCG(1, 2))
		var c clock
		base := uint32(0xffff0000) // it wraps soon
		peer := func(at time.Duration) (uint32, time.Duration) {
			ns := float64(at) * (1 + ppm*1e-6)
			return base + uint32(uint64(ns/float64(tick))), time.Duration(ns)
		}
		delay := func() time.Duration {
			d := 300 * time.Microsecond
			if r.IntN(3) == 0 {
				d += time.Duration(r.ExpFloat64() * float64(4*time.Millisecond))
			}
			return d
		}
		var off []time.Duration
		var last time.Duration
		at := time.Hour
		for i := range 200 {
			there, back := delay(), delay()
			ticks, _ := peer(at + there)
			c.exchange(at+(there+back)/2, ticks, there+back)
			at += 10 * time.Second
			if i < 5 {
				at -= 9700 * time.Millisecond
			}
			stamp, _ := peer(at)
			got, ok := c.local(stamp, at+2*time.Millisecond)
			if !ok {
				t.Fatalf("exchange %d: unknown", i)
			}
			d := got - at
			off = append(off, max(d, -d))
			if i > 5 && (d-last > 600*time.Microsecond || last-d > 600*time.Microsecond) {
				t.Errorf("drift %v ppm, exchange %d: time jumped by %v", ppm, i, d-last)
			}
			last = d
		}
		slices.Sort(off)
		t.Logf("drift %+v ppm: off by %v at the median, %v at p99, %v at most", ppm, off[len(off)/2], off[len(off)*99/100], off[len(off)-1])
		if p := off[len(off)*99/100]; p > 2*time.Millisecond {
			t.Errorf("drift %v ppm: off by %v", ppm, p)
		}
	}
	var c clock
	if _, ok := c.local(5, time.Hour); ok {
		t.Error("known without an exchange")
	}
	c.exchange(time.Hour, 1000, -time.Second)
	c.exchange(time.Hour, 1000, time.Minute)
	if c.synced {
		t.Error("an impossible exchange is taken")
	}
	c.exchange(time.Hour, 1000, time.Millisecond)
	if at, ok := c.local(1010, time.Hour+time.Millisecond); !ok || at < time.Hour || at > time.Hour+2*time.Millisecond {
		t.Errorf("a tick later is at %v, %v", at-time.Hour, ok)
	}
	if _, ok := c.local(1000+50000, time.Hour); ok {
		t.Error("five seconds ahead are believed")
	}
}
