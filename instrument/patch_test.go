package instrument

import (
	"errors"
	"math"
	"strings"
	"testing"
)

// TestValidate: every mistake has its place and its words.
func TestValidate(t *testing.T) {
	all := specs
	specs = registered // messages list the kinds that there are
	defer func() { specs = all }()
	known := strings.Join(kinds(), ", ")
	mod := func(id string) Module { return Module{ID: ModuleID(id)} }
	with := func(id, name string, v float64) Module {
		return Module{ID: ModuleID(id), Params: map[string]float64{name: v}}
	}
	word := func(id, name, v string) Module { return Module{ID: ModuleID(id), Text: map[string]string{name: v}} }
	cable := func(from, to string) Cable {
		f, err := ParseJackRef(from)
		if err != nil {
			t.Fatal(err)
		}
		g, err := ParseJackRef(to)
		if err != nil {
			t.Fatal(err)
		}
		return Cable{f, g}
	}
	long := strings.Repeat("a", 43)
	for _, c := range []struct {
		name    string
		modules []Module
		cables  []Cable
		want    []string
	}{
		{"empty", nil, nil, nil},
		{"good", []Module{mod("deployment/web"), mod("voice/v")}, []Cable{cable("deployment/web/ready", "voice/v/gate")}, nil},
		{"longest name", []Module{mod("vca/" + long[:42])}, nil, nil},
		{"unknown module", []Module{mod("vca/a"), mod("theremin/x")}, nil,
			[]string{`modules[1]: unknown module "theremin"; expected one of ` + known}},
		{"no slash", []Module{mod("vca")}, nil,
			[]string{`modules[0]: "vca" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`}},
		{"bad names", []Module{mod("vca/Web"), mod("vca/-a"), mod("vca/a-"), mod("vca/" + long), mod("vca/a b"), mod("vca/")}, nil, []string{
			`modules[0]: "vca/Web" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`,
			`modules[1]: "vca/-a" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`,
			`modules[2]: "vca/a-" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`,
			`modules[3]: "vca/` + long + `" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`,
			`modules[4]: "vca/a b" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`,
			`modules[5]: "vca/" is not a name for a module; expected lower-case letters, digits and dashes, such as vca/web`}},
		{"twice", []Module{mod("vca/a"), mod("noise/a"), mod("vca/a")}, nil, []string{`modules[2]: there are two modules named vca/a`}},
		{"unknown param", []Module{with("vca/a", "volume", 1)}, nil,
			[]string{`modules[0].params.volume: vca has no param "volume"; expected one of gain, response, bypass`}},
		{"unknown text", []Module{word("vca/a", "label", "x")}, nil,
			[]string{`modules[0].params.label: vca has no param "label"; expected one of gain, response, bypass`}},
		{"too high", []Module{with("deployment/web", "replicas", 17)}, nil, []string{`modules[0].params.replicas: replicas is 0 … 16, got 17`}},
		{"too low with a unit", []Module{with("clock/c", "tempo", 9.5)}, nil, []string{`modules[0].params.tempo: tempo is 10 … 300 BPM, got 9.5`}},
		{"not a number", []Module{with("vca/a", "gain", math.NaN())}, nil, []string{`modules[0].params.gain: gain is 0 … 2, got NaN`}},
		{"infinite", []Module{with("vca/a", "gain", math.Inf(1))}, nil, []string{`modules[0].params.gain: gain is 0 … 2, got +Inf`}},
		{"not whole", []Module{with("deployment/web", "replicas", 2.5)}, nil,
			[]string{`modules[0].params.replicas: replicas is a whole number (0 … 16), got 2.5`}},
		{"no such position", []Module{with("vca/a", "response", 2)}, nil, []string{`modules[0].params.response: response is linear or exponential, got 2`}},
		{"number for a word", []Module{with("deployment/web", "image", 3)}, nil, []string{`modules[0].params.image: image takes a word, not a number`}},
		{"word for a number", []Module{word("clock/c", "tempo", "fast")}, nil, []string{`modules[0].params.tempo: tempo is 10 … 300 BPM, got "fast"`}},
		{"blank word", []Module{word("deployment/web", "image", "a b"), word("deployment/api", "image", "")}, nil, []string{
			`modules[0].params.image: image is a word without blanks, got "a b"`, `modules[1].params.image: image is a word without blanks, got ""`}},
		{"no such module", []Module{mod("vca/a")}, []Cable{cable("noise/n/white", "vca/a/in"), cable("vca/a/out", "vca/b/in")}, []string{
			`cables[0].from: there is no module "noise/n" in the patch`, `cables[1].to: there is no module "vca/b" in the patch`}},
		{"no such jack", []Module{mod("vca/a")}, []Cable{cable("vca/a/blue", "vca/a/red")}, []string{
			`cables[0].from: vca/a has no jack "blue"; expected one of out`, `cables[0].to: vca/a has no jack "red"; expected one of in, cv`}},
		{"backwards", []Module{mod("vca/a"), mod("noise/n")}, []Cable{cable("vca/a/in", "noise/n/pink")}, []string{
			`cables[0].from: vca/a/in is an input; a cable starts at an output, one of out`,
			`cables[0].to: noise/n/pink is an output; a cable ends at an input, one of `}},
		{"two in one", []Module{mod("vca/a"), mod("noise/n")}, []Cable{cable("noise/n/pink", "vca/a/in"), cable("noise/n/white", "vca/a/in")}, []string{
			`cables[1].to: vca/a/in already holds cables[0]; an input takes one cable, a mixer takes several`}},
		{"sound as a wish", []Module{mod("deployment/web"), mod("noise/n")}, []Cable{cable("noise/n/pink", "deployment/web/replicas_cv")}, []string{
			`cables[0]: a cable from noise/n/pink (audio) to deployment/web/replicas_cv (CV) cannot mean anything: sound changes too fast to be a wish for the cluster; it would need an envelope first`}},
		{"sound as a life", []Module{mod("pod/p"), mod("noise/n")}, []Cable{cable("noise/n/pink", "pod/p/lifecycle")}, []string{
			`cables[0]: a cable from noise/n/pink (audio) to pod/p/lifecycle (lifecycle) cannot mean anything: a pod's lifecycle takes a Deployment's claim, or a gate that holds the pod up`}},
		{"claim on sound", []Module{mod("deployment/web"), mod("vca/a")}, []Cable{cable("deployment/web/claim_1", "vca/a/in")}, []string{
			`cables[0]: a cable from deployment/web/claim_1 (claim) to vca/a/in (audio) cannot mean anything: a claim only means something to a Pod's lifecycle`}},
		{"trigger as a life", []Module{mod("pod/p"), mod("clock/c")}, []Cable{cable("clock/c/beat", "pod/p/lifecycle")}, []string{
			`cables[0]: a cable from clock/c/beat (trigger) to pod/p/lifecycle (lifecycle) cannot mean anything: a pod's lifecycle takes a Deployment's claim, or a gate that holds the pod up`}},
		{"gate as a life", []Module{mod("pod/p"), mod("clock/c")}, []Cable{cable("clock/c/gate", "pod/p/lifecycle")}, nil},
		{"claim as a life", []Module{mod("pod/p"), mod("deployment/d")}, []Cable{cable("deployment/d/claim_6", "pod/p/lifecycle")}, nil},
		{"a bare pod's node", []Module{mod("pod/p"), mod("node/n")}, []Cable{cable("pod/p/load", "node/n/load")}, nil},
		{"a replica's node", []Module{mod("deployment/web"), mod("pod/p"), mod("node/n")},
			[]Cable{cable("pod/p/load", "node/n/load"), cable("deployment/web/claim_1", "pod/p/lifecycle")}, []string{
				`cables[0]: pod/p shows a replica of deployment/web, which runs where the template of its Deployment says; patch deployment/web/pods to node/n/load instead`}},
		{"a replica's load as CV", []Module{mod("deployment/web"), mod("pod/p"), mod("node/n")},
			[]Cable{cable("pod/p/load", "node/n/capacity_cv"), cable("deployment/web/claim_1", "pod/p/lifecycle")}, nil},
		{"placement of anything", []Module{mod("clock/c"), mod("node/n")}, []Cable{cable("clock/c/gate", "node/n/load")}, []string{
			`cables[0]: a cable from clock/c/gate (gate) to node/n/load (placement) cannot mean anything: a Node carries a Deployment's pods, or the pod whose load is patched to it`}},
		{"selection of anything", []Module{mod("clock/c"), mod("service/s"), mod("service/t"), mod("pod/p"), mod("deployment/d")}, []Cable{
			cable("clock/c/gate", "service/s/selector"), cable("deployment/d/pods", "service/t/selector")}, []string{
			`cables[0]: a cable from clock/c/gate (gate) to service/s/selector (selector) cannot mean anything: a Service selects a Deployment's pods, or the pod whose ready gate is patched to it`}},
		{"one autoscaler, two deployments", []Module{mod("hpa/h"), mod("deployment/a"), mod("deployment/b")}, []Cable{cable("hpa/h/scale", "deployment/a/replicas_cv"), cable("hpa/h/scale", "deployment/b/replicas_cv")}, []string{
			`cables[1].from: cables[0] leads from hpa/h/scale to deployment/a already: an autoscaler scales one Deployment`}},
		{"two autoscalers, one deployment", []Module{mod("hpa/h"), mod("hpa/i"), mod("deployment/a")}, []Cable{cable("hpa/h/scale", "deployment/a/replicas_cv"), cable("hpa/i/scale", "deployment/a/replicas_cv")}, []string{
			`cables[1].to: deployment/a/replicas_cv already holds cables[0]; an input takes one cable, a mixer takes several`}},
		{"scale elsewhere", []Module{mod("hpa/h"), mod("vca/a")}, []Cable{cable("hpa/h/scale", "vca/a/cv")}, []string{
			`cables[0]: a cable from hpa/h/scale (scale) to vca/a/cv (CV) cannot mean anything: an autoscaler scales a Deployment: patch it to replicas_cv; its desired jack carries the same as plain CV`}},
		{"one route, two services", []Module{mod("ingress/i"), mod("service/a"), mod("service/b"), mod("pod/p")}, []Cable{
			cable("ingress/i/route_1", "service/a/request"), cable("ingress/i/route_1", "pod/p/request"), cable("ingress/i/route_2", "service/b/request")}, nil},
		{"one rule, two services", []Module{mod("ingress/i"), mod("service/a"), mod("service/b")}, []Cable{
			cable("ingress/i/route_1", "service/a/request"), cable("ingress/i/route_1", "service/b/request")}, []string{
			`cables[1].from: cables[0] leads from ingress/i/route_1 to service/a already: a rule of an Ingress has one Service behind it`}},
		{"one replica, two panels", []Module{mod("deployment/d"), mod("pod/a"), mod("pod/b")}, []Cable{
			cable("deployment/d/claim_1", "pod/a/lifecycle"), cable("deployment/d/claim_1", "pod/b/lifecycle")}, []string{
			`cables[1].from: cables[0] leads from deployment/d/claim_1 to pod/a already: a replica is shown on one Pod panel`}},
		{"several at once", []Module{with("vca/a", "gain", 9), mod("x/y"), mod("vca/a")}, []Cable{cable("x/y/z", "vca/a/in")}, []string{
			`modules[0].params.gain: gain is 0 … 2, got 9`, `modules[1]: unknown module "x"; expected one of ` + known,
			`modules[2]: there are two modules named vca/a`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := (&Patch{Modules: c.modules, Cables: c.cables}).Validate()
			got := ""
			if err != nil {
				got = err.Error()
				var pe *PatchError
				if !errors.As(err, &pe) {
					t.Errorf("no PatchError in %T", err)
				}
			}
			if want := strings.Join(c.want, "\n"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	// A pitch is never yes or no to the cluster.
	pitch := &JackSpec{Name: "pitch", Kind: Pitch}
	for _, kind := range []SignalKind{Gate, Trigger} {
		to := &JackSpec{Name: "to", Kind: kind}
		if ok, _ := cableMeans(Spec("rule"), pitch, Spec("deployment"), to); ok {
			t.Errorf("a pitch may go to a cluster's %s", kind)
		}
		if ok, _ := cableMeans(Spec("rule"), pitch, Spec("vca"), to); !ok {
			t.Errorf("a pitch may not go to a sound module's %s", kind)
		}
	}
}

func TestParseJackRef(t *testing.T) {
	for _, good := range []string{"deployment/web/error", "vca/a/in"} {
		if r, err := ParseJackRef(good); err != nil || r.String() != good {
			t.Errorf("%s: %v, %v", good, r, err)
		}
	}
	for _, bad := range []string{"", "/", "//", "a/b", "a/b/", "/a", "a/b/c/d"} {
		if _, err := ParseJackRef(bad); err == nil || !strings.Contains(err.Error(), "expected kind/name/jack") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParseJackRef(f *testing.F) {
	for _, s := range []string{"deployment/web/error", "a//b", "/a/b", "ä/ö/ü"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if r, err := ParseJackRef(s); err == nil && r.String() != s {
			t.Errorf("%q reads back as %q", s, r)
		}
	})
}

func TestClone(t *testing.T) {
	p := &Patch{Modules: []Module{{ID: "vca/a", Params: map[string]float64{"gain": 1}, Text: map[string]string{"x": "y"}}}, Cables: []Cable{{}}}
	c := p.Clone()
	c.Modules[0].Params["gain"], c.Modules[0].Text["x"], c.Cables[0].To.Jack = 2, "z", "in"
	if p.Modules[0].Params["gain"] != 1 || p.Modules[0].Text["x"] != "y" || p.Cables[0].To.Jack != "" {
		t.Error("a change of the copy changed the patch")
	}
	if m := p.Module("vca/a"); m == nil || m.Value("gain") != 1 || m.Value("response") != 0 || p.Module("vca/b") != nil {
		t.Error("Module or Value finds the wrong one")
	}
	d := Module{ID: "deployment/web"}
	if d.Value("replicas") != 1 || d.Word("image") != voiceImage {
		t.Error("missing params do not stand at their defaults")
	}
}

func TestChoices(t *testing.T) {
	p := &Spec("vca").Params[Spec("vca").Param("response")]
	if v, err := p.Choice("exponential"); v != 1 || err != nil {
		t.Errorf("exponential is %v, %v", v, err)
	}
	if _, err := p.Choice("cubic"); err == nil || err.Error() != `response is linear or exponential, got "cubic"` {
		t.Error(err)
	}
	r := &Spec("deployment").Params[0]
	for in, want := range map[float64]float64{-3: 0, 2.4: 2, 2.6: 3, 99: 16} {
		if got := r.Clamp(in); got != want {
			t.Errorf("%g replicas clamp to %g, want %g", in, got, want)
		}
	}
}

func TestGestureVolts(t *testing.T) {
	for g := NoGesture; g < gestureCount; g++ {
		for _, off := range []float32{-0.2, 0, 0.2} {
			if got := GestureAt(g.Volts() + off); got != g {
				t.Errorf("%v V is gesture %d, want %d", g.Volts()+off, got, g)
			}
		}
	}
	for _, v := range []float32{-1, float32(math.NaN()), float32(gestureCount) * gestureVolts, 10, float32(math.Inf(1)), float32(math.Inf(-1))} {
		if got := GestureAt(v); got != NoGesture {
			t.Errorf("%v V is gesture %d, want none", v, got)
		}
	}
}
