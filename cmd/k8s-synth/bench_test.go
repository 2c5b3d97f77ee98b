//go:build linux

package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

func needBench(t *testing.T) {
	t.Helper()
	if os.Getenv("K8S_SYNTH_BENCH") != "1" {
		t.Skip("takes minutes and judges nothing; K8S_SYNTH_BENCH=1 runs it")
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

// table prints rows, one string a column.
func table(t *testing.T, rows ...[]string) {
	t.Helper()
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(w, strings.Join(r, "\t"))
	}
	_ = w.Flush()
	t.Logf("\n%s", b.String())
}

// renderSpeed renders without a file, three times, and returns the median of
// how many seconds of sound a second of work makes.
func renderSpeed(t *testing.T, scene *scenes.Scene, script *scenes.Script, seconds float64) float64 {
	t.Helper()
	var speeds []float64
	for range 3 {
		r, err := newOffline(scene, script, 48000)
		if err != nil {
			t.Fatal(err)
		}
		total := int64(seconds * 48000)
		began := time.Now()
		for r.frame < total {
			r.block(total)
		}
		speeds = append(speeds, seconds/time.Since(began).Seconds())
	}
	return median(speeds)
}

// TestBenchRender compares rendering with real time.
func TestBenchRender(t *testing.T) {
	needBench(t)
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	demo, err := (&scenes.Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	rest, err := scriptFor("", scene)
	if err != nil {
		t.Fatal(err)
	}
	row := func(name string, speed float64) []string {
		return []string{name, fmt.Sprintf("%.0f × real time", speed), "100 × are wanted"}
	}
	table(t, []string{"render, default scene, 48 kHz", "median of 3", ""},
		row("a cluster that stays away", renderSpeed(t, scene, &scenes.Script{}, 60)),
		row("converged, four voices", renderSpeed(t, scene, rest, 60)),
		row("the demo script", renderSpeed(t, scene, demo, demo.Length().Seconds()+4)))
}

// TestBenchStart measures starts, the memory of each process, and how long a
// knob takes to reach the Deployment.
func TestBenchStart(t *testing.T) {
	needBench(t)
	needPrograms(t, "oscsend")
	var sound, api, ready, pods []float64
	for i := range 3 {
		s := startPlay(t, nil, "--device", "null", "--ephemeral")
		p := s.wait(60*time.Second, "cluster", func(p *playStatus) bool { return p.Cluster.Boot == mapping.BootReady })
		ready = append(ready, p.Seconds)
		pods = append(pods, s.waitReady(60*time.Second, 4).Seconds)
		s.mu.Lock()
		for _, x := range s.samples {
			if x.status.Cluster.Reachable {
				api = append(api, x.seconds)
				break
			}
		}
		s.mu.Unlock()
		sound = append(sound, s.last().FirstSound)
		if i == 2 {
			benchKnob(t, s)
			benchMemory(t, s)
		}
		s.end(25 * time.Second)
	}
	row := func(name string, v []float64, wanted string) []string {
		return []string{name, fmt.Sprintf("%.2f s", median(v)), fmt.Sprintf("%.2f s", slices.Max(v)), wanted}
	}
	table(t, []string{"start, ephemeral", "median of 3", "maximum", ""},
		row("first sound", sound, "1 s is wanted"), row("API answers", api, ""),
		row("cluster ready", ready, "8 s are wanted"), row("four pods ready", pods, ""))
}

func benchMemory(t *testing.T, s *session) {
	t.Helper()
	rows := [][]string{{"memory", "resident"}, {"k8s-synth", megabytes(residentBytes(s.cmd.Process.Pid))}}
	for _, p := range s.family() {
		name := p.name
		if path, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.pid)); err == nil {
			name = filepath.Base(path)
		}
		rows = append(rows, []string{name, megabytes(residentBytes(p.pid))})
	}
	table(t, rows...)
}

// benchKnob turns the knob ten times by OSC, and waits for a watch to tell of
// the ConfigMap and of the Deployment.
func benchKnob(t *testing.T, s *session) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	client := s.cluster()
	deployments, err := client.AppsV1().Deployments(scenes.DefaultNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", "web").String()})
	if err != nil {
		t.Fatal(err)
	}
	defer deployments.Stop()
	maps, err := client.CoreV1().ConfigMaps(scenes.DefaultNamespace).Watch(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", eno.ConfigMapName).String()})
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Stop()
	c, err := net.Dial("udp", s.osc)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	var toMap, toDeployment []float64
	for i := range 10 {
		n := int32(5 + i%2)
		for drained := false; !drained; {
			select {
			case <-maps.ResultChan():
			case <-deployments.ResultChan():
			case <-time.After(1500 * time.Millisecond):
				drained = true
			}
		}
		began := time.Now()
		if _, err := c.Write(oscMessage(replicasAddress, n)); err != nil {
			t.Fatal(err)
		}
		published := false
		for seen := false; !seen; {
			select {
			case e, ok := <-maps.ResultChan():
				if m, is := e.Object.(*corev1.ConfigMap); !ok || !is {
					t.Fatalf("the watch of the ConfigMap ended: %v", e)
				} else if !published && strings.Contains(m.Data[eno.ConfigMapKey], fmt.Sprintf("replicas: %d\n", n)) {
					published = true
					toMap = append(toMap, 1000*time.Since(began).Seconds())
				}
			case e, ok := <-deployments.ResultChan():
				if d, is := e.Object.(*appsv1.Deployment); !ok || !is {
					t.Fatalf("the watch of the Deployment ended: %v", e)
				} else if *d.Spec.Replicas == n {
					seen = true
					toDeployment = append(toDeployment, 1000*time.Since(began).Seconds())
				}
			case <-time.After(20 * time.Second):
				t.Fatalf("trial %d: replicas %d never reached the Deployment", i, n)
			}
		}
	}
	row := func(name string, v []float64) []string {
		if len(v) == 0 {
			return []string{name, "not seen"}
		}
		return []string{name, strconv.Itoa(len(v)), fmt.Sprintf("%.0f ms", median(v)), fmt.Sprintf("%.0f ms", slices.Max(v))}
	}
	table(t, []string{"knob (OSC datagram) to a watch", "trials", "median", "maximum"},
		row("topology ConfigMap", toMap), row("Deployment (Eno's floor is 151 ms)", toDeployment))
}
