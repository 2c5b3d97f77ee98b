package mapping

import (
	"math"
	"slices"
	"time"
)

// Estimator converts the time stamps of one source of events to engine
// frames. The source has a clock of its own, which drifts against the audio
// device's, may be set, and may stand still; its events arrive after a delay
// that varies. What comes out is an even clock: as long as the source's clock
// keeps its rate, frames lie as far from each other as the stamps do, to the
// frame, however unevenly the events arrived. Whoever schedules adds a
// constant latency, which hides the delays.
//
// The delay of an event is never below that of an empty queue, so the earliest
// arrivals tell the truth and late ones tell nothing (the minimum filter of
// NTP, RFC 5905, section 10). Of each second the earliest event counts; a line
// through those of the last minute gives the drift, with the least squares
// held back by what quartzes do, and the lowest of them the offset. The line
// in use is held while it is within half a millisecond of that, because a
// clock that is corrected all the time is uneven; then it is bent, never
// broken, to meet it.
//
// It is for one goroutine, and does not allocate once it is made.
type Estimator struct {
	rate  float64 // frames a second
	begun bool
	epoch time.Time // stamp 0

	// Of the line in use: frame(stamp) = frame0 + (stamp-stamp0)·slope·rate, and
	// until the stamp straight what bent adds to the slope.
	stamp0, frame0, slope float64
	straight, bent        float64
	held                  bool // the line needs no bending
	learnt                float64

	seconds    [window]earliest // the earliest event of each second of arrival, in a circle
	count, at  int
	last       float64 // stamp of the newest event, seconds
	lastFrame  float64 // and what was made of it
	arrived    float64 // of the newest event, seconds
	fresh      float64 // when last arrived something with a stamp of its own, seconds
	late       float64 // when the present run of late events began, seconds; negative without one
	lateLeast  float64 // least delay in it, seconds
	lateEvents int
	judged     float64 // when the line was last compared
	stood      bool
	jitter     float64
	resets     uint64
}

// earliest is the event with the least delay in its second of arrival.
type earliest struct{ second, stamp, offset float64 }

const (
	window = 60 // seconds of arrivals that are looked back on

	// A second of learning takes what comes; then the line is bent.
	learning = 1.0
	// held within this, in seconds: less is not heard between two onsets.
	deadBand = 0.0005
	// bend is the most that the line leans towards where it should be: an event
	// a second away is 2 ms off its place in time.
	bend = 0.002
	// quartz is how far clocks are usually off, as a ratio: RFC 5905 allows for
	// 15 ppm, cheap crystals and virtual machines for ten times that.
	quartz   = 0.0001
	maxDrift = 0.001
	// setAt is how far back a stamp must lie behind the last one's for the clock
	// to have been set; less is a disorder among senders.
	setAt = 0.05
	// stepAt is how far an event must seem ahead of its time, or all of them
	// behind theirs, for a clock to have been set: bending the line that far
	// would take longer than a player bears. The device's own clock does so,
	// too, when it stood still.
	stepAt = 0.02
	// lateFor is how long all events must come later than ever before for the
	// clock to have been set back a little, and stoodFor how long stamps must
	// stand for the clock to stand.
	lateFor    = 1.0
	lateEnough = 16 // events of such a run: of as many, chance alone would bring one early
	stoodFor   = 0.1
	// leastNoise is what arrivals are never better than, in seconds.
	leastNoise = 0.00005
)

// NewEstimator returns an Estimator for an engine at a sample rate in hertz.
func NewEstimator(sampleRate float64) *Estimator { return &Estimator{rate: sampleRate} }

// EstimatorStats are figures of an Estimator.
type EstimatorStats struct {
	// Drift is how much faster the source's clock runs than the engine's, as a ratio.
	Drift float64
	// Jitter is the mean delay of events behind the earliest, in seconds.
	Jitter float64
	// Resets counts how often the clock was learnt anew: it was set, stood still, or the engine's clock jumped.
	Resets uint64
}

// Stats returns the present figures.
func (e *Estimator) Stats() EstimatorStats {
	s := EstimatorStats{Jitter: e.jitter, Resets: e.resets}
	if e.slope != 0 {
		s.Drift = 1/e.slope - 1
	}
	return s
}

