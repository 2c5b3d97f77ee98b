package kube

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// fakeAPI serves objects as an API server does, and can do on demand what a
// real one does only when it is old or ill: end watches, forget its history
// (410 Gone), refuse, fail, throttle, hang.
type fakeAPI struct {
	*httptest.Server
	mu       sync.Mutex
	changed  chan struct{}
	cut      chan struct{}
	store    string
	revision int64
	oldest   int64 // watches from before are gone
	pods     map[string]corev1.Pod
	objects  map[string]map[namespaced]metav1.Object // by resource, without the pods
	history  []fakeEvent
	lists    int
	writes   int
	refuse   map[string]bool              // resources that are forbidden
	answer   map[string]int               // resources that answer with a status of failure
	hang     map[string]bool              // resources whose watches say nothing
	watching map[string]int               // watches of each resource that were begun
	metrics  func(path string) (any, int) // answers for metrics.k8s.io and the kubelets
	asked    map[string]int               // by path, what metrics answered
	template corev1.Pod                   // what every pod carries besides
	stream   bool                         // streams lists, as servers since 1.34 do
}

type fakeEvent struct {
	revision int64
	kind     string
	resource string
	object   metav1.Object
}

// served is the API version and kind of each resource that the fake knows.
var served = map[string]metav1.TypeMeta{
	"pods":                     {APIVersion: "v1", Kind: "Pod"},
	"nodes":                    {APIVersion: "v1", Kind: "Node"},
	"services":                 {APIVersion: "v1", Kind: "Service"},
	"namespaces":               {APIVersion: "v1", Kind: "Namespace"},
	"resourcequotas":           {APIVersion: "v1", Kind: "ResourceQuota"},
	"configmaps":               {APIVersion: "v1", Kind: "ConfigMap"},
	"deployments":              {APIVersion: "apps/v1", Kind: "Deployment"},
	"endpointslices":           {APIVersion: "discovery.k8s.io/v1", Kind: "EndpointSlice"},
	"ingresses":                {APIVersion: "networking.k8s.io/v1", Kind: "Ingress"},
	"horizontalpodautoscalers": {APIVersion: "autoscaling/v2", Kind: "HorizontalPodAutoscaler"},
	"cronjobs":                 {APIVersion: "batch/v1", Kind: "CronJob"},
	"jobs":                     {APIVersion: "batch/v1", Kind: "Job"},
}

