package mapping

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// plug loads the rig's patch with more modules and cables. Each of counted is
// an output whose triggers are counted under the name given.
func (r *rig) plug(modules []instrument.Module, cables [][2]string, counted map[string]string) {
	r.t.Helper()
	p := r.Patch().Clone()
	p.Modules = append(p.Modules, modules...)
	for _, c := range cables {
		p.Cables = append(p.Cables, cable(c[0], c[1]))
	}
	for name, from := range counted {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID("etcd/" + name)})
		p.Cables = append(p.Cables, cable(from, "etcd/"+name+"/write"))
	}
	if err := r.Load(p); err != nil {
		r.t.Fatal(err)
	}
	r.run(0.05)
	clear(r.hits)
}

func ids(names ...string) (ms []instrument.Module) {
	for _, n := range names {
		ms = append(ms, instrument.Module{ID: instrument.ModuleID(n)})
	}
	return ms
}

// wantHits checks how often triggers were seen since the last call.
func (r *rig) wantHits(step string, want map[string]int) {
	r.t.Helper()
	r.run(0.05)
	for name, n := range want {
		if got := len(r.hits[name]); got != n {
			r.t.Errorf("%s: %s gave %d triggers, want %d", step, name, got, n)
		}
	}
	clear(r.hits)
}

// TestServicePanel: endpoints keep their place, an answer strikes the one that
// gave it, and a refusal is a miss.
func TestServicePanel(t *testing.T) {
	r := newRig(t)
	r.plug(ids("service/web"), nil, map[string]string{
		"ep1": "service/web/endpoint_1", "ep2": "service/web/endpoint_2", "ep3": "service/web/endpoint_3",
		"all": "service/web/endpoints", "miss": "service/web/miss"})
	say := func(field, now string) { r.say(KindService, "web", field, now) }
	r.want("/service/web/endpoint_count", 0)
	say(FieldExists, "true")
	say(FieldEndpoints, "web-1,web-2,web-3")
	r.want("/service/web/endpoint_count", 3)
	r.want("/service/web/present", 10)
	say(FieldEndpoints, "-,web-2,web-3")
	r.want("/service/web/endpoint_count", 2)
	r.want("/service/web/present", 0) // the first place is empty, the others stay
	say(FieldLatency, "0.034")
	say(FieldServed, "web-3")
	r.wantHits("served by the third", map[string]int{"ep1": 0, "ep2": 0, "ep3": 1, "all": 0, "miss": 0})
	r.want("/service/web/latency", 3.4)
	say(FieldEndpoints, "web-4,web-2,web-3")
	say(FieldServed, "web-4")
	r.wantHits("served by the newcomer", map[string]int{"ep1": 1, "ep3": 0, "all": 1})
	say(FieldServed, "web-4") // the same again is another request
	r.wantHits("and again", map[string]int{"ep1": 1, "all": 1})
	say(FieldServed, "stranger")
	say(FieldMissed, "connection refused")
	r.wantHits("missed", map[string]int{"ep1": 0, "ep2": 0, "ep3": 0, "miss": 1})
	r.quietly(func() { say(FieldServed, "web-2"); say(FieldMissed, "x") })
	r.wantHits("quiet", map[string]int{"ep2": 0, "miss": 0})
	r.want("/service/web/live", 0)
	r.turnWord("/apiserver/api/mode", "real")
	r.want("/service/web/live", 10)
	r.turnWord("/apiserver/api/mode", "listen_only")
	r.want("/service/web/live", 0)
	say(FieldEndpoints, "")
	r.want("/service/web/endpoint_count", 0)
	say(FieldEndpoints, "web-4")
	say(FieldExists, "")
	r.want("/service/web/endpoint_count", 0)
	r.want("/service/web/latency", 0)
}

func (r *rig) turnWord(a Address, word string) {
	r.t.Helper()
	if err := r.Set(a, 0, word, "hand", 0); err != nil {
		r.t.Fatal(err)
	}
}

