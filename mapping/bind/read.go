package bind

import (
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Fields of a mapping file, in the order in which they are written.
var (
	mapFields      = []string{"version", "name", "title", "about", "ports", "rate", "hello", "takeover", "colours", "layers", "bindings"}
	layerFields    = []string{"number", "name", "shift", "latch"}
	bindingFields  = []string{"name", "port", "control", "to", "pods", "first", "layer", "mode", "encoder", "sensitivity", "acceleration", "range", "curve", "steps", "takeover", "touch", "feedback"}
	feedbackFields = []string{"to", "values", "colours"}
	mapName        = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)
)

// Load reads the mapping file at a path. All its mistakes are joined
// into one error, each a document.Error; a file of a later version is
// document.ErrVersion.
func Load(path string) (*Map, error) {
	data, err := document.ReadFile(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a mapping file; file is its name in errors.
func Parse(file string, data []byte) (*Map, error) {
	r := &reader{Reader: document.NewReader(file, "map", Version, MaxFile)}
	m := r.read(data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return m, nil
}

// reader reads one mapping file.
type reader struct {
	*document.Reader
	controlsRead int
}

// items reads a list, or one thing alone.
func items(n *yaml.Node) []*yaml.Node {
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case document.IsNull(n):
		return nil
	}
	return []*yaml.Node{n}
}

// read reads the whole file.
func (r *reader) read(data []byte) *Map {
	doc, root := r.Root(data)
	if root == nil {
		return nil
	}
	m := &Map{Takeover: Pickup, Rate: DefaultRate, file: r.File, doc: doc}
	for _, e := range r.Fields(root, "a map", mapFields) {
		switch e.Name {
		case "name":
			if t, ok := r.Text(e); ok {
				if m.Name = t; !mapName.MatchString(t) {
					r.Node(e.Value, "name is %s; expected lower-case letters, digits and dashes, such as knobs", document.Describe(e.Value))
				}
			} else {
				m.Name = "?"
			}
		case "title":
			m.Title = r.Prose(e, maxTitle)
		case "about":
			m.About = r.Prose(e, maxAbout)
		case "ports":
			for _, n := range items(e.Value) {
				if t, ok := r.Text(document.Item(e.Name, n)); ok {
					m.Ports = append(m.Ports, t)
				}
			}
		case "rate":
			if v, ok := r.Whole(e, leastRate, 1e6); ok {
				m.Rate = v
			}
		case "hello":
			for _, n := range r.List(e, maxHello) {
				if b := r.exclusive(n); b != nil {
					m.Hello = append(m.Hello, b)
				}
			}
		case "takeover":
			m.Takeover = Takeover(r.Word(e, takeoverWords[1:])) + 1
		case "colours":
			m.Colours = r.colours(e.Value)
		case "layers":
			for _, n := range r.List(e, mostLayer+1) {
				r.layer(m, n)
			}
		case "bindings":
			for _, n := range r.List(e, mostBinding) {
				r.binding(m, n)
			}
		}
	}
	if m.Name == "" {
		r.Node(root, "the map has no name; expected a name: of lower-case letters, digits and dashes")
	}
	if m.Title == "" {
		m.Title = m.Name
	}
	r.layersThere(m)
	return m
}

// exclusive reads a system exclusive message in hexadecimal.
func (r *reader) exclusive(n *yaml.Node) []byte {
	const expected = "expected a whole exclusive message in hexadecimal, such as F0 00 20 29 02 0D 0E 01 F7"
	if n.Kind != yaml.ScalarNode {
		r.Node(n, "hello holds texts, this is %s; %s", document.Describe(n), expected)
		return nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(n.Value, " ", ""))
	if err != nil || len(b) < 3 || len(b) > 1024 || b[0] != 0xf0 || b[len(b)-1] != 0xf7 || slices.ContainsFunc(b[1:len(b)-1], func(c byte) bool { return c > 127 }) {
		r.Node(n, "%s is no exclusive message; %s", document.Describe(n), expected)
		return nil
	}
	return b
}

// colours reads what is shown of words and values.
func (r *reader) colours(n *yaml.Node) map[string]Colour {
	m := map[string]Colour{}
	for _, e := range r.Entries(n, "colours") {
		c, ok := r.colour(e)
		if ok {
			m[e.Name] = c
		}
	}
	return m
}

func (r *reader) colour(e document.Entry) (Colour, bool) {
	v, ch, two := strings.Cut(e.Value.Value, "@")
	value, err := strconv.Atoi(v)
	channel := 0
	if two && err == nil {
		channel, err = strconv.Atoi(ch)
		if channel < 1 || channel > 16 {
			err = errors.New("no channel")
		}
	}
	if e.Value.Kind != yaml.ScalarNode || err != nil || value < 0 || value > 127 {
		r.Node(e.Value, "the colour of %s is 0 … 127, or with a channel such as 21@3, this is %s", document.Clip(e.Name), document.Describe(e.Value))
		return Colour{}, false
	}
	return Colour{uint8(value), uint8(channel)}, true
}

func (r *reader) layer(m *Map, n *yaml.Node) {
	l := Layer{Number: -1}
	for _, e := range r.Fields(n, "a layer", layerFields) {
		switch e.Name {
		case "number":
			if v, ok := r.Whole(e, 0, mostLayer); ok {
				l.Number = v
			} else {
				l.Number = 0
			}
		case "name":
			l.Name = r.Prose(e, maxTitle)
		case "shift":
			l.Shift = r.controls(e.Value)
		case "latch":
			l.Latch = r.Truth(e)
		}
	}
	switch {
	case n.Kind != yaml.MappingNode:
	case l.Number < 0:
		r.Node(n, "the layer has no number; expected number: 0 … %d", mostLayer)
	case slices.ContainsFunc(m.Layers, func(o Layer) bool { return o.Number == l.Number }):
		r.Node(n, "layer %d is there already", l.Number)
	default:
		m.Layers = append(m.Layers, l)
	}
}

// controls reads one control or a list of them, each of which may be a range.
func (r *reader) controls(n *yaml.Node) (all []Control) {
	for _, n := range items(n) {
		if n.Kind != yaml.ScalarNode {
			r.Node(n, "a control is a text, this is %s; %s", document.Describe(n), controlExpected)
			continue
		}
		cs, err := ParseControls(n.Value)
		if err != nil {
			r.Node(n, "%w", err)
			continue
		}
		all = append(all, cs...)
	}
	if len(all) > mostControls {
		r.Node(n, "these are %d controls; a binding covers at most %d", len(all), mostControls)
		return nil
	}
	return all
}

func (r *reader) binding(m *Map, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.Node(n, "a binding is a mapping such as {control: cc 20, to: undo}, this is %s", document.Describe(n))
		return
	}
	b := Binding{Layer: -1, First: 1, Sensitivity: 1, Acceleration: -1, node: n, Feedback: Feedback{High: 127}}
	at := map[string]*yaml.Node{}
	before := r.Count()
	for _, e := range r.Fields(n, "a binding", bindingFields) {
		at[e.Name] = e.Value
		switch e.Name {
		case "name":
			b.Name = r.Prose(e, maxTitle)
		case "port":
			b.Port, _ = r.Text(e)
		case "control":
			b.Controls = r.controls(e.Value)
		case "to":
			for _, n := range items(e.Value) {
				if n.Kind != yaml.ScalarNode {
					r.Node(n, "to is a text, this is %s; %s", document.Describe(n), toExpected)
					continue
				}
				t, err := parseTo(n.Value)
				if err != nil {
					r.Node(n, "%w", err)
					continue
				}
				b.To, b.to = append(b.To, n.Value), append(b.to, t...)
			}
		case "pods":
			b.Pods = r.Truth(e)
		case "first":
			b.First, _ = r.Whole(e, 1, mapping.SlotCount)
		case "layer":
			b.Layer, _ = r.Whole(e, 0, mostLayer)
		case "mode":
			b.Mode = Mode(r.Word(e, modeWords[:]))
		case "encoder":
			b.Encoder = Encoder(r.Word(e, encoderWords[:]))
		case "sensitivity":
			b.Sensitivity, _ = r.Number(e, 0.01, 100, "")
		case "acceleration":
			b.Acceleration, _ = r.Number(e, 0, 10, "")
		case "range":
			b.Range = r.pair(e, -1e9, 1e9)
		case "curve":
			b.Curve = Curve(r.Word(e, curveWords[:]))
		case "steps":
			b.Steps, _ = r.Whole(e, 2, 16384)
		case "takeover":
			b.Takeover = Takeover(r.Word(e, takeoverWords[1:])) + 1
		case "touch":
			b.Touch = r.controls(e.Value)
		case "feedback":
			r.feedback(&b.Feedback, e)
		}
	}
	if r.Count() > before {
		return // what else is wrong may follow from that
	}
	r.judge(&b, n, at)
	if r.controlsRead += len(b.Controls); r.controlsRead > mostInAll {
		r.Node(n, "with this binding there are %d controls; a map has at most %d", r.controlsRead, mostInAll)
	}
	if r.Count() == before {
		m.Bindings = append(m.Bindings, b)
	}
}

// pair reads a list of two numbers.
func (r *reader) pair(e document.Entry, low, high float64) []float64 {
	if e.Value.Kind != yaml.SequenceNode || len(e.Value.Content) != 2 {
		r.Node(e.Value, "%s is two numbers, such as [0, 8], this is %s", e.Name, document.Describe(e.Value))
		return nil
	}
	a, ok1 := r.Number(document.Item("the first of "+e.Name, e.Value.Content[0]), low, high, "")
	b, ok2 := r.Number(document.Item("the second of "+e.Name, e.Value.Content[1]), low, high, "")
	if !ok1 || !ok2 {
		return nil
	}
	if a == b {
		r.Node(e.Value, "%s has two ends that are the same, %g", e.Name, a)
		return nil
	}
	return []float64{a, b}
}

func (r *reader) feedback(f *Feedback, e document.Entry) {
	if e.Value.Kind == yaml.ScalarNode {
		switch e.Value.Value {
		case "off":
			f.Off = true
		case "same":
		default:
			f.To = r.controls(e.Value)
		}
		return
	}
	if e.Value.Kind == yaml.SequenceNode {
		f.To = r.controls(e.Value)
		return
	}
	for _, e := range r.Fields(e.Value, "feedback", feedbackFields) {
		switch e.Name {
		case "to":
			f.To = r.controls(e.Value)
		case "values":
			if p := r.pair(e, 0, 127); p != nil {
				f.Low, f.High = int(p[0]), int(p[1])
			}
		case "colours":
			f.Colours = r.colours(e.Value)
		}
	}
}

// judge tells what is wrong with a binding as a whole.
func (r *reader) judge(b *Binding, n *yaml.Node, at map[string]*yaml.Node) {
	if len(b.Controls) == 0 {
		r.Node(n, "the binding has no control; %s", controlExpected)
		return
	}
	switch {
	case b.Pods && len(b.To) > 0:
		r.Node(at["to"], "pods: true binds each control to a pod; leave out to")
		return
	case b.Pods:
		if b.First+len(b.Controls)-1 > mapping.SlotCount {
			r.Node(at["control"], "these are %d pads from slot %d on; there are %d slots", len(b.Controls), b.First, mapping.SlotCount)
			return
		}
		for i := range b.Controls {
			b.to = append(b.to, to{kind: toSlot, n: b.First + i})
		}
	case len(b.to) == 0:
		r.Node(n, "the binding has no to; %s", toExpected)
		return
	case at["first"] != nil:
		r.Node(at["first"], "first is for pods: true")
		return
	}
	for _, l := range []struct {
		field string
		n     int
	}{{"to", len(b.to)}, {"touch", len(b.Touch)}, {"feedback", len(b.Feedback.To)}} {
		if n := at[l.field]; n != nil && l.n > 0 && l.n != len(b.Controls) && !(l.field == "to" && l.n == 1 && len(b.Controls) == 1) {
			r.Node(n, "%s names %d for %d controls; expected one for each", l.field, l.n, len(b.Controls))
			return
		}
	}
	if at["encoder"] != nil && b.Mode != Relative {
		r.Node(at["encoder"], "encoder is for mode: relative")
	}
	if b.Mode == Relative && b.Controls[0].isButton() {
		r.Node(at["mode"], "%s is pressed, not turned; mode: relative is for encoders", b.Controls[0])
	}
	for i, t := range b.to {
		if t.kind == toValue && b.Controls[i].isButton() {
			r.Node(at["to"], "%s takes its value from what the control sends, and %s sends none; expected a control such as cc 20 or program ch 1", t, b.Controls[i])
			return
		}
		if t.kind == toScene && t.n == 0 && b.Controls[i].isButton() {
			r.Node(at["to"], "scene:* takes its number from what the control sends, and %s sends none; expected scenes[1] or a control such as program ch 1", b.Controls[i])
			return
		}
		if t.kind != toAddress || len(b.Range) == 0 {
			continue
		}
		// The range of a param that is known by now.
		parts := strings.Split(t.pattern, "/")
		if spec := instrument.Spec(parts[1]); spec != nil {
			if k := spec.Param(parts[3]); k >= 0 {
				p := &spec.Params[k]
				for _, v := range b.Range {
					if v < p.Min || v > p.Max {
						r.Node(at["range"], "%s goes from %g to %g; the range ends at %g", p.Name, p.Min, p.Max, v)
						return
					}
				}
			}
		}
	}
}

// layersThere checks that what chooses a layer chooses one that something is
// bound on.
func (r *reader) layersThere(m *Map) {
	there := map[int]bool{0: true}
	for _, l := range m.Layers {
		there[l.Number] = true
	}
	for i := range m.Bindings {
		there[max(m.Bindings[i].Layer, 0)] = true
	}
	for i := range m.Bindings {
		for _, t := range m.Bindings[i].to {
			if t.kind == toLayer && !there[t.n] {
				r.Node(m.Bindings[i].node, "nothing is bound on layer %d", t.n)
			}
		}
	}
}
