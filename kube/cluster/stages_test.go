//go:build !race

package cluster

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/kwok/pkg/utils/lifecycle"
)

// state is a pod in one state of its life.
type state func(*corev1.Pod)

func pod(states ...state) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", Annotations: map[string]string{}},
		Spec:       corev1.PodSpec{NodeName: "stage-1", RestartPolicy: corev1.RestartPolicyAlways, Containers: []corev1.Container{{Name: "web"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, s := range states {
		s(p)
	}
	return p
}

func with(key, value string) state { return func(p *corev1.Pod) { p.Annotations[key] = value } }

func running(ready bool, restarts int32) state {
	return func(p *corev1.Pod) {
		p.Status.Phase = corev1.PodRunning
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web", Ready: ready, RestartCount: restarts,
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionFalse}}
		if ready {
			p.Status.Conditions[0].Status = corev1.ConditionTrue
		}
	}
}

func terminated(p *corev1.Pod) {
	running(false, 0)(p)
	p.Status.ContainerStatuses[0].State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Error"}}
}

func backingOff(restarts int32) state {
	return func(p *corev1.Pod) {
		running(false, restarts)(p)
		p.Status.ContainerStatuses[0].State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff"}}
	}
}

func limited(memory string) state {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse(memory)}
	}
}

func another(p *corev1.Pod) {
	p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "sidecar"})
}

func deleted(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} }

func never(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever }

func ofJob(p *corev1.Pod) {
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	p.OwnerReferences = []metav1.OwnerReference{{Kind: "Job", Name: "once"}}
}

func finalizer(p *corev1.Pod) { p.Finalizers = []string{"batch.kubernetes.io/job-tracking"} }

func phase(ph corev1.PodPhase) state { return func(p *corev1.Pod) { p.Status.Phase = ph } }

