package mapping

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// adoption is an edit on its way into the patch.
type adoption struct {
	rack         *Rack
	base, edited Topology
	patch        *instrument.Patch // as it becomes
	came         map[Address]float64
	changed      []Address
	refused      []error
}

// Adopt lets the patch follow what another hand did to the topology in the
// cluster: what differs between the edit's base and its topology is done to
// the patch, and all else stays, so that a knob that is being turned is not
// turned back. It returns the addresses of what changed (params, and inputs
// whose cable came or went) and why the rest was refused: a gate or CV holds
// it, it is gone meanwhile, or it goes with the rest of the patch no longer.
//
// Afterwards Topology returns the edited one, and tells of a new one only
// where that differs: where something was refused, or was turned meanwhile.
func (r *Rack) Adopt(e Edit) (changed []Address, refused []error) {
	r.begin()
	changed, refused = r.adopt(e)
	if r.ended(nil) {
		edit := e
		r.record(Input{Source: cmp.Or(e.By, SourceCluster), Edit: &edit})
	}
	return changed, refused
}

func (r *Rack) adopt(e Edit) (changed []Address, refused []error) {
	a := &adoption{rack: r, patch: r.patch.Clone(), came: map[Address]float64{}}
	var err error
	if a.edited, err = normal(&e.Topology); err != nil {
		return nil, unjoin(err)
	}
	if a.base, err = normal(&e.Base); err != nil {
		return nil, []error{fmt.Errorf("the topology from which the edit started: %w", err)}
	}
	if ns := e.Topology.Namespace; ns != e.Base.Namespace && ns != r.cfg.Namespace {
		a.refuse("namespace", fmt.Errorf("the patch lives in %s; set another namespace in the scene", r.cfg.Namespace))
	}
	a.unplug()
	a.modules()
	a.plug()
	a.params()
	a.play(cmp.Or(e.By, SourceCluster))
	// This is how the cluster has it. Whether the patch differs is for
	// Topology to say.
	last := a.edited
	last.Namespace, last.Scene = e.Topology.Namespace, e.Topology.Scene
	if last.Namespace == "" {
		last.Namespace = r.cfg.Namespace
	}
	last.Scene = cmp.Or(last.Scene, r.cfg.Scene)
	last.Generation = max(r.topology.Generation, e.Topology.Generation, e.Base.Generation)
	r.letGo(&r.topology, &last)
	r.topology, r.dirty = last, true
	r.resense()
	return a.changed, a.refused
}

// normal returns a topology with every param spelt out, as TopologyOf does.
func normal(t *Topology) (Topology, error) {
	p, err := t.Patch()
	if err != nil {
		return Topology{}, err
	}
	return TopologyOf(p, nil), nil
}

func (a *adoption) refuse(where string, err error) {
	a.refused = append(a.refused, &instrument.PatchError{Path: where, Err: err})
}

// try does something to the patch, unless it is not valid then.
func (a *adoption) try(where string, do func(p *instrument.Patch)) bool {
	next := a.patch.Clone()
	do(next)
	if err := next.Validate(); err != nil {
		a.refuse(where, err)
		return false
	}
	a.patch = next
	return true
}

// touch notes that an address changed.
func (a *adoption) touch(at Address) {
	if !slices.Contains(a.changed, at) {
		a.changed = append(a.changed, at)
	}
}

// unplug pulls the cables that the edit pulled.
func (a *adoption) unplug() {
	for _, text := range a.base.Cables {
		if slices.Contains(a.edited.Cables, text) {
			continue
		}
		c, err := ParseCable(text)
		if err != nil {
			continue // it came out of FormatCable
		}
		if i := slices.Index(a.patch.Cables, c); i >= 0 {
			a.patch.Cables = slices.Delete(a.patch.Cables, i, i+1)
			a.touch(AddressOf(c.To.Module, c.To.Jack))
		}
	}
}

