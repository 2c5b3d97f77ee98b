package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

// delayDivisions are the times of a clocked delay in quarter notes; t is a
// triplet, d is dotted.
var delayDivisions = []struct {
	name  string
	beats float64
}{
	{"1/32", 0.125}, {"1/16t", 1.0 / 6}, {"1/16", 0.25}, {"1/16d", 0.375}, {"1/8t", 1.0 / 3}, {"1/8", 0.5}, {"1/8d", 0.75},
	{"1/4t", 2.0 / 3}, {"1/4", 1}, {"1/4d", 1.5}, {"1/2t", 4.0 / 3}, {"1/2", 2}, {"1/2d", 3}, {"bar", 4},
}

func delayNames() (names []string) {
	for _, d := range delayDivisions {
		names = append(names, d.name)
	}
	return names
}

// delayLongest is the longest delay in seconds; a division that is longer is
// halved until it fits.
const delayLongest = 10

func delayUnitSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "delay", Title: "Delay", HP: 12, Plus12: 90, Minus12: 25, Tail: TailMemory,
		Doc: "A stereo echo, by its knob or in time with a clock, whose loop filters, saturates, and sings beyond full feedback.",
		New: func() Processor { return &delay{} },
		Params: []ParamSpec{
			{Name: "time", Doc: "of an echo, with no cable in clock", Unit: "s", Min: 0.001, Max: 5, Value: 0.4, Curve: Exponential, PerVolt: 1},
			{Name: "division", Doc: "of an echo, with a clock; t is a triplet, d dotted, a bar has four beats", Choices: delayNames(), Value: 6},
			{Name: "ppqn", Doc: "pulses a beat of the clock", Choices: ppqnWords},
			{Name: "change", Doc: "how it comes to another time: glides with a bend in pitch, as a tape does, or fades without", Choices: []string{"glide", "fade"}},
			{Name: "feedback", Doc: "share of the echo that comes back; from 1 on it sings by itself", Min: 0, Max: 1.1, Value: 0.4, PerVolt: 0.11},
			{Name: "tone", Doc: "what each echo loses: −1 all but the lows, 1 all but the highs", Min: -1, Max: 1, Value: -0.2, PerVolt: 0.2},
			{Name: "spread", Doc: "share of each side that comes back on the other; at 1 the echoes go from left to right and back", Min: 0, Max: 1, Value: 0, PerVolt: 0.1},
			{Name: "mix", Doc: "share of the echoes in what comes out", Min: 0, Max: 1, Value: 0.4, PerVolt: 0.1},
		},
		Inputs: []JackSpec{
			{Name: "in_left", Kind: Audio, Doc: "left; alone, both sides"},
			{Name: "in_right", Kind: Audio, Follows: "in_left", Doc: "right"},
			{Name: "clock", Kind: Trigger, Doc: "a clock whose division is the time; when it stops, the time stays"},
		},
		Outputs: []JackSpec{{Name: "left", Kind: Audio, Doc: "left"}, {Name: "right", Kind: Audio, Doc: "right"}},
		Through: [][2]string{{"in_left", "left"}, {"in_right", "right"}},
	}
}

const (
	delayTime = iota
	delayDivision
	delayPPQN
	delayChange
	delayFeedback
	delayTone
	delaySpread
	delayMix
)

type delay struct {
	rate  float64
	echo  dsp.Delay
	clock dsp.SchmittTrigger
	tempo dsp.Tempo
	held  float64 // the clock's time, in seconds
}

// delayDrift is by which share a clock that jitters must change for the echoes
// to follow: else their pitch would never rest.
const delayDrift = 0.003

func (m *delay) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	m.echo.Init(sampleRate)
	m.tempo.Init(sampleRate)
}

// Reset silences the echoes. Audio thread.
func (m *delay) Reset() {
	m.echo.Reset()
	m.clock.Reset()
	m.tempo.Reset()
	m.held = 0
}

// seconds is the time that knob or clock ask for, at frame i. Audio thread.
func (m *delay) seconds(io *IO, i int) float64 {
	period := m.tempo.Period()
	if io.Patched&4 == 0 || period == 0 {
		return float64(io.Params[delayTime][i])
	}
	s := delayDivisions[int(io.Params[delayDivision][0])].beats * period * float64(ppqns[int(io.Params[delayPPQN][0])]) / m.rate
	for s > delayLongest {
		s /= 2
	}
	if d := s/m.held - 1; !m.tempo.Even() && d > -delayDrift && d < delayDrift {
		return m.held
	}
	m.held = s
	return s
}

// Process renders the echoes. Audio thread.
func (m *delay) Process(io *IO) {
	left, right, clock := io.In[0], io.In[1], io.In[2]
	clocked := io.Patched&4 != 0
	if !clocked && m.tempo.Period() > 0 {
		m.tempo.Reset()
	}
	outL, outR := io.Out[0], io.Out[1]
	quiet := left.silent() && right.silent() && m.echo.Silent()
	m.tempo.SetMemory(4 * ppqns[int(io.Params[delayPPQN][0])])
	m.echo.SetFades(io.Params[delayChange][0] == 1)
	feedback, spread, mix := io.Params[delayFeedback], io.Params[delaySpread], io.Params[delayMix]
	if !quiet {
		outL.Held, outR.Held = 0, 0
	}
	l, r, ol, or := &left.Volts[0], &right.Volts[0], &outL.Volts[0], &outR.Volts[0]
	for i := range io.N {
		if clocked {
			m.tempo.Next(m.clock.Next(clock.Volts[0][i]))
		}
		if (io.Frame+int64(i))%controlFrames == 0 {
			m.echo.SetSeconds(m.seconds(io, i))
			m.echo.SetTone(io.Params[delayTone][i])
		}
		if quiet {
			m.echo.Rest(1)
			continue
		}
		a, b := m.echo.Next(l[i], r[i], feedback[i], spread[i])
		x, y, g := dsp.Rail(l[i]), dsp.Rail(r[i]), mix[i]
		ol[i] = dsp.Rail(x + g*(a-x))
		or[i] = dsp.Rail(y + g*(b-y))
	}
	if quiet {
		outL.rest(0)
		outR.rest(0)
	}
}
