package kernel

import (
	"os"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/dsp/measure/scsynth"
)

// TestBenchVoices prints what a voice costs beside one of scsynth's, in turns
// in the same run.
func TestBenchVoices(t *testing.T) {
	if os.Getenv("K8S_SYNTH_BENCH") == "" {
		t.Skip("a comparison of minutes; K8S_SYNTH_BENCH=1 runs it")
	}
	const voices, seconds, turns = 200, 10, 5
	play := notes(voices, seconds)
	left, right := make([]float32, seconds*rate), make([]float32, seconds*rate)
	was := wide
	defer func() { wide = was }()
	nanos := map[string][]float64{}
	add := func(name string, n float64) { nanos[name] = append(nanos[name], n) }
	const samples = voices * seconds * rate
	for range turns {
		one := peer(t, peerVoices(scsynth.Control, play[:1], seconds), seconds, 2)
		for name, r := range map[string]scsynth.Rate{"scsynth": scsynth.Control, "scsynth, EnvGen.ar": scsynth.Audio} {
			all := peer(t, peerVoices(r, play, seconds), seconds, 2)
			add(name, float64((all.User-one.User).Nanoseconds())/(samples*(voices-1)/voices))
			if p := measure.Peak(all.Channels[0]); p < 0.1 {
				t.Fatalf("%s played nothing: its peak is %v", name, p)
			}
		}
		for _, name := range []string{"AVX-512", "AVX2"} {
			if !fast || name == "AVX-512" && !was {
				continue
			}
			wide = name == "AVX-512"
			for _, moving := range []bool{false, true} {
				clear(left)
				clear(right)
				d := ourVoices(t, play, seconds, moving, left, right)
				if moving {
					name += ", all moving"
				}
				add(name, float64(d.Nanoseconds())/samples)
			}
		}
	}
	median := func(name string) float64 {
		x := nanos[name]
		slices.Sort(x)
		return x[len(x)/2]
	}
	base := median("scsynth")
	for name := range nanos {
		m := median(name)
		t.Logf("%-22s %6.3f ns  %6.1f x  %6.0f voices per core", name, m, base/m, 1e9/rate/m)
	}
}
