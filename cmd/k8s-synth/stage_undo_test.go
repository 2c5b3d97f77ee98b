package main

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// answers asks for actions at once, one behind the other, and returns what
// became of each.
func (p *player) answers(t *testing.T, actions ...string) (errs []error) {
	t.Helper()
	var waits []chan error
	for _, a := range actions {
		answer := make(chan error, 1)
		if err := p.act(turn{action: a, source: cliSource, at: time.Now(), answer: answer}); err != nil {
			answer <- err
		}
		waits = append(waits, answer)
	}
	for _, w := range waits {
		p.until(t, 20*time.Second, "an answer", func() bool { return len(w) > 0 })
		errs = append(errs, <-w)
	}
	return errs
}

// TestUndoInOrder: undos that are asked for at once are done one after the
// other, those that write files as well; one that fails leaves the history true,
// and is told.
func TestUndoInOrder(t *testing.T) {
	p := stagePlayer(t)
	level := mapping.Address("/audio_out/main/level")
	file := filepath.Join(openStore().Dir, "slot-1.yaml")
	kept := func() string {
		s, err := scenes.Load(file)
		if err != nil {
			return "none"
		}
		return fmt.Sprintf("%g", s.Patch.Module("audio_out/main").Value("level"))
	}
	for _, v := range []float64{-11, -12, -13, -14} {
		if err := p.set(turn{address: level, value: v, source: "hand" + fmt.Sprint(v), at: time.Now()}); err != nil {
			t.Fatal(err)
		}
		p.does(t, "snapshot:1")
	}
	p.until(t, 5*time.Second, "the last change", func() bool { c, _ := p.history.Next(); return c.Act != nil })
	// The file, the knob, the file, the knob, the file: and one more, so that in
	// the end it holds what was kept second, or first.
	for i, err := range p.answers(t, "undo", "undo", "undo", "undo", "undo") {
		if err != nil {
			t.Errorf("undo %d: %v", i, err)
		}
	}
	if v, _, _ := p.rack.Value(level); v != -12 || kept() != "-11" {
		t.Errorf("undone the knob is at %g, and kept is %s", v, kept())
	}
	for i, err := range p.answers(t, "redo", "undo", "redo", "redo", "redo", "undo", "undo") {
		if err != nil {
			t.Errorf("step %d: %v", i, err)
		}
	}
	if v, _, _ := p.rack.Value(level); v != -12 || kept() != "-12" {
		t.Errorf("done again the knob is at %g, and kept is %s", v, kept())
	}
	if err := p.answers(t, "slot:9")[0]; err == nil || !strings.Contains(err.Error(), "slot 9 is empty") {
		t.Errorf("an empty slot: %v", err)
	}
	// A disk that cannot be written: nothing has moved, and it is to be undone still.
	dir := openStore().Dir
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	was, _ := p.history.Next()
	if err := p.answers(t, "undo")[0]; err == nil || !strings.Contains(err.Error(), "nothing has changed") {
		t.Errorf("without a disk: %v", err)
	}
	if is, _ := p.history.Next(); is.Text != was.Text || is.Act == nil {
		t.Errorf("next is %q, was %q", is.Text, was.Text)
	}
	if err := errors.Join(os.Remove(dir), os.Rename(dir+".away", dir)); err != nil {
		t.Fatal(err)
	}
	if err := p.answers(t, "undo")[0]; err != nil || kept() != "-11" {
		t.Errorf("with a disk again: %v, kept is %s", err, kept())
	}
	// What was saved over, or taken away, is kept.
	if all, err := openStore().Former(); err != nil || len(all) < 4 {
		t.Errorf("kept are %+v, %v", all, err)
	}
}

// TestUndoTakesThePlace: with a launch the place in the set list is undone, and
// done again.
func TestUndoTakesThePlace(t *testing.T) {
	p := stagePlayer(t)
	list := "version: 1\nname: friday\nscenes: [cluster, {scene: etcd, morph: 0.2}, default]\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "friday.setlist.yaml"), []byte(list), 0o600); err != nil {
		t.Fatal(err)
	}
	entry := func(want int, scene string) {
		t.Helper()
		if s := p.setListStatus(); s == nil || s.Entry != want || p.scene.Name != scene {
			t.Errorf("%s plays, the list is at %+v, want %s at %d", p.scene.Name, s, scene, want)
		}
	}
	p.does(t, "setlist:friday")
	p.does(t, "next")
	entry(1, "cluster")
	p.does(t, "next")
	p.until(t, 5*time.Second, "the morph", func() bool { return p.stage.morph == nil })
	entry(2, "etcd")
	p.does(t, "undo")
	entry(1, "cluster")
	p.does(t, "undo")
	entry(0, "default")
	p.does(t, "redo")
	p.does(t, "redo")
	entry(2, "etcd")
	p.does(t, "next")
	entry(3, "default")
	// A list that was put away in between stays so.
	p.does(t, "setlist:off")
	p.does(t, "undo")
	if p.setListStatus() != nil || p.scene.Name != "etcd" {
		t.Errorf("%s plays, the list is %+v", p.scene.Name, p.setListStatus())
	}
}

