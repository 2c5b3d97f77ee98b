package kernel

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const rate = 48000

// twins runs the same play on the twin in Go and on each version in assembly
// that this machine has.
func twins(t *testing.T, play func(scalar bool) []float32) {
	t.Helper()
	want := play(true)
	if !fast {
		t.Skip("this processor has no AVX2; the twin in Go is what plays")
	}
	was := wide
	defer func() { wide = was }()
	for _, w := range []bool{false, true} {
		if w && !was {
			continue
		}
		wide = w
		got := play(false)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("AVX-512 %v: sample %d is %v, that of the twin in Go %v", w, i, got[i], want[i])
			}
		}
	}
}

// random plays everything at once, with pieces of random lengths.
func random(shape dsp.Waveform, periods int, cut bool) func(scalar bool) []float32 {
	return func(scalar bool) []float32 {
		var v Voices
		v.Init(rate)
		v.scalar = scalar
		v.SetWaveform(shape)
		r := rand.New(rand.NewPCG(1, uint64(shape)))
		pieces := rand.New(rand.NewPCG(3, 4))
		var out []float32
		for range periods {
			for l := range Lanes {
				for o := range 2 {
					v.SetHertz(l, o, float32(20+r.IntN(1<<(5+r.IntN(11)))))
				}
				switch r.IntN(40) {
				case 7:
					v.Stop(l)
				case 8:
					v.SetLevel(l, 0.5, 0.01)
				case 0:
					v.SetEnvelope(l, float32(r.Float64()*0.01), float32(r.Float64()*0.02), float32(r.Float64()), float32(r.Float64()*0.05))
				case 1:
					v.SetPhase(l, r.IntN(2), float32(r.Float64()))
				case 2:
					v.Gate(l, true)
				case 3:
					v.Gate(l, false)
				case 4, 9, 10:
					v.SetPan(l, float32(r.Float64()), float32(r.Float64()))
				case 5:
					v.SetFilter(l, float32(20+r.IntN(1<<(5+r.IntN(10)))), float32(1+r.IntN(30)))
				case 6:
					v.Start(l)
					v.SetLevel(l, float32(r.Float64()), 0.001)
				}
			}
			extra := v.Extra()
			mask := uint16(r.Uint32() & r.Uint32() & r.Uint32())
			for f := range extra {
				for l := range extra[f] {
					if mask>>l&1 != 0 {
						extra[f][l] = float32(r.Float64() - 0.5)
					}
				}
			}
			v.HasExtra(mask)
			v.Begin()
			// Gates in the middle of a period are at the same frame however
			// it is cut.
			edge, lane := r.IntN(Period), r.IntN(Lanes)
			for v.Left() > 0 {
				at := Period - v.Left()
				if at == edge {
					v.Gate(lane, r.IntN(2) == 0)
				}
				n := v.Left()
				if at < edge {
					n = edge - at
				}
				if cut {
					n = 1 + pieces.IntN(n)
				}
				left, right := make([]float32, n), make([]float32, n)
				v.Process(left, right)
				out = append(append(out, left...), right...)
			}
		}
		return out
	}
}

func TestTwinsAreEqual(t *testing.T) {
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.SineWave} {
		t.Run(shape.String(), func(t *testing.T) {
			play := random(shape, 3000, true)
			peak := 0.0
			for _, x := range play(true) {
				peak = max(peak, math.Abs(float64(x)))
			}
			if !(peak > 1 && peak < 10000) {
				t.Fatalf("a random play reaches %v V", peak)
			}
			twins(t, play)
		})
	}
}

// render plays a bank of one voice with the given pieces of each period.
func render(v *Voices, frames int, pieces ...int) (left, right []float32) {
	left, right = make([]float32, frames), make([]float32, frames)
	for at, i := 0, 0; at < frames; {
		if v.Left() == 0 {
			v.Begin()
		}
		n := min(v.Left(), frames-at)
		if len(pieces) > 0 {
			n = min(n, pieces[i%len(pieces)])
			i++
		}
		v.Process(left[at:at+n], right[at:at+n])
		at += n
	}
	return left, right
}

