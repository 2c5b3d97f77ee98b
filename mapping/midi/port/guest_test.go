//go:build linux

package port_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

// inGuest says, inside the guest, that this is it; "child" is the process that
// is killed there.
const inGuest = "K8S_SYNTH_GUEST"

func TestMain(m *testing.M) {
	if os.Getenv(inGuest) == "child" {
		child()
	}
	os.Exit(m.Run())
}

// TestALSAGuest boots a Linux with a real sequencer, once, and runs the tests
// below in it.
func TestALSAGuest(t *testing.T) {
	if os.Getenv(inGuest) != "" {
		t.Skip("this is the guest")
	}
	if testing.Short() {
		t.Skip("short: no guest is booted")
	}
	scripts, err := filepath.Abs("testdata/guest")
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
	build := exec.CommandContext(t.Context(), "bash", filepath.Join(scripts, "build.sh"), dir)
	if out, err := build.CombinedOutput(); err != nil {
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
	if err := os.WriteFile(filepath.Join(out, "port.test"), b, 0o755); err != nil {
		t.Fatal(err)
	}
	usb, err := os.ReadFile(filepath.Join(scripts, "usb-midi.sh"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(out, "usb-midi.sh"), usb, 0o755); err != nil {
		t.Fatal(err)
	}
	command := fmt.Sprintf(`export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin %s=1 USB_MIDI=/mnt/usb-midi.sh K8S_SYNTH_PROOF=%s
cp /mnt/port.test /tmp/port.test
cd /tmp && exec ./port.test -test.v -test.timeout 100s -test.run '^TestInGuest'
`, inGuest, os.Getenv("K8S_SYNTH_PROOF"))
	if err := os.WriteFile(filepath.Join(out, "command"), []byte(command), 0o644); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	run := exec.CommandContext(t.Context(), "bash", filepath.Join(scripts, "run.sh"), dir, out)
	text, err := run.CombinedOutput()
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "=== ") {
			t.Log(strings.TrimRight(line, "\n"))
		}
	}
	t.Logf("the guest ran for %v", time.Since(began).Round(time.Second))
	if err != nil || !strings.Contains(string(text), "\nPASS") {
		t.Fatalf("the guest failed: %v", err)
	}
}

// driver is one under test.
type driver interface {
	port.Driver
	Close() error
}

// drivers of the sequencer: our own, and RtMidi's where it is compiled.
var drivers = map[string]func() driver{"alsa": func() driver { return alsa.New("k8s-synth") }}

// each runs a test with each driver. What RtMidi does besides is for proofs.
func each(t *testing.T, proof bool, f func(t *testing.T, d driver)) {
	guest(t)
	for _, name := range slices.Sorted(maps.Keys(drivers)) {
		if name == "rtmidi" && proof && os.Getenv("K8S_SYNTH_PROOF") == "" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			d := drivers[name]()
			defer d.Close()
			f(t, d)
		})
	}
}

// isRtMidi tells which of the two it is: what RtMidi cannot do is only noted.
func isRtMidi(d driver) bool { return strings.Contains(fmt.Sprintf("%T", d), "rtmidi") }

// guest skips what runs in the guest alone.
func guest(t *testing.T) {
	t.Helper()
	if os.Getenv(inGuest) == "" {
		t.Skip("runs inside the guest of TestALSAGuest")
	}
}

// listener keeps what a hub tells.
type listener struct {
	mu    sync.Mutex
	ins   []port.In
	plugs []string
	times []time.Time
}

func (l *listener) received(in port.In) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ins = append(l.ins, in)
}

func (l *listener) plugged(i port.Info, on bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.plugs = append(l.plugs, fmt.Sprintf("%s %v", i.Name, on))
	l.times = append(l.times, time.Now())
}

func (l *listener) got(from string) (all []port.In) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, in := range l.ins {
		if in.Port == from {
			all = append(all, in)
		}
	}
	return all
}

// when returns when the nth event of a port came; zero if it has not.
func (l *listener) when(what string, n int) time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, p := range l.plugs {
		if p == what {
			if n--; n == 0 {
				return l.times[i]
			}
		}
	}
	return time.Time{}
}

