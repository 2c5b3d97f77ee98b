//go:build !race

package cluster

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

func newUsage(t testing.TB) *usageSimulation {
	t.Helper()
	u, err := newUsageSimulation()
	if err != nil {
		t.Fatal(err)
	}
	u.setNode(newNode(1, resource.MustParse("1"), resource.MustParse("1Gi")))
	return u
}

func named(name string) state { return func(p *corev1.Pod) { p.Name = name } }

func requested(cpu, memory string) state {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

func cpuLimited(cpu string) state {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
}

func load(cpu, memory string) state {
	return func(p *corev1.Pod) {
		p.Annotations[AnnotationCPU], p.Annotations[AnnotationMemory] = cpu, memory
	}
}

// figures are the pods' millicores and MiB, and the node's.
func figures(u *usageSimulation) string {
	var b strings.Builder
	for _, p := range u.podsMatching("", "", labels.Everything()) {
		cpu, memory := 0.0, 0.0
		for _, c := range p.containers {
			cpu += c.cpu
			memory += c.memory
		}
		fmt.Fprintf(&b, "%s %.0fm %.0fMi; ", p.name, cpu, memory/(1<<20))
	}
	for _, n := range u.nodesMatching("", labels.Everything()) {
		fmt.Fprintf(&b, "%s %.0fm %.0fMi", n.name, n.cpu, n.memory/(1<<20))
	}
	return b.String()
}

func TestUsage(t *testing.T) {
	run := running(true, 0)
	for _, tt := range []struct {
		name string
		pods []*corev1.Pod
		want string
	}{
		{"none", nil, "stage-1 0m 0Mi"},
		{"told", []*corev1.Pod{pod(run, load("250", "100"))}, "web 250m 100Mi; stage-1 250m 100Mi"},
		{"running, not ready", []*corev1.Pod{pod(running(false, 0), load("250", "100"))}, "web 250m 100Mi; stage-1 250m 100Mi"},
		{"idle", []*corev1.Pod{pod(run)}, "web 1m 8Mi; stage-1 1m 8Mi"},
		{"unreadable", []*corev1.Pod{pod(run, load("much", "1e3"))}, "web 1m 8Mi; stage-1 1m 8Mi"},
		{"negative", []*corev1.Pod{pod(run, load("-5", "-5"))}, "web 0m 0Mi; stage-1 0m 0Mi"},
		{"pending", []*corev1.Pod{pod(load("250", "100"))}, "stage-1 0m 0Mi"},
		{"backing off", []*corev1.Pod{pod(backingOff(1), load("250", "100"))}, "stage-1 0m 0Mi"},
		{"within its limits", []*corev1.Pod{pod(run, limited("64Mi"), load("250", "100"))}, "web 250m 64Mi; stage-1 250m 64Mi"},
		{"throttled by its limit", []*corev1.Pod{pod(run, cpuLimited("200m"), load("250", "100"))}, "web 200m 100Mi; stage-1 200m 100Mi"},
		{"throttled by the node", []*corev1.Pod{pod(run, load("1500", "100"))}, "web 1000m 100Mi; stage-1 1000m 100Mi"},
		{"equal shares", []*corev1.Pod{pod(run, named("a"), load("900", "8")), pod(run, named("b"), load("1800", "8"))},
			"a 500m 8Mi; b 500m 8Mi; stage-1 1000m 16Mi"},
		{"what one leaves goes to the others", []*corev1.Pod{pod(run, named("a"), load("100", "8")), pod(run, named("b"), load("1800", "8"))},
			"a 100m 8Mi; b 900m 8Mi; stage-1 1000m 16Mi"},
		{"shares by requests", []*corev1.Pod{
			pod(run, named("a"), requested("100m", "8Mi"), load("1000", "8")),
			pod(run, named("b"), requested("300m", "8Mi"), load("1000", "8"))},
			"a 250m 8Mi; b 750m 8Mi; stage-1 1000m 16Mi"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUsage(t)
			for _, p := range tt.pods {
				u.setPod(p)
			}
			if got := figures(u); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			for _, p := range tt.pods {
				u.removePod(p.Namespace, p.Name)
			}
			if got := figures(u); got != "stage-1 0m 0Mi" {
				t.Errorf("once all are gone: %s", got)
			}
		})
	}
}

