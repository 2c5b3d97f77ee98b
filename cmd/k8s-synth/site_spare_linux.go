package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// spareTime makes every thread of this process one that runs when no other
// wants to: a thread that is ready and not such a one takes its place at once.
// Threads that begin later are what the thread is that begins them, so all have
// to be found; it looks until there is none that it did not know.
func spareTime() error {
	known := map[int]bool{}
	for range 100 {
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return err
		}
		found := false
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || known[id] {
				continue
			}
			known[id], found = true, true
			attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}
			if err := unix.SchedSetAttr(id, attr, 0); err != nil && !errors.Is(err, unix.ESRCH) {
				return fmt.Errorf("asking for what the machine has to spare: %w", err)
			}
		}
		if !found {
			return nil
		}
	}
	return errors.New("its threads do not hold still")
}
