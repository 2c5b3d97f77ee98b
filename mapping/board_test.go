package mapping

import (
	"fmt"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestSeat: a pod takes the lowest free channel, never moves, and frees it at
// the end of its life.
func TestSeat(t *testing.T) {
	r := newRig(t)
	for _, n := range []string{"web-1", "web-2", "web-3"} {
		r.live(n)
	}
	r.wantGates("pods", "111")
	r.gone("web-2")
	r.wantGates("pods", "101")
	r.want("/deployment/web/claim_2", 0)
	r.want("/deployment/web/claim_3", 10)
	r.live("web-4")
	r.live("web-5")
	r.wantGates("pods", "1111")
	r.gone("web-1")
	r.wantGates("pods", "0111")
	// One of the same name, but another pod, takes the free seat.
	r.live("web-1")
	r.wantGates("pods", "1111")
	// A dead pod frees its seat before it is deleted.
	r.pod("web-3", FieldPhase, "Failed")
	r.wantGates("pods", "1101")
	r.live("web-6")
	r.wantGates("pods", "1111")
	// Its late end takes nobody's seat.
	r.pod("web-3", FieldExists, "")
	r.wantGates("pods", "1111")
	if s := r.Cluster(); s.Unheard != 0 || s.Pods != 4+16 {
		t.Errorf("%+v", s)
	}
}

// TestRolloutClosesUp: new pods come before the old ones go, in other seats; at
// rest the chord has its first seats again, and the panels their replicas.
func TestRolloutClosesUp(t *testing.T) {
	r := newRig(t)
	r.turn("/deployment/web/replicas", 3)
	r.replicas(3)
	for _, n := range []string{"web-1", "web-2", "web-3"} {
		r.ready(n)
	}
	r.hash = "b"
	r.ready("web-4")
	r.ready("web-5")
	r.wantGates("pods", "11111")
	r.gone("web-1")
	r.gone("web-2")
	r.wantGates("pods", "00111")
	r.ready("web-6")
	r.wantGates("pods", "10111")
	r.gone("web-3")
	r.wantGates("pods", "111")
	r.wantGates("ready", "111")
	r.want("/deployment/web/claim_2", 10)
	r.want("/pod/p1/ready", 10)
	// And each goes from the seat that it has now.
	r.gone("web-4")
	r.wantGates("pods", "101")
}

// TestGates follows one pod through its life on every gate.
func TestGates(t *testing.T) {
	r := newRig(t)
	check := func(step, pods, pending, running, ready string) {
		t.Helper()
		for _, g := range [][2]string{{"pods", pods}, {"pending", pending}, {"running", running}, {"ready", ready}} {
			if got := r.gates(g[0]); got != g[1] {
				t.Errorf("%s: %s is %q, want %q", step, g[0], got, g[1])
			}
		}
	}
	check("nothing", "", "", "", "")
	r.create("web-1")
	check("pending", "1", "1", "", "")
	r.want("/pod/p1/exists", 10)
	r.want("/pod/p1/phase", 0)
	r.pod("web-1", FieldNode, "stage-1")
	check("scheduled", "1", "1", "", "")
	r.pod("web-1", FieldPhase, "Running")
	check("running", "1", "", "1", "")
	r.want("/pod/p1/phase", 5)
	r.want("/pod/p1/ready", 0)
	r.pod("web-1", FieldReady, "true")
	check("ready", "1", "", "1", "1")
	r.want("/pod/p1/ready", 10)
	r.pod("web-1", FieldReady, "false")
	check("unready", "1", "", "1", "")
	r.pod("web-1", FieldReady, "true", FieldDeleting, "true")
	check("deleting", "1", "", "1", "")
	r.want("/pod/p1/ready", 0)
	r.pod("web-1", FieldExists, "")
	check("gone", "", "", "", "")
	r.want("/pod/p1/exists", 0)
	r.want("/pod/p1/phase", 0)
}

func TestPodPhaseAndBarePod(t *testing.T) {
	r := newRig(t)
	// The observer calls the module of a bare pod its owner, without a replica.
	for phase, volts := range map[string]float64{"Pending": 0, "Running": 5, "Succeeded": 10, "Failed": -5, "Unknown": 0} {
		r.pod("solo", FieldExists, "true", FieldPhase, phase)
		r.want("/pod/solo/phase", volts)
		r.want("/pod/solo/exists", 10)
	}
	r.pod("solo", FieldPhase, "Running", FieldReady, "true")
	r.want("/pod/solo/ready", 10)
	r.wantGates("pods", "")
	r.want("/pod/p1/exists", 0)
	r.pod("solo", FieldExists, "")
	r.want("/pod/solo/exists", 0)
	r.want("/pod/solo/phase", 0)
	r.want("/pod/solo/ready", 0)
}

func TestNodes(t *testing.T) {
	r := newRig(t)
	node := func(slot int, want float64) {
		t.Helper()
		if got := r.channel(slot)["node"]; got < want-0.05 || got > want+0.05 {
			t.Errorf("slot %d stands at %.2f V, want %g V", slot, got, want)
		}
	}
	// Told in any order, they stand in the order of their names.
	for _, n := range []string{"stage-3", "stage-1", "stage-2"} {
		r.say(KindNode, n, FieldExists, "true")
		r.say(KindNode, n, FieldReady, "true")
		r.say(KindNode, n, FieldCordoned, "false")
	}
	for i, n := range []string{"stage-1", "stage-2", "stage-3", "elsewhere"} {
		name := fmt.Sprintf("web-%d", i+1)
		r.create(name)
		r.pod(name, FieldPhase, "Running", FieldNode, n, FieldReady, "true")
	}
	node(0, -4)
	node(1, 0)
	node(2, 4)
	node(3, 0)
	// A cordon mutes the voices of its node and changes nothing else.
	r.say(KindNode, "stage-2", FieldCordoned, "true")
	r.wantGates("running", "1011")
	r.wantGates("ready", "1011")
	r.wantGates("pods", "1111")
	r.wantGates("pending", "")
	if got := r.Cluster().Ready; got != 4 {
		t.Errorf("%d pods ready, want 4: a cordon does not stop pods", got)
	}
	r.say(KindNode, "stage-2", FieldCordoned, "false")
	r.wantGates("running", "1111")
	// A node that goes lets the others move apart.
	r.say(KindNode, "stage-3", FieldExists, "")
	node(0, -4)
	node(1, 4)
	node(2, 0)
	if got := r.Cluster().Nodes; got != 2 {
		t.Errorf("%d nodes, want 2", got)
	}
	r.say(KindNode, "stage-9", FieldExists, "") // never seen
	if got := r.Cluster().Nodes; got != 2 {
		t.Errorf("%d nodes, want 2", got)
	}
}

// TestError: the error is what the player asks for less what is ready, from
// the moment the knob turns.
func TestError(t *testing.T) {
	r := newRig(t)
	r.chord(2)
	r.want("/deployment/web/error", 0)
	r.want("/deployment/web/ready_count", 10)
	r.turn("/deployment/web/replicas", 5)
	r.run(0.04) // a report and the 10 ms in which a CV glides
	if v, _, _ := r.Value("/deployment/web/error"); v < 2.9 {
		t.Errorf("40 ms after the knob the error is %.2f V, want 3 V", v)
	}
	r.want("/deployment/web/ready_count", 4)
	r.ready("web-3")
	r.want("/deployment/web/error", 2)
	r.pod("web-3", FieldReady, "false")
	r.want("/deployment/web/error", 3)
	r.turn("/deployment/web/replicas", 0)
	r.want("/deployment/web/error", -2)
	r.want("/deployment/web/ready_count", 10)
	if late := r.Meters().Late; late != 0 {
		t.Errorf("%d events were late; a turned knob is on time", late)
	}
}

// TestErrorNeverStale: a level of an older state must not come after a newer
// one, whatever frames their causes have.
func TestErrorNeverStale(t *testing.T) {
	r := newRig(t)
	r.chord(3)
	apply := func(field, now string, frame int64) {
		r.Apply(Transition{Object: Object{Kind: KindPod, Namespace: "k8s-synth", Name: "web-1", UID: "uid-web-1-"}, Owner: "web", Replica: "a", Field: field, New: now}, frame)
	}
	// A transition that is to be heard in 30 ms, and a knob turned meanwhile.
	apply(FieldReady, "false", r.frame+1440)
	r.turn("/deployment/web/replicas", 6)
	r.run(0.2)
	r.want("/deployment/web/error", 4)
	// The second comes with an earlier stamp.
	apply(FieldReady, "true", r.frame+4000)
	apply(FieldReady, "false", r.frame+100)
	r.run(0.2)
	r.want("/deployment/web/error", 4)
	r.wantGates("ready", "011")
}

func TestSettled(t *testing.T) {
	r := newRig(t)
	settled := func(step string, want int) {
		t.Helper()
		if got := r.struck("settled", 0.05); got != want {
			t.Errorf("%s: settled %d times, want %d", step, got, want)
		}
	}
	r.chord(2)
	settled("a quiet list", 0)
	r.turn("/deployment/web/replicas", 4)
	settled("asked for more", 0)
	r.ready("web-3")
	settled("one of two", 0)
	r.ready("web-4")
	settled("all there", 1)
	r.say(KindDeployment, "web", FieldReadyPods, "4")
	r.say(KindEtcd, "etcd", FieldRevision, "9")
	settled("more status", 0)
	r.turn("/deployment/web/replicas", 3)
	r.run(0.01)
	r.pod("web-4", FieldReady, "false", FieldDeleting, "true")
	settled("one is going", 0)
	r.pod("web-4", FieldExists, "")
	settled("it is gone", 1)
	r.pod("web-1", FieldReady, "false")
	r.pod("web-1", FieldReady, "true")
	settled("a moment unready", 1)
	r.turn("/deployment/web/replicas", 0)
	r.run(0.01)
	for _, p := range []string{"web-1", "web-2", "web-3"} {
		r.gone(p)
	}
	settled("none left", 1)
}

// TestRollout goes through a rolling update as the controllers do it: one
// rollout gate, one settled trigger, and no pod is struck as killed.
func TestRollout(t *testing.T) {
	r := newRig(t)
	r.chord(3)
	status := func(fieldsAndValues ...string) {
		for i := 0; i < len(fieldsAndValues); i += 2 {
			r.say(KindDeployment, "web", fieldsAndValues[i], fieldsAndValues[i+1])
		}
	}
	r.quietly(func() { status(FieldGen, "1", FieldObserved, "1", FieldUpdated, "3", FieldReadyPods, "3") })
	r.want("/deployment/web/rollout", 0)
	status(FieldGen, "2")
	status(FieldObserved, "2", FieldUpdated, "0")
	// The old set shrinks before the first new pod is there.
	r.pod("web-3", FieldReady, "false", FieldDeleting, "true")
	r.hash = "b"
	r.live("web-n1")
	status(FieldUpdated, "1")
	r.want("/deployment/web/rollout", 10)
	r.pod("web-3", FieldExists, "")
	r.pod("web-n1", FieldReady, "true")
	r.run(0.05)
	for i, old := range []string{"web-2", "web-1"} {
		r.pod(old, FieldReady, "false", FieldDeleting, "true")
		r.pod(old, FieldExists, "")
		if i == 0 {
			r.want("/deployment/web/rollout", 10)
		}
		r.ready(fmt.Sprintf("web-n%d", i+2))
		r.run(0.05)
	}
	r.want("/deployment/web/rollout", 0)
	if got := r.struck("settled", 0.1); got != 1 {
		t.Errorf("settled %d times, want once, at the end", got)
	}
	for slot := 1; slot <= 4; slot++ {
		v, _, _ := r.Value(Address(fmt.Sprintf("/pod/p%d/kind", slot)))
		if g := instrument.GestureAt(float32(v)); g == instrument.GestureFailed {
			t.Errorf("slot %d was struck as failed in a rollout", slot)
		}
	}
}

// TestFullHouse: a pod that comes while every channel is taken counts, and
// gets the first channel that frees.
func TestFullHouse(t *testing.T) {
	r := newRig(t)
	r.chord(16)
	r.want("/deployment/web/error", 0)
	r.hash = "b"
	for i := range 4 {
		r.live(fmt.Sprintf("web-n%d", i))
	}
	if s := r.Cluster(); s.Unheard != 4 || s.Pods != 20+16 {
		t.Errorf("%+v", s)
	}
	// Whatever happens to the unheard ones breaks nothing.
	r.pod("web-n3", FieldReason, "OOMKilled", FieldRestarts, "1", FieldReady, "false")
	r.pod("web-n3", FieldPhase, "Failed")
	r.pod("web-n3", FieldExists, "")
	r.pod("web-n2", FieldExists, "")
	r.pod("web-n0", FieldReady, "true")
	r.pod("web-n1", FieldReady, "true")
	r.want("/deployment/web/error", -2)
	// A rollout of 16: as the old ones go, the new take their places, oldest first.
	r.gone("web-5")
	r.wantGates("pods", "1111111111111111")
	r.gone("web-2")
	r.wantGates("pods", "1111111111111111")
	r.want("/deployment/web/error", 0)
	r.gone("web-7")
	r.wantGates("pods", "1111110111111111")
	r.want("/deployment/web/error", 1)
	r.ready("web-n9")
	r.want("/deployment/web/error", 0)
	if s := r.Cluster(); s.Unheard != 4 || s.Pods != 16+16 {
		t.Errorf("%+v", s)
	}
}

// TestQuiet: a first list sets every level and strikes nothing.
func TestQuiet(t *testing.T) {
	r := newRig(t)
	r.turn("/deployment/web/replicas", 2)
	r.forgetStrikes()
	r.quietly(func() {
		r.replicas(2)
		r.ready("web-1")
		r.live("web-2")
		r.pod("web-2", FieldReason, "CrashLoopBackOff", FieldRestarts, "3")
		r.pod("web-3", FieldExists, "true", FieldPhase, "Failed", FieldNode, "stage-1", FieldReason, "Evicted", FieldRestarts, "0", FieldReady, "false")
		r.say(KindEtcd, "etcd", FieldRevision, "123")
		r.say(KindComposition, "c", FieldReason, "broken")
	})
	r.run(0.5)
	for name, at := range r.hits {
		if name != "alarm" {
			t.Errorf("%s was struck %d times by a list", name, len(at))
		}
	}
	r.wantGates("pods", "11")
	r.wantGates("ready", "1")
	r.want("/etcd/store/revision", 2.3)
	r.want("/deployment/web/error", 1)
}

func TestGestures(t *testing.T) {
	type step = []string
	for name, c := range map[string]struct {
		steps []step
		n     int
		g     instrument.Gesture
	}{
		"scheduled":                  {[]step{{FieldNode, "stage-2"}}, 1, instrument.GestureScheduled},
		"ready":                      {[]step{{FieldReady, "false"}, {FieldReady, "true"}}, 1, instrument.GestureReady},
		"failed":                     {[]step{{FieldPhase, "Failed"}}, 1, instrument.GestureFailed},
		"succeeded":                  {[]step{{FieldPhase, "Succeeded", FieldReady, "false"}}, 1, instrument.GestureSucceeded},
		"OOM, phase then reason":     {[]step{{FieldPhase, "Failed", FieldReason, "OOMKilled", FieldReady, "false"}}, 1, instrument.GestureOOM},
		"OOM, reason then phase":     {[]step{{FieldReason, "OOMKilled", FieldPhase, "Failed", FieldReady, "false"}}, 1, instrument.GestureOOM},
		"OOM, started again":         {[]step{{FieldReason, "OOMKilled", FieldRestarts, "1", FieldReady, "false"}}, 1, instrument.GestureOOM},
		"evicted":                    {[]step{{FieldPhase, "Failed", FieldReason, "Evicted"}}, 1, instrument.GestureEvicted},
		"evicted, reason then phase": {[]step{{FieldReason, "Evicted", FieldPhase, "Failed"}}, 1, instrument.GestureEvicted},
		"error, then back-off":       {[]step{{FieldReason, "Error", FieldReady, "false"}, {FieldReason, "CrashLoopBackOff"}}, 1, instrument.GestureCrashLoop},
		"crash loop goes on":         {[]step{{FieldReason, "CrashLoopBackOff", FieldReady, "false"}, {FieldRestarts, "1"}, {FieldRestarts, "2"}}, 3, instrument.GestureCrashLoop},
		"a plain restart":            {[]step{{FieldReason, "Error", FieldRestarts, "1", FieldReady, "false"}}, 1, instrument.GestureFailed},
		"unschedulable":              {[]step{{FieldReason, "Unschedulable"}}, 0, 0},
		"killed":                     {[]step{{FieldDeleting, "true", FieldReady, "false"}, {FieldExists, ""}}, 1, instrument.GestureFailed},
		"killed, only its end told":  {[]step{{FieldExists, ""}}, 1, instrument.GestureFailed},
		"dead, then deleted":         {[]step{{FieldPhase, "Failed"}, {FieldDeleting, "true"}, {FieldExists, ""}}, 1, instrument.GestureFailed},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.chord(3)
			for _, s := range c.steps {
				r.pod("web-2", s...)
				r.run(0.1)
			}
			if name == "ready" {
				r.run(0.1)
			}
			r.wantStruck(2, c.n, c.g)
			r.wantStruck(1, 0, 0)
			r.wantStruck(3, 0, 0)
		})
	}
}

