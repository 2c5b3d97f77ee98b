//go:build linux && !race

// What runs here is other people's programs; the race detector has nothing to
// look at.

package realnode

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/kube/images"
	"github.com/k8s-synth/k8s-synth/kube/install"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// wanted asks for the proof: it needs root and takes a minute.
	wanted = "K8S_SYNTH_REALNODE"
	// programsDir tells the enclosed test where the programs are.
	programsDir = "K8S_SYNTH_REALNODE_PROGRAMS"

	nodeName  = "real-1"
	namespace = "k8s-synth"
	// within bounds each single step; a machine that others use is slow.
	within = 90 * time.Second
)

func TestMain(m *testing.M) {
	Init()
	os.Exit(m.Run())
}

// TestRealNode plays a patch on a real node: kubelet, containerd, runc, the
// CNI bridge and kube-proxy, with the embedded control plane and Eno.
func TestRealNode(t *testing.T) { enclosed(t, prove) }

// TestInstalled applies the installation as a user does, and lets the
// instrument play in the cluster that it is installed in.
func TestInstalled(t *testing.T) { enclosed(t, proveInstalled) }

// enclosed runs a proof inside of an enclosure, where the machine allows one.
func enclosed(t *testing.T, proof func(*testing.T)) {
	if os.Getenv(wanted) == "" {
		t.Skipf("real containers are proven with %s=1, as root, in a minute", wanted)
	}
	if Enclosed() {
		proof(t)
		return
	}
	if err := Check(); err != nil {
		t.Skipf("skipped: %v", err)
	}
	programs, err := buildPrograms()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir: its name is too long for a socket below it.
	dir, err := os.MkdirTemp("", "k8s-synth-node-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
	defer cancel()
	var out bytes.Buffer
	err = Enclose(ctx, dir, []string{"-test.run=^" + t.Name() + "$", "-test.v", "-test.timeout=7m"}, func(c *exec.Cmd) {
		c.Env = append(c.Env, programsDir+"="+programs)
		c.Stdout, c.Stderr = &out, &out
	})
	t.Logf("inside of the enclosure:\n%s", out.Bytes())
	if err != nil {
		t.Error(err)
	}
	if ctx.Err() == nil && !strings.Contains(out.String(), "--- PASS: "+t.Name()) {
		t.Error("the test inside did not say that it passed")
	}
	for _, left := range leftovers(t, dir) {
		t.Errorf("left behind: %s", left)
	}
}

// leftovers lists what a node could leave on a machine: mounts, processes,
// control groups, interfaces and rules.
func leftovers(t *testing.T, dir string) (all []string) {
	t.Helper()
	lines := func(what, text string, ours func(string) bool) {
		for line := range strings.Lines(text) {
			if ours(line) {
				all = append(all, what+" "+strings.TrimSpace(line))
			}
		}
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	lines("mount", string(mounts), func(l string) bool { return strings.Contains(l, dir) })
	processes, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, p := range processes {
		b, err := os.ReadFile(p)
		if err == nil && bytes.Contains(b, []byte(dir)) {
			all = append(all, fmt.Sprintf("process %q", b))
		}
	}
	for _, pattern := range []string{"/*/", "/"} {
		groups, _ := filepath.Glob(cgroupFS + pattern + groupPrefix + strconv.Itoa(os.Getpid()))
		all = append(all, groups...)
	}
	links, err := exec.Command("ip", "-o", "link").Output()
	if err != nil {
		t.Fatal(err)
	}
	lines("interface", string(links), func(l string) bool { return strings.Contains(l, ": "+device) })
	rules, _ := exec.Command("iptables-save").Output() // no table is no rule
	lines("rule", string(rules), func(l string) bool { return strings.Contains(l, "10.96.") })
	return all
}

// built names a folder that has all programs of the repository, as make has built
// them a moment ago: what is linked there is not linked again.
const built = "K8S_SYNTH_BIN"

// buildPrograms builds what runs into a directory that is kept, because linking
// it takes longer than the proof. It returns a folder of links to the programs.
var buildPrograms = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "k8s-synth", "realnode")
	// A program that is built from a module does not know its version, and the
	// node would tell a strange one.
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
	if err != nil {
		return "", fmt.Errorf("go list: %w", err)
	}
	version := "-X k8s.io/component-base/version.gitVersion=" + strings.TrimSpace(string(out))
	const module = "github.com/k8s-synth/k8s-synth/cmd/"
	const controller, reconciler = "github.com/Azure/eno/cmd/eno-controller", "github.com/Azure/eno/cmd/eno-reconciler"
	node := []string{"k8s.io/kubernetes/cmd/kubelet", "k8s.io/kubernetes/cmd/kube-proxy"}
	ours := []string{"k8s.io/kubernetes/cmd/kubectl", module + "k8s-synth-cluster", module + "k8s-synth-kube", controller, reconciler}
	from := dir
	if f := os.Getenv(built); f != "" {
		if from, err = filepath.Abs(f); err != nil {
			return "", err
		}
	} else {
		node = append(node, ours...)
	}
	for _, b := range []struct {
		to       string
		cgo      string
		flags    []string
		packages []string
	}{
		{"", "1", []string{"-ldflags=-s -w " + version}, node},
		// As .ci/images builds them.
		{"static", "0", []string{"-trimpath", "-ldflags=-s -w"}, []string{module + "k8s-synth-voice", module + "topology-synthesizer", module + "k8s-synth-kube", controller, reconciler}},
		{"static", "1", []string{"-trimpath", "-tags=netgo,osusergo", `-ldflags=-s -w -linkmode external -extldflags "-static"`}, []string{module + "k8s-synth"}},
	} {
		to := filepath.Join(dir, b.to)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return "", err
		}
		c := exec.Command("go", slices.Concat([]string{"build", "-buildvcs=false", "-o", to + "/"}, b.flags, b.packages)...)
		c.Env = append(os.Environ(), "CGO_ENABLED="+b.cgo)
		if out, err := c.CombinedOutput(); err != nil {
			return "", fmt.Errorf("go build %s: %w\n%s", strings.Join(b.packages, " "), err, out)
		}
	}
	for _, s := range images.Specs {
		image, err := s.Build(filepath.Join(dir, "static"))
		if err != nil {
			return "", err
		}
		if err := images.Write(filepath.Join(dir, "images", s.Name+".tar"), image, images.Reference(s.Name)); err != nil {
			return "", err
		}
	}
	// Links, and not the programs themselves: go build writes through a link.
	links := filepath.Join(dir, "bin")
	if err := errors.Join(os.RemoveAll(links), os.Mkdir(links, 0o755), os.Symlink(filepath.Join(dir, "images"), filepath.Join(links, "images"))); err != nil {
		return "", err
	}
	for i, of := range [][]string{node, ours} {
		for _, p := range of {
			to := filepath.Join([]string{dir, from}[i], path.Base(p))
			if _, err := os.Stat(to); err != nil {
				return "", fmt.Errorf("make builds what is needed: %w", err)
			}
			if err := os.Symlink(to, filepath.Join(links, path.Base(p))); err != nil && !errors.Is(err, os.ErrExist) {
				return "", err
			}
		}
	}
	return links, nil
})

