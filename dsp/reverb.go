package dsp

import "math"

const (
	reverbLines = 8
	// reverbHighHertz is where the second decay time of SetDecay applies.
	reverbHighHertz = 6000
	// reverbCloseSeconds is the T60 of a closed reverb and fadeSeconds how
	// long its input takes to open or close.
	reverbCloseSeconds = 0.25
	reverbFadeSeconds  = 0.05
	// The delays wander by this much, so that no mode rings on its own; at
	// these rates the pitch moves by less than a cent.
	reverbWanderSeconds = 0.000125
	reverbWanderHertzA  = 0.31
	reverbWanderHertzB  = 0.47
)

var (
	// reverbDelays are in samples at 48 kHz, prime, so that echoes do not
	// coincide: 30 to 87 ms, the mean free path of a hall.
	reverbDelays = [reverbLines]int{1451, 1733, 2039, 2341, 2719, 3163, 3607, 4157}
	// reverbDiffusers are the all-passes in front, in samples at 48 kHz.
	reverbDiffusers = [2][3]int{{229, 347, 113}, {241, 331, 127}}
)

const reverbDiffusion = 0.62

// reverbShape is what a decay time means to the lines.
type reverbShape struct {
	gain  [reverbLines]float32 // per pass
	pole  [reverbLines]float32 // damping per pass
	input float32              // keeps the level of the wet sound
}

// Reverb is a stereo feedback delay network: eight delay lines that feed each
// other through a Hadamard matrix, after Jot and Chaigne, "Digital delay
// networks for designing artificial reverberators" (AES 90, 1991). Every line
// loses what its length asks, at low and at high frequencies, so that the
// decay times hold within a few per cent. It has no random part: equal input
// gives equal output.
type Reverb struct {
	sampleRate float64
	lines      [reverbLines][]float32
	mask       int
	at         int
	delay      [reverbLines]float32
	whole      [reverbLines]int
	damped     [reverbLines]float32
	diffuse    [2][3][]float32
	diffuseAt  [2][3]int
	lowCut     [2]OnePole

	from, to, now  reverbShape
	fade           Ramp // 0 at from, 1 at to
	mix, gate      Ramp
	seconds, highS float64
	open           bool

	wander         float32
	ca, sa, cb, sb float64 // rotating vectors
	ra, ia, rb, ib float64 // their rotation
	turns          int32
}

// Init sets the sample rate, a decay of 2 s (1 s at 6 kHz), wet sound only,
// open. It allocates 0.3 MB at 48 kHz.
func (r *Reverb) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*r = Reverb{sampleRate: rate, open: true, seconds: 2, highS: 1}
	longest := 0
	for i, d := range reverbDelays {
		n := nextPrime(int(float64(d) * rate / 48000))
		r.delay[i], r.whole[i] = float32(n), n
		longest = max(longest, n)
	}
	r.wander = float32(reverbWanderSeconds * rate)
	size := 1
	for size < longest+int(r.wander)+8 {
		size *= 2
	}
	r.mask = size - 1
	for i := range r.lines {
		r.lines[i] = make([]float32, size)
	}
	for c := range r.diffuse {
		r.lowCut[c].Init(rate)
		r.lowCut[c].SetHertz(25)
		for k, d := range reverbDiffusers[c] {
			r.diffuse[c][k] = make([]float32, nextPrime(int(float64(d)*rate/48000)))
		}
	}
	r.ia, r.ra = math.Sincos(2 * math.Pi * reverbWanderHertzA / rate)
	r.ib, r.rb = math.Sincos(2 * math.Pi * reverbWanderHertzB / rate)
	r.fade.Init(rate)
	r.fade.SetSeconds(reverbFadeSeconds)
	r.mix.Init(rate)
	r.mix.SetSeconds(0.02)
	r.mix.Jump(1)
	r.gate.Init(rate)
	r.gate.SetSeconds(reverbFadeSeconds)
	r.gate.Jump(1)
	r.reshape()
	r.fade.Reset()
	r.Reset()
}

