package mapping

import (
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// midiStage is a rig whose MIDI Out plays what its MIDI In hears: what went
// through every jack comes out as messages.
type midiStage struct {
	*rig
	sent []sentMIDI
	held midi.Held
	ons  map[[2]int]int // note-ons less note-offs, by channel and key
}

type sentMIDI struct {
	port  string
	m     midi.Message
	frame int64
}

func module(id string, params ...any) instrument.Module {
	m := instrument.Module{ID: instrument.ModuleID(id), Params: map[string]float64{}, Text: map[string]string{}}
	for i := 0; i < len(params); i += 2 {
		name := params[i].(string)
		switch v := params[i+1].(type) {
		case string:
			spec := m.Spec()
			if p := &spec.Params[spec.Param(name)]; len(p.Choices) > 0 {
				m.Params[name], _ = p.Choice(v)
			} else {
				m.Text[name] = v
			}
		case int:
			m.Params[name] = float64(v)
		case float64:
			m.Params[name] = v
		}
	}
	return m
}

// wire adds cables: from, to, from, to, ….
func wire(p *instrument.Patch, ends ...string) {
	for i := 0; i < len(ends); i += 2 {
		p.Cables = append(p.Cables, cable(ends[i], ends[i+1]))
	}
}

func echoPatch(in, out instrument.Module) *instrument.Patch {
	p := &instrument.Patch{Modules: []instrument.Module{in, out}}
	for _, j := range []string{"gate", "pitch", "velocity", "pressure", "timbre", "cc_1", "cc_2", "cc_3", "cc_4", "clock", "run"} {
		wire(p, string(in.ID)+"/"+j, string(out.ID)+"/"+j)
	}
	return p
}

func newMIDIStage(t testing.TB, p *instrument.Patch) *midiStage {
	t.Helper()
	s := &midiStage{rig: emptyRig(t, Config{SampleRate: testRate, Channels: 2, Seed: 1, Storm: 8, Namespace: "k8s-synth", Scene: "test"}), ons: map[[2]int]int{}}
	s.MIDIOut = func(port string, m midi.Message, frame int64) {
		s.sent = append(s.sent, sentMIDI{port, m, frame})
		s.held.Track(m)
		k := [2]int{m.Channel(), int(m.Data[1])}
		if m.IsNoteOn() {
			if s.ons[k]++; s.ons[k] > 1 {
				t.Fatalf("%v sounds already", m)
			}
		} else if m.IsNoteOff() {
			if s.ons[k]--; s.ons[k] < 0 {
				t.Fatalf("%v ends what does not sound", m)
			}
		}
	}
	if err := s.Load(p); err != nil {
		t.Fatal(err)
	}
	s.run(0.05)
	return s
}

// play takes messages at the present.
func (s *midiStage) play(port string, all ...midi.Message) {
	for _, m := range all {
		s.MIDI(port, m, s.frame)
	}
	s.run(0.02)
}

// heard returns what went out since the last call, and forgets it.
func (s *midiStage) took() []string {
	var all []string
	for _, m := range s.sent {
		all = append(all, m.m.String())
	}
	s.sent = nil
	return all
}

func (s *midiStage) wantSent(what string, want ...string) {
	s.t.Helper()
	if got := s.took(); !slices.Equal(got, want) {
		s.t.Errorf("%s: sent\n  %s\nwant\n  %s", what, strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// silent demands that nothing sounds, within and without.
func (s *midiStage) silent(what string) {
	s.t.Helper()
	s.run(0.15)
	for _, in := range s.midiIns {
		for i := range in.voices {
			if in.voices[i].high {
				s.t.Errorf("%s: %s, voice %d is still high for %v", what, in.id, i, in.voices[i].from)
			}
		}
	}
	for k, n := range s.ons {
		if n != 0 {
			s.t.Errorf("%s: channel %d key %d has %d note-ons without a note-off", what, k[0]+1, k[1], n)
		}
	}
	for _, o := range s.midiOuts {
		if v, _, _ := s.Value(AddressOf(o.id, "active")); v > 0.1 {
			s.t.Errorf("%s: %s/active is at %.1f V: a gate of its is high", what, o.id, v)
		}
	}
}

func TestPortMatches(t *testing.T) {
	for _, tt := range []struct {
		pattern, port string
		want          bool
	}{
		{"", "anything", true}, {"usb", "My USB MIDI 1", true}, {"usb*", "My USB MIDI 1", false}, {"*usb*", "My USB MIDI 1", true},
		{"My*1", "my usb midi 1", true}, {"My*2", "my usb midi 1", false}, {"?y usb midi ?", "my usb midi 1", true}, {"*", "", true}, {"?", "", false},
		{"a*b*c", "a-b-b-c", true}, {"a*b*c", "a-b-b-d", false}, {" usb ", "USB", true}, {"**", "x", true}, {"All", "x", true},
	} {
		if got := PortMatches(tt.pattern, tt.port); got != tt.want {
			t.Errorf("%q for %q: %t", tt.pattern, tt.port, got)
		}
	}
}

// TestMIDIThrough: keys come in, go through the rack as volts, and out as they
// came, to the frame.
func TestMIDIThrough(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys"), module("midi_out/echo", "channel", 3)))
	s.sent = nil
	s.play("a", midi.On(0, 60, 100), midi.On(0, 64, 1), midi.On(5, 67, 127))
	at := s.sent[0].frame
	s.wantSent("a chord", "note on ch 3 key 60 velocity 100", "note on ch 3 key 64 velocity 1", "note on ch 3 key 67 velocity 127")
	frame := s.frame + 101
	s.MIDI("a", midi.Off(0, 64, 20), frame)
	s.run(0.02)
	if len(s.sent) != 1 || s.sent[0].frame != frame || at%instrument.BlockSize != 0 {
		t.Errorf("a key up at frame %d: sent %v", frame, s.sent)
	}
	s.wantSent("a key up", "note off ch 3 key 64 velocity 64")
	s.play("a", midi.Off(0, 60, 0), midi.Off(5, 67, 0), midi.Off(5, 67, 0), midi.Off(1, 1, 1))
	s.wantSent("all up", "note off ch 3 key 60 velocity 64", "note off ch 3 key 67 velocity 64")
	// The same key again while it is down: it is struck anew.
	s.play("a", midi.On(0, 60, 100), midi.On(0, 60, 90), midi.Off(0, 60, 0))
	s.wantSent("a key struck twice", "note on ch 3 key 60 velocity 100", "note off ch 3 key 60 velocity 64", "note on ch 3 key 60 velocity 90", "note off ch 3 key 60 velocity 64")
	// The pedal.
	s.play("a", midi.CC(0, midi.CCSustain, 127), midi.On(0, 70, 10), midi.Off(0, 70, 0))
	s.want("/midi_in/keys/sustain", 10)
	s.play("a", midi.On(1, 71, 10), midi.Off(1, 71, 0))
	s.wantSent("a pedal of another channel", "note on ch 3 key 70 velocity 10", "note on ch 3 key 71 velocity 10", "note off ch 3 key 71 velocity 64")
	s.play("a", midi.CC(0, midi.CCSustain, 0))
	s.wantSent("the pedal up", "note off ch 3 key 70 velocity 64")
	// Controllers: volume comes as 7, and with its fine part.
	s.play("a", midi.CC(2, 7, 64))
	s.want("/midi_in/keys/cc_1", 5)
	s.turn("/midi_out/echo/cc14", 1)
	s.play("a", midi.AppendCC14(nil, 2, 7, 5000)...)
	s.run(0.1)
	last := s.took()
	if n := len(last); n < 2 || last[n-2] != "cc ch 3 number 1 value 39" || last[n-1] != "cc ch 3 number 33 value 8" {
		t.Errorf("a controller of 14 bits: %v", last)
	}
	s.play("a", midi.CC(0, 1, 127))
	s.want("/midi_in/keys/mod", 10)
	s.play("a", midi.BendTo(0, -8192))
	s.want("/midi_in/keys/wheel", -5)
	s.want("/midi_in/keys/bend", -2./12)
	s.play("a", midi.On(0, 60, 100), midi.BendTo(0, 8191))
	s.run(0.05)
	if v := s.volts("/midi_in/keys/wheel"); math.Abs(v-5) > 0.01 {
		t.Errorf("the wheel is at %.2f V", v)
	}
	s.play("a", midi.CC(0, midi.CCAllNotesOff, 0))
	s.silent("all notes off")
	// The sender says how far its wheel goes.
	s.play("a", midi.AppendRPN(nil, 0, midi.RPNBendRange, 12<<7)...)
	if v, _, _ := s.Value("/midi_in/keys/bend_range"); v != 12 {
		t.Errorf("bend_range is %g", v)
	}
	s.play("a", midi.BendTo(0, -8192))
	s.want("/midi_in/keys/bend", -1)
}

// TestMIDIRange: what is not for a module is not heard by it.
func TestMIDIRange(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys", "channel", 2, "low", 50, "high", 60, "port", "pads"), module("midi_out/echo", "port", "synth*")))
	s.sent = nil
	s.play("Keys", midi.On(1, 55, 100))
	s.play("My Pads", midi.On(0, 55, 100), midi.On(1, 49, 100), midi.On(1, 61, 100))
	s.wantSent("others")
	s.play("My Pads", midi.On(1, 50, 100), midi.On(1, 60, 100))
	if len(s.sent) != 2 || s.sent[0].port != "synth*" {
		t.Errorf("sent %v", s.sent)
	}
	// Whoever is let down by his settings is let go.
	s.turn("/midi_in/keys/channel", 3)
	s.silent("another channel")
	s.turn("/midi_in/keys/channel", 0)
	s.play("My Pads", midi.On(1, 50, 100))
	if err := s.Set("/midi_in/keys/port", 0, "keys", "hand", 0); err != nil {
		t.Fatal(err)
	}
	s.silent("another port")
	s.play("Keys", midi.On(1, 50, 100))
	s.PortGone("Keys", s.frame)
	s.silent("a port that is gone")
}

// TestMIDIVoices: the voice that was released longest ago is taken, else the
// one that was struck first.
func TestMIDIVoices(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys", "voices", 3), module("midi_out/echo")))
	voice := func(key int) int {
		for i := range s.midiIns[0].voices {
			if v := &s.midiIns[0].voices[i]; v.high && v.from.key == key {
				return i
			}
		}
		return -1
	}
	s.play("a", midi.On(0, 1, 9), midi.On(0, 2, 9), midi.On(0, 3, 9))
	s.play("a", midi.Off(0, 2, 0), midi.Off(0, 1, 0))
	s.play("a", midi.On(0, 4, 9))
	s.play("a", midi.On(0, 5, 9))
	if voice(4) != 1 || voice(5) != 0 || voice(3) != 2 {
		t.Errorf("3, 4 and 5 are voices %d, %d, %d", voice(3), voice(4), voice(5))
	}
	s.play("a", midi.On(0, 6, 9))
	if voice(6) != 2 || voice(3) != -1 {
		t.Errorf("6 took voice %d", voice(6))
	}
	s.play("a", midi.CC(0, midi.CCSustain, 127), midi.Off(0, 5, 0), midi.On(0, 7, 9))
	if voice(7) != 0 || voice(4) != 1 {
		t.Errorf("7 took voice %d, though only the pedal held 5", voice(7))
	}
	s.play("a", midi.Off(0, 4, 0), midi.Off(0, 6, 0), midi.Off(0, 7, 0), midi.Off(0, 3, 0), midi.CC(0, midi.CCSustain, 0))
	s.silent("all up")
}

// TestMIDIMono: one voice, by priority, and with legato without a new attack.
func TestMIDIMono(t *testing.T) {
	for _, tt := range []struct {
		priority, legato string
		want             []string
	}{
		// Keys 60, 64, 62 are struck, then 62, 60, 64 let go of.
		{"last", "off", []string{"on 60", "off 60", "on 64", "off 64", "on 62", "on 64", "off 62", "off 64"}},
		{"low", "off", []string{"on 60", "on 64", "off 60", "off 64"}},
		{"high", "on", []string{"on 60", "on 64", "off 60", "off 64"}},
		{"last", "on", []string{"on 60", "on 64", "off 60", "on 62", "off 64", "on 64", "off 62", "off 64"}},
	} {
		s := newMIDIStage(t, echoPatch(module("midi_in/keys", "mode", "mono", "priority", tt.priority, "legato", tt.legato), module("midi_out/echo")))
		s.sent = nil
		for _, m := range []midi.Message{midi.On(0, 60, 9), midi.On(0, 64, 9), midi.On(0, 62, 9), midi.Off(0, 62, 9), midi.Off(0, 60, 9), midi.Off(0, 64, 9)} {
			s.play("a", m)
		}
		var got []string
		for _, m := range s.sent {
			word := "on"
			if m.m.IsNoteOff() {
				word = "off"
			}
			got = append(got, fmt.Sprintf("%s %d", word, m.m.Data[1]))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s, legato %s: %v, want %v", tt.priority, tt.legato, got, tt.want)
		}
		s.silent("mono")
	}
}

// TestMPEThrough: each note has its own bend, pressure and timbre, in and out.
func TestMPEThrough(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys", "mode", "mpe"), module("midi_out/echo", "mode", "mpe")))
	if len(s.sent) == 0 || s.sent[0].m.String() != "cc ch 1 number 101 value 0" {
		t.Errorf("the receiver was not told of the zone: %v", s.sent)
	}
	in := midi.NewMPEIn(midi.MPEConfig{})
	notes := map[uint64]midi.MPENote{}
	next := 0
	hear := func() {
		for ; next < len(s.sent); next++ {
			in.Message(s.sent[next].m, func(c midi.MPEChange, n midi.MPENote) {
				if c == midi.MPEEnded {
					delete(notes, n.ID)
				} else {
					notes[n.ID] = n
				}
			})
		}
	}
	s.play("a", midi.BendTo(1, 2048), midi.Pressure(1, 20), midi.CC(1, 74, 30), midi.On(1, 60, 90))
	s.play("a", midi.BendTo(2, -1024), midi.Pressure(2, 70), midi.CC(2, 74, 80), midi.On(2, 60, 50))
	s.run(0.1)
	check := func(what string, want map[int][4]float64) {
		t.Helper()
		s.run(0.1)
		hear()
		if len(notes) != len(want) {
			t.Errorf("%s: %d notes, want %d", what, len(notes), len(want))
		}
		for _, n := range notes {
			w := want[n.Velocity]
			if math.Abs(n.Pitch-w[0]) > 0.01 || float64(n.Pressure) != w[1] || float64(n.Timbre) != w[2] {
				t.Errorf("%s: %+v, want %v", what, n, w)
			}
		}
	}
	check("two notes of one key", map[int][4]float64{90: {72, 20, 30}, 50: {54, 70, 80}})
	s.play("a", midi.BendTo(1, 0), midi.Pressure(2, 127), midi.CC(2, 74, 0))
	check("each for itself", map[int][4]float64{90: {60, 20, 30}, 50: {54, 127, 0}})
	s.play("a", midi.BendTo(0, 4096), midi.CC(0, midi.CCSustain, 127), midi.Off(1, 60, 0))
	check("the master's bend and pedal", map[int][4]float64{90: {61, 20, 30}, 50: {55, 127, 0}})
	s.play("a", midi.CC(0, midi.CCSustain, 0), midi.Off(2, 60, 0))
	check("up", nil)
	s.silent("up")
	// The end of a note was lost, and its channel is used again.
	s.play("a", midi.On(3, 60, 90), midi.On(3, 60, 80), midi.Off(3, 60, 0))
	s.silent("a lost note-off")
}

// TestMIDIHolds: a key that is down is down after a patch was loaded, a knob
// was turned, and a cable moved; without its module it is not.
func TestMIDIHolds(t *testing.T) {
	p := echoPatch(module("midi_in/keys"), module("midi_out/echo"))
	s := newMIDIStage(t, p)
	s.play("a", midi.CC(0, 1, 127), midi.On(0, 60, 100))
	s.sent = nil
	other := p.Clone()
	other.Modules = append(other.Modules, module("vco/a"), module("midi_in/more"))
	other.Modules[0].Params["bend_range"] = 12
	if err := s.Load(other); err != nil {
		t.Fatal(err)
	}
	s.run(0.05)
	s.wantSent("another patch")
	s.want("/midi_in/more/mod", 10)
	s.play("a", midi.Off(0, 60, 0))
	s.wantSent("a key up", "note off ch 1 key 60 velocity 64")
	s.silent("a key up")
	s.play("a", midi.On(0, 60, 100), midi.On(0, 61, 100))
	without := other.Clone()
	without.Modules = without.Modules[:1]
	without.Cables = nil
	if err := s.Load(without); err != nil {
		t.Fatal(err)
	}
	s.run(0.05)
	if s.held.Any() {
		t.Error("notes sound on without their module")
	}
	if err := s.Load(other); err != nil {
		t.Fatal(err)
	}
	s.run(0.05)
	s.play("a", midi.Off(0, 60, 0), midi.Off(0, 61, 0))
	s.silent("and back")
	if err := s.Load(&instrument.Patch{}); err != nil {
		t.Fatal(err)
	}
	s.run(0.05)
	if s.held.Any() {
		t.Error("notes sound on in an empty rack")
	}
}

// TestPanicBeforeItIsTold: a note of before a panic, of which the rack hears
// after it, or that is on its way to the engine, is none on another instrument.
func TestPanicBeforeItIsTold(t *testing.T) {
	gate := Address("/midi_out/gear/gate")
	s := newMIDIStage(t, &instrument.Patch{Modules: []instrument.Module{module("midi_out/gear"), module("vca/a")}})
	silenced := uint32(6)
	s.Silence = func() uint32 { silenced++; return silenced }
	render := func(blocks int) { // and tell nobody
		for range blocks {
			s.Engine.Render([][]float32{s.out[0], s.out[1]}, nil)
			s.frame += instrument.BlockSize
		}
	}
	put := func(volts float64, frame int64) {
		t.Helper()
		if err := s.Set(gate, volts, "", "hand", frame); err != nil {
			t.Fatal(err)
		}
	}
	put(10, 0)
	render(3)
	s.Panic()
	if silenced != 7 {
		t.Errorf("what is rendered was silenced %d times", silenced-6)
	}
	s.run(0.1)
	s.wantSent("a note that the engine told of after the panic")
	if n, after := s.Engine.Panicked(); n != silenced || after < 4000 {
		t.Errorf("the engine has obeyed panic %d, %d frames ago", n, after)
	}
	put(10, s.frame+300)
	s.Panic()
	s.Panic() // a hand is in doubt
	s.run(0.1)
	s.wantSent("a note on its way")
	put(10, 0)
	s.run(0.1)
	s.wantSent("a note after it", "note on ch 1 key 60 velocity 100")
	s.Panic()
	s.run(0.1)
	s.wantSent("a panic", "note off ch 1 key 60 velocity 64")
}

// TestPanicTakesBackWhatIsAhead: no gate that is on its way rises after a panic,
// however many turns of it are.
func TestPanicTakesBackWhatIsAhead(t *testing.T) {
	gate := Address("/midi_out/gear/gate")
	s := newMIDIStage(t, &instrument.Patch{Modules: []instrument.Module{module("midi_out/gear"), module("vca/a")}})
	for i, volts := range []float64{10, 0, 10, 0, 10, 0} {
		if err := s.Set(gate, volts, "", "hand", s.frame+2000+int64(i)*1000); err != nil {
			t.Fatal(err)
		}
	}
	s.Panic()
	s.run(0.3)
	s.wantSent("notes on their way")
}

// TestPanicComesAfterWhatItTakesBack: the engine may obey a panic before the rack
// has said all that belongs to it, so no gate that is on its way may need anything
// that is said after it.
func TestPanicComesAfterWhatItTakesBack(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys"), module("midi_out/gear")))
	s.run(0.1)
	s.MIDI("k", midi.On(0, 60, 100), s.frame+3000)
	s.Panic()
	var e instrument.Event
	rises, falls, panicked := 0, 0, false
	for s.Engine.Inbox.Pop(&e) {
		switch {
		case e.Kind == instrument.EventPanic:
			panicked = true
		case e.Frame <= s.frame || e.Kind != instrument.EventLevel || int(e.Index) != int(midiJack.gate):
		case panicked:
			t.Errorf("said after the panic: %+v", e)
		case e.Value > 0:
			rises++
		default:
			falls++
		}
	}
	if rises != 1 || falls != 1 || !panicked {
		t.Errorf("%d rises and %d falls before the panic", rises, falls)
	}
}

// TestPanicNumbers: what was rendered is silenced until its own panic is obeyed,
// whatever others there were, and of those that wait the newest is kept.
func TestPanicNumbers(t *testing.T) {
	gate := Address("/midi_out/gear/gate")
	s := newMIDIStage(t, &instrument.Patch{Modules: []instrument.Module{module("midi_out/gear"), module("vca/a")}})
	obeyed := func(what string, want uint32) {
		t.Helper()
		s.run(0.1)
		if n, _ := s.Engine.Panicked(); n != want {
			t.Errorf("%s: the engine has obeyed panic %d, want %d", what, n, want)
		}
	}
	s.Panic()
	s.Panic()
	obeyed("before there is a device", 0)
	silenced := uint32(0)
	s.Silence = func() uint32 { silenced++; return silenced }
	s.Panic()
	obeyed("a hand's", 1)
	s.Silence = nil
	if err := s.Set(gate, 10, "", "hand", 0); err != nil {
		t.Fatal(err)
	}
	for range 3 { // and tell nobody
		s.Engine.Render([][]float32{s.out[0], s.out[1]}, nil)
		s.frame += instrument.BlockSize
	}
	s.Panic()
	obeyed("one that silences nothing", 1)
	s.wantSent("a note of before that")
	s.backlog = append(s.backlog, instrument.Event{Kind: instrument.EventFadeIn})
	s.Silence = func() uint32 { silenced++; return silenced }
	for range 5 {
		s.Panic()
	}
	s.thin()
	panics := 0
	for _, e := range s.backlog {
		if e.Kind == instrument.EventPanic {
			panics++
		}
	}
	if panics != 1 {
		t.Errorf("%d panics wait", panics)
	}
	obeyed("the newest that waited", 6)
}

// TestMIDIPanic: nothing sounds after a panic, also not what was on its way.
func TestMIDIPanic(t *testing.T) {
	s := newMIDIStage(t, echoPatch(module("midi_in/keys"), module("midi_out/echo")))
	s.play("a", midi.On(0, 60, 100), midi.CC(0, 7, 127), midi.CC(0, midi.CCSustain, 127))
	s.MIDI("a", midi.On(0, 61, 100), s.frame+700) // not there yet
	s.Send(Out{Kind: OutNote, Port: "x", Channel: 1, Note: 40, Velocity: 90, Duration: 5}, s.frame+500)
	s.Panic()
	s.silent("panic")
	s.want("/midi_in/keys/cc_1", 10)
	s.want("/midi_in/keys/sustain", 10)
	s.play("a", midi.CC(0, midi.CCSustain, 0), midi.On(0, 62, 100))
	if len(s.ons) == 0 || !s.held.Any() {
		t.Error("nothing plays after a panic")
	}
	s.play("a", midi.Off(0, 62, 0))
	s.silent("after it")
	s.play("a", midi.On(0, 62, 100))
	s.Fade(false)
	s.run(0.01)
	if s.held.Any() {
		t.Error("notes sound on after the fade")
	}
}

// TestMIDIHoldsAPod: a bare pod exists while a key is down.
func TestMIDIHoldsAPod(t *testing.T) {
	p := &instrument.Patch{Modules: []instrument.Module{module("midi_in/keys", "low", 48, "high", 48), module("pod/solo"), module("apiserver/api")}}
	wire(p, "midi_in/keys/gate", "pod/solo/lifecycle")
	s := newMIDIStage(t, p)
	hold := func() any {
		s.run(0.05)
		topology, _ := s.Topology()
		return topology.Modules["pod/solo"]["hold"]
	}
	if h := hold(); h != false {
		t.Errorf("before: hold is %v", h)
	}
	s.play("a", midi.On(0, 48, 100))
	if h := hold(); h != true {
		t.Errorf("a key down: hold is %v", h)
	}
	if err := s.Load(s.Patch().Clone()); err != nil {
		t.Fatal(err)
	}
	if h := hold(); h != true {
		t.Errorf("the same patch again: hold is %v", h)
	}
	s.play("a", midi.On(0, 50, 100), midi.Off(0, 50, 100))
	if h := hold(); h != true {
		t.Errorf("another key: hold is %v", h)
	}
	s.play("a", midi.Off(0, 48, 100))
	if h := hold(); h != false {
		t.Errorf("the key up: hold is %v", h)
	}
	s.play("a", midi.On(0, 48, 100))
	s.PortGone("a", s.frame)
	if h := hold(); h != false {
		t.Errorf("unplugged: hold is %v", h)
	}
}

// TestPodsAreVoices: each pod is a note on a channel of its own.
func TestPodsAreVoices(t *testing.T) {
	p := &instrument.Patch{Modules: []instrument.Module{module("deployment/web"), module("apiserver/api"), module("midi_out/pods", "mode", "mpe")}}
	wire(p, "deployment/web/ready", "midi_out/pods/gate", "deployment/web/pitch", "midi_out/pods/pitch", "deployment/web/load", "midi_out/pods/pressure")
	s := newMIDIStage(t, p)
	s.say(KindAPIServer, "apiserver", FieldReachable, "true")
	s.say(KindAPIServer, "apiserver", FieldSynced, "true")
	s.replicas(3)
	for i := range 3 {
		s.ready(fmt.Sprintf("web-%d", i+1))
	}
	s.run(0.2)
	chans := map[int]bool{}
	for k, n := range s.ons {
		if n == 1 {
			chans[k[0]] = true
		}
	}
	if len(chans) != 3 || chans[0] {
		t.Errorf("three pods sound on channels %v", slices.Sorted(maps.Keys(chans)))
	}
	s.sent = nil
	s.pod("web-2", FieldLoad, "500")
	s.run(0.2)
	pressed := map[int]bool{}
	for _, m := range s.sent {
		if m.m.Kind() == midi.ChannelPressure {
			pressed[m.m.Channel()] = true
		}
	}
	if len(pressed) != 1 {
		t.Errorf("the load of one pod pressed channels %v", pressed)
	}
	for i := range 3 {
		s.gone(fmt.Sprintf("web-%d", i+1))
	}
	s.silent("no pods")
}

// TestMIDIRandomly plays at random and loses messages: when the keys are up,
// nothing sounds, and no key ever sounds twice or ends twice.
func TestMIDIRandomly(t *testing.T) { playRandomly(t, 24) }

// TestProofMIDIRandomly does so for a minute or two.
func TestProofMIDIRandomly(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("a long proof; K8S_SYNTH_PROOF=1 runs it")
	}
	playRandomly(t, 4000)
}

func playRandomly(t *testing.T, seeds uint64) {
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 5))
		modes := []string{"poly", "mono", "mpe"}
		p := echoPatch(module("midi_in/keys", "mode", modes[seed%3], "voices", 1+rng.IntN(16), "legato", rng.IntN(2), "priority", rng.IntN(3)),
			module("midi_out/echo", "mode", modes[seed/3%3], "members", 1+rng.IntN(15)))
		s := newMIDIStage(t, p)
		s.chunk = 16 + rng.IntN(48)
		ports := []string{"a", "b"}
		for range 400 {
			port, ch, key := ports[rng.IntN(2)], rng.IntN(3), 40+rng.IntN(24)
			at := s.frame + int64(rng.IntN(600))
			switch n := rng.IntN(40); {
			case n < 16:
				s.MIDI(port, midi.On(ch, key, rng.IntN(128)), at)
			case n < 28:
				if rng.IntN(4) > 0 { // a quarter of the note-offs is lost
					s.MIDI(port, midi.Off(ch, key, rng.IntN(128)), at)
				}
			case n < 30:
				s.MIDI(port, midi.CC(ch, midi.CCSustain, rng.IntN(128)), at)
			case n < 34:
				s.MIDI(port, midi.BendTo(ch, rng.IntN(16384)-8192), at)
			case n < 36:
				s.MIDI(port, midi.CC(ch, rng.IntN(128), rng.IntN(128)), at)
			case n < 37:
				s.MIDI(port, midi.Message{Data: [3]byte{byte(128 + rng.IntN(128)), byte(rng.IntN(128)), byte(rng.IntN(128))}, Size: 3}, at)
			case n == 37:
				m := s.Members()[rng.IntN(len(s.Members()))]
				if m.Kind == MemberParam {
					_ = s.Set(m.Address, m.Param.Clamp(m.Param.Min+rng.Float64()*(m.Param.Max-m.Param.Min)), "", "hand", 0)
				}
			case n == 38 && rng.IntN(4) == 0:
				if rng.IntN(2) == 0 {
					s.Panic()
				} else {
					s.PortGone(port, at)
				}
			case n == 39 && rng.IntN(4) == 0:
				q := p
				if rng.IntN(2) == 0 {
					q = &instrument.Patch{Modules: p.Modules[rng.IntN(2):][:1]}
				}
				if err := s.Load(q); err != nil {
					t.Fatal(err)
				}
			}
			if rng.IntN(3) == 0 {
				s.block()
			}
		}
		_ = s.Load(p)
		s.run(0.05)
		for _, port := range ports {
			for ch := range 16 {
				s.MIDI(port, midi.CC(ch, midi.CCSustain, 0), s.frame)
				for key := range 128 {
					s.MIDI(port, midi.Off(ch, key, 0), s.frame)
				}
			}
		}
		s.silent(fmt.Sprintf("seed %d", seed))
		if s.held.Any() {
			t.Errorf("seed %d: keys are held", seed)
		}
	}
}

