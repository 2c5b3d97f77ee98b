package instrument

import (
	"cmp"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

const dutName = "dut"

func dutOf(s *ModuleSpec) ModuleID { return ModuleID(s.Kind + "/" + dutName) }

// bench patches a source into every input of a module and a probe into every
// output.
func bench(t testing.TB, s *ModuleSpec) *rig {
	t.Helper()
	r := newRig(t)
	dut := dutOf(s)
	r.add(dut, nil)
	for i, in := range s.Inputs {
		id := fmt.Sprintf("test_source/s%d", i)
		r.add(ModuleID(id), nil)
		k := in.Kind
		r.cable(id+"/"+jackOf(k), string(dut)+"/"+in.Name)
	}
	for i, out := range s.Outputs {
		if out.Kind == Claim || out.Kind == Scale {
			continue // only a Pod's lifecycle takes the one, only a Deployment the other
		}
		id := fmt.Sprintf("test_probe/p%d", i)
		r.add(ModuleID(id), nil)
		r.cable(string(dut)+"/"+out.Name, id+"/in")
	}
	r.adopt()
	for i, in := range s.Inputs {
		if in.Poly {
			r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).channels = MaxPoly
		}
	}
	return r
}

// stimulus is what an input of a kind is fed with: something that moves.
func stimulus(in JackSpec, index int) func(int64, int) float32 {
	seconds := func(f int64) float64 { return float64(f) / testRate }
	switch in.Kind {
	case Audio:
		return func(f int64, c int) float32 {
			return float32(4 * math.Sin(2*math.Pi*math.Mod(float64(110*(index%5+1)+37*c)*seconds(f), 1)))
		}
	case Gate, Presence, Claim, Pods, Selector, Placement:
		return func(f int64, c int) float32 {
			if int(seconds(f)*6+float64(c)*0.3+float64(index)*0.17)%2 == 1 {
				return GateVolts
			}
			return 0
		}
	case Trigger:
		return func(f int64, c int) float32 {
			if (int(f)+1511*c+307*index)%5303 < 48 {
				return GateVolts
			}
			return 0
		}
	case Pitch:
		return func(f int64, c int) float32 { return float32(int(seconds(f)*8+float64(c))%13) / 12 }
	}
	return func(f int64, c int) float32 {
		_, x := math.Modf(seconds(f)*0.9 + float64(c)*0.11 + float64(index)*0.07)
		return float32(6 * (1 - math.Abs(2*x-1)))
	}
}

// play starts the sources of a bench.
func (r *rig) play(s *ModuleSpec) {
	if s.Captures {
		r.captured = stimulus(JackSpec{Kind: CV}, 3)
		if s.Kind == "audio_in" {
			r.captured = stimulus(JackSpec{Kind: Audio}, 3)
		}
	}
	for i, in := range s.Inputs {
		r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = stimulus(in, i)
	}
}

// score writes events of every kind that a module takes, from the frame at,
// for a number of frames: params that go to every place, levels, pulses, and
// volts for inputs that nothing is plugged into.
func (r *rig) score(s *ModuleSpec, at, frames int64) (events []Event) {
	rng := rand.New(rand.NewPCG(7, uint64(len(s.Kind))))
	dut := dutOf(s)
	for f := at; f < at+frames; f += 400 + rng.Int64N(500) {
		if n := len(s.Params); n > 0 {
			p := s.Params[rng.IntN(n)]
			if !p.Text {
				v := p.Min + rng.Float64()*(p.Max-p.Min)
				events = append(events, r.event(EventParam, dut, p.Name, 0, float32(v), f+rng.Int64N(300)))
			}
		}
		for _, o := range s.Outputs {
			ch := 0
			if o.Poly {
				ch = rng.IntN(MaxPoly)
			}
			kind, v := EventLevel, float32(10*rng.IntN(2))
			switch o.Kind {
			case Trigger:
				kind = EventPulse
			case CV, Audio, Pitch, Scale:
				v = float32(rng.Float64()*12 - 5)
			}
			events = append(events, r.event(kind, dut, o.Name, ch, v, f+rng.Int64N(300)))
		}
		if n := len(s.Inputs); n > 0 {
			in := s.Inputs[rng.IntN(n)]
			events = append(events, r.event(EventInput, dut, in.Name, 0, float32(rng.IntN(11)), f+rng.Int64N(300)))
		}
	}
	return events
}

