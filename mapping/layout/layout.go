package layout

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Frame is a place on the canvas in points, from the top left.
type Frame struct{ X, Y, W, H float64 }

// Inset returns the frame with d points less on each side.
func (f Frame) Inset(d float64) Frame { return Frame{f.X + d, f.Y + d, f.W - 2*d, f.H - 2*d} }

// Contains tells whether g is wholly within f.
func (f Frame) Contains(g Frame) bool {
	const hair = 1e-6
	return g.X >= f.X-hair && g.Y >= f.Y-hair && g.X+g.W <= f.X+f.W+hair && g.Y+g.H <= f.Y+f.H+hair
}

// Overlaps tells whether f and g share more than an edge.
func (f Frame) Overlaps(g Frame) bool {
	const hair = 1e-6
	return f.X+f.W > g.X+hair && g.X+g.W > f.X+hair && f.Y+f.H > g.Y+hair && g.Y+g.H > f.Y+hair
}

// Color is red, green, blue and how much of it covers, each 0…1.
type Color struct{ R, G, B, A float64 }

// rgb makes an opaque Color of six hexadecimal digits.
func rgb(hex uint32) Color {
	part := func(shift uint) float64 { return math.Round(float64(hex>>shift&0xff)/255*1e4) / 1e4 }
	return Color{part(16), part(8), part(0), 1}
}

// alpha returns the colour covering only so much.
func (c Color) alpha(a float64) Color { c.A = a; return c }

// mix returns a colour between c, at 0, and d, at 1.
func (c Color) mix(d Color, at float64) Color {
	m := func(a, b float64) float64 { return math.Round((a+(b-a)*at)*1e4) / 1e4 }
	return Color{m(c.R, d.R), m(c.G, d.G), m(c.B, d.B), m(c.A, d.A)}
}

// Kind is what a widget is to a hand.
type Kind uint8

// Kinds of widget. Those up to Meter cannot be touched.
const (
	Box     Kind = iota // ground under others
	Label               // words that stay
	Reading             // words that the instrument says
	Lamp                // lit by a gate
	Meter               // a bar that volts fill
	Fader
	Knob
	Pad    // two values under one finger
	Choice // one of a few words
	Switch // off and on
	Button // holds while it is pressed
	Jump   // goes to a page
)

var kindNames = [...]string{"box", "label", "reading", "lamp", "meter", "fader", "knob", "pad", "choice", "switch", "button", "jump"}

// String returns the kind in one word.
func (k Kind) String() string { return kindNames[k] }

// Touch tells whether a finger does something to it.
func (k Kind) Touch() bool { return k > Meter }

// Form is what an address takes or says.
type Form uint8

// Forms of a value.
const (
	Number  Form = iota // a float from Min to Max
	Whole               // the same in steps of one
	Word                // one of Words
	Text                // any words; read only
	Volts               // a gate or trigger: 0 or 10 V, or a level
	Command             // no value; it is done
)

// Binding ties a widget to an address.
type Binding struct {
	Address  string
	Form     Form
	Min, Max float64 // of Number, Whole and Volts
	// Exponential lays equal ratios under equal travel.
	Exponential bool
	Words       []string
	Unit        string
	// Send and Receive say which ways values go.
	Send, Receive bool
	// Value is where it stands in the patch: a number, an index of Words, or
	// volts. Said is what a Text is.
	Value float64
	Said  string
	MIDI  Controller
}

// Controller is the MIDI controller that a widget sends and follows.
type Controller struct {
	Set     bool
	Channel uint8 // 0…15
	Number  uint8 // 0…119
}

// At returns the value at x, 0…1 of the travel.
func (b *Binding) At(x float64) float64 {
	v := b.Min + (b.Max-b.Min)*x
	if b.Exponential {
		v = b.Min * math.Pow(b.Max/b.Min, x)
	}
	if b.Form == Whole || b.Form == Word {
		v = math.Round(v)
	}
	return min(max(v, b.Min), b.Max)
}

// Position returns where a value is along the travel, 0…1.
func (b *Binding) Position(v float64) float64 {
	if b.Max <= b.Min {
		return 0
	}
	v = min(max(v, b.Min), b.Max)
	if b.Exponential {
		return math.Log(v/b.Min) / math.Log(b.Max/b.Min)
	}
	return (v - b.Min) / (b.Max - b.Min)
}

// Show writes a value as the readouts do: three or four figures and the unit.
func (b *Binding) Show(v float64) string {
	if b.Form == Word && len(b.Words) > 0 {
		return spaced(b.Words[int(min(max(math.Round(v), 0), float64(len(b.Words)-1)))])
	}
	if b.Unit == "" {
		return figures(v, b.Form == Whole)
	}
	return figures(v, b.Form == Whole) + " " + shortUnit(b.Unit)
}

// figures writes a number as short as a readout wants it.
func figures(v float64, whole bool) string {
	a, unit := math.Abs(v), ""
	if a >= 9999.5 {
		v, a, unit, whole = v/1000, a/1000, "k", false
	}
	s := ""
	switch {
	case whole || a >= 99.95:
		s = strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		s = strconv.FormatFloat(v, 'f', 1, 64)
	default:
		s = strconv.FormatFloat(v, 'f', 2, 64)
	}
	if v < 0 && strings.Trim(s, "-0.") == "" {
		s = s[1:] // nothing is not less than nothing
	}
	return s + unit
}

// shortUnit is a unit as it fits under a knob.
func shortUnit(u string) string {
	switch u {
	case "semitones":
		return "st"
	case "octaves":
		return "oct"
	}
	return u
}

// spaced turns a name with underscores into words.
func spaced(name string) string { return strings.ReplaceAll(name, "_", " ") }

// Align is where words are in their frame.
type Align uint8

