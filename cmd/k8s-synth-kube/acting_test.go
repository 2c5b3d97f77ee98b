package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/k8s-synth/k8s-synth/kube"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

var ourLabels = map[string]string{eno.ManagedByLabel: eno.ManagedBy}

// eventually waits until the cluster holds what it should.
func (r *rig) eventually(what string, timeout time.Duration, ok func() error) time.Duration {
	r.t.Helper()
	begin, taken := time.Now(), stolen()
	for {
		err := ok()
		if err == nil {
			return time.Since(begin)
		}
		if time.Since(begin)-taken() > timeout {
			r.t.Fatalf("waited %v for %s: %v", timeout, what, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// podObjects are the ready pods of a Deployment, by name.
func (r *rig) podObjects(owner string) (out []mapping.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[mapping.Object]bool{}
	for _, t := range r.ts {
		if f := r.fields[t.Object]; t.Object.Kind == mapping.KindPod && t.Owner == owner && !seen[t.Object] && f[mapping.FieldReady] == "true" && f[mapping.FieldDeleting] == "" {
			seen[t.Object] = true
			out = append(out, t.Object)
		}
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}

// heard returns what was told of one object's fields since a mark, as
// field=value.
func (r *rig) heard(from int, kinds ...string) (out []string) {
	for _, t := range r.ts[from:] {
		if slices.Contains(kinds, t.Object.Kind) {
			switch t.Field {
			case mapping.FieldRoute, mapping.FieldServed, mapping.FieldMissed, mapping.FieldNotFound, mapping.FieldLatency:
				out = append(out, t.Object.Kind+"."+t.Field)
			}
		}
	}
	return out
}

func (r *rig) set(o mapping.Object, name, value string) {
	r.t.Helper()
	r.send(mapping.Message{Setting: &mapping.Setting{Object: o, Name: name, Value: value}})
}

func (r *rig) act(verb, kind, name, path string) {
	r.t.Helper()
	r.send(mapping.Message{Action: &mapping.Action{Verb: verb, Object: mapping.Object{Kind: kind, Name: name}, Path: path}})
}

func (r *rig) problem(text string) func() bool {
	return func() bool {
		return slices.ContainsFunc(r.problems, func(p mapping.Problem) bool { return strings.Contains(p.Text, text) })
	}
}

// edit changes the text of the topology as kubectl edit does: read, change,
// write with the resource version that was read.
func (r *rig) edit(ctx context.Context, c kubernetes.Interface, change func(text string) string) string {
	r.t.Helper()
	for {
		cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		cm.Data[eno.ConfigMapKey] = change(cm.Data[eno.ConfigMapKey])
		after, err := c.CoreV1().ConfigMaps(namespace).Update(ctx, cm, metav1.UpdateOptions{FieldManager: "kubectl-edit"})
		if err == nil {
			return after.Data[eno.ConfigMapKey]
		}
		if !strings.Contains(err.Error(), "the object has been modified") {
			r.t.Fatal(err)
		}
	}
}

func mustReplace(t *testing.T, text, old, with string) string {
	t.Helper()
	if !strings.Contains(text, old) {
		t.Fatalf("%q is not in\n%s", old, text)
	}
	return strings.Replace(text, old, with, 1)
}

// TestActing does everything to a real control plane that the instrument can
// ask for beside topologies.
func TestActing(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	t.Parallel()
	r := newRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), callsEnd)
	defer cancel()
	r.publish(r.topology(3))
	r.converged(3, 90*time.Second)
	c := r.client()
	begin := time.Now()
	step := func(what string) {
		t.Logf("%-32s %v", what, time.Since(begin).Round(time.Millisecond))
		begin = time.Now()
	}

	t.Run("settings", func(t *testing.T) { settingsHold(t, r, ctx, c) })
	step("settings")
	t.Run("requests", func(t *testing.T) { requestsTravel(t, r, ctx, c) })
	step("requests")
	t.Run("endpoints", func(t *testing.T) { endpointsFollow(t, r, ctx, c) })
	step("endpoints")
	t.Run("drain", func(t *testing.T) { drainEvicts(t, r, ctx, c) })
	step("drain")
	t.Run("run", func(t *testing.T) { jobsRun(t, r, ctx, c) })
	step("run")
	t.Run("edits", func(t *testing.T) { editsAreTaken(t, r, ctx, c) })
	step("edits")
	r.sound()
}

func settingsHold(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	pods := r.podObjects("web")
	if len(pods) != 3 {
		t.Fatalf("%d pods", len(pods))
	}
	// Three knobs turned at 10 Hz at once: the last value lands on each.
	for n := range 20 {
		for i, o := range pods {
			r.set(o, mapping.SetCPU, strconv.Itoa(100*(n+1)+i))
			r.set(o, mapping.SetMemory, strconv.Itoa(n+1))
		}
		time.Sleep(20 * time.Millisecond)
	}
	last := time.Now()
	r.eventually("loads", 5*time.Second, func() error {
		for i, o := range pods {
			pod, err := c.CoreV1().Pods(namespace).Get(ctx, o.Name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if pod.Annotations["k8s-synth.io/cpu"] != strconv.Itoa(2000+i) || pod.Annotations["k8s-synth.io/memory"] != "20" {
				return fmt.Errorf("%s: %v", o.Name, pod.Annotations)
			}
		}
		return nil
	})
	t.Logf("the last of three loads landed %v after it was set", time.Since(last).Round(time.Millisecond))
	// A value taken back is gone; a panel shows one pod.
	r.set(pods[0], mapping.SetMemory, "")
	r.set(pods[0], mapping.SetPanel, "web-1")
	r.eventually("the panel", 5*time.Second, func() error {
		pod, err := c.CoreV1().Pods(namespace).Get(ctx, pods[0].Name, metav1.GetOptions{})
		if err != nil || pod.Labels[eno.PanelLabel] != "web-1" || pod.Annotations["k8s-synth.io/memory"] != "" {
			return fmt.Errorf("%v %v %w", pod.Labels, pod.Annotations, err)
		}
		return nil
	})
	r.set(pods[1], mapping.SetPanel, "web-1")
	r.eventually("the panel's move", 5*time.Second, func() error {
		list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.PanelLabel + "=web-1"})
		if err != nil || len(list.Items) != 1 || list.Items[0].Name != pods[1].Name {
			return fmt.Errorf("%d pods have it, %w", len(list.Items), err)
		}
		return nil
	})
	// A foreign pod, and one that is gone.
	foreign := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"another"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	if err := c.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Body(foreign).SetHeader("Content-Type", "application/json").Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	r.set(mapping.Object{Kind: mapping.KindPod, Name: "another"}, mapping.SetCPU, "100")
	r.wait("the refusal", 5*time.Second, r.problem("another is left alone"))
	pod, err := c.CoreV1().Pods(namespace).Get(ctx, "another", metav1.GetOptions{})
	if err != nil || len(pod.Annotations) != 0 {
		t.Errorf("the foreign pod: %v, %v", pod.Annotations, err)
	}
	r.mu.Lock()
	told := len(r.problems)
	r.mu.Unlock()
	r.set(mapping.Object{Kind: mapping.KindPod, Name: "nobody", UID: "u"}, mapping.SetCPU, "100")

	// Nodes: capacity and cordon of ours, none of another's.
	node := mapping.Object{Kind: mapping.KindNode, Name: "stage-1"}
	before, err := c.CoreV1().Nodes().Get(ctx, "stage-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.set(node, mapping.SetCapacity, "1500")
	r.set(node, mapping.SetCordon, "true")
	r.eventually("capacity and cordon", 5*time.Second, func() error {
		n, err := c.CoreV1().Nodes().Get(ctx, "stage-1", metav1.GetOptions{})
		if err != nil || !n.Spec.Unschedulable || n.Status.Allocatable.Cpu().MilliValue() != 1500 || n.Status.Capacity.Cpu().MilliValue() != 1500 {
			return fmt.Errorf("cordoned %v, %v, %w", n.Spec.Unschedulable, n.Status.Allocatable.Cpu(), err)
		}
		return nil
	})
	r.set(node, mapping.SetCapacity, "")
	r.set(node, mapping.SetCordon, "false")
	r.eventually("capacity and cordon taken back", 5*time.Second, func() error {
		n, err := c.CoreV1().Nodes().Get(ctx, "stage-1", metav1.GetOptions{})
		if err != nil || n.Spec.Unschedulable || n.Status.Allocatable.Cpu().Cmp(*before.Status.Allocatable.Cpu()) != 0 {
			return fmt.Errorf("cordoned %v, %v, %w", n.Spec.Unschedulable, n.Status.Allocatable.Cpu(), err)
		}
		return nil
	})
	if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	r.set(mapping.Object{Kind: mapping.KindNode, Name: "theirs"}, mapping.SetCordon, "true")
	r.wait("the refusal of the node", 5*time.Second, r.problem("kubectl label node theirs"))
	if n, err := c.CoreV1().Nodes().Get(ctx, "theirs", metav1.GetOptions{}); err != nil || n.Spec.Unschedulable {
		t.Errorf("the foreign node is cordoned, %v", err)
	}
	// What was refused is made once the node is lent.
	if _, err := c.CoreV1().Nodes().Patch(ctx, "theirs", types.MergePatchType, []byte(`{"metadata":{"labels":{"`+eno.ManagedByLabel+`":"`+eno.ManagedBy+`"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("a node that is lent is cordoned in %v", r.eventually("the cordon of the node that is lent", 10*time.Second, func() error {
		if n, err := c.CoreV1().Nodes().Get(ctx, "theirs", metav1.GetOptions{}); err != nil || !n.Spec.Unschedulable {
			return fmt.Errorf("not cordoned, %w", err)
		}
		return nil
	}).Round(time.Millisecond))
	_ = c.CoreV1().Nodes().Delete(ctx, "theirs", metav1.DeleteOptions{})
	r.mu.Lock()
	for _, p := range r.problems[told:] {
		if strings.Contains(p.Text, "nobody") {
			t.Errorf("a setting of what is gone was told: %v", p)
		}
	}
	r.mu.Unlock()
}

func ourService(name string, selector map[string]string, annotations map[string]string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: ourLabels, Annotations: annotations}, Spec: corev1.ServiceSpec{
		Selector: selector, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}},
	}}
}

func requestsTravel(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	web := map[string]string{eno.ModuleLabel: "deployment.web"}
	for _, s := range []*corev1.Service{ourService("front", web, nil), ourService("empty", map[string]string{"nobody": "has"}, nil)} {
		if _, err := c.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	r.wait("the endpoints", 10*time.Second, func() bool {
		return len(strings.Split(r.field(mapping.KindService, "front", mapping.FieldEndpoints), ",")) == 3
	})
	// Simulated pods answer in turn.
	from := r.mark()
	for n := range 6 {
		r.act(mapping.VerbRequest, mapping.KindService, "front", "")
		r.wait("an answer", 5*time.Second, func() bool { return len(r.heard(from, mapping.KindService)) == 2*(n+1) })
	}
	served := map[string]int{}
	r.mu.Lock()
	for _, tr := range r.ts[from:] {
		if tr.Field == mapping.FieldServed {
			served[tr.New]++
		}
	}
	if got := r.heard(from, mapping.KindService)[:2]; !slices.Equal(got, []string{"service.latency", "service.served"}) {
		t.Errorf("an answer is told as %v", got)
	}
	r.mu.Unlock()
	if len(served) != 3 {
		t.Errorf("six requests in turn were served by %v, want each of three pods twice", served)
	}
	// Nobody is there.
	r.act(mapping.VerbRequest, mapping.KindService, "empty", "")
	r.wait("a miss", 5*time.Second, func() bool {
		return slices.ContainsFunc(r.ts, func(tr mapping.Transition) bool {
			return tr.Object.Name == "empty" && tr.Field == mapping.FieldMissed && tr.New == "no endpoints"
		})
	})

	// A real server, reached through the API server.
	if ip := ownAddress(); ip == "" {
		t.Log("no address but loopback, which no endpoint may have: the proxy's way is not tried")
	} else {
		realServer(t, r, ctx, c, ip)
	}

	// The ingress.
	class, exact, prefix := eno.IngressClass, networkingv1.PathTypeExact, networkingv1.PathTypePrefix
	path := func(p string, kind *networkingv1.PathType, service string) networkingv1.HTTPIngressPath {
		return networkingv1.HTTPIngressPath{Path: p, PathType: kind, Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}}}}
	}
	if _, err := c.NetworkingV1().Ingresses(namespace).Create(ctx, &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: "main", Labels: ourLabels},
		Spec: networkingv1.IngressSpec{IngressClassName: &class, Rules: []networkingv1.IngressRule{{Host: "synth.local", IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{path("/api", &prefix, "front"), path("/none", &prefix, "empty"), path("/exact", &exact, "front")},
		}}}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var address string
	r.eventually("the ingress' address", 10*time.Second, func() error {
		i, err := c.NetworkingV1().Ingresses(namespace).Get(ctx, "main", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if len(i.Status.LoadBalancer.Ingress) != 1 {
			return fmt.Errorf("status %v", i.Status)
		}
		at := i.Status.LoadBalancer.Ingress[0]
		address = net.JoinHostPort(at.IP, strconv.Itoa(int(at.Ports[0].Port)))
		return nil
	})
	if ic, err := c.NetworkingV1().IngressClasses().Get(ctx, eno.IngressClass, metav1.GetOptions{}); err != nil || ic.Labels[eno.ManagedByLabel] != eno.ManagedBy {
		t.Errorf("the ingress class: %v, %v", ic, err)
	}
	get := func(host, path string) (int, string) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		_, _ = io.Copy(io.Discard, response.Body)
		return response.StatusCode, response.Header.Get("X-Pod")
	}
	for _, q := range []struct {
		host, path   string
		status, told int
	}{
		{"synth.local", "/api", 200, 4}, {"synth.local:80", "/api/v1", 200, 4}, {"synth.local", "/apiary", 404, 1}, {"synth.local", "/none", 503, 3},
		{"synth.local", "/exact", 200, 4}, {"synth.local", "/exact/not", 404, 1}, {"other.local", "/api", 404, 0},
	} {
		from := r.mark()
		if status, pod := get(q.host, q.path); status != q.status || (status == 200) != strings.HasPrefix(pod, "web-") {
			t.Errorf("GET %s%s: %d from pod %q, want %d", q.host, q.path, status, pod, q.status)
		}
		// What is told of it may come after the answer, and is not of the next.
		r.wait("what is told of it", 5*time.Second, func() bool { return len(r.heard(from, mapping.KindIngress, mapping.KindService)) >= q.told })
	}
	for path, want := range map[string]string{
		"/api":     "ingress.route service.latency service.served ingress.latency",
		"/none":    "ingress.route service.missed ingress.latency",
		"/nowhere": "ingress.notFound",
	} {
		from := r.mark()
		r.act(mapping.VerbRequest, mapping.KindIngress, "main", path)
		r.wait(want, 5*time.Second, func() bool {
			got := strings.Join(r.heard(from, mapping.KindIngress, mapping.KindService), " ")
			return got == want
		})
	}
}

func ownAddress() string {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return ""
	}
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return ""
}

// realPod makes a pod whose node is no simulated one and says that it runs at
// an address of this machine.
func realPod(t *testing.T, ctx context.Context, c kubernetes.Interface, name, ip string) mapping.Object {
	t.Helper()
	if _, err := c.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "metal"}}, metav1.CreateOptions{}); err != nil && !strings.Contains(err.Error(), "exists") {
		t.Fatal(err)
	}
	pod, err := c.CoreV1().Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy, "app": name}},
		Spec:       corev1.PodSpec{NodeName: "metal", Containers: []corev1.Container{{Name: "voice", Image: "ghcr.io/k8s-synth/voice:0.1.0"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if _, err := c.CoreV1().Pods(namespace).UpdateStatus(ctx, pod, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		zero := int64(0)
		_ = c.CoreV1().Pods(namespace).Delete(context.Background(), name, metav1.DeleteOptions{GracePeriodSeconds: &zero})
	})
	return mapping.Object{Kind: mapping.KindPod, Namespace: namespace, Name: name, UID: string(pod.UID)}
}

// realServer puts an HTTP server of this test behind the Service "real", and
// the program of the real containers behind a pod.
func realServer(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface, ip string) {
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	if err != nil {
		t.Fatal(err)
	}
	slow := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/slow":
			<-slow
		case "/bad":
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		if q.Header.Get("Authorization") != "" {
			t.Error("our own right was handed to the backend")
		}
		_ = json.NewEncoder(w).Encode(map[string]string{"pod": "by-json"})
	})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	port := l.Addr().(*net.TCPAddr).Port
	for name, annotations := range map[string]map[string]string{"real": nil, "chosen": {eno.SelectorAnnotation: "app in (real-1)"}} {
		s := ourService(name, map[string]string{"app": "real-1"}, annotations)
		if annotations != nil {
			s.Spec.Selector = map[string]string{eno.NothingLabel: "true"}
		}
		s.Spec.Ports[0].TargetPort = intstr.FromInt(port)
		if _, err := c.CoreV1().Services(namespace).Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	realPod(t, ctx, c, "real-1", ip)
	r.wait("the real endpoints", 10*time.Second, func() bool {
		return r.field(mapping.KindService, "real", mapping.FieldEndpoints) != "" && r.field(mapping.KindService, "chosen", mapping.FieldEndpoints) != ""
	})
	ask := func(service, path, field, value string) {
		t.Helper()
		from := r.mark()
		r.act(mapping.VerbRequest, mapping.KindService, service, path)
		var got mapping.Transition
		r.wait("the answer to "+path, 10*time.Second, func() bool {
			for _, tr := range r.ts[from:] {
				if tr.Object.Name == service && (tr.Field == mapping.FieldServed || tr.Field == mapping.FieldMissed) {
					got = tr
					return true
				}
			}
			return false
		})
		if got.Field != field || got.New != value {
			t.Errorf("GET %s of %s was told as %s %s, want %s %s", path, service, got.Field, got.New, field, value)
		}
	}
	ask("real", "/", mapping.FieldServed, "by-json")
	ask("chosen", "/", mapping.FieldServed, "by-json")
	ask("real", "/bad", mapping.FieldMissed, "status 503")
	ask("real", "/slow", mapping.FieldMissed, "timeout")
	close(slow)
	_ = server.Close()
	ask("real", "/", mapping.FieldMissed, "refused")

	// The load of a real container.
	if l, err := net.Listen("tcp", net.JoinHostPort(ip, "8080")); err != nil {
		t.Logf("port 8080 of %s is taken: the load of a real container is not tried", ip)
		return
	} else {
		_ = l.Close()
	}
	voice := filepath.Join(t.TempDir(), "voice")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", voice, "../k8s-synth-voice").CombinedOutput(); err != nil {
		t.Fatalf("building the voice: %v\n%s", err, out)
	}
	start := func() *exec.Cmd {
		cmd := exec.CommandContext(ctx, voice, "--listen", net.JoinHostPort(ip, "8080"))
		cmd.Env = append(os.Environ(), "POD_NAME=real-2")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return cmd
	}
	cmd := start()
	end := func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	defer func() { end() }()
	pod := realPod(t, ctx, c, "real-2", ip)
	bears := func(cpu, memory int) func() error {
		return func() error {
			response, err := http.Get("http://" + net.JoinHostPort(ip, "8080") + "/load")
			if err != nil {
				return err
			}
			defer response.Body.Close()
			var load struct{ CPU, Memory int }
			if err := json.NewDecoder(response.Body).Decode(&load); err != nil || load.CPU != cpu || load.Memory != memory {
				return fmt.Errorf("it bears %+v, %w", load, err)
			}
			return nil
		}
	}
	r.set(pod, mapping.SetCPU, "20")
	r.set(pod, mapping.SetMemory, "3")
	r.eventually("the container's load", 10*time.Second, bears(20, 3))
	// A container that was killed and started again has its load again.
	end()
	cmd = start()
	if _, err := c.CoreV1().Pods(namespace).Patch(ctx, "real-2", types.StrategicMergePatchType, []byte(`{"status":{"containerStatuses":[{"name":"voice","image":"i","imageID":"i","restartCount":1,"ready":true}]}}`), metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	r.eventually("its load after a restart", 10*time.Second, bears(20, 3))
}

func endpointsFollow(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	annotations := map[string]string{eno.SelectorAnnotation: eno.ModuleLabel + " in (deployment.web,deployment.other),!muted"}
	s, err := c.CoreV1().Services(namespace).Create(ctx, ourService("sets", map[string]string{eno.NothingLabel: "true"}, annotations), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	listed := func() (names []string, slicesOf []discoveryv1.EndpointSlice) {
		list, err := c.DiscoveryV1().EndpointSlices(namespace).List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=sets," + discoveryv1.LabelManagedBy + "=" + eno.ManagedBy})
		if err != nil {
			t.Fatal(err)
		}
		for _, slice := range list.Items {
			for _, e := range slice.Endpoints {
				if *e.Conditions.Ready && e.TargetRef != nil && e.NodeName != nil && len(slice.Ports) == 1 && *slice.Ports[0].Port == 8080 {
					names = append(names, e.TargetRef.Name)
				}
			}
		}
		return names, list.Items
	}
	count := func(n int) func() error {
		return func() error {
			if names, _ := listed(); len(names) != n {
				return fmt.Errorf("%d endpoints: %v", len(names), names)
			}
			return nil
		}
	}
	r.eventually("three endpoints", 10*time.Second, count(3))
	_, all := listed()
	if len(all[0].OwnerReferences) != 1 || all[0].OwnerReferences[0].UID != s.UID {
		t.Errorf("the slice belongs to %v", all[0].OwnerReferences)
	}
	pod := r.podObjects("web")[0]
	mute := func(patch string) {
		if _, err := c.CoreV1().Pods(namespace).Patch(ctx, pod.Name, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	mute(`{"metadata":{"labels":{"muted":"yes"}}}`)
	t.Logf("a label takes a pod out of the set in %v", r.eventually("two endpoints", 5*time.Second, count(2)).Round(time.Millisecond))
	mute(`{"metadata":{"labels":{"muted":null}}}`)
	r.eventually("three endpoints again", 5*time.Second, count(3))
	r.wait("them at the Service", 5*time.Second, func() bool {
		return len(strings.Split(r.field(mapping.KindService, "sets", mapping.FieldEndpoints), ",")) == 3
	})
	// It is a Service like any other.
	from := r.mark()
	r.act(mapping.VerbRequest, mapping.KindService, "sets", "")
	r.wait("an answer", 5*time.Second, func() bool { return slices.Contains(r.heard(from, mapping.KindService), "service.served") })
	// Without the selector there is no endpoint of ours.
	noSlices := func() error {
		if _, all := listed(); len(all) > 0 {
			return fmt.Errorf("%d slices", len(all))
		}
		return nil
	}
	selector := func(value string) {
		t.Helper()
		if _, err := c.CoreV1().Services(namespace).Patch(ctx, "sets", types.MergePatchType, []byte(`{"metadata":{"annotations":{"`+eno.SelectorAnnotation+`":`+value+`}}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	selector("null")
	t.Logf("a pulled cable leaves no endpoints after %v", r.eventually("the end of the slices", 10*time.Second, noSlices).Round(time.Millisecond))
	selector(`"!muted,` + eno.ModuleLabel + `=deployment.web"`)
	r.eventually("three endpoints of another selector", 10*time.Second, count(3))
	if err := c.CoreV1().Services(namespace).Delete(ctx, "sets", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the end of its slices", 20*time.Second, noSlices)
}

func drainEvicts(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	three := intstr.FromInt32(3)
	if _, err := c.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &three, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{eno.ModuleLabel: "deployment.web"}}},
	}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // until its controller, where there is one, has counted
	list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.ModuleLabel + "=deployment.web"})
	if err != nil {
		t.Fatal(err)
	}
	node := list.Items[0].Spec.NodeName
	here := func() (n int) {
		list, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.ModuleLabel + "=deployment.web", FieldSelector: "spec.nodeName=" + node})
		if err != nil {
			t.Fatal(err)
		}
		return len(list.Items)
	}
	before := here()
	r.act(mapping.VerbDrain, mapping.KindNode, node, "")
	r.wait("the cordon", 5*time.Second, func() bool { return r.field(mapping.KindNode, node, mapping.FieldCordoned) == "true" })
	time.Sleep(1200 * time.Millisecond)
	if n := here(); n != before {
		t.Errorf("%d of %d pods are left on %s, but the budget allows no eviction", n, before, node)
	}
	if err := c.PolicyV1().PodDisruptionBudgets(namespace).Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.eventually("the drain", 10*time.Second, func() error {
		if n := here(); n > 0 {
			return fmt.Errorf("%d pods", n)
		}
		return nil
	})
	r.converged(3, 20*time.Second)
	r.set(mapping.Object{Kind: mapping.KindNode, Name: node}, mapping.SetCordon, "false")
	r.wait("the end of the cordon", 5*time.Second, func() bool { return r.field(mapping.KindNode, node, mapping.FieldCordoned) == "false" })
}

