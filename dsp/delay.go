package dsp

import "math"

const (
	// delaySeconds is the longest delay.
	delaySeconds = 10.0
	// delayGlide is the time constant with which tape comes up to a new speed.
	delayGlide = 0.06
	// delaySlower and delayFaster bound the change of the delay, in samples a
	// sample: the pitch of what is read moves by no more than an octave.
	delaySlower = 0.5
	delayFaster = 1.0
	// delayLag is the time constant with which the tape itself takes up a speed:
	// pitch bends and does not jump.
	delayLag = 0.015
	// delayThere is how near, in samples, the delay is when it has arrived.
	delayThere = 1e-4
	// delayFade is how long one head takes over from the other, in seconds.
	delayFade = 0.05
	// delayRumble is the corner below which the loop loses what would pile up.
	delayRumble = 5.0
)

// Delay is a stereo echo with a loop like that of a tape machine: what comes
// back is filtered, saturates beyond 5 V, and may grow. Its time is a whole
// number of samples when it rests, so that it then neither colours nor costs;
// on its way it glides, with the pitch bending as on a tape that changes its
// speed, or fades from one head to another.
type Delay struct {
	sampleRate float64
	lines      [2]delayLine
	now        float64 // delay in samples
	target     float64
	speed      float64 // by which now moves, in samples a sample
	glide, lag float64
	fading     bool
	fade       Ramp // from the head at now to the head at next
	next       float64
	fades      bool
	low, high  float32 // gains of the two filters
	lowState   [2]float32
	highState  [2]float32
	tone       float32
	known      bool // the time was set since the start
}

// Init sets the sample rate, half a second, and a neutral tone. It allocates
// 4 MB at 48 kHz.
func (d *Delay) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*d = Delay{sampleRate: rate, glide: -math.Expm1(-1 / (delayGlide * rate)), lag: -math.Expm1(-1 / (delayLag * rate))}
	for c := range d.lines {
		d.lines[c].init(int(delaySeconds * rate))
	}
	d.fade.Init(rate)
	d.fade.SetSeconds(delayFade)
	d.tone = -2
	d.SetTone(0)
	d.SetSeconds(0.5)
	d.Reset()
}

// Reset silences the echoes and ends every movement.
func (d *Delay) Reset() {
	for c := range d.lines {
		d.lines[c].reset()
	}
	d.lowState, d.highState = [2]float32{}, [2]float32{}
	d.now, d.speed, d.fading, d.known = d.target, 0, false, false
}

// SetSeconds sets the delay, from 4 samples to 10 s.
//
// Audio thread.
func (d *Delay) SetSeconds(seconds float64) {
	d.target = math.Round(finiteOr(seconds*d.sampleRate, shortest, min(d.lines[0].longest(), delaySeconds*d.sampleRate), 0.5*d.sampleRate))
	if !d.known || !d.fading && d.Silent() {
		// Nobody hears how it gets there.
		d.now, d.speed, d.known = d.target, 0, true
	}
}

// SetFades chooses whether a new time is faded to, without a bend in pitch.
//
// Audio thread.
func (d *Delay) SetFades(on bool) { d.fades = on }

// SetTone sets what the loop takes away: from −1, all above 400 Hz, over 0,
// next to nothing, to 1, all below 2 kHz, at 6 dB an octave.
//
// Audio thread.
func (d *Delay) SetTone(tone float32) {
	if tone == d.tone || tone != tone {
		return
	}
	d.tone = tone
	gain := func(hertz float64) float32 {
		g := math.Tan(math.Pi * min(hertz/d.sampleRate, 0.49))
		return float32(g / (1 + g))
	}
	d.low = gain(24000 * math.Exp2(5.9*float64(max(min(tone, 0), -1))))
	d.high = gain(delayRumble * math.Exp2(8.64*float64(min(max(tone, 0), 1))))
}

// Silent tells whether nothing is left of what was ever put in.
//
// Audio thread.
func (d *Delay) Silent() bool {
	return d.lines[0].silent() && d.lines[1].silent() && d.lowState == [2]float32{} && d.highState == [2]float32{}
}

// filter is the tone of one side.
func (d *Delay) filter(c int, x float32) float32 {
	v := (x - d.lowState[c]) * d.low
	y := v + d.lowState[c]
	d.lowState[c] = flush(y + v)
	v = (y - d.highState[c]) * d.high
	z := v + d.highState[c]
	d.highState[c] = flush(z + v)
	return y - z
}

// Next takes a sample of each side and returns the echoes. Feedback is the
// share that comes back, 0…1.2; spread is the share of each side that comes
// back on the other, 0…1, at 1 with all that comes in going to the left first.
//
// Audio thread.
func (d *Delay) Next(left, right, feedback, spread float32) (float32, float32) {
	l, r := d.heads()
	l, r = d.filter(0, l), d.filter(1, r)
	left, right = Rail(left), Rail(right)
	inL, inR := left+spread*0.5*(right-left), right-spread*right
	d.lines[0].write(flush(saturate(inL + feedback*(l+spread*(r-l)))))
	d.lines[1].write(flush(saturate(inR + feedback*(r+spread*(l-r)))))
	return l, r
}

// heads reads both lines where the heads are, and moves them. The newest
// sample is the one before this one.
func (d *Delay) heads() (l, r float32) {
	if d.now == d.target && d.speed == 0 && !d.fading {
		n := int(d.now) - 1
		return d.lines[0].whole(n), d.lines[1].whole(n)
	}
	g := d.move()
	at := max(d.now-1, shortest)
	l, r = d.lines[0].read(at), d.lines[1].read(at)
	if d.fading {
		n := int(d.next) - 1
		l += g * (d.lines[0].whole(n) - l)
		r += g * (d.lines[1].whole(n) - r)
	}
	return l, r
}

// move takes the heads one sample further to where they should be, and returns
// the share of the new one while one takes over from the other.
func (d *Delay) move() (share float32) {
	if d.fading && !d.fade.Moving() {
		d.now, d.fading = d.next, false
	}
	way := d.target - d.now
	switch {
	case d.fading:
	case way == 0 && d.speed == 0:
		return 0
	case d.fades:
		d.fading, d.next, d.speed = true, d.target, 0
		d.fade.Jump(0)
		d.fade.Set(1)
	case math.Abs(way) < delayThere && math.Abs(d.speed) < delayThere:
		d.now, d.speed = d.target, 0
		return 0
	default:
		d.speed += (min(max(way*d.glide, -delayFaster), delaySlower) - d.speed) * d.lag
		d.now = min(max(d.now+d.speed, shortest), d.lines[0].longest())
		return 0
	}
	share = d.fade.Next()
	return share * share * (3 - 2*share)
}

// Rest is Next for n samples of silence, which may be skipped while Silent.
//
// Audio thread.
func (d *Delay) Rest(n int) {
	for ; n > 0 && (d.fading || d.now != d.target || d.speed != 0); n-- {
		d.move()
	}
}
