package vcv

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Place is where in the rack a module stands: its row, 0 is the top, and the
// HP of its left edge.
type Place struct{ Row, HP int }

// Ends of a rack of ours.
const (
	maxRow = 31
	maxHP  = 1024
)

// Mapped is a module that has a meaning here.
type Mapped struct {
	What  string                `json:"what"`
	As    []instrument.ModuleID `json:"as"`
	Notes []string              `json:"notes,omitempty"` // what is not the same
}

// Note is something that did not go over as it is.
type Note struct {
	What string `json:"what"`
	Why  string `json:"why"`
}

// Report says what became of everything in a file.
type Report struct {
	Mapped []Mapped `json:"mapped"`
	// Kept is what the patch does not have and Extra has: it is in the file
	// again when the patch is exported with it.
	Kept []Note `json:"kept,omitempty"`
	// Lost is what the patch has in another way than the file, or what an
	// export had to leave out.
	Lost []Note `json:"lost,omitempty"`
	// Upgraded is what was brought into the form of Rack 2.
	Upgraded []string `json:"upgraded,omitempty"`
}

// Imported is a patch that was made from a file.
type Imported struct {
	Patch *instrument.Patch
	// Places are those of the modules that have room; they do not overlap.
	Places map[instrument.ModuleID]Place
	Extra  *Extra
	Report Report
}

// Import makes a patch of the file.
func (f *File) Import() (*Imported, error) {
	r, err := f.tie(nil)
	if err != nil {
		return nil, err
	}
	extra, err := f.extra(r)
	if err != nil {
		return nil, err
	}
	return &Imported{r.patch, r.places, extra, r.report}, nil
}

// reading is a file and the patch that it is, tied together.
type reading struct {
	patch  *instrument.Patch
	places map[instrument.ModuleID]Place
	left   float64 // what was taken from all positions
	top    float64
	mods   []tiedModule
	cables []tiedCable
	report Report
}

// tiedModule is a module of a file with those of the patch that stand for it.
type tiedModule struct {
	m     *module
	model *model // nil for our own and for unknown ones
	own   bool
	// parts are by the model's kinds; of our own there is one. Empty are those
	// that were not made, and all of an unknown module.
	parts []instrument.ModuleID
}

// tiedCable is a cable of a file; ok where the patch has it.
type tiedCable struct {
	c     *cable
	cable instrument.Cable
	ok    bool
}

