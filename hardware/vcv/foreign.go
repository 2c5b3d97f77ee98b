package vcv

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// port is a jack of one of the modules that stand for a module of Rack.
type port struct {
	part int
	jack string
}

// model says what a well-known module of Rack is here: one of ours, or
// several where it is several of the same behind one panel. A part after the
// first is made only where a cable leads to it.
type model struct {
	kinds   []string
	inputs  map[int]port
	outputs map[int]port
	// read sets the params of the parts from those of the module.
	read func(m *module, s *setter)
	// write is its inverse; nil where there is none.
	write func(m *module, parts []*instrument.Module, put func(id int, v float64))
	// differs is what is not the same, whatever the params.
	differs string
}

// setter takes what a module's params are here.
type setter struct {
	parts   []*instrument.Module // nil where a part is not made
	plugged func(input int) bool
	notes   []string
}

func (s *setter) note(format string, a ...any) { s.notes = append(s.notes, fmt.Sprintf(format, a...)) }

// set turns a knob; what is beyond its end stands at the end and is noted.
func (s *setter) set(part int, name string, v float64) {
	m := s.parts[part]
	if m == nil {
		return
	}
	p := &m.Spec().Params[m.Spec().Param(name)]
	if math.IsNaN(v) {
		s.note("%s is no number", name)
		return
	}
	c := p.Clamp(v)
	if math.Abs(c-v) > 1e-6*(p.Max-p.Min) && !p.Whole {
		s.note("%s is %.4g %s, would be %.4g", name, c, p.Unit, v)
	}
	m.Params[name] = c
}

func (s *setter) choose(part int, name, choice string) {
	if m := s.parts[part]; m != nil {
		p := &m.Spec().Params[m.Spec().Param(name)]
		if v, err := p.Choice(choice); err == nil {
			m.Params[name] = v
		}
	}
}

const (
	c4 = 261.6255653005986 // Hz
	// fullScale is 5 V here and 10 V in Rack's audio modules.
	fullScale = 6.020599913279624 // dB
	// centre is what a mixer's pan takes from one side alone in the middle.
	centre = 3.010299956639812 // dB
	// octaves is how many octaves a volt is where 10 V are a time of ten
	// thousand times.
	octaves = 1.3287712379549449
)

func decibels(gain float64) float64 { return math.Max(20*math.Log10(gain), -60) }

func ratio(dB float64) float64 { return math.Pow(10, dB/20) }

// square is how knobs before Rack 2 fine-tuned, both ways from the middle.
func square(x float64) float64 { return math.Copysign(x*x, x) }

func root(x float64) float64 { return math.Copysign(math.Sqrt(math.Abs(x)), x) }

