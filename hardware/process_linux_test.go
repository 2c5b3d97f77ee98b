package hardware

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"
)

// Some proofs need another process; TestMain lets this test binary be it.
func TestMain(m *testing.M) {
	switch os.Getenv("K8S_SYNTH_TEST_ROLE") {
	case "":
		os.Exit(m.Run())
	case "garbage":
		time.AfterFunc(10*time.Minute, func() { os.Exit(0) })
		makeGarbage(nil)
	case "probe":
		list, unavailable := Devices()
		fmt.Println(len(list), len(unavailable))
		d, err := Open(context.Background(), Settings{Logger: quiet()}, &ramp{})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_ = d.Start()
		time.Sleep(300 * time.Millisecond)
		fmt.Println("lost", d.Stats().Lost)
		_ = d.Close()
		os.Exit(0)
	case "panic":
		r := &ramp{volts: 1}
		d, err := Open(context.Background(), Settings{Backend: "null", Logger: quiet()}, r)
		if err != nil {
			os.Exit(3)
		}
		_ = d.Start()
		// Its length is written a second after it begins: by then it holds a second, however long the start took.
		_ = d.Record(os.Getenv("K8S_SYNTH_TEST_FILE"))
		time.Sleep(1500 * time.Millisecond)
		r.panics.Store(true)
		time.Sleep(5 * time.Second)
		os.Exit(4)
	}
}

func role(name string, env ...string) *exec.Cmd {
	c := exec.Command(os.Args[0])
	c.Env = append(append(os.Environ(), "K8S_SYNTH_TEST_ROLE="+name), env...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

var garbageSink [][]byte

// makeGarbage allocates some 80 MB/s and keeps a heap of some 60 MB, as informers of a busy cluster do.
func makeGarbage(quit <-chan struct{}) {
	keep := make([][]byte, 20000)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-quit:
			return
		case <-tick.C:
		}
		for range 53 {
			b := make([]byte, 3000)
			b[0] = byte(n)
			keep[n%len(keep)] = b
			n++
		}
		garbageSink = keep
	}
}

// A machine without any audio server must be told so in our words only.
func TestProbingPrintsNothing(t *testing.T) {
	if !callbackInC {
		t.Skip("the audio libraries are silenced together with the callback in C")
	}
	dir := t.TempDir()
	c := role("probe", "HOME="+dir, "XDG_RUNTIME_DIR="+dir, "XDG_CONFIG_HOME="+dir, "JACK_DEFAULT_SERVER=none4711", "JACK_NO_START_SERVER=1")
	var out, errs strings.Builder
	c.Stdout, c.Stderr = &out, &errs
	began := time.Now()
	if err := c.Run(); err != nil {
		t.Fatalf("%v: %s%s", err, out.String(), errs.String())
	}
	t.Logf("%s: %q", time.Since(began), out.String())
	if errs.Len() != 0 {
		t.Errorf("printed on stderr:\n%s", errs.String())
	}
}

// When Render panics, the outputs come down first, then the program ends with the trace.
func TestPanicLandsTheOutputs(t *testing.T) {
	file := t.TempDir() + "/a.wav"
	c := role("panic", "K8S_SYNTH_TEST_FILE="+file)
	var errs strings.Builder
	c.Stderr = &errs
	err := c.Run()
	if err == nil || c.ProcessState.ExitCode() != 2 {
		t.Fatalf("exit: %v", err)
	}
	if !strings.Contains(errs.String(), "panic: test") || !strings.Contains(errs.String(), "Render") {
		t.Errorf("stderr: %s", errs.String())
	}
	if w, err := ReadWAV(file); err != nil || w.Frames() < 40000 {
		t.Errorf("of the recording %v frames are left, %v", w, err)
	}
}

