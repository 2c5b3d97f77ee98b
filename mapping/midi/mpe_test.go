package midi

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestMPEConfig(t *testing.T) {
	for _, c := range []struct {
		lower, upper, wantLower, wantUpper int
	}{
		{15, 0, 15, 0}, {0, 15, 0, 15}, {7, 7, 7, 7}, {10, 8, 10, 4}, {14, 5, 14, 0}, {15, 5, 15, 0}, {99, 0, 15, 0}, {-1, 0, 0, 0},
	} {
		got := NewMPEConfig(c.lower, c.upper)
		if got.Lower.Members != c.wantLower || got.Upper.Members != c.wantUpper {
			t.Errorf("%d, %d: got %d, %d", c.lower, c.upper, got.Lower.Members, got.Upper.Members)
		}
		used := map[int]bool{}
		for _, upper := range []bool{false, true} {
			zone := got.Zone(upper)
			if zone.Members == 0 {
				continue
			}
			if zone.MasterBend != 2 || zone.MemberBend != 48 {
				t.Errorf("bend ranges %+v", zone)
			}
			chans := []int{Master(upper)}
			for i := range zone.Members {
				chans = append(chans, got.Member(upper, i))
			}
			for i, ch := range chans {
				if used[ch] {
					t.Errorf("%d, %d: channel %d is in two zones", c.lower, c.upper, ch)
				}
				used[ch] = true
				if u, m, ok := got.Of(ch); !ok || u != upper || m != (i == 0) {
					t.Errorf("channel %d: %v %v %v", ch, u, m, ok)
				}
			}
		}
		for ch := range 16 {
			if _, _, ok := got.Of(ch); ok != used[ch] {
				t.Errorf("channel %d is in a zone: %v", ch, ok)
			}
		}
	}
}

// What an output says of its zones an input understands.
func TestMPEConfigRoundTrip(t *testing.T) {
	for lower := range 16 {
		for upper := range 16 {
			want := NewMPEConfig(lower, upper)
			if want.Lower.Members > 0 {
				want.Lower.MemberBend, want.Lower.MasterBend = 24.5, 7
			}
			if want.Upper.Members > 0 {
				want.Upper.MemberBend = 96
			}
			var in MPEIn
			for _, m := range want.Append(nil) {
				in.Message(m, func(MPEChange, MPENote) {})
			}
			if in.Config() != want {
				t.Fatalf("got %+v, want %+v", in.Config(), want)
			}
		}
	}
}

// notes plays messages into an MPEIn and keeps what sounds.
type notes struct {
	in    MPEIn
	sound map[uint64]MPENote
	ended []MPENote
	log   []MPEChange
}

func (n *notes) hear(t *testing.T, in ...Message) {
	for _, m := range in {
		n.in.Message(m, func(c MPEChange, note MPENote) {
			if n.sound == nil {
				n.sound = map[uint64]MPENote{}
			}
			_, sounds := n.sound[note.ID]
			if sounds == (c == MPEBegan) {
				t.Fatalf("note %d: change %d, it sounded: %v", note.ID, c, sounds)
			}
			n.log = append(n.log, c)
			if n.sound[note.ID] = note; c == MPEEnded {
				delete(n.sound, note.ID)
				n.ended = append(n.ended, note)
			}
		})
	}
}

func (n *notes) only(t *testing.T) MPENote {
	t.Helper()
	if len(n.sound) != 1 {
		t.Fatalf("%d notes sound", len(n.sound))
	}
	for _, note := range n.sound {
		return note
	}
	panic("none")
}

