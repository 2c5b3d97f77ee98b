package osc

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	goosc "github.com/hypebeast/go-osc/osc"
)

// The two examples that close the OSC 1.0 specification.
var specExamples = []struct {
	address string
	args    []Arg
	encoded string
}{
	{"/oscillator/4/frequency", []Arg{Float32(440)},
		"/oscillator/4/frequency\x00,f\x00\x00\x43\xdc\x00\x00"},
	{"/foo", []Arg{Int32(1000), Int32(-1), String("hello"), Float32(1.234), Float32(5.678)},
		"/foo\x00\x00\x00\x00,iisff\x00\x00\x00\x00\x03\xe8\xff\xff\xff\xffhello\x00\x00\x00\x3f\x9d\xf3\xb6\x40\xb5\xb2\x2d"},
}

func TestSpecExamples(t *testing.T) {
	for _, e := range specExamples {
		got, err := AppendMessage(nil, e.address, e.args...)
		if err != nil || string(got) != e.encoded {
			t.Errorf("encode %s: %q, %v, want %q", e.address, got, err, e.encoded)
		}
		var m Message
		if err := m.Decode([]byte(e.encoded)); err != nil {
			t.Fatal(err)
		}
		if string(m.Address()) != e.address {
			t.Errorf("address %q, want %q", m.Address(), e.address)
		}
		for i, a := range m.AppendArgs(nil) {
			if a.String() != e.args[i].String() || a.Tag() != e.args[i].Tag() {
				t.Errorf("%s argument %d: %c %s, want %c %s", e.address, i, a.Tag(), a, e.args[i].Tag(), e.args[i])
			}
		}
	}
}

func everyType() []Arg {
	return []Arg{
		Int32(math.MinInt32), Float32(-0.5), String(""), String("abc"), String("abcd"), Blob(nil), Blob([]byte{1, 2, 3, 0, 5}),
		Int64(math.MaxInt64), Time(TimeTagOf(time.Unix(1700000000, 123456789))), Float64(math.Pi), Symbol("sym"), Char('x'),
		RGBA(0x11223344), MIDI(0x00903c7f), Bool(true), Bool(false), Nil(), Impulse(),
		ArrayStart(), Int32(1), ArrayStart(), Float32(2), ArrayEnd(), ArrayStart(), ArrayEnd(), ArrayEnd(), String("end"),
	}
}

func TestEveryTypeRoundTrip(t *testing.T) {
	packet, err := AppendMessage([]byte("kept"), "/every/type", everyType()...)
	if err != nil {
		t.Fatal(err)
	}
	packet = packet[len("kept"):]
	var m Message
	if err := m.Decode(packet); err != nil {
		t.Fatal(err)
	}
	if got, want := string(m.Tags()), "ifsssbbhtdScrmTFNI[i[f][]]s"; got != want {
		t.Errorf("tags %s, want %s", got, want)
	}
	want := everyType()
	args := m.AppendArgs(nil)
	if len(args) != len(want) {
		t.Fatalf("%d arguments, want %d", len(args), len(want))
	}
	for i, a := range args {
		if a.tag != want[i].tag || a.bits != want[i].bits || !bytes.Equal(a.data, want[i].data) {
			t.Errorf("argument %d: %c %s, want %c %s", i, a.tag, a, want[i].tag, want[i])
		}
	}
	// Every proper prefix and every other length is refused, without a panic.
	for n := range packet {
		if n == strings.Index(string(packet), ",") {
			continue // the address alone is a message without arguments
		}
		if err := m.Decode(packet[:n]); err == nil {
			t.Errorf("the first %d of %d bytes were accepted", n, len(packet))
		}
	}
	if err := m.Decode(append(packet, 0, 0, 0, 0)); err == nil {
		t.Error("bytes after the last argument were accepted")
	}
}