// Frame returns the engine frame, with a fraction, of an event that its source
// stamped, and that arrived at frame arrival. Events of one stamp have one
// frame, and later stamps never have an earlier one while the clock is not set.
func (e *Estimator) Frame(stamp time.Time, arrival float64) float64 {
	now := arrival / e.rate
	if !e.begun {
		e.begun, e.epoch = true, stamp
		e.learn(0, now)
		return e.tell(0, now)
	}
	s := stamp.Sub(e.epoch).Seconds()
	offset := now - s
	switch behind := e.last - s; {
	case s == e.last:
		if now-e.fresh > stoodFor {
			// The clock stands: arrival is all that is known.
			e.arrived, e.stood = now, true
			return arrival
		}
	case e.stood:
		// Either it goes on where it stood, or it was only that much happened at
		// one time and took long to arrive.
		e.stood = false
		if d := now - e.line(s)/e.rate; d < -stepAt || d > stepAt {
			e.set(s, now)
			return e.tell(s, now)
		}
	case behind > setAt && behind > 4*e.jitter:
		e.set(s, now)
		return e.tell(s, now)
	}
	if s > e.last {
		e.fresh = now
	}
	if now < e.arrived-setAt {
		// The engine's own clock went back: its device was lost.
		e.set(s, now)
		return e.tell(s, now)
	}
	delay := now - e.line(s)/e.rate
	if delay < -stepAt {
		// Before its time: the clock was set forward, or the engine's jumped.
		e.set(s, now)
		return e.tell(s, now)
	}
	if e.isLate(delay, s, now) {
		// All that came for a while was late by at least this much: the clock
		// was set back, or what lies between the two grew longer.
		if e.lateLeast > stepAt {
			e.set(s, now-(delay-e.lateLeast))
			return e.tell(s, now)
		}
		e.count, e.late = 0, -1
		e.keep(s, offset, now)
	} else {
		e.keep(s, offset, now)
	}
	e.jitter += (max(delay, 0) - e.jitter) * 0.02
	if now-e.judged >= 0.25 {
		e.judge(s, now)
	} else if now-e.learnt < learning && arrival < e.line(s) {
		// Earlier than the few that are known.
		e.stamp0, e.frame0, e.bent = s, arrival, 0
	}
	return e.tell(s, now)
}

// isLate tells whether everything has been later than it ever was, for so
// long that it will not change again.
func (e *Estimator) isLate(delay, s, now float64) bool {
	if delay < max(2*deadBand, e.jitter) {
		e.late, e.lateEvents = -1, 0
		return false
	}
	// A jump begins it anew: what came before a stall says nothing of after.
	if e.late < 0 || (now-e.arrived)-(s-e.last) > stepAt {
		e.late, e.lateLeast, e.lateEvents = now, delay, 0
	}
	e.lateEvents++
	e.lateLeast = min(e.lateLeast, delay)
	return e.lateEvents >= lateEnough && now-e.late >= lateFor
}

// set begins anew from one event.
func (e *Estimator) set(s, now float64) {
	e.resets++
	e.learn(s, now)
}

// learn makes one event all that is known; the drift is a clock's own, and
// stays what it was.
func (e *Estimator) learn(s, now float64) {
	if e.slope == 0 {
		e.slope = 1
	}
	e.stamp0, e.frame0, e.bent = s, now*e.rate, 0
	e.count, e.late, e.lateEvents = 0, -1, 0
	e.learnt, e.judged, e.fresh = now, now, now
	e.held, e.stood = true, false
	e.last, e.lastFrame = s, math.Inf(-1)
	e.keep(s, now-s, now)
}

// keep remembers the earliest event of each second of arrival.
func (e *Estimator) keep(s, offset, now float64) {
	second := math.Floor(now)
	if e.count > 0 {
		if p := &e.seconds[(e.at+e.count-1)%window]; p.second >= second {
			// Less drift would be known from seconds than from the line.
			if offset+(e.slope-1)*(p.stamp-s) < p.offset {
				p.stamp, p.offset = s, offset
			}
			return
		}
	}
	if e.count == window {
		e.at, e.count = (e.at+1)%window, e.count-1
	}
	e.seconds[(e.at+e.count)%window] = earliest{second, s, offset}
	e.count++
	for e.count > 1 && second-e.seconds[e.at].second > 5*window {
		e.at, e.count = (e.at+1)%window, e.count-1
	}
}

