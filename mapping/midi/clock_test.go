package midi

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// zeroTime is where the tests' clocks begin.
var zeroTime = time.Unix(1_700_000_000, 0)

func at(s float64) time.Time { return zeroTime.Add(time.Duration(math.Round(s * 1e9))) }

func since(t time.Time) float64 { return float64(t.Sub(zeroTime)) / 1e9 }

// pulses is a clock and what becomes of its pulses on the way.
type pulses struct {
	tempo  func(beat float64) float64
	jitter func(r *rand.Rand) float64
	count  int
}

func steadyTempo(bpm float64) func(float64) float64 { return func(float64) float64 { return bpm } }

func uniform(width float64) func(*rand.Rand) float64 {
	return func(r *rand.Rand) float64 { return (2*r.Float64() - 1) * width }
}

// times returns when each pulse is meant and when it arrives.
func (p pulses) times(r *rand.Rand) (meant, arrives []float64) {
	t := 1.0
	for i := range p.count {
		meant = append(meant, t)
		a := t + p.jitter(r)
		if i > 0 {
			a = math.Max(a, arrives[i-1])
		}
		arrives = append(arrives, a)
		t += 60 / (p.tempo(float64(i)/TicksPerBeat) * TicksPerBeat)
	}
	return meant, arrives
}

func rms(x []float64) float64 {
	s := 0.0
	for _, v := range x {
		s += v * v
	}
	return math.Sqrt(s / float64(len(x)))
}

// followed is what a follower makes of the pulses of many runs.
type followed struct {
	off, step, tempo []float64 // seconds off what was meant, in all and from pulse to pulse; BPM off
}

// follow runs the pulses through followers, one a seed, and measures from
// pulse a to pulse b. late is a delay that all pulses have.
func (p pulses) follow(t *testing.T, seeds uint64, late float64, windows [][2]int) []followed {
	t.Helper()
	out := make([]followed, len(windows))
	for seed := range seeds {
		meant, arrives := p.times(rand.New(rand.NewPCG(seed, 1)))
		var f ClockFollower
		f.Start(at(0.5))
		last := 0.0
		for i := range arrives {
			now := since(f.Pulse(at(arrives[i])))
			if now < last {
				t.Fatalf("pulse %d goes back by %v", i, last-now)
			}
			for w, r := range windows {
				if i >= r[0] && i < r[1] {
					out[w].off = append(out[w].off, now-meant[i]-late)
					out[w].step = append(out[w].step, now-last-(meant[i]-meant[i-1]))
				}
				if i == r[1]-1 {
					out[w].tempo = append(out[w].tempo, f.Tempo()-p.tempo(float64(i)/TicksPerBeat))
				}
			}
			last = now
		}
		if f.Ticks() != int64(len(arrives)-1) {
			t.Errorf("%d ticks of %d", f.Ticks(), len(arrives)-1)
		}
	}
	return out
}

func largest(x []float64) float64 {
	m := 0.0
	for _, v := range x {
		m = max(m, math.Abs(v))
	}
	return m
}