// Places of words.
const (
	Centre Align = iota
	Left
	Right
)

// Widget is one thing on a page.
type Widget struct {
	Kind  Kind
	Name  string // unique on its page
	Frame Frame
	// Text is written on it; a line break begins another line. Size is its
	// height in points.
	Text  string
	Size  float64
	Align Align
	// Color is of the thing, TextColor of its words.
	Color, TextColor Color
	Bind             []Binding // a Pad has two: across and up
	// Shows names the Label beside it that says its value, one for each Bind.
	Shows []string
	// Page is where a Jump goes, an index of Layout.Pages. Step goes that many
	// pages on instead, round.
	Page, Step int
	// Tints names the Box that a Reading of a phase gives its colour to.
	Tints string
	// Lights names the Button that a Lamp is set in, and shows the state of.
	Lights string
	// Guarded marks what is dead until its tablet is armed, Arms what arms.
	Guarded, Arms bool
	// Centred marks a fader or knob that is filled from its middle.
	Centred bool
	// Title marks the Label that tells which page is open.
	Title bool
}

// Page is one page of widgets, in Layout.Area.
type Page struct {
	Name    string // unique
	Tab     string // short, for a tab
	Color   Color
	Widgets []Widget
}

// Layout is a control surface.
type Layout struct {
	Name          string // of the scene
	Width, Height float64
	// Bar is above the pages at all times; its frames are from the canvas' own
	// top left. TabHeight is of the row of tabs under it, 0 where there are too
	// many pages for one.
	Bar       []Widget
	BarHeight float64
	TabHeight float64
	Pages     []Page

	options Options
}

// Area is where the pages are. The frames of their widgets are from its top
// left.
func (l *Layout) Area() Frame {
	y := l.BarHeight + l.TabHeight
	return Frame{0, y, l.Width, l.Height - y}
}

// Options say for what a layout is made. The zero Options are a tablet.
type Options struct {
	// Width and Height of the canvas in points, 320…4096; the default is
	// 1024 × 768.
	Width, Height float64
	// Connection is which of TouchOSC's OSC connections it uses, 1…10; 0 is all
	// of them.
	Connection int
	// ReplyPort is where TouchOSC listens; the layout asks the instrument to
	// send there. 0 does not ask: then the instrument is told by --osc-to.
	ReplyPort int
	// MIDI says what is sent as controllers.
	MIDI MIDIUse
}

// MIDIUse is what a layout does by MIDI.
type MIDIUse uint8

// Uses of MIDI.
const (
	NoMIDI   MIDIUse = iota
	AlsoMIDI         // controllers go out beside OSC; values come back by OSC
	OnlyMIDI         // what has a controller is sent and followed by that alone
)

// byMIDI tells whether a binding does without OSC.
func (l *Layout) byMIDI(b *Binding) bool { return l.options.MIDI == OnlyMIDI && b.MIDI.Set }

// Sizes by name, landscape.
var (
	Tablet = Frame{W: 1024, H: 768}
	Phone  = Frame{W: 812, H: 375}
)

// ParseSize reads tablet, phone or WIDTHxHEIGHT in points.
func ParseSize(s string) (w, h float64, err error) {
	switch s {
	case "tablet", "":
		return Tablet.W, Tablet.H, nil
	case "phone":
		return Phone.W, Phone.H, nil
	}
	ws, hs, ok := strings.Cut(s, "x")
	wi, errW := strconv.Atoi(ws)
	hi, errH := strconv.Atoi(hs)
	if !ok || errW != nil || errH != nil {
		return 0, 0, fmt.Errorf("size %q is not tablet, phone or WIDTHxHEIGHT in points, such as 1180x820", s)
	}
	if err := checkSize(float64(wi), float64(hi)); err != nil {
		return 0, 0, err
	}
	return float64(wi), float64(hi), nil
}

// The smallest canvas on which each finger finds its place, and the largest
// that TouchOSC's editor draws sensibly.
const (
	minSide = 320
	maxSide = 4096
)

func checkSize(w, h float64) error {
	if !(w >= minSide && w <= maxSide && h >= minSide && h <= maxSide) {
		return fmt.Errorf("size %g × %g is out of range: each side is %d … %d points", w, h, minSide, maxSide)
	}
	return nil
}

// normal fills the defaults in.
func (o Options) normal() (Options, error) {
	if o.Width == 0 && o.Height == 0 {
		o.Width, o.Height = Tablet.W, Tablet.H
	}
	o.Width, o.Height = math.Floor(o.Width), math.Floor(o.Height)
	switch {
	case checkSize(o.Width, o.Height) != nil:
		return o, checkSize(o.Width, o.Height)
	case o.Connection < 0 || o.Connection > 10:
		return o, fmt.Errorf("OSC connection %d is out of range: expected 1 … 10, or 0 for all", o.Connection)
	case o.ReplyPort < 0 || o.ReplyPort > 65535:
		return o, fmt.Errorf("reply port %d is out of range: expected 1 … 65535, or 0 for none", o.ReplyPort)
	}
	return o, nil
}

// bound returns the binding of a param of a module.
func bound(m *instrument.Module, p *instrument.ParamSpec) Binding {
	b := Binding{Address: "/" + string(m.ID) + "/" + p.Name, Unit: p.Unit, Min: p.Min, Max: p.Max, Send: true, Receive: true,
		Exponential: p.Curve == instrument.Exponential && p.Min > 0}
	switch {
	case p.Text:
		b.Form, b.Send, b.Said = Text, false, m.Word(p.Name)
		return b
	case len(p.Choices) > 0:
		b.Form, b.Words = Word, p.Choices
	case p.Whole:
		b.Form = Whole
	}
	b.Value = m.Value(p.Name)
	return b
}
