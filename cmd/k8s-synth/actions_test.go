package main

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// noMap binds nothing.
const noMap = "version: 1\nname: test\nbindings: []\n"

// handsOn is a player of a scene that is played by hand, without a cluster.
func handsOn(t *testing.T, scene, maps string) *player {
	t.Helper()
	return handsOnAs(t, scene, maps, func(*mapping.Config) {})
}

// handsOnAs is handsOn with a say in how the rack is set up.
func handsOnAs(t *testing.T, scene, maps string, change func(*mapping.Config)) *player {
	t.Helper()
	store := &scenes.Store{}
	s, err := store.Open(scene)
	if err != nil {
		t.Fatal(err)
	}
	o := playOptions{device: hardware.Settings{Backend: "null", Rate: 48000, Depth: 8}}
	if o.device, err = o.device.ApplyDefaults(); err != nil {
		t.Fatal(err)
	}
	c := mapping.Config{SampleRate: 48000, Channels: 2, Scene: s.Name, Namespace: s.Namespace, Program: compileProgram}
	change(&c)
	p := &player{o: o, log: slog.New(slog.NewTextHandler(io.Discard, nil)), scene: s,
		rack:  mapping.NewRack(c),
		calls: make(chan func(), 16), turns: make(chan turn, 16), panics: make(chan turn, 1), ended: make(chan struct{}), problems: map[string]time.Time{},
		clocks: mapping.NewEstimators(48000)}
	if err := p.rack.Load(s.Patch); err != nil {
		t.Fatal(err)
	}
	if p.device, err = hardware.Open(t.Context(), p.o.device, p.rack.Engine); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.device.Close() })
	if err := p.device.Start(); err != nil {
		t.Fatal(err)
	}
	m, err := bind.Parse("test.yaml", []byte(maps))
	if err != nil {
		t.Fatal(err)
	}
	p.binds = &bindings{p: p, engine: bind.New([]*bind.Map{m}, p.rack)}
	p.midi = &midiSurface{log: p.log, peers: map[string]*midiPeer{}}
	p.rack.Changed = p.changed
	return p
}

// What cannot be undone needs an armed hand, whatever way it is asked for.
func TestArming(t *testing.T) {
	p := handsOn(t, "cluster", noMap)
	node, namespace := "", ""
	for _, m := range p.rack.Patch().Modules {
		switch m.ID.Kind() {
		case mapping.KindNode:
			node = m.ID.Name()
		case mapping.KindNamespace:
			namespace = m.ID.Name()
		}
	}
	if node == "" || namespace == "" {
		t.Fatalf("the scene has node %q and namespace %q", node, namespace)
	}
	const hand = "127.0.0.1:4000"
	power := mapping.Address("/namespace/" + namespace + "/power")
	gate := power + "_gate"
	drain := mapping.Address("/node/" + node + "/drain")
	strike := func(a mapping.Address) func(string) error {
		return func(by string) error {
			id, jack, _ := a.Split()
			return p.strike(id.Kind(), id.Name(), jack, turn{address: a, source: by, at: time.Now()})
		}
	}
	set := func(a mapping.Address, v float64, w string) func(string) error {
		return func(by string) error {
			return p.set(turn{address: a, value: v, word: w, source: by, at: time.Now()})
		}
	}
	act := func(what string) func(string) error {
		return func(by string) error { return p.act(turn{action: what, source: by, at: time.Now()}) }
	}
	ways := []struct {
		name string
		do   func(by string) error
	}{
		{"volts on drain", set(drain, 10, "")}, {"a trigger on drain", strike(drain)}, {"drain by name", act("drain:" + node)},
		{"a trigger on the power gate", strike(gate)}, {"no volts on the power gate", set(gate, 0, "")}, {"one volt on the power gate", set(gate, 1, "")},
		{"the power's word", set(power, 0, "off")}, {"the power's number", set(power, 0, "")},
		{"a slot", act("kill:slot/1")}, {"a pod", act("kill:web-1")},
	}
	for _, w := range ways {
		if err := w.do(hand); !errors.Is(err, errNotArmed) {
			t.Errorf("%s by a hand that is not armed: %v", w.name, err)
		}
	}
	// On is no harm, and to take it back is.
	on := func() {
		t.Helper()
		if err := p.rack.Set(power, 0, "off", "", 0); err != nil {
			t.Fatal(err)
		}
		if err := set(power, 0, "on")(hand); err != nil {
			t.Fatal(err)
		}
	}
	on()
	for range 2 {
		if err := act("undo")(hand); !errors.Is(err, errNotArmed) {
			t.Errorf("undo of a namespace's power: %v", err)
		}
	}
	if v, _, _ := p.rack.Value(power); v == 0 {
		t.Error("an undo that was refused switched the namespace off")
	}
	if err := act("arm")("127.0.0.1:4001"); err != nil {
		t.Fatal(err)
	}
	if err := act("undo")(hand); err != nil {
		t.Errorf("undo by a hand that is armed: %v", err)
	}
	if v, _, _ := p.rack.Value(power); v != 0 {
		t.Error("an undo that was refused could not be asked for again")
	}
	for _, w := range ways {
		if err := w.do(hand); errors.Is(err, errNotArmed) {
			t.Errorf("%s by a hand that is armed: %v", w.name, err)
		}
		if err := w.do("192.168.1.9:4000"); !errors.Is(err, errNotArmed) {
			t.Errorf("%s by somebody else: %v", w.name, err)
		}
	}
}

