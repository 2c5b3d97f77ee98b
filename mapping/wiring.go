package mapping

import (
	"errors"
	"maps"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Wiring is an edit of what is patched: what goes, and then what comes.
type Wiring struct {
	Pulled  []instrument.Cable
	Removed []instrument.Module // with its knobs as they stood
	Added   []instrument.Module
	Plugged []instrument.Cable
	// Overruled are cables of the case (see Sensed) that a hand takes out of the
	// patch: they stay out for as long as they are in the case. Let are those that
	// may come in again: they do if they are in the case.
	Overruled, Let []instrument.Cable
}

// Back returns the edit that undoes it.
func (w Wiring) Back() Wiring {
	return Wiring{Pulled: w.Plugged, Removed: w.Added, Added: w.Removed, Plugged: w.Pulled, Overruled: w.Let, Let: w.Overruled}
}

// empty tells whether it edits nothing.
func (w *Wiring) empty() bool {
	return len(w.Pulled)+len(w.Removed)+len(w.Added)+len(w.Plugged)+len(w.Overruled)+len(w.Let) == 0
}

// WiringBetween returns the edit that makes of what is patched in one patch what is
// in another; the knobs of modules that both have stay as they stand.
func WiringBetween(from, to *instrument.Patch) (w Wiring) {
	for _, c := range from.Cables {
		if !slices.Contains(to.Cables, c) {
			w.Pulled = append(w.Pulled, c)
		}
	}
	for _, c := range to.Cables {
		if !slices.Contains(from.Cables, c) {
			w.Plugged = append(w.Plugged, c)
		}
	}
	for i := range from.Modules {
		if m := from.Modules[i]; to.Module(m.ID) == nil {
			w.Removed = append(w.Removed, m)
		}
	}
	for i := range to.Modules {
		if m := to.Modules[i]; from.Module(m.ID) == nil {
			w.Added = append(w.Added, m)
		}
	}
	return w
}

// Plug puts a cable in, of sound as of the cluster. If it means nothing, or
// its input holds a cable, it is refused and the patch stays as it is. A cable
// that was sensed becomes the hand's that plugs it in as well: it stays when
// the one of the case is pulled.
func (r *Rack) Plug(c instrument.Cable, source string) error {
	return r.Rewire(Wiring{Plugged: []instrument.Cable{c}}, source)
}

// Pull takes out the cable that an input holds.
func (r *Rack) Pull(to instrument.JackRef, source string) error {
	if c := r.cable(to.Module, to.Jack); c != nil {
		return r.Rewire(Wiring{Pulled: []instrument.Cable{*c}}, source)
	}
	m, err := r.Member(AddressOf(to.Module, to.Jack))
	switch {
	case err != nil:
		return err
	case m.Kind != MemberInput:
		return refuse(ErrRange, "%s is no input; a cable is pulled out of the input that holds it", to)
	}
	return refuse(ErrRange, "%s holds no cable", to)
}

// Add puts a module in, with the knobs that it has.
func (r *Rack) Add(m instrument.Module, source string) error {
	return r.Rewire(Wiring{Added: []instrument.Module{m}}, source)
}

// Remove takes a module out, with the cables that it has.
func (r *Rack) Remove(id instrument.ModuleID, source string) error {
	m := r.patch.Module(id)
	if m == nil {
		return r.noAddress(AddressOf(id, ""))
	}
	return r.Rewire(Wiring{Removed: []instrument.Module{*m}}, source)
}

// Rewire edits what is patched, all of it or nothing: if the patch would not
// be valid, the one that plays goes on. The cables of a module that goes need
// not be named. Inputs whose cable came or went are told to Changed, the whole
// of it to Wired, and what of it is the cluster's is in the next Topology.
func (r *Rack) Rewire(w Wiring, source string) error {
	r.begin()
	done, err := r.rewire(w, source)
	if r.ended(err) {
		r.record(Input{Source: source, Wiring: &done})
	}
	return err
}

func (r *Rack) rewire(w Wiring, source string) (done Wiring, err error) {
	p, sense := r.patch.Clone(), &r.sense
	done = Wiring{Added: cloneModules(w.Added), Plugged: slices.Clone(w.Plugged), Overruled: slices.Clone(w.Overruled), Let: slices.Clone(w.Let)}
	for _, c := range w.Pulled {
		if sense.owned[c] && source != SourceSense {
			done.Overruled = append(done.Overruled, c)
		} else {
			done.Pulled = append(done.Pulled, c)
		}
	}
	for _, m := range w.Removed {
		was := p.Module(m.ID)
		if was == nil {
			return done, r.noAddress(AddressOf(m.ID, ""))
		}
		done.Removed = append(done.Removed, cloneModules([]instrument.Module{*was})...)
		for _, c := range p.Cables {
			// One of the case comes back by itself, if the module does.
			if (c.From.Module == m.ID || c.To.Module == m.ID) && !sense.owned[c] && !slices.Contains(done.Pulled, c) {
				done.Pulled = append(done.Pulled, c)
			}
		}
	}
	for _, c := range done.Pulled {
		i := slices.Index(p.Cables, c)
		if i < 0 {
			return done, refuse(ErrRange, "there is no cable %s", FormatCable(c))
		}
		p.Cables = slices.Delete(p.Cables, i, i+1)
	}
	gone := func(id instrument.ModuleID) bool {
		return slices.ContainsFunc(done.Removed, func(m instrument.Module) bool { return m.ID == id })
	}
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool {
		return sense.owned[c] && (slices.Contains(done.Overruled, c) || gone(c.From.Module) || gone(c.To.Module))
	})
	p.Modules = slices.DeleteFunc(p.Modules, func(m instrument.Module) bool { return gone(m.ID) })
	p.Modules = append(p.Modules, cloneModules(done.Added)...)
	var drawn []instrument.Cable // by a hand as well
	for _, c := range done.Plugged {
		k := slices.IndexFunc(p.Cables, func(o instrument.Cable) bool { return o.To == c.To })
		switch {
		case k < 0:
			p.Cables = append(p.Cables, c)
		case p.Cables[k] == c && sense.owned[c]:
			drawn = append(drawn, c)
		case sense.owned[p.Cables[k]]:
			return done, refuse(ErrRange, "%s holds a cable from %s, which is in the case; pull it there first", c.To, p.Cables[k].From)
		default:
			return done, refuse(ErrRange, "%s holds a cable from %s; pull it first", c.To, p.Cables[k].From)
		}
		if sense.overruled[c] && !slices.Contains(done.Let, c) {
			done.Let = append(done.Let, c)
		}
	}
	if err := p.Validate(); err != nil {
		return done, refuse(ErrRange, "%w", unplaced(err))
	}
	if err := r.load(p); err != nil {
		return done, err
	}
	for _, c := range drawn {
		delete(sense.owned, c)
	}
	for _, c := range done.Overruled {
		delete(sense.owned, c)
		sense.overruled[c] = true // if it is in the case at all
	}
	for _, c := range done.Let {
		delete(sense.overruled, c)
	}
	for _, c := range slices.Concat(done.Pulled, done.Overruled, done.Plugged) {
		a := AddressOf(c.To.Module, c.To.Jack)
		if v, _, err := r.Value(a); err == nil {
			r.changed(a, v, "", source)
		}
	}
	if r.Wired != nil && source != "" && !done.empty() {
		r.Wired(done, source)
	}
	r.resense()
	return done, nil
}

func cloneModules(ms []instrument.Module) []instrument.Module {
	ms = slices.Clone(ms)
	for i := range ms {
		ms[i].Params, ms[i].Text = maps.Clone(ms[i].Params), maps.Clone(ms[i].Text)
	}
	return ms
}

// unplaced returns what is wrong with a patch without the places in a file
// where it is.
func unplaced(err error) error {
	var errs []error
	for _, e := range unjoin(err) {
		var pe *instrument.PatchError
		if errors.As(e, &pe) {
			e = pe.Err
		}
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}
