package hardware

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// pulseServer is a private PulseAudio whose sink stands for an interface with eight outputs, in the
// channel order that miniaudio assumes.
type pulseServer struct {
	dir string
	cmd *exec.Cmd
}

func startPulse(t testing.TB) *pulseServer {
	t.Helper()
	need(t, "pulseaudio", "pactl", "parec")
	p := &pulseServer{dir: t.TempDir()}
	run := filepath.Join(p.dir, "run")
	conf := filepath.Join(p.dir, "config", "pulse")
	for _, d := range []string{run, conf} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name, text string) {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(conf, "daemon.conf"), "exit-idle-time = -1\ndefault-sample-format = float32le\ndefault-sample-rate = 48000\nrealtime-scheduling = yes\nrealtime-priority = 40\nflat-volumes = no\n")
	// Who asks while it starts must not start another, as its clients do for all users but root.
	write(filepath.Join(conf, "client.conf"), "autospawn = no\n")
	write(filepath.Join(p.dir, "default.pa"), `.nofail
load-module module-null-sink sink_name=cv8 norewinds=1 format=float32le rate=48000 channels=8 channel_map=front-left,front-left-of-center,front-center,front-right,front-right-of-center,rear-center,aux0,aux1
load-module module-null-sink sink_name=words8 norewinds=1 format=s32le rate=48000 channels=8 channel_map=front-left,front-left-of-center,front-center,front-right,front-right-of-center,rear-center,aux0,aux1
load-module module-null-sink sink_name=aux8 norewinds=1 format=s32le rate=48000 channels=8 channel_map=aux0,aux1,aux2,aux3,aux4,aux5,aux6,aux7
load-module module-null-sink sink_name=surround8 norewinds=1 format=s32le rate=48000 channels=8 channel_map=front-left,front-right,rear-left,rear-right,front-center,lfe,side-left,side-right
load-module module-null-sink sink_name=odd8 norewinds=1 format=s32le rate=48000 channels=8 channel_map=aux1,aux0,aux2,aux3,aux4,aux5,aux6,aux7
load-module module-native-protocol-unix
set-default-sink cv8
`)
	t.Setenv("HOME", p.dir)
	t.Setenv("XDG_RUNTIME_DIR", run)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(p.dir, "config"))
	// Setenv for its restoring; an empty value would count as a server.
	t.Setenv("PULSE_SERVER", "")
	os.Unsetenv("PULSE_SERVER")
	t.Cleanup(func() { p.kill() })
	p.start(t)
	return p
}

func (p *pulseServer) start(t testing.TB) {
	t.Helper()
	p.cmd = exec.Command("pulseaudio", "-n", "-F", filepath.Join(p.dir, "default.pa"), "--daemonize=no", "--exit-idle-time=-1", "--log-target=file:"+filepath.Join(p.dir, "log"))
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(p.cmd); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if out, err := exec.Command("pactl", "list", "short", "sinks").Output(); err == nil && bytes.Contains(out, []byte("cv8")) {
			return
		}
		if time.Now().After(end) {
			log, _ := os.ReadFile(filepath.Join(p.dir, "log"))
			t.Fatalf("PulseAudio does not answer: %s", log)
		}
	}
}

func (p *pulseServer) kill() {
	if p.cmd != nil {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
		p.cmd = nil
	}
}

// listener is a running program that writes raw float32 frames to its standard output.
type listener struct {
	cmd      *exec.Cmd
	mu       sync.Mutex
	buf      []byte
	channels int
}

func (c *listener) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.buf = append(c.buf, b...)
	return len(b), nil
}

func startCapture(t testing.TB, channels int, name string, args ...string) *listener {
	t.Helper()
	c := &listener{channels: channels, cmd: exec.Command(name, args...)}
	c.cmd.Stdout = c
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(c.cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.stop)
	return c
}

func (c *listener) stop() {
	if c.cmd != nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
		c.cmd = nil
	}
}

// words returns what has been captured so far, as integers.
func (c *listener) words() [][]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([][]int32, len(c.buf)/4/c.channels)
	for i := range out {
		out[i] = make([]int32, c.channels)
		for k := range out[i] {
			out[i][k] = int32(binary.LittleEndian.Uint32(c.buf[4*(i*c.channels+k):]))
		}
	}
	return out
}

// frames returns what has been captured so far.
func (c *listener) frames() [][]float32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.buf) / 4 / c.channels
	out := make([][]float32, n)
	for i := range out {
		out[i] = make([]float32, c.channels)
		for k := range out[i] {
			out[i][k] = math.Float32frombits(binary.LittleEndian.Uint32(c.buf[4*(i*c.channels+k):]))
		}
	}
	return out
}

