package instrument

import (
	"github.com/k8s-synth/k8s-synth/dsp"
)

func euclidSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "euclid", Title: "Euclid", HP: 10, Plus12: 35, Minus12: 5,
		Doc: "Pulses spread over steps as evenly as they can be: a rhythm with three knobs.",
		New: func() Processor { return &euclid{} },
		Params: []ParamSpec{
			{Name: "steps", Doc: "length of the pattern", Min: 1, Max: dsp.MaxEuclid, Value: dsp.MaxEuclid, Whole: true, PerVolt: 1.6},
			{Name: "pulses", Doc: "how many of the steps sound", Min: 0, Max: dsp.MaxEuclid, Value: 4, Whole: true, PerVolt: 1.6},
			{Name: "rotate", Doc: "how many steps later the pattern begins", Min: 0, Max: dsp.MaxEuclid - 1, Whole: true, PerVolt: 1.5},
			{Name: "probability", Doc: "chance of each pulse to sound", Min: 0, Max: 1, Value: 1, PerVolt: 0.1},
			{Name: "accents", Doc: "how many of the pulses are accents, spread as the pulses are", Min: 0, Max: dsp.MaxEuclid, Value: 1, Whole: true, PerVolt: 1.6},
		},
		Inputs: []JackSpec{
			{Name: "clock", Kind: Trigger, Doc: "a step"},
			{Name: "reset", Kind: Trigger, Doc: "plays the first step at once; a clock within 1 ms after it is the same step"},
		},
		Outputs: []JackSpec{
			{Name: "out", Kind: Trigger, Doc: "the pulses that sound"},
			{Name: "rest", Kind: Trigger, Doc: "the steps that do not"},
			{Name: "accent", Kind: Trigger, Doc: "the pulses that sound and are accents"},
			{Name: "first", Kind: Trigger, Doc: "the first step of the pattern"},
		},
	}
}

const (
	euclidSteps = iota
	euclidPulses
	euclidRotate
	euclidProbability
	euclidAccents
)

const (
	euclidOut = iota
	euclidRest
	euclidAccent
	euclidFirst
	euclidOuts
)

// euclid steps through a Euclidean rhythm. The pattern follows its knobs
// without losing its place.
type euclid struct {
	clock, reset dsp.SchmittTrigger
	chance       dsp.Noise
	pulses       [euclidOuts]pulser
	step         int // the next one
	deaf, quiet  int // frames for which the clock does not count
}

func (m *euclid) Init(sampleRate float64, seed uint64) {
	m.chance.Init(sampleRate)
	m.chance.Seed(seed)
	m.quiet = int(clockDeaf * sampleRate)
	for i := range m.pulses {
		m.pulses[i].Init(sampleRate)
	}
}

// Reset goes back to the first step and to the beginning of all chance. Audio thread.
func (m *euclid) Reset() {
	m.clock.Reset()
	m.reset.Reset()
	m.chance.Reset()
	m.step, m.deaf = 0, 0
	for i := range m.pulses {
		m.pulses[i].Reset()
	}
}

// Process renders the rhythm. Audio thread.
func (m *euclid) Process(io *IO) {
	clock, reset := io.In[0], io.In[1]
	n := io.N
	if clock.still() && reset.still() {
		n = 1 // neither moves within the slice
	}
	for i := range n {
		if m.reset.Next(reset.Volts[0][i]) {
			m.step, m.deaf = 0, m.quiet
			m.clock.Next(clock.Volts[0][i])
			m.play(io, i)
			continue
		}
		if edge := m.clock.Next(clock.Volts[0][i]); m.deaf > 0 {
			m.deaf--
		} else if edge {
			m.play(io, i)
		}
	}
	m.deaf = max(m.deaf-(io.N-n), 0)
	for k := range m.pulses {
		m.pulses[k].finish(io.Out[k], 0, io.N)
	}
}

// play plays the next step at frame i. Audio thread.
func (m *euclid) play(io *IO, i int) {
	knob := func(k int) int { return int(io.Params[k][i] + 0.5) }
	steps := knob(euclidSteps)
	pulses := min(knob(euclidPulses), steps)
	at := m.step % steps
	m.step = at + 1
	if at == 0 {
		m.pulses[euclidFirst].fire(io.Out[euclidFirst], 0, i)
	}
	rhythm := dsp.Euclid(pulses, steps)
	place := (at + steps - knob(euclidRotate)%steps) % steps
	// The dice are thrown at every step, so that a knob that is turned does
	// not change what falls later.
	lucky := float64(m.chance.Uint64()>>11)*(1.0/(1<<53)) < float64(io.Params[euclidProbability][i])
	if rhythm>>place&1 == 0 || !lucky {
		m.pulses[euclidRest].fire(io.Out[euclidRest], 0, i)
		return
	}
	m.pulses[euclidOut].fire(io.Out[euclidOut], 0, i)
	which := 0 // among the pulses, from the first of the pattern
	for k := range place {
		which += int(rhythm >> k & 1)
	}
	if dsp.Euclid(min(knob(euclidAccents), pulses), pulses)>>which&1 == 1 {
		m.pulses[euclidAccent].fire(io.Out[euclidAccent], 0, i)
	}
}

// still tells whether the first channel is one voltage throughout the slice.
// Audio thread.
func (s *Signal) still() bool { return s.Held&1 != 0 }
