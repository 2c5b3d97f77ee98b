package eno

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Fault is one mistake in a topology.
type Fault struct {
	// Place is the path of what is wrong, such as
	// modules.deployment/web.replicas; empty where the text is no topology.
	Place string
	// Line and Column say where it stands in the text, from 1; they are 0
	// where there is no text.
	Line, Column int
	Text         string
}

// String returns "line 7, column 15: modules.deployment/web.replicas: what is wrong".
func (f Fault) String() string {
	s := f.Text
	if f.Place != "" {
		s = f.Place + ": " + s
	}
	if f.Line > 0 {
		s = fmt.Sprintf("line %d, column %d: %s", f.Line, f.Column, s)
	}
	return s
}

// ErrInvalidTopology is in the chain of every error about a topology.
var ErrInvalidTopology = errors.New("invalid topology")

// InvalidError lists all that is wrong with a topology.
type InvalidError struct {
	Where  string // the text that it was read from, may be empty
	Faults []Fault
}

// Error returns all faults in one line.
func (e *InvalidError) Error() string {
	var s []string
	for _, f := range e.Faults {
		s = append(s, f.String())
	}
	where := ErrInvalidTopology.Error()
	if e.Where != "" {
		where += ": " + e.Where
	}
	return where + ": " + strings.Join(s, "; ")
}

// Unwrap returns ErrInvalidTopology.
func (e *InvalidError) Unwrap() error { return ErrInvalidTopology }

func invalid(where string, faults []Fault) error {
	if len(faults) == 0 {
		return nil
	}
	return &InvalidError{Where: where, Faults: faults}
}

// Check reads the text of a topology, YAML or JSON, and returns every fault of
// form or content with its place. A topology that names no namespace gets the
// given one.
func Check(text []byte, namespace string) (mapping.Topology, []Fault) {
	t, at, faults := parse(text)
	if t.Namespace == "" {
		t.Namespace = namespace
	}
	if len(faults) > 0 && t.Modules == nil && t.Cables == nil {
		return t, faults // not even the outline could be read
	}
	for _, f := range validate(t) {
		f.Line, f.Column = at.find(f.Place)
		if !slices.ContainsFunc(faults, func(g Fault) bool { return g.Line == f.Line && g.Column == f.Column }) {
			faults = append(faults, f)
		}
	}
	slices.SortStableFunc(faults, func(a, b Fault) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return t, faults
}

// positions are where the parts of a topology stand in its text.
type positions map[string][2]int

// find returns the position of a place, or of the nearest thing around it.
func (p positions) find(place string) (line, column int) {
	for {
		if at, ok := p[place]; ok {
			return at[0], at[1]
		}
		i := strings.LastIndexAny(place, ".[")
		if i < 0 {
			return 1, 1
		}
		place = place[:i]
	}
}

// reader walks the nodes of a text and gathers what is wrong with its form.
type reader struct {
	at     positions
	faults []Fault
}

func (r *reader) bad(n *yaml.Node, place, format string, args ...any) {
	r.faults = append(r.faults, Fault{Place: place, Line: n.Line, Column: n.Column, Text: fmt.Sprintf(format, args...)})
}

// yamlPlace is how the YAML reader begins its errors.
var yamlPlace = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// parse reads the form of a topology of any version up to ours.
func parse(text []byte) (mapping.Topology, positions, []Fault) {
	var t mapping.Topology
	r := &reader{at: positions{}}
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	if err := decoder.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			return t, r.at, []Fault{{Line: 1, Column: 1, Text: fmt.Sprintf("there is nothing here; write at least version: %d", mapping.TopologyVersion)}}
		}
		m := yamlPlace.FindStringSubmatch(oneLine(err))
		f := Fault{Line: 1, Column: 1, Text: "not YAML: " + strings.TrimPrefix(oneLine(err), "yaml: ")}
		if m != nil && m[1] != "" {
			f.Line, _ = strconv.Atoi(m[1])
			f.Text = "not YAML: " + strings.TrimPrefix(oneLine(err), m[0])
		}
		return t, r.at, []Fault{f}
	}
	var more yaml.Node
	if err := decoder.Decode(&more); !errors.Is(err, io.EOF) {
		return t, r.at, []Fault{{Line: max(more.Line, 1), Column: max(more.Column, 1), Text: "a second document begins here; a topology is one"}}
	}
	root := resolve(doc.Content[0])
	top := r.mapping(root, "")
	if root.Kind == yaml.ScalarNode && len(r.faults) == 0 {
		r.bad(root, "", "there is nothing here; write at least version: %d", mapping.TopologyVersion)
	}
	version := 0
	for _, e := range top {
		if e.key == "version" {
			version = int(r.whole(e.node, e.place))
		}
	}
	switch {
	case root.Kind != yaml.MappingNode:
	case version > mapping.TopologyVersion:
		// Its fields are not ours to judge.
		t.Version = version
		line, column := r.at.find("version")
		return t, r.at, []Fault{{Place: "version", Line: line, Column: column, Text: laterVersion(version)}}
	case version == 1:
		t = r.one(top)
	default:
		t = r.two(top)
	}
	return t, r.at, r.faults
}

