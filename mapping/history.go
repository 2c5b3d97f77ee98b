package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

const (
	// mostUndo bounds what is remembered.
	mostUndo = 512
	// oneGesture is how long a hand may rest on one knob before the next turn
	// counts as another gesture.
	oneGesture = 700 * time.Millisecond
)

// Setpoint is where a knob stood, or the word that stood there.
type Setpoint struct {
	Value float64
	Word  string
}

// Change is one gesture of a hand: a knob that went from one place to another,
// an edit of what is patched, or something else that can be done both ways.
// Rack.Restore undoes it.
type Change struct {
	Address  Address
	From, To Setpoint
	Wiring   *Wiring // if not nil, the edit
	Act      *Act    // if not nil, what else was done
	// Steps, if there are any, are what it consists of, in their order.
	Steps []Change
	Text  string // of Act and Steps, what it is for people
	// Since is what a hand did in the case after it and before the next, net: see
	// RecordSensed.
	Since  Wiring
	source string
	at     time.Time
	id     uint64 // counts what was recorded, from 1
}

// Act is something that can be undone and done again.
type Act struct {
	// Do does it again, or undoes it.
	Do func(again bool) error
	// Later, in place of Do, does it elsewhere, because it takes its time, and
	// calls done when it is over. It is a change of its own, never a step of one.
	Later func(again bool, done func(error))
	// Scene tells that it brings another scene.
	Scene bool
}

// History remembers what hands did to params, modules and cables, and to what
// else says how to undo it. The turns of one gesture are one change, and so is
// all between Begin and End. What the cluster or the instrument moved is not in
// it: undoing is for hands. The zero History is empty.
type History struct {
	past, future []Change
	open         []*Change // those that were begun, the innermost last
	count        uint64    // of what was recorded
	stuck        uint64    // what failed last
	since        Wiring    // what was sensed before the first of past
}

// Begin makes all that is recorded until End one change, of which a text tells
// people. Such may be within such.
func (h *History) Begin(text, source string, now time.Time) {
	h.open = append(h.open, &Change{Text: text, source: source, at: now})
}

// End closes what Begin opened. Where nothing was recorded there is no change.
func (h *History) End() {
	n := len(h.open) - 1
	c := h.open[n]
	h.open = h.open[:n]
	if len(c.Steps) > 0 {
		h.future = h.future[:0]
		h.push(*c)
	}
}

// RecordAct takes over that a source did something else, of which a text tells
// people. What had been undone is forgotten.
func (h *History) RecordAct(text string, a Act, source string, now time.Time) {
	h.future = h.future[:0]
	h.push(Change{Act: &a, Text: text, source: source, at: now})
}

// Record takes over that a source moved a param. What had been undone is
// forgotten.
func (h *History) Record(a Address, from, to Setpoint, source string, now time.Time) {
	if from == to {
		return
	}
	h.future = h.future[:0]
	if n := len(h.past) - 1; n >= 0 && len(h.open) == 0 {
		if last := &h.past[n]; last.Address != "" && last.Address == a && last.source == source && last.To == from && now.Sub(last.at) <= oneGesture {
			last.To, last.at = to, now
			if last.From == to {
				h.drop(n)
			}
			return
		}
	}
	h.push(Change{Address: a, From: from, To: to, source: source, at: now})
}

// RecordWiring takes over that a source edited what is patched. What had been
// undone is forgotten.
func (h *History) RecordWiring(w Wiring, source string, now time.Time) {
	if w.empty() {
		return
	}
	h.future = h.future[:0]
	h.push(Change{Wiring: &w, source: source, at: now})
}

// RecordSensed takes over what cables of the case that were plugged or pulled did
// to the patch. What had been undone can still be done again.
func (h *History) RecordSensed(w Wiring) { h.sensedAfter(len(h.past)-1, w) }

// sensedAfter takes over what was sensed after change k of the past, -1 for what
// was before them all, and after what is known of that already.
func (h *History) sensedAfter(k int, w Wiring) {
	since := &h.since
	if k >= 0 {
		since = &h.past[k].Since
	}
	net := func(undone *[]instrument.Cable, list []instrument.Cable, c instrument.Cable) []instrument.Cable {
		if i := slices.Index(*undone, c); i >= 0 {
			*undone = slices.Delete(slices.Clone(*undone), i, i+1) // copies of the change may be about
			return list
		}
		return append(slices.Clone(list), c)
	}
	for _, c := range w.Pulled {
		since.Pulled = net(&since.Plugged, since.Pulled, c)
	}
	for _, c := range w.Plugged {
		since.Plugged = net(&since.Pulled, since.Plugged, c)
	}
}

// drop forgets change k of the past. What a hand did in the case after it stays
// there, and is what it did after the one before it.
func (h *History) drop(k int) {
	since := h.past[k].Since
	h.past = slices.Delete(h.past, k, k+1)
	h.sensedAfter(k-1, since)
}

// Since is what a hand did in the case after the change that Undo would return.
func (h *History) Since() Wiring {
	if n := len(h.past); n > 0 {
		return h.past[n-1].Since
	}
	return h.since
}

