package rtp

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"testing"
	"time"
)

// written returns the journal of packet 12 with the checkpoint 10 of a stream
// in which each message went into the packet of its number.
func written(now time.Time, messages ...any) []byte {
	s := newStream()
	seq := uint32(10)
	for _, m := range messages {
		switch m := m.(type) {
		case int:
			seq = uint32(m)
		case []byte:
			s.apply(m, seq, now)
		}
	}
	w := scribe{s: s}
	return w.append(nil, 12, 10, now)
}

// The chapters octet by octet, as RFC 6295 draws them. Where the packet before
// the journal's (11) is coded, S is 0 there and in all around it.
func TestJournalOctets(t *testing.T) {
	now := time.Unix(1, 0)
	for _, c := range []struct {
		name string
		in   []any
		want string
	}{
		{"nothing", nil, "80 00 0a"},
		{"before the checkpoint", []any{9, []byte{0x90, 60, 1}}, "80 00 0a"},
		{"P", []any{10, []byte{0xc1, 5}}, "a0 00 0a " + "88 06 80 " + "85 00 00"},
		{"P with a bank", []any{10, []byte{0xb1, 0, 2}, []byte{0xb1, 32, 3}, []byte{0xc1, 5}}, "a0 00 0a " + "88 06 80 " + "85 82 03"},
		{"P after a reset of controllers", []any{9, []byte{0xb1, 0, 2}, []byte{0xb1, 121, 0}, 10, []byte{0xc1, 5}}, "a0 00 0a " + "88 06 80 " + "85 82 80"},
		{"C", []any{10, []byte{0xb0, 7, 100}, 11, []byte{0xb0, 10, 1}}, "20 00 0a " + "00 08 40 " + "01 87 64 0a 01"},
		{"C with a pedal", []any{10, []byte{0xb0, 64, 127}, []byte{0xb0, 64, 0}, []byte{0xb0, 64, 100}}, "a0 00 0a " + "80 08 40 " + "81 c0 64 c0 83"},
		{"C with all notes off", []any{10, []byte{0x90, 60, 1}, []byte{0xb0, 123, 0}}, "a0 00 0a " + "80 06 40 " + "80 fb c1"},
		{"M", []any{10, []byte{0xb0, 101, 0}, []byte{0xb0, 100, 1}, []byte{0xb0, 6, 64}, []byte{0xb0, 38, 2}}, "a0 00 0a " + "80 09 20 " + "b4 06 81 c2 40 02"},
		{"M of a high number", []any{11, []byte{0xb0, 99, 1}, []byte{0xb0, 98, 2}, []byte{0xb0, 97, 0}}, "20 00 0a " + "00 0a 20 " + "28 07 02 81 22 80 01"},
		{"M pending", []any{10, []byte{0xb0, 99, 5}}, "a0 00 0a " + "80 06 20 " + "c0 03 85"},
		{"M of none", []any{10, []byte{0xb0, 101, 127}, []byte{0xb0, 100, 127}}, "a0 00 0a " + "80 05 20 " + "80 02"},
		{"W", []any{10, []byte{0xef, 1, 2}}, "a0 00 0a " + "f8 05 10 " + "81 02"},
		{"N", []any{10, []byte{0x90, 60, 100}, []byte{0x90, 62, 1}, 11, []byte{0x90, 59, 9}}, "20 00 0a " + "00 0b 08 " + "83 f0 bc e4 be 81 3b 89"},
		{"N with ends", []any{10, []byte{0x90, 60, 100}, []byte{0x80, 16, 64}, []byte{0x80, 31, 64}}, "a0 00 0a " + "80 09 08 " + "81 23 bc e4 80 01"},
		{"N with an end just now", []any{11, []byte{0x80, 0, 64}}, "20 00 0a " + "00 06 08 " + "00 00 80"},
		{"E", []any{10, []byte{0x90, 60, 1}, []byte{0x90, 60, 2}, []byte{0x80, 8, 9}}, "a0 00 0a " + "80 0d 0c " + "81 11 bc 82 80 " + "81 88 89 bc 02"},
		{"T", []any{10, []byte{0xd0, 5}}, "a0 00 0a " + "80 04 02 " + "85"},
		{"A", []any{10, []byte{0xa0, 60, 5}}, "a0 00 0a " + "80 06 01 " + "80 bc 05"},
		{"two channels", []any{10, []byte{0xd0, 5}, 11, []byte{0xd2, 6}}, "21 00 0a " + "80 04 02 85 " + "10 04 02 06"},
		{"D", []any{10, []byte{0xff}, []byte{0xf6}, 11, []byte{0xf3, 4}}, "40 00 0a " + "40 06 " + "70 81 81 04"},
		{"V", []any{10, []byte{0xfe}, []byte{0xfe}}, "c0 00 0a " + "a0 03 " + "82"},
		{"Q", []any{10, []byte{0xfa}, []byte{0xf8}, []byte{0xf8}}, "c0 00 0a " + "90 05 " + "f0 00 01"},
		{"Q far on", []any{10, []byte{0xf2, 0x7f, 0x7f}}, "c0 00 0a " + "90 05 " + "91 7f fa"},
		{"F complete", []any{10, []byte{0xf0, 0x7f, 0x7f, 1, 1, 0x21, 2, 3, 4, 0xf7}}, "c0 00 0a " + "8c 11 " + "c7 21 02 03 04 " + "af 01 7f 7f 01 01 21 02 03 84"},
		{"F partial", []any{10, []byte{0xf1, 0x05}, []byte{0xf1, 0x16}}, "c0 00 0a " + "88 07 " + "a1 56 00 00 00"},
		{"F in reverse", []any{10, []byte{0xf1, 0x75}, []byte{0xf1, 0x66}}, "c0 00 0a " + "88 07 " + "ae 00 00 00 65"},
		{"X", []any{10, []byte{0xf0, 1, 2, 0xf7}, 11, []byte{0xf0, 3, 0xf7}}, "40 00 0a " + "04 09 " + "af 01 01 82 2f 02 83"},
	} {
		b := written(now, c.in...)
		if got := fmt.Sprintf("% x", b); got != c.want {
			t.Errorf("%s: %s, expected %s", c.name, got, c.want)
		}
		j, err := parseJournal(b)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if again := j.append(nil); !bytes.Equal(again, b) {
			t.Errorf("%s: written again % x", c.name, again)
		}
		for n := range b {
			if n >= 3 && len(j.channels) == 0 && j.system == nil {
				break
			}
			if _, err := parseJournal(b[:n]); err == nil {
				t.Errorf("%s: %d of %d octets are taken", c.name, n, len(b))
			}
		}
	}
}

