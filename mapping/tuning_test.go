package mapping

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestTuningByHand: the name of a tuning that is sent while the patch plays is
// heard at once, without a new plan; one that there is not is refused, and the
// last goes on.
func TestTuningByHand(t *testing.T) {
	s, err := dsp.ParseScale([]byte("two\n2\n410.0\n2/1\n"))
	if err != nil {
		t.Fatal(err)
	}
	own, err := dsp.NewTuning("mine", s, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := NewRack(Config{SampleRate: testRate, Channels: 2})
	p := &instrument.Patch{Modules: []instrument.Module{{ID: "quantizer/q"}}, Tunings: map[string]*dsp.Tuning{"mine": own}}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	out := [][]float32{make([]float32, 64), make([]float32, 64)}
	frame := int64(0)
	run := func() {
		for range 100 {
			r.Engine.Render(out, nil)
			frame += 64
			r.Pump(frame)
		}
	}
	cents := func() float64 {
		v, _, err := r.Value("/quantizer/q/out")
		if err != nil {
			t.Fatal(err)
		}
		return v * 1200
	}
	run()
	if err := r.Set("/quantizer/q/in", 0.33, "", "hand", 0); err != nil {
		t.Fatal(err)
	}
	generation := r.plan
	for _, c := range []struct {
		word string
		want float64
	}{{"equal", 400}, {"just", 386.314}, {"mine", 410}, {"meantone", 386.314}, {"bohlen-pierce", 438.913}} {
		if err := r.Set("/quantizer/q/tuning", 0, c.word, "hand", 0); err != nil {
			t.Fatal(err)
		}
		run()
		if got := cents(); math.Abs(got-c.want) > 0.01 {
			t.Errorf("%s: 396 cents become %.3f, want %.3f", c.word, got, c.want)
		}
	}
	err = r.Set("/quantizer/q/tuning", 0, "nowhere", "hand", 0)
	if !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), `no tuning "nowhere"; expected one of mine of the scene, equal, just`) {
		t.Errorf("a tuning that there is not: %v", err)
	}
	run()
	if got := cents(); math.Abs(got-438.913) > 0.01 || r.plan != generation {
		t.Errorf("after it 396 cents become %.3f; generation %d, was %d", got, r.plan, generation)
	}
}
