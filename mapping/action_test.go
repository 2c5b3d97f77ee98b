package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// hit gives a trigger by hand.
func (r *rig) hit(a Address) {
	r.t.Helper()
	r.turn(a, 10)
	r.run(0.02)
	r.turn(a, 0)
	r.run(0.02)
}

func (r *rig) wantActs(step string, want ...string) {
	r.t.Helper()
	r.run(0.05)
	var got []string
	for _, a := range r.acts {
		got = append(got, strings.TrimSpace(a.Verb+" "+a.Object.Namespace+" "+a.Object.String()+" "+a.Path))
	}
	if !slices.Equal(got, want) {
		r.t.Errorf("%s: asked for %q, want %q", step, got, want)
	}
	r.acts = nil
}

func TestActions(t *testing.T) {
	r := newRig(t)
	r.plug([]instrument.Module{{ID: "node/left", Text: map[string]string{"node": "stage-1"}}, {ID: "cronjob/beat"}, {ID: "job/shot"},
		{ID: "service/web"}, {ID: "service/behind"}, {ID: "ingress/door", Text: map[string]string{"path_1": "/a", "path_2": ""}}},
		[][2]string{{"ingress/door/route_1", "service/behind/request"}}, nil)
	r.Acted = func(a Action) { r.acts = append(r.acts, a) }
	r.acts = nil
	r.turn("/etcd/store/key", 7)
	r.run(0.05)
	r.hit("/etcd/store/write")
	r.turn("/etcd/store/key_cv", 2)
	r.run(0.1)
	r.hit("/etcd/store/write")
	r.wantActs("writes", "write  etcd/key-7", "write  etcd/key-10")
	r.hit("/node/left/drain")
	r.wantActs("drain", "drain  node/stage-1")
	r.hit("/cronjob/beat/run")
	r.wantActs("run", "run k8s-synth cronjob/beat")

	r.hit("/service/web/request")
	r.hit("/ingress/door/request")
	r.wantActs("simulated requests")
	r.turnWord("/apiserver/api/mode", "real")
	r.run(0.05)
	r.hit("/service/web/request")
	r.hit("/ingress/door/request")
	r.turn("/ingress/door/path", 1) // no path stands there
	r.hit("/ingress/door/request")
	r.turn("/ingress/door/path", 2)
	r.hit("/ingress/door/request")
	r.turn("/ingress/door/path", 9)
	r.hit("/ingress/door/request")
	r.wantActs("real requests", "request k8s-synth service/web", "request k8s-synth ingress/door /a", "request k8s-synth ingress/door "+unservedPath,
		"request k8s-synth ingress/door /three", "request k8s-synth ingress/door "+unservedPath)
	// The answer goes down the route, and is not requested again.
	r.say(KindIngress, "door", FieldRoutes, "/a=behind")
	r.say(KindIngress, "door", FieldRoute, "/a")
	r.wantActs("a route")
}

// TestCounters: triggers that ask for something once count a param of the
// patch up.
func TestCounters(t *testing.T) {
	r := newRig(t)
	r.plug(ids("job/shot", "cronjob/beat"), nil, nil)
	var told []string
	r.Changed = func(a Address, v float64, _, source string) {
		if strings.HasSuffix(string(a), "/runs") || strings.HasSuffix(string(a), "/restarts") {
			told = append(told, fmt.Sprintf("%s=%g by %q", a, v, source))
		}
	}
	r.hit("/job/shot/start")
	r.hit("/job/shot/start")
	r.hit("/deployment/web/restart")
	if want := []string{`/job/shot/runs=1 by ""`, `/job/shot/runs=2 by ""`, `/deployment/web/restarts=1 by ""`}; !slices.Equal(told, want) {
		t.Errorf("told %q, want %q", told, want)
	}
	tp, _ := r.Topology()
	if tp.Value("job/shot", "runs") != 2 || tp.Value("deployment/web", "restarts") != 1 {
		t.Errorf("%+v", tp.Modules)
	}
	r.turn("/job/shot/runs", 1e6)
	r.hit("/job/shot/start")
	if v := r.value("/job/shot/runs"); v != 1 {
		t.Errorf("after a million runs comes %g", v)
	}
	// Gates of the cluster's own.
	r.turn("/cronjob/beat/suspend_gate", 10)
	r.run(0.02)
	if tp, _ := r.Topology(); tp.Value("cronjob/beat", "suspend") != 1 {
		t.Error("a high gate does not suspend")
	}
	r.turn("/cronjob/beat/suspend_gate", 0)
	r.run(0.02)
	if tp, _ := r.Topology(); tp.Value("cronjob/beat", "suspend") != 0 {
		t.Error("a low gate suspends")
	}
}

