package scenes

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares got with a file, or writes it.
func golden(t *testing.T, path string, got []byte) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./scenes -update", err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs; got\n%s\nwant\n%s", path, got, want)
	}
}

func TestBadScenes(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) < 15 {
		t.Fatalf("found %d bad scenes, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s, err := Parse(filepath.Base(f), data)
			if err == nil || s != nil {
				t.Fatalf("read without an error: %v", s)
			}
			if !wellPlaced(err) {
				t.Errorf("not every mistake has a place in the file: %v", err)
			}
			golden(t, strings.TrimSuffix(f, ".yaml")+".err", []byte(err.Error()+"\n"))
		})
	}
}

func TestBadScripts(t *testing.T) {
	files, err := filepath.Glob("testdata/badscript/*.*l")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d bad scripts, %v", len(files), err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			s, err := ParseScript(filepath.Base(f), data)
			if err == nil || s != nil {
				t.Fatalf("read without an error: %v", s)
			}
			if !wellPlaced(err) {
				t.Errorf("not every mistake has a place in the file: %v", err)
			}
			golden(t, f+".err", []byte(err.Error()+"\n"))
		})
	}
}

// wellPlaced tells whether every mistake names a line and a column.
func wellPlaced(err error) bool {
	for i, e := range unjoin(err) {
		var placed *document.Error
		if !errors.As(e, &placed) && i < document.MaxErrors || placed != nil && (placed.Line < 1 || placed.Column < 1) {
			return false
		}
	}
	return true
}

