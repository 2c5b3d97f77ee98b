package port

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

func drain(q *queue, now int64) (all []midi.Message) {
	for {
		it, ok, _ := q.get(now)
		if !ok {
			return all
		}
		all = append(all, it.m)
	}
}

func TestQueueKeepsOrder(t *testing.T) {
	var q queue
	for i, key := range []int64{30, 10, 10, 20, 10, 30} {
		q.put(key, time.Time{}, midi.CC(0, 20, i))
	}
	var got []byte
	for _, m := range drain(&q, 100) {
		got = append(got, m.Data[2])
	}
	if want := "\x01\x02\x04\x03\x00\x05"; string(got) != want {
		t.Errorf("order %v, want %v", got, []byte(want))
	}
}

func TestQueueWaits(t *testing.T) {
	var q queue
	if _, ok, wait := q.get(0); ok || wait >= 0 {
		t.Errorf("an empty queue gives %v after %v", ok, wait)
	}
	if !q.put(1000, time.Time{}, midi.On(0, 60, 1)) || q.put(2000, time.Time{}, midi.Off(0, 60, 0)) {
		t.Error("put does not say which message is the first")
	}
	if _, ok, wait := q.get(400); ok || wait != 600 {
		t.Errorf("ok %v, wait %v", ok, wait)
	}
}

func TestQueueGivesUpValuesFirst(t *testing.T) {
	q := queue{limit: 8}
	for i := range 4 {
		q.put(int64(i), time.Time{}, midi.CC(0, 20, i))
		q.put(int64(i), time.Time{}, midi.BendTo(0, i))
	}
	q.put(9, time.Time{}, midi.CC(0, 20, 99))  // for the oldest of its own
	q.put(9, time.Time{}, midi.On(0, 60, 100)) // for the oldest of any
	q.put(9, time.Time{}, midi.RealTime(midi.Clock))
	var bends, ccs []int
	var ons, clocks int
	for _, m := range drain(&q, 100) {
		switch m.Kind() {
		case midi.PitchBend:
			bends = append(bends, m.Bend())
		case midi.ControlChange:
			ccs = append(ccs, int(m.Data[2]))
		case midi.NoteOn:
			ons++
		case midi.Clock:
			clocks++
		}
	}
	if ons != 1 || clocks != 1 || len(ccs)+len(bends) != 6 || ccs[len(ccs)-1] != 99 || bends[len(bends)-1] != 3 {
		t.Errorf("notes %d, clocks %d, controllers %v, bends %v", ons, clocks, ccs, bends)
	}
	if q.dropped != 3 {
		t.Errorf("dropped %d, want 3", q.dropped)
	}
}

func TestQueueTakesBackWhatEndsBeforeItBegins(t *testing.T) {
	var q queue
	// A later note of a sequence stays, as the end is of the one that sounds.
	q.put(10, time.Time{}, midi.On(0, 60, 100))
	q.put(30, time.Time{}, midi.On(0, 60, 101))
	q.put(20, time.Time{}, midi.Off(0, 60, 0))
	if got := drain(&q, 100); len(got) != 3 || got[2].Data[2] != 101 {
		t.Fatalf("got %v", got)
	}
	drain(&q, 100)
	q.put(200, time.Time{}, midi.Off(0, 60, 0))
	drain(&q, 200)
	q.put(400, time.Time{}, midi.On(0, 60, 100))
	q.put(300, time.Time{}, midi.Off(0, 60, 0))
	if got := drain(&q, 1000); len(got) != 1 || !got[0].IsNoteOff() {
		t.Errorf("a note that ended before it began is begun: %v", got)
	}
}

func TestQueueDoesNotPlayWhatWasMissed(t *testing.T) {
	var q queue
	q.put(0, time.Time{}, midi.On(0, 60, 100))
	q.put(1000, time.Time{}, midi.Off(0, 60, 0))
	q.put(2000, time.Time{}, midi.On(0, 62, 100)) // still held
	got := drain(&q, int64(time.Second))
	if len(got) != 2 || !got[0].IsNoteOff() || got[1].Data[1] != 62 {
		t.Errorf("got %v", got)
	}
}

