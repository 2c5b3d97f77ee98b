package scenes

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

// Schema returns a JSON Schema (draft 2020-12) of scene files, made from the
// declarations of the modules, so that editors know every param and its range.
// What only the whole patch can tell, such as whether a cable means anything,
// is beyond it.
func Schema() []byte {
	type object = map[string]any
	var perKind []any
	for _, s := range instrument.Specs() {
		params := object{}
		for i := range s.Params {
			params[s.Params[i].Name] = paramSchema(&s.Params[i])
		}
		then := object{"additionalProperties": false, "properties": params}
		perKind = append(perKind, object{
			"if":   object{"properties": object{"id": object{"pattern": "^" + s.Kind + "/"}}},
			"then": object{"description": s.Doc, "properties": object{"params": then}},
		})
	}
	prose := func(doc string, most int) object {
		return object{"type": "string", "description": doc, "maxLength": most}
	}
	name := func(doc string) object {
		return object{"type": "string", "description": doc, "pattern": label.String()}
	}
	between := func(doc string, low, high, value float64) object {
		return object{"type": "number", "description": doc, "minimum": low, "maximum": high, "default": value}
	}
	names := kinds()
	slices.Sort(names)
	schema := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"title":                "k8s-synth scene",
		"description":          "A patch with its seed and settings.",
		"type":                 "object",
		"additionalProperties": false,
		"required":             []string{"version", "name"},
		"properties": object{
			"version":      object{"description": "version of the format", "const": Version},
			"name":         name("how the scene is called for"),
			"title":        prose("one line for people", maxTitle),
			"about":        prose("more than one line for people", maxAbout),
			"seed":         object{"type": "integer", "description": "where everything that is left to chance begins", "minimum": 0, "maximum": json.Number(fmt.Sprint(uint64(math.MaxUint64)))},
			"namespace":    object{"type": "string", "description": "where in the cluster the scene's objects live", "pattern": label.String(), "default": DefaultNamespace},
			"latency":      between("seconds from an event in the cluster to its sound", 0, MaxLatency, DefaultLatency),
			"storm":        between("events a second of one kind above which they become a texture", MinStorm, MaxStorm, DefaultStorm),
			"storm_policy": object{"type": "string", "description": "what is struck of a storm: cloud up to its rate, and the first and the last; first the first alone; all everything", "enum": mapping.StormPolicies, "default": mapping.StormCloud},
			"scale":        object{"type": "string", "description": "what pods and notes keep to, where the API Server's timing is in_time", "enum": rule.ScaleNames()},
			"root":         between("MIDI note on which the scale stands", 0, 127, DefaultRoot),
			"transport":    transportSchema(name),
			"bindings":     object{"type": "array", "description": "mappings of controllers to knobs that are played with the scene", "maxItems": maxBindings, "items": name("name of a mapping")},
			"tunings":      tuningsSchema(),
			"modules": object{"type": "array", "maxItems": instrument.MaxModules, "items": object{
				"type": "object", "additionalProperties": false, "required": []string{"id"},
				"properties": object{
					"id": object{"type": "string", "description": "kind/name", "pattern": "^(" + strings.Join(names, "|") + ")/[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$"},
					"at": object{"type": "object", "description": "place in the rack", "additionalProperties": false, "required": []string{"row", "hp"}, "properties": object{
						"row": object{"type": "integer", "minimum": 0, "maximum": MaxRow},
						"hp":  object{"type": "integer", "minimum": 0, "maximum": MaxHP},
					}},
					"params": object{"type": []string{"object", "null"}, "description": "where knobs and switches stand; missing ones stand at their default"},
				},
				"allOf": perKind,
			}},
			"cables": object{"type": "array", "items": object{
				"type": "string", "description": "from an output to an input: kind/name/jack -> kind/name/jack",
				"pattern": `^\s*[a-z0-9_]+/[-a-z0-9]+/[a-z0-9_]+\s*->\s*[a-z0-9_]+/[-a-z0-9]+/[a-z0-9_]+\s*$`,
			}},
			"rules": rulesSchema(),
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		panic(fmt.Sprintf("scene schema: %v", err)) // it holds nothing that JSON has not
	}
	return b.Bytes()
}

func paramSchema(p *instrument.ParamSpec) map[string]any {
	doc := p.Doc
	if p.Unit != "" {
		doc += " (" + p.Unit + ")"
	}
	s := map[string]any{"description": doc}
	switch {
	case p.Text:
		s["type"], s["default"] = "string", p.Default
		if !p.Free {
			s["pattern"] = `^\S+$`
		}
	case len(p.Choices) > 0:
		// A position is written by its name or its number.
		var all []any
		for i, c := range p.Choices {
			all = append(all, c, i)
		}
		s["enum"], s["default"] = all, p.Choices[int(p.Value)]
	default:
		s["type"] = "number"
		if p.Whole {
			s["type"] = "integer"
		}
		s["minimum"], s["maximum"], s["default"] = p.Min, p.Max, p.Value
	}
	return s
}
