//go:build linux && !race

package realnode

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/kube/eno"
)

// manifests is where this test finds the manifests, from its own folder.
const manifests = "../install"

// proveInstalled applies kube/install and kube/install/listen-only. Everything
// but the control plane is a container then: Eno's controllers, the
// synthesizer, the instrument, the voices.
func proveInstalled(t *testing.T) {
	s := setUp(t)
	// The embedded cluster brings Eno itself; it stands still here, so that
	// what is done is done by the installed one.
	for _, name := range []string{"eno-controller", "eno-reconciler"} {
		pid := childOf(t, s.control.cmd.Process.Pid, name)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
	}
	kubectl := func(args ...string) (string, error) {
		// A context of its own: it is also asked after a failure.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, filepath.Join(s.bin, "kubectl"), append([]string{"--kubeconfig=" + s.kubeconfig}, args...)...)
		c.Env = append(os.Environ(), "HOME="+s.dir)
		out, err := c.CombinedOutput()
		return string(out), err
	}
	// A cluster has a name service; this node has none, so that the API's name
	// is written into the hosts of the instrument's pods. All else is applied
	// as it is.
	copied := filepath.Join(s.dir, "manifests")
	if err := os.CopyFS(copied, os.DirFS(manifests)); err != nil {
		t.Fatal(err)
	}
	const hosts = `
patches:
- target: {kind: Deployment, namespace: k8s-synth-system}
  patch: |-
    - {op: add, path: /spec/template/spec/hostAliases, value: [{ip: 10.96.0.1, hostnames: [kubernetes.default.svc]}]}
`
	for dir, resources := range map[string]string{"on-a-node": "[../crds, ../eno, ../play]", "listening-on-a-node": "[../listen-only]"} {
		if err := os.MkdirAll(filepath.Join(copied, dir), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(copied, dir, "kustomization.yaml"), []byte("resources: "+resources+hosts), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := kubectl("apply", "-k", filepath.Join(copied, "on-a-node")); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
	applied := time.Now()
	t.Cleanup(func() {
		if !t.Failed() {
			return
		}
		for _, args := range [][]string{
			{"get", "pods,compositions,resourceslices", "-A", "-o", "wide"}, {"get", "events", "-A"}, {"-n", "eno-system", "logs", "deployment/eno-controller", "--tail=30"},
			{"-n", "eno-system", "logs", "deployment/eno-reconciler", "--tail=30"}, {"get", "compositions", "-A", "-o", "yaml"},
		} {
			out, _ := kubectl(args...)
			t.Logf("kubectl %s\n%s", strings.Join(args, " "), out)
		}
	})
	s.step("applied")

	rolledOut := func(namespace, name string) {
		t.Helper()
		eventually(t, name+" is ready", func() error {
			d, err := s.client.AppsV1().Deployments(namespace).Get(t.Context(), name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if d.Status.ReadyReplicas != 1 || d.Status.ObservedGeneration != d.Generation {
				pods, _ := s.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
				var all []string
				for _, p := range pods.Items {
					all = append(all, fmt.Sprintf("%s %s %+v", p.Name, p.Status.Phase, p.Status.ContainerStatuses))
				}
				log, _ := kubectl("--namespace="+namespace, "logs", "deployment/"+name, "--tail=20")
				return fmt.Errorf("%+v; pods %s; log:\n%s", d.Status.Conditions, strings.Join(all, "; "), log)
			}
			return nil
		})
	}
	rolledOut("eno-system", "eno-controller")
	rolledOut("eno-system", "eno-reconciler")
	rolledOut("k8s-synth-system", "k8s-synth")
	s.step("Eno's controllers and the instrument are ready %.1f s after kubectl apply", time.Since(applied).Seconds())

	// The scene's own patch, published, synthesized and applied by what runs in
	// the cluster.
	voices := 0
	eventually(t, "the patch's pods are ready", func() error {
		list, err := s.client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: eno.ManagedByLabel + "=" + eno.ManagedBy})
		if err != nil {
			return err
		}
		voices = 0
		for _, p := range list.Items {
			if ready(&p) && p.Spec.NodeName == nodeName {
				voices++
			}
		}
		if voices == 0 || voices != len(list.Items) {
			log, _ := kubectl("--namespace=k8s-synth-system", "logs", "deployment/k8s-synth", "--tail=20")
			return fmt.Errorf("%d of %d; the instrument says:\n%s", voices, len(list.Items), log)
		}
		return nil
	})
	s.step("%d voices of the instrument's scene are ready %.1f s after kubectl apply", voices, time.Since(applied).Seconds())

	out, err := kubectl("--namespace=k8s-synth-system", "exec", "deployment/k8s-synth", "--", "k8s-synth", "status", "--state-dir=/var/lib/k8s-synth")
	if err != nil {
		t.Errorf("status in the container: %v\n%s", err, out)
	}
	if out, err := kubectl("apply", "-k", filepath.Join(copied, "listening-on-a-node")); err != nil {
		t.Fatalf("kubectl apply: %v\n%s", err, out)
	}
	rolledOut("k8s-synth-system", "k8s-synth-listen-only")
	s.step("the listener is ready")

	// A right that a role lacks shows in a log: nothing that these programs did
	// was refused. (The difference that --yes shows before is a dry run with
	// rights that only Eno has.)
	time.Sleep(3 * time.Second)
	for _, d := range []struct{ namespace, name string }{
		{"eno-system", "eno-controller"}, {"eno-system", "eno-reconciler"},
		{"k8s-synth-system", "k8s-synth"}, {"k8s-synth-system", "k8s-synth-listen-only"},
	} {
		log, err := kubectl("--namespace="+d.namespace, "logs", "deployment/"+d.name)
		if err != nil {
			t.Errorf("log of %s: %v\n%s", d.name, err, log)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(strings.ToLower(line), "forbidden") && !strings.Contains(line, "dry run") {
				t.Errorf("%s: %s", d.name, strings.TrimSpace(line))
			}
		}
	}
	// And a right that it does not need is not there.
	for _, can := range []struct {
		account string
		args    []string
		want    string
	}{
		{"k8s-synth-system:k8s-synth", []string{"delete", "pods", "--namespace=k8s-synth"}, "yes"},
		{"k8s-synth-system:k8s-synth", []string{"delete", "pods", "--namespace=default"}, "no"},
		{"k8s-synth-system:k8s-synth", []string{"get", "secrets", "--namespace=k8s-synth"}, "no"},
		{"k8s-synth-system:k8s-synth-listen-only", []string{"watch", "pods", "--namespace=default"}, "yes"},
		{"k8s-synth-system:k8s-synth-listen-only", []string{"patch", "pods", "--namespace=k8s-synth"}, "no"},
		{"eno-system:eno-reconciler", []string{"create", "deployments.apps", "--namespace=k8s-synth"}, "yes"},
		{"eno-system:eno-reconciler", []string{"create", "deployments.apps", "--namespace=default"}, "no"},
		{"eno-system:eno-synthesizer", []string{"get", "configmaps/topology", "--namespace=k8s-synth"}, "yes"},
		{"eno-system:eno-synthesizer", []string{"get", "configmaps/other", "--namespace=k8s-synth"}, "no"},
	} {
		out, err := kubectl(append([]string{"auth", "can-i", "--quiet=false", "--as=system:serviceaccount:" + can.account}, can.args...)...)
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if lines := strings.Fields(out); len(lines) == 0 || lines[len(lines)-1] != can.want {
			t.Errorf("%s may %s: %q, want %s", can.account, strings.Join(can.args, " "), strings.TrimSpace(out), can.want)
		}
	}
	s.step("no right was missed, and none is there that is not needed")
	events, err := s.client.CoreV1().Events("eno-system").List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning && e.Reason == "Failed" {
			t.Errorf("event: %s %s: %s", e.InvolvedObject.Name, e.Reason, e.Message)
		}
	}
}

// childOf finds a child process by its program's name.
func childOf(t *testing.T, parent int, name string) int {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	for _, f := range tasks {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		for _, pid := range strings.Fields(string(b)) {
			if exe, err := os.Readlink("/proc/" + pid + "/exe"); err == nil && filepath.Base(exe) == name {
				var n int
				if _, err := fmt.Sscan(pid, &n); err != nil {
					t.Fatal(err)
				}
				return n
			}
		}
	}
	t.Fatalf("process %d has no child %s", parent, name)
	return 0
}
