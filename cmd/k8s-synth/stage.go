package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// Actions of the stage, as ACTION or ACTION:WHAT.
const (
	actLaunch   = "launch"   // NAME, NAME:bar or NAME:bar:2, with the seconds of its crossfade
	actMorph    = "morph"    // NAME:SECONDS or NAME:SECONDS:CUT; 0 seconds waits for the fader
	actPosition = "position" // where on the morph, 0…1
	actCancel   = "cancel"
	actSnapshot = "snapshot" // a slot
	actSlot     = "slot"     // a slot
	actSetList  = "setlist"  // a name, or off
	actNext     = "next"
	actPrevious = "previous"
	actRemove   = "remove" // a module, kind/name
)

const (
	// launchAhead is how long before its frame a scene is handed to the engine:
	// longer than the control goroutine ever takes a breath, and a plan to be made
	// (30 ms were not always enough).
	launchAhead = 0.060
	// launchMissed is how late a scene may come that should have been there.
	launchMissed = 0.5
	// morphPeriod is how often a morph goes on.
	morphPeriod = 20 * time.Millisecond
	// morphBack is how long the way back of a whole morph takes that a fader held.
	morphBack = 2.0
	// Cables of a morph change at most cutBurst times at once and cutRate times a
	// second, however a fader trembles at the cut or at an end: it waits on the
	// side where it is, and goes over when there is room.
	cutBurst = 8
	cutRate  = 4.0
	// clusterPeriod is the least time between two topologies of a morph.
	clusterPeriod = 125 * time.Millisecond
	// mostCut bounds the crossfade of cables at the cut of a morph, in seconds.
	mostCut = 4.0
	// morphRest is how long a fader rests at the end of a morph until that is
	// over.
	morphRest = 500 * time.Millisecond
	// mostOnDisk bounds what waits for a disk that does not answer.
	mostOnDisk = 32
)

// onStage is what waits to be played, and what is under way. It belongs to the
// control goroutine.
type onStage struct {
	waiting *launch
	cancels int // how often everything was called off
	morph   *morphing
	list    *scenes.SetList
	entry   int // of the list, which plays; -1 before the first
	// Came is the frame on which the scene that plays came, and panicked that of
	// one on its way at a panic, which is silenced when it is there; 0 is none.
	came, panicked int64
	cuts           cutBudget
	told           time.Time     // when the cluster was told last
	disk           []func()      // what is done with files, in order; the first is being done
	onDisk         chan struct{} // closed when the first is done
	undos          []undoing     // likewise
}

// setPlace is where in a set list one is.
type setPlace struct {
	list  *scenes.SetList
	entry int
}

func (p *player) setPlace() setPlace { return setPlace{p.stage.list, p.stage.entry} }

// takePlace goes to a place, if its list is the one that is open.
func (p *player) takePlace(at setPlace) {
	if at.list != nil && at.list == p.stage.list {
		p.stage.entry = at.entry
	}
}

// cutBudget says how often cables of a morph may change.
type cutBudget struct {
	left float64
	at   time.Time
}

// take takes one, if there is one.
func (b *cutBudget) take(now time.Time) bool {
	b.left = min(b.left+now.Sub(b.at).Seconds()*cutRate, cutBurst)
	if b.at = now; b.left < 1 {
		return false
	}
	b.left--
	return true
}

// onDisk has something done with files, on another goroutine, after all that
// was asked for before. If too much waits already, it is not done at all.
func (p *player) onDisk(f func()) error {
	if n := len(p.stage.disk); n >= mostOnDisk {
		return fmt.Errorf("%d reads and writes of files wait for a disk that does not answer; ask again when it does", n)
	}
	if p.stage.disk = append(p.stage.disk, f); len(p.stage.disk) == 1 {
		p.nextOnDisk()
	}
	return nil
}

func (p *player) nextOnDisk() {
	f, done := p.stage.disk[0], make(chan struct{})
	p.stage.onDisk = done
	go landed(func() {
		f()
		close(done)
		p.call(func() {
			if p.stage.disk = p.stage.disk[1:]; len(p.stage.disk) > 0 {
				p.nextOnDisk()
			}
		})
	})
}

// endDisk has done what still waits for the disk when the control goroutine
// has ended, within a time, and returns how much of it was not.
func (p *player) endDisk(within time.Duration) int {
	end := time.After(within)
	for len(p.stage.disk) > 0 {
		select {
		case <-p.stage.onDisk:
		case <-end:
			return len(p.stage.disk)
		}
		if p.stage.disk = p.stage.disk[1:]; len(p.stage.disk) > 0 {
			p.nextOnDisk()
		}
	}
	return 0
}

