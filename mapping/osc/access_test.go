package osc

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestAccess(t *testing.T) {
	l := access{netip.MustParsePrefix("192.168.1.0/24"), netip.MustParsePrefix("10.0.0.7/32"), netip.MustParsePrefix("fe80::/10")}
	for a, want := range map[string]bool{
		"127.0.0.1": true, "127.8.8.8": true, "::1": true, "::ffff:127.0.0.1": true,
		"192.168.1.200": true, "::ffff:192.168.1.200": true, "192.168.2.1": false, "10.0.0.7": true, "10.0.0.8": false,
		"fe80::5%eth0": true, "2001:db8::1": false,
	} {
		if got := l.allows(netip.MustParseAddr(a)); got != want {
			t.Errorf("%s: %v, want %v", a, got, want)
		}
	}
}

func TestNetworkNeedsAllow(t *testing.T) {
	for _, cfg := range []Config{
		{Addr: "0.0.0.0:0"}, {Addr: "[::]:0"}, {Addr: ":0", TCP: "0.0.0.0:0"}, {Addr: ":0", Query: "[::]:0"},
	} {
		_, err := Open(cfg, nil)
		if err == nil || !strings.Contains(err.Error(), "--allow") || !strings.Contains(err.Error(), "for example") {
			t.Errorf("%+v: %v", cfg, err)
		}
	}
}

