package mapping

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// sourceClock is a nasty clock of a source: what it shows, and how late what
// it stamped arrives, at a true time in seconds.
type sourceClock struct {
	show  func(t float64) float64
	delay func(r *rand.Rand, t float64) float64
}

func exact(t float64) float64             { return t }
func prompt(*rand.Rand, float64) float64  { return 0.0002 }
func ppm(n float64) func(float64) float64 { return func(t float64) float64 { return t * (1 + n*1e-6) } }
func after(f func(float64) float64, at, step float64) func(float64) float64 {
	return func(t float64) float64 {
		if t >= at {
			return f(t) + step
		}
		return f(t)
	}
}

// uniform is a delay anywhere in 20 ms: ±10 ms about the middle.
func uniform(r *rand.Rand, _ float64) float64 { return 0.02 * r.Float64() }

// network is a delay that is mostly short and sometimes long, as queues make them.
func network(r *rand.Rand, _ float64) float64 { return 0.001 + 0.01*r.ExpFloat64() }

// stall holds back all that happens in a second, and lets it out at its end.
func stall(at float64, d func(*rand.Rand, float64) float64) func(*rand.Rand, float64) float64 {
	return func(r *rand.Rand, t float64) float64 {
		if t >= at && t < at+1 {
			return at + 1 - t + d(r, t)
		}
		return d(r, t)
	}
}

