package bind

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// Fields of a mapping file, in the order in which they are written.
var (
	mapFields      = []string{"version", "name", "title", "about", "ports", "rate", "hello", "takeover", "colours", "layers", "bindings"}
	layerFields    = []string{"number", "name", "shift", "latch"}
	bindingFields  = []string{"name", "port", "control", "to", "pods", "first", "layer", "mode", "encoder", "sensitivity", "acceleration", "range", "curve", "steps", "takeover", "touch", "feedback"}
	feedbackFields = []string{"to", "values", "colours"}
	mapName        = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$`)
)

// Load reads the mapping file at a path. All its mistakes are Errors joined
// into one; a file of a later version is ErrVersion.
func Load(path string) (*Map, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fmt.Errorf("map: %w", err)
	}
	return Parse(path, data)
}

// Parse reads a mapping file; file is its name in errors.
func Parse(file string, data []byte) (*Map, error) {
	r := &reader{problems: problems{file: file}}
	m := r.read(data)
	if err := r.err(); err != nil {
		return nil, err
	}
	return m, nil
}

// reader reads one file by its nodes, which know their places. It follows no
// alias, so that a short file stays a short one.
type reader struct {
	problems
	controlsRead int
}

type entry struct{ key, value *yaml.Node }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// root returns the document and its mapping, or nil after a mistake.
func (r *reader) root(data []byte) (doc, root *yaml.Node) {
	if len(data) > MaxFile {
		r.at(1, 1, "the file has more than %d bytes, which no map has", MaxFile)
		return nil, nil
	}
	for line, column, i := 1, 1, 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && n == 1 || c == 0 {
			r.at(line, column, "this is not UTF-8 text; expected a map in YAML")
			return nil, nil
		}
		i += n
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc = new(yaml.Node)
	err := dec.Decode(doc)
	if err == nil {
		var more yaml.Node
		switch err = dec.Decode(&more); {
		case err == nil:
			r.at(more.Line, more.Column, "a second document begins here; a file holds one map")
			return nil, nil
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || isNull(doc.Content[0])) {
		r.at(1, 1, "the file is empty; expected a map that begins with version: %d", Version)
		return nil, nil
	}
	if err != nil {
		text, line := err.Error(), 1
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			if m[1] != "" {
				line, _ = strconv.Atoi(m[1])
			}
		}
		r.at(line, 1, "this is not YAML: %s", text)
		return nil, nil
	}
	if root = doc.Content[0]; root.Kind != yaml.MappingNode {
		r.node(root, "a map is a mapping that begins with version: %d, this is %s", Version, describe(root))
		return nil, nil
	}
	return doc, root
}

func (r *reader) node(n *yaml.Node, format string, a ...any) { r.at(n.Line, n.Column, format, a...) }

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// describe tells what a node is, for errors.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias, which is not followed here; write the value out"
	case isNull(n):
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
		return clip(n.Value)
	}
	return strconv.Quote(clip(n.Value))
}

// fields reads a mapping with these keys, or with any where known is nil.
func (r *reader) fields(n *yaml.Node, what string, known []string) (es []entry) {
	if n.Kind != yaml.MappingNode {
		r.node(n, "%s is a mapping, this is %s", what, describe(n))
		return nil
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		switch line, double := seen[k.Value]; {
		case k.Kind != yaml.ScalarNode:
			r.node(k, "a key of %s is a word, this is %s", what, describe(k))
		case double:
			r.node(k, "%q is already given on line %d; leave one of the two", clip(k.Value), line)
		case known != nil && !slices.Contains(known, k.Value):
			if r.full() {
				r.skipped++
				continue
			}
			r.node(k, "unknown field %q of %s; expected one of %s%s", clip(k.Value), what, strings.Join(known, ", "), near(k.Value, known))
		default:
			seen[k.Value] = k.Line
			es = append(es, entry{k, v})
		}
	}
	return es
}

// items reads a list, or one thing alone.
func (r *reader) items(n *yaml.Node) []*yaml.Node {
	switch {
	case n.Kind == yaml.SequenceNode:
		return n.Content
	case isNull(n):
		return nil
	}
	return []*yaml.Node{n}
}

// list reads a list; nothing at all is an empty one.
func (r *reader) list(e entry, most int) []*yaml.Node {
	if e.value.Kind != yaml.SequenceNode && !isNull(e.value) {
		r.node(e.value, "%s is a list, this is %s", e.key.Value, describe(e.value))
		return nil
	}
	if len(e.value.Content) > most {
		r.node(e.value, "%s has %d entries; at most %d are read", e.key.Value, len(e.value.Content), most)
		return nil
	}
	return e.value.Content
}

func (r *reader) text(e entry) (string, bool) {
	if e.value.Kind != yaml.ScalarNode || isNull(e.value) {
		r.node(e.value, "%s is a text, this is %s", e.key.Value, describe(e.value))
		return "", false
	}
	return e.value.Value, true
}

// prose reads a text of at most so many characters.
func (r *reader) prose(e entry, most int) string {
	t, ok := r.text(e)
	if ok && utf8.RuneCountInString(t) > most {
		r.node(e.value, "%s has %d characters; at most %d are read", e.key.Value, utf8.RuneCountInString(t), most)
		return ""
	}
	return strings.TrimRight(t, "\n")
}

// word reads one of a set of words and returns its index, or −1.
func (r *reader) word(e entry, words []string) int {
	t, ok := r.text(e)
	if !ok {
		return -1
	}
	i := slices.Index(words, t)
	if i < 0 {
		r.node(e.value, "%s is one of %s, this is %s%s", e.key.Value, strings.Join(words, ", "), describe(e.value), near(t, words))
	}
	return i
}

func (r *reader) number(n *yaml.Node, what string, low, high float64) (float64, bool) {
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		var v float64
		if err := n.Decode(&v); err == nil && v >= low && v <= high && !math.IsNaN(v) {
			return v, true
		}
	}
	r.node(n, "%s is a number from %g to %g, this is %s", what, low, high, describe(n))
	return 0, false
}

func (r *reader) whole(n *yaml.Node, what string, low, high int) (int, bool) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" {
		var v int
		if err := n.Decode(&v); err == nil && v >= low && v <= high {
			return v, true
		}
	}
	r.node(n, "%s is a whole number from %d to %d, this is %s", what, low, high, describe(n))
	return 0, false
}

func (r *reader) truth(e entry) bool {
	var v bool
	if e.value.Kind == yaml.ScalarNode && e.value.Tag == "!!bool" && e.value.Decode(&v) == nil {
		return v
	}
	r.node(e.value, "%s is true or false, this is %s", e.key.Value, describe(e.value))
	return false
}

// read reads the whole file.
func (r *reader) read(data []byte) *Map {
	doc, root := r.root(data)
	if root == nil {
		return nil
	}
	// The version says what all else means, so it is judged first and alone.
	for i := 0; ; i += 2 {
		if i+1 >= len(root.Content) {
			r.node(root, "the map has no version; it begins with version: %d", Version)
			return nil
		}
		if n := root.Content[i+1]; root.Content[i].Value == "version" {
			v := 0
			if n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Decode(&v) == nil && v > Version {
				r.node(n, "this map is of version %d and this program reads up to %d; update k8s-synth: %w", v, Version, ErrVersion)
				return nil
			}
			if v != Version {
				r.node(n, "version is %d, this is %s", Version, describe(n))
				return nil
			}
			break
		}
	}
	m := &Map{Takeover: Pickup, Rate: DefaultRate, file: r.file, doc: doc}
	for _, e := range r.fields(root, "a map", mapFields) {
		switch e.key.Value {
		case "name":
			if t, ok := r.text(e); ok {
				if m.Name = t; !mapName.MatchString(t) {
					r.node(e.value, "name is %s; expected lower-case letters, digits and dashes, such as knobs", describe(e.value))
				}
			} else {
				m.Name = "?"
			}
		case "title":
			m.Title = r.prose(e, maxTitle)
		case "about":
			m.About = r.prose(e, maxAbout)
		case "ports":
			for _, n := range r.items(e.value) {
				if t, ok := r.text(entry{e.key, n}); ok {
					m.Ports = append(m.Ports, t)
				}
			}
		case "rate":
			if v, ok := r.whole(e.value, "rate", leastRate, 1e6); ok {
				m.Rate = v
			}
		case "hello":
			for _, n := range r.list(e, maxHello) {
				if b := r.exclusive(n); b != nil {
					m.Hello = append(m.Hello, b)
				}
			}
		case "takeover":
			m.Takeover = Takeover(max(r.word(e, takeoverWords[1:]), 0)) + 1
		case "colours":
			m.Colours = r.colours(e.value)
		case "layers":
			for _, n := range r.list(e, mostLayer+1) {
				r.layer(m, n)
			}
		case "bindings":
			for _, n := range r.list(e, mostBinding) {
				r.binding(m, n)
			}
		}
	}
	if m.Name == "" {
		r.node(root, "the map has no name; expected a name: of lower-case letters, digits and dashes")
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
		r.node(n, "hello holds texts, this is %s; %s", describe(n), expected)
		return nil
	}
	b, err := hex.DecodeString(strings.ReplaceAll(n.Value, " ", ""))
	if err != nil || len(b) < 3 || len(b) > 1024 || b[0] != 0xf0 || b[len(b)-1] != 0xf7 || slices.ContainsFunc(b[1:len(b)-1], func(c byte) bool { return c > 127 }) {
		r.node(n, "%s is no exclusive message; %s", describe(n), expected)
		return nil
	}
	return b
}

// colours reads what is shown of words and values.
func (r *reader) colours(n *yaml.Node) map[string]Colour {
	m := map[string]Colour{}
	for _, e := range r.fields(n, "colours", nil) {
		c, ok := r.colour(e)
		if ok {
			m[e.key.Value] = c
		}
	}
	return m
}

func (r *reader) colour(e entry) (Colour, bool) {
	v, ch, two := strings.Cut(e.value.Value, "@")
	value, err := strconv.Atoi(v)
	channel := 0
	if two && err == nil {
		channel, err = strconv.Atoi(ch)
		if channel < 1 || channel > 16 {
			err = errors.New("no channel")
		}
	}
	if e.value.Kind != yaml.ScalarNode || err != nil || value < 0 || value > 127 {
		r.node(e.value, "the colour of %s is 0 … 127, or with a channel such as 21@3, this is %s", clip(e.key.Value), describe(e.value))
		return Colour{}, false
	}
	return Colour{uint8(value), uint8(channel)}, true
}

func (r *reader) layer(m *Map, n *yaml.Node) {
	l := Layer{Number: -1}
	for _, e := range r.fields(n, "a layer", layerFields) {
		switch e.key.Value {
		case "number":
			if v, ok := r.whole(e.value, "number", 0, mostLayer); ok {
				l.Number = v
			} else {
				l.Number = 0
			}
		case "name":
			l.Name = r.prose(e, maxTitle)
		case "shift":
			l.Shift = r.controls(e.value)
		case "latch":
			l.Latch = r.truth(e)
		}
	}
	switch {
	case n.Kind != yaml.MappingNode:
	case l.Number < 0:
		r.node(n, "the layer has no number; expected number: 0 … %d", mostLayer)
	case slices.ContainsFunc(m.Layers, func(o Layer) bool { return o.Number == l.Number }):
		r.node(n, "layer %d is there already", l.Number)
	default:
		m.Layers = append(m.Layers, l)
	}
}

// controls reads one control or a list of them, each of which may be a range.
func (r *reader) controls(n *yaml.Node) (all []Control) {
	for _, n := range r.items(n) {
		if n.Kind != yaml.ScalarNode {
			r.node(n, "a control is a text, this is %s; %s", describe(n), controlExpected)
			continue
		}
		cs, err := ParseControls(n.Value)
		if err != nil {
			r.node(n, "%w", err)
			continue
		}
		all = append(all, cs...)
	}
	if len(all) > mostControls {
		r.node(n, "these are %d controls; a binding covers at most %d", len(all), mostControls)
		return nil
	}
	return all
}

func (r *reader) binding(m *Map, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		r.node(n, "a binding is a mapping such as {control: cc 20, to: undo}, this is %s", describe(n))
		return
	}
	b := Binding{Layer: -1, First: 1, Sensitivity: 1, Acceleration: -1, node: n, Feedback: Feedback{High: 127}}
	at := map[string]*yaml.Node{}
	before := len(r.errs) + r.skipped
	for _, e := range r.fields(n, "a binding", bindingFields) {
		at[e.key.Value] = e.value
		switch e.key.Value {
		case "name":
			b.Name = r.prose(e, maxTitle)
		case "port":
			b.Port, _ = r.text(e)
		case "control":
			b.Controls = r.controls(e.value)
		case "to":
			for _, n := range r.items(e.value) {
				if n.Kind != yaml.ScalarNode {
					r.node(n, "to is a text, this is %s; %s", describe(n), toExpected)
					continue
				}
				t, err := parseTo(n.Value)
				if err != nil {
					r.node(n, "%w", err)
					continue
				}
				b.To, b.to = append(b.To, n.Value), append(b.to, t...)
			}
		case "pods":
			b.Pods = r.truth(e)
		case "first":
			b.First, _ = r.whole(e.value, "first", 1, mapping.SlotCount)
		case "layer":
			b.Layer, _ = r.whole(e.value, "layer", 0, mostLayer)
		case "mode":
			b.Mode = Mode(max(r.word(e, modeWords[:]), 0))
		case "encoder":
			b.Encoder = Encoder(max(r.word(e, encoderWords[:]), 0))
		case "sensitivity":
			b.Sensitivity, _ = r.number(e.value, "sensitivity", 0.01, 100)
		case "acceleration":
			b.Acceleration, _ = r.number(e.value, "acceleration", 0, 10)
		case "range":
			b.Range = r.pair(e, -1e9, 1e9)
		case "curve":
			b.Curve = Curve(max(r.word(e, curveWords[:]), 0))
		case "steps":
			b.Steps, _ = r.whole(e.value, "steps", 2, 16384)
		case "takeover":
			b.Takeover = Takeover(max(r.word(e, takeoverWords[1:]), 0)) + 1
		case "touch":
			b.Touch = r.controls(e.value)
		case "feedback":
			r.feedback(&b.Feedback, e)
		}
	}
	if len(r.errs)+r.skipped > before {
		return // what else is wrong may follow from that
	}
	r.judge(&b, n, at)
	if r.controlsRead += len(b.Controls); r.controlsRead > mostInAll {
		r.node(n, "with this binding there are %d controls; a map has at most %d", r.controlsRead, mostInAll)
	}
	if len(r.errs)+r.skipped == before {
		m.Bindings = append(m.Bindings, b)
	}
}

// pair reads a list of two numbers.
func (r *reader) pair(e entry, low, high float64) []float64 {
	if e.value.Kind != yaml.SequenceNode || len(e.value.Content) != 2 {
		r.node(e.value, "%s is two numbers, such as [0, 8], this is %s", e.key.Value, describe(e.value))
		return nil
	}
	a, ok1 := r.number(e.value.Content[0], "the first of "+e.key.Value, low, high)
	b, ok2 := r.number(e.value.Content[1], "the second of "+e.key.Value, low, high)
	if !ok1 || !ok2 {
		return nil
	}
	if a == b {
		r.node(e.value, "%s has two ends that are the same, %g", e.key.Value, a)
		return nil
	}
	return []float64{a, b}
}

func (r *reader) feedback(f *Feedback, e entry) {
	if e.value.Kind == yaml.ScalarNode {
		switch e.value.Value {
		case "off":
			f.Off = true
		case "same":
		default:
			f.To = r.controls(e.value)
		}
		return
	}
	if e.value.Kind == yaml.SequenceNode {
		f.To = r.controls(e.value)
		return
	}
	for _, e := range r.fields(e.value, "feedback", feedbackFields) {
		switch e.key.Value {
		case "to":
			f.To = r.controls(e.value)
		case "values":
			if p := r.pair(e, 0, 127); p != nil {
				f.Low, f.High = int(p[0]), int(p[1])
			}
		case "colours":
			f.Colours = r.colours(e.value)
		}
	}
}

// judge tells what is wrong with a binding as a whole.
func (r *reader) judge(b *Binding, n *yaml.Node, at map[string]*yaml.Node) {
	if len(b.Controls) == 0 {
		r.node(n, "the binding has no control; %s", controlExpected)
		return
	}
	switch {
	case b.Pods && len(b.To) > 0:
		r.node(at["to"], "pods: true binds each control to a pod; leave out to")
		return
	case b.Pods:
		if b.First+len(b.Controls)-1 > mapping.SlotCount {
			r.node(at["control"], "these are %d pads from slot %d on; there are %d slots", len(b.Controls), b.First, mapping.SlotCount)
			return
		}
		for i := range b.Controls {
			b.to = append(b.to, to{kind: toSlot, n: b.First + i})
		}
	case len(b.to) == 0:
		r.node(n, "the binding has no to; %s", toExpected)
		return
	case at["first"] != nil:
		r.node(at["first"], "first is for pods: true")
		return
	}
	for _, l := range []struct {
		field string
		n     int
	}{{"to", len(b.to)}, {"touch", len(b.Touch)}, {"feedback", len(b.Feedback.To)}} {
		if n := at[l.field]; n != nil && l.n > 0 && l.n != len(b.Controls) && !(l.field == "to" && l.n == 1 && len(b.Controls) == 1) {
			r.node(n, "%s names %d for %d controls; expected one for each", l.field, l.n, len(b.Controls))
			return
		}
	}
	if at["encoder"] != nil && b.Mode != Relative {
		r.node(at["encoder"], "encoder is for mode: relative")
	}
	if b.Mode == Relative && b.Controls[0].isButton() {
		r.node(at["mode"], "%s is pressed, not turned; mode: relative is for encoders", b.Controls[0])
	}
	for i, t := range b.to {
		if t.kind == toValue && b.Controls[i].isButton() {
			r.node(at["to"], "%s takes its value from what the control sends, and %s sends none; expected a control such as cc 20 or program ch 1", t, b.Controls[i])
			return
		}
		if t.kind == toScene && t.n == 0 && b.Controls[i].isButton() {
			r.node(at["to"], "scene:* takes its number from what the control sends, and %s sends none; expected scenes[1] or a control such as program ch 1", b.Controls[i])
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
						r.node(at["range"], "%s goes from %g to %g; the range ends at %g", p.Name, p.Min, p.Max, v)
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
				r.node(m.Bindings[i].node, "nothing is bound on layer %d", t.n)
			}
		}
	}
}
