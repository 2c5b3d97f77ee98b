package instrument

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// Curve is how a surface lays a param's range under the hand.
type Curve uint8

const (
	Linear      Curve = iota
	Exponential       // equal ratios take equal travel; a CV adds octaves
)

// ParamSpec declares one knob or switch.
type ParamSpec struct {
	Name  string // lower case with underscores; unique among the module's params and jacks
	Doc   string
	Unit  string
	Min   float64
	Max   float64
	Value float64 // default
	Curve Curve
	// Whole marks a param that takes whole numbers; it steps, never ramps.
	Whole bool
	// Choices names the positions of a switch; it implies Whole, from 0.
	Choices []string
	// PerVolt, if not 0, gives the knob a CV jack NAME_cv and an attenuverter
	// NAME_att: how many units a volt adds, or with Curve Exponential how
	// many octaves.
	PerVolt float64
	// PolyCV makes the CV jack polyphonic: the module asks for the knob channel
	// by channel, with IO.Knob, and Params holds the knob without its CV.
	PolyCV bool
	// Text marks a param that is a word, such as an image; Default is its
	// default, and the numbers mean nothing.
	Text    bool
	Default string
	// Free marks a word that may be empty and may hold blanks.
	Free bool
	// Tuning marks a word that names a tuning: one that the patch carries, or
	// one that is built in.
	Tuning bool
	// Socket marks a word that names the jacks of the rig that the module stands
	// for, see Module.Jacks. Optional marks one that names none where it is empty.
	Socket, Optional bool
	// Ref marks a word that is empty or names a jack as kind/name/jack.
	Ref bool
	// Cluster marks a param that is part of the topology: the synthesizer turns
	// it into objects.
	Cluster bool
	// Live marks a param of the cluster that is set on its object directly and
	// not through the topology, because it may move as fast as a hand does or
	// because no object of ours holds it.
	Live bool
	// Counter marks a param that a trigger counts up: each new count asks for
	// something once.
	Counter bool
}

// switchWords are the positions of a param that is on or off. In a topology
// they are false and true, because YAML takes the bare words for that anyway.
var switchWords = []string{"off", "on"}

// Switch tells whether the param is either off or on.
func (p *ParamSpec) Switch() bool { return slices.Equal(p.Choices, switchWords) }

// CheckWord tells whether a text param takes w.
func (p *ParamSpec) CheckWord(w string) error {
	switch {
	case !p.Text:
		return fmt.Errorf("%s is %s, got %q", p.Name, p.Range(), w)
	case p.Ref && w != "":
		if _, err := ParseJackRef(w); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
		return nil
	case p.Free:
		return nil
	case w == "" || strings.ContainsAny(w, " \t\n"):
		return fmt.Errorf("%s is a word without blanks, got %q", p.Name, w)
	}
	return nil
}

// Clamp returns v inside the param's range, rounded if it is whole.
func (p *ParamSpec) Clamp(v float64) float64 {
	if p.Whole {
		v = math.Round(v)
	}
	return min(max(v, p.Min), p.Max)
}

// Check tells whether v is a value that the param takes. What a surface sends
// as a float32 is at the end of the range if it is nearest to it.
func (p *ParamSpec) Check(v float64) error {
	switch {
	case p.Text:
		return fmt.Errorf("%s takes a word, not a number", p.Name)
	case math.IsNaN(v) || v < p.Min && float32(v) < float32(p.Min) || v > p.Max && float32(v) > float32(p.Max):
		return fmt.Errorf("%s is %s, got %g", p.Name, p.Range(), v)
	case p.Whole && v != math.Trunc(v):
		return fmt.Errorf("%s is a whole number (%s), got %g", p.Name, p.Range(), v)
	}
	return nil
}

// Range describes what the param takes: "0 … 16", "0 … 2000 ms", "linear or exponential".
func (p *ParamSpec) Range() string {
	switch {
	case p.Text && p.Free:
		return "text"
	case p.Text:
		return "a word"
	case len(p.Choices) > 0:
		return strings.Join(p.Choices[:len(p.Choices)-1], ", ") + " or " + p.Choices[len(p.Choices)-1]
	case p.Unit != "":
		return number(p.Min) + " … " + number(p.Max) + " " + p.Unit
	}
	return number(p.Min) + " … " + number(p.Max)
}

