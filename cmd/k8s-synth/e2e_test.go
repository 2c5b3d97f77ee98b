//go:build linux

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
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
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

const replicasAddress = "/deployment/web/replicas"

// needE2E skips unless the end-to-end tests were asked for, and then insists
// on what they need.
func needE2E(t *testing.T, programs ...string) {
	t.Helper()
	if os.Getenv("K8S_SYNTH_E2E") != "1" {
		t.Skip("starts a control plane; K8S_SYNTH_E2E=1 runs it")
	}
	needPrograms(t, programs...)
}

func needPrograms(t *testing.T, programs ...string) {
	t.Helper()
	for _, name := range []string{"k8s-synth", "k8s-synth-kube", "k8s-synth-cluster", "eno-controller", "eno-reconciler", "topology-synthesizer", "kubectl"} {
		if _, err := os.Stat(program(t, name)); err != nil {
			t.Fatalf("%s is missing; \"make build\" makes it: %v", name, err)
		}
	}
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("%s is missing (Debian: liblo-tools has oscsend and oscdump, pulseaudio-utils has parec)", name)
		}
	}
}

// program is the path of a program as it was built: in bin, or where
// K8S_SYNTH_BIN says.
func program(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("K8S_SYNTH_BIN")
	if dir == "" {
		dir = filepath.Join("..", "..", "bin")
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// sample is what the status said at one moment.
type sample struct {
	seconds float64 // on the player's clock
	heard   float64 // seconds of sound that the device had taken
	status  *playStatus
}

// session is one "k8s-synth play", and a look at its status ten times a second.
type session struct {
	t                       *testing.T
	dir, state, temp        string
	wav, take, log          string
	cmd                     *exec.Cmd
	ended                   chan struct{}
	osc                     string // host and port
	client                  *kubernetes.Clientset
	mu                      sync.Mutex
	samples                 []sample
	stopLooking, lookedLast chan struct{}
}

// startPlay starts an instrument on state of its own.
func startPlay(t *testing.T, env []string, args ...string) *session {
	t.Helper()
	// Not t.TempDir, whose paths are too long for sockets.
	dir, err := os.MkdirTemp("", "play-")
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, dir: dir, state: filepath.Join(dir, "state"), temp: filepath.Join(dir, "tmp"),
		wav: filepath.Join(dir, "played.wav"), take: filepath.Join(dir, "played.take"), log: filepath.Join(dir, "log"),
		ended: make(chan struct{}), stopLooking: make(chan struct{}), lookedLast: make(chan struct{})}
	if err := os.Mkdir(s.temp, 0o700); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(s.log)
	if err != nil {
		t.Fatal(err)
	}
	s.cmd = exec.Command(program(t, "k8s-synth"), append([]string{"play", "--state-dir", s.state, "--osc", "127.0.0.1:0",
		"--metrics", "127.0.0.1:0", "--web", "127.0.0.1:0", "--record", s.wav, "--take", s.take, "--for", "8m"}, args...)...)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.Env = append(append(os.Environ(), "TMPDIR="+s.temp, "XDG_CONFIG_HOME="+filepath.Join(dir, "config")), env...)
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	go func() {
		_ = s.cmd.Wait()
		close(s.ended)
	}()
	go s.look()
	t.Cleanup(s.clean)
	s.wait(10*time.Second, "the status", func(p *playStatus) bool { s.osc = p.OSC; return p.OSC != "" })
	return s
}

// look keeps what the status says.
func (s *session) look() {
	defer close(s.lookedLast)
	for {
		if p, err := fetchStatus(context.Background(), socketPath(s.state)); err == nil {
			s.mu.Lock()
			s.samples = append(s.samples, sample{p.Seconds, float64(p.Audio.Frames-uint64(max(p.Audio.RingFill, 0))) / float64(p.Audio.Rate), p})
			s.mu.Unlock()
		}
		select {
		case <-s.stopLooking:
			return
		case <-s.ended:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// clean ends what still runs, and shows the log of a test that failed.
func (s *session) clean() {
	close(s.stopLooking)
	<-s.lookedLast
	select {
	case <-s.ended:
	default:
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.ended:
		case <-time.After(25 * time.Second):
			_ = s.cmd.Process.Kill()
			<-s.ended
		}
	}
	if s.t.Failed() {
		text, _ := os.ReadFile(s.log)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		s.t.Logf("the last lines of the log:\n%s", strings.Join(lines[max(len(lines)-25, 0):], "\n"))
		if keep := os.Getenv("K8S_SYNTH_KEEP"); keep != "" {
			s.t.Logf("kept %s", s.dir)
			return
		}
	}
	_ = os.RemoveAll(s.dir)
}

// last is the newest status.
func (s *session) last() *playStatus {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.samples) == 0 {
		return nil
	}
	return s.samples[len(s.samples)-1].status
}

// wait waits for a status, newer than now, that ok accepts.
func (s *session) wait(limit time.Duration, what string, ok func(*playStatus) bool) *playStatus {
	s.t.Helper()
	s.mu.Lock()
	n := len(s.samples)
	s.mu.Unlock()
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		fresh := s.samples[min(n, len(s.samples)):]
		n = len(s.samples)
		s.mu.Unlock()
		for _, x := range fresh {
			if ok(x.status) {
				return x.status
			}
		}
		select {
		case <-s.ended:
			s.t.Fatalf("the instrument ended while the test waited for %s: %v", what, s.cmd.ProcessState)
		default:
		}
	}
	s.t.Fatalf("no %s within %s; the last status: %+v", what, limit, s.last())
	return nil
}

// waitReady waits until the cluster is as the player wants it, with n pods.
func (s *session) waitReady(limit time.Duration, n int) *playStatus {
	s.t.Helper()
	return s.wait(limit, fmt.Sprintf("%d of %d pods ready", n, n), func(p *playStatus) bool {
		return p.Cluster.Synced && p.Cluster.Ready == n && p.Cluster.Desired == n && p.Cluster.Pods == n
	})
}

// shift is the recording's clock over the player's: how much of the sound had
// been heard at a time, and the scene's latency until a transition is heard.
func (s *session) shift(latency float64) func(float64) float64 {
	s.mu.Lock()
	samples := slices.Clone(s.samples)
	s.mu.Unlock()
	return func(at float64) float64 {
		best, far := 0.0, math.Inf(1)
		for _, x := range samples {
			if d := math.Abs(x.seconds - at); d < far {
				best, far = x.heard-x.seconds, d
			}
		}
		return best + latency
	}
}

// oscsend sends a message with liblo's program.
func (s *session) oscsend(args ...string) {
	s.t.Helper()
	host, port, _ := net.SplitHostPort(s.osc)
	if out, err := exec.Command("oscsend", append([]string{host, port}, args...)...).CombinedOutput(); err != nil {
		s.t.Fatalf("oscsend %v: %v\n%s", args, err, out)
	}
}

func (s *session) replicas(n int) { s.t.Helper(); s.oscsend(replicasAddress, "i", strconv.Itoa(n)) }

// cluster returns a client of the session's control plane.
func (s *session) cluster() *kubernetes.Clientset {
	s.t.Helper()
	if s.client == nil {
		config, err := clientcmd.BuildConfigFromFlags("", s.last().Kubeconfig)
		if err != nil {
			s.t.Fatal(err)
		}
		if s.client, err = kubernetes.NewForConfig(config); err != nil {
			s.t.Fatal(err)
		}
	}
	return s.client
}

// kubectl runs kubectl on the session's cluster.
func (s *session) kubectl(args ...string) {
	s.t.Helper()
	c := exec.Command(program(s.t, "kubectl"), append([]string{"--kubeconfig", s.last().Kubeconfig, "--namespace", scenes.DefaultNamespace}, args...)...)
	c.Env = append(os.Environ(), "HOME="+s.dir)
	if out, err := c.CombinedOutput(); err != nil {
		s.t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
}

// poll asks again and again until there is no error.
func (s *session) poll(limit time.Duration, what string, f func(ctx context.Context) error) {
	s.t.Helper()
	var err error
	for deadline := time.Now().Add(limit); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		err = f(ctx)
		cancel()
		if err == nil {
			return
		}
	}
	s.t.Fatalf("%s: not within %s: %v", what, limit, err)
}

// deployment waits until the Deployment in the API has n replicas, all ready.
func (s *session) deployment(limit time.Duration, n int) {
	s.t.Helper()
	client := s.cluster()
	s.poll(limit, fmt.Sprintf("Deployment web with %d ready replicas", n), func(ctx context.Context) error {
		d, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Get(ctx, "web", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if *d.Spec.Replicas != int32(n) || d.Status.ReadyReplicas != int32(n) || d.Status.Replicas != int32(n) || d.Status.ObservedGeneration != d.Generation {
			return fmt.Errorf("it has %d replicas, %d are ready", *d.Spec.Replicas, d.Status.ReadyReplicas)
		}
		return nil
	})
}

func (s *session) pods() []corev1.Pod {
	s.t.Helper()
	var list *corev1.PodList
	client := s.cluster()
	s.poll(10*time.Second, "the list of pods", func(ctx context.Context) (err error) {
		list, err = client.CoreV1().Pods(scenes.DefaultNamespace).List(ctx, metav1.ListOptions{})
		return err
	})
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return !strings.HasPrefix(p.Name, "web-") })
}