func laterVersion(version int) string {
	return fmt.Sprintf("%d is later than %d, the last one this program knows; use a newer k8s-synth", version, mapping.TopologyVersion)
}

// two reads version 2.
func (r *reader) two(top []entry) mapping.Topology {
	var t mapping.Topology
	for _, e := range top {
		switch e.key {
		case "version":
			t.Version = int(r.whole(e.node, e.place))
		case "scene":
			t.Scene = r.text(e.node, e.place)
		case "generation":
			t.Generation = r.whole(e.node, e.place)
		case "namespace":
			t.Namespace = r.text(e.node, e.place)
		case "modules":
			t.Modules = map[instrument.ModuleID]mapping.TopologyModule{}
			for _, m := range r.mapping(e.node, e.place) {
				module := mapping.TopologyModule{}
				for _, p := range r.mapping(m.node, m.place) {
					if v, ok := r.scalar(p.node, p.place); ok {
						module[p.key] = v
					}
				}
				t.Modules[instrument.ModuleID(m.key)] = module
			}
		case "cables":
			for i, n := range r.sequence(e.node, e.place) {
				place := fmt.Sprintf("%s[%d]", e.place, i)
				r.at[place] = [2]int{n.Line, n.Column}
				t.Cables = append(t.Cables, r.text(n, place))
			}
		default:
			r.bad(e.name, e.place, "there is no such field; expected one of version, scene, generation, namespace, modules, cables")
		}
	}
	return t
}

// one reads version 1, which had lists of Deployments, bare pods and cables,
// and converts it. Clusters that were kept still hold it.
func (r *reader) one(top []entry) mapping.Topology {
	t := mapping.Topology{Version: mapping.TopologyVersion, Modules: map[instrument.ModuleID]mapping.TopologyModule{}}
	for _, e := range top {
		switch e.key {
		case "version":
		case "scene":
			t.Scene = r.text(e.node, e.place)
		case "generation":
			t.Generation = r.whole(e.node, e.place)
		case "namespace":
			t.Namespace = r.text(e.node, e.place)
		case "deployments":
			// What version 1 left out was nought, not version 2's default.
			r.items(&t, e, mapping.KindDeployment, mapping.TopologyModule{"replicas": 0.0, "max_surge": 0.0, "max_unavailable": 0.0, "delay_jitter": 0.0},
				map[string]string{"replicas": "replicas", "image": "image", "strategy": "strategy", "maxSurge": "max_surge", "maxUnavailable": "max_unavailable", "restarts": "restarts"})
		case "pods":
			r.items(&t, e, mapping.KindPod, mapping.TopologyModule{"hold": true, "delay_jitter": 0.0}, map[string]string{"image": "image"})
		case "cables":
			for i, n := range r.sequence(e.node, e.place) {
				place := fmt.Sprintf("%s[%d]", e.place, i)
				r.at[place] = [2]int{n.Line, n.Column}
				var ends [2]string
				for _, f := range r.mapping(n, place) {
					switch f.key {
					case "from":
						ends[0] = r.text(f.node, f.place)
					case "to":
						ends[1] = r.text(f.node, f.place)
					default:
						r.bad(f.name, f.place, "there is no such field in version 1; expected from or to")
					}
				}
				// Its jacks were written with a blank: claim 1.
				t.Cables = append(t.Cables, strings.ReplaceAll(ends[0], " ", "_")+" -> "+strings.ReplaceAll(ends[1], " ", "_"))
			}
		default:
			r.bad(e.name, e.place, "there is no such field in version 1; expected one of version, scene, generation, namespace, deployments, pods, cables")
		}
	}
	// It listed no Pod panels that show a replica: only their cables name them.
	for _, text := range t.Cables {
		c, err := mapping.ParseCable(text)
		if err != nil {
			continue // told by Validate
		}
		for _, id := range []instrument.ModuleID{c.From.Module, c.To.Module} {
			if s := instrument.Spec(id.Kind()); s != nil && s.Cluster() && t.Modules[id] == nil && id.Kind() != mapping.KindDeployment {
				t.Modules[id] = mapping.TopologyModule{}
			}
		}
	}
	return t
}

