package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func compressorSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "compressor", Title: "Compressor", HP: 10, Plus12: 60, Minus12: 40,
		Doc: "Takes from what is loud, on both sides alike. 0 dB is 5 V.",
		New: func() Processor { return &compressor{} },
		Params: []ParamSpec{
			{Name: "threshold", Doc: "level above which it acts", Unit: "dB", Min: -60, Max: 0, Value: -18, PerVolt: 6},
			{Name: "ratio", Doc: "decibels that come in for one that goes out, above the threshold", Min: 1, Max: 100, Value: 4, Curve: Exponential},
			{Name: "knee", Doc: "over how much around the threshold the curve bends", Unit: "dB", Min: 0, Max: 24, Value: 6},
			{Name: "attack", Doc: "in which the reduction covers 63 % of its way up", Unit: "s", Min: 0.0001, Max: 0.5, Value: 0.01, Curve: Exponential},
			{Name: "release", Doc: "in which it covers 63 % of its way down", Unit: "s", Min: 0.005, Max: 5, Value: 0.15, Curve: Exponential},
			{Name: "hold", Doc: "how long a peak counts; half a cycle of the lowest tone keeps the gain from following its wave", Unit: "s", Min: 0.0001, Max: 0.1, Value: 0.01, Curve: Exponential},
			{Name: "makeup", Doc: "gain after it", Unit: "dB", Min: -12, Max: 36, Value: 0},
			{Name: "mix", Doc: "share of what is compressed in what comes out", Min: 0, Max: 1, Value: 1, PerVolt: 0.1},
		},
		Inputs: []JackSpec{
			{Name: "in_left", Kind: Audio, Doc: "left; alone, both sides"},
			{Name: "in_right", Kind: Audio, Follows: "in_left", Doc: "right"},
			{Name: "sidechain", Kind: Audio, Doc: "whose level counts in place of that of in"},
		},
		Outputs: []JackSpec{
			{Name: "left", Kind: Audio, Doc: "left"}, {Name: "right", Kind: Audio, Doc: "right"},
			{Name: "reduction", Kind: CV, Unit: "1 V a dB, up to 12 V", Doc: "what it takes away"},
		},
		Through: [][2]string{{"in_left", "left"}, {"in_right", "right"}},
	}
}

const (
	compressorThreshold = iota
	compressorRatio
	compressorKnee
	compressorAttack
	compressorRelease
	compressorHold
	compressorMakeup
	compressorMix
)

type compressor struct {
	path dsp.Compressor
	db   float32 // whose factor is known
	gain float32
}

func (m *compressor) Init(sampleRate float64, seed uint64) { m.path.Init(sampleRate) }

// Reset forgets the past. Audio thread.
func (m *compressor) Reset() { m.path.Reset() }

// Process renders both sides. Audio thread.
func (m *compressor) Process(io *IO) {
	l, r, s := &io.In[0].Volts[0], &io.In[1].Volts[0], &io.In[2].Volts[0]
	ol, or, red := &io.Out[0].Volts[0], &io.Out[1].Volts[0], &io.Out[2].Volts[0]
	makeup, mix := io.Params[compressorMakeup], io.Params[compressorMix]
	keyed := io.Patched&4 != 0
	for i := range io.N {
		if (io.Frame+int64(i))%controlFrames == 0 {
			m.path.SetCurve(io.Params[compressorThreshold][i], io.Params[compressorRatio][i], io.Params[compressorKnee][i])
			m.path.SetTimes(io.Params[compressorAttack][i], io.Params[compressorRelease][i], io.Params[compressorHold][i])
		}
		x, y := dsp.Rail(l[i]), dsp.Rail(r[i])
		level := max(x, -x, y, -y)
		if keyed {
			level = dsp.Rail(s[i])
			level = max(level, -level)
		}
		cut := m.path.Next(level)
		if db := makeup[i] - cut; db != m.db || m.gain == 0 {
			m.db, m.gain = db, dsp.Exp2(db*(1/6.0205999))
		}
		g := 1 + mix[i]*(m.gain-1)
		ol[i], or[i] = dsp.Rail(x*g), dsp.Rail(y*g)
		red[i] = dsp.Rail(cut)
	}
}
