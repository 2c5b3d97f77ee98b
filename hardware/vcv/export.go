package vcv

import (
	"fmt"
	"hash/fnv"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// end is a module of the patch as the new file has it.
type end struct {
	id    int64
	part  int
	model *model // nil for our own
	tied  int    // index in the reading, -1 where it is new
}

// exporter makes one file.
type exporter struct {
	patch   *instrument.Patch
	places  map[instrument.ModuleID]Place
	f       *File
	base    *reading
	report  *Report
	ends    map[instrument.ModuleID]end
	ids     map[int64]bool
	modules []any
	gone    map[int64]bool // modules of the base that are not there any more, or as another
}

// Export makes a file of a patch. Extra, which may be nil, is what Import
// gave: what did not change since then is in the file as it was. A module of
// another plugin whose change it cannot express becomes one of our own, and
// the report says so.
func Export(p *instrument.Patch, places map[instrument.ModuleID]Place, extra *Extra) (*File, *Report, error) {
	if err := p.Validate(); err != nil {
		return nil, nil, err
	}
	x := &exporter{patch: p, places: places, modules: []any{}, report: &Report{Mapped: []Mapped{}}, ends: map[instrument.ModuleID]end{}, ids: map[int64]bool{}, gone: map[int64]bool{}}
	if extra != nil {
		var err error
		if x.f, x.base, err = extra.open(); err != nil {
			return nil, nil, fmt.Errorf("what was kept of the file: %w", err)
		}
	} else {
		x.f = &File{Files: map[string][]byte{}, Root: map[string]any{"version": RackVersion, "zoom": decimal(1), "gridOffset": []any{integer(0), integer(0)}}}
		x.base = &reading{patch: &instrument.Patch{}, places: map[instrument.ModuleID]Place{}}
	}
	for _, m := range x.f.modules {
		x.ids[m.id] = true
	}
	moved := x.keepModules()
	x.newModules(moved)
	x.f.Root["modules"] = x.modules
	x.cables()
	x.adjacent(moved)
	if id, ok := whole(x.f.Root["masterModuleId"]); ok && (!x.ids[id] || x.gone[id]) {
		delete(x.f.Root, "masterModuleId")
	}
	x.files()
	// The file is read again, so that what is handed out is what it says.
	out := &File{Root: x.f.Root, Files: x.f.Files}
	if err := out.read(); err != nil {
		return nil, nil, fmt.Errorf("the file that was made: %w", err)
	}
	return out, x.report, nil
}

func (x *exporter) lost(what, why string) { x.report.Lost = append(x.report.Lost, Note{what, why}) }

// same tells whether two modules stand alike.
func same(a, b *instrument.Module, near float64) bool {
	for i := range a.Spec().Params {
		p := &a.Spec().Params[i]
		if p.Text {
			if a.Word(p.Name) != b.Word(p.Name) {
				return false
			}
			continue
		}
		v, w := a.Value(p.Name), b.Value(p.Name)
		if math.Abs(v-w) > near*math.Max(math.Abs(v), 1e-3) {
			return false
		}
	}
	return true
}

// keepModules goes through what was in the file. It returns the positions of
// modules that moved or are new there, by their number in the file.
func (x *exporter) keepModules() map[instrument.ModuleID]bool {
	moved := map[instrument.ModuleID]bool{}
	// Which parts of a foreign module need a jack that it has not.
	lacking := map[instrument.ModuleID]string{}
	parts := map[instrument.ModuleID]end{}
	for i := range x.base.mods {
		for k, id := range x.base.mods[i].parts {
			if id != "" && x.base.mods[i].model != nil {
				parts[id] = end{model: x.base.mods[i].model, part: k}
			}
		}
	}
	for _, c := range x.patch.Cables {
		if e, ok := parts[c.From.Module]; ok && jackPort(e.model.outputs, e.part, c.From.Jack) < 0 {
			lacking[c.From.Module] = c.From.Jack
		}
		if e, ok := parts[c.To.Module]; ok && jackPort(e.model.inputs, e.part, c.To.Jack) < 0 {
			lacking[c.To.Module] = c.To.Jack
		}
	}
	for i := range x.base.mods {
		t := &x.base.mods[i]
		raw := t.m.raw
		if len(t.parts) == 0 {
			x.modules = append(x.modules, raw)
			x.report.Kept = append(x.report.Kept, Note{t.m.name(), "it is in the file as it was"})
			continue
		}
		now := make([]*instrument.Module, len(t.parts))
		was := make([]*instrument.Module, len(t.parts))
		var as []instrument.ModuleID
		made := 0
		for k, id := range t.parts {
			if id == "" {
				continue
			}
			made++
			was[k] = x.base.patch.Module(id)
			if now[k] = x.patch.Module(id); now[k] != nil {
				as = append(as, id)
			}
		}
		if len(as) == 0 {
			x.gone[t.m.id] = true
			delete(x.ids, t.m.id)
			x.lost(t.m.name(), "the patch has it no more")
			continue
		}
		notes := []string(nil)
		why := ""
		switch {
		case t.own:
			if !same(now[0], was[0], 0) || !maps.Equal(now[0].Params, was[0].Params) || !maps.Equal(now[0].Text, was[0].Text) {
				writeOwn(raw, now[0])
				notes = append(notes, "changed")
			}
		case len(as) < made:
			why = "a part of it is not in the patch any more"
		default:
			for _, id := range as {
				if j := lacking[id]; j != "" {
					why = "it has no port for the jack " + j
				}
			}
			if why == "" {
				why = x.restore(t, was, now, &notes)
			}
		}
		if why != "" {
			x.lost(t.m.name(), "it is a module of "+PluginSlug+" now: "+why)
			x.gone[t.m.id] = true
			first := true
			for _, m := range now {
				if m == nil {
					continue
				}
				if first {
					own := x.ownRaw(m, t.m.id)
					if pos, ok := raw["pos"]; ok {
						own["pos"] = pos
					}
					x.modules = append(x.modules, own)
					x.ends[m.ID] = end{id: t.m.id, tied: i}
					x.move(own, m.ID, moved)
					first = false
				}
				// The others are new.
			}
		} else {
			x.modules = append(x.modules, raw)
			for k, id := range t.parts {
				if now[k] != nil {
					x.ends[id] = end{t.m.id, k, t.model, i}
				}
			}
			for k := range t.parts {
				if now[k] != nil {
					x.move(raw, t.parts[k], moved)
					break
				}
			}
		}
		x.report.Mapped = append(x.report.Mapped, Mapped{t.m.name(), as, notes})
	}
	return moved
}

// restore writes what changed of a foreign module into it, and says why that
// cannot be done.
func (x *exporter) restore(t *tiedModule, was, now []*instrument.Module, notes *[]string) string {
	changed := false
	for k := range now {
		if now[k] != nil && (was[k] == nil || !same(now[k], was[k], 1e-9)) {
			changed = true
		}
	}
	if !changed {
		return ""
	}
	if t.model.write == nil {
		return "its params cannot say what was changed"
	}
	before, after := map[int]float64{}, map[int]float64{}
	t.model.write(t.m, was, func(id int, v float64) { before[id] = v })
	t.model.write(t.m, now, func(id int, v float64) { after[id] = v })
	again := &module{raw: t.m.raw, id: t.m.id, plugin: t.m.plugin, model: t.m.model, params: maps.Clone(t.m.params)}
	put := map[int]float64{}
	for id, v := range after {
		if v != before[id] && !math.IsNaN(v) && !math.IsInf(v, 0) {
			put[id], again.params[id] = v, v
		}
	}
	s := &setter{parts: make([]*instrument.Module, len(now)), plugged: func(input int) bool {
		for i := range x.base.cables {
			if c := x.base.cables[i].c; c.whole && c.in == t.m.id && c.input == input {
				return true
			}
		}
		return false
	}}
	for k := range now {
		if now[k] != nil {
			s.parts[k] = &instrument.Module{ID: now[k].ID, Params: map[string]float64{}, Text: map[string]string{}}
		}
	}
	t.model.read(again, s)
	for k := range now {
		if now[k] != nil && !same(now[k], s.parts[k], 1e-5) {
			return "its params cannot say what was changed"
		}
	}
	list, _ := t.m.raw["params"].([]any)
	for _, id := range slices.Sorted(maps.Keys(put)) {
		found := false
		for _, v := range list {
			if p, ok := v.(map[string]any); ok {
				if n, ok := whole(p["id"]); ok && int(n) == id {
					p["value"], found = decimal(put[id]), true
				}
			}
		}
		if !found {
			list = append(list, map[string]any{"id": integer(int64(id)), "value": decimal(put[id])})
		}
	}
	t.m.raw["params"] = list
	*notes = append(*notes, "changed")
	return ""
}

// move writes a position if the module stands elsewhere than the file says.
func (x *exporter) move(raw map[string]any, id instrument.ModuleID, moved map[instrument.ModuleID]bool) {
	p, ok := x.places[id]
	if was, had := x.base.places[id]; ok && (!had || was != p) {
		raw["pos"] = []any{integer(int64(p.HP) + int64(x.base.left)), integer(int64(p.Row) + int64(x.base.top))}
		moved[id] = true
	}
}

// newID makes a number for a module or a cable out of its name; Rack's own
// are random and of 53 bits.
func newID(name string, taken map[int64]bool) int64 {
	h := fnv.New64a()
	h.Write([]byte(name))
	id := int64(h.Sum64() & (1<<53 - 1))
	for taken[id] {
		id = (id + 1) & (1<<53 - 1)
	}
	taken[id] = true
	return id
}

// ownRaw is a module of our plugin.
func (x *exporter) ownRaw(m *instrument.Module, id int64) map[string]any {
	raw := map[string]any{"id": integer(id), "plugin": PluginSlug, "model": m.Spec().Kind, "version": PluginVersion}
	writeOwn(raw, m)
	return raw
}

// writeOwn writes the params and words of a module of our plugin. A param's
// id is its place in the spec; words are in the data, with the names of the
// params that the scene says, though they stand at their defaults.
func writeOwn(raw map[string]any, m *instrument.Module) {
	spec := m.Spec()
	params := []any{}
	words := map[string]any{}
	var set []any
	for i := range spec.Params {
		p := &spec.Params[i]
		if p.Text {
			if w, ok := m.Text[p.Name]; ok {
				words[p.Name] = w
			}
			continue
		}
		v, said := m.Params[p.Name]
		if said {
			set = append(set, p.Name)
		} else {
			v = p.Value
		}
		params = append(params, map[string]any{"value": decimal(v), "id": integer(int64(i))})
	}
	raw["params"] = params
	data, _ := raw["data"].(map[string]any)
	if data == nil {
		data = map[string]any{}
	}
	data["id"] = string(m.ID)
	delete(data, "text")
	delete(data, "set")
	if len(words) > 0 {
		data["text"] = words
	}
	if len(set) > 0 {
		data["set"] = set
	}
	raw["data"] = data
}

// newModules adds the modules that the file did not have.
func (x *exporter) newModules(moved map[instrument.ModuleID]bool) {
	places := x.arrange()
	for i := range x.patch.Modules {
		m := &x.patch.Modules[i]
		if _, ok := x.ends[m.ID]; ok {
			continue
		}
		id := newID(string(m.ID), x.ids)
		raw := x.ownRaw(m, id)
		p := places[m.ID]
		raw["pos"] = []any{integer(int64(p.HP) + int64(x.base.left)), integer(int64(p.Row) + int64(x.base.top))}
		moved[m.ID] = true
		x.modules = append(x.modules, raw)
		x.ends[m.ID] = end{id: id, tied: -1}
		x.report.Mapped = append(x.report.Mapped, Mapped{fmt.Sprintf("%s %s (module %d)", PluginSlug, m.Spec().Kind, id), []instrument.ModuleID{m.ID}, nil})
	}
}

// arrange finds room for modules that stand nowhere: in rows below all others.
func (x *exporter) arrange() map[instrument.ModuleID]Place {
	const width = 104 // of a row, two usual cases
	all := maps.Clone(x.places)
	if all == nil {
		all = map[instrument.ModuleID]Place{}
	}
	row := 0
	for _, p := range all {
		row = max(row, p.Row+1)
	}
	for i := range x.base.mods {
		if m := x.base.mods[i].m; m.placed {
			row = max(row, int(m.y-x.base.top)+1)
		}
	}
	at := 0
	for i := range x.patch.Modules {
		m := &x.patch.Modules[i]
		if _, ok := all[m.ID]; ok {
			continue
		}
		if hp := m.Spec().HP; at > 0 && at+hp > width {
			row, at = row+1, 0
		}
		all[m.ID] = Place{row, at}
		at += m.Spec().HP
	}
	return all
}

// port returns the number of a jack's port in the file.
func (e end) port(out bool, ref instrument.JackRef) int {
	spec := instrument.Spec(ref.Module.Kind())
	switch {
	case e.model != nil && out:
		return jackPort(e.model.outputs, e.part, ref.Jack)
	case e.model != nil:
		return jackPort(e.model.inputs, e.part, ref.Jack)
	case out:
		return spec.Output(ref.Jack)
	}
	return spec.Input(ref.Jack)
}

// cables keeps those that are still there and adds those that are new.
func (x *exporter) cables() {
	list := []any{}
	want := map[instrument.Cable]bool{}
	for _, c := range x.patch.Cables {
		want[c] = true
	}
	taken := map[int64]bool{}
	for i := range x.base.cables {
		taken[x.base.cables[i].c.id] = true
	}
	for i := range x.base.cables {
		t := &x.base.cables[i]
		name := x.f.cableName(t.c)
		switch {
		case t.ok && want[t.cable]:
			delete(want, t.cable)
			x.join(t.c.raw, t.c, t.cable)
			list = append(list, t.c.raw)
		case t.ok:
			// It was pulled.
		case t.c.whole && (x.gone[t.c.out] || x.gone[t.c.in]):
			x.lost(name, "a module that it is plugged into is another now, or gone")
		default:
			list = append(list, t.c.raw)
			x.report.Kept = append(x.report.Kept, Note{name, "it is in the file as it was"})
		}
	}
	for _, c := range x.patch.Cables {
		if !want[c] {
			continue
		}
		delete(want, c)
		raw := map[string]any{"id": integer(newID(c.From.String()+" "+c.To.String(), taken))}
		kind := "CV"
		if spec := instrument.Spec(c.From.Module.Kind()); spec != nil {
			kind = spec.Outputs[spec.Output(c.From.Jack)].Kind.String()
		}
		raw["color"] = faceplate.SignalColour(kind)
		x.join(raw, nil, c)
		list = append(list, raw)
	}
	x.f.Root["cables"] = list
}

// join writes the ends of a cable where they are others than they were.
func (x *exporter) join(raw map[string]any, was *cable, c instrument.Cable) {
	from, to := x.ends[c.From.Module], x.ends[c.To.Module]
	put := func(key string, v int64, same bool) {
		if !same {
			raw[key] = integer(v)
		}
	}
	kept := func(e end) bool { return was != nil && e.tied >= 0 && !x.gone[e.id] }
	put("outputModuleId", from.id, kept(from))
	put("outputId", int64(from.port(true, c.From)), kept(from))
	put("inputModuleId", to.id, kept(to))
	put("inputId", int64(to.port(false, c.To)), kept(to))
}

// adjacent writes which modules stand side by side, as Rack does. Of modules
// of others, whose width is not known, what the file said stays while neither
// of two neighbours moved.
func (x *exporter) adjacent(moved map[instrument.ModuleID]bool) {
	type spot struct{ x, y int64 }
	widths := map[int64]int64{} // of our own
	still := map[int64]bool{}
	for i := range x.base.mods {
		still[x.base.mods[i].m.id] = !x.gone[x.base.mods[i].m.id]
	}
	for id, e := range x.ends {
		if e.model == nil {
			widths[e.id] = int64(instrument.Spec(id.Kind()).HP)
		}
		if moved[id] {
			still[e.id] = false
		}
	}
	left, right := map[spot]int64{}, map[spot]int64{}
	at := map[int64]spot{}
	for _, v := range x.modules {
		raw := v.(map[string]any)
		id, _ := whole(raw["id"])
		pos, _ := raw["pos"].([]any)
		if len(pos) != 2 {
			continue
		}
		px, okX := real64(pos[0])
		py, okY := real64(pos[1])
		if !okX || !okY || math.Abs(px) > 1e6 || math.Abs(py) > 1e6 {
			continue
		}
		s := spot{int64(math.Round(px)), int64(math.Round(py))}
		at[id] = s
		left[s] = id
		if w := widths[id]; w > 0 {
			right[spot{s.x + w, s.y}] = id
		}
	}
	for _, v := range x.modules {
		raw := v.(map[string]any)
		id, _ := whole(raw["id"])
		for _, side := range []string{"leftModuleId", "rightModuleId"} {
			if n, ok := whole(raw[side]); ok && still[id] && still[n] {
				continue // as it was
			}
			delete(raw, side)
			s, ok := at[id]
			if !ok {
				continue
			}
			var n int64
			if side == "leftModuleId" {
				n, ok = right[s]
			} else if w := widths[id]; w > 0 {
				n, ok = left[spot{s.x + w, s.y}]
			} else {
				ok = false
			}
			if ok && n != id {
				raw[side] = integer(n)
			}
		}
	}
}

// files leaves out those of modules that are gone.
func (x *exporter) files() {
	for _, name := range slices.Sorted(maps.Keys(x.f.Files)) {
		rest, ok := strings.CutPrefix(name, "modules/")
		if !ok {
			continue
		}
		first, _, _ := strings.Cut(rest, "/")
		if id, err := strconv.ParseInt(first, 10, 64); err == nil && x.gone[id] {
			delete(x.f.Files, name)
			x.lost(path.Clean(name), "it belongs to a module that is gone")
		}
	}
}
