package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// listening lets a player answer the command line at a socket; ask runs a command
// against it and returns what it prints.
func (p *player) listening(t *testing.T) (ask func(args ...string) (string, error)) {
	t.Helper()
	state, err := os.MkdirTemp("", "s") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(state) })
	l, err := net.Listen("unix", socketPath(state))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /do", p.serveDo)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	return func(args ...string) (string, error) {
		t.Helper()
		root := rootCommand()
		var out bytes.Buffer
		root.SetOut(&out)
		root.SetArgs(append(args, "--state-dir", state))
		done := make(chan error, 1)
		go func() { done <- root.ExecuteContext(t.Context()) }()
		var err error
		p.until(t, 15*time.Second, strings.Join(args, " "), func() bool {
			select {
			case err = <-done:
				return true
			default:
				return false
			}
		})
		return out.String(), err
	}
}

// TestUndoCommand: undo and redo say what they did, one change after the other,
// those that write files as well, and the knob stands where they say.
func TestUndoCommand(t *testing.T) {
	p := stagePlayer(t)
	p.rack.Wired = p.wired
	ask := p.listening(t)
	level := mapping.Address("/audio_out/main/level")
	at := func() float64 {
		v, _, err := p.rack.Value(level)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if _, err := ask("undo"); err == nil || err.Error() != "there is nothing to undo" {
		t.Errorf("undo of nothing: %v", err)
	}
	first := at()
	for i, v := range []float64{-11, -12} {
		if err := p.set(turn{address: level, value: v, source: []string{"one", "another"}[i], at: time.Now()}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ask("scene", "snapshot", "3"); err != nil {
		t.Fatal(err)
	}
	var cable string
	for _, c := range p.rack.Patch().Cables {
		if c.To.Module == "mixer/main" {
			cable = mapping.FormatCable(c)
			if out, err := ask("pull", c.To.String()); err != nil || out != "" {
				t.Fatalf("pull: %q, %v", out, err)
			}
			break
		}
	}
	for i, x := range []struct {
		command, want string
		level         float64
	}{
		{"undo", "undone: pull " + cable + "\n", -12},
		{"undo", "undone: snapshot in slot 3\n", -12},
		{"undo", "undone: /audio_out/main/level is -11, and was -12\n", -11},
		{"redo", "done again: /audio_out/main/level is -12, and was -11\n", -12},
		{"undo", "undone: /audio_out/main/level is -11, and was -12\n", -11},
		{"undo", "undone: /audio_out/main/level is " + trimmed(first) + ", and was -11\n", first},
		{"redo", "done again: /audio_out/main/level is -11, and was " + trimmed(first) + "\n", -11},
		{"redo", "done again: /audio_out/main/level is -12, and was -11\n", -12},
		{"redo", "done again: snapshot in slot 3\n", -12},
		{"redo", "done again: pull " + cable + "\n", -12},
	} {
		out, err := ask(x.command)
		if err != nil || out != x.want || at() != x.level {
			t.Errorf("%d: %s prints %q, want %q; the level is %g, want %g; %v", i, x.command, out, x.want, at(), x.level, err)
		}
	}
	if _, err := ask("redo"); err == nil || err.Error() != "there is nothing to redo" {
		t.Errorf("redo of nothing: %v", err)
	}
}

func trimmed(v float64) string { return fmt.Sprintf("%.4g", v) }