// program is a process that speaks the stream.
type program struct {
	t           *testing.T
	name        string
	cmd         *exec.Cmd
	in          *mapping.Encoder
	log         string
	mu          sync.Mutex
	transitions []mapping.Transition
	problems    []mapping.Problem
	ended       chan struct{}
}

// start starts a program; it is ended with the test, in the opposite order.
func start(t *testing.T, dir, path string, args ...string) *program {
	t.Helper()
	p := &program{t: t, name: filepath.Base(path), cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.log = filepath.Join(dir, p.name+".log")
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	p.cmd.Stderr = log
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.in = mapping.NewEncoder(stdin)
	go func() {
		defer close(p.ended)
		for d := mapping.NewDecoder(bufio.NewReader(stdout)); ; {
			m, err := d.Decode()
			if err != nil {
				if !errors.Is(err, io.EOF) && !errors.Is(err, os.ErrClosed) {
					t.Errorf("%s: stream: %v", p.name, err)
				}
				_, _ = io.Copy(io.Discard, stdout)
				_ = p.cmd.Wait()
				return
			}
			p.mu.Lock()
			if m.Transition != nil {
				p.transitions = append(p.transitions, *m.Transition)
			}
			if m.Problem != nil {
				p.problems = append(p.problems, *m.Problem)
			}
			p.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		stdin.Close()
		select {
		case <-p.ended:
		case <-time.After(10 * time.Second):
			t.Errorf("%s does not end", p.name)
			_ = p.cmd.Process.Kill()
		}
		if t.Failed() {
			t.Logf("--- %s\n%s", p.name, tail(p.log, 6000))
		}
	})
	return p
}

func (p *program) send(m mapping.Message) {
	p.t.Helper()
	if err := p.in.Encode(m); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
}

// heard returns the first transition from index from on that fits.
func (p *program) heard(from int, fits func(mapping.Transition) bool) (mapping.Transition, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, x := range p.transitions[from:] {
		if fits(x) {
			return x, true
		}
	}
	return mapping.Transition{}, false
}

func (p *program) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.transitions)
}

