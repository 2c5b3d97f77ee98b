package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
)

const (
	// benchSlew is how fast a bench moves a voltage, in V/s: 10 V take 10 ms.
	benchSlew = 1000
	// benchMargin is what a converter, a server or a program in the loop may add to the round trip
	// that the device knows of, in seconds.
	benchMargin = 0.02
	// benchRing is how many captured frames are kept; nobody listens for longer at a time.
	benchRing = 1 << 19
	// benchAbsent is how long a device may be gone before a measurement ends, and benchOpens how long
	// it may take to be there at all.
	benchAbsent, benchOpens = 10 * time.Second, 2 * time.Second
	// benchTries is how often a stretch with a gap in it is listened to again.
	benchTries = 5
)

// deviceBench is one output jack and one input jack of a rig on its device:
// what a calibration measures on. Nothing else plays: all other jacks rest at
// their safe voltage and the speakers are silent.
type deviceBench struct {
	device    *hardware.Device
	box       *rig.Case
	rate      float64
	low, high float64

	goal atomic.Pointer[benchGoal]

	// The render goroutine's own.
	out, in int // slices of the engine's; −1 is none
	rest    []float32
	now     float32
	step    float32
	frame   int64

	gone bool // the device, as was seen last

	frames atomic.Int64 // rendered
	ring   []float32
	heard  atomic.Int64 // captured frames in the ring since the beginning
	x      []float32
}

// benchGoal is where a voltage is to go, and when it was there.
type benchGoal struct {
	volts   float32
	reached atomic.Int64 // frame, 0 while it is under way
}

// Render sends and captures.
//
// Audio thread.
func (b *deviceBench) Render(out, in [][]float32) {
	n := len(out[0])
	for c := range out {
		for i := range out[c] {
			out[c][i] = b.rest[c]
		}
	}
	g := b.goal.Load()
	if b.out >= 0 {
		y := out[b.out]
		for i := range y {
			switch d := g.volts - b.now; {
			case d > b.step:
				b.now += b.step
			case d < -b.step:
				b.now -= b.step
			default:
				b.now = g.volts
			}
			y[i] = b.now
		}
	}
	b.frame += int64(n)
	if b.now == g.volts && g.reached.Load() == 0 {
		g.reached.Store(b.frame)
	}
	b.frames.Store(b.frame)
	if b.in < 0 || in == nil {
		return
	}
	at := b.heard.Load()
	for i, v := range in[b.in] {
		b.ring[(at+int64(i))%benchRing] = v
	}
	b.heard.Store(at + int64(n))
}

// benchOptions say what is opened.
type benchOptions struct {
	rig           string
	output, input string // jacks; either may be empty
	device        hardware.Settings
	changed       func(flag string) bool
}

// plan finds the jacks of a rig. The first two answers are nil where none was
// named.
func (o benchOptions) plan() (r *rig.Rig, output, input *rig.Jack, err error) {
	if r, err = openRig(o.rig); err != nil {
		return nil, nil, nil, err
	}
	if r == nil {
		return nil, nil, nil, usageError{errors.New(`there is no rig to calibrate; name one with --rig, or write one with "k8s-synth rig new"`)}
	}
	find := func(jacks []rig.Jack, name, what string) (*rig.Jack, error) {
		if name == "" {
			return nil, nil
		}
		i := slices.IndexFunc(jacks, func(j rig.Jack) bool { return j.Name == name })
		if i < 0 {
			var names []string
			for _, j := range jacks {
				names = append(names, j.Name)
			}
			return nil, usageError{fmt.Errorf("the rig %s has no %s %q; there are %s", r.Name, what, name, orNone(names))}
		}
		j := &jacks[i]
		switch {
		case j.Expander >= 0:
			return nil, usageError{fmt.Errorf("%s is on %s, whose steps are coarser than a calibration is; calibrate jacks of the interface itself", name, r.Place(j))}
		case j.Role.Switches() && what == "output":
			return nil, usageError{fmt.Errorf("%s is a %v, which has two levels and nothing to calibrate", name, j.Role)}
		}
		return j, nil
	}
	if output, err = find(r.Outputs, o.output, "output"); err != nil {
		return nil, nil, nil, err
	}
	if input, err = find(r.Inputs, o.input, "input"); err != nil {
		return nil, nil, nil, err
	}
	return r, output, input, nil
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}

