package measure

import (
	"math"
	"slices"
)

// Aliasing is what a tone of a known fundamental contains that is no harmonic
// of it, in decibels.
type Aliasing struct {
	TotalDB float64 // all of it, relative to all harmonics together
	WorstDB float64 // the strongest single component, relative to the fundamental
	Hertz   float64 // where that component is
}

// AliasLevel measures everything between 20 Hz and half the rate that is not
// within a window's main lobe of a harmonic of f0. The tone must be steady and
// f0 must not divide the rate, or aliases hide behind harmonics.
func AliasLevel(samples []float32, f0, rate float64) Aliasing {
	s := NewSpectrum(samples, rate, Albrecht7)
	harmonic, other := 0.0, 0.0
	worst, at := 0.0, 0
	for i := range s.Amplitude {
		hertz := float64(i) * s.BinHertz
		if hertz < 20 {
			continue
		}
		if isHarmonic(s, hertz, f0) {
			harmonic += s.binPower(i)
			continue
		}
		other += s.binPower(i)
		if s.Amplitude[i] > worst {
			worst, at = s.Amplitude[i], i
		}
	}
	fundamental := s.Near(f0, s.lobe*s.BinHertz/2).Amplitude
	return Aliasing{
		TotalDB: 10 * math.Log10(other/harmonic),
		WorstDB: Decibels(worst / fundamental),
		Hertz:   float64(at) * s.BinHertz,
	}
}

// isHarmonic tells whether a frequency lies within the main lobe of a harmonic
// of f0, with one bin to spare.
func isHarmonic(s *Spectrum, hertz, f0 float64) bool {
	k := math.Max(1, math.Round(hertz/f0))
	return math.Abs(hertz-k*f0) <= (s.lobe+1)*s.BinHertz
}

// THD is the total harmonic distortion of a sine in decibels: its harmonics
// from the second to half the rate, relative to the fundamental.
func THD(samples []float32, f0, rate float64) float64 {
	s := NewSpectrum(samples, rate, Albrecht7)
	fundamental, harmonics := 0.0, 0.0
	for i := range s.Amplitude {
		hertz := float64(i) * s.BinHertz
		if hertz < f0/2 || !isHarmonic(s, hertz, f0) {
			continue
		}
		if hertz < 1.5*f0 {
			fundamental += s.binPower(i)
		} else {
			harmonics += s.binPower(i)
		}
	}
	return 10 * math.Log10(harmonics/fundamental)
}

// NoiseFloor is the level of the noise under a sound, in decibels of RMS over
// the whole band. It takes the median of the spectrum, which partials hardly
// move, and so holds for noise that is about white; the power of noise in a
// bin is exponentially distributed, with a median of ln 2 of its mean.
func NoiseFloor(samples []float32, rate float64) float64 {
	s := NewSpectrum(samples, rate, Albrecht7)
	powers := make([]float64, 0, len(s.Amplitude))
	for i := 1; i < len(s.Amplitude); i++ {
		powers = append(powers, s.binPower(i))
	}
	if len(powers) == 0 {
		return math.Inf(-1)
	}
	slices.Sort(powers)
	return 10 * math.Log10(powers[len(powers)/2]/math.Ln2*float64(len(powers)))
}
