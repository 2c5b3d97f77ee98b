package layout

import (
	"bytes"
	"compress/zlib"
	"crypto/sha256"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// WriteTosc returns the layout as a .tosc file of TouchOSC 1.5: one line of XML
// in a zlib stream. The same layout gives the same bytes.
func WriteTosc(l *Layout) ([]byte, error) {
	w := &toscWriter{l: l}
	w.document()
	var out bytes.Buffer
	z, err := zlib.NewWriterLevel(&out, zlib.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("tosc: %w", err)
	}
	if _, err := io.WriteString(z, w.String()); err != nil {
		return nil, fmt.Errorf("tosc: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("tosc: %w", err)
	}
	return out.Bytes(), nil
}

// toscWriter writes the XML as TouchOSC's editor does: apostrophes around
// attributes, CDATA around every key and word, properties by their keys.
type toscWriter struct {
	strings.Builder
	l *Layout
}

// property is one property of a node, as it is written.
type property struct{ typ, key, value string }

func boolean(key string, v bool) property { return property{"b", key, flag(v)} }
func integer(key string, v int) property  { return property{"i", key, fmt.Sprint(v)} }
func float(key string, v float64) property {
	return property{"f", key, number(v)}
}
func words(key, v string) property { return property{"s", key, cdata(v)} }
func color(key string, c Color) property {
	return property{"c", key, fmt.Sprintf("<r>%s</r><g>%s</g><b>%s</b><a>%s</a>", number(c.R), number(c.G), number(c.B), number(c.A))}
}
func frame(f Frame) property {
	return property{"r", "frame", fmt.Sprintf("<x>%s</x><y>%s</y><w>%s</w><h>%s</h>", number(f.X), number(f.Y), number(f.W), number(f.H))}
}

func flag(v bool) string {
	if v {
		return "1"
	}
	return "0"
}

// cdata wraps words; characters that XML has no place for become marks.
func cdata(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r == 0xfffe || r == 0xffff {
			return '\ufffd'
		}
		return r
	}, strings.ToValidUTF8(s, "\ufffd"))
	return "<![CDATA[" + strings.ReplaceAll(s, "]]>", "]]]]><![CDATA[>") + "]]>"
}

// id names a node: the same words, the same node.
func (w *toscWriter) id(parts ...string) string {
	h := sha256.Sum256([]byte("k8s-synth layout\x00" + w.l.Name + "\x00" + strings.Join(parts, "\x00")))
	h[6], h[8] = h[6]&0x0f|0x80, h[8]&0x3f|0x80 // a UUID of version 8: the maker's own
	return fmt.Sprintf("%x-%x-%x-%x-%x", h[0:4], h[4:6], h[6:8], h[8:10], h[10:16])
}

// Numbers that stand for names in the format.
const (
	shapeRectangle, shapeCircle = 1, 2
	north, east                 = 0, 1
	momentary, togglePress      = 0, 2
	outlineFull, outlineCorners = 0, 1
	alignLeft, alignMiddle      = 1, 2
)

// node is a node that is being put together.
type node struct {
	id, typ    string
	properties []property
	values     []string
	messages   string
	children   func()
}

// common are the properties that every node has.
func common(name string, f Frame, c Color, touch bool) []property {
	return []property{boolean("background", true), color("color", c), float("cornerRadius", 1), frame(f), boolean("grabFocus", touch),
		boolean("interactive", touch), boolean("locked", false), words("name", name), integer("orientation", north), boolean("outline", false),
		integer("outlineStyle", outlineFull), integer("pointerPriority", 0), integer("shape", shapeRectangle), boolean("visible", true)}
}

// set replaces a property or adds it.
func (n *node) set(ps ...property) {
	for _, p := range ps {
		if i := slices.IndexFunc(n.properties, func(q property) bool { return q.key == p.key }); i >= 0 {
			n.properties[i] = p
			continue
		}
		n.properties = append(n.properties, p)
	}
}

func value(key, initial string, locked bool) string {
	return fmt.Sprintf("<value><key>%s</key><locked>0</locked><lockedDefaultCurrent>%s</lockedDefaultCurrent><default>%s</default><defaultPull>0</defaultPull></value>",
		cdata(key), flag(locked), cdata(initial))
}