// tellCluster publishes what of the patch is the cluster's, if that changed. On
// a morph it hears of it every clusterPeriod at most, and of the newest always.
func (p *player) tellCluster(now time.Time) {
	if p.stage.morph != nil && now.Sub(p.stage.told) < clusterPeriod {
		return
	}
	if t, changed := p.rack.Topology(); changed {
		p.stage.told = now
		p.kube.publish(t)
	}
}

// launch is a scene that was read and waits for its moment.
type launch struct {
	scene     *scenes.Scene
	rules     *rule.Set
	source    string
	quantum   mapping.Quantum
	crossfade float64
	frame     int64 // as last foretold, 0 if it was not
	wish      sceneWish
}

// morphing is a way from one scene to another.
type morphing struct {
	way     *scenes.Morph
	rules   [2]*rule.Set
	source  string
	x       float64
	want    float64 // where it is to go, if cables may not change yet
	seconds float64 // of the whole way; 0: a fader holds it
	back    bool
	began   time.Time // of the way from x0
	x0      float64
	last    time.Time
	rests   time.Time // since when it is at its end, if it is
	entry   setPlace  // where in a set list its end is
	was     setPlace
	places  map[instrument.ModuleID]scenes.Place // of what plays, as it came
	added   map[instrument.ModuleID]bool         // by hands, on the way
}

// sceneWish is a scene that was asked for, or a set list.
type sceneWish struct {
	what      string // a name, or +1 and -1
	setList   *turn  // asked for the set list of that name, or off
	step      int    // +1 and -1, in the set list that is there when its turn comes
	source    string
	quantum   mapping.Quantum // empty: what the scene says
	crossfade float64         // less than 0: what the scene says
	morph     bool
	seconds   float64 // of the morph
	cut       float64
	entry     setPlace // in a set list, if that is not nil
	answer    chan<- error
}

// wish is one with nothing said of how.
func wish(what, source string) sceneWish {
	return sceneWish{what: what, source: source, crossfade: -1, cut: scenes.DefaultCut}
}

// stages tells whether an action brings another scene.
func stages(action string) bool {
	name, what, _ := strings.Cut(action, ":")
	switch name {
	case actLaunch, actSlot, actMorph, actNext, actPrevious:
		return true
	case actScene:
		return what != ""
	}
	return false
}

// stageAct does an action of the stage. It is not mine if the action is
// another's.
func (p *player) stageAct(t turn) (mine bool, err error) {
	name, what, _ := strings.Cut(t.action, ":")
	switch name {
	case actLaunch:
		w, err := parseLaunch(what)
		if err != nil {
			return true, err
		}
		w.source, w.answer = t.source, t.answer
		return true, p.wishFor(w)
	case actMorph:
		w, err := parseMorph(what)
		if err != nil {
			return true, err
		}
		w.source, w.answer = t.source, t.answer
		return true, p.wishFor(w)
	case actPosition:
		x := t.value
		if what != "" {
			if x, err = strconv.ParseFloat(what, 64); err != nil {
				return true, fmt.Errorf("%q is no point of a morph; expected 0 … 1", what)
			}
		}
		return true, p.moveMorph(x)
	case actCancel:
		return true, p.cancel(t.source)
	case actSnapshot, actSlot:
		n, err := strconv.Atoi(what)
		if err != nil {
			return true, fmt.Errorf("%q is no slot; expected %s:1 … %s:%d", what, name, name, scenes.Slots)
		}
		slot, err := scenes.SlotName(n)
		if err != nil {
			return true, err
		}
		if name == actSnapshot {
			return true, p.keepSnapshot(slot, t)
		}
		w := wish(slot, t.source)
		w.answer = t.answer
		return true, p.wishFor(w)
	case actRemove:
		return true, p.rack.Remove(instrument.ModuleID(what), t.source)
	case actSetList:
		return true, p.openSetList(what, t)
	case actNext, actPrevious:
		return true, p.stepScene(name == actNext, t)
	}
	return false, nil
}

// parseLaunch reads NAME, NAME:WHEN and NAME:WHEN:CROSSFADE.
func parseLaunch(what string) (w sceneWish, err error) {
	parts := strings.Split(what, ":")
	w = wish(parts[0], "")
	if len(parts) > 3 || parts[0] == "" {
		return w, fmt.Errorf("%q is no launch; expected NAME, NAME:bar or NAME:bar:2, which is the seconds of its crossfade", what)
	}
	if len(parts) > 1 && parts[1] != "" {
		w.quantum = mapping.Quantum(parts[1])
		if err := w.quantum.Check(); err != nil {
			return w, err
		}
	}
	if len(parts) > 2 {
		if w.crossfade, err = seconds("crossfade", parts[2], scenes.MaxCrossfade); err != nil {
			return w, err
		}
	}
	return w, nil
}

