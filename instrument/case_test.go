package instrument

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// wire is one source on its way to one module and its jack.
func wire(t *testing.T, id ModuleID, kind SignalKind, params map[string]float64) *rig {
	t.Helper()
	return newRig(t).add("test_source/s", nil).add(id, params).cable("test_source/s/"+jackOf(kind), string(id)+"/in").adopt()
}

// TestCVOutIsExact: what goes into a jack's module is what the device gets, bit
// by bit, and on no other channel.
func TestCVOutIsExact(t *testing.T) {
	r := wire(t, "cv_out/dut", CV, nil)
	play := func(f int64, _ int) float32 { return float32(math.Sin(float64(f)*0.01)*6) + float32(f%7)*1e-6 }
	r.settle()
	r.source("test_source/s").play = play
	r.seconds(0.1).forget()
	from := r.e.frame
	r.chunk = 100
	r.seconds(0.2)
	for i, v := range r.out[0] {
		if want := play(from+int64(i), 0); math.Float32bits(v) != math.Float32bits(want) {
			t.Fatalf("frame %d is %v, want %v", i, v, want)
		}
		if r.out[1][i] != 0 {
			t.Fatalf("the other channel has %v V", r.out[1][i])
		}
	}
}

// TestCVOutChannel: one channel of a polyphonic cable goes out; one that the
// cable loses holds.
func TestCVOutChannel(t *testing.T) {
	r := wire(t, "cv_out/dut", CV, map[string]float64{"channel": 3})
	s := r.source("test_source/s")
	s.channels, s.play = 4, func(_ int64, c int) float32 { return float32(c) + 0.5 }
	r.settle().render(256)
	if v := r.out[0][200]; v != 2.5 {
		t.Errorf("channel 3 goes out as %v V, want 2.5", v)
	}
	s.channels = 2
	r.forget()
	r.render(256)
	if lo, hi := slices.Min(r.out[0]), slices.Max(r.out[0]); lo != 2.5 || hi != 2.5 {
		t.Errorf("a channel that is gone is at %v … %v V, want 2.5", lo, hi)
	}
}

// TestCVOutGlides measures portamento: its time, its straight line, and its
// end, which is exact.
func TestCVOutGlides(t *testing.T) {
	for _, c := range []struct {
		glides  float64
		volts   float32
		seconds float64
	}{{0, 1, 0.2}, {0, 4, 0.2}, {1, 1, 0.2}, {1, 2, 0.4}, {1, -1.5, 0.3}} {
		r := wire(t, "cv_out/dut", CV, map[string]float64{"glide": 0.2, "glides": c.glides})
		r.settle()
		r.source("test_source/s").play = steady(c.volts)
		r.seconds(0.6)
		at := slices.Index(r.out[0], c.volts)
		if d := math.Abs(float64(at)/testRate - c.seconds); at < 0 || d > 0.0001 {
			t.Errorf("glides %v to %v V: there after %.4f s, want %.4f", c.glides, c.volts, float64(at)/testRate, c.seconds)
			continue
		}
		if half := r.out[0][at/2]; math.Abs(float64(half-c.volts/2)) > 0.001 {
			t.Errorf("glides %v to %v V: half way it is at %v V", c.glides, c.volts, half)
		}
	}
}

