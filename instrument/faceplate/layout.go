package faceplate

import (
	"fmt"
	"math"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Measures of a panel, in millimetres. The rails hide what is behind the
// uppermost and the lowest 10 mm, so nothing with a body stands there.
const (
	// Height is 3U.
	Height = 128.5
	// Pitch is one HP, a fifth of an inch.
	Pitch = 5.08
	// JackPitch is the least distance between the middles of two jacks: a plug
	// is 10 mm thick at most where hands hold it.
	JackPitch = 10
	railTop   = 10.0
	railLow   = 118.5
	jackSize  = 8.0 // the nut
	ledSize   = 1.7
	pushSize  = 5.0
	labelGap  = 0.75 // from a label to what it names
	leading   = 1.12 // from line to line of a label, in ems
)

// Width returns how wide a panel of so many HP really is: narrower than HP
// times Pitch, so that panels fit beside each other.
func Width(hp int) float64 {
	if w, ok := widths[hp]; ok {
		return w
	}
	return math.Floor((float64(hp)*Pitch-0.25)*10) / 10
}

// widths are what makers of panels cut.
var widths = map[int]float64{1: 5, 2: 9.8, 4: 20, 6: 30, 8: 40.3, 10: 50.5, 12: 60.6, 14: 70.8, 16: 80.9, 18: 91.3, 20: 101.3, 22: 111.4, 28: 141.9, 42: 213}

// Part is what a control is made as.
type Part string

const (
	Knob     Part = "knob"
	Trimmer  Part = "trimmer"  // an attenuverter
	Toggle   Part = "toggle"   // a switch of two or three positions
	Selector Part = "selector" // a switch of many, with a window that shows which
	Display  Part = "display"  // a word that is typed
	Counter  Part = "counter"  // a number that a trigger counts up
	Button   Part = "button"   // pushes a trigger or a gate into its input
	Bargraph Part = "bargraph"
	Screen   Part = "screen" // a picture
	LED      Part = "led"
	Input    Part = "input"
	Output   Part = "output"
)

// Round tells whether the part is a disc of diameter W.
func (p Part) Round() bool {
	switch p {
	case Knob, Trimmer, Button, LED, Input, Output:
		return true
	}
	return false
}

// Control is one thing on a panel that is turned, plugged, pushed or seen.
type Control struct {
	// ID is unique on the panel: the name of a param or jack, with _button,
	// _led or _bar behind it for what belongs to a jack.
	ID   string `json:"id"`
	Part Part   `json:"part"`
	// Name is the param or jack that it stands for.
	Name string `json:"name"`
	// X and Y are its middle, W and H its size, in millimetres.
	X float64 `json:"x"`
	Y float64 `json:"y"`
	W float64 `json:"w"`
	H float64 `json:"h"`
	// With is the knob that a trimmer or a CV jack belongs to.
	With string `json:"with,omitempty"`
	// Signal is the kind of a jack, as instrument.SignalKind prints it.
	Signal string `json:"signal,omitempty"`
	Poly   bool   `json:"poly,omitempty"`
	Doc    string `json:"doc,omitempty"`
	// Of a param: its range, where it stands by default, and how it turns.
	Min         float64  `json:"min,omitempty"`
	Max         float64  `json:"max,omitempty"`
	Value       float64  `json:"value,omitempty"`
	Unit        string   `json:"unit,omitempty"`
	Exponential bool     `json:"exponential,omitempty"`
	Whole       bool     `json:"whole,omitempty"`
	Choices     []string `json:"choices,omitempty"`
	Text        string   `json:"text,omitempty"` // default of a word
}

// At returns where in its travel, 0…1, a value of the control's param stands.
func (c *Control) At(v float64) float64 {
	switch {
	case c.Max <= c.Min:
		return 0
	case c.Exponential && c.Min > 0:
		return math.Min(1, math.Max(0, math.Log(math.Max(v, c.Min)/c.Min)/math.Log(c.Max/c.Min)))
	}
	return math.Min(1, math.Max(0, (v-c.Min)/(c.Max-c.Min)))
}

// Word is a line of text on a panel.
type Word struct {
	Text string  `json:"text"`
	X    float64 `json:"x"` // of its middle, or of its beginning where Left is set
	Y    float64 `json:"y"` // of the baseline
	Size float64 `json:"size"`
	// Width is how wide it runs in the panel's own font; another font is to be
	// pressed or stretched to it.
	Width float64 `json:"width"`
	Left  bool    `json:"left,omitempty"`
	// Role is title, bound, label, zone, choice or maker.
	Role string `json:"role"`
	// Zone is outputs for what stands on the plate of another tone.
	Zone string `json:"zone,omitempty"`
	// For is the control that it names.
	For string `json:"for,omitempty"`
}

// Box is a rectangle: its top left corner and its size.
type Box struct {
	X float64 `json:"x"`
	Y float64 `json:"y"`
	W float64 `json:"w"`
	H float64 `json:"h"`
}

// Line joins a trimmer to its knob and jack.
type Line struct {
	X1 float64 `json:"x1"`
	Y1 float64 `json:"y1"`
	X2 float64 `json:"x2"`
	Y2 float64 `json:"y2"`
}

// Layout is a panel: everything on it with its place, in millimetres from the
// top left corner.
type Layout struct {
	Kind   string  `json:"kind"`
	Title  string  `json:"title"`
	Doc    string  `json:"doc"`
	Family string  `json:"family"`
	HP     int     `json:"hp"`
	Width  float64 `json:"width"`
	Height float64 `json:"height"`
	// Holes are where it is screwed to the rails.
	Holes []Box `json:"holes"`
	// Inputs is the line above the zone of the inputs, with no height; Outputs
	// the plate under the outputs. A panel may lack either.
	Inputs  *Box `json:"inputs,omitempty"`
	Outputs *Box `json:"outputs,omitempty"`
	// Icon is where the small icon stands beside the title, Art a large one
	// where there was room for it.
	Icon     Box       `json:"icon"`
	Art      *Box      `json:"art,omitempty"`
	Controls []Control `json:"controls"`
	Words    []Word    `json:"words"`
	Lines    []Line    `json:"lines,omitempty"`
}

// Control returns the control of an ID, or nil.
func (l *Layout) Control(id string) *Control {
	for i := range l.Controls {
		if l.Controls[i].ID == id {
			return &l.Controls[i]
		}
	}
	return nil
}

// NarrowError says that a panel has no room for what its spec declares.
type NarrowError struct {
	Kind     string
	HP, Need int // Need is 0 where no width that was tried is enough
}

func (e *NarrowError) Error() string {
	if e.Need == 0 {
		return fmt.Sprintf("the panel of %s has no room at %d HP, nor at any width that was tried", e.Kind, e.HP)
	}
	return fmt.Sprintf("the panel of %s has no room at %d HP; it needs %d", e.Kind, e.HP, e.Need)
}

// Build lays out the panel of a module. Where its width has no room for what
// it declares the error is a NarrowError.
func Build(spec *instrument.ModuleSpec) (*Layout, error) {
	if l := build(spec, spec.HP); l != nil {
		return l, nil
	}
	for hp := spec.HP + 2; hp <= 84; hp += 2 {
		if build(spec, hp) != nil {
			return nil, &NarrowError{spec.Kind, spec.HP, hp}
		}
	}
	return nil, &NarrowError{spec.Kind, spec.HP, 0}
}

// level is how generously controls are laid out.
type level struct {
	cell    float64 // least width of a control's cell
	knob    float64 // diameter
	trimmer float64
	beside  bool    // the trimmer stands beside its jack, not above it
	jacks   float64 // least distance of jacks
	label   float64 // size of labels
	tight   bool    // smallest gaps, and words may be shortened
}

// levels are tried from the most generous on.
var levels = []level{
	{cell: 20, knob: 16, trimmer: 6, beside: true, jacks: 13, label: 2.2},
	{cell: 20, knob: 14, trimmer: 6, beside: true, jacks: 13, label: 2.2},
	{cell: 20, knob: 13, trimmer: 6, beside: true, jacks: 11, label: 2.1},
	{cell: 17, knob: 12, trimmer: 5.5, beside: true, jacks: 12, label: 2.1},
	{cell: 15, knob: 11, trimmer: 5, beside: true, jacks: 11, label: 2.0},
	{cell: 15, knob: 11, trimmer: 5, beside: true, jacks: 10, label: 1.9},
	{cell: 12, knob: 10, trimmer: 5.5, jacks: 11, label: 1.9},
	{cell: 12, knob: 9.5, trimmer: 5, jacks: 10, label: 1.8},
	{cell: 10, knob: 8.6, trimmer: 5, jacks: 10, label: 1.75},
	{cell: 10, knob: 8.4, trimmer: 5, jacks: 10, label: 1.65},
	{cell: 10, knob: 8.2, trimmer: 4.8, jacks: 10, label: 1.6, tight: true},
}

const (
	zoneControls = iota
	zoneInputs
	zoneOutputs
)

// cell is one control, or a stack of them, in a row.
type cell struct {
	w     float64  // its width where that is not its row's share
	label []string // lines above its body
	named string   // what the label is for
	h     float64  // of its body
	parts []Control
	words []Word
	lines []Line // within the cell
}

// row is cells beside one another.
type row struct {
	zone  int
	cells []cell
	share float64 // width of each cell
	top   float64 // height of the labels
	body  float64
	below float64 // what must stay free beneath
	high  bool    // bodies hang from the top, not from the middle
	grow  float64 // how much its body may gain
}

func (r *row) height() float64 {
	h := r.top + r.body + r.below
	if r.top > 0 {
		h += labelGap
	}
	return h
}

// builder lays out one panel at one level.
type builder struct {
	spec  *instrument.ModuleSpec
	lv    level
	width float64
	rows  []row
	bad   bool // a label or a cell has no room
}

func build(spec *instrument.ModuleSpec, hp int) *Layout {
	for _, lv := range levels {
		b := &builder{spec: spec, lv: lv, width: Width(hp)}
		if l := b.build(hp); l != nil {
			return l
		}
	}
	return nil
}

func (b *builder) build(hp int) *Layout {
	l := &Layout{Kind: b.spec.Kind, Title: b.spec.Title, Doc: b.spec.Doc, Family: Family(b.spec.Kind), HP: hp, Width: b.width, Height: Height}
	l.holes()
	top := l.header(b.spec)
	b.displays()
	b.params()
	b.bargraphs()
	b.inputs()
	b.outputs()
	if b.bad {
		return nil
	}
	if !b.place(l, top) {
		return nil
	}
	return l
}

// holes puts the screws where the threads of the rails are: the first in the
// middle of a HP, 7.5 mm from the left edge.
func (l *Layout) holes() {
	const inset, first, w, h = 3.0, 7.5, 4.4, 3.2
	hole := func(x, y float64) { l.Holes = append(l.Holes, Box{x - w/2, y - h/2, w, h}) }
	last := first + float64(l.HP-3)*Pitch
	switch {
	case l.HP < 6:
		hole(first, inset)
		hole(first, Height-inset)
	case l.HP < 10:
		hole(first, inset)
		hole(last, Height-inset)
	default:
		for _, y := range []float64{inset, Height - inset} {
			hole(first, y)
			hole(last, y)
		}
	}
}

// header prints the title, with what the module is bound to, and returns
// where the next thing may begin.
func (l *Layout) header(spec *instrument.ModuleSpec) float64 {
	const icon, left = 5.6, 2.6
	l.Icon = Box{left, 6.1, icon, icon}
	at := left + icon + 1.3
	room := l.Width - at - 1.6
	lines, size := fitTitle(spec.Title, room)
	y := 10.6
	if len(lines) > 1 {
		y = 11.2 - size*1.06 // descenders stay clear of the line below
	}
	for _, s := range lines {
		l.word(Word{Text: s, X: at, Y: y, Size: size, Left: true, Role: "title"}, Bold, 0)
		y += size * 1.06
	}
	top := 14.2
	if what := bound(spec.Bound); what != "" {
		size := 1.9
		for size > 1.5 && TextWidth(what, size, Medium, 0) > l.Width-2*left {
			size -= 0.1
		}
		l.word(Word{Text: what, X: left, Y: 15.4, Size: size, Left: true, Role: "bound"}, Medium, 0)
		top = 17
	}
	mark := "k8s-synth"
	size = 2.2
	l.word(Word{Text: mark, X: l.Width / 2, Y: 122.2, Size: size, Role: "maker"}, Bold, track("maker"))
	return top
}

// fitTitle finds the largest size at which a title has room, on one line or
// on two.
func fitTitle(title string, room float64) ([]string, float64) {
	const largest, smallest = 4.6, 2.3
	for size := largest; size > 3.2; size -= 0.1 {
		if TextWidth(title, size, Bold, 0) <= room {
			return []string{title}, size
		}
	}
	for size := 3.4; size >= smallest; size -= 0.1 {
		if TextWidth(title, size, Bold, 0) <= room {
			return []string{title}, size
		}
		if a, b := halves(title, size); TextWidth(a, size, Bold, 0) <= room && TextWidth(b, size, Bold, 0) <= room {
			return []string{a, b}, size
		}
	}
	a, b := halves(title, smallest)
	return []string{a, b}, smallest
}

// halves cuts a title where a new word begins, so that its parts are nearest
// in length.
func halves(title string, size float64) (a, b string) {
	best := math.Inf(1)
	a = title
	for i, r := range title {
		if i == 0 || r != ' ' && (r < 'A' || r > 'Z') {
			continue
		}
		x, y := strings.TrimSpace(title[:i]), strings.TrimSpace(title[i:])
		if w := math.Max(TextWidth(x, size, Bold, 0), TextWidth(y, size, Bold, 0)); w < best {
			best, a, b = w, x, y
		}
	}
	return a, b
}

// bound makes one short line of what a module is bound to: "one Deployment".
func bound(s string) string {
	s, _, _ = strings.Cut(s, ":")
	for _, cut := range []string{",", " and "} {
		s, _, _ = strings.Cut(s, cut)
	}
	if s != "" && !strings.Contains(s, " ") {
		return "one " + s
	}
	return s
}

// track is the space between letters of a role, in ems.
func track(role string) float64 {
	switch role {
	case "maker":
		return 0.14
	case "zone":
		return 0.12
	}
	return 0
}

func weight(role string) Weight {
	switch role {
	case "title", "maker", "zone":
		return Bold
	}
	return Medium
}

func (l *Layout) word(w Word, weight Weight, track float64) {
	w.Width = TextWidth(w.Text, w.Size, weight, track)
	l.Words = append(l.Words, w)
}

// place gives every row its height and puts everything in its place.
func (b *builder) place(l *Layout, top float64) bool {
	const (
		zoneHead  = 3.0 // a word above a zone
		plateHead = 3.4
		plateFoot = 1.3
		bottom    = 117.9
		inset     = 0.8 // of the plate
	)
	gap := 1.7
	if b.lv.tight {
		gap = 0.9
	}
	need, last := 0.0, zoneControls
	outputs := false
	for i := range b.rows {
		r := &b.rows[i]
		if i > 0 {
			need += gap
		}
		if r.zone != last {
			if r.zone == zoneInputs {
				need += zoneHead
			} else {
				need += plateHead
				outputs = true
			}
			last = r.zone
		}
		need += r.height()
	}
	if outputs {
		need += plateFoot
	}
	spare := bottom - top - need
	if spare < 0 {
		return false
	}
	// A row that can grow takes most of what is to spare; then gaps, to a
	// degree; then there is room for a picture.
	for i := range b.rows {
		if g := math.Min(b.rows[i].grow, spare*0.8); g > 0 {
			r := &b.rows[i]
			r.body += g
			for c := range r.cells {
				r.cells[c].h += g
				for p := range r.cells[c].parts {
					r.cells[c].parts[p].H += g
					r.cells[c].parts[p].Y += g / 2
				}
			}
			spare -= g
		}
	}
	n := float64(len(b.rows))
	most := 4.2
	each := math.Min(most, spare/(n+0.5))
	spare -= each * (n + 0.5)
	y := top
	if art := math.Min(spare, l.Width-6); art >= 9 {
		art = math.Min(art, 40)
		l.Art = &Box{(l.Width - art) / 2, top + (spare-art)/2, art, art}
		y += spare
	} else {
		each += spare / (n + 0.5)
		y += each / 2
	}
	last = zoneControls
	for i := range b.rows {
		r := &b.rows[i]
		if i > 0 {
			y += gap
		}
		zone := ""
		if r.zone != last {
			last = r.zone
			if r.zone == zoneInputs {
				l.Inputs = &Box{2, y + zoneHead/2 - 0.8, l.Width - 4, 0}
				l.zoneWord("IN", y+zoneHead/2-0.1)
				y += zoneHead
			} else {
				l.Outputs = &Box{inset, y + 0.2, l.Width - 2*inset, bottom - y - 0.2}
				l.zoneWord("OUT", y+2.3)
				y += plateHead
			}
		}
		if r.zone == zoneOutputs {
			zone = "outputs"
		}
		b.settle(l, r, y+each/2, zone)
		y += r.height() + each
	}
	return true
}

func (l *Layout) zoneWord(s string, y float64) {
	w := Word{Text: s, X: l.Width / 2, Y: y, Size: 1.6, Role: "zone"}
	if s == "OUT" {
		w.Zone = "outputs"
	}
	l.word(w, Bold, track("zone"))
}

// settle puts the cells of a row in their places.
func (b *builder) settle(l *Layout, r *row, y float64, zone string) {
	total := 0.0
	for _, c := range r.cells {
		total += c.width(r.share)
	}
	x := (l.Width - total) / 2
	body := y + r.top
	if r.top > 0 {
		body += labelGap
	}
	for _, c := range r.cells {
		mid := x + c.width(r.share)/2
		x += c.width(r.share)
		at := body
		if !r.high {
			at += (r.body - c.h) / 2
		}
		base := at - labelGap - 0.22*b.lv.label
		for i, s := range c.label {
			l.word(Word{Text: s, X: mid, Y: base - float64(len(c.label)-1-i)*b.lv.label*leading, Size: b.lv.label, Role: "label", Zone: zone, For: c.named}, Medium, 0)
		}
		for _, w := range c.words {
			w.X, w.Y, w.Zone = w.X+mid, w.Y+at, zone
			l.word(w, weight(w.Role), track(w.Role))
		}
		for _, n := range c.lines {
			l.Lines = append(l.Lines, Line{n.X1 + mid, n.Y1 + at, n.X2 + mid, n.Y2 + at})
		}
		for _, p := range c.parts {
			p.X, p.Y = p.X+mid, p.Y+at
			l.Controls = append(l.Controls, p)
		}
	}
}

func (c *cell) width(share float64) float64 {
	if c.w > 0 {
		return c.w
	}
	return share
}

// add appends a row of cells whose height follows from them.
func (b *builder) add(r row) {
	for _, c := range r.cells {
		r.top = math.Max(r.top, float64(len(c.label))*b.lv.label*leading-0.2*b.lv.label)
		r.body = math.Max(r.body, c.h)
	}
	b.rows = append(b.rows, r)
}
