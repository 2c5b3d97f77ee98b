package main

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	complaint = `time=2026-01-01T00:00:00Z level=ERROR msg="Post-timeout activity" program=k8s-synth-cluster component=kubernetes source=timeout.go:140` + "\n"
	rawKlog   = "E0101 00:00:00.000001   12345 controller.go:146] metrics service not found\n"
	itself    = `time=2026-01-01T00:00:00Z level=ERROR msg="the store cannot be opened" program=k8s-synth-cluster` + "\n"
	fatal     = "F0101 00:00:00.000001   12345 server.go:1] cannot listen\n"
)

func readyNow() mapping.Message {
	return mapping.Message{Transition: &mapping.Transition{Time: time.Now(), Object: mapping.Object{Kind: mapping.KindCluster, Name: "cluster"}, Field: mapping.FieldBoot, New: mapping.BootReady}}
}

// What components complain of during a boot goes to a file; what the program
// says itself is shown, and after the boot everything is.
func TestBootLog(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	b := newBootLog(dir, &out, slog.New(slog.DiscardHandler))
	b.begins()
	all := complaint + rawKlog + itself + fatal
	for i := range all { // in pieces as small as they may come
		_, _ = b.Write([]byte(all[i : i+1]))
	}
	if out.String() != itself+fatal {
		t.Errorf("while it boots, is shown:\n%s", out.String())
	}
	kept, err := os.ReadFile(filepath.Join(dir, bootLogName))
	if err != nil || string(kept) != complaint+rawKlog {
		t.Errorf("kept: %s: %v", kept, err)
	}
	out.Reset()
	b.follow(readyNow())
	_, _ = b.Write([]byte(complaint))
	if out.Len() > 0 {
		t.Errorf("as soon as it is ready, is shown: %s", out.String())
	}
	b.mu.Lock()
	b.ready = b.ready.Add(-bootSettles)
	b.mu.Unlock()
	b.follow(readyNow()) // said again, it does not boot again
	_, _ = b.Write([]byte(complaint + rawKlog))
	if out.String() != complaint+rawKlog {
		t.Errorf("after the boot, is shown:\n%s", out.String())
	}
	out.Reset()
	b.ended(false)
	if out.Len() > 0 {
		t.Errorf("one that had booted ended, and is shown: %s", out.String())
	}
	// It is started again, and boots again.
	b.begins()
	_, _ = b.Write([]byte(rawKlog))
	if out.Len() > 0 {
		t.Errorf("the second boot: %s", out.String())
	}
	b.ended(true)
	if out.Len() > 0 {
		t.Errorf("it was told to end, and is shown: %s", out.String())
	}
}

// A boot that fails shows what the components said last, and where all of it is.
func TestBootLogOfAFailure(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	b := newBootLog(dir, &out, slog.New(slog.DiscardHandler))
	b.begins()
	for range 3 * bootLogTold {
		_, _ = b.Write([]byte(complaint))
	}
	_, _ = b.Write([]byte(strings.TrimSuffix(rawKlog, "\n"))) // it was killed in the middle of a line
	b.ended(false)
	lines := strings.SplitAfter(strings.TrimSpace(out.String()), "\n")
	if len(lines) != bootLogTold+1 || lines[0] != complaint || lines[bootLogTold-1] != rawKlog || !strings.Contains(lines[bootLogTold], filepath.Join(dir, bootLogName)) {
		t.Errorf("%d lines are shown:\n%s", len(lines), out.String())
	}
	// And so does one that goes on for too long.
	out.Reset()
	b.begins()
	_, _ = b.Write([]byte(complaint))
	b.mu.Lock()
	if b.slow == nil {
		t.Error("nobody looks how long it takes")
	}
	b.show()
	b.mu.Unlock()
	_, _ = b.Write([]byte(rawKlog))
	if got := out.String(); !strings.HasPrefix(got, complaint) || !strings.HasSuffix(got, rawKlog) {
		t.Errorf("a long boot shows:\n%s", got)
	}
	b.ended(false)
}

// Where nothing can be kept, nothing is shown either, and nothing fails.
func TestBootLogWithoutAFile(t *testing.T) {
	var out bytes.Buffer
	b := newBootLog(filepath.Join(t.TempDir(), "none"), &out, slog.New(slog.DiscardHandler))
	b.begins()
	if n, err := b.Write([]byte(complaint)); n != len(complaint) || err != nil || out.Len() > 0 {
		t.Errorf("%d, %v, %q", n, err, out.String())
	}
	b.ended(false)
	if out.String() != complaint {
		t.Errorf("of a boot that failed, is shown: %q", out.String())
	}
}

// A process that is supervised boots quietly and fails loudly.
func TestNeighbourBoots(t *testing.T) {
	sh, err := exec.LookPath("sh")
	if err != nil {
		t.Skip("no shell to play the neighbour")
	}
	dir := t.TempDir()
	var ready bytes.Buffer
	enc := mapping.NewEncoder(&ready)
	if err := errors.Join(enc.Encode(mapping.Message{Hello: &mapping.Hello{Version: mapping.StreamVersion, Program: "test"}}), enc.Encode(readyNow())); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ready": ready.String(), "complaint": complaint, "raw": rawKlog} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(script string) (shown string, booted bool) {
		var out bytes.Buffer
		n := &neighbour{name: "test", path: sh, args: []string{"-c", "cd '" + dir + "'; " + script}, log: slog.New(slog.DiscardHandler), stderr: &out,
			boot: newBootLog(dir, &out, slog.New(slog.DiscardHandler)), wake: make(chan struct{}, 1),
			received: func(m mapping.Message) {
				booted = booted || m.Transition != nil && m.Transition.New == mapping.BootReady
			}}
		_ = n.once(t.Context())
		n.boot.ended(false)
		return out.String(), booted
	}
	if shown, booted := run("cat complaint raw >&2; cat ready; sleep 0.3; cat raw >&2"); shown != "" || !booted {
		t.Errorf("a good boot (%v) shows %q", booted, shown)
	}
	if kept, err := os.ReadFile(filepath.Join(dir, bootLogName)); err != nil || string(kept) != complaint+rawKlog+rawKlog {
		t.Errorf("kept: %q, %v", kept, err)
	}
	if shown, booted := run("cat complaint raw >&2; exit 1"); booted || !strings.HasPrefix(shown, complaint+rawKlog) {
		t.Errorf("a boot that fails (%v) shows %q", booted, shown)
	}
}