// TestJackMovesWithoutStep: a jack that is named otherwise, a module that
// comes, one that goes, another on the same jack, the start, a panic and the
// end are all ramps.
func TestJackMovesWithoutStep(t *testing.T) {
	r := wire(t, "cv_out/dut", CV, nil)
	r.source("test_source/s").play = steady(5)
	r.render(300)
	if p := peakOf(r.out[0]); p != 0 {
		t.Fatalf("%v V before the fade in", p)
	}
	r.send(Event{Kind: EventFadeIn})
	r.seconds(0.1)
	named := func(word string) {
		r.patch.Modules[1].Text = map[string]string{"jack": word}
		r.c.Socket(&r.patch)
	}
	check := func(what string, a, b float32) {
		t.Helper()
		r.seconds(0.1)
		for c, want := range []float32{a, b} {
			if got := r.out[c][len(r.out[c])-1]; got != want {
				t.Errorf("%s: channel %d is at %v V, want %v", what, c+1, got, want)
			}
			// 5 V in a block, as a panic has it, is no more than 0.12 V a frame.
			if step, at := steepest(r.out[c]); step > 0.12 {
				t.Errorf("%s: channel %d steps by %v V at %d", what, c+1, step, at)
			}
		}
	}
	check("at first", 5, 0)
	named("two")
	check("named otherwise", 0, 5)
	named("nowhere")
	check("of no rig", 0, 0)
	named("")
	check("named as the module", 5, 0)
	r.c.SetSockets(Sockets{Outputs: map[string]int{"dut": 1}}, &r.patch)
	check("in another rig", 0, 5)
	r.c.SetSockets(benchSockets, &r.patch)
	check("in the first rig", 5, 0)
	// A scene that has another module on the jack.
	r.remove("cv_out/dut").add("cv_out/new", nil)
	r.patch.Modules[1].Text = map[string]string{"jack": "dut"}
	r.cable("test_source/s/"+jackOf(CV), "cv_out/new/in").adopt()
	from := len(r.out[0])
	check("another module", 5, 0)
	if lo := slices.Min(r.out[0][from:]); lo < 4.99 {
		t.Errorf("between two modules that send 5 V it falls to %v V", lo)
	}
	r.send(Event{Kind: EventPanic})
	check("a panic", 5, 0)
	r.remove("cv_out/new").adopt()
	check("taken out", 0, 0)
	r.add("cv_out/dut", nil).cable("test_source/s/"+jackOf(CV), "cv_out/dut/in").adopt()
	check("put in", 5, 0)
	r.send(Event{Kind: EventFadeOut})
	check("the end", 0, 0)
}

// runs lists the lengths in frames for which a gate is high, and where each begins.
func runs(b []float32) (at, lengths []int) {
	for i := 0; i < len(b); i++ {
		if b[i] > 1 {
			k := i
			for k < len(b) && b[k] > 1 {
				k++
			}
			at, lengths = append(at, i), append(lengths, k-i)
			i = k
		}
	}
	return at, lengths
}

// highs returns a function that is high in the given stretches of frames.
func highs(from int64, pairs ...int64) func(int64, int) float32 {
	return func(f int64, _ int) float32 {
		for k := 0; k < len(pairs); k += 2 {
			if f >= from+pairs[k] && f < from+pairs[k+1] {
				return 10
			}
		}
		return 0
	}
}