func openHub(t *testing.T, d driver, c port.Config) (*port.Hub, *listener) {
	t.Helper()
	l := new(listener)
	c.Drivers, c.Received, c.Plugged = []port.Driver{d}, l.received, l.plugged
	h, err := port.Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h, l
}

// patience is long, as the machine is emulated.
const patience = 10 * time.Second

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			b, _ := os.ReadFile("/proc/asound/seq/clients")
			t.Fatalf("it never came to this: %s\n%s", what, b)
		}
	}
}

// program runs beside the test and keeps what it prints.
type program struct {
	cmd *exec.Cmd
	mu  sync.Mutex
	out bytes.Buffer
}

func (p *program) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.Write(b)
}

func (p *program) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// has waits for a text, with any number of blanks where it has one.
func (p *program) has(t *testing.T, want string) {
	t.Helper()
	re := regexp.MustCompile(strings.ReplaceAll(regexp.QuoteMeta(want), " ", `\s*`))
	for end := time.Now().Add(patience); !re.MatchString(p.text()); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v does not print %q, but\n%s", p.cmd.Args, want, p.text())
		}
	}
}

func start(t *testing.T, name string, args ...string) *program {
	t.Helper()
	p := &program{cmd: exec.Command(name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = p.cmd.Process.Kill(), p.cmd.Wait() })
	return p
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}

// virtual returns the addresses of our virtual ports: for others to write to,
// and to read from.
func virtual(t *testing.T) (in, out string) {
	t.Helper()
	eventually(t, "virtual ports", func() bool {
		b, _ := os.ReadFile("/proc/asound/seq/clients")
		in, out = "", ""
		for _, m := range regexp.MustCompile(`Client\s+(\d+) : "k8s-synth" .*\n(?:  .*\n)*?  Port\s+(\d+) : "k8s-synth" \((..)`).FindAllStringSubmatch(string(b), -1) {
			if strings.Contains(m[3], "W") {
				in = m[1] + ":" + m[2]
			}
			if strings.Contains(m[3], "R") {
				out = m[1] + ":" + m[2]
			}
		}
		return in != "" && out != ""
	})
	return in, out
}

// smf is a MIDI file of type 0 at 120 BPM with 480 ticks a quarter.
func smf(events ...[]byte) []byte {
	var track []byte
	for _, e := range events {
		track = append(track, e...)
	}
	track = append(track, 0, 0xff, 0x2f, 0)
	b := []byte("MThd\x00\x00\x00\x06\x00\x00\x00\x01\x01\xe0MTrk")
	n := len(track)
	return append(append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n)), track...)
}

// rawDump prints what arrives at a raw port, in hexadecimal.
func rawDump(t *testing.T, card, proc string) *program {
	t.Helper()
	reading := func() bool {
		b, _ := os.ReadFile(proc)
		_, in, _ := bytes.Cut(b, []byte("Input"))
		return bytes.Contains(in, []byte("Owner"))
	}
	if reading() {
		t.Fatalf("somebody reads %s", card)
	}
	p := start(t, "stdbuf", "-o0", "amidi", "-p", card, "-d")
	eventually(t, "amidi reads "+card, reading)
	return p
}

// hears waits for a message at a raw port, which has running status.
func (p *program) hears(t *testing.T, want midi.Message) {
	t.Helper()
	heard := func() (all []string) {
		var parser midi.Parser
		var b []byte
		_, _ = fmt.Sscanf(strings.Join(strings.Fields(p.text()), ""), "%X", &b)
		parser.Parse(b, func(m midi.Message) { all = append(all, fmt.Sprintf("%x", m.Bytes(nil))) })
		return all
	}
	for end := time.Now().Add(patience); !slices.Contains(heard(), fmt.Sprintf("%x", want.Bytes(nil))); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%v hears %v, but not %v", p.cmd.Args, heard(), want)
		}
	}
}

