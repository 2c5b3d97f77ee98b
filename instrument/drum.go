package instrument

import (
	"fmt"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// The drums of a Drum, in the order of its outputs; an open hat sounds through
// the same output as a closed one, which chokes it.
const (
	drumKick = iota
	drumSnare
	drumHat
	drumClap
	drums
)

var drumNames = [drums]string{"kick", "snare", "hat", "clap"}

func drumSpec() *ModuleSpec {
	s := &ModuleSpec{
		Kind: "drum", Title: "Drum", HP: 24, Plus12: 120, Minus12: 90, Tail: TailRelease,
		Doc: "Kick, snare, hat and clap, made from nothing but sines, pulses and noise.",
		New: func() Processor { return &drum{} },
		Params: []ParamSpec{
			{Name: "kick_tune", Doc: "pitch that the kick falls to", Unit: "Hz", Min: 20, Max: 200, Value: 50, Curve: Exponential, PerVolt: 1},
			{Name: "kick_decay", Doc: "T60 of the kick", Unit: "s", Min: 0.05, Max: 4, Value: 0.6, Curve: Exponential, PerVolt: 1},
			{Name: "kick_bend", Doc: "how far its pitch falls", Unit: "octaves", Min: 0, Max: 4, Value: 1.5},
			{Name: "kick_click", Doc: "share of the beater", Min: 0, Max: 1, Value: 0.3},
			{Name: "kick_drive", Doc: "how far it is driven", Unit: "dB", Min: 0, Max: 36, Value: 6},
			{Name: "snare_tune", Doc: "pitch of the head of the snare", Unit: "Hz", Min: 80, Max: 600, Value: 185, Curve: Exponential, PerVolt: 1},
			{Name: "snare_decay", Doc: "T60 of the snare", Unit: "s", Min: 0.03, Max: 2, Value: 0.25, Curve: Exponential, PerVolt: 1},
			{Name: "snare_snap", Doc: "from the head alone to the wires alone", Min: 0, Max: 1, Value: 0.5},
			{Name: "snare_tone", Doc: "where the wires begin", Unit: "Hz", Min: 500, Max: 10000, Value: 3000, Curve: Exponential},
			{Name: "hat_tune", Doc: "lowest of the frequencies that the hat is made of", Unit: "Hz", Min: 80, Max: 800, Value: 205.3, Curve: Exponential, PerVolt: 1},
			{Name: "hat_decay", Doc: "T60 of the closed hat", Unit: "s", Min: 0.01, Max: 1, Value: 0.12, Curve: Exponential, PerVolt: 1},
			{Name: "open_decay", Doc: "T60 of the open hat", Unit: "s", Min: 0.05, Max: 4, Value: 0.9, Curve: Exponential, PerVolt: 1},
			{Name: "hat_tone", Doc: "where the hat begins", Unit: "Hz", Min: 2000, Max: 14000, Value: 7000, Curve: Exponential},
			{Name: "clap_tune", Doc: "frequency around which the clap sounds", Unit: "Hz", Min: 300, Max: 4000, Value: 1100, Curve: Exponential, PerVolt: 1},
			{Name: "clap_decay", Doc: "T60 of the room that the clap is in", Unit: "s", Min: 0.05, Max: 3, Value: 0.35, Curve: Exponential, PerVolt: 1},
			{Name: "accent_depth", Doc: "how much softer a strike is at 0 V of accent than at 10 V", Min: 0, Max: 1, Value: 0.5},
		},
		Inputs: []JackSpec{
			{Name: "kick", Kind: Trigger, Button: true, Doc: "strikes the kick"},
			{Name: "snare", Kind: Trigger, Button: true, Doc: "strikes the snare"},
			{Name: "hat", Kind: Trigger, Button: true, Doc: "strikes the hat, closed"},
			{Name: "clap", Kind: Trigger, Button: true, Doc: "strikes the clap"},
			{Name: "open_hat", Kind: Trigger, Button: true, Doc: "strikes the hat, open"},
			{Name: "accent", Kind: CV, Normal: 10, Unit: "0…10 V", Doc: "strength of the strikes, read at their edge"},
		},
	}
	places := [drums]float64{0, 0.1, 0.35, -0.25}
	for k, name := range drumNames {
		s.Params = append(s.Params,
			ParamSpec{Name: name + "_level", Doc: "level of the " + name + "; −60 is off", Unit: "dB", Min: -60, Max: 6, Value: 0},
			ParamSpec{Name: name + "_pan", Doc: "place of the " + name + " in the mix", Min: -1, Max: 1, Value: places[k]})
		s.Outputs = append(s.Outputs, JackSpec{Name: name + "_out", Kind: Audio, Doc: fmt.Sprintf("the %s alone", name)})
	}
	s.Outputs = append(s.Outputs, JackSpec{Name: "left", Kind: Audio, Doc: "left of the mix"}, JackSpec{Name: "right", Kind: Audio, Doc: "right of the mix"})
	return s
}

const (
	drumKickTune = iota
	drumKickDecay
	drumKickBend
	drumKickClick
	drumKickDrive
	drumSnareTune
	drumSnareDecay
	drumSnareSnap
	drumSnareTone
	drumHatTune
	drumHatDecay
	drumOpenDecay
	drumHatTone
	drumClapTune
	drumClapDecay
	drumAccentDepth
	drumLevels // level and pan, drum by drum
)

const (
	drumOpenHat = drums
	drumAccent  = drums + 1
	drumLeft    = drums
	drumRight   = drums + 1
)

type drum struct {
	kick  dsp.Kick
	snare dsp.Snare
	hat   dsp.Hat
	clap  dsp.Clap

	triggers [drums + 1]dsp.SchmittTrigger
	knobs    [drumLevels]float32 // as they were last set
	place    [drums]struct {
		level decibels
		pan   float32
		gain  [2]float32
	}
}

func (m *drum) Init(sampleRate float64, seed uint64) {
	m.kick.Init(sampleRate)
	m.snare.Init(sampleRate)
	m.snare.Seed(seed)
	m.hat.Init(sampleRate)
	m.hat.Seed(seed + 1)
	m.clap.Init(sampleRate)
	m.clap.Seed(seed + 2)
	for k := range m.place {
		m.place[k].gain = panGains(0)
	}
}

// Reset silences the drums. Audio thread.
func (m *drum) Reset() {
	m.kick.Reset()
	m.snare.Reset()
	m.hat.Reset()
	m.clap.Reset()
	for k := range m.triggers {
		m.triggers[k].Reset()
	}
}

// knobsOf are the params of each drum, from the first to before the last.
var knobsOf = [drums][2]int{{drumKickTune, drumSnareTune}, {drumSnareTune, drumHatTune}, {drumHatTune, drumClapTune}, {drumClapTune, drumAccentDepth}}

// set takes up the knobs of a drum at frame i, if they moved. Audio thread.
func (m *drum) set(io *IO, d, i int) {
	k := &m.knobs
	moved := false
	for p := knobsOf[d][0]; p < knobsOf[d][1]; p++ {
		if v := io.Params[p][i]; v != k[p] {
			k[p], moved = v, true
		}
	}
	if !moved {
		return
	}
	switch d {
	case drumKick:
		m.kick.Set(k[drumKickTune], float64(k[drumKickDecay]), k[drumKickBend], k[drumKickClick], k[drumKickDrive])
	case drumSnare:
		m.snare.Set(k[drumSnareTune], float64(k[drumSnareDecay]), k[drumSnareSnap], k[drumSnareTone])
	case drumHat:
		m.hat.Set(k[drumHatTune], float64(k[drumHatDecay]), float64(k[drumOpenDecay]), k[drumHatTone])
	case drumClap:
		m.clap.Set(k[drumClapTune], float64(k[drumClapDecay]))
	}
}

// active tells whether a drum sounds. Audio thread.
func (m *drum) active(d int) bool {
	switch d {
	case drumKick:
		return m.kick.Active()
	case drumSnare:
		return m.snare.Active()
	case drumHat:
		return m.hat.Active()
	}
	return m.clap.Active()
}

// strength is what the accent says at frame i, 0…1. Audio thread.
func (m *drum) strength(io *IO, i int) float32 {
	a := min(max(io.In[drumAccent].Volts[0][i]*0.1, 0), 1)
	if a != a {
		a = 0
	}
	return 1 - io.Params[drumAccentDepth][i]*(1-a)
}

// quiet tells whether a trigger does not rise within the slice, and lets it
// fall. Audio thread.
func (m *drum) quiet(io *IO, input int) bool {
	in, t := io.In[input], &m.triggers[input]
	if !in.still() {
		return false
	}
	v := in.Volts[0][0]
	if !t.High() && v > dsp.SchmittHigh {
		return false
	}
	t.Next(v)
	return true
}

// Process renders the drums. Audio thread.
func (m *drum) Process(io *IO) {
	n := io.N
	left, right := io.Out[drumLeft], io.Out[drumRight]
	sounds := false
	for d := range drums {
		out := io.Out[d]
		quiet := m.quiet(io, d)
		if d == drumHat {
			quiet = m.quiet(io, drumOpenHat) && quiet
		}
		if quiet && !m.active(d) {
			out.rest(0)
			continue
		}
		out.Held = 0
		if !sounds {
			sounds = true
			left.Held, right.Held = 0, 0
			clear(left.Volts[0][:n])
			clear(right.Volts[0][:n])
		}
		m.render(io, d, quiet)
	}
	if !sounds {
		left.rest(0)
		right.rest(0)
		return
	}
	for i := range n {
		left.Volts[0][i], right.Volts[0][i] = dsp.Rail(left.Volts[0][i]), dsp.Rail(right.Volts[0][i])
	}
}

// render renders one drum and adds it to the mix. Audio thread.
func (m *drum) render(io *IO, d int, quiet bool) {
	n := io.N
	o := &io.Out[d].Volts[0]
	trigger, open := &io.In[d].Volts[0], &io.In[drumOpenHat].Volts[0]
	for i := range n {
		if (io.Frame+int64(i))%controlFrames == 0 {
			m.set(io, d, i)
		}
		if !quiet {
			if m.triggers[d].Next(trigger[i]) {
				m.set(io, d, i)
				v := m.strength(io, i)
				switch d {
				case drumKick:
					m.kick.Strike(v)
				case drumSnare:
					m.snare.Strike(v)
				case drumHat:
					m.hat.StrikeClosed(v)
				case drumClap:
					m.clap.Strike(v)
				}
			}
			if d == drumHat && m.triggers[drumOpenHat].Next(open[i]) {
				m.set(io, d, i)
				m.hat.StrikeOpen(m.strength(io, i))
			}
		}
		switch d {
		case drumKick:
			o[i] = m.kick.Next()
		case drumSnare:
			o[i] = m.snare.Next()
		case drumHat:
			o[i] = m.hat.Next()
		case drumClap:
			o[i] = m.clap.Next()
		}
	}
	p := &m.place[d]
	level, pan := io.Params[drumLevels+2*d], io.Params[drumLevels+2*d+1]
	l, r := &io.Out[drumLeft].Volts[0], &io.Out[drumRight].Volts[0]
	for i := range n {
		if pan[i] != p.pan {
			p.pan, p.gain = pan[i], panGains(pan[i])
		}
		y := dsp.Rail(o[i] * p.level.linear(level[i]))
		o[i] = y
		l[i] += y * p.gain[0]
		r[i] += y * p.gain[1]
	}
}
