package kernel

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// chord starts voices of a bank an even number of steps apart.
func chord(v *Voices, voices, first, total int, low, high float64) {
	for l := range voices {
		hz := low * math.Pow(high/low, float64(first+l)/float64(max(1, total-1)))
		v.SetHertz(l, 0, float32(hz))
		v.SetHertz(l, 1, float32(hz*1.003))
		v.SetPhase(l, 0, float32(l)*0.37)
		v.SetPhase(l, 1, float32(l)*0.61)
		v.SetFilter(l, float32(min(4*hz, 12000)), 4)
		v.Gate(l, true)
	}
}

func BenchmarkVoices(b *testing.B) {
	was := wide
	defer func() { wide = was }()
	for _, kind := range []string{"scalar", "avx2", "avx512"} {
		if kind != "scalar" && !fast || kind == "avx512" && !was {
			continue
		}
		for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Triangle, dsp.SineWave} {
			for _, voices := range []int{1, 4, 16, 200} {
				if voices == 200 && shape != dsp.Saw {
					continue
				}
				b.Run(fmt.Sprintf("%s/%v/%d", kind, shape, voices), func(b *testing.B) {
					banks := make([]Voices, (voices+Lanes-1)/Lanes)
					for i := range banks {
						banks[i].Init(rate)
						banks[i].scalar = kind == "scalar"
						banks[i].SetWaveform(shape)
						chord(&banks[i], min(Lanes, voices-i*Lanes), i*Lanes, voices, 65, 1047)
					}
					wide = kind == "avx512"
					var s Sum
					var left, right [Period]float32
					for b.Loop() {
						for i := range banks {
							banks[i].Begin()
							banks[i].AddTo(&s, Period)
						}
						s.Stereo(left[:], right[:])
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/Period/float64(voices), "ns/voice-sample")
				})
			}
		}
	}
}
