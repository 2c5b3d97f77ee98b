package mapping

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// copyTopology copies a topology, so that it can be edited.
func copyTopology(t Topology) Topology {
	t.Modules, t.Cables = maps.Clone(t.Modules), slices.Clone(t.Cables)
	for id, m := range t.Modules {
		t.Modules[id] = maps.Clone(m)
	}
	return t
}

// editRig plays a patch with a module of every kind of the cluster.
func editRig(t testing.TB) *rig {
	r := newRig(t)
	r.plug(ids("service/web", "service/two", "ingress/door", "node/left", "namespace/case", "hpa/auto", "cronjob/beat", "job/shot", "controller/loop", "clock/c"),
		[][2]string{{"deployment/web/pods", "service/web/selector"}, {"ingress/door/route_1", "service/web/request"}, {"deployment/web/pods", "node/left/load"},
			{"pod/solo/ready", "service/two/selector"}}, nil)
	r.turn("/deployment/web/replicas", 3)
	r.run(0.1)
	r.Topology()
	return r
}

// edit publishes the patch, edits what was published, and lets the patch
// follow.
func (r *rig) edit(do func(t *Topology)) (edited Topology, changed []Address, refused []error) {
	r.t.Helper()
	r.Topology()
	base := copyTopology(r.topology)
	edited = copyTopology(base)
	do(&edited)
	changed, refused = r.Adopt(Edit{By: "kubectl-edit", Topology: edited, Base: base})
	return edited, changed, refused
}

// wantEdited checks that the patch now asks for what the edit says, and for
// nothing new.
func (r *rig) wantEdited(step string, edited Topology) {
	r.t.Helper()
	want, err := normal(&edited)
	if err != nil {
		r.t.Fatal(err)
	}
	got, changed := r.Topology()
	for id := range want.Modules {
		if !reflect.DeepEqual(got.Modules[id], want.Modules[id]) {
			r.t.Errorf("%s: %s is\n%+v\nthe edit\n%+v", step, id, got.Modules[id], want.Modules[id])
		}
	}
	if changed || len(got.Modules) != len(want.Modules) || !slices.Equal(got.Cables, want.Cables) {
		r.t.Errorf("%s: changed %t, the cables are\n%q\nthe edit's\n%q", step, changed, got.Cables, want.Cables)
	}
}

// wantFollowed checks that also when the engine has had its say.
func (r *rig) wantFollowed(step string, edited Topology) {
	r.t.Helper()
	for range 50 { // 67 ms: a plan, its fades, a report
		r.wantEdited(step, edited)
		if r.t.Failed() {
			return
		}
		r.block()
	}
}

