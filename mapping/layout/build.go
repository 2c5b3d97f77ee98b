package layout

import (
	"fmt"
	"math"
	"slices"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// measures are the sizes that a page is made with, in points.
type measures struct {
	unitW, unitH float64 // the smallest cell of a control
	maxW, maxH   float64 // the largest
	small        float64 // height of a lamp, a meter or a word
	gap, margin  float64
	title        float64 // of a panel
	caption      float64 // type over a control
	value        float64 // type of what it says
	bar, tabs    float64
	button       float64 // the smallest button
}

// touch is the smallest side of what a finger should hit, in points.
const touch = 44

func measure(w, h float64) measures {
	if min(w, h) >= 600 {
		return measures{unitW: 78, unitH: 102, maxW: 176, maxH: 260, small: 28, gap: 6, margin: 8, title: 34, caption: 12, value: 15, bar: 56, tabs: 44, button: 60}
	}
	return measures{unitW: 72, unitH: 86, maxW: 150, maxH: 150, small: 24, gap: 4, margin: 2, title: 22, caption: 10, value: 12, bar: 46, tabs: touch, button: 46}
}

// builder makes a Layout.
type builder struct {
	measures
	patch  *instrument.Patch
	layout *Layout
	area   Frame // of a page, from its own top left
	wired  map[instrument.JackRef]bool
}

// sheet is a page that is being filled.
type sheet struct {
	*builder
	page *Page
}

func (s *sheet) add(w Widget) { s.page.Widgets = append(s.page.Widgets, w) }

// Build makes the surface of a patch; name is the scene's. Modules of a kind
// that there is not are left out.
func Build(p *instrument.Patch, name string, o Options) (*Layout, error) {
	o, err := o.normal()
	if err != nil {
		return nil, fmt.Errorf("layout: %w", err)
	}
	b := &builder{measures: measure(o.Width, o.Height), patch: p, wired: map[instrument.JackRef]bool{},
		layout: &Layout{Name: name, Width: o.Width, Height: o.Height, options: o}}
	for _, c := range p.Cables {
		b.wired[c.To] = true
	}
	b.layout.BarHeight = b.bar
	b.area = b.inner()
	b.pages()
	if n := float64(len(b.layout.Pages)); o.Height >= 600 && o.Width/n >= b.tabWidth() {
		// There is room for a tab for each page: once more, with less below them.
		b.layout.TabHeight = b.tabs
		b.area, b.layout.Pages = b.inner(), nil
		b.pages()
		if o.Width/float64(len(b.layout.Pages)) < b.tabWidth() {
			b.layout.TabHeight = 0
			b.area, b.layout.Pages = b.inner(), nil
			b.pages()
		}
	}
	b.fillBar()
	if o.MIDI != NoMIDI {
		b.layout.assignControllers()
	}
	return b.layout, nil
}

// tabWidth is the least that the words on a tab take.
func (b *builder) tabWidth() float64 { return 56 }

func (b *builder) inner() Frame {
	a := b.layout.Area()
	return Frame{W: a.W, H: a.H}
}

// pages fills all pages.
func (b *builder) pages() {
	b.play()
	b.pods()
	for _, spec := range instrument.Specs() {
		var panels []*rackPanel
		for i := range b.patch.Modules {
			if m := &b.patch.Modules[i]; m.ID.Kind() == spec.Kind {
				panels = append(panels, b.panels(m, spec)...)
			}
		}
		b.rack(spec, panels)
	}
	b.index()
}

// newPage begins a page.
func (b *builder) newPage(name, tab string, c Color) *sheet {
	b.layout.Pages = append(b.layout.Pages, Page{Name: name, Tab: tab, Color: c})
	return &sheet{b, &b.layout.Pages[len(b.layout.Pages)-1]}
}

// index is a page of buttons, one for each page before it; where there are
// very many pages it is several.
func (b *builder) index() {
	pages := len(b.layout.Pages)
	f := b.area.Inset(b.margin)
	columns := max(1, int((f.W+b.gap)/(96+b.gap)))
	rows := max(1, int((f.H+b.gap)/(b.button+b.gap)))
	for first, k := 0, 1; first < pages; first, k = first+columns*rows, k+1 {
		name := "index"
		if k > 1 {
			name = fmt.Sprintf("index %d", k)
		}
		s := b.newPage(name, name, neutral)
		n := min(columns*rows, pages-first)
		cols := min(columns, max(1, int(math.Ceil(math.Sqrt(float64(n)*f.W/f.H/1.6)))))
		for (n+cols-1)/cols > rows {
			cols++
		}
		grid := split(f, cols, (n+cols-1)/cols, b.gap)
		for i := range n {
			p := &b.layout.Pages[first+i]
			cell := grid[i]
			text, size := fit(p.Name, cell.W-12, cell.H-8, min(20, max(12, cell.H/4)))
			s.add(Widget{Kind: Jump, Name: "to " + p.Name, Frame: cell, Text: text, Size: size, Color: p.Color, TextColor: ink, Page: first + i})
		}
	}
}

// split divides a frame evenly into columns × rows, row by row, on whole
// points.
func split(f Frame, columns, rows int, gap float64) []Frame {
	cut := func(from, length float64, n, i int) (at, size float64) {
		each := (length - gap*float64(n-1)) / float64(n)
		a := math.Round(from + float64(i)*(each+gap))
		return a, math.Round(from+float64(i)*(each+gap)+each) - a
	}
	cells := make([]Frame, 0, columns*rows)
	for r := range rows {
		y, h := cut(f.Y, f.H, rows, r)
		for c := range columns {
			x, w := cut(f.X, f.W, columns, c)
			cells = append(cells, Frame{x, y, w, h})
		}
	}
	return cells
}

// fillBar fills the bar at the top: the way about, resume, arm and panic. Arm is
// between the other two: a hand that hits panic twice does not end it.
func (b *builder) fillBar() {
	l := b.layout
	y, h := b.margin/2, b.bar-b.margin
	add := func(w Widget) { l.Bar = append(l.Bar, w) }
	ground := Frame{0, 0, l.Width, b.bar}
	add(Widget{Kind: Box, Name: "bar", Frame: ground, Color: barColor})
	x := b.margin
	button := func(w Widget, width float64) {
		w.Frame = Frame{x, y, width, h}
		w.Text, w.Size = fit(w.Text, width-4, h, w.Size)
		if w.TextColor == (Color{}) {
			w.TextColor = ink
		}
		add(w)
		x += width + b.gap
	}
	wide := l.Width >= 600
	bw := b.button
	if wide {
		bw = b.button + 8
	}
	button(Widget{Kind: Jump, Name: "index", Text: "index", Size: 16, Color: neutral, Page: len(l.Pages) - 1}, bw)
	if i := slices.IndexFunc(l.Pages, func(p Page) bool { return p.Name == "index" }); i >= 0 {
		l.Bar[len(l.Bar)-1].Page = i
	}
	if wide {
		button(Widget{Kind: Jump, Name: "play", Text: "play", Size: 16, Color: lit, Page: 0}, bw)
		button(Widget{Kind: Jump, Name: "pods", Text: "pods", Size: 16, Color: kindColor("pod"), Page: 1}, bw)
	}
	button(Widget{Kind: Jump, Name: "page before", Text: "<", Size: 22, Color: neutral, Step: -1}, b.button)
	button(Widget{Kind: Jump, Name: "page after", Text: ">", Size: 22, Color: neutral, Step: 1}, b.button)
	left := x
	right := l.Width - b.margin
	x = right - bw - 8
	button(Widget{Kind: Button, Name: "panic", Text: "PANIC", Size: 18, Color: alarm, Bind: []Binding{command("/panic")}}, bw+8)
	end := right - bw - 8 - b.gap
	x = end - bw
	button(Widget{Kind: Button, Name: "arm", Text: "ARM", Size: 18, Color: warning, Arms: true, Bind: []Binding{command("/arm")}}, bw)
	end -= bw + b.gap
	rw := bw
	if wide {
		rw = bw + 8
	}
	b.resume(Frame{end - rw, y, rw, h}, 18, add)
	end -= rw + b.gap
	if end-left > 24 {
		text, size := fit(l.Pages[0].Name, end-left, h, 20)
		add(Widget{Kind: Label, Name: "title", Frame: Frame{left, y, end - left, h}, Text: text, Size: size, TextColor: ink, Title: true})
	}
}

// resume draws the button that ends the silence after a panic. It is lit for as
// long as there is one.
func (b *builder) resume(f Frame, size float64, add func(Widget)) {
	in := f.Inset(2)
	text, size := fit("RESUME", max(in.W-8, 42), in.H, size) // 42 is what the word needs at its smallest
	add(Widget{Kind: Button, Name: "resume", Frame: f, Color: calm, Bind: []Binding{command("/resume")}})
	add(Widget{Kind: Lamp, Name: "resume lamp", Frame: in, Color: calm, Text: text, Size: size, TextColor: ink, Lights: "resume",
		Bind: []Binding{{Address: "/silenced", Form: Whole, Max: 1, Receive: true}}})
}

// command binds an action that takes no value.
func command(address string) Binding {
	return Binding{Address: address, Form: Command, Max: 1, Send: true}
}

// says binds words that the instrument says.
func says(address, now string) Binding {
	return Binding{Address: address, Form: Text, Receive: true, Said: now}
}
