package calibration

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
)

// ErrNoLoop says that nothing of the output arrives at the input.
var ErrNoLoop = errors.New("the output does not arrive at the input")

// Loop calibrates an output against an input that it is patched into, or the input against the
// output. A loop by itself tells only what both together are off by: one of the two is the
// reference, and its errors become those of the other. Zero values are defaults.
type Loop struct {
	// Calibrate is the side that is calibrated: Output takes the input for true, Input the output.
	Calibrate Direction
	// Known is the calibration of the side that is the reference; nil takes it as its profile says.
	Known *Curve
	// Reference says in words what the reference is, for the file.
	Reference string
	// From and To are the lowest and highest volts that are sent; both 0 are the output's limits.
	From, To float64
	// Levels is how many there are between; 0 is 41. Each is heard Repeats times; 0 is 2.
	Levels, Repeats int
	// Progress is told of all that happens; nil is nobody. Its Cents are millivolts here.
	Progress func(Progress)
}

const (
	// leastLoop is the least gain of a loop: what is less is crosstalk.
	leastLoop = 0.05
	// droop is how much of a step may be lost within a second: what loses more is AC-coupled.
	droop = 0.02
	// clips is the share of the loop's gain below which a piece of it is flat.
	clips = 0.5
)

// LoopResult is what a loop has told.
type LoopResult struct {
	*Document
	// Gain and Offset are those of both sides together: what is read is Offset + Gain·sent, volts.
	Gain, Offset float64
	// INL is the largest distance from that line, volts.
	INL float64
	// Noise is the RMS of one sample at rest, volts.
	Noise float64
	// Unknown says what this measurement cannot know.
	Unknown string
}