func TestFutureVersion(t *testing.T) {
	_, err := Parse("x.yaml", []byte("version: 3\nwobble: 1\n"))
	if !errors.Is(err, document.ErrVersion) || strings.Contains(err.Error(), "wobble") {
		t.Errorf("got %v", err)
	}
	if want := "x.yaml:1:10: scene is of version 3; this program reads up to 1; update k8s-synth"; !strings.HasPrefix(fmt.Sprint(err), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestHugeAndHostileFiles(t *testing.T) {
	many := func(line string, n int) string {
		var b strings.Builder
		b.WriteString("version: 1\nname: many\nmodules:\n")
		for i := range n {
			fmt.Fprintf(&b, line, i)
		}
		return b.String()
	}
	bomb := "version: 1\nname: bomb\na: &a [x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'n'; c++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
	}
	bomb += "modules: *m\n"
	tests := map[string]struct{ data, want string }{
		"too long":     {strings.Repeat("#", MaxFile+1), "more than 4194304"},
		"alias bomb":   {bomb, "is an alias"},
		"deep":         {"version: 1\nname: deep\nmodules: " + strings.Repeat("[", 9000) + strings.Repeat("]", 9000), "a module is a mapping"},
		"many modules": {many("- {id: voice/v%d}\n", 150000), "the most is 256"},
		"many cables":  {strings.Replace(many("- voice/v%d/left->voice/w/gate\n", 120000), "modules:", "cables:", 1), "more mistakes"},
		"many unknown": {many("- {id: voice/v, wobbel%d: 1}\n", 100000), "more mistakes"},
		"many params":  {"version: 1\nname: p\nmodules: [{id: voice/v, params: {" + strings.ReplaceAll(many("x%d: 1,", 300000), "\n", "")[len("version: 1name: manymodules:"):] + "}}]", "more mistakes"},
		"no text":      {"version: 1\nname: \xff\xfe", "not UTF-8"},
		"control":      {"version: 1\nname: \x01", "control characters"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			start := time.Now()
			_, err := Parse("big.yaml", []byte(tt.data))
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %.300v, want …%s…", err, tt.want)
			}
			if n := len(unjoin(err)); n > document.MaxErrors+1 {
				t.Errorf("told %d mistakes", n)
			}
			if d := time.Since(start); d > 20*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

const full = `
version: 1
name: full
title: "yes"
about: |
  two
  lines
seed: 18446744073709551615
namespace: stage
latency: 0.05
storm: 12.5
modules:
  - id: deployment/web
    at: {row: 1, hp: 3}
    params: {replicas: 3, strategy: Recreate, image: "1.27", start_delay: 0.25}
  - id: voice/a
    params: {wave: 2, root: 110.5, bright_att: -0.125}
  - id: mixer/main
  - id: audio_out/main
    params:
cables:
  - deployment/web/ready -> voice/a/gate
  - "voice/a/left->mixer/main/left_1"
  - >-
    mixer/main/left -> audio_out/main/left
`

func TestParse(t *testing.T) {
	s, err := Parse("full.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	if s.Name != "full" || s.Title != "yes" || s.About != "two\nlines" || s.Seed != 1<<64-1 || s.Namespace != "stage" || s.Latency != 0.05 || s.Storm != 12.5 {
		t.Errorf("settings: %+v", s)
	}
	web := s.Patch.Module("deployment/web")
	if web.Value("replicas") != 3 || web.Value("strategy") != 1 || web.Word("image") != "1.27" || web.Value("start_delay") != 0.25 || web.Value("max_surge") != 1 {
		t.Errorf("deployment: %+v", web)
	}
	if v := s.Patch.Module("voice/a"); v.Value("wave") != 2 || v.Value("root") != 110.5 || v.Value("bright_att") != -0.125 {
		t.Errorf("voice: %+v", v)
	}
	if p := s.Places["deployment/web"]; p != (Place{1, 3}) || len(s.Places) != 1 {
		t.Errorf("places: %v", s.Places)
	}
	if len(s.Patch.Cables) != 3 || s.Patch.Cables[1].To.String() != "mixer/main/left_1" {
		t.Errorf("cables: %v", s.Patch.Cables)
	}
	least, err := Parse("least.yaml", []byte("version: 1\nname: least\n"))
	if err != nil {
		t.Fatal(err)
	}
	if want := New("least"); !least.Equal(want) || want.Latency != 0.030 || want.Storm != 8 || want.Namespace != "k8s-synth" {
		t.Errorf("defaults: %+v", least)
	}
}

func TestRoundTrip(t *testing.T) {
	texts := map[string][]byte{"full": []byte(full)}
	shippedFiles, _ := shipped.ReadDir(".")
	for _, f := range shippedFiles {
		if !strings.HasSuffix(f.Name(), scriptSuffix) {
			texts[f.Name()], _ = shipped.ReadFile(f.Name())
		}
	}
	for name, text := range texts {
		s, err := Parse(name, text)
		if err != nil {
			t.Fatal(err)
		}
		roundTrip(t, s)
	}
	odd := New("odd")
	odd.Title = `"quoted": {yes} # 'no' – ☸`
	odd.About = "  leading blanks\n\n- dash\n\n  trailing  "
	odd.Patch.Modules = []instrument.Module{{ID: "deployment/true", Params: map[string]float64{"start_delay": 1e-300, "replicas_att": -1.0 / 3}, Text: map[string]string{"image": "0x10"}}}
	odd.Places["deployment/true"] = Place{2, 9}
	roundTrip(t, odd)
}

func roundTrip(t *testing.T, s *Scene) {
	t.Helper()
	a, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse("encoded.yaml", a)
	if err != nil {
		t.Fatalf("%v in\n%s", err, a)
	}
	if !s.Equal(back) {
		t.Fatalf("%+v became %+v by\n%s", s, back, a)
	}
	if b, err := Encode(back); err != nil || !bytes.Equal(a, b) {
		t.Fatalf("encoded twice, it differs: %v\n%s\n%s", err, a, b)
	}
}

func TestEncodeRefusesMistakes(t *testing.T) {
	s := New("x")
	s.Latency = 2
	s.Patch.Modules = []instrument.Module{{ID: "voice/v", Params: map[string]float64{"root": 5}}}
	_, err := Encode(s)
	if err == nil || !strings.Contains(err.Error(), "latency") || !strings.Contains(err.Error(), "modules[0].params.root") {
		t.Errorf("got %v", err)
	}
}

func TestEqualSeesEverything(t *testing.T) {
	parse := func() *Scene {
		s, err := Parse("full.yaml", []byte(full))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	if !parse().Equal(parse()) {
		t.Fatal("a scene is not equal to itself")
	}
	for i, change := range []func(*Scene){
		func(s *Scene) { s.Name = "x" }, func(s *Scene) { s.Title = "x" }, func(s *Scene) { s.About = "x" },
		func(s *Scene) { s.Seed = 1 }, func(s *Scene) { s.Namespace = "x" }, func(s *Scene) { s.Latency = 0 },
		func(s *Scene) { s.Storm = 1 }, func(s *Scene) { s.Patch.Cables = s.Patch.Cables[1:] },
		func(s *Scene) { s.Patch.Modules[0].Params["replicas"] = 4 }, func(s *Scene) { s.Patch.Modules[0].Text["image"] = "x" },
		func(s *Scene) { delete(s.Places, "deployment/web") }, func(s *Scene) { s.Patch.Modules[2].ID = "mixer/x" },
	} {
		s := parse()
		change(s)
		if s.Equal(parse()) {
			t.Errorf("change %d is not seen", i)
		}
	}
}

// The scenes that ship are read, compile, have a file of their own name, and
// their sound reaches a way out.
func TestShippedScenes(t *testing.T) {
	store := &Store{}
	list, err := store.List()
	if err != nil || len(list) == 0 {
		t.Fatalf("%v, %v", list, err)
	}
	for _, e := range list {
		s, err := store.Open(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		if s.Name != e.Name || e.Title == "" || e.About == "" {
			t.Errorf("%s: name %q, title %q, about %q", e.Name, s.Name, e.Title, e.About)
		}
		for _, rate := range []float64{44100, 48000, 96000} {
			if _, err := instrument.NewCompiler(rate, s.Seed).Compile(s.Patch, 0); err != nil {
				t.Errorf("%s at %g Hz: %v", e.Name, rate, err)
			}
		}
		if len(s.Places) != len(s.Patch.Modules) {
			t.Errorf("%s: %d of %d modules have a place", e.Name, len(s.Places), len(s.Patch.Modules))
		}
	}
}

func TestStore(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("mine.yaml", "version: 1\nname: mine\ntitle: My own\n")
	write("broken.yaml", "version: 1\nname: broken\nlatncy: 1\n")
	write("default.yaml", "version: 1\nname: default\ntitle: My default\n")
	write("jam.script.yaml", "version: 1\nevents: []\n")
	write("night.take.jsonl", `{"hello":{"version":1,"program":"x"}}`+"\n")
	write("notes.txt", "not a scene")
	s := &Store{Dir: dir}
	list, err := s.List()
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range list {
		got = append(got, fmt.Sprintf("%s %v %v", e.Name, e.Hides, e.Err != nil))
	}
	// The player's own stand among those that ship, by name.
	for _, want := range []string{"broken false true", "cluster false false", "default true false", "mine false false"} {
		if !slices.Contains(got, want) {
			t.Errorf("got %v, want %s among them", got, want)
		}
	}
	if !slices.IsSorted(got) {
		t.Errorf("%v are not in order", got)
	}
	scripts, err := s.Scripts()
	own := map[string]bool{} // whether it ships, by name
	for _, e := range scripts {
		own[e.Name] = e.Path == ""
		if e.Err != nil {
			t.Errorf("script %s: %v", e.Name, e.Err)
		}
	}
	if ships, ok := own["jam"]; err != nil || !ok || ships || own["night"] || !own["demo"] || !own["requests"] {
		t.Errorf("scripts: %v, %v", scripts, err)
	}
	if d, err := s.Open("default"); err != nil || d.Title != "My default" {
		t.Errorf("the player's own does not come first: %v, %v", d, err)
	}
	if d, err := (&Store{}).Open("default"); err != nil || d.Title == "My default" {
		t.Errorf("shipped: %v, %v", d, err)
	}
	if m, err := (&Store{}).Open(filepath.Join(dir, "mine.yaml")); err != nil || m.Name != "mine" {
		t.Errorf("by path: %v, %v", m, err)
	}
	_, err = s.Open("defualt")
	if !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "broken, case, cluster, crashloop, default, ") || !strings.Contains(err.Error(), `did you mean "default"`) {
		t.Errorf("got %v", err)
	}
	if _, err = s.Open("broken"); err == nil || !strings.Contains(err.Error(), filepath.Join(dir, "broken.yaml")+":3:1: ") || !strings.Contains(err.Error(), `did you mean "latency"`) {
		t.Errorf("got %v", err)
	}
	if _, err = s.Open(filepath.Join(dir, "gone.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("got %v", err)
	}
	if _, err = s.Open(dir + "/"); err == nil {
		t.Error("a folder was read as a scene")
	}
	if _, err = s.OpenScript("dmeo"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `"demo"`) {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"demo", "jam", "night", filepath.Join(dir, "jam.script.yaml")} {
		if _, err := s.OpenScript(name); err != nil {
			t.Error(err)
		}
	}
	if list, err := (&Store{Dir: filepath.Join(dir, "none")}).List(); err != nil || len(list) == 0 {
		t.Errorf("with no folder: %v, %v", list, err)
	}
	t.Setenv("XDG_CONFIG_HOME", dir)
	if d, err := DefaultDir(); err != nil || runtime.GOOS == "linux" && d != filepath.Join(dir, "k8s-synth", "scenes") {
		t.Errorf("got %s, %v", d, err)
	}
}

func TestSchemaIsCurrent(t *testing.T) {
	golden(t, "scene.schema.json", Schema())
}
