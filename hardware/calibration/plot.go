package calibration

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// A trace is one line of a plot: cents over notes or levels.
type trace struct {
	title, colour string
	x, y          []float64
	most          float64 // end of its axis, cents
	limit         float64 // a band that is wanted, cents; 0 for none
}

// traces are the panels of a document's plot: the error before and after, and what has drifted.
func (d *Document) traces(r *DriftReport) []trace {
	before := trace{title: "before", colour: "#e8b400"}
	after := trace{title: "after", colour: "#00a0c8", limit: 0.5}
	for _, row := range d.Table {
		x := d.axis(row.Volts)
		if !math.IsNaN(row.Before) {
			before.x, before.y = append(before.x, x), append(before.y, row.Before)
		}
		if !math.IsNaN(row.After) {
			after.x, after.y = append(after.x, x), append(after.y, row.After)
		}
	}
	var all []trace
	for _, t := range []trace{before, after} {
		if len(t.y) > 0 {
			all = append(all, t)
		}
	}
	if len(all) == 0 {
		// A line alone: what it mends.
		c, err := d.Curve()
		if err != nil {
			return nil
		}
		for _, l := range d.levels() {
			before.x = append(before.x, d.axis(l.Volts))
			before.y = append(before.y, d.Standard.Cents(l.Volts, c.Wanted(l.Volts)))
		}
		all = append(all, before)
	}
	if r != nil {
		t := trace{title: "drift since " + r.Since.Format(time.DateOnly), colour: "#d0659a"}
		for _, n := range r.Notes {
			t.x, t.y = append(t.x, d.axis(n.Volts)), append(t.y, n.Cents)
		}
		all = append(all, t)
	}
	for i := range all {
		worst := all[i].limit
		for _, y := range all[i].y {
			worst = max(worst, math.Abs(y))
		}
		all[i].most = nice(worst)
	}
	return all
}

// notes tells whether the axis is of notes, and not of volts.
func (d *Document) notes() bool {
	for _, r := range d.Table {
		if r.Note < 0 {
			return false
		}
	}
	return len(d.Table) > 0
}

// axis is where a level lies on it.
func (d *Document) axis(volts float64) float64 {
	if d.notes() {
		return d.Standard.NoteOf(volts)
	}
	return volts
}

// nice is the end of an axis that holds a figure.
func nice(v float64) float64 {
	for e := -2; e < 6; e++ {
		for _, m := range []float64{1, 2, 5} {
			if n := m * math.Pow10(e); n >= v*1.02 {
				return n
			}
		}
	}
	return v
}

// marks are places on the axis with their names: every C, or volts.
func (d *Document) marks(low, high float64) (at []float64, names []string) {
	if d.notes() {
		step := 12.0
		if high-low < 18 {
			step = 3
		}
		for n := math.Ceil(low/step) * step; n <= high; n += step {
			at, names = append(at, n), append(names, NoteName(int(n)))
		}
		return at, names
	}
	step := nice((high - low) / 12)
	for v := math.Ceil(low/step) * step; v <= high+1e-9; v += step {
		at, names = append(at, v), append(names, fmt.Sprintf("%.4g V", roundTo(v, step/10)))
	}
	return at, names
}

// ends are the lowest and highest place of all traces.
func ends(traces []trace) (low, high float64) {
	low, high = math.Inf(1), math.Inf(-1)
	for _, t := range traces {
		for _, x := range t.x {
			low, high = min(low, x), max(high, x)
		}
	}
	if high-low < 1e-9 {
		low, high = low-1, high+1
	}
	return low, high
}

// heading is what a plot is of.
func (d *Document) heading() string {
	s := fmt.Sprintf("%s, %s %d of %s", d.Jack, d.Direction, d.Channel, d.Interface)
	if !d.Made.IsZero() {
		s += ", " + d.Made.Format(time.DateOnly)
	}
	return s + ", by " + d.Method
}

