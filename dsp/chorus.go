package dsp

import "math"

const (
	// chorusSeconds is the delay around which the voices move, and chorusSweep
	// how far at most.
	chorusSeconds = 0.011
	chorusSweep   = 0.005
	// chorusBend is the most that the voices are out of tune, 50 cents: what
	// moves fast moves less far.
	chorusBend = 0.0293
	// chorusLevel brings the sum of the three voices of a side to about the
	// level of what comes in.
	chorusLevel = 0.5
	// chorusSmooth is the time in which a new sweep is taken up, T60.
	chorusSmooth = 0.1
)

// Chorus makes an ensemble of a sound: three voices on each side whose delays
// swing a third of a cycle apart, those on the right against those on the left.
type Chorus struct {
	sampleRate float64
	lines      [2]delayLine
	phase      uint32
	toStep     float32
	sweep      float64 // samples; the last steps to target are lost in the last bits of a float32
	target     float64
	smooth     float64
	rate       float32
	depth      float32
	last       [2]float32 // of the voices, for the feedback
	known      bool       // the swing was set since the start
}

// Init sets the sample rate, 0.4 Hz and half depth. It allocates.
func (c *Chorus) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*c = Chorus{sampleRate: rate, toStep: float32(1 << 32 / rate), smooth: t60Coefficient(chorusSmooth, rate)}
	for k := range c.lines {
		c.lines[k].init(int(2 * (chorusSeconds + chorusSweep) * rate))
	}
	c.Set(0.4, 0.5)
	c.Reset()
}

// Reset silences the voices and starts their swing again.
func (c *Chorus) Reset() {
	for k := range c.lines {
		c.lines[k].reset()
	}
	c.phase, c.sweep, c.last, c.known = 0, c.target, [2]float32{}, false
}

// Set sets the swing: its rate in hertz (0…20) and its depth, 0…1.
//
// Audio thread.
func (c *Chorus) Set(rate, depth float32) {
	if c.known && rate == c.rate && depth == c.depth {
		return
	}
	if !(rate >= 0) {
		rate = 0
	}
	if !(depth >= 0) {
		depth = 0
	}
	c.rate, c.depth = min(rate, 20), min(depth, 1)
	sweep := float32(chorusSweep)
	if most := chorusBend / (2 * math.Pi) / c.rate; most < sweep {
		sweep = most
	}
	c.target = float64(c.depth) * float64(sweep) * c.sampleRate
	if !c.known {
		c.sweep, c.known = c.target, true
	}
}

// Silent tells whether nothing is left of what was put in.
//
// Audio thread.
func (c *Chorus) Silent() bool { return c.lines[0].silent() && c.lines[1].silent() }

// Rest is Next for n samples of silence, which may be skipped while Silent.
//
// Audio thread.
func (c *Chorus) Rest(n int) {
	c.phase += uint32(c.rate*c.toStep) * uint32(n)
	c.last = [2]float32{}
	for ; n > 0 && c.sweep != c.target; n-- {
		c.swing()
	}
}

// swing moves the sweep to where it should be.
func (c *Chorus) swing() {
	if d := c.target - c.sweep; d > 1e-4 || d < -1e-4 {
		c.sweep += d * c.smooth
	} else {
		c.sweep = c.target
	}
}

// Next takes a sample of each side and returns the voices. Feedback is the
// share of them that goes in again, −0.95…0.95.
//
// Audio thread.
func (c *Chorus) Next(left, right, feedback float32) (float32, float32) {
	c.phase += uint32(c.rate * c.toStep)
	c.swing()
	c.lines[0].write(flush(saturate(Rail(left) + feedback*c.last[0])))
	c.lines[1].write(flush(saturate(Rail(right) + feedback*c.last[1])))
	s, q := sineAt(c.phase), sineAt(c.phase+1<<30)
	// The sines of the other two, a third of a cycle before and after.
	const half, root = 0.5, 0.8660254
	a, b := c.sweep*float64(-half*s+root*q), c.sweep*float64(-half*s-root*q)
	z := c.sweep * float64(s)
	d := chorusSeconds * c.sampleRate
	l, r := &c.lines[0], &c.lines[1]
	wetL := chorusLevel * (l.read(d+z) + l.read(d+a) + l.read(d+b))
	wetR := chorusLevel * (r.read(d-z) + r.read(d-a) + r.read(d-b))
	c.last = [2]float32{flush(wetL), flush(wetR)}
	return wetL, wetR
}
