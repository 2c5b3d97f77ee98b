package kube

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// cm is the topology's ConfigMap as a hand wrote it.
func cm(revision int, manager, text string, annotations map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{
			Name: eno.ConfigMapName, Namespace: DefaultNamespace, UID: "u", ResourceVersion: fmt.Sprint(revision), Annotations: annotations,
			Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy},
			ManagedFields: []metav1.ManagedFieldsEntry{
				{Manager: FieldManager, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{}}`)}},
				{Manager: manager, FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:data":{"f:topology.yaml":{}}}`)}},
			},
		},
		Data: map[string]string{eno.ConfigMapKey: text},
	}
}

func textOf(t *testing.T, topology mapping.Topology) string {
	t.Helper()
	text, err := eno.Encode(topology)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// hands is a publisher whose store is played by the test.
type hands struct {
	*Publisher
	edits    []mapping.Edit
	problems []string
}

func newHands() *hands {
	h := &hands{}
	o := NewObserver(Options{Transitions: func([]mapping.Transition) {}, Problem: func(_, text string) { h.problems = append(h.problems, text) }})
	h.Publisher = NewPublisher(o)
	h.OnEdit = func(e mapping.Edit) { h.edits = append(h.edits, e) }
	return h
}

func (h *hands) replicas() float64 { return h.wanted.Value("deployment/web", "replicas") }

func TestEditWhileAKnobIsTurned(t *testing.T) {
	h := newHands()
	publish := func(generation int64, replicas int, surge float64) {
		t.Helper()
		n := topology(generation, replicas)
		n.Modules["deployment/web"]["max_surge"] = surge
		if err := h.Publish(n); err != nil {
			t.Fatal(err)
		}
	}
	publish(1, 3, 1)
	first := topology(1, 3)
	h.known, h.base, h.version, h.published = hashOf(textOf(t, first)), &first, "1", h.count
	// The knob is at 4, not written yet, when the edit to 7 and of the surge
	// arrives: the edit came later.
	publish(2, 4, 1)
	theirs := topology(1, 7)
	theirs.Modules["deployment/web"]["max_surge"] = 2.0
	h.topology(cm(2, "kubectl-edit", textOf(t, theirs), nil))
	if h.replicas() != 7 || h.wanted.Value("deployment/web", "max_surge") != 2 {
		t.Errorf("wanted is %v", h.wanted.Modules)
	}
	if len(h.edits) != 1 || h.edits[0].By != "kubectl-edit" || h.edits[0].Base.Value("deployment/web", "replicas") != 3 {
		t.Errorf("edits %+v", h.edits)
	}
	if len(h.problems) != 1 || !strings.Contains(h.problems[0], "deployment/web.replicas is 7") || !strings.Contains(h.problems[0], "4") {
		t.Errorf("problems %q", h.problems)
	}
	// What was under way from before it does not undo it; what is turned after
	// it wins, and says so; the rest of the edit stays.
	publish(3, 4, 1)
	if h.replicas() != 7 {
		t.Errorf("a topology from before the edit undid it")
	}
	publish(4, 5, 1)
	if h.replicas() != 5 || h.wanted.Value("deployment/web", "max_surge") != 2 {
		t.Errorf("wanted is %v", h.wanted.Modules)
	}
	if len(h.problems) != 2 || !strings.Contains(h.problems[1], "replicas is 5") {
		t.Errorf("problems %q", h.problems)
	}
	// The instrument takes over what is left, and the edit is over.
	publish(5, 5, 2)
	if h.edit != nil {
		t.Errorf("the edit waits on for %v", h.edit.waiting())
	}
	publish(6, 5, 1)
	if h.wanted.Value("deployment/web", "max_surge") != 1 || len(h.problems) != 2 {
		t.Errorf("a knob turned back is not free: %v, %q", h.wanted.Modules, h.problems)
	}
}

// TestEditBeforeTheAnswer: another hand is so quick that its edit of what we
// write is seen before the answer to our write. It is an edit of that, and the
// next one an edit of it.
func TestEditBeforeTheAnswer(t *testing.T) {
	h := newHands()
	first, second := topology(1, 3), topology(2, 4)
	h.known, h.base, h.version, h.revision, h.uid = hashOf(textOf(t, first)), &first, "1", 1, "u"
	written := hashOf(textOf(t, second))
	h.writing[written] = second
	annotations := map[string]string{writtenAnnotation: written}
	// The first one brings back what stood there before.
	for i, edited := range []mapping.Topology{first, topology(2, 7), topology(2, 8)} {
		h.topology(cm(3+i, "kubectl-edit", textOf(t, edited), annotations))
		if len(h.edits) != i+1 {
			t.Fatalf("%d edits after %d", len(h.edits), i+1)
		}
		if got, want := h.edits[i].Base.Value("deployment/web", "replicas"), []float64{4, 3, 7}[i]; got != want {
			t.Errorf("edit %d is one of %v replicas, want %v", i+1, got, want)
		}
	}
}

func TestEditsOfOwnAndForeignHands(t *testing.T) {
	h := newHands()
	mine := textOf(t, topology(1, 3))
	packed, err := pack(mine)
	if err != nil {
		t.Fatal(err)
	}
	left := map[string]string{writtenAnnotation: hashOf(mine), writtenTextAnnotation: packed}
	// As it was left by the last run: nothing happened.
	h.topology(cm(5, FieldManager, mine, left))
	if len(h.edits) != 0 || h.base == nil {
		t.Fatalf("our own text counts as an edit: %+v", h.edits)
	}
	// Edited while nobody ran: found at the start, with what it was before.
	h = newHands()
	h.topology(cm(6, "vim", textOf(t, topology(1, 8)), left))
	if len(h.edits) != 1 || h.edits[0].Base.Value("deployment/web", "replicas") != 3 || h.edits[0].Topology.Value("deployment/web", "replicas") != 8 {
		t.Fatalf("edits %+v", h.edits)
	}
	if err := h.Publish(topology(1, 4)); err != nil { // the scene's own beginning
		t.Fatal(err)
	}
	if h.replicas() != 8 {
		t.Errorf("the scene's beginning undid the edit: %v", h.replicas())
	}
	// A watch that lags tells the past; a comment changes nothing.
	h.topology(cm(4, "vim", textOf(t, topology(1, 1)), left))
	h.topology(cm(7, "vim", textOf(t, topology(1, 8))+"# a note\n", left))
	if len(h.edits) != 1 {
		t.Errorf("edits %+v", h.edits)
	}
	// A slip is refused and stays until there is something new.
	h.edit = nil
	base := topology(1, 8)
	if err := h.Publish(base); err != nil {
		t.Fatal(err)
	}
	h.topology(cm(8, "vim", "replicas: [", left))
	if h.rejected == nil || len(h.notes) == 0 || !strings.Contains(h.problems[len(h.problems)-1], "refused") {
		t.Fatalf("rejected %v, problems %q", h.rejected, h.problems)
	}
	h.topology(cm(8, "vim", strings.Replace(textOf(t, base), "replicas: 8", "replicas: 99", 1), left))
	if got := h.problems[len(h.problems)-1]; !regexp.MustCompile(`line \d+, column \d+: modules.deployment/web.replicas`).MatchString(got) {
		t.Errorf("the place of a slip is not told: %q", got)
	}
	h.attached, h.flight = true, nil
	if got, _, _ := h.next(time.Now()); got != nil {
		t.Error("the slip would be written over without need")
	}
	if err := h.Publish(topology(2, 9)); err != nil {
		t.Fatal(err)
	}
	if got, _, _ := h.next(time.Now()); got == nil {
		t.Error("the patch does not go on")
	}
	// An instrument that never answers is told of.
	h = newHands()
	one := topology(1, 1)
	h.base, h.known = &one, "x"
	h.topology(cm(1, "vim", textOf(t, topology(1, 2)), nil))
	h.edit.until = time.Now().Add(-time.Second)
	if err := h.Publish(topology(2, 1)); err != nil {
		t.Fatal(err)
	}
	if h.replicas() != 1 || !strings.Contains(strings.Join(h.problems, ""), "did not take over") {
		t.Errorf("wanted %v, problems %q", h.replicas(), h.problems)
	}
}

// TestSettingsKeepTheNewest turns a thousand knobs with several writers, some
// of whose writes fail.
func TestSettingsKeepTheNewest(t *testing.T) {
	s := newSettings()
	now := time.Now()
	var mu sync.Mutex
	store := map[mapping.Object]string{}
	object := func(i int) mapping.Object { return mapping.Object{Kind: mapping.KindPod, Name: fmt.Sprint(i)} }
	writes := 0
	for round := range 50 {
		for i := range 16 {
			s.set(mapping.Setting{Object: object(i), Name: mapping.SetCPU, Value: fmt.Sprint(round)})
		}
		for range 5 { // fewer writes than settings
			at, todo, facts, _ := s.take(now)
			if todo == nil {
				break
			}
			writes++
			var err error
			if writes%3 == 0 {
				err = errors.New("busy")
			} else {
				mu.Lock()
				store[at] = todo[mapping.SetCPU].value
				mu.Unlock()
			}
			s.finish(at, todo, facts, err, now)
			now = now.Add(settingSpacing / 4)
		}
	}
	for range 200 {
		at, todo, facts, wait := s.take(now)
		if todo == nil {
			now = now.Add(max(wait, time.Millisecond))
			continue
		}
		store[at] = todo[mapping.SetCPU].value
		s.finish(at, todo, facts, nil, now)
	}
	for i := range 16 {
		if store[object(i)] != "49" {
			t.Errorf("pod %d ends at %q, want 49", i, store[object(i)])
		}
	}
	// What is gone is forgotten; a panel shows one pod.
	s.saw([]mapping.Transition{{Object: object(3), Field: mapping.FieldExists, Old: "true"}})
	if s.objects[object(3)] != nil {
		t.Error("the settings of a pod that is gone are kept")
	}
	s.set(mapping.Setting{Object: object(1), Name: mapping.SetPanel, Value: "web-1"})
	s.set(mapping.Setting{Object: object(2), Name: mapping.SetPanel, Value: "web-1"})
	if s.objects[object(1)].values[mapping.SetPanel] != nil {
		t.Error("a panel is set on two pods")
	}
}

func TestSettingsRefuse(t *testing.T) {
	p := NewPublisher(NewObserver(Options{}))
	for _, bad := range []mapping.Setting{
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: mapping.SetCPU, Value: "-1"},
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: mapping.SetCPU, Value: "1.5"},
		{Object: mapping.Object{Kind: mapping.KindNode, Name: "a"}, Name: mapping.SetCPU, Value: "1"},
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: mapping.SetCordon, Value: "true"},
		{Object: mapping.Object{Kind: mapping.KindNode, Name: "a"}, Name: mapping.SetCapacity, Value: "0"},
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: mapping.SetPanel, Value: "no label!"},
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a", Namespace: "kube-system"}, Name: mapping.SetCPU, Value: "1"},
		{Object: mapping.Object{Kind: mapping.KindPod}, Name: mapping.SetCPU, Value: "1"},
		{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: "colour", Value: "red"},
	} {
		if err := p.Set(bad); err == nil {
			t.Errorf("%+v was taken", bad)
		}
	}
	if len(p.settings.objects) != 0 {
		t.Error("a refused setting is kept")
	}
	p.observer.ListenOnly = true
	if err := p.Set(mapping.Setting{Object: mapping.Object{Kind: mapping.KindPod, Name: "a"}, Name: mapping.SetCPU, Value: "1"}); !errors.Is(err, ErrListenOnly) {
		t.Errorf("setting while listening only: %v", err)
	}
}

