package port

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// ReleaseFile ends what a process that is gone has left sounding: for a
// watchdog, with the Config.Held of that process. It opens each port of the
// record that is there, by the name it has now, sends what ends its notes and
// closes it; for a virtual port, which went with its process, those that
// listened to it. What it cannot end stays on record for the next Open. It
// returns when all is done or ctx is; then a driver may still be at work. The
// error is ErrInUse while the process lives, or if another has taken over.
func ReleaseFile(ctx context.Context, path string, drivers []Driver, log *slog.Logger) error {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	r, lefts, err := awaitRecord(ctx, path, 200*time.Millisecond)
	if err != nil {
		return err
	}
	// All goes back on record, a port each, and is struck off as it is ended.
	type task struct {
		left
		slot int
	}
	work := map[string][]task{}
	for _, l := range lefts {
		names := l.connected
		if len(names) == 0 {
			names = []string{""}
		}
		for _, n := range names {
			t := task{left: l}
			t.connected, t.held = nil, new(midi.Held)
			if b, err := l.held.MarshalBinary(); err == nil {
				_ = t.held.UnmarshalBinary(b)
			}
			if n != "" {
				t.system, t.name = n, "" // its name is found by the driver
			}
			t.slot = r.take(t.driver, t.name, t.system, t.held)
			work[l.driver] = append(work[l.driver], t)
		}
	}
	results := make(chan error, len(work))
	for name, tasks := range work {
		i := slices.IndexFunc(drivers, func(d Driver) bool { return d.Name() == name })
		if i < 0 {
			results <- fmt.Errorf("notes sound on a port of the driver %s, which is not here", name)
			continue
		}
		go func(d Driver) {
			var errs []error
			_, outs, err := d.Ports()
			if err != nil {
				errs = append(errs, err)
				tasks = nil
			}
			for _, t := range tasks {
				system := locate(d, outs, t.system, t.name)
				if system == "" {
					errs = append(errs, fmt.Errorf("notes sound on MIDI port %q, which is not there", t.system))
					continue
				}
				if err := releaseOn(d, system, t.left); err != nil {
					errs = append(errs, err)
					continue
				}
				r.free(t.slot)
				log.Info("notes that were left sounding were ended", "port", system, "driver", name)
			}
			results <- errors.Join(errs...)
		}(drivers[i])
	}
	var errs []error
	for range work {
		select {
		case err := <-results:
			errs = append(errs, err)
		case <-ctx.Done():
			// The record stays mapped for those that are at work.
			return errors.Join(append(errs, fmt.Errorf("ending the notes of %s: %w", path, ctx.Err()))...)
		}
	}
	return errors.Join(append(errs, r.close())...)
}

// locate finds a port among those that are there: by the system's name, or as
// the device that is shown as name, or "".
func locate(d Driver, outs []string, system, name string) string {
	if slices.Contains(outs, system) {
		return system
	}
	if name == "" {
		name = shownBy(d, system)
	}
	seen := map[string]int{}
	for _, o := range outs {
		n := shownBy(d, o)
		if seen[n]++; seen[n] > 1 {
			n = fmt.Sprintf("%s (%d)", n, seen[n])
		}
		if n == name {
			return o
		}
	}
	return ""
}

// releaseOn ends notes on one port.
func releaseOn(d Driver, system string, l left) (err error) {
	out, err := d.OpenOut(system)
	if err != nil {
		return err
	}
	var b []byte
	send := func(m midi.Message) {
		if err == nil {
			b = m.Bytes(b[:0])
			err = out.Send(time.Time{}, b)
		}
	}
	if l.known {
		l.held.Release(send)
	} else {
		l.held.ReleaseAll(send)
	}
	return errors.Join(err, out.Close())
}
