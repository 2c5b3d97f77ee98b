package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

func slewSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "slew", Title: "Slew", HP: 8, Plus12: 25, Minus12: 20,
		Doc: "Lets a voltage rise and fall no faster than in its times: those of a jump of 10 V, up to its last hundredth of a volt. Each channel has its own.",
		New: func() Processor { return &slew{} },
		Params: []ParamSpec{
			{Name: "rise", Doc: "time of a rise of 10 V", Unit: "s", Min: 0.0001, Max: 20, Value: 0.05, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "fall", Doc: "time of a fall of 10 V", Unit: "s", Min: 0.0001, Max: 20, Value: 0.05, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "shape", Doc: "0 is a straight line, 1 exponential, fast first", Min: 0, Max: 1},
		},
		Inputs: []JackSpec{{Name: "in", Kind: CV, Poly: true, Doc: "what is slowed down"}},
		Outputs: []JackSpec{
			{Name: "out", Kind: CV, Doc: "in, on its way"},
			{Name: "rising", Kind: Gate, Doc: "high while out is on its way up"},
			{Name: "falling", Kind: Gate, Doc: "high while out is on its way down"},
		},
		Through: [][2]string{{"in", "out"}},
	}
}

const (
	slewRise = iota
	slewFall
	slewShape
)

type slew struct {
	perFrame float64
	value    [MaxPoly]float64 // a step of a slow way is lost in the last bits of a float32
	shape    float32
	straight float64 // speed of a jump of 10 V in one second, in volts a second
	bent     float64 // what each volt of distance adds to it
}

const (
	// slewNear is the last of a way, in volts: there its time is over, and
	// within a tenth of it the gates fall.
	slewNear = 0.01
	slewDone = 0.001
	// slewEnd, in volts, is where an exponential way ends.
	slewEnd = 2e-5
)

func (m *slew) Init(sampleRate float64, seed uint64) {
	m.perFrame = 1 / sampleRate
	m.shape = -1
}

// Reset returns to 0 V. Audio thread.
func (m *slew) Reset() { m.value = [MaxPoly]float64{} }

// bend works out the speeds of a shape. The speed is a + b·d volts a second at
// a distance of d; from 10 V to slewNear that takes
// ln((a+10·b)/(a+slewNear·b))/b, which is scaled to one second. Audio thread.
func (m *slew) bend(shape float32) {
	m.shape = shape
	s := float64(min(max(shape, 0), 1))
	if !(s > 0) {
		m.straight, m.bent = 10-slewNear, 0
		return
	}
	const l = 6.907755278982137 // ln 1000
	a, b := 10*(1-s), l*s
	t := math.Log((a+10*b)/(a+slewNear*b)) / b
	m.straight, m.bent = a*t, b*t
}

// slewStep is how far it goes in one frame at a distance, by the trapezoidal
// rule. Audio thread.
func slewStep(a, b, distance, seconds, frame float64) float64 {
	return (a + b*distance) * frame / (seconds + 0.5*b*frame)
}

// Process renders the way. Audio thread.
func (m *slew) Process(io *IO) {
	in := io.In[0]
	channels := widest(in, io.In[1], io.In[2])
	for _, o := range io.Out {
		o.Channels = channels
	}
	var a, b [BlockSize]float64
	for i, s := range io.Params[slewShape][:io.N] {
		if s != m.shape {
			m.bend(s)
		}
		a[i], b[i] = m.straight, m.bent
	}
	for c := range channels {
		m.channel(io, c, &a, &b)
	}
}

// channel renders one channel. Audio thread.
func (m *slew) channel(io *IO, c int, a, b *[BlockSize]float64) {
	n, v, T := io.N, m.value[c], m.perFrame
	out, rising, falling := &io.Out[0].Volts[c], &io.Out[1].Volts[c], &io.Out[2].Volts[c]
	for _, o := range io.Out {
		o.Held &^= 1 << c
	}
	in, _ := io.In[0].read(c)
	var riseBuf, fallBuf [BlockSize]float32
	rise, fall := io.Knob(slewRise, c, &riseBuf), io.Knob(slewFall, c, &fallBuf)
	for i := range n {
		x := float64(dsp.Rail(in[i]))
		d := x - v
		up, down := float32(0), float32(0)
		if d > 0 {
			if k := slewStep(a[i], b[i], d, float64(rise[i]), T); !(k < d-slewEnd) {
				v = x
			} else if v += k; x-v > slewDone {
				up = GateVolts
			}
		} else if d < 0 {
			if k := slewStep(a[i], b[i], -d, float64(fall[i]), T); !(k < -d-slewEnd) {
				v = x
			} else if v -= k; v-x > slewDone {
				down = GateVolts
			}
		}
		out[i], rising[i], falling[i] = float32(v), up, down
	}
	m.value[c] = v
}
