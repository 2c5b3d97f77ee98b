package kernel

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// each calls f for the twin in Go and for each version in assembly.
func each(t *testing.T, f func(t *testing.T, v *Voices)) {
	was := wide
	defer func() { wide = was }()
	for _, kind := range []string{"Go", "AVX2", "AVX-512"} {
		if kind != "Go" && !fast || kind == "AVX-512" && !was {
			continue
		}
		t.Run(kind, func(t *testing.T) {
			wide = kind == "AVX-512"
			var v Voices
			v.Init(rate)
			v.scalar = kind == "Go"
			f(t, &v)
		})
	}
}

func TestNothingAllocates(t *testing.T) {
	each(t, func(t *testing.T, v *Voices) {
		var left, right [Period]float32
		var s Sum
		n := testing.AllocsPerRun(100, func() {
			for l := range Lanes {
				v.SetHertz(l, 0, 100)
				v.SetCutoff(l, 1000)
				v.SetPan(l, 0.5, 0.5)
				v.Gate(l, true)
			}
			v.HasExtra(3)
			v.Begin()
			v.Process(left[:5], right[:5])
			v.AddTo(&s, 11)
			s.Stereo(left[5:], right[5:])
			v.Gate(3, false)
			v.SetWaveform(dsp.Triangle)
			v.SetWaveform(dsp.Saw)
			v.Reset()
		})
		if n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

// TestNonsenseIsBounded: whatever a knob is set to, what comes out is finite
// and bounded, and a sane setting sounds again.
func TestNonsenseIsBounded(t *testing.T) {
	nonsense := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 0, -1}
	each(t, func(t *testing.T, v *Voices) {
		for _, x := range nonsense {
			for k, set := range []func(){
				func() { v.SetHertz(1, 0, x) }, func() { v.SetFilter(1, x, 2) }, func() { v.SetFilter(1, 1000, x) },
				func() { v.SetLevel(1, x, 0.1) }, func() { v.SetLevel(1, 1, x) }, func() { v.SetPan(1, x, x) },
				func() { v.SetMix(1, x, x) }, func() { v.SetPhase(1, 0, x) },
				func() { v.SetEnvelope(1, x, x, x, x); v.Gate(1, true) },
			} {
				v.Init(rate)
				sane := func() {
					v.SetHertz(1, 0, 100)
					v.SetHertz(1, 1, 101)
					v.SetMix(1, 2.5, 2.5)
					v.SetFilter(1, 5000, 1)
					v.SetPan(1, 0.7, 0.7)
					v.SetLevel(1, 1, 0.01)
				}
				sane()
				v.Start(1)
				v.SetLevel(1, 1, 0.01)
				render(v, 100)
				set()
				left, right := render(v, 4800)
				for i := range left {
					if !(math.Abs(float64(left[i])) < 20000 && math.Abs(float64(right[i])) < 20000) {
						t.Fatalf("setting %d to %v: frame %d is %v, %v", k, x, i, left[i], right[i])
					}
				}
				v.Start(1)
				sane()
				left, _ = render(v, 4800)
				peak := float32(0)
				for _, y := range left[4000:] {
					peak = max(peak, y)
				}
				if !(peak > 1 && peak < 10) {
					t.Errorf("setting %d to %v and back leaves a peak of %v V", k, x, peak)
				}
			}
		}
	})
}

// TestVoicesEnd: a voice that fades out ends, is silent and leaves nothing
// behind, denormal numbers least of all.
func TestVoicesEnd(t *testing.T) {
	each(t, func(t *testing.T, v *Voices) {
		for l := range Lanes {
			v.SetHertz(l, 0, 50*float32(l))
			v.SetHertz(l, 1, 0)
			v.SetFilter(l, 20*float32(l+1), 100)
			v.SetEnvelope(l, 0.001, 0.1, 0.5, 0.01*float32(l+1))
			v.Gate(l, true)
		}
		render(v, 4800)
		for l := range Lanes {
			v.Gate(l, false)
		}
		if met, known := measure.Denormals(func() { render(v, rate) }); known && met {
			t.Error("the processor met a denormal number")
		}
		for l := range Lanes {
			if v.Sounds(l) {
				t.Errorf("voice %d still sounds, at level %v", l, v.Level(l))
			}
		}
		left, right := render(v, 480)
		for i := range left {
			if left[i] != 0 || right[i] != 0 {
				t.Fatalf("frame %d after the end is %v, %v", i, left[i], right[i])
			}
		}
		if v.bank.ring != [Lanes][rowSize]float32{} {
			t.Error("samples are still under way")
		}
	})
}

// TestEnvelopeTimes: attack, decay and release take their times, to 1 %, and
// are those of dsp.ADSR.
func TestEnvelopeTimes(t *testing.T) {
	each(t, func(t *testing.T, v *Voices) {
		var e dsp.ADSR
		e.Init(rate)
		e.Set(0.05, 0.3, 6, 0.2)
		v.SetEnvelope(0, 0.05, 0.3, 0.6, 0.2)
		v.Gate(0, true)
		worst := 0.0
		for i := range rate {
			if i == rate/2 {
				v.Gate(0, false)
			}
			render(v, 1)
			want := float64(e.Next(i < rate/2)) / 10
			if d := math.Abs(float64(v.Level(0)) - want); d > worst {
				worst = d
			}
		}
		if worst > 2e-3 {
			t.Errorf("the level is off that of dsp.ADSR by up to %v", worst)
		}
	})
}

// TestExtra: what joins a voice is heard at its place and nowhere else.
func TestExtra(t *testing.T) {
	each(t, func(t *testing.T, v *Voices) {
		v.SetPan(2, 0.25, 0.75)
		v.Begin()
		for f := range Period {
			v.Extra()[f][2] = float32(f)
		}
		v.HasExtra(1 << 2)
		var left, right [Period]float32
		v.Process(left[:], right[:])
		for f := range Period {
			if left[f] != 0.25*float32(f) || right[f] != 0.75*float32(f) {
				t.Fatalf("frame %d is %v, %v", f, left[f], right[f])
			}
		}
		v.HasExtra(0)
		v.Begin()
		v.Process(left[:], right[:])
		if left[5] != 0.25*5 || v.Extra()[5][2] != 0 {
			t.Error("an extra that is over is still heard")
		}
	})
}