// TestGateOutTimes: delay, length, gap and what begins anew, to the frame.
func TestGateOutTimes(t *testing.T) {
	for _, c := range []struct {
		name        string
		params      map[string]float64
		in          []int64
		retrigger   []int64
		at, lengths []int
	}{
		{"a gate, 2 ms late", nil, []int64{100, 1100}, nil, []int{196}, []int{1000}},
		{"a gate with no delay", map[string]float64{"delay": 0}, []int64{100, 1100}, nil, []int{100}, []int{1000}},
		{"the longest delay", map[string]float64{"delay": 100}, []int64{100, 1100}, nil, []int{4900}, []int{1000}},
		{"a short gate lasts for 1 ms", map[string]float64{"delay": 0}, []int64{100, 103}, nil, []int{100}, []int{48}},
		{"a trigger of 1 ms", map[string]float64{"mode": 1, "delay": 0}, []int64{100, 5000}, nil, []int{100}, []int{48}},
		{"a trigger of 20 ms", map[string]float64{"mode": 1, "delay": 0, "length": 20}, []int64{100, 110}, nil, []int{100}, []int{960}},
		{"a trigger of 0.1 ms", map[string]float64{"mode": 1, "delay": 0, "length": 0.1}, []int64{100, 110}, nil, []int{100}, []int{5}},
		{"a low of two frames is seen", map[string]float64{"delay": 0}, []int64{100, 300, 302, 1000}, nil, []int{100, 348}, []int{200, 652}},
		{"gates that join", map[string]float64{"delay": 0, "gap": 0}, []int64{100, 300, 302, 1000}, nil, []int{100, 302}, []int{200, 698}},
		{"a trigger in a trigger", map[string]float64{"mode": 1, "delay": 0, "length": 20}, []int64{100, 110, 500, 510}, nil, []int{100, 548}, []int{400, 960}},
		{"triggers that join", map[string]float64{"mode": 1, "delay": 0, "length": 20, "gap": 0}, []int64{100, 110, 500, 510}, nil, []int{100}, []int{1360}},
		{"a gate begins anew", nil, []int64{100, 3000}, []int64{1000, 1010}, []int{196, 1144}, []int{900, 1952}},
		{"nothing begins anew that is low", nil, []int64{100, 300}, []int64{1000, 1010}, []int{196}, []int{200}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := wire(t, "gate_out/dut", Gate, c.params)
			r.add("test_source/r", nil).cable("test_source/r/"+jackOf(Trigger), "gate_out/dut/retrigger").adopt().settle()
			r.source("test_source/s").play = highs(r.e.frame, c.in...)
			r.source("test_source/r").play = highs(r.e.frame, c.retrigger...)
			r.render(9000)
			at, lengths := runs(r.out[0])
			if !slices.Equal(at, c.at) || !slices.Equal(lengths, c.lengths) {
				t.Errorf("high at %v for %v frames, want %v for %v", at, lengths, c.at, c.lengths)
			}
		})
	}
}

// TestGateOutEndsLow: at a panic, when the instrument fades, when it is taken
// out, when its cable is pulled and when its jack is another it is low at
// once, or in the time of the cable, and stays so.
func TestGateOutEndsLow(t *testing.T) {
	for name, c := range map[string]struct {
		do     func(r *rig)
		within int
		again  bool // the gate is still there, and comes again
	}{
		"panic":    {func(r *rig) { r.send(Event{Kind: EventPanic}) }, 1, true},
		"fade out": {func(r *rig) { r.send(Event{Kind: EventFadeOut}) }, 2, false},
		"taken":    {func(r *rig) { r.remove("gate_out/dut").adopt() }, BlockSize + 2, false},
		"pulled":   {func(r *rig) { r.pull("gate_out/dut/in").adopt() }, BlockSize + 6*48 + 96, false},
		"named": {func(r *rig) {
			r.patch.Modules[1].Text = map[string]string{"jack": "two"}
			r.c.Socket(&r.patch)
		}, 1, false},
		"channel": {func(r *rig) { r.param("gate_out/dut", "channel", 2); r.source("test_source/s").channels = 2 }, 2 + 96, false},
	} {
		t.Run(name, func(t *testing.T) {
			r := wire(t, "gate_out/dut", Gate, nil)
			r.source("test_source/s").play = func(_ int64, c int) float32 { return 10 * float32(1-c) }
			r.settle().seconds(0.1).forget()
			c.do(r)
			r.seconds(0.3)
			low := slices.Index(r.out[0], 0)
			if low < 0 || low > c.within {
				t.Errorf("it is low after %d frames, want %d", low, c.within)
			}
			end := r.out[0][len(r.out[0])-1]
			if end != 0 != c.again {
				t.Errorf("it ends at %v V", end)
			}
			for _, v := range r.out[0] {
				if v != 0 && v != GateVolts {
					t.Fatalf("a gate of %v V", v)
				}
			}
		})
	}
}

