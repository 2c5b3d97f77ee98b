package scenes

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/rule"
)

// Version is the version of the scenes that this program writes, and the
// latest that it reads.
const Version = 1

// What a scene has where its file does not say.
const (
	DefaultNamespace = "k8s-synth"
	DefaultLatency   = 0.030 // s
	DefaultStorm     = 8     // events a second
	DefaultRoot      = 48    // MIDI note: C3
)

// Ends of a scene's settings.
const (
	MaxLatency = 1    // s
	MinStorm   = 0.5  // events a second
	MaxStorm   = 1000 // events a second
	MaxRow     = 31
	MaxHP      = 1024 // of one row
	maxTitle   = 200  // characters
	maxAbout   = 8000 // characters
)

// Scene is a patch with what belongs to it.
type Scene struct {
	// Name is how the scene is called for: lower-case letters, digits and
	// dashes.
	Name string
	// Title is one line for people, About as many as it takes.
	Title, About string
	// Seed is where everything that is left to chance begins.
	Seed uint64
	// Namespace is where in the cluster the scene's objects live.
	Namespace string
	// Latency is the constant time from an event in the cluster to its sound,
	// in seconds, 0…1.
	Latency float64
	// Storm is how many events a second of one kind are struck singly; beyond
	// it they become a texture.
	Storm float64
	// StormPolicy says what is struck of a storm.
	StormPolicy mapping.StormPolicy
	// Scale is the name of the scale that pods and notes keep to, one of
	// rule.ScaleNames; empty is none.
	Scale string
	// Root is the MIDI note on which the scale stands, 0…127.
	Root float64
	// Tunings are those that Quantizers may name beside the built-in ones.
	Tunings map[string]Tuning
	Patch   *instrument.Patch
	// Places says where in the rack modules stand; those that are missing
	// stand where there is room.
	Places map[instrument.ModuleID]Place
	// Bindings are the names of mappings of controllers to knobs that are played
	// with the scene, beside those that the instrument plays always.
	Bindings []string
	// Transport says how the scene comes in.
	Transport Transport
	// Rules say what the transitions of the cluster play, beside what its
	// modules show.
	Rules []rule.Spec

	goodRules   []rule.Spec // those that were last found to be without mistakes
	goodTunings map[string]Tuning
}

// Place is where in the rack a module stands.
type Place struct {
	Row int // 0 is the top
	HP  int // of the module's left edge, 0 is the left end of the row
}

// New returns an empty scene with the default settings.
func New(name string) *Scene {
	return &Scene{Name: name, Title: name, Namespace: DefaultNamespace, Latency: DefaultLatency, Storm: DefaultStorm, StormPolicy: mapping.StormCloud, Root: DefaultRoot, Transport: defaultTransport,
		Patch: &instrument.Patch{}, Places: map[instrument.ModuleID]Place{}}
}

// Notes returns the scale that the scene keeps to.
func (s *Scene) Notes() mapping.Scale {
	steps, err := rule.Scale(s.Scale)
	if err != nil {
		return mapping.Scale{} // none
	}
	return mapping.Scale{Root: s.Root, Steps: steps}
}