// parseMorph reads NAME:SECONDS and NAME:SECONDS:CUT.
func parseMorph(what string) (w sceneWish, err error) {
	parts := strings.Split(what, ":")
	w = wish(parts[0], "")
	w.morph = true
	if len(parts) < 2 || len(parts) > 3 || parts[0] == "" {
		return w, fmt.Errorf("%q is no morph; expected NAME:SECONDS, where 0 waits for the fader, or NAME:SECONDS:0.5 with the point where cables change", what)
	}
	if w.seconds, err = seconds("morph", parts[1], scenes.MaxMorph); err != nil {
		return w, err
	}
	if len(parts) > 2 {
		if w.cut, err = seconds("cut", parts[2], 1); err != nil {
			return w, err
		}
	}
	return w, nil
}

func seconds(what, text string, most float64) (float64, error) {
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > most {
		return 0, fmt.Errorf("%s is a number from 0 to %g, got %q", what, most, text)
	}
	return v, nil
}

// mostWishes bounds how many scenes are asked for before the first is there.
const mostWishes = 16

// changeScene plays another scene: by name, or one further or back in the
// list.
func (p *player) changeScene(what, source string) error { return p.wishFor(wish(what, source)) }

// wishFor has a scene read and played. What is asked for meanwhile comes after
// it: two steps are two scenes.
func (p *player) wishFor(w sceneWish) error {
	if len(p.wishes) >= mostWishes {
		return errBusy
	}
	if p.wishes = append(p.wishes, w); len(p.wishes) == 1 {
		p.readScene()
	}
	return nil
}

// errCancelled is what becomes of a scene that was asked for before a panic.
var errCancelled = errors.New("it was called off while it was being read")

// comes is the scene that plays, or the one that waits to.
func (p *player) comes() *scenes.Scene {
	if w := p.stage.waiting; w != nil {
		return w.scene
	}
	return p.scene
}

// readScene reads what was asked for first, and plays it. It is read elsewhere,
// because files take their time.
func (p *player) readScene() {
	w := p.wishes[0]
	if w.setList != nil {
		p.readSetList(w)
		return
	}
	if w.step != 0 {
		at, err := p.stepped(w)
		if err != nil {
			p.granted(w, err)
			return
		}
		w = at
		p.wishes[0] = w // the next steps are from there
	}
	now, namespace, cancels := p.comes().Name, p.scene.Namespace, p.stage.cancels
	err := p.onDisk(func() { // what was saved before is there
		all := sceneNames()
		s, rules, err := openScene(w.what, now, namespace, all)
		if slot := scenes.SlotOf(w.what); slot > 0 && errors.Is(err, scenes.ErrNotFound) {
			err = fmt.Errorf("slot %d is empty; snapshot:%d keeps what plays in it: %w", slot, slot, scenes.ErrNotFound)
		}
		if err == nil {
			err = p.binds.read(s.Bindings)
		}
		p.call(func() {
			switch {
			case err == nil && p.stage.cancels != cancels:
				err = errCancelled
			case err == nil:
				err = p.enter(w, s, rules)
			}
			if err == nil {
				p.binds.scene(p.scene.Name, all)
			}
			p.granted(w, err)
		})
	})
	if err != nil {
		p.granted(w, err)
	}
}

// granted tells what became of what was asked for first, and goes on with the
// next.
func (p *player) granted(w sceneWish, err error) {
	if err != nil {
		t, what, address := turn{source: w.source}, "scene", "/scene/load"
		if w.setList != nil {
			t, what, address = *w.setList, "set list", "/scene/setlist"
		}
		p.log.Warn(what, "err", err, "by", w.source)
		p.web.refused(t, err)
		if p.osc != nil {
			p.osc.refused(turn{address: mapping.Address(address), source: w.source}, err)
		}
	}
	if w.answer != nil {
		w.answer <- err
	}
	if p.wishes = p.wishes[1:]; len(p.wishes) > 0 {
		p.readScene()
	}
}

// enter has a scene that was read wait for its moment, or begins the way to it.
// It takes the place of one that waited.
func (p *player) enter(w sceneWish, s *scenes.Scene, rules *rule.Set) error {
	if w.morph {
		return p.beginMorph(w, s, rules)
	}
	l := &launch{scene: s, rules: rules, source: w.source, quantum: cmp.Or(w.quantum, s.Transport.Launch), crossfade: w.crossfade, wish: w}
	if l.crossfade < 0 {
		l.crossfade = s.Transport.Crossfade
	}
	p.stage.waiting = l
	if err := p.goOn(); err != nil {
		return err
	}
	if p.stage.waiting == l {
		p.log.Info("scene waits", "name", s.Name, "for", l.quantum, "by", l.source)
		p.web.says("scene", s.Name, "waits for the next "+string(l.quantum))
	}
	p.tellStage()
	return nil
}

