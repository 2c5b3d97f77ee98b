package calibration

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Version is the newest version of calibration files, the one that is written.
const Version = 1

const (
	maxFile = 1 << 20 // bytes of a file
	maxRows = 1024    // rows of a table
	maxText = 400     // characters of a text
)

// Direction is which way a channel goes.
type Direction int

// An output sends to the rack; an input listens to it.
const (
	Output Direction = iota
	Input
)

var directionWords = []string{"output", "input"}

// String returns output or input.
func (d Direction) String() string { return directionWords[min(max(int(d), 0), 1)] }

// The ways of measuring.
const (
	MethodEar      = "ear"
	MethodLoop     = "loop"
	MethodMeter    = "meter"
	MethodImported = "import"
)

var methodWords = []string{MethodEar, MethodLoop, MethodMeter, MethodImported}

// Document is the calibration of one channel: what a file holds.
type Document struct {
	// Interface is the name of the interface's profile, Jack the rig's name of the jack, and
	// Channel the interface's channel, counted from 1 as it is printed on panels.
	Interface, Jack string
	Direction       Direction
	Channel         int
	// Machine is the host that measured.
	Machine string
	// Made is when.
	Made time.Time
	// Method is ear, loop, meter or import; Reference is what it was measured against, in words.
	Method, Reference string
	// FullScale is what the profile said the number 1 is on the channel when this was measured, in
	// volts; 0 is not known.
	FullScale float64
	// Standard is how the jack's notes become volts; all volts of the file are the jack's own.
	Standard Standard
	// Transpose is by how many semitones the gear sounds higher than the notes it is played; the
	// octave that its range switch is at.
	Transpose int
	// Conditions are the circumstances of the measurement.
	Conditions Conditions
	// Offset and Gain are the straight part: what to send is Offset + Gain·volts, in volts.
	Offset, Gain float64
	// Table is what a straight line cannot mend, by rising volts; empty for a line alone.
	Table []Row
	// LeftOut names the notes, or levels, that are not in the table, and why.
	LeftOut []Left
	// Before and After say how good the channel was and is.
	Before, After Residual
}

// Row is one measured note or level.
type Row struct {
	// Note is a MIDI number, or -1 for a level that is no note.
	Note int
	// Volts is what is wanted; Mend is what the line has to be bent by there, in volts.
	Volts, Mend float64
	// Before and After are the errors there without and with the calibration, in cents; NaN where
	// they were not measured.
	Before, After float64
}

// Left is a note that was left out.
type Left struct {
	Note  int // or -1
	Volts float64
	Why   string
}

// Residual sums up the errors of all notes, in cents; NaN is not known.
type Residual struct{ Worst, RMS float64 }

// Conditions are figures of a measurement. Zero is not known.
type Conditions struct {
	Seconds float64 // that it took
	Repeats int     // of each note at least
	Passes  int     // over all notes
	Settle  float64 // seconds that a note took to settle, median
	Drift   float64 // cents a minute that was found and removed
	Noise   float64 // cents, or of levels millivolts, of one reading, RMS
	Rate    float64 // Hz
	Note    string  // in words: the temperature, what the oscillator is, what a loop cannot know
}

// residualOf sums up errors; NaN among them are not counted.
func residualOf(errs []float64) Residual {
	var r Residual
	n := 0
	for _, e := range errs {
		if math.IsNaN(e) {
			continue
		}
		r.Worst = max(r.Worst, math.Abs(e))
		r.RMS += e * e
		n++
	}
	if n == 0 {
		return Residual{math.NaN(), math.NaN()}
	}
	r.RMS = math.Sqrt(r.RMS / float64(n))
	return r
}

// Curve returns the curve of the document.
func (d *Document) Curve() (*Curve, error) {
	if len(d.Table) == 0 {
		return NewCurve([]Point{{0, d.Offset}, {1, d.Offset + d.Gain}})
	}
	points := make([]Point, len(d.Table))
	for i, r := range d.Table {
		points[i] = Point{r.Volts, d.Offset + d.Gain*r.Volts + r.Mend}
	}
	return NewCurve(points)
}

// CurveFor returns the curve for a profile that says the number 1 is fullScale volts, which may
// have been corrected since the measurement: the numbers that reach the converter stay the same.
func (d *Document) CurveFor(fullScale float64) (*Curve, error) {
	c, err := d.Curve()
	if err != nil || d.FullScale == 0 || fullScale == d.FullScale {
		return c, err
	}
	points, k := c.Points(), fullScale/d.FullScale
	for i := range points {
		if d.Direction == Input {
			points[i].Volts *= k
		} else {
			points[i].Send *= k
		}
	}
	if c, err = NewCurve(points); err != nil {
		return nil, fmt.Errorf("calibration of %s, measured when full scale was %g V and not %g V: %w", d.Jack, d.FullScale, fullScale, err)
	}
	return c, nil
}

// setCurve makes line and table of points that rise.
func (d *Document) setCurve(points []Point, rows []Row) {
	l := lineThrough(points)
	d.Offset, d.Gain = roundTo(l.offset, 1e-9), roundTo(l.gain, 1e-9)
	for i, p := range points {
		rows[i].Volts = roundTo(p.Volts, 1e-9)
		rows[i].Mend = roundTo(p.Send-d.Offset-d.Gain*rows[i].Volts, 1e-9)
	}
	d.Table = rows
}

func roundTo(v, step float64) float64 { return math.Round(v/step) * step }

// MarshalJSON writes the document with the fields of its file.
func (d *Document) MarshalJSON() ([]byte, error) {
	data, err := d.Encode()
	if err != nil {
		return nil, err
	}
	var fields map[string]any
	if err := yaml.Unmarshal(data, &fields); err != nil {
		return nil, fmt.Errorf("calibration of %s: %w", d.Jack, err)
	}
	return json.Marshal(fields)
}

// Name is how the document is called in a store: direction, channel and jack.
func (d *Document) Name() string {
	return fmt.Sprintf("%s-%02d-%s", d.Direction, d.Channel, slug(d.Jack))
}

// slug makes a word for a file's name of any text.
func slug(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_':
			b.WriteRune(r)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 64 {
			break
		}
	}
	if t := strings.Trim(b.String(), "-"); t != "" {
		return t
	}
	return "unnamed"
}