// gadget reads at the device's end of the USB cable, as its firmware would. Its
// card is there as soon as it is plugged in, before the other end has seen it,
// and goes with the cable.
func gadget(t *testing.T) (hears func(midi.Message)) {
	t.Helper()
	var f *os.File
	eventually(t, "the device's end", func() bool {
		card, err := os.Readlink("/proc/asound/testmidi")
		if err != nil {
			return false
		}
		f, err = os.OpenFile("/dev/snd/midiC"+strings.TrimPrefix(card, "card")+"D0", os.O_RDONLY, 0)
		return err == nil
	})
	var mu sync.Mutex
	heard := map[string]int{}
	go func() {
		defer f.Close()
		var parser midi.Parser
		b := make([]byte, 4096)
		for {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			mu.Lock()
			parser.Parse(b[:n], func(m midi.Message) { heard[m.String()]++ })
			mu.Unlock()
		}
	}()
	return func(m midi.Message) {
		t.Helper()
		for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
			mu.Lock()
			n, all := heard[m.String()], len(heard)
			mu.Unlock()
			if n > 0 {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("the device hears %d different messages, but not %v", all, m)
			}
		}
	}
}

func hex(ins []port.In) string {
	var s []string
	for _, in := range ins {
		s = append(s, fmt.Sprintf("%x", in.Message.Bytes(nil)))
	}
	return strings.Join(s, " ")
}

const (
	virmidi0 = "Virtual Raw MIDI 0-0:VirMIDI 0-0"
	keys     = "Test Keys MIDI 1"
)

