package web

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const (
	maxPages   = 64
	maxRequest = 256 << 10 // bytes of a message from a page
	// pingEvery and writeWait bound how long a page that fell off its network
	// may hold a gate high: ten seconds.
	pingEvery = 5 * time.Second
	writeWait = 5 * time.Second
	// cookieName is what a cookie's name begins with; the port follows.
	cookieName = "k8s-synth"
	// cookieLife is how long a browser may come back without the token.
	cookieLife = 180 * 24 * time.Hour
)

// Config says how the page is served.
type Config struct {
	// Addr is where to listen, host:port; port 0 is any.
	Addr string
	// Allow reports whether an address may speak to the server; nil allows all
	// that reach it.
	Allow func(netip.Addr) bool
	// Token opens the door. Empty is a new one for this run.
	Token string
	// TLS, if not nil, is spoken instead of plain HTTP; an address that a network
	// reaches must have it.
	TLS *tls.Config
	// Names are what it may be called beside its addresses, such as box.local,
	// where it speaks TLS. Without TLS any name could be another's.
	Names []string
	// Version is the program's.
	Version string
	// Do carries out what a page asks for, and returns what to answer: anything
	// that encodes as JSON, or nil, or a Later. It is called from a goroutine of
	// the page, one request after the other, and must not take its time: what
	// does is for a Later.
	Do func(client string, r Request) (any, error)
	// Left is told that a page has gone, and may be nil: what its hand held down
	// it will never let go of.
	Left func(client string)
	// Pages serves what is not the rack itself: pages by their path. It may be
	// nil. The door is before it.
	Pages http.Handler
	// Assets are the files of the page; index.html is what / shows.
	Assets fs.FS
	Logger *slog.Logger
}

// Server serves the page. Its methods may be called from any goroutine and
// never wait for a page.
type Server struct {
	cfg  Config
	ln   net.Listener
	http *http.Server

	mu      sync.Mutex
	pages   map[*page]struct{}
	assets  map[string]*madeFile
	state   *State
	set     map[mapping.Address][3]any // what was told since state, for pages that open
	status  json.RawMessage
	slots   json.RawMessage
	events  []Event // the last ones, for pages that open
	next    int
	refused uint64
	closed  bool
	tickets []ticket
	found   []netip.Addr // of this machine, where the server is at all of them
	now     func() time.Time
	running sync.WaitGroup
	room    chan struct{} // for what is worked on
	ctx     context.Context
	cancel  context.CancelFunc
}

// NewToken makes a token that nobody guesses: 128 bits.
func NewToken() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}

// Listen opens the server. An address that others than this machine reach is
// refused without TLS.
func Listen(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Token == "" {
		cfg.Token = NewToken()
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("web: %w", err)
	}
	at := ln.Addr().(*net.TCPAddr).AddrPort()
	if !at.Addr().Unmap().IsLoopback() && cfg.TLS == nil {
		ln.Close()
		return nil, fmt.Errorf("web: %s can be reached from a network, and the page is played from; that takes TLS", at)
	}
	s := &Server{cfg: cfg, ln: ln, pages: map[*page]struct{}{}, assets: map[string]*madeFile{}, set: map[mapping.Address][3]any{}, room: make(chan struct{}, maxWork), now: time.Now}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	s.http = &http.Server{Handler: s, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		ErrorLog: slog.NewLogLogger(cfg.Logger.Handler(), slog.LevelDebug)}
	if at.Addr().Unmap().IsUnspecified() {
		s.found = Addresses()
		s.running.Add(1)
		go s.lookAround()
	}
	serve := ln
	if cfg.TLS != nil {
		serve = tls.NewListener(ln, cfg.TLS)
	}
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		if err := s.http.Serve(serve); !errors.Is(err, http.ErrServerClosed) {
			cfg.Logger.Error("web", "err", err)
		}
	}()
	return s, nil
}

// Addr is where the server listens.
func (s *Server) Addr() netip.AddrPort { return s.ln.Addr().(*net.TCPAddr).AddrPort() }

// lookAround keeps what addresses the machine has.
func (s *Server) lookAround() {
	defer s.running.Done()
	tick := time.NewTicker(addressesEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		found := Addresses()
		s.mu.Lock()
		s.found = found
		s.mu.Unlock()
	}
}

