//go:build cgo && linux

package jack

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func TestWithoutAServer(t *testing.T) {
	if err := load(); err != nil {
		t.Skip(err)
	}
	t.Setenv("JACK_DEFAULT_SERVER", "k8s-synth-none")
	d := newDriver(t)
	for range 3 {
		t0 := time.Now()
		_, _, err := d.Ports()
		if !errors.Is(err, ErrNoServer) {
			t.Fatalf("without a server Ports says %v", err)
		}
		if took := time.Since(t0); took > 300*time.Millisecond {
			t.Errorf("Ports took %s to find no server", took)
		}
	}
	_, _, err := d.Ports()
	t.Log(err)
	if _, _, err := d.Virtual("k8s-synth", nil); !errors.Is(err, ErrNoServer) {
		t.Errorf("Virtual without a server: %v", err)
	}
}

// What is sent with a time stands at the frame of that time, as another client sees it.
func TestSendsOnTheFrame(t *testing.T) {
	useServer(t)
	quiet(t, func() error { return sendsOnTheFrame(t, 256, 80, 300*time.Millisecond) })
}

func TestProofSendsOnTheFrame(t *testing.T) {
	proof(t)
	for _, period := range []int{64, 128, 1024} {
		t.Run(fmt.Sprint(period), func(t *testing.T) {
			startServer(t, period)
			quiet(t, func() error { return sendsOnTheFrame(t, period, 500, 0) })
		})
	}
}

// errBusy is of a measurement that other programs disturbed.
var errBusy = errors.New("the machine is too busy to measure")

// quiet tries a measurement again while the machine is busy.
func quiet(t *testing.T, measure func() error) {
	t.Helper()
	var err error
	for range 4 {
		if err = measure(); !errors.Is(err, errBusy) {
			break
		}
		t.Log(err)
		time.Sleep(time.Second) // JACK's clock swings for a while after a disturbance
	}
	if errors.Is(err, errBusy) {
		t.Skip(err)
	} else if err != nil {
		t.Error(err)
	}
}

