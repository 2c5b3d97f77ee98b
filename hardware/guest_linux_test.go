package hardware

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inGuest says, inside the guest, that this is it.
const inGuest = "K8S_SYNTH_GUEST"

// guestTests are what runs in the guest: whatever needs a kernel with sound cards.
const guestTests = "^(TestALSA|TestBitExactPaths|TestInGuest)/^alsa"

// TestProofALSAGuest boots a Linux with real ALSA (a loopback card with eight channels, an HDA card, a
// USB interface that is pulled out and put back through QEMU's monitor), and runs the tests in it.
func TestProofALSAGuest(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("boots a guest for a minute: set K8S_SYNTH_PROOF=1")
	}
	if os.Getenv(inGuest) != "" {
		t.Skip("this is the guest")
	}
	// The guest of the MIDI ports has all that sound needs.
	scripts, err := filepath.Abs("../mapping/midi/port/testdata/guest")
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no ALSA guest: %v", err)
	}
	dir := filepath.Join(cache, "k8s-synth", "alsa-guest")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("no ALSA guest: %v", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		t.Skipf("no ALSA guest: %v", err)
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), "bash", filepath.Join(scripts, "build.sh"), dir).CombinedOutput(); err != nil {
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		t.Skipf("no ALSA guest: %s", lines[len(lines)-1])
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	b, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "hardware.test"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	run := guestTests
	if only := os.Getenv("K8S_SYNTH_GUEST_RUN"); only != "" {
		run = only
	}
	command := fmt.Sprintf(`export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin %s=1
modprobe snd-aloop index=1 pcm_substreams=2 pcm_notify=1
modprobe -a xhci_pci snd-usb-audio snd-hda-codec-generic snd-hda-intel
cp /mnt/hardware.test /tmp/hardware.test
cat /proc/asound/cards
cd /tmp && exec ./hardware.test -test.v -test.timeout 200s -test.run '%s'
`, inGuest, run)
	if err := os.WriteFile(filepath.Join(out, "command"), []byte(command), 0o644); err != nil {
		t.Fatal(err)
	}
	// A short path: the socket's name has a limit.
	sockets, err := os.MkdirTemp("", "qmp")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(sockets)
	monitor := filepath.Join(sockets, "s")
	qemu := exec.CommandContext(t.Context(), "bash", filepath.Join(scripts, "run.sh"), dir, out)
	qemu.Env = append(os.Environ(), "LIMIT=240", "QX=-qmp unix:"+monitor+",server=on,wait=off -audiodev none,id=a0 -audiodev none,id=a1 -device qemu-xhci,id=usb"+
		" -device usb-audio,audiodev=a0,multi=on,id=interface,bus=usb.0 -device ich9-intel-hda,id=hda -device hda-duplex,audiodev=a1,bus=hda.0")
	served := make(chan struct{})
	go func() { defer close(served); serveMonitor(t, monitor, out) }()
	began := time.Now()
	text, err := qemu.CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "=== ") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	t.Logf("the guest ran for %v", time.Since(began).Round(time.Second))
	if err != nil || !strings.Contains(string(text), "\nPASS") {
		t.Fatalf("the guest failed: %v", err)
	}
	<-served
}

// serveMonitor does to QEMU what the tests inside ask for in the file "ask", until QEMU ends.
func serveMonitor(t *testing.T, socket, out string) {
	var c net.Conn
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		var err error
		if c, err = net.Dial("unix", socket); err == nil {
			break
		}
		if time.Now().After(end) {
			return
		}
	}
	defer c.Close()
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if strings.Contains(lines.Text(), "error") {
				t.Log("QEMU: " + lines.Text())
			}
		}
	}()
	tell := func(execute string, arguments map[string]any) {
		b, _ := json.Marshal(map[string]any{"execute": execute, "arguments": arguments})
		_, _ = c.Write(append(b, '\n'))
	}
	tell("qmp_capabilities", map[string]any{})
	ask := filepath.Join(out, "ask")
	for {
		select {
		case <-gone:
			return
		case <-time.After(10 * time.Millisecond):
		}
		b, err := os.ReadFile(ask)
		if err != nil || len(b) == 0 || b[len(b)-1] != '\n' {
			continue
		}
		_ = os.Remove(ask)
		switch strings.TrimSpace(string(b)) {
		case "pull":
			tell("device_del", map[string]any{"id": "interface"})
		case "plug":
			tell("device_add", map[string]any{"driver": "usb-audio", "audiodev": "a0", "multi": true, "id": "interface", "bus": "usb.0"})
		}
	}
}

func guest(t *testing.T) {
	t.Helper()
	if os.Getenv(inGuest) == "" {
		t.Skip("runs inside the guest of TestProofALSAGuest")
	}
}