// goOn launches what waits, if its moment has come.
func (p *player) goOn() error {
	if at := p.stage.panicked; at > 0 && p.rack.Meters().Frame >= at {
		p.stage.panicked = 0
		p.rack.Panic()
	}
	l := p.stage.waiting
	if l == nil {
		return nil
	}
	rate := int64(p.o.device.Rate)
	hand := p.hand(time.Now())
	now := p.countedBy()
	t := now.Transport
	frame, ok := p.rack.Next(l.quantum, t.Clock, t.Phrase, hand)
	if now.ClockOf() == nil {
		frame, ok = t.Next(l.quantum, p.stage.came, hand, float64(rate))
	}
	switch {
	case !ok && l.quantum != mapping.Now && now.ClockOf() != nil && hand-p.stage.came < rate/4:
		return nil // the Clock has only just come, and has not told of a beat yet
	case !ok, l.frame > 0 && hand > l.frame && hand < l.frame+int64(launchMissed*float64(rate)):
		frame = 0
	case float64(frame-hand) > launchAhead*float64(rate):
		l.frame = frame
		return nil
	}
	p.stage.waiting = nil
	defer p.tellStage()
	return p.launchNow(l, frame)
}

// countedBy is the scene that plays as far as its time goes: with the Clocks that
// are there now.
func (p *player) countedBy() *scenes.Scene {
	s := &scenes.Scene{Transport: p.scene.Transport, Patch: p.rack.Patch()}
	if s.ClockOf() == nil {
		s.Transport.Clock = "" // a hand has taken it out; another may be there
	}
	return s
}

// launchNow plays a scene from a frame on, 0 at once.
func (p *player) launchNow(l *launch, frame int64) error {
	p.dropMorph()
	before, was := p.playedNow(), p.setPlace()
	if err := p.playSceneAs(l.scene, l.rules, instrument.Change{At: frame, Launch: true, Crossfade: l.crossfade}); err != nil {
		p.log.Warn("scene", "err", err, "by", l.source)
		return err
	}
	if p.stage.came = frame; frame == 0 {
		p.stage.came = p.hand(time.Now())
	}
	p.stage.panicked = 0 // it is another scene by now
	p.takePlace(l.wish.entry)
	p.rememberScene(before, was, l.source)
	p.log.Info("scene", "name", l.scene.Name, "by", l.source, "frame", frame, "crossfade", l.crossfade)
	return nil
}

// rememberScene lets a change of the scene be undone: the one before comes back
// with every knob where it stood, and the set list goes back to where it was.
func (p *player) rememberScene(before *scenes.Scene, was setPlace, source string) {
	is := p.setPlace()
	var after *scenes.Scene
	p.history.RecordAct("scene "+before.Name+" → "+p.scene.Name, mapping.Act{Scene: true, Do: func(again bool) error {
		p.stage.waiting = nil
		to, from := &before, &after
		if again {
			to, from = &after, &before
		}
		now := p.playedNow()
		if err := p.showScene(*to); err != nil {
			return err
		}
		*from = now
		if again {
			p.takePlace(is)
		} else {
			p.takePlace(was)
		}
		p.tellStage()
		return nil
	}}, source, time.Now())
}

// showScene plays a scene at once, as it stood.
func (p *player) showScene(s *scenes.Scene) error {
	var set *rule.Set
	if len(s.Rules) > 0 {
		var err error
		if set, err = s.CompileRules(); err != nil {
			return fmt.Errorf("scene %s: rules: %w", s.Name, err)
		}
	}
	if err := p.playSceneAs(s, set, instrument.Change{Launch: true}); err != nil {
		return err
	}
	p.stage.came, p.stage.panicked = p.hand(time.Now()), 0
	p.tellStage()
	return nil
}

// cancel takes back what waits, and lets a morph go the way back that it came.
func (p *player) cancel(source string) error {
	l, m := p.stage.waiting, p.stage.morph
	if l == nil && m == nil {
		return errors.New("no scene waits, and no morph is under way")
	}
	if l != nil {
		p.stage.waiting = nil
		p.log.Info("scene does not come", "name", l.scene.Name, "by", source)
		p.web.says("scene", l.scene.Name, "does not come")
	}
	if m != nil {
		if m.seconds == 0 {
			m.seconds = morphBack
		}
		m.back, m.x0, m.began = true, m.x, time.Now()
		p.log.Info("morph goes back", "by", source)
	}
	p.tellStage()
	return nil
}

