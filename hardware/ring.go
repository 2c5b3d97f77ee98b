package hardware

// #cgo CFLAGS: -O2 -std=gnu11 -Wall
// #cgo linux LDFLAGS: -lpthread -lm
// #include "ring.h"
import "C"

import (
	"errors"
	"math"
	"sync/atomic"
	"time"
	"unsafe"
)

// ring is the Go end of the sample ring in C memory (ring.h). Its producer is the render goroutine,
// its consumer the device thread, which never enters Go.
type ring struct {
	c        *C.ks_ring
	data     []float32
	words    []int32 // the same memory, for a ring of integers; nil otherwise
	channels int
	capacity uint64
	write    *uint64
	read     *uint64
	limit    *uint64
}

// lagBuckets is how many lags are told apart; the last one is that and more.
const lagBuckets = C.KS_LAGS

// newRing makes a ring for channels channels that holds at most capacity frames.
// Channels in cv hold their value in an underrun, the others fade out over fade frames.
func newRing(channels, capacity int, cv ChannelSet, fade int, rate float64) (*ring, error) {
	c := C.ks_ring_new(C.uint32_t(channels), C.uint32_t(capacity), C.uint64_t(cv), C.uint32_t(fade), C.double(rate))
	if c == nil {
		return nil, errors.New("no memory for the sample ring")
	}
	return &ring{
		c:        c,
		data:     unsafe.Slice((*float32)(unsafe.Pointer(c.data)), channels*capacity),
		channels: channels,
		capacity: uint64(capacity),
		write:    (*uint64)(unsafe.Pointer(&c.write)),
		read:     (*uint64)(unsafe.Pointer(&c.read)),
		limit:    (*uint64)(unsafe.Pointer(&c.limit)),
	}, nil
}

// free gives the memory back. Only when neither end can touch the ring any more.
func (r *ring) free() {
	C.ks_ring_free(r.c)
	r.c, r.data = nil, nil
}

// room reports how many frames may be written now; negative after the limit was lowered.
//
// Audio thread.
func (r *ring) room() int {
	return int(atomic.LoadUint64(r.limit)) - int(atomic.LoadUint64(r.write)-atomic.LoadUint64(r.read))
}

// wait blocks until frames frames may be written, or for timeout. It costs no C call when there is room.
func (r *ring) wait(frames int, timeout time.Duration) bool {
	if r.room() >= frames {
		return true
	}
	return C.ks_ring_wait(r.c, C.uint32_t(frames), C.uint32_t(timeout.Milliseconds())) == 1
}

// wakeProducer ends a wait early (it then looks again, and may go back to sleep).
func (r *ring) wakeProducer() { C.ks_ring_wake(r.c) }

// push copies interleaved frames into the ring, clipped to ±1 (what a converter does anyway, and
// what keeps a wild value from wrapping around in an integer format). The caller has made sure of room.
//
// Audio thread.
func (r *ring) push(frames []float32) (clipped int) {
	w := atomic.LoadUint64(r.write)
	n := uint64(len(frames) / r.channels)
	src := frames
	for at := w % r.capacity; len(src) > 0; at = 0 {
		run := r.data[at*uint64(r.channels):]
		if len(run) > len(src) {
			run = run[:len(src)]
		}
		part := src[:len(run)]
		for i, v := range part {
			if v > 1 {
				v = 1
				clipped++
			} else if v < -1 {
				v = -1
				clipped++
			}
			run[i] = v
		}
		src = src[len(run):]
	}
	atomic.StoreUint64(r.write, w+n)
	return clipped
}

// setGates says which of the channels that hold fall at once when a shortage does not end, and in a panic.
// Before use.
func (r *ring) setGates(gates ChannelSet) { r.c.gate_mask = C.uint64_t(gates) }

// setGateBits says which bits of a channel's words, left-justified, are gates, which fall in a panic; the
// others pass. Without it all are. Before use, after integers.
func (r *ring) setGateBits(channel int, bits int32) { r.c.gate_bits[channel] = C.int32_t(bits) }

// setPanics has the ring look at a count of panics. Before use.
func (r *ring) setPanics(p *panicCount) { r.c.panics = p.c }

// answer tells the device thread that the producer has fallen silent in a panic, and all before it: from
// the ring's frame fresh on.
//
// Audio thread.
func (r *ring) answer(number uint32, fresh uint64) {
	atomic.StoreUint64((*uint64)(unsafe.Pointer(&r.c.fresh)), fresh)
	atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.c.answered)), number)
}

