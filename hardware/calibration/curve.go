package calibration

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

const (
	// maxVolts is the highest voltage of a point. A rack runs on ±12 V; what lies beyond is a
	// mistake in a file.
	maxVolts = 24
	// minApart is the least distance of two points. A semitone is 83 mV, a Hz/V semitone at the
	// bottom of a keyboard 2 mV.
	minApart = 1e-4
	// minSlope and maxSlope bound how far a channel may be from what its profile says. An error of
	// scale is some percent; a volt that is ten is another range of the converter.
	minSlope, maxSlope = 0.05, 20
	// endVolts is the width at either end over which the slope is taken that goes on beyond it.
	// One pair of neighbours has the noise of two measurements over 83 mV.
	endVolts = 1.0
	// tableError is how far the table may be from the cubics, in volts: 0.0024 cent.
	tableError = 2e-6
	// minTable and maxTable are the cells of the table.
	minTable, maxTable = 128, 1 << 15
	// guardVolts bounds what Correct accepts, so that what it returns is finite.
	guardVolts float32 = 1000
)

// Point is one measurement of a curve.
type Point struct {
	// Volts is what is wanted: for an output the volts that the jack, or the gear behind it,
	// should take it for; for an input the volts that it reads by its profile.
	Volts float64
	// Send is what gives it: for an output the nominal volts to send, by the profile's full scale;
	// for an input the true volts.
	Send float64
}

// Curve maps wanted volts to the nominal volts that give them; of an input, volts as they were
// read to true volts. It is smooth, rises everywhere, goes through every point, and goes on beyond
// the outermost ones with the slope that it has over the last volt. It does not change once made.
//
// A nil Curve corrects nothing.
type Curve struct {
	points []Point
	slopes []float64 // at the points

	// The audio thread's table: what to add, on an even grid from low up.
	low, perVolt           float32
	cells                  float32
	add                    []float32
	below, above           float32 // slopes of what to add beyond the ends
	high                   float32
	slopeBelow, slopeAbove float64 // the same slopes of the curve itself, exact
}

// NewCurve makes a curve through points, in any order: one is an offset, two are a gain as well.
// Two points of the same volts, points that do not rise, and slopes outside 0.05…20 are errors that
// name the points.
func NewCurve(points []Point) (*Curve, error) {
	if len(points) == 0 {
		return nil, errors.New("a calibration curve needs a point; expected at least one pair of wanted volts and volts to send")
	}
	p := slices.Clone(points)
	slices.SortStableFunc(p, func(a, b Point) int { return cmp.Compare(a.Volts, b.Volts) })
	for i, q := range p {
		if !(math.Abs(q.Volts) <= maxVolts) || !(math.Abs(q.Send) <= maxVolts) {
			return nil, fmt.Errorf("calibration point %g V -> %g V: expected two voltages from -%d to %d", q.Volts, q.Send, maxVolts, maxVolts)
		}
		if i == 0 {
			continue
		}
		o := p[i-1]
		dx, dy := q.Volts-o.Volts, q.Send-o.Send
		if dx < minApart {
			return nil, fmt.Errorf("calibration points at %g V and %g V: expected them at least %g V apart", o.Volts, q.Volts, minApart)
		}
		if s := dy / dx; !(s >= minSlope && s <= maxSlope) {
			return nil, fmt.Errorf("between %g V and %g V the calibration goes from %g V to %g V: expected it to rise by %g to %d V a volt", o.Volts, q.Volts, o.Send, q.Send, minSlope, maxSlope)
		}
	}
	c := &Curve{points: p}
	c.fit()
	c.fill()
	return c, nil
}

// Identity is the curve of a channel that is true.
func Identity() *Curve {
	c, err := NewCurve([]Point{{0, 0}, {1, 1}})
	if err != nil {
		panic(err) // two good points
	}
	return c
}

// fit finds the slopes at the points: the weighted harmonic mean of the neighbours' (Fritsch and
// Butland), with which cubic pieces never leave the rise of their ends. The outermost are taken
// over endVolts and kept within what still rises.
func (c *Curve) fit() {
	p := c.points
	n := len(p)
	c.slopes = make([]float64, n)
	if n == 1 {
		c.slopes[0] = 1
		c.slopeBelow, c.slopeAbove = 1, 1
		return
	}
	secant := func(i int) float64 { return (p[i+1].Send - p[i].Send) / (p[i+1].Volts - p[i].Volts) }
	for i := 1; i < n-1; i++ {
		h0, h1 := p[i].Volts-p[i-1].Volts, p[i+1].Volts-p[i].Volts
		w0, w1 := 2*h1+h0, h1+2*h0
		c.slopes[i] = (w0 + w1) / (w0/secant(i-1) + w1/secant(i))
	}
	c.slopeBelow = min(endSlope(p, p[0].Volts, p[0].Volts+endVolts), 3*secant(0))
	c.slopeAbove = min(endSlope(p, p[n-1].Volts-endVolts, p[n-1].Volts), 3*secant(n-2))
	c.slopes[0], c.slopes[n-1] = c.slopeBelow, c.slopeAbove
}

// endSlope is the slope of the least-squares line through the points from low to high, or through
// the two at that end where there are fewer.
func endSlope(p []Point, low, high float64) float64 {
	var in []Point
	for _, q := range p {
		if q.Volts >= low-1e-9 && q.Volts <= high+1e-9 {
			in = append(in, q)
		}
	}
	if len(in) < 2 {
		if in = p[:2]; low > p[0].Volts {
			in = p[len(p)-2:]
		}
	}
	return lineThrough(in).gain
}

