package sense

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// straight is a Converter of eight outputs and inputs at ±10 V with a probe, and nothing else.
type straight struct {
	probe   hardware.Probe
	noise   noise
	volts   float64
	in, out [][]float32
	landed  bool
	// Frames at which something began to arrive on each input, and at which it ended. JACK is silent
	// to the bit where nothing is connected, and a code never is.
	frame       int64
	came, ended [straightJacks]atomic.Int64
	hears       [straightJacks]bool
}

const straightJacks = 8

func newStraight(p hardware.Probe, noise float64) *straight {
	s := &straight{probe: p, volts: noise}
	for range straightJacks {
		s.in, s.out = append(s.in, make([]float32, hardware.BlockFrames)), append(s.out, make([]float32, hardware.BlockFrames))
	}
	return s
}

func (s *straight) Shape() (outputs, inputs, playback, capture int) {
	return straightJacks, straightJacks, straightJacks, straightJacks
}
func (s *straight) Hold() hardware.ChannelSet  { return 1<<straightJacks - 1 }
func (s *straight) Exact() hardware.ChannelSet { return 0 }
func (s *straight) Begin()                     {}
func (s *straight) Land()                      { s.landed = true }
func (s *straight) Landed() bool               { return s.landed }

// In adds the noise that an interface's inputs have; JACK has none.
func (s *straight) In(samples, volts [][]float32) {
	s.frame += hardware.BlockFrames
	for k, x := range samples {
		if hears := slices.ContainsFunc(x, func(v float32) bool { return v != 0 }); hears != s.hears[k] {
			if s.hears[k] = hears; hears {
				s.came[k].Store(s.frame)
			} else {
				s.ended[k].Store(s.frame)
			}
		}
		for i, v := range x {
			v = v*10 + float32(s.volts*s.noise.next())
			volts[k][i], s.in[k][i] = v, v
		}
	}
}

func (s *straight) Out(volts, samples [][]float32, _ [][]int32) {
	for k := range s.out {
		if volts != nil {
			copy(s.out[k], volts[k])
		}
	}
	s.probe.Tap(s.out, s.in)
	for k, x := range samples {
		for i := range x {
			x[i] = s.out[k][i] / 10
		}
	}
}

// player renders programmes.
type player struct {
	play  []programme
	frame int64
}

func (p *player) Render(out, _ [][]float32) {
	for k, x := range out {
		for i := range x {
			x[i] = 0
			if f := p.play[k]; f != nil {
				x[i] = float32(f(p.frame + int64(i)))
			}
		}
	}
	p.frame += int64(len(out[0]))
}