func TestMPEIn(t *testing.T) {
	n := notes{in: *NewMPEIn(NewMPEConfig(7, 0))}
	// Bend, pressure and timbre come before the note.
	n.hear(t, BendTo(3, 4096), Pressure(3, 20), CC(3, CCTimbre, 90), On(3, 60, 101))
	note := n.only(t)
	if note.Pitch != 84 || note.Key != 60 || note.Pressure != 20 || note.Timbre != 90 || note.Velocity != 101 || note.Channel != 3 {
		t.Errorf("%+v", note)
	}
	// They move it, and each once.
	n.log = nil
	n.hear(t, BendTo(3, 0), BendTo(3, 0), Pressure(3, 21), Pressure(3, 21), CC(3, CCTimbre, 91), Pressure(4, 99), BendTo(4, 99))
	if note = n.only(t); note.Pitch != 60 || note.Pressure != 21 || note.Timbre != 91 || len(n.log) != 3 {
		t.Errorf("%+v after %d moves", note, len(n.log))
	}
	// The master bends all, by its own range.
	n.hear(t, BendTo(0, -8192))
	if note = n.only(t); note.Pitch != 58 {
		t.Errorf("%+v", note)
	}
	n.hear(t, BendTo(3, 8191))
	if note = n.only(t); math.Abs(note.Pitch-(60-2+48*8191.0/8192)) > 1e-9 {
		t.Errorf("%+v", note)
	}
	// A range said on any member holds for all.
	n.hear(t, AppendRPN(nil, 7, RPNBendRange, 12<<7)...)
	if note = n.only(t); math.Abs(note.Pitch-(58+12*8191.0/8192)) > 1e-9 {
		t.Errorf("%+v", note)
	}
	n.hear(t, Off(3, 60, 77))
	if len(n.sound) != 0 || len(n.ended) != 1 || n.ended[0].Release != 77 {
		t.Errorf("it ended as %+v", n.ended)
	}
	// A note-on of velocity 0 has no release velocity: 64.
	n.hear(t, On(3, 60, 1), On(3, 60, 0))
	if n.ended[1].Release != 64 || n.ended[1].ID == n.ended[0].ID {
		t.Errorf("%+v", n.ended)
	}
}

func TestMPEInPasses(t *testing.T) {
	in := NewMPEIn(NewMPEConfig(3, 0))
	emit := func(MPEChange, MPENote) {}
	for _, c := range []struct {
		m    Message
		mine bool
	}{
		{On(0, 1, 1), true}, {On(3, 1, 1), true}, {On(4, 1, 1), false}, {CC(0, CCSustain, 1), false}, {Program(0, 1), false},
		{RealTime(Clock), false}, {CC(1, CCTimbre, 1), true}, {CC(4, CCTimbre, 1), false}, {CC(1, CCAllNotesOff, 0), false},
	} {
		if got := in.Message(c.m, emit); got != c.mine {
			t.Errorf("%v: taken is %v", c.m, got)
		}
	}
}

func TestMPEInEnds(t *testing.T) {
	start := func() *notes {
		n := &notes{in: *NewMPEIn(NewMPEConfig(7, 7))}
		n.hear(t, On(1, 60, 1), On(2, 61, 1), On(2, 61, 1), On(14, 62, 1), On(0, 63, 1))
		return n
	}
	for _, c := range []struct {
		name  string
		m     []Message
		sound int
	}{
		{"one of two of the same key", []Message{Off(2, 61, 0)}, 4},
		{"all notes off of a member", []Message{CC(2, CCAllNotesOff, 0)}, 3},
		{"all sound off of the master", []Message{CC(0, CCAllSoundOff, 0)}, 1},
		{"the zone is made anew", AppendRPN(nil, 0, RPNMPE, 5<<7), 1},
		{"the zone ends", AppendRPN(nil, 0, RPNMPE, 0), 1},
		{"the other zone takes its channels", AppendRPN(nil, 15, RPNMPE, 13<<7), 2},
		{"a strange number of members", AppendRPN(nil, 0, RPNMPE, 16<<7), 5},
		{"on a member it is nothing", AppendRPN(nil, 3, RPNMPE, 5<<7), 5},
	} {
		n := start()
		if n.hear(t, c.m...); len(n.sound) != c.sound {
			t.Errorf("%s: %d notes sound, want %d", c.name, len(n.sound), c.sound)
		}
	}
	n := start()
	n.in.Release(func(MPEChange, MPENote) {})
	if n.in.Playing() != 0 {
		t.Error("a release leaves notes")
	}
	// More notes than there is room for end the oldest.
	n = &notes{in: *NewMPEIn(NewMPEConfig(15, 0))}
	for i := range 2 * MPEVoices {
		n.hear(t, On(1+i%15, i%128, 1))
	}
	if len(n.sound) != MPEVoices || n.ended[0].ID != 1 {
		t.Errorf("%d sound", len(n.sound))
	}
}