func (s *Server) hosts() []netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	return hostsOf(s.Addr().Addr(), s.found, s.cfg.Allow)
}

// address is the server's at a host of this machine.
func (s *Server) address(host netip.Addr) string {
	scheme := "http"
	if s.cfg.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + netip.AddrPortFrom(host, s.Addr().Port()).String()
}

// URLs are the addresses that open the page, token and all. Where the server is
// at all addresses of its machine those come first that a tablet can open.
func (s *Server) URLs() (list []string) {
	for _, h := range s.hosts() {
		list = append(list, s.address(h)+"/?token="+url.QueryEscape(s.cfg.Token))
	}
	return list
}

// URL is the first of URLs.
func (s *Server) URL() string { return s.URLs()[0] }

// Close ends all pages and the server.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	err := s.http.Close()
	s.running.Wait()
	return err
}

// ServeHTTP is the door.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", "default-src 'self'; connect-src 'self'"+socketSource(r)+"; img-src 'self' data: blob:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || s.cfg.Allow != nil && !remote.Addr().Unmap().IsLoopback() && !s.cfg.Allow(remote.Addr().Unmap().WithZone("")) {
		s.refuse(w, r, http.StatusForbidden, "this address may not play; whoever runs the instrument names who may with --allow")
		return
	}
	// A name that another's page made to lead here is not ours.
	if !s.ownHost(r.Host) {
		s.refuse(w, r, http.StatusMisdirectedRequest, "expected this machine's address, not a name")
		return
	}
	if o := r.Header.Get("Origin"); o != "" && !sameOrigin(o, r) {
		s.refuse(w, r, http.StatusForbidden, "a page of another origin may not speak to the instrument")
		return
	}
	// Another page's pictures and scripts come without an origin, but browsers
	// tell; to follow a link to the rack is allowed.
	if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" &&
		(r.Method != http.MethodGet || r.Header.Get("Sec-Fetch-Mode") != "navigate" || r.Header.Get("Sec-Fetch-Dest") != "document") {
		s.refuse(w, r, http.StatusForbidden, "a page of another origin may not read from the instrument")
		return
	}
	q := r.URL.Query()
	token, once := q.Get("token"), q.Get("ticket")
	if (token != "" || once != "") && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		switch {
		case token != "" && !s.opens(token):
			s.refuse(w, r, http.StatusUnauthorized, "the token is not the one that the instrument printed when it started")
			return
		case token != "" || s.known(r): // who is inside needs no ticket
		case !neighbourly(r, remote):
			s.refuse(w, r, http.StatusForbidden, "this address is for the one who runs the instrument, on the machine where it runs")
			return
		case r.Method == http.MethodHead || !s.admit(once):
			s.refuse(w, r, http.StatusUnauthorized, "this address has opened the page once, or is older than a minute; open the one that k8s-synth printed when it started, or that \"k8s-synth status\" shows")
			return
		}
		http.SetCookie(w, &http.Cookie{Name: cookieFor(r), Value: s.cfg.Token, Path: "/", MaxAge: int(cookieLife.Seconds()), HttpOnly: true, Secure: r.TLS != nil, SameSite: http.SameSiteStrictMode})
		q.Del("token")
		q.Del("ticket")
		to := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
		if !strings.HasPrefix(to.Path, "/") || strings.HasPrefix(to.Path, "//") {
			to.Path = "/"
		}
		// Not a redirection: a browser sends no strict cookie on a way that began
		// elsewhere, such as in a terminal or a chat. It takes the place of this
		// address in the browser's history, as one would.
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-store")
		h.Set("Refresh", "0; url="+to.String())
		fmt.Fprint(w, `<!doctype html><html lang="en"><title>k8s-synth</title><link rel="icon" href="data:,"><p>The rack opens.`)
		return
	}
	if !s.known(r) {
		s.refuse(w, r, http.StatusUnauthorized, "open the address that k8s-synth printed when it started, with its token; \"k8s-synth status\" shows it again")
		return
	}
	switch {
	case r.URL.Path == "/ws":
		s.serve(w, r)
	case s.asset(w, r):
	case s.cfg.Pages != nil:
		s.cfg.Pages.ServeHTTP(w, r)
	default:
		http.NotFound(w, r)
	}
}