// TestMIDIIsTheSameAgain: what came in at the same frames goes out the same.
func TestMIDIIsTheSameAgain(t *testing.T) {
	play := func(chunk int) []sentMIDI {
		s := newMIDIStage(t, echoPatch(module("midi_in/keys"), module("midi_out/echo", "mode", "mono")))
		s.chunk = chunk
		rng := rand.New(rand.NewPCG(1, 2))
		at := s.frame + 5000
		for range 200 {
			at += rng.Int64N(700)
			s.MIDI("a", midi.On(0, 30+rng.IntN(60), 1+rng.IntN(127)), at)
			s.MIDI("a", midi.Off(0, 30+rng.IntN(60), 1+rng.IntN(127)), at)
			s.MIDI("a", midi.BendTo(0, rng.IntN(16384)-8192), at+50)
		}
		s.run(float64(at)/testRate + 0.1)
		return s.sent
	}
	a, b := play(64), play(23)
	if !slices.EqualFunc(a, b, func(x, y sentMIDI) bool {
		return x.port == y.port && x.m.String() == y.m.String() && x.frame == y.frame
	}) {
		t.Errorf("%d messages, then %d", len(a), len(b))
	}
	if len(a) < 200 {
		t.Errorf("only %d messages", len(a))
	}
}

// TestClockSlave: a Clock follows the MIDI clock: its first beat is the first
// clock after the start, and it stops with it.
func TestClockSlave(t *testing.T) {
	p := &instrument.Patch{Modules: []instrument.Module{module("midi_in/daw"), module("clock/main", "ppqn", "24"), module("midi_out/echo"), module("etcd/beat"), module("etcd/bar")}}
	wire(p, "midi_in/daw/clock", "clock/main/clock", "midi_in/daw/run", "clock/main/run_gate", "midi_in/daw/reset", "clock/main/reset", "midi_in/daw/position", "clock/main/position",
		"clock/main/pulses", "midi_out/echo/clock", "clock/main/running", "midi_out/echo/run", "clock/main/reset_out", "midi_out/echo/reset",
		"clock/main/beat", "etcd/beat/write", "clock/main/bar", "etcd/bar/write")
	s := newMIDIStage(t, p)
	for _, idle := range []bool{false, true} {
		s.sent, s.hits = nil, map[string][]int64{}
		step := int64(testRate * 60 / 120 / 24)
		at := s.frame + 1000
		var ticks []int64
		tick := func(n int) {
			for range n {
				s.MIDI("daw", midi.RealTime(midi.Clock), at)
				ticks = append(ticks, at)
				at += step
			}
			s.run(float64(at-step/2-s.frame) / testRate)
		}
		if idle {
			tick(48) // a clock that runs while the song does not
			ticks = nil
		}
		s.MIDI("daw", midi.RealTime(midi.Start), at-step/2)
		tick(24 * 8)
		if n, m := len(s.hits["beat"]), len(s.hits["bar"]); n != 8 || m != 2 {
			t.Errorf("idle %t: %d beats and %d bars in two bars", idle, n, m)
		}
		var got []int64
		for _, m := range s.sent {
			if m.m.Kind() == midi.Clock {
				got = append(got, m.frame)
			}
		}
		if len(got) != len(ticks) {
			t.Errorf("idle %t: %d clocks out, %d in", idle, len(got), len(ticks))
		}
		worst := int64(0)
		for i := range min(len(got), len(ticks)) {
			worst = max(worst, got[i]-ticks[i], ticks[i]-got[i])
		}
		// A trigger goes through the clock within the block of its edge.
		t.Logf("idle %t: the clock out is within %d frames of the clock in", idle, worst)
		if worst > 2 {
			t.Errorf("idle %t: the clock out is off by %d frames", idle, worst)
		}
		if v := s.volts("/midi_in/daw/position"); math.Abs(v-2) > 0.03 {
			t.Errorf("at the end of a bar the position is %.2f V", v)
		}
		s.MIDI("daw", midi.RealTime(midi.Stop), at)
		s.run(0.2)
		if v := s.volts("/clock/main/running"); v != 0 {
			t.Errorf("running is at %.1f V after the stop", v)
		}
		s.MIDI("daw", midi.Position(8), s.frame)
		s.MIDI("daw", midi.RealTime(midi.Continue), s.frame)
		at, s.hits = s.frame+step, map[string][]int64{}
		tick(24 * 3)
		if n, m := len(s.hits["beat"]), len(s.hits["bar"]); n != 3 || m != 1 {
			t.Errorf("idle %t: going on at the third beat, %d beats and %d bars began in three beats", idle, n, m)
		}
		s.want("/midi_in/daw/position", 0.5-0.5/24)
		s.PortGone("daw", at)
		s.run(0.1)
		s.want("/midi_in/daw/run", 0)
	}
	var words []string
	for _, m := range s.sent {
		if k := m.m.Kind(); k == midi.Start || k == midi.Stop || k == midi.Continue {
			words = append(words, m.m.String())
		}
	}
	if want := []string{"start", "stop", "continue", "stop", "start", "stop"}; !slices.Equal(words, want) {
		t.Errorf("sent %v, want %v", words, want)
	}
}

