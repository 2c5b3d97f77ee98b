package midi

import (
	"math"
	"time"
)

// TicksPerBeat is how many clocks a quarter note has, and TicksPerSixteenth
// how many a step of the song position (MIDI 1.0 Detailed Specification 4.2).
const (
	TicksPerBeat      = 24
	TicksPerSixteenth = 6
)

// Tempos outside of these are taken for bursts and pauses, in BPM.
const (
	slowestTempo = 10
	fastestTempo = 600
)

// Measures of the follower, in ticks where nothing else is said.
const (
	// followMemory is over how many pulses a steady clock is averaged: 187
	// make 0.2 ms rms of ±3 ms, and 4 s at 120 BPM.
	followMemory = 187
	// followRing is how many arrivals are kept, to lay a new line through.
	followRing = 64
	// followSoon is from how many pulses on their ticks are told by their
	// times; the first ones are taken one after the other.
	followSoon = 8
	// followJump is from how many arrivals in a row a new tempo is read.
	followJump = 5
	// followPause is how long a silence is no row of lost pulses any more.
	followPause = 8
	// followSilence is the shortest pause, in seconds.
	followSilence = 0.35
	// followFloor is the least that counts as an outlier, in seconds.
	followFloor = 0.0006
	// followTrend is over how many pulses a lasting error is noticed.
	followTrend = 12
	// followSettle is for how many pulses a new line is laid again and again,
	// because the first may have held pulses of the tempo before.
	followSettle = 20
	// followCheck is after how many arrivals the ticks are compared with their
	// number.
	followCheck = 32
)

const (
	shortestTick = 60.0 / fastestTempo / TicksPerBeat
	longestTick  = 60.0 / slowestTempo / TicksPerBeat
)

// ClockFollower makes a steady beat of the clock of another machine. It is a
// second-order loop whose gains fall like those of a straight line through all
// pulses so far, until it averages some seconds; what lies too far off such a
// line pulls no more than a pulse at the border. It looks back at the last
// arrivals when several disagree with it, and takes their tempo if they agree
// with each other. A pulse that comes twice counts once, and one that a gap of
// the right length has swallowed counts too, so that the position holds.
//
// Its times are those of a machine whose pulses come without delay: a constant
// latency is not seen. The zero value is ready; it allocates nothing.
type ClockFollower struct {
	base  time.Time // times below are seconds since
	begun bool

	phase, period float64 // of the newest tick
	out           float64 // the newest filtered time: it never goes back
	n             float64 // pulses that phase and period are an average of
	scale         float64 // of the jitter: a mean of its sizes
	sizes         int     // that it is a mean of
	trend         float64 // a mean of the deviations over few pulses, each at most its border
	settle        int     // pulses until a new tempo is looked at no more
	doubt         int     // pulses of late that did not fit, as a sum that fades
	odd           int64   // arrivals when the last of them came
	began         int64   // the arrival before the first of them, its tick and the counts then
	beganTick     int64
	beganLost     uint64
	beganDoubled  uint64
	steady        bool // period is known

	// The arrivals, with the tick each was taken for, counted without regard
	// to running. A second pulse of a tick has the tick of the first.
	at   [followRing]float64
	tick [followRing]int64
	bad  [followRing]bool // far off, or a second one
	seen int64            // arrivals so far
	now  int64            // tick of phase

	running bool
	ahead   bool  // the next pulse is the tick of pos, not one more
	rephase bool  // the next pulse may begin a new phase
	pos     int64 // position in ticks, of the newest pulse or, if ahead, the next
	debt    int64 // ticks counted too many, to be waited for

	lost, doubled, outliers, jumps uint64
}

// ClockFaults counts what a follower had to mend.
type ClockFaults struct {
	Missing  uint64 // pulses that a gap swallowed
	Doubled  uint64 // pulses that came twice
	Outliers uint64 // pulses that came far off their time
	Jumps    uint64 // changes of tempo or phase that were taken at once
}

// Faults returns the counts so far.
func (f *ClockFollower) Faults() ClockFaults {
	return ClockFaults{f.lost, f.doubled, f.outliers, f.jumps}
}

func (f *ClockFollower) seconds(at time.Time) float64 {
	if !f.begun {
		f.base, f.begun = at, true
	}
	return at.Sub(f.base).Seconds()
}

