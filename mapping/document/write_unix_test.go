//go:build unix

package document

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// TestUmask: it holds for new files, and one that is there keeps its mode.
func TestUmask(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(there, 0o644); err != nil {
		t.Fatal(err)
	}
	defer syscall.Umask(syscall.Umask(0o077))
	whole, exclusive := filepath.Join(dir, "whole"), filepath.Join(dir, "exclusive")
	for _, err := range []error{WriteWhole(there, 0o644, Bytes(nil)), WriteWhole(whole, 0o644, Bytes(nil)), WriteNew(exclusive, 0o644, Bytes(nil))} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]os.FileMode{there: 0o644, whole: 0o600, exclusive: 0o600} {
		if i, err := os.Stat(path); err != nil || i.Mode().Perm() != want {
			t.Errorf("%s: %v, %v, want mode %v", filepath.Base(path), i.Mode().Perm(), err, want)
		}
	}
}
