//go:build linux

package alsa

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/midi/port"
)

// Driver is one client of the sequencer. It is safe for any number of
// goroutines.
type Driver struct {
	name    string
	changed chan struct{}

	mu     sync.Mutex
	c      *client
	closed bool
}

// New makes a driver. name is that of the client, by which it and others of its
// kind are known; "" is "k8s-synth". It touches nothing before it is asked.
func New(name string) *Driver {
	if name == "" {
		name = "k8s-synth"
	}
	return &Driver{name: name, changed: make(chan struct{}, 1)}
}

// Name is "alsa".
func (d *Driver) Name() string { return "alsa" }

// Shown leaves out what a player does not want to read, see Shown.
func (d *Driver) Shown(name string) string { return Shown(name) }

// Changed tells that a port has come or gone, or that somebody has connected.
func (d *Driver) Changed() <-chan struct{} { return d.changed }

// Lost is how often the kernel's queue was full before it was read.
func (d *Driver) Lost() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.c == nil {
		return 0
	}
	return d.c.lost.Load()
}

// attach returns the client, and opens it if there is none that lives.
func (d *Driver) attach() (*client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return nil, fmt.Errorf("ALSA: %w", port.ErrClosed)
	}
	if d.c != nil {
		d.c.mu.RLock()
		dead := d.c.closed
		d.c.mu.RUnlock()
		if !dead {
			return d.c, nil
		}
		// Its file stays open, since ports of it may yet be written to.
		d.c = nil
	}
	c, err := openClient(d.name, d.changed)
	if err != nil {
		return nil, err
	}
	d.c = c
	return c, nil
}

// Close closes the client, and with it all ports that are open.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.closed = true
	if d.c != nil {
		d.c.close()
		d.c = nil
	}
	return nil
}

// other is a port of somebody else.
type other struct {
	addr addr
	name string
	caps uint32
	card int32
}

// others lists the ports of all other clients that are for everybody.
func (d *Driver) others(c *client) (all []other) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	client := clientInfo{client: -1}
	for !c.closed && ioctl(c.fd, ioNextClient, &client) == nil {
		name := untext(&client.name)
		if client.client == 0 || client.client == int32(c.id) || strings.HasPrefix(name, d.name) {
			continue
		}
		// The kernel looks for the port after this one.
		p := portInfo{addr: addr{uint8(client.client), 0xff}}
		for ioctl(c.fd, ioNextPort, &p) == nil {
			if p.capability&capNoExport == 0 {
				all = append(all, other{p.addr, fmt.Sprintf("%s:%s %v", name, untext(&p.name), p.addr), p.capability, client.card})
			}
		}
	}
	return all
}

// Ports lists the ports of others that can be subscribed to, as
// "CLIENT:PORT 20:0".
func (d *Driver) Ports() (ins, outs []string, err error) {
	c, err := d.attach()
	if err != nil {
		return nil, nil, err
	}
	c.measure()
	for _, o := range d.others(c) {
		if o.caps&(capRead|capSubsRead) == capRead|capSubsRead {
			ins = append(ins, o.name)
		}
		if o.caps&(capWrite|capSubsWrite) == capWrite|capSubsWrite {
			outs = append(outs, o.name)
		}
	}
	return ins, outs, nil
}

// conn is one of our ports.
type conn struct {
	c       *client
	port    uint8
	sub     *subscription // to hardware; nil of a virtual port
	receive func(time.Time, []byte)
	sysex   []byte // an exclusive message that is not all here
	refs    int    // in and out of a virtual port

	closed atomic.Bool

	mu     sync.Mutex // Send
	room   room
	events []byte
	parser midi.Parser
	emit   func(midi.Message)
}