// TestReasonOfASecondEnd: once a pod was ready again, its next end has a
// reason of its own.
func TestReasonOfASecondEnd(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	r.pod("web-1", FieldReason, "OOMKilled", FieldRestarts, "1", FieldReady, "false")
	r.wantStruck(1, 1, instrument.GestureOOM)
	if got := r.struck("restart", 0.01); got != 1 {
		t.Errorf("%d restart triggers, want 1", got)
	}
	r.pod("web-1", FieldReason, "", FieldReady, "true")
	r.wantStruck(1, 1, instrument.GestureReady)
	r.pod("web-1", FieldPhase, "Failed")
	r.wantStruck(1, 1, instrument.GestureFailed)
}

func TestScaledDownIsNoFailure(t *testing.T) {
	for name, scale := range map[string]func(r *rig){
		"by the player": func(r *rig) {
			r.turn("/deployment/web/replicas", 1)
			r.run(0.05)
			r.replicas(1)
		},
		"by kubectl": func(r *rig) { r.replicas(1) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			r.chord(3)
			scale(r)
			r.run(0.1)
			clear(r.hits)
			r.pod("web-3", FieldReady, "false", FieldDeleting, "true")
			r.pod("web-2", FieldReady, "false", FieldDeleting, "true")
			r.run(0.1)
			r.pod("web-3", FieldExists, "")
			r.pod("web-2", FieldExists, "")
			for slot := 1; slot <= 3; slot++ {
				r.wantStruck(slot, 0, 0)
			}
			// The one that is left is missed if it goes.
			r.pod("web-1", FieldDeleting, "true")
			r.wantStruck(1, 1, instrument.GestureFailed)
		})
	}
}

