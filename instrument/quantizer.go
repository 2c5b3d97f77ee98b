package instrument

import (
	"math"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// pitchClasses are the twelve notes as switches name them.
var pitchClasses = []string{"c", "c_sharp", "d", "d_sharp", "e", "f", "f_sharp", "g", "g_sharp", "a", "a_sharp", "b"}

// musicalScales are the scales of a Quantizer by their semitones above the
// root. Those with a tuning are that tuning, on the root.
var musicalScales = []struct {
	name      string
	semitones []int
	tuning    string
}{
	{name: "chromatic", semitones: []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}},
	{name: "major", semitones: []int{0, 2, 4, 5, 7, 9, 11}},
	{name: "minor", semitones: []int{0, 2, 3, 5, 7, 8, 10}},
	{name: "harmonic_minor", semitones: []int{0, 2, 3, 5, 7, 8, 11}},
	{name: "melodic_minor", semitones: []int{0, 2, 3, 5, 7, 9, 11}},
	{name: "dorian", semitones: []int{0, 2, 3, 5, 7, 9, 10}},
	{name: "phrygian", semitones: []int{0, 1, 3, 5, 7, 8, 10}},
	{name: "lydian", semitones: []int{0, 2, 4, 6, 7, 9, 11}},
	{name: "mixolydian", semitones: []int{0, 2, 4, 5, 7, 9, 10}},
	{name: "locrian", semitones: []int{0, 1, 3, 5, 6, 8, 10}},
	{name: "phrygian_dominant", semitones: []int{0, 1, 4, 5, 7, 8, 10}},
	{name: "hungarian_minor", semitones: []int{0, 2, 3, 6, 7, 8, 11}},
	{name: "major_pentatonic", semitones: []int{0, 2, 4, 7, 9}},
	{name: "minor_pentatonic", semitones: []int{0, 3, 5, 7, 10}},
	{name: "hirajoshi", semitones: []int{0, 2, 3, 7, 8}},
	{name: "blues", semitones: []int{0, 3, 5, 6, 7, 10}},
	{name: "whole_tone", semitones: []int{0, 2, 4, 6, 8, 10}},
	{name: "octatonic", semitones: []int{0, 1, 3, 4, 6, 7, 9, 10}},
	{name: "diminished", semitones: []int{0, 2, 3, 5, 6, 8, 9, 11}},
	{name: "augmented", semitones: []int{0, 3, 4, 7, 8, 11}},
	{name: "major_triad", semitones: []int{0, 4, 7}},
	{name: "minor_triad", semitones: []int{0, 3, 7}},
	{name: "fifths", semitones: []int{0, 7}},
	{name: "octaves", semitones: []int{0}},
	{name: "just_major", tuning: "just-major"},
	{name: "just_minor", tuning: "just-minor"},
	{name: "tuning"},
}

func scaleNames() (names []string) {
	for _, s := range musicalScales {
		names = append(names, s.name)
	}
	return names
}

func quantizerSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "quantizer", Title: "Quantizer", HP: 10, Plus12: 40, Minus12: 15,
		Doc: "Brings every voltage to the nearest note of a scale, in any tuning.",
		New: func() Processor { return &quantizer{} },
		Params: []ParamSpec{
			{Name: "scale", Doc: "the notes there are, as semitones above the root; of a tuning that has not twelve notes those that are nearest; tuning is all notes of the tuning", Choices: scaleNames()},
			{Name: "root", Doc: "the note on which the scale stands", Choices: pitchClasses},
			{Name: "tuning", Doc: "the name of a tuning: one of the scene's, from a Scala file, or one of those that are built in", Text: true, Default: "equal", Tuning: true},
			{Name: "tonic", Doc: "the note on which the tuning stands, its 1/1 if it is built in", Choices: pitchClasses},
			{Name: "hysteresis", Doc: "how far beyond the middle between two notes it stays with the one that it had; at most nine tenths of the way", Unit: "cents", Min: 0, Max: 50, Value: 10},
		},
		Inputs: []JackSpec{
			{Name: "in", Kind: Pitch, Poly: true, Doc: "what is brought to a note"},
			{Name: "trigger", Kind: Trigger, Poly: true, Doc: "takes a new note at each edge; with no cable it does all the time"},
		},
		Outputs: []JackSpec{
			{Name: "out", Kind: Pitch, Doc: "the note, with as many channels as in or trigger"},
			{Name: "changed", Kind: Trigger, Doc: "each new note, channel by channel"},
		},
		Through: [][2]string{{"in", "out"}},
	}
}

const (
	quantizerScale = iota
	quantizerRoot
	quantizerTuning
	quantizerTonic
	quantizerHysteresis
)

// scaleMasks are the musical scales as bits.
var scaleMasks = func() (masks []uint16) {
	for _, s := range musicalScales {
		var m uint16
		for _, k := range s.semitones {
			m |= 1 << k
		}
		masks = append(masks, m)
	}
	return masks
}()

// quantizer holds for each channel the note that it has and the voltages
// between which it keeps it.
type quantizer struct {
	tuning   atomic.Pointer[dsp.Tuning]
	own      []*dsp.Tuning // of scales that have one
	channels [MaxPoly]quantizerChannel

	// What the notes were taken from.
	from      *dsp.Tuning
	shift     float32 // volts of the tonic
	semitones uint16  // above the tonic; 0 for all
}

type quantizerChannel struct {
	trigger   dsp.SchmittTrigger
	changed   pulser
	low, high float32 // the note is kept between them
	out       float32
	sounds    bool // it has had a note
}