// silenceStage lets nothing come by itself after a panic.
func (p *player) silenceStage() {
	if at := p.stage.came; at > p.rack.Meters().Frame {
		p.stage.panicked = at // the engine has it already, with all that it plays
	}
	p.stage.waiting = nil
	p.stage.cancels++ // of what is being read, too
	kept := p.wishes[:min(len(p.wishes), 1)]
	for _, w := range p.wishes[len(kept):] {
		switch {
		case w.setList != nil: // no sound
			kept = append(kept, w)
		case w.answer != nil:
			w.answer <- errCancelled
		}
	}
	p.wishes = kept
	p.dropMorph()
	p.tellStage()
}

// beginMorph begins the way from what plays to a scene.
func (p *player) beginMorph(w sceneWish, s *scenes.Scene, rules *rule.Set) error {
	way, err := scenes.NewMorph(p.playedNow(), s, w.cut)
	if err != nil {
		return err // what waits, and a morph that is under way, go on
	}
	p.dropMorph()
	p.stage.waiting = nil
	m := &morphing{way: way, source: w.source, seconds: w.seconds, began: time.Now(), entry: w.entry, was: p.setPlace(),
		places: maps.Clone(p.scene.Places), added: map[instrument.ModuleID]bool{}}
	m.rules[1] = rules
	if p.rules != nil {
		m.rules[0] = p.rules.set
	}
	p.stage.morph = m
	p.log.Info("morph", "from", p.scene.Name, "to", s.Name, "seconds", w.seconds, "cut", w.cut, "by", w.source)
	p.web.says("scene", s.Name, "comes in a morph")
	p.tellStage()
	return nil
}

// goMorph goes on with a morph that goes by itself.
func (p *player) goMorph(now time.Time) {
	m := p.stage.morph
	if m == nil || now.Sub(m.last) < morphPeriod {
		return
	}
	m.last = now
	if m.seconds == 0 {
		if m.want == m.x {
			if m.x == 1 && now.Sub(m.rests) >= morphRest {
				p.endMorph()
			}
			return
		}
		if err := p.stepMorph(m.want); err != nil {
			p.problem(mapping.Problem{Where: "morph", Text: err.Error()})
			m.want = m.x // the fader may try again
		}
		return
	}
	way := now.Sub(m.began).Seconds() / m.seconds
	if m.back {
		way = -way
	}
	if err := p.stepMorph(min(max(m.x0+way, 0), 1)); err != nil {
		p.problem(mapping.Problem{Where: "morph", Text: err.Error()})
		p.dropMorph()
		p.tellStage()
		return
	}
	if m.back && m.x == 0 || !m.back && m.x == 1 {
		p.endMorph()
	}
}

// endMorph ends a morph that is at one of its ends.
func (p *player) endMorph() {
	p.log.Info("morph is over", "scene", p.scene.Name)
	p.dropMorph()
	p.tellStage()
}

// moveMorph goes to a point of the morph, as a fader does. From then on the
// fader holds it, until it has rested at the end.
func (p *player) moveMorph(x float64) error {
	m := p.stage.morph
	if m == nil {
		return errors.New("there is no morph; begin one, such as morph:ambient:0")
	}
	if math.IsNaN(x) || x < 0 || x > 1 {
		return fmt.Errorf("%g is no point of a morph; expected 0 … 1", x)
	}
	m.seconds, m.back = 0, false
	if err := p.stepMorph(x); err != nil {
		return err
	}
	p.tellStage()
	return nil
}

// stepMorph does what changes up to a point of the way, or as much of it as
// may change now; goMorph does the rest. Where the patch is refused, the morph
// stays where it was.
func (p *player) stepMorph(x float64) error {
	m := p.stage.morph
	m.want = x
	if in := m.way.Within(x); in != x && !p.stage.cuts.take(time.Now()) {
		x = in
	}
	back := m.way.Mark()
	s := m.way.Step(x)
	if s.Patch != nil {
		p.carryPlaces()
		change := instrument.Change{Launch: true}
		if s.Cut {
			change.Crossfade = min(m.seconds/8, mostCut)
			p.glide(0)
		}
		next, rules := m.way.From(), m.rules[0]
		if s.After {
			next, rules = m.way.To(), m.rules[1]
		}
		played := *next
		played.Patch, played.Tunings = s.Patch, m.way.Tunings(s.Patch)
		p.take.scene(&played, p.rack.Present(), change)
		if err := p.rack.Launch(s.Patch, 0, change.Crossfade); err != nil {
			back()
			m.want = m.x
			return err
		}
		p.stage.panicked = 0
		if s.Cut || (s.From || s.To) && p.scene.Name != next.Name {
			p.become(next, rules)
			p.stage.came = p.hand(time.Now())
			m.places = maps.Clone(p.scene.Places)
		}
	}
	if x == 1 && m.x != 1 {
		m.rests = time.Now()
	}
	m.x = x
	var errs []error
	for _, c := range s.Params {
		// A module that a hand has taken out meanwhile has nothing to turn.
		if err := p.rack.Set(c.Address, c.Value, c.Word, "", 0); err != nil && !errors.Is(err, mapping.ErrNoAddress) {
			errs = append(errs, err)
		}
	}
	p.tellPosition()
	return errors.Join(errs...)
}

