package eno

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// schemaID names the schema; it is where the repository publishes it.
const schemaID = "https://raw.githubusercontent.com/k8s-synth/k8s-synth/main/kube/topology.schema.json"

// namePattern is what a module may be called, as instrument.Patch takes it.
const namePattern = `[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?`

// Schema returns the JSON Schema (draft 2020-12) of the topology, made from the
// declarations of the modules. It knows names, types and ranges; what lies
// between several values, such as which cable fits where, is Validate's.
func Schema() []byte {
	type object = map[string]any
	modules, defs := object{}, object{}
	var from, to []string
	for _, s := range instrument.Specs() {
		if !s.Cluster() {
			continue
		}
		modules[fmt.Sprintf("^%s/%s$", s.Kind, namePattern)] = object{"$ref": "#/$defs/" + s.Kind}
		properties := object{}
		for i := range s.Params {
			if p := &s.Params[i]; p.Cluster {
				properties[p.Name] = paramSchema(p)
			}
		}
		defs[s.Kind] = object{
			"title":                s.Title,
			"description":          s.Doc + " Bound to " + s.Bound + ".",
			"type":                 []string{"object", "null"},
			"additionalProperties": false,
			"properties":           properties,
		}
		from, to = append(from, jackPattern(s, s.Outputs)...), append(to, jackPattern(s, s.Inputs)...)
	}
	schema := object{
		"$schema":              "https://json-schema.org/draft/2020-12/schema",
		"$id":                  schemaID,
		"title":                "k8s-synth topology",
		"description":          "The Kubernetes part of a patch: its modules with the params that the cluster hears of, and the cables between them. It is published as the key " + ConfigMapKey + " of the ConfigMap " + ConfigMapName + ".",
		"type":                 "object",
		"additionalProperties": false,
		"required":             []string{"version"},
		"properties": object{
			"version":    object{"const": mapping.TopologyVersion, "description": "version of this schema; version 1 is still read, and converted"},
			"scene":      object{"type": "string", "description": "name of the scene that the patch came from"},
			"generation": object{"type": "integer", "minimum": 0, "default": 0, "description": "counts the topologies that were published"},
			"namespace":  object{"type": "string", "pattern": `^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$`, "description": "where the objects live; empty is the ConfigMap's own"},
			"modules": object{
				"type": []string{"object", "null"}, "description": "modules as kind/name, with the params that are not at their default",
				"additionalProperties": false, "patternProperties": modules,
			},
			"cables": object{
				"type": []string{"array", "null"}, "uniqueItems": true, "description": "from an output to an input, each as kind/name/jack",
				"items": object{"type": "string", "pattern": fmt.Sprintf(`^\s*(%s)\s*->\s*(%s)\s*$`, strings.Join(from, "|"), strings.Join(to, "|"))},
			},
		},
		"$defs": defs,
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		panic(err) // maps, strings and numbers
	}
	return b.Bytes()
}

// paramSchema is the schema of one param.
func paramSchema(p *instrument.ParamSpec) map[string]any {
	doc := p.Doc
	if p.Unit != "" {
		doc += " (" + p.Unit + ")"
	}
	out := map[string]any{"description": doc}
	switch {
	case p.Text:
		out["type"], out["default"] = "string", p.Default
		if !p.Free {
			out["pattern"] = `^[^ \t\n]+$`
		}
	case p.Switch():
		out["enum"], out["default"] = []any{false, true, "off", "on"}, p.Value != 0
	case len(p.Choices) > 0:
		out["enum"], out["default"] = p.Choices, p.Choices[int(p.Value)]
	default:
		out["type"] = "number"
		if p.Whole {
			out["type"] = "integer"
		}
		out["minimum"], out["maximum"], out["default"] = p.Min, p.Max, p.Value
	}
	return out
}

// jackPattern matches the jacks of a module of some name.
func jackPattern(s *instrument.ModuleSpec, jacks []instrument.JackSpec) []string {
	if len(jacks) == 0 {
		return nil
	}
	var names []string
	for _, j := range jacks {
		names = append(names, j.Name)
	}
	return []string{fmt.Sprintf("%s/%s/(%s)", s.Kind, namePattern, strings.Join(names, "|"))}
}
