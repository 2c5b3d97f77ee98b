package instrument

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// timeAndEffects are the modules that this file holds to what they share.
var timeAndEffects = []string{"clock", "euclid", "quantizer", "delay", "chorus", "compressor", "drum"}

// alone is a module without an engine, so that what no cable would let through
// reaches its inputs as well.
type alone struct {
	spec *ModuleSpec
	proc Processor
	io   IO
	play func(input, channel int, frame int64) float32
}

// newAlone puts a module on the bench, with all inputs patched.
func newAlone(kind string, params map[string]float64) *alone {
	s := Spec(kind)
	a := &alone{spec: s, proc: s.New()}
	m := Module{ID: ModuleID(kind + "/a"), Params: params}
	a.proc.Init(testRate, 7)
	for i := range s.Params {
		b := new([BlockSize]float32)
		for k := range b {
			b[k] = float32(m.Value(s.Params[i].Name))
		}
		a.io.Params = append(a.io.Params, b)
	}
	for _, in := range s.Inputs {
		sig := &Signal{Channels: 1}
		if in.Poly {
			sig.Channels = 4
		}
		a.io.In = append(a.io.In, sig)
	}
	for range s.Outputs {
		a.io.Out = append(a.io.Out, &Signal{Channels: 1})
	}
	a.io.N, a.io.spec = BlockSize, s
	a.io.Patched, a.io.Wanted = 1<<len(s.Inputs)-1, math.MaxUint64
	return a
}

// knob turns a knob at once.
func (a *alone) knob(name string, v float32) {
	b := a.io.Params[a.spec.Param(name)]
	for k := range b {
		b[k] = v
	}
}

// block renders a block. Inputs of the same voltage throughout say so, as those
// of the engine do.
func (a *alone) block() {
	for i, s := range a.io.In {
		s.Held = 0
		for c := range s.Channels {
			same := true
			for k := range s.Volts[c] {
				s.Volts[c][k] = a.play(i, c, a.io.Frame+int64(k))
				same = same && s.Volts[c][k] == s.Volts[c][0]
			}
			if same && finite(s.Volts[c][:]) {
				s.Held |= 1 << c
			}
		}
	}
	a.proc.Process(&a.io)
	a.io.Frame += BlockSize
}

// out returns output o, recorded over a number of blocks.
func (a *alone) out(name string, blocks int) (rec []float32) {
	o := a.io.Out[a.spec.Output(name)]
	for range blocks {
		a.block()
		rec = append(rec, o.Volts[0][:]...)
	}
	return rec
}

// TestEffectsRecover feeds everything that is no voltage to one input after
// the other and to all at once, without the engine that would keep it out:
// nothing beyond ±12 V comes out then or later, and with clean input the module
// soon sounds as one that never met it.
func TestEffectsRecover(t *testing.T) {
	nasty := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), 1e30, -1e30, math.MaxFloat32, 1e-40, -1e-42, 1e-38, 5, -5}
	for _, kind := range timeAndEffects {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s := Spec(kind)
			clean := func(i, c int, f int64) float32 {
				if f%24000 >= 21600 {
					// Silence now and then, so that what was left over is heard.
					return 0
				}
				return stimulus(s.Inputs[i], i)(f, c)
			}
			run := func(insult func(i, c int, f int64) (float32, bool)) (level []float64) {
				a := newAlone(kind, nil)
				a.play = func(i, c int, f int64) float32 {
					if v, ok := insult(i, c, f); ok && f < 9600 {
						return v
					}
					return clean(i, c, f)
				}
				level = make([]float64, len(s.Outputs))
				const blocks = 5 * testRate / BlockSize
				for b := range blocks {
					a.block()
					for o, sig := range a.io.Out {
						for c := range sig.Channels {
							for k, v := range sig.Volts[c][:a.io.N] {
								if !(v >= -12 && v <= 12) {
									t.Fatalf("%s channel %d is %v at frame %d", s.Outputs[o].Name, c, v, a.io.Frame-BlockSize+int64(k))
								}
								if b > blocks*3/5 {
									level[o] += float64(v) * float64(v)
								}
							}
						}
					}
				}
				return level
			}
			want := run(func(int, int, int64) (float32, bool) { return 0, false })
			check := func(what string, got []float64) {
				for o := range got {
					if db := 10 * math.Log10((got[o]+1e-9)/(want[o]+1e-9)); !(math.Abs(db) < 1.5) {
						t.Errorf("%s: %s is %.2f dB from what it should be", what, s.Outputs[o].Name, db)
					}
				}
			}
			for k := range s.Inputs {
				check(s.Inputs[k].Name, run(func(i, c int, f int64) (float32, bool) {
					return nasty[int(f/37+int64(c))%len(nasty)], i == k
				}))
			}
			rng := rand.New(rand.NewPCG(1, 2))
			check("all", run(func(i, c int, f int64) (float32, bool) { return nasty[rng.IntN(len(nasty))], true }))
			check("noise", run(func(i, c int, f int64) (float32, bool) { return rng.Float32()*24 - 12, true }))
		})
	}
}

