package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func vcfSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "vcf", Title: "VCF", HP: 10, Plus12: 60, Minus12: 55,
		Doc: "A state-variable filter, 12 dB an octave, that sings a sine at full resonance; each channel of a polyphonic cable has its own.",
		New: func() Processor { return &vcf{} },
		Params: []ParamSpec{
			{Name: "cutoff", Doc: "corner of low and high, centre of band and notch", Unit: "Hz", Min: 20, Max: 20000, Value: 1000, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "resonance", Doc: "emphasis at the cutoff; above 0.91 it sings by itself, at 1 with 5 V", Min: 0, Max: 1, PerVolt: 0.1, PolyCV: true},
			{Name: "drive", Doc: "level before the filter, which bends what is above 6 V", Unit: "dB", Min: -24, Max: 24},
		},
		Inputs: []JackSpec{
			{Name: "in", Kind: Audio, Poly: true, Doc: "what is filtered"},
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "moves the cutoff, so that it follows a keyboard"},
		},
		Outputs: []JackSpec{
			{Name: "low", Kind: Audio, Doc: "below the cutoff"},
			{Name: "band", Kind: Audio, Doc: "around the cutoff"},
			{Name: "high", Kind: Audio, Doc: "above the cutoff"},
			{Name: "notch", Kind: Audio, Doc: "all but what is around the cutoff"},
		},
		Through: [][2]string{{"in", "low"}, {"in", "band"}, {"in", "high"}, {"in", "notch"}},
	}
}

const (
	vcfCutoff = iota
	vcfResonance
	vcfDrive
)

const (
	vcfIn = iota
	vcfPitch
	vcfCutoffCV
	vcfResonanceCV
)

type vcf struct {
	filters [MaxPoly]dsp.VCF
	gain    decibels
}

func (m *vcf) Init(sampleRate float64, seed uint64) {
	for c := range m.filters {
		m.filters[c].Init(sampleRate)
	}
}

// Reset forgets the past. Audio thread.
func (m *vcf) Reset() {
	for c := range m.filters {
		m.filters[c].Reset()
	}
}

// Process renders the outputs that are wanted. Audio thread.
func (m *vcf) Process(io *IO) {
	channels := widest(io.In[vcfIn], io.In[vcfPitch], io.In[vcfCutoffCV], io.In[vcfResonanceCV])
	for k, o := range io.Out {
		if io.Wanted&(1<<k) == 0 {
			o.silence(channels)
			continue
		}
		o.Channels = channels
	}
	if io.Wanted == 0 {
		return
	}
	var drive [BlockSize]float32
	for i := range io.N {
		drive[i] = m.gain.factorOf(io.Params[vcfDrive][i])
	}
	var outs [dsp.VCFOutputs]*[BlockSize]float32
	for c := range channels {
		for k, o := range io.Out {
			if io.Wanted&(1<<k) != 0 {
				o.Held &^= 1 << c
				outs[k] = &o.Volts[c]
			}
		}
		m.channel(io, c, &drive, &outs)
	}
}

// factorOf is linear without an end that is off. Audio thread.
func (d *decibels) factorOf(db float32) float32 {
	if db != d.db || !d.known {
		d.db, d.known, d.factor = db, true, dsp.Exp2(db*(1/6.0205999))
	}
	return d.factor
}

// channel renders one channel. Audio thread.
func (m *vcf) channel(io *IO, c int, drive *[BlockSize]float32, outs *[dsp.VCFOutputs]*[BlockSize]float32) {
	n, f := io.N, &m.filters[c]
	var cut, res [BlockSize]float32
	source, _ := io.In[vcfIn].read(c)
	resonance := io.Knob(vcfResonance, c, &res)
	if f.Quiet(resonance[0]) && level(source, n) && source[0] == 0 && level(resonance, n) {
		for k, b := range outs {
			if b != nil {
				clear(b[:])
				io.Out[k].Held |= 1 << c
			}
		}
		return
	}
	cutoff := io.Knob(vcfCutoff, c, &cut)
	if pitch := io.In[vcfPitch].Channel(c); pitch != nil {
		if level(pitch, n) {
			if pitch[0] != 0 {
				e := dsp.Exp2(dsp.Rail(pitch[0]))
				for i := range n {
					cut[i] = cutoff[i] * e
				}
				cutoff = &cut
			}
		} else {
			for i := range n {
				cut[i] = cutoff[i] * dsp.Exp2(dsp.Rail(pitch[i]))
			}
			cutoff = &cut
		}
	}
	f.Process(outs, n, source, drive, cutoff, resonance)
}