// dropMorph leaves a morph where it is: what plays goes on, and one undo brings
// back what was before it.
func (p *player) dropMorph() {
	m := p.stage.morph
	if m == nil {
		return
	}
	p.carryPlaces()
	// What both scenes brought stays as long as the modules of both.
	if t := m.way.Tunings(p.rack.Patch()); !maps.Equal(t, p.scene.Tunings) {
		own := *p.scene
		own.Tunings = t
		p.scene = &own
	}
	p.stage.morph = nil
	if m.x == 1 {
		p.takePlace(m.entry)
	}
	if m.x > 0 {
		p.rememberScene(m.way.From(), m.was, m.source)
	}
	p.keep()
	p.web.look()
}

// held leaves a param of a morph to the hand that has just turned it. Undone is
// the morph first and the turn after it, in the first scene: there the knob goes
// back to where it stood in that, and a knob that is not in it is no step.
func (p *player) held(a mapping.Address) {
	m := p.stage.morph
	if m == nil {
		return
	}
	v, word, err := p.rack.Value(a)
	if err != nil {
		return
	}
	from, there, on := m.way.Hold(a, v, word)
	if !there {
		p.history.Forget(a)
	} else if on != nil {
		p.history.Rebase(a, *on, from)
	}
}

// patchedInMorph does what a hand patched on a morph to both of its scenes, and
// returns what is to be undone of it: what it did to the first, in which an undo
// of the morph ends. What is only in the other one comes and goes with the morph.
func (p *player) patchedInMorph(w mapping.Wiring, source string) mapping.Wiring {
	m := p.stage.morph
	if m == nil {
		return w
	}
	for _, mod := range w.Added {
		m.added[mod.ID] = true
	}
	from, to := m.way.Rewire(w)
	inFrom, inTo := from.String(), to.String()
	// Those of the case are in no scene.
	from.Overruled, from.Let = w.Overruled, w.Let
	w.Overruled, w.Let = nil, nil
	if w.String() == "" {
		return from
	}
	said := ""
	switch a, b := m.way.From().Name, m.way.To().Name; {
	case inFrom == "" && inTo == "":
		said = "lasts until the morph goes on: it fits neither " + a + " nor " + b
	case inFrom == "":
		said = "is only in " + b + ", not in " + a
	case inTo == "":
		said = "is only in " + a + ", not in " + b
	case inFrom != inTo:
		said = "is in " + a + ": " + inFrom + "; in " + b + ": " + inTo
	}
	if said != "" {
		p.web.says("morph", w.String(), said)
		p.log.Info("patched in a morph", "wiring", w.String(), "what", said, "by", source)
	}
	return from
}

// patched is what is patched by hands on a morph, to tell later what has changed;
// nil where there is no morph.
func (p *player) patched() *instrument.Patch {
	if p.stage.morph == nil {
		return nil
	}
	patch := p.rack.Patch().Clone()
	sensed := p.rack.SensedCables()
	patch.Cables = slices.DeleteFunc(patch.Cables, func(c instrument.Cable) bool { return slices.Contains(sensed, c) })
	return patch
}

// adoptedInMorph does to both scenes of a morph what another hand has edited in
// the topology: what it turned stands where it left it, what it patched is in
// each where it fits. The history is not told, as of no edit in the cluster.
func (p *player) adoptedInMorph(were *instrument.Patch, changed []mapping.Address, source string) {
	m := p.stage.morph
	if m == nil || were == nil {
		return
	}
	if w := mapping.WiringBetween(were, p.patched()); w.String() != "" {
		p.patchedInMorph(w, source)
	}
	for _, a := range changed {
		if at, err := p.rack.Member(a); err == nil && (at.Kind == mapping.MemberParam || at.Kind == mapping.MemberText) {
			v, word, _ := p.rack.Value(a)
			m.way.Hold(a, v, word)
		}
	}
}

// carryPlaces takes along where hands have put modules since the scene that
// plays in a morph came.
func (p *player) carryPlaces() {
	m := p.stage.morph
	for id, at := range p.scene.Places {
		if was, ok := m.places[id]; m.added[id] || ok && was != at {
			m.way.Place(id, at)
		}
	}
}

