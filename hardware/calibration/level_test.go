package calibration

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// cable is a bench whose output is patched into its input, or into a voltmeter.
type cable struct {
	r         *rand.Rand
	low, high float64
	out       func(sent float64) float64 // volts on the cable
	in        func(volts float64) float64
	noise     float64 // RMS of a sample, volts
	settle    float64 // time constant, seconds
	couple    float64 // time constant of a coupling capacitor, 0 for none
	drift     float64 // volts a second
	unplugged bool

	t, now, target, charge float64
	x                      []float32
	most                   float64
}

func (c *cable) SampleRate() float64        { return 48000 }
func (c *cable) Limits() (float64, float64) { return c.low, c.high }

func (c *cable) Set(ctx context.Context, volts float64) error {
	c.most = max(c.most, math.Abs(volts))
	c.target = c.out(volts)
	if volts < c.low || volts > c.high {
		panic("beyond the limits")
	}
	_, _, err := c.Listen(ctx, 0.005)
	return err
}

func (c *cable) Listen(ctx context.Context, seconds float64) ([]float32, float64, error) {
	at := c.t
	n := int(seconds * 48000)
	c.x = c.x[:0]
	k := 1.0
	if c.settle > 0 {
		k = 1 - math.Exp(-1/(48000*c.settle))
	}
	for range n {
		c.now += (c.target - c.now) * k
		v := c.now + c.drift*c.t
		if c.couple > 0 {
			c.charge += (v - c.charge) / 48000 / c.couple
			v -= c.charge
		}
		if c.unplugged {
			v = 0
		}
		c.x = append(c.x, float32(c.in(v)+c.noise*c.r.NormFloat64()))
		c.t += 1.0 / 48000
	}
	return c.x, at, ctx.Err()
}

func newCable(seed uint64) *cable {
	return &cable{r: rand.New(rand.NewPCG(seed, 21)), low: -8, high: 8, noise: 0.0005, settle: 0.003, drift: 2e-6,
		out: func(v float64) float64 { return 0.012 + 1.021*v + 0.0004*math.Sin(v) },
		in:  func(v float64) float64 { return v }}
}

func TestLoopCalibratesTheOutput(t *testing.T) {
	c := newCable(1)
	c.in = func(v float64) float64 { return max(-9, min(9, -0.006+0.985*v)) }
	known, err := NewCurve([]Point{{-0.006, 0}, {-0.006 + 0.985, 1}}) // the input was calibrated by voltmeter
	if err != nil {
		t.Fatal(err)
	}
	r, err := Loop{Calibrate: Output, Known: known, Levels: 33}.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := r.Curve()
	if err != nil {
		t.Fatal(err)
	}
	worst := 0.0
	for v := -7.5; v <= 7.5; v += 0.05 {
		worst = max(worst, math.Abs(c.out(curve.At(v))-v))
	}
	t.Logf("worst %.1f µV; before %.2f cents, after %.3f; gain %.5f, offset %.4f, INL %.0f µV, noise %.0f µV, drift %.3f cents a minute", worst*1e6, r.Before.Worst, r.After.Worst, r.Gain, r.Offset, r.INL*1e6, r.Noise*1e6, r.Conditions.Drift)
	// A cent is 833 µV; drift goes on after the end.
	if worst > 150e-6 || r.After.Worst > 0.2 || math.Abs(r.Gain-0.985*1.021) > 0.0005 || math.Abs(r.Noise-0.0005) > 1e-4 || math.Abs(r.INL-0.0004) > 2e-4 {
		t.Errorf("off by %g V", worst)
	}
	if !strings.Contains(r.Unknown, "product of both gains") {
		t.Errorf("it does not say what it cannot know: %q", r.Unknown)
	}
	if _, err := stamped(r.Document).Encode(); err != nil {
		t.Error(err)
	}
}

func stamped(d *Document) *Document {
	d.Interface, d.Jack, d.Channel = "i", "j", 1
	return d
}

func TestLoopCalibratesTheInput(t *testing.T) {
	c := newCable(2)
	c.out = func(v float64) float64 { return v }
	c.in = func(v float64) float64 { return max(-5, min(5, 0.02+0.96*v+0.0003*v*v)) }
	r, err := Loop{Calibrate: Input, Levels: 33, Repeats: 1}.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := r.Curve()
	if err != nil {
		t.Fatal(err)
	}
	for v := -4.5; v <= 4.5; v += 0.1 {
		if got := curve.At(c.in(v)); math.Abs(got-v) > 4e-4 {
			t.Errorf("%g V is read as %.5f", v, got)
		}
	}
	// The input ends at ±5 V; what is beyond is named and not in the table.
	if len(r.LeftOut) < 8 {
		t.Errorf("left out: %v", r.LeftOut)
	}
	for _, l := range r.LeftOut {
		if math.Abs(l.Volts) < 4.5 {
			t.Errorf("%v is left out", l)
		}
	}
	t.Logf("%d levels, left out %d; after %.3f cents", len(r.Table), len(r.LeftOut), r.After.Worst)
}

