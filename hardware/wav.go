package hardware

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"time"
)

// Format tags of WAVE files (mmreg.h).
const (
	wavePCM        = 1
	waveFloat      = 3
	waveExtensible = 0xFFFE
)

// The tail that all sub-format GUIDs of WAVE_FORMAT_EXTENSIBLE share after their two-byte tag.
var waveGUID = [14]byte{0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71}

// headerEvery is how often a growing file gets a header that tells its length, so that a kill or a
// power cut costs at most that much.
const headerEvery = time.Second

// WAVWriter writes a WAVE file of 32-bit floats as it grows. Up to two channels it is
// WAVE_FORMAT_IEEE_FLOAT, above that WAVE_FORMAT_EXTENSIBLE without speaker positions. Beyond 4 GB
// the file becomes RF64 (EBU Tech 3306), whose header is reserved from the start.
//
// It is not safe for use by several goroutines.
type WAVWriter struct {
	f        *os.File
	w        *bufio.Writer
	rate     int
	channels int
	bytes    uint64
	header   int
	buf      []byte
	inter    []float32
	saved    time.Time
	savedAt  uint64
	limit    uint64 // size of the RIFF chunk above which the file is RF64
	err      error
}

// CreateWAV creates (or truncates) a file for channels channels at rate Hz.
func CreateWAV(path string, rate, channels int) (*WAVWriter, error) {
	return createWAV(path, rate, channels, os.O_TRUNC)
}

// CreateNewWAV creates a file as CreateWAV does, but leaves one that is there alone: the error is
// fs.ErrExist then. What is no file, such as a pipe, is opened and not made.
func CreateNewWAV(path string, rate, channels int) (*WAVWriter, error) {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && !info.IsDir() {
		return createWAV(path, rate, channels, 0)
	}
	return createWAV(path, rate, channels, os.O_EXCL)
}

func createWAV(path string, rate, channels, how int) (*WAVWriter, error) {
	if rate < 1 || rate > 10_000_000 || channels < 1 || channels > 1024 {
		return nil, fmt.Errorf("cannot write %s: %d channels at %d Hz make no WAVE file", path, channels, rate)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|how, 0o666)
	if errors.Is(err, fs.ErrExist) {
		return nil, &thereError{path}
	}
	if err != nil {
		return nil, fmt.Errorf("cannot create the recording: %w", err)
	}
	w := &WAVWriter{f: f, w: bufio.NewWriterSize(f, 1<<18), rate: rate, channels: channels, saved: time.Now(), limit: math.MaxUint32}
	h := w.makeHeader()
	w.header = len(h)
	if _, err = f.Write(h); err != nil {
		f.Close()
		if how == os.O_EXCL {
			_ = os.Remove(path) // nothing is in it, and the next attempt would be refused
		}
		return nil, fmt.Errorf("cannot write %s: %w", path, err)
	}
	return w, nil
}

// thereError says that a file would have been written over.
type thereError struct{ path string }

func (e *thereError) Error() string { return e.path + " is there already; name another file" }
func (e *thereError) Unwrap() error { return fs.ErrExist }

func (w *WAVWriter) makeHeader() []byte {
	le := binary.LittleEndian
	b := make([]byte, 0, 120)
	frames := w.bytes / uint64(4*w.channels)
	b = append(b, "RIFF\x00\x00\x00\x00WAVEJUNK"...)
	b = le.AppendUint32(b, 28)
	b = append(b, make([]byte, 28)...)
	b = append(b, "fmt "...)
	tag, extra := uint16(waveFloat), 0
	if w.channels > 2 {
		tag, extra = waveExtensible, 22
	}
	b = le.AppendUint32(b, uint32(18+extra))
	b = le.AppendUint16(b, tag)
	b = le.AppendUint16(b, uint16(w.channels))
	b = le.AppendUint32(b, uint32(w.rate))
	b = le.AppendUint32(b, uint32(w.rate*w.channels*4))
	b = le.AppendUint16(b, uint16(w.channels*4))
	b = le.AppendUint16(b, 32)
	b = le.AppendUint16(b, uint16(extra))
	if extra > 0 {
		b = le.AppendUint16(b, 32) // valid bits
		b = le.AppendUint32(b, 0)  // no speaker positions: channel n is output n
		b = le.AppendUint16(b, waveFloat)
		b = append(b, waveGUID[:]...)
	}
	b = append(b, "fact"...)
	b = le.AppendUint32(b, 4)
	b = le.AppendUint32(b, uint32(min(frames, math.MaxUint32)))
	b = append(b, "data"...)
	b = le.AppendUint32(b, uint32(min(w.bytes, math.MaxUint32)))

	riff := uint64(len(b)) - 8 + w.bytes
	if riff <= w.limit {
		le.PutUint32(b[4:], uint32(riff))
		return b
	}
	copy(b, "RF64\xff\xff\xff\xff")
	copy(b[12:], "ds64")
	le.PutUint64(b[20:], riff)
	le.PutUint64(b[28:], w.bytes)
	le.PutUint64(b[36:], frames)
	le.PutUint32(b[44:], 0)
	le.PutUint32(b[len(b)-4:], math.MaxUint32)
	le.PutUint32(b[len(b)-12:], math.MaxUint32)
	return b
}