func TestSliceEndpoints(t *testing.T) {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "n", UID: "u"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	pod := func(i int) *Pod {
		return &Pod{Namespace: "n", Name: fmt.Sprintf("p-%03d", i), UID: fmt.Sprint(i), Node: "m", Phase: "Running", IP: fmt.Sprintf("10.0.%d.%d", i/200, 1+i%200), Ready: true}
	}
	var pods []*Pod
	for i := range 250 {
		pods = append(pods, pod(249-i))
	}
	pods[0].Phase, pods[1].IP, pods[2].Ready, pods[3].Deleting = "Pending", "", false, true
	six := pod(300)
	six.IP = "fd00::1"
	out, err := sliceEndpoints(s, append(pods, six))
	if err != nil {
		t.Fatal(err)
	}
	sizes, names := []int{}, map[string]discoveryv1.EndpointConditions{}
	for _, slice := range out {
		sizes = append(sizes, len(slice.Endpoints))
		for _, e := range slice.Endpoints {
			names[e.TargetRef.Name] = e.Conditions
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 48, 1}) || out[3].AddressType != discoveryv1.AddressTypeIPv6 {
		t.Errorf("slices of %v", sizes)
	}
	if _, there := names["p-249"]; there || len(names) != 249 {
		t.Errorf("%d endpoints; a pod that does not run is one: %v", len(names), there)
	}
	if c := names["p-247"]; *c.Ready || *c.Serving || *c.Terminating {
		t.Errorf("a pod that is not ready is %v", c)
	}
	if c := names["p-246"]; *c.Ready || !*c.Serving || !*c.Terminating {
		t.Errorf("a pod that ends is ready %v, serving %v, terminating %v", *c.Ready, *c.Serving, *c.Terminating)
	}
	if out, err := sliceEndpoints(s, nil); err != nil || len(out) != 1 || len(out[0].Endpoints) != 0 {
		t.Errorf("no pods give %v, %v", out, err)
	}
}

