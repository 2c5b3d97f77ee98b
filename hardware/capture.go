package hardware

// #include "ring.h"
import "C"

import (
	"errors"
	"sync/atomic"
	"unsafe"
)

// capture is the Go end of what a device captured (ks_capture): the device thread writes it, frame by
// frame from the start of its stream, and the render goroutine takes one block for each it renders.
type capture struct {
	c        *C.ks_capture
	data     []float32
	channels int
	capacity uint64
	write    *uint64
}

const (
	captureTime  = 1.5  // seconds that a capture ring holds
	captureGuard = 8192 // frames in front of the writer that are not read: they may be overwritten right now
)

func newCapture(channels int, rate int) (*capture, error) {
	capacity := int(captureTime*float64(rate)) + 2*captureGuard
	c := C.ks_capture_new(C.uint32_t(channels), C.uint32_t(capacity))
	if c == nil {
		return nil, errors.New("no memory for the capture ring")
	}
	return &capture{
		c: c, data: unsafe.Slice((*float32)(unsafe.Pointer(c.data)), channels*capacity), channels: channels, capacity: uint64(capacity),
		write: (*uint64)(unsafe.Pointer(&c.write)),
	}, nil
}

// free gives the memory back; nil is allowed.
func (c *capture) free() {
	if c != nil {
		C.ks_capture_free(c.c)
		c.c, c.data = nil, nil
	}
}

// push is the device's side for callbacks that could not avoid Go, and for tests.
func (c *capture) push(in []float32) {
	if len(in) > 0 {
		C.ks_capture_push(c.c, (*C.float)(unsafe.Pointer(&in[0])), C.uint32_t(len(in)/c.channels))
	}
}

// hold is push for frames that the device has lost.
func (c *capture) hold(frames int) { C.ks_capture_hold(c.c, C.uint32_t(frames)) }

func (c *capture) written() int64 { return int64(atomic.LoadUint64(c.write)) }
func (c *capture) lost() uint64   { return atomic.LoadUint64((*uint64)(unsafe.Pointer(&c.c.lost))) }
func (c *capture) callbacks() uint64 {
	return atomic.LoadUint64((*uint64)(unsafe.Pointer(&c.c.callbacks)))
}
func (c *capture) largest() int {
	return int(atomic.LoadUint64((*uint64)(unsafe.Pointer(&c.c.max_push))))
}
func (c *capture) stopped() bool {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&c.c.stopped))) != 0
}

// splice is a stretch of captured frames that no rendered frame will ever be aligned with: what came
// back while the ring was empty.
type splice struct{ at, frames int64 }

// aligner takes captured blocks so that the distance between a frame that is rendered and its echo
// among the captured ones is one number for the life of a stream.
//
// All counts run from the start of the stream. Frame w of the ring is played as frame w + missing of
// the device, where missing is what the ring could not deliver before. Frame c was captured when the
// device played frame c (the same callback does both), or a constant number of frames later where
// capture has a thread of its own. So the block rendered at w takes what begins at w + missing - lead,
// where lead is what the ring holds at most: those frames are always there by then. After an underrun
// missing has grown: then as many captured frames are left out, at the very place where the gap comes back.
type aligner struct {
	set     bool
	limit   int   // the ring's depth that lead was made for
	lead    int64 // frames
	w       int64 // ring frame of the next block
	at      int64 // captured frame of the next block
	missing int64
	gaps    [8]splice
	pending int
	late    int   // blocks in a row that were not there
	stood   int64 // where the capture's writer was when that began
	margin  int64 // least frames to spare since the window began
	base    int64 // what that was in the first one
	based   bool
	blocks  int // in this window
	slack   int64
	last    []float32 // what was delivered last, one a channel
}

// What the aligner has to report about one block.
type taken struct {
	gap       int  // frames that held the last value
	realigned bool // the distance has changed
}

func (a *aligner) reset() {
	last := a.last
	*a = aligner{last: last}
}