func TestAdopt(t *testing.T) {
	for name, c := range map[string]struct {
		before  func(r *rig)
		edit    func(t *Topology)
		changed string // addresses
		check   func(r *rig) string
	}{
		"a number": {nil, func(t *Topology) { t.Modules["deployment/web"]["replicas"] = 5.0 }, "/deployment/web/replicas", func(r *rig) string {
			if v := r.value("/deployment/web/replicas"); v != 5 {
				return fmt.Sprint(v)
			}
			r.want("/deployment/web/error", 5)
			return ""
		}},
		"a whole number as YAML has it": {nil, func(t *Topology) { t.Modules["deployment/web"]["replicas"] = int64(5) }, "/deployment/web/replicas", nil},
		"a default that is left out":    {nil, func(t *Topology) { delete(t.Modules["deployment/web"], "replicas") }, "/deployment/web/replicas", nil},
		"a word": {nil, func(t *Topology) { t.Modules["deployment/web"]["image"] = "nginx:1" }, "/deployment/web/image", func(r *rig) string {
			_, w, _ := r.Value("/deployment/web/image")
			return strings.TrimPrefix(w, "nginx:1")
		}},
		"a choice": {nil, func(t *Topology) { t.Modules["deployment/web"]["strategy"] = "Recreate" }, "/deployment/web/strategy", nil},
		"a switch": {nil, func(t *Topology) { t.Modules["pod/solo"]["hold"] = true }, "/pod/solo/hold", nil},
		"a count":  {nil, func(t *Topology) { t.Modules["deployment/web"]["restarts"] = 7.0 }, "/deployment/web/restarts", nil},
		"a knob with CV": {func(r *rig) { r.turn("/deployment/web/replicas_cv", 2); r.run(0.1) },
			func(t *Topology) { t.Modules["deployment/web"]["replicas"] = 7.0 }, "/deployment/web/replicas", func(r *rig) string {
				if v := r.value("/deployment/web/replicas"); v != 5 {
					return fmt.Sprintf("the knob stands at %g, want 5 beside 2 V", v)
				}
				return ""
			}},
		"a knob with a CV between two numbers": {func(r *rig) {
			// It was at 3, and 3.7 is not far enough for 4: what is held goes with the edit.
			r.turn("/deployment/web/replicas_cv", 0.1)
			r.run(0.1)
			r.turn("/deployment/web/replicas_cv", 0.7)
			r.run(0.1)
			if v := r.Effective("deployment/web", "replicas"); v != 3 {
				r.t.Fatalf("3 and 0.7 V come to %g", v)
			}
		}, func(t *Topology) { t.Modules["deployment/web"]["replicas"] = 5.0 }, "/deployment/web/replicas", nil},
		"a cable pulled": {nil, func(t *Topology) {
			t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "node/left/load") })
		}, "/node/left/load", nil},
		"a cable plugged": {nil, func(t *Topology) {
			t.Cables = append([]string{"ingress/door/route_2->service/two/request"}, t.Cables...)
		}, "/service/two/request", nil},
		"a cable moved": {nil, func(t *Topology) {
			t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "service/web/request") })
			t.Cables = append(t.Cables, "ingress/door/route_3 -> service/web/request")
		}, "/service/web/request", nil},
		"an autoscaler's hand": {nil, func(t *Topology) { t.Cables = append(t.Cables, "hpa/auto/scale -> deployment/web/replicas_cv") }, "/deployment/web/replicas_cv", nil},
		"a module put in": {nil, func(t *Topology) {
			t.Modules["service/new"] = TopologyModule{"port": 81.0}
			t.Cables = append(t.Cables, "deployment/sel/pods -> service/new/selector")
		}, "/service/new/selector /service/new/port", nil},
		"a module taken out": {nil, func(t *Topology) {
			delete(t.Modules, "node/left")
			t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "node/left") })
		}, "/node/left/load /node/left/node", func(r *rig) string {
			if r.Patch().Module("node/left") != nil {
				return "it is still there"
			}
			return ""
		}},
		"a gate's cable pulled while it is high": {func(r *rig) {
			r.plug(nil, [][2]string{{"node/left/ready", "pod/solo/lifecycle"}}, nil)
			r.say(KindNode, "left", FieldReady, "true")
			r.run(0.1)
		}, func(t *Topology) {
			t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "solo/lifecycle") })
		}, "/pod/solo/lifecycle /pod/solo/hold", nil},
		"a CV's cable pulled": {func(r *rig) {
			r.plug(nil, [][2]string{{"controller/loop/act", "deployment/web/replicas_cv"}}, nil)
			r.turn("/controller/loop/desired", 2)
			r.run(0.5)
			r.wantWish(5)
		}, func(t *Topology) {
			t.Cables = slices.DeleteFunc(t.Cables, func(c string) bool { return strings.Contains(c, "replicas_cv") })
		}, "/deployment/web/replicas_cv /deployment/web/replicas", nil},
		"nothing": {nil, func(t *Topology) {}, "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := editRig(t)
			if c.before != nil {
				c.before(r)
			}
			var told []string
			r.Changed = func(a Address, _ float64, _, source string) {
				if source == "kubectl-edit" {
					told = append(told, string(a))
				}
			}
			gen := r.topology.Generation
			edited, changed, refused := r.edit(c.edit)
			if len(refused) > 0 {
				t.Errorf("refused %v", refused)
			}
			var got []string
			for _, a := range changed {
				got = append(got, string(a))
			}
			if strings.Join(got, " ") != c.changed {
				t.Errorf("changed %q, want %q", got, c.changed)
			}
			if n := len(strings.Fields(c.changed)); len(told) != n && name != "a module taken out" {
				t.Errorf("told %q", told)
			}
			r.wantFollowed(name, edited)
			if c.check != nil {
				if wrong := c.check(r); wrong != "" {
					t.Error(wrong)
				}
			}
			// A hand's next turn is a generation above all before it.
			r.turn("/deployment/sel/replicas", 3)
			if tp, changed := r.Topology(); !changed || tp.Generation <= gen {
				t.Errorf("generation %d after %d", tp.Generation, gen)
			}
		})
	}
}

