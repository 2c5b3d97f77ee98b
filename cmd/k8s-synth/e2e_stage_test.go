//go:build linux

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"net"
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
	"github.com/k8s-synth/k8s-synth/mapping/osc"
)

// stageRate is the sample rate of the server.
const stageRate = 48000

// stage is a private JACK server.
type stage struct {
	t        *testing.T
	dir, bin string
}

// newStage starts the server, for everything that the test starts after it.
func newStage(t *testing.T) *stage {
	t.Helper()
	for _, name := range []string{"jackd", "jack_wait", "jack_connect", "jack_lsp", "cc"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s is not installed (Debian: jackd2, jack-tools, gcc)", name)
		}
	}
	dir, err := os.MkdirTemp("", "stage-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	g := &stage{t: t, dir: dir, bin: filepath.Join(dir, "stage")}
	if out, err := exec.Command("cc", "-O2", "-o", g.bin, "testdata/stage/stage.c", "-ljack").CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, out)
	}
	// JACK keeps a few servers in a registry by their names: one name for all.
	const name = "k8s-synth-stage"
	t.Setenv("JACK_DEFAULT_SERVER", name)
	t.Setenv("JACK_NO_AUDIO_RESERVATION", "1")
	t.Setenv("JACK_NO_START_SERVER", "1")
	log, err := os.Create(filepath.Join(dir, "jackd.log"))
	if err != nil {
		t.Fatal(err)
	}
	// It waits for clients that are late, so that no frame is lost on a machine
	// that has other things to do.
	c := exec.Command("jackd", "-n", name, "-R", "-P", "60", "-S", "-d", "dummy", "-r", fmt.Sprint(stageRate), "-p", "128", "-C", "2", "-P", "4")
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	log.Close()
	t.Cleanup(func() { endProcess(c, syscall.SIGTERM) })
	if out, err := exec.Command("jack_wait", "-s", name, "-w", "-t", "8").CombinedOutput(); err != nil {
		text, _ := os.ReadFile(log.Name())
		t.Fatalf("jackd does not come up: %v\n%s\n%s", err, out, text)
	}
	return g
}

// endProcess ends a program that was started, within five seconds.
func endProcess(c *exec.Cmd, sig os.Signal) {
	_ = c.Process.Signal(sig)
	kill := time.AfterFunc(5*time.Second, func() { _ = c.Process.Kill() })
	_ = c.Wait()
	kill.Stop()
}

// run runs a program to its end.
func (g *stage) run(limit time.Duration, name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	return string(out), err
}

// start starts a program that plays until it is ended.
func (g *stage) start(name string, args ...string) *exec.Cmd {
	g.t.Helper()
	c := exec.Command(name, args...)
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() {
		if c.ProcessState == nil {
			endProcess(c, syscall.SIGTERM)
		}
	})
	return c
}

// ports are those of the server whose names match.
func (g *stage) ports(pattern string) (list []string) {
	g.t.Helper()
	out, err := g.run(10*time.Second, "jack_lsp")
	if err != nil {
		g.t.Fatalf("jack_lsp: %v\n%s", err, out)
	}
	match := regexp.MustCompile(pattern)
	for _, p := range strings.Split(out, "\n") {
		if match.MatchString(p) {
			list = append(list, p)
		}
	}
	return list
}

// connect connects ports, the first of which may yet have to appear.
func (g *stage) connect(from, to string) {
	g.t.Helper()
	var out string
	var err error
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if out, err = g.run(5*time.Second, "jack_connect", from, to); err == nil || strings.Contains(out, "already connected") {
			return
		}
	}
	g.t.Fatalf("jack_connect %s %s: %v\n%s\nthere are %v", from, to, err, out, g.ports("."))
}

// disconnect takes a cable away.
func (g *stage) disconnect(from, to string) {
	g.t.Helper()
	if out, err := g.run(5*time.Second, "jack_disconnect", from, to); err != nil && !strings.Contains(out, "already disconnected") {
		g.t.Errorf("jack_disconnect %s %s: %v\n%s", from, to, err, out)
	}
}

