package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// last returns the newest value that each thing was set to, as
// "name setting=value", in order.
func last(sets []Setting) (lines []string) {
	m := map[string]string{}
	for _, s := range sets {
		m[s.Object.Name+" "+s.Name] = s.Value
	}
	for k, v := range m {
		lines = append(lines, k+"="+v)
	}
	slices.Sort(lines)
	return lines
}

// wantSets checks what was set since the last call, leaving out the rig's own
// second Deployment.
func (r *rig) wantSets(step string, want ...string) {
	r.t.Helper()
	r.run(0.1)
	got := last(slices.DeleteFunc(r.sets, func(s Setting) bool { return strings.HasPrefix(s.Object.Name, "sel-") }))
	slices.Sort(want)
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: set %q, want %q", step, got, want)
	}
	r.sets = nil
}

// TestPodSettings: a pod bears what its panel asks for and its share of what
// its Deployment does, and has the name of the panel that shows it.
func TestPodSettings(t *testing.T) {
	r := newRig(t)
	r.run(0.1)
	r.sets = nil
	r.live("web-1")
	r.live("web-2")
	r.wantSets("two come", "web-1 panel=p1", "web-2 panel=p2")
	r.turn("/deployment/web/cpu", 600)
	r.wantSets("nobody is ready")
	r.pod("web-1", FieldReady, "true")
	r.wantSets("one is ready", "web-1 cpu=600")
	r.pod("web-2", FieldReady, "true")
	r.wantSets("two are", "web-1 cpu=300", "web-2 cpu=300")
	r.turn("/pod/p2/cpu", 50)
	r.turn("/pod/p2/memory", 64)
	r.wantSets("a panel's own", "web-2 cpu=350", "web-2 memory=64")
	r.pod("web-1", FieldReady, "false")
	r.wantSets("one is ready no more", "web-1 cpu=", "web-2 cpu=650")
	r.turn("/deployment/web/cpu", 0)
	r.wantSets("all back", "web-2 cpu=50")
	// A replica goes; its successor on the panel takes over.
	r.gone("web-2")
	r.live("web-3")
	r.wantSets("a successor", "web-3 cpu=50", "web-3 memory=64", "web-3 panel=p2")
	// More than there are voices have their share all the same.
	r.turn("/deployment/web/replicas", 16)
	for i := range 20 {
		r.ready(fmt.Sprintf("web-n%d", i))
	}
	r.run(0.1)
	r.sets = nil
	r.turn("/deployment/web/cpu", 2000)
	r.run(0.1)
	n := 0
	for _, s := range r.sets {
		if s.Name == SetCPU && s.Value == "100" {
			n++
		}
	}
	if n != 20 {
		t.Errorf("%d of 20 ready pods bear their share of 2000 m: %v", n, last(r.sets))
	}
	// What cannot be divided is borne whole all the same: 20 x 25 are more than 483.
	r.sets = nil
	r.turn("/deployment/web/cpu", 483)
	r.run(0.1)
	total, most := 0, 0
	for _, s := range r.sets {
		if v, err := strconv.Atoi(s.Value); s.Name == SetCPU && err == nil {
			total, most = total+v, max(most, v)
		}
	}
	if total != 483 || most != 25 {
		t.Errorf("20 pods bear %d of 483 m, one of them %d: %v", total, most, last(r.sets))
	}
	// A bare pod bears what its panel says, and has no panel's name.
	r.turn("/deployment/web/cpu", 0)
	r.run(0.1)
	r.sets = nil
	r.pod("solo", FieldExists, "true", FieldPhase, "Running")
	r.turn("/pod/solo/cpu", 70)
	r.wantSets("a bare pod", "solo cpu=70")
	// What is none of the patch's is left alone.
	r.ready("other-1")
	r.wantSets("another's")
}

// TestListedPodsAreTakenOver: what was there before may bear what a player
// before this one asked of it.
func TestListedPodsAreTakenOver(t *testing.T) {
	r := newRig(t)
	r.run(0.1)
	r.sets = nil
	r.turn("/pod/p1/cpu", 20)
	r.quietly(func() { r.ready("web-1"); r.ready("web-2") })
	r.wantSets("listed", "web-1 cpu=20", "web-1 memory=", "web-1 panel=p1", "web-2 cpu=", "web-2 memory=", "web-2 panel=p2")
	r.quietly(func() { r.pod("web-1", FieldLoad, "20") })
	r.wantSets("once is enough")
}