// cardOfDriver is the raw id of the first card whose line in /proc/asound/cards has text.
func cardWith(text string) string {
	b, _ := os.ReadFile("/proc/asound/cards")
	for line := range strings.Lines(string(b)) {
		if strings.Contains(line, text) && strings.Contains(line, "[") {
			id := strings.TrimSpace(line[strings.Index(line, "[")+1 : strings.Index(line, "]")])
			return id
		}
	}
	return ""
}

func until(limit time.Duration, ok func() bool) bool {
	for end := time.Now().Add(limit); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			return false
		}
	}
	return true
}

// A USB interface with eight outputs is pulled out of its socket, and put back.
func TestInGuestUSBUnplugged(t *testing.T) {
	guest(t)
	var card string
	if !until(5*time.Second, func() bool { card = cardWith("USB-Audio"); return card != "" }) {
		t.Fatal("there is no USB interface")
	}
	ask := func(what string) {
		if err := os.WriteFile("/mnt/ask", []byte(what+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	r := &counter{volts: 4}
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:" + card + ",0", Channels: 8, CV: Channels(0, 1, 2, 3), Period: 256, Periods: 4, Depth: 32}, r)
	time.Sleep(time.Second)
	t.Logf("%s: format %s, %d channels", card, d.Stats().Format, d.sink.Load().info.Channels)
	lossAndReturn(t, d, r, func() {
		ask("pull")
		if !until(5*time.Second, func() bool { return cardWith("USB-Audio") == "" || d.Stats().Lost }) {
			t.Fatal("the interface is still there")
		}
	}, func() {
		ask("plug")
		if !until(10*time.Second, func() bool { return cardWith("USB-Audio") != "" }) {
			t.Fatal("the interface is not back")
		}
	}, false)
	closesInTime(t, d)
}

// write puts text into a file of the kernel.
func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0); err != nil {
		t.Error(err)
	}
}

// A card with both directions goes away and comes back; the loopback is the cable, so that what is
// captured after the return proves both.
func TestInGuestDuplexCardUnplugged(t *testing.T) {
	guest(t)
	r := &counter{volts: 4}
	all := Channels(0, 1, 2, 3, 4, 5, 6, 7)
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:Loopback,0", CaptureDevice: "hw:Loopback,1", Channels: 8, Capture: 8, CV: all, CVFullScale: 4, Period: 256, Periods: 4, Depth: 32}, r)
	time.Sleep(time.Second)
	lossAndReturn(t, d, r,
		func() { write(t, "/sys/bus/platform/drivers/snd_aloop/unbind", "snd_aloop.0") },
		func() { write(t, "/sys/bus/platform/drivers/snd_aloop/bind", "snd_aloop.0") }, true)
	time.Sleep(500 * time.Millisecond)
	r.forget()
	time.Sleep(2 * time.Second)
	best, elsewhere, other, seen := r.report()
	s := d.Stats()
	t.Logf("after the return: echo after %d frames, nominal %d, in %d of %d; %d elsewhere, %d other; xruns %d", best.distance, s.RoundTrip, best.frames, seen, elsewhere, other, s.Xruns)
	if seen < 40000 {
		t.Error("capture is not back")
	}
	closesInTime(t, d)
}

// An HDA card, as it is in most computers: out of its slot and back.
func TestInGuestHDARemoved(t *testing.T) {
	guest(t)
	card := cardWith("HDA")
	if card == "" {
		t.Skip("there is no HDA card")
	}
	slot, err := filepath.EvalSymlinks("/sys/class/sound/" + cardDir(card) + "/device")
	if err != nil {
		t.Fatal(err)
	}
	r := &counter{volts: 4}
	d := openPeer(t, Settings{Backend: "alsa", Device: "hw:" + card + ",0", Channels: 2, Capture: 2, CV: Channels(0, 1), CVFullScale: 4, Period: 256, Periods: 4, Depth: 32}, r)
	time.Sleep(time.Second)
	t.Logf("%s: format %s, captured %d frames", card, d.Stats().Format, d.sink.Load().capture.written())
	lossAndReturn(t, d, r,
		func() { write(t, filepath.Join(slot, "remove"), "1") },
		func() {
			write(t, "/sys/bus/pci/rescan", "1")
			if !until(10*time.Second, func() bool { return cardWith("HDA") != "" }) {
				t.Fatal("the card is not back")
			}
		}, true)
	closesInTime(t, d)
}

// cardDir is a card's directory by its id.
func cardDir(id string) string {
	target, _ := os.Readlink("/proc/asound/" + id)
	return target
}
