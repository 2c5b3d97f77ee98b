package kernel

import (
	"runtime"
	"syscall"
	"testing"
	"time"
)

// threadTime is the processor time of this thread, which does not count what
// other programs take.
func threadTime(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	const rusageThread = 1
	if err := syscall.Getrusage(rusageThread, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// cost is the processor time that f takes.
func cost(tb testing.TB, f func()) time.Duration {
	tb.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	began := threadTime(tb)
	f()
	return threadTime(tb) - began
}
