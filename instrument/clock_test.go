package instrument

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
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
		for i, v := range []float32{float32(tempo), 1, 4, 0.5, 0.5, 0, 4, 0, 2, 0, 24, 0} {
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

// followRig is a clock with another clock plugged in, whose edges are where
// at says, and probes on all outputs.
func followRig(t *testing.T, params map[string]float64, at func(f int64) bool) *rig {
	t.Helper()
	r := newRig(t).add("clock/c", params).add("test_source/clock", nil).add("test_source/reset", nil)
	r.cable("test_source/clock/out_4", "clock/c/clock").cable("test_source/reset/out_4", "clock/c/reset")
	for _, o := range Spec("clock").Outputs {
		id := "test_probe/" + strings.TrimSuffix(o.Name, "_out")
		r.add(ModuleID(id), nil).cable("clock/c/"+o.Name, id+"/in")
	}
	r.adopt()
	high := 0
	r.source("test_source/clock").play = func(f int64, _ int) float32 {
		if at(f) {
			high = 20
		}
		if high > 0 {
			high--
			return 10
		}
		return 0
	}
	return r
}

func TestClockSwing(t *testing.T) {
	for _, c := range []struct {
		swing, swung float64
		out          string
		pair         float64 // frames
	}{
		{0.5, 0, "sixteenth", 12000}, {2.0 / 3, 0, "sixteenth", 12000}, {0.6, 0, "sixteenth", 12000}, {0.75, 1, "eighth", 24000}, {0.75, 0, "sixteenth", 12000},
	} {
		r := clockRig(t, map[string]float64{"tempo": 120, "swing": c.swing, "swung": c.swung})
		r.source("test_source/run").play = steady(10)
		r.seconds(8)
		on := r.ticks(c.out)
		if len(on) < 30 {
			t.Fatalf("%d of %s in 8 seconds", len(on), c.out)
		}
		worst := 0.0
		for k, f := range on {
			want := float64(on[0]) + float64(k/2)*c.pair
			if k%2 == 1 {
				want += c.pair * float64(float32(c.swing))
			}
			worst = max(worst, math.Abs(float64(f)-want))
		}
		if worst > 1.5 {
			t.Errorf("swing %.3f of %s: a tick is %.2f frames from its place", c.swing, c.out, worst)
		}
		// What is not swung stays; swung sixteenths leave the eighths alone, and
		// swung eighths take theirs along.
		for _, o := range []string{"beat", "triplet"} {
			ratio := map[string]float64{"beat": 24000, "triplet": 8000}[o]
			for k, f := range r.ticks(o) {
				if math.Abs(float64(f-on[0])-float64(k)*ratio) > 1.5 {
					t.Fatalf("swing %.3f moves a %s from %.0f to %d", c.swing, o, float64(k)*ratio, f-on[0])
				}
			}
		}
		inside := map[int]bool{}
		for _, f := range r.ticks("sixteenth") {
			inside[f] = true
		}
		for _, f := range r.ticks("eighth") {
			if !inside[f] {
				t.Fatalf("swing %.3f, swung %v: an eighth at %d without a sixteenth", c.swing, c.swung, f)
			}
		}
	}
}

// TestClockSwingMoves: a swing that is turned, up and down, neither drops a
// sixteenth nor plays one twice.
func TestClockSwingMoves(t *testing.T) {
	r := clockRig(t, map[string]float64{"tempo": 137, "swung": 1})
	r.source("test_source/run").play = steady(10)
	r.settle()
	beats, all := len(r.ticks("beat")), len(r.ticks("sixteenth"))
	for i := range 100 {
		r.param("clock/c", "swing", []float32{0.5, 0.75, 0.6}[i%3])
		r.seconds(0.13)
	}
	beats, all = len(r.ticks("beat"))-beats, len(r.ticks("sixteenth"))-all
	if d := all - 4*beats; d < -4 || d > 4 || beats < 25 {
		t.Errorf("%d sixteenths in %d beats", all, beats)
	}
}

func TestClockDivided(t *testing.T) {
	for _, c := range []struct {
		division, divides float64
		of                string
	}{{3, 0, "beat"}, {1, 0, "beat"}, {5, 1, "eighth"}, {64, 2, "sixteenth"}, {7, 2, "sixteenth"}} {
		r := followRig(t, map[string]float64{"tempo": 240, "division": c.division, "divides": c.divides, "ppqn": 0}, func(int64) bool { return false })
		r.pull("clock/c/clock").adopt()
		reset := int64(math.MaxInt64)
		r.source("test_source/reset").play = func(f int64, _ int) float32 {
			if f >= reset && f < reset+48 {
				return 10
			}
			return 0
		}
		r.settle()
		reset = r.e.frame + 2000
		r.seconds(9)
		of, got := r.ticks(c.of), r.ticks("divided")
		for len(of) > 0 && of[0] < 2000 {
			of = of[1:]
		}
		for len(got) > 0 && got[0] < 2000 {
			got = got[1:]
		}
		var want []int
		for k := 0; k < len(of); k += int(c.division) {
			want = append(want, of[k])
		}
		if !slices.Equal(got, want) || len(want) < 2 {
			t.Errorf("every %g of %s: at %v, want %v", c.division, c.of, got, want)
		}
		if at := r.ticks("reset"); !slices.Equal(at, []int{2000}) {
			t.Errorf("reset goes on at %v, want 2000", at)
		}
	}
}

// TestClockFollows: with an even clock plugged in, every beat is at the frame
// of its pulse, whatever the resolution, and what lies between is in its place.
func TestClockFollows(t *testing.T) {
	for k, ppqn := range ppqns {
		period := int64(24000 / ppqn) // 120 BPM
		r := followRig(t, map[string]float64{"tempo": 77, "ppqn": float64(k)}, func(f int64) bool { return f >= 9000 && (f-9000)%period == 0 })
		r.seconds(6)
		beats := r.ticks("beat")
		if len(beats) < 10 {
			t.Errorf("ppqn %d: %d beats", ppqn, len(beats))
			continue
		}
		for i, f := range beats {
			if want := 9000 + 24000*i; f != want {
				t.Errorf("ppqn %d: beat %d at frame %d, want %d", ppqn, i, f, want)
			}
		}
		if at := r.ticks("bar"); len(at) < 2 || at[0] != 9000 || at[1] != 9000+4*24000 {
			t.Errorf("ppqn %d: bars at %v", ppqn, at)
		}
		for o, length := range map[string]int{"eighth": 12000, "sixteenth": 6000, "triplet": 8000} {
			n := 0
			for _, f := range r.ticks(o) {
				// Before the second pulse it can only guess, by its knob.
				if f < 9000+24000-1 {
					continue
				}
				n++
				if off := (f - 9000 + length/2) % length; off < length/2-1 || off > length/2+1 {
					t.Fatalf("ppqn %d: %s at frame %d, %d from its place", ppqn, o, f, off-length/2)
				}
			}
			if want := (6*testRate - 9000 - 24000) / length; n < want || n > want+2 {
				t.Errorf("ppqn %d: %d of %s, want %d", ppqn, n, o, want)
			}
		}
	}
}

// TestClockFollowsChanges: a new tempo holds from its first pulses on.
func TestClockFollowsChanges(t *testing.T) {
	edges := map[int64]bool{}
	var places []int64
	f, k := int64(5000), 0
	for _, period := range []int64{6000, 5700, 4000, 9000, 8990} {
		for range 16 {
			edges[f] = true
			places = append(places, f)
			f += period
			k++
		}
	}
	r := followRig(t, map[string]float64{"ppqn": 2}, func(f int64) bool { return edges[f] })
	r.render(int(f))
	beats := r.ticks("beat")
	for i, b := range beats {
		if 4*i < len(places) && int64(b) != places[4*i] {
			t.Errorf("beat %d at frame %d, its pulse is at %d", i, b, places[4*i])
		}
	}
	if len(beats) != len(places)/4 {
		t.Errorf("%d beats, want %d", len(beats), len(places)/4)
	}
}

// TestClockSmoothsJitter: a MIDI clock through a bad interface, ±4 ms, comes
// out steady, and does not drift from its source.
func TestClockSmoothsJitter(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 5))
	edges := map[int64]bool{}
	const period = 1000 // 24 a beat at 120 BPM
	for k := range int64(24 * 60) {
		edges[2000+k*period+rng.Int64N(385)-192] = true
	}
	r := followRig(t, map[string]float64{"ppqn": 3}, func(f int64) bool { return edges[f] })
	r.seconds(29)
	beats := r.ticks("beat")
	if len(beats) < 55 {
		t.Fatalf("%d beats", len(beats))
	}
	var worst, off, in float64
	for i := 8; i < len(beats); i++ {
		d := float64(beats[i]-beats[i-1]) - 24*period
		worst = max(worst, math.Abs(d))
		off = max(off, math.Abs(float64(beats[i])-float64(2000+24*period*i)))
		in += d * d
	}
	t.Logf("beats are within %.0f frames of the one before (%.2f ms rms) and %.0f of their place; pulses are within 192", worst, math.Sqrt(in/float64(len(beats)-8))/48, off)
	if worst > 96 || off > 96 {
		t.Errorf("beats jitter by %.0f frames and are up to %.0f from their place", worst, off)
	}
}