// TestInGuestAppears opens a hub before there is a sequencer. It comes first.
func TestInGuestAppears(t *testing.T) {
	guest(t)
	if _, err := os.Stat("/dev/snd/seq"); err == nil {
		t.Fatal("there is a sequencer already")
	}
	var log program
	d := alsa.New("k8s-synth")
	defer d.Close()
	h, l := openHub(t, d, port.Config{Virtual: true, Patterns: []string{"all"}, Poll: 50 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	time.Sleep(300 * time.Millisecond)
	if n := strings.Count(log.text(), "no ALSA sequencer"); n != 1 || len(h.Ports()) != 0 {
		t.Errorf("without a sequencer it says %d times so, and has %d ports:\n%s", n, len(h.Ports()), log.text())
	}
	run(t, "modprobe", "-a", "snd-seq", "snd-seq-midi", "snd-hrtimer", "snd-seq-dummy")
	run(t, "modprobe", "snd-virmidi", "index=0", "midi_devs=2")
	run(t, "bash", os.Getenv("USB_MIDI"), "make")
	eventually(t, "its ports", func() bool { return !l.when("k8s-synth true", 1).IsZero() && !l.when(virmidi0+" true", 1).IsZero() })
}

func TestInGuestReceives(t *testing.T) { each(t, false, testReceives) }

func testReceives(t *testing.T, d driver) {
	h, l := openHub(t, d, port.Config{Virtual: true, Patterns: []string{"virmidi 0-0"}})
	in, _ := virtual(t)

	// A sequencer plays a file into the virtual port: sixteen notes, 48 ticks =
	// 50 ms apart.
	var events [][]byte
	for i := range byte(16) {
		events = append(events, []byte{48, 0x92, 60 + i, 100}, []byte{0, 0x82, 60 + i, 64})
	}
	events = append(events, []byte{0, 0xb2, 1, 99}, []byte{0, 0xe2, 1, 2}, []byte{0, 0xc2, 7}, []byte{0, 0xd2, 8}, []byte{0, 0xf0, 3, 1, 2, 0xf7})
	if err := os.WriteFile("song.mid", smf(events...), 0o644); err != nil {
		t.Fatal(err)
	}
	run(t, "aplaymidi", "-d", "0", "-p", in, "song.mid")
	eventually(t, "the song", func() bool { return len(l.got("k8s-synth")) >= 37 })
	got := l.got("k8s-synth")
	for i := range 16 {
		if want := fmt.Sprintf("92%02x64 82%02x40", 60+i, 60+i); hex(got[2*i:2*i+2]) != want {
			t.Errorf("note %d came as %s, not %s", i, hex(got[2*i:2*i+2]), want)
		}
	}
	if s := hex(got[32:]); s != "b20163 e20102 c207 d208 f00102f7" {
		t.Errorf("after the notes came %s", s)
	}
	var worst time.Duration
	for i := 1; i < 16; i++ {
		worst = max(worst, (got[2*i].At.Sub(got[0].At) - time.Duration(i)*50*time.Millisecond).Abs())
	}
	t.Logf("aplaymidi: 16 notes 50 ms apart, stamped to within %v", worst)

	// Raw bytes through hardware: running status, real time inside, and an
	// exclusive message longer than the sequencer's pieces.
	long := bytes.Repeat([]byte{0x55}, 600)
	run(t, "amidi", "-p", "hw:0,0", "-S", "90 3C 64 3E 64 F8 3C 00 B0 40 7F F2 01 02 FA F0"+strings.Repeat(" 55", len(long))+" F7 FE")
	eventually(t, "raw bytes", func() bool { return len(l.got(virmidi0)) >= 9 })
	got = l.got(virmidi0)
	sysex := fmt.Sprintf("f0%xf7", long)
	if s := hex(got); s != "903c64 903e64 f8 903c00 b0407f f20102 fa "+sysex+" fe" && s != "903c64 903e64 f8 803c00 b0407f f20102 fa "+sysex+" fe" {
		t.Errorf("raw bytes came as %s", s)
	}
	// A program that was connected and ends with a key down.
	if !isRtMidi(d) {
		run(t, "aconnect", "17:0", in)
		before := len(l.got("k8s-synth"))
		time.Sleep(50 * time.Millisecond) // the hub sees it
		run(t, "amidi", "-p", "hw:0,1", "-S", "95 3C 64")
		eventually(t, "a key", func() bool { return len(l.got("k8s-synth")) == before+1 })
		run(t, "aconnect", "-d", "17:0", in)
		eventually(t, "it is up", func() bool { return len(l.got("k8s-synth")) == before+2 })
		if s := hex(l.got("k8s-synth")[before+1:]); s != "853c40" {
			t.Errorf("after the connection ended came %s", s)
		}
	}
	for _, i := range h.Ports() {
		if i.Open && i.Dropped+i.Faults != 0 {
			t.Errorf("%+v", i)
		}
		if strings.Contains(i.Name, "Through") && i.Open {
			t.Errorf("%s was opened", i.Name)
		}
	}
}

func TestInGuestSends(t *testing.T) { each(t, true, testSends) }

func testSends(t *testing.T, d driver) {
	h, l := openHub(t, d, port.Config{Virtual: true, Patterns: []string{"virmidi 0-0"}})
	_, out := virtual(t)
	dump := start(t, "stdbuf", "-oL", "aseqdump", "-p", out)
	raw := rawDump(t, "hw:0,0", "/proc/asound/card0/midi0")
	eventually(t, "a listener", func() bool { return !l.when("k8s-synth true", 2).IsZero() })
	if err := h.Send("", time.Time{}, midi.On(0, 60, 100), midi.CC(1, 20, 33), midi.BendTo(2, -100), midi.Program(3, 7),
		midi.RealTime(midi.Start), midi.Message{SysEx: []byte{0xf0, 0x7d, 1, 2, 3, 0xf7}}, midi.Off(0, 60, 64)); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Note on 0, note 60, velocity 100", "Control change 1, controller 20, value 33", "Pitch bend 2, value -100",
		"Program change 3, program 7", "Start", "System exclusive F0 7D 01 02 03 F7", "Note off 0, note 60, velocity 64"} {
		dump.has(t, want)
	}
	for _, want := range []midi.Message{midi.On(0, 60, 100), midi.CC(1, 20, 33), {SysEx: []byte{0xf0, 0x7d, 1, 2, 3, 0xf7}}, midi.Off(0, 60, 64)} {
		raw.hears(t, want)
	}
	// A listener that hangs keeps no other waiting.
	stopped := start(t, "aseqdump", "-p", out)
	eventually(t, "another listener", func() bool { return !l.when("k8s-synth true", 3).IsZero() })
	if err := stopped.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for i := range 3000 {
		_ = h.Send("k8s-synth", time.Time{}, midi.CC(5, 30, i%128))
		if i%100 == 99 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	_ = h.Send("k8s-synth", time.Time{}, midi.On(6, 61, 1), midi.Off(6, 61, 1))
	defer stopped.cmd.Process.Signal(syscall.SIGCONT)
	if !isRtMidi(d) {
		dump.has(t, "Note off 6, note 61")
	}
	n := strings.Count(dump.text(), "controller 30,")
	t.Logf("beside a listener that hangs another got %d of 3000 messages", n)
	if n != 3000 && !isRtMidi(d) {
		t.Error("it must get all")
	}
	if isRtMidi(d) {
		return
	}
	h.Panic()
	dump.has(t, "Control change 15, controller 123, value 0")
}

func TestInGuestUnplug(t *testing.T) { each(t, true, testUnplug) }

func testUnplug(t *testing.T, d driver) {
	usb := func(what string) { t.Helper(); run(t, "bash", os.Getenv("USB_MIDI"), what) }
	t.Cleanup(func() { _ = exec.Command("bash", os.Getenv("USB_MIDI"), "unplug").Run() })
	h, l := openHub(t, d, port.Config{Patterns: []string{"test keys"}})
	usb("plug")
	device := gadget(t)
	eventually(t, "the device", func() bool { return !l.when(keys+" true", 1).IsZero() })
	usbBytes := func(b string) { t.Helper(); run(t, "amidi", "-p", "hw:testmidi", "-S", b) }
	if !isRtMidi(d) {
		everyByte(t, d)
	}
	// A performance: keys down here and there, and clock.
	usbBytes("90 3C 64 90 40 64 80 40 00 B0 40 7F")
	eventually(t, "keys", func() bool { return len(l.got(keys)) == 4 })
	if err := h.Send(keys, time.Time{}, midi.On(0, 70, 100)); err != nil {
		t.Fatal(err)
	}
	device(midi.On(0, 70, 100))
	stop := make(chan struct{})
	var played sync.WaitGroup
	played.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				_ = h.Send(keys, time.Time{}, midi.RealTime(midi.Clock))
			}
		}
	})
	usb("unplug")
	eventually(t, "it is lost", func() bool { return !l.when(keys+" false", 1).IsZero() })
	eventually(t, "the keys are up", func() bool { return len(l.got(keys)) == 6 })
	if s := hex(l.got(keys)[4:]); s != "803c40 b04000" {
		t.Errorf("after the unplug came %s", s)
	}
	usb("plug")
	device = gadget(t)
	// What counts is from the moment at which the system has the port.
	var there time.Time
	eventually(t, "it is back", func() bool {
		if b, _ := os.ReadFile("/proc/asound/seq/clients"); there.IsZero() && bytes.Contains(b, []byte(`"`+keys+`"`)) {
			there = time.Now()
		}
		return !l.when(keys+" true", 2).IsZero()
	})
	took := l.when(keys+" true", 2).Sub(there)
	t.Logf("opened again %v after the system had it", took)
	if took > time.Second {
		t.Errorf("that is more than a second")
	}
	usbBytes("91 3D 64")
	eventually(t, "a key", func() bool { return len(l.got(keys)) == 7 })
	device(midi.Off(0, 70, 64)) // what was held as it went

	// Out and in faster than the poll: the name is there at each look.
	usb("unplug")
	usb("plug")
	eventually(t, "it is noticed", func() bool { return !l.when(keys+" true", 3).IsZero() })
	usbBytes("92 3D 64")
	eventually(t, "a key", func() bool { s := hex(l.got(keys)); return strings.HasSuffix(s, "923d64") })

	close(stop)
	played.Wait()
	usb("unplug")
	eventually(t, "it is lost", func() bool { return !l.when(keys+" false", 3).IsZero() })
}