func TestLandingEndsAtZero(t *testing.T) {
	// The ring holds all of the landing: a crash waits for 100 ms at most for whoever takes it.
	s, err := Settings{Channels: 2, Gate: Channels(1), Depth: 64}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(s, &ramp{volts: 4})
	st, err := openStream("null", s)
	if err != nil {
		t.Fatal(err)
	}
	d.sink.Store(st)
	done := make(chan struct{})
	go func() { defer close(done); d.step(st); d.crash() }()
	out := make([]float32, 2*64)
	var all []float32
	for len(all) < 2*(64+2400) {
		if st.ring.fill() < 64 {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		st.ring.drain(out)
		all = append(all, out...)
	}
	last := all[2*63]
	for i := range 2400 {
		want := last * float32(2400-i) / 2400
		if got := all[2*(64+i)]; math.Abs(float64(got-want)) > 1e-6 || all[2*(64+i)+1] != 0 {
			t.Fatalf("frame %d: %g (want %g), gate %g", i, got, want, all[2*(64+i)+1])
		}
	}
	for {
		select {
		case <-done:
			return
		default:
			st.ring.drain(out)
		}
	}
}

// busy is a renderer that takes about a fifth of its time, as a patch of some twenty voices does.
type busy struct{ phase [24]float64 }

func (b *busy) Render(out, in [][]float32) {
	for i := range out[0] {
		var v float64
		for k := range b.phase {
			b.phase[k] += 0.01 * float64(k+1)
			v += math.Sin(b.phase[k])
		}
		for c := range out {
			out[c][i] = float32(v / 24)
		}
	}
}

// The table of underruns: which ring depth is enough at which period, beside a process that makes
// garbage as client-go does, and beside the same garbage in the process itself.
func TestProofUnderruns(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("takes four minutes: set K8S_SYNTH_PROOF=1")
	}
	stat := func() (total, steal float64) {
		b, _ := os.ReadFile("/proc/stat")
		for i, f := range strings.Fields(strings.SplitN(string(b), "\n", 2)[0])[1:] {
			var v float64
			fmt.Sscan(f, &v)
			total += v
			if i == 7 {
				steal = v
			}
		}
		return
	}
	havePulse := false
	if _, err := exec.LookPath("pulseaudio"); err == nil {
		startPulse(t)
		havePulse = true
	}
	tw := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "backend\tgarbage\tperiod\tdepth\tseconds\tunderruns\tframes\tring min\tload\tpeak\tsteal %\t")
	for _, where := range []string{"other process", "same process"} {
		quit := make(chan struct{})
		var other *exec.Cmd
		if where == "other process" {
			other = role("garbage")
			if err := other.Start(); err != nil {
				t.Fatal(err)
			}
		} else {
			go makeGarbage(quit)
		}
		for _, backend := range []string{"null", "pulse"} {
			if backend == "pulse" && !havePulse {
				continue
			}
			for _, period := range []int{64, 128, 256} {
				for _, depth := range []int{2, 4, 8, 16} {
					d, err := Open(context.Background(), Settings{Backend: backend, Channels: 8, Period: period, Depth: depth, Logger: quiet()}, &busy{})
					if err != nil {
						t.Fatal(err)
					}
					if err := d.Start(); err != nil {
						t.Fatal(err)
					}
					total0, steal0 := stat()
					lowest := math.MaxInt
					const seconds = 5
					for range seconds {
						time.Sleep(time.Second)
						if m := d.Stats().RingMin; m >= 0 {
							lowest = min(lowest, m)
						}
					}
					total1, steal1 := stat()
					s := d.Stats()
					fmt.Fprintf(tw, "%s\t%s\t%d\t%d\t%d\t%d\t%d\t%d of %d\t%.3f\t%.2f\t%.1f\t\n", backend, where, period, depth, seconds,
						s.Underruns, s.UnderrunFrames, lowest, s.RingDepth, s.Load, s.LoadPeak, 100*(steal1-steal0)/max(1, total1-total0))
					if err := d.Close(); err != nil {
						t.Fatal(err)
					}
					if s.Lost {
						t.Errorf("%s was lost", backend)
					}
				}
			}
		}
		close(quit)
		if other != nil {
			_ = other.Process.Kill()
			_ = other.Wait()
		}
	}
	tw.Flush()
	runtime.KeepAlive(garbageSink)
}
