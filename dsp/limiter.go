package dsp

import "math"

const (
	// limiterSeconds is the look-ahead: long enough that the gain moves as
	// smoothly as the ear needs, short enough to play through.
	limiterSeconds = 0.002
	// limiterMargin keeps the true peak under the ceiling: interpolation by
	// four misses up to 0.2 dB of a peak at 18 kHz, filters of finite length
	// differ at the edges of loud bursts, and the moving gain adds a little.
	limiterMargin = 0.93
	// peakTaps is the length of each phase of the interpolation filter of
	// the true-peak meter, twice that of the example in ITU-R BS.1770-4,
	// annex 2, so that it sees the overshoot of steep edges.
	peakTaps   = 24
	peakCentre = peakTaps / 2
)

// The interpolator estimates the signal a quarter, a half and three quarters
// of a sample after tap peakCentre-1. The first and the last are mirror
// images: they share the half that is even and differ in the sign of the half
// that is odd, around the centre.
var peakHalf, peakEven, peakOdd [peakCentre]float32

// peakBound is the most that interpolation can make of samples of magnitude 1.
var peakBound float32

func init() {
	phase := func(shift float64) (h [peakTaps]float64) {
		sum := 0.0
		for t := range h {
			x := float64(t-peakCentre+1) - shift
			w := besselI0(5 * math.Sqrt(1-math.Pow(x/(peakCentre+0.01), 2)))
			h[t] = w * math.Sin(math.Pi*x) / (math.Pi * x)
			sum += h[t]
		}
		magnitude := 0.0
		for t := range h {
			h[t] /= sum
			magnitude += math.Abs(h[t])
		}
		peakBound = max(peakBound, float32(magnitude*1.0001))
		return h
	}
	half, quarter := phase(0.5), phase(0.25)
	for t := range peakCentre {
		peakHalf[t] = float32(half[t])
		peakEven[t] = float32(quarter[t]+quarter[peakTaps-1-t]) / 2
		peakOdd[t] = float32(quarter[t]-quarter[peakTaps-1-t]) / 2
	}
}

// Limiter keeps a stereo signal below a ceiling without distortion: it looks
// ahead, so that its gain has come down smoothly before a peak arrives, and
// it treats both sides alike, so that the image stays. Peaks between samples
// count too: the true peak (ITU-R BS.1770-4) stays below the ceiling.
type Limiter struct {
	sampleRate float64
	ceiling    float32
	release    float64
	look       int          // length of the minimum and of the mean
	ring       [2][]float32 // what came in; a power of two
	at         int          // where the next sample goes
	zeros      int          // samples of silence that came last, at least
	hot        int          // samples for which peaks are still possible
	queueGain  []float32    // monotonic queue of the sliding minimum
	queueAt    []int64
	head, tail int
	now        int64
	held       float64 // gain after release
	mean       []float64
	m          int
	sum        float64
	calm       bool // the gain has been 1 for longer than the look-ahead
	latency    int

	// What a block works on: it, and what the interpolation needs before it.
	run    [2][peakTaps + limiterBlock]float32
	single [3]float32
}

// limiterBlock is the most samples that are worked on at once.
const limiterBlock = 64

// Init sets the sample rate, a ceiling of AudioPeak and a release of 80 ms. It
// allocates.
func (l *Limiter) Init(sampleRate float64) {
	rate := rateOr(sampleRate)
	look := max(8, SecondsToSamples(limiterSeconds, rate))
	*l = Limiter{sampleRate: rate, look: look, ceiling: AudioPeak * limiterMargin}
	l.latency = look - 1 + peakCentre
	size := 1
	for size < l.latency+limiterBlock+peakTaps {
		size *= 2
	}
	for c := range l.ring {
		l.ring[c] = make([]float32, size)
	}
	l.queueGain = make([]float32, look+2)
	l.queueAt = make([]int64, look+2)
	l.mean = make([]float64, look)
	l.SetRelease(0.08)
	l.Reset()
}

// Reset forgets the past.
func (l *Limiter) Reset() {
	for c := range l.ring {
		clear(l.ring[c])
	}
	l.hot, l.zeros = 0, 0
	l.at, l.m, l.head, l.tail, l.now = 0, 0, 0, 0, 0
	for i := range l.mean {
		l.mean[i] = 1
	}
	l.sum, l.held, l.calm = float64(len(l.mean)), 1, false
}

// Latency is the delay of the signal in samples.
func (l *Limiter) Latency() int { return l.latency }

// SetCeiling sets the true peak that is never passed, in volts, at least 1 mV.
// It applies to what comes in from now on.
//
// Audio thread.
func (l *Limiter) SetCeiling(volts float32) {
	l.ceiling = limiterMargin * float32(finiteOr(float64(volts), 0.001, float64(guardVolts), float64(AudioPeak)))
}

// SetRelease sets the T60 in which the gain returns, in seconds.
//
// Audio thread.
func (l *Limiter) SetRelease(seconds float64) {
	l.release = t60Coefficient(seconds, l.sampleRate)
}

// Silent tells whether nothing but 0 comes out as long as nothing but 0
// comes in, and no gain is on its way.
//
// Audio thread.
func (l *Limiter) Silent() bool { return l.calm && l.hot == 0 && l.zeros > l.latency }

// Next takes a sample of each side and returns those of Latency samples ago.
//
// Audio thread.
func (l *Limiter) Next(left, right float32) (float32, float32) {
	l.single[0], l.single[1] = left, right
	l.Process(l.single[:1], l.single[1:2])
	return l.single[0], l.single[1]
}

// Process limits a block in place.
//
// Audio thread.
func (l *Limiter) Process(left, right []float32) { l.ProcessGain(left, right, nil) }

