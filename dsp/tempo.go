package dsp

import "math"

const (
	// tempoMemory is the most edges that a Tempo looks back on.
	tempoMemory = 96
	// tempoJitter, in seconds, is how far from an even row the edges of a
	// clock may be, on average, to count as even: a clock within the rack is
	// off by a sample, one that came through a network or MIDI by milliseconds.
	tempoJitter = 0.0005
	// tempoLost is how many periods without an edge mean that a clock stopped.
	tempoLost = 2.5
	// tempoLongest is how long the first period may be, in seconds.
	tempoLongest = 16.0
	// tempoBreak is the share of a period by which an edge must miss its place
	// for the tempo to be taken as a new one at once; of a clock that jitters it
	// is tempoWild times the mean of that, up to the share tempoBreakMost.
	tempoBreak     = 0.25
	tempoWild      = 4.0
	tempoBreakMost = 0.6
)

// Tempo measures a clock: how far apart its edges are, and when the next is
// due. It lays a straight line through the edges by least squares, over a
// memory that grows to a given number of edges (the fading-memory filter of
// Morrison, "Introduction to Sequential Smoothing and Prediction", 1969), so
// that jitter averages out; an edge far from its place, or two intervals that
// agree with each other and not with the line, begin a new line, so that a
// change of tempo is followed at once. All times are in samples.
type Tempo struct {
	sampleRate float64
	memory     int
	count      int     // edges on the line, 0 for none
	since      int64   // since the last edge
	interval   float64 // between the last two
	place      float64 // of the last edge on the line, relative to the edge itself
	period     float64
	jitter     float64 // mean distance of edges from the line
	before     float64 // the same, before the last edge
}

// Init sets the sample rate and a memory of 8 edges.
func (t *Tempo) Init(sampleRate float64) {
	*t = Tempo{sampleRate: rateOr(sampleRate)}
	t.SetMemory(8)
}

// Reset forgets the clock.
func (t *Tempo) Reset() { *t = Tempo{sampleRate: t.sampleRate, memory: t.memory} }

// SetMemory sets how many edges the line goes through, 2…96. More of them
// average out more jitter and take longer to follow a tempo that glides.
//
// Audio thread.
func (t *Tempo) SetMemory(edges int) { t.memory = min(max(edges, 2), tempoMemory) }

// Next takes one sample: whether there is an edge in it.
//
// Audio thread.
func (t *Tempo) Next(edge bool) {
	if !edge {
		if t.count > 0 {
			t.since++
			if t.Lost() {
				// The period is kept: a clock that comes back will mostly be the same.
				t.count = 0
			}
		}
		return
	}
	was := t.interval
	gone := float64(t.since + 1)
	t.since = 0
	switch {
	case t.count == 0:
		t.count, t.place, t.interval = 1, 0, 0
		return
	case t.count == 1:
		t.begin(gone)
		return
	}
	t.interval = gone
	// How much later than expected the edge is.
	late := gone - (t.place + t.period)
	if math.Abs(late) > min(max(tempoBreak*t.period, tempoWild*t.jitter), tempoBreakMost*t.period) {
		t.begin(gone)
		return
	}
	if off := tempoJitter * t.sampleRate; t.before < off && was > 0 && math.Abs(gone-was) < 2.5 && math.Abs(gone-t.period) > off {
		t.begin(gone)
		return
	}
	t.count = min(t.count+1, t.memory)
	t.before = t.jitter
	t.jitter += (math.Abs(late) - t.jitter) / float64(min(t.count, 16))
	n := float64(t.count)
	t.place = -late + 2*(2*n-1)/(n*(n+1))*late
	t.period = max(t.period+6/(n*(n+1))*late, 1)
}

// begin starts a line through the last two edges.
func (t *Tempo) begin(interval float64) {
	t.count, t.interval, t.period, t.place = 2, interval, interval, 0
	t.jitter, t.before = 0, 0
}

// Known tells whether the clock's period is known and the clock is running.
//
// Audio thread.
func (t *Tempo) Known() bool { return t.count >= 2 }

// Period is the time between edges; 0 while none was ever known. It is kept
// when the clock is lost.
//
// Audio thread.
func (t *Tempo) Period() float64 { return t.period }

// Due is how long after the last sample the next edge is expected. It is
// negative when the edge is late.
//
// Audio thread.
func (t *Tempo) Due() float64 { return t.place + t.period - float64(t.since) }

// Even tells whether the edges lie so evenly that each may be taken at its
// word.
//
// Audio thread.
func (t *Tempo) Even() bool { return t.jitter < tempoJitter*t.sampleRate }

// Lost tells whether an edge is so late that the clock must have stopped.
//
// Audio thread.
func (t *Tempo) Lost() bool {
	if t.count < 2 {
		return t.count == 0 || float64(t.since) > tempoLongest*t.sampleRate
	}
	return float64(t.since) > tempoLost*t.period
}
