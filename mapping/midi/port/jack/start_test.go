package jack

import (
	"os/exec"
	"runtime"
)

// starts are done by one thread that lasts: a process that is to die with its
// parent dies with the thread that began it, and those of locked goroutines,
// such as a hub's, end.
var starts = make(chan func())

func init() {
	go func() {
		runtime.LockOSThread()
		for f := range starts {
			f()
		}
	}()
}

// begin starts a process that is to end with the tests.
func begin(c *exec.Cmd) error {
	done := make(chan error)
	starts <- func() { done <- c.Start() }
	return <-done
}
