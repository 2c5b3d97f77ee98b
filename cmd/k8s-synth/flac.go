package main

import (
	"bufio"
	"crypto/md5"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math"
	"math/bits"
	"os"
)

// flacBlock is how many frames a frame of a FLAC stream has, the last apart.
const flacBlock = 4096

// writeFLAC writes two channels of the same length as a FLAC stream of 16
// bits: fixed predictors and Rice codes (RFC 9639), which for this music is
// half the size of a WAV file and read by every browser. Samples are
// multiplied by scale; 1 is full scale, and what is above it is cut off.
func writeFLAC(w io.Writer, rate int, left, right []float32, scale float32) error {
	n := len(left)
	pcm := [2][]int32{make([]int32, n), make([]int32, n)}
	sum := md5.New()
	raw := make([]byte, 0, 4*n)
	for i := range n {
		for c, v := range [2]float32{left[i], right[i]} {
			s := int32(math.Round(float64(min(max(v*scale, -1), 1)) * 32767))
			pcm[c][i] = s
			raw = binary.LittleEndian.AppendUint16(raw, uint16(s))
		}
	}
	sum.Write(raw)
	if _, err := w.Write(flacHead(rate, 2, 16, uint64(n), sum.Sum(nil))); err != nil {
		return err
	}
	for at, number := 0, uint64(0); at < n; at, number = at+flacBlock, number+1 {
		end := min(at+flacBlock, n)
		if _, err := w.Write(flacFrame(number, 16, pcm[0][at:end], pcm[1][at:end])); err != nil {
			return err
		}
	}
	return nil
}

// flacHead is what a stream begins with: its mark and STREAMINFO. Its length
// does not depend on what is in it.
func flacHead(rate, channels, depth int, frames uint64, sum []byte) []byte {
	var head bitWriter
	head.put(0x664C6143, 32) // fLaC
	head.put(1<<7, 8)        // the last block of metadata: STREAMINFO
	head.put(34, 24)
	head.put(flacBlock, 16)
	head.put(flacBlock, 16)
	head.put(0, 24) // frame sizes are not told
	head.put(0, 24)
	head.put(uint64(rate), 20)
	head.put(uint64(channels-1), 3)
	head.put(uint64(depth-1), 5)
	head.put(frames, 36)
	return append(head.bytes, sum...)
}

// flacWriter writes a FLAC file of 24 bits as it grows: its steps are 144 dB
// below full scale. Its head is complete when it is closed.
//
// It is not safe for use by several goroutines.
type flacWriter struct {
	f      *os.File
	w      *bufio.Writer
	rate   int
	pcm    [][]int32 // the frame that is being filled, a slice a channel
	raw    []byte
	sum    hash.Hash
	frames uint64 // that came
	number uint64 // of the frame that is being filled
	cut    uint64 // samples that were beyond full scale
	err    error
}

const (
	flacDepth    = 24
	flacChannels = 8         // at most
	flacRate     = 1<<20 - 1 // at most
	flacLength   = 1<<36 - 1 // frames at most
	flacFull     = 1 << 23   // full scale
)

