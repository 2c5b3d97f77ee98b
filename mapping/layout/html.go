package layout

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"strconv"
	"strings"
)

// css is the look of the preview. Every place and colour is the layout's; what
// is here is how a control is drawn inside its frame.
const css = `*{box-sizing:border-box;margin:0}
html{background:#000;color:#f4f7fb;font:14px system-ui,"DejaVu Sans",sans-serif}
body{display:flex;justify-content:center}
#canvas{position:relative;overflow:hidden;background:#0a0d12;flex:none}
#canvas>input{position:absolute;opacity:0;pointer-events:none}
.page{position:absolute;display:none}
.w{position:absolute;overflow:hidden;border-radius:4px}
.t{display:flex;align-items:center;white-space:pre;line-height:1.2;text-align:center;justify-content:center}
.l{justify-content:flex-start;text-align:left}
.r{justify-content:flex-end;text-align:right}
.c{border:1.5px solid;border-radius:6px}
.f{position:absolute;left:0;bottom:0;right:0}
.g{position:absolute;left:0;right:0;height:1px;background:#0006}
.k{overflow:visible}
a,label{color:inherit;text-decoration:none;cursor:pointer}
.title>div{display:none}
.jump{border-radius:6px;border:1.5px solid}
.guard{opacity:.55}
.cells{display:flex;gap:2px;padding:2px}
.cells>div{flex:1;border-radius:4px;display:flex;align-items:center;justify-content:center;text-align:center;white-space:pre;line-height:1.15}
.x{position:absolute;background:#fff6}
.tab{position:absolute;display:flex;align-items:center;justify-content:center;border-bottom:3px solid}
`

// page writes the preview.
type htmlPage struct {
	bytes.Buffer
	l *Layout
}

func (c Color) css() string {
	n := func(v float64) int { return int(math.Round(v * 255)) }
	if c.A >= 1 {
		return fmt.Sprintf("#%02x%02x%02x", n(c.R), n(c.G), n(c.B))
	}
	return fmt.Sprintf("rgba(%d,%d,%d,%s)", n(c.R), n(c.G), n(c.B), number(c.A))
}

// number writes a number as short as it can be read back.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

func (f Frame) css() string {
	return fmt.Sprintf("left:%spx;top:%spx;width:%spx;height:%spx", number(f.X), number(f.Y), number(f.W), number(f.H))
}

// WriteHTML returns the layout as one page that needs nothing else: every
// widget in its place and colour, the controls where the patch stands, the
// pages by their tabs. It shows, and plays nothing.
func WriteHTML(l *Layout) []byte {
	p := &htmlPage{l: l}
	fmt.Fprintf(p, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=%s\"><title>%s</title>\n<style>\n%s",
		number(l.Width), html.EscapeString(l.Name), css)
	area := l.Area()
	for i := range l.Pages {
		fmt.Fprintf(p, "#p%d:checked~#g%d{display:block}", i, i)
		fmt.Fprintf(p, "#p%d:checked~.tabs>[for=p%d]{background:%s;color:#0a0d12}", i, i, l.Pages[i].Color.css())
		fmt.Fprintf(p, "#p%d:checked~.title>[data-p=\"%d\"]{display:flex}\n", i, i)
	}
	fmt.Fprintf(p, "</style></head><body><div id=\"canvas\" style=\"width:%spx;height:%spx\">\n", number(l.Width), number(l.Height))
	for i := range l.Pages {
		checked := ""
		if i == 0 {
			checked = " checked"
		}
		fmt.Fprintf(p, "<input type=\"radio\" name=\"p\" id=\"p%d\"%s>", i, checked)
	}
	p.WriteString("\n")
	for i := range l.Bar {
		p.widget(&l.Bar[i], 0)
	}
	if l.TabHeight > 0 {
		p.WriteString("<div class=\"tabs\">")
		for i, f := range split(Frame{0, l.BarHeight, l.Width, l.TabHeight}, len(l.Pages), 1, 0) {
			pg := &l.Pages[i]
			text, size := fit(pg.Tab, f.W-4, f.H, tabSize)
			fmt.Fprintf(p, "<label class=\"tab\" for=\"p%d\" style=\"%s;color:%s;background:%s;border-color:%s;font-size:%spx\">%s</label>", i, f.css(), ink.css(), tabGround(pg.Color).css(), pg.Color.css(), number(size), html.EscapeString(text))
		}
		p.WriteString("</div>\n")
	}
	for i := range l.Pages {
		fmt.Fprintf(p, "<div class=\"page\" id=\"g%d\" style=\"%s\">\n", i, area.css())
		for k := range l.Pages[i].Widgets {
			p.widget(&l.Pages[i].Widgets[k], i)
		}
		p.WriteString("</div>\n")
	}
	p.WriteString("</div></body></html>\n")
	return p.Bytes()
}