// TestEstimatorOnNastyClocks judges what musicians hear: whether frames lie
// apart as the events did, when that begins, and when it is so again.
func TestEstimatorOnNastyClocks(t *testing.T) {
	const rate, perSecond, seconds, mishap = 48000.0, 50, 120.0, 60.0
	gap := func(t float64) bool { return t >= mishap && t < mishap+1 }
	for _, c := range []struct {
		name string
		sourceClock
		skip    func(t float64) bool // no events at that time
		jitter  float64              // frames between neighbours, at most, once it is locked
		stray   float64              // ms from where it settled, at most, once it is locked
		lock    float64              // s until it is within a millisecond for good, at most
		recover float64              // the same after the mishap; 0 when there is none to hear
		resets  uint64
	}{
		{name: "good", sourceClock: sourceClock{exact, prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1},
		{name: "+200 ppm", sourceClock: sourceClock{ppm(200), prompt}, jitter: 0.6, stray: 0.6, lock: 0.1},
		{name: "-200 ppm", sourceClock: sourceClock{ppm(-200), prompt}, jitter: 0.6, stray: 0.6, lock: 0.1},
		{name: "uniform jitter", sourceClock: sourceClock{exact, uniform}, jitter: 2, stray: 1.5, lock: 20},
		{name: "network jitter", sourceClock: sourceClock{exact, network}, jitter: 2, stray: 1.5, lock: 20},
		{name: "+200 ppm, uniform jitter", sourceClock: sourceClock{ppm(200), uniform}, jitter: 3, stray: 2, lock: 20},
		{name: "-200 ppm, network jitter", sourceClock: sourceClock{ppm(-200), network}, jitter: 3, stray: 2, lock: 20},
		{name: "a gap of a second", sourceClock: sourceClock{exact, prompt}, skip: gap, jitter: 1e-4, stray: 0.001, lock: 0.1},
		{name: "a stall of a second", sourceClock: sourceClock{exact, stall(mishap, prompt)}, jitter: 1e-4, stray: 0.001, lock: 0.1},
		{name: "a stall, 200 ppm, network jitter", sourceClock: sourceClock{ppm(200), stall(mishap, network)}, jitter: 3, stray: 2, lock: 20},
		{name: "set back a second", sourceClock: sourceClock{after(exact, mishap, -1), prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 0.1, resets: 1},
		{name: "set forward a second", sourceClock: sourceClock{after(exact, mishap, 1), prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 0.1, resets: 1},
		{name: "set back 30 ms", sourceClock: sourceClock{after(exact, mishap, -0.03), prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 1.2, resets: 1},
		{name: "set forward 30 ms", sourceClock: sourceClock{after(exact, mishap, 0.03), prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 0.1, resets: 1},
		{name: "set back 12 ms", sourceClock: sourceClock{after(exact, mishap, -0.012), prompt}, jitter: 0.5, stray: 0.6, lock: 0.1, recover: 15},
		{name: "set back a second, -200 ppm, network jitter", sourceClock: sourceClock{after(ppm(-200), mishap, -1), network}, jitter: 3, stray: 2, lock: 20, recover: 30, resets: 1},
		{name: "stands for two seconds, then goes on", sourceClock: sourceClock{func(t float64) float64 {
			switch {
			case t < mishap:
				return t
			case t < mishap+2:
				return mishap
			}
			return t - 2
		}, prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 2.2, resets: 1},
		{name: "stands for two seconds, then is right again", sourceClock: sourceClock{func(t float64) float64 {
			if t >= mishap && t < mishap+2 {
				return mishap
			}
			return t
		}, prompt}, jitter: 1e-4, stray: 0.001, lock: 0.1, recover: 2.2, resets: 0},
		{name: "ticks of ten milliseconds", sourceClock: sourceClock{func(t float64) float64 { return math.Floor(t*100) / 100 }, prompt}, jitter: 480, stray: 10.5, lock: 60},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(8) {
				r := rand.New(rand.NewPCG(seed, 2))
				e := NewEstimator(rate)
				start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				type heard struct{ at, frame, wrong float64 }
				var all []heard
				latest := 0.0
				for i := range int(seconds * perSecond) {
					// Irregular events, so that nothing falls into step.
					at := (float64(i) + 0.5*r.Float64()) / perSecond
					if c.skip != nil && c.skip(at) {
						continue
					}
					// One stream: nothing overtakes.
					latest = max(latest, at+c.delay(r, at))
					stamp := start.Add(time.Duration(c.show(at) * 1e9))
					f := e.Frame(stamp, latest*rate+1e6)
					all = append(all, heard{at, f, f - at*rate - 1e6})
				}
				// Where it settles is a constant, and no matter.
				settled := 0.0
				n := 0
				for _, h := range all {
					if h.at > mishap-15 && h.at < mishap {
						settled, n = settled+h.wrong, n+1
					}
				}
				settled /= float64(n)
				lock, back, jitter, stray := 0.0, 0.0, 0.0, 0.0
				for i, h := range all {
					off := math.Abs(h.wrong-settled) / rate
					mishapped := c.recover > 0 && h.at >= mishap && h.at < mishap+c.recover
					if off > 0.001 && h.at < mishap {
						lock = h.at
					}
					if off > 0.001 && h.at >= mishap {
						back = h.at - mishap
					}
					if i > 0 && h.at > c.lock && !mishapped {
						stray = max(stray, 1000*off)
						jitter = max(jitter, math.Abs(h.wrong-all[i-1].wrong))
					}
				}
				s := e.Stats()
				t.Logf("locked after %.2f s, between neighbours %.4f frames, from where it settled %.3f ms, well again after %.2f s, %d resets, drift %.1f ppm, jitter %.2f ms",
					lock, jitter, stray, back, s.Resets, 1e6*s.Drift, 1000*s.Jitter)
				if lock > c.lock {
					t.Errorf("locked after %.2f s, want %g", lock, c.lock)
				}
				if jitter > c.jitter {
					t.Errorf("neighbours stray by %.3f frames, want %g", jitter, c.jitter)
				}
				if stray > c.stray {
					t.Errorf("it strays by %.3f ms, want %g", stray, c.stray)
				}
				if c.recover > 0 && back > c.recover && c.stray < 10 {
					t.Errorf("well again after %.2f s, want %g", back, c.recover)
				}
				if s.Resets != c.resets {
					t.Errorf("%d resets, want %d", s.Resets, c.resets)
				}
				for i := 1; i < len(all); i++ {
					if c.show(all[i].at) >= c.show(all[i-1].at) && all[i].frame < all[i-1].frame && s.Resets == 0 {
						t.Fatalf("event %d has frame %.2f, after %.2f: the order is lost", i, all[i].frame, all[i-1].frame)
					}
				}
			}
		})
	}
}

// TestEstimatorOfOneStamp: what happened at one time is heard at one time.
func TestEstimatorOfOneStamp(t *testing.T) {
	e := NewEstimator(48000)
	start := time.Unix(1000, 0)
	for i := range 200 {
		at := float64(i) * 0.1
		var frames []float64
		for k := range 5 {
			frames = append(frames, e.Frame(start.Add(time.Duration(at*1e9)), (at+0.001*float64(k))*48000))
		}
		for _, f := range frames[1:] {
			if f != frames[0] && i > 0 {
				t.Fatalf("at %.1f s five events of one stamp have frames %v", at, frames)
			}
		}
	}
}

// TestEstimatorAllocatesNothing: it is asked for every event.
func TestEstimatorAllocatesNothing(t *testing.T) {
	e := NewEstimator(48000)
	at := 0.0
	if n := testing.AllocsPerRun(1000, func() {
		at += 0.13
		e.Frame(time.Unix(1, int64(at*1e9)), at*48000)
	}); n != 0 {
		t.Errorf("%g allocations an event", n)
	}
}

func BenchmarkEstimator(b *testing.B) {
	e := NewEstimator(48000)
	at := 0.0
	for b.Loop() {
		at += 0.002
		e.Frame(time.Unix(1, int64(at*1e9)), at*48000)
	}
}

// TestEstimatorOfRareEvents: a cluster at rest says something now and then, and
// the clock that was learnt while it was busy holds from one to the next.
func TestEstimatorOfRareEvents(t *testing.T) {
	const rate = 48000.0
	for _, c := range []struct {
		name  string
		every float64 // s between events, once the busy time is over
		sourceClock
		stray float64 // ms before or after where they belong, at most
	}{
		{"every 3 s", 3, sourceClock{exact, network}, 12},
		{"every 10 s", 10, sourceClock{exact, network}, 20},
		{"every 10 s, +50 ppm", 10, sourceClock{ppm(50), network}, 20},
		{"every 10 s, uniform jitter", 10, sourceClock{exact, uniform}, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := range uint64(8) {
				r := rand.New(rand.NewPCG(seed, 3))
				e := NewEstimator(rate)
				start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
				early, late, latest := 0.0, 0.0, 0.0
				for at := 0.0; at < 1200; {
					latest = max(latest, at+c.delay(r, at)) // one stream: nothing overtakes
					f := e.Frame(start.Add(time.Duration(c.show(at)*1e9)), latest*rate)
					if wrong := f/rate - at; at > 20 {
						early, late = min(early, wrong), max(late, wrong)
					}
					if at < 20 {
						at += 0.02 * (0.5 + r.Float64())
					} else {
						at += c.every * (0.5 + r.Float64())
					}
				}
				t.Logf("seed %d: %.2f ms early, %.2f ms late, %d resets", seed, -1000*early, 1000*late, e.Stats().Resets)
				if -1000*early > c.stray || 1000*late > c.stray || e.Stats().Resets > 0 {
					t.Errorf("events are up to %.2f ms early and %.2f ms late, want %g; %d resets, want 0", -1000*early, 1000*late, c.stray, e.Stats().Resets)
				}
			}
		})
	}
}