// TestSimulatedRequests: in simulated mode the panel itself chooses among the
// endpoints that the board shows as present.
func TestSimulatedRequests(t *testing.T) {
	r := newRig(t)
	r.plug(ids("service/web"), nil, map[string]string{
		"ep1": "service/web/endpoint_1", "ep2": "service/web/endpoint_2", "miss": "service/web/miss"})
	hit := func() {
		r.turn("/service/web/request", 10)
		r.run(0.01)
		r.turn("/service/web/request", 0)
		r.run(0.01)
	}
	hit()
	r.wantHits("nobody is there", map[string]int{"ep1": 0, "ep2": 0, "miss": 1})
	r.say(KindService, "web", FieldEndpoints, "-,web-2")
	r.run(0.01)
	hit()
	hit()
	r.wantHits("one is there", map[string]int{"ep1": 0, "ep2": 2, "miss": 0})
	if len(r.acts) != 0 {
		t.Errorf("simulated requests became actions: %+v", r.acts)
	}
}

// TestEndpointPanel: a Pod panel whose request comes from a Service's endpoint
// shows the pod in that place, whoever that is.
func TestEndpointPanel(t *testing.T) {
	r := newRig(t)
	r.plug(ids("service/web", "pod/first"), [][2]string{{"service/web/endpoint_1", "pod/first/request"}}, map[string]string{"struck": "pod/first/event"})
	r.ready("web-1")
	r.ready("web-2")
	r.want("/pod/first/exists", 0)
	r.say(KindService, "web", FieldEndpoints, "web-2,web-1")
	r.want("/pod/first/exists", 10)
	r.want("/pod/first/ready", 10)
	r.want("/pod/first/phase", 5)
	clear(r.hits)
	r.pod("web-2", FieldRestarts, "1", FieldLoad, "250")
	r.wantHits("its endpoint restarts", map[string]int{"struck": 1})
	r.want("/pod/first/load", 2.5)
	r.pod("web-1", FieldRestarts, "1")
	r.wantHits("another restarts", map[string]int{"struck": 0})
	// The place goes to another, which is not there yet.
	r.say(KindService, "web", FieldEndpoints, "web-3,web-1")
	r.want("/pod/first/exists", 0)
	r.ready("web-3")
	r.want("/pod/first/ready", 10)
	r.want("/pod/first/load", 0)
	r.gone("web-3")
	r.want("/pod/first/exists", 0)
	// A bare pod of the panel's own comes first.
	r.ready("web-3")
	r.pod("first", FieldExists, "true", FieldPhase, "Pending")
	r.want("/pod/first/phase", 0)
	r.pod("first", FieldExists, "")
	r.want("/pod/first/phase", 5)
	// The Service goes; the panel shows nobody.
	r.say(KindService, "web", FieldExists, "")
	r.want("/pod/first/exists", 0)
}

func TestIngressPanel(t *testing.T) {
	r := newRig(t)
	m := instrument.Module{ID: "ingress/door", Text: map[string]string{"path_1": "/a", "path_2": "/b", "path_3": ""}}
	r.plug(append(ids("service/web"), m), [][2]string{{"ingress/door/route_1", "service/web/request"}},
		map[string]string{"r1": "ingress/door/route_1", "r2": "ingress/door/route_2", "lost": "ingress/door/not_found", "routes": "ingress/door/routes", "ep1": "service/web/endpoint_1"})
	r.turnWord("/apiserver/api/mode", "real")
	r.say(KindService, "web", FieldEndpoints, "web-1")
	r.say(KindIngress, "door", FieldRoutes, "/b=web")
	r.want("/ingress/door/routes", 0)
	r.say(KindIngress, "door", FieldRoutes, "/a=web,/b=web")
	r.want("/ingress/door/routes", 10)
	r.want("/ingress/door/live", 10)
	clear(r.hits)
	// One request, as it is told: the route, the Service behind it, the way.
	r.say(KindIngress, "door", FieldRoute, "/a")
	r.say(KindService, "web", FieldLatency, "0.01")
	r.say(KindService, "web", FieldServed, "web-1")
	r.say(KindIngress, "door", FieldLatency, "0.02")
	r.wantHits("served", map[string]int{"r1": 1, "r2": 0, "lost": 0, "ep1": 1})
	r.want("/ingress/door/latency", 2)
	r.want("/service/web/latency", 1)
	if len(r.acts) != 0 {
		t.Errorf("what came down the route was requested again: %+v", r.acts)
	}
	r.say(KindIngress, "door", FieldNotFound, "/nowhere")
	r.wantHits("not found", map[string]int{"r1": 0, "lost": 1})
	// A path that is turned to another is another route.
	r.turnWord("/ingress/door/path_1", "/c")
	r.want("/ingress/door/routes", 0)
}