// TestScaleGestures: what the player asks for sounds when it is asked, what
// somebody else asks for sounds when the cluster tells of it, and no echo
// sounds again.
func TestScaleGestures(t *testing.T) {
	r := newRig(t)
	r.chord(3)
	heard := func(step string, want ...instrument.Gesture) {
		t.Helper()
		if got := r.struck("event0", 0.1); got != len(want) {
			t.Errorf("%s: %d gestures, want %d", step, got, len(want))
		}
		if len(want) > 0 {
			if got := instrument.GestureAt(float32(r.volts("/deployment/web/kind"))); got != want[0] {
				t.Errorf("%s: %s, want %s", step, got, want[0])
			}
		}
	}
	r.turn("/deployment/web/replicas", 5)
	heard("more", instrument.GestureUp)
	r.replicas(5)
	heard("its echo")
	r.turn("/deployment/web/replicas", 2)
	heard("fewer", instrument.GestureDown)
	r.turn("/deployment/web/replicas", 4)
	heard("more again", instrument.GestureUp)
	r.replicas(2)
	heard("the echo of a wish that was overtaken")
	r.replicas(4)
	heard("the echo of the last")
	r.replicas(7)
	heard("kubectl scale up", instrument.GestureUp)
	r.replicas(4)
	heard("the repair")
	r.replicas(2)
	heard("kubectl scale down", instrument.GestureDown)
	r.quietly(func() { r.replicas(6) })
	heard("a relist")
	r.replicas(4)
	heard("the repair")
	// A Deployment that is deleted and made anew was scaled by nobody.
	r.say(KindDeployment, "web", FieldExists, "")
	r.replicas(1)
	heard("made anew")
}

