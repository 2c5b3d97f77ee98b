package osc

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
)

func needProof(t *testing.T) {
	t.Helper()
	if os.Getenv("K8S_SYNTH_PROOF") == "" {
		t.Skip("takes a while: set K8S_SYNTH_PROOF=1")
	}
}

// latencies are what a row of a table is made of.
type latencies []time.Duration

func (l latencies) at(share float64) time.Duration {
	slices.Sort(l)
	return l[min(int(share*float64(len(l))), len(l)-1)]
}

func (l latencies) String() string {
	us := func(d time.Duration) string { return fmt.Sprintf("%9.1f", float64(d.Nanoseconds())/1e3) }
	return fmt.Sprintf("%6d %s %s %s %s", len(l), us(l.at(0.5)), us(l.at(0.99)), us(l.at(1)), us(l.at(0.99)-l.at(0.01)))
}

const latencyHead = "count       p50       p99   maximum   p99-p01, µs"

// roundTrips asks again and again, a little apart, while more says so.
func (c *client) roundTrips(more func(n int) bool) (l latencies) {
	for n := 0; more(n); n++ {
		asked := time.Now()
		c.send("/deployment/web/replicas", Int32(int32(n%50)))
		c.send("/deployment/web/replicas")
		c.want(fmt.Sprint("/deployment/web/replicas ", n%50))
		l = append(l, time.Since(asked))
		time.Sleep(500 * time.Microsecond)
	}
	return l
}

