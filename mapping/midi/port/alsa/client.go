//go:build linux

package alsa

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// device is the sequencer.
const device = "/dev/snd/seq"

// client is one open sequencer client.
type client struct {
	fd      int
	id      uint8
	watch   uint8 // our port that hears what comes and goes
	queue   int   // that stamps what arrives; −1: none
	changed chan struct{}
	done    chan struct{} // the reader has ended

	offset atomic.Int64 // of the queue's time to that of the process, ns
	lost   atomic.Uint64

	mu     sync.RWMutex // held to read while receive is called
	ports  map[uint8]*conn
	closed bool
}

// began is the origin of the process's time.
var began = time.Now()

// openClient opens the sequencer under a name.
func openClient(name string, changed chan struct{}) (c *client, err error) {
	fd, err := unix.Open(device, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("no ALSA sequencer: %w", &os.PathError{Op: "open", Path: device, Err: err})
	}
	c = &client{fd: fd, queue: -1, changed: changed, done: make(chan struct{}), ports: map[uint8]*conn{}}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
			c = nil
		}
	}()
	var id int32
	if err := ioctl(fd, ioClientID, &id); err != nil {
		return nil, fmt.Errorf("asking the ALSA sequencer for a client: %w", err)
	}
	c.id = uint8(id)
	info := clientInfo{client: id}
	if err := ioctl(fd, ioGetClientInfo, &info); err != nil {
		return nil, fmt.Errorf("reading the ALSA client: %w", err)
	}
	text(&info.name, name)
	if err := ioctl(fd, ioSetClientInfo, &info); err != nil {
		return nil, fmt.Errorf("naming the ALSA client: %w", err)
	}
	// The most that the kernel allows: a flood waits there rather than be lost.
	pool := clientPool{client: id}
	if ioctl(fd, ioGetClientPool, &pool) == nil {
		pool.inputPool = 2000
		_ = ioctl(fd, ioSetClientPool, &pool)
	}
	c.clock()
	watch := portInfo{addr: addr{client: c.id}, capability: capWrite | capNoExport, kind: typeApplication}
	text(&watch.name, name+" watch")
	if err := ioctl(fd, ioCreatePort, &watch); err != nil {
		return nil, fmt.Errorf("making a port of ALSA: %w", err)
	}
	c.watch = watch.addr.port
	// System:Announce. Without it the hub's polling does.
	_ = ioctl(fd, ioSubscribe, &subscription{sender: addr{0, 1}, dest: addr{c.id, c.watch}})
	go c.read()
	return c, nil
}

// clock starts the queue that stamps, and measures its distance from our time.
func (c *client) clock() {
	q := queueInfo{locked: 1}
	text(&q.name, "arrivals")
	if ioctl(c.fd, ioCreateQueue, &q) != nil {
		return
	}
	var e [eventSize]byte // start it, by the system's timer port 0:0
	e[0], e[3] = evStart, queueDirect
	e[16] = byte(q.queue)
	if _, err := unix.Write(c.fd, e[:]); err != nil {
		return
	}
	c.queue = int(q.queue)
	if !c.measure() {
		c.queue = -1
	}
}

// measure compares the queue's time with ours, by the quickest of some looks.
func (c *client) measure() bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.queue < 0 || c.closed {
		return false
	}
	best := time.Duration(1 << 62)
	for range 5 {
		s := queueStatus{queue: int32(c.queue)}
		before := time.Since(began)
		err := ioctl(c.fd, ioQueueStatus, &s)
		took := time.Since(began) - before
		if err != nil || s.running == 0 {
			return false
		}
		if took < best {
			best = took
			c.offset.Store(int64(before+took/2) - queueTime(s.sec, s.nsec))
		}
	}
	return true
}

func queueTime(sec, nsec uint32) int64 { return int64(sec)*1e9 + int64(nsec) }

// at is the time of an event that the queue has stamped.
func (c *client) at(head []byte) time.Time {
	now := time.Now()
	if c.queue < 0 || head[3] != byte(c.queue) {
		return now
	}
	at := began.Add(time.Duration(queueTime(native.Uint32(head[4:]), native.Uint32(head[8:])) + c.offset.Load()))
	if d := now.Sub(at); d < 0 || d > time.Minute {
		return now
	}
	return at
}

// text puts a name into a field, ended with a zero.
func text(field *[64]byte, s string) {
	n := copy(field[:63], s)
	clear(field[n:])
}

func untext(field *[64]byte) string {
	b, _, _ := bytes.Cut(field[:], []byte{0})
	return string(b)
}

// read takes what arrives, on a thread of its own.
func (c *client) read() {
	runtime.LockOSThread()
	defer close(c.done)
	// As that of the hub's senders; it reads, stamps and goes back to sleep.
	_ = unix.SchedSetAttr(0, &unix.SchedAttr{
		Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Flags: unix.SCHED_FLAG_RESET_ON_FORK, Priority: 40,
	}, 0)
	buf := make([]byte, 64<<10)
	var out []byte
	for {
		n, err := unix.Read(c.fd, buf)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
			continue
		case errors.Is(err, unix.ENOSPC): // said once when the kernel's queue was full
			c.lost.Add(1)
			continue
		case err != nil:
			c.mu.Lock()
			c.closed = true
			c.mu.Unlock()
			return
		}
		for b := buf[:n]; ; {
			e, rest, ok := next(b)
			if !ok {
				break
			}
			b = rest
			dest := addr{e.head[14], e.head[15]}
			if dest.port == c.watch {
				if e.head[0] == evUser && e.head[12] == c.id {
					return // our own word that it is over
				}
				c.noted(e)
				continue
			}
			c.mu.RLock()
			if p := c.ports[dest.port]; p != nil && p.receive != nil {
				out = decode(out[:0], e)
				p.arrived(c.at(e.head), out, e.head[0] == evSysEx)
			}
			c.mu.RUnlock()
		}
	}
}

// noted tells of what came or went, but for what we do ourselves.
func (c *client) noted(e event) {
	k := e.head[0]
	switch {
	case k >= evClientStart && k <= evPortChange && e.head[16] != c.id:
	case k == evSubscribed || k == evUnsubscribed: // sender, dest
	default:
		return
	}
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// close ends the reader and gives all ports back.
func (c *client) close() {
	var e [eventSize]byte
	e[0], e[3], e[13] = evUser, queueDirect, c.watch
	e[14], e[15] = c.id, c.watch
	if _, err := unix.Write(c.fd, e[:]); err == nil {
		<-c.done
	}
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = unix.Close(c.fd)
}
