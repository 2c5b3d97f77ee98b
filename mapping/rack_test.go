package mapping

import (
	"errors"
	"flag"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/instrument"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestLoadRefusesAndKeeps(t *testing.T) {
	r := newRig(t)
	r.chord(2)
	was := r.Patch()
	bad := was.Clone()
	bad.Cables = append(bad.Cables, cable("pod/p1/ready", "pod/nobody/lifecycle"))
	var pe *instrument.PatchError
	if err := r.Load(bad); !errors.As(err, &pe) || !strings.Contains(err.Error(), "pod/nobody") {
		t.Fatalf("got %v, want an error that names the module", err)
	}
	if r.Patch() != was {
		t.Error("the patch is another")
	}
	r.want("/deployment/web/ready_count", 10)
	r.turn("/deployment/web/replicas", 4)
	r.want("/deployment/web/error", 2)
}

// TestLoadMovesKnobs: a module that stays goes to the new patch's values, and
// what left is forgotten.
func TestLoadMovesKnobs(t *testing.T) {
	r := newRig(t)
	r.chord(2)
	rewired := 0
	r.Rewired = func() { rewired++ }
	p := r.Patch().Clone()
	p.Module("deployment/web").Params = map[string]float64{"replicas": 6}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.want("/deployment/web/error", 4)
	if tp, changed := r.Topology(); !changed || tp.Value("deployment/web", "replicas") != 6 || rewired != 1 {
		t.Errorf("%v %+v, rewired %d times", changed, tp.Modules, rewired)
	}
	// Gone and back: with its own wish, not its forerunner's.
	small := &instrument.Patch{Modules: []instrument.Module{{ID: "apiserver/api"}}}
	if err := r.Load(small); err != nil {
		t.Fatal(err)
	}
	r.run(0.1)
	if tp, changed := r.Topology(); !changed || len(tp.IDs(KindDeployment)) != 0 {
		t.Errorf("%v %+v", changed, tp)
	}
	p.Module("deployment/web").Params = map[string]float64{"replicas": 3}
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	if tp, _ := r.Topology(); tp.Value("deployment/web", "replicas") != 3 {
		t.Errorf("%+v", tp.Modules)
	}
	r.want("/deployment/web/error", 1)
}

func TestSetErrors(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		a    Address
		v    float64
		word string
		is   error
		text string
	}{
		{"/deployment/nope/replicas", 1, "", ErrNoAddress, "the patch has no module deployment/nope; it has deployment/web"},
		{"/deployment/web/nope", 1, "", ErrNoAddress, `deployment/web has no "nope"; it has replicas, strategy`},
		{"deployment/web", 1, "", ErrNoAddress, "is not an address; expected /kind/name/param"},
		{"/deployment/web/error", 1, "", ErrReadOnly, "is an output jack"},
		{"/pod/p1/lifecycle", 1, "", ErrReadOnly, "holds a cable from deployment/web/claim_1; pull it first"},
		{"/deployment/web/replicas", 17, "", ErrRange, "replicas is 0 … 16, got 17"},
		{"/deployment/web/replicas", 1.5, "", ErrRange, "whole number"},
		{"/deployment/web/replicas", math.NaN(), "", ErrRange, "got NaN"},
		{"/deployment/web/replicas", 0, "many", ErrRange, `got "many"`},
		{"/deployment/web/strategy", 0, "Blue", ErrRange, "RollingUpdate or Recreate"},
		{"/deployment/web/strategy", 2, "", ErrRange, "got 2"},
		{"/deployment/web/image", 0, "two words", ErrRange, "without blanks"},
		{"/deployment/web/image", 3, "", ErrRange, "takes a word, got 3"},
		{"/deployment/web/restart", 13, "", ErrRange, "−12 … 12 V"},
		{"/deployment/web/restart", 1, "x", ErrRange, "−12 … 12 V"},
	} {
		err := r.Set(c.a, c.v, c.word, "hand", 0)
		if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, want %v that says %q", c.a, err, c.is, c.text)
		}
	}
	if _, _, err := r.Value("/x/y/z"); !errors.Is(err, ErrNoAddress) {
		t.Errorf("got %v", err)
	}
}

