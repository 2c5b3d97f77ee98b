package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// neighbour is a process that the instrument supervises and speaks the
// stream with. It is started again, with growing rests, for as long as the
// instrument plays; the music does not wait for it.
type neighbour struct {
	name string
	path string
	args []string
	log  *slog.Logger
	// stderr takes what the process says to people.
	stderr io.Writer
	// received is called for each message, in order, from one goroutine.
	received func(mapping.Message)
	// gone is called each time that the process has ended.
	gone func()
	// boot, if not nil, keeps what is harmless during a boot away from people.
	boot *bootLog
	// mute is one that is never run, and takes what it is handed to nobody.
	mute bool
	// nice, 0…19, lowers the share of the processors that it takes from what is
	// heard and seen.
	nice int

	mu       sync.Mutex
	topology *mapping.Topology // the newest, sent again after each start
	unsent   bool
	actions  []mapping.Action
	settings settingList
	pid      int
	starts   int
	refused  uint64 // actions that found no room
	wake     chan struct{}
}

const (
	restFirst = 200 * time.Millisecond
	restMost  = 5 * time.Second
	// settled is how long a process must live for its next rest to be the first again.
	settled = 10 * time.Second
	// farewell is how long a process may take to end after its input has;
	// the control plane closes its store in this time.
	farewell = 8 * time.Second
	// queuedActions bounds what waits for a neighbour that is away.
	queuedActions = 256
	// clusterNice is the nice of the embedded control plane. It works in bursts of
	// all processors when pods come and go; whoever shows what the rack does, such
	// as a browser, is asked for some milliseconds of them in every frame, and must
	// not stand in line for that. What nobody wants is the control plane's all the
	// same, so that it is not slower for it.
	clusterNice = 10
	// keptSettings bounds what is set again after a start. Objects may go while
	// nobody looks; the oldest settings are most likely theirs. What was never
	// sent is kept all the same.
	keptSettings = 2048
)

// settingList holds the newest value of each setting in the order of their
// last change, and which of them have still to be sent.
type settingList struct {
	values []mapping.Setting
	sent   int // values before this index have been sent
}

func (l *settingList) set(s mapping.Setting) {
	for i, old := range l.values {
		if old.Object == s.Object && old.Name == s.Name {
			l.values = slices.Delete(l.values, i, i+1)
			if i < l.sent {
				l.sent--
			}
			break
		}
	}
	l.values = append(l.values, s)
	if n := min(len(l.values)-keptSettings, l.sent); n > 0 {
		l.values = slices.Delete(l.values, 0, n)
		l.sent -= n
	}
}

// forget drops the settings of an object that is no more.
func (l *settingList) forget(o mapping.Object) {
	kept, sent := 0, 0
	for i, s := range l.values {
		if s.Object == o {
			continue
		}
		if i < l.sent {
			sent++
		}
		l.values[kept] = s
		kept++
	}
	l.sent = sent
	clear(l.values[kept:])
	l.values = l.values[:kept]
}

// take returns what has to be sent. The slice is the caller's.
func (l *settingList) take() []mapping.Setting {
	out := slices.Clone(l.values[l.sent:])
	l.sent = len(l.values)
	return out
}

// siblingProgram returns the path of another program of this build, which
// lies beside this one.
func siblingProgram(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("where this program lies: %w", err)
	}
	// Where it is installed, the one on the PATH is a link.
	if real, err := filepath.EvalSymlinks(self); err == nil {
		self = real
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside %s; build both with \"make build\"", name, self)
	}
	return path, nil
}

// run keeps the process alive until ctx ends, and returns when it is gone.
func (n *neighbour) run(ctx context.Context) {
	n.mu.Lock()
	n.wake = make(chan struct{}, 1)
	n.mu.Unlock()
	rest := restFirst
	for ctx.Err() == nil {
		began := time.Now()
		err := n.once(ctx)
		if n.boot != nil {
			n.boot.ended(ctx.Err() != nil)
		}
		if n.gone != nil {
			n.gone()
		}
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > settled {
			rest = restFirst
		}
		n.log.Warn("a neighbour ended; the music goes on, and it is started again", "program", n.name, "why", err, "in", rest)
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
		rest = min(2*rest, restMost)
	}
}

// once runs the process a single time.
func (n *neighbour) once(ctx context.Context) error {
	cmd := exec.Command(n.path, n.args...)
	// A group of its own: an interrupt at the terminal is for the instrument,
	// which ends its neighbours in order.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	// A pipe of our own, because one of exec's would be closed before the
	// last messages of a process that crashed were read.
	out, in, err := os.Pipe()
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = in, n.stderr
	if n.boot != nil {
		cmd.Stderr = n.boot
	}
	// A child of a process that was killed may hold its standard error.
	cmd.WaitDelay = time.Second
	err = startAlone(cmd.Start)
	in.Close()
	if err != nil {
		return err
	}
	if n.nice != 0 {
		// The group, for all threads that there are by now. What begins later is
		// what it is that begins it.
		if err := syscall.Setpriority(syscall.PRIO_PGRP, cmd.Process.Pid, n.nice); err != nil {
			n.log.Warn("a neighbour takes as much of the processors as the page", "program", n.name, "err", err)
		}
	}
	if n.boot != nil {
		n.boot.begins()
	}
	n.mu.Lock()
	n.pid, n.unsent, n.settings.sent = cmd.Process.Pid, n.topology != nil, 0
	n.starts++
	n.mu.Unlock()

	ended := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { landed(func() { n.write(ctx, stdin, ended) }) })
	var readErr error
	wg.Go(func() { landed(func() { readErr = n.read(out) }) })
	wg.Go(func() { landed(func() { n.see(ctx, cmd.Process, ended) }) })
	state := cmd.Wait()
	close(ended)
	n.mu.Lock()
	n.pid = 0
	n.mu.Unlock()
	// And it may hold its output, too.
	_ = out.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	wg.Wait()
	return errors.Join(state, readErr)
}