// keepSnapshot keeps what plays in a slot.
func (p *player) keepSnapshot(slot string, t turn) error {
	s := p.playedNow()
	s.Name = slot
	return p.onDisk(func() {
		path, was, is, err := openStore().SaveOver(s)
		all := sceneNames()
		p.call(func() {
			if t.answer != nil {
				t.answer <- err
			}
			if err != nil {
				p.log.Warn("snapshot", "err", err, "by", t.source)
				p.web.refused(t, err)
				return
			}
			p.log.Info("snapshot", "slot", slot, "file", path, "by", t.source)
			p.web.says("scene", slot, "is what plays now")
			p.binds.scene(p.scene.Name, all)
			p.relist()
			p.history.RecordAct("snapshot in "+strings.Replace(slot, "-", " ", 1), mapping.Act{Later: func(again bool, done func(error)) {
				text := was
				if again {
					text = is
				}
				p.restoreFile(slot, text, done)
			}}, t.source, time.Now())
			p.web.look()
		})
	})
}

// restoreFile brings back what a slot's file held; nil is no file.
func (p *player) restoreFile(slot string, text []byte, done func(error)) {
	err := p.onDisk(func() {
		err := openStore().Replace(slot, text)
		all := sceneNames()
		p.call(func() {
			p.binds.scene(p.scene.Name, all)
			p.relist()
			done(err)
		})
	})
	if err != nil {
		done(err)
	}
}

// replaceFile writes a file whole or not at all; a new one is private.
func replaceFile(path string, data []byte) error {
	return document.WriteWhole(path, 0o600, document.Bytes(data))
}

// openSetList has the list read that next and previous step through. Steps that
// are asked for after it are steps in it.
func (p *player) openSetList(name string, t turn) error {
	if name == off || name == "" {
		name = off
		if !p.listComes() {
			p.takeSetList(nil, t)
			return nil
		}
	}
	w := wish(name, t.source)
	w.setList, w.answer = &t, t.answer
	return p.wishFor(w)
}

// listComes tells whether a set list is being read, or is to be, or steps in one
// are still to be found.
func (p *player) listComes() bool {
	return slices.ContainsFunc(p.wishes, func(w sceneWish) bool { return w.setList != nil || w.step != 0 })
}

