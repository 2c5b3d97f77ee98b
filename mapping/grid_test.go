package mapping

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestGridForetells: of clocks of any tempo, straight and swung, that count
// whole frames, every step is foretold to the frame or its neighbour; a new
// tempo is followed, and a clock that stands holds nobody up.
func TestGridForetells(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, swing := range []float64{0.5, 0.62, 0.75} {
		for range 40 {
			step := 800 + 30000*rng.Float64()
			g := grid{inTime: true}
			at := func(k int) int64 {
				s := float64(k)
				if k%2 == 1 {
					s += 2*swing - 1
				}
				return int64(math.Ceil(1000 + s*step))
			}
			for k := range 200 {
				g.step(at(k))
				if k < 4 {
					continue
				}
				// A count of whole frames tells the tempo the better the longer it is.
				slack := int64(1)
				if k < gridHistory {
					slack = 4
				}
				for range 5 {
					ahead := 1 + rng.IntN(6)
					due := at(k+ahead-1) + 2 + rng.Int64N(max(at(k+ahead)-at(k+ahead-1)-3, 1))
					if got, want := g.next(due, at(k)), at(k+ahead); got < want-slack || got > want+slack || got < due {
						t.Fatalf("step %.2f frames, swing %g: what is due at %d is put on %d, the clock's step %d is at %d", step, swing, due, got, k+ahead, want)
					}
				}
			}
			// Another tempo: three triggers later it is known.
			end, faster := at(199), 0.6*step
			for k := 1; k <= 4; k++ {
				g.step(end + int64(math.Ceil(float64(k)*faster)))
			}
			end += int64(math.Ceil(4 * faster))
			if got, want := g.next(end+5, end), end+int64(math.Round(faster)); got < want-2 || got > want+2 {
				t.Errorf("after a change of tempo the next step is put on %d, it is at %d", got, want)
			}
			if due := end + int64(5.5*faster); g.next(due, due) != due {
				t.Errorf("the clock stands, and what is due at %d waits for %d", due, g.next(due, due))
			}
		}
	}
}

// TestInTime: with a clock in the API Server's grid, what happens in the
// cluster and what rules play is heard on its steps to the frame, at most one
// step late, and in the scene's scale; with the switch at free, or the cable
// pulled, at once.
func TestInTime(t *testing.T) {
	minor := Scale{Root: 45, Steps: []float64{0, 3, 5, 7, 10}}
	r := newRig(t, func(c *Config) { c.Scale = minor; c.StormPolicy = StormAll })
	p := r.Patch().Clone()
	p.Modules = append(p.Modules, instrument.Module{ID: "clock/c", Params: map[string]float64{"tempo": 233}}, instrument.Module{ID: "etcd/steps"}, instrument.Module{ID: "rule/r"}, instrument.Module{ID: "etcd/notes"})
	p.Cables = append(p.Cables, cable("clock/c/sixteenth", "apiserver/api/grid"), cable("clock/c/sixteenth", "etcd/steps/write"), cable("rule/r/trigger", "etcd/notes/write"))
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.run(0.3)
	r.chord(4)
	step := int64(math.Ceil(60.0 / 233 / 4 * testRate))
	r.chunk = 1
	rng := rand.New(rand.NewPCG(3, 4))
	type told struct {
		name string
		at   int64
	}
	restarts := 0
	play := func(n int) (all []told) {
		for i := range n {
			for end := r.frame + rng.Int64N(2*step); r.frame < end; {
				r.block()
			}
			name := "notes"
			if i%2 == 0 {
				k := 1 + i/2%4
				name = fmt.Sprintf("event%d", k)
				restarts++
				r.pod(fmt.Sprintf("web-%d", k), FieldRestarts, fmt.Sprint(restarts))
			} else {
				r.Note(0, 30+rng.Float64()*60, 100, 0.01, r.frame+1)
			}
			all = append(all, told{name, r.frame + 1})
		}
		for end := r.frame + 3*step; r.frame < end; {
			r.block()
		}
		return all
	}
	worst, notes := int64(0), 0
	for _, e := range play(24) {
		heard := int64(0)
		for _, f := range r.hits[e.name] {
			if f >= e.at && heard == 0 {
				heard = f
			}
		}
		near := int64(math.MaxInt64)
		for _, f := range r.hits["steps"] {
			near = min(near, max(f-heard, heard-f))
		}
		late := heard - e.at
		worst = max(worst, late)
		// Two of one moment on one jack are 2.5 ms and a rule's gate 1.5 ms apart.
		if gap := int64(0.004 * testRate); heard == 0 || near > 1 && near > gap {
			t.Errorf("%s of frame %d is heard at %d, %d frames off the grid", e.name, e.at, heard, near)
		} else if near <= 1 {
			notes++
		}
		if late > step+1 {
			t.Errorf("%s of frame %d is %d frames late, a step has %d", e.name, e.at, late, step)
		}
	}
	if notes < 16 {
		t.Errorf("%d of 24 events are on the grid to the frame", notes)
	}
	t.Logf("%d of 24 events to the frame; the latest %.1f ms, a step is %.1f ms", notes, 1000*float64(worst)/testRate, 1000*float64(step)/testRate)
	r.chunk = instrument.BlockSize
	for _, note := range []float64{46, 47.6, 62.2, 91} {
		r.Note(0, note, 100, 0.01, 0)
		r.want("/rule/r/pitch", (minor.Nearest(note)-60)/12)
	}
	for _, x := range []struct{ note, want float64 }{{46, 45}, {47.6, 48}, {56.9, 57}, {43.9, 43}, {44.5, 45}} {
		if got := minor.Nearest(x.note); got != x.want {
			t.Errorf("nearest to %g is %g, want %g", x.note, got, x.want)
		}
	}

	// Free: at once.
	r.turn("/apiserver/api/timing", 0)
	clear(r.hits)
	r.chunk = 1
	for _, e := range play(8) {
		found := false
		for _, f := range r.hits[e.name] {
			found = found || f >= e.at && f <= e.at+150
		}
		if !found {
			t.Errorf("free: %s of frame %d is not heard at once: %v", e.name, e.at, r.hits[e.name])
		}
	}
	r.chunk = instrument.BlockSize
	r.Note(0, 46.5, 100, 0.01, 0)
	r.want("/rule/r/pitch", (46.5-60)/12)
}

// TestPodPitches: pods have different pitches, a scale's in a scene with one.
func TestPodPitches(t *testing.T) {
	for name, s := range map[string]Scale{
		"none": {}, "minor": {Root: 45, Steps: []float64{0, 2, 3, 5, 7, 8, 10}}, "pentatonic": {Root: 50, Steps: []float64{0, 2, 4, 7, 9}},
		"whole tone": {Root: 48, Steps: []float64{0, 2, 4, 6, 8, 10}}, "octave": {Root: 48, Steps: []float64{0}},
	} {
		seen := map[float64]bool{}
		for c := range instrument.MaxPoly {
			n := s.chordNote(c)
			if seen[n] {
				t.Errorf("%s: pod %d has the pitch %g of another", name, c, n)
			}
			seen[n] = true
			if len(s.Steps) > 1 && (s.Nearest(n) != n || n < s.Root || n > s.Root+48) {
				t.Errorf("%s: pod %d has the pitch %g", name, c, n)
			}
		}
	}
	if s := (Scale{}); s.chordNote(0) != 60 || math.Abs(s.chordNote(2)-67.02) > 0.01 {
		t.Error("without a scale the pods are to sing 4:5:6 on C")
	}
}
