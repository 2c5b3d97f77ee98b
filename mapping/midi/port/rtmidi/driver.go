//go:build cgo && !nomidi

package rtmidi

// #include <stdlib.h>
// #include "shim.h"
import "C"

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	_ "gitlab.com/gomidi/midi/v2/drivers/rtmididrv/imported/rtmidi" // the library itself

	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port/alsa"
)

// Driver opens the ports of the system. It is safe for any number of
// goroutines; all calls but Send are made on one thread, which CoreMIDI wants.
type Driver struct {
	client string
	calls  chan func()
	quit   chan struct{}
	once   sync.Once
	number atomic.Int64 // of the connections made, for their names

	// Of the thread:
	in, out *C.ks_port // for looking at the lists
	again   time.Time  // before which a system that failed is not asked
}

// New makes a driver. client is the name under which the system shows it, and
// by which it knows its own ports. It touches nothing before it is asked.
func New(client string) *Driver {
	d := &Driver{client: client, calls: make(chan func()), quit: make(chan struct{})}
	go d.work()
	return d
}

// Name is "alsa", "coremidi" or "winmm".
func (d *Driver) Name() string {
	switch runtime.GOOS {
	case "darwin":
		return "coremidi"
	case "windows":
		return "winmm"
	}
	return "alsa"
}

func (d *Driver) work() {
	runtime.LockOSThread()
	for {
		select {
		case f := <-d.calls:
			f()
		case <-d.quit:
			d.forget()
			return
		}
	}
}

// do calls f on the thread of the driver.
func (d *Driver) do(f func()) error {
	done := make(chan struct{})
	select {
	case d.calls <- func() { f(); close(done) }:
		<-done
		return nil
	case <-d.quit:
		return fmt.Errorf("MIDI of the system: %w", port.ErrClosed)
	}
}

// Close lets the lists go. Ports that are open stay so.
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.quit) })
	return nil
}

// Ports lists the ports of all others.
func (d *Driver) Ports() (ins, outs []string, err error) {
	if e := d.do(func() { ins, outs, err = d.ports() }); e != nil {
		return nil, nil, e
	}
	return d.others(ins), d.others(outs), err
}

// others leaves out our own.
func (d *Driver) others(names []string) (others []string) {
	for _, n := range names {
		if !strings.HasPrefix(n, d.client) {
			others = append(others, n)
		}
	}
	return others
}

// patience is how long a system that failed is not asked again: the library
// prints its failures.
const patience = 5 * time.Second

// look makes the two ports that lists are read with, or says why not.
func (d *Driver) look() error {
	if err := present(); err != nil {
		d.forget()
		return err
	}
	if d.in != nil {
		return nil
	}
	if time.Now().Before(d.again) {
		return errors.New("the MIDI of the system failed, and is asked again later")
	}
	if v := C.GoString(C.ks_version()); !strings.HasPrefix(v, "6.") {
		return fmt.Errorf("RtMidi is %s, not 6: its structures are not known", v)
	}
	name := C.CString(d.client)
	defer C.free(unsafe.Pointer(name))
	d.in, d.out = C.ks_in(name), C.ks_out(name)
	if d.in == nil || d.out == nil {
		d.forget()
		d.again = time.Now().Add(patience)
		return fmt.Errorf("the system's MIDI (%s) could not be opened", d.Name())
	}
	return nil
}

func (d *Driver) forget() {
	if d.in != nil {
		C.ks_free_in(d.in)
	}
	if d.out != nil {
		C.ks_free_out(d.out)
	}
	d.in, d.out = nil, nil
}

// ports lists all, our own too, in the order of their indexes.
func (d *Driver) ports() (ins, outs []string, err error) {
	if err := d.look(); err != nil {
		return nil, nil, err
	}
	ins, outs = list(d.in), list(d.out)
	if len(ins)+len(outs) == 0 {
		// There is a port at least on a system that lives; or this one is
		// another, and is looked at anew.
		d.forget()
	}
	return ins, outs, nil
}

// list reads the names of the ports and makes them unique, since not every
// system does.
func list(p *C.ks_port) []string {
	n := int(C.ks_count(p))
	var names []string
	seen := map[string]int{}
	for i := range n {
		var b [256]C.char
		name := fmt.Sprintf("port %d", i+1)
		if C.ks_name(p, C.int(i), &b[0], C.int(len(b))) == 0 {
			name = C.GoString(&b[0])
		}
		seen[name]++
		if k := seen[name]; k > 1 {
			name = fmt.Sprintf("%s (%d)", name, k)
		}
		names = append(names, name)
	}
	return names
}

// Shown leaves out the numbers that ALSA gives a port at each plugging, and the
// name of its client where that of the port says it too.
func (d *Driver) Shown(name string) string { return alsa.Shown(name) }

// handles finds an input from the thread of its callback.
var handles struct {
	sync.RWMutex
	last uintptr
	m    map[uintptr]func(time.Time, []byte)
}

func register(receive func(time.Time, []byte)) uintptr {
	handles.Lock()
	defer handles.Unlock()
	if handles.m == nil {
		handles.m = map[uintptr]func(time.Time, []byte){}
	}
	handles.last++
	handles.m[handles.last] = receive
	return handles.last
}

