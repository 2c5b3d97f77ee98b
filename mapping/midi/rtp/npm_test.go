package rtp

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// npmPackage is the peer that the tests run beside.
const npmPackage = "rtpmidi@1.0.0"

// npm returns a directory with the package installed, in the user's cache. No
// script of it is run: its multicast DNS is not wanted.
func npm(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"node", "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: the npm package %s is not tested with", tool, npmPackage)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Skipf("no cache for the npm package %s: %v", npmPackage, err)
	}
	dir := filepath.Join(cache, "k8s-synth-test", npmPackage)
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "rtpmidi", "index.js")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Skipf("no cache for the npm package %s: %v", npmPackage, err)
	}
	cmd := exec.Command("npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", dir, npmPackage)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("the npm package %s cannot be installed: %v: %.200s", npmPackage, err, out)
	}
	return dir
}

// npmPeer is the peer as a process.
type npmPeer struct {
	t      *testing.T
	cmd    *exec.Cmd
	port   int
	stdin  io.WriteCloser
	mu     sync.Mutex
	events []npmEvent
}

type npmEvent struct {
	Event, Name, Command, Text string
	Data                       []int
	Latency                    float64
}

// startNPM starts it; with a remote control port it invites that.
func startNPM(t *testing.T, remote ...int) *npmPeer {
	t.Helper()
	l, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	return startNPMAt(t, l.LocalAddr().(*net.UDPAddr).Port&^1, remote...)
}

// startNPMAt is startNPM on a pair of ports.
func startNPMAt(t *testing.T, port int, remote ...int) *npmPeer {
	t.Helper()
	dir := npm(t)
	p := &npmPeer{t: t, port: port}
	haste := "8"
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		haste = "1"
	}
	args := []string{filepath.Join("testdata", "rtpmidi.js"), dir, haste, fmt.Sprint(p.port)}
	for _, r := range remote {
		args = append(args, fmt.Sprint(r))
	}
	cmd := exec.Command("node", args...)
	p.cmd = cmd
	var err error
	p.stdin, err = cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for s := bufio.NewScanner(out); s.Scan(); {
			var e npmEvent
			if json.Unmarshal(s.Bytes(), &e) == nil {
				p.mu.Lock()
				p.events = append(p.events, e)
				p.mu.Unlock()
			}
		}
	}()
	t.Cleanup(func() {
		p.stdin.Close() // it ends then
		timer := time.AfterFunc(5*time.Second, func() { cmd.Process.Kill() })
		<-done
		cmd.Wait()
		timer.Stop()
	})
	within(t, "npm rtpmidi listens", func() bool { return p.count("ready") > 0 })
	return p
}

func (p *npmPeer) count(event string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for _, e := range p.events {
		if e.Event == event || e.Event == "control" && e.Command == event {
			n++
		}
		if e.Event == "error" {
			p.t.Errorf("npm rtpmidi: %s", e.Text)
		}
	}
	return n
}

// messages lists what it received.
func (p *npmPeer) messages() (out []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		if e.Event == "message" {
			b := make([]byte, len(e.Data))
			for i, v := range e.Data {
				b[i] = byte(v)
			}
			out = append(out, fmt.Sprintf("% x", b))
		}
	}
	return out
}

func (p *npmPeer) tell(what map[string]any) {
	p.t.Helper()
	b, err := json.Marshal(what)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := p.stdin.Write(append(b, '\n')); err != nil {
		p.t.Fatal(err)
	}
}

// play sends messages from npm, several in one packet.
func (p *npmPeer) play(messages ...[]byte) {
	p.t.Helper()
	list := make([][]int, len(messages))
	for i, m := range messages {
		for _, b := range m {
			list[i] = append(list[i], int(b))
		}
	}
	p.tell(map[string]any{"send": list})
}

// The npm package rtpmidi, in both roles: values both ways, clocks compared by
// both, and the end of what it held when it goes.
func TestNPM(t *testing.T) {
	npm(t) // before both ask for it
	t.Run("it invites", func(t *testing.T) {
		t.Parallel() // it takes its time
		h := open(t, Config{timing: standard})
		testNPM(t, h, startNPM(t, int(h.Addr().Port())), false)
	})
	t.Run("it is invited", func(t *testing.T) {
		t.Parallel()
		p := startNPM(t)
		h := open(t, Config{timing: standard, Remotes: []string{fmt.Sprintf("127.0.0.1:%d", p.port)}})
		testNPM(t, h, p, true)
	})
}

