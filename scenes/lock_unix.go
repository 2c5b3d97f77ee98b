//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package scenes

import (
	"errors"
	"os"
	"syscall"
)

// tryLock locks a file for this opening of it alone, or returns errLocked.
func tryLock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case errors.Is(err, syscall.EINTR):
			continue
		case errors.Is(err, syscall.EWOULDBLOCK):
			return errLocked
		}
		return err
	}
}
