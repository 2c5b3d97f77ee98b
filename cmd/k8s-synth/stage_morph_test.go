package main

import (
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/web"
)

// fader goes to a point of a morph, and waits until it is there.
func (p *player) fader(t *testing.T, x float64) {
	t.Helper()
	if err := p.act(turn{action: actPosition, value: x, source: "fader", at: time.Now()}); err != nil {
		t.Fatalf("to %g: %v", x, err)
	}
	p.until(t, 5*time.Second, "where the fader is", func() bool { return p.stage.morph == nil || p.stage.morph.x == x })
}

// has tells whether a module, kind/name, or a cable is in what plays.
func (p *player) has(what string) bool {
	if strings.Contains(what, "->") {
		c, err := mapping.ParseCable(what)
		return err == nil && slices.Contains(p.rack.Patch().Cables, c)
	}
	return p.rack.Patch().Module(instrument.ModuleID(what)) != nil
}

func (p *player) wantHas(t *testing.T, when string, want bool, all ...string) {
	t.Helper()
	for _, what := range all {
		if p.has(what) != want {
			t.Errorf("%s: %s is there: %t, want %t", when, what, !want, want)
		}
	}
}

// add puts a module in by a hand.
func (p *player) add(t *testing.T, id instrument.ModuleID) {
	t.Helper()
	if err := p.rack.Add(instrument.Module{ID: id, Params: map[string]float64{}, Text: map[string]string{}}, "hand"); err != nil {
		t.Fatal(err)
	}
}

const (
	mine     = "vco/mine"
	inBoth   = "vco/mine/sine->voice/drone/tension"
	inFrom   = "vco/mine/saw->vcf/air/resonance_cv"
	inTo     = "vco/mine/saw->voice/bells/tension"
	onTheWay = "vcf/air/low->voice/bells/pan" // from a module of one to one of the other
)

// TestMorphKeepsWhatIsPatched: what a hand patches on a morph is there after the
// cut, at the end and on the way back, in the scenes in which it can be, and is
// undone with them.
func TestMorphKeepsWhatIsPatched(t *testing.T) {
	p := webPlayer(t)
	var said strings.Builder
	p.log = slog.New(slog.NewTextHandler(&said, nil))
	before, modules := p.cables(), len(p.rack.Patch().Modules)
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.2)
	p.add(t, mine)
	p.does(t, "plug:"+inBoth)
	p.does(t, "plug:"+inFrom)
	p.fader(t, 0.7)
	p.wantHas(t, "after the cut", true, mine, inBoth)
	p.wantHas(t, "after the cut", false, inFrom)
	p.does(t, "plug:"+inTo)
	p.does(t, "plug:"+onTheWay)
	p.fader(t, 1)
	p.wantHas(t, "at the end", true, mine, inBoth, inTo)
	p.wantHas(t, "at the end", false, inFrom, onTheWay)
	p.fader(t, 0.3)
	p.wantHas(t, "on the way back", true, mine, inBoth, inFrom)
	p.wantHas(t, "on the way back", false, inTo)
	p.fader(t, 0)
	p.wantHas(t, "at the beginning", true, mine, inBoth, inFrom)
	p.fader(t, 1)
	p.until(t, 5*time.Second, "the end", func() bool { return p.stage.morph == nil })
	p.wantHas(t, "when it is over", true, mine, inBoth, inTo)
	after := p.cables()
	for _, want := range []string{"is only in default, not in cluster", "is only in cluster, not in default", "it fits neither default nor cluster"} {
		if strings.Count(said.String(), want) != 1 {
			t.Errorf("the player is not told once: %s", want)
		}
	}

	p.does(t, "undo") // the morph
	if p.scene.Name != "default" {
		t.Fatalf("undone it is %s", p.scene.Name)
	}
	p.wantHas(t, "the morph undone", true, mine, inBoth, inFrom)
	p.wantHas(t, "the morph undone", false, inTo)
	p.does(t, "undo")
	p.wantHas(t, "one cable undone", true, mine, inBoth)
	p.wantHas(t, "one cable undone", false, inFrom)
	p.does(t, "undo")
	p.wantHas(t, "both undone", false, inBoth)
	p.does(t, "undo")
	if got := p.cables(); !slices.Equal(got, before) || len(p.rack.Patch().Modules) != modules {
		t.Errorf("all undone there are %d modules, were %d, and cables %v, were %v", len(p.rack.Patch().Modules), modules, got, before)
	}
	if err := p.answers(t, "undo")[0]; err == nil || !strings.Contains(err.Error(), "nothing to undo") {
		t.Errorf("more to undo: %v", err)
	}
	for range 4 {
		p.does(t, "redo")
	}
	if got := p.cables(); p.scene.Name != "cluster" || !slices.Equal(got, after) {
		t.Errorf("done again %s plays with %v, want %v", p.scene.Name, got, after)
	}
}