// arrived passes on an event. The kernel cuts exclusive messages into pieces.
func (p *conn) arrived(at time.Time, b []byte, exclusive bool) {
	if len(b) == 0 {
		return
	}
	if exclusive {
		if b[0] == midi.SysExStart {
			p.sysex = p.sysex[:0]
		}
		if len(p.sysex)+len(b) > midi.MaxSysEx {
			p.sysex = p.sysex[:0]
			return
		}
		if p.sysex = append(p.sysex, b...); b[len(b)-1] != midi.SysExEnd {
			return
		}
		p.receive(at, p.sysex)
		p.sysex = p.sysex[:0]
		return
	}
	p.receive(at, b)
}

// create makes a port of ours.
func (c *client) create(name string, caps uint32, receive func(time.Time, []byte)) (*conn, error) {
	info := portInfo{addr: addr{client: c.id}, capability: caps, kind: typeGeneric | typeSoftware | typeApplication, channels: 16}
	text(&info.name, name)
	if c.queue >= 0 {
		info.flags, info.timeQueue = flagTimestamp|flagRealTime, uint8(c.queue)
	}
	// Nothing is delivered before the port is known.
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, port.ErrClosed
	}
	if err := ioctl(c.fd, ioCreatePort, &info); err != nil {
		return nil, fmt.Errorf("making the ALSA port %q: %w", name, err)
	}
	p := &conn{c: c, port: info.addr.port, receive: receive, refs: 1}
	p.emit = p.encode
	c.ports[p.port] = p
	return p, nil
}

// OpenIn subscribes a port of ours to one that sends.
func (d *Driver) OpenIn(name string, receive func(at time.Time, b []byte)) (io.Closer, error) {
	c, err := d.open(name, capWrite, receive)
	if err != nil {
		return nil, err
	}
	return c, nil
}