func (w *toscWriter) node(n node, root bool) {
	fmt.Fprintf(w, "<node ID='%s' type='%s'>", n.id, n.typ)
	if root {
		w.WriteString("<includes></includes>")
	}
	slices.SortFunc(n.properties, func(a, b property) int { return strings.Compare(a.key, b.key) })
	w.WriteString("<properties>")
	for _, p := range n.properties {
		fmt.Fprintf(w, "<property type='%s'><key>%s</key><value>%s</value></property>", p.typ, cdata(p.key), p.value)
	}
	w.WriteString("</properties><values>")
	for _, v := range n.values {
		w.WriteString(v)
	}
	w.WriteString(value("touch", "false", false))
	w.WriteString("</values>")
	if n.messages != "" {
		w.WriteString("<messages>" + n.messages + "</messages>")
	}
	if n.children != nil {
		w.WriteString("<children>")
		n.children()
		w.WriteString("</children>")
	}
	w.WriteString("</node>")
}

func (w *toscWriter) document() {
	l := w.l
	w.WriteString("<?xml version='1.0' encoding='UTF-8'?><lexml version='6'>")
	root := node{id: w.id("root"), typ: "GROUP", properties: common(l.Name, Frame{0, 0, l.Width, l.Height}, ground, false)}
	if s := l.subscribeScript(); s != "" {
		root.set(words("script", s))
	}
	root.children = func() {
		for i := range l.Bar {
			if l.Bar[i].Kind == Box {
				w.widget(&l.Bar[i], "bar")
			}
		}
		w.pager()
		for i := range l.Bar {
			if l.Bar[i].Kind != Box {
				w.widget(&l.Bar[i], "bar")
			}
		}
	}
	w.node(root, true)
	w.WriteString("</lexml>")
}

func (w *toscWriter) pager() {
	l := w.l
	f := Frame{0, l.BarHeight, l.Width, l.Height - l.BarHeight}
	n := node{id: w.id("pager"), typ: "PAGER", properties: common(pagerName, f, ground, false), values: []string{value("page", "0", false)}}
	tabs := l.TabHeight
	n.set(boolean("interactive", true), boolean("tabLabels", true), boolean("tabbar", tabs > 0), boolean("tabbarDoubleTap", false),
		integer("tabbarSize", int(max(tabs, touch))), integer("textSizeOff", tabSize), integer("textSizeOn", tabSize))
	if i := slices.IndexFunc(l.Bar, func(w Widget) bool { return w.Title }); i >= 0 {
		n.set(words("script", l.pagerScript(l.Bar[i].Name)))
	}
	n.children = func() {
		for i := range l.Pages {
			p := &l.Pages[i]
			g := node{id: w.id("page", p.Name), typ: "GROUP", properties: common(p.Name, Frame{0, tabs, f.W, f.H - tabs}, ground, false)}
			g.set(color("tabColorOff", tabGround(p.Color)), color("tabColorOn", p.Color), words("tabLabel", p.Tab), color("textColorOff", ink), color("textColorOn", ground))
			g.children = func() {
				for k := range p.Widgets {
					w.widget(&p.Widgets[k], p.Name)
				}
			}
			w.node(g, false)
		}
	}
	w.node(n, false)
}

