package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// lfoRatios are the cycles of an LFO to a clock, as the positions of its
// switch have them.
var lfoRatios = []struct{ cycles, clocks int64 }{
	{1, 32}, {1, 16}, {1, 12}, {1, 8}, {1, 6}, {1, 4}, {1, 3}, {1, 2}, {2, 3}, {3, 4},
	{1, 1}, {4, 3}, {3, 2}, {2, 1}, {3, 1}, {4, 1}, {6, 1}, {8, 1}, {12, 1}, {16, 1},
}

var lfoRatioWords = []string{
	"1/32", "1/16", "1/12", "1/8", "1/6", "1/4", "1/3", "1/2", "2/3", "3/4",
	"1", "4/3", "3/2", "2", "3", "4", "6", "8", "12", "16",
}

func lfoSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "lfo", Title: "LFO", HP: 10, Plus12: 40, Minus12: 30,
		Doc: "A slow oscillator with six shapes at once, which follows a clock that is plugged in.",
		New: func() Processor { return &lfo{} },
		Params: []ParamSpec{
			{Name: "rate", Doc: "cycles a second with no clock plugged in", Unit: "Hz", Min: 0.005, Max: 100, Value: 1, Curve: Exponential, PerVolt: 1, PolyCV: true},
			{Name: "ratio", Doc: "cycles to a clock", Choices: lfoRatioWords, Value: 10},
			{Name: "width", Doc: "share of the cycle in which the square is high and the triangle rises", Min: 0.01, Max: 0.99, Value: 0.5, PerVolt: 0.1, PolyCV: true},
			{Name: "phase", Doc: "how far into its cycle it is when reset or in step with a clock", Unit: "cycles", Min: 0, Max: 1},
			{Name: "polarity", Doc: "bipolar is ±5 V, unipolar 0…10 V", Choices: []string{"bipolar", "unipolar"}},
		},
		Inputs: []JackSpec{
			{Name: "reset", Kind: Trigger, Poly: true, Button: true, Doc: "starts the cycle again"},
			{Name: "clock", Kind: Trigger, Doc: "a clock to follow: its period is measured, and the cycle stays in step with it"},
		},
		Outputs: []JackSpec{
			{Name: "sine", Kind: CV, Doc: "sine"},
			{Name: "triangle", Kind: CV, Doc: "triangle, a falling or rising saw at the ends of width"},
			{Name: "saw", Kind: CV, Doc: "rising saw"},
			{Name: "square", Kind: CV, Doc: "square, high first"},
			{Name: "random", Kind: CV, Doc: "another voltage each cycle"},
			{Name: "smooth", Kind: CV, Doc: "glides to another voltage each cycle"},
		},
	}
}

const (
	lfoRate = iota
	lfoRatio
	lfoWidth
	lfoPhase
	lfoPolarity
)

const (
	lfoReset = iota
	lfoClock
	lfoRateCV
	lfoWidthCV
)

type lfo struct {
	rate     float64
	clock    dsp.SchmittTrigger
	channels [MaxPoly]lfoChannel
}

// lfoChannel counts cycles in a phase that does not wrap with the knob, so that
// turning phase only moves what is heard.
type lfoChannel struct {
	phase    float64 // 0…1
	reset    dsp.SchmittTrigger
	noise    dsp.Noise
	from, to float32 // ±1: random voltages of this cycle and the next

	// Of the clock.
	since  int64 // frames since its last edge; less than 0 before the first
	last   int64 // frames between the two edges before
	edges  int64 // since the reset
	step   float64
	locked bool  // the period is known
	reckon bool  // edges count from a reset, or from the first period that was known
	fresh  int64 // frames for which an edge counts as that of the reset
}

// lfoFastest is the most of a cycle in a frame, which only a clock at audio rate
// asks for.
const lfoFastest = 0.5

// lfoStopped is how many periods without an edge mean that the clock stood
// still, and not that it became so slow.
const lfoStopped = 2.5

// lfoDeaf is how long after a reset an edge of the clock is that of the reset.
const lfoDeaf = 0.001

func (m *lfo) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	for c := range m.channels {
		ch := &m.channels[c]
		ch.noise.Init(sampleRate)
		ch.noise.Seed(seed + uint64(c)*0x9e3779b97f4a7c15)
	}
	m.Reset()
}

// Reset starts every cycle and every sequence again. Audio thread.
func (m *lfo) Reset() {
	m.clock.Reset()
	for c := range m.channels {
		ch := &m.channels[c]
		ch.phase, ch.since, ch.edges, ch.locked, ch.reckon, ch.fresh = 0, -1, 0, false, false, 0
		ch.reset.Reset()
		ch.noise.Reset()
		ch.from, ch.to = ch.noise.White()*(1.0/AudioVolts), ch.noise.White()*(1.0/AudioVolts)
	}
}

