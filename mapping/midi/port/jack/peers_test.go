//go:build cgo && linux

package jack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// jack_midiseq repeats a pattern whose frames are known.
func TestReceivesASequencer(t *testing.T) {
	need(t, "jack_midiseq")
	useServer(t)
	cmd := exec.Command("jack_midiseq", "sequencer", "4800", "0", "60", "1000", "1000", "64", "500", "2333", "67", "2000")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(cmd); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	d := newDriver(t)
	if !within(3*time.Second, func() bool { ins, _, _ := d.Ports(); return slices.Contains(ins, "sequencer:out") }) {
		t.Fatal("the sequencer does not appear")
	}
	time.Sleep(300 * time.Millisecond)
	var box inbox
	in, err := d.OpenIn("sequencer:out", box.receive)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	got := box.await(t, 60, 8*time.Second)
	// From the first note of the pattern on.
	for len(got) > 0 && !(got[0].bytes[0]&0xf0 == 0x90 && got[0].bytes[1] == 60) {
		got = got[1:]
	}
	// The sequencer's own order where two events share a frame is left to it.
	want := []struct {
		at   int
		kind byte
		key  byte
	}{{0, 0x90, 60}, {1000, 0, 0}, {1000, 0, 0}, {1500, 0x80, 64}, {2333, 0x90, 67}, {4333, 0x80, 67}}
	begin := got[0].at
	var off []float64
	for i, e := range got {
		w := want[i%6]
		frames := e.at.Sub(begin).Seconds() * 48000
		off = append(off, frames-float64(i/6*4800+w.at))
		if w.kind != 0 && (e.bytes[0]&0xf0 != w.kind || e.bytes[1] != w.key) {
			t.Fatalf("message %d is % x, want kind %x key %d", i, e.bytes, w.kind, w.key)
		}
	}
	p50, p99, worst := spread(off)
	t.Logf("%d events of jack_midiseq, frames off the pattern: p50 %.2f p99 %.2f max %.2f", len(off), p50, p99, worst)
	// Against the first event's time, so the rate of JACK's clock is in it; a missing or doubled
	// message is off by hundreds.
	// A server that was late runs its clock faster for a while.
	if s := d.Stats(); s.Xruns == 0 && s.Strayed == 0 && worst > 48 {
		t.Errorf("the pattern is off by %.1f frames", worst)
	}
}

// fluidsynth is a real soft synthesizer under JACK MIDI.
func startFluidsynth(t *testing.T) {
	t.Helper()
	need(t, "fluidsynth", "jack_rec")
	const font = "/usr/share/sounds/sf2/TimGM6mb.sf2"
	if _, err := os.Stat(font); err != nil {
		t.Skipf("%s is not installed", font)
	}
	cmd := exec.Command("fluidsynth", "-a", "jack", "-m", "jack", "-r", "48000", "-g", "1", "-o", "audio.jack.autoconnect=0",
		"-o", "synth.reverb.active=0", "-o", "synth.chorus.active=0", "-o", "synth.dynamic-sample-loading=0", font)
	in, err := cmd.StdinPipe() // its shell ends with its input
	if err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Close(); _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if !within(10*time.Second, func() bool {
		out, _ := exec.Command("jack_lsp").Output()
		return bytes.Contains(out, []byte("fluidsynth-midi:midi_00")) && bytes.Contains(out, []byte("fluidsynth-midi:right"))
	}) {
		t.Fatalf("fluidsynth does not appear: %s", log.String())
	}
}

// listen records the softsynth's two channels for some seconds.
func listen(t *testing.T, seconds int) (left, right []float32) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "heard.wav")
	run(t, "jack_rec", "-f", file, "-d", fmt.Sprint(seconds), "-b", "24", "fluidsynth-midi:left", "fluidsynth-midi:right")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(b, []byte("data"))
	if i < 0 {
		t.Fatal("jack_rec wrote no data")
	}
	size := int(binary.LittleEndian.Uint32(b[i+4:]))
	b = b[i+8 : min(i+8+size, len(b))]
	for ; len(b) >= 6; b = b[6:] {
		v := func(b []byte) float32 {
			return float32(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)) / (1 << 31)
		}
		left, right = append(left, v(b)), append(right, v(b[3:]))
	}
	return left, right
}

