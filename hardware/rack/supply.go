package rack

import (
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

// Version is the version of supply files that this program reads.
const Version = 1

// Ends of a supply file.
const (
	MaxFile    = 1 << 20
	MaxRows    = 32
	MaxHP      = 1024 // of a row
	MaxCurrent = 100_000
	MaxHeaders = 1000
)

// What a supply is taken to have where its file does not say. Builders leave a
// fifth of a supply free: regulators get warm, and capacitors in modules are
// charged at the start. The two figures say the same of a rail whose peak is its
// current; both are estimates.
const (
	DefaultDerate = 0.8
	DefaultInrush = 1.25
)

// Sure is how well a figure is known.
type Sure string

// Degrees of it.
const (
	Vendor    Sure = "vendor"    // the vendor's manual or page
	Measured  Sure = "measured"  // by whoever wrote the file
	Secondary Sure = "secondary" // somebody else tells it
	Estimate  Sure = "estimate"  // nobody does
)

var sureWords = []string{string(Vendor), string(Measured), string(Secondary), string(Estimate)}

// Rail is one voltage of the supply.
type Rail struct {
	// Current is what it gives for good, in mA; 0 where the supply has no such
	// rail.
	Current int
	// Peak is what it gives for the moment of switching on, in mA.
	Peak int
	// Minimum is what it wants to give to be stable, in mA.
	Minimum int
	// Derate is the share of Current that may be in use.
	Derate float64
	Sure   Sure
}

// The rails, as they stand in Supply.Rails and Report.Rails.
const (
	Plus12 = iota
	Minus12
	Plus5
	rails
)

// RailNames are how rails are written.
var RailNames = [rails]string{"+12 V", "−12 V", "+5 V"}

// Supply is a case with its power, or a supply without a case.
type Supply struct {
	Name, Title, About, Source string
	// Rows are the widths of the case's rows in HP, the top one first; none
	// where it is no case.
	Rows     []int
	RowsSure Sure
	// Headers is how many 16-pin headers its bus boards have; 0 is unknown.
	Headers     int
	HeadersSure Sure
	Rails       [rails]Rail
	// Inrush is how many times their running current modules draw as they start.
	Inrush float64
}

// HP returns the width of all rows.
func (s *Supply) HP() (n int) {
	for _, r := range s.Rows {
		n += r
	}
	return n
}

//go:embed supplies/*.yaml
var shipped embed.FS

const suffix = ".yaml"

// ErrNotFound says that there is no supply of that name.
var ErrNotFound = errors.New("not found")

// Library is the supplies that ship, and the player's own.
type Library struct {
	// Dir holds the player's own, which come before those that ship; it need not
	// be there. Empty is none.
	Dir string
}

// Entry is one supply of a library.
type Entry struct {
	Name, Title string
	Path        string // empty where it ships
	Err         error  // what is wrong with it
}

// List returns all supplies by name.
func (l Library) List() ([]Entry, error) {
	by := map[string]Entry{}
	files, err := shipped.ReadDir("supplies")
	if err != nil {
		return nil, fmt.Errorf("supplies: %w", err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(f.Name(), suffix)
		s, err := openShipped(name)
		by[name] = entry(name, "", s, err)
	}
	if l.Dir != "" {
		files, err := os.ReadDir(l.Dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("supplies: %w", err)
		}
		for _, f := range files {
			if name, ok := strings.CutSuffix(f.Name(), suffix); ok && !f.IsDir() && !strings.HasPrefix(name, ".") {
				path := filepath.Join(l.Dir, f.Name())
				s, err := Load(path)
				by[name] = entry(name, path, s, err)
			}
		}
	}
	all := make([]Entry, 0, len(by))
	for _, e := range by {
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

func entry(name, path string, s *Supply, err error) Entry {
	e := Entry{Name: name, Path: path, Err: err}
	if s != nil {
		e.Title = s.Title
	}
	return e
}

// Open reads a supply: the file at a path, which has a slash or ends in .yaml,
// or one of that name, the player's own first. Where there is none it is
// ErrNotFound, and says which there are.
func (l Library) Open(name string) (*Supply, error) {
	if strings.ContainsAny(name, `/\`) || strings.HasSuffix(name, suffix) {
		return Load(name)
	}
	if l.Dir != "" && supplyName.MatchString(name) {
		s, err := Load(filepath.Join(l.Dir, name+suffix))
		if !errors.Is(err, fs.ErrNotExist) {
			return s, err
		}
	}
	s, err := openShipped(name)
	if errors.Is(err, fs.ErrNotExist) {
		var names []string
		list, _ := l.List() // a folder that cannot be read has no names to offer
		for _, e := range list {
			names = append(names, e.Name)
		}
		return nil, fmt.Errorf("supply %q: %w; there are %s%s", document.Clip(name), ErrNotFound, strings.Join(names, ", "), document.Near(name, names))
	}
	return s, err
}

func openShipped(name string) (*Supply, error) {
	data, err := shipped.ReadFile("supplies/" + name + suffix)
	if err != nil {
		return nil, err
	}
	return Parse(name+suffix, data)
}

// Load reads a supply file.
func Load(path string) (*Supply, error) {
	data, err := document.ReadFile(path, MaxFile)
	if err != nil {
		return nil, fmt.Errorf("supply: %w", err)
	}
	return Parse(path, data)
}