func TestSetValueChanged(t *testing.T) {
	r := newRig(t)
	var told []string
	r.Changed = func(a Address, v float64, w, source string) {
		if source != "" {
			told = append(told, string(a)+" by "+source)
		}
	}
	for _, c := range []struct {
		a    Address
		set  float64
		word string
		v    float64
		w    string
	}{
		{"/deployment/web/replicas", 4, "", 4, ""},
		{"/deployment/web/strategy", 0, "Recreate", 1, ""},
		{"/deployment/web/strategy", 0, "", 0, ""},
		{"/deployment/web/image", 0, "nginx:1", 0, "nginx:1"},
		{"/pod/solo/tune", -3.5, "", -3.5, ""},
		{"/deployment/web/restart", 5, "", 5, ""},
	} {
		told = nil
		if err := r.Set(c.a, c.set, c.word, "hand", 0); err != nil {
			t.Fatal(err)
		}
		if v, w, _ := r.Value(c.a); v != c.v || w != c.w {
			t.Errorf("%s reads %g %q, want %g %q", c.a, v, w, c.v, c.w)
		}
		if !slices.Equal(told, []string{string(c.a) + " by hand"}) {
			t.Errorf("told %q", told)
		}
	}
	told = nil
	r.turn("/deployment/web/replicas", 4)
	if told != nil {
		t.Errorf("told %q though nothing changed", told)
	}
}

// TestTopologyChanges: a topology is new exactly when it differs.
func TestTopologyChanges(t *testing.T) {
	r := newRig(t)
	first, changed := r.Topology()
	if !changed || first.Generation != 1 || first.Namespace != "k8s-synth" || first.Scene != "test" {
		t.Fatalf("%v %+v", changed, first)
	}
	gen := first.Generation
	step := func(what string, want bool, f func()) Topology {
		t.Helper()
		f()
		for range 40 {
			r.block()
			if tp, c := r.Topology(); c {
				if !want {
					t.Errorf("%s published %+v", what, tp)
				}
				if tp.Generation != gen+1 {
					t.Errorf("%s: generation %d after %d", what, tp.Generation, gen)
				}
				gen, want = tp.Generation, false
			}
		}
		if want {
			t.Errorf("%s published nothing", what)
		}
		tp, _ := r.Topology()
		return tp
	}
	step("nothing", false, func() {})
	step("a sound knob", false, func() { r.turn("/pod/solo/tune", 3) })
	step("replicas", true, func() { r.turn("/deployment/web/replicas", 3) })
	step("a claimed pod that comes", false, func() { r.ready("web-1") })
	step("a claimed pod that goes", false, func() { r.gone("web-1") })
	step("the same patch", false, func() {
		if err := r.Load(r.Patch().Clone()); err != nil {
			t.Fatal(err)
		}
	})
	step("a delay", true, func() { r.turn("/deployment/web/start_delay", 2) })
	// CV adds to the knob; its way is through the engine.
	if tp := step("CV", true, func() { r.turn("/deployment/web/replicas_cv", 2) }); tp.Value("deployment/web", "replicas") != 5 {
		t.Errorf("%v: want 3 and 2 V", tp.Modules["deployment/web"])
	}
	// A restart trigger is one rollout an edge.
	if tp := step("restart", true, func() { r.turn("/deployment/web/restart", 10) }); tp.Value("deployment/web", "restarts") != 1 {
		t.Errorf("%v: want restart 1", tp.Modules["deployment/web"])
	}
	step("its end", false, func() { r.turn("/deployment/web/restart", 0) })
	if tp := step("another", true, func() { r.turn("/deployment/web/restart", 10) }); tp.Value("deployment/web", "restarts") != 2 {
		t.Errorf("%v: want restart 2", tp.Modules["deployment/web"])
	}
	if tp := step("a gate by hand", true, func() { r.turn("/pod/solo/lifecycle", 10) }); tp.Value("pod/solo", "hold") != 1 {
		t.Errorf("%+v", tp.Modules)
	}
	if tp := step("panic", true, r.Panic); tp.Value("pod/solo", "hold") != 0 {
		t.Errorf("%+v", tp.Modules)
	}
	if v, _, _ := r.Value("/pod/solo/lifecycle"); v != 0 {
		t.Errorf("after a panic the jack reads %g V", v)
	}
	// A panel that loses its claim is no bare pod for a moment.
	r.ready("web-1")
	r.run(0.05)
	step("a pulled claim", true, func() {
		p := r.Patch().Clone()
		p.Cables = slices.DeleteFunc(p.Cables, func(c instrument.Cable) bool { return c.To.String() == "pod/p1/lifecycle" })
		if err := r.Load(p); err != nil {
			t.Fatal(err)
		}
	})
	r.want("/pod/p1/exists", 0)
}