// All 128 notes, and 127, have a coding of their own.
func TestFullKeyboard(t *testing.T) {
	for _, n := range []int{126, 127, 128} {
		s := newStream()
		for k := range n {
			s.apply([]byte{0x90, byte(k), 1}, 10, time.Time{})
		}
		w := scribe{s: s}
		j, err := parseJournal(w.append(nil, 12, 10, time.Time{}))
		if err != nil || len(j.channels) != 1 || len(j.channels[0].notes) != n {
			t.Errorf("%d notes: %v, %+v", n, err, j)
		}
	}
}

// A channel with everything stays within what its length can say.
func TestFullChannel(t *testing.T) {
	s := newStream()
	for k := range 128 {
		b := byte(k)
		for range 2 {
			s.apply([]byte{0x90, b, 1}, 10, time.Time{})
		}
		s.apply([]byte{0xa0, b, 1}, 10, time.Time{})
		if b < 96 || b > 101 {
			s.apply([]byte{0xb0, b, 1}, 10, time.Time{})
		}
	}
	for k := range 300 {
		for _, m := range [][]byte{{0xb0, 99, byte(k >> 7)}, {0xb0, 98, byte(k & 0x7f)}, {0xb0, 6, 1}, {0xb0, 38, 1}, {0xb0, 96, 1}} {
			s.apply(m, 10, time.Time{})
		}
	}
	s.apply([]byte{0xc0, 1}, 10, time.Time{})
	w := scribe{s: s}
	b := w.append(nil, 12, 10, time.Time{})
	j, err := parseJournal(b)
	if err != nil || len(b) > 3+maxJournal {
		t.Fatalf("%d octets: %v", len(b), err)
	}
	if c := j.channels[0]; len(c.controls) < 100 || len(c.params.logs) == 0 {
		t.Errorf("%d controllers, %d parameters", len(c.controls), len(c.params.logs))
	}
}

