package rig

import (
	"io"
	"log/slog"
	"testing"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// parse reads a rig that must be good.
func parse(t testing.TB, text string) *Rig {
	t.Helper()
	r, err := Parse("rig.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// caseOf makes a case of a rig that must be good, at 48 kHz.
func caseOf(t testing.TB, text string) *Case {
	t.Helper()
	c, err := NewCase(parse(t, text), 48000, quiet())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// bench plays a case without a device.
type bench struct {
	c       *Case
	volts   [][]float32
	samples [][]float32
	words   [][]int32
	// What came out, by playback channel.
	sent  [][]float32
	coded [][]int32
	frame int
}

func newBench(c *Case) *bench {
	outputs, _, playback, _ := c.Shape()
	b := &bench{c: c, sent: make([][]float32, playback), coded: make([][]int32, playback)}
	for range outputs {
		b.volts = append(b.volts, make([]float32, MaxBlock))
	}
	for ch := range playback {
		if c.Exact().Has(ch) {
			b.words, b.samples = append(b.words, make([]int32, MaxBlock)), append(b.samples, nil)
		} else {
			b.words, b.samples = append(b.words, nil), append(b.samples, make([]float32, MaxBlock))
		}
	}
	return b
}

// play sends frames in blocks; given says the volts of a logical output at a frame, nil sends no
// volts at all.
func (b *bench) play(frames, block int, given func(output, frame int) float32) {
	for frames > 0 {
		n := min(block, frames)
		v := make([][]float32, len(b.volts))
		s, w := make([][]float32, len(b.samples)), make([][]int32, len(b.words))
		for k := range v {
			v[k] = b.volts[k][:n]
			for i := range v[k] {
				if given != nil {
					v[k][i] = given(k, b.frame+i)
				}
			}
		}
		for k := range s {
			if b.samples[k] != nil {
				s[k] = b.samples[k][:n]
			} else {
				w[k] = b.words[k][:n]
			}
		}
		if given == nil {
			v = nil
		}
		b.c.Out(v, s, w)
		for k := range s {
			b.sent[k] = append(b.sent[k], s[k]...)
			b.coded[k] = append(b.coded[k], w[k]...)
		}
		b.frame += n
		frames -= n
	}
}

// settle plays until the start is over, and forgets it.
func (b *bench) settle(given func(output, frame int) float32) {
	b.play(4800, 64, given)
	b.forget()
}

func (b *bench) forget() {
	for k := range b.sent {
		b.sent[k], b.coded[k] = nil, nil
	}
	b.frame = 0
}

func steady(v float32) func(int, int) float32 { return func(int, int) float32 { return v } }
