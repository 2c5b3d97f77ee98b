//go:build cgo && (linux || darwin)

package jack

// #cgo CFLAGS: -O2 -std=gnu11 -Wall
// #cgo linux LDFLAGS: -lpthread -lm -ldl
// #include <stdlib.h>
// #include "jack.h"
import "C"

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
	"unsafe"
)

// Sizes of the rings: what 40 ms of a loaded scheduler can pile up several
// times over. A short message takes 24 bytes.
const (
	inRing  = 2 << 20
	outRing = 512 << 10
)

// epoch ties Go's clock to CLOCK_MONOTONIC, on which the C side counts.
var epoch, epochNS = func() (time.Time, int64) {
	var at time.Time
	var ns int64
	best := time.Hour
	for range 16 {
		a := time.Now()
		n := int64(C.kj_now_ns())
		b := time.Now()
		if d := b.Sub(a); d < best {
			best, at, ns = d, a.Add(d/2), n
		}
	}
	return at, ns
}()

// timeOf converts a time of the C side.
func timeOf(ns int64) time.Time { return epoch.Add(time.Duration(ns - epochNS)) }

// nanoseconds converts a time for the C side; the zero time is 0, which means
// at once.
func nanoseconds(at time.Time) int64 {
	if at.IsZero() {
		return 0
	}
	if at == at.Round(0) {
		// It has no monotonic reading: it is as far from now as the wall clock
		// says now, whatever was done to that since the start.
		now := time.Now()
		at = now.Add(at.Sub(now.Round(0)))
	}
	return max(epochNS+int64(at.Sub(epoch)), 1)
}

// load finds JACK's library.
func load() error {
	if why := C.kj_load(); why != nil {
		return fmt.Errorf("%w: %s", ErrNoServer, C.GoString(why))
	}
	return nil
}

// message returns the last thing that the library had to say.
func message() string {
	var buf [200]C.char
	C.kj_message(&buf[0], C.uint32_t(len(buf)))
	return strings.TrimSpace(C.GoString(&buf[0]))
}

// client is one opening of a JACK client, from a server's coming to its going.
// Its methods belong to the driver's one worker, but for wait and read, which
// belong to the goroutine that drains it.
type client struct {
	c       *C.kj
	name    string
	stop    atomic.Bool
	drained chan struct{}
	ahead   atomic.Int64 // see Out.Ahead
}

// openClient opens a client on a running server.
func openClient(name, server string) (*client, error) {
	n, s := C.CString(name), C.CString(server)
	defer C.free(unsafe.Pointer(n))
	defer C.free(unsafe.Pointer(s))
	var status C.int
	c := C.kj_open(n, s, inRing, &status)
	if c == nil {
		const (
			serverFailed = 0x10
			versionError = 0x400
		)
		switch {
		case status&versionError != 0:
			return nil, fmt.Errorf("%w: its protocol is not the one of the installed library", ErrNoServer)
		case status&serverFailed != 0 || status == 0:
			return nil, fmt.Errorf("%w runs%s", ErrNoServer, named(server))
		}
		return nil, fmt.Errorf("%w takes us as a client%s: status %#x, %s", ErrNoServer, named(server), int(status), message())
	}
	k := &client{c: c, name: C.GoString(C.kj_name(c)), drained: make(chan struct{})}
	k.measure()
	return k, nil
}

func named(server string) string {
	if server == "" {
		return ""
	}
	return fmt.Sprintf(" under the name %q", server)
}

// margin is what a goroutine may be late by on a machine that is busy but not
// lost, on top of the periods that JACK needs.
const margin = 2 * time.Millisecond

// measure looks at the length of a cycle.
func (k *client) measure() {
	var s C.kj_stats
	C.kj_read_stats(k.c, &s)
	if s.rate > 0 {
		k.ahead.Store(int64(2*time.Duration(s.period)*time.Second/time.Duration(s.rate) + margin))
	}
}

func (k *client) dead() bool { return C.kj_dead(k.c) != 0 }

// why says how the server parted from us.
func (k *client) why() string { return C.GoString(C.kj_why(k.c)) }

// wait blocks until there is something to read or to look at, or for timeout.
func (k *client) wait(timeout time.Duration) {
	C.kj_wait(k.c, C.uint32_t(timeout.Milliseconds()))
}

func (k *client) wake() { C.kj_wake(k.c) }

// read takes whole records out of the ring into buf and calls each for them.
// It returns how many.
func (k *client) read(buf []byte, each func(id uint32, at time.Time, b []byte)) (records int) {
	n := int(C.kj_read(k.c, (*C.uint8_t)(unsafe.Pointer(&buf[0])), C.uint32_t(len(buf))))
	for b := buf[:n]; len(b) >= 16; records++ {
		at := int64(binary.NativeEndian.Uint64(b))
		id := binary.NativeEndian.Uint32(b[8:])
		size := int(binary.NativeEndian.Uint32(b[12:]))
		each(id, timeOf(at), b[16:16+size])
		b = b[16+(size+7)&^7:]
	}
	return records
}

// pass waits until some cycles have passed, half a second at most.
func (k *client) pass(cycles uint64) {
	var s C.kj_stats
	C.kj_read_stats(k.c, &s)
	until := uint64(s.cycles) + cycles
	for end := time.Now().Add(500 * time.Millisecond); uint64(s.cycles) < until && !k.dead() && time.Now().Before(end); {
		time.Sleep(500 * time.Microsecond)
		C.kj_read_stats(k.c, &s)
	}
}

// close gives the client back once nobody reads it any more.
func (k *client) close() {
	k.stop.Store(true)
	k.wake()
	<-k.drained
	C.kj_close(k.c)
	k.c = nil
}

// list turns the C side's list of names into a slice, and frees it.
func list(c *C.char) []string {
	if c == nil {
		return nil
	}
	defer C.kj_free(unsafe.Pointer(c))
	var names []string
	for p := c; *p != 0; {
		s := C.GoString(p)
		names = append(names, s)
		p = (*C.char)(unsafe.Add(unsafe.Pointer(p), len(s)+1))
	}
	return names
}

// Flags of ports, as JACK has them.
const (
	receives = 1
	sends    = 2
)

// ports lists the names of the MIDI ports with a flag.
func (k *client) ports(flag int) []string { return list(C.kj_ports(k.c, C.ulong(flag))) }

// exists tells whether a port of any client is there.
func (k *client) exists(name string) bool {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	return C.kj_exists(k.c, n) != 0
}

// alias returns what a port of hardware is called by its device, or "".
func (k *client) alias(name string) string {
	n := C.CString(name)
	defer C.free(unsafe.Pointer(n))
	var buf [400]C.char
	C.kj_alias(k.c, n, &buf[0], C.uint32_t(len(buf)))
	return C.GoString(&buf[0])
}

// connect lays a cable; one that is there already is no error.
func (k *client) connect(from, to string) error {
	f, t := C.CString(from), C.CString(to)
	defer C.free(unsafe.Pointer(f))
	defer C.free(unsafe.Pointer(t))
	if C.kj_connect(k.c, f, t) != 0 {
		return fmt.Errorf("connecting %s to %s: %s", from, to, message())
	}
	return nil
}