// TestStartWithoutClock: what sends no clock starts and stops all the same, and
// the clock of one port is not mixed with another's.
func TestStartWithoutClock(t *testing.T) {
	s := newMIDIStage(t, &instrument.Patch{Modules: []instrument.Module{module("midi_in/daw")}})
	s.play("daw", midi.RealTime(midi.Start))
	s.want("/midi_in/daw/run", 0)
	s.run(0.3)
	s.want("/midi_in/daw/run", 10)
	s.play("daw", midi.RealTime(midi.Stop))
	s.want("/midi_in/daw/run", 0)
	s.Transport(TransportInput{Port: "daw", Runs: true}, s.frame)
	s.want("/midi_in/daw/run", 10)
	s.Transport(TransportInput{Port: "daw"}, s.frame)
	s.want("/midi_in/daw/run", 0)
	s.play("daw", midi.RealTime(midi.Start), midi.RealTime(midi.Clock))
	s.want("/midi_in/daw/run", 10)
	for range 8 {
		s.play("daw", midi.RealTime(midi.Clock))
		s.play("other", midi.RealTime(midi.Clock), midi.RealTime(midi.Stop))
	}
	s.want("/midi_in/daw/run", 10)
	if n := s.midiIns[0].song.ticks; n != 9 {
		t.Errorf("%d clocks were heard, want 9", n)
	}
}

