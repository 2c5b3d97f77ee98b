package scenes

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
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// MaxFile is the longest scene or script that is read, in bytes.
const MaxFile = 4 << 20

// document reads one YAML file by its nodes, which know their places. It never
// follows an alias, so that a short file stays a short one.
type document struct {
	problems
	data  []byte
	split [][]rune // data in lines, once somebody asked
}

// entry is one key of a mapping with its value.
type entry struct{ key, value *yaml.Node }

// parse returns the root mapping of the file, or nil after a mistake.
func (d *document) parse(data []byte, what string) *yaml.Node {
	d.data = data
	if len(data) > MaxFile {
		d.at(1, 1, "the file has %d bytes; a %s has at most %d", len(data), what, MaxFile)
		return nil
	}
	if line, column, ok := badText(data); !ok {
		d.at(line, column, "this is not UTF-8 text; expected a %s in YAML", what)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if errors.Is(err, io.EOF) {
			d.at(1, 1, "the file is empty; expected a %s that begins with version: 1", what)
			return nil
		}
		d.syntax(data, err, what)
		return nil
	}
	var more yaml.Node
	switch err := dec.Decode(&more); {
	case errors.Is(err, io.EOF):
	case err != nil:
		d.syntax(data, err, what)
		return nil
	default:
		d.node(&more, "a second document begins here; a file holds one %s", what)
		return nil
	}
	if len(doc.Content) == 0 {
		d.at(1, 1, "the file is empty; expected a %s that begins with version: 1", what)
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		d.at(1, 1, "the file is empty; expected a %s that begins with version: 1", what)
		return nil
	}
	if root.Kind != yaml.MappingNode {
		d.node(root, "a %s is a mapping that begins with version: 1, this is %s", what, describe(root))
		return nil
	}
	return root
}

