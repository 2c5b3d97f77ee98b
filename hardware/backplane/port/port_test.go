//go:build unix

package port

import (
	"bufio"
	"context"
	"fmt"
	"io"
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

	"github.com/k8s-synth/k8s-synth/hardware/backplane"
	"github.com/k8s-synth/k8s-synth/hardware/backplane/emulator"
)

// TestMain runs the firmware where a test has started this program as a panel.
func TestMain(m *testing.M) {
	if path := os.Getenv("K8S_SYNTH_TEST_PANEL"); path != "" {
		if err := firmware(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// firmware is the panel's process: on stdin come its knob and jack, on stdout go
// its lights, and when a move was made by this machine's monotonic clock.
func firmware(path string) error {
	t, err := emulator.OpenTerminal(path)
	if err != nil {
		return err
	}
	defer t.Close()
	p := emulator.New("pod/web-1", backplane.Serial)
	p.Knob(0.25)
	go func() { _ = p.Serve(context.Background(), t, t) }()
	fmt.Println("open")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		what, v, _ := strings.Cut(in.Text(), " ")
		x, _ := strconv.ParseFloat(v, 64)
		switch what {
		case "knob":
			at := time.Now()
			p.Knob(x)
			fmt.Println("moved", at.UnixNano())
		case "jack":
			at := time.Now()
			p.Jack(x)
			fmt.Println("moved", at.UnixNano())
		case "lights":
			s := p.State()
			fmt.Printf("lights %s %.3f %.3f\n", s.Module, s.ReadyShown, s.LoadShown)
		}
	}
	return in.Err()
}

// judge is a test, or a trial of one.
type judge interface {
	Helper()
	Logf(format string, a ...any)
	Errorf(format string, a ...any)
	Fatal(a ...any)
	Fatalf(format string, a ...any)
	TempDir() string
	Cleanup(f func())
}

// trial is a try of a test that a machine without time to spare may fail: the
// first mistake ends it.
type trial struct {
	*testing.T
	why string
}

type trialOver struct{}

func (t *trial) Errorf(format string, a ...any) { t.Fatalf(format, a...) }
func (t *trial) Fatal(a ...any)                 { t.Fatalf("%s", fmt.Sprint(a...)) }
func (t *trial) Fatalf(format string, a ...any) {
	t.why = fmt.Sprintf(format, a...)
	panic(trialOver{})
}

// good does f and tells whether there was nothing wrong.
func (t *trial) good(f func(judge)) (ok bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, over := r.(trialOver); !over {
				panic(r)
			}
		}
	}()
	f(t)
	return true
}

// process is a panel in a process of its own.
type process struct {
	t   judge
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startPanel(t judge, path string) *process {
	t.Helper()
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "K8S_SYNTH_TEST_PANEL="+path)
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{t, c, in, bufio.NewScanner(out)}
	t.Cleanup(p.kill)
	if got := p.line(); got != "open" {
		t.Fatalf("the panel says %q", got)
	}
	return p
}

func (p *process) kill() {
	if p.cmd.ProcessState == nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (p *process) line() string { p.out.Scan(); return p.out.Text() }

// say tells the panel something and returns its answer.
func (p *process) say(format string, a ...any) string {
	p.t.Helper()
	if _, err := fmt.Fprintf(p.in, format+"\n", a...); err != nil {
		p.t.Fatal(err)
	}
	return p.line()
}

// move makes a move and returns when it was made.
func (p *process) move(format string, a ...any) time.Time {
	p.t.Helper()
	word, at, _ := strings.Cut(p.say(format, a...), " ")
	n, err := strconv.ParseInt(at, 10, 64)
	if word != "moved" || err != nil {
		p.t.Fatalf("the panel answers %q", word+" "+at)
	}
	return time.Unix(0, n)
}

// heard is what the control side is told, in order.
type heard struct {
	what   string // knob, gate, plugged, gone
	module string
	name   string
	value  float64
	at     time.Time // of the edge
	came   time.Time
}

type control struct {
	t   judge
	mu  sync.Mutex
	all []heard
	new chan struct{}
}

func newControl(t judge) *control { return &control{t: t, new: make(chan struct{}, 1)} }

func (c *control) add(h heard) {
	h.came = time.Now()
	c.mu.Lock()
	c.all = append(c.all, h)
	c.mu.Unlock()
	select {
	case c.new <- struct{}{}:
	default:
	}
}

func (c *control) config(ports ...string) Config {
	return Config{Ports: ports, Poll: 20 * time.Millisecond,
		Knob: func(m, p string, v float64) { c.add(heard{what: "knob", module: m, name: p, value: v}) },
		Gate: func(m, j string, high bool, at time.Time) {
			v := 0.0
			if high {
				v = 1
			}
			c.add(heard{what: "gate", module: m, name: j, value: v, at: at})
		},
		Plugged: func(i Info, there bool) {
			what := "gone"
			if there {
				what = "plugged"
			}
			c.add(heard{what: what, module: i.Module})
		}}
}

// wait returns the first event after the n-th that ok takes, and its number.
func (c *control) wait(n int, what string, ok func(heard) bool) (heard, int) {
	c.t.Helper()
	limit := time.After(5 * time.Second)
	for {
		c.mu.Lock()
		for i := n; i < len(c.all); i++ {
			if c.all[i].what == what && (ok == nil || ok(c.all[i])) {
				h := c.all[i]
				c.mu.Unlock()
				return h, i + 1
			}
		}
		c.mu.Unlock()
		select {
		case <-c.new:
		case <-limit:
			c.mu.Lock()
			defer c.mu.Unlock()
			c.t.Fatalf("no %s came; this did: %+v", what, c.all[min(n, len(c.all)):])
		}
	}
}

func (c *control) count() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.all) }

