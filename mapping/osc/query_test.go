package osc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func TestDifference(t *testing.T) {
	set := func(nodes ...string) *tree {
		var list []Node
		for _, text := range nodes {
			address, doc, _ := strings.Cut(text, " ")
			list = append(list, Node{Address: address, Tags: "i", Access: Read, Doc: doc, Get: func(d []Arg) []Arg { return append(d, Int32(0)) }})
		}
		tr, err := newTree(list)
		if err != nil {
			t.Fatal(err)
		}
		return tr
	}
	many := []string{"/a/x"}
	for i := range 100 {
		many = append(many, fmt.Sprintf("/pods/p%03d/phase", i))
	}
	for _, c := range []struct {
		old, now *tree
		want     string
	}{
		{set("/a/x", "/a/y"), set("/a/x", "/a/y"), "[]"},
		{set("/a/x"), set("/a/x", "/a/y"), "[{PATH_ADDED /a/y}]"},
		{set("/a/x"), set("/a/x", "/pods/web/phase", "/pods/web/node"), "[{PATH_ADDED /pods}]"},
		{set("/pods/db/phase"), set("/pods/db/phase", "/pods/web/phase", "/pods/web/node"), "[{PATH_ADDED /pods/web}]"},
		{set("/pods/db/phase", "/pods/web/phase", "/pods/web/node"), set("/pods/db/phase"), "[{PATH_REMOVED /pods/web}]"},
		{set("/pods/a/phase", "/pods/c/phase"), set("/pods/b/phase", "/pods/c/phase"), "[{PATH_REMOVED /pods/a} {PATH_ADDED /pods/b}]"},
		{set("/a/x old"), set("/a/x new"), "[{PATH_CHANGED /a/x}]"},
		{set("/a/x"), set("/a/x", "/a"), "[{PATH_CHANGED /a}]"},
		{set("/a/x", "/a"), set("/a/x"), "[{PATH_CHANGED /a}]"},
		{set("/a/x"), set(), "[{PATH_REMOVED /a}]"},
		{set("/a/x"), set(many...), "[{PATH_ADDED /pods}]"},
		{set("/a/x", "/pods/z/phase"), set(append(many, "/pods/z/phase")...), "[{PATH_CHANGED /pods}]"},
		{set("/z", "/pods/z/phase"), set(append(many, "/pods/z/phase")...), "[{PATH_CHANGED /}]"},
	} {
		if got := fmt.Sprint(difference(c.old, c.now)); got != c.want {
			t.Errorf("%s, want %s", got, c.want)
		}
	}
}

// queryRack is a rack with OSCQuery and the path of a URL on it.
func queryRack(t *testing.T, cfg Config) (*rack, func(path string) string) {
	cfg.Query = "127.0.0.1:0"
	r := openRack(t, cfg)
	return r, func(path string) string { return "http://" + r.surface.Addrs().Query.String() + path }
}

