package mapping

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// kindAudioOut is the module whose jacks are sent two inputs.
const kindAudioOut = "audio_out"

// SourceSense is the source of cables that were sensed in the case.
const SourceSense = "sense"

// SensedCable is a cable of the case from one jack of the rig to another, by
// their names.
type SensedCable struct {
	Output, Input string
	// Polarity is −1 where what comes back is upside down, else 1. What the
	// cable means is the same.
	Polarity int
}

// sense is what cables of the case make of the patch.
type sense struct {
	pairs []SensedCable
	// owned are the cables of the patch that are there because one was sensed,
	// overruled those that were taken out of the patch while it is still in the
	// case: they stay out until it is pulled and plugged again.
	owned, overruled map[instrument.Cable]bool
	said             map[Problem]bool
	busy             bool
}

// sensedCable is a pair, and what it is in the patch.
type sensedCable struct {
	SensedCable
	cable instrument.Cable
}

// Sensed tells which cables of the case there are, all of them, and the frame
// up to which that was seen. One from the jack of a CV Out, Gate Out or Audio
// Out to that of a CV In with a socket is a cable of the patch, from what is
// patched into the one to the socket of the other, until it is pulled. It
// never takes the place of a cable that a hand has drawn: that is told to
// Failed, as is one that means nothing.
func (r *Rack) Sensed(pairs []SensedCable, frame int64) {
	r.begin()
	news := !slices.Equal(pairs, r.sense.pairs)
	r.sense.pairs = slices.Clone(pairs)
	r.resense()
	if r.ended(nil) && news {
		pairs = slices.Clone(pairs)
		r.record(Input{Frame: frame, Source: SourceSense, Sensed: &pairs})
	}
}

// SensedCables returns the cables of the patch that are there because one was
// sensed.
func (r *Rack) SensedCables() (cables []instrument.Cable) {
	for _, c := range r.patch.Cables {
		if r.sense.owned[c] {
			cables = append(cables, c)
		}
	}
	return cables
}

// sources returns what is patched into the modules of a patch that send on a
// jack of the rig, and their names.
func sources(p *instrument.Patch, jack string) (from []instrument.JackRef, modules []instrument.ModuleID) {
	for i := range p.Modules {
		m := &p.Modules[i]
		if m.Spec().Captures {
			continue
		}
		k := slices.Index(m.Jacks(), jack)
		if k < 0 {
			continue
		}
		modules = append(modules, m.ID)
		input := "in"
		if m.ID.Kind() == kindAudioOut {
			input = [...]string{"left", "right"}[min(k, 1)]
		}
		c := cableIn(p, m.ID, input)
		if c == nil && input == "right" {
			c = cableIn(p, m.ID, "left")
		}
		if c != nil {
			from = append(from, c.From)
		}
	}
	return from, modules
}

// wants returns the cables of a patch that those of the case mean, each once, and
// tells of those that mean none.
func (s *sense) wants(p *instrument.Patch, fail func(SensedCable, error)) (want []sensedCable) {
	for _, pair := range s.pairs {
		for i := range p.Modules {
			m := &p.Modules[i]
			socket := m.Word("socket")
			if !m.Spec().Captures || socket == "" || !slices.Contains(m.Jacks(), pair.Input) {
				continue
			}
			to, err := instrument.ParseJackRef(socket)
			from, senders := sources(p, pair.Output)
			switch {
			case err != nil:
				fail(pair, fmt.Errorf("socket of %s: %w", m.ID, err))
			case len(senders) == 0:
				fail(pair, fmt.Errorf("no module of the patch sends on %s, so that nothing goes to %s", pair.Output, to))
			case len(from) == 0:
				fail(pair, fmt.Errorf("nothing is patched into %s, so that nothing goes to %s", senders[0], to))
			}
			if err != nil {
				continue
			}
			for _, f := range from {
				c := instrument.Cable{From: f, To: to}
				if !slices.ContainsFunc(want, func(o sensedCable) bool { return o.cable == c }) {
					want = append(want, sensedCable{pair, c})
				}
			}
		}
	}
	return want
}

// KeepsSensed tells why a change cannot be restored (see Restore) while a cable
// is in the case: one that has a meaning in the patch would have none any more. A
// hand can plug and pull there and nobody else, so that undoing must not leave a
// patch that says otherwise; a hand at a surface that does the same says it
// itself. Another scene makes of the cables what it will, and is not asked.
func (r *Rack) KeepsSensed(c Change, again bool) error {
	s := &r.sense
	if len(s.pairs) == 0 || c.Act != nil {
		return nil
	}
	silent := func(SensedCable, error) {}
	p, overruled := r.patch.Clone(), maps.Clone(s.overruled)
	s.preview(p, overruled, c, again)
	after := s.wants(p, silent)
	for _, in := range s.wants(r.patch, silent) {
		if !slices.Contains(r.patch.Cables, in.cable) || overruled[in.cable] {
			continue
		}
		// It may lead from or to somewhere else: what is patched into a jack was moved.
		if !slices.ContainsFunc(after, func(o sensedCable) bool { return o.SensedCable == in.SensedCable && s.fits(p, after, o.cable) }) {
			return fmt.Errorf("the cable from %s to %s is in the case, and its meaning in the patch, %s, would be gone: pull it there first", in.Output, in.Input, FormatCable(in.cable))
		}
	}
	return nil
}

