package dsp

import (
	"fmt"
	"math"
	"slices"
)

// PitchTracker measures the pitch of one periodic signal: the fundamental in
// hertz, to 0.1 cent and better, with the error it expects of itself, and how
// fast the pitch moves. It is what calibrates an oscillator and what a tuner
// shows.
//
// How long it must listen: PitchPeriods periods for any answer at all, so the
// default window of half a second reaches down to 19 Hz. The error of a window
// of T seconds falls with T^1.5; Needs says which window holds which accuracy
// (0.1 cent at 40 dB above the noise: the half second at any pitch from 20 Hz).
//
// It looks twice. A spectrum of the whole window gives the partials, and the
// highest fundamental of which all of them are multiples; mains hum at a
// hundredth of the signal is nobody's partial. Then the phases of the partials
// that tell most are fitted to one fundamental that may move: least squares
// under a smooth window, with amplitudes and the hum's lines as unknowns. That
// costs a factor of 1.5 in standard error (2.3 where the window has fewer than
// 24 periods) over the Cramér-Rao bound, and keeps partials, hum and offset
// out of each other's way.
//
// Process takes samples at any time and is cheap but for the call in which an
// estimate is due: that takes some milliseconds, which is too long for the
// audio thread. Nothing is allocated after Init.
type PitchTracker struct {
	// Silence is the RMS below which nothing is heard, 0.0001 (of whatever unit
	// the samples have) after Init.
	Silence float64

	rate   float64
	window int // samples of a full window
	every  int // samples between estimates

	ring  []float32
	at    int   // where the next sample goes
	heard int64 // samples since Reset
	due   int   // samples until the next estimate
	last  Pitch

	fft      FFT
	x        []float64 // the window's samples without their mean
	buf      []float64 // the same under a taper, padded with zeros for the spectrum
	spectrum []complex128
	power    []float64
	tapers   [2]pitchTaper // by taperWide, taperNarrow
	counts   []int32       // histogram of the spectrum's logarithms
	peaks    []pitchPeak
	strong   []pitchPartial
	fit      pitchFit
}

// Pitch is one estimate.
type Pitch struct {
	Verdict PitchVerdict
	// Hertz is the fundamental in the middle of the window; 0 where there is
	// none. A pitch that moves too far has a Hertz too where it could be followed
	// in a shorter window.
	Hertz float64
	// StandardError is what the error of Hertz is expected to be, in cents (one
	// standard deviation).
	StandardError float64
	// Confidence is the share of the signal's power that repeats with the
	// fundamental, 0…1.
	Confidence float64
	// SNR is the power of the partials over that of the noise between them, in dB.
	SNR float64
	// Drift is how fast the pitch moves, in cents per second; DriftError is its
	// standard error. A window in which |Drift| is below some such errors is settled.
	Drift, DriftError float64
	// Wander is how far the pitch strays from a straight line within the window,
	// RMS in cents, as far as noise lets it be seen.
	Wander float64
	// Window is how many samples the estimate rests upon and End how many had
	// been heard since Reset when it was made.
	Window int
	End    int64
}

// Found tells whether there is one steady pitch.
func (p Pitch) Found() bool { return p.Verdict == Pitched }

// PitchVerdict says what was heard.
type PitchVerdict uint8

// What a window can hold.
const (
	PitchUnheard  PitchVerdict = iota // not enough was heard yet, or the pitch is too low for the window, or too high for the rate
	Pitched                           // one steady pitch
	PitchSilent                       // nothing
	PitchNoise                        // something without a period
	PitchUnsteady                     // a pitch that moves too far within the window, or several
)

// String names the verdict as a display shows it.
func (v PitchVerdict) String() string {
	switch v {
	case PitchUnheard:
		return "listening"
	case Pitched:
		return "pitch"
	case PitchSilent:
		return "silence"
	case PitchNoise:
		return "noise"
	case PitchUnsteady:
		return "unsteady"
	}
	return "unknown"
}

