//go:build !unix

package emulator

import (
	"errors"
	"os"
)

// Terminal would be a pseudo-terminal; this system has none.
type Terminal struct{ *os.File }

// OpenTerminal says that there are no pseudo-terminals here.
func OpenTerminal(string) (*Terminal, error) {
	return nil, errors.New("this system has no pseudo-terminals; emulate over stdin and stdout")
}

// Path returns where the daemon's end is.
func (t *Terminal) Path() string { return "" }