// A drain that a controller is mapped to is struck, and needs arming as well.
func TestArmingOfControllers(t *testing.T) {
	p := handsOn(t, "cluster", `
version: 1
name: test
bindings:
  - {control: note 1, to: "/node/*/drain[1]"}
  - {control: note 2, to: arm}
`)
	struck := func() bool {
		for i := range p.rack.Patch().Modules {
			if id := p.rack.Patch().Modules[i].ID; id.Kind() == mapping.KindNode {
				if v, _, _ := p.rack.Value(mapping.AddressOf(id, "drain")); v != 0 {
					return true
				}
			}
		}
		return false
	}
	seen := 0
	p.rack.Changed = func(a mapping.Address, v float64, _, _ string) {
		if strings.HasSuffix(string(a), "/drain") && v > 0 {
			seen++
		}
	}
	press := func(key int) {
		for _, m := range []midi.Message{midi.On(0, key, 100), midi.Off(0, key, 0)} {
			p.midiCame(port.In{Port: "pads", At: time.Now(), Message: m})
		}
	}
	press(1)
	if seen > 0 || struck() {
		t.Fatal("a pad that is not armed drained a node")
	}
	press(2)
	press(1)
	if seen != 1 {
		t.Fatalf("a pad that is armed drained %d nodes", seen)
	}
}

// A key that went down on one layer comes up although it is bound on another.
func TestKeysEndOnOtherLayers(t *testing.T) {
	p := handsOn(t, "midi", `
version: 1
name: test
layers:
  - {number: 1, shift: cc 100}
bindings:
  - {control: note 60, layer: 1, to: panic}
`)
	keys := keysOf(t, p)
	keys.came(midi.On(0, 60, 100))
	if !keys.high(true) {
		t.Fatal("the key plays nothing")
	}
	keys.came(midi.CC(0, 100, 127))
	keys.came(midi.Off(0, 60, 0))
	if !keys.high(false) {
		t.Fatal("the key hangs: its end came on a layer on which it is bound")
	}
}

// Of a keyboard that tells that it is there, and then does not, nothing is held.
func TestActiveSensing(t *testing.T) {
	p := handsOn(t, "midi", noMap)
	keys := keysOf(t, p)
	keys.came(midi.On(0, 60, 100))
	there := time.Now()
	keys.came(midi.RealTime(midi.ActiveSensing))
	if !keys.high(true) {
		t.Fatal("the key plays nothing")
	}
	p.missed(there) // and not now: it may be long ago
	if !keys.high(true) {
		t.Fatal("the key ended while its keyboard is there")
	}
	p.midi.peer("keys").sensing.Received(midi.RealTime(midi.ActiveSensing), time.Now().Add(-2*sensingTimeout))
	p.missed(time.Now())
	if !keys.high(false) {
		t.Fatal("the key hangs although its keyboard is gone")
	}
}

// keyboard plays the MIDI In of a scene.
type keyboard struct {
	p    *player
	gate mapping.Address
}

func keysOf(t *testing.T, p *player) keyboard {
	t.Helper()
	for _, m := range p.rack.Patch().Modules {
		if m.ID.Kind() == "midi_in" && m.Value("channel") <= 1 && m.Value("mode") == 0 && m.Value("low") <= 60 && m.Value("high") >= 60 {
			return keyboard{p, mapping.AddressOf(m.ID, "gate")}
		}
	}
	t.Fatal("the scene has no MIDI In that plays the key")
	return keyboard{}
}

func (k keyboard) came(m midi.Message) {
	k.p.midiCame(port.In{Port: "keys", At: time.Now(), Message: m})
}

