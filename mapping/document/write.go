package document

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteWhole makes a file that is there whole or not at all, whatever ends the
// program or the machine: it is written beside its place, synced, renamed, and
// its folder synced. A file that is there keeps its mode, and where it is a
// link what it leads to is written; a new one gets mode, 0600 for what is
// private. An error leaves what was there.
func WriteWhole(path string, mode fs.FileMode, write func(io.Writer) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	if info, err := os.Stat(path); err == nil {
		if !info.Mode().IsRegular() {
			return &fs.PathError{Op: "write", Path: path, Err: errors.New("it is no file")}
		}
		mode = info.Mode().Perm()
	}
	part, err := writePart(path, mode, write)
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
	part, err := writePart(path, mode, write)
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
// on the disk when it returns.
func writePart(path string, mode fs.FileMode, write func(io.Writer) error) (part string, err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return "", err
	}
	if err := errors.Join(write(f), f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
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