func TestNodePanel(t *testing.T) {
	r := newRig(t)
	r.plug([]instrument.Module{{ID: "node/stage-1"}, {ID: "node/right", Text: map[string]string{"node": "stage-2"}}}, nil, nil)
	r.quietly(func() {
		for _, n := range []string{"stage-1", "stage-2"} {
			for _, f := range [][2]string{{FieldExists, "true"}, {FieldReady, "true"}, {FieldCordoned, "false"}, {FieldPressure, "false"}, {FieldCapacity, "4000"}, {FieldLoad, "0"}} {
				r.say(KindNode, n, f[0], f[1])
			}
		}
		for i := range 16 {
			r.pod(fmt.Sprintf("sel-%d", i), FieldExists, "")
		}
	})
	r.want("/node/right/ready", 10)
	r.say(KindNode, "stage-2", FieldLoad, "1000")
	r.want("/node/right/utilisation", 2.5)
	r.want("/node/stage-1/utilisation", 0)
	r.say(KindNode, "stage-2", FieldCapacity, "2000")
	r.want("/node/right/utilisation", 5)
	r.say(KindNode, "stage-2", FieldLoad, "9000")
	r.want("/node/right/utilisation", 10)
	r.say(KindNode, "stage-2", FieldPressure, "true")
	r.want("/node/right/pressure", 10)
	r.want("/node/right/pods", 0)
	for i := range 3 {
		r.create(fmt.Sprintf("web-%d", i))
		r.pod(fmt.Sprintf("web-%d", i), FieldNode, "stage-2")
	}
	r.want("/node/right/pods", 3)
	r.gone("web-1")
	r.want("/node/right/pods", 2)
	r.want("/node/stage-1/pods", 0)
	r.turnWord("/node/right/node", "stage-1") // the panel shows another node
	r.want("/node/right/pods", 0)
	r.want("/node/right/pressure", 0)
	r.turnWord("/node/right/node", "stage-2")
	r.want("/node/right/pods", 2)
	r.say(KindNode, "stage-2", FieldExists, "")
	r.want("/node/right/ready", 0)
	r.want("/node/right/utilisation", 0)
}

func TestLoad(t *testing.T) {
	r := newRig(t)
	r.plug(ids("mixer/m"), [][2]string{{"deployment/web/load", "mixer/m/left_1"}, {"deployment/web/load", "mixer/m/right_1"}}, nil)
	r.ready("web-1")
	r.ready("web-2")
	r.pod("web-1", FieldLoad, "150")
	r.pod("web-2", FieldLoad, "30")
	r.want("/deployment/web/load", 1.5)
	r.want("/pod/p1/load", 1.5)
	r.want("/pod/p2/load", 0.3)
	r.pod("web-1", FieldLoad, "5000")
	r.want("/pod/p1/load", 10)
	r.gone("web-1")
	r.want("/pod/p1/load", 0)
	r.want("/deployment/web/load", 0)
}

