package instrument

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
)

// noisy returns a voltage with Gaussian noise, in volts rms.
func noisy(volts, rms float64, seed uint64) func(int64, int) float32 {
	rnd := rand.New(rand.NewPCG(seed, 20))
	return func(int64, int) float32 { return float32(volts + rms*rnd.NormFloat64()) }
}

// noiseSeconds is how long noise is played at each boundary.
func noiseSeconds() float64 {
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		return 600
	}
	return 20
}

// TestNoiseDoesNotFlap puts a voltage with 20 mV rms of noise on the CV of the
// replicas, at every boundary there is: between two numbers, and where the
// hysteresis of either side ends. It is told once at most.
func TestNoiseDoesNotFlap(t *testing.T) {
	for _, share := range []float64{0.5, 1 - wishHysteresis, wishHysteresis, 0.4, 0.6} {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			t.Parallel()
			r := newRig(t)
			for k := range MaxReplicas {
				n := fmt.Sprint(k)
				r.add(ModuleID("test_source/s"+n), nil).add(ModuleID("deployment/d"+n), map[string]float64{"replicas": 0})
				r.cable("test_source/s"+n+"/out_1", "deployment/d"+n+"/replicas_cv")
			}
			r.adopt().settle()
			for k := range MaxReplicas {
				r.source(ModuleID(fmt.Sprintf("test_source/s%d", k))).play = steady(float32(k))
			}
			r.seconds(0.2)
			count := map[uint32]int{}
			hear := func() {
				for ev := (Event{}); r.e.Outbox.Pop(&ev); {
					if ev.Kind == EventWish && Spec("deployment").Params[ev.Index].Name == "replicas" {
						count[ev.Module]++
					}
				}
			}
			hear()
			clear(count)
			for k := range MaxReplicas {
				r.source(ModuleID(fmt.Sprintf("test_source/s%d", k))).play = noisy(float64(k)+share, 0.02, uint64(k))
			}
			for range int(noiseSeconds()) {
				r.seconds(1)
				r.forget()
				hear()
			}
			changed := 0
			for k := range MaxReplicas {
				n := count[r.c.Handle(ModuleID(fmt.Sprintf("deployment/d%d", k)))]
				if changed += n; n > 1 {
					t.Errorf("%d changes about %.2f V in %v s", n, float64(k)+share, noiseSeconds())
				}
			}
			t.Logf("%d of %d changed", changed, MaxReplicas)
		})
	}
}

// TestWholeKnobsHold: whole numbers of sound modules, which are rounded in the
// engine, hold as well, and go where a clean voltage says.
func TestWholeKnobsHold(t *testing.T) {
	r := newRig(t).add("test_source/s", nil).add("euclid/e", map[string]float64{"pulses": 0, "pulses_att": 0.625}).cable("test_source/s/out_1", "euclid/e/pulses_cv").adopt().settle()
	at := func() float32 { return r.c.nodes["euclid/e"].params[Spec("euclid").Param("pulses")].buf[0] }
	for k := range 10 {
		for _, edge := range []float64{0.5, 0.5 - wholeBand, 0.5 + wholeBand} {
			r.source("test_source/s").play = steady(float32(k))
			r.seconds(0.02)
			if v := at(); v != float32(k) {
				t.Fatalf("%d V is %v pulses", k, v)
			}
			r.source("test_source/s").play = noisy(float64(k)+edge, 0.02, uint64(k))
			changes, was := 0, at()
			for range int(noiseSeconds() / 3 * testRate / BlockSize) {
				r.render(BlockSize)
				if v := at(); v != was {
					changes, was = changes+1, v
				}
			}
			r.forget()
			if changes > 1 {
				t.Errorf("%d changes about %.1f V", changes, float64(k)+edge)
			}
		}
	}
}
