package scenes

import (
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const tuned = `version: 1
name: tuned
tunings:
  thirds:
    scl: |
      ! thirds.scl
      three equal parts
       3
      !
       400.0
       800.0
       2/1
  file:
    scl: sub/fifth.scl
    kbm: fifth.kbm
modules:
  - id: quantizer/a
    params: {tuning: thirds, scale: tuning}
  - id: quantizer/b
    params: {tuning: file, scale: tuning}
`

// TestTunings: a scene brings its tunings along, in its text or in files beside
// it, and is one file again when it is saved.
func TestTunings(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("tuned.yaml", tuned)
	write("sub/fifth.scl", "fifth and octave\n2\n3/2\n2/1\n")
	write("fifth.kbm", "0\n0\n127\n69\n69\n432.0\n0\n")
	s, err := Load(filepath.Join(dir, "tuned.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	thirds := s.Patch.Tunings["thirds"]
	i := thirds.Nearest(0.3)
	if got := thirds.Volts(i); math.Abs(float64(got)-1.0/3) > 1e-6 {
		t.Errorf("the note nearest to 0.3 V is at %v V, want a third of an octave", got)
	}
	fifth := s.Patch.Tunings["file"]
	want := math.Log2(432 / 261.6255653)
	if got := fifth.Volts(fifth.Nearest(float32(want))); math.Abs(float64(got)-want) > 1e-5 {
		t.Errorf("key 69 is at %v V, want %v, which is 432 Hz", got, want)
	}
	data, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse("elsewhere/again.yaml", data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	if !again.Equal(s) || again.Patch.Tunings["file"] == nil {
		t.Errorf("saved and read again it is another scene:\n%s", data)
	}
}

// TestTuningsMended: a tuning that was spoiled and mended is one again.
func TestTuningsMended(t *testing.T) {
	s, err := Parse("x.yaml", []byte("version: 1\nname: x\ntunings:\n  a:\n    scl: \"t\\n1\\n2/1\\n\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	good := s.Tunings["a"]
	s.Tunings["a"] = Tuning{SCL: "spoiled"}
	if err := s.Validate(); err == nil {
		t.Error("a spoiled tuning is no mistake")
	}
	s.Tunings["a"] = good
	if err := s.Validate(); err != nil || s.Patch.Tunings["a"] == nil {
		t.Errorf("mended: %v; the patch has the tunings %v", err, s.Patch.Tunings)
	}
}

// TestBadTunings: every mistake has its place.
func TestBadTunings(t *testing.T) {
	head := "version: 1\nname: x\ntunings:\n"
	for name, c := range map[string]struct{ text, want string }{
		"no scl":       {"  a: {kbm: x.kbm}\n", "x.yaml:4:3: the tuning has no scl"},
		"no file":      {"  a: {scl: none.scl}\n", "x.yaml:4:12: open none.scl: no such file"},
		"elsewhere":    {"  a: {scl: ../a.scl}\n", `x.yaml:4:12: scl names a file beside this one or below, this is "../a.scl"`},
		"bad scale":    {"  a:\n    scl: |\n      t\n      2\n      x\n      2/1\n", "x.yaml:5:10: scl: line 3:"},
		"bad map":      {"  a:\n    scl: \"t\\n1\\n2/1\\n\"\n    kbm: nonsense\n", "x.yaml:6:10: kbm: line 1:"},
		"bad name":     {"  A_b:\n    scl: \"t\\n1\\n2/1\\n\"\n", "x.yaml:4:3: the name of a tuning is up to 63"},
		"no mapping":   {"  a: equal\n", "x.yaml:4:6: a tuning is a mapping"},
		"unknown word": {"  a: {scala: x.scl}\n", `x.yaml:4:7: unknown field "scala"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse("x.yaml", []byte(head+c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v\nwant %s", err, c.want)
			}
		})
	}
	_, err := Parse("x.yaml", []byte("version: 1\nname: x\nmodules:\n  - id: quantizer/a\n    params: {tuning: thirds}\n"))
	if err == nil || !strings.Contains(err.Error(), "x.yaml:5:22:") || !strings.Contains(err.Error(), `no tuning "thirds"`) {
		t.Errorf("a tuning that nobody brings: %v", err)
	}
}