func TestAutoscalerPanel(t *testing.T) {
	r := newRig(t)
	r.plug(ids("hpa/auto"), [][2]string{{"hpa/auto/scale", "deployment/web/replicas_cv"}}, nil)
	say := func(field, now string) { r.say(KindHPA, "auto", field, now) }
	say(FieldExists, "true")
	say(FieldCurrent, "2")
	say(FieldDesired, "5")
	say(FieldLoad, "1.4")
	say(FieldLimited, "true")
	r.want("/hpa/auto/current", 2)
	r.want("/hpa/auto/desired", 5)
	r.want("/hpa/auto/scale", 5)
	r.want("/hpa/auto/load", 7)
	r.want("/hpa/auto/limited", 10)
	say(FieldLoad, "3")
	r.want("/hpa/auto/load", 10)

	// The Deployment in its hand wants what the cluster's own spec says. Neither
	// knob nor CV count, and the cluster is not asked for the knob's sake.
	r.quietly(func() { r.replicas(3); r.ready("web-1"); r.ready("web-2") })
	r.Topology()
	r.want("/deployment/web/error", 1)
	r.turn("/deployment/web/replicas", 9)
	r.want("/deployment/web/error", 1)
	if tp, _ := r.Topology(); tp.Value("deployment/web", "replicas") != 9 {
		t.Errorf("the knob stands at 9, the topology says %g", tp.Value("deployment/web", "replicas"))
	}
	r.forgetStrikes()
	r.replicas(5)
	r.want("/deployment/web/error", 3)
	if n := r.struck("event0", 0.1); n != 1 {
		t.Errorf("an autoscaler's scaling gave %d gestures, want 1", n)
	}
	if got := r.Cluster().Desired; got != 5+16 {
		t.Errorf("%d replicas are desired, want 5 and 16", got)
	}
	// Without the cable the knob counts again.
	p := r.Patch().Clone()
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool { return c.From.Module == "hpa/auto" })
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.want("/deployment/web/error", 7)
}

func TestCronJobPanel(t *testing.T) {
	r := newRig(t)
	r.plug(ids("cronjob/beat"), nil, map[string]string{"tick": "cronjob/beat/tick", "done": "cronjob/beat/done"})
	at := func(seconds float64) string {
		return time.Unix(0, 0).Add(time.Duration(seconds * float64(time.Second))).UTC().Format(time.RFC3339Nano)
	}
	now := float64(r.frame) / testRate
	// Half of its minute is over when it is first seen.
	r.quietly(func() {
		r.say(KindCronJob, "beat", FieldTick, at(now-30))
		r.say(KindCronJob, "beat", FieldNext, at(now+30))
		r.say(KindCronJob, "beat", FieldActive, "1")
	})
	r.run(0.3)
	r.want("/cronjob/beat/phase", 5)
	r.want("/cronjob/beat/active", 10)
	r.wantHits("listed", map[string]int{"tick": 0, "done": 0})
	r.say(KindCronJob, "beat", FieldActive, "0")
	r.wantHits("over", map[string]int{"tick": 0, "done": 1})
	r.want("/cronjob/beat/active", 0)
	// A tick begins a ramp of its own, here of four seconds.
	now = float64(r.frame) / testRate
	r.say(KindCronJob, "beat", FieldTick, at(now))
	r.say(KindCronJob, "beat", FieldNext, at(now+4))
	r.wantHits("tick", map[string]int{"tick": 1, "done": 0})
	r.run(1)
	if v := r.volts("/cronjob/beat/phase"); v < 2.4 || v > 3 {
		t.Errorf("after 1.1 s of 4 s the phase is at %.2f V", v)
	}
	last, _, _ := r.Value("/cronjob/beat/phase")
	for range 10 {
		v := r.volts("/cronjob/beat/phase")
		if v <= last {
			t.Errorf("the ramp stands at %.2f V", v)
		}
		last = v
	}
	r.run(4)
	r.want("/cronjob/beat/phase", 10) // late: it waits at the top
	r.say(KindCronJob, "beat", FieldActive, "2")
	r.say(KindCronJob, "beat", FieldActive, "1")
	r.wantHits("one of two is over", map[string]int{"done": 1})
	r.want("/cronjob/beat/active", 10)
	r.say(KindCronJob, "beat", FieldNext, "") // suspended
	r.run(0.3)
	r.want("/cronjob/beat/phase", 0)
}

