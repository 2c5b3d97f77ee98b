package bind

import (
	"cmp"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// ErrNotFound says that there is no map of that name.
var ErrNotFound = errors.New("not found")

//go:embed maps/*.yaml
var shipped embed.FS

// Library is the maps that ship and those of the player.
type Library struct {
	// Dir holds the player's own maps, which come before those that ship; it
	// need not be there. Empty is none.
	Dir string
}

// Entry is one map of a library.
type Entry struct {
	Name    string
	Title   string
	Path    string // empty of one that ships
	Shipped bool
	Err     error // what is wrong with it
}

const suffix = ".yaml"

// List returns all maps by name, the player's own in place of those that ship
// under the same name. One that cannot be read is in it with its Err.
func (l Library) List() ([]Entry, error) {
	by := map[string]Entry{}
	add := func(name, path string, m *Map, err error) {
		e := Entry{Name: name, Path: path, Shipped: path == "", Err: err}
		if m != nil {
			e.Title = m.Title
		}
		by[name] = e
	}
	files, err := shipped.ReadDir("maps")
	if err != nil {
		return nil, fmt.Errorf("maps: %w", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), suffix)
		m, err := openShipped(name)
		add(name, "", m, err)
	}
	if l.Dir != "" {
		files, err := os.ReadDir(l.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("maps: %w", err)
		}
		for _, f := range files {
			if name, ok := strings.CutSuffix(f.Name(), suffix); ok && !f.IsDir() && !strings.HasPrefix(name, ".") {
				path := filepath.Join(l.Dir, f.Name())
				m, err := Load(path)
				add(name, path, m, err)
			}
		}
	}
	var all []Entry
	for _, e := range by {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return cmp.Compare(a.Name, b.Name) })
	return all, nil
}

// Open reads a map: the player's own of that name, one that ships, or the file
// at a path, which has a slash or ends in .yaml. Where there is none it is
// ErrNotFound, and says which there are.
func (l Library) Open(name string) (*Map, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, suffix) {
		return Load(name)
	}
	if l.Dir != "" && mapName.MatchString(name) {
		m, err := Load(l.Path(name))
		if !errors.Is(err, fs.ErrNotExist) {
			return m, err
		}
	}
	m, err := openShipped(name)
	if errors.Is(err, fs.ErrNotExist) {
		var names []string
		list, _ := l.List() // a folder that cannot be read has no names to offer
		for _, e := range list {
			names = append(names, e.Name)
		}
		return nil, document.Worded(fmt.Sprintf("there is no map %q; there are %s%s", document.Clip(name), strings.Join(names, ", "), document.Near(name, names)), ErrNotFound)
	}
	return m, err
}

// Path returns where the player's own map of a name is kept.
func (l Library) Path(name string) string { return filepath.Join(l.Dir, name+suffix) }

// Validate returns what is wrong with a map, by name or path, or nil.
func (l Library) Validate(name string) error {
	_, err := l.Open(name)
	return err
}

func openShipped(name string) (*Map, error) {
	data, err := shipped.ReadFile("maps/" + name + suffix)
	if err != nil {
		return nil, err
	}
	return Parse(name+suffix, data)
}

// Text returns a map's file as it stands, with its comments.
func (l Library) Text(name string) ([]byte, error) {
	m, err := l.Open(name)
	if err != nil {
		return nil, err
	}
	return m.Encode()
}