// OpenOut subscribes one that receives to a port of ours.
func (d *Driver) OpenOut(name string) (port.Out, error) {
	p, err := d.open(name, capRead, nil)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (d *Driver) open(name string, caps uint32, receive func(time.Time, []byte)) (*conn, error) {
	c, err := d.attach()
	if err != nil {
		return nil, err
	}
	for _, o := range d.others(c) {
		if o.name != name {
			continue
		}
		p, err := c.create(Shown(name), caps|capNoExport, receive)
		if err != nil {
			return nil, err
		}
		p.sub = &subscription{sender: addr{c.id, p.port}, dest: o.addr}
		if receive != nil {
			p.sub.sender, p.sub.dest = p.sub.dest, p.sub.sender
		}
		if err := ioctl(c.fd, ioSubscribe, p.sub); err != nil {
			_ = p.Close()
			return nil, fmt.Errorf("connecting to the ALSA port %q: %w", name, err)
		}
		if receive == nil && o.card >= 0 {
			p.room = roomOf(o)
		}
		return p, nil
	}
	return nil, fmt.Errorf("connecting to the ALSA port %q: it is not there", name)
}

// Virtual makes one port that sends and receives.
func (d *Driver) Virtual(name string, receive func(at time.Time, b []byte)) (io.Closer, port.Out, error) {
	c, err := d.attach()
	if err != nil {
		return nil, nil, err
	}
	if receive == nil {
		receive = func(time.Time, []byte) {}
	}
	p, err := c.create(name, capRead|capWrite|capSubsRead|capSubsWrite, receive)
	if err != nil {
		return nil, nil, err
	}
	p.refs = 2
	return &half{conn: p}, &half{conn: p}, nil
}

// half is one direction of a virtual port; the port goes with the second.
type half struct {
	*conn
	once sync.Once
}

func (h *half) Close() (err error) {
	h.once.Do(func() { err = h.conn.Close() })
	return err
}

// Connected lists who is subscribed to the virtual port of a name.
func (d *Driver) Connected(virtual string) (names []string) {
	d.mu.Lock()
	c := d.c
	d.mu.Unlock()
	if c == nil {
		return nil
	}
	others := d.others(c)
	c.mu.RLock()
	defer c.mu.RUnlock()
	for n, p := range c.ports {
		if p.sub != nil {
			continue
		}
		q := querySubs{root: addr{c.id, n}}
		for ; ioctl(c.fd, ioQuerySubs, &q) == nil; q.index++ {
			for _, o := range others {
				if o.addr == q.addr {
					names = append(names, o.name)
				}
			}
		}
	}
	return names
}

// Feeding counts who is subscribed to write to the virtual port of a name.
func (d *Driver) Feeding(virtual string) (count int) {
	d.mu.Lock()
	c := d.c
	d.mu.Unlock()
	if c == nil {
		return 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for n, p := range c.ports {
		if p.sub == nil && p.receive != nil && !c.closed {
			q := querySubs{root: addr{c.id, n}, kind: 1}
			for ; ioctl(c.fd, ioQuerySubs, &q) == nil; q.index++ {
				count++
			}
		}
	}
	return count
}

// Alive tells whether the connection still stands.
func (p *conn) Alive() bool {
	p.c.mu.RLock()
	defer p.c.mu.RUnlock()
	if p.c.closed {
		return false
	}
	if p.sub == nil {
		return true
	}
	s := subscription{sender: p.sub.sender, dest: p.sub.dest}
	return ioctl(p.c.fd, ioGetSubscription, &s) == nil
}

// patience is how long a port may be full, and how often it is tried.
const (
	patience = 2 * time.Second
	again    = time.Millisecond
)

// Send sends whole messages at once. It waits while hardware has no room, up to
// two seconds.
func (p *conn) Send(_ time.Time, b []byte) (err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed.Load() {
		return port.ErrClosed
	}
	p.events = p.events[:0]
	p.parser.Parse(b, p.emit)
	for rest := p.events; len(rest) > 0; {
		// One event at a time, or it would not be known which was refused.
		n := eventSize
		if rest[1]&evLength == evVariable {
			n += int(native.Uint32(rest[16:]))
		}
		if err := p.write(rest[:n]); err != nil {
			return err
		}
		rest = rest[n:]
	}
	return nil
}

func (p *conn) encode(m midi.Message) {
	if m.Size > 0 {
		p.events, _ = encode(p.events, p.port, m)
		return
	}
	for s := m.SysEx; len(s) > 0; {
		n := min(piece, len(s))
		p.events = exclusive(p.events, p.port, s[:n])
		s = s[n:]
	}
}

func (p *conn) write(e []byte) error {
	var until time.Time
	for {
		if p.closed.Load() {
			return port.ErrClosed
		}
		if !p.room.take(len(e)) {
			now := time.Now()
			if until.IsZero() {
				until = now.Add(patience)
			}
			if now.After(until) {
				return fmt.Errorf("sending to ALSA %v: it takes nothing for %v", p.sub.dest, patience)
			}
			time.Sleep(again)
			continue
		}
		p.c.mu.RLock()
		err := error(port.ErrClosed)
		if !p.c.closed {
			_, err = unix.Write(p.c.fd, e)
		}
		p.c.mu.RUnlock()
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case p.sub == nil && (errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EAGAIN)):
			return nil // one of the listeners has no room, the others have it
		case errors.Is(err, unix.ENOMEM), errors.Is(err, unix.EAGAIN):
			now := time.Now()
			if until.IsZero() {
				until = now.Add(patience)
			}
			if now.After(until) {
				return fmt.Errorf("sending to ALSA %v: it takes nothing for %v: %w", p.sub.dest, patience, err)
			}
			time.Sleep(again)
			p.room.left += len(e)
		default:
			return fmt.Errorf("sending to ALSA: %w", err)
		}
	}
}

// Ahead is 0.
func (p *conn) Ahead() time.Duration { return 0 }

// Close takes the port away. When it returns, receive is not called any more.
func (p *conn) Close() error {
	c := p.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if p.refs--; p.refs > 0 || p.closed.Swap(true) {
		return nil
	}
	delete(c.ports, p.port)
	if c.closed {
		return nil
	}
	info := portInfo{addr: addr{c.id, p.port}}
	if err := ioctl(c.fd, ioDeletePort, &info); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("closing an ALSA port: %w", err)
	}
	return nil
}
