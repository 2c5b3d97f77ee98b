package midi

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
)

// controls feeds messages to n and returns what they move.
func controls(n *Numbers, in ...Message) (out []Control) {
	for _, m := range in {
		if c, ok := n.Control(m); ok {
			out = append(out, c)
		}
	}
	return out
}

func last(t *testing.T, c []Control) Control {
	t.Helper()
	if len(c) == 0 {
		t.Fatal("nothing moved")
	}
	return c[len(c)-1]
}

func TestNumbersSingle(t *testing.T) {
	var n Numbers
	for _, c := range []struct {
		in   Message
		want Control
	}{
		{CC(3, 70, 127), Control{Kind: Control7, Channel: 3, Number: 70, Value14: 16383}},
		{CC(3, 70, 64), Control{Kind: Control7, Channel: 3, Number: 70, Value14: 8192}},
		{CC(3, 40, 0), Control{Kind: Control7, Channel: 3, Number: 40}}, // no controller 8 was heard
		{CC(3, 7, 127), Control{Kind: Control14, Channel: 3, Number: 7, Value14: 16383}},
		{CC(4, 39, 1), Control{Kind: Control7, Channel: 4, Number: 39, Value14: 128}}, // another channel's 7
		{CC(3, 39, 5), Control{Kind: Control14, Channel: 3, Number: 7, Value14: 127<<7 | 5, Fine: true}},
		{CC(3, 6, 1), Control{Kind: Control14, Channel: 3, Number: 6, Value14: 128}}, // no parameter is chosen
	} {
		if got, ok := n.Control(c.in); !ok || got != c.want {
			t.Errorf("%v: got %+v %v, want %+v", c.in, got, ok, c.want)
		}
	}
	for _, m := range []Message{On(0, 1, 2), CC(0, 101, 0), CC(0, 120, 0), CC(0, 127, 0), RealTime(Clock), sysEx(1), CC(1, 96, 0)} {
		if c, ok := n.Control(m); ok {
			t.Errorf("%v moves %+v", m, c)
		}
	}
}

func TestWiden(t *testing.T) {
	for v := range 127 {
		if Widen(v)>>7 != v || Widen(v+1) <= Widen(v) {
			t.Errorf("%d is %d", v, Widen(v))
		}
	}
	if Widen(0) != 0 || Widen(64) != 8192 || Widen(127) != 16383 || Widen(-1) != 0 || Widen(200) != 16383 {
		t.Error("ends and middle")
	}
}

// pairSender sends a fader of fourteen bits as one kind of controller does.
type pairSender struct {
	name string
	send func(value, before int) []Message
}

func pairSenders(channel, high, low int) []pairSender {
	msb := func(v int) Message { return CC(channel, high, v>>7) }
	lsb := func(v int) Message { return CC(channel, low, v) }
	return []pairSender{
		{"high first", func(v, _ int) []Message { return []Message{msb(v), lsb(v)} }},
		{"low first", func(v, _ int) []Message { return []Message{lsb(v), msb(v)} }},
		{"high first, when it changed", func(v, b int) []Message {
			if v>>7 == b>>7 {
				return []Message{lsb(v)}
			}
			return []Message{msb(v), lsb(v)}
		}},
		{"low first, high when it changed", func(v, b int) []Message {
			if v>>7 == b>>7 {
				return []Message{lsb(v)}
			}
			return []Message{lsb(v), msb(v)}
		}},
		{"high only", func(v, b int) []Message {
			if v>>7 == b>>7 {
				return nil
			}
			return []Message{msb(v)}
		}},
	}
}