// end sends the signal that Ctrl-C sends, and expects a good end.
func (s *session) end(limit time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		s.t.Fatal(err)
	}
	select {
	case <-s.ended:
	case <-time.After(limit):
		s.t.Fatalf("the instrument still runs %s after Ctrl-C", limit)
	}
	if code := s.cmd.ProcessState.ExitCode(); code != 0 {
		s.t.Errorf("exit code %d after Ctrl-C, want 0", code)
	}
	return time.Since(began)
}

// process is one process of the system; the start time tells it from a later
// one with its number.
type process struct {
	pid, parent int
	started     string
	name        string
}

// processes reads /proc.
func processes() (list []process) {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, "stat"))
		if err != nil {
			continue
		}
		open, shut := strings.IndexByte(string(text), '('), strings.LastIndexByte(string(text), ')')
		fields := strings.Fields(string(text[shut+1:]))
		if open < 0 || len(fields) < 20 || fields[0] == "Z" {
			continue
		}
		p := process{name: string(text[open+1 : shut]), started: fields[19]}
		p.pid, _ = strconv.Atoi(filepath.Base(dir))
		p.parent, _ = strconv.Atoi(fields[1])
		list = append(list, p)
	}
	return list
}

// family is all that a process started, at any depth, and whatever else has
// the session's folder in its command line.
func (s *session) family() (kin []process) {
	all := processes()
	in := map[int]bool{s.cmd.Process.Pid: true}
	for grew := true; grew; {
		grew = false
		for _, p := range all {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid))
			if !in[p.pid] && (in[p.parent] || strings.Contains(string(line), s.dir)) && p.pid != os.Getpid() {
				in[p.pid], grew = true, true
				kin = append(kin, p)
			}
		}
	}
	return kin
}

