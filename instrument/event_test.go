package instrument

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// TestEventsAreFrameExact: levels, pulses, inputs and whole params change at
// their very frame, wherever in a block that is and however calls are cut.
func TestEventsAreFrameExact(t *testing.T) {
	for _, chunk := range []int{64, 1, 7, 100, 480} {
		for _, off := range []int64{1, 2, 31, 63, 64, 65, 127, 200, 511} {
			r := newRig(t).add("deployment/d", nil).add("vca/v", nil).add("test_probe/gate", nil).add("test_probe/trig", nil).add("test_probe/count", nil).add("test_probe/in", nil)
			r.cable("deployment/d/ready", "test_probe/gate/in").cable("deployment/d/settled", "test_probe/trig/in").cable("deployment/d/error", "test_probe/count/in")
			r.cable("vca/v/out", "test_probe/in/in").adopt().settle()
			r.chunk = chunk
			at := r.e.frame + off
			// Sent in the wrong order: time decides, not the queue.
			r.send(r.event(EventLevel, "deployment/d", "ready", 3, 0, at+100))
			r.send(r.event(EventLevel, "deployment/d", "ready", 3, 10, at))
			r.send(r.event(EventPulse, "deployment/d", "settled", 0, 0, at))
			r.send(r.event(EventLevel, "deployment/d", "error", 0, 4, at))
			r.send(r.event(EventInput, "vca/v", "in", 0, 3, at))
			r.send(r.event(EventParam, "deployment/d", "replicas", 0, 7, at))
			var ev Event
			for r.e.Outbox.Pop(&ev) {
			}
			r.render(1200)
			gate := r.probe("test_probe/gate").rec[3]
			if up := rises(gate); len(up) != 1 || up[0] != int(off) {
				t.Fatalf("chunk %d: a gate due at frame %d rose at %v", chunk, off, up)
			}
			if gate[off+99] != 10 || gate[off+100] != 0 {
				t.Errorf("chunk %d: a gate due to fall at %d was %v, then %v", chunk, off+100, gate[off+99], gate[off+100])
			}
			trig := r.probe("test_probe/trig").rec[0]
			if up := rises(trig); len(up) != 1 || up[0] != int(off) || trig[off+47] != 10 || trig[off+48] != 0 {
				t.Errorf("chunk %d: a trigger due at %d rose at %v; it is high for 1 ms", chunk, off, up)
			}
			count := r.probe("test_probe/count").rec[0]
			if count[off-1] != 0 || count[off] == 0 || count[off+478] == 4 || count[off+480] != 4 {
				t.Errorf("chunk %d: a CV due at %d glides %v … %v; it takes 10 ms", chunk, off, count[off-1:off+1], count[off+478:off+481])
			}
			if in := r.probe("test_probe/in").rec[0]; in[off-1] != 0 || math.Abs(float64(in[off])-3) > 1e-4 {
				t.Errorf("chunk %d: an input due at %d reads %v, then %v", chunk, off, in[off-1], in[off])
			}
			wish := Event{}
			for r.e.Outbox.Pop(&ev) {
				if ev.Kind == EventWish {
					wish = ev
				}
			}
			if wish.Frame != at || wish.Value != 7 || wish.Module != r.c.Handle("deployment/d") {
				t.Errorf("chunk %d: the wish %+v; want 7 replicas at frame %d", chunk, wish, at)
			}
		}
	}
}

// TestParamRamp: a knob takes 10 ms on a straight line, and starts at its frame.
func TestParamRamp(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("vca/v", nil).add("test_probe/p", nil).cable("test_source/s/out_0", "vca/v/in").cable("vca/v/out", "test_probe/p/in").adopt()
	r.source("test_source/s").play = steady(1)
	r.settle()
	r.send(r.event(EventParam, "vca/v", "gain", 0, 0, r.e.frame+100))
	r.render(800)
	got := r.probe("test_probe/p").rec[0]
	one := got[99]
	if math.Abs(float64(one)-1) > 1e-4 {
		t.Fatalf("gain 1 gives %v V", one)
	}
	for i := range 480 {
		if want := 1 - float64(i+1)/480; math.Abs(float64(got[100+i])-want) > 1e-3 {
			t.Fatalf("frame %d of the ramp is %v, want %v", i, got[100+i], want)
		}
	}
	if got[580] != 0 {
		t.Errorf("after the ramp it is %v", got[580])
	}
	// Beyond its range it stops at the end.
	r.param("vca/v", "gain", 99)
	r.render(800)
	if v := r.probe("test_probe/p").rec[0][1599]; math.Abs(float64(v)-2) > 1e-3 {
		t.Errorf("a gain of 99 gives %v; the knob ends at 2", v)
	}
}