// TestJobPanel: the newest run of a Job is shown, under its module's name.
func TestJobPanel(t *testing.T) {
	r := newRig(t)
	r.plug([]instrument.Module{{ID: "job/shot", Params: map[string]float64{"completions": 4}}}, nil,
		map[string]string{"complete": "job/shot/complete", "failed": "job/shot/failed"})
	say := func(run int, field, now string) {
		r.Apply(Transition{Object: Object{Kind: KindJob, Name: fmt.Sprintf("shot-%d", run), UID: fmt.Sprint(run)}, Owner: "shot", Field: field, New: now}, r.frame+1)
	}
	say(9, FieldExists, "true")
	say(9, FieldActive, "2")
	r.want("/job/shot/active", 10)
	say(9, FieldSucceeded, "1")
	r.want("/job/shot/progress", 2.5)
	say(9, FieldSucceeded, "4")
	say(9, FieldActive, "0")
	say(9, FieldComplete, "true")
	r.wantHits("done", map[string]int{"complete": 1, "failed": 0})
	r.want("/job/shot/active", 0)
	r.want("/job/shot/progress", 10)
	// The next run comes before the last is gone; what is said of that no longer
	// counts.
	say(10, FieldExists, "true")
	r.want("/job/shot/progress", 0)
	say(10, FieldActive, "1")
	say(9, FieldActive, "0")
	say(9, FieldExists, "")
	r.want("/job/shot/active", 10)
	say(10, FieldComplete, "failed")
	r.wantHits("given up", map[string]int{"complete": 0, "failed": 1})
	r.want("/job/shot/active", 0)
	say(10, FieldExists, "")
	r.want("/job/shot/progress", 0)
	// Listed as done: nothing happened just now.
	r.Apply(Transition{Object: Object{Kind: KindJob, Name: "shot-11", UID: "11"}, Owner: "shot", Field: FieldComplete, New: "true", Quiet: true}, r.frame+1)
	r.wantHits("listed", map[string]int{"complete": 0, "failed": 0})
	r.want("/job/shot/progress", 10)
}

func TestNamespacePanel(t *testing.T) {
	r := newRig(t)
	r.plug(ids("namespace/case"), nil, map[string]string{"refused": "namespace/case/refused"})
	r.quietly(func() {
		for i := range 16 {
			r.pod(fmt.Sprintf("sel-%d", i), FieldExists, "")
		}
	})
	r.want("/namespace/case/headroom", 10)
	r.want("/namespace/case/powered", 10)
	r.want("/namespace/case/pods", 0)
	r.say(KindNamespace, "k8s-synth", FieldHeadroom, "0.25")
	r.say(KindNamespace, "elsewhere", FieldHeadroom, "0.9")
	r.want("/namespace/case/headroom", 2.5)
	r.say(KindNamespace, "k8s-synth", FieldHeadroom, "")
	r.want("/namespace/case/headroom", 10)
	r.chord(3)
	r.pod("solo", FieldExists, "true", FieldPhase, "Running")
	r.want("/namespace/case/pods", 4)
	clear(r.hits)
	r.say(KindDeployment, "web", FieldReason, "FailedCreate")
	r.wantHits("refused", map[string]int{"refused": 1})
	r.say(KindDeployment, "web", FieldReason, "")
	r.quietly(func() { r.say(KindDeployment, "web", FieldReason, "FailedCreate") })
	r.wantHits("listed", map[string]int{"refused": 0})
	// Without power nothing is asked for, and nothing is missed.
	r.turnWord("/namespace/case/power", "off")
	r.want("/namespace/case/powered", 0)
	r.want("/deployment/web/error", -3)
	r.replicas(0)
	clear(r.hits)
	for _, n := range []string{"web-1", "web-2", "web-3", "solo"} {
		r.gone(n)
	}
	r.want("/deployment/web/error", 0)
	r.wantStruck(1, 0, 0)
	r.turnWord("/namespace/case/power", "on")
	r.want("/deployment/web/error", 3)
	r.turn("/namespace/case/power_gate", 0)
	r.want("/namespace/case/powered", 0)
	if tp, _ := r.Topology(); tp.Value("namespace/case", "power") != 0 {
		t.Error("the topology has power while the gate is low")
	}
	r.turn("/namespace/case/power_gate", 10)
	r.want("/namespace/case/powered", 10)
}