// TestRenderNeverAllocates holds the real-time boundary for every module
// there is, with cables in every input, while events of every kind arrive,
// params ramp, and plans are exchanged and fade.
func TestRenderNeverAllocates(t *testing.T) {
	for _, s := range registered {
		t.Run(s.Kind, func(t *testing.T) {
			r := bench(t, s)
			for _, n := range r.c.nodes {
				if p, ok := n.proc.(*probe); ok {
					p.on = false
				}
			}
			r.settle()
			r.play(s)
			// Two patches to swap between: one with all cables, one with none,
			// and without the sources.
			full := r.patch.Clone()
			bare := &Patch{Modules: full.Modules[:1]}
			var plans []*Plan
			for i := range 12 {
				p := full
				if i%2 == 0 {
					p = bare
				}
				pl, err := r.c.Compile(p, 0)
				if err != nil {
					t.Fatal(err)
				}
				plans = append(plans, pl)
			}
			// The handle of the module stays; only its neighbours are new.
			events := r.score(s, r.e.frame, 6000)
			events = append(events, Event{Kind: EventFadeOut}, Event{Kind: EventPanic, Frame: r.e.frame + 3000}, Event{Kind: EventFadeIn, Frame: r.e.frame + 3100})
			bufs := [][]float32{make([]float32, 480), make([]float32, 480)}
			ins := [][]float32{make([]float32, 480), make([]float32, 480)}
			for i := range ins[0] {
				ins[0][i], ins[1][i] = float32(i)/40, float32(i%12)
			}
			run := 0
			allocs := testing.AllocsPerRun(len(plans)-1, func() {
				for _, ev := range events {
					ev.Frame += int64(run * 480)
					r.e.Inbox.Push(ev)
				}
				r.e.Adopt(plans[run])
				run++
				r.e.Render(bufs, ins)
				r.e.Meters.Load()
				var ev Event
				for r.e.Outbox.Pop(&ev) {
				}
			})
			if allocs != 0 {
				t.Errorf("Render allocated %v times a call; nothing on the audio thread may", allocs)
			}
		})
	}
}

// TestSlicesDoNotChangeSound renders each module in calls of many lengths,
// and with blocks split by events that mean nothing: every bit is the same.
func TestSlicesDoNotChangeSound(t *testing.T) {
	const frames = 24000
	for _, s := range registered {
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			told := map[*rig][]Event{}
			play := func(chunk int, dummies bool) *rig {
				r := bench(t, s)
				r.settle()
				r.play(s)
				r.chunk = chunk
				at := r.e.frame
				for _, ev := range r.score(s, at, frames) {
					r.send(ev)
				}
				if dummies {
					for f := at + 5; f < at+frames; f += 29 {
						r.send(Event{Kind: EventInput, Module: 1 << 20, Frame: f})
					}
				}
				for r.e.Outbox.Pop(new(Event)) {
				}
				r.render(frames)
				if n := r.e.Outbox.Dropped(); n > 0 {
					t.Fatalf("%d reports found no room; shorten the test", n)
				}
				for ev := (Event{}); r.e.Outbox.Pop(&ev); {
					told[r] = append(told[r], ev)
				}
				// What one slice tells is in the order of its jacks, not of its frames.
				slices.SortStableFunc(told[r], func(a, b Event) int { return cmp.Compare(a.Frame, b.Frame) })
				return r
			}
			want := play(BlockSize, false)
			heard := false
			for i := range s.Outputs {
				for c := range MaxPoly {
					if n := want.c.nodes[ModuleID(fmt.Sprintf("test_probe/p%d", i))]; n != nil && peakOf(n.proc.(*probe).rec[c]) > 0 {
						heard = true
					}
				}
			}
			if !heard {
				t.Fatal("the module put out nothing at all")
			}
			for _, v := range []struct {
				chunk   int
				dummies bool
			}{{1, false}, {7, false}, {48, false}, {100, false}, {256, false}, {480, false}, {64, true}, {1 << 16, true}} {
				got := play(v.chunk, v.dummies)
				if !slices.Equal(told[got], told[want]) {
					t.Errorf("in calls of %d, split %v, it told %d things, want %d, or others", v.chunk, v.dummies, len(told[got]), len(told[want]))
				}
				for i, o := range s.Outputs {
					id := ModuleID(fmt.Sprintf("test_probe/p%d", i))
					if want.c.nodes[id] == nil {
						continue
					}
					for c := range MaxPoly {
						same(t, fmt.Sprintf("%s channel %d in calls of %d, split %v", o.Name, c, v.chunk, v.dummies),
							want.probe(id).rec[c], got.probe(id).rec[c])
					}
				}
				for c := range want.out {
					same(t, fmt.Sprintf("device channel %d in calls of %d, split %v", c, v.chunk, v.dummies), want.out[c], got.out[c])
				}
			}
		})
	}
}

