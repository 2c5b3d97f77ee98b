package instrument

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// ModuleID names one module of a patch as kind/name, such as deployment/web.
type ModuleID string

// Kind returns the part before the slash.
func (id ModuleID) Kind() string { k, _, _ := strings.Cut(string(id), "/"); return k }

// Name returns the part after the slash.
func (id ModuleID) Name() string { _, n, _ := strings.Cut(string(id), "/"); return n }

// Module is one module of a patch with the positions of its knobs.
type Module struct {
	ID     ModuleID
	Params map[string]float64 // missing ones stand at their default
	Text   map[string]string
}

// Spec returns the module's declaration, or nil.
func (m *Module) Spec() *ModuleSpec { return Spec(m.ID.Kind()) }

// Value returns where the named knob stands.
func (m *Module) Value(name string) float64 {
	if v, ok := m.Params[name]; ok {
		return v
	}
	if s := m.Spec(); s != nil {
		if i := s.Param(name); i >= 0 {
			return s.Params[i].Value
		}
	}
	return 0
}

// Word returns the named text param.
func (m *Module) Word(name string) string {
	if v, ok := m.Text[name]; ok {
		return v
	}
	if s := m.Spec(); s != nil {
		if i := s.Param(name); i >= 0 {
			return s.Params[i].Default
		}
	}
	return ""
}

// JackRef names one jack as kind/name/jack.
type JackRef struct {
	Module ModuleID
	Jack   string
}

// String returns kind/name/jack.
func (r JackRef) String() string { return string(r.Module) + "/" + r.Jack }

// ParseJackRef reads kind/name/jack.
func ParseJackRef(s string) (JackRef, error) {
	i := strings.LastIndexByte(s, '/')
	if i <= 0 || strings.Count(s, "/") != 2 || i == len(s)-1 {
		return JackRef{}, fmt.Errorf("%q is not a jack; expected kind/name/jack, such as deployment/web/error", s)
	}
	return JackRef{ModuleID(s[:i]), s[i+1:]}, nil
}

// Cable joins an output to an input.
type Cable struct{ From, To JackRef }

// Patch is what the player wants: modules, where their knobs stand, and the
// cables between them.
type Patch struct {
	Modules []Module
	Cables  []Cable
	// Tunings are those that its modules may name beside the built-in ones,
	// of which they take the place where the name is the same. A tuning never
	// changes, so copies of the patch share them.
	Tunings map[string]*dsp.Tuning
}

// Tuning returns the tuning of that name, the patch's own or a built-in one.
// An error says which there are.
func (p *Patch) Tuning(name string) (*dsp.Tuning, error) {
	if t := p.Tunings[name]; t != nil {
		return t, nil
	}
	if t := dsp.BuiltinTuning(name); t != nil {
		return t, nil
	}
	own := ""
	if len(p.Tunings) > 0 {
		own = strings.Join(slices.Sorted(maps.Keys(p.Tunings)), ", ") + " of the scene, "
	}
	return nil, fmt.Errorf("there is no tuning %q; expected one of %s%s, or N-edo with N up to 128", name, own, strings.Join(dsp.BuiltinTunings(), ", "))
}

// Module returns the module of that name, or nil.
func (p *Patch) Module(id ModuleID) *Module {
	for i := range p.Modules {
		if p.Modules[i].ID == id {
			return &p.Modules[i]
		}
	}
	return nil
}

// Clone returns a deep copy.
func (p *Patch) Clone() *Patch {
	c := &Patch{Modules: slices.Clone(p.Modules), Cables: slices.Clone(p.Cables), Tunings: maps.Clone(p.Tunings)}
	for i := range c.Modules {
		c.Modules[i].Params = maps.Clone(c.Modules[i].Params)
		c.Modules[i].Text = maps.Clone(c.Modules[i].Text)
	}
	return c
}

// PatchError is one mistake in a patch. Path says where, in the words of a
// scene file: modules[2].params.replicas, cables[0].to.
type PatchError struct {
	Path string
	Err  error
}

func (e *PatchError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap returns what is wrong.
func (e *PatchError) Unwrap() error { return e.Err }

// moduleName is what Kubernetes takes for a label: a name must serve as both.
var moduleName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)