// high waits, at most a second, until the gate is high, or low.
func (k keyboard) high(want bool) bool {
	for range 200 {
		k.p.rack.Pump(k.p.present(time.Now()))
		if v, _, _ := k.p.rack.Value(k.gate); (v > 1) == want {
			return true
		}
		time.Sleep(5 * time.Millisecond)
	}
	return false
}

// Scenes are asked for faster than they are read: two steps are two scenes.
func TestScenesInTheirOrder(t *testing.T) {
	p := handsOn(t, "cluster", noMap)
	all := sceneNames()
	at := slices.Index(all, "cluster")
	if at < 0 || len(all) < 4 {
		t.Fatalf("scenes: %v", all)
	}
	for range 3 {
		if err := p.changeScene("+1", "somebody"); err != nil {
			t.Fatal(err)
		}
	}
	var came []string
	for late := time.After(10 * time.Second); len(came) < 3; {
		was := p.scene
		select {
		case f := <-p.calls: // a scene, or what else has come meanwhile
			f()
		case <-late:
			t.Fatalf("of three scenes came %v", came)
		}
		if p.scene != was {
			came = append(came, p.scene.Name)
		}
	}
	if want := []string{all[(at+1)%len(all)], all[(at+2)%len(all)], all[(at+3)%len(all)]}; !slices.Equal(came, want) {
		t.Errorf("three steps on from cluster come %v, want %v", came, want)
	}
	for range mostWishes {
		if err := p.changeScene("cluster", "somebody"); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.changeScene("cluster", "somebody"); !errors.Is(err, errBusy) {
		t.Errorf("of scenes without end: %v", err)
	}
	close(p.ended)
}

// What comes over a network names scenes, not files.
func TestSceneNamesAreNoPaths(t *testing.T) {
	for _, what := range []string{"../x", "/etc/passwd", `..\x`, "kubeconfig.yaml", "take.jsonl", "", "."} {
		if s, _, err := openScene(what, "default", "default", sceneNames()); err == nil {
			t.Errorf("%q opened %s", what, s.Name)
		} else if strings.Contains(err.Error(), "no such file") {
			t.Errorf("%q was looked for as a file: %v", what, err)
		}
	}
	for _, x := range [][3]string{{"+1", "b", "c"}, {"-1", "b", "a"}, {"+1", "c", "a"}, {"-1", "a", "c"}, {"+1", "mine", "a"}, {"-1", "mine", "c"}} {
		_, _, err := openScene(x[0], x[1], "default", []string{"a", "b", "c"})
		if err == nil || !strings.Contains(err.Error(), `"`+x[2]+`"`) {
			t.Errorf("%s from %s: %v, want scene %s", x[0], x[1], err, x[2])
		}
	}
}

// More is turned than can be taken: what ends a sound is done all the same, and
// after all that came before it. A panic does not wait for that, and holds.
func TestEndsFindRoom(t *testing.T) {
	p := handsOn(t, "cluster", noMap)
	p.midi = nil
	var gate, knob mapping.Address
	for _, m := range p.rack.Members() {
		switch {
		case m.Kind == mapping.MemberInput && m.Jack.Kind == instrument.Gate && m.Jack.Normal == 0 && gate == "":
			if p.rack.Set(m.Address, 0, "", "", 0) == nil {
				gate = m.Address
			}
		case m.Address == "/deployment/web/replicas":
			knob = m.Address
		}
	}
	if gate == "" || knob == "" {
		t.Fatalf("the scene has gate %q and knob %q", gate, knob)
	}
	send := func(a mapping.Address, v float64) error {
		return p.turn(turn{address: a, value: v, source: "127.0.0.1:4000", at: time.Now()})
	}
	at := func() float64 {
		v, _, _ := p.rack.Value(gate)
		return v
	}
	full := func() {
		t.Helper()
		for range cap(p.turns) {
			if err := send(gate, 10); err != nil {
				t.Fatal(err)
			}
		}
	}
	full()
	if err := send(knob, 3); !errors.Is(err, errBusy) {
		t.Errorf("a knob for which there is no room: %v", err)
	}
	if err := send(gate, 0); err != nil {
		t.Fatalf("a gate that falls: %v", err)
	}
	p.pay()
	if at() != 0 {
		t.Errorf("the gate is at %g V after its end", at())
	}
	full()
	p.pay()
	if at() != 0 || len(p.turns) != cap(p.turns) {
		t.Error("what was owed is paid twice")
	}
	if err := p.turn(turn{action: actPanic}); err != nil {
		t.Fatal(err)
	}
	p.overtake(<-p.panics)
	if at() != 0 || len(p.turns) != 0 {
		t.Errorf("the gate is at %g V after a panic, and %d turns wait", at(), len(p.turns))
	}
}

// An address of a pod tells of that pod only, also while another is in its slot
// already.
func TestPodsTellOfThemselves(t *testing.T) {
	rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})
	s, err := openOSC(osc.Config{Addr: "127.0.0.1:0"}, nil, rack, func() []string { return nil }, func(turn) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for i := range 2 { // two namespaces, one name
		s.slotChanged(mapping.Slot{Index: i, Pod: "web-1", Phase: mapping.SlotReady, Node: "n1"})
	}
	if err := s.Replace(s.slotNodes()); err != nil {
		t.Fatal(err)
	}
	phase := func() string {
		n := s.Namespace().Lookup([]byte("/pods/web-1/phase"))
		if n == nil {
			t.Fatal("the pod has no address")
		}
		return n.Get(nil)[0].Text()
	}
	if got := phase(); got != "ready" {
		t.Errorf("the pod is %q", got)
	}
	s.slotChanged(mapping.Slot{Index: 0, Pod: "web-2", Phase: mapping.SlotFailed, Node: "n1"})
	if got := phase(); got != "" {
		t.Errorf("a pod that is gone is %q, which is its successor", got)
	}
}