// TestBarePodByClock: a bare pod exists while its gate is high.
func TestBarePodByClock(t *testing.T) {
	r := newRig(t)
	p := r.Patch().Clone()
	p.Modules = append(p.Modules, instrument.Module{ID: "clock/c", Params: map[string]float64{"tempo": 240}})
	p.Cables = append(p.Cables, cable("clock/c/gate", "pod/solo/lifecycle"))
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	last, edges := false, 0
	for end := r.frame + testRate; r.frame < end; r.block() {
		tp, _ := r.Topology()
		if is := tp.Value("pod/solo", "hold") == 1; is != last {
			last = is
			edges++
		}
	}
	if edges < 7 || edges > 9 {
		t.Errorf("the pod came and went %d times in four beats, want 8", edges)
	}
}

func TestEtcdWrites(t *testing.T) {
	r := newRig(t)
	for range 3 {
		r.turn("/etcd/store/write", 10)
		r.run(0.02)
		r.turn("/etcd/store/write", 0)
		r.run(0.02)
	}
	if n := r.struck("store", 0); n != 3 {
		t.Errorf("%d writes, want 3", n)
	}
}

// TestPanic: all falls at once; sync comes back at once, the rest only when a
// hand says so or with another scene, whatever the cluster does meanwhile.
func TestPanic(t *testing.T) {
	r := newRig(t)
	r.chord(3)
	r.Panic()
	r.want("/deployment/web/claim_1", 0)
	r.want("/apiserver/api/sync", 10)
	r.say(KindEtcd, "etcd", FieldRevision, "7")
	r.want("/deployment/web/claim_1", 0)
	if n := r.struck("alarm", 0.1); n != 0 {
		t.Error("a panic is no outage")
	}
	if !r.Silenced() {
		t.Error("nobody can know that it is silenced")
	}
	r.ready("web-4")
	r.gone("web-1")
	if err := errors.Join(r.Set("/deployment/web/replicas", 5, "", "hand", 0), r.Pull(instrument.JackRef{Module: "etcd/heartbeat", Jack: "write"}, "hand")); err != nil {
		t.Fatal(err)
	}
	r.Note(0, 60, 100, 1, 0)
	r.RuleGate(1, true, 0)
	r.wantGates("running", "")
	r.want("/deployment/web/claim_1", 0)
	// An outage is told all the same.
	r.say(KindAPIServer, "apiserver", FieldReachable, "false")
	r.want("/apiserver/api/sync", 0)
	r.say(KindAPIServer, "apiserver", FieldReachable, "true")
	r.Show()
	if r.Silenced() {
		t.Error("it is silenced although it sounds")
	}
	r.wantGates("running", "0111")
	r.want("/deployment/web/claim_2", 10)
	r.want("/apiserver/api/sync", 10)
	r.Panic()
	r.want("/deployment/web/claim_2", 0)
	if err := r.Load(&instrument.Patch{Modules: []instrument.Module{{ID: "nothing/such"}}}); err == nil || !r.Silenced() {
		t.Errorf("a scene that is refused: %v, silenced %t", err, r.Silenced())
	}
	if err := r.Load(r.Patch().Clone()); err != nil {
		t.Fatal(err)
	}
	r.want("/deployment/web/claim_2", 10)
}

