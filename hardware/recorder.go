package hardware

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// recordBuffer is how long the disk may stall before a recording loses sound.
const recordBuffer = 5 * time.Second

// RecordStats tell what a recording holds.
type RecordStats struct {
	Path    string `json:"path"`
	Frames  uint64 `json:"frames"`  // written
	Dropped uint64 `json:"dropped"` // frames lost because the disk did not keep up for several seconds
}

// recorder carries frames from the render goroutine to a file: a ring that the first fills without
// ever waiting, and a goroutine that looks into it 50 times a second and writes.
type recorder struct {
	path     string
	channels uint64
	buf      []float32
	size     uint64 // frames
	head     atomic.Uint64
	tail     atomic.Uint64
	dropped  atomic.Uint64
	written  atomic.Uint64
	wav      *WAVWriter
	quit     chan struct{}
	done     chan struct{}
	mu       sync.Mutex
	err      error
}

func newRecorder(path string, rate, channels int) (*recorder, error) {
	wav, err := CreateNewWAV(path, rate, channels)
	if err != nil {
		return nil, err
	}
	size := uint64(float64(rate) * recordBuffer.Seconds())
	r := &recorder{
		path: path, channels: uint64(channels), size: size, buf: make([]float32, size*uint64(channels)),
		wav: wav, quit: make(chan struct{}), done: make(chan struct{}),
	}
	go r.run()
	return r, nil
}

// push hands over interleaved frames; when there is no room they are dropped and counted.
//
// Audio thread.
func (r *recorder) push(frames []float32) {
	n := uint64(len(frames)) / r.channels
	head := r.head.Load()
	if head+n-r.tail.Load() > r.size {
		r.dropped.Add(n)
		return
	}
	at := head % r.size * r.channels
	k := copy(r.buf[at:], frames)
	copy(r.buf, frames[k:])
	r.head.Store(head + n)
}

func (r *recorder) run() {
	defer close(r.done)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			r.flush()
		case <-r.quit:
			r.flush()
			if err := r.wav.Close(); err != nil {
				r.fail(err)
			}
			return
		}
	}
}

// flush writes everything that is in the ring. After an error it only empties it.
func (r *recorder) flush() {
	for {
		tail, head := r.tail.Load(), r.head.Load()
		if tail == head {
			break
		}
		at := tail % r.size
		n := min(head-tail, r.size-at, 8192)
		if r.failed() == nil {
			if err := r.wav.Write(r.buf[at*r.channels : (at+n)*r.channels]); err != nil {
				r.fail(err)
			} else {
				r.written.Add(n)
			}
		}
		r.tail.Store(tail + n)
	}
	// A stretch without sound must not leave an old header behind either.
	if r.failed() == nil && time.Since(r.wav.saved) >= headerEvery {
		if err := r.wav.Sync(); err != nil {
			r.fail(err)
		}
	}
}

func (r *recorder) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil {
		r.err = err
	}
}

func (r *recorder) failed() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

func (r *recorder) stats() RecordStats {
	return RecordStats{Path: r.path, Frames: r.written.Load(), Dropped: r.dropped.Load()}
}

// stop completes the file. The producer must be gone.
func (r *recorder) stop() (RecordStats, error) {
	close(r.quit)
	<-r.done
	err := r.failed()
	if d := r.dropped.Load(); err == nil && d > 0 {
		err = fmt.Errorf("recording %s lacks %d frames: the disk did not keep up; record to a faster one", r.path, d)
	}
	return r.stats(), err
}
