package rig

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// Schema returns a JSON Schema (draft 2020-12) of rig files, so that editors know every field. What
// only the whole file can tell, such as whether two jacks are on one channel, is beyond it.
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
	truth := func(doc string) object { return object{"type": "boolean", "description": doc} }
	words := func(doc string, w []string) object { return object{"type": "string", "description": doc, "enum": w} }
	name := func(doc string) object {
		return object{"type": "string", "description": doc, "pattern": jackName.String()}
	}
	fields := func(doc string, required []string, properties object) object {
		o := object{"type": "object", "description": doc, "additionalProperties": false, "properties": properties}
		if required != nil {
			o["required"] = required
		}
		return o
	}
	list := func(doc string, item object, most int) object {
		return object{"type": []string{"array", "null"}, "description": doc, "items": item, "maxItems": most}
	}
	channel := whole("a channel of the interface, counted from 1", 1, hardware.MaxChannels)
	pair := object{"type": "array", "description": "the two channels that it is on, counted from 1", "items": channel, "minItems": 2, "maxItems": 2}
	volts := func(doc string) object { return number(doc+", in volts", -12, 12) }
	full := func(doc string) object { return number(doc, leastFullScale, mostFullScale) }

	group := fields("channels that are alike", []string{"channels"}, object{
		"channels":   object{"description": "one channel or a range, counted from 1", "anyOf": []any{channel, object{"type": "string", "pattern": `^\d+\s*(-\s*\d+)?$`}}},
		"full_scale": object{"description": "volts of the number 1", "anyOf": []any{full("volts"), object{"const": "unknown"}}},
		"range":      text("what they give, where that is not the same either way", maxTitle),
		"coupling":   words("whether a voltage that stays gets through", couplingWords),
		"use":        words("what the channels are", useWords),
		"sure":       words("how well full_scale is known", sureWords),
		"order":      words("how well it is known that the channels are those sockets", sureWords),
		"source":     text("where that is from, in words", 400),
	})
	inline := fields("an interface written out, as profiles are", nil, object{
		"title": text("what it is", maxTitle), "about": text("more than one line for people", maxAbout),
		"names":     list("parts of the names that systems list it by", object{"type": "string"}, 32),
		"reference": truth("it is no audio interface"), "playback": whole("playback channels", 0, hardware.MaxChannels), "capture": whole("capture channels", 0, hardware.MaxChannels),
		"rates": list("sample rates in Hz", whole("Hz", 8000, 768000), 32), "formats": text("what its samples are", maxTitle),
		"outputs": list("its playback channels", group, hardware.MaxChannels), "inputs": list("its capture channels", group, hardware.MaxChannels),
		"expander": fields("a header for an expander", nil, object{"device": words("what fits", frameWords), "channels": pair, "sure": words("how well that is known", sureWords), "source": text("where that is from", 400)}),
	})
	alike := func(more object) object {
		o := object{
			"jack":       name("how patches call it; no two jacks of a rig have one name"),
			"role":       words("what runs through it; cv where it does not say", roleWords),
			"standard":   words("of role: pitch: how a pitch becomes volts", scaleWords),
			"reference":  fields("of role: pitch: a voltage and the frequency that it makes; 0 V at C4 where it does not say", nil, object{"volts": volts("the voltage"), "hertz": number("the frequency in Hz", 0.01, 100000)}),
			"full_scale": full("what was measured on this channel: volts of the number 1"),
			"invert":     truth("the channel turns its voltage round"),
			"dc_block":   truth("of role: audio: take DC out; true where it does not say"),
		}
		for k, v := range more {
			o[k] = v
		}
		return o
	}
	output := fields("an output jack", []string{"jack", "channel"}, alike(object{
		"channel": object{"description": "a channel counted from 1, or a socket of an expander such as es-5/1/3: its name, the header, the socket", "anyOf": []any{channel, object{"type": "string", "pattern": `^[-_a-z0-9]+/[1-6]/[1-8]$`}}},
		"limit":   number("the most that ever leaves it, either way, in volts", 0.01, 12),
		"min":     volts("the least that ever leaves it"), "max": volts("the most that ever leaves it"),
		"safe": volts("where it rests when nothing plays; 0 where it does not say"),
		"slew": number("the fastest that it moves, in V/s", 0.01, 1e7),
		"low":  volts("of gate, trigger and clock: the level of low; 0 where it does not say"),
		"high": volts("of gate, trigger and clock: the level of high; 5 where it does not say"),
	}))
	input := fields("an input jack", []string{"jack", "channel"}, alike(object{"channel": channel}))
	headers := object{}
	for h := 1; h <= ES5.Headers(); h++ {
		headers[fmt.Sprint(h)] = words("what is on the header", cardWords)
	}
	schema := fields("How the instrument is wired to the gear of one machine.", []string{"version", "name", "interface"}, object{
		"version": object{"description": "version of the format", "const": Version},
		"name":    name("how the rig is called for"),
		"title":   text("one line for people", maxTitle),
		"about":   text("more than one line for people", maxAbout),
		"interface": object{"description": "the name of a profile, an interface written out, or unknown", "anyOf": []any{
			object{"enum": append([]string{"unknown"}, profileNames()...)}, inline}},
		"unit":       text("which one of its model the interface is, such as its serial number; calibrations are kept by it", maxTitle),
		"full_scale": fields("what the player measured, for all jacks of the interface: volts of the number 1", nil, object{"outputs": full("of the outputs"), "inputs": full("of the inputs")}),
		"device": fields("how the audio interface is opened", nil, object{
			"backend": words("the audio system", backendWords),
			"name":    text("its id or a part of its name, as k8s-synth devices lists them; on ALSA hw:2,0", maxTitle),
			"capture": text("the same for what is captured; the same device where it does not say", maxTitle),
			"rate":    whole("sample rate in Hz", 8000, 384000), "period": whole("the device's block in frames", 16, 8192),
			"periods": whole("blocks in the device's buffer", 2, 16), "depth": whole("blocks of 64 frames in front of the device", 1, 256),
			"playback": whole("playback channels to open; the profile's where it does not say", 1, hardware.MaxChannels), "capture_channels": whole("capture channels to open; the profile's where it does not say", 1, hardware.MaxChannels),
		}),
		"speakers":         list("channels of loudspeakers, in the order of audio_out's channels; no jack can be on one", channel, hardware.MaxChannels),
		"audio_full_scale": number("the rack's volts that are full scale at the speakers; 5 where it does not say", 0.1, 100),
		"expanders": list("boxes of further outputs on two channels", fields("an expander", []string{"device", "channels"}, object{
			"name": name("how jacks call it; the device's name where it does not say"), "device": words("what it is; es-40 is also an ES-4 with gate expanders", frameWords),
			"channels": pair, "headers": object{"type": "object", "description": "what is on its headers; header 1 of an ES-5 is its own eight gates", "additionalProperties": false, "properties": headers},
		}), hardware.MaxChannels/2),
		"outputs": list("output jacks, in the order of the engine's outputs", output, MaxJacks),
		"inputs":  list("input jacks, in the order of the engine's inputs", input, hardware.MaxChannels),
	})
	schema["$schema"], schema["title"] = "https://json-schema.org/draft/2020-12/schema", "k8s-synth rig"
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		panic(fmt.Sprintf("rig schema: %v", err)) // it holds nothing that JSON has not
	}
	return b.Bytes()
}
