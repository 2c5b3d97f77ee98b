package main

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// stagePlayer is a player with a folder of scenes of its own.
func stagePlayer(t *testing.T) *player {
	t.Helper()
	return stagePlayerAs(t, func(*mapping.Config) {})
}

// stagePlayerAs is stagePlayer with a say in how the rack is set up.
func stagePlayerAs(t *testing.T, change func(*mapping.Config)) *player {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	if err := os.MkdirAll(openStore().Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := handsOnAs(t, "default", noMap, change)
	p.midi = nil
	t.Cleanup(func() { close(p.ended) })
	return p
}

// until does what the control goroutine does until ok, at most some seconds.
func (p *player) until(t *testing.T, limit time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(limit); ; {
		select {
		case f := <-p.calls:
			f()
		case <-time.After(2 * time.Millisecond):
		}
		now := time.Now()
		p.rack.Pump(p.present(now))
		_ = p.goOn()
		p.goMorph(now)
		if ok() {
			return
		}
		if now.After(deadline) {
			t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

func (p *player) does(t *testing.T, action string) {
	t.Helper()
	answer := make(chan error, 1)
	tn := turn{action: action, source: cliSource, at: time.Now()}
	if answers(action) {
		tn.answer = answer
	} else {
		answer <- nil
	}
	if err := p.act(tn); err != nil {
		t.Fatalf("%s: %v", action, err)
	}
	var err error
	p.until(t, 10*time.Second, "answer to "+action, func() bool {
		select {
		case err = <-answer:
			return true
		default:
			return false
		}
	})
	if err != nil {
		t.Fatalf("%s: %v", action, err)
	}
}

func (p *player) refuses(t *testing.T, action, want string) {
	t.Helper()
	if err := p.act(turn{action: action, source: cliSource, at: time.Now()}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", action, err, want)
	}
}

// TestLaunchWaits: a launch waits for its moment, can be taken back, is undone
// with every knob, and a panic lets nothing come.
func TestLaunchWaits(t *testing.T) {
	p := stagePlayer(t)
	clock := ""
	for _, m := range p.rack.Patch().Modules {
		if m.ID.Kind() == "clock" && clock == "" {
			clock = m.ID.Name()
		}
	}
	if clock == "" {
		t.Fatal("the default scene has no clock")
	}
	p.until(t, 5*time.Second, "a beat", func() bool { _, _, ok := p.rack.Song(""); return ok })
	// Slow, so that the bar does not end while it is asked for.
	if err := p.set(turn{address: "/clock/" + mapping.Address(clock) + "/tempo", value: 80, source: "hand", at: time.Now()}); err != nil {
		t.Fatal(err)
	}
	p.does(t, "launch:cluster:phrase:0.5")
	w := p.waitingStatus()
	if w == nil || w.Scene != "cluster" || w.For != mapping.Phrase || p.scene.Name != "default" {
		t.Fatalf("waits %+v while %s plays", w, p.scene.Name)
	}
	p.does(t, "cancel")
	p.refuses(t, "cancel", "no scene waits")
	p.does(t, "launch:cluster:bar:0.5")
	p.silenceStage()
	if p.waitingStatus() != nil {
		t.Error("a launch survives a panic")
	}
	p.does(t, "launch:cluster:bar:0.5")
	if p.scene.Name != "default" {
		t.Error("it does not wait")
	}
	p.until(t, 5*time.Second, "the scene", func() bool { return p.scene.Name == "cluster" })
	if p.waitingStatus() != nil {
		t.Error("it plays and waits")
	}
	// Two steps of undo: the scene, then the knob that was turned in the one before.
	p.does(t, "undo")
	if v, _, err := p.rack.Value(mapping.Address("/clock/" + clock + "/tempo")); p.scene.Name != "default" || err != nil || v != 80 {
		t.Errorf("undone to %s at %g BPM, %v", p.scene.Name, v, err)
	}
	p.does(t, "redo")
	if p.scene.Name != "cluster" {
		t.Errorf("done again is %s", p.scene.Name)
	}
	p.does(t, "undo")
	p.does(t, "undo")
	if v, _, _ := p.rack.Value(mapping.Address("/clock/" + clock + "/tempo")); v == 80 {
		t.Error("the knob of the scene before is not undone")
	}
	p.does(t, "launch:cluster:now:0")
	if p.scene.Name != "cluster" {
		t.Error("now is not at once")
	}
	// On somebody else's cluster who is not armed brings no scene, and undoes none.
	p.clusterArgs = []string{"--context", "theirs"}
	for _, action := range []string{"launch:default:bar", "morph:default:1", "slot:1", "next", "previous", "scene:default", "undo"} {
		if err := p.act(turn{action: action, source: "192.0.2.1:9", at: time.Now()}); !errors.Is(err, errNotArmed) {
			t.Errorf("%s by who is not armed: %v", action, err)
		}
	}
	p.clusterArgs = nil
	for action, want := range map[string]string{"launch:": "expected NAME", "launch:cluster:soon": "beat, bar", "launch:cluster:bar:99": "0 to 30", "morph:cluster": "expected NAME:SECONDS", "morph:cluster:-1": "0 to 3600",
		"morph:cluster:1:2": "0 to 1", "slot:17": "slots 1 to 16", "snapshot:x": "no slot", "position:0.5": "no morph", "cancel": "no scene waits"} {
		p.refuses(t, action, want)
	}
}

// TestMorphOnStage: a morph goes by itself, back when it is cancelled, or as a
// fader holds it; a knob that a hand takes is the hand's; one undo takes all of
// it back.
func TestMorphOnStage(t *testing.T) {
	p := stagePlayer(t)
	modules := len(p.rack.Patch().Modules)
	p.does(t, "morph:autoscaler:0.6:0.5")
	p.until(t, 5*time.Second, "the end of the morph", func() bool { return p.stage.morph == nil })
	if p.scene.Name != "autoscaler" {
		t.Errorf("the morph ends in %s", p.scene.Name)
	}
	to, err := openStore().Open("autoscaler")
	if err != nil {
		t.Fatal(err)
	}
	if n := len(p.rack.Patch().Modules); n != len(to.Patch.Modules) {
		t.Errorf("it has %d modules, want %d", n, len(to.Patch.Modules))
	}
	p.does(t, "undo")
	if p.scene.Name != "default" || len(p.rack.Patch().Modules) != modules {
		t.Errorf("undone it is %s with %d modules", p.scene.Name, len(p.rack.Patch().Modules))
	}
	// By hand.
	p.does(t, "morph:autoscaler:0")
	for _, x := range []float64{0.2, 0.7, 0.3} {
		if err := p.act(turn{action: actPosition, value: x, source: "fader", at: time.Now()}); err != nil {
			t.Fatal(err)
		}
		want := "default"
		if x >= 0.5 {
			want = "autoscaler"
		}
		if s := p.morphStatus(); p.scene.Name != want || s == nil || s.Position != x || !s.Held {
			t.Errorf("at %g %s plays, the status is %+v", x, p.scene.Name, s)
		}
	}
	var held mapping.Address
	for _, m := range p.rack.Members() {
		if id, _, _ := m.Address.Split(); m.Kind == mapping.MemberParam && m.Param.Name == "level" && id.Kind() == "audio_out" {
			held = m.Address
		}
	}
	if err := p.set(turn{address: held, value: -11, source: "hand", at: time.Now()}); err != nil {
		t.Fatal(err)
	}
	p.does(t, "cancel")
	p.until(t, 5*time.Second, "the way back", func() bool { return p.stage.morph == nil })
	if v, _, _ := p.rack.Value(held); p.scene.Name != "default" || v != -11 || len(p.rack.Patch().Modules) != modules {
		t.Errorf("back at %s the held knob is %g, there are %d modules", p.scene.Name, v, len(p.rack.Patch().Modules))
	}
	// A panic leaves it where it is.
	p.does(t, "morph:autoscaler:0")
	_ = p.act(turn{action: actPosition, value: 0.8, source: "fader", at: time.Now()})
	p.does(t, "panic")
	if p.stage.morph != nil {
		t.Error("a morph survives a panic")
	}
	p.does(t, "undo")
	if p.scene.Name != "default" {
		t.Errorf("undone it is %s", p.scene.Name)
	}
}

// TestSlotsAndSetLists: what plays is kept in a slot and comes back with every
// knob; a set list is stepped through both ways.
func TestSlotsAndSetLists(t *testing.T) {
	p := stagePlayer(t)
	var knob mapping.Address
	for _, m := range p.rack.Members() {
		if id, _, _ := m.Address.Split(); m.Kind == mapping.MemberParam && m.Param.Name == "level" && id.Kind() == "audio_out" {
			knob = m.Address
		}
	}
	turnTo := func(v float64) {
		if err := p.set(turn{address: knob, value: v, source: "hand", at: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	at := func() float64 { v, _, _ := p.rack.Value(knob); return math.Round(v*1000) / 1000 }
	turnTo(-7.5)
	p.does(t, "snapshot:3")
	p.until(t, time.Second, "the change", func() bool { c, _ := p.history.Next(); return strings.HasPrefix(c.Text, "snapshot") })
	turnTo(-20)
	p.does(t, "snapshot:3")
	p.does(t, "scene:cluster")
	p.does(t, "slot:3")
	if p.scene.Name != "slot-3" || at() != -20 {
		t.Errorf("in the slot is %s with the knob at %g", p.scene.Name, at())
	}
	if !slices.ContainsFunc(listScenes(p.log), func(s web.SceneInfo) bool { return s.Name == "slot-3" && s.Slot == 3 }) {
		t.Error("pages are not told of the slot")
	}
	// Undo: the slot's scene, the cluster's, and then what was kept in the slot.
	p.does(t, "undo")
	p.does(t, "undo")
	p.does(t, "undo")
	file := filepath.Join(openStore().Dir, "slot-3.yaml")
	p.until(t, 5*time.Second, "the slot as it was", func() bool {
		s, err := scenes.Load(file)
		if err != nil {
			return false
		}
		id, name, _ := knob.Split()
		return s.Patch.Module(id).Value(name) == -7.5
	})
	p.does(t, "redo")
	p.until(t, 5*time.Second, "the slot again", func() bool {
		s, err := scenes.Load(file)
		id, name, _ := knob.Split()
		return err == nil && s.Patch.Module(id).Value(name) == -20
	})

	list := "version: 1\nname: friday\nscenes: [default, {scene: cluster, crossfade: 1, note: loud}, {scene: slot-3, morph: 0.3}]\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "friday.setlist.yaml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	p.does(t, "setlist:friday")
	if s := p.setListStatus(); s == nil || s.Entry != 0 || s.Next != "default" {
		t.Fatalf("the set list is %+v", s)
	}
	p.does(t, "next")
	p.does(t, "next")
	if s := p.setListStatus(); p.scene.Name != "cluster" || s.Entry != 2 || s.Note != "loud" || s.Next != "slot-3" {
		t.Errorf("%s plays, the list is at %+v", p.scene.Name, s)
	}
	p.does(t, "next")
	p.until(t, 5*time.Second, "the morph", func() bool { return p.stage.morph == nil })
	if s := p.setListStatus(); p.scene.Name != "slot-3" || s.Entry != 3 {
		t.Errorf("%s plays, the list is at %+v", p.scene.Name, s)
	}
	p.refuses(t, "next", "ends here")
	p.does(t, "previous")
	if s := p.setListStatus(); p.scene.Name != "cluster" || s.Entry != 2 {
		t.Errorf("%s plays, the list is at %+v", p.scene.Name, s)
	}
	p.does(t, "setlist:off")
	p.does(t, "next")
	if p.scene.Name == "slot-3" || p.scene.Name == "cluster" {
		t.Errorf("after the set list next is %s", p.scene.Name)
	}
}

// TestEditIsOneStep: what a module's text says is undone at once.
func TestEditIsOneStep(t *testing.T) {
	p := stagePlayer(t)
	text, err := scenes.EncodeModule(p.playedNow(), "deployment/web")
	if err != nil {
		t.Fatal(err)
	}
	m, at, err := scenes.ParseModule(string(text))
	if err != nil {
		t.Fatal(err)
	}
	was := p.rack.Patch().Clone().Module("deployment/web")
	m.Params["replicas"], m.Params["cpu"], m.Params["max_surge"] = 9, 250, 3
	if err := p.rewrite("deployment/web", m, at, "web 1"); err != nil {
		t.Fatal(err)
	}
	if c, _ := p.history.Next(); len(c.Steps) != 3 || describeChange(c) != "edit of deployment/web" {
		t.Errorf("the edit is %+v", c)
	}
	p.does(t, "undo")
	now := p.rack.Patch().Module("deployment/web")
	for _, name := range []string{"replicas", "cpu", "max_surge"} {
		if now.Value(name) != was.Value(name) {
			t.Errorf("%s is %g, was %g", name, now.Value(name), was.Value(name))
		}
	}
}

// TestLaunchIsExact: a running instrument takes a scene up on the frame of the
// bar, again and again, and turns its knobs there.
func TestLaunchIsExact(t *testing.T) {
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	took := map[uint64]int64{}
	var launched []uint64
	var at []int64
	p := handsOnAs(t, "default", noMap, func(c *mapping.Config) {
		c.Recorded = func(in mapping.Input) {
			if in.Plan != nil && in.Plan.Change.Launch {
				launched, at = append(launched, in.Plan.Generation), append(at, in.Plan.Change.At)
			}
			for _, a := range in.Applied {
				if a.Plan > 0 {
					took[a.Plan] = a.Frame
				}
			}
		}
	})
	p.midi = nil
	t.Cleanup(func() { close(p.ended) })
	p.until(t, 5*time.Second, "a beat", func() bool { _, _, ok := p.rack.Song(""); return ok })
	for i, name := range []string{"cluster", "default", "etcd", "default"} {
		// What comes is a bar of what plays.
		p.does(t, "launch:"+name+":bar:"+[]string{"0", "0.1"}[i%2])
		bar := int64(0)
		p.until(t, 10*time.Second, name, func() bool {
			if l := p.stage.waiting; l != nil && l.frame > 0 {
				bar = l.frame
			}
			return p.scene.Name == name
		})
		p.until(t, 5*time.Second, "the plan", func() bool { return took[launched[len(launched)-1]] > 0 })
		n := len(launched) - 1
		if got := took[launched[n]]; at[n] == 0 || got != at[n] || bar-got > 1 || got-bar > 1 {
			t.Errorf("%s was to come at %d, a bar at %d, and came at %d", name, at[n], bar, got)
		}
		p.until(t, 5*time.Second, "a beat of it", func() bool { _, _, ok := p.rack.Song(""); return ok })
	}
}
