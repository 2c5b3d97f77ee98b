package scenes

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
)

// captured is a sample of a channel: noise, with every bit of a float.
func captured(c int, frame int64) float32 {
	x := uint32(frame)*2654435761 + uint32(c)*40503
	x ^= x >> 15
	x *= 2246822519
	return float32(int32(x)) / (1 << 28)
}

// writeInputs writes chunks of 1000 frames, but for those that are lost.
func writeInputs(t *testing.T, frames int64, lost func(frame int64) bool, end bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewInputsWriter(&b, "ab", 48000, map[string]int{"left": 0, "cv": 3})
	if err != nil {
		t.Fatal(err)
	}
	for f := int64(0); f < frames; f += 1000 {
		if lost(f) {
			continue
		}
		channels := []int{0, 3}
		if f < 2000 {
			channels = []int{3} // the other was not listened to yet
		}
		var volts [][]float32
		for _, c := range channels {
			v := make([]float32, 1000)
			for i := range v {
				v[i] = captured(c, f+int64(i))
			}
			volts = append(volts, v)
		}
		if err := w.Write(f, channels, volts, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if end {
		if err := w.End(frames); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func readInputs(t *testing.T, data []byte) *InputsReader {
	t.Helper()
	r, err := newInputsReader("x.inputs", bytes.NewReader(data), &TakeHead{Rate: 48000, Inputs: &TakeInputs{ID: "ab"}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// readAll reads in pieces that fit no chunk, and compares each sample.
func readAll(t *testing.T, r *InputsReader, from, frames int64, is func(c int, frame int64) float32) (read int64) {
	t.Helper()
	in := make([][]float32, r.Channels())
	for at := from; at < frames; {
		n := int(min(1+(at*7)%129, frames-at))
		for c := range in {
			in[c] = make([]float32, n)
			for i := range in[c] {
				in[c][i] = 99
			}
		}
		got, err := r.Read(at, in)
		if errors.Is(err, io.EOF) {
			return at
		}
		if err != nil {
			t.Fatal(err)
		}
		for c := range in {
			for i := range got {
				if want := is(c, at+int64(i)); math.Float32bits(in[c][i]) != math.Float32bits(want) {
					t.Fatalf("channel %d at frame %d is %g, want %g", c, at+int64(i), in[c][i], want)
				}
			}
		}
		at += int64(got)
	}
	return frames
}

func heardOf(c int, frame int64) float32 {
	if c == 3 || c == 0 && frame >= 2000 {
		return captured(c, frame)
	}
	return 0
}

// What was captured comes back to the bit, and after its end is 0 V.
func TestInputsAreAsTheyWere(t *testing.T) {
	never := func(int64) bool { return false }
	data := writeInputs(t, 10000, never, true)
	r := readInputs(t, data)
	if n := readAll(t, r, 0, 12000, func(c int, f int64) float32 {
		if f >= 10000 {
			return 0
		}
		return heardOf(c, f)
	}); n != 12000 || r.Missing != 0 || r.Damaged != nil {
		t.Errorf("%d frames, %d missing, %v", n, r.Missing, r.Damaged)
	}
	// From the middle on it is the same.
	if n := readAll(t, readInputs(t, data), 4321, 9000, heardOf); n != 9000 {
		t.Errorf("%d frames", n)
	}
}

// What was lost is 0 V, and counted.
func TestInputsThatWereLost(t *testing.T) {
	lost := func(f int64) bool { return f == 3000 || f == 4000 }
	r := readInputs(t, writeInputs(t, 10000, lost, true))
	if readAll(t, r, 0, 10000, func(c int, f int64) float32 {
		if f >= 3000 && f < 5000 {
			return 0
		}
		return heardOf(c, f)
	}); r.Missing != 2000 {
		t.Errorf("%d frames are missing", r.Missing)
	}
}

// Wherever the recorder was stopped, all whole chunks are read.
func TestInputsThatWereCut(t *testing.T) {
	never := func(int64) bool { return false }
	data := writeInputs(t, 5000, never, false)
	ends := map[int64]bool{}
	for cut := bytes.IndexByte(data, '\n') + 1; cut <= len(data); cut += 37 {
		r := readInputs(t, data[:cut])
		n := readAll(t, r, 0, 6000, heardOf)
		if n%1000 != 0 || r.Damaged != nil {
			t.Fatalf("cut at %d of %d: %d frames, %v", cut, len(data), n, r.Damaged)
		}
		ends[n] = true
	}
	if len(ends) < 5 {
		t.Errorf("it ended at %v", ends)
	}
	if n := readAll(t, readInputs(t, append(data, make([]byte, 4096)...)), 0, 6000, heardOf); n != 5000 {
		t.Errorf("with zeros behind it, it has %d frames", n)
	}
}

// A bit that is another ends it there, and is told; no file breaks the reader.
func TestInputsThatAreDamaged(t *testing.T) {
	never := func(int64) bool { return false }
	data := writeInputs(t, 5000, never, true)
	head := bytes.IndexByte(data, '\n') + 1
	for at := head; at < len(data); at += 11 {
		bad := bytes.Clone(data)
		bad[at] ^= 0x40
		r := readInputs(t, bad)
		n := readAll(t, r, 0, 5000, heardOf)
		if n > 5000 || n < 5000 && r.Damaged == nil && at > len(data)/5*4 {
			t.Fatalf("damaged at %d: %d frames and not a word", at, n)
		}
	}
	for _, text := range []string{"", "x", "{}\n", `{"inputs":{"version":9,"id":"ab","rate":48000}}` + "\n", `{"inputs":{"version":1,"id":"cd","rate":48000}}` + "\n",
		`{"inputs":{"version":1,"id":"ab","rate":44100}}` + "\n", `{"inputs":{"version":1,"id":"ab","rate":48000,"jacks":{"x":500}}}` + "\n"} {
		if _, err := newInputsReader("x.inputs", bytes.NewReader([]byte(text)), &TakeHead{Rate: 48000, Inputs: &TakeInputs{ID: "ab"}}); err == nil {
			t.Errorf("%q was read", text)
		}
	}
}

func FuzzInputs(f *testing.F) {
	head := `{"inputs":{"version":1,"id":"ab","rate":48000,"jacks":{"a":0}}}` + "\n"
	f.Add([]byte(head + "CHNK\x0c\x00\x00\x00"))
	f.Add([]byte(head + "ENDS\x0c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := newInputsReader("x", bytes.NewReader(append([]byte(head), data...)), &TakeHead{Rate: 48000, Inputs: &TakeInputs{ID: "ab"}})
		if err != nil {
			return
		}
		defer r.Close()
		in := [][]float32{make([]float32, 100)}
		for at := int64(0); at < 2000; at += 100 {
			if _, err := r.Read(at, in); err != nil {
				return
			}
		}
	})
}