// label is what Kubernetes takes for the name of a namespace (RFC 1123).
var label = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`)

func checkName(what, s string) error {
	if !label.MatchString(s) {
		return fmt.Errorf("%s is up to 63 lower-case letters, digits and dashes, this is %q", what, document.Clip(s))
	}
	return nil
}

// checkProse tells whether s is text for people: printable, and on one line
// unless lines is set.
func checkProse(what, s string, most int, lines bool) error {
	if n := utf8.RuneCountInString(s); n > most {
		return fmt.Errorf("%s has at most %d characters, this has %d", what, most, n)
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && !(lines && r == '\n') {
			if r == '\n' {
				return fmt.Errorf("%s is one line, this has several", what)
			}
			return fmt.Errorf("%s is printable text, this has the character %U", what, r)
		}
	}
	return nil
}

// fault is a mistake in a scene, with the path of its place as in
// instrument.PatchError.
type fault struct {
	path string
	// line and column are the place within the text of an expression, from 1;
	// 0 is none.
	line, column int
	err          error
}

// faults returns every mistake of a scene. The patch is judged by
// instrument.Patch.Validate alone.
func (s *Scene) faults() (all []fault) {
	check := func(path string, err error) {
		if err != nil {
			all = append(all, fault{path: path, err: err})
		}
	}
	between := func(what string, v, low, high float64, unit string) error {
		if math.IsNaN(v) || v < low || v > high {
			return fmt.Errorf("%s is a number from %g to %g %s, this is %g", what, low, high, unit, v)
		}
		return nil
	}
	check("name", checkName("name", s.Name))
	check("title", checkProse("title", s.Title, maxTitle, false))
	check("about", checkProse("about", s.About, maxAbout, true))
	check("namespace", checkName("namespace", s.Namespace))
	check("latency", between("latency", s.Latency, 0, MaxLatency, "seconds"))
	check("storm", between("storm", s.Storm, MinStorm, MaxStorm, "events a second"))
	check("storm_policy", s.StormPolicy.Check())
	if s.Scale != "" {
		_, err := rule.Scale(s.Scale)
		check("scale", err)
	}
	check("root", between("root", s.Root, 0, 127, "as MIDI counts notes"))
	s.checkTunings(check)
	all = append(all, s.checkRules()...)
	if n := len(s.Patch.Modules); n > instrument.MaxModules {
		// Nothing more is said of a patch that nobody made by hand.
		check("modules", fmt.Errorf("the patch has %d modules; the most is %d", n, instrument.MaxModules))
		return all
	}
	if err := s.Patch.Validate(); err != nil {
		for _, e := range unjoin(err) {
			var pe *instrument.PatchError
			if errors.As(e, &pe) {
				check(pe.Path, pe.Err)
			} else {
				check("modules", e)
			}
		}
	}
	s.checkPlaces(check)
	s.checkStage(check, between)
	return all
}

// checkPlaces finds modules that stand in one another.
func (s *Scene) checkPlaces(check func(string, error)) {
	type stand struct {
		index, row, from, to int
		id                   instrument.ModuleID
	}
	var all []stand
	for i := range s.Patch.Modules {
		m := &s.Patch.Modules[i]
		p, ok := s.Places[m.ID]
		spec := m.Spec()
		if !ok || spec == nil {
			continue
		}
		if p.Row < 0 || p.Row > MaxRow || p.HP < 0 || p.HP+spec.HP > MaxHP {
			check(fmt.Sprintf("modules[%d].at", i), fmt.Errorf("%s does not fit at row %d, HP %d; there are rows 0 to %d of %d HP, and it is %d HP wide", m.ID, p.Row, p.HP, MaxRow, MaxHP, spec.HP))
			continue
		}
		all = append(all, stand{i, p.Row, p.HP, p.HP + spec.HP, m.ID})
	}
	slices.SortStableFunc(all, func(a, b stand) int {
		return cmp.Or(cmp.Compare(a.row, b.row), cmp.Compare(a.from, b.from))
	})
	for i := 1; i < len(all); i++ {
		a, b := all[i-1], all[i]
		if a.row == b.row && b.from < a.to && a.id != b.id {
			check(fmt.Sprintf("modules[%d].at", b.index), fmt.Errorf("%s stands in %s, which takes HP %d to %d of row %d", b.id, a.id, a.from, a.to-1, a.row))
			if a.to > b.to {
				all[i] = a // the wider one may reach the next as well
			}
		}
	}
}

// Validate returns nil, or every mistake of the scene joined by errors.Join.
func (s *Scene) Validate() error {
	var errs []error
	for _, f := range s.faults() {
		if f.line > 0 {
			f.path += fmt.Sprintf(":%d:%d", f.line, f.column)
		}
		if strings.ContainsAny(f.path, "[.") {
			errs = append(errs, fmt.Errorf("scene %s: %s: %w", s.Name, f.path, f.err))
		} else {
			errs = append(errs, fmt.Errorf("scene %s: %w", s.Name, f.err))
		}
	}
	return errors.Join(errs...)
}

// unjoin returns the errors that errors.Join put together.
func unjoin(err error) []error {
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		return j.Unwrap()
	}
	return []error{err}
}