// What a receiver plays after a loss: messages 1 are received, 2 lost, and 3
// come in the packet whose journal tells of 2.
func TestRepair(t *testing.T) {
	type m = [][]byte
	for _, c := range []struct {
		name      string
		had, lost m
		old       bool // what was lost is too old to be played
		want      []string
	}{
		{"a note's end", m{{0x90, 60, 100}}, m{{0x80, 60, 30}}, false, []string{"80 3c 1e"}},
		{"a note", nil, m{{0x90, 60, 100}}, false, []string{"90 3c 64"}},
		{"a note that is too late", nil, m{{0x90, 60, 100}}, true, nil},
		{"a whole note", nil, m{{0x90, 60, 100}, {0x80, 60, 64}}, false, nil},
		{"an end and a new stroke", m{{0x90, 60, 100}}, m{{0x80, 60, 64}, {0x90, 60, 50}}, false, []string{"80 3c 40", "90 3c 32"}},
		{"two strokes and one end", m{{0x90, 60, 100}, {0x90, 60, 90}}, m{{0x80, 60, 64}}, true, []string{"80 3c 40"}},
		{"all notes off", m{{0x90, 60, 100}, {0x91, 60, 100}}, m{{0xb0, 123, 0}}, false, []string{"80 3c 40", "b0 7b 00"}},
		{"all notes off and a note", m{{0x90, 60, 100}}, m{{0xb0, 123, 0}, {0x90, 61, 1}}, false, []string{"80 3c 40", "b0 7b 00", "90 3d 01"}},
		{"all notes off, twice", m{{0x90, 60, 100}, {0xb0, 123, 0}, {0x90, 61, 1}}, m{{0xb0, 123, 0}}, false, []string{"80 3d 40", "b0 7b 00"}},
		{"a controller", m{{0xb0, 7, 1}}, m{{0xb0, 7, 100}}, true, []string{"b0 07 64"}},
		{"a controller that is as it was", m{{0xb0, 7, 1}}, m{{0xb0, 7, 100}, {0xb0, 7, 1}}, true, nil},
		{"a pedal that went up and down", m{{0xb0, 64, 127}}, m{{0xb0, 64, 0}, {0xb0, 64, 127}}, true, []string{"b0 40 00", "b0 40 7f"}},
		{"a reset of controllers", m{{0xb0, 1, 9}, {0xe0, 1, 2}, {0xb0, 7, 3}}, m{{0xb0, 121, 0}}, true, []string{"b0 79 00"}},
		{"a reset of controllers, and after", m{{0xb0, 1, 9}, {0xe0, 1, 2}}, m{{0xb0, 121, 0}, {0xb0, 1, 8}, {0xe0, 3, 4}}, true, []string{"b0 79 00", "b0 01 08", "e0 03 04"}},
		{"a program", m{{0xc0, 1}}, m{{0xc0, 2}}, true, []string{"c0 02"}},
		{"a program of another bank", m{{0xb0, 0, 1}, {0xc0, 1}}, m{{0xb0, 0, 5}, {0xb0, 32, 6}, {0xc0, 1}}, true, []string{"b0 00 05", "b0 20 06", "c0 01"}},
		{"the wheel", nil, m{{0xe0, 1, 2}}, true, []string{"e0 01 02"}},
		{"pressures", nil, m{{0xd0, 5}, {0xa0, 60, 6}}, true, []string{"d0 05", "a0 3c 06"}},
		{"a parameter", nil, m{{0xb0, 101, 0}, {0xb0, 100, 1}, {0xb0, 6, 2}, {0xb0, 38, 3}}, true, []string{"b0 65 00", "b0 64 01", "b0 06 02", "b0 26 03"}},
		{"a parameter's steps", m{{0xb0, 99, 0}, {0xb0, 98, 1}, {0xb0, 6, 2}}, m{{0xb0, 96, 0}, {0xb0, 96, 0}}, true, []string{"b0 60 00", "b0 60 00"}},
		{"which parameter", m{{0xb0, 101, 0}, {0xb0, 100, 1}, {0xb0, 6, 2}, {0xb0, 101, 127}, {0xb0, 100, 127}}, m{{0xb0, 101, 0}, {0xb0, 100, 1}}, true, []string{"b0 65 00", "b0 64 01"}},
		{"that none is selected", m{{0xb0, 101, 0}, {0xb0, 100, 1}}, m{{0xb0, 101, 127}, {0xb0, 100, 127}}, true, []string{"b0 65 7f", "b0 64 7f"}},
		{"half a parameter", nil, m{{0xb0, 99, 5}}, true, []string{"b0 63 05"}},
		{"clocks", m{{0xfa}, {0xf8}}, m{{0xf8}, {0xf8}}, true, []string{"f8", "f8"}},
		{"a stop", m{{0xfa}, {0xf8}}, m{{0xf8}, {0xfc}}, true, []string{"f8", "fc"}},
		{"a start", nil, m{{0xfa}}, true, []string{"fa"}},
		{"a start and clocks", nil, m{{0xfa}, {0xf8}, {0xf8}}, true, []string{"fa", "f8", "f8"}},
		{"a position", m{{0xfa}, {0xf8}}, m{{0xfc}, {0xf2, 8, 0}, {0xfb}}, true, []string{"fc", "f2 08 00", "fb"}},
		{"a position far on", nil, m{{0xf2, 0, 1}}, true, []string{"f2 00 01"}},
		{"a stop and its end", m{{0xfa}, {0xf8}}, m{{0xfc}, {0xfb}}, true, []string{"fc", "fb"}},
		{"quarter frames", m{{0xf1, 0x05}}, m{{0xf1, 0x16}, {0xf1, 0x27}}, true, []string{"f1 16", "f1 27"}},
		{"quarter frames of a new series", m{{0xf1, 0x05}, {0xf1, 0x16}}, m{{0xf1, 0x0a}, {0xf1, 0x1b}}, true, []string{"f1 0a", "f1 1b"}},
		{"quarter frames to the end", m{{0xf1, 0x00}, {0xf1, 0x10}, {0xf1, 0x20}, {0xf1, 0x30}, {0xf1, 0x40}, {0xf1, 0x50}}, m{{0xf1, 0x61}, {0xf1, 0x72}}, true, []string{"f1 61", "f1 72"}},
		{"quarter frames backwards", m{{0xf1, 0x72}}, m{{0xf1, 0x61}}, true, []string{"f1 61"}},
		{"a full frame", nil, m{{0xf0, 0x7f, 0x7f, 1, 1, 1, 2, 3, 4, 0xf7}}, true, []string{"f0 7f 7f 01 01 01 02 03 04 f7"}},
		{"exclusive messages", m{{0xf0, 1, 0xf7}}, m{{0xf0, 2, 0xf7}, {0xf0, 3, 0xf7}}, true, []string{"f0 02 f7", "f0 03 f7"}},
		{"a reset of all", m{{0x90, 60, 1}, {0xb0, 7, 1}}, m{{0xff}, {0xb0, 7, 2}}, true, []string{"80 3c 40", "ff", "b0 07 02"}},
		{"a General MIDI reset", m{{0x90, 60, 1}, {0xe0, 1, 1}}, m{{0xf0, 0x7e, 0x7f, 9, 1, 0xf7}}, true, []string{"80 3c 40", "f0 7e 7f 09 01 f7"}},
		{"a song", nil, m{{0xf3, 4}}, true, []string{"f3 04"}},
		{"a tune request", m{{0xf6}}, m{{0xf6}}, true, []string{"f6"}},
		{"active sensing", nil, m{{0xfe}}, true, nil},
	} {
		now := time.Unix(1, 0)
		w := newSender(1, 5)
		var datagrams [][]byte
		out := func(b []byte) { datagrams = append(datagrams, slices.Clone(b)) }
		timed := func(m m) (out []timed) {
			for _, b := range m {
				out = append(out, timedMessage(b))
			}
			return out
		}
		w.send(timed(append(m{{0xbf, 3, 1}}, c.had...)), now, out)
		w.send(timed(c.lost), now, out)
		if c.old {
			now = now.Add(time.Second)
		}
		w.list.reset()
		w.packet(0, now, out)
		var got []string
		x := &receiver{model: newStream(), local: func(uint32, time.Time) time.Time { return now }}
		x.deliver = func(_ time.Time, b []byte) { got = append(got, fmt.Sprintf("% x", b)) }
		for i, b := range datagrams {
			if i == 1 {
				got = nil
				continue
			}
			p, err := parsePacket(b)
			if err != nil {
				t.Fatal(err)
			}
			x.packet(&p, b, now)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: played %q, expected %q", c.name, got, c.want)
		}
		if d := difference(w.model, x.model); d != "" {
			t.Errorf("%s: afterwards:\n%s", c.name, d)
		}
	}
}