// TestPanelNamePassesOn: a panel's name is on one pod at a time, also while an
// evicted one is still on its way out.
func TestPanelNamePassesOn(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	r.run(0.1)
	r.sets = nil
	r.say(KindNode, "stage-1", FieldExists, "true")
	r.say(KindNode, "stage-1", FieldCordoned, "true")
	r.pod("web-1", FieldDeleting, "true")
	r.create("web-2")
	r.wantSets("its successor comes", "web-1 panel=", "web-2 panel=p1")
	r.pod("web-1", FieldExists, "")
	r.wantSets("it is gone")
	if n := len(r.settings.panels); n != 1 {
		t.Errorf("%d panels are remembered", n)
	}
	r.gone("web-2")
	if n := len(r.settings.panels); n != 0 {
		t.Errorf("%d panels are remembered", n)
	}
}

// TestSettingRate: a knob that is turned without rest is told at most 50 times
// a second, and its last position always.
func TestSettingRate(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	r.sets = nil
	var at []int64
	r.Setting = func(s Setting) {
		if s.Name == SetCPU && s.Object.Name == "web-1" {
			at = append(at, r.frame)
			r.sets = append(r.sets, s)
		}
	}
	for i := range 500 { // one a block: 750 a second
		r.turn("/pod/p1/cpu", float64(i+1))
		r.block()
	}
	r.run(0.1)
	if n := len(at); n < 30 || n > 35 {
		t.Errorf("500 positions in 0.67 s were told %d times", n)
	}
	if g := gaps(at); g < 0.0199 {
		t.Errorf("two were told %.2f ms apart", 1000*g)
	}
	if s := r.sets[len(r.sets)-1]; s.Value != "500" {
		t.Errorf("the last is %s, want 500", s.Value)
	}
	// Back and forth between two tellings is nothing.
	n := len(at)
	r.turn("/pod/p1/cpu", 7)
	r.turn("/pod/p1/cpu", 500)
	r.run(0.1)
	if len(at) != n {
		t.Errorf("told %q though nothing changed", r.sets[n:])
	}
	// By CV it comes from the engine.
	r.turn("/pod/p1/cpu_cv", 2)
	r.run(0.2)
	if s := r.sets[len(r.sets)-1]; s.Value != "700" {
		t.Errorf("500 m and 2 V are %s m, want 700", s.Value)
	}
	r.turn("/pod/p1/cpu_cv", 0)
	r.run(0.2)
	if s := r.sets[len(r.sets)-1]; s.Value != "500" {
		t.Errorf("without its CV the knob is %s m, want 500", s.Value)
	}
}

// nodeRig has a rig with a Node panel; params are those of the scene.
func nodeRig(t *testing.T, params map[string]float64) *rig {
	r := newRig(t)
	r.plug([]instrument.Module{{ID: "node/stage-1", Params: params}}, nil, nil)
	r.sets = nil
	return r
}

func (r *rig) node(cordoned, capacity string) {
	r.say(KindNode, "stage-1", FieldExists, "true")
	r.say(KindNode, "stage-1", FieldCordoned, cordoned)
	r.say(KindNode, "stage-1", FieldCapacity, capacity)
}

// echo tells what was set on the node, as the cluster does when it is done.
func (r *rig) echo() {
	for _, s := range last(r.sets) {
		name, value, _ := strings.Cut(strings.TrimPrefix(s, "stage-1 "), "=")
		switch name {
		case SetCordon:
			r.say(KindNode, "stage-1", FieldCordoned, value)
		case SetCapacity:
			r.say(KindNode, "stage-1", FieldCapacity, value)
		}
	}
	r.sets = nil
}