func (r *rig) wantWish(n float64) {
	r.t.Helper()
	if v := r.Effective("deployment/web", "replicas"); v != n {
		r.t.Fatalf("%g replicas are asked for, want %g", v, n)
	}
}

// TestAdoptRefuses: what cannot be is refused with its reason, the rest is
// done, and the patch says what it is instead.
func TestAdoptRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		before func(r *rig)
		edit   func(t *Topology)
		want   string
	}{
		"a gate holds the pod": {func(r *rig) {
			r.plug(nil, [][2]string{{"clock/c/gate", "pod/solo/lifecycle"}}, nil)
			for !r.high("pod/solo", "lifecycle") {
				r.block()
			}
		}, func(t *Topology) { t.Modules["pod/solo"]["hold"] = false }, "modules.pod/solo.hold: the gate of clock/c/gate at lifecycle holds it up"},
		"a hand's gate holds the CronJob": {func(r *rig) { r.turn("/cronjob/beat/suspend_gate", 10); r.run(0.1) },
			func(t *Topology) { t.Modules["cronjob/beat"]["suspend"] = false }, "modules.cronjob/beat.suspend: the gate at suspend_gate holds it still"},
		"a low gate holds the power": {func(r *rig) { r.turn("/namespace/case/power_gate", 0); r.run(0.1) },
			func(t *Topology) { t.Modules["namespace/case"]["power"] = true }, "power_gate holds it without power"},
		"a replica": {nil, func(t *Topology) { t.Modules["pod/p1"]["hold"] = true }, "modules.pod/p1.hold: it shows a replica"},
		"a CV that is too high": {func(r *rig) { r.turn("/deployment/web/replicas_cv", 4); r.run(0.1) },
			func(t *Topology) { t.Modules["deployment/web"]["replicas"] = 2.0 }, "it would take a knob at -2, and that goes from 0 to 16"},
		"a cable in the way": {func(r *rig) { r.plug(nil, [][2]string{{"clock/c/gate", "service/two/request"}}, nil) },
			func(t *Topology) { t.Cables = append(t.Cables, "ingress/door/route_4 -> service/two/request") }, "service/two/request holds a cable from clock/c/gate; pull it first"},
		"another namespace": {nil, func(t *Topology) { t.Namespace = "kube-system" }, "namespace: the patch lives in k8s-synth"},
	} {
		t.Run(name, func(t *testing.T) {
			r := editRig(t)
			if c.before != nil {
				c.before(r)
			}
			_, changed, refused := r.edit(func(t *Topology) {
				c.edit(t)
				t.Modules["service/web"]["port"] = 99.0
			})
			if len(refused) != 1 || !strings.Contains(refused[0].Error(), c.want) {
				t.Errorf("refused %v, want %q", refused, c.want)
			}
			if !slices.Contains(changed, "/service/web/port") || r.value("/service/web/port") != 99 {
				t.Errorf("the rest was not done: %v", changed)
			}
			tp, again := r.Topology()
			if !again {
				t.Error("nobody tells the cluster how it is instead")
			}
			if tp.Value("service/web", "port") != 99 {
				t.Errorf("%+v", tp.Modules["service/web"])
			}
		})
	}
	t.Run("more than can be played", func(t *testing.T) {
		r := editRig(t)
		r.turn("/deployment/web/replicas_cv", 2)
		r.run(0.1)
		r.Topology()
		edited, changed, refused := r.edit(func(t *Topology) {
			for i := range 300 {
				t.Modules[instrument.ModuleID(fmt.Sprintf("service/s%d", i))] = TopologyModule{}
			}
			t.Modules["deployment/web"]["replicas"] = 7.0
		})
		if len(changed) > 0 || len(refused) != 1 {
			t.Errorf("changed %v, refused %v", changed, refused)
		}
		r.wantWish(5)
		if tp, again := r.Topology(); !again || len(tp.Modules) == len(edited.Modules) {
			t.Error("nobody tells the cluster how it is instead")
		}
	})
	t.Run("what is no topology", func(t *testing.T) {
		r := editRig(t)
		was := r.wanted()
		_, changed, refused := r.edit(func(t *Topology) {
			t.Modules["deployment/web"]["replicas"] = 99.0
			t.Modules["gizmo/x"] = TopologyModule{}
		})
		if len(changed) > 0 || len(refused) != 2 {
			t.Errorf("changed %v, refused %v", changed, refused)
		}
		if !reflect.DeepEqual(was.Modules, r.wanted().Modules) {
			t.Error("the patch is another")
		}
	})
}

