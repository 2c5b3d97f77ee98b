//go:build cgo && linux

package jack

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// hubbed is a hub over the driver, and what it has told.
type hubbed struct {
	*port.Hub
	mu      sync.Mutex
	plugged []string
	got     []port.In
}

func openHub(t testing.TB, d *Driver, held string) *hubbed {
	t.Helper()
	h := &hubbed{}
	hub, err := port.Open(port.Config{
		Virtual: true, Patterns: []string{"peer"}, Drivers: []port.Driver{d}, Held: held,
		Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil)),
		Plugged: func(i port.Info, on bool) {
			h.mu.Lock()
			h.plugged = append(h.plugged, fmt.Sprintf("%s %v", i.Name, on))
			h.mu.Unlock()
		},
		Received: func(in port.In) {
			h.mu.Lock()
			h.got = append(h.got, in)
			h.mu.Unlock()
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.Hub = hub
	return h
}

func (h *hubbed) told(what string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, p := range h.plugged {
		if p == what {
			n++
		}
	}
	return n
}

func (h *hubbed) received(from string, m midi.Message) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.ContainsFunc(h.got, func(in port.In) bool { return in.Port == from && in.Message.Data == m.Data })
}

func hasHeard(p *peer, m midi.Message) bool {
	return slices.ContainsFunc(p.heard(), func(e event) bool { return string(e.bytes) == string(m.Bytes(nil)) })
}

// A peer that is connected and goes before the driver has looked is connected again when it is back.
// The driver's worker itself does both here, so it cannot look between them.
func TestCableOfAMoment(t *testing.T) {
	useServer(t)
	d := New(Settings{Client: "moment", Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil))})
	t.Cleanup(func() { d.Close() })
	in, _, err := d.Virtual("moment", func(time.Time, []byte) {})
	if err != nil {
		t.Fatal(err)
	}
	// The worker must not be ended by a Fatal.
	cable := func(verb, from, to string) error {
		if out, err := exec.Command("jack_"+verb, from, to).CombinedOutput(); err != nil {
			return fmt.Errorf("%s %s %s: %w: %s", verb, from, to, err, out)
		}
		return nil
	}
	// However long it takes, as programs that are started may on a busy machine.
	byWorker := func(f func() error) error {
		done := make(chan error, 1)
		d.calls <- func() { done <- f() }
		return <-done
	}
	connected := func() int { return len(in.(*line).Connections()) + len(d.Connected("moment")) }
	for i := range 3 {
		p := startPeer(t, "fleeting")
		if i == 0 {
			if err := byWorker(func() error {
				defer p.stop()
				return errors.Join(cable("connect", "moment:midi_out", "fleeting:in"), cable("connect", "fleeting:out", "moment:midi_in"))
			}); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if !within(time.Second, func() bool { return connected() == 2 }) {
			t.Fatalf("round %d: in %v, out %v after the peer is back", i, in.(*line).Connections(), d.Connected("moment"))
		}
		if i == 1 {
			p.stop()
			if !within(time.Second, func() bool { return connected() == 0 }) {
				t.Errorf("still connected: in %v, out %v", in.(*line).Connections(), d.Connected("moment"))
			}
			continue
		}
		// A cable that a hand pulls at once is not laid again.
		if err := byWorker(func() error {
			return errors.Join(cable("disconnect", "fleeting:out", "moment:midi_in"), cable("connect", "fleeting:out", "moment:midi_in"),
				cable("disconnect", "fleeting:out", "moment:midi_in"))
		}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * fadeTime)
		if got := in.(*line).Connections(); len(got) != 0 {
			t.Errorf("a cable that was pulled is back: %v", got)
		}
	}
}

// The hub and the driver together: peers and servers go, and all is as before within a second of
// their return, with nothing left sounding.
func TestHubOnJACK(t *testing.T) {
	s := startServer(t, 256)
	before := runtime.NumGoroutine()
	d := New(Settings{Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil))})
	h := openHub(t, d, "")
	t.Cleanup(func() { _, _ = h.Close(), d.Close() })
	p := startPeer(t, "peer")
	run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
	run(t, "jack_connect", "peer:out", "k8s-synth:midi_in")
	works := func(what string, n int) {
		t.Helper()
		defer func() {
			if t.Failed() {
				t.Logf("%+v\n%s", d.Stats(), s.log.String())
			}
		}()
		t0 := time.Now()
		on := midi.On(n, 60, 99)
		if !within(1500*time.Millisecond, func() bool {
			return h.Send("peer:in", time.Time{}, on) == nil && h.Send("k8s-synth", time.Time{}, midi.CC(n, 20, 20)) == nil &&
				hasHeard(p, on) && hasHeard(p, midi.CC(n, 20, 20))
		}) {
			t.Fatalf("%s: the peer does not hear both ports: %v\n%+v\n%s", what, p.heard()[:min(len(p.heard()), 4)], h.Ports(), run(t, "jack_lsp", "-c"))
		}
		if !within(1500*time.Millisecond, func() bool {
			fmt.Fprintf(p.stdin, "at %d %x\n", p.clock().frame, midi.CC(n, 21, 21).Bytes(nil))
			return h.received("peer:out", midi.CC(n, 21, 21)) && h.received("k8s-synth", midi.CC(n, 21, 21))
		}) {
			t.Fatalf("%s: not both ports are heard: %+v", what, h.Ports())
		}
		t.Logf("%s: works after %s", what, time.Since(t0))
	}
	works("at first", 0)
	p.stop()
	if !within(2*time.Second, func() bool { return h.told("peer:in false") == 1 && h.told("peer:out false") == 1 }) {
		t.Errorf("the peer's going is not told: %v", h.plugged)
	}
	p = startPeer(t, "peer")
	works("the peer is back", 1)
	p.stop()
	p = startPeer(t, "peer") // at once
	works("the peer was away for a moment", 2)
	if !within(time.Second, func() bool { return h.told("peer:in true") == 3 }) {
		t.Errorf("nobody knows that the peer is another: %v", h.plugged)
	}
	virtual := h.told("k8s-synth true")
	s.stop(syscall.SIGKILL)
	time.Sleep(700 * time.Millisecond)
	p.stop()
	s.start(t)
	p = startPeer(t, "peer")
	works("the server is back", 3)
	if !within(2*time.Second, func() bool { return h.told("k8s-synth true") > virtual }) {
		t.Errorf("nobody knows that the virtual port is another: %v", h.plugged)
	}
	// Nothing is left sounding when all is closed.
	if err := h.Close(); err != nil {
		t.Log(err)
	}
	var left midi.Held
	var q midi.Parser
	seen := 0
	if !within(time.Second, func() bool {
		events := p.heard()
		for _, e := range events[seen:] {
			q.Parse(e.bytes, left.Track)
		}
		seen = len(events)
		return !left.Any()
	}) {
		var text []string
		for _, e := range p.heard() {
			text = append(text, fmt.Sprintf("%d:%x", e.frame, e.bytes))
		}
		if st := d.Stats(); st.Xruns > 0 || st.Cycles == 0 {
			t.Skip(errBusy) // the server itself loses cycles, or has ended its clients
		}
		t.Errorf("a note is left sounding %d times: %q\n%+v\n%+v\n%s", left.Count(3, 60), text[max(0, len(text)-60):], h.Ports(), d.Stats(), s.log.String())
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	p.stop()
	if !within(time.Second, func() bool { return runtime.NumGoroutine() <= before+1 }) {
		t.Errorf("%d goroutines are left of %d", runtime.NumGoroutine(), before)
	}
}

