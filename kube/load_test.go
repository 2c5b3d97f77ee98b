package kube

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	bareInformerEnv = "K8S_SYNTH_BARE_INFORMER"
	// bareKindsEnv lets the bare informer watch all the kinds that the observer
	// does, by protobuf as the observer does, and not only pods.
	bareKindsEnv = "K8S_SYNTH_BARE_KINDS"
)

// TestBareInformer is the peer of the proofs below: client-go informers with a
// handler that counts. It runs as a process of its own.
func TestBareInformer(t *testing.T) {
	kubeconfig := os.Getenv(bareInformerEnv)
	if kubeconfig == "" {
		t.Skip("runs as a child of TestProofLoad only")
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	go func() {
		_, _ = os.Stdin.Read(make([]byte, 1)) // the end of the input is the end
		stop()
	}()
	all := os.Getenv(bareKindsEnv) == "all"
	if all {
		config.ContentType = "application/vnd.kubernetes.protobuf"
		config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	}
	factory := informers.NewSharedInformerFactoryWithOptions(kubernetes.NewForConfigOrDie(config), 0, informers.WithNamespace("n"))
	var n atomic.Int64
	kinds := []cache.SharedIndexInformer{factory.Core().V1().Pods().Informer()}
	if all {
		kinds = append(kinds, factory.Core().V1().Nodes().Informer(), factory.Core().V1().Services().Informer(), factory.Core().V1().ResourceQuotas().Informer(),
			factory.Apps().V1().Deployments().Informer(), factory.Discovery().V1().EndpointSlices().Informer(), factory.Networking().V1().Ingresses().Informer(),
			factory.Autoscaling().V2().HorizontalPodAutoscalers().Informer(), factory.Batch().V1().CronJobs().Informer(), factory.Batch().V1().Jobs().Informer())
	}
	for _, informer := range kinds {
		_, _ = informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, _ any) { n.Add(1) }})
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	fmt.Println("updates", n.Load())
}

// TestProofLoad compares what the observer costs with what a bare informer
// does: 5,000 pods, 500 changes a second, the same server in the same run.
func TestProofLoad(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("a measurement of half a minute; K8S_SYNTH_PROOF=1 runs it")
	}
	program := filepath.Join(t.TempDir(), "k8s-synth-kube")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/k8s-synth-kube").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	f := newFakeAPI(t)
	f.template, f.stream = typicalPod(), true
	f.change(func() {
		for i := range 5000 {
			f.put(fmt.Sprint("pod-", i), fmt.Sprint("uid-", i), "Running")
		}
		f.history = nil
		f.oldest = f.revision
	})
	kubeconfig := f.kubeconfig(t)
	const seconds, perSecond = 10, 500
	measure := func(cmd *exec.Cmd) (cpu time.Duration, mib float64) {
		t.Helper()
		stdin, err := cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(4 * time.Second) // the first list
		ticker := time.NewTicker(time.Second / 100)
		for i := range seconds * 100 {
			<-ticker.C
			f.change(func() {
				for j := range perSecond / 100 {
					n := (i*perSecond/100 + j) % 5000
					phase := corev1.PodRunning
					if i/1000%2 == 0 {
						phase = corev1.PodFailed
					}
					f.put(fmt.Sprint("pod-", n), fmt.Sprint("uid-", n), phase)
				}
			})
		}
		ticker.Stop()
		time.Sleep(500 * time.Millisecond)
		mib = peakMiB(t, cmd.Process.Pid)
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		f.change(func() { f.history, f.oldest = nil, f.revision })
		runtime.GC()
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), mib
	}
	bare := exec.Command(os.Args[0], "-test.run=^TestBareInformer$")
	bare.Env = append(os.Environ(), bareInformerEnv+"="+kubeconfig)
	bareCPU, bareMiB := measure(bare)
	// Back to Running, so that each change of ours is one again.
	f.change(func() {
		for i := range 5000 {
			f.put(fmt.Sprint("pod-", i), fmt.Sprint("uid-", i), "Running")
		}
		f.history, f.oldest = nil, f.revision
	})
	var out strings.Builder
	ours := exec.Command(program, "--kubeconfig", kubeconfig, "--namespace", "n", "--listen-only")
	ours.Stdout = &out
	ourCPU, ourMiB := measure(ours)
	loud := 0
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, `"old":"Running","new":"Failed"`) && !strings.Contains(line, `"quiet"`) {
			loud++
		}
	}
	t.Logf("\n5,000 pods, %d changes/s for %d s    CPU        peak memory\n  bare informer                   %7.2f s %9.1f MiB\n  k8s-synth-kube                  %7.2f s %9.1f MiB\n  transitions told: %d of %d", perSecond, seconds, bareCPU.Seconds(), bareMiB, ourCPU.Seconds(), ourMiB, loud, seconds*perSecond)
	if loud != seconds*perSecond {
		t.Errorf("%d transitions were told, want %d", loud, seconds*perSecond)
	}
	if ourCPU > 2*bareCPU {
		t.Errorf("the observer took %.1f times the CPU of a bare informer, at most 2 are wanted", ourCPU.Seconds()/bareCPU.Seconds())
	}
	if ourMiB > bareMiB {
		t.Errorf("the observer took %.0f MiB, a bare informer %.0f", ourMiB, bareMiB)
	}
}

