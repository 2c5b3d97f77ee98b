package scenes

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/klauspost/compress/zstd"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// What the inputs of a rig captured while a take was recorded stands in a file
// beside it: too much for lines of text. It begins with a line of JSON, and
// then come chunks, in order and without gaps but for what was lost:
//
//	"CHNK", the size of what follows, frame, frames, channels, their numbers,
//	the samples, a checksum of it all (CRC-32C)
//
// and at the end "ENDS" with the frame at which it ends. Numbers are little
// endian. Samples are 32-bit floats in volts, channel after channel, the bytes
// of a channel sorted by their place in the float, which packs better, and
// packed by Zstandard.

const (
	inputsVersion = 1
	inputsSuffix  = ".inputs"
	// MaxInputsChunk is the most frames of a chunk.
	MaxInputsChunk = 1 << 16
	maxInputs      = 128 // channels
	maxInputsLine  = 1 << 16
)

// TakeInputs tells of what inputs captured while a take was recorded.
type TakeInputs struct {
	// File is the name of the file beside the take, ID what both have in common.
	File string `json:"file,omitempty"`
	ID   string `json:"id,omitempty"`
	// Left tells that it was not to be recorded: played again, the inputs are at
	// 0 V, and what they were heard in sounds otherwise.
	Left bool `json:"left,omitempty"`
}

// InputsPath returns where what a take's inputs captured is kept.
func InputsPath(take string) string { return take + inputsSuffix }

// inputsHead is the first line.
type inputsHead struct {
	Inputs *inputsInfo `json:"inputs"`
}

type inputsInfo struct {
	Version int            `json:"version"`
	ID      string         `json:"id"`
	Rate    int            `json:"rate"`
	Jacks   map[string]int `json:"jacks"` // channels by name
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// InputsWriter writes what inputs capture. It is not safe for concurrent use.
type InputsWriter struct {
	w     io.Writer
	enc   *zstd.Encoder
	plain []byte
	buf   []byte
}

// NewInputsWriter begins with the head. Jacks are the channels by name, rate is in hertz.
func NewInputsWriter(w io.Writer, id string, rate int, jacks map[string]int) (*InputsWriter, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("inputs of a take: %w", err)
	}
	line, err := json.Marshal(inputsHead{&inputsInfo{inputsVersion, id, rate, jacks}})
	if err == nil {
		_, err = w.Write(append(line, '\n'))
	}
	if err != nil {
		return nil, fmt.Errorf("inputs of a take: %w", err)
	}
	return &InputsWriter{w: w, enc: enc}, nil
}

// Write writes a chunk of channels, all of one length of at most
// MaxInputsChunk frames, in one Write.
func (w *InputsWriter) Write(frame int64, channels []int, samples [][]float32, frames int) error {
	w.plain = w.plain[:0]
	for _, s := range samples {
		at := len(w.plain)
		w.plain = slices.Grow(w.plain, 4*frames)[:at+4*frames]
		for i, v := range s[:frames] {
			u := math.Float32bits(v)
			for b := range 4 {
				w.plain[at+b*frames+i] = byte(u >> (8 * b))
			}
		}
	}
	le := binary.LittleEndian
	b := append(w.buf[:0], "CHNK\x00\x00\x00\x00"...)
	b = le.AppendUint64(b, uint64(frame))
	b = le.AppendUint32(b, uint32(frames))
	b = le.AppendUint16(b, uint16(len(channels)))
	for _, c := range channels {
		b = le.AppendUint16(b, uint16(c))
	}
	b = w.enc.EncodeAll(w.plain, b)
	return w.put(b)
}

// End writes where it ends.
func (w *InputsWriter) End(frame int64) error {
	return w.put(binary.LittleEndian.AppendUint64(append(w.buf[:0], "ENDS\x00\x00\x00\x00"...), uint64(frame)))
}

func (w *InputsWriter) put(b []byte) error {
	le := binary.LittleEndian
	b = le.AppendUint32(b, crc32.Checksum(b[8:], castagnoli))
	le.PutUint32(b[4:], uint32(len(b)-8))
	w.buf = b
	if _, err := w.w.Write(b); err != nil {
		return fmt.Errorf("inputs of a take: %w", err)
	}
	return nil
}

