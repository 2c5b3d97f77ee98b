package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
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
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

const namespace = "k8s-synth"

// callsEnd ends a call that hangs. Each wait between the calls of a test has a
// limit of its own, and together they may take longer than any one of these.
const callsEnd = 10 * time.Minute

// programs returns a directory with the cluster's programs as they were built
// for the repository, and ours, built now; or with all of them as they are in
// the folder that K8S_SYNTH_BIN names.
func programs(t *testing.T) string {
	t.Helper()
	dir, err := builtPrograms()
	if errors.Is(err, os.ErrNotExist) && os.Getenv("K8S_SYNTH_E2E") != "1" {
		t.Skipf("make builds what is needed, K8S_SYNTH_BIN names another folder than bin: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	return dir
}

// builtPrograms is one directory for all tests: linking takes longer than most
// of them. TestMain removes it.
var builtPrograms = sync.OnceValues(func() (dir string, err error) {
	cluster, ours := []string{"k8s-synth-cluster", "eno-controller", "eno-reconciler"}, []string{"k8s-synth-kube", "topology-synthesizer"}
	from := os.Getenv("K8S_SYNTH_BIN")
	if from == "" {
		from = filepath.Join("..", "..", "bin")
	} else {
		cluster, ours = append(cluster, ours...), nil
	}
	if dir, err = os.MkdirTemp("", "k8s-synth-kube-"); err != nil {
		return "", err
	}
	programsDir = dir
	for _, name := range cluster {
		if err := place(filepath.Join(from, name), filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("the embedded cluster is needed: %w", err)
		}
	}
	for _, name := range ours {
		out, err := exec.Command("go", "build", "-o", filepath.Join(dir, name), "../"+name).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("building %s: %v\n%s", name, err, out)
		}
	}
	return dir, nil
})

var programsDir string

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

func TestMain(m *testing.M) {
	go nap()
	code := m.Run()
	if programsDir != "" {
		_ = os.RemoveAll(programsDir)
	}
	os.Exit(code)
}

// place links a file, or copies it to another file system. A symbolic link
// would not do: the cluster looks for its programs beside its own.
func place(from, to string) error {
	if err := os.Link(from, to); err == nil || errors.Is(err, os.ErrNotExist) {
		return err
	}
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// rig is a cluster and the program under test beside it.
type rig struct {
	t          *testing.T
	bin, state string
	cluster    *exec.Cmd
	kube       *exec.Cmd
	stdin      io.WriteCloser
	ended      chan error
	generation int64

	mu       sync.Mutex
	changed  chan struct{} // closed at each message
	ts       []mapping.Transition
	problems []mapping.Problem
	edits    []mapping.Edit
	// fields is what the transitions lead to; faults are transitions that do
	// not follow from what was told before.
	fields map[mapping.Object]map[string]string
	faults []string
	log    bytes.Buffer
}

func newRig(t *testing.T, flags ...string) *rig {
	t.Helper()
	r := &rig{t: t, bin: programs(t), state: filepath.Join(t.TempDir(), "state"), changed: make(chan struct{}), fields: map[mapping.Object]map[string]string{}}
	r.startCluster()
	t.Cleanup(r.stopCluster)
	r.startKube(flags...)
	return r
}

func (r *rig) kubeconfig() string { return filepath.Join(r.state, "kubeconfig") }

func (r *rig) startCluster() {
	r.t.Helper()
	r.cluster = exec.Command(filepath.Join(r.bin, "k8s-synth-cluster"), "--state-dir", r.state)
	log, err := os.Create(filepath.Join(r.t.TempDir(), "cluster.log"))
	if err != nil {
		r.t.Fatal(err)
	}
	r.cluster.Stdout, r.cluster.Stderr = log, log
	if err := r.cluster.Start(); err != nil {
		r.t.Fatal(err)
	}
	_ = log.Close()
}

func (r *rig) stopCluster() {
	_ = r.cluster.Process.Signal(syscall.SIGCONT)
	_ = r.cluster.Process.Signal(syscall.SIGTERM)
	timer := time.AfterFunc(20*time.Second, func() { _ = r.cluster.Process.Kill() })
	defer timer.Stop()
	_ = r.cluster.Wait()
}

func (r *rig) startKube(flags ...string) {
	r.t.Helper()
	r.kube = exec.Command(filepath.Join(r.bin, "k8s-synth-kube"), append([]string{"--verbose", "--kubeconfig", r.kubeconfig()}, flags...)...)
	var err error
	if r.stdin, err = r.kube.StdinPipe(); err != nil {
		r.t.Fatal(err)
	}
	stdout, err := r.kube.StdoutPipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.kube.Stderr = &r.log
	if err := r.kube.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.ended = make(chan error, 1)
	go func() {
		r.read(stdout)
		r.ended <- r.kube.Wait()
	}()
	r.t.Cleanup(func() {
		r.endKube()
		if r.t.Failed() {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Logf("log of k8s-synth-kube:\n%s\nproblems: %v", r.log.String(), r.problems)
		}
	})
}

func (r *rig) endKube() {
	if r.kube == nil {
		return
	}
	_ = r.stdin.Close()
	taken, given := stolen(), time.Duration(0)
	deadline := time.NewTimer(5 * time.Second)
	defer deadline.Stop()
	for r.kube != nil {
		select {
		case err := <-r.ended:
			if err != nil {
				r.t.Errorf("k8s-synth-kube ended with %v", err)
			}
			r.kube = nil
		case <-deadline.C:
			if more := taken() - given; more > 0 {
				given += more
				deadline.Reset(more)
				continue
			}
			r.t.Error("k8s-synth-kube did not end with its input")
			_ = r.kube.Process.Kill()
			<-r.ended // its log is written until then
			r.kube = nil
		}
	}
}

func (r *rig) read(stdout io.Reader) {
	d := mapping.NewDecoder(bufio.NewReader(stdout))
	for n := 0; ; n++ {
		m, err := d.Decode()
		if err != nil {
			return
		}
		r.mu.Lock()
		if (n == 0) != (m.Hello != nil) {
			r.faults = append(r.faults, fmt.Sprintf("message %d: a hello comes first and only then", n))
		}
		if m.Transition != nil {
			r.ts = append(r.ts, *m.Transition)
			r.follow(*m.Transition)
		}
		if m.Edit != nil {
			r.edits = append(r.edits, *m.Edit)
		}
		if m.Problem != nil {
			r.problems = append(r.problems, *m.Problem)
		}
		close(r.changed)
		r.changed = make(chan struct{})
		r.mu.Unlock()
	}
}

// follow checks that a transition starts where the last one of its field ended:
// one that was lost or told twice does not.
func (r *rig) follow(t mapping.Transition) {
	switch t.Field {
	case mapping.FieldRoute, mapping.FieldServed, mapping.FieldMissed, mapping.FieldNotFound:
		return // events, not states
	case mapping.FieldLatency:
		if t.Object.Kind == mapping.KindService || t.Object.Kind == mapping.KindIngress {
			return
		}
	}
	fields := r.fields[t.Object]
	if fields[t.Field] != t.Old || t.Old == t.New {
		r.faults = append(r.faults, fmt.Sprintf("%v %s goes from %q to %q, but was %q", t.Object, t.Field, t.Old, t.New, fields[t.Field]))
	}
	if t.Field == mapping.FieldExists && t.New == "" {
		delete(r.fields, t.Object)
		return
	}
	if fields == nil {
		fields = map[string]string{}
		r.fields[t.Object] = fields
	}
	fields[t.Field] = t.New
}

// wait waits until ok, which is called with the lock held, is true.
func (r *rig) wait(what string, timeout time.Duration, ok func() bool) time.Duration {
	r.t.Helper()
	begin, taken, given := time.Now(), stolen(), time.Duration(0)
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	for {
		r.mu.Lock()
		done, changed := ok(), r.changed
		r.mu.Unlock()
		if done {
			return time.Since(begin)
		}
		select {
		case <-changed:
		case err := <-r.ended:
			r.ended <- err
			r.t.Fatalf("k8s-synth-kube ended while waiting for %s: %v", what, err)
		case <-deadline.C:
			if more := taken() - given; more > 0 {
				given += more
				deadline.Reset(more)
				continue
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.t.Fatalf("waited %v for %s; known: %v", timeout, what, r.fields)
		}
	}
}

// field returns a field of the object of a kind and name. The lock is held.
func (r *rig) field(kind, name, field string) string {
	for o, fields := range r.fields {
		if o.Kind == kind && o.Name == name {
			return fields[field]
		}
	}
	return ""
}

// ready counts the ready pods that a Deployment owns. The lock is held.
func (r *rig) ready(owner string) int {
	owned := map[mapping.Object]bool{}
	for _, t := range r.ts {
		if t.Object.Kind == mapping.KindPod && t.Owner == owner {
			owned[t.Object] = true
		}
	}
	n := 0
	for o := range owned {
		if f := r.fields[o]; f[mapping.FieldReady] == "true" && f[mapping.FieldDeleting] == "" {
			n++
		}
	}
	return n
}

func (r *rig) send(m mapping.Message) {
	r.t.Helper()
	line, err := json.Marshal(m)
	if err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.stdin.Write(append(line, '\n')); err != nil {
		r.t.Fatalf("writing to k8s-synth-kube: %v", err)
	}
}

func (r *rig) topology(replicas int, pods ...string) mapping.Topology {
	r.generation++
	quick := func(params mapping.TopologyModule) mapping.TopologyModule {
		for _, name := range []string{"start_delay", "ready_delay", "stop_delay"} {
			params[name] = 0.1
		}
		params["delay_jitter"] = 0.0
		return params
	}
	t := mapping.Topology{Version: mapping.TopologyVersion, Generation: r.generation, Namespace: namespace, Modules: map[instrument.ModuleID]mapping.TopologyModule{
		"deployment/web": quick(mapping.TopologyModule{"replicas": float64(replicas)}),
	}}
	for _, name := range pods {
		t.Modules[instrument.ModuleID("pod/"+name)] = quick(mapping.TopologyModule{"hold": true})
	}
	return t
}

func (r *rig) publish(t mapping.Topology) { r.t.Helper(); r.send(mapping.Message{Topology: &t}) }

func (r *rig) client() kubernetes.Interface {
	r.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", r.kubeconfig())
	if err != nil {
		r.t.Fatal(err)
	}
	config.QPS = -1
	config.WarningHandler = rest.NoWarnings{}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

// synced waits until the API answers and every watch has its first list. Both
// are asked for: of one that is lost the first to be told is that it cannot be
// reached, and until the next message it is still said to be synced.
func (r *rig) synced() {
	r.t.Helper()
	r.wait("the API", 60*time.Second, func() bool {
		return r.field(mapping.KindAPIServer, mapping.KindAPIServer, mapping.FieldReachable) == "true" &&
			r.field(mapping.KindAPIServer, mapping.KindAPIServer, mapping.FieldSynced) == "true"
	})
}

func (r *rig) converged(replicas int, timeout time.Duration) time.Duration {
	r.t.Helper()
	n := strconv.Itoa(replicas)
	return r.wait(n+" ready replicas", timeout, func() bool {
		return r.field(mapping.KindDeployment, "web", mapping.FieldReplicas) == n &&
			r.field(mapping.KindDeployment, "web", mapping.FieldReadyPods) == n && r.ready("web") == replicas
	})
}

// sound compares what the transitions led to with what the cluster holds, and
// fails on every transition that did not follow from the last.
func (r *rig) sound() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := r.client()
	var difference string
	for range 50 { // until the last events have arrived
		pods, err := c.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			r.t.Fatal(err)
		}
		want := map[string]string{}
		for _, p := range pods.Items {
			ready := "false"
			for _, condition := range p.Status.Conditions {
				if condition.Type == "Ready" && condition.Status == "True" {
					ready = "true"
				}
			}
			want[string(p.UID)] = p.Name + " " + p.Spec.NodeName + " " + string(p.Status.Phase) + " " + ready
		}
		got := map[string]string{}
		r.mu.Lock()
		for o, f := range r.fields {
			if o.Kind == mapping.KindPod {
				got[o.UID] = o.Name + " " + f[mapping.FieldNode] + " " + f[mapping.FieldPhase] + " " + f[mapping.FieldReady]
			}
		}
		r.mu.Unlock()
		difference = ""
		if fmt.Sprint(got) != fmt.Sprint(want) {
			difference = fmt.Sprintf("the transitions lead to\n%v\nbut the cluster holds\n%v", got, want)
		}
		if difference == "" {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	if difference != "" {
		r.t.Error(difference)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.faults {
		r.t.Error(f)
	}
	r.faults = nil
}

// mark returns how many transitions were told so far.
func (r *rig) mark() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.ts)
}

// TestAgainstTheEmbeddedCluster plays a real control plane with a real Eno
// through the real program, and kills it in the middle.
func TestAgainstTheEmbeddedCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	r := newRig(t)
	ctx, cancel := context.WithTimeout(context.Background(), callsEnd)
	defer cancel()

	// A topology of three, before the API is even there.
	begin := time.Now()
	r.publish(r.topology(3, "kick"))
	r.converged(3, 90*time.Second)
	t.Logf("three ready %v after start", time.Since(begin).Round(10*time.Millisecond))
	r.wait("the bare pod", 20*time.Second, func() bool { return r.field(mapping.KindPod, "kick", mapping.FieldReady) == "true" })
	r.wait("the synthesis", 10*time.Second, func() bool {
		return r.field(mapping.KindComposition, eno.CompositionName, mapping.FieldSynthesis) == "1" &&
			r.field(mapping.KindComposition, eno.CompositionName, mapping.FieldReady) == "true" &&
			r.field(mapping.KindComposition, eno.CompositionName, mapping.FieldLatency) != ""
	})

	// Scale, and every pod tells its life in order.
	from := r.mark()
	r.publish(r.topology(5, "kick"))
	t.Logf("scaled to 5 in %v", r.converged(5, 20*time.Second).Round(time.Millisecond))
	r.mu.Lock()
	lives := map[mapping.Object][]string{}
	for _, tr := range r.ts[from:] {
		if tr.Object.Kind == mapping.KindPod && tr.Owner == "web" {
			switch tr.Field {
			case mapping.FieldExists, mapping.FieldNode, mapping.FieldPhase, mapping.FieldReady:
				if tr.Quiet || tr.Replica == "" {
					t.Errorf("a live pod is quiet or has no replica: %+v", tr)
				}
				lives[tr.Object] = append(lives[tr.Object], tr.Field)
			}
		}
	}
	r.mu.Unlock()
	if len(lives) != 2 {
		t.Errorf("%d pods changed while two were added", len(lives))
	}
	for o, life := range lives {
		if want := "exists phase ready node phase ready"; strings.Join(life, " ") != want {
			t.Errorf("%v lived %q, want %q", o, strings.Join(life, " "), want)
		}
	}
	r.sound()

	// A pod is deleted by an action, and replaced by its Deployment.
	r.mu.Lock()
	var victim mapping.Object
	for o, f := range r.fields {
		if o.Kind == mapping.KindPod && o.Name != "kick" && f[mapping.FieldReady] == "true" {
			victim = o
		}
	}
	r.mu.Unlock()
	r.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbDelete, Object: victim}})
	r.wait("the end of "+victim.Name, 20*time.Second, func() bool { return r.fields[victim] == nil })
	r.converged(5, 20*time.Second)

	// A pod without our label is left alone, and the player is told.
	c := r.client()
	foreign := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"foreign"},"spec":{"containers":[{"name":"c","image":"i"}]}}`)
	if err := c.CoreV1().RESTClient().Post().Namespace(namespace).Resource("pods").Body(foreign).SetHeader("Content-Type", "application/json").Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	r.wait("the foreign pod", 10*time.Second, func() bool { return r.field(mapping.KindPod, "foreign", mapping.FieldExists) == "true" })
	r.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbDelete, Object: mapping.Object{Kind: mapping.KindPod, Name: "foreign"}}})
	r.wait("a refusal", 10*time.Second, func() bool {
		return slices.ContainsFunc(r.problems, func(p mapping.Problem) bool {
			return strings.Contains(p.Text, "foreign") && strings.Contains(p.Text, "label")
		})
	})
	if _, err := c.CoreV1().Pods(namespace).Get(ctx, "foreign", metav1.GetOptions{}); err != nil {
		t.Errorf("the foreign pod: %v", err)
	}

	// A write is a write: the store's revision goes on.
	before := revision(r)
	r.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbWrite, Object: mapping.Object{Name: "a"}}})
	r.wait("the write", 5*time.Second, func() bool {
		n, _ := strconv.ParseInt(r.field(mapping.KindEtcd, mapping.KindEtcd, mapping.FieldRevision), 10, 64)
		return n > before
	})
	r.wait("its object", 5*time.Second, func() bool {
		cm, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, "k8s-synth-writes", metav1.GetOptions{})
		return err == nil && cm.Data["a"] != ""
	})

	// Drift: another hand scales, another deletes a pod. What may be mended
	// before anybody looks is looked for in what was told, and not in the state.
	begin = time.Now()
	from = r.mark()
	if kubectl, err := exec.LookPath("kubectl"); err == nil {
		if out, err := exec.CommandContext(ctx, kubectl, "--kubeconfig", r.kubeconfig(), "-n", namespace, "scale", "deployment/web", "--replicas=1").CombinedOutput(); err != nil {
			t.Fatalf("kubectl scale: %v\n%s", err, out)
		}
	} else {
		scale, err := c.AppsV1().Deployments(namespace).GetScale(ctx, "web", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		scale.ResourceVersion, scale.Spec.Replicas = "", 1 // whatever its controller writes meanwhile
		if _, err := c.AppsV1().Deployments(namespace).UpdateScale(ctx, "web", scale, metav1.UpdateOptions{FieldManager: "kubectl"}); err != nil {
			t.Fatal(err)
		}
	}
	r.wait("the drift", 10*time.Second, func() bool {
		return slices.ContainsFunc(r.ts[from:], func(tr mapping.Transition) bool {
			return tr.Object.Kind == mapping.KindDeployment && tr.Object.Name == "web" && tr.Field == mapping.FieldReplicas && tr.New == "1"
		})
	})
	r.wait("its repair", 10*time.Second, func() bool { return r.field(mapping.KindDeployment, "web", mapping.FieldReplicas) == "5" })
	t.Logf("drift repaired in %v", time.Since(begin).Round(time.Millisecond))
	r.converged(5, 20*time.Second)
	from = r.mark()
	if err := c.CoreV1().Pods(namespace).Delete(ctx, "kick", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	r.wait("a new bare pod", 20*time.Second, func() bool {
		return slices.ContainsFunc(r.ts[from:], func(tr mapping.Transition) bool {
			return tr.Object.Name == "kick" && tr.Field == mapping.FieldReady && tr.New == "true"
		})
	})
	r.sound()

	// The control plane is killed, the knob is turned, and it comes back. How
	// long a loss may take to be told is asked of a machine that is ours: this
	// test is not parallel, and what others take nevertheless does not count.
	taken := stolen()
	uids := podsOf(r, "web")
	from = r.mark()
	_ = r.cluster.Process.Kill()
	killed := time.Now()
	_ = r.cluster.Wait()
	r.wait("the loss", 3*time.Second, func() bool {
		return r.field(mapping.KindAPIServer, mapping.KindAPIServer, mapping.FieldReachable) == "false"
	})
	if lost := time.Since(killed) - taken(); lost > 1200*time.Millisecond {
		t.Errorf("the loss was told after %v, want about a second at most", lost)
	} else {
		t.Logf("loss told after %v", lost.Round(time.Millisecond))
	}
	r.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbDelete, Object: mapping.Object{Kind: mapping.KindPod, Name: "kick"}}})
	for n := 4; n >= 2; n-- { // of what is turned meanwhile, the last counts
		r.publish(r.topology(n, "kick"))
	}
	time.Sleep(2 * time.Second)
	restarted := time.Now()
	r.startCluster()
	r.synced()
	t.Logf("synced %v after the restart", time.Since(restarted).Round(time.Millisecond))
	r.mu.Lock()
	// What the lists told is quiet, and nothing of it is new: the pods of
	// before are the same pods.
	for _, tr := range r.ts[from:] {
		if tr.Object.Kind == mapping.KindPod && tr.Field == mapping.FieldExists && tr.New == "true" && uids[tr.Object.UID] {
			t.Errorf("a pod that lived on was told to appear: %+v", tr)
		}
	}
	r.mu.Unlock()
	r.converged(2, 60*time.Second)
	t.Logf("what was turned meanwhile is there %v after the restart", time.Since(restarted).Round(time.Millisecond))
	r.sound()

	// A hang is a loss too: the connections stay open, but nothing answers.
	taken = stolen()
	_ = r.cluster.Process.Signal(syscall.SIGSTOP)
	stopped := time.Now()
	r.wait("the hang", 5*time.Second, func() bool {
		return r.field(mapping.KindAPIServer, mapping.KindAPIServer, mapping.FieldReachable) == "false"
	})
	if d := time.Since(stopped) - taken(); d > 2*time.Second {
		t.Errorf("the hang was told after %v", d)
	} else {
		t.Logf("hang told after %v", d.Round(time.Millisecond))
	}
	_ = r.cluster.Process.Signal(syscall.SIGCONT)
	r.synced()
	r.publish(r.topology(3, "kick"))
	r.converged(3, 30*time.Second)
	r.sound()

	// A topology that cannot be is refused with its place, and the one edited
	// in by another hand is Eno's error; the next good one recovers.
	bad := r.topology(17)
	r.publish(bad)
	r.wait("the refusal", 5*time.Second, func() bool {
		return slices.ContainsFunc(r.problems, func(p mapping.Problem) bool {
			return strings.Contains(p.Text, "deployment/web.replicas")
		})
	})
	text, err := eno.Encode(bad)
	if err != nil {
		t.Fatal(err)
	}
	patch, _ := json.Marshal(map[string]any{"data": map[string]string{eno.ConfigMapKey: text}})
	if _, err := r.client().CoreV1().ConfigMaps(namespace).Patch(ctx, eno.ConfigMapName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "kubectl-edit"}); err != nil {
		t.Fatal(err)
	}
	r.wait("Eno's error", 20*time.Second, func() bool {
		return strings.Contains(r.field(mapping.KindComposition, eno.CompositionName, mapping.FieldReason), "deployment/web")
	})
	r.publish(r.topology(4, "kick"))
	recovered := r.converged(4, 30*time.Second)
	t.Logf("four ready %v after an error of the synthesis", recovered.Round(time.Millisecond))
	r.wait("the error's end", 10*time.Second, func() bool {
		return r.field(mapping.KindComposition, eno.CompositionName, mapping.FieldReason) == ""
	})
	r.sound()

	// Another hand takes away what the topology hangs on.
	c = r.client()
	if err := c.CoreV1().ConfigMaps(namespace).Delete(ctx, eno.ConfigMapName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	begin = time.Now()
	for {
		if _, err := c.CoreV1().ConfigMaps(namespace).Get(ctx, eno.ConfigMapName, metav1.GetOptions{}); err == nil {
			break
		}
		if time.Since(begin) > 15*time.Second {
			t.Fatal("the deleted topology was not written again")
		}
		time.Sleep(50 * time.Millisecond)
	}
	from = r.mark()
	if err := c.Discovery().RESTClient().Delete().AbsPath("/apis/eno.azure.io/v1/namespaces/" + namespace + "/compositions/" + eno.CompositionName).Do(ctx).Error(); err != nil {
		t.Fatal(err)
	}
	r.wait("a new Deployment", 40*time.Second, func() bool {
		return slices.ContainsFunc(r.ts[from:], func(tr mapping.Transition) bool {
			return tr.Object.Kind == mapping.KindDeployment && tr.Field == mapping.FieldExists && tr.New == "true"
		})
	})
	r.converged(4, 30*time.Second)
	r.sound()
}

// TestListenOnlyNeedsNoMoreThanToRead observes with an account that may get,
// list and watch and nothing else, beside a player that plays.
func TestListenOnlyNeedsNoMoreThanToRead(t *testing.T) {
	if testing.Short() {
		t.Skip("needs a control plane; not in -short")
	}
	t.Parallel()
	r := newRig(t)
	r.publish(r.topology(2, "kick"))
	r.converged(2, 90*time.Second)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := r.client()
	if _, err := c.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "listener"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "listener"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"pods", "nodes"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"get", "list", "watch"}},
	}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: "listener"},
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "listener"},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Name: "listener", Namespace: namespace}}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	token, err := c.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "listener", &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config, err := clientcmd.LoadFromFile(r.kubeconfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range config.AuthInfos {
		*user = clientcmdapi.AuthInfo{Token: token.Status.Token}
	}
	file := filepath.Join(t.TempDir(), "listener")
	if err := clientcmd.WriteToFile(*config, file); err != nil {
		t.Fatal(err)
	}
	// The API server learns of a binding a moment after it is made; who is
	// refused asks again after seconds only.
	listening, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		t.Fatal(err)
	}
	reader, err := kubernetes.NewForConfig(listening)
	if err != nil {
		t.Fatal(err)
	}
	r.eventually("the account's rights", 10*time.Second, func() error {
		_, err := reader.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
		return err
	})
	listener := &rig{t: t, bin: r.bin, state: r.state, changed: make(chan struct{}), fields: map[mapping.Object]map[string]string{}}
	listener.startKube("--kubeconfig", file, "--listen-only", "--heartbeat", "200ms")
	listener.synced()
	listener.converged(2, 5*time.Second)
	listener.publish(listener.topology(9))
	listener.send(mapping.Message{Action: &mapping.Action{Verb: mapping.VerbDelete, Object: mapping.Object{Kind: mapping.KindPod, Name: "kick"}}})
	listener.wait("two refusals", 5*time.Second, func() bool {
		n := 0
		for _, p := range listener.problems {
			if strings.Contains(p.Text, "listening only") {
				n++
			}
		}
		return n == 2
	})
	r.publish(r.topology(4, "kick"))
	r.converged(4, 20*time.Second)
	listener.converged(4, 5*time.Second)
	listener.wait("the store's revision", 5*time.Second, func() bool {
		return listener.field(mapping.KindEtcd, mapping.KindEtcd, mapping.FieldRevision) != ""
	})
	listener.sound()
	r.sound()
}

func podsOf(r *rig, owner string) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for _, t := range r.ts {
		if t.Object.Kind == mapping.KindPod && t.Owner == owner && r.fields[t.Object] != nil {
			out[t.Object.UID] = true
		}
	}
	return out
}

func revision(r *rig) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, _ := strconv.ParseInt(r.field(mapping.KindEtcd, mapping.KindEtcd, mapping.FieldRevision), 10, 64)
	return n
}

// TestProofKnob measures the knob: its latency against that of Eno alone, and
// the storms of a hundred and of a thousand changes.
func TestProofKnob(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("a measurement of a minute; K8S_SYNTH_PROOF=1 runs it")
	}
	r := newRig(t)
	r.publish(r.topology(1))
	r.converged(1, 90*time.Second)
	time.Sleep(3 * time.Second) // the boot's own work ends
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()

	// Eno alone: a bare patch of the ConfigMap, a bare watch of the Deployment.
	c := r.client()
	w, err := c.AppsV1().Deployments(namespace).Watch(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	arrived := make(chan int, 100)
	go func() {
		for e := range w.ResultChan() {
			if d, ok := e.Object.(*appsv1.Deployment); ok && d.Spec.Replicas != nil {
				arrived <- int(*d.Spec.Replicas)
			}
		}
	}()
	var floor, ours []time.Duration
	n := 1
	for range 10 {
		n = n%8 + 1
		begin := time.Now()
		text, err := eno.Encode(r.topology(n))
		if err != nil {
			t.Fatal(err)
		}
		patch, _ := json.Marshal(map[string]any{"data": map[string]string{eno.ConfigMapKey: text}})
		if _, err := c.CoreV1().ConfigMaps(namespace).Patch(ctx, eno.ConfigMapName, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: "bare"}); err != nil {
			t.Fatal(err)
		}
		for got := 0; got != n; {
			select {
			case got = <-arrived:
			case <-time.After(10 * time.Second):
				t.Fatal("Eno alone did not answer")
			}
		}
		floor = append(floor, time.Since(begin))
		time.Sleep(700 * time.Millisecond)

		n = n%8 + 1
		want := strconv.Itoa(n)
		begin = time.Now()
		r.publish(r.topology(n))
		r.wait("replicas "+want, 10*time.Second, func() bool { return r.field(mapping.KindDeployment, "web", mapping.FieldReplicas) == want })
		ours = append(ours, time.Since(begin))
		time.Sleep(700 * time.Millisecond)
	}
	a, b := median(floor), median(ours)
	t.Logf("\nknob to Deployment, ten trials   median     max\n  Eno alone, bare client        %7.1f ms %7.1f ms\n  topology in, transition out   %7.1f ms %7.1f ms", ms(a), ms(slices.Max(floor)), ms(b), ms(slices.Max(ours)))
	// Eno alone takes about 150 ms on two idle cores. Where it takes much more,
	// others use the machine, and the absolute wishes say nothing.
	busy := a > 190*time.Millisecond
	if b-a > 20*time.Millisecond && !busy {
		t.Errorf("the way through us adds %v to the median, at most 20ms are wanted", b-a)
	}

	// The storms: a hand that turns the knob up and down for ten seconds, never
	// resting, and one faster than any hand.
	for _, rate := range []int{10, 100} {
		from := r.mark()
		changes := 10 * rate
		ticker := time.NewTicker(time.Second / time.Duration(rate))
		var last time.Time
		for i := range changes {
			<-ticker.C
			if n = 1 + i%14; i/14%2 == 1 {
				n = 15 - i%14
			}
			if i == changes-1 {
				n = 16
			}
			last = time.Now()
			r.publish(r.topology(n))
		}
		ticker.Stop()
		r.wait("the last change", 20*time.Second, func() bool { return r.field(mapping.KindDeployment, "web", mapping.FieldReplicas) == "16" })
		after := time.Since(last)
		states := 0
		r.mu.Lock()
		for _, tr := range r.ts[from:] {
			if tr.Object.Kind == mapping.KindDeployment && tr.Field == mapping.FieldReplicas {
				states++
			}
		}
		r.mu.Unlock()
		t.Logf("storm of %d changes at %d Hz: %d states landed, the last %.1f ms after its change", changes, rate, states, ms(after))
		if rate == 10 && states < 53 && !busy {
			t.Errorf("%d states landed, at least 53 are wanted", states)
		}
		if rate == 10 && after > 200*time.Millisecond && !busy {
			t.Errorf("the last change landed after %v, 200ms are wanted", after)
		}
		r.converged(16, 60*time.Second)
	}
	r.converged(16, 30*time.Second)
	r.sound()
	if busy && !t.Failed() {
		t.Skipf("the machine is busy (Eno alone took %.0f ms): the figures above were not judged", ms(a))
	}
}

func median(d []time.Duration) time.Duration {
	s := slices.SortedFunc(slices.Values(d), cmp.Compare)
	return (s[len(s)/2] + s[(len(s)-1)/2]) / 2
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
