package eno

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// runnerSelector finds the pods that Eno makes for its syntheses.
	runnerSelector = "app.kubernetes.io/managed-by=eno"
	// executorContainer is the container of such a pod that synthesizes, and
	// executorName the name under which Eno's controller program becomes its
	// executor.
	executorContainer = "executor"
	executorName      = "/eno/executor"

	// showRunningAfter is how long a synthesis may take before its pod is shown
	// as running: most are done by then, and each write to the pod wakes Eno.
	showRunningAfter = 250 * time.Millisecond
	// A failed executor is run again after runnerRest, which doubles at each
	// failure up to runnerRestMax, as a kubelet does for restartPolicy
	// OnFailure (10 s to 5 min there).
	runnerRest    = 250 * time.Millisecond
	runnerRestMax = 5 * time.Second
	// executorMemory is from where on an executor, and its synthesizer, collects
	// garbage.
	executorMemory = "256MiB"
	// statusTimeout bounds a write to a pod's status.
	statusTimeout = 10 * time.Second
)

// Runner executes Eno's synthesizer pods as local processes, in the place of a
// kubelet: a pod's executor is Eno's controller program under another name,
// and the synthesizer that it starts is found through PATH. It takes only pods
// that are bound to no node.
//
// It belongs to the process of the control plane rather than to the observer:
// it is the kubelet's part of the cluster, so that "k8s-synth cluster" is
// complete without the instrument.
type Runner struct {
	// Client reads pods and writes their status.
	Client kubernetes.Interface
	// Namespace holds the synthesizer pods.
	Namespace string
	// Executor is the path of the eno-controller program.
	Executor string
	// Kubeconfig is the file by which executors reach the API.
	Kubeconfig string
	// Path is the executors' PATH; it holds the synthesizer.
	Path string
	// Attributes, where set, are those of the processes, such as a signal at
	// their parent's death.
	Attributes func() *syscall.SysProcAttr
	// Log takes failures and the executors' output. Nil is the default logger.
	Log *slog.Logger

	mu   sync.Mutex
	runs map[types.UID]context.CancelFunc
	wg   sync.WaitGroup
}

// Run executes pods until ctx ends, then ends their processes and returns. The
// error tells what the Runner lacks.
func (r *Runner) Run(ctx context.Context) error {
	if r.Client == nil || r.Namespace == "" || r.Executor == "" {
		return errors.New("runner: expected a client, a namespace and the path of the executor")
	}
	if r.Log == nil {
		r.Log = slog.Default()
	}
	r.runs = map[types.UID]context.CancelFunc{}
	factory := informers.NewSharedInformerFactoryWithOptions(r.Client, 0,
		informers.WithNamespace(r.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.LabelSelector = runnerSelector
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", "").String()
		}))
	informer := factory.Core().V1().Pods().Informer()
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.observe(ctx, o.(*corev1.Pod)) },
		UpdateFunc: func(_, o any) { r.observe(ctx, o.(*corev1.Pod)) },
		DeleteFunc: func(o any) {
			if t, ok := o.(cache.DeletedFinalStateUnknown); ok {
				o = t.Obj
			}
			if pod, ok := o.(*corev1.Pod); ok {
				r.end(pod.UID)
			}
		},
	})
	if err != nil {
		return fmt.Errorf("runner: %w", err)
	}
	factory.Start(ctx.Done())
	<-ctx.Done()
	factory.Shutdown()
	r.wg.Wait()
	return nil
}