func timedMessage(b []byte) timed { return timed{0, b} }

// Lost clocks are played where they would have been.
func TestRepairedClocks(t *testing.T) {
	var at []time.Duration
	start := time.Unix(1, 0)
	r := repair{s: newStream(), at: start.Add(60 * time.Millisecond), lastClock: start, emit: func(t time.Time, b []byte) { at = append(at, t.Sub(start)) }}
	r.s.apply([]byte{0xfa}, 1, start)
	r.s.apply([]byte{0xf8}, 1, start)
	j := &systemJournal{has: chapterQ}
	j.sequencer.running, j.sequencer.played, j.sequencer.hasPosition, j.sequencer.position = true, true, true, 2
	r.system(j)
	if !slices.Equal(at, []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}) {
		t.Errorf("clocks at %v", at)
	}
}

// A journal that does not reach back to the loss is no word that notes are held.
func TestUncoveredLoss(t *testing.T) {
	var got []string
	x := &receiver{model: newStream(), local: func(uint32, time.Time) time.Time { return time.Time{} }}
	x.deliver = func(_ time.Time, b []byte) { got = append(got, fmt.Sprintf("% x", b)) }
	give := func(seq uint16, list, journal []byte) {
		b := append(appendSection(appendHeader(nil, seq, 0, 1), list, false, false, journal != nil), journal...)
		p, err := parsePacket(b)
		if err != nil {
			t.Fatal(err)
		}
		x.packet(&p, b, time.Time{})
	}
	give(10, []byte{0x90, 60, 1, 0, 61, 1, 0, 62, 1}, nil)
	got = nil
	// The checkpoint 13 leaves 11 and 12 out; only 61 is said to be held.
	give(14, nil, []byte{0xa0, 0, 13, 0x80, 7, 0x08, 0x81, 0xf0, 0xbd, 0x01})
	if !slices.Equal(got, []string{"80 3c 40", "80 3e 40"}) {
		t.Errorf("played %q", got)
	}
	// Without a journal nothing is.
	got = nil
	give(16, nil, nil)
	if !slices.Equal(got, []string{"80 3d 40"}) {
		t.Errorf("played %q", got)
	}
	// A peer that begins anew with other numbers.
	give(17, []byte{0x90, 60, 1}, nil)
	got = nil
	for i := range uint16(strange) {
		give(40000+i, []byte{0x90, 70, 1}, nil)
	}
	if !slices.Equal(got, []string{"80 3c 40", "90 46 01"}) {
		t.Errorf("played %q", got)
	}
}