// fits tells whether a cable that is wanted is in a patch, or can come into it.
func (s *sense) fits(p *instrument.Patch, want []sensedCable, c instrument.Cable) bool {
	if slices.Contains(p.Cables, c) {
		return true
	}
	with := p.Clone()
	// What the case does not want any more makes room.
	with.Cables = slices.DeleteFunc(with.Cables, func(o instrument.Cable) bool {
		return s.owned[o] && !slices.ContainsFunc(want, func(w sensedCable) bool { return w.cable == o })
	})
	if slices.ContainsFunc(with.Cables, func(o instrument.Cable) bool { return o.To == c.To }) {
		return false
	}
	with.Cables = append(with.Cables, c)
	return with.Validate() == nil
}

// preview does to a patch what restoring a change does to what is patched in it,
// as far as cables of the case are concerned.
func (s *sense) preview(p *instrument.Patch, overruled map[instrument.Cable]bool, c Change, again bool) {
	for i := range c.Steps {
		if !again {
			i = len(c.Steps) - 1 - i
		}
		s.preview(p, overruled, c.Steps[i], again)
	}
	if c.Wiring != nil {
		w := *c.Wiring
		if !again {
			w = w.Back()
		}
		gone := func(id instrument.ModuleID) bool {
			return slices.ContainsFunc(w.Removed, func(m instrument.Module) bool { return m.ID == id })
		}
		p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool {
			return slices.Contains(w.Pulled, c) || slices.Contains(w.Overruled, c) || gone(c.From.Module) || gone(c.To.Module) ||
				// Where a hand's cable is to be, one of the case would have to go.
				s.owned[c] && slices.ContainsFunc(w.Plugged, func(o instrument.Cable) bool { return o.To == c.To })
		})
		p.Modules = slices.DeleteFunc(p.Modules, func(m instrument.Module) bool { return gone(m.ID) })
		p.Modules = append(p.Modules, cloneModules(w.Added)...)
		for _, c := range w.Plugged {
			if cableIn(p, c.To.Module, c.To.Jack) == nil { // or else it is refused anyway
				p.Cables = append(p.Cables, c)
			}
		}
		for _, c := range w.Overruled {
			overruled[c] = true
		}
		for _, c := range w.Let {
			delete(overruled, c)
		}
		return
	}
	id, name, err := c.Address.Split()
	if err != nil {
		return // it is of Steps or an Act
	}
	to := c.From
	if again {
		to = c.To
	}
	m := p.Module(id)
	if m == nil {
		return
	}
	if k := m.Spec().Param(name); k >= 0 && m.Spec().Params[k].Text {
		setWord(m, name, to.Word)
	}
}

// resense brings the patch in line with the cables of the case.
func (r *Rack) resense() {
	s := &r.sense
	if s.busy || len(s.pairs) == 0 && len(s.owned) == 0 && len(s.overruled) == 0 && len(s.said) == 0 {
		return
	}
	s.busy = true
	defer func() { s.busy = false }()
	said := map[Problem]bool{}
	fail := func(p SensedCable, err error) {
		problem := Problem{Where: p.Output + arrow + p.Input, Text: err.Error()}
		if said[problem] = true; !s.said[problem] && r.Failed != nil {
			r.Failed(problem)
		}
	}
	want := s.wants(r.patch, fail)
	wanted := map[instrument.Cable]bool{}
	for _, c := range want {
		wanted[c.cable] = true
	}
	var w Wiring
	for _, c := range sortedCables(s.owned) {
		switch there := slices.Contains(r.patch.Cables, c); {
		case !there && wanted[c] && r.patch.Module(c.From.Module) != nil && r.patch.Module(c.To.Module) != nil:
			s.overruled[c] = true // what went with its module comes back with it
			delete(s.owned, c)
		case !there:
			delete(s.owned, c)
		case !wanted[c]:
			w.Pulled = append(w.Pulled, c)
		}
	}
	for c := range s.overruled {
		if !wanted[c] {
			delete(s.overruled, c)
		}
	}
	p := r.patch.Clone()
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool { return slices.Contains(w.Pulled, c) })
	// What is in already keeps its place.
	slices.SortStableFunc(want, func(a, b sensedCable) int {
		in := func(c sensedCable) int {
			if slices.Contains(p.Cables, c.cable) {
				return 0
			}
			return 1
		}
		return cmp.Compare(in(a), in(b))
	})
	for _, c := range want {
		if s.overruled[c.cable] || slices.Contains(p.Cables, c.cable) {
			continue
		}
		if k := slices.IndexFunc(p.Cables, func(o instrument.Cable) bool { return o.To == c.cable.To }); k >= 0 {
			by := "drawn by hand"
			if o := p.Cables[k]; s.owned[o] || slices.Contains(w.Plugged, o) {
				by = "sensed as well; an input takes one cable, a mixer takes several"
			}
			fail(c.SensedCable, fmt.Errorf("%s holds a cable from %s, %s", c.cable.To, p.Cables[k].From, by))
			continue
		}
		p.Cables = append(p.Cables, c.cable)
		if err := p.Validate(); err != nil {
			p.Cables = p.Cables[:len(p.Cables)-1]
			fail(c.SensedCable, unplaced(err))
			continue
		}
		w.Plugged = append(w.Plugged, c.cable)
	}
	s.said = said
	if w.empty() {
		return
	}
	for _, c := range w.Plugged {
		s.owned[c] = true
	}
	if err := r.Rewire(w, SourceSense); err != nil {
		for _, c := range w.Plugged {
			delete(s.owned, c)
		}
		fail(SensedCable{Output: SourceSense}, err)
		return
	}
	for _, c := range w.Pulled {
		delete(s.owned, c)
	}
}

// sortedCables returns cables in the order of their names.
func sortedCables(set map[instrument.Cable]bool) (cables []instrument.Cable) {
	for c := range set {
		cables = append(cables, c)
	}
	slices.SortFunc(cables, func(a, b instrument.Cable) int { return cmp.Compare(FormatCable(a), FormatCable(b)) })
	return cables
}
