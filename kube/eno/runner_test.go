package eno

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

// The Runner is proven against Eno and a real API server by the test of
// cmd/k8s-synth-cluster; here are the cases that these do not bring about at
// will.

// run starts a Runner whose executor is a shell script, with one pod.
func run(t *testing.T, script string, change func(*corev1.Pod)) (*fake.Clientset, *corev1.Pod, context.CancelFunc) {
	t.Helper()
	dir := t.TempDir()
	executor := filepath.Join(dir, "eno-controller")
	if err := os.WriteFile(executor, []byte("#!/bin/sh\ncd "+dir+"\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "synthesis-1", Namespace: "eno-system", UID: types.UID("uid-1"),
			Labels:      map[string]string{"app.kubernetes.io/managed-by": "eno"},
			Annotations: map[string]string{"dir": dir},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyOnFailure,
			Containers: []corev1.Container{{
				Name: "executor", Image: "img", Command: []string{"/eno/executor"},
				Env: []corev1.EnvVar{{Name: "SYNTHESIS_UUID", Value: "s 1"}},
			}},
		},
	}
	if change != nil {
		change(p)
	}
	client := fake.NewClientset(p)
	r := &Runner{Client: client, Namespace: "eno-system", Executor: executor, Kubeconfig: "/k", Path: "/synth:" + os.Getenv("PATH"), Log: slog.New(slog.DiscardHandler)}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := r.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	stop := func() { cancel(); wg.Wait() }
	t.Cleanup(stop)
	// What changes between the list and the watch of a fake client is lost.
	eventually(t, "pods are watched", func() bool {
		return slices.ContainsFunc(client.Actions(), func(a clienttesting.Action) bool { return a.GetVerb() == "watch" })
	})
	return client, p, stop
}

// statuses are the statuses that were written, in order.
func statuses(t *testing.T, client *fake.Clientset) (all []corev1.PodStatus) {
	t.Helper()
	for _, a := range client.Actions() {
		if patch, ok := a.(interface{ GetPatch() []byte }); ok && a.GetSubresource() == "status" {
			var p corev1.Pod
			if err := json.Unmarshal(patch.GetPatch(), &p); err != nil {
				t.Fatal(err)
			}
			if p.UID != "uid-1" {
				t.Errorf("a status without the pod's identity: %s", patch.GetPatch())
			}
			all = append(all, p.Status)
		}
	}
	return all
}

// ends are the statuses without those that show a run under way: a busy
// machine may take so long for any that it is shown.
func ends(t *testing.T, client *fake.Clientset) []corev1.PodStatus {
	t.Helper()
	return slices.DeleteFunc(statuses(t, client), func(s corev1.PodStatus) bool { return s.ContainerStatuses[0].State.Running != nil })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within 10 s: %s", what)
}

func readIn(p *corev1.Pod, name string) string {
	b, _ := os.ReadFile(filepath.Join(p.Annotations["dir"], name))
	return strings.TrimSpace(string(b))
}

func TestRunnerGivesTheContainersEnvironment(t *testing.T) {
	client, p, stop := run(t, `env > env; echo $$ > pid; sleep 0.05`, nil)
	// A busy machine may take so long that the pod is shown as running first.
	eventually(t, "pod succeeded", func() bool {
		s := statuses(t, client)
		return len(s) > 0 && s[len(s)-1].Phase == corev1.PodSucceeded
	})
	stop()
	got := statuses(t, client)
	last := got[len(got)-1]
	if len(got) > 2 || last.Phase != corev1.PodSucceeded {
		t.Fatalf("statuses %+v, want Succeeded at the end", got)
	}
	term := last.ContainerStatuses[0].State.Terminated
	if term == nil || term.ExitCode != 0 || term.Reason != "Completed" || last.ContainerStatuses[0].Name != "executor" {
		t.Errorf("container %+v", last.ContainerStatuses)
	}
	env := strings.Split(readIn(p, "env"), "\n")
	for _, want := range []string{"SYNTHESIS_UUID=s 1", "KUBECONFIG=/k", "PATH=/synth:" + os.Getenv("PATH"), "GOGC=off", "GOMEMLIMIT=256MiB"} {
		if !slices.Contains(env, want) {
			t.Errorf("environment %q has no %q", env, want)
		}
	}
	for _, v := range env { // what else we have is not the container's
		if strings.HasPrefix(v, "GOCACHE=") || strings.HasPrefix(v, "USER=") {
			t.Errorf("environment has our own %s", v)
		}
	}
}

func TestRunnerNeverReportsSuccessEarly(t *testing.T) {
	client, _, _ := run(t, `until [ -e go ]; do sleep 0.01; done`, nil)
	eventually(t, "pod shown as running", func() bool { return len(statuses(t, client)) > 0 })
	got := statuses(t, client)[0]
	if got.Phase != corev1.PodRunning || got.ContainerStatuses[0].State.Running == nil {
		t.Fatalf("status %+v, want Running", got)
	}
}