// TestOverflow: what finds no room in the engine's queue waits, in order, and
// an engine that stands still does not fill the memory.
func TestOverflow(t *testing.T) {
	r := newRig(t)
	r.chord(1)
	for range 4000 {
		r.pod("web-1", FieldReady, "false", FieldReady, "true")
	}
	r.gone("web-1")
	if len(r.backlog) == 0 {
		t.Fatal("the queue did not overflow")
	}
	r.run(0.5)
	r.wantGates("pods", "")
	r.want("/pod/p1/ready", 0)
	for range 40000 {
		r.pod("web-2", FieldExists, "true", FieldPhase, "Running", FieldReady, "true", FieldReady, "false")
	}
	if n := len(r.backlog); n > backlogSize {
		t.Errorf("%d events wait", n)
	}
	r.run(1)
	r.wantGates("running", "1")
	r.wantGates("ready", "")
}

// TestSteadyPumpIsClean: with nothing happening the control side makes no
// garbage.
func TestSteadyPumpIsClean(t *testing.T) {
	r := editRig(t)
	r.plug(ids("rule/r", "node/stage-1"), nil, nil)
	r.chord(3)
	r.pod("web-1", FieldNode, "stage-1")
	r.quietly(func() { r.node("false", "4000") })
	r.Note(0, 60, 100, 0.5, 0)
	r.run(3)
	r.Topology()
	if n := testing.AllocsPerRun(2000, func() { r.block(); r.Topology() }); n != 0 {
		t.Errorf("%g allocations a Pump, want none", n)
	}
}

// TestDeterminism: the same calls give the same sound to the bit. The cadence
// of Pump is one of them: wishes by CV, gates and the density of events are
// read there. Transitions alone, which carry their frame, do not depend on it.
func TestDeterminism(t *testing.T) {
	play := func(chunk int, hands bool) []float32 {
		r := emptyRig(t, Config{SampleRate: testRate, Channels: 2, Seed: 3, Storm: 8, Embedded: true})
		r.Acted = nil
		r.chunk, r.keep = chunk, true
		p := &instrument.Patch{Modules: []instrument.Module{{ID: "deployment/web"}, {ID: "voice/v"}, {ID: "audio_out/o"}},
			Cables: []instrument.Cable{cable("deployment/web/running", "voice/v/gate"), cable("deployment/web/ready", "voice/v/open"),
				cable("deployment/web/event", "voice/v/strike"), cable("deployment/web/kind", "voice/v/kind"), cable("voice/v/left", "audio_out/o/left")}}
		if err := r.Load(p); err != nil {
			t.Fatal(err)
		}
		r.Fade(true)
		r.run(0.064)
		r.ready("web-1")
		r.run(0.256)
		if hands {
			r.turn("/deployment/web/replicas", 2)
		}
		r.ready("web-2")
		r.pod("web-1", FieldPhase, "Failed", FieldReason, "OOMKilled")
		r.run(0.64)
		return r.sound
	}
	a := play(64, true)
	if !slices.Equal(a, play(64, true)) {
		t.Error("the same calls gave another sound")
	}
	if slices.Max(a) < 0.01 {
		t.Error("there is no sound")
	}
	if !slices.Equal(play(64, false), play(16, false)) {
		t.Error("transitions sound otherwise at another cadence of Pump")
	}
}

// TestTopologyGolden reads patches and compares the topologies that they ask
// for; -update writes them.
func TestTopologyGolden(t *testing.T) {
	files, _ := filepath.Glob("testdata/topology/*.input.yaml")
	if len(files) < 3 {
		t.Fatalf("%d inputs", len(files))
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var in struct {
				Modules   []instrument.Module
				Cables    [][2]string
				Effective map[Address]float64
			}
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := yaml.UnmarshalStrict(data, &in); err != nil {
				t.Fatal(err)
			}
			p := &instrument.Patch{Modules: in.Modules}
			for _, c := range in.Cables {
				p.Cables = append(p.Cables, cable(c[0], c[1]))
			}
			if err := p.Validate(); err != nil {
				t.Fatal(err)
			}
			got, err := yaml.Marshal(TopologyOf(p, func(id instrument.ModuleID, param string) (float64, bool) {
				v, ok := in.Effective[AddressOf(id, param)]
				return v, ok
			}))
			if err != nil {
				t.Fatal(err)
			}
			golden := strings.Replace(file, ".input.", ".output.", 1)
			if *update {
				if err := os.WriteFile(golden, got, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != string(want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