func TestManualJobHasAName(t *testing.T) {
	cron := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("a", 51) + "-", Namespace: "n", UID: "u", Labels: map[string]string{eno.ModuleLabel: "cronjob.a"}}}
	job := manualJob(cron, "abcde")
	if len(job.Name) > 63-11 || strings.Contains(job.Name, "--") || job.Labels[eno.ModuleLabel] != "cronjob.a" || job.Annotations[instantiateAnnotation] != "manual" {
		t.Errorf("%+v", job.ObjectMeta)
	}
}

func TestOutboxNeverLosesAnEdit(t *testing.T) {
	o := NewOutbox(4)
	for i := range 1000 {
		o.Problem("x", fmt.Sprint(i))
		o.Transitions([]mapping.Transition{transition("a", mapping.FieldRestarts, fmt.Sprint(i), fmt.Sprint(i+1))})
		if i%100 == 0 {
			o.Edit(mapping.Edit{By: fmt.Sprint(i)})
		}
	}
	edits := 0
	for _, m := range o.queue {
		if m.Edit != nil {
			edits++
		}
	}
	if edits != 10 {
		t.Errorf("%d of 10 edits wait", edits)
	}
}

// TestSettingOfANodeThatIsLent labels a node after a setting of it was refused.
func TestSettingOfANodeThatIsLent(t *testing.T) {
	s := newSettings()
	node := mapping.Object{Kind: mapping.KindNode, Name: "theirs"}
	s.set(mapping.Setting{Object: node, Name: mapping.SetCordon, Value: "true"})
	now := time.Now()
	at, todo, facts, _ := s.take(now)
	if s.finish(at, todo, facts, ourNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}), now) == "" {
		t.Fatal("the refusal is not told")
	}
	ours := false
	may := func(mapping.Object) bool { return ours }
	now = now.Add(time.Minute)
	s.lend(may)
	if _, todo, _, _ := s.take(now); todo != nil {
		t.Error("a node that is not lent is asked for again")
	}
	ours = true
	s.lend(may)
	at, todo, facts, _ = s.take(now)
	if todo[mapping.SetCordon].value != "true" {
		t.Fatalf("a node that was lent is set to %v", todo)
	}
	s.finish(at, todo, facts, nil, now)
	s.lend(may)
	if _, todo, _, _ := s.take(now.Add(time.Minute)); todo != nil {
		t.Error("what was made is made again")
	}
	// A real node keeps its capacity, however long one waits.
	s.set(mapping.Setting{Object: node, Name: mapping.SetCapacity, Value: "100"})
	now = now.Add(time.Minute)
	at, todo, facts, _ = s.take(now)
	s.finish(at, todo, facts, fmt.Errorf("%w: %w", errOwnCapacity, ErrNotOurs), now)
	s.lend(may)
	if _, todo, _, _ := s.take(now.Add(time.Minute)); todo != nil {
		t.Error("the capacity of a real node is asked for again")
	}
}

