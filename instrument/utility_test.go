package instrument

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// TestWish: knob and CV add to whole replicas; noise about a midpoint does
// not flap.
func TestWish(t *testing.T) {
	r := newRig(t).add("deployment/d", nil).add("test_source/s", nil).cable("test_source/s/out_1", "deployment/d/replicas_cv").adopt().settle()
	wishes := func() (all []float32) {
		var ev Event
		for r.e.Outbox.Pop(&ev) {
			if ev.Kind == EventWish && ev.Index == 0 {
				all = append(all, ev.Value)
			}
		}
		return all
	}
	if w := wishes(); len(w) != 1 || w[0] != 1 {
		t.Errorf("at the start it wishes %v, want its knob's 1 once", w)
	}
	cv := float32(0)
	r.source("test_source/s").play = func(f int64, _ int) float32 {
		x := uint32(f) * 2654435761
		x ^= x >> 16
		x *= 2246822519
		return cv + 0.6*(float32(x>>8)/(1<<24)-0.5)
	}
	r.param("deployment/d", "replicas", 3)
	r.seconds(0.1)
	wishes()
	cv = 0.5 // 3.5 ± 0.3
	r.seconds(2)
	if w := wishes(); len(w) != 0 {
		t.Errorf("a noise of ±0.3 V about 3.5 made %d wishes, beginning with %v", len(w), w[:min(len(w), 6)])
	}
	cv = 3 // with a knob at 3: six
	r.seconds(0.2)
	if w := wishes(); len(w) == 0 || w[len(w)-1] != 6 {
		t.Errorf("a knob at 3 and 3 V wish %v, want 6 in the end", w)
	}
	r.source("test_source/s").play = steady(4)
	r.param("deployment/d", "replicas_att", -0.5)
	r.seconds(0.2)
	if w := wishes(); len(w) == 0 || w[len(w)-1] != 1 {
		t.Errorf("a knob at 3 and 4 V through −0.5 wish %v, want 1 in the end", w)
	}
	r.source("test_source/s").play = steady(-12)
	r.param("deployment/d", "replicas_att", 1)
	r.seconds(0.2)
	if w := wishes(); len(w) == 0 || w[len(w)-1] != 0 {
		t.Errorf("−12 V wish %v; the least is 0", w)
	}
	r.source("test_source/s").play = steady(100)
	r.seconds(0.2)
	if w := wishes(); len(w) == 0 || w[len(w)-1] != MaxReplicas {
		t.Errorf("100 V wish %v; the most is %d", w, MaxReplicas)
	}
	// Each whole knob position arrives from either side.
	r.source("test_source/s").play = steady(0)
	for _, n := range []int{3, 4, 5, 4, 3, 0, 16, 15, 1} {
		r.param("deployment/d", "replicas", float32(n))
		r.seconds(0.02)
		if w := wishes(); len(w) != 1 || w[0] != float32(n) {
			t.Errorf("turned to %d it wishes %v", n, w)
		}
	}
}

