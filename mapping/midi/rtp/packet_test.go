package rtp

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"
)

// Delta times take one to four octets.
func TestDelta(t *testing.T) {
	for _, c := range []struct {
		d    uint32
		want string
	}{
		{0, "00"}, {0x7f, "7f"}, {0x80, "81 00"}, {0x3fff, "ff 7f"}, {0x4000, "81 80 00"},
		{0x1fffff, "ff ff 7f"}, {0x200000, "81 80 80 00"}, {maxDelta, "ff ff ff 7f"}, {1 << 30, "ff ff ff 7f"},
	} {
		b := appendDelta(nil, c.d)
		if got := fmt.Sprintf("% x", b); got != c.want {
			t.Errorf("%#x is %s, expected %s", c.d, got, c.want)
		}
		d, rest, err := readDelta(append(b, 9))
		if err != nil || d != min(c.d, maxDelta) || len(rest) != 1 {
			t.Errorf("% x is %#x, rest % x, %v", b, d, rest, err)
		}
	}
	for _, b := range [][]byte{nil, {0x80}, {0x80, 0x80, 0x80, 0x80, 0}} {
		if _, _, err := readDelta(b); err == nil {
			t.Errorf("% x is taken", b)
		}
	}
}

// What a MIDI list means.
func TestCommands(t *testing.T) {
	for _, c := range []struct {
		name  string
		list  []byte
		delta bool
		want  string // "time:octets", "!" at a fault
	}{
		{"nothing", nil, false, ""},
		{"one", []byte{0x90, 60, 1}, false, "0:90 3c 01"},
		{"one with a delta time", []byte{5, 0x90, 60, 1}, true, "5:90 3c 01"},
		{"running status", []byte{0x90, 60, 1, 2, 61, 1, 0, 0x80, 60, 2}, false, "0:90 3c 01, 2:90 3d 01, 2:80 3c 02"},
		{"running status over a clock", []byte{0x90, 60, 1, 0, 0xf8, 0, 61, 1}, false, "0:90 3c 01, 0:f8, 0:90 3d 01"},
		{"no running status over a song", []byte{0x90, 60, 1, 0, 0xf3, 1, 0, 61, 1}, false, "0:90 3c 01, 0:f3 01, !"},
		{"an empty last command", []byte{0x90, 60, 1, 7}, false, "0:90 3c 01"},
		{"a delta time of four octets", []byte{0x81, 0x80, 0x80, 0, 0xf8}, true, "2097152:f8"},
		{"system exclusive", []byte{0xf0, 1, 2, 0xf7, 0, 0xf8}, false, "0:f0 01 02 f7, 0:f8"},
		{"its segments", []byte{0xf0, 1, 0xf0, 3, 0xf7, 2, 0xf0, 0, 0xf7, 3, 0xf7}, false, "0:f0 01 f0, 3:f7 02 f0, 3:f7 03 f7"},
		{"its cancel", []byte{0xf7, 0xf4}, false, "0:f7 f4"},
		{"its dropped end", []byte{0xf0, 1, 0xf5}, false, "0:f0 01 f5"},
		{"a clock inside it", []byte{0xf0, 1, 0xf8, 2, 0xf7}, false, "0:f8, 0:f0 01 02 f7"},
		{"no end of it", []byte{0xf0, 1, 2}, false, "!"},
		{"a status inside it", []byte{0xf0, 1, 0x90, 0xf7}, false, "!"},
		{"data first", []byte{60, 1}, false, "!"},
		{"cut short", []byte{0x90, 60}, false, "!"},
		{"a status for data", []byte{0x90, 60, 0x80}, false, "!"},
	} {
		var got []string
		err := commands(c.list, c.delta, func(at uint32, b []byte) { got = append(got, fmt.Sprintf("%d:% x", at, b)) })
		if err != nil {
			got = append(got, "!")
		}
		if s := strings.Join(got, ", "); s != c.want {
			t.Errorf("%s: %s (%v), expected %s", c.name, s, err, c.want)
		}
	}
}

