package rule

import (
	"errors"
	"fmt"
	"math"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
)

// programVariables are what a Controller's program may use.
var programVariables = []Variable{
	{"desired", "double", "what should be, in volts"},
	{"observed", "double", "what is, in volts"},
	{"error", "double", "desired less observed, in volts"},
	{"integral", "double", "the error summed over time, in volt seconds"},
	{"act", "double", "what the program last came to, in volts"},
	{"interval", "double", "seconds since the last reconciliation"},
	{"time", "double", "seconds since the module began"},
}

// ProgramVariables returns the variables of a Controller's program.
func ProgramVariables() []Variable { return programVariables }

// Inputs are the values of a Controller's program.
type Inputs struct {
	Desired, Observed, Error float64 // V
	Integral                 float64 // V·s
	Act                      float64 // V
	Interval, Time           float64 // s
}

// Program is the law of a Controller: a CEL expression of its Inputs. It is
// not safe for concurrent use.
type Program struct {
	x  *expression
	in Inputs
}

// CompileProgram checks and compiles a program. Its errors join an *Error for
// each mistake, with its place in the source.
func CompileProgram(source string) (*Program, error) {
	x, issues := programSyntax().compile(source, aNumber)
	if len(issues) > 0 {
		var errs []error
		for _, i := range issues {
			errs = append(errs, &ProgramError{i.line, i.column, i.err})
		}
		return nil, errors.Join(errs...)
	}
	return &Program{x: x}, nil
}

// ProgramError is one mistake of a program.
type ProgramError struct {
	Line, Column int // from 1; Column in characters
	Err          error
}

// Error returns the place and what is wrong: program:1:14: ….
func (e *ProgramError) Error() string {
	return fmt.Sprintf("program:%d:%d: %v", e.Line, e.Column, e.Err)
}

// Unwrap returns what is wrong.
func (e *ProgramError) Unwrap() error { return e.Err }

// Eval returns what the program makes of its inputs, a finite number that has
// no limits yet. It takes about a microsecond and never more than a few
// milliseconds.
func (p *Program) Eval(in Inputs) (float64, error) {
	p.in = in
	v, err := p.x.eval((*programScope)(p))
	if err != nil {
		return 0, fmt.Errorf("program: %w", err)
	}
	f := float(v)
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0, fmt.Errorf("program: %g is not a finite number", f)
	}
	return f, nil
}

// programScope is what a program can see.
type programScope Program

// ResolveName implements cel.Activation.
func (p *programScope) ResolveName(name string) (any, bool) {
	var v float64
	switch name {
	case "desired":
		v = p.in.Desired
	case "observed":
		v = p.in.Observed
	case "error":
		v = p.in.Error
	case "integral":
		v = p.in.Integral
	case "act":
		v = p.in.Act
	case "interval":
		v = p.in.Interval
	case "time":
		v = p.in.Time
	default:
		return nil, false
	}
	return types.Double(v), true
}

// Parent implements cel.Activation.
func (p *programScope) Parent() cel.Activation { return nil }
