package kube

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// podMetrics is a list as metrics-server writes it.
func podMetrics(window string, usages map[string][2]string) map[string]any {
	items := []any{}
	for name, u := range usages {
		items = append(items, map[string]any{
			"metadata": map[string]any{"name": name, "namespace": "n", "creationTimestamp": "2026-03-01T12:00:00Z"}, "timestamp": "2026-03-01T12:00:00Z", "window": window,
			"containers": []any{
				map[string]any{"name": "voice", "usage": map[string]any{"cpu": u[0], "memory": u[1]}},
				map[string]any{"name": "side", "usage": map[string]any{"cpu": "1m", "memory": "1Mi"}},
			}})
	}
	return map[string]any{"kind": "PodMetricsList", "apiVersion": "metrics.k8s.io/v1beta1", "metadata": map[string]any{"labels": map[string]any{"items": "not these"}}, "items": items}
}

func nodeMetrics(cpu, memory string) map[string]any {
	return map[string]any{"kind": "NodeMetricsList", "items": []any{map[string]any{"metadata": map[string]any{"name": "stage-1"}, "window": "1s", "usage": map[string]any{"cpu": cpu, "memory": memory}}}}
}

func aNode(name string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}}}
}

func TestLoadFromTheMetricsAPI(t *testing.T) {
	f := newFakeAPI(t)
	var mu sync.Mutex
	pods, node := map[string][2]string{"a": {"99m", "63Mi"}}, "1000m"
	f.metrics = func(path string) (any, int) {
		mu.Lock()
		defer mu.Unlock()
		switch path {
		case "/apis/metrics.k8s.io/v1beta1/namespaces/n/pods":
			return podMetrics("1s", pods), 0
		case "/apis/metrics.k8s.io/v1beta1/nodes":
			return nodeMetrics(node, "1Gi"), 0
		}
		return nil, http.StatusNotFound
	}
	use := func(p map[string][2]string, n string) {
		mu.Lock()
		defer mu.Unlock()
		pods, node = p, n
	}
	f.change(func() { f.put("a", "ua", "Running"); f.put("b", "ub", "Running"); f.set("nodes", aNode("stage-1")) })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: 20 * time.Millisecond})
	eventually(t, "the load", func() bool {
		return r.lastOf("a", mapping.FieldLoad) == "100" && r.lastOf("stage-1", mapping.FieldLoad) == "1000"
	})
	if loud, quiet := r.told("a", mapping.FieldLoad, "100"); loud != 0 || quiet != 1 {
		t.Errorf("the first measurement was told %d times aloud and %d times quietly, want 0 and 1", loud, quiet)
	}
	if got := r.lastOf("a", mapping.FieldMemory); got != "64" {
		t.Errorf("memory %q, want 64", got)
	}
	// A difference that is noise is not told, one that grows in small steps is.
	for i := range 4 {
		use(map[string][2]string{"a": {fmt.Sprint(100+i, "m"), "63Mi"}}, "1009m")
		time.Sleep(50 * time.Millisecond)
	}
	use(map[string][2]string{"a": {"104m", "63Mi"}, "b": {"500123456n", "1500000Ki"}}, "1011m")
	eventually(t, "the load of b", func() bool { return r.lastOf("b", mapping.FieldLoad) == "501" })
	eventually(t, "the load of the node", func() bool { return r.lastOf("stage-1", mapping.FieldLoad) == "1011" })
	if got := r.lastOf("b", mapping.FieldMemory); got != "1466" {
		t.Errorf("memory %q, want 1466", got)
	}
	if got, want := r.of("a", mapping.FieldLoad), []string{"100", "105"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the load of a went %q, want %q", got, want)
	}
	// A change of the pod keeps its load; what is no longer measured has none.
	f.change(func() { f.put("a", "ua", "Failed") })
	eventually(t, "the failure", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Failed" })
	use(map[string][2]string{"b": {"0", "1Mi"}}, "1011m")
	eventually(t, "the end of the load", func() bool { return r.lastOf("a", mapping.FieldLoad) == "" && r.lastOf("b", mapping.FieldLoad) == "1" })
	if got, want := r.of("a", mapping.FieldLoad), []string{"100", "105", ""}; !reflect.DeepEqual(got, want) {
		t.Errorf("the load of a went %q, want %q", got, want)
	}
	// A relist keeps it too.
	f.change(func() { f.put("b", "ub", "Failed"); f.end(true) })
	eventually(t, "the relist", func() bool { return r.lastOf("b", mapping.FieldPhase) == "Failed" })
	if got, want := r.of("b", mapping.FieldLoad), []string{"501", "1"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the load of b went %q, want %q", got, want)
	}
	replay(t, map[mapping.Object]map[string]string{}, r.all())
}