const (
	// PitchWindow and PitchEvery are the defaults of Init in seconds.
	PitchWindow = 0.5
	PitchEvery  = 0.1
	// PitchPeriods is how many periods a window must hold: the lobes of the
	// taper are eight wide, and noise is measured in what is left between them.
	PitchPeriods = 9

	// pitchNarrow is how many periods allow the taper with narrower lobes.
	pitchNarrow = 24
	// pitchFarthest bounds how far the pitch may move within a window, in cents,
	// and pitchStray how far it may stray from a line.
	pitchFarthest, pitchStray = 25, 5
	// pitchMostPeaks bounds the partials that are looked at.
	pitchMostPeaks = 1024
	// pitchMostFold bounds which partial the strongest one may be.
	pitchMostFold = 64
	// pitchHum is up to which share of the power a line of the mains is hum.
	pitchHum = 1e-2
	// pitchShortest is the fewest samples that are looked at.
	pitchShortest = 128
	// pitchLowest is where sound begins, in hertz: below lies drift of the offset.
	pitchLowest = 10
)

// pitchPeak is a maximum of the spectrum.
type pitchPeak struct{ hertz, power float64 }

// pitchTaper is a window function of the length that was asked last, cut into
// blocks of the fit.
type pitchTaper struct {
	terms       []float64
	n           int
	w           []float64
	sum, square float64
}

// Harris, "On the use of windows for harmonic analysis with the discrete
// Fourier transform" (1978): four terms with side lobes at -92 dB, and Hann's,
// whose side lobes fall fast.
var pitchTerms = [2][]float64{{0.35875, 0.48829, 0.14128, 0.01168}, {0.5, 0.5}}

const (
	taperWide = iota
	taperNarrow
)

func (t *pitchTaper) prepare(n int) {
	if t.n == n {
		return
	}
	t.n, t.sum, t.square = n, 0, 0
	step := unit(1, 1)
	if n > 1 {
		s, c := math.Sincos(2 * math.Pi / float64(n))
		step = complex(c, s)
	}
	s, c := math.Sincos(math.Pi / float64(n))
	z := complex(c, s)
	for i := range t.w[:n] {
		// cos kφ by Chebyshev's recurrence.
		c1 := real(z)
		before, now, sign, v := 1.0, c1, -1.0, t.terms[0]
		for _, a := range t.terms[1:] {
			v += sign * a * now
			before, now, sign = now, 2*c1*now-before, -sign
		}
		t.w[i] = v
		t.sum += v
		t.square += v * v
		z *= step
		if i%1024 == 1023 {
			z /= complex(math.Hypot(real(z), imag(z)), 0)
		}
	}
}

// Init prepares for a sample rate, with windows of PitchWindow seconds and an
// estimate every PitchEvery.
func (p *PitchTracker) Init(sampleRate float64) { p.InitWindow(sampleRate, PitchWindow, PitchEvery) }

// InitWindow prepares for windows of some seconds, 0.01…20, and an estimate
// every so many seconds. After Reset the first windows are shorter.
func (p *PitchTracker) InitWindow(sampleRate, window, every float64) {
	rate := rateOr(sampleRate)
	*p = PitchTracker{Silence: 1e-4, rate: rate}
	p.window = int(math.Round(finiteOr(window, 0.01, 20, PitchWindow) * rate))
	p.every = max(1, int(math.Round(finiteOr(every, 0.001, 20, PitchEvery)*rate)))
	size := 1
	for size < 2*p.window {
		size *= 2
	}
	p.fft.Init(size)
	p.ring = make([]float32, p.window)
	p.x = make([]float64, p.window)
	p.buf = make([]float64, size)
	p.spectrum = make([]complex128, size/2+1)
	p.power = make([]float64, size/2+1)
	for i := range p.tapers {
		p.tapers[i] = pitchTaper{terms: pitchTerms[i], w: make([]float64, p.window)}
	}
	p.counts = make([]int32, 1<<13)
	p.peaks = make([]pitchPeak, 0, pitchMostPeaks)
	p.strong = make([]pitchPartial, 0, pitchMostPartials)
	p.Reset()
}

// Reset forgets what was heard: a new note begins.
func (p *PitchTracker) Reset() {
	clear(p.ring)
	p.at, p.heard, p.due = 0, 0, p.every
	p.last = Pitch{}
}

