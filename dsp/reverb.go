package dsp

import "math"

const (
	reverbLines = 8
	// reverbHighHertz is where the second decay time of SetDecay applies.
	reverbHighHertz = 6000
	// reverbCloseSeconds is the T60 of a closed reverb and reverbFadeSeconds how
	// long its input takes to open or close.
	reverbCloseSeconds = 0.25
	reverbFadeSeconds  = 0.05
	// The delays wander by this much, so that no mode rings on its own; at
	// these rates the pitch moves by less than a cent.
	reverbWanderSeconds = 0.000125
	reverbWanderHertzA  = 0.31
	reverbWanderHertzB  = 0.47
	// reverbLowCutHertz keeps what nobody hears from piling up in the room.
	reverbLowCutHertz = 25
	// reverbBlock is the most samples that are rendered at once.
	reverbBlock = 64
	// reverbSilence, in volts, is 55 dB below the last bit of a converter of
	// 24 bits; what has faded to there is over.
	reverbSilence = 1e-9
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
	whole      [reverbLines]int // length of each line
	span       int              // samples that are rendered at once, a power of two
	damped     [reverbLines]float32
	diffuse    [2][3][]float32
	lowCut     [2]lowCut
	quiet      int  // samples for which nothing was written but 0
	empty      bool // all there is is 0

	from, to, now  reverbShape
	fade           Ramp // 0 at from, 1 at to
	mix, gate      Ramp
	seconds, highS float64
	open           bool

	wander float32
	wave   [2]sway

	// What a block works on.
	in     [2][reverbBlock]float32
	tap    [reverbLines][reverbBlock + 4]float32
	single [2]float32
}

