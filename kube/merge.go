package kube

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Conflict is one place of a topology that two hands changed to different
// ends since they last agreed. A value is nil where the place is not there.
type Conflict struct {
	// Place is modules.deployment/web.replicas, modules.deployment/web for
	// the module itself, or the cable.
	Place              string
	Base, Theirs, Ours any
	// OursWon tells whose value stands.
	OursWon bool
}

// String says what was overruled, in a sentence without a stop.
func (c Conflict) String() string {
	won, lost, whose := c.Theirs, c.Ours, "the edit of the ConfigMap came later than the patch's"
	if c.OursWon {
		won, lost, whose = c.Ours, c.Theirs, "the patch was changed later than the ConfigMap's"
	}
	return fmt.Sprintf("%s is %s: %s %s", c.Place, shown(won), whose, shown(lost))
}

func shown(v any) string {
	switch v := v.(type) {
	case nil:
		return "(not there)"
	case bool:
		if v {
			return "on"
		}
		return "off"
	case string:
		return fmt.Sprintf("%q", v)
	}
	return fmt.Sprint(v)
}

// Merge joins two changes of one topology field by field. What only one side
// changed since base is as that side has it; where both changed a place to
// different ends, oursWins decides, and the conflict is returned. Generation,
// scene and namespace are ours. Merge is pure. Its topologies must be valid;
// the merged one need not be.
func Merge(base, theirs, ours mapping.Topology, oursWins func(place string) bool) (mapping.Topology, []Conflict) {
	merged, conflicts := merge(flatten(base), flatten(theirs), flatten(ours), oursWins)
	return merged.topology(ours), conflicts
}

// flat is a topology as places and values. The place of a module or a cable
// has the value present.
type flat map[string]any

type presence struct{}

// present is the value of a module's or cable's place. It is shown as words.
var present any = presence{}

func (presence) String() string { return "(there)" }

const (
	modulePlace = "modules."
	cablePlace  = "cables."
)

// moduleOf returns the place of the module that a place belongs to, "" for a
// cable.
func moduleOf(place string) string {
	rest, ok := strings.CutPrefix(place, modulePlace)
	if !ok {
		return ""
	}
	id, _, _ := strings.Cut(rest, ".")
	return modulePlace + id
}

// flatten writes every param out, with defaults, so that a line that a hand
// removed compares as the default that it means. What is no valid topology is
// taken as it is.
func flatten(t mapping.Topology) flat {
	if p, err := t.Patch(); err == nil {
		t = mapping.TopologyOf(p, nil)
	}
	f := flat{}
	for id, params := range t.Modules {
		f[modulePlace+string(id)] = present
		for name, v := range params {
			f[modulePlace+string(id)+"."+name] = v
		}
	}
	for _, c := range t.Cables {
		f[cablePlace+c] = present
	}
	return f
}

// topology is the way back; all but modules and cables is as in like.
func (f flat) topology(like mapping.Topology) mapping.Topology {
	like.Modules, like.Cables = map[instrument.ModuleID]mapping.TopologyModule{}, nil
	for place := range f {
		if m := moduleOf(place); m == place {
			like.Modules[instrument.ModuleID(strings.TrimPrefix(place, modulePlace))] = mapping.TopologyModule{}
		}
	}
	for place, v := range f {
		if c, ok := strings.CutPrefix(place, cablePlace); ok {
			like.Cables = append(like.Cables, c)
			continue
		}
		if m := moduleOf(place); m != place {
			if params := like.Modules[instrument.ModuleID(strings.TrimPrefix(m, modulePlace))]; params != nil {
				params[strings.TrimPrefix(place, m+".")] = v
			}
		}
	}
	slices.Sort(like.Cables)
	return like
}

// changed returns the places at which two differ, in order.
func (f flat) changed(other flat) (places []string) {
	for place, v := range f {
		if w, ok := other[place]; !ok || w != v {
			places = append(places, place)
		}
	}
	for place := range other {
		if _, ok := f[place]; !ok {
			places = append(places, place)
		}
	}
	slices.Sort(places)
	return places
}

// set makes a place what another has there.
func (f flat) set(place string, like flat) {
	if v, ok := like[place]; ok {
		f[place] = v
	} else {
		delete(f, place)
	}
}

func merge(base, theirs, ours flat, oursWins func(string) bool) (flat, []Conflict) {
	merged := maps.Clone(ours)
	if merged == nil {
		merged = flat{}
	}
	var conflicts []Conflict
	edits := base.changed(theirs)
	turns := base.changed(ours)
	turned := make(map[string]bool, len(turns))
	touched := map[string]bool{} // modules in which ours changed anything
	for _, place := range turns {
		turned[place] = true
		touched[moduleOf(place)] = true
	}
	edited := map[string]bool{}
	for _, place := range edits {
		edited[moduleOf(place)] = true
	}
	decided := map[string]bool{} // modules that stand or fall as a whole
	for _, place := range edits {
		module := moduleOf(place)
		if module != "" && module == place && theirs[place] == nil && ours[place] != nil {
			// They took the module away. If we turned one of its knobs since,
			// that is a conflict about the module.
			if touched[module] {
				win := oursWins(place)
				for _, p := range turns {
					win = win || moduleOf(p) == module && oursWins(p)
				}
				conflicts = append(conflicts, Conflict{place, base[place], nil, present, win})
				decided[module] = true
				if win {
					continue
				}
			}
			for p := range merged {
				if moduleOf(p) == module {
					delete(merged, p)
				}
			}
			decided[module] = true
			continue
		}
	}
	for _, place := range turns {
		module := moduleOf(place)
		if module != "" && module == place && ours[place] == nil && theirs[place] != nil && edited[module] {
			// We took away a module in which they changed something.
			win := oursWins(place)
			conflicts = append(conflicts, Conflict{place, base[place], present, nil, win})
			decided[module] = true
			if !win {
				for p := range theirs {
					if moduleOf(p) == module {
						merged[p] = theirs[p]
					}
				}
			}
		}
	}
	for _, place := range edits {
		if decided[moduleOf(place)] {
			continue
		}
		t, inTheirs := theirs[place]
		o, inOurs := ours[place]
		if t == o && inTheirs == inOurs {
			continue
		}
		if turned[place] {
			win := oursWins(place)
			conflicts = append(conflicts, Conflict{strings.TrimPrefix(place, cablePlace), base[place], t, o, win})
			if win {
				continue
			}
		}
		merged.set(place, theirs)
	}
	// A cable whose module the other side took away hangs in the air.
	for place := range merged {
		text, ok := strings.CutPrefix(place, cablePlace)
		if !ok {
			continue
		}
		c, err := mapping.ParseCable(text)
		if err != nil {
			continue
		}
		if merged[modulePlace+string(c.From.Module)] == nil || merged[modulePlace+string(c.To.Module)] == nil {
			delete(merged, place)
			_, inBase := base[place]
			if !inBase { // a new cable, not one that went with its module
				conflicts = append(conflicts, Conflict{text, nil, theirs[place], ours[place], theirs[place] != nil})
			}
		}
	}
	slices.SortStableFunc(conflicts, func(a, b Conflict) int { return strings.Compare(a.Place, b.Place) })
	return merged, conflicts
}
