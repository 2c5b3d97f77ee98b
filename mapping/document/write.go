package document

import (
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// WriteWhole makes a file that is there whole or not at all, whatever ends the
// program or the machine: it is written beside its place, synced, renamed, and
// its folder synced. A file that is there keeps its mode, and where it is a
// link what it leads to is written; a new one gets mode, 0600 for what is
// private, less what the umask takes. An error leaves what was there.
func WriteWhole(path string, mode fs.FileMode, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	old, err := os.Stat(path)
	if err != nil {
		old = nil
	} else if !old.Mode().IsRegular() {
		return &fs.PathError{Op: "write", Path: path, Err: errors.New("it is no file")}
	}
	part, err := writePart(path, mode, old, write)
	if err != nil {
		return err
	}
	if err := os.Rename(part, path); err != nil {
		_ = os.Remove(part)
		return err
	}
	syncFolder(path)
	return nil
}

// WriteNew makes a file as WriteWhole does, but never over one that is there:
// that is fs.ErrExist, also of two programs that want the same name at once.
func WriteNew(path string, mode fs.FileMode, write func(io.Writer) error) error {
	part, err := writePart(path, mode, nil, write)
	if err != nil {
		return err
	}
	defer os.Remove(part)
	// A link never replaces anything.
	switch err := os.Link(part, path); {
	case errors.Is(err, fs.ErrExist):
		return err
	case err != nil:
		// The file system has no links: the name is taken first.
		f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Close(), os.Rename(part, path)); err != nil {
			_ = os.Remove(path)
			return err
		}
	}
	syncFolder(path)
	return nil
}

// writePart writes what is to be the file at path into one beside it, which is
// on the disk when it returns. It has the mode of old, nil for a new file.
func writePart(path string, mode fs.FileMode, old fs.FileInfo, write func(io.Writer) error) (part string, err error) {
	var f *os.File
	// os.CreateTemp leaves the umask no say: its files are 0600.
	for range 1000 {
		part = filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+"."+strconv.FormatUint(uint64(rand.Uint32()), 10))
		if f, err = os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_EXCL, mode); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	if old != nil {
		err = f.Chmod(old.Mode().Perm())
	}
	if err := errors.Join(err, write(f), f.Sync(), f.Close()); err != nil {
		_ = os.Remove(part)
		return "", err
	}
	return part, nil
}

// syncFolder puts the name of a file on the disk. Some systems cannot do that
// to a folder; the file itself is there.
func syncFolder(path string) {
	if d, err := os.Open(filepath.Dir(path)); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

// Bytes writes a text with WriteWhole or WriteNew.
func Bytes(text []byte) func(io.Writer) error {
	return func(w io.Writer) error {
		_, err := w.Write(text)
		return err
	}
}