// panicCount counts panics for all rings of a device (ks_panics).
type panicCount struct{ c *C.ks_panics }

func newPanicCount() (*panicCount, error) {
	c := C.ks_panics_new()
	if c == nil {
		return nil, errors.New("no memory for a device")
	}
	return &panicCount{c}, nil
}

// asked points at the count.
func (p *panicCount) asked() *uint32 { return (*uint32)(unsafe.Pointer(&p.c.asked)) }

// integers makes the ring one of 32-bit integers, in which the channels of exact are words. Before use.
func (r *ring) integers(exact ChannelSet) {
	C.ks_ring_integers(r.c, C.uint64_t(exact))
	r.words = unsafe.Slice((*int32)(unsafe.Pointer(r.c.data)), len(r.data))
}

// pushInts is push for a ring of integers: frames are rounded and clipped, except for the channels
// that have words, which go in as they are.
//
// Audio thread.
func (r *ring) pushInts(frames []float32, words [][]int32) (clipped int) {
	w := atomic.LoadUint64(r.write)
	n := len(frames) / r.channels
	for i := range n {
		at := int((w + uint64(i)) % r.capacity * uint64(r.channels))
		cell, frame := r.words[at:at+r.channels], frames[i*r.channels:(i+1)*r.channels]
		for c, v := range frame {
			if words[c] != nil {
				cell[c] = words[c][i]
				continue
			}
			x := math.RoundToEven(float64(v) * (1 << 31))
			switch {
			case x > math.MaxInt32:
				cell[c] = math.MaxInt32
				if v > 1 {
					clipped++
				}
			case x < math.MinInt32:
				cell[c] = math.MinInt32
				clipped++
			default:
				cell[c] = int32(x)
			}
		}
	}
	atomic.StoreUint64(r.write, w+uint64(n))
	return clipped
}

// drain is the consumer's side for callbacks that could not avoid Go, and for tests.
func (r *ring) drain(out []float32) {
	if len(out) == 0 {
		return
	}
	C.ks_ring_drain(r.c, unsafe.Pointer(&out[0]), C.uint32_t(len(out)/r.channels))
}

// lastValues is what the outputs of a ring of floats showed last; for tests, when nothing drains.
func (r *ring) lastValues() []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(&r.c.last)), r.channels)
}

// drainInts is drain for a ring of integers.
func (r *ring) drainInts(out []int32) {
	if len(out) == 0 {
		return
	}
	C.ks_ring_drain(r.c, unsafe.Pointer(&out[0]), C.uint32_t(len(out)/r.channels))
}

func (r *ring) load64(p *C.uint64_t) uint64 { return atomic.LoadUint64((*uint64)(unsafe.Pointer(p))) }
func (r *ring) swap64(p *C.uint64_t, v uint64) uint64 {
	return atomic.SwapUint64((*uint64)(unsafe.Pointer(p)), v)
}
func (r *ring) load32(p *C.uint32_t) uint32 { return atomic.LoadUint32((*uint32)(unsafe.Pointer(p))) }

func (r *ring) callbacks() uint64      { return r.load64(&r.c.callbacks) }
func (r *ring) underruns() uint64      { return r.load64(&r.c.underruns) }
func (r *ring) underrunFrames() uint64 { return r.load64(&r.c.underrun_frames) }
func (r *ring) late() uint64           { return r.load64(&r.c.late) }

// missing is how many frames the device asked for and the ring did not have; gapAt the ring's frame
// before which the last of them were missing.
func (r *ring) missing() int64 { return int64(r.load64(&r.c.missing)) }
func (r *ring) gapAt() int64   { return int64(r.load64(&r.c.gap_at)) }

// ground tells the device thread to bring all outputs to 0 V, whatever the producer does, and to keep
// them there; grounded is the answer.
func (r *ring) ground()        { atomic.StoreUint32((*uint32)(unsafe.Pointer(&r.c.ground)), 1) }
func (r *ring) grounded() bool { return r.load32(&r.c.at_ground) != 0 }

// grounding reports that they are on their way.
func (r *ring) grounding() bool { return r.load32(&r.c.ground) != 0 && !r.grounded() }

