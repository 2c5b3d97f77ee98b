package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// jackParam is the word of a module that stands for a jack of the rig.
func jackParam() ParamSpec {
	return ParamSpec{Name: "jack", Doc: "jack of the rig; empty is the one that is named as the module is", Text: true, Free: true, Socket: true}
}

// channelParam chooses one channel of a polyphonic cable: a jack has one.
func channelParam() ParamSpec {
	return ParamSpec{Name: "channel", Doc: "which channel of a polyphonic cable goes out; a jack has one", Min: 1, Max: MaxPoly, Value: 1, Whole: true}
}

func cvOutSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "cv_out", Title: "CV Out", HP: 6, Plus12: 25, Minus12: 25,
		Doc: "A voltage on its way to other gear, through a jack of the rig: exact, at 1 V an octave or as the jack has it in the rig, and where it comes or goes never a step.",
		New: func() Processor { return &cvOut{} },
		Params: []ParamSpec{
			jackParam(),
			channelParam(),
			{Name: "scale", Doc: "share of in that goes out, upside down below 0", Min: -2, Max: 2, Value: 1},
			{Name: "offset", Doc: "is added to it", Unit: "V", Min: -10, Max: 10},
			{Name: "glide", Doc: "portamento: time to a new voltage, or of 1 V", Unit: "s", Min: 0, Max: 10},
			{Name: "glides", Doc: "time: every way takes the time of glide; rate: every volt does", Choices: []string{"time", "rate"}},
		},
		Inputs: []JackSpec{{Name: "in", Kind: CV, Poly: true, Doc: "what goes out; a channel that its cable has not holds what it was"}},
		Outputs: []JackSpec{
			{Name: "sent", Kind: CV, Doc: "what goes out"},
		},
	}
}

const (
	cvOutJack = iota
	cvOutChannel
	cvOutScale
	cvOutOffset
	cvOutGlide
	cvOutGlides
)

type cvOut struct {
	socket
	out   outlet
	rate  float64
	held  float32 // what in was last
	goal  float64 // where it goes
	now   float64 // where it is
	left  float64 // frames to there
	known bool    // it has been anywhere
}

func (m *cvOut) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	m.out.init(sampleRate)
	m.Reset()
}

// Socket tells it its jack.
func (m *cvOut) Socket(channels []int) { setAll(channels, &m.socket) }

// Reset forgets where it was. Audio thread.
func (m *cvOut) Reset() { m.held, m.known, m.left = 0, false, 0 }

// Process sends the voltage. Audio thread.
func (m *cvOut) Process(io *IO) {
	n, p := io.N, io.Params
	in := io.In[0].Channel(int(p[cvOutChannel][0]) - 1)
	rate := p[cvOutGlides][0] == 1
	sent := io.Out[0].Volts[0][:n]
	for i := range sent {
		if in != nil {
			m.held = dsp.Rail(in[i])
		}
		v := float64(m.held*p[cvOutScale][i] + p[cvOutOffset][i])
		m.glide(v, float64(p[cvOutGlide][i]), rate)
		sent[i] = dsp.Rail(float32(m.now))
	}
	io.Out[0].Held = 0
	m.out.add(io, m.get(), sent)
}

// glide moves one frame on the way to a voltage. Audio thread.
func (m *cvOut) glide(goal, seconds float64, rate bool) {
	frames := seconds * m.rate
	if !m.known {
		m.known, m.goal, m.now, m.left = true, goal, goal, 0
		return
	}
	if goal != m.goal {
		m.goal, m.left = goal, frames
	}
	d := m.goal - m.now
	if rate {
		if step := 1 / max(frames, 1e-9); d > step {
			m.now += step
			return
		} else if d < -step {
			m.now -= step
			return
		}
		m.now = m.goal
		return
	}
	if m.left = min(m.left, frames); m.left <= 1 {
		m.now, m.left = m.goal, 0
		return
	}
	m.now += d / m.left
	m.left--
}

func gateOutSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "gate_out", Title: "Gate Out", HP: 6, Plus12: 20, Minus12: 5,
		Doc: "A gate or trigger on its way to other gear, through a jack of the rig, a little after the pitch that it belongs to. Whatever ends, it is low: at a panic, at the end, and when it is taken out.",
		New: func() Processor { return &gateOut{} },
		Params: []ParamSpec{
			jackParam(),
			channelParam(),
			{Name: "mode", Doc: "gate: high while in is; trigger: high for length at each rise", Choices: []string{"gate", "trigger"}},
			{Name: "length", Doc: "of a trigger; a gate lasts no less", Unit: "ms", Min: 0.1, Max: 1000, Value: 1, Curve: Exponential},
			{Name: "delay", Doc: "after in, so that a pitch is there before its gate", Unit: "ms", Min: 0, Max: maxGateDelay * 1000, Value: 2},
			{Name: "gap", Doc: "how long it is low at least, so that gear sees one that begins anew; 0 joins them", Unit: "ms", Min: 0, Max: 20, Value: 1},
		},
		Inputs: []JackSpec{
			{Name: "in", Kind: Gate, Poly: true, Doc: "gate or trigger that goes out"},
			{Name: "retrigger", Kind: Trigger, Poly: true, Doc: "a gate that is high falls for the gap, and begins anew"},
		},
		Outputs: []JackSpec{
			{Name: "sent", Kind: Gate, Doc: "what goes out"},
		},
	}
}

const (
	gateOutJack = iota
	gateOutChannel
	gateOutMode
	gateOutLength
	gateOutDelay
	gateOutGap
)

// maxGateDelay is the longest delay of a Gate Out, in seconds.
const maxGateDelay = 0.1

// What the delay of a Gate Out holds of each frame.
const (
	delayHigh uint8 = 1 << iota // it is high
	delayRise                   // it begins, or begins anew
)

// gateOut is what in was some time ago, with every low at least as long as
// the gap and every high at least as long as the length.
type gateOut struct {
	socket
	rate      float64
	in, again dsp.SchmittTrigger
	line      []uint8 // what in was, by frame
	at        int
	calm      int  // frames since anything but a low came in
	high      bool // what goes out
	due       bool // a beginning is yet to be seen
	least     int  // frames for which it stays as it is
}

func (m *gateOut) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	m.line = make([]uint8, int(maxGateDelay*sampleRate)+2)
	m.Reset()
}

// Socket tells it its jack.
func (m *gateOut) Socket(channels []int) { setAll(channels, &m.socket) }

// Reset is low, and forgets what was on its way. Audio thread.
func (m *gateOut) Reset() {
	m.in.Reset()
	m.again.Reset()
	clear(m.line)
	m.high, m.due, m.least, m.calm = false, false, 0, 0
}

// frames returns a time in milliseconds in frames. Audio thread.
func (m *gateOut) frames(ms float32) int { return int(float64(ms)*m.rate*0.001 + 0.5) }

// Process sends the gate. Audio thread.
func (m *gateOut) Process(io *IO) {
	n, p := io.N, io.Params
	c := int(p[gateOutChannel][0]) - 1
	in, again := io.In[0].Channel(c), io.In[1].Channel(c)
	trigger := p[gateOutMode][0] == 1
	sent := io.Out[0].Volts[0][:n]
	if m.rests(io, in, again, c) {
		io.Out[0].rest(0)
		m.at = (m.at + n) % len(m.line)
		return
	}
	io.Out[0].Held = 0
	for i := range sent {
		delay := min(m.frames(p[gateOutDelay][i]), len(m.line)-1)
		m.line[m.at] = m.take(in, again, i)
		if m.line[m.at] != 0 {
			m.calm = 0
		} else {
			m.calm++
		}
		k := m.at - delay
		if k < 0 {
			k += len(m.line)
		}
		if m.at++; m.at == len(m.line) {
			m.at = 0
		}
		sent[i] = 0
		// Low at once where the instrument ends, or the module leaves.
		if m.next(m.line[k], trigger, m.frames(p[gateOutLength][i]), m.frames(p[gateOutGap][i])); m.high && io.Live {
			sent[i] = GateVolts
		}
	}
	if at := m.get(); at >= 0 && at < len(io.Device) {
		d := io.Device[at]
		for i, v := range sent {
			d[i] += v
		}
	}
}

// rests tells whether nothing comes in, and nothing is on its way. Audio thread.
func (m *gateOut) rests(io *IO, in, again *[BlockSize]float32, c int) bool {
	low := func(k int, s *dsp.SchmittTrigger, b *[BlockSize]float32) bool {
		return !s.High() && (b == nil || io.In[k].held(c) && !crosses(s, b[0]))
	}
	return !m.high && !m.due && m.least == 0 && m.calm >= len(m.line) && low(0, &m.in, in) && low(1, &m.again, again)
}

