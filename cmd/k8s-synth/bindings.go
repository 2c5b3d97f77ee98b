package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// bindings are the mappings in use. They belong to the control goroutine; nil
// is an instrument without.
type bindings struct {
	p      *player
	engine *bind.Engine
	file   string        // of what is learned
	keep   chan []byte   // what is to be written to it; the newest counts
	kept   chan struct{} // closed when all of that is
	armed  bool          // whether the arm buttons are lit
	// silenced is whether those are that end the silence after a panic.
	silenced bool
	own      []*bind.Map // that are always played
	theirs   []string    // those of the scene
	cache    sync.Map    // of maps by their names
}

const (
	// learnedMap is the mapping that learning writes.
	learnedMap = "learned"
	// dawMap is that of the instrument's own ports.
	dawMap = "daw"
)

// defaultMaps are those that know by the name of a port that they are for it.
var defaultMaps = []string{dawMap, "launchpad"}

// mapLibrary is where mappings are: those of the player, and those that ship.
func mapLibrary() bind.Library {
	dir, err := os.UserConfigDir()
	if err != nil {
		return bind.Library{}
	}
	return bind.Library{Dir: filepath.Join(dir, "k8s-synth", "maps")}
}

// openBindings reads the mappings that were asked for, and what was learned
// before.
func (p *player) openBindings() error {
	names := p.o.maps
	switch {
	case len(names) == 1 && names[0] == off:
		return nil
	case len(names) == 0:
		names = defaultMaps
	}
	library := mapLibrary()
	b := &bindings{p: p, file: library.Path(learnedMap), keep: make(chan []byte, 1), kept: make(chan struct{})}
	var maps []*bind.Map
	for _, n := range names {
		if n == learnedMap {
			continue // it is always there
		}
		m, err := library.Open(n)
		if err != nil {
			return err
		}
		maps = append(maps, m)
	}
	learned, err := bind.Load(b.file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		learned = bind.NewMap(learnedMap, "What was learned")
	case err != nil:
		return err
	}
	b.own = maps
	b.engine = bind.New(maps, p.rack)
	b.engine.LearnInto(learned)
	if err := b.read(p.scene.Bindings); err != nil {
		return err
	}
	b.playTheirs(p.scene.Bindings)
	b.scene(p.scene.Name, sceneNames())
	p.binds = b
	go landed(b.keeps)
	return nil
}

// keeps writes what was learned: the music does not wait for a disk.
func (b *bindings) keeps() {
	defer close(b.kept)
	for data := range b.keep {
		// A copy, because the engine goes on with its own.
		m, err := bind.Parse(b.file, data)
		if err == nil {
			err = errors.Join(os.MkdirAll(filepath.Dir(b.file), 0o700), m.Save(b.file))
		}
		if err != nil {
			b.p.log.Error("learn: not kept", "err", err)
		}
	}
}

// close waits until what was learned is kept.
func (b *bindings) close() {
	if b != nil {
		close(b.keep)
		<-b.kept
	}
}

// learn binds the next control that moves to an address, or with none to
// whatever moves after it.
func (p *player) learn(what, source string) error {
	switch {
	case p.binds == nil:
		return errors.New("learning needs mappings; play without --map off")
	case what == "cancel":
		p.binds.engine.CancelLearn()
		return nil
	case what == "":
		p.binds.engine.LearnControlFirst()
		return nil
	}
	return p.binds.engine.Learn(what, source)
}

// learned tells and keeps what learning came to.
func (b *bindings) learned() {
	for _, e := range b.engine.LearnEvents() {
		b.p.log.Info("learn", "says", e.Text)
		if b.p.osc != nil {
			b.p.osc.says(&b.p.osc.learns, "/learn", b.engine.Learning())
			_ = b.p.osc.Tell("/learn/said", osc.String(e.Text)) // it is for those who look
		}
		if !e.Done {
			continue
		}
		b.p.rewired = true // it may be an address of its own
		data, err := b.engine.User().Encode()
		if err != nil {
			b.p.log.Error("learn: not kept", "err", err)
			continue
		}
		select {
		case <-b.keep: // a newer one takes its place
		default:
		}
		b.keep <- data
	}
}

// read reads the mappings of a scene, anew each time: somebody may be writing
// them. It is for any goroutine.
func (b *bindings) read(names []string) error {
	if b == nil {
		return nil
	}
	for _, n := range names {
		m, err := mapLibrary().Open(n)
		if err != nil {
			return fmt.Errorf("bindings of the scene: %w", err)
		}
		b.cache.Store(n, m)
	}
	return nil
}

// cached is a mapping that was read.
func (b *bindings) cached(name string) *bind.Map {
	if m, ok := b.cache.Load(name); ok {
		return m.(*bind.Map)
	}
	return nil
}

// controls are the OSC addresses that mappings bind.
func (b *bindings) controls() (addresses []string) {
	if b == nil {
		return nil
	}
	for _, m := range b.engine.Maps() {
		for _, x := range m.Bindings {
			for _, c := range x.Controls {
				if c.Kind == bind.OSC && !slices.Contains(addresses, c.Address) {
					addresses = append(addresses, c.Address)
				}
			}
		}
	}
	return addresses
}

