package calibration

import (
	"context"
	"errors"
	"fmt"
	"math"
)

var (
	// ErrUndo is returned by Ask to take the last reading back and be asked for it again.
	ErrUndo = errors.New("the last reading is taken back")
	// ErrSkip is returned by Ask to leave a level out.
	ErrSkip = errors.New("this level is left out")
)

// Question is what a player is asked for.
type Question struct {
	// Volts is what is sent, or what is to be put on the input, by the profile.
	Volts float64
	// Number counts from 1 to Of.
	Number, Of int
	// Verify tells that this is a check of what was found.
	Verify bool
	// Again says why the same is asked again; empty the first time.
	Again string
	// Prompt says all of that in words.
	Prompt string
}

// Meter calibrates an output by the readings of the player's voltmeter, or an input by a voltage
// that the player puts on it and reads. Zero values are defaults.
type Meter struct {
	Calibrate Direction
	// From and To are the lowest and highest volts; both 0 are the limits. Levels is how many there
	// are; 0 is 9.
	From, To float64
	Levels   int
	// Ask asks the player for a reading in volts. ErrUndo takes the last one back, ErrSkip leaves
	// this one out, any other error ends it all.
	Ask func(ctx context.Context, q Question) (float64, error)
	// NoVerify leaves out the three readings that check the result.
	NoVerify bool
	// Progress is told of all that happens; nil is nobody. Its Cents are millivolts here.
	Progress func(Progress)
}

// measurement is one reading with what belongs to it.
type measurement struct {
	nominal float64 // sent, or what the input reads
	reading float64 // of the meter
	skipped bool
}

// Run measures. The document has no interface, jack, channel and date; those are the caller's.
func (m Meter) Run(ctx context.Context, b Bench) (*Document, error) {
	low, high := b.Limits()
	if m.From == m.To {
		m.From, m.To = low, high
	}
	if m.Levels == 0 {
		m.Levels = 9
	}
	switch {
	case m.Ask == nil:
		return nil, errors.New("a calibration by voltmeter needs somebody who reads it")
	case !(m.From < m.To) || m.From < low || m.To > high:
		return nil, fmt.Errorf("levels from %g to %g V: expected two voltages from %g to %g V, the first below the second", m.From, m.To, low, high)
	case m.Levels < 2 || m.Levels > 100:
		return nil, fmt.Errorf("%d levels: expected 2 to 100", m.Levels)
	}
	levels := nearestFirst(m.From, m.To, m.Levels)
	total := len(levels)
	if !m.NoVerify {
		total += 3
	}
	tell := func(stage string, done int, v, off float64) {
		if m.Progress != nil {
			m.Progress(Progress{Stage: stage, Note: -1, Volts: v, Cents: 1000 * off, Settled: true, Percent: 100 * float64(done) / float64(total)})
		}
	}
	var got []measurement
	for len(got) < len(levels) {
		v := levels[len(got)]
		one, err := m.read(ctx, b, v, len(got)+1, len(levels), got)
		if errors.Is(err, ErrUndo) {
			if len(got) > 0 {
				got = got[:len(got)-1]
			}
			continue
		}
		if err != nil {
			return nil, err
		}
		got = append(got, one)
		if !one.skipped {
			tell("reading", len(got), v, one.reading-one.nominal)
		}
	}
	d := &Document{Direction: m.Calibrate, Method: MethodMeter, Reference: "the player's voltmeter"}
	var points []Point
	var readings []float64
	for i, g := range got {
		if g.skipped {
			d.LeftOut = append(d.LeftOut, Left{-1, roundTo(levels[i], 1e-9), "the player left it out"})
			continue
		}
		readings = append(readings, g.reading)
		points = append(points, m.point(g))
	}
	if len(points) < 2 {
		return nil, fmt.Errorf("%d readings; expected two at least", len(points))
	}
	c, err := NewCurve(points)
	if err != nil {
		return nil, fmt.Errorf("the readings make no calibration: %w", err)
	}
	points = c.Points()
	digit := resolution(readings)
	l, bent := lineThrough(points), 0.0
	for _, p := range points {
		bent = max(bent, math.Abs(p.Send-l.at(p.Volts)))
	}
	rows := make([]Row, len(points))
	var before []float64
	var standard Standard
	for i, p := range points {
		off := c.Wanted(p.Volts) - p.Volts
		if m.Calibrate == Input {
			off = p.Volts - p.Send
		}
		rows[i] = Row{Note: -1, Before: standard.Cents(0, off), After: nan}
		before = append(before, rows[i].Before)
	}
	d.setCurve(points, rows)
	d.Conditions = Conditions{Repeats: 1, Passes: 1, Rate: b.SampleRate(),
		Note: fmt.Sprintf("%d readings; the meter's last digit is %.1g V, and its own error is in all of them", len(points), digit)}
	if bent <= digit {
		// Nothing but the meter's last digit lies off the line: a table would be of its roundings.
		d.Table = nil
		if c, err = d.Curve(); err != nil {
			return nil, err
		}
	}
	d.Before, d.After = residualOf(before), Residual{nan, nan}
	if m.NoVerify {
		return d, nil
	}
	var after []float64
	for i, share := range []float64{0.2, 0.5, 0.8} {
		v := m.From + share*(m.To-m.From)
		if m.Calibrate == Output && (c.At(v) < low || c.At(v) > high) {
			continue
		}
		reading, nominal, err := m.verify(ctx, b, c, v, i+1)
		if errors.Is(err, ErrSkip) || errors.Is(err, ErrUndo) {
			continue
		}
		if err != nil {
			return nil, err
		}
		off := reading - v
		if m.Calibrate == Input {
			off = c.At(nominal) - reading
		}
		after = append(after, standard.Cents(0, off))
		tell("verifying", len(levels)+i+1, v, off)
	}
	d.Conditions.Passes = 2
	d.After = residualOf(after)
	return d, nil
}

