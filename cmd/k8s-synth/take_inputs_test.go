package main

import (
	"context"
	"errors"
	"hash/fnv"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// earScene hears a sound and a voltage of other gear: the voltage bends a VCO.
const earScene = `version: 1
name: ears
seed: 7
namespace: k8s-synth
modules:
  - id: audio_in/gear
    params: {jack: left right}
  - id: cv_in/bend
  - id: vco/v
  - id: mixer/main
  - id: audio_out/main
cables:
  - cv_in/bend/out -> vco/v/pitch
  - vco/v/sine -> mixer/main/left_1
  - audio_in/gear/left -> mixer/main/left_2
  - audio_in/gear/right -> mixer/main/right_2
  - mixer/main/left -> audio_out/main/left
  - mixer/main/right -> audio_out/main/right
`

// gear is what other gear sends at a frame: a voltage that goes up and down, and
// two sounds.
func gear(c int, frame int64) float32 {
	at := float64(frame) / 48000
	switch c {
	case 1:
		return float32(2 * math.Sin(2*math.Pi*0.7*at))
	case 3, 4:
		return float32(3*math.Sin(2*math.Pi*float64(110*c)*at) + 0.001*math.Sin(float64(frame*frame%977)))
	}
	return 5 // nobody listens to it
}

var earJacks = instrument.Sockets{Outputs: map[string]int{}, Inputs: map[string]int{"other": 0, "bend": 1, "left": 3, "right": 4}}

// ears plays a scene that listens to gear, as play does but without a device,
// and returns the sum of what was heard. Until is called after each block.
func ears(t *testing.T, path string, takeInputs bool, blocks int, until func(n int, rack *mapping.Rack, take *takeFile)) (sum uint64) {
	t.Helper()
	s, err := scenes.Parse("ears", []byte(earScene))
	if err != nil {
		t.Fatal(err)
	}
	text, err := scenes.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	h := scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2, Scene: string(text), Sockets: &scenes.TakeSockets{Inputs: earJacks.Inputs}}
	jacks := earJacks.Inputs
	if !takeInputs {
		jacks, h.Inputs = nil, &scenes.TakeInputs{Left: true}
	}
	take, err := createTake(path, h, false, jacks)
	if err != nil {
		t.Fatal(err)
	}
	rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2, Seed: s.Seed, Storm: s.Storm, StormPolicy: s.StormPolicy, Scale: s.Notes(), Namespace: s.Namespace, Scene: s.Name,
		Sockets: earJacks, Program: compileProgram, Recorded: take.input})
	if err := rack.Load(s.Patch); err != nil {
		t.Fatal(err)
	}
	p := &player{take: take}
	renderer := p.heard(rack.Engine)
	rack.Fade(true)
	out := [][]float32{make([]float32, instrument.BlockSize), make([]float32, instrument.BlockSize)}
	in := make([][]float32, 5)
	for c := range in {
		in[c] = make([]float32, instrument.BlockSize)
	}
	all := fnv.New64a()
	for n := range blocks {
		at := int64(n * instrument.BlockSize)
		for c := range in {
			for i := range in[c] {
				in[c][i] = gear(c, at+int64(i))
			}
		}
		renderer.Render(out, in)
		sumFrames(all, out)
		if n%4 == 3 {
			rack.Pump(at + 600)
		}
		if until != nil {
			until(n, rack, take)
		}
	}
	rack.Fade(false)
	rack.RecordRest()
	if err := take.close(rack.Engine.Frame()); err != nil {
		t.Fatal(err)
	}
	return all.Sum64()
}

