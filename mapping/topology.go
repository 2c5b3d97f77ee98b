package mapping

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TopologyVersion is the version of the topology that this program writes.
const TopologyVersion = 2

// Topology is the Kubernetes part of the patch, as it is published in the
// topology ConfigMap: its modules with the params that the cluster hears of,
// and the cables between them.
type Topology struct {
	Version int    `json:"version"`
	Scene   string `json:"scene,omitempty"`
	// Generation counts the topologies that the instrument has published; it
	// tells which one a synthesis has seen.
	Generation int64  `json:"generation"`
	Namespace  string `json:"namespace,omitempty"`
	// Modules holds the params by module (kind/name). A number is a float64, a
	// position of a switch its word, off and on are false and true. What is
	// missing stands at its default.
	Modules map[instrument.ModuleID]TopologyModule `json:"modules,omitempty"`
	// Cables are written "kind/name/jack -> kind/name/jack".
	Cables []string `json:"cables,omitempty"`
}

// TopologyModule holds the params of one module by name.
type TopologyModule map[string]any

// arrow is between the ends of a cable.
const arrow = " -> "

// FormatCable writes a cable as a topology holds it.
func FormatCable(c instrument.Cable) string { return c.From.String() + arrow + c.To.String() }

// ParseCable reads "kind/name/jack -> kind/name/jack".
func ParseCable(s string) (instrument.Cable, error) {
	from, to, ok := strings.Cut(s, "->")
	if !ok {
		return instrument.Cable{}, fmt.Errorf("%q is not a cable; expected kind/name/jack -> kind/name/jack, such as deployment/web/pods -> service/web/selector", s)
	}
	var c instrument.Cable
	var err error
	if c.From, err = instrument.ParseJackRef(strings.TrimSpace(from)); err != nil {
		return c, err
	}
	c.To, err = instrument.ParseJackRef(strings.TrimSpace(to))
	return c, err
}

// encodeParam returns the form that a topology has of a param's value.
func encodeParam(p *instrument.ParamSpec, value float64, word string) any {
	switch {
	case p.Text:
		return word
	case p.Switch():
		return value != 0
	case len(p.Choices) > 0:
		return p.Choices[int(value)]
	}
	return value
}

// decodeParam reads a param's value as a topology has it.
func decodeParam(p *instrument.ParamSpec, v any) (value float64, word string, err error) {
	switch v := v.(type) {
	case string:
		if len(p.Choices) > 0 {
			value, err = p.Choice(v)
			return value, "", err
		}
		return 0, v, p.CheckWord(v)
	case bool:
		if !p.Switch() {
			return 0, "", fmt.Errorf("%s is %s, got %t", p.Name, p.Range(), v)
		}
		if v {
			value = 1
		}
		return value, "", nil
	case float64:
		if len(p.Choices) > 0 {
			return 0, "", fmt.Errorf("%s is %s, got %g", p.Name, p.Range(), v)
		}
		return v, "", p.Check(v)
	case int:
		return decodeParam(p, float64(v))
	case int64:
		return decodeParam(p, float64(v))
	}
	return 0, "", fmt.Errorf("%s is %s, got %v", p.Name, p.Range(), v)
}

// Value returns a number param of a module: its default where the module does
// not name it, 0 where there is no such param. A switch is 0 or 1, a choice
// the number of its position.
func (t *Topology) Value(id instrument.ModuleID, name string) float64 {
	s := instrument.Spec(id.Kind())
	if s == nil {
		return 0
	}
	i := s.Param(name)
	if i < 0 {
		return 0
	}
	p := &s.Params[i]
	if v, ok := t.Modules[id][name]; ok {
		if value, _, err := decodeParam(p, v); err == nil {
			return value
		}
	}
	return p.Value
}

// Word returns a text param of a module, or the name of a switch's position:
// its default where the module does not name it.
func (t *Topology) Word(id instrument.ModuleID, name string) string {
	s := instrument.Spec(id.Kind())
	if s == nil {
		return ""
	}
	i := s.Param(name)
	if i < 0 {
		return ""
	}
	p := &s.Params[i]
	if len(p.Choices) > 0 {
		return p.Choices[int(t.Value(id, name))]
	}
	if v, ok := t.Modules[id][name].(string); ok {
		return v
	}
	return p.Default
}

