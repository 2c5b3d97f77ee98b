package mapping

import (
	"fmt"
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Program is a Controller's program, made ready to run: it returns act in
// volts. Volts go in, integral is in volt-seconds; interval and time are in
// seconds.
type Program func(desired, observed, err, integral, act, interval, time float64) (float64, error)

// controllerProgram is a Controller's program at work.
type controllerProgram struct {
	source   string
	run      Program // nil where nobody compiles programs
	begun    bool
	last     int64   // frame of the last reconciliation
	integral float64 // volt-seconds
	act      float64
	failed   bool // it was told that it cannot go on
}

const (
	actVolts      = 10  // the end of the act jack
	integralLimit = 100 // volt-seconds: ten seconds of the whole range
)

// compileProgram makes a program ready, or says where it is wrong.
func (r *Rack) compileProgram(source string) (*controllerProgram, error) {
	c := &controllerProgram{source: source}
	if r.cfg.Program == nil || source == "" {
		return c, nil
	}
	var err error
	c.run, err = r.cfg.Program(source)
	return c, err
}

// compilePrograms makes the programs of a patch ready. Those that the present
// patch has already go on.
func (r *Rack) compilePrograms(p *instrument.Patch) (map[instrument.ModuleID]*controllerProgram, error) {
	programs := map[instrument.ModuleID]*controllerProgram{}
	for i := range p.Modules {
		m := &p.Modules[i]
		if m.ID.Kind() != kindController {
			continue
		}
		source := m.Word("program")
		if c := r.programs[m.ID]; c != nil && c.source == source {
			programs[m.ID] = c
			continue
		}
		c, err := r.compileProgram(source)
		if err != nil {
			return nil, &instrument.PatchError{Path: fmt.Sprintf("modules[%d].params.program", i), Err: err}
		}
		programs[m.ID] = c
	}
	return programs, nil
}

// reconcile runs a Controller's program on what the engine says that it read,
// and hands the result back.
func (r *Rack) reconcile(id instrument.ModuleID, frame int64) {
	c, m := r.programs[id], r.patch.Module(id)
	if c == nil || c.run == nil || m == nil || m.Value("law") != lawProgram {
		return
	}
	interval := m.Value("interval")
	elapsed := float64(frame-c.last) / r.cfg.SampleRate
	if !c.begun {
		// It takes over where the jack stands.
		v, _, _ := r.Value(AddressOf(id, "act"))
		c.begun, c.act, c.integral, elapsed = true, v, 0, interval
	}
	c.last = frame
	desired, observed := r.samples[AddressOf(id, "desired")], r.samples[AddressOf(id, "observed")]
	e := desired - observed
	if math.Abs(e) <= m.Value("deadband") {
		e = 0
	}
	c.integral = min(max(c.integral+e*max(elapsed, 0), -integralLimit), integralLimit)
	act, err := c.run(desired, observed, e, c.integral, c.act, interval, float64(frame)/r.cfg.SampleRate)
	if err == nil && (math.IsNaN(act) || math.IsInf(act, 0)) {
		err = fmt.Errorf("it came to %g, which is no voltage", act)
	}
	if err != nil {
		if !c.failed && r.Failed != nil {
			r.Failed(Problem{Where: string(id) + " program", Text: fmt.Sprintf("%q with desired %g V, observed %g V: %v; act stays at %g V", c.source, desired, observed, err, c.act)})
		}
		c.failed = true
		return
	}
	c.act = min(max(act, -actVolts), actVolts)
	spec := m.Spec()
	r.send(instrument.Event{Kind: instrument.EventLevel, Module: r.compiler.Handle(id), Index: uint8(spec.Output("result")), Value: float32(c.act)})
}

// lawProgram is the position of a Controller's law switch at which its program
// counts.
var lawProgram = func() float64 {
	spec := instrument.Spec(kindController)
	return float64(slices.Index(spec.Params[spec.Param("law")].Choices, "program"))
}()
