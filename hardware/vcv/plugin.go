package vcv

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// tags are Rack's own words for what a module is, by kind or else by family.
var tags = map[string][]string{
	"workload": {"Controller", "External"}, "network": {"Switch", "External"}, "machine": {"Controller", "External"}, "control": {"Controller"},
	"source": {"Oscillator"}, "shaper": {"Effect"}, "time": {"Clock generator"}, "utility": {"Utility"}, "io": {"External"},
	"pod": {"Synth voice", "External"}, "vco": {"Oscillator", "Polyphonic"}, "noise": {"Noise"}, "voice": {"Synth voice", "Polyphonic"}, "drum": {"Drum", "Synth voice"},
	"vcf": {"Filter", "Polyphonic"}, "vca": {"Voltage-controlled amplifier", "Polyphonic"}, "reverb": {"Reverb", "Effect"}, "delay": {"Delay", "Effect"}, "chorus": {"Chorus", "Effect"},
	"compressor": {"Compressor", "Dynamics"}, "mixer": {"Mixer"}, "adsr": {"Envelope generator", "Polyphonic"}, "lfo": {"Low-frequency oscillator", "Polyphonic"},
	"clock": {"Clock generator"}, "euclid": {"Sequencer"}, "sample_hold": {"Sample and hold", "Polyphonic"}, "slew": {"Slew limiter", "Polyphonic"},
	"attenuverter": {"Attenuator"}, "scope": {"Visual"}, "quantizer": {"Quantizer", "Polyphonic"},
	"midi_in": {"MIDI", "External", "Polyphonic"}, "midi_out": {"MIDI", "External", "Polyphonic"}, "cronjob": {"Clock generator", "External"}, "job": {"Envelope generator", "External"}, "etcd": {"Clock generator", "External"},
}

func tagsOf(kind string) []any {
	list, ok := tags[kind]
	if !ok {
		list = tags[faceplate.Family(kind)]
	}
	out := []any{}
	for _, t := range list {
		out = append(out, t)
	}
	return out
}

// Manifest returns plugin.json of the plugin of our modules.
func Manifest() ([]byte, error) {
	modules := []any{}
	for _, s := range instrument.Specs() {
		modules = append(modules, map[string]any{"slug": s.Kind, "name": s.Title, "description": s.Doc, "tags": tagsOf(s.Kind)})
	}
	fields := []struct {
		key   string
		value any
	}{
		{"slug", PluginSlug}, {"version", PluginVersion}, {"name", "k8s-synth"}, {"brand", "k8s-synth"},
		{"description", "A Eurorack whose modules are a Kubernetes cluster"}, {"author", "k8s-synth"}, {"license", "Apache-2.0"},
		{"sourceUrl", "https://github.com/k8s-synth/k8s-synth"}, {"minRackVersion", "2.0.0"}, {"modules", modules},
	}
	var b bytes.Buffer
	b.WriteString("{")
	for i, f := range fields {
		if i > 0 {
			b.WriteByte(',')
		}
		line(&b, 1)
		if err := writeString(&b, f.key); err != nil {
			return nil, err
		}
		b.WriteString(": ")
		if err := writeJSON(&b, f.value, 1); err != nil {
			return nil, err
		}
	}
	b.WriteString("\n}\n")
	return b.Bytes(), nil
}

// Plugin returns the files that a plugin of our modules begins with, by their
// path: plugin.json, a panel for each module, and a header with the numbers
// that params and ports have in patches.
func Plugin() (map[string][]byte, error) {
	files := map[string][]byte{}
	manifest, err := Manifest()
	if err != nil {
		return nil, err
	}
	files["plugin.json"] = manifest
	for _, s := range instrument.Specs() {
		l, err := faceplate.Build(s)
		if err != nil {
			return nil, err
		}
		var b bytes.Buffer
		if err := faceplate.SVG(&b, l, faceplate.Style{Rack: true}); err != nil {
			return nil, err
		}
		files["res/"+s.Kind+".svg"] = b.Bytes()
	}
	files["src/ids.hpp"] = header()
	return files, nil
}

// header writes the numbers of params and ports in C++. Rack's helper numbers
// them by where they stand on the panel; patches go by the spec.
func header() []byte {
	var b bytes.Buffer
	b.WriteString("#pragma once\n\n// Params, ports and lights of the modules of k8s-synth, as its patches number them.\n// A param that is a word has no number of its own value: it is in the module's data, under \"text\".\n\nnamespace k8ssynth {\n")
	for _, s := range instrument.Specs() {
		name := strings.ToUpper(s.Kind[:1]) + s.Kind[1:]
		fmt.Fprintf(&b, "\nnamespace %s {\n", name)
		enum := func(what, suffix string, names []string) {
			fmt.Fprintf(&b, "enum %s {\n", what)
			for _, n := range names {
				fmt.Fprintf(&b, "\t%s_%s,\n", strings.ToUpper(n), suffix)
			}
			fmt.Fprintf(&b, "\tNUM_%sS\n};\n", suffix)
		}
		var params, inputs, outputs []string
		for i := range s.Params {
			params = append(params, s.Params[i].Name)
		}
		for i := range s.Inputs {
			inputs = append(inputs, s.Inputs[i].Name)
			if s.Inputs[i].Button {
				params = append(params, s.Inputs[i].Name+"_button")
			}
		}
		for i := range s.Outputs {
			outputs = append(outputs, s.Outputs[i].Name)
		}
		enum("ParamId", "PARAM", params)
		enum("InputId", "INPUT", inputs)
		enum("OutputId", "OUTPUT", outputs)
		enum("LightId", "LIGHT", outputs)
		fmt.Fprintf(&b, "} // namespace %s\n", name)
	}
	b.WriteString("\n} // namespace k8ssynth\n")
	return b.Bytes()
}
