package midi

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func collect(do func(func(Message))) (out []Message) {
	do(func(m Message) { out = append(out, m) })
	return out
}

func TestHeldRelease(t *testing.T) {
	var h Held
	for _, m := range []Message{
		On(2, 60, 1), On(2, 60, 2), On(2, 64, 3), Off(2, 64, 0), // pressed twice; let go
		On(0, 10, 9), On(0, 10, 0), // a note-on of velocity 0 ends it
		CC(5, CCSustain, 127), CC(5, 66, 64), CC(6, CCSustain, 64), CC(6, CCSustain, 63),
		Off(9, 1, 1), CC(9, 7, 100), RealTime(Clock), sysEx(1), Program(9, 1),
	} {
		h.Track(m)
	}
	if !h.Any() || h.Count(2, 60) != 2 || h.Count(2, 64) != 0 || h.Count(0, 10) != 0 {
		t.Fatal("the count is wrong")
	}
	end := func(ch int, m ...Message) []Message {
		return append(m, CC(ch, CCAllNotesOff, 0), CC(ch, CCAllSoundOff, 0))
	}
	want := slices.Concat(end(0), end(2, Off(2, 60, 64), Off(2, 60, 64)),
		end(5, CC(5, CCSustain, 0), CC(5, 66, 0)), end(6))
	if got := collect(h.Release); !slices.EqualFunc(got, want, same) {
		t.Errorf("got %v,\nwant %v", got, want)
	}
	if h.Any() || len(collect(h.Release)) != 0 {
		t.Error("something is held after a release")
	}
}

// Pressed more often than can be counted, it is held until a release.
func TestHeldFull(t *testing.T) {
	var h Held
	for range 300 {
		h.Track(On(0, 60, 1))
	}
	for range 299 {
		h.Track(Off(0, 60, 1))
	}
	if got := collect(h.Release); len(got) != 255+2 || h.Any() {
		t.Errorf("%d messages", len(got))
	}
}

// All notes off and its like release nothing: there are receivers that do not
// know them.
func TestHeldModeMessages(t *testing.T) {
	var h Held
	h.Track(On(0, 60, 1))
	for _, cc := range []int{CCAllSoundOff, CCResetAll, CCAllNotesOff} {
		h.Track(CC(0, cc, 0))
	}
	h.Track(RealTime(SystemReset))
	if h.Count(0, 60) != 1 {
		t.Error("the note is forgotten")
	}
}

func TestHeldReleaseAll(t *testing.T) {
	var h Held
	h.Track(On(3, 60, 1))
	h.Track(CC(3, 69, 127))
	got := collect(h.ReleaseAll)
	if len(got) != 16*4+2 {
		t.Errorf("%d messages", len(got))
	}
	if !same(got[0], CC(3, CCAllSoundOff, 0)) {
		t.Errorf("first comes %v", got[0])
	}
	for ch := range 16 {
		for _, cc := range []int{CCSustain, CCAllSoundOff, CCAllNotesOff, CCResetAll} {
			if !slices.ContainsFunc(got, func(m Message) bool { return same(m, CC(ch, cc, 0)) }) {
				t.Errorf("channel %d misses controller %d", ch, cc)
			}
		}
	}
	for _, m := range []Message{Off(3, 60, 64), CC(3, 69, 0)} {
		if !slices.ContainsFunc(got, func(n Message) bool { return same(m, n) }) {
			t.Errorf("no %v", m)
		}
	}
	if h.Any() {
		t.Error("something is held after a panic")
	}
}

// receiver is a synth of the kind that needs one note-off for each note-on,
// and obeys no mode message.
type receiver struct {
	keys   [16][128]int
	pedals [16][128]bool
}

func (s *receiver) hear(m Message) {
	switch {
	case m.IsNoteOn():
		s.keys[m.Channel()][m.Data[1]]++
	case m.IsNoteOff():
		if k := &s.keys[m.Channel()][m.Data[1]]; *k > 0 {
			*k--
		}
	case m.Kind() == ControlChange:
		s.pedals[m.Channel()][m.Data[1]] = m.Data[2] >= 64
	}
}

func (s *receiver) sounds() bool {
	for ch := range s.keys {
		for key := range 128 {
			if s.keys[ch][key] > 0 {
				return true
			}
		}
		if s.pedals[ch][64] || s.pedals[ch][66] || s.pedals[ch][69] {
			return true
		}
	}
	return false
}

