package vcv

import (
	"fmt"
	"math"
	"strings"
)

// module is one module of a patch.json.
type module struct {
	raw           map[string]any
	id            int64
	plugin, model string
	x, y          float64 // in HP and rows
	placed        bool
	params        map[int]float64
}

// name is how reports call it.
func (m *module) name() string { return fmt.Sprintf("%s %s (module %d)", m.plugin, m.model, m.id) }

// value returns a param, or what it is where the file says nothing of it.
func (m *module) value(id int, otherwise float64) float64 {
	if v, ok := m.params[id]; ok {
		return v
	}
	return otherwise
}

// before tells whether the module was saved by a plugin of a major version
// before n.
func (m *module) before(n int) bool {
	v, _ := m.raw["version"].(string)
	major := 0
	if _, err := fmt.Sscanf(v, "%d", &major); err != nil {
		return false
	}
	return major < n
}

// data returns what is at a path within the module's own data.
func (m *module) data(path ...string) any {
	v := m.raw["data"]
	for _, k := range path {
		o, _ := v.(map[string]any)
		v = o[k]
	}
	return v
}

// cable is one cable of a patch.json.
type cable struct {
	raw     map[string]any
	id      int64
	out, in int64 // modules
	output  int
	input   int
	whole   bool // it has both ends
}

// read brings the document into the form of Rack 2 and takes it apart.
func (f *File) read() error {
	root := f.Root
	version, _ := root["version"].(string)
	if _, ok := root["cables"]; !ok {
		if wires, ok := root["wires"]; ok {
			root["cables"] = wires
			delete(root, "wires")
			f.upgraded("wires are called cables")
		}
	}
	for _, k := range []string{"modules", "cables"} {
		if root[k] == nil {
			root[k] = []any{}
		}
	}
	list, ok := root["modules"].([]any)
	if !ok {
		return fmt.Errorf("modules is not a list")
	}
	if len(list) > MaxModules {
		return fmt.Errorf("the patch has %d modules; the most is %d", len(list), MaxModules)
	}
	// Before 1.0 a module's number was its place in the list, and before 0.6
	// its position was in pixels.
	early := strings.HasPrefix(version, "0.") || version == "dev"
	pixels := version == "dev" || strings.HasPrefix(version, "0.3.") || strings.HasPrefix(version, "0.4.") || strings.HasPrefix(version, "0.5.")
	seen := map[int64]bool{}
	for i, v := range list {
		raw, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("modules[%d] is not an object", i)
		}
		m := &module{raw: raw, params: map[int]float64{}}
		if _, has := raw["id"]; !has || early {
			raw["id"] = integer(int64(i))
			f.upgraded("modules are numbered")
		}
		if m.id, ok = whole(raw["id"]); !ok || m.id < 0 {
			return fmt.Errorf("modules[%d].id is not a whole number of 63 bits: %v", i, raw["id"])
		}
		if seen[m.id] {
			return fmt.Errorf("modules[%d].id: there are two modules %d", i, m.id)
		}
		seen[m.id] = true
		m.plugin, _ = raw["plugin"].(string)
		m.model, _ = raw["model"].(string)
		if m.plugin == "" || m.model == "" {
			return fmt.Errorf("modules[%d] does not say which plugin and model it is", i)
		}
		if v, ok := raw["disabled"]; ok {
			if _, has := raw["bypass"]; !has {
				raw["bypass"] = v
			}
			delete(raw, "disabled")
			f.upgraded("disabled is called bypass")
		}
		f.readParams(m)
		f.readPlace(m, pixels)
		f.modules = append(f.modules, m)
	}
	list, ok = root["cables"].([]any)
	if !ok {
		return fmt.Errorf("cables is not a list")
	}
	if len(list) > MaxCables {
		return fmt.Errorf("the patch has %d cables; the most is %d", len(list), MaxCables)
	}
	taken := map[int64]bool{}
	for _, v := range list {
		if raw, ok := v.(map[string]any); ok {
			if id, ok := whole(raw["id"]); ok && !early {
				taken[id] = true
			}
		}
	}
	next := int64(0)
	for i, v := range list {
		raw, ok := v.(map[string]any)
		if !ok {
			return fmt.Errorf("cables[%d] is not an object", i)
		}
		if _, has := raw["id"]; !has || early {
			for taken[next] {
				next++
			}
			taken[next] = true
			raw["id"] = integer(next)
			f.upgraded("cables are numbered")
		}
		c := &cable{raw: raw}
		var good [5]bool
		var output, input int64
		c.id, good[0] = whole(raw["id"])
		c.out, good[1] = whole(raw["outputModuleId"])
		output, good[2] = whole(raw["outputId"])
		c.in, good[3] = whole(raw["inputModuleId"])
		input, good[4] = whole(raw["inputId"])
		c.whole = good == [5]bool{true, true, true, true, true} && output >= 0 && output < 1<<16 && input >= 0 && input < 1<<16
		c.output, c.input = int(output), int(input)
		f.cables = append(f.cables, c)
	}
	if f.Older && version != RackVersion {
		root["version"] = RackVersion
		f.upgraded("version " + version + " is " + RackVersion)
	}
	return nil
}

