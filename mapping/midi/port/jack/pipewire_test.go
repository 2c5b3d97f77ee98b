//go:build cgo && linux

package jack

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"
)

// The same library name leads to PipeWire, which is a JACK server of another make.
func TestProofPipeWire(t *testing.T) {
	proof(t)
	if os.Getenv("K8S_SYNTH_PIPEWIRE_CHILD") != "" {
		onPipeWire(t)
		return
	}
	need(t, "pipewire", "jack_connect", "cc")
	libs, _ := filepath.Glob("/usr/lib/*/pipewire-0.3/jack/libjack.so.0")
	if len(libs) == 0 {
		t.Skip("pipewire-jack is not installed")
	}
	dir := t.TempDir()
	env := append(os.Environ(), "XDG_RUNTIME_DIR="+dir, "PIPEWIRE_RUNTIME_DIR="+dir, "HOME="+dir,
		"LD_LIBRARY_PATH="+filepath.Dir(libs[0]), "K8S_SYNTH_PIPEWIRE_CHILD=1", "PIPEWIRE_QUANTUM=256/48000")
	var log bytes.Buffer
	pw := exec.Command("pipewire")
	pw.Env = env
	pw.Stdout, pw.Stderr = &log, &log
	pw.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(pw); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pw.Process.Kill(); _ = pw.Wait() }()
	if !within(5*time.Second, func() bool { _, err := os.Stat(filepath.Join(dir, "pipewire-0")); return err == nil }) {
		t.Fatalf("pipewire does not come up: %s", log.String())
	}
	child := exec.Command(os.Args[0], "-test.run=^TestProofPipeWire$", "-test.v", "-test.timeout=60s")
	child.Env = env
	child.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := child.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Errorf("under PipeWire: %v", err)
	}
}

func onPipeWire(t *testing.T) {
	// Two peers: in a loop of two clients one connection is a cycle late.
	p, source := startPeer(t, "peer"), startPeer(t, "source")
	d := newDriver(t)
	var box inbox
	_, virtual, err := d.Virtual("k8s-synth", box.receive)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "jack_connect", "source:out", "k8s-synth:midi_in")
	run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
	if !within(2*time.Second, func() bool { return slices.Equal(d.Connected("k8s-synth"), []string{"peer:in"}) }) {
		t.Errorf("connected: %q", d.Connected("k8s-synth"))
	}
	ins, outs, err := d.Ports()
	t.Logf("ports %q and %q, %v; %+v", ins, outs, err, d.Stats())
	if !slices.Contains(ins, "source:out") {
		t.Errorf("ins %q", ins)
	}
	direct, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(500 * time.Millisecond)

	const n = 100
	var want []time.Time
	late := d.Stats().Late
	first := time.Now().Add(direct.Ahead() + 20*time.Millisecond)
	for i := range n {
		at := first.Add(time.Duration(i) * 5137 * time.Microsecond)
		want = append(want, at)
		time.Sleep(time.Until(at.Add(-direct.Ahead())))
		if err := direct.Send(at, []byte{0x90, byte(i), 100}); err != nil {
			t.Fatal(err)
		}
	}
	var off []float64
	for i, e := range p.await(t, n, 2*time.Second)[:n] {
		if e.bytes[1] != byte(i) {
			t.Fatalf("event %d is % x", i, e.bytes)
		}
		off = append(off, float64(e.at.Sub(want[i]))/1e3)
	}
	p50, p99, worst := spread(off)
	s := d.Stats()
	t.Logf("sent: off the asked time by p50 %.1f p99 %.1f max %.1f µs; late %d; %d of %d cycles astray", p50, p99, worst, s.Late, s.Strayed, s.Cycles)
	if s.Late == late && p50 > 12 {
		t.Error("messages are off their frames")
	}

	c := source.clock()
	for i := range n {
		fmt.Fprintf(source.stdin, "at %d b001%02x\n", c.frame+9600+uint32(i)*331, i)
	}
	got := box.await(t, n, 3*time.Second)
	var steps []float64
	for i := 1; i < n; i++ {
		steps = append(steps, got[i].at.Sub(got[i-1].at).Seconds()*48000-331)
	}
	p50, p99, worst = spread(steps)
	t.Logf("received: steps of 331 frames off by p50 %.2f p99 %.2f max %.2f frames", p50, p99, worst)
	if p50 > 1 {
		t.Error("times of arrival stray")
	}
	if err := virtual.Close(); err != nil {
		t.Error(err)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}
