package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

func clockSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "clock", Title: "Clock", HP: 12, Plus12: 30, Minus12: 5,
		Doc: "The transport: beats, their divisions and multiples, all from one phase, its own or that of a clock that is plugged in.",
		New: func() Processor { return &clock{} },
		Params: []ParamSpec{
			{Name: "tempo", Doc: "beats a minute", Unit: "BPM", Min: 10, Max: 300, Value: 90, PerVolt: 10},
			{Name: "run", Doc: "whether it runs", Choices: []string{"stop", "run"}, Value: 1},
			{Name: "beats", Doc: "beats to a bar", Min: 1, Max: 16, Value: 4, Whole: true},
			{Name: "width", Doc: "share of a beat for which the gate is high", Min: 0.05, Max: 0.95, Value: 0.5},
			{Name: "swing", Doc: "where in a pair the second of the two falls: 0.5 is straight, 0.667 is triplets", Min: 0.5, Max: 0.75, Value: 0.5, PerVolt: 0.025},
			{Name: "swung", Doc: "what the pairs of swing are of; swung eighths take the sixteenths within them along, and beats, bars and triplets are never swung", Choices: []string{"sixteenths", "eighths"}},
			{Name: "division", Doc: "every how many the divided output fires", Min: 1, Max: 64, Value: 4, Whole: true},
			{Name: "divides", Doc: "what division counts", Choices: []string{"beats", "eighths", "sixteenths"}},
			{Name: "ppqn", Doc: "pulses a beat of a clock that is plugged in", Choices: ppqnWords, Value: 2},
			{Name: "lost", Doc: "what happens when a clock that is plugged in stops", Choices: []string{"stop", "run"}},
			{Name: "ppqn_out", Doc: "how often a beat sync pulses: 24 for DIN sync, 4 for a sequencer that steps by sixteenths", Min: 1, Max: 48, Value: clockPPQNOut, Whole: true},
			{Name: "lead", Doc: "from running to the first beat after a start, of its own tempo: gear with DIN sync wants 5 or more; a reset is then a stop and a start", Unit: "ms", Min: 0, Max: 100},
		},
		Inputs: []JackSpec{
			{Name: "reset", Kind: Trigger, Doc: "back to the first beat of a bar, at once; for 1 ms after it pulses of clock are taken for that beat's"},
			{Name: "run_gate", Kind: Gate, Normal: GateVolts, Doc: "runs while high"},
			{Name: "clock", Kind: Trigger, Doc: "a clock to follow in place of the tempo knob; one that jitters is averaged"},
			{Name: "position", Kind: CV, Unit: "0.5 V a beat", Doc: "where in the bar a reset goes to, read at its edge: that of a MIDI In, whose song may begin in the middle"},
		},
		Outputs: []JackSpec{
			{Name: "beat", Kind: Trigger, Doc: "each beat"},
			{Name: "gate", Kind: Gate, Doc: "each beat, as a gate"},
			{Name: "bar", Kind: Trigger, Doc: "first beat of each bar"},
			{Name: "eighth", Kind: Trigger, Doc: "twice a beat"},
			{Name: "sixteenth", Kind: Trigger, Doc: "four times a beat"},
			{Name: "triplet", Kind: Trigger, Doc: "three times a beat"},
			{Name: "divided", Kind: Trigger, Doc: "every so many beats, eighths or sixteenths, counted from the reset on"},
			{Name: "reset_out", Kind: Trigger, Doc: "the first beat after a start or a reset, for the sequencers that follow"},
			{Name: "pulses", Kind: Trigger, Doc: "24 times a beat, never swung: MIDI's clock"},
			{Name: "running", Kind: Gate, Doc: "high while it runs: for the run jack of a MIDI Out, or of gear"},
			{Name: "sync", Kind: Gate, Doc: "ppqn_out times a beat, never swung, high for the first half of each: an analogue clock, or that of DIN sync with running beside it"},
		},
	}
}

// ppqnWords are the usual resolutions of clocks in pulses a quarter note;
// ppqns says them as numbers.
var (
	ppqnWords = []string{"1", "2", "4", "24", "48", "3", "6", "8", "12", "16"}
	ppqns     = [...]int{1, 2, 4, 24, 48, 3, 6, 8, 12, 16}
)

// Params, inputs and outputs of a clock, by index.
const (
	clockTempo = iota
	clockRun
	clockBeats
	clockWidth
	clockSwing
	clockSwung
	clockDivision
	clockDivides
	clockPPQN
	clockLost
	clockPPQNSync
	clockLead
)

const (
	clockReset = iota
	clockRunGate
	clockIn
	clockPosition
)

// clockBeatVolts is what a beat is on the position jack.
const clockBeatVolts = 0.5

