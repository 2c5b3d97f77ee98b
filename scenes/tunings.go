package scenes

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

const (
	// MaxTunings is the most tunings in one scene.
	MaxTunings  = 64
	scaleSuffix = ".scl"
	mapSuffix   = ".kbm"
)

// tuningFields are the fields of a tuning in a scene file, in their order.
var tuningFields = []string{"scl", "kbm"}

// Tuning is a tuning that a scene brings along, as Scala's files describe it.
type Tuning struct {
	SCL string // the text of a .scl file
	KBM string // the text of a .kbm file; empty where 1/1 is C4
}

// compile makes the tuning ready to play. The field is where a mistake is.
func (t Tuning) compile(name string) (tuning *dsp.Tuning, field string, err error) {
	scale, err := dsp.ParseScale([]byte(t.SCL))
	if err != nil {
		return nil, "scl", err
	}
	var keys *dsp.KeyboardMap
	if t.KBM != "" {
		if keys, err = dsp.ParseKeyboardMap([]byte(t.KBM)); err != nil {
			return nil, "kbm", err
		}
	}
	tuning, err = dsp.NewTuning(name, scale, keys)
	return tuning, "scl", err
}

// checkTunings finds the mistakes of the tunings and gives the patch those that
// are good. What was compiled once is not compiled again.
func (s *Scene) checkTunings(check func(string, error)) {
	if maps.Equal(s.Tunings, s.goodTunings) {
		return
	}
	if len(s.Tunings) > MaxTunings {
		check("tunings", fmt.Errorf("the scene has %d tunings; the most is %d", len(s.Tunings), MaxTunings))
		return
	}
	good := true
	s.Patch.Tunings = map[string]*dsp.Tuning{}
	for _, name := range slices.Sorted(maps.Keys(s.Tunings)) {
		if err := checkName("the name of a tuning", name); err != nil {
			check("tunings."+name, err)
			good = false
			continue
		}
		t, field, err := s.Tunings[name].compile(name)
		if err != nil {
			check("tunings."+name+"."+field, err)
			good = false
			continue
		}
		s.Patch.Tunings[name] = t
	}
	s.goodTunings = nil // what the patch has is no longer theirs
	if good {
		s.goodTunings = maps.Clone(s.Tunings)
	}
}

// tunings reads the tunings of a scene.
func (r *sceneReader) readTunings(e document.Entry) {
	r.patched.Tunings = map[string]Tuning{}
	r.tunings = map[string]map[string]document.Entry{}
	for _, one := range r.Entries(e.Value, "tunings") {
		from := map[string]document.Entry{"": one}
		var t Tuning
		read := true
		for _, f := range r.Fields(one.Value, "a tuning", tuningFields) {
			from[f.Name] = f
			var ok bool
			if f.Name == "scl" {
				t.SCL, ok = r.scala(f, scaleSuffix)
			} else {
				t.KBM, ok = r.scala(f, mapSuffix)
			}
			read = read && ok
		}
		if _, ok := from["scl"]; !ok && one.Value.Kind == yaml.MappingNode {
			r.Node(one.Key, "the tuning has no scl: the text of a Scala file, or the name of one beside this file")
			read = false
		}
		if read && one.Value.Kind == yaml.MappingNode {
			r.patched.Tunings[one.Name] = t
			r.tunings[one.Name] = from
		}
	}
}

// scala returns the text of a Scala file: the value itself, or what the file of
// that name beside the scene holds.
func (r *sceneReader) scala(e document.Entry, suffix string) (text string, ok bool) {
	v := e.Value
	if v.Kind != yaml.ScalarNode || document.IsNull(v) || v.Value == "" {
		r.Node(v, "%s is the text of a Scala file, or the name of one beside this file, this is %s", e.Name, document.Describe(v))
		return "", false
	}
	if strings.Contains(v.Value, "\n") || !strings.HasSuffix(v.Value, suffix) {
		return v.Value, true
	}
	if !filepath.IsLocal(v.Value) {
		r.Node(v, "%s names a file beside this one or below, this is %q", e.Name, document.Clip(v.Value))
		return "", false
	}
	data, err := document.ReadFile(filepath.Join(filepath.Dir(r.File), v.Value), MaxFile)
	if err != nil {
		r.Node(v, "%w", err)
		return "", false
	}
	if len(data) > MaxFile {
		r.Node(v, "%s has more than %d bytes", v.Value, MaxFile)
		return "", false
	}
	return string(data), true
}

// tuningFault reports a mistake of a tuning at its place in the file. It tells
// whether the fault is one.
func (r *sceneReader) tuningFault(f fault) bool {
	name, found := strings.CutPrefix(f.path, "tunings.")
	if !found {
		return false
	}
	name, field, _ := strings.Cut(name, ".")
	from := r.tunings[name]
	if e, ok := from[field]; ok && field != "" {
		r.Node(e.Value, "%s: %w", field, f.err)
	} else if e, ok := from[""]; ok {
		r.Node(e.Key, "%w", f.err)
	} else {
		r.Add(1, 1, f.err)
	}
	return true
}

// tuningsYAML writes the tunings with their texts, so that a scene is one file.
func tuningsYAML(all map[string]Tuning) *yaml.Node {
	n := mappingNode()
	for _, name := range slices.Sorted(maps.Keys(all)) {
		t := mappingNode()
		put(t, "scl", word(all[name].SCL))
		if k := all[name].KBM; k != "" {
			put(t, "kbm", word(k))
		}
		put(n, name, t)
	}
	return n
}

func tuningsSchema() map[string]any {
	type object = map[string]any
	text := func(doc string) object {
		return object{"type": "string", "minLength": 1, "description": doc}
	}
	return object{
		"type": "object", "maxProperties": MaxTunings, "description": "tunings that a Quantizer may name", "propertyNames": object{"pattern": label.String()},
		"additionalProperties": object{
			"type": "object", "additionalProperties": false, "required": []string{"scl"},
			"properties": object{
				"scl": text("the text of a Scala scale, or the name of a .scl file beside this one"),
				"kbm": text("the text of a Scala keyboard mapping, or the name of a .kbm file beside this one"),
			},
		},
	}
}
