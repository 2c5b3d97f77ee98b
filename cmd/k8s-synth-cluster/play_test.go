//go:build !race

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/cluster"
)

// These tests play on the shared cluster as the instrument and kubectl do,
// each in a namespace of its own and those that change nodes on a node of
// their own, all at once.
func testPlay(t *testing.T, s *scene, state string) {
	for _, tt := range []struct {
		name string
		test func(*testing.T, *stage)
	}{
		{"metrics", testMetrics},
		{"autoscaler", testAutoscaler},
		{"pressure", testPressure},
		{"limit", testLimit},
		{"capacity", testCapacity},
		{"drain", testDrain},
		{"taints", testTaints},
		{"jobs", testJobs},
		{"quota", testQuota},
		{"endpoints", testEndpoints},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			st := &stage{scene: s, t: t, ns: "play-" + tt.name, state: state}
			if _, err := s.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: st.ns}}, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			defer s.client.CoreV1().Namespaces().Delete(context.Background(), st.ns, metav1.DeleteOptions{})
			began := time.Now()
			tt.test(t, st)
			t.Logf("took %.1f s", time.Since(began).Seconds())
		})
	}
}

// stage is a namespace in which a test plays.
type stage struct {
	*scene
	t     *testing.T
	ns    string
	state string
}

// quick makes simulated pods change state at once.
var quick = map[string]string{
	cluster.AnnotationStart:    "50ms",
	cluster.AnnotationReady:    "50ms",
	cluster.AnnotationStop:     "50ms",
	cluster.AnnotationBackOff:  "200ms",
	cluster.AnnotationComplete: "200ms",
}

// template is that of a pod with resources such as "cpu=100m,memory=50Mi".
func template(app, requests, limits string) corev1.PodTemplateSpec {
	list := func(all string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for _, r := range strings.FieldsFunc(all, func(r rune) bool { return r == ',' }) {
			name, value, _ := strings.Cut(r, "=")
			l[corev1.ResourceName(name)] = resource.MustParse(value)
		}
		return l
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}, Annotations: quick},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "voice",
			Resources: corev1.ResourceRequirements{Requests: list(requests), Limits: list(limits)}}}},
	}
}

// on puts pods on one node, whatever keeps others away from it.
func on(node string, p corev1.PodTemplateSpec) corev1.PodTemplateSpec {
	p.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	p.Spec.Tolerations = []corev1.Toleration{{Key: "test", Operator: corev1.TolerationOpExists}}
	return p
}

// addNode makes a simulated node for one test, which keeps other pods away. It
// joins as one that anybody makes.
func (s *stage) addNode(name string, subnet int, cpu, memory string) {
	s.t.Helper()
	size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory), corev1.ResourcePods: resource.MustParse("50")}
	cidr := fmt.Sprintf("10.244.%d.0/24", subnet)
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"k8s-synth.io/node": "simulated", corev1.LabelHostname: name}},
		Spec:       corev1.NodeSpec{PodCIDR: cidr, PodCIDRs: []string{cidr}, Taints: []corev1.Taint{{Key: "test", Effect: corev1.TaintEffectNoSchedule}}},
		Status:     corev1.NodeStatus{Capacity: size, Allocatable: size, Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: fmt.Sprintf("10.0.0.%d", subnet)}}},
	}
	if _, err := s.client.CoreV1().Nodes().Create(s.t.Context(), n, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
	eventually(s.t, 20*time.Second, "node "+name+" ready", func() bool {
		n := s.node(name)
		return nodeCondition(n, corev1.NodeReady) == corev1.ConditionTrue && !tainted(n, corev1.TaintNodeNotReady)
	})
}

func (s *stage) node(name string) *corev1.Node {
	n, err := s.client.CoreV1().Nodes().Get(s.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *stage) patchNode(name, patch string, subresources ...string) {
	s.t.Helper()
	if _, err := s.client.CoreV1().Nodes().Patch(s.t.Context(), name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, subresources...); err != nil {
		s.t.Fatal(err)
	}
}

func nodeCondition(n *corev1.Node, t corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range n.Status.Conditions {
		if c.Type == t {
			return c.Status
		}
	}
	return ""
}

func tainted(n *corev1.Node, key string) bool {
	return slices.ContainsFunc(n.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}

func (s *stage) deploy(name string, replicas int32, p corev1.PodTemplateSpec) {
	s.t.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: p.Labels}, Template: p}}
	if _, err := s.client.AppsV1().Deployments(s.ns).Create(s.t.Context(), d, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) pod(name string, p corev1.PodTemplateSpec) {
	s.t.Helper()
	pod := &corev1.Pod{ObjectMeta: p.ObjectMeta, Spec: p.Spec}
	pod.Name = name
	if _, err := s.client.CoreV1().Pods(s.ns).Create(s.t.Context(), pod, metav1.CreateOptions{}); err != nil {
		s.t.Fatal(err)
	}
}