// calm returns what tells whether the server has kept its time since then: one
// that was late itself has clocks that are wrong for seconds.
func (g *stage) calm() func() bool {
	late := func() int {
		text, _ := os.ReadFile(filepath.Join(g.dir, "jackd.log"))
		return bytes.Count(text, []byte("XRun"))
	}
	was := late()
	return func() bool { return late() == was }
}

// heardEvent is a message that arrived on a frame.
type heardEvent struct {
	frame uint32
	bytes []byte
}

func (e heardEvent) String() string { return fmt.Sprintf("%x@%d", e.bytes, e.frame) }

// musician is testdata/stage, running: someone who plays, and hears.
type musician struct {
	g     *stage
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	file  string
	outs  int
	first uint32
	now   chan uint32
	mu    sync.Mutex
	heard []heardEvent
	gaps  []uint32
}

// musician starts one who hears so many channels of sound.
func (g *stage) musician(name string, channels int) *musician {
	g.t.Helper()
	m := &musician{g: g, name: name, file: filepath.Join(g.dir, name+".raw"), outs: channels, now: make(chan uint32, 1)}
	m.cmd = exec.Command(g.bin, name, fmt.Sprint(channels), m.file)
	m.cmd.Stderr = os.Stderr
	m.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var err error
	if m.in, err = m.cmd.StdinPipe(); err != nil {
		g.t.Fatal(err)
	}
	out, err := m.cmd.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := m.cmd.Start(); err != nil {
		g.t.Fatal(err)
	}
	ready := make(chan uint32, 1)
	go func() {
		defer close(ready)
		for r := bufio.NewScanner(out); r.Scan(); {
			var frame uint32
			var text string
			line := r.Text()
			switch n, _ := fmt.Sscanf(line[1:], " %d %s", &frame, &text); {
			case strings.HasPrefix(line, "ready"):
				_, _ = fmt.Sscanf(line, "ready %d", &frame)
				ready <- frame
			case line[0] == 'N':
				m.now <- frame
			case line[0] == 'X':
				m.mu.Lock()
				m.gaps = append(m.gaps, frame)
				m.mu.Unlock()
			case line[0] == 'E' && n == 2:
				b, _ := hex.DecodeString(text)
				m.mu.Lock()
				m.heard = append(m.heard, heardEvent{frame, b})
				m.mu.Unlock()
			}
		}
	}()
	g.t.Cleanup(m.end)
	var ok bool
	select {
	case m.first, ok = <-ready:
	case <-time.After(10 * time.Second):
	}
	if !ok {
		g.t.Fatalf("%s does not come on", name)
	}
	return m
}

func (m *musician) end() {
	if m.cmd.ProcessState == nil {
		_ = m.in.Close()
		endProcess(m.cmd, syscall.SIGCONT)
	}
}

// kill ends one in the midst of what it does.
func (m *musician) kill() { endProcess(m.cmd, syscall.SIGKILL) }

// frame is the frame that the server is at.
func (m *musician) frame() uint32 {
	fmt.Fprintln(m.in, "now")
	select {
	case f := <-m.now:
		return f
	case <-time.After(5 * time.Second):
		m.g.t.Errorf("%s hangs", m.name)
		return 0
	}
}

// at sends a message on a frame; 0 is at once.
func (m *musician) at(frame uint32, msg midi.Message) {
	if frame == 0 {
		frame = m.frame()
	}
	fmt.Fprintf(m.in, "at %d %x\n", frame, msg.Bytes(nil))
}

// all is what arrived from a frame on.
func (m *musician) all(from uint32) (list []heardEvent) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.heard {
		if e.frame >= from {
			list = append(list, e)
		}
	}
	return list
}

// of are the messages from a frame on whose first byte is one of some.
func (m *musician) of(from uint32, status ...byte) []heardEvent {
	return slices.DeleteFunc(m.all(from), func(e heardEvent) bool { return len(e.bytes) == 0 || !slices.Contains(status, e.bytes[0]) })
}

// sounding are the notes that began from a frame on and have not ended, by
// channel and key, and how often each began.
func (m *musician) sounding(from uint32) map[[2]byte]int {
	notes := map[[2]byte]int{}
	for _, e := range m.all(from) {
		if len(e.bytes) != 3 {
			continue
		}
		n := [2]byte{e.bytes[0] & 0x0f, e.bytes[1]}
		switch kind := e.bytes[0] & 0xf0; {
		case kind == 0x90 && e.bytes[2] > 0:
			notes[n]++
		case kind == 0x80 || kind == 0x90:
			if notes[n]--; notes[n] <= 0 {
				delete(notes, n)
			}
		}
	}
	return notes
}

