package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
)

const (
	ephemeralPrefix = "k8s-synth-play-"
	// ephemeralLock is locked by the instrument that the directory belongs to.
	// The kernel gives the lock up however that one ends.
	ephemeralLock = "player"
)

// makeEphemeral makes a directory for a cluster that is thrown away, and
// removes those of instruments that were killed. Remove removes it again.
//
// It belongs to this process and not to the control plane's, because it must
// outlive a crash of that one.
func makeEphemeral() (dir string, remove func(), err error) {
	left, _ := filepath.Glob(filepath.Join(os.TempDir(), ephemeralPrefix+"*"))
	for _, dir := range left {
		// Without a lock file it was made a moment ago.
		if f, err := os.OpenFile(filepath.Join(dir, ephemeralLock), os.O_RDWR, 0); err == nil {
			if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil {
				_ = os.RemoveAll(dir)
			}
			f.Close()
		}
	}
	if dir, err = os.MkdirTemp("", ephemeralPrefix); err != nil { // mode 0700
		return "", nil, fmt.Errorf("ephemeral state: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(dir, ephemeralLock), os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err == nil {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return "", nil, fmt.Errorf("ephemeral state: %w", err)
	}
	return dir, func() {
		_ = os.RemoveAll(dir)
		f.Close()
	}, nil
}