// A list that is written is read back, with running status and long headers.
func TestList(t *testing.T) {
	var l list
	l.reset()
	type item struct {
		at uint32
		b  []byte
	}
	var want []string
	for i, m := range []item{{7, []byte{0x90, 1, 2}}, {7, []byte{0x90, 2, 2}}, {9, []byte{0xf8}}, {9, []byte{0x90, 3, 2}}, {300, []byte{0xf3, 1}}, {299, []byte{0x90, 4, 4}}, {70000, []byte{0xf0, 1, 0xf7}}} {
		l.add(5, m.at, m.b)
		if i == 5 {
			m.at = 300 // time does not go back
		}
		want = append(want, fmt.Sprintf("%d:% x", m.at-5, m.b))
	}
	b := appendSection(appendHeader(nil, 1, 2, 3), l.b, l.delta, true, false)
	p, err := parsePacket(b)
	if err != nil || p.seq != 1 || p.timestamp != 2 || p.ssrc != 3 || !p.phantom || p.journal != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	if b[rtpHeader] != flagLong|flagDelta|flagPhantom {
		t.Errorf("flags %#x", b[rtpHeader])
	}
	var got []string
	if err := commands(p.list, p.delta, func(at uint32, b []byte) { got = append(got, fmt.Sprintf("%d:% x", at, b)) }); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v\nexpected %v", got, want)
	}
	if n := bytes.Count(l.b, []byte{0x90}); n != 2 {
		t.Errorf("%d status octets for four notes of one status, one of them after a system command; expected 2", n)
	}
	short := appendSection(nil, []byte{0xf8}, false, false, true)
	if !bytes.Equal(short, []byte{0x41, 0xf8}) {
		t.Errorf("a short section with a journal is % x", short)
	}
}

