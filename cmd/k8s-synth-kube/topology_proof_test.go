package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hand runs the topology command of the built program against the rig's
// cluster and checks its exit code.
func (r *rig) hand(code int, text string, args ...string) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(r.bin, "k8s-synth-kube"), append([]string{"topology", args[0], "-", "--kubeconfig", r.kubeconfig()}, args[1:]...)...)
	cmd.Stdin = strings.NewReader(text)
	out, err := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		r.t.Fatalf("topology %s: exit code %d, want %d (%v)\n%s\nof\n%s", args, got, code, err, out, text)
	}
	return string(out)
}

// newHandRig is a cluster that no instrument plays on.
func newHandRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, bin: programs(t), state: filepath.Join(t.TempDir(), "state")}
	r.startCluster()
	t.Cleanup(r.stopCluster)
	r.soon("the cluster", 90*time.Second, func() bool {
		if _, err := os.Stat(r.kubeconfig()); err != nil {
			return false
		}
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_, err := r.client().AppsV1().Deployments("eno-system").List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		// Eno's types are the last to be served, each by itself.
		for _, types := range []string{"synthesizers", "compositions"} {
			if err := r.client().Discovery().RESTClient().Get().AbsPath("/apis/eno.azure.io/v1/" + types).Do(ctx).Error(); err != nil {
				return false
			}
		}
		return true
	})
	return r
}

func (r *rig) soon(what string, within time.Duration, ok func() bool) {
	r.t.Helper()
	for began, taken := time.Now(), stolen(); time.Since(began)-taken() < within; time.Sleep(50 * time.Millisecond) {
		if ok() {
			return
		}
	}
	r.t.Fatalf("not within %v: %s", within, what)
}

