package scenes

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// EncodeModule writes one module of a scene as YAML, as it stands in the
// scene's file.
func EncodeModule(s *Scene, id instrument.ModuleID) ([]byte, error) {
	m := s.Patch.Module(id)
	if m == nil {
		return nil, document.Worded(fmt.Sprintf("scene %s has no module %s", s.Name, id), ErrNotFound)
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(moduleYAML(s, m)), enc.Close()); err != nil {
		return nil, fmt.Errorf("%s: %w", id, err)
	}
	return b.Bytes(), nil
}

// ParseModule reads one module, as EncodeModule writes it, and its place, if it
// has one. Its mistakes name their lines in text.
func ParseModule(text string) (m instrument.Module, at *Place, err error) {
	// It is a scene with one module, a few lines down and columns in.
	const head, in = "version: 1\nname: module\nmodules:\n", 4
	var b strings.Builder
	b.WriteString(head)
	for i, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		if i == 0 {
			b.WriteString("  - ")
		} else if strings.TrimSpace(line) != "" {
			b.WriteString(strings.Repeat(" ", in))
		}
		b.WriteString(line)
		b.WriteByte('\n')
	}
	s, err := Parse("module", []byte(b.String()))
	if err != nil {
		var errs []error
		for _, e := range unjoin(err) {
			var at *document.Error
			if errors.As(e, &at) {
				e = &document.Error{File: at.File, Line: max(at.Line-strings.Count(head, "\n"), 1), Column: max(at.Column-in, 1), Err: at.Err}
			}
			errs = append(errs, e)
		}
		return m, nil, errors.Join(errs...)
	}
	if len(s.Patch.Modules) != 1 {
		return m, nil, errors.New("module:1:1: expected one module, beginning with id: kind/name")
	}
	m = s.Patch.Modules[0]
	if p, ok := s.Places[m.ID]; ok {
		at = &p
	}
	return m, at, nil
}

// Arrange returns where each module of the scene stands: where its file says,
// and for the others where there is room, from the first row on, in rows of at
// most width HP.
func (s *Scene) Arrange(width int) map[instrument.ModuleID]Place {
	places := map[instrument.ModuleID]Place{}
	type span struct{ from, to int }
	rows := map[int][]span{}
	free := func(row, hp, wide int) bool {
		for _, t := range rows[row] {
			if hp < t.to && t.from < hp+wide {
				return false
			}
		}
		return true
	}
	for i := range s.Patch.Modules {
		m := &s.Patch.Modules[i]
		if p, ok := s.Places[m.ID]; ok {
			places[m.ID] = p
			rows[p.Row] = append(rows[p.Row], span{p.HP, p.HP + m.Spec().HP})
		}
	}
	for i := range s.Patch.Modules {
		m := &s.Patch.Modules[i]
		if _, ok := places[m.ID]; ok {
			continue
		}
		wide := m.Spec().HP
	search:
		for row := 0; ; row++ {
			for hp := 0; hp+wide <= max(width, wide); hp++ {
				if free(row, hp, wide) {
					places[m.ID] = Place{row, hp}
					rows[row] = append(rows[row], span{hp, hp + wide})
					break search
				}
			}
		}
	}
	return places
}
