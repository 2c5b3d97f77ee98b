package instrument

import (
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"testing"
)

// TestOrder: a node runs after all that it reads, whatever the order of the
// patch.
func TestOrder(t *testing.T) {
	r := newRig(t)
	r.add("test_probe/end", nil)
	for i := 5; i >= 0; i-- {
		r.add(ModuleID(fmt.Sprintf("test_pass/p%d", i)), nil)
	}
	r.add("test_source/s", nil)
	r.cable("test_source/s/out_0", "test_pass/p0/a")
	for i := range 5 {
		r.cable(fmt.Sprintf("test_pass/p%d/out", i), fmt.Sprintf("test_pass/p%d/a", i+1))
		r.cable("test_source/s/out_1", fmt.Sprintf("test_pass/p%d/b", i+1))
	}
	r.cable("test_pass/p5/out", "test_probe/end/in").adopt()
	at := map[ModuleID]int{}
	for i, s := range r.plan.steps {
		at[s.node.id] = i
	}
	for _, c := range r.patch.Cables {
		if at[c.From.Module] >= at[c.To.Module] {
			t.Errorf("%s runs after %s, which it feeds", c.From.Module, c.To.Module)
		}
	}
	if len(r.plan.feedback) != 0 {
		t.Errorf("%d cables are delayed in a patch without a loop", len(r.plan.feedback))
	}
	r.settle()
	r.source("test_source/s").play = steady(0.5)
	r.render(1)
	if got := r.probe("test_probe/end").rec[0]; len(got) != 1 || got[0] != 3 {
		t.Errorf("six sums of 0.5 V give %v at the same frame, want 3 V", got)
	}
}

// TestFeedbackDelay: a cable that closes a loop delays by exactly one block,
// however the block is cut.
func TestFeedbackDelay(t *testing.T) {
	for _, chunk := range []int{64, 1, 7, 48, 100, 256, 480, 1000} {
		r := newRig(t)
		r.add("test_source/s", nil).add("test_pass/a", nil).add("test_pass/b", nil).add("test_probe/p", nil)
		r.cable("test_source/s/out_0", "test_pass/a/a").cable("test_pass/a/out", "test_pass/b/a")
		r.cable("test_pass/b/out", "test_pass/a/b").cable("test_pass/a/out", "test_probe/p/in").adopt().settle()
		if len(r.plan.feedback) != 1 {
			t.Fatalf("%d cables are delayed, want 1", len(r.plan.feedback))
		}
		r.chunk = chunk
		hit := r.e.frame + 77
		r.source("test_source/s").play = func(f int64, _ int) float32 {
			if f == hit {
				return 1
			}
			return 0
		}
		r.render(1000)
		for i, v := range r.probe("test_probe/p").rec[0][:1000] {
			want := float32(0)
			if i >= 77 && (i-77)%BlockSize == 0 {
				want = 1
			}
			if v != want {
				t.Fatalf("calls of %d frames: frame %d of the loop is %v V, want %v: the impulse comes back each %d frames", chunk, i, v, want, BlockSize)
			}
		}
	}
}

// fadeBound is the largest step that a tone of some volts and hertz may make
// while cables fade: its own, and the fade's.
func fadeBound(volts, hertz float64) float64 {
	return volts*2*math.Pi*hertz/testRate + 2*volts/(cableSeconds*testRate) + 1e-4
}

