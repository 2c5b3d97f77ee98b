package instrument

import "math"

const (
	// wishHysteresis is how far knob and CV of a param of whole numbers must be
	// from what was last told. A knob and a clean 1 V a replica move by 1; a
	// noise of ±0.3 V about a midpoint moves by 0.8 and changes nothing.
	wishHysteresis = 0.85
	// wishShare is the share of its range by which a param moves before it is
	// told while it still moves.
	wishShare = 0.005
	// wishRate is how often a second one param is told at most: the cluster's
	// own writers are slower.
	wishRate = 50
	// wishSettled is how long a param must stand still, in seconds, until its
	// exact place is told.
	wishSettled = 0.05
	// wishStill and wishWait are how long, in seconds, a step must have come to
	// an end before it is told, and how long it is waited for: a knob, a cable
	// and a status all take 10 ms from one value to the next, and what they
	// pass on the way is nobody's wish.
	wishStill = 0.002
	wishWait  = 0.015
)

// wish tells the control side what one knob and its CV came to, at most
// wishRate times a second. Small steps are left out while it moves; where it
// stops is always told.
type wish struct {
	param int
	whole bool
	step  float32 // it is told soon when it is farther from what was told,
	fine  float32 // and when it has settled if it is farther than this

	// Times in frames: wishStill, wishWait, wishSettled, and from one to the next.
	still, wait, settled, gap int64

	told   float32
	toldAt int64
	knob   float32 // of whole numbers: where the knob stood then
	last   float32
	since  int64 // frame of the last change
	far    bool  // it is farther than step,
	farAt  int64 // since then
}

// newWishes returns one wish for each param of the cluster that has a CV jack.
func newWishes(spec *ModuleSpec, sampleRate float64) (ws []wish) {
	for i := range spec.Params {
		p := &spec.Params[i]
		if p.PerVolt == 0 || !p.Cluster && !p.Live {
			continue
		}
		w := wish{param: i, whole: p.Whole, step: float32(wishShare * (p.Max - p.Min)),
			still: int64(sampleRate * wishStill), wait: int64(sampleRate * wishWait),
			settled: int64(sampleRate * wishSettled), gap: int64(sampleRate / wishRate),
			told: float32(math.Inf(-1)), toldAt: math.MinInt32}
		if w.whole {
			w.step, w.fine = max(w.step, wishHysteresis), wishHysteresis
		}
		ws = append(ws, w)
	}
	return ws
}

// aim returns what is to be told if anything is. A knob of whole numbers that
// was turned takes what was told along: the CV beside it is the same, and the
// number that it was held at goes with the knob, not to the nearest. Where the
// CV moved as well that is over. Audio thread.
func (w *wish) aim(io *IO) float32 {
	if !w.whole {
		return w.last
	}
	moved := io.params[w.param].ramp.Value() - w.knob
	if moved == 0 {
		return w.last
	}
	if to := w.told + moved; w.last-to < wishHysteresis && to-w.last < wishHysteresis {
		return to
	}
	w.knob += moved
	return w.last
}

// tell looks at one slice of the param. Audio thread.
func (w *wish) tell(io *IO) {
	b := io.Params[w.param]
	rests := io.rests(w.param)
	for i := 0; i < io.N; {
		f := io.Frame + int64(i)
		if v := b[i]; v != w.last {
			w.last, w.since = v, f
		}
		to := w.aim(io)
		d := to - w.told
		if d < 0 {
			d = -d
		}
		due := int64(math.MaxInt64)
		if d > w.step {
			if !w.far {
				w.far, w.farAt = true, f
			}
			due = min(w.since+w.still, w.farAt+w.wait)
			if w.whole && rests {
				due = f // a knob of whole numbers without a CV steps
			}
			due = max(due, w.toldAt+w.gap)
		} else {
			w.far = false
			if d > w.fine {
				due = max(w.since+w.settled, w.toldAt+w.gap)
			}
		}
		if due <= f {
			v := w.last
			if w.whole {
				v = float32(math.Floor(float64(to) + 0.5))
			}
			if !io.Changed(EventWish, w.param, i, v) {
				return // no room; the next slice tries again
			}
			w.told, w.toldAt, w.far, w.knob = v, f, false, io.params[w.param].ramp.Value()
		}
		i++
		if rests {
			// Nothing changes before it is due.
			i = int(min(max(due-io.Frame, int64(i)), int64(io.N)))
		}
	}
}
