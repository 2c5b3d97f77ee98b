package rig

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Scale is how a pitch becomes volts.
type Scale uint8

const (
	VoltPerOctave Scale = iota // 1 V an octave: Eurorack, and the inside of the instrument
	BuchlaOctave               // 1.2 V an octave, 0.1 V a semitone
	HertzPerVolt               // volts in proportion to hertz
)

var scaleWords = []string{"1V/oct", "1.2V/oct", "Hz/V"}

// String returns the word of rig files.
func (s Scale) String() string { return word(scaleWords, int(s)) }

// MarshalText writes the word of rig files.
func (s Scale) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Standard is how a jack speaks of pitch: the frequency Hertz is at Volts. The zero value is that of
// the instrument, 1 V an octave and 0 V at C4.
type Standard struct {
	Scale Scale `json:"scale"`
	// Volts and Hertz are the reference; with Hertz 0 it is 0 V at C4.
	Volts float64 `json:"volts"`
	Hertz float64 `json:"hertz,omitempty"`
}

// reference is Hertz, or C4.
func (s Standard) reference() float64 {
	if s.Hertz > 0 {
		return s.Hertz
	}
	return dsp.C4Hertz
}

// voltsPerOctave is the slope at the reference.
func (s Standard) voltsPerOctave() float64 {
	switch s.Scale {
	case BuchlaOctave:
		return 1.2
	case HertzPerVolt:
		return s.Volts * math.Ln2
	}
	return 1
}

// pitchEdge bounds a pitch in octaves from C4, far beyond what is heard.
const pitchEdge = 24

// converter is a standard with what does not change worked out.
type converter struct {
	scale     Scale
	identity  bool
	slope     float64 // volts an octave
	atC4      float64 // volts at C4
	octaves   float64 // from C4 to the reference
	reference float64 // volts
	last      float32 // the last pitch that was converted, and what it became
	became    float32
}

func (s Standard) converter() converter {
	c := converter{scale: s.Scale, slope: s.voltsPerOctave(), octaves: math.Log2(s.reference() / dsp.C4Hertz), reference: s.Volts, last: float32(math.NaN())}
	c.atC4 = s.Volts - c.octaves*c.slope
	c.identity = s.Scale == VoltPerOctave && c.atC4 == 0
	return c
}

// volts returns what stands for a pitch in octaves from C4.
//
// Audio thread.
func (c *converter) volts(octaves float64) float64 {
	if c.scale == HertzPerVolt {
		return c.reference * math.Exp2(min(max(octaves, -pitchEdge), pitchEdge)-c.octaves)
	}
	return c.atC4 + octaves*c.slope
}

// pitch is the inverse of volts. Volts of Hz/V that stand for no frequency are the lowest pitch.
//
// Audio thread.
func (c *converter) pitch(volts float64) float64 {
	if c.scale != HertzPerVolt {
		return (volts - c.atC4) / c.slope
	}
	r := volts / c.reference
	if !(r > 0) {
		return -pitchEdge
	}
	return min(max(math.Log2(r)+c.octaves, -pitchEdge), pitchEdge)
}

// send converts a block of pitches in place.
//
// Audio thread.
func (c *converter) send(x []float32) {
	if c.identity {
		return
	}
	for i, v := range x {
		if v != c.last { // a pitch holds for thousands of frames
			c.last, c.became = v, float32(c.volts(float64(v)))
		}
		x[i] = c.became
	}
}

// receive converts a block of volts in place.
//
// Audio thread.
func (c *converter) receive(x []float32) {
	if c.identity {
		return
	}
	for i, v := range x {
		if v != c.last {
			c.last, c.became = v, float32(c.pitch(float64(v)))
		}
		x[i] = c.became
	}
}
