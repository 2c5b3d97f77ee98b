package eno

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

func good() mapping.Topology {
	return mapping.Topology{
		Version: 2, Generation: 1, Namespace: "k8s-synth",
		Modules: map[instrument.ModuleID]mapping.TopologyModule{
			"deployment/web": {"replicas": 3.0}, "deployment/api": {"replicas": 16.0},
			"pod/kick": {"hold": true}, "pod/web": {"hold": true}, "pod/first": {},
			"service/web": {"match": "tier in (front, edge),!canary"}, "ingress/door": {},
			"hpa/swell": {}, "cronjob/bell": {}, "job/swell": {"runs": 1.0}, "node/stage-1": {}, "node/stage-2": {}, "namespace/case": {},
		},
		Cables: []string{"deployment/web/claim_1 -> pod/first/lifecycle", "hpa/swell/scale -> deployment/web/replicas_cv"},
	}
}

func TestValidate(t *testing.T) {
	if err := Validate(good()); err != nil {
		t.Fatalf("a good topology: %v", err)
	}
	set := func(id instrument.ModuleID, param string, v any) func(*mapping.Topology) {
		return func(t *mapping.Topology) {
			m := mapping.TopologyModule{}
			for k, v := range t.Modules[id] {
				m[k] = v
			}
			m[param] = v
			t.Modules[id] = m
		}
	}
	plug := func(cables ...string) func(*mapping.Topology) {
		return func(t *mapping.Topology) { t.Cables = append(t.Cables, cables...) }
	}
	for name, c := range map[string]struct {
		change func(*mapping.Topology)
		want   string
	}{
		"later version":       {func(t *mapping.Topology) { t.Version = 3 }, "version: 3 is later than 2"},
		"no version":          {func(t *mapping.Topology) { t.Version = 0 }, "version: 0 is not a version"},
		"negative generation": {func(t *mapping.Topology) { t.Generation = -1 }, "generation: -1"},
		"namespace":           {func(t *mapping.Topology) { t.Namespace = "K8S" }, `namespace: "K8S"`},
		"no namespace":        {func(t *mapping.Topology) { t.Namespace = "" }, `namespace: ""`},
		"replicas over":       {set("deployment/web", "replicas", 17.0), "modules.deployment/web.replicas: replicas is 0 … 16, got 17"},
		"not a number":        {set("pod/kick", "stop_delay", math.NaN()), "modules.pod/kick.stop_delay: stop_delay is 0 … 60 s, got NaN"},
		"fraction":            {set("job/swell", "runs", 1.5), "modules.job/swell.runs: runs is a whole number"},
		"surface's param":     {set("job/swell", "attack", 1.0), `modules.job/swell.attack: job has no param "attack" in a topology`},
		"live param":          {set("pod/kick", "cpu", 1.0), `modules.pod/kick.cpu: pod has no param "cpu" in a topology`},
		"name":                {func(t *mapping.Topology) { t.Modules["deployment/Web_1"] = nil }, `modules.deployment/Web_1: "deployment/Web_1" is not a name`},
		"long name":           {func(t *mapping.Topology) { t.Modules["pod/"+instrument.ModuleID(strings.Repeat("a", 43))] = nil }, "is not a name"},
		"no module":           {func(t *mapping.Topology) { t.Modules["deployment"] = nil }, "modules.deployment:"},
		"image":               {set("deployment/web", "image", "registry.example/A:v1"), `modules.deployment/web.image: "registry.example/A:v1" is not the name of an image`},
		"image of a cronjob":  {set("cronjob/bell", "image", "x@sha256:1"), "modules.cronjob/bell.image:"},
		"label":               {set("pod/kick", "labels", "tier"), `modules.pod/kick.labels: "tier" is not a label`},
		"name of a label":     {set("pod/kick", "labels", "tier!=front"), `"tier!" is not the name of a label`},
		"value of a label":    {set("deployment/web", "labels", "tier=a b"), `"a b" is not the value of a label`},
		"label of ours":       {set("deployment/web", "labels", "a=b, k8s-synth.io/module=pod.x"), "the label k8s-synth.io/module is not the player's"},
		"managed by others":   {set("deployment/web", "labels", "app.kubernetes.io/managed-by=helm"), "not the player's"},
		"label twice":         {set("deployment/web", "labels", "a=b,a=c"), "the label a is there twice"},
		"selector":            {set("service/web", "match", "tier in front"), `modules.service/web.match: "tier in front" is not a label selector`},
		"selector's value":    {set("service/web", "match", "tier=-"), "is not a label selector"},
		"service's name":      {func(t *mapping.Topology) { t.Modules["service/1st"] = nil }, `modules.service/1st: "1st" is not a name for a Service`},
		"port":                {set("service/web", "port", 0.0), "modules.service/web.port: port is 1 … 65535, got 0"},
		"host":                {set("ingress/door", "host", "a..b"), `modules.ingress/door.host: "a..b" is not a host name`},
		"relative path":       {set("ingress/door", "path_2", "two"), `modules.ingress/door.path_2: "two" must begin with /`},
		"path with a blank":   {set("ingress/door", "path_2", "/a b"), "has a blank"},
		"path of dots":        {set("ingress/door", "path_2", "/a/../b"), "must not contain /../"},
		"path to the parent":  {set("ingress/door", "path_2", "/a/.."), "must not end in a dot"},
		"two equal paths":     {set("ingress/door", "path_4", "/two/"), `modules.ingress/door.path_4: "/two/" is the path of path_2 already`},
		"node":                {set("node/stage-1", "node", "Node 1"), `modules.node/stage-1.node: "Node 1" is not the name of a node`},
		"autoscaler's range":  {set("hpa/swell", "min", 9.0), "modules.hpa/swell.min: 9 is more than max, which is 8"},
		"schedule":            {set("cronjob/bell", "schedule", "every minute"), `modules.cronjob/bell.schedule: "every minute" is not a schedule`},
		"six fields":          {set("cronjob/bell", "schedule", "* * * * * *"), "is not a schedule"},
		"no schedule":         {set("cronjob/bell", "schedule", ""), "is not a schedule"},
		"time zone":           {set("cronjob/bell", "schedule", "CRON_TZ=Europe/Berlin 0 5 * * *"), "no time zone"},
		"another time zone":   {set("cronjob/bell", "schedule", "TZ=UTC"), "no time zone"},
		"two cases":           {func(t *mapping.Topology) { t.Modules["namespace/second"] = nil }, "modules.namespace/second: namespace/case is the case already"},
		"no cable":            {plug("deployment/web"), `cables[2]: "deployment/web" is not a cable`},
		"from nowhere":        {plug("deployment/gone/claim_2 -> pod/kick/lifecycle"), `cables[2].from: there is no module "deployment/gone"`},
		"no such jack":        {plug("deployment/web/claim_2 -> pod/kick/life"), `cables[2].to: pod/kick has no jack "life"`},
		"no meaning":          {plug("deployment/web/claim_2 -> service/web/selector"), "cannot mean anything"},
		"two into one":        {plug("deployment/api/claim_1 -> pod/first/lifecycle"), "already holds cables[0]"},
		"two scaled":          {plug("hpa/swell/scale -> deployment/api/replicas_cv"), "cables[2]: hpa/swell scales deployment/web already"},
		"two behind a route": {func(t *mapping.Topology) {
			t.Modules["service/api"] = nil
			plug("ingress/door/route_1 -> service/web/request", "ingress/door/route_1 -> service/api/request")(t)
		}, "cables[3]: ingress/door/route_1 leads to service/web already"},
		"a placed replica": {plug("pod/first/load -> node/stage-1/load"), "cables[2]: pod/first shows a replica of deployment/web"},
	} {
		t.Run(name, func(t *testing.T) {
			topology := good()
			c.change(&topology)
			err := Validate(topology)
			if !errors.Is(err, ErrInvalidTopology) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if objects, err := Objects(topology); err == nil || objects != nil {
				t.Errorf("it was synthesized all the same: %v", objects)
			}
		})
	}
	both := good()
	both.Version, both.Modules["deployment/web"] = 9, mapping.TopologyModule{"replicas": 99.0}
	if err := Validate(both); err == nil || !strings.Contains(err.Error(), "version") || !strings.Contains(err.Error(), "replicas") {
		t.Errorf("two faults give %v, want both", err)
	}
	for _, schedule := range []string{"@hourly", "*/5 8-18 * * MON-FRI", "0 0 1,15 * *"} {
		topology := good()
		set("cronjob/bell", "schedule", schedule)(&topology)
		if err := Validate(topology); err != nil {
			t.Errorf("%q: %v", schedule, err)
		}
	}
}

