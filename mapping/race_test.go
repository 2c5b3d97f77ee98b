package mapping

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestOnlyTheEngineIsShared renders on one goroutine while another does all
// that a control side does; it is for the race detector. It also proves that
// no fall of a gate is lost on the way.
func TestOnlyTheEngineIsShared(t *testing.T) {
	r := newRig(t)
	var stop atomic.Bool
	var frame atomic.Int64
	frame.Store(r.frame)
	done := make(chan struct{})
	go func() {
		defer close(done)
		out := [][]float32{make([]float32, instrument.BlockSize), make([]float32, instrument.BlockSize)}
		for !stop.Load() {
			r.Engine.Render(out, nil)
			frame.Add(instrument.BlockSize)
		}
	}()
	patches := []*instrument.Patch{stage(), {Modules: []instrument.Module{{ID: "deployment/web"}, {ID: "apiserver/api"}, {ID: "rule/r"}, {ID: "node/stage-1"}}}}
	for i := range 2000 {
		r.frame = frame.Load()
		name := fmt.Sprintf("web-%d", i)
		r.ready(name)
		_ = r.Set("/deployment/web/replicas", float64(i%17), "", "hand", r.frame)
		r.Pump(r.frame)
		tp, _ := r.Topology()
		r.Note(i%16, float64(40+i%40), 100, 0.01, r.frame)
		r.RuleGate(i%16, i%3 == 0, r.frame)
		_, _, _ = r.Value("/deployment/web/error")
		r.gone(name)
		switch i % 200 {
		case 50:
			r.Panic()
		case 100:
			if err := r.Load(patches[i/200%2]); err != nil {
				t.Error(err)
			}
		case 120:
			edited := copyTopology(tp)
			edited.Modules["deployment/web"]["max_surge"] = float64(i % 16)
			r.Adopt(Edit{Topology: edited, Base: tp})
		case 130:
			_ = r.SetMode(Mode(i / 200 % 3))
		case 150:
			r.Cluster()
			r.Show()
		}
	}
	if err := r.Load(stage()); err != nil {
		t.Error(err)
	}
	for len(r.backlog) > 0 {
		r.Pump(frame.Load())
	}
	stop.Store(true)
	<-done
	r.frame = frame.Load()
	r.run(0.2)
	r.wantGates("pods", "")
	r.want("/deployment/web/claim_1", 0)
}