func TestVCA(t *testing.T) {
	r := newRig(t).add("test_source/in", nil).add("test_source/cv", nil).add("vca/v", nil).add("test_probe/p", nil)
	r.cable("test_source/in/out_0", "vca/v/in").cable("test_source/cv/out_1", "vca/v/cv").cable("vca/v/out", "test_probe/p/in").adopt()
	r.source("test_source/in").channels = 3
	r.source("test_source/in").play = func(_ int64, c int) float32 { return float32(c + 1) }
	r.settle()
	at := func(volts float32) float64 {
		r.source("test_source/cv").play = steady(volts)
		r.seconds(0.1).forget()
		r.render(64)
		return float64(r.probe("test_probe/p").rec[0][63])
	}
	for _, c := range []struct{ volts, want float64 }{{0, 0}, {-5, 0}, {2.5, 0.25}, {5, 0.5}, {10, 1}, {12, 1}} {
		if got := at(float32(c.volts)); math.Abs(got-c.want) > 1e-4 {
			t.Errorf("linear: %g V open it to %g, want %g", c.volts, got, c.want)
		}
	}
	r.param("vca/v", "response", 1)
	for _, c := range []struct{ volts, db float64 }{{10, 0}, {7.5, -15}, {5, -30}, {2.5, -45}, {0.5, -57}} {
		if got := 20 * math.Log10(at(float32(c.volts))); math.Abs(got-c.db) > 0.05 {
			t.Errorf("exponential: %g V are %.2f dB, want %g", c.volts, got, c.db)
		}
	}
	if got := at(0); got != 0 {
		t.Errorf("exponential: 0 V let %g through", got)
	}
	r.param("vca/v", "response", 0)
	r.param("vca/v", "gain", 2)
	at(10)
	for c := range 3 {
		if got, want := r.probe("test_probe/p").rec[c][63], float32(2*(c+1)); math.Abs(float64(got-want)) > 1e-3 {
			t.Errorf("channel %d is %v, want %v: a monophonic cv serves all", c, got, want)
		}
	}
	// A gate opens it without a step.
	r.source("test_source/in").play = steady(5)
	at(0)
	r.forget()
	r.source("test_source/cv").play = steady(10)
	r.seconds(0.05)
	if step, _ := steepest(r.probe("test_probe/p").rec[0]); step > 0.5 {
		t.Errorf("a gate makes a step of %.2f V out of 10", step)
	}
	// Pulled out, cv stands at its normal.
	r.pull("vca/v/cv").adopt().seconds(0.1)
	if got := r.probe("test_probe/p").rec[0]; math.Abs(float64(got[len(got)-1])-10) > 1e-3 {
		t.Errorf("with nothing in cv it gives %v, want twice 5 V", got[len(got)-1])
	}
}

func TestMixer(t *testing.T) {
	r := newRig(t).add("test_source/a", nil).add("test_source/b", nil).add("mixer/m", nil)
	r.cable("test_source/a/out_0", "mixer/m/left_3")
	for _, o := range []string{"left", "right", "send_left", "send_right"} {
		r.add(ModuleID("test_probe/"+o[len(o)-4:]+fmt.Sprint(len(o))), nil).cable("mixer/m/"+o, "test_probe/"+o[len(o)-4:]+fmt.Sprint(len(o))+"/in")
	}
	r.adopt()
	r.source("test_source/a").play = steady(1)
	r.source("test_source/b").play = steady(3)
	r.settle()
	read := func() (v [4]float64) {
		r.seconds(0.05).forget()
		r.render(64)
		for i, id := range []ModuleID{"test_probe/left4", "test_probe/ight5", "test_probe/left9", "test_probe/ight10"} {
			v[i] = float64(r.probe(id).rec[0][63])
		}
		return v
	}
	near := func(a, b float64) bool { return math.Abs(a-b) < 1e-3 }
	for _, pan := range []float64{-1, -0.7, -0.3, 0, 0.2, 0.5, 1} {
		r.param("mixer/m", "pan_3", float32(pan))
		v := read()
		if p := v[0]*v[0] + v[1]*v[1]; !near(p, 1) {
			t.Errorf("pan %g: the power is %.4f, want 1 everywhere", pan, p)
		}
		a := (pan + 1) * math.Pi / 4
		if !near(v[0], math.Cos(a)) || !near(v[1], math.Sin(a)) {
			t.Errorf("pan %g: %.4f and %.4f, want %.4f and %.4f", pan, v[0], v[1], math.Cos(a), math.Sin(a))
		}
		if v[2] != 0 || v[3] != 0 {
			t.Errorf("pan %g: a send at −60 dB gives %v", pan, v[2:])
		}
	}
	r.param("mixer/m", "pan_3", -1)
	for _, db := range []float64{-60, -59, -20, -6, 0, 6, 12} {
		r.param("mixer/m", "level_3", float32(db))
		r.param("mixer/m", "send_3", float32(min(db, 6)))
		want := math.Pow(10, db/20)
		if db == -60 {
			want = 0
		}
		send := want * math.Pow(10, min(db, 6)/20)
		if v := read(); math.Abs(v[0]-want) > 2e-4*max(want, 1) || math.Abs(v[2]-send) > 3e-4*max(send, 1) {
			t.Errorf("%g dB: mix %.5f and send %.5f, want %.5f and %.5f", db, v[0], v[2], want, send)
		}
	}
	r.param("mixer/m", "level_3", 0)
	r.param("mixer/m", "send_3", -60)
	r.param("mixer/m", "pan_3", 0)
	r.source("test_source/a").channels = MaxPoly
	if v := read(); !near(v[0], 16*math.Sqrt(0.5)) {
		t.Errorf("sixteen channels of 1 V sum to %.3f V on the left, want %.3f", v[0], 16*math.Sqrt(0.5))
	}
	r.source("test_source/a").channels = 1
	r.cable("test_source/b/out_0", "mixer/m/right_3").adopt()
	for pan, want := range map[float64][2]float64{0: {1, 3}, -1: {1, 0}, 1: {0, 3}, 0.5: {0.5, 3}, -0.25: {1, 2.25}} {
		r.param("mixer/m", "pan_3", float32(pan))
		if v := read(); !near(v[0], want[0]) || !near(v[1], want[1]) {
			t.Errorf("balance %g: %.3f and %.3f, want %v", pan, v[0], v[1], want)
		}
	}
	r.param("mixer/m", "pan_3", 0)
	r.cable("test_source/b/out_0", "mixer/m/return_left").cable("test_source/a/out_0", "mixer/m/left_6").adopt()
	if v := read(); !near(v[0], 1+math.Sqrt(0.5)+3) {
		t.Errorf("two channels and a return sum to %.3f V, want %.3f", v[0], 4+math.Sqrt(0.5))
	}
}