func TestWatchingController(t *testing.T) {
	r := newRig(t)
	r.plug([]instrument.Module{{ID: "controller/eye", Text: map[string]string{"object": "deployment/web"}}}, nil, nil)
	r.want("/controller/eye/watching", 10)
	r.say(KindDeployment, "web", FieldGen, "5")
	r.say(KindDeployment, "web", FieldObserved, "3")
	r.want("/controller/eye/lag", 2)
	r.want("/controller/eye/error", 2)
	r.say(KindDeployment, "web", FieldObserved, "5")
	r.want("/controller/eye/lag", 0)
	r.say(KindHPA, "auto", FieldGen, "2")
	r.want("/controller/eye/lag", 0)
	r.turnWord("/controller/eye/object", "hpa/auto")
	r.want("/controller/eye/lag", 2)
	r.say(KindHPA, "auto", FieldExists, "")
	r.want("/controller/eye/lag", 0)
	r.turnWord("/controller/eye/object", "")
	r.want("/controller/eye/watching", 0)
}

// TestCordonMutesThePanelsVoice: the voice of a Pod panel is mute while its
// node is cordoned, as that of its Deployment's channel is.
func TestCordonMutesThePanelsVoice(t *testing.T) {
	r := newRig(t)
	r.plug(ids("mixer/m", "audio_out/o"), [][2]string{{"pod/p1/audio", "mixer/m/left_1"}, {"mixer/m/left", "audio_out/o/left"}, {"mixer/m/right", "audio_out/o/right"}}, nil)
	r.Fade(true)
	r.say(KindNode, "stage-1", FieldExists, "true")
	r.ready("web-1")
	loud := func() (peak float32) {
		r.run(1.5) // tails end
		r.keep, r.sound = true, nil
		r.run(0.3)
		r.keep = false
		for _, v := range r.sound {
			peak = max(peak, v, -v)
		}
		return peak
	}
	if v := loud(); v < 0.01 {
		t.Fatalf("a ready pod is at %.4f V", v)
	}
	r.say(KindNode, "stage-1", FieldCordoned, "true")
	r.want("/pod/p1/ready", 0)
	r.want("/pod/p1/exists", 10)
	if v := loud(); v > 0.001 {
		t.Errorf("on a cordoned node the panel's voice is at %.4f V", v)
	}
	r.say(KindNode, "stage-1", FieldCordoned, "false")
	r.want("/pod/p1/phase", 5)
	if v := loud(); v < 0.01 {
		t.Errorf("after the cordon the panel's voice is at %.4f V", v)
	}
}

// TestBarePodKilled: a bare pod that goes while the patch holds it up was
// killed, and is struck; one that the patch let go is not.
func TestBarePodKilled(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(r *rig)
		want int
	}{
		"held by its switch": {func(r *rig) {}, 1},
		"its end alone is told": {func(r *rig) {
			r.pod("solo", FieldExists, "")
		}, 1},
		"let go": {func(r *rig) { r.turnWord("/pod/solo/hold", "off"); r.run(0.01); r.Topology() }, 0},
		"let go and held again": {func(r *rig) {
			r.turnWord("/pod/solo/hold", "off")
			r.Topology()
			r.turnWord("/pod/solo/hold", "on")
			r.Topology()
		}, 0},
		"another image": {func(r *rig) { r.turnWord("/pod/solo/image", "other"); r.Topology() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.plug(nil, nil, map[string]string{"struck": "pod/solo/event"})
			r.turnWord("/pod/solo/hold", "on")
			r.Topology()
			r.pod("solo", FieldExists, "true", FieldPhase, "Running", FieldReady, "true")
			r.run(0.05)
			clear(r.hits)
			c.do(r)
			r.pod("solo", FieldReady, "false", FieldDeleting, "true")
			r.pod("solo", FieldExists, "")
			r.wantHits(name, map[string]int{"struck": c.want})
			if c.want > 0 {
				if g := instrument.GestureAt(float32(r.volts("/pod/solo/kind"))); g != instrument.GestureFailed {
					t.Errorf("struck as %s", g)
				}
			}
		})
	}
	t.Run("by a gate", func(t *testing.T) {
		r := newRig(t)
		r.plug(nil, nil, map[string]string{"struck": "pod/solo/event"})
		r.turn("/pod/solo/lifecycle", 10)
		r.run(0.02)
		r.Topology()
		r.pod("solo", FieldExists, "true", FieldPhase, "Running", FieldReady, "true")
		r.run(0.05)
		clear(r.hits)
		r.pod("solo", FieldPhase, "Running", FieldDeleting, "true")
		r.wantHits("killed while the gate is high", map[string]int{"struck": 1})
	})
}

