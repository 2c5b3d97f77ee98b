package rig

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

var update = flag.Bool("update", false, "write golden files")

// full has every field there is.
const full = `version: 1
name: full
title: All of it
about: |-
  One line.
  And another.
interface:
  title: a box
  about: more
  names: [Box]
  reference: false
  playback: 16
  capture: 4
  rates: [48000, 96000]
  formats: 24 bits
  outputs:
    - {channels: 1-2, full_scale: unknown, coupling: ac, use: mains, sure: unknown, order: vendor, source: its page}
    - {channels: 3-16, full_scale: 10.5, range: as it is, coupling: dc, use: jacks, sure: measured, order: secondary, source: a meter}
  inputs:
    - {channels: 1, full_scale: 10, coupling: dc, sure: vendor, source: its page}
    - {channels: 2-4}
  expander: {device: es-5, channels: [7, 8], sure: vendor, source: its page}
full_scale: {outputs: 9.9, inputs: 9.8}
device: {backend: alsa, name: "hw:2,0", capture: "hw:3,0", rate: 96000, period: 32, periods: 2, depth: 4, playback: 16, capture_channels: 4}
speakers: [2, 1]
audio_full_scale: 6
expanders:
  - {name: five, device: es-5, channels: [7, 8], headers: {2: esx-8gt, 3: esx-8cv}}
  - {device: es-40, channels: [9, 10], headers: {5: esx-8gt}}
outputs:
  - {jack: bass, channel: 3, role: pitch, standard: Hz/V, reference: {volts: 1, hertz: 55}, full_scale: 10.2, invert: true, min: 0, max: 8.5, safe: 1, slew: 500}
  - {jack: bass-gate, channel: 4, role: gate, limit: 9, low: -5, high: 9}
  - {jack: buchla_1, channel: 5, role: pitch, standard: 1.2V/oct}
  - {jack: vca, channel: 6, role: audio, dc_block: false}
  - {jack: kick, channel: five/1/1, role: trigger}
  - {jack: hat, channel: five/2/8, role: clock}
  - {jack: bend, channel: five/3/4, limit: 5, safe: -1, slew: 10}
  - {jack: bell, channel: es-40/5/1, role: gate}
inputs:
  - {jack: ear, channel: 1, role: audio, full_scale: 3, invert: true, dc_block: true}
  - {jack: hand, channel: 2}
  - {jack: keys, channel: 3, role: pitch, standard: 1V/oct, reference: {volts: 0, hertz: 261.6256}}
`

// TestFull reads every field.
func TestFull(t *testing.T) {
	r := parse(t, full)
	o, in := r.Outputs, r.Inputs
	if r.AudioFullScale != 6 || r.Speakers[0] != 1 || r.Playback() != 16 || r.Capture() != 4 || r.Device.Capture != "hw:3,0" || r.Device.Depth != 4 || r.Exact() != 0b11<<6|0b11<<8 {
		t.Errorf("%+v", r)
	}
	if b := o[0]; b.Standard != (Standard{HertzPerVolt, 1, 55}) || b.FullScale != 10.2 || !b.Invert || b.Min != 0 || b.Max != 8.5 || b.Safe != 1 || b.Slew != 500 || b.Sure != Measured {
		t.Errorf("%+v", b)
	}
	if g := o[1]; g.FullScale != 9.9 || g.Low != -5 || g.High != 9 || g.Safe != -5 || g.Min != -9 {
		t.Errorf("%+v", g)
	}
	if a := o[3]; a.DCBlock || a.Role != Audio || a.Max != 9.9 {
		t.Errorf("%+v", a)
	}
	if b := o[6]; b.Expander != 0 || b.Header != 2 || b.Socket != 3 || b.Channel != 6 || b.Max != 5 || r.Place(&b) != "five/3/4" {
		t.Errorf("%+v", b)
	}
	if i := in[0]; i.FullScale != 3 || !i.Invert || !i.DCBlock {
		t.Errorf("%+v", i)
	}
	if in[1].FullScale != 9.8 || in[2].Index != 2 {
		t.Errorf("%+v", in)
	}
	if s := r.Device.Settings(r.Device.Settings(defaults())); s.Rate != 96000 || s.Device != "hw:2,0" || s.CaptureDevice != "hw:3,0" || s.Period != 32 {
		t.Errorf("%+v", s)
	}
}