// With ±3 ms of jitter, what is left after two beats is below 0.3 ms rms, and
// the tempo within 0.05 BPM once it has settled. No causal filter of a straight
// line does better than 2σ/√n after n pulses: 0.5 ms at the second beat.
func TestFollowSteady(t *testing.T) {
	const beats = 64
	windows := [][2]int{{24, 48}, {48, 96}, {96, 192}, {192, 384}, {384, 24 * beats}, {48, 24 * beats}}
	normal := func(sigma float64) func(*rand.Rand) float64 {
		return func(r *rand.Rand) float64 { return r.NormFloat64() * sigma }
	}
	t.Logf("rms of what is left in ms / from pulse to pulse in ms / tempo off in BPM rms, of 40 runs, in the beats")
	t.Logf("%-28s %20s %20s %20s %20s %20s %20s", "", "1-2", "2-4", "4-8", "8-16", "16-64", "2-64")
	for _, c := range []struct {
		name   string
		bpm    float64
		jitter func(*rand.Rand) float64
		late   float64
	}{
		{"120 BPM, ±3 ms", 120, uniform(0.003), 0},
		{"120 BPM +200 ppm, ±3 ms", 120.024, uniform(0.003), 0},
		{"120 BPM -200 ppm, ±3 ms", 119.976, uniform(0.003), 0},
		{"60 BPM, ±3 ms", 60, uniform(0.003), 0},
		{"240 BPM, ±3 ms", 240, uniform(0.003), 0},
		{"120 BPM, normal 1.7 ms", 120, normal(0.0017), 0},
		{"120 BPM, 0 to 1 ms (USB)", 120, func(r *rand.Rand) float64 { return r.Float64() * 0.001 }, 0.0005},
		{"120 BPM, none", 120, uniform(0), 0},
	} {
		got := pulses{steadyTempo(c.bpm), c.jitter, 24 * beats}.follow(t, 40, c.late, windows)
		line := fmt.Sprintf("%-28s", c.name)
		for _, g := range got {
			line += fmt.Sprintf(" %6.3f/%5.3f/%6.3f", rms(g.off)*1e3, rms(g.step)*1e3, rms(g.tempo))
		}
		t.Log(line)
		after := got[len(got)-1]
		if v := rms(after.off); v > 0.0003 {
			t.Errorf("%s: %.3f ms rms are left after two beats", c.name, v*1e3)
		}
		if v := rms(got[1].step); v > 0.0003 {
			t.Errorf("%s: %.3f ms rms from pulse to pulse after two beats", c.name, v*1e3)
		}
		limit := 0.05 * c.bpm / 120 * c.bpm / 120
		if v := rms(got[1].tempo); v > limit {
			t.Errorf("%s: the tempo is %.3f BPM rms off after four beats", c.name, v)
		}
		if v := largest(after.tempo); v > limit {
			t.Errorf("%s: the tempo is %.3f BPM off", c.name, v)
		}
	}
}

// After a jump of tempo the beat is locked again within a beat of the new
// tempo: the tempo within 1 % and the phase within 1.5 ms rms, no tick lost.
func TestFollowJump(t *testing.T) {
	const from = 16 * 24
	t.Logf("tempo off in BPM rms / phase off in ms rms, of 40 runs, so many pulses after the jump")
	t.Logf("%-18s %14s %14s %14s %14s", "", "6", "12", "24", "48")
	for _, width := range []float64{0, 0.001, 0.003} {
		for _, to := range []float64{60, 90, 100, 115, 121, 124, 130, 140, 150, 180, 240} {
			line := fmt.Sprintf("±%.0f ms, 120 to %-3.0f", width*1e3, to)
			tempo := func(b float64) float64 {
				if b < from/24 {
					return 120
				}
				return to
			}
			windows := [][2]int{{from + 5, from + 6}, {from + 11, from + 12}, {from + 23, from + 24}, {from + 47, from + 48}}
			got := pulses{tempo, uniform(width), from + 100}.follow(t, 40, 0, windows)
			for _, g := range got {
				line += fmt.Sprintf("  %6.2f/%5.2f", rms(g.tempo), rms(g.off)*1e3)
			}
			t.Log(line)
			// Jitter of ±3 ms is a third of a tick at 240.
			if hard := width/(60/to/24) > 0.25; !hard && (rms(got[2].tempo) > 0.01*to || rms(got[2].off) > 0.0015) {
				t.Errorf("%s: not locked within a beat", line)
			}
			if rms(got[3].tempo) > 0.005*to || rms(got[3].off) > 0.0012 {
				t.Errorf("%s: not locked within two beats", line)
			}
		}
	}
}

