package faceplate

import (
	"bufio"
	"encoding/xml"
	"fmt"
	"io"
	"math"
	"strings"
)

// Style says how SVG draws a panel.
type Style struct {
	// Rack draws for VCV Rack: a panel without the bodies of its controls, which
	// Rack draws itself; words as paths, no style sheet, and a hidden layer
	// "components" that says what stands where. The panel is HP times 5.08 mm
	// wide, as Rack wants it.
	Rack bool
	// Outlines draws words as paths in a browser too, for a page that is
	// printed or that wants the panel's own font.
	Outlines bool
	// Sheet puts the style sheet into the file, which then stands alone.
	Sheet bool
	// Theme is a class of the svg: Matte, Light, Stage, or none to follow what
	// is around it.
	Theme string
	// ID begins the id of every control, with a dash behind it: the name of a
	// module, where a page shows many. Empty is the kind of the module.
	ID string
}

// pen writes one panel.
type pen struct {
	w     *bufio.Writer
	l     *Layout
	style Style
	dx    float64 // Rack's panel is wider than the real one
}

// SVG draws a panel. The same layout and style give the same bytes.
func SVG(w io.Writer, l *Layout, style Style) error {
	if style.ID == "" {
		style.ID = l.Kind
	}
	p := &pen{w: bufio.NewWriter(w), l: l, style: style}
	width := l.Width
	if style.Rack {
		width = float64(l.HP) * Pitch
		p.dx = math.Round((width-l.Width)/2*1000) / 1000
	}
	attrs := ""
	if style.Rack {
		attrs = ` xmlns:inkscape="http://www.inkscape.org/namespaces/inkscape"`
	} else {
		class := "fp fp-" + l.Family
		if style.Theme != "" {
			class += " " + style.Theme
		}
		attrs = ` class="` + class + `" data-kind="` + l.Kind + `" id="` + escape(style.ID) + `"`
	}
	p.put("<svg xmlns=\"http://www.w3.org/2000/svg\"%s width=\"%smm\" height=\"%smm\" viewBox=\"0 0 %s %s\">\n", attrs, mm(width), mm(l.Height), mm(width), mm(l.Height))
	if !style.Rack && style.Sheet {
		p.put("<style>\n%s</style>\n", CSS())
	}
	p.panel(width)
	for i := range l.Words {
		p.word(&l.Words[i])
	}
	for _, n := range l.Lines {
		p.path("link", "M"+p.at(n.X1, n.Y1)+"L"+p.at(n.X2, n.Y2), "")
	}
	for i := range l.Controls {
		p.control(&l.Controls[i])
	}
	if style.Rack {
		p.components()
	}
	p.put("</svg>\n")
	return p.w.Flush()
}

func (p *pen) put(format string, a ...any) { fmt.Fprintf(p.w, format, a...) }

func (p *pen) at(x, y float64) string { return mm(x+p.dx) + " " + mm(y) }

func escape(s string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(s))
	return b.String()
}

// colour resolves a name of the palette for a file without a style sheet.
func (p *pen) colour(name string) string {
	if name == "accent" {
		return FamilyColour(p.l.Family)
	}
	return matte[name]
}

// role returns the attributes that paint a shape.
func (p *pen) role(name, extra string) string {
	if !p.style.Rack {
		return ` class="` + name + extra + `"` + paints[name].more
	}
	q := paints[name]
	s := ` fill="none"`
	if q.fill != "" {
		s = ` fill="` + p.colour(q.fill) + `"`
	}
	if q.stroke != "" {
		s += ` stroke="` + p.colour(q.stroke) + `" stroke-width="` + mm(q.width) + `"`
	}
	return s + q.more
}

func (p *pen) path(role, d, extra string) { p.put("<path%s d=\"%s\"/>\n", p.role(role, extra), d) }