func get(t *testing.T, url string, change ...func(*http.Request)) (status int, body string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range change {
		f(r)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode == 200 && resp.Header.Get("Content-Type") != "application/json" {
		t.Errorf("content type %q", resp.Header.Get("Content-Type"))
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestQueryTree(t *testing.T) {
	r, at := queryRack(t, Config{Name: "stage left"})
	nodes := r.nodes()
	for i := range nodes {
		if nodes[i].Address == "/voice/wave" {
			nodes[i].Doc, nodes[i].Labels = "what it \"sounds\"\nlike ♪", []string{"voice", "shape"}
		}
	}
	nodes = append(nodes, Node{Address: "/panic", Access: Write, Set: func([]Arg, Cause) error { return nil }},
		Node{Address: "/every", Tags: "ifsbhtdScrmTNI", Access: Read, Get: func(dst []Arg) []Arg {
			return append(dst, Int32(-1), Float32(0.1), String("\x00\xff<"), Blob([]byte{1}), Int64(1<<60), Time(5), Float64(0.1), Symbol("s"), Char('x'), RGBA(0xFF8000C0), MIDI(1), Bool(true), Nil(), Impulse())
		}})
	if err := r.surface.Replace(nodes); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path   string
		status int
		body   string
	}{
		{"/deployment/web/replicas", 200, `{"FULL_PATH":"/deployment/web/replicas","ACCESS":3,"TYPE":"i","VALUE":[0],"RANGE":[{"MIN":0,"MAX":50}],"CLIPMODE":["none"]}`},
		{"/deployment/web/replicas/", 200, `{"FULL_PATH":"/deployment/web/replicas","ACCESS":3,"TYPE":"i","VALUE":[0],"RANGE":[{"MIN":0,"MAX":50}],"CLIPMODE":["none"]}`},
		{"/deployment/web", 200, `{"FULL_PATH":"/deployment/web","ACCESS":0,"CONTENTS":{"ready":{"FULL_PATH":"/deployment/web/ready","ACCESS":1,"TYPE":"i","VALUE":[0]},"replicas":{"FULL_PATH":"/deployment/web/replicas","ACCESS":3,"TYPE":"i","VALUE":[0],"RANGE":[{"MIN":0,"MAX":50}],"CLIPMODE":["none"]}}}`},
		{"/voice/wave", 200, `{"FULL_PATH":"/voice/wave","ACCESS":3,"DESCRIPTION":"what it \"sounds\"\nlike ♪","TYPE":"s","VALUE":[""],"RANGE":[{"VALS":["saw","pulse"]}],"TAGS":["voice","shape"]}`},
		{"/voice/frequency", 200, `{"FULL_PATH":"/voice/frequency","ACCESS":3,"TYPE":"f","VALUE":[0],"RANGE":[{"MIN":20,"MAX":20000}],"UNIT":["time.hz"],"CLIPMODE":["none"]}`},
		{"/voice/xy", 200, `{"FULL_PATH":"/voice/xy","ACCESS":3,"TYPE":"ff","VALUE":[0,0]}`},
		{"/panic", 200, `{"FULL_PATH":"/panic","ACCESS":2,"TYPE":"I","CRITICAL":true}`},
		{"/every?VALUE", 200, `{"VALUE":[-1,0.1,"\u0000` + "\uFFFD" + `<",null,1152921504606846976,null,0.1,"s","x","#FF8000C0",null,true,null,null]}`},
		{"/voice/on?VALUE", 200, `{"VALUE":[false]}`},
		{"/voice/on?VALUE&TYPE", 200, `{"VALUE":[false],"TYPE":"T"}`},
		{"/voice/on?RANGE", 200, `{}`},
		{"/voice?TYPE", 200, `{}`},
		{"/voice?ACCESS", 200, `{"ACCESS":0}`},
		{"/voice?VALUE", 204, ``},
		{"/voice/write?VALUE", 204, ``},
		{"/voice/on?EXTENDED_TYPE", 204, ``},
		{"/voice/on?NONSENSE", 400, `unknown attribute; expected one of FULL_PATH, ACCESS, DESCRIPTION, TYPE, VALUE, RANGE, UNIT, CLIPMODE, TAGS, CRITICAL, CONTENTS, HOST_INFO`},
		{"/nowhere", 404, `no such address; below / there are: deployment, every, panic, transport, voice`},
		{"/voice/nothing?VALUE", 404, `no such address; below /voice/ there are: big, frequency, on, refuses, strike, tenth, wave, write, and 1 more`},
		{"//voice", 404, `no such address; below / there are: deployment, every, panic, transport, voice`},
		{"/?FULL_PATH", 200, `{"FULL_PATH":"/"}`},
		{"/?DESCRIPTION", 200, `{"DESCRIPTION":"stage left"}`},
	} {
		status, body := get(t, at(c.path))
		if status != c.status || body != c.body {
			t.Errorf("%s: %d %s\nwant %d %s", c.path, status, body, c.status, c.body)
		}
	}
	_, first := get(t, at("/"))
	_, second := get(t, at("/#fragments are for the client"))
	var whole struct {
		Contents map[string]struct {
			Contents map[string]any `json:"CONTENTS"`
		} `json:"CONTENTS"`
	}
	if err := json.Unmarshal([]byte(first), &whole); err != nil || len(whole.Contents) != 5 || len(whole.Contents["voice"].Contents) != 9 {
		t.Errorf("%v: %s", err, first)
	}
	if first != second {
		t.Errorf("not the same bytes:\n%s\n%s", first, second)
	}
	a := r.surface.Addrs()
	_, info := get(t, at("/any/path?HOST_INFO"))
	if want := fmt.Sprintf(`{"NAME":"stage left","EXTENSIONS":{"ACCESS":true,"VALUE":true,"RANGE":true,"DESCRIPTION":true,"TAGS":true,"UNIT":true,"CRITICAL":true,"CLIPMODE":true,"LISTEN":true,"PATH_CHANGED":true,"PATH_ADDED":true,"PATH_REMOVED":true},"OSC_IP":"127.0.0.1","OSC_PORT":%d,"OSC_TRANSPORT":"UDP","WS_IP":"127.0.0.1","WS_PORT":%d}`, a.UDP.Port(), a.Query.Port()); info != want {
		t.Errorf("HOST_INFO:\n%s\nwant\n%s", info, want)
	}
	w := jsonWriter{}
	w.hostInfo(netip.MustParseAddrPort("0.0.0.0:9000"), netip.MustParseAddrPort("[::]:9001"), netip.MustParseAddr("::ffff:192.168.1.2"))
	if text := string(w.out); !strings.Contains(text, `"OSC_IP":"192.168.1.2","OSC_PORT":9000`) || !strings.Contains(text, `"WS_IP":"192.168.1.2","WS_PORT":9001`) {
		t.Errorf("an address that stands for all: %s", text)
	}
}

// A page of another site may neither look nor play, and nothing is changed by
// HTTP.
func TestQueryRefuses(t *testing.T) {
	r, at := queryRack(t, Config{})
	r.surface.query.hostname = "synth.example.org"
	own := strings.TrimSuffix(at(""), "/")
	port := fmt.Sprint(r.surface.Addrs().Query.Port())
	for _, c := range []struct {
		name   string
		change func(*http.Request)
		status int
	}{
		{"a program", func(*http.Request) {}, 200},
		{"its own page", func(r *http.Request) { r.Header.Set("Origin", own) }, 200},
		{"a page elsewhere", func(r *http.Request) { r.Header.Set("Origin", "http://evil.example") }, 403},
		{"a page on another port", func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") }, 403},
		{"a page of a file", func(r *http.Request) { r.Header.Set("Origin", "null") }, 403},
		{"a page by TLS", func(r *http.Request) { r.Header.Set("Origin", strings.Replace(own, "http", "https", 1)) }, 403},
		{"two origins", func(r *http.Request) { r.Header["Origin"] = []string{own, "http://evil.example"} }, 403},
		{"a name that was made to mean this machine", func(r *http.Request) { r.Host = "evil.example:" + port }, 403},
		{"the same as its own page", func(r *http.Request) {
			r.Host = "evil.example:" + port
			r.Header.Set("Origin", "http://evil.example:"+port)
		}, 403},
		{"localhost", func(r *http.Request) { r.Host = "localhost:" + port }, 200},
		{"its name on the local network", func(r *http.Request) { r.Host = "synth-k8s-synth.local:" + port }, 200},
		{"another's name there", func(r *http.Request) { r.Host = "evil.local:" + port }, 403},
		{"POST", func(r *http.Request) { r.Method = http.MethodPost }, 405},
		{"DELETE", func(r *http.Request) { r.Method = http.MethodDelete }, 405},
		{"HEAD", func(r *http.Request) { r.Method = http.MethodHead }, 200},
	} {
		if status, body := get(t, at("/voice/on"), c.change); status != c.status {
			t.Errorf("%s: %d %s, want %d", c.name, status, body, c.status)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if _, resp, err := websocket.Dial(ctx, at("/"), &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"http://evil.example"}}}); err == nil || resp.StatusCode != 403 {
		t.Errorf("a WebSocket of a page elsewhere: %v", err)
	}
	if got := r.takeSets(); len(got) != 0 {
		t.Errorf("%v", got)
	}
}

func TestQueryIsRateLimited(t *testing.T) {
	r, at := queryRack(t, Config{Rate: 100})
	conn := &http.Client{} // one connection, one client
	limited := 0
	for range 50 {
		resp, err := conn.Get(at("/voice/on"))
		if err != nil {
			t.Fatal(err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if resp.StatusCode == http.StatusTooManyRequests {
			limited++
		}
	}
	if limited < 30 || r.surface.Stats().Limited != uint64(limited) {
		t.Errorf("%d of 50 requests limited, %+v", limited, r.surface.Stats())
	}
}

func TestQueryGetPanicIsSurvived(t *testing.T) {
	l := &logs{}
	r, at := queryRack(t, Config{Logger: slog.New(l)})
	if err := r.surface.Replace(append(r.nodes(), Node{Address: "/a", Tags: "i", Access: Read, Get: func([]Arg) []Arg { panic("on purpose") }})); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if status, _ := get(t, at("/")); status != 500 {
			t.Errorf("%d", status)
		}
	}
	if status, _ := get(t, at("/voice/on")); status != 200 {
		t.Errorf("%d", status)
	}
	if lines := l.all(); len(lines) != 1 || !strings.Contains(lines[0], "on purpose") {
		t.Errorf("%q", lines)
	}
}

// watcher is a client of OSCQuery of our own making.
type watcher struct {
	t    testing.TB
	conn *websocket.Conn
	ch   chan string
}

func (r *rack) watch(t testing.TB) *watcher {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, "ws://"+r.surface.Addrs().Query.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.CloseNow() })
	w := &watcher{t: t, conn: conn, ch: make(chan string, 10000)}
	go func() {
		defer close(w.ch)
		for {
			kind, b, err := conn.Read(context.Background())
			if err != nil {
				return
			}
			if kind == websocket.MessageText {
				w.ch <- string(b)
				continue
			}
			var m Message
			Walk(b, &m, func(m *Message, _ []byte, _ TimeTag) {
				w.ch <- strings.TrimSpace(string(m.Address()) + " " + texts(m))
			})
		}
	}()
	return w
}

func (w *watcher) write(kind websocket.MessageType, b []byte) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := w.conn.Write(ctx, kind, b); err != nil {
		w.t.Fatal(err)
	}
}

