package scenes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	setlistSuffix = ".setlist.yaml"
	// MaxEntries is the most entries of a set list.
	MaxEntries = 512
	// MaxMorph is the longest morph, in seconds.
	MaxMorph = 3600
	// Slots is how many snapshots there is room for.
	Slots   = 16
	maxNote = 500 // characters
)

// SetList is an evening: scenes in the order in which they are played, and how
// each comes in.
type SetList struct {
	// Name and Title are as of a Scene.
	Name, Title string
	Entries     []SetEntry
}

// SetEntry is one scene of a SetList.
type SetEntry struct {
	Scene string
	// Launch is what it waits for; empty is what the scene says.
	Launch mapping.Quantum
	// Crossfade is in seconds, 0 … MaxCrossfade; less than 0 is what the scene
	// says.
	Crossfade float64
	// Morph is how long the way from the scene before takes, in seconds, 0 …
	// MaxMorph; 0 is none. Cut is where on it cables change, 0…1.
	Morph, Cut float64
	// Note is for the player's eyes.
	Note string
}

// DefaultCut is where on a morph cables and switches change where nothing says.
const DefaultCut = 0.5

var (
	setlistFields = []string{"version", "name", "title", "scenes"}
	setEntry      = []string{"scene", "launch", "crossfade", "morph", "cut", "note"}
)

// setReader reads one set list.
type setReader struct{ reader }

// ParseSetList reads a set list; file is its name in errors.
func ParseSetList(file string, data []byte) (*SetList, error) {
	r := &setReader{newReader(file, "set list", Version)}
	l := r.list(data)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return l, nil
}

func (r *setReader) list(data []byte) *SetList {
	_, root := r.Root(data)
	if root == nil {
		return nil
	}
	l := &SetList{}
	fields := r.Fields(root, "a set list", setlistFields)
	if _, ok := document.Find(fields, "name"); !ok {
		r.Node(root, "the set list has no name; expected a name: of lower-case letters, digits and dashes")
	}
	for _, e := range fields {
		switch e.Name {
		case "name":
			var ok bool
			if l.Name, ok = r.Text(e); ok {
				if err := checkName("name", l.Name); err != nil {
					r.Node(e.Value, "%w", err)
				}
			}
		case "title":
			var ok bool
			if l.Title, ok = r.Text(e); ok {
				if err := checkProse("title", l.Title, maxTitle, false); err != nil {
					r.Node(e.Value, "%w", err)
				}
			}
		case "scenes":
			items := r.List(e, 0)
			if len(items) == 0 || len(items) > MaxEntries {
				r.Node(e.Value, "a set list has 1 to %d scenes, this has %d", MaxEntries, len(items))
				continue
			}
			for _, n := range items {
				r.entry(l, n)
			}
		}
	}
	if _, ok := document.Find(fields, "scenes"); !ok {
		r.Node(root, "the set list has no scenes; expected scenes: [{scene: default}, …]")
	}
	if l.Title == "" {
		l.Title = l.Name
	}
	return l
}

// entry reads one scene of the list: a mapping, or its name alone.
func (r *setReader) entry(l *SetList, n *yaml.Node) {
	s := SetEntry{Crossfade: -1, Cut: DefaultCut}
	fields := []document.Entry{document.Item("scene", n)}
	if n.Kind == yaml.MappingNode {
		fields = r.Fields(n, "a scene of a set list", setEntry)
	}
	if _, ok := document.Find(fields, "scene"); !ok {
		r.Node(n, "the entry names no scene; expected scene: and its name")
	}
	for _, e := range fields {
		switch e.Name {
		case "scene":
			var ok bool
			if s.Scene, ok = r.Text(e); ok {
				if err := checkName("scene", s.Scene); err != nil {
					r.Node(e.Value, "%w", err)
				}
			}
		case "launch":
			if w, ok := r.Text(e); ok {
				if err := mapping.Quantum(w).Check(); err != nil {
					r.Node(e.Value, "%w", err)
				}
				s.Launch = mapping.Quantum(w)
			}
		case "crossfade":
			if v, ok := r.Number(e, 0, MaxCrossfade, "seconds"); ok {
				s.Crossfade = v
			}
		case "morph":
			if v, ok := r.Number(e, 0, MaxMorph, "seconds"); ok {
				s.Morph = v
			}
		case "cut":
			if v, ok := r.Number(e, 0, 1, "of the way"); ok {
				s.Cut = v
			}
		case "note":
			var ok bool
			if s.Note, ok = r.Text(e); ok {
				s.Note = strings.TrimRight(s.Note, "\n")
				if err := checkProse("note", s.Note, maxNote, true); err != nil {
					r.Node(e.Value, "%w", err)
				}
			}
		}
	}
	if e, ok := document.Find(fields, "cut"); ok && s.Morph == 0 {
		r.Node(e.Value, "cut is a point of a morph, and the entry has none; expected morph: and its seconds")
	}
	if e, ok := document.Find(fields, "crossfade"); ok && s.Morph > 0 {
		r.Node(e.Value, "a scene that is morphed to is there all the way; leave crossfade out, or morph")
	}
	l.Entries = append(l.Entries, s)
}

