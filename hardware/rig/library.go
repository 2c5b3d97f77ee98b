package rig

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// ErrNotFound says that there is no rig or profile of that name.
var ErrNotFound = errors.New("not found")

// Library is the rigs of this machine.
type Library struct {
	// Dir holds them, one file each; it need not be there.
	Dir string
}

// Entry is one rig of a library.
type Entry struct {
	Name, Title, Path string
	Err               error // what is wrong with it
}

const suffix = ".yaml"

// List returns all rigs by name. One that cannot be read is in it with its Err.
func (l Library) List() (all []Entry, err error) {
	files, err := os.ReadDir(l.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("rigs: %w", err)
	}
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), suffix)
		if !ok || f.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		e := Entry{Name: name, Path: l.Path(name)}
		r, err := Load(e.Path)
		if e.Err = err; r != nil {
			e.Title = r.Title
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Path returns where the rig of a name is kept.
func (l Library) Path(name string) string { return filepath.Join(l.Dir, name+suffix) }

// Open reads a rig: the one of that name, or the file at a path, which has a slash or ends in .yaml.
// Where there is none of that name it is ErrNotFound, and says which there are.
func (l Library) Open(name string) (*Rig, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, suffix) {
		return Load(name)
	}
	if jackName.MatchString(name) {
		r, err := Load(l.Path(name))
		if !errors.Is(err, fs.ErrNotExist) {
			return r, err
		}
	}
	var names []string
	list, _ := l.List() // a folder that cannot be read has no names to offer
	for _, e := range list {
		names = append(names, e.Name)
	}
	return nil, fmt.Errorf("rig %q: %w; there are %s%s; \"k8s-synth rig new\" writes one", document.Clip(name), ErrNotFound, cmp.Or(strings.Join(names, ", "), "none"), document.Near(name, names))
}