// TestVoiceIsThatOfDSP plays one voice beside dsp.Oscillator and dsp.SVF,
// sample by sample.
func TestVoiceIsThatOfDSP(t *testing.T) {
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.SineWave} {
		var v Voices
		v.Init(rate)
		v.SetWaveform(shape)
		const lane = 5
		hertz := [2]float32{441.3, 663.7}
		for o := range hertz {
			v.SetHertz(lane, o, hertz[o])
			v.SetPhase(lane, o, 0.25*float32(o))
		}
		v.SetFilter(lane, 3000, 5)
		v.SetPan(lane, 1, 0.5)
		v.Start(lane)
		v.SetLevel(lane, 1, 0.01)
		got, right := render(&v, 4800)

		var osc [2]dsp.Oscillator
		var filter dsp.SVF
		filter.Init(rate)
		filter.SetQ(5)
		filter.SetHertz(3000)
		for o := range osc {
			osc[o].Init(rate)
			osc[o].SetWaveform(shape)
			// Already under way when the voice starts.
			osc[o].SetPhase(0.25*float64(o) - float64(hertz[o])*64/rate)
			for range 64 + Latency {
				osc[o].Next(hertz[o])
			}
		}
		level := float32(0)
		for i := range got {
			x := filter.LowPass(0.5 * (osc[0].Next(hertz[0]) + osc[1].Next(hertz[1])))
			level += 0.01 * (1 - level)
			if d := math.Abs(float64(got[i] - x*level)); d > 1e-4 {
				t.Fatalf("%v: frame %d is %v V, with dsp.Oscillator and dsp.SVF %v V", shape, i, got[i], x*level)
			}
			if d := math.Abs(float64(right[i] - 0.5*got[i])); d > 1e-6 {
				t.Fatalf("%v: frame %d is %v V on the right, expected half of %v V", shape, i, right[i], got[i])
			}
		}
	}
}

func TestPiecesChangeNothing(t *testing.T) {
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.SineWave} {
		var want [2][]float32
		for _, pieces := range [][]int{{16}, {1}, {3, 5, 7}, {15, 1, 2}} {
			var v Voices
			v.Init(rate)
			v.SetWaveform(shape)
			chord(&v, Lanes, 0, Lanes, 60, 4000)
			l, r := render(&v, 480, pieces...)
			for lane := range 8 {
				v.SetHertz(lane, 0, 1234.5)
				v.SetPan(lane, 0.2, 0.9)
				v.SetCutoff(lane, 700)
				v.Gate(lane, false)
			}
			l2, r2 := render(&v, 4800, pieces...)
			l, r = append(l, l2...), append(r, r2...)
			if want[0] == nil {
				want = [2][]float32{l, r}
				continue
			}
			for i := range l {
				if l[i] != want[0][i] || r[i] != want[1][i] {
					t.Fatalf("%v: cut into %v, frame %d is %v, %v; whole it is %v, %v", shape, pieces, i, l[i], r[i], want[0][i], want[1][i])
				}
			}
		}
	}
}

// TestStartAnywhereInAPeriod: a note sounds the same wherever in a control
// period it begins.
func TestStartAnywhereInAPeriod(t *testing.T) {
	var want []float32
	for at := range 3 * Period {
		var v Voices
		v.Init(rate)
		for o := range 2 {
			v.SetHertz(3, o, 1871.3)
			v.SetPhase(3, o, 0.9*float32(o))
		}
		render(&v, at)
		v.Gate(3, true)
		got, _ := render(&v, 2000)
		if want == nil {
			want = got
		}
		for i := range got {
			if math.Abs(float64(got[i]-want[i])) > 2e-5 {
				t.Fatalf("begun at frame %d, frame %d is %v V, begun at 0 it is %v V", at, i, got[i], want[i])
			}
		}
	}
}