func (s *stage) pods(selector string) []corev1.Pod {
	l, err := s.client.CoreV1().Pods(s.ns).List(s.t.Context(), metav1.ListOptions{LabelSelector: selector})
	if err != nil {
		s.t.Fatal(err)
	}
	return l.Items
}

// ready counts the ready pods.
func (s *stage) ready(selector string) (n int) {
	for _, p := range s.pods(selector) {
		if podReady(&p) && p.DeletionTimestamp == nil {
			n++
		}
	}
	return n
}

func (s *stage) waitReady(selector string, n int) {
	s.t.Helper()
	eventually(s.t, 15*time.Second, fmt.Sprintf("%d ready pods of %q", n, selector), func() bool { return s.ready(selector) == n })
}

// load annotates the pods as the instrument's daemon does.
func (s *stage) load(selector string, cpu, memory int) {
	s.t.Helper()
	patch := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:"%d",%q:"%d"}}}`, cluster.AnnotationCPU, cpu, cluster.AnnotationMemory, memory)
	for _, p := range s.pods(selector) {
		if _, err := s.client.CoreV1().Pods(s.ns).Patch(s.t.Context(), p.Name, types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *stage) get(into any, path string, query ...string) error {
	r := s.client.CoreV1().RESTClient().Get().AbsPath(path)
	for i := 0; i < len(query); i += 2 {
		r = r.Param(query[i], query[i+1])
	}
	b, err := r.DoRaw(s.t.Context())
	if err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

// hasEvent tells whether there is an event of the reason whose message has the
// text.
func (s *stage) hasEvent(namespace, reason, text string) bool {
	l, err := s.client.CoreV1().Events(namespace).List(s.t.Context(), metav1.ListOptions{FieldSelector: "reason=" + reason})
	return err == nil && slices.ContainsFunc(l.Items, func(e corev1.Event) bool { return strings.Contains(e.Message, text) })
}

const metricsAPI = "/apis/metrics.k8s.io/v1beta1"

func testMetrics(t *testing.T, s *stage) {
	s.deploy("web", 2, template("web", "cpu=100m,memory=50Mi", ""))
	s.deploy("other", 1, template("other", "cpu=100m", ""))
	s.waitReady("", 3)
	s.load("app=web", 250, 64)
	// total is what the API tells of the pods.
	total := func(path string, query ...string) (pods int, cpu, memory int64) {
		var l metricsv1beta1.PodMetricsList
		if err := s.get(&l, path, query...); err != nil {
			t.Fatal(err)
		}
		for _, p := range l.Items {
			if p.Window.Duration <= 0 || time.Since(p.Timestamp.Time) > 5*time.Second {
				t.Errorf("%s: window %v, timestamp %v", p.Name, p.Window, p.Timestamp)
			}
			for _, c := range p.Containers {
				cpu += c.Usage.Cpu().MilliValue()
				memory += c.Usage.Memory().Value()
			}
		}
		return len(l.Items), cpu, memory
	}
	namespaced := metricsAPI + "/namespaces/" + s.ns + "/pods"
	eventually(t, 3*time.Second, "two pods use 250m and 64Mi each", func() bool {
		n, cpu, memory := total(namespaced, "labelSelector", "app in (web, none)")
		return n == 2 && cpu == 500 && memory == 128<<20
	})
	if n, cpu, _ := total(namespaced); n != 3 || cpu != 501 {
		t.Errorf("all pods of the namespace: %d use %dm, want 3 and 501m", n, cpu)
	}
	if n, cpu, _ := total(metricsAPI + "/pods"); n < 3 || cpu < 501 {
		t.Errorf("all pods: %d use %dm, want 3 or more and 501m or more", n, cpu)
	}
	if n, _, _ := total(metricsAPI+"/pods", "labelSelector", "app=nobody"); n != 0 {
		t.Errorf("pods of no app: %d", n)
	}
	pod := s.pods("app=web")[0]
	var one metricsv1beta1.PodMetrics
	if err := s.get(&one, namespaced+"/"+pod.Name); err != nil || len(one.Containers) != 1 || one.Containers[0].Name != "c" || one.Containers[0].Usage.Cpu().MilliValue() != 250 {
		t.Errorf("one pod: %+v, %v", one, err)
	}
	var n metricsv1beta1.NodeMetrics
	if err := s.get(&n, metricsAPI+"/nodes/"+pod.Spec.NodeName); err != nil || n.Usage.Cpu().MilliValue() < 250 || n.Usage.Memory().Value() < 64<<20 {
		t.Errorf("its node: %+v, %v", n, err)
	}
	var nodes metricsv1beta1.NodeMetricsList
	if err := s.get(&nodes, metricsAPI+"/nodes", "labelSelector", "app.kubernetes.io/managed-by=k8s-synth"); err != nil || len(nodes.Items) != cluster.DefaultNodes {
		t.Errorf("nodes: %d, %v; want %d", len(nodes.Items), err, cluster.DefaultNodes)
	}
	if err := s.get(&one, namespaced+"/nobody"); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that is not there: %v", err)
	}

	// Only the API server may ask.
	b, err := os.ReadFile(filepath.Join(s.state, "ports.json"))
	var ports struct{ Metrics int }
	if err == nil {
		err = json.Unmarshal(b, &ports)
	}
	if err != nil || ports.Metrics == 0 {
		t.Fatalf("ports: %s, %v", b, err)
	}
	for _, identity := range []string{"", "admin", "apiserver", "metrics", "front-proxy-client"} {
		config := &tls.Config{InsecureSkipVerify: true}
		if identity != "" {
			pki := filepath.Join(s.state, "pki", identity)
			c, err := tls.LoadX509KeyPair(pki+".crt", pki+".key")
			if err != nil {
				t.Fatal(err)
			}
			config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c, nil }
		}
		hc := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
		r, err := hc.Get(fmt.Sprintf("https://127.0.0.1:%d%s/nodes", ports.Metrics, metricsAPI))
		if err == nil {
			r.Body.Close()
		}
		if served := err == nil && r.StatusCode == http.StatusOK; served != (identity == "front-proxy-client") {
			t.Errorf("metrics for who is %q: %v, want for the API server alone", identity, served)
		}
	}

	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Log("no kubectl here: kubectl top is not tried")
		return
	}
	top := func(args ...string) string {
		out, err := exec.Command(kubectl, append([]string{"--kubeconfig", filepath.Join(s.state, "kubeconfig"), "top"}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("kubectl top %v: %v\n%s", args, err, out)
		}
		return string(out)
	}
	if out := top("pods", "-n", s.ns, "-l", "app=web"); strings.Count(out, "250m") != 2 || strings.Count(out, "64Mi") != 2 {
		t.Errorf("kubectl top pods:\n%s", out)
	}
	// Those alone that are there all the time: a node that is added between
	// kubectl's two questions has no figures yet.
	if out := top("nodes", "-l", "app.kubernetes.io/managed-by=k8s-synth"); strings.Count(out, "stage-") != cluster.DefaultNodes || strings.Contains(out, "unknown") {
		t.Errorf("kubectl top nodes:\n%s", out)
	}
}

func testAutoscaler(t *testing.T, s *stage) {
	s.deploy("web", 1, template("web", "cpu=100m", ""))
	now := &autoscalingv2.HPAScalingRules{StabilizationWindowSeconds: new(int32(0))}
	h := &autoscalingv2.HorizontalPodAutoscaler{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
		ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
		MinReplicas:    new(int32(1)), MaxReplicas: 8,
		Metrics: []autoscalingv2.MetricSpec{{Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
			Name: corev1.ResourceCPU, Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(50))}}}},
		Behavior: &autoscalingv2.HorizontalPodAutoscalerBehavior{ScaleUp: now, ScaleDown: now},
	}}
	if _, err := s.client.AutoscalingV2().HorizontalPodAutoscalers(s.ns).Create(t.Context(), h, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s.waitReady("", 1)
	utilization := func() int32 {
		h, err := s.client.AutoscalingV2().HorizontalPodAutoscalers(s.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || len(h.Status.CurrentMetrics) == 0 || h.Status.CurrentMetrics[0].Resource == nil || h.Status.CurrentMetrics[0].Resource.Current.AverageUtilization == nil {
			return -1
		}
		return *h.Status.CurrentMetrics[0].Resource.Current.AverageUtilization
	}
	eventually(t, 15*time.Second, "the autoscaler reads the idle pod", func() bool { return utilization() == 1 })
	replicas := func() int32 {
		d, err := s.client.AppsV1().Deployments(s.ns).Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return *d.Spec.Replicas
	}
	// One pod at 200 % of its request, for a target of 50 %: four pods.
	began, taken := time.Now(), stolen()
	s.load("", 200, 8)
	eventually(t, 15*time.Second, "4 replicas", func() bool { return replicas() == 4 })
	up := time.Since(began)
	s.waitReady("", 4)
	upReady := time.Since(began)
	eventually(t, 10*time.Second, "the mean is at its target", func() bool { u := utilization(); return u >= 50 && u <= 51 })
	if n := replicas(); n != 4 {
		t.Errorf("%d replicas at the target, want 4", n)
	}
	began = time.Now()
	s.load("", 1, 8)
	eventually(t, 15*time.Second, "1 replica", func() bool { return replicas() == 1 })
	t.Logf("autoscaler: from load to 4 replicas %.2f s, all ready %.2f s; back to 1 in %.2f s", up.Seconds(), upReady.Seconds(), time.Since(began).Seconds())
	if limit := 6*time.Second + taken(); up > limit || time.Since(began) > limit {
		t.Errorf("slower than %v", limit)
	}
}

func testPressure(t *testing.T, s *stage) {
	const node = "test-pressure"
	s.addNode(node, 241, "2", "1Gi")
	s.pod("within", on(node, template("within", "cpu=100m,memory=500Mi", "")))
	s.pod("over", on(node, template("over", "cpu=100m,memory=50Mi", "")))
	s.pod("idle", on(node, template("idle", "cpu=100m,memory=10Mi", "")))
	s.waitReady("", 3)
	s.load("app=within", 1, 450)
	s.load("app=over", 5000, 400)
	// CPU over capacity is throttling only.
	eventually(t, 3*time.Second, "CPU is throttled at what the node has", func() bool {
		var n metricsv1beta1.NodeMetrics
		return s.get(&n, metricsAPI+"/nodes/"+node) == nil && n.Usage.Cpu().MilliValue() == 2000
	})
	if nodeCondition(s.node(node), corev1.NodeMemoryPressure) != corev1.ConditionFalse {
		t.Error("under memory pressure because of CPU")
	}
	// 500 + 450 + 8 MiB of 1024 leave less than 100.
	began := time.Now()
	s.load("app=over", 1, 500)
	var evicted *corev1.Pod
	eventually(t, 10*time.Second, "a pod is evicted", func() bool {
		for _, p := range s.pods("") {
			if p.Status.Phase == corev1.PodFailed {
				evicted = &p
				return true
			}
		}
		return false
	})
	took := time.Since(began)
	if evicted.Name != "over" || evicted.Status.Reason != "Evicted" {
		t.Errorf("evicted %s for %s, want over, which uses more than it asked for", evicted.Name, evicted.Status.Reason)
	}
	if want := "The node was low on resource: memory. Threshold quantity: 100Mi, available: 66Mi. Container c was using 500Mi, request is 50Mi, has larger consumption of memory. "; evicted.Status.Message != want {
		t.Errorf("message %q\nwant    %q", evicted.Status.Message, want)
	}
	if !slices.ContainsFunc(evicted.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonTerminationByKubelet
	}) || podReady(evicted) {
		t.Errorf("conditions %+v", evicted.Status.Conditions)
	}
	if c := evicted.Status.ContainerStatuses[0]; c.State.Terminated == nil || c.State.Terminated.ExitCode != 137 || c.Ready {
		t.Errorf("container %+v", c)
	}
	eventually(t, 5*time.Second, "condition and taint of memory pressure", func() bool {
		n := s.node(node)
		return nodeCondition(n, corev1.NodeMemoryPressure) == corev1.ConditionTrue && tainted(n, corev1.TaintNodeMemoryPressure)
	})
	s.pod("newcomer", on(node, template("newcomer", "cpu=100m", "")))
	eventually(t, 5*time.Second, "a newcomer is kept away", func() bool { return s.hasEvent(s.ns, "FailedScheduling", "untolerated taint") })
	eventually(t, 10*time.Second, "the pressure is over", func() bool {
		n := s.node(node)
		return nodeCondition(n, corev1.NodeMemoryPressure) == corev1.ConditionFalse && !tainted(n, corev1.TaintNodeMemoryPressure)
	})
	held := time.Since(began)
	if held < pressureTransition {
		t.Errorf("over after %v, want %v or later", held, pressureTransition)
	}
	s.waitReady("app=newcomer", 1)
	for _, name := range []string{"within", "idle"} {
		p, err := s.client.CoreV1().Pods(s.ns).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil || !podReady(p) {
			t.Errorf("%s is not ready: %v", name, err)
		}
	}
	if !s.hasEvent(s.ns, "Evicted", "low on resource") || !s.hasEvent("default", "EvictionThresholdMet", "memory") {
		t.Error("no events of it")
	}
	t.Logf("evicted %.2f s after the load; pressure held %.2f s with a transition of %v", took.Seconds(), held.Seconds(), pressureTransition)
}

func testLimit(t *testing.T, s *stage) {
	s.pod("limited", template("limited", "cpu=10m,memory=32Mi", "memory=64Mi"))
	s.waitReady("", 1)
	container := func() corev1.ContainerStatus { return s.pods("")[0].Status.ContainerStatuses[0] }
	began := time.Now()
	s.load("", 1, 100)
	eventually(t, 5*time.Second, "killed twice", func() bool { return container().RestartCount >= 2 })
	c := container()
	last := c.LastTerminationState.Terminated
	if last == nil || last.Reason != "OOMKilled" || last.ExitCode != 137 {
		t.Errorf("ended with %+v, want OOMKilled and 137", last)
	}
	s.load("", 1, 60)
	s.waitReady("", 1)
	t.Logf("killed twice and back after %.2f s", time.Since(began).Seconds())
	// Without restarts the pod has failed.
	once := template("once", "cpu=10m", "memory=64Mi")
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	once.Annotations = map[string]string{cluster.AnnotationStart: "50ms", cluster.AnnotationReady: "50ms", cluster.AnnotationMemory: "65"}
	s.pod("once", once)
	eventually(t, 5*time.Second, "failed", func() bool {
		p := s.pods("app=once")[0]
		return p.Status.Phase == corev1.PodFailed && p.Status.ContainerStatuses[0].State.Terminated.Reason == "OOMKilled"
	})
}

func testCapacity(t *testing.T, s *stage) {
	const node = "test-capacity"
	s.addNode(node, 242, "4", "8Gi")
	size := func(cpu string) {
		t.Helper()
		s.patchNode(node, fmt.Sprintf(`{"status":{"capacity":{"cpu":%[1]q},"allocatable":{"cpu":%[1]q}}}`, cpu), "status")
	}
	size("250m")
	s.deploy("web", 3, on(node, template("web", "cpu=100m", "")))
	s.waitReady("", 2)
	eventually(t, 5*time.Second, "the third finds no room", func() bool { return s.hasEvent(s.ns, "FailedScheduling", "Insufficient cpu") })
	// What the kubelet would do after it was away: the capacity is not KWOK's.
	s.patchNode(node, `{"status":{"conditions":[{"type":"Ready","status":"Unknown"}]}}`, "status")
	eventually(t, 10*time.Second, "ready again", func() bool { return nodeCondition(s.node(node), corev1.NodeReady) == corev1.ConditionTrue })
	if n := s.node(node); n.Status.Allocatable.Cpu().String() != "250m" || n.Status.Capacity.Cpu().String() != "250m" {
		t.Errorf("capacity %v, allocatable %v: want 250m as it was set", n.Status.Capacity.Cpu(), n.Status.Allocatable.Cpu())
	}
	if n := s.ready(""); n != 2 {
		t.Errorf("%d pods ready, want 2", n)
	}
	size("1")
	began := time.Now()
	s.waitReady("", 3)
	t.Logf("room for the third: ready after %.2f s", time.Since(began).Seconds())
}

func testDrain(t *testing.T, s *stage) {
	const node, other = "test-drain", "test-drain-other"
	s.addNode(node, 243, "4", "8Gi")
	web := on(node, template("web", "cpu=100m", ""))
	web.Spec.NodeSelector = nil
	web.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
		NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{node, other}}}}}}}}
	s.deploy("web", 2, web)
	s.waitReady("", 2)
	two := intstr.FromInt32(2)
	pdb := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: policyv1.PodDisruptionBudgetSpec{
		MinAvailable: &two, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}}}
	pdbs := s.client.PolicyV1().PodDisruptionBudgets(s.ns)
	if _, err := pdbs.Create(t.Context(), pdb, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	allowed := func(n int32) {
		t.Helper()
		eventually(t, 5*time.Second, fmt.Sprintf("%d disruptions allowed", n), func() bool {
			p, err := pdbs.Get(t.Context(), "web", metav1.GetOptions{})
			return err == nil && p.Status.ObservedGeneration == p.Generation && p.Status.CurrentHealthy >= 2 && p.Status.DisruptionsAllowed == n
		})
	}
	evict := func(pod string) error {
		return s.client.PolicyV1().Evictions(s.ns).Evict(t.Context(), &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: s.ns}})
	}
	allowed(0)
	s.patchNode(node, `{"spec":{"unschedulable":true}}`)
	victims := s.pods("")
	if err := evict(victims[0].Name); !apierrors.IsTooManyRequests(err) {
		t.Errorf("eviction against the budget: %v, want 429", err)
	}
	if n := s.ready(""); n != 2 {
		t.Errorf("%d ready after the refusal, want 2", n)
	}
	if _, err := pdbs.Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"minAvailable":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	allowed(1)
	if err := evict(victims[0].Name); err != nil {
		t.Errorf("eviction within the budget: %v", err)
	}
	eventually(t, 5*time.Second, "its substitute waits: the node is cordoned", func() bool {
		return slices.ContainsFunc(s.pods(""), func(p corev1.Pod) bool {
			return p.Spec.NodeName == "" && p.DeletionTimestamp == nil
		}) && s.hasEvent(s.ns, "FailedScheduling", "unschedulable")
	})
	s.addNode(other, 244, "4", "8Gi")
	s.waitReady("", 2)
	eventually(t, 5*time.Second, "the second may go", func() bool { return evict(victims[1].Name) == nil })
	eventually(t, 10*time.Second, "the node is empty, the deployment whole", func() bool {
		n := 0
		for _, p := range s.pods("") {
			if p.Spec.NodeName == node {
				return false
			}
			if podReady(&p) {
				n++
			}
		}
		return n == 2
	})
}

func testTaints(t *testing.T, s *stage) {
	const node = "test-taints"
	s.addNode(node, 245, "4", "8Gi")
	stays, waits := on(node, template("stays", "cpu=10m", "")), on(node, template("waits", "cpu=10m", ""))
	stays.Spec.Tolerations = append(stays.Spec.Tolerations, corev1.Toleration{Key: "noise", Operator: corev1.TolerationOpExists})
	waits.Spec.Tolerations = append(waits.Spec.Tolerations, corev1.Toleration{Key: "noise", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(2))})
	s.pod("goes", on(node, template("goes", "cpu=10m", "")))
	s.pod("stays", stays)
	s.pod("waits", waits)
	s.waitReady("", 3)
	began := time.Now()
	s.patchNode(node, `{"spec":{"taints":[{"key":"noise","effect":"NoExecute"},{"key":"test","effect":"NoSchedule"}]}}`)
	gone := func(app string) time.Duration {
		eventually(t, 8*time.Second, app+" is gone", func() bool { return len(s.pods("app="+app)) == 0 })
		return time.Since(began)
	}
	goes := gone("goes")
	waited := gone("waits")
	if waited < 1900*time.Millisecond {
		t.Errorf("who tolerates it for 2 s went after %v", waited)
	}
	s.waitReady("app=stays", 1)
	t.Logf("gone after %.2f s, and after %.2f s with a toleration of 2 s", goes.Seconds(), waited.Seconds())
}

func testJobs(t *testing.T, s *stage) {
	p := template("job", "cpu=10m", "")
	p.Spec.RestartPolicy = corev1.RestartPolicyNever
	jobs := s.client.BatchV1().Jobs(s.ns)
	complete := func(name string) bool {
		j, err := jobs.Get(t.Context(), name, metav1.GetOptions{})
		return err == nil && j.Status.Succeeded == 2 && slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool {
			return c.Type == batchv1.JobComplete && c.Status == corev1.ConditionTrue
		})
	}
	spec := batchv1.JobSpec{Template: p, Completions: new(int32(2)), Parallelism: new(int32(2)), BackoffLimit: new(int32(0))}
	if _, err := jobs.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "once"}, Spec: spec}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the job is complete", func() bool { return complete("once") })

	crash := *spec.DeepCopy()
	crash.Template.Annotations = map[string]string{cluster.AnnotationStart: "50ms", cluster.AnnotationReady: "50ms", cluster.AnnotationCrash: "Error"}
	if _, err := jobs.Create(t.Context(), &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "fails"}, Spec: crash}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "the crashing job has failed", func() bool {
		j, err := jobs.Get(t.Context(), "fails", metav1.GetOptions{})
		return err == nil && slices.ContainsFunc(j.Status.Conditions, func(c batchv1.JobCondition) bool { return c.Type == batchv1.JobFailed })
	})

	// A clock that has missed a minute ticks at once, and need not be waited
	// for.
	crons := s.client.BatchV1().CronJobs(s.ns)
	clock, err := crons.Create(t.Context(), &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Name: "clock"}, Spec: batchv1.CronJobSpec{
		Schedule: "* * * * *", Suspend: new(true), JobTemplate: batchv1.JobTemplateSpec{Spec: spec}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if _, err := crons.Patch(t.Context(), "clock", types.MergePatchType, fmt.Appendf(nil, `{"status":{"lastScheduleTime":%q}}`, time.Now().Add(-90*time.Second).UTC().Format(time.RFC3339)), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	if _, err := crons.Patch(t.Context(), "clock", types.MergePatchType, []byte(`{"spec":{"suspend":false}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 10*time.Second, "the clock ticks, its job is complete", func() bool {
		l, err := jobs.List(t.Context(), metav1.ListOptions{})
		return err == nil && slices.ContainsFunc(l.Items, func(j batchv1.Job) bool { return metav1.IsControlledBy(&j, clock) && complete(j.Name) })
	})
	t.Logf("job of the clock complete after %.2f s", time.Since(began).Seconds())
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		out, err := exec.Command(kubectl, "--kubeconfig", filepath.Join(s.state, "kubeconfig"), "-n", s.ns, "create", "job", "by-hand", "--from=cronjob/clock").CombinedOutput()
		if err != nil {
			t.Fatalf("kubectl create job --from: %v\n%s", err, out)
		}
		eventually(t, 10*time.Second, "the job by hand is complete", func() bool { return complete("by-hand") })
	}
}