// everyByte sends four times what the port has room for at once: it is held
// back, and nothing is lost. The kernel counts what went into the cable; the
// device's end has no way to hold the other back.
func everyByte(t *testing.T, d driver) {
	t.Helper()
	_, outs, err := d.Ports()
	if err != nil {
		t.Fatal(err)
	}
	o, err := d.OpenOut(outs[slices.IndexFunc(outs, func(n string) bool { return strings.Contains(n, keys) })])
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	const n = 4096
	began := time.Now()
	for i := range n {
		if err := o.Send(time.Time{}, midi.On(8+i>>11, i>>4&127, 1+i&15).Bytes(nil)); err != nil {
			t.Fatal(err)
		}
	}
	long := bytes.Repeat([]byte{0x2a}, 9000)
	if err := o.Send(time.Time{}, append(append([]byte{0xf0}, long...), 0xf7)); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d notes and %d exclusive bytes at once took %v", n, len(long)+2, time.Since(began).Round(time.Millisecond))
	// In running status, two channels of notes.
	want := 2 + 2*n + len(long) + 2
	tx := 0
	for end := time.Now().Add(patience); tx != want && time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		b, _ := os.ReadFile("/proc/asound/Keys/midi0")
		_, rest, _ := strings.Cut(string(b), "Tx bytes     : ")
		_, _ = fmt.Sscan(rest, &tx)
	}
	if tx != want {
		t.Errorf("%d bytes went out, not %d", tx, want)
	}
}