// TestProofCluster plays the same on a real control plane: 5,000 pods on 200
// simulated nodes behind ten Services, and as many changes a second, up to 500,
// as the machine can make. The observer and the bare informers hear the same
// storm side by side, and at the end the observer's state is that of the
// cluster.
func TestProofCluster(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("a measurement of some minutes; K8S_SYNTH_PROOF=1 runs it")
	}
	bin := os.Getenv("K8S_SYNTH_BIN")
	if bin == "" {
		bin = filepath.Join("..", "bin")
	}
	if _, err := os.Stat(filepath.Join(bin, "k8s-synth-cluster")); err != nil {
		t.Skipf("needs k8s-synth-cluster (make builds it, K8S_SYNTH_BIN names another folder): %v", err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "k8s-synth-kube")
	if out, err := exec.Command("go", "build", "-o", program, "../cmd/k8s-synth-kube").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	state := filepath.Join(dir, "state")
	cluster := exec.Command(filepath.Join(bin, "k8s-synth-cluster"), "--state-dir", state, "--nodes", "200", "--bin", bin)
	log, err := os.Create(filepath.Join(dir, "cluster.log"))
	if err != nil {
		t.Fatal(err)
	}
	cluster.Stdout, cluster.Stderr = log, log
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cluster.Process.Signal(syscall.SIGTERM)
		stop := time.AfterFunc(20*time.Second, func() { _ = cluster.Process.Kill() })
		_ = cluster.Wait()
		stop.Stop()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the cluster's log ends\n%s", text[max(0, len(text)-4000):])
		}
	}()
	kubeconfig := filepath.Join(state, "kubeconfig")
	ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
	defer cancel()
	c := proofClient(ctx, t, kubeconfig)

	begin := time.Now()
	const groups, each = 10, 500
	if _, err := c.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.CoreV1().ResourceQuotas("n").Create(ctx, &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "q"}, Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{"pods": resource.MustParse("10000")}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	typical := typicalPod()
	typical.Spec.NodeName = ""
	for i := range typical.Spec.Containers {
		typical.Spec.Containers[i].Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}
	}
	// The pods are bound when they are made: the scheduler is not what is
	// measured.
	names := make(chan int)
	var making sync.WaitGroup
	var unmade atomic.Int64
	for range 16 {
		making.Go(func() {
			for i := range names {
				p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pod-", i), Labels: map[string]string{"app": fmt.Sprint("web", i%groups)}, Annotations: typical.Annotations}, Spec: *typical.Spec.DeepCopy()}
				p.Spec.NodeName = fmt.Sprint("stage-", 1+i%200)
				if _, err := c.CoreV1().Pods("n").Create(ctx, p, metav1.CreateOptions{}); err != nil {
					unmade.Add(1)
				}
			}
		})
	}
	for g := range groups {
		s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("web", g)}, Spec: corev1.ServiceSpec{Selector: map[string]string{"app": fmt.Sprint("web", g)}, Ports: []corev1.ServicePort{{Port: 80}}}}
		if _, err := c.CoreV1().Services("n").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range groups * each {
		names <- i
	}
	close(names)
	making.Wait()
	t.Logf("%d pods were made in %v, %d refused", groups*each, time.Since(begin).Round(time.Second), unmade.Load())
	var pods []string
	ready, before := 0, -1
	for ready < groups*each && time.Since(begin) < 5*time.Minute && ready != before {
		time.Sleep(10 * time.Second)
		list, err := c.CoreV1().Pods("n").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		pods, before, ready = pods[:0], ready, 0
		for i := range list.Items {
			pods = append(pods, list.Items[i].Name)
			if readyOf(&list.Items[i]) == "true" {
				ready++
			}
		}
	}
	t.Logf("%d pods on 200 nodes, %d of them ready, after %v", len(pods), ready, time.Since(begin).Round(time.Second))
	time.Sleep(10 * time.Second) // the controllers come to rest

	type peer struct {
		name  string
		cmd   *exec.Cmd
		stdin io.Closer
		out   bytes.Buffer
		cpu   time.Duration
		mib   float64
	}
	start := func(name, path string, env []string, args ...string) *peer {
		p := &peer{name: name, cmd: exec.Command(path, args...)}
		p.cmd.Env = append(os.Environ(), env...)
		stdin, err := p.cmd.StdinPipe()
		if err != nil {
			t.Fatal(err)
		}
		p.stdin, p.cmd.Stdout = stdin, &p.out
		if err := p.cmd.Start(); err != nil {
			t.Fatal(err)
		}
		return p
	}
	peers := []*peer{
		start("bare informer, pods, JSON", os.Args[0], []string{bareInformerEnv + "=" + kubeconfig}, "-test.run=^TestBareInformer$"),
		start("bare informers, same kinds, protobuf", os.Args[0], []string{bareInformerEnv + "=" + kubeconfig, bareKindsEnv + "=all"}, "-test.run=^TestBareInformer$"),
		start("k8s-synth-kube, with load each second", program, nil, "--kubeconfig", kubeconfig, "--namespace", "n", "--listen-only"),
	}
	time.Sleep(15 * time.Second) // the first lists

	// The storm: pods get ready and unready, so that endpoints change with them.
	const seconds, perSecond = 20, 500
	var made, failed atomic.Int64
	due := make(chan string, perSecond)
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for name := range due {
				status := "False"
				if made.Load()%2 == 0 {
					status = "True"
				}
				patch := fmt.Sprintf(`{"status":{"conditions":[{"type":"Ready","status":%q}]}}`, status)
				if _, err := c.CoreV1().Pods("n").Patch(ctx, name, types.StrategicMergePatchType, []byte(patch), metav1.PatchOptions{}, "status"); err != nil {
					failed.Add(1)
				} else {
					made.Add(1)
				}
			}
		})
	}
	begin = time.Now()
	ticker := time.NewTicker(time.Second / 100)
	for i := 0; time.Since(begin) < seconds*time.Second; i++ {
		<-ticker.C
		for j := range perSecond / 100 {
			select {
			case due <- pods[(i*(perSecond/100)+j)*7%len(pods)]:
			default: // the control plane takes no more
			}
		}
	}
	ticker.Stop()
	close(due)
	wg.Wait()
	rate := float64(made.Load()) / time.Since(begin).Seconds()

	// Until nothing changes any more.
	var list *corev1.PodList
	for {
		before := ""
		if list != nil {
			before = list.ResourceVersion
		}
		time.Sleep(5 * time.Second)
		if list, err = c.CoreV1().Pods("n").List(ctx, metav1.ListOptions{}); err != nil {
			t.Fatal(err)
		}
		newest := int64(0)
		for i := range list.Items {
			newest = max(newest, revisionOf(&list.Items[i]))
		}
		if was, _ := strconv.ParseInt(before, 10, 64); was >= newest {
			break
		}
	}
	eps, err := c.DiscoveryV1().EndpointSlices("n").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	var table strings.Builder
	for _, p := range peers {
		p.mib = peakMiB(t, p.cmd.Process.Pid)
		_ = p.stdin.Close()
		if err := p.cmd.Wait(); err != nil {
			t.Fatalf("%s: %v", p.name, err)
		}
		p.cpu = p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()
		fmt.Fprintf(&table, "  %-40s %7.2f s %9.1f MiB\n", p.name, p.cpu.Seconds(), p.mib)
	}
	loud := 0
	known := map[mapping.Object]map[string]string{}
	decoder := mapping.NewDecoder(&peers[2].out)
	var ts []mapping.Transition
	for {
		m, err := decoder.Decode()
		if err != nil {
			break
		}
		if m.Transition != nil {
			ts = append(ts, *m.Transition)
			if !m.Transition.Quiet {
				loud++
			}
		}
	}
	replay(t, known, ts)
	t.Logf("\n%d pods, 200 nodes, %.0f changes/s for %d s (%d refused)    CPU   peak memory\n%s  transitions told: %d, %d of them aloud", len(pods), rate, seconds, failed.Load(), table.String(), len(ts), loud)

	got, want := map[string]string{}, map[string]string{}
	for o, fields := range known {
		switch o.Kind {
		case mapping.KindPod:
			got[o.String()] = fields[mapping.FieldNode] + " " + fields[mapping.FieldPhase] + " " + fields[mapping.FieldReady]
		case mapping.KindService:
			got[o.String()] = fmt.Sprint(len(strings.FieldsFunc(fields[mapping.FieldEndpoints], func(r rune) bool { return r == ',' || r == '-' })) > 0)
		}
	}
	for i := range list.Items {
		p := &list.Items[i]
		want["pod/"+p.Name] = p.Spec.NodeName + " " + string(p.Status.Phase) + " " + readyOf(p)
	}
	some := map[string]bool{}
	for i := range eps.Items {
		for _, e := range eps.Items[i].Endpoints {
			if e.Conditions.Ready == nil || *e.Conditions.Ready {
				some[eps.Items[i].Labels["kubernetes.io/service-name"]] = true
			}
		}
	}
	for g := range groups {
		name := fmt.Sprint("web", g)
		want["service/"+name] = fmt.Sprint(some[name])
	}
	wrong := 0
	for name, is := range want {
		if got[name] != is {
			if wrong++; wrong < 5 {
				t.Errorf("%s is %q, the observer says %q", name, is, got[name])
			}
		}
	}
	if wrong > 0 || len(got) != len(want) {
		t.Errorf("%d of %d objects differ; %d are known", wrong, len(want), len(got))
	}
	if peers[2].cpu > 2*peers[1].cpu {
		t.Errorf("the observer took %.1f times the CPU of bare informers, at most 2 are wanted", peers[2].cpu.Seconds()/peers[1].cpu.Seconds())
	}
	if peers[2].mib > peers[1].mib {
		t.Errorf("the observer took %.0f MiB, bare informers %.0f", peers[2].mib, peers[1].mib)
	}
}

