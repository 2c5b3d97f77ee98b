package main

import (
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// compileProgram makes a Controller's program ready for the rack.
func compileProgram(source string) (mapping.Program, error) {
	p, err := rule.CompileProgram(source)
	if err != nil {
		return nil, err
	}
	return func(desired, observed, err, integral, act, interval, time float64) (float64, error) {
		return p.Eval(rule.Inputs{Desired: desired, Observed: observed, Error: err, Integral: integral, Act: act, Interval: interval, Time: time})
	}, nil
}

// ruleSet is the rules of a scene with what they play.
type ruleSet struct {
	set  *rule.Set
	rack *mapping.Rack
	// tell sends an OSC message to host:port, or with no host to who listens; nil
	// where there is no OSC.
	tell func(to, address string, args []any)
}

// newRules compiles the rules of a scene; without any it returns nil.
func newRules(s *scenes.Scene, rack *mapping.Rack) (*ruleSet, error) {
	if len(s.Rules) == 0 {
		return nil, nil
	}
	set, err := s.CompileRules()
	if err != nil {
		return nil, err
	}
	return &ruleSet{set: set, rack: rack}, nil
}

// apply plays what the rules make of a transition, to be heard at a frame.
func (r *ruleSet) apply(t mapping.Transition, frame int64) {
	if r == nil {
		return
	}
	for _, o := range r.set.Apply(t) {
		if out, ok := o.Out(); ok {
			r.rack.Send(out, frame)
			continue
		}
		switch o.Kind {
		case rule.Note:
			r.rack.Note(o.Channel-1, o.Note, o.Velocity, o.Duration, frame)
		case rule.Gate:
			r.rack.RuleGate(o.Channel-1, o.High, frame)
		case rule.CV:
			r.rack.RuleCV(o.Channel-1, o.Volts, frame)
		case rule.OSCMessage:
			if r.tell != nil {
				r.tell(o.Port, o.Address, o.Args)
			}
		}
	}
}

// release lowers the gates that the rules of a scene that ends hold up.
func (r *ruleSet) release() {
	if r == nil {
		return
	}
	for c := range instrument.MaxPoly {
		r.rack.RuleGate(c, false, 0)
	}
}
