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
					v.SetHertz(l, o, float32(20*math.Exp2(r.Float64()*11)))
				}
				switch r.IntN(40) {
				case 0:
					v.SetEnvelope(l, float32(r.Float64()*0.01), float32(r.Float64()*0.02), float32(r.Float64()), float32(r.Float64()*0.05))
				case 1:
					v.SetPhase(l, r.IntN(2), float32(r.Float64()))
				case 2:
					v.Gate(l, true)
				case 3:
					v.Gate(l, false)
				case 4:
					v.SetPan(l, float32(r.Float64()), float32(r.Float64()))
				case 5:
					v.SetFilter(l, float32(20*math.Exp2(r.Float64()*10)), float32(0.5+r.Float64()*30))
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
