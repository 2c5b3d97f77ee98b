package scenes

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Morph is the way from one scene to another. Knobs glide all the way: even
// steps for linear ones, even ratios for exponential ones, whole ones from
// number to number; switches, words and cables change at one point of it, the
// cut. What only the second scene has is there from the beginning and what only
// the first has until the end, so that the cluster sees Deployments grow from
// no replicas and shrink to none, one at a time, instead of being replaced.
//
// It can be gone in both directions, as by a hand on a fader. Along the whole
// way every patch is valid: up to the cut it has the cables of the first scene,
// after it those of the second. What hands turn and patch meanwhile is kept at
// both ends: see Hold and Rewire.
type Morph struct {
	from, to *Scene
	cut      float64
	courses  []course
	stage    morphStage // of the last step
	held     map[mapping.Address]bool
}

// morphStage is what stands of cables and modules.
type morphStage uint8

const (
	morphFrom   morphStage = iota // the first scene
	morphBefore                   // both scenes' modules, the first one's cables
	morphAfter                    // both scenes' modules, the second one's cables
	morphTo                       // the second scene
)

// course is one param's way.
type course struct {
	address  mapping.Address
	from, to float64
	ratio    bool // even ratios
	whole    bool
	leap     bool // changes at the cut
	cluster  bool // the cluster hears of it
	text     bool
	a, b     string
	told     float64
	word     string
}

// MorphStep is what changes at one point of a Morph.
type MorphStep struct {
	// Patch is what is to be loaded before the params are turned; nil is none.
	// Its knobs stand where they stand at this point.
	Patch  *instrument.Patch
	Params []ParamChange
	// From and To tell that the first or the second scene is there: Patch is
	// its.
	From, To bool
	// Cut tells that cables and switches have changed since the last step, and
	// After that those of the second scene stand.
	Cut, After bool
}

// grown are the params that say how much of a cluster there is: they grow from
// their least and shrink to it.
var grown = map[string]string{mapping.KindDeployment: "replicas"}

// clusterSteps is in how many steps the cluster goes a way: as many as a
// Deployment can have replicas, and all params at the same points, so that the
// API is told of as few states.
const clusterSteps = 16

// NewMorph prepares the way between two scenes. Cut is where cables and
// switches change, 0…1. A way whose patches would not be valid is refused.
func NewMorph(from, to *Scene, cut float64) (*Morph, error) {
	if math.IsNaN(cut) || cut < 0 || cut > 1 {
		return nil, fmt.Errorf("morph: the cut is from 0 (the beginning) to 1 (the end), this is %g", cut)
	}
	m := &Morph{from: from, to: to, cut: cut, held: map[mapping.Address]bool{}}
	m.chart()
	if err := m.check(); err != nil {
		return nil, fmt.Errorf("morph from %s to %s: %w", from.Name, to.Name, err)
	}
	return m, nil
}

// chart finds the ways of all params that no hand holds.
func (m *Morph) chart() {
	from, to := m.from.Patch, m.to.Patch
	m.courses = nil
	for i := range from.Modules {
		a := &from.Modules[i]
		b := to.Module(a.ID)
		spec := a.Spec()
		for k := range spec.Params {
			m.param(a.ID, &spec.Params[k], a, b)
		}
	}
	for i := range to.Modules {
		b := &to.Modules[i]
		if from.Module(b.ID) == nil {
			for k := range b.Spec().Params {
				m.param(b.ID, &b.Spec().Params[k], nil, b)
			}
		}
	}
}

// check tells what of the patches between both scenes would not be valid.
func (m *Morph) check() error {
	before := m.patch(0, false)
	errs := []error{before.Validate(), m.patch(m.cut, true).Validate()}
	if n := len(before.Modules); n > instrument.MaxModules {
		errs = append(errs, fmt.Errorf("both scenes have %d modules between them; the most is %d", n, instrument.MaxModules))
	}
	return errors.Join(errs...)
}