// peakMiB reads the most memory that a process ever held. What wait reports
// would be that of its parent at the fork, where that is more.
func peakMiB(t *testing.T, pid int) float64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			var kib float64
			if _, err := fmt.Sscan(rest, &kib); err != nil {
				t.Fatalf("VmHWM of process %d: %v", pid, err)
			}
			return kib / 1024
		}
	}
	t.Fatalf("process %d tells no VmHWM", pid)
	return 0
}

func proofClient(ctx context.Context, t *testing.T, kubeconfig string) kubernetes.Interface {
	t.Helper()
	for {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err == nil {
			config.QPS = -1
			c := kubernetes.NewForConfigOrDie(config)
			nodes, err := c.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
			if err == nil && len(nodes.Items) == 200 {
				return c
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal("the control plane did not start")
		case <-time.After(500 * time.Millisecond):
		}
	}
}

func readyOf(p *corev1.Pod) string {
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return "true"
		}
	}
	return "false"
}

// typicalPod has the weight of a pod of a real cluster, about 5 kB of JSON.
func typicalPod() corev1.Pod {
	p := corev1.Pod{}
	p.Annotations = map[string]string{"prometheus.io/scrape": "true", "checksum/config": strings.Repeat("a", 64)}
	now := metav1.NewTime(time.Unix(1700000000, 0))
	for _, manager := range []string{"kube-controller-manager", "kubelet"} {
		p.ManagedFields = append(p.ManagedFields, metav1.ManagedFieldsEntry{Manager: manager, Operation: "Update", APIVersion: "v1", Time: &now, FieldsType: "FieldsV1",
			FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:metadata":{"f:labels":{` + strings.TrimSuffix(strings.Repeat(`"f:a-label-of-some-length":{},`, 25), ",") + `}}}`)}})
	}
	for i := range 2 {
		c := corev1.Container{Name: fmt.Sprint("c", i), Image: "registry.example/team/service@sha256:" + strings.Repeat("b", 64), Args: []string{"--listen=:8080", "--verbosity=2"}}
		for j := range 12 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprint("SOME_VARIABLE_", j), Value: "a value of ordinary length"})
		}
		c.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}
		p.Spec.Containers = append(p.Spec.Containers, c)
	}
	p.Spec.NodeName = "node-1"
	return p
}
