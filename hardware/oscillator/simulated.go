package oscillator

import (
	"math"
	"math/rand/v2"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Simulated is an oscillator at 1 V/octave, 0 V being C4, with the faults of
// real ones. The zero value of every fault is a perfect one. Set the fields,
// then Init; they may be changed while it plays.
type Simulated struct {
	Waveform   dsp.Waveform
	PulseWidth float64 // of Pulse, 0.01…0.99; 0 is one half
	Level      float64 // peak volts; 0 is 5

	ScaleError   float64 // 0.04 is 4 % too many octaves per volt
	Offset       float64 // cents at 0 V
	Curvature    float64 // cents per V², around 0 V
	HighTracking float64 // seconds that a cycle is longer than it should be: a reset takes 0.1 to 1 µs, and high notes are flat

	Drift      float64 // cents a minute, from Reset on
	Wander     float64 // cents RMS that the temperature moves the pitch to and fro
	WanderTime float64 // seconds that it takes to do so; 0 is 30

	Settle float64 // seconds in which the way to a new pitch shrinks to 1/e
	Noise  float64 // volts RMS of white noise in the output
	Jitter float64 // cents RMS by which every sample's pitch is off (white)
	Hum    float64 // volts peak of mains in the output
	Mains  float64 // hertz; 0 is 50
	DC     float64 // volts in the output
	Seed   uint64  // of noise, jitter and wander

	rate    float64
	vco     dsp.VCO
	rnd     *rand.Rand
	samples int64
	octaves float64 // where the pitch is on its way
	begun   bool
	wander  float64
	humming float64 // phase in cycles
	hertz   float64

	raw  [dsp.VCOBlock]float32
	inc  [dsp.VCOBlock]int32
	wide [dsp.VCOBlock]uint32
}

// c4 is 0 V in hertz.
const c4 = 261.6255653005986

// Init sets the sample rate and the state of something just switched on and
// warmed up.
func (s *Simulated) Init(sampleRate float64) {
	s.rate = sampleRate
	s.Reset()
}

// Reset begins again with the same seed.
func (s *Simulated) Reset() {
	s.vco.Init(s.rate)
	s.rnd = rand.New(rand.NewPCG(s.Seed, 0x05c111a7))
	s.samples, s.octaves, s.begun, s.humming, s.hertz = 0, 0, false, 0, 0
	s.wander = s.rnd.NormFloat64()
}

// Law is the pitch that a voltage settles to without drift and wander, in hertz.
// It is for judges.
func (s *Simulated) Law(volts float64) float64 { return s.bend(s.bare(volts)) }

// bare is what the exponential converter is asked for, in octaves above C4.
func (s *Simulated) bare(volts float64) float64 {
	return volts*(1+s.ScaleError) + (s.Offset+s.Curvature*volts*volts)/1200
}

func (s *Simulated) bend(octaves float64) float64 {
	f := c4 * math.Exp2(octaves)
	return f / (1 + f*s.HighTracking)
}

// Hertz is the pitch of the last sample that was made. It is for judges.
func (s *Simulated) Hertz() float64 { return s.hertz }

// Process turns volts of CV into volts of sound, sample by sample; out may be
// cv itself. It allocates nothing.
func (s *Simulated) Process(cv, out []float32) {
	level, width, mains := s.Level, s.PulseWidth, s.Mains
	if level == 0 {
		level = float64(dsp.AudioPeak)
	}
	if width == 0 {
		width = 0.5
	}
	if mains == 0 {
		mains = 50
	}
	follow := 1.0
	if s.Settle > 0 {
		follow = -math.Expm1(-1 / (s.Settle * s.rate))
	}
	time := s.WanderTime
	if time == 0 {
		time = 30
	}
	// A walk that is drawn back: its spread stays 1.
	back := -math.Expm1(-1 / (time * s.rate))
	kick := math.Sqrt(1 - (1-back)*(1-back))
	threshold := dsp.PulseWidth(float32(width))
	for len(cv) > 0 {
		n := min(len(cv), dsp.VCOBlock)
		for i, v := range cv[:n] {
			goal := s.bare(float64(v))
			if !s.begun {
				s.octaves, s.begun = goal, true
			}
			s.octaves += (goal - s.octaves) * follow
			if s.Wander != 0 {
				s.wander += kick*s.rnd.NormFloat64() - back*s.wander
			}
			cents := s.Drift*float64(s.samples)/(60*s.rate) + s.Wander*s.wander
			s.hertz = s.bend(s.octaves + cents/1200)
			now := s.hertz
			if s.Jitter != 0 {
				now *= math.Exp2(s.Jitter * s.rnd.NormFloat64() / 1200)
			}
			// To the nearest step of the phase: 1.1e-5 Hz at 48 kHz.
			s.inc[i] = int32(math.Round(min(now/s.rate, 0.49) * (1 << 32)))
			s.wide[i] = threshold
			s.samples++
		}
		var shapes [dsp.VCOOutputs]*[dsp.VCOBlock]float32
		shapes[s.Waveform] = &s.raw
		s.vco.Process(&shapes, n, &s.inc, &s.wide, nil)
		for i := range n {
			v := float64(s.raw[i])*level/float64(dsp.AudioPeak) + s.DC
			if s.Noise != 0 {
				v += s.Noise * s.rnd.NormFloat64()
			}
			if s.Hum != 0 {
				s.humming += mains / s.rate
				s.humming -= math.Floor(s.humming)
				v += s.Hum * math.Sin(2*math.Pi*s.humming)
			}
			out[i] = float32(v)
		}
		cv, out = cv[n:], out[n:]
	}
}