// TestTimecodePlaces: a song that starts in the middle has its next beat where
// the tape has it, one that jumps goes along, and one whose port is gone stops.
func TestTimecodePlaces(t *testing.T) {
	p := &instrument.Patch{Modules: []instrument.Module{module("midi_in/tape"), module("clock/first", "tempo", 50), module("clock/main", "tempo", 120), module("etcd/beat"), module("etcd/bar")}}
	wire(p, "midi_in/tape/run", "clock/main/run_gate", "midi_in/tape/reset", "clock/main/reset", "midi_in/tape/position", "clock/main/position",
		"clock/main/beat", "etcd/beat/write", "clock/main/bar", "etcd/bar/write")
	s := newMIDIStage(t, p)
	to := func(runs bool, seconds float64) (at int64) {
		s.hits = map[string][]int64{}
		at = s.frame + 1000
		s.Transport(TransportInput{Port: "tape", Runs: runs, Seconds: &seconds}, at)
		return at
	}
	// beats checks when the first beats and bars came, in seconds after a frame; a
	// Store tells of them at the end of the block.
	beats := func(what string, at int64, beat, bar float64) {
		t.Helper()
		for name, want := range map[string]float64{"beat": beat, "bar": bar} {
			if got := s.hits[name]; len(got) == 0 || math.Abs(float64(got[0]-at)-want*testRate-32) > 32 {
				t.Errorf("%s: the first %s came %d frames after it, want %.0f", what, name, append(got, -1)[0]-at, want*testRate)
			}
		}
	}
	// 61.25 s of 120 BPM are 122.5 beats: 2.5 into a bar.
	at := to(true, 61.25)
	s.run(2.5)
	beats("in the middle", at, 0.25, 0.75)
	s.want("/midi_in/tape/run", 10)
	at = to(true, 3600)
	s.run(0.6)
	beats("a jump to an hour", at, 0, 0)
	to(false, 3601.5)
	s.run(0.1)
	s.want("/midi_in/tape/run", 0)
	s.want("/midi_in/tape/position", 1.5)
	at = to(true, 3601.5)
	s.run(0.6)
	beats("from where it stood", at, 0, 0.5)
	s.PortGone("tape", s.frame)
	s.run(0.1)
	s.want("/midi_in/tape/run", 0)
}

