package kernel

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp"
)

func TestQuick(t *testing.T) {
	if os.Getenv("QUICK") == "" {
		t.Skip()
	}
	was := wide
	const voices = 200
	kinds := []string{"avx2", "avx512", "begin", "run2", "run512", "full", "sum"}
	best := map[string]time.Duration{}
	for range 15 {
		for _, k := range kinds {
			wide = was && k != "avx2" && k != "run2"
			banks := make([]Voices, (voices+Lanes-1)/Lanes)
			for i := range banks {
				banks[i].Init(rate)
				chord(&banks[i], min(Lanes, voices-i*Lanes), i*Lanes, voices, 65, 1047)
			}
			var s Sum
			var left, right [Period]float32
			d := cost(t, func() {
				for range 500 {
					for i := range banks {
						v := &banks[i]
						switch k {
						case "avx2", "avx512":
							v.Begin()
							v.AddTo(&s, Period)
						case "begin":
							v.Begin()
						case "full":
							v.filters, v.gains, v.pitches = 2, 2, 1
							v.Begin()
							v.AddTo(&s, Period)
						case "run2", "run512":
							v.pos = 0
							v.AddTo(&s, Period)
						}
					}
					if k == "avx2" || k == "avx512" || k == "sum" {
						s.Stereo(left[:], right[:])
					}
				}
			})
			if b, ok := best[k]; !ok || d < b {
				best[k] = d
			}
		}
	}
	for _, k := range kinds {
		fmt.Printf("%-8s %.3f ns\n", k, float64(best[k].Nanoseconds())/500/Period/voices)
	}
	_ = dsp.Saw
}