// widget writes a widget, and the labels that are written on it.
func (w *toscWriter) widget(x *Widget, page string) {
	n := node{id: w.id("widget", page, x.Name), properties: common(x.Name, x.Frame, x.Color, x.Kind.Touch())}
	script := ""
	position := func(i int) string {
		b := &x.Bind[i]
		if x.steps() {
			return number(b.Value)
		}
		return number(math.Round(b.Position(b.Value)*1e6) / 1e6)
	}
	switch x.Kind {
	case Box:
		n.typ = "BOX"
	case Label, Reading:
		w.text(&n, x)
		if x.Kind == Reading {
			b := &x.Bind[0]
			switch {
			case x.Tints != "":
				script = phaseScript(x)
			case b.Address == "/error":
				script = errorScript
			case b.Form != Text:
				script = countScript(b)
			}
		}
	case Lamp, Switch, Button, Jump:
		n.typ = "BUTTON"
		n.set(integer("buttonType", momentary), boolean("press", true), boolean("release", true), boolean("valuePosition", false), boolean("outline", x.Kind != Lamp))
		at := "0"
		if x.Kind == Switch {
			n.set(integer("buttonType", togglePress))
		}
		if x.Kind == Switch || x.Kind == Lamp {
			at = position(0)
		}
		n.values = append(n.values, value("x", at, false))
		script = w.l.controlScript(x)
		switch {
		case x.Arms:
			script = armScript()
		case x.Step != 0:
			script = w.l.stepScript(x.Step)
		}
		if x.Guarded {
			n.set(words("tag", guardTag), boolean("interactive", false), color("color", x.Color.alpha(0.4)))
		}
	case Meter, Fader:
		n.typ = "FADER"
		n.set(boolean("bar", true), integer("barDisplay", 0), boolean("centered", x.Centred), boolean("cursor", x.Kind == Fader), integer("cursorDisplay", 0),
			boolean("grid", x.Kind == Fader), color("gridColor", Color{0, 0, 0, 0.25}), integer("gridSteps", 11), integer("response", 0), integer("responseFactor", 100))
		if x.Kind == Fader {
			n.set(integer("gridSteps", gridSteps(x)))
		}
		if x.Frame.W > x.Frame.H {
			n.set(integer("orientation", east))
		}
		n.values = append(n.values, value("x", position(0), false))
		script = w.l.controlScript(x)
	case Knob:
		n.typ = "RADIAL"
		n.set(boolean("centered", x.Centred), boolean("cursor", true), integer("cursorDisplay", 0), boolean("grid", true), color("gridColor", Color{0, 0, 0, 0.25}),
			integer("gridSteps", gridSteps(x)), boolean("inverted", false), integer("response", 0), integer("responseFactor", 100), integer("shape", shapeCircle))
		n.values = append(n.values, value("x", position(0), false))
		script = w.l.controlScript(x)
	case Pad:
		n.typ = "XY"
		n.set(boolean("cursor", true), integer("cursorDisplay", 0), color("gridColor", Color{0, 0, 0, 0.25}), boolean("gridX", true), boolean("gridY", true),
			integer("gridStepsX", 11), integer("gridStepsY", 11), boolean("lines", true), integer("linesDisplay", 0), boolean("lockX", false), boolean("lockY", false),
			integer("response", 0), integer("responseFactor", 100), boolean("outline", true))
		n.values = append(n.values, value("x", position(0), false), value("y", position(1), false))
		script = w.l.controlScript(x)
	case Choice:
		n.typ = "RADIO"
		n.set(integer("radioType", 0), integer("steps", len(x.Bind[0].Words)), integer("orientation", east))
		n.values = append(n.values, value("x", position(0), false))
		script = w.l.controlScript(x)
	}
	if script != "" {
		n.set(words("script", script))
	}
	n.messages = w.messages(x)
	w.node(n, false)
	switch x.Kind {
	case Lamp, Switch, Button, Jump:
		if x.Text != "" {
			w.over(x, page, "text", x.Text, x.Frame, x.Size)
		}
	case Choice:
		for i, f := range x.segments() {
			text, size := fit(spaced(x.Bind[0].Words[i]), f.W-4, f.H, x.Size)
			w.over(x, page, fmt.Sprintf("text %d", i+1), text, f, size)
		}
	}
}

// over writes words on a widget that has none of its own. They take no touch.
func (w *toscWriter) over(x *Widget, page, suffix, text string, f Frame, size float64) {
	label := Widget{Kind: Label, Name: x.Name + " " + suffix, Frame: f, Text: text, Size: size, TextColor: x.TextColor}
	n := node{id: w.id("widget", page, label.Name), properties: common(label.Name, f, Color{}, false)}
	w.text(&n, &label)
	w.node(n, false)
}

// text makes a node one of words: a LABEL has one line, a TEXT as many as fit.
func (w *toscWriter) text(n *node, x *Widget) {
	n.typ = "LABEL"
	n.set(boolean("background", x.Color.A > 0), integer("font", 0), integer("textAlignH", [...]int{2, alignLeft, 3}[x.Align]), integer("textAlignV", alignMiddle),
		boolean("textClip", true), color("textColor", x.TextColor), integer("textSize", int(x.Size)))
	if strings.Contains(x.Text, "\n") || x.Kind == Reading && x.Frame.H >= 2*lineHeight*x.Size {
		n.typ = "TEXT"
		n.set(boolean("textWrap", true))
	} else {
		n.set(integer("textLength", 0))
	}
	n.values = append(n.values, value("text", x.Text, x.Kind == Label))
}

