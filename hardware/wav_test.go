package hardware

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// need skips the test when a program is not installed.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Skipf("%s is not installed (apt install pulseaudio pulseaudio-utils jackd2 jack-capture ffmpeg sox)", p)
		}
	}
}

func writeRamp(t testing.TB, path string, channels, frames int) {
	t.Helper()
	w, err := CreateWAV(path, 48000, channels)
	if err != nil {
		t.Fatal(err)
	}
	buf := make([]float32, frames*channels)
	for i := range buf {
		buf[i] = rampValue(uint64(i/channels), i%channels)
	}
	if err := w.Write(buf); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestWAVIsReadByFFmpegAndSoX(t *testing.T) {
	need(t, "ffmpeg", "ffprobe", "sox")
	for _, channels := range []int{1, 2, 3, 8} {
		path := filepath.Join(t.TempDir(), "a.wav")
		writeRamp(t, path, channels, 5000)
		out, err := exec.Command("ffprobe", "-v", "error", "-of", "json", "-show_streams", path).Output()
		if err != nil {
			t.Fatal(err)
		}
		var probe struct {
			Streams []struct {
				CodecName  string `json:"codec_name"`
				SampleRate string `json:"sample_rate"`
				Channels   int
				DurationTS int `json:"duration_ts"`
			}
		}
		if err := json.Unmarshal(out, &probe); err != nil || len(probe.Streams) != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		if s := probe.Streams[0]; s.CodecName != "pcm_f32le" || s.SampleRate != "48000" || s.Channels != channels || s.DurationTS != 5000 {
			t.Errorf("ffprobe, %d channels: %+v", channels, s)
		}
		raw, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-f", "f32le", "-").Output()
		if err != nil {
			t.Fatal(err)
		}
		if len(raw) != 5000*4*channels {
			t.Fatalf("ffmpeg decoded %d bytes", len(raw))
		}
		for i := range len(raw) / 4 {
			if got, want := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:])), rampValue(uint64(i/channels), i%channels); got != want {
				t.Fatalf("ffmpeg, sample %d of %d channels: %g, want %g", i, channels, got, want)
			}
		}
		out, err = exec.Command("sox", "--i", path).CombinedOutput()
		if err != nil || !strings.Contains(string(out), "= 5000 samples") || !strings.Contains(string(out), "32-bit Floating Point") {
			t.Errorf("sox: %v\n%s", err, out)
		}
		// And back: what ffmpeg and SoX write is read here.
		for _, f := range []struct {
			codec string
			bits  float64
		}{{"pcm_s16le", 16}, {"pcm_s24le", 24}, {"pcm_s32le", 32}, {"pcm_f32le", 40}} {
			other := filepath.Join(t.TempDir(), "b.wav")
			if out, err := exec.Command("ffmpeg", "-v", "error", "-i", path, "-c:a", f.codec, other).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			w, err := ReadWAV(other)
			if err != nil {
				t.Fatalf("%s: %v", f.codec, err)
			}
			if len(w.Channels) != channels || w.Frames() != 5000 || w.Rate != 48000 {
				t.Fatalf("%s: %d channels of %d frames", f.codec, len(w.Channels), w.Frames())
			}
			for c, s := range w.Channels {
				for i, got := range s {
					if want := rampValue(uint64(i), c); math.Abs(float64(got-want)) > math.Pow(2, 1-f.bits) {
						t.Fatalf("%s, channel %d, frame %d: %g, want %g", f.codec, c, i, got, want)
					}
				}
			}
		}
	}
}

// A file whose writer is killed must keep all but the last second.
func TestWAVSurvivesAKill(t *testing.T) {
	need(t, "ffprobe")
	path := filepath.Join(t.TempDir(), "a.wav")
	w, err := CreateWAV(path, 48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]float32, 2*480)
	for range 100 {
		if err := w.Write(block); err != nil {
			t.Fatal(err)
		}
	}
	w.saved = time.Now().Add(-2 * headerEvery) // a second has passed
	if err := w.Write(block); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(block); err != nil { // still in the buffer
		t.Fatal(err)
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries", "stream=duration_ts", path).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != fmt.Sprint(101*480) {
		t.Errorf("ffprobe sees %s frames (%v), want %d", got, err, 101*480)
	}
	r, err := ReadWAV(path)
	if err != nil || r.Frames() != 101*480 {
		t.Errorf("%v, %v", r, err)
	}
	w.Close()
	if err := w.Write(block); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a write after Close: %v", err)
	}
}