func (f *ClockFollower) time(s float64) time.Time {
	return f.base.Add(time.Duration(math.Round(s * 1e9)))
}

// Reset forgets everything, as when another machine leads.
func (f *ClockFollower) Reset() { *f = ClockFollower{} }

// Message takes a message of the clock or the transport, and tells whether it
// was one.
func (f *ClockFollower) Message(m Message, at time.Time) bool {
	switch m.Status() {
	case Clock:
		f.Pulse(at)
	case Start:
		f.Start(at)
	case Continue:
		f.Continue(at)
	case Stop:
		f.Stop(at)
	case SongPosition:
		f.SongPosition(Value14(m.Data[2], m.Data[1]))
	default:
		return false
	}
	return true
}

// Start puts the position to 0 and runs: the next pulse is tick 0.
func (f *ClockFollower) Start(at time.Time) {
	f.seconds(at)
	f.pos, f.debt = 0, 0
	f.running, f.ahead, f.rephase = true, true, true
}

// Continue runs from where it is: the next pulse is the tick after the one
// that was heard last, or the song position that was said since.
func (f *ClockFollower) Continue(at time.Time) {
	f.seconds(at)
	if f.running {
		return
	}
	f.running, f.rephase = true, true
}

// Stop holds the position. A clock that goes on is still followed.
func (f *ClockFollower) Stop(at time.Time) {
	f.seconds(at)
	f.running = false
}

// SongPosition puts the position to so many sixteenths: the next pulse that
// runs is that tick. Some machines say it while they run.
func (f *ClockFollower) SongPosition(sixteenths int) {
	f.pos, f.debt, f.ahead = int64(max(sixteenths, 0))*TicksPerSixteenth, 0, true
}

// Running tells whether the other machine plays.
func (f *ClockFollower) Running() bool { return f.running }

// Tempo returns the tempo in BPM, or 0 until two pulses came, and after a
// pause.
func (f *ClockFollower) Tempo() float64 {
	if !f.steady {
		return 0
	}
	return 60 / (f.period * TicksPerBeat)
}

// Locked tells whether the tempo has been followed for a quarter note.
func (f *ClockFollower) Locked() bool { return f.steady && f.n >= TicksPerBeat }

// Ticks returns the position in ticks since the start of the song: of the
// newest pulse or, before the first one after a start or a new song position,
// of the next.
func (f *ClockFollower) Ticks() int64 { return f.pos }

// Lost tells whether the clock has paused: for 0.35 s, or eight ticks of a
// slow one, no pulse came. The position holds.
func (f *ClockFollower) Lost(now time.Time) bool {
	return f.seen > 0 && f.seconds(now)-f.last() > f.pause()
}

func (f *ClockFollower) pause() float64 {
	if !f.steady {
		return 2 * longestTick
	}
	return max(followPause*f.period, followSilence)
}

// Position returns the position in ticks, with its fraction, at a time near
// the newest pulse: it runs on between the pulses, though not by more than a
// pause. It stands when the transport does, or waits for its first pulse.
func (f *ClockFollower) Position(at time.Time) float64 {
	if !f.running || f.ahead || !f.steady {
		return float64(f.pos)
	}
	d := (f.seconds(at) - f.out) / f.period
	return float64(f.pos) + min(max(d, 0), f.pause()/f.period)
}

// When returns the time at which a position in ticks comes at this tempo, and
// false where that is unknown.
func (f *ClockFollower) When(ticks float64) (time.Time, bool) {
	if !f.running || f.ahead || !f.steady {
		return time.Time{}, false
	}
	return f.time(f.phase + (ticks-float64(f.pos))*f.period), true
}

// last returns the newest arrival.
func (f *ClockFollower) last() float64 { return f.at[(f.seen-1)%followRing] }

func (f *ClockFollower) note(at float64, tick int64) {
	f.at[f.seen%followRing], f.tick[f.seen%followRing], f.bad[f.seen%followRing] = at, tick, false
	f.seen++
}

// advance moves the position by n ticks.
func (f *ClockFollower) advance(n int64) {
	if !f.running || n == 0 {
		return
	}
	if f.ahead {
		f.ahead = false
		n--
	}
	pay := min(n, f.debt)
	f.debt -= pay
	f.pos += n - pay
}