func (m *quantizer) Init(sampleRate float64, seed uint64) {
	m.own = make([]*dsp.Tuning, len(musicalScales))
	for i, s := range musicalScales {
		if s.tuning != "" {
			m.own[i] = dsp.BuiltinTuning(s.tuning)
		}
	}
	m.tuning.CompareAndSwap(nil, dsp.BuiltinTuning("equal"))
	for c := range m.channels {
		m.channels[c].changed.Init(sampleRate)
	}
	m.Reset()
}

// Tune gives it the tuning that it is to use from now on. It may be called from
// any thread.
func (m *quantizer) Tune(t *dsp.Tuning) { m.tuning.Store(t) }

// Reset forgets the notes. Audio thread.
func (m *quantizer) Reset() {
	for c := range m.channels {
		ch := &m.channels[c]
		ch.trigger.Reset()
		ch.changed.Reset()
		ch.out, ch.sounds = 0, false
		ch.forget()
	}
}

// forget makes the channel look for its note again. Audio thread.
func (ch *quantizerChannel) forget() {
	ch.low, ch.high = float32(math.Inf(1)), float32(math.Inf(-1))
}

// settle takes up the knobs, which step, and the tuning. Audio thread.
func (m *quantizer) settle(io *IO) {
	scale, root, tonic := int(io.Params[quantizerScale][0]), int(io.Params[quantizerRoot][0]), int(io.Params[quantizerTonic][0])
	from := m.tuning.Load()
	mask := uint(scaleMasks[scale])
	if own := m.own[scale]; own != nil {
		from, tonic = own, root
	}
	// Semitones of the tuning are counted from its tonic.
	mask |= mask << 12
	semitones := uint16(mask>>((tonic-root+12)%12)) & 0xfff
	shift := float32(tonic) / 12
	if from == m.from && semitones == m.semitones && shift == m.shift {
		return
	}
	m.from, m.semitones, m.shift = from, semitones, shift
	for c := range m.channels {
		m.channels[c].forget()
	}
}

// Process renders the notes. Audio thread.
func (m *quantizer) Process(io *IO) {
	m.settle(io)
	in, trigger, out, changed := io.In[0], io.In[1], io.Out[0], io.Out[1]
	samples := io.Patched&2 != 0
	out.Channels = in.Channels
	if samples {
		out.Channels = max(in.Channels, trigger.Channels)
	}
	changed.Channels = out.Channels
	hysteresis := io.Params[quantizerHysteresis]
	for c := range out.Channels {
		ch, o := &m.channels[c], &out.Volts[c]
		v, held := in.read(c)
		was := ch.out
		from := 0 // frames that are written
		if !samples {
			ch.trigger.Reset()
			n := io.N
			if held {
				n = 1
			}
			for i, x := range v[:n] {
				if x < ch.low || x > ch.high {
					hold(o[from:i], ch.out)
					from = i
					m.take(ch, x, hysteresis[i]*(1.0/1200), changed, c, i)
				}
			}
		} else {
			g, rests := trigger.read(c)
			n := io.N
			if rests {
				n = 1
			}
			for i, x := range g[:n] {
				if ch.trigger.Next(x) {
					hold(o[from:i], ch.out)
					from = i
					if x := v[i]; x < ch.low || x > ch.high {
						m.take(ch, x, hysteresis[i]*(1.0/1200), changed, c, i)
					}
				}
			}
		}
		if from == 0 {
			// One voltage throughout the slice; it may be written already.
			if bit := uint16(1) << c; out.Held&bit == 0 || ch.out != was || o[0] != ch.out {
				hold(o[:], ch.out)
				out.Held |= bit
			}
		} else {
			out.Held &^= 1 << c
			hold(o[from:io.N], ch.out)
		}
		ch.changed.finish(changed, c, io.N)
	}
}

// take looks for the note that is nearest to a voltage, at frame i. Audio thread.
func (m *quantizer) take(ch *quantizerChannel, volts, hysteresis float32, changed *Signal, c, i int) {
	if volts != volts {
		return
	}
	note, below, above := m.from.Among(volts-m.shift, m.semitones)
	at := m.from.Volts(note) + m.shift
	ch.low, ch.high = float32(math.Inf(-1)), float32(math.Inf(1))
	if below >= 0 {
		gap := at - (m.from.Volts(below) + m.shift)
		ch.low = at - 0.5*gap - min(hysteresis, 0.4*gap)
	}
	if above >= 0 {
		gap := m.from.Volts(above) + m.shift - at
		ch.high = at + 0.5*gap + min(hysteresis, 0.4*gap)
	}
	if ch.sounds && at != ch.out {
		ch.changed.fire(changed, c, i)
	}
	ch.out, ch.sounds = at, true
}

// emptyChannel is what a channel reads that its cable has not.
var emptyChannel [BlockSize]float32

// read returns channel c of a signal, 0 V where there is none, and whether
// it is one voltage throughout the slice. Audio thread.
func (s *Signal) read(c int) (b *[BlockSize]float32, held bool) {
	switch {
	case s.Channels == 1:
		return &s.Volts[0], s.Held&1 != 0
	case c < s.Channels:
		return &s.Volts[c], s.Held&(1<<c) != 0
	}
	return &emptyChannel, true
}

// hold makes all of b one voltage. Audio thread.
func hold(b []float32, v float32) {
	for i := range b {
		b[i] = v
	}
}
