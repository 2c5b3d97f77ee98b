//go:build !race

// The race detector doubles the minutes that Kubernetes takes to build, and
// would look at its code, not ours.

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/kube/cluster"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// asProgram makes this test binary behave as the program, so that what is
// tested is the real thing in a process of its own, which can be killed.
const asProgram = "K8S_SYNTH_TEST_AS_CLUSTER"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	go nap()
	os.Exit(m.Run())
}

// overslept is by how much naps of this process have been longer than asked.
var overslept atomic.Int64

func nap() {
	const length = 5 * time.Millisecond
	for {
		began := time.Now()
		time.Sleep(length)
		// A timer is late by a part of a millisecond anywhere.
		if over := time.Since(began) - 2*length; over > 0 {
			overslept.Add(int64(over))
		}
	}
}

// stolen returns what tells the time that other programs have had instead of
// this one since then.
func stolen() func() time.Duration {
	began := overslept.Load()
	return func() time.Duration { return time.Duration(overslept.Load() - began) }
}

// bin builds Eno's programs once a machine: linking them takes longer than
// all these tests.
var bin = sync.OnceValues(func() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	dir := filepath.Join(cache, "k8s-synth", "test-bin")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "tool").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build Eno: %w\n%s", err, out)
	}
	return dir, nil
})

// process is a running program under test.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stdin  io.WriteCloser
	stages chan mapping.Transition
	stderr *lockedBuffer
	exited chan struct{}
	err    error
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func start(t *testing.T, path string, args ...string) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(exe, append(args, "--bin="+dir)...), stages: make(chan mapping.Transition, 64), stderr: &lockedBuffer{}, exited: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), asProgram+"=1", "PATH="+path+string(os.PathListSeparator)+os.Getenv("PATH"))
	p.cmd.Stderr = p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var out sync.WaitGroup
	out.Go(func() {
		defer close(p.stages)
		d := mapping.NewDecoder(stdout)
		for first := true; ; first = false {
			m, err := d.Decode()
			if errors.Is(err, io.EOF) || errors.Is(err, fs.ErrClosed) {
				return
			}
			switch {
			case err != nil:
				t.Errorf("stdout is not the stream: %v", err)
				io.Copy(io.Discard, stdout)
				return
			case first != (m.Hello != nil):
				t.Errorf("stdout: expected one hello, first; got %+v", m)
			case m.Transition != nil:
				p.stages <- *m.Transition
			}
		}
	})
	go func() {
		out.Wait()
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("standard error of process %d:\n%s", p.cmd.Process.Pid, p.stderr)
		}
	})
	return p
}

// ready waits for the end of the boot and returns the stages.
func (p *process) ready() (all []mapping.Transition) {
	p.t.Helper()
	began, taken := time.Now(), stolen()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case s, ok := <-p.stages:
			if !ok {
				p.t.Fatal("ended before it was ready")
			}
			all = append(all, s)
			if s.New == mapping.BootReady {
				return all
			}
		case <-tick.C:
			if time.Since(began)-taken() > 60*time.Second {
				p.t.Fatalf("not ready after 60 s; reached %+v", all)
			}
		}
	}
}

// exit waits for the process and returns its exit code.
func (p *process) exit(within time.Duration) int {
	p.t.Helper()
	select {
	case <-p.exited:
	case <-time.After(within):
		p.t.Fatalf("still runs after %v", within)
	}
	return p.cmd.ProcessState.ExitCode()
}

func eventually(t *testing.T, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for began, taken := time.Now(), stolen(); time.Since(began)-taken() < within; time.Sleep(10 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %v: %s", within, what)
}

// children are the processes that p has started.
func (p *process) children() map[string]int {
	p.t.Helper()
	all := map[string]int{}
	// Children belong to the thread that made them.
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", p.cmd.Process.Pid))
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, s := range strings.Fields(string(b)) {
			pid, _ := strconv.Atoi(s)
			if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); err == nil {
				all[filepath.Base(exe)] = pid
			}
		}
	}
	return all
}

func gone(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}