// tabSize is of the words on tabs.
const tabSize = 14

// tabGround is a tab's colour while its page is closed.
func tabGround(c Color) Color { return barColor.mix(c, 0.12) }

func (p *htmlPage) widget(w *Widget, page int) {
	at, text := w.Frame.css(), html.EscapeString(w.Text)
	font := fmt.Sprintf("font-size:%spx;color:%s", number(w.Size), w.TextColor.css())
	align := [...]string{"", " l", " r"}[w.Align]
	title := ""
	if len(w.Bind) > 0 {
		var all []string
		for _, b := range w.Bind {
			all = append(all, b.Address)
		}
		title = " title=\"" + html.EscapeString(strings.Join(all, " ")) + "\""
	}
	x := 0.0
	if len(w.Bind) > 0 {
		x = w.Bind[0].Position(w.Bind[0].Value)
	}
	switch w.Kind {
	case Box:
		fmt.Fprintf(p, "<div class=\"w\" style=\"%s;background:%s\"></div>\n", at, w.Color.css())
	case Label, Reading:
		if w.Title {
			fmt.Fprintf(p, "<div class=\"title\">")
			for i := range p.l.Pages {
				t, size := fit(p.l.Pages[i].Name, w.Frame.W, w.Frame.H, w.Size)
				fmt.Fprintf(p, "<div class=\"w t\" data-p=\"%d\" style=\"%s;font-size:%spx\">%s</div>", i, at, number(size), html.EscapeString(t))
			}
			p.WriteString("</div>\n")
			return
		}
		ground := ""
		if w.Color != (Color{}) {
			ground = ";padding:0 3px;background:" + w.Color.css()
		}
		fmt.Fprintf(p, "<div class=\"w t%s\"%s style=\"%s;%s%s\">%s</div>\n", align, title, at, font, ground, text)
	case Lamp:
		c := panel.mix(w.Color, 0.16+0.7*x)
		fmt.Fprintf(p, "<div class=\"w t\"%s style=\"%s;%s;background:%s\">%s</div>\n", title, at, font, c.css(), text)
	case Meter, Fader:
		fmt.Fprintf(p, "<div class=\"w\"%s style=\"%s;background:%s\">", title, at, groundOf(w).css())
		from, to := 0.0, x
		if w.Centred {
			from, to = min(0.5, x), max(0.5, x)
		}
		bar := w.Color
		if w.Kind == Meter {
			bar = bar.alpha(0.55 * bar.A)
		}
		if w.Frame.H > w.Frame.W {
			for i := 1; i < gridSteps(w)-1; i++ {
				fmt.Fprintf(p, "<i class=\"g\" style=\"bottom:%s%%\"></i>", number(math.Round(1000*float64(i)/float64(gridSteps(w)-1))/10))
			}
			fmt.Fprintf(p, "<i class=\"f\" style=\"bottom:%.1f%%;height:%.1f%%;background:%s\"></i>", 100*from, 100*(to-from), bar.alpha(0.5).css())
			fmt.Fprintf(p, "<i class=\"f\" style=\"bottom:calc(%.1f%% - %.1fpx);height:8px;background:%s\"></i></div>\n", 100*x, 8*x, bar.css())
		} else {
			fmt.Fprintf(p, "<i class=\"f\" style=\"top:0;right:auto;left:%.1f%%;width:%.1f%%;background:%s\"></i></div>\n", 100*from, 100*(to-from), bar.css())
		}
	case Knob:
		r := w.Frame.W / 2
		fmt.Fprintf(p, "<svg class=\"w k\" style=\"%s\" viewBox=\"-50 -50 100 100\"><title>%s</title><path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"16\"/>",
			at, html.EscapeString(w.Bind[0].Address), arc(0, 1, 41), groundOf(w).css())
		from := 0.0
		if w.Centred {
			from = 0.5
		}
		fmt.Fprintf(p, "<path d=\"%s\" fill=\"none\" stroke=\"%s\" stroke-width=\"16\"/>", arc(min(from, x), max(from, x), 41), w.Color.css())
		a := (0.75 - 1.5*(1-x)) * math.Pi
		fmt.Fprintf(p, "<line x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\" stroke=\"%s\" stroke-width=\"%.1f\"/></svg>\n", 31*math.Sin(a), -31*math.Cos(a), 49*math.Sin(a), -49*math.Cos(a), ink.css(), 150/max(r, 1))
	case Pad:
		y := w.Bind[1].Position(w.Bind[1].Value)
		fmt.Fprintf(p, "<div class=\"w c\"%s style=\"%s;background:%s;border-color:%s\">", title, at, groundOf(w).css(), w.Color.css())
		fmt.Fprintf(p, "<i class=\"x\" style=\"left:%.1f%%;top:0;bottom:0;width:1px\"></i><i class=\"x\" style=\"top:%.1f%%;left:0;right:0;height:1px\"></i>", 100*x, 100*(1-y))
		fmt.Fprintf(p, "<i class=\"x\" style=\"left:calc(%.1f%% - 22px);top:calc(%.1f%% - 22px);width:44px;height:44px;border-radius:22px;background:%s\"></i></div>\n", 100*x, 100*(1-y), w.Color.css())
	case Choice:
		fmt.Fprintf(p, "<div class=\"w cells\"%s style=\"%s;%s;background:%s\">", title, at, font, groundOf(w).css())
		for i, word := range w.Bind[0].Words {
			f := w.segments()[i]
			t, size := fit(spaced(word), f.W-4, f.H, w.Size)
			on := ""
			if float64(i) == w.Bind[0].Value {
				on = fmt.Sprintf("background:%s;color:%s;", w.Color.alpha(0.62).css(), ink.css())
			}
			fmt.Fprintf(p, "<div style=\"%sfont-size:%spx\">%s</div>", on, number(size), html.EscapeString(t))
		}
		p.WriteString("</div>\n")
	case Switch, Button:
		c, class := groundOf(w), "w t c"
		if w.Kind == Switch && x > 0.5 {
			c = panel.mix(w.Color, 0.6)
		}
		if w.Guarded {
			class += " guard"
		}
		fmt.Fprintf(p, "<div class=\"%s\"%s style=\"%s;%s;background:%s;border-color:%s\">%s</div>\n", class, title, at, font, c.css(), w.Color.css(), text)
	case Jump:
		to := w.Page
		if w.Step != 0 {
			to = (page + w.Step + len(p.l.Pages)) % len(p.l.Pages)
		}
		fmt.Fprintf(p, "<label class=\"w t jump\" for=\"p%d\" style=\"%s;%s;background:%s;border-color:%s\">%s</label>\n", to, at, font, groundOf(w).css(), w.Color.css(), text)
	}
}