// What gear sent while a take was recorded is heard again when it is rendered,
// to the bit, and so is a jack that somebody listens to later.
func TestTakeHearsItsInputsAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ears.take.jsonl")
	const blocks = 1500 // 2 s
	sum := ears(t, path, true, blocks, func(n int, rack *mapping.Rack, _ *takeFile) {
		if n%100 == 0 {
			time.Sleep(time.Millisecond) // the disk has its turn
		}
		var err error
		switch n {
		case 400:
			err = rack.Set("/audio_in/gear/jack", 0, "other left", "hand", 0)
		case 700:
			err = rack.Set("/vco/v/tune", 5, "", "hand", int64(720*instrument.BlockSize+13))
		}
		if err != nil {
			t.Error(err)
		}
	})
	for range 2 {
		got, frames, peak := renderedSum(t, path, false)
		if got != sum || frames != blocks*instrument.BlockSize || peak < 0.5 {
			t.Errorf("it is %x in %d frames with a peak of %g V, and was %x in %d", got, frames, peak, sum, blocks*instrument.BlockSize)
		}
	}
	// Only what is listened to is kept.
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	in, err := r.Inputs()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	b := make([][]float32, in.Channels())
	for c := range b {
		b[c] = make([]float32, 64)
	}
	if _, err := in.Read(6400, b); err != nil || b[2][0] != 0 || b[1][5] != gear(1, 6405) {
		t.Errorf("%v: %g %g", err, b[2][0], b[1][5])
	}
	for _, name := range []string{path, scenes.InputsPath(path)} {
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	// Without the file it is not played as if nothing was missing.
	if err := os.Rename(scenes.InputsPath(path), scenes.InputsPath(path)+"x"); err != nil {
		t.Fatal(err)
	}
	if _, err := takeSourceOf(r, nil, 0, takeHow{}, nil, 1); err == nil || !strings.Contains(err.Error(), "not there") {
		t.Errorf("the inputs are missing: %v", err)
	}
	src := soundOf(t, path, takeHow{deaf: true})
	if _, err := pour(context.Background(), src, path, 0, func([][]float32) error { return nil }); err != nil || !strings.Contains(strings.Join(src.remarks(), " "), "left out") {
		t.Errorf("%v: %q", err, src.remarks())
	}
}

// A take that leaves its inputs out says so.
func TestTakeWithoutItsInputs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deaf.take.jsonl")
	sum := ears(t, path, false, 200, nil)
	if got, _, _ := renderedSum(t, path, false); got == sum {
		t.Error("it sounds the same, so that nothing is shown")
	}
	if _, err := os.Stat(scenes.InputsPath(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Error("what was captured was kept")
	}
	src := soundOf(t, path, takeHow{})
	if _, err := pour(context.Background(), src, path, 0, func([][]float32) error { return nil }); err != nil || len(src.remarks()) != 1 || src.how() == "as it was played" {
		t.Errorf("%v: %q, %q", err, src.how(), src.remarks())
	}
}