// socketSource names the server's WebSocket for a page's policy: to Safari before
// 16, which tablets of some years keep, 'self' is none. An address of IPv6 has no
// name there.
func socketSource(r *http.Request) string {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return ""
	}
	if strings.ContainsFunc(host, func(c rune) bool {
		return c != '.' && c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z')
	}) {
		return ""
	}
	if r.TLS != nil {
		return " wss://" + r.Host
	}
	return " ws://" + r.Host
}

func (s *Server) opens(token string) bool {
	return subtle.ConstantTimeCompare([]byte(token), []byte(s.cfg.Token)) == 1
}

// cookieFor is the name of the cookie, by the port at which the browser finds
// the server: cookies do not tell ports apart, and two instruments of one
// machine must not throw each other out. With TLS the browser holds it to what
// the name promises: from this host, for all of it, and never in the clear.
func cookieFor(r *http.Request) string {
	_, port, err := net.SplitHostPort(r.Host)
	if _, e := strconv.ParseUint(port, 10, 16); err != nil || e != nil {
		port = "80"
		if r.TLS != nil {
			port = "443"
		}
	}
	name := cookieName + "-" + port
	if r.TLS != nil {
		name = "__Host-" + name
	}
	return name
}

// known tells whether a request has the cookie. One of the name without a port,
// as it was given once, opens as well: a page that is open goes on.
func (s *Server) known(r *http.Request) bool {
	for _, name := range []string{cookieFor(r), cookieName} {
		for _, c := range r.CookiesNamed(name) {
			if s.opens(c.Value) {
				return true
			}
		}
	}
	return false
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int, why string) {
	s.mu.Lock()
	s.refused++
	s.mu.Unlock()
	s.cfg.Logger.Debug("web: refused", "from", r.RemoteAddr, "path", r.URL.Path, "why", why)
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.WriteHeader(code)
	fmt.Fprintln(w, why)
}

// ownHost tells whether a request names its host by an address, or as this
// machine: a name could be somebody's who made it lead here. With TLS there are
// names that the certificate vouches for.
func (s *Server) ownHost(host string) bool {
	h, _, err := net.SplitHostPort(host)
	if err != nil {
		h = strings.Trim(host, "[]")
	}
	if h == "localhost" {
		return true
	}
	if s.cfg.TLS != nil && slices.ContainsFunc(s.cfg.Names, func(n string) bool { return strings.EqualFold(n, h) }) {
		return true
	}
	_, err = netip.ParseAddr(h)
	return err == nil
}

func sameOrigin(origin string, r *http.Request) bool {
	u, err := url.Parse(origin)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return err == nil && u.Scheme == scheme && strings.EqualFold(u.Host, r.Host)
}

// asset serves a file of the page, and tells whether there is one.
func (s *Server) asset(w http.ResponseWriter, r *http.Request) bool {
	if s.cfg.Assets == nil || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	name := strings.TrimPrefix(r.URL.Path, "/")
	if name == "" {
		name = "index.html"
	}
	if !fs.ValidPath(name) {
		return false
	}
	if info, err := fs.Stat(s.cfg.Assets, name); err != nil || info.IsDir() {
		return false
	}
	s.mu.Lock()
	f := s.assets[name]
	s.mu.Unlock()
	if f == nil {
		text, err := fs.ReadFile(s.cfg.Assets, name)
		if err != nil {
			return false
		}
		f = newFile(text)
		s.mu.Lock()
		s.assets[name] = f
		s.mu.Unlock()
	}
	f.serve(w, r, mime.TypeByExtension(path.Ext(name)))
	return true
}

// serve keeps one page in step until it, or the server, ends.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	full := s.closed || len(s.pages) >= maxPages
	var p *page
	if !full {
		s.next++
		p = newPage(s, fmt.Sprintf("web %d", s.next))
		p.first, p.ear = true, r.URL.Query().Has("sound")
		s.pages[p] = struct{}{}
		s.running.Add(1)
		defer s.running.Done()
	}
	s.mu.Unlock()
	if full {
		http.Error(w, "too many pages", http.StatusServiceUnavailable)
		return
	}
	defer p.working.Wait()
	leave := sync.OnceFunc(func() {
		s.mu.Lock()
		delete(s.pages, p)
		s.mu.Unlock()
		if s.cfg.Left != nil {
			s.cfg.Left(p.name)
		}
	})
	defer leave()
	// The origin was looked at before.
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil {
		return // the answer says why
	}
	defer conn.CloseNow()
	conn.SetReadLimit(maxRequest)
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	p.conn = conn
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer cancel()
		p.write(ctx)
	}()
	p.read(ctx)
	cancel()
	leave() // what it holds does not wait until the connection is closed in form
	wg.Wait()
}