// TestMorphRefused: a morph whose patch is refused stays where it is, and can
// go on.
func TestMorphRefused(t *testing.T) {
	p := stagePlayer(t)
	p.does(t, "morph:autoscaler:0")
	at := func(x float64) error {
		return p.act(turn{action: actPosition, value: x, source: "fader", at: time.Now()})
	}
	if err := at(0.3); err != nil {
		t.Fatal(err)
	}
	// Something that the compiler takes no part in: a Controller's program.
	for _, s := range []*scenes.Scene{p.stage.morph.way.From(), p.stage.morph.way.To()} {
		s.Patch.Modules = append(s.Patch.Modules, instrument.Module{ID: "controller/bad", Params: map[string]float64{}, Text: map[string]string{"program": "act +"}})
	}
	modules := len(p.rack.Patch().Modules)
	if err := at(0.9); err == nil {
		t.Fatal("it is not refused")
	}
	if s := p.morphStatus(); s == nil || s.Position != 0.3 || p.scene.Name != "default" || len(p.rack.Patch().Modules) != modules {
		t.Errorf("refused, it is at %+v, and %s plays", s, p.scene.Name)
	}
	for _, s := range []*scenes.Scene{p.stage.morph.way.From(), p.stage.morph.way.To()} {
		s.Patch.Modules = s.Patch.Modules[:len(s.Patch.Modules)-1]
	}
	if err := at(0.9); err != nil || p.scene.Name != "autoscaler" {
		t.Errorf("it does not go on: %v, %s plays", err, p.scene.Name)
	}
}

// TestMorphTrembles: a fader that trembles a hundred times a second, at the cut
// and over the whole way, publishes few topologies and changes few cables, and
// the last state is the true one.
func TestMorphTrembles(t *testing.T) {
	for name, ends := range map[string][2]float64{"at the cut": {0.49, 0.51}, "at the beginning": {0, 0.02}, "at the end": {0.98, 1}, "over it all": {0, 1}} {
		t.Run(name, func(t *testing.T) {
			launches := 0
			p := stagePlayerAs(t, func(c *mapping.Config) {
				c.Recorded = func(in mapping.Input) {
					if in.Plan != nil && in.Plan.Change.Launch {
						launches++
					}
				}
			})
			p.kube = &neighbour{name: "kube"}
			published := 0
			var last int64
			look := func() {
				p.tellCluster(time.Now())
				if top := p.kube.topology; top != nil && top.Generation != last {
					last = top.Generation
					published++
				}
			}
			look()
			p.does(t, "morph:autoscaler:0")
			if err := p.act(turn{action: actPosition, value: ends[1], source: "fader", at: time.Now()}); err != nil {
				t.Fatal(err)
			}
			look()
			began := time.Now()
			published, launches = 0, 0
			moves := 0
			for k := 0; time.Since(began) < 2*time.Second; k++ {
				if err := p.act(turn{action: actPosition, value: ends[k%2], source: "fader", at: time.Now()}); err != nil {
					t.Fatal(err)
				}
				moves++
				p.rack.Pump(p.present(time.Now()))
				p.goMorph(time.Now())
				look()
				time.Sleep(5 * time.Millisecond)
			}
			took := time.Since(began).Seconds()
			mostCuts, mostTold := cutBurst+int(took*cutRate)+1, int(took/clusterPeriod.Seconds())+1
			t.Logf("%d moves in %.1f s: %d patches were taken up (at most %d), %d topologies were published (at most %d)", moves, took, launches, mostCuts, published, mostTold)
			if moves < 50 {
				t.Skipf("the machine is too slow: %d moves", moves)
			}
			if launches > mostCuts || published > mostTold {
				t.Errorf("a flood: %d patches, %d topologies", launches, published)
			}
			for _, x := range []float64{ends[0], ends[1]} {
				if err := p.act(turn{action: actPosition, value: x, source: "fader", at: time.Now()}); err != nil {
					t.Fatal(err)
				}
				p.until(t, 5*time.Second, "where the fader rests", func() bool { look(); return p.stage.morph.x == x })
				want := "default"
				if x >= 0.5 {
					want = "autoscaler"
				}
				if p.scene.Name != want {
					t.Errorf("at %g %s plays", x, p.scene.Name)
				}
			}
			p.silenceStage()
			look()
			now, _ := p.rack.Topology()
			if top := p.kube.topology; top.Scene != p.scene.Name || top.Generation != now.Generation {
				t.Errorf("the cluster was told of %s, generation %d, last; %s is played, generation %d", top.Scene, top.Generation, p.scene.Name, now.Generation)
			}
		})
	}
}

