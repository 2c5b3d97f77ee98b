//go:build !race

package cluster

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// answer is a kubelet's, as one of this Kubernetes release gives it.
func answer(container, node float64, memory int, at time.Time) []byte {
	return fmt.Appendf(nil, `# HELP container_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the container in core-seconds
# TYPE container_cpu_usage_seconds_total counter
container_cpu_usage_seconds_total{container="web",namespace="default",pod="web"} %[1]v %[4]d
# HELP container_memory_working_set_bytes [STABLE] Current working set of the container in bytes
# TYPE container_memory_working_set_bytes gauge
container_memory_working_set_bytes{container="web",namespace="default",pod="web"} %[3]d %[4]d
# HELP node_cpu_usage_seconds_total [STABLE] Cumulative cpu time consumed by the node in core-seconds
# TYPE node_cpu_usage_seconds_total counter
node_cpu_usage_seconds_total %[2]v %[4]d
# HELP node_memory_working_set_bytes [STABLE] Current working set of the node in bytes
# TYPE node_memory_working_set_bytes gauge
node_memory_working_set_bytes 5.36870912e+08 %[4]d
# HELP scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise
# TYPE scrape_error gauge
scrape_error 0
`, container, node, memory, at.UnixMilli())
}

// TestRealNodeFigures takes a kubelet's answers through its habits: the same
// reading twice, and a container that starts again.
func TestRealNodeFigures(t *testing.T) {
	u, err := newUsageSimulation()
	if err != nil {
		t.Fatal(err)
	}
	u.setNode(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "real-1", Labels: map[string]string{nodeLabel: RealNode}}})
	p := pod(running(true, 0), load("999", "999"))
	p.Spec.NodeName = "real-1"
	u.setPod(p)
	at := time.Now()
	for _, step := range []struct {
		name            string
		container, node float64
		memory          int
		after           time.Duration
		want            string
	}{
		{"first reading", 10, 100, 64 << 20, 0, ""},
		{"second", 12, 105, 64 << 20, 10 * time.Second, "web 200m 64Mi; real-1 500m 512Mi"},
		{"the same again", 12, 105, 64 << 20, 0, "web 200m 64Mi; real-1 500m 512Mi"},
		{"third", 12.5, 106, 32 << 20, 5 * time.Second, "web 100m 32Mi; real-1 200m 512Mi"},
		{"container started again", 0.1, 107, 32 << 20, 5 * time.Second, "real-1 200m 512Mi"},
		{"and runs", 0.6, 108, 32 << 20, 5 * time.Second, "web 100m 32Mi; real-1 200m 512Mi"},
	} {
		at = at.Add(step.after)
		all, err := parseScrape(answer(step.container, step.node, step.memory, at), at)
		if err != nil {
			t.Fatal(err)
		}
		u.took("real-1", all)
		if got := figures(u); got != step.want {
			t.Errorf("%s: got  %q\nwant %q", step.name, got, step.want)
		}
	}
	if o := u.podsMatching("default", "web", labels.Everything()); len(o) != 1 || o[0].window != 5*time.Second || !o[0].at.Equal(time.UnixMilli(at.UnixMilli())) {
		t.Errorf("window and time: %+v", o)
	}
	if _, ok := u.memoryOf("real-1"); ok {
		t.Error("the memory of a node with a kubelet is ours to look after")
	}
	u.removeNode("real-1")
	if got := figures(u); got != "" {
		t.Errorf("the node is gone: %s", got)
	}
	if _, err := parseScrape([]byte("{\"kind\": \"Status\"}"), at); err == nil {
		t.Error("an answer that is no metrics is taken")
	}
}
