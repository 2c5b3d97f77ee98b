package calibration

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// DriftReport tells how a channel has changed since it was calibrated before.
type DriftReport struct {
	Interface, Jack string
	Direction       Direction
	Channel         int
	// Since is when the last calibration was made and Until the one that it is compared with.
	Since, Until time.Time
	// Notes are what the last calibration would be off by now, by rising volts.
	Notes []DriftNote
	// Shift is what is common to all notes, in cents, and Scale what an octave is wider by; Rest is
	// the worst that neither explains.
	Shift, Scale, Rest float64
	// Worst is the largest of the notes' drifts, in cents, and At the note or level it is at.
	Worst float64
	At    string
	// ShiftTrend and ScaleTrend are over all calibrations that are kept, in cents and in cents an
	// octave for 30 days; NaN with fewer than three of different days.
	ShiftTrend, ScaleTrend float64
	// Count is how many calibrations that is, both ends included.
	Count int
	// Moved says that the gear is at another octave or another standard than then; empty if not.
	Moved string
}

// DriftNote is the drift of one note, in cents: positive is sharper, or higher, than then. Trend is
// in cents for 30 days, NaN where it is not known.
type DriftNote struct {
	Note         int // or -1
	Volts        float64
	Cents, Trend float64
}

const month = 30 * 24 * time.Hour

// Drift compares a calibration with those before it, oldest first. Without any, or with none that
// can be compared, it is an error.
func Drift(past []*Document, now *Document) (*DriftReport, error) {
	if len(past) == 0 {
		return nil, fmt.Errorf("there is no calibration of %s before that of %s", now.Jack, now.Made.Format(time.DateOnly))
	}
	last := past[len(past)-1]
	today, err := now.CurveFor(now.FullScale)
	if err != nil {
		return nil, err
	}
	r := &DriftReport{Interface: now.Interface, Jack: now.Jack, Direction: now.Direction, Channel: now.Channel,
		Since: last.Made, Until: now.Made, ShiftTrend: nan, ScaleTrend: nan, Count: 1}
	if last.Standard != now.Standard {
		return nil, fmt.Errorf("the calibration of %s was for %v and is for %v now; they cannot be compared", last.Made.Format(time.DateOnly), last.Standard, now.Standard)
	}
	if last.Transpose != now.Transpose {
		r.Moved = fmt.Sprintf("the oscillator's range was moved by %+d semitones since; what follows is without that", now.Transpose-last.Transpose)
	}
	// What the calibration of then would be off by now, at a level.
	offBy := func(c *Curve, v float64) float64 {
		if now.Direction == Input {
			// What is read when v is there, by the channel of now and the table of then.
			return now.Standard.Cents(v, c.At(today.Wanted(v)))
		}
		return now.Standard.Cents(v, today.Wanted(c.At(v)))
	}
	var shifts, scales []Point
	perNote := make([][]Point, len(now.levels()))
	var first time.Time
	for i, d := range past {
		if d.Standard != now.Standard || d.Transpose != now.Transpose && d != last {
			continue
		}
		c, err := d.CurveFor(now.FullScale)
		if err != nil {
			continue
		}
		if first.IsZero() {
			first = d.Made
		}
		months := float64(d.Made.Sub(first)) / float64(month)
		var line []Point
		for k, l := range now.levels() {
			e := offBy(c, l.Volts)
			if math.IsNaN(e) {
				continue
			}
			octaves := (now.Standard.NoteOf(l.Volts) - 60) / 12
			line = append(line, Point{octaves, e})
			perNote[k] = append(perNote[k], Point{months, -e})
			if i == len(past)-1 {
				r.Notes = append(r.Notes, DriftNote{Note: l.Note, Volts: l.Volts, Cents: e, Trend: nan})
			}
		}
		if len(line) == 0 {
			continue
		}
		l := steady(line)
		r.Count++
		shifts, scales = append(shifts, Point{months, -l.offset}), append(scales, Point{months, -l.gain})
		if i == len(past)-1 {
			r.Shift, r.Scale = l.offset, l.gain
			for _, p := range line {
				r.Rest = max(r.Rest, math.Abs(p.Send-l.at(p.Volts)))
			}
		}
	}
	if len(r.Notes) == 0 {
		return nil, fmt.Errorf("the calibration of %s has no note in common with that of %s", last.Made.Format(time.DateOnly), now.Made.Format(time.DateOnly))
	}
	// Today is the zero of all series.
	end := float64(now.Made.Sub(first)) / float64(month)
	if len(shifts) >= 2 && end > 1.0/30 {
		r.ShiftTrend = lineThrough(append(shifts, Point{end, 0})).gain
		r.ScaleTrend = lineThrough(append(scales, Point{end, 0})).gain
		at := map[float64]float64{}
		for k, l := range now.levels() {
			at[l.Volts] = lineThrough(append(perNote[k], Point{end, 0})).gain
		}
		for i := range r.Notes {
			r.Notes[i].Trend = at[r.Notes[i].Volts]
		}
	}
	for _, n := range r.Notes {
		if math.Abs(n.Cents) >= math.Abs(r.Worst) {
			r.Worst, r.At = n.Cents, place(n.Note, n.Volts)
		}
	}
	return r, nil
}