// TestOwnTime: a scene without a Clock counts by its transport.
func TestOwnTime(t *testing.T) {
	p := stagePlayer(t)
	text := "version: 1\nname: still\ntransport: {tempo: 240, beats: 2, phrase: 2}\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "still.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	// A machine that stands still misses its moment, or to ask for it; it must not
	// every time. The frame that it waits for is the right one each time.
	var came, at int64
	for range 5 {
		p.does(t, "scene:still")
		came, at = p.stage.came, 0
		p.does(t, "launch:cluster:phrase")
		p.until(t, 5*time.Second, "the scene", func() bool {
			if l := p.stage.waiting; l != nil && l.frame > 0 {
				at = l.frame
			}
			return p.scene.Name == "cluster"
		})
		// Two bars of two beats at 240 a minute are 48000 frames.
		if d := at - came; at > 0 && (d <= 0 || d%48000 != 0) {
			t.Errorf("it waits for %d, and the scene before came at %d", at, came)
		}
		if at > 0 && p.stage.came == at {
			return
		}
	}
	t.Errorf("it came at %d, was to come at %d, and the scene before at %d", p.stage.came, at, came)
}

// TestLaunchUponLaunch: what is to come at a bar of a scene that has only just
// come waits for that, though its Clock has not told of a beat yet.
func TestLaunchUponLaunch(t *testing.T) {
	p := stagePlayer(t)
	p.does(t, "scene:etcd")
	// A bar is longer than it takes to ask for what is to come at its end.
	text := "version: 1\nname: fast\nmodules: [{id: clock/other, params: {tempo: 120, beats: 2}}]\n"
	if err := os.WriteFile(filepath.Join(openStore().Dir, "fast.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		p.does(t, "scene:fast")
		p.does(t, "launch:cluster:bar")
		if p.scene.Name != "fast" {
			t.Fatal("it did not wait for a bar")
		}
		p.until(t, 5*time.Second, "the bar", func() bool { return p.scene.Name == "cluster" })
	}
}

// TestPanicOnTheWay: a panic while a launch waits, has been handed over, is
// crossfading, and in a morph, silences within a block, and nothing comes after.
func TestPanicOnTheWay(t *testing.T) {
	for name, begin := range map[string]func(t *testing.T, p *player){
		"waiting": func(t *testing.T, p *player) { p.does(t, "launch:cluster:phrase:2") },
		"handed over": func(t *testing.T, p *player) {
			s, rules, err := openScene("cluster", "", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			l := &launch{scene: s, rules: rules, crossfade: 2, wish: wish("cluster", "hand")}
			if err := p.launchNow(l, p.rack.Meters().Frame+4800); err != nil {
				t.Fatal(err)
			}
		},
		"crossfade": func(t *testing.T, p *player) { p.does(t, "launch:cluster:now:2") },
		"morph":     func(t *testing.T, p *player) { p.does(t, "morph:cluster:4") },
		"reading": func(t *testing.T, p *player) {
			_ = p.act(turn{action: "launch:cluster:now", source: "hand", at: time.Now()})
		},
	} {
		t.Run(name, func(t *testing.T) {
			var panics []int64
			p := stagePlayerAs(t, func(c *mapping.Config) {
				c.Recorded = func(in mapping.Input) {
					for _, a := range in.Applied {
						if a.Event.Kind == instrument.EventPanic {
							panics = append(panics, a.Frame)
						}
					}
				}
			})
			p.until(t, 5*time.Second, "a beat", func() bool { _, _, ok := p.rack.Song(""); return ok })
			begin(t, p)
			playing, at := p.scene.Name, p.stage.came
			// Behind a queue that is full.
			for range cap(p.turns) {
				p.turns <- turn{address: "/audio_out/main/level", value: -6, source: "hand", at: time.Now()}
			}
			asked := p.rack.Meters().Frame
			if err := p.turn(turn{action: actPanic, source: "hand", at: time.Now()}); err != nil {
				t.Fatal(err)
			}
			p.overtake(<-p.panics)
			if p.stage.waiting != nil || p.stage.morph != nil {
				t.Error("something waits after a panic")
			}
			p.until(t, 5*time.Second, "the panic", func() bool { return len(panics) > 0 })
			p.until(t, 5*time.Second, "what is on its way", func() bool { return p.stage.panicked == 0 && p.rack.Meters().Frame > asked+24000 })
			if p.scene.Name != playing {
				t.Errorf("%s came after the panic", p.scene.Name)
			}
			if last := panics[len(panics)-1]; name == "handed over" && last < at {
				t.Errorf("the panic was at %d, and what was handed over came at %d", last, at)
			}
			p.until(t, 5*time.Second, "silence of gates", func() bool {
				for _, m := range p.rack.Members() {
					if m.Kind == mapping.MemberInput && m.Jack.Kind == instrument.Gate {
						if v, _, _ := p.rack.Value(m.Address); v > 1 && float64(m.Jack.Normal) != v && !cabled(p, m.Address) {
							return false
						}
					}
				}
				return true
			})
		})
	}
}

func cabled(p *player, a mapping.Address) bool {
	for _, c := range p.rack.Patch().Cables {
		if mapping.AddressOf(c.To.Module, c.To.Jack) == a {
			return true
		}
	}
	return false
}

// TestUndoStepsOverTheCase: what a hand does with a cable in the case is no step
// of undo, which goes on to what was done before and says so; and a step that
// would take the meaning of that cable waits until the hand has pulled it.
func TestUndoStepsOverTheCase(t *testing.T) {
	p := stagePlayerAs(t, func(c *mapping.Config) {
		c.Sockets = instrument.Sockets{Outputs: map[string]int{"pods": 0}, Inputs: map[string]int{"service": 0}}
	})
	var said strings.Builder
	p.log = slog.New(slog.NewTextHandler(&said, nil))
	p.rack.Wired = p.wired
	p.does(t, "scene:case")
	const edge, source = "deployment/web/pods->service/web/selector", "deployment/web/pods->cv_out/pods/in"
	const level = "/audio_out/main/level"
	pairs := []mapping.SensedCable{{Output: "pods", Input: "service", Polarity: 1}}
	was, _, err := p.rack.Value(level)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []float64{-11, -12} {
		if err := p.set(turn{address: level, value: v, source: "hand" + fmt.Sprint(v), at: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	p.does(t, "undo")
	p.inCase(pairs)
	p.wantHas(t, "plugged", true, edge)
	p.does(t, "redo")
	p.does(t, "undo")
	if strings.Contains(said.String(), "stays") {
		t.Errorf("of a knob that was turned after the cable it says\n%s", said.String())
	}
	p.does(t, "undo")
	if v, _, _ := p.rack.Value(level); v != was {
		t.Errorf("undone the knob is at %g, was at %g", v, was)
	}
	p.wantHas(t, "undone", true, edge)
	if want := "plug deployment/web/pods -> service/web/selector stays as it is in the case"; !strings.Contains(said.String(), want) {
		t.Errorf("it is not told that %s:\n%s", want, said.String())
	}
	if c, _ := p.history.Previous(); !strings.Contains(staysInCase(c.Since), "stays") {
		t.Error("who asked is not told")
	}
	p.inCase(nil)
	p.wantHas(t, "pulled", false, edge)

	p.does(t, "pull:cv_out/pods/in")
	p.does(t, "plug:"+source)
	p.inCase(pairs)
	for range 4 { // what fails twice is left behind otherwise
		p.refuses(t, "undo", "the cable from pods to service is in the case")
		p.wantHas(t, "refused", true, edge, source)
	}
	p.inCase(nil)
	p.does(t, "undo")
	p.wantHas(t, "with the cable pulled", false, edge, source)
	p.does(t, "undo")
	p.wantHas(t, "and the one before", true, source)
	// Another scene makes of the cable what it will: its undo does not wait.
	p.does(t, "redo")
	p.does(t, "redo")
	p.inCase(pairs)
	p.does(t, "scene:cluster")
	p.does(t, "undo")
	p.wantHas(t, "back in the scene", true, edge, source)
}
