package instrument

import (
	"bufio"
	"fmt"
	"io"
	"math"
	"strings"
)

// TracePoints is the most points of a Trace.
const TracePoints = 512

// Span is the lowest and the highest voltage within one point of a Trace.
type Span struct{ Low, High float32 }

// Trace is one picture of a Scope: two inputs over a window of time.
type Trace struct {
	// Frame is the first frame of the window, counted since the engine started.
	Frame int64
	// Step is the time of one point in seconds; a point may be one frame or many.
	Step float64
	// Points is how many points of A and B are in use.
	Points int
	// A and B are the two inputs; HasA and HasB tell whether a cable is in them.
	A, B       [TracePoints]Span
	HasA, HasB bool
	// Triggered tells whether the window began at a trigger; if not, none came
	// and the scope ran free.
	Triggered bool
	// Level is the voltage of the trigger.
	Level float32
}

// Seconds is the time that the picture spans.
func (t *Trace) Seconds() float64 { return float64(t.Points) * t.Step }

// traces are those that a picture shows: the inputs with a cable, or A if
// there is none.
func (t *Trace) traces() (names []string, spans [][]Span) {
	if t.HasA || !t.HasB {
		names, spans = append(names, "a"), append(spans, t.A[:t.Points])
	}
	if t.HasB {
		names, spans = append(names, "b"), append(spans, t.B[:t.Points])
	}
	return names, spans
}

// voltScales are the ends of the volt axis.
var voltScales = []float32{0.1, 0.2, 0.5, 1, 2, 5, 10, 12}

// scaleOf is the smallest volt axis that holds some spans: from 0 V up where
// nothing is below, else as far down as up.
func scaleOf(spans ...[]Span) (low, high float32) {
	// A band-limited step overshoots its 5 V by a tenth; that is no reason for
	// twice the scale.
	const slack = 1.12
	var most, least float32
	for _, s := range spans {
		for _, p := range s {
			most, least = max(most, p.High, -p.Low), min(least, p.Low)
		}
	}
	high = voltScales[len(voltScales)-1]
	for _, v := range voltScales {
		if most <= v*slack {
			high = v
			break
		}
	}
	if least < -0.02*high {
		low = -high
	}
	return low, high
}

// inSeconds writes a time with a unit that suits it.
func inSeconds(s float64) string {
	switch {
	case s == 0:
		return "0"
	case s < 1e-3:
		return fmt.Sprintf("%.4g µs", s*1e6)
	case s < 1:
		return fmt.Sprintf("%.4g ms", s*1e3)
	}
	return fmt.Sprintf("%.4g s", s)
}

