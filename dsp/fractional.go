package dsp

import "math"

const (
	// fractionTaps and fractionBits make the kernel by which a delay is read
	// between its samples: so many taps, for each of 4096 places. The nearest is
	// taken, which leaves less than −87 dB of a tone of 5 kHz.
	fractionTaps   = 8
	fractionBits   = 12
	fractionPlaces = 1 << fractionBits
	fractionBefore = fractionTaps/2 - 1 // taps before the one at or below the place
	// fractionBand is up to which share of the sample rate the kernel is made
	// to be right: within −90 dB up to 9 kHz at 48 kHz.
	fractionBand = 0.19
)

// fractionTable holds the kernel for each place between two samples: the taps
// whose sum is nearest, in the mean of squares over the band, to a shift by the
// fraction.
var fractionTable [fractionPlaces + 1][fractionTaps]float32

func init() {
	// The normal equations of that are a matrix of sin(Bx)/x, whose Cholesky
	// factor serves all places.
	band := func(x float64) float64 {
		if x == 0 {
			return 2 * math.Pi * fractionBand
		}
		return math.Sin(2*math.Pi*fractionBand*x) / x
	}
	const n = fractionTaps
	var l [n][n]float64
	for i := range n {
		for j := range i + 1 {
			v := band(float64(i - j))
			if i == j {
				v += 1e-12
			}
			for k := range j {
				v -= l[i][k] * l[j][k]
			}
			if i == j {
				l[i][i] = math.Sqrt(v)
			} else {
				l[i][j] = v / l[j][j]
			}
		}
	}
	for r := 1; r < fractionPlaces; r++ {
		var x [n]float64
		for i := range n {
			v := band(float64(i-fractionBefore) - float64(r)/fractionPlaces)
			for k := range i {
				v -= l[i][k] * x[k]
			}
			x[i] = v / l[i][i]
		}
		for i := n - 1; i >= 0; i-- {
			for k := i + 1; k < n; k++ {
				x[i] -= l[k][i] * x[k]
			}
			x[i] /= l[i][i]
			fractionTable[r][i] = float32(x[i])
		}
	}
	fractionTable[0][fractionBefore], fractionTable[fractionPlaces][fractionBefore+1] = 1, 1
}

// delayLine remembers samples. Its memory need not be cleared: what was written
// before the last Reset reads as 0.
type delayLine struct {
	line    []float32 // the first fractionTaps again at its end, so that a kernel is one run
	mask    int
	at      int // of the newest sample
	written int // samples since the last Reset, at most the length
	quiet   int // samples since the last that was not 0
}

// init makes room for a delay of so many samples. It allocates.
func (d *delayLine) init(samples int) {
	size := 64
	for size < samples+2*fractionTaps {
		size *= 2
	}
	*d = delayLine{line: make([]float32, size+fractionTaps), mask: size - 1}
	for i := 0; i < len(d.line); i += 1024 {
		d.line[i] = 0 // the system gives each page here, not on the audio thread
	}
}

func (d *delayLine) reset() { d.written, d.quiet = 0, 0 }

// shortest is the least delay that can be read between samples.
const shortest = fractionTaps / 2

// longest is the greatest delay that can be read.
func (d *delayLine) longest() float64 { return float64(d.mask + 1 - fractionTaps) }

// silent tells whether all that can be read is 0.
func (d *delayLine) silent() bool { return d.quiet >= d.written }

// write adds a sample.
func (d *delayLine) write(v float32) {
	d.at = (d.at + 1) & d.mask
	d.line[d.at] = v
	if d.at < fractionTaps {
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
	q := int(ago*fractionPlaces + 0.5)
	n := q >> fractionBits
	if n+fractionTaps > d.written {
		return d.whole(n) // the first of all
	}
	// The place lies between n+1 and n samples ago.
	k := &fractionTable[fractionPlaces-q&(fractionPlaces-1)]
	from := (d.at - n - 1 - fractionBefore) & d.mask
	x := (*[fractionTaps]float32)(d.line[from : from+fractionTaps])
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