// TestClockMaster: others are led by the Clock: a start, then 24 clocks a
// beat, to the frame.
func TestClockMaster(t *testing.T) {
	p := &instrument.Patch{Modules: []instrument.Module{module("clock/main", "tempo", 125), module("midi_out/all")}}
	wire(p, "clock/main/pulses", "midi_out/all/clock", "clock/main/running", "midi_out/all/run", "clock/main/reset_out", "midi_out/all/reset")
	s := newMIDIStage(t, p)
	s.run(2)
	if got := s.took(); !slices.Equal(got[:2], []string{"start", "clock"}) {
		t.Errorf("it began with %v", got[:2])
	}
	s.run(1)
	want := 48000. * 60 / 125 / 24
	for i := 1; i < len(s.sent); i++ {
		if d := float64(s.sent[i].frame - s.sent[i-1].frame); math.Abs(d-want) > 1 {
			t.Errorf("clock %d came after %.0f frames, want %.1f", i, d, want)
		}
	}
	s.sent = nil
	s.turnWord("/clock/main/run", "stop")
	s.run(0.1)
	s.turnWord("/clock/main/run", "run")
	s.run(0.01)
	got := s.took()
	if i := slices.Index(got, "stop"); i < 0 || !slices.Contains(got[i:], "continue") {
		t.Errorf("stopped and run again: %v", got)
	}
	s.hit("/clock/main/reset")
	got = s.took()
	if i := slices.Index(got, "start"); i < 1 || got[i-1] != "stop" || got[i+1] != "clock" {
		t.Errorf("reset: %v", got)
	}
}

