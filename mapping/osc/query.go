package osc

import (
	"context"
	"errors"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueryConnections bounds the HTTP and WebSocket connections at once.
	maxQueryConnections = 128
	// queryCost is what a request costs of a client's Rate: with the default
	// one 80 a second, of the whole tree as of one value.
	queryCost = 25
	// maxQueryHeader bounds what a request says of itself, its address included.
	maxQueryHeader = 16 << 10
)

// queryServer serves OSCQuery.
type queryServer struct {
	surface  *Surface
	name     string
	listener *net.TCPListener
	http     *http.Server
	log      *slog.Logger
	ctx      context.Context
	cancel   context.CancelFunc
	hostname string
	open     atomic.Int64 // connections

	// rendering lets one request after another ask all nodes for their values,
	// as a hand on the rack is more urgent than a list.
	rendering chan struct{}

	mu       sync.Mutex
	closed   bool
	running  sync.WaitGroup // Serve, requests and WebSockets
	clients  map[netip.AddrPort]*webSocket
	rate     limiter
	panicLog throttle
}

// listenQuery opens the port; the system queues connections until start.
func listenQuery(s *Surface, cfg Config) (*queryServer, error) {
	l, err := listenTCP(cfg.Query, "OSCQuery", "--oscquery", s.server.access)
	if err != nil {
		return nil, err
	}
	q := &queryServer{
		surface: s, name: cfg.Name, listener: l, log: cfg.Logger,
		rendering: make(chan struct{}, 1),
		clients:   map[netip.AddrPort]*webSocket{},
		rate:      newLimiter(s.server.rate.rate, s.server.rate.burst),
	}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	q.hostname, _ = os.Hostname() // without a name it is reached by its address
	q.http = &http.Server{
		Handler:           q,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       60 * time.Second,
		MaxHeaderBytes:    maxQueryHeader,
		ErrorLog:          log.New(io.Discard, "", 0), // what peers do wrong is their matter
		ConnContext:       func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
	}
	return q, nil
}

// connKey finds the connection of a request.
type connKey struct{}

func (q *queryServer) addr() netip.AddrPort {
	return unmap(q.listener.Addr().(*net.TCPAddr).AddrPort())
}

func (q *queryServer) start() {
	q.running.Go(func() {
		if err := q.http.Serve(&queryListener{q}); !errors.Is(err, http.ErrServerClosed) && q.ctx.Err() == nil {
			q.log.Error("osc: OSCQuery ended", "error", err)
		}
	})
}

// close ends all connections and waits for what runs.
func (q *queryServer) close() error {
	q.mu.Lock()
	q.closed = true
	for _, c := range q.clients {
		c.raw.Close()
	}
	q.mu.Unlock()
	q.cancel()
	err := q.http.Close()
	q.listener.Close() // when Serve was not called
	q.running.Wait()
	return err
}

// queryListener admits connections.
type queryListener struct{ *queryServer }

func (l *queryListener) Accept() (net.Conn, error) {
	for {
		c, err := l.listener.AcceptTCP()
		if err != nil {
			return nil, err
		}
		remote := unmap(c.RemoteAddr().(*net.TCPAddr).AddrPort())
		if !l.surface.server.admits(remote, time.Now()) {
			c.Close()
			continue
		}
		if l.open.Add(1) > maxQueryConnections {
			l.open.Add(-1)
			l.surface.server.refused.Add(1)
			c.Close()
			continue
		}
		if err := c.SetKeepAliveConfig(keepAlive); err != nil {
			l.log.Debug("osc: connections are not watched", "error", err)
		}
		return &queryConn{TCPConn: c, q: l.queryServer}, nil
	}
}

func (l *queryListener) Close() error   { return l.listener.Close() }
func (l *queryListener) Addr() net.Addr { return l.listener.Addr() }

// queryConn counts itself.
type queryConn struct {
	*net.TCPConn
	q    *queryServer
	once sync.Once
}

func (c *queryConn) Close() error {
	c.once.Do(func() { c.q.open.Add(-1) })
	return c.TCPConn.Close()
}

// ServeHTTP answers one request, or serves a WebSocket until it ends.
func (q *queryServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.running.Add(1)
	q.mu.Unlock()
	defer q.running.Done()
	defer q.survive(w)

	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	switch {
	case err != nil:
		http.Error(w, "who are you?", http.StatusBadRequest)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "OSCQuery is read by GET; values are set by OSC", http.StatusMethodNotAllowed)
	case !q.knowsHost(r.Host), !sameOrigin(r):
		// A page of another site, or of a name that it made to mean this
		// machine, must neither look nor play.
		q.surface.server.refused.Add(1)
		http.Error(w, "not for pages of other sites", http.StatusForbidden)
	case !q.allow(connected(unmap(remote), zoneWebSocket), queryCost):
		q.surface.server.limited.Add(1)
		h.Set("Retry-After", "1")
		http.Error(w, "too many requests", http.StatusTooManyRequests)
	case isUpgrade(r):
		q.serveWebSocket(w, r, unmap(remote))
	default:
		q.answer(w, r)
	}
}

