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
		in := [][]float32{make([]float32, instrument.BlockSize)}
		for !stop.Load() {
			r.Engine.Render(out, in)
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
		// The case, and cables and modules that come and go.
		switch id := instrument.ModuleID(fmt.Sprintf("cv_out/o%d", i/10)); i % 10 {
		case 1:
			_ = r.Add(instrument.Module{ID: id, Text: map[string]string{"jack": "a"}}, "hand")
			_ = r.Add(instrument.Module{ID: "cv_in/i", Text: map[string]string{"jack": "x", "socket": "deployment/web/cpu_cv"}}, "hand")
		case 2:
			_ = r.Plug(cable("deployment/web/error", string(id)+"/in"), "hand")
		case 3:
			r.Sensed([]SensedCable{{Output: "a", Input: "x", Polarity: 1}}, r.frame)
		case 4:
			_ = r.Set(AddressOf(id, "jack"), 0, "b", "hand", 0)
			r.SetSockets(instrument.Sockets{Outputs: map[string]int{"a": i / 10 % 2, "b": 1}, Inputs: map[string]int{"x": 0}})
		case 5:
			r.Sensed(nil, r.frame)
		case 7:
			_ = r.Remove(id, "hand")
		}
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