// Pulse takes a pulse as it arrives, and returns when it was meant, as far as
// can be known by now: a time that is never before the one returned last.
func (f *ClockFollower) Pulse(at time.Time) time.Time {
	t := f.seconds(at)
	f.out = max(f.pulse(t), f.out)
	return f.time(f.out)
}

func (f *ClockFollower) pulse(t float64) float64 {
	if f.seen == 0 {
		return f.restart(t)
	}
	gap := t - f.last()
	if gap < 0 {
		// Two sources, or a clock set back.
		t, gap = f.last(), 0
	}
	if gap > f.pause() {
		return f.restart(t)
	}
	if !f.steady {
		return f.second(t, gap)
	}
	// Which tick is it, and how far off?
	border := f.border()
	k := int64(math.Round((t - f.phase) / f.period))
	if f.n < followSoon {
		k = max(k, 1)
		if gap < 0.15*f.period && f.n >= 3 {
			k = 0
		} else if gap < 2.5*f.period {
			k = 1
		}
	} else if gap < 0.3*f.period {
		// Right behind another: only if its own tick is due it is not the same
		// pulse again, or one of those that a stall held back.
		k = max(int64(math.Floor((t-f.phase+border)/f.period)), 0)
	} else if k < 1 && f.seen > 1 && f.step(0) > 1 {
		k = 0 // the one before was late, and not behind a lost one
	} else {
		k = max(k, 1)
	}
	e := t - f.phase - float64(k)*f.period
	if k > 1 && e < -border {
		// Not where a pulse behind a lost one would be: it is late.
		k, e = k-1, e+f.period
	}
	far := k > 0 && math.Abs(e) > border
	if f.rephase && k > 0 {
		f.rephase = false
		if far || k > 1 {
			// Started anew: its tempo is likely the same, its phase is not.
			return f.rebase(t)
		}
	}
	if far || k != 1 {
		if !f.suspects() {
			f.began, f.beganTick = f.seen-1, f.now
			f.beganLost, f.beganDoubled = f.lost, f.doubled
		}
		f.doubt, f.odd = min(f.doubt+2, 8), f.seen+1
	} else if f.doubt > 0 {
		f.doubt--
	}
	f.note(t, f.now+k)
	f.bad[(f.seen-1)%followRing] = far || k == 0
	if f.doubt >= 3 && f.seen >= followJump && f.refit(followJump, false) ||
		f.suspects() && f.recount() ||
		f.seen%8 == 0 && f.miscounted() && f.refit(followCheck, true) {
		return f.phase
	}
	if k == 0 {
		f.doubled++
		return f.out
	}
	f.lost += uint64(k - 1)
	if far {
		f.outliers++
	}
	f.advance(k)
	f.follow(k, min(max(e, -border), border), far)
	return f.phase
}

// border is how far off its time a pulse may come before it is odd.
func (f *ClockFollower) border() float64 {
	if f.n < followSoon {
		return 0.6 * f.period // too early to know
	}
	return min(max(4.5*f.scale, followFloor), 0.45*f.period)
}

// follow moves the loop by k ticks, with an error e that is held within its
// border.
func (f *ClockFollower) follow(k int64, e float64, far bool) {
	f.n = min(f.n+1, followMemory)
	// The gains of a straight line through n points.
	alpha := 2 * (2*f.n - 1) / (f.n * (f.n + 1))
	beta := 6 / (f.n * (f.n + 1))
	f.phase += float64(k)*f.period + alpha*e
	f.period += beta * e
	f.period = min(max(f.period, shortestTick), longestTick)
	f.now += k
	f.measure()
	if !far {
		f.trend += (e - f.trend) / followTrend
	}
	if f.settle > 0 {
		if f.settle--; f.settle%4 == 0 {
			f.shorten()
		}
	}
	// An error that lasts is a tempo that moves.
	if f.n >= followTrend && math.Abs(f.trend) > max(1.1*f.scale, followFloor/4) {
		f.shorten()
		f.settle = followSettle
	}
}