func TestMalformed(t *testing.T) {
	nested := func(depth int) string {
		b, _ := AppendMessage(nil, "/a")
		for range depth {
			b = AppendElement(AppendBundle(nil, Immediately), b)
		}
		return string(b)
	}
	head := "#bundle\x00\x00\x00\x00\x00\x00\x00\x00\x01"
	for _, c := range []struct {
		name, packet string
		offset       int
		text         string
	}{
		{"empty", "", 0, "found nothing"},
		{"no slash", "abc\x00", 0, "begins with '/'"},
		{"size", "/ab\x00,", 0, "multiple of 4"},
		{"no end of address", "/abcdefg", 8, "NUL"},
		{"address padding", "/a\x00x,\x00\x00\x00", 3, "zero padding"},
		{"space in address", "/a b\x00\x00\x00\x00", 2, "printable ASCII"},
		{"non-ASCII address", "/\xc3\xbc\x00", 1, "printable ASCII"},
		{"hash in address", "/a#\x00", 2, "printable ASCII"},
		{"long address", "/" + strings.Repeat("a", 1023) + "\x00\x00\x00\x00", 0, "at most 1023"},
		{"no comma", "/a\x00\x00if\x00\x00", 4, "begin with ','"},
		{"no end of tags", "/a\x00\x00,ifs", 8, "NUL"},
		{"unknown tag", "/a\x00\x00,x\x00\x00", 8, "type tags i f s"},
		{"missing int", "/a\x00\x00,i\x00\x00", 8, "an argument"},
		{"half a double", "/a\x00\x00,d\x00\x00\x00\x00\x00\x00", 8, "short by bytes: 4"},
		{"missing string", "/a\x00\x00,s\x00\x00", 8, "NUL"},
		{"string padding", "/a\x00\x00,s\x00\x00a\x00\x00z", 11, "zero padding"},
		{"missing blob", "/a\x00\x00,b\x00\x00", 8, "size of a blob"},
		{"negative blob", "/a\x00\x00,b\x00\x00\xff\xff\xff\xff", 8, "blob"},
		{"huge blob", "/a\x00\x00,b\x00\x00\x7f\xff\xff\xff", 8, "blob"},
		{"blob beyond", "/a\x00\x00,b\x00\x00\x00\x00\x00\x05abcd", 8, "blob"},
		{"blob padding", "/a\x00\x00,b\x00\x00\x00\x00\x00\x01abcd", 13, "zero padding"},
		{"open array", "/a\x00\x00,[i\x00\x00\x00\x00\x01", 12, "']'"},
		{"closed array", "/a\x00\x00,]\x00\x00", 8, "'['"},
		{"deep arrays", "/a\x00\x00,[[[[[[[[[]]]]]]]]]\x00", 24, "at most 8"},
		{"surplus", "/a\x00\x00,i\x00\x00\x00\x00\x00\x01\x00\x00\x00\x02", 12, "end of the message"},
		{"hash", "#", 0, "#bundle"},
		{"short bundle", "#bundle\x00\x00\x00", 0, "#bundle"},
		{"other bundle", "#bungle\x00\x00\x00\x00\x00\x00\x00\x00\x01", 0, "#bundle"},
		{"element size", head + "\x00\x00", 16, "size of an element"},
		{"empty element", head + "\x00\x00\x00\x00", 16, "positive multiple of 4"},
		{"negative element", head + "\xff\xff\xff\xfc", 16, "positive multiple of 4"},
		{"element beyond", head + "\x00\x00\x00\x08/a\x00\x00", 16, "inside the bundle"},
		{"odd element", head + "\x00\x00\x00\x03/a\x00", 16, "multiple of 4"},
		{"bad element", head + "\x00\x00\x00\x04/a\x00\x00\x00\x00\x00\x04abc\x00", 28, "begins with '/'"},
		{"deep bundles", nested(9), 8 * 20, "at most 8"},
	} {
		visited := 0
		var m Message
		err := Walk([]byte(c.packet), &m, func(*Message, []byte, TimeTag) { visited++ })
		var de *DecodeError
		if !errors.As(err, &de) {
			t.Errorf("%s: %v, want a DecodeError", c.name, err)
			continue
		}
		if de.Offset != c.offset || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: %v, want offset %d and %q", c.name, err, c.offset, c.text)
		}
		if visited != 0 {
			t.Errorf("%s: %d messages were handed over before the error", c.name, visited)
		}
	}
	var m Message
	if err := Walk([]byte(nested(8)), &m, func(*Message, []byte, TimeTag) {}); err != nil {
		t.Errorf("8 levels of bundles: %v", err)
	}
}