// await waits for what ok accepts among what arrived from a frame on.
func (m *musician) await(limit time.Duration, from uint32, what string, ok func([]heardEvent) bool) bool {
	m.g.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(10 * time.Millisecond) {
		if ok(m.all(from)) {
			return true
		}
		if time.Now().After(deadline) {
			rest := slices.DeleteFunc(m.all(from), func(e heardEvent) bool { return len(e.bytes) > 0 && e.bytes[0] == midi.Clock })
			m.g.t.Errorf("%s did not hear %s within %s, but %v", m.name, what, limit, rest[max(len(rest)-30, 0):])
			return false
		}
	}
}

// sound returns what was heard of a channel, from 0, on some frames, and waits
// until they are past.
func (m *musician) sound(channel int, from, to uint32) []float32 {
	m.g.t.Helper()
	size := int64(4 * m.outs)
	f, err := os.Open(m.file)
	if err != nil {
		m.g.t.Fatal(err)
	}
	defer f.Close()
	for deadline := time.Now().Add(time.Duration(to-from)*time.Second/stageRate + 10*time.Second); ; time.Sleep(20 * time.Millisecond) {
		if i, err := f.Stat(); err == nil && i.Size() >= int64(to-m.first)*size {
			break
		}
		if time.Now().After(deadline) {
			m.g.t.Fatalf("%s has not heard frame %d yet", m.name, to)
		}
	}
	b := make([]byte, int64(to-from)*size)
	if _, err := f.ReadAt(b, int64(from-m.first)*size); err != nil {
		m.g.t.Fatal(err)
	}
	v := make([]float32, to-from)
	for i := range v {
		v[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[int64(i)*size+int64(4*channel):]))
	}
	return v
}

// risings are the frames at which a sound jumps up. first is its first frame.
func risings(v []float32, first uint32) (at []uint32) {
	for i := 1; i < len(v); i++ {
		if v[i]-v[i-1] > 0.15 && (len(at) == 0 || first+uint32(i)-at[len(at)-1] > 24) {
			at = append(at, first+uint32(i))
		}
	}
	return at
}

// lastAbove is the last frame on which a sound is louder than a level in dBFS.
func lastAbove(v []float32, first uint32, db float64) (uint32, bool) {
	most := float32(math.Pow(10, db/20))
	for i := len(v) - 1; i >= 0; i-- {
		if v[i] > most || v[i] < -most {
			return first + uint32(i), true
		}
	}
	return 0, false
}

// spreadOf tells of many figures: p50, p99 and the most, of their distances
// from the median, and the median.
func spreadOf(v []float64) (median, p50, p99, most float64) {
	if len(v) == 0 {
		return math.NaN(), math.NaN(), math.NaN(), math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	median = v[len(v)/2]
	d := make([]float64, len(v))
	for i := range v {
		d[i] = math.Abs(v[i] - median)
	}
	slices.Sort(d)
	return median, d[len(d)/2], d[min(len(d)*99/100, len(d)-1)], d[len(d)-1]
}

// after returns for each of some frames how far the next of others is, up to a
// most; where there is none, missing counts it.
func after(froms, tos []uint32, most uint32) (d []float64, missing int) {
	for _, f := range froms {
		i, _ := slices.BinarySearch(tos, f)
		if i == len(tos) || tos[i]-f > most {
			missing++
			continue
		}
		d = append(d, float64(tos[i]-f))
	}
	return d, missing
}

func framesOf(events []heardEvent) (f []uint32) {
	for _, e := range events {
		f = append(f, e.frame)
	}
	return f
}

// oscPeer is a client that hears what it is told.
type oscPeer struct {
	t    *testing.T
	conn net.Conn
	mu   sync.Mutex
	said []string
}

// peer opens one by UDP or TCP.
func (s *session) peer(network string) *oscPeer {
	s.t.Helper()
	addr := s.osc
	if network == "tcp" {
		addr = s.logged("tcp")
	}
	conn, err := net.Dial(network, addr)
	if err != nil {
		s.t.Fatal(err)
	}
	p := &oscPeer{t: s.t, conn: conn}
	s.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1<<16)
		var m osc.Message
		take := func(packet []byte) {
			osc.Walk(packet, &m, func(m *osc.Message, _ []byte, _ osc.TimeTag) {
				text := string(m.Address())
				for _, a := range m.AppendArgs(nil) {
					text += " " + argText(a)
				}
				p.mu.Lock()
				p.said = append(p.said, text)
				p.mu.Unlock()
			})
		}
		for {
			if network == "udp" {
				n, err := conn.Read(b)
				if err != nil {
					return
				}
				take(b[:n])
				continue
			}
			if _, err := io.ReadFull(conn, b[:4]); err != nil {
				return
			}
			n := min(int(binary.BigEndian.Uint32(b)), len(b))
			if _, err := io.ReadFull(conn, b[:n]); err != nil {
				return
			}
			take(b[:n])
		}
	}()
	return p
}