// TestAudioOut: whatever comes, the true peak stays under the ceiling and
// there is no DC.
func TestAudioOut(t *testing.T) {
	for _, c := range []struct {
		name string
		play func(int64, int) float32
	}{
		{"tone", sine(997, 5)},
		{"between samples", func(f int64, _ int) float32 { return 5 * float32(math.Sin(math.Pi/2*float64(f)+math.Pi/4)) }},
		{"square", func(f int64, _ int) float32 { return float32(5 - 10*(f/109%2)) }},
		{"bursts", func(f int64, _ int) float32 {
			if f/4800%3 == 0 {
				return sine(3000, 10)(f, 0)
			}
			return 0
		}},
		{"on DC", func(f int64, _ int) float32 { return 3 + sine(300, 1)(f, 0) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t).add("test_source/s", nil).add("audio_out/o", map[string]float64{"level": 12}).cable("test_source/s/out_0", "audio_out/o/left").adopt().settle()
			r.source("test_source/s").play = c.play
			r.seconds(1)
			for ch, b := range r.out {
				full := make([]float32, len(b))
				for i, v := range b {
					full[i] = v / AudioVolts
				}
				if tp := measure.TruePeak(full); tp > -1 {
					t.Errorf("channel %d: a true peak of %.2f dB; with a ceiling of −1.2 it stays below −1", ch, tp)
					keepWAV(t, "audio-out", b)
				}
				if dc := measure.DC(full[24000:]); math.Abs(dc) > 0.004 && c.name != "square" {
					t.Errorf("channel %d: %.4f of full scale as DC", ch, dc)
				}
			}
			same(t, "left alone feeds both sides", r.out[0], r.out[1])
		})
	}
	r := newRig(t).add("test_source/s", nil).add("audio_out/o", map[string]float64{"channel": 2}).add("test_probe/p", nil)
	r.cable("test_source/s/out_0", "audio_out/o/left").cable("audio_out/o/reduction", "test_probe/p/in").adopt().settle()
	r.source("test_source/s").play = sine(500, 2)
	r.seconds(0.5)
	if peakOf(r.out[0]) != 0 || math.Abs(peakOf(r.out[1])-2) > 0.05 {
		t.Errorf("from channel 2 on, the channels have %.2f and %.2f V", peakOf(r.out[0]), peakOf(r.out[1]))
	}
	if p := peakOf(r.probe("test_probe/p").rec[0]); p != 0 {
		t.Errorf("it reduces 2 V by %.2f dB", p)
	}
	r.source("test_source/s").play = sine(500, 10)
	r.seconds(0.5).forget()
	r.seconds(0.5)
	if p := peakOf(r.probe("test_probe/p").rec[0]); math.Abs(p-7.6) > 0.5 {
		t.Errorf("it says that it takes %.2f dB from 10 V, want 7.2 and at most 0.9 more", p)
	}
}

