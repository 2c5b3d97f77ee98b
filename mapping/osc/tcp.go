package osc

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

const (
	// maxConnections bounds the TCP connections at once, maxConnectionsEach
	// those of one machine other than this.
	maxConnections     = 64
	maxConnectionsEach = 16
	// frameTimeout is how long a packet may take from its first to its last
	// byte. Between packets a client may be silent for as long as it likes.
	frameTimeout = 10 * time.Second
	// writeTimeout is how long the system may take to accept what is sent.
	writeTimeout = 10 * time.Second
	// farewell is how long a connection stays to hear why it is refused.
	farewell = 200 * time.Millisecond
	// readChunk is what is read at once.
	readChunk = 16 << 10
)

// keepAlive and giveUp notice within 15 s that a client was unplugged: the one
// while nothing is sent to it, the other while something is.
var (
	keepAlive = net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}
	giveUp    = 14 * time.Second
)

// tcpClient is one connection.
type tcpClient struct {
	server *Server
	conn   *net.TCPConn
	id     netip.AddrPort
	out    *outbox
	since  time.Time
	spoke  atomic.Bool // a whole packet has come

	// Of the reading goroutine.
	packets int
	now     time.Time // when the bytes at hand came
}

// connections are the clients that are reached by their outbox.
type connections struct {
	mu  sync.RWMutex
	out map[netip.AddrPort]*outbox
	tcp map[netip.AddrPort]*tcpClient
	wg  sync.WaitGroup
}

// send queues a packet for a connected client.
func (c *connections) send(to netip.AddrPort, packet []byte) error {
	c.mu.RLock()
	o := c.out[to]
	c.mu.RUnlock()
	if o == nil {
		return errGone
	}
	return o.put(packet)
}

func (c *connections) count(kind string) (n int) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	for id := range c.out {
		if Transport(id) == kind {
			n++
		}
	}
	return n
}

// listenTCP opens the address for connections.
func listenTCP(addr, what, flag string, allow access) (*net.TCPListener, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("osc: address to listen on for %s: %w; expected host:port, for example 127.0.0.1:9000", what, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	ta, err := net.ResolveTCPAddr("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, fmt.Errorf("osc: address to listen on for %s: %w; expected host:port, for example 127.0.0.1:9000", what, err)
	}
	if err := allow.check(ta.AddrPort().Addr(), what); err != nil {
		return nil, err
	}
	l, err := net.ListenTCP("tcp", ta)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("osc: %w: TCP port %d on %s is taken by another program; stop it, or choose another port with %s %s",
			ErrPortInUse, ta.Port, host, flag, net.JoinHostPort(host, fmt.Sprint(ta.Port%65535+1)))
	case err != nil:
		return nil, fmt.Errorf("osc: listen for %s on %s: %w; expected an address of this machine and a port that it may open", what, addr, err)
	}
	return l, nil
}

// accept takes connections until the listener is closed.
func (s *Server) accept() {
	defer s.links.wg.Done()
	for {
		conn, err := s.tcp.AcceptTCP()
		if err != nil {
			if s.closed.Load() {
				return
			}
			s.mu.Lock()
			ok, more := s.readLog.allow(time.Now())
			s.mu.Unlock()
			if ok {
				s.log.Warn("osc: cannot accept a connection; trying again", "error", err, "suppressed", more)
			}
			time.Sleep(10 * time.Millisecond)
			continue
		}
		s.admit(conn)
	}
}

// admit starts to serve a connection, or refuses it.
func (s *Server) admit(conn *net.TCPConn) {
	remote := unmap(conn.RemoteAddr().(*net.TCPAddr).AddrPort())
	if !s.admits(remote, time.Now()) {
		conn.Close()
		return
	}
	if err := errors.Join(conn.SetKeepAliveConfig(keepAlive), giveUpAfter(conn, giveUp)); err != nil {
		s.log.Debug("osc: connections are not watched", "error", err)
	}
	c := &tcpClient{server: s, conn: conn, id: connected(remote, zoneTCP), since: time.Now()}
	c.out = newOutbox(maxQueued, func() { s.slow.Add(1); conn.Close() })
	s.links.mu.Lock()
	full, each := len(s.links.tcp) >= maxConnections, 0
	var silent *tcpClient // longest of those that never said a word
	for _, o := range s.links.tcp {
		if Peer(o.id).Addr() == remote.Addr() && !remote.Addr().IsLoopback() {
			each++
		}
		if !o.spoke.Load() && (silent == nil || o.since.Before(silent.since)) {
			silent = o
		}
	}
	switch {
	case s.closed.Load(), each >= maxConnectionsEach, full && silent == nil:
		s.links.mu.Unlock()
		s.refused.Add(1)
		conn.Close()
		return
	case full:
		delete(s.links.tcp, silent.id)
		silent.conn.Close()
	}
	s.links.out[c.id] = c.out
	s.links.tcp[c.id] = c
	s.links.wg.Add(2)
	s.links.mu.Unlock()
	go c.write()
	go c.read()
}

