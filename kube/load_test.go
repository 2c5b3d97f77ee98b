package kube

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

const bareInformerEnv = "K8S_SYNTH_BARE_INFORMER"

// TestBareInformer is the peer of TestProofLoad: a client-go informer of the
// same pods with a handler that counts. It runs as a process of its own.
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
	factory := informers.NewSharedInformerFactoryWithOptions(kubernetes.NewForConfigOrDie(config), 0, informers.WithNamespace("n"))
	n := 0
	_, _ = factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(_, _ any) { n++ }})
	factory.Start(ctx.Done())
	<-ctx.Done()
	t.Logf("%d updates", n)
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
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		usage := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		f.change(func() { f.history, f.oldest = nil, f.revision })
		runtime.GC()
		return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), float64(usage.Maxrss) / 1024
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