// param adds one param's way; a or b is nil where its scene has no such module.
func (m *Morph) param(id instrument.ModuleID, p *instrument.ParamSpec, a, b *instrument.Module) {
	g := course{address: mapping.AddressOf(id, p.Name), text: p.Text, whole: p.Whole || len(p.Choices) > 0,
		cluster: p.Cluster || p.Live,
		ratio:   p.Curve == instrument.Exponential && p.Min > 0, leap: len(p.Choices) > 0 || p.Text || p.Counter}
	least := grown[id.Kind()] == p.Name
	switch {
	case p.Text && a != nil && b != nil:
		g.a, g.b = a.Word(p.Name), b.Word(p.Name)
	case p.Text || p.Counter:
		return
	case a != nil && b != nil:
		g.from, g.to = a.Value(p.Name), b.Value(p.Name)
	case !least:
		return
	case a != nil:
		g.from, g.to = a.Value(p.Name), p.Min
	default:
		g.from, g.to = p.Min, b.Value(p.Name)
	}
	if g.from == g.to && g.a == g.b || m.held[g.address] {
		return
	}
	g.told, g.word = g.from, g.a
	m.courses = append(m.courses, g)
}

// at returns where the param stands at a point of the way.
func (g *course) at(x, cut float64) (float64, string) {
	if g.leap {
		if x >= cut {
			return g.to, g.b
		}
		return g.from, g.a
	}
	if x >= 1 {
		return g.to, ""
	}
	if g.cluster {
		x = math.Floor(x*clusterSteps) / clusterSteps
	}
	v := g.from + x*(g.to-g.from)
	if g.ratio {
		v = g.from * math.Pow(g.to/g.from, x)
	}
	if g.whole {
		v = math.Round(v)
	}
	return v, ""
}

// patch is what stands at a point of the way, before or after the cut.
func (m *Morph) patch(x float64, after bool) *instrument.Patch {
	a, b := m.from.Patch, m.to.Patch
	p := &instrument.Patch{Tunings: maps.Clone(a.Tunings)}
	if p.Tunings == nil {
		p.Tunings = maps.Clone(b.Tunings)
	} else {
		for k, v := range b.Tunings {
			if _, ok := p.Tunings[k]; !ok || after {
				p.Tunings[k] = v
			}
		}
	}
	p.Modules = a.Clone().Modules
	for _, mod := range b.Clone().Modules {
		if a.Module(mod.ID) == nil {
			p.Modules = append(p.Modules, mod)
		}
	}
	p.Cables = slices.Clone(a.Cables)
	if after {
		p.Cables = slices.Clone(b.Cables)
	}
	for i := range m.courses {
		g := &m.courses[i]
		id, name, _ := g.address.Split()
		mod := p.Module(id)
		v, word := g.at(x, m.cut)
		if g.text {
			if mod.Text == nil {
				mod.Text = map[string]string{}
			}
			mod.Text[name] = word
		} else {
			if mod.Params == nil {
				mod.Params = map[string]float64{}
			}
			mod.Params[name] = v
		}
	}
	return p
}

// Tunings are those that the modules of a patch between both scenes may name, as
// the last step left it: as of the scene whose cables stand, and what that lacks
// of the other one. Where there is no room for all, those that the patch names
// come first.
func (m *Morph) Tunings(p *instrument.Patch) map[string]Tuning {
	own, other := m.from.Tunings, m.to.Tunings
	if m.stage >= morphAfter {
		own, other = other, own
	}
	if m.stage == morphFrom || m.stage == morphTo || len(other) == 0 {
		return own
	}
	named := map[string]bool{}
	for i := range p.Modules {
		mod := &p.Modules[i]
		for k := range mod.Spec().Params {
			if ps := &mod.Spec().Params[k]; ps.Tuning {
				named[mod.Word(ps.Name)] = true
			}
		}
	}
	all := map[string]Tuning{}
	for _, first := range []bool{true, false} {
		for _, of := range []map[string]Tuning{own, other} {
			for _, name := range slices.Sorted(maps.Keys(of)) {
				if _, ok := all[name]; !ok && named[name] == first && len(all) < MaxTunings {
					all[name] = of[name]
				}
			}
		}
	}
	return all
}

