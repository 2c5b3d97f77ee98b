package main

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// Actions that surfaces ask for, as ACTION or ACTION:WHAT.
const (
	actPanic   = "panic"
	actResume  = "resume" // after a panic
	actUndo    = "undo"
	actRedo    = "redo"
	actArm     = "arm"
	actScene   = "scene"   // name of a scene, or +1 and -1
	actCordon  = "cordon"  // name of a node's module; the other way each time
	actDrain   = "drain"   // name of a node's module
	actRestart = "restart" // name of a Deployment
	actKill    = "kill"    // name of a pod, or slot/N
	actLearn   = "learn"   // an address, nothing, or cancel
	actLayer   = "layer"   // a number
	actResend  = "resend"
	actSave    = "save"  // nothing, or another name
	actPlug    = "plug"  // two jacks, FROM->TO
	actPull    = "pull"  // the jack that holds the cable
	actSense   = "sense" // on, off, or nothing for the other way
)

// act does what a hand asked for by name. It is on the control goroutine.
func (p *player) act(t turn) error {
	name, what, _ := strings.Cut(t.action, ":")
	if err := p.allowed(t); err != nil {
		return err
	}
	if mine, err := p.stageAct(t); mine {
		return err
	}
	switch name {
	case actPanic:
		hush() // the first of all
		p.silenceStage()
		p.glide(0)
		p.replay.silence()
		p.rack.Panic()
		p.midi.panic()
		p.log.Warn("panic: the cluster is silent until \"resume\" or another scene", "by", t.source)
	case actResume:
		p.replay.speak()
		p.stage.panicked = 0 // what was on its way may sound
		if p.rack.Silenced() {
			p.rack.Show()
			p.log.Info("what the panic silenced is back", "by", t.source)
		}
	case actUndo, actRedo:
		return p.undo(name == actRedo, t)
	case actArm:
		p.arms.Arm(clientOf(t.source), time.Now())
		p.log.Info("armed", "by", t.source, "for", bind.ArmWindow)
	case actSave:
		return p.save(what, t.source, nil)
	case actScene:
		w := wish(what, t.source)
		w.answer = t.answer
		return p.wishFor(w)
	case actCordon:
		a := mapping.AddressOf(instrument.ModuleID(mapping.KindNode+"/"+what), "cordon")
		v, _, err := p.rack.Value(a)
		if err != nil {
			return err
		}
		return p.set(turn{address: a, value: 1 - v, source: t.source, at: t.at})
	case actDrain:
		return p.did(t, p.strike(mapping.KindNode, what, "drain", t))
	case actRestart:
		return p.did(t, p.strike(mapping.KindDeployment, what, "restart", t))
	case actKill:
		if n, ok := strings.CutPrefix(what, "slot/"); ok {
			i, err := strconv.Atoi(n)
			if err != nil {
				return fmt.Errorf("%q is no slot; expected slot/1 … slot/%d", what, mapping.SlotCount)
			}
			return p.did(t, p.rack.KillSlot(i-1))
		}
		return p.did(t, p.rack.KillPod(what))
	case actLearn:
		return p.learn(what, t.source)
	case actLayer:
		n, err := strconv.Atoi(what)
		if err != nil {
			return fmt.Errorf("%q is no layer; expected a number", what)
		}
		return p.binds.layer(n)
	case actResend:
		p.binds.resend()
	case actPlug:
		c, err := mapping.ParseCable(what)
		if err != nil {
			return err
		}
		return p.rack.Plug(c, t.source)
	case actSense:
		return p.setSense(what)
	case actSeek:
		return p.seekTo(what, t.source)
	case actPull:
		to, err := instrument.ParseJackRef(what)
		if err != nil {
			return err
		}
		return p.rack.Pull(to, t.source)
	default:
		return fmt.Errorf("there is no action %q", t.action)
	}
	return nil
}

// did says in the log who asked the cluster for something that many will notice.
func (p *player) did(t turn, err error) error {
	if err == nil {
		p.log.Info("asked for", "action", t.action, "by", t.source)
	}
	return err
}

// strike gives a trigger to an input jack.
func (p *player) strike(kind, name, jack string, t turn) error {
	a := mapping.AddressOf(instrument.ModuleID(kind+"/"+name), jack)
	// Its rise may be what cannot be undone, and so may its fall.
	for _, volts := range []float64{instrument.GateVolts, 0} {
		if err := p.allowed(turn{address: a, value: volts, source: t.source}); err != nil {
			return err
		}
	}
	frame := p.played(t)
	if err := p.rack.Set(a, instrument.GateVolts, "", t.source, frame); err != nil {
		return err
	}
	return p.rack.Set(a, 0, "", t.source, frame+int64(triggerSeconds*float64(p.o.device.Rate)))
}

// triggerSeconds is how long a trigger is high.
const triggerSeconds = 0.001

var errNotArmed = errors.New("it cannot be undone: send /arm first, or hold the arm button, and ask again within ten seconds")

// allowed tells whether a source may do what cannot be undone: kill a pod,
// drain a node, switch a namespace off, and play another scene on a cluster
// that is not ours.
func (p *player) allowed(t turn) error {
	do := t.action
	if do == "" {
		id, member, err := t.address.Split()
		if err != nil {
			return err
		}
		switch kind := id.Kind(); {
		case kind == mapping.KindNode && member == "drain" && t.value > 0:
			do = actDrain + ":" + id.Name()
		case kind == mapping.KindNamespace && (member == "power" && (t.word == "off" || t.word == "" && t.value == 0) || member == "power_gate" && t.value <= 1):
			do = "power:" + id.Name()
		default:
			return nil
		}
	}
	last := bind.Destructive(do) || p.clusterArgs != nil && !p.o.listenOnly && stages(do)
	if !last || p.o.armed || t.source == cliSource || p.arms.Armed(clientOf(t.source), time.Now()) {
		return nil
	}
	return fmt.Errorf("%s: %w", do, errNotArmed)
}