func TestMPEOutOrder(t *testing.T) {
	o := NewMPEOut(NewMPEConfig(15, 0), false)
	got, ok := o.On(nil, 7, MPEStart{Pitch: 60.5, Velocity: 100, Pressure: 3, Timbre: 70})
	want := []Message{BendTo(1, -85), Pressure(1, 3), CC(1, CCTimbre, 70), On(1, 61, 100)}
	if !ok || !slices.EqualFunc(got, want, same) {
		t.Errorf("got %v, want %v", got, want)
	}
	// Moves that change nothing are not sent.
	got = o.Pitch(nil, 7, 61)
	got = o.Pitch(got, 7, 61)
	got = o.Pressure(got, 7, 3)
	got = o.Timbre(got, 7, 71)
	got = o.Pressure(got, 8, 1) // no such note
	want = []Message{BendTo(1, 0), CC(1, CCTimbre, 71)}
	if !slices.EqualFunc(got, want, same) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got = o.Off(nil, 7, 9); len(got) != 1 || !same(got[0], Off(1, 61, 9)) || len(o.Off(nil, 7, 9)) != 0 {
		t.Errorf("%v", got)
	}
}

// Channels are used in turn, the one that was released longest ago first.
func TestMPEOutTurn(t *testing.T) {
	o := NewMPEOut(NewMPEConfig(0, 4), true)
	var buf []Message
	on := func(id uint64) int {
		buf, _ = o.On(buf[:0], id, MPEStart{Pitch: 60, Velocity: 1})
		ch, _ := o.Channel(id)
		return ch
	}
	var turn []int
	for id := range uint64(4) {
		turn = append(turn, on(id))
	}
	o.Off(buf[:0], 2, 0)
	o.Off(buf[:0], 0, 0)
	turn = append(turn, on(4), on(5))
	if !slices.Equal(turn, []int{14, 13, 12, 11, 12, 14}) {
		t.Errorf("channels %v", turn)
	}
	// One note alone goes through all of them.
	o.Release(nil)
	seen := map[int]bool{}
	for id := range uint64(4) {
		seen[on(id)] = true
		o.Off(buf[:0], id, 0)
	}
	if len(seen) != 4 {
		t.Errorf("only %v are used", seen)
	}
}

func TestMPEOutSteal(t *testing.T) {
	for _, policy := range []MPESteal{MPEShare, MPEOldest, MPERefuse} {
		o := NewMPEOut(NewMPEConfig(2, 0), false)
		o.Steal = policy
		var m []Message
		var ok bool
		for id := range uint64(3) {
			m, ok = o.On(m[:0], id, MPEStart{Pitch: 60 + float64(id), Velocity: 1})
		}
		ch, _ := o.Channel(2)
		switch policy {
		case MPEShare:
			if !ok || o.Playing() != 3 || ch != 1 {
				t.Errorf("share: %v, %d play, channel %d", ok, o.Playing(), ch)
			}
			// Only the newest note of a channel moves it.
			if len(o.Pitch(nil, 0, 61)) != 0 || len(o.Pitch(nil, 2, 62.5)) != 1 {
				t.Error("share: the older note moves the newer one's channel")
			}
			// The same key goes to the other channel.
			o.On(nil, 3, MPEStart{Pitch: 60, Velocity: 1})
			if ch, _ := o.Channel(3); ch != 2 {
				t.Errorf("share: the same key twice on channel %d", ch)
			}
		case MPEOldest:
			if !ok || o.Playing() != 2 || ch != 1 || !same(m[0], Off(1, 60, 64)) || len(m) != 5 {
				t.Errorf("oldest: %v, %d play, channel %d, %v", ok, o.Playing(), ch, m)
			}
		case MPERefuse:
			if ok || o.Playing() != 2 || len(m) != 0 {
				t.Errorf("refuse: %v, %d play, %v", ok, o.Playing(), m)
			}
		}
	}
}

