package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// TestTakeLeavesWhatInputsCaptured: what the inputs of another take captured is not
// taken away by one of its name that has none, unless that is asked for.
func TestTakeLeavesWhatInputsCaptured(t *testing.T) {
	path := filepath.Join(t.TempDir(), "night.take.jsonl")
	h := scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2}
	if err := os.WriteFile(scenes.InputsPath(path), []byte("captured"), 0o600); err != nil {
		t.Fatal(err)
	}
	record := func(force bool) error {
		take, err := createTake(path, h, force, nil)
		if err != nil {
			return err
		}
		take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
		return take.close(10)
	}
	if err := record(false); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), scenes.InputsPath(path)+" is there already") {
		t.Errorf("it is recorded: %v", err)
	}
	if text, err := os.ReadFile(scenes.InputsPath(path)); string(text) != "captured" {
		t.Errorf("it is %q, %v", text, err)
	}
	if _, err := os.Lstat(path); err == nil {
		t.Error("a take is left beside it")
	}
	if err := record(true); err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(scenes.InputsPath(path)); err == nil {
		t.Error("with force it is left")
	}
}

// TestTakeOfDays: of an instrument that plays on after the longest time that a take
// can have, what was recorded until then can be read to its end.
func TestTakeOfDays(t *testing.T) {
	path := filepath.Join(t.TempDir(), "days.take.jsonl")
	h := scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2}
	take, err := createTake(path, h, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
	take.input(mapping.Input{Panic: true})
	take.start = take.start.Add(-scenes.MaxLength)
	take.input(mapping.Input{Show: true})
	if err := take.close(48000); err != nil {
		t.Fatal(err)
	}
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var all []string
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		kind, _ := l.Object()
		all = append(all, kind)
	}
	if got := strings.Join(all, " "); got != "engine panic" {
		t.Errorf("it holds %q", got)
	}
}