func TestLoopSaysWhatIsWrong(t *testing.T) {
	for want, change := range map[string]func(*cable){
		"does not arrive":           func(c *cable) { c.unplugged = true },
		"is AC-coupled":             func(c *cable) { c.couple = 0.3 },
		"AC-coupled":                func(c *cable) { c.couple = 3 },
		"the loop is inverted":      func(c *cable) { c.in = func(v float64) float64 { return -v } },
		"output does not arrive at": func(c *cable) { c.in = func(v float64) float64 { return v / 100 } },
	} {
		c := newCable(3)
		change(c)
		if _, err := (Loop{Levels: 9}).Run(context.Background(), c); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	c := newCable(4)
	c.unplugged = true
	if _, err := (Loop{}).Run(context.Background(), c); !errors.Is(err, ErrNoLoop) {
		t.Error(err)
	}
	for want, l := range map[string]Loop{"two voltages from -8": {From: -20, To: 1}, "3 to 500": {Levels: 1}, "1 to 20": {Repeats: 99}} {
		if _, err := l.Run(context.Background(), newCable(5)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := (Loop{}).Run(ctx, newCable(6)); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// player reads a voltmeter of three digits behind the point.
type player struct {
	c         *cable
	questions []Question
	slip      map[int]any // what is said instead at the nth question
}

func (p *player) ask(_ context.Context, q Question) (float64, error) {
	p.questions = append(p.questions, q)
	switch s := p.slip[len(p.questions)].(type) {
	case float64:
		return s, nil
	case error:
		return 0, s
	}
	return math.Round(p.c.target*1000) / 1000, nil
}

func TestMeter(t *testing.T) {
	c := newCable(7)
	p := &player{c: c, slip: map[int]any{3: 2000.0, 5: ErrUndo, 8: -99.0, 12: ErrSkip}}
	d, err := Meter{Ask: p.ask}.Run(context.Background(), c)
	if err != nil {
		t.Fatal(err)
	}
	curve, err := d.Curve()
	if err != nil {
		t.Fatal(err)
	}
	for v := -7.5; v <= 7.5; v += 0.1 {
		if got := c.out(curve.At(v)); math.Abs(got-v) > 0.0012 {
			t.Errorf("%g V becomes %.5f", v, got)
		}
	}
	again := 0
	for _, q := range p.questions {
		if q.Again != "" {
			again++
		}
	}
	t.Logf("%d questions, %d asked again; offset %.4f, gain %.5f, table %d; before %.1f, after %.2f cents; left out %v", len(p.questions), again, d.Offset, d.Gain, len(d.Table), d.Before.Worst, d.After.Worst, d.LeftOut)
	if again != 2 || len(d.LeftOut) != 1 || len(p.questions) != 9+2+2+3 {
		t.Errorf("%d questions, %d asked again, left out %v", len(p.questions), again, d.LeftOut)
	}
	if d.Table != nil {
		t.Error("a table was made of the meter's last digit")
	}
	if d.After.Worst > 1.5 || d.Before.Worst < 100 {
		t.Errorf("before %v, after %v", d.Before, d.After)
	}
	if _, err := stamped(d).Encode(); err != nil {
		t.Error(err)
	}

	// An interface that nobody knows, at whose jacks a volt is a seventh.
	c = newCable(8)
	c.low, c.high = -1, 1
	c.out = func(v float64) float64 { return 0.003 + 0.144*v }
	p = &player{c: c}
	if d, err = (Meter{Ask: p.ask, Levels: 5}).Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if math.Abs(d.Gain-1/0.144) > 0.02 {
		t.Errorf("gain %g", d.Gain)
	}

	// An input.
	c = newCable(9)
	c.low, c.high = -4, 4
	c.in = func(v float64) float64 { return 0.01 + 0.97*v }
	p = &player{c: c}
	ask := func(ctx context.Context, q Question) (float64, error) {
		c.target = q.Volts + 0.05*math.Sin(q.Volts*3) // by hand
		return p.ask(ctx, q)
	}
	if d, err = (Meter{Calibrate: Input, Ask: ask, Levels: 5}).Run(context.Background(), c); err != nil {
		t.Fatal(err)
	}
	if curve, err = d.Curve(); err != nil {
		t.Fatal(err)
	}
	for v := -4.0; v <= 4; v++ {
		if got := curve.At(c.in(v)); math.Abs(got-v) > 0.0012 {
			t.Errorf("input: %g V is read as %.5f", v, got)
		}
	}
	if c.most != 0 {
		t.Errorf("%g V were sent while an input was calibrated", c.most)
	}

	// Somebody who leaves.
	gone := errors.New("gone")
	p = &player{c: newCable(10), slip: map[int]any{4: gone}}
	if _, err := (Meter{Ask: p.ask}).Run(context.Background(), p.c); !errors.Is(err, gone) {
		t.Error(err)
	}
}

func TestNearestFirst(t *testing.T) {
	last := 0.0
	for _, v := range nearestFirst(-8, 8, 9) {
		if math.Abs(v) < last-1e-9 {
			t.Errorf("%v", nearestFirst(-8, 8, 9))
		}
		last = math.Abs(v)
	}
	for want, r := range map[float64][]float64{0.001: {1.024, 2.5}, 0.1: {1, 2}, 0.01: {1.25, 0}, 1e-5: {0.123456, 1}} {
		if got := resolution(r); math.Abs(got-want) > want/100 {
			t.Errorf("the last digit of %v is %g, want %g", r, got, want)
		}
	}
}