// TestCableFades pulls, plugs and swaps cables while tones sound through
// them: a fade takes 5 ms and never steps.
func TestCableFades(t *testing.T) {
	const hertz, volts = 150, 5
	// begin gives a tone through test_pass/mid to the probe, and a second tone
	// that is not plugged in anywhere.
	begin := func(t *testing.T, order ...ModuleID) *rig {
		r := newRig(t)
		for _, id := range order {
			r.add(id, nil)
		}
		r.cable("test_source/one/out_0", "test_pass/mid/a").cable("test_pass/mid/out", "test_probe/p/in").adopt()
		r.source("test_source/one").play = sine(hertz, volts)
		r.source("test_source/two").play = func(f int64, _ int) float32 { return sine(hertz, volts)(f+80, 0) }
		return r.settle()
	}
	orders := map[string][]ModuleID{
		"along":   {"test_source/one", "test_source/two", "test_pass/mid", "test_pass/new", "test_probe/p"},
		"against": {"test_probe/p", "test_pass/new", "test_pass/mid", "test_source/two", "test_source/one"},
	}
	edits := []struct {
		name  string
		edit  func(*rig)
		after float64 // volts that sound afterwards
	}{
		{"pull the last cable", func(r *rig) { r.pull("test_probe/p/in") }, 0},
		{"pull the first cable", func(r *rig) { r.pull("test_pass/mid/a") }, 0},
		{"remove the module between", func(r *rig) { r.remove("test_pass/mid") }, 0},
		{"remove the source", func(r *rig) { r.remove("test_source/one") }, 0},
		{"remove the source and the module between", func(r *rig) { r.remove("test_source/one").remove("test_pass/mid") }, 0},
		{"swap to the other source", func(r *rig) {
			r.pull("test_pass/mid/a").cable("test_source/two/out_0", "test_pass/mid/a")
		}, volts},
		{"pass the module between by", func(r *rig) {
			r.pull("test_probe/p/in").cable("test_source/one/out_0", "test_probe/p/in")
		}, volts},
		{"pass it by and turn it round", func(r *rig) {
			// What fed the probe is now behind it in the order.
			r.pull("test_probe/p/in").cable("test_source/two/out_0", "test_probe/p/in")
			r.pull("test_pass/mid/a")
			r.cable("test_source/two/out_0", "test_pass/mid/a")
		}, volts},
		{"put a module between", func(r *rig) {
			r.pull("test_probe/p/in").cable("test_pass/mid/out", "test_pass/new/a").cable("test_pass/new/out", "test_probe/p/in")
		}, volts},
		{"add a tone", func(r *rig) { r.cable("test_source/two/out_0", "test_pass/mid/b") }, 2 * volts},
	}
	for order, ids := range orders {
		for _, e := range edits {
			for _, lead := range []int{64, 100} { // at the start of a block and in the midst of one
				t.Run(fmt.Sprintf("%s/%s/%d", order, e.name, lead), func(t *testing.T) {
					bound := fadeBound(max(volts, e.after), hertz)
					r := begin(t, ids...)
					r.render(1000*lead/lead + lead)
					at := len(r.probe("test_probe/p").rec[0])
					e.edit(r)
					r.adopt().render(2000)
					got := r.probe("test_probe/p").rec[0]
					if step, i := steepest(got); !(step <= bound) {
						t.Errorf("a step of %.3f V %d frames after the edit; fades stay under %.3f V", step, i-at, bound)
						keepWAV(t, "cable-fade", got)
					}
					tail := peakOf(got[at+256+64:])
					if e.after == 0 && tail != 0 {
						t.Errorf("%.4f V are left 6.7 ms after the edit", tail)
					}
					if e.after == volts && math.Abs(tail-volts) > 0.1 {
						t.Errorf("%.3f V after the edit, want %g", tail, e.after)
					}
				})
			}
		}
	}
}

// TestFadeLength: a pulled cable is half down after 2.5 ms and gone after 5.
func TestFadeLength(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("test_probe/p", nil).cable("test_source/s/out_0", "test_probe/p/in").adopt()
	r.source("test_source/s").play = steady(4)
	r.settle().pull("test_probe/p/in").adopt().render(480)
	got := r.probe("test_probe/p").rec[0]
	if v := got[119]; math.Abs(float64(v)-2) > 0.02 {
		t.Errorf("half way it is at %v V, want 2", v)
	}
	if got[238] == 0 || got[240] != 0 {
		t.Errorf("at its end it goes %v, want a last trace at 238 and 0 at 240", got[236:242])
	}
}

