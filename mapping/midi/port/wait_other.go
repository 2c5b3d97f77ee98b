//go:build !linux

package port

import (
	"runtime"
	"time"
)

// waiter sleeps to a time, or until it is woken.
type waiter struct{ c chanWaiter }

func newWaiter() *waiter { return &waiter{newChanWaiter()} }

func (w *waiter) bind()                { runtime.LockOSThread() }
func (w *waiter) wait(d time.Duration) { w.c.wait(d) }
func (w *waiter) wake()                { w.c.wake() }
func (w *waiter) close()               {}