// stageAt is what stands of cables and modules at a point of the way.
func (m *Morph) stageAt(x float64) morphStage {
	switch {
	case x >= 1:
		return morphTo
	case x <= 0:
		return morphFrom
	case x >= m.cut:
		return morphAfter
	}
	return morphBefore
}

// Within returns the point that is nearest to x and to which the way from the
// last step is one of knobs alone: x itself, if no module or cable comes or goes
// on it.
func (m *Morph) Within(x float64) float64 {
	if m.stageAt(x) == m.stage {
		return x
	}
	low, high := math.Nextafter(0, 1), math.Nextafter(1, 0)
	switch m.stage {
	case morphFrom:
		return 0
	case morphTo:
		return 1
	case morphBefore:
		high = math.Nextafter(min(m.cut, 1), 0)
	case morphAfter:
		low = max(m.cut, low)
	}
	return min(max(x, low), high)
}

// Mark remembers where the way is, and returns what goes back to that, as if
// the steps since had not been: for those that could not be done.
func (m *Morph) Mark() (back func()) {
	stage, courses := m.stage, slices.Clone(m.courses)
	return func() { m.stage, m.courses = stage, courses }
}

// Step goes to a point of the way, 0…1, forth or back. What did not change
// since is left out. Before the first one the first scene stands.
func (m *Morph) Step(x float64) MorphStep {
	x = min(max(x, 0), 1)
	stage := m.stageAt(x)
	s := MorphStep{From: stage == morphFrom, To: stage == morphTo, After: stage >= morphAfter,
		Cut: (stage >= morphAfter) != (m.stage >= morphAfter)}
	if stage != m.stage {
		m.stage = stage
		switch stage {
		case morphFrom:
			s.Patch = m.from.Patch
		case morphTo:
			s.Patch = m.to.Patch
		default:
			s.Patch = m.patch(x, stage == morphAfter)
		}
	}
	for i := range m.courses {
		g := &m.courses[i]
		v, word := g.at(x, m.cut)
		if v == g.told && word == g.word {
			continue
		}
		g.told, g.word = v, word
		if s.Patch == nil {
			s.Params = append(s.Params, ParamChange{Address: g.address, Value: v, Word: word})
		}
	}
	return s
}

// Hold leaves a param to the hand that took it: it goes its way no more and
// stands where the hand left it at both ends. It returns where the param stood
// in the first scene, whether it is in that at all, and where the way had
// brought it, if it was on its way until now.
func (m *Morph) Hold(a mapping.Address, value float64, text string) (from mapping.Setpoint, there bool, on *mapping.Setpoint) {
	id, name, err := a.Split()
	if err != nil {
		return from, false, nil
	}
	for i := range m.courses {
		if g := &m.courses[i]; g.address == a {
			on = &mapping.Setpoint{Value: g.told, Word: g.word}
		}
	}
	m.courses = slices.DeleteFunc(m.courses, func(g course) bool { return g.address == a })
	m.held[a] = true
	for _, s := range []**Scene{&m.from, &m.to} {
		mod := (*s).Patch.Module(id)
		if mod == nil || mod.Spec().Param(name) < 0 {
			continue
		}
		own := **s
		own.Patch = own.Patch.Clone()
		mod = own.Patch.Module(id)
		word := mod.Spec().Params[mod.Spec().Param(name)].Text
		if s == &m.from {
			there = true
			if from.Value = mod.Value(name); word {
				from = mapping.Setpoint{Word: mod.Word(name)}
			}
		}
		if word {
			if mod.Text == nil {
				mod.Text = map[string]string{}
			}
			mod.Text[name] = text
		} else {
			if mod.Params == nil {
				mod.Params = map[string]float64{}
			}
			mod.Params[name] = value
		}
		*s = &own
	}
	return from, there, on
}

