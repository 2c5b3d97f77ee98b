package main

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	// bootSettles is how long after its boot the control plane's components may
	// still complain of what was not there during it: they try again after
	// seconds.
	bootSettles = 10 * time.Second
	// bootLongest is how long a boot may take before what the components say is
	// shown: something is wrong.
	bootLongest = 2 * time.Minute
	// bootLogMost bounds what is kept of one boot.
	bootLogMost = 1 << 20
	// bootLogTold is how many of the last lines are shown of a boot that failed.
	bootLogTold = 20
)

// bootLogName is, in the state directory, what the components of the own control
// plane wrote while it booted last.
const bootLogName = "boot.log"

// bootLog passes on what the own control plane says to people. What its
// components (the API server, the controllers, the simulated kubelets) complain
// of during a boot goes into a file: each waits for the others, says so as an
// error, and tries again. What the program itself says is passed on always, and
// everything is after the boot; if that fails or takes too long, the last lines are
// shown.
type bootLog struct {
	next io.Writer
	path string
	log  *slog.Logger

	mu    sync.Mutex
	f     *os.File
	kept  int
	lost  bool
	last  [][]byte
	part  []byte
	ready time.Time // zero while it boots
	shown bool      // it takes too long: everything is passed on
	slow  *time.Timer
}

func newBootLog(dir string, next io.Writer, log *slog.Logger) *bootLog {
	return &bootLog{next: next, path: filepath.Join(dir, bootLogName), log: log}
}

// ofComponent are the lines that components write: records that name one, and
// those of klog in its own form.
var ofComponent = regexp.MustCompile(`^(?:[IWE]\d{4} \d\d:\d\d:|(?:.* )?level=(?:INFO|WARN|ERROR) .*\bcomponent=)`)

// Write takes what the process writes to its standard error, in any pieces. It
// never fails.
func (b *bootLog) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.part = append(b.part, p...)
	for {
		i := bytes.IndexByte(b.part, '\n')
		if i < 0 && len(b.part) <= longestLine {
			return len(p), nil
		}
		if i < 0 {
			i = len(b.part) - 1
		}
		b.line(b.part[:i+1])
		b.part = append(b.part[:0], b.part[i+1:]...)
	}
}

func (b *bootLog) line(line []byte) {
	if !b.booting() || !ofComponent.Match(line) {
		_, _ = b.next.Write(line)
		return
	}
	if len(b.last) == bootLogTold {
		b.last = b.last[1:]
	}
	b.last = append(b.last, bytes.Clone(line))
	if b.f == nil && !b.lost {
		f, err := os.OpenFile(b.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			b.lost = true
			b.log.Debug("what the components say during the boot is not kept", "err", err)
		}
		b.f = f
	}
	if b.f != nil && b.kept < bootLogMost {
		n, _ := b.f.Write(line)
		b.kept += n
	}
}

func (b *bootLog) booting() bool {
	return !b.shown && (b.ready.IsZero() || time.Since(b.ready) < bootSettles)
}

// begins tells that the process was started.
func (b *bootLog) begins() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slow = time.AfterFunc(bootLongest, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if b.ready.IsZero() && !b.shown {
			b.show()
		}
	})
}

// show passes on the last lines, and everything from now on.
func (b *bootLog) show() {
	b.shown = true
	for _, line := range b.last {
		_, _ = b.next.Write(line)
	}
	if b.f != nil {
		fmt.Fprintf(b.next, "the whole of it is in %s\n", b.path)
	}
}

// follow takes note of how far the boot is.
func (b *bootLog) follow(m mapping.Message) {
	t := m.Transition
	if t == nil || t.Object.Kind != mapping.KindCluster || t.Field != mapping.FieldBoot {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if t.New == mapping.BootReady && b.ready.IsZero() {
		b.ready = time.Now()
		if len(b.last) > 0 {
			b.log.Debug("what the components said during the boot", "file", b.path)
		}
	}
}

// ended tells that the process is gone. If it had not booted, the last lines of
// its components are shown: they may say why.
func (b *bootLog) ended(asked bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.part) > 0 {
		b.line(append(b.part, '\n'))
	}
	if b.slow != nil {
		b.slow.Stop()
	}
	if b.ready.IsZero() && !asked && !b.shown {
		b.show()
	}
	if b.f != nil {
		_ = b.f.Close()
	}
	b.f, b.kept, b.lost, b.last, b.ready, b.part, b.shown, b.slow = nil, 0, false, nil, time.Time{}, nil, false, nil
}