// TestFaults: each mistake is told with its place and with what was meant.
func TestFaults(t *testing.T) {
	files, err := filepath.Glob("testdata/*.input.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no files", err)
	}
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got := "no mistakes\n"
		if _, err := Parse("rig.yaml", data); err != nil {
			got = err.Error() + "\n"
		}
		golden(t, strings.TrimSuffix(f, ".input.yaml")+".output.txt", got)
	}
	var e *document.Error
	if _, err := Parse("x", []byte("version: 2\nname: x\n")); !errors.Is(err, document.ErrVersion) || !errors.As(err, &e) || e.Line != 1 || e.Column != 10 {
		t.Error(err)
	}
	for text, want := range map[string]string{
		"":                                       "x:1:1: the file is empty",
		"[1]":                                    "x:1:1: a rig is a mapping",
		"name: x":                                "the rig has no version",
		"version: 1\nversion: 1":                 "version",
		"version: 1\n\tname":                     "not YAML",
		"version: 1\n---\nversion: 1":            "second document",
		"version: 1\nname: \xff":                 "x:2:7: this is not UTF-8",
		"version: 1\nname: x\ninterface: crow\n": "no audio interface",
		"version: 1\nname: x\ninterface: unknown\n":                       "for the rig to say",
		"version: 1\nname: x\ninterface: virtual\nspeakers: &a [*a]\n":    "alias",
		"version: 1\nname: x\n":                                           "has no interface",
		"version: 1\nname: x\ninterface: rme\n":                           "no playback channels",
		"version: 1\nname: x\ninterface: " + strings.Repeat("9", MaxFile): "more than",
	} {
		if _, err := Parse("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: %v; want %q", text, err, want)
		}
	}
	if _, err := Parse("x", []byte("version: 1\nname: x\ninterface: virtual\noutputs:\n"+strings.Repeat("  - {jack: A, channel: 1}\n", 200))); err == nil || !strings.Contains(err.Error(), "more mistakes") {
		t.Error(err)
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s\n(go test -update writes it)", path, got, want)
	}
}

// TestSchema: the schema that is committed is the one that the code makes, and a validator takes what
// is read and refuses what it can know to be wrong.
func TestSchema(t *testing.T) {
	golden(t, "rig.schema.json", string(Schema()))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("rig.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("rig.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(plain(v))
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	for _, text := range []string{full, studio, sixteen(), gateRig()} {
		if err := check(text); err != nil {
			t.Error(err)
		}
	}
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if !p.Reference {
			if err := check(string(New("x", p, Device{}))); err != nil {
				t.Errorf("%s: %v", p.Name, err)
			}
		}
	}
	for _, more := range []string{"colour: red", "speakers: [0]", "outputs: [{jack: a}]", "outputs: [{jack: A, channel: 1}]", "outputs: [{jack: a, channel: es-5/7/1}]",
		"outputs: [{jack: a, channel: 1, role: volts}]", "expanders: [{device: es-6, channels: [1, 2]}]", "device: {rate: 1}", "audio_full_scale: 0", "inputs: [{jack: a, channel: 1, limit: 5}]"} {
		if check("version: 1\nname: x\ninterface: virtual\n"+more+"\n") == nil {
			t.Errorf("the schema takes %s", more)
		}
		if _, err := Parse("x", []byte("version: 1\nname: x\ninterface: virtual\n"+more+"\n")); err == nil {
			t.Errorf("%s is read", more)
		}
	}
}

// plain gives mappings the keys that JSON has.
func plain(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plain(v[k])
		}
	case map[any]any:
		m := map[string]any{}
		for k, w := range v {
			b, _ := json.Marshal(k)
			m[strings.Trim(string(b), `"`)] = plain(w)
		}
		return m
	case []any:
		for k := range v {
			v[k] = plain(v[k])
		}
	}
	return v
}