// Write appends interleaved samples, 1.0 being full scale; values beyond it are kept. The number of
// samples must be a multiple of the channels. After an error all later calls return that error.
func (w *WAVWriter) Write(samples []float32) error {
	if w.err != nil {
		return w.err
	}
	if len(samples)%w.channels != 0 {
		return fmt.Errorf("cannot write %d samples: not a whole number of frames of %d channels", len(samples), w.channels)
	}
	if cap(w.buf) < 4*len(samples) {
		w.buf = make([]byte, 4*len(samples))
	}
	b := w.buf[:4*len(samples)]
	for i, v := range samples {
		binary.LittleEndian.PutUint32(b[4*i:], math.Float32bits(v))
	}
	if _, err := w.w.Write(b); err != nil {
		w.err = fmt.Errorf("cannot write %s: %w", w.f.Name(), err)
		return w.err
	}
	w.bytes += uint64(len(b))
	if time.Since(w.saved) >= headerEvery {
		return w.Sync()
	}
	return nil
}

// WritePlanar is Write for one slice a channel, as Renderer.Render fills them, each sample divided by scale (volts at full scale).
func (w *WAVWriter) WritePlanar(out [][]float32, scale float32) error {
	if len(out) != w.channels {
		return fmt.Errorf("cannot write %d channels to a file of %d", len(out), w.channels)
	}
	frames := len(out[0])
	if cap(w.inter) < frames*w.channels {
		w.inter = make([]float32, frames*w.channels)
	}
	inter := w.inter[:frames*w.channels]
	k := 1 / scale // as a device does: what is rendered is to the bit what would be recorded
	for c, s := range out {
		for i, v := range s[:frames] {
			inter[i*w.channels+c] = v * k
		}
	}
	return w.Write(inter)
}

// Sync hands everything written so far to the system, under a header that counts it.
func (w *WAVWriter) Sync() error {
	if w.err != nil {
		return w.err
	}
	err := w.w.Flush()
	if err == nil && (w.savedAt != w.bytes || w.bytes == 0) {
		_, err = w.f.WriteAt(w.makeHeader(), 0)
	}
	if err != nil {
		w.err = fmt.Errorf("cannot write %s: %w", w.f.Name(), err)
	}
	w.saved, w.savedAt = time.Now(), w.bytes
	return w.err
}

// Frames is the number of frames written.
func (w *WAVWriter) Frames() uint64 { return w.bytes / uint64(4*w.channels) }

// Close completes the header and closes the file.
func (w *WAVWriter) Close() error {
	err := w.Sync()
	if w.err == nil {
		w.err = os.ErrClosed
	}
	if e := w.f.Close(); err == nil && e != nil {
		err = fmt.Errorf("cannot close %s: %w", w.f.Name(), e)
	}
	return err
}

// WAV is a sound in memory: one slice a channel, 1.0 being full scale.
type WAV struct {
	Rate     int
	Channels [][]float32
}

// Frames is the length in frames.
func (w *WAV) Frames() int {
	if len(w.Channels) == 0 {
		return 0
	}
	return len(w.Channels[0])
}