// TestSlowMetricsAreAskedForSeldom spares a server that measures seldom.
func TestSlowMetricsAreAskedForSeldom(t *testing.T) {
	f := newFakeAPI(t)
	f.metrics = func(path string) (any, int) { return podMetrics("15s", map[string][2]string{"a": {"99m", "63Mi"}}), 0 }
	f.change(func() { f.put("a", "ua", "Running") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: 20 * time.Millisecond})
	eventually(t, "the load", func() bool { return r.lastOf("a", mapping.FieldLoad) == "100" })
	time.Sleep(300 * time.Millisecond)
	f.mu.Lock()
	defer f.mu.Unlock()
	if n := f.asked["/apis/metrics.k8s.io/v1beta1/namespaces/n/pods"]; n > 2 {
		t.Errorf("a server with a window of 15 s was asked %d times in 0.3 s", n)
	}
}

// TestMetricsSlowOnceAreAskedAgain has one slow answer, as a server gives that
// has just begun: it is not taken for the work that the question makes.
func TestMetricsSlowOnceAreAskedAgain(t *testing.T) {
	f := newFakeAPI(t)
	var began atomic.Bool
	var load atomic.Value // the server answers on goroutines of its own
	load.Store("99m")
	f.metrics = func(string) (any, int) {
		if began.CompareAndSwap(false, true) {
			time.Sleep(2 * time.Second)
		}
		return podMetrics("1s", map[string][2]string{"a": {load.Load().(string), "63Mi"}}), 0
	}
	f.change(func() { f.put("a", "ua", "Running") })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: 20 * time.Millisecond})
	eventually(t, "the first load", func() bool { return r.lastOf("a", mapping.FieldLoad) == "100" })
	load.Store("500m")
	eventually(t, "the next load", func() bool { return r.lastOf("a", mapping.FieldLoad) == "501" })
}

// TestLoadRefused tells once that the load may not be read, and observes the
// rest.
func TestLoadRefused(t *testing.T) {
	f := newFakeAPI(t)
	f.metrics = func(path string) (any, int) { return nil, http.StatusForbidden }
	f.change(func() { f.put("a", "ua", "Running"); f.set("nodes", aNode("stage-1")) })
	_, r := observe(t, Options{Source: Source{Kubeconfig: f.kubeconfig(t)}, ListenOnly: true, Metrics: 20 * time.Millisecond})
	eventually(t, "two problems", func() bool { return r.complaints("load of pods and nodes") == 2 })
	eventually(t, "the pod", func() bool { return r.lastOf("a", mapping.FieldPhase) == "Running" })
	time.Sleep(100 * time.Millisecond)
	if n := r.complaints("load"); n != 2 {
		t.Errorf("%d problems about the load, want one about the metrics API and one about the kubelets", n)
	}
	if got := r.of("a", mapping.FieldLoad); len(got) != 0 {
		t.Errorf("loads %q that nobody measured", got)
	}
}

// kubeletText is what a kubelet writes under /metrics/resource.
const kubeletText = `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="voice",namespace="n",pod="a"} 4.7 %[1]d
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total %[2]g %[1]d
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 1.073741824e+09 %[1]d
# HELP pod_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the pod in core-seconds
# TYPE pod_cpu_usage_seconds_total counter
pod_cpu_usage_seconds_total{namespace="n",pod="a"} %[3]g %[1]d
pod_cpu_usage_seconds_total{namespace="other",pod="a"} 1e+06 %[1]d
# HELP pod_memory_working_set_bytes [STABLE] Current working set of the pod in bytes
# TYPE pod_memory_working_set_bytes gauge
pod_memory_working_set_bytes{namespace="n",pod="a"} 6.7108864e+07 %[1]d
`

