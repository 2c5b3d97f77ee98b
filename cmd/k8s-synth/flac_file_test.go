package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// pourFLAC writes channels into a FLAC file in pieces of all sizes.
func pourFLAC(t *testing.T, path string, rate int, channels [][]float32) *flacWriter {
	t.Helper()
	w, err := createFLAC(path, rate, len(channels))
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for at := 0; at < len(channels[0]); {
		n := min(1+r.IntN(700), len(channels[0])-at)
		var piece [][]float32
		for _, c := range channels {
			piece = append(piece, c[at:at+n])
		}
		if err := w.WritePlanar(piece, instrument.AudioVolts); err != nil {
			t.Fatal(err)
		}
		at += n
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return w
}

// Out of a decoder that is not ours comes, to the step, what was rendered, in
// every number of channels.
func TestFLACFile(t *testing.T) {
	ffmpeg, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("no ffmpeg, which would decode it")
	}
	type sound struct {
		rate     int
		channels [][]float32
	}
	all := map[string]sound{}
	for name, s := range flacSounds() {
		all[name] = sound{48000, s[:]}
	}
	r := rand.New(rand.NewPCG(3, 4))
	hot := make([]float32, 3*flacBlock+17)
	for i := range hot {
		hot[i] = r.Float32()*14 - 7 // beyond full scale, which is 5 V
	}
	quiet := make([]float32, len(hot))
	for i := range quiet {
		quiet[i] = 1e-6 * float32(math.Sin(float64(i)/9))
	}
	all["one channel at 384 kHz"] = sound{384000, [][]float32{hot}}
	all["three channels"] = sound{44100, [][]float32{hot, quiet, hot}}
	all["eight channels"] = sound{8000, [][]float32{hot, quiet, hot, quiet, hot, quiet, hot, quiet}}
	all["opposite ends"] = sound{48000, [][]float32{make([]float32, flacBlock), make([]float32, flacBlock)}}
	for i := range flacBlock {
		v := float32(9 * (1 - 2*(i%2)))
		all["opposite ends"].channels[0][i], all["opposite ends"].channels[1][i] = v, -v
	}
	for name, s := range all {
		path := filepath.Join(t.TempDir(), "x.flac")
		w := pourFLAC(t, path, s.rate, s.channels)
		var out, said bytes.Buffer
		c := exec.Command(ffmpeg, "-v", "warning", "-err_detect", "crccheck+bitstream+explode", "-i", path, "-f", "s32le", "-c:a", "pcm_s32le", "-")
		c.Stdout, c.Stderr = &out, &said
		if err := c.Run(); err != nil || said.Len() > 0 {
			t.Errorf("%s: %v: %s", name, err, said.Bytes())
			continue
		}
		got := make([]int32, out.Len()/4)
		if _, err := binary.Decode(out.Bytes(), binary.LittleEndian, got); err != nil {
			t.Fatal(err)
		}
		n := len(s.channels)
		if len(got) != n*len(s.channels[0]) {
			t.Errorf("%s: %d samples of %d", name, len(got), n*len(s.channels[0]))
			continue
		}
		cut := uint64(0)
		for i, v := range got {
			x := float64(s.channels[i%n][i/n]*(1/float32(instrument.AudioVolts))) * (1 << 23)
			if math.Abs(math.Round(x)) > 1<<23 {
				cut++
			}
			want := int32(min(max(math.Round(x), -1<<23), 1<<23-1)) << 8
			if v != want {
				t.Errorf("%s: sample %d is %d, want %d", name, i, v>>8, want>>8)
				break
			}
		}
		if w.cut != cut {
			t.Errorf("%s: %d samples are said to be cut off, %d are", name, w.cut, cut)
		}
	}
}

// A file that cannot be written says so at once or at its end, and what is no
// FLAC file is refused.
func TestFLACFileFails(t *testing.T) {
	if _, err := createFLAC(filepath.Join(t.TempDir(), "x.flac"), 48000, 9); err == nil {
		t.Error("nine channels are taken")
	}
	if _, err := createFLAC(filepath.Join(t.TempDir(), "no", "x.flac"), 48000, 2); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a folder that is missing: %v", err)
	}
	if _, err := os.Stat("/dev/full"); err != nil {
		t.Skip("no /dev/full")
	}
	w, err := createFLAC("/dev/full", 48000, 1)
	if err != nil {
		t.Fatal(err)
	}
	noise := make([]float32, flacBlock)
	r := rand.New(rand.NewPCG(5, 6))
	for i := range noise {
		noise[i] = r.Float32()
	}
	for range 1000 {
		if err = w.WritePlanar([][]float32{noise}, 5); err != nil {
			break
		}
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a full disk: %v", err)
	}
	if err := w.Close(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("closing on a full disk: %v", err)
	}
}
