package scenes

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// turnAll turns all knobs of a scene elsewhere.
func turnAll(s *Scene) {
	for k := range s.Patch.Modules {
		m := &s.Patch.Modules[k]
		for name := range m.Params {
			if spec := m.Spec().Params[m.Spec().Param(name)]; len(spec.Choices) == 0 {
				m.Params[name] = spec.Min
			}
		}
	}
}

// TestCommentsAnywhere: wherever a comment stands in a scene, and whatever is
// turned in it, it is there after a save.
func TestCommentsAnywhere(t *testing.T) {
	text, err := shipped.ReadFile("midi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all := bytes.SplitAfter(text, []byte("\n"))
	tried := 0
	for i := 0; i < len(all); i += 5 {
		for _, in := range []string{"", "  ", "      ", "end"} {
			line := append([]byte(in+"# odd comment\n"), all[i]...)
			if in == "end" {
				if len(bytes.TrimSpace(all[i])) == 0 {
					continue
				}
				line = append(bytes.TrimRight(all[i], "\n"), " # odd comment\n"...)
			}
			b := bytes.Join([][]byte{bytes.Join(all[:i], nil), line, bytes.Join(all[i+1:], nil)}, nil)
			s, err := Parse("x", b)
			if err != nil || strings.Contains(s.About, "odd") {
				continue // within a text
			}
			turnAll(s)
			tried++
			out, err := Update(b, s)
			if err != nil {
				t.Fatal(err)
			}
			if n := bytes.Count(out, []byte("# odd comment")); n != 1 {
				t.Errorf("line %d, %q: it is there %d times", i+1, in, n)
			}
			if got, err := Parse("x", out); err != nil || !got.Equal(s) {
				t.Errorf("line %d: read back %v", i+1, err)
			}
		}
	}
	if tried < 50 {
		t.Errorf("only %d places were tried", tried)
	}
}

// TestAwkwardYAML: a file as no program would write it is saved over with all
// that its author wrote in it.
func TestAwkwardYAML(t *testing.T) {
	const text = `%YAML 1.1
---
# Before it all.

# And once more.
"version":   1
name: 'awkward'
title: "It's \"so\" — ♪ # no comment"
about: >-
    Folded,
    and # no comment.
seed: 0x2A # forty-two
latency: 3.0e-2
modules: # the rack

    # indented by four
    - id:   &anchor deployment/web   # an anchor that nobody follows
      at: { row: 0,   hp: 0 } # flow
      params:
            replicas: 4.0 # a float
            cpu: 100 # stays

            # at the end of params
      # at the end of the module
    -   params: {bright: 0.50, # within flow
          level: -3}
        id: voice/chord # behind its params
# not indented at all
cables: [
  "deployment/web/ready->voice/chord/open", # in quotes
  # last of the cables
]
# the end
...
# after the end
`
	s, err := Parse("awkward", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s.Patch.Module("deployment/web").Params["replicas"] = 7
	s.Patch.Modules = append(s.Patch.Modules, instrument.Module{ID: "lfo/new", Params: map[string]float64{}, Text: map[string]string{}})
	for name, text := range map[string]string{"lines": text, "CRLF": strings.ReplaceAll(text, "\n", "\r\n"), "no last newline": strings.TrimSuffix(text, "\n"), "trailing blanks": strings.ReplaceAll(text, "# flow\n", "# flow   \n\n\n")} {
		out, err := Update([]byte(text), s)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"# Before it all.", "# And once more.", "# forty-two", "# the rack", "# indented by four", "# an anchor that nobody follows", "# flow", "# a float", "# stays", "# at the end of params",
			"# at the end of the module", "# within flow", "# behind its params", "# not indented at all", "# in quotes", "# last of the cables", "# the end", "# after the end", "0x2A", "3.0e-2", "0.50", "&anchor"} {
			if n := strings.Count(string(out), want); n != strings.Count(text, want) {
				t.Errorf("%s: %q is there %d times", name, want, n)
			}
		}
		if crlf := strings.Contains(text, "\r\n"); strings.Count(string(out), "\r\n") != map[bool]int{true: strings.Count(string(out), "\n")}[crlf] {
			t.Errorf("%s: line ends are mixed", name)
		}
		if got, err := Parse("awkward", out); err != nil || !got.Equal(s) {
			t.Errorf("%s: read back %v", name, err)
		}
		if t.Failed() {
			t.Fatalf("%s:\n%s", name, out)
		}
	}
}

// TestSavedOver: a file that is saved over is kept, to the letter, and so is one
// that an undo takes away; where it cannot be kept nothing is written.
func TestSavedOver(t *testing.T) {
	st := &Store{Dir: t.TempDir()}
	path := filepath.Join(st.Dir, "mine.yaml")
	const first = "# by hand\nversion: 1\nname: mine\nseed: 1\n"
	if err := os.WriteFile(path, []byte(first), 0o640); err != nil {
		t.Fatal(err)
	}
	s, err := st.Open("mine")
	if err != nil {
		t.Fatal(err)
	}
	for seed := range uint64(3) {
		s.Seed = seed + 2
		for range 2 { // a save that changes nothing keeps nothing
			if _, err := st.Save(s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o640 {
		t.Errorf("its mode is %v", info.Mode())
	}
	if err := st.Replace("mine", nil); err != nil {
		t.Fatal(err)
	}
	all, err := st.Former()
	if err != nil || len(all) != 4 {
		t.Fatalf("kept are %+v, %v", all, err)
	}
	var ids []string
	for _, b := range all {
		ids = append(ids, b.ID)
		if !b.Saved || b.Name != "mine" || b.Err != nil || time.Since(b.Time) > time.Minute {
			t.Errorf("listed is %+v", b)
		}
	}
	slices.Sort(ids)
	if want := []string{"mine.1", "mine.2", "mine.3", "mine.4"}; !slices.Equal(ids, want) {
		t.Errorf("kept are %q", ids)
	}
	if name, text, err := st.OpenFormer("mine.1"); name != "mine" || string(text) != first || err != nil {
		t.Errorf("the first is %q, %q, %v", name, text, err)
	}
	if _, text, _ := st.OpenFormer("mine.4"); !strings.Contains(string(text), "seed: 4") {
		t.Errorf("the last is %q", text)
	}
	for _, id := range []string{"mine", "mine.9", "../mine.1", "mine.x", ".1", ""} {
		if _, _, err := st.OpenFormer(id); err == nil {
			t.Errorf("%q is opened", id)
		}
	}
	if list, err := st.List(); err != nil || slices.ContainsFunc(list, func(e Entry) bool { return strings.HasPrefix(e.Name, "mine") }) {
		t.Errorf("what was saved over is among the scenes: %v", err)
	}
	// No room for the old one: the new one does not come.
	other := &Store{Dir: t.TempDir()}
	if err := errorsOf(os.WriteFile(filepath.Join(other.Dir, "mine.yaml"), []byte(first), 0o644), os.WriteFile(filepath.Join(other.Dir, formerDir), nil, 0o644)); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Save(s); err == nil || !strings.Contains(err.Error(), "cannot be kept") {
		t.Errorf("saved: %v", err)
	}
	if text, _ := os.ReadFile(filepath.Join(other.Dir, "mine.yaml")); string(text) != first {
		t.Errorf("it is %q", text)
	}
}

func errorsOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// TestSweep: what was left half written goes once it is old, and nothing else.
func TestSweep(t *testing.T) {
	st := &Store{Dir: t.TempDir()}
	old := time.Now().Add(-time.Hour)
	for name, stays := range map[string]bool{".mine.yaml.123": false, ".mine.3.yaml.99": false, ".mine.yaml": true, "mine.yaml": true, ".mine.yaml.swp": true, ".notes.123": true} {
		path := filepath.Join(st.Dir, name)
		if err := errorsOf(os.WriteFile(path, nil, 0o600), os.Chtimes(path, old, old)); err != nil {
			t.Fatal(err)
		}
		st.Sweep()
		if _, err := os.Stat(path); (err == nil) != stays {
			t.Errorf("%s: %v", name, err)
		}
	}
	young := filepath.Join(st.Dir, ".mine.yaml.124")
	if err := os.WriteFile(young, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if st.Sweep(); func() bool { _, err := os.Stat(young); return err != nil }() {
		t.Error("what is being written is gone")
	}
}