// messages are those of a widget: MIDI first, as the editor has them.
func (w *toscWriter) messages(x *Widget) string {
	var all strings.Builder
	for i := range x.Bind {
		if x.Bind[i].MIDI.Set {
			all.WriteString(w.midi(x, i))
		}
	}
	for i := range x.Bind {
		if !w.l.byMIDI(&x.Bind[i]) {
			all.WriteString(w.osc(x, i))
		}
	}
	if x.Kind == Jump && x.Step == 0 {
		fmt.Fprintf(&all, "<local><enabled>1</enabled><triggers><trigger><var>%s</var><condition>RISE</condition></trigger></triggers><type>CONSTANT</type><conversion>INTEGER</conversion><value>%s</value><scaleMin>0</scaleMin><scaleMax>1</scaleMax><dstType>VALUE</dstType><dstVar>%s</dstVar><dstID>%s</dstID></local>",
			cdata("x"), cdata(fmt.Sprint(x.Page)), cdata("page"), cdata(w.id("pager")))
	}
	return all.String()
}

// connections are ten marks, the last of them for connection 1.
func (o *Options) connections() string {
	if o.Connection == 0 {
		return strings.Repeat("1", 10)
	}
	return strings.Repeat("0", 10-o.Connection) + "1" + strings.Repeat("0", o.Connection-1)
}

// head is what every message begins with. Feedback is off: what came in does
// not go out again.
func (w *toscWriter) head(send, receive bool, trigger, condition string) string {
	triggers := ""
	if trigger != "" {
		triggers = fmt.Sprintf("<triggers><trigger><var>%s</var><condition>%s</condition></trigger></triggers>", cdata(trigger), condition)
	}
	return fmt.Sprintf("<enabled>1</enabled><send>%s</send><receive>%s</receive><feedback>0</feedback><noDuplicates>0</noDuplicates><connections>%s</connections>%s",
		flag(send), flag(receive), w.l.options.connections(), triggers)
}

func partial(typ, conversion, value string, low, high float64) string {
	return fmt.Sprintf("<partial><type>%s</type><conversion>%s</conversion><value>%s</value><scaleMin>%s</scaleMin><scaleMax>%s</scaleMax></partial>",
		typ, conversion, cdata(value), number(low), number(high))
}

func (w *toscWriter) osc(x *Widget, i int) string {
	b := &x.Bind[i]
	key := [...]string{"x", "y"}[i]
	condition, argument := "ANY", ""
	switch {
	case x.Kind == Reading && b.Form == Text:
		key, argument = "text", partial("VALUE", "STRING", "text", 0, 1)
	case x.Kind == Reading:
		key, argument = "text", partial("VALUE", "STRING", "text", b.Min, b.Max)
	case b.Form == Command:
		condition = "RISE"
	case x.steps():
		argument = partial("VALUE", "INTEGER", key, 0, 1)
	default:
		argument = partial("VALUE", "FLOAT", key, b.Min, b.Max)
	}
	send := b.Send && !b.speaks()
	if !send {
		key = ""
	}
	return "<osc>" + w.head(send, b.Receive, key, condition) + "<path>" + partial("CONSTANT", "STRING", b.Address, 0, 1) + "</path><arguments>" + argument + "</arguments></osc>"
}

func (w *toscWriter) midi(x *Widget, i int) string {
	b := &x.Bind[i]
	key := [...]string{"x", "y"}[i]
	high := 127.0
	if n := len(b.Words) - 1; x.steps() && n > 0 {
		high /= float64(n) // its value counts already
	}
	slot := func(typ, key string, low, high float64) string {
		return fmt.Sprintf("<value><type>%s</type><key>%s</key><scaleMin>%s</scaleMin><scaleMax>%s</scaleMax></value>", typ, cdata(key), number(low), number(high))
	}
	// Beside OSC, what comes back comes by OSC: a controller's 128 steps would
	// move the control off the value, and that would go out again.
	return "<midi>" + w.head(true, b.Receive && w.l.byMIDI(b), key, "ANY") +
		fmt.Sprintf("<message><type>CONTROLCHANGE</type><channel>%d</channel><data1>%d</data1><data2>0</data2></message>", b.MIDI.Channel, b.MIDI.Number) +
		"<values>" + slot("CONSTANT", "", 0, 15) + slot("CONSTANT", "", 0, 127) + slot("VALUE", key, 0, high) + "</values></midi>"
}