func unregister(id uintptr) {
	handles.Lock()
	defer handles.Unlock()
	delete(handles.m, id)
}

//export ksArrived
func ksArrived(id C.uintptr_t, b unsafe.Pointer, n C.size_t) {
	at := time.Now()
	handles.RLock()
	receive := handles.m[uintptr(id)]
	handles.RUnlock()
	if receive != nil && n > 0 {
		receive(at, unsafe.Slice((*byte)(b), int(n)))
	}
}

// conn is an open port, in or out.
type conn struct {
	d      *Driver
	p      *C.ks_port
	id     uintptr // of an input's callback
	output bool
	client string // our name at this connection
	name   string // of the other end; "" of a virtual port

	mu     sync.Mutex // Close against Send
	closed bool
}

// OpenIn opens an input.
func (d *Driver) OpenIn(name string, receive func(at time.Time, b []byte)) (io.Closer, error) {
	c, err := d.open(name, false, receive)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// OpenOut opens an output.
func (d *Driver) OpenOut(name string) (port.Out, error) {
	c, err := d.open(name, true, nil)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// Virtual makes a pair of ports with a name.
func (d *Driver) Virtual(name string, receive func(at time.Time, b []byte)) (io.Closer, port.Out, error) {
	if runtime.GOOS == "windows" {
		return nil, nil, port.ErrNoVirtual
	}
	in, err := d.make(-1, name, d.client, false, receive)
	if err != nil {
		return nil, nil, err
	}
	out, err := d.make(-1, name, d.client, true, nil)
	if err != nil {
		_ = in.Close()
		return nil, nil, err
	}
	return in, out, nil
}

func (d *Driver) open(name string, output bool, receive func(time.Time, []byte)) (*conn, error) {
	index, way := -1, "in"
	if output {
		way = "out"
	}
	err := errors.New("is not there")
	if e := d.do(func() {
		ins, outs, e := d.ports()
		if e != nil {
			err = e
			return
		}
		if output {
			ins = outs
		}
		for i, n := range ins {
			if n == name {
				index = i
			}
		}
	}); e != nil {
		return nil, e
	}
	if index < 0 {
		return nil, fmt.Errorf("opening MIDI %s %q: %w", way, name, err)
	}
	client := fmt.Sprintf("%s %s %d: %s", d.client, way, d.number.Add(1), alsa.Shown(name))
	if len(client) > 60 { // ALSA keeps 63
		client = client[:60]
	}
	c, err := d.make(index, name, client, output, receive)
	if err != nil {
		return nil, err
	}
	if !c.Alive() {
		// The list has changed since it was read, and the index means another.
		_ = c.Close()
		return nil, fmt.Errorf("opening MIDI %s %q: the ports have changed meanwhile", way, name)
	}
	return c, nil
}

// make opens the port of an index, or a virtual one at −1.
func (d *Driver) make(index int, name, client string, output bool, receive func(time.Time, []byte)) (*conn, error) {
	c := &conn{d: d, output: output, client: client, name: name}
	title := d.client
	if index < 0 {
		c.name, title = "", name
	}
	failed := errors.New("the system refuses it")
	if e := d.do(func() {
		if err := present(); err != nil {
			failed = err
			return
		}
		cclient, ctitle := C.CString(client), C.CString(title)
		defer C.free(unsafe.Pointer(cclient))
		defer C.free(unsafe.Pointer(ctitle))
		if output {
			if c.p = C.ks_out(cclient); c.p == nil {
				return
			}
			if C.ks_open_out(c.p, C.int(index), ctitle) != 0 {
				C.ks_free_out(c.p)
				c.p = nil
			}
			return
		}
		if c.p = C.ks_in(cclient); c.p == nil {
			return
		}
		c.id = register(receive)
		if C.ks_open_in(c.p, C.int(index), ctitle, C.uintptr_t(c.id)) != 0 {
			C.ks_free_in(c.p)
			unregister(c.id)
			c.p = nil
		}
	}); e != nil {
		return nil, e
	}
	if c.p == nil {
		return nil, fmt.Errorf("opening MIDI port %q: %w", name, failed)
	}
	return c, nil
}

// Send sends whole messages at once.
func (c *conn) Send(_ time.Time, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return port.ErrClosed
	}
	if C.ks_send(c.p, (*C.uchar)(unsafe.Pointer(&b[0])), C.int(len(b))) != 0 {
		return fmt.Errorf("sending to MIDI port %q: the system refuses it", c.name)
	}
	return nil
}

// Ahead is 0: the library has no time for outputs.
func (c *conn) Ahead() time.Duration { return 0 }

// Close closes the port. When it returns, receive is not called any more.
func (c *conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	c.mu.Unlock()
	free := func() {
		if c.output {
			C.ks_free_out(c.p)
		} else {
			C.ks_free_in(c.p)
			unregister(c.id)
		}
	}
	if c.d.do(free) != nil { // the driver was closed before
		free()
	}
	return nil
}
