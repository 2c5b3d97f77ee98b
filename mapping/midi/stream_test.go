package midi

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// clone keeps a message longer than its parser does.
func (m Message) clone() Message {
	m.SysEx = slices.Clone(m.SysEx)
	return m
}

func same(a, b Message) bool {
	return a.Size == b.Size && a.Data == b.Data && bytes.Equal(a.SysEx, b.SysEx)
}

func parse(p *Parser, chunks ...[]byte) (out []Message) {
	for _, c := range chunks {
		p.Parse(c, func(m Message) { out = append(out, m.clone()) })
	}
	return out
}

func sysEx(data ...byte) Message {
	return Message{SysEx: append(append([]byte{SysExStart}, data...), SysExEnd)}
}

func TestParser(t *testing.T) {
	select3 := Message{Data: [3]byte{SongSelect, 3}, Size: 2}
	quarter := Message{Data: [3]byte{QuarterFrame, 0x35}, Size: 2}
	for _, c := range []struct {
		name   string
		in     []byte
		want   []Message
		faults Faults
	}{
		{"note", []byte{0x91, 60, 100}, []Message{On(1, 60, 100)}, Faults{}},
		{"running", []byte{0x90, 60, 100, 60, 0, 64, 1}, []Message{On(0, 60, 100), On(0, 60, 0), On(0, 64, 1)}, Faults{}},
		{"running, one byte", []byte{0xc5, 1, 2, 0xd5, 3, 4}, []Message{Program(5, 1), Program(5, 2), Pressure(5, 3), Pressure(5, 4)}, Faults{}},
		{"real time inside", []byte{0x90, 0xf8, 60, 0xfe, 100}, []Message{RealTime(Clock), RealTime(ActiveSensing), On(0, 60, 100)}, Faults{}},
		{"real time keeps running status", []byte{0x90, 60, 1, 0xfa, 61, 2}, []Message{On(0, 60, 1), RealTime(Start), On(0, 61, 2)}, Faults{}},
		{"real time in exclusive", []byte{0xf0, 1, 0xf8, 2, 0xf7}, []Message{RealTime(Clock), sysEx(1, 2)}, Faults{}},
		{"system common", []byte{0xf1, 0x35, 0xf2, 1, 2, 0xf3, 3, 0xf6}, []Message{quarter, Position(257), select3, RealTime(TuneRequest)}, Faults{}},
		{"common ends running status", []byte{0x90, 60, 1, 0xf6, 61, 2}, []Message{On(0, 60, 1), RealTime(TuneRequest)}, Faults{Stray: 2}},
		{"no running status of common", []byte{0xf3, 3, 4}, []Message{select3}, Faults{Stray: 1}},
		{"stray", []byte{1, 2, 3, 0xf7, 0x80, 60, 0}, []Message{Off(0, 60, 0)}, Faults{Stray: 4}},
		{"undefined", []byte{0xf4, 9, 0xf5, 0xf9, 0xfd, 0x80, 60, 0}, []Message{Off(0, 60, 0)}, Faults{Stray: 1, Undefined: 4}},
		{"undefined real time is nothing", []byte{0x90, 60, 0xf9, 1}, []Message{On(0, 60, 1)}, Faults{Undefined: 1}},
		{"cut", []byte{0x90, 60, 0x90, 61, 1}, []Message{On(0, 61, 1)}, Faults{Cut: 1}},
		{"unended", []byte{0xf0, 1, 2, 0x90, 61, 1}, []Message{sysEx(1, 2), On(0, 61, 1)}, Faults{Unended: 1}},
		{"unended by another", []byte{0xf0, 1, 0xf0, 2, 0xf7}, []Message{sysEx(1), sysEx(2)}, Faults{Unended: 1}},
		{"exclusive ends running status", []byte{0x90, 60, 1, 0xf0, 0xf7, 61, 1}, []Message{On(0, 60, 1), sysEx()}, Faults{Stray: 2}},
		{"too long", append(append([]byte{0xf0}, make([]byte, 99)...), 0xf7, 0xf0, 1, 0xf7), []Message{sysEx(1)}, Faults{TooLong: 1}},
		{"too long, unended", append(append([]byte{0xf0}, make([]byte, 99)...), 0x80, 1, 2), []Message{Off(0, 1, 2)}, Faults{TooLong: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			for cut := range len(c.in) + 1 {
				p := Parser{Limit: 100}
				got := parse(&p, c.in[:cut], c.in[cut:])
				if !slices.EqualFunc(got, c.want, same) {
					t.Fatalf("cut at %d: got %v, want %v", cut, got, c.want)
				}
				if p.Faults != c.faults {
					t.Fatalf("cut at %d: faults %+v, want %+v", cut, p.Faults, c.faults)
				}
			}
		})
	}
}

