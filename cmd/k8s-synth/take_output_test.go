package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// What takes the place of a file is on the disk before it has its name, and its
// name is on the disk after it.
func TestTakeOutputIsOnTheDisk(t *testing.T) {
	dir := t.TempDir()
	night := filepath.Join(dir, "night.take.jsonl")
	var order []string
	was := syncs
	defer func() { syncs = was }()
	syncs = func(f *os.File) error {
		what := "file "
		if info, err := f.Stat(); err != nil || info.IsDir() {
			what = "folder "
		}
		holds := "old"
		if b, err := os.ReadFile(night); err != nil || !bytes.Equal(b, []byte("old")) {
			holds = "new"
		}
		order = append(order, what+holds)
		return was(f)
	}
	check := func(what string) {
		t.Helper()
		if i := slices.Index(order, "file old"); i < 0 || i > slices.Index(order, "folder new") || slices.Contains(order, "folder old") {
			t.Errorf("%s: synced were %q, while the file was the old or the new one", what, order)
		}
		order = nil
		if err := os.WriteFile(night, []byte("old"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(night, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, done, err := openOutput(night, 0o600, true)
	if err == nil {
		err = done(nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	check("an output")
	take, err := createTake(night, scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2}, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
	if err := take.close(10); err != nil {
		t.Fatal(err)
	}
	check("a take")
	// Where the disk fails nothing takes the place of what is there.
	syncs = func(*os.File) error { return errors.New("the disk fails") }
	if _, done, err = openOutput(night, 0o600, true); err != nil {
		t.Fatal(err)
	}
	part := filepath.Join(dir, "x.part")
	if err := os.WriteFile(part, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if inPlace(part, night, true) == nil || done(errors.New("it is not whole")) == nil {
		t.Error("a disk that fails is no error")
	}
	if b, err := os.ReadFile(night); err != nil || string(b) != "old" {
		t.Errorf("it is %q, %v", b, err)
	}
}

// Gates that are high at the end end in one order: two exports are one file.
func TestTakeScoreIsTheSameEachTime(t *testing.T) {
	var first []byte
	for n := range 20 {
		s := newScore(48000)
		s.tempo = []tempoChange{{0, 120}}
		for c := range 12 {
			s.gate("gates of rules", c, 0, []float32{0, 10}, nil)
		}
		f, err := s.file(48000)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if _, err := f.WriteTo(&b); err != nil {
			t.Fatal(err)
		}
		if n == 0 {
			first = b.Bytes()
		} else if !bytes.Equal(first, b.Bytes()) {
			t.Fatalf("export %d is another one", n+1)
		}
	}
}

// A service that names a folder begins a new take each time that it starts, also
// twice in a second, and writes over none.
func TestTakeInAFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "nights", "takes") + "/"
	began := time.Date(2026, 11, 29, 19, 58, 40, 0, time.Local)
	s, err := scenes.Parse("laps", []byte(lapScene))
	if err != nil {
		t.Fatal(err)
	}
	begin := func(into string) *player {
		t.Helper()
		p := &player{o: playOptions{take: into, device: hardware.Settings{Rate: 48000}}, log: slog.New(slog.DiscardHandler), scene: s, began: began}
		if err := p.openTake(2, instrument.Sockets{}); err != nil {
			t.Fatal(err)
		}
		p.take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
		if err := p.take.close(10); err != nil {
			t.Fatal(err)
		}
		return p
	}
	var was []byte
	for i, want := range []string{"2026-11-29T195840.take.jsonl", "2026-11-29T195840-2.take.jsonl", "2026-11-29T195840-3.take.jsonl"} {
		into := dir
		if i == 1 {
			into = filepath.Clean(dir) // it is there by now
		}
		if got := begin(into).o.take; got != filepath.Join(dir, want) {
			t.Errorf("take %d is %s, want %s in %s", i+1, got, want, dir)
		}
		if i == 0 {
			was, _ = os.ReadFile(filepath.Join(dir, want))
			if !bytes.Contains(was, []byte(`"machine":"`+scenes.Machine()+`"`)) {
				t.Errorf("it does not say which machine this is: %s", was)
			}
		}
	}
	if is, err := os.ReadFile(filepath.Join(dir, "2026-11-29T195840.take.jsonl")); err != nil || len(is) == 0 || !bytes.Equal(is, was) {
		t.Errorf("the first one was written over: %v", err)
	}
	// Neither is what inputs of one captured whose take has gone.
	if err := os.WriteFile(scenes.InputsPath(filepath.Join(dir, "2026-11-29T195840-4.take.jsonl")), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := filepath.Base(begin(dir).o.take); got != "2026-11-29T195840-5.take.jsonl" {
		t.Errorf("beside inputs of another one it is %s", got)
	}
	// Both what is heard and the take may go to one folder.
	o := playOptions{record: dir, take: dir}
	if err := o.checkRecord(); err != nil || filepath.Dir(o.record) != filepath.Clean(dir) || filepath.Ext(o.record) != ".wav" {
		t.Errorf("it is recorded to %s: %v", o.record, err)
	}
	o = playOptions{record: filepath.Join(dir, "2026-11-29T195840.take.jsonl") + "/"}
	if err := o.checkRecord(); err == nil {
		t.Error("a file is a folder")
	}
}

// Who renders a take that was played on a machine of another kind is told so.
func TestTakeOfAnotherMachine(t *testing.T) {
	here := filepath.Join(t.TempDir(), "here.take.jsonl")
	ears(t, here, false, 200, nil)
	text, err := os.ReadFile(here)
	if err != nil {
		t.Fatal(err)
	}
	for machine, told := range map[string]bool{"": false, scenes.Machine(): false, "pdp11+fused": true} {
		path := filepath.Join(t.TempDir(), "x.take.jsonl")
		line := []byte(`"machine":"` + machine + `","rate"`)
		if err := os.WriteFile(path, bytes.Replace(text, []byte(`"rate"`), line, 1), 0o600); err != nil {
			t.Fatal(err)
		}
		src := soundOf(t, path, takeHow{})
		if got := strings.Join(src.remarks(), "\n"); strings.Contains(got, "pdp11+fused") != told || strings.Contains(got, scenes.Machine()) != told {
			t.Errorf("of a take of %q it says %q", machine, got)
		}
		sum, err := summarize(path)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if sum.print(&b); strings.Contains(b.String(), "WARNING") != told || strings.Contains(b.String(), "machine  "+machine+"\n") != (machine != "") {
			t.Errorf("of a take of %q it shows %s", machine, b.String())
		}
		// Played anew it is as good here as there.
		if all := soundOf(t, path, takeHow{anew: true}).remarks(); strings.Contains(strings.Join(all, ""), "pdp11") {
			t.Errorf("played anew it says %q", all)
		}
	}
}
