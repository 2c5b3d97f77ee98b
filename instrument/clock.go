package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func clockSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "clock", Title: "Clock", HP: 8, Plus12: 25, Minus12: 5,
		Doc: "The transport: beats, their divisions and multiples, all from one phase.",
		New: func() Processor { return &clock{} },
		Params: []ParamSpec{
			{Name: "tempo", Doc: "beats a minute", Unit: "BPM", Min: 10, Max: 300, Value: 90, PerVolt: 10},
			{Name: "run", Doc: "whether it runs", Choices: []string{"stop", "run"}, Value: 1},
			{Name: "beats", Doc: "beats to a bar", Min: 1, Max: 16, Value: 4, Whole: true},
			{Name: "width", Doc: "share of a beat for which the gate is high", Min: 0.05, Max: 0.95, Value: 0.5},
		},
		Inputs: []JackSpec{
			{Name: "reset", Kind: Trigger, Doc: "back to the first beat of a bar"},
			{Name: "run_gate", Kind: Gate, Normal: GateVolts, Doc: "runs while high"},
		},
		Outputs: []JackSpec{
			{Name: "beat", Kind: Trigger, Doc: "each beat"},
			{Name: "gate", Kind: Gate, Doc: "each beat, as a gate"},
			{Name: "bar", Kind: Trigger, Doc: "first beat of each bar"},
			{Name: "eighth", Kind: Trigger, Doc: "twice a beat"},
			{Name: "sixteenth", Kind: Trigger, Doc: "four times a beat"},
			{Name: "triplet", Kind: Trigger, Doc: "three times a beat"},
		},
	}
}

// clock counts beats in one phase, from which all outputs follow, so that
// they never drift apart.
type clock struct {
	rate   float64
	phase  float64 // in beats since the bar began
	fresh  bool    // the next frame is the first of a bar
	reset  dsp.SchmittTrigger
	run    dsp.SchmittTrigger
	pulses [6]dsp.PulseGenerator
}

// clockRatios is how often a beat each trigger output fires; 0 is the gate, −1 the bar.
var clockRatios = [6]float64{1, 0, -1, 2, 4, 3}

func (m *clock) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	for i := range m.pulses {
		m.pulses[i].Init(sampleRate)
	}
	m.Reset()
}

// Reset goes back to the start of a bar. Audio thread.
func (m *clock) Reset() {
	m.phase, m.fresh = 0, true
	m.reset.Reset()
	m.run.Reset()
	for i := range m.pulses {
		m.pulses[i].Reset()
	}
}

// Process renders the clock. Audio thread.
func (m *clock) Process(io *IO) {
	for i := range io.N {
		if m.reset.Next(io.In[0].Volts[0][i]) {
			m.phase, m.fresh = 0, true
		}
		m.run.Next(io.In[1].Volts[0][i])
		runs := m.run.High() && io.Params[1][i] == 1
		beats := float64(io.Params[2][i])
		if runs {
			was := m.phase
			now := was + float64(io.Params[0][i])/(60*m.rate)
			if m.fresh {
				for k, ratio := range clockRatios {
					if ratio != 0 {
						m.pulses[k].Trigger()
					}
				}
				m.fresh = false
			} else {
				for k, ratio := range clockRatios {
					if ratio > 0 && int(now*ratio) != int(was*ratio) {
						m.pulses[k].Trigger()
					}
				}
			}
			if now >= beats {
				now -= beats
				m.pulses[2].Trigger()
			}
			m.phase = now
		}
		for k := range m.pulses {
			io.Out[k].Volts[0][i] = m.pulses[k].Next()
		}
		gate := float32(0)
		if runs && m.phase-float64(int(m.phase)) < float64(io.Params[3][i]) {
			gate = GateVolts
		}
		io.Out[1].Volts[0][i] = gate
	}
}
