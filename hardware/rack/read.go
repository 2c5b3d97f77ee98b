package rack

import (
	"bytes"
	"cmp"
	"encoding/json"
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

// Error is one mistake in a file. Line and Column count from 1, Column in
// characters.
type Error struct {
	File         string
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors is how many mistakes of one file are told.
const maxErrors = 50

var supplyName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// field is one field of a mapping: what it may hold, for the reader and for the
// schema alike, and where it goes.
type field struct {
	name, doc string
	schema    map[string]any
	need      bool
	read      func(r *reader, n *yaml.Node, into *Supply, rail *Rail)
}

func wholeField(name, doc string, low, high int, set func(*Supply, *Rail) *int) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "integer", "minimum": low, "maximum": high},
		read: func(r *reader, n *yaml.Node, s *Supply, rail *Rail) {
			if v, ok := r.whole(n, name, low, high); ok {
				*set(s, rail) = v
			}
		}}
}

func numberField(name, doc string, low, high float64, set func(*Supply, *Rail) *float64) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "number", "minimum": low, "maximum": high},
		read: func(r *reader, n *yaml.Node, s *Supply, rail *Rail) {
			var v float64
			if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") && n.Decode(&v) == nil && v >= low && v <= high && !math.IsNaN(v) {
				*set(s, rail) = v
				return
			}
			r.node(n, "%s is a number from %g to %g, this is %s", name, low, high, describe(n))
		}}
}

func textField(name, doc string, most int, set func(*Supply, *Rail) *string) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "string", "maxLength": most},
		read: func(r *reader, n *yaml.Node, s *Supply, rail *Rail) {
			if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
				r.node(n, "%s is a text, this is %s", name, describe(n))
			} else if k := utf8.RuneCountInString(n.Value); k > most {
				r.node(n, "%s has at most %d characters, this has %d", name, most, k)
			} else {
				*set(s, rail) = strings.TrimRight(n.Value, "\n")
			}
		}}
}

func sureField(name, doc string, set func(*Supply, *Rail) *Sure) field {
	return field{name: name, doc: doc, schema: map[string]any{"enum": sureWords},
		read: func(r *reader, n *yaml.Node, s *Supply, rail *Rail) {
			if n.Kind == yaml.ScalarNode && slices.Contains(sureWords, n.Value) {
				*set(s, rail) = Sure(n.Value)
				return
			}
			r.node(n, "%s is one of %s, this is %s", name, strings.Join(sureWords, ", "), describe(n))
		}}
}

// railWords are the keys of rails.
var railWords = [rails]string{"+12V", "-12V", "+5V"}

var railFields = []field{
	wholeField("current", "what it gives for good, in mA", 0, MaxCurrent, func(_ *Supply, r *Rail) *int { return &r.Current }),
	wholeField("peak", "what it gives for the moment of switching on, in mA; current where it does not say", 0, MaxCurrent, func(_ *Supply, r *Rail) *int { return &r.Peak }),
	wholeField("minimum", "what it wants to give to be stable, in mA", 0, MaxCurrent, func(_ *Supply, r *Rail) *int { return &r.Minimum }),
	numberField("derate", "the share of current that may be in use; 0.8 where it does not say", 0.1, 1, func(_ *Supply, r *Rail) *float64 { return &r.Derate }),
	sureField("sure", "how well it is known", func(_ *Supply, r *Rail) *Sure { return &r.Sure }),
}