func quantile(d []time.Duration, q float64) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[min(int(q*float64(len(d))), len(d)-1)]
}

// TestPanelOverTerminal: the firmware in one process, the daemon in another, a
// pseudo-terminal between them. A session ends after 0.3 s of silence; where one
// of the processes is not let run for that long, it is tried again.
func TestPanelOverTerminal(t *testing.T) {
	for range 3 {
		try := &trial{T: t}
		if try.good(overTerminal) {
			return
		}
		t.Logf("tried again: %s", try.why)
	}
	overTerminal(t)
}

func overTerminal(t judge) {
	path := filepath.Join(t.TempDir(), "pod")
	c := newControl(t)
	panels := Open(c.config(path))
	defer func() { _ = panels.Close() }()
	began := time.Now()
	panel := startPanel(t, path)
	h, n := c.wait(0, "plugged", nil)
	if h.module != "pod/web-1" {
		t.Fatalf("it is %q", h.module)
	}
	t.Logf("a panel plays %.0f ms after its process was started", time.Since(began).Seconds()*1e3)
	c.wait(n, "knob", func(h heard) bool { return h.name == "cpu" && h.value > 0.23 && h.value < 0.27 })

	// Knobs.
	var late []time.Duration
	for i := range 60 {
		n = c.count()
		v := 0.1 + 0.8*float64(i%2)
		at := panel.move("knob %g", v)
		h, _ := c.wait(n, "knob", func(h heard) bool { return h.value > v-0.1 && h.value < v+0.1 })
		late = append(late, h.came.Sub(at))
		time.Sleep(12 * time.Millisecond)
	}
	median, worst := quantile(late, 0.5), quantile(late, 1)
	t.Logf("a turned knob arrives after %v (median), %v (p90), %v at most", median.Round(10*time.Microsecond), quantile(late, 0.9).Round(10*time.Microsecond), worst.Round(10*time.Microsecond))
	if best := quantile(late, 0.25); best > 5*time.Millisecond { // a busy machine adds to the rest
		t.Errorf("a knob takes %v", best)
	}

	// Gates, with the times at which they were.
	n = c.count()
	var moved []time.Time
	for i := range 60 {
		moved = append(moved, panel.move("jack %d", 5*(1-i%2)))
		time.Sleep(7 * time.Millisecond)
	}
	late = late[:0]
	var off []time.Duration
	for i := range 60 {
		h, n = c.wait(n, "gate", nil)
		if h.name != "lifecycle" || h.value != float64(1-i%2) {
			t.Fatalf("edge %d is %+v", i, h)
		}
		late = append(late, h.came.Sub(moved[i]))
		off = append(off, h.at.Sub(moved[i]).Abs())
	}
	t.Logf("60 edges came in order, %v late (median), %v at most; their times are %v off (median), %v at most",
		quantile(late, 0.5).Round(10*time.Microsecond), quantile(late, 1).Round(10*time.Microsecond), quantile(off, 0.5).Round(10*time.Microsecond), quantile(off, 1).Round(10*time.Microsecond))
	if m := quantile(off, 0.25); m > 3*time.Millisecond {
		t.Errorf("the times of edges are %v off", m)
	}

	// Lights.
	panels.Show("pod/web-1", "ready", 1)
	panels.Show("pod/web-1", "load", 0.5)
	panels.Show("pod/web-2", "ready", 0) // nobody's
	shown := time.Now()
	for got := ""; got != "lights pod/web-1 1.000 0.500"; got = panel.say("lights") {
		if time.Since(shown) > 3*time.Second {
			t.Fatalf("the panel shows %q", got)
		}
	}
	t.Logf("lights follow after %v", time.Since(shown).Round(10*time.Microsecond))
	list := panels.List()
	if i := list[0]; i.State != "playing" || i.Module != "pod/web-1" || i.Kind != "pod" || i.Firmware != "0.1" || len(i.Controls) != 4 || i.RoundTrip <= 0 || i.BadHere != 0 {
		t.Errorf("list: %+v", i)
	} else {
		t.Logf("round trip %v, %d frames, none damaged", i.RoundTrip, i.Frames)
	}

	// The panel dies with a gate up.
	panel.move("jack 10")
	_, n = c.wait(c.count()-1, "gate", func(h heard) bool { return h.value == 1 })
	died := time.Now()
	panel.kill()
	h, n = c.wait(n, "gate", func(h heard) bool { return h.value == 0 })
	t.Logf("the gate of a panel that was killed falls after %v", h.came.Sub(died).Round(10*time.Microsecond))
	if d := h.came.Sub(died); d > 400*time.Millisecond {
		t.Errorf("a gate stood for %v", d)
	}
	_, n = c.wait(n, "gone", nil)

	// It is plugged in again.
	began = time.Now()
	panel = startPanel(t, path)
	h, n = c.wait(n, "plugged", nil)
	t.Logf("plugged in again it plays after %.0f ms", time.Since(began).Seconds()*1e3)
	panel.move("jack 10")
	_, n = c.wait(n, "gate", func(h heard) bool { return h.value == 1 })
	for got := ""; got != "lights pod/web-1 1.000 0.500"; got = panel.say("lights") {
		if time.Since(began) > 5*time.Second {
			t.Fatalf("the panel shows %q", got)
		}
	}

	// It hangs: nothing is closed, nothing is said.
	died = time.Now()
	if err := panel.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	h, n = c.wait(n, "gate", func(h heard) bool { return h.value == 0 })
	t.Logf("the gate of a panel that hangs falls after %v", h.came.Sub(died).Round(10*time.Microsecond))
	if d := h.came.Sub(died); d > 600*time.Millisecond {
		t.Errorf("a gate stood for %v", d)
	}
	_ = panel.cmd.Process.Signal(syscall.SIGCONT)
	_, n = c.wait(n, "plugged", nil)
	_, n = c.wait(n, "gate", func(h heard) bool { return h.value == 1 })

	// The daemon goes, and the panel knows.
	if err := panels.Close(); err != nil {
		t.Fatal(err)
	}
	c.wait(n, "gate", func(h heard) bool { return h.value == 0 })
	if got := panel.say("lights"); got != "lights  0.000 0.000" {
		shown = time.Now()
		for got != "lights  0.000 0.000" {
			if got = panel.say("lights"); time.Since(shown) > time.Second {
				t.Fatalf("without a daemon the panel shows %q", got)
			}
		}
	}
}