// TestLateEvents are applied at once and counted; frame 0 means at once and
// is not late.
func TestLateEvents(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("test_probe/p", nil).cable("deployment/d/ready", "test_probe/p/in").adopt().settle()
	r.send(r.event(EventLevel, "deployment/d", "ready", 0, 10, r.e.frame-1000))
	r.send(r.event(EventLevel, "deployment/d", "ready", 1, 10, 0))
	// Of two late ones the later in time wins, in whatever order they come.
	r.send(r.event(EventLevel, "deployment/d", "ready", 2, 0, r.e.frame-10))
	r.send(r.event(EventLevel, "deployment/d", "ready", 2, 10, r.e.frame-20))
	r.render(4800)
	for ch, want := range []float32{10, 10, 0} {
		if got := r.probe("test_probe/p").rec[ch][0]; got != want {
			t.Errorf("channel %d is at %v V in the next frame, want %v", ch, got, want)
		}
	}
	if m, _ := r.e.Meters.Load(); m.Late != 3 {
		t.Errorf("%d events are counted late, want 3", m.Late)
	}
}

// TestAtOnceComesAfterWhatIsDue: what is to happen at once does not overtake
// what was told before it and is due in the same frame, so that a gate whose
// end comes at once does not rise after it.
func TestAtOnceComesAfterWhatIsDue(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("test_probe/p", nil).cable("deployment/d/ready", "test_probe/p/in").adopt().settle()
	for ch, before := range []int64{0, 1000, -1} { // in this frame, late, and in the next frame
		r.send(r.event(EventLevel, "deployment/d", "ready", ch, 10, r.e.frame-before))
		r.level("deployment/d", "ready", ch, 0)
	}
	r.render(64)
	for ch, want := range []float32{0, 0, 10} {
		if got := r.probe("test_probe/p").rec[ch][63]; got != want {
			t.Errorf("channel %d is at %v V, want %v", ch, got, want)
		}
	}
}

// TestOverflow fills the pending events to the brim with the future: what is
// too much comes early, in the order of time, and no gate stays up.
func TestOverflow(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("test_probe/p", nil).cable("deployment/d/ready", "test_probe/p/in").adopt().settle()
	base := r.e.frame
	// Lows at the far end first, then their highs, out of order: whoever
	// empties the queue from the wrong side leaves a gate up.
	rounds, sent := 6, 0
	for k := range rounds {
		for i := range 4000 {
			ch := (i + k) % MaxPoly
			at := base + 200000 + int64(k*4000+i)*2
			r.send(r.event(EventLevel, "deployment/d", "ready", ch, 0, at+100))
			r.send(r.event(EventLevel, "deployment/d", "ready", ch, 10, at))
			sent += 2
		}
		r.render(64)
	}
	late := r.event(EventLevel, "deployment/d", "ready", 5, 10, base+1000)
	r.send(late)
	late.Value, late.Frame = 0, base+2000
	r.send(late)
	r.render(300000)
	m, _ := r.e.Meters.Load()
	if want := uint64(sent + 2 - pendingSize); m.Overflow < want {
		t.Errorf("%d events came early, want %d", m.Overflow, want)
	}
	for ch := range MaxPoly {
		b := r.probe("test_probe/p").rec[ch]
		if v := b[len(b)-1]; v != 0 {
			t.Errorf("channel %d is still at %v V", ch, v)
		}
		if len(rises(b)) == 0 {
			t.Errorf("channel %d never rose", ch)
		}
	}
	if d := r.e.Inbox.Dropped(); d != 0 {
		t.Errorf("%d events were dropped", d)
	}
}

// TestOverflowKeepsOrder: with the queue full, an event that is earlier than
// all that wait comes before them.
func TestOverflowKeepsOrder(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("test_probe/p", nil).cable("deployment/d/ready", "test_probe/p/in").adopt().settle()
	base := r.e.frame
	r.send(r.event(EventLevel, "deployment/d", "ready", 1, 0, base+10000))
	for i := range pendingSize - 1 {
		r.send(r.event(EventLevel, "deployment/d", "ready", 0, 0, base+10001+int64(i)))
	}
	r.render(64)
	r.send(r.event(EventLevel, "deployment/d", "ready", 1, 10, base+8000))
	r.render(30000)
	b := r.probe("test_probe/p").rec[1]
	if v := b[len(b)-1]; v != 0 {
		t.Error("a gate that was to fall stayed up: the queue let its fall pass before its rise")
	}
}

