package port

import (
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// waiter sleeps to a time, or until it is woken. Go's own timers end at a whole
// millisecond on Linux where nothing else runs, so it sleeps in the kernel.
type waiter struct {
	fd  int // −1: channel and timer instead
	alt chanWaiter
}

func newWaiter() *waiter {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		fd = -1
	}
	return &waiter{fd: fd, alt: newChanWaiter()}
}

// bind makes the calling goroutine keep its thread, which dies with it, and
// asks the kernel to end its sleeps exactly: by default it may be 50 µs late.
func (w *waiter) bind() {
	runtime.LockOSThread()
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0)
	// Before ordinary threads, behind the audio's. It is often not granted, and
	// then the kernel's fairness must do.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: priority,
	}, 0)
}

// priority of the threads that send, below the render thread's 50.
const priority = 40

// wait sleeps; a negative time is until woken.
func (w *waiter) wait(d time.Duration) {
	if w.fd < 0 {
		w.alt.wait(d)
		return
	}
	var timeout *unix.Timespec
	if d >= 0 {
		ts := unix.NsecToTimespec(int64(d))
		timeout = &ts
	}
	fds := [1]unix.PollFd{{Fd: int32(w.fd), Events: unix.POLLIN}}
	if n, err := unix.Ppoll(fds[:], timeout, nil); err == nil && n > 0 {
		var b [8]byte
		_, _ = unix.Read(w.fd, b[:])
	}
}

// wake ends the wait, or the next one.
func (w *waiter) wake() {
	if w.fd < 0 {
		w.alt.wake()
		return
	}
	_, _ = unix.Write(w.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// close frees it; nobody waits or wakes any more.
func (w *waiter) close() {
	if w.fd >= 0 {
		_ = unix.Close(w.fd)
	}
}
