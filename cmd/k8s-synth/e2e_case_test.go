//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/emulator"
)

// endpoints is how many pods are behind a Service.
func (s *session) endpoints(ctx context.Context, service string) (n int, err error) {
	list, err := s.cluster().DiscoveryV1().EndpointSlices("k8s-synth").List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/service-name=" + service})
	if err != nil {
		return 0, err
	}
	for _, e := range list.Items {
		for _, p := range e.Endpoints {
			if p.Conditions.Ready == nil || *p.Conditions.Ready {
				n += len(p.Addresses)
			}
		}
	}
	return n, nil
}

// since waits for a line of the log that was not there before a mark, and
// returns how long that took.
func (s *session) since(mark int, limit time.Duration, pattern string) time.Duration {
	s.t.Helper()
	began := time.Now()
	re := regexp.MustCompile(pattern)
	for {
		text, _ := os.ReadFile(s.log)
		if re.Match(text[min(mark, len(text)):]) {
			return time.Since(began)
		}
		if time.Since(began) > limit {
			s.t.Fatalf("the log says no %s within %s, but\n%s", pattern, limit, text[min(mark, len(text)):])
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *session) mark() int {
	text, _ := os.ReadFile(s.log)
	return len(text)
}

// The whole instrument with a rig on JACK, whose cables are those of a case:
// pitches, gates and the clock go out, voltages come in and move the cluster, a
// cable is sensed and becomes a Service's selector, and a panel plays a pod.
func TestEndToEndCase(t *testing.T) {
	needE2E(t)
	g := newStage(t)
	rigFile, err := filepath.Abs(filepath.Join("testdata", "case-rig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	tty, err := emulator.OpenTerminal("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tty.Close() })
	pod := emulator.New("pod/web-1", backplane.Serial)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	go func() { _ = pod.Serve(ctx, tty, tty) }()
	ear := g.musician("ear", 4)
	steady := g.calm()
	s := startPlay(t, nil, "--ephemeral", "--scene", "case", "--rig", rigFile, "--sense", "--metrics", "off", "--midi", "off", "--panel", tty.Path())
	s.waitReady(60*time.Second, 5)
	out := func(i int) string { return fmt.Sprintf("k8s-synth:playback%d", i) }
	in := func(i int) string { return fmt.Sprintf("k8s-synth:capture%d", i) }
	for i, ch := range []int{2, 3, 6, 7} { // pitch-1, gate-1, clock, run
		g.connect(out(ch), fmt.Sprintf("ear:audio_%d", i+1))
	}

	// What goes out: volts over 10 on this interface.
	calm := g.calm()
	was := s.wait(5*time.Second, "a status", func(*playStatus) bool { return true }).Audio.Underruns
	time.Sleep(1200 * time.Millisecond)
	to := ear.frame()
	from := to - stageRate/4
	volts := func(channel int) (v []float64) {
		for _, x := range ear.sound(channel, from, to) {
			v = append(v, 10*float64(x))
		}
		return v
	}
	sent := map[string]float64{}
	for _, j := range s.last().Case.Jack {
		sent[j.Name] = j.Volts
	}
	mean := func(v []float64) (m float64) {
		for _, x := range v {
			m += x / float64(len(v))
		}
		return m
	}
	if p := volts(0); math.Abs(mean(p)-math.Round(mean(p)*12)/12) > 1e-4 || slices.Max(p)-slices.Min(p) > 2*0.17e-3 {
		t.Errorf("pitch-1 is %.5f V, from %.5f to %.5f; want a semitone, and no more than the code of sensing on it", mean(p), slices.Min(p), slices.Max(p))
	}
	if v := volts(1); math.Abs(mean(v)-5) > 2e-3 {
		t.Errorf("gate-1 is %.4f V while its pod is ready", mean(v))
	}
	ups := risings(ear.sound(2, to-stageRate, to), to-stageRate)
	odd := 0
	for i := 1; i < len(ups); i++ {
		// 24 pulses a beat at 100 BPM.
		if d := int(ups[i]-ups[i-1]) - 1200; d < -1 || d > 1 {
			odd++
		}
	}
	if odd > 0 && calm() || len(ups) < 38 {
		t.Errorf("the clock gave %d pulses in a second, %d of them out of step", len(ups), odd)
	}
	t.Logf("pitch-1 %.4f V (the status says %.4f), gate-1 %.3f V, %d clock pulses a second, run %.3f V", mean(volts(0)), sent["pitch-1"], mean(volts(1)), len(ups), mean(volts(3)))

	// A panel of hardware, whose firmware runs here, is a pod.
	deadline := time.Now().Add(15 * time.Second)
	for pod.State().Module != "pod/web-1" || pod.State().ReadyShown < 0.9 {
		if time.Now().After(deadline) {
			t.Fatalf("the panel shows %+v", pod.State())
		}
		time.Sleep(10 * time.Millisecond)
	}
	cpu := func() float64 {
		var patch playedPatch
		if err := fetch(context.Background(), socketPath(s.state), "/patch", &patch); err != nil {
			t.Fatal(err)
		}
		for _, m := range patch.Modules {
			if m.ID == "pod/web-1" {
				return m.Value("cpu")
			}
		}
		return math.NaN()
	}
	for i := range 26 { // through the value that it is to take up
		pod.Knob(float64(i) / 50)
		time.Sleep(15 * time.Millisecond)
	}
	for deadline = time.Now().Add(5 * time.Second); math.Abs(cpu()-2000) > 60 && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	if got := cpu(); math.Abs(got-2000) > 60 {
		t.Errorf("the knob of the panel turned the pod's CPU to %g m", got)
	}

	// A cable in the case is one of the patch, and of the cluster.
	const edge = `deployment/web/pods -> service/web/selector`
	var plugged, pulled, selects, ends []float64
	for range 3 {
		m, began := s.mark(), time.Now()
		g.connect(out(10), in(3))
		s.since(m, 5*time.Second, `patched wiring="plug `+edge)
		plugged = append(plugged, time.Since(began).Seconds()*1e3)
		s.poll(10*time.Second, "endpoints of the Service", func(ctx context.Context) error {
			if n, err := s.endpoints(ctx, "web"); err != nil || n != 5 {
				return fmt.Errorf("%d endpoints, %w", n, cmpErr(err))
			}
			return nil
		})
		selects = append(selects, time.Since(began).Seconds()*1e3)
		m, began = s.mark(), time.Now()
		g.disconnect(out(10), in(3))
		s.since(m, 5*time.Second, `patched wiring="pull `+edge)
		pulled = append(pulled, time.Since(began).Seconds()*1e3)
		s.poll(10*time.Second, "no endpoints", func(ctx context.Context) error {
			if n, err := s.endpoints(ctx, "web"); err != nil || n != 0 {
				return fmt.Errorf("%d endpoints, %w", n, cmpErr(err))
			}
			return nil
		})
		ends = append(ends, time.Since(began).Seconds()*1e3)
	}
	t.Logf("cable to patch %.0f ms, to endpoints %.0f ms; pulled: patch %.0f ms, no endpoints %.0f ms", plugged, selects, pulled, ends)

	// Voltages play the cluster: run's 5 V are five pods more, and a cordon.
	g.connect(out(7), in(0))
	s.deployment(15*time.Second, 10)
	g.disconnect(out(7), in(0))
	s.deployment(15*time.Second, 5)
	cordoned := func(want bool) {
		t.Helper()
		s.poll(10*time.Second, "the node", func(ctx context.Context) error {
			n, err := s.cluster().CoreV1().Nodes().Get(ctx, "stage-1", metav1.GetOptions{})
			if err != nil {
				return err
			}
			if n.Spec.Unschedulable != want {
				return fmt.Errorf("unschedulable is %t", n.Spec.Unschedulable)
			}
			return nil
		})
	}
	g.connect(out(7), in(1))
	cordoned(true)
	g.disconnect(out(7), in(1))
	cordoned(false)

	last := s.last()
	if n := last.Audio.Underruns; n > was && calm() || n > 0 && steady() {
		t.Errorf("%d underruns, %d of them before the first look", n, was)
	}
	s.end(10 * time.Second)
}

func cmpErr(err error) error {
	if err == nil {
		return errors.New("not yet")
	}
	return err
}

// A calibration that comes while the whole instrument plays is taken over, from
// the command as from a file, and a broken one is refused.
func TestEndToEndCalibrated(t *testing.T) {
	needE2E(t)
	calibrating(t, calibrationRig)
	rigFile, err := filepath.Abs(filepath.Join("testdata", "case-rig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s := startPlay(t, []string{"XDG_CONFIG_HOME=" + os.Getenv("XDG_CONFIG_HOME")}, "--ephemeral", "--scene", "case", "--rig", rigFile, "--backend", "null",
		"--web", "off", "--metrics", "off", "--midi", "off", "--oscquery", "off", "--osc-tcp", "off")
	of := func(jack string) (c calibrationStatus) {
		for _, j := range s.last().Case.Jack {
			if j.Name == jack && j.Calibration != nil {
				c = *j.Calibration
			}
		}
		return c
	}
	mark := s.mark()
	path := offBy(t, "pitch-1", 3, 0.01, nil)
	took := s.since(mark, 10*time.Second, `calibration jack=pitch-1 now="corrected as calibrated by meter`)
	file := filepath.Join(t.TempDir(), "siwa.txt")
	if _, _, err := calibrateWith(t.Context(), "", "export", "pitch-1", "-o", file); err != nil {
		t.Fatal(err)
	}
	mark = s.mark()
	_, say, err := calibrateWith(t.Context(), "", "import", file, "--rig", rigFile, "--jack", "pitch-1", "--state-dir", s.state)
	if err != nil || !strings.Contains(say, "the instrument plays: pitch-1 is corrected by it from now on") {
		t.Errorf("%v: %s", err, say)
	}
	s.since(mark, 5*time.Second, `calibration jack=pitch-1 now="corrected as calibrated by import`)
	mark = s.mark()
	if err := os.WriteFile(path, []byte("version: 1\nnonsense\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	s.since(mark, 10*time.Second, `calibration of pitch-1: .*stays in use`)
	s.wait(5*time.Second, "the status", func(*playStatus) bool {
		c := of("pitch-1")
		return c.Method == "import" && strings.Contains(c.Refused, path)
	})
	t.Logf("a file was taken over %.0f ms after it was written", took.Seconds()*1e3)
	s.end(10 * time.Second)
}