// A million random and mutated packets, in the process and by UDP, TCP and
// WebSocket, neither stop nor slow a client that plays meanwhile.
func TestProofAMillionPackets(t *testing.T) {
	needProof(t)
	l := &logs{}
	r := openRack(t, Config{TCP: ":0", Query: ":0", Logger: slog.New(l)})
	good := r.client(t)
	valid := [][]byte{
		encode(t, "/every/type", everyType()...), encode(t, "/deployment/web/replicas", Int32(5)), encode(t, "/*/[a-z]*/{x,y}"), encode(t, "//*", Float32(0)),
		encode(t, "/subscribe", String("/voice/*"), Int32(9)), encode(t, "/voice/wave", String("saw")),
		AppendElement(AppendBundle(nil, TimeTagOf(time.Now().Add(time.Second))), encode(t, "/voice/on", Bool(true))),
		AppendElement(AppendBundle(nil, Immediately), AppendElement(AppendBundle(nil, Immediately), encode(t, "/voice/xy", Float32(1), Float32(2)))),
	}
	before := good.roundTrips(func(n int) bool { return n < 2000 })
	goroutines := runtime.NumGoroutine()
	var memory runtime.MemStats
	runtime.ReadMemStats(&memory)
	heap := memory.HeapAlloc

	const inProcess, byUDP, byStream = 800_000, 180_000, 10_000
	// The floods share two processors with whom they must not slow: each rests
	// a little, and together they send 100,000 packets a second.
	rest := func(n, each int) {
		if n%each == 0 {
			time.Sleep(time.Millisecond)
		}
	}
	var running atomic.Int32
	var wg sync.WaitGroup
	flood := func(seed uint64, f func(rng *rand.Rand)) {
		running.Add(1)
		wg.Go(func() {
			defer running.Add(-1)
			f(rand.New(rand.NewPCG(seed, 7)))
		})
	}
	start := time.Now()
	flood(1, func(rng *rand.Rand) {
		buf := make([]byte, 0, 4096)
		from := netip.MustParseAddrPort("127.0.0.1:9")
		for n := range inProcess {
			rest(n, 100)
			buf = nasty(rng, valid, buf)
			r.surface.server.take(from, buf, time.Now())
		}
	})
	flood(2, func(rng *rand.Rand) {
		c := r.client(t)
		buf := make([]byte, 0, 4096)
		for n := range byUDP {
			rest(n, 25)
			buf = nasty(rng, valid, buf)
			c.conn.Write(buf) // what is too much for the socket is the sender's loss
		}
	})
	flood(3, func(rng *rand.Rand) {
		buf := make([]byte, 0, 4096)
		for n := 0; n < byStream; {
			c, err := net.Dial("tcp", r.surface.Addrs().TCP.String())
			if err != nil {
				t.Error(err)
				return
			}
			for range 200 {
				buf = nasty(rng, valid, buf)
				framed := AppendSized(nil, buf)
				switch rng.IntN(50) {
				case 0:
					framed[rng.IntN(4)] ^= byte(rng.Uint32()) // ends the connection, mostly
				case 1:
					framed = framed[:rng.IntN(len(framed))]
				}
				n++
				rest(n, 5)
				if _, err := c.Write(framed); err != nil {
					break
				}
			}
			c.Close()
		}
	})
	flood(4, func(rng *rand.Rand) {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		buf := make([]byte, 0, 4096)
		for n := 0; n < byStream; {
			c, _, err := websocket.Dial(ctx, "ws://"+r.surface.Addrs().Query.String(), nil)
			if err != nil {
				time.Sleep(20 * time.Millisecond) // too many requests
				continue
			}
			for range 500 {
				buf = nasty(rng, valid, buf)
				kind := websocket.MessageBinary
				if rng.IntN(2) == 0 {
					kind = websocket.MessageText
				}
				n++
				rest(n, 5)
				if c.Write(ctx, kind, buf) != nil {
					break
				}
			}
			c.CloseNow()
		}
	})
	during := good.roundTrips(func(int) bool { return running.Load() > 0 })
	elapsed := time.Since(start)
	wg.Wait()
	after := good.roundTrips(func(n int) bool { return n < 2000 })

	runtime.GC()
	runtime.ReadMemStats(&memory)
	st := r.surface.Stats()
	t.Logf("a million packets in %v; a set and a question with its answer over UDP:\n        %s\nbefore  %s\nduring  %s\nafter   %s\n%+v\nheap %d KiB before, %d KiB after; %d log lines",
		elapsed, latencyHead, before, during, after, st, heap>>10, memory.HeapAlloc>>10, len(l.all()))
	if st.Panics != 0 || st.Packets < inProcess || st.Malformed < inProcess/4 {
		t.Errorf("%+v", st)
	}
	if p := during.at(0.99); p > 20*time.Millisecond {
		t.Errorf("p99 is %v during the flood", p)
	}
	if p, q := after.at(0.99), before.at(0.99); p > max(3*q, 5*time.Millisecond) {
		t.Errorf("p99 is %v after the flood, %v before", p, q)
	}
	eventually(t, "the goroutines of the flood are gone", func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	if memory.HeapAlloc > heap+32<<20 {
		t.Errorf("the heap grew from %d to %d bytes", heap, memory.HeapAlloc)
	}
	if lines, most := len(l.all()), 8*(int(elapsed/logInterval)+3); lines > most {
		t.Errorf("%d log lines, want at most %d", lines, most)
	}
}

// What it takes from a client's send to the Set, by each transport, what a
// time tag is off, and what feedback takes to another client.
func TestProofLatency(t *testing.T) {
	needProof(t)
	arrived := make(chan time.Time, 1)
	set := func([]Arg, Cause) error { arrived <- time.Now(); return nil }
	s, err := Open(Config{Addr: ":0", TCP: ":0", Query: ":0", Rate: -1, Logger: slog.New(&logs{})}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	value := Node{Address: "/voice/frequency", Tags: "f", Access: ReadWrite, Set: set, Get: func(dst []Arg) []Arg { return append(dst, Float32(1)) }}
	if err := s.Replace([]Node{value}); err != nil {
		t.Fatal(err)
	}
	r := &rack{surface: s}
	packet := encode(t, "/voice/frequency", Float32(440))
	const n = 3000
	measure := func(send func()) (l latencies) {
		for range n {
			start := time.Now()
			send()
			l = append(l, (<-arrived).Sub(start))
			time.Sleep(300 * time.Microsecond)
		}
		return l
	}
	udp, sized, slip := r.client(t), r.stream(t, false), r.stream(t, true)
	ws, _, err := websocket.Dial(t.Context(), "ws://"+s.Addrs().Query.String(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer ws.CloseNow()
	var table strings.Builder
	row := func(name string, l latencies) { fmt.Fprintf(&table, "%-28s %s\n", name, l) }
	fmt.Fprintf(&table, "%-28s %s\n", "from send to Set", latencyHead)
	row("UDP", measure(func() { send(t, udp.conn, packet) }))
	row("TCP, sizes", measure(func() { send(t, sized.conn, AppendSized(nil, packet)) }))
	row("TCP, SLIP", measure(func() { send(t, slip.conn, AppendSLIP(nil, packet)) }))
	row("WebSocket", measure(func() {
		if err := ws.Write(t.Context(), websocket.MessageBinary, packet); err != nil {
			t.Fatal(err)
		}
	}))
	tagged := func(conn net.Conn, frame func(dst, packet []byte) []byte) (l latencies) {
		for range 500 {
			at := time.Now().Add(5 * time.Millisecond).Round(0)
			b := AppendElement(AppendBundle(nil, TimeTagOf(at)), packet)
			send(t, conn, frame(nil, b))
			l = append(l, (<-arrived).Sub(at))
		}
		return l
	}
	row("after a time tag, UDP", tagged(udp.conn, func(_, p []byte) []byte { return p }))
	row("after a time tag, TCP", tagged(sized.conn, AppendSized))
	for name, hears := range map[string]interface {
		send(string, ...Arg)
		get(time.Duration) string
	}{"feedback, UDP": r.client(t), "feedback, TCP": r.stream(t, false)} {
		hears.send("/subscribe")
		hears.get(5 * time.Second)
		var l latencies
		for range 200 {
			time.Sleep(flushInterval + 2*time.Millisecond) // more often it waits for its turn
			start := time.Now()
			s.Notify("/voice/frequency", netip.AddrPort{}, Float32(2))
			if hears.get(5*time.Second) == "" {
				t.Fatal("no feedback")
			}
			l = append(l, time.Since(start))
		}
		row(name, l)
	}
	t.Logf("\n%s", table.String())
}