func TestEncodeErrors(t *testing.T) {
	for _, c := range []struct {
		address string
		args    []Arg
		text    string
	}{
		{"", nil, "begin with '/'"},
		{"a", nil, "begin with '/'"},
		{"/a b", nil, "printable ASCII"},
		{"/" + strings.Repeat("a", MaxAddress), nil, "at most 1023"},
		{"/a", []Arg{String("x\x00y")}, "argument 1 of /a: text holds a NUL"},
		{"/a", []Arg{{}}, "empty Arg"},
		{"/a", []Arg{Int32(1), ArrayStart()}, "not closed"},
		{"/a", []Arg{ArrayEnd()}, "not opened"},
	} {
		got, err := AppendMessage([]byte("keep"), c.address, c.args...)
		if err == nil || !strings.Contains(err.Error(), c.text) || string(got) != "keep" {
			t.Errorf("%q %v: %q, %v, want %q", c.address, c.args, got, err, c.text)
		}
	}
}

func TestBundleOrderAndTimes(t *testing.T) {
	early, late := TimeTagOf(time.Unix(1800000000, 0)), TimeTagOf(time.Unix(1800000001, 0))
	msg := func(a string) []byte { b, _ := AppendMessage(nil, a); return b }
	inner := AppendElement(AppendBundle(nil, late), msg("/2"))
	now := AppendElement(AppendBundle(nil, Immediately), msg("/3"))
	b := AppendBundle(nil, early)
	for _, e := range [][]byte{msg("/1"), inner, now, msg("/4")} {
		b = AppendElement(b, e)
	}
	want := []struct {
		address string
		tag     TimeTag
	}{{"/1", early}, {"/2", late}, {"/3", early}, {"/4", early}}
	i := 0
	var m Message
	if err := Walk(b, &m, func(m *Message, _ []byte, tag TimeTag) {
		if string(m.Address()) != want[i].address || tag != want[i].tag {
			t.Errorf("message %d: %s at %x, want %s at %x", i, m.Address(), tag, want[i].address, want[i].tag)
		}
		i++
	}); err != nil || i != len(want) {
		t.Fatalf("%d messages, %v", i, err)
	}
}

func TestTimeTag(t *testing.T) {
	for _, at := range []time.Time{
		time.Unix(0, 0), time.Unix(1700000000, 1), time.Unix(1700000000, 999999999),
		time.Date(2036, 2, 7, 6, 28, 15, 5, time.UTC), time.Date(2036, 2, 7, 6, 28, 17, 5, time.UTC), time.Date(2100, 1, 1, 0, 0, 0, 77, time.UTC),
	} {
		tag := TimeTagOf(at)
		if tag.Immediate() {
			t.Errorf("%s is immediate", at.UTC())
		}
		if got := tag.Time(); !got.Equal(at) {
			t.Errorf("%s came back as %s", at.UTC(), got.UTC())
		}
	}
	// RFC 868: 2208988800 is 1970-01-01.
	if got := TimeTagOf(time.Unix(0, 500000000)); got != 2208988800<<32|1<<31 {
		t.Errorf("half a second past the Unix epoch is %#x", uint64(got))
	}
	if got := TimeTag(2208988800<<32 | 1<<31).Time(); !got.Equal(time.Unix(0, 500000000)) {
		t.Errorf("the Unix epoch came back as %s", got)
	}
}