// stage is a cluster with one real node.
type stage struct {
	dir, bin   string
	kubeconfig string
	client     kubernetes.Interface
	control    *program
	node       *Node
	step       func(format string, args ...any)
}

// setUp starts the control plane and the node.
func setUp(t *testing.T) *stage {
	began := time.Now()
	s := &stage{dir: os.Getenv(inside), bin: os.Getenv(programsDir)}
	s.step = func(format string, args ...any) {
		t.Helper()
		t.Logf("%6.1f s  %s", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	ctx := t.Context()
	state := paths.State{Dir: filepath.Join(s.dir, "cluster")}
	s.kubeconfig = state.Kubeconfig()
	s.control = start(t, s.dir, filepath.Join(s.bin, "k8s-synth-cluster"), "--stream", "--ephemeral", "--state-dir="+state.Dir, "--nodes=0", "--real-node="+Address, "--bin="+s.bin)
	eventually(t, "the control plane is ready", func() error {
		if _, ok := s.control.heard(0, func(x mapping.Transition) bool { return x.New == mapping.BootReady }); !ok {
			return errors.New("not yet")
		}
		return nil
	})
	s.step("the embedded control plane is ready, without a simulated node")
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	if s.client, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}

	var tars []string
	for _, name := range images.Names() {
		tars = append(tars, filepath.Join(s.bin, "images", name+".tar"))
	}
	nodeCtx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s.node, err = Start(nodeCtx, Config{
		Dir: s.dir, Kubelet: filepath.Join(s.bin, "kubelet"), Proxy: filepath.Join(s.bin, "kube-proxy"),
		Kubeconfig: s.kubeconfig, Name: nodeName, Labels: []string{"k8s-synth.io/node=real"}, Images: tars,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(s.node.Log(8000))
		}
		s.node.Stop()
	})
	var n *corev1.Node
	eventually(t, "the node is ready", func() error {
		if err := s.node.Err(); err != nil {
			t.Fatal(err)
		}
		if n, err = s.client.CoreV1().Nodes().Get(ctx, nodeName, metav1.GetOptions{}); err != nil {
			return err
		}
		for _, c := range n.Status.Conditions {
			if c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue && len(n.Spec.Taints) == 0 {
				return nil
			}
		}
		return fmt.Errorf("%+v", n.Status.Conditions)
	})
	s.step("the node is ready: kubelet %s, %s, %s", n.Status.NodeInfo.KubeletVersion, n.Status.NodeInfo.ContainerRuntimeVersion, n.Status.NodeInfo.OSImage)
	return s
}