var supplyFields = []field{
	{name: "version", doc: "version of the format", schema: map[string]any{"const": Version}, need: true, read: func(*reader, *yaml.Node, *Supply, *Rail) {}},
	{name: "name", doc: "how the supply is called for", schema: map[string]any{"type": "string", "pattern": supplyName.String()}, need: true,
		read: func(r *reader, n *yaml.Node, s *Supply, _ *Rail) {
			if n.Kind != yaml.ScalarNode || !supplyName.MatchString(n.Value) {
				r.node(n, "name is up to 63 lower-case letters, digits and dashes, this is %s", describe(n))
			}
			s.Name = n.Value
		}},
	textField("title", "one line for people", 200, func(s *Supply, _ *Rail) *string { return &s.Title }),
	textField("about", "more than one line for people", 8000, func(s *Supply, _ *Rail) *string { return &s.About }),
	textField("source", "where the figures are from, in words", 1000, func(s *Supply, _ *Rail) *string { return &s.Source }),
	{name: "rows", doc: "the widths of the case's rows in HP, the top one first; none where it is no case",
		schema: map[string]any{"type": "array", "maxItems": MaxRows, "items": map[string]any{"type": "integer", "minimum": 1, "maximum": MaxHP}},
		read: func(r *reader, n *yaml.Node, s *Supply, _ *Rail) {
			if n.Kind != yaml.SequenceNode || len(n.Content) > MaxRows {
				r.node(n, "rows is a list of at most %d widths in HP, this is %s", MaxRows, describe(n))
				return
			}
			for _, e := range n.Content {
				if v, ok := r.whole(e, "a row", 1, MaxHP); ok {
					s.Rows = append(s.Rows, v)
				}
			}
		}},
	sureField("rows_sure", "how well the rows are known", func(s *Supply, _ *Rail) *Sure { return &s.RowsSure }),
	wholeField("headers", "how many 16-pin headers its bus boards have", 1, MaxHeaders, func(s *Supply, _ *Rail) *int { return &s.Headers }),
	sureField("headers_sure", "how well the headers are known", func(s *Supply, _ *Rail) *Sure { return &s.HeadersSure }),
	numberField("inrush", "how many times their running current modules draw as they start; 1.25 where it does not say", 1, 20, func(s *Supply, _ *Rail) *float64 { return &s.Inrush }),
	{name: "rails", doc: "what it gives", schema: railsSchema(), need: true,
		read: func(r *reader, n *yaml.Node, s *Supply, _ *Rail) {
			for _, e := range r.entries(n, "rails", railWords[:]) {
				i := slices.Index(railWords[:], e.key.Value)
				rail := &s.Rails[i]
				r.fields(e.value, "rail "+e.key.Value, railFields, s, rail)
				if rail.Peak == 0 {
					rail.Peak = rail.Current
				}
				if rail.Peak < rail.Current {
					r.node(e.value, "rail %s gives %d mA for a moment and %d mA for good; the peak is not below that", e.key.Value, rail.Peak, rail.Current)
				}
			}
		}},
}

func railsSchema() map[string]any {
	properties := map[string]any{}
	for _, name := range railWords {
		properties[name] = object("one rail", railFields)
	}
	return map[string]any{"type": "object", "additionalProperties": false, "minProperties": 1, "properties": properties}
}

func object(doc string, fields []field) map[string]any {
	properties := map[string]any{}
	var need []string
	for _, f := range fields {
		p := map[string]any{"description": f.doc}
		for k, v := range f.schema {
			p[k] = v
		}
		properties[f.name] = p
		if f.need {
			need = append(need, f.name)
		}
	}
	o := map[string]any{"type": "object", "description": doc, "additionalProperties": false, "properties": properties}
	if need != nil {
		o["required"] = need
	}
	return o
}

// Schema returns a JSON Schema (draft 2020-12) of supply files.
func Schema() []byte {
	o := object("The rows, rails and headers of a case.", supplyFields)
	o["$schema"], o["title"] = "https://json-schema.org/draft/2020-12/schema", "k8s-synth supply"
	b, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("supply schema: %v", err)) // it holds nothing that JSON has not
	}
	return append(b, '\n')
}

// reader reads one file by its nodes, which know their places. It follows no
// alias.
type reader struct {
	file    string
	errs    []*Error
	skipped int
}

func (r *reader) at(line, column int, format string, a ...any) {
	if len(r.errs) >= maxErrors {
		r.skipped++
		return
	}
	r.errs = append(r.errs, &Error{r.file, max(line, 1), max(column, 1), fmt.Errorf(format, a...)})
}

func (r *reader) node(n *yaml.Node, format string, a ...any) { r.at(n.Line, n.Column, format, a...) }

func (r *reader) err() error {
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range r.errs {
		all = append(all, e)
	}
	if r.skipped > 0 {
		all = append(all, fmt.Errorf("%s: and %d more mistakes", r.file, r.skipped))
	}
	return errors.Join(all...)
}