func testQuota(t *testing.T, s *stage) {
	quotas := s.client.CoreV1().ResourceQuotas(s.ns)
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "case"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{
		corev1.ResourcePods: resource.MustParse("2"), corev1.ResourceRequestsCPU: resource.MustParse("1")}}}
	if _, err := quotas.Create(t.Context(), q, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	used := func(within time.Duration, want string) {
		t.Helper()
		began := time.Now()
		eventually(t, within, "quota used "+want, func() bool {
			q, err := quotas.Get(t.Context(), "case", metav1.GetOptions{})
			pods, cpu := q.Status.Used[corev1.ResourcePods], q.Status.Used[corev1.ResourceRequestsCPU]
			return err == nil && pods.String()+" "+cpu.String() == want
		})
		t.Logf("used %s after %.2f s", want, time.Since(began).Seconds())
	}
	used(5*time.Second, "0 0")
	s.deploy("web", 3, template("web", "cpu=100m", ""))
	s.waitReady("", 2)
	used(2*time.Second, "2 200m")
	eventually(t, 5*time.Second, "an event tells of the third", func() bool { return s.hasEvent(s.ns, "FailedCreate", "exceeded quota: case") })
	if _, err := s.client.AppsV1().Deployments(s.ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"replicas":1}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	used(10*time.Second, "1 100m")
}