// TestMorphKeepsWhatIsRemoved: a module that a hand takes out on a morph, or a
// cable, does not come back at the cut, nor on the way back.
func TestMorphKeepsWhatIsRemoved(t *testing.T) {
	p := webPlayer(t)
	before := p.cables()
	drone, only, cable := "voice/drone", "voice/bells", "apiserver/api/density->vca/air/cv"
	p.does(t, "morph:cluster:0:0.5")
	p.fader(t, 0.2)
	p.does(t, "remove:"+drone)
	p.does(t, "remove:"+only) // which only the second one has
	p.does(t, "pull:vca/air/cv")
	for _, x := range []float64{0.7, 1, 0.6, 0.3, 0, 0.1, 0.8} {
		p.fader(t, x)
		p.wantHas(t, "on the way", false, drone, only, cable)
	}
	p.does(t, "cancel")
	p.until(t, 10*time.Second, "the way back", func() bool { return p.stage.morph == nil })
	p.wantHas(t, "back", false, drone, cable)
	p.does(t, "undo")
	p.wantHas(t, "the cable undone", true, cable)
	p.does(t, "undo")
	if got := p.cables(); !slices.Equal(got, before) {
		t.Errorf("undone there are %v, were %v", got, before)
	}
	if _, ok := p.history.Next(); ok {
		t.Error("there is more to undo")
	}
}