// prove runs inside of the enclosure.
func prove(t *testing.T) {
	s := setUp(t)
	ctx, client, step := t.Context(), s.client, s.step

	// Eno's pods are looked at as they pass: they are gone when they are done.
	syntheses := watchSyntheses(t, client)

	observer := start(t, s.dir, filepath.Join(s.bin, "k8s-synth-kube"), "--kubeconfig="+s.kubeconfig, "--namespace="+namespace)
	observer.send(mapping.Message{Hello: &mapping.Hello{Version: mapping.StreamVersion, Program: "test"}})
	published := time.Now()
	observer.send(mapping.Message{Topology: topology(1, 3, true)})

	pods := map[string]corev1.Pod{}
	eventually(t, "three replicas are ready", func() error {
		list, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: eno.ModuleLabel + "=deployment.web"})
		if err != nil {
			return err
		}
		clear(pods)
		for _, p := range list.Items {
			if ready(&p) {
				pods[p.Name] = p
			}
		}
		if len(pods) != 3 {
			return fmt.Errorf("%d of %d pods are ready; %s", len(pods), len(list.Items), syntheses)
		}
		return nil
	})
	step("3 replicas ready %.1f s after the topology was published", time.Since(published).Seconds())

	// Eno's synthesizer ran as a container on the node.
	eventually(t, "the synthesizer's container is done", func() error { return syntheses.done(nodeName) })
	step("synthesized by %s", syntheses)

	// Replicas are processes, with networks of their own.
	processes, addresses := map[string]int{}, map[string]bool{}
	for name, p := range pods {
		if p.Spec.NodeName != nodeName || !strings.HasPrefix(p.Status.PodIP, "10.244.0.") {
			t.Errorf("pod %s: node %s, address %s", name, p.Spec.NodeName, p.Status.PodIP)
		}
		addresses[p.Status.PodIP] = true
		processes[name] = processOf(t, p.UID)
		own, err := os.Readlink("/proc/self/ns/net")
		its, err2 := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", processes[name]))
		if err := errors.Join(err, err2); err != nil || own == its {
			t.Errorf("pod %s: network %s, ours is %s (%v)", name, its, own, err)
		}
		if user := statusField(t, processes[name], "Uid"); user != strconv.Itoa(images.User) {
			t.Errorf("pod %s runs as user %s, want %d", name, user, images.User)
		}
	}
	if len(addresses) != 3 {
		t.Errorf("addresses of the pods: %v", addresses)
	}
	step("processes %v with the addresses %v", slices.Sorted(maps.Values(processes)), slices.Sorted(maps.Keys(addresses)))

	url := serve(t, client, pods, step)
	request(t, observer, pods, step)
	burn(t, observer, pods, processes, step)
	crash(t, client, observer, pods, processes, step)

	// A knob turned down ends processes.
	from := observer.count()
	observer.send(mapping.Message{Topology: topology(2, 1, true)})
	eventually(t, "one replica is left", func() error {
		alive := 0
		for _, pid := range voices() {
			if pid != 0 {
				alive++
			}
		}
		if alive != 1 {
			return fmt.Errorf("%d processes", alive)
		}
		return nil
	})
	eventually(t, "the end of two pods is heard", func() error {
		gone := 0
		for name := range pods {
			if _, ok := observer.heard(from, func(x mapping.Transition) bool {
				return x.Object.Name == name && x.Field == mapping.FieldExists && x.New == "" && !x.Quiet
			}); ok {
				gone++
			}
		}
		if gone != 2 {
			return fmt.Errorf("%d", gone)
		}
		return nil
	})
	step("replicas 3 → 1: one process is left, and two ends were heard")

	// A pulled cable is a way that is gone, although the pod is there.
	observer.send(mapping.Message{Topology: topology(3, 1, false)})
	pulled := time.Now()
	eventually(t, "the pulled cable stops the requests", func() error {
		r, err := (&http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}).Get(url)
		if err == nil {
			r.Body.Close()
			return errors.New("it still answers")
		}
		if !errors.Is(err, syscall.ECONNREFUSED) {
			return fmt.Errorf("expected a refusal by kube-proxy: %w", err)
		}
		return nil
	})
	step("pulled the cable from the Deployment to the Service: refused %.2f s later", time.Since(pulled).Seconds())
	for _, p := range observer.problems {
		t.Errorf("the observer complained: %s: %s", p.Where, p.Text)
	}
}