// The journal goes back no farther than what the peer has confirmed, in either
// form of the number; what it cannot have received is ignored.
func TestConfirm(t *testing.T) {
	w := newSender(1, 0xfffa)
	now := time.Unix(1, 0)
	out := func([]byte) {}
	for range 6 {
		w.send([]timed{timedMessage([]byte{0x90, 60, 1})}, now, out)
	}
	first := w.seq - 5
	for _, c := range []struct{ value, want uint32 }{
		{uint32(uint16(first+1)) << 16, first + 2},
		{uint32(uint16(first)) << 16, first + 2},          // late
		{uint32(uint16(w.seq+1)) << 16, first + 2},        // not sent yet
		{0x00010000 | uint32(uint16(first+2)), first + 3}, // rounds in the high half
		{0x00020000 | uint32(uint16(w.seq)), w.seq + 1},   // and the low half is 0
	} {
		w.confirm(c.value)
		if w.checkpoint != c.want {
			t.Errorf("confirmed %#x: checkpoint %#x, expected %#x", c.value, w.checkpoint, c.want)
		}
	}
	if !w.nextGuard().IsZero() {
		t.Error("a guard is due though all is confirmed")
	}
	// A peer that never confirms has a journal of the last seconds.
	w = newSender(1, 5)
	for range 100 {
		now = now.Add(500 * time.Millisecond)
		w.send([]timed{timedMessage([]byte{0x90, 60, 1})}, now, out)
	}
	if n := w.seq - w.checkpoint; n < 18 || n > 22 {
		t.Errorf("the journal goes back %d packets of 500 ms", n)
	}
}