// TestClockLost: when the clock stops, so does the transport, without a beat
// too many, and it goes on where it was; or it runs on at the last tempo.
func TestClockLost(t *testing.T) {
	const period = 6000 // ppqn 4, 120 BPM
	at := func(f int64) bool {
		return f%period == 0 && (f >= period && f <= 10*period || f >= 40*period && f < 60*period)
	}
	r := followRig(t, map[string]float64{"ppqn": 2, "lost": 0}, at)
	r.render(60 * period)
	six := r.ticks("sixteenth")
	want := []int{}
	for k := 1; k <= 10; k++ {
		want = append(want, k*period)
	}
	for k := 40; k < 60; k++ {
		want = append(want, k*period)
	}
	if !slices.Equal(six, want) {
		t.Errorf("sixteenths at %v, want those of the pulses, %v", six, want)
	}
	// The eleventh pulse is the eleventh sixteenth: the beat is two later.
	if beats := r.ticks("beat"); len(beats) < 4 || beats[3] != 42*period {
		t.Errorf("beats at %v; after the pause the first is at %d", beats, 42*period)
	}
	r = followRig(t, map[string]float64{"ppqn": 2, "lost": 1}, at)
	r.render(60 * period)
	if six = r.ticks("sixteenth"); len(six) != 59 {
		t.Errorf("%d sixteenths while it runs on, want 59", len(six))
	}
	for k, f := range six {
		// It waits a moment for each pulse, and not at all when there are none.
		if late := f - (k+1)*period; late < -1 || late > 13 {
			t.Errorf("sixteenth %d is %d frames late", k, late)
		}
	}
}

