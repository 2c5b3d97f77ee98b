package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// pause waits for a signal. As the first process of a sandbox it holds the
// pod's namespaces, and where the pod shares its processes it is the parent of
// those that have lost theirs, whose ends it takes.
func pause(ctx context.Context) {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for {
		for {
			var status syscall.WaitStatus
			if pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil); err != syscall.EINTR && pid <= 0 {
				break
			}
		}
		select {
		case <-ended:
		case <-ctx.Done():
			return
		}
	}
}
