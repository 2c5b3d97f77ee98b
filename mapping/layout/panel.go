package layout

import (
	"fmt"
	"math"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// item is one thing on a panel.
type item struct {
	span int // columns
	low  bool
	draw func(s *sheet, f Frame)
}

// rackPanel is a module, or a part of one, that stands on a page.
type rackPanel struct {
	id      instrument.ModuleID
	title   string
	items   []item
	columns int
}

// rows returns how many rows of controls and of low items a panel takes with
// so many columns.
func (p *rackPanel) rows(columns int) (high, low int) {
	at := [2]int{columns, columns} // full: the first item begins a row
	n := [2]int{}
	for _, it := range p.items {
		k := 0
		if it.low {
			k = 1
		}
		span := min(it.span, columns)
		if at[k]+span > columns {
			n[k]++
			at[k] = 0
		}
		at[k] += span
	}
	return n[0], n[1]
}

// height is the least that a panel with so many columns takes.
func (b *builder) height(p *rackPanel, columns int) float64 {
	high, low := p.rows(columns)
	return b.title + float64(high)*(b.unitH+b.gap) + float64(low)*(b.small+b.gap) + b.gap
}

// fitting returns the fewest columns with which a panel fits on a page, 0 if
// none do.
func (b *builder) fitting(p *rackPanel) int {
	for c := min(2, b.columns()); c <= b.columns(); c++ {
		if b.height(p, c) <= b.area.H-2*b.margin {
			return c
		}
	}
	return 0
}

// columns is how many columns of controls a page has at most.
func (b *builder) columns() int {
	return max(1, int((b.area.W-2*b.margin-2*b.gap+b.gap)/(b.unitW+b.gap)))
}

// width is of a panel with so many columns of a width.
func (b *builder) width(columns int, unit float64) float64 {
	return float64(columns)*(unit+b.gap) + b.gap
}

// panels makes the panel of a module, or several where it has more controls
// than a page has room for.
func (b *builder) panels(m *instrument.Module, spec *instrument.ModuleSpec) []*rackPanel {
	items := b.items(m, spec)
	if len(items) == 0 {
		return nil
	}
	all := b.portions(m.ID, items, len(items))
	if n := len(all); n > 1 {
		// The last would have what is left over: each has its share instead, where
		// that fits.
		if even := b.portions(m.ID, items, (len(items)+n-1)/n); len(even) == n {
			all = even
		}
	}
	if len(all) > 1 {
		for i, p := range all {
			p.title = fmt.Sprintf("%s %d/%d", m.ID.Name(), i+1, len(all))
		}
	}
	return all
}

// portions are panels of at most so many items that each fit on a page.
func (b *builder) portions(id instrument.ModuleID, items []item, most int) (all []*rackPanel) {
	for len(items) > 0 {
		n := min(len(items), most)
		p := &rackPanel{id: id, title: id.Name(), items: items[:n]}
		for p.columns = b.fitting(p); p.columns == 0; p.columns = b.fitting(p) {
			if n--; n == 0 {
				n, p.items, p.columns = 1, items[:1], b.columns() // it is drawn, however small
				break
			}
			p.items = items[:n]
		}
		items = items[n:]
		all = append(all, p)
	}
	return all
}

// items are what a module's panel shows: its knobs, then what can be struck,
// then what it says.
func (b *builder) items(m *instrument.Module, spec *instrument.ModuleSpec) (items []item) {
	name := m.ID.Name()
	color := kindColor(spec.Kind)
	var low []item
	for i := range spec.Params {
		p := &spec.Params[i]
		if jack, ok := strings.CutSuffix(p.Name, "_att"); ok && spec.Input(jack+"_cv") >= 0 && !b.wired[instrument.JackRef{Module: m.ID, Jack: jack + "_cv"}] {
			continue // an attenuverter with nothing to attenuate
		}
		bind := bound(m, p)
		at := name + "/" + p.Name
		switch {
		case p.Text:
			low = append(low, item{2, true, func(s *sheet, f Frame) { s.word(at, p.Name, bind, f) }})
		case p.Counter:
			bind.Send = false
			low = append(low, item{2, true, func(s *sheet, f Frame) { s.word(at, p.Name, bind, f) }})
		case p.Switch():
			items = append(items, item{1, false, func(s *sheet, f Frame) { s.toggle(at, p.Name, bind, color, f) }})
		case len(p.Choices) > 0 && b.choiceSpan(p.Choices) <= 4:
			items = append(items, item{b.choiceSpan(p.Choices), false, func(s *sheet, f Frame) { s.choice(at, p.Name, bind, color, f) }})
		default:
			items = append(items, item{1, false, func(s *sheet, f Frame) { s.control(at, p.Name, bind, color, f) }})
		}
	}
	for i := range spec.Inputs {
		j := &spec.Inputs[i]
		if j.Kind != instrument.Gate && j.Kind != instrument.Trigger || b.wired[instrument.JackRef{Module: m.ID, Jack: j.Name}] || j.Follows != "" {
			continue
		}
		rest := float64(j.Normal)
		bind := Binding{Address: "/" + string(m.ID) + "/" + j.Name, Form: Volts, Max: instrument.GateVolts, Unit: "V", Send: true, Receive: true, Value: rest}
		at := name + "/" + j.Name
		danger := spec.Kind == "node" && j.Name == "drain"
		if rest > 0 {
			// It is high with nothing plugged in: a switch that lets it fall.
			items = append(items, item{1, false, func(s *sheet, f Frame) { s.toggle(at, j.Name, bind, color, f) }})
			continue
		}
		items = append(items, item{1, false, func(s *sheet, f Frame) { s.strike(at, j.Name, bind, color, danger, f) }})
	}
	for i := range spec.Outputs {
		j := &spec.Outputs[i]
		at := name + "/" + j.Name
		bind := Binding{Address: "/" + string(m.ID) + "/" + j.Name, Form: Volts, Max: instrument.GateVolts, Unit: "V", Receive: true}
		switch j.Kind {
		case instrument.Audio:
			continue // one sample of a sound tells nothing
		case instrument.Gate, instrument.Trigger, instrument.Claim, instrument.Pods:
			low = append(low, item{1, true, func(s *sheet, f Frame) { s.lamp(at, j.Name, bind, color, f) }})
		default:
			if j.Kind == instrument.Pitch || strings.Contains(j.Unit, "±5") || strings.Contains(j.Unit, "−5") {
				bind.Min, bind.Max = -5, 5
				if strings.Contains(j.Unit, "10 ") || strings.Contains(j.Unit, "10,") {
					bind.Max = 10
				}
			}
			if j.Name == "error" {
				bind.Min = -10
			}
			low = append(low, item{2, true, func(s *sheet, f Frame) { s.meter(at, j.Name, bind, color, f) }})
		}
	}
	return append(items, low...)
}

// choiceSpan is how many columns the words of a choice take beside each other.
func (b *builder) choiceSpan(words []string) int {
	each := float64(touch)
	for _, w := range words {
		each = max(each, textWidth(spaced(w), b.caption)+10)
	}
	span := int(math.Ceil((each*float64(len(words)) + b.gap) / (b.unitW + b.gap)))
	return min(max(span, 2), 99)
}

// rack puts the panels of a kind on pages, beside each other.
func (b *builder) rack(spec *instrument.ModuleSpec, panels []*rackPanel) {
	var pages [][]*rackPanel
	room := 0.0
	for _, p := range panels {
		w := b.width(p.columns, b.unitW) + b.gap
		if len(pages) == 0 || w > room {
			pages = append(pages, nil)
			room = b.area.W - 2*b.margin + b.gap
		}
		pages[len(pages)-1] = append(pages[len(pages)-1], p)
		room -= w
	}
	for i, ps := range pages {
		name, tab := spaced(spec.Kind), shortKind(spec.Kind)
		if len(pages) > 1 {
			tab = fmt.Sprintf("%s %d", tab, i+1)
			if name += " " + ps[0].title; len(ps) > 1 {
				name += " … " + ps[len(ps)-1].title
			}
		}
		b.stand(b.newPage(name, tab, kindColor(spec.Kind)), ps)
	}
}

// stand draws the panels of one page. Columns that are to spare go to the
// panels with the most rows, and what room is left makes all of them larger.
func (b *builder) stand(s *sheet, panels []*rackPanel) {
	total := func() (w float64) {
		for _, p := range panels {
			w += b.width(p.columns, b.unitW) + b.gap
		}
		return w - b.gap
	}
	for wide := b.area.W - 2*b.margin; ; {
		var most []*rackPanel
		rows := 3
		for _, p := range panels {
			high, low := p.rows(p.columns)
			switch r := high + (low+3)/4; {
			case r > rows:
				rows, most = r, []*rackPanel{p}
			case r == rows:
				most = append(most, p) // what is alike stays alike
			}
		}
		if len(most) == 0 || total()+float64(len(most))*(b.unitW+b.gap) > wide {
			break
		}
		for _, p := range most {
			p.columns++
		}
	}
	columns := 0
	for _, p := range panels {
		columns += p.columns
	}
	n := float64(len(panels))
	unit := (b.area.W - 2*b.margin - b.gap*(n-1) - n*b.gap - float64(columns)*b.gap) / float64(columns)
	unit = math.Floor(min(unit, b.maxW))
	whole := b.gap * (n - 1)
	for _, p := range panels {
		whole += b.width(p.columns, unit)
	}
	x := math.Floor(b.margin + (b.area.W-2*b.margin-whole)/2)
	for _, p := range panels {
		w := b.width(p.columns, unit)
		b.panel(s, p, Frame{x, b.margin, w, b.area.H - 2*b.margin}, unit)
		x += w + b.gap
	}
}

// panel draws one panel in at most a frame.
func (b *builder) panel(s *sheet, p *rackPanel, f Frame, unit float64) {
	high, low := p.rows(p.columns)
	rest := f.H - b.title - b.gap - float64(low)*(b.small+b.gap)
	row := b.unitH
	if high > 0 {
		row = math.Floor(min(rest/float64(high)-b.gap, b.maxH))
		row = max(row, 20)
	}
	f.H = min(f.H, b.title+b.gap+float64(high)*(row+b.gap)+float64(low)*(b.small+b.gap))
	color := kindColor(p.id.Kind())
	s.add(Widget{Kind: Box, Name: p.title + " panel", Frame: f, Color: panel})
	s.add(Widget{Kind: Box, Name: p.title + " edge", Frame: Frame{f.X, f.Y, f.W, 3}, Color: color})
	text, size := fit(p.title, f.W-2*b.gap, b.title-6, min(20, b.title*0.62))
	s.add(Widget{Kind: Label, Name: p.title + " title", Frame: Frame{f.X + b.gap, f.Y + 4, f.W - 2*b.gap, b.title - 6}, Text: text, Size: size, TextColor: color, Align: Left})
	at, y := p.columns, f.Y+b.title-row-b.gap
	for _, it := range p.items {
		if it.low {
			continue
		}
		span := min(it.span, p.columns)
		if at+span > p.columns {
			at = 0
			y += row + b.gap
		}
		it.draw(s, Frame{f.X + b.gap + float64(at)*(unit+b.gap), y, float64(span)*(unit+b.gap) - b.gap, row})
		at += span
	}
	at, y = p.columns, f.Y+b.title+float64(high)*(row+b.gap)-b.small-b.gap
	for _, it := range p.items {
		if !it.low {
			continue
		}
		span := min(it.span, p.columns)
		if at+span > p.columns {
			at = 0
			y += b.small + b.gap
		}
		it.draw(s, Frame{f.X + b.gap + float64(at)*(unit+b.gap), y, float64(span)*(unit+b.gap) - b.gap, b.small})
		at += span
	}
}

// captionHeight is of the words over a control.
func (b *builder) captionHeight(h float64) float64 {
	return math.Ceil(2*lineHeight*b.captionSize(h)) + 1
}

func (b *builder) captionSize(h float64) float64 {
	return math.Floor(min(max(b.caption, h*0.085), b.caption*1.35))
}

func (b *builder) valueSize(h float64) float64 {
	return math.Floor(min(max(b.value, h*0.11), b.value*1.4))
}

// control draws a knob, or where there is height for one a fader, with its
// name over it and its value under it.
func (s *sheet) control(at, name string, bind Binding, color Color, f Frame) {
	ch, size := s.captionHeight(f.H), s.valueSize(f.H)
	vh := math.Ceil(lineHeight*size) + 2
	text, cs := fit(spaced(name), f.W, ch, s.captionSize(f.H))
	s.add(Widget{Kind: Label, Name: at + " name", Frame: Frame{f.X, f.Y, f.W, ch}, Text: text, Size: cs, TextColor: quiet})
	body := Frame{f.X, f.Y + ch, f.W, f.H - ch - vh}
	w := Widget{Kind: Knob, Name: at, Color: color, Bind: []Binding{bind}, Shows: []string{at + " value"}, Centred: bind.Min < 0 && bind.Min == -bind.Max}
	if body.H >= 110 && body.H > 1.25*body.W {
		w.Kind = Fader
		wide := math.Floor(min(body.W, max(touch+8, body.W*0.62)))
		body.X, body.W = math.Floor(body.X+(body.W-wide)/2), wide
	} else {
		side := math.Floor(min(body.W, body.H))
		body = Frame{math.Floor(body.X + (body.W-side)/2), math.Floor(body.Y + (body.H-side)/2), side, side}
	}
	w.Frame = body
	s.add(w)
	s.readout(at+" value", bind, Frame{f.X, f.Y + f.H - vh, f.W, vh}, size)
}

// readout is the label that a control's value is written on.
func (s *sheet) readout(name string, bind Binding, f Frame, size float64) {
	// The longest that it will have to say must fit.
	for _, v := range append([]float64{bind.Min, bind.Max, bind.Value, bind.At(0.37)}, indices(bind.Words)...) {
		if _, fits := fit(bind.Show(v), f.W, f.H, size); fits < size {
			size = fits
		}
	}
	text, size := fit(bind.Show(bind.Value), f.W, f.H, size)
	s.add(Widget{Kind: Label, Name: name, Frame: f, Text: text, Size: size, TextColor: ink})
}

func indices(words []string) (is []float64) {
	for i := range words {
		is = append(is, float64(i))
	}
	return is
}

// choice draws words beside each other, one of which is lit.
func (s *sheet) choice(at, name string, bind Binding, color Color, f Frame) {
	ch, size := s.captionHeight(f.H), s.captionSize(f.H)
	h := math.Floor(min(f.H-ch-2, max(touch, min(72, f.H*0.55))))
	y := math.Floor(f.Y + ch + (f.H-ch-h)/2)
	text, cs := fit(spaced(name), f.W, ch, size)
	s.add(Widget{Kind: Label, Name: at + " name", Frame: Frame{f.X, y - ch, f.W, ch}, Text: text, Size: cs, TextColor: quiet})
	for _, word := range bind.Words {
		if _, fits := fit(spaced(word), f.W/float64(len(bind.Words))-4, h, size); fits < size {
			size = fits
		}
	}
	s.add(Widget{Kind: Choice, Name: at, Frame: Frame{f.X, y, f.W, h}, Color: color, TextColor: ink, Size: size, Bind: []Binding{bind}})
}

// pushed is where a switch or a button is in a cell.
func pushed(f Frame) Frame {
	h := math.Floor(min(f.H-4, max(64, min(110, f.W*0.9))))
	return Frame{f.X, math.Floor(f.Y + (f.H-h)/2), f.W, h}
}

// toggle draws a switch.
func (s *sheet) toggle(at, name string, bind Binding, color Color, f Frame) {
	f = pushed(f)
	text, size := fit(spaced(name), f.W-8, f.H-8, s.valueSize(f.H))
	s.add(Widget{Kind: Switch, Name: at, Frame: f, Color: color, Text: text, Size: size, TextColor: ink, Bind: []Binding{bind}})
}

// strike draws a button that holds a gate high.
func (s *sheet) strike(at, name string, bind Binding, color Color, danger bool, f Frame) {
	f = pushed(f)
	text, size := fit(spaced(name), f.W-8, f.H-8, s.valueSize(f.H))
	if danger {
		color = alarm
	}
	s.add(Widget{Kind: Button, Name: at, Frame: f, Color: color, Text: text, Size: size, TextColor: ink, Bind: []Binding{bind}, Guarded: danger})
}

// lamp draws a light for a gate.
func (s *sheet) lamp(at, name string, bind Binding, color Color, f Frame) {
	text, size := fit(spaced(name), f.W-4, f.H, s.measures.caption)
	s.add(Widget{Kind: Lamp, Name: at, Frame: f, Color: color, Text: text, Size: size, TextColor: ink, Bind: []Binding{bind}})
}

// meter draws a bar that volts fill, with its name and its value on it.
func (s *sheet) meter(at, name string, bind Binding, color Color, f Frame) {
	vw := math.Floor(min(52, f.W*0.4))
	text, size := fit(spaced(name), f.W-vw-8, f.H, s.measures.caption)
	s.add(Widget{Kind: Meter, Name: at, Frame: f, Color: color, Bind: []Binding{bind}, Shows: []string{at + " value"}, Centred: bind.Min < 0 && bind.Min == -bind.Max})
	s.add(Widget{Kind: Label, Name: at + " name", Frame: Frame{f.X + 4, f.Y, f.W - vw - 8, f.H}, Text: text, Size: size, TextColor: ink, Align: Left})
	value, size := fit(bind.Show(bind.Value), vw, f.H, s.measures.caption)
	s.add(Widget{Kind: Label, Name: at + " value", Frame: Frame{f.X + f.W - vw - 4, f.Y, vw, f.H}, Text: value, Size: size, TextColor: ink, Align: Right})
}

// word draws a name and what the instrument says of it.
func (s *sheet) word(at, name string, bind Binding, f Frame) {
	nw := math.Floor(min(f.W*0.45, textWidth(spaced(name), s.measures.caption)+8))
	text, size := fit(spaced(name), nw, f.H, s.measures.caption)
	s.add(Widget{Kind: Label, Name: at + " name", Frame: Frame{f.X, f.Y, nw, f.H}, Text: text, Size: size, TextColor: quiet, Align: Left})
	said := bind.Said
	if bind.Form != Text {
		said = bind.Show(bind.Value)
	}
	said, size = fit(said, f.W-nw-6, f.H, s.measures.caption)
	s.add(Widget{Kind: Reading, Name: at, Frame: Frame{f.X + nw, f.Y, f.W - nw, f.H}, Text: said, Size: size, TextColor: ink, Color: well, Align: Left, Bind: []Binding{bind}})
}
