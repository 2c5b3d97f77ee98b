package web

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/coder/websocket"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// desk records what pages asked for.
type desk struct {
	mu    sync.Mutex
	asked []string
}

func (d *desk) do(client string, r Request) (any, error) {
	text, _ := json.Marshal(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, client+" "+string(text))
	if r.Act != nil && r.Act.Name == "wrong" {
		return nil, errors.New("there is no action wrong")
	}
	if r.Act != nil {
		return map[string]string{"did": r.Act.Name}, nil
	}
	return nil, nil
}

func start(t *testing.T) (*Server, *desk) {
	t.Helper()
	d := &desk{}
	s, err := Listen(Config{Addr: "127.0.0.1:0", Do: d.do, Version: "test", Assets: fstest.MapFS{"index.html": {Data: []byte("<title>rack</title>")}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, d
}

// visitor opens the page by its token and keeps the cookie.
func visitor(t *testing.T, s *Server) *http.Client {
	t.Helper()
	jar, _ := cookiejar.New(nil)
	c := &http.Client{Jar: jar, Timeout: 5 * time.Second}
	if code, _ := get(t, c, s.URL(), nil); code != 200 {
		t.Fatalf("the printed address gives %d", code)
	}
	return c
}

func get(t *testing.T, c *http.Client, url string, header map[string]string) (int, string) {
	t.Helper()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			r.Host = v
		}
		r.Header.Set(k, v)
	}
	resp, err := c.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b)
}

