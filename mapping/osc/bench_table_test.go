package osc

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	goosc "github.com/hypebeast/go-osc/osc"
)

// timed returns the time that f takes, from the best of some rounds: whatever
// else the machine does makes it longer only.
func timed(runs int, f func()) time.Duration {
	best := time.Duration(1 << 62)
	for range 7 {
		start := time.Now()
		for range runs {
			f()
		}
		best = min(best, time.Since(start)/time.Duration(runs))
	}
	return best
}

// TestBenchTable prints how we stand beside go-osc and liblo: what decoding
// and dispatching one message takes, and how many messages a second arrive
// over the loopback.
func TestBenchTable(t *testing.T) {
	if os.Getenv("K8S_SYNTH_BENCH") == "" {
		t.Skip("a comparison: set K8S_SYNTH_BENCH=1")
	}
	var table strings.Builder
	defer func() { t.Logf("\n%s", table.String()) }()
	dispatchTable(t, &table)
	wireTable(t, &table)
}

func dispatchTable(t *testing.T, table *strings.Builder) {
	liblo := build(t, "liblo_dispatch")
	fmt.Fprintf(table, "%-46s %8s %8s %8s %8s %8s\n", "decode and dispatch, ns a message", "ours", "go-osc", "x", "liblo", "x")
	worst := 1e9
	for _, n := range []int{1, 10, 100} {
		for _, address := range []string{"/deployment/web000/replicas", "/deployment/*/replicas"} {
			ours, theirs := dispatchers(t, n, encode(t, address, Int32(5)))
			a, b := timed(2000, ours), timed(200, theirs)
			var c time.Duration = 1 << 62
			for range 3 {
				out, err := exec.Command(liblo, fmt.Sprint(n), address, "20000").Output()
				if err != nil {
					t.Fatal(err)
				}
				var ns, calls float64
				if _, err := fmt.Sscan(string(out), &ns, &calls); err != nil {
					t.Fatal(err)
				}
				c = min(c, time.Duration(ns))
			}
			fmt.Fprintf(table, "%-46s %8d %8d %8.1f %8d %8.1f\n", fmt.Sprintf("%s, %d addresses", address, n), a.Nanoseconds(), b.Nanoseconds(), float64(b)/float64(a), c.Nanoseconds(), float64(c)/float64(a))
			worst = min(worst, float64(b)/float64(a))
		}
	}
	if worst < 10 {
		t.Errorf("%.1f times go-osc's dispatch in one case, wanted 10 in each", worst)
	}
}

// counted is a server that counts what it handles: its port, and a function
// that returns how many messages that were, and in how many seconds.
type counted struct {
	port  int
	count func() (n int64, seconds float64)
}

// tally counts what a handler takes.
type tally struct{ n atomic.Int64 }

func (c *tally) add() { c.n.Add(1) }

// watch begins to look at the count, and returns what it was in the end and
// how long it grew, to a few milliseconds.
func (c *tally) watch() (count func() (int64, float64)) {
	var first, last time.Time
	done := make(chan struct{})
	go func() {
		defer close(done)
		seen := int64(0)
		for start := time.Now(); time.Since(start) < 20*time.Second; time.Sleep(5 * time.Millisecond) {
			now := time.Now()
			if n := c.n.Load(); n != seen {
				if seen == 0 {
					first = now
				}
				seen, last = n, now
			} else if seen > 0 && now.Sub(last) > 500*time.Millisecond {
				return
			}
		}
	}()
	return func() (int64, float64) {
		<-done
		return c.n.Load(), last.Sub(first).Seconds()
	}
}

const benchAddresses = 100