// TestPodStages proves that each state of a pod has exactly one next stage, as
// KWOK would choose among several by chance, and when it comes.
func TestPodStages(t *testing.T) {
	const ms = time.Millisecond
	crash := with(AnnotationCrash, "OOMKilled")
	for _, tt := range []struct {
		name     string
		pod      *corev1.Pod
		stage    string // "" is none
		from, to time.Duration
	}{
		{"pending", pod(), "pod-start", DefaultStart, DefaultStart},
		{"pending, told", pod(with(AnnotationStart, "1.5s")), "pod-start", 1500 * ms, 1500 * ms},
		{"no annotations at all", pod(func(p *corev1.Pod) { p.Annotations = nil }), "pod-start", DefaultStart, DefaultStart},
		{"compound duration", pod(with(AnnotationStart, "1m2s300ms")), "pod-start", 62300 * ms, 62300 * ms},
		{"zero", pod(with(AnnotationStart, "0s")), "pod-start", 0, 0},
		{"below a millisecond", pod(with(AnnotationStart, "900us")), "pod-start", 0, 0},
		{"unreadable", pod(with(AnnotationStart, "soon")), "pod-start", DefaultStart, DefaultStart},
		{"jitter", pod(with(AnnotationStart, "100ms"), with(AnnotationJitter, "50ms")), "pod-start", 100 * ms, 150 * ms},
		{"running", pod(running(false, 0)), "pod-ready", DefaultReady, DefaultReady},
		{"running, told", pod(running(false, 0), with(AnnotationReady, "20ms")), "pod-ready", 20 * ms, 20 * ms},
		{"ready", pod(running(true, 0)), "", 0, 0},
		{"ready pod of a job", pod(running(true, 0), ofJob), "pod-complete", DefaultComplete, DefaultComplete},
		{"succeeded", pod(phase(corev1.PodSucceeded)), "", 0, 0},
		{"deleted while pending", pod(deleted), "pod-stop", DefaultStop, DefaultStop},
		{"deleted", pod(running(true, 0), deleted, with(AnnotationStop, "2s")), "pod-stop", 2 * time.Second, 2 * time.Second},
		{"deleted while crashing", pod(running(true, 0), deleted, crash), "pod-stop", DefaultStop, DefaultStop},
		{"deleted, finalizer", pod(running(true, 0), deleted, finalizer), "pod-stop-finalized", DefaultStop, DefaultStop},
		{"deleted, finalizer, final", pod(phase(corev1.PodFailed), deleted, finalizer), "", 0, 0},
		{"crash before it runs", pod(crash), "pod-start", DefaultStart, DefaultStart},
		{"crash", pod(running(true, 0), crash), "pod-crash", 0, 0},
		{"crash again", pod(running(false, 1), crash), "pod-crash", crashLife, crashLife},
		{"crash is enough", pod(running(false, 1), crash, with(AnnotationCrashes, "1")), "pod-ready", DefaultReady, DefaultReady},
		{"crash is not enough", pod(running(false, 1), crash, with(AnnotationCrashes, "2")), "pod-crash", crashLife, crashLife},
		{"crashes unreadable", pod(running(false, 1), crash, with(AnnotationCrashes, "few")), "pod-crash", crashLife, crashLife},
		{"crash without restarts", pod(running(true, 0), crash, never), "pod-fail", 0, 0},
		{"failed", pod(phase(corev1.PodFailed), crash, never), "", 0, 0},
		{"crash annotation empty", pod(running(true, 0), with(AnnotationCrash, "")), "", 0, 0},
		{"memory within the limit", pod(running(true, 0), limited("64Mi"), with(AnnotationMemory, "64")), "", 0, 0},
		{"memory over the limit", pod(running(true, 0), limited("64Mi"), with(AnnotationMemory, "65")), "pod-crash", 0, 0},
		{"memory over the limit again", pod(running(false, 1), limited("64Mi"), with(AnnotationMemory, "65")), "pod-crash", crashLife, crashLife},
		{"memory over a limit in another unit", pod(running(true, 0), limited("1e8"), with(AnnotationMemory, "96")), "pod-crash", 0, 0},
		{"memory within a limit in gigabytes", pod(running(true, 0), limited("1G"), with(AnnotationMemory, "900")), "", 0, 0},
		{"memory over the limit, no restarts", pod(running(true, 0), limited("64Mi"), with(AnnotationMemory, "65"), never), "pod-fail", 0, 0},
		{"memory shared by two containers", pod(running(true, 0), limited("64Mi"), another, with(AnnotationMemory, "100")), "", 0, 0},
		{"memory not a number", pod(running(true, 0), limited("64Mi"), with(AnnotationMemory, "much")), "", 0, 0},
		{"memory without a limit", pod(running(true, 0), with(AnnotationMemory, "9999")), "", 0, 0},
		{"memory over the limit, crashes enough", pod(running(true, 3), limited("64Mi"), with(AnnotationMemory, "65"), crash, with(AnnotationCrashes, "1")), "pod-crash", 0, 0},
		{"back-off, memory over the limit", pod(backingOff(1), limited("64Mi"), with(AnnotationMemory, "65")), "pod-restart", 2 * DefaultBackOff, 2 * DefaultBackOff},
		{"evicted", pod(running(false, 0), phase(corev1.PodFailed)), "", 0, 0},
		{"terminated", pod(terminated, crash), "pod-back-off", crashRest, crashRest},
		{"terminated, annotation gone", pod(terminated), "pod-back-off", crashRest, crashRest},
		{"first back-off", pod(backingOff(0), crash), "pod-restart", DefaultBackOff, DefaultBackOff},
		{"second back-off", pod(backingOff(1), crash), "pod-restart", 2 * DefaultBackOff, 2 * DefaultBackOff},
		{"third, told", pod(backingOff(2), crash, with(AnnotationBackOff, "300ms")), "pod-restart", 1200 * ms, 1200 * ms},
		{"longest back-off", pod(backingOff(60), crash), "pod-restart", 32 * DefaultBackOff, 32 * DefaultBackOff},
		{"back-off, annotation gone", pod(backingOff(3)), "pod-restart", DefaultStart, DefaultStart},
	} {
		t.Run(tt.name, func(t *testing.T) {
			lc, err := lifecycle.NewLifecycle(podStages())
			if err != nil {
				t.Fatal(err)
			}
			event := &lifecycle.Event{Labels: tt.pod.Labels, Annotations: tt.pod.Annotations, Data: tt.pod}
			stages, err := lc.ListAllPossible(t.Context(), event)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			for _, s := range stages {
				names = append(names, s.Name())
			}
			if tt.stage == "" {
				if len(names) != 0 {
					t.Fatalf("stages %v, want none", names)
				}
				return
			}
			if len(names) != 1 || names[0] != tt.stage {
				t.Fatalf("stages %v, want %s alone", names, tt.stage)
			}
			r, ok, err := stages[0].DelayRangePossible(t.Context(), event, time.Now())
			if err != nil || !ok {
				t.Fatalf("no delay: %v", err)
			}
			if r[0] != tt.from || r[len(r)-1] != tt.to {
				t.Errorf("delay %v, want %v to %v", r, tt.from, tt.to)
			}
		})
	}
}

// TestNodesAreSpread looks at what the scheduler and the audience see.
func TestNodesAreSpread(t *testing.T) {
	seen := map[string]bool{}
	for n := 1; n <= MaxNodes; n++ {
		node := newNode(n, DefaultNodeCPU, DefaultNodeMemory)
		for _, v := range []string{node.Name, node.Spec.PodCIDR, node.Status.Addresses[0].Address} {
			if seen[v] {
				t.Fatalf("node %d: %s is another node's", n, v)
			}
			seen[v] = true
		}
	}
	node := func(n int) *corev1.Node { return newNode(n, DefaultNodeCPU, DefaultNodeMemory) }
	if a, b, d := node(1), node(2), node(4); a.Labels[corev1.LabelTopologyZone] == b.Labels[corev1.LabelTopologyZone] || a.Labels[corev1.LabelTopologyZone] != d.Labels[corev1.LabelTopologyZone] {
		t.Error("zones do not go round in threes")
	}
}

// BenchmarkPodStages is what KWOK does at each change of a pod.
func BenchmarkPodStages(b *testing.B) {
	lc, err := lifecycle.NewLifecycle(podStages())
	if err != nil {
		b.Fatal(err)
	}
	for _, bb := range []struct {
		name string
		pod  *corev1.Pod
	}{
		{"ready", pod(running(true, 0))},
		{"ready, memory", pod(running(true, 0), with(AnnotationMemory, "10"))},
		{"ready, memory and limit", pod(running(true, 0), limited("64Mi"), with(AnnotationMemory, "10"))},
	} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := lc.Match(b.Context(), &lifecycle.Event{Annotations: bb.pod.Annotations, Data: bb.pod}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