func TestLoadFromTheKubelets(t *testing.T) {
	f := newFakeAPI(t)
	var mu sync.Mutex
	at, node, pod, ill := int64(1772366400000), 1000.0, 10.0, false
	f.metrics = func(path string) (any, int) {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case path == "/api/v1/nodes/stage-1/proxy/metrics/resource" && !ill:
			return fmt.Sprintf(kubeletText, at, node, pod), 0
		case strings.HasPrefix(path, "/api/v1/nodes/"):
			return nil, http.StatusServiceUnavailable // a simulated node has no kubelet
		}
		return nil, http.StatusNotFound
	}
	r := &recorder{}
	o := NewObserver(Options{Transitions: r.tell, Namespace: "n"})
	now := time.Now()
	o.tracker.set(&Pod{Namespace: "n", Name: "a", UID: "ua", Node: "stage-1", Stamp: Stamp{Time: now}})
	o.tracker.set(&Node{Name: "stage-1", UID: "1", Ready: true, Stamp: Stamp{Time: now}})
	o.tracker.set(&Node{Name: "stage-2", UID: "2", Ready: true, Stamp: Stamp{Time: now}})
	conn, _, err := Source{Kubeconfig: f.kubeconfig(t)}.dial(t.Context(), o.Options.Log)
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{observer: o, conn: conn, last: map[string]map[namespaced]sample{}, first: true}
	poll := func(seconds float64, nodeSeconds, podSeconds float64) {
		t.Helper()
		mu.Lock()
		at, node, pod = at+int64(seconds*1000), node+nodeSeconds, pod+podSeconds
		mu.Unlock()
		if wait := m.poll(t.Context()); wait < slowMetrics {
			t.Errorf("the kubelets are to be asked again after %v", wait)
		}
	}
	poll(0, 0, 0)
	if got := r.of("a", mapping.FieldLoad); len(got) != 0 {
		t.Errorf("one measurement of a counter told the loads %q", got)
	}
	poll(10, 15, 2.5)
	poll(0, 0, 0)  // the kubelet did not measure again
	poll(5, 10, 1) // faster
	mu.Lock()
	ill = true
	mu.Unlock()
	poll(5, 10, 1) // no answer: what was known is held
	mu.Lock()
	ill = false
	mu.Unlock()
	poll(5, -1000, -10) // counters that begin anew, after a restart
	poll(10, 5, 10)
	o.tracker.sync()
	if got, want := r.of("a", mapping.FieldLoad), []string{"250", "200", "1000"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the load of the pod went %q, want %q", got, want)
	}
	if got, want := r.of("stage-1", mapping.FieldLoad), []string{"1500", "2000", "500"}; !reflect.DeepEqual(got, want) {
		t.Errorf("the load of the node went %q, want %q", got, want)
	}
	if got := r.lastOf("a", mapping.FieldMemory) + " " + r.lastOf("stage-1", mapping.FieldMemory); got != "64 1024" {
		t.Errorf("memory %q, want 64 and 1024", got)
	}
	if got := r.of("stage-2", mapping.FieldLoad); len(got) != 0 {
		t.Errorf("a node without a kubelet has the loads %q", got)
	}
}

func TestSmallDifferencesAreNoise(t *testing.T) {
	for _, x := range []struct {
		was, is int64
		want    bool
	}{
		{100, 104, false}, {100, 105, true}, {105, 100, true}, {10000, 10099, false}, {10000, 10102, true},
		{3, 0, true}, {0, 3, false}, {0, 5, true}, {7, 7, false},
	} {
		if got := apart(x.was, x.is, leastCPU); got != x.want {
			t.Errorf("%d after %d millicores: told %v, want %v", x.is, x.was, got, x.want)
		}
	}
}

func BenchmarkMetricsOf5000Pods(b *testing.B) {
	items := map[string][2]string{}
	for i := range 5000 {
		items[fmt.Sprint("pod-", i)] = [2]string{fmt.Sprint(i*1000003, "n"), fmt.Sprint(i*1024, "Ki")}
	}
	raw, err := json.Marshal(podMetrics("1s", items))
	if err != nil {
		b.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(raw) }))
	defer server.Close()
	conn, err := newConn(&rest.Config{Host: server.URL})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		usages := map[namespaced]Usage{}
		var window time.Duration
		if err := conn.readMetrics(b.Context(), "apis/metrics.k8s.io/v1beta1/pods", usages, &window); err != nil || len(usages) != 5000 || window != time.Second {
			b.Fatal(err, len(usages), window)
		}
	}
}