// A tempo that moves all the time is followed closely.
func TestFollowRamp(t *testing.T) {
	for _, width := range []float64{0.0005, 0.003} {
		p := pulses{func(b float64) float64 { return 100 + 30*math.Sin(b/32*2*math.Pi) }, uniform(width), 24 * 96}
		g := p.follow(t, 20, 0, [][2]int{{96, 24 * 96}})[0]
		t.Logf("100 ± 30 BPM in 32 beats, ±%.1f ms: %.2f ms rms, worst %.2f ms", width*1e3, rms(g.off)*1e3, largest(g.off)*1e3)
		if rms(g.off) > 0.0025 || largest(g.off) > 0.009 {
			t.Error("it lags")
		}
	}
}

// Outliers, pulses that are lost and pulses that come twice disturb neither
// the times nor the position.
func TestFollowFaults(t *testing.T) {
	for _, width := range []float64{0.0005, 0.003} {
		for _, fault := range []string{"outliers", "missing", "doubled", "burst", "all"} {
			var off []float64
			var ticks, jumps int
			for seed := range uint64(20) {
				r := rand.New(rand.NewPCG(seed, 7))
				meant, arrives := pulses{steadyTempo(126), uniform(width), 24 * 64}.times(r)
				var f ClockFollower
				f.Start(at(0.9))
				held := -1.0 // arrivals wait until then
				lastLost := 0
				for i := range arrives {
					a := arrives[i]
					some := func(n int) bool { return i > 72 && i < len(arrives)-24 && r.IntN(n) == 0 }
					all := fault == "all"
					if (fault == "outliers" || all) && some(40) {
						a += 0.009
					}
					if (fault == "missing" || all) && some(50) && i-lastLost > 8 && i < len(arrives)-10 {
						lastLost = i
						continue
					}
					if fault == "burst" && some(200) {
						held = a + 0.07
					}
					a = max(a, held)
					if i > 0 {
						a = max(a, since(f.base)+f.last())
					}
					out := since(f.Pulse(at(a)))
					if (fault == "doubled" || all) && some(40) {
						f.Pulse(at(a + 0.0006))
					}
					if i > 96 {
						off = append(off, out-meant[min(int(f.Ticks()), len(meant)-1)])
					}
				}
				ticks += int(f.Ticks()) - (len(arrives) - 1)
				jumps += int(f.Faults().Jumps)
				if seed == 0 {
					t.Logf("±%.1f ms, %-8s: %+v", width*1e3, fault, f.Faults())
				}
			}
			t.Logf("±%.1f ms, %-8s: %.2f ms rms, worst %.2f ms, %d ticks wrong, %d jumps in 20 runs", width*1e3, fault, rms(off)*1e3, largest(off)*1e3, ticks, jumps)
			// All of them at ±3 ms, outliers of half a tick with it, cannot always
			// be told from each other.
			hard := width > 0.002 && fault == "all"
			if ticks != 0 && !hard || ticks > 4 || ticks < -4 {
				t.Errorf("±%.1f ms, %s: the position is off by %d ticks in 20 runs", width*1e3, fault, ticks)
			}
			if rms(off) > 0.0008 && !hard {
				t.Errorf("±%.1f ms, %s: %.2f ms rms", width*1e3, fault, rms(off)*1e3)
			}
		}
	}
}

// A night long the crystal of the sender wanders by ±200 ppm, with ±3 ms of
// jitter and now and then a pulse 20 ms late: no tick is lost and no tempo
// mistaken.
func TestFollowHours(t *testing.T) {
	const hours = 4
	r := rand.New(rand.NewPCG(25, 26))
	var f ClockFollower
	f.Start(at(0.5))
	meant, last, square, worst := 1.0, 0.0, 0.0, 0.0
	const n = hours * 3600 * 48
	for i := range n {
		a := meant + (2*r.Float64()-1)*0.003
		if r.IntN(1000) == 0 {
			a += 0.020
		}
		last = math.Max(last, a)
		out := since(f.Pulse(at(last)))
		// One that is late by a tick may be taken for the next, and that for a
		// second one.
		off := out - meant - float64(f.Ticks()-int64(i))/48
		if i > 200 {
			square += off * off
			worst = math.Max(worst, math.Abs(off))
		}
		meant += 1.0 / 48 * (1 + 200e-6*math.Sin(float64(i)/n*40))
	}
	t.Logf("%d h: %.3f ms rms, worst %.2f ms, %d ticks of %d, %+v", hours, math.Sqrt(square/n)*1e3, worst*1e3, f.Ticks(), n-1, f.Faults())
	if f.Ticks() != n-1 || f.Faults().Jumps > 3 || math.Sqrt(square/n) > 0.0003 {
		t.Error("it lost its way")
	}
}