// IDs returns the modules of a kind in the order of their names.
func (t *Topology) IDs(kind string) (ids []instrument.ModuleID) {
	for id := range t.Modules {
		if id.Kind() == kind {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Patch returns the topology as a patch of its own, and every mistake in it as
// PatchErrors joined by errors.Join: modules.deployment/web.replicas,
// cables[2].from.
func (t *Topology) Patch() (*instrument.Patch, error) {
	var errs []error
	bad := func(path string, err error) { errs = append(errs, &instrument.PatchError{Path: path, Err: err}) }
	p := &instrument.Patch{}
	for _, id := range slices.Sorted(maps.Keys(t.Modules)) {
		at := "modules." + string(id)
		s := instrument.Spec(id.Kind())
		if s == nil || !s.Cluster() {
			var kinds []string
			for _, s := range instrument.Specs() {
				if s.Cluster() {
					kinds = append(kinds, s.Kind)
				}
			}
			bad(at, fmt.Errorf("%q is no module of the cluster; expected one of %s", id.Kind(), strings.Join(kinds, ", ")))
			continue
		}
		m := instrument.Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}
		for _, name := range slices.Sorted(maps.Keys(t.Modules[id])) {
			k := s.Param(name)
			if k < 0 || !s.Params[k].Cluster {
				var names []string
				for _, p := range s.Params {
					if p.Cluster {
						names = append(names, p.Name)
					}
				}
				bad(at+"."+name, fmt.Errorf("%s has no param %q in a topology; expected one of %s", s.Kind, name, strings.Join(names, ", ")))
				continue
			}
			value, word, err := decodeParam(&s.Params[k], t.Modules[id][name])
			switch {
			case err != nil:
				bad(at+"."+name, err)
			case s.Params[k].Text:
				m.Text[name] = word
			default:
				m.Params[name] = value
			}
		}
		p.Modules = append(p.Modules, m)
	}
	for i, text := range t.Cables {
		c, err := ParseCable(text)
		if err != nil {
			bad(fmt.Sprintf("cables[%d]", i), err)
			continue
		}
		p.Cables = append(p.Cables, c)
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	if err := p.Validate(); err != nil {
		// A patch numbers its modules; a topology names them.
		for _, e := range unjoin(err) {
			var pe *instrument.PatchError
			var i int
			if errors.As(e, &pe) {
				if rest, ok := strings.CutPrefix(pe.Path, "modules["); ok {
					if _, err := fmt.Sscanf(rest, "%d]", &i); err == nil && i < len(p.Modules) {
						_, tail, _ := strings.Cut(rest, "]")
						pe.Path = "modules." + string(p.Modules[i].ID) + strings.Replace(tail, ".params.", ".", 1)
					}
				}
			}
		}
		return nil, err
	}
	return p, nil
}

// unjoin takes apart what errors.Join joined.
func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}

// TopologyOf reads the Kubernetes part of a patch: what the cluster must hold
// for its modules and cables to be true. Effective, if not nil, says what a
// param came to with CV and gates, where that differs from its knob.
func TopologyOf(p *instrument.Patch, effective func(id instrument.ModuleID, param string) (float64, bool)) Topology {
	t := Topology{Version: TopologyVersion, Modules: map[instrument.ModuleID]TopologyModule{}}
	for i := range p.Modules {
		m := &p.Modules[i]
		s := m.Spec()
		if s == nil || !s.Cluster() {
			continue
		}
		tm := TopologyModule{}
		for k := range s.Params {
			ps := &s.Params[k]
			if !ps.Cluster {
				continue
			}
			v := m.Value(ps.Name)
			if effective != nil && !ps.Text {
				if e, ok := effective(m.ID, ps.Name); ok {
					v = ps.Clamp(e)
				}
			}
			if math.IsNaN(v) {
				v = ps.Value
			}
			tm[ps.Name] = encodeParam(ps, v, m.Word(ps.Name))
		}
		t.Modules[m.ID] = tm
	}
	for _, c := range p.Cables {
		if instrument.Spec(c.From.Module.Kind()).Cluster() && instrument.Spec(c.To.Module.Kind()).Cluster() {
			t.Cables = append(t.Cables, FormatCable(c))
		}
	}
	slices.Sort(t.Cables)
	return t
}
