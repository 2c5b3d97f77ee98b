package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// lapScene has a gate, a voltage and a knob that hands reach.
const lapScene = `version: 1
name: laps
seed: 3
namespace: k8s-synth
modules:
  - id: voice/v
  - id: vco/v
  - id: audio_out/main
cables:
  - voice/v/left -> audio_out/main/left
  - vco/v/sine -> audio_out/main/right
`

// lapTake writes a take of some seconds on lapScene: lines come with seconds.
func lapTake(t *testing.T, seconds float64, lines func(scene string, at func(seconds float64, l scenes.TakeLine))) string {
	t.Helper()
	s, err := scenes.Parse("laps", []byte(lapScene))
	if err != nil {
		t.Fatal(err)
	}
	text, err := scenes.Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "laps.take.jsonl")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w, err := scenes.NewTakeWriter(f, scenes.TakeHead{Time: time.Now(), Rate: 48000, Channels: 2, Scene: string(text)})
	if err != nil {
		t.Fatal(err)
	}
	lines(string(text), func(seconds float64, l scenes.TakeLine) {
		frame := int64(seconds * 48000)
		l.At, l.Present = time.Duration(seconds*1e9), frame
		if l.Scene == "" && !l.Panic && !l.Show {
			l.Frame = frame + 1
		}
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Write(scenes.TakeLine{At: time.Duration(seconds * 1e9), Frames: int64(seconds * 48000)}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func setLine(a mapping.Address, volts float64) scenes.TakeLine {
	return scenes.TakeLine{Input: mapping.Input{Set: &mapping.SetInput{Address: a, Setpoint: mapping.Setpoint{Value: volts}}}}
}

// replays is a player of a take, on a device that keeps time.
func replays(t *testing.T, path string, how func(o *playOptions)) *player {
	t.Helper()
	p := stagePlayer(t)
	p.kube = &neighbour{name: "k8s-synth-kube", log: p.log, mute: true}
	p.o.replay, p.o.takeInputs, p.scene = path, true, nil
	if how != nil {
		how(&p.o)
	}
	if err := p.openReplay(); err != nil {
		t.Fatal(err)
	}
	p.replay.sockets(2, instrument.Sockets{})
	p.replay.feed(silentRenderer{})
	t.Cleanup(p.replay.close)
	if err := p.rack.Load(p.scene.Patch); err != nil {
		t.Fatal(err)
	}
	return p
}

// replayed does what the control goroutine does until ok, at most ten seconds.
func (p *player) replayed(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		select {
		case f := <-p.calls:
			f()
		case <-time.After(2 * time.Millisecond):
		}
		present := p.present(time.Now())
		p.replayUntil(present)
		p.rack.Pump(present)
		_ = p.goOn()
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

// Of places that are sought one after the other the last is gone to, once, and
// none that was called off, ready or not.
func TestReplaySeekCalledOff(t *testing.T) {
	path := lapTake(t, 3600, func(_ string, at func(float64, scenes.TakeLine)) {
		for i := range 20000 {
			at(float64(i)*0.17, setLine("/vco/v/tune", float64(i%24)))
		}
	})
	p := replays(t, path, nil)
	p.replayed(t, "its beginning", func() bool { return p.replay.began })
	r := p.replay
	wrong := 0
	for i := range 25 {
		laps := r.laps
		if err := p.seekTo("55:00", "hand"); err != nil {
			t.Fatal(err)
		}
		if i%2 == 1 { // the first is ready, and nobody has come for it
			for len(r.starts) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		if err := p.seekTo("0:10", "hand"); err != nil {
			t.Fatal(err)
		}
		p.replayed(t, "the place", func() bool { return r.seeking == nil })
		end := time.Now().Add(80 * time.Millisecond)
		p.replayed(t, "what comes late", func() bool { return time.Now().After(end) })
		// Where it is: the take's frame at the present.
		at := float64(p.present(time.Now())-r.shift) / 48000
		if r.laps != laps+1 || at < 9 || at > 15 {
			wrong++
			t.Logf("seek %d: it went to %d places and is at %.1f s", i, r.laps-laps, at)
		}
	}
	if wrong > 0 {
		t.Errorf("%d of 25 seeks ended elsewhere", wrong)
	}
}

// What a hand silenced stays silent through laps, scenes and resumes of the take,
// until a hand resumes, seeks or plays another scene.
func TestReplayPanicStays(t *testing.T) {
	pod := mapping.Object{Kind: mapping.KindPod, Namespace: "k8s-synth", Name: "web-1"}
	path := lapTake(t, 0.3, func(scene string, at func(float64, scenes.TakeLine)) {
		at(0.05, scenes.TakeLine{Input: mapping.Input{Transition: &mapping.Transition{Time: time.Now(), Object: pod, Field: mapping.FieldExists, New: "true"}}})
		at(0.10, scenes.TakeLine{Scene: scene, Launch: true})
		at(0.15, scenes.TakeLine{Input: mapping.Input{Panic: true}})
		at(0.20, scenes.TakeLine{Input: mapping.Input{Show: true}})
	})
	for _, exact := range []bool{false, true} {
		p := replays(t, path, func(o *playOptions) { o.loop = true })
		if exact {
			// The take holds no sound: what lets it out is looked at alone.
			p.replay.tap = &feedTap{exact: true}
		}
		silenced, hands := uint32(0), uint32(0)
		p.rack.Silence = func() uint32 { silenced++; return silenced }
		r := p.replay
		muted := func() bool { return exact && !r.tap.mute.Load() }
		laps := func(n int) {
			t.Helper()
			until := r.laps + n
			p.replayed(t, "laps", func() bool { return r.laps >= until })
		}
		silent := func(what string) {
			t.Helper()
			hands++
			until := r.laps + 3
			p.replayed(t, "laps after "+what, func() bool {
				if !p.rack.Silenced() || muted() {
					t.Fatalf("exact %t: after %s it is heard again by itself, after %d laps", exact, what, r.laps-until+3)
				}
				return r.laps >= until
			})
		}
		heard := func(what string) {
			t.Helper()
			p.replayed(t, "sound after "+what, func() bool { return !p.rack.Silenced() && !(exact && r.tap.mute.Load()) })
		}
		laps(1)
		p.does(t, actPanic)
		silent("a panic")
		p.does(t, actResume)
		heard("resume")
		laps(1)
		p.does(t, actPanic)
		silent("another panic")
		if err := p.seekTo("0.05", "hand"); err != nil {
			t.Fatal(err)
		}
		p.replayed(t, "the place", func() bool { return r.seeking == nil })
		if exact {
			r.tap.mute.Store(r.panicked) // as follow does where there is sound
		}
		heard("a seek")
		// A panic that comes after the hand that sought is the last word.
		if err := p.seekTo("0.05", "hand"); err != nil {
			t.Fatal(err)
		}
		p.does(t, actPanic)
		silent("a panic during a seek")
		p.does(t, "launch:cluster")
		heard("a scene by a hand")
		if silenced != hands {
			t.Errorf("exact %t: the device was silenced %d times by %d panics of hands", exact, silenced, hands)
		}
	}
}

// A lap leaves nothing held: a gate and a voltage that the take put on jacks, and
// whose end it does not come to, are taken away; what a hand holds stays.
func TestReplayLapLetsGo(t *testing.T) {
	path := lapTake(t, 2, func(_ string, at func(float64, scenes.TakeLine)) {
		at(0.2, setLine("/voice/v/gate", 10))
		at(0.2, setLine("/vco/v/pitch", 3))
		at(0.2, setLine("/voice/v/bright_cv", 2))
		at(1.5, setLine("/voice/v/gate", 0))
		at(1.5, setLine("/vco/v/pitch", 0))
	})
	volts := func(p *player, a mapping.Address) float64 {
		t.Helper()
		v, _, err := p.rack.Value(a)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, from := range []string{"0", "0.3"} {
		p := replays(t, path, func(o *playOptions) {
			o.loop = true
			if err := o.from.Set(from); err != nil {
				t.Fatal(err)
			}
			if err := o.to.Set("0.5"); err != nil {
				t.Fatal(err)
			}
		})
		r := p.replay
		p.replayed(t, "the gate", func() bool { return volts(p, "/voice/v/gate") == 10 })
		if err := p.rack.Set("/voice/v/bright_cv", 4, "", "hand", 0); err != nil {
			t.Fatal(err)
		}
		// What the engine gets is what counts: the last volts of each jack.
		lap := r.laps + 1
		p.replayed(t, "a lap", func() bool { return r.laps >= lap })
		gate, pitch := volts(p, "/voice/v/gate"), volts(p, "/vco/v/pitch")
		if from == "0" && (gate != 0 || pitch != 0) {
			t.Errorf("after a lap the gate is at %g V and the pitch at %g V, and they are held: %v", gate, pitch, r.held)
		}
		if from == "0.3" && (gate != 10 || pitch != 3) {
			t.Errorf("at 0.3 s the gate is at %g V and the pitch at %g V", gate, pitch)
		}
		if from == "0" && volts(p, "/voice/v/bright_cv") != 4 {
			t.Errorf("what a hand put on a jack went with the lap: %g V", volts(p, "/voice/v/bright_cv"))
		}
	}
}

// A place that is ready is gone to without a file: the control goroutine has no
// time for one.
func TestReplaySeekReadsNothing(t *testing.T) {
	path := lapTake(t, 60, func(scene string, at func(float64, scenes.TakeLine)) {
		at(10, scenes.TakeLine{Scene: scene})
		at(20, setLine("/vco/v/tune", 7))
		at(40, scenes.TakeLine{Scene: scene})
	})
	p := replays(t, path, nil)
	p.replayed(t, "its beginning", func() bool { return p.replay.began })
	if err := p.seekTo("39.9", "hand"); err != nil {
		t.Fatal(err)
	}
	for len(p.replay.starts) == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	names := sceneNames()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(t.TempDir(), "none"))
	s := <-p.replay.starts
	if s.scene == nil || s.state == nil || s.state.played == nil || len(s.names) != len(names) {
		t.Errorf("it is not ready: %+v", s)
	}
	p.replay.starts <- s
	p.replayed(t, "the place", func() bool { return p.replay.laps == 1 })
	if v, _, err := p.rack.Value("/vco/v/tune"); err != nil || v != 7 {
		t.Errorf("the knob is at %g, %v", v, err)
	}
	for what := range p.problems {
		t.Error(what)
	}
	p.replayed(t, "the scene of 40 s", func() bool {
		n := p.replay.next
		if n != nil && n.scene != nil && len(n.names) != len(names) {
			t.Fatalf("the line of a scene comes with %d names, of %d", len(n.names), len(names))
		}
		return float64(p.present(time.Now())-p.replay.shift)/48000 > 40.1
	})
}
