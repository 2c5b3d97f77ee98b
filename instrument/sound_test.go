package instrument

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

const (
	// clickLimit is how loud a click may be, in decibels of full scale.
	clickLimit = -60
	// clickCorner is above all that the tones of these tests hold.
	clickCorner = 4000
	// noiseLimit is how loud silence may be, in decibels of full scale.
	noiseLimit = -110
)

// TestNoDenormals plays each module, then leaves it alone. At no
// time may its arithmetic meet a number so small that the processor slows down:
// a rack that falls silent must not cost more than one that sounds.
func TestNoDenormals(t *testing.T) {
	if _, known := measure.Denormals(func() {}); !known {
		t.Skip("this processor does not tell of denormal numbers")
	}
	for _, s := range registered {
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			r := bench(t, s)
			for _, n := range r.c.nodes {
				if p, ok := n.proc.(*probe); ok {
					p.on = false
				}
			}
			r.settle()
			second := func(what string, k int) {
				if met, _ := measure.Denormals(func() { r.seconds(1) }); met {
					t.Errorf("second %d of %s met denormal numbers", k, what)
				}
				r.out = [2][]float32{}
			}
			r.play(s)
			for k := range 2 {
				second("play", k)
			}
			for i := range s.Inputs {
				r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = steady(0)
			}
			// The room's echoes take longest to get that small.
			seconds := 15
			if s.Kind == "reverb" {
				seconds = 60
			}
			for k := range seconds {
				if second("silence", k); t.Failed() {
					return
				}
			}
		})
	}
}

// TestSilenceIsSilent: with nothing to play, no module and no chain of them
// makes a noise of its own.
func TestSilenceIsSilent(t *testing.T) {
	sings := map[string]bool{"noise": true, "vco": true, "lfo": true} // with nothing plugged in
	for _, s := range registered {
		if sings[s.Kind] {
			continue
		}
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			r := newRig(t).add(dutOf(s), nil)
			for i, o := range s.Outputs {
				if o.Kind == Audio {
					id := fmt.Sprintf("test_probe/p%d", i)
					r.add(ModuleID(id), nil).cable(string(dutOf(s))+"/"+o.Name, id+"/in")
				}
			}
			r.adopt().settle().seconds(2)
			for i, o := range s.Outputs {
				if o.Kind != Audio {
					continue
				}
				for c, b := range r.probe(ModuleID(fmt.Sprintf("test_probe/p%d", i))).rec {
					if db := measure.Decibels(rmsOf(b) / AudioVolts); db > noiseLimit {
						t.Errorf("%s channel %d makes %.1f dBFS of noise, want less than %d", o.Name, c, db, noiseLimit)
					}
				}
			}
		})
	}
}

// carried patches a low tone into every audio input of a module, and a gate and
// steady voltages into the rest, so that it does what it does.
func carried(t testing.TB, s *ModuleSpec) *rig {
	t.Helper()
	r := newRig(t).add(dutOf(s), nil)
	for i, in := range s.Inputs {
		if in.Kind != Audio {
			continue
		}
		id := fmt.Sprintf("test_source/s%d", i)
		r.add(ModuleID(id), nil).cable(id+"/"+jackOf(Audio), string(dutOf(s))+"/"+in.Name)
	}
	for i, o := range s.Outputs {
		if o.Kind != Audio {
			continue
		}
		id := fmt.Sprintf("test_probe/p%d", i)
		r.add(ModuleID(id), nil).cable(string(dutOf(s))+"/"+o.Name, id+"/in")
	}
	r.adopt()
	for i, in := range s.Inputs {
		if in.Kind == Audio {
			r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = sine(146.83, 4)
		}
	}
	return r.settle().seconds(0.5)
}

