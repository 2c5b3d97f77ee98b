package rule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Ends of what rules may be.
const (
	MaxRules  = 256  // in one set
	MaxSource = 2000 // characters of one expression
	MaxArgs   = 16   // of one OSC message
	MaxName   = 63   // characters
)

// Ends of what rules play.
const (
	MinDuration = 0.001 // s
	MaxDuration = 60    // s
	MaxVolts    = 10    // and −10 V below
	MaxBend     = 48    // semitones each way, of MPE; a channel has 2
	MaxPort     = 200   // characters of a port's name
	Channels    = 16
	Programs    = 128

	DefaultVelocity = 100
	DefaultDuration = 0.1 // s
	DefaultChannel  = 1
)

// Spec is a rule as it is written. Every field but Name is the source of a CEL
// expression; a plain number is one too. An empty field is one left out.
type Spec struct {
	Name     string // for people and for addresses; empty is told by its number
	When     string // bool
	Note     string // number: MIDI note, 0…127, fractions are microtones
	Velocity string // number: 1…127
	Duration string // number: seconds, 0.001…60
	Channel  string // int: 1…16
	Port     string // a MIDI port, or an expression for it behind a =
	MPE      string // bool
	CC       *CC
	Bend     string // number: semitones
	Pressure string // number: 0…127
	Program  string // int: 1…128
	Gate     string // bool
	CV       string // number: volts, −10…10
	OSC      *OSC
}

// CC is the controller of a rule.
type CC struct {
	Number string // int: 0…119
	Value  string // number: 0…127
}

// OSC is the message of a rule.
type OSC struct {
	// Address is a CEL expression of type string, or, where it begins with a
	// slash, the address itself.
	Address string
	// Args are CEL expressions of type int, double, bool or string.
	Args []string
	// To is who gets it, host:port, or an expression for it behind a =; empty is
	// everyone who listens.
	To string
}

// Fields of a rule, of its controller and of its OSC message, in the order in
// which they are written.
var (
	Fields    = []string{"name", "when", "note", "velocity", "duration", "channel", "port", "mpe", "cc", "bend", "pressure", "program", "gate", "cv", "osc"}
	CCFields  = []string{"number", "value"}
	OSCFields = []string{"address", "args", "to"}
)

// Source returns the source of a field by its path in the rule, such as note
// or osc.args[1]; empty where there is none.
func (s *Spec) Source(field string) string {
	switch field {
	case "name":
		return s.Name
	case "when":
		return s.When
	case "note":
		return s.Note
	case "velocity":
		return s.Velocity
	case "duration":
		return s.Duration
	case "channel":
		return s.Channel
	case "port":
		return s.Port
	case "mpe":
		return s.MPE
	case "bend":
		return s.Bend
	case "pressure":
		return s.Pressure
	case "program":
		return s.Program
	case "gate":
		return s.Gate
	case "cv":
		return s.CV
	}
	if s.CC != nil {
		switch field {
		case "cc.number":
			return s.CC.Number
		case "cc.value":
			return s.CC.Value
		}
	}
	if s.OSC == nil {
		return ""
	}
	switch field {
	case "osc.address":
		return s.OSC.Address
	case "osc.to":
		return s.OSC.To
	}
	if n, ok := strings.CutPrefix(field, "osc.args["); ok {
		if i, err := strconv.Atoi(strings.TrimSuffix(n, "]")); err == nil && i >= 0 && i < len(s.OSC.Args) {
			return s.OSC.Args[i]
		}
	}
	return ""
}

// Equal tells whether two rules are written alike.
func (s Spec) Equal(o Spec) bool {
	a, b, c, d := s.OSC, o.OSC, s.CC, o.CC
	s.OSC, o.OSC, s.CC, o.CC = nil, nil, nil, nil
	if s != o || (a == nil) != (b == nil) || (c == nil) != (d == nil) || c != nil && *c != *d {
		return false
	}
	if a == nil {
		return true
	}
	if a.Address != b.Address || a.To != b.To || len(a.Args) != len(b.Args) {
		return false
	}
	for i := range a.Args {
		if a.Args[i] != b.Args[i] {
			return false
		}
	}
	return true
}

// Error is one mistake of a rule.
type Error struct {
	Rule  int    // its index in the list
	Field string // such as when or osc.args[1]; empty is the whole rule
	// Line and Column are the place within the field's source, both from 1,
	// Column in characters; 0 is the whole field.
	Line, Column int
	Err          error
}

// Error returns the place and what is wrong: rules[2].note:1:14: ….
func (e *Error) Error() string {
	place := fmt.Sprintf("rules[%d]", e.Rule)
	if e.Field != "" {
		place += "." + e.Field
	}
	if e.Line > 0 {
		place += fmt.Sprintf(":%d:%d", e.Line, e.Column)
	}
	return place + ": " + e.Err.Error()
}

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// Errors returns every mistake that an error of Compile joins.
func Errors(err error) (all []*Error) {
	if err == nil {
		return nil
	}
	if j, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range j.Unwrap() {
			all = append(all, Errors(e)...)
		}
		return all
	}
	var e *Error
	if errors.As(err, &e) {
		all = append(all, e)
	}
	return all
}
