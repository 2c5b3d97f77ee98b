// Package document reads the files that players write by hand, strictly and
// with the place of each mistake: scenes, set lists, scripts, maps, rigs,
// supplies, calibrations. What the fields mean is for the package whose file it
// is.
//
//	bytes ─▶ Reader.Root ─▶ nodes ─▶ Fields, Number, Word … ─▶ the package's own type
//	                           └──▶ Mistakes: file:line:column: what is wrong; did you mean …?
//
// It writes files whole or not at all as well (WriteWhole).
package document

import (
	"bytes"
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
)

// Reader reads one YAML file by its nodes, which know their places. It never
// follows an alias, so that a short file stays a short one.
type Reader struct {
	Mistakes
	what         string
	newest, most int
	data         []byte
	lines        [][]rune // of data, once somebody asked
}

// NewReader returns a reader of one file. What is what it holds, such as
// "scene"; newest is the newest version of these that is read, and most the
// longest file, in bytes.
func NewReader(file, what string, newest, most int) *Reader {
	return &Reader{Mistakes: Mistakes{File: file}, what: what, newest: newest, most: most}
}

// Entry is one field of a mapping, or one thing that is read as if it were.
type Entry struct {
	Name       string // the text of its key
	Key, Value *yaml.Node
}

// Item is an entry without a key, such as one of a list; name is what it is
// called in errors.
func Item(name string, n *yaml.Node) Entry { return Entry{name, n, n} }

// Find returns the entry of that name, or false.
func Find(entries []Entry, name string) (Entry, bool) {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == name })
	if i < 0 {
		return Entry{}, false
	}
	return entries[i], true
}

// ReadFile returns the text of the file at a path. Of one that is longer than
// most bytes it returns one byte more than that, so that the Reader can tell.
func ReadFile(path string, most int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder; expected a file", path)
	}
	return io.ReadAll(io.LimitReader(f, int64(most)+1))
}