// Process renders the shapes that are wanted. Audio thread.
func (m *lfo) Process(io *IO) {
	channels := widest(io.In[lfoReset], io.In[lfoRateCV], io.In[lfoWidthCV])
	for k, o := range io.Out {
		if io.Wanted&(1<<k) == 0 {
			o.silence(channels)
			continue
		}
		o.Channels, o.Held = channels, 0
	}
	var edges [BlockSize]bool
	clocked := io.Patched&(1<<lfoClock) != 0
	if clocked {
		for i, v := range io.In[lfoClock].Volts[0][:io.N] {
			edges[i] = m.clock.Next(v)
		}
	}
	for c := range channels {
		m.channel(io, c, clocked, &edges)
	}
}

// channel renders one channel. Audio thread.
func (m *lfo) channel(io *IO, c int, clocked bool, edges *[BlockSize]bool) {
	ch, n := &m.channels[c], io.N
	var rateBuf, widthBuf, phases, randoms, smooths [BlockSize]float32
	rate, width := io.Knob(lfoRate, c, &rateBuf), io.Knob(lfoWidth, c, &widthBuf)
	reset, _ := io.In[lfoReset].read(c)
	ratio := lfoRatios[int(io.Params[lfoRatio][0])]
	offset := io.Params[lfoPhase]
	perFrame := 1 / m.rate
	if !clocked {
		ch.since, ch.locked, ch.reckon = -1, false, false
	}
	for i := range n {
		if ch.reset.Next(reset[i]) {
			ch.start(int64(lfoDeaf * m.rate))
		} else {
			d := float64(min(max(rate[i], 0), 1000)) * perFrame // far below a cycle
			if ch.locked {
				d = ch.step
			} else if ch.reckon && clocked {
				d = 0 // it waits where the reset has put it until it knows the period
			}
			if ch.phase += d; ch.phase >= 1 {
				ch.phase--
				ch.from, ch.to = ch.to, ch.noise.White()*(1.0/AudioVolts)
			}
		}
		if clocked {
			ch.follow(edges[i], ratio.cycles, ratio.clocks)
		}
		p := ch.phase + float64(offset[i])
		if p >= 1 {
			p--
		}
		phases[i] = float32(p)
		x := float32(ch.phase)
		randoms[i] = ch.from
		smooths[i] = ch.from + (ch.to-ch.from)*x*x*(3-2*x)
	}
	lift := float32(0)
	if io.Params[lfoPolarity][0] == 1 {
		lift = AudioVolts
	}
	for k, o := range io.Out {
		if io.Wanted&(1<<k) == 0 {
			continue
		}
		b := &o.Volts[c]
		switch k {
		case 0:
			for i, p := range phases[:n] {
				b[i] = lift + AudioVolts*dsp.SineCycles(p)
			}
		case 1:
			for i, p := range phases[:n] {
				w := lfoWide(width[i])
				v := p / w
				if p >= w {
					v = (1 - p) / (1 - w)
				}
				b[i] = lift + AudioVolts*(2*v-1)
			}
		case 2:
			for i, p := range phases[:n] {
				b[i] = lift + AudioVolts*(2*p-1)
			}
		case 3:
			for i, p := range phases[:n] {
				b[i] = lift - AudioVolts
				if p < lfoWide(width[i]) {
					b[i] = lift + AudioVolts
				}
			}
		case 4:
			for i, v := range randoms[:n] {
				b[i] = lift + AudioVolts*v
			}
		case 5:
			for i, v := range smooths[:n] {
				b[i] = lift + AudioVolts*v
			}
		}
	}
}

// lfoWide bounds a width, which may be NaN. Audio thread.
func lfoWide(w float32) float32 {
	if !(w > 0.01) {
		return 0.01
	}
	return min(w, 0.99)
}

// start begins the cycle, and the count of the clock's edges, again.
// Audio thread.
func (ch *lfoChannel) start(deaf int64) {
	ch.phase, ch.edges, ch.fresh, ch.reckon = 0, 0, deaf, true
	ch.from, ch.to = ch.to, ch.noise.White()*(1.0/AudioVolts)
}

// follow takes one frame of the clock. At each edge the cycle should stand at
// edges·ratio; what it lacks of that is made up over the next period, without
// a jump, by at most half the speed. Audio thread.
func (ch *lfoChannel) follow(edge bool, cycles, clocks int64) {
	if ch.fresh > 0 {
		ch.fresh--
	}
	if ch.since >= 0 {
		ch.since++
	}
	if !edge {
		return
	}
	period := ch.since
	ch.since = 0
	if ch.fresh > 0 {
		ch.fresh = 0 // the edge that came with the reset is its first
	} else if period >= 0 {
		ch.edges++
	}
	if period <= 0 {
		return
	}
	last := ch.last
	ch.last = period
	if ch.locked && float64(period) > lfoStopped*float64(last) {
		period = last // it stood still, and will mostly go on as before
	}
	speed := float64(cycles) / float64(clocks)
	if !ch.reckon {
		ch.edges, ch.reckon = int64(math.Round(ch.phase/speed)), true // as near as it is
	}
	target := float64(ch.edges*cycles%clocks) / float64(clocks)
	miss := target - ch.phase
	miss -= math.Round(miss)
	ch.step = min((speed+min(max(miss, -speed/2), speed/2))/float64(period), lfoFastest)
	ch.locked = true
}
