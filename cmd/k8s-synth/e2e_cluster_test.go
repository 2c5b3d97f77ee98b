//go:build linux

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// ask returns what the instrument answers to a question about an address.
func (s *session) ask(address string) string {
	s.t.Helper()
	conn, err := net.Dial("udp", s.osc)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	packet, err := osc.AppendMessage(nil, address)
	if err != nil {
		s.t.Fatal(err)
	}
	buf := make([]byte, 1<<16)
	for range 5 {
		if _, err := conn.Write(packet); err != nil {
			s.t.Fatal(err)
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		n, err := conn.Read(buf)
		if err != nil {
			continue
		}
		var m osc.Message
		if err := m.Decode(buf[:n]); err != nil || string(m.Address()) != address {
			s.t.Fatalf("asked for %s, got %q, %v", address, m.Address(), err)
		}
		for _, a := range m.AppendArgs(nil) {
			return strings.Trim(a.String(), `"`)
		}
	}
	s.t.Fatalf("%s does not answer", address)
	return ""
}

// answers waits until an address reads as it should.
func (s *session) answers(limit time.Duration, address, want string) {
	s.t.Helper()
	s.poll(limit, address, func(context.Context) error {
		if got := s.ask(address); got != want {
			return fmt.Errorf("it reads %s, want %s", got, want)
		}
		return nil
	})
}

// edit changes the text of the topology in its ConfigMap as a hand with
// kubectl does.
func (s *session) edit(old, new string) {
	s.t.Helper()
	s.poll(10*time.Second, "an edit of the topology", func(ctx context.Context) error {
		client := s.cluster().CoreV1().ConfigMaps(scenes.DefaultNamespace)
		cm, err := client.Get(ctx, "topology", metav1.GetOptions{})
		if err != nil {
			return err
		}
		text := cm.Data["topology.yaml"]
		if !strings.Contains(text, old) {
			return fmt.Errorf("there is no %q in\n%s", old, text)
		}
		patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"resourceVersion": cm.ResourceVersion}, "data": map[string]any{"topology.yaml": strings.Replace(text, old, new, 1)}})
		if err != nil {
			return err
		}
		c := exec.Command(program(s.t, "kubectl"), "--kubeconfig", s.last().Kubeconfig, "--namespace", scenes.DefaultNamespace,
			"patch", "configmap", "topology", "--type", "merge", "-p", string(patch))
		c.Env = append(os.Environ(), "HOME="+s.dir)
		if out, err := c.CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// TestEndToEndCluster plays the scene with every module: each cable is a fact
// about the cluster, in both directions, and whoever turns a knob or edits the
// topology, patch and cluster agree in the end.
func TestEndToEndCluster(t *testing.T) {
	needE2E(t, "oscsend")
	s := startPlay(t, nil, "--scene", "cluster", "--device", "null", "--ephemeral")
	const ns = scenes.DefaultNamespace
	s.waitReady(90*time.Second, 5)
	client := s.cluster()
	step := func(name string, f func()) {
		t.Helper()
		began := time.Now()
		f()
		t.Logf("%-60s %5.1f s", name, time.Since(began).Seconds())
	}
	ready := func(limit time.Duration, name string, n int32) {
		t.Helper()
		s.poll(limit, fmt.Sprintf("%d ready pods of %s", n, name), func(ctx context.Context) error {
			d, err := client.AppsV1().Deployments(ns).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err
			}
			if *d.Spec.Replicas != n || d.Status.ReadyReplicas != n {
				return fmt.Errorf("it has %d replicas, %d ready", *d.Spec.Replicas, d.Status.ReadyReplicas)
			}
			return nil
		})
	}
	endpoints := func(limit time.Duration, service string, n int) {
		t.Helper()
		s.poll(limit, "endpoints of service "+service, func(ctx context.Context) error {
			list, err := client.DiscoveryV1().EndpointSlices(ns).List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
			if err != nil {
				return err
			}
			got := 0
			for _, slice := range list.Items {
				for _, e := range slice.Endpoints {
					if e.Conditions.Ready == nil || *e.Conditions.Ready {
						got++
					}
				}
			}
			if got != n {
				return fmt.Errorf("%d, want %d", got, n)
			}
			return nil
		})
	}

	step("a Service selects the pods of its cable, and shows them", func() {
		endpoints(15*time.Second, "web", 3)
		endpoints(15*time.Second, "api", 2)
		s.answers(5*time.Second, "/service/api/endpoint_count", "2")
	})
	step("pods of a cable to a Node run there", func() {
		pods, err := client.CoreV1().Pods(ns).List(context.Background(), metav1.ListOptions{LabelSelector: "k8s-synth.io/module=deployment.api"})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range pods.Items {
			if p.Spec.NodeName != "stage-1" {
				t.Errorf("%s runs on %s", p.Name, p.Spec.NodeName)
			}
		}
	})
	step("the load of web raises it to 6 replicas by its autoscaler", func() {
		s.oscsend("/deployment/web/cpu", "f", "480")
		ready(60*time.Second, "web", 6)
		s.answers(5*time.Second, "/hpa/web/desired", "6")
	})
	step("an edit with kubectl: a knob turns", func() {
		s.edit("replicas: 2", "replicas: 3")
		s.answers(10*time.Second, "/deployment/api/replicas", "3")
		ready(20*time.Second, "api", 3)
	})
	step("an edit with kubectl: a cable is pulled, and its traffic stops", func() {
		s.edit("- deployment/api/pods -> service/api/selector\n", "")
		endpoints(20*time.Second, "api", 0)
		s.answers(5*time.Second, "/service/api/endpoint_count", "0")
	})
	step("an edit that makes no sense is told, and changes nothing", func() {
		s.edit("replicas: 3", "replicas: 99")
		s.poll(15*time.Second, "an Event on the ConfigMap", func(ctx context.Context) error {
			list, err := client.CoreV1().Events(ns).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=topology"})
			if err != nil {
				return err
			}
			for _, e := range list.Items {
				if e.Type == "Warning" && strings.Contains(e.Message, "replicas") {
					return nil
				}
			}
			return fmt.Errorf("%d events, none of them says what is wrong", len(list.Items))
		})
		if got := s.ask("/deployment/api/replicas"); got != "3" {
			t.Errorf("api has %s replicas after it", got)
		}
		// The next turn of a knob replaces the text, which is kept.
		s.oscsend("/deployment/api/replicas", "i", "2")
		ready(20*time.Second, "api", 2)
		if _, err := client.CoreV1().ConfigMaps(ns).Get(context.Background(), "topology-rejected", metav1.GetOptions{}); err != nil {
			t.Errorf("the rejected text is lost: %v", err)
		}
	})
	step("a cordon by the panel, and its end by kubectl", func() {
		s.oscsend("/node/stage-2/cordon", "s", "on")
		s.poll(10*time.Second, "a cordoned node", func(ctx context.Context) error {
			n, err := client.CoreV1().Nodes().Get(ctx, "stage-2", metav1.GetOptions{})
			if err == nil && !n.Spec.Unschedulable {
				err = fmt.Errorf("it takes pods")
			}
			return err
		})
		s.kubectl("uncordon", "stage-2")
		s.answers(10*time.Second, "/node/stage-2/cordon", "off")
	})
	step("a bare pod is held, and let go", func() {
		s.oscsend("/pod/solo/hold", "s", "on")
		s.answers(20*time.Second, "/pod/solo/ready", "10")
		s.oscsend("/pod/solo/hold", "s", "off")
		s.poll(20*time.Second, "the end of a bare pod", func(ctx context.Context) error {
			_, err := client.CoreV1().Pods(ns).Get(ctx, "solo", metav1.GetOptions{})
			if apierrors.IsNotFound(err) {
				return nil
			}
			return fmt.Errorf("it is there: %v", err)
		})
	})
	step("a Job runs once", func() {
		s.oscsend("/job/swell/start", "f", "10")
		s.poll(30*time.Second, "a complete Job", func(ctx context.Context) error {
			j, err := client.BatchV1().Jobs(ns).Get(ctx, "swell-1", metav1.GetOptions{})
			if err == nil && j.Status.Succeeded != 1 {
				err = fmt.Errorf("%d succeeded", j.Status.Succeeded)
			}
			return err
		})
		s.answers(10*time.Second, "/job/swell/progress", "10")
	})
	step("requests for real, to a Service with endpoints and to one without", func() {
		s.oscsend("/apiserver/api/mode", "s", "real")
		s.answers(5*time.Second, "/service/web/live", "10")
		time.Sleep(2 * time.Second) // two beats
		s.oscsend("/ingress/front/path", "f", "1")
		time.Sleep(2 * time.Second)
		s.oscsend("/apiserver/api/mode", "s", "simulated")
		s.answers(5*time.Second, "/service/web/live", "0")
	})
	step("without power nothing runs, and with it all is as it was", func() {
		s.oscsend("/arm", "i", "1") // what cannot be undone
		s.oscsend("/namespace/stage/power", "s", "off")
		s.poll(30*time.Second, "an empty namespace", func(ctx context.Context) error {
			list, err := client.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{LabelSelector: "k8s-synth.io/module in (deployment.web, deployment.api)"})
			if err == nil && len(list.Items) > 0 {
				err = fmt.Errorf("%d pods", len(list.Items))
			}
			return err
		})
		s.oscsend("/namespace/stage/power", "s", "on")
		ready(30*time.Second, "api", 2)
		ready(60*time.Second, "web", 6)
	})
	last := s.last()
	if last.Engine.Dropped > 0 || last.Engine.Scrubbed > 0 {
		t.Errorf("engine: %+v", last.Engine)
	}
	s.end(20 * time.Second)
	take, err := os.ReadFile(s.take)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range [][]string{{`"kind":"ingress"`, `"field":"route","new":"/"`}, {`"kind":"service"`, `"name":"web"`, `"field":"served","new":"web-`}, {`"kind":"service"`, `"name":"api"`, `"field":"missed"`}} {
		if !slices.ContainsFunc(strings.Split(string(take), "\n"), func(line string) bool {
			return !slices.ContainsFunc(want, func(w string) bool { return !strings.Contains(line, w) })
		}) {
			t.Errorf("the take has no line with %q", want)
		}
	}
	w, err := hardware.ReadWAV(s.wav)
	if err != nil {
		t.Fatal(err)
	}
	left, right := w.Channels[0], w.Channels[1]
	loud := measure.MeasureLoudness(float64(w.Rate), left, right)
	t.Logf("%.1f LUFS, true peak %.1f dBTP, %d underruns", loud.Integrated, max(measure.TruePeak(left), measure.TruePeak(right)), last.Audio.Underruns)
	if loud.Integrated < -21 || loud.Integrated > -15 {
		t.Errorf("%.1f LUFS", loud.Integrated)
	}
}
