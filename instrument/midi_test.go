package instrument

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// TestMIDIOutLosesNoEnd: where the control side does not listen, the end of a
// note waits until it does.
func TestMIDIOutLosesNoEnd(t *testing.T) {
	r := newRig(t)
	r.add("midi_out/o", nil)
	r.add("test_source/gate", nil)
	r.cable("test_source/gate/"+jackOf(Gate), "midi_out/o/gate")
	r.adopt()
	src := r.source("test_source/gate")
	src.channels = MaxPoly
	level := [MaxPoly]float32{}
	src.level = &level
	r.settle()
	on := map[uint8]bool{}
	listen := func() (edges int) {
		for e := (Event{}); r.e.Outbox.Pop(&e); {
			if e.Kind == EventGate && e.Index == MIDIOutGate && e.Module == r.c.Handle("midi_out/o") {
				if high := e.Value > 0; high == on[e.Channel] {
					t.Errorf("channel %d was %t already", e.Channel, high)
				} else {
					on[e.Channel] = high
					edges++
				}
			}
		}
		return edges
	}
	deaf := func() {
		for r.e.Outbox.Push(Event{Kind: 99}) {
		}
	}
	for c := range level {
		level[c] = GateVolts
	}
	r.render(100)
	if n := listen(); n != MaxPoly {
		t.Fatalf("%d notes began, want %d", n, MaxPoly)
	}
	deaf()
	level = [MaxPoly]float32{}
	r.render(300)
	listen()
	r.render(100)
	if n := listen(); n != MaxPoly {
		t.Errorf("%d ends were told when there was room again, want %d", n, MaxPoly)
	}
	// One that began and ended meanwhile never was.
	deaf()
	level[3] = GateVolts
	r.render(100)
	level[3] = 0
	r.render(100)
	listen()
	r.render(100)
	if n := listen(); n != 0 {
		t.Errorf("%d edges of a note that nobody could hear of", n)
	}
	// Nor is one that a panic ended forgotten.
	level[5] = GateVolts
	r.render(100)
	listen()
	r.send(Event{Kind: EventPanic})
	level[5] = 0
	r.render(200)
	listen()
	for c, high := range on {
		if high {
			t.Errorf("channel %d was left high by a panic", c)
		}
	}
}

// TestMIDIInBeginsInPlace: a bend glides under a note that sounds, and is
// there at once as one begins.
func TestMIDIInBeginsInPlace(t *testing.T) {
	r := newRig(t)
	r.add("midi_in/i", nil)
	r.add("test_probe/pitch", nil)
	r.cable("midi_in/i/pitch", "test_probe/pitch/in")
	r.adopt()
	r.settle()
	at := r.e.frame + 100
	r.forget()
	from := r.e.frame
	r.send(r.event(EventLevel, "midi_in/i", "bend", 2, 1, at))
	r.send(r.event(EventLevel, "midi_in/i", "pitch", 2, 0.5, at))
	r.send(r.event(EventPulse, "midi_in/i", "trigger", 2, 0, at))
	r.send(r.event(EventLevel, "midi_in/i", "bend", 2, 0, at+1000))
	r.render(3000)
	rec := r.probe("test_probe/pitch").rec[2]
	read := func(f int64) float64 { return float64(rec[f-from]) }
	for _, tt := range []struct {
		frame int64
		want  float64
	}{{at - 1, 0}, {at, 1.5}, {at + 999, 1.5}, {at + 1000 + 240, 1}, {at + 1600, 0.5}} {
		if got := read(tt.frame); math.Abs(got-tt.want) > 0.01 {
			t.Errorf("%d frames after the strike the pitch is %.3f V, want %.1f V", tt.frame-at, got, tt.want)
		}
	}
}