// TestAdoptMeansOnlyTheEdit: what a hand did to the patch since the edit's
// base stays, and is published on top.
func TestAdoptMeansOnlyTheEdit(t *testing.T) {
	r := editRig(t)
	r.Topology()
	base := copyTopology(r.topology)
	edited := copyTopology(base)
	edited.Modules["deployment/web"]["max_surge"] = 4.0
	edited.Generation = base.Generation + 9 // whoever edits may write anything there
	r.turn("/deployment/web/replicas", 8)
	r.turn("/service/web/port", 8080)
	if _, refused := r.Adopt(Edit{Topology: edited, Base: base}); len(refused) > 0 {
		t.Error(refused)
	}
	tp, changed := r.Topology()
	if !changed || tp.Value("deployment/web", "replicas") != 8 || tp.Value("deployment/web", "max_surge") != 4 || tp.Value("service/web", "port") != 8080 {
		t.Errorf("%t %+v", changed, tp.Modules)
	}
	if tp.Generation <= edited.Generation {
		t.Errorf("generation %d is not above %d", tp.Generation, edited.Generation)
	}
	// An edit of what was taken out meanwhile.
	base = copyTopology(tp)
	edited = copyTopology(base)
	edited.Modules["node/left"]["node"] = "stage-9"
	p := r.Patch().Clone()
	p.Modules = slices.DeleteFunc(p.Modules, func(m instrument.Module) bool { return m.ID == "node/left" })
	p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool { return c.To.Module == "node/left" })
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	if _, refused := r.Adopt(Edit{Topology: edited, Base: base}); len(refused) != 1 || !strings.Contains(refused[0].Error(), "taken out of the patch meanwhile") {
		t.Errorf("refused %v", refused)
	}
	if tp, changed := r.Topology(); !changed || tp.Modules["node/left"] != nil {
		t.Error("it came back")
	}
	if r.volts("/apiserver/api/sync") != 10 {
		t.Error("the engine does not play")
	}
}