// read takes packets until the connection ends.
func (c *tcpClient) read() {
	s := c.server
	defer s.links.wg.Done()
	defer s.left(c.id, c.out)
	defer c.conn.Close()
	f := framer{packet: c.packet, broken: c.broken}
	buf := make([]byte, readChunk)
	var begun time.Time // when the first byte came of a packet that is not complete
	for {
		n, err := c.conn.Read(buf)
		c.now = time.Now()
		packets := c.packets
		if n > 0 {
			if f.framing == framingUnknown {
				f.framing = framingOf(buf[0])
				c.out.frame(f.framing) // before the first answer
			}
			if err := f.feed(buf[:n]); err != nil {
				c.refuse(err)
				return
			}
		}
		switch {
		case s.closed.Load():
			return
		case errors.Is(err, os.ErrDeadlineExceeded):
			c.refuse(fmt.Errorf("%w: a packet was not complete after %v", errFraming, s.frameTimeout))
			return
		case err != nil:
			if f.partial() && errors.Is(err, io.EOF) {
				c.refuse(fmt.Errorf("%w: it ended inside a packet", errFraming))
			}
			return
		case !f.partial():
			if !begun.IsZero() {
				begun = time.Time{}
				c.conn.SetReadDeadline(begun) // fails only when closed
			}
		case begun.IsZero() || packets != c.packets:
			begun = c.now
			c.conn.SetReadDeadline(begun.Add(s.frameTimeout))
		}
	}
}

// packet takes one packet from the framer.
func (c *tcpClient) packet(b []byte) {
	c.packets++
	c.spoke.Store(true)
	c.server.take(c.id, b, c.now)
}

// broken counts what SLIP lost.
func (c *tcpClient) broken(size int) {
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.refuse(c.id, size, errEscape, c.now)
}

var errEscape = errors.New("osc: a byte after ESC that is neither ESC_END nor ESC_ESC; the packet is skipped")

// refuse tells the client what is wrong with its stream; it is closed then.
func (c *tcpClient) refuse(why error) {
	s := c.server
	s.mu.Lock()
	s.refuse(c.id, 0, why, c.now)
	s.mu.Unlock()
	message, err := AppendMessage(nil, addrError, String(""), String(why.Error()))
	if err != nil || c.out.put(message) != nil {
		return
	}
	// What the client still sends is read for a moment: closing over it would
	// take the explanation back.
	c.conn.SetReadDeadline(time.Now().Add(farewell))
	io.CopyN(io.Discard, c.conn, maxQueued)
}

// write sends what is queued until the outbox ends.
func (c *tcpClient) write() {
	defer c.server.links.wg.Done()
	for range c.out.wake {
		b := c.out.take()
		if len(b) == 0 {
			continue
		}
		c.conn.SetWriteDeadline(time.Now().Add(writeTimeout)) // fails only when closed
		if _, err := c.conn.Write(b); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.server.slow.Add(1)
			}
			c.conn.Close()
			c.out.refuse()
		}
	}
}

// left forgets a connection.
func (s *Server) left(id netip.AddrPort, out *outbox) {
	s.links.mu.Lock()
	delete(s.links.out, id)
	delete(s.links.tcp, id)
	s.links.mu.Unlock()
	out.end()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leave(id)
}

// leave tells the handler that a client has left. The lock is held.
func (s *Server) leave(id netip.AddrPort) {
	if l, ok := s.handler.(Leaver); ok {
		l.Left(id)
	}
}

// alive reports whether a connected client is still there.
func (s *Server) alive(id netip.AddrPort) bool {
	s.links.mu.RLock()
	defer s.links.mu.RUnlock()
	return s.links.out[id] != nil
}