func configMap(text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: ConfigMapName, Namespace: "k8s-synth"}, Data: map[string]string{ConfigMapKey: text}}
}

func TestDecodeNamesThePlace(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "line 1, column 1: there is nothing here",
		"# only this\n":                     "there is nothing here",
		"---\n":                             "there is nothing here",
		"- version: 2":                      "line 1, column 1: expected fields with their values, got a list",
		"version: 2\nreplica: 3":            "line 2, column 1: replica: there is no such field; expected one of version, scene",
		"version: [":                        "line 1, column 1: not YAML",
		"version: 2\nversion: 2":            "line 2, column 1: version: it is there already, on line 1",
		"version: two":                      `line 1, column 10: version: expected a whole number, got "two"`,
		"version: 2.0":                      "line 1, column 10: version: expected a whole number, got 2.0",
		"version: 2\nmodules: {pod/a: [1]}": "line 2, column 18: modules.pod/a: expected fields with their values, got a list",
		"version: 2\nmodules:\n  pod/a:\n    hold: [on]":   "line 4, column 11: modules.pod/a.hold: expected a number, text, true or false, got a list",
		"version: 2\nmodules:\n  pod/a:\n    image:\n":     "line 4, column 11: modules.pod/a.image: expected a number, text, true or false, got nothing",
		"version: 2\nmodules: {pod/a: {stop_delay: .inf}}": "modules.pod/a.stop_delay: expected a number",
		"version: 2\ncables: [{from: a, to: b}]":           "line 2, column 10: cables[0]: expected text, got fields",
		"version: 2\nscene: 7":                             "line 2, column 8: scene: expected text, got 7",
		"version: 2\nmodules:\n  pod/a:\n\thold: on\n":     "line 4, column 1: not YAML",
		"version: 2\n---\nversion: 2":                      "line 2, column 1: a second document begins here",
		"version: 2\nmodules: {[a]: {}}":                   "line 2, column 11: modules: expected a name, got a list",
		"version: 7\nmodules: 3":                           "line 1, column 10: version: 7 is later than 2",
		"version: 1\ndeployments: {name: a}":               "line 2, column 14: deployments: expected a list, got fields",
		"version: 1\nmodules: {}":                          "line 2, column 1: modules: there is no such field in version 1",
		"version: 1\ndeployments: [{replicas: 1}]":         "deployments[0].name: a name is missing",
		"version: 1\npods: [{name: a}, {name: a}]":         `line 2, column 19: pods[1].name: "a" is there already`,
		"version: 1\npods: [{name: a, hold: on}]":          "line 2, column 18: pods[0].hold: there is no such field in version 1",
		"version: 1\npods: [{name: a, lifecycle: {x: 1}}]": "pods[0].lifecycle.x: there is no such field in version 1",
	} {
		_, err := Load(configMap(text))
		if !errors.Is(err, ErrInvalidTopology) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q gives %v, want an error with %q", text, err, want)
		}
		if err != nil && !strings.Contains(err.Error(), `ConfigMap k8s-synth/topology, key "topology.yaml"`) {
			t.Errorf("%v does not name its ConfigMap", err)
		}
	}
	// What is wrong with the content has its place too, and all is told in the
	// order of the text.
	_, err := Load(configMap("version: 2\nmodules:\n  deployment/web:\n    replicas: 17\n    image: A\ncables:\n- x\nnamespace: N\nfoo: 1"))
	var e *InvalidError
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got []string
	for _, f := range e.Faults {
		got = append(got, f.Place)
		if f.Line == 0 {
			t.Errorf("%v has no line", f)
		}
	}
	if want := []string{"modules.deployment/web.replicas", "modules.deployment/web.image", "cables[0]", "namespace", "foo"}; !reflect.DeepEqual(got, want) {
		t.Errorf("faults at %v, want %v", got, want)
	}
	if _, err := Load(nil); !errors.Is(err, ErrInvalidTopology) {
		t.Errorf("no ConfigMap gives %v", err)
	}
	if _, err := Load(&corev1.ConfigMap{}); !errors.Is(err, ErrInvalidTopology) {
		t.Errorf("an empty ConfigMap gives %v", err)
	}
}