// steps sends n pulses at a period from t on, and returns the time after them.
func steps(f *ClockFollower, t, period float64, n int) float64 {
	for range n {
		f.Pulse(at(t))
		t += period
	}
	return t
}

func TestFollowTransport(t *testing.T) {
	const period = 60.0 / 120 / 24
	var f ClockFollower
	want := func(what string, running bool, ticks int64) {
		t.Helper()
		if f.Running() != running || f.Ticks() != ticks {
			t.Fatalf("%s: running %v, tick %d; want %v, %d", what, f.Running(), f.Ticks(), running, ticks)
		}
	}
	// The clock runs before the song does.
	now := steps(&f, 1, period, 48)
	want("before the start", false, 0)
	if math.Abs(f.Tempo()-120) > 0.01 || !f.Locked() {
		t.Fatalf("tempo %v", f.Tempo())
	}
	f.Message(RealTime(Start), at(now-0.01))
	want("started", true, 0)
	now = steps(&f, now, period, 1)
	want("the first pulse", true, 0)
	now = steps(&f, now, period, 23)
	want("a beat", true, 23)
	if p := f.Position(at(now - period/2)); math.Abs(p-23.5) > 0.01 {
		t.Errorf("position %v", p)
	}
	if w, ok := f.When(24); !ok || math.Abs(since(w)-now) > 1e-5 {
		t.Errorf("tick 24 at %v, want %v", since(w), now)
	}
	f.Message(RealTime(Stop), at(now))
	now = steps(&f, now, period, 10)
	want("stopped, the clock goes on", false, 23)
	if p := f.Position(at(now)); p != 23 {
		t.Errorf("position %v", p)
	}
	f.Message(RealTime(Continue), at(now-0.001))
	now = steps(&f, now, period, 2)
	want("continued", true, 25)
	f.Message(RealTime(Stop), at(now))
	f.Message(Position(32), at(now))
	want("a song position", false, 32*6)
	now = steps(&f, now, period, 3)
	f.Message(RealTime(Continue), at(now-0.001))
	want("continued from there", true, 32*6)
	now = steps(&f, now, period, 1)
	want("its first pulse", true, 32*6)
	now = steps(&f, now, period, 6)
	want("a sixteenth", true, 32*6+6)
	// A song position while it runs, as some send it.
	f.SongPosition(0)
	now = steps(&f, now, period, 2)
	want("a song position on the way", true, 1)
	// A second start begins anew.
	f.Start(at(now - 0.001))
	now = steps(&f, now, period, 3)
	want("started again", true, 2)

	// A pause without a stop: the position holds, the tempo is unknown.
	if f.Lost(at(now+0.2)) || !f.Lost(at(now+0.5)) {
		t.Error("lost")
	}
	now += 2.37
	now = steps(&f, now, period, 1)
	want("after a pause", true, 3)
	if f.Tempo() != 0 {
		t.Errorf("tempo %v of one pulse", f.Tempo())
	}
	now = steps(&f, now, 2*period, 30)
	want("goes on slower", true, 33)
	if math.Abs(f.Tempo()-60) > 0.01 {
		t.Errorf("tempo %v", f.Tempo())
	}
	// A machine whose clock is silent while it stands.
	f.Stop(at(now))
	now += 5
	f.SongPosition(4)
	f.Continue(at(now - 0.001))
	steps(&f, now, period, 24)
	want("silent while it stood", true, 24+23)
	if math.Abs(f.Tempo()-120) > 0.01 {
		t.Errorf("tempo %v", f.Tempo())
	}
	if f.Message(On(0, 1, 2), at(0)) {
		t.Error("a note is taken")
	}
}