func newFakeAPI(t *testing.T) *fakeAPI {
	f := &fakeAPI{store: "one", revision: 100, pods: map[string]corev1.Pod{}, objects: map[string]map[namespaced]metav1.Object{},
		changed: make(chan struct{}), cut: make(chan struct{}),
		refuse: map[string]bool{}, answer: map[string]int{}, hang: map[string]bool{}, watching: map[string]int{}, asked: map[string]int{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(func() {
		f.CloseClientConnections()
		f.Close()
	})
	return f
}

func (f *fakeAPI) kubeconfig(t *testing.T) string {
	file := filepath.Join(t.TempDir(), "kubeconfig")
	writeKubeconfig(t, file, f.URL)
	return file
}

func writeKubeconfig(t *testing.T, file, url string) {
	t.Helper()
	text := fmt.Sprintf("apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{name: c, cluster: {server: %q}}]\nusers: [{name: u}]\ncontexts: [{name: c, context: {cluster: c, user: u}}]\n", url)
	if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
}

// change does one or more changes as one, with the lock held.
func (f *fakeAPI) change(do func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	do()
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeAPI) put(name, uid string, phase corev1.PodPhase) {
	f.revision++
	kind := "ADDED"
	if _, ok := f.pods[name]; ok {
		kind = "MODIFIED"
	}
	p := f.template
	p = corev1.Pod{Spec: p.Spec, TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n", UID: types.UID(uid), ResourceVersion: strconv.FormatInt(f.revision, 10), ManagedFields: p.ManagedFields, Annotations: p.Annotations}, Status: corev1.PodStatus{Phase: phase}}
	f.pods[name] = p
	f.history = append(f.history, fakeEvent{f.revision, kind, "pods", &p})
}

func (f *fakeAPI) remove(name string) {
	f.revision++
	p := f.pods[name]
	delete(f.pods, name)
	p.ResourceVersion = strconv.FormatInt(f.revision, 10)
	f.history = append(f.history, fakeEvent{f.revision, "DELETED", "pods", &p})
}

// set stores an object of any resource but pods, which must not change after.
func (f *fakeAPI) set(resource string, o metav1.Object) {
	f.revision++
	o.SetResourceVersion(strconv.FormatInt(f.revision, 10))
	if o.GetUID() == "" {
		o.SetUID(types.UID(resource + "/" + o.GetNamespace() + "/" + o.GetName()))
	}
	meta := served[resource]
	o.(runtime.Object).GetObjectKind().SetGroupVersionKind(meta.GroupVersionKind())
	if f.objects[resource] == nil {
		f.objects[resource] = map[namespaced]metav1.Object{}
	}
	key := namespaced{o.GetNamespace(), o.GetName()}
	kind := "ADDED"
	if f.objects[resource][key] != nil {
		kind = "MODIFIED"
	}
	f.objects[resource][key] = o
	f.history = append(f.history, fakeEvent{f.revision, kind, resource, o})
}

// unset deletes what set stored.
func (f *fakeAPI) unset(resource, namespace, name string) {
	f.revision++
	key := namespaced{namespace, name}
	o := f.objects[resource][key].(runtime.Object).DeepCopyObject().(metav1.Object)
	delete(f.objects[resource], key)
	o.SetResourceVersion(strconv.FormatInt(f.revision, 10))
	f.history = append(f.history, fakeEvent{f.revision, "DELETED", resource, o})
}

// end ends the watches; with forget, they cannot be taken up again.
func (f *fakeAPI) end(forget bool) {
	close(f.cut)
	f.cut = make(chan struct{})
	if forget {
		f.oldest = f.revision
	}
}

// fakeScope is what a request asks for.
type fakeScope struct{ resource, namespace, name string }

func (s fakeScope) holds(resource string, o metav1.Object) bool {
	return resource == s.resource && (s.namespace == "" || o.GetNamespace() == s.namespace) && (s.name == "" || o.GetName() == s.name)
}

// all returns the objects of a scope. The lock is held.
func (f *fakeAPI) all(s fakeScope) []metav1.Object {
	var out []metav1.Object
	for _, p := range f.pods {
		if s.holds("pods", &p) {
			out = append(out, &p)
		}
	}
	for _, o := range f.objects[s.resource] {
		if s.holds(s.resource, o) {
			out = append(out, o)
		}
	}
	return out
}

func (f *fakeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	status := func(code int, reason metav1.StatusReason) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Code: int32(code), Reason: reason, Message: string(reason)})
	}
	q := r.URL.Query()
	scope := fakeScope{resource: r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]}
	if _, after, ok := strings.Cut(r.URL.Path, "/namespaces/"); ok && strings.Contains(after, "/") {
		scope.namespace, _, _ = strings.Cut(after, "/")
	}
	if name, ok := strings.CutPrefix(q.Get("fieldSelector"), "metadata.name="); ok {
		scope.name = name
	}
	f.mu.Lock()
	if r.Method != http.MethodGet {
		f.writes++
	}
	resource := scope.resource
	refused, store, code, metrics := f.refuse[resource], f.store, f.answer[resource], f.metrics
	if strings.Contains(r.URL.Path, "metrics") {
		f.asked[r.URL.Path]++
	}
	f.mu.Unlock()
	_, known := served[resource]
	switch {
	case strings.Contains(r.URL.Path, "metrics"):
		if metrics == nil {
			status(http.StatusNotFound, metav1.StatusReasonNotFound)
			return
		}
		body, code := metrics(r.URL.Path)
		switch body := body.(type) {
		case nil:
			status(code, metav1.StatusReason(http.StatusText(code)))
		case string:
			_, _ = io.WriteString(w, body)
		default:
			_ = json.NewEncoder(w).Encode(body)
		}
	case code != 0:
		w.Header().Set("Retry-After", "1")
		status(code, metav1.StatusReason(http.StatusText(code)))
	case refused:
		status(http.StatusForbidden, metav1.StatusReasonForbidden)
	case resource == "kube-system":
		fmt.Fprintf(w, `{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"kube-system","uid":%q}}`, store)
	case !known:
		status(http.StatusNotFound, metav1.StatusReasonNotFound)
	case q.Get("sendInitialEvents") != "" && f.stream:
		f.mu.Lock()
		at := f.revision
		objects := f.all(scope)
		f.mu.Unlock()
		for _, o := range objects {
			raw, _ := json.Marshal(o)
			fmt.Fprintf(w, `{"type":"ADDED","object":%s}`+"\n", raw)
		}
		fmt.Fprintf(w, `{"type":"BOOKMARK","object":{"apiVersion":%q,"kind":%q,"metadata":{"resourceVersion":"%d","annotations":{"k8s.io/initial-events-end":"true"}}}}`+"\n", served[resource].APIVersion, served[resource].Kind, at)
		f.mu.Lock()
		f.lists++
		f.mu.Unlock()
		f.serveWatch(w, r, scope, at)
	case q.Get("sendInitialEvents") != "":
		status(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid)
	case q.Get("watch") != "":
		from, _ := strconv.ParseInt(q.Get("resourceVersion"), 10, 64)
		f.serveWatch(w, r, scope, from)
	default:
		f.mu.Lock()
		defer f.mu.Unlock()
		f.lists++
		items := f.all(scope)
		// The reflector asks for pages, but takes the whole as one.
		if q.Get("limit") == "1" && len(items) > 1 {
			items = items[:1]
		}
		if items == nil {
			items = []metav1.Object{}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": served[resource].APIVersion, "kind": served[resource].Kind + "List",
			"metadata": map[string]string{"resourceVersion": strconv.FormatInt(f.revision, 10)}, "items": items})
	}
}