const (
	clockBeat = iota
	clockGate
	clockBar
	clockEighth
	clockSixteenth
	clockTriplet
	clockDivided
	clockResetOut
	clockPulses
	clockRunning
	clockSync
	clockOuts
)

// clockRatios is how often a beat each trigger output fires; 0 where another
// rule holds.
var clockRatios = [clockOuts]float64{clockBeat: 1, clockEighth: 2, clockSixteenth: 4, clockTriplet: 3, clockPulses: clockPPQNOut}

// clockPPQNOut is how often a beat the pulses come: as MIDI has it.
const clockPPQNOut = 24

// clockUnits are the outputs that division may count.
var clockUnits = [...]int{clockBeat, clockEighth, clockSixteenth}

// clockNear is how near, in beats, a position is to one of its own to be that.
const clockNear = 1e-4

// clockDeaf is how long after a reset the pulses of a clock do not count, in
// seconds: two cables that mean the same moment are never quite alike.
const clockDeaf = 0.001

// clock counts beats in one phase, from which all outputs follow, so that
// they never drift apart.
type clock struct {
	rate      float64
	phase     float64 // in beats since the bar began
	fresh     bool    // the next frame is the first of a bar
	reset     dsp.SchmittTrigger
	run       dsp.SchmittTrigger
	pulses    [clockOuts]pulser
	fired     [clockOuts]int // the last of each in the bar
	divided   int            // units since the divided output fired
	elsewhere bool           // a reset went into a bar: those who follow begin at the next
	ran       bool           // it ran, or waited to, a frame ago
	wait      int            // frames to a start
	down      int            // frames of those for which running is low

	// Of a clock that is plugged in.
	follows bool
	in      dsp.SchmittTrigger
	tempo   dsp.Tempo
	ppqn    int
	pulse   int     // since the bar began; the phase may be a little ahead or behind
	step    float64 // beats a frame until the next pulse
	deaf    int     // frames for which pulses do not count
}

func (m *clock) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	for i := range m.pulses {
		m.pulses[i].Init(sampleRate)
	}
	m.tempo.Init(sampleRate)
	m.Reset()
}

// Reset goes back to the start of a bar. Audio thread.
func (m *clock) Reset() {
	m.restart()
	m.deaf, m.wait, m.down, m.ran = 0, 0, 0, false
	m.reset.Reset()
	m.run.Reset()
	m.in.Reset()
	m.tempo.Reset()
	m.step = 0
	for i := range m.pulses {
		m.pulses[i].Reset()
	}
}

// restart makes the next frame the first of a bar. Audio thread.
func (m *clock) restart() {
	m.phase, m.fresh, m.elsewhere, m.pulse = 0, true, false, 0
	m.deaf = int(clockDeaf * m.rate)
}

// locate makes the next frame one within a bar. Audio thread.
func (m *clock) locate(beats float64, unit, division int) {
	m.phase, m.fresh, m.elsewhere = beats, false, true
	m.pulse = int(math.Round(beats * float64(m.ppqn)))
	for k, ratio := range clockRatios {
		if ratio > 0 {
			m.fired[k] = int(math.Ceil(beats*ratio-clockNear)) - 1
		}
	}
	// As if it had run since the bar began.
	m.divided = (m.fired[unit] % division) + 1
}