// topology is a Deployment, and a Service that selects it by a cable.
func topology(generation int64, replicas int, cable bool) *mapping.Topology {
	t := &mapping.Topology{
		Version: mapping.TopologyVersion, Generation: generation, Namespace: namespace,
		Modules: map[instrument.ModuleID]mapping.TopologyModule{
			"deployment/web": {"replicas": float64(replicas), "image": install.Image("voice")},
			"service/web":    {"port": 80.0, "target_port": 8080.0},
		},
	}
	if cable {
		t.Cables = []string{"deployment/web/pods -> service/web/selector"}
	}
	return t
}

// serve sends requests to the address of the service, which kube-proxy gives
// to a pod.
func serve(t *testing.T, client kubernetes.Interface, pods map[string]corev1.Pod, step func(string, ...any)) (url string) {
	service, err := client.CoreV1().Services(namespace).Get(t.Context(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	url = fmt.Sprintf("http://%s:%d/", service.Spec.ClusterIP, service.Spec.Ports[0].Port)
	// A new connection each time: the choice is made for connections.
	web := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	answers := map[string]int{}
	known := false // to kube-proxy, which looks at changes once a second
	var times []time.Duration
	eventually(t, "all pods answer at "+url, func() error {
		for range 30 {
			began := time.Now()
			r, err := web.Get(url)
			if err != nil {
				return err
			}
			times = append(times, time.Since(began))
			var who struct{ Pod string }
			err = json.NewDecoder(r.Body).Decode(&who)
			r.Body.Close()
			if err != nil || r.Header.Get("X-Pod") != who.Pod {
				t.Fatalf("answer of %q with the header %q: %v", who.Pod, r.Header.Get("X-Pod"), err)
			}
			if _, ok := pods[who.Pod]; !ok {
				t.Fatalf("an answer of %q, which is none of ours", who.Pod)
			}
			answers[who.Pod]++
		}
		if len(answers) != len(pods) {
			return fmt.Errorf("answers of %v", answers)
		}
		if !known {
			known, times = true, nil
			clear(answers)
		}
		if len(times) < 90 {
			return errors.New("too few to compare")
		}
		return nil
	})
	// Each third has a deviation of 4.5 from 30.
	for pod, n := range answers {
		if n < 8 {
			t.Errorf("%s answered %d of %d requests: the choice is not even", pod, n, len(times))
		}
	}
	slices.Sort(times)
	rules, err := exec.Command("iptables-save", "-t", "nat").Output()
	if err != nil || !strings.Contains(string(rules), service.Spec.ClusterIP+"/32") {
		t.Errorf("kube-proxy's rules do not name %s: %v", service.Spec.ClusterIP, err)
	}
	step("%s answered by %v, median %v", url, slices.Collect(maps.Values(answers)), times[len(times)/2].Round(10*time.Microsecond))
	return url
}

// request asks for a request as a trigger on the Service's panel does, and
// hears which pod answered and how long it took.
func request(t *testing.T, observer *program, pods map[string]corev1.Pod, step func(string, ...any)) {
	service := mapping.Object{Kind: mapping.KindService, Namespace: namespace, Name: "web"}
	from := observer.count()
	observer.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbRequest, Object: service}})
	var served, took mapping.Transition
	eventually(t, "the answer is heard", func() error {
		var ok, ok2 bool
		served, ok = observer.heard(from, func(x mapping.Transition) bool {
			return x.Object.Kind == service.Kind && x.Object.Name == service.Name && x.Field == mapping.FieldServed
		})
		took, ok2 = observer.heard(from, func(x mapping.Transition) bool {
			return x.Object.Kind == service.Kind && x.Object.Name == service.Name && x.Field == mapping.FieldLatency
		})
		if !ok || !ok2 {
			return errors.New("no transition")
		}
		return nil
	})
	if _, ok := pods[served.New]; !ok {
		t.Errorf("served by %q, which is none of ours", served.New)
	}
	step("a trigger on the Service was served by %s in %s s", served.New, took.New)
}

