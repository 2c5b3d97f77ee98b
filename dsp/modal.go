package dsp

import "math"

// Partial is one mode of a struck body.
type Partial struct {
	Ratio float64 // frequency over that of the fundamental
	Level float64 // level at the strike, relative to the others
	Decay float64 // T60 relative to the body's
}

// MaxPartials is the most modes a body has.
const MaxPartials = 8

// Bodies to strike. The ratios are those of acoustics textbooks (Fletcher and
// Rossing, The Physics of Musical Instruments): a string's are whole numbers,
// a church bell's are the tuned hum, prime, minor third, fifth and nominal, a
// bar's the roots of the Euler-Bernoulli beam with free ends, a membrane's the
// zeros of Bessel functions. Levels and decays are chosen by ear.
var (
	// PluckedString is bright at first; its upper partials die early.
	PluckedString = []Partial{
		{1, 1, 1}, {2, 0.6, 0.7}, {3, 0.42, 0.5}, {4, 0.3, 0.4},
		{5, 0.2, 0.32}, {6, 0.14, 0.26}, {7, 0.09, 0.22}, {8, 0.06, 0.18},
	}
	// Bell is a church bell; the fundamental is its prime.
	Bell = []Partial{
		{0.5, 0.5, 1}, {1, 1, 0.7}, {1.2, 0.6, 0.55}, {1.5, 0.35, 0.45},
		{2, 0.8, 0.4}, {2.667, 0.25, 0.25}, {3, 0.3, 0.2}, {4.2, 0.15, 0.12},
	}
	// Bar is a glockenspiel or a metal bar.
	Bar = []Partial{
		{1, 1, 1}, {2.756, 0.4, 0.35}, {5.404, 0.2, 0.15}, {8.933, 0.08, 0.08},
	}
	// Membrane is a drum or any low, damped blow.
	Membrane = []Partial{
		{1, 1, 1}, {1.593, 0.55, 0.5}, {2.136, 0.3, 0.35},
		{2.296, 0.3, 0.35}, {2.653, 0.2, 0.25}, {2.917, 0.15, 0.2},
	}
)

// Modal sounds a struck body: a sum of sines that decay, each a rotating
// vector. A strike while it rings adds energy and never clicks, because it
// enters where the vectors do not show: as a velocity, not as a displacement.
type Modal struct {
	sampleRate     float64
	count          int
	partials       [MaxPartials]Partial
	hertz, seconds float64
	choke          float64 // factor on the decay time after Damp
	scale          float64
	cosine, sine   [MaxPartials]float32
	strike         [MaxPartials]float32
	re, im         [MaxPartials]float32
	energy         int32 // samples until the next look for silence
	ringing        bool
}

// modalLook is how often, in samples, faded modes are looked for.
const modalLook = 64

// Init sets the sample rate and a plucked string at C4 with a T60 of 1 s.
func (m *Modal) Init(sampleRate float64) {
	*m = Modal{sampleRate: rateOr(sampleRate), hertz: C4Hertz, seconds: 1, choke: 1}
	m.SetBody(PluckedString)
}

// Reset silences the body at once.
func (m *Modal) Reset() {
	m.re, m.im = [MaxPartials]float32{}, [MaxPartials]float32{}
	m.ringing, m.energy = false, 0
	if m.choke != 1 {
		m.choke = 1
		m.update()
	}
}

// SetBody chooses the modes; those beyond MaxPartials are left out. Together
// they peak at no more than the strength of a strike.
//
// Audio thread.
func (m *Modal) SetBody(partials []Partial) {
	m.count = min(len(partials), MaxPartials)
	sum := 0.0
	for i := range m.count {
		p := partials[i]
		p.Ratio = finiteOr(p.Ratio, 0.01, 100, 1)
		p.Level = finiteOr(p.Level, -1000, 1000, 0)
		p.Decay = finiteOr(p.Decay, 0.001, 100, 1)
		m.partials[i] = p
		sum += math.Abs(p.Level)
	}
	for i := m.count; i < MaxPartials; i++ {
		m.partials[i] = Partial{Ratio: 1, Decay: 1}
		m.re[i], m.im[i] = 0, 0
	}
	m.scale = 0
	if sum > 0 {
		m.scale = 1 / sum
	}
	m.update()
}

// Set sets the fundamental and the T60 of the whole body in seconds; it also
// works while it rings. It costs a sine and an exponential per mode.
//
// Audio thread.
func (m *Modal) Set(hertz float32, seconds float64) {
	m.hertz = finiteOr(float64(hertz), 1, m.sampleRate/2, C4Hertz)
	m.seconds = finiteOr(seconds, 0.001, 600, 1)
	m.update()
}

func (m *Modal) update() {
	for i := range m.count {
		p := m.partials[i]
		f := m.hertz * p.Ratio
		r := math.Exp(-ln1000 / (m.seconds * p.Decay * m.choke * m.sampleRate))
		level := p.Level * m.scale
		if f > 0.45*m.sampleRate {
			// It would alias: it stays silent and what rings ends.
			level, f, r = 0, 0.45*m.sampleRate, 0
		}
		s, c := math.Sincos(2 * math.Pi * f / m.sampleRate)
		m.cosine[i], m.sine[i] = float32(r*c), float32(r*s)
		m.strike[i] = float32(level)
	}
}

// Strike hits the body with a strength in volts, the bound of its peak.
//
// Audio thread.
func (m *Modal) Strike(volts float32) {
	volts = Finite(volts)
	if m.choke != 1 {
		m.choke = 1
		m.update()
	}
	for i := range m.count {
		m.re[i] += volts * m.strike[i]
		// Many strikes in a row add up; the bound is that of Finite.
		if m.re[i] > guardVolts || m.re[i] < -guardVolts {
			m.re[i] = Finite(m.re[i])
		}
	}
	m.ringing, m.energy = true, modalLook
}

// Damp puts a hand on the body: decays are this many times shorter until the
// next strike.
//
// Audio thread.
func (m *Modal) Damp(times float64) {
	m.choke = 1 / finiteOr(times, 1, 1e6, 1)
	m.update()
}

// Active tells whether the body still rings above -120 dB.
//
// Audio thread.
func (m *Modal) Active() bool { return m.ringing }

// Next returns one sample in volts.
//
// Audio thread.
func (m *Modal) Next() float32 {
	if !m.ringing {
		return 0
	}
	var out float32
	for i := range m.count {
		re, im := m.re[i], m.im[i]
		out += im
		c, s := m.cosine[i], m.sine[i]
		m.re[i], m.im[i] = re*c-im*s, re*s+im*c
	}
	m.energy--
	if m.energy <= 0 {
		m.look()
	}
	return out
}

func (m *Modal) look() {
	m.energy = modalLook
	m.ringing = false
	for i := range m.count {
		// -120 dB below AudioPeak, as a square.
		if m.re[i]*m.re[i]+m.im[i]*m.im[i] > 2.5e-11 {
			m.ringing = true
		} else {
			m.re[i], m.im[i] = 0, 0
		}
	}
}

// Process fills a block.
//
// Audio thread.
func (m *Modal) Process(out []float32) {
	for i := range out {
		out[i] = m.Next()
	}
}