// splash is what an edit of a running module splashed at its outputs, in
// decibels of full scale: beyond what its sound holds up there before or after.
func splash(t testing.TB, r *rig, s *ModuleSpec, edit func()) map[string]float64 {
	t.Helper()
	r.seconds(0.3)
	edit()
	r.seconds(0.3)
	all := map[string]float64{}
	for i, o := range s.Outputs {
		id := ModuleID(fmt.Sprintf("test_probe/p%d", i))
		if r.c.nodes[id] == nil {
			continue
		}
		rec := r.probe(id).rec[0]
		if n := int(0.6 * testRate); len(rec) > n {
			rec = rec[len(rec)-n:]
		}
		above := func(b []float32) float64 {
			db, _ := measure.ClickLevel(b, testRate, clickCorner)
			return math.Pow(10, db/20) * peakOf(b) / AudioVolts
		}
		part := len(rec) * 45 / 100
		if beyond := above(rec) - max(above(rec[:part]), above(rec[len(rec)-part:])); beyond > 0 {
			all[o.Name] = measure.Decibels(beyond)
		}
	}
	return all
}

// TestBypass: what a module has in common with a piece of wire can be had at
// any time and without a click, and is the wire to the last bit.
func TestBypass(t *testing.T) {
	tested := 0
	for _, s := range registered {
		if len(s.Through) == 0 {
			continue
		}
		tested++
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			r := carried(t, s)
			for _, on := range []float32{1, 0} {
				for name, db := range splash(t, r, s, func() { r.param(dutOf(s), "bypass", on) }) {
					if db > clickLimit {
						t.Errorf("bypass %v clicks at %.1f dB in %s, want less than %d", on, db, name, clickLimit)
					}
				}
				if on == 0 {
					continue
				}
				for _, pair := range s.through {
					if s.Inputs[pair.input].Kind != Audio {
						continue
					}
					rec := r.probe(ModuleID(fmt.Sprintf("test_probe/p%d", pair.output))).rec[0]
					play := sine(146.83, 4)
					for i := range 4800 {
						k := len(rec) - 1 - i
						if want := play(r.e.frame-1-int64(i), 0); rec[k] != want {
							t.Fatalf("%s passes %v on as %v", s.Inputs[pair.input].Name, want, rec[k])
						}
					}
				}
			}
		})
	}
	if tested == 0 {
		t.Error("no module can be bypassed")
	}
}

// TestBypassOfANormal: an Attenuverter with nothing plugged in is a source of
// voltage, and a source that is bypassed is none.
func TestBypassOfANormal(t *testing.T) {
	r := newRig(t).add("attenuverter/a", map[string]float64{"gain_1": 0.2}).add("test_probe/p", nil)
	r.cable("attenuverter/a/out_1", "test_probe/p/in").adopt().settle().seconds(0.1)
	r.param("attenuverter/a", "bypass", 1)
	r.seconds(0.1)
	rec := r.probe("test_probe/p").rec[0]
	if from, to := rec[4000], rec[len(rec)-1]; math.Abs(float64(from)-2) > 1e-5 || to != 0 {
		t.Errorf("a source of 2 V puts out %v V, and %v V bypassed, want 0", from, to)
	}
	if peak := peakOf(rec); peak > 2.0001 {
		t.Errorf("its bypass reaches %v V on the way", peak)
	}
}

// TestEditsDoNotClick pulls each cable out of a module that sounds, puts it
// back, takes the module away and brings it back.
func TestEditsDoNotClick(t *testing.T) {
	for _, s := range registered {
		audio := false
		for _, in := range s.Inputs {
			audio = audio || in.Kind == Audio
		}
		if !audio || s.Kind == "sample_hold" || s.Kind == "vco" { // what holds a sample, or restarts its cycle, steps and is meant to
			continue
		}
		t.Run(s.Kind, func(t *testing.T) {
			t.Parallel()
			r := carried(t, s)
			check := func(what string, edit func()) {
				t.Helper()
				for name, db := range splash(t, r, s, edit) {
					if db > clickLimit {
						t.Errorf("%s clicks at %.1f dB in %s, want less than %d", what, db, name, clickLimit)
					}
				}
			}
			whole := r.patch.Clone()
			for i, in := range s.Inputs {
				if in.Kind != Audio {
					continue
				}
				to := string(dutOf(s)) + "/" + in.Name
				check("pulling "+in.Name, func() { r.pull(to).adopt() })
				check("plugging "+in.Name, func() { r.cable(fmt.Sprintf("test_source/s%d/%s", i, jackOf(Audio)), to).adopt() })
			}
			r.patch = *whole.Clone()
			check("taking it away", func() { r.remove(dutOf(s)).adopt() })
			r.patch = *whole.Clone()
			check("bringing it back", func() { r.adopt() })
		})
	}
}