// observe starts a pod that has not been started, and ends one that is being
// deleted.
func (r *Runner) observe(ctx context.Context, pod *corev1.Pod) {
	if pod.DeletionTimestamp != nil {
		r.end(pod.UID)
		return
	}
	if pod.Spec.NodeName != "" || finished(pod.Status.Phase) {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.runs[pod.UID]; ok || ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	r.runs[pod.UID] = cancel
	r.wg.Go(func() {
		r.execute(ctx, pod)
		cancel()
	})
}

// end ends a pod's process and forgets the pod.
func (r *Runner) end(uid types.UID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cancel, ok := r.runs[uid]; ok {
		cancel()
		delete(r.runs, uid)
	}
}

func finished(p corev1.PodPhase) bool { return p == corev1.PodSucceeded || p == corev1.PodFailed }

// execute runs the pod's executor until it succeeds, or once where the pod
// asks for no restarts.
func (r *Runner) execute(ctx context.Context, pod *corev1.Pod) {
	log := r.Log.With("pod", pod.Name)
	i := slices.IndexFunc(pod.Spec.Containers, func(c corev1.Container) bool { return c.Name == executorContainer })
	if i < 0 || !slices.Equal(pod.Spec.Containers[i].Command, []string{executorName}) {
		log.Error("synthesizer pod not run", "error", fmt.Sprintf("expected a container %q with the command %s, as Eno v0.2 makes it", executorContainer, executorName))
		r.report(ctx, pod, corev1.PodFailed, corev1.ContainerStatus{Name: executorContainer, State: corev1.ContainerState{
			Terminated: &corev1.ContainerStateTerminated{ExitCode: 127, Reason: "ContainerCannotRun", Message: "no executor container"},
		}})
		return
	}
	container := pod.Spec.Containers[i]
	var last corev1.ContainerState
	rest := runnerRest
	for restarts := int32(0); ctx.Err() == nil; restarts++ {
		status := corev1.ContainerStatus{Name: container.Name, Image: container.Image, RestartCount: restarts, LastTerminationState: last}
		began := metav1.Now()
		var shown sync.WaitGroup
		done := make(chan struct{})
		shown.Go(func() {
			select {
			case <-done:
			case <-ctx.Done():
			case <-time.After(showRunningAfter):
				s := status
				s.State.Running = &corev1.ContainerStateRunning{StartedAt: began}
				s.Ready, s.Started = true, new(true)
				r.report(ctx, pod, corev1.PodRunning, s)
			}
		})
		code, err := r.process(ctx, log, container)
		close(done)
		shown.Wait()
		if ctx.Err() != nil {
			return // deleted, or we stop: a successor starts it anew
		}
		ended := &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", StartedAt: began, FinishedAt: metav1.Now()}
		if code == 0 {
			status.State.Terminated = ended
			r.report(ctx, pod, corev1.PodSucceeded, status)
			return
		}
		ended.Reason, ended.Message = "Error", err.Error()
		log.Warn("synthesizer pod failed", "exit", code, "error", err)
		if pod.Spec.RestartPolicy == corev1.RestartPolicyNever {
			status.State.Terminated = ended
			r.report(ctx, pod, corev1.PodFailed, status)
			return
		}
		last = corev1.ContainerState{Terminated: ended}
		status.LastTerminationState = last
		status.State.Waiting = &corev1.ContainerStateWaiting{Reason: "CrashLoopBackOff", Message: "back-off " + rest.String() + " restarting failed executor"}
		r.report(ctx, pod, corev1.PodRunning, status)
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
		rest = min(2*rest, runnerRestMax)
	}
}

// process runs the executor once and returns its exit code; the error tells
// why it is not 0.
func (r *Runner) process(ctx context.Context, log *slog.Logger, c corev1.Container) (int32, error) {
	// A signal at the parent's death belongs to the thread that started the
	// process.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command(r.Executor)
	cmd.Args = []string{executorName}
	cmd.Env = r.environment(c)
	if r.Attributes != nil {
		cmd.SysProcAttr = r.Attributes()
	} else {
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	}
	pr, pw, err := os.Pipe()
	if err != nil {
		return 128, err
	}
	defer pr.Close()
	cmd.Stdout, cmd.Stderr = pw, pw
	err = cmd.Start()
	pw.Close()
	if err != nil {
		return 128, fmt.Errorf("start %s: %w", r.Executor, err)
	}
	var wg sync.WaitGroup
	tail := ""
	wg.Go(func() { tail = drain(pr, log) })
	ended := make(chan struct{})
	wg.Go(func() {
		select {
		case <-ended:
		case <-ctx.Done():
			// The group: the executor and its synthesizer.
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	})
	err = cmd.Wait()
	close(ended)
	wg.Wait()
	if err == nil {
		return 0, nil
	}
	code := int32(cmd.ProcessState.ExitCode())
	if code < 0 { // by a signal
		code = 137
	}
	if tail != "" {
		err = fmt.Errorf("%w: %s", err, tail)
	}
	return code, err
}

// environment is that of the container, and what a pod would have by its
// service account and image: the way to the API, and the programs.
func (r *Runner) environment(c corev1.Container) []string {
	env := []string{
		"KUBECONFIG=" + r.Kubeconfig, "PATH=" + r.Path, "HOME=" + os.Getenv("HOME"), "TMPDIR=" + os.TempDir(),
		// Both programs live for a tenth of a second and make 20 MB of garbage,
		// most of it while they start: collecting it takes a fifth of their
		// processor time. The limit is for a topology that is not as small.
		"GOGC=off", "GOMEMLIMIT=" + executorMemory,
	}
	for _, v := range c.Env {
		env = append(env, v.Name+"="+v.Value)
	}
	return env
}

// drain logs the output of an executor and returns the last line that tells of
// an error.
func drain(r io.Reader, log *slog.Logger) (tail string) {
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 4<<20)
	for s.Scan() {
		line := s.Text()
		log.Debug(line)
		if strings.Contains(line, `"error"`) || !strings.HasPrefix(line, "{") {
			tail = line
		}
	}
	io.Copy(io.Discard, r)
	// A pod's termination message has at most 4096 bytes.
	return tail[max(0, len(tail)-2048):]
}

// report writes the pod's status. That the pod is gone is no failure.
func (r *Runner) report(ctx context.Context, pod *corev1.Pod, phase corev1.PodPhase, s corev1.ContainerStatus) {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	// The UID makes it a conflict to write to a successor of the same name.
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status": corev1.PodStatus{
			Phase:             phase,
			ContainerStatuses: []corev1.ContainerStatus{s},
		},
	})
	if err == nil {
		_, err = r.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	}
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) && ctx.Err() == nil {
		r.Log.Warn("status of a synthesizer pod not written", "pod", pod.Name, "phase", phase, "error", err)
	}
}