func (f *fakeAPI) serveWatch(w http.ResponseWriter, r *http.Request, scope fakeScope, from int64) {
	f.mu.Lock()
	cut, gone := f.cut, from < f.oldest
	f.watching[scope.resource]++
	f.mu.Unlock()
	if gone {
		_, _ = fmt.Fprint(w, `{"type":"ERROR","object":{"apiVersion":"v1","kind":"Status","status":"Failure","code":410,"reason":"Expired","message":"too old resource version"}}`+"\n")
		return
	}
	w.(http.Flusher).Flush()
	for {
		f.mu.Lock()
		changed := f.changed
		i := sort.Search(len(f.history), func(i int) bool { return f.history[i].revision > from })
		events := append([]fakeEvent(nil), f.history[i:]...)
		ended, hangs := cut != f.cut, f.hang[scope.resource]
		f.mu.Unlock()
		if ended {
			return // what happened since is for the next watch
		}
		for _, e := range events {
			if hangs {
				break
			}
			from = e.revision
			if scope.holds(e.resource, e.object) {
				raw, _ := json.Marshal(e.object)
				fmt.Fprintf(w, `{"type":%q,"object":%s}`+"\n", e.kind, raw)
			}
		}
		w.(http.Flusher).Flush()
		select {
		case <-changed:
		case <-cut:
			return
		case <-r.Context().Done():
			return
		}
	}
}

// observe runs an observer of the fake until the test ends.
func observe(t *testing.T, o Options, adjust ...func(*Observer)) (*Observer, *recorder) {
	t.Helper()
	r := &recorder{}
	o.Transitions = r.tell
	o.Problem = r.problem
	o.Namespace = "n"
	o.Log = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug}))
	obs := NewObserver(o)
	NewPublisher(obs)
	for _, do := range adjust {
		do(obs)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = obs.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Error("the observer did not end")
		}
	})
	return obs, r
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 3000 { // what comes soon or never; a loaded machine needs longer
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("waited half a minute for %s", what)
}

func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

func (r *recorder) lastOf(name, field string) string { return last(r.of(name, field)) }

