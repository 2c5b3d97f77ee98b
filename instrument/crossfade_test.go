package instrument

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
)

// launch compiles the patch as another scene's and hands the plan over.
func (r *rig) launch(at int64, seconds float64) *rig {
	r.t.Helper()
	p, err := r.c.CompileChange(r.patch.Clone(), Change{Settled: r.settled(), At: at, Launch: true, Crossfade: seconds, Ended: r.c.Ended()})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, n := range r.c.nodes {
		if p, ok := n.proc.(*source); ok {
			for k := range p.used {
				p.used[k] = p.used[k] || r.patch.feeds(JackRef{n.id, jackOf(SignalKind(k))})
			}
		}
	}
	r.plan = p
	r.e.Adopt(p)
	return r
}

// tidy compiles the patch again without the crossfades that are over.
func (r *rig) tidy() *rig {
	r.t.Helper()
	p, err := r.c.CompileChange(r.patch.Clone(), Change{Settled: r.settled(), Ended: r.c.Ended()})
	if err != nil {
		r.t.Fatal(err)
	}
	r.plan = p
	r.e.Adopt(p)
	return r
}

func rms(b []float32) float64 {
	var sum float64
	for _, v := range b {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(b)))
}

// TestLaunchAtFrame: a plan with a frame is taken up at that frame, however
// the time before it is cut, and so is what is said of its modules and told for
// then.
func TestLaunchAtFrame(t *testing.T) {
	for _, chunk := range []int{1, 17, 64, 480, 1024} {
		r := newRig(t).add("test_source/a", nil).add("test_probe/p", nil)
		r.chunk = chunk
		r.e.Journal = rt.NewRing[Applied](4096)
		r.cable("test_source/a/out_1", "test_probe/p/in").adopt()
		r.source("test_source/a").kept = 1
		r.settle()
		at := r.e.frame + 5000 + 13
		r.add("vco/new", nil).launch(at, 0)
		r.send(r.event(EventParam, "vco/new", "tune", 0, 3, 0))
		r.send(r.event(EventParam, "vco/new", "tune", 0, 4, at+7))
		// An edit meanwhile does not bring it forward.
		r.render(1000)
		r.add("vco/late", nil).adopt()
		r.render(6000)
		var a Applied
		var took, told []int64
		for r.e.Journal.Pop(&a) {
			switch {
			case a.Plan == r.plan.Generation:
				took = append(took, a.Frame)
			case a.Plan == r.plan.Generation-1:
				t.Errorf("chunks of %d: a plan was taken up that is not the newest", chunk)
			case !a.Cut && a.Event.Kind == EventParam && a.Frame > at-5000:
				told = append(told, a.Frame)
			}
		}
		if len(took) != 1 || took[0] != at {
			t.Errorf("chunks of %d: taken up at %v, want %d", chunk, took, at)
		}
		if len(told) != 2 || told[0] != at || told[1] != at+7 {
			t.Errorf("chunks of %d: the knob was turned at %v, want %d and %d", chunk, told, at, at+7)
		}
	}
}