// line is y = offset + gain·x.
type line struct{ offset, gain float64 }

func (l line) at(x float64) float64 { return l.offset + l.gain*x }

// lineThrough is the least-squares line through points; of one, that with slope 1.
func lineThrough(p []Point) line {
	var mx, my float64
	for _, q := range p {
		mx += q.Volts
		my += q.Send
	}
	mx, my = mx/float64(len(p)), my/float64(len(p))
	var xx, xy float64
	for _, q := range p {
		xx += (q.Volts - mx) * (q.Volts - mx)
		xy += (q.Volts - mx) * (q.Send - my)
	}
	gain := 1.0
	if xx > 0 {
		gain = xy / xx
	}
	return line{my - gain*mx, gain}
}

// fill makes the audio thread's table, as fine as it has to be.
func (c *Curve) fill() {
	n := len(c.points)
	low, high := c.points[0].Volts, c.points[n-1].Volts
	c.below, c.above = float32(c.slopeBelow-1), float32(c.slopeAbove-1)
	c.low, c.high = float32(low), float32(high)
	if n == 1 {
		c.add = []float32{float32(c.points[0].Send - low), float32(c.points[0].Send - low)}
		c.cells, c.perVolt = 0, 1
		return
	}
	for cells := minTable; ; cells *= 2 {
		step := (high - low) / float64(cells)
		worst := 0.0
		last := c.points[0].Send
		for i := range cells {
			v := low + step*float64(i+1)
			next := c.At(v)
			for _, f := range [...]float64{0.25, 0.5, 0.75} {
				worst = max(worst, math.Abs(last+(next-last)*f-c.At(low+step*(float64(i)+f))))
			}
			last = next
		}
		if worst > tableError && cells < maxTable {
			continue
		}
		c.add = make([]float32, cells+1)
		for i := range c.add {
			v := low + step*float64(i)
			c.add[i] = float32(c.At(v) - v)
		}
		c.cells, c.perVolt = float32(cells), float32(1/step)
		return
	}
}

// At returns what Correct does, without the roundings of its table.
func (c *Curve) At(volts float64) float64 {
	if c == nil {
		return volts
	}
	p, n := c.points, len(c.points)
	switch {
	case !(volts > p[0].Volts):
		if volts != volts {
			volts = 0
			return c.At(volts)
		}
		return p[0].Send + (volts-p[0].Volts)*c.slopeBelow
	case volts >= p[n-1].Volts:
		return p[n-1].Send + (volts-p[n-1].Volts)*c.slopeAbove
	}
	i, _ := slices.BinarySearchFunc(p, volts, func(q Point, v float64) int { return cmp.Compare(q.Volts, v) })
	i = max(i, 1) - 1 // volts lies in p[i]…p[i+1]
	h := p[i+1].Volts - p[i].Volts
	t := (volts - p[i].Volts) / h
	t2, t3 := t*t, t*t*t
	return p[i].Send*(2*t3-3*t2+1) + c.slopes[i]*h*(t3-2*t2+t) + p[i+1].Send*(3*t2-2*t3) + c.slopes[i+1]*h*(t3-t2)
}

// Wanted is the inverse of At: what is heard, or read, when those nominal volts are sent.
func (c *Curve) Wanted(send float64) float64 {
	if c == nil {
		return send
	}
	p, n := c.points, len(c.points)
	switch {
	case send <= p[0].Send:
		return p[0].Volts + (send-p[0].Send)/c.slopeBelow
	case send >= p[n-1].Send:
		return p[n-1].Volts + (send-p[n-1].Send)/c.slopeAbove
	}
	low, high := p[0].Volts, p[n-1].Volts
	for range 60 {
		mid := (low + high) / 2
		if c.At(mid) < send {
			low = mid
		} else {
			high = mid
		}
	}
	return (low + high) / 2
}

// Points returns the points that the curve goes through, by rising volts.
func (c *Curve) Points() []Point {
	if c == nil {
		return nil
	}
	return slices.Clone(c.points)
}

// Line is the straight line that fits the points best: what to send is offset + gain · wanted.
func (c *Curve) Line() (offset, gain float64) {
	if c == nil {
		return 0, 1
	}
	l := lineThrough(c.points)
	return l.offset, l.gain
}

// Correct returns the nominal volts to send for wanted volts (of an input, the true volts for what
// was read), within 8 µV, a hundredth of a cent, of At for ±12 V. NaN is taken for 0 V, and what
// is beyond ±1000 V for that. The result is always finite.
//
// Audio thread.
func (c *Curve) Correct(v float32) float32 {
	if !(v >= -guardVolts && v <= guardVolts) {
		v = guard(v)
	}
	if c == nil {
		return v
	}
	x := (v - c.low) * c.perVolt
	if x < 0 {
		return v + (c.add[0] + (v-c.low)*c.below)
	}
	if x >= c.cells {
		return v + (c.add[len(c.add)-1] + (v-c.high)*c.above)
	}
	i := int(x)
	a := c.add[i]
	return v + (a + (c.add[i+1]-a)*(x-float32(i)))
}

// ProcessBlock corrects a block of one channel in place, as Correct does.
//
// Audio thread.
func (c *Curve) ProcessBlock(x []float32) {
	for i, v := range x {
		x[i] = c.Correct(v)
	}
}

func guard(v float32) float32 {
	switch {
	case v > 0:
		return guardVolts
	case v < 0:
		return -guardVolts
	}
	return 0
}