// sound tells what is wrong with a rig that was read: it must be one that a case can be made of and
// that keeps its own rules.
func sound(r *Rig) string {
	if r == nil {
		return "no rig and no error"
	}
	if _, err := NewCase(r, 48000, quiet()); err != nil {
		return err.Error()
	}
	seen := r.Exact()
	for _, s := range r.Speakers {
		if seen.Has(s) || s >= r.Playback() {
			return "a speaker is where it cannot be"
		}
		seen |= 1 << s
	}
	names := map[string]bool{}
	for _, j := range append(append([]Jack{}, r.Outputs...), r.Inputs...) {
		if names[j.Name] || !jackName.MatchString(j.Name) {
			return "two jacks of one name, or none: " + j.Name
		}
		names[j.Name] = true
	}
	for _, j := range r.Outputs {
		if j.Expander < 0 && (seen.Has(j.Channel) || j.Channel >= r.Playback()) {
			return "jack " + j.Name + " is where it cannot be"
		}
		if j.Expander < 0 {
			seen |= 1 << j.Channel
		}
		if !(j.Min < j.Max && j.Safe >= j.Min && j.Safe <= j.Max && j.FullScale > 0 && j.Slew >= 0) || j.Role.Switches() && (j.Low < j.Min || j.High > j.Max || j.Low == j.High) {
			return "jack " + j.Name + " has limits that do not hold"
		}
		if j.Expander < 0 && j.Sure == Unknown && (j.Max > SafeVolts || j.Min < -SafeVolts || j.FullScale != WorstFullScale || j.Role == Pitch) {
			return "jack " + j.Name + " is not safe"
		}
		if j.Max > j.FullScale || j.Min < -j.FullScale {
			return "jack " + j.Name + " goes beyond what its channel gives"
		}
	}
	r.Remarks()
	return ""
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{full, studio, sixteen(), gateRig()} {
		f.Add([]byte(s))
	}
	files, _ := filepath.Glob("testdata/*.input.yaml")
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Parse("x", data)
		if err == nil {
			if m := sound(r); m != "" {
				t.Fatal(m)
			}
		}
		_, _ = ParseProfile("x", data)
	})
}

// TestBroken reads files with random damage: they are read and sound, or refused with a place.
func TestBroken(t *testing.T) {
	rng := rand.New(rand.NewPCG(8, 9))
	read := 0
	for i := range 2000 {
		base := []string{full, studio, sixteen(), gateRig()}[i%4]
		data := []byte(base)
		lines := strings.Split(base, "\n")
		for range 1 + rng.IntN(2) {
			switch k := rng.IntN(len(data)); rng.IntN(4) {
			case 0:
				data[k] = byte(rng.IntN(128))
			case 1:
				data = append(data[:k:k], data[min(k+rng.IntN(6), len(data)):]...)
			case 2:
				w := []string{"1", "-9", "99", "role", "gate", "es-5/1/1", "pitch", "{", "limit: 3", "unknown", "1e9", ".nan"}[rng.IntN(12)]
				data = append(data[:k:k], append([]byte(w), data[k:]...)...)
			case 3:
				data = append(data, []byte("\n"+lines[rng.IntN(len(lines))])...)
			}
		}
		r, err := Parse("x", data)
		if err != nil {
			var e *document.Error
			if !errors.As(err, &e) || e.Line < 1 || e.Column < 1 {
				t.Fatalf("an error without a place: %v", err)
			}
			continue
		}
		read++
		if m := sound(r); m != "" {
			t.Fatalf("%s\n%s", m, data)
		}
	}
	if read < 80 {
		t.Errorf("only %d of 2000 were read", read)
	}
}

// What a device will refuse later is said when the file is checked.
func TestRemarksOnWhatIsRefused(t *testing.T) {
	text := func(device string) string {
		return "version: 1\nname: a\ninterface: es-8\nunit: \"17\"\ndevice: " + device + "\nexpanders:\n  - {device: es-5, channels: [7, 8]}\noutputs:\n  - {jack: kick, channel: es-5/1/1, role: trigger}\n"
	}
	for device, want := range map[string][2]string{
		"{backend: jack}": {"JACK carries floats", ""}, "{backend: alsa, rate: 44100}": {"", ""}, "{backend: pulse, rate: 88200}": {"as it is", "88200 Hz it is refused"},
	} {
		r, err := Parse("a.yaml", []byte(text(device)))
		if err != nil {
			t.Fatal(err)
		}
		said := strings.Join(r.Remarks(), "\n")
		for i, of := range []string{"the expander", "Hz it is refused"} {
			if strings.Contains(said, of) != (want[i] != "") || !strings.Contains(said, want[i]) {
				t.Errorf("%s: of %q it says %q", device, of, said)
			}
		}
		if r.CalibrationName() != "es-8 17" {
			t.Errorf("calibrations are kept by %q", r.CalibrationName())
		}
	}
}