// TestOutNotes plays at random: every note-on has one note-off, at its time or
// when it is struck again, and never before it.
func TestOutNotes(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 9))
	for range 300 {
		var n OutNotes
		type key struct {
			port string
			m    [2]byte
		}
		began := map[key]int64{}
		ended, last := 0, map[key]int64{}
		on := 0
		emit := func(port string, m midi.Message, frame int64) {
			k := key{port, [2]byte{m.Data[0] & 15, m.Data[1]}}
			if frame < last[k] {
				t.Fatalf("%v at %d, after what was at %d", m, frame, last[k])
			}
			last[k] = frame
			if m.IsNoteOn() {
				if _, sounds := began[k]; sounds {
					t.Fatalf("%v sounds already", m)
				}
				began[k] = frame
				on++
				return
			}
			if _, sounds := began[k]; !sounds {
				t.Fatalf("%v does not sound", m)
			}
			delete(began, k)
			ended++
		}
		frame := int64(1000)
		for range 200 {
			frame += rng.Int64N(50)
			switch rng.IntN(10) {
			case 0:
				n.Pump(frame, emit)
			case 1:
				if rng.IntN(10) == 0 {
					n.Release(emit)
				}
			default:
				n.Play([]string{"a", "b"}[rng.IntN(2)], rng.IntN(2), rng.IntN(6), rng.IntN(130), rng.Int64N(300), frame+rng.Int64N(100)-20, emit)
			}
		}
		n.Clear("a", 1, frame, emit)
		for k := range began {
			if k.port == "a" && k.m[0] == 1 {
				t.Fatalf("key %d sounds on a cleared channel", k.m[1])
			}
		}
		if rng.IntN(2) == 0 {
			n.Release(emit)
		} else {
			n.Pump(frame+1000, emit)
		}
		if len(began) > 0 || n.Playing() > 0 || on != ended || on == 0 {
			t.Fatalf("%d began, %d ended, %d are held, %d left", on, ended, n.Playing(), len(began))
		}
	}
}