// Window is the length of a full window in samples.
func (p *PitchTracker) Window() int { return p.window }

// Last is the latest estimate.
func (p *PitchTracker) Last() Pitch { return p.last }

// Needs is how many seconds of a signal hold its pitch to some cents (three
// standard errors) where its fundamental alone stands so many dB above white
// noise. Waves with many partials need less. A sine beside a line of the mains
// needs more, for it is told from hum that may be there.
func (p *PitchTracker) Needs(hertz, cents, snr float64) float64 {
	// The bound of a sine: var ω = 12/(SNR·rate·T³).
	of := func(loss float64) float64 {
		sigma := cents / 3 * math.Ln2 / 1200 * hertz * 2 * math.Pi / loss
		return math.Cbrt(12 / (math.Pow(10, snr/10) * p.rate * sigma * sigma))
	}
	t := max(PitchPeriods/hertz, pitchShortest/p.rate)
	if narrow := of(1.53); narrow*hertz >= pitchNarrow {
		t = max(t, narrow)
	} else {
		t = max(t, min(of(2.3), pitchNarrow/hertz))
	}
	if p.humsNear(hertz, t).n > 0 {
		t = max(t, of(6))
	}
	return t
}

// Process listens to a block. It returns true with an estimate of the last
// window where one was due; where several were, that is the latest. The first
// comes as soon as one interval was heard.
func (p *PitchTracker) Process(block []float32) (Pitch, bool) {
	fresh := false
	for len(block) > 0 {
		n := min(len(block), p.due, len(p.ring)-p.at)
		for i, v := range block[:n] {
			p.ring[p.at+i] = Finite(v)
		}
		block = block[n:]
		p.at = (p.at + n) % len(p.ring)
		p.heard += int64(n)
		if p.due -= n; p.due > 0 {
			continue
		}
		p.due = p.every
		have := int(min(p.heard, int64(p.window)))
		from := p.at - have
		for i := range p.x[:have] {
			k := from + i
			if k < 0 {
				k += len(p.ring)
			}
			p.x[i] = float64(p.ring[k])
		}
		p.last = p.listen(have)
		p.last.End = p.heard
		fresh = true
	}
	return p.last, fresh
}

// Measure is the pitch of a stretch of samples, at most the last full window of
// it. What was heard by Process stays as it is.
func (p *PitchTracker) Measure(samples []float32) Pitch {
	if len(samples) > p.window {
		samples = samples[len(samples)-p.window:]
	}
	for i, v := range samples {
		p.x[i] = float64(Finite(v))
	}
	r := p.listen(len(samples))
	r.End = int64(len(samples))
	return r
}

// listen looks at the first n samples of p.x. A pitch that moves too far is
// followed in what is left of them when ever more of the past is forgotten.
func (p *PitchTracker) listen(n int) Pitch {
	out := p.estimate(n)
	for part := n / 2; out.Verdict == PitchUnsteady && out.Hertz == 0 && part >= max(pitchShortest, n/32); part /= 2 {
		copy(p.x[:part], p.x[part:2*part])
		if now := p.estimate(part); now.Hertz > 0 {
			out = now
			out.Verdict = PitchUnsteady
		}
	}
	return out
}

// estimate looks at the first n samples of p.x.
func (p *PitchTracker) estimate(n int) Pitch {
	out := Pitch{Window: n}
	if n < pitchShortest {
		return out
	}
	x := p.x[:n]
	taper := &p.tapers[taperWide]
	taper.prepare(n)
	mean := 0.0
	for i, v := range x {
		mean += v * taper.w[i]
	}
	mean /= taper.sum
	square := 0.0
	for i := range x {
		x[i] -= mean
		square += x[i] * x[i] * taper.w[i]
	}
	if rms := math.Sqrt(square / taper.sum); !(rms >= p.Silence) {
		out.Verdict = PitchSilent
		return out
	}
	for i, v := range x {
		p.buf[i] = v * taper.w[i]
	}
	clear(p.buf[n:])
	p.fft.ForwardReal(p.spectrum, p.buf)
	for i, v := range p.spectrum {
		p.power[i] = real(v)*real(v) + imag(v)*imag(v)
	}

	seconds := float64(n) / p.rate
	floor := p.findPeaks(seconds)
	f, verdict := p.fundamental(seconds)
	if verdict != Pitched {
		out.Verdict = verdict
		return out
	}
	c := p.comb(f, seconds, floor)
	out.Confidence, out.SNR = c.share, 10*math.Log10(c.share/max(1-c.share, 1e-12))
	if c.share < 0.5 {
		out.Verdict = PitchNoise
		return out
	}
	p.choose(f, seconds, c.noise)
	if len(p.strong) == 0 {
		return out // too near to half the rate
	}
	sigma := c.noise / taper.square // variance of one sample of the noise
	p.follow(&out, f, n, sigma, square/taper.sum)
	return out
}