func TestDecodeTakesJSONAliasesAndWords(t *testing.T) {
	for _, text := range []string{
		`{"version":2,"modules":{"pod/a":{"hold":true,"cpu_request":250}}}`,
		"version: 2\nmodules:\n  pod/a: {hold: on, cpu_request: 250}",
		"version: 2\nmodules:\n  pod/a: {hold: true, cpu_request: 2.5e2}",
		"version: 2\nscene: &a ''\nmodules:\n  pod/a: &m {hold: true, cpu_request: 250}\n",
	} {
		topology, err := Load(configMap(text))
		if err != nil || topology.Namespace != "k8s-synth" || topology.Value("pod/a", "hold") != 1 || topology.Value("pod/a", "cpu_request") != 250 {
			t.Errorf("%s: %v, %+v", text, err, topology)
		}
	}
	topology, err := Load(configMap("version: 2\nmodules:\n  pod/a: &m {hold: true}\n  pod/b: *m\n  pod/c:"))
	if err != nil || topology.Value("pod/b", "hold") != 1 || topology.Modules["pod/c"] == nil {
		t.Errorf("an alias: %v, %+v", err, topology)
	}
}

// TestVersion1 converts what kept clusters hold.
func TestVersion1(t *testing.T) {
	topology, err := Load(configMap(string(read(t, "testdata/version-1.yaml"))))
	if err != nil {
		t.Fatal(err)
	}
	want := mapping.Topology{
		Version: 2, Scene: "default", Generation: 12, Namespace: "k8s-synth",
		Modules: map[instrument.ModuleID]mapping.TopologyModule{
			"deployment/web": {"replicas": 5.0, "image": "k8s-synth/voice", "strategy": "RollingUpdate", "max_surge": 2.0, "max_unavailable": 0.0, "restarts": 3.0,
				"start_delay": 0.3, "ready_delay": 1.5, "stop_delay": 0.0, "delay_jitter": 0.1},
			"deployment/api": {"replicas": 0.0, "image": "k8s-synth/voice", "strategy": "Recreate", "max_surge": 0.0, "max_unavailable": 0.0, "delay_jitter": 0.0},
			"pod/kick":       {"hold": true, "image": "k8s-synth/voice", "delay_jitter": 0.0},
			"pod/first":      {},
			"etcd/store":     {},
		},
		Cables: []string{"deployment/web/claim_1 -> pod/first/lifecycle", "pod/first/ready -> deployment/web/ready_1", "etcd/store/heartbeat -> deployment/api/restart"},
	}
	if !reflect.DeepEqual(topology, want) {
		t.Errorf("got  %+v\nwant %+v", topology, want)
	}
	objects, err := Objects(topology)
	if err != nil || len(objects) != 3 {
		t.Errorf("%d objects: %v", len(objects), err)
	}
	_, err = Load(configMap("version: 1\ndeployments:\n- name: web\n  replicas: 17\n"))
	if want := "line 4, column 13: modules.deployment/web.replicas"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func object[T client.Object](t *testing.T, topology mapping.Topology, name string) (found T) {
	t.Helper()
	objects, err := Objects(topology)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if o, ok := o.(T); ok && o.GetName() == name {
			return o
		}
	}
	t.Fatalf("no %T %s", found, name)
	return found
}

