package hardware

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
	"unsafe"
)

// threadID is the calling thread's, for threadFigures.
func threadID() int { return syscall.Gettid() }

// threadFigures are what the kernel says of one thread since its start.
type threadFigures struct {
	minorFaults, majorFaults uint64
	waited                   time.Duration // ready to run, while others ran
}

// figuresOf reads them from outside, so that the thread itself need not ask.
// It reports false for a thread that is no more.
func figuresOf(tid int) (threadFigures, bool) {
	var f threadFigures
	dir := "/proc/self/task/" + strconv.Itoa(tid)
	data, err := os.ReadFile(dir + "/stat")
	if tid == 0 || err != nil {
		return f, false
	}
	// The name, in parentheses, may hold anything; proc(5) counts minflt as the
	// tenth field and majflt as the twelfth, the name as the second.
	fields := bytes.Fields(data[bytes.LastIndexByte(data, ')')+1:])
	if len(fields) < 10 {
		return f, false
	}
	f.minorFaults, _ = strconv.ParseUint(string(fields[7]), 10, 64)
	f.majorFaults, _ = strconv.ParseUint(string(fields[9]), 10, 64)
	// Not every kernel counts it: then it stays 0.
	if data, err = os.ReadFile(dir + "/schedstat"); err == nil {
		var ran, waited int64
		if _, err := fmt.Sscan(string(data), &ran, &waited); err == nil {
			f.waited = time.Duration(waited)
		}
	}
	return f, true
}

const (
	mclOnFault    = 4  // MCL_ONFAULT of linux/mman.h: pages are locked as they are touched, none is fetched for it
	capIPCLock    = 14 // CAP_IPC_LOCK of linux/capability.h: memory may be locked without a limit
	rlimitMemlock = 8  // RLIMIT_MEMLOCK of asm-generic/resource.h
	memoryRemedy  = "allow it with 'memlock unlimited' for your user in /etc/security/limits.d, LimitMEMLOCK=infinity in a systemd unit, or 'setcap cap_sys_nice,cap_ipc_lock+ep' on the program"
)

// mayLockAll tells whether a lock of the whole process can never run into a
// limit. With one, mapping memory would fail later on, which ends the program.
func mayLockAll() bool {
	var lim syscall.Rlimit
	if syscall.Getrlimit(rlimitMemlock, &lim) == nil && lim.Cur == ^uint64(0) {
		return true
	}
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return false
	}
	_, after, ok := bytes.Cut(status, []byte("CapEff:"))
	if !ok {
		return false
	}
	line, _, _ := bytes.Cut(after, []byte("\n"))
	mask, err := strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64)
	return err == nil && mask>>capIPCLock&1 == 1
}

var lockAllOnce = sync.OnceValue(func() error {
	if !mayLockAll() {
		return syscall.ENOMEM
	}
	return syscall.Mlockall(syscall.MCL_CURRENT | syscall.MCL_FUTURE | mclOnFault)
})

// lockMemory keeps in memory what the audio threads touch: all of the process
// where that is allowed without a limit, else the ring. It returns how far it
// came, and why not further.
func lockMemory(r *ring) (how, note string) {
	all := lockAllOnce()
	if all == nil {
		return MemoryLocked, ""
	}
	note = fmt.Sprintf("memory is not locked as a whole (%v): %s", all, memoryRemedy)
	if syscall.Mlock(unsafe.Slice((*byte)(unsafe.Pointer(&r.data[0])), 4*len(r.data))) == nil &&
		syscall.Mlock(unsafe.Slice((*byte)(unsafe.Pointer(r.c)), unsafe.Sizeof(*r.c))) == nil &&
		(r.c.panics == nil || syscall.Mlock(unsafe.Slice((*byte)(unsafe.Pointer(r.c.panics)), unsafe.Sizeof(*r.c.panics))) == nil) {
		return RingLocked, note
	}
	return MemoryTouched, note
}
