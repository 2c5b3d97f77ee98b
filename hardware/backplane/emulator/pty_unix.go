//go:build unix

package emulator

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/creack/pty"
	"golang.org/x/term"
)

// Terminal is a pseudo-terminal that takes the place of a panel's USB port.
type Terminal struct {
	*os.File // the panel's end
	other    *os.File
	link     string
}

// OpenTerminal makes a pseudo-terminal whose daemon's end is found at path, by a
// symbolic link; with an empty path, at Path only. A link that was left there is
// replaced, anything else is not.
func OpenTerminal(path string) (*Terminal, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("opening a pseudo-terminal: %w", err)
	}
	t := &Terminal{File: master, other: slave}
	if _, err := term.MakeRaw(int(slave.Fd())); err != nil {
		_ = t.Close()
		return nil, fmt.Errorf("making %s raw: %w", slave.Name(), err)
	}
	if path == "" {
		return t, nil
	}
	if old, err := os.Lstat(path); err == nil && old.Mode()&fs.ModeSymlink == 0 {
		_ = t.Close()
		return nil, fmt.Errorf("%s is there already and no link to a pseudo-terminal; choose another path", path)
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		_ = t.Close()
		return nil, fmt.Errorf("the panel's port: %w", err)
	}
	next := filepath.Join(filepath.Dir(path), fmt.Sprintf(".%s.%d", filepath.Base(path), os.Getpid()))
	if err := os.Symlink(slave.Name(), next); err == nil {
		err = os.Rename(next, path)
		if err == nil {
			t.link = path
			return t, nil
		}
		_ = os.Remove(next)
		_ = t.Close()
		return nil, fmt.Errorf("the panel's port: %w", err)
	} else {
		_ = t.Close()
		return nil, fmt.Errorf("the panel's port: %w", err)
	}
}

// Path returns where the daemon's end is.
func (t *Terminal) Path() string { return t.other.Name() }

// Close unplugs the panel.
func (t *Terminal) Close() error {
	if t.link != "" {
		if to, err := os.Readlink(t.link); err == nil && to == t.other.Name() {
			_ = os.Remove(t.link)
		}
	}
	return errors.Join(t.other.Close(), t.File.Close())
}