// burn turns the CPU and memory knobs of one pod, and measures its process.
func burn(t *testing.T, observer *program, pods map[string]corev1.Pod, processes map[string]int, step func(string, ...any)) {
	name := slices.Min(slices.Collect(maps.Keys(pods)))
	const cpu, memory = 250, 48
	before := resident(t, processes[name])
	set := func(what string, value int) {
		observer.send(mapping.Message{Setting: &mapping.Setting{
			Object: mapping.Object{Kind: mapping.KindPod, Namespace: namespace, Name: name, UID: string(pods[name].UID)}, Name: what, Value: strconv.Itoa(value),
		}})
	}
	from, began := observer.count(), time.Now()
	set(mapping.SetCPU, cpu)
	set(mapping.SetMemory, memory)
	eventually(t, "the process holds what it is told", func() error {
		if held := resident(t, processes[name]) - before; held < memory-2 || held > memory+16 {
			return fmt.Errorf("%d MiB more are resident, asked for %d", held, memory)
		}
		return nil
	})
	after := time.Since(began)
	var got float64
	eventually(t, "the process burns what it is told", func() error {
		began, was := time.Now(), cpuTime(t, processes[name])
		time.Sleep(time.Second)
		got = 1000 * (cpuTime(t, processes[name]) - was).Seconds() / time.Since(began).Seconds()
		if got < 0.95*cpu || got > 1.05*cpu {
			return fmt.Errorf("%.0f millicores of %d", got, cpu)
		}
		return nil
	})
	// And back: what the kubelet measures comes as the pod's load.
	var heard string
	eventually(t, "the load is heard", func() error {
		var all []string
		x, ok := observer.heard(from, func(x mapping.Transition) bool {
			if x.Object.Name != name || x.Field != mapping.FieldLoad {
				return false
			}
			all = append(all, x.New)
			n, err := strconv.Atoi(x.New)
			return err == nil && n > 0.8*cpu && n < 1.2*cpu
		})
		if !ok {
			return fmt.Errorf("heard %v", all)
		}
		heard = x.New
		return nil
	})
	step("load of %s: asked for %d millicores and %d MiB, held %.2f s later, measured %.0f, heard %s", name, cpu, memory, after.Seconds(), got, heard)
	set(mapping.SetCPU, 0)
	set(mapping.SetMemory, 0)
	eventually(t, "the process gives the memory back", func() error {
		if held := resident(t, processes[name]) - before; held > 16 {
			return fmt.Errorf("%d MiB more are resident", held)
		}
		return nil
	})
}

