package instrument

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// keys is a Voice played as from a keyboard: gate, pitch and velocity of up to
// 16 channels, and nothing else.
func keys(t testing.TB, channels int, params map[string]float64) *rig {
	t.Helper()
	r := newRig(t).add("voice/v", params).add("test_source/gate", nil).add("test_source/pitch", nil).add("test_source/velocity", nil).add("test_probe/l", nil)
	r.cable("test_source/gate/out_3", "voice/v/gate").cable("test_source/pitch/out_2", "voice/v/pitch").cable("test_source/velocity/out_1", "voice/v/velocity")
	r.cable("voice/v/left", "test_probe/l/in").adopt()
	for _, jack := range []string{"gate", "pitch", "velocity"} {
		r.source(ModuleID("test_source/" + jack)).channels = channels
	}
	r.source("test_source/velocity").play = steady(10)
	return r.settle()
}

// notes plays a note every so many frames on one channel, up to before frame
// end: high for half of them, at the pitches in turn.
func (r *rig) notes(every int64, pitches ...float32) {
	from := r.e.frame
	r.source("test_source/gate").play = func(f int64, c int) float32 {
		if c == 0 && (f-from)%every < every/2 {
			return 10
		}
		return 0
	}
	r.source("test_source/pitch").play = func(f int64, c int) float32 { return pitches[int((f-from)/every)%len(pitches)] }
}

func (m *voice) sounding() (n int) {
	for set := m.active; set != 0; set &= set - 1 {
		if !m.voices[bits.TrailingZeros32(set)].fading {
			n++
		}
	}
	return n
}

// TestNotesDoNotClick: starts, ends, steals, and the next note on the same
// channel at another pitch splash no more than −60 dB of the note above
// clickCorner. Waves are sines, which have nothing there themselves.
func TestNotesDoNotClick(t *testing.T) {
	for _, c := range []struct {
		name   string
		params map[string]float64
		every  int64
		pitch  []float32
		steals bool
	}{
		{"single notes", map[string]float64{"release": 0.05}, 24000, []float32{0, 0.5, 1}, false},
		{"the same note again while it rings", map[string]float64{"release": 2}, 9600, []float32{0.25}, false},
		{"another pitch on a channel that rings", map[string]float64{"release": 2}, 9600, []float32{0, 0.583, -0.417, 1}, true},
		{"30 notes a second, one voice", map[string]float64{"release": 1, "allocation": 1, "voices": 1}, 1600, []float32{0, 0.583, 0.25, 1}, true},
		{"30 notes a second, four voices", map[string]float64{"release": 1, "allocation": 1, "voices": 4}, 1600, []float32{0, 0.583, 0.25, 1, 0.167}, true},
		{"30 notes a second, sixteen voices", map[string]float64{"release": 3, "allocation": 1}, 1600, []float32{0, 0.583, 0.25, 1, 0.167}, true},
		{"30 notes a second on a channel", map[string]float64{"release": 1}, 1600, []float32{0, 0.583, 0.25, 1}, true},
		{"plucks", map[string]float64{"release": 0.2, "allocation": 1, "voices": 2, "sustain": 0, "decay": 0.2, "contour": 3, "resonance": 0.5}, 3200, []float32{0, 0.583, 0.25}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			params := map[string]float64{"wave": 2, "root": 261.6255653, "attack": 0.005}
			for k, v := range c.params {
				params[k] = v
			}
			r := keys(t, 1, params)
			r.notes(c.every, c.pitch...)
			stolen := false
			v := r.proc("voice/v").(*voice)
			for range 150 {
				r.seconds(0.01)
				for k := range v.voices {
					stolen = stolen || v.voices[k].fading
				}
			}
			db, at := measure.ClickLevel(r.heard(), testRate, clickCorner)
			t.Logf("%.1f dB at %.4f s, peak %.2f V, %d voices at the end", db, float64(at)/testRate, peakOf(r.heard()), v.sounding())
			if db > clickLimit {
				t.Errorf("it clicks at %.1f dB at %.4f s, want less than %d", db, float64(at)/testRate, clickLimit)
				keepWAV(t, "steal", r.heard())
			}
			if stolen != c.steals {
				t.Errorf("voices were stolen: %v, want %v", stolen, c.steals)
			}
		})
	}
}