// TestLoopEditsDoNotClick opens and closes a loop through which a tone runs.
func TestLoopEditsDoNotClick(t *testing.T) {
	const hertz, volts = 150, 2
	r := newRig(t)
	r.add("test_source/s", nil).add("test_pass/a", nil).add("mixer/m", map[string]float64{"level_1": -6}).add("test_probe/p", nil)
	r.cable("test_source/s/out_0", "test_pass/a/a").cable("test_pass/a/out", "mixer/m/left_1").cable("test_pass/a/out", "test_probe/p/in").adopt()
	r.source("test_source/s").play = sine(hertz, volts)
	r.settle()
	bound := fadeBound(2*volts, hertz)
	for i := range 6 {
		r.render(3000 + 13*i)
		r.cable("mixer/m/left", "test_pass/a/b").adopt().render(3000 + 29*i)
		r.pull("test_pass/a/b").adopt()
	}
	r.render(3000)
	got := r.probe("test_probe/p").rec[0]
	if step, at := steepest(got); !(step <= bound) {
		t.Errorf("a step of %.3f V at frame %d; fades stay under %.3f V", step, at, bound)
		keepWAV(t, "loop-edit", got)
	}
}

// TestStereoNormalsFade: plugging and pulling the right side of a stereo
// input, which follows the left while it is empty, never steps.
func TestStereoNormalsFade(t *testing.T) {
	for _, c := range []struct{ id, left, right string }{
		{"mixer/m", "left_1", "right_1"}, {"audio_out/o", "left", "right"}, {"reverb/r", "in_left", "in_right"},
	} {
		t.Run(ModuleID(c.id).Kind(), func(t *testing.T) {
			const hertz, volts = 150, 2
			r := newRig(t).add("test_source/s", nil).add("test_source/u", nil)
			var params map[string]float64
			if c.id == "reverb/r" {
				params = map[string]float64{"mix": 0}
			}
			r.add(ModuleID(c.id), params)
			r.cable("test_source/s/out_0", c.id+"/"+c.left)
			if c.id != "audio_out/o" {
				r.add("test_probe/l", nil).add("test_probe/r", nil).cable(c.id+"/left", "test_probe/l/in").cable(c.id+"/right", "test_probe/r/in")
			}
			r.adopt()
			r.source("test_source/s").play = sine(hertz, volts)
			r.source("test_source/u").play = sine(hertz, -volts)
			r.settle().render(3000)
			for i := range 4 {
				r.cable("test_source/u/out_0", c.id+"/"+c.right).adopt().render(3000 + 31*i)
				r.pull(c.id + "/" + c.right).adopt().render(3000 + 17*i)
			}
			got := r.out
			if c.id != "audio_out/o" {
				got = [2][]float32{r.probe("test_probe/l").rec[0], r.probe("test_probe/r").rec[0]}
			}
			bound := fadeBound(1.5*volts, hertz)
			for ch, b := range got {
				if peakOf(b) < 1 {
					t.Fatalf("channel %d is silent", ch)
				}
				if step, at := steepest(b); !(step <= bound) {
					t.Errorf("channel %d steps by %.3f V at frame %d; fades stay under %.3f V", ch, step, at, bound)
					keepWAV(t, "stereo-normal-"+ModuleID(c.id).Kind(), got[0], got[1])
				}
			}
		})
	}
}

// TestLeavingOutputFades: an Audio Out that is taken away has no cable that
// could fade, and fades all the same.
func TestLeavingOutputFades(t *testing.T) {
	const hertz, volts = 150, 2
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).add("vca/other", nil)
	r.cable("test_source/s/out_0", "audio_out/o/left").adopt()
	r.source("test_source/s").play = sine(hertz, volts)
	r.settle().render(3000)
	r.remove("audio_out/o").adopt().render(1000)
	// An edit before the control side knows that it is gone.
	p, err := r.c.Compile(r.cable("test_source/s/out_0", "vca/other/in").patch.Clone(), 0)
	if err != nil {
		t.Fatal(err)
	}
	r.e.Adopt(p)
	r.render(2000)
	if step, at := steepest(r.out[0]); !(step <= fadeBound(volts, hertz)) {
		t.Errorf("the device's channel steps by %.3f V at frame %d", step, at)
		keepWAV(t, "leaving-output", r.out[0])
	}
	if p := peakOf(r.out[0][3000+480:]); p != 0 {
		t.Errorf("%.3f V come from an Audio Out that is gone", p)
	}
}