func TestWAVBecomesRF64(t *testing.T) {
	need(t, "ffmpeg", "ffprobe")
	path := filepath.Join(t.TempDir(), "a.wav")
	w, err := CreateWAV(path, 48000, 8)
	if err != nil {
		t.Fatal(err)
	}
	w.limit = 50_000 // stands for 4 GB
	buf := make([]float32, 8*4000)
	for i := range buf {
		buf[i] = rampValue(uint64(i/8), i%8)
	}
	if err := w.Write(buf); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	head, _ := os.ReadFile(path)
	if !bytes.HasPrefix(head, []byte("RF64\xff\xff\xff\xff")) {
		t.Fatalf("%q", head[:12])
	}
	out, err := exec.Command("ffprobe", "-v", "error", "-of", "csv=p=0", "-show_entries", "stream=duration_ts,channels", path).CombinedOutput()
	if got := strings.TrimSpace(string(out)); err != nil || got != "8,4000" {
		t.Errorf("ffprobe: %q %v", got, err)
	}
	r, err := ReadWAV(path)
	if err != nil || r.Frames() != 4000 || r.Channels[7][3999] != rampValue(3999, 7) {
		t.Errorf("%v", err)
	}
	// And the real border: the header of a file of 6 GB, without writing one.
	w = &WAVWriter{rate: 48000, channels: 8, bytes: 6 << 30, limit: math.MaxUint32}
	h := w.makeHeader()
	if got := binary.LittleEndian.Uint64(h[28:]); string(h[:4]) != "RF64" || got != 6<<30 {
		t.Errorf("%q, %d bytes of data", h[:4], got)
	}
}

func TestReadWAVRejects(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.wav")
	writeRamp(t, good, 2, 10)
	b, _ := os.ReadFile(good)
	cut := func(n int) []byte { return b[:n] }
	bits8 := bytes.Clone(b)
	i := bytes.Index(bits8, []byte("fmt "))
	binary.LittleEndian.PutUint16(bits8[i+22:], 8)
	for name, data := range map[string][]byte{
		"empty": nil, "text": []byte("this is no sound at all"), "cut in the header": cut(30), "cut in the format": cut(60), "8 bits": bits8,
	} {
		p := filepath.Join(dir, "bad.wav")
		if err := os.WriteFile(p, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadWAV(p); err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CreateWAV(filepath.Join(dir, "no", "such", "folder.wav"), 48000, 2); err == nil {
		t.Error("a file in a folder that does not exist")
	}
}

func FuzzDecodeWAV(f *testing.F) {
	dir := f.TempDir()
	for _, c := range []int{1, 3} {
		p := filepath.Join(dir, "a.wav")
		writeRamp(f, p, c, 4)
		b, _ := os.ReadFile(p)
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		w, err := decodeWAV(bytes.NewReader(b))
		if err == nil && w.Frames()*len(w.Channels) > len(b) {
			t.Errorf("%d samples from %d bytes", w.Frames()*len(w.Channels), len(b))
		}
	})
}

func TestRecorderCountsWhatItDrops(t *testing.T) {
	r, err := newRecorder(filepath.Join(t.TempDir(), "a.wav"), 48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	// A writer that stands still: ten seconds arrive at once where five fit.
	r.mu.Lock()
	block := make([]float32, 2*64)
	r.dropped.Store(0)
	for range 48000 * 10 / 64 {
		r.push(block)
	}
	r.mu.Unlock()
	s, err := r.stop()
	if err == nil || s.Dropped == 0 || s.Dropped+s.Frames != 480000 {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestRecorderReportsAFullDisk(t *testing.T) {
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("there is no /dev/full here")
	}
	// Creating it fails at once, since the header is written.
	if _, err := newRecorder("/dev/full", 48000, 2); err == nil {
		t.Error("a recording on a full disk was begun")
	}
}

// A file that is there is left alone by what makes a new one, as a recording
// does; what is no file is written to.
func TestCreateNewWAV(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a.wav")
	if err := os.WriteFile(path, []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, create := range map[string]func() error{
		"a file":      func() error { _, err := CreateNewWAV(path, 48000, 2); return err },
		"a recording": func() error { _, err := newRecorder(path, 48000, 2); return err },
	} {
		if err := create(); !errors.Is(err, fs.ErrExist) || err.Error() != path+" is there already; name another file" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "what was there" {
		t.Errorf("it is %q: %v", data, err)
	}
	w, err := CreateNewWAV(filepath.Join(t.TempDir(), "b.wav"), 48000, 2)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(w.Write(make([]float32, 8)), w.Close()); err != nil {
		t.Error(err)
	}
	if w, err = CreateNewWAV("/dev/null", 48000, 2); err != nil {
		t.Fatal(err)
	}
	if err := w.Write(make([]float32, 8)); err != nil {
		t.Error(err)
	}
	_ = w.Close() // what it says of a device without a length is of no interest
}