// A fader moved slowly up and down arrives without a jump, and ends where it
// was put, from every kind of sender, with a control on another channel
// between.
func TestPairContinuity(t *testing.T) {
	for _, s := range pairSenders(2, 11, 43) {
		for _, step := range []int{1, 7, 31, 60} {
			var n Numbers
			before, at, worst, wrong := -1<<20, -1, 0, 0
			var path []int
			for v := 1000; v < 9000; v += step {
				path = append(path, v)
			}
			for v := 9000; v > 1000; v -= step {
				path = append(path, v)
			}
			for i, v := range path {
				for _, m := range s.send(v, before) {
					if c, ok := n.Control(m); ok {
						if i == 0 && c.Number == 43 {
							continue // nobody knows yet that it is a low half
						}
						if c.Kind != Control14 || c.Number != 11 || c.Channel != 2 {
							t.Fatalf("%s: %+v", s.name, c)
						}
						if at >= 0 && i > 300 {
							worst = max(worst, max(c.Value14-at, at-c.Value14))
						}
						at = c.Value14
					}
					// Another channel's fader does not disturb it.
					n.Control(CC(3, 11, v>>5&127))
					n.Control(CC(3, 43, v&127))
				}
				before = v
				if at != v {
					wrong++
				}
			}
			limit := max(2*step, 4)
			switch s.name {
			case "high only":
				limit = 3 * 128
			default:
				if off := float64(wrong) / float64(len(path)); off > 0.02 && off*float64(step) > 0.5 {
					t.Errorf("%s, steps of %d: %.1f %% of the values are not those sent", s.name, step, off*100)
				}
			}
			if worst > limit {
				t.Errorf("%s, steps of %d: a jump of %d", s.name, step, worst)
			}
		}
	}
}

// One that begins in the middle of a pair is understood after some borders.
func TestPairMidway(t *testing.T) {
	for i, s := range pairSenders(0, 1, 33)[:2] {
		var n Numbers
		if i == 0 {
			n.Control(CC(0, 33, 40)) // the low half of a pair whose high half came before
		} else {
			n.Control(CC(0, 1, 40>>7))
		}
		at := 0
		for v := 41; v < 6000; v += 3 {
			if c, ok := last2(&n, s.send(v, v-3)); ok {
				at = c.Value14
			}
			if v > 1500 && at != v {
				t.Fatalf("%s: %d became %d", s.name, v, at)
			}
		}
	}
}

func last2(n *Numbers, in []Message) (c Control, ok bool) {
	for _, m := range in {
		if d, acts := n.Control(m); acts {
			c, ok = d, true
		}
	}
	return c, ok
}

func TestNRPN(t *testing.T) {
	const number = 300
	choose := []Message{CC(4, CCNRPN, number>>7), CC(4, CCNRPNFine, number&127)}
	want := func(v int, fine bool) Control {
		return Control{Kind: ControlNRPN, Channel: 4, Number: number, Value14: v, Fine: fine}
	}
	var n Numbers
	if c := controls(&n, choose...); len(c) != 0 {
		t.Errorf("a choice moves %+v", c)
	}
	// The high half acts at once, as of a sender that has no other.
	if c := last(t, controls(&n, CC(4, 6, 127))); c != want(16383, false) {
		t.Errorf("%+v", c)
	}
	if c := last(t, controls(&n, CC(4, 6, 64))); c != want(8192, false) {
		t.Errorf("%+v", c)
	}
	// Then the low half refines it.
	if c := last(t, controls(&n, CC(4, 38, 3))); c != want(8195, true) {
		t.Errorf("%+v", c)
	}
	// The number's low half first, as some do; and other channels between.
	n.Reset()
	if c := last(t, controls(&n, CC(4, CCNRPNFine, number&127), CC(5, CCNRPN, 1), CC(4, CCNRPN, number>>7), CC(5, 6, 3), CC(4, 6, 1))); c != want(128, false) {
		t.Errorf("%+v", c)
	}
	// Half a number is none.
	n.Reset()
	if c := controls(&n, CC(4, CCNRPN, 2), CC(4, 6, 1), CC(4, 38, 1), CC(4, 96, 0)); len(c) != 0 {
		t.Errorf("half a number moves %+v", c)
	}
	// Only the low half of the number changes.
	n.Reset()
	controls(&n, choose...)
	if c := last(t, controls(&n, CC(4, CCNRPNFine, 1), CC(4, 6, 2))); c.Number != 2<<7|1 {
		t.Errorf("%+v", c)
	}
}