// InputsReader reads what inputs captured, from the first frame on.
type InputsReader struct {
	// Jacks are the channels by name.
	Jacks map[string]int
	// Missing counts the frames that were lost when they were recorded, and are
	// 0 V, of those that were read.
	Missing int64
	// Damaged says why it ended before its end, where that was not because its
	// recorder was stopped.
	Damaged error

	close    func() error
	r        *bufio.Reader
	dec      *zstd.Decoder
	body     []byte
	plain    []byte
	channels int
	frame    int64 // of the chunk that was read last
	frames   int
	has      []int  // the channels of the chunk
	end      int64  // after the chunk
	state    uint8  // of the file
	packed   []byte // the chunk's samples, until they are wanted
}

const (
	inputsGoOn = iota
	inputsOver // all was recorded
	inputsCut  // the recorder was stopped, or what follows is damaged
)

// Inputs opens what the inputs of a take captured, nil where nothing was
// recorded of them. Close it.
func (t *TakeReader) Inputs() (*InputsReader, error) {
	if t.Head.Inputs == nil || t.Head.Inputs.Left || t.Head.Inputs.ID == "" {
		return nil, nil
	}
	// A take that was given another name has it under the old one, or the new.
	names := []string{InputsPath(t.file), filepath.Join(filepath.Dir(t.file), filepath.Base(t.Head.Inputs.File))}
	var wrong error
	for _, name := range slices.Compact(names) {
		f, err := os.Open(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("inputs of a take: %w", err)
		}
		r, err := newInputsReader(name, f, &t.Head)
		if err == nil {
			r.close = f.Close
			return r, nil
		}
		f.Close()
		wrong = errors.Join(wrong, err)
	}
	if wrong != nil {
		return nil, wrong
	}
	return nil, fmt.Errorf("take %s: what its inputs captured is in %s, which is not there; put it beside the take", t.file, names[0])
}

func newInputsReader(file string, in io.Reader, h *TakeHead) (*InputsReader, error) {
	r := &InputsReader{r: bufio.NewReaderSize(in, 1<<16)}
	line, err := r.r.ReadSlice('\n')
	var head inputsHead
	if err != nil || json.Unmarshal(line, &head) != nil || head.Inputs == nil {
		return nil, &document.Error{File: file, Line: 1, Column: 1, Err: errors.New("this is not what inputs of a take captured")}
	}
	i := head.Inputs
	switch {
	case i.Version > inputsVersion:
		err = document.LaterVersion("file of inputs", i.Version, inputsVersion)
	case i.ID != h.Inputs.ID:
		err = errors.New("it was captured for another take")
	case i.Rate != h.Rate:
		err = fmt.Errorf("it was captured at %d Hz, the take is at %d", i.Rate, h.Rate)
	}
	for _, name := range slices.Sorted(maps.Keys(i.Jacks)) {
		if c := i.Jacks[name]; c < 0 || c >= maxInputs {
			err = fmt.Errorf("the jack %s is on channel %d; there are 0 … %d", name, c, maxInputs-1)
		} else {
			r.channels = max(r.channels, c+1)
		}
	}
	if err != nil {
		return nil, &document.Error{File: file, Line: 1, Column: 1, Err: err}
	}
	r.Jacks = i.Jacks
	if r.dec, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(4*maxInputs*MaxInputsChunk)); err != nil {
		return nil, fmt.Errorf("inputs of a take: %w", err)
	}
	return r, nil
}

// Channels returns how many there are to Read.
func (r *InputsReader) Channels() int { return r.channels }

// Close ends the reading.
func (r *InputsReader) Close() error {
	r.dec.Close()
	if r.close == nil {
		return nil
	}
	return r.close()
}

