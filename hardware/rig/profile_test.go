package rig

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware"
)

func defaults() hardware.Settings { return hardware.Settings{} }

// TestProfiles: what ships is read, says where its figures are from, and a rig can be written for it
// that is good and that is played.
func TestProfiles(t *testing.T) {
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]bool{"es-8": true, "es-9": true, "es-4": true, "es-3": true, "crow": true, "motu-828-mk1": true, "motu-ultralite": true, "rme": true}
	for _, p := range all {
		delete(want, p.Name)
		if p.Title == "" || len(p.Outputs) == 0 {
			t.Errorf("%s says too little", p.Name)
		}
		for _, g := range append(append([]Group{}, p.Outputs...), p.Inputs...) {
			if g.Source == "" {
				t.Errorf("%s, channels %s: no source", p.Name, g.Span())
			}
		}
		if p.Reference {
			continue
		}
		text := New("My Rack!", p, Device{Backend: "alsa", Name: "hw:2,0"})
		r, err := Parse(p.Name, text)
		if err != nil {
			t.Errorf("%s: %v\n%s", p.Name, err, text)
			continue
		}
		if m := sound(r); m != "" || r.Name != "my-rack" || r.Device.Name != "hw:2,0" || len(r.Outputs) == 0 {
			t.Errorf("%s: %s\n%s", p.Name, m, text)
		}
		// What is commented out is good as well.
		if p.Expander != nil && strings.Contains(string(text), "# expanders:") {
			more := strings.ReplaceAll(string(text), "# expanders:", "expanders:")
			more = strings.ReplaceAll(more, "#   - {device: es-5", "  - {device: es-5")
			more = strings.Replace(more, "outputs:\n", "outputs:\n  - {jack: kick, channel: es-5/1/1, role: trigger}\n", 1)
			if r, err := Parse(p.Name, []byte(more)); err != nil || r.Exact() == 0 {
				t.Errorf("%s with an expander: %v", p.Name, err)
			}
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
	for channels := range hardware.MaxChannels {
		r, err := Parse("x", New("x", UnknownInterface(channels+1, channels), Device{Playback: channels + 1, CaptureChannels: channels}))
		if err != nil {
			t.Fatal(err)
		}
		if m := sound(r) + sound(Safe(channels+1, channels)); m != "" || r.Measured() && len(r.Outputs) > 0 {
			t.Fatalf("%d channels: %s", channels+1, m)
		}
	}
}

// TestProfileOf: a device is known by a part of its name, and not by one that another has.
func TestProfileOf(t *testing.T) {
	for device, want := range map[string]string{
		"ES-9, USB Audio":          "es-9",
		"Expert Sleepers es-8 USB": "es-8",
		"UltraLite-mk5":            "motu-ultralite",
		"Babyface Pro (7123)":      "rme",
		"828es":                    "",
		"HDA Intel PCH":            "",
		"crow: telephone line":     "",
	} {
		p, err := ProfileOf(device)
		if err != nil {
			t.Fatal(err)
		}
		if got := ""; p != nil && p.Name != want || p == nil && want != got {
			t.Errorf("%s is taken for %v", device, p)
		}
	}
	if _, err := FindProfile("es9"); err == nil || !strings.Contains(err.Error(), `did you mean "es-9"?`) {
		t.Error(err)
	}
	if _, err := FindProfile("../rig"); err == nil {
		t.Error("a path is taken for a name")
	}
	_, err := ParseProfile("p.yaml", []byte("version: 1\nname: p\nplayback: 4\noutputs:\n  - {channels: 1-8}\n  - {channels: 3, full_scale: 5}\n  - {full_scale: 5, sure: vendor, source: x}\n"))
	for _, want := range []string{"p.yaml:5:5: channel 8 is beyond playback: 4", "p.yaml:6:5: a full_scale of which nobody is sure", "p.yaml:7:5: the group has no channels"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: want %s", err, want)
		}
	}
}

// TestLibrary: rigs by name, and what there is instead.
func TestLibrary(t *testing.T) {
	l := Library{Dir: filepath.Join(t.TempDir(), "rigs")}
	if list, err := l.List(); err != nil || len(list) != 0 {
		t.Errorf("%v, %v", list, err)
	}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"full": full, "broken": "version: 1\n"} {
		if err := os.WriteFile(l.Path(name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	list, err := l.List()
	if err != nil || len(list) != 2 || list[0].Err == nil || list[1].Title != "All of it" {
		t.Errorf("%+v, %v", list, err)
	}
	if r, err := l.Open("full"); err != nil || r.Name != "full" {
		t.Error(err)
	}
	if r, err := l.Open(l.Path("full")); err != nil || r.Name != "full" {
		t.Error(err)
	}
	if _, err := l.Open("ful"); err == nil || !strings.Contains(err.Error(), `there are broken, full; did you mean "full"?`) {
		t.Error(err)
	}
}

// TestPage: the table of profiles in RIGS.md is that of the profiles.
func TestPage(t *testing.T) {
	const begin, end = "<!-- profiles -->\n", "<!-- /profiles -->\n"
	data, err := os.ReadFile("RIGS.md")
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(data), begin)
	_, after, also := strings.Cut(rest, end)
	if !ok || !also {
		t.Fatal("RIGS.md has no place for the profiles")
	}
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| profile | device | channels | at full scale | coupling | use | sure | source |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, p := range all {
		name := "`" + p.Name + "`"
		if p.Reference {
			name += " (reference)"
		}
		title := p.Title
		for k, groups := range [][]Group{p.Outputs, p.Inputs} {
			for _, g := range groups {
				fmt.Fprintf(&b, "| %s | %s | %s %s | %s | %s | %s | %s | %s |\n", name, title, []string{"out", "in"}[k], g.Span(), g.Volts(), g.Coupling, g.Use, g.Sure, g.Source)
				name, title = "", ""
			}
		}
	}
	golden(t, "RIGS.md", before+begin+b.String()+end+after)
	// What the page shows is good.
	shown := 0
	for _, block := range strings.Split(string(data), "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		if _, err := Parse("RIGS.md", []byte(text)); err != nil {
			t.Errorf("%v\n%s", err, text)
		}
		shown++
	}
	if shown == 0 {
		t.Error("RIGS.md shows no rig")
	}
	for _, f := range append(append(append([]string{}, rigFields...), outputFields...), deviceFields...) {
		if !strings.Contains(string(data), "`"+f+"`") {
			t.Errorf("RIGS.md does not tell of `%s`", f)
		}
	}
}