// TestMorphUndoesTurns: a knob that was turned on a morph goes back to where the
// first scene has it, and one that is not in that scene is no step of its own.
func TestMorphUndoesTurns(t *testing.T) {
	p := webPlayer(t)
	turnTo := func(a mapping.Address, v float64) {
		t.Helper()
		if err := p.set(turn{address: a, value: v, source: "hand", at: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	at := func(a mapping.Address) float64 { v, _, _ := p.rack.Value(a); return v }
	bright, bells := mapping.Address("/voice/drone/bright"), mapping.Address("/voice/bells/level")
	if err := p.rack.Set(bright, 5, "", "", 0); err != nil {
		t.Fatal(err)
	}
	was := at(bright)
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.4)
	if at(bright) == was {
		t.Fatal("the knob has no way to go")
	}
	turnTo(bright, 0.2)
	turnTo(bright, 0.3)
	turnTo(bells, -30)
	p.fader(t, 0.8)
	if at(bright) != 0.3 || at(bells) != -30 {
		t.Errorf("after the cut they stand at %g and %g", at(bright), at(bells))
	}
	p.does(t, "undo")
	if p.scene.Name != "default" || at(bright) != 0.3 {
		t.Errorf("the morph undone %s plays, the knob is at %g", p.scene.Name, at(bright))
	}
	p.does(t, "undo")
	if at(bright) != was {
		t.Errorf("the knob is at %g, was at %g", at(bright), was)
	}
	if _, ok := p.history.Next(); ok {
		t.Error("there is more to undo")
	}
}

// edits does to the topology what another hand does with kubectl.
func (p *player) edits(change func(e *mapping.Topology)) {
	base, _ := p.rack.Topology()
	edited := base
	edited.Modules = map[instrument.ModuleID]mapping.TopologyModule{}
	for id, params := range base.Modules {
		edited.Modules[id] = maps.Clone(params)
	}
	edited.Cables = slices.Clone(base.Cables)
	change(&edited)
	p.adopt(mapping.Edit{By: "kubectl-edit", Base: base, Topology: edited})
}

// TestMorphKeepsWhatTheClusterEdits: what another hand edits in the topology on a
// morph, knobs, modules and cables, or sets on a node, stands to its end and on the
// way back, and is no step of undo.
func TestMorphKeepsWhatTheClusterEdits(t *testing.T) {
	p := stagePlayer(t)
	p.kube = &neighbour{name: "kube"}
	const selects, mine = "deployment/web/pods -> service/web/selector", "deployment/mine/pods -> service/mine/selector"
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.3)
	p.wantHas(t, "before", true, selects, "deployment/web", "deployment/api", "node/stage-1")
	p.edits(func(e *mapping.Topology) {
		e.Modules["deployment/web"]["replicas"] = 7.0 // of both scenes
		e.Modules["deployment/api"]["replicas"] = 5.0 // of the second
		e.Modules["service/mine"], e.Modules["deployment/mine"] = mapping.TopologyModule{}, mapping.TopologyModule{"replicas": 2.0}
		e.Cables = append(slices.DeleteFunc(e.Cables, func(c string) bool { return c == selects }), mine)
	})
	node := mapping.Object{Kind: mapping.KindNode, Name: "stage-1"}
	now := time.Now()
	for _, tr := range []mapping.Transition{
		{Object: mapping.Object{Kind: mapping.KindAPIServer, Name: "api"}, Field: mapping.FieldReachable, New: "true"},
		{Object: mapping.Object{Kind: mapping.KindAPIServer, Name: "api"}, Field: mapping.FieldSynced, New: "true"},
		{Object: node, Field: mapping.FieldExists, New: "true"},
		{Object: node, Field: mapping.FieldCordoned, New: "false"},
	} {
		tr.Time = now
		p.rack.Apply(tr, 0)
	}
	settled := func(cordon float64) {
		t.Helper()
		p.until(t, 5*time.Second, "the node's panel", func() bool {
			v, _, err := p.rack.Value("/node/stage-1/cordon")
			return err == nil && v == cordon
		})
	}
	settled(0)
	rested := time.Now()
	p.until(t, 5*time.Second, "a moment", func() bool { return time.Since(rested) > 100*time.Millisecond })
	p.rack.Apply(mapping.Transition{Time: time.Now(), Object: node, Field: mapping.FieldCordoned, Old: "false", New: "true"}, 0)
	settled(1)
	check := func(when string) {
		t.Helper()
		p.wantHas(t, when, true, "service/mine", "deployment/mine", mine)
		p.wantHas(t, when, false, selects)
		for a, want := range map[mapping.Address]float64{"/deployment/web/replicas": 7, "/deployment/mine/replicas": 2, "/deployment/api/replicas": 5, "/node/stage-1/cordon": 1} {
			v, _, err := p.rack.Value(a)
			if err != nil && p.scene.Name == "default" && !p.has("deployment/api") {
				continue // it is the second scene's
			}
			if err != nil || v != want {
				t.Errorf("%s: %s is at %g, and in the cluster at %g; %v", when, a, v, want, err)
			}
		}
	}
	for _, x := range []float64{0.31, 0.45, 0.7, 1, 0.6, 0.2, 0, 0.9} {
		p.fader(t, x)
		check(fmt.Sprintf("at %g", x))
	}
	p.does(t, "undo") // the morph: the first scene, as the cluster has it
	if p.scene.Name != "default" {
		t.Fatalf("undone %s plays", p.scene.Name)
	}
	check("undone")
	if c, ok := p.history.Next(); ok {
		t.Errorf("what the cluster did is to be undone: %s", describeChange(c))
	}
}

// TestMorphKeepsPlaces: a module that a page adds on a morph stands where it was
// put, in both scenes.
func TestMorphKeepsPlaces(t *testing.T) {
	p := webPlayer(t)
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.2)
	if _, err := p.asks(t, web.Request{Add: &web.Add{Kind: "vco", Name: "mine", Row: 7, HP: 20}}); err != nil {
		t.Fatal(err)
	}
	want := p.scene.Places[mine]
	p.fader(t, 0.9)
	if got, ok := p.scene.Places[mine]; p.scene.Name != "cluster" || !ok || got != want {
		t.Errorf("in %s it stands at %+v, was put at %+v", p.scene.Name, got, want)
	}
	s := p.playedNow()
	if err := s.Validate(); err != nil {
		t.Errorf("what plays: %v", err)
	}
	p.does(t, "undo")
	if got := p.scene.Places[mine]; p.scene.Name != "default" || got != want {
		t.Errorf("undone in %s it stands at %+v", p.scene.Name, got)
	}
	p.does(t, "undo")
	p.wantHas(t, "both undone", false, mine)
}

