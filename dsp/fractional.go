package dsp

import "math"

const (
	// sincTaps and sincPhases make the kernel by which a delay is read between
	// its samples: a sinc in a Kaiser window, at the nearest of so many places
	// that the rest is 90 dB below a tone of 5 kHz.
	sincTaps   = 8
	sincBits   = 12
	sincPhases = 1 << sincBits
	sincShape  = 5.5
	sincBefore = sincTaps/2 - 1 // taps before the one at or below the place
)

// sincTable holds the kernel for each place between two samples.
var sincTable [sincPhases + 1][sincTaps]float32

func init() {
	for r := range sincTable {
		f := float64(r) / sincPhases
		var row [sincTaps]float64
		sum := 0.0
		for j := range row {
			x := float64(j-sincBefore) - f
			if u := x / (sincTaps / 2); u > -1 && u < 1 {
				row[j] = besselI0(sincShape * math.Sqrt(1-u*u))
				if x != 0 {
					row[j] *= math.Sin(math.Pi*x) / (math.Pi * x)
				}
			}
			sum += row[j]
		}
		for j, v := range row {
			if v /= sum; math.Abs(v) > 1e-12 {
				sincTable[r][j] = float32(v)
			}
		}
	}
}

// delayLine remembers samples. Its memory need not be cleared: what was written
// before the last Reset reads as 0.
type delayLine struct {
	line    []float32 // the first sincTaps again at its end, so that a kernel is one run
	mask    int
	at      int // of the newest sample
	written int // samples since the last Reset, at most the length
	quiet   int // samples since the last that was not 0
}

// init makes room for a delay of so many samples. It allocates.
func (d *delayLine) init(samples int) {
	size := 64
	for size < samples+2*sincTaps {
		size *= 2
	}
	*d = delayLine{line: make([]float32, size+sincTaps), mask: size - 1}
}

func (d *delayLine) reset() { d.written, d.quiet = 0, 0 }

// shortest is the least delay that can be read between samples.
const shortest = sincTaps / 2

// longest is the greatest delay that can be read.
func (d *delayLine) longest() float64 { return float64(d.mask + 1 - sincTaps) }

// silent tells whether all that can be read is 0.
func (d *delayLine) silent() bool { return d.quiet >= d.written }

// write adds a sample.
func (d *delayLine) write(v float32) {
	d.at = (d.at + 1) & d.mask
	d.line[d.at] = v
	if d.at < sincTaps {
		d.line[d.mask+1+d.at] = v
	}
	if d.written <= d.mask {
		d.written++
	}
	if d.quiet++; v != 0 {
		d.quiet = 0
	}
}

// whole returns the sample of so many samples ago, 0 being the newest.
func (d *delayLine) whole(ago int) float32 {
	if ago >= d.written {
		return 0
	}
	return d.line[(d.at-ago)&d.mask]
}

// read returns what was written ago samples ago, from shortest to longest.
func (d *delayLine) read(ago float64) float32 {
	q := int(ago*sincPhases + 0.5)
	n := q >> sincBits
	if n+sincTaps > d.written {
		return d.whole(n) // the first of all
	}
	// The place lies between n+1 and n samples ago.
	k := &sincTable[sincPhases-q&(sincPhases-1)]
	from := (d.at - n - 1 - sincBefore) & d.mask
	x := (*[sincTaps]float32)(d.line[from : from+sincTaps])
	return x[0]*k[0] + x[1]*k[1] + x[2]*k[2] + x[3]*k[3] + (x[4]*k[4] + x[5]*k[5] + x[6]*k[6] + x[7]*k[7])
}

// tapeKnee is where tape begins to saturate, and tapeTop what it never passes,
// in volts.
const (
	tapeKnee float32 = 5
	tapeTop  float32 = 10
)

// saturate is linear up to tapeKnee and then bends towards tapeTop.
func saturate(v float32) float32 {
	switch {
	case v > tapeKnee:
		return tapeKnee + (tapeTop-tapeKnee)*rationalTanh((v-tapeKnee)*(1/(tapeTop-tapeKnee)))
	case v < -tapeKnee:
		return -tapeKnee + (tapeTop-tapeKnee)*rationalTanh((v+tapeKnee)*(1/(tapeTop-tapeKnee)))
	}
	return v
}