// RTP's own headers may be longer than ours.
func TestPacketHeaders(t *testing.T) {
	section := []byte{3, 0x90, 60, 1}
	head := func(first byte) []byte { h := appendHeader(nil, 9, 8, 7); h[0] = first; return h }
	for name, b := range map[string][]byte{
		"plain":      slices.Concat(head(0x80), section),
		"marked":     func() []byte { b := slices.Concat(head(0x80), section); b[1] |= 0x80; return b }(),
		"padded":     slices.Concat(head(0xa0), section, []byte{0, 0, 3}),
		"two others": slices.Concat(head(0x82), make([]byte, 8), section),
		"extended":   slices.Concat(head(0x90), []byte{1, 2, 0, 1, 0, 0, 0, 0}, section),
	} {
		if p, err := parsePacket(b); err != nil || !bytes.Equal(p.list, section[1:]) || p.seq != 9 || p.timestamp != 8 || p.ssrc != 7 {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
	for name, b := range map[string][]byte{
		"nothing": nil, "no section": head(0x80), "version 1": slices.Concat(head(0x40), section),
		"padding over all": slices.Concat(head(0xa0), []byte{9}), "others missing": slices.Concat(head(0x8f), section),
		"extension missing": slices.Concat(head(0x90), []byte{0, 0, 9, 9, 1}), "list missing": slices.Concat(head(0x80), []byte{5, 1}),
		"long length missing": slices.Concat(head(0x80), []byte{0x81}),
		"other payload":       func() []byte { b := slices.Concat(head(0x80), section); b[1] = 96; return b }(),
	} {
		if _, err := parsePacket(b); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}

// A long exclusive message is cut, and put together again.
func TestSegments(t *testing.T) {
	for _, n := range []int{2, 3, 10, 11, 100, 101} {
		m := append([]byte{0xf0}, make([]byte, n-2)...)
		for i := range m[1:] {
			m[i+1] = byte(i & 0x7f)
		}
		m = append(m, 0xf7)
		var got []byte
		r := &receiver{model: newStream(), deliver: func(_ time.Time, b []byte) { got = slices.Clone(b) }}
		count := 0
		segments(m, 10, func(part []byte) {
			if len(part) > 10 {
				t.Errorf("a segment of %d octets", len(part))
			}
			count++
			r.command(time.Time{}, part)
		})
		if !bytes.Equal(got, m) {
			t.Errorf("%d octets in %d segments are % x, expected % x", len(m), count, got, m)
		}
	}
	r := &receiver{model: newStream(), deliver: func(_ time.Time, b []byte) { t.Errorf("delivered % x", b) }}
	for _, part := range [][]byte{{0xf0, 1, 0xf0}, {0xf7, 0xf4}, {0xf7, 2, 0xf7}, {0xf0, 1, 0xf0}, append(append([]byte{0xf7}, make([]byte, maxAssembly)...), 0xf0), {0xf7, 1, 0xf7}} {
		r.command(time.Time{}, part)
	}
	if r.oversize != 1 {
		t.Errorf("%d too long", r.oversize)
	}
}

// The session protocol, octet by octet.
func TestControl(t *testing.T) {
	for _, c := range []struct {
		c    control
		want string
	}{
		{control{command: cmdInvite, token: 0x01020304, ssrc: 0x05060708, name: "ä"}, "ff ff 49 4e 00 00 00 02 01 02 03 04 05 06 07 08 c3 a4 00"},
		{control{command: cmdReject, token: 1, ssrc: 2}, "ff ff 4e 4f 00 00 00 02 00 00 00 01 00 00 00 02"},
		{control{command: cmdEnd, token: 1, ssrc: 2}, "ff ff 42 59 00 00 00 02 00 00 00 01 00 00 00 02"},
		{control{command: cmdClock, ssrc: 2, count: 1, times: [3]uint64{1, 2, 3}}, "ff ff 43 4b 00 00 00 02 01 00 00 00 00 00 00 00 00 00 00 01 00 00 00 00 00 00 00 02 00 00 00 00 00 00 00 03"},
		{control{command: cmdFeedback, ssrc: 2, value: 0x12340000}, "ff ff 52 53 00 00 00 02 12 34 00 00"},
		{control{command: cmdLimit, ssrc: 2, value: 31250}, "ff ff 52 4c 00 00 00 02 00 00 7a 12"},
	} {
		b := c.c.append(nil)
		if got := fmt.Sprintf("% x", b); got != c.want {
			t.Errorf("%+v is %s, expected %s", c.c, got, c.want)
		}
		if got, err := parseControl(b); err != nil || !reflect.DeepEqual(got, c.c) {
			t.Errorf("%s is %+v, %v", c.want, got, err)
		}
		for n := range b[:12] {
			if _, err := parseControl(b[:n]); err == nil {
				t.Errorf("%d octets of %s are taken", n, c.want)
			}
		}
	}
	for in, want := range map[string]string{"a\x00b": "a", " a\nb\x7f ": "a b", "\xff": "�", strings.Repeat("ä", 100): strings.Repeat("ä", 64), "": ""} {
		if got := cleanName([]byte(in)); got != want {
			t.Errorf("name %q is shown as %q, expected %q", in, got, want)
		}
	}
}

func FuzzPacket(f *testing.F) {
	f.Add([]byte{0x80, 0x61, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0x03, 0x90, 60, 1})
	f.Add([]byte{0x80, 0x61, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0xe0, 0x05, 5, 0xf0, 1, 0xf8, 0xf7, 0x20, 0, 1, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parsePacket(b)
		if err != nil {
			return
		}
		// What it means is written again and means the same.
		var l list
		l.reset()
		var all []string
		each := func(at uint32, c []byte) {
			if c[0] < 0x80 {
				t.Fatalf("command % x", c)
			}
			all = append(all, fmt.Sprintf("%d:% x", at, c))
			l.add(0, at, c)
		}
		if commands(p.list, p.delta, each) != nil || len(l.b) > maxList {
			return
		}
		was := all
		all = nil
		again := slices.Clone(l.b)
		if err := commands(again, l.delta, each); err != nil {
			t.Fatalf("% x: %v", again, err)
		}
		if !slices.Equal(all, was) {
			t.Fatalf("%v became %v", was, all)
		}
	})
}

func FuzzControl(f *testing.F) {
	for _, c := range []control{{command: cmdInvite, token: 1, ssrc: 2, name: "x"}, {command: cmdClock, count: 2}, {command: cmdFeedback, value: 1}} {
		f.Add(c.append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := parseControl(b)
		if err != nil {
			return
		}
		if again, err := parseControl(c.append(nil)); err != nil || again != c {
			t.Fatalf("%+v became %+v, %v", c, again, err)
		}
	})
}