// TestMorphRestsAtItsEnd: a fader that rests at the end ends the morph there, and
// one that is pulled back before goes back.
func TestMorphRestsAtItsEnd(t *testing.T) {
	p := stagePlayer(t)
	list := "version: 1\nname: friday\nscenes: [default, cluster]\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "friday.setlist.yaml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	p.does(t, "morph:cluster:0")
	p.fader(t, 1)
	p.fader(t, 0.9)
	rested := time.Now()
	p.until(t, 5*time.Second, "a rest before the end", func() bool { return time.Since(rested) > 2*morphRest })
	if p.morphStatus() == nil {
		t.Fatal("it is over, although the fader was pulled back")
	}
	before := time.Now()
	p.fader(t, 1)
	p.until(t, 5*time.Second, "the end", func() bool { return p.morphStatus() == nil })
	if d := time.Since(before); d < morphRest {
		t.Errorf("it was over after %s", d)
	}
	p.refuses(t, "cancel", "no scene waits")
	if p.scene.Name != "cluster" {
		t.Errorf("%s plays", p.scene.Name)
	}
	p.does(t, "undo")
	if p.scene.Name != "default" {
		t.Errorf("undone %s plays", p.scene.Name)
	}
	// A fader at the beginning waits.
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.1)
	p.fader(t, 0)
	rested = time.Now()
	p.until(t, 5*time.Second, "a rest at the beginning", func() bool { return time.Since(rested) > 2*morphRest })
	if p.morphStatus() == nil {
		t.Error("a morph at its beginning is over")
	}
}

// TestStageRedoLeavesAMorph: a redo neither stops a morph nor forgets what can be
// done again.
func TestStageRedoLeavesAMorph(t *testing.T) {
	p := stagePlayer(t)
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.3)
	if err := p.answers(t, "redo")[0]; err == nil || !strings.Contains(err.Error(), "nothing to redo") {
		t.Errorf("nothing to redo: %v", err)
	}
	if s := p.morphStatus(); s == nil || s.Position != 0.3 {
		t.Fatalf("it left the morph at %+v", s)
	}
	p.does(t, "undo")
	if err := p.set(turn{address: "/audio_out/main/level", value: -11, source: "hand", at: time.Now()}); err != nil {
		t.Fatal(err)
	}
	p.does(t, "undo")
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.3)
	if err := p.answers(t, "redo")[0]; err == nil || !strings.Contains(err.Error(), "a morph is under way") {
		t.Errorf("a redo in a morph: %v", err)
	}
	if s := p.morphStatus(); s == nil || s.Position != 0.3 {
		t.Fatalf("it left the morph at %+v", s)
	}
	p.does(t, "cancel")
	p.until(t, 10*time.Second, "the way back", func() bool { return p.stage.morph == nil })
	p.does(t, "redo")
	if v, _, _ := p.rack.Value("/audio_out/main/level"); v != -11 {
		t.Errorf("done again it is at %g", v)
	}
	// Who may not change scenes does not stop one either.
	p.does(t, "morph:cluster:0")
	p.fader(t, 0.3)
	p.clusterArgs = []string{"--context", "theirs"}
	if err := p.act(turn{action: actUndo, source: "192.0.2.1:9", at: time.Now()}); err == nil || p.morphStatus() == nil {
		t.Errorf("unarmed: %v, the morph is %+v", err, p.morphStatus())
	}
}