// A control of an OSC client's own layout, of which nobody has heard before,
// can be learnt, and then turns what it was learnt for.
func TestLearningAnOSCControl(t *testing.T) {
	p := handsOn(t, "default", noMap)
	p.binds.keep = make(chan []byte, 1)
	var err error
	if p.osc, err = openOSC(osc.Config{Addr: "127.0.0.1:0", Logger: p.log}, nil, p.rack, p.binds.controls, p.turn); err != nil {
		t.Fatal(err)
	}
	defer p.osc.Close()
	client, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(p.osc.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	send := func(address string, v float32) {
		m, err := osc.AppendMessage(nil, address, osc.Float32(v))
		if err == nil {
			_, err = client.Write(m)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	// The control goroutine, until something is so.
	until := func(what string, so func() bool) {
		t.Helper()
		for end := time.Now().Add(5 * time.Second); !so(); {
			select {
			case u := <-p.turns:
				p.apply(u)
			case <-time.After(5 * time.Millisecond):
			}
			p.binds.tick(time.Now())
			p.rewire()
			if time.Now().After(end) {
				t.Fatalf("%s: waited in vain", what)
			}
		}
	}
	send("/mine/fader", 0.3) // nobody learns yet, so it is refused
	if err := p.learn("/deployment/web/replicas", "test"); err != nil {
		t.Fatal(err)
	}
	p.binds.tick(time.Now())
	v := float32(0.3)
	until("learning", func() bool {
		if p.binds.engine.Learning() == "" {
			return true
		}
		v += 0.02
		send("/mine/fader", v)
		return false
	})
	until("its address", func() bool { return slices.Contains(p.binds.controls(), "/mine/fader") && !p.rewired })
	until("its value", func() bool {
		send("/mine/fader", 0) // past where the knob is, which picks it up
		send("/mine/fader", 1)
		n, _, _ := p.rack.Value("/deployment/web/replicas")
		return n == 16
	})
}

// System exclusive messages go where they are to go, whole, and not back.
func TestSystemExclusiveIsPassedOn(t *testing.T) {
	p := handsOn(t, "default", noMap)
	fake := &port.Fake{}
	fake.Plug("editor")
	fake.Plug("synth")
	var err error
	if p.midi.hub, err = port.Open(port.Config{Patterns: []string{"all"}, Drivers: []port.Driver{fake}, Poll: 10 * time.Millisecond}); err != nil {
		t.Fatal(err)
	}
	defer p.midi.hub.Close()
	way, err := parseThru("*=synth")
	if err != nil {
		t.Fatal(err)
	}
	p.o.sysex = []thru{way}
	message := midi.Message{SysEx: []byte{0xf0, 0x7d, 1, 2, 3, 0xf7}}
	p.midiCame(port.In{Port: "editor", At: time.Now(), Message: message})
	p.midiCame(port.In{Port: "synth", At: time.Now(), Message: message})
	got := func(name string) (n int) {
		for _, s := range fake.Out(name).Got() {
			if string(s.Bytes) == string(message.SysEx) {
				n++
			}
		}
		return n
	}
	for end := time.Now().Add(5 * time.Second); got("synth") == 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
	time.Sleep(200 * time.Millisecond) // for what should not come
	for name, want := range map[string]int{"synth": 1, "editor": 0} {
		if n := got(name); n != want {
			t.Errorf("%s got %d messages, want %d", name, n, want)
		}
	}
	if _, err := parseThru("editor"); err == nil {
		t.Error("a way to nowhere was taken")
	}
}
