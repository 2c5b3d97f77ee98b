package dsp

import "math"

const (
	// compressorHold is the longest window of the level, in seconds.
	compressorHold = 0.1
	// compressorFloor is the level of what is silent, in decibels.
	compressorFloor = -150
	// compressorThere is how near the reduction is when it has arrived, in
	// decibels.
	compressorThere = 1e-5
)

// Compressor is the control path of a feed-forward compressor that works in
// decibels, after Giannoulis, Massberg and Reiss, "Digital dynamic range
// compressor design" (JAES 60, 2012): level, gain curve with a soft knee, and
// then attack and release of the reduction itself, so that both last as long as
// they say at any level. The level is the peak within a window, so that it
// stands still for a steady tone whose half cycle is no longer than that.
type Compressor struct {
	sampleRate               float64
	threshold, knee, slope   float32
	attack, release          float32
	attackS, releaseS, holdS float32

	queue      []float32 // monotonic queue of the sliding maximum
	queueAt    []int64
	head, tail int
	now, hold  int64

	peak      float32 // that the target was made from
	known     bool
	target    float32 // decibels
	reduction float32 // decibels
}

// Init sets the sample rate, −18 dB, 4:1, a knee of 6 dB, 10 ms, 150 ms and a
// window of 10 ms. It allocates.
func (c *Compressor) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	size := 1
	for size < int(compressorHold*rate)+4 {
		size *= 2
	}
	*c = Compressor{sampleRate: rate, queue: make([]float32, size), queueAt: make([]int64, size)}
	c.SetCurve(-18, 4, 6)
	c.SetTimes(0.01, 0.15, 0.01)
	c.Reset()
}

// Reset forgets the past.
func (c *Compressor) Reset() {
	c.head, c.tail, c.now = 0, 0, 0
	c.peak, c.known, c.target, c.reduction = 0, false, 0, 0
}

// SetCurve sets the threshold in decibels of AudioPeak, the ratio above it (1
// or more), and over how many decibels around it the curve bends.
//
// Audio thread.
func (c *Compressor) SetCurve(threshold, ratio, knee float32) {
	if !(ratio >= 1) {
		ratio = 1
	}
	if !(knee >= 0) {
		knee = 0
	}
	if slope := 1 - 1/ratio; threshold != c.threshold || slope != c.slope || knee != c.knee {
		c.threshold, c.slope, c.knee, c.known = threshold, slope, knee, false
	}
}

// SetTimes sets in which time the reduction covers 63 % (1 − 1/e) of its way
// up and down, and the window of the level, in seconds (0…0.1).
//
// Audio thread.
func (c *Compressor) SetTimes(attack, release, hold float32) {
	share := func(seconds float32) float32 {
		n := finiteOr(float64(seconds), 0, 60, 0) * c.sampleRate
		if n < 0.1 {
			return 1
		}
		return float32(-math.Expm1(-1 / n))
	}
	if attack != c.attackS || c.attack == 0 {
		c.attackS, c.attack = attack, share(attack)
	}
	if release != c.releaseS || c.release == 0 {
		c.releaseS, c.release = release, share(release)
	}
	if hold != c.holdS || c.hold == 0 {
		c.holdS = hold
		c.hold = max(1, int64(SecondsToSamples(finiteOr(float64(hold), 0, compressorHold, 0), c.sampleRate)))
	}
}

// Curve is the reduction in decibels that a steady level in decibels of
// AudioPeak comes to.
//
// Audio thread.
func (c *Compressor) Curve(level float32) float32 {
	over := level - c.threshold
	switch {
	case 2*over <= -c.knee:
		return 0
	case 2*over < c.knee:
		x := over + 0.5*c.knee
		return c.slope * x * x / (2 * c.knee)
	}
	return c.slope * over
}

// Next takes one sample of the level, in volts and not negative, and returns
// the reduction in decibels.
//
// Audio thread.
func (c *Compressor) Next(level float32) float32 {
	mask := len(c.queue) - 1
	for c.head != c.tail && c.queue[(c.tail-1)&mask] <= level {
		c.tail--
	}
	c.queue[c.tail&mask], c.queueAt[c.tail&mask] = level, c.now
	c.tail++
	for c.queueAt[c.head&mask] <= c.now-c.hold {
		c.head++
	}
	c.now++
	if p := c.queue[c.head&mask]; p != c.peak || !c.known {
		c.peak, c.known = p, true
		db := float32(compressorFloor)
		if p > 1e-7 {
			db = log2(p*(1/AudioPeak)) * 6.0205999
		}
		c.target = c.Curve(db)
	}
	switch d := c.target - c.reduction; {
	case d < compressorThere && d > -compressorThere:
		c.reduction = c.target
	case d > 0:
		c.reduction += d * c.attack
	default:
		c.reduction += d * c.release
	}
	return c.reduction
}

// log2 is the logarithm of a positive normal number, within 1e-6. The mantissa,
// brought to √½…√2, goes through the series of the inverse hyperbolic tangent.
func log2(x float32) float32 {
	bits := math.Float32bits(x)
	e := int32(bits>>23) - 127
	m := math.Float32frombits(bits&0x7fffff | 0x3f800000)
	if m > math.Sqrt2 {
		m *= 0.5
		e++
	}
	t := (m - 1) / (m + 1)
	u := t * t
	return float32(e) + t*(2.8853900817779268+u*(0.9617966939259756+u*(0.5770780163555854+u*0.4121985831111324)))
}
