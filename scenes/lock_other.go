//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd)

package scenes

import (
	"errors"
	"os"
)

// tryLock has no locks here.
func tryLock(*os.File) error { return errors.ErrUnsupported }