// mayRestore tells whether a source may do all of a change, or undo it.
func (p *player) mayRestore(c mapping.Change, again bool, t turn) error {
	for _, s := range c.Steps {
		if err := p.mayRestore(s, again, t); err != nil {
			return err
		}
	}
	switch {
	case c.Act != nil && c.Act.Scene:
		t.action = actScene + ":"
		if p.scene != nil {
			t.action += p.scene.Name
		}
	case c.Address != "":
		to := c.From
		if again {
			to = c.To
		}
		t.address, t.value, t.word, t.action = c.Address, to.Value, to.Word, ""
	default:
		return nil
	}
	return p.allowed(t)
}

// describeChange says in one line what a hand did.
func describeChange(c mapping.Change) string {
	if c.Text != "" {
		return c.Text
	}
	if c.Wiring != nil {
		return c.Wiring.String()
	}
	if c.To.Word != "" || c.From.Word != "" {
		return fmt.Sprintf("%s %q", c.Address, c.To.Word)
	}
	return fmt.Sprintf("%s %.4g", c.Address, c.To.Value)
}

// wired remembers an edit of the patch, and says what it was.
func (p *player) wired(w mapping.Wiring, source string) {
	switch {
	case source != mapping.SourceSense:
		p.history.RecordWiring(p.patchedInMorph(w, source), source, time.Now())
	case p.plugging: // and not what an edit made of the cables that are in the case
		p.history.RecordSensed(w)
	}
	p.web.look()
	p.web.says("hand", source, w.String())
	p.log.Info("patched", "wiring", w.String(), "by", source)
}

// playScene makes a scene that was opened the one that plays, at once. If its
// patch is refused, the one before plays on.
func (p *player) playScene(s *scenes.Scene, set *rule.Set) error {
	return p.playSceneAs(s, set, instrument.Change{})
}

// playSceneAs is playScene with a say in when and how the scene comes.
func (p *player) playSceneAs(s *scenes.Scene, set *rule.Set, change instrument.Change) error {
	p.glide(change.At)
	p.take.scene(s, p.rack.Present(), change)
	load := p.rack.Load
	if change.Launch {
		load = func(patch *instrument.Patch) error { return p.rack.Launch(patch, change.At, change.Crossfade) }
	}
	if err := load(s.Patch); err != nil {
		return fmt.Errorf("scene %s: %w", s.Name, err)
	}
	p.become(s, set)
	p.keep()
	return nil
}

// become makes all of a scene but its patch that of what plays.
func (p *player) become(s *scenes.Scene, set *rule.Set) {
	p.rules.release()
	p.rack.Play(s.Name, s.Storm, s.StormPolicy, s.Notes())
	p.scene, p.rules = s, nil
	if set != nil {
		p.rules = &ruleSet{set: set, rack: p.rack}
	}
	p.hear(p.rules)
	p.binds.playTheirs(s.Bindings)
	p.web.look()
	p.web.says("scene", s.Name, "plays")
	if p.osc != nil {
		p.osc.says(&p.osc.scene, "/scene/load", s.Name)
	}
}

// hear connects what rules say to who hears it.
func (p *player) hear(r *ruleSet) {
	if r == nil {
		return
	}
	r.set.OnFault(func(f rule.Fault) {
		p.problem(mapping.Problem{Where: "rule " + f.Rule, Text: f.First.Error()})
	})
	if p.osc != nil {
		r.tell = p.tell
	}
}

// clientOf names who is behind a source of turns: the machine of an OSC client,
// whose ports come and go, or a MIDI port.
func clientOf(source string) string {
	if a, err := netip.ParseAddrPort(source); err == nil {
		return osc.Peer(a).Addr().String()
	}
	return source
}

// openScene reads and checks a scene that is to live in a namespace. What is
// its name, or +1 or -1 for the one of names after or before now.
func openScene(what, now, namespace string, names []string) (*scenes.Scene, *rule.Set, error) {
	if step, err := strconv.Atoi(what); err == nil && (what[0] == '+' || what[0] == '-') {
		at := slices.Index(names, now)
		if len(names) == 0 {
			return nil, nil, errors.New("there are no scenes")
		}
		if at < 0 && step < 0 {
			at = 0 // before the first is the last; after none is the first
		}
		what = names[((at+step)%len(names)+len(names))%len(names)]
	}
	// What comes over a network names scenes, not files.
	if strings.ContainsAny(what, `/\`) || strings.HasSuffix(what, ".yaml") || strings.HasSuffix(what, ".jsonl") {
		return nil, nil, fmt.Errorf("scene %q: expected a name, such as default", what)
	}
	s, err := openStore().Open(what)
	if err != nil {
		return nil, nil, err
	}
	settle(s, namespace)
	if err := s.Validate(); err != nil {
		return nil, nil, fmt.Errorf("scene %s: %w", s.Name, err)
	}
	var set *rule.Set
	if len(s.Rules) > 0 {
		if set, err = s.CompileRules(); err != nil {
			return nil, nil, fmt.Errorf("scene %s: rules: %w", s.Name, err)
		}
	}
	return s, set, nil
}