// take fills samples, one slice of BlockFrames a channel, for the block that goes into the ring next.
//
// Audio thread.
func (a *aligner) take(st *stream, samples [][]float32) (t taken) {
	c := st.capture
	written := c.written()
	limit := st.ahead()
	switch {
	case a.set && st.together && limit != a.limit:
		// The ring was made deeper for a device that takes more at a time than it said.
		a.set, t.realigned = false, true
	case a.set && a.late > lateBlocks && written > a.stood+BlockFrames:
		// Frames were lost on the capture's side.
		a.set, t.realigned = false, true
	case a.set && a.blocks >= windowBlocks && !st.together:
		// A server that has stumbled plays later than before, and two clocks drift apart: it shows in
		// how much is to spare, of which the least in a while is the same as long as all is well.
		if !a.based {
			a.based, a.base = true, a.margin
		} else if d := a.margin - a.base; d > mayStray || d < -mayStray {
			a.at += d
			a.lead -= d
			t.realigned = true
		}
		a.blocks, a.margin = 0, 1<<62
	}
	if !a.set {
		a.establish(st, written, limit)
	}
	if missing := st.ring.missing(); missing != a.missing {
		if a.set && a.pending < len(a.gaps) {
			a.gaps[a.pending] = splice{at: st.ring.gapAt() + a.missing - a.lead + int64(st.roundTrip()), frames: missing - a.missing}
			a.pending++
		}
		a.missing = missing
	}
	a.w += BlockFrames
	a.blocks++
	for i := 0; i < BlockFrames; {
		n := int64(BlockFrames - i)
		if a.pending > 0 {
			g := &a.gaps[0]
			if a.at >= g.at {
				a.at += g.frames
				copy(a.gaps[:], a.gaps[1:a.pending])
				a.pending--
				continue
			}
			n = min(n, g.at-a.at)
		}
		ready := written - a.at
		if i == 0 && a.set {
			a.margin = min(a.margin, ready-BlockFrames)
		}
		switch {
		case !a.set || a.at < 0:
			// The device has not captured yet.
			if a.set {
				n = min(n, -a.at)
			}
			a.fill(samples, i, int(n))
			a.at += n
		case ready <= 0 || ready > int64(c.capacity)-captureGuard:
			if ready > 0 {
				n = min(n, ready-(int64(c.capacity)-captureGuard))
			}
			a.fill(samples, i, int(n))
			a.at += n
			t.gap += int(n)
		default:
			n = min(n, ready)
			at := int(uint64(a.at) % c.capacity)
			n = min(n, int64(c.capacity)-int64(at))
			for k, s := range samples {
				s = s[i : i+int(n)]
				src := c.data[at*c.channels+k:]
				for f := range s {
					s[f] = src[f*c.channels]
				}
				a.last[k] = s[len(s)-1]
			}
			a.at += n
		}
		i += int(n)
	}
	if t.gap > 0 {
		if a.late++; a.late == 1 {
			a.stood = written
		}
	} else {
		a.late = 0
	}
	return t
}

const (
	lateBlocks   = 75  // 0.1 s at 48 kHz
	windowBlocks = 375 // 0.5 s
	mayStray     = 72  // frames, 1.5 ms
)

// establish decides where in what is captured the next block begins.
func (a *aligner) establish(st *stream, written int64, limit int) {
	if st.together {
		a.lead = int64(limit)
		a.at = a.w + st.ring.missing() - a.lead
		st.inside.Store(a.lead)
	} else {
		if written < BlockFrames*lateBlocks/2 || st.ring.consumed() == 0 {
			return // lumps of the start
		}
		a.slack = int64(st.capture.largest() + max(st.period, BlockFrames))
		a.at = max(written-BlockFrames-a.slack, 0)
		a.lead = a.w + st.ring.missing() - a.at
		st.inside.Store(int64(limit) + a.slack)
	}
	a.set, a.limit, a.late, a.pending, a.based = true, limit, 0, 0, false
	a.missing = st.ring.missing()
	a.blocks, a.margin = 0, 1<<62
}

func (a *aligner) fill(samples [][]float32, from, n int) {
	for k, s := range samples {
		for i := range s[from : from+n] {
			s[from+i] = a.last[k]
		}
	}
}