// TestAdoptAnyEdit is a property: whatever the edit, if nothing of it was
// refused the patch asks for exactly that afterwards, and for nothing new; and
// it stays valid in any case.
func TestAdoptAnyEdit(t *testing.T) {
	n := 30
	if testing.Short() {
		n = 15
	}
	total, done := 0, 0
	for seed := range n {
		rng := rand.New(rand.NewPCG(uint64(seed), 7))
		r := editRig(t)
		// Hands and gates of all sorts are on the patch before.
		if seed%3 == 0 {
			r.turn("/deployment/web/replicas_cv", float64(rng.IntN(5)))
			r.turn("/hpa/auto/target_cv", 1)
		}
		if seed%4 == 0 {
			r.turn("/pod/solo/lifecycle", 10)
			r.turn("/cronjob/beat/suspend_gate", 10)
		}
		r.run(0.1)
		for range 4 {
			r.Topology()
			total++
			edited, _, refused := r.edit(func(tp *Topology) {
				for range 1 + rng.IntN(5) {
					mutate(rng, tp)
				}
			})
			if err := r.Patch().Validate(); err != nil {
				t.Fatalf("seed %d: the patch is not valid: %v", seed, err)
			}
			if len(refused) == 0 {
				done++
				// What a new cable does to the patch in time is its own affair.
				check := r.wantFollowed
				if slices.ContainsFunc(edited.Cables, moves) {
					check = r.wantEdited
				}
				check(fmt.Sprintf("seed %d", seed), edited)
			}
			if t.Failed() {
				return
			}
			r.run(0.05)
		}
	}
	if done*2 < total {
		t.Errorf("only %d of %d edits were followed in full", done, total)
	}
}

// moves tells whether a cable may change what a param comes to, or count one
// up.
func moves(text string) bool {
	c, err := ParseCable(text)
	if err != nil {
		return false
	}
	spec := instrument.Spec(c.To.Module.Kind())
	i := spec.Input(c.To.Jack)
	return strings.HasSuffix(c.To.Jack, "_cv") || spec.Inputs[i].Watch && c.To.Module.Kind() != KindEtcd && c.From.Module.Kind() != KindDeployment
}

// mutate makes one random change, most of them valid ones.
func mutate(rng *rand.Rand, tp *Topology) {
	all := slices.Sorted(maps.Keys(tp.Modules))
	pick := func() instrument.ModuleID { return all[rng.IntN(len(all))] }
	switch rng.IntN(6) {
	case 0: // a module comes
		kinds := []string{KindService, KindNode, KindDeployment, KindPod, KindJob}
		tp.Modules[instrument.ModuleID(fmt.Sprintf("%s/new%d", kinds[rng.IntN(len(kinds))], rng.IntN(5)))] = TopologyModule{}
	case 1: // a module goes, with its cables
		id := pick()
		delete(tp.Modules, id)
		tp.Cables = slices.DeleteFunc(tp.Cables, func(c string) bool {
			return strings.Contains(c, string(id)+"/")
		})
	case 2: // a cable goes
		if len(tp.Cables) > 0 {
			i := rng.IntN(len(tp.Cables))
			tp.Cables = slices.Delete(tp.Cables, i, i+1)
		}
	case 3: // a cable comes
		from, to := pick(), pick()
		outs, ins := instrument.Spec(from.Kind()).Outputs, instrument.Spec(to.Kind()).Inputs
		if len(outs) == 0 || len(ins) == 0 {
			return
		}
		c := fmt.Sprintf("%s/%s -> %s/%s", from, outs[rng.IntN(len(outs))].Name, to, ins[rng.IntN(len(ins))].Name)
		was := tp.Cables
		tp.Cables = append(slices.Clone(was), c)
		if _, err := tp.Patch(); err != nil {
			tp.Cables = was
		}
	default: // a param moves
		id := pick()
		var params []instrument.ParamSpec
		for _, p := range instrument.Spec(id.Kind()).Params {
			if p.Cluster {
				params = append(params, p)
			}
		}
		if len(params) == 0 {
			return
		}
		p := &params[rng.IntN(len(params))]
		v := p.Clamp(p.Min + rng.Float64()*(min(p.Max, p.Min+20)-p.Min))
		tp.Modules[id][p.Name] = encodeParam(p, v, fmt.Sprintf("word%d", rng.IntN(9)))
	}
}
