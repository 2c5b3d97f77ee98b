package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
)

// runRig runs a rig command and returns what it printed.
func runRig(args ...string) (string, error) {
	var out bytes.Buffer
	c := rigCommand()
	c.SetArgs(args)
	c.SetOut(&out)
	c.SetErr(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	err := c.Execute()
	return out.String(), err
}

// TestRigCommands: a rig is written, checked, shown and not overwritten.
func TestRigCommands(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("HOME", dir)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "config"))
	path := filepath.Join(dir, "config", "k8s-synth", "rigs", "studio.yaml")
	if out, err := runRig("list"); err != nil || !strings.Contains(out, "there are none in") {
		t.Error(out, err)
	}
	if out, err := runRig("new", "hw:9,0", "--profile", "es-9", "-o", path); err != nil || out != "" {
		t.Error(out, err)
	}
	before, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"name: studio", `name: "hw:9,0"`, "interface: es-9", "speakers: [1, 2]", "{jack: pitch1, channel: 9, role: pitch}", "- {device: es-5, channels: [7, 8]"} {
		if !strings.Contains(string(before), want) {
			t.Errorf("the rig has no %s:\n%s", want, before)
		}
	}
	if _, err := runRig("new", "hw:9,0", "-o", path); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Error(err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("it was overwritten")
	}
	if out, err := runRig("check", "studio"); err != nil || !strings.Contains(out, "studio: good") || !strings.Contains(out, "hearsay") {
		t.Error(out, err)
	}
	if out, err := runRig("list"); err != nil || !strings.Contains(out, "studio  Expert Sleepers ES-9") {
		t.Error(out, err)
	}
	if out, err := runRig("show", "studio"); err != nil || !strings.Contains(out, "pitch 1V/oct") || !strings.Contains(out, "speakers on channels 1 2") {
		t.Error(out, err)
	}
	out, err := runRig("show", "studio", "--json")
	var shown struct {
		Outputs []struct{ Jack, Channel, Role, Sure string }
		Inputs  []struct{ Jack string }
	}
	if err != nil || json.Unmarshal([]byte(out), &shown) != nil || len(shown.Outputs) != 8 || shown.Outputs[0].Role != "pitch" || shown.Outputs[0].Channel != "9" || len(shown.Inputs) != 14 {
		t.Error(out, err)
	}
	if out, err := runRig("profiles"); err != nil || !strings.Contains(out, "motu-828-mk1") || !strings.Contains(out, "±2.88 V") {
		t.Error(out, err)
	}
	if out, err := runRig("profiles", "es-9"); err != nil || !strings.HasPrefix(out, "version: 1\nname: es-9\n") {
		t.Error(out, err)
	}
	if out, err := runRig("schema"); err != nil || !json.Valid([]byte(out)) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("version: 1\nname: x\ninterface: virtual\nspeakers: [1]\noutputs: [{jack: a, channel: 1}]\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := runRig("check", "studio"); err == nil || !strings.Contains(err.Error(), "studio.yaml:5:30: channel 1 is a loudspeaker's") {
		t.Error(err)
	}
}

// TestChooseDevice: a device that there is a profile for comes before the default one.
func TestChooseDevice(t *testing.T) {
	devices := []hardware.DeviceInfo{
		{Backend: "pulse", ID: "builtin", Name: "Built-in", Default: true, Channels: 2},
		{Backend: "alsa", ID: "hw:2,0", Name: "ES-9, USB Audio", Channels: 16},
		{Backend: "alsa", ID: "hw:3,0", Name: "UltraLite-mk5", Channels: 22},
		{Backend: "null", ID: "null", Name: "keeps time, makes no sound"},
	}
	for _, c := range []struct {
		devices             []hardware.DeviceInfo
		want, profile       string
		id, known           string
		playback, oncommand int
	}{
		{devices, "", "", "hw:2,0", "es-9", 16, 0},
		{devices[:1], "", "", "builtin", "unknown", 2, 2},
		{devices, "ultralite", "", "hw:3,0", "motu-ultralite", 0, 22},
		{devices, "hw:7,1", "es-8", "hw:7,1", "es-8", 16, 0},
		{devices, "null", "virtual", "", "virtual", 16, 0},
		{devices, "", "unknown", "hw:2,0", "unknown", 16, 16},
	} {
		p, d, err := chooseDevice(c.devices, c.want, c.profile)
		if err != nil || p.Name != c.known || d.Name != c.id || p.Playback != c.playback || d.Playback != c.oncommand {
			t.Errorf("%q %q: %+v, %+v, %v", c.want, c.profile, p, d, err)
			continue
		}
		if _, err := rig.Parse("x", rig.New("x", p, d)); err != nil {
			t.Errorf("%q: %v", c.want, err)
		}
	}
	if _, _, err := chooseDevice(devices, "nothing", ""); err == nil || !strings.Contains(err.Error(), "k8s-synth devices") {
		t.Error(err)
	}
	if _, _, err := chooseDevice(devices, "", "es9"); err == nil || !strings.Contains(err.Error(), "did you mean") {
		t.Error(err)
	}
}