func testNPM(t *testing.T, h *Host, p *npmPeer, invited bool) {
	heard := &ear{}
	_, out, err := h.Virtual("", heard.hear)
	if err != nil {
		t.Fatal(err)
	}
	within(t, "a session", func() bool { return len(h.Peers()) == 1 && p.count("open") == 1 })
	within(t, "clocks compared by both", func() bool { return h.Peers()[0].Synced && p.count("synced") == 1 })
	peer := h.Peers()[0]
	if peer.Name != "npm rtpmidi" || peer.Invited != invited {
		t.Errorf("the peer is %+v", peer)
	}
	var sent, got [][]byte
	for i := range 64 {
		k := byte(i)
		sent = append(sent, []byte{0x90 | k&15, k, k + 1}, []byte{0x80 | k&15, k, 0x40}, []byte{0xb0, 1 + k, k}, []byte{0xe1, k, 127 - k},
			[]byte{0xc2, k}, []byte{0xd3, k}, []byte{0xa4, 7, k})
	}
	sent = append(sent, []byte{0xf0, 0x7d, 1, 2, 3, 4, 0xf7}, []byte{0xf2, 1, 2}, []byte{0xf3, 5})
	for i, m := range sent {
		// npm rtpmidi leaves out a last command of one octet, so none is sent.
		send(t, out, m...)
		if i%16 == 15 { // its socket's buffer is small
			within(t, "what was sent so far", func() bool { return len(p.messages()) > i })
		}
		got = append(got, m)
	}
	var want []string
	for _, m := range got {
		want = append(want, fmt.Sprintf("% x", m))
	}
	within(t, "all to npm", func() bool { return len(p.messages()) >= len(want) })
	if m := p.messages(); !slices.Equal(m, want) {
		for i := range m {
			if i >= len(want) || m[i] != want[i] {
				t.Fatalf("npm got %q as message %d; expected %q", m[i], i, want[min(i, len(want)-1)])
			}
		}
	}
	for i := 0; i < len(sent); i += 4 {
		p.play(sent[i:min(i+4, len(sent))]...)
	}
	within(t, "all from npm", func() bool { return len(heard.all()) >= len(want) })
	if m := heard.all(); !slices.Equal(m, want) {
		t.Fatalf("from npm: %d messages that differ from the %d expected", len(m), len(want))
	}
	heard.mu.Lock()
	var worst time.Duration
	for i, at := range heard.at {
		worst = max(worst, at.Sub(heard.came[i]), -at.Sub(heard.came[i]))
	}
	heard.mu.Unlock()
	if worst > 100*time.Millisecond {
		t.Errorf("a message of npm's clock is %v from its arrival", worst)
	}
	within(t, "npm is told what came, and tells", func() bool { return p.count("receiver_feedback") > 0 && h.Peers()[0].Journals })
	within(t, "npm answers when it is asked whether it is there", func() bool { return h.Peers()[0].Answers })
	t.Logf("round trip %v; times of %d messages at most %v from their arrival", h.Peers()[0].Trip, len(want), worst)

	p.play([]byte{0x90, 60, 100}, []byte{0x95, 61, 100})
	within(t, "held", func() bool { return len(heard.all()) == len(want)+2 })
	syncs := p.count("synchronization")
	p.tell(map[string]any{"end": true})
	within(t, "its end", func() bool { return len(h.Peers()) == 0 })
	if m := heard.all(); !slices.Equal(m[len(want)+2:], []string{"80 3c 40", "85 3d 40"}) {
		t.Errorf("after its end: %v", m[len(want)+2:])
	}
	if syncs == 0 {
		t.Error("npm was never asked for its time")
	}
}

// A peer that is killed, and begins anew with the number that it always has, has
// its session again at once, and the hub knows that it knows nothing.
func TestNPMIsBack(t *testing.T) {
	t.Parallel()
	h := open(t, Config{timing: standard})
	came := make(chan time.Time, 16)
	hub, err := port.Open(port.Config{Name: "x", Virtual: true, Drivers: []port.Driver{h}, Logger: quiet(t), Plugged: func(i port.Info, on bool) {
		if on && len(i.Connected) > 0 {
			came <- time.Now()
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Close()
	p := startNPM(t, int(h.Addr().Port()))
	wait := func(what string) time.Time {
		t.Helper()
		select {
		case at := <-came:
			return at
		case <-time.After(8 * time.Second):
			t.Fatalf("%s: the hub is told of nobody", what)
			return time.Time{}
		}
	}
	wait("at first")
	for i := range 3 {
		within(t, "npm has its session", func() bool { return p.count("open") == 1 })
		p.cmd.Process.Kill()
		p.cmd.Wait()
		p = startNPMAt(t, p.port, int(h.Addr().Port()))
		ready := time.Now()
		took := wait("back").Sub(ready)
		t.Logf("killed and back: the hub is told %v after it was ready", took.Round(time.Millisecond))
		if took > time.Second {
			t.Errorf("time %d: that is too late", i+1)
		}
	}
}