func (r *rig) value(a Address) float64 {
	r.t.Helper()
	v, _, err := r.Value(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func TestNodeSettings(t *testing.T) {
	t.Run("the panel follows a node that is first seen", func(t *testing.T) {
		r := nodeRig(t, nil)
		var told []string
		r.Changed = func(a Address, v float64, _, source string) {
			if source == SourceCluster {
				told = append(told, fmt.Sprintf("%s=%g", a, v))
			}
		}
		r.quietly(func() { r.node("true", "8000") })
		r.wantSets("first sight")
		if c, k := r.value("/node/stage-1/cordon"), r.value("/node/stage-1/capacity"); c != 1 || k != 8000 {
			t.Errorf("cordon stands at %g, capacity at %g", c, k)
		}
		slices.Sort(told)
		if !slices.Equal(told, []string{"/node/stage-1/capacity=8000", "/node/stage-1/cordon=1"}) {
			t.Errorf("told %q", told)
		}
		r.turnWord("/node/stage-1/cordon", "off")
		r.wantSets("a hand uncordons", "stage-1 cordon=false")
	})
	t.Run("turned for as long as the cluster is away", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		r.say(KindAPIServer, "apiserver", FieldReachable, "false")
		for i := range 2 * echoesMost {
			r.turn("/node/stage-1/capacity", float64(2000+i))
			r.run(0.02)
		}
		l := r.settings.nodes["node/stage-1"]
		if n := len(l.capacity.echoes); n == 0 || n > echoesMost {
			t.Errorf("%d values wait to be told of, want at most %d", n, echoesMost)
		}
		last := fmt.Sprint(2000 + 2*echoesMost - 1)
		if s := r.sets[len(r.sets)-1]; s.Value != last {
			t.Errorf("last set %+v, want %s", s, last)
		}
		// What it was told last is no news when it is back.
		r.sets = nil
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		r.say(KindNode, "stage-1", FieldCapacity, last)
		r.run(0.1)
		if v := r.value("/node/stage-1/capacity"); fmt.Sprint(v) != last || len(r.sets) != 0 {
			t.Errorf("the knob stands at %g, set %v", v, r.sets)
		}
	})
	t.Run("what the scene says is done", func(t *testing.T) {
		r := nodeRig(t, map[string]float64{"cordon": 1, "capacity": 2000})
		r.quietly(func() { r.node("false", "8000") })
		r.wantSets("first sight", "stage-1 cordon=true", "stage-1 capacity=2000")
	})
	t.Run("what the scene says is so already", func(t *testing.T) {
		r := nodeRig(t, map[string]float64{"cordon": 0, "capacity": 8000})
		r.quietly(func() { r.node("false", "8000") })
		r.wantSets("first sight")
	})
	t.Run("kubectl cordons, the panel follows", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		r.say(KindNode, "stage-1", FieldCordoned, "true")
		r.wantSets("cordoned by another")
		if v := r.value("/node/stage-1/cordon"); v != 1 {
			t.Errorf("the switch stands at %g", v)
		}
		r.say(KindNode, "stage-1", FieldCordoned, "false")
		r.say(KindNode, "stage-1", FieldCapacity, "3000")
		r.wantSets("uncordoned and shrunk by another")
		if v := r.value("/node/stage-1/capacity"); v != 3000 {
			t.Errorf("the knob stands at %g", v)
		}
		// And a hand has the last word.
		r.turnWord("/node/stage-1/cordon", "on")
		r.wantSets("a hand", "stage-1 cordon=true")
	})
	t.Run("an echo is no hand", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		for _, c := range []float64{5000, 6000, 7000} {
			r.turn("/node/stage-1/capacity", c)
			r.run(0.03)
		}
		r.turnWord("/node/stage-1/cordon", "on")
		r.run(0.03)
		r.turnWord("/node/stage-1/cordon", "off")
		r.run(0.1)
		r.sets = nil
		for _, c := range []string{"5000", "6000", "7000"} { // late, one by one
			r.say(KindNode, "stage-1", FieldCapacity, c)
			r.run(0.05)
		}
		r.say(KindNode, "stage-1", FieldCordoned, "true")
		r.run(0.05)
		r.say(KindNode, "stage-1", FieldCordoned, "false")
		r.wantSets("echoes")
		if c, k := r.value("/node/stage-1/cordon"), r.value("/node/stage-1/capacity"); c != 0 || k != 7000 {
			t.Errorf("cordon stands at %g, capacity at %g", c, k)
		}
	})
	t.Run("what the cluster does not do does not stand", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		r.turnWord("/node/stage-1/cordon", "on")
		r.run(0.1)
		r.say(KindAPIServer, "apiserver", FieldReachable, "false")
		r.run(echoSeconds + 1)
		if v := r.value("/node/stage-1/cordon"); v != 1 {
			t.Error("while nobody answers the switch waits")
		}
		r.say(KindAPIServer, "apiserver", FieldReachable, "true")
		r.run(echoSeconds - 1)
		if v := r.value("/node/stage-1/cordon"); v != 1 {
			t.Error("it waits a while")
		}
		r.run(2)
		if v := r.value("/node/stage-1/cordon"); v != 0 {
			t.Error("the switch shows what the cluster has not done")
		}
		r.wantSets("told once", "stage-1 cordon=true")
	})
	t.Run("a gate cordons", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		r.turn("/node/stage-1/cordon_gate", 10)
		r.run(0.1)
		r.echo()
		r.say(KindNode, "stage-1", FieldCordoned, "false")
		r.wantSets("another uncordons while the gate is high")
		r.turn("/node/stage-1/cordon_gate", 0)
		r.wantSets("the gate falls", "stage-1 cordon=false")
	})
	t.Run("the panel is aimed at another node", func(t *testing.T) {
		r := nodeRig(t, map[string]float64{"cordon": 1, "capacity": 2000})
		r.quietly(func() {
			r.node("false", "4000")
			r.say(KindNode, "stage-2", FieldExists, "true")
			r.say(KindNode, "stage-2", FieldCordoned, "false")
			r.say(KindNode, "stage-2", FieldCapacity, "9000")
		})
		r.run(0.1)
		r.sets = nil
		r.turnWord("/node/stage-1/node", "stage-2")
		r.wantSets("aimed")
		if c, k := r.value("/node/stage-1/cordon"), r.value("/node/stage-1/capacity"); c != 0 || k != 9000 {
			t.Errorf("cordon stands at %g, capacity at %g", c, k)
		}
		r.turn("/node/stage-1/capacity", 8000)
		r.wantSets("turned", "stage-2 capacity=8000")
	})
	t.Run("a node that comes back", func(t *testing.T) {
		r := nodeRig(t, nil)
		r.quietly(func() { r.node("false", "4000") })
		r.run(0.1)
		r.turn("/node/stage-1/capacity", 5000)
		r.run(0.1)
		r.echo()
		r.say(KindNode, "stage-1", FieldExists, "")
		r.run(0.1)
		r.node("false", "4000")
		r.wantSets("made anew", "stage-1 capacity=5000")
	})
}

