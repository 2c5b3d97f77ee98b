package bind

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// Schema returns a JSON Schema (draft 2020-12) of mapping files, so that
// editors know every field. What only the whole file can tell, such as whether
// there is one thing for each control, is beyond it.
func Schema() []byte {
	type object = map[string]any
	text := func(doc string, most int) object {
		return object{"type": "string", "description": doc, "maxLength": most}
	}
	number := func(doc string, low, high float64) object {
		return object{"type": "number", "description": doc, "minimum": low, "maximum": high}
	}
	whole := func(doc string, low, high int) object {
		return object{"type": "integer", "description": doc, "minimum": low, "maximum": high}
	}
	word := func(doc string, words []string) object {
		return object{"type": "string", "description": doc, "enum": words}
	}
	// One, or a list of such.
	some := func(doc string, item object) object {
		return object{"description": doc, "anyOf": []any{item, object{"type": "array", "items": item, "maxItems": mostControls}}}
	}
	span := `\d+(-\d+)?`
	control := object{"type": "string", "pattern": `^\s*(((cc|cc14|note|nrpn|rpn|key_pressure)\s+` + span + `|program(\s+` + span + `)?|bend|pressure)(\s+ch\s+(any|` + span + `))?|osc\s+/[^\s#*,?\[\]{}]*)\s*$`}
	var named []string
	for _, a := range actions {
		if !strings.Contains(" "+strings.Join(needs, " ")+" ", " "+a+" ") {
			named = append(named, a)
		}
	}
	to := object{"type": "string", "pattern": `^(/[^/\s]+/[^/\s]+/[^/\s]+|(knobs|switches|triggers|scenes)\[` + span + `\]|strip\[` + span + `\]/\d{1,2}|(` + strings.Join(named, "|") + `)|(` + strings.Join(needs, "|") + `):.+)$`}
	colours := func(doc string) object {
		return object{"type": "object", "description": doc, "additionalProperties": object{"anyOf": []any{
			object{"type": "integer", "minimum": 0, "maximum": 127},
			object{"type": "string", "pattern": `^\d{1,3}@\d{1,2}$`},
		}}}
	}
	takeover := func(doc string) object { return word(doc, takeoverWords[1:]) }
	pair := func(doc string, low, high float64) object {
		return object{"type": "array", "description": doc, "minItems": 2, "maxItems": 2, "items": object{"type": "number", "minimum": low, "maximum": high}}
	}
	binding := object{
		"type": "object", "additionalProperties": false, "required": []string{"control"},
		"anyOf": []any{object{"required": []string{"to"}}, object{"required": []string{"pods"}}},
		"properties": object{
			"name":         text("what it is, for people", maxTitle),
			"port":         object{"type": "string", "description": "only on ports that match: a part of the name, or with * the whole of it"},
			"control":      some("what is moved: a kind, a number or a range, and a channel or none for any", control),
			"to":           some("what that moves, one for each control: an address, where * matches and [2] takes the second that does; knobs[1], switches[1], triggers[1], strip[1]/1 or scenes[1] of whatever scene; or an action", to),
			"pods":         object{"type": "boolean", "description": "each control is the pad of a pod: its colour is the pod's phase, a press kills it"},
			"first":        whole("slot of the first pad", 1, mapping.SlotCount),
			"layer":        whole("layer on which it is bound; without one on all that bind the control to nothing else", 0, mostLayer),
			"mode":         word("how the control acts; auto is what fits", modeWords[:]),
			"encoder":      word("how an encoder says how far it was turned", encoderWords[:]),
			"sensitivity":  number("of an encoder: 1 is 128 ticks for the whole range, or a tick a step", 0.01, 100),
			"acceleration": number("of an encoder: how much further it goes when it is turned fast", 0, 10),
			"range":        pair("what the ends of the control's travel are, in the unit of the param or in volts; the first may be the higher one", -1e9, 1e9),
			"curve":        word("how the travel is laid over the range; param is the param's own", curveWords[:]),
			"steps":        whole("how many positions there are", 2, 16384),
			"takeover":     takeover("what happens while the control is somewhere else than the value"),
			"touch":        some("what tells that a hand is on the control, one for each", control),
			"feedback": object{"description": "what the surface is told: off, same, other controls, or more", "anyOf": []any{
				object{"enum": []string{"off", "same"}}, control, object{"type": "array", "items": control},
				object{"type": "object", "additionalProperties": false, "properties": object{
					"to":      some("what is told instead of the control itself", control),
					"values":  pair("what is sent for the ends of the travel", 0, 127),
					"colours": colours("what is sent by phase, word, on and off, or from a value up"),
				}},
			}},
		},
	}
	schema := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "k8s-synth map",
		"description": "What the controls of a surface are bound to.", "type": "object", "additionalProperties": false,
		"required": []string{"version", "name"},
		"properties": object{
			"version":  object{"description": "version of the format", "const": Version},
			"name":     object{"type": "string", "description": "how the map is called for", "pattern": mapName.String()},
			"title":    text("one line for people", maxTitle),
			"about":    text("more than one line for people", maxAbout),
			"ports":    some("ports that it is for: a part of the name, or with * the whole of it; none is all", object{"type": "string"}),
			"rate":     whole("bytes a second that a port is sent at most; a DIN cable takes 3125", leastRate, 1e6),
			"hello":    object{"type": "array", "maxItems": maxHello, "description": "exclusive messages that a port is sent when it appears", "items": object{"type": "string", "pattern": `^[Ff]0( ?[0-7][0-9A-Fa-f])+ ?[Ff]7$`}},
			"takeover": takeover("what happens while a control is somewhere else than its value, where a binding does not say"),
			"colours":  colours("what is sent by phase, word, on and off, where a binding does not say; none is for pads that the scene has nothing for"),
			"layers": object{"type": "array", "maxItems": mostLayer + 1, "items": object{
				"type": "object", "additionalProperties": false, "required": []string{"number"}, "properties": object{
					"number": whole("0 is where a surface begins", 0, mostLayer),
					"name":   text("what it is, for people", maxTitle),
					"shift":  some("what chooses the layer while it is held", control),
					"latch":  object{"type": "boolean", "description": "shift chooses it from one press to the next"},
				},
			}},
			"bindings": object{"type": []string{"array", "null"}, "maxItems": mostBinding, "items": binding},
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		panic(fmt.Sprintf("map schema: %v", err)) // it holds nothing that JSON has not
	}
	return b.Bytes()
}