// TestRefusalsOfAnAPIThatStarts tells them only where they go on, or come later.
func TestRefusalsOfAnAPIThatStarts(t *testing.T) {
	for _, err := range []error{
		apierrors.NewTooManyRequests("storage is initializing", 1), apierrors.NewInternalError(errors.New("x")), apierrors.NewServiceUnavailable("x"),
	} {
		err = fmt.Errorf("pod %q: %w", "a", err)
		var once tellOnce
		if once.ill(err) {
			t.Errorf("told while it starts: %v", err)
		}
		once.began = time.Now().Add(-bootPatience)
		if !once.ill(err) || once.ill(err) {
			t.Errorf("what goes on is not told once: %v", err)
		}
		once = tellOnce{}
		once.well()
		if !once.ill(err) {
			t.Errorf("not told after it was up: %v", err)
		}
	}
	var once tellOnce
	if !once.ill(apierrors.NewForbidden(corev1.Resource("pods"), "a", errors.New("no"))) {
		t.Error("a right that is missing is not told at once")
	}
}

// TestEndpointsEndWithTheirSelector pulls the cable of a Service whose endpoints
// we keep, while we run and while we do not.
func TestEndpointsEndWithTheirSelector(t *testing.T) {
	mine := map[string]string{eno.ManagedByLabel: eno.ManagedBy}
	service := func(name, selector string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: DefaultNamespace, UID: types.UID(name), Labels: mine, Annotations: map[string]string{eno.SelectorAnnotation: selector}},
			Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 80}}},
		}
	}
	slice := func(name, manager, label string) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: DefaultNamespace, UID: types.UID(name),
			Labels: map[string]string{discoveryv1.LabelServiceName: "left", discoveryv1.LabelManagedBy: manager, eno.ManagedByLabel: label},
		}}
	}
	left := service("left", "") // its slice is from an earlier run
	pulled := service("pulled", "app in (a,b)")
	kept := service("kept", "!muted")
	client := fake.NewClientset(left, pulled, kept,
		slice("left-k8s-synth-v4-0", eno.ManagedBy, eno.ManagedBy),
		slice("kubernetes-own", "endpointslice-controller.k8s.io", ""),
		slice("unlabelled", eno.ManagedBy, ""))
	conn := &Conn{core: client.CoreV1(), discovery: client.DiscoveryV1()}
	p := NewPublisher(NewObserver(Options{Problem: func(where, text string) { t.Errorf("%s: %s", where, text) }}))
	var mu sync.Mutex
	known := []*corev1.Service(nil)
	synced := false
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.keepEndpoints(ctx, conn, func() ([]*corev1.Service, bool) {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(known), synced
		})
	}()
	defer func() { cancel(); <-done }()
	are := func(want ...string) func() bool {
		return func() bool {
			list, err := client.DiscoveryV1().EndpointSlices(DefaultNamespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for i := range list.Items {
				names = append(names, list.Items[i].Name)
			}
			slices.Sort(names)
			return slices.Equal(names, want)
		}
	}
	time.Sleep(100 * time.Millisecond)
	if !are("kubernetes-own", "left-k8s-synth-v4-0", "unlabelled")() {
		t.Fatal("slices were deleted before the Services were known")
	}
	mu.Lock()
	known, synced = []*corev1.Service{left, pulled, kept}, true
	mu.Unlock()
	p.pods <- struct{}{}
	eventually(t, "the end of what was left", are("kept-k8s-synth-v4-0", "kubernetes-own", "pulled-k8s-synth-v4-0", "unlabelled"))
	without := service("pulled", "")
	if _, err := client.CoreV1().Services(DefaultNamespace).Update(ctx, without, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	known = []*corev1.Service{left, without, kept}
	mu.Unlock()
	begin := time.Now()
	p.pods <- struct{}{}
	eventually(t, "the end of the pulled one", are("kept-k8s-synth-v4-0", "kubernetes-own", "unlabelled"))
	t.Logf("a pulled cable is without endpoints after %v", time.Since(begin).Round(time.Millisecond))
}
