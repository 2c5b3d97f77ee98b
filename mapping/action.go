package mapping

import (
	"fmt"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// gate takes what the engine says of a gate: the edge of a watched input, or
// that a module has acted on one.
func (r *Rack) gate(id instrument.ModuleID, input int, high bool, frame int64) {
	spec := instrument.Spec(id.Kind())
	if input >= len(spec.Inputs) {
		return
	}
	jack := spec.Inputs[input].Name
	a := AddressOf(id, jack)
	if spec.Inputs[input].Watch {
		r.gates[a] = high
	}
	switch kind := id.Kind(); {
	case kind == KindPod && jack == "lifecycle", kind == KindCronJob && jack == "suspend_gate":
		r.dirty = true
	case kind == KindNamespace && jack == "power_gate":
		r.dirty = true
		r.power(frame)
	case kind == KindAPIServer && jack == "grid":
		if high {
			r.board.grid.step(frame)
		}
		return // a clock is no news to a surface
	case kind == KindNode && jack == "cordon_gate":
		r.settings.moved(id, "cordon")
	case high && kind == KindDeployment && jack == "restart":
		r.count(id, "restarts")
	case high && kind == KindJob && jack == "start":
		r.count(id, "runs")
	case high && kind == KindCronJob && jack == "run":
		r.act(Action{Verb: VerbRun, Object: r.object(id)})
	case high && kind == KindNode && jack == "drain":
		r.act(Action{Verb: VerbDrain, Object: Object{Kind: KindNode, Name: nodeOf(r.patch.Module(id))}})
	case high && kind == KindEtcd && jack == "write":
		r.act(Action{Verb: VerbWrite, Object: Object{Kind: KindEtcd, Name: fmt.Sprintf("key-%.0f", r.Effective(id, "key"))}})
	case high && kind == KindService && jack == "request":
		// What comes down an Ingress's route was requested there.
		if c := r.cable(id, jack); r.mode == Real && (c == nil || c.From.Module.Kind() != KindIngress) {
			r.act(Action{Verb: VerbRequest, Object: r.object(id)})
		}
	case high && kind == KindIngress && jack == "request" && r.mode == Real:
		r.act(Action{Verb: VerbRequest, Object: r.object(id), Path: r.path(id)})
	case high && kind == kindController && jack == "reconcile":
		r.reconcile(id, frame)
	}
	if spec.Inputs[input].Watch {
		r.changed(a, float64(gateVolts(high)), "", "")
	}
}

// object names the object of a module.
func (r *Rack) object(id instrument.ModuleID) Object {
	return Object{Kind: id.Kind(), Namespace: r.cfg.Namespace, Name: id.Name()}
}

// act asks the cluster for something, unless the rack only listens.
func (r *Rack) act(a Action) {
	if r.mode != ListenOnly && r.Acted != nil {
		r.Acted(a)
	}
}

// count counts a Counter param up: each new count asks the cluster for
// something once.
func (r *Rack) count(id instrument.ModuleID, param string) {
	if r.mode == ListenOnly {
		return
	}
	spec := instrument.Spec(id.Kind())
	p := &spec.Params[spec.Param(param)]
	n := r.patch.Module(id).Value(param) + 1
	if n > p.Max {
		n = 1 // any other number than the last will do; 0 is never
	}
	r.put(id, param, n, "")
}

// unservedPath is the path of a request for which no route is chosen.
const unservedPath = "/-/not-found"

// path returns the path that an Ingress's path jack chose.
func (r *Rack) path(id instrument.ModuleID) string {
	if i := instrument.PathAt(float32(r.samples[AddressOf(id, "path")])); i >= 0 {
		if path := r.patch.Module(id).Word(pathParams[i]); path != "" {
			return path
		}
	}
	return unservedPath
}