func TestForeignDeploymentHasItsSpecAsWish(t *testing.T) {
	r := newRig(t)
	p := r.Patch().Clone()
	r.say(KindDeployment, "other", FieldExists, "true")
	r.say(KindDeployment, "other", FieldReplicas, "4")
	p.Modules = append(p.Modules, instrument.Module{ID: "deployment/other", Params: map[string]float64{"replicas": 4}})
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.want("/deployment/other/error", 4)
}

func TestBootAndSync(t *testing.T) {
	boot := func(r *rig) float64 { return r.volts("/apiserver/api/boot") } // the first stage
	t.Run("embedded", func(t *testing.T) {
		r := emptyRig(t, Config{SampleRate: testRate, Channels: 2, Embedded: true, Storm: 8})
		// Each stage on a cable of its own: a 16-channel gate is summed to one
		// voltage a stage.
		p := &instrument.Patch{Modules: []instrument.Module{{ID: "apiserver/api"}, {ID: "mixer/m"}}, Cables: []instrument.Cable{
			cable("apiserver/api/boot", "mixer/m/left_1"), cable("apiserver/api/boot", "mixer/m/right_1")}}
		if err := r.Load(p); err != nil {
			t.Fatal(err)
		}
		r.run(0.1)
		stages := func(want float64) {
			t.Helper()
			r.want("/mixer/m/left", 10*want)
		}
		stages(0)
		r.say(KindAPIServer, "apiserver", FieldReachable, "false")
		for i, s := range BootStages {
			r.say(KindCluster, "cluster", FieldBoot, s)
			if s == BootAPIServer {
				stages(2) // nobody has opened the door yet
				r.say(KindAPIServer, "apiserver", FieldReachable, "true")
			}
			stages(float64(i + 1))
			if got := r.Cluster().Boot; got != s {
				t.Errorf("boot is at %q, want %q", got, s)
			}
		}
		r.say(KindCluster, "cluster", FieldBoot, "no such stage")
		stages(8)
		r.say(KindAPIServer, "apiserver", FieldReachable, "false")
		stages(2)
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		stages(8)
		r.say(KindCluster, "cluster", FieldBoot, "")
		stages(0)
	})
	t.Run("another cluster", func(t *testing.T) {
		r := newRig(t, func(c *Config) { c.Embedded = false })
		if v := boot(r); v != 10 {
			t.Errorf("boot is at %g V, want 10", v)
		}
	})
	t.Run("sync", func(t *testing.T) {
		r := newRig(t)
		r.want("/apiserver/api/sync", 10)
		r.struck("alarm", 0)
		r.say(KindAPIServer, "apiserver", FieldReachable, "false")
		r.want("/apiserver/api/sync", 0)
		if n := r.struck("alarm", 3); n < 1 {
			t.Error("no pulse while the API does not answer")
		}
		r.say(KindAPIServer, "apiserver", FieldSynced, "false")
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		r.want("/apiserver/api/sync", 0)
		r.say(KindAPIServer, "apiserver", FieldSynced, "true")
		r.want("/apiserver/api/sync", 10)
	})
}

