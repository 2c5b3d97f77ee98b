package rule

import (
	"errors"
	"math"
	"strings"
	"testing"
)

func TestProgram(t *testing.T) {
	in := Inputs{Desired: 5, Observed: 3, Error: 2, Integral: 0.5, Act: 1, Interval: 0.1, Time: 60}
	for source, want := range map[string]float64{
		"act + 0.5 * error":               2,
		"1.5 * error + 0.2 * integral":    3.1,
		"desired - observed":              2,
		"clamp(act + error, -1, 2)":       2,
		"abs(error) < 0.05 ? act : 0.0":   0,
		"sine(time / 240.0) * 10.0":       10,
		"3":                               3,
		"act + error * interval":          1.2,
		"max(0, error) * pow(2, act)":     4,
		"pick([1.0, 2.0, 3.0], interval)": 1,
	} {
		p, err := CompileProgram(source)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		if got, err := p.Eval(in); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%s = %v, %v; want %v", source, got, err, want)
		}
	}
}

func TestProgramErrors(t *testing.T) {
	for source, want := range map[string]string{
		"":                         "program:1:1: the expression is empty; expected a number",
		"act + eror":               `program:1:7: undeclared reference to 'eror'; did you mean "error"?`,
		"act + 1":                  "program:1:5: '+' does not take (double, int); an int and a double do not mix: write double(x), or 2.0 for 2",
		"error > 1.0":              "program:1:1: expected a number, this is a bool",
		"random()":                 "program:1:7: undeclared reference to 'random'",
		"state(\"ready\") == \"\"": "program:1:6: undeclared reference to 'state'",
		"slot":                     "program:1:1: undeclared reference to 'slot'",
		"act +\n  wobble":          "program:2:3: undeclared reference to 'wobble'",
	} {
		_, err := CompileProgram(source)
		if err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", source, err, want)
		}
		var e *ProgramError
		if !errors.As(err, &e) {
			t.Errorf("%q: %T", source, err)
		}
	}
	for source, want := range map[string]string{
		"1.0 / (error - error)":         "not a finite number",
		"1 / int(error * 0.0)":          "division by zero",
		"linear(1, error, error, 0, 1)": "from 2 to 2",
	} {
		p, err := CompileProgram(source)
		if err != nil {
			t.Fatal(err)
		}
		if v, err := p.Eval(Inputs{Error: 2}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v; want %s", source, v, err, want)
		}
	}
}

func BenchmarkProgram(b *testing.B) {
	p, err := CompileProgram("clamp(act + 0.5 * error + 0.1 * integral, -10, 10)")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := p.Eval(Inputs{Error: 1, Act: 2}); err != nil {
			b.Fatal(err)
		}
	}
}