func (w *watcher) command(command, data string) {
	w.t.Helper()
	b, _ := json.Marshal(map[string]string{"COMMAND": command, "DATA": data})
	w.write(websocket.MessageText, b)
}

func (w *watcher) get(wait time.Duration) string {
	select {
	case s, ok := <-w.ch:
		if !ok {
			return "closed"
		}
		return s
	case <-time.After(wait):
		return ""
	}
}

func (w *watcher) want(want ...string) {
	w.t.Helper()
	for _, x := range want {
		if got := w.get(5 * time.Second); got != x {
			w.t.Fatalf("got %q, want %q", got, x)
		}
	}
}

func (w *watcher) silent() {
	w.t.Helper()
	if got := w.get(100 * time.Millisecond); got != "" {
		w.t.Errorf("got %q, want silence", got)
	}
}

func TestQueryListens(t *testing.T) {
	r, _ := queryRack(t, Config{})
	w, c := r.watch(t), r.client(t)
	w.command("LISTEN", "/deployment/web/replicas")
	w.want("/deployment/web/replicas 0")
	c.send("/deployment/web/replicas", Int32(5))
	w.want("/deployment/web/replicas 5")
	c.send("/deployment/db/replicas", Int32(5)) // not asked for
	w.silent()
	if cs := r.surface.Clients(); len(cs) != 1 || cs[0].Listens != 1 || Transport(cs[0].To) != "ws" || !cs[0].Expires.IsZero() {
		t.Errorf("%+v", cs)
	}
	// Binary messages play, and ask, as everywhere.
	w.write(websocket.MessageBinary, encode(t, "/deployment/web/replicas", Int32(6)))
	w.write(websocket.MessageBinary, encode(t, "/deployment/web/replicas"))
	w.want("/deployment/web/replicas 6")
	w.write(websocket.MessageBinary, encode(t, "/deployment/web/replicas", Int32(600)))
	w.want(`/error "/deployment/web/replicas" "argument 1 is i 600, expected i in 0…50"`)
	w.write(websocket.MessageBinary, encode(t, "/subscribe", String("/voice/on")))
	w.want("/voice/on false")
	w.command("IGNORE", "/deployment/web/replicas")
	w.command("IGNORE", "/never/heard")
	w.command("LISTEN", "/voice/xy")
	w.want("/voice/xy 0 0")
	c.send("/deployment/web/replicas", Int32(7))
	w.silent()
	for command, data := range map[string]string{"LISTEN": "/voice", "Listen": "/voice/on", "START_OSC_STREAMING": "x"} {
		w.command(command, data)
		if got := w.get(5 * time.Second); !strings.HasPrefix(got, `/error "`+data) {
			t.Errorf("%s %s: %q", command, data, got)
		}
	}
	w.write(websocket.MessageText, []byte("{"))
	if got := w.get(5 * time.Second); !strings.HasPrefix(got, "/error") || !strings.Contains(got, "expected {") {
		t.Errorf("got %q", got)
	}
	w.conn.CloseNow()
	eventually(t, "the client that left is forgotten", func() bool { return len(r.surface.Clients()) == 0 && r.surface.Stats().WebSocket == 0 })
}