func TestStoreAndComposition(t *testing.T) {
	r := newRig(t)
	for i := range 3 {
		r.say(KindEtcd, "etcd", FieldRevision, fmt.Sprint(1098+i))
		r.say(KindEtcd, "etcd", FieldLatency, "0.025")
		r.run(0.1)
	}
	if got := r.struck("heartbeat", 0.05); got != 3 {
		t.Errorf("%d heartbeats, want 3", got)
	}
	r.want("/etcd/store/revision", 0)
	r.want("/etcd/store/commit_latency", 2.5)
	r.say(KindEtcd, "etcd", FieldLatency, "3.2")
	r.want("/etcd/store/commit_latency", 10)
	for _, bad := range []string{"", "soon", "-1", "NaN"} {
		r.say(KindEtcd, "etcd", FieldLatency, bad)
		r.say(KindEtcd, "etcd", FieldRevision, bad)
		r.want("/etcd/store/commit_latency", 10)
	}
	r.say(KindComposition, "c", FieldLatency, "0.151")
	r.want("/apiserver/api/reconcile_latency", 1.51)
	if got := r.struck("problem", 0); got != 0 {
		t.Errorf("%d problems, want none", got)
	}
	r.say(KindComposition, "c", FieldReason, "the synthesizer failed")
	r.say(KindComposition, "c", FieldReason, "")
	if got := r.struck("problem", 0.05); got != 1 {
		t.Errorf("%d problems, want 1", got)
	}
}

