package instrument

import (
	"fmt"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Rows is how many replicas a Deployment's panel shows as jacks of their own;
// its polyphonic jacks carry MaxPoly.
const Rows = 6

// MaxReplicas is the end of the replicas knob: one polyphonic cable.
const MaxReplicas = MaxPoly

func rows(name string, j JackSpec) (js []JackSpec) {
	for i := range Rows {
		r := j
		r.Name = fmt.Sprintf("%s_%d", name, i+1)
		r.Doc = fmt.Sprintf(j.Doc, i+1)
		js = append(js, r)
	}
	return js
}

// voiceImage is our own image: it answers requests, and burns the CPU that it
// is told to. Simulated pods need none.
const voiceImage = "ghcr.io/k8s-synth/voice:0.1.0"

// podTemplateParams are what every pod that the instrument asks for has.
func podTemplateParams() []ParamSpec {
	return []ParamSpec{
		{Name: "image", Doc: "container image", Text: true, Default: voiceImage, Cluster: true},
		{Name: "cpu_request", Doc: "CPU that the scheduler sets aside for each pod", Unit: "m", Min: 0, Max: 16000, Value: 100, Whole: true, Cluster: true},
		{Name: "labels", Doc: "labels of the pods beside ours, such as tier=front,app=web", Text: true, Free: true, Cluster: true},
	}
}

// lifecycleParams are the delays of simulated pods. They are part of the pod
// template, so that turning one rolls the pods out anew.
func lifecycleParams() []ParamSpec {
	p := func(name, doc string, value float64) ParamSpec {
		return ParamSpec{Name: name, Doc: doc, Unit: "s", Min: 0, Max: 60, Value: value, Cluster: true}
	}
	return []ParamSpec{
		p("start_delay", "simulated pods: from scheduled to running", 0.6),
		p("ready_delay", "simulated pods: from running to ready", 0.9),
		p("stop_delay", "simulated pods: from deleted to gone", 0.4),
		p("delay_jitter", "simulated pods: added to each delay, by chance from 0", 0.3),
	}
}

func deploymentSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "deployment", Title: "Deployment", HP: 16, Plus12: 60, Minus12: 20,
		Doc:   "Asks for replicas and shows how many are there. The distance between the two is its error CV.",
		Bound: "Deployment: spec.replicas, spec.strategy, spec.template; status.readyReplicas, status.observedGeneration; its pods",
		New:   func() Processor { return newPanel("deployment") },
		Params: append([]ParamSpec{
			{Name: "replicas", Doc: "pods asked for", Min: 0, Max: MaxReplicas, Value: 1, Whole: true, PerVolt: 1, Cluster: true},
			{Name: "strategy", Doc: "how a rollout replaces pods", Choices: []string{"RollingUpdate", "Recreate"}, Cluster: true},
			{Name: "max_surge", Doc: "pods over the number asked for during a rollout", Min: 0, Max: MaxReplicas, Value: 1, Whole: true, Cluster: true},
			{Name: "max_unavailable", Doc: "pods that may be missing during a rollout", Min: 0, Max: MaxReplicas, Value: 1, Whole: true, Cluster: true},
			{Name: "restarts", Doc: "rollouts that were asked for", Min: 0, Max: 1e6, Whole: true, Counter: true, Cluster: true},
			{Name: "cpu", Doc: "synthetic load, shared among the ready pods", Unit: "m", Min: 0, Max: 16000, PerVolt: 400, Live: true},
		}, append(podTemplateParams(), lifecycleParams()...)...),
		Inputs: append([]JackSpec{
			{Name: "restart", Kind: Trigger, Watch: true, Button: true, Doc: "rolls all pods out anew"},
		}, rows("ready", JackSpec{Kind: Gate, Watch: true, Doc: "lights row %d: a Pod panel's ready gate, coming home"})...),
		Outputs: append(rows("claim", JackSpec{Kind: Claim, Doc: "the pod in row %d exists; patched to a Pod's lifecycle, that panel shows it"}), []JackSpec{
			{Name: "pods", Kind: Pods, Poly: true, Doc: "one gate a pod, high while it exists; its channel is the pod's for life"},
			{Name: "pending", Kind: Gate, Poly: true, Doc: "one gate a pod, high while it waits for a node or its start"},
			{Name: "running", Kind: Gate, Poly: true, Doc: "one gate a pod, high while its containers run"},
			{Name: "ready", Kind: Gate, Poly: true, Doc: "one gate a pod, high while it is ready"},
			{Name: "load", Kind: CV, Poly: true, Unit: "1 V per 100 m of CPU, up to 10 V", Doc: "how hard each pod works"},
			{Name: "node", Kind: CV, Poly: true, Unit: "±5 V across the nodes", Doc: "where each pod runs"},
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "each pod's pitch: a just chord on C, or a chord of the scene's scale on its root"},
			{Name: "event", Kind: Trigger, Poly: true, Doc: "something happened to that pod"},
			{Name: "kind", Kind: CV, Poly: true, Unit: "0.5 V a gesture", Step: true, Doc: "what happened, beside event"},
			{Name: "ready_count", Kind: CV, Unit: "10 V = all", Doc: "share of the pods asked for that are ready"},
			{Name: "error", Kind: CV, Unit: "1 V a replica", Doc: "pods asked for less pods ready"},
			{Name: "rollout", Kind: Gate, Doc: "high while a rollout is under way"},
			{Name: "settled", Kind: Trigger, Doc: "the last pod turned ready, or the last surplus one went"},
		}...),
	}
}

func podSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "pod", Title: "Pod", HP: 8, Plus12: 45, Minus12: 20,
		Doc:   "One pod and its voice: the replica that a Deployment claims for it, or a bare pod that lives as long as a gate.",
		Bound: "Pod: status.phase, status.conditions, status.containerStatuses",
		New:   func() Processor { return &pod{} },
		Params: append([]ParamSpec{
			{Name: "tune", Doc: "pitch of its voice from C4", Unit: "semitones", Min: -36, Max: 36, PerVolt: 12},
			{Name: "cpu", Doc: "synthetic load of the pod", Unit: "m", Min: 0, Max: 4000, PerVolt: 100, Live: true},
			{Name: "memory", Doc: "memory that the pod holds", Unit: "MiB", Min: 0, Max: 4096, PerVolt: 400, Live: true},
			{Name: "hold", Doc: "holds a bare pod up without a gate", Choices: switchWords, Cluster: true},
		}, append(podTemplateParams(), lifecycleParams()...)...),
		Inputs: []JackSpec{
			{Name: "lifecycle", Kind: Presence, Watch: true, Doc: "a Deployment's claim, or a gate that holds a bare pod up"},
			{Name: "request", Kind: Trigger, Doc: "strikes the pod: a drop where it is ready, a dry click where it is not"},
		},
		Outputs: []JackSpec{
			{Name: "ready", Kind: Gate, Doc: "high while the pod is ready"},
			{Name: "load", Kind: CV, Unit: "1 V per 100 m of CPU, up to 10 V", Doc: "how hard the pod works; patched to a Node, a bare pod runs there"},
			{Name: "phase", Kind: CV, Unit: "Pending 0, Running 5, Succeeded 10, Failed −5 V", Doc: "the pod's phase"},
			{Name: "restart", Kind: Trigger, Doc: "a container of it was restarted"},
			{Name: "exists", Kind: Gate, Doc: "high while the pod exists"},
			{Name: "event", Kind: Trigger, Doc: "something happened to the pod"},
			{Name: "kind", Kind: CV, Unit: "0.5 V a gesture", Step: true, Doc: "what happened, beside event"},
			{Name: "audio", Kind: Audio, Doc: "the pod's own voice"},
		},
	}
}

