//go:build cgo && linux

package jack

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// server is a private JACK server.
type server struct {
	name   string
	period int
	cmd    *exec.Cmd
	log    bytes.Buffer
}

func startServer(t testing.TB, period int) *server {
	t.Helper()
	need(t, "jackd", "jack_wait", "jack_connect", "cc")
	if err := load(); err != nil {
		t.Skip(err)
	}
	s := &server{name: serverName(t), period: period}
	t.Setenv("JACK_DEFAULT_SERVER", s.name)
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
	t.Cleanup(func() { s.stop(syscall.SIGTERM) })
	s.start(t)
	return s
}

// shared is the server of 256 frames that the short tests have in common.
var shared *server

// useServer starts it if need be.
func useServer(t testing.TB) {
	t.Helper()
	if shared != nil && !shared.lives() {
		shared.stop(syscall.SIGKILL) // its log is written to until then
		t.Logf("the shared server has ended: %s", shared.log.String())
		shared = nil
	}
	if shared == nil {
		need(t, "jackd", "jack_wait", "jack_connect", "cc")
		if err := load(); err != nil {
			t.Skip(err)
		}
		shared = &server{name: "k8s-synth-midi", period: 256}
		shared.start(t)
	}
	t.Setenv("JACK_DEFAULT_SERVER", shared.name)
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
}

// proof skips what takes long, unless it was asked for.
func proof(t testing.TB) {
	t.Helper()
	if os.Getenv("K8S_SYNTH_PROOF") == "" {
		t.Skip("takes long; set K8S_SYNTH_PROOF=1")
	}
}

// serverName reserves one of a few fixed names: JACK keeps eight servers in a
// registry and takes the place of one that was killed back only for its own
// name, so new names would use it up.
func serverName(t testing.TB) string {
	t.Helper()
	for i := range 2 {
		name := fmt.Sprintf("k8s-synth-midi-%d", i)
		f, err := os.OpenFile(filepath.Join(os.TempDir(), name+".lock"), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			t.Cleanup(func() { f.Close() })
			return name
		}
		f.Close()
	}
	t.Skip("two other tests of JACK MIDI run on this machine")
	return ""
}

func (s *server) start(t testing.TB) {
	t.Helper()
	s.log.Reset()
	s.cmd = exec.Command("jackd", "-n", s.name, "-R", "-P", "60", "-S", "-d", "dummy", "-r", "48000", "-p", fmt.Sprint(s.period), "-C", "2", "-P", "2")
	s.cmd.Env = append(os.Environ(), "JACK_NO_AUDIO_RESERVATION=1")
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(s.cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// jack_wait gives up, too, when the server takes long to open its client.
	for {
		err := exec.CommandContext(ctx, "jack_wait", "-s", s.name, "-w", "-t", "8").Run()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("jackd does not come up: %v\n%s", err, s.log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// lives tells whether the server answers: on a busy machine it may have ended itself.
func (s *server) lives() bool {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	out, _ := exec.CommandContext(ctx, "jack_wait", "-s", s.name, "-c").Output()
	return strings.TrimSpace(string(out)) == "running" // it exits with 0 in any case
}

func (s *server) stop(sig os.Signal) {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(sig)
	kill := time.AfterFunc(5*time.Second, func() { _ = s.cmd.Process.Kill() })
	_ = s.cmd.Wait()
	kill.Stop()
	s.cmd = nil
}

// run runs a program to its end, ten seconds at most.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}

// event is what a peer heard.
type event struct {
	frame uint32
	at    time.Time
	bytes []byte
}

// peer is testdata/peer.c, running.
type peer struct {
	name  string
	cmd   *exec.Cmd
	stdin io.WriteCloser
	mu    sync.Mutex
	got   []event
	now   chan event
}

var buildPeer = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "jack-peer")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "peer")
	if out, err := exec.Command("cc", "-O2", "testdata/peer.c", "-o", bin, "-ldl").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if shared != nil {
		shared.stop(syscall.SIGTERM)
	}
	if bin, err := buildPeer(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin))
	}
	os.Exit(code)
}