// BenchmarkEffects tells what a frame of each module costs while it plays, and
// when there is nothing to do.
func BenchmarkEffects(b *testing.B) {
	for _, kind := range timeAndEffects {
		for _, mode := range []string{"playing", "silent"} {
			b.Run(kind+"/"+mode, func(b *testing.B) {
				a := newAlone(kind, nil)
				s := a.spec
				a.play = func(i, c int, f int64) float32 { return stimulus(s.Inputs[i], i)(f, c) }
				if mode == "silent" {
					a.play = func(i, c int, f int64) float32 { return 0 }
				}
				// What it is fed with is made beforehand.
				var tape [256][]*Signal
				for k := range tape {
					a.block()
					for _, in := range a.io.In {
						one := *in
						tape[k] = append(tape[k], &one)
					}
				}
				k := 0
				b.ResetTimer()
				for b.Loop() {
					a.io.In = tape[k%len(tape)]
					k++
					a.proc.Process(&a.io)
					a.io.Frame += BlockSize
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/BlockSize, "ns/frame")
			})
		}
	}
}

func TestEuclidSteps(t *testing.T) {
	a := newAlone("euclid", map[string]float64{"steps": 8, "pulses": 3, "rotate": 0, "accents": 1})
	const period = 1000
	reset := int64(-1)
	a.play = func(i, c int, f int64) float32 {
		switch {
		case i == 0 && f%period < 20, i == 1 && reset >= 0 && f >= reset && f < reset+20:
			return 10
		}
		return 0
	}
	hear := func(frames int64) map[string][]int {
		rec := map[string][]float32{}
		for f := int64(0); f < frames; f += BlockSize {
			a.block()
			for o, sig := range a.io.Out {
				rec[a.spec.Outputs[o].Name] = append(rec[a.spec.Outputs[o].Name], sig.Volts[0][:]...)
			}
		}
		at := map[string][]int{}
		for name, r := range rec {
			at[name] = rises(r)
		}
		return at
	}
	at := hear(16 * period)
	want := func(name string, frames ...int) {
		t.Helper()
		if fmt.Sprint(at[name]) != fmt.Sprint(frames) {
			t.Errorf("%s at %v, want %v", name, at[name], frames)
		}
	}
	want("out", 0, 3000, 6000, 8000, 11000, 14000)
	want("rest", 1000, 2000, 4000, 5000, 7000, 9000, 10000, 12000, 13000, 15000)
	want("accent", 0, 8000)
	want("first", 0, 8000)
	if n := a.io.Frame; n%period != 0 {
		t.Fatalf("the test goes on at frame %d", n)
	}
	// Rotated by two, the pattern begins two steps later.
	a.knob("rotate", 2)
	at = hear(8 * period)
	want("out", 0, 2000, 5000)
	want("first", 0)
	// A reset in the middle of a step plays the first at once; the clock that
	// comes within a millisecond is the same step, a later one the next.
	a.knob("rotate", 0)
	for _, lag := range []int64{0, 1, 30, 47} {
		hear(8 * period)
		base := a.io.Frame
		reset = base + 5*period - lag
		at = hear(8 * period)
		ok := false
		for _, f := range at["first"] {
			ok = ok || int64(f) == reset-base
		}
		next := 0
		for _, f := range at["rest"] {
			if int64(f) > reset-base && next == 0 {
				next = f
			}
		}
		if !ok || next != 6*period {
			t.Errorf("clock %d frames after the reset: first at %v, the rest after it at %d, want %d", lag, at["first"], next, 6*period)
		}
		// Back to where a pattern begins.
		for a.proc.(*euclid).step%8 != 0 {
			hear(period)
		}
		for a.io.Frame%(8*period) != 0 {
			a.io.Frame += BlockSize
		}
	}
}

