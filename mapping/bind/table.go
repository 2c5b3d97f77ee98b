package bind

import (
	"encoding/csv"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Row is one control of a map with what it is bound to.
type Row struct {
	Map     string
	Layer   string
	Control Control
	To      string // as the file has it
	// Leads is what that comes to in the scene, empty where it has none.
	Leads    string
	Range    string
	Mode     string
	Takeover string
	Name     string
}

// Rows returns every control of a map, and, where target is not nil, what it
// leads to in that scene. Scenes are the names of scenes in their order.
func Rows(m *Map, target Target, scenes []string) (rows []Row) {
	var v *view
	if target != nil {
		v = newView(target, scenes)
	}
	add := func(b *Binding, i int, t to) {
		row := Row{Map: m.Name, Control: b.Controls[i], To: t.String(), Layer: "all", Name: b.Name}
		if b.Layer >= 0 {
			row.Layer = fmt.Sprint(b.Layer)
			for _, l := range m.Layers {
				if l.Number == b.Layer && l.Name != "" {
					row.Layer += " " + l.Name
				}
			}
		}
		r := &route{b: b, i: i, ctl: &control{Control: b.Controls[i], phys: &phys{}}, to: t, mode: b.Mode, takeover: b.Takeover}
		if r.takeover == TakeoverDefault {
			if r.takeover = m.Takeover; r.ctl.springs() {
				r.takeover = Jump
			}
		}
		if v == nil {
			row.Mode = b.Mode.String()
		} else if r.aim = v.resolve(t); r.aim.kind != aimNothing {
			r.settle()
			row.Leads, row.Mode = r.aim.describe(), r.mode.String()
			switch r.aim.kind {
			case aimParam:
				row.Range = r.aim.param.Range()
				if len(b.Range) == 2 {
					row.Range = fmt.Sprintf("%g … %g %s", r.scale.low, r.scale.high, r.aim.param.Unit)
				}
			case aimJack:
				row.Range = fmt.Sprintf("%g … %g V", r.scale.low, r.scale.high)
			}
		}
		if v == nil || r.aim.kind != aimNothing && r.mode == Absolute {
			row.Takeover = r.takeover.String()
		}
		rows = append(rows, row)
	}
	for i := range m.Layers {
		l := &m.Layers[i]
		for k := range l.Shift {
			b := &Binding{Controls: l.Shift, Layer: -1, Mode: Momentary, Name: l.Name}
			if l.Latch {
				b.Mode = Toggle
			}
			add(b, k, to{kind: toLayer, n: l.Number})
		}
	}
	for i := range m.Bindings {
		b := &m.Bindings[i]
		for k := range b.Controls {
			add(b, k, b.to[k])
		}
	}
	return rows
}

var rowTitles = []string{"map", "layer", "control", "to", "leads to", "range", "mode", "takeover", "name"}

func (r *Row) cells() []string {
	return []string{r.Map, r.Layer, r.Control.String(), r.To, r.Leads, r.Range, r.Mode, r.Takeover, r.Name}
}

// WriteMarkdown writes rows as a table of Markdown, columns that say nothing
// left out.
func WriteMarkdown(w io.Writer, rows []Row) error {
	return table(rows, func(cells []string, first bool) error {
		for i := range cells {
			cells[i] = strings.ReplaceAll(cells[i], "|", `\|`)
		}
		if _, err := fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | ")); err != nil || !first {
			return err
		}
		_, err := fmt.Fprintf(w, "%s|\n", strings.Repeat("|---", len(cells)))
		return err
	})
}

// WriteCSV writes rows as comma-separated values with a line of titles.
func WriteCSV(w io.Writer, rows []Row) error {
	c := csv.NewWriter(w)
	if err := table(rows, func(cells []string, _ bool) error { return c.Write(cells) }); err != nil {
		return err
	}
	c.Flush()
	return c.Error()
}

func table(rows []Row, write func(cells []string, first bool) error) error {
	said := make([]bool, len(rowTitles))
	for i := range rows {
		for k, c := range rows[i].cells() {
			said[k] = said[k] || c != ""
		}
	}
	line := func(cells []string, first bool) error {
		var kept []string
		for k, c := range cells {
			if said[k] {
				kept = append(kept, c)
			}
		}
		return write(kept, first)
	}
	if err := line(slices.Clone(rowTitles), true); err != nil {
		return err
	}
	for i := range rows {
		if err := line(rows[i].cells(), false); err != nil {
			return err
		}
	}
	return nil
}

// WriteList writes the maps of a library, one a line.
func WriteList(w io.Writer, list []Entry) error {
	width := 0
	for _, e := range list {
		width = max(width, len(e.Name))
	}
	for _, e := range list {
		whence, title := "ships with the instrument", e.Title
		if !e.Shipped {
			whence = e.Path
		}
		if e.Err != nil {
			title, _, _ = strings.Cut(e.Err.Error(), "\n")
		}
		if _, err := fmt.Fprintf(w, "%-*s  %s (%s)\n", width, e.Name, title, whence); err != nil {
			return err
		}
	}
	return nil
}

// Name is what a DAW may call a control.
type Name struct {
	Control Control
	Name    string
}

// Names returns what the controls of a map are called in a scene, for a
// .midnam file: on layer 0, of what leads anywhere.
func Names(m *Map, target Target, scenes []string) (names []Name) {
	seen := map[Control]bool{}
	for _, r := range Rows(m, target, scenes) {
		if r.Leads == "" || r.Control.Kind == OSC || seen[r.Control] || r.Layer != "all" && r.Layer[0] != '0' {
			continue
		}
		seen[r.Control] = true
		// As a panel would print it: web replicas.
		name := r.Leads
		if parts := strings.Split(name, "/"); strings.HasPrefix(name, "/") && len(parts) == 4 {
			name = parts[2] + " " + strings.ReplaceAll(parts[3], "_", " ")
		}
		names = append(names, Name{r.Control, name})
	}
	return names
}
