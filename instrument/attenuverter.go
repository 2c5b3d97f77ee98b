package instrument

import (
	"fmt"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// attenuverterRows is how many rows an Attenuverter has.
const attenuverterRows = 4

func attenuverterSpec() *ModuleSpec {
	s := &ModuleSpec{
		Kind: "attenuverter", Title: "Attenuverter", HP: 8, Plus12: 25, Minus12: 25,
		Doc: "Four rows that weaken or turn over a voltage and move it up or down, up to ±12 V. A row with nothing plugged in reads 10 V, and is a source of voltage.",
		New: func() Processor { return &attenuverter{} },
	}
	for i := 1; i <= attenuverterRows; i++ {
		s.Params = append(s.Params,
			ParamSpec{Name: fmt.Sprintf("gain_%d", i), Doc: fmt.Sprintf("share of in_%d", i), Min: -1, Max: 1},
			ParamSpec{Name: fmt.Sprintf("offset_%d", i), Doc: fmt.Sprintf("what is added to row %d", i), Unit: "V", Min: -10, Max: 10})
		s.Inputs = append(s.Inputs, JackSpec{Name: fmt.Sprintf("in_%d", i), Kind: CV, Poly: true, Normal: 10, Doc: fmt.Sprintf("row %d", i)})
		s.Outputs = append(s.Outputs, JackSpec{Name: fmt.Sprintf("out_%d", i), Kind: CV, Doc: fmt.Sprintf("in_%d times gain_%d plus offset_%d", i, i, i)})
		s.Through = append(s.Through, [2]string{fmt.Sprintf("in_%d", i), fmt.Sprintf("out_%d", i)})
	}
	return s
}

type attenuverter struct{}

func (m *attenuverter) Init(sampleRate float64, seed uint64) {}

// Reset does nothing: it remembers no sound. Audio thread.
func (m *attenuverter) Reset() {}

// Process renders the rows that are wanted. Audio thread.
func (m *attenuverter) Process(io *IO) {
	for k, out := range io.Out {
		in := io.In[k]
		if io.Wanted&(1<<k) == 0 {
			out.silence(in.Channels)
			continue
		}
		gain, offset := io.Params[2*k], io.Params[2*k+1]
		out.Channels = in.Channels
		for c := range out.Channels {
			o, v := &out.Volts[c], &in.Volts[c]
			if in.Held&(1<<c) != 0 && level(gain, io.N) && level(offset, io.N) {
				if w := dsp.Rail(dsp.Rail(v[0])*gain[0] + offset[0]); out.Held&(1<<c) == 0 || w != o[0] {
					for i := range o {
						o[i] = w
					}
				}
				out.Held |= 1 << c
				continue
			}
			out.Held &^= 1 << c
			for i := range io.N {
				o[i] = dsp.Rail(dsp.Rail(v[i])*gain[i] + offset[i])
			}
		}
	}
}