// A peer that counts from another number than ours is measured from its own.
func TestForeignCounts(t *testing.T) {
	var got []string
	x := &receiver{model: newStream(), local: func(uint32, time.Time) time.Time { return time.Time{} }}
	x.deliver = func(_ time.Time, b []byte) { got = append(got, fmt.Sprintf("% x", b)) }
	give := func(seq uint16, journal ...byte) {
		b := append(appendSection(appendHeader(nil, seq, 0, 1), nil, false, false, true), journal...)
		p, err := parsePacket(b)
		if err != nil {
			t.Fatal(err)
		}
		x.packet(&p, b, time.Time{})
	}
	chapterC := func(logs ...byte) []byte {
		return append([]byte{0xa0, 0, 5, 0x80, byte(4 + len(logs)), 0x40, 0x80 | byte(len(logs)/2-1)}, logs...)
	}
	// It has sent all notes off 40 times, and its pedal is down after 7 steps.
	give(10, chapterC(0x80|123, 0xc0|40, 0x80|64, 127, 0x80|64, 0x80|7)...)
	if !slices.Equal(got, []string{"b0 40 7f"}) {
		t.Errorf("at first: %q", got)
	}
	got = nil
	give(11, chapterC(0x80|123, 0xc0|41, 0x80|64, 127, 0x80|64, 0x80|9)...)
	give(13, chapterC(0x80|123, 0xc0|41, 0x80|64, 127, 0x80|64, 0x80|9)...)
	if len(got) > 0 {
		t.Errorf("nothing was lost, and played: %q", got)
	}
	give(15, chapterC(0x80|123, 0xc0|42, 0x80|64, 127, 0x80|64, 0x80|11)...)
	if !slices.Equal(got, []string{"b0 7b 00", "b0 40 00", "b0 40 7f"}) {
		t.Errorf("after a loss: %q", got)
	}
	// A pedal by its toggles alone, as some peers code it.
	got = nil
	give(17, chapterC(0x80|64, 0x80|12)...)
	give(19, chapterC(0x80|64, 0x80|14)...)
	if !slices.Equal(got, []string{"b0 40 00", "b0 40 7f", "b0 40 00"}) {
		t.Errorf("by toggles: %q", got)
	}
}

// What a reset of controllers puts to rest, and what it leaves (RP-015).
func TestResetControllers(t *testing.T) {
	s := newStream()
	for n := range byte(120) {
		s.apply([]byte{0xb0, n, 1}, 1, time.Time{})
	}
	for _, m := range [][]byte{{0xe0, 1, 1}, {0xd0, 1}, {0xa0, 60, 1}, {0xc0, 1}, {0xb0, 121, 0}} {
		s.apply(m, 1, time.Time{})
	}
	c := &s.channels[0]
	if c.wheel.value != center || c.pressure.value != 0 || c.keys[60].value != 0 || !c.program.known || c.params.selected {
		t.Errorf("wheel %d, pressure %d, key %d, program %v, parameter %v", c.wheel.value, c.pressure.value, c.keys[60].value, c.program.known, c.params.selected)
	}
	for n, k := range c.controls[:96] {
		rest := slices.Contains([]int{1, 33, 11, 43, 64, 65, 66, 67, 68, 69}, n)
		if k.known == rest {
			t.Errorf("controller %d: known %v", n, k.known)
		}
	}
}

func FuzzJournal(f *testing.F) {
	for i := range 20 {
		r := rand.New(rand.NewPCG(uint64(i), 3))
		s := newStream()
		for range 60 {
			for _, m := range performance(r) {
				s.apply(m, 10+uint32(r.IntN(2)), time.Time{})
			}
		}
		w := scribe{s: s}
		f.Add(w.append(nil, 12, 10, time.Time{}))
	}
	f.Fuzz(tryJournal)
}

