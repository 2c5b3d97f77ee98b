package hardware

import (
	"os"
	"testing"
	"time"
)

// The loopback card again, from its output to its input: exact, and at a constant distance.
func TestALSADuplexIsExactAndAligned(t *testing.T) {
	if _, err := os.Stat("/proc/asound/Loopback"); err != nil {
		t.Skip("there is no ALSA loopback card here (modprobe snd-aloop)")
	}
	r := &counter{volts: 4}
	all := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:Loopback,0", CaptureDevice: "hw:Loopback,1", Channels: 8, Capture: 8, CV: all, CVFullScale: 4, Period: 256, Periods: 4, Depth: 32}, r)
	time.Sleep(time.Second)
	r.forget()
	time.Sleep(4 * time.Second)
	best, elsewhere, other, seen := r.report()
	s := d.Stats()
	t.Logf("%s: echo after %d frames (%.1f ms) in %d of %d frames, nominal %d; %d elsewhere, %d other; %d underruns, gaps %d, lost %d, realigned %d, xruns %d",
		s.Format, best.distance, float64(best.distance)/48, best.frames, seen, s.RoundTrip, elsewhere, other, s.Underruns, s.CaptureGaps, s.CaptureLost, s.CaptureRealigned, s.Xruns)
	if seen < 100000 || s.CaptureRealigned != 0 || elsewhere > seen64(seen)/100+int64(s.Underruns+s.Xruns)*4096 {
		t.Error("not exact or not aligned")
	}
}

func seen64(n int) int64 { return int64(n) }