// upgraded notes once what was brought into another form.
func (f *File) upgraded(what string) {
	for _, s := range f.Upgraded {
		if s == what {
			return
		}
	}
	f.Upgraded = append(f.Upgraded, what)
}

func (f *File) readParams(m *module) {
	list, _ := m.raw["params"].([]any)
	for i, v := range list {
		p, ok := v.(map[string]any)
		if !ok {
			continue
		}
		if old, ok := p["paramId"]; ok {
			if _, has := p["id"]; !has {
				p["id"] = old
			}
			delete(p, "paramId")
			f.upgraded("params have ids")
		}
		if _, has := p["id"]; !has {
			p["id"] = integer(int64(i))
			f.upgraded("params have ids")
		}
		id, ok := whole(p["id"])
		if !ok || id < 0 || id > 1<<16 {
			continue
		}
		if v, ok := real64(p["value"]); ok {
			m.params[int(id)] = plainest(v)
		}
	}
}

// sizes of Rack's grid before 0.6, in pixels.
const (
	gridWidth  = 15
	gridHeight = 380
)

func (f *File) readPlace(m *module, pixels bool) {
	pos, _ := m.raw["pos"].([]any)
	if len(pos) != 2 {
		return
	}
	x, okX := real64(pos[0])
	y, okY := real64(pos[1])
	if !okX || !okY {
		return
	}
	if pixels {
		x, y = math.Round(x/gridWidth), math.Round(y/gridHeight)
		m.raw["pos"] = []any{decimal(x), decimal(y)}
		f.upgraded("positions are in HP")
	}
	const far = 1e6
	if math.Abs(x) > far || math.Abs(y) > far {
		return
	}
	m.x, m.y, m.placed = math.Round(x), math.Round(y), true
}

// Summary is what "vcv show" tells of a file.
type Summary struct {
	Version string         `json:"version"`
	Older   bool           `json:"older"`
	Modules int            `json:"modules"`
	Cables  int            `json:"cables"`
	Files   int            `json:"files"`
	Models  map[string]int `json:"models"` // by plugin and model
	Ours    int            `json:"ours"`
	Known   int            `json:"known"`
	Unknown int            `json:"unknown"`
	Changed []string       `json:"upgraded,omitempty"`
}

// Summary counts what is in the file.
func (f *File) Summary() Summary {
	s := Summary{Older: f.Older, Modules: len(f.modules), Cables: len(f.cables), Files: len(f.Files), Models: map[string]int{}, Changed: f.Upgraded}
	s.Version, _ = f.Root["version"].(string)
	for _, m := range f.modules {
		s.Models[m.plugin+" "+m.model]++
		switch {
		case own(m) != nil:
			s.Ours++
		case foreign[m.plugin+"/"+m.model] != nil:
			s.Known++
		default:
			s.Unknown++
		}
	}
	return s
}