// Run measures. The document has no interface, jack, channel and date; those are the caller's.
func (l Loop) Run(ctx context.Context, b Bench) (*LoopResult, error) {
	low, high := b.Limits()
	if l.From == l.To {
		l.From, l.To = low, high
	}
	if l.Levels == 0 {
		l.Levels = 41
	}
	if l.Repeats == 0 {
		l.Repeats = 2
	}
	switch {
	case !(l.From < l.To) || l.From < low || l.To > high:
		return nil, fmt.Errorf("levels from %g to %g V: expected two voltages from %g to %g V, the first below the second", l.From, l.To, low, high)
	case l.Levels < 3 || l.Levels > 500:
		return nil, fmt.Errorf("%d levels: expected 3 to 500", l.Levels)
	case l.Repeats < 1 || l.Repeats > 20:
		return nil, fmt.Errorf("%d repeats: expected 1 to 20", l.Repeats)
	}
	stage, done, total := "looking for the cable", 0.0, float64(l.Levels*l.Repeats+2*l.Levels)
	tell := func(p Progress) {
		if l.Progress != nil {
			p.Stage, p.Note, p.Percent = stage, -1, min(100, 100*done/total)
			l.Progress(p)
		}
	}
	hear := func(volts float64) (level, error) {
		if err := b.Set(ctx, volts); err != nil {
			return level{}, err
		}
		return hearLevel(ctx, b, 0)
	}
	if err := l.check(ctx, b, hear); err != nil {
		return nil, err
	}

	stage = "measuring levels"
	sent := make([]float64, l.Levels)
	for i := range sent {
		sent[i] = l.From + (l.To-l.From)*float64(i)/float64(l.Levels-1)
	}
	// Drift is told from errors of the level as drift is from tracking: each level is met from both
	// sides at different times, and one level again and again.
	const centsAVolt = 1200
	var readings []reading
	heard := make([][]level, l.Levels)
	rest := (l.From + l.To) / 2
	visit := func(i int) error {
		h, err := hear(sent[i])
		if err != nil {
			return err
		}
		heard[i] = append(heard[i], h)
		readings = append(readings, reading{i, h.at, centsAVolt * h.volts})
		done++
		tell(Progress{Volts: sent[i], Cents: 1000 * (h.volts - sent[i]), Settled: h.settled})
		return nil
	}
	var noises, settles []float64
	for turn := range l.Repeats {
		for k, i := range order(l.Levels, turn) {
			if k%10 == 0 {
				h, err := hear(rest)
				if err != nil {
					return nil, err
				}
				readings = append(readings, reading{-1, h.at, centsAVolt * h.volts})
			}
			if err := visit(i); err != nil {
				return nil, err
			}
		}
	}
	drift := wanderOf(readings)
	read := make([]float64, l.Levels)
	for i, hs := range heard {
		var vs []float64
		for _, h := range hs {
			vs = append(vs, h.volts-drift.at(h.at)/centsAVolt)
			noises, settles = append(noises, h.noise), append(settles, h.settle)
		}
		read[i] = median(vs)
	}
	d := &Document{Direction: l.Calibrate, Method: MethodLoop, Reference: l.Reference}
	good := l.flat(sent, read, d)
	if len(good) < 3 {
		return nil, fmt.Errorf("only %d of %d levels are within what the input takes; expected three at least: narrow the range with From and To", len(good), l.Levels)
	}
	var points []Point
	var both []Point
	for _, i := range good {
		both = append(both, Point{sent[i], read[i]})
		points = append(points, l.point(sent[i], read[i]))
	}
	curve, err := NewCurve(points)
	if err != nil {
		return nil, fmt.Errorf("what was read makes no calibration: %w", err)
	}
	points = curve.Points()

	// Verified at the levels and between them, where the table has to guess.
	stage = "verifying"
	var before, after []float64
	rows := make([]Row, len(points))
	verify := func(v float64) (float64, error) {
		send := v
		if l.Calibrate == Output {
			if send = curve.At(v); send < low || send > high {
				return nan, nil
			}
		} else {
			send = l.sendFor(v)
			if send < low || send > high {
				return nan, nil
			}
		}
		h, err := hear(send)
		if err != nil {
			return nan, err
		}
		done++
		// By the reference: what is there, and what is said to be.
		got, want := l.truth(h.volts), v
		if l.Calibrate == Input {
			got = curve.At(h.volts)
		}
		tell(Progress{Volts: v, Cents: 1000 * (got - want), Settled: h.settled})
		return got - want, nil
	}
	var standard Standard
	for _, i := range order(2*len(points)-1, 0) {
		k := i / 2
		v := l.trueVolts(points[k])
		if i%2 == 1 {
			v = (v + l.trueVolts(points[k+1])) / 2
		}
		e, err := verify(v)
		if err != nil {
			return nil, err
		}
		e = standard.Cents(0, e)
		after = append(after, e)
		if i%2 == 0 {
			rows[k] = Row{Note: -1, After: e}
		}
	}
	for k, p := range points {
		off := curve.Wanted(p.Volts) - p.Volts // of an output: what comes if the volts are sent as they are
		if l.Calibrate == Input {
			off = p.Volts - p.Send
		}
		rows[k].Before = standard.Cents(0, off)
		before = append(before, rows[k].Before)
	}
	d.setCurve(points, rows)
	d.Before, d.After = residualOf(before), residualOf(after)
	line := lineThrough(both)
	r := &LoopResult{Document: d, Gain: line.gain, Offset: line.offset, Noise: median(noises), Unknown: l.unknown()}
	for _, p := range both {
		r.INL = max(r.INL, math.Abs(p.Send-line.at(p.Volts)))
	}
	end, begin := readings[len(readings)-1].at, readings[0].at
	d.Conditions = Conditions{Seconds: end - begin, Repeats: l.Repeats, Passes: 2, Settle: median(settles), Drift: drift.perMinute(),
		Noise: centsAVolt * r.Noise, Rate: b.SampleRate(), Note: r.Unknown}
	stage, done = "done", total
	tell(Progress{Cents: d.After.Worst * 1000 / centsAVolt})
	return r, nil
}

// truth is what a reading stands for where the input is the reference.
func (l Loop) truth(read float64) float64 {
	if l.Calibrate == Output {
		return l.Known.At(read)
	}
	return read
}

// sendFor is what is sent to have true volts on the cable, where the output is the reference.
func (l Loop) sendFor(volts float64) float64 { return l.Known.At(volts) }

// point is one measurement as a point of the curve of the side that is calibrated.
func (l Loop) point(sent, read float64) Point {
	if l.Calibrate == Output {
		return Point{Volts: l.Known.At(read), Send: sent} // wanted is what the input says is there
	}
	return Point{Volts: read, Send: l.Known.Wanted(sent)}
}

// trueVolts is what was on the cable at a point.
func (l Loop) trueVolts(p Point) float64 {
	if l.Calibrate == Output {
		return p.Volts
	}
	return p.Send
}

func (l Loop) unknown() string {
	of, by := "output", "input"
	if l.Calibrate == Input {
		of, by = by, of
	}
	if l.Known != nil {
		return fmt.Sprintf("A loop tells the product of both gains. The %s was taken for true as its own calibration says: what that is off by, this %s is off by as well.", by, of)
	}
	return fmt.Sprintf("A loop tells the product of both gains, not either. The %s was taken for true as its profile says; if its full scale is 1 %% off, so is this %s. Calibrate one of them by voltmeter to know.", by, of)
}