// TestVoiceWalks: whoever succeeds a pod that its node drove out takes its
// channel, and the place of the voice glides to the new node.
func TestVoiceWalks(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"drained": func(r *rig) {
			r.say(KindNode, "stage-1", FieldCordoned, "true")
			r.pod("web-2", FieldDeleting, "true")
		},
		"evicted by the API": func(r *rig) { r.pod("web-2", FieldReason, "EvictionByEvictionAPI", FieldDeleting, "true") },
		"evicted by the kubelet": func(r *rig) {
			r.pod("web-2", FieldReason, "Evicted", FieldPhase, "Failed")
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			for _, n := range []string{"stage-1", "stage-2"} {
				r.say(KindNode, n, FieldExists, "true")
			}
			r.quietly(func() {
				for i := range 16 { // what opens the gates that are read stands apart
					r.pod(fmt.Sprintf("sel-%d", i), FieldNode, "elsewhere")
				}
			})
			r.chord(3) // on stage-1, at the left
			r.quietly(func() { r.gone("web-1") })
			r.turn("/deployment/web/replicas", 2)
			r.quietly(func() { r.replicas(2) })
			r.run(0.1)
			clear(r.hits)
			if v := r.channel(1)["node"]; v > -3.9 {
				t.Fatalf("it stands at %.2f V", v)
			}
			end(r)
			r.run(0.02)
			if g := instrument.GestureAt(float32(r.volts("/pod/p2/kind"))); g != instrument.GestureEvicted {
				t.Errorf("it was struck as %s", g)
			}
			r.create("web-9") // the lowest free channel is the first, but this one succeeds
			r.wantGates("pods", "011")
			r.wantGates("pending", "01")
			r.pod("web-9", FieldNode, "stage-2")
			// Between its old place and its new one it is somewhere on the way.
			r.pod("web-9", FieldPhase, "Running", FieldReady, "true")
			clear(r.hits)
			if name != "evicted by the kubelet" {
				// The container's own end comes last; it is not its successor's.
				r.pod("web-2", FieldPhase, "Failed")
			}
			r.pod("web-2", FieldExists, "")
			r.run(0.1)
			if n := len(r.hits["event2"]); n > 2 {
				t.Errorf("its successor was struck %d times, want for its node and as it turns ready", n)
			}
			if g := instrument.GestureAt(float32(r.volts("/pod/p2/kind"))); g != instrument.GestureReady {
				t.Errorf("its successor was last struck as %s", g)
			}
			if v := r.channel(1)["node"]; v < 3.9 {
				t.Errorf("its successor stands at %.2f V, want 4 V", v)
			}
			r.wantGates("ready", map[bool]string{true: "01", false: "011"}[name == "drained"])
			r.want("/deployment/web/error", 0)
		})
	}
}

// TestUnschedulable: what has no room waits, breathes, and is missed.
func TestUnschedulable(t *testing.T) {
	r := newRig(t)
	r.turn("/deployment/web/replicas", 2)
	r.ready("web-1")
	r.create("web-2")
	r.pod("web-2", FieldReason, "Unschedulable")
	r.wantGates("pending", "01")
	r.want("/pod/p2/phase", 0)
	r.want("/pod/p2/exists", 10)
	r.run(5)
	r.want("/deployment/web/error", 1)
	r.pod("web-2", FieldNode, "stage-1", FieldPhase, "Running", FieldReady, "true")
	r.wantGates("pending", "")
	r.want("/deployment/web/error", 0)
}