// figures sums a residual up.
func (r Residual) String() string {
	if math.IsNaN(r.Worst) {
		return "not measured"
	}
	return fmt.Sprintf("worst %s, RMS %s cents", figure(r.Worst), figure(r.RMS))
}

func figure(v float64) string {
	if v >= 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.3f", v)
}

// The measures of a plot in SVG, in pixels.
const (
	svgLeft, svgTop   = 64, 34
	svgWide, svgHigh  = 800, 190
	svgRight, svgFoot = 28, 44
	svgGap            = 42
)

// WriteSVG draws the error in cents before and after the calibration, and where a report is given
// the drift since the last one. It returns w's error.
func (d *Document) WriteSVG(w io.Writer, r *DriftReport) error {
	b := bufio.NewWriter(w)
	p := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	traces := d.traces(r)
	width := svgLeft + svgWide + svgRight
	height := svgTop + len(traces)*(svgHigh+svgGap) + svgFoot
	// The picture brings its own ground, so that it reads the same on any page.
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`, width, height, width, height)
	p(`<title>%s</title>`, escape(d.heading()))
	p(`<rect width="%d" height="%d" fill="#101418"/>`, width, height)
	p(`<text x="%d" y="20" fill="#c8d0d8" font-size="14">%s</text>`, svgLeft, escape(d.heading()))
	low, high := ends(traces)
	margin := (high - low) * 0.01
	low, high = low-margin, high+margin
	x := func(v float64) float64 { return svgLeft + svgWide*(v-low)/(high-low) }
	at, names := d.marks(low, high)
	top := float64(svgTop)
	for _, t := range traces {
		top += svgGap
		y := func(cents float64) float64 {
			return top + svgHigh/2*(1-min(max(cents/t.most, -1), 1))
		}
		sum := residualOf(t.y)
		p(`<text x="%d" y="%.1f" fill="%s">%s</text>`, svgLeft, top-8, t.colour, escape(t.title))
		p(`<text x="%d" y="%.1f" fill="#9aa4ae" text-anchor="end">%s</text>`, svgLeft+svgWide, top-8, escape(sum.String()))
		if t.limit > 0 {
			p(`<rect x="%d" y="%.1f" width="%d" height="%.1f" fill="#1c2a24"/>`, svgLeft, y(t.limit), svgWide, y(-t.limit)-y(t.limit))
		}
		for i, m := range at {
			p(`<line x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f" stroke="#2c343c"/>`, x(m), top, x(m), top+svgHigh)
			p(`<text x="%.1f" y="%.1f" fill="#9aa4ae" text-anchor="middle" font-size="11">%s</text>`, x(m), top+svgHigh+14, names[i])
		}
		for i := -2; i <= 2; i++ {
			c := t.most * float64(i) / 2
			colour := "#2c343c"
			if i == 0 {
				colour = "#56606a"
			}
			p(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>`, svgLeft, y(c), svgLeft+svgWide, y(c), colour)
			p(`<text x="%d" y="%.1f" fill="#9aa4ae" text-anchor="end">%s</text>`, svgLeft-6, y(c)+4, axisLabel(c))
		}
		if len(t.y) > 1 {
			fmt.Fprintf(b, `<polyline fill="none" stroke="%s" stroke-width="1.4" stroke-linejoin="round" points="`, t.colour)
			for i := range t.x {
				fmt.Fprintf(b, "%.1f,%.1f ", x(t.x[i]), y(t.y[i]))
			}
			p(`"/>`)
		}
		for i := range t.x {
			p(`<circle cx="%.1f" cy="%.1f" r="2" fill="%s"/>`, x(t.x[i]), y(t.y[i]), t.colour)
		}
		for _, l := range d.LeftOut {
			if v := d.axis(l.Volts); v >= low && v <= high {
				p(`<text x="%.1f" y="%.1f" fill="#ff6b5e" text-anchor="middle"><title>%s: %s</title>×</text>`, x(v), y(0)+4, escape(place(l.Note, l.Volts)), escape(l.Why))
			}
		}
		top += svgHigh
	}
	foot := "cents over what is wanted"
	if len(d.LeftOut) > 0 {
		foot += fmt.Sprintf("; × left out: %d", len(d.LeftOut))
	}
	p(`<text x="%d" y="%d" fill="#9aa4ae">%s</text>`, svgLeft, height-8, escape(foot))
	p(`</svg>`)
	return b.Flush()
}