// TestEditKeepsSound: a ringing strike goes on through edits around it, bit
// for bit as it would have without them.
func TestEditKeepsSound(t *testing.T) {
	play := func(edits bool) []float32 {
		r := newRig(t).add("voice/v", nil).add("test_probe/p", nil).add("test_probe/q", nil).add("noise/n", nil)
		r.cable("voice/v/left", "test_probe/p/in").adopt().settle()
		r.input("voice/v", "kind", GestureSucceeded.Volts())
		r.render(64)
		r.input("voice/v", "strike", 10)
		r.render(64)
		for i := range 40 {
			if edits {
				id := ModuleID(fmt.Sprintf("vca/v%d", i))
				r.add(id, nil).cable("noise/n/white", string(id)+"/in")
				if i > 3 {
					r.remove(ModuleID(fmt.Sprintf("vca/v%d", i-3)))
				}
				r.adopt()
			}
			r.render(77)
		}
		return r.probe("test_probe/p").rec[0]
	}
	want, got := play(false), play(true)
	if peakOf(want) < 0.1 {
		t.Fatal("the strike is not heard")
	}
	same(t, "a bell through forty edits", want, got)
}

// TestManyEdits hammers the engine with random patches, adopted while others
// fade, and holds the invariants: finite, bounded, leaving nodes let go.
func TestManyEdits(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("test_source/u", nil).add("mixer/m", nil).add("audio_out/o", nil).add("test_pass/a", nil).add("vca/v", nil)
	r.cable("mixer/m/left", "audio_out/o/left").adopt()
	r.settle()
	wires := [][2]string{
		{"test_source/s/out_0", "mixer/m/left_1"}, {"test_source/u/out_0", "mixer/m/left_2"}, {"test_source/s/out_0", "test_pass/a/a"},
		{"test_pass/a/out", "vca/v/in"}, {"vca/v/out", "mixer/m/left_3"}, {"mixer/m/send_left", "test_pass/a/b"},
	}
	in := map[int]bool{}
	x := uint32(12345)
	for range 3000 {
		x = x*1664525 + 1013904223
		w := int(x>>8) % len(wires)
		if in[w] {
			r.pull(wires[w][1])
		} else {
			r.cable(wires[w][0], wires[w][1])
		}
		in[w] = !in[w]
		r.adopt()
		r.source("test_source/s").play, r.source("test_source/u").play = sine(150, 1), sine(220, 1)
		r.render(int(x>>20) % 300)
	}
	if !finite(r.out[0]) || peakOf(r.out[0]) > 5 {
		t.Errorf("the device got %.3f V", peakOf(r.out[0]))
	}
	if step, at := steepest(r.out[0]); step > 0.2 {
		t.Errorf("a step of %.3f V at frame %d", step, at)
		keepWAV(t, "many-edits", r.out[0])
	}
	if m, _ := r.e.Meters.Load(); m.Scrubbed != 0 {
		t.Errorf("%d slices were not numbers", m.Scrubbed)
	}
	r.seconds(0.2)
	r.adopt()
	if len(r.c.leaving) != 0 {
		t.Errorf("%d nodes that left long ago are still held", len(r.c.leaving))
	}
	if m, _ := r.e.Meters.Load(); m.Settled == 0 {
		t.Error("no generation ever settled")
	}
}

// TestLeavingNodesAreLetGo adds and removes a module a hundred times.
func TestLeavingNodesAreLetGo(t *testing.T) {
	r := newRig(t).add("audio_out/o", nil).adopt().settle()
	for i := range 100 {
		r.add("noise/n", nil).cable("noise/n/white", "audio_out/o/left").adopt().seconds(0.05)
		r.remove("noise/n").adopt().seconds(0.05)
		if n := len(r.c.leaving); n > 2 {
			t.Fatalf("after %d rounds %d nodes wait to be let go", i, n)
		}
	}
}

