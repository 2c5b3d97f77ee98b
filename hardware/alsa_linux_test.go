package hardware

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// The kernel's loopback card (modprobe snd-aloop) hands what is played on its device 0 to its device 1.
func TestALSAIsBitExact(t *testing.T) {
	need(t, "arecord")
	if _, err := os.Stat("/proc/asound/Loopback"); err != nil {
		t.Skip("there is no ALSA loopback card here (modprobe snd-aloop)")
	}
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:Loopback,0", Channels: 8, Period: 256, Periods: 4, Depth: 32, FullScale: 4}, &ramp{volts: 4})
	c := startCapture(t, 8, "arecord", "-q", "-D", "hw:Loopback,1", "-f", "FLOAT_LE", "-c", "8", "-r", "48000", "-t", "raw", "--buffer-size=16384")
	time.Sleep(5 * time.Second)
	t.Logf("%+v", d.Stats())
	c.stop()
	checkRamp(t, c.frames(), 8000)
	t0 := time.Now()
	if err := d.Close(); err != nil || time.Since(t0) > 3*time.Second {
		t.Errorf("closing took %s: %v", time.Since(t0), err)
	}
}

// A USB interface is pulled out while it plays, and put back. Runs where one may be: with
// K8S_SYNTH_PROOF=1, as root, on the first USB card.
func TestProofALSAUnplugged(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("pulls out a USB interface: set K8S_SYNTH_PROOF=1")
	}
	ids, _ := filepath.Glob("/proc/asound/card*/usbid")
	if len(ids) == 0 {
		t.Skip("there is no USB audio interface here")
	}
	card := filepath.Base(filepath.Dir(ids[0]))
	iface, err := filepath.EvalSymlinks("/sys/class/sound/" + card + "/device")
	if err != nil {
		t.Fatal(err)
	}
	port := strings.SplitN(filepath.Base(iface), ":", 2)[0]
	plug := func(in bool) {
		name := map[bool]string{true: "bind", false: "unbind"}[in]
		if err := os.WriteFile("/sys/bus/usb/drivers/usb/"+name, []byte(port), 0); err != nil {
			t.Fatal(err)
		}
	}
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:" + strings.TrimPrefix(card, "card") + ",0", Channels: 2, Period: 256, Periods: 4, Depth: 32}, &ramp{volts: 4})
	time.Sleep(2 * time.Second)
	before := d.Stats()
	if before.Callbacks == 0 {
		t.Fatal("no callbacks")
	}
	t.Logf("%+v", before)
	plug(false)
	if !d.waitUntil(3*time.Second, func() bool { return d.Stats().Lost }) {
		plug(true)
		t.Fatal("the loss was not noticed")
	}
	time.Sleep(500 * time.Millisecond)
	ticks, a := processTicks(t), d.Stats()
	time.Sleep(2 * time.Second)
	if used := processTicks(t) - ticks; used > 100 {
		t.Errorf("%d %% of a core used while the device was away: something spins", used/2)
	} else {
		t.Logf("%d %% of a core while the device was away", used/2)
	}
	if b := d.Stats(); b.Frames-a.Frames < 80000 {
		t.Errorf("%d frames in two seconds without the device", b.Frames-a.Frames)
	}
	plug(true)
	back := time.Now()
	if !d.waitUntil(10*time.Second, func() bool { s := d.Stats(); return !s.Lost && s.Callbacks > before.Callbacks+5 }) {
		t.Fatalf("the device did not come back: %+v", d.Stats())
	}
	t.Logf("back %s after it was put back; %d hang", time.Since(back), d.hanging.Load())
	t0 := time.Now()
	if err := d.Close(); err != nil || time.Since(t0) > 4*time.Second {
		t.Errorf("closing took %s: %v", time.Since(t0), err)
	}
}