// Rewire does to both scenes what a hand patched on the way, part by part, each
// where it is valid. What was removed or pulled goes wherever it is; what was
// added comes where nothing has its name; what was plugged in comes where both
// its ends are and its input is free. It returns what it did to each scene,
// which its Back undoes there.
func (m *Morph) Rewire(w mapping.Wiring) (from, to mapping.Wiring) {
	for _, mod := range w.Removed {
		maps.DeleteFunc(m.held, func(a mapping.Address, _ bool) bool { id, _, _ := a.Split(); return id == mod.ID })
	}
	return m.rewire(&m.from, w), m.rewire(&m.to, w)
}

func (m *Morph) rewire(end **Scene, w mapping.Wiring) (done mapping.Wiring) {
	try := func(edit func(p *instrument.Patch)) bool {
		was, courses := *end, m.courses
		own := *was
		own.Patch = was.Patch.Clone()
		edit(own.Patch)
		*end = &own
		m.chart()
		if own.Patch.Validate() != nil || m.check() != nil {
			*end, m.courses = was, courses
			return false
		}
		for i := range m.courses {
			g := &m.courses[i]
			k := slices.IndexFunc(courses, func(o course) bool { return o.address == g.address })
			if g.told = math.NaN(); k >= 0 { // or else it is to be told where it stands
				g.told, g.word = courses[k].told, courses[k].word
			}
		}
		return true
	}
	for _, mod := range w.Removed {
		own := (*end).Patch.Module(mod.ID)
		if own == nil {
			continue
		}
		was := (*end).Patch.Clone()
		has := func(c instrument.Cable) bool { return c.From.Module == mod.ID || c.To.Module == mod.ID }
		if try(func(p *instrument.Patch) {
			p.Modules = slices.DeleteFunc(p.Modules, func(o instrument.Module) bool { return o.ID == mod.ID })
			p.Cables = slices.DeleteFunc(p.Cables, has)
		}) {
			done.Removed = append(done.Removed, *was.Module(mod.ID))
			for _, c := range was.Cables {
				if has(c) {
					done.Pulled = append(done.Pulled, c)
				}
			}
		}
	}
	for _, c := range w.Pulled {
		if slices.Contains((*end).Patch.Cables, c) &&
			try(func(p *instrument.Patch) {
				p.Cables = slices.DeleteFunc(p.Cables, func(o instrument.Cable) bool { return o == c })
			}) {
			done.Pulled = append(done.Pulled, c)
		}
	}
	for _, mod := range w.Added {
		own := (&instrument.Patch{Modules: []instrument.Module{mod}}).Clone().Modules[0]
		if (*end).Patch.Module(mod.ID) == nil && try(func(p *instrument.Patch) { p.Modules = append(p.Modules, own) }) {
			done.Added = append(done.Added, mod)
		}
	}
	for _, c := range w.Plugged {
		// One that is there already is not the hand's.
		if !slices.Contains((*end).Patch.Cables, c) && try(func(p *instrument.Patch) { p.Cables = append(p.Cables, c) }) {
			done.Plugged = append(done.Plugged, c)
		}
	}
	return done
}

// Place stands a module where a hand has put it at both ends, where it is and
// there is room.
func (m *Morph) Place(id instrument.ModuleID, at Place) {
	for _, s := range []**Scene{&m.from, &m.to} {
		if was, ok := (*s).Places[id]; ok && was == at || (*s).Patch.Module(id) == nil {
			continue
		}
		own := **s
		if own.Places = maps.Clone(own.Places); own.Places == nil {
			own.Places = map[instrument.ModuleID]Place{}
		}
		own.Places[id] = at
		room := true
		if own.checkPlaces(func(_ string, err error) { room = room && err == nil }); room {
			*s = &own
		}
	}
}

// From and To are the scenes at the ends of the way, with what hands turned and
// patched on it.
func (m *Morph) From() *Scene { return m.from }
func (m *Morph) To() *Scene   { return m.to }

// Cut is where on the way cables and switches change, 0…1.
func (m *Morph) Cut() float64 { return m.cut }