// measure learns how large the jitter is, from how far the middle one of three
// arrivals lies off the others: no tempo, phase or lag is in that. White
// jitter makes it √6 times itself.
func (f *ClockFollower) measure() {
	if f.seen < 3 {
		return
	}
	i, j, k := (f.seen-3)%followRing, (f.seen-2)%followRing, (f.seen-1)%followRing
	if f.tick[k]-f.tick[j] != 1 || f.tick[j]-f.tick[i] != 1 {
		return
	}
	size := math.Abs(f.at[i]-2*f.at[j]+f.at[k]) / math.Sqrt(6)
	if f.sizes >= TicksPerBeat {
		size = min(size, 3*f.scale+1e-5) // a new tempo or an outlier is no jitter
	}
	f.sizes = min(f.sizes+1, 48)
	f.scale += (size - f.scale) / float64(f.sizes)
}

// shorten lays the line anew through as many of the last arrivals as lie
// about one without a bend.
func (f *ClockFollower) shorten() {
	var best straight
	for m := int64(4); m <= min(f.seen, followRing); m++ {
		l, ok := f.line(m, byGoodTick)
		if !ok || l.points < 4 {
			continue
		}
		// The middle half against the quarters at the ends: its error is that
		// of two means of half the points. A mean size is 0.8 of an rms.
		bent := l.points >= 8 && math.Abs(l.bend) > 2.6*max(1.25*f.scale, 1e-6)*2/math.Sqrt(l.points)
		if best.points > 0 && (bent || l.points < 8 && l.worst > max(4*f.scale, followFloor/4)) {
			break
		}
		best = l
	}
	if best.points > 0 {
		f.period, f.phase, f.n, f.trend = best.period, best.zero, best.points, 0
	}
}

// restart begins a new row of pulses: the first, or the first after a pause.
func (f *ClockFollower) restart(t float64) float64 {
	f.steady, f.rephase = false, false
	f.doubt, f.trend, f.settle, f.odd = 0, 0, 0, 0
	f.now++
	f.seen = 0
	f.note(t, f.now)
	f.phase, f.n = t, 1
	f.advance(1)
	return t
}

// rebase begins a new phase at t, and keeps the tempo.
func (f *ClockFollower) rebase(t float64) float64 {
	f.jumps++
	f.now++
	f.seen = 0
	f.note(t, f.now)
	f.phase, f.n, f.doubt, f.trend, f.settle, f.odd = t, 1, 0, 0, 0, 0
	f.advance(1)
	return t
}

// second takes the pulse that makes the first interval.
func (f *ClockFollower) second(t, gap float64) float64 {
	if gap < shortestTick {
		f.doubled++
		return f.out
	}
	f.now++
	f.note(t, f.now)
	f.phase, f.period, f.n, f.steady = t, min(gap, longestTick), 2, true
	f.scale, f.sizes = 0.05*gap, 1
	f.advance(1)
	return t
}

// straight is a line through arrivals.
type straight struct {
	period, zero float64 // zero: the time of the newest tick
	points       float64
	worst, size  float64 // the largest deviation and the mean of their sizes
	bend         float64 // how far the middle half lies off the ends
}

// The ways of laying a line through arrivals.
const (
	byTick     = iota // each at the tick that it was taken for
	byGoodTick        // so, without those that were far off or second ones
	byOne             // one tick after the other
)

// line lays a straight line through the last n arrivals.
func (f *ClockFollower) line(n int64, way int) (l straight, ok bool) {
	if n < 2 || n > f.seen || n > followRing {
		return l, false
	}
	newest := (f.seen - 1) % followRing
	t0, k0 := f.at[newest], f.tick[newest]
	point := func(i int64) (x, y float64, ok bool) {
		j := (f.seen - 1 - i) % followRing
		if way == byOne {
			return float64(-i), f.at[j] - t0, true
		}
		return float64(f.tick[j] - k0), f.at[j] - t0, way == byTick || !f.bad[j]
	}
	var m, sx, sy, sxx, sxy float64
	for i := range n {
		if x, y, ok := point(i); ok {
			m, sx, sy, sxx, sxy = m+1, sx+x, sy+y, sxx+x*x, sxy+x*y
		}
	}
	d := m*sxx - sx*sx
	if d <= 0 {
		return l, false
	}
	l.points = m
	l.period = (m*sxy - sx*sy) / d
	zero := (sy - l.period*sx) / m
	l.zero = t0 + zero
	var middle, ends, middles float64
	for i := range n {
		x, y, ok := point(i)
		if !ok {
			continue
		}
		e := y - zero - l.period*x
		l.worst = max(l.worst, math.Abs(e))
		l.size += math.Abs(e) / m
		if i >= n/4 && i < n-n/4 {
			middle += e
			middles++
		} else {
			ends += e
		}
	}
	if middles > 0 && middles < m {
		l.bend = middle/middles - ends/(m-middles)
	}
	return l, l.period >= shortestTick && l.period <= longestTick
}