// point is a measurement as a point of the curve.
func (m Meter) point(g measurement) Point {
	if m.Calibrate == Input {
		return Point{Volts: g.nominal, Send: g.reading}
	}
	return Point{Volts: g.reading, Send: g.nominal}
}

// read asks for one reading until it is believed.
func (m Meter) read(ctx context.Context, b Bench, v float64, number, of int, before []measurement) (measurement, error) {
	q := Question{Volts: v, Number: number, Of: of}
	if m.Calibrate == Output {
		if err := b.Set(ctx, v); err != nil {
			return measurement{}, err
		}
		q.Prompt = fmt.Sprintf("%d of %d: %+.3f V are sent; what does the voltmeter show", number, of, v)
	} else {
		q.Prompt = fmt.Sprintf("%d of %d: put a steady voltage near %+.2f V on the input; what does the voltmeter show", number, of, v)
	}
	prompt := q.Prompt
	last := math.NaN()
	for {
		got, err := m.Ask(ctx, q)
		switch {
		case errors.Is(err, ErrSkip):
			return measurement{skipped: true}, nil
		case err != nil:
			return measurement{}, err
		}
		one := measurement{nominal: v, reading: got}
		if m.Calibrate == Input {
			l, err := hearLevel(ctx, b, 0)
			if err != nil {
				return measurement{}, err
			}
			one.nominal = l.volts
		}
		q.Again = m.doubt(one, before)
		// Who reads the same again means it, unless it makes no sense at all.
		sure := math.Abs(got-last) <= 0.005+0.01*math.Abs(got)
		if q.Again == "" || sure && math.Abs(got) <= maxVolts {
			return one, nil
		}
		last = got
		q.Prompt = q.Again + "; " + prompt
	}
}