func testEndpoints(t *testing.T, s *stage) {
	s.deploy("web", 3, template("web", "cpu=10m", ""))
	svc, err := s.client.CoreV1().Services(s.ns).Create(t.Context(), &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{
		Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(svc.Spec.ClusterIP, "10.96.") {
		t.Errorf("cluster IP %q, want one of the service network", svc.Spec.ClusterIP)
	}
	endpoints := func() (ready, not []string) {
		l, err := s.client.DiscoveryV1().EndpointSlices(s.ns).List(t.Context(), metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=web"})
		if err != nil {
			t.Fatal(err)
		}
		for _, sl := range l.Items {
			for _, e := range sl.Endpoints {
				if e.Conditions.Ready != nil && *e.Conditions.Ready {
					ready = append(ready, e.TargetRef.Name)
				} else {
					not = append(not, e.TargetRef.Name)
				}
			}
		}
		return ready, not
	}
	list := func(what string, ready, not int) {
		t.Helper()
		eventually(t, 10*time.Second, fmt.Sprintf("%s: %d endpoints ready, %d not", what, ready, not), func() bool {
			a, b := endpoints()
			return len(a) == ready && len(b) == not
		})
	}
	list("all", 3, 0)
	pods := s.pods("")
	pods0 := s.client.CoreV1().Pods(s.ns)
	patch := func(pod, p string) {
		t.Helper()
		if _, err := pods0.Patch(t.Context(), pod, types.MergePatchType, []byte(p), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	patch(pods[0].Name, fmt.Sprintf(`{"metadata":{"annotations":{%q:"Error",%q:"1m"}}}`, cluster.AnnotationCrash, cluster.AnnotationBackOff))
	list("one crashes", 2, 1)
	if _, not := endpoints(); !slices.Contains(not, pods[0].Name) {
		t.Errorf("not ready: %v, want %s", not, pods[0].Name)
	}
	// A pod that loses its label is no endpoint any more, and the replica set
	// makes another.
	patch(pods[1].Name, `{"metadata":{"labels":{"app":"solo"}}}`)
	eventually(t, 10*time.Second, "the pod without the label is not listed, its substitute is", func() bool {
		ready, _ := endpoints()
		return len(ready) == 2 && !slices.Contains(ready, pods[1].Name)
	})
	// A selector that matches nothing lists nobody.
	if _, err := s.client.CoreV1().Services(s.ns).Patch(t.Context(), "web", types.MergePatchType, []byte(`{"spec":{"selector":{"app":"nobody"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	list("cable pulled", 0, 0)

	var ingress networkingv1.Ingress
	var class networkingv1.IngressClass
	for into, y := range map[any]string{&class: "metadata: {name: test}\nspec: {controller: k8s-synth.io/test}", &ingress: `
metadata: {name: web}
spec:
  ingressClassName: test
  rules:
  - host: a.example
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}`} {
		if err := yaml.UnmarshalStrict([]byte(y), into); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.client.NetworkingV1().IngressClasses().Create(t.Context(), &class, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	if _, err := s.client.NetworkingV1().Ingresses(s.ns).Create(t.Context(), &ingress, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	ingress.Name = "wrong"
	ingress.Spec.Rules[0].HTTP.Paths[0].Path = "no-slash"
	if _, err := s.client.NetworkingV1().Ingresses(s.ns).Create(t.Context(), &ingress, metav1.CreateOptions{}); !apierrors.IsInvalid(err) {
		t.Errorf("an invalid ingress: %v", err)
	}
}

// testFullStore fills the store until it refuses writes, and makes room.
func testFullStore(t *testing.T, s *scene) {
	const ns = "full"
	if _, err := s.client.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ns}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	maps := s.client.CoreV1().ConfigMaps(ns)
	began := time.Now()
	data := map[string]string{"data": strings.Repeat("x", 900<<10)}
	// Some of what it holds at first is old, and makes room by itself.
	n, refused := 0, 0
	full := func() bool {
		return strings.Contains(s.stderr.String(), "delete objects") && strings.Contains(s.stderr.String(), "--store-quota")
	}
	for end := time.Now().Add(2 * time.Minute); !full(); { // a slow disk clears slowly
		_, err := maps.Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("fill-", n)}, Data: data}, metav1.CreateOptions{})
		switch {
		case err == nil, apierrors.IsAlreadyExists(err) && refused > 0:
			// etcd stores the write that reaches the quota, and refuses it.
			n++
		case !strings.Contains(err.Error(), "database space exceeded"):
			t.Fatalf("write %d: %v, want taken, or refused for want of space", n, err)
		case time.Now().After(end):
			t.Fatalf("%d writes taken, %d refused: the log does not say what to do", n, refused)
		default:
			refused++
			time.Sleep(50 * time.Millisecond)
		}
	}
	t.Logf("full with %d objects of 900 KiB after %.1f s", n, time.Since(began).Seconds())
	if refused == 0 {
		t.Error("full, and no write was refused")
	}
	if l, err := maps.List(t.Context(), metav1.ListOptions{Limit: 2}); err != nil || len(l.Items) != 2 {
		t.Errorf("reads while it is full: %v", err)
	}
	if _, err := s.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "small"}}, metav1.CreateOptions{}); err == nil {
		t.Error("a small write was taken while the store is full")
	}
	began = time.Now()
	for i := range n {
		if err := maps.Delete(t.Context(), fmt.Sprint("fill-", i), metav1.DeleteOptions{}); err != nil {
			t.Fatalf("deletion while it is full: %v", err)
		}
	}
	eventually(t, time.Minute, "writes are taken again", func() bool {
		_, err := s.client.CoreV1().ConfigMaps("default").Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "small"}}, metav1.CreateOptions{})
		return err == nil
	})
	t.Logf("writes taken %.2f s after the first deletion", time.Since(began).Seconds())
	eventually(t, 20*time.Second, "the log says that it is over", func() bool {
		all := s.stderr.String()
		return strings.LastIndex(all, "has space again") > strings.LastIndex(all, "delete objects")
	})
	// What watches has survived it: a pod goes through all components.
	scale(t, s, 4)
	eventually(t, time.Minute, "a fourth ready replica", func() bool {
		d, err := s.client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && d.Status.ReadyReplicas == 4
	})
	scale(t, s, 3)
	eventually(t, time.Minute, "three replicas", func() bool {
		d, err := s.client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		return err == nil && d.Status.Replicas == 3 && d.Status.ReadyReplicas == 3
	})
}
