package dsp

import (
	"math"
	"math/bits"
)

// Noise makes white and pink noise from a seed. The generator is
// xorshift64* of Sebastiano Vigna, "An experimental exploration of Marsaglia's
// xorshift generators, scrambled" (2016).
type Noise struct {
	state, seed uint64
	pole        [pinkPoles]float32
	gain        [pinkPoles]float32
	pink        [pinkPoles]float32
}

const (
	defaultSeed = 0x9e3779b97f4a7c15
	// Seven one-pole low-passes, two octaves apart, sum to a slope of
	// -3 dB per octave from 20 Hz to 20 kHz.
	pinkPoles = 7
	// pinkLevel brings the pink noise to the RMS of the white.
	pinkLevel = 1.0
)

// Init sets the sample rate and a fixed seed.
func (n *Noise) Init(sampleRate float64) {
	*n = Noise{}
	rate := rateOr(sampleRate)
	n.Seed(defaultSeed)
	// Expected power of the sum for unit white noise, from the geometric
	// series of every pair of impulse responses, normalises the level.
	var a, g [pinkPoles]float64
	for i := range a {
		hertz := 8 * math.Pow(4, float64(i))
		a[i] = -math.Expm1(-2 * math.Pi * hertz / rate)
		g[i] = 1 / math.Sqrt(hertz)
	}
	power := 0.0
	for i := range a {
		for j := range a {
			power += g[i] * a[i] * g[j] * a[j] / (1 - (1-a[i])*(1-a[j]))
		}
	}
	for i := range a {
		n.pole[i] = float32(a[i])
		n.gain[i] = float32(g[i] * pinkLevel / math.Sqrt(power))
	}
}

// Seed chooses the sequence; any number is good, and equal seeds give equal
// noise.
func (n *Noise) Seed(seed uint64) {
	// The state must not be 0 and neighbouring seeds must not sound alike:
	// the finaliser of SplitMix64 scatters them.
	z := seed + defaultSeed
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	z ^= z >> 31
	if z == 0 {
		z = defaultSeed
	}
	n.seed = z
	n.Reset()
}

// Reset starts the sequence again.
func (n *Noise) Reset() {
	n.state = n.seed
	n.pink = [pinkPoles]float32{}
}

// Uint64 is the next number of the sequence, for choices other than noise.
//
// Audio thread.
func (n *Noise) Uint64() uint64 {
	x := n.state
	x ^= x >> 12
	x ^= x << 25
	x ^= x >> 27
	n.state = x
	return bits.RotateLeft64(x*0x2545f4914f6cdd1d, 32)
}

// White is one sample of white noise, evenly distributed over ±5 V (an RMS of
// 2.9 V).
//
// Audio thread.
func (n *Noise) White() float32 {
	return float32(int32(n.Uint64())) * (AudioPeak / (1 << 31))
}

// Pink is one sample of pink noise (-3 dB per octave) with the RMS of White;
// single samples may pass ±5 V.
//
// Audio thread.
func (n *Noise) Pink() float32 {
	w := n.White()
	var sum float32
	for i := range n.pink {
		n.pink[i] += (w - n.pink[i]) * n.pole[i]
		sum += n.pink[i] * n.gain[i]
	}
	return sum
}

// Fill fills a block with white noise, as White would.
//
// Audio thread.
func (n *Noise) Fill(block []float32) {
	x := n.state
	for i := range block {
		x ^= x >> 12
		x ^= x << 25
		x ^= x >> 27
		block[i] = float32(int32(bits.RotateLeft64(x*0x2545f4914f6cdd1d, 32))) * (AudioPeak / (1 << 31))
	}
	n.state = x
}

// FillPink fills a block with pink noise, as Pink would.
//
// Audio thread.
func (n *Noise) FillPink(block []float32) {
	n.Fill(block)
	p, a, g := n.pink, &n.pole, &n.gain
	for i, w := range block {
		p[0] += (w - p[0]) * a[0]
		p[1] += (w - p[1]) * a[1]
		p[2] += (w - p[2]) * a[2]
		p[3] += (w - p[3]) * a[3]
		p[4] += (w - p[4]) * a[4]
		p[5] += (w - p[5]) * a[5]
		p[6] += (w - p[6]) * a[6]
		block[i] = p[0]*g[0] + p[1]*g[1] + p[2]*g[2] + p[3]*g[3] + p[4]*g[4] + p[5]*g[5] + p[6]*g[6]
	}
	n.pink = p
}