// TestFullInbox refuses and counts; nothing waits.
func TestFullInbox(t *testing.T) {
	r := newRig(t).adopt()
	n := 0
	for r.e.Inbox.Push(Event{Kind: EventInput, Frame: 1 << 40}) {
		n++
	}
	if n != r.e.Inbox.Cap() || r.e.Inbox.Dropped() != 1 {
		t.Errorf("%d of %d taken, %d counted as dropped", n, r.e.Inbox.Cap(), r.e.Inbox.Dropped())
	}
	r.render(64)
	if !r.e.Inbox.Push(Event{}) {
		t.Error("a block later there is still no room")
	}
}

// TestPanic: within one block everything is silent and low, and stays so,
// even a loop that howls and gates that were held by hand.
func TestPanic(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("pod/p", nil).add("voice/v", nil).add("test_pass/howl", nil).add("mixer/m", nil).add("audio_out/o", nil).add("test_probe/g", nil)
	r.add("voice/w", nil)
	r.cable("deployment/d/ready", "voice/v/gate").cable("deployment/d/ready", "test_probe/g/in").cable("voice/v/left", "mixer/m/left_1").cable("pod/p/audio", "mixer/m/left_2")
	r.cable("test_pass/howl/out", "test_pass/howl/a").cable("test_pass/howl/out", "mixer/m/left_3").cable("voice/w/left", "mixer/m/left_4")
	r.cable("mixer/m/left", "audio_out/o/left").adopt().settle()
	for ch := range 4 {
		r.level("deployment/d", "ready", ch, 10)
	}
	r.level("pod/p", "phase", 0, 5)
	r.level("pod/p", "exists", 0, 10)
	r.input("test_pass/howl", "b", 1)
	r.input("voice/w", "gate", 10)
	r.seconds(0.01)
	r.input("test_pass/howl", "b", 0)
	r.seconds(1)
	if peakOf(r.out[0][24000:]) < 0.5 {
		t.Fatal("nothing sounds before the panic")
	}
	r.forget()
	r.send(Event{Kind: EventPanic})
	r.seconds(1)
	if p := peakOf(r.out[0][BlockSize:]); p != 0 {
		t.Errorf("%.4f V sound after a panic", p)
		keepWAV(t, "panic", r.out[0])
	}
	for ch := range 4 {
		if b := r.probe("test_probe/g").rec[ch]; peakOf(b[BlockSize:]) != 0 {
			t.Errorf("gate %d is at %v V a block after a panic", ch, peakOf(b[BlockSize:]))
		}
	}
	r.level("deployment/d", "ready", 0, 10)
	r.seconds(1)
	if peakOf(r.out[0]) < 0.3 {
		t.Error("nothing can be played after a panic")
	}
}