// openBench opens the device of a rig for two of its jacks.
func openBench(ctx context.Context, r *rig.Rig, output, input *rig.Jack, o benchOptions, log io.Writer) (*deviceBench, error) {
	l := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelWarn, ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	s := r.Device.Settings(o.device)
	for _, k := range []struct {
		flag string
		back func()
	}{
		{"rate", func() { s.Rate = o.device.Rate }}, {"period", func() { s.Period = o.device.Period }},
		{"device", func() { s.Device, s.Backend = o.device.Device, o.device.Backend }}, {"backend", func() { s.Backend = o.device.Backend }},
	} {
		if o.changed != nil && o.changed(k.flag) {
			k.back()
		}
	}
	if s.CaptureDevice == "" {
		s.CaptureDevice = r.Device.Capture
	}
	s.Logger = l
	if s.Rate == 0 {
		s.Rate = 48000
	}
	// A rig's remarks were shown when it was made; what matters of them is in the plan.
	box, err := rig.NewCase(r, float64(s.Rate), slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, fmt.Errorf("rig %s: %w", r.Name, err)
	}
	box.Raw(true)
	s.Converter = box
	outputs, inputs, _, _ := box.Shape()
	b := &deviceBench{box: box, rate: float64(s.Rate), out: -1, in: -1, rest: make([]float32, outputs), step: float32(benchSlew / float64(s.Rate)), ring: make([]float32, benchRing)}
	sockets := box.Sockets()
	for _, j := range r.Outputs {
		if i, ok := sockets.Outputs[j.Name]; ok && i < outputs {
			b.rest[i] = float32(j.Safe)
			if j.Role.Switches() {
				b.rest[i] = float32(j.Low)
			}
		}
	}
	if output != nil {
		b.out, b.now = sockets.Outputs[output.Name], float32(output.Safe)
		b.low, b.high = max(output.Min, -output.FullScale), min(output.Max, output.FullScale)
	} else if input != nil {
		b.low, b.high = -input.FullScale, input.FullScale // what the player puts on it
	}
	if input != nil {
		b.in = sockets.Inputs[input.Name]
		if inputs == 0 {
			return nil, fmt.Errorf("rig %s: the device is opened without inputs", r.Name)
		}
	}
	b.goal.Store(&benchGoal{volts: b.now})
	if b.device, err = hardware.Open(ctx, s, b); err != nil {
		return nil, err
	}
	playing.Store(b.device)
	if err := b.device.Start(); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	// What was plugged in sees the safe voltage first, and a server needs a moment.
	if err := b.wait(ctx, benchOpens, func() bool {
		return b.frames.Load() > int64(b.rate/5) && (b.in < 0 || b.heard.Load() > int64(b.rate/20))
	}); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close lands the voltages at their rest and lets go of the device.
func (b *deviceBench) Close() error {
	defer playing.Store(nil) // who ends the process meanwhile waits for the landing
	return b.device.Close()
}

// SampleRate is the device's.
func (b *deviceBench) SampleRate() float64 { return b.rate }

// Limits are those of the output jack in the rig, and of its converter.
func (b *deviceBench) Limits() (low, high float64) { return b.low, b.high }

// Set sends nominal volts to the output jack.
func (b *deviceBench) Set(ctx context.Context, volts float64) error {
	if b.out < 0 {
		return errors.New("nothing is sent while an input is calibrated alone")
	}
	if !(volts >= b.low-1e-9 && volts <= b.high+1e-9) {
		return fmt.Errorf("%.4g V are beyond the limits of the jack, %.4g to %.4g V", volts, b.low, b.high)
	}
	g := &benchGoal{volts: float32(volts)}
	b.goal.Store(g)
	extra := int64(benchMargin * b.rate)
	return b.wait(ctx, benchAbsent, func() bool {
		r := g.reached.Load()
		return r > 0 && b.frames.Load() >= r+int64(b.roundTrip())+extra
	})
}

// roundTrip is how many frames pass before what is sent is heard.
func (b *deviceBench) roundTrip() int { return max(b.device.RoundTrip(), b.device.Latency()) }

// Listen returns what the input jack hears from now on. A stretch with a gap of
// the device in it is listened to again.
func (b *deviceBench) Listen(ctx context.Context, seconds float64) ([]float32, float64, error) {
	if b.in < 0 {
		return nil, 0, errors.New("there is no input to listen to")
	}
	n := int64(math.Round(seconds * b.rate))
	if n > benchRing/2 {
		return nil, 0, fmt.Errorf("%g s are too long to listen to at once", seconds)
	}
	for range benchTries {
		before := b.gaps()
		from := b.heard.Load()
		if err := b.wait(ctx, benchOpens, func() bool { return b.heard.Load() >= from+n }); err != nil {
			return nil, 0, err
		}
		b.x = b.x[:0]
		for i := from; i < from+n; i++ {
			b.x = append(b.x, b.ring[i%benchRing])
		}
		if b.gaps() == before {
			return b.x, float64(from) / b.rate, nil
		}
	}
	return nil, 0, errors.New("the device loses samples all the time; use a longer --period, or end what keeps this machine busy")
}

// gaps counts all that breaks what is heard.
func (b *deviceBench) gaps() uint64 {
	s := b.device.Stats()
	return s.CaptureGaps + s.CaptureLost + s.CaptureRealigned + s.Underruns + uint64(s.Reopens)
}

// wait waits until something is so, ctx ends, or the device has been lost for
// too long.
func (b *deviceBench) wait(ctx context.Context, absent time.Duration, ok func() bool) error {
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	began := time.Now()
	moved, there, last := began, began, b.frames.Load()
	for k := 0; !ok() || b.gone; k++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if f := b.frames.Load(); f != last {
			moved, last = time.Now(), f
		}
		if k%25 == 0 {
			// The null device that stands in for a lost one keeps time and hears nothing.
			s := b.device.Stats()
			if b.gone = s.Lost; !b.gone {
				there = time.Now()
			}
			if s.Reopens > 0 && s.Backend == "jack" {
				// What was plugged into its ports is not any more.
				return errors.New("the JACK server let go of the instrument for a moment, and its cables are gone; is this machine too busy?")
			}
			if time.Since(there) > absent {
				return errors.New("there is no audio device: is it plugged in, and does another program hold it?")
			}
		}
		if time.Since(moved) > 5*time.Second {
			return errors.New("the audio device does not move")
		}
	}
	return nil
}