// listeners returns the local addresses, in the kernel's hexadecimal form, on
// which a process listens.
func listeners(t *testing.T, pid int) (all []string) {
	t.Helper()
	fds, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(fds) == 0 {
		t.Fatalf("no files of process %d: %v", pid, err)
	}
	inodes := map[string]bool{}
	for _, fd := range fds {
		if l, err := os.Readlink(fd); err == nil && strings.HasPrefix(l, "socket:[") {
			inodes[strings.TrimSuffix(strings.TrimPrefix(l, "socket:["), "]")] = true
		}
	}
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		b, err := os.ReadFile("/proc/net/" + table)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(b), "\n")[1:] {
			f := strings.Fields(line)
			const listen, unconnected = "0A", "07"
			if len(f) > 9 && inodes[f[9]] && (f[3] == listen || f[3] == unconnected) {
				all = append(all, f[1])
			}
		}
	}
	return all
}

// scene is what the tests share: one cluster that lives through all of them.
type scene struct {
	*process
	config  *rest.Config
	client  *kubernetes.Clientset
	dynamic *dynamic.DynamicClient
}

func connect(t *testing.T, p *process, kubeconfig string) *scene {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.QPS = -1
	return &scene{p, config, kubernetes.NewForConfigOrDie(config), dynamic.NewForConfigOrDie(config)}
}

// pressureTransition is how long the shared cluster's nodes stay under memory
// pressure: long enough for all that is done meanwhile.
const pressureTransition = 4 * time.Second

