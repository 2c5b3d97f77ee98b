package rig

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

// decoded is what the modules would make of two words: a decoder written from the description of the
// hardware, not from the encoder. It takes the words as a device gets them, 24 bits in the upper part
// of 32.
func decoded(left, right int32) (headers [6]uint8) {
	for side, w := range []int32{left, right} {
		if w%256 != 0 {
			panic("something is below the 24 bits")
		}
		bits := int64(w) / 256 // two's complement of 24 bits, −8388608…8388607
		if bits < 0 {
			bits += 1 << 24
		}
		for k := range 3 {
			headers[side*3+k] = uint8(bits / int64(math.Pow(256, float64(2-k))) % 256)
		}
	}
	return headers
}

// voltages receives the bytes of one ESX-8CV, and gives the code of each socket whose value was completed.
type voltages struct {
	low, middle int
	seen        int // of three
	code        [8]int
	cycle       [8]int // how often each socket got a value
}

func (v *voltages) receive(b uint8) {
	switch {
	case b >= 128:
		v.low, v.seen = int(b)%32, 1
	case b < 32 && v.seen == 1:
		v.middle, v.seen = int(b), 2
	case v.seen == 2 && (b/32 == 1 || b/32 == 2):
		socket := int(b) / 4 % 4
		if b/32 == 2 {
			socket += 4
		}
		v.code[socket] = int(b)%4*1024 + v.middle*32 + v.low
		v.cycle[socket]++
		v.seen = 0
	default:
		v.seen = 0
	}
}

// gateRig has all 48 gates of an ES-5.
func gateRig() string {
	var b strings.Builder
	b.WriteString("version: 1\nname: gates\ninterface: virtual\nexpanders:\n  - {device: es-5, channels: [7, 8], headers: {2: esx-8gt, 3: esx-8gt, 4: esx-8gt, 5: esx-8gt, 6: esx-8gt}}\noutputs:\n")
	for h := range 6 {
		for s := range 8 {
			fmt.Fprintf(&b, "  - {jack: g%d-%d, channel: es-5/%d/%d, role: gate}\n", h+1, s+1, h+1, s+1)
		}
	}
	return b.String()
}

// everyGate plays words as 48 gates and checks each bit where it comes out.
func everyGate(t *testing.T, count int, word func(frame int) (left, right uint32)) {
	b := newBench(caseOf(t, gateRig()))
	b.settle(steady(0))
	const chunk = 1 << 14
	for at := 0; at < count; at += chunk {
		b.forget()
		b.play(min(chunk, count-at), 64, func(k, f int) float32 {
			l, r := word(at + f)
			w := l
			if k >= 24 {
				w = r
			}
			// Gate s of header h of a word is bit s of its byte, the first header's the highest.
			if w>>(16-8*(k%24/8)+k%8)&1 == 1 {
				return 10
			}
			return 0
		})
		for f := range b.coded[6] {
			l, r := word(at + f)
			if b.coded[6][f] != int32(l<<8) || b.coded[7][f] != int32(r<<8) {
				t.Fatalf("gates %06x %06x become words %08x %08x", l, r, uint32(b.coded[6][f]), uint32(b.coded[7][f]))
			}
			h := decoded(b.coded[6][f], b.coded[7][f])
			if back := uint32(h[0])<<16 | uint32(h[1])<<8 | uint32(h[2]); back != l {
				t.Fatalf("%06x is decoded as %06x", l, back)
			}
			if back := uint32(h[3])<<16 | uint32(h[4])<<8 | uint32(h[5]); back != r {
				t.Fatalf("%06x is decoded as %06x", r, back)
			}
		}
	}
}

// TestGates: 48 gates switch at their frame, and come out of the words as they went in.
func TestGates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := make([]uint32, 1<<13)
	for i := range words {
		words[i] = rng.Uint32() >> 8
	}
	copy(words, []uint32{0, 0xffffff, 0x800000, 0x7fffff, 1, 0x800001, 0x555555, 0xaaaaaa})
	everyGate(t, len(words), func(f int) (uint32, uint32) { return words[f], words[len(words)-1-f] })
}

// TestProofEveryWord plays all 2²⁴ words on either side.
func TestProofEveryWord(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("takes a minute; set K8S_SYNTH_PROOF=1")
	}
	everyGate(t, 1<<24, func(f int) (uint32, uint32) { return uint32(f), 0xffffff - uint32(f) })
}