// Duration is the length in time.
func (w *WAV) Duration() time.Duration {
	return time.Duration(float64(w.Frames()) / float64(w.Rate) * float64(time.Second))
}

// ReadWAV reads a WAVE or RF64 file of 16, 24 or 32-bit integers or 32-bit floats, whole, into
// memory. A file whose writer was killed is read as far as it goes.
func ReadWAV(path string) (*WAV, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	w, err := decodeWAV(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return w, nil
}

var errNotWAV = errors.New("not a WAVE file")

func decodeWAV(f io.Reader) (*WAV, error) {
	le := binary.LittleEndian
	r := bufio.NewReaderSize(f, 1<<16)
	var head [12]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, errNotWAV
	}
	if id := string(head[:4]); (id != "RIFF" && id != "RF64") || string(head[8:]) != "WAVE" {
		return nil, errNotWAV
	}
	var format, channels, bits, rate int
	var data64 uint64
	for {
		var chunk [8]byte
		if _, err := io.ReadFull(r, chunk[:]); err != nil {
			return nil, fmt.Errorf("%w: it ends before its data chunk", errNotWAV)
		}
		id, size := string(chunk[:4]), uint64(le.Uint32(chunk[4:]))
		switch id {
		case "fmt ", "ds64":
			if size > 1<<16 || size < 16 {
				return nil, fmt.Errorf("%w: its %q chunk has %d bytes", errNotWAV, id, size)
			}
			b := make([]byte, size+size&1)
			if _, err := io.ReadFull(r, b); err != nil {
				return nil, fmt.Errorf("%w: its %q chunk is cut short", errNotWAV, id)
			}
			if id == "ds64" {
				data64 = le.Uint64(b[8:])
				break
			}
			format, channels, rate, bits = int(le.Uint16(b)), int(le.Uint16(b[2:])), int(le.Uint32(b[4:])), int(le.Uint16(b[14:]))
			if format == waveExtensible && size >= 40 {
				format = int(le.Uint16(b[24:]))
			}
		case "data":
			if channels == 0 || rate == 0 {
				return nil, fmt.Errorf("%w: its data comes before its format", errNotWAV)
			}
			if size == math.MaxUint32 && data64 != 0 {
				size = data64
			} else if size == 0 {
				size = math.MaxUint64 // never completed: all that is there
			}
			return decodeSamples(r, size, format, channels, bits, rate)
		default:
			if _, err := io.CopyN(io.Discard, r, int64(size+size&1)); err != nil {
				return nil, fmt.Errorf("%w: its %q chunk is cut short", errNotWAV, id)
			}
		}
	}
}

func decodeSamples(r io.Reader, size uint64, format, channels, bits, rate int) (*WAV, error) {
	var sample func(b []byte) float32
	le := binary.LittleEndian
	switch {
	case format == wavePCM && bits == 16:
		sample = func(b []byte) float32 { return float32(int16(le.Uint16(b))) / (1 << 15) }
	case format == wavePCM && bits == 24:
		sample = func(b []byte) float32 {
			return float32(int32(uint32(b[0])<<8|uint32(b[1])<<16|uint32(b[2])<<24)>>8) / (1 << 23)
		}
	case format == wavePCM && bits == 32:
		sample = func(b []byte) float32 { return float32(float64(int32(le.Uint32(b))) / (1 << 31)) }
	case format == waveFloat && bits == 32:
		sample = func(b []byte) float32 { return math.Float32frombits(le.Uint32(b)) }
	default:
		return nil, fmt.Errorf("format %d with %d bits is not read here: use 16, 24 or 32-bit PCM or 32-bit float", format, bits)
	}
	w := &WAV{Rate: rate, Channels: make([][]float32, channels)}
	step := bits / 8
	frame := make([]byte, step*channels)
	for ; size >= uint64(len(frame)); size -= uint64(len(frame)) {
		if _, err := io.ReadFull(r, frame); err != nil {
			if err == io.EOF || err == io.ErrUnexpectedEOF {
				break
			}
			return nil, err
		}
		for c := range w.Channels {
			w.Channels[c] = append(w.Channels[c], sample(frame[c*step:]))
		}
	}
	return w, nil
}
