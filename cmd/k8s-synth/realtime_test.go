//go:build linux

package main

import (
	"bytes"
	"context"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// TestRealTimeRefused plays as a user who may not have real-time priority, as
// one who may have a little, and as one who may lock no memory: each is told,
// with the remedy, in the log, in the status and in the metrics, and plays.
func TestRealTimeRefused(t *testing.T) {
	for _, name := range []string{"prlimit", "setpriv"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Skipf("%s of util-linux is missing", name)
		}
	}
	if os.Getuid() != 0 {
		t.Skip("becomes another user, which takes root")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Not t.TempDir, which is closed to others.
	dir, err := os.MkdirTemp("", "rt-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	program := filepath.Join(dir, "k8s-synth")
	to, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	// A neighbour that says nothing: no cluster is needed to be refused.
	if err := os.WriteFile(filepath.Join(dir, "k8s-synth-kube"), []byte("#!/bin/sh\nexec cat >/dev/null\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, rtprio, memlock string
		caps                  string // that the user has all the same, as setcap gives them
		priority              int
		memory                string
		told                  []string
	}{
		{"none", "0", "0", "", 0, hardware.MemoryTouched, []string{"no real-time priority (operation not permitted)", "/etc/security/limits.d", "LimitRTPRIO=95", "setcap"}},
		{"a little", "20", "8388608", "", 20, hardware.RingLocked, []string{"real-time priority 20 instead of 50", "RLIMIT_RTPRIO"}},
		{"all", "95", "unlimited", "", 50, hardware.MemoryLocked, nil},
		{"all by setcap", "0", "0", "+sys_nice,+ipc_lock", 50, hardware.MemoryLocked, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			limits := []string{"--rtprio=" + c.rtprio + ":" + c.rtprio, "--memlock=" + c.memlock + ":" + c.memlock}
			if out, err := exec.Command("prlimit", append(limits, "true")...).CombinedOutput(); err != nil {
				t.Skipf("limits cannot be raised here: %s", out)
			}
			as := []string{"--reuid=65534", "--regid=65534", "--clear-groups"}
			if c.caps == "" {
				as = append(as, "--bounding-set=-all")
			} else {
				as = append(as, "--inh-caps="+c.caps, "--ambient-caps="+c.caps)
			}
			state := filepath.Join(dir, strings.ReplaceAll(c.name, " ", "-"))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, "prlimit", slices.Concat(limits, []string{"setpriv"}, as, []string{"--", program, "play", "--device", "null", "--kubeconfig", filepath.Join(dir, "none"), "--listen-only", "--osc", "off", "--metrics", "127.0.0.1:0", "--state-dir", state})...)
			cmd.Env = append(os.Environ(), "K8S_SYNTH_AS_PROGRAM=1", "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"), "TMPDIR="+dir)
			var log bytes.Buffer
			cmd.Stdout, cmd.Stderr = &log, &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var s *playStatus
			for {
				if s, err = fetchStatus(ctx, socketPath(state)); err == nil && s.Audio.Callbacks > 0 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("%v\n%s", err, log.String())
				}
				time.Sleep(50 * time.Millisecond)
			}
			families := scrape(t, s.Metrics)
			_ = cmd.Process.Signal(syscall.SIGTERM)
			if err := cmd.Wait(); err != nil {
				t.Errorf("%v\n%s", err, log.String())
			}
			if s.Audio.Priority != c.priority || valueOf(families, "k8s_synth_render_priority", "") != float64(c.priority) {
				t.Errorf("priority %d, in the metrics %g, want %d", s.Audio.Priority, valueOf(families, "k8s_synth_render_priority", ""), c.priority)
			}
			others := 0
			if c.priority > 0 {
				others = 1
			}
			if s.Audio.OtherPriority != others {
				t.Errorf("the other threads have priority %d, want %d", s.Audio.OtherPriority, others)
			}
			locked := 0.0
			if c.memory == hardware.MemoryLocked {
				locked = 1
			}
			if s.Audio.Memory != c.memory || valueOf(families, "k8s_synth_render_memory_locked", "") != locked {
				t.Errorf("memory is %q (%s), want %q", s.Audio.Memory, s.Audio.MemoryNote, c.memory)
			}
			if c.memory != hardware.MemoryLocked && !strings.Contains(s.Audio.MemoryNote, "memlock") {
				t.Errorf("of memory it says %q", s.Audio.MemoryNote)
			}
			for _, want := range c.told {
				if !strings.Contains(log.String(), want) || !strings.Contains(s.Audio.PriorityNote, want) {
					t.Errorf("%q is not told: %q\n%s", want, s.Audio.PriorityNote, log.String())
				}
			}
			if c.told == nil && regexp.MustCompile(`real-time priority`).MatchString(log.String()) {
				t.Errorf("nothing was refused:\n%s", log.String())
			}
			if line := s.line(); strings.Contains(line, "not real-time") != (c.priority == 0) {
				t.Errorf("the line is %s", line)
			}
		})
	}
}