// items reads a list of version 1 into modules of one kind: params maps the
// names of the fields.
func (r *reader) items(t *mapping.Topology, e entry, kind string, zero mapping.TopologyModule, params map[string]string) {
	for i, n := range r.sequence(e.node, e.place) {
		place := fmt.Sprintf("%s[%d]", e.place, i)
		module, name := mapping.TopologyModule{}, ""
		for k, v := range zero {
			module[k] = v
		}
		moved := positions{}
		for _, f := range r.mapping(n, place) {
			switch param, ok := params[f.key]; {
			case f.key == "name":
				name = r.text(f.node, f.place)
			case f.key == "lifecycle":
				for _, l := range r.mapping(f.node, f.place) {
					param, ok := map[string]string{"start": "start_delay", "ready": "ready_delay", "stop": "stop_delay", "jitter": "delay_jitter"}[l.key]
					if !ok {
						r.bad(l.name, l.place, "there is no such field in version 1; expected one of start, ready, stop, jitter")
					} else if v, ok := r.scalar(l.node, l.place); ok {
						module[param], moved[param] = v, r.at[l.place]
					}
				}
				for _, param := range []string{"start_delay", "ready_delay", "stop_delay"} {
					if _, ok := module[param]; !ok {
						module[param] = 0.0
					}
				}
			case ok:
				if v, ok := r.scalar(f.node, f.place); ok && v != "" {
					module[param], moved[param] = v, r.at[f.place]
				}
			default:
				r.bad(f.name, f.place, "there is no such field in version 1")
			}
		}
		id := instrument.ModuleID(kind + "/" + name)
		if name == "" {
			r.bad(n, place+".name", "a name is missing")
		} else if t.Modules[id] != nil {
			r.bad(n, place+".name", "%q is there already", name)
		}
		t.Modules[id] = module
		r.at["modules."+string(id)] = [2]int{n.Line, n.Column}
		for param, at := range moved {
			r.at["modules."+string(id)+"."+param] = at
		}
	}
}

// entry is one field of a mapping.
type entry struct {
	key, place string
	name, node *yaml.Node
}

func resolve(n *yaml.Node) *yaml.Node {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	return n
}

// mapping returns the fields of a mapping in their order. What is empty has
// none.
func (r *reader) mapping(n *yaml.Node, place string) (entries []entry) {
	if n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.MappingNode {
		r.bad(n, place, "expected fields with their values, got %s", kindOf(n))
		return nil
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name := n.Content[i]
		key := resolve(name)
		if key.Kind != yaml.ScalarNode {
			r.bad(name, place, "expected a name, got %s", kindOf(key))
			continue
		}
		e := entry{key: key.Value, place: key.Value, name: name, node: resolve(n.Content[i+1])}
		if place != "" {
			e.place = place + "." + key.Value
		}
		if line, ok := seen[e.key]; ok {
			r.bad(name, e.place, "it is there already, on line %d", line)
			continue
		}
		seen[e.key] = name.Line
		value := n.Content[i+1]
		r.at[e.place] = [2]int{value.Line, value.Column}
		if e.node.Kind != yaml.ScalarNode || value.Line == 0 {
			r.at[e.place] = [2]int{name.Line, name.Column}
		}
		entries = append(entries, e)
	}
	return entries
}