// tryJournal reads a journal, writes it again, and repairs with it.
func tryJournal(t *testing.T, b []byte) {
	j, err := parseJournal(b)
	if err != nil {
		return
	}
	again, err := parseJournal(j.append(nil))
	if err == nil && !reflect.DeepEqual(j, again) {
		// Lists of parameters may be written shorter than they came; all else
		// is as it was.
		if fmt.Sprintf("%+v", plain(j)) != fmt.Sprintf("%+v", plain(again)) {
			t.Fatalf("% x\nis %+v\nwritten again %+v", b, plain(j), plain(again))
		}
	}
	r := rand.New(rand.NewPCG(uint64(len(b)), 4))
	s := newStream()
	for range 30 {
		for _, m := range performance(r) {
			s.apply(m, 1, time.Time{})
		}
	}
	played := 0
	m := repair{s: s, seq: 2, covered: len(b)%2 == 0, adopt: len(b)%3 == 0, emit: func(_ time.Time, b []byte) {
		played++
		if b[0] < 0x80 {
			t.Fatalf("played % x", b)
		}
		for _, c := range b[1:] {
			if c >= 0x80 && b[0] != 0xf0 {
				t.Fatalf("played % x", b)
			}
		}
	}}
	m.all(j)
	if played > 16*128*130+maxPlayed {
		t.Fatalf("%d messages played", played)
	}
}

// plain drops what is written in another way, and follows the pointers.
func plain(j *journal) any {
	for i := range j.channels {
		c := &j.channels[i]
		c.enhanced = false
		for k := range c.params.logs {
			l := &c.params.logs[k]
			if l.cSteps == 0 {
				l.cSteps = 0
			}
		}
	}
	if j.system != nil {
		return []any{j.checkpoint, *j.system, j.channels}
	}
	return []any{j.checkpoint, j.channels}
}

// A million packets that were damaged on the way neither stop a receiver nor
// slow it down, and leave no memory behind.
func TestDamagedPackets(t *testing.T) {
	played, once := 0, 0
	n := 100_000
	if os.Getenv("K8S_SYNTH_PROOF") != "" {
		n = 1_000_000
	}
	r := rand.New(rand.NewPCG(5, 6))
	now := time.Unix(1, 0)
	w := newSender(1, 100)
	x := &receiver{model: newStream(), wait: time.Millisecond, local: func(uint32, time.Time) time.Time { return now }, deliver: func(time.Time, []byte) { once++ }}
	var good []byte
	begun := time.Now()
	var worst time.Duration
	for i := range n {
		now = now.Add(100 * time.Microsecond)
		if i%8 == 0 {
			w.send([]timed{{0, performance(r)[0]}}, now, func(b []byte) { good = append(good[:0], b...) })
			if i%400 == 0 {
				w.confirm(w.seq << 16)
			}
		}
		b := slices.Clone(good)
		for range 1 + r.IntN(6) {
			switch r.IntN(4) {
			case 0:
				b[r.IntN(len(b))] = byte(r.IntN(256))
			case 1:
				b[r.IntN(len(b))] ^= 1 << r.IntN(8)
			case 2:
				b = b[:1+r.IntN(len(b))]
			case 3:
				b = append(b, byte(r.IntN(256)))
			}
		}
		one := time.Now()
		once = 0
		if c, err := parseControl(b); err == nil {
			_ = c
		}
		if p, err := parsePacket(b); err == nil {
			x.packet(&p, b, now)
		}
		x.tick(now)
		worst, played = max(worst, time.Since(one)), max(played, once)
	}
	took := time.Since(begun)
	t.Logf("%d packets in %v, %v each, the slowest %v, of %d messages at most; %d malformed, %d lost, %d repaired", n, took, took/time.Duration(n), worst, played, x.malformed, x.lost, x.repaired)
	if took > time.Duration(n)*100*time.Microsecond {
		t.Errorf("%v for each packet", took/time.Duration(n))
	}
	if played > 16*128*2+maxPlayed {
		t.Errorf("one packet played %d messages", played)
	}
	if len(x.waiting) > maxWaiting+1 {
		t.Errorf("%d packets wait", len(x.waiting))
	}
}

func parseJournal(b []byte) (*journal, error) {
	j := &journal{}
	return j, j.parse(b)
}
