package oscillator

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// JACK is a server whose ports are jacks and whose connections are cables.
type JACK struct {
	// Name is what JACK_DEFAULT_SERVER holds.
	Name string
	// Rate is in Hz.
	Rate int
}

const (
	// jackChannels is how many channels the interface of a private server has.
	jackChannels = 8
	jackPeriod   = 256
	jackRate     = 48000
)

// StartJACK uses the server that the environment names, if it runs. Otherwise it
// starts one of its own without real time, whose dummy device stands for an
// interface of eight channels each way at 48 kHz; it ends with the test. The
// environment of the test then names the server.
func StartJACK(t testing.TB) *JACK {
	t.Helper()
	need(t, "jackd", "jack_wait", "jack_connect", "jack_lsp", "jack_rec", "jack_samplerate")
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
	if name := os.Getenv("JACK_DEFAULT_SERVER"); name != "" {
		if out, _ := run(t, 5*time.Second, "jack_wait", "-s", name, "-c"); strings.Contains(out, "running") && !strings.Contains(out, "not running") {
			j := &JACK{Name: name}
			rate, err := run(t, 5*time.Second, "jack_samplerate")
			if _, scan := fmt.Sscan(rate, &j.Rate); err != nil || scan != nil {
				t.Fatalf("JACK server %s tells no sample rate: %v %q", name, err, rate)
			}
			return j
		}
	}
	j := &JACK{Name: reserve(t), Rate: jackRate}
	t.Setenv("JACK_DEFAULT_SERVER", j.Name)
	// Synchronous: a cycle waits for its clients, so a busy machine makes no gaps.
	start(t, "jackd", "-n", j.Name, "-r", "-S", "-d", "dummy", "-r", fmt.Sprint(jackRate), "-p", fmt.Sprint(jackPeriod), "-C", fmt.Sprint(jackChannels), "-P", fmt.Sprint(jackChannels))
	// jack_wait gives up, too, when the server takes long to open its client.
	for end := time.Now().Add(12 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := run(t, 12*time.Second, "jack_wait", "-s", j.Name, "-w", "-t", "10")
		if err == nil {
			return j
		}
		if time.Now().After(end) {
			t.Fatalf("jackd does not come up: %v\n%s", err, out)
		}
	}
}

// Connect plugs a cable from one port into another.
func (j *JACK) Connect(t testing.TB, from, to string) {
	t.Helper()
	j.cable(t, "jack_connect", from, to)
}

// Disconnect pulls it.
func (j *JACK) Disconnect(t testing.TB, from, to string) {
	t.Helper()
	j.cable(t, "jack_disconnect", from, to)
}

func (j *JACK) cable(t testing.TB, program, from, to string) {
	t.Helper()
	// A client has ports before it is active, and cables only from then on.
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := run(t, 10*time.Second, program, from, to)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%s %s %s: %v\n%s", program, from, to, err, out)
		}
	}
}

// Ports lists the ports whose names begin so.
func (j *JACK) Ports(t testing.TB, prefix string) []string {
	t.Helper()
	out, err := run(t, 10*time.Second, "jack_lsp")
	if err != nil {
		t.Fatalf("jack_lsp: %v\n%s", err, out)
	}
	var ports []string
	for l := range strings.SplitSeq(out, "\n") {
		if strings.HasPrefix(l, prefix) {
			ports = append(ports, l)
		}
	}
	return ports
}

// Record hears some ports for so many whole seconds, in 24 bits, one slice a
// port.
func (j *JACK) Record(t testing.TB, seconds int, ports ...string) [][]float32 {
	t.Helper()
	file := filepath.Join(t.TempDir(), "jack.wav")
	args := append([]string{"-f", file, "-d", fmt.Sprint(seconds), "-b", "24", "-B", "262144"}, ports...)
	if out, err := run(t, time.Duration(seconds+20)*time.Second, "jack_rec", args...); err != nil {
		t.Fatalf("jack_rec: %v\n%s", err, out)
	}
	w, err := hardware.ReadWAV(file)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Channels) != len(ports) || w.Frames() < seconds*j.Rate*9/10 {
		t.Fatalf("jack_rec wrote %d channels of %d frames", len(w.Channels), w.Frames())
	}
	return w.Channels
}

// reserve takes one of a few fixed names for this test. JACK keeps eight servers
// in a registry and takes the place of one that was killed back only for its own
// name, so new names would use it up.
func reserve(t testing.TB) string {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(time.Second) {
		for i := range 2 {
			name := fmt.Sprintf("k8s-synth-gear-%d", i)
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
	}
	t.Skip("other tests hold the JACK servers of this machine")
	return ""
}

func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed", p)
		}
	}
}

// run is a program that ends by itself.
func run(t testing.TB, within time.Duration, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// process is a program that lasts as long as the test.
type process struct {
	cmd  *exec.Cmd
	mu   sync.Mutex
	log  bytes.Buffer
	done chan struct{}
	// leave asks it to end by itself; nil where there is no way to.
	leave func()
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

// said is what the program has written.
func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// start begins a program that ends with the test, and with this process if that
// is killed.
func start(t testing.TB, name string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(name, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	p.cmd.WaitDelay = time.Second
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	begun := make(chan error)
	starts <- func() { begun <- p.cmd.Start() }
	if err := <-begun; err != nil {
		t.Fatalf("%s does not start: %v", name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.stop)
	return p
}

func (p *process) stop() {
	if p.ended() {
		return
	}
	if p.leave != nil {
		p.leave()
		select {
		case <-p.done:
			return
		case <-time.After(2 * time.Second):
		}
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return
	case <-time.After(5 * time.Second):
	}
	_ = p.cmd.Process.Kill()
	<-p.done
}

// ended tells whether it has ended, which it should not.
func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// starts are done by one thread that lasts: a process that is to die with its
// parent dies with the thread that began it.
var starts = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for f := range starts {
			f()
		}
	}()
}