// checkRamp finds the longest run of frames that are, to the bit and in order of channels, frames
// of the ramp pattern. It fails unless that run holds at least want frames.
func checkRamp(t *testing.T, frames [][]float32, want int) {
	t.Helper()
	best, run, runs, silent := 0, 0, 0, 0
	var next uint64
	var seen []float32
	for _, f := range frames {
		v := f[0]*(1<<20) - 1
		frame := uint64(v)
		ok := v >= 0 && v < 4096 && v == float32(frame)
		for c := range f {
			ok = ok && f[c] == rampValue(frame, c)
		}
		if !ok || (run > 0 && frame != next) {
			if seen == nil && f[0] != 0 {
				seen = f
			}
			run = 0
		}
		if f[0] == 0 {
			silent++
		}
		if ok {
			if run == 0 {
				runs++
			}
			run++
			next = (frame + 1) % 4096
		}
		best = max(best, run)
	}
	t.Logf("%d of %d captured frames in one exact run; %d runs, %d frames of silence", best, len(frames), runs, silent)
	if best < want {
		t.Errorf("longest exact run is %d frames, want %d; first other frame: %v", best, want, seen)
	}
}

func openPeer(t *testing.T, s Settings, r Renderer) *Device {
	t.Helper()
	s.Logger = testLogger(t)
	d, err := Open(context.Background(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	if st := d.Stats(); st.Lost || st.Backend != s.Backend {
		t.Fatalf("did not open: %+v", st)
	}
	return d
}

func TestPulseAudioIsBitExact(t *testing.T) {
	startPulse(t)
	d := openPeer(t, Settings{Backend: "pulse", Device: "cv8", Channels: 8, Period: 256, Depth: 16, FullScale: 4}, &ramp{volts: 4})
	c := startCapture(t, 8, "parec", "-d", "cv8.monitor", "--format=float32le", "--channels=8", "--rate=48000",
		"--channel-map=front-left,front-left-of-center,front-center,front-right,front-right-of-center,rear-center,aux0,aux1")
	time.Sleep(2 * time.Second)
	t.Logf("%+v", d.Stats())
	rate, worst := evenness(d, time.Second)
	t.Logf("clock: rate %.2f Hz, worst deviation %.3f ms", rate, worst)
	c.stop()
	// Much shorter than what was captured: on a busy machine the server itself makes gaps. Channels
	// that are mixed, swapped or scaled give no exact frame at all.
	checkRamp(t, c.frames(), 4000)
	if s := d.Stats(); callbackInC && s.DevicePriority == 0 && os.Getuid() == 0 {
		t.Errorf("the device thread has no real-time priority")
	}
	t0 := time.Now()
	if err := d.Close(); err != nil || time.Since(t0) > time.Second {
		t.Errorf("closing took %s: %v", time.Since(t0), err)
	}
}

// processTicks is the CPU time of this process in clock ticks (1/100 s).
func processTicks(t *testing.T) int {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return int((u.Utime.Nano() + u.Stime.Nano()) / 10_000_000)
}

func TestPulseAudioDiesAndComesBack(t *testing.T) {
	p := startPulse(t)
	path := filepath.Join(t.TempDir(), "take.wav")
	d := openPeer(t, Settings{Backend: "pulse", Channels: 8, Period: 256, Depth: 16, FullScale: 4}, &ramp{volts: 4})
	if err := d.Record(path); err != nil {
		t.Fatal(err)
	}
	began, first := time.Now(), d.Now()
	// What it takes to play and to be listened to, on this machine.
	listen := func() (c *listener, used int) {
		c = startCapture(t, 8, "parec", "-d", "cv8.monitor", "--format=float32le", "--channels=8", "--rate=48000",
			"--channel-map=front-left,front-left-of-center,front-center,front-right,front-right-of-center,rear-center,aux0,aux1")
		ticks := processTicks(t)
		time.Sleep(1500 * time.Millisecond)
		used = processTicks(t) - ticks
		c.stop()
		return c, used
	}
	_, usual := listen()
	before := d.Stats()
	if before.Callbacks == 0 {
		t.Fatal("no callbacks")
	}
	// How far the clock of the music is behind the time already: on a busy
	// machine the server itself stalls.
	behind := func() float64 { return time.Since(began).Seconds()*48000 - (d.Now() - first) }
	stalled := behind()

	p.kill()
	if !d.waitUntil(2*time.Second, func() bool { return d.Stats().Lost }) {
		t.Fatal("the loss was not noticed")
	}
	time.Sleep(200 * time.Millisecond)
	ticks, a, at := processTicks(t), d.Stats(), time.Now()
	time.Sleep(1500 * time.Millisecond)
	b := d.Stats()
	if got, want := float64(b.Frames-a.Frames), time.Since(at).Seconds()*48000; math.Abs(got-want) > 4000 {
		t.Errorf("while the device was away %.0f frames were rendered in the time of %.0f", got, want)
	}
	if used := processTicks(t) - ticks; used > 45 {
		t.Errorf("%d %% of a core used while the device was away: something spins", used*2/3)
	}
	// The clock of the music has gone on through the loss, in time
	// (TestClockGoesOnThroughALoss is exact).
	through := behind()
	t.Logf("the clock was %.0f frames behind before the loss and %.0f after it", stalled, through)
	if math.Abs(through-stalled) > 4000 {
		t.Error("the clock of the music has lost or won time through the loss")
	}

	p.start(t)
	back := time.Now()
	if !d.waitUntil(5*time.Second, func() bool { s := d.Stats(); return !s.Lost && s.Callbacks > before.Callbacks+5 }) {
		t.Fatalf("the device did not come back: %+v", d.Stats())
	}
	after := time.Since(back)
	t.Logf("back %s after the server answered; hanging %d", after, d.hanging.Load())
	if after > time.Second {
		t.Errorf("back after %s, want within 1 s", after)
	}
	c, used := listen()
	checkRamp(t, c.frames(), 4000)
	// A thread that spins takes 150 more.
	if limit := usual + 60; used > limit {
		t.Errorf("%d %% of a core used after the return, %d %% before the loss: something spins", used*2/3, usual*2/3)
	}
	t.Logf("processor time in 1.5 s: %d ms before the loss, %d ms after the return", 10*usual, 10*used)
	if s := d.Stats(); s.Reopens != 1 {
		t.Errorf("%d reopenings counted", s.Reopens)
	}
	t.Logf("%+v", d.Stats())
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	// The recording has no seam.
	w, err := ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	base := uint64(w.Channels[0][0]*(1<<20)) - 1
	for f := 0; f < w.Frames()-20000; f++ {
		if got, want := w.Channels[5][f], rampValue(base+uint64(f), 5); got != want {
			t.Fatalf("recording, frame %d of %d: %g, want %g", f, w.Frames(), got, want)
		}
	}
	if s := float64(w.Frames()) / 48000; s < 4 {
		t.Errorf("the recording has %.1f s", s)
	}
}

// jackServer is a private JACK with eight dummy outputs, standing for a DC-coupled interface.
type jackServer struct {
	name   string
	period int
	cmd    *exec.Cmd
	log    bytes.Buffer
}

func startJACK(t *testing.T, period int) *jackServer {
	t.Helper()
	need(t, "jackd", "jack_wait", "jack_rec")
	j := &jackServer{name: jackName(t), period: period}
	t.Setenv("JACK_DEFAULT_SERVER", j.name)
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
	t.Cleanup(func() { j.stop(syscall.SIGTERM) })
	j.start(t)
	return j
}

// jackName reserves one of a few fixed names for this test. JACK keeps eight servers in a registry
// and takes the place of one that was killed back only for its own name, so new names would use it up.
func jackName(t *testing.T) string {
	t.Helper()
	for i := range 3 {
		name := fmt.Sprintf("k8s-synth-test-%d", i)
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
	t.Skip("three other JACK tests run on this machine")
	return ""
}

func (j *jackServer) start(t *testing.T) {
	t.Helper()
	j.cmd = exec.Command("jackd", "-n", j.name, "-R", "-P", "60", "-S", "-d", "dummy", "-r", "48000", "-p", fmt.Sprint(j.period), "-C", "8", "-P", "8")
	j.log.Reset()
	j.cmd.Stdout, j.cmd.Stderr = &j.log, &j.log
	j.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(j.cmd); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// jack_wait gives up, too, when the server takes long to open its client.
	for {
		err := exec.CommandContext(ctx, "jack_wait", "-s", j.name, "-w", "-t", "8").Run()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("jackd does not come up: %v\n%s", err, j.log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (j *jackServer) stop(sig os.Signal) {
	if j.cmd == nil {
		return
	}
	_ = j.cmd.Process.Signal(sig)
	timer := time.AfterFunc(5*time.Second, func() { _ = j.cmd.Process.Kill() })
	_ = j.cmd.Wait()
	timer.Stop()
	j.cmd = nil
}

func TestJACKDiesAndComesBack(t *testing.T) {
	j := startJACK(t, 128)
	d := openPeer(t, Settings{Backend: "jack", Channels: 8, Period: 128, Depth: 16}, &ramp{volts: 4})
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		time.Sleep(500 * time.Millisecond)
		j.stop(sig)
		if !d.waitUntil(3*time.Second, func() bool { return d.Stats().Lost }) {
			t.Fatalf("%v: the loss was not noticed", sig)
		}
		ticks, a := processTicks(t), d.Stats()
		time.Sleep(time.Second)
		if b := d.Stats(); b.Frames-a.Frames < 40000 {
			t.Errorf("%v: %d frames in a second without the device", sig, b.Frames-a.Frames)
		}
		if used := processTicks(t) - ticks; used > 40 {
			t.Errorf("%v: %d %% of a core used while the device was away: something spins", sig, used)
		}
		before := d.Stats().Callbacks
		j.start(t)
		back := time.Now()
		if !d.waitUntil(5*time.Second, func() bool { s := d.Stats(); return !s.Lost && s.Callbacks > before+5 }) {
			t.Fatalf("%v: the device did not come back: %+v", sig, d.Stats())
		}
		t.Logf("%v: back %s after the server answered; %d hang", sig, time.Since(back), d.hanging.Load())
		if after := time.Since(back); after > time.Second {
			t.Errorf("%v: back after %s, want within 1 s", sig, after)
		}
	}
	t0 := time.Now()
	if err := d.Close(); err != nil || time.Since(t0) > 3*time.Second {
		t.Errorf("closing took %s: %v", time.Since(t0), err)
	}
}

// recordJACK records two seconds of the device's eight ports.
func recordJACK(t *testing.T) [][]float32 {
	t.Helper()
	out, err := exec.Command("jack_lsp").Output()
	if err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, l := range strings.Fields(string(out)) {
		if strings.HasPrefix(l, "k8s-synth:playback") {
			ports = append(ports, l)
		}
	}
	if len(ports) != 8 {
		t.Fatalf("ports: %s", out)
	}
	// jack_rec writes 24-bit integers, exactly what the ramp's steps of 2^-20 fit in.
	file := filepath.Join(t.TempDir(), "jack.wav")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "jack_rec", append([]string{"-f", file, "-d", "2", "-b", "24"}, ports...)...).CombinedOutput(); err != nil {
		t.Fatalf("jack_rec: %v\n%s", err, out)
	}
	w, err := ReadWAV(file)
	if err != nil {
		t.Fatal(err)
	}
	frames := make([][]float32, w.Frames())
	for i := range frames {
		frames[i] = make([]float32, len(w.Channels))
		for c := range w.Channels {
			frames[i][c] = w.Channels[c][i]
		}
	}
	return frames
}

// TestJACKHasMorePorts: two channels sound on the first two ports of a server that has eight, and
// the others are silent.
func TestJACKHasMorePorts(t *testing.T) {
	startJACK(t, 128)
	openPeer(t, Settings{Backend: "jack", Channels: 2, Period: 128, Depth: 16, FullScale: 4}, &ramp{volts: 4})
	var two [][]float32
	for i, f := range recordJACK(t) {
		for c, v := range f[2:] {
			if v != 0 {
				t.Fatalf("frame %d of port %d is %g", i, c+3, v)
			}
		}
		two = append(two, f[:2])
	}
	checkRamp(t, two, 12000)
}

func TestJACKIsBitExact(t *testing.T) {
	startJACK(t, 128)
	d := openPeer(t, Settings{Backend: "jack", Channels: 8, Period: 128, Depth: 16, FullScale: 4}, &ramp{volts: 4})
	frames := recordJACK(t)
	t.Logf("%+v", d.Stats())
	// The clock follows a real server's callbacks evenly (see TestNowRunsEvenly).
	for try := 0; ; try++ {
		rate, worst := evenness(d, time.Second)
		t.Logf("clock: rate %.2f Hz, worst deviation %.3f ms", rate, worst)
		// On a busy machine the server itself runs slow for a while.
		if math.Abs(rate/48000-1) < 0.02 && worst < 1 {
			break
		}
		if try == 4 {
			t.Errorf("the clock runs at %.1f Hz and strays by %.2f ms", rate, worst)
			break
		}
	}
	checkRamp(t, frames, 12000)
	t0 := time.Now()
	if err := d.Close(); err != nil || time.Since(t0) > 2*time.Second {
		t.Errorf("closing took %s: %v", time.Since(t0), err)
	}
}

func TestDevicesListsPulseAudio(t *testing.T) {
	startPulse(t)
	list, unavailable := Devices()
	for _, d := range list {
		t.Logf("%+v", d.Name)
		if d.Backend == "pulse" && d.ID == "cv8" {
			if d.Channels != 8 || len(d.Rates) != 1 || d.Rates[0] != 48000 || !d.Default {
				t.Errorf("%+v", d)
			}
			return
		}
	}
	t.Errorf("cv8 is not listed: %+v; unavailable: %v", list, unavailable)
}
