//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/k8s-synth/k8s-synth/scenes"
)

// TestEndToEndElsewhere plays on a cluster that is not the instrument's own:
// first it shows what it would do, then it asks; it writes in the namespace
// that was named alone; and a listener needs no more than get, list and watch.
func TestEndToEndElsewhere(t *testing.T) {
	needE2E(t)
	dir, err := os.MkdirTemp("", "elsewhere-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	cluster := exec.Command(program(t, "k8s-synth-cluster"), "--state-dir", filepath.Join(dir, "cluster"))
	var log bytes.Buffer
	cluster.Stderr = &log
	if err := cluster.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cluster.Process.Signal(syscall.SIGTERM)
		_ = cluster.Wait()
		if t.Failed() {
			t.Logf("%s", log.String()[max(log.Len()-2000, 0):])
		}
	}()
	kubeconfig := filepath.Join(dir, "cluster", "kubeconfig")
	s := &session{t: t, dir: dir}
	s.poll(60*time.Second, "the cluster", func(ctx context.Context) error {
		config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
		if err != nil {
			return err
		}
		if s.client, err = kubernetes.NewForConfig(config); err != nil {
			return err
		}
		nodes, err := s.client.CoreV1().Nodes().List(ctx, metav1.ListOptions{})
		if err == nil && len(nodes.Items) < 3 {
			err = fmt.Errorf("%d nodes", len(nodes.Items))
		}
		return err
	})
	play := func(args ...string) (code int, text string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, program(t, "k8s-synth"), append([]string{"play", "--kubeconfig", kubeconfig, "--namespace", "stage", "--device", "null", "--osc", "off", "--state-dir", filepath.Join(dir, "s")}, args...)...)
		out, err := c.CombinedOutput()
		if err != nil && c.ProcessState == nil {
			t.Fatal(err)
		}
		return c.ProcessState.ExitCode(), string(out)
	}
	nothing := func(after string) {
		t.Helper()
		if _, err := s.client.CoreV1().Namespaces().Get(context.Background(), "stage", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("after %s the namespace is there: %v", after, err)
		}
	}
	if code, text := play("--dry-run"); code != 0 || !strings.Contains(text, "+kind: Deployment") || !strings.Contains(text, "+  replicas: 4") {
		t.Errorf("--dry-run: exit code %d, says\n%s", code, text)
	}
	nothing("a dry run")
	if code, text := play(); code != 2 || !strings.Contains(text, "--yes") || !strings.Contains(text, "+kind: Deployment") {
		t.Errorf("without consent: exit code %d, says\n%s", code, text)
	}
	nothing("no consent")

	writer := startPlay(t, nil, "--kubeconfig", kubeconfig, "--namespace", "stage", "--device", "null", "--yes")
	writer.waitReady(60*time.Second, 4)
	for _, ns := range []string{scenes.DefaultNamespace, "default"} {
		list, err := s.client.AppsV1().Deployments(ns).List(context.Background(), metav1.ListOptions{})
		if err != nil || len(list.Items) != 0 {
			t.Errorf("namespace %s was not named and has %d Deployments: %v", ns, len(list.Items), err)
		}
	}

	// A listener with the rights that the installation gives one.
	access := exec.Command(program(t, "kubectl"), "--kubeconfig", kubeconfig, "apply",
		"-f", "../../kube/install/listen-only/namespace.yaml", "-f", "../../kube/install/listen-only/access.yaml")
	access.Env = append(os.Environ(), "HOME="+dir)
	if out, err := access.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	config, err := clientcmd.LoadFromFile(kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range config.AuthInfos {
		u.Impersonate = "system:serviceaccount:k8s-synth-system:k8s-synth-listen-only"
	}
	listening := filepath.Join(dir, "listener.kubeconfig")
	if err := clientcmd.WriteToFile(*config, listening); err != nil {
		t.Fatal(err)
	}
	// The API server learns of the rights by a watch, as everybody does.
	s.poll(10*time.Second, "the listener's rights", func(ctx context.Context) error {
		config, err := clientcmd.BuildConfigFromFlags("", listening)
		if err != nil {
			return err
		}
		client, err := kubernetes.NewForConfig(config)
		if err != nil {
			return err
		}
		_, err = client.AppsV1().Deployments("stage").List(ctx, metav1.ListOptions{})
		return err
	})
	scene := filepath.Join(dir, "stage.yaml")
	if out, err := exec.Command(program(t, "k8s-synth"), "scene", "from-cluster", "--kubeconfig", listening, "--namespace", "stage", "-o", scene).CombinedOutput(); err != nil {
		t.Fatalf("from-cluster: %v\n%s", err, out)
	}
	listener := startPlay(t, nil, "--scene", scene, "--kubeconfig", listening, "--device", "null", "--listen-only")
	listener.waitReady(30*time.Second, 4)
	if got := listener.ask("/apiserver/api/mode"); got != "listen_only" {
		t.Errorf("the mode is %s", got)
	}
	// What another does is heard, and what the listener turns does nothing.
	writer.oscsend("/deployment/web/replicas", "i", "6")
	listener.waitReady(30*time.Second, 6)
	listener.oscsend("/deployment/web/replicas", "i", "1")
	listener.oscsend("/apiserver/api/mode", "s", "simulated")
	time.Sleep(2 * time.Second)
	if p := listener.last(); p.Cluster.Desired != 6 || p.Cluster.Ready != 6 {
		t.Errorf("a listener's knob moved something: %+v", p.Cluster)
	}
	text, err := os.ReadFile(listener.log)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "forbidden") {
		t.Errorf("the listener tried what it may not:\n%s", text)
	}
	listener.end(15 * time.Second)
	writer.end(15 * time.Second)
	// What was played stays, as a patch does when the player leaves.
	if list, err := s.client.CoreV1().Pods("stage").List(context.Background(), metav1.ListOptions{LabelSelector: "k8s-synth.io/module=deployment.web"}); err != nil || len(list.Items) != 6 || list.Items[0].Status.Phase != corev1.PodRunning {
		t.Errorf("%d pods are left: %v", len(list.Items), err)
	}
}