// TestCrossfade: the sound of one scene goes and that of the next comes, equal
// in power, in the time that was asked for and without a click; then nothing of
// the first is left.
func TestCrossfade(t *testing.T) {
	for _, seconds := range []float64{0, 0.02, 0.5, 2} {
		t.Run(fmt.Sprint(seconds), func(t *testing.T) {
			const volts = 1
			r := newRig(t).add("test_source/a", nil).add("mixer/old", nil).add("audio_out/o", nil)
			r.cable("test_source/a/out_0", "mixer/old/left_1").cable("mixer/old/left", "audio_out/o/left").adopt()
			r.source("test_source/a").play = sine(149, volts)
			r.settle().seconds(0.5)
			before := rms(r.out[0][testRate/4:])
			r.remove("test_source/a").remove("mixer/old").add("test_source/b", nil).cable("test_source/b/out_0", "audio_out/o/left")
			at := r.e.frame + 1000
			r.launch(at, seconds)
			r.source("test_source/b").play = sine(223, float32(before*math.Sqrt2))
			start := len(r.out[0]) + 1000
			r.seconds(seconds + 0.5)
			fade := int(seconds * testRate)
			n := 0
			for k := start; k < start+fade; k += testRate / 20 {
				if k+testRate/20 > start+fade {
					break
				}
				n++
				if p := rms(r.out[0][k:k+testRate/20]) / before; math.Abs(20*math.Log10(p)) > 1.5 {
					t.Errorf("%.2f s after the launch it is at %.2f dB", float64(k-start)/testRate, 20*math.Log10(p))
				}
			}
			if seconds >= 0.5 && n < 5 {
				t.Errorf("only %d looks", n)
			}
			if db, at := measure.ClickLevel(r.out[0], testRate, clickCorner); db > clickLimit {
				t.Errorf("it clicks at %.1f dB, %d frames after the launch", db, at-start)
				keepWAV(t, "crossfade", r.out[0])
			}
			if len(r.c.Ended()) != len(r.c.faders) {
				t.Errorf("of %d crossfades %d are over", len(r.c.faders), len(r.c.Ended()))
			}
			r.tidy().seconds(0.1).tidy().seconds(0.1).tidy()
			if g, l := len(r.c.ghosts), len(r.c.leaving); g+l > 0 {
				t.Errorf("%d nodes still play and %d leave", g, l)
			}
			if len(r.plan.steps) != 2 {
				t.Errorf("%d modules play, want the source and the output", len(r.plan.steps))
			}
			if db, at := measure.ClickLevel(r.out[0], testRate, clickCorner); db > clickLimit {
				t.Errorf("the end of it clicks at %.1f dB, %d frames after the launch", db, at-start)
			}
		})
	}
}

// TestTails: what a scene has sent into an echo or a room, and a note whose
// gate was up, is heard after the next one was launched; then it is gone.
func TestTails(t *testing.T) {
	type tail struct {
		name string
		at   float64 // s after the launch at which it must still be heard
		make func(r *rig) string
	}
	for _, c := range []tail{
		{"delay", 0.8, func(r *rig) string {
			r.add("delay/d", map[string]float64{"time": 0.4, "feedback": 0.7, "mix": 1}).cable("voice/v/left", "delay/d/in_left")
			return "delay/d/left"
		}},
		{"reverb", 0.5, func(r *rig) string {
			r.add("reverb/r", map[string]float64{"decay": 3, "mix": 1}).cable("voice/v/left", "reverb/r/in_left")
			return "reverb/r/left"
		}},
		{"release", 0.3, func(r *rig) string { return "voice/v/left" }},
		{"mixed release", 0.3, func(r *rig) string {
			r.add("mixer/m", nil).cable("voice/v/left", "mixer/m/left_1")
			return "mixer/m/left"
		}},
	} {
		for _, seconds := range []float64{0, 0.25} {
			if seconds > 0 && c.at == 0.3 {
				continue // a note fades with its scene
			}
			t.Run(fmt.Sprint(c.name, " ", seconds), func(t *testing.T) {
				// The gate stays up: nobody lets it fall but the launch.
				r := newRig(t).add("test_source/gate", nil).add("voice/v", map[string]float64{"attack": 0.01, "release": 1, "wave": 0}).add("audio_out/o", nil)
				r.cable("test_source/gate/out_3", "voice/v/gate").cable(c.make(r), "audio_out/o/left").adopt()
				r.source("test_source/gate").kept = 10
				r.settle().seconds(1)
				loud := rms(r.out[0][len(r.out[0])-4800:])
				if loud < 0.05 {
					t.Fatalf("the scene makes %.4f V", loud)
				}
				r.patch = Patch{Modules: []Module{{ID: "audio_out/o"}}}
				at := len(r.out[0])
				r.launch(r.e.frame, seconds).seconds(26)
				heard := rms(r.out[0][at+int(c.at*testRate) : at+int((c.at+0.2)*testRate)])
				if heard < loud/100 {
					t.Errorf("%.1f s after the launch %.5f V are heard of %.3f V", c.at, heard, loud)
				}
				if p := peakOf(r.out[0][len(r.out[0])-4800:]); p > 1e-4 {
					t.Errorf("in the end %.5f V are left", p)
				}
				r.tidy().seconds(0.1).tidy().seconds(0.1).tidy()
				if len(r.plan.steps) != 1 {
					t.Errorf("%d modules play for nobody", len(r.plan.steps)-1)
				}
			})
		}
	}
}

