package instrument

func controllerSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "controller", Title: "Controller", HP: 10, Plus12: 35, Minus12: 15,
		Doc:   "A reconciliation loop of the player's own: it moves act until observed is what is desired. With the name of an object it watches that one's controller instead.",
		Bound: "a loop of the player's own, or the watch of one object: metadata.generation against status.observedGeneration",
		New:   func() Processor { return newPanel("controller") },
		Params: []ParamSpec{
			{Name: "gain", Doc: "proportional share: act volts a volt of error", Min: 0, Max: 10, Value: 1},
			{Name: "integral", Doc: "integral share: act volts a second and volt of error", Min: 0, Max: 10},
			{Name: "deadband", Doc: "error that counts as none", Unit: "V", Min: 0, Max: 5, Value: 0.05},
			{Name: "interval", Doc: "time between reconciliations", Unit: "s", Min: 0.005, Max: 60, Value: 0.1, Curve: Exponential},
			{Name: "law", Doc: "what turns the error into act: P+I, or the program", Choices: []string{"p_i", "program"}},
			{Name: "program", Doc: "CEL expression for act in volts, of desired, observed, error, integral, act, interval and time", Text: true, Free: true, Default: "act + 0.5 * error"},
			{Name: "object", Doc: "kind/name of an object to watch, such as deployment/web; empty is the loop of the jacks", Text: true, Free: true},
		},
		Inputs: []JackSpec{
			{Name: "desired", Kind: CV, Doc: "what should be"},
			{Name: "observed", Kind: CV, Doc: "what is"},
			{Name: "reconcile", Kind: Trigger, Button: true, Doc: "reconciles now"},
		},
		Outputs: []JackSpec{
			{Name: "lag", Kind: CV, Unit: "1 V a generation", Doc: "of the watched object: generations that its controller has still to observe"},
			{Name: "watching", Kind: Gate, Doc: "high while it watches an object"},
			{Name: "result", Kind: CV, Doc: "what the program last came to"},
			{Name: "error", Kind: CV, Doc: "desired less observed"},
			{Name: "act", Kind: CV, Unit: "±10 V", Doc: "what it does about it"},
			{Name: "reconciled", Kind: Trigger, Doc: "it looked and acted"},
			{Name: "converged", Kind: Gate, Doc: "high while the error is within the deadband"},
			{Name: "backoff", Kind: CV, Unit: "1 V a doubling of the interval", Doc: "how far it has backed off, because acting did not help"},
		},
	}
}