func (p *pen) rect(role string, b Box, r float64) {
	round := ""
	if r > 0 {
		round = ` rx="` + mm(r) + `"`
	}
	p.put("<rect%s x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"%s/>\n", p.role(role, ""), mm(b.X+p.dx), mm(b.Y), mm(b.W), mm(b.H), round)
}

func (p *pen) disc(role string, x, y, r float64) {
	p.put("<circle%s cx=\"%s\" cy=\"%s\" r=\"%s\"/>\n", p.role(role, ""), mm(x+p.dx), mm(y), mm(r))
}

// panel draws what lies under everything.
func (p *pen) panel(width float64) {
	l := p.l
	if p.style.Rack {
		p.put("<rect%s x=\"0\" y=\"0\" width=\"%s\" height=\"%s\"/>\n", p.role("panel", ""), mm(width), mm(l.Height))
	} else {
		p.rect("panel", Box{0.15, 0.15, l.Width - 0.3, l.Height - 0.3}, 0.5)
		for _, h := range l.Holes {
			p.rect("screw", h, h.H/2)
		}
	}
	p.path("accent", "M"+p.at(2.6, 12.6)+"L"+p.at(l.Width-2.6, 12.6), "")
	p.icon("frame", "icon", l.Icon)
	if l.Art != nil {
		p.icon("art-frame", "art", *l.Art)
	}
	if b := l.Inputs; b != nil {
		mid, gap := l.Width/2, TextWidth("IN", 1.6, Bold, track("zone"))/2+1.2
		p.path("line", "M"+p.at(b.X, b.Y)+"L"+p.at(mid-gap, b.Y)+"M"+p.at(mid+gap, b.Y)+"L"+p.at(b.X+b.W, b.Y), "")
	}
	if b := l.Outputs; b != nil {
		p.rect("plate", *b, 1.4)
	}
	if w := p.find("maker"); w != nil {
		y := w.Y - w.Size*0.33
		for _, side := range []float64{-1, 1} {
			x := l.Width/2 + side*(w.Width/2+1.5)
			if end := l.Width/2 + side*math.Min(l.Width/2-2.6, w.Width/2+9); math.Abs(end-x) > 0.8 && side*(end-x) > 0 {
				p.path("accent", "M"+p.at(x, y)+"L"+p.at(end, y), "")
			}
		}
	}
}

func (p *pen) find(role string) *Word {
	for i := range p.l.Words {
		if p.l.Words[i].Role == role {
			return &p.l.Words[i]
		}
	}
	return nil
}

// icon draws the heptagon and what is in it, into a box.
func (p *pen) icon(frame, role string, b Box) {
	x, y, r := b.X+b.W/2, b.Y+b.H/2, b.W/2
	p.path(frame, heptagon(x+p.dx, y+r*0.03, r), "")
	scale := b.W / 24 * 0.94
	q := paints[role]
	width := q.width / scale
	attrs := ` class="` + role + `" style="stroke-width:` + mm(width) + `"`
	if p.style.Rack {
		attrs = ` fill="none" stroke="` + p.colour(q.stroke) + `" stroke-width="` + mm(width) + `"`
	}
	p.put("<path%s%s transform=\"translate(%s) scale(%s)\" d=\"%s\"/>\n", attrs, q.more, mm(x+p.dx-12*scale)+" "+mm(y-12*scale), mm(scale), icon(p.l.Kind))
}

func (p *pen) word(w *Word) {
	role := w.Role
	if w.Zone == "outputs" {
		role = "on-plate"
		if w.Role == "zone" {
			role = "dim-plate"
		}
	}
	x := w.X
	if p.style.Rack || p.style.Outlines {
		if !w.Left {
			x -= w.Width / 2
		}
		p.path(role, outline(w.Text, x+p.dx, w.Y, w.Size, weight(w.Role), track(w.Role)), "")
		return
	}
	anchor := ` text-anchor="middle"`
	if w.Left {
		anchor = ""
	}
	spacing := ""
	if t := track(w.Role); t > 0 {
		// The last letter has its space too, which the middle is not to see.
		spacing = ` letter-spacing="` + mm(t*w.Size) + `"`
		if !w.Left {
			x += t * w.Size / 2
		}
	}
	length := w.Width
	if spacing != "" {
		length += track(w.Role) * w.Size
	}
	p.put("<text class=\"%s\"%s x=\"%s\" y=\"%s\" font-size=\"%s\"%s textLength=\"%s\" lengthAdjust=\"spacingAndGlyphs\">%s</text>\n",
		role, anchor, mm(x), mm(w.Y), mm(w.Size), spacing, mm(length), escape(w.Text))
}

// Turn is how far a knob turns from its middle to an end, in degrees.
const Turn = 140

// dial draws the scale around a knob of radius r at 0, 0 of a group.
func dial(x, y, r float64, n int) string {
	var d strings.Builder
	for i := range n {
		a := (-Turn + 2*Turn*float64(i)/float64(n-1)) * math.Pi / 180
		in, out := r-0.75, r-0.15
		if i == 0 || i == n-1 || n%2 == 1 && i == n/2 {
			in -= 0.15
		}
		s, c := math.Sin(a), -math.Cos(a)
		d.WriteString("M" + mm(x+in*s) + " " + mm(y+in*c) + "L" + mm(x+out*s) + " " + mm(y+out*c))
	}
	return d.String()
}

// control draws one control; for Rack, only what is printed around it.
func (p *pen) control(c *Control) {
	if p.style.Rack {
		p.printed(c)
		return
	}
	ref := ""
	switch c.Part {
	case Input, Button:
		ref = "input"
	case Output, LED, Bargraph:
		ref = "output"
	case Screen:
		ref = "screen"
	default:
		ref = "param"
	}
	with := ""
	if c.With != "" {
		with = ` data-with="` + c.With + `"`
	}
	p.put("<g id=\"%s-%s\" class=\"control %s\" data-part=\"%s\" data-%s=\"%s\"%s transform=\"translate(%s %s)\">\n", escape(p.style.ID), c.ID, c.Part, c.Part, ref, c.Name, with, mm(c.X), mm(c.Y))
	r := c.W / 2
	switch c.Part {
	case Knob:
		p.knob(c, 0, r)
	case Trimmer:
		p.path("ticks", dial(0, 0, r+0.35, 3), "")
		p.disc("nut", 0, 0, r-0.6)
		p.put("<g class=\"turn\" transform=\"rotate(%s)\">", mm(angle(c)))
		p.path("slot", "M0 "+mm(r*0.45)+"L0 "+mm(-r*0.5), "")
		p.put("</g>\n")
	case Selector:
		const window = 3
		d := c.H - window - 0.3
		p.knob(c, -c.H/2+d/2, d/2)
		p.rect("glass", Box{-r, c.H/2 - window, c.W, window}, 0.4)
		p.value(c, c.Choices[min(int(c.Value), len(c.Choices)-1)], 0, c.H/2-0.95, 1.9, c.W-0.8, true)
	case Toggle:
		p.disc("nut", 0, 0, 1.5)
		p.disc("bush", 0, 0, 0.95)
		up := -1 + 2*c.At(c.Value)
		p.put("<g class=\"throw\" transform=\"translate(0 %s)\">", mm(-up*(c.H/2-0.95)))
		p.disc("lever", 0, 0, 0.9)
		p.put("</g>\n")
	case Display, Counter:
		p.rect("glass", Box{-r, -c.H / 2, c.W, c.H}, 0.6)
		text := c.Text
		if c.Part == Counter {
			text = fmt.Sprintf("%g", c.Value)
		}
		p.value(c, text, -r+1.1, 0.8, 2.3, c.W-2.2, false)
	case Button:
		p.disc("nut", 0, 0, r)
		p.disc("push", 0, 0, r-0.75)
	case Bargraph:
		p.rect("glass", Box{-r, -c.H / 2, c.W, c.H}, 0.5)
		const n = 16
		step := (c.W - 1.2) / n
		for i := range n {
			p.rect("segment", Box{-r + 0.6 + step*float64(i) + 0.15, -c.H/2 + 0.8, step - 0.3, c.H - 1.6}, 0.2)
		}
	case Screen:
		p.rect("glass", Box{-r, -c.H / 2, c.W, c.H}, 1)
		var d strings.Builder
		for i := 1; i < 10; i++ {
			x := -r + c.W*float64(i)/10
			d.WriteString("M" + mm(x) + " " + mm(-c.H/2+0.6) + "L" + mm(x) + " " + mm(c.H/2-0.6))
		}
		for i := 1; i < 8; i++ {
			y := -c.H/2 + c.H*float64(i)/8
			d.WriteString("M" + mm(-r+0.6) + " " + mm(y) + "L" + mm(r-0.6) + " " + mm(y))
		}
		p.path("grid", d.String(), "")
	case LED:
		p.disc("led", 0, 0, r)
	case Input, Output:
		p.disc("nut", 0, 0, r-0.1)
		p.put("<circle class=\"signal fp-%s\" r=\"%s\"/>\n", signalClass(c.Signal), mm(r-1.1))
		p.disc("bush", 0, 0, 2.35)
		p.disc("hole", 0, 0, 1.75)
	}
	p.put("</g>\n")
}

func angle(c *Control) float64 { return -Turn + 2*Turn*c.At(c.Value) }

// knob draws a knob of radius r, its scale included, at a height of its group.
func (p *pen) knob(c *Control, y, r float64) {
	n := 11
	switch {
	case len(c.Choices) > 0:
		n = min(len(c.Choices), 21)
	case r < 4.2:
		n = 3
	case r < 5.2:
		n = 7
	}
	p.path("ticks", dial(0, y, r, n), "")
	cap := r - 1.1
	p.disc("skirt", 0, y, cap)
	p.disc("cap", 0, y, cap*0.74)
	p.put("<g class=\"turn\" transform=\"translate(0 %s) rotate(%s)\">", mm(y), mm(angle(c)))
	p.path("pointer", "M0 "+mm(-cap*0.38)+"L0 "+mm(-cap+0.35), "")
	p.put("</g>\n")
}

// value prints what a window shows; the browser puts other text in.
func (p *pen) value(c *Control, text string, x, y, size, room float64, middle bool) {
	anchor := ""
	if middle {
		anchor = ` text-anchor="middle"`
	}
	// A letter of a fixed width is 0.6 em wide.
	if most := int(room / (0.6 * size)); len([]rune(text)) > most {
		text = string([]rune(text)[:max(0, most)])
	}
	p.put("<text class=\"value\"%s x=\"%s\" y=\"%s\" font-size=\"%s\">%s</text>\n", anchor, mm(x), mm(y), mm(size), escape(text))
}

// printed draws on the panel itself what surrounds a control.
func (p *pen) printed(c *Control) {
	r := c.W / 2
	switch c.Part {
	case Knob:
		n := 11
		if r < 5.2 {
			n = 7
		}
		p.path("ticks", dial(c.X+p.dx, c.Y, r, n), "")
	case Trimmer:
		p.path("ticks", dial(c.X+p.dx, c.Y, r+0.35, 3), "")
	case Selector:
		d := c.H - 3.3
		p.path("ticks", dial(c.X+p.dx, c.Y-c.H/2+d/2, d/2, min(len(c.Choices), 21)), "")
		p.rect("glass", Box{c.X - r, c.Y + c.H/2 - 3, c.W, 3}, 0.4)
	case Display, Counter, Bargraph, Screen:
		p.rect("glass", Box{c.X - r, c.Y - c.H/2, c.W, c.H}, 0.6)
	case Input, Output:
		p.put("<circle fill=\"none\" stroke=\"%s\" stroke-width=\"0.5\" cx=\"%s\" cy=\"%s\" r=\"%s\"/>\n", SignalColour(c.Signal), mm(c.X+p.dx), mm(c.Y), mm(r+0.25))
	}
}

// components is the layer that Rack's helper reads: a disc for what is placed
// by its middle, a rectangle for what has a size, with the name as its label.
func (p *pen) components() {
	p.put("<g inkscape:groupmode=\"layer\" inkscape:label=\"components\" id=\"components\" style=\"display:none\">\n")
	for i := range p.l.Controls {
		c := &p.l.Controls[i]
		name, colour, size := strings.ToUpper(c.Name), "", false
		switch c.Part {
		case Knob, Trimmer, Toggle, Selector:
			colour = "ff0000"
		case Button:
			name, colour = name+"_BUTTON", "ff0000"
		case Input:
			colour = "00ff00"
		case Output:
			colour = "0000ff"
		case LED:
			colour = "ff00ff"
		default:
			colour, size = "ffff00", true
			if c.Part == Bargraph {
				name += "_BAR"
			}
		}
		// Old helpers read the id as the name, new ones the label.
		id := name
		if c.Part == LED {
			id += "_LED"
		}
		if size {
			p.put("<rect id=\"%s\" inkscape:label=\"%s\" style=\"fill:#%s;stroke:none\" x=\"%s\" y=\"%s\" width=\"%s\" height=\"%s\"/>\n", id, name, colour, mm(c.X-c.W/2+p.dx), mm(c.Y-c.H/2), mm(c.W), mm(c.H))
			continue
		}
		y := c.Y
		if c.Part == Selector {
			y = c.Y - c.H/2 + (c.H-3.3)/2
		}
		p.put("<circle id=\"%s\" inkscape:label=\"%s\" style=\"fill:#%s;stroke:none\" cx=\"%s\" cy=\"%s\" r=\"%s\"/>\n", id, name, colour, mm(c.X+p.dx), mm(y), mm(1))
	}
	p.put("</g>\n")
}
