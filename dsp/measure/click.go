package measure

import "math"

const (
	// clickTaps is the length of the high-pass that tells a click from the
	// sound; its transition band is about 4·rate/clickTaps wide.
	clickTaps = 383
	// clickWindow is the parameter of its Kaiser window: a stop band of 100 dB.
	clickWindow = 10.06
)

// ClickLevel is how much of a sound lies above a corner in hertz at its loudest
// moment, in decibels of the sound's own peak, and the sample at which that is.
// Of a sound that has nothing up there itself, such as a low sine, that is what
// an edit, a note's start or a gap splashed: the part of a click that is heard
// as one. The ends of samples are left out.
func ClickLevel(samples []float32, rate, corner float64) (db float64, at int) {
	half := clickTaps / 2
	peak := Peak(samples)
	if peak == 0 || len(samples) <= clickTaps {
		return math.Inf(-1), 0
	}
	kernel := make([]float64, clickTaps)
	sum := 0.0
	fc := corner / rate
	for i := range kernel {
		t := float64(i - half)
		x := t / (float64(half) + 1)
		w := bessel(clickWindow*math.Sqrt(1-x*x)) / bessel(clickWindow)
		if t == 0 {
			kernel[i] = 2 * fc * w
		} else {
			kernel[i] = w * math.Sin(2*math.Pi*fc*t) / (math.Pi * t)
		}
		sum += kernel[i]
	}
	// What is left when the low-pass is taken away.
	for i := range kernel {
		kernel[i] /= -sum
	}
	kernel[half]++
	highest := 0.0
	for n := half; n < len(samples)-half; n++ {
		y := 0.0
		for i, k := range kernel {
			y += k * float64(samples[n-half+i])
		}
		if y = math.Abs(y); y > highest {
			highest, at = y, n
		}
	}
	return Decibels(highest / peak), at
}

// bessel is the modified Bessel function of order 0.
func bessel(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= x / (2 * k) * (x / (2 * k))
		sum += term
	}
	return sum
}
