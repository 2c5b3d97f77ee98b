package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// A terminal that takes nothing, such as one stopped with Ctrl-S, does not
// hold up the control goroutine.
func TestConsoleDoesNotWait(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	c := newConsole(w)
	line := []byte(strings.Repeat("x", 1023) + "\n")
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 4 * consoleLines { // far more than pipe and queue hold
			_, _ = c.Write(line)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Fatal("a log line waits for a reader that does not read")
	}
}

// A log that cannot be written is no reason for a neighbour's standard error
// to close, which would end the neighbour.
func TestLineWriterNeverFails(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	f.Close() // every write fails now
	c := newConsole(f)
	l := &lineWriter{c: c}
	for _, s := range []string{"one\n", "half", " and half\n", strings.Repeat("y", 3*longestLine)} {
		if n, err := l.Write([]byte(s)); n != len(s) || err != nil {
			t.Fatalf("wrote %d of %d: %v", n, len(s), err)
		}
	}
	if len(l.part) > longestLine {
		t.Errorf("a line without an end holds %d bytes", len(l.part))
	}
	c.end()
}

func TestConsolePrintsWhatWaitsAtTheEnd(t *testing.T) {
	f, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	c := newConsole(f)
	for range 100 {
		_, _ = c.Write([]byte("a line\n"))
	}
	c.end()
	if text, _ := os.ReadFile(f.Name()); string(text) != strings.Repeat("a line\n", 100) {
		t.Errorf("printed %d bytes", len(text))
	}
}

// A neighbour that is to take less of the processors does, and so does what it
// begins.
func TestNeighbourIsNice(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell to play the neighbour")
	}
	var out bytes.Buffer
	// It is greeted once it is nice; "nice" is a process of its own.
	n := &neighbour{name: "test", path: sh, args: []string{"-c", "read hello; nice >&2"}, log: slog.New(slog.DiscardHandler), stderr: &out, wake: make(chan struct{}, 1),
		received: func(mapping.Message) {}, nice: 17}
	if err := n.once(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != "17" {
		t.Errorf("its child's nice is %q, want 17", got)
	}
}

// What a neighbour says after the control goroutine has ended is let go, so
// that the neighbour's reader ends too.
func TestReceivedAfterTheEnd(t *testing.T) {
	p := &player{transitions: make(chan mapping.Transition), calls: make(chan func()), ended: make(chan struct{})}
	close(p.ended)
	done := make(chan struct{})
	go func() {
		defer close(done)
		p.received(mapping.Message{Transition: &mapping.Transition{}})
		p.received(mapping.Message{Problem: &mapping.Problem{}})
	}()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		t.Fatal("a neighbour's reader waits for a goroutine that has ended")
	}
	if p.ask(func() {}) {
		t.Error("an instrument that has ended answers")
	}
}

// Directories of instruments that were killed are removed by the next one;
// those of others that play are not.
func TestEphemeral(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	killed := filepath.Join(os.TempDir(), ephemeralPrefix+"killed")
	if err := os.MkdirAll(filepath.Join(killed, "etcd"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(killed, ephemeralLock), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	one, removeOne, err := makeEphemeral()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Error("what a killed instrument left behind is still there")
	}
	two, removeTwo, err := makeEphemeral()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(one); err != nil {
		t.Errorf("the directory of another that plays was removed: %v", err)
	}
	removeOne()
	removeTwo()
	for _, dir := range []string{one, two} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is still there", dir)
		}
	}
}

// What was set on objects that are gone is not set again after a start.
func TestSettingsOfTheGone(t *testing.T) {
	n := &neighbour{}
	pod := func(i int) mapping.Object { return mapping.Object{Kind: "pod", Name: "web", UID: fmt.Sprint(i)} }
	for i := range 10 {
		n.set(mapping.Setting{Object: pod(i), Name: mapping.SetCPU, Value: "100"})
		n.set(mapping.Setting{Object: pod(i), Name: mapping.SetPanel, Value: "a"})
	}
	n.settings.take()
	n.set(mapping.Setting{Object: pod(9), Name: mapping.SetCPU, Value: "200"})
	for i := range 9 {
		n.forget(pod(i))
	}
	if got := n.settings.take(); len(got) != 1 || got[0].Value != "200" {
		t.Errorf("still to be sent: %v", got)
	}
	if len(n.settings.values) != 2 {
		t.Errorf("kept %v", n.settings.values)
	}
}

// What rules say over OSC comes in the order in which they said it.
func TestSayingsKeepTheirOrder(t *testing.T) {
	listener, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	p := &player{scene: &scenes.Scene{Latency: 0.03}, sayings: make(chan saying, 200), ended: make(chan struct{}), problems: map[string]time.Time{}}
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})
	if p.osc, err = openOSC(osc.Config{Addr: "127.0.0.1:0", Logger: log}, []netip.AddrPort{listener.LocalAddr().(*net.UDPAddr).AddrPort()}, rack, p.binds.controls, p.turn); err != nil {
		t.Fatal(err)
	}
	defer p.osc.Close()
	done := make(chan struct{})
	go func() { defer close(done); p.say() }()
	const n = 150
	began := time.Now()
	for i := range n {
		p.tell("", fmt.Sprintf("/said/%d", i), []any{int32(i)})
	}
	buf := make([]byte, 2048)
	_ = listener.SetReadDeadline(began.Add(10 * time.Second))
	for i := range n {
		k := 0
		// A subscriber is sent the values that there are first.
		for k == 0 || !bytes.HasPrefix(buf[:k], []byte("/said/")) {
			if k, err = listener.Read(buf); err != nil {
				t.Fatalf("message %d: %v", i, err)
			}
		}
		if i == 0 && time.Since(began) < 30*time.Millisecond {
			t.Errorf("the first came after %v, earlier than everything else that is heard", time.Since(began))
		}
		if got := strings.TrimRight(string(buf[:k]), "\x00"); !strings.HasPrefix(got, fmt.Sprintf("/said/%d\x00", i)) {
			t.Fatalf("message %d is %q", i, got)
		}
	}
	close(p.ended)
	<-done
}

// A Deployment may be called as a voice of the default scene is.
func TestListenSceneNames(t *testing.T) {
	s, err := listenScene("shop", "shop", []found{{"alarm", 3}, {"chord-1", 2}, {"drone", 1}, {"chord", 1}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range [][2]string{{"alarm", "chord-1"}, {"chord-1", "chord-2"}, {"drone", "chord-3"}, {"chord", "chord"}} {
		want, err := mapping.ParseCable("deployment/" + c[0] + "/running -> voice/" + c[1] + "/gate")
		if err != nil || !slices.Contains(s.Patch.Cables, want) {
			t.Errorf("deployment/%s does not play voice/%s", c[0], c[1])
		}
	}
}