// Whatever is played out is heard in: pitch to half a cent, until the note ends.
func TestMPEOutIn(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	for _, config := range []MPEConfig{NewMPEConfig(15, 0), NewMPEConfig(0, 15), NewMPEConfig(7, 7), NewMPEConfig(1, 0)} {
		for _, upper := range []bool{false, true} {
			if config.Zone(upper).Members == 0 {
				continue
			}
			o := NewMPEOut(config, upper)
			o.Steal = MPEOldest // so that every note has its own channel
			var n notes
			var held Held
			hear := func(m []Message) {
				for _, x := range m {
					held.Track(x)
				}
				n.hear(t, m...)
			}
			hear(o.Configure(nil))
			type want struct {
				pitch              float64
				pressure, timbre   int
				channel, beganHere int
			}
			play := map[uint64]want{}
			for i := range 3000 {
				id := uint64(r.IntN(20))
				switch r.IntN(5) {
				case 0, 1:
					s := MPEStart{Pitch: 20 + 90*r.Float64(), Velocity: 1 + r.IntN(127), Pressure: r.IntN(128), Timbre: r.IntN(128)}
					m, _ := o.On(nil, id, s)
					hear(m)
					ch, _ := o.Channel(id)
					play[id] = want{s.Pitch, s.Pressure, s.Timbre, ch, i}
				case 2:
					hear(o.Off(nil, id, 3))
				case 3:
					if w, ok := play[id]; ok {
						w.pitch = w.pitch + 4*(r.Float64()-0.5)
						w.timbre = r.IntN(128)
						play[id] = w
						hear(o.Timbre(o.Pitch(nil, id, w.pitch), id, w.timbre))
					}
				case 4:
					if w, ok := play[id]; ok {
						w.pressure = r.IntN(128)
						play[id] = w
						hear(o.Pressure(nil, id, w.pressure))
					}
				}
				for id := range play {
					if _, ok := o.Channel(id); !ok {
						delete(play, id)
					}
				}
				if len(n.sound) != o.Playing() || len(play) != o.Playing() || o.Playing() > config.Zone(upper).Members {
					t.Fatalf("%d sound, %d are played", len(n.sound), o.Playing())
				}
				for _, note := range n.sound {
					for _, w := range play {
						if w.channel == note.Channel && (math.Abs(w.pitch-note.Pitch) > 0.005 || w.pressure != note.Pressure || w.timbre != note.Timbre) {
							t.Fatalf("heard %+v, played %+v", note, w)
						}
					}
				}
			}
			hear(o.Release(nil))
			if len(n.sound) != 0 || held.Count(1, 60) != 0 {
				t.Error("notes hang")
			}
			for ch := range 16 {
				for key := range 128 {
					if held.Count(ch, key) != 0 {
						t.Fatalf("channel %d key %d hangs", ch, key)
					}
				}
			}
		}
	}
}

func TestMPEOutEdges(t *testing.T) {
	var o MPEOut
	if _, ok := o.On(nil, 1, MPEStart{Pitch: 60, Velocity: 1}); ok || len(o.Bend(nil, 1)) != 0 {
		t.Error("no zone plays")
	}
	o.Init(NewMPEConfig(15, 0), false)
	for _, p := range []float64{math.NaN(), math.Inf(1), math.Inf(-1), -500, 500, 127.9} {
		m, ok := o.On(nil, 1, MPEStart{Pitch: p, Velocity: 999, Pressure: -1, Timbre: 999})
		if ok == math.IsNaN(p) {
			t.Errorf("pitch %v: %v", p, ok)
		}
		for _, x := range m {
			if x.Data[1] > 127 || x.Data[2] > 127 {
				t.Errorf("pitch %v: % x", p, x.Data)
			}
		}
		o.Pitch(nil, 1, p)
	}
	if m := o.Bend(nil, 1); len(m) != 1 || !same(m[0], BendTo(0, 4096)) {
		t.Errorf("%v", m)
	}
	// As many notes as there are, and one more.
	o.Init(NewMPEConfig(2, 0), false)
	for id := range uint64(MPEVoices + 1) {
		if _, ok := o.On(nil, id, MPEStart{Pitch: float64(id % 128), Velocity: 1}); !ok {
			t.Fatal("no room")
		}
	}
	if o.Playing() != MPEVoices {
		t.Errorf("%d play", o.Playing())
	}
}

func FuzzMPEIn(f *testing.F) {
	f.Add([]byte{0xb0, 101, 0, 100, 6, 6, 5, 0x91, 60, 1, 0xe1, 1, 2, 0xd1, 3, 0x81, 60, 1})
	f.Fuzz(checkMPEIn)
}