func TestRPN(t *testing.T) {
	var n Numbers
	c := last(t, controls(&n, CC(0, 101, 0), CC(0, 100, 0), CC(0, 6, 96)))
	if c != (Control{Kind: ControlRPN, Value14: 96 << 7}) {
		t.Errorf("semitones have cents: %+v", c)
	}
	if c := last(t, controls(&n, CC(0, 38, 50))); c.Value14 != 96<<7|50 {
		t.Errorf("%+v", c)
	}
	// Null: data belongs to nothing, controller 6 is itself again.
	if c := last(t, controls(&n, CC(0, 101, 127), CC(0, 100, 127), CC(0, 6, 1))); c.Kind != Control14 || c.Number != 6 {
		t.Errorf("%+v", c)
	}
	if c := controls(&n, CC(0, 96, 0)); len(c) != 0 {
		t.Errorf("%+v", c)
	}
	// A registered number chosen after another is not mixed with it.
	c = last(t, controls(&n, CC(0, 99, 1), CC(0, 98, 2), CC(0, 101, 0), CC(0, 100, 1), CC(0, 6, 64)))
	if c.Kind != ControlRPN || c.Number != 1 {
		t.Errorf("%+v", c)
	}
}

func TestIncrement(t *testing.T) {
	var n Numbers
	choose := []Message{CC(0, 99, 1), CC(0, 98, 2)}
	controls(&n, choose...)
	c := last(t, controls(&n, CC(0, 96, 127)))
	if c.Increment != 1 || c.Value14 != -1 || c.Kind != ControlNRPN || c.Number != 130 {
		t.Errorf("%+v", c)
	}
	c = last(t, controls(&n, CC(0, 6, 64), CC(0, 97, 0)))
	if c.Increment != -1 || c.Value14 != 63<<7 {
		t.Errorf("a coarse value: %+v", c)
	}
	c = last(t, controls(&n, CC(0, 6, 64), CC(0, 38, 127), CC(0, 96, 0)))
	if c.Increment != 1 || c.Value14 != 65<<7 || !c.Fine {
		t.Errorf("a fine value: %+v", c)
	}
	c = last(t, controls(&n, CC(0, 6, 127), CC(0, 38, 127), CC(0, 96, 0)))
	if c.Value14 != 16383 {
		t.Errorf("the end: %+v", c)
	}
	// The same number chosen again keeps its value.
	c = last(t, controls(&n, append(choose, CC(0, 97, 0))...))
	if c.Value14 != 16382 {
		t.Errorf("chosen again: %+v", c)
	}
}

// A sender of NRPN that writes the number each time, in both orders of data.
func TestNRPNStream(t *testing.T) {
	for _, lowFirst := range []bool{false, true} {
		var n Numbers
		at, worst := -1, 0
		for v := 2000; v < 6000; v += 9 {
			data := []Message{CC(0, 6, v>>7), CC(0, 38, v)}
			if lowFirst {
				data[0], data[1] = data[1], data[0]
			}
			for _, c := range controls(&n, append([]Message{CC(0, 99, 3), CC(0, 98, 4)}, data...)...) {
				if v > 2009 {
					worst = max(worst, max(c.Value14-at, at-c.Value14))
				}
				at = c.Value14
			}
			if at != v {
				t.Fatalf("low first %v: %d became %d", lowFirst, v, at)
			}
		}
		if worst > 30 {
			t.Errorf("low first %v: a jump of %d", lowFirst, worst)
		}
	}
}

// What the encoders write comes back, whatever was sent before.
func TestNumbersRoundTrip(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var n Numbers
	for range 20_000 {
		ch, value := r.IntN(16), r.IntN(16384)
		want := Control{Channel: ch, Value14: value, Fine: true}
		var m []Message
		switch r.IntN(3) {
		case 0:
			want.Kind, want.Number = Control14, r.IntN(32)
			m = AppendCC14(AppendNull(nil, ch), ch, want.Number, value)
		case 1:
			want.Kind, want.Number = ControlRPN, r.IntN(16383)
			m = AppendRPN(nil, ch, want.Number, value)
		case 2:
			want.Kind, want.Number = ControlNRPN, r.IntN(16383)
			m = AppendNRPN(nil, ch, want.Number, value)
		}
		if got := last(t, controls(&n, m...)); got != want {
			t.Fatalf("got %+v, want %+v from %v", got, want, m)
		}
	}
}