// TestCluster takes one cluster through boot, play, crash and end.
func TestCluster(t *testing.T) {
	if _, err := os.Stat("/proc/self/task"); err != nil {
		t.Skip("looks at processes and sockets through Linux's /proc")
	}
	root := t
	tools := t.TempDir()
	synthesizer := `#!/bin/sh
note=$(grep -o '"note":"[a-z]*"' | head -1)
printf '{"apiVersion":"config.kubernetes.io/v1","kind":"ResourceList","items":[{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"answer","namespace":"default"},"data":{%s}}]}' "$note"
`
	if err := os.WriteFile(filepath.Join(tools, "test-synthesizer"), []byte(synthesizer), 0o755); err != nil {
		t.Fatal(err)
	}
	// Longer than a Unix socket's path may be.
	state := filepath.Join(t.TempDir(), strings.Repeat("s", 60), strings.Repeat("t", 60))
	kubeconfig := filepath.Join(state, "kubeconfig")
	t.Setenv("TMPDIR", t.TempDir())
	if _, err := bin(); err != nil {
		t.Fatal(err)
	}

	began := time.Now()
	// Small enough to be filled, and a pressure that need not be waited for.
	p := start(t, tools, "--stream", "--state-dir", state, "--store-quota=32Mi", "--pressure-transition", pressureTransition.String())
	stages := p.ready()
	t.Logf("first boot %.2f s: %s", time.Since(began).Seconds(), times(began, stages))
	s := connect(t, p, kubeconfig)

	t.Run("stages", func(t *testing.T) { testStages(t, stages) })
	t.Run("doors", func(t *testing.T) { testDoors(t, s) })
	t.Run("kubectl", func(t *testing.T) { testKubectl(t, kubeconfig) })
	t.Run("lock", func(t *testing.T) {
		second := start(t, tools, "--stream", "--state-dir", state)
		if code := second.exit(20 * time.Second); code != 1 || !strings.Contains(second.stderr.String(), fmt.Sprintf("process %d", p.cmd.Process.Pid)) {
			t.Errorf("second process: exit %d, %q; want 1 and process %d named", code, second.stderr, p.cmd.Process.Pid)
		}
	})
	t.Run("pods", func(t *testing.T) { testPods(t, s) })
	t.Run("crash", func(t *testing.T) { testCrash(t, s) })
	t.Run("eno", func(t *testing.T) { testEno(t, s) })
	t.Run("play", func(t *testing.T) { testPlay(t, s, state) })
	t.Run("full", func(t *testing.T) { testFullStore(t, s) })
	t.Run("child", func(t *testing.T) {
		before := p.children()["eno-controller"]
		if before == 0 {
			t.Fatalf("children %v, want eno-controller", p.children())
		}
		if err := syscall.Kill(before, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		eventually(t, 10*time.Second, "another eno-controller", func() bool {
			now := p.children()["eno-controller"]
			return now != 0 && now != before
		})
	})
	if t.Failed() {
		return
	}

	t.Run("kill", func(t *testing.T) {
		children := p.children()
		if len(children) != 2 {
			t.Errorf("children %v, want Eno's two", children)
		}
		// What a player has made of a node is kept.
		(&stage{scene: s, t: t}).patchNode("stage-1", `{"status":{"capacity":{"cpu":"3"},"allocatable":{"cpu":"3"}}}`, "status")
		acknowledged := ""
		for i := range 50 { // the last of these is acknowledged just before
			acknowledged = strconv.Itoa(i)
			cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "written-" + acknowledged}}
			if _, err := s.client.CoreV1().ConfigMaps("default").Create(t.Context(), cm, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
		}
		p.cmd.Process.Kill()
		p.exit(5 * time.Second)
		for name, pid := range children {
			eventually(t, 3*time.Second, name+" ended with its parent", func() bool { return gone(pid) })
		}

		began := time.Now()
		p = start(root, tools, "--stream", "--state-dir", state)
		stages := p.ready()
		t.Logf("second boot %.2f s: %s", time.Since(began).Seconds(), times(began, stages))
		// The client of before: address and credentials are the same.
		s.process = p
		if _, err := s.client.CoreV1().ConfigMaps("default").Get(t.Context(), "written-"+acknowledged, metav1.GetOptions{}); err != nil {
			t.Errorf("an acknowledged write is lost: %v", err)
		}
		if n := (&stage{scene: s, t: t}).node("stage-1"); n.Status.Allocatable.Cpu().String() != "3" {
			t.Errorf("stage-1 has %v of CPU after the second boot, want 3 as it was set", n.Status.Allocatable.Cpu())
		}
		d, err := s.client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
		if err != nil || d.Status.ReadyReplicas != 3 {
			t.Fatalf("deployment %+v, %v; want 3 ready", d, err)
		}
		// The simulation goes on at once, too.
		began = time.Now()
		scale(t, s, 4)
		eventually(t, 5*time.Second, "a fourth ready replica", func() bool {
			d, err := s.client.AppsV1().Deployments("default").Get(t.Context(), "web", metav1.GetOptions{})
			return err == nil && d.Status.ReadyReplicas == 4
		})
		t.Logf("fourth replica ready %.2f s after it was asked for", time.Since(began).Seconds())
	})

	t.Run("stop", func(t *testing.T) {
		children := p.children()
		// A client that watches must not hold up the end.
		w, err := s.client.CoreV1().Pods("").Watch(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		began := time.Now()
		p.stdin.Close()
		if code := p.exit(6 * time.Second); code != 0 {
			t.Errorf("exit code %d, want 0", code)
		}
		t.Logf("stop %.2f s", time.Since(began).Seconds())
		for name, pid := range children {
			if !gone(pid) {
				t.Errorf("%s is left", name)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(state, "run", "*")); len(left) != 0 {
			t.Errorf("left: %v", left)
		}
	})
}

func times(began time.Time, stages []mapping.Transition) string {
	var b strings.Builder
	for _, s := range stages {
		fmt.Fprintf(&b, "%s %.2f ", s.New, s.Time.Sub(began).Seconds())
	}
	return b.String()
}

func testStages(t *testing.T, stages []mapping.Transition) {
	var names []string
	last := ""
	for _, s := range stages {
		if s.Object != (mapping.Object{Kind: mapping.KindCluster, Name: "cluster"}) || s.Field != mapping.FieldBoot || s.Old != last {
			t.Errorf("transition %+v, want boot of the cluster from %q", s, last)
		}
		last = s.New
		names = append(names, s.New)
	}
	if len(names) != len(mapping.BootStages) || names[0] != mapping.BootStarted || names[1] != mapping.BootEtcd || last != mapping.BootReady {
		t.Errorf("stages %v: want started and etcd first, ready last, of %v", names, mapping.BootStages)
	}
	for _, want := range mapping.BootStages {
		if !slices.Contains(names, want) {
			t.Errorf("stage %s not told", want)
		}
	}
}

// testDoors looks for ways in: sockets, anonymous requests, readable files.
func testDoors(t *testing.T, s *scene) {
	pids := map[string]int{"cluster": s.cmd.Process.Pid}
	for name, pid := range s.children() {
		pids[name] = pid
	}
	for name, pid := range pids {
		want := 0
		if name == "cluster" {
			want = 2 // the API server's, and the metrics' for it
		}
		all := listeners(t, pid)
		if len(all) != want {
			t.Errorf("%s listens on %v, want %d", name, all, want)
		}
		for _, a := range all {
			if !strings.HasPrefix(a, "0100007F:") { // 127.0.0.1
				t.Errorf("%s listens on %s, want 127.0.0.1", name, a)
			}
		}
	}
	hc := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	for _, path := range []string{"/api", "/healthz", "/metrics", "/openapi/v2"} {
		r, err := hc.Get(s.config.Host + path)
		if err != nil {
			t.Fatal(err)
		}
		r.Body.Close()
		if r.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a certificate: %s, want 401", path, r.Status)
		}
	}
	tmp, err := filepath.Glob(filepath.Join(os.TempDir(), "k8s-synth-*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(tmp) != 1 { // for etcd's socket, since the state directory's path is too long
		t.Errorf("temporary directories %v, want one", tmp)
	}
	for _, d := range tmp {
		if i, err := os.Stat(d); err == nil && i.Mode().Perm() != 0o700 {
			t.Errorf("%s: mode %v, want 0700", d, i.Mode().Perm())
		}
	}
}

func testKubectl(t *testing.T, kubeconfig string) {
	kubectl, err := exec.LookPath("kubectl")
	if err != nil {
		t.Skip("no kubectl here")
	}
	out, err := exec.Command(kubectl, "--kubeconfig", kubeconfig, "get", "nodes", "--no-headers").CombinedOutput()
	if err != nil || strings.Count(string(out), " Ready ") != cluster.DefaultNodes {
		t.Errorf("kubectl get nodes: %v\n%s", err, out)
	}
}

func deployment(annotations map[string]string) *appsv1.Deployment {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(3)),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels, Annotations: annotations},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}},
			},
		},
	}
}