func checkMPEIn(t *testing.T, b []byte) {
	in := NewMPEIn(NewMPEConfig(5, 5))
	sounds := map[uint64]bool{}
	emit := func(c MPEChange, n MPENote) {
		if sounds[n.ID] == (c == MPEBegan) {
			t.Fatalf("note %d: change %d", n.ID, c)
		}
		if sounds[n.ID] = true; c == MPEEnded {
			delete(sounds, n.ID)
		}
		if n.Pitch < -98 || n.Pitch > 127+98+96 || n.Pressure > 127 || n.Timbre > 127 {
			t.Fatalf("%+v", n)
		}
	}
	var p Parser
	p.Parse(b, func(m Message) { in.Message(m, emit) })
	if in.Release(emit); len(sounds) != 0 || in.Playing() != 0 {
		t.Fatal("notes hang")
	}
}

func TestMPEInRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	for range 3000 {
		var b []byte
		for range r.IntN(60) {
			m := randomMessage(r)
			if r.IntN(8) == 0 {
				for _, x := range AppendRPN(nil, [...]int{0, 15, 3}[r.IntN(3)], [...]int{0, 6}[r.IntN(2)], r.IntN(18)<<7) {
					b = x.Bytes(b)
				}
			}
			b = m.Bytes(b)
		}
		checkMPEIn(t, b)
	}
}

func TestMPEAllocates(t *testing.T) {
	o := NewMPEOut(NewMPEConfig(15, 0), false)
	in := NewMPEIn(NewMPEConfig(15, 0))
	buf := make([]Message, 0, 64)
	n := 0
	emit := func(MPEChange, MPENote) { n++ }
	id := uint64(0)
	if a := testing.AllocsPerRun(200, func() {
		id++
		m, _ := o.On(buf[:0], id%20, MPEStart{Pitch: 60, Velocity: 1})
		m = o.Pitch(m, id%20, 61.2)
		m = o.Pressure(m, id%20, int(id%128))
		m = o.Off(m, (id+3)%20, 1)
		m = o.Bend(m, 1)
		m = append(m, CC(0, CCAllNotesOff, 0), CC(0, CCResetAll, 0))
		m = AppendRPN(m, 1, RPNBendRange, int(id%96)<<7)
		m = AppendRPN(m, 0, RPNMPE, int(id%16)<<7)
		for _, x := range m {
			in.Message(x, emit)
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkMPEIn(b *testing.B) {
	in := NewMPEIn(NewMPEConfig(15, 0))
	emit := func(MPEChange, MPENote) {}
	for i := range 15 {
		in.Message(On(i+1, 60, 1), emit)
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		in.Message(BendTo(1+i%15, i%8192), emit)
		i++
	}
}

func ExampleMPEOut() {
	o := NewMPEOut(NewMPEConfig(15, 0), false)
	m, _ := o.On(nil, 1, MPEStart{Pitch: 60, Velocity: 100, Timbre: MPETimbre})
	m, _ = o.On(m, 2, MPEStart{Pitch: 67.02, Velocity: 90, Timbre: MPETimbre})
	m = o.Pitch(m, 1, 60.5)
	m = o.Off(m, 1, 64)
	for _, x := range m {
		fmt.Println(x)
	}
	// Output:
	// pitch bend ch 2 value 0
	// channel pressure ch 2 value 0
	// cc ch 2 number 74 value 64
	// note on ch 2 key 60 velocity 100
	// pitch bend ch 3 value 3
	// channel pressure ch 3 value 0
	// cc ch 3 number 74 value 64
	// note on ch 3 key 67 velocity 90
	// pitch bend ch 2 value 85
	// note off ch 2 key 60 velocity 64
}

func ExampleMPEIn() {
	in := NewMPEIn(NewMPEConfig(15, 0))
	for _, m := range []Message{BendTo(1, 0), On(1, 60, 100), BendTo(1, 171), BendTo(0, 4096), Off(1, 60, 40)} {
		in.Message(m, func(c MPEChange, n MPENote) {
			fmt.Printf("%d: note %d at %.2f\n", c, n.ID, n.Pitch)
		})
	}
	// Output:
	// 0: note 1 at 60.00
	// 1: note 1 at 61.00
	// 1: note 1 at 62.00
	// 2: note 1 at 62.00
}