func jobsRun(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	cron, err := c.BatchV1().CronJobs(namespace).Create(ctx, &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "clock", Labels: map[string]string{eno.ManagedByLabel: eno.ManagedBy, eno.ModuleLabel: "cronjob.clock"}},
		Spec: batchv1.CronJobSpec{Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: ourLabels},
			Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "i"}}},
		}}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.act(mapping.VerbRun, mapping.KindCronJob, "clock", "")
	r.eventually("a job", 5*time.Second, func() error {
		list, err := c.BatchV1().Jobs(namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.ModuleLabel + "=cronjob.clock," + eno.ManagedByLabel + "=" + eno.ManagedBy})
		if err != nil || len(list.Items) != 1 {
			return fmt.Errorf("%d jobs, %w", len(list.Items), err)
		}
		job := list.Items[0]
		if job.Annotations["cronjob.kubernetes.io/instantiate"] != "manual" || len(job.OwnerReferences) != 1 || job.OwnerReferences[0].UID != cron.UID {
			t.Errorf("the job is %+v", job.ObjectMeta)
		}
		return nil
	})
	if err := c.BatchV1().CronJobs(namespace).Delete(ctx, "clock", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// events returns our Events on the topology's ConfigMap by reason.
func events(t *testing.T, ctx context.Context, c kubernetes.Interface, reason string) []corev1.Event {
	t.Helper()
	list, err := c.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.kind=ConfigMap,involvedObject.name=" + eno.ConfigMapName + ",reason=" + reason})
	if err != nil {
		t.Fatal(err)
	}
	return list.Items
}

func editsAreTaken(t *testing.T, r *rig, ctx context.Context, c kubernetes.Interface) {
	current := r.topology(3)
	r.publish(current)
	written := func(want string) string {
		text := ""
		r.eventually("generation "+want+" in the store", 10*time.Second, func() error {
			cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if cm.Annotations[eno.GenerationAnnotation] != want {
				return fmt.Errorf("it is %s", cm.Annotations[eno.GenerationAnnotation])
			}
			text = cm.Data[eno.ConfigMapKey]
			return nil
		})
		return text
	}
	written(strconv.FormatInt(current.Generation, 10))

	// An edit is handed to the instrument and played by the cluster.
	r.edit(ctx, c, func(text string) string { return mustReplace(t, text, "replicas: 3", "replicas: 4") })
	r.wait("the edit", 5*time.Second, func() bool { return len(r.edits) == 1 })
	r.mu.Lock()
	e := r.edits[0]
	r.mu.Unlock()
	if got, base := e.Topology.Value("deployment/web", "replicas"), e.Base.Value("deployment/web", "replicas"); e.By != "kubectl-edit" || got != 4 || base != 3 {
		t.Errorf("the edit is by %q from %v to %v", e.By, base, got)
	}
	r.converged(4, 20*time.Second)
	r.eventually("the event", 5*time.Second, func() error {
		if all := events(t, ctx, c, "Adopted"); len(all) != 1 || !strings.Contains(all[0].Message, "deployment/web.replicas") || all[0].Labels[eno.ManagedByLabel] != eno.ManagedBy {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	current = r.topology(4)
	r.publish(current)
	written(strconv.FormatInt(current.Generation, 10))
	// What the instrument publishes before it has taken the edit over does not
	// undo it; it has two seconds for that, so it is published at once.
	r.edit(ctx, c, func(text string) string { return mustReplace(t, text, "replicas: 4", "replicas: 5") })
	r.wait("the next edit", 5*time.Second, func() bool { return len(r.edits) == 2 })
	late := r.topology(4)
	late.Modules["deployment/web"]["max_surge"] = 2.0
	r.publish(late)
	if text := written(strconv.FormatInt(late.Generation, 10)); !strings.Contains(text, "replicas: 5") || !strings.Contains(text, "max_surge: 2") {
		t.Errorf("an edit was undone by a topology from before it, or undid it:\n%s", text)
	}

	// A slip of the hand is refused, told and left alone, and the last good
	// topology plays on.
	bad := r.edit(ctx, c, func(text string) string { return mustReplace(t, text, "replicas: 5", "replicas: fife") })
	r.wait("the refusal", 5*time.Second, r.problem("the edit of kubectl-edit is refused"))
	r.eventually("the event", 5*time.Second, func() error {
		if all := events(t, ctx, c, "InvalidTopology"); len(all) != 1 || all[0].Type != corev1.EventTypeWarning || !strings.Contains(all[0].Message, "replicas") {
			return fmt.Errorf("%v", all)
		}
		return nil
	})
	same := late
	same.Generation++
	r.generation = same.Generation
	same.Modules["deployment/web"]["replicas"] = 5.0
	r.publish(same) // nothing new
	time.Sleep(500 * time.Millisecond)
	if cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{}); err != nil || cm.Data[eno.ConfigMapKey] != bad {
		t.Errorf("the slip was written over although the patch has nothing new: %v", err)
	}
	r.converged(5, 5*time.Second)
	next := r.topology(2)
	r.publish(next)
	written(strconv.FormatInt(next.Generation, 10))
	r.converged(2, 30*time.Second)
	r.wait("word of where it is kept", 5*time.Second, r.problem("topology-rejected"))
	if cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, "topology-rejected", metav1.GetOptions{}); err != nil || cm.Data[eno.ConfigMapKey] != bad || cm.Data["by"] != "kubectl-edit" {
		t.Errorf("the slip is not kept: %v, %v", cm.Data, err)
	}
}

// instrumentOf plays the instrument's part in edits: it takes them over and
// publishes what came of it.
type player struct {
	r     *rig
	taken int
	now   mapping.Topology
}

// adopt takes over the edits that arrived, and reports whether there were any.
func (p *player) adopt() bool {
	p.r.mu.Lock()
	edits := slices.Clone(p.r.edits[p.taken:])
	p.taken = len(p.r.edits)
	p.r.mu.Unlock()
	for _, e := range edits {
		p.now, _ = kube.Merge(e.Base, e.Topology, p.now, func(string) bool { return false })
	}
	return len(edits) > 0
}

func (p *player) publish() {
	p.r.generation++
	p.now.Generation = p.r.generation
	p.r.publish(p.now)
}