func scale(t *testing.T, s *scene, n int) {
	t.Helper()
	patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n)
	if _, err := s.client.AppsV1().Deployments("default").Patch(t.Context(), "web", types.MergePatchType, patch, metav1.PatchOptions{}, "scale"); err != nil {
		t.Fatal(err)
	}
}

// look is what can be seen of a pod at one moment.
type look struct {
	at    time.Time
	state string
	pod   *corev1.Pod
}

// watchPods notes each change of what can be seen of the default namespace's
// pods, from before begin is called until done says so.
func watchPods(ctx context.Context, t *testing.T, s *scene, begin func(), done func(map[string][]look) bool) map[string][]look {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w, err := s.client.CoreV1().Pods("default").Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	go begin()
	began, taken := time.Now(), stolen()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	all := map[string][]look{}
	for {
		select {
		case e := <-w.ResultChan():
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				t.Fatalf("watch: %+v; seen: %v", e.Object, states(all))
			}
			l := look{time.Now(), appearance(p), p}
			if e.Type == "DELETED" {
				l.state = "gone"
			}
			seen := all[p.Name]
			if len(seen) == 0 || seen[len(seen)-1].state != l.state {
				all[p.Name] = append(seen, l)
			}
			if done(all) {
				return all
			}
		case <-tick.C:
			if time.Since(began)-taken() > 20*time.Second {
				t.Fatalf("not within 20 s; seen: %v", states(all))
			}
		}
	}
}

func states(all map[string][]look) map[string][]string {
	m := map[string][]string{}
	for name, seen := range all {
		for _, l := range seen {
			m[name] = append(m[name], l.state)
		}
	}
	return m
}

// appearance is a pod's state in a word or two, as kubectl would put it.
func appearance(p *corev1.Pod) string {
	if p.DeletionTimestamp != nil {
		return "terminating"
	}
	if len(p.Status.ContainerStatuses) > 0 {
		c := p.Status.ContainerStatuses[0]
		switch {
		case c.State.Terminated != nil:
			return fmt.Sprintf("%s %d", c.State.Terminated.Reason, c.RestartCount)
		case c.State.Waiting != nil:
			return fmt.Sprintf("%s %d", c.State.Waiting.Reason, c.RestartCount)
		case podReady(p):
			return "ready"
		}
		return "running"
	}
	if p.Spec.NodeName != "" {
		return "scheduled"
	}
	return "pending"
}