// TestListenOnly: nothing is asked of the cluster, set or written; what was
// turned meanwhile is asked for when the mode allows it.
func TestListenOnly(t *testing.T) {
	r := nodeRig(t, nil)
	r.quietly(func() { r.node("false", "4000"); r.replicas(2); r.ready("web-1") })
	r.Topology()
	r.run(0.1)
	r.sets = nil
	r.turnWord("/apiserver/api/mode", "listen_only")
	r.run(0.05)
	r.turn("/deployment/web/replicas", 5)
	r.turn("/pod/p1/cpu", 90)
	r.turnWord("/node/stage-1/cordon", "on")
	r.turn("/deployment/web/restart", 10)
	r.turn("/node/stage-1/drain", 10)
	var acted []Action
	r.Acted = func(a Action) { acted = append(acted, a) }
	r.turn("/etcd/store/write", 10)
	r.run(0.2)
	if _, changed := r.Topology(); changed || len(acted) > 0 || len(r.sets) > 0 {
		t.Errorf("changed %t, acted %+v, set %+v", changed, acted, r.sets)
	}
	// Pods that come and go leave nothing behind that waits to be told.
	for i := range 100 {
		r.ready(fmt.Sprintf("web-x%d", i))
		r.run(0.02)
		r.gone(fmt.Sprintf("web-x%d", i))
	}
	if n := len(r.settings.waiting); n != 0 {
		t.Errorf("%d settings wait", n)
	}
	// What is asked for is what the cluster itself wants.
	r.want("/deployment/web/error", 1)
	r.turnWord("/apiserver/api/mode", "simulated")
	r.want("/deployment/web/error", 4)
	tp, changed := r.Topology()
	if !changed || tp.Value("deployment/web", "replicas") != 5 || tp.Value("deployment/web", "restarts") != 0 {
		t.Errorf("%t %+v", changed, tp.Modules["deployment/web"])
	}
	r.wantSets("again", "web-1 cpu=90", "stage-1 cordon=true")

	if err := r.SetMode(Real); err != nil || r.value("/apiserver/api/mode") != float64(Real) {
		t.Errorf("%v, the switch stands at %g", err, r.value("/apiserver/api/mode"))
	}
	if err := r.SetMode(7); !errors.Is(err, ErrRange) {
		t.Errorf("got %v", err)
	}
	forced := newRig(t, func(c *Config) { c.ListenOnly = true })
	if err := forced.Set("/apiserver/api/mode", 0, "real", "hand", 0); err == nil || !strings.Contains(err.Error(), "listen only") {
		t.Errorf("got %v", err)
	}
	if err := forced.SetMode(Simulated); !errors.Is(err, ErrReadOnly) {
		t.Errorf("got %v", err)
	}
	if v := forced.value("/apiserver/api/mode"); v != float64(ListenOnly) || forced.Mode() != ListenOnly {
		t.Errorf("the switch stands at %g", v)
	}
	if err := forced.Load(stage()); err != nil {
		t.Fatal(err)
	}
	if _, changed := forced.Topology(); changed || forced.value("/apiserver/api/mode") != float64(ListenOnly) {
		t.Error("a scene that is loaded writes")
	}
}