// TestPanelOverMIDI: the same by exclusive messages, and a port that goes.
func TestPanelOverMIDI(t *testing.T) {
	c := newControl(t)
	panels := Open(c.config())
	defer panels.Close()
	p := emulator.New("pod/web-7", backplane.SysEx)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	in, toPanel := io.Pipe()
	fromPanel, out := io.Pipe()
	go func() { _ = p.Serve(ctx, in, out) }()
	m := panels.Attach("Pico MIDI", func(b []byte) error {
		if !Ours(b) || b[len(b)-1] != 0xf7 {
			t.Errorf("not an exclusive message of ours: % x", b)
		}
		_, err := toPanel.Write(b)
		return err
	})
	go func() {
		r := bufio.NewReader(fromPanel)
		for {
			b, err := r.ReadBytes(0xf7)
			if err != nil {
				return
			}
			m.Receive([]byte{0xf0, 0x7e, 0x7f, 6, 1, 0xf7}) // of another device
			m.Receive(b)
		}
	}()
	_, n := c.wait(0, "plugged", func(h heard) bool { return h.module == "pod/web-7" })
	p.Jack(8)
	_, n = c.wait(n, "gate", func(h heard) bool { return h.value == 1 })
	p.Knob(1)
	c.wait(0, "knob", func(h heard) bool { return h.value == 1 })
	panels.Show("pod/web-7", "ready", 1)
	for began := time.Now(); p.State().ReadyShown != 1; time.Sleep(time.Millisecond) {
		if time.Since(began) > 3*time.Second {
			t.Fatal("the light stays dark")
		}
	}
	m.Close()
	if h, _ := c.wait(n, "gate", nil); h.value != 0 {
		t.Error("the gate stands though the port has gone")
	}
	m.Receive([]byte("\xf0\x7dK8\x00\x00\xf7")) // too late
	_ = toPanel.Close()
	_ = fromPanel.Close()
}

