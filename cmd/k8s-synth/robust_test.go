package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
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