// EncodeSetList writes a set list as YAML, from which ParseSetList reads an
// equal one.
func EncodeSetList(l *SetList) ([]byte, error) {
	root := mappingNode()
	put(root, "version", scalar("!!int", fmt.Sprint(Version)))
	put(root, "name", word(l.Name))
	put(root, "title", word(l.Title))
	list := &yaml.Node{Kind: yaml.SequenceNode}
	for _, e := range l.Entries {
		n := mappingNode()
		n.Style = yaml.FlowStyle
		put(n, "scene", word(e.Scene))
		if e.Launch != "" {
			put(n, "launch", word(string(e.Launch)))
		}
		if e.Crossfade >= 0 {
			put(n, "crossfade", number(e.Crossfade))
		}
		if e.Morph > 0 {
			put(n, "morph", number(e.Morph))
			if e.Cut != DefaultCut {
				put(n, "cut", number(e.Cut))
			}
		}
		if e.Note != "" {
			put(n, "note", word(e.Note))
		}
		list.Content = append(list.Content, n)
	}
	put(root, "scenes", list)
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(root), enc.Close()); err != nil {
		return nil, fmt.Errorf("set list %s: %w", l.Name, err)
	}
	if _, err := ParseSetList(l.Name, b.Bytes()); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// SetLists returns every set list of the player, by name.
func (s *Store) SetLists() ([]Entry, error) {
	if s.Dir == "" {
		return nil, nil
	}
	files, err := os.ReadDir(s.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading your set lists: %w", err)
	}
	var all []Entry
	for _, f := range files {
		name, ok := strings.CutSuffix(f.Name(), setlistSuffix)
		if !ok || f.IsDir() {
			continue
		}
		e := Entry{Name: name, Path: filepath.Join(s.Dir, f.Name())}
		l, err := s.OpenSetList(e.Path)
		if e.Err = err; err == nil {
			e.Title = l.Title
		}
		all = append(all, e)
	}
	slices.SortFunc(all, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return all, nil
}

// OpenSetList reads the set list of a name, NAME.setlist.yaml in the player's
// folder, or with a slash or the ending .yaml that at a path.
func (s *Store) OpenSetList(nameOrPath string) (*SetList, error) {
	path := nameOrPath
	if !strings.ContainsAny(nameOrPath, `/\`) && !strings.HasSuffix(nameOrPath, ".yaml") {
		if err := checkName("the name of a set list", nameOrPath); err != nil {
			return nil, err
		}
		path = filepath.Join(s.Dir, nameOrPath+setlistSuffix)
	}
	data, err := document.ReadFile(path, MaxFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, document.Worded(fmt.Sprintf("there is no set list %q; it would be the file %s", document.Clip(nameOrPath), path), ErrNotFound)
	} else if err != nil {
		return nil, fmt.Errorf("set list: %w", err)
	}
	return ParseSetList(path, data)
}

// Check returns what of the list's scenes cannot be read.
func (s *Store) Check(l *SetList) error {
	var errs []error
	for i, e := range l.Entries {
		if _, err := s.Open(e.Scene); err != nil {
			errs = append(errs, fmt.Errorf("scene %d of %s: %w", i+1, l.Name, err))
		}
	}
	return errors.Join(errs...)
}

// SlotName is the scene that a snapshot in a slot, 1 … Slots, is.
func SlotName(slot int) (string, error) {
	if slot < 1 || slot > Slots {
		return "", fmt.Errorf("slot %d: there are slots 1 to %d", slot, Slots)
	}
	return fmt.Sprintf("slot-%d", slot), nil
}

// SlotOf is the slot of a scene of a name, 0 where it is in none.
func SlotOf(name string) int {
	for i := 1; i <= Slots; i++ {
		if n, _ := SlotName(i); n == name {
			return i
		}
	}
	return 0
}

// SetListSchema returns a JSON Schema (draft 2020-12) of set list files.
func SetListSchema() []byte {
	type object = map[string]any
	name := object{"type": "string", "pattern": label.String()}
	between := func(doc string, low, high float64) object {
		return object{"type": "number", "description": doc, "minimum": low, "maximum": high}
	}
	item := object{"type": "object", "additionalProperties": false, "required": []string{"scene"}, "properties": object{
		"scene":     object{"type": "string", "description": "name of the scene", "pattern": label.String()},
		"launch":    object{"type": "string", "description": "what it waits for; missing: what the scene says", "enum": mapping.Quanta},
		"crossfade": between("seconds; missing: what the scene says", 0, MaxCrossfade),
		"morph":     between("seconds of the way from the scene before; 0 is none", 0, MaxMorph),
		"cut":       between("where on the way cables and switches change", 0, 1),
		"note":      object{"type": "string", "description": "for the player's eyes", "maxLength": maxNote},
	}}
	schema := object{
		"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "k8s-synth set list",
		"description": "Scenes in the order in which they are played.", "type": "object", "additionalProperties": false,
		"required": []string{"version", "name", "scenes"},
		"properties": object{
			"version": object{"description": "version of the format", "const": Version},
			"name":    name,
			"title":   object{"type": "string", "description": "one line for people", "maxLength": maxTitle},
			"scenes":  object{"type": "array", "minItems": 1, "maxItems": MaxEntries, "items": object{"anyOf": []any{name, item}}},
		},
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(schema); err != nil {
		panic(fmt.Sprintf("set list schema: %v", err)) // it holds nothing that JSON has not
	}
	return b.Bytes()
}

// Equal tells whether two set lists are the same.
func (l *SetList) Equal(o *SetList) bool {
	return l.Name == o.Name && l.Title == o.Title && slices.EqualFunc(l.Entries, o.Entries, func(a, b SetEntry) bool {
		a.Crossfade, b.Crossfade = math.Max(a.Crossfade, -1), math.Max(b.Crossfade, -1)
		return a == b
	})
}