// findPeaks lists the maxima of the spectrum that are partials for sure, from
// low to high, and returns the level of its noise.
func (p *PitchTracker) findPeaks(seconds float64) float64 {
	bin := p.rate / float64(p.fft.Size())
	low, high := int(math.Ceil(max(pitchLowest, 1/seconds)/bin)), int(0.49*p.rate/bin)
	top := 0.0
	clear(p.counts)
	for _, v := range p.power[low : high+1] {
		top = max(top, v)
		p.counts[math.Float64bits(v)>>50]++
	}
	// Up to four fifths of the bins may belong to partials; a tenth of the bins of
	// noise lie below 0.105 of its mean.
	noise := p.quantile(0.1, high+1-low) / 0.105
	least := max(16*noise, 1e-6*top)
	p.peaks = p.peaks[:0]
	for i := low; i < high && len(p.peaks) < pitchMostPeaks; i++ {
		b := p.power[i]
		if b < least || b <= p.power[i-1] || b < p.power[i+1] {
			continue
		}
		const tiny = 1e-300
		l, m, r := math.Log(p.power[i-1]+tiny), math.Log(b), math.Log(p.power[i+1]+tiny)
		off := 0.0
		if d := l - 2*m + r; d < 0 {
			off = (l - r) / (2 * d)
		}
		p.peaks = append(p.peaks, pitchPeak{(float64(i) + off) * bin, math.Exp(m - (l-r)*off/4)})
	}
	return noise
}

// quantile is the value below which a share of those lie that were counted.
func (p *PitchTracker) quantile(share float64, total int) float64 {
	want, sum := int32(share*float64(total)), int32(0)
	for i, c := range p.counts {
		if sum += c; sum > want {
			// In proportion within the quarter of an octave.
			part := float64(want-sum+c) / float64(c)
			a, b := math.Float64frombits(uint64(i)<<50), math.Float64frombits(uint64(i+1)<<50)
			return a + part*(b-a)
		}
	}
	return 0
}

// fundamental finds the highest frequency of which all partials are multiples.
func (p *PitchTracker) fundamental(seconds float64) (float64, PitchVerdict) {
	if len(p.peaks) == 0 {
		return 0, PitchNoise
	}
	best, sum := 0, 0.0
	for i, k := range p.peaks {
		sum += k.power
		if k.power > p.peaks[best].power {
			best = i
		}
	}
	strongest := p.peaks[best]
	least := PitchPeriods / seconds
	if strongest.hertz < 0.98*least {
		return 0, PitchUnheard
	}
	// A weaker claim counts only where no stronger one can be made: spurs of
	// aliasing, say. A low fundamental fits anything; so it must have a good part
	// of its partials.
	for _, left := range []float64{1e-3, 2e-2, 0.1} {
		for n := 1; n <= pitchMostFold && strongest.hertz/float64(n) >= 0.98*least; n++ {
			f, unexplained, density := p.explain(strongest, n, seconds, sum)
			if unexplained <= left*sum && density >= 0.15 {
				return f, Pitched
			}
		}
	}
	return 0, PitchUnsteady
}

