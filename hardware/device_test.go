package hardware

import (
	"context"
	"io"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"
)

// ramp renders a pattern that names its frame and channel: volts of full scale times
// (frame mod 4096 + channel*4096) / 2^20, which float32 holds exactly.
type ramp struct {
	frame  uint64
	volts  float32
	panics atomic.Bool
}

func rampValue(frame uint64, channel int) float32 {
	return float32(frame%4096+uint64(channel)*4096+1) / (1 << 20)
}

func (r *ramp) Render(out, in [][]float32) {
	if r.panics.Load() {
		panic("test")
	}
	for c := range out {
		for i := range out[c] {
			out[c][i] = rampValue(r.frame+uint64(i), c) * r.volts
		}
	}
	r.frame += uint64(len(out[0]))
}

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func testLogger(t testing.TB) *slog.Logger {
	if testing.Verbose() {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return quiet()
}

func openNull(t *testing.T, s Settings, r Renderer) *Device {
	t.Helper()
	s.Backend = "null"
	s.Logger = testLogger(t)
	d, err := Open(context.Background(), s, r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestNullDeviceKeepsTime(t *testing.T) {
	d := openNull(t, Settings{Channels: 2}, &ramp{volts: 4})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	a, ta := d.Stats(), time.Now()
	time.Sleep(time.Second)
	b, tb := d.Stats(), time.Now()
	want := tb.Sub(ta).Seconds() * 48000
	if got := float64(b.Frames - a.Frames); math.Abs(got-want) > 2000 {
		t.Errorf("rendered %.0f frames in the time of %.0f", got, want)
	}
	if b.Backend != "null" || b.Lost || b.Callbacks == 0 || b.RingDepth != 512 {
		t.Errorf("stats: %+v", b)
	}
	if b.Load <= 0 || b.Load > 1 || b.LoadPeak < b.Load/2 {
		t.Errorf("load %g, peak %g", b.Load, b.LoadPeak)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if c := d.Stats(); c.Frames < b.Frames {
		t.Error("the figures are gone after Close")
	}
	if err := d.Record("x.wav"); err != ErrClosed {
		t.Errorf("Record after Close: %v", err)
	}
}

func TestRecordIsExactAndFadesOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "take.wav")
	d := openNull(t, Settings{Channels: 3, CV: Channels(1), Gate: Channels(2), FullScale: 4, CVFullScale: 8}, &ramp{volts: 4})
	if err := d.Record(path); err != nil {
		t.Fatal(err)
	}
	if err := d.Record(path); err == nil {
		t.Error("two recordings at once")
	}
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(400 * time.Millisecond)
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	w, err := ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	total := w.Frames()
	if total < 48000*4/10 || len(w.Channels) != 3 || w.Rate != 48000 {
		t.Fatalf("%d frames of %d channels at %d", total, len(w.Channels), w.Rate)
	}
	scale := []float32{1, 0.5, 0.5}
	// Where the gate channel fell is where the fade began.
	fall := total
	for fall > 0 && w.Channels[2][fall-1] == 0 {
		fall--
	}
	if rest := total - fall; rest < 2400 || rest > 2400+4096 {
		t.Errorf("gates fell %d frames before the end", rest)
	}
	for c := range w.Channels {
		for f := range fall {
			if got, want := w.Channels[c][f], rampValue(uint64(f), c)*scale[c]; got != want {
				t.Fatalf("channel %d, frame %d: %g, want %g", c, f, got, want)
			}
		}
		if w.Channels[c][total-1] != 0 {
			t.Errorf("channel %d ends at %g", c, w.Channels[c][total-1])
		}
	}
	for i := range 2400 {
		f := fall + i
		want := rampValue(uint64(f), 0) * float32(2400-i) / 2400
		if got := w.Channels[0][f]; math.Abs(float64(got-want)) > 1e-6 {
			t.Fatalf("fade, frame %d: %g, want %g", i, got, want)
		}
	}
}

func TestNoDeviceFallsBackAndSaysSo(t *testing.T) {
	var lines lineCounter
	d, err := Open(context.Background(), Settings{Backend: Backends()[0], Device: "no such interface 4711",
		Logger: slog.New(slog.NewTextHandler(&lines, nil))}, &ramp{volts: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)
	if s := d.Stats(); !s.Lost || s.Frames == 0 || s.Backend != "null" {
		t.Errorf("stats: %+v", s)
	}
	if n := lines.n.Load(); n != 1 {
		t.Errorf("%d warnings about it, want one line", n)
	}
}

type lineCounter struct{ n atomic.Int32 }

func (l *lineCounter) Write(p []byte) (int, error) {
	if !contains(p, "real-time") {
		l.n.Add(1)
	}
	return len(p), nil
}

func TestSettings(t *testing.T) {
	for _, bad := range []Settings{
		{Rate: 1}, {Period: 1}, {Periods: 1}, {Depth: -1}, {Depth: 1000}, {Channels: 65}, {Channels: -1},
		{FullScale: -1}, {FullScale: math.NaN()}, {CVFullScale: math.Inf(1)}, {Channels: 2, CV: Channels(2)},
		{Backend: "tape"}, {Priority: 99},
	} {
		if _, err := bad.ApplyDefaults(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	s, err := Settings{}.ApplyDefaults()
	if err != nil || s.Rate != 48000 || s.Depth != 8 || s.Channels != 2 || s.FullScale != 5 || s.CVFullScale != 10 {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := Open(context.Background(), Settings{Backend: "null"}, nil); err == nil {
		t.Error("no renderer was accepted")
	}
}

func TestStepAllocatesNothing(t *testing.T) {
	s, _ := Settings{Channels: 8, CV: Channels(6, 7)}.ApplyDefaults()
	d := newDevice(s, &ramp{volts: 30}) // clips on some channels
	st, err := openStream("null", s)
	if err != nil {
		t.Fatal(err)
	}
	rec, err := newRecorder(filepath.Join(t.TempDir(), "a.wav"), 48000, 8)
	if err != nil {
		t.Fatal(err)
	}
	d.tap.Store(rec)
	out := make([]float32, 8*BlockFrames)
	n := testing.AllocsPerRun(2000, func() {
		if !st.ring.wait(BlockFrames, time.Second) {
			t.Fatal("no room")
		}
		d.step(st)
		st.ring.drain(out)
	})
	d.tap.Store(nil)
	if _, err := rec.stop(); err != nil {
		t.Error(err)
	}
	if n != 0 {
		t.Errorf("%g allocations a block", n)
	}
	st.ring.free()
}

func TestInvalidSamplesBecomeZero(t *testing.T) {
	s, _ := Settings{Channels: 2}.ApplyDefaults()
	d := newDevice(s, &ramp{})
	d.out[0][3], d.out[1][4], d.out[1][5] = float32(math.NaN()), float32(math.Inf(1)), 7.5
	d.interleave()
	if d.inter[6] != 0 || d.inter[9] != 0 || d.inter[11] != 1.5 || d.invalid.Load() != 2 {
		t.Errorf("%v %v %v, %d counted", d.inter[6], d.inter[9], d.inter[11], d.invalid.Load())
	}
}

// The clock must run evenly although callbacks come in lumps of 128 frames (2.7 ms).
func TestNowRunsEvenly(t *testing.T) {
	d := openNull(t, Settings{}, &ramp{volts: 1})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2500 * time.Millisecond)
	// A machine that stands still for a while (a virtual one whose host is busy) makes gaps that the
	// clock rightly shows; it has to be even in one of several windows.
	var rate, worst float64
	for try := 0; try < 5; try++ {
		rate, worst = evenness(d, time.Second)
		t.Logf("rate %.2f Hz, worst deviation %.3f ms, %d underruns", rate, worst, d.Stats().Underruns)
		if math.Abs(rate/48000-1) < 0.001 && worst < 0.5 {
			break
		}
	}
	if math.Abs(rate/48000-1) > 0.001 || worst > 0.5 {
		t.Errorf("the clock runs at %.1f Hz and strays by %.2f ms", rate, worst)
	}
	now := d.Now()
	if at := d.FrameAt(time.Now().Add(100 * time.Millisecond)); math.Abs(at-now-4800) > 480 {
		t.Errorf("FrameAt +100 ms is %.0f frames from now", at-now)
	}
	if r := float64(d.Stats().Frames); now > r+1000 || now < r-2000 {
		t.Errorf("now is frame %.0f, rendered are %.0f", now, r)
	}
}

// A device whose thread ends, as that of an interface does that is pulled out: what is rendered and
// the clock go on, without a step in time.
func TestClockGoesOnThroughALoss(t *testing.T) {
	// A deep ring: an underrun moves the clock too, and is not what is tested here.
	s, err := Settings{Depth: 64, Logger: testLogger(t)}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	d := newDevice(s, &ramp{volts: 1})
	st, err := openStream("null", s)
	if err != nil {
		t.Fatal(err)
	}
	st.info.Name = "an interface"
	d.sink.Store(st)
	ctx, cancel := context.WithCancel(context.Background())
	d.cancel, d.watched = cancel, make(chan struct{})
	go d.watch(ctx)
	t.Cleanup(func() { d.Close() })
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(700 * time.Millisecond)
	t0, f0 := time.Now(), d.Now()
	d.mu.Lock()
	st.null.stop()
	st.null = nil
	d.mu.Unlock()
	if !d.waitUntil(2*time.Second, func() bool { return d.Stats().Lost }) {
		t.Fatal("the loss was not noticed")
	}
	time.Sleep(300 * time.Millisecond)
	best := math.Inf(1)
	for range 5 {
		// The best of several, for a machine that stands still now and then.
		off := d.Now() - f0 - time.Since(t0).Seconds()*48000
		best = min(best, math.Abs(off))
		time.Sleep(100 * time.Millisecond)
	}
	t.Logf("off by %.2f ms after the loss", best/48)
	// The ring's remainder and the device's period set the grain.
	if best > 240 {
		t.Errorf("the clock is off by %.1f ms after the loss", best/48)
	}
	now, rendered := d.Now(), float64(d.frames.Load())
	if now > rendered+256 || now < rendered-64*BlockFrames-1000 {
		t.Errorf("now is frame %.0f of %.0f rendered", now, rendered)
	}
	if got := d.Stats(); got.LostDevice != "an interface" || got.Backend != "null" {
		t.Errorf("%+v", got)
	}
}

// evenness reads the clock for a while and fits a line: its slope in Hz, and the worst distance in ms.
func evenness(d *Device, length time.Duration) (rate, worst float64) {
	type point struct{ t, f float64 }
	var ps []point
	var st, sf, stt, stf float64
	for start := time.Now(); time.Since(start) < length; time.Sleep(7 * time.Millisecond) {
		a := time.Now()
		f := d.Now()
		if time.Since(a) > 100*time.Microsecond { // interrupted in between
			continue
		}
		p := point{a.Sub(start).Seconds(), f}
		ps = append(ps, p)
		st += p.t
		sf += p.f
		stt += p.t * p.t
		stf += p.t * p.f
	}
	n := float64(len(ps))
	rate = (n*stf - st*sf) / (n*stt - st*st)
	at0 := (sf - rate*st) / n
	for _, p := range ps {
		worst = max(worst, math.Abs(p.f-at0-rate*p.t)/48)
	}
	return rate, worst
}