// Process renders the clock. Audio thread.
func (m *clock) Process(io *IO) {
	follows := io.Patched&(1<<clockIn) != 0
	if k := ppqns[int(io.Params[clockPPQN][0])]; k != m.ppqn {
		m.ppqn = k
		m.pulse = int(math.Round(m.phase * float64(k)))
		m.tempo.SetMemory(4 * k)
	}
	if follows != m.follows {
		m.follows = follows
		m.tempo.Reset()
		m.pulse = int(m.phase * float64(m.ppqn))
	}
	goesOn := io.Params[clockLost][0] == 1
	beats := io.Params[clockBeats][0]
	eighths := io.Params[clockSwung][0] == 1
	unit, division := clockUnits[int(io.Params[clockDivides][0])], int(io.Params[clockDivision][0])
	on := io.Params[clockRun][0] == 1
	gate, running, sync := &io.Out[clockGate].Volts[0], &io.Out[clockRunning].Volts[0], &io.Out[clockSync].Volts[0]
	io.Out[clockGate].Held, io.Out[clockRunning].Held, io.Out[clockSync].Held = 0, 0, 0
	ratio := float64(io.Params[clockPPQNSync][0])
	i := m.coast(io, on && !follows, float64(beats))
	for ; i < io.N; i++ {
		if m.reset.Next(io.In[clockReset].Volts[0][i]) {
			m.restart()
			at := float64(io.In[clockPosition].Volts[0][i] * (1 / clockBeatVolts))
			if at = math.Mod(at, float64(beats)); at > clockNear {
				m.locate(at, unit, division)
			}
			if lead := m.lead(io, i); m.ran && !follows {
				m.wait, m.down = 2*lead, lead
			}
		}
		m.run.Next(io.In[clockRunGate].Volts[0][i])
		runs := m.run.High() && on
		now := m.phase
		if follows {
			edge := m.in.Next(io.In[clockIn].Volts[0][i])
			m.tempo.Next(edge)
			if m.deaf > 0 {
				m.deaf--
				edge = false
			}
			lost := m.tempo.Lost()
			switch {
			case lost && !(goesOn && m.tempo.Period() > 0):
				runs = false
			case m.fresh && !edge && lost:
				runs = false // it begins with the clock that it follows
			}
			if runs {
				now = m.follow(edge, lost, goesOn, float64(io.Params[clockTempo][i]))
			}
		} else if runs {
			if !m.ran {
				m.wait, m.down = m.lead(io, i), 0
			}
			if m.ran = true; m.wait > 0 {
				m.wait--
				if gate[i], running[i], sync[i] = 0, 0, 0; m.down > 0 {
					m.down--
				} else {
					running[i] = GateVolts
				}
				continue
			}
			now += float64(io.Params[clockTempo][i]) / (60 * m.rate)
		}
		gate[i], running[i], sync[i] = 0, 0, 0
		if m.ran = runs; !runs {
			continue
		}
		running[i] = GateVolts
		m.advance(io, i, now, float64(beats), float64(io.Params[clockSwing][i]), eighths, unit, division)
		if m.phase-float64(int(m.phase)) < float64(io.Params[clockWidth][i]) {
			gate[i] = GateVolts
		}
		if x := m.phase * ratio; x-float64(int(x)) < 0.5 {
			sync[i] = GateVolts
		}
	}
	for k := range m.pulses {
		if k != clockGate && k != clockRunning && k != clockSync {
			m.pulses[k].finish(io.Out[k], 0, io.N)
		}
	}
}

// lead returns the frames from running to the first beat. Audio thread.
func (m *clock) lead(io *IO, i int) int {
	return int(float64(io.Params[clockLead][i])*m.rate*0.001 + 0.5)
}

// coast lets the phase run through the frames in which nothing happens, at
// rest of all that is plugged in and turned, and returns how many those are.
// Most slices are such, and take a tenth of the time. Audio thread.
func (m *clock) coast(io *IO, on bool, beats float64) (i int) {
	reset, run := io.In[clockReset], io.In[clockRunGate]
	if !on || m.fresh || !m.ran || m.wait > 0 || !m.run.High() || m.reset.High() || crosses(&m.reset, reset.Volts[0][0]) || crosses(&m.run, run.Volts[0][0]) ||
		!reset.held(0) || !run.held(0) || !io.rests(clockTempo) || !io.rests(clockWidth) || !io.rests(clockSwing) || io.Params[clockSwing][0] != 0.5 {
		return 0
	}
	// A hair before the next pulse; from there each frame is looked at.
	until := beats
	for k, ratio := range clockRatios {
		if ratio > 0 {
			until = min(until, float64(m.fired[k]+1)/ratio)
		}
	}
	until -= 1e-9
	step, width, gate := float64(io.Params[clockTempo][0])/(60*m.rate), float64(io.Params[clockWidth][0]), &io.Out[clockGate].Volts[0]
	running, sync := &io.Out[clockRunning].Volts[0], &io.Out[clockSync].Volts[0]
	ratio := float64(io.Params[clockPPQNSync][0])
	now := m.phase
	for ; i < io.N; i++ {
		next := now + step
		if next >= until {
			break
		}
		now = next
		gate[i], running[i], sync[i] = 0, GateVolts, 0
		if now-float64(int(now)) < width {
			gate[i] = GateVolts
		}
		if x := now * ratio; x-float64(int(x)) < 0.5 {
			sync[i] = GateVolts
		}
	}
	m.phase = now
	return i
}

// A pulse of an even clock is taken at its word: the phase waits for it just
// short of its place, and is a hair beyond when it comes. A clock that is to
// run on when the other stops waits for a moment only, in seconds.
const (
	clockWait   = 1e-7
	clockBeyond = 1e-9
	clockGrace  = 0.00025
)