// Whoever has no token, comes from elsewhere or calls another name gets nothing.
func TestDoor(t *testing.T) {
	s, d := start(t)
	base := "http://" + s.Addr().String()
	stranger := &http.Client{Timeout: 5 * time.Second}
	friend := visitor(t, s)
	port := s.Addr().Port()
	for _, c := range []struct {
		who    *http.Client
		url    string
		header map[string]string
		code   int
	}{
		{friend, base + "/", nil, 200},
		{friend, base + "/nothing", nil, 404},
		{friend, base + "/../server.go", nil, 404},
		{stranger, base + "/", nil, 401},
		{stranger, base + "/ws", nil, 401},
		{stranger, base + "/?token=wrong", nil, 401},
		{friend, base + "/", map[string]string{"Origin": "http://evil.example"}, 403},
		{friend, base + "/ws", map[string]string{"Origin": "http://evil.example"}, 403},
		{friend, base + "/ws", map[string]string{"Origin": "null"}, 403},
		{friend, base + "/", map[string]string{"Origin": fmt.Sprintf("https://127.0.0.1:%d", port)}, 403},
		{friend, base + "/", map[string]string{"Host": fmt.Sprintf("rebound.example:%d", port)}, 421},
		{friend, fmt.Sprintf("http://127.0.0.1:%d/", port), map[string]string{"Origin": base}, 200},
	} {
		code, body := get(t, c.who, c.url, c.header)
		if code != c.code {
			t.Errorf("%s %v: %d, want %d", c.url, c.header, code, c.code)
		}
		if code >= 400 && code != 404 && (strings.Contains(body, "rack") || strings.Contains(body, s.cfg.Token)) {
			t.Errorf("%s %v: got %q", c.url, c.header, body)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for name, o := range map[string]*websocket.DialOptions{
		"no cookie":    {},
		"other origin": {HTTPClient: friend, HTTPHeader: http.Header{"Origin": {"http://evil.example"}}},
	} {
		if conn, _, err := websocket.Dial(ctx, "ws://"+s.Addr().String()+"/ws", o); err == nil {
			conn.CloseNow()
			t.Errorf("%s: a WebSocket opens", name)
		}
	}
	if len(d.asked) > 0 || s.Pages() > 0 {
		t.Errorf("strangers were heard: %q", d.asked)
	}
	if s.Refused() < 9 {
		t.Errorf("%d refusals were counted", s.Refused())
	}
	if _, err := Listen(Config{Addr: "0.0.0.0:0", Do: d.do}); err == nil {
		t.Error("it listens on a network without TLS")
	}
}

type client struct {
	t    *testing.T
	conn *websocket.Conn
	ctx  context.Context
}

func open(t *testing.T, s *Server) *client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	conn, _, err := websocket.Dial(ctx, "ws://"+s.Addr().String()+"/ws", &websocket.DialOptions{HTTPClient: visitor(t, s)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadLimit(4 << 20)
	t.Cleanup(func() { conn.CloseNow() })
	return &client{t, conn, ctx}
}

// next reads up to a message that ok wants.
func (c *client) next(what string, ok func(told, []byte) bool) {
	c.t.Helper()
	for {
		kind, b, err := c.conn.Read(c.ctx)
		if err != nil {
			c.t.Fatalf("waiting for %s: %v", what, err)
		}
		var m told
		if kind == websocket.MessageText {
			if err := json.Unmarshal(b, &m); err != nil {
				c.t.Fatal(err)
			}
			b = nil
		}
		if ok(m, b) {
			return
		}
	}
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.conn.Write(c.ctx, websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatal(err)
	}
}

// Two pages see the same, whoever did it, and answers go to who asked.
func TestPagesInStep(t *testing.T) {
	s, d := start(t)
	s.State(&State{Scene: "default", Modules: []Module{{ID: "deployment/web"}}})
	s.Status(map[string]int{"ready": 4})
	a, b := open(t, s), open(t, s)
	for _, c := range []*client{a, b} {
		c.next("hello", func(m told, _ []byte) bool { return m.Hello != nil && m.Hello.Version == "test" })
		c.next("state", func(m told, _ []byte) bool { return m.State != nil && m.State.Modules[0].ID == "deployment/web" })
		c.next("status", func(m told, _ []byte) bool { return string(m.Status) == `{"ready":4}` })
	}
	s.Changed("/deployment/web/replicas", 6, "", "web 1")
	s.Wrote("/deployment/web/image", "", "web 1")
	s.Event(Event{Kind: "pod", Name: "web-1", Text: "ready"})
	for _, c := range []*client{a, b} {
		seen := map[string]any{}
		c.next("values", func(m told, _ []byte) bool {
			for _, v := range m.Set {
				seen[v[0].(string)] = v[1]
			}
			return len(seen) == 2
		})
		if seen["/deployment/web/replicas"] != 6.0 || seen["/deployment/web/image"] != "" {
			t.Errorf("told %v", seen)
		}
	}
	a.send(`{"id":7,"act":{"name":"undo"}}`)
	a.next("reply", func(m told, _ []byte) bool {
		return m.Reply != nil && m.Reply.ID == 7 && fmt.Sprint(m.Reply.Result) == "map[did:undo]"
	})
	a.send(`{"act":{"name":"wrong"}}`)
	a.next("error", func(m told, _ []byte) bool { return m.Reply != nil && m.Reply.Error == "there is no action wrong" })
	a.send(`{"set":`)
	a.next("error", func(m told, _ []byte) bool { return m.Reply != nil && strings.Contains(m.Reply.Error, "JSON") })
	a.send(`{"set":{"address":"/deployment/web/replicas","value":3}}`)
	a.send(`{"id":8,"act":{"name":"redo"}}`)
	a.next("reply", func(m told, _ []byte) bool { return m.Reply != nil && m.Reply.ID == 8 })
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.asked) != 4 || !strings.HasSuffix(d.asked[2], ` {"set":{"address":"/deployment/web/replicas","value":3}}`) {
		t.Errorf("asked: %q", d.asked)
	}
}

func TestMetersAndSound(t *testing.T) {
	s, _ := start(t)
	c := open(t, s)
	c.next("hello", func(m told, _ []byte) bool { return m.Hello != nil })
	s.Meters(4800, [2]float32{1, 2}, []float32{5, -3})
	c.next("meters", func(_ told, b []byte) bool {
		return len(b) == 28 && b[0] == binaryMeters && math.Float64frombits(binary.LittleEndian.Uint64(b[4:])) == 4800 &&
			math.Float32frombits(binary.LittleEndian.Uint32(b[24:])) == -3
	})
	if s.Listening() {
		t.Error("nobody asked for sound")
	}
	c.send(`{"id":1,"listen":true}`)
	c.next("reply", func(m told, _ []byte) bool { return m.Reply != nil })
	if !s.Listening() {
		t.Error("nobody listens")
	}
	s.Sound(64, []float32{0.5, 2}, []float32{-0.5, -2})
	c.next("sound", func(_ told, b []byte) bool {
		return len(b) == 20 && b[0] == binarySound && int16(binary.LittleEndian.Uint16(b[16:])) == 32767 && int16(binary.LittleEndian.Uint16(b[18:])) == -32767
	})
}

// Whoever is gone is told of: it may have held a gate up.
func TestPageLeaves(t *testing.T) {
	left := make(chan string, 1)
	s, err := Listen(Config{Addr: "127.0.0.1:0", Do: (&desk{}).do, Left: func(client string) { left <- client }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	conn, _, err := websocket.Dial(t.Context(), "ws://"+s.Addr().String()+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Cookie": {cookieName + "=" + s.cfg.Token}}})
	if err != nil {
		t.Fatal(err)
	}
	conn.CloseNow()
	select {
	case who := <-left:
		if who != "web 1" {
			t.Errorf("%s has left", who)
		}
	case <-time.After(5 * time.Second):
		t.Error("nobody has left")
	}
}

// A page that does not read loses meters and lines of the ticker, never a value,
// and costs the instrument nothing.
func TestSlowPage(t *testing.T) {
	s, _ := start(t)
	c := open(t, s)
	c.next("hello", func(m told, _ []byte) bool { return m.Hello != nil })
	volts := make([]float32, 600)
	began := time.Now()
	// A page that reads nothing for longer than writeWait is dropped.
	n := 0
	for ; n < 20000 && time.Since(began) < writeWait/2; n++ {
		s.Meters(int64(n), [2]float32{}, volts)
		s.Changed(mapping.Address(fmt.Sprintf("/voice/v/p%d", n%50)), float64(n), "", "")
		s.Event(Event{Text: fmt.Sprint(n)})
	}
	took := time.Since(began)
	last := map[string]float64{}
	c.next("the last value", func(m told, _ []byte) bool {
		for _, v := range m.Set {
			last[v[0].(string)] = v[1].(float64)
		}
		return last[fmt.Sprintf("/voice/v/p%d", (n-1)%50)] == float64(n-1)
	})
	for k, v := range last {
		if v < float64(n-50) {
			t.Errorf("%s stands at %g", k, v)
		}
	}
	t.Logf("%d changes, lines and meters took %s while nobody read", n, took)
}

// To some browsers 'self' is no WebSocket, so the policy names it, by a name that
// a policy can have.
func TestPolicyNamesTheSocket(t *testing.T) {
	r := startRack(t, rackOf(60, "vco/one"), Config{})
	for host, want := range map[string]string{
		"127.0.0.1:9080": "connect-src 'self' ws://127.0.0.1:9080;", "localhost": "connect-src 'self' ws://localhost;",
		"[::1]:9080": "connect-src 'self';", "localhost:1;script-src": "connect-src 'self';", "a;b": "connect-src 'self';",
	} {
		w, q := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
		q.Host, q.RemoteAddr = host, "127.0.0.1:1234"
		r.server.ServeHTTP(w, q)
		if got := w.Header().Get("Content-Security-Policy"); !strings.Contains(got, want) {
			t.Errorf("at %s the policy is %q, which lacks %q", host, got, want)
		}
	}
}
