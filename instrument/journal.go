package instrument

// Applied is one entry of an Engine's Journal: what it did, and at which frame.
// From its plans and these, the same sound can be rendered again to the bit,
// whatever came late or early; see Redo. Two things it does not know, because
// no event brings them: what was captured, and the slice in which a word that
// was changed (a tuning, a jack) was first read.
type Applied struct {
	// Seq counts the entries from 1; one that is missing found no room.
	Seq uint64
	// Frame is the engine's at that moment.
	Frame int64
	// Plan is the generation of the plan that was taken up, 0 for none.
	Plan uint64
	// Cut tells that a slice ended for nothing: an event was due whose module was
	// not there yet.
	Cut bool
	// Event is what was applied, where nothing of the above was; its Frame is
	// when that was asked for.
	Event Event
}

// note puts an entry into the journal. Audio thread.
func (e *Engine) note(a Applied) {
	if e.Journal == nil {
		return
	}
	e.journaled++
	a.Seq = e.journaled
	e.Journal.Push(a)
}

// Frame is how many frames were rendered. Call it from the thread that renders.
func (e *Engine) Frame() int64 { return e.frame }

// Redo does what an entry of another engine's journal says, at once; plan is
// the one that it names. Call it between two calls of Render that meet at the
// entry's frame, from the thread that renders.
func (e *Engine) Redo(a Applied, plan *Plan) {
	switch {
	case a.Cut:
	case a.Plan != 0:
		e.next.Store(plan)
		e.take(plan)
	default:
		e.apply(a.Event)
	}
}

// Output returns what an output jack of the plan in use puts out, nil where
// there is no such jack. It holds the last slice; see Sliced.
func (e *Engine) Output(id ModuleID, jack string) *Signal {
	if e.plan == nil {
		return nil
	}
	for _, n := range e.plan.metered {
		if n.id == id && !n.gone && n.ran {
			if k := n.spec.Output(jack); k >= 0 {
				return n.out[k]
			}
		}
	}
	return nil
}