// readSetList reads the set list that was asked for first.
func (p *player) readSetList(w sceneWish) {
	if w.what == off {
		p.takeSetList(nil, turn{source: w.source})
		p.granted(w, nil)
		return
	}
	err := p.onDisk(func() {
		var l *scenes.SetList
		var err error
		if strings.ContainsAny(w.what, `/\`) || strings.HasSuffix(w.what, ".yaml") {
			err = fmt.Errorf("set list %q: expected a name", w.what)
		} else if l, err = openStore().OpenSetList(w.what); err == nil {
			err = openStore().Check(l)
		}
		p.call(func() {
			if err == nil {
				p.takeSetList(l, turn{source: w.source})
			}
			p.granted(w, err)
		})
	})
	if err != nil {
		p.granted(w, err)
	}
}

// takeSetList makes a list the one that is stepped through; nil is none.
func (p *player) takeSetList(l *scenes.SetList, t turn) {
	p.stage.list, p.stage.entry = l, -1
	if l != nil {
		p.log.Info("set list", "name", l.Name, "scenes", len(l.Entries), "by", t.source)
	}
	p.tellStage()
	if t.answer != nil {
		t.answer <- nil
	}
}

// stepScene plays the next scene or the one before: of the set list, or where
// there is none of all.
func (p *player) stepScene(on bool, t turn) error {
	w := wish("", t.source)
	w.answer, w.step = t.answer, -1
	if on {
		w.step = 1
	}
	if p.listComes() {
		return p.wishFor(w) // it is a step in that
	}
	w, err := p.stepped(w)
	if err != nil {
		return err
	}
	return p.wishFor(w)
}

// stepped returns the wish for the scene to which a step goes, from the one that
// comes last by now.
func (p *player) stepped(step sceneWish) (sceneWish, error) {
	l, on := p.stage.list, step.step > 0
	if l == nil {
		w := wish(map[bool]string{true: "+1", false: "-1"}[on], step.source)
		w.answer = step.answer
		return w, nil
	}
	at := p.stage.entry
	if w := p.stage.waiting; w != nil && w.wish.entry.list == l {
		at = w.wish.entry.entry
	} else if m := p.stage.morph; m != nil && m.entry.list == l {
		at = m.entry.entry
	}
	if n := len(p.wishes); n > 0 && p.wishes[n-1].entry.list == l {
		at = p.wishes[n-1].entry.entry
	}
	if on {
		at++
	} else {
		at--
	}
	if at < 0 || at >= len(l.Entries) {
		return step, fmt.Errorf("the set list %s ends here; it has %d scenes", l.Name, len(l.Entries))
	}
	e := l.Entries[at]
	w := wish(e.Scene, step.source)
	w.entry, w.answer, w.quantum, w.crossfade = setPlace{l, at}, step.answer, e.Launch, e.Crossfade
	if on && e.Morph > 0 {
		w.morph, w.seconds, w.cut = true, e.Morph, e.Cut
	}
	return w, nil
}

// waitingStatus is a scene that waits for its moment.
type waitingStatus struct {
	Scene     string          `json:"scene"`
	Title     string          `json:"title"`
	For       mapping.Quantum `json:"for"`
	Crossfade float64         `json:"crossfade"` // s
	In        float64         `json:"in"`        // s until it is heard
}

func (p *player) waitingStatus() *waitingStatus {
	l := p.stage.waiting
	if l == nil {
		return nil
	}
	s := &waitingStatus{Scene: l.scene.Name, Title: l.scene.Title, For: l.quantum, Crossfade: l.crossfade}
	if l.frame > 0 {
		s.In = max(float64(l.frame)-p.device.Now(), 0) / float64(p.o.device.Rate)
	}
	return s
}

// morphStatus is a way from scene to scene that is under way.
type morphStatus struct {
	From     string  `json:"from"`
	To       string  `json:"to"`
	Position float64 `json:"position"` // 0…1
	Cut      float64 `json:"cut"`      // where cables change, 0…1
	Seconds  float64 `json:"seconds"`  // of the whole way; 0 where a fader holds it
	Back     bool    `json:"back,omitempty"`
	Held     bool    `json:"held,omitempty"` // by a fader
}

func (p *player) morphStatus() *morphStatus {
	m := p.stage.morph
	if m == nil {
		return nil
	}
	return &morphStatus{m.way.From().Name, m.way.To().Name, m.x, m.way.Cut(), m.seconds, m.back, m.seconds == 0}
}

// setListStatus is the list that is stepped through.
type setListStatus struct {
	Name   string   `json:"name"`
	Title  string   `json:"title"`
	Scenes []string `json:"scenes"`
	Entry  int      `json:"entry"` // that plays, from 1; 0 before the first
	Note   string   `json:"note,omitempty"`
	Next   string   `json:"next,omitempty"`
}

func (p *player) setListStatus() *setListStatus {
	l := p.stage.list
	if l == nil {
		return nil
	}
	s := &setListStatus{Name: l.Name, Title: l.Title, Entry: p.stage.entry + 1}
	for _, e := range l.Entries {
		s.Scenes = append(s.Scenes, e.Scene)
	}
	if i := p.stage.entry; i >= 0 {
		s.Note = l.Entries[i].Note
	}
	if i := p.stage.entry + 1; i < len(l.Entries) {
		s.Next = l.Entries[i].Scene
	}
	return s
}

// tellStage tells the surfaces what waits.
func (p *player) tellStage() {
	if p.web != nil {
		p.web.told = time.Time{} // the status goes out at once
	}
	if p.osc == nil {
		return
	}
	waits := ""
	if l := p.stage.waiting; l != nil {
		waits = l.scene.Name
	}
	list := ""
	if l := p.stage.list; l != nil {
		list = l.Name
	}
	p.osc.saysNew(&p.osc.waiting, "/scene/waiting", waits)
	p.osc.saysNew(&p.osc.setlist, "/scene/setlist", list)
	p.tellPosition()
}

// tellPosition tells where on its way a morph is.
func (p *player) tellPosition() {
	x := 0.0
	if m := p.stage.morph; m != nil {
		x = m.x
	}
	if p.osc != nil {
		p.osc.positionMoved(x)
	}
	if p.web != nil && p.stage.morph != nil {
		p.web.Changed("/scene/morph/position", x, "", "") // between two statuses
	}
}

// playTheirs plays the mappings that a scene names beside those that are always
// played.
func (b *bindings) playTheirs(names []string) {
	if b == nil || slices.Equal(names, b.theirs) {
		return
	}
	maps := slices.Clone(b.own)
	for _, n := range names {
		if m := b.cached(n); m != nil && !slices.Contains(maps, m) {
			maps = append(maps, m)
		}
	}
	if u := b.engine.User(); u != nil {
		maps = append(maps, u) // what was learned counts most
	}
	b.theirs = slices.Clone(names)
	b.do(b.engine.SetMaps(maps))
	b.p.rewired = true // they may bind addresses of their own
}