// TestStageRestoreNeedsNoWords: whether a change brings another scene does not
// hang on what it is called.
func TestStageRestoreNeedsNoWords(t *testing.T) {
	p := stagePlayer(t)
	p.clusterArgs = []string{"--context", "theirs"}
	stranger := turn{source: "192.0.2.1:9", at: time.Now()}
	if err := p.mayRestore(mapping.Change{Text: "another name", Act: &mapping.Act{Scene: true}}, false, stranger); err == nil {
		t.Error("a scene comes back for who is not armed")
	}
	if err := p.mayRestore(mapping.Change{Text: "scene of a crime", Act: &mapping.Act{}}, false, stranger); err != nil {
		t.Errorf("what is no scene: %v", err)
	}
}

// TestSetListInOrder: a step that is asked for behind a set list is one in it,
// and of two lists the last that was asked for is open.
func TestSetListInOrder(t *testing.T) {
	p := stagePlayer(t)
	var long strings.Builder
	for range 200 {
		long.WriteString("cluster, ")
	}
	for name, list := range map[string]string{"friday": "etcd, autoscaler, cluster", "long": long.String() + "etcd"} {
		if err := os.WriteFile(filepath.Join(openStore().Dir, name+".setlist.yaml"), []byte("version: 1\nname: "+name+"\nscenes: ["+list+"]\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for i, err := range p.answers(t, "setlist:friday", "next", "next") {
		if err != nil {
			t.Fatalf("%d: %v", i, err)
		}
	}
	if s := p.setListStatus(); p.scene.Name != "autoscaler" || s == nil || s.Entry != 2 {
		t.Errorf("%s plays, the list is %+v", p.scene.Name, s)
	}
	// The longer one takes longer to read.
	p.answers(t, "setlist:long", "setlist:friday")
	if s := p.setListStatus(); s == nil || s.Name != "friday" {
		t.Errorf("open is %+v", s)
	}
	// Off comes in its turn as well; and steps behind it are steps in all scenes.
	p.answers(t, "setlist:long", "next", "setlist:off")
	if s := p.setListStatus(); s != nil || p.scene.Name != "cluster" {
		t.Errorf("put away it is %+v, %s plays", s, p.scene.Name)
	}
	errs := p.answers(t, "setlist:friday", "previous", "next", "setlist:nothing", "next")
	if errs[0] != nil || errs[1] == nil || !strings.Contains(errs[1].Error(), "ends here") || errs[2] != nil || errs[3] == nil || errs[4] != nil {
		t.Errorf("answers: %v", errs)
	}
	if s := p.setListStatus(); p.scene.Name != "autoscaler" || s == nil || s.Name != "friday" || s.Entry != 2 {
		t.Errorf("%s plays, the list is %+v", p.scene.Name, s)
	}
	// A scene of a list that was put away while it waited takes no place in another.
	p.until(t, 5*time.Second, "a moment", func() bool { return len(p.wishes) == 0 })
	p.does(t, "scene:default")
	p.until(t, 5*time.Second, "a beat", func() bool { _, _, ok := p.rack.Song(""); return ok })
	late := "version: 1\nname: late\nscenes: [etcd, {scene: cluster, launch: bar}]\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "late.setlist.yaml"), []byte(late), 0o600); err != nil {
		t.Fatal(err)
	}
	p.does(t, "setlist:late")
	p.stage.entry = 0
	p.does(t, "next")
	if p.waitingStatus() == nil {
		t.Fatal("it does not wait")
	}
	p.does(t, "setlist:friday")
	p.until(t, 10*time.Second, "the scene", func() bool { return p.scene.Name == "cluster" })
	if s := p.setListStatus(); s.Entry != 0 {
		t.Errorf("the list that is open is at %+v", s)
	}
	// A panic calls off steps, and not lists.
	errs = nil
	var waits []chan error
	for _, a := range []string{"scene:default", "setlist:long", "next"} {
		answer := make(chan error, 1)
		if err := p.act(turn{action: a, source: cliSource, at: time.Now(), answer: answer}); err != nil {
			t.Fatal(err)
		}
		waits = append(waits, answer)
	}
	p.does(t, "panic")
	for _, w := range waits {
		p.until(t, 10*time.Second, "an answer", func() bool { return len(w) > 0 })
		errs = append(errs, <-w)
	}
	if errs[0] == nil || errs[1] != nil || errs[2] == nil || p.setListStatus().Name != "long" || p.scene.Name != "cluster" {
		t.Errorf("after a panic: %v, %+v, %s", errs, p.setListStatus(), p.scene.Name)
	}
}

// TestStageDiskIsBounded: what waits for a disk that does not answer has an end,
// and who asks for more is told.
func TestStageDiskIsBounded(t *testing.T) {
	p := stagePlayer(t)
	answers := make(chan struct{})
	if err := p.onDisk(func() { <-answers }); err != nil {
		t.Fatal(err)
	}
	var err error
	n := 0
	for n = 1; n < 1000 && err == nil; n++ {
		err = p.act(turn{action: "snapshot:1", source: "hand", at: time.Now()})
	}
	if err == nil || !strings.Contains(err.Error(), "disk that does not answer") || len(p.stage.disk) > mostOnDisk {
		t.Errorf("after %d snapshots: %v, %d wait", n, err, len(p.stage.disk))
	}
	if err := p.act(turn{action: "save:mine", source: "hand", at: time.Now()}); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("a save: %v", err)
	}
	saved := make(chan error, 1)
	_ = p.save("mine", "hand", func(_ string, err error) { saved <- err })
	if len(saved) == 0 || <-saved == nil {
		t.Error("who waits for the save is not told")
	}
	for _, a := range []string{"scene:cluster", "setlist:friday"} {
		answer := make(chan error, 1)
		if err := p.act(turn{action: a, source: "hand", at: time.Now(), answer: answer}); err != nil || len(answer) == 0 || !strings.Contains((<-answer).Error(), "does not answer") {
			t.Errorf("%s: %v", a, err)
		}
	}
	close(answers)
	p.until(t, 20*time.Second, "the disk", func() bool { return len(p.stage.disk) == 0 })
	p.does(t, "snapshot:1")
	if _, err := os.Stat(filepath.Join(openStore().Dir, "slot-1.yaml")); err != nil {
		t.Error(err)
	}
	p.does(t, "scene:cluster")
}

