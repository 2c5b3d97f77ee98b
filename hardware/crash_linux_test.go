package hardware

import (
	"bufio"
	"context"
	"io"
	"math"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestCrashLands: whatever ends a process, another program that listens hears its voltages slew to 0 V and
// its gates fall first; and the end is the one that it would have had: its trace, its exit code or its signal.
func TestCrashLands(t *testing.T) {
	if !LandsInCrash {
		t.Skip("the callback is Go's, which is frozen in a crash")
	}
	startJACK(t, 128)
	program := filepath.Join(t.TempDir(), "crash")
	if out, err := exec.Command("go", "build", "-o", program, "./testdata/crash").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, c := range []struct {
		how, says string
		signal    syscall.Signal // 0: it exits with 2
		one       bool           // goroutine in the trace, and none of the runtime's frames
	}{
		{"panic", "panic: test\n\ngoroutine ", 0, true},
		{"nil", "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV", 0, true},
		{"map", "fatal error: concurrent map writes\n\ngoroutine ", 0, true},
		{"fault", "SIGSEGV: segmentation violation\nPC=", 0, false},
		{"fault of C", "", syscall.SIGSEGV, false},
		{"abort", "SIGABRT: abort\nPC=", 0, false},
		{"abort of C", "", syscall.SIGABRT, false},
	} {
		t.Run(c.how, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), 25*time.Second)
			defer cancel()
			p := exec.CommandContext(ctx, program, c.how)
			p.Env = append(p.Environ(), "GOTRACEBACK=")
			p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
			var errs strings.Builder
			p.Stderr = &errs
			in, err := p.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			out, err := p.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := begin(p); err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(out).ReadString('\n'); line != "plays\n" {
				t.Fatal(line, err, p.Wait(), errs.String())
			}
			file := filepath.Join(t.TempDir(), "jack.wav")
			rec := exec.CommandContext(ctx, "jack_rec", "-f", file, "-d", "2", "-b", "24", "k8s-synth:playback0", "k8s-synth:playback1", "k8s-synth:playback2")
			var said strings.Builder
			rec.Stdout, rec.Stderr = &said, &said
			if err := begin(rec); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			told := time.Now()
			if _, err := io.WriteString(in, "\n"); err != nil {
				t.Fatal(err)
			}
			err = p.Wait()
			lived := time.Since(told)
			if err := rec.Wait(); err != nil {
				t.Fatalf("jack_rec: %v\n%s", err, said.String())
			}

			w, isStatus := p.ProcessState.Sys().(syscall.WaitStatus)
			if !isStatus || c.signal == 0 && w.ExitStatus() != 2 || c.signal != 0 && (!w.Signaled() || w.Signal() != c.signal) {
				t.Errorf("it ends with %v", err)
			}
			trace := errs.String()
			if !strings.HasPrefix(trace, c.says) || c.says == "" && trace != "" {
				t.Errorf("it says %s", trace)
			}
			if n := strings.Count(trace, "\ngoroutine "); c.one && (n != 1 || strings.Contains(trace, "runtime stack:") || strings.Contains(trace, "runtime.gopanic")) {
				t.Errorf("its trace is longer than it was, with %d goroutines:\n%s", n, trace)
			}

			heard, err := ReadWAV(file)
			if err != nil {
				t.Fatal(err)
			}
			volts, gate, audio := heard.Channels[0], heard.Channels[1], heard.Channels[2]
			at := 0
			for at < len(volts) && math.Abs(float64(volts[at])-0.8) > 1e-5 {
				at++ // until the recorder is plugged in
			}
			level := at
			steepest, where := 0.0, 0
			for i := at + 1; i < len(volts); i++ {
				if math.Abs(float64(volts[i])-0.8) < 1e-5 {
					level = i
				}
				if i > level && gate[i] != 0 {
					t.Fatalf("the gate is at %g, %d frames after the voltage began to fall", gate[i], i-level)
				}
				for _, c := range [][]float32{volts, audio} {
					if d := math.Abs(float64(c[i]) - float64(c[i-1])); d > steepest {
						steepest, where = d, i
					}
				}
			}
			t.Logf("played until frame %d of %d; steepest at %d, by %.6f of full scale; it died %v after it was told", level, len(volts), where, steepest, lived.Round(time.Millisecond))
			if level < at+9600 || level > len(volts)-9600 || volts[len(volts)-1] != 0 || audio[len(audio)-1] != 0 {
				t.Fatalf("what was recorded does not begin at 0.8 and end at 0: %v", volts[len(volts)-1])
			}
			if steepest > 1.1*0.8/2400 {
				t.Errorf("it steps by %g of full scale at frame %d", steepest, where)
			}
		})
	}
}

// TestRecoveredPanicsDoNotLand: nobody hears of a panic that a goroutine has recovered from, nor of a nil
// pointer, which comes as a signal.
func TestRecoveredPanicsDoNotLand(t *testing.T) {
	if !LandsInCrash {
		t.Skip("nothing lands in a crash")
	}
	d := openNull(t, Settings{Channels: 1, CV: Channels(0), CVFullScale: 4}, &ramp{volts: 4})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	var nothing *Stats
	recovered := 0
	for i := range 1000 {
		func() {
			defer func() {
				if recover() != nil {
					recovered++
				}
			}()
			if i%2 == 0 {
				panic("test")
			}
			nothing.Callbacks = 1
		}()
	}
	r := d.sink.Load().ring
	before := r.callbacks()
	if recovered != 1000 || !d.waitUntil(time.Second, func() bool { return r.callbacks() > before+8 }) {
		t.Fatalf("%d panics recovered from; %d callbacks", recovered, r.callbacks()-before)
	}
	if ending.dying != 0 || r.lastValues()[0] == 0 {
		t.Errorf("dying %d; the voltage is %g", ending.dying, r.lastValues()[0])
	}
	if ending.playing == 0 || ending.landed != 0 {
		t.Errorf("%d rings are played and %d have landed", ending.playing, ending.landed)
	}
}