// TestClockResetAgainstClock: the pulse that means the same as a reset does
// not count as the next.
func TestClockResetAgainstClock(t *testing.T) {
	const period = 6000
	for _, lag := range []int64{-20, 0, 1, 47} {
		r := followRig(t, map[string]float64{"ppqn": 2}, func(f int64) bool { return f%period == 0 && f > 0 })
		reset := 11*period - lag // the pulse comes lag after the reset
		r.source("test_source/reset").play = func(f int64, _ int) float32 {
			if f >= reset && f < reset+48 {
				return 10
			}
			return 0
		}
		r.render(22 * period)
		var after []int
		for _, f := range r.ticks("sixteenth") {
			if int64(f) > reset+100 {
				after = append(after, f)
			}
		}
		if bar := r.ticks("bar"); bar[len(bar)-1] != int(reset) {
			t.Errorf("pulse %d frames after the reset: bars at %v, want one at %d", lag, bar, reset)
		}
		for k, f := range after {
			if f != (12+k)*period {
				t.Errorf("pulse %d frames after the reset: sixteenths at %v", lag, after)
				break
			}
		}
		var beat int
		for _, f := range r.ticks("beat") {
			if beat == 0 && int64(f) > reset+100 {
				beat = f
			}
		}
		if beat != 15*period {
			t.Errorf("pulse %d frames after the reset: the second beat is at %d, want %d", lag, beat, 15*period)
		}
	}
}