// startJACK starts a server of its own and returns when it answers.
func startJACK(t *testing.T) {
	t.Helper()
	for _, p := range []string{"jackd", "jack_wait", "jack_connect", "jack_disconnect"} {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (apt install jackd2 jack-example-tools)", p)
		}
	}
	// JACK keeps a few servers in a registry and takes the place of one that was killed back only for
	// its own name: so there are few names, and each is reserved.
	name := ""
	for i := range 3 {
		n := fmt.Sprintf("k8s-synth-test-%d", i)
		f, err := os.OpenFile(filepath.Join(os.TempDir(), n+".lock"), os.O_CREATE|os.O_RDWR, 0o666)
		if err != nil {
			t.Fatal(err)
		}
		if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
			t.Cleanup(func() { f.Close() })
			name = n
			break
		}
		f.Close()
	}
	if name == "" {
		t.Skip("three other JACK tests run on this machine")
	}
	t.Setenv("JACK_DEFAULT_SERVER", name)
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
	c := exec.Command("jackd", "-n", name, "-R", "-P", "60", "-S", "-d", "dummy", "-r", "48000", "-p", "128", "-C", "8", "-P", "8")
	var log strings.Builder
	c.Stdout, c.Stderr = &log, &log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	// It dies with the thread that starts it: one that stays.
	started, end := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		started <- c.Start()
		<-end
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		timer := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
		_ = c.Wait()
		timer.Stop()
		close(end)
	})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// jack_wait gives up, too, when the server takes long to open its client.
	for {
		err := exec.CommandContext(ctx, "jack_wait", "-s", name, "-w", "-t", "8").Run()
		if err == nil {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("jackd does not come up: %v\n%s", err, log.String())
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// TestJACKConnectIsACable: jack_connect from a playback to a capture port is a cable, with programme,
// on a real server; jack_disconnect pulls it.
func TestJACKConnectIsACable(t *testing.T) {
	startJACK(t)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s, err := NewSensor(jacks(straightJacks, 3, straightJacks))
	if err != nil {
		t.Fatal(err)
	}
	r := 48000
	play := []programme{melody(1, 4, r), melody(2, 3, r), nil, clock(120, 4, r), clock(120, 4, r), envelope(3, r), lfo(0.5, 5, r), saw(110, r)}
	// Full scale leaves no room for a code; a Case sees to that.
	for _, k := range []int{3, 4} {
		f := play[k]
		play[k] = func(n int64) float64 { return 0.8 * f(n) }
	}
	p := &player{play: play}
	c := newStraight(s, dbfs(-90))
	d, err := hardware.Open(ctx, hardware.Settings{Backend: "jack", Period: 128, Depth: 16, Converter: c, Logger: slog.New(slog.DiscardHandler)}, p)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	if st := d.Stats(); st.Lost || st.Backend != "jack" {
		t.Fatalf("did not open: %+v", st)
	}
	s.Start(ctx)
	time.Sleep(200 * time.Millisecond)
	wire := func(verb string, out, in int) {
		t.Helper()
		text, err := exec.Command(verb, fmt.Sprintf("k8s-synth:playback%d", out), fmt.Sprintf("k8s-synth:capture%d", in)).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, text)
		}
	}
	// Nothing but what is asked for may be told meanwhile. The times are the sound's, from the frame
	// at which something arrives or ends: to the one that decides, and to the one at which that is
	// known here, which is later where the machine is busy.
	wait := func(out, in int, on bool) (decided, known time.Duration) {
		t.Helper()
		var at int64
		select {
		case e := <-s.Events():
			at = e.At
			if e.On != on || e.Cable.Output != s.cfg.Outputs[out].Name || e.Cable.Input != s.cfg.Inputs[in] {
				t.Fatalf("%+v instead of %d to %d, %v", e, out, in, on)
			}
		case <-time.After(5 * time.Second):
			t.Fatalf("%d to %d, %v: nothing within 5 s; %+v", out, in, on, s.Report())
		}
		from := c.ended[in].Load()
		if on {
			from = c.came[in].Load()
		}
		return time.Duration(at-from) * time.Second / 48000, time.Duration(s.Frame()-from) * time.Second / 48000
	}
	var table strings.Builder
	var ons, offs []time.Duration
	for o := range straightJacks {
		i := (3*o + 1) % straightJacks
		wire("jack_connect", o, i)
		on, onKnown := wait(o, i, true)
		time.Sleep(250 * time.Millisecond)
		list := s.Cables()
		wire("jack_disconnect", o, i)
		off, offKnown := wait(o, i, false)
		ons, offs = append(ons, on), append(offs, off)
		if len(list) != 1 {
			t.Fatalf("%+v", list)
		}
		fmt.Fprintf(&table, "%s to %s: plugged %3d ms (known after %3d), pulled %3d ms (%3d); gain %.3f, round trip %d (the device says %d), SNR %.1f dB\n",
			list[0].Output, list[0].Input, on.Milliseconds(), onKnown.Milliseconds(), off.Milliseconds(), offKnown.Milliseconds(), list[0].Gain, list[0].Latency, d.RoundTrip(), list[0].SNR)
		if list[0].Latency != s.Stats().Latency || math.Abs(list[0].Gain-1) > 0.1 || list[0].Polarity != 1 {
			t.Errorf("%+v", list[0])
		}
	}
	// One output in three inputs, and two in one.
	for _, x := range [][2]int{{3, 0}, {3, 1}, {3, 2}, {4, 5}, {0, 5}} {
		wire("jack_connect", x[0], x[1])
		wait(x[0], x[1], true)
	}
	rep := s.Report()
	if got := fmt.Sprint(rep.Mixed, rep.Split); got != "[{in f [out a out e]}] [{out d [in a in b in c]}]" {
		t.Errorf("groups %s", got)
	}
	slices.Sort(ons)
	slices.Sort(offs)
	st := s.Stats()
	t.Logf("\n%splugged %v … %v, pulled %v … %v; load %.1f %% of a core, dropped %d, gaps %d, underruns %d",
		table.String(), ons[0], ons[len(ons)-1], offs[0], offs[len(offs)-1], 100*st.Load, st.Dropped, st.Gaps, d.Stats().Underruns)
	if m := ons[len(ons)-1]; m > 250*time.Millisecond {
		t.Errorf("a cable took %v", m)
	}
	if m := offs[len(offs)-1]; m > 500*time.Millisecond {
		t.Errorf("a pull took %v", m)
	}
}
