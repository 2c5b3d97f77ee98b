package osc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/coder/websocket"
)

const (
	// maxWebSockets bounds the clients at once, maxWebSocketsEach those of one
	// machine other than this.
	maxWebSockets     = 64
	maxWebSocketsEach = 16
	// pingEvery is how often a client is asked whether it is there, pingWait
	// how long it may take to say so.
	pingEvery = 5 * time.Second
	pingWait  = 10 * time.Second
)

// webSocket is one client of OSCQuery that stays.
type webSocket struct {
	q    *queryServer
	conn *websocket.Conn
	raw  net.Conn // closing it does not wait
	id   netip.AddrPort
	out  *outbox

	// Of the reading goroutine.
	buf     []byte
	args    []Arg
	message []byte
}

// serveWebSocket serves one client until it, or the server, ends.
func (q *queryServer) serveWebSocket(w http.ResponseWriter, r *http.Request, remote netip.AddrPort) {
	raw, _ := r.Context().Value(connKey{}).(net.Conn)
	c := &webSocket{q: q, raw: raw, id: connected(remote, zoneWebSocket), buf: make([]byte, 0, 4096)}
	server := q.surface.server
	q.mu.Lock()
	each := 0
	for id := range q.clients {
		if Peer(id).Addr() == remote.Addr() && !remote.Addr().IsLoopback() {
			each++
		}
	}
	full := q.closed || raw == nil || len(q.clients) >= maxWebSockets || each >= maxWebSocketsEach
	if !full {
		q.clients[c.id] = c
	}
	q.mu.Unlock()
	if full {
		server.refused.Add(1)
		http.Error(w, "too many clients", http.StatusServiceUnavailable)
		return
	}
	defer func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		delete(q.clients, c.id)
	}()
	// The origin was compared with more care before.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // the answer says why
	}
	defer conn.CloseNow()
	conn.SetReadLimit(MaxPacket)
	raw.SetDeadline(time.Time{}) // those of HTTP end here
	c.conn = conn
	c.out = newOutbox(maxQueued, func() { server.slow.Add(1); raw.Close() })
	c.out.frame(framingMessage)
	server.links.mu.Lock()
	server.links.out[c.id] = c.out
	server.links.mu.Unlock()
	q.mu.Lock()
	q.running.Add(2)
	q.mu.Unlock()
	ctx, cancel := context.WithCancel(q.ctx)
	defer server.left(c.id, c.out)
	defer cancel()
	go c.write(ctx)
	go c.ping(ctx)
	c.read(ctx)
}

// read takes messages until the connection ends.
func (c *webSocket) read(ctx context.Context) {
	slow := time.AfterFunc(time.Hour, func() { c.raw.Close() })
	defer slow.Stop()
	slow.Stop()
	for {
		kind, r, err := c.conn.Reader(ctx)
		if err != nil {
			return
		}
		now := time.Now()
		slow.Reset(c.q.surface.server.frameTimeout)
		if err := c.readAll(r); err != nil {
			if websocket.CloseStatus(err) == websocket.StatusMessageTooBig || errors.Is(err, websocket.ErrMessageTooBig) {
				c.malformed(len(c.buf), err, now)
			}
			return
		}
		slow.Stop()
		if kind == websocket.MessageBinary {
			c.q.surface.server.take(c.id, c.buf, now)
		} else {
			c.command(now)
		}
	}
}

// readAll reads a message into buf.
func (c *webSocket) readAll(r io.Reader) error {
	c.buf = c.buf[:0]
	for {
		if len(c.buf) == cap(c.buf) {
			c.buf = append(c.buf, 0)[:len(c.buf)]
		}
		n, err := r.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (c *webSocket) malformed(size int, err error, now time.Time) {
	s := c.q.surface.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse(c.id, size, err, now)
}

// queryCommand is what a client sends as text.
type queryCommand struct {
	Command string `json:"COMMAND"`
	Data    string `json:"DATA"`
}

// parseCommand reads what a client sends as text.
func parseCommand(text []byte) (c queryCommand, err error) {
	if err := json.Unmarshal(text, &c); err != nil {
		return c, fmt.Errorf("osc: command: %w; expected {\"COMMAND\":\"LISTEN\",\"DATA\":\"/address\"}", err)
	}
	if c.Command != "LISTEN" && c.Command != "IGNORE" {
		return c, fmt.Errorf("osc: command %.40q, expected LISTEN or IGNORE", c.Command)
	}
	if err := checkAddressBytes(c.Data); err != nil {
		return c, fmt.Errorf("osc: command %s: %w", c.Command, err)
	}
	return c, nil
}

// command carries out what a client sent as text. What is wrong with it is
// told by /error, as that of a packet is.
func (c *webSocket) command(now time.Time) {
	s := c.q.surface
	if !c.q.allow(c.id, 1) {
		s.server.limited.Add(1)
		return
	}
	cmd, err := parseCommand(c.buf)
	if err != nil {
		c.malformed(len(c.buf), err, now)
	} else if cmd.Command == "IGNORE" {
		s.feed.ignore(c.id, cmd.Data)
		return
	} else if err = s.feed.listen(c.id, cmd.Data); err == nil {
		// Between its reading the value and its asking to listen the value may
		// have changed.
		c.tell(cmd.Data)
		return
	}
	if c.message, err = AppendMessage(c.message[:0], addrError, String(cmd.Data), String(err.Error())); err == nil {
		s.server.Send(c.id, c.message) // the server counts what cannot be sent
	}
}

// tell sends the present value of one node.
func (c *webSocket) tell(address string) {
	s := c.q.surface
	n := s.names.load().byAddress[address]
	if n == nil || !n.readable() {
		return
	}
	var err error
	c.args = n.Get(c.args[:0])
	if c.message, err = AppendMessage(c.message[:0], n.Address, c.args...); err != nil {
		s.log.Error("osc: value cannot be sent", "address", n.Address, "error", err)
		return
	}
	s.server.Send(c.id, c.message) // the server counts what cannot be sent
}

// write sends what is queued until the outbox ends.
func (c *webSocket) write(ctx context.Context) {
	defer c.q.running.Done()
	for range c.out.wake {
		for b := c.out.take(); len(b) > 0; {
			var message []byte
			var text bool
			message, text, b = nextMessage(b)
			kind := websocket.MessageBinary
			if text {
				kind = websocket.MessageText
			}
			writing, cancel := context.WithTimeout(ctx, writeTimeout)
			err := c.conn.Write(writing, kind, message)
			cancel()
			if err != nil {
				if errors.Is(err, context.DeadlineExceeded) {
					c.q.surface.server.slow.Add(1)
				}
				c.raw.Close()
				c.out.refuse()
				break
			}
		}
	}
}

// ping ends the connection of a client that is not there any more.
func (c *webSocket) ping(ctx context.Context) {
	defer c.q.running.Done()
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		waiting, cancel := context.WithTimeout(ctx, pingWait)
		err := c.conn.Ping(waiting)
		cancel()
		if err != nil {
			c.raw.Close()
			return
		}
	}
}

// replaced tells clients how the set of nodes has changed.
func (q *queryServer) replaced(old, now *tree) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.clients) == 0 {
		return
	}
	var text []byte
	for _, e := range difference(old, now) {
		text = e.appendJSON(text[:0])
		for id := range q.clients {
			q.surface.server.links.tell(id, text)
		}
	}
}

// tell queues a message of text.
func (c *connections) tell(to netip.AddrPort, text []byte) {
	c.mu.RLock()
	o := c.out[to]
	c.mu.RUnlock()
	if o != nil {
		_ = o.putMessage(text, true) // whoever does not read is dropped
	}
}