// child holds notes until it is killed.
func child() {
	d := alsa.New("k8s-synth")
	h, err := port.Open(port.Config{Virtual: true, Patterns: []string{"virmidi 0-0"}, Drivers: []port.Driver{d}, Held: os.Args[1],
		Logger: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	if err != nil {
		panic(err)
	}
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		if err := h.Send("", time.Time{}, midi.On(2, 64, 100), midi.On(2, 67, 100), midi.CC(2, 64, 127), midi.Off(2, 67, 64)); err != nil {
			panic(err)
		}
		for _, i := range h.Ports() {
			fmt.Println(i.Name, i.Connected)
		}
		fmt.Println("playing")
	}
	select {}
}

func TestInGuestKilled(t *testing.T) {
	guest(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	held := filepath.Join(t.TempDir(), "held")
	for _, how := range []string{"watchdog", "next start"} {
		t.Run(how, func(t *testing.T) {
			p := &program{cmd: exec.Command(self, held)}
			p.cmd.Env = append(os.Environ(), inGuest+"=child")
			p.cmd.Stdout, p.cmd.Stderr = p, p
			stdin, err := p.cmd.StdinPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := p.cmd.Start(); err != nil {
				t.Fatal(err)
			}
			_, out := virtual(t)
			dump := start(t, "stdbuf", "-oL", "aseqdump", "-p", out)
			raw := rawDump(t, "hw:0,0", "/proc/asound/card0/midi0")
			eventually(t, "a listener", func() bool {
				b, _ := os.ReadFile("/proc/asound/seq/clients")
				return bytes.Contains(b, []byte(`"aseqdump"`))
			})
			time.Sleep(800 * time.Millisecond) // more than a poll, in which it is noted
			_, _ = io.WriteString(stdin, "\n")
			p.has(t, "playing")
			dump.has(t, "Note on 2, note 64")
			raw.hears(t, midi.On(2, 64, 100))
			if err := p.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			killed := time.Now()
			_ = p.cmd.Wait()
			if strings.Contains(dump.text(), "Note off 2, note 64") {
				t.Fatal("the note had ended before")
			}
			d := alsa.New("k8s-synth")
			defer d.Close()
			if how == "watchdog" {
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
				defer cancel()
				if err := port.ReleaseFile(ctx, held, []port.Driver{d}, slog.Default()); err != nil {
					t.Error(err)
				}
			} else {
				h, err := port.Open(port.Config{Virtual: true, Patterns: []string{"virmidi 0-0"}, Drivers: []port.Driver{d}, Held: held})
				if err != nil {
					t.Fatal(err)
				}
				defer h.Close()
			}
			dump.has(t, "Note off 2, note 64")
			dump.has(t, "Control change 2, controller 64, value 0")
			raw.hears(t, midi.Off(2, 64, 64))
			t.Logf("released on a listener and on hardware %v after the kill", time.Since(killed).Round(time.Millisecond))
		})
	}
}

// TestInGuestClosesInTheMiddle closes ports while messages come in, which ends
// the program when a library is called in the wrong order.
func TestInGuestClosesInTheMiddle(t *testing.T) { each(t, false, testCloses) }

func testCloses(t *testing.T, d driver) {
	var feed port.Out
	var err error
	ins, outs, err := d.Ports()
	if err != nil {
		t.Fatal(err)
	}
	through := slices.IndexFunc(outs, func(n string) bool { return strings.Contains(n, "Through") })
	if feed, err = d.OpenOut(outs[through]); err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	stop := make(chan struct{})
	var fed sync.WaitGroup
	fed.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				_ = feed.Send(time.Time{}, []byte{0x90, 1, 1, 0x80, 1, 1, 0xf8, 0xb0, 1, 1})
			}
		}
	})
	in := ins[slices.IndexFunc(ins, func(n string) bool { return strings.Contains(n, "Through") })]
	came := 0
	times := 60
	if isRtMidi(d) {
		times = 5 // it fills the terminal
	}
	for i := range times {
		var n int
		var mu sync.Mutex
		c, err := d.OpenIn(in, func(time.Time, []byte) { mu.Lock(); n++; mu.Unlock() })
		if err != nil {
			t.Fatalf("time %d: %v", i, err)
		}
		time.Sleep(3 * time.Millisecond)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		came += n // nothing may change it any more
	}
	close(stop)
	fed.Wait()
	t.Logf("closed %d times under %d messages", times, came)
	if came == 0 {
		t.Error("no messages came")
	}
	for range 300 { // as polling does all night
		if _, _, err := d.Ports(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestInGuestLatency prints how late messages come, out and in.
func TestInGuestLatency(t *testing.T) { each(t, true, testLatency) }

func testLatency(t *testing.T, d driver) {
	t.Log("an emulated machine; real ones are faster")
	t.Logf("%-44s %6s %10s %10s %10s", "way", "n", "p50", "p99", "max")
	table := func(way string, all []time.Duration) {
		slices.Sort(all)
		us := func(d time.Duration) string { return d.Round(time.Microsecond).String() }
		t.Logf("%-44s %6d %10s %10s %10s", way, len(all), us(all[len(all)/2]), us(all[len(all)*99/100]), us(all[len(all)-1]))
	}
	const n, gap = 300, 4 * time.Millisecond
	var control []time.Duration
	for range n {
		at := time.Now().Add(gap)
		ts := syscall.NsecToTimespec(int64(gap))
		_ = syscall.Nanosleep(&ts, nil)
		control = append(control, time.Since(at))
	}
	table("nanosleep alone, for comparison", control)

	h, l := openHub(t, d, port.Config{Virtual: true, Patterns: []string{"midi through"}})
	in, out := virtual(t)
	run(t, "aconnect", out, in)
	for _, way := range []struct{ title, from string }{
		{"hub → virtual out → virtual in → hub", "k8s-synth"},
		{"hub → Midi Through → hub", "Midi Through Port-0"},
	} {
		first := time.Now().Add(50 * time.Millisecond)
		for i := range n {
			if err := h.Send(way.from, first.Add(time.Duration(i)*gap), midi.On(i>>7, i&127, 1)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "all messages", func() bool { return len(l.got(way.from)) == n })
		var all, gaps []time.Duration
		got := l.got(way.from)
		for i, m := range got {
			if m.Message.Data[1] != byte(i&127) {
				t.Fatalf("message %d is %v", i, m.Message)
			}
			all = append(all, m.At.Sub(first.Add(time.Duration(i)*gap)))
			if i > 0 {
				gaps = append(gaps, (m.At.Sub(got[i-1].At) - gap).Abs())
			}
		}
		table(way.title+": lateness", all)
		table(way.title+": jitter of 4 ms", gaps)
		for _, i := range h.Ports() {
			if i.Name == way.from {
				t.Logf("%-44s %6d %10s %10s %10s", "  of that until the driver had it", i.Late.Count, i.Late.P50, i.Late.P99, i.Late.Max)
			}
		}
	}
}
