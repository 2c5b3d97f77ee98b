package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func sampleHoldSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "sample_hold", Title: "Sample & Hold", HP: 6, Plus12: 20, Minus12: 15,
		Doc: "Keeps the voltage that it finds at each trigger, or follows while the gate is high and keeps the last; each channel has its own.",
		New: func() Processor { return &sampleHold{} },
		Params: []ParamSpec{
			{Name: "mode", Doc: "sample: at each rise of trigger; track: follows while trigger is high", Choices: []string{"sample", "track"}},
		},
		Inputs: []JackSpec{
			{Name: "in", Kind: CV, Poly: true, Doc: "what is sampled; white noise of ±5 V with nothing plugged in"},
			{Name: "trigger", Kind: Trigger, Poly: true, Button: true, Doc: "samples as it rises"},
		},
		Outputs: []JackSpec{{Name: "out", Kind: CV, Doc: "what is held"}},
	}
}

type sampleHold struct {
	channels [MaxPoly]struct {
		trigger dsp.SchmittTrigger
		noise   dsp.Noise
		held    float32
	}
}

func (m *sampleHold) Init(sampleRate float64, seed uint64) {
	for c := range m.channels {
		n := &m.channels[c].noise
		n.Init(sampleRate)
		n.Seed(seed + uint64(c)*0x9e3779b97f4a7c15)
	}
}

// Reset holds 0 V and starts the noise again. Audio thread.
func (m *sampleHold) Reset() {
	for c := range m.channels {
		ch := &m.channels[c]
		ch.trigger.Reset()
		ch.noise.Reset()
		ch.held = 0
	}
}

// Process renders what is held. Audio thread.
func (m *sampleHold) Process(io *IO) {
	in, trigger, out := io.In[0], io.In[1], io.Out[0]
	noisy := io.Patched&1 == 0
	track := io.Params[0][0] == 1
	out.Channels = widest(trigger)
	if !noisy {
		out.Channels = widest(in, trigger)
	}
	for c := range out.Channels {
		ch, o := &m.channels[c], &out.Volts[c]
		t, _ := trigger.read(c)
		source, _ := in.read(c)
		high := ch.trigger.High()
		if level(t, io.N) && !(t[0] < dsp.SchmittLow && high) && !(t[0] > dsp.SchmittHigh && !high) && !(track && high) {
			// Nothing happens: what is held stays.
			if out.Held&(1<<c) == 0 || o[0] != ch.held {
				out.Held |= 1 << c
				for i := range o {
					o[i] = ch.held
				}
			}
			continue
		}
		out.Held &^= 1 << c
		held := ch.held
		for i := range io.N {
			rose := ch.trigger.Next(t[i])
			if rose || track && ch.trigger.High() {
				if held = dsp.Rail(source[i]); noisy {
					held = ch.noise.White()
				}
			}
			o[i] = held
		}
		ch.held = held
	}
}