// Root returns the document of the file, with its comments, and the mapping that
// it is; both are nil after a mistake. The version says what all else means, so
// it is judged here, before anything else.
func (r *Reader) Root(data []byte) (doc, root *yaml.Node) {
	r.data, r.lines = data, nil
	if len(data) > r.most {
		r.At(1, 1, "the file has more than %d bytes, which no %s has", r.most, r.what)
		return nil, nil
	}
	if line, column, ok := IsText(data); !ok {
		r.At(line, column, "this is not UTF-8 text; expected a %s in YAML", r.what)
		return nil, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	doc = new(yaml.Node)
	err := dec.Decode(doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || IsNull(doc.Content[0])) {
		r.At(1, 1, "the file is empty; expected a %s that begins with version: %d", r.what, r.newest)
		return nil, nil
	}
	if err == nil {
		var more yaml.Node
		switch err = dec.Decode(&more); {
		case err == nil:
			r.Node(&more, "a second document begins here; a file holds one %s", r.what)
			return nil, nil
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if err != nil {
		r.syntax(err)
		return nil, nil
	}
	if root = doc.Content[0]; root.Kind != yaml.MappingNode {
		r.Node(root, "a %s is a mapping that begins with version: %d, this is %s", r.what, r.newest, Describe(root))
		return nil, nil
	}
	if !r.version(root) {
		return nil, nil
	}
	return doc, root
}

// IsText tells whether all of a file is UTF-8 text, or where the first character
// is that is none. YAML in UTF-16 is none of it either: nobody writes it, and
// its places could not be told.
func IsText(data []byte) (line, column int, ok bool) {
	line, column = 1, 1
	for i := 0; i < len(data); {
		r, n := utf8.DecodeRune(data[i:])
		if r == utf8.RuneError && n == 1 || r == 0 {
			return line, column, false
		}
		i += n
		if column++; r == '\n' {
			line, column = line+1, 1
		}
	}
	return 0, 0, true
}

var (
	yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)
	// yamlAnchor is the one error of the parser that names no line.
	yamlAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced`)
)

// syntax reports what the YAML parser could not read, at the first character
// of the line that it names.
func (r *Reader) syntax(err error) {
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
		if i := bytes.Index(r.data, []byte("*"+m[1])); i >= 0 {
			line = 1 + bytes.Count(r.data[:i], []byte("\n"))
		}
	}
	// What is missing at the end is missing from the last line that has anything.
	lines := strings.Split(strings.TrimRight(string(r.data), " \t\r\n"), "\n")
	line = min(max(line, 1), len(lines))
	column := 1 + len(lines[line-1]) - len(strings.TrimLeft(lines[line-1], " \t"))
	r.At(line, column, "this is not YAML: %s; expected a %s", text, r.what)
}

// version tells whether the rest of the file can be read.
func (r *Reader) version(root *yaml.Node) bool {
	for i := 0; i+1 < len(root.Content); i += 2 {
		n := root.Content[i+1]
		if root.Content[i].Value != "version" {
			continue
		}
		var v int
		switch {
		case n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Decode(&v) == nil && v >= 1 && v <= r.newest:
			return true
		case v > r.newest:
			r.Add(n.Line, n.Column, LaterVersion(r.what, v, r.newest))
		case r.newest == 1:
			r.Node(n, "version is 1, this is %s", Describe(n))
		default:
			r.Node(n, "version is a whole number from 1 to %d, this is %s", r.newest, Describe(n))
		}
		return false
	}
	r.Node(root, "the %s has no version; it begins with version: %d", r.what, r.newest)
	return false
}

// Node reports a mistake at a node.
func (r *Reader) Node(n *yaml.Node, format string, a ...any) { r.At(n.Line, n.Column, format, a...) }

// IsNull tells whether nothing stands there.
func IsNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

// IsNumber tells whether a node is a number, quoted ones being words.
func IsNumber(n *yaml.Node) bool {
	return n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float")
}

// Describe tells what a node is, for errors.
func Describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list"
	case n.Kind == yaml.AliasNode:
		return "an alias (*" + Clip(n.Value) + "), which is not followed here; write the value out"
	case IsNull(n):
		return "nothing"
	case IsNumber(n):
		return Clip(n.Value)
	}
	return strconv.Quote(Clip(n.Value))
}

// Entries reads a mapping with any keys, in the order of the file. Double keys
// are reported and left out. What is the mapping in errors.
func (r *Reader) Entries(n *yaml.Node, what string) (entries []Entry) {
	if n.Kind != yaml.MappingNode {
		r.Node(n, "%s is a mapping, this is %s", what, Describe(n))
		return nil
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if key.Kind != yaml.ScalarNode {
			r.Node(key, "a key of %s is a word, this is %s", what, Describe(key))
			continue
		}
		if line, double := seen[key.Value]; double {
			r.Node(key, "%q is already given on line %d; leave one of the two", Clip(key.Value), line)
			continue
		}
		seen[key.Value] = key.Line
		entries = append(entries, Entry{key.Value, key, value})
	}
	return entries
}

// Fields reads a mapping with these keys, in the order of the file. Unknown and
// double ones are reported and left out.
func (r *Reader) Fields(n *yaml.Node, what string, known []string) []Entry {
	return slices.DeleteFunc(r.Entries(n, what), func(e Entry) bool {
		if slices.Contains(known, e.Name) {
			return false
		}
		r.Unknown(e.Key, "field", what, known)
		return true
	})
}

// Unknown reports a key that there is not; kind is what keys are called there.
func (r *Reader) Unknown(key *yaml.Node, kind, what string, known []string) {
	hint := ""
	if !r.Full() { // looking for near names takes time, and nobody would read them
		hint = Near(key.Value, known)
	}
	r.Node(key, "unknown %s %q of %s; expected one of %s%s", kind, Clip(key.Value), what, strings.Join(known, ", "), hint)
}

// List reads a list of at most so many items, 0 for any number; nothing at all
// is an empty one.
func (r *Reader) List(e Entry, most int) []*yaml.Node {
	n := e.Value
	switch {
	case n.Kind != yaml.SequenceNode && !IsNull(n):
		r.Node(n, "%s is a list, this is %s", e.Name, Describe(n))
		return nil
	case most > 0 && len(n.Content) > most:
		r.Node(n, "%s has %d entries; at most %d are read", e.Name, len(n.Content), most)
		return nil
	}
	return n.Content
}

// Text reads a text; what YAML takes for a number or a truth is one too.
func (r *Reader) Text(e Entry) (string, bool) {
	if e.Value.Kind != yaml.ScalarNode || IsNull(e.Value) {
		r.Node(e.Value, "%s is a text, this is %s", e.Name, Describe(e.Value))
		return "", false
	}
	return e.Value.Value, true
}

// Prose reads a text of at most so many characters, without the line feeds at
// its end; after a mistake it is empty.
func (r *Reader) Prose(e Entry, most int) string {
	t, ok := r.Text(e)
	if n := utf8.RuneCountInString(t); ok && n > most {
		r.Node(e.Value, "%s has %d characters; at most %d are read", e.Name, n, most)
		return ""
	}
	return strings.TrimRight(t, "\n")
}

// Word reads one of a set of words and returns its index, 0 after a mistake.
func (r *Reader) Word(e Entry, words []string) int {
	if e.Value.Kind == yaml.ScalarNode {
		if i := slices.Index(words, e.Value.Value); i >= 0 {
			return i
		}
	}
	r.Node(e.Value, "%s is one of %s, this is %s%s", e.Name, strings.Join(words, ", "), Describe(e.Value), Near(e.Value.Value, words))
	return 0
}

// Number reads a number from low to high, ends included, 0 after a mistake. The
// unit is for errors and may be empty.
func (r *Reader) Number(e Entry, low, high float64, unit string) (float64, bool) {
	if IsNumber(e.Value) {
		var v float64
		if err := e.Value.Decode(&v); err == nil && v >= low && v <= high && !math.IsNaN(v) {
			return v, true
		}
	}
	if unit != "" {
		unit = " " + unit
	}
	r.Node(e.Value, "%s is a number from %g to %g%s, this is %s", e.Name, low, high, unit, Describe(e.Value))
	return 0, false
}

// Whole reads a whole number from low to high, ends included, 0 after a
// mistake.
func (r *Reader) Whole(e Entry, low, high int) (int, bool) {
	if e.Value.Kind == yaml.ScalarNode && e.Value.Tag == "!!int" {
		var v int
		if err := e.Value.Decode(&v); err == nil && v >= low && v <= high {
			return v, true
		}
	}
	r.Node(e.Value, "%s is a whole number from %d to %d, this is %s", e.Name, low, high, Describe(e.Value))
	return 0, false
}

// Truth reads true or false, false after a mistake.
func (r *Reader) Truth(e Entry) bool {
	var v bool
	if e.Value.Kind == yaml.ScalarNode && e.Value.Tag == "!!bool" && e.Value.Decode(&v) == nil {
		return v
	}
	r.Node(e.Value, "%s is true or false, this is %s", e.Name, Describe(e.Value))
	return false
}