// told counts the transitions of a name and field to a value, by quietness.
func (r *recorder) told(name, field, value string) (loud, quiet int) {
	for _, t := range r.all() {
		if t.Object.Name == name && t.Field == field && t.New == value {
			if t.Quiet {
				quiet++
			} else {
				loud++
			}
		}
	}
	return loud, quiet
}

func TestObserverAcrossEndedAndExpiredWatches(t *testing.T) {
	f := newFakeAPI(t)
	f.change(func() { f.put("first", "u0", "Running") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Heartbeat: 100 * time.Millisecond})
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	if loud, quiet := r.told("first", mapping.FieldPhase, "Running"); loud != 0 || quiet != 1 {
		t.Errorf("the first list was told %d times aloud and %d times quietly, want 0 and 1", loud, quiet)
	}
	f.change(func() { f.put("a", "ua", "Pending"); f.put("b", "ub", "Pending") })
	eventually(t, "b", func() bool { return r.lastOf("b", mapping.FieldPhase) == "Pending" })

	// A watch that ends is taken up where it was: nothing is quiet.
	f.change(func() { f.end(false); f.put("a", "ua", "Running") })
	eventually(t, "a", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Running" })
	if loud, quiet := r.told("a", mapping.FieldPhase, "Running"); loud != 1 || quiet != 0 {
		t.Errorf("a change between two watches was told %d times aloud and %d times quietly, want 1 and 0", loud, quiet)
	}

	// One whose history is gone begins with a list: what it tells is quiet.
	f.change(func() {
		f.put("a", "ua", "Failed")
		f.remove("b")
		f.put("c", "uc", "Pending")
		f.remove("first")
		f.put("first", "u1", "Pending") // another pod of the same name
		f.end(true)
	})
	eventually(t, "c", func() bool { return r.lastOf("c", mapping.FieldPhase) == "Pending" })
	eventually(t, "the new first", func() bool { return r.lastOf("first", mapping.FieldPhase) == "Pending" })
	for _, x := range []struct{ name, field, value string }{
		{"a", mapping.FieldPhase, "Failed"}, {"b", mapping.FieldExists, ""}, {"c", mapping.FieldExists, "true"}, {"first", mapping.FieldExists, ""},
	} {
		if loud, quiet := r.told(x.name, x.field, x.value); loud != 0 || quiet != 1 {
			t.Errorf("%s %s=%q was told %d times aloud and %d times quietly after 410 Gone, want 0 and 1", x.name, x.field, x.value, loud, quiet)
		}
	}
	f.change(func() { f.put("c", "uc", "Running") })
	eventually(t, "c", func() bool { return r.lastOf("c", mapping.FieldPhase) == "Running" })
	if loud, quiet := r.told("c", mapping.FieldPhase, "Running"); loud != 1 || quiet != 0 {
		t.Errorf("after 410 Gone a change was told %d times aloud and %d times quietly, want 1 and 0", loud, quiet)
	}
	if f.mu.Lock(); f.writes != 0 {
		t.Errorf("%d writes while listening only", f.writes)
	}
	f.mu.Unlock()
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestObserverUnderRandomFaults changes pods at random while watches end, their
// history is lost, connections break and the API goes away, and finds the final
// state from transitions of which each follows from the last.
func TestObserverUnderRandomFaults(t *testing.T) {
	t.Run("lists", func(t *testing.T) { testRandomFaults(t, false) })
	t.Run("streamed lists", func(t *testing.T) { testRandomFaults(t, true) })
}

func testRandomFaults(t *testing.T, stream bool) {
	f := newFakeAPI(t)
	f.stream = stream
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Heartbeat: 100 * time.Millisecond})
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	rnd := rand.New(rand.NewPCG(5, 6))
	for i := range 400 {
		f.change(func() {
			for range 1 + rnd.IntN(5) {
				name := fmt.Sprint("p", rnd.IntN(15))
				if p, ok := f.pods[name]; ok && rnd.IntN(4) == 0 {
					f.remove(p.Name)
				} else if ok {
					f.put(name, string(p.UID), []corev1.PodPhase{"Pending", "Running", "Failed"}[rnd.IntN(3)])
				} else {
					f.put(name, fmt.Sprint(name, "-", f.revision), "Pending")
				}
			}
			switch rnd.IntN(12) {
			case 0:
				f.end(false)
			case 1:
				f.end(true)
			}
		})
		if i%100 == 50 {
			f.CloseClientConnections()
		}
		time.Sleep(2 * time.Millisecond)
	}
	f.change(func() { f.put("end", "end", "Running") })
	eventually(t, "the last change", func() bool { return r.lastOf("end", mapping.FieldPhase) == "Running" })
	state := map[mapping.Object]map[string]string{}
	replay(t, state, r.all())
	got, want := map[string]string{}, map[string]string{}
	for o, fields := range state {
		if o.Kind == mapping.KindPod {
			got[o.UID] = fields[mapping.FieldPhase]
		}
	}
	f.mu.Lock()
	for _, p := range f.pods {
		want[string(p.UID)] = string(p.Status.Phase)
	}
	t.Logf("%d transitions, %d lists", len(r.all()), f.lists)
	f.mu.Unlock()
	if !maps.Equal(got, want) {
		t.Errorf("the transitions lead to\n%v\nwant\n%v", got, want)
	}
}