// All that is sent at the moment at which somebody is told to be back reaches him,
// with a server whose cables carry only after some long periods.
func TestWhatIsSentAtOnceReachesWhoIsBack(t *testing.T) {
	startServer(t, 1024)
	d := New(Settings{Logger: slog.New(slog.NewTextHandler(logWriter{t}, nil))})
	t.Cleanup(func() { d.Close() })
	var hub *port.Hub
	ready := make(chan struct{})
	const lights = 200
	hub, err := port.Open(port.Config{Virtual: true, Patterns: []string{"peer"}, Drivers: []port.Driver{d}, Plugged: func(i port.Info, on bool) {
		<-ready
		if !on || !i.Out {
			return
		}
		for n := range lights { // of the port's own channels
			ch := n / 100
			if i.Virtual {
				ch += 8
			}
			if err := hub.Send(i.Name, time.Time{}, midi.CC(ch, n%100, 1+n%127)); err != nil {
				t.Errorf("%s: %v", i.Name, err)
			}
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	close(ready)
	t.Cleanup(func() { hub.Close() })
	for round := range 4 {
		p := startPeer(t, "peer")
		if round == 0 {
			run(t, "jack_connect", "k8s-synth:midi_out", "peer:in")
		}
		count := func() (n int) {
			told := map[[2]byte]bool{}
			for _, e := range p.heard() {
				if len(e.bytes) == 3 && e.bytes[0]&0xf0 == 0xb0 && e.bytes[1] < 100 {
					told[[2]byte{e.bytes[0], e.bytes[1]}] = true
				}
			}
			return len(told)
		}
		if !within(2*time.Second, func() bool { return count() == 2*lights }) {
			t.Errorf("round %d: the peer heard %d of %d lights", round, count(), 2*lights)
		}
		p.stop()
	}
}

// The child of TestHubIsKilled plays through a hub until it is killed.
func init() {
	path := os.Getenv("K8S_SYNTH_JACK_HUB")
	if path == "" {
		return
	}
	d := New(Settings{})
	h, err := port.Open(port.Config{Virtual: true, Drivers: []port.Driver{d}, Held: path})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		time.Sleep(time.Millisecond)
		if slices.ContainsFunc(h.Ports(), func(i port.Info) bool { return i.Virtual && len(i.Connected) > 0 }) {
			_ = h.Send("k8s-synth", time.Time{}, midi.On(i%16, i/16%128, 100), midi.Off(i%16, (i/16+100)%128, 64))
		}
	}
}

// What a killed process leaves sounding on a peer of its virtual port is ended by a watchdog with its record.
func TestHubIsKilled(t *testing.T) {
	useServer(t)
	p := startPeer(t, "peer")
	record := filepath.Join(t.TempDir(), "held")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "K8S_SYNTH_JACK_HUB="+record)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := begin(cmd); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	if !within(5*time.Second, func() bool { return exec.Command("jack_connect", "k8s-synth:midi_out", "peer:in").Run() == nil }) {
		t.Fatal("the child's port does not appear")
	}
	p.await(t, 100, 5*time.Second)
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	t0 := time.Now()
	d := newDriver(t)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := port.ReleaseFile(ctx, record, []port.Driver{d}, nil); err != nil {
		t.Error(err)
	}
	took := time.Since(t0)
	var left midi.Held
	n, seen := 0, 0
	if !within(time.Second, func() bool {
		events := p.heard()
		for _, e := range events[seen:] {
			var q midi.Parser
			q.Parse(e.bytes, func(m midi.Message) {
				if m.IsNoteOn() {
					n++
				}
				left.Track(m)
			})
		}
		seen = len(events)
		return !left.Any()
	}) {
		t.Error("notes are left sounding")
	}
	t.Logf("after %d notes the watchdog took %s to end what sounded", n, took)
}