// TestLaunchAgain: launches come while others fade, edits in between, with
// loops and modules that stay, and all of it ends.
func TestLaunchAgain(t *testing.T) {
	x := uint32(7)
	random := func(n int) int {
		x = x*1664525 + 1013904223
		return int(x>>8) % n
	}
	r := newRig(t).add("audio_out/o", nil).adopt()
	r.settle()
	kinds := []string{"vco", "voice", "delay", "reverb", "vca", "mixer", "adsr", "test_pass", "clock"}
	most := 0
	for i := range 60 {
		if random(3) > 0 || i == 0 {
			p := Patch{Modules: []Module{{ID: "audio_out/o"}}}
			if random(4) == 0 {
				p.Modules[0].ID = "audio_out/other"
			}
			for k := range 2 + random(4) {
				p.Modules = append(p.Modules, Module{ID: ModuleID(fmt.Sprintf("%s/m%d", kinds[random(len(kinds))], k))})
			}
			r.patch = p
			for range 8 {
				from, to := &r.patch.Modules[random(len(r.patch.Modules))], &r.patch.Modules[random(len(r.patch.Modules))]
				fs, ts := from.Spec(), to.Spec()
				if len(fs.Outputs) == 0 || len(ts.Inputs) == 0 {
					continue
				}
				c := Cable{JackRef{from.ID, fs.Outputs[random(len(fs.Outputs))].Name}, JackRef{to.ID, ts.Inputs[random(len(ts.Inputs))].Name}}
				was := r.patch.Cables
				r.patch.Cables = append(was[:len(was):len(was)], c)
				if r.patch.Validate() != nil {
					r.patch.Cables = was
				}
			}
			r.launch(r.e.frame+int64(random(500)), []float64{0, 0, 0.1, 0.3}[random(4)])
		} else if len(r.patch.Cables) > 0 {
			k := random(len(r.patch.Cables))
			r.patch.Cables = append(r.patch.Cables[:k:k], r.patch.Cables[k+1:]...)
			r.tidy()
		}
		most = max(most, len(r.plan.steps))
		r.render(200 + random(3000))
	}
	if !finite(r.out[0]) {
		t.Error("the device got what is no number")
	}
	r.seconds(21)
	for range 3 {
		r.tidy().seconds(0.1)
	}
	if len(r.plan.steps) != len(r.patch.Modules) || len(r.c.ghosts)+len(r.c.leaving)+len(r.c.faders) > 0 {
		t.Errorf("%d modules play for a patch of %d; %d ghosts, %d leave, %d fade", len(r.plan.steps), len(r.patch.Modules), len(r.c.ghosts), len(r.c.leaving), len(r.c.faders))
	}
	t.Logf("at most %d modules played at once", most)
}

// TestLaunchIsBounded: where two scenes are more than there is room for, the
// first goes at once.
func TestLaunchIsBounded(t *testing.T) {
	r := newRig(t).add("audio_out/o", nil)
	fill := func(name string) {
		r.patch = Patch{Modules: []Module{{ID: "audio_out/o"}}}
		last := ""
		for i := range 200 {
			id := fmt.Sprintf("vca/%s%d", name, i)
			r.add(ModuleID(id), nil)
			if last != "" {
				r.cable(last+"/out", id+"/in")
			}
			last = id
		}
		r.cable(last+"/out", "audio_out/o/left")
	}
	fill("a")
	r.adopt().settle()
	fill("b")
	r.launch(0, 10)
	if n := len(r.c.ghosts) + len(r.c.nodes); n > MaxModules {
		t.Errorf("%d modules play at once", n)
	}
	r.seconds(0.1)
	r.tidy().seconds(0.1)
	if r.tidy(); len(r.plan.steps) != 201 {
		t.Errorf("%d modules are left", len(r.plan.steps))
	}
}