// ProcessGain is Process, and tells the gain of each sample where gain is not
// nil.
//
// Audio thread.
func (l *Limiter) ProcessGain(left, right, gain []float32) {
	for len(left) > 0 {
		n := min(len(left), limiterBlock)
		var g []float32
		if gain != nil {
			g, gain = gain[:n], gain[n:]
		}
		l.block(left[:n], right[:n], g)
		left, right = left[n:], right[n:]
	}
}

func (l *Limiter) block(left, right, gain []float32) {
	n := len(left)
	mask := len(l.ring[0]) - 1
	// As long as no sample is large enough, no peak between samples can be
	// either.
	peak := max(Peak(left), Peak(right))
	if l.zeros += n; peak != 0 {
		l.zeros = 0
	}
	if l.calm && l.hot == 0 && peak*peakBound <= l.ceiling {
		// Nothing to hold back for longer than the look-ahead: the gain is
		// exactly 1.
		l.enter(0, left)
		l.enter(1, right)
		l.at += n
		l.leave(0, left)
		l.leave(1, right)
		l.now += int64(n)
		for i := range gain {
			gain[i] = 1
		}
		return
	}
	for side, b := range [2][]float32{left, right} {
		run := &l.run[side]
		for i := range peakTaps {
			run[i] = l.ring[side][(l.at-peakTaps+i)&mask]
		}
		for i, v := range b {
			b[i] = Finite(v)
		}
		copy(run[peakTaps:], b)
		l.enter(side, b)
	}
	l.at += n
	l.leave(0, left)
	l.leave(1, right)
	for i := range left {
		g := l.next(i)
		left[i] *= g
		right[i] *= g
		if gain != nil {
			gain[i] = g
		}
	}
}

// enter puts a block into a ring.
func (l *Limiter) enter(side int, b []float32) {
	ring := l.ring[side]
	m := copy(ring[l.at&(len(ring)-1):], b)
	copy(ring, b[m:])
}

// leave fills a block with what came in latency samples before what came in
// last.
func (l *Limiter) leave(side int, b []float32) {
	ring := l.ring[side]
	m := copy(b, ring[(l.at-len(b)-l.latency)&(len(ring)-1):])
	copy(b[m:], ring)
}

// next returns the gain of the i-th sample of the block in run.
func (l *Limiter) next(i int) float32 {
	if max(abs(l.run[0][peakTaps+i]), abs(l.run[1][peakTaps+i]))*peakBound > l.ceiling {
		l.hot = peakTaps
	}
	need := float32(1)
	if l.hot > 0 {
		l.hot--
		if peak := max(l.peak(0, i), l.peak(1, i)); peak > l.ceiling {
			need = l.ceiling / peak
		}
	}
	if need == 1 && l.calm {
		l.now++
		return 1
	}
	// Sliding minimum over the look-ahead and one more: a peak between two
	// samples needs the gain on both.
	for l.tail != l.head {
		last := l.tail - 1
		if last < 0 {
			last = len(l.queueGain) - 1
		}
		if l.queueGain[last] < need {
			break
		}
		l.tail = last
	}
	l.queueGain[l.tail], l.queueAt[l.tail] = need, l.now
	if l.tail++; l.tail == len(l.queueGain) {
		l.tail = 0
	}
	if l.queueAt[l.head] <= l.now-int64(l.look)-1 {
		if l.head++; l.head == len(l.queueGain) {
			l.head = 0
		}
	}
	l.now++
	least := float64(l.queueGain[l.head])

	// Down at once, up slowly; the mean then makes the way down a slope
	// that arrives in time.
	l.held += (1 - l.held) * l.release
	if l.held > 1-1e-9 {
		l.held = 1
	}
	if l.held > least {
		l.held = least
	}
	l.sum += l.held - l.mean[l.m]
	l.mean[l.m] = l.held
	if l.m++; l.m == len(l.mean) {
		l.m = 0
		// Summing anew once a round keeps rounding errors from piling up.
		l.sum = 0
		for _, g := range l.mean {
			l.sum += g
		}
	}
	l.calm = l.held == 1 && l.sum == float64(l.look)
	return float32(l.sum / float64(l.look))
}

// peak is the largest magnitude of the signal between the two samples in the
// middle of the filter that ends at the i-th sample, with both ends.
func (l *Limiter) peak(side, i int) float32 {
	x := l.run[side][i+1 : i+1+peakTaps]
	x = x[:peakTaps]
	var half, even, odd float32
	for i := range peakCentre {
		a, b := x[i], x[peakTaps-1-i]
		sum, difference := a+b, a-b
		half += peakHalf[i] * sum
		even += peakEven[i] * sum
		odd += peakOdd[i] * difference
	}
	ends := max(abs(x[peakCentre-1]), abs(x[peakCentre]))
	return max(abs(half), abs(even)+abs(odd), ends)
}

func abs(v float32) float32 { return math.Float32frombits(math.Float32bits(v) &^ (1 << 31)) }

// Peak is the largest magnitude of a block; a block in which something is not
// a number has one above that of every number.
//
// Audio thread.
func Peak(block []float32) float32 {
	// Without its sign a number orders as its bits do.
	var a, b, c, d uint32
	for len(block) >= 4 {
		a = max(a, math.Float32bits(block[0])&^(1<<31))
		b = max(b, math.Float32bits(block[1])&^(1<<31))
		c = max(c, math.Float32bits(block[2])&^(1<<31))
		d = max(d, math.Float32bits(block[3])&^(1<<31))
		block = block[4:]
	}
	for _, v := range block {
		a = max(a, math.Float32bits(v)&^(1<<31))
	}
	return math.Float32frombits(min(max(a, b, c, d), 0x7f800000))
}