// TestAutoscalerKeepsReplicas: what Eno would apply to a Deployment that an
// autoscaler has scaled is what is there.
func TestAutoscalerKeepsReplicas(t *testing.T) {
	topology := good()
	d := object[*appsv1.Deployment](t, topology, "web")
	var overrides []struct{ Path, Condition, ValueExpression string }
	if err := json.Unmarshal([]byte(d.Annotations[OverridesAnnotation]), &overrides); err != nil || len(overrides) != 2 || overrides[1].Path != "self.spec.replicas" || overrides[1].ValueExpression != "self.spec.replicas" {
		t.Errorf("overrides %+v: %v", overrides, err)
	}
	for knob, want := range map[float64]int32{0: 1, 3: 3, 16: 8} {
		topology.Modules["deployment/web"] = mapping.TopologyModule{"replicas": knob}
		if got := *object[*appsv1.Deployment](t, topology, "web").Spec.Replicas; got != want {
			t.Errorf("a knob at %g under an autoscaler of 1 to 8 starts with %d, want %d", knob, got, want)
		}
	}
	topology.Modules["deployment/web"], topology.Cables = mapping.TopologyModule{"replicas": 16.0}, topology.Cables[:1]
	d = object[*appsv1.Deployment](t, topology, "web")
	if strings.Contains(d.Annotations[OverridesAnnotation], "replicas") || *d.Spec.Replicas != 16 {
		t.Errorf("without its cable it has %d replicas and annotations %v", *d.Spec.Replicas, d.Annotations)
	}
}