// TestObserverFollowsTheKubeconfig moves to another server when the file says
// so, even while the first one still answers, and takes over the state of a
// store whose revisions count from the start.
func TestObserverFollowsTheKubeconfig(t *testing.T) {
	first, second := newFakeAPI(t), newFakeAPI(t)
	second.store, second.revision = "two", 1
	first.change(func() { first.put("old", "uo", "Running"); first.put("both", "ub", "Pending") })
	second.change(func() { second.put("both", "ub", "Running"); second.put("new", "un", "Pending") })
	file := filepath.Join(t.TempDir(), "late", "kubeconfig")
	_, r := observe(t, Options{Source: Source{Kubeconfig: file}, ListenOnly: true, Heartbeat: 100 * time.Millisecond})
	eventually(t, "its first word", func() bool { return len(r.of("apiserver", mapping.FieldReachable)) > 0 })
	time.Sleep(100 * time.Millisecond) // the file is not there yet
	if got := r.lastOf("apiserver", mapping.FieldReachable); got != "false" {
		t.Errorf("without a kubeconfig, reachable is %q", got)
	}
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	writeKubeconfig(t, file, first.URL)
	eventually(t, "the first server", func() bool { return r.lastOf("old", mapping.FieldPhase) == "Running" })
	writeKubeconfig(t, file, second.URL)
	eventually(t, "the second server", func() bool { return r.lastOf("new", mapping.FieldPhase) == "Pending" })
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	if got := r.lastOf("old", mapping.FieldExists); got != "" {
		t.Error("a pod of the first server lives on")
	}
	if got := r.lastOf("both", mapping.FieldPhase); got != "Running" {
		t.Errorf("a pod that is %q on a server of lower revisions is Running", got)
	}
	if got, want := r.of("apiserver", mapping.FieldReachable), []string{"false", "true", "false", "true"}; !reflect.DeepEqual(got, want) {
		t.Errorf("reachable went %q, want %q", got, want)
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestObserverWithoutRights observes what it may, tells what it may not, and is
// synced all the same.
func TestObserverWithoutRights(t *testing.T) {
	f := newFakeAPI(t)
	f.refuse["nodes"], f.refuse["kube-system"] = true, true
	f.change(func() { f.put("a", "ua", "Running") })
	obs, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Heartbeat: 100 * time.Millisecond})
	eventually(t, "the sync", func() bool { return r.lastOf("apiserver", mapping.FieldSynced) == "true" })
	eventually(t, "the revision", func() bool { return r.lastOf("etcd", mapping.FieldRevision) == "101" })
	if r.lastOf("a", mapping.FieldPhase) != "Running" {
		t.Error("the pod is not seen")
	}
	obs.mu.Lock()
	defer obs.mu.Unlock()
	if !obs.refused[mapping.KindNode] || obs.refused[mapping.KindPod] {
		t.Errorf("refused: %v, want nodes", obs.refused)
	}
}