// doubt says why a reading is hard to believe, or nothing.
func (m Meter) doubt(one measurement, before []measurement) string {
	if !(math.Abs(one.reading) <= maxVolts) {
		return fmt.Sprintf("%g V is more than there is in a rack (in millivolts?)", one.reading)
	}
	var points []Point
	for _, g := range before {
		if !g.skipped {
			points = append(points, Point{g.nominal, g.reading})
		}
	}
	switch {
	case len(points) == 0:
		// The first is the one nearest to 0 V, where an offset is all that may be.
		if math.Abs(one.reading-one.nominal) > 0.5+0.5*math.Abs(one.nominal) {
			return fmt.Sprintf("%g V is far from %.3g V (is the meter set to DC volts?)", one.reading, one.nominal)
		}
		return ""
	case len(points) == 1:
		p := points[0]
		slope := (one.reading - p.Send) / (one.nominal - p.Volts)
		if !(slope >= minSlope && slope <= maxSlope) {
			return fmt.Sprintf("from %g V to %g V it went from %g V to %g V (is the meter's plug the right way round?)", p.Volts, one.nominal, p.Send, one.reading)
		}
		return ""
	}
	l := lineThrough(points)
	reach := 0.0
	for _, p := range points {
		reach = max(reach, math.Abs(p.Volts), math.Abs(one.nominal))
	}
	if want := l.at(one.nominal); math.Abs(one.reading-want) > 0.02+0.02*reach {
		return fmt.Sprintf("%g V does not fit the readings before, by which about %.3f V is expected", one.reading, want)
	}
	return ""
}

// verify asks what the meter shows with the correction in place.
func (m Meter) verify(ctx context.Context, b Bench, c *Curve, v float64, number int) (reading, nominal float64, err error) {
	q := Question{Volts: v, Number: number, Of: 3, Verify: true}
	if m.Calibrate == Output {
		if err := b.Set(ctx, c.At(v)); err != nil {
			return 0, 0, err
		}
		q.Prompt = fmt.Sprintf("check %d of 3: the voltmeter should show %+.3f V now; what does it show", number, v)
	} else {
		q.Prompt = fmt.Sprintf("check %d of 3: put a steady voltage near %+.2f V on the input; what does the voltmeter show", number, v)
	}
	prompt := q.Prompt
	last := math.NaN()
	for {
		if reading, err = m.Ask(ctx, q); err != nil {
			return 0, 0, err
		}
		if m.Calibrate == Input {
			l, err := hearLevel(ctx, b, 0)
			if err != nil {
				return 0, 0, err
			}
			nominal = l.volts
		}
		want := v
		if m.Calibrate == Input {
			want = c.At(nominal)
		}
		if math.Abs(reading-want) <= 0.05 || math.Abs(reading-last) <= 0.005+0.01*math.Abs(reading) {
			return reading, nominal, nil
		}
		last = reading
		q.Again = fmt.Sprintf("%g V is far from %.3f V", reading, want)
		q.Prompt = q.Again + "; " + prompt
	}
}

// nearestFirst are even levels, those nearest to 0 V first: whoever plugged it in wrongly finds out
// at the low ones.
func nearestFirst(from, to float64, n int) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = roundTo(from+(to-from)*float64(i)/float64(n-1), 1e-6)
	}
	for i := range v {
		for j := i; j > 0 && math.Abs(v[j]) < math.Abs(v[j-1]); j-- {
			v[j], v[j-1] = v[j-1], v[j]
		}
	}
	return v
}

// resolution is the last digit of readings: the largest power of ten of which all are multiples, at
// most 0.1 V and at least 10 µV.
func resolution(readings []float64) float64 {
	digit := 0.1
	for ; digit > 1.1e-5; digit /= 10 {
		whole := true
		for _, r := range readings {
			n := r / digit
			whole = whole && math.Abs(n-math.Round(n)) < 1e-4
		}
		if whole {
			break
		}
	}
	return digit
}