func TestRunnerRestartsOnFailure(t *testing.T) {
	client, p, _ := run(t, `echo >> runs; [ $(wc -l < runs) -ge 3 ] && exit 0; echo 'it broke'; exit 7`, nil)
	eventually(t, "third run succeeds", func() bool {
		s := statuses(t, client)
		return len(s) > 0 && s[len(s)-1].Phase == corev1.PodSucceeded
	})
	if n := strings.Count(readIn(p, "runs")+"\n", "\n"); n > 3 {
		t.Errorf("%d runs, want 3", n)
	}
	s := ends(t, client)
	first, last := s[0], s[len(s)-1]
	if c := first.ContainerStatuses[0]; first.Phase != corev1.PodRunning || c.State.Waiting == nil || c.State.Waiting.Reason != "CrashLoopBackOff" ||
		c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ExitCode != 7 || !strings.Contains(c.LastTerminationState.Terminated.Message, "it broke") {
		t.Errorf("after the first failure %+v", first)
	}
	if c := last.ContainerStatuses[0]; c.RestartCount != 2 {
		t.Errorf("restarts %d, want 2", c.RestartCount)
	}
}

func TestRunnerFailsWhereNoRestartIsWanted(t *testing.T) {
	client, _, stop := run(t, `kill -9 $$`, func(p *corev1.Pod) { p.Spec.RestartPolicy = corev1.RestartPolicyNever })
	eventually(t, "pod failed", func() bool { return len(ends(t, client)) > 0 })
	stop()
	s := ends(t, client)
	if len(s) != 1 || s[0].Phase != corev1.PodFailed || s[0].ContainerStatuses[0].State.Terminated.ExitCode != 137 {
		t.Errorf("statuses %+v, want one: Failed with 137", s)
	}
}

func TestRunnerEndsTheProcessesOfADeletedPod(t *testing.T) {
	client, p, _ := run(t, `sleep 60 & echo $! > child; echo $$ > pid; wait`, nil)
	eventually(t, "process runs", func() bool { return readIn(p, "pid") != "" })
	if err := client.CoreV1().Pods(p.Namespace).Delete(t.Context(), p.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"pid", "child"} {
		var pid int
		if _, err := fmt.Sscan(readIn(p, name), &pid); err != nil {
			t.Fatal(err)
		}
		eventually(t, name+" ended", func() bool { return dead(pid) })
	}
	for _, s := range statuses(t, client) {
		if finished(s.Phase) {
			t.Errorf("a deleted pod was reported as %s", s.Phase)
		}
	}
}

func TestRunnerEndsProcessesWhenItStops(t *testing.T) {
	_, p, stop := run(t, `echo $$ > pid; exec sleep 60`, nil)
	eventually(t, "process runs", func() bool { return readIn(p, "pid") != "" })
	began := time.Now()
	stop()
	if d := time.Since(began); d > 2*time.Second {
		t.Errorf("stop took %v", d)
	}
	var pid int
	fmt.Sscan(readIn(p, "pid"), &pid)
	if !dead(pid) {
		t.Errorf("process %d is left", pid)
	}
}

func TestRunnerLeavesOtherPodsAlone(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"finished":           func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded },
		"on a node":          func(p *corev1.Pod) { p.Spec.NodeName = "real" },
		"of another manager": func(p *corev1.Pod) { p.Labels = nil },
		"elsewhere":          func(p *corev1.Pod) { p.Namespace = "default" },
	} {
		t.Run(name, func(t *testing.T) {
			client, p, stop := run(t, `echo > ran`, change)
			// A run takes a few milliseconds; another pod's run is the sign
			// that this one's would have been.
			other := p.DeepCopy()
			other.Name, other.UID, other.Namespace, other.Spec.NodeName = "synthesis-2", "uid-1", "eno-system", ""
			other.Status = corev1.PodStatus{}
			other.Labels = map[string]string{"app.kubernetes.io/managed-by": "eno"}
			other.Spec.Containers[0].Command = []string{"/bin/true"} // refused, and reported
			if err := client.Tracker().Add(runtime.Object(other)); err != nil {
				t.Fatal(err)
			}
			eventually(t, "other pod reported", func() bool { return len(statuses(t, client)) > 0 })
			stop()
			if readIn(p, "ran") != "" || fileExists(p, "ran") {
				t.Error("the pod was run")
			}
			if s := statuses(t, client); s[0].Phase != corev1.PodFailed || s[0].ContainerStatuses[0].State.Terminated.ExitCode != 127 {
				t.Errorf("a pod without an executor: %+v, want Failed with 127", s)
			}
		})
	}
}

func TestRunnerWithoutAProgram(t *testing.T) {
	if err := (&Runner{}).Run(t.Context()); err == nil || !strings.Contains(err.Error(), "executor") {
		t.Errorf("got %v, want what is missing", err)
	}
}

func fileExists(p *corev1.Pod, name string) bool {
	_, err := os.Stat(filepath.Join(p.Annotations["dir"], name))
	return err == nil
}

// dead tells whether a process is gone or only waits to be collected.
func dead(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(b), ") Z ")
}
