package measure

import (
	"math"
	"math/cmplx"
	"slices"
)

const (
	onsetFrame = 0.02133 // seconds; a power of two of samples is taken
	onsetHop   = 0.00267
	// onsetLeast is the shortest distance between two onsets, in seconds:
	// closer ones are heard as one.
	onsetLeast = 0.05
	// onsetRise is the mean rise of the log spectrum, in decibels per bin,
	// that counts beyond the local median.
	onsetRise = 0.5
)

// Onsets finds the times, in seconds, at which something new begins: peaks of
// the spectral flux (after Dixon, "Onset detection revisited", 2006) over a
// running median, refined to where the level rises most. It resolves 50 ms and
// is good to about 8 ms.
func Onsets(samples []float32, rate float64) []float64 {
	size := powerOfTwo(int(onsetFrame * rate * 0.75))
	hop := max(1, int(onsetHop*rate))
	f, err := NewFFT(size)
	if err != nil || len(samples) == 0 {
		return nil
	}
	window := make([]float64, size)
	for i := range window {
		window[i] = Hann.At(i, size)
	}
	// Levels are compressed above a floor 60 dB below the loudest bin there
	// can be, so that quiet rests do not make flux.
	floor := max(Peak(samples)*float64(size)/4*0.001, 1e-12)
	bins := size / 2
	before, now := make([]float64, bins), make([]float64, bins)
	x := make([]complex128, size)
	var flux []float64
	for i := range before {
		before[i] = math.Log(floor)
	}
	// Frames start before the sound, so that one that begins at once counts.
	for start := -size; start < len(samples); start += hop {
		for i := range x {
			x[i] = 0
			if j := start + i; j >= 0 && j < len(samples) {
				x[i] = complex(float64(samples[j])*window[i], 0)
			}
		}
		f.Transform(x)
		sum := 0.0
		for i := range now {
			now[i] = math.Log(cmplx.Abs(x[i]) + floor)
			sum += max(0, now[i]-before[i])
		}
		flux = append(flux, sum/float64(bins)*8.6859)
		before, now = now, before
	}
	// Flux of single hops is summed over a frame's rise.
	smooth := make([]float64, len(flux))
	for i := range flux {
		for j := max(0, i-2); j <= min(len(flux)-1, i+2); j++ {
			smooth[i] += flux[j]
		}
	}
	median := func(i, reach int) float64 {
		v := slices.Clone(smooth[max(0, i-reach):min(len(smooth), i+reach+1)])
		slices.Sort(v)
		return v[len(v)/2]
	}
	var out []float64
	gap := int(onsetLeast * rate / float64(hop))
	for i, v := range smooth {
		low, high := max(0, i-gap), min(len(smooth), i+gap+1)
		if v < slices.Max(smooth[low:high]) || v < onsetRise+1.5*median(i, 4*gap) {
			continue
		}
		t := refine(samples, rate, i*hop-size+size/2)
		if len(out) > 0 && t-out[len(out)-1] < onsetLeast {
			continue
		}
		out = append(out, t)
	}
	return out
}

// refine looks around a sample for where the level of the next 3 ms exceeds
// that of the last 3 ms most.
func refine(samples []float32, rate float64, around int) float64 {
	reach, span := int(0.03*rate), int(0.003*rate)
	power := func(from int) float64 {
		sum := 0.0
		for i := max(0, from); i < min(len(samples), from+span); i++ {
			sum += float64(samples[i]) * float64(samples[i])
		}
		return sum
	}
	best, at := 0.0, max(0, around)
	for i := max(0, around-reach); i < min(len(samples), around+reach); i += max(1, span/12) {
		if d := power(i) - power(i-span); d > best {
			best, at = d, i
		}
	}
	return float64(at) / rate
}

// Click is a discontinuity.
type Click struct {
	Seconds float64
	DB      float64 // its second difference over the local one
}

// Clicks finds samples whose second difference stands out by thresholdDB from
// the RMS of the second differences within 10 ms around. A sine reaches 3 dB,
// white noise about 13 dB, a step in a tone 30 dB and more: 20 dB is a good
// threshold for music without bright steps of its own. Clicks within 1 ms
// count as one.
func Clicks(samples []float32, rate float64, thresholdDB float64) []Click {
	n := len(samples)
	if n < 3 {
		return nil
	}
	at := func(i int) float64 {
		if i < 0 || i >= n {
			return 0
		}
		return float64(samples[i])
	}
	// A sound is taken to come out of silence and to end in it, so an abrupt
	// start or end counts.
	second := make([]float64, n+2)
	squares := make([]float64, n+3)
	for i := range second {
		second[i] = at(i) - 2*at(i-1) + at(i-2)
		squares[i+1] = squares[i] + second[i]*second[i]
	}
	// Around the click itself a few samples are left out, and a floor 100 dB
	// below the sound keeps rounding in silence from counting.
	const own = 4
	reach := int(0.01 * rate)
	floor := RMS(samples) * 1e-5
	merge := max(1, int(0.001*rate))
	var out []Click
	last := -merge
	for i, d := range second {
		low, high := max(0, i-reach), min(len(second), i+reach+1)
		ownLow, ownHigh := max(low, i-own), min(high, i+own+1)
		sum := squares[high] - squares[low] - (squares[ownHigh] - squares[ownLow])
		count := (high - low) - (ownHigh - ownLow)
		local := math.Sqrt(max(0, sum) / float64(max(1, count)))
		if d == 0 || local+floor == 0 {
			continue
		}
		db := Decibels(d / max(local, floor))
		if db < thresholdDB {
			continue
		}
		if i-last < merge && len(out) > 0 {
			if c := &out[len(out)-1]; db > c.DB {
				*c = Click{Seconds: float64(min(i, n-1)) / rate, DB: db}
			}
		} else {
			out = append(out, Click{Seconds: float64(min(i, n-1)) / rate, DB: db})
		}
		last = i
	}
	return out
}
