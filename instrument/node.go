package instrument

func nodeSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "node", Title: "Node", HP: 8, Plus12: 50, Minus12: 10,
		Doc:   "A machine of the cluster, or a simulated one. Pods that are patched to its load must run there; more than it has room for wait.",
		Bound: "Node: spec.unschedulable, status.allocatable, status.conditions; its usage",
		New:   func() Processor { return newPanel("node") },
		Params: []ParamSpec{
			{Name: "node", Doc: "name of the node; empty is the module's own", Text: true, Free: true, Cluster: true},
			{Name: "capacity", Doc: "CPU of a simulated node", Unit: "m", Min: 100, Max: 64000, Value: 4000, Whole: true, PerVolt: 400, Live: true},
			{Name: "cordon", Doc: "keeps new pods away", Choices: switchWords, Live: true},
		},
		Inputs: []JackSpec{
			{Name: "load", Kind: Placement, Doc: "the pods that must run here"},
			{Name: "cordon_gate", Kind: Gate, Watch: true, Doc: "cordons while it is high"},
			{Name: "drain", Kind: Trigger, Watch: true, Button: true, Doc: "cordons, and evicts the instrument's pods"},
		},
		Outputs: []JackSpec{
			{Name: "utilisation", Kind: CV, Unit: "10 V = 100 %", Bargraph: true, Doc: "share of the node's CPU in use"},
			{Name: "cordoned", Kind: Gate, Doc: "high while new pods are kept away"},
			{Name: "ready", Kind: Gate, Doc: "high while the node is ready"},
			{Name: "pressure", Kind: Gate, Doc: "high while memory, disk or process ids run out"},
			{Name: "pods", Kind: CV, Unit: "1 V a pod", Doc: "how many of the pods that are heard run here"},
		},
	}
}

func namespaceSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "namespace", Title: "Namespace", HP: 6, Plus12: 20, Minus12: 0,
		Doc:   "The case: its power switch, and how much room is left in it. Without power the patch stays and nothing of it runs.",
		Bound: "the topology's Namespace and its ResourceQuota",
		New:   func() Processor { return newPanel("namespace") },
		Params: []ParamSpec{
			{Name: "power", Doc: "off scales all to nothing and suspends what is scheduled", Choices: switchWords, Value: 1, Cluster: true},
			{Name: "quota_pods", Doc: "pods that fit in; 0 is no limit", Min: 0, Max: 5000, Whole: true, Cluster: true},
			{Name: "quota_cpu", Doc: "CPU requests that fit in; 0 is no limit", Unit: "m", Min: 0, Max: 1e6, Whole: true, Cluster: true},
		},
		Inputs: []JackSpec{
			{Name: "power_gate", Kind: Gate, Normal: GateVolts, Watch: true, Doc: "cuts the power while it is low"},
		},
		Outputs: []JackSpec{
			{Name: "powered", Kind: Gate, Doc: "high while the case has power"},
			{Name: "headroom", Kind: CV, Unit: "10 V = all free", Bargraph: true, Doc: "share of the scarcest quota that is free; 10 V without one"},
			{Name: "refused", Kind: Trigger, Doc: "the quota refused a pod"},
			{Name: "pods", Kind: CV, Unit: "1 V a pod", Doc: "pods in the namespace that are heard"},
		},
	}
}
