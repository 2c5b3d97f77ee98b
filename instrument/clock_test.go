package instrument

import (
	"math"
	"testing"
)

// clockRig is a clock with a probe on each output.
func clockRig(t *testing.T, params map[string]float64) *rig {
	t.Helper()
	r := newRig(t).add("clock/c", params).add("test_source/reset", nil).add("test_source/run", nil)
	r.cable("test_source/reset/out_4", "clock/c/reset").cable("test_source/run/out_3", "clock/c/run_gate")
	for _, o := range []string{"beat", "gate", "bar", "eighth", "sixteenth", "triplet"} {
		r.add(ModuleID("test_probe/"+o), nil).cable("clock/c/"+o, "test_probe/"+o+"/in")
	}
	return r.adopt()
}

func (r *rig) ticks(o string) []int { return rises(r.probe(ModuleID("test_probe/" + o)).rec[0]) }

// TestClockTempo plays ten minutes at tempos that do not divide the rate:
// each beat is within a sample of where it belongs, the last as the first.
func TestClockTempo(t *testing.T) {
	for tempo, minutes := range map[float64]int{90: 1, 127.3: 10} {
		c := &clock{}
		c.Init(testRate, 1)
		tick := map[int]int{}

		out := make([]*Signal, clockOuts)
		for i := range out {
			out[i] = &Signal{Channels: 1}
		}
		params := make([]*[BlockSize]float32, 12)
		for i, v := range []float32{float32(tempo), 1, 4, 0.5, 0.5, 0, 4, 0, 2, 0, 1, 1} {
			params[i] = new([BlockSize]float32)
			for k := range params[i] {
				params[i][k] = v
			}
		}
		low, high := &Signal{}, &Signal{}
		low.Fill(0)
		high.Fill(10)
		io := &IO{N: BlockSize, In: []*Signal{low, high, low, low, low}, Out: out, Params: params}
		period := 60 * testRate / float64(float32(tempo))
		ratios := []float64{1, 1, 0.25, 2, 4, 3, 0.25}
		last := [clockOuts]float32{}
		worst := 0.0
		frames := minutes * 60 * testRate
		for f := 0; f < frames; f += BlockSize {
			io.Frame = int64(f)
			c.Process(io)
			for k, o := range out[:len(ratios)] {
				for i, v := range o.Volts[0] {
					if v > 1 && last[k] <= 1 {
						want := float64(tick[k]) * period / ratios[k]
						worst = max(worst, math.Abs(float64(f+i)-want))
						tick[k]++
					}
					last[k] = v
				}
			}
		}
		if worst > 2 {
			t.Errorf("%g BPM: a tick is %.2f samples from its place", tempo, worst)
		}
		for k, ratio := range ratios {
			want := int(float64(frames)/period*ratio) + 1
			if d := tick[k] - want; d < -1 || d > 1 {
				t.Errorf("%g BPM: output %d gave %d ticks, want %d", tempo, k, tick[k], want)
			}
		}
		t.Logf("%g BPM over %d minutes: worst error %.3f samples over %d beats", tempo, minutes, worst, tick[0])
	}
}

// TestClockDivisionsStayTogether: each bar is a beat, each beat is an eighth,
// a sixteenth and a triplet, at the same sample, even while the tempo moves.
func TestClockDivisionsStayTogether(t *testing.T) {
	r := clockRig(t, map[string]float64{"beats": 3})
	r.source("test_source/run").play = steady(10)
	r.settle()
	for i := range 40 {
		r.param("clock/c", "tempo", float32(60+(i*53)%240))
		r.seconds(0.5)
	}
	at := map[string]map[int]bool{}
	for _, o := range []string{"beat", "bar", "eighth", "sixteenth", "triplet"} {
		at[o] = map[int]bool{}
		for _, f := range r.ticks(o) {
			at[o][f] = true
		}
	}
	inside := func(a string, bs ...string) {
		for f := range at[a] {
			for _, b := range bs {
				if !at[b][f] {
					t.Errorf("a %s at frame %d without a %s", a, f, b)
				}
			}
		}
	}
	inside("bar", "beat")
	inside("beat", "eighth", "sixteenth", "triplet")
	inside("eighth", "sixteenth")
	n := len(at["beat"])
	for o, ratio := range map[string]int{"eighth": 2, "sixteenth": 4, "triplet": 3} {
		if d := len(at[o]) - n*ratio; d < -ratio || d > ratio {
			t.Errorf("%d beats and %d of %s", n, len(at[o]), o)
		}
	}
	if d := n - 3*len(at["bar"]); d < -3 || d > 3 || n < 20 {
		t.Errorf("%d beats in %d bars of three", n, len(at["bar"]))
	}
}

func TestClockResetAndRun(t *testing.T) {
	r := clockRig(t, map[string]float64{"tempo": 120})
	run, reset := int64(-1), int64(-1)
	r.source("test_source/run").play = func(f int64, _ int) float32 {
		if run >= 0 && f >= run {
			return 10
		}
		return 0
	}
	r.source("test_source/reset").play = func(f int64, _ int) float32 {
		if reset >= 0 && f >= reset && f < reset+48 {
			return 10
		}
		return 0
	}
	r.settle().seconds(2)
	if n := len(r.ticks("sixteenth")) + len(r.ticks("gate")); n != 0 {
		t.Errorf("%d ticks while its run gate is low", n)
	}
	r.forget()
	run = r.e.frame + 1000
	r.seconds(1.9)
	beats := r.ticks("beat")
	if len(beats) != 4 || beats[0] != 1000 || math.Abs(float64(beats[1]-25000)) > 1 || len(r.ticks("bar")) != 1 || r.ticks("bar")[0] != 1000 {
		t.Errorf("beats at %v, bars at %v; the first is where the run gate rose", beats, r.ticks("bar"))
	}
	r.forget()
	reset = r.e.frame + 5000
	r.seconds(2.2)
	found := false
	for _, b := range r.ticks("bar") {
		found = found || b == 5000
	}
	if !found {
		t.Errorf("bars at %v after a reset at 5000", r.ticks("bar"))
	}
	next := 0
	for _, b := range r.ticks("beat") {
		if b > 5000 && next == 0 {
			next = b
		}
	}
	if math.Abs(float64(next-29000)) > 1 {
		t.Errorf("the beat after the reset is at %d, want 29000", next)
	}
	// The gate's width.
	r.param("clock/c", "width", 0.25)
	r.seconds(0.1)
	r.forget()
	r.seconds(4)
	high := 0
	for _, v := range r.probe("test_probe/gate").rec[0] {
		if v > 1 {
			high++
		}
	}
	if share := float64(high) / (4 * testRate); math.Abs(share-0.25) > 0.005 {
		t.Errorf("the gate is high for %.3f of a beat, want 0.25", share)
	}
	r.param("clock/c", "run", 0)
	r.seconds(0.1)
	r.forget()
	r.seconds(1)
	if n := len(r.ticks("beat")); n != 0 {
		t.Errorf("%d beats with its switch at stop", n)
	}
}