func (r *reader) sequence(n *yaml.Node, place string) (items []*yaml.Node) {
	if n.Tag == "!!null" {
		return nil
	}
	if n.Kind != yaml.SequenceNode {
		r.bad(n, place, "expected a list, got %s", kindOf(n))
		return nil
	}
	for _, item := range n.Content {
		items = append(items, resolve(item))
	}
	return items
}

// text returns a string; a number written without quotes is not one.
func (r *reader) text(n *yaml.Node, place string) string {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		return ""
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" {
		r.bad(n, place, "expected text, got %s", kindOf(n))
		return ""
	}
	return n.Value
}

// whole returns a whole number.
func (r *reader) whole(n *yaml.Node, place string) int64 {
	var v int64
	if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil {
		if !slices.ContainsFunc(r.faults, func(f Fault) bool { return f.Line == n.Line && f.Column == n.Column }) {
			r.bad(n, place, "expected a whole number, got %s", kindOf(n))
		}
		return 0
	}
	return v
}

// scalar returns a value as mapping.Topology holds it: float64, bool or
// string.
func (r *reader) scalar(n *yaml.Node, place string) (any, bool) {
	if n.Kind == yaml.ScalarNode {
		switch n.Tag {
		case "!!int", "!!float":
			var v float64
			if err := n.Decode(&v); err == nil && !math.IsNaN(v) && !math.IsInf(v, 0) {
				return v, true
			}
		case "!!bool":
			var v bool
			if err := n.Decode(&v); err == nil {
				return v, true
			}
		case "!!str", "!!timestamp":
			return n.Value, true
		}
	}
	r.bad(n, place, "expected a number, text, true or false, got %s", kindOf(n))
	return nil, false
}

func kindOf(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "fields"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!str":
		return strconv.Quote(n.Value)
	}
	return n.Value
}

// CheckFile is Check for a file of a player: a topology, or the manifest of the
// ConfigMap that carries one, with its places in that file. A manifest's own
// namespace goes before the given one.
func CheckFile(text []byte, namespace string) (mapping.Topology, []Fault) {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) == 0 {
		return Check(text, namespace)
	}
	root := resolve(doc.Content[0])
	field := func(n *yaml.Node, name string) *yaml.Node {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == name {
				return resolve(n.Content[i+1])
			}
		}
		return nil
	}
	kind := field(root, "kind")
	if kind == nil {
		return Check(text, namespace)
	}
	inner := field(field(root, "data"), ConfigMapKey)
	switch {
	case kind.Value != "ConfigMap":
		return mapping.Topology{}, []Fault{{Place: "kind", Line: kind.Line, Column: kind.Column, Text: fmt.Sprintf("expected a topology or the ConfigMap that carries one, got a %s", kind.Value)}}
	case inner == nil:
		return mapping.Topology{}, []Fault{{Place: "data", Line: root.Line, Column: root.Column, Text: fmt.Sprintf("the ConfigMap has no key %q", ConfigMapKey)}}
	}
	if ns := field(field(root, "metadata"), "namespace"); ns != nil && ns.Value != "" {
		namespace = ns.Value
	}
	t, faults := Check([]byte(inner.Value), namespace)
	// In a literal block the lines follow their head, all with one indent; in
	// any other form there are no places to tell but the text's own.
	indent := 0
	if lines := strings.Split(string(text), "\n"); inner.Style&yaml.LiteralStyle != 0 && inner.Line < len(lines) {
		line := lines[inner.Line]
		indent = len(line) - len(strings.TrimLeft(line, " "))
	}
	for i := range faults {
		if inner.Style&yaml.LiteralStyle != 0 {
			faults[i].Line, faults[i].Column = faults[i].Line+inner.Line, faults[i].Column+indent
		} else {
			faults[i].Line, faults[i].Column = inner.Line, inner.Column
		}
	}
	return t, faults
}
