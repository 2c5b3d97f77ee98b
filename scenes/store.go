package scenes

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// ErrNotFound says that there is no scene or script of that name.
var ErrNotFound = errors.New("not found")

//go:embed *.yaml
var shipped embed.FS

const (
	sceneSuffix  = ".yaml"
	scriptSuffix = ".script.yaml"
	takeSuffix   = ".take.jsonl"
)

// Store finds scenes and scripts by name: the player's own in a folder, then
// those that ship.
type Store struct {
	// Dir is the folder of the player's own; where it is empty or missing,
	// there are only those that ship.
	Dir string
}

// DefaultDir is where the player's scenes are: k8s-synth/scenes in the user's
// configuration folder, which is $XDG_CONFIG_HOME, else ~/.config, or what the
// system has instead.
func DefaultDir() (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("finding the folder for scenes: %w; set XDG_CONFIG_HOME", err)
	}
	return filepath.Join(dir, "k8s-synth", "scenes"), nil
}

// Entry is one scene or script that a Store has.
type Entry struct {
	// Name is what Open takes.
	Name string
	// Title and About are the file's own; empty where Err is set.
	Title, About string
	// Path is the file's; empty where it ships inside the program.
	Path string
	// Hides tells that a file of the player's has the name of one that ships.
	Hides bool
	// Err is what is wrong with the file.
	Err error
}

// List returns every scene, by name. A file that cannot be read is listed
// with its error.
func (s *Store) List() ([]Entry, error) {
	return s.list(func(n string) bool {
		return strings.HasSuffix(n, sceneSuffix) && !strings.HasSuffix(n, scriptSuffix) && !strings.HasSuffix(n, setlistSuffix)
	}, func(file string, data []byte) (title, about string, err error) {
		sc, err := Parse(file, data)
		if err != nil {
			return "", "", err
		}
		return sc.Title, sc.About, nil
	})
}

// Scripts returns every script and take, by name.
func (s *Store) Scripts() ([]Entry, error) {
	return s.list(func(n string) bool {
		return strings.HasSuffix(n, scriptSuffix) || strings.HasSuffix(n, takeSuffix)
	}, func(file string, data []byte) (title, about string, err error) {
		sc, err := ParseScript(file, data)
		if err != nil {
			return "", "", err
		}
		return sc.Title, sc.About, nil
	})
}

// Open reads the scene of a name, the player's own first. A name with a slash
// or the ending .yaml is the path of a file. Where there is none, the error is
// ErrNotFound and names those that there are.
func (s *Store) Open(nameOrPath string) (*Scene, error) {
	file, data, err := s.read(nameOrPath, "scene", MaxFile, []string{sceneSuffix}, s.List)
	if err != nil {
		return nil, err
	}
	return Parse(file, data)
}

// OpenScript reads the script or take of a name, or at a path, as Open does.
// A path may also end in .jsonl.
func (s *Store) OpenScript(nameOrPath string) (*Script, error) {
	file, data, err := s.read(nameOrPath, "script", MaxTake, []string{scriptSuffix, takeSuffix}, s.Scripts)
	if err != nil {
		return nil, err
	}
	return ParseScript(file, data)
}

func (s *Store) read(nameOrPath, what string, most int, suffixes []string, list func() ([]Entry, error)) (file string, data []byte, err error) {
	if nameOrPath == "" {
		return "", nil, fmt.Errorf("%s: expected a name or the path of a file", what)
	}
	if strings.ContainsAny(nameOrPath, `/\`) || strings.HasSuffix(nameOrPath, ".yaml") || strings.HasSuffix(nameOrPath, ".jsonl") {
		data, err = document.ReadFile(nameOrPath, most)
		if err != nil {
			return "", nil, fmt.Errorf("%s: %w", what, err)
		}
		return nameOrPath, data, nil
	}
	for _, suffix := range suffixes {
		if s.Dir != "" {
			path := filepath.Join(s.Dir, nameOrPath+suffix)
			switch data, err = document.ReadFile(path, most); {
			case err == nil:
				return path, data, nil
			case !errors.Is(err, fs.ErrNotExist):
				return "", nil, fmt.Errorf("%s: %w", what, err)
			}
		}
	}
	for _, suffix := range suffixes {
		if data, err = shipped.ReadFile(nameOrPath + suffix); err == nil {
			return nameOrPath + suffix, data, nil
		}
	}
	var names []string
	if all, err := list(); err == nil {
		for _, e := range all {
			names = append(names, e.Name)
		}
	}
	own := s.Dir
	if own == "" {
		own = "no folder of your own"
	}
	return "", nil, document.Worded(fmt.Sprintf("there is no %s %q; there are %s (looked in %s and among those that ship; for a file give its path, with a slash or its ending)%s",
		what, document.Clip(nameOrPath), strings.Join(names, ", "), own, document.Near(nameOrPath, names)), ErrNotFound)
}

func (s *Store) list(takes func(name string) bool, look func(file string, data []byte) (title, about string, err error)) ([]Entry, error) {
	byName := map[string]Entry{}
	add := func(name, path string, data []byte, err error) {
		e := Entry{Name: bareName(name), Path: path, Err: err}
		if err == nil {
			file := path
			if file == "" {
				file = name
			}
			e.Title, e.About, e.Err = look(file, data)
		}
		was, known := byName[e.Name]
		e.Hides = known && (was.Path == "" || was.Hides)
		byName[e.Name] = e
	}
	files, err := shipped.ReadDir(".")
	if err != nil {
		return nil, fmt.Errorf("reading the scenes that ship: %w", err)
	}
	for _, f := range files {
		if takes(f.Name()) {
			data, err := shipped.ReadFile(f.Name())
			add(f.Name(), "", data, err)
		}
	}
	if s.Dir != "" {
		files, err := os.ReadDir(s.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("reading your scenes: %w", err)
		}
		for _, f := range files {
			if takes(f.Name()) && !f.IsDir() {
				path := filepath.Join(s.Dir, f.Name())
				data, err := document.ReadFile(path, MaxTake)
				add(f.Name(), path, data, err)
			}
		}
	}
	all := make([]Entry, 0, len(byName))
	for _, e := range byName {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// bareName takes the ending off a file's name.
func bareName(file string) string {
	for _, suffix := range []string{scriptSuffix, takeSuffix, sceneSuffix} {
		if n, ok := strings.CutSuffix(file, suffix); ok {
			return n
		}
	}
	return file
}

// unfinished is what document.WriteWhole leaves of a file of the store when it is killed.
var unfinished = regexp.MustCompile(`^\.[-a-z0-9.]+\.yaml\.[0-9]+$`)

// Sweep removes what programs that were killed left half written in the
// player's folder: it was never a scene. What is younger than a minute may be
// another's that is being written.
func (s *Store) Sweep() {
	if s.Dir == "" {
		return
	}
	for _, dir := range []string{s.Dir, filepath.Join(s.Dir, formerDir)} {
		files, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, f := range files {
			if info, err := f.Info(); err == nil && info.Mode().IsRegular() && unfinished.MatchString(f.Name()) && time.Since(info.ModTime()) > time.Minute {
				_ = os.Remove(filepath.Join(dir, f.Name()))
			}
		}
	}
}
