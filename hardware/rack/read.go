package rack

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

var supplyName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

// field is one field of a mapping: what it may hold, for the reader and for the
// schema alike, and where it goes.
type field struct {
	name, doc string
	schema    map[string]any
	need      bool
	read      func(r *document.Reader, e document.Entry, into *Supply, rail *Rail)
}

func wholeField(name, doc string, low, high int, set func(*Supply, *Rail) *int) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "integer", "minimum": low, "maximum": high},
		read: func(r *document.Reader, e document.Entry, s *Supply, rail *Rail) {
			*set(s, rail), _ = r.Whole(e, low, high)
		}}
}

func numberField(name, doc string, low, high float64, set func(*Supply, *Rail) *float64) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "number", "minimum": low, "maximum": high},
		read: func(r *document.Reader, e document.Entry, s *Supply, rail *Rail) {
			*set(s, rail), _ = r.Number(e, low, high, "")
		}}
}

func textField(name, doc string, most int, set func(*Supply, *Rail) *string) field {
	return field{name: name, doc: doc, schema: map[string]any{"type": "string", "maxLength": most},
		read: func(r *document.Reader, e document.Entry, s *Supply, rail *Rail) {
			*set(s, rail) = r.Prose(e, most)
		}}
}

func sureField(name, doc string, set func(*Supply, *Rail) *Sure) field {
	return field{name: name, doc: doc, schema: map[string]any{"enum": sureWords},
		read: func(r *document.Reader, e document.Entry, s *Supply, rail *Rail) {
			*set(s, rail) = Sure(sureWords[r.Word(e, sureWords)])
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
	{name: "version", doc: "version of the format", schema: map[string]any{"const": Version}, need: true, read: func(*document.Reader, document.Entry, *Supply, *Rail) {}},
	{name: "name", doc: "how the supply is called for", schema: map[string]any{"type": "string", "pattern": supplyName.String()}, need: true,
		read: func(r *document.Reader, e document.Entry, s *Supply, _ *Rail) {
			if s.Name = e.Value.Value; e.Value.Kind != yaml.ScalarNode || !supplyName.MatchString(s.Name) {
				r.Node(e.Value, "name is up to 63 lower-case letters, digits and dashes, this is %s", document.Describe(e.Value))
			}
		}},
	textField("title", "one line for people", 200, func(s *Supply, _ *Rail) *string { return &s.Title }),
	textField("about", "more than one line for people", 8000, func(s *Supply, _ *Rail) *string { return &s.About }),
	textField("source", "where the figures are from, in words", 1000, func(s *Supply, _ *Rail) *string { return &s.Source }),
	{name: "rows", doc: "the widths of the case's rows in HP, the top one first; none where it is no case",
		schema: map[string]any{"type": "array", "maxItems": MaxRows, "items": map[string]any{"type": "integer", "minimum": 1, "maximum": MaxHP}},
		read: func(r *document.Reader, e document.Entry, s *Supply, _ *Rail) {
			if e.Value.Kind != yaml.SequenceNode {
				r.Node(e.Value, "rows is a list of at most %d widths in HP, this is %s", MaxRows, document.Describe(e.Value))
				return
			}
			for _, n := range r.List(e, MaxRows) {
				v, _ := r.Whole(document.Item("a row", n), 1, MaxHP)
				s.Rows = append(s.Rows, v)
			}
		}},
	sureField("rows_sure", "how well the rows are known", func(s *Supply, _ *Rail) *Sure { return &s.RowsSure }),
	wholeField("headers", "how many 16-pin headers its bus boards have", 1, MaxHeaders, func(s *Supply, _ *Rail) *int { return &s.Headers }),
	sureField("headers_sure", "how well the headers are known", func(s *Supply, _ *Rail) *Sure { return &s.HeadersSure }),
	numberField("inrush", "how many times their running current modules draw as they start; 1.25 where it does not say", 1, 20, func(s *Supply, _ *Rail) *float64 { return &s.Inrush }),
	{name: "rails", doc: "what it gives", schema: railsSchema(), need: true,
		read: func(r *document.Reader, e document.Entry, s *Supply, _ *Rail) {
			for _, e := range r.Fields(e.Value, "rails", railWords[:]) {
				rail := &s.Rails[slices.Index(railWords[:], e.Name)]
				readFields(r, e.Value, "rail "+e.Name, railFields, s, rail)
				if rail.Peak == 0 {
					rail.Peak = rail.Current
				}
				if rail.Peak < rail.Current {
					r.Node(e.Value, "rail %s gives %d mA for a moment and %d mA for good; the peak is not below that", e.Name, rail.Peak, rail.Current)
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

// Parse reads a supply. Its error names every mistake with line and column.
func Parse(file string, data []byte) (*Supply, error) {
	r := document.NewReader(file, "supply", Version, MaxFile)
	s := &Supply{Inrush: DefaultInrush, RowsSure: Estimate, HeadersSure: Estimate}
	for i := range s.Rails {
		s.Rails[i].Derate, s.Rails[i].Sure = DefaultDerate, Estimate
	}
	if _, root := r.Root(data); root != nil {
		readFields(r, root, "the supply", supplyFields, s, nil)
	}
	if err := r.Err(); err != nil {
		return nil, err
	}
	if s.Title == "" {
		s.Title = s.Name
	}
	return s, nil
}

// readFields reads a mapping by what is declared of its fields.
func readFields(r *document.Reader, n *yaml.Node, what string, fields []field, s *Supply, rail *Rail) {
	names := make([]string, len(fields))
	for i, f := range fields {
		names[i] = f.name
	}
	have := map[string]bool{}
	for _, e := range r.Fields(n, what, names) {
		have[e.Name] = true
		fields[slices.Index(names, e.Name)].read(r, e, s, rail)
	}
	for _, f := range fields {
		if f.need && !have[f.name] && n.Kind == yaml.MappingNode {
			r.Node(n, "%s has no %s: %s", what, f.name, f.doc)
		}
	}
}
