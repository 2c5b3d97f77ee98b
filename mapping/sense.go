package mapping

import (
	"cmp"
	"fmt"
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

// sources returns what is patched into the modules that send on a jack of the
// rig, and their names.
func (r *Rack) sources(jack string) (from []instrument.JackRef, modules []instrument.ModuleID) {
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
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
		c := r.cable(m.ID, input)
		if c == nil && input == "right" {
			c = r.cable(m.ID, "left")
		}
		if c != nil {
			from = append(from, c.From)
		}
	}
	return from, modules
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
	var want []sensedCable
	wanted := map[instrument.Cable]bool{}
	for _, p := range s.pairs {
		for i := range r.patch.Modules {
			m := &r.patch.Modules[i]
			socket := m.Word("socket")
			if !m.Spec().Captures || socket == "" || !slices.Contains(m.Jacks(), p.Input) {
				continue
			}
			to, err := instrument.ParseJackRef(socket)
			from, senders := r.sources(p.Output)
			switch {
			case err != nil:
				fail(p, fmt.Errorf("socket of %s: %w", m.ID, err))
			case len(senders) == 0:
				fail(p, fmt.Errorf("no module of the patch sends on %s, so that nothing goes to %s", p.Output, to))
			case len(from) == 0:
				fail(p, fmt.Errorf("nothing is patched into %s, so that nothing goes to %s", senders[0], to))
			}
			if err != nil {
				continue
			}
			for _, f := range from {
				c := instrument.Cable{From: f, To: to}
				if !wanted[c] {
					wanted[c] = true
					want = append(want, sensedCable{p, c})
				}
			}
		}
	}
	var w Wiring
	for _, c := range sortedCables(s.owned) {
		switch there := slices.Contains(r.patch.Cables, c); {
		case !there && wanted[c]:
			s.overruled[c] = true
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