// brailleDots are the bits of the dots of a braille character, by column and
// row from the top (Unicode, block Braille Patterns).
var brailleDots = [2][4]rune{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

const brailleEmpty = '\u2800'

// Text draws the picture for a terminal, of a number of columns and of lines
// for each trace; two dots wide and four high fit in a character. It has a volt
// axis at the left and the time below.
func (t *Trace) Text(columns, lines int) string {
	const margin = 9 // the longest label is "a +0.1 V"
	lines = min(max(lines, 3), 100)
	wide := min(max(columns-margin, 8), 500)
	var b strings.Builder
	if t.Points == 0 {
		return "no picture yet\n"
	}
	names, traces := t.traces()
	for k, spans := range traces {
		low, high := scaleOf(spans)
		cells := make([]rune, wide*lines)
		rows := 4 * lines
		row := func(v float32) int {
			y := int(math.Round(float64((high-v)/(high-low)) * float64(rows-1)))
			return min(max(y, 0), rows-1)
		}
		last := Span{}
		for x := range 2 * wide {
			// All points that fall on this column of dots, joined to the column before.
			from, to := x*len(spans)/(2*wide), (x+1)*len(spans)/(2*wide)
			s := spans[from]
			for _, p := range spans[from:max(to, from+1)] {
				s = Span{min(s.Low, p.Low), max(s.High, p.High)}
			}
			drawn := s
			if x > 0 {
				drawn = Span{min(s.Low, last.High), max(s.High, last.Low)}
			}
			last = s
			for y := row(drawn.High); y <= row(drawn.Low); y++ {
				cells[y/4*wide+x/2] |= brailleDots[x%2][y%4]
			}
		}
		for y := range lines {
			label := ""
			switch y {
			case 0:
				label = fmt.Sprintf("%s %+.3g V", names[k], high)
			case lines - 1:
				label = fmt.Sprintf("%+.3g V", low)
				if low == 0 {
					label = "0 V"
				}
			case lines / 2:
				if low < 0 && lines%2 == 1 {
					label = "0 V"
				}
			}
			line := make([]rune, wide)
			for x := range line {
				line[x] = brailleEmpty | cells[y*wide+x]
			}
			fmt.Fprintf(&b, "%*s┤%s\n", margin-1, label, string(line))
		}
	}
	end := inSeconds(t.Seconds())
	state := "free"
	if t.Triggered {
		state = fmt.Sprintf("trigger %+.3g V", t.Level)
	}
	gap := wide - len([]rune(end)) - len([]rune(state)) - 3
	fmt.Fprintf(&b, "%*s└0%s%s%s%s\n", margin-1, "", strings.Repeat(" ", max(1, gap/2)), state, strings.Repeat(" ", max(1, gap-gap/2+1)), end)
	return b.String()
}

// The measures of a picture in SVG, in pixels.
const (
	svgLeft, svgTop      = 56, 24
	svgWide, svgHigh     = 800, 400
	svgRight, svgBottom  = 28, 40
	svgColumns, svgLines = 10, 8 // divisions, as on the glass of an oscilloscope
)

var svgColours = map[string]string{"a": "#e8b400", "b": "#00a0c8"}

// WriteSVG draws the picture as SVG, with volts at the left and time below.
// It returns w's error.
func (t *Trace) WriteSVG(w io.Writer) error {
	b := bufio.NewWriter(w)
	p := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	width, height := svgLeft+svgWide+svgRight, svgTop+svgHigh+svgBottom
	p(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="sans-serif" font-size="12">`, width, height, width, height)
	p(`<rect width="%d" height="%d" fill="#101418"/>`, width, height)
	names, traces := t.traces()
	low, high := scaleOf(traces...)
	x := func(share float64) float64 { return svgLeft + svgWide*share }
	y := func(v float32) float64 {
		return svgTop + svgHigh*float64((high-min(max(v, low), high))/(high-low))
	}
	for i := range svgColumns + 1 {
		at := x(float64(i) / svgColumns)
		p(`<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#2c343c"/>`, at, svgTop, at, svgTop+svgHigh)
		p(`<text x="%.1f" y="%d" fill="#9aa4ae" text-anchor="middle">%s</text>`, at, svgTop+svgHigh+18, inSeconds(t.Seconds()*float64(i)/svgColumns))
	}
	for i := range svgLines + 1 {
		v := high - (high-low)*float32(i)/svgLines
		colour := "#2c343c"
		if v == 0 {
			colour = "#56606a"
		}
		p(`<line x1="%d" y1="%.1f" x2="%d" y2="%.1f" stroke="%s"/>`, svgLeft, y(v), svgLeft+svgWide, y(v), colour)
		p(`<text x="%d" y="%.1f" fill="#9aa4ae" text-anchor="end">%.4g V</text>`, svgLeft-6, y(v)+4, v)
	}
	for k, spans := range traces {
		if len(spans) == 0 {
			continue
		}
		colour := svgColours[names[k]]
		place := func(i int) float64 { return x((float64(i) + 0.5) / float64(len(spans))) }
		// The band between the lowest and the highest of each point, there and back.
		fmt.Fprintf(b, `<path fill="%s" fill-opacity="0.5" stroke="%s" stroke-width="1.2" stroke-linejoin="round" d="M`, colour, colour)
		for i, s := range spans {
			fmt.Fprintf(b, "%.1f %.1f ", place(i), y(s.High))
		}
		for i := len(spans) - 1; i >= 0; i-- {
			fmt.Fprintf(b, "%.1f %.1f ", place(i), y(spans[i].Low))
		}
		p(`Z"/>`)
		p(`<text x="%d" y="%d" fill="%s">%s</text>`, svgLeft+4+20*k, svgTop-8, colour, names[k])
	}
	state := "free"
	if t.Triggered {
		state = fmt.Sprintf("trigger %+.3g V", t.Level)
	}
	if t.Points == 0 {
		state = "no picture yet"
	}
	p(`<text x="%d" y="%d" fill="#9aa4ae" text-anchor="end">%s</text>`, svgLeft+svgWide, svgTop-8, state)
	p(`</svg>`)
	return b.Flush()
}
