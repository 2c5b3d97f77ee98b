package main

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/hardware/vcv"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// runCommand runs one command alone.
func runCommand(c *cobra.Command, args ...string) (stdout string, err error) {
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&bytes.Buffer{})
	c.SetArgs(args)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.Execute()
	return out.String(), err
}

// TestVCVScenesComeBack takes every scene that ships to a .vcv and back: it is
// the same patch, in the same places.
func TestVCVScenesComeBack(t *testing.T) {
	dir := t.TempDir()
	store := &scenes.Store{}
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		file, scene := filepath.Join(dir, e.Name+".vcv"), filepath.Join(dir, e.Name+".yaml")
		if out, err := runCommand(vcvCommand(), "export", e.Name, "-o", file); err != nil || lostOfPatch(out) {
			t.Fatalf("%s: %v\n%s", e.Name, err, out)
		}
		if out, err := runCommand(vcvCommand(), "import", file, "-o", scene); err != nil || lostOfPatch(out) || strings.Contains(out, "kept beside") {
			t.Fatalf("%s: %v\n%s", e.Name, err, out)
		}
		a, err := store.Open(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := store.Open(scene)
		if err != nil {
			t.Fatal(err)
		}
		// A scene's name, rules and settings are not in a .vcv; modules that stood
		// nowhere stand below the others.
		back := *a
		back.Patch = &instrument.Patch{Modules: b.Patch.Modules, Cables: b.Patch.Cables}
		back.Places = map[instrument.ModuleID]scenes.Place{}
		for id := range a.Places {
			back.Places[id] = b.Places[id]
		}
		if !back.Equal(a) {
			t.Errorf("%s is another after its way through %s", e.Name, file)
		}
		// And once more, onto itself.
		if _, err := runCommand(vcvCommand(), "export", scene, "-o", file); err == nil || !strings.Contains(err.Error(), "--force") {
			t.Errorf("%s was overwritten: %v", file, err)
		}
		first, err := vcv.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := runCommand(vcvCommand(), "export", scene, "-o", file, "--force"); err != nil {
			t.Fatal(err)
		}
		second, err := vcv.Load(file)
		if err != nil {
			t.Fatal(err)
		}
		x, _ := first.JSON()
		y, _ := second.JSON()
		if !bytes.Equal(x, y) {
			t.Errorf("%s: the second export differs", e.Name)
		}
	}
}

func TestVCVCommands(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "My Song (live).vcv")
	text := `{"version":"1.1.6","modules":[{"id":5,"plugin":"Fundamental","model":"VCO","version":"1.4.0","params":[],"pos":[0,0]},{"id":6,"plugin":"Bogaudio","model":"Bogaudio-Mix4","version":"1.1.36","params":[],"pos":[10,0]}],
	 "cables":[{"id":0,"outputModuleId":5,"outputId":2,"inputModuleId":6,"inputId":0,"color":"#c91847"}]}`
	if err := os.WriteFile(old, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := runCommand(vcvCommand(), "show", old)
	if err != nil || !strings.Contains(out, "2 modules (0 ours, 1 known, 1 unknown), 1 cables") {
		t.Errorf("show: %v\n%s", err, out)
	}
	out, err = runCommand(vcvCommand(), "import", old)
	if err != nil || !strings.Contains(out, "Bogaudio-Mix4 (module 6)") || !strings.Contains(out, "1 mapped, 2 kept, 0 lost") {
		t.Errorf("import without -o: %v\n%s", err, out)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("import without -o wrote %v", left)
	}
	scene := filepath.Join(dir, "song.yaml")
	out, err = runCommand(vcvCommand(), "import", old, "-o", scene, "--json")
	var done vcvDone
	if err != nil || json.Unmarshal([]byte(out), &done) != nil || len(done.Written) != 2 || len(done.Report.Kept) != 2 {
		t.Errorf("import: %v\n%s", err, out)
	}
	if _, err = runCommand(vcvCommand(), "import", old, "-o", scene); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("import overwrote: %v", err)
	}
	s, err := (&scenes.Store{}).Open(scene)
	if err != nil || s.Name != "song" || s.Title != "My Song (live)" || s.Patch.Module("vco/vco-1") == nil {
		t.Fatalf("%v, %+v", err, s)
	}
	file := filepath.Join(dir, "song.vcv")
	if out, err = runCommand(vcvCommand(), "export", scene, "-o", file); err != nil || lostOfPatch(out) {
		t.Errorf("export: %v\n%s", err, out)
	}
	f, err := vcv.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := f.JSON(); !bytes.Contains(got, []byte("Bogaudio-Mix4")) || !bytes.Contains(got, []byte("#c91847")) {
		t.Errorf("what was kept is gone: %s", got)
	}

	plugin := filepath.Join(dir, "K8sSynth")
	if out, err = runCommand(vcvCommand(), "plugin"); err != nil || !strings.Contains(out, "plugin.json") {
		t.Errorf("plugin without -o: %v\n%s", err, out)
	}
	if _, err = runCommand(vcvCommand(), "plugin", "-o", plugin); err != nil {
		t.Error(err)
	}
	if _, err = runCommand(vcvCommand(), "plugin", "-o", plugin); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("plugin overwrote: %v", err)
	}
	panels := filepath.Join(dir, "panels")
	if _, err = runCommand(panelsCommand(), "-o", panels, "--theme", "stage", "--layout"); err != nil {
		t.Error(err)
	}
	for _, spec := range instrument.Specs() {
		for _, p := range []string{filepath.Join(plugin, "res", spec.Kind+".svg"), filepath.Join(panels, spec.Kind+".svg")} {
			data, err := os.ReadFile(p)
			if err != nil {
				t.Error(err)
				continue
			}
			for d := xml.NewDecoder(bytes.NewReader(data)); ; {
				if _, err := d.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Errorf("%s: %v", p, err)
					break
				}
			}
		}
	}
	for _, c := range []struct {
		cmd  *cobra.Command
		args []string
		want string
	}{
		{vcvCommand(), []string{"import", filepath.Join(dir, "none.vcv")}, "none.vcv"},
		{vcvCommand(), []string{"import", old, "-o", filepath.Join(dir, "x.txt")}, "ends in .yaml"},
		{vcvCommand(), []string{"export", "no-such-scene"}, "no-such-scene"},
		{vcvCommand(), []string{"export", "default", "--beside", filepath.Join(dir, "none")}, "none"},
		{vcvCommand(), []string{"show"}, "name one .vcv file"},
		{panelsCommand(), []string{"nothing"}, `no module "nothing"`},
		{panelsCommand(), []string{"--theme", "pink"}, "--theme is light, matte, stage"},
	} {
		if _, err := runCommand(c.cmd, c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, expected %s", c.args, err, c.want)
		}
	}
}

// lostOfPatch tells whether a report has lost something of the patch itself.
func lostOfPatch(out string) bool {
	for line := range strings.Lines(out) {
		if strings.Contains(line, "lost:") && !strings.Contains(line, "it belongs to the scene") {
			return true
		}
	}
	return false
}
