package bind

import (
	"math"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// closeBy is how far a control may be from a value that it picks up: one step
	// of seven bits, and a hair, because the steps below and above the middle
	// are not quite the same.
	closeBy = 1.0/126 + 1e-6
	// steepest is how much faster than the control a value goes at most while
	// it is scaled. From one end of the travel to the other it is never needed.
	steepest = 4
)

// take tells where on its travel the value goes as the control goes from prev
// to pos, and whether it goes anywhere.
func (r *route) take(prev float64, known bool, pos float64) (want float64, ok bool) {
	// A control that moved something else meanwhile has let go.
	caught := r.caught && known && r.at == prev
	r.at = pos
	if r.takeover == Jump {
		r.caught = true
		return pos, true
	}
	if !caught {
		on := math.Abs(pos-r.want) <= closeBy || known && math.Abs(prev-r.want) <= closeBy
		switch {
		case r.same(pos) || known && r.same(prev):
			caught = true
		case r.takeover == Pickup:
			caught = on || known && (prev-r.want)*(pos-r.want) <= 0
		default:
			// A value that is a little ahead goes on to where they meet: what is
			// scaled never turns back.
			caught = on && (!known || (pos-r.want)*(pos-prev) >= 0)
		}
	}
	r.caught = caught
	switch {
	case caught:
		return pos, true
	case r.takeover == Pickup || !known:
		return r.want, false
	}
	want = r.want
	switch d := pos - prev; {
	case d > 0:
		want += d * min((1-want)/(1-prev), steepest)
	case d < 0:
		want += d * min(want/prev, steepest)
	}
	return min(max(want, 0), 1), true
}

// same tells whether a position means the value as it is, which a param that
// takes whole numbers has for more than one.
func (r *route) same(pos float64) bool {
	return (r.scale.whole || r.scale.steps > 0) && r.scale.value(pos) == r.value
}

// TakeoverState is a control that does not hold what it turns.
type TakeoverState struct {
	Port    string
	Control Control
	Address mapping.Address
	// Have is where the control is and Want where it would be if it held the
	// value, 0…1; Distance is Want less Have: above 0 it must go up.
	Have, Want, Distance float64
}

// Takeovers returns the controls that were moved and do not hold what they
// turn, for a status line.
func (e *Engine) Takeovers() []TakeoverState {
	e.takeovers = e.takeovers[:0]
	for _, d := range e.order {
		for _, c := range d.controls {
			if !c.known {
				continue
			}
			for _, r := range c.routes {
				if !r.live || r.mode != Absolute || r.takeover == Jump || r.bound == nil || c.isButton() ||
					r.caught && r.at == c.pos || math.Abs(c.pos-r.want) <= closeBy || r.same(c.pos) {
					continue
				}
				e.takeovers = append(e.takeovers, TakeoverState{d.port, c.Control, r.aim.address, c.pos, r.want, r.want - c.pos})
			}
		}
	}
	return e.takeovers
}