// groundOf is the colour of what a control is drawn on.
func groundOf(w *Widget) Color {
	switch w.Kind {
	case Meter, Fader, Knob, Choice:
		return panel.mix(w.Color.alpha(1), 0.2)
	case Pad:
		return panel.mix(w.Color, 0.1)
	}
	return panel.mix(w.Color, 0.24)
}

// segments are where the words of a Choice are.
func (w *Widget) segments() []Frame {
	return split(w.Frame, len(w.Bind[0].Words), 1, 0)
}

// gridSteps is how many lines a fader or a knob is ruled with, both ends
// counted: one for each step where there are few.
func gridSteps(w *Widget) int {
	b := &w.Bind[0]
	if n := int(b.Max-b.Min) + 1; (b.Form == Whole || b.Form == Word) && n <= 33 && n > 1 {
		return n
	}
	return 11
}

// arc is the path of a part of a knob's travel, which is three quarters of a
// circle.
func arc(from, to, r float64) string {
	at := func(x float64) (float64, float64) {
		a := (1.5*x - 0.75) * math.Pi
		return r * math.Sin(a), -r * math.Cos(a)
	}
	x0, y0 := at(from)
	x1, y1 := at(to)
	large := 0
	if (to-from)*1.5 > 1 {
		large = 1
	}
	return fmt.Sprintf("M%.2f %.2fA%g %g 0 %d 1 %.2f %.2f", x0, y0, r, r, large, x1, y1)
}