// see ends the process when the instrument ends: its input closes first, then
// it is asked, then it is killed.
func (n *neighbour) see(ctx context.Context, p *os.Process, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	for _, sig := range []os.Signal{nil, syscall.SIGTERM, syscall.SIGKILL} {
		if sig != nil {
			n.log.Warn("a neighbour does not end", "program", n.name, "signal", sig)
			_ = p.Signal(sig)
		}
		select {
		case <-ended:
			return
		case <-time.After(farewell):
		}
	}
}

// write sends what waits to the process until either ends.
func (n *neighbour) write(ctx context.Context, w io.WriteCloser, ended <-chan struct{}) {
	defer w.Close()
	enc := mapping.NewEncoder(w)
	if enc.Encode(mapping.Message{Hello: &mapping.Hello{Version: mapping.StreamVersion, Program: "k8s-synth"}}) != nil {
		return
	}
	for {
		n.mu.Lock()
		var t *mapping.Topology
		if n.unsent {
			t, n.unsent = n.topology, false
		}
		actions := n.actions
		n.actions = nil
		settings := n.settings.take()
		n.mu.Unlock()
		if t != nil && enc.Encode(mapping.Message{Topology: t}) != nil {
			return
		}
		// What is not sent is sent after the process's next start.
		for i := range settings {
			if enc.Encode(mapping.Message{Setting: &settings[i]}) != nil {
				return
			}
		}
		for i := range actions {
			if enc.Encode(mapping.Message{Action: &actions[i]}) != nil {
				// They wait for the process's next start.
				n.mu.Lock()
				n.actions = append(actions[i:], n.actions...)
				n.mu.Unlock()
				return
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
			return
		case <-n.wake:
		}
	}
}

func (n *neighbour) read(r io.Reader) error {
	dec := mapping.NewDecoder(bufio.NewReaderSize(r, 1<<16))
	for {
		m, err := dec.Decode()
		if errors.Is(err, io.EOF) || errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			// What follows cannot be told apart any more, and the process may
			// live on for days.
			n.log.Error("what a neighbour says cannot be read; it is not listened to until it is started again", "program", n.name, "err", err)
			_, _ = io.Copy(io.Discard, r)
			return err
		}
		if n.boot != nil {
			n.boot.follow(m)
		}
		n.received(m)
	}
}

// publish hands the process a topology; only the newest counts.
func (n *neighbour) publish(t mapping.Topology) {
	if n.mute {
		return
	}
	n.mu.Lock()
	n.topology, n.unsent = &t, true
	n.mu.Unlock()
	n.nudge()
}

// set hands the process a setting; only the newest of each kind counts.
func (n *neighbour) set(s mapping.Setting) {
	if n.mute {
		return
	}
	n.mu.Lock()
	n.settings.set(s)
	n.mu.Unlock()
	n.nudge()
}

// forget drops what was set on an object that is no more.
func (n *neighbour) forget(o mapping.Object) {
	n.mu.Lock()
	n.settings.forget(o)
	n.mu.Unlock()
}

// act hands the process an action, unless too many wait.
func (n *neighbour) act(a mapping.Action) bool {
	if n.mute {
		return true
	}
	n.mu.Lock()
	ok := len(n.actions) < queuedActions
	if ok {
		n.actions = append(n.actions, a)
	} else {
		n.refused++
	}
	n.mu.Unlock()
	n.nudge()
	return ok
}

func (n *neighbour) nudge() {
	n.mu.Lock()
	wake := n.wake
	n.mu.Unlock()
	if wake != nil {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
}

// neighbourStatus is what "status" tells of a neighbour.
type neighbourStatus struct {
	Name   string `json:"name"`
	PID    int    `json:"pid"` // 0 while it does not run
	Starts int    `json:"starts"`
	RSS    int64  `json:"rssBytes,omitempty"`
	// Waiting are actions that wait for it, Dropped those that found no room.
	Waiting int    `json:"waitingActions"`
	Dropped uint64 `json:"droppedActions"`
}

func (n *neighbour) status() neighbourStatus {
	n.mu.Lock()
	defer n.mu.Unlock()
	return neighbourStatus{Name: n.name, PID: n.pid, Starts: n.starts, RSS: residentBytes(n.pid), Waiting: len(n.actions), Dropped: n.refused}
}

// forwardCommand makes "k8s-synth NAME …" run another program of this build
// with the arguments that begin with those given.
func forwardCommand(name, short, program string, begin ...string) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := siblingProgram(program)
			if err != nil {
				return err
			}
			// The program takes this process's place where the system can.
			return syscall.Exec(path, slices.Concat([]string{path}, begin, args), os.Environ())
		},
	}
}