// TestMIDIOutSaysLittle: noise on a controller is not told, what comes to rest
// is, and what moves is at most a hundred times a second.
func TestMIDIOutSaysLittle(t *testing.T) {
	for _, cc14 := range []float64{0, 1} {
		r := newRig(t)
		r.add("midi_out/o", map[string]float64{"cc14": cc14})
		r.add("test_source/cc", nil)
		r.cable("test_source/cc/"+jackOf(CV), "midi_out/o/cc_2")
		r.adopt()
		r.settle()
		count := func() (n int, last float32) {
			for e := (Event{}); r.e.Outbox.Pop(&e); {
				if e.Kind == EventSample {
					n, last = n+1, e.Value
				}
			}
			return n, last
		}
		src := r.source("test_source/cc")
		src.play = func(f int64, _ int) float32 { return 5 + 0.02*float32(math.Sin(float64(f)*0.01)) }
		r.seconds(0.1)
		count()
		r.seconds(1)
		if n, _ := count(); cc14 == 0 && n > 0 {
			t.Errorf("20 mV of noise were told %d times", n)
		}
		src.play = func(f int64, _ int) float32 { return float32(f%testRate) / testRate * 10 }
		r.seconds(1)
		n, _ := count()
		t.Logf("14 bits %v: a ramp of a second was told %d times", cc14, n)
		if n < 60 || n > midiControlRate+1 {
			t.Errorf("a ramp was told %d times in a second", n)
		}
		src.play = func(int64, int) float32 { return 7.013 }
		r.seconds(0.1)
		if _, last := count(); last != 7.013 {
			t.Errorf("it came to rest at %v V, want 7.013 V", last)
		}
	}
}

// TestClockLocates: a reset with a position goes on within the bar as if the
// bar had been played.
func TestClockLocates(t *testing.T) {
	for _, at := range []float64{0, 1, 2.25, 3.5, 2.0 / 3, 3.9, 5} {
		r := newRig(t)
		r.add("clock/c", map[string]float64{"tempo": 120})
		r.add("test_source/reset", nil)
		r.add("test_source/position", nil)
		r.cable("test_source/reset/"+jackOf(Trigger), "clock/c/reset")
		r.cable("test_source/reset/"+jackOf(Gate), "clock/c/run_gate")
		r.cable("test_source/position/"+jackOf(CV), "clock/c/position")
		outs := []string{"beat", "bar", "sixteenth", "triplet", "pulses", "reset_out"}
		for _, o := range outs {
			id := ModuleID("test_probe/" + strings.ReplaceAll(o, "_", "-"))
			r.add(id, nil)
			r.cable("clock/c/"+o, string(id)+"/in")
		}
		r.adopt()
		r.settle()
		r.render(64 - int(r.e.frame%64) + 777)
		start := r.e.frame + 100
		r.source("test_source/position").play = func(int64, int) float32 { return float32(at * clockBeatVolts) }
		r.source("test_source/reset").play = func(f int64, _ int) float32 {
			if f >= start {
				return GateVolts
			}
			return 0
		}
		r.forget()
		from := r.e.frame
		r.seconds(2.1)
		beat := float64(testRate) / 2
		in := math.Mod(at, 4)
		for _, o := range outs {
			ratio := map[string]float64{"beat": 1, "bar": 0.25, "sixteenth": 4, "triplet": 3, "pulses": 24, "reset_out": 0.25}[o]
			var got, want []int64
			rec := r.probe(ModuleID("test_probe/" + strings.ReplaceAll(o, "_", "-"))).rec[0]
			for i := start - from; i < int64(len(rec)); i++ {
				if rec[i] > 5 && rec[i-1] <= 5 {
					got = append(got, i+from-start)
				}
			}
			for k := math.Ceil(in*ratio - 1e-6); ; k++ {
				f := int64(math.Round((k/ratio - in) * beat))
				if f > int64(len(rec))-(start-from)-10 {
					break
				}
				if o == "reset_out" && len(want) > 0 {
					break
				}
				want = append(want, f)
			}
			same := len(got) >= len(want) && len(got) <= len(want)+1
			for i := range min(len(got), len(want)) {
				same = same && got[i]-want[i] >= -2 && got[i]-want[i] <= 2
			}
			if !same {
				t.Errorf("located at beat %.2f: %s fires at %v, want %v", at, o, fmt.Sprint(got), fmt.Sprint(want))
			}
		}
	}
}