// TestBinding: panels are asked for, refused, and given another module.
func TestBinding(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pod")
	term, err := emulator.OpenTerminal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer term.Close()
	p := emulator.New("pod/wish", backplane.Serial)
	go func() { _ = p.Serve(t.Context(), term, term) }()
	c := newControl(t)
	config := c.config(path)
	var module string
	config.Bind = func(who Panel) (string, bool) {
		if who.Kind != "pod" || who.Wish != "pod/wish" || len(who.Serial) != 16 || who.Port != path {
			t.Errorf("asked for %+v", who)
		}
		return module, module != ""
	}
	panels := Open(config)
	defer panels.Close()
	for began := time.Now(); panels.List()[0].State != "waiting"; time.Sleep(time.Millisecond) {
		if time.Since(began) > 3*time.Second {
			t.Fatalf("%+v", panels.List())
		}
	}
	set := func(m string) {
		panels.call.Lock()
		module = m
		panels.call.Unlock()
		panels.Rebind()
	}
	set("pod/a")
	_, n := c.wait(0, "plugged", func(h heard) bool { return h.module == "pod/a" })
	p.Jack(5)
	_, n = c.wait(n, "gate", func(h heard) bool { return h.module == "pod/a" && h.value == 1 })
	set("pod/b")
	_, n = c.wait(n, "gate", func(h heard) bool { return h.module == "pod/a" && h.value == 0 })
	_, n = c.wait(n, "gone", func(h heard) bool { return h.module == "pod/a" })
	_, n = c.wait(n, "plugged", func(h heard) bool { return h.module == "pod/b" })
	_, n = c.wait(n, "gate", func(h heard) bool { return h.module == "pod/b" && h.value == 1 })
	set("pod/b") // nothing new
	set("")
	_, n = c.wait(n, "gate", func(h heard) bool { return h.module == "pod/b" && h.value == 0 })
	c.wait(n, "gone", nil)
}

// TestNoPath: an empty path, as of a comma too many, is no port and does no harm.
func TestNoPath(t *testing.T) {
	c := newControl(t)
	missing := filepath.Join(t.TempDir(), "none")
	panels := Open(c.config("", missing, ""))
	defer panels.Close()
	time.Sleep(50 * time.Millisecond)
	if l := panels.List(); len(l) != 1 || l[0].Port != missing {
		t.Errorf("lines %+v", l)
	}
	if _, err := openSerial(""); err == nil {
		t.Error("the port of an empty path is opened")
	}
}

// TestVoltages: CV inputs and outputs are in volts, or tenths of them, by their
// class; a panel of another kind than a Pod is served as well.
func TestVoltages(t *testing.T) {
	var firmware backplane.Panel
	firmware.Init(backplane.Identity{Kind: "node", Boot: 1, Wish: "node/a"}, []backplane.Control{
		{Class: backplane.CVIn, Slot: 0, Name: "load"}, {Class: backplane.CVOut, Slot: 0, Name: "utilisation"}, {Class: backplane.Light, Slot: 1, Name: "ready"},
		{Class: 99, Slot: 200, Name: "of_tomorrow"},
	}, backplane.SysEx)
	firmware.Value(0, 65535)
	c := newControl(t)
	panels := Open(c.config())
	defer panels.Close()
	var mu sync.Mutex
	began := time.Now()
	m := panels.Attach("bench", func(b []byte) error {
		mu.Lock()
		defer mu.Unlock()
		firmware.Receive(time.Since(began).Microseconds(), b)
		return nil
	})
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			mu.Lock()
			b := slices.Clone(firmware.Next(time.Since(began).Microseconds(), make([]byte, 0, backplane.MaxFrame)))
			mu.Unlock()
			if len(b) > 0 {
				m.Receive(b)
			} else {
				time.Sleep(200 * time.Microsecond)
			}
		}
	}()
	h, _ := c.wait(0, "knob", nil)
	if h.module != "node/a" || h.name != "load" || h.value != 10 {
		t.Errorf("full is %+v", h)
	}
	for value, want := range map[float64][2]uint16{-1: {0, 0}, 0: {32768, 0}, 0.5: {49152, 32768}, 1: {65535, 65535}, 7: {65535, 65535}} {
		panels.Show("node/a", "utilisation", value)
		panels.Show("node/a", "ready", value)
		for began := time.Now(); ; time.Sleep(time.Millisecond) {
			mu.Lock()
			got := [2]uint16{firmware.Output(0), firmware.Output(1)}
			mu.Unlock()
			if got == want {
				break
			}
			if time.Since(began) > 3*time.Second {
				t.Fatalf("%g is shown as %v, want %v", value, got, want)
			}
		}
	}
}