// TestEveryWord packs all 2²⁴ words of either side, without the gates before them.
func TestEveryWord(t *testing.T) {
	for w := range uint32(1 << 24) {
		v := w*0x9e3779 + 0x5bd1e9 // another one on the right
		v &= 0xffffff
		left, right := ES5.words(&[6]byte{byte(w >> 16), byte(w >> 8), byte(w), byte(v >> 16), byte(v >> 8), byte(v)})
		if uint32(left) != w<<8 || uint32(right) != v<<8 {
			t.Fatalf("%06x %06x become %08x %08x", w, v, uint32(left), uint32(right))
		}
	}
}

// TestSPDIFFrame: the five bytes of an ES-40 lie in the upper 20 bits, as its description has them.
func TestSPDIFFrame(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	for range 10000 {
		var b [6]byte
		for i := range 5 {
			b[i] = byte(rng.Uint32())
		}
		left, right := ES40.words(&b)
		l, r := uint32(left)>>12, uint32(right)>>12 // 20 bits
		if uint32(left)&0xfff != 0 || uint32(right)&0xfff != 0 {
			t.Fatal("something is below the 20 bits of S/PDIF")
		}
		got := [5]byte{byte(l >> 12), byte(l >> 4), byte(r >> 12), byte(r >> 4), byte(l<<4) | byte(r&15)}
		if [5]byte(b[:5]) != got {
			t.Fatalf("% x is decoded as % x", b, got)
		}
	}
}

// TestVoltagesOfAnExpander: the eight values of an ESX-8CV arrive within half a step, each once in 24
// frames, and a module that comes in the middle finds the beginning.
func TestVoltagesOfAnExpander(t *testing.T) {
	var text strings.Builder
	text.WriteString("version: 1\nname: x\ninterface: virtual\nexpanders:\n  - {device: es-5, channels: [7, 8], headers: {3: esx-8cv, 5: esx-8cv}}\noutputs:\n")
	for _, h := range []int{3, 5} {
		for s := range 8 {
			if h == 5 && s == 2 {
				continue // nothing there is 0 V
			}
			fmt.Fprintf(&text, "  - {jack: v%d-%d, channel: es-5/%d/%d}\n", h, s+1, h, s+1)
		}
	}
	b := newBench(caseOf(t, text.String()))
	rng := rand.New(rand.NewPCG(5, 6))
	worst := 0.0
	for range 300 {
		volts := make([]float64, 16)
		for k := range volts {
			volts[k] = rng.Float64()*12 - 6
		}
		given := func(k, _ int) float32 { return float32(volts[k]) }
		b.settle(given)
		b.play(5, 5, given) // a module that is switched on now
		b.forget()
		var three, five voltages
		b.play(3+24, 64, given)
		for f := range b.coded[6] {
			h := decoded(b.coded[6][f], b.coded[7][f])
			three.receive(h[2])
			five.receive(h[4])
			if h[1] != 0 || h[3] != 0 || h[5] != 0 {
				t.Fatal("something is on a header where nothing is fitted")
			}
		}
		for s := range 8 {
			at := []int{s, 8 + s}
			if s == 2 {
				at[1] = -1
			} else if s > 2 {
				at[1]--
			}
			for side, v := range []*voltages{&three, &five} {
				want := 0.0
				if at[side] >= 0 {
					want = min(max(volts[at[side]], -2048.0/384), 2047.0/384)
				}
				got := (float64(v.code[s]) - 2048) / 384
				worst = max(worst, math.Abs(got-want))
				if n := v.cycle[s]; n < 1 || n > 2 {
					t.Fatalf("socket %d got %d values in 27 frames", s+1, n)
				}
			}
		}
	}
	t.Logf("worst of 4,800 values: %.3f mV; half a step is %.3f mV", worst*1000, 500.0/384)
	if worst > 0.5/384+1e-6 {
		t.Errorf("a value is %.3f mV off", worst*1000)
	}
	b.c.Land()
	b.play(2400, 64, steady(3))
	if !b.c.Landed() {
		t.Error("not landed after 50 ms")
	}
	var v voltages
	for f := len(b.coded[6]) - 48; f < len(b.coded[6]); f++ {
		v.receive(decoded(b.coded[6][f], b.coded[7][f])[2])
	}
	if v.code != [8]int{2048, 2048, 2048, 2048, 2048, 2048, 2048, 2048} {
		t.Errorf("landed at %v", v.code)
	}
}
