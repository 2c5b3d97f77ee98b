package vcv

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Extra is what a file has and a scene has not: unknown modules with their
// data and files, cables to them, colours, numbers, exact positions. It is
// the file itself, with the names that its modules have in the scene; the
// player's programs keep it beside the scene as NAME.vcv.json.
type Extra struct {
	Version int             `json:"version"`
	Names   []ExtraName     `json:"modules"`
	Patch   json.RawMessage `json:"patch"`
	// Files are those of the modules, by their path in the archive.
	Files map[string][]byte `json:"files,omitempty"`
}

// ExtraName says which modules of the scene a module of the file is; an empty
// one is a part of it that was not needed.
type ExtraName struct {
	ID      int64                 `json:"id,string"`
	Modules []instrument.ModuleID `json:"modules"`
}

const extraVersion = 1

func (f *File) extra(r *reading) (*Extra, error) {
	text, err := f.JSON()
	if err != nil {
		return nil, err
	}
	e := &Extra{Version: extraVersion, Patch: text, Files: f.Files, Names: []ExtraName{}}
	for i := range r.mods {
		if t := &r.mods[i]; len(t.parts) > 0 {
			e.Names = append(e.Names, ExtraName{t.m.id, t.parts})
		}
	}
	return e, nil
}

// Write writes it as JSON.
func (e *Extra) Write(w io.Writer) error {
	j := json.NewEncoder(w)
	j.SetEscapeHTML(false)
	j.SetIndent("", " ")
	return j.Encode(e)
}

// ReadExtra reads what Write wrote.
func ReadExtra(r io.Reader) (*Extra, error) {
	data, err := io.ReadAll(io.LimitReader(r, MaxUnpacked+1))
	if err != nil {
		return nil, err
	}
	if len(data) > MaxUnpacked {
		return nil, fmt.Errorf("it is longer than %d MB", MaxUnpacked>>20)
	}
	var e Extra
	if err := json.Unmarshal(data, &e); err != nil {
		return nil, err
	}
	if e.Version != extraVersion {
		return nil, fmt.Errorf("version is %d, expected %d", e.Version, extraVersion)
	}
	return &e, nil
}

// open reads the file that an Extra is, and ties it to its names.
func (e *Extra) open() (*File, *reading, error) {
	f := &File{Files: map[string][]byte{}}
	for name, content := range e.Files {
		clean, err := cleanName(name)
		if err != nil || clean == patchName {
			return nil, nil, fmt.Errorf("there is no file %q in an archive", name)
		}
		f.Files[clean] = content
	}
	var err error
	if len(e.Patch) > MaxPatch {
		return nil, nil, fmt.Errorf("%s is longer than %d MB", patchName, MaxPatch>>20)
	}
	if f.Root, err = parseJSON(e.Patch); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", patchName, err)
	}
	if err := f.read(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", patchName, err)
	}
	names := map[int64][]instrument.ModuleID{}
	for _, n := range e.Names {
		names[n.ID] = n.Modules
	}
	r, err := f.tie(names)
	return f, r, err
}