// follow returns where the phase is after one more frame of the clock that is
// plugged in. Audio thread.
func (m *clock) follow(edge, lost, goesOn bool, tempo float64) float64 {
	ppqn := float64(m.ppqn)
	period := m.tempo.Period()
	if period == 0 {
		period = 60 * m.rate / (tempo * ppqn) // until the second pulse
	}
	nominal := 1 / (ppqn * period)
	if lost {
		// The clock that comes back is at the nearest pulse.
		m.pulse = int(math.Round(m.phase*ppqn)) - 1
		return m.phase + nominal
	}
	if m.fresh {
		return m.phase
	}
	if edge {
		if m.pulse++; goesOn {
			m.pulse = max(m.pulse, int(math.Round(m.phase*ppqn))) // some may be missing
		}
	}
	place, next := float64(m.pulse)/ppqn, float64(m.pulse+1)/ppqn
	if m.tempo.Even() {
		m.step = 0
		switch {
		case edge:
			return place + clockBeyond
		case goesOn && m.tempo.Known() && m.tempo.Due() < -clockGrace*m.rate:
			return max(m.phase, place+nominal*(period-m.tempo.Due()))
		case m.phase > next: // it was ahead of a clock that has come to rest
			return m.phase
		}
		return min(max(m.phase+nominal, place), next-clockWait)
	}
	if edge || m.step == 0 {
		// On a straight line to where it should be at the next pulse.
		m.step = min(max((next-m.phase)/max(m.tempo.Due(), 1), nominal/2), nominal*2)
	}
	if m.phase >= next {
		return min(m.phase+nominal, max(m.phase, next+0.5/ppqn))
	}
	return m.phase + m.step
}

// advance moves the phase on and fires what it passes, at frame i. Audio thread.
func (m *clock) advance(io *IO, i int, now, beats, swing float64, eighths bool, unit, division int) {
	fire := func(k int) {
		m.pulses[k].fire(io.Out[k], 0, i)
		if k == unit {
			if m.divided++; m.divided >= division {
				m.divided = 0
				m.pulses[clockDivided].fire(io.Out[clockDivided], 0, i)
			}
		}
	}
	if m.fresh {
		m.fresh = false
		m.fired = [clockOuts]int{}
		m.divided = division
		for k, ratio := range clockRatios {
			if ratio > 0 {
				fire(k)
			}
		}
		m.pulses[clockBar].fire(io.Out[clockBar], 0, i)
		m.pulses[clockResetOut].fire(io.Out[clockResetOut], 0, i)
		io.tell(EventBeat, 0, 1, i, 0)
	} else {
		for k, ratio := range clockRatios {
			if ratio == 0 {
				continue
			}
			at := now
			if swing != 0.5 {
				if eighths && (k == clockEighth || k == clockSixteenth) {
					at = swung(now, swing)
				} else if k == clockSixteenth {
					at = swung(now*2, swing) / 2
				}
			}
			// Never one that was there already: swing that grows moves the phase back.
			if n := int(at * ratio); n > m.fired[k] {
				m.fired[k] = n
				fire(k)
				if k == clockBeat {
					over := (now - float64(n)) * 60 * m.rate / float64(io.Params[clockTempo][i])
					if m.follows {
						over = 0
					}
					io.tell(EventBeat, n%max(int(beats), 1), 0, i, float32(over))
				}
			}
		}
	}
	for now >= beats {
		now -= beats
		m.pulse -= int(beats) * m.ppqn
		for k, ratio := range clockRatios {
			m.fired[k] -= int(beats * ratio)
		}
		m.pulses[clockBar].fire(io.Out[clockBar], 0, i)
		if m.elsewhere {
			m.elsewhere = false
			m.pulses[clockResetOut].fire(io.Out[clockResetOut], 0, i)
		}
	}
	m.phase = now
}

// swung bends a phase so that the middle of each pair comes late. Audio thread.
func swung(phase, swing float64) float64 {
	whole := float64(int(phase))
	x := phase - whole
	if x < swing {
		return whole + x*0.5/swing
	}
	return whole + 0.5 + (x-swing)*0.5/(1-swing)
}

// pulser writes the triggers of one channel of an output, from the last frame
// that it wrote.
type pulser struct {
	dsp.PulseGenerator
	at int
}

// fire starts a trigger at frame i of the slice. Audio thread.
func (p *pulser) fire(out *Signal, c, i int) {
	p.write(out, c, i)
	p.Trigger()
}

func (p *pulser) write(out *Signal, c, to int) {
	b := &out.Volts[c]
	for p.at < to && p.High() {
		b[p.at] = p.Next()
		p.at++
	}
	if p.at < to {
		clear(b[p.at:to])
		p.at = to
	}
}

// finish writes the rest of a slice of n frames. Audio thread.
func (p *pulser) finish(out *Signal, c, n int) {
	if p.at == 0 && !p.High() {
		out.rest(c)
		return
	}
	out.Held &^= 1 << c
	p.write(out, c, n)
	p.at = 0
}

// rest makes a channel 0 V and says so. Audio thread.
func (s *Signal) rest(c int) {
	if s.Held&(1<<c) == 0 || s.Volts[c][0] != 0 {
		clear(s.Volts[c][:])
		s.Held |= 1 << c
	}
}