// random has a queue of few places live through anything, and checks that what
// comes out leaves nothing sounding that was ended, and that it stays bounded.
func random(t *testing.T, r *rand.Rand, n int) {
	q := queue{limit: 16}
	var ended [16][128]bool // the last word was an end
	var sounds [16][128]int
	clocks := 0
	set, got := map[uint32]byte{}, map[uint32]byte{} // last values
	take := func(m midi.Message) {
		switch {
		case m.IsNoteOn():
			sounds[m.Channel()][m.Data[1]]++
		case m.IsNoteOff():
			sounds[m.Channel()][m.Data[1]] = 0
		case m.Kind() == midi.Clock:
			clocks--
		}
		if c, n := classOf(m); c == value {
			got[n] = m.Data[2]
		}
	}
	now := int64(0)
	for range n {
		switch r.IntN(8) {
		case 0, 1:
			c, k := r.IntN(2), r.IntN(6)
			q.put(now, time.Time{}, midi.On(c, k, 1+r.IntN(127)))
			ended[c][k] = false
		case 2, 3:
			c, k := r.IntN(2), r.IntN(6)
			q.put(now, time.Time{}, midi.Off(c, k, 0))
			ended[c][k] = true
		case 4:
			m := midi.CC(r.IntN(2), r.IntN(128), r.IntN(128))
			if c, n := classOf(m); c == value {
				set[n] = m.Data[2]
			}
			q.put(now, time.Time{}, m)
		case 5:
			q.put(now, time.Time{}, midi.RealTime(midi.Clock))
			clocks++
		case 6:
			q.put(now, time.Time{}, midi.Message{SysEx: []byte{0xf0, 1, 2, 0xf7}})
		default:
			now += int64(r.IntN(1000))
			for range r.IntN(4) {
				if it, ok, _ := q.get(now); ok {
					take(it.m)
				}
			}
		}
		if len(q.h) > 16+vitalLimit {
			t.Fatalf("%d messages wait", len(q.h))
		}
	}
	for _, m := range drain(&q, now) {
		take(m)
	}
	for c := range ended {
		for k, e := range ended[c] {
			if e && sounds[c][k] != 0 {
				t.Fatalf("channel %d key %d was ended and sounds", c, k)
			}
		}
	}
	for n, v := range set {
		if got[n] != v {
			t.Fatalf("controller %#x is at %d, not %d", n, got[n], v)
		}
	}
	if clocks != 0 {
		t.Fatalf("%d clock pulses lost", clocks)
	}
	if q.begins != 0 || q.bytes != 0 || !q.empty() {
		t.Fatalf("an empty queue counts %d notes and %d bytes", q.begins, q.bytes)
	}
}

func TestQueueEndsEverything(t *testing.T) {
	for seed := range uint64(300) {
		random(t, rand.New(rand.NewPCG(seed, 5)), 400)
	}
}

// A pedal goes up, whatever waits before it and however much that is.
func TestQueueLiftsPedals(t *testing.T) {
	for _, cc := range []int{midi.CCSustain, 66, 69} {
		for _, waits := range []bool{false, true} { // the press itself
			q := queue{limit: 16}
			q.put(0, time.Time{}, midi.CC(3, cc, 127))
			if !waits {
				q.get(0)
			}
			for range 16 + vitalLimit { // a port that is blocked, and a clock that is not
				q.put(0, time.Time{}, midi.RealTime(midi.Clock))
			}
			q.put(0, time.Time{}, midi.CC(3, cc, 0))
			down := !waits
			for _, m := range drain(&q, 1) {
				if pedalOf(m) >= 0 {
					down = m.Data[2] >= 64
				}
			}
			if down || !q.empty() {
				t.Errorf("controller %d, pressed while it is blocked %t: it stays down", cc, waits)
			}
		}
	}
}