// TestRotate: each note of a monophonic line has a voice of its own, whose end
// rings on at its own pitch; no more than the limit sound.
func TestRotate(t *testing.T) {
	r := keys(t, 1, map[string]float64{"wave": 2, "root": 261.6255653, "attack": 0.005, "release": 3, "allocation": 1, "voices": 5})
	r.notes(4800, 0, 0.25, 0.5, 0.75)
	v := r.proc("voice/v").(*voice)
	for k := 1; k <= 4; k++ {
		r.seconds(0.1)
		if n := v.sounding(); n != k {
			t.Errorf("after %d notes %d voices sound", k, n)
		}
	}
	r.source("test_source/gate").play = nil
	r.source("test_source/pitch").play = steady(2)
	r.forget()
	r.seconds(0.7)
	s := measure.NewSpectrum(r.heard()[:32768], testRate, measure.BlackmanHarris)
	for k := range 4 {
		want := 261.6255653 * math.Exp2(0.25*float64(k))
		p := s.Near(want, 8)
		if c := measure.Cents(p.Hertz, want); math.Abs(c) > 1 || p.Amplitude < 0.05 {
			t.Errorf("the end of note %d rings at %.2f Hz (%+.1f cents) with %.3f V", k+1, p.Hertz, c, p.Amplitude)
		}
	}
	r.notes(1600, 0, 0.25, 0.5, 0.75, 1, 1.25, 1.5)
	for range 60 {
		r.seconds(0.02)
		if n := v.sounding(); n > 5 {
			t.Fatalf("%d voices sound, 5 are allowed", n)
		}
	}
}

// TestStealsTheRight: what is released goes before what is held, the oldest of
// the held first, and a note that was stolen does not come back.
func TestStealsTheRight(t *testing.T) {
	r := keys(t, 16, map[string]float64{"wave": 2, "root": 261.6255653, "attack": 0.005, "release": 5, "voices": 3, "allocation": 1})
	r.source("test_source/pitch").play = func(_ int64, c int) float32 { return float32(c) / 4 }
	v := r.proc("voice/v").(*voice)
	press := func(channels ...int) {
		var level [MaxPoly]float32
		for _, c := range channels {
			level[c] = 10
		}
		r.source("test_source/gate").level = &level
		r.seconds(0.05)
	}
	held := func() (s string) {
		for c := range MaxPoly {
			if k := v.owned(c); k >= 0 && v.voices[k].in.gate {
				s += fmt.Sprint(c, " ")
			}
		}
		return s
	}
	press(0)
	press(0, 1)
	press(0, 1, 2)
	if got := held(); got != "0 1 2 " {
		t.Errorf("three keys hold the voices of %s", got)
	}
	press(0, 2)
	press(0, 2, 3) // 1 is released: it goes
	if got := held(); got != "0 2 3 " {
		t.Errorf("with 1 released, 3 leaves %s", got)
	}
	press(0, 2, 3, 4) // all are held: 0 is the oldest
	if got := held(); got != "2 3 4 " {
		t.Errorf("with all held, 4 leaves %s", got)
	}
	press(0, 2, 3)
	if got := held(); got != "2 3 " {
		t.Errorf("a note that was stolen came back: %s", got)
	}
	press()
	r.seconds(30).forget()
	r.seconds(0.1)
	if p := peakOf(r.heard()); p != 0 || v.active != 0 {
		t.Errorf("%g V are left, voices %b", p, v.active)
	}
}

// TestVelocity: read as the gate rises, it sets the level, and as much of it
// as dynamics says.
func TestVelocity(t *testing.T) {
	level := func(volts float32, dynamics float64) float64 {
		r := keys(t, 1, map[string]float64{"wave": 2, "root": 261.6255653, "attack": 0.005, "dynamics": dynamics})
		r.source("test_source/velocity").play = steady(volts)
		r.source("test_source/gate").play = steady(10)
		r.seconds(0.2)
		r.source("test_source/velocity").play = steady(10 - volts)
		r.seconds(0.2).forget()
		r.seconds(0.3)
		return rmsOf(r.heard())
	}
	full := level(10, 1)
	for _, c := range []struct {
		volts    float32
		dynamics float64
		want     float64
	}{{5, 1, 0.5}, {2, 1, 0.2}, {5, 0.5, 0.75}, {5, 0, 1}, {20, 1, 1}} {
		if got := level(c.volts, c.dynamics) / full; math.Abs(got-c.want) > 0.01 {
			t.Errorf("%v V at dynamics %v make %.3f of the level, want %.2f", c.volts, c.dynamics, got, c.want)
		}
	}
	if full < 1 {
		t.Errorf("a note has %.2f V", full)
	}
}