// Reset empties the room and ends every movement.
func (r *Reverb) Reset() {
	for i := range r.lines {
		clear(r.lines[i])
	}
	for c := range r.diffuse {
		r.lowCut[c].Reset()
		for k := range r.diffuse[c] {
			clear(r.diffuse[c][k])
			r.diffuseAt[c][k] = 0
		}
	}
	r.damped = [reverbLines]float32{}
	r.at, r.turns = 0, 0
	r.ca, r.sa, r.cb, r.sb = 1, 0, 1, 0
	r.fade.Reset()
	r.mix.Reset()
	r.gate.Reset()
	r.now = r.to
}

// SetDecay sets the T60 at low frequencies and at 6 kHz, in seconds (0.05…60;
// the second is bounded by the first). It moves there in 50 ms.
//
// Audio thread.
func (r *Reverb) SetDecay(seconds, highSeconds float64) {
	seconds = finiteOr(seconds, 0.05, 60, 2)
	highSeconds = finiteOr(highSeconds, 0.05, seconds, seconds)
	if seconds == r.seconds && highSeconds == r.highS {
		return
	}
	r.seconds, r.highS = seconds, highSeconds
	r.reshape()
}

// SetMix sets the share of the wet sound, 0…1; the dry sound has the rest.
//
// Audio thread.
func (r *Reverb) SetMix(wet float32) {
	if wet == wet {
		r.mix.Set(max(0, min(1, wet)))
	}
}

// SetOpen opens or closes the room: when it closes, the input fades out within
// 50 ms and what still sounds dies away with a T60 of 250 ms.
//
// Audio thread.
func (r *Reverb) SetOpen(open bool) {
	if open == r.open {
		return
	}
	r.open = open
	if open {
		r.gate.Set(1)
	} else {
		r.gate.Set(0)
	}
	r.reshape()
}

// Open tells whether the input is open.
//
// Audio thread.
func (r *Reverb) Open() bool { return r.open }

// reshape starts the way from the present shape to the one asked for.
func (r *Reverb) reshape() {
	low, high := r.seconds, r.highS
	if !r.open {
		low, high = min(low, reverbCloseSeconds), min(high, reverbCloseSeconds)
	}
	r.from = r.now
	w := math.Cos(2 * math.Pi * min(reverbHighHertz/r.sampleRate, 0.45))
	mean := 0.0
	for i, d := range r.delay {
		// What a pass of this length may leave, at 0 Hz and at 6 kHz.
		gl := math.Exp(-ln1000 * float64(d) / (low * r.sampleRate))
		gh := math.Exp(-ln1000 * float64(d) / (high * r.sampleRate))
		r.to.gain[i] = float32(gl)
		// A one-pole low-pass (1-b)/(1-b/z) that is 1 at 0 Hz and gh/gl at
		// 6 kHz: the root below 1 of a quadratic in b.
		q := gh / gl * gh / gl
		b := 0.0
		if q < 1-1e-9 {
			h := (1 - q*w) / (1 - q)
			b = h - math.Sqrt(h*h-1)
		}
		r.to.pole[i] = float32(b)
		mean += gl * gl / reverbLines
	}
	r.to.input = float32(math.Sqrt(1 - mean))
	r.fade.Jump(0)
	r.fade.Set(1)
}

// move takes the shape one sample along its way.
func (r *Reverb) move() {
	t := r.fade.Next()
	if !r.fade.Moving() {
		r.now = r.to
		return
	}
	for i := range r.now.gain {
		r.now.gain[i] = r.from.gain[i] + t*(r.to.gain[i]-r.from.gain[i])
		r.now.pole[i] = r.from.pole[i] + t*(r.to.pole[i]-r.from.pole[i])
	}
	r.now.input = r.from.input + t*(r.to.input-r.from.input)
}