// modules takes out and puts in the modules that the edit did.
func (a *adoption) modules() {
	for _, id := range slices.Sorted(maps.Keys(a.base.Modules)) {
		if _, stays := a.edited.Modules[id]; stays || a.patch.Module(id) == nil {
			continue
		}
		a.patch.Modules = slices.DeleteFunc(a.patch.Modules, func(m instrument.Module) bool { return m.ID == id })
		a.patch.Cables = slices.DeleteFunc(a.patch.Cables, func(c instrument.Cable) bool {
			gone := c.From.Module == id || c.To.Module == id
			if gone && c.To.Module != id {
				a.touch(AddressOf(c.To.Module, c.To.Jack))
			}
			return gone
		})
		for name := range a.base.Modules[id] {
			a.touch(AddressOf(id, name))
		}
	}
	for _, id := range slices.Sorted(maps.Keys(a.edited.Modules)) {
		_, was := a.base.Modules[id]
		switch there := a.patch.Module(id) != nil; {
		case was && !there:
			if !reflect.DeepEqual(a.base.Modules[id], a.edited.Modules[id]) {
				a.refuse("modules."+string(id), errors.New("it was taken out of the patch meanwhile"))
			}
		case !was && !there:
			a.try("modules."+string(id), func(p *instrument.Patch) { p.Modules = append(p.Modules, instrument.Module{ID: id}) })
		}
	}
}

// params moves the knobs and words that the edit did.
func (a *adoption) params() {
	for _, id := range slices.Sorted(maps.Keys(a.edited.Modules)) {
		if a.patch.Module(id) == nil {
			continue
		}
		base, was := a.base.Modules[id]
		spec := instrument.Spec(id.Kind())
		for k := range spec.Params {
			p := &spec.Params[k]
			if !p.Cluster {
				continue
			}
			m := a.patch.Module(id)
			to := a.edited.Modules[id][p.Name]
			from := base[p.Name]
			if !was {
				from = encodeParam(p, m.Value(p.Name), m.Word(p.Name))
			}
			if from == to && !a.lost(id, p.Name) {
				continue
			}
			at := "modules." + string(id) + "." + p.Name
			if p.Text {
				word, _ := to.(string)
				if a.try(at, func(patch *instrument.Patch) { setWord(patch.Module(id), p.Name, word) }) {
					a.touch(AddressOf(id, p.Name))
				}
				continue
			}
			// Both came out of TopologyOf.
			before, _, _ := decodeParam(p, from)
			after, _, _ := decodeParam(p, to)
			value, err := a.knob(id, p, before, after)
			if err != nil {
				a.refuse(at, err)
				continue
			}
			if m.Value(p.Name) == value {
				continue
			}
			if a.try(at, func(patch *instrument.Patch) { setValue(patch.Module(id), p.Name, value) }) {
				a.touch(AddressOf(id, p.Name))
			} else {
				delete(a.came, AddressOf(id, p.Name))
			}
		}
	}
}

// knob returns where a knob must stand for a param to come to what the edit
// says, or why nowhere does.
func (a *adoption) knob(id instrument.ModuleID, p *instrument.ParamSpec, before, after float64) (float64, error) {
	r := a.rack
	knob := a.patch.Module(id).Value(p.Name)
	held := func(jack, how string) error {
		if c := r.cable(id, jack); c != nil {
			return fmt.Errorf("the gate of %s at %s holds it %s", c.From, jack, how)
		}
		return fmt.Errorf("the gate at %s holds it %s", jack, how)
	}
	there := r.patch.Module(id) != nil
	switch kind := id.Kind(); {
	case kind == KindPod && p.Name == "hold" && after == 1:
		if _, ok := claims(a.patch)[id]; ok {
			return 0, errors.New("it shows a replica, which its Deployment holds up")
		}
	case kind == KindPod && p.Name == "hold" && there:
		if r.high(id, "lifecycle") && a.wired(id, "lifecycle") {
			return 0, held("lifecycle", "up")
		}
	case kind == KindCronJob && p.Name == "suspend" && after == 0 && there:
		if r.high(id, "suspend_gate") && a.wired(id, "suspend_gate") {
			return 0, held("suspend_gate", "still")
		}
	case kind == KindNamespace && p.Name == "power" && after == 1 && there:
		if !r.high(id, "power_gate") && a.wired(id, "power_gate") {
			return 0, held("power_gate", "without power")
		}
	case p.Counter:
		// Both hands asked: the new count is neither's last.
		return p.Clamp(knob + after - before), nil
	case there && r.driven(id, p.Name) && a.wired(id, p.Name+"_cv"):
		to := knob + after - before
		if to < p.Min || to > p.Max {
			return 0, fmt.Errorf("with the CV at %s_cv it would take a knob at %g, and that goes from %g to %g", p.Name, to, p.Min, p.Max)
		}
		came := p.Clamp(r.Effective(id, p.Name) + after - before)
		a.came[AddressOf(id, p.Name)] = came
		return to, nil
	}
	return after, nil
}

