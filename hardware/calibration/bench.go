package calibration

import "context"

// Bench is what a channel is measured on: one output that is set and one input that is heard. It
// belongs to one goroutine.
type Bench interface {
	// SampleRate is that of Listen, in Hz.
	SampleRate() float64
	// Limits are the lowest and highest volts that may be sent.
	Limits() (low, high float64)
	// Set sends that many nominal volts, without any correction. It gets there in a slew and not in
	// a jump, and Set returns when all of that has passed the round trip: what is heard from then on
	// is the new voltage, as fast as the gear follows.
	Set(ctx context.Context, volts float64) error
	// Listen returns what the input hears from now on, in nominal volts and without a gap, and the
	// time of its first sample in seconds since the bench began. The samples are good until the
	// next call.
	Listen(ctx context.Context, seconds float64) (x []float32, at float64, err error)
}

// Progress is what a procedure is at.
type Progress struct {
	// Stage is what is done, in a few words, such as "pass 2: verifying".
	Stage string
	// Note is a MIDI number, or -1; Volts is what is wanted there.
	Note  int
	Volts float64
	// Cents is how far off it is, NaN when nothing was heard; of levels millivolts. Hertz is what
	// is heard, 0 where pitch does not count.
	Cents, Hertz float64
	// Settled tells whether that is final.
	Settled bool
	// Percent of all work that is done; an estimate that only rises.
	Percent float64
	// Remark is for the player, such as that a note was left out and why.
	Remark string
}
