package mapping

import (
	"reflect"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// driven tells whether a CV adds to a knob. An autoscaler's hand does not add:
// it takes the knob away.
func (r *Rack) driven(id instrument.ModuleID, param string) bool {
	jack := param + "_cv"
	if spec := instrument.Spec(id.Kind()); spec == nil || spec.Input(jack) < 0 {
		return false
	}
	if c := r.cable(id, jack); c != nil {
		return !scales(c)
	}
	return r.inputs[AddressOf(id, jack)] != 0
}

// scales tells whether a cable is an autoscaler's hand on a Deployment.
func scales(c *instrument.Cable) bool {
	return c.From.Module.Kind() == KindHPA && c.From.Jack == "scale"
}

// high tells whether a watched input is high. What is plugged in and has not
// risen since the engine plays the patch is low.
func (r *Rack) high(id instrument.ModuleID, jack string) bool {
	a := AddressOf(id, jack)
	if _, ok := r.unclaimed[a]; ok {
		return false
	}
	if v, ok := r.gates[a]; ok {
		return v
	}
	if r.settled && r.cable(id, jack) != nil {
		return false
	}
	if v, ok := r.inputs[a]; ok {
		return v > 1
	}
	spec := instrument.Spec(id.Kind())
	i := spec.Input(jack)
	return i >= 0 && spec.Inputs[i].Normal > 1
}

// effective returns what a param came to with CV and gates, and whether that
// may be something else than where it stands.
func (r *Rack) effective(id instrument.ModuleID, param string) (float64, bool) {
	m := r.patch.Module(id)
	if m == nil {
		return 0, false
	}
	truth := func(on bool) (float64, bool) {
		if on {
			return 1, true
		}
		return 0, true
	}
	knob := m.Value(param)
	switch kind := id.Kind(); {
	case kind == KindPod && param == "hold":
		if _, ok := r.claimed[id]; ok {
			return 0, true // a replica is held by its Deployment
		}
		return truth(knob != 0 || r.high(id, "lifecycle"))
	case kind == KindNode && param == "cordon":
		return truth(knob != 0 || r.high(id, "cordon_gate"))
	case kind == KindCronJob && param == "suspend":
		return truth(knob != 0 || r.high(id, "suspend_gate"))
	case kind == KindNamespace && param == "power":
		return truth(knob != 0 && r.high(id, "power_gate"))
	}
	v, ok := r.came[AddressOf(id, param)]
	return v, ok
}

// Effective returns what a param came to with its CV and gates; where nothing
// adds to it that is where it stands.
func (r *Rack) Effective(id instrument.ModuleID, param string) float64 {
	if v, ok := r.effective(id, param); ok {
		return v
	}
	if m := r.patch.Module(id); m != nil {
		return m.Value(param)
	}
	return 0
}

// cameTo takes what the engine says of a knob with its CV.
func (r *Rack) cameTo(id instrument.ModuleID, index int, value float64, frame int64) {
	spec := instrument.Spec(id.Kind())
	if index >= len(spec.Params) || !r.driven(id, spec.Params[index].Name) {
		return // Set has told of it, and may have told of a newer one since
	}
	p := &spec.Params[index]
	a := AddressOf(id, p.Name)
	v := p.Clamp(value)
	if old, ok := r.came[a]; ok && old == v {
		return
	}
	r.came[a] = v
	// The knob has moved; all that it shows is due already, also what is in time
	// with a beat between then and now.
	r.due = max(frame, r.pumped)
	r.moved(id, p.Name, frame)
	r.due = 0
}

// moved takes over that a param, or what it came to, is another.
func (r *Rack) moved(id instrument.ModuleID, param string, frame int64) {
	spec := instrument.Spec(id.Kind())
	p := &spec.Params[spec.Param(param)]
	switch kind := id.Kind(); {
	case kind == KindDeployment && param == "replicas":
		r.wish(id, frame)
	case kind == KindNamespace && param == "power":
		r.power(frame)
	case kind == KindJob && param == "completions":
		r.board.showObject(string(id), r.board.panels[string(id)], r.board.clock(frame))
	case id.Kind() == KindAPIServer && param == "timing":
		r.setTiming()
	case isMode(id, param):
		r.setMode(Mode(r.patch.Module(id).Value(param)), frame)
	case kind == kindController && param == "law":
		if c := r.programs[id]; c != nil {
			c.begun = false
		}
	case kind == kindMIDIIn, kind == kindMIDIOut:
		r.midiTurned(id)
	}
	if p.Cluster {
		r.dirty = true
	}
	if p.Live {
		r.settings.moved(id, param)
	}
}

// rewrote takes over that a word is another.
func (r *Rack) rewrote(id instrument.ModuleID, param string) {
	switch {
	case id.Kind() == kindController && param == "program":
		if p, err := r.compileProgram(r.patch.Module(id).Word(param)); err == nil {
			r.programs[id] = p
		}
	case id.Kind() == kindController && param == "object", id.Kind() == KindNode && param == "node", id.Kind() == KindIngress:
		r.board.wire(r.patch, r.compiler.Handle, r.board.clock(r.meters.Frame))
		r.settings.restless = true
	case id.Kind() == kindMIDIIn, id.Kind() == kindMIDIOut:
		r.midiTurned(id)
	}
	spec := instrument.Spec(id.Kind())
	if spec.Params[spec.Param(param)].Cluster {
		r.dirty = true
	}
}

// wish tells the board what knob and CV of a Deployment came to. Without a CV
// the knob is the wish, and the cluster hears of it at once, not a constant
// latency later.
func (r *Rack) wish(id instrument.ModuleID, frame int64) {
	// What is due already is at once, not late.
	due := r.due
	r.due = max(due, r.meters.Frame)
	r.board.wished(id.Name(), int(r.Effective(id, "replicas")), max(frame, r.meters.Frame))
	r.due = due
	r.dirty = true
}

// power tells the board whether the case has power.
func (r *Rack) power(frame int64) {
	on := true
	for i := range r.patch.Modules {
		if id := r.patch.Modules[i].ID; id.Kind() == KindNamespace && r.Effective(id, "power") == 0 {
			on = false
		}
	}
	due := r.due
	r.due = max(due, r.meters.Frame)
	r.board.power(on, max(frame, r.meters.Frame))
	r.due = due
}

// Mode is how requests travel, and whether anything is written: the position
// of the API Server's mode switch.
type Mode uint8

const (
	Simulated  Mode = iota // requests are struck by the panels
	Real                   // requests are HTTP requests
	ListenOnly             // nothing is written, and nothing is asked of the cluster
)

// isMode tells whether a param is the switch of the mode.
func isMode(id instrument.ModuleID, param string) bool {
	return id.Kind() == KindAPIServer && param == "mode"
}

// setTiming takes over whether the scene is played in time, and whether there
// is a clock to be in time with. There is one cluster: the first API Server
// says.
func (r *Rack) setTiming() {
	for i := range r.patch.Modules {
		m := &r.patch.Modules[i]
		if m.ID.Kind() != KindAPIServer {
			continue
		}
		r.board.grid.inTime = m.Value("timing") != 0
		if r.cable(m.ID, "grid") == nil {
			r.board.grid.forget()
		}
		return
	}
	r.board.grid.forget()
}

// Mode returns the mode in which the rack plays.
func (r *Rack) Mode() Mode { return r.mode }

// modeOf takes the mode from a patch that is to be played. There is one
// cluster, so that all of its API Servers stand alike.
func (r *Rack) modeOf(p *instrument.Patch) Mode {
	mode, found := Simulated, false
	for i := range p.Modules {
		m := &p.Modules[i]
		if m.ID.Kind() != KindAPIServer {
			continue
		}
		if !found {
			mode, found = Mode(m.Value("mode")), true
		}
		if r.cfg.ListenOnly {
			mode = ListenOnly
		}
		if m.Value("mode") != float64(mode) {
			if m.Params == nil {
				m.Params = map[string]float64{}
			}
			m.Params["mode"] = float64(mode)
		}
	}
	if r.cfg.ListenOnly {
		mode = ListenOnly
	}
	return mode
}

// SetMode goes over to another mode, as the API Server's switch does, which
// moves with it. A rack that was made to listen only cannot leave that:
// ErrReadOnly.
func (r *Rack) SetMode(mode Mode) error {
	if mode > ListenOnly {
		return refuse(ErrRange, "there is no mode %d", mode)
	}
	if r.cfg.ListenOnly && mode != ListenOnly {
		return errListenOnly
	}
	r.begin()
	if r.mode != mode {
		r.setMode(mode, 0)
	}
	if r.ended(nil) {
		r.record(Input{Mode: &mode})
	}
	return nil
}

var errListenOnly = refuse(ErrReadOnly, "the instrument was started to listen only, and writes nothing to this cluster")

// setMode goes over to another mode.
func (r *Rack) setMode(mode Mode, frame int64) {
	r.mode = mode
	for i := range r.patch.Modules {
		if id := r.patch.Modules[i].ID; id.Kind() == KindAPIServer {
			r.put(id, "mode", float64(mode), "")
		}
	}
	r.board.setMode(mode, max(frame, r.meters.Frame))
	// What was turned meanwhile is asked for now.
	r.dirty, r.settings.restless = true, true
}

// Topology returns the topology that the cluster should hold, and whether it
// differs from the one that the last call returned. It is shared and must not
// be changed. While the rack only listens there is nothing new to hold.
func (r *Rack) Topology() (Topology, bool) {
	if !r.dirty || r.mode == ListenOnly {
		return r.topology, false
	}
	r.dirty = false
	t := r.wanted()
	if reflect.DeepEqual(t, r.topology) {
		return r.topology, false
	}
	r.letGo(&r.topology, &t)
	t.Generation++
	r.topology = t
	return t, true
}

// wanted returns the topology of the patch as it stands.
func (r *Rack) wanted() Topology {
	t := TopologyOf(r.patch, r.effective)
	t.Generation, t.Namespace, t.Scene = r.topology.Generation, r.cfg.Namespace, r.cfg.Scene
	return t
}

// letGo tells the board which bare pods are to end, or to begin anew.
func (r *Rack) letGo(was, now *Topology) {
	power := func(t *Topology) bool {
		for _, id := range t.IDs(KindNamespace) {
			if t.Value(id, "power") == 0 {
				return false
			}
		}
		return true
	}
	off := power(was) != power(now)
	for _, id := range was.IDs(KindPod) {
		if off || !reflect.DeepEqual(was.Modules[id], now.Modules[id]) {
			r.board.letGo(id.Name())
		}
	}
}