// TestEuclidChance: as many pulses sound as the knob says, the same ones each time.
func TestEuclidChance(t *testing.T) {
	run := func(p float64) (sounded []float32, n, rests int) {
		a := newAlone("euclid", map[string]float64{"steps": 16, "pulses": 16, "probability": p})
		a.play = func(i, c int, f int64) float32 {
			if i == 0 && f%128 < 10 {
				return 10
			}
			return 0
		}
		var rest []float32
		for range 8000 {
			a.block()
			sounded = append(sounded, a.io.Out[euclidOut].Volts[0][:]...)
			rest = append(rest, a.io.Out[euclidRest].Volts[0][:]...)
		}
		return sounded, len(rises(sounded)), len(rises(rest))
	}
	for _, p := range []float64{0, 0.25, 0.5, 1} {
		first, n, rests := run(p)
		if got := float64(n) / 4000; math.Abs(got-p) > 0.03 {
			t.Errorf("at a probability of %g, %.3f of the pulses sound", p, got)
		}
		if n+rests != 4000 {
			t.Errorf("at a probability of %g: %d pulses and %d rests of 4000 steps", p, n, rests)
		}
		if again, _, _ := run(p); !sameVolts(first, again) {
			t.Errorf("at a probability of %g it is not the same twice", p)
		}
	}
}