// createFLAC creates (or truncates) a file for channels channels at rate Hz.
func createFLAC(path string, rate, channels int) (*flacWriter, error) {
	if rate < 1 || rate > flacRate || channels < 1 || channels > flacChannels {
		return nil, fmt.Errorf("cannot write %s: %d channels at %d Hz make no FLAC file; a WAV file holds them", path, channels, rate)
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	w := &flacWriter{f: f, w: bufio.NewWriterSize(f, 1<<18), rate: rate, pcm: make([][]int32, channels), sum: md5.New()}
	for c := range w.pcm {
		w.pcm[c] = make([]int32, 0, flacBlock)
	}
	if _, err := w.w.Write(flacHead(rate, channels, flacDepth, 0, make([]byte, md5.Size))); err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return w, nil
}

// WritePlanar appends a slice a channel, each sample divided by scale (volts at
// full scale); what is beyond full scale is cut off, and counted. After an error
// all later calls return that error.
func (w *flacWriter) WritePlanar(out [][]float32, scale float32) error {
	if w.err != nil {
		return w.err
	}
	if len(out) != len(w.pcm) {
		return fmt.Errorf("cannot write %d channels to a file of %d", len(out), len(w.pcm))
	}
	k := 1 / scale // as a WAV file is written: the same numbers, rounded
	for i := range out[0] {
		for c, ch := range out {
			v := math.Round(float64(ch[i]*k) * flacFull)
			if math.IsNaN(v) {
				v = 0
			}
			if v > flacFull-1 || v < -flacFull {
				// One step below +1 is as high as it goes, which nobody would call cut off.
				if v > flacFull || v < -flacFull {
					w.cut++
				}
				v = min(max(v, -flacFull), flacFull-1)
			}
			s := int32(v)
			w.pcm[c] = append(w.pcm[c], s)
			w.raw = append(w.raw, byte(s), byte(s>>8), byte(s>>16))
		}
		if len(w.pcm[0]) == flacBlock {
			w.flush()
		}
	}
	w.frames += uint64(len(out[0]))
	if w.err == nil && w.frames > flacLength {
		w.err = fmt.Errorf("cannot write %s: it is longer than a FLAC file can be; a WAV file holds it", w.f.Name())
	}
	return w.err
}

// flush writes the frame that was being filled.
func (w *flacWriter) flush() {
	if w.err != nil || len(w.pcm[0]) == 0 {
		return
	}
	w.sum.Write(w.raw)
	if _, err := w.w.Write(flacFrame(w.number, flacDepth, w.pcm...)); err != nil {
		w.err = fmt.Errorf("cannot write %s: %w", w.f.Name(), err)
	}
	w.number++
	w.raw = w.raw[:0]
	for c := range w.pcm {
		w.pcm[c] = w.pcm[c][:0]
	}
}

// Close completes the head and closes the file. It returns what went wrong,
// even where a call before has said it.
func (w *flacWriter) Close() error {
	w.flush()
	if w.err == nil {
		err := w.w.Flush()
		if err == nil {
			_, err = w.f.WriteAt(flacHead(w.rate, len(w.pcm), flacDepth, w.frames, w.sum.Sum(nil)), 0)
		}
		if err != nil {
			w.err = fmt.Errorf("cannot write %s: %w", w.f.Name(), err)
		}
	}
	err := w.err
	if e := w.f.Close(); err == nil && e != nil {
		err = fmt.Errorf("cannot close %s: %w", w.f.Name(), e)
	}
	if w.err == nil {
		w.err = os.ErrClosed
	}
	return err
}

// flacFrames is how many frames a stream has that writeFLAC wrote.
func flacFrames(stream []byte) int {
	return int(binary.BigEndian.Uint64(stream[18:]) & (1<<36 - 1))
}

// flacFrame encodes one frame of samples of depth bits, 16 or 24, a slice a
// channel; two as left and right or as middle and side, whichever is shorter.
func flacFrame(number uint64, depth uint, pcm ...[]int32) []byte {
	n := len(pcm[0])
	channels, kind := make([]flacSub, len(pcm)), uint64(len(pcm)-1)
	size := 0
	for c := range pcm {
		channels[c] = flacChannel(pcm[c], depth)
		size += channels[c].bits
	}
	if len(pcm) == 2 {
		left, right := pcm[0], pcm[1]
		mid, side := make([]int32, n), make([]int32, n)
		for i := range n {
			mid[i], side[i] = (left[i]+right[i])>>1, left[i]-right[i]
		}
		if m, s := flacChannel(mid, depth), flacChannel(side, depth+1); m.bits+s.bits < size {
			channels, kind = []flacSub{m, s}, 10
		}
	}
	var b bitWriter
	b.put(0b11111111111110, 14)
	b.put(0, 1) // reserved
	b.put(0, 1) // blocks of one size
	if n == flacBlock {
		b.put(12, 4) // 4096
	} else {
		b.put(7, 4) // the size follows, in 16 bits
	}
	b.put(0, 4) // the rate is the stream's
	b.put(kind, 4)
	if depth == 24 {
		b.put(6, 3)
	} else {
		b.put(4, 3) // 16 bits
	}
	b.put(0, 1)
	b.bytes = appendFLACNumber(b.bytes, number)
	if n != flacBlock {
		b.put(uint64(n-1), 16)
	}
	b.put(uint64(crc8(b.bytes)), 8)
	for i := range channels {
		channels[i].write(&b)
	}
	b.align()
	return binary.BigEndian.AppendUint16(b.bytes, crc16(b.bytes))
}

// flacSub is a channel of a frame with the predictor that suits it best.
type flacSub struct {
	samples  []int32
	depth    uint // bits of a sample
	constant bool
	order    int
	residual []int32
	split    uint   // 2^split partitions
	rice     []uint // of each partition
	bits     int
}

// wide tells that Rice parameters have five bits, and not four: those of more
// than 16 bits may be above 14.
func (s *flacSub) wide() bool { return s.depth > 17 }

// flacChannel chooses predictor and partitions.
func flacChannel(x []int32, depth uint) flacSub {
	best := flacSub{samples: x, depth: depth, constant: true, bits: 8 + int(depth)}
	for _, v := range x {
		if v != x[0] {
			best.constant = false
			break
		}
	}
	if best.constant {
		return best
	}
	best.bits = math.MaxInt
	head, most := 4, 14 // of a Rice parameter: its bits, and the highest
	if best.wide() {
		head, most = 5, 30
	}
	residual := append([]int32(nil), x...)
	for order := 0; order <= 4 && order < len(x); order++ {
		if order > 0 {
			// Each order is the difference of the one below it.
			for i := len(residual) - 1; i >= order; i-- {
				residual[i] -= residual[i-1]
			}
		}
		for split := uint(0); split <= 5; split++ {
			if len(x)%(1<<split) != 0 || len(x)>>split <= order {
				break
			}
			total := 8 + order*int(depth) + 6
			rice := make([]uint, 1<<split)
			for p := range rice {
				part := residual[max(order, p*len(x)>>split) : (p+1)*len(x)>>split]
				var sum uint64
				for _, v := range part {
					sum += uint64(zigzag(v))
				}
				k := uint(0)
				if mean := sum / uint64(len(part)); mean > 0 {
					k = uint(min(bits.Len64(mean), most))
				}
				cost := func(k uint) int {
					c := head + len(part)*int(k+1)
					for _, v := range part {
						c += int(zigzag(v) >> k)
					}
					return c
				}
				c := cost(k)
				for k > 0 {
					less := cost(k - 1)
					if less >= c {
						break
					}
					k, c = k-1, less
				}
				rice[p] = k
				total += c
			}
			if total < best.bits {
				best.order, best.split, best.rice, best.bits = order, split, rice, total
				best.residual = append(best.residual[:0], residual...)
			}
		}
	}
	return best
}

func (s *flacSub) write(b *bitWriter) {
	if s.constant {
		b.put(0, 8)
		b.put(uint64(uint32(s.samples[0])), s.depth)
		return
	}
	b.put(uint64(8|s.order)<<1, 8)
	for _, v := range s.samples[:s.order] {
		b.put(uint64(uint32(v)), s.depth)
	}
	head := uint(4)
	if s.wide() {
		head = 5
	}
	b.put(uint64(head-4), 2)
	b.put(uint64(s.split), 4)
	n := len(s.samples)
	for p, k := range s.rice {
		b.put(uint64(k), head)
		for _, v := range s.residual[max(s.order, p*n>>s.split) : (p+1)*n>>s.split] {
			z := zigzag(v)
			for q := z >> k; q > 0; {
				zeros := min(q, 32)
				b.put(0, uint(zeros))
				q -= zeros
			}
			b.put(1, 1)
			b.put(uint64(z), k)
		}
	}
}

// zigzag folds the sign in: 0, −1, 1, −2 … are 0, 1, 2, 3.
func zigzag(v int32) uint32 { return uint32(v)<<1 ^ uint32(v>>31) }

// appendFLACNumber writes the number of a frame as UTF-8 would a character.
func appendFLACNumber(b []byte, n uint64) []byte {
	if n < 0x80 {
		return append(b, byte(n))
	}
	more := (bits.Len64(n) - 2) / 5 // bytes behind the first
	if bits.Len64(n) > 6*more+6-more {
		more++
	}
	b = append(b, byte(0xFF<<(7-more))|byte(n>>(6*more)))
	for i := more - 1; i >= 0; i-- {
		b = append(b, 0x80|byte(n>>(6*i))&0x3F)
	}
	return b
}

// bitWriter puts bits in a row, the highest first.
type bitWriter struct {
	bytes []byte
	hold  uint64
	held  uint
}

// put writes the lowest count bits of v, at most 40.
func (b *bitWriter) put(v uint64, count uint) {
	b.hold = b.hold<<count | v&(1<<count-1)
	for b.held += count; b.held >= 8; b.held -= 8 {
		b.bytes = append(b.bytes, byte(b.hold>>(b.held-8)))
	}
}

// align fills the last byte.
func (b *bitWriter) align() {
	if b.held > 0 {
		b.put(0, 8-b.held)
	}
}

// crc8 is that of a frame's head, crc16 that of a frame.
func crc8(data []byte) (crc uint8) {
	for _, d := range data {
		crc ^= d
		for range 8 {
			crc = crc<<1 ^ 0x07*(crc>>7)
		}
	}
	return crc
}

func crc16(data []byte) (crc uint16) {
	for _, d := range data {
		crc ^= uint16(d) << 8
		for range 8 {
			crc = crc<<1 ^ 0x8005*(crc>>15)
		}
	}
	return crc
}