// TestRelist: what a relist brings is quiet; what a new teller of the cluster
// does not name any more is gone, and nothing of it is struck.
func TestRelist(t *testing.T) {
	r := newRig(t)
	r.chord(3)
	r.quietly(func() { r.pod("web-2", FieldExists, "") })
	r.wantGates("pods", "101")
	r.wantStruck(2, 0, 0)

	// The teller dies, as cmd tells it; one pod goes unseen.
	r.old = map[string]string{}
	gone := func(field string) {
		r.Apply(Transition{Object: Object{Kind: KindAPIServer, Name: "api"}, Field: field, New: "false"}, r.frame+1)
	}
	gone(FieldSynced)
	gone(FieldReachable)
	r.wantGates("pods", "101")
	r.quietly(func() {
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		for i := range 16 {
			r.live(fmt.Sprintf("sel-%d", i))
		}
		r.ready("web-3")
		r.say(KindAPIServer, "apiserver", FieldSynced, "true")
	})
	r.wantGates("pods", "001")
	r.want("/pod/p1/exists", 0)
	r.want("/deployment/web/error", 2)
	for slot := 1; slot <= 3; slot++ {
		r.wantStruck(slot, 0, 0)
	}
	if s := r.Cluster(); s.Pods != 17 {
		t.Errorf("%d pods, want 17", s.Pods)
	}
	// An outage of the API alone keeps everything.
	r.say(KindAPIServer, "apiserver", FieldReachable, "false")
	r.say(KindAPIServer, "apiserver", FieldSynced, "false")
	r.say(KindAPIServer, "apiserver", FieldReachable, "true")
	r.say(KindAPIServer, "apiserver", FieldSynced, "true")
	r.wantGates("pods", "001")
}