// foreign are the modules of other plugins that have a meaning here, by
// plugin/model.
var foreign = map[string]*model{
	"Fundamental/VCO": {
		kinds:   []string{"vco"},
		inputs:  map[int]port{0: {0, "pitch"}, 1: {0, "fm"}, 2: {0, "sync"}, 3: {0, "width_cv"}},
		outputs: map[int]port{0: {0, "sine"}, 1: {0, "triangle"}, 2: {0, "saw"}, 3: {0, "pulse"}},
		read: func(m *module, s *setter) {
			semitones, fm := m.value(2, 0), m.value(4, 0)
			linear := m.value(7, 0) > 0
			if m.before(2) {
				semitones += 3 * square(m.value(3, 0))
				fm, linear = square(fm), false
			}
			tune := math.Min(math.Max(math.Round(semitones), -60), 60)
			s.set(0, "tune", tune)
			s.set(0, "fine", (semitones-tune)*100)
			s.set(0, "width", m.value(5, 0.5))
			s.set(0, "width_att", m.value(6, 0))
			name, other := "fm_exp", "fm_lin"
			if linear {
				name, other = other, name
				s.note("linear FM goes by the share of its own pitch, there of C4's")
			}
			s.set(0, name, fm)
			s.set(0, other, 0)
			if m.value(1, 1) <= 0 {
				s.note("soft sync is hard here")
			}
		},
		write: func(m *module, parts []*instrument.Module, put func(int, float64)) {
			p := parts[0]
			fm, linear := p.Value("fm_exp"), 0.0
			if lin := p.Value("fm_lin"); lin != 0 && fm == 0 {
				fm, linear = lin, 1
			}
			if m.before(2) {
				put(2, p.Value("tune"))
				put(3, root(p.Value("fine")/300))
				put(4, root(fm))
			} else {
				put(2, p.Value("tune")+p.Value("fine")/100)
				put(4, fm)
				put(7, linear)
			}
			put(5, p.Value("width"))
			put(6, p.Value("width_att"))
		},
	},
	"Fundamental/VCF": {
		kinds:   []string{"vcf"},
		inputs:  map[int]port{0: {0, "cutoff_cv"}, 1: {0, "resonance_cv"}, 3: {0, "in"}},
		outputs: map[int]port{0: {0, "low"}, 1: {0, "high"}},
		differs: "a ladder of 24 dB an octave is a state-variable filter of 12 dB here",
		read: func(m *module, s *setter) {
			x, att, drive := m.value(0, 0.5), m.value(3, 0), m.value(4, 0)
			if m.before(1) {
				s.set(0, "cutoff", 15*math.Pow(560, x))
				s.set(0, "cutoff_att", att*math.Log2(560)/5)
				s.set(0, "drive", 40*drive)
			} else {
				s.set(0, "cutoff", c4*math.Exp2(10*x-5))
				s.set(0, "cutoff_att", att)
				s.set(0, "drive", math.Max(100*math.Log10(math.Max(1+drive, 1e-9)), -60))
			}
			s.set(0, "resonance", m.value(2, 0))
			resonanceCV := 0.0
			if m.before(2) {
				resonanceCV = 1
			}
			s.set(0, "resonance_att", m.value(5, resonanceCV))
		},
		write: func(m *module, parts []*instrument.Module, put func(int, float64)) {
			if m.before(1) {
				return
			}
			p := parts[0]
			put(0, (math.Log2(p.Value("cutoff")/c4)+5)/10)
			put(2, p.Value("resonance"))
			put(3, p.Value("cutoff_att"))
			put(4, math.Pow(10, p.Value("drive")/100)-1)
			if !m.before(2) {
				put(5, p.Value("resonance_att"))
			}
		},
	},
	"Fundamental/VCA-1": {
		kinds:   []string{"vca"},
		inputs:  map[int]port{0: {0, "cv"}, 1: {0, "in"}},
		outputs: map[int]port{0: {0, "out"}},
		read: func(m *module, s *setter) {
			s.set(0, "gain", m.value(0, 1))
			if m.value(1, 1) < 0.5 {
				s.choose(0, "response", "exponential")
				s.note("the exponential response falls 60 dB to 0 V, there by the fourth power")
			} else {
				s.choose(0, "response", "linear")
			}
		},
		write: func(_ *module, parts []*instrument.Module, put func(int, float64)) {
			put(0, parts[0].Value("gain"))
			put(1, 1-parts[0].Value("response"))
		},
	},
	"Fundamental/VCA": {
		kinds:   []string{"vca", "vca"},
		inputs:  map[int]port{0: {0, "cv"}, 1: {0, "cv"}, 2: {0, "in"}, 3: {1, "cv"}, 4: {1, "cv"}, 5: {1, "in"}},
		outputs: map[int]port{0: {0, "out"}, 1: {1, "out"}},
		read: func(m *module, s *setter) {
			for k := range 2 {
				s.set(k, "gain", m.value(k, 1))
				if s.plugged(3 * k) {
					s.choose(k, "response", "exponential")
				} else {
					s.choose(k, "response", "linear")
				}
			}
		},
		write: func(_ *module, parts []*instrument.Module, put func(int, float64)) {
			for k, p := range parts {
				if p != nil {
					put(k, p.Value("gain"))
				}
			}
		},
	},
	"Fundamental/ADSR": {
		kinds:   []string{"adsr"},
		inputs:  map[int]port{0: {0, "attack_cv"}, 1: {0, "decay_cv"}, 2: {0, "sustain_cv"}, 3: {0, "release_cv"}, 4: {0, "gate"}, 5: {0, "retrigger"}},
		outputs: map[int]port{0: {0, "envelope"}},
		read: func(m *module, s *setter) {
			attack, fall := adsrTimes(m)
			att := 0.0
			if m.before(2) {
				att = 1
			}
			s.set(0, "attack", attack(m.value(0, 0.5)))
			s.set(0, "decay", fall(m.value(1, 0.5)))
			s.set(0, "sustain", m.value(2, 0.5))
			s.set(0, "release", fall(m.value(3, 0.5)))
			for k, name := range []string{"attack", "decay", "sustain", "release"} {
				by := octaves
				if name == "sustain" {
					by = 1
				}
				if v := m.value(4+k, att) * by; s.plugged(k) {
					s.set(0, name+"_att", v)
				} else {
					s.set(0, name+"_att", math.Min(math.Max(v, -1), 1))
				}
			}
		},
		write: func(m *module, parts []*instrument.Module, put func(int, float64)) {
			p := parts[0]
			attack, fall := adsrTimes(m)
			put(0, invert(attack, p.Value("attack")))
			put(1, invert(fall, p.Value("decay")))
			put(2, p.Value("sustain"))
			put(3, invert(fall, p.Value("release")))
			if m.before(2) {
				return
			}
			for k, name := range []string{"attack", "decay", "sustain", "release"} {
				by := octaves
				if name == "sustain" {
					by = 1
				}
				put(4+k, p.Value(name+"_att")/by)
			}
		},
	},
	"Fundamental/LFO": {
		kinds:   []string{"lfo"},
		inputs:  map[int]port{0: {0, "rate_cv"}, 2: {0, "reset"}, 3: {0, "width_cv"}, 4: {0, "clock"}},
		outputs: map[int]port{0: {0, "sine"}, 1: {0, "triangle"}, 2: {0, "saw"}, 3: {0, "square"}},
		read: func(m *module, s *setter) {
			f := m.value(2, 1)
			s.set(0, "rate", math.Exp2(f))
			s.set(0, "rate_att", m.value(3, 0))
			s.set(0, "width", m.value(5, 0.5))
			s.set(0, "width_att", m.value(6, 0))
			if m.value(0, 1) > 0 {
				s.choose(0, "polarity", "unipolar")
			} else {
				s.choose(0, "polarity", "bipolar")
			}
			inverted := m.value(1, 0) > 0
			if m.before(2) {
				inverted = m.value(1, 1) <= 0
			}
			if inverted {
				s.note("it is not inverted here")
			}
			if s.plugged(4) {
				s.nearest("ratio", math.Exp2(f-1))
			}
		},
		write: func(m *module, parts []*instrument.Module, put func(int, float64)) {
			p := parts[0]
			put(2, math.Log2(p.Value("rate")))
			put(3, p.Value("rate_att"))
			put(5, p.Value("width"))
			put(6, p.Value("width_att"))
			put(0, p.Value("polarity"))
		},
	},
	"Fundamental/Noise": {
		kinds:   []string{"noise"},
		outputs: map[int]port{0: {0, "white"}, 1: {0, "pink"}},
	},
	"Fundamental/Delay": {
		kinds:   []string{"delay"},
		inputs:  map[int]port{0: {0, "time_cv"}, 1: {0, "feedback_cv"}, 2: {0, "tone_cv"}, 3: {0, "mix_cv"}, 4: {0, "in_left"}, 5: {0, "clock"}},
		outputs: map[int]port{0: {0, "left"}},
		read: func(m *module, s *setter) {
			att := 0.0
			if m.before(2) {
				att = 1
			}
			s.set(0, "time", 0.001*math.Pow(10000, m.value(0, 0.5)))
			s.set(0, "feedback", m.value(1, 0.5))
			s.set(0, "tone", 2*m.value(2, 0.5)-1)
			s.set(0, "mix", m.value(3, 0.5))
			for k, name := range []string{"time", "feedback", "tone", "mix"} {
				v := m.value(4+k, att) * delayCV[k]
				if !s.plugged(k) {
					v = math.Min(math.Max(v, -1), 1)
				}
				s.set(0, name+"_att", v)
			}
		},
		write: func(m *module, parts []*instrument.Module, put func(int, float64)) {
			p := parts[0]
			put(0, math.Log(p.Value("time")/0.001)/math.Log(10000))
			put(1, p.Value("feedback"))
			put(2, (p.Value("tone")+1)/2)
			put(3, p.Value("mix"))
			if m.before(2) {
				return
			}
			for k, name := range []string{"time", "feedback", "tone", "mix"} {
				put(4+k, p.Value(name+"_att")/delayCV[k])
			}
		},
	},
	"Fundamental/Mixer": {
		kinds:   []string{"mixer"},
		inputs:  map[int]port{0: {0, "left_1"}, 1: {0, "left_2"}, 2: {0, "left_3"}, 3: {0, "left_4"}, 4: {0, "left_5"}, 5: {0, "left_6"}},
		outputs: map[int]port{0: {0, "left"}},
		differs: "a polyphonic cable is summed here, there its channels stay apart",
		read: func(m *module, s *setter) {
			gain, n := m.value(0, 1), 0
			for k := range 6 {
				if s.plugged(k) {
					n++
				}
			}
			if average, _ := m.data("average").(bool); average {
				gain /= float64(max(1, n))
			}
			if invert, _ := m.data("invert").(bool); invert {
				s.note("it is not inverted here")
			}
			for k := range 6 {
				s.set(0, "level_"+strconv.Itoa(k+1), decibels(gain)+centre)
			}
		},
	},
	"Fundamental/VCMixer": {
		kinds:   []string{"mixer"},
		inputs:  map[int]port{1: {0, "left_1"}, 2: {0, "left_2"}, 3: {0, "left_3"}, 4: {0, "left_4"}},
		outputs: map[int]port{0: {0, "left"}},
		differs: "a polyphonic cable is summed here, there its channels stay apart",
		read: func(m *module, s *setter) {
			for k := 1; k <= 4; k++ {
				x := m.value(k, 1)
				s.set(0, "level_"+strconv.Itoa(k), decibels(x*x*m.value(0, 1))+centre)
			}
		},
	},
	"Fundamental/8vert": {
		kinds: []string{"attenuverter", "attenuverter"},
		inputs: map[int]port{0: {0, "in_1"}, 1: {0, "in_2"}, 2: {0, "in_3"}, 3: {0, "in_4"},
			4: {1, "in_1"}, 5: {1, "in_2"}, 6: {1, "in_3"}, 7: {1, "in_4"}},
		outputs: map[int]port{0: {0, "out_1"}, 1: {0, "out_2"}, 2: {0, "out_3"}, 3: {0, "out_4"},
			4: {1, "out_1"}, 5: {1, "out_2"}, 6: {1, "out_3"}, 7: {1, "out_4"}},
		differs: "a row with nothing plugged in reads 10 V, there the row above it",
		read: func(m *module, s *setter) {
			for k := range 8 {
				s.set(k/4, "gain_"+strconv.Itoa(k%4+1), m.value(k, 0))
			}
		},
		write: func(_ *module, parts []*instrument.Module, put func(int, float64)) {
			for k := range 8 {
				if p := parts[k/4]; p != nil {
					put(k, p.Value("gain_"+strconv.Itoa(k%4+1)))
				}
			}
		},
	},
	"Core/AudioInterface2": {
		kinds:   []string{"audio_out", "audio_in"},
		inputs:  map[int]port{0: {0, "left"}, 1: {0, "right"}},
		outputs: map[int]port{0: {1, "left"}, 1: {1, "right"}},
		read: func(m *module, s *setter) {
			x := m.value(0, 1)
			s.set(0, "level", decibels(x*x)-fullScale)
			s.captured(1)
		},
		write: func(_ *module, parts []*instrument.Module, put func(int, float64)) {
			if p := parts[0]; p != nil {
				put(0, math.Sqrt(ratio(p.Value("level")+fullScale)))
			}
		},
	},
	"Core/AudioInterface":   audio(8),
	"Core/AudioInterface16": audio(16),
	"Core/MIDIToCVInterface": {
		kinds:   []string{"midi_in"},
		outputs: map[int]port{0: {0, "pitch"}, 1: {0, "gate"}, 2: {0, "velocity"}, 3: {0, "pressure"}, 4: {0, "wheel"}, 5: {0, "mod"}, 6: {0, "trigger"}, 7: {0, "clock"}, 9: {0, "start"}},
		read: func(m *module, s *setter) {
			channels, ok := real64(m.data("channels"))
			if !ok {
				channels = 1
			}
			mode, _ := real64(m.data("polyMode"))
			switch {
			case mode == 3:
				s.choose(0, "mode", "mpe")
			case channels == 1:
				s.choose(0, "mode", "mono")
			default:
				s.choose(0, "mode", "poly")
			}
			s.set(0, "voices", channels)
			// The wheel has a jack of its own there and does not bend the pitch.
			s.set(0, "bend_range", 0)
			if c, ok := real64(m.data("midi", "channel")); ok {
				s.set(0, "channel", c+1)
			}
			if d, _ := m.data("midi", "deviceName").(string); d != "" {
				s.word(0, "port", d)
			}
		},
	},
}

