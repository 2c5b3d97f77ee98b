package mapping

import (
	"math"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// kindRule is the kind of the modules that play what the scene's rules make of
// the cluster.
const kindRule = "rule"

// ruleChannel is one channel of the rules: what its gate does, and when.
type ruleChannel struct {
	held bool  // a gate rule holds it
	high bool  // its gate is up, or will be
	at   int64 // frame of the newest event of its gate
	off  int64 // frame at which its note ends; 0: none sounds
	cv   float32
}

const (
	// retriggerGap is how long a gate is low between two notes of one channel,
	// so that every envelope sees a new edge.
	retriggerGap = 0.0015
	// noteAhead is how long before its time the end of a note is handed to the
	// engine: longer than from one Pump to the next.
	noteAhead = 0.006
)

// middleC is the MIDI note of 0 V.
const middleC = 60

// Note plays a note on a channel, 0 … 15, of every Rule module: note as MIDI
// counts them, with fractions, velocity 0 … 127, for so many seconds from a
// frame on, 0 at once. A note that still sounds on the channel ends before.
// After a Panic there are none until Show.
func (r *Rack) Note(channel int, note, velocity, seconds float64, frame int64) {
	if channel < 0 || channel >= len(r.rules) || math.IsNaN(note) || math.IsInf(note, 0) || r.board.dark {
		return
	}
	c := &r.rules[channel]
	on := r.lift(channel, r.board.inTime(frame))
	if r.board.grid.inTime {
		note = r.board.scale.Nearest(note)
	}
	pitch := float32(min(max((note-middleC)/12, -10), 10))
	if !(velocity >= 0) {
		velocity = 0
	}
	r.rule("pitch", channel, pitch, on)
	r.rule("velocity", channel, float32(min(velocity, 127)*10/127), on)
	r.rule("gate", channel, instrument.GateVolts, on)
	r.board.pulse(r.ruleRefs, "trigger", channel, on)
	least := retriggerGap
	if seconds > least {
		least = min(seconds, 3600)
	}
	c.high, c.at, c.off = true, on, on+max(int64(least*r.cfg.SampleRate), 1)
	if r.Noted != nil {
		r.Noted(channel, note, min(velocity, 127), on, c.off)
	}
}

// RuleGate raises or lowers the gate of a channel of every Rule module, at a
// frame, 0 at once. It holds until it is lowered; a note that sounds on the
// channel ends with it.
func (r *Rack) RuleGate(channel int, high bool, frame int64) {
	if channel < 0 || channel >= len(r.rules) {
		return
	}
	c := &r.rules[channel]
	c.held = high
	if frame = r.ruleFrame(c, r.board.inTime(frame)); high == c.high && c.off == 0 {
		return
	}
	if high {
		if !c.high {
			c.at = frame
			r.rule("gate", channel, instrument.GateVolts, frame)
		}
	} else {
		c.at = frame
		r.rule("gate", channel, 0, frame)
	}
	c.high, c.off = high, 0
}

// RuleCV sets the CV of a channel of every Rule module, in volts, at a frame,
// 0 at once.
func (r *Rack) RuleCV(channel int, volts float64, frame int64) {
	if channel >= 0 && channel < len(r.rules) && !math.IsNaN(volts) {
		c := &r.rules[channel]
		c.cv = float32(min(max(volts, -12), 12))
		r.rule("cv", channel, c.cv, r.board.inTime(frame))
	}
}

// lift makes the gate of a channel low, and returns the frame at which it may
// rise again.
func (r *Rack) lift(channel int, frame int64) int64 {
	c := &r.rules[channel]
	frame = r.ruleFrame(c, frame)
	gap := int64(retriggerGap * r.cfg.SampleRate)
	if c.high {
		// Who comes at the same moment is heard as well.
		frame = max(frame, c.at+gap)
		r.rule("gate", channel, 0, frame)
		c.at = frame
		return frame + gap
	}
	if c.at > 0 && frame < c.at+gap {
		return c.at + gap
	}
	return frame
}

// ruleFrame is when an event of a channel can be: not before the one that was
// told before it, and not in the past.
func (r *Rack) ruleFrame(c *ruleChannel, frame int64) int64 {
	return max(frame, c.at, r.pumped)
}

// playRules ends the notes whose time is near.
func (r *Rack) playRules(frame int64) {
	r.pumped = max(r.pumped, frame)
	ahead := int64(noteAhead * r.cfg.SampleRate)
	for i := range r.rules {
		c := &r.rules[i]
		if c.off == 0 || c.off > frame+ahead {
			continue
		}
		if !c.held {
			c.high, c.at = false, max(c.off, c.at)
			r.rule("gate", i, 0, c.at)
		}
		c.off = 0
	}
}

// release ends every note and lowers every gate of the rules, or all but those
// that are held: what is on its way to the engine falls as soon as it has
// risen, the rest at once. What rules hold is remembered.
func (r *Rack) release(held bool, frame int64) {
	for i := range r.rules {
		c := &r.rules[i]
		if c.at == 0 && !c.high || c.held && !held {
			continue
		}
		r.rule("gate", i, 0, frame)
		if c.at > frame && c.at >= r.board.told {
			// It may not have risen yet: what pumps is ahead of the engine by the
			// latency.
			c.at = max(c.at, r.pumped)
			r.rule("gate", i, 0, c.at)
		}
		*c = ruleChannel{held: c.held, at: c.at, cv: c.cv}
	}
}

// showRules shows what rules hold, after a panic and on modules that are new.
func (r *Rack) showRules(frame int64) {
	for i := range r.rules {
		c := &r.rules[i]
		if c.held {
			c.high, c.at = true, max(frame, c.at)
			r.rule("gate", i, instrument.GateVolts, c.at)
		}
		if c.cv != 0 {
			r.rule("cv", i, c.cv, frame)
		}
	}
}

// rule sends a level to every Rule module.
func (r *Rack) rule(jack string, channel int, volts float32, frame int64) {
	r.board.show(r.ruleRefs, jack, channel, volts, frame)
}
