package measure

import "math"

// Peak is the largest magnitude.
func Peak(samples []float32) float64 {
	p := 0.0
	for _, v := range samples {
		p = max(p, math.Abs(float64(v)))
	}
	return p
}

// RMS is the root of the mean square.
func RMS(samples []float32) float64 {
	if len(samples) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range samples {
		sum += float64(v) * float64(v)
	}
	return math.Sqrt(sum / float64(len(samples)))
}

// DC is the mean.
func DC(samples []float32) float64 {
	if len(samples) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range samples {
		sum += float64(v)
	}
	return sum / float64(len(samples))
}

// truePeakTaps is the length of each phase of the interpolator, several times
// that of the recommendation's example, so that the estimate is good up to
// 0.45 of the rate.
const truePeakTaps = 48

// TruePeakAt is the peak of a signal interpolated by a whole factor.
func TruePeakAt(samples []float32, factor int) float64 {
	peak := Peak(samples)
	h := make([]float64, truePeakTaps)
	for phase := 1; phase < factor; phase++ {
		sum := 0.0
		for t := range h {
			x := float64(t-truePeakTaps/2+1) - float64(phase)/float64(factor)
			w := math.Cos(math.Pi * x / (truePeakTaps + 2))
			h[t] = w * w * math.Sin(math.Pi*x) / (math.Pi * x)
			sum += h[t]
		}
		for t := range h {
			h[t] /= sum
		}
		for i := -truePeakTaps; i < len(samples); i++ {
			y := 0.0
			for t, c := range h {
				if j := i + t; j >= 0 && j < len(samples) {
					y += c * float64(samples[j])
				}
			}
			peak = max(peak, math.Abs(y))
		}
	}
	return peak
}

// TruePeak is the peak between and at the samples in dBTP, estimated at four
// times the rate (ITU-R BS.1770-4, annex 2). Full scale is 1.
func TruePeak(samples []float32) float64 { return Decibels(TruePeakAt(samples, 4)) }