// Init sets the sample rate, a decay of 2 s (1 s at 6 kHz), wet sound only,
// open. It allocates 0.3 MB at 48 kHz.
func (r *Reverb) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	*r = Reverb{sampleRate: rate, open: true, seconds: 2, highS: 1}
	longest := 0
	for i, d := range reverbDelays {
		n := nextPrime(int(float64(d) * rate / 48000))
		r.whole[i] = n
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
	least := reverbBlock
	for c := range r.diffuse {
		g := math.Tan(math.Pi * reverbLowCutHertz / rate)
		r.lowCut[c].gain = g / (1 + g)
		for k, d := range reverbDiffusers[c] {
			n := nextPrime(int(float64(d) * rate / 48000))
			r.diffuse[c][k] = make([]float32, n)
			least = min(least, n)
		}
	}
	r.span = reverbBlock
	for r.span > least {
		r.span /= 2
	}
	r.wave[0].rate, r.wave[1].rate = reverbWanderHertzA/rate, reverbWanderHertzB/rate
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
		r.lowCut[c].state = 0
		for k := range r.diffuse[c] {
			clear(r.diffuse[c][k])
		}
	}
	r.damped = [reverbLines]float32{}
	r.at, r.quiet, r.empty = 0, 0, true
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
	for i, d := range r.whole {
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

// Next takes one sample of each side and returns the mix. Process is faster
// and gives the same.
//
// Audio thread.
func (r *Reverb) Next(left, right float32) (float32, float32) {
	r.single = [2]float32{left, right}
	r.Process(r.single[:1], r.single[1:])
	return r.single[0], r.single[1]
}

// Process replaces a block by its mix.
//
// Audio thread.
func (r *Reverb) Process(left, right []float32) {
	right = right[:len(left)]
	for i := 0; i < len(left); {
		if r.Empty() {
			// Nothing sounds: only time goes by until something comes in.
			n := 0
			for i+n < len(left) && left[i+n] == 0 && right[i+n] == 0 {
				left[i+n], right[i+n] = 0, 0 // not -0
				n++
			}
			r.at += n
			if i += n; i == len(left) {
				return
			}
		}
		n := min(len(left)-i, r.span-r.at&(r.span-1))
		if r.fade.Moving() {
			r.move()
			n = 1
		}
		r.block(left[i:i+n], right[i:i+n])
		i += n
	}
}

// Empty tells whether nothing but 0 comes out as long as nothing but 0 comes
// in, and nothing is on its way.
//
// Audio thread.
func (r *Reverb) Empty() bool {
	return r.empty && !r.fade.Moving() && !r.gate.Moving() && !r.mix.Moving()
}

// Pass lets n samples of silence go through an empty room.
//
// Audio thread.
func (r *Reverb) Pass(n int) { r.at += n }

// block renders samples between two multiples of the span, within which no
// line reads what it writes.
func (r *Reverb) block(left, right []float32) {
	n := len(left)
	if n > reverbBlock || len(right) < n {
		return // never; the compiler needs to know
	}
	first := r.at&(r.span-1) == 0
	inL, inR := &r.in[0], &r.in[1]
	r.enter(left, right)
	gain := r.now.input
	if r.gate.Moving() {
		for k := range n {
			g := r.gate.Next() * gain
			inL[k] *= g
			inR[k] *= g
		}
	} else if g := r.gate.Value() * gain; g != 1 {
		for k := range n {
			inL[k] *= g
			inR[k] *= g
		}
	}
	r.diffuser(0, inL[:n])
	r.diffuser(1, inR[:n])
	if first {
		r.wave[0].turn(r.at, r.span, r.wander)
		r.wave[1].turn(r.at, r.span, r.wander)
	}

	// What comes out of each line. Half of them wander: enough to blur every
	// mode, as all lines feed all others. They go in two pairs, of which one
	// line gets longer as the other gets shorter.
	for i := range reverbLines {
		if i < reverbLines/2 {
			w := r.wave[i&1].whole
			if i >= reverbLines/4 {
				w = -w - 1
			}
			r.fetch(i, r.whole[i]+w+2, n+3)
		} else {
			r.fetch(i, r.whole[i], n)
		}
	}
	r.wave[0].read(&r.tap[0], &r.tap[2], r.at&(r.span-1), n)
	r.wave[1].read(&r.tap[1], &r.tap[3], r.at&(r.span-1), n)

	now := &r.now
	d := r.damped
	var keep [reverbLines]float32
	for i := range keep {
		keep[i] = 1 - now.pole[i]
	}
	at := r.at & r.mask
	l0, l1, l2, l3 := r.lines[0][at:at+n], r.lines[1][at:at+n], r.lines[2][at:at+n], r.lines[3][at:at+n]
	l4, l5, l6, l7 := r.lines[4][at:at+n], r.lines[5][at:at+n], r.lines[6][at:at+n], r.lines[7][at:at+n]
	t := &r.tap
	mix, moving := r.mix.Value(), r.mix.Moving()
	for k := 0; k < n; k++ {
		d[0] = d[0]*now.pole[0] + t[0][k]*keep[0]
		d[1] = d[1]*now.pole[1] + t[1][k]*keep[1]
		d[2] = d[2]*now.pole[2] + t[2][k]*keep[2]
		d[3] = d[3]*now.pole[3] + t[3][k]*keep[3]
		d[4] = d[4]*now.pole[4] + t[4][k]*keep[4]
		d[5] = d[5]*now.pole[5] + t[5][k]*keep[5]
		d[6] = d[6]*now.pole[6] + t[6][k]*keep[6]
		d[7] = d[7]*now.pole[7] + t[7][k]*keep[7]
		// Heard before the gain of the pass, so that the level does not depend
		// on the decay time.
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
		x, y := inL[k]*0.5, inR[k]*0.5
		l0[k] = (a0+a4)*scale + x
		l1[k] = (a1+a5)*scale + y
		l2[k] = (a2+a6)*scale - x
		l3[k] = (a3+a7)*scale - y
		l4[k] = (a0-a4)*scale + x
		l5[k] = (a1-a5)*scale + y
		l6[k] = (a2-a6)*scale - x
		l7[k] = (a3-a7)*scale - y
		if moving {
			mix = r.mix.Next()
		}
		l, m := Finite(left[k]), Finite(right[k])
		left[k] = l + mix*(wetL-l)
		right[k] = m + mix*(wetR-m)
	}
	r.damped = d
	r.at += n
	r.empty = false
	if r.at&(r.span-1) == 0 {
		r.settle()
	}
}

// settle is the look, once a span, for lines that have faded: what is below
// reverbSilence becomes exactly 0, long before numbers get so small that they
// are slow to compute with. When all have been empty for as long as the
// longest of them, so is the room.
func (r *Reverb) settle() {
	at := (r.at - r.span) & r.mask
	faded := true
	for i := range r.lines {
		if !fade(r.lines[i][at : at+r.span]) {
			faded = false
		} else if abs(r.damped[i]) < reverbSilence {
			r.damped[i] = 0
		} else {
			faded = false
		}
	}
	for c := range r.diffuse {
		if !r.lowCut[c].settle() {
			faded = false
		}
		for k := range r.diffuse[c] {
			// Its ring is no multiple of the span, so the span may wrap.
			line := r.diffuse[c][k]
			from := (r.at - r.span) % len(line)
			end := min(from+r.span, len(line))
			a, b := fade(line[from:end]), fade(line[:from+r.span-end])
			faded = faded && a && b
		}
	}
	if !faded {
		r.quiet = 0
	} else if r.quiet += r.span; r.quiet > len(r.lines[0]) {
		r.empty = true
	}
}

// fade makes what is below reverbSilence throughout 0, and tells whether it was.
func fade(b []float32) bool {
	for _, v := range b {
		if v >= reverbSilence || v <= -reverbSilence {
			return false
		}
	}
	clear(b)
	return true
}

// fetch copies n samples of a line, from those of delay samples ago on.
func (r *Reverb) fetch(i, delay, n int) {
	line := r.lines[i]
	from := (r.at - delay) & r.mask
	if m := copy(r.tap[i][:n], line[from:]); m < n {
		copy(r.tap[i][m:n], line)
	}
}

// sway is how two lines wander: by a slow sine, one this way and one that.
type sway struct {
	rate    float64 // cycles a sample
	whole   int     // samples, floored
	part, d float32 // the rest at the start of the span, and its change a sample
}

// turn finds the way through the next span; the sine is straight within it.
func (s *sway) turn(at, span int, size float32) {
	place := func(at int) float64 {
		return float64(size * SineCycles(float32(math.Mod(float64(at)*s.rate, 1)+0.25)))
	}
	a, b := place(at), place(at+span)
	w := math.Floor(min(a, b))
	s.whole = int(w)
	s.part = float32(a - w)
	s.d = float32((b - a) / float64(span))
}

// read replaces the samples of two lines by those in between, by cubic
// interpolation (Lagrange), flat enough to keep the decay at 6 kHz. Mirrored,
// the same weights serve both lines.
func (s *sway) read(one, other *[reverbBlock + 4]float32, from, n int) {
	if n > reverbBlock {
		return // never; the compiler needs to know
	}
	for k := 0; k < n; k++ {
		f := s.part + s.d*float32(from+k)
		e, g, h := f+1, f-1, f-2
		fe, gh := f*e, g*h
		c0, c1, c2, c3 := (-1.0/6)*f*gh, 0.5*e*gh, -0.5*fe*h, (1.0/6)*fe*g
		one[k] = c3*one[k] + c2*one[k+1] + c1*one[k+2] + c0*one[k+3]
		other[k] = c0*other[k] + c1*other[k+1] + c2*other[k+2] + c3*other[k+3]
	}
}

// diffuser is a chain of Schroeder all-passes that turns a click into a cloud.
// A span is shorter than each of them, so that none reads what it writes.
func (r *Reverb) diffuser(side int, b []float32) {
	for _, line := range r.diffuse[side] {
		from := r.at % len(line)
		for rest := b; len(rest) > 0; from = 0 {
			part := line[from:]
			part = part[:min(len(part), len(rest))]
			v := rest[:len(part)]
			for k, old := range part {
				in := v[k] - old*reverbDiffusion
				v[k] = old + in*reverbDiffusion
				part[k] = in
			}
			rest = rest[len(part):]
		}
	}
}

// lowCut is a high-pass of the first order at what comes in.
type lowCut struct{ gain, state float64 }

// enter filters what comes in.
func (r *Reverb) enter(left, right []float32) {
	f, h := &r.lowCut[0], &r.lowCut[1]
	inL, inR := r.in[0][:len(left)], r.in[1][:len(left)]
	right = right[:len(left)]
	s, t := f.state, h.state
	a, b, c := 1-2*f.gain, 2*f.gain, 1-f.gain
	for k, v := range left {
		x, y := float64(Finite(v)), float64(Finite(right[k]))
		inL[k], inR[k] = float32((x-s)*c), float32((y-t)*c)
		s, t = s*a+x*b, t*a+y*b
	}
	f.state, h.state = s, t
}

// settle makes a faded state 0, and tells whether it is.
func (f *lowCut) settle() bool {
	if f.state < reverbSilence && f.state > -reverbSilence {
		f.state = 0
	}
	return f.state == 0
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