func podReady(p *corev1.Pod) bool {
	return slices.ContainsFunc(p.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// slack is how much earlier than its delay something may be seen: we see the
// beginning late, too.
const slack = 30 * time.Millisecond

func testPods(t *testing.T, s *scene) {
	const startDelay, readyDelay, stopDelay = 350 * time.Millisecond, 450 * time.Millisecond, 300 * time.Millisecond
	taken := stolen()
	create := func() {
		d := deployment(map[string]string{
			cluster.AnnotationStart:   startDelay.String(),
			cluster.AnnotationReady:   readyDelay.String(),
			cluster.AnnotationStop:    stopDelay.String(),
			cluster.AnnotationBackOff: "200ms",
		})
		if _, err := s.client.AppsV1().Deployments("default").Create(t.Context(), d, metav1.CreateOptions{}); err != nil {
			t.Error(err)
		}
	}
	all := watchPods(t.Context(), t, s, create, func(all map[string][]look) bool {
		n := 0
		for _, seen := range all {
			if seen[len(seen)-1].state == "ready" {
				n++
			}
		}
		return n == 3
	})
	nodes, addresses := map[string]bool{}, map[string]bool{}
	name := ""
	for pod, seen := range all {
		name = pod
		got := states(map[string][]look{pod: seen})[pod]
		// Binding may come before we see it pending.
		if got[0] == "pending" {
			got, seen = got[1:], seen[1:]
		}
		if !slices.Equal(got, []string{"scheduled", "running", "ready"}) {
			t.Fatalf("%s: %v, want scheduled, running, ready", pod, got)
		}
		if d := seen[1].at.Sub(seen[0].at); d < startDelay-slack-taken() || d > startDelay+2*time.Second+taken() {
			t.Errorf("%s: running %v after it was scheduled, want %v", pod, d, startDelay)
		}
		if d := seen[2].at.Sub(seen[1].at); d < readyDelay-slack-taken() || d > readyDelay+2*time.Second+taken() {
			t.Errorf("%s: ready %v after it ran, want %v", pod, d, readyDelay)
		}
		p := seen[2].pod
		nodes[p.Spec.NodeName] = true
		addresses[p.Status.PodIP] = true
		if p.Status.Phase != corev1.PodRunning || p.Status.PodIP == "" || p.Status.HostIP == "" || p.Status.StartTime == nil {
			t.Errorf("%s: status %+v", pod, p.Status)
		}
		if p.Status.QOSClass == "" || p.Status.ContainerStatuses[0].Image != "web:1" {
			t.Errorf("%s: status %+v", pod, p.Status)
		}
	}
	if len(nodes) != 3 || len(addresses) != 3 {
		t.Errorf("nodes %v, addresses %v: want three of each", nodes, addresses)
	}

	taken = stolen()
	remove := func() {
		if err := s.client.CoreV1().Pods("default").Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	}
	all = watchPods(t.Context(), t, s, remove, func(all map[string][]look) bool {
		ready := 0
		for pod, seen := range all {
			if pod != name && seen[len(seen)-1].state == "ready" {
				ready++
			}
		}
		seen := all[name]
		return len(seen) > 0 && seen[len(seen)-1].state == "gone" && ready == 3
	})
	seen := all[name]
	got := states(all)[name]
	if len(got) < 2 || got[len(got)-2] != "terminating" {
		t.Fatalf("deleted pod: %v, want terminating, gone", got)
	}
	if d := seen[len(seen)-1].at.Sub(seen[len(seen)-2].at); d < stopDelay-slack-taken() || d > stopDelay+2*time.Second+taken() {
		t.Errorf("gone %v after it was deleted, want %v", d, stopDelay)
	}
}

func annotate(t *testing.T, s *scene, pod string, annotations map[string]any) {
	t.Helper()
	b, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": annotations}})
	if err == nil {
		_, err = s.client.CoreV1().Pods("default").Patch(t.Context(), pod, types.MergePatchType, b, metav1.PatchOptions{})
	}
	if err != nil {
		t.Error(err)
	}
}

func testCrash(t *testing.T, s *scene) {
	list, err := s.client.CoreV1().Pods("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) == 0 {
		t.Fatalf("pods: %v", err)
	}
	name := list.Items[0].Name
	taken := stolen()
	crash := func() {
		annotate(t, s, name, map[string]any{cluster.AnnotationCrash: "OOMKilled", cluster.AnnotationCrashes: "2"})
	}
	all := watchPods(t.Context(), t, s, crash, func(all map[string][]look) bool {
		seen := all[name]
		return len(seen) > 3 && seen[len(seen)-1].state == "ready"
	})
	got := states(all)[name]
	got = got[1:] // as it was
	want := []string{"OOMKilled 0", "CrashLoopBackOff 0", "running", "OOMKilled 1", "CrashLoopBackOff 1", "running", "ready"}
	if !slices.Equal(got, want) {
		t.Fatalf("crash: %v\nwant   %v", got, want)
	}
	seen := all[name][1:]
	first, second := seen[2].at.Sub(seen[1].at), seen[5].at.Sub(seen[4].at)
	if first < 200*time.Millisecond-slack-taken() || second < 400*time.Millisecond-slack-taken() {
		t.Errorf("back-offs %v and %v, want 200 ms and its double", first, second)
	}
	if c := seen[0].pod.Status.ContainerStatuses[0]; c.State.Terminated.ExitCode != 137 || c.Ready {
		t.Errorf("killed: %+v", c)
	}
	if c := seen[1].pod.Status.ContainerStatuses[0]; c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.Reason != "OOMKilled" {
		t.Errorf("backing off: %+v", c)
	}
	if c := seen[6].pod.Status.ContainerStatuses[0]; c.RestartCount != 2 || seen[6].pod.UID != seen[0].pod.UID {
		t.Errorf("back: %+v", c)
	}
	annotate(t, s, name, map[string]any{cluster.AnnotationCrash: nil, cluster.AnnotationCrashes: nil})
}

// testEno drives a synthesis through Eno, the Runner and a program.
func testEno(t *testing.T, s *scene) {
	objects := `
apiVersion: v1
kind: ConfigMap
metadata: {name: question, namespace: default}
data: {note: first}
---
apiVersion: eno.azure.io/v1
kind: Synthesizer
metadata: {name: test}
spec:
  image: none
  command: [test-synthesizer]
  refs:
  - key: question
    defer: false
    resource: {version: v1, kind: ConfigMap}
---
apiVersion: eno.azure.io/v1
kind: Composition
metadata: {name: test, namespace: default}
spec:
  synthesizer: {name: test}
  bindings:
  - key: question
    resource: {name: question, namespace: default}
`
	resources := map[string]schema.GroupVersionResource{
		"ConfigMap":   {Version: "v1", Resource: "configmaps"},
		"Synthesizer": {Group: "eno.azure.io", Version: "v1", Resource: "synthesizers"},
		"Composition": {Group: "eno.azure.io", Version: "v1", Resource: "compositions"},
	}
	var pods sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	w, err := s.client.CoreV1().Pods(cluster.EnoNamespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	succeeded := 0
	pods.Go(func() {
		for e := range w.ResultChan() {
			p, ok := e.Object.(*corev1.Pod)
			if !ok {
				continue
			}
			if p.Spec.NodeName != "" {
				t.Errorf("synthesizer pod %s is bound to node %s", p.Name, p.Spec.NodeName)
			}
			if p.Status.Phase == corev1.PodSucceeded && e.Type == "MODIFIED" {
				succeeded++
			}
		}
	})
	for _, y := range strings.Split(objects, "---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(y), &u.Object); err != nil {
			t.Fatal(err)
		}
		if _, err := s.dynamic.Resource(resources[u.GetKind()]).Namespace(u.GetNamespace()).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	answer := func() string {
		cm, err := s.client.CoreV1().ConfigMaps("default").Get(t.Context(), "answer", metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return cm.Data["note"]
	}
	eventually(t, 15*time.Second, "answer to the first question", func() bool { return answer() == "first" })
	began := time.Now()
	if _, err := s.client.CoreV1().ConfigMaps("default").Patch(t.Context(), "question", types.MergePatchType, []byte(`{"data":{"note":"second"}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, 15*time.Second, "answer to the second question", func() bool { return answer() == "second" })
	t.Logf("question to answer %v", time.Since(began).Round(time.Millisecond))
	time.Sleep(50 * time.Millisecond) // for the watch to deliver
	cancel()
	w.Stop()
	pods.Wait()
	if succeeded == 0 {
		t.Error("no synthesizer pod was reported as succeeded")
	}
}

// TestEphemeral runs the program as a human does, and interrupts it.
func TestEphemeral(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	p := start(t, "", "--ephemeral", "--nodes=1")
	eventually(t, 60*time.Second, "cluster ready", func() bool { return strings.Contains(p.stderr.String(), "kubectl --kubeconfig") })
	for _, want := range []string{"etcd ready", "API server ready", "nodes ready", "Eno running", "cluster ready"} {
		if !strings.Contains(p.stderr.String(), want) {
			t.Errorf("no %q in:\n%s", want, p.stderr)
		}
	}
	dirs, _ := filepath.Glob(filepath.Join(tmp, "k8s-synth-cluster-*", "kubeconfig"))
	if len(dirs) != 1 {
		t.Fatalf("kubeconfigs %v, want one under the temporary directory", dirs)
	}
	s := connect(t, p, dirs[0])
	nodes, err := s.client.CoreV1().Nodes().List(t.Context(), metav1.ListOptions{})
	if err != nil || len(nodes.Items) != 1 {
		t.Errorf("nodes: %d, %v; want 1", len(nodes.Items), err)
	}
	began := time.Now()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(6 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("stop %.2f s", time.Since(began).Seconds())
	if strings.Contains(p.stderr.String(), "level=") {
		t.Errorf("a run without trouble logs:\n%s", p.stderr)
	}
	if left, _ := filepath.Glob(filepath.Join(tmp, "k8s-synth*")); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

// TestInterruptedBoot ends the program while it starts.
func TestInterruptedBoot(t *testing.T) {
	state := filepath.Join(t.TempDir(), "state")
	p := start(t, "", "--stream", "--state-dir", state, "--ephemeral")
	for s := range p.stages {
		if s.New == mapping.BootEtcd {
			break
		}
	}
	began := time.Now()
	p.cmd.Process.Signal(syscall.SIGTERM)
	if code := p.exit(6 * time.Second); code != 0 {
		t.Errorf("exit code %d, want 0", code)
	}
	t.Logf("stop %.2f s", time.Since(began).Seconds())
	if p.stderr.String() != "" {
		t.Errorf("a stop while it starts logs:\n%s", p.stderr)
	}
	if _, err := os.Stat(state); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("ephemeral state is left: %v", err)
	}
}

// TestReaderDied closes the stream's other end during the boot: the program
// must end in order when its input ends, not by a signal at its next write.
func TestReaderDied(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := bin()
	if err != nil {
		t.Fatal(err)
	}
	state := filepath.Join(t.TempDir(), "state")
	c := exec.Command(exe, "--stream", "--bin="+dir, "--state-dir", state)
	c.Env = append(os.Environ(), asProgram+"=1")
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	c.Stdout = w
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	for d := mapping.NewDecoder(r); ; {
		m, err := d.Decode()
		if err != nil {
			t.Fatal(err)
		}
		if m.Transition != nil && m.Transition.New == mapping.BootEtcd {
			break
		}
	}
	r.Close()
	exited := make(chan error, 1)
	go func() { exited <- c.Wait() }()
	defer c.Process.Kill()
	// Later than the scheduler's stage, as a rule.
	eventually(t, 30*time.Second, "Eno's programs start", func() bool {
		pids, _ := filepath.Glob(filepath.Join(state, "run", "*.pid"))
		return len(pids) == 2
	})
	stdin.Close()
	select {
	case err := <-exited:
		if err != nil {
			t.Errorf("ended with %v, want success", err)
		}
	case <-time.After(6 * time.Second):
		t.Error("still runs 6 s after its input ended")
	}
}

// TestBadInput starts nothing.
func TestBadInput(t *testing.T) {
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "mine"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name, want string
		args       []string
	}{
		{"nodes", "expected 0 to 250", []string{"--nodes=251", "--state-dir", t.TempDir()}},
		{"full directory with ephemeral", "expected an empty or new directory", []string{"--ephemeral", "--state-dir", full}},
		{"node too small", "expected at least 200Mi", []string{"--node-memory=100Mi", "--state-dir", t.TempDir()}},
		{"node of no CPU", "expected at least 10m", []string{"--node-cpu=1m", "--state-dir", t.TempDir()}},
		{"not a quantity", "invalid argument", []string{"--node-cpu=four", "--state-dir", t.TempDir()}},
		{"store too small", "expected at least 16Mi", []string{"--store-quota=1Mi", "--state-dir", t.TempDir()}},
		{"argument", "unknown command", []string{"play"}},
		{"no cluster", "no cluster has been started", []string{"kubeconfig", "--state-dir", t.TempDir()}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			exe, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			c := exec.Command(exe, tt.args...)
			c.Env = append(os.Environ(), asProgram+"=1")
			out, err := c.CombinedOutput()
			if c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), tt.want) {
				t.Errorf("%v: exit %v, %q; want 1 and %q", tt.args, err, out, tt.want)
			}
		})
	}
	if _, err := os.Stat(filepath.Join(full, "mine")); err != nil {
		t.Errorf("a file of somebody else: %v", err)
	}
}
