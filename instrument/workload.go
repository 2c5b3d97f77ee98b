package instrument

func hpaSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "hpa", Title: "HorizontalPodAutoscaler", HP: 8, Plus12: 30, Minus12: 5,
		Doc:   "Turns the replicas of a Deployment by how hard its pods work. Its scale jack, patched to a Deployment's replicas_cv, takes the knob out of the player's hand.",
		Bound: "HorizontalPodAutoscaler: spec.scaleTargetRef, spec.metrics; status.currentReplicas, status.desiredReplicas, status.currentMetrics",
		New:   func() Processor { return newPanel("hpa") },
		Params: []ParamSpec{
			{Name: "target", Doc: "CPU in use that it aims at, of what the pods request", Unit: "%", Min: 1, Max: 1000, Value: 80, Whole: true, PerVolt: 50, Cluster: true},
			{Name: "min", Doc: "fewest replicas", Min: 1, Max: MaxReplicas, Value: 1, Whole: true, Cluster: true},
			{Name: "max", Doc: "most replicas", Min: 1, Max: MaxReplicas, Value: 8, Whole: true, Cluster: true},
			{Name: "stabilization", Doc: "how long less must be enough before it scales down", Unit: "s", Min: 0, Max: 3600, Value: 5, Whole: true, Cluster: true},
		},
		Outputs: []JackSpec{
			{Name: "scale", Kind: Scale, Unit: "1 V a replica", Doc: "patched to a Deployment's replicas_cv it scales that Deployment"},
			{Name: "current", Kind: CV, Unit: "1 V a replica", Doc: "replicas that there are"},
			{Name: "desired", Kind: CV, Unit: "1 V a replica", Doc: "replicas that it wants"},
			{Name: "load", Kind: CV, Unit: "5 V = on target", Bargraph: true, Doc: "CPU in use over the target, up to 10 V"},
			{Name: "limited", Kind: Gate, Doc: "high while min or max holds it back"},
		},
	}
}

func cronJobSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "cronjob", Title: "CronJob", HP: 8, Plus12: 30, Minus12: 5,
		Doc:   "A clock of the cluster's own: it starts a Job at each tick. The shortest period is a minute; its run jack starts one at any time.",
		Bound: "CronJob: spec.schedule, spec.suspend, spec.concurrencyPolicy; status.lastScheduleTime, status.active",
		New:   func() Processor { return newPanel("cronjob") },
		Params: []ParamSpec{
			{Name: "schedule", Doc: "minute, hour, day, month, weekday, as cron takes them", Text: true, Free: true, Default: "* * * * *", Cluster: true},
			{Name: "suspend", Doc: "stops the clock", Choices: switchWords, Cluster: true},
			{Name: "concurrency", Doc: "what a tick does while a Job still runs", Choices: []string{"Allow", "Forbid", "Replace"}, Cluster: true},
			{Name: "duration", Doc: "simulated pods: how long each Job takes", Unit: "s", Min: 0, Max: 3600, Value: 2, Cluster: true},
			{Name: "image", Doc: "container image", Text: true, Default: voiceImage, Cluster: true},
		},
		Inputs: []JackSpec{
			{Name: "suspend_gate", Kind: Gate, Watch: true, Doc: "stops the clock while it is high"},
			{Name: "run", Kind: Trigger, Watch: true, Button: true, Doc: "starts a Job now"},
		},
		Outputs: []JackSpec{
			{Name: "tick", Kind: Trigger, Doc: "a Job was started"},
			{Name: "active", Kind: Gate, Doc: "high while a Job of it runs"},
			{Name: "phase", Kind: CV, Unit: "0 … 10 V", Doc: "how far the time is from the last tick to the next"},
			{Name: "done", Kind: Trigger, Doc: "a Job of it ended"},
		},
	}
}

func jobSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "job", Title: "Job", HP: 8, Plus12: 30, Minus12: 5,
		Doc:   "A one-shot envelope: a trigger starts a Job, the envelope rises as its pods start, holds while they work and falls when they are done.",
		Bound: "Job: spec.completions, spec.parallelism, spec.backoffLimit; status.active, status.succeeded, status.failed",
		New:   func() Processor { return newPanel("job") },
		Params: []ParamSpec{
			{Name: "runs", Doc: "how often it was started", Min: 0, Max: 1e6, Whole: true, Counter: true, Cluster: true},
			{Name: "completions", Doc: "pods that must succeed", Min: 1, Max: MaxReplicas, Value: 1, Whole: true, Cluster: true},
			{Name: "parallelism", Doc: "pods at a time", Min: 1, Max: MaxReplicas, Value: 1, Whole: true, Cluster: true},
			{Name: "backoff_limit", Doc: "failures before it is given up", Min: 0, Max: 10, Value: 3, Whole: true, Cluster: true},
			{Name: "duration", Doc: "simulated pods: how long each takes", Unit: "s", Min: 0, Max: 3600, Value: 2, Cluster: true},
			{Name: "image", Doc: "container image", Text: true, Default: voiceImage, Cluster: true},
			{Name: "attack", Doc: "time to rise", Unit: "s", Min: 0.001, Max: 10, Value: 0.05, Curve: Exponential},
			{Name: "release", Doc: "time to fall", Unit: "s", Min: 0.001, Max: 30, Value: 0.8, Curve: Exponential},
		},
		Inputs: []JackSpec{
			{Name: "start", Kind: Trigger, Watch: true, Button: true, Doc: "starts the Job; the one before it goes"},
		},
		Outputs: []JackSpec{
			{Name: "active", Kind: Gate, Doc: "high while its pods run"},
			{Name: "progress", Kind: CV, Unit: "10 V = done", Bargraph: true, Doc: "share of the completions"},
			{Name: "complete", Kind: Trigger, Doc: "it is done"},
			{Name: "failed", Kind: Trigger, Doc: "it was given up"},
			{Name: "envelope", Kind: CV, Unit: "0 … 10 V", Doc: "the envelope"},
		},
	}
}
