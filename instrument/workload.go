package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

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

// phaseGlide is the time from one level of a CronJob's phase to the next: the
// control side sends twenty a second, and gliding just as long makes one ramp
// of them.
const phaseGlide = 0.05

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
			{Name: "phase", Kind: CV, Unit: "0 … 10 V", Glide: phaseGlide, Doc: "how far the time is from the last tick to the next"},
			{Name: "done", Kind: Trigger, Doc: "a Job of it ended"},
		},
	}
}

func jobSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "job", Title: "Job", HP: 8, Plus12: 30, Minus12: 5,
		Doc:   "A one-shot envelope: a trigger starts a Job, the envelope rises as its pods start, holds while they work and falls when they are done.",
		Bound: "Job: spec.completions, spec.parallelism, spec.backoffLimit; status.active, status.succeeded, status.failed",
		New:   func() Processor { return &job{} },
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

const (
	jobActive = iota
	jobProgress
	jobComplete
	jobFailed
	jobEnvelope
)

// The params of a Job's envelope.
const (
	jobAttack  = 6
	jobRelease = 7
)

// jobCutSeconds is the T60 of the envelope of a Job that failed.
const jobCutSeconds = 0.012

// job is a panel with an envelope. It rises and holds while pods of the Job
// run and, once they have, between two of them while its progress is neither
// nothing nor all; it falls when the Job is done, and is cut when it failed.
type job struct {
	panel
	env    dsp.ADSR
	active bool
	begun  bool // it has run, and is neither complete nor given up
	cut    bool
}

func (j *job) Init(sampleRate float64, seed uint64) {
	j.panel.init(Spec("job"), sampleRate)
	j.env.Init(sampleRate)
}

// Reset lowers the jacks and the envelope. Audio thread.
func (j *job) Reset() {
	j.panel.Reset()
	j.env.Reset()
	j.active, j.begun, j.cut = false, false, false
}

// Receive takes an event as a panel does, and what it means to the envelope.
// Audio thread.
func (j *job) Receive(e Event) {
	j.panel.Receive(e)
	if e.Channel != 0 {
		return
	}
	switch {
	case e.Index == jobActive && e.Kind == EventLevel:
		active := j.level(jobActive) > dsp.SchmittHigh
		if active && !j.active {
			j.begun, j.cut = true, false
			j.env.Trigger() // where the Job before it still holds
		}
		j.active = active
	case e.Index == jobComplete && e.Kind == EventPulse:
		j.begun = false
	case e.Index == jobFailed && e.Kind == EventPulse:
		j.begun, j.cut = false, true
	}
}

// Process renders the panel and the envelope. Audio thread.
func (j *job) Process(io *IO) {
	j.tell(io)
	j.write(io, 0, jobEnvelope)
	out := io.Out[jobEnvelope]
	progress := j.level(jobProgress)
	gate := !j.cut && (j.active || j.begun && progress > 0 && progress < GateVolts)
	if !gate {
		j.begun = false
		if !j.env.Active() {
			if !out.silent() {
				out.Fill(0)
			}
			return
		}
	}
	out.Channels, out.Held = 1, 0
	b, attack, release := &out.Volts[0], io.Params[jobAttack], io.Params[jobRelease]
	for i := range io.N {
		fall := float64(release[i])
		if j.cut {
			fall = min(fall, jobCutSeconds)
		}
		j.env.Set(float64(attack[i]), 1, GateVolts, fall)
		b[i] = j.env.Next(gate)
	}
}
