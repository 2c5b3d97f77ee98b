package hardware

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"
	"unsafe"
)

// policies counts the threads of a process by scheduling policy.
func policies(t *testing.T, pid string) map[int]int {
	t.Helper()
	tasks, err := os.ReadDir("/proc/" + pid + "/task")
	if err != nil {
		t.Fatal(err)
	}
	by := map[int]int{}
	for _, task := range tasks {
		tid, err := strconv.Atoi(task.Name())
		if err != nil {
			t.Fatal(err)
		}
		if policy, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0); errno == 0 {
			by[int(policy)&^schedResetOnFork]++
		}
	}
	return by
}

// While a device plays, no thread of the process can be held up by another program; what it starts is
// ordinary, and so is the process when the device is closed.
func TestProcessIsRealTimeWhileItPlays(t *testing.T) {
	// The thread of a device ends a moment after the device.
	ordinary := func() bool { return policies(t, "self")[schedRR] == 0 }
	if !until(2*time.Second, ordinary) {
		t.Fatalf("threads are real-time already: %v", policies(t, "self"))
	}
	d := openNull(t, Settings{}, &ramp{volts: 1})
	second := openNull(t, Settings{}, &ramp{volts: 1})
	for _, d := range []*Device{d, second} {
		if err := d.Start(); err != nil {
			t.Fatal(err)
		}
	}
	s := d.Stats()
	if s.OtherPriority == 0 {
		t.Skipf("this user may not have real-time priority: %s", s.PriorityNote)
	}
	// A new thread is swept up within a second or so.
	hold := make(chan struct{})
	for range 12 {
		go func() { b := make([]byte, 1); _, _ = syscall.Read(-1, b); <-hold }()
	}
	defer close(hold)
	if !d.waitUntil(4*time.Second, func() bool { return policies(t, "self")[schedOther] == 0 }) {
		t.Errorf("threads by policy: %v", policies(t, "self"))
	}
	child := exec.Command("sleep", "10")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = child.Process.Kill(); _ = child.Wait() }()
	if by := policies(t, strconv.Itoa(child.Process.Pid)); by[schedOther] != 1 || len(by) != 1 {
		t.Errorf("a process that was started has threads by policy %v", by)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if by := policies(t, "self"); by[schedRR] == 0 {
		t.Errorf("one of two devices was closed, and the threads are ordinary: %v", by)
	}
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	if !until(2*time.Second, ordinary) {
		t.Errorf("no device plays, and threads are still real-time: %v", policies(t, "self"))
	}
}

// Where the kernel ends processes whose real-time threads compute for long, the threads of Go are
// ordinary, also where that limit comes while the device plays; and a real-time thread that another
// library made is left as it is.
func TestProcessIsOrdinaryUnderATimeLimit(t *testing.T) {
	var lim syscall.Rlimit
	if err := syscall.Getrlimit(rlimitRTTime, &lim); err != nil {
		t.Fatal(err)
	}
	if lim.Cur != ^uint64(0) {
		t.Skipf("real-time threads are limited to %d µs here", lim.Cur)
	}
	d := openNull(t, Settings{}, &ramp{volts: 1})
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	if s := d.Stats(); s.OtherPriority == 0 {
		t.Skipf("this user may not have real-time priority: %s", s.PriorityNote)
	}
	release, theirs := make(chan struct{}), make(chan int)
	defer close(release)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		param := int32(processPriority + 1)
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SCHED_SETSCHEDULER, 0, schedRR, uintptr(unsafe.Pointer(&param))); errno != 0 {
			t.Error(errno)
		}
		theirs <- threadID()
		<-release
	}()
	tid := <-theirs
	limited := lim
	limited.Cur = 10_000_000 // long enough for the render thread, which blocks
	if err := syscall.Setrlimit(rlimitRTTime, &limited); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(rlimitRTTime, &lim) }()
	if !d.waitUntil(4*time.Second, func() bool { return policies(t, "self")[schedRR] == 1 && d.Stats().OtherPriority == 0 }) {
		t.Errorf("threads by policy under a limit: %v, priority %d", policies(t, "self"), d.Stats().OtherPriority)
	}
	if policy, _, _ := syscall.RawSyscall(syscall.SYS_SCHED_GETSCHEDULER, uintptr(tid), 0, 0); policy != schedRR {
		t.Errorf("another library's real-time thread has policy %d now", policy)
	}
	if err := syscall.Setrlimit(rlimitRTTime, &lim); err != nil {
		t.Fatal(err)
	}
	if !d.waitUntil(4*time.Second, func() bool { return policies(t, "self")[schedRR] > 1 }) {
		t.Errorf("threads by policy without a limit: %v", policies(t, "self"))
	}
}

// The kernel tells of threads, and says nothing of those that are no more.
func TestFiguresOfAThread(t *testing.T) {
	if f, ok := figuresOf(os.Getpid()); !ok || f.minorFaults == 0 {
		t.Errorf("%+v, %v", f, ok)
	}
	for _, tid := range []int{0, -1, 1 << 30} {
		if f, ok := figuresOf(tid); ok {
			t.Errorf("thread %d: %+v", tid, f)
		}
	}
}

// TestGreed: a program that takes all processors is found out after five
// seconds, a busy one is not, and half the machine has to be free again.
func TestGreed(t *testing.T) {
	at, cpu := time.Unix(1000, 0), time.Duration(0)
	var g greed
	second := func(processors float64) bool {
		at = at.Add(time.Second)
		cpu += time.Duration(processors * float64(time.Second))
		return g.tooMuch(at, cpu, 2)
	}
	for i, c := range []struct {
		processors float64
		want       bool
	}{
		{2, false}, // the first look knows nothing yet
		{2, false}, {2, false}, {1.7, false}, {2, false}, {2, false}, {2, true}, {1.7, true}, {0.9, false},
		{2, false}, {2, false}, {2, false}, {2, false}, {0, false}, {2, false}, {1.5, false},
	} {
		if got := second(c.processors); got != c.want {
			t.Errorf("second %d with %v processors: too much is %v, want %v", i, c.processors, got, c.want)
		}
	}
}
