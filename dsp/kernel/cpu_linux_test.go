package kernel

import (
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// threadTime is the processor time of this thread, which does not count what
// other programs take.
func threadTime(tb testing.TB) time.Duration {
	tb.Helper()
	var ts syscall.Timespec
	const clockThread = 3 // CLOCK_THREAD_CPUTIME_ID
	if _, _, errno := syscall.Syscall(syscall.SYS_CLOCK_GETTIME, clockThread, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		tb.Fatal(errno)
	}
	return time.Duration(ts.Nano())
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