// TestPowerGateByCable: a cable that never rises is low, once it is played.
func TestPowerGateByCable(t *testing.T) {
	r := newRig(t)
	r.plug(ids("namespace/case", "node/n"), [][2]string{{"node/n/ready", "namespace/case/power_gate"}}, nil)
	if tp, _ := r.Topology(); tp.Value("namespace/case", "power") != 0 {
		t.Error("nothing gives power, and there is power")
	}
	r.say(KindNode, "n", FieldReady, "true")
	r.run(0.05)
	if tp, _ := r.Topology(); tp.Value("namespace/case", "power") != 1 {
		t.Error("the gate is high, and there is no power")
	}
	// Pulled, it is as if nothing had ever been there.
	r.say(KindNode, "n", FieldReady, "false")
	r.run(0.05)
	p := r.Patch().Clone()
	p.Cables = p.Cables[:len(p.Cables)-1]
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.run(0.05)
	if tp, _ := r.Topology(); tp.Value("namespace/case", "power") != 1 {
		t.Error("with nothing plugged in there is no power")
	}
}

// TestProgram: a Controller's program gets what the engine read, and its
// result is act.
func TestProgram(t *testing.T) {
	type call struct{ desired, observed, err, integral, act, interval, time float64 }
	var calls []call
	fail := false
	r := newRig(t, func(c *Config) {
		c.Program = func(source string) (Program, error) {
			if source == "bad" {
				return nil, errors.New("1:1: undeclared reference to 'bad'")
			}
			return func(desired, observed, err, integral, act, interval, time float64) (float64, error) {
				calls = append(calls, call{desired, observed, err, integral, act, interval, time})
				if fail {
					return 0, errors.New("division by zero")
				}
				return act + 0.5*err, nil
			}, nil
		}
	})
	var failed []Problem
	r.Failed = func(p Problem) { failed = append(failed, p) }
	p := r.Patch().Clone()
	p.Modules = append(p.Modules, instrument.Module{ID: "controller/loop", Params: map[string]float64{"law": 1, "interval": 0.05}, Text: map[string]string{"program": "bad"}})
	var pe *instrument.PatchError
	if err := r.Load(p); !errors.As(err, &pe) || !strings.HasSuffix(pe.Path, ".params.program") {
		t.Errorf("a patch with a bad program: %v", err)
	}
	p.Modules[len(p.Modules)-1].Text = nil
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.turn("/controller/loop/desired", 4)
	r.turn("/controller/loop/observed", 1)
	r.run(0.3)
	if n := len(calls); n < 3 || n > 8 {
		t.Fatalf("%d calls in 0.3 s at 0.05 s", n)
	}
	c := calls[len(calls)-1]
	if c.desired != 4 || c.observed != 1 || c.err != 3 || c.integral <= 0 || c.act <= 0 || c.interval < 0.0499 || c.interval > 0.0501 || c.time <= 0 {
		t.Errorf("%+v", c)
	}
	r.run(1)
	r.want("/controller/loop/result", 10)
	r.want("/controller/loop/act", 10)
	r.turn("/controller/loop/observed", 12)
	r.run(6) // it backs off, because acting does not help
	r.want("/controller/loop/act", -10)
	// Where it fails act stays, and the player hears of it once.
	fail = true
	r.turn("/controller/loop/observed", 0)
	r.run(1)
	r.want("/controller/loop/act", -10)
	if len(failed) != 1 || failed[0].Where != "controller/loop program" || !strings.Contains(failed[0].Text, "division by zero") {
		t.Errorf("told %+v", failed)
	}
	if err := r.Set("/controller/loop/program", 0, "bad", "hand", 0); !errors.Is(err, ErrRange) || !strings.Contains(err.Error(), "undeclared") {
		t.Errorf("got %v", err)
	}
	fail = false
	r.turnWord("/controller/loop/program", "act  +  1") // blanks are part of it
	calls = nil
	r.turn("/controller/loop/desired", 5) // another aim ends the back-off
	r.run(0.5)
	if len(calls) == 0 {
		t.Error("the new program does not run")
	}
	if _, word, _ := r.Value("/controller/loop/program"); word != "act  +  1" {
		t.Errorf("it reads %q", word)
	}
	for _, bad := range []string{"web", "/web", "deployment/", "a b/c"} {
		if err := r.Set("/controller/loop/object", 0, bad, "hand", 0); !errors.Is(err, ErrRange) {
			t.Errorf("object %q: %v", bad, err)
		}
	}
	r.turnWord("/controller/loop/law", "p_i")
	calls = nil
	r.run(0.5)
	if len(calls) > 0 {
		t.Error("the program runs though the law is P+I")
	}
}