// TestVoiceShapes measures what the knobs of a keyboard's voice do.
func TestVoiceShapes(t *testing.T) {
	play := func(params map[string]float64, seconds float64, pitches ...float32) *rig {
		p := map[string]float64{"wave": 2, "root": 261.6255653, "attack": 0.005, "bright": 6}
		for k, v := range params {
			p[k] = v
		}
		r := keys(t, 1, p)
		r.source("test_source/gate").play = steady(10)
		r.source("test_source/pitch").play = steady(0)
		return r.seconds(seconds)
	}
	partial := func(b []float32, hz float64) float64 {
		return measure.Decibels(measure.NewSpectrum(b, testRate, measure.BlackmanHarris).Near(hz, 5).Amplitude + 1e-9)
	}
	// Decay: a thousandth of the way is left after its time.
	b := play(map[string]float64{"decay": 0.4, "sustain": 0.25}, 1).heard()
	if q := rmsOf(b[40000:]) / rmsOf(play(nil, 1).heard()[40000:]); math.Abs(q-0.25) > 0.002 {
		t.Errorf("sustain is at %.3f of the attack, want 0.25", q)
	}
	c := 261.6255653
	b = play(map[string]float64{"second": secondSub}, 1).heard()[8000:]
	if d := partial(b, c/2) - partial(b, c); math.Abs(d) > 1 {
		t.Errorf("the sub oscillator is %.1f dB from the first", d)
	}
	b = play(map[string]float64{"second": secondFifth, "blend": 0.25}, 1).heard()[8000:]
	if d := partial(b, c*1.5) - partial(b, c); math.Abs(d+6) > 1 {
		t.Errorf("a fifth at a quarter is at %.1f dB, want -6", d)
	}
	// A square has no even harmonics; at a quarter the fourth is missing.
	b = play(map[string]float64{"wave": 0, "second": secondPulse}, 1).heard()[16000:]
	if d := partial(b, 2*c) - partial(b, c); d > -40 {
		t.Errorf("the second harmonic of a square is at %.1f dB", d)
	}
	b = play(map[string]float64{"wave": 0, "second": secondPulse, "blend": 0.25}, 1).heard()[16000:]
	if d, e := partial(b, 4*c)-partial(b, c), partial(b, 2*c)-partial(b, c); d > -40 || math.Abs(e+3) > 1.5 {
		t.Errorf("harmonics of a pulse of a quarter: the second at %.1f dB, want -3, the fourth at %.1f dB, want none", e, d)
	}
	// Detune beats.
	b = play(map[string]float64{"detune": 30}, 1.5).heard()[8000:]
	s := measure.NewSpectrum(b, testRate, measure.BlackmanHarris)
	for _, side := range []float64{-15, 15} {
		want := c * math.Exp2(side/1200)
		if p := s.Near(want, 1.5); math.Abs(measure.Cents(p.Hertz, want)) > 1.5 {
			t.Errorf("detuned by %v cents it is at %.3f Hz, want %.3f", side, p.Hertz, want)
		}
	}
	// Contour: bright at first, dull later.
	r := play(map[string]float64{"wave": 0, "bright": 1, "contour": 4, "contour_decay": 0.3}, 0.6)
	if bright, dull := partial(r.heard()[1000:5000], 8*c), partial(r.heard()[20000:24000], 8*c); bright < dull+8 {
		t.Errorf("with the contour the eighth harmonic falls from %.1f to %.1f dB", bright, dull)
	}
	// Resonance lifts what is at the cutoff, here an octave above the pitch.
	flat, sharp := play(map[string]float64{"wave": 0, "bright": 1}, 0.5).heard()[8000:], play(map[string]float64{"wave": 0, "bright": 1, "resonance": 0.8}, 0.5).heard()[8000:]
	if d := partial(sharp, 2*c) - partial(flat, 2*c); d < 8 {
		t.Errorf("resonance lifts the cutoff by %.1f dB", d)
	}
	// Glide: from one note to the next in its time.
	r = play(map[string]float64{"glide": 0.5, "release": 0.01}, 0.5)
	r.source("test_source/pitch").play = steady(1)
	r.forget()
	r.seconds(0.7)
	if got, _ := measure.Pitch(r.heard()[2400:4800], testRate); got < 1.2*c || got > 1.95*c {
		t.Errorf("75 ms into a glide of half a second it is at %.1f Hz", got)
	}
	if got, _ := measure.Pitch(r.heard()[26000:], testRate); math.Abs(measure.Cents(got, 2*c)) > 5 {
		t.Errorf("after the glide it is at %.1f Hz", got)
	}
}

