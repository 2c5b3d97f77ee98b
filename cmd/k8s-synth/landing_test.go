//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// silence renders nothing.
type silence struct{}

func (silence) Render(_, _ [][]float32) {}

// TestLandsBeforeItDies: each signal that ends a process still does so, and a panic
// of any goroutine, ours or a library's, but only when the outputs are down, which takes as
// long as the device's fade.
func TestLandsBeforeItDies(t *testing.T) {
	if os.Getenv("K8S_SYNTH_DIES") != "" {
		d, err := hardware.Open(context.Background(), hardware.Settings{Backend: "null", Priority: -1}, silence{})
		if err == nil {
			err = d.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		playing.Store(d)
		landOnDeath()
		fmt.Println("plays")
		if os.Getenv("K8S_SYNTH_DIES") == "disk" {
			// Any goroutine of ours: this one works with files.
			time.Sleep(100 * time.Millisecond)
			fmt.Println(time.Now().UnixNano())
			_ = (&player{calls: make(chan func(), 1)}).onDisk(func() { panic("test") })
		}
		if os.Getenv("K8S_SYNTH_DIES") == "library" {
			time.Sleep(100 * time.Millisecond)
			fmt.Println(time.Now().UnixNano())
			go func() { panic("test") }()
		}
		time.Sleep(20 * time.Second)
		os.Exit(0)
	}
	type death struct {
		how string
		s   os.Signal // nil is a panic
	}
	deaths := []death{{"disk", nil}, {"signal", syscall.SIGABRT}}
	if hardware.LandsInCrash {
		deaths = append(deaths, death{"library", nil})
	}
	for _, s := range deadly {
		deaths = append(deaths, death{"signal", s})
	}
	for _, d := range deaths {
		how, s := d.how, d.s
		c := exec.Command(os.Args[0], "-test.run=^TestLandsBeforeItDies$")
		c.Env = append(os.Environ(), "K8S_SYNTH_DIES="+how, "GOTRACEBACK=none")
		out, err := c.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		said := bufio.NewReader(out)
		if line, err := said.ReadString('\n'); line != "plays\n" {
			_ = c.Process.Kill()
			t.Fatal(line, err, c.Wait())
		}
		sent := time.Now()
		if s != nil {
			_ = c.Process.Signal(s)
		} else {
			// It says when it does: by when that is read here it may have landed.
			line, _ := said.ReadString('\n')
			at, err := strconv.ParseInt(strings.TrimSpace(line), 10, 64)
			if err != nil {
				_ = c.Process.Kill()
				t.Fatal(err, c.Wait())
			}
			sent = time.Unix(0, at)
		}
		err = c.Wait()
		lived := time.Since(sent)
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Errorf("%s, %v: it does not end: %v", how, s, err)
			continue
		}
		// The runtime turns some of them into a trace and an exit code.
		if w := exit.Sys().(syscall.WaitStatus); w.Signaled() && w.Signal() != s || !w.Signaled() && w.ExitStatus() != 2 {
			t.Errorf("%s, %v: it ends with %v", how, s, exit)
		}
		if lived < 45*time.Millisecond {
			t.Errorf("%s, %v ends it after %s, before anything can have landed", how, s, lived)
		}
	}
}