func TestLimiter(t *testing.T) {
	l := newLimiter(100, 200)
	addr := netip.MustParseAddrPort
	now := time.Unix(1.8e9, 0)
	take := func(client string, n, at int) int {
		got := 0
		for range n {
			if l.allow(addr(client), 1, now.Add(time.Duration(at)*time.Millisecond)) {
				got++
			}
		}
		return got
	}
	for _, c := range []struct {
		client string
		n, at  int
		want   int
	}{
		{"10.0.0.1:5", 300, 0, 200},
		{"10.0.0.1:6", 10, 0, 0}, // a machine on the network is one client
		{"10.0.0.2:5", 300, 0, 200},
		{"127.0.0.1:5", 300, 0, 200},
		{"127.0.0.1:6", 300, 0, 200}, // a program on this one is one
		{"10.0.0.1:5", 300, 1000, 100},
		{"10.0.0.1:5", 300, 1000, 0},
		{"10.0.0.1:5", 300, 999, 0}, // a clock that is stepped back
		{"10.0.0.1:5", 300, 60000, 200},
	} {
		if got := take(c.client, c.n, c.at); got != c.want {
			t.Errorf("%+v: %d pass", c, got)
		}
	}
	tcp := connected(addr("10.0.0.2:7000"), zoneTCP)
	if l.allow(tcp, 1, now) {
		t.Error("a connection is another client than its machine")
	}
	if !l.allow(addr("10.0.0.9:1"), 5000, now) || l.allow(addr("10.0.0.9:1"), 1, now) {
		t.Error("a bundle of more than fits is to pass when the bucket is full, and to empty it")
	}
	if n := l.drop(tcp, 5, now); n != 5 {
		t.Errorf("told of %d", n)
	}
	if n := l.drop(tcp, 5, now.Add(logInterval/2)); n != 0 {
		t.Errorf("told again after half a second, of %d", n)
	}
	if n := l.drop(tcp, 5, now.Add(logInterval)); n != 10 {
		t.Errorf("told of %d", n)
	}
	if n := testing.AllocsPerRun(100, func() { l.allow(tcp, 1, now); l.allow(addr("10.0.0.9:1"), 1, now) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// What is too much is dropped and told once a second; what ends a sound passes.
func TestRate(t *testing.T) {
	sets := map[string]int{}
	count := func(address string) Node {
		return Node{Address: address, Tags: "f", Access: Write, Set: func(args []Arg, _ Cause) error {
			sets[fmt.Sprintf("%s %v", address, args[0].Float() != 0)]++
			return nil
		}}
	}
	careful := count("/careful")
	careful.Critical = true
	panics := Node{Address: "/panic", Access: Write, Set: func([]Arg, Cause) error { sets["/panic"]++; return nil }}
	l := &logs{}
	s, err := Open(Config{Addr: ":0", Logger: slog.New(l), Rate: 100}, []Node{count("/gate"), careful, panics})
	if err != nil {
		t.Fatal(err)
	}
	s.Close() // nothing but the test plays
	server := s.server
	server.closed.Store(false)
	server.from, server.now = netip.MustParseAddrPort("127.0.0.1:9"), time.Now()
	on, off := encode(t, "/gate", Float32(1)), encode(t, "/gate", Float32(0))
	for range 1000 {
		server.receive(on)
	}
	for _, p := range [][]byte{off, encode(t, "/gate", Bool(false)), encode(t, "/gate", ArrayStart(), Int32(0), ArrayEnd()), encode(t, "/panic"), encode(t, "/careful", Float32(1)), encode(t, "/ga*", Int32(0))} {
		server.receive(p)
	}
	bundle := AppendBundle(nil, Immediately)
	for _, p := range [][]byte{on, off, on, encode(t, "/panic")} {
		bundle = AppendElement(bundle, p)
	}
	server.receive(bundle)
	want := map[string]int{"/gate true": 200, "/gate false": 5, "/panic": 2, "/careful true": 1}
	for k, n := range want {
		if sets[k] != n {
			t.Errorf("%s: %d, want %d", k, sets[k], n)
		}
	}
	if st := server.Stats(); st.Limited != 802 || st.Messages != 208 || st.Dropped != 0 {
		t.Errorf("%+v", st)
	}
	if lines := l.all(); len(lines) > 4 || !strings.Contains(strings.Join(lines, "\n"), "sends too much") {
		t.Errorf("%q", lines)
	}
}

func TestTooMuchIsToldToTheClient(t *testing.T) {
	r := openRack(t, Config{Rate: 10, TCP: ":0"})
	c := r.stream(t, true)
	for i := range 500 {
		c.send("/voice/xy", Float32(float32(i)), Float32(1))
	}
	if got := c.get(5 * time.Second); !strings.Contains(got, "messages dropped, expected at most 10 a second") {
		t.Errorf("got %q", got)
	}
	c.silent()
	if got := len(r.takeSets()); got < 20 || got > 40 {
		t.Errorf("%d pass, want 20 and what a moment adds", got)
	}
	other := r.stream(t, true) // another client is not concerned
	other.send("/voice/on")
	other.want("/voice/on false")
}

// A full schedule keeps room for what ends sounds.
func TestFullScheduleTakesNoteOffs(t *testing.T) {
	t.Parallel()
	r := newRecorder()
	s, _ := startServer(t, ServerConfig{MaxScheduled: 3}, r)
	c := dial(t, s.Addr())
	at := time.Now().Add(2 * time.Second) // what is read later than that has its time no more
	for i := range 6 {
		b := AppendBundle(nil, TimeTagOf(at.Add(time.Duration(i)*time.Millisecond)))
		b = AppendElement(b, encode(t, "/on", Int32(1)))
		b = AppendElement(b, encode(t, "/off", Int32(0)))
		send(t, c, b)
	}
	var got []string
	for range 6 {
		got = append(got, r.next(t).address)
	}
	if text := strings.Join(got, " "); text != "/on /off /off /off /off /off" {
		t.Errorf("%s", text)
	}
	if st := s.Stats(); st.Dropped != 6 { // five beginnings, and the end for which there was no room any more
		t.Errorf("%+v", st)
	}
}

// In a network namespace of its own the loopback interface has addresses that
// are not this machine's loopback ones, as two hosts of a stage network.
func TestStageNetwork(t *testing.T) {
	t.Parallel()
	const inside = "K8S_SYNTH_OSC_NAMESPACE"
	if os.Getenv(inside) == "" {
		for _, tool := range []string{"unshare", "ip"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed (Debian: apt-get install util-linux iproute2)", tool)
			}
		}
		if out, err := exec.Command("unshare", "--net", "--map-root-user", "true").CombinedOutput(); err != nil {
			t.Skipf("no network namespace can be made: %v: %s", err, out)
		}
		cmd := exec.Command("unshare", "--net", "--map-root-user", "sh", "-c", `ip link set lo up && ip addr add 10.77.0.1/24 dev lo && ip addr add 10.77.0.2/24 dev lo && ip addr add 10.77.0.3/24 dev lo && exec "$0" -test.run '^TestStageNetwork$' -test.v`, os.Args[0])
		cmd.Env = append(os.Environ(), inside+"=1")
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), "PASS: TestStageNetwork") {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	l := &logs{}
	rack := &rack{values: map[string][]Arg{}}
	s, err := Open(Config{
		Addr: "10.77.0.1:0", TCP: "10.77.0.1:0", Query: "10.77.0.1:0", Logger: slog.New(l), Announce: AnnounceNever,
		Allow: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	rack.surface = s
	if err := s.Replace(rack.nodes()); err != nil {
		t.Fatal(err)
	}
	a := s.Addrs()
	from := func(host string) (udp *net.UDPConn, tcp *net.TCPConn, get func() (*http.Response, error)) {
		udp, err := net.DialUDP("udp", &net.UDPAddr{IP: net.ParseIP(host)}, net.UDPAddrFromAddrPort(a.UDP))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { udp.Close() })
		local := &net.TCPAddr{IP: net.ParseIP(host)}
		tcp, err = net.DialTCP("tcp", local, net.TCPAddrFromAddrPort(a.TCP))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { tcp.Close() })
		d := net.Dialer{LocalAddr: local, Timeout: 5 * time.Second}
		h := http.Client{Transport: &http.Transport{DialContext: d.DialContext, DisableKeepAlives: true}, Timeout: 5 * time.Second}
		return udp, tcp, func() (*http.Response, error) { return h.Get("http://" + a.Query.String() + "/?HOST_INFO") }
	}
	ask := encode(t, "/voice/on")
	within := func(c net.Conn, packet []byte, wait time.Duration) bool {
		c.Write(packet)
		c.SetReadDeadline(time.Now().Add(wait))
		n, _ := c.Read(make([]byte, 1000))
		return n > 0
	}
	answered := func(c net.Conn, packet []byte) bool { return within(c, packet, 300*time.Millisecond) }
	answers := func(c net.Conn, packet []byte) bool { return within(c, packet, 5*time.Second) }
	udp, tcp, get := from("10.77.0.2")
	if !answers(udp, ask) || !answers(tcp, AppendSized(nil, ask)) {
		t.Error("an address that is allowed is not answered")
	}
	if r, err := get(); err != nil || r.StatusCode != 200 {
		t.Errorf("HTTP of an address that is allowed: %v %v", r, err)
	}
	udp, tcp, get = from("10.77.0.3")
	if answered(udp, ask) || answered(tcp, AppendSized(nil, ask)) {
		t.Error("an address that is not allowed is answered")
	}
	if _, err := get(); err == nil {
		t.Error("HTTP of an address that is not allowed")
	}
	eventually(t, "all are counted", func() bool { return s.Stats().Refused >= 3 })
	if st := s.Stats(); st.Refused != 3 {
		t.Errorf("%+v", st)
	}
	if lines := strings.Join(l.all(), "\n"); !strings.Contains(lines, "name the address in --allow") || !strings.Contains(lines, "10.77.0.3") {
		t.Errorf("%s", lines)
	}
	// On all addresses, of both families, a client of IPv4 is one, and learns
	// the address that it has reached.
	all, err := Open(Config{
		Addr: "[::]:0", TCP: "[::]:0", Query: "[::]:0", Logger: slog.New(l), Announce: AnnounceNever,
		Allow: []netip.Prefix{netip.MustParsePrefix("10.77.0.2/32")},
	}, rack.nodes())
	if err != nil {
		t.Fatal(err)
	}
	defer all.Close()
	here := netip.MustParseAddr("10.77.0.1")
	a = all.Addrs()
	a = Addrs{UDP: netip.AddrPortFrom(here, a.UDP.Port()), TCP: netip.AddrPortFrom(here, a.TCP.Port()), Query: netip.AddrPortFrom(here, a.Query.Port())}
	udp, tcp, get = from("10.77.0.2")
	if !answers(udp, ask) || !answers(tcp, AppendSized(nil, ask)) {
		t.Error("on all addresses an allowed one is not answered")
	}
	if r, err := get(); err != nil {
		t.Error(err)
	} else if b, _ := io.ReadAll(r.Body); !strings.Contains(string(b), `"OSC_IP":"10.77.0.1"`) || !strings.Contains(string(b), `"WS_IP":"10.77.0.1"`) {
		t.Errorf("HOST_INFO: %s", b)
	}
	udp, tcp, _ = from("10.77.0.3")
	if answered(udp, ask) || answered(tcp, AppendSized(nil, ask)) {
		t.Error("on all addresses one that is not allowed is answered")
	}
	// Without --allow it does not begin.
	if _, err := Open(Config{Addr: "10.77.0.1:0"}, nil); err == nil || !strings.Contains(err.Error(), "--allow") {
		t.Errorf("%v", err)
	}
}