// expectGone waits until none of the processes, and no other that knows the
// session's folder, is left.
func (s *session) expectGone(kin []process, limit time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	var left []process
	for {
		left = left[:0]
		now := processes()
		for _, p := range kin {
			if slices.ContainsFunc(now, func(q process) bool { return p.pid == q.pid && p.started == q.started }) {
				left = append(left, p)
			}
		}
		for _, p := range now {
			if line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.pid)); strings.Contains(string(line), s.dir) {
				left = append(left, p)
			}
		}
		if len(left) == 0 {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			s.t.Errorf("still running %s later: %+v", limit, left)
			for _, p := range left {
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
			return time.Since(began)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func names(kin []process) []string {
	var list []string
	for _, p := range kin {
		list = append(list, p.name)
	}
	slices.Sort(list)
	return list
}

func freeUDPPort(t *testing.T) string {
	t.Helper()
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_, port, _ := net.SplitHostPort(c.LocalAddr().String())
	return port
}

// oscdump starts liblo's program as a subscriber, and returns what reads its output.
func (s *session) oscdump(pattern string) func() string {
	s.t.Helper()
	port := freeUDPPort(s.t)
	path := filepath.Join(s.dir, "oscdump")
	out, err := os.Create(path)
	if err != nil {
		s.t.Fatal(err)
	}
	c := exec.Command("stdbuf", "-oL", "oscdump", port)
	c.Stdout, c.Stderr = out, out
	if err := c.Start(); err != nil {
		s.t.Fatal(err)
	}
	out.Close()
	s.t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	read := func() string {
		text, _ := os.ReadFile(path)
		return string(text)
	}
	// It takes a moment until it listens; subscribing again is allowed.
	for range 20 {
		s.oscsend("/subscribe", "si", pattern, port)
		time.Sleep(200 * time.Millisecond)
		if strings.Contains(read(), replicasAddress) {
			return read
		}
	}
	s.t.Fatalf("oscdump was told nothing after /subscribe %s %s", pattern, port)
	return nil
}

// garbage sends datagrams that are no OSC, with some that nearly are.
func (s *session) garbage(n int) {
	s.t.Helper()
	c, err := net.Dial("udp", s.osc)
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close()
	random := rand.New(rand.NewPCG(1, 2))
	whole := oscMessage(replicasAddress, 9)
	for i := range n {
		var p []byte
		switch i % 4 {
		case 0:
			p = make([]byte, random.IntN(64))
			for k := range p {
				p[k] = byte(random.Uint32())
			}
			if len(p) > 0 && p[0] == '/' {
				p[0] = 0
			}
		case 1:
			p = whole[:len(whole)-1-random.IntN(3)] // cut short
		case 2:
			p = append([]byte("#bundle\x00\x00\x00\x00\x00\x00\x00\x00\x01\x7f\xff\xff\xff"), whole...)
		case 3:
			p = []byte("/[{*\x00\x00\x00\x00,zzz\x00\x00\x00\x00")
		}
		_, _ = c.Write(p)
		time.Sleep(time.Millisecond)
	}
}

// oscMessage encodes a message with one int.
func oscMessage(address string, v int32) []byte {
	b := append([]byte(address), 0)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, ',', 'i', 0, 0)
	return append(b, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

// untouched checks that the session was not touched by something that failed.
func (s *session) untouched(before *playStatus) {
	s.t.Helper()
	p := s.wait(5*time.Second, "status", func(*playStatus) bool { return true })
	if p.PID != before.PID || p.Engine.Plan != before.Engine.Plan || p.Audio.Reopens != before.Audio.Reopens ||
		p.Cluster.Desired != before.Cluster.Desired || p.OSC != before.OSC || p.Neighbours[0].PID != before.Neighbours[0].PID {
		s.t.Errorf("the running instrument was changed: %+v, before %+v", p, before)
	}
}

// refused runs a command that must fail and say why.
func (s *session) refused(code int, want []string, args ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := exec.CommandContext(ctx, program(s.t, "k8s-synth"), args...)
	c.Env = append(os.Environ(), "TMPDIR="+s.temp)
	out, err := c.CombinedOutput()
	if c.ProcessState.ExitCode() != code {
		s.t.Errorf("k8s-synth %v: exit code %d (%v), want %d", args, c.ProcessState.ExitCode(), err, code)
	}
	for _, w := range want {
		if !strings.Contains(string(out), w) {
			s.t.Errorf("k8s-synth %v does not say %q:\n%s", args, w, out)
		}
	}
}

// TestEndToEnd plays the default scene as a newcomer would, from the first
// sound to Ctrl-C, with a knob, a killed pod and a hand that meddles.
func TestEndToEnd(t *testing.T) {
	needE2E(t, "oscsend", "oscdump", "stdbuf")
	s := startPlay(t, nil, "--device", "null", "--ephemeral")

	// The instrument sounds while its cluster still boots.
	p := s.wait(10*time.Second, "first sound", func(p *playStatus) bool { return p.FirstSound > 0 })
	t.Logf("first sound after %.3f s", p.FirstSound)
	if p.FirstSound > 1 {
		t.Errorf("first sound after %.2f s, want 1 s at most", p.FirstSound)
	}
	if p.Cluster.Boot == mapping.BootReady {
		t.Error("the cluster was up before the first sound; its boot is part of the piece")
	}
	told := s.oscdump("/deployment/web/*")
	s.garbage(400)

	p = s.wait(60*time.Second, "cluster", func(p *playStatus) bool { return p.Cluster.Boot == mapping.BootReady })
	t.Logf("cluster ready after %.1f s (8 s are wanted)", p.Seconds)
	p = s.waitReady(60*time.Second, 4)
	t.Logf("four pods ready after %.1f s", p.Seconds)
	time.Sleep(4 * time.Second)

	// The demonstration: two more replicas.
	s.replicas(6)
	s.deployment(20*time.Second, 6)
	s.waitReady(20*time.Second, 6)
	time.Sleep(3500 * time.Millisecond)

	for _, want := range []string{replicasAddress + " i 6", "/deployment/web/error f 2", "/deployment/web/ready_count f 10", "/deployment/web/error f 0"} {
		if !strings.Contains(told(), want) {
			t.Errorf("oscdump was not told %q", want)
		}
	}

	// A pod is killed, from outside.
	killed := s.pods()[0]
	s.kubectl("delete", "pod", killed.Name, "--wait=false")
	s.poll(20*time.Second, "the killed pod to go", func(ctx context.Context) error {
		if q, err := s.cluster().CoreV1().Pods(scenes.DefaultNamespace).Get(ctx, killed.Name, metav1.GetOptions{}); err == nil && q.UID == killed.UID {
			return errors.New("it is still there")
		}
		return nil
	})
	s.deployment(20*time.Second, 6)
	s.waitReady(20*time.Second, 6)
	time.Sleep(3500 * time.Millisecond)

	// Somebody else's hand: drift.
	s.kubectl("scale", "deployment", "web", "--replicas=3")
	drift := time.Now()
	s.deployment(20*time.Second, 6)
	t.Logf("drift was repaired, with all pods ready, after %.1f s", time.Since(drift).Seconds())
	s.waitReady(20*time.Second, 6)
	time.Sleep(3500 * time.Millisecond)

	// What fails must not touch what plays.
	before := s.last()
	s.refused(1, []string{"another k8s-synth", strconv.Itoa(before.PID)}, "play", "--state-dir", s.state, "--device", "null", "--osc", "off")
	s.refused(1, []string{"osc on " + s.osc, "port in use"}, "play", "--state-dir", filepath.Join(s.dir, "other"), "--device", "null", "--osc", s.osc, "--ephemeral")
	bad := filepath.Join(s.dir, "bad.yaml")
	if err := os.WriteFile(bad, []byte("version: 1\nname: bad\nmodules:\n  - id: theremin/main\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.refused(1, []string{bad + ":4:", "theremin"}, "play", "--state-dir", filepath.Join(s.dir, "other"), "--device", "null", "--osc", "off", "--scene", bad)
	s.garbage(40)
	s.oscsend(replicasAddress, "i", "-4")
	s.oscsend(replicasAddress, "s", "many")
	s.untouched(before)

	// status, as a person and as a program read it.
	if out, err := exec.Command(program(t, "k8s-synth"), "status", "--json", "--state-dir", s.state).Output(); err != nil {
		t.Errorf("status --json: %v", err)
	} else if p := (playStatus{}); json.Unmarshal(out, &p) != nil || p.PID != s.cmd.Process.Pid || p.Cluster.Ready != 6 {
		t.Errorf("status --json says %s", out)
	}
	if out, err := exec.Command(program(t, "k8s-synth"), "status", "--state-dir", s.state).Output(); err != nil || !strings.Contains(string(out), "in sync, pods 6 of 6 ready") {
		t.Errorf("status says (%v) %s", err, out)
	}
	if out, err := exec.Command(program(t, "k8s-synth"), "kubeconfig", "--state-dir", s.state).Output(); err != nil || strings.TrimSpace(string(out)) != before.Kubeconfig {
		t.Errorf("kubeconfig says (%v) %s", err, out)
	}

	// The end.
	kin := s.family()
	for _, want := range []string{"k8s-synth-clust", "k8s-synth-kube", "eno-controller", "eno-reconciler"} {
		if !slices.Contains(names(kin), want) {
			t.Errorf("%s is not among the processes %v", want, names(kin))
		}
	}
	stats := s.last()
	took := s.end(20 * time.Second)
	t.Logf("ended %.1f s after Ctrl-C, with %v", took.Seconds(), names(kin))
	s.expectGone(kin, 0)
	if _, err := os.Stat(socketPath(s.state)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
	if left, _ := os.ReadDir(s.temp); len(left) > 0 {
		t.Errorf("left in the folder for temporary files: %v", left)
	}
	log, _ := os.ReadFile(s.log)
	n := strings.Count(string(log), "malformed packet")
	if n == 0 || float64(n) > stats.Seconds {
		t.Errorf("malformed datagrams were logged %d times in %.0f s, want at most once a second", n, stats.Seconds)
	}
	if stats.Audio.Clipped > 0 || stats.Audio.Invalid > 0 || stats.Engine.Scrubbed > 0 {
		t.Errorf("%d samples clipped, %d were no number, %d slices scrubbed", stats.Audio.Clipped, stats.Audio.Invalid, stats.Engine.Scrubbed)
	}
	t.Logf("underruns %d, late events %d, render %.0f %% of its time", stats.Audio.Underruns, stats.Engine.Late, 100*stats.Audio.Load)

	// What was heard, held against what was told.
	r := loadRecording(t, s.wav)
	r.shift = s.shift(defaultLatency(t))
	take := loadPerformance(t, s.take)
	born := take.told(t, 0, "deployment/web", mapping.FieldReplicas, "4")
	four := take.settled(t, born, 4)
	knob := take.turned(t, four, replicasAddress, 6)
	six := take.settled(t, knob, 6)
	kill := take.told(t, six, "pod/"+killed.Name, mapping.FieldDeleting, "true")
	healed := take.settled(t, kill, 6)
	scaled := take.told(t, healed, "deployment/web", mapping.FieldReplicas, "3")
	repaired := take.settled(t, scaled, 6)
	end := stats.Seconds - 1
	if fixed := take.told(t, scaled, "deployment/web", mapping.FieldReplicas, "6"); fixed-scaled > 5 {
		t.Errorf("drift stood for %.1f s", fixed-scaled)
	} else {
		t.Logf("drift stood for %.2f s", fixed-scaled)
	}

	// Voices enter and leave: fundamentals that nothing else has.
	none, chord4 := []float64(nil), take.seatsAt(knob-0.1).pitches()
	chord6, chordHealed := take.seatsAt(kill-0.1).pitches(), take.seatsAt(scaled-0.1).pitches()
	if !slices.Equal(chord4, []float64{4, 5, 6, 8}) || !slices.Equal(chord6, []float64{4, 5, 6, 8, 10, 12}) {
		t.Errorf("the chord was %v and then %v", chord4, chord6)
	}
	rest4, rest6, restHealed := [2]float64{four + 1, knob - 0.2}, [2]float64{six + 1, kill - 0.2}, [2]float64{healed + 1, scaled - 0.2}
	if told := r.checkVoices(t, none, chord4, [2]float64{born - 1.5, born - 0.1}, rest4); told < 3 {
		t.Errorf("own partials told of %d of four voices, want 3 and more", told)
	}
	if told := r.checkVoices(t, chord6, chordHealed, rest6, restHealed); told == 0 {
		t.Error("no partial told of the pod that came for the killed one")
	}
	r.checkOctave(t, rest4, rest6)

	r.checkRest(t, "a knob turned from four to six", knob, six, kill-0.2, 0)
	r.checkRest(t, "kubectl delete pod", kill, healed, scaled-0.2, 0)
	r.checkRest(t, "kubectl scale", scaled, repaired, end, 0)
	for _, x := range []struct {
		what string
		at   float64
	}{{"the knob", knob}, {"the killed pod", kill}, {"the drift", scaled}} {
		calm, _ := r.mostNovel(t, x.at-2, x.at-0.3)
		most, at := r.mostNovel(t, x.at-0.06, x.at+0.2)
		t.Logf("%s: novelty %.2f at %+.0f ms, %.2f at rest before", x.what, most, 1000*(at-x.at), calm)
		if most < 1.5*calm {
			t.Errorf("nothing is struck at %s: novelty %.2f, at rest before %.2f", x.what, most, calm)
		}
	}
	// With six pods alone it is told, not judged: the rule is for a programme.
	chord := r.span(t, rest6[0], rest6[1])
	t.Logf("at rest with six pods: %.1f LUFS", measure.MeasureLoudness(r.rate, chord[0], chord[1]).Integrated)
	r.checkLoudness(t, "at rest with four pods", rest4)
	r.checkLoudness(t, "all that is at rest", rest4, rest6, restHealed, [2]float64{repaired + 1, end})
	r.checkLoudness(t, "from the first rest to the end", [2]float64{rest4[0], end})
	r.checkPeak(t)
	r.checkFade(t)
	// The boot is struck, and its strikes fade; from then on there is always sound.
	if gap, at := r.longestGap(t, -60, p0(stats), born); gap > 2.5 {
		t.Errorf("%.1f s of silence at %.1f s, while the cluster boots", gap, at)
	} else {
		t.Logf("while the cluster boots, silence never lasts longer than %.2f s", gap)
	}
	if db, at := r.quietest(t, born, end); db < -50 {
		t.Errorf("silence (%.0f dBFS) at %.1f s", db, at)
	}
}

// p0 is when the beginning's fade is over.
func p0(p *playStatus) float64 { return p.FirstSound + 0.3 }

// defaultLatency is what the default scene delays transitions by, in seconds.
func defaultLatency(t *testing.T) float64 {
	t.Helper()
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	return scene.Latency
}

// TestEndToEndOutage kills the control plane, and then the observer, under a
// playing instrument.
func TestEndToEndOutage(t *testing.T) {
	needE2E(t, "oscsend")
	s := startPlay(t, nil, "--device", "null")
	s.waitReady(60*time.Second, 4)
	s.deployment(20*time.Second, 4)
	client := s.cluster()
	deployment, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Get(context.Background(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	pods := s.pods()
	time.Sleep(2 * time.Second)

	type outage struct{ killed, away, back float64 }
	var outages []outage
	for _, x := range []struct {
		name     string
		index    int
		replicas int // turned while it is away
	}{{"k8s-synth-cluster", 0, 5}, {"k8s-synth-kube", 1, 6}} {
		before := s.last()
		n := before.Neighbours[x.index]
		if n.Name != x.name || n.PID == 0 {
			t.Fatalf("neighbour %d is %+v, want %s", x.index, n, x.name)
		}
		now := before.Seconds
		if err := syscall.Kill(n.PID, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		away := s.wait(5*time.Second, "word that the API does not answer", func(p *playStatus) bool { return !p.Cluster.Synced })
		if line := away.line(); !strings.Contains(line, "no answer") && !strings.Contains(line, "boot: ") {
			t.Errorf("%s away, and the status line says %s", x.name, line)
		}
		if x.name == "k8s-synth-kube" && !strings.Contains(away.line(), "no answer") {
			t.Errorf("the observer is away, the control plane is not; the status line says %s", away.line())
		}
		s.replicas(x.replicas)
		s.wait(5*time.Second, "wish", func(p *playStatus) bool { return p.Cluster.Desired == x.replicas })
		back := s.waitReady(60*time.Second, x.replicas)
		s.deployment(20*time.Second, x.replicas)
		if got := back.Neighbours[x.index]; got.Starts != n.Starts+1 || got.PID == n.PID {
			t.Errorf("%s: %+v, was %+v: want one more start", x.name, got, n)
		}
		if o := back.Neighbours[1-x.index]; o.PID != before.Neighbours[1-x.index].PID {
			t.Errorf("%s was started again, too", o.Name)
		}
		if under := back.Audio.UnderrunFrames - before.Audio.UnderrunFrames; float64(under) > 0.02*float64(back.Audio.Frames-before.Audio.Frames) {
			t.Errorf("%s away: %d frames of underruns in %d", x.name, under, back.Audio.Frames-before.Audio.Frames)
		}
		t.Logf("%s killed: known after %.2f s, %d pods ready again after %.1f s, %d underruns (%d frames)", x.name, away.Seconds-now,
			x.replicas, back.Seconds-now, back.Audio.Underruns-before.Audio.Underruns, back.Audio.UnderrunFrames-before.Audio.UnderrunFrames)
		outages = append(outages, outage{now, away.Seconds, back.Seconds})
		time.Sleep(3 * time.Second)
	}
	// The topology is the one that was.
	again, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Get(context.Background(), "web", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if again.UID != deployment.UID {
		t.Error("the Deployment was made anew")
	}
	now := s.pods()
	for _, p := range pods {
		if !slices.ContainsFunc(now, func(q corev1.Pod) bool { return q.UID == p.UID }) {
			t.Errorf("pod %s did not outlive the outages", p.Name)
		}
	}
	// Sound never stopped: the frames went on all the time.
	s.mu.Lock()
	samples := slices.Clone(s.samples)
	s.mu.Unlock()
	for i := 1; i < len(samples); i++ {
		a, b := samples[i-1], samples[i]
		if b.heard <= a.heard && b.seconds > a.seconds+0.02 {
			t.Errorf("no frame was played between %.2f and %.2f s", a.seconds, b.seconds)
		}
	}
	kin := s.family()
	stats := s.last()
	s.end(20 * time.Second)
	s.expectGone(kin, 0)

	r := loadRecording(t, s.wav)
	r.shift = s.shift(defaultLatency(t))
	take := loadPerformance(t, s.take)
	four := take.settled(t, 0, 4)
	for i, o := range outages {
		db, at := r.quietest(t, o.killed-1, o.back)
		t.Logf("outage %d: never below %.1f dBFS", i+1, db)
		if db < -45 {
			t.Errorf("outage %d: silence (%.1f dBFS) at %.1f s, killed at %.1f s", i+1, db, at, o.killed)
		}
	}
	// The chord goes on through the first outage, and the air goes out: the
	// drone of the control plane is gone.
	o := outages[0]
	if o.back-o.away > 2.5 {
		before, during := [2]float64{four + 1, o.killed - 0.2}, [2]float64{o.away + 1, o.away + 2.5}
		if a, b := r.power(t, root, before[0], before[1]), r.power(t, root, during[0], during[1]); b > a-6 {
			t.Errorf("the drone plays on without its control plane: %.1f dB, before %.1f dB", b, a)
		}
	}
	r.checkPeak(t)
	r.checkFade(t)
	if got := take.settled(t, outages[1].killed, 6); got > stats.Seconds {
		t.Errorf("the take ends before the sound converged")
	}
}

// TestEndToEndPulseAudio plays through a sound server, and listens to what the
// server was given. It ends by the hardest end that there is.
func TestEndToEndPulseAudio(t *testing.T) {
	if os.Getenv("K8S_SYNTH_E2E") == "1" {
		if _, err := exec.LookPath("pulseaudio"); err != nil {
			t.Skip("pulseaudio is not installed")
		}
	}
	needE2E(t, "oscsend", "pactl", "parec")
	env, capture := startPulseAudio(t)
	waited := cpuPressure()
	s := startPlay(t, env, "--backend", "pulse", "--ephemeral")
	p := s.wait(10*time.Second, "first sound", func(p *playStatus) bool { return p.FirstSound > 0 })
	if p.Audio.Backend != "pulse" || p.Audio.Lost {
		t.Fatalf("plays into %s (lost: %v), want pulse", p.Audio.Backend, p.Audio.Lost)
	}
	t.Logf("first sound after %.3f s", p.FirstSound)
	if p.FirstSound > 1 {
		t.Errorf("first sound after %.2f s, want 1 s at most", p.FirstSound)
	}
	s.waitReady(60*time.Second, 4)
	time.Sleep(3 * time.Second)
	s.replicas(6)
	s.deployment(20*time.Second, 6)
	s.waitReady(20*time.Second, 6)
	time.Sleep(5500 * time.Millisecond) // the recording of what is killed lacks its last second
	p = s.last()
	pressure := waited()
	t.Logf("underruns %d (%d frames of %d), ring never below %d of %d frames in the last second", p.Audio.Underruns, p.Audio.UnderrunFrames, p.Audio.Frames, p.Audio.RingMin, p.Audio.RingDepth)
	if float64(p.Audio.UnderrunFrames) > 0.02*float64(p.Audio.Frames) || p.Audio.Lost || p.Audio.Reopens > 0 {
		t.Errorf("the device did not keep up: %+v", p.Audio)
	}

	// Killed outright: what it started ends by itself.
	kin := s.family()
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-s.ended
	took := s.expectGone(kin, 15*time.Second)
	t.Logf("killed: all of %v were gone after %.1f s", names(kin), took.Seconds())
	if took > 10*time.Second {
		t.Errorf("what the instrument started outlived it by %.1f s, want 10 s at most", took.Seconds())
	}

	// What the server was given is what was played. A server that had to wait
	// for a processor leaves a gap, which is its own: the instrument answers for
	// every frame that arrived, and for those that it was too late with.
	r, heard := loadRecording(t, s.wav), capture.stop(t)
	r.shift = s.shift(defaultLatency(t))
	a := arrived(r, heard, int(r.rate/50))
	sum, worst := a.total(), a.longest()
	t.Logf("of %.1f s played, %.2f %% arrived bit for bit, in %d stretches; between them %.1f ms of silence, %.1f ms of fades, %.1f ms lost, the largest %+v; the instrument was late with %.1f ms",
		r.seconds(), 100*a.share(0, len(r.ch[0])), len(a.stretches), float64(sum.silent)/48, float64(sum.faded)/48, float64(sum.lost)/48, worst, float64(p.Audio.UnderrunFrames)/48)
	// Silence comes into the stream where the server, whose threads have no
	// priority over others, got no processor; as far as the machine had none.
	silence := float64(sum.silent) / float64(len(r.ch[0]))
	t.Logf("%.1f %% of the time something waited for a processor", 100*pressure)
	if most := 0.01 + pressure/2; silence > most {
		t.Errorf("%.1f %% of the time there was silence in the sound, want %.1f %% at most on a machine as busy as this one", 100*silence, 100*most)
	}
	if sum.foreign > 0 {
		for _, h := range a.holes {
			if h.foreign > 0 {
				t.Errorf("at %.3f s of what was heard are %d frames that were not played: %+v", float64(h.at)/heard.rate, h.foreign, h)
			}
		}
	}
	// The take ends where the last full buffer was written; the times come
	// from the status instead.
	times := s.turningPoints()
	end := times.six + 3.7
	t.Logf("four ready at %.2f s, six wanted at %.2f s, six ready at %.2f s, of %.2f s", times.four, times.knob, times.six, r.seconds())
	if got := a.share(int(r.rate*(times.four+r.shift(times.four))), int(r.rate*(end+r.shift(end)))); got < 0.9 {
		t.Errorf("%.1f %% of the music arrived, want 90 %%: nothing can be said of the rest", 100*got)
	}
	chord := []float64{4, 5, 6, 8}
	if told := r.checkVoices(t, nil, chord, [2]float64{p0(p) + 0.3, p0(p) + 2}, [2]float64{times.four + 1, times.knob - 0.3}); told < 3 {
		t.Errorf("own partials told of %d of four voices, want 3 and more", told)
	}
	r.checkOctave(t, [2]float64{times.four + 1, times.knob - 0.3}, [2]float64{times.six + 1, times.six + 3})
	// The times are those of a look every 100 ms.
	r.checkRest(t, "a knob turned, as PulseAudio heard it", times.knob, times.six, end, 0.25)
	r.checkPeak(t)
}

// cpuPressure returns what tells the share of the time, since it was made, in
// which something waited for a processor; 1 where the kernel does not tell.
func cpuPressure() func() float64 {
	total := func() float64 {
		text, err := os.ReadFile("/proc/pressure/cpu")
		if err != nil {
			return math.NaN()
		}
		line, _, _ := strings.Cut(string(text), "\n")
		_, number, _ := strings.Cut(line, "total=")
		us, err := strconv.ParseFloat(number, 64)
		if err != nil {
			return math.NaN()
		}
		return us / 1e6
	}
	began, at := total(), time.Now()
	return func() float64 {
		if share := (total() - began) / time.Since(at).Seconds(); share < 1 {
			return share
		}
		return 1
	}
}

// points are moments on the player's clock, good to a look at the status.
type points struct{ four, knob, six float64 }

func (s *session) turningPoints() (p points) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, x := range s.samples {
		c := x.status.Cluster
		switch {
		case p.four == 0 && c.Ready == 4 && c.Desired == 4:
			p.four = x.seconds
		case p.four > 0 && p.knob == 0 && c.Desired == 6:
			p.knob = x.seconds
		case p.knob > 0 && p.six == 0 && c.Ready == 6:
			p.six = x.seconds
		}
	}
	return p
}

// capture is parec on the monitor of a sink.
type capture struct {
	path string
	cmd  *exec.Cmd
	once sync.Once
}

// startPulseAudio starts a private sound server with one stereo sink, and a
// capture of what it is given. It returns the environment of its clients.
func startPulseAudio(t *testing.T) ([]string, *capture) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pulse-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	run, conf := filepath.Join(dir, "run"), filepath.Join(dir, "config", "pulse")
	for _, d := range []string{run, conf} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{
		filepath.Join(conf, "daemon.conf"): "exit-idle-time = -1\ndefault-sample-format = float32le\ndefault-sample-rate = 48000\nrealtime-scheduling = yes\nrealtime-priority = 40\nflat-volumes = no\n",
		filepath.Join(dir, "default.pa"):   "load-module module-null-sink sink_name=stage norewinds=1 format=float32le rate=48000 channels=2\nload-module module-native-protocol-unix\nset-default-sink stage\n",
	} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{"HOME=" + dir, "XDG_RUNTIME_DIR=" + run, "XDG_CONFIG_HOME=" + filepath.Join(dir, "config"), "PULSE_SERVER=unix:" + filepath.Join(run, "pulse", "native")}
	start := func(out *os.File, name string, args ...string) *exec.Cmd {
		c := exec.Command(name, args...)
		c.Env = append(os.Environ(), env...)
		c.Stdout = out
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		return c
	}
	server := start(nil, "pulseaudio", "-n", "-F", filepath.Join(dir, "default.pa"), "--daemonize=no", "--exit-idle-time=-1", "--log-target=file:"+filepath.Join(dir, "log"))
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGTERM)
		_ = server.Wait()
	})
	for deadline := time.Now().Add(15 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		c := exec.Command("pactl", "info")
		c.Env = append(os.Environ(), env...)
		if out, err := c.CombinedOutput(); err == nil {
			break
		} else if time.Now().After(deadline) {
			log, _ := os.ReadFile(filepath.Join(dir, "log"))
			t.Fatalf("pulseaudio does not answer: %s\n%s", out, log)
		}
	}
	k := &capture{path: filepath.Join(dir, "capture")}
	out, err := os.Create(k.path)
	if err != nil {
		t.Fatal(err)
	}
	k.cmd = start(out, "parec", "--device=stage.monitor", "--format=float32le", "--channels=2", "--rate=48000", "--raw", "--latency-msec=20")
	out.Close()
	t.Cleanup(k.end)
	return env, k
}

func (k *capture) end() {
	k.once.Do(func() {
		_ = k.cmd.Process.Signal(syscall.SIGTERM)
		_ = k.cmd.Wait()
	})
}

// stop ends the capture and returns it.
func (k *capture) stop(t *testing.T) *recording {
	t.Helper()
	k.end()
	data, err := os.ReadFile(k.path)
	if err != nil {
		t.Fatal(err)
	}
	r := &recording{rate: 48000}
	for i := 0; i+8 <= len(data); i += 8 {
		for c := range r.ch {
			b := data[i+4*c:]
			r.ch[c] = append(r.ch[c], math.Float32frombits(uint32(b[0])|uint32(b[1])<<8|uint32(b[2])<<16|uint32(b[3])<<24))
		}
	}
	return r
}