// crash kills a container's process and listens.
func crash(t *testing.T, client kubernetes.Interface, observer *program, pods map[string]corev1.Pod, processes map[string]int, step func(string, ...any)) {
	name := slices.Max(slices.Collect(maps.Keys(pods)))
	from, killed := observer.count(), time.Now()
	if err := syscall.Kill(processes[name], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var x mapping.Transition
	eventually(t, "the restart is heard", func() error {
		var ok bool
		x, ok = observer.heard(from, func(x mapping.Transition) bool {
			return x.Object.Kind == mapping.KindPod && x.Object.Name == name && x.Field == mapping.FieldRestarts
		})
		if !ok {
			return errors.New("no transition")
		}
		return nil
	})
	if x.New != "1" || x.Quiet || x.Object.UID != string(pods[name].UID) || x.Owner != "web" {
		t.Errorf("transition %+v; want restarts 1 of pod %s, owner web, not quiet", x, pods[name].UID)
	}
	step("kill -9 of the process of %s: restarts %q → %q heard after %.2f s", name, x.Old, x.New, x.Time.Sub(killed).Seconds())
	eventually(t, "the pod is ready again", func() error {
		p, err := client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if !ready(p) || p.Status.ContainerStatuses[0].RestartCount != 1 {
			return fmt.Errorf("%+v", p.Status.ContainerStatuses)
		}
		return nil
	})
	if again := processOf(t, pods[name].UID); again == processes[name] {
		t.Errorf("process %d is still there", again)
	}
}

// eventually repeats ok until it has no error.
func eventually(t *testing.T, what string, ok func() error) {
	t.Helper()
	err := errors.New("not asked")
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("not within %v: %s: %v", within, what, err)
}

func ready(p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil || p.Status.PodIP == "" {
		return false
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// synthesisPods is what was seen of Eno's pods.
type synthesisPods struct {
	mu   sync.Mutex
	pods map[types.UID]*corev1.Pod
}

// watchSyntheses keeps the last state of every pod that Eno makes.
func watchSyntheses(t *testing.T, client kubernetes.Interface) *synthesisPods {
	t.Helper()
	s := &synthesisPods{pods: map[types.UID]*corev1.Pod{}}
	w, err := client.CoreV1().Pods(install.EnoNamespace).Watch(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/managed-by=eno"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	go func() {
		for e := range w.ResultChan() {
			if p, ok := e.Object.(*corev1.Pod); ok {
				s.mu.Lock()
				s.pods[p.UID] = p
				s.mu.Unlock()
			}
		}
	}()
	return s
}

// done returns nil when an executor has ended well as a container of the node.
func (s *synthesisPods) done(node string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.pods {
		for _, c := range p.Status.ContainerStatuses {
			if p.Spec.NodeName == node && c.Name == "executor" && strings.HasPrefix(c.ContainerID, "containerd://") && c.State.Terminated != nil && c.State.Terminated.ExitCode == 0 {
				return nil
			}
		}
	}
	return fmt.Errorf("%d synthesizer pods, none done", len(s.pods))
}

func (s *synthesisPods) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, p := range s.pods {
		text := "pod " + p.Name + " on " + p.Spec.NodeName + ", " + string(p.Status.Phase)
		for _, c := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
			id, _, _ := strings.Cut(strings.TrimPrefix(c.ContainerID, "containerd://"), "\n")
			text += fmt.Sprintf(", %s %.12s", c.Name, id)
			switch {
			case c.State.Terminated != nil:
				text += fmt.Sprintf(" exit %d %s", c.State.Terminated.ExitCode, c.State.Terminated.Message)
			case c.State.Waiting != nil:
				text += " " + c.State.Waiting.Reason + " " + c.State.Waiting.Message
			}
		}
		all = append(all, text)
	}
	slices.Sort(all)
	return strings.Join(all, "; ")
}

// voices returns the processes of the load program by the identity of their
// pod, found in the kernel's own list.
func voices() map[types.UID]int {
	all := map[types.UID]int{}
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil || !bytes.HasPrefix(b, []byte("/k8s-synth-voice\x00--listen")) {
			continue
		}
		dir := filepath.Dir(f)
		groups, err := os.ReadFile(filepath.Join(dir, "cgroup"))
		if err != nil {
			continue
		}
		_, after, ok := strings.Cut(string(groups), "/pod")
		if !ok {
			continue
		}
		uid, _, _ := strings.Cut(after, "/")
		pid, _ := strconv.Atoi(filepath.Base(dir))
		all[types.UID(uid)] = pid
	}
	return all
}

func processOf(t *testing.T, uid types.UID) int {
	t.Helper()
	pid := voices()[uid]
	if pid == 0 {
		t.Fatalf("no process of pod %s among %v", uid, voices())
	}
	return pid
}

func cpuTime(t *testing.T, pid int) (total time.Duration) {
	t.Helper()
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		first, _, _ := strings.Cut(string(b), " ")
		n, _ := strconv.ParseInt(first, 10, 64)
		total += time.Duration(n)
	}
	if total == 0 {
		t.Fatalf("process %d has no processor time", pid)
	}
	return total
}

func statusField(t *testing.T, pid int, field string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(b), "\n"+field+":")
	if f := strings.Fields(after); len(f) > 0 {
		return f[0]
	}
	return ""
}

// resident is a process's resident memory in MiB.
func resident(t *testing.T, pid int) int {
	t.Helper()
	kb, err := strconv.Atoi(statusField(t, pid, "VmRSS"))
	if err != nil {
		t.Fatal(err)
	}
	return kb / 1024
}