// take reads what comes in at frame i. Audio thread.
func (m *gateOut) take(in, again *[BlockSize]float32, i int) (what uint8) {
	v, w := float32(0), float32(0) // a channel that the cable has not is low
	if in != nil {
		v = in[i]
	}
	if again != nil {
		w = again[i]
	}
	rise := m.in.Next(v)
	if m.again.Next(w) && m.in.High() {
		rise = true
	}
	if m.in.High() {
		what = delayHigh
	}
	if rise {
		what |= delayRise
	}
	return what
}

// next moves the state on by one frame. Audio thread.
func (m *gateOut) next(what uint8, trigger bool, length, gap int) {
	m.due = m.due || what&delayRise != 0
	switch {
	case m.high && m.due && gap > 0:
		// Gear must see that it begins anew.
		m.high, m.least = false, gap
	case m.due && (m.high || m.least == 0):
		m.high, m.due, m.least = true, false, max(length, 1)
	case m.least == 0 && m.high && (trigger || what&delayHigh == 0):
		m.high, m.least = false, gap
	}
	if m.least > 0 {
		m.least--
	}
}

func cvInSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "cv_in", Title: "CV In", HP: 8, Plus12: 25, Minus12: 20,
		Doc:      "A voltage of other gear as a player: from a jack of the rig, as it is, smoothed, in whole steps, and as a gate. With a jack of the patch as its socket, a cable that is sensed there is one of the patch.",
		Captures: true,
		New:      func() Processor { return &cvIn{} },
		Params: []ParamSpec{
			jackParam(),
			{Name: "scale", Doc: "share of the voltage that is put out, upside down below 0", Min: -2, Max: 2, Value: 1},
			{Name: "offset", Doc: "is added to it", Unit: "V", Min: -10, Max: 10},
			{Name: "smooth", Doc: "time of a jump up to its last hundredth: takes hum and noise away", Unit: "ms", Min: 0, Max: 1000, Value: 1},
			{Name: "step", Doc: "what steps goes by", Unit: "V", Min: 0.01, Max: 5, Value: 1},
			{Name: "hysteresis", Doc: "how far over the middle between two steps it must be for the next, so that noise does not turn it to and fro", Unit: "V", Min: 0, Max: 1, Value: 0.15},
			{Name: "socket", Doc: "input of the patch, as kind/name/jack, that the jack is: a cable that is sensed in it is plugged in there", Text: true, Free: true, Ref: true},
		},
		Outputs: []JackSpec{
			{Name: "out", Kind: CV, Doc: "the voltage"},
			{Name: "steps", Kind: CV, Doc: "the nearest step: for whole numbers such as replicas"},
			{Name: "gate", Kind: Gate, Doc: "high from when the jack is above 1 V to when it is below 0.1 V"},
			{Name: "trigger", Kind: Trigger, Doc: "each time that gate rises"},
		},
	}
}

const (
	cvInJack = iota
	cvInScale
	cvInOffset
	cvInSmooth
	cvInStep
	cvInHysteresis
)

const (
	cvInOut = iota
	cvInSteps
	cvInGate
	cvInTrigger
)

// cvInLast is what is left of a jump at the end of its time.
const cvInLast = 0.01

type cvIn struct {
	socket
	in      inlet
	rate    float64
	smooth  float32 // of which share was worked out
	share   float64 // of the way that it goes in a frame
	now     float64
	step    float32
	steps   float32 // the step that it is on
	gate    dsp.SchmittTrigger
	trigger pulser
}

func (m *cvIn) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	m.in.init(sampleRate)
	m.trigger.Init(sampleRate)
	m.smooth, m.share = 0, 1
	m.Reset()
}

// Socket tells it its jack.
func (m *cvIn) Socket(channels []int) { setAll(channels, &m.socket) }

// Reset is low and at 0 V. Audio thread.
func (m *cvIn) Reset() {
	m.now, m.steps, m.step = 0, 0, 0
	m.gate.Reset()
	m.trigger.Reset()
}