// line is the frame of a stamp by the line in use.
func (e *Estimator) line(s float64) float64 {
	return e.frame0 + ((s-e.stamp0)*e.slope+(min(s, e.straight)-e.stamp0)*e.bent)*e.rate
}

// judge compares the line in use with what the earliest arrivals say, and
// bends it if it is too far off.
func (e *Estimator) judge(s, now float64) {
	e.judged = now
	drift, offset := e.fit(s)
	off := s + offset - e.line(s)/e.rate // seconds that the line is too low
	switch {
	case now-e.learnt < learning:
		e.stamp0, e.frame0, e.bent = s, (s+offset)*e.rate, 0
		e.held = true
	case e.held && math.Abs(off) <= deadBand:
	case !e.held && math.Abs(off) <= deadBand/8:
		e.lean(s, drift, 0)
		e.held = true
	default:
		e.lean(s, drift, off)
		e.held = false
	}
}

// lean gives the line another slope from a stamp on, and lets it make up for
// so many seconds that it is too low. It is bent only until it has: nobody
// knows when the next event comes.
func (e *Estimator) lean(s, drift, off float64) {
	e.frame0, e.stamp0, e.slope = e.line(s), s, 1+drift
	e.straight, e.bent = s, min(max(off/2, -bend), bend)
	if off != 0 {
		e.straight += off / e.bent
	}
}

// fit returns the drift and, at a stamp, the offset in seconds of the engine's
// clock to the source's.
func (e *Estimator) fit(s float64) (drift, offset float64) {
	n := float64(e.count)
	var ms, mo float64
	for i := range e.count {
		p := &e.seconds[(e.at+i)%window]
		ms += p.stamp
		mo += p.offset
	}
	ms, mo = ms/n, mo/n
	var ss, so, oo float64
	for i := range e.count {
		p := &e.seconds[(e.at+i)%window]
		ss += (p.stamp - ms) * (p.stamp - ms)
		so += (p.stamp - ms) * (p.offset - mo)
		oo += (p.offset - mo) * (p.offset - mo)
	}
	if e.count > 2 && ss > 0 {
		// A ridge: with little to go by, a clock is as good as quartzes are.
		noise := max((oo-so*so/ss)/(n-2), leastNoise*leastNoise)
		drift = so / (ss + noise/(quartz*quartz))
		drift = min(max(drift, -maxDrift), maxDrift)
	}
	// The lowest of the points lies on the line; of many, the second, since one
	// may be a mistake.
	var least [2]float64
	least[0], least[1] = math.Inf(1), math.Inf(1)
	for i := range e.count {
		p := &e.seconds[(e.at+i)%window]
		if o := p.offset + (s-p.stamp)*drift; o < least[0] {
			least[0], least[1] = o, least[0]
		} else {
			least[1] = min(least[1], o)
		}
	}
	offset = least[0]
	if e.count >= 8 {
		offset = least[1]
	}
	return drift, offset
}

// tell returns the frame of a stamp, in order.
func (e *Estimator) tell(s, now float64) float64 {
	f := e.line(s)
	if s >= e.last {
		f = max(f, e.lastFrame)
		e.last, e.lastFrame = s, f
	}
	e.arrived = now
	return f
}

// Estimators hold one Estimator for each source, by name.
type Estimators struct {
	rate    float64
	sources map[string]*Estimator
}

// NewEstimators returns none yet, for an engine at a sample rate in hertz.
func NewEstimators(sampleRate float64) *Estimators {
	return &Estimators{sampleRate, map[string]*Estimator{}}
}

// Of returns the Estimator of a source.
func (e *Estimators) Of(source string) *Estimator {
	k := e.sources[source]
	if k == nil {
		k = NewEstimator(e.rate)
		e.sources[source] = k
	}
	return k
}

// Sources returns the names of the sources that there are, in order.
func (e *Estimators) Sources() []string {
	names := make([]string, 0, len(e.sources))
	for name := range e.sources {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
