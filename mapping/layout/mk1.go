package layout

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"encoding/xml"
	"fmt"
	"math"
	"strings"
	"time"
)

// What the older TouchOSC has no form for, and what becomes of it:
//
//   - no scripts: knobs with an exponential curve are laid out evenly; a choice
//     is a fader over the numbers of its words, which the instrument takes too,
//     and its words are written under it; readouts of knobs stay away, because
//     they would not follow;
//   - no colours of one's own: the nearest of its nine;
//   - the bar is on every page, without index, tabs take their place: the app
//     draws them itself along an edge;
//   - no arming on the tablet: kill is there all the time, and the instrument
//     refuses it until it is armed;
//   - a pad sends both its values under one address: it is two faders instead;
//   - one OSC connection, so that its choice means nothing.

// mk1Bar is the height of the row of tabs that the app draws, in points.
const mk1Bar = 40

// WriteTouchOSC returns the layout as a .touchosc file of the first TouchOSC: a
// zip that holds index.xml, names and words in base64. The same layout gives
// the same bytes.
func WriteTouchOSC(l *Layout) ([]byte, error) {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	f, err := z.CreateHeader(&zip.FileHeader{Name: "index.xml", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err == nil {
		w := &mk1Writer{l: l}
		w.document()
		_, err = f.Write(w.Bytes())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("touchosc: %w", err)
	}
	return out.Bytes(), nil
}

type mk1Writer struct {
	bytes.Buffer
	l *Layout
	n int // of the names
}

// mk1Colors are the nine that there are.
var mk1Colors = []struct {
	name string
	c    Color
}{
	{"red", rgb(0xf0303c)}, {"green", rgb(0x30d070)}, {"blue", rgb(0x4a90ff)}, {"yellow", rgb(0xf5dc50)}, {"purple", rgb(0xb080ff)},
	{"gray", rgb(0x8c96a5)}, {"orange", rgb(0xff9a40)}, {"brown", rgb(0x8a5a30)}, {"pink", rgb(0xff78b4)},
}

func mk1Color(c Color) string {
	best, name := math.Inf(1), ""
	for _, k := range mk1Colors {
		if d := math.Pow(k.c.R-c.R, 2) + math.Pow(k.c.G-c.G, 2) + math.Pow(k.c.B-c.B, 2); d < best {
			best, name = d, k.name
		}
	}
	return name
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }

func (w *mk1Writer) attributes(pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		fmt.Fprintf(w, " %s=\"", pairs[i])
		_ = xml.EscapeText(w, []byte(pairs[i+1])) // a buffer takes everything
		w.WriteByte('"')
	}
}

// landscape tells how the page is held. Then the file has it turned by a right
// angle: its x goes up the page and its y along it.
func (w *mk1Writer) landscape() bool { return w.l.Width > w.l.Height }

func (w *mk1Writer) document() {
	l := w.l
	w.WriteString(`<?xml version="1.0" encoding="UTF-8"?><layout`)
	width, height, orientation := l.Width, l.Height, "horizontal"
	if w.landscape() {
		width, height, orientation = height, width, "vertical"
	}
	// Mode 3 is a size of one's own.
	w.attributes("version", "17", "mode", "3", "w", number(width), "h", number(height), "orientation", orientation)
	w.WriteString(">")
	for i := range l.Pages {
		p := &l.Pages[i]
		if strings.HasPrefix(p.Name, "index") {
			continue
		}
		c := mk1Color(p.Color)
		w.WriteString("<tabpage")
		w.attributes("name", encode(p.Name), "scalef", "0.0", "scalet", "1.0", "li_t", encode(p.Tab), "li_c", c, "li_s", "14", "li_o", "false", "li_b", "false",
			"la_t", encode(p.Tab), "la_c", c, "la_s", "14", "la_o", "false", "la_b", "false")
		w.WriteString(">")
		for k := range l.Bar {
			if b := &l.Bar[k]; b.Kind == Button || b.Kind == Lamp {
				w.widget(b, Frame{})
			}
		}
		area := l.Area()
		for k := range p.Widgets {
			w.widget(&p.Widgets[k], area)
		}
		w.WriteString("</tabpage>")
	}
	w.WriteString("</layout>")
}

// place turns a frame as the file wants it. The tabs of the app take the top of
// the page away, so that all is drawn in what is left, a little smaller.
func (w *mk1Writer) place(f Frame) []string {
	room := 1 - mk1Bar/w.l.Height
	y, h := math.Floor(f.Y*room), max(1, math.Floor(f.H*room))
	if w.landscape() {
		return []string{"x", number(w.l.Height - mk1Bar - y - h), "y", number(f.X), "w", number(h), "h", number(f.W)}
	}
	return []string{"x", number(f.X), "y", number(y), "w", number(f.W), "h", number(h)}
}

// lie is the letter for something that runs along the page, or up it: the file
// names them as the page would be held upright.
func (w *mk1Writer) lie(along bool) string {
	if along == w.landscape() {
		return "v"
	}
	return "h"
}

func (w *mk1Writer) control(name string, f Frame, color string, rest ...string) {
	w.WriteString("<control")
	w.n++
	w.attributes(append(append([]string{"name", encode(fmt.Sprintf("%s %d", name, w.n))}, w.place(f)...), append([]string{"color", color}, rest...)...)...)
	w.WriteString(">")
}

func (w *mk1Writer) label(f Frame, text string, size float64, c Color, background bool, address string) {
	more := []string{}
	if address != "" {
		more = append(more, "osc_cs", encode(address))
	}
	for i, line := range strings.Split(text, "\n") {
		lines := float64(strings.Count(text, "\n") + 1)
		g := Frame{f.X, f.Y + float64(i)*f.H/lines, f.W, f.H / lines}
		g.Y, g.H = math.Floor(g.Y), math.Floor(g.H)
		w.control("label", g, mk1Color(c), append(more, "type", "label"+w.lie(true), "text", encode(line), "size", number(max(8, math.Floor(size))), "background", fmt.Sprint(background), "outline", "false")...)
		w.WriteString("</control>")
	}
}

// scale are the ends of a range, and the address.
func scale(b *Binding) []string {
	return []string{"scalef", number(b.Min), "scalet", number(b.Max), "osc_cs", encode(b.Address)}
}

func (w *mk1Writer) midi(b *Binding) {
	if !b.MIDI.Set {
		return
	}
	w.WriteString("<midi")
	w.attributes("var", "x", "type", "0", "channel", fmt.Sprint(b.MIDI.Channel+1), "data1", fmt.Sprint(b.MIDI.Number), "data2f", "0", "data2t", "127", "sysex", "")
	w.WriteString("/>")
}

func (w *mk1Writer) fader(f Frame, c Color, b *Binding, centred bool) {
	w.control("fader", f, mk1Color(c), append(scale(b), "type", "fader"+w.lie(f.W > f.H), "response", "absolute", "inverted", "false", "centered", fmt.Sprint(centred))...)
	w.midi(b)
	w.WriteString("</control>")
}

func (w *mk1Writer) widget(x *Widget, in Frame) {
	f := x.Frame
	f.X, f.Y = f.X+in.X, f.Y+in.Y
	var b *Binding
	if len(x.Bind) > 0 {
		b = &x.Bind[0]
	}
	color := mk1Color(x.Color)
	switch x.Kind {
	case Label:
		if strings.HasSuffix(x.Name, " value") || x.Text == "" {
			return // it would not follow
		}
		w.label(f, x.Text, x.Size, x.TextColor, false, "")
	case Reading:
		w.label(f, strings.ReplaceAll(x.Text, "\n", " "), x.Size, x.TextColor, true, b.Address)
	case Lamp:
		words := f
		if x.Lights != "" {
			f.H = math.Floor(f.H / 4) // along the edge: the button under it takes the finger
		}
		w.control("led", f, color, append(scale(b), "type", "led")...)
		w.WriteString("</control>")
		w.label(words, x.Text, x.Size, ink, false, "")
	case Meter, Fader:
		w.fader(f, x.Color, b, x.Centred)
	case Choice:
		w.fader(f, x.Color, b, false)
		for i, g := range x.segments() {
			g.X, g.Y = g.X+in.X, g.Y+in.Y
			w.label(g, spaced(b.Words[i]), x.Size, ink, false, "")
		}
	case Pad:
		half := math.Floor(f.H / 2)
		w.fader(Frame{f.X, f.Y, f.W, half - 2}, x.Color, &x.Bind[0], false)
		w.fader(Frame{f.X, f.Y + half + 2, f.W, f.H - half - 2}, x.Color, &x.Bind[1], false)
	case Knob:
		w.control("rotary", f, color, append(scale(b), "type", "rotary"+w.lie(false), "response", "absolute", "inverted", "false", "centered", fmt.Sprint(x.Centred), "norollover", "true")...)
		w.midi(b)
		w.WriteString("</control>")
	case Switch:
		w.control("toggle", f, color, append(scale(b), "type", "toggle", "local_off", "false")...)
		w.midi(b)
		w.WriteString("</control>")
		w.label(f, x.Text, x.Size, x.TextColor, false, "")
	case Button:
		release := "true"
		at := scale(b)
		if b.Form == Command {
			release = "false" // what is done once is done when it is pressed
		}
		w.control("push", f, color, append(at, "type", "push", "local_off", "false", "sp", "true", "sr", release)...)
		w.midi(b)
		w.WriteString("</control>")
		if x.Text != "" {
			w.label(f, x.Text, x.Size, x.TextColor, false, "")
		}
	}
}
