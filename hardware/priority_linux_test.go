package hardware

import (
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"testing"
	"time"
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
	if before := policies(t, "self"); before[schedRR] != 0 {
		t.Fatalf("threads are real-time already: %v", before)
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
	if by := policies(t, "self"); by[schedRR] != 0 {
		t.Errorf("no device plays, and threads are still real-time: %v", by)
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
