package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// TestMorphIsKeptWithItsTunings: what plays in the middle of a morph between scenes
// that bring tunings can be read again wherever it is kept: in the session, in a
// slot and in a take; and so after a panic that ends the morph there.
func TestMorphIsKeptWithItsTunings(t *testing.T) {
	p := stagePlayer(t)
	for name, tuning := range map[string]string{"from": "thirds", "to": "fifths"} {
		text := fmt.Sprintf("version: 1\nname: %s\ntunings:\n  %s: {scl: \"t\\n2\\n3/2\\n2/1\\n\"}\nmodules:\n  - id: quantizer/%s\n    params: {tuning: %s, scale: tuning}\n", name, tuning, name, tuning)
		if err := os.WriteFile(filepath.Join(openStore().Dir, name+".yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	dir := t.TempDir()
	var err error
	if p.autosave, _, err = scenes.OpenAutosave(sessionDir(dir)); err != nil {
		t.Fatal(err)
	}
	p.rack.Rewired = p.keep
	path := filepath.Join(dir, "x.take.jsonl")
	if p.take, err = createTake(path, scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2}, false, nil); err != nil {
		t.Fatal(err)
	}
	p.take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
	reads := func(when string, tunings int) {
		t.Helper()
		text, err := scenes.Encode(p.playedNow())
		if err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		if s, err := scenes.Parse("again", text); err != nil {
			t.Errorf("%s: it cannot be read again: %v", when, err)
		} else if len(s.Tunings) != tunings {
			t.Errorf("%s: it has %d tunings, want %d", when, len(s.Tunings), tunings)
		}
	}
	p.does(t, "scene:from")
	reads("before", 1)
	p.does(t, "morph:to:0")
	for _, x := range []float64{0.3, 0.7} {
		if err := p.act(turn{action: actPosition, value: x, source: "fader", at: time.Now()}); err != nil {
			t.Fatal(err)
		}
		reads(fmt.Sprint("at ", x), 2)
		p.does(t, "snapshot:2")
		if s, err := openStore().Open("slot-2"); err != nil || len(s.Tunings) != 2 {
			t.Errorf("at %g the slot holds %v, %v", x, s, err)
		}
	}
	p.does(t, "panic")
	if p.stage.morph != nil {
		t.Fatal("the morph goes on")
	}
	reads("after a panic", 2)
	p.does(t, "undo")
	if p.scene.Name != "from" {
		t.Errorf("%s plays", p.scene.Name)
	}
	reads("undone", 1)
	p.does(t, "redo")
	reads("done again", 2)
	p.does(t, "scene:to")
	reads("in the end", 1)

	p.rack.Rewired = nil
	if err := p.autosave.Close(); err != nil {
		t.Error(err)
	}
	all, err := scenes.Backups(sessionDir(dir))
	if err != nil || len(all) == 0 {
		t.Fatalf("kept are %v, %v", all, err)
	}
	for _, b := range all {
		if b.Err != nil {
			t.Errorf("state %s cannot be read again: %v", b.ID, b.Err)
		}
	}
	p.autosave = nil
	if err := p.take.close(1); err != nil {
		t.Fatal(err)
	}
	p.take = nil
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	recorded := 0
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if l.Scene == "" {
			continue
		}
		recorded++
		if _, err := r.Scene(l.Scene); err != nil {
			t.Errorf("scene %d of the take cannot be read again: %v", recorded, err)
		}
	}
	if recorded < 5 {
		t.Errorf("the take has %d scenes", recorded)
	}
}
