package osc

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	goosc "github.com/hypebeast/go-osc/osc"
)

// dispatchers returns, for n addresses, a function that takes a datagram
// through our decoder, lookup and coercion to a Set, one that takes it through
// go-osc's parser and dispatcher to a handler, and a datagram.
func dispatchers(tb testing.TB, n int, packet []byte) (ours, theirs func()) {
	sum := 0.0
	var nodes []Node
	d := goosc.NewStandardDispatcher()
	for i := range n {
		address := fmt.Sprintf("/deployment/web%03d/replicas", i)
		nodes = append(nodes, Node{Address: address, Tags: "i", Access: Write, Range: []Range{{Min: 0, Max: 50}},
			Set: func(args []Arg, _ Cause) error { sum += args[0].Float(); return nil }})
		if err := d.AddMsgHandler(address, func(m *goosc.Message) { sum += float64(m.Arguments[0].(int32)) }); err != nil {
			tb.Fatal(err)
		}
	}
	surface, err := Open(Config{Addr: ":0", Rate: -1}, nodes)
	if err != nil {
		tb.Fatal(err)
	}
	surface.Close() // its socket is not measured, nor is go-osc's
	server := surface.server
	server.handler, server.from, server.now = surface, netip.MustParseAddrPort("127.0.0.1:9"), time.Now()
	ours = func() { server.receive(packet) }
	text := string(packet) // go-osc wants it so; the conversion is not measured
	theirs = func() {
		p, err := goosc.ParsePacket(text)
		if err != nil {
			tb.Fatal(err)
		}
		d.Dispatch(p)
	}
	for name, f := range map[string]func(){"ours": ours, "theirs": theirs} {
		sum = 0
		if f(); sum == 0 {
			tb.Fatalf("%s: the message did not arrive", name)
		}
	}
	return ours, theirs
}

// BenchmarkDispatch compares decoding and dispatching with go-osc's. Both run
// in turns in one loop, so that they meet the same machine; "x" is how many
// times longer go-osc takes.
func BenchmarkDispatch(b *testing.B) {
	for _, n := range []int{1, 10, 100} {
		for _, address := range []string{"/deployment/web000/replicas", "/deployment/*/replicas"} {
			name := fmt.Sprintf("addresses=%d/plain", n)
			if strings.Contains(address, "*") {
				name = fmt.Sprintf("addresses=%d/pattern", n)
			}
			b.Run(name, func(b *testing.B) {
				ours, theirs := dispatchers(b, n, encode(b, address, Int32(5)))
				const batch = 50
				var oursTime, theirsTime time.Duration
				runs := 0
				for b.Loop() {
					start := time.Now()
					for range batch {
						ours()
					}
					middle := time.Now()
					for range batch {
						theirs()
					}
					oursTime += middle.Sub(start)
					theirsTime += time.Since(middle)
					runs += batch
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(float64(oursTime.Nanoseconds())/float64(runs), "ns/ours")
				b.ReportMetric(float64(theirsTime.Nanoseconds())/float64(runs), "ns/go-osc")
				b.ReportMetric(float64(theirsTime)/float64(oursTime), "x")
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for name, packet := range map[string][]byte{"iisff": []byte(specExamples[1].encoded), "every type": encode(b, "/every/type", everyType()...)} {
		b.Run(name, func(b *testing.B) {
			var m Message
			args := make([]Arg, 0, 32)
			b.ReportAllocs()
			b.SetBytes(int64(len(packet)))
			for b.Loop() {
				if err := m.Decode(packet); err != nil {
					b.Fatal(err)
				}
				args = m.AppendArgs(args[:0])
			}
		})
	}
}

func BenchmarkEncode(b *testing.B) {
	args := []Arg{Int32(1000), Int32(-1), String("hello"), Float32(1.234), Float32(5.678)}
	var out []byte
	b.ReportAllocs()
	for b.Loop() {
		out, _ = AppendMessage(out[:0], "/foo", args...)
	}
	b.SetBytes(int64(len(out)))
}

func BenchmarkMatch(b *testing.B) {
	for _, c := range [][2]string{{"/deployment/*/replicas", "/deployment/web/replicas"}, {"//replicas", "/deployment/web/replicas"}, {"/deployment/{web,db}/r*s", "/deployment/web/replicas"}} {
		b.Run(strings.ReplaceAll(c[0], "/", "."), func(b *testing.B) {
			text := []byte(c[0])
			b.ReportAllocs()
			for b.Loop() {
				p, err := ParsePattern(text)
				if err != nil || !p.Match(c[1]) {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkDispatchLiblo compares with liblo, which is built for it from
// testdata where a C compiler and liblo's headers are installed (Debian:
// liblo-dev). "x" is how many times longer liblo takes.
func BenchmarkDispatchLiblo(b *testing.B) {
	program := filepath.Join(b.TempDir(), "liblo_dispatch")
	if out, err := exec.Command("cc", "-O2", "-o", program, "testdata/liblo_dispatch.c", "-llo").CombinedOutput(); err != nil {
		b.Skipf("liblo's benchmark does not build (Debian: apt-get install liblo-dev): %v\n%s", err, out)
	}
	for _, n := range []int{1, 10, 100} {
		for _, address := range []string{"/deployment/web000/replicas", "/deployment/*/replicas"} {
			name, matches := "plain", 1
			if strings.Contains(address, "*") {
				name, matches = "pattern", n
			}
			b.Run(fmt.Sprintf("addresses=%d/%s", n, name), func(b *testing.B) {
				ours, _ := dispatchers(b, n, encode(b, address, Int32(5)))
				const runs = 20000
				var oursTime, theirsTime float64
				rounds := 0.0
				for b.Loop() {
					start := time.Now()
					for range runs {
						ours()
					}
					oursTime += float64(time.Since(start).Nanoseconds()) / runs
					out, err := exec.Command(program, fmt.Sprint(n), address, fmt.Sprint(runs)).Output()
					if err != nil {
						b.Fatal(err)
					}
					var ns, calls float64
					if _, err := fmt.Sscan(string(out), &ns, &calls); err != nil || calls != float64(matches) {
						b.Fatalf("%s: %v calls, want %d (%v)", out, calls, matches, err)
					}
					theirsTime += ns
					rounds++
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(oursTime/rounds, "ns/ours")
				b.ReportMetric(theirsTime/rounds, "ns/liblo")
				b.ReportMetric(theirsTime/oursTime, "x")
			})
		}
	}
}

// BenchmarkRoundTrip is one question and its answer over the loopback.
func BenchmarkRoundTrip(b *testing.B) {
	r := openRack(b, Config{Rate: -1}) // it asks faster than a hand
	c := r.client(b)
	packet := encode(b, "/deployment/web/replicas")
	b.ReportAllocs()
	for b.Loop() {
		if _, err := c.conn.Write(packet); err != nil {
			b.Fatal(err)
		}
		if _, err := c.conn.Read(c.buf); err != nil {
			b.Fatal(err)
		}
	}
}
