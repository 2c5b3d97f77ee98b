package bind

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Encode returns the file as it was read, with its comments and with what was
// bound since.
func (m *Map) Encode() ([]byte, error) {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(m.doc); err != nil {
		return nil, fmt.Errorf("map %s: %w", m.Name, err)
	}
	if err := enc.Close(); err != nil {
		return nil, fmt.Errorf("map %s: %w", m.Name, err)
	}
	return b.Bytes(), nil
}

// Save writes the map to a path, whole or not at all. Folders that are missing
// are made.
func (m *Map) Save(path string) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("map %s: %w", m.Name, err)
	}
	if err := document.WriteWhole(path, 0o644, document.Bytes(data)); err != nil {
		return fmt.Errorf("map %s: %w", m.Name, err)
	}
	return nil
}

// Bind binds one control and returns what it was bound to on that port and
// layer before, or nothing. Comments and all else in the file stay.
func (m *Map) Bind(b Binding) (was string, err error) {
	if len(b.Controls) != 1 || len(b.To) != 1 {
		return "", errors.New("one control is bound to one thing")
	}
	was, at := m.release(b.Controls[0], b.Port, b.Layer)
	n := b.yaml()
	list := m.list()
	if at != nil {
		keepComments(n, at)
		*at = *n
	} else {
		list.Content = append(list.Content, n)
	}
	return was, m.reread()
}

// Unbind frees a control on a port and a layer, and tells what it was bound to.
func (m *Map) Unbind(c Control, port string, layer int) (was string, err error) {
	was, at := m.release(c, port, layer)
	if at != nil {
		list := m.list()
		list.Content = slices.DeleteFunc(list.Content, func(n *yaml.Node) bool { return n == at })
	}
	return was, m.reread()
}

// release takes a control out of the bindings that cover others as well, and
// returns the node of the binding that has it alone.
func (m *Map) release(c Control, port string, layer int) (was string, alone *yaml.Node) {
	for i := range m.Bindings {
		b := &m.Bindings[i]
		k := slices.Index(b.Controls, c)
		if k < 0 || b.Port != port || b.Layer != layer {
			continue
		}
		was = b.to[k].String()
		if len(b.Controls) == 1 {
			alone = b.node
			continue
		}
		without := *b
		without.Controls = slices.Delete(slices.Clone(b.Controls), k, k+1)
		without.to = slices.Delete(slices.Clone(b.to), k, k+1)
		if len(b.Touch) > 0 {
			without.Touch = slices.Delete(slices.Clone(b.Touch), k, k+1)
		}
		if len(b.Feedback.To) > 0 {
			without.Feedback.To = slices.Delete(slices.Clone(b.Feedback.To), k, k+1)
		}
		without.Pods, without.To = false, nil
		for _, t := range without.to {
			without.To = append(without.To, t.String())
		}
		n := without.yaml()
		keepComments(n, b.node)
		*b.node = *n
	}
	return was, alone
}

// list returns the node of the bindings, made if it is missing.
func (m *Map) list() *yaml.Node {
	root := m.doc.Content[0]
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "bindings" {
			continue
		}
		n := root.Content[i+1]
		if n.Kind != yaml.SequenceNode {
			*n = yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", HeadComment: n.HeadComment, LineComment: n.LineComment, FootComment: n.FootComment}
		}
		if len(n.Content) == 0 {
			n.Style = 0
		}
		return n
	}
	n := &yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq"}
	root.Content = append(root.Content, str("bindings"), n)
	return n
}

// reread makes what was written what is bound.
func (m *Map) reread() error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	now, err := Parse(m.file, data)
	if err != nil {
		return err
	}
	*m = *now
	return nil
}

// keepComments gives the node that takes the place of another its comments.
func keepComments(to, from *yaml.Node) {
	to.HeadComment, to.LineComment, to.FootComment = from.HeadComment, from.LineComment, from.FootComment
	for i := 0; i+1 < len(from.Content) && from.Kind == yaml.MappingNode; i += 2 {
		for k := 0; k+1 < len(to.Content); k += 2 {
			if to.Content[k].Value == from.Content[i].Value {
				for d := range 2 {
					a, b := to.Content[k+d], from.Content[i+d]
					a.HeadComment, a.LineComment, a.FootComment = b.HeadComment, b.LineComment, b.FootComment
				}
			}
		}
	}
	if len(to.Content) > 1 && len(from.Content) > 1 && to.Content[0].Value != from.Content[0].Value && to.Content[0].HeadComment == "" {
		to.Content[0].HeadComment = from.Content[0].HeadComment
	}
}

