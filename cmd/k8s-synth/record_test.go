package main

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// quiet renders nothing.
type quiet struct{}

func (quiet) Render(out, _ [][]float32) {
	for _, c := range out {
		clear(c)
	}
}

// TestRecordForce: what a recording takes the place of stays until it sounds, and
// what has not begun leaves nothing.
func TestRecordForce(t *testing.T) {
	settings, err := hardware.Settings{Backend: "null", Logger: slog.New(slog.DiscardHandler)}.ApplyDefaults()
	if err != nil {
		t.Fatal(err)
	}
	device, err := hardware.Open(t.Context(), settings, quiet{})
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	dir := t.TempDir()
	path, link := filepath.Join(dir, "a.wav"), filepath.Join(dir, "link.wav")
	const old = "a recording of last night"
	if err := errors.Join(os.WriteFile(path, []byte(old), 0o640), os.Chmod(path, 0o640), os.Symlink("a.wav", link)); err != nil {
		t.Fatal(err)
	}
	is := func(want string) {
		t.Helper()
		if data, err := os.ReadFile(path); err != nil || !strings.HasPrefix(string(data), want) {
			t.Errorf("the file begins with %q, want %q: %v", data[:min(len(data), len(want))], want, err)
		}
	}
	stop := func() {
		t.Helper()
		if _, err := device.StopRecord(); err != nil {
			t.Error(err)
		}
	}
	p := &player{device: device, o: playOptions{record: path}}
	if _, _, err := p.record(); !errors.Is(err, fs.ErrExist) {
		t.Errorf("without force: %v", err)
	}
	is(old)
	p.o.force = true
	_, done, err := p.record()
	if err != nil {
		t.Fatal(err)
	}
	is(old)
	done() // it did not begin
	stop()
	is(old)
	p.o.record = link
	begun, done, err := p.record()
	if err != nil {
		t.Fatal(err)
	}
	is(old)
	if err := begun(); err != nil {
		t.Fatal(err)
	}
	done()
	stop()
	is("RIFF")
	if w, err := hardware.ReadWAV(path); err != nil || len(w.Channels) != 2 {
		t.Errorf("the recording: %v", err)
	}
	info, err := os.Lstat(link)
	if err != nil || info.Mode()&fs.ModeSymlink == 0 {
		t.Errorf("the link is %v: %v", info.Mode(), err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the mode is %v: %v", info.Mode(), err)
	}
	// A new one that does not begin is no recording.
	p.o = playOptions{record: filepath.Join(dir, "new.wav")}
	if _, done, err = p.record(); err != nil {
		t.Fatal(err)
	}
	done()
	stop()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 2 {
		t.Errorf("left: %v, %v", left, err)
	}
}