// check finds out whether there is a cable, which way round, and whether it carries DC.
func (l Loop) check(ctx context.Context, b Bench, hear func(float64) (level, error)) error {
	span := l.To - l.From
	a, z := l.From+0.4*span, l.From+0.6*span
	la, err := hear(a)
	if err != nil {
		return err
	}
	lz, err := hear(z)
	if err != nil {
		return err
	}
	gain := (lz.volts - la.volts) / (z - a)
	// What is AC-coupled moves at the step and comes back: look at the step itself too.
	if err := b.Set(ctx, a); err != nil {
		return err
	}
	if _, _, err := b.Listen(ctx, 1); err != nil {
		return err
	}
	x, _, err := b.Listen(ctx, glance)
	if err != nil {
		return err
	}
	from, _ := middle(x)
	if err := b.Set(ctx, z); err != nil {
		return err
	}
	if x, _, err = b.Listen(ctx, glance); err != nil {
		return err
	}
	soon, noise := middle(x)
	if _, _, err = b.Listen(ctx, 1); err != nil {
		return err
	}
	if x, _, err = b.Listen(ctx, glance); err != nil {
		return err
	}
	late, _ := middle(x)
	step := soon - from
	switch {
	case math.Abs(step) < leastLoop*(z-a) && math.Abs(gain) < leastLoop:
		return fmt.Errorf("%w: of a step of %.3g V it hears %.2g V (noise %.2g V); expected a cable from the one to the other", ErrNoLoop, z-a, step, noise)
	case math.Abs(step-(late-from)) > max(droop*math.Abs(step), 10*noise/math.Sqrt(glance*b.SampleRate())) && math.Abs(late-from) < math.Abs(step):
		return fmt.Errorf("the input or the output is AC-coupled: %.0f %% of a step is lost within a second; expected both to be DC-coupled", 100*(1-(late-from)/step))
	case gain < 0:
		return fmt.Errorf("the loop is inverted: 1 V more is %.3g V less; set invert for one of the two in the rig", -gain)
	case gain < minSlope || gain > maxSlope:
		return fmt.Errorf("the loop has a gain of %.3g; expected %g to %d: are the full scales of the profile right?", gain, minSlope, maxSlope)
	}
	return nil
}

// flat returns the levels that the loop passes, and names the others in d.
func (l Loop) flat(sent, read []float64, d *Document) []int {
	var slopes []float64
	for i := 1; i < len(sent); i++ {
		slopes = append(slopes, (read[i]-read[i-1])/(sent[i]-sent[i-1]))
	}
	usual := median(slopes)
	from, to := 0, len(sent)-1
	for from < to && slopes[from] < clips*usual {
		from++
	}
	for to > from && slopes[to-1] < clips*usual {
		to--
	}
	var good []int
	for i := range sent {
		if i >= from && i <= to {
			good = append(good, i)
			continue
		}
		d.LeftOut = append(d.LeftOut, Left{-1, roundTo(sent[i], 1e-9), fmt.Sprintf("the loop is flat there: it reads %.4g V; something clips", read[i])})
	}
	// Where a piece is flat one level beyond its edge may be half flat: the next to a flat one is
	// left out unless it is on the line of its neighbours.
	trim := func(k int, beside, beyond int) bool {
		line := read[beside] + (read[beside]-read[beyond])/(sent[beside]-sent[beyond])*(sent[k]-sent[beside])
		return math.Abs(read[k]-line) > 0.02*math.Abs(sent[beside]-sent[beyond])
	}
	if n := len(good); n >= 4 && from > 0 && trim(good[0], good[1], good[2]) {
		d.LeftOut = append(d.LeftOut, Left{-1, roundTo(sent[good[0]], 1e-9), "something begins to clip there"})
		good = good[1:]
	}
	if n := len(good); n >= 4 && to < len(sent)-1 && trim(good[n-1], good[n-2], good[n-3]) {
		d.LeftOut = append(d.LeftOut, Left{-1, roundTo(sent[good[n-1]], 1e-9), "something begins to clip there"})
		good = good[:n-1]
	}
	slices.SortFunc(d.LeftOut, func(a, b Left) int {
		if a.Volts < b.Volts {
			return -1
		}
		return 1
	})
	return good
}