// All notes of a channel end, whatever waits before that and however much.
func TestQueueEndsAChannel(t *testing.T) {
	for cc := midi.CCAllSoundOff; cc <= midi.CCPolyOn; cc++ {
		if cc == midi.CCResetAll || cc == midi.CCLocalControl {
			continue
		}
		for _, waits := range []bool{false, true} { // the note itself
			q := queue{limit: 16}
			q.put(0, time.Time{}, midi.On(3, 60, 100))
			q.put(0, time.Time{}, midi.On(4, 60, 100))
			if !waits {
				q.get(0)
			}
			for len(q.h) < 16+vitalLimit {
				q.seq++
				q.h.add(item{seq: q.seq, m: midi.RealTime(midi.Clock)})
			}
			if !q.put(0, time.Time{}, midi.CC(3, cc, 0)) {
				t.Errorf("controller %d: the thread is not told", cc)
			}
			sounds, others := !waits, 0
			for _, m := range drain(&q, 1) {
				switch {
				case m.IsNoteOn() && m.Channel() == 3:
					sounds = true
				case m.IsNoteOn():
					others++
				case m.Kind() == midi.ControlChange && m.Channel() == 3 && (m.Data[1] == midi.CCAllSoundOff || m.Data[1] >= midi.CCAllNotesOff):
					sounds = false
				}
			}
			if sounds || others != 1 || !q.empty() {
				t.Errorf("controller %d, the note sent while it is blocked %t: it sounds %t; %d notes of another channel", cc, waits, sounds, others)
			}
		}
	}
}

func FuzzQueue(f *testing.F) {
	f.Add(uint64(1), uint16(400))
	f.Fuzz(func(t *testing.T, seed uint64, n uint16) {
		random(t, rand.New(rand.NewPCG(seed, 6)), int(n)%2000)
	})
}

func TestQueueAllocatesNothing(t *testing.T) {
	var q queue
	for range 64 {
		q.put(0, time.Time{}, midi.CC(0, 1, 1))
	}
	drain(&q, 0)
	if n := testing.AllocsPerRun(100, func() {
		for i := range 32 {
			q.put(int64(32-i), time.Time{}, midi.On(0, i, 1))
			q.put(int64(64-i), time.Time{}, midi.Off(0, i, 1))
		}
		for {
			if _, ok, _ := q.get(100); !ok {
				break
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestSpread(t *testing.T) {
	var h histogram
	for i := 1; i <= 1000; i++ {
		h.add(time.Duration(i) * time.Microsecond)
	}
	s := h.spread()
	near := func(got, want time.Duration) bool { return got >= want && got <= want+want/8 }
	if s.Count != 1000 || !near(s.P50, 500*time.Microsecond) || !near(s.P99, 990*time.Microsecond) || s.Max != time.Millisecond {
		t.Errorf("%+v", s)
	}
}

func TestMatch(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"all", "Anything", true}, {"", "Keys", false}, {"keys", "Test Keys MIDI 1", true},
		{"LAUNCH*", "Launchpad Mini", true}, {"pad*", "Launchpad", false}, {"*pad*mk?", "Launchpad Mini mk3", true},
		{"*pad", "Launchpad Mini", false}, {"*a*b*c", "xxaxxbxxbxxc", true}, {"?", "", false}, {"*", "", true}, {"a**", "a", true},
	} {
		if got := Match(c.pattern, c.name); got != c.want {
			t.Errorf("Match(%q, %q) is %v", c.pattern, c.name, got)
		}
	}
	if wanted([]string{"all"}, "Midi Through Port-0") || !wanted([]string{"through"}, "Midi Through Port-0") {
		t.Error("Midi Through is for those who name it")
	}
}
