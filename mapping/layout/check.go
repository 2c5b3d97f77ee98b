package layout

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// Check returns everything that is wrong with where things are, joined: what
// stands out of its page or in the way of another, words that do not fit,
// names that are there twice or not at all. On a sized canvas, which is a phone
// or larger, each target must have the size of a finger.
func (l *Layout) Check(sized bool) error {
	c := &checker{layout: l, sized: sized}
	area := l.Area()
	c.all("bar", Frame{W: l.Width, H: l.BarHeight}, l.Bar)
	names := map[string]bool{}
	for i := range l.Pages {
		p := &l.Pages[i]
		if names[p.Name] {
			c.fault("there are two pages %q", p.Name)
		}
		names[p.Name] = true
		c.all(p.Name, Frame{W: area.W, H: area.H}, p.Widgets)
	}
	return errors.Join(c.faults...)
}

// checker collects faults.
type checker struct {
	layout *Layout
	sized  bool
	faults []error
}

func (c *checker) fault(format string, a ...any) {
	c.faults = append(c.faults, fmt.Errorf("layout: "+format, a...))
}

func (c *checker) all(page string, area Frame, ws []Widget) {
	names := map[string]*Widget{}
	for i := range ws {
		w := &ws[i]
		f := w.Frame
		if names[w.Name] != nil || w.Name == "" {
			c.fault("%s: there are two of %q", page, w.Name)
		}
		names[w.Name] = w
		if !area.Contains(f) || f.W < 1 || f.H < 1 || f.X != math.Floor(f.X) || f.Y != math.Floor(f.Y) || f.W != math.Floor(f.W) || f.H != math.Floor(f.H) {
			c.fault("%s: %s %q at %v, expected whole points inside %v", page, w.Kind, w.Name, f, area)
		}
		if w.Kind.Touch() && c.sized && (f.W < touch-1 || f.H < touch-1) {
			c.fault("%s: %s %q is %g × %g; a finger is %d", page, w.Kind, w.Name, f.W, f.H, touch)
		}
		lines := strings.Split(w.Text, "\n")
		for _, line := range lines {
			if w.Text != "" && textWidth(line, w.Size) > f.W {
				c.fault("%s: %q is %.0f wide and has %.0f", page, line, textWidth(line, w.Size), f.W)
			}
		}
		if w.Text != "" && (w.Size < smallest || w.Size != math.Floor(w.Size) || c.sized && float64(len(lines))*w.Size > f.H+1) {
			c.fault("%s: %q in %g points does not fit in %g", page, w.Text, w.Size, f.H)
		}
		if w.Kind == Jump && (w.Page < 0 || w.Page >= len(c.layout.Pages)) {
			c.fault("%s: %s goes to page %d of %d", page, w.Name, w.Page, len(c.layout.Pages))
		}
	}
	for i := range ws {
		for _, name := range append(ws[i].Shows, ws[i].Tints, ws[i].Lights) {
			if name != "" && names[name] == nil {
				c.fault("%s: %s wants %q, which is not there", page, ws[i].Name, name)
			}
		}
		a := &ws[i]
		if a.Kind == Box {
			continue
		}
		for k := range i {
			b := &ws[k]
			if b.Kind == Box || !a.Frame.Overlaps(b.Frame) {
				continue
			}
			words := a.Kind == Label && b.Kind == Meter && b.Frame.Contains(a.Frame)
			set := a.Kind == Lamp && a.Lights != "" && a.Lights == b.Name && b.Kind == Button && b.Frame.Contains(a.Frame)
			if !words && !set {
				c.fault("%s: %s %q %v is in the way of %s %q %v", page, a.Kind, a.Name, a.Frame, b.Kind, b.Name, b.Frame)
			}
		}
	}
}