// A pod appears, changes and goes, and a client is told each time.
func TestQueryTellsPaths(t *testing.T) {
	r, at := queryRack(t, Config{})
	w := r.watch(t)
	w.command("LISTEN", "/voice/on")
	w.want("/voice/on false")
	pod := func(doc string) []Node {
		phase, node := r.node("/pods/web-1/phase", "s"), r.node("/pods/web-1/node", "s")
		phase.Doc = doc
		return append(r.nodes(), phase, node)
	}
	replace := func(nodes []Node) {
		if err := r.surface.Replace(nodes); err != nil {
			t.Fatal(err)
		}
	}
	replace(pod("its phase"))
	w.want(`{"COMMAND":"PATH_ADDED","DATA":"/pods"}`)
	// The new values go to those who listen by now, and not to it, when one that
	// has changed after them comes.
	r.surface.Notify("/voice/on", netip.AddrPort{}, Bool(true))
	w.want("/voice/on true")
	if status, body := get(t, at("/pods/web-1?CONTENTS")); status != 200 || !strings.Contains(body, `"phase":{"FULL_PATH":"/pods/web-1/phase"`) {
		t.Errorf("%d %s", status, body)
	}
	w.command("LISTEN", "/pods/web-1/phase")
	w.want(`/pods/web-1/phase ""`)
	replace(pod("the phase of its life"))
	w.want(`{"COMMAND":"PATH_CHANGED","DATA":"/pods/web-1/phase"}`)
	replace(pod("the phase of its life"))
	w.silent()
	replace(r.nodes())
	w.want(`{"COMMAND":"PATH_REMOVED","DATA":"/pods"}`)
	if cs := r.surface.Clients(); len(cs) != 1 || cs[0].Listens != 1 {
		t.Errorf("what is gone is still heard: %+v", cs)
	}
	// When it is back it is a new one, and the client has to ask again.
	replace(pod("its phase"))
	w.want(`{"COMMAND":"PATH_ADDED","DATA":"/pods"}`)
	r.surface.Notify("/pods/web-1/phase", netip.AddrPort{}, String("Running"))
	w.silent()
}