// TestPanicIsTold: the engine tells its thread, and its control side even if
// there is no room at first, which panic it has obeyed and from which frame on,
// also when it comes within a block and when there are several.
func TestPanicIsTold(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil)
	r.cable("test_source/s/"+jackOf(Audio), "audio_out/o/left").adopt()
	r.source("test_source/s").play = sine(500, 2)
	r.settle().seconds(0.1)
	for ev := (Event{}); r.e.Outbox.Pop(&ev); {
	}
	if n, _ := r.e.Panicked(); n != 0 {
		t.Fatalf("it has obeyed panic %d", n)
	}
	told := func() (list []Event) {
		for ev := (Event{}); r.e.Outbox.Pop(&ev); {
			if ev.Kind == EventPanic {
				list = append(list, ev)
			}
		}
		return list
	}
	for i, frame := range []int64{0, 17, 64, 100} {
		r.forget()
		began := r.e.frame
		if frame > 0 {
			r.send(Event{Kind: EventPanic, Module: uint32(2*i + 1), Frame: began + frame})
		}
		r.send(Event{Kind: EventPanic, Module: uint32(2*i + 2), Frame: max(began, 1) + frame})
		r.render(5 * BlockSize)
		n, after := r.e.Panicked()
		want := began + frame + BlockSize
		if frame > 0 {
			want += BlockSize // the second has waited for the first
		}
		if at := r.e.frame - int64(after); n != uint32(2*i+2) || at < want-1 || at > want+1 {
			t.Errorf("frame %d: it has obeyed panic %d at frame %d, want %d at %d", frame, n, at-began, 2*i+2, want-began)
		}
		list := told()
		if len(list) == 0 || list[len(list)-1].Module != n || list[len(list)-1].Frame != r.e.frame-int64(after) {
			t.Errorf("frame %d: it tells of %+v", frame, list)
		}
		// From there on it begins at nothing.
		if v := r.out[0][r.e.frame-int64(after)-began:]; len(v) > 4 && peakOf(v[:4]) > 1e-3 {
			t.Errorf("frame %d: it goes on at %g V", frame, v[:4])
		}
		r.seconds(0.1)
	}
	for r.e.Outbox.Push(Event{Kind: EventSample, Module: 1 << 20}) {
	}
	r.send(Event{Kind: EventPanic, Module: 77})
	r.render(4 * BlockSize)
	if list := told(); len(list) != 0 {
		t.Fatalf("there was room for %+v", list)
	}
	r.render(BlockSize)
	if list := told(); len(list) != 1 || list[0].Module != 77 {
		t.Errorf("when there is room it tells of %+v", list)
	}
}

// TestPanicDoesNotClick: a tone is gone within a block and comes back by
// itself, both without a click, and what was told meanwhile is done after it.
func TestPanicDoesNotClick(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).add("deployment/d", nil).add("test_probe/g", nil)
	r.cable("test_source/s/"+jackOf(Audio), "audio_out/o/left").cable("deployment/d/ready", "test_probe/g/in").adopt()
	r.source("test_source/s").play = sine(146.83, 2)
	r.settle().seconds(0.5)
	r.forget()
	r.seconds(0.3)
	r.send(Event{Kind: EventPanic})
	r.level("deployment/d", "ready", 0, 10)
	r.seconds(0.3)
	if db, at := measure.ClickLevel(r.out[0], testRate, clickCorner); db+measure.Decibels(peakOf(r.out[0])/AudioVolts) > clickLimit {
		t.Errorf("a panic clicks at %.1f dB, %d frames after it; want less than %d", db, at-int(0.3*testRate), clickLimit)
		keepWAV(t, "panic-click", r.out[0])
	}
	quiet := r.out[0][int(0.3*testRate)+BlockSize:]
	if p := peakOf(quiet[:8]); p > 0.01 {
		t.Errorf("%.4f V a block after the panic", p)
	}
	if gate := r.probe("test_probe/g").rec[0]; gate[len(gate)-1] != 10 {
		t.Error("a gate that was told to rise right after the panic is low")
	}
}

// TestMasterFade: start and stop are ramps of 50 ms.
func TestMasterFade(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).cable("test_source/s/out_0", "audio_out/o/left").adopt()
	r.source("test_source/s").play = sine(500, 4)
	r.seconds(0.5)
	if peakOf(r.out[0]) != 0 {
		t.Error("it sounds before its fade in")
	}
	at := len(r.out[0])
	r.send(Event{Kind: EventFadeIn})
	r.seconds(0.5)
	in := r.out[0][at:]
	if p := peakOf(in[:480]); p > 0.2*4*1.1 {
		t.Errorf("10 ms into the fade it is at %.2f V", p)
	}
	if p := peakOf(in[1100:1300]); math.Abs(p-2) > 0.3 {
		t.Errorf("half way it is at %.2f V, want 2", p)
	}
	if p := peakOf(in[2400:4800]); math.Abs(p-4) > 0.1 {
		t.Errorf("after 50 ms it is at %.2f V, want 4", p)
	}
	at = len(r.out[0])
	r.send(Event{Kind: EventFadeOut, Frame: r.e.frame + 100})
	r.seconds(0.2)
	out := r.out[0][at:]
	if p := peakOf(out[2000:2300]); p == 0 || p > 1 {
		t.Errorf("42 ms into the fade it is at %.2f V", p)
	}
	if p := peakOf(out[2500:]); p != 0 {
		t.Errorf("after the fade out %.4f V are left", p)
	}
	if step, i := steepest(r.out[0]); step > 4*2*math.Pi*500/testRate+0.01 {
		t.Errorf("a step of %.3f V at %d", step, i)
	}
}

