package calibration

import (
	"context"
	"math"
	"math/rand/v2"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// simulated is an oscillator on a bench that keeps its own time: what a second of the procedure
// takes is a second of its clock and a few milliseconds of ours.
type simulated struct {
	r *rand.Rand
	// low and high are the jack's limits, volts.
	low, high float64
	// bend is what the oscillator takes a voltage for, in volts of 1 V/oct with C4 at 0.
	bend func(volts float64) float64
	// drift is in cents at a time in seconds.
	drift func(t float64) float64
	// settle is the time constant of its pitch, seconds.
	settle float64
	// shape is the amplitude of each harmonic; noise is white, RMS in volts.
	shape []float64
	noise float64
	// loose tells which sent volts have a pitch that is another at each visit, and by how many cents.
	loose func(volts float64) float64
	// mute tells at which sent volts nothing sounds; nil is nowhere.
	mute func(volts float64) bool
	wave string // name of the shape

	t      float64 // seconds
	phase  float64
	pitch  float64 // volts, what sounds now
	target float64
	shaken float64
	quiet  bool
	sets   int
	most   float64
	x      []float32
	// stop ends the context after so many sets.
	stop   int
	cancel context.CancelFunc
}

const simulatedRate = 48000.0

func (s *simulated) SampleRate() float64        { return simulatedRate }
func (s *simulated) Limits() (float64, float64) { return s.low, s.high }

func (s *simulated) Set(ctx context.Context, volts float64) error {
	s.sets++
	if s.stop > 0 && s.sets >= s.stop {
		s.cancel()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.most = max(s.most, math.Abs(volts))
	s.target, s.shaken = s.bend(volts), 0
	if s.loose != nil {
		s.shaken = s.loose(volts) * s.r.NormFloat64()
	}
	s.quiet = s.mute != nil && s.mute(volts)
	s.pass(0.005, nil)
	return nil
}

// truth is the pitch that a sent voltage has when it has settled, in volts from C4, without noise.
func (s *simulated) truth(volts float64) float64 { return s.bend(volts) + s.drift(s.t)/1200 }

func (s *simulated) Listen(ctx context.Context, seconds float64) ([]float32, float64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	at := s.t
	n := int(seconds * simulatedRate)
	if cap(s.x) < n {
		s.x = make([]float32, n)
	}
	s.x = s.x[:n]
	s.pass(seconds, s.x)
	return s.x, at, nil
}

// pass lets time go by, and writes what sounds.
func (s *simulated) pass(seconds float64, x []float32) {
	const chunk = 16
	n := int(seconds * simulatedRate)
	k := math.Exp(-chunk / simulatedRate / s.settle)
	if s.settle == 0 {
		k = 0
	}
	for i := 0; i < n; i += chunk {
		s.pitch = s.target + (s.pitch-s.target)*k
		hertz := dsp.C4Hertz * math.Exp2(s.pitch+(s.drift(s.t)+s.shaken)/1200)
		step := hertz / simulatedRate
		partials := len(s.shape)
		for partials > 1 && float64(partials)*hertz > 0.45*simulatedRate {
			partials--
		}
		for j := i; j < min(i+chunk, n); j++ {
			s.phase += step
			s.phase -= math.Floor(s.phase)
			if x == nil {
				continue
			}
			sin, cos := math.Sincos(2 * math.Pi * s.phase)
			before, now, sum := 0.0, sin, 0.0
			for _, a := range s.shape[:partials] {
				sum += a * now
				before, now = now, 2*cos*now-before
			}
			if s.quiet {
				sum = 0
			}
			x[j] = float32(sum + s.noise*s.r.NormFloat64())
		}
		s.t += float64(min(chunk, n-i)) / simulatedRate
	}
}

// shapes are what oscillators give, in volts.
var shapes = map[string][]float64{
	"sine":     {5},
	"triangle": {4, 0, -4. / 9, 0, 4. / 25, 0, -4. / 49},
	"square":   {6, 0, 2, 0, 1.2, 0, 6. / 7, 0, 6. / 9, 0, 6. / 11},
	"saw":      {3.2, 1.6, 3.2 / 3, 0.8, 0.64, 3.2 / 6, 3.2 / 7, 0.4, 3.2 / 9, 0.32},
	"filtered": {0.4, 2, 0.1, 0.02},
}

var shapeNames = []string{"sine", "triangle", "square", "saw", "filtered"}

// bent is an oscillator as a musician owns it: 4 % of scale, half a volt of offset, a curve whose
// ends are semitones off, steps of the converter in front of it, drift, noise at 40 dB.
func bent(r *rand.Rand) *simulated {
	s := &simulated{r: r, low: -10, high: 10, settle: 0.05}
	scale := 1 + 0.04*(2*r.Float64()-1)
	offset := 0.4 * (2*r.Float64() - 1)
	square := 0.004 * (2*r.Float64() - 1)
	cube := 0.0006 * (2*r.Float64() - 1)
	phase, steps := r.Float64(), 0.0012*r.Float64()
	s.bend = func(v float64) float64 {
		// The converter's integral error repeats with the weight of one of its bits.
		return offset + scale*v + square*v*v + cube*v*v*v + steps*math.Sin(2*math.Pi*(v/0.3125+phase))
	}
	rate, curl := 2*r.Float64()-1, 0.5*(2*r.Float64()-1)
	s.drift = func(t float64) float64 { return rate*t/60 + curl*math.Sin(t/50) }
	s.wave = shapeNames[r.IntN(len(shapeNames))]
	s.shape = shapes[s.wave]
	power := 0.0
	for _, a := range s.shape {
		power += a * a / 2
	}
	s.noise = math.Sqrt(power) / 100
	return s
}

// residual is how far the oscillator is from its notes when a document's curve is in front of it, in
// cents: the worst, what is common to all, and the worst without that.
func residual(s *simulated, d *Document, from, to int) (worst, common, shape float64) {
	c, err := d.Curve()
	if err != nil {
		return math.NaN(), math.NaN(), math.NaN()
	}
	low, high := math.Inf(1), math.Inf(-1)
	for n := from; n <= to; n++ {
		v := float64(float32(c.Correct(float32(d.Standard.VoltsOf(float64(n))))))
		e := 1200*s.truth(v) - 100*float64(n+d.Transpose-60)
		low, high = min(low, e), max(high, e)
	}
	return max(high, -low), (high + low) / 2, (high - low) / 2
}