// TestHandsOff: every object tells Eno to leave one of the same name alone that
// is there and is not ours, as Eno evaluates it.
func TestHandsOff(t *testing.T) {
	objects, err := Objects(good())
	if err != nil {
		t.Fatal(err)
	}
	env, err := cel.NewEnv(cel.Variable("self", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	labels := func(l map[string]any) map[string]any { return map[string]any{"metadata": map[string]any{"labels": l}} }
	live := map[string]struct {
		self map[string]any
		off  bool
	}{
		"nothing":         {map[string]any{}, false},
		"ours":            {labels(map[string]any{ManagedByLabel: ManagedBy, "a": "b"}), false},
		"without a label": {map[string]any{"metadata": map[string]any{"name": "web"}}, true},
		"of others":       {labels(map[string]any{"app": "web"}), true},
		"of Helm":         {labels(map[string]any{ManagedByLabel: "Helm"}), true},
	}
	for _, o := range objects {
		var overrides []struct{ Path, Condition, Value string }
		if err := json.Unmarshal([]byte(o.GetAnnotations()[OverridesAnnotation]), &overrides); err != nil || len(overrides) == 0 {
			t.Fatalf("%T %s: %v: %s", o, o.GetName(), err, o.GetAnnotations()[OverridesAnnotation])
		}
		first := overrides[0]
		if first.Path != "self.metadata.annotations['eno.azure.io/disable-reconciliation']" || first.Value != "true" {
			t.Errorf("%T %s: %+v", o, o.GetName(), first)
		}
		ast, issues := env.Compile(first.Condition)
		if issues.Err() != nil {
			t.Fatal(issues.Err())
		}
		program, err := env.Program(ast)
		if err != nil {
			t.Fatal(err)
		}
		for name, l := range live {
			v, _, err := program.Eval(map[string]any{"self": l.self})
			if err != nil || v.Value() != l.off {
				t.Errorf("%T %s where there is %s: %v, %v", o, o.GetName(), name, v, err)
			}
		}
		u, err := Applied(o, nil)
		if err != nil || u.GetAnnotations()[OverridesAnnotation] != "" {
			t.Errorf("%T %s is applied with %v, %v", o, o.GetName(), u.GetAnnotations(), err)
		}
	}
}

func TestOwnImage(t *testing.T) {
	for image, want := range map[string]bool{
		"ghcr.io/k8s-synth/voice:0.1.0": true, "k8s-synth/voice": true, "localhost:5000/k8s-synth/voice": true,
		"r/k8s-synth/voice:1@sha256:00": true, "k8s-synth/voices": false, "voice": false, "other/voice:1": false, "my-k8s-synth/voice": false,
	} {
		if IsVoice(image) != want {
			t.Errorf("IsVoice(%q) is %v", image, !want)
		}
	}
}

func TestEnoObjects(t *testing.T) {
	if b := Composition("x").Spec.Bindings; len(b) != 1 || b[0].Key != InputKey || b[0].Resource.Namespace != "x" || b[0].Resource.Name != ConfigMapName {
		t.Errorf("bindings %+v", b)
	}
	if !Synthesizer().Spec.Refs[0].Defer {
		t.Error("the input is not deferred: a turning knob would starve the synthesis")
	}
}

// FuzzDecode looks for texts that the synthesizer cannot take.
func FuzzLoad(f *testing.F) {
	text, err := Encode(good())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add("version: 1\ndeployments: [{name: a, replicas: -1}]")
	f.Add("version: 2\nmodules: &a {x: *a}")
	f.Add("version: 2\nmodules: {cronjob/a: {schedule: \"0 0 31 2 *\"}}")
	f.Fuzz(func(t *testing.T, text string) {
		objects, err := Synthesize(Inputs{Topology: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}, Data: map[string]string{ConfigMapKey: text}}})
		if err == nil && objects == nil {
			t.Error("neither objects nor an error")
		}
	})
}
