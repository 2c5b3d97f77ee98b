package main

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// rendersAsHeard renders a session's take with the program, and compares it
// with what was recorded of the sound: it must be the same to the bit.
func rendersAsHeard(t *testing.T, s *session) {
	t.Helper()
	wav := filepath.Join(s.dir, "rendered.wav")
	for range 2 {
		if out, err := exec.Command(program(t, "k8s-synth"), "render", "--take", s.take, "-o", wav).CombinedOutput(); err != nil {
			t.Fatalf("render: %v\n%s", err, out)
		}
	}
	heard, err := hardware.ReadWAV(s.wav)
	if err != nil {
		t.Fatal(err)
	}
	got, err := hardware.ReadWAV(wav)
	if err != nil {
		t.Fatal(err)
	}
	if got.Frames() < heard.Frames() || heard.Frames() < 5*heard.Rate {
		t.Fatalf("the take has %d frames, heard were %d", got.Frames(), heard.Frames())
	}
	other, first := 0, -1
	for c := range heard.Channels {
		for i, v := range heard.Channels[c] {
			if math.Float32bits(v) != math.Float32bits(got.Channels[c][i]) {
				if other++; first < 0 || i < first {
					first = i
				}
			}
		}
	}
	sum, err := summarize(s.take)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d frames, %d samples are others; %d events of the engine, %d late", heard.Frames(), other, sum.Engine, sum.Late)
	if other > 0 {
		t.Errorf("%d samples of the take are not what was heard, the first at frame %d", other, first)
	}
}

// A night on a cluster of its own, with hands, another scene and a panic, is
// rendered from its take to the bit as it was heard.
func TestEndToEndTakeSoundsAsItWasHeard(t *testing.T) {
	needE2E(t, "oscsend")
	s := startPlay(t, nil, "--device", "null", "--scene", "default")
	s.waitReady(60*time.Second, 4)
	s.replicas(6)
	s.waitReady(30*time.Second, 6)
	s.oscsend("/voice/chord/root", "f", "82.5")
	s.oscsend("/pull", "s", "voice/drone/gate")
	time.Sleep(time.Second)
	s.oscsend("/undo")
	s.oscsend("/scene/load", "s", "crashloop")
	time.Sleep(4 * time.Second)
	s.oscsend("/panic")
	time.Sleep(2 * time.Second)
	s.end(25 * time.Second)
	rendersAsHeard(t, s)
	sum, err := summarize(s.take)
	if err != nil {
		t.Fatal(err)
	}
	if !sum.Ended || sum.Lost > 0 || sum.Counts["scene"] != 1 || sum.Counts["panic"] == 0 || sum.Counts["param"] < 2 || sum.Counts["wiring"] == 0 || len(sum.Scenes) != 2 {
		t.Errorf("the take has %v, scenes %v, %d lines lost", sum.Counts, sum.Scenes, sum.Lost)
	}
	// Whoever is killed leaves a take that is read up to where it was.
	killed := filepath.Join(s.dir, "killed.take.jsonl")
	whole, err := os.ReadFile(s.take)
	if err == nil {
		err = os.WriteFile(killed, whole[:len(whole)*2/3], 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, frames, _ := renderedSum(t, killed, false); frames < 5*48000 {
		t.Errorf("two thirds of a take have %d frames", frames)
	}
}

// A recorded incident is played live, without a cluster: the rack shows it, a
// knob plays along, and what came of it is a take of its own.
func TestEndToEndTakeIsPlayedAgain(t *testing.T) {
	needE2E(t, "oscsend")
	s := startPlay(t, nil, "--device", "null", "--replay", incident(t, "default", 3))
	s.wait(20*time.Second, "seven pods", func(p *playStatus) bool { return p.Cluster.Ready == 7 && p.Cluster.Synced })
	s.oscsend("/voice/chord/root", "f", "82.5")
	for _, n := range s.last().Neighbours {
		if n.PID != 0 || n.Starts != 0 {
			t.Errorf("%s was started %d times", n.Name, n.Starts)
		}
	}
	select {
	case <-s.ended:
	case <-time.After(time.Minute):
		t.Fatal("the take does not end")
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d", code)
	}
	rendersAsHeard(t, s)
	r, err := scenes.OpenTake(s.take)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	turned, pods := false, 0
	for {
		l, err := r.Next()
		if err != nil {
			break
		}
		turned = turned || l.Set != nil && l.Set.Address == "/voice/chord/root" && l.Source != sourceTake
		if l.Transition != nil && l.Transition.Object.Kind == mapping.KindPod {
			pods++
		}
	}
	if !turned || pods < 40 {
		t.Errorf("the new take has the knob: %t, and %d transitions of pods", turned, pods)
	}
}

// A take in a loop begins anew, with nothing left of the lap before.
func TestEndToEndTakeInALoop(t *testing.T) {
	needE2E(t)
	s := startPlay(t, nil, "--device", "null", "--loop", "--replay", incident(t, "default", 20))
	for range 2 {
		s.wait(20*time.Second, "seven pods", func(p *playStatus) bool { return p.Cluster.Ready == 7 })
		s.wait(20*time.Second, "the next lap", func(p *playStatus) bool { return p.Cluster.Pods <= 4 })
	}
	s.end(10 * time.Second)
	rendersAsHeard(t, s)
}