// TestWatchedGates are told of at their frame, once an edge, with hysteresis.
func TestWatchedGates(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("pod/p", nil).cable("test_source/s/out_3", "pod/p/lifecycle").adopt().settle()
	at := r.e.frame
	r.source("test_source/s").play = func(f int64, _ int) float32 {
		switch d := f - at; {
		case d >= 1000 && d < 1500:
			return 10
		case d >= 1500 && d < 2000:
			return 0.5 // between the thresholds nothing changes
		case d >= 3000 && d < 3001:
			return 0.9
		}
		return 0
	}
	var ev Event
	for r.e.Outbox.Pop(&ev) {
	}
	r.render(5000)
	var got []Event
	for r.e.Outbox.Pop(&ev) {
		got = append(got, ev)
	}
	want := []Event{
		{Frame: at + 1000, Kind: EventGate, Module: r.c.Handle("pod/p"), Index: uint8(Spec("pod").Input("lifecycle")), Value: 1},
		{Frame: at + 2000, Kind: EventGate, Module: r.c.Handle("pod/p"), Index: uint8(Spec("pod").Input("lifecycle"))},
	}
	if len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("told %+v, want %+v", got, want)
	}
}

// TestEventsBeforeTheirPlan: a knob of a module that was compiled but not yet
// taken up is not lost.
func TestEventsBeforeTheirPlan(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("test_probe/p", nil).add("vca/a", nil).cable("test_source/s/out_0", "vca/a/in").cable("vca/a/out", "test_probe/p/in").adopt()
	r.source("test_source/s").play = steady(1)
	r.settle()
	r.pull("test_probe/p/in").adopt().render(64) // fades for 240 frames
	r.add("vca/b", nil).cable("test_source/s/out_0", "vca/b/in").cable("vca/b/out", "test_probe/p/in").adopt()
	r.param("vca/b", "gain", 0.5)
	r.seconds(0.1)
	got := r.probe("test_probe/p").rec[0]
	if v := got[len(got)-1]; math.Abs(float64(v)-0.5) > 1e-3 {
		t.Errorf("the new module's gain gives %v V, want 0.5", v)
	}
}

// BenchmarkEvents is the worst a block can bring: a full queue of the future,
// and an inbox full of events that are due before all of it.
func BenchmarkEvents(b *testing.B) {
	for name, early := range map[string]bool{"in order": false, "before all that waits": true} {
		b.Run(name, func(b *testing.B) {
			r := newRig(b).add("deployment/d", nil).adopt()
			out := [][]float32{make([]float32, 64), make([]float32, 64)}
			ev := r.event(EventLevel, "deployment/d", "ready", 0, 0, 0)
			for b.Loop() {
				b.StopTimer()
				e := NewEngine(testRate, 2)
				e.Adopt(r.plan)
				for i := range pendingSize / 2 {
					ev.Frame = 1<<40 + int64(i)
					e.Inbox.Push(ev)
				}
				e.Render(out, nil)
				for range 500 {
					if ev.Frame = 1 << 41; early {
						ev.Frame = 0
					}
					e.Inbox.Push(ev)
				}
				b.StartTimer()
				e.Render(out, nil)
			}
		})
	}
}

// TestNoGateStaysUp: an edge for which there was no room on the way out is told
// when there is, so that what a gate holds up falls with it.
func TestNoGateStaysUp(t *testing.T) {
	r := newRig(t).add("node/n", nil).adopt().settle()
	r.send(r.event(EventInput, "node/n", "cordon_gate", 0, 10, r.e.frame))
	r.render(BlockSize)
	for r.e.Outbox.Push(Event{Kind: EventSample, Module: 1 << 20}) {
	}
	r.send(r.event(EventInput, "node/n", "cordon_gate", 0, 0, r.e.frame))
	r.render(4800)
	for ev := (Event{}); r.e.Outbox.Pop(&ev); {
		if ev.Kind == EventGate && ev.Value == 0 {
			t.Fatal("there was room")
		}
	}
	r.render(BlockSize)
	fell := 0
	for ev := (Event{}); r.e.Outbox.Pop(&ev); {
		if ev.Kind == EventGate && ev.Module == r.c.Handle("node/n") && ev.Value == 0 {
			fell++
		}
	}
	if fell != 1 {
		t.Errorf("the fall of the gate was told %d times, want once", fell)
	}
}