// Process reads the jack. Audio thread.
func (m *cvIn) Process(io *IO) {
	n, p := io.N, io.Params
	var raw [BlockSize]float32
	m.in.read(io, m.get(), raw[:n])
	out, steps, gate := &io.Out[cvInOut].Volts[0], &io.Out[cvInSteps].Volts[0], &io.Out[cvInGate].Volts[0]
	for _, o := range io.Out[:cvInTrigger] {
		o.Held = 0
	}
	for i, x := range raw[:n] {
		if s := p[cvInSmooth][i]; s != m.smooth {
			if m.smooth, m.share = s, 1; s > 0 {
				m.share = -math.Expm1(math.Log(cvInLast) / (float64(s) * 0.001 * m.rate))
			}
		}
		if m.gate.Next(x) {
			m.trigger.fire(io.Out[cvInTrigger], 0, i)
		}
		if gate[i] = 0; m.gate.High() {
			gate[i] = GateVolts
		}
		m.now += (float64(x) - m.now) * m.share
		v := dsp.Rail(float32(m.now)*p[cvInScale][i] + p[cvInOffset][i])
		out[i] = v
		d := v - m.steps
		if s := p[cvInStep][i]; s != m.step || d > s*0.5+p[cvInHysteresis][i] || -d > s*0.5+p[cvInHysteresis][i] {
			m.step, m.steps = s, s*float32(math.Round(float64(v/s)))
		}
		steps[i] = m.steps
	}
	m.trigger.finish(io.Out[cvInTrigger], 0, n)
}

func audioInSpec() *ModuleSpec {
	jack := jackParam()
	jack.Doc = "jacks of the rig, left and right, or one for both; empty is the one that is named as the module is"
	return &ModuleSpec{
		Kind: "audio_in", Title: "Audio In", HP: 6, Plus12: 25, Minus12: 25,
		Doc:      "The sound of other gear, from one or two jacks of the rig.",
		Captures: true,
		New:      func() Processor { return &audioIn{} },
		Params: []ParamSpec{
			jack,
			{Name: "gain", Doc: "gain; −60 is off", Unit: "dB", Min: -60, Max: 24, Value: 0, PerVolt: 6},
			{Name: "dc_block", Doc: "takes away what does not swing", Choices: switchWords, Value: 1},
		},
		Outputs: []JackSpec{
			{Name: "left", Kind: Audio, Doc: "the left jack"},
			{Name: "right", Kind: Audio, Doc: "the right jack, or the left where there is one alone"},
		},
	}
}

const (
	audioInJack = iota
	audioInGain
	audioInBlock
)

type audioIn struct {
	sockets [2]socket
	in      [2]inlet
	dc      [2]dsp.DCBlocker
	block   dsp.Ramp // share of what the blocker takes away, 0…1
	gain    decibels
}

func (m *audioIn) Init(sampleRate float64, seed uint64) {
	for side := range m.in {
		m.in[side].init(sampleRate)
		m.dc[side].Init(sampleRate)
	}
	m.block.Init(sampleRate)
	m.block.Jump(1)
}

// Socket tells it its jacks.
func (m *audioIn) Socket(channels []int) {
	if len(channels) == 1 {
		channels = []int{channels[0], channels[0]}
	}
	setAll(channels, &m.sockets[0], &m.sockets[1])
}

// Reset forgets the past. Audio thread.
func (m *audioIn) Reset() {
	for side := range m.dc {
		m.dc[side].Reset()
	}
}

// Process reads the jacks. Audio thread.
func (m *audioIn) Process(io *IO) {
	n := io.N
	var dry [2][BlockSize]float32
	left, right := io.Out[0].Volts[0][:n], io.Out[1].Volts[0][:n]
	m.in[0].read(io, m.sockets[0].get(), left)
	m.in[1].read(io, m.sockets[1].get(), right)
	copy(dry[0][:n], left)
	copy(dry[1][:n], right)
	dsp.ProcessPair(&m.dc[0], &m.dc[1], left, right)
	m.block.Set(io.Params[audioInBlock][0])
	io.Out[0].Held, io.Out[1].Held = 0, 0
	for i := range n {
		g, s := m.gain.linear(io.Params[audioInGain][i]), m.block.Next()
		left[i] = dsp.Rail((dry[0][i] + s*(left[i]-dry[0][i])) * g)
		right[i] = dsp.Rail((dry[1][i] + s*(right[i]-dry[1][i])) * g)
	}
}