// survive keeps a Get that panics from ending anything but its request.
func (q *queryServer) survive(w http.ResponseWriter) {
	r := recover()
	if r == nil {
		return
	}
	q.mu.Lock()
	ok, more := q.panicLog.allow(time.Now())
	q.mu.Unlock()
	if ok {
		q.log.Error("osc: reading a value panicked; OSCQuery goes on", "panic", r, "suppressed", more, "stack", string(debug.Stack()))
	}
	http.Error(w, "a value could not be read", http.StatusInternalServerError)
}

func (q *queryServer) allow(client netip.AddrPort, cost int) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.rate.allow(client, cost, time.Now())
}

// knowsHost reports whether a request was sent to a name that only this
// machine can have: its address, localhost, its own name, and the two that it
// has by multicast DNS, the system's and that of the announcement.
func (q *queryServer) knowsHost(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	}
	host = strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
	if _, err := netip.ParseAddr(host); err == nil || host == "localhost" {
		return true
	}
	own := strings.ToLower(q.hostname)
	name, _, _ := strings.Cut(own, ".")
	return name != "" && slices.Contains([]string{own, name, name + ".local", name + "-k8s-synth.local"}, host)
}

// sameOrigin reports whether a request comes from a program, or from a page of
// this very server.
func sameOrigin(r *http.Request) bool {
	origins := r.Header.Values("Origin")
	if len(origins) == 0 {
		return true
	}
	u, err := url.Parse(origins[0])
	return err == nil && len(origins) == 1 && u.Scheme == "http" && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func isUpgrade(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// answer renders a node, or attributes of it.
func (q *queryServer) answer(w http.ResponseWriter, r *http.Request) {
	asked, known := askedFor(r.URL.RawQuery)
	if !known {
		http.Error(w, "unknown attribute; expected one of "+strings.Join(attributes, ", ")+", "+attrHost, http.StatusBadRequest)
		return
	}
	j := jsonWriter{name: q.name}
	if slices.Contains(asked, attrHost) {
		var reached netip.Addr
		if a, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr); ok {
			reached = a.AddrPort().Addr()
		}
		j.hostInfo(q.surface.Addr(), q.addr(), reached)
		writeJSON(w, j.out)
		return
	}
	path := r.URL.Path
	if len(path) > 1 {
		path = strings.TrimSuffix(path, "/")
	}
	if path == "" {
		path = "/"
	}
	t := q.surface.names.load()
	var b *branch
	if path[0] == '/' && len(path) <= MaxAddress {
		b = t.find(path)
	}
	if b == nil {
		text := "no such address"
		if path[0] == '/' {
			text += "; " + t.nearest([]byte(path))
		}
		http.Error(w, text, http.StatusNotFound)
		return
	}
	if slices.ContainsFunc(asked, func(name string) bool {
		return slices.Contains(unserved, name) || name == attrValue && (b.node == nil || !b.node.readable())
	}) {
		w.WriteHeader(http.StatusNoContent)
		return
	}
	q.render(&j, asked, path, b)
	writeJSON(w, j.out)
}

// render writes a node, or attributes of it. It does not wait for the client.
func (q *queryServer) render(j *jsonWriter, asked []string, path string, b *branch) {
	q.rendering <- struct{}{}
	defer func() { <-q.rendering }()
	if len(asked) == 0 {
		j.node(path, b)
		return
	}
	j.out = append(j.out, '{')
	for _, name := range asked {
		start := len(j.out)
		if start > 1 {
			j.out = append(j.out, ',')
		}
		j.out = appendJSON(j.out, name)
		j.out = append(j.out, ':')
		if !j.attribute(name, path, b) {
			j.out = j.out[:start]
		}
	}
	j.out = append(j.out, '}')
}

// writeJSON is the end of an answer.
func writeJSON(w http.ResponseWriter, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Write(append(body, '\n')) // a client that is gone needs no answer
}

// askedFor returns the attributes that the query of a URL names, and whether
// all of them are known.
func askedFor(query string) (asked []string, known bool) {
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if name == "" {
			continue
		}
		i := slices.Index(attributes, name)
		switch {
		case i >= 0:
			name = attributes[i]
		case name != attrHost && !slices.Contains(unserved, name):
			return nil, false
		}
		if !slices.Contains(asked, name) {
			asked = append(asked, name)
		}
	}
	return asked, true
}