// TestSend: what rules play elsewhere ends on time, at a panic and with the
// scene; a port that comes late is told what it missed.
func TestSend(t *testing.T) {
	s := newMIDIStage(t, &instrument.Patch{})
	s.Send(Out{Kind: OutNote, Port: "x", Channel: 2, Note: 60.4, Velocity: 90, Duration: 0.1}, s.frame+100)
	began := s.frame + 100
	s.run(0.3)
	if len(s.sent) != 2 || s.sent[0].frame != began || s.sent[1].frame != began+4800 || s.sent[1].port != "x" {
		t.Errorf("sent %v", s.sent)
	}
	s.sent = nil
	s.Send(Out{Kind: OutNote, Port: "x", Channel: 3, MPE: true, Note: 60.5, Velocity: 90, Duration: 9}, 0)
	got := s.took()
	if len(got) < 10 || got[0] != "cc ch 1 number 101 value 0" || got[len(got)-2] != "pitch bend ch 4 value -85" && got[len(got)-2] != "pitch bend ch 4 value 85" {
		t.Errorf("a note of MPE: %v", got)
	}
	s.Send(Out{Kind: OutNote, Port: "x", Channel: 3, MPE: true, Note: 64, Velocity: 90, Duration: 9}, 0)
	s.wantSent("the same pod again", "note off ch 4 key 61 velocity 64", "pitch bend ch 4 value 0", "note on ch 4 key 64 velocity 90")
	s.Send(Out{Kind: OutCC, Port: "x", Channel: 0, Number: 7, Value: 63.6}, 0)
	s.Send(Out{Kind: OutCC, Port: "x", Channel: 0, Number: 7, Value: 64}, 0)
	s.Send(Out{Kind: OutBend, Port: "x", Channel: 0, Value: -1}, 0)
	s.Send(Out{Kind: OutPressure, Port: "x", Channel: 0, Value: 500}, 0)
	s.Send(Out{Kind: OutProgram, Port: "x", Channel: 0, Number: 4}, 0)
	s.Send(Out{Kind: OutNote, Port: "x", Channel: 16, Note: 60}, 0)
	s.Send(Out{Kind: OutNote, Port: "x", Note: math.NaN()}, 0)
	s.wantSent("controls", "cc ch 1 number 7 value 64", "pitch bend ch 1 value -4096", "channel pressure ch 1 value 127", "program ch 1 number 4")
	s.Play("another", 8, StormCloud, Scale{})
	if s.held.Any() {
		t.Error("a note of the last scene sounds on")
	}
	s.sent = nil
	s.PortCame("the x")
	if s.sent[0].port != "the x" {
		t.Errorf("not only the port that came was told: %v", s.sent[0])
	}
	if got := s.took(); len(got) < 14 || got[len(got)-1] != "channel pressure ch 1 value 127" {
		t.Errorf("a port that came: %v", got)
	}
	s.PortCame("other")
	s.wantSent("another port that came")
}

// BenchmarkMIDI is a key that is struck and let go of, and the wheel between,
// as far as the queue to the engine.
func BenchmarkMIDI(b *testing.B) {
	for _, mode := range []string{"poly", "mono", "mpe"} {
		b.Run(mode, func(b *testing.B) {
			s := newMIDIStage(b, &instrument.Patch{Modules: []instrument.Module{module("midi_in/keys", "mode", mode)}})
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				ch, key := 1+i%15, 30+i%60
				s.MIDI("a", midi.On(ch, key, 100), s.frame)
				s.MIDI("a", midi.BendTo(ch, i%8000), s.frame)
				s.MIDI("a", midi.Off(ch, key, 0), s.frame)
				if i++; i%64 == 0 {
					s.block()
				}
			}
		})
	}
}