func TestEtcdTicks(t *testing.T) {
	r := newRig(t).add("etcd/e", map[string]float64{"tick_decay": 60, "tick_pitch": 2000}).add("test_probe/a", nil).cable("etcd/e/audio", "test_probe/a/in").adopt().settle()
	beats := func(n int) []float32 {
		r.seconds(0.5)
		r.forget()
		for range n {
			r.pulse("etcd/e", "heartbeat", 0)
			r.seconds(0.25)
		}
		return r.probe("test_probe/a").rec[0]
	}
	ticks := func(b []float32) (n int) {
		for i := 0; i+12000 <= len(b); i += 12000 {
			if peakOf(b[i:i+12000]) > 0.05 {
				n++
			}
		}
		return n
	}
	for _, division := range []int{1, 3, 4} {
		r.send(Event{Kind: EventPanic})
		r.param("etcd/e", "division", float32(division))
		if got := ticks(beats(12)); got != 12/division {
			t.Errorf("division %d: %d ticks to 12 heartbeats", division, got)
		}
	}
	r.param("etcd/e", "division", 1)
	for _, latency := range []float64{0, 2, 6} {
		r.level("etcd/e", "commit_latency", 0, float32(latency))
		b := beats(1)
		s := measure.NewSpectrum(b[48:4096], testRate, measure.Hann)
		want := 2000 * math.Pow(2, latency/6)
		if got := s.Near(want, 400).Hertz; math.Abs(got-want) > want*0.005 {
			t.Errorf("a commit of %g V ticks at %.1f Hz, want %.1f", latency, got, want)
		}
		if peakOf(b[9600:]) != 0 {
			t.Errorf("a tick of 60 ms still sounds after 200")
		}
	}
	if c := measure.Clicks(beats(4), testRate, 30); len(c) != 0 {
		t.Errorf("ticks click: %v", c)
	}
}

// TestAPIServerPulse: while the API does not answer, a pulse each two seconds
// says so, at once when the line goes dead and never while it lives.
func TestAPIServerPulse(t *testing.T) {
	r := newRig(t).add("apiserver/a", nil).add("test_probe/p", nil).cable("apiserver/a/error", "test_probe/p/in").adopt()
	r.level("apiserver/a", "sync", 0, 10)
	r.settle().seconds(5)
	if n := len(rises(r.probe("test_probe/p").rec[0])); n != 0 {
		t.Errorf("%d pulses while it answers", n)
	}
	r.forget()
	r.level("apiserver/a", "sync", 0, 0)
	r.seconds(9)
	up := rises(r.probe("test_probe/p").rec[0])
	if len(up) != 4 {
		t.Fatalf("pulses at %v in nine seconds of silence, want one each two", up)
	}
	for i := 1; i < len(up); i++ {
		if d := up[i] - up[i-1]; d < 95990 || d > 96010 {
			t.Errorf("%d frames between pulses, want 96000", d)
		}
	}
	if up[0] > 96010 {
		t.Errorf("the first pulse comes after %d frames", up[0])
	}
	r.level("apiserver/a", "sync", 0, 10)
	r.seconds(0.1).forget()
	r.seconds(3)
	if n := len(rises(r.probe("test_probe/p").rec[0])); n != 0 {
		t.Errorf("%d pulses after it came back", n)
	}
}