// TestGateOutNeverHangs plays gates at random with knobs that are turned; once
// all is low so is the jack, every time.
func TestGateOutNeverHangs(t *testing.T) {
	for seed := range uint64(20) {
		r := wire(t, "gate_out/dut", Gate, map[string]float64{"mode": float64(seed % 2)})
		r.settle()
		hash := uint32(seed*7919 + 1)
		r.source("test_source/s").play = func(f int64, _ int) float32 {
			h := hash ^ uint32(f/(1+int64(seed)*13))*2654435761
			h ^= h >> 13
			return float32(h%2) * 10
		}
		for k := range 10 {
			r.param("gate_out/dut", "delay", float32((seed*31+uint64(k)*17)%100))
			r.param("gate_out/dut", "gap", float32(k)*2)
			r.param("gate_out/dut", "length", float32(1+k*k))
			r.render(997)
		}
		r.source("test_source/s").play = nil
		r.seconds(0.35).forget()
		r.seconds(0.05)
		if p := peakOf(r.out[0]); p != 0 {
			t.Errorf("seed %d: %v V are left", seed, p)
		}
	}
}

// TestCVIn: what is captured is put out exactly, its gate is a Schmitt
// trigger's by the standard, and steps hold against noise.
func TestCVIn(t *testing.T) {
	r := newRig(t).add("cv_in/dut", map[string]float64{"smooth": 0})
	for _, o := range []string{"out", "steps", "gate", "trigger"} {
		r.add(ModuleID("test_probe/"+o), nil).cable("cv_in/dut/"+o, "test_probe/"+o+"/in")
	}
	r.adopt()
	ramp := func(f int64, c int) float32 {
		if c != 0 {
			return -3
		}
		return float32(math.Abs(float64(f%9600)-4800)) / 1000 // 4.8 … 0 … 4.8 V
	}
	r.captured = ramp
	r.settle().render(4800).forget()
	from := r.e.frame
	r.chunk = 96
	r.render(19200)
	for i, v := range r.probe("test_probe/out").rec[0] {
		if want := ramp(from+int64(i), 0); v != want {
			t.Fatalf("frame %d is %v V, want %v", i, v, want)
		}
	}
	high, n := ramp(from-1, 0) > 1, 0
	for i, v := range r.probe("test_probe/gate").rec[0] {
		was := high
		if x := ramp(from+int64(i), 0); x > 1 {
			high = true
		} else if x < 0.1 {
			high = false
		}
		if high && !was {
			n++
		}
		if high != (v == GateVolts) {
			t.Fatalf("frame %d: gate is %v V at %v V", i, v, ramp(from+int64(i), 0))
		}
	}
	if _, lengths := runs(r.probe("test_probe/trigger").rec[0]); len(lengths) != n || slices.Max(lengths) != 48 || slices.Min(lengths) != 48 {
		t.Errorf("triggers of %v frames, want %d of 48", lengths, n)
	}
	var changes []string
	steps := r.probe("test_probe/steps").rec[0]
	for i := 1; i < 9600; i++ {
		if steps[i] != steps[i-1] {
			changes = append(changes, fmt.Sprintf("%.2f:%g", ramp(from+int64(i), 0), steps[i]))
		}
	}
	want := []string{"4.65:5", "4.35:4", "3.35:3", "2.35:2", "1.35:1", "0.35:0", "0.65:1", "1.65:2", "2.65:3", "3.65:4"}
	if !slices.Equal(changes, want) {
		t.Errorf("steps change at %v, want %v", changes, want)
	}
	// No rig and no capture is 0 V.
	r.captured = nil
	r.seconds(0.1).forget()
	r.seconds(0.1)
	if p := peakOf(r.probe("test_probe/out").rec[0]); p != 0 {
		t.Errorf("%v V come in where nothing is captured", p)
	}
}

