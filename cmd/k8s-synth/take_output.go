package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/k8s-synth/k8s-synth/scenes"
)

// fileOut is a file that is being made: it stands beside the one that was named,
// and takes that one's place when it is whole.
type fileOut struct {
	path, part string
	kept       bool
}

// newOutput makes an empty file beside the one that was named, with a mode as far
// as the user's mask lets it.
func newOutput(path string, mode fs.FileMode) (*fileOut, error) {
	f, err := createBeside(path, mode)
	if err != nil {
		return nil, err
	}
	return &fileOut{path: path, part: f.Name()}, f.Close()
}

// createBeside creates a file that is to take the place of another one.
func createBeside(path string, mode fs.FileMode) (*os.File, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		return nil, fmt.Errorf("%s is a folder; name a file", path)
	}
	for {
		name := fmt.Sprintf(".%s.%08x.part", filepath.Base(path), rand.Uint32())
		f, err := os.OpenFile(filepath.Join(filepath.Dir(path), name), os.O_RDWR|os.O_CREATE|os.O_EXCL, mode)
		if !errors.Is(err, fs.ErrExist) {
			return f, err
		}
	}
}

// keep puts the file into its place; without force only where nothing is there.
func (o *fileOut) keep(force bool) error {
	if err := inPlace(o.part, o.path, force); err != nil {
		return err
	}
	o.kept = true
	return nil
}

// drop takes the file away, unless it was kept.
func (o *fileOut) drop() error {
	if o == nil || o.kept {
		return nil
	}
	return os.Remove(o.part)
}

// inPlace renames a file; without force only where nothing is there. What it holds
// is on the disk before it has its name, and so is the name in the end: a machine
// that fails leaves the old one or the new one, whole.
func inPlace(from, to string, force bool) error {
	if info, err := os.Lstat(to); err == nil {
		if !force {
			return errThere(to)
		}
		// What is replaced keeps its mode, and a link stays one.
		if info.Mode()&fs.ModeSymlink != 0 {
			if real, err := filepath.EvalSymlinks(to); err == nil {
				to = real
				info, err = os.Lstat(to)
				if err != nil {
					return err
				}
			}
		}
		if info.Mode().IsRegular() {
			if err := os.Chmod(from, info.Mode().Perm()); err != nil {
				return err
			}
		}
	}
	if err := syncFile(from); err != nil {
		return err
	}
	if err := os.Rename(from, to); err != nil {
		return err
	}
	return syncFolder(filepath.Dir(to))
}

// syncs is how files and folders get onto the disk; a test looks at their order.
var syncs = (*os.File).Sync

// syncFile waits until what a file holds is on the disk.
func syncFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(syncs(f), f.Close())
}

// syncFolder waits until the names in a folder are on the disk, where the file
// system can tell.
func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	_ = syncs(d)
	return d.Close()
}

// errThere says that a file is there; it is an fs.ErrExist.
type errThere string

func (e errThere) Error() string {
	return string(e) + " is there already; name another file, or --force to replace it"
}

func (e errThere) Is(target error) bool { return target == fs.ErrExist }

// isFolder tells whether a path names a folder, in which files get names by
// themselves: one that is there, or one that is to be.
func isFolder(path string) bool {
	if path != "" && os.IsPathSeparator(path[len(path)-1]) {
		return true
	}
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

// timedName is a name for a file in a folder by a time, of which none is there:
// neither it nor, with one of the endings beside, another part of it.
func timedName(dir string, at time.Time, ending string, beside ...string) string {
	name := filepath.Join(dir, at.Format("2006-01-02T150405"))
	for n := 1; ; n++ {
		path := name + ending
		if n > 1 {
			path = fmt.Sprintf("%s-%d%s", name, n, ending)
		}
		if !slices.ContainsFunc(append([]string{""}, beside...), func(part string) bool {
			_, err := os.Lstat(path + part)
			return err == nil
		}) {
			return path
		}
	}
}

// free tells whether a file may be written.
func free(path string, force bool) error {
	if _, err := os.Lstat(path); err == nil && !force {
		return errThere(path)
	}
	return nil
}

// same tells whether two paths are of one file, or would be.
func same(a, b string) bool {
	x, errX := os.Stat(a)
	y, errY := os.Stat(b)
	if errX == nil && errY == nil {
		return os.SameFile(x, y)
	}
	if errors.Is(errX, fs.ErrNotExist) != errors.Is(errY, fs.ErrNotExist) {
		return false
	}
	return wholePath(a) == wholePath(b)
}

// wholePath is the one name of a file that may not be there yet.
func wholePath(path string) string {
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	if p, err := filepath.Abs(path); err == nil {
		return p
	}
	return filepath.Clean(path)
}

// notItself refuses to write over what is read: the take and what its inputs
// captured.
func notItself(take string, outputs ...string) error {
	for i, out := range outputs {
		if out == "" {
			continue
		}
		if same(take, out) || same(scenes.InputsPath(take), out) {
			return fmt.Errorf("%s is what is read; name another file to write", out)
		}
		for _, other := range outputs[:i] {
			if other != "" && same(other, out) {
				return fmt.Errorf("%s is named twice; name a file for each", out)
			}
		}
	}
	return nil
}
