package dsp_test

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// TestCrossing: where a sine rises through 0 V is known, and in slices or not
// it is the same.
func TestCrossing(t *testing.T) {
	for _, hertz := range []float64{31.7, 440.3, 3000.7, 9000.1} {
		var whole, cut dsp.Crossing
		var in, ago, one, got [dsp.VCOBlock]float32
		worst, count := 0.0, 0
		for block := range 200 {
			for i := range in {
				in[i] = float32(5 * math.Sin(2*math.Pi*hertz*float64(block*len(in)+i)/rate))
			}
			whole.Process(&ago, &in, len(in))
			for i, v := range in {
				one[0] = v
				cut.Process(&got, &one, 1)
				if got[0] != ago[i] {
					t.Fatalf("%v Hz: alone %v, in a block %v", hertz, got[0], ago[i])
				}
			}
			for i, a := range ago {
				if a < 0 || block == 0 {
					continue
				}
				at := float64(block*len(in)+i) - dsp.CrossingLatency - float64(a)
				cycles := at * hertz / rate
				worst = max(worst, math.Abs(cycles-math.Round(cycles))*rate/hertz)
				count++
			}
		}
		if want := hertz * 199 * dsp.VCOBlock / rate; math.Abs(float64(count)-want) > 2 {
			t.Errorf("%v Hz: %d crossings, expected %.0f", hertz, count, want)
		}
		t.Logf("%v Hz: within %.1e samples", hertz, worst)
		if worst > 2e-4 {
			t.Errorf("%v Hz: off by %v samples", hertz, worst)
		}
	}
}
