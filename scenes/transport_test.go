package scenes

import (
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestTransport: how a scene comes in and what it is played with is read,
// written, and kept with the words and comments of its file.
func TestTransport(t *testing.T) {
	const text = `version: 1
name: x
transport: # how it comes in
  clock: main
  phrase: 8 # bars
  launch: bar
  crossfade: 2.5
bindings: [faders, launchpad]
modules:
  - id: clock/main
`
	s := parsed(t, text)
	want := Transport{Clock: "main", Phrase: 8, Launch: mapping.Bar, Crossfade: 2.5}
	if s.Transport != want || strings.Join(s.Bindings, " ") != "faders launchpad" {
		t.Errorf("read as %+v, %q", s.Transport, s.Bindings)
	}
	b, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	again := parsed(t, string(b))
	if !again.Equal(s) {
		t.Errorf("written as\n%s", b)
	}
	again.Transport.Crossfade = 3
	if again.Equal(s) {
		t.Error("scenes with other crossfades are equal")
	}
	if b, err = Update([]byte(text), again); err != nil || !strings.Contains(string(b), "# how it comes in") || !strings.Contains(string(b), "crossfade: 3\n") || !strings.Contains(string(b), "phrase: 8 # bars") {
		t.Errorf("updated to\n%s%v", b, err)
	}
	plain := parsed(t, "{version: 1, name: x}")
	if plain.Transport != defaultTransport {
		t.Errorf("by default it is %+v", plain.Transport)
	}
	if b, _ := Encode(plain); strings.Contains(string(b), "transport") || strings.Contains(string(b), "bindings") {
		t.Errorf("what is by default is written:\n%s", b)
	}
	for text, want := range map[string]string{
		"transport: {launch: soon}":          "x:3:21: launch is now, beat, bar or phrase",
		"transport: {crossfade: 31}":         "x:3:24: ",
		"transport: {phrase: 0}":             "x:3:21: ",
		"transport: {clock: none}":           "no clock/none",
		"transport: {tempo: 9}":              "x:3:20: tempo is a number from 10 to 300",
		"transport: 4":                       "x:3:12: ",
		"bindings: [Big]":                    "x:3:11: the name of a mapping",
		"bindings: faders":                   "x:3:11: ",
		"bindings: [{a: b}]":                 "x:3:12: ",
		"transport: {launch: bar, phrase: }": "x:3:34: ",
	} {
		if _, err := Parse("x", []byte("version: 1\nname: x\n"+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

// TestTransportTempo: the tempo and beats of a transport are where the knobs of
// its Clock stand, are saved as they come to stand, and are counted by where
// there is no Clock.
func TestTransportTempo(t *testing.T) {
	const text = `version: 1
name: x
transport:
  tempo: 132.5 # of the drummer
  beats: 3
  phrase: 8
  clock: b
modules:
  - id: clock/a
    params: {tempo: 60}
  - id: clock/b # counts
    params:
      swing: 0.6 # lazy
`
	s := parsed(t, text)
	m := s.Patch.Module("clock/b")
	if m.Value("tempo") != 132.5 || m.Value("beats") != 3 || s.Patch.Module("clock/a").Value("tempo") != 60 {
		t.Errorf("the Clocks stand at %v and %v", m.Params, s.Patch.Module("clock/a").Params)
	}
	out, err := Update([]byte(text), s)
	if err != nil || !strings.HasPrefix(string(out), text) {
		t.Errorf("unchanged it is\n%s%v", out, err)
	}
	// A hand has turned the knob.
	m.Params["tempo"] = 140
	out, err = Update([]byte(text), s)
	if want := strings.Replace(text, "132.5", "140", 1); err != nil || !strings.HasPrefix(string(out), want) {
		t.Errorf("turned it is\n%s%v", out, err)
	}
	if again := parsed(t, string(out)); !again.Equal(s.ClockSays()) {
		t.Errorf("read back as %+v", again.Transport)
	}
	plain, err := Encode(s)
	if err != nil || !parsed(t, string(plain)).Equal(s.ClockSays()) {
		t.Errorf("written as\n%s%v", plain, err)
	}
	for text, want := range map[string]string{
		"transport: {tempo: 90}\nmodules: [{id: clock/a, params: {tempo: 90}}]": "x:3:13: tempo is said by the params of clock/a as well",
		"transport: {beats: 4}\nmodules: [{id: clock/a, params: {beats: 3}}]":   "x:3:13: beats is said",
		"transport: {beats: 0}":    "x:3:20: beats is a whole number from 1 to 16",
		"transport: {beats: 2.5}":  "x:3:20: ",
		"transport: {tempo: fast}": "x:3:20: ",
		"transport: {tempo: .nan}": "x:3:20: ",
		"transport: {tempo: 301}":  "x:3:20: ",
	} {
		if _, err := Parse("x", []byte("version: 1\nname: x\n"+text+"\n")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	// 120 beats a minute at 48 kHz are 24000 frames each, from frame 1000 on.
	c := Transport{Tempo: 120, Beats: 3, Phrase: 2}
	for _, x := range []struct {
		q           mapping.Quantum
		after, want int64
	}{{mapping.Beat, 1000, 25000}, {mapping.Beat, 1001, 25000}, {mapping.Bar, 1001, 73000}, {mapping.Bar, 73000, 73000}, {mapping.Phrase, 73001, 145000}, {mapping.Beat, 10, 25000}} {
		if at, ok := c.Next(x.q, 1000, x.after, 48000); !ok || at != x.want {
			t.Errorf("%s after %d is %d, %t, want %d", x.q, x.after, at, ok, x.want)
		}
	}
	if _, ok := c.Next(mapping.Now, 0, 5, 48000); ok {
		t.Error("now is waited for")
	}
	if _, ok := (Transport{Phrase: 4}).Next(mapping.Bar, 0, 5, 48000); ok {
		t.Error("a scene without tempo is counted")
	}
}