// moved plays a control of an OSC client.
func (b *bindings) moved(t turn) {
	if b != nil {
		b.do(b.engine.OSC(t.control, t.value, t.source, t.at))
	}
}

// takeoverStatus is a control that does not hold what it turns.
type takeoverStatus struct {
	Port    string          `json:"port"`
	Control string          `json:"control"`
	Address mapping.Address `json:"address"`
	Have    float64         `json:"have"` // 0…1
	Want    float64         `json:"want"`
}

func (t takeoverStatus) String() string {
	way := "up"
	if t.Want < t.Have {
		way = "down"
	}
	return fmt.Sprintf("%s of %s: %.0f %% %s to pick up %s", t.Control, t.Port, 100*math.Abs(t.Want-t.Have), way, t.Address)
}

func (b *bindings) takeovers() (list []takeoverStatus) {
	if b == nil {
		return nil
	}
	for _, t := range b.engine.Takeovers() {
		list = append(list, takeoverStatus{t.Port, t.Control.String(), t.Address, t.Have, t.Want})
	}
	return list
}

// layer chooses a layer of the mappings.
func (b *bindings) layer(n int) error {
	if b == nil {
		return errors.New("there are no mappings; play without --map off")
	}
	b.engine.SetLayer(n)
	return nil
}

func (b *bindings) resend() {
	if b != nil {
		b.engine.Resend("")
	}
}

// midi plays a message, and tells whether its control is bound to anything.
func (b *bindings) midi(port string, m midi.Message, at time.Time) bool {
	if b == nil {
		return false
	}
	dos := b.engine.MIDI(port, m, at)
	bound := len(dos) > 0 || b.engine.Bound(port, m)
	b.do(dos)
	return bound
}

// do does what controls ask for.
func (b *bindings) do(dos []bind.Do) {
	for _, d := range dos {
		t := turn{address: d.Address, value: d.Value, source: d.Source, at: d.At}
		var err error
		switch d.Kind {
		case bind.DoSet, bind.DoVolts:
			err = b.p.set(t)
		case bind.DoStrike:
			id, jack, _ := d.Address.Split()
			err = b.p.strike(id.Kind(), id.Name(), jack, t)
		case bind.DoAction:
			t.action, t.address = d.Action, ""
			err = b.p.act(t)
		}
		if err != nil {
			b.engine.Refused(d)
			b.p.logRefused(t, err)
		}
	}
}

// tick does and tells what has become due.
func (b *bindings) tick(now time.Time) {
	if b == nil {
		return
	}
	if armed := b.p.arms.Any(now); armed != b.armed {
		b.armed = armed
		b.engine.Lit(actArm, armed)
	}
	if silenced := b.p.rack.Silenced(); silenced != b.silenced {
		b.silenced = silenced
		b.engine.Lit(actResume, silenced)
	}
	b.do(b.engine.Due(now))
	b.learned()
	for _, o := range b.engine.Tick(now) {
		switch {
		case o.Address != "":
			if b.p.osc != nil {
				b.p.osc.controlMoved(o.Address, o.Value, o.Except)
			}
		case b.p.midi != nil:
			// Where the port has gone, it is told everything when it is back.
			_ = b.p.midi.hub.Send(o.Port, time.Time{}, o.Message)
		}
	}
}

// changed, slot, scene and rebind take over what the surfaces show.
func (b *bindings) changed(a mapping.Address, value float64, word, source string) {
	if b != nil {
		b.engine.Changed(a, value, word, source)
	}
}

func (b *bindings) slot(s mapping.Slot) {
	if b != nil {
		b.engine.Slot(s)
	}
}

func (b *bindings) scene(name string, all []string) {
	if b != nil {
		b.engine.SetScenes(all, name)
	}
}

func (b *bindings) rebind() {
	if b != nil {
		b.do(b.engine.Rebind(b.p.rack))
	}
}

// came and gone take over that a port was plugged in or pulled out.
func (b *bindings) came(port string) {
	if b != nil {
		b.engine.Plugged(port)
	}
}

func (b *bindings) gone(port string) {
	if b != nil {
		b.letGo(b.engine.Unplugged(port))
	}
}

// left takes over that clients of OSC are gone, and held tells whether a control
// holds a jack.
func (b *bindings) left(gone func(source string) bool, at time.Time) {
	if b != nil {
		b.letGo(b.engine.Left(gone, at))
	}
}

func (b *bindings) held(a mapping.Address) bool { return b != nil && b.engine.Held(a) }

// letGo does what controls ask for that are gone, but for the jacks that a client
// holds by their addresses.
func (b *bindings) letGo(dos []bind.Do) {
	var rest []bind.Do
	for _, d := range dos {
		if d.Kind == bind.DoVolts && b.p.holds.Held(d.Address) {
			b.engine.Refused(d)
			continue
		}
		rest = append(rest, d)
	}
	b.do(rest)
}

// sceneNames are the scenes that can be played, in the order of their numbers.
func sceneNames() (names []string) {
	list, err := openStore().List()
	if err != nil {
		return nil
	}
	for _, e := range list {
		if e.Err == nil {
			names = append(names, e.Name)
		}
	}
	return names
}