func sameVolts(a, b []float32) bool {
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// quantized is what a quantizer makes of one voltage.
func quantized(t *testing.T, a *alone, v float32) float32 {
	t.Helper()
	a.io.Patched = 1
	a.play = func(i, c int, f int64) float32 {
		if i == 0 {
			return v
		}
		return 0
	}
	a.block()
	return a.io.Out[0].Volts[0][BlockSize-1]
}

func TestQuantizerScales(t *testing.T) {
	for k, scale := range musicalScales {
		if scale.semitones == nil {
			continue
		}
		for root := range 12 {
			a := newAlone("quantizer", map[string]float64{"scale": float64(k), "root": float64(root), "hysteresis": 0})
			for cents := -2400; cents <= 2400; cents += 13 {
				got := float64(quantized(t, a, float32(cents)/1200)) * 1200
				// The nearest note by brute force.
				best := math.Inf(1)
				for octave := -4; octave <= 4; octave++ {
					for _, s := range scale.semitones {
						n := float64(octave*1200 + (s+root)*100)
						if math.Abs(n-float64(cents)) < math.Abs(best-float64(cents)) {
							best = n
						}
					}
				}
				if math.Abs(got-best) > 0.01 && math.Abs(math.Abs(got-float64(cents))-math.Abs(best-float64(cents))) > 0.01 {
					t.Fatalf("%s on %s: %d cents become %.2f, want %.2f", scale.name, pitchClasses[root], cents, got, best)
				}
			}
		}
	}
}

// TestQuantizerHysteresis: noise about the middle between two notes does not
// chatter, and a glide passes each note once.
func TestQuantizerHysteresis(t *testing.T) {
	a := newAlone("quantizer", map[string]float64{"hysteresis": 15})
	rng := rand.New(rand.NewPCG(5, 5))
	a.io.Patched = 1
	a.play = func(i, c int, f int64) float32 {
		if i > 0 {
			return 0
		}
		return 0.5/12 + (rng.Float32()-0.5)*0.02 // ±12 cents
	}
	if n := len(rises(a.out("changed", 800))); n > 1 {
		t.Errorf("noise of 12 cents changes the note %d times", n)
	}
	a = newAlone("quantizer", map[string]float64{"hysteresis": 15})
	a.io.Patched = 1
	a.play = func(i, c int, f int64) float32 {
		if i > 0 {
			return 0
		}
		return float32(f)/48000 + (rng.Float32()-0.5)*0.01
	}
	if n := len(rises(a.out("changed", 750))); n != 12 {
		t.Errorf("a glide over an octave changes the note %d times, want 12", n)
	}
}

// TestQuantizerSamples: with a cable in trigger each channel takes a note at
// the frame of its edge, and at no other time.
func TestQuantizerSamples(t *testing.T) {
	a := newAlone("quantizer", nil)
	a.play = func(i, c int, f int64) float32 {
		if i == 0 {
			return float32(f)/12000 + float32(c)
		}
		if f >= 1000*int64(c+1) && f < 1000*int64(c+1)+48 {
			return 10
		}
		return 0
	}
	var rec, changed [4][]float32
	for range 100 {
		a.block()
		for c := range rec {
			rec[c] = append(rec[c], a.io.Out[0].Volts[c][:]...)
			changed[c] = append(changed[c], a.io.Out[1].Volts[c][:]...)
		}
	}
	for c := range rec {
		edge := 1000 * (c + 1)
		want := float32(math.Round((float64(edge)/12000+float64(c))*12) / 12)
		for f, v := range rec[c] {
			if w := map[bool]float32{true: want}[f >= edge]; math.Abs(float64(v-w)) > 1e-5 {
				t.Fatalf("channel %d is %v V at frame %d, want %v", c, v, f, w)
			}
		}
		if n := len(rises(changed[c])); n != 0 {
			t.Errorf("channel %d: the first note counts as %d changes", c, n)
		}
	}
}

// TestQuantizerTunings: a word that is changed while it plays changes the notes,
// to the cent, without a new plan; the patch's own tunings go first.
func TestQuantizerTunings(t *testing.T) {
	s, err := dsp.ParseScale([]byte("third tones\n6\n200.0\n410.0\n600.0\n800.0\n1000.0\n2/1\n"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := dsp.NewTuning("mine", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t).add("quantizer/q", map[string]float64{"scale": float64(len(musicalScales) - 1)}).add("test_source/s", nil).add("test_probe/p", nil)
	r.cable("test_source/s/out_2", "quantizer/q/in").cable("quantizer/q/out", "test_probe/p/in")
	r.patch.Tunings = map[string]*dsp.Tuning{"mine": own}
	r.adopt()
	r.source("test_source/s").play = steady(4.1 / 12)
	r.settle()
	hear := func() float64 {
		r.forget()
		r.render(256)
		rec := r.probe("test_probe/p").rec[0]
		return float64(rec[len(rec)-1]) * 1200
	}
	word := func(w string) {
		r.patch.Modules[0].Text = map[string]string{"tuning": w}
		if err := r.patch.Validate(); err != nil {
			t.Fatal(err)
		}
		r.c.Tune(&r.patch)
	}
	if got := hear(); math.Abs(got-400) > 0.01 {
		t.Errorf("410 cents become %.3f in equal temperament", got)
	}
	// A patch that comes with its word needs no hand to say it.
	r.patch.Modules[0].Text = map[string]string{"tuning": "just"}
	r.adopt()
	if got := hear(); math.Abs(got-386.3137) > 0.01 {
		t.Errorf("410 cents become %.3f in a patch that names just intonation", got)
	}
	for _, c := range []struct {
		word  string
		cents float64
	}{{"just", 386.3137}, {"pythagorean", 407.8200}, {"mine", 410}, {"31-edo", 11 * 1200.0 / 31}, {"19-edo", 6 * 1200.0 / 19}, {"bohlen-pierce", 3 * 1901.955 / 13}, {"equal", 400}} {
		word(c.word)
		if got := hear(); math.Abs(got-c.cents) > 0.01 {
			t.Errorf("%s: 410 cents become %.4f, want %.4f", c.word, got, c.cents)
		}
	}
	// Scales of semitones find the nearest notes of a tuning that has others.
	word("19-edo")
	r.param("quantizer/q", "scale", 1) // major
	if got := hear(); math.Abs(got-6*1200.0/19) > 0.01 {
		t.Errorf("the third of C major in 19 steps is at %.3f cents", got)
	}
	r.param("quantizer/q", "scale", 24) // just_major, on D
	r.param("quantizer/q", "root", 2)
	if got := hear(); math.Abs(got-(200+203.910)) > 0.01 {
		t.Errorf("the second of just D major is at %.3f cents, want 403.910", got)
	}
	r.patch.Modules[0].Text = map[string]string{"tuning": "unheard"}
	if err := r.patch.Validate(); err == nil {
		t.Error("there is no tuning unheard, and nobody says so")
	} else if want := `modules[0].params.tuning: there is no tuning "unheard"; expected one of mine of the scene, equal, just,`; len(err.Error()) < len(want) || err.Error()[:len(want)] != want {
		t.Errorf("%v, want %s…", err, want)
	}
}