func TestParserLimit(t *testing.T) {
	for _, n := range []int{MaxSysEx - 1, MaxSysEx, MaxSysEx + 1} {
		var p Parser
		got := parse(&p, sysEx(make([]byte, n-2)...).SysEx)
		if ok := len(got) == 1 && len(got[0].SysEx) == n; ok != (n <= MaxSysEx) {
			t.Errorf("%d bytes: passed on is %v", n, ok)
		}
	}
}

func TestParserReset(t *testing.T) {
	var p Parser
	parse(&p, []byte{0x90, 60, 1, 0xf0, 1})
	p.Reset()
	if got := parse(&p, []byte{2, 0xf7, 61, 1}); len(got) != 0 || p.Faults.Stray != 4 {
		t.Errorf("after a reset %v, %+v", got, p.Faults)
	}
}

// randomMessage returns any whole message.
func randomMessage(r *rand.Rand) Message {
	n := func(most int) int { return r.IntN(most) }
	ch := n(16)
	switch n(14) {
	case 0:
		return On(ch, n(128), n(128))
	case 1:
		return Off(ch, n(128), n(128))
	case 2:
		return KeyPressure(ch, n(128), n(128))
	case 3, 4, 5:
		return CC(ch, n(128), n(128))
	case 6:
		return Program(ch, n(128))
	case 7:
		return Pressure(ch, n(128))
	case 8:
		return BendTo(ch, n(16384)-8192)
	case 9:
		return Position(n(16384))
	case 10:
		return Message{Data: [3]byte{[...]byte{QuarterFrame, SongSelect}[n(2)], byte(n(128))}, Size: 2}
	case 11:
		data := make([]byte, n(40))
		for i := range data {
			data[i] = byte(n(128))
		}
		return sysEx(data...)
	}
	return RealTime([...]byte{Clock, Start, Continue, Stop, ActiveSensing, SystemReset, TuneRequest}[n(7)])
}

// What is encoded comes back, with running status or without, however it is
// cut into calls and wherever real-time bytes are put between.
func TestEncodeParse(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		var want []Message
		var b []byte
		e := Encoder{Running: r.IntN(2) == 0}
		for range 1 + r.IntN(20) {
			m := randomMessage(r)
			want = append(want, m)
			b = e.Append(b, m)
			if r.IntN(10) == 0 {
				e.Reset()
			}
		}
		var p Parser
		var got []Message
		for len(b) > 0 {
			n := 1 + r.IntN(len(b))
			got = append(got, parse(&p, b[:n])...)
			b = b[n:]
		}
		if !slices.EqualFunc(got, want, same) || p.Faults != (Faults{}) {
			t.Fatalf("got %v, want %v; faults %+v", got, want, p.Faults)
		}
	}
}

func TestEncoderRunning(t *testing.T) {
	e := Encoder{Running: true}
	var b []byte
	for _, m := range []Message{On(0, 60, 1), On(0, 61, 1), RealTime(Clock), On(0, 62, 1), On(1, 60, 1), Position(1), On(1, 60, 1)} {
		b = e.Append(b, m)
	}
	want := []byte{0x90, 60, 1, 61, 1, 0xf8, 62, 1, 0x91, 60, 1, 0xf2, 1, 0, 0x91, 60, 1}
	if !bytes.Equal(b, want) {
		t.Errorf("% x, want % x", b, want)
	}
}

func FuzzParser(f *testing.F) {
	f.Add([]byte{0x90, 60, 100, 61, 0, 0xf8}, uint8(2))
	f.Add([]byte{0xf0, 0x7e, 0xf8, 1, 0xf7, 5, 0xf4, 0xb0, 7}, uint8(3))
	f.Add([]byte{0xf2, 1, 0xf0, 0xf0, 0xff, 0x80}, uint8(1))
	f.Fuzz(checkParser)
}