// delayCV is what a volt does here to each of a Delay's knobs by what it does
// there.
var delayCV = [4]float64{octaves, 0.1 / 0.11, 1, 1}

// audio is a device of many channels: pairs of them.
func audio(n int) *model {
	m := &model{inputs: map[int]port{}, outputs: map[int]port{}, differs: "what goes out is limited and has no DC, there it may be CV: see cv_out"}
	for k := range n / 2 {
		m.kinds = append(m.kinds, "audio_out")
		m.inputs[2*k], m.inputs[2*k+1] = port{k, "left"}, port{k, "right"}
	}
	for k := range n / 2 {
		m.kinds = append(m.kinds, "audio_in")
		m.outputs[2*k], m.outputs[2*k+1] = port{n/2 + k, "left"}, port{n/2 + k, "right"}
	}
	m.read = func(_ *module, s *setter) {
		for k := range n / 2 {
			s.set(k, "level", -fullScale)
			s.set(k, "channel", float64(2*k+1))
			s.captured(n/2 + k)
		}
	}
	return m
}

// captured is what a device's inputs are here.
func (s *setter) captured(part int) {
	if s.parts[part] != nil {
		s.set(part, "gain", fullScale)
		s.choose(part, "dc_block", "off")
		s.note("%s hears a jack of the rig: name it in its param jack", s.parts[part].ID)
	}
}

