package main

import (
	"context"
	"math"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// maxMillicores bounds what can be asked for; a machine burns what it has.
	maxMillicores = 1_000_000
	// slice is how long a worker computes before it looks at the clock again:
	// short against the 5 ms or so over which a load should be even, long
	// against the clock's own cost of a microsecond.
	slice = 150 * time.Microsecond
	// backlog bounds what is caught up where the machine was busy, as wall
	// time: beyond it the time is lost, or a load would go on after its end.
	backlog = 200 * time.Millisecond
	// A worker that is ahead sleeps at most so long, so that it follows when
	// others in this process use less.
	longestRest = 20 * time.Millisecond
	// usedWindow is over how long the used time is averaged.
	usedWindow = time.Second
)

// burner uses as much processor time as it is told. What the whole process
// uses counts, as the kernel accounts for it, so that the requests that are
// answered are part of the load and not on top of it.
type burner struct {
	ctx context.Context
	// Injected for the tests of the control law.
	now  func() time.Time
	cpu  func() time.Duration
	spin func(time.Duration)

	changes sync.Mutex // one change at a time, and workers that wait for mu go on
	mu      sync.Mutex

	millicores int
	stop       context.CancelFunc
	workers    sync.WaitGroup
	// The load is due since epoch, at which spent was used.
	epoch time.Time
	spent time.Duration

	// A measurement of what was used, from mark on, and its last result.
	mark     time.Time
	markCPU  time.Duration
	measured int
}

// newBurner returns a burner that burns nothing yet; its workers end with ctx.
func newBurner(ctx context.Context) *burner {
	b := &burner{ctx: ctx, now: time.Now, cpu: processTime, spin: spin}
	b.mark, b.markCPU = b.now(), b.cpu()
	return b
}

// set changes the load, in millicores; it takes effect at once.
func (b *burner) set(millicores int) {
	b.changes.Lock()
	defer b.changes.Unlock()
	if millicores == b.target() {
		return
	}
	if b.stop != nil {
		b.stop()
		b.workers.Wait()
		b.stop = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.millicores = millicores
	b.epoch, b.spent = b.now(), b.cpu()
	b.mark, b.markCPU = b.epoch, b.spent
	if millicores == 0 {
		return
	}
	ctx, stop := context.WithCancel(b.ctx)
	b.stop = stop
	// One more than the load needs: a worker that shares its processor with
	// another program falls behind alone, but not with a second one.
	for range min((millicores+999)/1000+1, runtime.GOMAXPROCS(0)) {
		b.workers.Go(func() { b.work(ctx) })
	}
}

func (b *burner) target() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.millicores
}

// used returns what the process has used lately, in millicores. The window
// begins anew once it is full, so that a reader once a second sees the second.
func (b *burner) used() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	now, cpu := b.now(), b.cpu()
	if d := now.Sub(b.mark); d >= 20*time.Millisecond {
		b.measured = int(math.Round(1000 * float64(cpu-b.markCPU) / float64(d)))
		if d >= usedWindow {
			b.mark, b.markCPU = now, cpu
		}
	}
	return b.measured
}

// work burns while the process has used less than is due, and rests while it
// has used more.
func (b *burner) work(ctx context.Context) {
	rest := time.NewTimer(0)
	defer rest.Stop()
	for ctx.Err() == nil {
		d := b.ahead()
		if d <= 0 {
			b.spin(slice)
			runtime.Gosched() // requests wait on the same processors
			continue
		}
		rest.Reset(min(max(d, slice), longestRest))
		select {
		case <-rest.C:
		case <-ctx.Done():
		}
	}
}

// ahead returns how long it is until what was used is due; negative where the
// process is behind.
func (b *burner) ahead() time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.millicores == 0 {
		return longestRest
	}
	now, cpu := b.now(), b.cpu()
	rate := float64(b.millicores) / 1000
	d := time.Duration(float64(cpu-b.spent)/rate) - now.Sub(b.epoch)
	if d < -backlog || d > backlog {
		// The machine did not have it, or something else used much at once
		// (memory that is touched): neither is paid back for long.
		b.epoch, b.spent = now, cpu
		return 0
	}
	return d
}

// processTime returns the processor time that this process has used.
func processTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// spin computes for a while. It counts time by the clock: a program that is
// held up meanwhile computes less, and is behind then.
func spin(d time.Duration) {
	x := uint64(d)
	for end := time.Now().Add(d); time.Now().Before(end); {
		for range 512 { // some hundred nanoseconds of a xorshift generator
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
	}
	runtime.KeepAlive(x)
}