// same reports the first sample at which two renders differ.
func same(t *testing.T, what string, want, got []float32) {
	t.Helper()
	if len(want) != len(got) {
		t.Errorf("%s: %d frames, want %d", what, len(got), len(want))
		return
	}
	for i := range want {
		if math.Float32bits(want[i]) != math.Float32bits(got[i]) {
			t.Errorf("%s: frame %d is %v, want %v", what, i, got[i], want[i])
			return
		}
	}
}

// insults are what no module should ever be given.
var insults = []float32{
	float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)),
	1e30, -1e30, math.MaxFloat32, -math.MaxFloat32, 1e-40, -1e-40, 12, -12, 0,
}

// TestModulesSurviveAnything feeds each module with what is not a voltage on
// every input while its knobs stand at every end. What comes out is finite
// all the time, and once it is over and the module was reset it sounds as one
// that had a quiet life.
func TestModulesSurviveAnything(t *testing.T) {
	const rough, rest, clean = 9600, 4800, 24000
	for _, s := range registered {
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			life := func(rude bool, seed uint64) *rig {
				r := bench(t, s)
				r.settle()
				if rude {
					rng := rand.New(rand.NewPCG(seed, 2))
					r.captured = func(f int64, c int) float32 { return insults[int(f/97+int64(7*c))%len(insults)] }
					for i := range s.Inputs {
						hash := rng.Uint32()
						r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = func(f int64, c int) float32 {
							h := hash ^ uint32(f/97)*2654435761 ^ uint32(c)*40503
							h ^= h >> 15
							h *= 2246822519
							h ^= h >> 13
							return insults[h%uint32(len(insults))]
						}
					}
					at := r.e.frame
					for f := at; f < at+rough; f += 240 {
						for _, p := range s.Params {
							if p.Text {
								continue
							}
							v := []float32{float32(p.Min), float32(p.Max), float32(math.NaN()), 1e30, float32(p.Value)}[rng.IntN(5)]
							r.send(r.event(EventParam, dutOf(s), p.Name, 0, v, f))
						}
						for _, o := range s.Outputs {
							r.send(r.event(EventLevel, dutOf(s), o.Name, rng.IntN(MaxPoly), insults[rng.IntN(len(insults))], f))
							r.send(r.event(EventPulse, dutOf(s), o.Name, rng.IntN(MaxPoly), 0, f))
						}
						for _, in := range s.Inputs {
							r.send(r.event(EventInput, dutOf(s), in.Name, 0, insults[rng.IntN(len(insults))], f))
						}
						if f-at == rough/2 {
							// As an event of no module, of no jack and of no kind.
							r.send(Event{Kind: 200, Module: r.c.Handle(dutOf(s)), Index: 250, Channel: 250, Frame: f})
							r.send(Event{Kind: EventPulse, Module: 1 << 30, Frame: f})
						}
						if r.render(240); r.e.frame > at+rough {
							break
						}
					}
				} else {
					r.render(rough)
				}
				finiteAll(t, r, s)
				r.forget()
				r.captured = nil
				for i := range s.Inputs {
					r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = nil
				}
				for _, p := range s.Params {
					if !p.Text {
						r.param(dutOf(s), p.Name, float32(p.Value))
					}
				}
				r.render(rest)
				r.send(Event{Kind: EventPanic})
				r.render(640)
				r.forget()
				r.play(s)
				r.render(clean)
				finiteAll(t, r, s)
				return r
			}
			want := life(false, 0)
			for seed := range uint64(4) {
				got := life(true, seed)
				if len(s.Inputs) > 0 {
					if m, _ := got.e.Meters.Load(); m.Scrubbed == 0 {
						t.Error("slices that are not numbers went by uncounted")
					}
				}
				for i, o := range s.Outputs {
					id := ModuleID(fmt.Sprintf("test_probe/p%d", i))
					if want.c.nodes[id] == nil {
						continue
					}
					for c := range MaxPoly {
						alike(t, fmt.Sprintf("seed %d: %s channel %d", seed, o.Name, c), want.probe(id).rec[c], got.probe(id).rec[c])
					}
				}
				for c := range want.out {
					alike(t, fmt.Sprintf("seed %d: device channel %d", seed, c), want.out[c], got.out[c])
				}
			}
		})
	}
}