func str(s string) *yaml.Node { n := new(yaml.Node); n.SetString(s); return n }

// plain is a scalar that is written as it is.
func plain(s string) *yaml.Node { return &yaml.Node{Kind: yaml.ScalarNode, Value: s} }

func number(v float64) *yaml.Node { return plain(strconv.FormatFloat(v, 'g', -1, 64)) }

// inline is a list in one line.
func inline(ns ...*yaml.Node) *yaml.Node {
	return &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle, Content: ns}
}

func controlNode(cs []Control) *yaml.Node {
	if len(cs) == 1 {
		return str(cs[0].String())
	}
	n := inline()
	for _, c := range cs {
		n.Content = append(n.Content, str(c.String()))
	}
	return n
}

// yaml writes a binding, without what stands at its default.
func (b *Binding) yaml() *yaml.Node {
	n := &yaml.Node{Kind: yaml.MappingNode}
	put := func(key string, v *yaml.Node) { n.Content = append(n.Content, str(key), v) }
	if b.Name != "" {
		put("name", str(b.Name))
	}
	if b.Port != "" {
		put("port", str(b.Port))
	}
	put("control", controlNode(b.Controls))
	switch {
	case b.Pods:
		put("pods", plain("true"))
		if b.First > 1 {
			put("first", plain(strconv.Itoa(b.First)))
		}
	case len(b.To) == 1:
		put("to", str(b.To[0]))
	default:
		l := inline()
		for _, t := range b.To {
			l.Content = append(l.Content, str(t))
		}
		put("to", l)
	}
	if b.Layer >= 0 {
		put("layer", plain(strconv.Itoa(b.Layer)))
	}
	if b.Mode != ModeAuto {
		put("mode", str(b.Mode.String()))
	}
	if b.Mode == Relative {
		put("encoder", str(b.Encoder.String()))
		if b.Sensitivity > 0 && b.Sensitivity != 1 {
			put("sensitivity", number(b.Sensitivity))
		}
		if b.Acceleration >= 0 {
			put("acceleration", number(b.Acceleration))
		}
	}
	if len(b.Range) == 2 {
		put("range", inline(number(b.Range[0]), number(b.Range[1])))
	}
	if b.Curve != CurveParam {
		put("curve", str(b.Curve.String()))
	}
	if b.Steps > 0 {
		put("steps", plain(strconv.Itoa(b.Steps)))
	}
	if b.Takeover != TakeoverDefault {
		put("takeover", str(b.Takeover.String()))
	}
	if len(b.Touch) > 0 {
		put("touch", controlNode(b.Touch))
	}
	if f := b.feedbackNode(); f != nil {
		put("feedback", f)
	}
	return n
}

func (b *Binding) feedbackNode() *yaml.Node {
	f := &b.Feedback
	ends := f.High != 0 && (f.Low != 0 || f.High != 127) || f.Low != 0
	switch {
	case f.Off:
		return str("off")
	case len(f.To) == 0 && !ends && len(f.Colours) == 0:
		return nil
	case !ends && len(f.Colours) == 0:
		return controlNode(f.To)
	}
	n := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
	if len(f.To) > 0 {
		n.Content = append(n.Content, str("to"), controlNode(f.To))
	}
	if ends {
		n.Content = append(n.Content, str("values"), inline(number(float64(f.Low)), number(float64(f.High))))
	}
	if len(f.Colours) > 0 {
		c := &yaml.Node{Kind: yaml.MappingNode, Style: yaml.FlowStyle}
		var keys []string
		for k := range f.Colours {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			c.Content = append(c.Content, str(k), plain(f.Colours[k].String()))
		}
		n.Content = append(n.Content, str("colours"), c)
	}
	return n
}

// String returns what is bound to, as a mapping file writes it.
func (t to) String() string {
	number := func(s string) string { return s + "[" + strconv.Itoa(t.n) + "]" }
	switch t.kind {
	case toAddress:
		if t.n > 1 {
			return number(t.pattern)
		}
		return t.pattern
	case toKnob, toSwitch, toTrigger:
		return number(choosers[t.kind-toKnob])
	case toStrip:
		return number("strip") + "/" + strconv.Itoa(t.k)
	case toScene:
		if t.n == 0 {
			return "scene:*"
		}
		return number("scenes")
	case toLayer:
		return "layer:" + strconv.Itoa(t.n)
	case toSlot:
		return "kill:slot/" + strconv.Itoa(t.n)
	}
	s := t.action
	if t.pattern != "" {
		s += ":" + t.pattern
	}
	if t.n > 1 {
		s = number(s)
	}
	return s
}