// TestStorm: 500 events a second become density; the first and the last of a
// kind are struck singly, and the strikes of one jack stay apart.
func TestStorm(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	r.chunk = 8 // so fine do the tests see when a trigger comes
	r.want("/apiserver/api/density", 0)
	clear(r.hits)
	const seconds, rate = 4, 500
	restarts := 0
	end := r.frame + seconds*testRate
	for next := r.frame; r.frame < end; r.block() {
		for ; next <= r.frame; next += testRate / rate {
			restarts++
			r.pod("web-1", FieldRestarts, fmt.Sprint(restarts))
		}
	}
	if v := r.volts("/apiserver/api/density"); v < 8 || v > 10 {
		t.Errorf("the density of 500 events a second is %.2f V, want about 9 V", v)
	}
	hits := r.hits["event1"]
	if n := len(hits); n < 8 || n > 8+seconds*8+2 {
		t.Errorf("%d of %d events were struck singly, want about 8 at first and 8 a second", n, restarts)
	}
	if g := gaps(hits); g < strikeGap-2*8./testRate {
		t.Errorf("two strikes are %.2f ms apart", 1000*g)
	}
	last := hits[len(hits)-1]
	r.chunk = instrument.BlockSize
	r.run(0.5)
	after := r.hits["event1"]
	if len(after) > 0 && after[len(after)-1] <= last || len(after) == len(hits) && float64(last-end)/testRate < 0.15 {
		t.Errorf("the last of the storm was not struck: last strike %.3f s after it", float64(after[len(after)-1]-end)/testRate)
	}
	r.run(6)
	r.want("/apiserver/api/density", 0)
	// And the next one is the first again.
	clear(r.hits)
	r.pod("web-1", FieldRestarts, fmt.Sprint(restarts+1))
	r.wantStruck(1, 1, instrument.GestureFailed)
}