func axisLabel(c float64) string {
	if c == 0 {
		return "0"
	}
	return fmt.Sprintf("%+.4g", c)
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", `"`, "&quot;")

// escape makes text safe in XML, where control characters have no place at all.
func escape(s string) string {
	return escaper.Replace(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0xfffe || r == 0xffff {
			return ' '
		}
		return r
	}, s))
}

// brailleDots are the bits of the dots of a braille character, by column and row from the top
// (Unicode, block Braille Patterns).
var brailleDots = [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

const brailleEmpty = '\u2800'

// Text draws the same for a terminal, of a number of columns and of lines for each panel; two dots
// wide and four high fit in a character.
func (d *Document) Text(columns, lines int, r *DriftReport) string {
	const margin = 9
	lines = min(max(lines, 3), 60) | 1 // an odd number has a middle for 0
	wide := min(max(columns-margin-1, 16), 400)
	traces := d.traces(r)
	if len(traces) == 0 {
		return "nothing to draw\n"
	}
	low, high := ends(traces)
	var b strings.Builder
	rows := 4 * lines
	for _, t := range traces {
		cells := make([]rune, wide*lines)
		dot := func(x, y int) {
			if x >= 0 && x < 2*wide && y >= 0 && y < rows {
				cells[y/4*wide+x/2] |= brailleDots[x%2][y%4]
			}
		}
		column := func(v float64) int { return int(math.Round((v - low) / (high - low) * float64(2*wide-1))) }
		row := func(c float64) int {
			return int(math.Round((1 - min(max(c/t.most, -1), 1)) / 2 * float64(rows-1)))
		}
		for x := 0; x < 2*wide; x += 4 {
			dot(x, row(0))
		}
		for i := range t.x {
			x0, y0 := column(t.x[i]), row(t.y[i])
			dot(x0, y0)
			if i == 0 {
				continue
			}
			x1, y1 := column(t.x[i-1]), row(t.y[i-1])
			n := max(x0-x1, y0-y1, y1-y0, 1)
			for k := range n {
				dot(x1+(x0-x1)*k/n, y1+(y0-y1)*k/n)
			}
		}
		fmt.Fprintf(&b, "%*s %s: %s\n", margin-1, "", t.title, residualOf(t.y))
		for y := range lines {
			label := ""
			switch y {
			case 0:
				label = axisLabel(t.most)
			case lines / 2:
				label = "0"
			case lines - 1:
				label = axisLabel(-t.most)
			}
			line := make([]rune, wide)
			for x := range line {
				line[x] = brailleEmpty | cells[y*wide+x]
			}
			fmt.Fprintf(&b, "%*s┤%s\n", margin-1, label, string(line))
		}
	}
	at, names := d.marks(low, high)
	axis := []rune(strings.Repeat(" ", wide+8))
	end := -1
	for i, m := range at {
		x := int(math.Round((m - low) / (high - low) * float64(wide-1)))
		name := []rune(names[i])
		if x <= end || x+len(name) > wide+1 {
			continue
		}
		copy(axis[x:], name)
		end = x + len(name)
	}
	fmt.Fprintf(&b, "%*s└%s\n", margin-1, "", strings.TrimRight(string(axis), " "))
	for _, l := range d.LeftOut {
		fmt.Fprintf(&b, "left out: %s: %s\n", place(l.Note, l.Volts), l.Why)
	}
	return b.String()
}