func TestHandles(t *testing.T) {
	r := newRig(t).add("noise/a", nil).add("noise/b", nil).adopt()
	a, b := r.c.Handle("noise/a"), r.c.Handle("noise/b")
	if a == 0 || b == 0 || a == b {
		t.Fatalf("handles %d and %d; they are different and not 0", a, b)
	}
	r.add("noise/c", nil).remove("noise/a").adopt()
	if r.c.Handle("noise/a") != 0 || r.c.Handle("noise/b") != b || r.c.Handle("noise/c") == a {
		t.Error("a module that stays keeps its handle, one that went has none, and none is used twice")
	}
	r.add("noise/a", nil).adopt()
	if r.c.Handle("noise/a") == a {
		t.Error("a module that came back got its old handle: late events would reach the new one")
	}
}

// TestCompileErrors: after an error the compiler is as it was, and the old
// plan plays on.
func TestCompileErrors(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).cable("test_source/s/out_0", "audio_out/o/left").adopt().settle()
	r.source("test_source/s").play = sine(200, 2)
	gen, handle := r.plan.Generation, r.c.Handle("test_source/s")
	bad := r.patch.Clone()
	bad.Modules = append(bad.Modules, Module{ID: "theremin/x"})
	if _, err := r.c.Compile(bad, 0); err == nil {
		t.Fatal("a patch with an unknown module compiled")
	}
	many := r.patch.Clone()
	for i := range MaxModules {
		many.Modules = append(many.Modules, Module{ID: ModuleID(fmt.Sprintf("noise/n%d", i))})
	}
	_, err := r.c.Compile(many, 0)
	if err == nil || err.Error() != "the patch has 258 modules; the most is 256" {
		t.Errorf("too many modules: %v", err)
	}
	if r.c.Handle("test_source/s") != handle || r.c.Handle("noise/n1") != 0 {
		t.Error("an error changed the handles")
	}
	r.render(1000)
	if peakOf(r.out[0]) < 1.9 {
		t.Error("the old plan fell silent")
	}
	r.adopt()
	if r.plan.Generation != gen+1 {
		t.Errorf("generation %d after an error, want %d", r.plan.Generation, gen+1)
	}
	if len(r.c.leaving) != 0 {
		t.Error("an error made nodes leave")
	}
	most := &Patch{}
	for i := range MaxModules {
		most.Modules = append(most.Modules, Module{ID: ModuleID(fmt.Sprintf("noise/n%d", i))})
	}
	if _, err := NewCompiler(testRate, 1).Compile(most, 0); err != nil {
		t.Errorf("as many modules as there may be: %v", err)
	}
}

// TestSeed: what is left to chance follows from the seed and the name alone.
func TestSeed(t *testing.T) {
	play := func(seed uint64, others int) []float32 {
		r := newRig(t)
		r.c = NewCompiler(testRate, seed)
		for i := range others {
			r.add(ModuleID(fmt.Sprintf("noise/o%d", i)), nil)
		}
		r.add("noise/n", nil).add("test_probe/p", nil).cable("noise/n/white", "test_probe/p/in").adopt().settle().render(640)
		return r.probe("test_probe/p").rec[0]
	}
	same(t, "equal seeds", play(3, 0), play(3, 4))
	a, b := play(3, 0), play(4, 0)
	diff := 0
	for i := range a {
		if a[i] != b[i] {
			diff++
		}
	}
	if diff < 600 {
		t.Errorf("seeds 3 and 4 differ in %d of 640 samples", diff)
	}
}