// TestClockTellsBeats: a clock tells each beat and where it is in the bar, as
// exactly as it plays it.
func TestClockTellsBeats(t *testing.T) {
	r := newRig(t).add("clock/c", map[string]float64{"tempo": 133, "beats": 3}).add("test_probe/p", nil)
	r.cable("clock/c/beat", "test_probe/p/in").adopt().render(5 * testRate)
	var beats []Event
	var e Event
	for r.e.Outbox.Pop(&e) {
		if e.Kind == EventBeat {
			beats = append(beats, e)
		}
	}
	var heard []int64
	rec := r.probe("test_probe/p").rec[0]
	for i := range rec {
		if rec[i] > 5 && (i == 0 || rec[i-1] < 5) {
			heard = append(heard, int64(i))
		}
	}
	if len(beats) != len(heard) || len(beats) < 10 {
		t.Fatalf("%d beats were told, %d heard", len(beats), len(heard))
	}
	period := 60 * testRate / 133.0
	for i, b := range beats {
		if b.Frame != heard[i] || int(b.Index) != i%3 || (b.Channel == 1) != (i == 0) {
			t.Errorf("beat %d is told as %d at %d, heard at %d", i, b.Index, b.Frame, heard[i])
		}
		if i > 0 {
			if d := float64(b.Frame) - float64(b.Value) - (float64(beats[0].Frame) + float64(i)*period); math.Abs(d+1) > 1.01 {
				t.Errorf("beat %d is %.3f frames off", i, d)
			}
		}
	}
}

// TestPanicInCrossfade: a panic in the midst of a crossfade silences within a
// block, without a click; what was is gone for good, and what comes is there at
// once.
func TestPanicInCrossfade(t *testing.T) {
	for _, seconds := range []float64{0, 2, 30} {
		r := newRig(t).add("test_source/a", nil).add("mixer/old", nil).add("audio_out/o", nil)
		r.cable("test_source/a/out_0", "mixer/old/left_1").cable("mixer/old/left", "audio_out/o/left").adopt()
		r.source("test_source/a").play = sine(149, 2)
		r.settle().seconds(0.5)
		r.remove("test_source/a").remove("mixer/old").add("test_source/b", nil).cable("test_source/b/out_0", "audio_out/o/left")
		r.launch(r.e.frame+100, seconds)
		r.source("test_source/b").play = sine(223, 2)
		r.seconds(min(seconds/2, 1) + 0.002)
		r.forget()
		r.seconds(0.3)
		r.send(Event{Kind: EventPanic})
		r.seconds(2.3)
		from := int(0.3*testRate) + BlockSize
		if p := peakOf(r.out[0][from : from+8]); p > 0.01 {
			t.Errorf("crossfade of %g s: %.4f V a block after the panic", seconds, p)
		}
		if db, at := measure.ClickLevel(r.out[0], testRate, clickCorner); db+measure.Decibels(peakOf(r.out[0])/AudioVolts) > clickLimit {
			t.Errorf("crossfade of %g s: a panic clicks at %.1f dB, at %d", seconds, db, at)
		}
		last := r.out[0][len(r.out[0])-testRate:]
		tone := func(hz float64) float64 {
			var s, c float64
			for i, v := range last {
				y, x := math.Sincos(2 * math.Pi * hz * float64(i) / testRate)
				s, c = s+float64(v)*y, c+float64(v)*x
			}
			return 2 * math.Hypot(s, c) / float64(len(last))
		}
		if old, now := tone(149), tone(223); old > 1e-3 || now < 0.5 {
			t.Errorf("crossfade of %g s: two seconds after the panic the old scene is at %.4f V, the new one at %.4f V", seconds, old, now)
		}
	}
}