// each does f for every page that is open.
func (s *Server) each(f func(p *page)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pages {
		f(p)
	}
}

// Pages is how many pages are open.
func (s *Server) Pages() (n int) {
	s.each(func(p *page) {
		if !p.ear {
			n++
		}
	})
	return n
}

// Refused is how many requests were turned away at the door.
func (s *Server) Refused() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refused
}

// State tells every page of the rack as it is now. It must not be changed
// afterwards.
func (s *Server) State(st *State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.state = st
	clear(s.set) // they are in it
	for p := range s.pages {
		p.owe(func(o *owed) {
			o.state = st
			clear(o.set) // they are in it
		})
	}
}

// Changed tells every page of a value or, where it is not empty, a word; the
// page that it came from as well, for other windows on the same screen.
func (s *Server) Changed(a mapping.Address, value float64, word, source string) {
	var v any = value
	if word != "" {
		v = word
	}
	s.tell([3]any{a, v, source})
}

// Wrote is Changed for a word that may be empty.
func (s *Server) Wrote(a mapping.Address, word, source string) {
	s.tell([3]any{a, word, source})
}

// tell tells every page of a change, also those that open before the next State.
func (s *Server) tell(change [3]any) {
	a := change[0].(mapping.Address)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.set[a] = change
	for p := range s.pages {
		p.owe(func(o *owed) { o.set[a] = change })
	}
}

// Refuse tells one page why something that it did not wait for was refused.
func (s *Server) Refuse(client, why string) {
	s.each(func(p *page) {
		if p.name == client {
			p.owe(func(o *owed) {
				if len(o.replies) < maxReply {
					o.replies = append(o.replies, reply{Error: why})
				}
			})
		}
	})
}

// Event adds a line to the ticker. Pages that open later see the last ones, too.
func (s *Server) Event(e Event) {
	s.mu.Lock()
	if len(s.events) >= maxEvents {
		s.events = s.events[1:]
	}
	s.events = append(s.events, e)
	s.mu.Unlock()
	s.each(func(p *page) {
		p.owe(func(o *owed) {
			if len(o.events) >= maxEvents {
				o.events = o.events[1:]
			}
			o.events = append(o.events, e)
		})
	})
}

// Status tells how the instrument is; any JSON. New pages get the last one.
func (s *Server) Status(v any) {
	if text, err := json.Marshal(v); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.status = text
		for p := range s.pages {
			p.owe(func(o *owed) { o.status = text })
		}
	}
}

// Slots tells which pods stand in the bank; any JSON. New pages get the last one.
func (s *Server) Slots(v any) {
	if text, err := json.Marshal(v); err == nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.slots = text
		for p := range s.pages {
			p.owe(func(o *owed) { o.slots = text })
		}
	}
}

// Meters tells the volts of the outputs of the last State, and the peaks of
// the first two channels. Of those that a page has not taken yet only the
// newest counts.
func (s *Server) Meters(frame int64, peaks [2]float32, volts []float32) {
	if s.Pages() == 0 {
		return
	}
	text := encodeMeters(frame, peaks, volts)
	s.each(func(p *page) { p.owe(func(o *owed) { o.meters = text }) })
}

// Listening tells whether a page wants to hear.
func (s *Server) Listening() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pages {
		if p.listens() {
			return true
		}
	}
	return false
}

// Sound gives pages that listen the next frames, ±1 in two channels of the
// same length.
func (s *Server) Sound(frame int64, left, right []float32) {
	text := encodeSound(frame, left, right)
	s.each(func(p *page) {
		if p.listens() {
			p.owe(func(o *owed) {
				if len(o.sound) >= maxSound {
					o.sound = o.sound[1:] // what is late is worth nothing
				}
				o.sound = append(o.sound, text)
			})
		}
	})
}
