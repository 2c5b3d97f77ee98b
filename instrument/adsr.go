package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func adsrSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "adsr", Title: "ADSR", HP: 10, Plus12: 35, Minus12: 15, Tail: TailRelease,
		Doc: "An envelope: attack, hold, decay, sustain, release. A rise of 0 to 10 V takes the attack; a fall leaves a thousandth of its way after the decay or release. A new attack starts where the level is.",
		New: func() Processor { return &adsr{} },
		Params: []ParamSpec{
			{Name: "attack", Doc: "time from 0 V to the peak", Unit: "s", Min: 0.001, Max: 20, Value: 0.01, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "hold", Doc: "time at the peak", Unit: "s", Min: 0, Max: 10},
			{Name: "decay", Doc: "time in which all but a thousandth of the way to sustain is gone", Unit: "s", Min: 0.001, Max: 20, Value: 0.3, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "sustain", Doc: "level that a held gate comes to, as a share of the peak", Min: 0, Max: 1, Value: 0.7, PerVolt: 0.1, PolyCV: true},
			{Name: "release", Doc: "time in which all but a thousandth of the level is gone", Unit: "s", Min: 0.001, Max: 20, Value: 0.5, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "loop", Doc: "attack, hold and decay go round while the gate is high", Choices: switchWords},
			{Name: "velocity_share", Doc: "how much of the peak velocity makes", Min: 0, Max: 1, Value: 1},
		},
		Inputs: []JackSpec{
			{Name: "gate", Kind: Gate, Poly: true, Button: true, Doc: "attacks and holds while high, releases when it falls"},
			{Name: "retrigger", Kind: Trigger, Poly: true, Doc: "attacks again while the gate is high"},
			{Name: "velocity", Kind: CV, Poly: true, Normal: 10, Unit: "0…10 V", Doc: "height of the peak, read at each attack; 10 V is full"},
		},
		Outputs: []JackSpec{
			{Name: "envelope", Kind: CV, Unit: "0…10 V", Doc: "the envelope"},
			{Name: "inverted", Kind: CV, Unit: "10…0 V", Doc: "10 V less the envelope"},
			{Name: "end", Kind: Trigger, Doc: "the release is over, or a round of the loop"},
		},
	}
}

const (
	adsrAttack = iota
	adsrHold
	adsrDecay
	adsrSustain
	adsrRelease
	adsrLoop
	adsrVelocityShare
)

const (
	adsrGate = iota
	adsrRetrigger
	adsrVelocity
)

type adsr struct {
	channels [MaxPoly]adsrChannel
}

type adsrChannel struct {
	env             dsp.ADSR
	gate, retrigger dsp.SchmittTrigger
	end             dsp.PulseGenerator
	shape           [5]float32 // as they were last set
}

func (m *adsr) Init(sampleRate float64, seed uint64) {
	for c := range m.channels {
		ch := &m.channels[c]
		ch.env.Init(sampleRate)
		ch.end.Init(sampleRate)
		ch.shape[0] = -1
	}
}

// Reset closes every gate and drops to 0 V. Audio thread.
func (m *adsr) Reset() {
	for c := range m.channels {
		ch := &m.channels[c]
		ch.env.Reset()
		ch.gate.Reset()
		ch.retrigger.Reset()
		ch.end.Reset()
	}
}

// Process renders the envelopes. Audio thread.
func (m *adsr) Process(io *IO) {
	channels := widest(io.In[adsrGate], io.In[adsrRetrigger], io.In[adsrVelocity])
	for _, o := range io.Out {
		o.Channels = channels
	}
	for c := range channels {
		m.channel(io, c)
	}
}

// channel renders one channel. Audio thread.
func (m *adsr) channel(io *IO, c int) {
	ch, n := &m.channels[c], io.N
	env, inv, end := &io.Out[0].Volts[c], &io.Out[1].Volts[c], &io.Out[2].Volts[c]
	held := uint16(1) << c
	gate, _ := io.In[adsrGate].read(c)
	again, _ := io.In[adsrRetrigger].read(c)
	var bufs [4][BlockSize]float32
	knobs := [5]*[BlockSize]float32{
		io.Knob(adsrAttack, c, &bufs[0]), io.Params[adsrHold], io.Knob(adsrDecay, c, &bufs[1]),
		io.Knob(adsrSustain, c, &bufs[2]), io.Knob(adsrRelease, c, &bufs[3]),
	}
	loop := io.Params[adsrLoop][0] == 1
	if ch.rests(gate, again, n) {
		// Only the knobs are followed, as far as they would be.
		if last := int64(n-1) - (io.Frame+int64(n-1))%controlFrames; last >= 0 {
			ch.set(&knobs, int(last))
			ch.env.SetLoop(loop)
		}
		for k, v := range [3]float32{0, 10, 0} {
			if o := io.Out[k]; o.Held&held == 0 || o.Volts[c][0] != v {
				o.Held |= held
				for i := range o.Volts[c] {
					o.Volts[c][i] = v
				}
			}
		}
		return
	}
	share, velocity := io.Params[adsrVelocityShare], io.In[adsrVelocity]
	for i := 0; i < n; {
		if (io.Frame+int64(i))%controlFrames == 0 || ch.shape[0] < 0 {
			ch.set(&knobs, i)
			ch.env.SetLoop(loop)
		}
		stop := min(n, i+controlFrames-int((io.Frame+int64(i))%controlFrames))
		for ; i < stop; i++ {
			rose := ch.gate.Next(gate[i])
			struck := ch.retrigger.Next(again[i])
			if rose || struck {
				v := min(max(dsp.Rail(at(velocity, c, i)), 0), 10)
				ch.env.SetPeak(10 - share[i]*(10-v))
				if struck && !rose {
					ch.env.Trigger()
				}
			}
			v := ch.env.Next(ch.gate.High())
			if ch.env.Ended() {
				ch.end.Trigger()
			}
			env[i], inv[i], end[i] = v, 10-v, ch.end.Next()
		}
	}
	for _, o := range io.Out {
		o.Held &^= held
	}
}

// rests tells whether the channel is silent and stays so. Audio thread.
func (ch *adsrChannel) rests(gate, again *[BlockSize]float32, n int) bool {
	return ch.shape[0] > 0 && ch.env.Resting() && !ch.env.Active() && !ch.end.High() &&
		!ch.gate.High() && !(gate[0] > dsp.SchmittHigh) && level(gate, n) &&
		!ch.retrigger.High() && !(again[0] > dsp.SchmittHigh) && level(again, n)
}

// set takes the knobs over as they stand at frame i. Audio thread.
func (ch *adsrChannel) set(knobs *[5]*[BlockSize]float32, i int) {
	now := [5]float32{knobs[0][i], knobs[1][i], knobs[2][i], knobs[3][i], knobs[4][i]}
	if now == ch.shape {
		return
	}
	ch.shape = now
	ch.env.Set(float64(now[0]), float64(now[2]), 10*now[3], float64(now[4]))
	ch.env.SetHold(float64(now[1]))
}
