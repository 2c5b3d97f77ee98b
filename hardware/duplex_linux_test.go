package hardware

import (
	"fmt"
	"math"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// counter renders a pattern of 24-bit steps in which each channel and each of a million frames has its
// own value, and reads the same pattern from what is captured: how far each echo is from its frame.
type counter struct {
	volts  float32 // at full scale, a power of two
	frame  int64
	stall  time.Duration // of one block, every 12000 frames
	next   int64
	stalls int

	mu    sync.Mutex
	trips []trip // whenever it changes
	other int    // captured frames that were none of ours, or not the same on all channels
	seen  int    // captured frames that were
}

// trip is a distance between a frame and its echo, and for how many frames it lasted.
type trip struct{ from, distance, frames int64 }

const countModulo = 1 << 20

func countWord(frame int64, channel int) int32 {
	return int32(int64(channel)<<20|frame%countModulo) - 1<<23
}

func (c *counter) Render(out, in [][]float32) {
	if c.stall > 0 && c.frame >= c.next {
		if c.next > 0 {
			time.Sleep(c.stall)
			c.stalls++
		}
		c.next = c.frame + 12000
	}
	for k := range out {
		for i := range out[k] {
			out[k][i] = float32(countWord(c.frame+int64(i), k)) / (1 << 23) * c.volts
		}
	}
	c.mu.Lock()
	for i := range len(out[0]) {
		if in == nil {
			break
		}
		at, ok := c.frameOf(in[0][i])
		for k := range in {
			v, ours := c.word(in[k][i])
			ok = ok && ours && v == countWord(at, k)
		}
		if !ok {
			c.other++
			continue
		}
		c.seen++
		d := (c.frame + int64(i) - at + countModulo) % countModulo
		if n := len(c.trips); n == 0 || c.trips[n-1].distance != d {
			c.trips = append(c.trips, trip{c.frame + int64(i), d, 0})
		}
		c.trips[len(c.trips)-1].frames++
	}
	c.mu.Unlock()
	c.frame += int64(len(out[0]))
}

func (c *counter) word(v float32) (int32, bool) {
	w := v / c.volts * (1 << 23)
	return int32(w), w == float32(int32(w)) && w != 0
}

func (c *counter) frameOf(v float32) (int64, bool) {
	w, ok := c.word(v)
	return (int64(w) + 1<<23) % countModulo, ok
}

// report returns the trip that lasted longest, how many frames had another, and what was no echo.
func (c *counter) report() (best trip, elsewhere int64, other, seen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := map[int64]int64{}
	for _, t := range c.trips {
		total[t.distance] += t.frames
	}
	for d, n := range total {
		if n > best.frames {
			best = trip{0, d, n}
		}
	}
	return best, int64(c.seen) - best.frames, c.other, c.seen
}

func (c *counter) forget() {
	c.mu.Lock()
	c.trips, c.other, c.seen = nil, 0, 0
	c.mu.Unlock()
}

// patchJACK connects each of the instrument's outputs to its input of the same number, and nothing else.
func patchJACK(t testing.TB, channels int) {
	t.Helper()
	for i := range channels {
		_ = exec.Command("jack_disconnect", fmt.Sprintf("system:capture_%d", i+1), fmt.Sprintf("k8s-synth:capture%d", i)).Run()
		if out, err := exec.Command("jack_connect", fmt.Sprintf("k8s-synth:playback%d", i), fmt.Sprintf("k8s-synth:capture%d", i)).CombinedOutput(); err != nil {
			t.Fatalf("jack_connect: %v\n%s", err, out)
		}
	}
}

// What comes back through a cable is what went out, to the bit, and a constant number of frames later;
// also after the renderer has starved.
func TestJACKDuplexIsExactAndAligned(t *testing.T) {
	const period = 64
	startJACK(t, period)
	r := &counter{volts: 4}
	d := openPeer(t, Settings{Backend: "jack", Channels: 8, Capture: 8, CV: Channels(0, 1, 2, 3, 4, 5, 6, 7), CVFullScale: 4, Period: period}, r)
	patchJACK(t, 8)
	time.Sleep(300 * time.Millisecond)
	r.forget()
	time.Sleep(700 * time.Millisecond)
	best, elsewhere, other, seen := r.report()
	s := d.Stats()
	t.Logf("period %d: echo after %d frames (%.1f ms), nominal %d; %d frames, %d elsewhere, %d other; ring %d, %d underruns, gaps %d, realigned %d, xruns %d",
		period, best.distance, float64(best.distance)/48, s.RoundTrip, seen, elsewhere, other, s.RingDepth, s.Underruns, s.CaptureGaps, s.CaptureRealigned, s.Xruns)
	if seen < 20000 || s.CaptureRealigned != 0 {
		t.Errorf("not exact or not aligned")
	}
	// JACK plays a cable from a client to itself one period later.
	if want := int64(s.RingDepth + period); best.distance != want {
		t.Errorf("echo after %d frames, want %d", best.distance, want)
	}
	// A renderer that came late holds values, whose frames are then farther away.
	if s.Underruns == 0 && (elsewhere != 0 || other != 0 || s.CaptureGaps != 0) {
		t.Errorf("%d frames are elsewhere, %d are not what was played", elsewhere, other)
	}
}

func TestJACKDuplexKeepsItsDistanceThroughUnderruns(t *testing.T) {
	startJACK(t, 128)
	r := &counter{volts: 4, stall: 60 * time.Millisecond}
	all := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	d := openPeer(t, Settings{Backend: "jack", Channels: 8, Capture: 8, CV: all, CVFullScale: 4, Period: 128}, r)
	patchJACK(t, 8)
	time.Sleep(300 * time.Millisecond)
	r.forget()
	time.Sleep(1500 * time.Millisecond)
	best, elsewhere, other, seen := r.report()
	s := d.Stats()
	t.Logf("echo after %d frames in %d of %d frames, %d other; %d stalls, %d underruns of %d frames; gaps %d of %d, realigned %d", best.distance, best.frames, seen, other, r.stalls, s.Underruns, s.UnderrunFrames, s.CaptureGaps, s.CaptureGapFrames, s.CaptureRealigned)
	if s.Underruns < 3 || seen < 40000 {
		t.Error("nothing was proven")
	}
	// The held value is the same as that of its frame: at most the frames next to a gap are elsewhere.
	if best.distance != int64(s.RingDepth+128) || elsewhere > int64(s.Underruns)*256 || s.CaptureRealigned != 0 {
		t.Errorf("the echo is not where it was")
	}
	if math.Abs(float64(s.RoundTrip)-float64(best.distance)) > 1024 {
		t.Errorf("nominal round trip %d", s.RoundTrip)
	}
}

// A sink's monitor plays the cable. The server decides the distance; it must not wander.
func TestPulseAudioDuplexIsExactAndAligned(t *testing.T) {
	startPulse(t)
	r := &counter{volts: 4}
	all := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	d := openPeer(t, Settings{Backend: "pulse", Device: "cv8", Channels: 8, Capture: 8, CV: all, CVFullScale: 4, Period: 256, Depth: 16}, r)
	time.Sleep(time.Second)
	r.forget()
	before := d.Stats()
	time.Sleep(2 * time.Second)
	best, elsewhere, other, seen := r.report()
	s := d.Stats()
	t.Logf("echo after %d frames (%.1f ms) in %d of %d frames, nominal %d; %d elsewhere, %d other; %d underruns, gaps %d, lost %d, realigned %d",
		best.distance, float64(best.distance)/48, best.frames, seen, s.RoundTrip, elsewhere, other, s.Underruns-before.Underruns, s.CaptureGaps-before.CaptureGaps, s.CaptureLost, s.CaptureRealigned-before.CaptureRealigned)
	if seen < 9600 {
		t.Error("not exact")
	}
	// A busy server stumbles: it plays silence, and the rest later. Then the distance has to be mended.
	if other == 0 && s.CaptureRealigned == before.CaptureRealigned && elsewhere != 0 {
		t.Error("not aligned")
	}
}