// moduleID is what a file may say that one of our modules is called.
var moduleID = regexp.MustCompile(`^[a-z0-9_]+/[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)

// own returns the spec of a module of our own plugin, or nil.
func own(m *module) *instrument.ModuleSpec {
	if m.plugin != PluginSlug {
		return nil
	}
	return instrument.Spec(m.model)
}

// tie makes the patch. Names are those that modules had before; others are
// called as their data says, or by a number.
func (f *File) tie(names map[int64][]instrument.ModuleID) (*reading, error) {
	r := &reading{patch: &instrument.Patch{}, places: map[instrument.ModuleID]Place{}}
	r.report.Mapped = []Mapped{}
	r.report.Upgraded = f.Upgraded
	taken := map[instrument.ModuleID]bool{}
	for _, list := range names {
		for _, id := range list {
			taken[id] = true
		}
	}
	count := map[string]int{}
	name := func(kind string) instrument.ModuleID {
		for {
			count[kind]++
			id := instrument.ModuleID(kind + "/" + strings.ReplaceAll(kind, "_", "-") + "-" + strconv.Itoa(count[kind]))
			if !taken[id] {
				taken[id] = true
				return id
			}
		}
	}
	ends := map[int64]map[bool]map[int]bool{} // by module, by whether it is an output, by port
	for _, c := range f.cables {
		if !c.whole {
			continue
		}
		for _, e := range []struct {
			id   int64
			out  bool
			port int
		}{{c.out, true, c.output}, {c.in, false, c.input}} {
			if ends[e.id] == nil {
				ends[e.id] = map[bool]map[int]bool{true: {}, false: {}}
			}
			ends[e.id][e.out][e.port] = true
		}
	}
	for _, m := range f.modules {
		t := tiedModule{m: m}
		known := names[m.id]
		switch spec, mod := own(m), foreign[m.plugin+"/"+m.model]; {
		case len(r.patch.Modules) >= instrument.MaxModules && (spec != nil || mod != nil):
			r.report.Kept = append(r.report.Kept, Note{m.name(), fmt.Sprintf("a patch has at most %d modules", instrument.MaxModules)})
		case spec != nil:
			t.own = true
			var id instrument.ModuleID
			said, _ := m.data("id").(string)
			switch {
			case len(known) == 1 && known[0].Kind() == spec.Kind:
				id = known[0]
			case moduleID.MatchString(said) && instrument.ModuleID(said).Kind() == spec.Kind && !taken[instrument.ModuleID(said)]:
				id = instrument.ModuleID(said)
				taken[id] = true
			default:
				id = name(spec.Kind)
			}
			t.parts = []instrument.ModuleID{id}
			mod, notes := readOwn(m, spec, id)
			r.patch.Modules = append(r.patch.Modules, mod)
			r.report.Mapped = append(r.report.Mapped, Mapped{m.name(), t.parts, notes})
		case mod != nil:
			t.model = mod
			mapped := Mapped{What: m.name()}
			s := &setter{parts: make([]*instrument.Module, len(mod.kinds)), plugged: func(input int) bool { return ends[m.id][false][input] }}
			t.parts = make([]instrument.ModuleID, len(mod.kinds))
			for k, kind := range mod.kinds {
				if k > 0 && !mod.touches(k, ends[m.id]) && (k >= len(known) || known[k] == "") {
					continue
				}
				id := instrument.ModuleID("")
				if k < len(known) && known[k].Kind() == kind {
					id = known[k]
				}
				if id == "" {
					id = name(kind)
				}
				t.parts[k] = id
				s.parts[k] = &instrument.Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}
				mapped.As = append(mapped.As, id)
			}
			if mod.read != nil {
				mod.read(m, s)
			}
			if mod.differs != "" {
				mapped.Notes = append(mapped.Notes, mod.differs)
			}
			mapped.Notes = append(mapped.Notes, s.notes...)
			if v, _ := m.raw["bypass"].(bool); v {
				mapped.Notes = append(mapped.Notes, "it is bypassed there")
			}
			for _, p := range s.parts {
				if p != nil && len(r.patch.Modules) < instrument.MaxModules {
					if len(p.Text) == 0 {
						p.Text = nil
					}
					r.patch.Modules = append(r.patch.Modules, *p)
				}
			}
			r.report.Mapped = append(r.report.Mapped, mapped)
		default:
			why := "no module here means the same"
			if m.plugin == PluginSlug {
				why = "this program has no such module"
			}
			r.report.Kept = append(r.report.Kept, Note{m.name(), why})
		}
		r.mods = append(r.mods, t)
	}
	f.tieCables(r)
	if err := r.prune(); err != nil {
		return nil, err
	}
	r.place()
	return r, nil
}

// touches tells whether a port of a part has a cable.
func (m *model) touches(part int, ends map[bool]map[int]bool) bool {
	for out, ports := range map[bool]map[int]port{true: m.outputs, false: m.inputs} {
		for id, p := range ports {
			if p.part == part && ends[out][id] {
				return true
			}
		}
	}
	return false
}

// jack returns the jack of the patch that a port is.
func (t *tiedModule) jack(out bool, id int) (instrument.JackRef, string) {
	switch {
	case t.own:
		spec := instrument.Spec(t.parts[0].Kind())
		jacks := spec.Inputs
		if out {
			jacks = spec.Outputs
		}
		if id < len(jacks) {
			return instrument.JackRef{Module: t.parts[0], Jack: jacks[id].Name}, ""
		}
		return instrument.JackRef{}, fmt.Sprintf("%s has no such port", t.m.name())
	case t.model != nil:
		ports := t.model.inputs
		if out {
			ports = t.model.outputs
		}
		p, ok := ports[id]
		if ok && t.parts[p.part] != "" {
			return instrument.JackRef{Module: t.parts[p.part], Jack: p.jack}, ""
		}
		return instrument.JackRef{}, fmt.Sprintf("that port of %s has no jack here", t.m.name())
	}
	return instrument.JackRef{}, fmt.Sprintf("%s is unknown here", t.m.name())
}

// cableName is how reports call a cable.
func (f *File) cableName(c *cable) string {
	return fmt.Sprintf("cable %v from output %v of module %v to input %v of module %v", c.raw["id"], c.raw["outputId"], c.raw["outputModuleId"], c.raw["inputId"], c.raw["inputModuleId"])
}

func (f *File) tieCables(r *reading) {
	by := map[int64]*tiedModule{}
	for i := range r.mods {
		by[r.mods[i].m.id] = &r.mods[i]
	}
	for _, c := range f.cables {
		t := tiedCable{c: c}
		kept := func(why string) { r.report.Kept = append(r.report.Kept, Note{f.cableName(c), why}) }
		switch from, to := by[c.out], by[c.in]; {
		case !c.whole:
			kept("it does not say where both ends are")
		case from == nil || to == nil:
			kept("there is no such module")
		default:
			a, why := from.jack(true, c.output)
			b, why2 := to.jack(false, c.input)
			if why = cmp.Or(why, why2); why != "" {
				kept(why)
				break
			}
			t.cable, t.ok = instrument.Cable{From: a, To: b}, true
		}
		r.cables = append(r.cables, t)
	}
}

// prune takes out of the patch the cables that it cannot have.
func (r *reading) prune() error {
	var at []int // index in r.cables by that in the patch
	for i := range r.cables {
		if r.cables[i].ok {
			at = append(at, i)
		}
	}
	present := map[instrument.ModuleID]bool{}
	for i := range r.patch.Modules {
		present[r.patch.Modules[i].ID] = true
	}
	for {
		r.patch.Cables = nil
		live := at[:0:0]
		for _, i := range at {
			t := &r.cables[i]
			if t.ok && present[t.cable.From.Module] && present[t.cable.To.Module] {
				r.patch.Cables = append(r.patch.Cables, t.cable)
				live = append(live, i)
			} else if t.ok {
				t.ok = false
				r.report.Kept = append(r.report.Kept, Note{t.cable.From.String() + " -> " + t.cable.To.String(), "the patch has no room for that module"})
			}
		}
		at = live
		err := r.patch.Validate()
		if err == nil {
			return nil
		}
		bad := 0
		for _, e := range unjoin(err) {
			var pe *instrument.PatchError
			if !errors.As(e, &pe) {
				return err
			}
			var i int
			if strings.HasPrefix(pe.Path, "modules[") {
				if !r.without(pe) {
					return err
				}
				bad++
				continue
			}
			if _, err := fmt.Sscanf(pe.Path, "cables[%d]", &i); err != nil || i >= len(at) {
				return e
			}
			if t := &r.cables[at[i]]; t.ok {
				t.ok = false
				bad++
				r.report.Kept = append(r.report.Kept, Note{t.cable.From.String() + " -> " + t.cable.To.String(), pe.Err.Error()})
			}
		}
		if bad == 0 {
			return err
		}
	}
}

// without takes out of the patch the param that a mistake is in.
func (r *reading) without(e *instrument.PatchError) bool {
	place, name, ok := strings.Cut(e.Path, ".params.")
	var i int
	if _, err := fmt.Sscanf(place, "modules[%d]", &i); err != nil || !ok || i >= len(r.patch.Modules) {
		return false
	}
	m := &r.patch.Modules[i]
	if _, has := m.Params[name]; !has {
		if _, has = m.Text[name]; !has {
			return false
		}
	}
	delete(m.Params, name)
	delete(m.Text, name)
	r.report.Lost = append(r.report.Lost, Note{string(m.ID) + "/" + name, e.Err.Error()})
	return true
}

func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// place gives the modules their places: in the order in which they stand
// there, and moved to the right where ours are wider.
func (r *reading) place() {
	type stand struct {
		x, y float64
		id   instrument.ModuleID
		n    int
	}
	var all []stand
	r.left, r.top = math.Inf(1), math.Inf(1)
	present := map[instrument.ModuleID]bool{}
	for i := range r.patch.Modules {
		present[r.patch.Modules[i].ID] = true
	}
	for i := range r.mods {
		t := &r.mods[i]
		if !t.m.placed {
			continue
		}
		for k, id := range t.parts {
			if id != "" && present[id] {
				r.left, r.top = math.Min(r.left, t.m.x), math.Min(r.top, t.m.y)
				all = append(all, stand{t.m.x, t.m.y, id, k})
			}
		}
	}
	if len(all) == 0 {
		r.left, r.top = 0, 0
		return
	}
	slices.SortStableFunc(all, func(a, b stand) int {
		return cmp.Or(cmp.Compare(a.y, b.y), cmp.Compare(a.x, b.x), cmp.Compare(a.n, b.n))
	})
	row, free := -1.0, 0
	for _, s := range all {
		if y := s.y - r.top; y != row {
			row, free = y, 0
		}
		hp := max(free, int(s.x-r.left))
		width := instrument.Spec(s.id.Kind()).HP
		if row > maxRow || hp+width > maxHP {
			continue
		}
		r.places[s.id] = Place{int(row), hp}
		free = hp + width
	}
}

// readOwn reads a module of our own plugin.
func readOwn(m *module, spec *instrument.ModuleSpec, id instrument.ModuleID) (instrument.Module, []string) {
	mod := instrument.Module{ID: id, Params: map[string]float64{}}
	var notes []string
	set := map[string]bool{}
	list, _ := m.data("set").([]any)
	for _, v := range list {
		if s, ok := v.(string); ok {
			set[s] = true
		}
	}
	words, _ := m.data("text").(map[string]any)
	for i := range spec.Params {
		p := &spec.Params[i]
		if p.Text {
			w, ok := words[p.Name].(string)
			if !ok {
				continue
			}
			if err := p.CheckWord(w); err != nil {
				notes = append(notes, err.Error())
				continue
			}
			if p.Tuning {
				if _, err := (&instrument.Patch{}).Tuning(w); err != nil {
					notes = append(notes, err.Error())
					continue
				}
			}
			if mod.Text == nil {
				mod.Text = map[string]string{}
			}
			mod.Text[p.Name] = w
			continue
		}
		v, ok := m.params[i]
		if !ok {
			continue
		}
		if p.Check(v) != nil {
			notes = append(notes, fmt.Sprintf("%s is %g, would be %g", p.Name, p.Clamp(v), v))
		}
		v = p.Clamp(v)
		if set[p.Name] || math.Abs(v-p.Value) > 1e-7*math.Max(math.Abs(p.Value), 1e-3) {
			mod.Params[p.Name] = v
		}
	}
	if len(mod.Params) == 0 {
		mod.Params = nil
	}
	return mod, notes
}
