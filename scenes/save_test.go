package scenes

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// A scene that did not change is its own text, to the letter but for how long
// lines are broken.
func TestUpdateLeavesAlone(t *testing.T) {
	files, err := shipped.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), scriptSuffix) {
			continue
		}
		text, err := shipped.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		s, err := Parse(f.Name(), text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := Update(text, s)
		if err != nil {
			t.Fatal(err)
		}
		a, b := lines(text), lines(out)
		for i := range min(len(a), len(b)) {
			if a[i] != b[i] {
				t.Errorf("%s:%d: was\n%s\nis\n%s", f.Name(), i+1, a[i], b[i])
				break
			}
		}
		if len(a) != len(b) {
			t.Errorf("%s had %d lines and has %d", f.Name(), len(a), len(b))
		}
	}
}

// lines are those of a text, however much blank stands in them.
func lines(text []byte) (all []string) {
	for l := range bytes.Lines(text) {
		all = append(all, strings.Join(strings.Fields(string(l)), " "))
	}
	return all
}

func TestUpdateKeepsComments(t *testing.T) {
	const text = `# Mine, do not lose.
version: 1
name: mine
latency: 0.030 # as long as it takes

modules:
  # The chord.
  - id: deployment/web # the one
    at: {row: 0, hp: 0}
    params:
      replicas: 4 # four voices
  # Goes away.
  - id: lfo/gone
  - id: voice/chord
    at: {row: 1, hp: 0}

cables:
  # They sing.
  - deployment/web/ready -> voice/chord/open
`
	s, err := Parse("mine", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	s.Patch.Module("deployment/web").Params["replicas"] = 6
	s.Patch.Modules = slices.DeleteFunc(s.Patch.Modules, func(m instrument.Module) bool { return m.ID == "lfo/gone" })
	s.Patch.Modules = append(s.Patch.Modules, instrument.Module{ID: "pod/web-1", Params: map[string]float64{"tune": 7}, Text: map[string]string{}})
	s.Places["deployment/web"] = Place{0, 12}
	out, err := Update([]byte(text), s)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"# Mine, do not lose.\n", "latency: 0.030 # as long as it takes\n", "  # The chord.\n", "# the one\n", "replicas: 6 # four voices\n", "  # They sing.\n", "{row: 0, hp: 12}", "  - id: pod/web-1\n    params:\n      tune: 7\n", "\n\ncables:\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("%q is missing", want)
		}
	}
	if strings.Contains(string(out), "lfo/gone") {
		t.Error("the module that went is there")
	}
	if t.Failed() {
		t.Log("\n" + string(out))
	}
	if got, err := Parse("mine", out); err != nil || !got.Equal(s) {
		t.Errorf("read back as %+v, %v", got, err)
	}
}

func TestSave(t *testing.T) {
	store := &Store{Dir: filepath.Join(t.TempDir(), "scenes")}
	s, err := store.Open("default")
	if err != nil {
		t.Fatal(err)
	}
	s.Patch.Module("deployment/web").Params["replicas"] = 5
	path, err := store.Save(s)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(text), "# Requests go here") {
		t.Errorf("comments of the one that ships are gone: %v", err)
	}
	got, err := store.Open("default")
	if err != nil || !got.Equal(s) {
		t.Errorf("read back %v", err)
	}
	if _, err := (&Store{}).Save(s); err == nil {
		t.Error("saved without a folder")
	}
	s.Name = "Not A Name"
	if _, err := store.Save(s); err == nil {
		t.Error("saved a scene with mistakes")
	}
	if files, _ := os.ReadDir(store.Dir); len(files) != 2 || files[0].Name() != lockFile {
		t.Errorf("left behind: %v", files)
	}
}

// TestFormerOfTwo: of what two instruments on one folder save over, each keeps
// all of its own.
func TestFormerOfTwo(t *testing.T) {
	dir := t.TempDir()
	var all sync.WaitGroup
	begin := make(chan struct{})
	for who := range 6 {
		st := &Store{Dir: dir}
		all.Go(func() {
			<-begin
			for i := range 25 {
				if err := st.keepFormer("mine", fmt.Appendf(nil, "state %d of %d", i, who)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(begin)
	all.Wait()
	numbers, err := formerOf(filepath.Join(dir, formerDir), "mine")
	if err != nil {
		t.Fatal(err)
	}
	kept := map[string]bool{}
	for i, n := range numbers {
		text, err := os.ReadFile(formerPath(filepath.Join(dir, formerDir), "mine", n))
		if err != nil || n != uint64(i+1) {
			t.Errorf("number %d: %v", n, err)
		}
		kept[string(text)] = true
	}
	if len(kept) != 6*25 {
		t.Errorf("%d of %d states are kept", len(kept), 6*25)
	}
	if files, _ := os.ReadDir(filepath.Join(dir, formerDir)); len(files) != len(numbers) {
		t.Errorf("%d files for %d states", len(files), len(numbers))
	}
}