// checkParser holds for any bytes: cutting changes nothing, messages are
// whole, no byte is used twice, and what came out parses to itself.
func checkParser(t *testing.T, b []byte, cut uint8) {
	whole, pieces := Parser{Limit: 32}, Parser{Limit: 32}
	a := parse(&whole, b)
	var c []Message
	for rest := b; len(rest) > 0; {
		n := min(1+int(cut%7), len(rest))
		c = append(c, parse(&pieces, rest[:n])...)
		rest = rest[n:]
	}
	if !slices.EqualFunc(a, c, same) || whole.Faults != pieces.Faults {
		t.Fatalf("whole %v %+v, in pieces %v %+v", a, whole.Faults, c, pieces.Faults)
	}
	var e Encoder
	var again []byte
	for _, m := range a {
		again = e.Append(again, m)
		if m.Size == 0 {
			if len(m.SysEx) > 32 || m.SysEx[0] != SysExStart || m.SysEx[len(m.SysEx)-1] != SysExEnd {
				t.Fatalf("exclusive % x", m.SysEx)
			}
		} else if m.Data[0] < 0x80 || m.Data[1] > 127 || m.Data[2] > 127 || m.Size > 3 {
			t.Fatalf("message % x of %d", m.Data, m.Size)
		}
		_ = m.String()
	}
	var p Parser
	if back := parse(&p, again); !slices.EqualFunc(back, a, same) || p.Faults != (Faults{}) {
		t.Fatalf("parsed again %v, was %v", back, a)
	}
}

// randomBytes are bytes as a broken cable makes them: more statuses than chance.
func randomBytes(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		if b[i] = byte(r.IntN(128)); r.IntN(3) == 0 {
			b[i] |= 0x80
		}
	}
	return b
}

func TestParserRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		checkParser(t, randomBytes(r, r.IntN(80)), uint8(r.IntN(256)))
	}
}

func TestParserAllocates(t *testing.T) {
	var p Parser
	var e Encoder
	count := 0
	emit := func(m Message) { count += int(m.Size) }
	b := []byte{0x90, 60, 1, 61, 1, 0xf8, 62, 1, 0x91, 60, 1, 0xf2, 1, 0, 0xf0, 1, 2, 3, 0xf7, 0xe0, 1}
	out := make([]byte, 0, 64)
	p.Parse(b, emit)
	if n := testing.AllocsPerRun(100, func() {
		p.Parse(b, emit)
		out = e.Append(out[:0], On(1, 2, 3))
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkParserNotes(b *testing.B) {
	benchParser(b, bytes.Repeat([]byte{0x90, 60, 100, 0x80, 60, 64}, 500))
}

func BenchmarkParserRunning(b *testing.B) {
	benchParser(b, append([]byte{0x90}, bytes.Repeat([]byte{60, 100, 60, 0}, 750)...))
}

func BenchmarkParserSysEx(b *testing.B) {
	benchParser(b, sysEx(make([]byte, 3000)...).SysEx)
}

func benchParser(b *testing.B, data []byte) {
	var p Parser
	n := 0
	emit := func(Message) { n++ }
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		p.Parse(data, emit)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(max(n, 1)), "ns/message")
}

func ExampleParser() {
	var p Parser
	// A chord with running status, with a clock between its bytes, in two
	// arrivals.
	for _, b := range [][]byte{{0x90, 60, 100, 64}, {0xf8, 100, 67, 100}} {
		p.Parse(b, func(m Message) { fmt.Println(m) })
	}
	// Output:
	// note on ch 1 key 60 velocity 100
	// clock
	// note on ch 1 key 64 velocity 100
	// note on ch 1 key 67 velocity 100
}

func ExampleEncoder() {
	e := Encoder{Running: true}
	var b []byte
	for _, m := range []Message{On(0, 60, 100), On(0, 64, 100), Off(0, 60, 64)} {
		b = e.Append(b, m)
	}
	fmt.Printf("% x\n", b)
	// Output: 90 3c 64 40 64 80 3c 40
}
