package measure

import "math"

// Roughness is the sensory dissonance of a set of partials by Sethares' fit to
// the curves of Plomp and Levelt ("Local consonance and the relationship
// between timbre and scale", 1993), summed over all pairs, with the smaller
// amplitude of each as its weight. It is 0 for a single sine, grows in
// proportion to the amplitudes, and has their unit.
func Roughness(partials []Partial) float64 {
	sum := 0.0
	for i, p := range partials {
		for _, q := range partials[i+1:] {
			sum += pairRoughness(p, q)
		}
	}
	return sum
}

func pairRoughness(p, q Partial) float64 {
	if p.Hertz > q.Hertz {
		p, q = q, p
	}
	s := 0.24 / (0.0207*p.Hertz + 18.96)
	d := q.Hertz - p.Hertz
	return min(p.Amplitude, q.Amplitude) * (math.Exp(-3.5*s*d) - math.Exp(-5.75*s*d))
}

// RoughnessOf is Roughness of the partials of a stretch of sound down to 60 dB
// below the strongest. To tell partials apart that beat slowly the stretch
// must be longer than about eight periods of the beat.
func RoughnessOf(samples []float32, rate float64) float64 {
	return Roughness(NewSpectrum(samples, rate, BlackmanHarris).Peaks(-60))
}