// However the program dies, between any two stores of a byte or before or
// after any send, what the page says silences the receiver.
func TestHeldCrash(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 60 {
		var h Held
		page := make([]byte, HeldSize+100)
		if err := h.Attach(page); err != nil {
			t.Fatal(err)
		}
		var synth receiver
		check := func(where string) {
			var after Held
			if err := after.UnmarshalBinary(page[:HeldSize]); err != nil {
				t.Fatal(err)
			}
			s := synth
			after.Release(s.hear)
			if s.sounds() {
				t.Fatalf("a note hangs after a crash %s", where)
			}
			s = synth
			_ = after.UnmarshalBinary(page[:HeldSize])
			after.ReleaseAll(s.hear)
			if s.sounds() {
				t.Fatalf("a note hangs after a panic %s", where)
			}
		}
		for range 40 {
			m := randomMessage(r)
			switch r.IntN(3) {
			case 0:
				m = On(r.IntN(2), r.IntN(4), r.IntN(2))
			case 1:
				m = CC(r.IntN(2), 64+r.IntN(6), r.IntN(128))
			}
			h.Sending(m)
			check("before the send")
			synth.hear(m)
			check("after the send")
			h.Sent(m)
			check("after the note")
		}
		h.Release(func(m Message) {
			check("in the release")
			synth.hear(m)
			check("in the release")
		})
		if synth.sounds() || h.Any() {
			t.Fatal("the release left something")
		}
	}
}

// A page torn anywhere between an older and a newer state is a state too: each
// key is as the one or the other says.
func TestHeldTorn(t *testing.T) {
	var h Held
	h.Track(On(0, 60, 1))
	older, _ := h.MarshalBinary()
	h.Track(On(15, 127, 1))
	h.Track(Off(0, 60, 1))
	h.Track(CC(7, CCSustain, 127))
	newer, _ := h.MarshalBinary()
	for cut := range HeldSize + 1 {
		torn := append(slices.Clone(newer[:cut]), older[cut:]...)
		var g Held
		if err := g.UnmarshalBinary(torn); err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		for _, k := range [][2]int{{0, 60}, {15, 127}} {
			if n := g.Count(k[0], k[1]); n > 1 {
				t.Fatalf("cut at %d: key %v is held %d times", cut, k, n)
			}
		}
		var s receiver
		g.Release(s.hear)
		if g.Any() {
			t.Fatalf("cut at %d: a release leaves something", cut)
		}
	}
}

func TestHeldBinary(t *testing.T) {
	var h, g Held
	r := rand.New(rand.NewPCG(7, 8))
	for range 500 {
		h.Track(randomMessage(r))
	}
	b, err := h.MarshalBinary()
	if err != nil || len(b) != HeldSize {
		t.Fatal(len(b), err)
	}
	if err := g.UnmarshalBinary(b); err != nil || g.b != h.b || g.count != h.count {
		t.Fatalf("it comes back changed: %v", err)
	}
	if !slices.EqualFunc(collect(h.Release), collect(g.Release), same) {
		t.Error("it releases something else")
	}
	if err := g.UnmarshalBinary(make([]byte, HeldSize)); err != nil || g.Any() {
		t.Errorf("a new file: %v", err)
	}
	for _, bad := range [][]byte{nil, b[1:], append([]byte("k8sheld9"), b[8:]...), append(make([]byte, 8), b[8:]...)} {
		if err := g.UnmarshalBinary(bad); !errors.Is(err, ErrHeld) {
			t.Errorf("%d bytes %q: %v", len(bad), bad[:min(8, len(bad))], err)
		}
	}
	if err := h.Attach(make([]byte, HeldSize-1)); err == nil {
		t.Error("a page too small is taken")
	}
}

func FuzzHeld(f *testing.F) {
	var h Held
	h.Track(On(1, 2, 3))
	b, _ := h.MarshalBinary()
	f.Add(b)
	f.Add(make([]byte, HeldSize))
	f.Fuzz(func(t *testing.T, b []byte) {
		var g Held
		if g.UnmarshalBinary(b) != nil {
			return
		}
		g.Release(func(Message) {})
		if g.Any() {
			t.Error("something is held after a release")
		}
	})
}

func TestHeldAllocates(t *testing.T) {
	var h Held
	if err := h.Attach(make([]byte, HeldSize)); err != nil {
		t.Fatal(err)
	}
	n := 0
	emit := func(Message) { n++ }
	if a := testing.AllocsPerRun(100, func() {
		h.Track(On(1, 2, 3))
		h.Track(CC(1, CCSustain, 127))
		h.Release(emit)
		h.ReleaseAll(emit)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkHeldTrack(b *testing.B) {
	var h Held
	_ = h.Attach(make([]byte, HeldSize))
	b.ReportAllocs()
	for b.Loop() {
		h.Track(On(1, 60, 3))
		h.Track(Off(1, 60, 3))
	}
}

func ExampleHeld() {
	var h Held
	for _, m := range []Message{On(0, 60, 100), On(0, 64, 100), Off(0, 60, 64), CC(0, CCSustain, 127)} {
		h.Track(m)
	}
	// The port is about to close.
	h.Release(func(m Message) { fmt.Println(m) })
	// Output:
	// note off ch 1 key 64 velocity 64
	// cc ch 1 number 64 value 0
	// cc ch 1 number 123 value 0
	// cc ch 1 number 120 value 0
}