// TestWaveChangesWithoutClick: a voice that sounds is faded for a moment.
func TestWaveChangesWithoutClick(t *testing.T) {
	r := keys(t, 1, map[string]float64{"wave": 2, "root": 110, "bright": 0})
	r.source("test_source/gate").play = steady(10)
	r.seconds(1).forget()
	r.seconds(0.1)
	r.param("voice/v", "wave", 1)
	r.seconds(0.1)
	r.param("voice/v", "wave", 2)
	r.seconds(0.1)
	if db, at := measure.ClickLevel(r.heard(), testRate, clickCorner); db > clickLimit {
		t.Errorf("%.1f dB at %.4f s", db, float64(at)/testRate)
	}
}

// TestRecovers feeds what is not a voltage to the modules of this file and its
// neighbours for a while. Nothing else ever comes out, and without any reset
// they sound as before once it is over.
func TestRecovers(t *testing.T) {
	for _, kind := range []string{"voice", "vca", "noise", "mixer", "reverb", "audio_out", "pod"} {
		s := Spec(kind)
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			life := func(rude bool) *rig {
				r := bench(t, s)
				r.settle()
				r.play(s)
				r.seconds(0.1)
				if rude {
					for i := range s.Inputs {
						r.source(ModuleID(fmt.Sprintf("test_source/s%d", i))).play = func(f int64, c int) float32 {
							return insults[(int(f)/7+3*c+i)%7]
						}
					}
				}
				r.seconds(0.2)
				finiteAll(t, r, s)
				r.play(s)
				if kind != "mixer" && kind != "noise" {
					r.seconds(3) // what has a tail, or a filter of 5 Hz
				}
				r.seconds(0.1).forget()
				r.seconds(0.5)
				finiteAll(t, r, s)
				return r
			}
			want, got := life(false), life(true)
			for i, o := range s.Outputs {
				id := ModuleID(fmt.Sprintf("test_probe/p%d", i))
				if want.c.nodes[id] == nil {
					continue
				}
				for c := range MaxPoly {
					alike(t, fmt.Sprintf("%s channel %d", o.Name, c), want.probe(id).rec[c], got.probe(id).rec[c])
				}
			}
			for c := range want.out {
				alike(t, fmt.Sprintf("device channel %d", c), want.out[c], got.out[c])
			}
		})
	}
}

// TestCVThatRests: a knob that is turned while a resting CV adds to it moves
// as it does alone, and slices do not matter.
func TestCVThatRests(t *testing.T) {
	play := func(chunk int) []float32 {
		r := keys(t, 1, map[string]float64{"wave": 2, "attack": 0.005})
		r.add("test_source/cv", nil).cable("test_source/cv/out_1", "voice/v/level_cv").adopt()
		r.source("test_source/gate").play = steady(10)
		r.source("test_source/cv").play = steady(1)
		r.seconds(1).forget()
		r.input("voice/v", "bright_cv", 2)
		r.chunk = chunk
		at := r.e.frame
		for k, v := range []float32{-6, 0, -12, 3} {
			r.send(r.event(EventParam, "voice/v", "level", 0, v, at+1007*int64(k)+5))
			r.send(r.event(EventParam, "voice/v", "bright", 0, float32(k), at+1007*int64(k)+5))
		}
		r.seconds(0.2)
		return r.heard()
	}
	want := play(64)
	for _, chunk := range []int{1, 7, 100} {
		same(t, fmt.Sprint("in calls of ", chunk), want, play(chunk))
	}
}

