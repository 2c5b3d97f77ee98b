package measure

import "math"

// Loudness is what ITU-R BS.1770-4 and EBU Tech 3341 say about a programme, in
// LUFS; full scale is 1. Silence is negative infinity.
type Loudness struct {
	Integrated   float64   // gated, whole programme
	MomentaryMax float64   // loudest 400 ms
	ShortTermMax float64   // loudest 3 s
	ShortTerm    []float64 // the 3 s that end at each 100 ms, from the first full window
}

// biquad is a second-order section, direct form I in double precision.
type biquad struct {
	b0, b1, b2, a1, a2 float64
	x1, x2, y1, y2     float64
}

func (q *biquad) next(x float64) float64 {
	y := q.b0*x + q.b1*q.x1 + q.b2*q.x2 - q.a1*q.y1 - q.a2*q.y2
	q.x1, q.x2, q.y1, q.y2 = x, q.x1, y, q.y1
	return y
}

// kWeighting gives the two sections of the K curve for any rate. The
// recommendation prints coefficients for 48 kHz only; these are the analogue
// corner frequencies, gains and qualities they come from (as libebur128 and
// others have derived them), through the bilinear transform.
func kWeighting(rate float64) (shelf, highPass biquad) {
	const (
		shelfHertz = 1681.974450955533
		shelfDB    = 3.999843853973347
		shelfQ     = 0.7071752369554196
		passHertz  = 38.13547087602444
		passQ      = 0.5003270373238773
	)
	k := math.Tan(math.Pi * shelfHertz / rate)
	vh := math.Pow(10, shelfDB/20)
	vb := math.Pow(vh, 0.4996667741545416)
	a0 := 1 + k/shelfQ + k*k
	shelf = biquad{
		b0: (vh + vb*k/shelfQ + k*k) / a0,
		b1: 2 * (k*k - vh) / a0,
		b2: (vh - vb*k/shelfQ + k*k) / a0,
		a1: 2 * (k*k - 1) / a0,
		a2: (1 - k/shelfQ + k*k) / a0,
	}
	k = math.Tan(math.Pi * passHertz / rate)
	a0 = 1 + k/passQ + k*k
	highPass = biquad{b0: 1, b1: -2, b2: 1, a1: 2 * (k*k - 1) / a0, a2: (1 - k/passQ + k*k) / a0}
	return shelf, highPass
}

func lufs(power float64) float64 { return -0.691 + 10*math.Log10(power) }

// MeasureLoudness measures one or more channels, each with weight 1 (left,
// right and centre have it).
func MeasureLoudness(rate float64, channels ...[]float32) Loudness {
	// Sums of squares over steps of 100 ms: blocks of 400 ms overlap by three
	// quarters, so each is four steps.
	step := int(math.Round(rate / 10))
	n := 0
	for _, c := range channels {
		n = max(n, len(c))
	}
	steps := make([]float64, n/step)
	for _, c := range channels {
		shelf, pass := kWeighting(rate)
		for i, v := range c {
			y := pass.next(shelf.next(float64(v)))
			if i/step < len(steps) {
				steps[i/step] += y * y
			}
		}
	}
	window := func(count int) []float64 {
		var out []float64
		for end := count; end <= len(steps); end++ {
			sum := 0.0
			for _, s := range steps[end-count : end] {
				sum += s
			}
			out = append(out, sum/float64(count*step))
		}
		return out
	}
	result := Loudness{Integrated: math.Inf(-1), MomentaryMax: math.Inf(-1), ShortTermMax: math.Inf(-1)}
	blocks := window(4)
	for _, p := range blocks {
		result.MomentaryMax = max(result.MomentaryMax, lufs(p))
	}
	for _, p := range window(30) {
		result.ShortTerm = append(result.ShortTerm, lufs(p))
		result.ShortTermMax = max(result.ShortTermMax, lufs(p))
	}
	// Gates: first -70 LUFS, then 10 LU below what is left.
	gated := func(threshold float64) float64 {
		sum, count := 0.0, 0
		for _, p := range blocks {
			if lufs(p) > threshold {
				sum += p
				count++
			}
		}
		if count == 0 {
			return 0
		}
		return sum / float64(count)
	}
	const absolute = -70
	if p := gated(absolute); p > 0 {
		result.Integrated = lufs(gated(max(absolute, lufs(p)-10)))
	}
	return result
}
