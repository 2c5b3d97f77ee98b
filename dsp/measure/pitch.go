package measure

import (
	"errors"
	"math"
)

// ErrNoPitch says that a sound has no clear period.
var ErrNoPitch = errors.New("no pitch: the sound has no clear period")

// Cents is the interval from a reference to a frequency.
func Cents(hertz, reference float64) float64 { return 1200 * math.Log2(hertz/reference) }

// Pitch finds the fundamental of a steady, monophonic sound in hertz: first by
// the normalised square difference of McLeod and Wyvill ("A smarter way to
// find pitch", 2005), then sharpened on the spectrum's partials. It takes at
// most 32,768 samples and needs four periods.
func Pitch(samples []float32, rate float64) (float64, error) {
	const most = 32768
	if len(samples) > most {
		samples = samples[:most]
	}
	n := len(samples)
	if n < 64 {
		return 0, ErrNoPitch
	}
	mean := DC(samples)
	size := powerOfTwo(2 * n)
	f, err := NewFFT(size)
	if err != nil {
		return 0, err
	}
	x := make([]complex128, size)
	energy := 0.0
	for i, v := range samples {
		d := float64(v) - mean
		x[i] = complex(d, 0)
		energy += 2 * d * d
	}
	if energy < 1e-20 {
		return 0, ErrNoPitch
	}
	first := make([]float64, n)
	for i := range first {
		first[i] = real(x[i])
	}
	f.Transform(x)
	for i, v := range x {
		x[i] = complex(real(v)*real(v)+imag(v)*imag(v), 0)
	}
	f.Inverse(x)
	// n'(τ) = 2 r(τ) / m(τ), where m loses the two ends as τ grows.
	longest := n / 4
	nsdf := make([]float64, longest)
	m := energy
	for lag := range nsdf {
		if lag > 0 {
			m -= first[lag-1]*first[lag-1] + first[n-lag]*first[n-lag]
		}
		if m > 0 {
			nsdf[lag] = 2 * real(x[lag]) / m
		}
	}
	// The highest peak of each positive lobe after the first zero; then the
	// first that comes near the highest of all.
	var lags []int
	lag := 1
	for lag < longest && nsdf[lag] > 0 {
		lag++
	}
	top := 0.0
	for lag < longest {
		for lag < longest && nsdf[lag] <= 0 {
			lag++
		}
		best := lag
		for lag < longest && nsdf[lag] > 0 {
			if nsdf[lag] > nsdf[best] {
				best = lag
			}
			lag++
		}
		if lag < longest && best > 0 {
			lags = append(lags, best)
			top = max(top, nsdf[best])
		}
	}
	if top < 0.6 {
		return 0, ErrNoPitch
	}
	for _, l := range lags {
		if nsdf[l] >= 0.93*top {
			a, b, c := nsdf[l-1], nsdf[l], nsdf[min(l+1, longest-1)]
			p := 0.0
			if d := a - 2*b + c; d != 0 {
				p = (a - c) / (2 * d)
			}
			return sharpen(samples, rate, rate/(float64(l)+p)), nil
		}
	}
	return 0, ErrNoPitch
}

// sharpen moves a fundamental to where the partials near its harmonics agree,
// each with the weight of its amplitude and number.
func sharpen(samples []float32, rate, hertz float64) float64 {
	s := NewSpectrum(samples, rate, BlackmanHarris)
	top := 0.0
	for _, a := range s.Amplitude {
		top = max(top, a)
	}
	sum, weight := 0.0, 0.0
	for k := 1.0; k <= 16 && k*hertz < 0.45*rate; k++ {
		p := s.Near(k*hertz, min(0.25*hertz, 0.02*k*hertz))
		if p.Amplitude < 0.003*top || math.Abs(Cents(p.Hertz, k*hertz)) > 30 {
			continue
		}
		w := p.Amplitude * k
		sum += w * p.Hertz / k
		weight += w
		hertz0 := sum / weight
		hertz = hertz0
	}
	return hertz
}