// TestCVInSmooths: after its time a hundredth of a jump is left, and noise is
// less by what that costs.
func TestCVInSmooths(t *testing.T) {
	r := newRig(t).add("cv_in/dut", map[string]float64{"smooth": 100}).add("test_probe/p", nil).cable("cv_in/dut/out", "test_probe/p/in").adopt()
	r.captured = func(int64, int) float32 { return 0 }
	r.settle()
	r.captured = func(int64, int) float32 { return 5 }
	r.seconds(0.2)
	if v := r.probe("test_probe/p").rec[0][4800-1]; math.Abs(float64(v)-4.95) > 0.001 {
		t.Errorf("after 100 ms it is at %v V, want 4.95", v)
	}
	hash := uint32(1)
	noise := func() float32 {
		hash ^= hash << 13
		hash ^= hash >> 17
		hash ^= hash << 5
		return (float32(hash)/math.MaxUint32 - 0.5) * 0.02 * 3.4641016 // 20 mV rms
	}
	r.captured = func(int64, int) float32 { return 3.5 + noise() }
	r.seconds(0.5).forget()
	r.seconds(1)
	var sum float64
	rec := r.probe("test_probe/p").rec[0]
	for _, v := range rec {
		sum += float64(v-3.5) * float64(v-3.5)
	}
	if rms := math.Sqrt(sum / float64(len(rec))); rms > 0.0006 {
		t.Errorf("of 20 mV of noise %.2f mV are left, want under 0.6", rms*1000)
	}
}

// TestAudioIn: one jack feeds both sides, two feed one each; DC is taken away.
func TestAudioIn(t *testing.T) {
	r := newRig(t).add("audio_in/dut", nil).add("test_probe/l", nil).add("test_probe/r", nil)
	r.cable("audio_in/dut/left", "test_probe/l/in").cable("audio_in/dut/right", "test_probe/r/in").adopt()
	r.captured = func(f int64, c int) float32 { return sine(200*float64(c+1), 2)(f, 0) + 1 }
	level := func() (l, rr float64) {
		r.seconds(1.5).forget()
		r.seconds(0.5)
		return rmsOf(r.probe("test_probe/l").rec[0]), rmsOf(r.probe("test_probe/r").rec[0])
	}
	r.settle()
	if a, b := level(); math.Abs(a-math.Sqrt2) > 0.01 || a != b {
		t.Errorf("one jack: %.4f and %.4f V, want %.4f and the same", a, b, math.Sqrt2)
	}
	r.patch.Modules[0].Text = map[string]string{"jack": "dut, two"}
	r.c.Socket(&r.patch)
	a, b := level()
	if math.Abs(a-math.Sqrt2) > 0.01 || math.Abs(b-math.Sqrt2) > 0.01 || slices.Equal(r.probe("test_probe/l").rec[0], r.probe("test_probe/r").rec[0]) {
		t.Errorf("two jacks: %.4f and %.4f V", a, b)
	}
	r.param("audio_in/dut", "dc_block", 0)
	r.param("audio_in/dut", "gain", 6.0206)
	if a, _ := level(); math.Abs(a-2*math.Sqrt(3)) > 0.01 {
		t.Errorf("with its DC and twice as loud: %.4f V, want %.4f", a, 2*math.Sqrt(3))
	}
}

// TestAudioOutJacks: named jacks take the place of the channel, one jack takes
// the middle, and names of no rig are silent.
func TestAudioOutJacks(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", nil).cable("test_source/s/out_0", "audio_out/o/left").adopt()
	r.source("test_source/s").play = sine(300, 2)
	r.settle()
	for _, c := range []struct {
		jack string
		l, r float64
	}{{"", 1, 1}, {"two", 0, 1}, {"two dut", 1, 1}, {"dut", 1, 0}, {"elsewhere", 0, 0}, {"", 1, 1}} {
		r.patch.Modules[1].Text = map[string]string{"jack": c.jack}
		r.c.Socket(&r.patch)
		r.seconds(0.1).forget()
		r.seconds(0.2)
		if a, b := rmsOf(r.out[0])/math.Sqrt2, rmsOf(r.out[1])/math.Sqrt2; math.Abs(a-c.l) > 0.01 || math.Abs(b-c.r) > 0.01 {
			t.Errorf("jack %q: %.3f and %.3f, want %v and %v", c.jack, a, b, c.l, c.r)
		}
	}
}
