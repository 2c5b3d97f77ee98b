package osc

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"
)

// RFC 1055's special bytes, and OSC 1.1's two ENDs.
func TestAppendSLIP(t *testing.T) {
	for _, c := range []struct{ packet, want string }{
		{"", "\xc0\xc0"},
		{"/a\x00\x00", "\xc0/a\x00\x00\xc0"},
		{"\xc0", "\xc0\xdb\xdc\xc0"},
		{"\xdb", "\xc0\xdb\xdd\xc0"},
		{"a\xdb\xc0b\xdc\xdd", "\xc0a\xdb\xdd\xdb\xdcb\xdc\xdd\xc0"},
	} {
		if got := AppendSLIP(nil, []byte(c.packet)); string(got) != c.want {
			t.Errorf("%q: %q, want %q", c.packet, got, c.want)
		}
	}
}

// cut feeds a stream in pieces and returns the packets, what was lost, and the
// error.
func cut(stream []byte, pieces func() int) (packets [][]byte, lost int, err error) {
	f := framer{
		packet: func(b []byte) { packets = append(packets, bytes.Clone(b)) },
		broken: func(int) { lost++ },
	}
	for len(stream) > 0 && err == nil {
		n := min(max(pieces(), 1), len(stream))
		err = f.feed(stream[:n])
		stream = stream[n:]
	}
	return packets, lost, err
}

func TestFramerInAnyPieces(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		var packets [][]byte
		var sized, slip, plain []byte
		for range 1 + rng.IntN(6) {
			p := make([]byte, 4*(1+rng.IntN(60)))
			for i := range p {
				p[i] = []byte{0xC0, 0xDB, 0xDC, 0xDD, 0, 'x'}[rng.IntN(6)]
			}
			p[0] = '/'
			packets = append(packets, p)
			sized = AppendSized(sized, p)
			slip = AppendSLIP(slip, p)
			plain = append(plain, AppendSLIP(nil, p)[1:]...) // RFC 1055 as it was: one END, after
		}
		for name, stream := range map[string][]byte{"sized": sized, "SLIP": slip, "SLIP with one END": plain} {
			most := 1 + rng.IntN(300)
			got, lost, err := cut(stream, func() int { return rng.IntN(most) })
			if err != nil || lost != 0 || len(got) != len(packets) {
				t.Fatalf("%s: %d packets, %d lost, %v, want %d packets", name, len(got), lost, err, len(packets))
			}
			for i := range got {
				if !bytes.Equal(got[i], packets[i]) {
					t.Fatalf("%s: packet %d is %q, want %q", name, i, got[i], packets[i])
				}
			}
		}
	}
}

func TestFramerFaults(t *testing.T) {
	whole := func() int { return 1 << 20 }
	one := func() int { return 1 }
	for _, c := range []struct {
		name, stream string
		packets      int
		lost         int
		fails        bool
	}{
		{"negative size", "\xff\xff\xff\xff", 0, 0, true},
		{"a size of 64 KiB and one", "\x00\x01\x00\x01", 0, 0, true},
		{"HTTP", "GET / HTTP/1.1\r\n", 0, 0, true},
		{"nothing", "\x00\x00\x00\x00\x00\x00\x00\x04/a\x00\x00", 2, 0, false},
		{"bad escape", "\xc0/a\xdbx\x00\xc0\xc0/b\x00\x00\xc0", 1, 1, false},
		{"END after ESC", "\xc0/a\xdb\xc0/b\x00\x00\xc0", 1, 1, false},
		{"ENDs", "\xc0\xc0\xc0\xc0/b\x00\x00\xc0\xc0\xc0", 1, 0, false},
		{"SLIP without end", "\xc0" + string(make([]byte, MaxPacket+1)), 0, 0, true},
		{"sized then not", "\x00\x00\x00\x04/a\x00\x00\xc0/b\x00\x00\xc0", 1, 0, true},
	} {
		for _, pieces := range []func() int{whole, one} {
			got, lost, err := cut([]byte(c.stream), pieces)
			if len(got) != c.packets || lost != c.lost || errors.Is(err, errFraming) != c.fails {
				t.Errorf("%s: %d packets, %d lost, %v", c.name, len(got), lost, err)
			}
		}
	}
}