// suspects tells that some of the last arrivals were odd.
func (f *ClockFollower) suspects() bool {
	return f.odd > 0 && f.seen-f.odd <= followTrend
}

// recount looks at the arrivals since the first that was odd, if some were
// taken for lost or doubled: do they lie better about a line when each is one
// tick? Then they were neither, and the tempo had changed.
func (f *ClockFollower) recount() bool {
	n := f.seen - 1 - f.began
	if n < followJump || n > followRing || f.tick[(f.seen-1)%followRing]-f.beganTick == n {
		return false
	}
	if k := f.step(0); k != 1 && k == f.step(1) && k == f.step(2) && k == f.step(3) {
		return f.refit(followJump, true) // half the tempo, or a third
	}
	n = min(n, 16)
	by, ok := f.line(n, byTick)
	one, okOne := f.line(n, byOne)
	return okOne && (!ok || one.size < 0.75*by.size) && f.refit(n, true)
}

// step returns by how many ticks the i-th arrival from the newest back came
// after the one before it.
func (f *ClockFollower) step(i int64) int64 {
	return f.tick[(f.seen-1-i)%followRing] - f.tick[(f.seen-2-i)%followRing]
}

// miscounted tells that of the last arrivals so many were taken for lost or
// doubled that it is the tempo that is wrong.
func (f *ClockFollower) miscounted() bool {
	if f.seen < followCheck {
		return false
	}
	d := f.tick[(f.seen-1)%followRing] - f.tick[(f.seen-followCheck)%followRing] - (followCheck - 1)
	return d > followCheck/8 || d < -followCheck/8
}

// refit looks whether the last n arrivals make a line of their own, one tick
// after the other, that fits them better than the one that is followed, or must
// be taken because their ticks were miscounted. If so it takes that.
func (f *ClockFollower) refit(n int64, must bool) bool {
	l, ok := f.line(n, byOne)
	if !ok || l.worst > max(1.2*f.border(), 0.04*l.period) || l.worst > 0.4*l.period {
		return false
	}
	// How well does the old line fit them, with the ticks that they were taken
	// for, or one tick each? One that is far off makes no new tempo.
	newest := f.seen - 1
	oldest := newest - n + 1
	var by, one float64
	for i := range n {
		j := (oldest + i) % followRing
		off := f.at[j] - f.phase
		by += math.Abs(off-float64(f.tick[j]-f.now)*f.period) / float64(n)
		one += math.Abs(off-float64(f.tick[oldest%followRing]+i-f.now)*f.period) / float64(n)
	}
	counted := f.tick[newest%followRing] - f.tick[oldest%followRing]
	if old := min(by, one); old <= 3*l.size && (!must || counted == n-1) {
		return false
	}
	f.jumps++
	// Since the first that was odd, the position moves by one tick for each
	// arrival: what was counted as lost or doubled was neither.
	now := f.tick[oldest%followRing] + n - 1
	if f.suspects() && f.began < oldest {
		now = f.beganTick + newest - f.began
		f.lost, f.doubled = f.beganLost, f.beganDoubled
	}
	switch move := now - f.now; {
	case move > 0:
		f.advance(move)
	case f.running && f.ahead:
		f.advance(1)
	case f.running:
		f.debt -= move
	}
	// Older arrivals are another tempo's.
	var at [followRing]float64
	for i := range n {
		at[i] = f.at[(oldest+i)%followRing]
	}
	f.seen = 0
	for i := range n {
		f.note(at[i], now-n+1+i)
	}
	f.period, f.phase, f.now = l.period, l.zero, now
	f.n, f.doubt, f.trend, f.settle = float64(n), 0, 0, followSettle
	f.began, f.beganTick, f.odd = f.seen-1, now, 0
	return true
}