// startPeer starts a client of a name. A server may not have done with the last
// one of that name, nor with telling all others of it, whom it waits for.
func startPeer(t testing.TB, name string, more ...string) *peer {
	t.Helper()
	for range 50 {
		if p := tryPeer(t, name, more...); p != nil {
			return p
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the peer %s does not start", name)
	return nil
}

// tryPeer is startPeer, and returns nil if the server will not have it.
func tryPeer(t testing.TB, name string, more ...string) *peer {
	t.Helper()
	bin, err := buildPeer()
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{name: name, cmd: exec.Command(bin, append([]string{name}, more...)...), now: make(chan event, 1)}
	p.cmd.Stderr = os.Stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	p.stdin, err = p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := begin(p.cmd); err != nil {
		t.Fatal(err)
	}
	ready := make(chan bool, 1)
	go func() {
		r := bufio.NewScanner(out)
		r.Buffer(nil, 1<<20)
		for r.Scan() {
			var e event
			var ns int64
			var text string
			line := r.Text()
			switch line[0] {
			case 'r':
				ready <- true
			case 'N':
				_, _ = fmt.Sscanf(line, "N %d %d", &e.frame, &ns)
				e.at = timeOf(ns)
				p.now <- e
			case 'E':
				_, _ = fmt.Sscanf(line, "E %d %d %s", &e.frame, &ns, &text)
				e.at = timeOf(ns)
				e.bytes, _ = hex.DecodeString(text)
				p.mu.Lock()
				p.got = append(p.got, e)
				p.mu.Unlock()
			}
		}
		close(ready)
	}()
	t.Cleanup(p.stop)
	select {
	case ok := <-ready:
		if !ok {
			p.stop()
			return nil
		}
	case <-time.After(5 * time.Second):
		t.Fatalf("the peer %s hangs", name)
	}
	return p
}

// stop has it close its client and end.
func (p *peer) stop() {
	_ = p.stdin.Close()
	p.end(2 * time.Second)
}

// kill ends it in the midst of what it does.
func (p *peer) kill() { p.end(0) }

func (p *peer) end(after time.Duration) {
	if p.cmd == nil {
		return
	}
	kill := time.AfterFunc(after, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	kill.Stop()
	p.cmd = nil
}

// clock returns a frame and its time.
func (p *peer) clock() event {
	fmt.Fprintln(p.stdin, "now")
	return <-p.now
}

func (p *peer) heard() []event {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got)
}

func (p *peer) forget() {
	p.mu.Lock()
	p.got = nil
	p.mu.Unlock()
}

// await waits until the peer has heard n events.
func (p *peer) await(t testing.TB, n int, timeout time.Duration) []event {
	t.Helper()
	if !within(timeout, func() bool { p.mu.Lock(); defer p.mu.Unlock(); return len(p.got) >= n }) {
		t.Fatalf("%s has heard %d events, want %d", p.name, len(p.heard()), n)
	}
	return p.heard()
}

// within asks f until it is true, or the time is over that this machine has given to us: what a nap is
// longer than it was to be, others have had, and JACK's server has stood still for as long.
func within(timeout time.Duration, f func() bool) bool {
	const nap = 2 * time.Millisecond
	for end := time.Now().Add(timeout); ; {
		if f() {
			return true
		}
		began := time.Now()
		if began.After(end) {
			return false
		}
		time.Sleep(nap)
		// A timer is late by a part of a millisecond anywhere.
		if over := time.Since(began) - 2*nap; over > 0 {
			end = end.Add(over)
		}
	}
}

// inbox collects what a port of ours receives.
type inbox struct {
	mu   sync.Mutex
	got  []event
	came []time.Time
}

func (i *inbox) receive(at time.Time, b []byte) {
	now := time.Now()
	i.mu.Lock()
	i.got = append(i.got, event{at: at, bytes: slices.Clone(b)})
	i.came = append(i.came, now)
	i.mu.Unlock()
}

func (i *inbox) all() ([]event, []time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Clone(i.got), slices.Clone(i.came)
}

func (i *inbox) await(t testing.TB, n int, timeout time.Duration) []event {
	t.Helper()
	if !within(timeout, func() bool { i.mu.Lock(); defer i.mu.Unlock(); return len(i.got) >= n }) {
		got, _ := i.all()
		t.Fatalf("%d messages arrived, want %d", len(got), n)
	}
	got, _ := i.all()
	return got
}

type logWriter struct{ t testing.TB }

func (w logWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

func newDriver(t testing.TB) *Driver {
	t.Helper()
	d := New(Settings{Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil))})
	t.Cleanup(func() { _ = d.Close() })
	return d
}

// spread gives p50, p99 and the maximum of absolute values.
func spread(v []float64) (p50, p99, worst float64) {
	v = slices.Clone(v)
	for i := range v {
		v[i] = max(v[i], -v[i])
	}
	slices.Sort(v)
	return v[len(v)/2], v[len(v)*99/100], v[len(v)-1]
}