// Parse reads a supply. Its error names every mistake with line and column.
func Parse(file string, data []byte) (*Supply, error) {
	r := &reader{file: file}
	s := &Supply{Inrush: DefaultInrush, RowsSure: Estimate, HeadersSure: Estimate}
	for i := range s.Rails {
		s.Rails[i].Derate, s.Rails[i].Sure = DefaultDerate, Estimate
	}
	if root := r.root(data); root != nil {
		r.fields(root, "the supply", supplyFields, s, nil)
	}
	if err := r.err(); err != nil {
		return nil, err
	}
	if s.Title == "" {
		s.Title = s.Name
	}
	return s, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// root returns the document's mapping, or nil after a mistake. The version says
// what all else means, so it is judged first.
func (r *reader) root(data []byte) *yaml.Node {
	switch {
	case len(data) > MaxFile:
		r.at(1, 1, "the file has more than %d bytes, which no supply has", MaxFile)
		return nil
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		good := 0
		for good < len(data) {
			c, n := utf8.DecodeRune(data[good:])
			if c == utf8.RuneError && n == 1 || c == 0 {
				break
			}
			good += n
		}
		before := data[:good]
		line := bytes.Count(before, []byte{'\n'})
		r.at(line+1, utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:])+1, "this is not UTF-8 text; expected a supply in YAML")
		return nil
	}
	var doc, more yaml.Node
	dec := yaml.NewDecoder(bytes.NewReader(data))
	err := dec.Decode(&doc)
	if err == nil {
		if e := dec.Decode(&more); e == nil {
			r.node(&more, "a second document begins here; a file holds one supply")
			return nil
		} else if !errors.Is(e, io.EOF) {
			err = e
		}
	}
	empty := errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null")
	if empty {
		r.at(1, 1, "the file is empty; expected a supply that begins with version: %d", Version)
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
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		r.node(root, "a supply is a mapping that begins with version: %d, this is %s", Version, describe(root))
		return nil
	}
	for i := 0; i+1 < len(root.Content); i += 2 {
		if root.Content[i].Value != "version" {
			continue
		}
		n, v := root.Content[i+1], 0
		if n.Kind != yaml.ScalarNode || n.Tag != "!!int" || n.Decode(&v) != nil || v < 1 {
			r.node(n, "version is %d, this is %s", Version, describe(n))
			return nil
		}
		if v > Version {
			r.node(n, "this supply is of version %d and this program reads up to %d; update k8s-synth", v, Version)
			return nil
		}
		return root
	}
	r.node(root, "the supply has no version; it begins with version: %d", Version)
	return nil
}

type pair struct{ key, value *yaml.Node }

// entries reads a mapping with these keys.
func (r *reader) entries(n *yaml.Node, what string, known []string) (es []pair) {
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
		case !slices.Contains(known, k.Value):
			r.node(k, "unknown field %q of %s; expected one of %s", clip(k.Value), what, strings.Join(known, ", "))
		default:
			seen[k.Value] = k.Line
			es = append(es, pair{k, v})
		}
	}
	return es
}

func (r *reader) fields(n *yaml.Node, what string, fields []field, s *Supply, rail *Rail) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	have := map[string]bool{}
	for _, e := range r.entries(n, what, names) {
		have[e.key.Value] = true
		fields[slices.Index(names, e.key.Value)].read(r, e.value, s, rail)
	}
	for _, f := range fields {
		if f.need && !have[f.name] && n.Kind == yaml.MappingNode {
			r.node(n, "%s has no %s: %s", what, f.name, f.doc)
		}
	}
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

// describe tells what a node is, for errors.
func describe(n *yaml.Node) string {
	switch {
	case n.Kind == yaml.MappingNode:
		return "a mapping"
	case n.Kind == yaml.SequenceNode:
		return "a list of " + strconv.Itoa(len(n.Content))
	case n.Kind == yaml.AliasNode:
		return "an alias, which is not followed here; write the value out"
	case n.Tag == "!!null":
		return "nothing"
	case n.Tag == "!!int" || n.Tag == "!!float":
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
