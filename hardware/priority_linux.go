package hardware

import (
	"os"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// The render goroutine stops whenever the garbage collector stops the world, or reads its stack, and
// goes on when the thread that does so is done. That thread is an ordinary one: on a busy machine it
// may itself wait for a processor, and the renderer with it, for as long as the ordinary threads of
// other programs like to run: 40 to 100 ms were seen, far more than any ring holds. Real-time priority
// for the renderer alone does not help against that inversion. So all threads of this process are
// real-time, the others at the lowest priority there is: below every audio thread, above whatever
// else the machine does. With that the lag fell below two blocks (TestProofJACK has the table).

const (
	schedOther       = 0          // SCHED_OTHER
	schedRR          = 2          // SCHED_RR: threads of one priority take turns
	schedResetOnFork = 0x40000000 // SCHED_RESET_ON_FORK: neighbours are ordinary processes
	processPriority  = 1

	rlimitRTTime = 15 // RLIMIT_RTTIME of asm-generic/resource.h: CPU time of a real-time thread that does not block
)

// raised counts the devices that want the process to be real-time.
var raised struct {
	sync.Mutex
	devices int
	greed   greed
}

const (
	greedShare   = 0.9 // of all processors: what no performance takes, and a program gone wild does
	greedSeconds = 5   // for which it may be taken
)

// greed watches how much of the machine the process takes: real-time threads that never rest would
// leave nothing to whoever wants to end them.
type greed struct {
	at   time.Time
	cpu  time.Duration
	long float64 // seconds in a row above greedShare
}

// tooMuch takes the time and the processor time of the process so far. It tells whether all processors
// have been taken for too long; that ends when half of them are free.
func (g *greed) tooMuch(now time.Time, cpu time.Duration, processors int) bool {
	passed := now.Sub(g.at).Seconds()
	share := (cpu - g.cpu).Seconds() / max(passed, 1e-3) / float64(processors)
	first := g.at.IsZero()
	g.at, g.cpu = now, cpu
	switch {
	case first || share < 0.5:
		g.long = 0
	case share > greedShare:
		g.long += passed
	}
	return g.long >= greedSeconds
}

// processorTime is what the process has used of the processors.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// raiseProcess makes the ordinary threads of this process real-time ones, until lowerProcess is called
// as often. It returns the priority that they have. New threads begin as ordinary ones, as new
// processes do, so it has to be done again now and then (sweepProcess).
func raiseProcess() (priority int) {
	raised.Lock()
	defer raised.Unlock()
	raised.devices++
	return sweep(false)
}

// sweepProcess does for new threads what raiseProcess did, and takes it back while the process takes
// more of the machine than it should.
func sweepProcess() (priority int) {
	raised.Lock()
	defer raised.Unlock()
	return sweep(raised.greed.tooMuch(time.Now(), processorTime(), runtime.NumCPU()))
}

// sweep makes all threads real-time ones, or ordinary ones if it must. Where the kernel limits how long a real-time
// thread may compute, threads are ordinary: Go's compute for as long as there is work, and the kernel
// ends the process of one that passes the limit. Audio libraries set it as well, while the music plays.
func sweep(ordinary bool) (priority int) {
	var lim syscall.Rlimit
	if ordinary || syscall.Getrlimit(rlimitRTTime, &lim) == nil && lim.Cur != ^uint64(0) {
		reschedule(schedRR, schedOther, 0)
		return 0
	}
	return reschedule(schedOther, schedRR, processPriority)
}

// lowerProcess takes it back.
func lowerProcess() {
	raised.Lock()
	defer raised.Unlock()
	if raised.devices--; raised.devices == 0 {
		reschedule(schedRR, schedOther, 0)
	}
}

// reschedule gives all threads that have one policy another; of real-time ones only those that
// sweepProcess made so. It returns the priority that was granted, 0 when it was refused.
func reschedule(from, to, priority int) int {
	dir, err := os.Open("/proc/self/task")
	if err != nil {
		return 0
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return 0
	}
	param := int32(priority)
	for _, name := range names {
		tid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		policy, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0)
		if errno != 0 || int(policy)&^schedResetOnFork != from {
			continue // gone, or scheduled by somebody who knows why
		}
		if from == schedRR {
			var was int32
			if _, _, errno = syscall.RawSyscall(syscall.SYS_SCHED_GETPARAM, uintptr(tid), uintptr(unsafe.Pointer(&was)), 0); errno != 0 || was != processPriority {
				continue // an audio library's
			}
		}
		_, _, errno = syscall.RawSyscall(syscall.SYS_SCHED_SETSCHEDULER, uintptr(tid), uintptr(to|schedResetOnFork), uintptr(unsafe.Pointer(&param)))
		if errno != 0 && errno != syscall.ESRCH {
			return 0
		}
	}
	return priority
}