func TestQueryWebSocketFaults(t *testing.T) {
	r, _ := queryRack(t, Config{})
	good := r.watch(t)
	w := r.watch(t)
	w.write(websocket.MessageBinary, []byte("not OSC"))
	w.write(websocket.MessageBinary, encode(t, "/voice/on"))
	w.want("/voice/on false")
	w.write(websocket.MessageBinary, make([]byte, MaxPacket+1))
	if got := w.get(5 * time.Second); got != "closed" {
		t.Errorf("after a message of 64 KiB and one: %q", got)
	}
	// A message that never ends.
	r.surface.server.frameTimeout = 50 * time.Millisecond
	w = r.watch(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	wr, err := w.conn.Writer(ctx, websocket.MessageBinary)
	if err != nil {
		t.Fatal(err)
	}
	wr.Write(make([]byte, 5000))
	if got := w.get(5 * time.Second); got != "closed" {
		t.Errorf("after half a message: %q", got)
	}
	good.write(websocket.MessageBinary, encode(t, "/voice/on"))
	good.want("/voice/on false")
	eventually(t, "both are gone", func() bool { return r.surface.Stats().WebSocket == 1 })
	if st := r.surface.Stats(); st.Malformed < 2 {
		t.Errorf("%+v", st)
	}
}

// A client that does not read is dropped when its queue is full; nobody else
// notices.
func TestQuerySlowReaderIsDropped(t *testing.T) {
	r, _ := queryRack(t, Config{})
	good := r.watch(t)
	conn, _, err := websocket.Dial(t.Context(), "ws://"+r.surface.Addrs().Query.String()+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.CloseNow()
	if err := conn.Write(t.Context(), websocket.MessageBinary, encode(t, "/subscribe")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is subscribed", func() bool { return len(r.surface.Clients()) == 1 })
	big := strings.Repeat("x", 60000)
	for i := 0; r.surface.Stats().Slow == 0; i++ {
		if i > 1000 {
			t.Fatal("60 MB went to one who does not read")
		}
		if err := r.surface.Tell("/big", String(big)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "it is forgotten", func() bool { return len(r.surface.Clients()) == 0 && r.surface.Stats().WebSocket == 1 })
	good.write(websocket.MessageBinary, encode(t, "/voice/on"))
	good.want("/voice/on false")
}

func TestQueryCloses(t *testing.T) {
	before := runtime.NumGoroutine()
	rack := &rack{values: map[string][]Arg{}}
	surface, err := Open(Config{Addr: ":0", Query: ":0", Logger: slog.New(&logs{})}, rack.nodes())
	if err != nil {
		t.Fatal(err)
	}
	rack.surface = surface
	var list []*watcher
	for range 8 {
		w := rack.watch(t)
		w.command("LISTEN", "/voice/on")
		w.want("/voice/on false")
		list = append(list, w)
	}
	half, err := net.Dial("tcp", surface.Addrs().Query.String())
	if err != nil {
		t.Fatal(err)
	}
	defer half.Close()
	send(t, half, []byte("GET / HT"))
	if err := surface.Close(); err != nil {
		t.Error(err)
	}
	for _, w := range list {
		if got := w.get(5 * time.Second); got != "closed" {
			t.Errorf("got %q", got)
		}
		w.conn.CloseNow()
	}
	eventually(t, "the goroutines are gone", func() bool { return runtime.NumGoroutine() <= before+1 })
}

// queryOnly answers requests without a network.
func queryOnly(tb testing.TB) (*queryServer, *rack) {
	r := openRack(tb, Config{Query: "127.0.0.1:0", Rate: -1})
	return r.surface.query, r
}

// Whatever a URL says, the answer is JSON or an error of the client's.
func FuzzQueryURL(f *testing.F) {
	q, _ := queryOnly(f)
	for _, s := range []string{"/", "/voice/on?VALUE", "/deployment/web?CONTENTS&TYPE", "/a%00b", "/voice//on", "/?HOST_INFO", "/%2e%2e/?", "/voice/on?VALUE=1&&"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.Parse("http://127.0.0.1/" + strings.TrimPrefix(target, "/"))
		if err != nil {
			return
		}
		req := &http.Request{Method: http.MethodGet, URL: u, Host: "127.0.0.1", RemoteAddr: "127.0.0.1:5", Header: http.Header{}}
		w := httptest.NewRecorder()
		q.ServeHTTP(w, req)
		switch w.Code {
		case 200:
			var v map[string]any
			if err := json.Unmarshal(w.Body.Bytes(), &v); err != nil {
				t.Fatalf("%q: %v: %s", target, err, w.Body)
			}
		case 204, 400, 404:
		default:
			t.Fatalf("%q: %d %s", target, w.Code, w.Body)
		}
	})
}

func FuzzQueryCommand(f *testing.F) {
	f.Add([]byte(`{"COMMAND":"LISTEN","DATA":"/voice/on"}`))
	f.Add([]byte(`{"COMMAND":"IGNORE","DATA":"/voice/on","COMMAND":5}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		c, err := parseCommand(text)
		if err == nil && (c.Command != "LISTEN" && c.Command != "IGNORE" || c.Data == "" || c.Data[0] != '/' || len(c.Data) > MaxAddress) {
			t.Fatalf("%q: %+v", text, c)
		}
	})
}

// Strings are written as encoding/json reads them.
func FuzzJSONString(f *testing.F) {
	f.Add("a\"\\\n\x00\x7f\xff♪")
	f.Fuzz(func(t *testing.T, s string) {
		var got string
		if err := json.Unmarshal(appendJSON(nil, s), &got); err != nil || !reflect.DeepEqual(got, strings.ToValidUTF8(s, "\uFFFD")) && len(strings.ToValidUTF8(s, "")) == len(s) {
			t.Fatalf("%q: %q, %v", s, got, err)
		}
	})
}
