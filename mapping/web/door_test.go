package web

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"math/big"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"
)

// raw sends a request as it stands, which no client of HTTP would.
func raw(t *testing.T, s *Server, text string) (code int, body string) {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprint(c, text)
	r, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	defer r.Body.Close()
	b, _ := io.ReadAll(r.Body)
	return r.StatusCode, string(b)
}

// No path leads out of the page's files, and none around the door.
func TestNoWayOut(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"secret.txt": "secret", "page/index.html": "rack", "page/sub/app.js": "app"} {
		if err := os.MkdirAll(dir+"/page/sub", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(dir+"/"+name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// Files of a real folder: there is something to be found outside.
	page, err := fs.Sub(os.DirFS(dir), "page")
	if err != nil {
		t.Fatal(err)
	}
	var passed []string
	s, err := Listen(Config{Addr: "127.0.0.1:0", Do: (&desk{}).do, Assets: page, Pages: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		passed = append(passed, r.URL.Path)
		http.NotFound(w, r)
	})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	paths := []string{"/../secret.txt", "/..%2fsecret.txt", "/%2e%2e/secret.txt", "/%2e%2e%2fsecret.txt", "/sub/../../secret.txt", "/sub/..%2f..%2fsecret.txt",
		"//secret.txt", "//../secret.txt", "/./../secret.txt", "/..%5csecret.txt", "/..\\secret.txt", "/sub/%2e%2e/%2e%2e/secret.txt", "/" + dir + "/secret.txt", "/%00", "/secret.txt%00.js", "/sub", "/sub/", "/."}
	for _, path := range paths {
		for who, cookie := range map[string]string{"a friend": "Cookie: " + cookieName + "=" + s.cfg.Token + "\r\n", "a stranger": ""} {
			code, body := raw(t, s, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n"+cookie+"Connection: close\r\n\r\n")
			if strings.Contains(body, "secret") && !strings.Contains(body, "404") || code == 200 {
				t.Errorf("%s gets %s: %d %q", who, path, code, body)
			}
			if cookie == "" && code != 401 && code != 400 {
				t.Errorf("%s gets %s: %d %q", who, path, code, body)
			}
		}
	}
	if len(passed) == 0 {
		t.Error("nothing was handed on to the other pages")
	}
	// The way in is open.
	for path, want := range map[string]string{"/": "rack", "/index.html": "rack", "/sub/app.js": "app"} {
		if code, body := raw(t, s, "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: "+cookieName+"="+s.cfg.Token+"\r\nConnection: close\r\n\r\n"); code != 200 || body != want {
			t.Errorf("%s: %d %q", path, code, body)
		}
	}
	passed = nil
	if code, _ := raw(t, s, "GET /about/ HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"); code != 401 || len(passed) > 0 {
		t.Errorf("a stranger reaches other pages: %d %q", code, passed)
	}
}

// What a browser says of where a request comes from is heeded.
func TestSitesOfOthers(t *testing.T) {
	s, _ := start(t)
	friend := visitor(t, s)
	base := "http://" + s.Addr().String()
	for _, c := range []struct {
		site, mode, dest string
		code             int
	}{
		{"cross-site", "no-cors", "image", 403},
		{"cross-site", "no-cors", "script", 403},
		{"cross-site", "cors", "empty", 403},
		{"cross-site", "navigate", "iframe", 403},
		{"cross-site", "websocket", "websocket", 403},
		{"same-site", "cors", "empty", 403}, // another port of this machine
		{"same-site", "navigate", "document", 200},
		{"cross-site", "navigate", "document", 200}, // a link to the rack; a strict cookie does not come with it
		{"same-origin", "cors", "empty", 200},
		{"none", "navigate", "document", 200},
		{"", "", "", 200},
	} {
		h := map[string]string{"Sec-Fetch-Site": c.site, "Sec-Fetch-Mode": c.mode, "Sec-Fetch-Dest": c.dest}
		if code, _ := get(t, friend, base+"/", h); code != c.code {
			t.Errorf("%v: %d, want %d", h, code, c.code)
		}
	}
	// No link does something.
	r, _ := http.NewRequest("POST", base+"/", strings.NewReader("x"))
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	r.Header.Set("Sec-Fetch-Mode", "navigate")
	r.Header.Set("Sec-Fetch-Dest", "document")
	resp, err := friend.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 403 {
		t.Errorf("a form of another site: %d", resp.StatusCode)
	}
}

// Addresses outside of the list get nothing, whatever they know.
func TestAllowList(t *testing.T) {
	s, _ := start(t)
	s.cfg.Allow = func(a netip.Addr) bool { return netip.MustParsePrefix("192.168.1.0/24").Contains(a) }
	for from, want := range map[string]int{
		"192.168.1.7:4000": 200, "[::ffff:192.168.1.7]:4000": 200, "127.0.0.1:4000": 200, "[::1]:4000": 200, "[::ffff:127.0.0.1]:4000": 200,
		"192.168.2.7:4000": 403, "[2001:db8::1]:4000": 403, "[fe80::1%eth0]:4000": 403, "10.0.0.1:4000": 403, "": 403, "nonsense": 403,
	} {
		for _, path := range []string{"/", "/?token=" + url.QueryEscape(s.cfg.Token), "/ws"} {
			r := httptest.NewRequest("GET", path, nil)
			r.Host, r.RemoteAddr = "127.0.0.1:9080", from
			r.AddCookie(&http.Cookie{Name: "k8s-synth-9080", Value: s.cfg.Token})
			w := httptest.NewRecorder()
			if path == "/ws" && want == 200 {
				continue
			}
			s.ServeHTTP(w, r)
			if w.Code != want {
				t.Errorf("%s from %q: %d, want %d", path, from, w.Code, want)
			}
			if want != 200 && (strings.Contains(w.Body.String(), s.cfg.Token) || len(w.Result().Cookies()) > 0 || strings.Contains(w.Body.String(), "<title>")) {
				t.Errorf("%s from %q gets %q and %v", path, from, w.Body, w.Result().Cookies())
			}
		}
	}
}

// selfSigned is a certificate for an address and a name.
func selfSigned(t *testing.T, names ...string) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: names}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// With TLS the page works, its cookie is never sent in the clear, and plain HTTP
// gets nothing.
func TestTLS(t *testing.T) {
	cert, pool := selfSigned(t, "box.local")
	s, err := Listen(Config{Addr: "127.0.0.1:0", Do: (&desk{}).do, Names: []string{"box.local"}, TLS: &tls.Config{Certificates: []tls.Certificate{cert}},
		Assets: fstest.MapFS{"index.html": {Data: []byte("rack")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	port := s.Addr().Port()
	if want := fmt.Sprintf("https://127.0.0.1:%d/?token=", port); !strings.HasPrefix(s.URL(), want) {
		t.Errorf("the address is %s, want %s", s.URL(), want)
	}
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	resp, err := c.Get(s.URL())
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	cookies := resp.Cookies()
	if len(cookies) != 1 {
		t.Fatalf("the cookies are %v", cookies)
	}
	// What __Host- promises: without all of it a browser takes no such cookie.
	if k := cookies[0]; k.Name != fmt.Sprintf("__Host-k8s-synth-%d", port) || !k.Secure || !k.HttpOnly || k.Path != "/" || k.Domain != "" || k.SameSite != http.SameSiteStrictMode {
		t.Errorf("the cookie is %s", k)
	}
	base := fmt.Sprintf("https://127.0.0.1:%d", port)
	for _, k := range []struct {
		name   string
		header map[string]string
		code   int
	}{
		{"the player", nil, 200},
		{"its own origin", map[string]string{"Origin": base}, 200},
		{"the origin without TLS", map[string]string{"Origin": strings.Replace(base, "https", "http", 1)}, 403},
		{"a name of the certificate", map[string]string{"Host": fmt.Sprintf("Box.local:%d", port), "Cookie": fmt.Sprintf("__Host-k8s-synth-%d=%s", port, s.cfg.Token)}, 200},
		{"another name", map[string]string{"Host": fmt.Sprintf("box.evil.example:%d", port), "Cookie": cookieName + "=" + s.cfg.Token}, 421},
	} {
		if code, _ := get(t, c, base+"/", k.header); code != k.code {
			t.Errorf("%s: %d, want %d", k.name, code, k.code)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, fmt.Sprintf("wss://127.0.0.1:%d/ws", port), &websocket.DialOptions{HTTPClient: c})
	if err != nil {
		t.Fatalf("no WebSocket with TLS: %v", err)
	}
	conn.CloseNow()
	// In the clear there is no page, and no name.
	if code, body := raw(t, s, "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nCookie: "+cookieName+"="+s.cfg.Token+"\r\nConnection: close\r\n\r\n"); code != 400 || strings.Contains(body, "rack") {
		t.Errorf("plain HTTP gets %d %q", code, body)
	}
	plain, _ := start(t)
	plain.cfg.Names = []string{"box.local"}
	if code, _ := raw(t, plain, "GET / HTTP/1.1\r\nHost: box.local\r\nCookie: "+cookieName+"="+plain.cfg.Token+"\r\nConnection: close\r\n\r\n"); code != 421 {
		t.Errorf("a name without TLS gets %d", code)
	}
}

// Two instruments of one machine keep each its own visitors, and a cookie of the
// name that was once given to all opens, too.
func TestCookieByPort(t *testing.T) {
	a, _ := start(t)
	b, _ := start(t)
	jar, _ := cookiejar.New(nil) // which does not tell ports apart, as browsers do not
	c := &http.Client{Jar: jar, Timeout: 5 * time.Second}
	for _, s := range []*Server{a, b} {
		get(t, c, s.URL(), nil)
	}
	for _, s := range []*Server{a, b, a} {
		if code, _ := get(t, c, "http://"+s.Addr().String()+"/", nil); code != 200 {
			t.Errorf("at %s: %d", s.Addr(), code)
		}
	}
	stranger := &http.Client{Timeout: 5 * time.Second}
	for cookie, want := range map[string]int{
		"k8s-synth=" + a.cfg.Token:                    200,
		"k8s-synth=guess; k8s-synth=" + a.cfg.Token:   200,
		"k8s-synth=" + b.cfg.Token:                    401,
		"k8s-synth=":                                  401,
		"other=" + a.cfg.Token:                        401,
		"k8s-synth-1=" + a.cfg.Token:                  401,
		"k8s-synth=" + a.cfg.Token[:10]:               401,
		"k8s-synth=" + a.cfg.Token + "x":              401,
		"k8s-synth=" + strings.ToLower(a.cfg.Token):   401,
		"k8s-synth=x; other=" + a.cfg.Token + "; a=b": 401,
	} {
		if code, _ := get(t, stranger, "http://"+a.Addr().String()+"/", map[string]string{"Cookie": cookie}); code != want {
			t.Errorf("%s: %d, want %d", cookie, code, want)
		}
	}
}

// A WebSocket without a cookie, or of an origin that is not ours, does not open;
// one without an origin, which no browser makes, needs the cookie.
func TestSocketDoor(t *testing.T) {
	s, d := start(t)
	base := "http://" + s.Addr().String()
	cookie := cookieName + "=" + s.cfg.Token
	for _, c := range []struct {
		name, cookie, origin string
		opens                bool
	}{
		{"no cookie", "", base, false},
		{"no cookie and no origin", "", "", false},
		{"the token as its address has it", "", base, false},
		{"a wrong cookie", cookieName + "=guess", base, false},
		{"another origin", cookie, "http://evil.example", false},
		{"another port of this machine", cookie, "http://127.0.0.1:1", false},
		{"another scheme", cookie, "https://" + s.Addr().String(), false},
		{"no origin of its own", cookie, "null", false},
		{"the page", cookie, base, true},
		{"a program", cookie, "", true},
	} {
		at := "ws://" + s.Addr().String() + "/ws"
		if strings.HasPrefix(c.name, "the token") {
			at += "?token=" + url.QueryEscape(s.cfg.Token)
		}
		h := http.Header{}
		if c.cookie != "" {
			h.Set("Cookie", c.cookie)
		}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		conn, _, err := websocket.Dial(ctx, at, &websocket.DialOptions{HTTPHeader: h})
		cancel()
		if (err == nil) != c.opens {
			t.Errorf("%s: %v", c.name, err)
		}
		if err == nil {
			conn.CloseNow()
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("strangers were heard: %q", d.asked)
	}
}

// The token is in an address once: the answer leads on to one without it, says
// nothing of it, and leaves it in no cache.
func TestTokenOnlyOnce(t *testing.T) {
	s, _ := start(t)
	tok := url.QueryEscape(s.cfg.Token)
	for path, want := range map[string]string{
		"/?token=" + tok:                         "0; url=/",
		"/about/?token=" + tok + "&x=1":          "0; url=/about/?x=1",
		"//evil.example/?token=" + tok:           "0; url=/",
		"/?token=" + tok + "&ticket=" + "x":      "0; url=/",
		"/%5cevil.example/?token=" + tok + "&y=": "0; url=/%5Cevil.example/?y=",
	} {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n", path)
		r, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(r.Body)
		c.Close()
		if got := r.Header.Get("Refresh"); got != want {
			t.Errorf("%s leads to %q, want %q", path, got, want)
		}
		if strings.Contains(string(b), s.cfg.Token) || strings.Contains(r.Header.Get("Refresh"), s.cfg.Token) {
			t.Errorf("%s: the answer names the token", path)
		}
		if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Referrer-Policy") != "no-referrer" {
			t.Errorf("%s: the headers are %v", path, r.Header)
		}
	}
}

// A ticket opens the page once and not after a minute; who has the cookie needs
// none.
func TestTicket(t *testing.T) {
	s, _ := start(t)
	var at time.Time
	s.now = func() time.Time { return at }
	at = time.Now()
	once := s.Ticket()
	if strings.Contains(once, s.cfg.Token) || !strings.HasPrefix(once, "http://127.0.0.1:") {
		t.Fatalf("the ticket is %s", once)
	}
	stranger := func() *http.Client { return &http.Client{Timeout: 5 * time.Second} }
	// A look ahead does not use it up.
	if resp, err := stranger().Head(once); err != nil || resp.StatusCode != 401 {
		t.Errorf("HEAD: %v %v", resp, err)
	}
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Timeout: 5 * time.Second}
	if code, _ := get(t, c, once, nil); code != 200 {
		t.Fatalf("the ticket gives %d", code)
	}
	if code, body := get(t, c, "http://"+s.Addr().String()+"/", nil); code != 200 || !strings.Contains(body, "rack") {
		t.Errorf("after it: %d %q", code, body)
	}
	if code, _ := get(t, stranger(), once, nil); code != 401 {
		t.Errorf("again it gives %d", code)
	}
	if code, _ := get(t, c, once, nil); code != 200 {
		t.Errorf("who is inside gets %d", code)
	}
	late := s.Ticket()
	at = at.Add(ticketLife)
	if code, _ := get(t, stranger(), late, nil); code != 401 {
		t.Errorf("after a minute it gives %d", code)
	}
	if code, _ := get(t, stranger(), "http://"+s.Addr().String()+"/?ticket=guess", nil); code != 401 {
		t.Errorf("a guess gives %d", code)
	}
	// Many are made: the oldest ends.
	first := s.Ticket()
	for range maxTickets {
		s.Ticket()
	}
	if len(s.tickets) != maxTickets {
		t.Errorf("there are %d tickets", len(s.tickets))
	}
	if code, _ := get(t, stranger(), first, nil); code != 401 {
		t.Errorf("the oldest of many gives %d", code)
	}
}

// Where a server at all addresses is opened.
func TestHosts(t *testing.T) {
	addrs := func(list ...string) (out []netip.Addr) {
		for _, a := range list {
			out = append(out, netip.MustParseAddr(a))
		}
		return out
	}
	lan := netip.MustParsePrefix("192.168.1.0/24")
	for _, c := range []struct {
		listens string
		have    []netip.Addr
		allow   func(netip.Addr) bool
		want    []netip.Addr
	}{
		{"127.0.0.1", addrs("192.168.1.5"), nil, addrs("127.0.0.1")},
		{"192.168.1.5", addrs("192.168.1.5", "10.0.0.1"), nil, addrs("192.168.1.5")},
		{"::ffff:192.168.1.5", nil, nil, addrs("192.168.1.5")},
		{"0.0.0.0", addrs("192.168.1.5", "172.17.0.1", "2001:db8::1"), lan.Contains, addrs("192.168.1.5", "127.0.0.1")},
		{"::", addrs("172.17.0.1", "192.168.1.5"), nil, addrs("172.17.0.1", "192.168.1.5", "127.0.0.1")},
		{"::", addrs("10.1.1.1"), lan.Contains, addrs("10.1.1.1", "127.0.0.1")},
		{"::", addrs("2001:db8::1"), nil, addrs("2001:db8::1", "127.0.0.1")},
		{"::", nil, lan.Contains, addrs("127.0.0.1")},
	} {
		if got := hostsOf(netip.MustParseAddr(c.listens), c.have, c.allow); !slices.Equal(got, c.want) {
			t.Errorf("at %s, having %v: %v, want %v", c.listens, c.have, got, c.want)
		}
	}
	for _, a := range Addresses() {
		if a.IsLoopback() || a.IsLinkLocalUnicast() || a.Is4In6() {
			t.Errorf("%s is an address of a network", a)
		}
	}
}

// Secrets are compared in constant time, which no test can measure on a machine
// that does other things: the source is looked at.
func TestSecretsInConstantTime(t *testing.T) {
	set := token.NewFileSet()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	secret := func(e ast.Expr) bool {
		name := ""
		switch x := e.(type) {
		case *ast.SelectorExpr:
			name = x.Sel.Name
		case *ast.Ident:
			name = x.Name
		}
		return slices.Contains([]string{"Token", "secret", "token", "once"}, name)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(set, f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.BinaryExpr:
				empty := func(e ast.Expr) bool { l, ok := e.(*ast.BasicLit); return ok && l.Value == `""` }
				if (x.Op == token.EQL || x.Op == token.NEQ) && (secret(x.X) || secret(x.Y)) && !empty(x.X) && !empty(x.Y) {
					t.Errorf("%s: a secret is compared with %s", set.Position(x.Pos()), x.Op)
				}
			case *ast.CallExpr:
				if f, ok := x.Fun.(*ast.SelectorExpr); ok {
					if f.Sel.Name == "ConstantTimeCompare" {
						compared++
					}
					if slices.Contains([]string{"EqualFold", "Equal", "Compare", "Contains", "HasPrefix"}, f.Sel.Name) && slices.ContainsFunc(x.Args, secret) {
						t.Errorf("%s: a secret is compared with %s", set.Position(x.Pos()), f.Sel.Name)
					}
				}
			}
			return true
		})
	}
	if compared < 2 {
		t.Errorf("%d comparisons are in constant time, want those of the token and of tickets", compared)
	}
}