func TestFramingAllocatesNothing(t *testing.T) {
	packet := encode(t, "/deployment/web/replicas", Int32(0x00C0DB))
	sum := 0
	count := func(b []byte) { sum += len(b) }
	out := make([]byte, 0, 256)
	o := newOutbox(maxQueued, func() {})
	stream := func(frame func(dst, packet []byte) []byte, sink func([]byte)) func() {
		two := frame(frame(nil, packet), packet)
		f := framer{packet: sink, broken: func(int) {}}
		return func() {
			for at := 0; at < len(two); at += 7 {
				if err := f.feed(two[at:min(at+7, len(two))]); err != nil {
					t.Error(err)
				}
			}
		}
	}
	for name, f := range map[string]func(){
		"encode SLIP":  func() { out = AppendSLIP(out[:0], packet) },
		"encode size":  func() { out = AppendSized(out[:0], packet) },
		"decode SLIP":  stream(AppendSLIP, count),
		"decode sizes": stream(AppendSized, count),
		"TCP to Set":   stream(AppendSized, tcpSink(t)),
		"SLIP to Set":  stream(AppendSLIP, tcpSink(t)),
		"queue": func() {
			if err := o.put(packet); err != nil {
				t.Error(err)
			}
			sum += len(o.take())
		},
	} {
		for range 10 {
			f()
		}
		if n := testing.AllocsPerRun(1000, f); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

// tcpSink takes packets as a connection does, to the Set of a node.
func tcpSink(t *testing.T) func([]byte) {
	sum := 0.0
	s, err := Open(Config{Addr: ":0", Rate: 1 << 30}, []Node{{Address: "/deployment/web/replicas", Tags: "i", Access: Write,
		Set: func(args []Arg, _ Cause) error { sum += args[0].Float(); return nil }}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Close()
		if sum == 0 {
			t.Error("nothing arrived")
		}
	})
	c := &tcpClient{server: s.server, id: connected(netip.MustParseAddrPort("127.0.0.1:9"), zoneTCP), now: time.Now()}
	return c.packet
}

func FuzzSLIP(f *testing.F) {
	f.Add([]byte("/a\x00\x00,i\x00\x00\xc0\xdb\xdc\xdd"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, packet []byte) {
		if len(packet) > MaxPacket {
			return
		}
		framed := AppendSLIP(nil, packet)
		if bytes.IndexByte(framed[1:len(framed)-1], slipEnd) >= 0 {
			t.Fatalf("an END inside %q", framed)
		}
		got, lost, err := cut(framed, func() int { return 3 })
		if err != nil || lost != 0 || len(packet) > 0 && (len(got) != 1 || !bytes.Equal(got[0], packet)) {
			t.Fatalf("%q: %q, %d lost, %v", packet, got, lost, err)
		}
	})
}

// Whatever comes, in whatever pieces, is cut in the same way and within bounds.
func FuzzFramer(f *testing.F) {
	f.Add(AppendSized(AppendSized(nil, []byte("/a\x00\x00")), []byte("/b\x00\x00")), byte(1))
	f.Add(AppendSLIP(AppendSLIP(nil, []byte("/a\x00\x00")), []byte("\xc0\xdb\x00\x00")), byte(5))
	f.Add([]byte("\xc0/a\xdbx\xc0/b\x00\x00\xc0"), byte(2))
	f.Add([]byte("\x00\x00\x00\x00\xff\xff\xff\xff"), byte(3))
	f.Fuzz(func(t *testing.T, stream []byte, piece byte) {
		whole, lost, err := cut(stream, func() int { return len(stream) })
		got, lost2, err2 := cut(stream, func() int { return int(piece) })
		if len(whole) != len(got) || lost != lost2 || (err == nil) != (err2 == nil) {
			t.Fatalf("whole: %d packets, %d lost, %v; in pieces of %d: %d, %d, %v", len(whole), lost, err, piece, len(got), lost2, err2)
		}
		for i := range got {
			if !bytes.Equal(whole[i], got[i]) || len(got[i]) > MaxPacket {
				t.Fatalf("packet %d: %q and %q", i, whole[i], got[i])
			}
		}
	})
}