// number writes a figure without an exponent, as a panel prints it.
func number(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }

// Choice returns the number of the named position of a switch.
func (p *ParamSpec) Choice(name string) (float64, error) {
	if i := slices.Index(p.Choices, name); i >= 0 {
		return float64(i), nil
	}
	return 0, fmt.Errorf("%s is %s, got %q", p.Name, p.Range(), name)
}

// JackSpec declares one jack.
type JackSpec struct {
	Name string
	Doc  string
	Kind SignalKind
	Unit string // what the volts stand for, where it is not the kind's own meaning
	// Normal is what an input reads with nothing plugged in, in volts.
	Normal float32
	// Follows names the input of the same module that this one reads with
	// nothing plugged in, as the right side of a stereo pair reads the left.
	Follows string
	// Poly marks an output that always carries MaxPoly channels, or an input
	// that uses all of them.
	Poly bool
	// Watch marks an input whose gate edges the control side is told of.
	Watch bool
	// Button marks an input that the panel has a push button for.
	Button bool
	// Bargraph marks an output whose volts the panel shows as a bar.
	Bargraph bool
	// Step marks a CV output of a cluster module that steps as a gate does,
	// because it is read at the edge of a trigger beside it.
	Step bool
	// Glide is how long a CV output of a cluster module takes to a new level,
	// in seconds; 0 is 10 ms.
	Glide float64
}

// ModuleSpec declares a module: everything that panels, addresses, files and
// documents say of it comes from here.
type ModuleSpec struct {
	Kind    string // lower case with underscores; the first part of the address
	Title   string // as the faceplate prints it
	Doc     string
	HP      int    // width; 1 HP = 5.08 mm
	Plus12  int    // mA
	Minus12 int    // mA
	Plus5   int    // mA
	Bound   string // the object and fields of the cluster that it shows; empty for a sound module
	Params  []ParamSpec
	Inputs  []JackSpec
	Outputs []JackSpec
	// Tail says how the module goes on when it leaves the patch of one scene for
	// that of another.
	Tail Tail
	// Captures marks a module whose jacks of the rig are inputs of it.
	Captures bool
	// Through names pairs of an input and an output. A module that has them
	// gets a switch bypass, which passes each of those inputs on to its output.
	Through [][2]string
	// New returns a Processor before its Init.
	New func() Processor

	cv      []cvParam
	polyCV  []cvParam
	bypass  int // the param's index, -1 where there is none
	through []through
}

// through is a pair of Through by its indices.
type through struct{ input, output int }

// cvParam ties a knob to the CV jack and attenuverter that it was given.
type cvParam struct {
	param, att, input int
	whole             bool // it is rounded here; what the cluster hears of is rounded by its wish
}

// Tail says what is heard of a module that is fed no more.
type Tail uint8

// Kinds of Tail.
const (
	TailNone    Tail = iota // nothing, or what it plays by itself
	TailRelease             // it comes to rest when its gates have fallen
	TailMemory              // it gives back what it was fed before: echoes, a room
)

// Cluster tells whether the module stands for something in the cluster.
func (s *ModuleSpec) Cluster() bool { return s.Bound != "" }

// Param returns the index of the named param, or -1.
func (s *ModuleSpec) Param(name string) int {
	return slices.IndexFunc(s.Params, func(p ParamSpec) bool { return p.Name == name })
}

// Input returns the index of the named input jack, or -1.
func (s *ModuleSpec) Input(name string) int { return jackIndex(s.Inputs, name) }

// Output returns the index of the named output jack, or -1.
func (s *ModuleSpec) Output(name string) int { return jackIndex(s.Outputs, name) }

func jackIndex(jacks []JackSpec, name string) int {
	return slices.IndexFunc(jacks, func(j JackSpec) bool { return j.Name == name })
}