// jackOf is the input that has a say in what a param comes to.
func jackOf(id instrument.ModuleID, param string) string {
	switch id.Kind() + "/" + param {
	case KindPod + "/hold":
		return "lifecycle"
	case KindCronJob + "/suspend":
		return "suspend_gate"
	case KindNamespace + "/power":
		return "power_gate"
	}
	return param + "_cv"
}

// lost tells whether the edit pulled the cable that had a say in what a param
// came to: from now on the knob alone must say it.
func (a *adoption) lost(id instrument.ModuleID, param string) bool {
	return !a.wired(id, jackOf(id, param))
}

// wired tells whether what the engine says of a gate will still hold: its
// cable, if it had one, is still there.
func (a *adoption) wired(id instrument.ModuleID, jack string) bool {
	c := a.rack.cable(id, jack)
	return c == nil || slices.Contains(a.patch.Cables, *c)
}

func setValue(m *instrument.Module, name string, v float64) {
	if m.Params == nil {
		m.Params = map[string]float64{}
	}
	m.Params[name] = v
}

func setWord(m *instrument.Module, name, word string) {
	if m.Text == nil {
		m.Text = map[string]string{}
	}
	m.Text[name] = word
}

// plug adds the cables that the edit added.
func (a *adoption) plug() {
	for i, text := range a.edited.Cables {
		if slices.Contains(a.base.Cables, text) {
			continue
		}
		c, err := ParseCable(text)
		if err != nil || slices.Contains(a.patch.Cables, c) {
			continue
		}
		at := fmt.Sprintf("cables[%d]", i)
		if k := slices.IndexFunc(a.patch.Cables, func(o instrument.Cable) bool { return o.To == c.To }); k >= 0 {
			a.refuse(at, fmt.Errorf("%s holds a cable from %s; pull it first", c.To, a.patch.Cables[k].From))
			continue
		}
		if a.try(at, func(p *instrument.Patch) { p.Cables = append(p.Cables, c) }) {
			a.touch(AddressOf(c.To.Module, c.To.Jack))
		}
	}
}

// play makes the edited patch the one that is played, and tells of what moved.
func (a *adoption) play(source string) {
	r := a.rack
	old := r.patch
	rewired := !slices.Equal(old.Cables, a.patch.Cables) ||
		!slices.EqualFunc(old.Modules, a.patch.Modules, func(x, y instrument.Module) bool { return x.ID == y.ID })
	came := maps.Clone(r.came)
	maps.Copy(r.came, a.came)
	if rewired {
		if err := r.load(a.patch); err != nil {
			// Nothing of it can be played.
			r.came = came
			a.changed, a.refused = nil, append(a.refused, err)
			r.dirty = true
			return
		}
	}
	for _, at := range a.changed {
		m, err := r.Member(at)
		if err != nil {
			continue // its module went
		}
		switch m.Kind {
		case MemberParam:
			v := a.patch.Module(m.module).Value(m.Param.Name)
			if !rewired {
				r.turn(m, v, 0)
			}
			r.changed(at, v, "", source)
		case MemberText:
			word := a.patch.Module(m.module).Word(m.Param.Name)
			if !rewired {
				r.write(m, word)
			}
			r.changed(at, 0, word, source)
		case MemberInput:
			v, _, _ := r.Value(at)
			r.changed(at, v, "", source)
		}
	}
}
