package hardware

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// threadTimes is what each thread of this process has used of the processors, by its name and number.
func threadTimes(t testing.TB) map[string]time.Duration {
	t.Helper()
	dirs, err := filepath.Glob("/proc/self/task/*/stat")
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]time.Duration{}
	for _, f := range dirs {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it has ended
		}
		fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
		user, _ := strconv.Atoi(string(fields[11]))
		system, _ := strconv.Atoi(string(fields[12]))
		name := string(b[:bytes.LastIndexByte(b, ')')+1])
		times[name] = time.Duration(user+system) * 10 * time.Millisecond
	}
	return times
}

// spinning watches all threads for a while, and reports the greediest one: its name, and the part of a
// processor that it took.
func spinning(t testing.TB, length time.Duration) (name string, part float64) {
	t.Helper()
	before := threadTimes(t)
	began := time.Now()
	time.Sleep(length)
	passed := time.Since(began)
	for n, after := range threadTimes(t) {
		if p := float64(after-before[n]) / float64(passed); p > part {
			name, part = n, p
		}
	}
	return name, part
}

// lossAndReturn takes a device away and puts it back: sound and capture are there again within a second
// of its return, and no thread spins meanwhile or after. pull and back return when it is done.
func lossAndReturn(t *testing.T, d *Device, r *counter, pull, back func(), listen bool) {
	t.Helper()
	before := d.Stats()
	pull()
	pulled := time.Now()
	if !d.waitUntil(3*time.Second, func() bool { return d.Stats().Lost }) {
		t.Fatal("the loss was not noticed")
	}
	noticed := time.Since(pulled)
	name, part := spinning(t, 800*time.Millisecond)
	if part > 0.4 {
		t.Errorf("%s took %.0f %% of a processor while the device was away", name, 100*part)
	}
	if s := d.Stats(); s.Frames < before.Frames+25000 {
		t.Errorf("the music did not go on: %d frames", s.Frames-before.Frames)
	}
	back()
	returned := time.Now()
	if !d.waitUntil(5*time.Second, func() bool { s := d.Stats(); return !s.Lost && s.Callbacks > before.Callbacks+5 }) {
		t.Fatalf("the device did not come back: %+v", d.Stats())
	}
	sound := time.Since(returned)
	heard := time.Duration(0)
	if listen {
		if !d.waitUntil(5*time.Second, func() bool { return d.RoundTrip() > 0 && d.sink.Load().capture.callbacks() > 5 }) {
			t.Fatalf("capture did not come back: %+v", d.Stats())
		}
		heard = time.Since(returned)
	}
	after, also := spinning(t, 500*time.Millisecond)
	t.Logf("noticed after %s; back: sound after %s, capture after %s; greediest thread %.0f %% (%s) while it was away, %.0f %% (%s) after; %d hang", noticed.Round(time.Millisecond),
		sound.Round(time.Millisecond), heard.Round(time.Millisecond), 100*part, name, 100*also, after, d.hanging.Load())
	if sound > time.Second || heard > time.Second {
		t.Errorf("sound was back after %s, capture after %s, want 1 s", sound, heard)
	}
	if also > 0.5 {
		t.Errorf("%s takes %.0f %% of a processor after the return", after, 100*also)
	}
}

func closesInTime(t *testing.T, d *Device) {
	t.Helper()
	began := time.Now()
	if err := d.Close(); err != nil || time.Since(began) > 3*time.Second {
		t.Errorf("closing took %s: %v", time.Since(began), err)
	}
}

func TestJACKDuplexComesBack(t *testing.T) {
	j := startJACK(t, 128)
	r := &counter{volts: 4}
	s, err := Settings{Channels: 8, Capture: 8, CV: Channels(0, 1, 2, 3, 4, 5, 6, 7), CVFullScale: 4}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	c := &beginner{plain: newPlain(s)}
	d := openPeer(t, Settings{Backend: "jack", Converter: c, Period: 128, Depth: 16}, r)
	time.Sleep(500 * time.Millisecond)
	if n := c.begins.Load(); n != 1 {
		t.Errorf("the converter began %d times", n)
	}
	lossAndReturn(t, d, r, func() { j.stop(os.Kill) }, func() { j.start(t) }, true)
	patchJACK(t, 8)
	r.forget()
	time.Sleep(500 * time.Millisecond)
	if best, _, _, seen := r.report(); seen < 10000 || best.distance != int64(d.Stats().RingDepth+128) {
		t.Errorf("after the return the echo is %d frames away, in %d frames", best.distance, seen)
	}
	// Not for the null device in between.
	if n := c.begins.Load(); n != 2 {
		t.Errorf("the converter began %d times", n)
	}
	closesInTime(t, d)
}

// beginner counts how often it began.
type beginner struct {
	*plain
	begins atomic.Int32
}

func (b *beginner) Begin() { b.begins.Add(1) }

func TestPulseAudioDuplexComesBack(t *testing.T) {
	p := startPulse(t)
	r := &counter{volts: 4}
	d := openPeer(t, Settings{Backend: "pulse", Device: "cv8", Channels: 8, Capture: 8, CV: Channels(0, 1, 2, 3, 4, 5, 6, 7), CVFullScale: 4, Period: 256, Depth: 16}, r)
	time.Sleep(700 * time.Millisecond)
	lossAndReturn(t, d, r, p.kill, func() { p.start(t) }, true)
	time.Sleep(300 * time.Millisecond)
	r.forget()
	time.Sleep(700 * time.Millisecond)
	if best, _, _, seen := r.report(); seen < 4800 {
		t.Errorf("after the return %d frames were heard, %d away", seen, best.distance)
	}
	closesInTime(t, d)
}