// alike demands the same level, within a decibel: phases of slow motions and
// of noise may go on through a reset, a lost voice may not.
func alike(t *testing.T, what string, want, got []float32) {
	t.Helper()
	a, b := rmsOf(want), rmsOf(got)
	if a < 1e-4 && b < 1e-4 {
		return
	}
	if r := 20 * math.Log10(b/a); !(math.Abs(r) < 1) {
		t.Errorf("%s: %.2f dB from what a fresh one puts out (%.4f V, want %.4f V)", what, r, b, a)
	}
}

func finiteAll(t *testing.T, r *rig, s *ModuleSpec) {
	t.Helper()
	for i, o := range s.Outputs {
		if r.c.nodes[ModuleID(fmt.Sprintf("test_probe/p%d", i))] == nil {
			continue
		}
		for c, b := range r.probe(ModuleID(fmt.Sprintf("test_probe/p%d", i))).rec {
			if !finite(b) {
				t.Fatalf("%s channel %d put out what is not a number", o.Name, c)
			}
		}
	}
	for c, b := range r.out {
		if !finite(b) {
			t.Fatalf("device channel %d got what is not a number", c)
		}
	}
}

// TestSpecs holds every declaration to what panels and files need.
func TestSpecs(t *testing.T) {
	for _, s := range registered {
		if s.Doc == "" || s.Title == "" || s.HP <= 0 || s.Plus12 <= 0 {
			t.Errorf("%s: a module has a title, a sentence, a width and a current", s.Kind)
		}
		if Spec(s.Kind) != s {
			t.Errorf("Spec(%q) is another module", s.Kind)
		}
		if len(s.Inputs) > 64 {
			t.Errorf("%s: %d inputs; IO.Patched has 64 bits", s.Kind, len(s.Inputs))
		}
		for i := range s.Params {
			p := &s.Params[i]
			if p.Doc == "" {
				t.Errorf("%s/%s says nothing of itself", s.Kind, p.Name)
			}
			if p.Text {
				continue
			}
			// As a surface sends its ends, too.
			for _, v := range []float64{p.Min, p.Max, p.Value, float64(float32(p.Min)), float64(float32(p.Max))} {
				if err := p.Check(v); err != nil {
					t.Errorf("%s/%s refuses its own %g: %v", s.Kind, p.Name, v, err)
				}
			}
			if p.Curve == Exponential && p.Min <= 0 {
				t.Errorf("%s/%s: equal ratios need a range above 0", s.Kind, p.Name)
			}
			if p.PerVolt != 0 && (s.Input(p.Name+"_cv") < 0 || s.Param(p.Name+"_att") < 0) {
				t.Errorf("%s/%s has no CV jack or attenuverter", s.Kind, p.Name)
			}
		}
		for _, j := range append(append([]JackSpec{}, s.Inputs...), s.Outputs...) {
			if j.Doc == "" {
				t.Errorf("%s/%s says nothing of itself", s.Kind, j.Name)
			}
		}
	}
}

// BenchmarkModule tells what a frame of each module costs, with every input
// patched and, where it has voices, all of them sounding.
func BenchmarkModule(b *testing.B) {
	for _, s := range registered {
		b.Run(s.Kind, func(b *testing.B) {
			r := bench(b, s)
			r.settle()
			r.play(s)
			for _, ev := range r.score(s, r.e.frame, 4800) {
				r.send(ev)
			}
			r.render(9600)
			n := r.c.nodes[dutOf(s)]
			n.io.N = BlockSize
			b.ResetTimer()
			for b.Loop() {
				n.io.Frame += BlockSize
				n.proc.Process(&n.io)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize, "ns/frame")
		})
	}
}
