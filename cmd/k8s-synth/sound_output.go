package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/k8s-synth/k8s-synth/hardware"
)

// soundFile is a file of sound that is being written.
type soundFile interface {
	WritePlanar(out [][]float32, scale float32) error
	Close() error
}

// ending is the ending of a file's name, without regard to capitals.
func ending(path string) string { return strings.ToLower(filepath.Ext(path)) }

// isWAV tells whether a file is to be a WAV file; one without an ending is.
func isWAV(path string) bool {
	switch ending(path) {
	case "", ".wav", ".wave":
		return true
	}
	return false
}

// checkSound finds files that no sound can be written to as their name says.
func checkSound(flag, path string) error {
	if isWAV(path) || ending(path) == ".flac" {
		return nil
	}
	return fmt.Errorf("%s writes WAV and FLAC files; name one that ends in .wav or .flac, not %q", flag, path)
}

// createSound creates a file of sound at path, in the form that the ending of
// named says: floats of 32 bits in a WAV file, 24 bits in a FLAC file.
func createSound(named, path string, rate, channels int) (soundFile, error) {
	if ending(named) == ".flac" {
		return createFLAC(path, rate, channels)
	}
	return hardware.CreateWAV(path, rate, channels)
}

// placeFor finds places where no file can be put: a folder, a device, or where
// there is no folder for it.
func placeFor(path string) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s is a folder; name a file", path)
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%s is a device or a pipe; name a file", path)
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	dir := filepath.Dir(path)
	info, err = os.Stat(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: there is no folder %s", path, dir)
	case err == nil && !info.IsDir():
		return fmt.Errorf("%s: %s is no folder", path, dir)
	}
	return err
}
