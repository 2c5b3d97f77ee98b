package mapping

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestNext: what is foretold of a Clock comes, at the frame that was told.
func TestNext(t *testing.T) {
	r := emptyRig(t, Config{SampleRate: testRate, Channels: 2, Seed: 1})
	p := &instrument.Patch{Modules: []instrument.Module{
		{ID: "clock/a", Params: map[string]float64{"tempo": 187.3, "beats": 3}},
		{ID: "clock/b", Params: map[string]float64{"tempo": 120, "beats": 4, "ppqn": 0}},
		{ID: "clock/c", Params: map[string]float64{"beats": 2, "ppqn": 0}},
		{ID: "clock/stands", Params: map[string]float64{"run": 0}},
	}, Cables: []instrument.Cable{cable("clock/a/beat", "clock/c/clock")}}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Next(Bar, "", 4, 1); ok {
		t.Error("a bar is foretold before any beat")
	}
	r.run(1)
	if _, ok := r.Next(Bar, "stands", 4, r.frame); ok {
		t.Error("a clock that stands has a next bar")
	}
	if _, ok := r.Next(Now, "", 4, r.frame); ok {
		t.Error("now is a frame to wait for")
	}
	for _, c := range []struct {
		clock       string
		q           Quantum
		phrase      int
		beats, bars int
	}{{"", Bar, 1, 3, 1}, {"b", Beat, 1, 1, 1}, {"b", Phrase, 2, 4, 2}, {"c", Bar, 1, 2, 1}, {"a", Phrase, 3, 3, 3}} {
		for range 7 {
			r.run(0.137)
			at, ok := r.Next(c.q, c.clock, c.phrase, r.frame)
			if !ok || at < r.frame {
				t.Fatalf("%s of %q: %d after %d", c.q, c.clock, at, r.frame)
			}
			first := at
			for r.frame <= at+instrument.BlockSize {
				r.block()
				if left := at - r.frame; left > 0 && left < 2000 {
					// Shortly before it is as good as it gets.
					at, _ = r.Next(c.q, c.clock, c.phrase, r.frame)
				}
			}
			s := r.songs[r.clockNamed(c.clock).ID]
			came := math.Ceil(s.frame - 1e-3)
			if math.Abs(came-float64(at)) > 1 || c.clock != "c" && math.Abs(came-float64(first)) > 1 {
				t.Errorf("%s of %q came at %.0f, foretold for %d, at first %d", c.q, c.clock, came, at, first)
			}
			if c.q != Beat && s.beat != 0 || c.q == Phrase && s.bar%c.phrase != 0 {
				t.Errorf("%s of %q came at bar %d beat %d", c.q, c.clock, s.bar, s.beat)
			}
		}
	}
}

// TestLaunch: cables, modules and knobs of the next scene are there at the
// frame that was asked for, and not before.
func TestLaunch(t *testing.T) {
	var plans []*PlanInput
	applied := map[uint64]int64{}
	knob := int64(0)
	r := emptyRig(t, Config{SampleRate: testRate, Channels: 2, Seed: 1, Recorded: func(in Input) {
		if in.Plan != nil {
			plans = append(plans, in.Plan)
		}
		for _, a := range in.Applied {
			if a.Plan > 0 {
				applied[a.Plan] = a.Frame
			} else if a.Event.Kind == instrument.EventParam {
				knob = a.Frame
			}
		}
	}})
	p := &instrument.Patch{Modules: []instrument.Module{{ID: "noise/n"}, {ID: "vcf/f", Params: map[string]float64{"cutoff": 300}}, {ID: "audio_out/o"}},
		Cables: []instrument.Cable{cable("noise/n/white", "vcf/f/in"), cable("vcf/f/low", "audio_out/o/left")}}
	if r.Load(p) != nil {
		t.Fatal("the patch is refused")
	}
	r.run(0.3)
	next := &instrument.Patch{Modules: []instrument.Module{{ID: "vco/v"}, {ID: "vcf/f", Params: map[string]float64{"cutoff": 900}}, {ID: "audio_out/o"}},
		Cables: []instrument.Cable{cable("vco/v/saw", "vcf/f/in"), cable("vcf/f/low", "audio_out/o/left")}}
	at := r.frame + 1001
	if err := r.Launch(next, at, 0.2); err != nil {
		t.Fatal(err)
	}
	r.run(0.1)
	if got := applied[r.plan]; got != at || knob != at {
		t.Errorf("the plan was taken up at %d and the knob turned at %d, want %d", got, knob, at)
	}
	if last := plans[len(plans)-1]; last.Change.At != at || !last.Change.Launch || last.Change.Crossfade != 0.2 || last.Change.Settled != last.Settled {
		t.Errorf("recorded is %+v", last.Change)
	}
	n := len(plans)
	r.run(1)
	if len(plans) != n+1 || len(plans[n].Change.Ended) == 0 {
		t.Errorf("%d plans after the crossfade ended, want one that does without it", len(plans)-n)
	}
}