// argText is an argument in a word.
func argText(a osc.Arg) string {
	if a.Tag() == osc.TagString {
		return a.Text()
	}
	return fmt.Sprint(a.Float())
}

// send sends a message, with a size before it where there is a stream.
func (p *oscPeer) send(address string, args ...osc.Arg) {
	p.t.Helper()
	b, err := osc.AppendMessage(nil, address, args...)
	if err != nil {
		p.t.Fatal(err)
	}
	if p.conn.LocalAddr().Network() == "tcp" {
		b = append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
	}
	if _, err := p.conn.Write(b); err != nil {
		p.t.Error(err)
	}
}

// mark is a place in what was said; since is what was said from there on.
func (p *oscPeer) mark() int { p.mu.Lock(); defer p.mu.Unlock(); return len(p.said) }
func (p *oscPeer) since(mark int) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.said[mark:])
}

// await waits until something is said that begins with a text.
func (p *oscPeer) await(limit time.Duration, mark int, begins string) bool {
	p.t.Helper()
	for deadline := time.Now().Add(limit); ; time.Sleep(5 * time.Millisecond) {
		said := p.since(mark)
		if slices.ContainsFunc(said, func(s string) bool { return strings.HasPrefix(s, begins) }) {
			return true
		}
		if time.Now().After(deadline) {
			p.t.Errorf("nobody said %q within %s, but at last %q", begins, limit, said[max(len(said)-20, 0):])
			return false
		}
	}
}

// logged returns the value of a word of the log.
func (s *session) logged(key string) string {
	s.t.Helper()
	text, _ := os.ReadFile(s.log)
	m := regexp.MustCompile(`\b` + key + `=(\S+)`).FindSubmatch(text)
	if m == nil {
		s.t.Fatalf("the log has no %s: %s", key, bytes.TrimSpace(text))
	}
	return string(m[1])
}

// onStage starts an instrument on the server's ports, and connects it: what
// hand plays it hears, and ear hears all that comes of it.
func (g *stage) onStage(hand, ear *musician, args ...string) *session {
	g.t.Helper()
	scene, err := filepath.Abs(filepath.Join("testdata", "surfaces.yaml"))
	if err != nil {
		g.t.Fatal(err)
	}
	s := startPlay(g.t, nil, append([]string{"--scene", scene, "--backend", "jack", "--channels", "4", "--metrics", "off"}, args...)...)
	s.wait(20*time.Second, "sound from the device", func(p *playStatus) bool { return p.Audio.Frames > stageRate/4 && len(p.MIDI) > 0 })
	g.wire(hand, ear)
	return s
}

func (g *stage) wire(hand, ear *musician) {
	g.t.Helper()
	g.connect(hand.name+":out", "k8s-synth:midi_in")
	g.connect("k8s-synth:midi_out", ear.name+":in")
	if ear.outs == 0 {
		return
	}
	outs := g.ports(`^k8s-synth.*:playback_?\d`)
	if len(outs) < ear.outs {
		g.t.Fatalf("the instrument has the outputs %v, want %d; there are %v", outs, ear.outs, g.ports("."))
	}
	for i := range ear.outs {
		g.connect(outs[i], fmt.Sprintf("%s:audio_%d", ear.name, i+1))
	}
}
