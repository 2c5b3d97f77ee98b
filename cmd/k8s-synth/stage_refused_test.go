package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestRefusedMorphChangesNothing: a morph to which there is no way leaves the launch
// that waits, and a morph that is under way, as they are.
func TestRefusedMorphChangesNothing(t *testing.T) {
	p := stagePlayer(t)
	var text strings.Builder
	text.WriteString("version: 1\nname: large\nmodules:\n")
	for i := range instrument.MaxModules {
		fmt.Fprintf(&text, "  - id: lfo/l%d\n", i)
	}
	if err := os.WriteFile(filepath.Join(openStore().Dir, "large.yaml"), []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	refused := func() {
		t.Helper()
		if err := p.answers(t, "morph:large:1")[0]; err == nil || !strings.Contains(err.Error(), "the most is 256") {
			t.Errorf("it is not refused: %v", err)
		}
	}
	p.until(t, 5*time.Second, "a beat", func() bool { _, _, ok := p.rack.Song(""); return ok })
	clock := p.scene.ClockOf()
	if clock == nil {
		t.Fatal("the default scene has no clock")
	}
	// Slow, so that the phrase does not end meanwhile.
	if err := p.rack.Set(mapping.AddressOf(clock.ID, "tempo"), 20, "", "", 0); err != nil {
		t.Fatal(err)
	}
	p.does(t, "launch:cluster:phrase")
	refused()
	if w := p.waitingStatus(); w == nil || w.Scene != "cluster" {
		t.Errorf("what waits is %+v", w)
	}
	p.does(t, "cancel")

	p.does(t, "morph:autoscaler:0")
	if err := p.act(turn{action: actPosition, value: 0.3, source: "fader", at: time.Now()}); err != nil {
		t.Fatal(err)
	}
	refused()
	if s := p.morphStatus(); s == nil || s.To != "autoscaler" || s.Position != 0.3 {
		t.Errorf("the morph is at %+v", s)
	}
	if c, ok := p.history.Next(); ok {
		t.Errorf("there is %q to undo", c.Text)
	}
}