// early is how much earlier than Ahead asks for it sends, so that only the driver is measured and
// not the scheduler.
func sendsOnTheFrame(t *testing.T, period, n int, early time.Duration) error {
	t.Helper()
	p := startPeer(t, "peer")
	d := newDriver(t)
	out, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond) // JACK's clock settles
	first := time.Now().Add(out.Ahead() + early + 20*time.Millisecond)
	var want []time.Time
	for i := range n {
		// Not a whole number of frames.
		at := first.Add(time.Duration(i) * 5137 * time.Microsecond)
		want = append(want, at)
		if d := time.Until(at.Add(-out.Ahead() - early)); d > 0 {
			time.Sleep(d)
		}
		m := midi.On(i%16, i%128, 1+i/128)
		if err := out.Send(at, m.Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
	got := p.await(t, n, 2*time.Second)
	var frames, micros []float64
	for i, e := range got {
		if m := midi.On(i%16, i%128, 1+i/128).Bytes(nil); string(e.bytes) != string(m) {
			t.Fatalf("event %d is % x, want % x", i, e.bytes, m)
		}
		off := e.at.Sub(want[i])
		micros = append(micros, float64(off)/1e3)
		frames = append(frames, float64(int(off.Seconds()*48000+1000.5)-1000))
	}
	f50, f99, fmax := spread(frames)
	u50, u99, umax := spread(micros)
	s := d.Stats()
	t.Logf("period %d: off the asked frame: p50 %.0f p99 %.0f max %.0f frames; p50 %.1f p99 %.1f max %.1f µs; late %d (worst %s); ahead %s; longest callback %s",
		period, f50, f99, fmax, u50, u99, umax, s.Late, s.LateMax, out.Ahead(), s.Busy)
	if err := out.Close(); err != nil {
		t.Error(err)
	}
	p.stop()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	// The nearest frame is half a frame away at most; a microsecond is for the two clocks' reading.
	off := 0
	for _, m := range micros {
		if m < -12 || m > 12 {
			off++
		}
	}
	switch {
	case off == 0:
		return nil
	case s.Late > 0 || s.Strayed > 0 || s.Xruns > 0:
		return fmt.Errorf("%w: %d of %d messages are off their frames, %d were late, %d of %d cycles astray, %d gaps", errBusy, off, n, s.Late, s.Strayed, s.Cycles, s.Xruns)
	}
	return fmt.Errorf("%d of %d messages are off their frames", off, n)
}

// What arrives carries the time of its frame, whenever it is handed over.
func TestReceivesTheFramesTime(t *testing.T) {
	useServer(t)
	quiet(t, func() error { return receivesTheFramesTime(t) })
}

func receivesTheFramesTime(t *testing.T) error {
	t.Helper()
	p := startPeer(t, "peer")
	d := newDriver(t)
	var box inbox
	in, err := d.OpenIn("peer:out", box.receive)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(300 * time.Millisecond)
	const n = 100
	c := p.clock()
	for i := range n {
		fmt.Fprintf(p.stdin, "at %d %02x%02x%02x\n", c.frame+9600+uint32(i)*331, 0x90|i%16, i%128, 1+i/128)
	}
	got := box.await(t, n, 5*time.Second)
	_, came := box.all()
	var steps, wait, woke []float64
	for i, e := range got {
		if m := midi.On(i%16, i%128, 1+i/128).Bytes(nil); string(e.bytes) != string(m) {
			t.Fatalf("message %d is % x, want % x", i, e.bytes, m)
		}
		if i > 0 {
			steps = append(steps, e.at.Sub(got[i-1].at).Seconds()*48000-331)
		}
		wait = append(wait, came[i].Sub(e.at).Seconds()*1e3)
		// Since its cycle began, which is the earliest that anyone can know of it.
		in := (9600 + i*331) % 256
		woke = append(woke, came[i].Sub(e.at).Seconds()*1e6+float64(in)/48000*1e6)
	}
	s50, s99, smax := spread(steps)
	slices.Sort(wait)
	t.Logf("steps of 331 frames: off by p50 %.3f p99 %.3f max %.3f frames; handed over %.2f to %.2f ms after their time, median %.2f",
		s50, s99, smax, wait[0], wait[n-1], wait[n/2])
	w50, w99, wmax := spread(woke)
	t.Logf("from the beginning of the cycle to receive: p50 %.0f p99 %.0f max %.0f µs", w50, w99, wmax)
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	if out := run(t, "jack_lsp"); strings.Contains(out, "in_peer") {
		t.Errorf("the closed port is still there:\n%s", out)
	}
	p.stop()
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	// JACK's dummy driver takes the time from when it wakes up: whoever is a fifth of a period late
	// has swayed the clock that is measured against here.
	if st := d.Stats(); s99 > 1 && (st.Strayed+st.Xruns > 0 || w99 > 1000) {
		return errBusy
	} else if s99 > 1 {
		return fmt.Errorf("times of arrival stray by %.2f frames", s99)
	}
	return nil
}

func TestVirtualPortsAndNames(t *testing.T) {
	useServer(t)
	p := startPeer(t, "peer", "Launchpad Mini")
	d := newDriver(t)
	var box inbox
	_, out, err := d.Virtual("k8s-synth", box.receive)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
	run(t, "jack_connect", "peer:out", "k8s-synth:midi_in")
	if !within(time.Second, func() bool { return slices.Equal(d.Connected("k8s-synth"), []string{"peer:in"}) }) {
		t.Errorf("connected to the virtual port: %q", d.Connected("k8s-synth"))
	}
	ins, outs, err := d.Ports()
	if err != nil || !slices.Equal(ins, []string{"peer:out"}) || !slices.Equal(outs, []string{"peer:in"}) {
		t.Errorf("ports %q and %q, %v", ins, outs, err)
	}
	if a, b := d.Shown("peer:in"), d.Shown("peer:out"); a != "Launchpad Mini" || b != "peer:out" {
		t.Errorf("shown as %q and %q", a, b)
	}
	select {
	case <-d.Changed():
	default:
		t.Error("nothing has changed")
	}
	if _, err := d.OpenOut("peer:out"); err == nil {
		t.Error("a port that sends was opened to send to")
	}

	// Several messages and running status in one call, in order; a long exclusive one.
	long := append(append([]byte{0xf0}, make([]byte, 20000)...), 0xf7)
	for _, b := range [][]byte{{0x90, 60, 1, 61, 2, 0xf8, 0xb0, 1, 2}, long, {0x80, 60, 0}} {
		if err := out.Send(time.Time{}, b); err != nil {
			t.Fatal(err)
		}
	}
	got := p.await(t, 6, 2*time.Second)
	var text []string
	for _, e := range got {
		text = append(text, fmt.Sprintf("%x", e.bytes[:min(len(e.bytes), 4)]))
	}
	if want := []string{"903c01", "903d02", "f8", "b00102", "f0000000", "803c00"}; !slices.Equal(text[:len(want)], want) || len(got[4].bytes) != len(long) {
		t.Errorf("heard %q", text)
	}
	// Longer than JACK's buffer: dropped and counted, without harm to what comes after.
	if err := out.Send(time.Time{}, append(append([]byte{0xf0}, make([]byte, 60000)...), 0xf7)); err != nil || d.Stats().Unfit != 1 {
		t.Errorf("an exclusive message that is too long: %v; %d unfit", err, d.Stats().Unfit)
	}
	if err := out.Send(time.Time{}, []byte{0x90, 60}); err == nil {
		t.Error("half a message was taken")
	}

	// An exclusive message that comes in parts is handed over whole.
	c := p.clock()
	fmt.Fprintf(p.stdin, "at %d f00102\nat %d 030405\nat %d f8\nat %d 06f7\n", c.frame, c.frame, c.frame, c.frame)
	in := box.await(t, 2, 2*time.Second)
	if fmt.Sprintf("%x %x", in[0].bytes, in[1].bytes) != "f8 f0010203040506f7" {
		t.Errorf("received %x %x", in[0].bytes, in[1].bytes)
	}

	// A second instrument on the same server gets a name of its own, and says so.
	d2 := newDriver(t)
	if _, _, err := d2.Virtual("k8s-synth", nil); err != nil {
		t.Fatal(err)
	}
	if d2.Client() == "" || d2.Client() == "k8s-synth" {
		t.Errorf("the second client is called %q", d2.Client())
	}
}