// A machine that starts its clock anew with the song, at another phase, is
// followed from the first pulse on.
func TestFollowStartPhase(t *testing.T) {
	const period = 60.0 / 120 / 24
	var f ClockFollower
	now := steps(&f, 1, period, 200) + 0.6*period
	f.Start(at(now - 0.001))
	for i := range 48 {
		if off := since(f.Pulse(at(now))) - now; math.Abs(off) > 1e-4 || f.Ticks() != int64(i) {
			t.Fatalf("pulse %d is %.2f ms off, tick %d", i, off*1e3, f.Ticks())
		}
		now += period
	}
}

// Any row of times gives times that do not go back, positions that do not,
// and a tempo within its bounds.
func checkFollower(t *testing.T, gaps []byte) {
	var f ClockFollower
	now, last, pos := 0.0, -1.0, int64(-1)
	for _, g := range gaps {
		switch {
		case g == 255:
			f.Start(at(now))
			pos = -1
		case g == 254:
			f.Stop(at(now))
		case g == 253:
			f.Continue(at(now))
		case g == 252:
			f.SongPosition(3)
			pos = -1
		default:
			now += (float64(g) - 5) * 0.0005
			if g > 240 {
				now += float64(g-240) * 0.2
			}
			out := since(f.Pulse(at(now)))
			if out < last || math.IsNaN(out) || f.Ticks() < pos {
				t.Fatalf("time %v after %v, tick %d after %d", out, last, f.Ticks(), pos)
			}
			last, pos = out, f.Ticks()
			if bpm := f.Tempo(); bpm != 0 && (bpm < slowestTempo-1e-6 || bpm > fastestTempo+1e-6) || math.IsNaN(bpm) {
				t.Fatalf("tempo %v", bpm)
			}
			if p := f.Position(at(now)); math.IsNaN(p) || math.IsInf(p, 0) {
				t.Fatalf("position %v", p)
			}
		}
	}
}

func FuzzClockFollower(f *testing.F) {
	f.Add([]byte{255, 46, 46, 46, 46, 46, 46, 30, 30, 30, 30, 30, 30, 30, 254, 30, 250, 253, 7, 7, 200})
	f.Fuzz(checkFollower)
}

func TestFollowRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(19, 20))
	for range 1500 {
		gaps := make([]byte, r.IntN(200))
		base := byte(10 + r.IntN(100))
		for i := range gaps {
			gaps[i] = base + byte(r.IntN(5))
			if r.IntN(12) == 0 {
				gaps[i] = byte(r.IntN(256))
			}
			if r.IntN(60) == 0 {
				base = byte(10 + r.IntN(100))
			}
		}
		checkFollower(t, gaps)
	}
}

func TestFollowAllocates(t *testing.T) {
	r := rand.New(rand.NewPCG(21, 22))
	var f ClockFollower
	f.Start(at(0))
	now, period := 1.0, 0.02
	if a := testing.AllocsPerRun(2000, func() {
		if r.IntN(50) == 0 {
			period = 0.01 + 0.02*r.Float64()
		}
		f.Pulse(at(now + 0.003*r.Float64()))
		now += period
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkFollower(b *testing.B) {
	r := rand.New(rand.NewPCG(23, 24))
	_, arrives := pulses{steadyTempo(120), uniform(0.003), 24 * 256}.times(r)
	var f ClockFollower
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		if i == len(arrives) {
			i = 0
			f.Reset()
		}
		f.Pulse(at(arrives[i]))
		i++
	}
}

func ExampleClockFollower() {
	var f ClockFollower
	start := time.Unix(0, 0)
	f.Start(start)
	for i := range 25 {
		f.Pulse(start.Add(time.Duration(i) * time.Second / 48))
	}
	fmt.Printf("%.0f BPM, tick %d, running %v\n", f.Tempo(), f.Ticks(), f.Running())
	// Output: 120 BPM, tick 24, running true
}