// Read fills in, a slice a channel, with what was captured from a frame on, and
// returns how many frames are known: fewer than there is room for, and none
// with io.EOF, only where the recorder was stopped. What was lost, what no
// module listened to and what is after the end is 0 V. Frames must not go back.
func (r *InputsReader) Read(frame int64, in [][]float32) (n int, err error) {
	total := 0
	if len(in) > 0 {
		total = len(in[0])
	}
	for n < total {
		at := frame + int64(n)
		for r.state == inputsGoOn && at >= r.end {
			r.next()
		}
		room := total - n
		switch {
		case r.state == inputsOver && at >= r.end:
			zero(in, n, room)
			n = total
		case at >= r.end:
			if n == 0 {
				return 0, io.EOF
			}
			return n, nil
		case at < r.frame:
			k := int(min(int64(room), r.frame-at))
			zero(in, n, k)
			r.Missing += int64(k)
			n += k
		default:
			k := int(min(int64(room), r.end-at))
			if err := r.unpack(); err != nil {
				r.state, r.end, r.Damaged = inputsCut, at, err
				continue
			}
			zero(in, n, k)
			for j, c := range r.has {
				if c >= len(in) {
					continue
				}
				p, from := r.plain[4*r.frames*j:], int(at-r.frame)
				for i := range k {
					f := from + i
					in[c][n+i] = math.Float32frombits(uint32(p[f]) | uint32(p[r.frames+f])<<8 | uint32(p[2*r.frames+f])<<16 | uint32(p[3*r.frames+f])<<24)
				}
			}
			n += k
		}
	}
	return n, nil
}

func zero(in [][]float32, from, n int) {
	for _, c := range in {
		clear(c[from : from+n])
	}
}

// next reads the next chunk, as it is packed.
func (r *InputsReader) next() {
	le := binary.LittleEndian
	damaged := func(what string) {
		r.state, r.Damaged = inputsCut, fmt.Errorf("what was captured is damaged after frame %d: %s", r.end, what)
	}
	var head [8]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		r.state = inputsCut
		return
	}
	size := int(le.Uint32(head[4:]))
	id := string(head[:4])
	if id != "CHNK" && id != "ENDS" {
		// A file that grew by what was never written is one that was cut.
		if r.state = inputsCut; !bytes.Equal(head[:], make([]byte, 8)) {
			damaged("there is no chunk")
		}
		return
	}
	if size < 12 || size > 5*maxInputs*MaxInputsChunk {
		damaged("its chunk has no size")
		return
	}
	// It grows as it is read: a size that is wrong costs no more than is there.
	b := bytes.NewBuffer(r.body[:0])
	if n, err := io.CopyN(b, r.r, int64(size)); err != nil || n < int64(size) {
		r.state = inputsCut
		return
	}
	r.body = b.Bytes()
	body := r.body[:size-4]
	if le.Uint32(r.body[size-4:]) != crc32.Checksum(body, castagnoli) {
		damaged("its checksum is another")
		return
	}
	frame := int64(le.Uint64(body))
	if frame < r.end || frame > math.MaxInt64/2 {
		damaged(fmt.Sprintf("what follows is of frame %d", frame))
		return
	}
	if id == "ENDS" {
		r.state, r.Missing = inputsOver, r.Missing+frame-r.end
		return
	}
	if len(body) < 14 {
		damaged("its chunk is too short")
		return
	}
	frames, channels := int(le.Uint32(body[8:])), int(le.Uint16(body[12:]))
	if frames < 1 || frames > MaxInputsChunk || channels > maxInputs || len(body) < 14+2*channels {
		damaged(fmt.Sprintf("%d frames of %d channels", frames, channels))
		return
	}
	r.has = r.has[:0]
	for c := range channels {
		r.has = append(r.has, int(le.Uint16(body[14+2*c:])))
	}
	r.frame, r.frames, r.end, r.packed = frame, frames, frame+int64(frames), body[14+2*channels:]
}

// unpack makes the chunk's samples known.
func (r *InputsReader) unpack() error {
	if r.packed == nil {
		return nil
	}
	plain, err := r.dec.DecodeAll(r.packed, r.plain[:0])
	if err == nil && len(plain) != 4*r.frames*len(r.has) {
		err = fmt.Errorf("it has %d bytes for %d frames of %d channels", len(plain), r.frames, len(r.has))
	}
	if err != nil {
		return fmt.Errorf("what was captured is damaged at frame %d: %w", r.frame, err)
	}
	r.plain, r.packed = plain, nil
	return nil
}
