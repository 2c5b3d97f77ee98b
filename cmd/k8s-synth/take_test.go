package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gitlab.com/gomidi/midi/v2/smf"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// incident makes a take of a recorded watch, on a scene, and lets hands and
// keys play along.
func incident(t testing.TB, scene string, speed float64) string {
	t.Helper()
	r := scenes.WatchReader{}
	for _, name := range []string{"pods", "deployments", "nodes", "services", "slices"} {
		f, err := os.Open(filepath.Join("..", "..", "scenes", "testdata", "watch", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		err = r.Read(name, f)
		f.Close()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := openStore().Open(scene)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "incident.take.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Watch().Write(f, scenes.TakeHead{From: "a test"}, s, scenes.Pace{Speed: speed}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// soundOf opens the sound of a take, until the test is over.
func soundOf(t testing.TB, path string, how takeHow) *takeSource {
	t.Helper()
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	src, err := takeSourceOf(r, nil, 0, how, nil, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.close)
	return src
}

// leftOf renders the first channel of a take as it sounded.
func leftOf(t testing.TB, path string) (out []float32) {
	t.Helper()
	if _, err := pour(context.Background(), soundOf(t, path, takeHow{}), path, 0, func(b [][]float32) error { out = append(out, b[0]...); return nil }); err != nil {
		t.Fatal(err)
	}
	return out
}

// renderedSum renders a take and sums up its bits.
func renderedSum(t testing.TB, path string, anew bool) (sum uint64, frames int64, peak float32) {
	t.Helper()
	src := soundOf(t, path, takeHow{anew: anew})
	h := fnv.New64a()
	frames, err := pour(context.Background(), src, path, 0, func(block [][]float32) error {
		for _, ch := range block {
			for _, v := range ch {
				peak = max(peak, v, -v)
			}
		}
		sumFrames(h, block)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return h.Sum64(), frames, peak
}

// sumFrames sums up the bits of a block, frame by frame, so that it does not
// matter how long blocks are.
func sumFrames(h io.Writer, block [][]float32) {
	var b []byte
	for i := range block[0] {
		for _, ch := range block {
			b = binary.LittleEndian.AppendUint32(b, math.Float32bits(ch[i]))
		}
	}
	_, _ = h.Write(b)
}

// A take that is played anew sounds the same each time, to the bit.
func TestTakePlayedAnewIsTheSame(t *testing.T) {
	path := incident(t, "crashloop", 20)
	first, frames, peak := renderedSum(t, path, true)
	if peak < 0.2 {
		t.Errorf("an incident of %d frames is silent: %g V", frames, peak)
	}
	for range 2 {
		if again, n, _ := renderedSum(t, path, true); again != first || n != frames {
			t.Errorf("%x of %d frames, and %x of %d before", again, n, first, frames)
		}
	}
}

// What is recorded while a take is played anew, with its rules and a change of
// scene, sounds as that did, to the bit.
func TestTakeOfATakeSoundsAsItDid(t *testing.T) {
	path := incident(t, "midi", 20)
	other, err := openStore().Open("crashloop")
	if err != nil {
		t.Fatal(err)
	}
	text, err := scenes.Encode(other)
	if err != nil {
		t.Fatal(err)
	}
	// A scene comes in the middle, and what hands do.
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	changed := filepath.Join(t.TempDir(), "changed.take.jsonl")
	f, err := os.Create(changed)
	if err != nil {
		t.Fatal(err)
	}
	w, err := scenes.NewTakeWriter(f, r.Head)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if n++; l.Transition != nil {
			at := mapping.Input{Present: l.Present, Frame: l.Frame}
			switch n {
			case 40:
				at.MIDI = &mapping.MIDIInput{Port: "keys", Message: midi.On(0, 64, 100)}
				err = w.Write(scenes.TakeLine{At: l.At, Input: at})
			case 70:
				err = w.Write(scenes.TakeLine{At: l.At, Scene: string(text), Launch: true, Crossfade: 0.3, Input: at})
			case 90:
				at.Panic = true
				err = w.Write(scenes.TakeLine{At: l.At, Input: at})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}

	again, err := scenes.OpenTake(changed)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	s, err := sceneOfTake(again)
	if err != nil {
		t.Fatal(err)
	}
	head := again.Head
	head.From, head.Time = "", time.Now()
	second := filepath.Join(t.TempDir(), "second.take.jsonl")
	take, err := createTake(second, head, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	p, err := newRetake(again, nil, 0, nil, take.input)
	if err != nil {
		t.Fatal(err)
	}
	p.heard = func(l *scenes.TakeLine, _ int64) {
		if l.Scene != "" {
			sc, err := again.Scene(l.Scene)
			if err != nil {
				t.Fatal(err)
			}
			take.scene(sc, p.rack.Present(), instrument.Change{At: l.Frame, Launch: l.Launch, Crossfade: l.Crossfade})
		}
	}
	p.refused = func(l *scenes.TakeLine, err error) { t.Errorf("%v: %v", l.At, err) }
	out := [][]float32{make([]float32, instrument.BlockSize), make([]float32, instrument.BlockSize)}
	h := fnv.New64a()
	for p.frames == 0 || p.frame < p.frames {
		if err := p.block(out); err != nil {
			t.Fatal(err)
		}
		sumFrames(h, out)
	}
	p.rack.RecordRest()
	if err := take.close(p.rack.Engine.Frame()); err != nil {
		t.Fatal(err)
	}
	sum, frames, peak := renderedSum(t, second, false)
	if sum != h.Sum64() || frames != p.frame || peak < 0.2 {
		t.Errorf("it is %x in %d frames with a peak of %g V, and was %x in %d", sum, frames, peak, h.Sum64(), p.frame)
	}
	if s.Name != "midi" || p.scene.Name != "crashloop" {
		t.Errorf("it went from %s to %s", s.Name, p.scene.Name)
	}
}

// The disk is slow, full or gone: the music does not wait, and it is told.
func TestTakeDoesNotWaitForTheDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	if take, err := createTake("/dev/full", scenes.TakeHead{Rate: 48000, Channels: 2, Time: time.Now()}, false, nil); err == nil {
		t.Error("a full disk is no error")
		_ = take.close(1)
	}
	// A pipe that nobody reads is a disk that takes forever.
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := exec.Command("mkfifo", fifo).Run(); err != nil {
		t.Skip("there is no mkfifo here")
	}
	got := make(chan []byte)
	hold := make(chan struct{})
	go func() {
		f, err := os.Open(fifo)
		if err != nil {
			close(got)
			return
		}
		defer f.Close()
		<-hold
		b, _ := io.ReadAll(f)
		got <- b
	}()
	take, err := createTake(fifo, scenes.TakeHead{Rate: 48000, Channels: 2, Time: time.Now()}, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	const lines = 2 * takeWaiting
	for i := range lines {
		take.input(mapping.Input{Present: int64(i), Panic: true})
	}
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("%d lines took %s", lines, d)
	}
	// The pipe's own buffer may have made room in between, and then some is told already.
	lost := take.lost
	close(hold)
	for len(take.lines) > 0 {
		time.Sleep(time.Millisecond)
	}
	take.input(mapping.Input{Present: lines, Show: true})
	// A pipe cannot be synced; all else is well.
	if err := take.close(lines); err != nil && !strings.Contains(err.Error(), "sync") {
		t.Error(err)
	}
	r, err := scenes.NewTakeReader("fifo", bytes.NewReader(<-got))
	if err != nil {
		t.Fatal(err)
	}
	told, panics := uint64(0), uint64(0)
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		told += l.Lost
		if l.Panic {
			panics++
		}
	}
	if told == 0 {
		t.Error("nothing was lost, so that nothing is shown")
	}
	if told < lost || told+panics != lines {
		t.Errorf("it tells of %d lost lines and has %d of %d; at the end %d were lost", told, panics, lines, lost)
	}
}

func TestTakeExportsMIDI(t *testing.T) {
	path := incident(t, "midi", 10)
	var a, b bytes.Buffer
	for _, to := range []*bytes.Buffer{&a, &b} {
		if _, err := exportMIDI(context.Background(), path, nil, to); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(a.Bytes(), b.Bytes()) {
		t.Error("it is another file each time")
	}
	f, err := smf.ReadFrom(bytes.NewReader(a.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	if f.Format() != 1 || f.TimeFormat != smf.MetricTicks(ticksPerBeat) {
		t.Errorf("format %d, time %v", f.Format(), f.TimeFormat)
	}
	scene, err := openStore().Open("midi")
	if err != nil {
		t.Fatal(err)
	}
	var bpm float64
	markers, notes := 0, 0
	var names []string
	for _, track := range f.Tracks {
		held := map[[2]uint8]int{}
		for _, e := range track {
			var text string
			var channel, key, velocity uint8
			switch {
			case e.Message.GetMetaTempo(&bpm):
			case e.Message.GetMetaTrackName(&text):
				names = append(names, text)
			case e.Message.GetMetaMarker(&text):
				markers++
			case e.Message.GetNoteStart(&channel, &key, &velocity):
				notes++
				held[[2]uint8{channel, key}]++
			case e.Message.GetNoteEnd(&channel, &key):
				if held[[2]uint8{channel, key}]--; held[[2]uint8{channel, key}] < 0 {
					t.Errorf("%s: a note ends that did not begin", names[len(names)-1])
					held[[2]uint8{channel, key}] = 0
				}
			}
		}
		for k, n := range held {
			if n != 0 {
				t.Errorf("%s: %d of note %v never end", names[len(names)-1], n, k)
			}
		}
	}
	if want := tempoOf(scene.Patch); math.Abs(bpm-want) > 0.01 {
		t.Errorf("tempo %g, the Clock's is %g", bpm, want)
	}
	if notes < 5 || markers < 30 || !slices.Contains(names, scoreConductor) || !slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, "out ") }) {
		t.Errorf("%d notes, %d markers in tracks %q", notes, markers, names)
	}
}

// What hands do is in the score: knobs as controllers, the tempo as tempo.
func TestTakeScoreFollowsHands(t *testing.T) {
	s := newScore(48000)
	s.tempo = []tempoChange{{0, 120}}
	turn := func(a mapping.Address, was, value float64, frame int64) {
		s.turn(&mapping.Input{Set: &mapping.SetInput{Address: a, Setpoint: mapping.Setpoint{Value: value}, Was: mapping.Setpoint{Value: was}}}, frame)
	}
	turn("/vco/v/tune", 0, 60, 48000)
	turn("/clock/c/tempo", 120, 60, 96000)
	s.note(3, 60.4, 100, 48000, 72000)
	s.note(3, 62, 100, 60000, 240000)
	f, err := s.file(480000)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, track := range f.Tracks {
		at := int64(0)
		for _, e := range track {
			at += int64(e.Delta)
			if e.Message.IsPlayable() {
				got = append(got, fmt.Sprintf("%d % x", at, []byte(e.Message)))
			}
		}
	}
	// A beat is half a second until 2 s, and a second after that.
	want := []string{"0 b0 0e 6e", "3840 b0 0e 30", "0 b0 0e 40", "1920 b0 0e 7f", "1920 93 3c 64", "2400 83 3c 40", "2400 93 3e 64", "6720 83 3e 40"}
	slices.Sort(got)
	if len(got) != len(want) || !slices.Contains(got, "1920 b0 0e 7f") || !slices.Contains(got, "2400 83 3c 40") || !slices.Contains(got, "6720 83 3e 40") {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTakeExportsATable(t *testing.T) {
	path := incident(t, "default", 10)
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	rows, err := exportCSV(r, &b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b.Bytes(), []byte("\r\n")) {
		t.Error("its lines do not end as RFC 4180 says")
	}
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	if len(all) != rows+1 || rows < 100 || !slices.Equal(all[0], csvColumns) {
		t.Fatalf("%d rows of %d, columns %q", len(all), rows, all[0])
	}
	replicas := false
	for _, row := range all[1:] {
		if _, err := time.Parse(time.RFC3339Nano, row[0]); err != nil {
			t.Fatal(err)
		}
		replicas = replicas || row[4] == "transition" && row[5] == "deployment/web" && row[7] == "replicas" && row[8] == "4" && row[9] == "7" && row[10] == "kube"
	}
	if !replicas {
		t.Error("that the Deployment was asked for seven is not in it")
	}
}

func TestTakeExportsEachChannel(t *testing.T) {
	path := incident(t, "case", 20)
	dir := t.TempDir()
	names, src, frames, err := exportWAV(context.Background(), path, nil, takeHow{anew: true}, dir, true, false)
	if err != nil {
		t.Fatal(err)
	}
	if src.exact || frames == 0 {
		t.Errorf("%d frames, exact %t", frames, src.exact)
	}
	stems, cvs := 0, 0
	var left []float32
	for _, name := range names {
		w, err := hardware.ReadWAV(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if len(w.Channels) != 1 || int64(w.Frames()) != frames {
			t.Errorf("%s has %d channels of %d frames, want 1 of %d", name, len(w.Channels), w.Frames(), frames)
		}
		switch {
		case strings.HasPrefix(name, "stem-"):
			stems++
		case strings.Contains(name, "-cv-"):
			cvs++
			peak := float32(0)
			for _, v := range w.Channels[0] {
				peak = max(peak, v, -v)
			}
			if peak > 1.2 {
				t.Errorf("%s goes to %g of 10 V", name, peak)
			}
		case name == "01-speaker-1.wav":
			left = w.Channels[0]
		}
	}
	if stems == 0 || cvs == 0 || left == nil {
		t.Errorf("%d stems and %d CVs: %q", stems, cvs, names)
	}
	// The jacks that are written beside change nothing of what is heard.
	r, err := scenes.OpenTake(path)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	plain, err := takeSourceOf(r, nil, 0, takeHow{anew: true}, nil, takeTail)
	if err != nil {
		t.Fatal(err)
	}
	at := 0
	if _, err := pour(context.Background(), plain, path, 0, func(block [][]float32) error {
		for _, v := range block[0] {
			if k := v * float32(1.0/instrument.AudioVolts); at < len(left) && left[at] != k {
				return fmt.Errorf("frame %d is %g, in the file %g", at, k, left[at])
			}
			at++
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
}

func TestTakeIsShown(t *testing.T) {
	path := incident(t, "default", 10)
	s, err := summarize(path)
	if err != nil {
		t.Fatal(err)
	}
	if !s.Ended || s.Seconds < 5 || s.Objects["pod"] < 40 || len(s.Scenes) != 1 || s.First == 0 || s.Last <= s.First {
		t.Errorf("%+v", s)
	}
	d := xml.NewDecoder(bytes.NewReader(s.svg()))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
	var b bytes.Buffer
	s.print(&b)
	for _, want := range []string{"default at", "pod │", "played anew"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is not in\n%s", want, b.String())
		}
	}
	b.Reset()
	if err := listTakes(&b, []string{filepath.Dir(path)}, true); err != nil {
		t.Fatal(err)
	}
	var list []takeEntry
	if err := json.Unmarshal(b.Bytes(), &list); err != nil || len(list) != 1 || list[0].Scene != "default" || math.Abs(list[0].Seconds-s.Seconds) > 0.01 {
		t.Errorf("%v: %+v", err, list)
	}
	b.Reset()
	if err := showEvents(&b, path); err != nil || strings.Count(b.String(), "\n") < 100 {
		t.Errorf("%v: %d lines", err, strings.Count(b.String(), "\n"))
	}
}

// A recording becomes a take by the commands, and one that is there is kept.
func TestTakeImportCommand(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "x.take.jsonl")
	run := func(args ...string) (string, error) {
		c := rootCommand()
		var b bytes.Buffer
		c.SetArgs(append([]string{"take"}, args...))
		c.SetOut(&b)
		c.SetErr(&b)
		err := c.Execute()
		return b.String(), err
	}
	watch := filepath.Join("..", "..", "scenes", "testdata", "watch")
	pods, deployments := filepath.Join(watch, "pods.json"), filepath.Join(watch, "deployments.json")
	if text, err := run("import", pods, deployments, "-o", out, "--speed", "10", "--rest", "1s"); err != nil || !strings.Contains(text, "on the scene k8s-synth") {
		t.Fatalf("%v: %s", err, text)
	}
	if _, err := run("import", pods, "-o", out); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("it wrote over a take: %v", err)
	}
	for _, args := range [][]string{{"import", pods}, {"import", pods, "-o", out, "--speed", "0"}, {"export", out}, {"export", out, "--csv", "x", "--stems"}} {
		if _, err := run(args...); err == nil {
			t.Errorf("%q is no mistake", args)
		}
	}
	text, err := run("export", out, "--midi", filepath.Join(dir, "x.mid"), "--csv", filepath.Join(dir, "x.csv"), "--wav", filepath.Join(dir, "wav"), "--dry-run")
	if err != nil || strings.Count(text, "would write") != 3 {
		t.Errorf("%v: %s", err, text)
	}
	if files, _ := os.ReadDir(dir); len(files) != 1 {
		t.Errorf("a dry run left %v", files)
	}
	// The scene that was made for it plays it.
	if _, frames, peak := renderedSum(t, out, false); frames == 0 || peak < 0.2 {
		t.Errorf("%d frames with a peak of %g V", frames, peak)
	}
}

// ruleScene has a gate and a CV of rules, and jacks of a case.
const ruleScene = `version: 1
name: rules
seed: 7
namespace: k8s-synth
modules:
  - id: rule/r
  - id: clock/main
    params: {tempo: 97}
  - id: lfo/l
  - id: vco/v
  - id: voice/chord
  - id: midi_in/keys
  - id: gate_out/beat
  - id: cv_out/wobble
  - id: audio_out/main
cables:
  - clock/main/gate -> gate_out/beat/in
  - lfo/l/sine -> cv_out/wobble/in
  - midi_in/keys/gate -> voice/chord/gate
  - midi_in/keys/pitch -> voice/chord/pitch
  - voice/chord/left -> audio_out/main/left
rules:
  - name: held
    when: kind == "deployment" && field == "replicas"
    gate: double(new) > 4.0
    channel: 3
  - name: much
    when: kind == "deployment" && field == "replicas"
    cv: double(new)
    channel: 2
  - name: struck
    when: kind == "pod" && field == "ready"
    note: 60
    duration: 0.2
    channel: 1
`

// ruleTake is a take in which replicas rise and stay, at 1 s, and keys play.
func ruleTake(t *testing.T) string {
	t.Helper()
	s, err := scenes.Parse("rules", []byte(ruleScene))
	if err != nil {
		t.Fatal(err)
	}
	text, err := scenes.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.take.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := scenes.NewTakeWriter(f, scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2, Scene: string(text), From: "a test"})
	if err != nil {
		t.Fatal(err)
	}
	fade := true
	web := mapping.Object{Kind: mapping.KindDeployment, Namespace: "k8s-synth", Name: "=web"}
	at := func(frame int64, in mapping.Input) {
		in.Present, in.Frame = max(frame-1000, 0), frame
		if err := w.Write(scenes.TakeLine{At: time.Duration(frame) * time.Second / 48000, Input: in}); err != nil {
			t.Fatal(err)
		}
	}
	at(0, mapping.Input{Fade: &fade})
	at(24000, mapping.Input{Transition: &mapping.Transition{Time: time.Now(), Object: web, Field: mapping.FieldExists, New: "true"}})
	at(48000, mapping.Input{Transition: &mapping.Transition{Time: time.Now(), Object: web, Field: mapping.FieldReplicas, Old: "3", New: "6"}})
	for i, key := range []int{60, 64, 67} {
		at(50000+int64(i), mapping.Input{MIDI: &mapping.MIDIInput{Port: "keys", Message: midi.On(0, key, 100)}})
	}
	at(240000, mapping.Input{Transition: &mapping.Transition{Time: time.Now(), Object: web, Field: mapping.FieldReady, Old: "", New: "-2"}})
	if err := w.Write(scenes.TakeLine{At: 6 * time.Second, Frames: 6 * 48000}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

// What rules hold is in the score as well: a gate as a note that ends though the
// gate never falls, a CV as a controller, each at its time.
func TestTakeScoreHasGatesAndCVs(t *testing.T) {
	var b bytes.Buffer
	if _, err := exportMIDI(context.Background(), ruleTake(t), nil, &b); err != nil {
		t.Fatal(err)
	}
	f, err := smf.ReadFrom(&b)
	if err != nil {
		t.Fatal(err)
	}
	type event struct {
		seconds float64
		data    string
	}
	tracks := map[string][]event{}
	for _, track := range f.Tracks {
		name, tick := "", int64(0)
		var all []event
		for _, e := range track {
			tick += int64(e.Delta)
			e.Message.GetMetaTrackName(&name)
			if e.Message.IsPlayable() {
				all = append(all, event{float64(f.TimeAt(tick)) / 1e6, fmt.Sprintf("%x", []byte(e.Message))})
			}
		}
		tracks[name] = all
	}
	tick := 60.0 / 97 / ticksPerBeat
	near := func(what string, got event, seconds float64, data string) {
		t.Helper()
		if math.Abs(got.seconds-seconds) > tick || got.data != data {
			t.Errorf("%s is %s at %.6f s, want %s at %.6f s", what, got.data, got.seconds, data, seconds)
		}
	}
	g := tracks["gates of rules"]
	if len(g) != 2 {
		t.Fatalf("the gate is %v; tracks %v", g, slices.Sorted(maps.Keys(tracks)))
	}
	near("the gate", g[0], 1, "923c64")
	near("its end", g[1], 6, "823c40")
	if cv := tracks["cv of rules"]; len(cv) < 2 {
		t.Errorf("the CV is %v", cv)
	} else {
		// 6 V is 8192 + 6 × 819.2 = 13107.
		last := cv[len(cv)-2:]
		if last[0].data != fmt.Sprintf("b110%02x", 13107>>7) || last[1].data != fmt.Sprintf("b130%02x", 13107&127) || math.Abs(last[0].seconds-1) > 0.05 {
			t.Errorf("the CV is %v", cv)
		}
	}
	if cv := tracks["cv wobble"]; len(cv) < 200 {
		t.Errorf("the LFO has %d changes in 6 s", len(cv))
	}
	// The Gate Out waits 2 ms, for the pitch beside it.
	beats := tracks["gate beat"]
	if len(beats) < 18 {
		t.Errorf("the clock's gate has %d events in 6 s", len(beats))
	}
	on := 0
	for _, e := range beats {
		if strings.HasPrefix(e.data, "90") {
			if want := 0.002 + float64(on)*60/97; math.Abs(e.seconds-want) > tick+1e-4 {
				t.Errorf("beat %d is at %.6f s, want %.6f s", on, e.seconds, want)
			}
			on++
		}
	}
	if 2*on != len(beats) {
		t.Errorf("%d of %d events of the gate are beginnings", on, len(beats))
	}
}

// A reader of the file is within a tick of the music after a thousand changes of
// tempo, each at a frame that is no tick.
func TestTakeScoreKeepsTime(t *testing.T) {
	s := newScore(48000)
	s.tempo = []tempoChange{{0, 90}}
	for i := range int64(1000) {
		s.tempo = append(s.tempo, tempoChange{7001*i + 13, 40 + math.Mod(float64(i)*37.7, 200)})
	}
	want := []int64{}
	for f := int64(17); f < 7200000; f += 9973 {
		want = append(want, f)
		s.add("x", f, 1, []byte{0x90, 60, 1})
	}
	f, err := s.file(8000000)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if _, err := f.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if f, err = smf.ReadFrom(&b); err != nil {
		t.Fatal(err)
	}
	// Read by the letter of the format: whole microseconds a beat.
	type change struct {
		tick, micros int64
		at           float64
	}
	changes := []change{{micros: 500000}}
	tick := int64(0)
	for _, e := range f.Tracks[0] {
		tick += int64(e.Delta)
		if b := []byte(e.Message); len(b) == 6 && b[0] == 0xFF && b[1] == 0x51 {
			last := changes[len(changes)-1]
			changes = append(changes, change{tick, int64(b[3])<<16 | int64(b[4])<<8 | int64(b[5]), last.at + float64((tick-last.tick)*last.micros)/1e6/ticksPerBeat})
		}
	}
	n, worst := 0, 0.0
	tick = 0
	for _, e := range f.Tracks[1] {
		tick += int64(e.Delta)
		if e.Message.IsPlayable() {
			i := len(changes) - 1
			for changes[i].tick > tick {
				i--
			}
			at := changes[i].at + float64((tick-changes[i].tick)*changes[i].micros)/1e6/ticksPerBeat
			worst = max(worst, math.Abs(at-float64(want[n])/48000))
			n++
		}
	}
	if longest := 60.0 / 40 / ticksPerBeat; n != len(want) || worst > longest {
		t.Errorf("%d of %d notes, the worst is %.6f s away; a tick is at most %.6f s", n, len(want), worst, longest)
	}
}

// A Clock that follows another one, faster than its knob says, makes the tempo.
func TestTakeScoreFollowsTheBeat(t *testing.T) {
	s := newScore(48000)
	s.tempo = []tempoChange{{0, 120}}
	for f := int64(0); f < 480000; f += 24000 {
		s.beat = append(s.beat, f)
	}
	for f := int64(480000); f < 960000; f += 16000 { // 180 BPM
		s.beat = append(s.beat, f)
	}
	for f := int64(960000); f < 1440000; f += 24000 {
		s.beat = append(s.beat, f)
	}
	s.beats()
	if len(s.tempo) != 32 || s.tempo[1] != (tempoChange{480000, 180}) || s.tempo[31] != (tempoChange{960000, 120}) {
		t.Errorf("%v", s.tempo)
	}
	tick := s.ticks()
	for i, f := range s.beat {
		if got := tick(f); got != int64(i)*ticksPerBeat {
			t.Fatalf("beat %d is at tick %d", i, got)
		}
	}
}

// Names of others' clusters do nothing in a spreadsheet, and numbers are numbers.
func TestTakeTableIsPlain(t *testing.T) {
	for text, want := range map[string]string{"=1+1": "'=1+1", "+x": "'+x", "-x": "'-x", "@x": "'@x", "\tx": "'\tx", "-2": "-2", "-2.5e-3": "-2.5e-3", "+2": "'+2", "web": "web", "": "", "-1+1": "'-1+1", "-": "'-"} {
		if got := plainCell(text); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
	r, err := scenes.OpenTake(ruleTake(t))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var b bytes.Buffer
	if _, err := exportCSV(r, &b); err != nil {
		t.Fatal(err)
	}
	all, err := csv.NewReader(&b).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	for _, row := range all[1:] {
		if len(row) != len(csvColumns) {
			t.Errorf("%d columns", len(row))
		}
		frame, _ := strconv.ParseFloat(row[2], 64)
		heard, err := strconv.ParseFloat(row[3], 64)
		if err != nil || math.Abs(heard-frame/48000) > 1e-6 {
			t.Errorf("%q is heard at %q", row[2], row[3])
		}
	}
}

// Each voltage of what is brought in is a stem, a file a channel, beside a table
// of levels; nothing is half done.
func TestTakeExportsVoltages(t *testing.T) {
	path, dir := ruleTake(t), t.TempDir()
	to := filepath.Join(dir, "wav")
	names, _, frames, err := exportWAV(context.Background(), path, nil, takeHow{}, to, true, false)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"01-speaker-1.wav", "03-cv-beat.wav", "04-cv-wobble.wav", "stem-midi_in-keys-pitch.wav", "stem-midi_in-keys-pitch-channel-2.wav", "stem-midi_in-keys-gate-channel-3.wav", "stem-voice-chord-left.wav"} {
		if !slices.Contains(names, want) {
			t.Errorf("there is no %s: %q", want, names)
		}
	}
	w, err := hardware.ReadWAV(filepath.Join(to, "stem-midi_in-keys-pitch-channel-2.wav"))
	if err != nil {
		t.Fatal(err)
	}
	// The second key is E, 4 semitones above C4: 1/3 V of 10.
	if v := w.Channels[0][200000]; int64(w.Frames()) != frames || math.Abs(float64(v)-0.1/3) > 1e-6 {
		t.Errorf("the second key is %g of 10 V in %d frames", v, w.Frames())
	}
	text, err := os.ReadFile(filepath.Join(to, levelsFile))
	if err != nil || strings.Count(string(text), "\r\n") != len(names)+1 || !strings.Contains(string(text), "03-cv-beat.wav,jack beat,10,48000,288000") {
		t.Errorf("%v: %s", err, text)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, _, _, err := exportWAV(ctx, path, nil, takeHow{}, filepath.Join(dir, "other"), true, false); err == nil {
		t.Error("an export that was ended is whole")
	}
	if _, _, _, err := exportWAV(context.Background(), path, nil, takeHow{}, to, true, false); err == nil || !strings.Contains(err.Error(), "--force") {
		t.Errorf("it wrote over an export: %v", err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	if _, _, _, err := exportWAV(context.Background(), path, nil, takeHow{}, to, false, true); err != nil {
		t.Error(err)
	}
}

// An export onto what it reads is refused, by whatever name.
func TestTakeIsNotExportedOntoItself(t *testing.T) {
	path := ruleTake(t)
	dir := filepath.Dir(path)
	hard, soft := filepath.Join(dir, "hard.csv"), filepath.Join(dir, "soft.csv")
	if err := errors.Join(os.Link(path, hard), os.Symlink(path, soft), os.Mkdir(filepath.Join(dir, "sub"), 0o700)); err != nil {
		t.Skip(err)
	}
	was, _ := os.ReadFile(path)
	for _, to := range []string{path, hard, soft, filepath.Join(dir, "sub", "..", filepath.Base(path)), scenes.InputsPath(path)} {
		for _, args := range [][]string{{"take", "export", path, "--force", "--csv", to}, {"take", "export", path, "--force", "--midi", to}, {"render", "--take", path, "-o", to}, {"take", "show", path, "--force", "--svg", to}} {
			c := rootCommand()
			c.SetArgs(args)
			c.SetOut(io.Discard)
			c.SetErr(io.Discard)
			if err := c.Execute(); err == nil || !strings.Contains(err.Error(), "is what is read") {
				t.Errorf("%q: %v", args, err)
			}
		}
	}
	if is, _ := os.ReadFile(path); !bytes.Equal(is, was) {
		t.Error("the take is another")
	}
}