// TestUsageFollows has pods come before their node, move and change, and lists
// replace what was.
func TestUsageFollows(t *testing.T) {
	u, err := newUsageSimulation()
	if err != nil {
		t.Fatal(err)
	}
	p := pod(running(true, 0), load("500", "100"))
	u.setPod(p)
	if got := figures(u); got != "" {
		t.Errorf("a pod on a node that is not ours: %s", got)
	}
	u.setNode(newNode(1, resource.MustParse("1"), resource.MustParse("1Gi")))
	if got, want := figures(u), "web 500m 100Mi; stage-1 500m 100Mi"; got != want {
		t.Errorf("its node came: %s, want %s", got, want)
	}
	u.setNode(newNode(1, resource.MustParse("200m"), resource.MustParse("1Gi")))
	if got, want := figures(u), "web 200m 100Mi; stage-1 200m 100Mi"; got != want {
		t.Errorf("the node shrank: %s, want %s", got, want)
	}
	other := pod(running(true, 0), named("other"), load("10", "10"))
	if err := (podStore{u}).Replace([]any{other}, ""); err != nil {
		t.Fatal(err)
	}
	if got, want := figures(u), "other 10m 10Mi; stage-1 10m 10Mi"; got != want {
		t.Errorf("listed anew: %s, want %s", got, want)
	}
	if err := (nodeStore{u}).Replace(nil, ""); err != nil {
		t.Fatal(err)
	}
	if got := figures(u); got != "" || len(u.nodes) != 1 {
		t.Errorf("no nodes left: %s, %d", got, len(u.nodes))
	}
	u.removePod("default", "other")
	if len(u.nodes) != 0 || len(u.pods) != 0 {
		t.Errorf("left: nodes %v, pods %v", u.nodes, u.pods)
	}
}

// TestSharesAddUp proves, with many pods of many kinds, that nobody gets more
// than wanted, that the node's CPU is used to the full, and that who is
// throttled gets no less for a share than anybody else.
func TestSharesAddUp(t *testing.T) {
	u := newUsage(t)
	for i := range 100 {
		u.setPod(pod(running(true, 0), named(fmt.Sprint("p", i)), requested(fmt.Sprintf("%dm", 1+i*7%50), "8Mi"), load(fmt.Sprint(1+i*13%90), "8")))
	}
	total, most, least := 0.0, 0.0, math.Inf(1)
	for _, p := range u.podsMatching("", "", labels.Everything()) {
		c := p.containers[0]
		total += c.cpu
		if c.cpu > c.wanted+1e-9 {
			t.Errorf("%s gets %v of %v wanted", p.name, c.cpu, c.wanted)
		}
		most = max(most, c.cpu/c.shares)
		if c.cpu < c.wanted-1e-9 {
			least = min(least, c.cpu/c.shares)
		}
	}
	if math.Abs(total-1000) > 1e-6 {
		t.Errorf("%v millicores used, want 1000", total)
	}
	if least < most-1e-9 {
		t.Errorf("a throttled pod gets %v for a share, another %v", least, most)
	}
}

// TestEvictionOrder is the kubelet's.
func TestEvictionOrder(t *testing.T) {
	u := newUsage(t)
	priority := func(v int32) state { return func(p *corev1.Pod) { p.Spec.Priority = &v } }
	run := running(true, 0)
	for _, p := range []*corev1.Pod{
		pod(run, named("within-large"), requested("1m", "500Mi"), load("1", "400")),
		pod(run, named("within-small"), requested("1m", "200Mi"), load("1", "190")),
		pod(run, named("over-important"), requested("1m", "10Mi"), load("1", "300"), priority(100)),
		pod(run, named("over-little"), requested("1m", "100Mi"), load("1", "110")),
		pod(run, named("over-much"), requested("1m", "100Mi"), load("1", "200")),
		pod(run, named("over-unimportant"), requested("1m", "100Mi"), load("1", "101"), priority(-1)),
	} {
		u.setPod(p)
	}
	m, ok := u.memoryOf("stage-1")
	if !ok {
		t.Fatal("no node")
	}
	rank(m.pods)
	var names []string
	for _, p := range m.pods {
		names = append(names, p.name)
	}
	want := []string{"over-unimportant", "over-much", "over-little", "over-important", "within-small", "within-large"}
	if !slices.Equal(names, want) {
		t.Errorf("order %v\nwant  %v", names, want)
	}
	message := evictionMessage(m.pods[1], 50<<20)
	if want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 50Mi. Container web was using 200Mi, request is 100Mi, has larger consumption of memory. "; message != want {
		t.Errorf("message %q\nwant    %q", message, want)
	}
}

// BenchmarkUsageChange is what a change of one of 5,000 pods on 200 nodes
// costs the simulation.
func BenchmarkUsageChange(b *testing.B) {
	u := newUsage(b)
	for i := range 5000 {
		p := pod(running(true, 0), named(fmt.Sprint("p", i)), load("100", "100"))
		p.Spec.NodeName = fmt.Sprint("stage-", i%200+1)
		u.setPod(p)
	}
	for n := 2; n <= 200; n++ {
		u.setNode(newNode(n, DefaultNodeCPU, DefaultNodeMemory))
	}
	p := pod(running(true, 0), named("p0"), load("200", "200"))
	p.ObjectMeta.CreationTimestamp = metav1.Now()
	b.ReportAllocs()
	for b.Loop() {
		u.setPod(p)
		u.takeDirty()
		u.memoryOf("stage-1")
	}
}
