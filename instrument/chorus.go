package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func chorusSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "chorus", Title: "Chorus", HP: 8, Plus12: 60, Minus12: 20,
		Doc: "Makes an ensemble of a sound: three voices a side that swing around its pitch, those on the right against those on the left.",
		New: func() Processor { return &chorus{} },
		Params: []ParamSpec{
			{Name: "rate", Doc: "how often the voices swing", Unit: "Hz", Min: 0.01, Max: 10, Value: 0.4, Curve: Exponential, PerVolt: 1},
			{Name: "depth", Doc: "how far they swing: 5 ms at most, and no more than 50 cents", Min: 0, Max: 1, Value: 0.5, PerVolt: 0.1},
			{Name: "feedback", Doc: "share of the voices that goes in again", Min: -0.9, Max: 0.9, Value: 0, PerVolt: 0.18},
			{Name: "mix", Doc: "share of the voices in what comes out", Min: 0, Max: 1, Value: 0.5, PerVolt: 0.1},
		},
		Inputs: []JackSpec{
			{Name: "in_left", Kind: Audio, Doc: "left; alone, both sides"},
			{Name: "in_right", Kind: Audio, Follows: "in_left", Doc: "right"},
		},
		Outputs: []JackSpec{{Name: "left", Kind: Audio, Doc: "left"}, {Name: "right", Kind: Audio, Doc: "right"}},
		Through: [][2]string{{"in_left", "left"}, {"in_right", "right"}},
	}
}

const (
	chorusRate = iota
	chorusDepth
	chorusFeedback
	chorusMix
)

type chorus struct{ voices dsp.Chorus }

func (m *chorus) Init(sampleRate float64, seed uint64) { m.voices.Init(sampleRate) }

// Reset silences the voices. Audio thread.
func (m *chorus) Reset() { m.voices.Reset() }

// Process renders the voices. Audio thread.
func (m *chorus) Process(io *IO) {
	left, right, outL, outR := io.In[0], io.In[1], io.Out[0], io.Out[1]
	quiet := left.silent() && right.silent() && m.voices.Silent()
	feedback, mix := io.Params[chorusFeedback], io.Params[chorusMix]
	if !quiet {
		outL.Held, outR.Held = 0, 0
	}
	l, r, ol, or := &left.Volts[0], &right.Volts[0], &outL.Volts[0], &outR.Volts[0]
	for i := range io.N {
		if (io.Frame+int64(i))%controlFrames == 0 {
			m.voices.Set(io.Params[chorusRate][i], io.Params[chorusDepth][i])
		}
		if quiet {
			m.voices.Rest(1)
			continue
		}
		a, b := m.voices.Next(l[i], r[i], feedback[i])
		x, y, g := dsp.Rail(l[i]), dsp.Rail(r[i]), mix[i]
		ol[i] = dsp.Rail(x + g*(a-x))
		or[i] = dsp.Rail(y + g*(b-y))
	}
	if quiet {
		outL.rest(0)
		outR.rest(0)
	}
}
