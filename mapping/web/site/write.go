package site

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
)

// sumsFile lists what was written into a folder, as sha256sum prints and
// checks it. By it the next writing knows which files are its own.
const sumsFile = "SHA256SUMS"

// ErrForeign is in the chain of an error about a folder that holds something
// which these pages did not put there.
var ErrForeign = errors.New("it is not of these pages")

// Written is what a writing did.
type Written struct {
	Files, Changed, Removed int
	Bytes                   int64 // of all files
}

// folder is one that pages are written to. Nothing outside of it is touched,
// wherever links in it lead.
type folder struct {
	*os.Root
	was map[string][]string // sums of what was written before, by name
}

// Check tells whether pages can be written to a folder, which it makes. With
// force a folder that holds something else is taken, too.
func Check(dir string, force bool) error {
	f, err := open(dir, force)
	if err != nil {
		return err
	}
	defer f.Close()
	probe := partOf(sumsFile)
	if err := errors.Join(f.WriteFile(probe, nil, 0o644), f.Remove(probe)); err != nil {
		return fmt.Errorf("site: %w", err)
	}
	return nil
}

func open(dir string, force bool) (*folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("site: %w", err)
	}
	f := &folder{root, map[string][]string{}}
	text, err := f.ReadFile(sumsFile)
	switch {
	case err == nil:
		for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
			sum, name, ok := strings.Cut(line, "  ")
			if (!ok || len(sum) != 2*sha256.Size || !fs.ValidPath(name)) && !force {
				f.Close()
				return nil, fmt.Errorf("site: %s:%d: expected a sum and a name, as these pages list their files; name another folder, or add --force", path.Join(dir, sumsFile), i+1)
			}
			f.was[name] = append(f.was[name], sum)
		}
	case !errors.Is(err, fs.ErrNotExist):
		f.Close()
		return nil, fmt.Errorf("site: %w", err)
	case !force:
		entries, err := os.ReadDir(dir)
		if err == nil && len(entries) > 0 {
			err = fmt.Errorf("%s holds %s: %w; name an empty folder, or add --force", dir, entries[0].Name(), ErrForeign)
		}
		if err != nil {
			f.Close()
			return nil, fmt.Errorf("site: %w", err)
		}
	}
	return f, nil
}

// partOf is the name of a file while it is written.
func partOf(name string) string {
	dir, base := path.Split(name)
	return dir + "." + base + ".part"
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// Write writes every file, and more by their names, into a folder, which it
// makes. It takes the folder of earlier pages, and one with files that these
// pages do not have; where it would write over something that it did not write
// itself it writes nothing, unless force is set. Earlier pages that are no
// more are removed, if nobody changed them since; nothing else is. Each file is
// whole at every moment, and one that is as it was is left alone.
func (s *Site) Write(dir string, more map[string][]byte, force bool) (w Written, err error) {
	all := maps.Clone(more)
	if all == nil {
		all = map[string][]byte{}
	}
	for _, n := range s.Names() {
		if all[n], err = s.File(n); err != nil {
			return w, err
		}
	}
	f, err := open(dir, force)
	if err != nil {
		return w, err
	}
	defer f.Close()
	names := slices.Sorted(maps.Keys(all))
	same := map[string]bool{}
	sums := map[string]string{}
	for _, n := range names {
		sums[n] = sum(all[n])
		old, err := f.ReadFile(n)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return w, fmt.Errorf("site: %w", err)
		case sum(old) == sums[n]:
			same[n] = true
		case !slices.Contains(f.was[n], sum(old)) && !force:
			return w, fmt.Errorf("site: %s was changed by somebody else: %w; move it away, or add --force to write over it", path.Join(dir, n), ErrForeign)
		}
	}
	// Until all is written both are ours, what is there and what comes.
	both := maps.Clone(f.was)
	for _, n := range names {
		if !slices.Contains(both[n], sums[n]) {
			both[n] = append(slices.Clone(both[n]), sums[n])
		}
	}
	if err := f.list(both); err != nil {
		return w, err
	}
	for _, n := range names {
		w.Files++
		w.Bytes += int64(len(all[n]))
		if same[n] {
			continue
		}
		if err := f.put(n, all[n]); err != nil {
			return w, err
		}
		w.Changed++
	}
	for _, n := range slices.Sorted(maps.Keys(f.was)) {
		if _, ok := all[n]; ok {
			continue
		}
		if old, err := f.ReadFile(n); err != nil || !slices.Contains(f.was[n], sum(old)) {
			continue
		}
		if err := f.Remove(n); err != nil {
			return w, fmt.Errorf("site: %w", err)
		}
		w.Removed++
		_ = f.Remove(path.Dir(n)) // if nothing is left in it
	}
	now := map[string][]string{}
	for _, n := range names {
		now[n] = []string{sums[n]}
	}
	return w, f.list(now)
}

// list writes the sums.
func (f *folder) list(sums map[string][]string) error {
	var b strings.Builder
	for _, n := range slices.Sorted(maps.Keys(sums)) {
		for _, s := range sums[n] {
			b.WriteString(s + "  " + n + "\n")
		}
	}
	return f.put(sumsFile, []byte(b.String()))
}

// put replaces a file.
func (f *folder) put(name string, text []byte) error {
	if dir := path.Dir(name); dir != "." {
		if err := f.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("site: %w", err)
		}
	}
	p := partOf(name)
	err := f.WriteFile(p, text, 0o644)
	if err == nil {
		err = f.Rename(p, name)
	}
	if err != nil {
		_ = f.Remove(p)
		return fmt.Errorf("site: %w", err)
	}
	return nil
}
