package calibration

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Schema returns a JSON Schema (draft 2020-12) of calibration files, so that editors know every
// field. That the table rises is beyond it.
func Schema() []byte {
	type object = map[string]any
	text := func(doc string) object { return object{"type": "string", "description": doc, "maxLength": maxText} }
	number := func(doc string, low, high float64) object {
		return object{"type": "number", "description": doc, "minimum": low, "maximum": high}
	}
	whole := func(doc string, low, high int) object {
		return object{"type": "integer", "description": doc, "minimum": low, "maximum": high}
	}
	residual := func(doc string) object {
		return object{"type": "object", "description": doc, "additionalProperties": false, "properties": object{
			"worst": number("of any note, cents", 0, maxCents), "rms": number("of all notes, cents", 0, maxCents)}}
	}
	volts := func(doc string) object { return number(doc+", volts", -maxVolts, maxVolts) }
	schema := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "k8s-synth calibration",
		"description": "What one channel of an audio interface is off by, on one machine.", "type": "object", "additionalProperties": false,
		"required": []string{"version", "interface", "jack", "direction", "channel", "made", "method", "offset", "gain"},
		"properties": object{
			"version":         object{"description": "version of the format", "const": Version},
			"interface":       text("name of the interface's profile"),
			"jack":            text("the rig's name of the jack"),
			"direction":       object{"description": "which way the channel goes", "enum": directionWords},
			"channel":         whole("of the interface, counted from 1", 1, 64),
			"machine":         text("host that measured"),
			"made":            object{"type": "string", "format": "date-time", "description": "when it was measured"},
			"method":          object{"description": "how it was measured", "enum": methodWords},
			"reference":       text("what it was measured against"),
			"full_scale":      number("what the profile said the number 1 is, in volts", 0.01, 1000),
			"standard":        object{"description": "how notes become volts", "enum": kindWords},
			"reference_volts": volts("voltage of reference_hertz"),
			"reference_hertz": number("pitch at reference_volts; without one 0 V is C4", 1, 20000),
			"transpose":       whole("semitones by which the gear sounds higher than the notes it is played", -120, 120),
			"conditions": object{"type": "object", "description": "circumstances of the measurement", "additionalProperties": false, "properties": object{
				"seconds": number("that it took", 0, 1e6),
				"repeats": whole("of each note at least", 0, 1000),
				"passes":  whole("over all notes", 0, 1000),
				"settle":  number("seconds that a note took to settle, median", 0, 1000),
				"drift":   number("cents a minute that was found and removed", -maxCents, maxCents),
				"noise":   number("RMS of one reading, cents", 0, maxCents),
				"rate":    number("sample rate, Hz", 0, 1e6),
				"note":    text("anything else"),
			}},
			"before": residual("error without the calibration"),
			"after":  residual("error with it"),
			"offset": volts("what is sent for 0 V by the line"),
			"gain":   number("volts sent a volt by the line", minSlope, maxSlope),
			"table": object{"type": "array", "maxItems": maxRows, "description": "what a straight line cannot mend, by rising volts", "items": object{
				"type": "object", "additionalProperties": false, "required": []string{"volts", "mend"}, "properties": object{
					"note":   whole("MIDI number, where the level is a note", 0, 127),
					"volts":  volts("wanted"),
					"mend":   volts("to add to the line"),
					"before": number("error without the calibration, cents", -maxCents, maxCents),
					"after":  number("error with it, cents", -maxCents, maxCents),
				}}},
			"left_out": object{"type": "array", "maxItems": maxRows, "description": "notes that are not in the table", "items": object{
				"type": "object", "additionalProperties": false, "required": []string{"volts", "why"}, "properties": object{
					"note": whole("MIDI number", 0, 127), "volts": volts("wanted"), "why": text("why it was left out")}}},
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		panic(fmt.Sprintf("calibration schema: %v", err)) // it holds nothing that JSON has not
	}
	return b.Bytes()
}
