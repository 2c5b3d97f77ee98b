package instrument

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

// caseLoop is a clock that goes out through the jacks of a case, and comes
// back into another so many frames later, as it does through an interface:
// two plans, one for each machine.
type caseLoop struct {
	from, to *rig
	delay    int
	kept     [3][]float32
	base     int64
}

func newCaseLoop(t *testing.T, params map[string]float64, ppqn string, delay int) *caseLoop {
	t.Helper()
	sockets := map[string]int{"clock": 0, "run": 1, "reset": 2}
	out := func(id ModuleID, r *rig, mode float64) {
		r.add(id, map[string]float64{"delay": 0, "mode": mode})
	}
	// The rig of tests has two channels; a machine with three is made here.
	l := &caseLoop{from: newRig(t), to: newRig(t), delay: delay}
	l.from.e, l.from.c = NewEngine(testRate, 3), NewCompiler(testRate, 1)
	for _, r := range []*rig{l.from, l.to} {
		r.c.SetSockets(Sockets{Outputs: sockets, Inputs: sockets}, &r.patch)
	}
	l.from.add("clock/c", params)
	out("gate_out/clock", l.from, 0)
	out("gate_out/run", l.from, 0)
	out("gate_out/reset", l.from, 1)
	l.from.add("test_source/reset", nil).cable("test_source/reset/out_4", "clock/c/reset")
	l.from.cable("clock/c/sync", "gate_out/clock/in").cable("clock/c/running", "gate_out/run/in").cable("clock/c/reset_out", "gate_out/reset/in")
	i := slices.Index(ppqnWords, ppqn)
	l.to.add("clock/c", map[string]float64{"ppqn": float64(i)})
	for _, name := range []string{"clock", "run", "reset"} {
		l.to.add(ModuleID("cv_in/"+name), nil)
	}
	l.to.cable("cv_in/clock/trigger", "clock/c/clock").cable("cv_in/run/gate", "clock/c/run_gate").cable("cv_in/reset/trigger", "clock/c/reset")
	for _, r := range []*rig{l.from, l.to} {
		for _, o := range []string{"beat", "bar", "running", "sync"} {
			r.add(ModuleID("test_probe/"+o), nil).cable("clock/c/"+o, "test_probe/"+o+"/in")
		}
		r.adopt()
		r.send(Event{Kind: EventFadeIn})
	}
	return l
}

// seconds plays both machines.
func (l *caseLoop) seconds(s float64) *caseLoop {
	for range int(s * testRate / BlockSize) {
		out, in := make([][]float32, 3), make([][]float32, 3)
		for c := range out {
			out[c], in[c] = make([]float32, BlockSize), make([]float32, BlockSize)
		}
		l.from.e.Render(out, nil)
		for c := range out {
			if l.base == 0 {
				l.kept[c] = make([]float32, l.delay)
			}
			l.kept[c] = append(l.kept[c], out[c]...)
			copy(in[c], l.kept[c])
			l.kept[c] = l.kept[c][BlockSize:]
		}
		l.base++
		l.to.e.Render([][]float32{make([]float32, BlockSize)}, in)
	}
	return l
}

// lags are by how many frames each tick of the one that follows is behind.
func (l *caseLoop) lags(t *testing.T, o string) (lags []int) {
	t.Helper()
	a, b := l.from.ticks(o), l.to.ticks(o)
	if len(b) > len(a) || len(a) > len(b)+1 {
		t.Errorf("%s: %d ticks went out, %d came", o, len(a), len(b))
	}
	for i := range min(len(a), len(b)) {
		lags = append(lags, b[i]-a[i])
	}
	return lags
}

