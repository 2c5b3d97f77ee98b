package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/k8s-synth/k8s-synth/kube/cluster/paths"
)

const (
	// A child that ends is started again after childRest, which doubles at
	// each end up to childRestMax, and starts over once a child has lived for
	// childSteady.
	childRest    = 250 * time.Millisecond
	childRestMax = 15 * time.Second
	childSteady  = 30 * time.Second
	// childGrace is how long a child may take to end when asked to.
	childGrace = 1500 * time.Millisecond
)

// child is a program that runs beside the control plane and is started again
// when it ends.
type child struct {
	path    string
	args    []string
	env     []string
	pidFile string
	log     *slog.Logger
	verbose bool
	// ready is called once, when the program has said that its controllers
	// work.
	ready func()
}

// run keeps the program running until ctx ends, and returns when it is gone.
func (c *child) run(ctx context.Context) {
	rest := childRest
	for ctx.Err() == nil {
		began := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) > childSteady {
			rest = childRest
		}
		c.log.Warn("child process ended, starting it again", "child", filepath.Base(c.path), "error", err, "rest", rest)
		select {
		case <-time.After(rest):
		case <-ctx.Done():
		}
		rest = min(2*rest, childRestMax)
	}
}

// once starts the program and waits for its end.
func (c *child) once(ctx context.Context) error {
	// On Linux a child can be told to die with the thread that made it, so
	// this goroutine keeps its thread for as long as the child lives.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	cmd := exec.Command(c.path, c.args...)
	cmd.Env = c.env
	cmd.SysProcAttr = childAttributes()
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = w, w
	err = cmd.Start()
	w.Close()
	if err != nil {
		r.Close()
		return err
	}
	var logs sync.WaitGroup
	logs.Go(func() { io.Copy(c.output(), r) })
	if err := writeFile(c.pidFile, fmt.Appendf(nil, "%d %s\n", cmd.Process.Pid, c.path)); err != nil {
		c.log.Warn("a child process could outlive this one", "child", filepath.Base(c.path), "error", err)
	}
	ended := make(chan struct{})
	var killer sync.WaitGroup
	killer.Go(func() {
		select {
		case <-ended:
			return
		case <-ctx.Done():
		}
		// The program's group, which holds whatever it has started.
		syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(childGrace):
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	})
	err = cmd.Wait()
	close(ended)
	killer.Wait()
	logs.Wait()
	r.Close()
	os.Remove(c.pidFile)
	return err
}

// output returns the writer for the program's log. The log is also the only
// sign that the program's controllers have their informers' first lists.
func (c *child) output() io.Writer {
	starting, working := 0, 0
	return &jsonLog{
		log:     c.log.With("component", filepath.Base(c.path)),
		verbose: c.verbose,
		// Its errors are conflicts and the like, which it tries again, and
		// those of syntheses, which the composition's status tells.
		least: slog.LevelError + 1,
		seen: func(message string) {
			switch message {
			case "Starting Controller":
				starting++
			case "Starting workers":
				if working++; working == starting && c.ready != nil {
					c.ready()
				}
			}
		},
	}
}

// endOrphans kills the children that a predecessor in this state directory
// left behind because it was killed itself. A process identifier may have gone
// to another program meanwhile, so that one counts only if it still runs the
// executable that was noted.
func endOrphans(s paths.State, log *slog.Logger) error {
	files, err := filepath.Glob(filepath.Join(s.Run(), "*.pid"))
	if err != nil {
		return fmt.Errorf("orphans: %w", err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("orphans: %w", err)
		}
		first, path, _ := strings.Cut(strings.TrimSpace(string(b)), " ")
		pid, err := strconv.Atoi(first)
		if err == nil && pid > 1 && path != "" && executable(pid) == path {
			log.Warn("ending a child process that a killed predecessor left behind", "pid", pid, "executable", path)
			// It leads its own group.
			if syscall.Kill(-pid, syscall.SIGKILL) != nil {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("orphans: %w", err)
		}
	}
	return nil
}

// sibling returns the path of a program beside our own executable.
func sibling(dir, name, why string) (string, error) {
	path := filepath.Join(dir, name)
	info, err := os.Stat(path)
	if err != nil {
		return "", fmt.Errorf("%s, which %s: %w; build it with \"go build -o %s/ tool\" or \"make\"", name, why, err, dir)
	}
	if info.IsDir() || info.Mode()&0o111 == 0 {
		return "", fmt.Errorf("%s: expected a program that can be executed", path)
	}
	return path, nil
}