func FuzzNumbers(f *testing.F) {
	f.Add([]byte{0xb0, 99, 1, 98, 2, 6, 3, 38, 4, 96, 0})
	f.Add([]byte{0xb1, 39, 1, 7, 2, 39, 5, 101, 127, 100, 127, 6, 1})
	f.Fuzz(checkNumbers)
}

func checkNumbers(t *testing.T, b []byte) {
	var n Numbers
	var p Parser
	p.Parse(b, func(m Message) {
		c, ok := n.Control(m)
		if !ok {
			return
		}
		most := 127
		if c.Kind >= ControlRPN {
			most = 16382
		} else if c.Kind == Control14 {
			most = 31
		}
		low := 0
		if c.Increment != 0 {
			low = -1
		}
		if c.Number < 0 || c.Number > most || c.Value14 < low || c.Value14 > 16383 || c.Channel != m.Channel() || c.Kind > ControlNRPN {
			t.Fatalf("%+v of %v", c, m)
		}
	})
}

func TestNumbersRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 5000 {
		b := []byte{0xb0}
		for range r.IntN(60) {
			b = append(b, [...]byte{1, 33, 6, 38, 96, 97, 98, 99, 100, 101, 64, 0xb1}[r.IntN(12)])
			if b[len(b)-1] < 0x80 {
				b = append(b, [...]byte{0, 127, byte(r.IntN(128))}[r.IntN(3)])
			}
		}
		checkNumbers(t, b)
	}
}

func TestNumbersAllocate(t *testing.T) {
	var n Numbers
	buf := make([]Message, 0, 16)
	sum := 0
	if a := testing.AllocsPerRun(100, func() {
		for _, m := range AppendNRPN(AppendCC14(buf, 1, 7, 9000), 1, 300, 5) {
			c, _ := n.Control(m)
			sum += c.Value14
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkNumbers(b *testing.B) {
	var n Numbers
	in := AppendNRPN(AppendCC14(nil, 1, 7, 9000), 1, 300, 5)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		n.Control(in[i%len(in)])
		i++
	}
}

func ExampleNumbers() {
	var n Numbers
	for _, m := range AppendNRPN(nil, 0, 1000, 9000) {
		if c, ok := n.Control(m); ok {
			fmt.Printf("%v %d: %d of 16383, %.3f\n", c.Kind, c.Number, c.Value14, math.Round(float64(c.Value14)/16383*1000)/1000)
		}
	}
	// Output:
	// nrpn 1000: 8972 of 16383, 0.548
	// nrpn 1000: 9000 of 16383, 0.549
}

// A fader of fourteen bits is where it is however fast it goes, whichever half
// is sent first.
func TestNumbersFollowASweep(t *testing.T) {
	for _, lowFirst := range []bool{false, true} {
		for step := 1; step < 2000; step = step*21/20 + 1 {
			var n Numbers
			var buf []Message
			wrong, last := 0, 0
			// A slow beginning, from which it can be learnt which half comes first.
			var way []int
			for v := 0; v < 600; v += 5 {
				way = append(way, v)
			}
			for v := 600; v < 16383; v += step {
				way = append(way, v)
			}
			way = append(way, 16383)
			for v := 16383; v > 0; v -= step {
				way = append(way, v)
			}
			way = append(way, 0)
			for i, v := range way {
				buf = AppendCC14(buf[:0], 0, 7, v)
				if lowFirst {
					buf[0], buf[1] = buf[1], buf[0]
				}
				for _, m := range buf {
					if c, ok := n.Control(m); ok {
						last = c.Value14
					}
				}
				if i > 300 && last != v {
					wrong++
				}
			}
			if wrong > 0 {
				t.Errorf("low half first %v, steps of %d: %d of %d values are wrong", lowFirst, step, wrong, len(way))
			}
		}
	}
}