// Next takes one sample of each side and returns the mix.
//
// Audio thread.
func (r *Reverb) Next(left, right float32) (float32, float32) {
	left, right = Finite(left), Finite(right)
	if r.fade.Moving() {
		r.move()
	}
	gate := r.gate.Next() * r.now.input
	inL := r.diffuser(0, r.lowCut[0].HighPass(left)*gate)
	inR := r.diffuser(1, r.lowCut[1].HighPass(right)*gate)

	r.ca, r.sa = r.ca*r.ra-r.sa*r.ia, r.sa*r.ra+r.ca*r.ia
	r.cb, r.sb = r.cb*r.rb-r.sb*r.ib, r.sb*r.rb+r.cb*r.ib
	if r.turns++; r.turns == 4096 {
		// Rounding lets the vectors grow or shrink a little.
		r.turns = 0
		a, b := 1/math.Hypot(r.ca, r.sa), 1/math.Hypot(r.cb, r.sb)
		r.ca, r.sa, r.cb, r.sb = r.ca*a, r.sa*a, r.cb*b, r.sb*b
	}
	// Half of the lines wander: enough to blur every mode, as all lines feed
	// all others.
	w := r.wander
	wander := [reverbLines / 2]float32{float32(r.ca) * w, float32(r.cb) * w, float32(-r.ca) * w, float32(-r.cb) * w}

	now := &r.now
	var d [reverbLines]float32
	for i, by := range wander {
		// The line is read around its length by cubic interpolation
		// (Lagrange), flat enough to keep the decay at 6 kHz.
		at := r.delay[i] + by
		n := int(at)
		f := at - float32(n)
		line, p := r.lines[i], r.at-n
		y0, y1 := line[(p+1)&r.mask], line[p&r.mask]
		y2, y3 := line[(p-1)&r.mask], line[(p-2)&r.mask]
		g, h, e := f-1, f-2, f+1
		v := g*h*(0.5*e*y1-(1.0/6)*f*y0) + e*f*((1.0/6)*g*y3-0.5*h*y2)
		d[i] = flush(v + (r.damped[i]-v)*now.pole[i])
	}
	for i := reverbLines / 2; i < reverbLines; i++ {
		v := r.lines[i][(r.at-r.whole[i])&r.mask]
		d[i] = flush(v + (r.damped[i]-v)*now.pole[i])
	}
	r.damped = d
	// Heard before the gain of the pass, so that the level does not depend on
	// the decay time.
	wetL := d[0] - d[2] + d[4] - d[6]
	wetR := d[1] - d[3] + d[5] - d[7]

	// Hadamard matrix as a butterfly; 1/√8 makes it lossless.
	a0, a1, a2, a3 := d[0]*now.gain[0], d[1]*now.gain[1], d[2]*now.gain[2], d[3]*now.gain[3]
	a4, a5, a6, a7 := d[4]*now.gain[4], d[5]*now.gain[5], d[6]*now.gain[6], d[7]*now.gain[7]
	a0, a1, a2, a3 = a0+a1, a0-a1, a2+a3, a2-a3
	a4, a5, a6, a7 = a4+a5, a4-a5, a6+a7, a6-a7
	a0, a1, a2, a3 = a0+a2, a1+a3, a0-a2, a1-a3
	a4, a5, a6, a7 = a4+a6, a5+a7, a4-a6, a5-a7
	const scale = 0.35355338
	inL, inR = inL*0.5, inR*0.5
	at := r.at & r.mask
	r.lines[0][at] = flush((a0+a4)*scale + inL)
	r.lines[1][at] = flush((a1+a5)*scale + inR)
	r.lines[2][at] = flush((a2+a6)*scale - inL)
	r.lines[3][at] = flush((a3+a7)*scale - inR)
	r.lines[4][at] = flush((a0-a4)*scale + inL)
	r.lines[5][at] = flush((a1-a5)*scale + inR)
	r.lines[6][at] = flush((a2-a6)*scale - inL)
	r.lines[7][at] = flush((a3-a7)*scale - inR)
	r.at++
	mix := r.mix.Next()
	return left + mix*(wetL-left), right + mix*(wetR-right)
}

// diffuser is a chain of Schroeder all-passes that turns a click into a cloud.
func (r *Reverb) diffuser(side int, v float32) float32 {
	for k := range r.diffuse[side] {
		line := r.diffuse[side][k]
		at := &r.diffuseAt[side][k]
		old := line[*at]
		in := flush(v - old*reverbDiffusion)
		v = old + in*reverbDiffusion
		line[*at] = in
		if *at++; *at == len(line) {
			*at = 0
		}
	}
	return v
}

// Process replaces a block by its mix.
//
// Audio thread.
func (r *Reverb) Process(left, right []float32) {
	right = right[:len(left)]
	for i := range left {
		left[i], right[i] = r.Next(left[i], right[i])
	}
}

// nextPrime is the least prime not below n.
func nextPrime(n int) int {
	for n = max(n, 2); ; n++ {
		prime := true
		for d := 2; d*d <= n; d++ {
			if n%d == 0 {
				prime = false
				break
			}
		}
		if prime {
			return n
		}
	}
}
