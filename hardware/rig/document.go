package rig

import (
	"bytes"
	"errors"
	"io"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// reader reads one file by its nodes, which know their places. It follows no alias, so that a short
// file stays a short one.
type reader struct {
	problems
	what string // "rig" or "profile"
}

type entry struct{ key, value *yaml.Node }

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// root returns the mapping of the file, or nil after a mistake. The version says what all else means,
// so it is judged first and alone.
func (r *reader) root(data []byte) (root *yaml.Node) {
	if len(data) > MaxFile {
		r.at(1, 1, "the file has more than %d bytes, which no %s has", MaxFile, r.what)
		return nil
	}
	for line, column, i := 1, 1, 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && n == 1 || c == 0 {
			r.at(line, column, "this is not UTF-8 text; expected a %s in YAML", r.what)
			return nil
		}
		i += n
		if column++; c == '\n' {
			line, column = line+1, 1
		}
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc := new(yaml.Node)
	err := dec.Decode(doc)
	if err == nil {
		var more yaml.Node
		switch err = dec.Decode(&more); {
		case err == nil:
			r.at(more.Line, more.Column, "a second document begins here; a file holds one %s", r.what)
			return nil
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || isNull(doc.Content[0])) {
		r.at(1, 1, "the file is empty; expected a %s that begins with version: %d", r.what, Version)
		return nil
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
		return nil
	}
	if root = doc.Content[0]; root.Kind != yaml.MappingNode {
		r.node(root, "a %s is a mapping that begins with version: %d, this is %s", r.what, Version, describe(root))
		return nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "version" {
			continue
		}
		n, v := root.Content[i+1], 0
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Decode(&v) == nil && v > Version:
			r.node(n, "this %s is of version %d and this program reads up to %d; update k8s-synth: %w", r.what, v, Version, ErrVersion)
			return nil
		case v != Version:
			r.node(n, "version is %d, this is %s", Version, describe(n))
			return nil
		}
		return root
	}
	r.node(root, "the %s has no version; it begins with version: %d", r.what, Version)
	return nil
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
			r.node(k, "unknown field %q of %s; expected one of %s%s", clip(k.Value), what, strings.Join(known, ", "), near(k.Value, known))
		default:
			seen[k.Value] = k.Line
			es = append(es, entry{k, v})
		}
	}
	return es
}

// list reads a list of at most so many entries; nothing at all is an empty one.
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

// text reads a text of at most so many characters.
func (r *reader) text(e entry, most int) string {
	if e.value.Kind != yaml.ScalarNode || isNull(e.value) {
		r.node(e.value, "%s is a text, this is %s", e.key.Value, describe(e.value))
		return ""
	}
	if n := utf8.RuneCountInString(e.value.Value); n > most {
		r.node(e.value, "%s has %d characters; at most %d are read", e.key.Value, n, most)
		return ""
	}
	return strings.TrimRight(e.value.Value, "\n")
}

// word reads one of a set of words and returns its index, 0 after a mistake.
func (r *reader) word(e entry, words []string) int {
	if e.value.Kind == yaml.ScalarNode {
		if i := slices.Index(words, e.value.Value); i >= 0 {
			return i
		}
	}
	r.node(e.value, "%s is one of %s, this is %s%s", e.key.Value, strings.Join(words, ", "), describe(e.value), near(e.value.Value, words))
	return 0
}

// number reads a number from low to high with its unit.
func (r *reader) number(e entry, low, high float64, unit string) (float64, bool) {
	if n := e.value; n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") {
		var v float64
		if err := n.Decode(&v); err == nil && v >= low && v <= high && !math.IsNaN(v) {
			return v, true
		}
	}
	r.node(e.value, "%s is a number from %g to %g%s, this is %s", e.key.Value, low, high, unit, describe(e.value))
	return 0, false
}

// whole reads a whole number from low to high, 0 after a mistake.
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