// badText finds the first byte that is no UTF-8 text; YAML in UTF-16 with its
// mark is told apart by the parser's own rules and refused here as well.
func badText(data []byte) (line, column int, ok bool) {
	line, column = 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if (r == utf8.RuneError && n == 1) || r == 0 {
			return line, column, false
		}
		i += n
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return 0, 0, true
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// yamlAnchor is the one error of the parser that names no line.
var yamlAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced`)

// syntax reports what the YAML parser could not read, at the first character
// of the line that it names.
func (d *document) syntax(data []byte, err error, what string) {
	text, line := err.Error(), 1
	if m := yamlLine.FindStringSubmatch(text); m != nil {
		text = text[len(m[0]):]
		if m[1] != "" {
			line, _ = strconv.Atoi(m[1])
			if strings.HasPrefix(text, "did not find expected") {
				line++ // the library counts lines from 0 in its parser, from 1 in its scanner
			}
		}
	}
	if m := yamlAnchor.FindStringSubmatch(text); m != nil {
		if i := strings.Index(string(data), "*"+m[1]); i >= 0 {
			line = 1 + strings.Count(string(data[:i]), "\n")
		}
	}
	lines := strings.Split(string(data), "\n")
	line = min(max(line, 1), len(lines))
	column := 1 + len(lines[line-1]) - len(strings.TrimLeft(lines[line-1], " \t"))
	d.at(line, column, "this is not YAML: %s; expected a %s", text, what)
}

func (d *document) node(n *yaml.Node, format string, a ...any) {
	d.at(n.Line, n.Column, format, a...)
}

// describe tells what a node is, for errors.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (*" + clip(n.Value) + "), which is not followed here; write the value out"
	}
	if n.Tag == "!!null" {
		return "nothing"
	}
	if isNumber(n) {
		return clip(n.Value)
	}
	return strconv.Quote(clip(n.Value))
}

// clip shortens what is quoted from a file.
func clip(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}

// fields reads a mapping with these keys. The order of the answer is that of
// the file; unknown and double keys are reported and left out.
func (d *document) fields(n *yaml.Node, what string, known []string) []entry {
	entries := d.entries(n, what)
	return slices.DeleteFunc(entries, func(e entry) bool {
		if slices.Contains(known, e.key.Value) {
			return false
		}
		d.unknown(e.key, "field", what, known)
		return true
	})
}

func (d *document) unknown(key *yaml.Node, kind, what string, known []string) {
	if d.full() {
		d.skipped++
		return
	}
	d.node(key, "unknown %s %q of %s; expected one of %s%s", kind, clip(key.Value), what, strings.Join(known, ", "), near(key.Value, known))
}

// entries reads a mapping with any keys.
func (d *document) entries(n *yaml.Node, what string) (entries []entry) {
	if n.Kind != yaml.MappingNode {
		d.node(n, "%s is a mapping, this is %s", what, describe(n))
		return nil
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			d.node(key, "a key of %s is a word, this is %s", what, describe(key))
			continue
		}
		if line, double := seen[key.Value]; double {
			d.node(key, "%q is already given on line %d; leave one of the two", clip(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		entries = append(entries, entry{key, value})
	}
	return entries
}

// find returns the entry of that key, or false.
func find(entries []entry, key string) (entry, bool) {
	i := slices.IndexFunc(entries, func(e entry) bool { return e.key.Value == key })
	if i < 0 {
		return entry{}, false
	}
	return entries[i], true
}

// items reads a list; nothing at all is an empty one.
func (d *document) items(e entry) []*yaml.Node {
	switch {
	case e.value.Kind == yaml.SequenceNode:
		return e.value.Content
	case e.value.Kind == yaml.ScalarNode && e.value.Tag == "!!null":
		return nil
	}
	d.node(e.value, "%s is a list, this is %s", e.key.Value, describe(e.value))
	return nil
}

// text reads a string; what YAML takes for a number or a truth is one too.
func (d *document) text(e entry) (string, bool) {
	if e.value.Kind != yaml.ScalarNode || e.value.Tag == "!!null" {
		d.node(e.value, "%s is a text, this is %s", e.key.Value, describe(e.value))
		return "", false
	}
	return e.value.Value, true
}

// isNumber tells whether a node is a number, quoted ones being words.
func isNumber(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float")
}

// float reads a number that isNumber says is one.
func float(n *yaml.Node) (float64, error) {
	var v float64
	if err := n.Decode(&v); err != nil {
		return 0, fmt.Errorf("%q is not a number", clip(n.Value))
	}
	return v, nil
}

// number reads a number from low to high, ends included.
func (d *document) number(e entry, low, high float64, unit string) (float64, bool) {
	if unit != "" {
		unit = " " + unit
	}
	if isNumber(e.value) {
		if v, err := float(e.value); err == nil && v >= low && v <= high && !math.IsNaN(v) {
			return v, true
		}
	}
	d.node(e.value, "%s is a number from %g to %g%s, this is %s", e.key.Value, low, high, unit, describe(e.value))
	return 0, false
}

// whole reads a whole number from low to high, ends included.
func (d *document) whole(e entry, low, high int) (int, bool) {
	if e.value.Kind == yaml.ScalarNode && e.value.Tag == "!!int" {
		var v int
		if err := e.value.Decode(&v); err == nil && v >= low && v <= high {
			return v, true
		}
	}
	d.node(e.value, "%s is a whole number from %d to %d, this is %s", e.key.Value, low, high, describe(e.value))
	return 0, false
}

// version reads the version of a file and tells whether the rest can be read.
func (d *document) version(root *yaml.Node, entries []entry, what string, newest int) bool {
	e, ok := find(entries, "version")
	if !ok {
		d.node(root, "the %s has no version; it begins with version: %d", what, newest)
		return false
	}
	var v int
	if e.value.Kind != yaml.ScalarNode || e.value.Tag != "!!int" || e.value.Decode(&v) != nil || v < 1 {
		d.node(e.value, "version is a whole number from 1 to %d, this is %s", newest, describe(e.value))
		return false
	}
	if v > newest {
		d.add(e.value.Line, e.value.Column, laterVersion(what, v, newest))
		return false
	}
	return true
}
