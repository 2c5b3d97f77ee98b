//go:build !gocallback

package hardware

// A process can end without any goroutine having a say in it: an unrecovered panic in a goroutine that
// nobody of ours started, a fatal error of the runtime (a map that two goroutines write), a fault in C.
// Goroutines are frozen by then, so what lands is the device thread, which is C (ks_end in ring.h); somebody
// must tell it, and keep the process for the 50 ms that it takes.
//
// The runtime never ends before it has said why, and there is one function that all of its words go through,
// for which it has a hook (overrideWrite; kept for others that use it). Ours looks for the first words of
// an end, lands, and then writes them. So the trace, its length and the exit code are what they are without
// this, and a panic that is recovered, of which the runtime says nothing, is none of its business. The other
// way, debug.SetTraceback("crash") and a C handler for the SIGABRT with which the runtime then ends, prints all
// goroutines with the runtime's own frames, has each thread print itself after a fault, which may take seconds,
// lands only after that, and leaves a core file.
//
// On a thread that Go does not know a fault ends the process without a word: for these there is a handler
// in front of Go's (crash_linux.c). A fault in the device's own thread cannot land, for it is what lands;
// nor does SIGKILL, nor os.Exit, and a thread of C that has called into Go counts as one of Go's.

// #include "crash_linux.h"
import "C"

import (
	"sync"
	"syscall"
	"unsafe"
)

// LandsInCrash says that the outputs come down whatever ends the process, with the exceptions in the
// package comment. SIGABRT must not be caught (signal.Notify): C code that aborts sees that, and ends at once.
const LandsInCrash = true

//go:linkname overrideWrite runtime.overrideWrite
var overrideWrite func(fd uintptr, p unsafe.Pointer, n int32) int32

var (
	crashOnce sync.Once
	ending    *C.ks_ending
	landUntil int64 // CLOCK_MONOTONIC, ns: when the first of those who wait, and so all, give up; 0: nobody does
)

// landInCrash has the outputs land when this process ends for reasons of its own. Once is enough.
func landInCrash() {
	crashOnce.Do(func() {
		ending = &C.ks_end
		C.ks_catch_faults()
		if overrideWrite == nil {
			overrideWrite = runtimeWrites
		}
	})
}

// runtimeWrites is write(2) for the runtime, which calls it anywhere: on any stack, without a P, with any of
// its locks held and the world stopped. So there is no Go in it but what needs none of that: no growth of
// the stack, no write barrier, no C call, and no sync/atomic, which the race detector takes part in.
//
//go:nosplit
//go:norace
//go:nocheckptr
func runtimeWrites(fd uintptr, p unsafe.Pointer, n int32) int32 {
	if fd == 2 && (begins(p, n, "panic: ") || begins(p, n, "fatal error: ") || begins(p, n, "fatal: ") || begins(p, n, "SIG") || begins(p, n, "Signal ")) {
		ending.dying = 1
		for ending.landed < ending.playing {
			const monotonic = 1
			var t syscall.Timespec
			_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&t)), 0)
			now := int64(t.Sec)*1e9 + int64(t.Nsec)
			if landUntil == 0 {
				landUntil = now + C.KS_LAND_MS*1e6
			}
			if now >= landUntil {
				break
			}
			// Signals, with which the runtime wakes threads, cut it short.
			t = syscall.Timespec{Nsec: 1e6}
			_, _, _ = syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&t)), 0, 0)
		}
	}
	wrote, _, err := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(p), uintptr(n))
	if err != 0 {
		return -int32(err)
	}
	return int32(wrote)
}

// begins reports whether the n bytes at p begin with text.
//
//go:nosplit
//go:norace
//go:nocheckptr
func begins(p unsafe.Pointer, n int32, text string) bool {
	if int(n) < len(text) {
		return false
	}
	for i := range len(text) {
		if *(*byte)(unsafe.Add(p, i)) != text[i] {
			return false
		}
	}
	return true
}