// TestStormIsCounted: what a storm swallows is counted, and what is struck
// and counted together is all that happened.
func TestStormIsCounted(t *testing.T) {
	for _, policy := range StormPolicies {
		struck, all := 0, 400
		b := newBoard(Config{SampleRate: 48000, Storm: 10, StormPolicy: policy}, func(instrument.Event) {})
		for i := range all {
			b.gesture(instrument.Gesture(1), int64(i)*480, func(int64) { struck++ })
		}
		b.tick(int64(all) * 480 * 2) // the last one is heard
		if got := struck + int(b.cloud.thinned); got != all || (policy == StormAll) != (b.cloud.thinned == 0) {
			t.Errorf("%s: %d were struck and %d counted as thinned, of %d", policy, struck, b.cloud.thinned, all)
		}
	}
}

// TestStrikesStayApart: different gestures at one moment on one jack are all
// heard, one after the other.
func TestStrikesStayApart(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	r.chunk = 8
	r.pod("web-1", FieldNode, "stage-2", FieldReady, "false", FieldReady, "true", FieldReason, "OOMKilled", FieldPhase, "Succeeded")
	r.run(0.1)
	hits := r.hits["event1"]
	if len(hits) != 4 {
		t.Errorf("%d strikes, want 4", len(hits))
	}
	if g := gaps(hits); g < strikeGap-2*8./testRate {
		t.Errorf("two strikes are %.2f ms apart", 1000*g)
	}
}

// TestEndlessStorm: what comes and goes leaves nothing behind.
func TestEndlessStorm(t *testing.T) {
	r := newRig(t)
	before := r.Cluster().Pods
	for i := range 20000 {
		name := fmt.Sprintf("web-%d", i)
		r.create(name)
		switch i % 4 {
		case 0:
			r.pod(name, FieldPhase, "Failed", FieldReason, "Error")
		case 1:
			r.pod(name, FieldPhase, "Running", FieldReady, "true", FieldDeleting, "true")
		case 2:
			r.say(KindDeployment, fmt.Sprintf("other%d", i), FieldExists, "true")
			r.say(KindDeployment, fmt.Sprintf("other%d", i), FieldReplicas, "1")
			r.ready(fmt.Sprintf("other%d-1", i))
			r.say(KindDeployment, fmt.Sprintf("other%d", i), FieldExists, "")
			r.pod(fmt.Sprintf("other%d-1", i), FieldExists, "")
		}
		r.pod(name, FieldExists, "")
		clear(r.old)
		if i%20 == 0 {
			r.block()
		}
	}
	r.run(0.2)
	b := r.board
	if got := r.Cluster().Pods; got != before {
		t.Errorf("%d pods are remembered, %d are there", got, before)
	}
	if n := len(b.deployments); n != 2 {
		t.Errorf("%d deployments are remembered, want 2", n)
	}
	if n := cap(r.backlog); n > 2*backlogSize {
		t.Errorf("room for %d events was taken", n)
	}
	r.wantGates("pods", "")
}

// TestSuccessorOfABarePod: a panel shows the pod that stays, whatever order
// they are found in.
func TestSuccessorOfABarePod(t *testing.T) {
	for _, uids := range [][2]string{{"a", "b"}, {"b", "a"}} {
		r := newRig(t)
		say := func(uid, field, now string) {
			r.Apply(Transition{Object: Object{Kind: KindPod, Namespace: "k8s-synth", Name: "solo-" + uid, UID: uid}, Owner: "solo", Field: field, New: now}, r.frame+1)
		}
		old, next := uids[0], uids[1]
		say(old, FieldPhase, "Failed")
		say(old, FieldDeleting, "true")
		say(next, FieldPhase, "Running")
		r.want("/pod/solo/phase", 5)
		if err := r.Load(r.Patch().Clone()); err != nil {
			t.Fatal(err)
		}
		r.want("/pod/solo/phase", 5)
		say(old, FieldExists, "")
		r.want("/pod/solo/phase", 5)
		say(next, FieldExists, "")
		r.want("/pod/solo/exists", 0)
	}
}