// endpoints are the pods that the slices of Kubernetes' own controller list.
func (r *rig) endpoints(service string) (names []string) {
	r.t.Helper()
	list, err := r.client().DiscoveryV1().EndpointSlices(namespace).List(context.Background(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		r.t.Fatal(err)
	}
	for _, s := range list.Items {
		for _, e := range s.Endpoints {
			if e.TargetRef != nil && (e.Conditions.Ready == nil || *e.Conditions.Ready) {
				names = append(names, e.TargetRef.Name)
			}
		}
	}
	return names
}

// TestTopologyByHand plays a cluster with the topology command alone: what it
// says would change is what changes, and cables are pulled for real.
func TestTopologyByHand(t *testing.T) {
	if testing.Short() {
		t.Skip("boots a control plane")
	}
	t.Parallel()
	r := newHandRig(t)
	c := r.client()
	topology := func(service, cables string) string {
		return "version: 2\nmodules:\n  deployment/web: {replicas: 2, labels: tier=front, start_delay: 0.1, ready_delay: 0.1, stop_delay: 0.1, delay_jitter: 0}\n" +
			"  service/web: {" + service + "}\n  hpa/swell: {min: 1, max: 9}\n  job/one: {runs: 1, completions: 2}\ncables: [" + cables + "]\n"
	}
	const selected = "deployment/web/pods -> service/web/selector"
	replicas := func() int32 {
		d, err := c.AppsV1().Deployments(namespace).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return *d.Spec.Replicas
	}

	// Nothing is written before it is wanted.
	out := r.hand(1, topology("", selected), "diff")
	for _, want := range []string{"create Namespace k8s-synth", "create Composition k8s-synth/topology", "create ConfigMap k8s-synth/topology", "create Deployment k8s-synth/web", "create Job k8s-synth/one-1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the difference does not say %q:\n%s", want, out)
		}
	}
	r.hand(0, topology("", selected), "apply", "--dry-run")
	if _, err := c.CoreV1().Namespaces().Get(t.Context(), namespace, metav1.GetOptions{}); err == nil {
		t.Fatal("a dry run has made the namespace")
	}
	out = r.hand(0, topology("", selected), "apply")
	for _, want := range []string{"Eno has applied it", "Deployment k8s-synth/web is ready, 2 of 2", "Job k8s-synth/one-1 is there"} {
		if !strings.Contains(out, want) {
			t.Errorf("applying does not say %q:\n%s", want, out)
		}
	}
	r.hand(0, topology("", selected), "diff")

	// The selector in each of its forms, and between them.
	for _, step := range []struct {
		service, cables string
		endpoints       int
	}{
		{"", selected, 2}, {"", "", 0}, {"match: tier=front, port: 8080", "", 2}, {"match: tier=back", selected, 0},
		{`match: "tier in (front, edge)", policy: sticky`, selected, 0}, {"", selected, 2}, {`match: "!none"`, "", 0}, {"match: tier in (front)", selected, 2},
	} {
		r.hand(0, topology(step.service, step.cables), "apply")
		r.soon(fmt.Sprintf("%d endpoints with {%s} and [%s]", step.endpoints, step.service, step.cables), 10*time.Second, func() bool { return len(r.endpoints("web")) == step.endpoints })
		r.hand(0, topology(step.service, step.cables), "diff")
	}

	// An autoscaler's hand: plugging it in moves nothing, what it sets stays,
	// and pulling it gives the knob back. The scale subresource is what the
	// autoscaler's controller writes to.
	scaled := "hpa/swell/scale -> deployment/web/replicas_cv"
	r.hand(0, topology("", scaled), "apply")
	if n := replicas(); n != 2 {
		t.Errorf("%d replicas after the autoscaler was plugged in, want the 2 that there were", n)
	}
	scale, err := c.AppsV1().Deployments(namespace).GetScale(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", 6 // whatever its controllers write meanwhile
	if _, err := c.AppsV1().Deployments(namespace).UpdateScale(t.Context(), "web", scale, metav1.UpdateOptions{FieldManager: "kube-controller-manager"}); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(3 * time.Second); time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		// Eno looks each second. The real autoscaler does so too here, and may
		// go on from 6: then it says that the number is its own.
		n := replicas()
		if n >= 5 {
			continue
		}
		r.soon(fmt.Sprintf("%d replicas, set back from the autoscaler's 6, unless it says so", n), 2*time.Second, func() bool {
			swell, err := c.AutoscalingV2().HorizontalPodAutoscalers(namespace).Get(t.Context(), "swell", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			// It scales first and writes its status after that.
			return swell.Status.LastScaleTime != nil && swell.Status.DesiredReplicas == replicas()
		})
	}
	r.hand(0, topology("", selected), "apply")
	r.soon("the knob has its replicas back", 5*time.Second, func() bool { return replicas() == 2 })

	// What is not ours is neither taken over nor deleted.
	foreign := []byte(`{"apiVersion":"v1","kind":"Service","metadata":{"name":"theirs"},"spec":{"ports":[{"port":1}]}}`)
	if err := c.CoreV1().RESTClient().Post().Namespace(namespace).Resource("services").Body(foreign).SetHeader("Content-Type", "application/json").Do(t.Context()).Error(); err != nil {
		t.Fatal(err)
	}
	if out := r.hand(int(exitForeign), "version: 2\nmodules: {service/theirs: {}}", "diff"); !strings.Contains(out, "not an object of k8s-synth") {
		t.Errorf("taking over another's Service gives %s", out)
	}
	r.hand(1, "version: 2\nmodules: {service/theirs: {}}", "apply")

	// A bad edit by another hand is in nobody's way for long.
	if _, err := c.CoreV1().ConfigMaps(namespace).Patch(t.Context(), "topology", "application/merge-patch+json", []byte(`{"data":{"topology.yaml":"version: 2\nmodules: {pod/a: {hold: 7}}"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)
	r.hand(0, topology("port: 81", selected), "apply", "--timeout", "30s")

	// All that is gone from the topology goes.
	out = r.hand(1, "version: 2", "diff")
	for _, want := range []string{"delete Deployment k8s-synth/web", "delete Service k8s-synth/web", "delete Job k8s-synth/one-1"} {
		if !strings.Contains(out, want) {
			t.Errorf("the difference does not say %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "theirs") {
		t.Errorf("it would delete what is not ours:\n%s", out)
	}
	r.hand(0, "version: 2", "apply")
	if list, err := c.AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{}); err != nil || len(list.Items) > 0 {
		t.Errorf("%d Deployments are left: %v", len(list.Items), err)
	}
}

// TestProofExamples applies every published example to a real API server, one
// after the other: it takes all objects, they become what they are to be, and
// nothing is left to differ.
func TestProofExamples(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("applies every example, for half a minute; K8S_SYNTH_PROOF=1 runs it")
	}
	r := newHandRig(t)
	files, err := filepath.Glob("../../kube/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		r.hand(0, string(text), "apply", "--timeout", "60s")
		t.Logf("%-16s %v", filepath.Base(file), time.Since(began).Round(10*time.Millisecond))
		r.hand(0, string(text), "diff")
	}
}
