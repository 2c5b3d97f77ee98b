package backplane

import (
	"bytes"
	"hash/crc32"
	"math/rand/v2"
	"testing"
)

var framings = []struct {
	name string
	f    Framing
}{{"serial", Serial}, {"sysex", SysEx}}

func TestCheckIsCRC32(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		b := make([]byte, rng.IntN(200))
		for i := range b {
			b[i] = byte(rng.Uint32())
		}
		if got, want := Check(b), crc32.ChecksumIEEE(b); got != want {
			t.Fatalf("%x: %08x, want %08x", b, got, want)
		}
	}
}

// TestFramesOnTheWire pins the bytes of the standard.
func TestFramesOnTheWire(t *testing.T) {
	payload := []byte{0x01, 0x44, 0x33, 0x22, 0x11, 0x01, 0x00} // a Hello, but for one byte
	for _, c := range []struct {
		f    Framing
		want []byte
	}{
		{Serial, []byte{0x00, 0x07, 0x01, 0x44, 0x33, 0x22, 0x11, 0x01, 0x05, 0x55, 0xc1, 0x97, 0x47, 0x00}},
		{SysEx, []byte{0xf0, 0x7d, 0x4b, 0x38, 0x00, 0x01, 0x44, 0x33, 0x22, 0x11, 0x01, 0x00, 0x06, 0x55, 0x41, 0x17, 0x47, 0xf7}},
	} {
		if got := Append(c.f, nil, payload); !bytes.Equal(got, c.want) {
			t.Errorf("framing %d: % x, want % x (check %08x)", c.f, got, c.want, Check(payload))
		}
	}
}

func TestFramesRoundTrip(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for _, c := range framings {
		d := Decoder{Framing: c.f}
		for n := 1; n <= MaxPayload; n++ {
			for _, fill := range []func() byte{func() byte { return 0 }, func() byte { return 0xff }, func() byte { return byte(rng.Uint32()) }, func() byte { return byte(rng.Uint32()) & 1 }} {
				p := make([]byte, n)
				for i := range p {
					p[i] = fill()
				}
				b := Append(c.f, nil, p)
				if len(b) > MaxFrame {
					t.Fatalf("%s: %d bytes take %d", c.name, n, len(b))
				}
				var got []byte
				for i, x := range b {
					if c.f == SysEx && i > 0 && i < len(b)-1 && x >= 0x80 {
						t.Fatalf("%s: byte %d of a message is %02x", c.name, i, x)
					}
					if c.f == Serial && i > 0 && i < len(b)-1 && x == 0 {
						t.Fatalf("%s: byte %d of a frame is 0", c.name, i)
					}
					if q := d.Push(x); q != nil {
						got = bytes.Clone(q)
					}
				}
				if !bytes.Equal(got, p) {
					t.Fatalf("%s: % x came as % x", c.name, p, got)
				}
			}
		}
		if d.Bad != 0 {
			t.Errorf("%s: %d bad frames", c.name, d.Bad)
		}
		if b := Append(c.f, nil, make([]byte, MaxPayload+1)); len(b) != 0 {
			t.Errorf("%s: a payload that is too long was sent", c.name)
		}
	}
}

// TestDamageCostsItsFrame: one byte changed, lost or put in costs no frame but
// that in which it is, or whose end it is.
func TestDamageCostsItsFrame(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, c := range framings {
		most := 0
		for round := range 20000 {
			var stream []byte
			var sent [][]byte
			for range 3 {
				p := make([]byte, 1+rng.IntN(40))
				for i := range p {
					p[i] = byte(rng.Uint32())
				}
				sent = append(sent, p)
				stream = Append(c.f, stream, p)
			}
			i := rng.IntN(len(stream))
			switch round % 3 {
			case 0:
				stream[i] ^= byte(1 + rng.IntN(255))
			case 1:
				stream = append(stream[:i], stream[i+1:]...)
			case 2:
				stream = append(stream[:i], append([]byte{byte(rng.Uint32())}, stream[i:]...)...)
			}
			d := Decoder{Framing: c.f}
			came := 0
			for _, x := range stream {
				if p := d.Push(x); p != nil {
					known := false
					for _, s := range sent {
						known = known || bytes.Equal(s, p)
					}
					if !known {
						t.Fatalf("%s: a frame came that nobody sent: % x", c.name, p)
					}
					came++
				}
			}
			most = max(most, 3-came)
		}
		// In MIDI a frame has no second beginning: what eats the 0xf7 of one
		// leaves the 0xf0 of the next, which begins it all the same.
		if most > 1 {
			t.Errorf("%s: one byte cost %d frames", c.name, most)
		}
	}
}

func TestSysExOfOthers(t *testing.T) {
	d := Decoder{Framing: SysEx}
	ours := Append(SysEx, nil, []byte{1, 2, 3})
	clocked := append([]byte(nil), ours[:6]...)
	clocked = append(append(clocked, 0xf8), ours[6:]...)
	var stream []byte
	for _, b := range [][]byte{
		{0xf0, 0x7e, 0x7f, 6, 1, 0xf7}, {0xf0, 0x7d, 0x4b, 0x39, 1, 2, 0xf7}, {0xf0, 0xf7}, {0x90, 60, 100}, clocked, {0xf0, 0x7d, 0xf7},
	} {
		stream = append(stream, b...)
	}
	came := 0
	for _, x := range stream {
		if d.Push(x) != nil {
			came++
		}
	}
	if came != 1 || d.Bad != 0 {
		t.Errorf("%d messages and %d damaged, want 1 and none: those of others are none of ours", came, d.Bad)
	}
}

func FuzzDecoder(f *testing.F) {
	f.Add(false, Append(Serial, nil, []byte{1, 0, 255}))
	f.Add(true, Append(SysEx, nil, []byte{1, 0, 255}))
	f.Add(false, bytes.Repeat([]byte{1}, 300))
	f.Add(true, append([]byte(sysExHeader), bytes.Repeat([]byte{1}, 300)...))
	f.Fuzz(func(t *testing.T, midi bool, b []byte) {
		d := Decoder{}
		if midi {
			d.Framing = SysEx
		}
		for _, x := range b {
			if p := d.Push(x); len(p) > MaxPayload || p != nil && len(p) == 0 {
				t.Fatalf("a payload of %d bytes", len(p))
			}
		}
		// Whatever came before, the frame after the next one arrives.
		one := Append(d.Framing, nil, []byte{9})
		came := 0
		for _, x := range append(one, one...) {
			if d.Push(x) != nil {
				came++
			}
		}
		if came == 0 {
			t.Fatal("it did not find back")
		}
	})
}