func countOurs(t *testing.T, tcp bool) counted {
	c := &tally{}
	var nodes []Node
	for i := range benchAddresses {
		nodes = append(nodes, Node{Address: fmt.Sprintf("/deployment/web%03d/replicas", i), Tags: "i", Access: Write, Set: func([]Arg, Cause) error { c.add(); return nil }})
	}
	s, err := Open(Config{Addr: ":0", TCP: ":0", Rate: -1, Logger: slog.New(&logs{})}, nodes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	port := s.Addr().Port()
	if tcp {
		port = s.Addrs().TCP.Port()
	}
	return counted{int(port), c.watch()}
}

func countGoOSC(t *testing.T) counted {
	c := &tally{}
	d := goosc.NewStandardDispatcher()
	for i := range benchAddresses {
		if err := d.AddMsgHandler(fmt.Sprintf("/deployment/web%03d/replicas", i), func(*goosc.Message) { c.add() }); err != nil {
			t.Fatal(err)
		}
	}
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	conn.SetReadBuffer(defaultReadBuffer)
	t.Cleanup(func() { conn.Close() })
	s := &goosc.Server{Dispatcher: d}
	go s.Serve(conn)
	return counted{conn.LocalAddr().(*net.UDPAddr).Port, c.watch()}
}

func countLiblo(t *testing.T, proto string) counted {
	cmd := exec.Command(build(t, "liblo_receive"), proto, fmt.Sprint(benchAddresses))
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	r := bufio.NewReader(out)
	var port int
	if _, err := fmt.Fscan(r, &port); err != nil {
		t.Fatal(err)
	}
	return counted{port, func() (n int64, seconds float64) {
		late := time.AfterFunc(20*time.Second, func() { cmd.Process.Kill() })
		defer late.Stop()
		if _, err := fmt.Fscan(r, &n, &seconds); err != nil {
			t.Logf("liblo's server failed: %v", err) // 0.31 does in SLIP, by its issue 178
		}
		return n, seconds
	}}
}

// rate is in thousand messages a second, 0 where none came.
func rate(c counted) float64 {
	n, seconds := c.count()
	if n == 0 || seconds <= 0 {
		return 0
	}
	return float64(n) / seconds / 1e3
}

// cells are the last four columns of the table.
func cells(ours, goOSC, liblo float64) string {
	cell := func(v float64) string {
		if v == 0 {
			return fmt.Sprintf("%8s %8s", "none", "")
		}
		return fmt.Sprintf("%8.1f %8.1f", v, ours/v)
	}
	return cell(goOSC) + " " + cell(liblo)
}

// wireTable floods each server with the same sender.
func wireTable(t *testing.T, table *strings.Builder) {
	flood := build(t, "flood")
	bundle := AppendBundle(nil, Immediately)
	for range 20 {
		bundle = AppendElement(bundle, encode(t, "/deployment/web050/replicas", Int32(5)))
	}
	fmt.Fprintf(table, "%-46s %8s %8s %8s %8s %8s\n", "over the loopback, thousand messages a second", "ours", "go-osc", "x", "liblo", "x")
	udp := func(packet []byte, c counted) float64 {
		cmd := exec.Command(flood, fmt.Sprint(c.port), "1.5")
		cmd.Stdin = bytes.NewReader(packet)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		return rate(c)
	}
	for _, x := range []struct {
		name   string
		packet []byte
	}{{"UDP, one message in a datagram", encode(t, "/deployment/web050/replicas", Int32(5))}, {"UDP, bundles of 20", bundle}, {"UDP, a pattern that reaches 100 addresses", encode(t, "/deployment/*/replicas", Int32(5))}} {
		a, b, c := udp(x.packet, countOurs(t, false)), udp(x.packet, countGoOSC(t)), udp(x.packet, countLiblo(t, "udp"))
		fmt.Fprintf(table, "%-46s %8.1f %s\n", x.name, a, cells(a, b, c))
	}
	tcp := func(frame func(dst, packet []byte) []byte, c counted) float64 {
		conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), uint16(c.port))))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		go io.Copy(io.Discard, conn)
		var chunk []byte
		for range 1000 {
			chunk = frame(chunk, encode(t, "/deployment/web050/replicas", Int32(5)))
		}
		conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
		for start := time.Now(); time.Since(start) < 1500*time.Millisecond; {
			if _, err := conn.Write(chunk); err != nil {
				t.Fatal(err)
			}
		}
		return rate(c)
	}
	a, c := tcp(AppendSized, countOurs(t, true)), tcp(AppendSized, countLiblo(t, "tcp"))
	fmt.Fprintf(table, "%-46s %8.1f %s\n", "TCP, sizes", a, cells(a, 0, c))
	a, c = tcp(AppendSLIP, countOurs(t, true)), tcp(AppendSLIP, countLiblo(t, "tcp"))
	fmt.Fprintf(table, "%-46s %8.1f %s\n", "TCP, SLIP", a, cells(a, 0, c))
}
