package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

func vcoSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "vco", Title: "VCO", HP: 12, Plus12: 85, Minus12: 60,
		Doc: "An oscillator with four shapes at once, hard sync, exponential and linear FM; each channel of a polyphonic cable has its own.",
		New: func() Processor { return &vco{} },
		Params: []ParamSpec{
			{Name: "tune", Doc: "pitch with nothing plugged in; 0 is C4", Unit: "semitones", Min: -60, Max: 60, Whole: true},
			{Name: "fine", Doc: "fine tuning", Unit: "cents", Min: -100, Max: 100},
			{Name: "width", Doc: "share of the cycle in which the pulse is high", Min: 0.01, Max: 0.99, Value: 0.5, PerVolt: 0.1, PolyCV: true},
			{Name: "fm_exp", Doc: "octaves that a volt of fm adds", Unit: "octaves", Min: -1, Max: 1},
			{Name: "fm_lin", Doc: "share of the pitch that a volt of fm adds, through zero: below it the wave runs backwards", Min: -1, Max: 1},
		},
		Inputs: []JackSpec{
			{Name: "pitch", Kind: Pitch, Poly: true, Doc: "adds to tune"},
			{Name: "fm", Kind: Audio, Poly: true, Doc: "modulates the frequency by fm_exp and fm_lin"},
			{Name: "sync", Kind: Audio, Poly: true, Doc: "restarts the cycle where it rises through 0 V"},
		},
		Outputs: []JackSpec{
			{Name: "saw", Kind: Audio, Doc: "rising saw"},
			{Name: "pulse", Kind: Audio, Doc: "pulse, a square at a width of 0.5"},
			{Name: "triangle", Kind: Audio, Doc: "triangle"},
			{Name: "sine", Kind: Audio, Doc: "sine"},
		},
	}
}

const (
	vcoTune = iota
	vcoFine
	vcoWidth
	vcoFMExp
	vcoFMLin
)

const (
	vcoPitch = iota
	vcoFM
	vcoSync
	vcoWidthCV
)

type vco struct {
	channels [MaxPoly]vcoChannel
}

type vcoChannel struct {
	osc   dsp.VCO
	sync  dsp.Crossing
	quiet int // frames for which the sync input has been 0 V
}

func (m *vco) Init(sampleRate float64, seed uint64) {
	for c := range m.channels {
		m.channels[c].osc.Init(sampleRate)
	}
}

// Reset starts every cycle again. Audio thread.
func (m *vco) Reset() {
	for c := range m.channels {
		m.channels[c].osc.Reset()
		m.channels[c].sync.Reset()
		m.channels[c].quiet = 0
	}
}

// widest is the highest number of channels of some signals. Audio thread.
func widest(signals ...*Signal) int {
	n := 1
	for _, s := range signals {
		n = max(n, s.Channels)
	}
	return n
}

// silence makes an output 0 V on a number of channels. Audio thread.
func (s *Signal) silence(channels int) {
	s.Channels = channels
	for c := range channels {
		s.rest(c)
	}
}

// Process renders the shapes that are wanted. Audio thread.
func (m *vco) Process(io *IO) {
	pitch, fm, sync := io.In[vcoPitch], io.In[vcoFM], io.In[vcoSync]
	channels := widest(pitch, fm, sync, io.In[vcoWidthCV])
	for k, o := range io.Out {
		if io.Wanted&(1<<k) == 0 {
			o.silence(channels)
			continue
		}
		o.Channels, o.Held = channels, 0
	}
	if io.Wanted == 0 {
		return
	}
	var outs [dsp.VCOOutputs]*[BlockSize]float32
	for c := range channels {
		for k, o := range io.Out {
			if io.Wanted&(1<<k) != 0 {
				outs[k] = &o.Volts[c]
			}
		}
		m.channel(io, c, &outs)
	}
}

// channel renders one channel. Audio thread.
func (m *vco) channel(io *IO, c int, outs *[dsp.VCOOutputs]*[BlockSize]float32) {
	ch := &m.channels[c]
	var inc [BlockSize]int32
	var width [BlockSize]uint32
	var ago, buf [BlockSize]float32
	m.increments(io, c, &inc)
	if outs[dsp.Pulse] != nil {
		if w := io.Knob(vcoWidth, c, &buf); level(w, io.N) {
			v := dsp.PulseWidth(w[0])
			for i := range io.N {
				width[i] = v
			}
		} else {
			for i := range io.N {
				width[i] = dsp.PulseWidth(w[i])
			}
		}
	}
	var restarts *[BlockSize]float32
	sync, _ := io.In[vcoSync].read(c)
	if ch.restarts(sync, io.N, &ago) {
		restarts = &ago
	}
	ch.osc.Process(outs, io.N, &inc, &width, restarts)
}

// level tells whether n frames are all the same voltage. Audio thread.
func level(b *[BlockSize]float32, n int) bool {
	v := b[0]
	for _, x := range b[1:n] {
		if x != v {
			return false
		}
	}
	return true
}

// increments works out how far the phase of channel c moves in each frame.
// Audio thread.
func (m *vco) increments(io *IO, c int, inc *[BlockSize]int32) {
	n, osc := io.N, &m.channels[c].osc
	tune, fine, exp, lin := io.Params[vcoTune], io.Params[vcoFine], io.Params[vcoFMExp], io.Params[vcoFMLin]
	pitch, fm := io.In[vcoPitch].Channel(c), io.In[vcoFM].Channel(c)
	if fm != nil && level(fm, n) && fm[0] == 0 {
		fm = nil
	}
	bends := fm != nil && !(exp[0] == 0 && level(exp, n))
	shifts := fm != nil && !(lin[0] == 0 && level(lin, n))
	if !bends && !shifts && (pitch == nil || level(pitch, n)) && level(tune, n) && level(fine, n) {
		v := tune[0]*(1.0/12) + fine[0]*(1.0/1200)
		if pitch != nil {
			v += dsp.Rail(pitch[0])
		}
		d := osc.Increment(dsp.VoltsToHertz(v))
		for i := range n {
			inc[i] = d
		}
		return
	}
	for i := range n {
		v := tune[i]*(1.0/12) + fine[i]*(1.0/1200)
		if pitch != nil {
			v += dsp.Rail(pitch[i])
		}
		if bends {
			v += exp[i] * dsp.Rail(fm[i])
		}
		hertz := dsp.VoltsToHertz(v)
		if shifts {
			hertz += hertz * (lin[i] * dsp.Rail(fm[i]))
		}
		inc[i] = osc.Increment(hertz)
	}
}

// restarts finds where the sync input rises through 0 V, as frames (0…1)
// before each frame, −1 where it does not; it tells whether it does at all.
// Audio thread.
func (ch *vcoChannel) restarts(sync *[BlockSize]float32, n int, ago *[BlockSize]float32) bool {
	if sync[0] == 0 && level(sync, n) {
		if ch.quiet > 2*dsp.CrossingLatency {
			return false // nothing is on its way
		}
		ch.quiet += n
	} else {
		ch.quiet = 0
	}
	return ch.sync.Process(ago, sync, n)
}