// Forget takes back what was recorded last, if that is of a param.
func (h *History) Forget(a Address) {
	switch list, c := h.last(a); {
	case c == nil:
	case list == &h.past:
		h.drop(len(h.past) - 1)
	default:
		*list = (*list)[:len(*list)-1]
	}
}

// Rebase makes what was recorded last a change from elsewhere, if it is one of a
// param that began at was.
func (h *History) Rebase(a Address, was, from Setpoint) {
	if _, c := h.last(a); c != nil && c.From == was {
		c.From = from
	}
}

// last returns what was recorded last, and the list that it ends, if it is of a
// param; nil if it is not.
func (h *History) last(a Address) (*[]Change, *Change) {
	list := &h.past
	if n := len(h.open); n > 0 {
		list = &h.open[n-1].Steps
	}
	if n := len(*list); n > 0 && a != "" && (*list)[n-1].Address == a {
		return list, &(*list)[n-1]
	}
	return nil, nil
}

func (h *History) push(c Change) {
	if n := len(h.open); n > 0 {
		h.open[n-1].Steps = append(h.open[n-1].Steps, c)
		return
	}
	h.count++
	c.id = h.count
	if len(h.past) == mostUndo {
		h.drop(0)
	}
	h.past = append(h.past, c)
}

// Undo returns the newest change, of which From is to be set, and whether
// there is one.
func (h *History) Undo() (Change, bool) { return shift(&h.past, &h.future) }

// Redo returns the change that was undone last, of which To is to be set, and
// whether there is one.
func (h *History) Redo() (Change, bool) { return shift(&h.future, &h.past) }

// Failed takes over that the change that Undo, or with again Redo, returned
// could not be done: it stands as it stood, to be tried again, whatever was
// recorded since. One that fails twice in a row is left behind, so that those
// behind it can be reached, and Failed tells so.
func (h *History) Failed(c Change, again bool) (left bool) {
	twice := h.stuck == c.id
	if h.stuck = c.id; twice {
		h.stuck = 0
		if k := slices.IndexFunc(h.past, func(o Change) bool { return o.id == c.id }); k >= 0 {
			h.drop(k)
		} else {
			h.RecordSensed(c.Since)
		}
		h.future = without(h.future, c.id)
		return true
	}
	if again {
		n := len(h.past)
		newest := n > 0 && h.past[n-1].id == c.id
		h.past = without(h.past, c.id)
		if newest { // or else what had been undone is forgotten
			h.future = append(h.future, c)
		}
		return false
	}
	h.future = without(h.future, c.id)
	// Those of the past are in the order in which they were recorded.
	k, _ := slices.BinarySearchFunc(h.past, c.id, func(c Change, id uint64) int { return cmp.Compare(c.id, id) })
	h.past = slices.Insert(h.past, k, c)
	return false
}

// Succeeded takes over that a change was done, or undone.
func (h *History) Succeeded() { h.stuck = 0 }

func without(list []Change, id uint64) []Change {
	return slices.DeleteFunc(list, func(c Change) bool { return c.id == id })
}

// Restore sets the patch back to before a change, or again to after it, when
// it is to be heard at a frame: all of its steps, or none. What of them was done
// before one failed is put right again.
func (r *Rack) Restore(c Change, again bool, frame int64) error {
	if n := len(c.Steps); n > 0 {
		step := func(i int) int {
			if again {
				return i
			}
			return n - 1 - i
		}
		for i := range n {
			err := r.Restore(c.Steps[step(i)], again, frame)
			if err == nil {
				continue
			}
			for k := i - 1; k >= 0; k-- {
				if e := r.Restore(c.Steps[step(k)], !again, frame); e != nil {
					err = errors.Join(err, fmt.Errorf("and step %d of %d could not be put right: %w", k+1, n, e))
				}
			}
			return fmt.Errorf("step %d of %d: %w", i+1, n, err)
		}
		return nil
	}
	if c.Act != nil {
		if c.Act.Do == nil {
			return errors.New("it is done elsewhere")
		}
		return c.Act.Do(again)
	}
	if c.Wiring != nil {
		if again {
			return r.Rewire(*c.Wiring, "")
		}
		return r.Rewire(c.Wiring.Back(), "")
	}
	to := c.From
	if again {
		to = c.To
	}
	return r.Set(c.Address, to.Value, to.Word, "", frame)
}

// Next is the change that Undo would return.
func (h *History) Next() (Change, bool) { return newest(h.past) }

// Previous is the change that Redo would return.
func (h *History) Previous() (Change, bool) { return newest(h.future) }

func newest(list []Change) (Change, bool) {
	if len(list) == 0 {
		return Change{}, false
	}
	return list[len(list)-1], true
}

func shift(from, to *[]Change) (Change, bool) {
	n := len(*from) - 1
	if n < 0 {
		return Change{}, false
	}
	c := (*from)[n]
	c.at = time.Time{} // a gesture that was undone does not go on
	*from = (*from)[:n]
	*to = append(*to, c)
	return c, true
}