// TestConcurrentControl plays while another goroutine edits, turns and reads;
// it is for the race detector.
func TestConcurrentControl(t *testing.T) {
	r := newRig(t).add("deployment/web", nil).add("voice/v", nil).add("mixer/m", nil).add("audio_out/o", nil).add("noise/n", nil)
	r.cable("deployment/web/ready", "voice/v/gate").cable("deployment/web/error", "voice/v/tension")
	r.cable("voice/v/left", "mixer/m/left_1").cable("mixer/m/left", "audio_out/o/left").adopt()
	e := r.e
	stop, done := make(chan struct{}), make(chan struct{})
	var rendered atomic.Int64
	go func() {
		defer close(done)
		out := [][]float32{make([]float32, 128), make([]float32, 128)}
		for {
			select {
			case <-stop:
				return
			default:
			}
			e.Render(out, nil)
			rendered.Add(1)
		}
	}()
	wishes := 0
	for i := range 600 {
		if i%2 == 0 {
			r.cable("noise/n/pink", "mixer/m/left_2")
		} else {
			r.pull("mixer/m/left_2")
		}
		if i%5 == 4 {
			id := ModuleID(fmt.Sprintf("vca/x%d", i))
			r.add(id, nil)
			if i > 20 {
				r.remove(ModuleID(fmt.Sprintf("vca/x%d", i-15)))
			}
		}
		r.adopt()
		for rendered.Load() < int64(i/4) {
			runtime.Gosched()
		}
		m, _ := e.Meters.Load()
		for k := range 16 {
			e.Inbox.Push(r.event(EventLevel, "deployment/web", "ready", k, float32(10*(i&1)), m.Frame+int64(50*k)))
			e.Inbox.Push(r.event(EventParam, "deployment/web", "replicas", 0, float32((i+k)%17), 0))
			e.Inbox.Push(r.event(EventPulse, "deployment/web", "event", k, 0, m.Frame+64))
		}
		var ev Event
		for e.Outbox.Pop(&ev) {
			if ev.Kind == EventWish {
				wishes++
			}
		}
	}
	close(stop)
	<-done
	if wishes == 0 || rendered.Load() == 0 {
		t.Errorf("%d wishes came out of %d calls", wishes, rendered.Load())
	}
}

// TestMeters: what is reported is what is there.
func TestMeters(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).cable("test_source/s/out_0", "audio_out/o/left").adopt()
	r.source("test_source/s").play = sine(1000, 3)
	r.settle().seconds(0.5)
	m, fresh := r.e.Meters.Load()
	if !fresh || m.Generation != 1 || m.Settled != 1 {
		t.Errorf("fresh %v, generation %d, settled %d; want the first", fresh, m.Generation, m.Settled)
	}
	if r.e.frame-m.Frame > testRate/meterRate+BlockSize {
		t.Errorf("the newest report is %d frames old", r.e.frame-m.Frame)
	}
	if m.Peak[0] < 2.9 || m.Peak[0] > 3.05 {
		t.Errorf("a peak of %v V, want 3", m.Peak[0])
	}
	r.source("test_source/s").play = nil
	r.source("test_source/s").kept = 1.25
	r.seconds(0.1)
	if m, _ = r.e.Meters.Load(); m.Volts[0] != 1.25 {
		t.Errorf("the first jack of the patch shows %v V, want 1.25", m.Volts[0])
	}
}

// TestMetersShowTriggers: a trigger, twenty times as short as the time between
// two reports, is in the next one wherever it fell, and in the one
// after it when it lasts into that.
func TestMetersShowTriggers(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("test_probe/p", nil).cable("test_source/s/"+jackOf(Trigger), "test_probe/p/in").adopt().settle()
	s := r.source("test_source/s")
	s.channels = 2
	for i := range 200 {
		start := r.e.frame + int64(7*i)
		s.play = func(frame int64, channel int) float32 {
			if channel == 1 && frame >= start && frame < start+testRate/1000 {
				return 10
			}
			return 0
		}
		r.e.Meters.Load()
		seen := 0
		for range 8 {
			r.render(BlockSize * 8)
			if m, fresh := r.e.Meters.Load(); fresh && m.Volts[Trigger] == 10 {
				seen++
			}
		}
		if seen < 1 || seen > 2 {
			t.Fatalf("trigger %d is in %d of 8 reports, want 1, or 2", i, seen)
		}
	}
}