// TestClockThroughTheCase sends clocks at which others stumble through gates,
// an interface with a round trip, and Schmitt triggers, and has them followed:
// every beat is there, in its bar, as late as the interface is.
func TestClockThroughTheCase(t *testing.T) {
	for _, c := range []struct {
		name    string
		tempo   float64
		ppqn    string
		delay   int
		seconds float64
	}{
		{"DIN sync", 120, "24", 960, 10},
		{"the fastest", 300, "48", 64, 10},
		{"the slowest", 10, "1", 4800, 40},
		{"a period that no frame divides", 173.31, "24", 333, 10},
		{"threes", 61.7, "3", 1000, 12},
		{"sixteenths", 133.3, "4", 480, 10},
		{"eighths", 99.9, "2", 480, 10},
		{"sixes", 140, "6", 4799, 10},
		{"eights", 90, "8", 1, 10},
		{"twelves", 222.2, "12", 777, 10},
		{"sixteens", 45, "16", 777, 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var n float64
			fmt.Sscan(c.ppqn, &n)
			l := newCaseLoop(t, map[string]float64{"tempo": c.tempo, "ppqn_out": n, "lead": 5}, c.ppqn, c.delay)
			l.seconds(c.seconds)
			for _, o := range []string{"beat", "bar"} {
				lags := l.lags(t, o)
				if len(lags) == 0 {
					t.Fatalf("no %s came", o)
				}
				for i, lag := range lags {
					if d := lag - c.delay; d < -1 || d > 1 {
						t.Fatalf("%s %d is %d frames behind, the interface %d: %v", o, i, lag, c.delay, lags)
					}
				}
			}
			// Half of each pulse is high.
			at, lengths := runs(l.from.probe("test_probe/sync").rec[0])
			period := 60 * testRate / (c.tempo * n)
			for i := 1; i < len(at)-1; i++ {
				if math.Abs(float64(at[i]-at[i-1])-period) > 1.01 || math.Abs(float64(lengths[i])-period/2) > 1.01 {
					t.Fatalf("pulse %d comes after %d frames and lasts for %d; want %.1f and half of it", i, at[i]-at[i-1], lengths[i], period)
				}
			}
			// Run is there 5 ms before the first of them.
			if run := rises(l.from.probe("test_probe/running").rec[0]); len(run) != 1 || at[0]-run[0] != 240 {
				t.Errorf("run rises at %v, the clock at %d", run, at[0])
			}
		})
	}
}

// TestClockStopsAndStartsThroughTheCase: stop, start, reset, another tempo and
// one that moves are followed, and both are in the same bar in the end.
func TestClockStopsAndStartsThroughTheCase(t *testing.T) {
	l := newCaseLoop(t, map[string]float64{"tempo": 120, "lead": 5}, "24", 960)
	l.seconds(4)
	turn := func(name string, v float32) { l.from.param("clock/c", name, v) }
	reset := func() {
		at := l.from.e.frame
		l.from.source("test_source/reset").play = highs(at, 10, 58)
	}
	turn("run", 0)
	l.seconds(1.3)
	for _, r := range []*rig{l.from, l.to} {
		rec := r.probe("test_probe/running").rec[0]
		if rec[len(rec)-1] != 0 {
			t.Error("it is told to stop, and runs")
		}
	}
	turn("run", 1)
	l.seconds(3.1)
	reset()
	l.seconds(2.7)
	turn("tempo", 97)
	l.seconds(6)
	turn("run", 0)
	l.seconds(0.7)
	reset()
	l.seconds(0.2)
	turn("run", 1)
	l.seconds(5)
	a, b := l.from.ticks("bar"), l.to.ticks("bar")
	if len(a) != len(b) {
		t.Fatalf("%d bars went out, %d came:\n%v\n%v", len(a), len(b), a, b)
	}
	for i := range a {
		// Right after a change of tempo nobody knows when the next pulse comes.
		if d := b[i] - a[i] - 960; d < -48 || d > 48 || i != 5 && (d < -2 || d > 2) {
			t.Errorf("bar %d is %d frames behind, the interface 960", i, b[i]-a[i])
		}
	}
	// A reset with a lead is a stop and a start for what hears run.
	run := rises(l.from.probe("test_probe/running").rec[0])
	if len(run) != 4 {
		t.Errorf("run rises %d times, want for a start, a start, a reset and a start", len(run))
	}
	t.Logf("%d bars, run rises at %v", len(a), run)
}

// TestClockLead: with none the first beat is where run rises, as ever.
func TestClockLead(t *testing.T) {
	for _, lead := range []float64{0, 1, 5, 100} {
		r := newRig(t).add("clock/c", map[string]float64{"lead": lead})
		for _, o := range []string{"beat", "running", "sync"} {
			r.add(ModuleID("test_probe/"+o), nil).cable("clock/c/"+o, "test_probe/"+o+"/in")
		}
		r.adopt().seconds(2)
		run, beat, sync := r.ticks("running"), r.ticks("beat"), r.ticks("sync")
		if len(run) != 1 || len(beat) < 2 || beat[0]-run[0] != int(lead*48) || sync[0] != beat[0] || beat[1]-beat[0] < 31999 || beat[1]-beat[0] > 32000 {
			t.Errorf("lead %v: run at %v, beats at %v, sync at %v", lead, run, beat, sync[:2])
		}
	}
}