// TestProblem: what a neighbour could not do is a trigger at the API Server.
func TestProblem(t *testing.T) {
	r := newRig(t)
	r.struck("problem", 0)
	r.Problem(Problem{Where: "topology", Text: "forbidden"})
	r.run(0.01)
	r.Problem(Problem{Where: "topology", Text: "forbidden"})
	if n := r.struck("problem", 0.05); n != 2 {
		t.Errorf("%d triggers, want 2", n)
	}
}

func TestStormPolicies(t *testing.T) {
	for policy, want := range map[StormPolicy][2]int{"": {8, 30}, StormCloud: {8, 30}, StormFirst: {1, 1}, StormAll: {400, 400}} {
		r := newRig(t, func(c *Config) { c.StormPolicy = policy })
		r.chord(1)
		clear(r.hits)
		for i := range 400 { // 200 a second
			r.pod("web-1", FieldRestarts, fmt.Sprint(i+1))
			r.run(0.005)
		}
		if n := r.struck("event1", 0.5); n < want[0] || n > want[1] {
			t.Errorf("policy %q struck %d of 400 events, want %d … %d", policy, n, want[0], want[1])
		}
		if v := r.volts("/apiserver/api/density"); v < 3 {
			t.Errorf("policy %q: the density is at %.2f V", policy, v)
		}
		// Once it is rare again, it is heard again.
		r.run(1)
		r.pod("web-1", FieldRestarts, "1000")
		if n := r.struck("event1", 0.1); n != 1 {
			t.Errorf("policy %q: after the storm one event gave %d strikes", policy, n)
		}
	}
	if err := StormPolicy("some").Check(); err == nil {
		t.Error("an unknown policy was taken")
	}
	for _, p := range append(StormPolicies, "") {
		if err := p.Check(); err != nil {
			t.Error(err)
		}
	}
}

// TestSweepOfEveryKind: what a new teller of the cluster does not name any
// more is gone, of every kind.
func TestSweepOfEveryKind(t *testing.T) {
	r := newRig(t)
	r.plug(append(ids("service/web", "ingress/door", "hpa/auto", "cronjob/beat", "job/shot", "node/stage-1"),
		instrument.Module{ID: "controller/eye", Text: map[string]string{"object": "hpa/auto"}}), nil, nil)
	tell := func() {
		r.say(KindService, "web", FieldEndpoints, "web-1")
		r.say(KindIngress, "door", FieldRoutes, "/=web")
		r.say(KindHPA, "auto", FieldDesired, "4")
		r.say(KindHPA, "auto", FieldGen, "4")
		r.say(KindCronJob, "beat", FieldActive, "1")
		r.say(KindJob, "shot", FieldActive, "1")
		r.say(KindNode, "stage-1", FieldReady, "true")
	}
	jacks := map[Address]float64{"/service/web/endpoint_count": 1, "/ingress/door/routes": 10, "/hpa/auto/desired": 4, "/cronjob/beat/active": 10,
		"/job/shot/active": 10, "/node/stage-1/ready": 10, "/controller/eye/lag": 4}
	r.quietly(tell)
	for a, v := range jacks {
		r.want(a, v)
	}
	again := func(f func()) {
		r.old = map[string]string{}
		for _, field := range []string{FieldSynced, FieldReachable} {
			r.Apply(Transition{Object: Object{Kind: KindAPIServer, Name: "api"}, Field: field, New: "false"}, r.frame+1)
		}
		r.quietly(func() {
			r.say(KindAPIServer, "apiserver", FieldReachable, "true")
			f()
			r.say(KindAPIServer, "apiserver", FieldSynced, "true")
		})
	}
	again(tell)
	for a, v := range jacks {
		r.want(a, v)
	}
	again(func() {})
	for a := range jacks {
		r.want(a, 0)
	}
	if n := len(r.board.objects) + len(r.board.generations) + len(r.board.nodes) + len(r.board.byName) + len(r.board.onNode); n != 0 {
		t.Errorf("%d things are still remembered", n)
	}
}