// explain takes the strongest partial for the n-th and follows the others from
// low to high. It returns the fundamental that fits best, the power of partials
// that are not its multiples, and the share of multiples that are there.
func (p *PitchTracker) explain(strongest pitchPeak, n int, seconds, total float64) (f, unexplained, density float64) {
	k := float64(n)
	weight := strongest.power * k * k
	f = strongest.hertz / k
	sum := weight * f
	within := min(1.2/seconds, f/4)
	there, highest := 0.0, 1.0
	for _, peak := range p.peaks {
		k := math.Round(peak.hertz / f)
		if k < 1 || math.Abs(peak.hertz-k*f) > within {
			if !(peak.power < pitchHum*total && nearMains(peak.hertz, within)) {
				unexplained += peak.power
			}
			continue
		}
		there++
		highest = k
		sum += peak.power * k * peak.hertz
		weight += peak.power * k * k
		f = sum / weight
	}
	return f, unexplained, there / highest
}

// mains are the grids' frequencies in hertz; their hum has three lines worth naming.
var mains = [2]float64{50, 60}

const mainsLines = 3

func nearMains(hertz, within float64) bool {
	for _, m := range mains {
		if k := math.Round(hertz / m); k >= 1 && k <= mainsLines && math.Abs(hertz-k*m) < within {
			return true
		}
	}
	return false
}

type pitchComb struct {
	share float64 // of the power that lies in the lobes of the partials, without the noise in them
	noise float64 // mean power of a bin of noise
}

// comb parts the spectrum into what repeats with f and what does not.
func (p *PitchTracker) comb(f, seconds, floor float64) pitchComb {
	bin := p.rate / float64(p.fft.Size())
	lobe := 4.1 / seconds
	low, high := int(math.Ceil(max(pitchLowest, f/2)/bin)), int(0.49*p.rate/bin)
	clear(p.counts)
	inside, outside, in, out := 0.0, 0.0, 0, 0
	for i := low; i <= high; i++ {
		h := float64(i) * bin
		if off := math.Abs(h - f*math.Round(h/f)); off <= lobe {
			inside += p.power[i]
			in++
			continue
		}
		outside += p.power[i]
		p.counts[math.Float64bits(p.power[i])>>50]++
		out++
	}
	c := pitchComb{noise: floor}
	if out >= 16 {
		// Half of the bins of noise lie below ln 2 of its mean, whatever hum and
		// spurs stand between.
		c.noise = p.quantile(0.5, out) / math.Ln2
		outside *= float64(in+out) / float64(out)
		inside -= outside * float64(in) / float64(in+out)
	} else {
		outside = floor * float64(in+out)
		inside -= floor * float64(in)
	}
	if inside > 0 {
		c.share = inside / (inside + outside)
	}
	return c
}

// choose picks the partials that tell most of the fundamental: the steepness of
// a partial's phase grows with its number.
func (p *PitchTracker) choose(f, seconds, noise float64) {
	bin := p.rate / float64(p.fft.Size())
	p.strong = p.strong[:0]
	for k := 1; k <= pitchMostFold; k++ {
		h := float64(k) * f
		if h+5/seconds > 0.5*p.rate {
			break
		}
		i := int(math.Round(h / bin))
		power := max(p.power[i-1], p.power[i], p.power[i+1])
		if power < 30*noise && len(p.strong) > 0 {
			continue
		}
		worth := power * float64(k) * float64(k)
		q := pitchPartial{k: k, worth: worth, hums: p.humsNear(h, seconds)}
		if q.hums.n > 0 {
			q.worth /= 10
		}
		if len(p.strong) < pitchMostPartials {
			p.strong = append(p.strong, q)
			continue
		}
		least := 0
		for i := range p.strong {
			if p.strong[i].worth < p.strong[least].worth {
				least = i
			}
		}
		if p.strong[least].worth < q.worth {
			p.strong[least] = q
		}
	}
	slices.SortFunc(p.strong, func(a, b pitchPartial) int { return a.k - b.k })
}

// String shows an estimate in a line.
func (p Pitch) String() string {
	if p.Hertz == 0 {
		return p.Verdict.String()
	}
	return fmt.Sprintf("%s %.4f Hz ±%.3f cent, drift %.2f ±%.2f cent/s, wander %.2f cent, confidence %.4f",
		p.Verdict, p.Hertz, p.StandardError, p.Drift, p.DriftError, p.Wander, p.Confidence)
}
