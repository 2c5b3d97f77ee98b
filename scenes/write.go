package scenes

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

// Encode writes a scene as YAML. The same scene gives the same bytes, and
// Parse reads an equal scene from them. A scene with mistakes is not written.
func Encode(s *Scene) ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	s = s.ClockSays()
	root := mappingNode()
	put(root, "version", scalar("!!int", strconv.Itoa(Version)))
	put(root, "name", word(s.Name))
	put(root, "title", word(s.Title))
	if s.About != "" {
		put(root, "about", word(s.About))
	}
	put(root, "seed", scalar("!!int", strconv.FormatUint(s.Seed, 10)))
	put(root, "namespace", word(s.Namespace))
	put(root, "latency", number(s.Latency))
	put(root, "storm", number(s.Storm))
	if s.StormPolicy != mapping.StormCloud {
		put(root, "storm_policy", word(string(s.StormPolicy)))
	}
	if s.Scale != "" {
		put(root, "scale", word(s.Scale))
	}
	if s.Root != DefaultRoot {
		put(root, "root", number(s.Root))
	}
	if len(s.Tunings) > 0 {
		put(root, "tunings", tuningsYAML(s.Tunings))
	}
	if t := transportYAML(s.Transport); t != nil {
		put(root, "transport", t)
	}
	if len(s.Bindings) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, b := range s.Bindings {
			list.Content = append(list.Content, word(b))
		}
		put(root, "bindings", list)
	}
	if len(s.Patch.Modules) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range s.Patch.Modules {
			list.Content = append(list.Content, moduleYAML(s, s.unsaid(&s.Patch.Modules[i])))
		}
		put(root, "modules", list)
	}
	if len(s.Patch.Cables) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for _, c := range s.Patch.Cables {
			list.Content = append(list.Content, word(c.From.String()+" "+arrow+" "+c.To.String()))
		}
		put(root, "cables", list)
	}
	if len(s.Rules) > 0 {
		list := &yaml.Node{Kind: yaml.SequenceNode}
		for i := range s.Rules {
			list.Content = append(list.Content, ruleYAML(&s.Rules[i]))
		}
		put(root, "rules", list)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(root); err != nil {
		return nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	return b.Bytes(), nil
}

// moduleYAML writes a module with its params in the order of its panel.
func moduleYAML(s *Scene, m *instrument.Module) *yaml.Node {
	n := mappingNode()
	put(n, "id", word(string(m.ID)))
	if p, ok := s.Places[m.ID]; ok {
		at := mappingNode()
		at.Style = yaml.FlowStyle
		put(at, "row", scalar("!!int", strconv.Itoa(p.Row)))
		put(at, "hp", scalar("!!int", strconv.Itoa(p.HP)))
		put(n, "at", at)
	}
	params := mappingNode()
	spec := m.Spec()
	for i := range spec.Params {
		p := &spec.Params[i]
		if p.Text {
			if w, ok := m.Text[p.Name]; ok {
				put(params, p.Name, word(w))
			}
			continue
		}
		v, ok := m.Params[p.Name]
		switch {
		case !ok:
		case len(p.Choices) > 0:
			put(params, p.Name, word(p.Choices[int(v)]))
		default:
			put(params, p.Name, number(v))
		}
	}
	if len(params.Content) > 0 {
		put(n, "params", params)
	}
	return n
}

func mappingNode() *yaml.Node { return &yaml.Node{Kind: yaml.MappingNode} }

func put(n *yaml.Node, key string, value *yaml.Node) {
	n.Content = append(n.Content, word(key), value)
}

func scalar(tag, value string) *yaml.Node {
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: tag, Value: value}
}

// word is a text; the encoder quotes it where it would read as something else.
func word(s string) *yaml.Node { return scalar("!!str", s) }

// number writes the shortest digits that read back as v.
func number(v float64) *yaml.Node {
	if v == math.Trunc(v) && math.Abs(v) < 1e15 {
		return scalar("!!int", strconv.FormatInt(int64(v), 10))
	}
	return scalar("!!float", strconv.FormatFloat(v, 'g', -1, 64))
}

// Equal tells whether two scenes are the same in all that a file keeps.
func (s *Scene) Equal(o *Scene) bool {
	same := s.Name == o.Name && s.Title == o.Title && s.About == o.About && s.Seed == o.Seed &&
		s.Namespace == o.Namespace && s.Latency == o.Latency && s.Storm == o.Storm && s.StormPolicy == o.StormPolicy && s.Scale == o.Scale && s.Root == o.Root && s.Transport == o.Transport && slices.Equal(s.Bindings, o.Bindings) &&
		slices.Equal(s.Patch.Cables, o.Patch.Cables) && maps.Equal(s.Places, o.Places) && maps.Equal(s.Tunings, o.Tunings) &&
		slices.EqualFunc(s.Rules, o.Rules, rule.Spec.Equal)
	return same && slices.EqualFunc(s.Patch.Modules, o.Patch.Modules, func(a, b instrument.Module) bool {
		return a.ID == b.ID && maps.Equal(a.Params, b.Params) && maps.Equal(a.Text, b.Text)
	})
}