// Validate returns nil, or every mistake in the patch as PatchErrors joined
// by errors.Join.
func (p *Patch) Validate() error {
	var errs []error
	bad := func(path, format string, a ...any) {
		errs = append(errs, &PatchError{path, fmt.Errorf(format, a...)})
	}
	seen := map[ModuleID]bool{}
	for i := range p.Modules {
		m := &p.Modules[i]
		at := fmt.Sprintf("modules[%d]", i)
		s := m.Spec()
		if s == nil {
			bad(at, "unknown module %q; expected one of %s", m.ID.Kind(), strings.Join(kinds(), ", "))
			continue
		}
		if !moduleName.MatchString(m.ID.Name()) {
			bad(at, "%q is not a name for a module; expected lower-case letters, digits and dashes, such as %s/web", m.ID, s.Kind)
		}
		if seen[m.ID] {
			bad(at, "there are two modules named %s", m.ID)
		}
		seen[m.ID] = true
		for _, name := range slices.Sorted(maps.Keys(m.Params)) {
			switch k := s.Param(name); {
			case k < 0:
				bad(at+".params."+name, "%s has no param %q; expected one of %s", s.Kind, name, strings.Join(paramNames(s), ", "))
			default:
				if err := s.Params[k].Check(m.Params[name]); err != nil {
					bad(at+".params."+name, "%w", err)
				}
			}
		}
		for _, name := range slices.Sorted(maps.Keys(m.Text)) {
			switch k := s.Param(name); {
			case k < 0:
				bad(at+".params."+name, "%s has no param %q; expected one of %s", s.Kind, name, strings.Join(paramNames(s), ", "))
			default:
				err := s.Params[k].CheckWord(m.Text[name])
				if err == nil && s.Params[k].Tuning {
					_, err = p.Tuning(m.Text[name])
				}
				if err != nil {
					bad(at+".params."+name, "%w", err)
				}
			}
		}
	}
	taken := map[JackRef]int{}
	meant := map[JackRef]int{} // outputs of the cluster that mean one thing at a time
	for i, c := range p.Cables {
		at := fmt.Sprintf("cables[%d]", i)
		from := p.end(c.From, true, at+".from", bad)
		to := p.end(c.To, false, at+".to", bad)
		if from == nil || to == nil {
			continue
		}
		if ok, why := cableMeans(Spec(c.From.Module.Kind()), from, Spec(c.To.Module.Kind()), to); !ok {
			bad(at, "a cable from %s (%s) to %s (%s) cannot mean anything: %s", c.From, from.Kind, c.To, to.Kind, why)
		}
		if other, ok := taken[c.To]; ok {
			bad(at+".to", "%s already holds cables[%d]; an input takes one cable, a mixer takes several", c.To, other)
		}
		taken[c.To] = i
		if one := meansOne(c, from, to); one != "" {
			if other, ok := meant[c.From]; ok {
				bad(at+".from", "cables[%d] leads from %s to %s already: %s", other, c.From, p.Cables[other].To.Module, one)
			} else {
				meant[c.From] = i
			}
		}
	}
	for i, c := range p.Cables {
		if c.From.Module.Kind() != "pod" || c.From.Jack != "load" || c.To.Module.Kind() != "node" || c.To.Jack != "load" {
			continue
		}
		if k, ok := taken[JackRef{c.From.Module, "lifecycle"}]; ok && p.Cables[k].From.Module.Kind() == "deployment" {
			d := p.Cables[k].From.Module
			bad(fmt.Sprintf("cables[%d]", i), "%s shows a replica of %s, which runs where the template of its Deployment says; patch %s/pods to %s instead", c.From.Module, d, d, c.To)
		}
	}
	return errors.Join(errs...)
}

// meansOne returns why no second cable of its kind may start where this one
// does, or nothing where it may.
func meansOne(c Cable, from, to *JackSpec) string {
	switch {
	case from.Kind == Scale:
		return "an autoscaler scales one Deployment"
	case c.From.Module.Kind() == "ingress" && c.To.Module.Kind() == "service" && strings.HasPrefix(from.Name, "route_") && to.Name == "request":
		return "a rule of an Ingress has one Service behind it"
	case from.Kind == Claim:
		return "a replica is shown on one Pod panel"
	}
	return ""
}

// end finds one end of a cable and says what is wrong with it.
func (p *Patch) end(r JackRef, out bool, at string, bad func(string, string, ...any)) *JackSpec {
	m := p.Module(r.Module)
	if m == nil {
		bad(at, "there is no module %q in the patch", r.Module)
		return nil
	}
	s := m.Spec()
	if s == nil {
		return nil
	}
	in, o := s.Input(r.Jack), s.Output(r.Jack)
	switch {
	case out && o >= 0:
		return &s.Outputs[o]
	case !out && in >= 0:
		return &s.Inputs[in]
	case out && in >= 0:
		bad(at, "%s is an input; a cable starts at an output, one of %s", r, strings.Join(jackNames(s.Outputs), ", "))
	case !out && o >= 0:
		bad(at, "%s is an output; a cable ends at an input, one of %s", r, strings.Join(jackNames(s.Inputs), ", "))
	default:
		jacks := s.Inputs
		if out {
			jacks = s.Outputs
		}
		bad(at, "%s has no jack %q; expected one of %s", r.Module, r.Jack, strings.Join(jackNames(jacks), ", "))
	}
	return nil
}

func kinds() (names []string) {
	for _, s := range specs {
		names = append(names, s.Kind)
	}
	return names
}

func paramNames(s *ModuleSpec) (names []string) {
	for _, p := range s.Params {
		names = append(names, p.Name)
	}
	return names
}

func jackNames(jacks []JackSpec) (names []string) {
	for _, j := range jacks {
		names = append(names, j.Name)
	}
	return names
}