// Whoever is killed leaves a take that sounds as it did up to a whole chunk.
func TestTakeThatWasKilledHearsItsInputs(t *testing.T) {
	dir := t.TempDir()
	path, cut := filepath.Join(dir, "ears.take.jsonl"), filepath.Join(dir, "cut.take.jsonl")
	ears(t, path, true, 3000, nil)
	want := leftOf(t, path)
	for _, name := range []string{"", ".inputs"} {
		b, err := os.ReadFile(path + name)
		if err != nil {
			t.Fatal(err)
		}
		if name == ".inputs" {
			b = b[:len(b)*3/5]
		}
		if err := os.WriteFile(cut+name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got := leftOf(t, cut)
	if len(got) < 1000*64 || len(got) >= len(want) || len(got)%64 != 0 {
		t.Fatalf("%d of %d frames", len(got), len(want))
	}
	for i, v := range got {
		if math.Float32bits(v) != math.Float32bits(want[i]) {
			t.Fatalf("frame %d is %g, and was %g", i, v, want[i])
		}
	}
}

// The audio thread neither allocates nor waits, whatever the disk does; what
// found no room is counted and 0 V.
func TestInputRingDoesNotWait(t *testing.T) {
	ring := newInputRing(5)
	tap := &inputTap{next: silentRenderer{}, ring: ring}
	out, in := [][]float32{make([]float32, 64)}, make([][]float32, 5)
	for c := range in {
		in[c] = make([]float32, 64)
	}
	if n := testing.AllocsPerRun(2*inputsWaiting, func() { tap.Render(out, in) }); n != 0 {
		t.Errorf("%g allocations a block", n)
	}
	if lost := ring.lost.Load(); lost < 64*inputsWaiting {
		t.Errorf("%d frames are lost of %d blocks that found no room", lost, inputsWaiting)
	}
	if b := ring.oldest(); b == nil || b.frame != 0 || b.frames != 64 {
		t.Errorf("the oldest is %+v", b)
	}
}

type silentRenderer struct{}

func (silentRenderer) Render(out, in [][]float32) {}

// gotRenderer keeps what a take is fed to in a test.
type gotRenderer struct{ got [][]float32 }

func (g *gotRenderer) Render(_, in [][]float32) {
	for len(g.got) < len(in) {
		g.got = append(g.got, nil)
	}
	for c := range in {
		g.got[c] = append(g.got[c], in[c]...)
	}
}

// On the live instrument the inputs of a take are heard at their frames, behind
// those of the rig, and nothing is allocated for it.
func TestReplayFeedsItsInputs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ears.take.jsonl")
	ears(t, path, true, 1500, nil)
	take, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer take.Close()
	r := &replay{path: path, head: take.Head, channels: 5}
	_, sockets := r.sockets(2, instrument.Sockets{Inputs: map[string]int{"mic": 0, "bend": 1}})
	if sockets.Inputs["mic"] != 0 || sockets.Inputs["bend"] != 3 || sockets.Inputs["left"] != 5 {
		t.Fatalf("the jacks are at %v", sockets.Inputs)
	}
	g := &gotRenderer{}
	tap := r.feed(g)
	r.shift = 1000 // no multiple of a block
	s0 := r.prepare(0, nil)
	if s0.err != nil {
		t.Fatal(s0.err)
	}
	defer s0.drop()
	r.follow(960, s0)
	defer r.close()
	s := r.tap.inputs.Load()
	for s.ring.tail.Load() < feedBlocks/2 {
		time.Sleep(time.Millisecond)
	}
	out, in := [][]float32{make([]float32, 64)}, [][]float32{make([]float32, 64), make([]float32, 64)}
	for c := range in {
		for i := range in[c] {
			in[c][i] = float32(c + 1)
		}
	}
	for range 400 {
		tap.Render(out, in)
	}
	for i := range g.got[0] {
		at := int64(i) - r.shift
		want := []float32{1, 2, 0, gear(1, at), 0, gear(3, at), gear(4, at)}
		for c, w := range want {
			if at < 0 && c > 2 {
				w = 0
			}
			if g.got[c][i] != w {
				t.Fatalf("channel %d at frame %d is %g, want %g", c, i, g.got[c][i], w)
			}
		}
	}
	if late := r.tap.late.Load(); late > 0 {
		t.Errorf("%d frames came late", late)
	}
	tap2 := r.feed(silentRenderer{})
	if n := testing.AllocsPerRun(100, func() { tap2.Render(out, in) }); n != 0 {
		t.Errorf("%g allocations a block", n)
	}
}

// A take that is played live exactly sounds as it did, to the bit, from any
// place on, once it has faded in.
func TestReplayIsExact(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ears.take.jsonl")
	ears(t, path, true, 3000, func(n int, rack *mapping.Rack, _ *takeFile) {
		if n == 900 {
			if err := rack.Set("/vco/v/tune", 7, "", "hand", 0); err != nil {
				t.Error(err)
			}
		}
	})
	r0, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r0.Close()
	was := leftOf(t, path)
	for _, from := range []int64{0, 77777} {
		r := &replay{path: path, head: r0.Head, exact: true, own: true, stretch: 1}
		r.sockets(2, instrument.Sockets{})
		tap := r.feed(silentRenderer{})
		s := r.prepare(from, nil)
		if s.err != nil {
			t.Fatal(s.err)
		}
		const live = 6400
		r.shift = live - from
		r.follow(live, s)
		src := r.tap.sound.Load()
		out := [][]float32{make([]float32, 64), make([]float32, 64)}
		var heard []float32
		for len(heard) < 100000 {
			for !src.over.Load() && src.ring.tail.Load()-src.ring.head.Load() < 8 {
				time.Sleep(time.Millisecond)
			}
			tap.Render(out, nil)
			heard = append(heard, out[0]...)
		}
		wrong := 0
		for i := live + feedFade + 64; i < len(heard); i++ {
			if at := int64(i) - r.shift; at < int64(len(was)) && math.Float32bits(heard[i]) != math.Float32bits(was[at]) {
				wrong++
			}
		}
		if wrong > 0 || r.tap.late.Load() > 0 {
			t.Errorf("from %d: %d samples are others, %d came late", from, wrong, r.tap.late.Load())
		}
		// A panic takes it away without a step.
		r.silence()
		last, step, own := heard[len(heard)-1], float32(0), float32(0)
		for i := 1; i < len(was); i++ {
			own = max(own, was[i]-was[i-1], was[i-1]-was[i])
		}
		for range 60 {
			for !src.over.Load() && src.ring.tail.Load()-src.ring.head.Load() < 8 {
				time.Sleep(time.Millisecond)
			}
			tap.Render(out, nil)
			for _, v := range out[0] {
				step = max(step, v-last, last-v)
				last = v
			}
		}
		if last != 0 || step > 1.05*own {
			t.Errorf("after a panic it is at %g V, with a step of %g V", last, step)
		}
		s.drop()
		r.close()
	}
}

// A take is never written over by mistake, and gives way only to one that sounds.
func TestTakeIsNotWrittenOver(t *testing.T) {
	path := filepath.Join(t.TempDir(), "night.take.jsonl")
	ears(t, path, true, 100, nil)
	was, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	h := scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2}
	if _, err := createTake(path, h, false, nil); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("it is there: %v", err)
	}
	take, err := createTake(path, h, true, nil)
	if err != nil {
		t.Fatal(err)
	}
	take.input(mapping.Input{Show: true})
	if err := take.close(10); err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(path); err != nil || string(is) != string(was) {
		t.Errorf("a take without a sound took its place: %v", err)
	}
	if take, err = createTake(path, h, true, nil); err != nil {
		t.Fatal(err)
	}
	take.input(mapping.Input{Applied: []instrument.Applied{{Seq: 1}}})
	if err := take.close(10); err != nil {
		t.Fatal(err)
	}
	if is, err := os.ReadFile(path); err != nil || string(is) == string(was) {
		t.Errorf("it was not replaced: %v", err)
	}
	if _, err := os.Stat(scenes.InputsPath(path)); err == nil {
		t.Error("the inputs of the one before are left")
	}
	left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	// One that never sounded leaves nothing.
	other := filepath.Join(filepath.Dir(path), "other.take.jsonl")
	if take, err = createTake(other, h, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := take.close(0); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(other); err == nil {
		t.Error("a take of nothing is left")
	}
}