// word types a text.
func (s *setter) word(part int, name, text string) {
	m := s.parts[part]
	if m == nil {
		return
	}
	p := &m.Spec().Params[m.Spec().Param(name)]
	if err := p.CheckWord(text); err != nil {
		s.note("%v", err)
		return
	}
	m.Text[name] = text
}

// nearest turns a switch of ratios, such as 3/2, to the nearest.
func (s *setter) nearest(name string, v float64) {
	m := s.parts[0]
	p := &m.Spec().Params[m.Spec().Param(name)]
	best, choice := math.Inf(1), 0
	for i, c := range p.Choices {
		a, b, whole := strings.Cut(c, "/")
		x, err := strconv.ParseFloat(a, 64)
		if err == nil && whole {
			var y float64
			if y, err = strconv.ParseFloat(b, 64); err == nil {
				x /= y
			}
		}
		if d := math.Abs(math.Log(x / v)); err == nil && d < best {
			best, choice = d, i
		}
	}
	m.Params[name] = float64(choice)
	if best > 1e-6 {
		s.note("%s is %s, would be %.4g", name, p.Choices[choice], v)
	}
}

// adsrTimes are how long an attack and a fall to a thousandth take, by where
// their sliders stand. Both go by a time constant: the attack's target is
// above the peak, 1.2 times as high since Rack 2 and 1.01 times before.
func adsrTimes(m *module) (attack, fall func(x float64) float64) {
	base, above := 10000.0, 1.2
	if m.before(2) {
		base, above = 20000, 1.01
	}
	constant := func(x float64) float64 { return 10 * math.Pow(base, x-1) }
	return func(x float64) float64 { return constant(x) * math.Log(above/(above-1)) },
		func(x float64) float64 { return constant(x) * math.Log(1000) }
}

// invert finds where in 0…1 a rising exponential of x is v.
func invert(f func(float64) float64, v float64) float64 {
	return math.Log(v/f(0)) / math.Log(f(1)/f(0))
}

// jackPort returns the port of a jack of a part, -1 where it has none. Of two
// ports the later one is taken: of a VCA the linear CV.
func jackPort(ports map[int]port, part int, jack string) int {
	at := -1
	for id, p := range ports {
		if p.part == part && p.jack == jack {
			at = max(at, id)
		}
	}
	return at
}