// finish gives every knob with CV its jack and attenuverter and checks the
// declaration; a mistake in it is a mistake in the program.
func (s *ModuleSpec) finish() {
	for i := range s.Params {
		p := &s.Params[i]
		if len(p.Choices) > 0 {
			p.Whole, p.Min, p.Max = true, 0, float64(len(p.Choices)-1)
		}
		if p.PerVolt == 0 {
			continue
		}
		tie := cvParam{param: i, att: len(s.Params), input: len(s.Inputs), whole: p.Whole && !p.Cluster && !p.Live}
		if p.PolyCV {
			s.polyCV = append(s.polyCV, tie)
		} else {
			s.cv = append(s.cv, tie)
		}
		s.Inputs = append(s.Inputs, JackSpec{Name: p.Name + "_cv", Kind: CV, Poly: p.PolyCV, Doc: "adds to " + p.Name + " through its attenuverter"})
		s.Params = append(s.Params, ParamSpec{Name: p.Name + "_att", Min: -1, Max: 1, Value: 1, Doc: "share of " + p.Name + "_cv"})
	}
	s.bypass = -1
	for _, pair := range s.Through {
		t := through{s.Input(pair[0]), s.Output(pair[1])}
		if t.input < 0 || t.output < 0 {
			panic(fmt.Sprintf("module %s: no jacks %v to pass through", s.Kind, pair))
		}
		s.through = append(s.through, t)
		s.bypass = len(s.Params)
	}
	if s.bypass >= 0 {
		s.Params = append(s.Params, ParamSpec{Name: "bypass", Min: 0, Max: 1, Whole: true, Choices: switchWords, Doc: "passes what comes in on as it is"})
	}
	for i, j := range s.Inputs {
		if j.Follows != "" && s.Input(j.Follows) >= i {
			panic(fmt.Sprintf("module %s: %s follows %q, which is no input before it", s.Kind, j.Name, j.Follows))
		}
	}
	seen := map[string]bool{}
	claim := func(name string) {
		if seen[name] || name == "" {
			panic(fmt.Sprintf("module %s: %q is declared twice or empty", s.Kind, name))
		}
		seen[name] = true
	}
	for i := range s.Params {
		p := &s.Params[i]
		claim(p.Name)
		if !p.Text && p.Check(p.Value) != nil {
			panic(fmt.Sprintf("module %s: default of %s is out of its range", s.Kind, p.Name))
		}
	}
	for _, j := range s.Inputs {
		claim(j.Name)
	}
	for _, j := range s.Outputs {
		claim(j.Name)
	}
}

// specs is the register of modules, in the order in which a browser shows
// them: the cluster first, then sound.
var specs = func() []*ModuleSpec {
	all := []*ModuleSpec{
		deploymentSpec(), podSpec(), serviceSpec(), ingressSpec(), nodeSpec(), namespaceSpec(),
		hpaSpec(), cronJobSpec(), jobSpec(), controllerSpec(), etcdSpec(), apiServerSpec(), ruleSpec(),
		vcoSpec(), vcfSpec(), adsrSpec(), lfoSpec(), sampleHoldSpec(), slewSpec(), attenuverterSpec(), scopeSpec(),
		voiceSpec(), noiseSpec(), vcaSpec(), reverbSpec(), mixerSpec(), clockSpec(), euclidSpec(), quantizerSpec(), delayUnitSpec(), chorusSpec(), compressorSpec(), drumSpec(), audioOutSpec(),
		cvOutSpec(), gateOutSpec(), cvInSpec(), audioInSpec(),
		midiInSpec(), midiOutSpec(),
	}
	for _, s := range all {
		s.finish()
	}
	return all
}()

// registry is the modules of the instrument itself: what its documents speak of.
var registry = specs

// Specs returns every module there is. The slice must not be changed.
func Specs() []*ModuleSpec { return specs }

// Spec returns the module of that kind, or nil.
func Spec(kind string) *ModuleSpec {
	for _, s := range specs {
		if s.Kind == kind {
			return s
		}
	}
	return nil
}