// Messages that go-osc writes are read as they were meant, and the other way.
func TestAgainstGoOSC(t *testing.T) {
	theirs := goosc.NewMessage("/a/b", int32(-7), float32(0.25), "text", []byte{1, 2, 3}, int64(1<<40), 2.5, true, false, nil)
	packet, err := theirs.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	var m Message
	if err := m.Decode(packet); err != nil {
		t.Fatal(err)
	}
	var texts []string
	for _, a := range m.AppendArgs(nil) {
		texts = append(texts, string(rune(a.Tag()))+":"+a.String())
	}
	if got, want := strings.Join(texts, " "), `i:-7 f:0.25 s:"text" b:3-byte blob h:1099511627776 d:2.5 T:true F:false N:nil`; got != want {
		t.Errorf("from go-osc: %s, want %s", got, want)
	}
	ours, err := AppendMessage(nil, "/a/b", Int32(-7), Float32(0.25), String("text"), Blob([]byte{1, 2, 3}), Int64(1<<40), Float64(2.5), Bool(true), Bool(false), Nil())
	if err != nil || !bytes.Equal(ours, packet) {
		t.Errorf("ours % x\ntheirs % x (%v)", ours, packet, err)
	}
	back, err := goosc.ParsePacket(string(ours))
	if err != nil || !back.(*goosc.Message).Equals(theirs) {
		t.Errorf("go-osc read %v, %v, want %v", back, err, theirs)
	}
}

func TestDecodeAllocatesNothing(t *testing.T) {
	packet, _ := AppendMessage(nil, "/every/type", everyType()...)
	bundle := AppendElement(AppendElement(AppendBundle(nil, Immediately), packet), packet)
	var m Message
	args := make([]Arg, 0, 64)
	visit := func(m *Message, _ []byte, _ TimeTag) { args = m.AppendArgs(args[:0]) }
	if n := testing.AllocsPerRun(100, func() {
		if Walk(packet, &m, visit) != nil || Walk(bundle, &m, visit) != nil {
			t.Error("decode failed")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	out := make([]byte, 0, 1024)
	all := everyType()
	if n := testing.AllocsPerRun(100, func() { out, _ = AppendMessage(out[:0], "/every/type", all...) }); n != 0 {
		t.Errorf("encoding: %v allocations", n)
	}
}

func fuzzSeeds(f *testing.F) {
	for _, e := range specExamples {
		f.Add([]byte(e.encoded))
	}
	all, _ := AppendMessage(nil, "/every/*/ty[p-q]e", everyType()...)
	f.Add(all)
	f.Add(AppendElement(AppendBundle(nil, TimeTagOf(time.Unix(1.8e9, 0))), AppendElement(AppendElement(AppendBundle(nil, Immediately), all), all)))
	for _, s := range []string{"", "/", "/\x00\x00\x00", "#bundle\x00", "/[", "/a\x00\x00,x\x00\x00", "/a\x00\x00,b\x00\x00\xff\xff\xff\xff", "/a\x00\x00,[[]]\x00\x00\x00"} {
		f.Add([]byte(s))
	}
}

func FuzzDecode(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		var m Message
		n := 0
		err := Walk(packet, &m, func(m *Message, raw []byte, tag TimeTag) {
			n++
			args := m.AppendArgs(nil)
			if len(args) != len(m.Tags()) {
				t.Fatalf("%d arguments for the tags %q", len(args), m.Tags())
			}
			for _, a := range args {
				_ = a.String()
			}
			if p, err := ParsePattern(m.Address()); err == nil {
				p.Match("/every/thing/type")
			}
			_ = tag.Time()
		})
		var de *DecodeError
		if err != nil && (n > 0 || !errors.As(err, &de) || de.Offset < 0 || de.Offset > len(packet)) {
			t.Fatalf("after %d messages: %#v", n, err)
		}
	})
}

// What is decoded encodes to the same bytes: there is one way to write a
// message, except that the type tags of one without arguments may be missing.
func FuzzRoundTrip(f *testing.F) {
	fuzzSeeds(f)
	f.Fuzz(func(t *testing.T, packet []byte) {
		var m Message
		if m.Decode(packet) != nil {
			return
		}
		again, err := AppendMessage(nil, string(m.Address()), m.AppendArgs(nil)...)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, packet) && !bytes.Equal(again, append(packet[:len(packet):len(packet)], ",\x00\x00\x00"...)) {
			t.Fatalf("% x\nbecame % x", packet, again)
		}
	})
}