func TestTakeTimes(t *testing.T) {
	for text, want := range map[string]float64{"0": 0, "83.5": 83.5, "1:23": 83, "1:23.5": 83.5, "1:02:03": 3723, "90s": 90, "1h2m3s": 3723} {
		if d, err := parseTakeTime(text); err != nil || math.Abs(d.Seconds()-want) > 1e-9 {
			t.Errorf("%s is %s, %v", text, d, err)
		}
	}
	for _, text := range []string{"", "x", "-1", "1:60", "1:2:3:4", "1.5:3", "1:", "25h", "NaN", "1e3", "+5"} {
		if d, err := parseTakeTime(text); err == nil {
			t.Errorf("%q is %s", text, d)
		}
	}
}

// How things stood at a place is what happened last of each, and no note.
func TestReplayStateIsAsItStood(t *testing.T) {
	s := &replayState{}
	pod := func(name, field, value string) scenes.TakeLine {
		return scenes.TakeLine{Input: mapping.Input{Transition: &mapping.Transition{Object: mapping.Object{Kind: mapping.KindPod, Name: name}, Field: field, New: value}}}
	}
	set := func(a mapping.Address, v float64) scenes.TakeLine {
		return scenes.TakeLine{Input: mapping.Input{Set: &mapping.SetInput{Address: a, Setpoint: mapping.Setpoint{Value: v}}}}
	}
	key := func(m midi.Message) scenes.TakeLine {
		return scenes.TakeLine{Input: mapping.Input{MIDI: &mapping.MIDIInput{Port: "keys", Message: m}}}
	}
	for _, l := range []scenes.TakeLine{
		set("/vco/v/tune", 1), {Scene: "other"}, set("/vco/v/tune", 2), set("/vco/v/pitch", 3), set("/vco/v/tune", 4),
		pod("a", mapping.FieldExists, "true"), pod("a", mapping.FieldPhase, "Pending"), pod("b", mapping.FieldExists, "true"), pod("a", mapping.FieldPhase, "Running"), pod("b", mapping.FieldExists, ""),
		key(midi.On(0, 60, 100)), key(midi.CC(0, 1, 10)), key(midi.CC(0, 64, 127)), key(midi.CC(0, 1, 90)), key(midi.BendTo(0, 5)),
		{Input: mapping.Input{Panic: true}}, {Input: mapping.Input{Show: true}},
	} {
		s.see(l)
	}
	s.pack()
	s.thin()
	if s.scene != "other" || s.silenced || len(s.steps) != 1 || s.steps[0].Set.Value != 4 || s.turned["/vco/v/tune"] != 0 {
		t.Errorf("scene %q, silenced %t, steps %+v", s.scene, s.silenced, s.steps)
	}
	if len(s.objects) != 1 || len(s.order) != 1 {
		t.Fatalf("objects %v in order %q", s.objects, s.order)
	}
	if p := s.objects[s.order[0]].values[mapping.FieldPhase]; p.New != "Running" || !p.Quiet {
		t.Errorf("the pod is %+v", p)
	}
	var controls []string
	for _, k := range s.keys {
		controls = append(controls, string(s.controls[k].MIDI.Message.Bytes(nil)))
	}
	if len(controls) != 3 || controls[0] != "\xb0\x40\x7f" || controls[1] != "\xb0\x01\x5a" {
		t.Errorf("the controls are %x", controls)
	}
	s.see(scenes.TakeLine{Input: mapping.Input{Port: &mapping.PortInput{Name: "keys"}}})
	s.see(scenes.TakeLine{Input: mapping.Input{Panic: true}})
	if len(s.keys) != 0 || len(s.controls) != 0 || !s.silenced {
		t.Errorf("after its port went: %v; silenced %t", s.keys, s.silenced)
	}
}