// TestTailDoesNotBreatheOn: a note that rings on while its channel plays the
// next one breathes no more; nobody would tell it when to stop.
func TestTailDoesNotBreatheOn(t *testing.T) {
	for allocation, name := range []string{"channel", "rotate"} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).add("voice/v", map[string]float64{"allocation": float64(allocation), "release": 0.1}).add("test_source/gate", nil).add("test_source/breath", nil).add("test_probe/l", nil)
			r.cable("test_source/gate/out_3", "voice/v/gate").cable("test_source/breath/out_3", "voice/v/breath").cable("voice/v/left", "test_probe/l/in").adopt().settle()
			from := r.e.frame
			during := func(on, off int64) func(int64, int) float32 {
				return func(f int64, c int) float32 {
					if f -= from; f >= on && f < off {
						return 10
					}
					return 0
				}
			}
			r.source("test_source/breath").play = during(0, 24000)
			r.source("test_source/gate").play = during(9600, 19200)
			r.seconds(0.3)
			if r.proc("voice/v").(*voice).sounding() == 0 {
				t.Fatal("nothing sounds while it is played")
			}
			r.seconds(4)
			if n := r.proc("voice/v").(*voice).sounding(); n != 0 {
				t.Errorf("%d voices sound seconds after the last gate and breath", n)
			}
		})
	}
}

// TestNothingSoundsOn plays a Voice at random, with cables that grow and
// shrink, knobs that are turned and a panic now and then, and lets go of all:
// after that it is silent, and free.
func TestNothingSoundsOn(t *testing.T) {
	jacks := []string{"gate", "pitch", "breath", "strike", "kind", "load", "tension", "velocity"}
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 1))
			// Of an even seed so few are played that none is stolen in the end.
			channels := 1 + 15*int(seed%2)
			r := newRig(t).add("voice/v", map[string]float64{"release": 0.05, "attack": 0.005, "allocation": float64(seed / 2 % 2)}).add("test_probe/l", nil)
			for _, j := range jacks {
				id := ModuleID("test_source/" + j)
				r.add(id, nil).cable(string(id)+"/"+jackOf(Spec("voice").Inputs[Spec("voice").Input(j)].Kind), "voice/v/"+j)
			}
			r.cable("voice/v/left", "test_probe/l/in").adopt().settle()
			levels := map[string]*[MaxPoly]float32{}
			for _, j := range jacks {
				levels[j] = new([MaxPoly]float32)
				s := r.source(ModuleID("test_source/" + j))
				s.channels, s.level = channels, levels[j]
			}
			for range 400 {
				j := jacks[rnd.IntN(len(jacks))]
				v := &levels[j][rnd.IntN(channels)]
				switch j {
				case "pitch":
					*v = float32(rnd.IntN(24))/12 - 1
				case "tension":
					*v = float32(rnd.IntN(10)) - 5
				case "kind":
					*v = float32(rnd.IntN(12)) * 0.5
				default:
					*v = 10 - *v
				}
				switch rnd.IntN(16) {
				case 0:
					r.param("voice/v", "voices", float32(1+rnd.IntN(MaxPoly)))
				case 1:
					r.source("test_source/gate").channels = 1 + rnd.IntN(channels)
				case 2:
					r.source("test_source/breath").channels = 1 + rnd.IntN(channels)
				case 3:
					r.param("voice/v", "wave", float32(rnd.IntN(len(waves))))
				case 4:
					r.param("voice/v", "sustain", float32(rnd.IntN(3))/2)
				case 5:
					if rnd.IntN(8) == 0 {
						r.send(Event{Kind: EventPanic})
					}
				}
				r.render(1 + rnd.IntN(500))
			}
			for _, j := range jacks {
				*levels[j] = [MaxPoly]float32{}
			}
			r.seconds(9) // longer than a crash loop's strikes
			m := r.proc("voice/v").(*voice)
			if m.active != 0 || m.high != 0 {
				t.Errorf("voices %b and gates %b are still up", m.active, m.high)
			}
			heard := r.heard()
			for _, v := range heard[len(heard)-4800:] {
				if v != 0 {
					t.Fatalf("%g V are still heard", v)
				}
			}
		})
	}
}
