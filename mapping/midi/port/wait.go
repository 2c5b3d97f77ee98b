package port

import "time"

// chanWaiter sleeps with Go's own timer, and is as exact as that.
type chanWaiter chan struct{}

func newChanWaiter() chanWaiter { return make(chanWaiter, 1) }

func (w chanWaiter) wait(d time.Duration) {
	if d < 0 {
		<-w
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-w:
	case <-t.C:
	}
}

func (w chanWaiter) wake() {
	select {
	case w <- struct{}{}:
	default:
	}
}