// steady is the line through points; of one, or of points at one place, a level.
func steady(p []Point) line {
	l := lineThrough(p)
	lo, hi := math.Inf(1), math.Inf(-1)
	var sum float64
	for _, q := range p {
		lo, hi, sum = min(lo, q.Volts), max(hi, q.Volts), sum+q.Send
	}
	if hi-lo < 1e-9 {
		return line{sum / float64(len(p)), 0}
	}
	return l
}

// levels are the rows of the table, or of a line alone a few levels.
func (d *Document) levels() []Row {
	if len(d.Table) > 0 {
		return d.Table
	}
	var rows []Row
	for v := -4.0; v <= 4; v++ {
		if d.Standard.Kind == HertzPerVolt && v <= 0 {
			continue
		}
		rows = append(rows, Row{Note: -1, Volts: v, Before: nan, After: nan})
	}
	return rows
}

func place(note int, volts float64) string {
	if note >= 0 {
		return NoteName(note)
	}
	return fmt.Sprintf("%+.3g V", volts)
}

// holds is how little drift is none worth a new calibration, in cents: a beat of a second and a half
// at A4.
const holds = 2.0

// Text is the report for a terminal, of a number of columns.
func (r *DriftReport) Text(columns int) string {
	var b strings.Builder
	days := r.Until.Sub(r.Since).Hours() / 24
	fmt.Fprintf(&b, "%s, %s %d of %s: from %s to %s (%.3g days)\n", r.Jack, r.Direction, r.Channel, r.Interface, r.Since.Format(time.DateOnly), r.Until.Format(time.DateOnly), days)
	if r.Moved != "" {
		fmt.Fprintln(&b, r.Moved)
	}
	fmt.Fprintf(&b, "shift %+.2f cents, scale %+.2f cents an octave, rest %.2f cents; worst %+.2f cents at %s\n", r.Shift, r.Scale, r.Rest, r.Worst, r.At)
	if !math.IsNaN(r.ShiftTrend) {
		fmt.Fprintf(&b, "trend of %d calibrations: shift %+.2f cents, scale %+.2f cents an octave in 30 days\n", r.Count, r.ShiftTrend, r.ScaleTrend)
	}
	switch {
	case math.Abs(r.Worst) <= holds:
		fmt.Fprintf(&b, "the last calibration still holds within %g cents\n", holds)
	case math.Abs(r.Scale) < 0.5 && r.Rest <= holds:
		fmt.Fprintln(&b, "nearly all of it is tuning: the tune knob would have done")
	default:
		fmt.Fprintln(&b, "the channel has changed: calibrating again was worth it")
	}
	const margin = 24
	most := max(math.Abs(r.Worst), 0.1)
	half := min(max((columns-margin)/2, 5), 30)
	step := max(1, len(r.Notes)/24)
	for i, n := range r.Notes {
		// Every C and F#, the ends and the worst are enough of eight octaves.
		seldom := n.Note >= 0 && n.Note%6 != 0 && place(n.Note, n.Volts) != r.At || n.Note < 0 && i%step != 0
		if seldom && step > 1 && i > 0 && i < len(r.Notes)-1 {
			continue
		}
		k := int(math.Round(float64(half) * math.Abs(n.Cents) / most))
		bar := strings.Repeat(" ", half) + "│" + strings.Repeat("█", min(k, half))
		if n.Cents < 0 {
			bar = strings.Repeat(" ", half-min(k, half)) + strings.Repeat("█", min(k, half)) + "│"
		}
		trend := ""
		if !math.IsNaN(n.Trend) {
			trend = fmt.Sprintf(" %+.1f/30d", n.Trend)
		}
		fmt.Fprintf(&b, "%8s %+8.2f%s %s\n", place(n.Note, n.Volts), n.Cents, trend, bar)
	}
	return b.String()
}