func cents(t *testing.T, samples []float32, key float64) float64 {
	t.Helper()
	hz, err := measure.Pitch(samples, 48000)
	if err != nil {
		t.Fatalf("no pitch: %v (level %.1f dB)", err, measure.Decibels(measure.RMS(samples)))
	}
	return measure.Cents(hz, 440*math.Pow(2, (key-69)/12))
}

// A softsynth plays what we send, in tune, with a bend for each channel as MPE has it, and is silent after a release.
func TestSoftsynthIsInTune(t *testing.T) {
	startServer(t, 256)
	startFluidsynth(t)
	d := newDriver(t)
	_, out, err := d.Virtual("k8s-synth", nil)
	if err != nil {
		t.Fatal(err)
	}
	run(t, "jack_connect", "k8s-synth:midi_out", "fluidsynth-midi:midi_00")
	var held midi.Held
	send := func(ms ...midi.Message) {
		t.Helper()
		at := time.Now().Add(out.Ahead())
		for _, m := range ms {
			held.Track(m)
			if err := out.Send(at, m.Bytes(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	// A sound font's bend is 12700 cents at a sensitivity of 128, so 48 semitones are a little less.
	const semitones = 48 * 127. / 128
	// Two member channels, each at one side, bends of 48 semitones, a flute-like program.
	for ch := 1; ch <= 2; ch++ {
		send(midi.Program(ch, 79), midi.CC(ch, midi.CCPan, 127*(ch-1)),
			midi.CC(ch, midi.CCRPN, 0), midi.CC(ch, midi.CCRPNFine, 0), midi.CC(ch, midi.CCDataEntry, 48), midi.CC(ch, midi.CCDataEntry+midi.CCFine, 0),
			midi.BendTo(ch, 0))
	}
	sounding := func(left, right []float32) ([]float32, []float32) {
		return left[len(left)/3:], right[len(right)/3:]
	}
	type step struct{ left, right float64 } // semitones of bend
	var plain [2]float64
	for _, s := range []step{{0, 0}, {0.5, -1}, {12, -12}, {-7.31, 0.02}} {
		bend := func(by float64) int { return int(math.Round(by / 48 * 8192)) }
		send(midi.BendTo(1, bend(s.left)), midi.BendTo(2, bend(s.right)), midi.On(1, 69, 100), midi.On(2, 76, 100))
		l, r := sounding(listen(t, 1))
		got := [2]float64{cents(t, l, 69+float64(bend(s.left))/8192*semitones), cents(t, r, 76+float64(bend(s.right))/8192*semitones)}
		if s == (step{}) {
			plain = got
		}
		t.Logf("bends %+.2f and %+.2f semitones: %+.2f and %+.2f cents off", s.left, s.right, got[0], got[1])
		for i := range got {
			if math.Abs(got[i]) > 12 {
				t.Errorf("channel %d is %.1f cents out of tune", i+1, got[i])
			}
			// What the sound font itself is off by is not ours.
			if math.Abs(got[i]-plain[i]) > 3 {
				t.Errorf("channel %d: the bend is off by %.2f cents", i+1, got[i]-plain[i])
			}
		}
		send(midi.Off(1, 69, 64), midi.Off(2, 76, 64))
	}
	// Notes and a pedal left down: the release ends them all.
	send(midi.CC(1, midi.CCSustain, 127), midi.On(1, 60, 110), midi.On(2, 64, 110), midi.On(1, 67, 110), midi.Off(1, 60, 64))
	l, r := listen(t, 1)
	before := measure.Decibels(max(measure.RMS(l), measure.RMS(r)))
	held.Release(func(m midi.Message) {
		if err := out.Send(time.Time{}, m.Bytes(nil)); err != nil {
			t.Error(err)
		}
	})
	time.Sleep(500 * time.Millisecond)
	l, r = listen(t, 1)
	after := measure.Decibels(max(measure.RMS(l), measure.RMS(r), 1e-9))
	t.Logf("%.1f dB before the release, %.1f dB after", before, after)
	if before < -60 || after > -100 {
		t.Errorf("level %.1f dB before the release and %.1f dB after it", before, after)
	}
	if s := d.Stats(); s.Late > 0 {
		t.Logf("%+v", s)
	}
}

// The server goes and comes back: ports and connections are there again within a second, and notes that were held end.
func TestServerDiesAndComesBack(t *testing.T) {
	serverDies(t, syscall.SIGKILL)
}

func TestProofServerDiesAndComesBack(t *testing.T) {
	proof(t)
	serverDies(t, syscall.SIGTERM, syscall.SIGKILL, syscall.SIGTERM, syscall.SIGKILL)
}

func serverDies(t *testing.T, how ...syscall.Signal) {
	t.Helper()
	s := startServer(t, 256)
	d := newDriver(t)
	var box inbox
	in, out, err := d.Virtual("k8s-synth", box.receive)
	if err != nil {
		t.Fatal(err)
	}
	before := runtime.NumGoroutine()
	for round, sig := range how {
		p := startPeer(t, "peer")
		if round == 0 { // later it was connected before the server died
			run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
			run(t, "jack_connect", "peer:out", "k8s-synth:midi_in")
		}
		if !within(2*time.Second, func() bool { return slices.Equal(d.Connected("k8s-synth"), []string{"peer:in"}) }) {
			t.Fatalf("%v: not connected: %q", sig, d.Connected("k8s-synth"))
		}
		direct, err := d.OpenOut("peer:in")
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range []port.Out{out, direct} {
			if err := o.Send(time.Time{}, []byte{0x90, 60, 100}); err != nil {
				t.Fatal(err)
			}
		}
		if !within(time.Second, func() bool {
			return len(slices.DeleteFunc(p.heard(), func(e event) bool { return e.bytes[0] != 0x90 })) == 2
		}) {
			t.Fatalf("%v: the notes are not heard: %v", sig, p.heard())
		}
		s.stop(sig)
		if !within(time.Second, func() bool { return out.Send(time.Time{}, []byte{0x90, 61, 100}) != nil }) {
			t.Fatalf("%v: sending does not fail", sig)
		}
		if err := out.Send(time.Time{}, []byte{0x90, 61, 100}); !errors.Is(err, ErrNoServer) {
			t.Errorf("%v: without a server Send says %v", sig, err)
		}
		t0 := time.Now()
		if _, _, err := d.Ports(); !errors.Is(err, ErrNoServer) {
			t.Errorf("%v: without a server Ports says %v", sig, err)
		}
		if took := time.Since(t0); took > 500*time.Millisecond {
			t.Errorf("%v: Ports took %s", sig, took)
		}
		if got := d.Connected("k8s-synth"); !slices.Equal(got, []string{"peer:in"}) {
			t.Errorf("%v: what was connected is forgotten: %q", sig, got)
		}
		if direct.(port.Checker).Alive() || out.(port.Checker).Alive() {
			t.Errorf("%v: ports are alive without a server", sig)
		}
		time.Sleep(300 * time.Millisecond)
		p.stop()
		reopen := round%3 > 0
		if round%3 == 1 { // as a hub does after an error
			if err := errors.Join(in.Close(), out.Close()); err != nil {
				t.Error(err)
			}
		}
		s.start(t)
		back := time.Now()
		if round%3 == 2 { // or as it does when it looks again only later
			if !within(2*time.Second, func() bool { return out.Send(time.Time{}, []byte{0xb0, 1, 1}) == nil }) {
				t.Fatal("the driver does not come back by itself")
			}
			if out.(port.Checker).Alive() {
				t.Errorf("%v: nobody would know that the server was away", sig)
			}
			if err := errors.Join(in.Close(), out.Close()); err != nil {
				t.Error(err)
			}
		}
		if reopen && !within(2*time.Second, func() bool { in, out, err = d.Virtual("k8s-synth", box.receive); return err == nil }) {
			t.Fatal(err)
		}
		if !within(2*time.Second, func() bool { return out.Send(time.Time{}, []byte{0xb0, 1, 1}) == nil }) {
			t.Fatalf("%v: the driver does not come back", sig)
		}
		after := time.Since(back)
		p = startPeer(t, "peer")
		// Connected as it was, on both ports; and what sounded ends on the direct one.
		if !within(time.Second, func() bool { return slices.Equal(d.Connected("k8s-synth"), []string{"peer:in"}) }) {
			t.Errorf("%v: the virtual port is not connected again", sig)
		}
		ended := within(time.Second, func() bool {
			n := 0
			for _, e := range p.heard() {
				if e.bytes[0] == 0x80 && e.bytes[1] == 60 {
					n++
				}
			}
			return n >= 2 || reopen && n >= 1 // and repeated ones
		})
		if !ended {
			t.Errorf("%v: the held notes do not end: %v", sig, p.heard())
		}
		if err := out.Send(time.Time{}, []byte{0xb0, 7, 9}); err != nil {
			t.Error(err)
		}
		if !within(time.Second, func() bool {
			return slices.ContainsFunc(p.heard(), func(e event) bool { return string(e.bytes) == "\xb0\x07\x09" })
		}) {
			t.Errorf("%v: nothing arrives after the return", sig)
		}
		t.Logf("%v: works again %s after the server answered", sig, after)
		if after > time.Second {
			t.Errorf("%v: back after %s, want within 1 s", sig, after)
		}
		if err := direct.Close(); err != nil {
			t.Error(err)
		}
		p.stop()
		if !within(time.Second, func() bool { return len(d.Connected("k8s-synth")) == 0 }) {
			t.Errorf("%v: a peer that went is still connected", sig)
		}
		if now := runtime.NumGoroutine(); now > before+6 {
			t.Errorf("%d goroutines, %d before", now, before)
		}
	}
}

// A peer comes back and is connected again; a cable that was pulled is not laid again.
func TestPeersComeAndGo(t *testing.T) {
	useServer(t)
	d := newDriver(t)
	var box inbox
	_, out, err := d.Virtual("k8s-synth", nil)
	if err != nil {
		t.Fatal(err)
	}
	p := startPeer(t, "peer")
	run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
	direct, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.OpenIn("peer:out", box.receive); err != nil {
		t.Fatal(err)
	}
	if err := direct.Send(time.Time{}, []byte{0x90, 60, 100}); err != nil {
		t.Fatal(err)
	}
	p.await(t, 1, time.Second)
	for range 2 {
		p.stop()
		if !within(time.Second, func() bool { return errors.Is(direct.Send(time.Time{}, []byte{0x90, 61, 1}), ErrGone) }) {
			t.Fatal("sending to a port that is gone does not fail")
		}
		if err := out.Send(time.Time{}, []byte{0x90, 61, 1}); err != nil {
			t.Errorf("a virtual port that nobody hears: %v", err)
		}
		p = startPeer(t, "peer")
		back := time.Now()
		if !within(time.Second, func() bool {
			return direct.Send(time.Time{}, []byte{0xb0, 9, 9}) == nil && len(d.Connected("k8s-synth")) == 1
		}) {
			t.Fatal("the port does not come back")
		}
		t.Logf("connected again %s after the peer was ready", time.Since(back))
		if !within(time.Second, func() bool {
			return slices.ContainsFunc(p.heard(), func(e event) bool { return e.bytes[0] == 0x80 && e.bytes[1] == 60 })
		}) {
			t.Error("the note that was held does not end")
		}
		before, _ := box.all()
		if !within(time.Second, func() bool {
			fmt.Fprintf(p.stdin, "at %d b00102\n", p.clock().frame)
			got, _ := box.all()
			return len(got) > len(before)
		}) {
			t.Error("nothing is received")
		}
		if err := direct.Send(time.Time{}, []byte{0x90, 60, 100}); err != nil {
			t.Fatal(err)
		}
		if !within(time.Second, func() bool {
			return slices.ContainsFunc(p.heard(), func(e event) bool { return e.bytes[0] == 0x90 && e.bytes[1] == 60 })
		}) {
			t.Error("nothing is heard")
		}
	}
	run(t, "jack_disconnect", "k8s-synth:midi_out", "peer:in")
	// The driver has looked, and knows by now that the port did not go with its cable.
	if !within(3*time.Second, func() (known bool) {
		_ = d.do(func() error {
			l := out.(*line)
			known = len(l.connected)+len(l.fading) == 0
			return nil
		}, nil)
		return known
	}) {
		t.Fatal("the driver does not notice that a cable was pulled")
	}
	p.stop()
	p = startPeer(t, "peer")
	time.Sleep(fadeTime)
	if got := d.Connected("k8s-synth"); len(got) > 0 {
		t.Errorf("a cable that was pulled is laid again: %q", got)
	}
}

// When another client dies or hangs the server stalls, and its clock is wrong for seconds; ours is not.
func TestProofClockSurvivesAStall(t *testing.T) {
	proof(t)
	startServer(t, 256)
	d := newDriver(t)
	p := startPeer(t, "peer")
	out, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	var box inbox
	if _, err := d.OpenIn("peer:out", box.receive); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	for i := range 5 {
		other := startPeer(t, fmt.Sprintf("other%d", i))
		time.Sleep(200 * time.Millisecond)
		_ = other.cmd.Process.Signal(syscall.SIGSTOP)
		time.Sleep(60 * time.Millisecond)
		other.kill()
	}
	time.Sleep(20 * time.Millisecond)
	stall := d.Stats()
	var offs []time.Duration
	for i := range 100 {
		before, _ := box.all()
		fmt.Fprintf(p.stdin, "at %d b0010%d\n", p.clock().frame, i%10)
		got := box.await(t, len(before)+1, time.Second)
		_, came := box.all()
		offs = append(offs, came[len(came)-1].Sub(got[len(got)-1].at))
		// And what is sent on time is not late.
		if err := out.Send(time.Now().Add(out.Ahead()), []byte{0xb0, 2, byte(i)}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(7 * time.Millisecond)
	}
	p.await(t, 100, time.Second)
	s := d.Stats()
	slices.Sort(offs)
	// The latest are those for which the goroutine was late.
	early, late := offs[0], offs[len(offs)*8/10]
	t.Logf("handed over %s to %s (four of five) after their times; %d of %d cycles with JACK's clock astray, %d gaps; late %d, worst %s",
		early, late, s.Strayed, s.Cycles, stall.Xruns, s.Late, s.LateMax)
	if s.LateMax > 20*time.Millisecond || late > 8*time.Millisecond && late < 200*time.Millisecond && s.Late > 10 {
		t.Skip(errBusy)
	}
	if early < -8*time.Millisecond || late > 8*time.Millisecond {
		t.Errorf("times are off: handed over %s to %s after them", early, late)
	}
}

// flooded is message i of the flood that testdata/peer.c makes.
func flooded(i int) [3]byte {
	k := i / 2
	status := byte(0x90)
	if i&1 == 1 {
		status = 0x80
	}
	return [3]byte{status | byte(k/128%16), byte(k % 128), byte(1 + k/2048%127)}
}

func TestFlood(t *testing.T) {
	const n = 100_000
	useServer(t)
	p := startPeer(t, "peer")
	d := newDriver(t)
	out, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	t0 := time.Now()
	for i := range n {
		m := flooded(i)
		if err := out.Send(time.Time{}, m[:]); err != nil {
			t.Fatal(err)
		}
	}
	// Ends that the driver repeats when the server has a gap have the velocity 64, those of the flood
	// never have.
	repeated := func(e event) bool { return e.bytes[0]&0xf0 == 0x80 && e.bytes[2] == 64 }
	if !within(20*time.Second, func() bool { return len(slices.DeleteFunc(p.heard(), repeated)) >= n }) {
		t.Fatalf("%d events of %d were heard", len(p.heard()), n)
	}
	for i, e := range slices.DeleteFunc(p.heard(), repeated) {
		if m := flooded(i); string(e.bytes) != string(m[:]) {
			t.Fatalf("event %d is % x, want % x", i, e.bytes, m)
		}
	}
	s := d.Stats()
	t.Logf("%d messages out in %s, in order; %d cycles with too small a buffer, longest callback %s", n, time.Since(t0), s.Deferred, s.Busy)

	var box inbox
	if _, err := d.OpenIn("peer:out", box.receive); err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	t0 = time.Now()
	fmt.Fprintf(p.stdin, "flood %d\n", n)
	in := box.await(t, n, 20*time.Second)
	for i, e := range in {
		if m := flooded(i); string(e.bytes) != string(m[:]) {
			t.Fatalf("message %d is % x, want % x", i, e.bytes, m)
		}
		if i > 0 && e.at.Before(in[i-1].at) {
			t.Fatalf("message %d is earlier than the one before", i)
		}
	}
	s = d.Stats()
	t.Logf("%d messages in in %s, in order; dropped %d, lost by JACK %d, longest callback %s", n, time.Since(t0), s.Dropped, s.Lost, s.Busy)
	if s.Dropped+s.Lost > 0 {
		t.Error("messages were lost")
	}
}

// A reader that stands still loses messages, but no end of a note.
func TestProofFullRingKeepsNoteOffs(t *testing.T) {
	proof(t)
	startServer(t, 256)
	p := startPeer(t, "peer")
	d := newDriver(t)
	hold := make(chan bool)
	var held midi.Held
	var q midi.Parser
	count := 0
	in, err := d.OpenIn("peer:out", func(at time.Time, b []byte) {
		if count++; count == 1 {
			<-hold
		}
		q.Parse(b, held.Track)
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(100 * time.Millisecond)
	const n = 400_000
	fmt.Fprintf(p.stdin, "flood %d\n", n)
	if !within(20*time.Second, func() bool { return d.Stats().Received >= n }) {
		t.Fatalf("received %d", d.Stats().Received)
	}
	close(hold)
	time.Sleep(500 * time.Millisecond)
	if err := in.Close(); err != nil { // nothing is received after this
		t.Error(err)
	}
	s := d.Stats()
	t.Logf("%d of %d reached the reader, %d dropped, %d note-offs waited", count, n, s.Dropped, s.Owed)
	if s.Dropped == 0 || held.Any() {
		t.Errorf("dropped %d; notes left: %v", s.Dropped, held.Any())
	}
}

// Hurry sends what waits for its time with the next cycle.
func TestHurry(t *testing.T) {
	useServer(t)
	p := startPeer(t, "peer")
	d := newDriver(t)
	out, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	at := time.Now().Add(time.Hour)
	for i := range 10 {
		if err := out.Send(at, []byte{0x90, byte(i), 100}); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(50 * time.Millisecond)
	if n := len(p.heard()); n > 0 {
		t.Fatalf("%d messages an hour early", n)
	}
	t0 := time.Now()
	out.(port.Hurrier).Hurry()
	if err := out.Send(time.Time{}, []byte{0xb0, 120, 0}); err != nil {
		t.Fatal(err)
	}
	got := p.await(t, 11, time.Second)
	for i, e := range got[:10] {
		if e.bytes[1] != byte(i) {
			t.Errorf("message %d is % x", i, e.bytes)
		}
	}
	off := got[10].at.Sub(t0)
	t.Logf("the panic stands %s after it was asked for; %d hurried", off, d.Stats().Hurried)
	if off > 100*time.Millisecond {
		t.Error("the panic came late")
	}
	// What waits when a port is closed goes out, and what sounds by then is ended.
	p.forget()
	if err := out.Send(at, []byte{0x91, 50, 100, 0xb1, 64, 127}); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, e := range p.await(t, 4, time.Second) {
		text = append(text, fmt.Sprintf("%x", e.bytes))
	}
	text = text[:4] // and the ends once more, in case that the graph has just changed
	if !slices.Equal(text, []string{"913264", "b1407f", "813240", "b14000"}) {
		t.Errorf("heard %q", text)
	}
	if err := out.Send(at, []byte{0x90, 1, 1}); !errors.Is(err, port.ErrClosed) {
		t.Errorf("sending to a closed port: %v", err)
	}
}

// A server that stands still holds nobody for longer than a caller's patience, and is used again when it goes on.
func TestProofServerHangs(t *testing.T) {
	proof(t)
	s := startServer(t, 256)
	d := newDriver(t)
	p := startPeer(t, "peer")
	out, err := d.OpenOut("peer:in")
	if err != nil {
		t.Fatal(err)
	}
	_ = s.cmd.Process.Signal(syscall.SIGSTOP)
	time.Sleep(100 * time.Millisecond)
	for range 3 {
		t0 := time.Now()
		_, _, perr := d.Ports()
		_, oerr := d.OpenIn("peer:out", func(time.Time, []byte) {})
		t1 := time.Now()
		serr := out.Send(time.Time{}, []byte{0xb0, 1, 1})
		t.Logf("Ports and OpenIn took %s: %v, %v; Send took %s: %v", t1.Sub(t0), perr, oerr, time.Since(t1), serr)
		if t1.Sub(t0) > 2*patience+500*time.Millisecond || time.Since(t1) > time.Second {
			t.Error("a server that hangs holds its callers")
		}
	}
	_ = s.cmd.Process.Signal(syscall.SIGCONT)
	back := time.Now()
	if !within(10*time.Second, func() bool { ins, _, err := d.Ports(); return err == nil && slices.Contains(ins, "peer:out") }) {
		t.Fatal("the server is not used again")
	}
	t.Logf("used again after %s", time.Since(back))
	p.forget()
	if !within(3*time.Second, func() bool { return out.Send(time.Time{}, []byte{0xb0, 7, 7}) == nil && len(p.heard()) > 0 }) {
		t.Error("nothing is heard after it")
	}
	if lsp := run(t, "jack_lsp"); strings.Contains(lsp, "in_peer_out") {
		t.Errorf("a port that was given up is there: %s", lsp)
	}
}

// Two clients in one process, as the audio device and this driver are, survive a server's death together.
func TestProofTwoClientsSurvive(t *testing.T) {
	proof(t)
	s := startServer(t, 256)
	a, b := newDriver(t), New(Settings{Client: "second"})
	defer b.Close()
	for _, d := range []*Driver{a, b} {
		if _, _, err := d.Virtual(d.settings.Client, nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 4 {
		s.stop(syscall.SIGKILL)
		time.Sleep(200 * time.Millisecond)
		s.start(t)
		back := time.Now()
		if !within(3*time.Second, func() bool {
			lsp, _ := exec.Command("jack_lsp").Output()
			return bytes.Contains(lsp, []byte("k8s-synth:midi_out")) && bytes.Contains(lsp, []byte("second:midi_out"))
		}) {
			t.Fatalf("not both are back: %+v %+v", a.Stats(), b.Stats())
		}
		t.Logf("both are back after %s", time.Since(back))
	}
}
