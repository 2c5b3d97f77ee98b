package dsp

import "math"

// The voltage standard of the rack. Eurorack has no normative document; these
// are the figures that VCV Rack's voltage standards and Doepfer's A-100
// technical details agree on.
const (
	// AudioPeak is the nominal peak of an audio signal, in volts.
	AudioPeak float32 = 5
	// UnipolarPeak is the top of a unipolar control voltage and of every
	// envelope, in volts.
	UnipolarPeak float32 = 10
	// GateHigh is the level of an open gate and of a trigger, in volts.
	GateHigh float32 = 10
	// SchmittLow is the level in volts below which a gate input turns low.
	SchmittLow float32 = 0.1
	// SchmittHigh is the level in volts above which a gate input turns high.
	SchmittHigh float32 = 1
	// TriggerSeconds is the length of a trigger.
	TriggerSeconds = 0.001
	// C4Hertz is the frequency of pitch 0 V, middle C in equal temperament
	// with A4 at 440 Hz.
	C4Hertz = 261.6255653005986
)

const (
	// guardVolts bounds what a unit accepts. A rack runs on ±12 V; the limit
	// leaves 38 dB for sums and resonances and keeps squares of samples far
	// from the end of the float32 range.
	guardVolts float32 = 1000
	// tiny is 300 dB below a volt: far below the last bit of any converter,
	// far above the denormal range of float32.
	tiny = 1e-15
	// ln1000 is the number of time constants in a T60.
	ln1000 = 6.907755278982137
)

// Finite returns v when it is a usable voltage, 0 for NaN and the infinities,
// and the nearer bound for anything beyond ±1000 V.
//
// Audio thread.
func Finite(v float32) float32 {
	if v >= -guardVolts && v <= guardVolts {
		return v
	}
	return finiteSlow(v)
}

func finiteSlow(v float32) float32 {
	switch {
	case v != v || v > math.MaxFloat32 || v < -math.MaxFloat32:
		return 0
	case v > 0:
		return guardVolts
	default:
		return -guardVolts
	}
}

// rails are the supply voltages of a rack, which no jack gets beyond.
const rails float32 = 12

// Rail returns v bounded to the rails of ±12 V, and 0 for NaN.
//
// Audio thread.
func Rail(v float32) float32 {
	if v >= -rails && v <= rails {
		return v
	}
	return railSlow(v)
}

func railSlow(v float32) float32 {
	switch {
	case v > 0:
		return rails
	case v < 0:
		return -rails
	default:
		return 0
	}
}

// finiteOr returns v bounded to low…high, and fallback for NaN.
func finiteOr(v, low, high, fallback float64) float64 {
	switch {
	case v != v:
		return fallback
	case v < low:
		return low
	case v > high:
		return high
	}
	return v
}

// flush turns a faded state into exactly zero.
func flush(v float32) float32 {
	if v < tiny && v > -tiny {
		return 0
	}
	return v
}

func flush64(v float64) float64 {
	if v < tiny && v > -tiny {
		return 0
	}
	return v
}

// Exp2 returns 2^x within 0.001 cent (a relative error of 6e-7) for x in
// -126…126; beyond that range, and for NaN, x is bounded. It rounds x to the
// nearest integer, which becomes the exponent bits, and evaluates the Taylor
// series of degree 6 on the remaining ±1/2.
//
// Audio thread.
func Exp2(x float32) float32 {
	if !(x > -126) {
		x = -126
	}
	if x > 126 {
		x = 126
	}
	i := int32(x+512.5) - 512
	f := x - float32(i)
	p := 1 + f*(0.6931472+f*(0.2402265+f*(0.05550411+f*(0.009618129+f*(0.0013333558+f*0.00015403530)))))
	return p * math.Float32frombits(uint32(i+127)<<23)
}

// VoltsToHertz converts a pitch voltage to a frequency: 1 V per octave,
// 0 V = C4. The result is within 0.01 cent for ±10 V.
//
// Audio thread.
func VoltsToHertz(volts float32) float32 {
	return C4Hertz * Exp2(volts)
}

// HertzToVolts converts a frequency to a pitch voltage, the inverse of
// VoltsToHertz. Frequencies that are not positive give -126 V.
func HertzToVolts(hertz float32) float32 {
	if !(hertz > 0) {
		return -126
	}
	return float32(finiteOr(math.Log2(float64(hertz)/C4Hertz), -126, 126, 0))
}

// SecondsToSamples rounds a time to whole samples, at least 0.
func SecondsToSamples(seconds, sampleRate float64) int {
	n := math.Round(finiteOr(seconds*sampleRate, 0, math.MaxInt32, 0))
	return int(n)
}

// rateOr bounds a sample rate to what converters do: 8 to 768 kHz.
func rateOr(sampleRate float64) float64 {
	return finiteOr(sampleRate, 8000, 768000, 48000)
}

// t60Coefficient is the share of the remaining distance to cover in one sample
// so that a thousandth is left after the given time. A time of less than one
// sample gives 1: a step.
func t60Coefficient(seconds, sampleRate float64) float64 {
	n := finiteOr(seconds, 0, 3600, 0) * sampleRate
	if n < 1 {
		return 1
	}
	return -math.Expm1(-ln1000 / n)
}