// TestStagePanicAndResume: what was on its way at a panic sounds if a hand has
// resumed, or another scene was asked for, before it is there.
func TestStagePanicAndResume(t *testing.T) {
	handOver := func(t *testing.T, p *player) {
		t.Helper()
		s, rules, err := openScene("cluster", "", "", nil)
		if err != nil {
			t.Fatal(err)
		}
		// A second ahead: that the patch is made counts as well.
		if err := p.launchNow(&launch{scene: s, rules: rules, wish: wish("cluster", "hand")}, p.rack.Meters().Frame+48000); err != nil {
			t.Fatal(err)
		}
		p.does(t, "panic")
		if p.stage.panicked == 0 {
			t.Fatal("nothing was on its way")
		}
	}
	for name, back := range map[string]func(t *testing.T, p *player){
		"resume": func(t *testing.T, p *player) { p.does(t, "resume") },
		"launch": func(t *testing.T, p *player) { p.does(t, "launch:etcd:now") },
		"undo":   func(t *testing.T, p *player) { p.does(t, "undo") },
		"morph":  func(t *testing.T, p *player) { p.does(t, "morph:default:0"); p.fader(t, 0.2) },
	} {
		t.Run(name, func(t *testing.T) {
			p := stagePlayer(t)
			handOver(t, p)
			at := p.stage.panicked
			back(t, p)
			if p.rack.Meters().Frame >= at {
				t.Skip("the machine is too slow")
			}
			if p.rack.Silenced() {
				t.Fatal("it is silent still")
			}
			p.until(t, 10*time.Second, "its frame", func() bool { return p.rack.Meters().Frame > at+9600 })
			if p.rack.Silenced() {
				t.Error("it is silenced again")
			}
		})
	}
	// And if nobody does, it is silent.
	p := stagePlayer(t)
	handOver(t, p)
	p.until(t, 10*time.Second, "its frame", func() bool { return p.stage.panicked == 0 })
	if !p.rack.Silenced() {
		t.Error("it sounds after a panic")
	}
}