// pod is a panel with one voice, which its own jacks play.
type pod struct {
	panel
	voices  [1]podVoice
	section section
	right   [BlockSize]float32 // all is on the left
	on      bool               // the voice can put out something
	request dsp.SchmittTrigger
	event   dsp.SchmittTrigger
	mute    bool // nothing takes the voice on
}

const (
	podReady = iota
	podLoad
	podPhase
	podRestart
	podExists
	podEvent
	podKind
	podAudio
)

func (p *pod) Init(sampleRate float64, seed uint64) {
	p.panel.init(Spec("pod"), sampleRate)
	p.section.bank.Init(sampleRate)
	p.section.bank.SetPan(0, 1, 0)
	p.voices[0].Init(&p.section.bank, 0, sampleRate, seed)
}

// Reset silences the voice and lowers the jacks. Audio thread.
func (p *pod) Reset() {
	p.panel.Reset()
	p.hush()
	p.request.Reset()
	p.event.Reset()
}

// hush silences the voice at once. Audio thread.
func (p *pod) hush() {
	p.voices[0].Reset()
	p.section.bank.Reset()
	p.on = false
}

// Process renders the panel, then the voice that it plays, where a cable
// takes it on. Audio thread.
func (p *pod) Process(io *IO) {
	p.tell(io)
	p.write(io, 0, podAudio)
	out := io.Out[podAudio]
	out.Channels = 1
	if io.Wanted&(1<<podAudio) == 0 {
		if !p.mute {
			p.mute = true
			p.hush()
			out.Fill(0)
		}
		return
	}
	p.mute, out.Held = false, 0
	b := out.Volts[0][:io.N]
	clear(b)
	event, request := &io.Out[podEvent].Volts[0], &io.In[1].Volts[0]
	v := &p.voices[0]
	for i := 0; i < io.N; {
		since := int((io.Frame + int64(i)) % controlFrames)
		if since == 0 {
			p.look(io, i)
		}
		if p.event.Next(event[i]) {
			p.wake(since)
			v.strike(GestureAt(io.Out[podKind].Volts[0][i]))
		}
		if p.request.Next(request[i]) {
			p.wake(since)
			if v.in.open {
				v.strike(GestureServed)
			} else {
				v.strike(GestureMissed)
			}
		}
		end := min(io.N, i+controlFrames-since)
		for k := i + 1; k < end; k++ {
			if crosses(&p.event, event[k]) || crosses(&p.request, request[k]) {
				end = k
			}
		}
		if p.on {
			p.section.render(p.voices[:], 1, b[i:end], p.right[i:end])
		}
		i = end
	}
}

// look reads what plays the voice; every controlFrames. Audio thread.
func (p *pod) look(io *IO, i int) {
	v := &p.voices[0]
	ready, phase, exists := io.Out[podReady].Volts[0][i], io.Out[podPhase].Volts[0][i], io.Out[podExists].Volts[0][i]
	v.in.pitch = io.Params[0][i] / 12
	v.in.load = min(max(io.Out[podLoad].Volts[0][i], 0), 10)
	v.in.open = ready > dsp.SchmittHigh
	gate := phase > 2.5 && phase < 7.5
	v.in.breath = exists > dsp.SchmittHigh && !gate && phase > -2.5 && phase < 2.5
	if p.on {
		v.control()
	}
	p.section.bank.Begin()
	if !v.parked && !v.bank.Sounds(0) {
		v.park()
	}
	if p.on = p.on && v.active(); !p.on {
		p.section.bank.HasExtra(0)
	}
	if gate != v.in.gate {
		if gate {
			p.wake(0)
		}
		v.gate(gate)
	}
	if v.in.breath {
		p.wake(0)
	}
}

// wake makes the voice ready for what it is to play. Audio thread.
func (p *pod) wake(since int) {
	if !p.on {
		p.on = true
		p.section.sync(since)
		p.voices[0].begin(false)
	}
}

func etcdSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "etcd", Title: "etcd", HP: 8, Plus12: 30, Minus12: 10,
		Doc:   "The cluster's store as a clock: it ticks with real writes, and the ticks waver with the time that a commit takes.",
		Bound: "the store: revision and commit latency, as a write through the API sees them",
		New:   func() Processor { return &etcd{} },
		Params: []ParamSpec{
			{Name: "tick_pitch", Doc: "pitch of the ticks", Unit: "Hz", Min: 1000, Max: 8000, Value: 4000, Curve: Exponential, PerVolt: 1},
			{Name: "tick_decay", Doc: "T60 of the ticks", Unit: "ms", Min: 2, Max: 200, Value: 14, Curve: Exponential},
			{Name: "division", Doc: "heartbeats to a tick", Min: 1, Max: 16, Value: 1, Whole: true},
			{Name: "key", Doc: "number of the key that the next write goes to", Min: 0, Max: 15, Whole: true, PerVolt: 1.5, Live: true},
		},
		Inputs: []JackSpec{
			{Name: "write", Kind: Trigger, Watch: true, Button: true, Doc: "writes to the store, for real"},
		},
		Outputs: []JackSpec{
			{Name: "heartbeat", Kind: Trigger, Doc: "a write was committed"},
			{Name: "revision", Kind: CV, Unit: "0.1 V a revision, modulo 10 V", Doc: "the store's revision"},
			{Name: "commit_latency", Kind: CV, Unit: "1 V per 10 ms, up to 10 V", Doc: "how long the last commit took"},
			{Name: "audio", Kind: Audio, Doc: "the ticks"},
		},
	}
}

const (
	etcdHeartbeat = iota
	etcdRevision
	etcdLatency
	etcdAudio
)

// tickJitter is how far a tick's pitch goes up for each volt of commit
// latency: a tone for 10 ms, so that a slow disk is heard as a rising tick.
const tickJitter = 1.0 / 6

// etcd is a panel with a sine that ticks at its heartbeat.
type etcd struct {
	panel
	edge  dsp.SchmittTrigger
	tick  dsp.Sine
	hz    float32
	env   dsp.Decay
	count int
}

func (e *etcd) Init(sampleRate float64, seed uint64) {
	e.panel.init(Spec("etcd"), sampleRate)
	e.tick.Init(sampleRate)
	e.env.Init(sampleRate)
}

// Reset silences the tick and lowers the jacks. Audio thread.
func (e *etcd) Reset() {
	e.panel.Reset()
	e.edge.Reset()
	e.tick.Reset()
	e.env.Reset()
	e.count = 0
}

// Process renders the panel and its ticks. Audio thread.
func (e *etcd) Process(io *IO) {
	e.tell(io)
	e.write(io, 0, etcdAudio)
	out := io.Out[etcdAudio]
	b, beat := &out.Volts[0], &io.Out[etcdHeartbeat].Volts[0]
	if !e.env.Active() && e.jacks[etcdHeartbeat].rests && !crosses(&e.edge, beat[0]) {
		if !out.silent() {
			out.Fill(0)
		}
		return
	}
	out.Channels, out.Held = 1, 0
	for i := range io.N {
		if e.edge.Next(beat[i]) {
			if e.count++; e.count >= int(io.Params[2][i]) {
				e.count = 0
				e.hz = io.Params[0][i] * dsp.Exp2(io.Out[etcdLatency].Volts[0][i]*tickJitter)
				e.env.Set(0.0005, float64(io.Params[1][i])/1000)
				e.env.Strike(AudioVolts)
			}
		}
		if e.env.Active() {
			b[i] = e.tick.Next(e.hz) * e.env.Next() * 0.2
		} else {
			b[i] = 0
		}
	}
}

func apiServerSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "apiserver", Title: "API Server", HP: 10, Plus12: 40, Minus12: 10,
		Doc:   "The door to the cluster: whether it answers, how long the way from a knob to the cluster is, and all that happens, by kind.",
		Bound: "the topology ConfigMap, the Eno Composition, the watches",
		New:   func() Processor { return &apiServer{} },
		Params: []ParamSpec{
			{Name: "namespace", Doc: "namespace in which the patch lives; a change takes effect at the next start", Text: true, Default: "k8s-synth"},
			{Name: "mode", Doc: "simulated: requests are struck by the panels; real: they are HTTP; listen-only: nothing is written", Choices: []string{"simulated", "real", "listen_only"}},
			{Name: "pulse", Doc: "time between the pulses of the error jack while the API does not answer", Unit: "s", Min: 0.25, Max: 10, Value: 2},
			{Name: "timing", Doc: "free: what happens sounds after the scene's latency; in_time: at the next trigger of grid, and notes in the scene's scale", Choices: []string{"free", "in_time"}, Value: 1},
		},
		Inputs: []JackSpec{
			{Name: "grid", Kind: Trigger, Watch: true, Doc: "in time with this clock; with nothing plugged in, free"},
		},
		Outputs: []JackSpec{
			{Name: "sync", Kind: Gate, Doc: "high while the API answers and every watch has its list"},
			{Name: "reconcile_latency", Kind: CV, Unit: "1 V per 100 ms, up to 10 V", Doc: "from publishing a topology to its objects being applied"},
			{Name: "boot", Kind: Gate, Poly: true, Doc: "one gate for each stage of the control plane's boot: started, etcd, API server, controllers, scheduler, nodes, Eno, ready"},
			{Name: "event", Kind: Trigger, Poly: true, Doc: "something happened somewhere, one channel a gesture"},
			{Name: "density", Kind: CV, Unit: "1 V a doubling, from one event a second", Doc: "how much happens: the level of the cloud that a storm becomes"},
			{Name: "problem", Kind: Trigger, Doc: "the topology could not be published or applied"},
			{Name: "error", Kind: Trigger, Doc: "pulses slowly while the API does not answer"},
		},
	}
}

// apiPulse is the index of the pulse param.
const apiPulse = 2

const (
	apiSync = iota
	apiLatency
	apiBoot
	apiEvent
	apiDensity
	apiProblem
	apiError
)

// apiServer is a panel with a slow pulse of its own: what tells of the
// silence of the cluster cannot come from the cluster.
type apiServer struct {
	panel
	rate  float64
	since int64 // frames since the last pulse
	pulse dsp.PulseGenerator
}

func (a *apiServer) Init(sampleRate float64, seed uint64) {
	a.panel.init(Spec("apiserver"), sampleRate)
	a.rate = sampleRate
	a.pulse.Init(sampleRate)
}

// Reset lowers the jacks. Audio thread.
func (a *apiServer) Reset() {
	a.panel.Reset()
	a.pulse.Reset()
	a.since = 0
}

// Process renders the panel and the pulse. Audio thread.
func (a *apiServer) Process(io *IO) {
	a.write(io, 0, apiError)
	sync := &io.Out[apiSync].Volts[0]
	out := io.Out[apiError]
	if a.jacks[apiSync].rests && sync[0] > dsp.SchmittHigh && !a.pulse.High() {
		a.since = int64(a.rate * float64(io.Params[apiPulse][io.N-1]))
		if !out.silent() {
			out.Fill(0)
		}
		return
	}
	out.Channels, out.Held = 1, 0
	for i := range io.N {
		if sync[i] > dsp.SchmittHigh {
			a.since = int64(a.rate * float64(io.Params[apiPulse][i]))
		} else if a.since--; a.since < 0 {
			a.since = int64(a.rate * float64(io.Params[apiPulse][i]))
			a.pulse.Trigger()
		}
		out.Volts[0][i] = a.pulse.Next()
	}
}