func (r *ring) consumed() uint64 { return atomic.LoadUint64(r.read) }
func (r *ring) stopped() bool    { return r.load32(&r.c.stopped) != 0 }
func (r *ring) load32sched() uint32 {
	return atomic.LoadUint32((*uint32)(unsafe.Pointer(&r.c.sched_priority)))
}
func (r *ring) fill() int {
	return int(atomic.LoadUint64(r.write) - atomic.LoadUint64(r.read))
}
func (r *ring) setLimit(frames int) {
	if uint64(frames) > r.capacity {
		frames = int(r.capacity)
	}
	atomic.StoreUint64(r.limit, uint64(frames))
	r.wakeProducer()
}

// setLatePeriods says after how many of its own periods a callback is late.
func (r *ring) setLatePeriods(n int) { r.c.late_periods = C.uint32_t(n) }

// lags returns, for each number of blocks, how many callbacks found the ring that much below its depth.
func (r *ring) lags() (n [lagBuckets]uint64) {
	for i := range n {
		n[i] = r.load64(&r.c.lags[i])
	}
	return n
}

// forgetStart drops what was counted while the device filled its own buffer.
func (r *ring) forgetStart() {
	for i := range lagBuckets {
		r.swap64(&r.c.lags[i], 0)
	}
	r.takeMaxRequest()
	r.takeMinFill()
}

// takeMinFill returns the lowest fill since it was last asked, and starts again. -1: no callback since.
func (r *ring) takeMinFill() int {
	v := r.swap64(&r.c.min_fill, math.MaxUint64)
	if v == math.MaxUint64 {
		return -1
	}
	return int(v)
}

// takeMaxRequest returns the largest callback in frames since it was last asked, and starts again.
func (r *ring) takeMaxRequest() int { return int(r.swap64(&r.c.max_request, 0)) }

// clock is the consumer's filtered clock: device frame was consumed at time (monotonic seconds).
type clock struct {
	time, secondsPerFrame float64
	frame, missing        uint64
}

// clock reads the consistent state that the device thread published last.
func (r *ring) clock() clock {
	for {
		s := r.load64(&r.c.seq)
		k := clock{
			time:            math.Float64frombits(r.load64(&r.c.clock_time)),
			secondsPerFrame: math.Float64frombits(r.load64(&r.c.clock_period)),
			frame:           r.load64(&r.c.clock_frame),
			missing:         r.load64(&r.c.clock_missing),
		}
		if s&1 == 0 && s == r.load64(&r.c.seq) {
			return k
		}
	}
}

// soundEnds is when the last frame in the ring would have been taken, had the callbacks gone on
// (monotonic nanoseconds); 0 when there never was one.
func (r *ring) soundEnds() uint64 {
	k := r.clock()
	if k.secondsPerFrame == 0 {
		return 0
	}
	left := float64(r.load64(&r.c.frames)-k.frame) + float64(r.fill())
	return uint64((k.time + left*k.secondsPerFrame) * 1e9)
}

// monotonic is the clock that the device thread stamps its callbacks with, in nanoseconds.
func monotonic() uint64 { return uint64(C.ks_now_ns()) }

// askRealTime asks SCHED_FIFO for the calling thread, which the caller has locked.
// It returns the priority that was granted (it may be lower than asked) or why none was.
func askRealTime(priority int) (granted int, errno int) {
	var got C.int
	e := C.ks_thread_fifo(C.int(priority), &got)
	return int(got), int(e)
}

// stressRing drives a ring from two C threads with a known pattern and returns the number of wrong samples.
func stressRing(channels, capacity int, frames uint64, seed uint32) uint64 {
	return uint64(C.ks_ring_stress(C.uint32_t(channels), C.uint32_t(capacity), C.uint64_t(frames), C.uint32_t(seed)))
}

// nullDevice drains a ring in real time on a C thread of its own and hears nothing.
type nullDevice struct{ c *C.ks_null }

// startNull starts one; since (monotonic nanoseconds, 0 for now) is when its time began, so that it
// catches up with the time that a lost device left unplayed.
func startNull(r *ring, period int, rate float64, since uint64) (*nullDevice, error) {
	n := C.ks_null_start(r.c, C.uint32_t(period), C.double(rate), C.uint64_t(since))
	if n == nil {
		return nil, errors.New("cannot start the thread of the null device")
	}
	return &nullDevice{n}, nil
}

func (n *nullDevice) stop() { C.ks_null_stop(n.c) }
