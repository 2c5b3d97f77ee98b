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
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

const (
	// watchdogBye is what an instrument says that ends in order: it has sent its
	// own note-offs.
	watchdogBye = "bye"
	// releaseTime bounds how long the watchdog looks for the ports on which
	// notes were held.
	releaseTime = 10 * time.Second
	// releaseAgain is how long it waits until it tries again.
	releaseAgain = 100 * time.Millisecond
)

// watchdogCommand is a process that outlives the instrument: when that ends
// without a word, it ends the notes that it held on other gear.
func watchdogCommand() *cobra.Command {
	var held string
	c := &cobra.Command{
		Use: "watchdog", Short: "End the notes of an instrument that was killed", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			// A service manager tells everybody of the group to end; what sounds is
			// ended first.
			signal.Ignore(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			last := ""
			for lines := bufio.NewScanner(cmd.InOrStdin()); lines.Scan(); {
				last = lines.Text()
			}
			if last == watchdogBye {
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), releaseTime)
			defer cancel()
			log := slog.New(slog.NewTextHandler(cmd.ErrOrStderr(), nil))
			log.Warn("the instrument ended without a word; ending what it held over MIDI")
			// The instrument's own name is for its next start.
			drivers, end := midiDrivers(midiName+" watchdog", log)
			defer end()
			return releaseHeld(ctx, func() error { return port.ReleaseFile(ctx, held, drivers, log) })
		},
	}
	c.Flags().StringVar(&held, "held", "", "file of the notes that are held")
	return c
}

// releaseHeld tries again until all is ended or the time is over: a server from
// which a client was torn away does not answer at first. What was ended is
// ended; what was not stays on record.
func releaseHeld(ctx context.Context, release func() error) error {
	for {
		err := release()
		if err == nil || errors.Is(err, port.ErrInUse) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(releaseAgain):
		}
	}
}

// watchdog is the instrument's end of its watchdog.
type watchdog struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

// startWatchdog starts one that looks after the notes in a file.
func startWatchdog(held string) (*watchdog, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	w := &watchdog{cmd: exec.Command(self, "watchdog", "--held", held)}
	if w.in, err = w.cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	w.cmd.Stderr = os.Stderr
	// Neither the terminal's Ctrl-C nor its end is for the watchdog.
	w.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := startAlone(w.cmd.Start); err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return w, nil
}

// dismiss ends the watchdog without its doing anything.
func (w *watchdog) dismiss() {
	if w == nil {
		return
	}
	// Where it is gone already there is nobody to be told.
	_, _ = fmt.Fprintln(w.in, watchdogBye)
	_ = w.in.Close()
	_ = w.cmd.Wait()
}
