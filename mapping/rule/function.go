package rule

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"

	"github.com/google/cel-go/cel"
	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"
	"github.com/google/cel-go/common/types/traits"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Variable is one name that an expression may use.
type Variable struct {
	Name, Type, Doc string
}

// Function is one function that an expression may call, beyond those of CEL
// itself.
type Function struct {
	// Signature as a player reads it; number is an int or a double.
	Signature, Doc string
}

// param is the type of a parameter.
type param byte

const (
	numberParam param = iota // int or double
	stringParam
)

// function is the declaration of a Function whose parameters are numbers and
// words; it answers with a double.
type function struct {
	name   string
	params []param
	names  []string // of the parameters
	doc    string
	eval   func(n []float64, s string) (float64, error)
}

func (f *function) signature() string {
	var b strings.Builder
	b.WriteString(f.name + "(")
	for i, n := range f.names {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(n)
	}
	return b.String() + ")"
}

// pure adapts a function that cannot fail.
func pure(f func(n []float64) float64) func([]float64, string) (float64, error) {
	return func(n []float64, _ string) (float64, error) { return f(n), nil }
}

// functions are those that every expression may call. Beside them stand pick,
// and in rules random and state, whose types are of their own.
var functions = []function{
	{"scale", []param{stringParam, numberParam, numberParam}, []string{"name", "root", "degree"},
		"note of a degree of a scale on a root note: degree 0 is the root, degrees beyond the scale go on in the next octave, negative ones below; a degree that is not whole is rounded down, so that equal parts of a range give equal parts of the scale",
		func(n []float64, s string) (float64, error) { return scaleNote(s, n[0], n[1]) }},
	{"chord", []param{stringParam, numberParam, numberParam}, []string{"name", "root", "index"},
		"note of a chord on a root note, in close position: index 0 is the root, and beyond the chord it begins again above, for chords with a ninth two octaves above",
		func(n []float64, s string) (float64, error) { return chordNote(s, n[0], n[1]) }},
	{"quantize", []param{numberParam, stringParam, numberParam}, []string{"note", "name", "root"},
		"nearest note of a scale on a root note; of two as near the lower one",
		func(n []float64, s string) (float64, error) { return quantizeNote(n[0], s, n[1]) }},
	{"hz", []param{numberParam}, []string{"note"}, "frequency of a note in Hz, in equal temperament from A4 = 440 Hz = note 69",
		pure(func(n []float64) float64 { return noteHz(n[0]) })},
	{"note", []param{numberParam}, []string{"hz"}, "note of a frequency in Hz, with its fraction",
		func(n []float64, _ string) (float64, error) { return hzNote(n[0]) }},
	{"volts", []param{numberParam}, []string{"note"}, "pitch CV of a note in volts: 1 V an octave, 0 V is C4, note 60",
		pure(func(n []float64) float64 { return noteVolts(n[0]) })},
	{"ratio", []param{numberParam}, []string{"r"}, "semitones that a ratio of frequencies spans: ratio(3.0 / 2.0) is a just fifth, 7.01955",
		func(n []float64, _ string) (float64, error) { return ratioSemitones(n[0]) }},
	{"linear", []param{numberParam, numberParam, numberParam, numberParam, numberParam}, []string{"x", "a", "b", "c", "d"},
		"x carried from the range a to b over to the range c to d, and on beyond their ends; it is an error where a and b are equal",
		func(n []float64, _ string) (float64, error) {
			if n[1] == n[2] {
				return 0, fmt.Errorf("linear goes from one number to another, this is from %g to %g", n[1], n[2])
			}
			return n[3] + (n[0]-n[1])/(n[2]-n[1])*(n[4]-n[3]), nil
		}},
	{"clamp", []param{numberParam, numberParam, numberParam}, []string{"x", "low", "high"}, "x, but at least low and at most high",
		pure(func(n []float64) float64 { return min(max(n[0], n[1]), n[2]) })},
	{"min", []param{numberParam, numberParam}, []string{"x", "y"}, "the smaller of two numbers",
		pure(func(n []float64) float64 { return min(n[0], n[1]) })},
	{"max", []param{numberParam, numberParam}, []string{"x", "y"}, "the larger of two numbers",
		pure(func(n []float64) float64 { return max(n[0], n[1]) })},
	{"abs", []param{numberParam}, []string{"x"}, "x without its sign", pure(func(n []float64) float64 { return math.Abs(n[0]) })},
	{"floor", []param{numberParam}, []string{"x"}, "the whole number at or below x, as a double", pure(func(n []float64) float64 { return math.Floor(n[0]) })},
	{"ceil", []param{numberParam}, []string{"x"}, "the whole number at or above x, as a double", pure(func(n []float64) float64 { return math.Ceil(n[0]) })},
	{"round", []param{numberParam}, []string{"x"}, "the nearest whole number, as a double; halves go away from 0", pure(func(n []float64) float64 { return math.Round(n[0]) })},
	{"mod", []param{numberParam, numberParam}, []string{"x", "y"}, "what is left of x when y is taken away as often as it goes, from 0 to y for negative x as well; it is an error where y is 0",
		func(n []float64, _ string) (float64, error) {
			if n[1] == 0 {
				return 0, fmt.Errorf("mod of %g by 0", n[0])
			}
			return n[0] - n[1]*math.Floor(n[0]/n[1]), nil
		}},
	{"pow", []param{numberParam, numberParam}, []string{"x", "y"}, "x to the power of y", pure(func(n []float64) float64 { return math.Pow(n[0], n[1]) })},
	{"sine", []param{numberParam}, []string{"turns"}, "sine of an angle in turns, −1…1: sine(0.25) is 1", pure(func(n []float64) float64 { return math.Sin(2 * math.Pi * (n[0] - math.Floor(n[0]))) })},
	{"hash", []param{stringParam}, []string{"word"}, "a number from 0 to 1, 1 not included, that is the same for the same word on every machine",
		func(_ []float64, s string) (float64, error) { return unit(mix64(fnv64(s))), nil }},
	{"number", []param{stringParam}, []string{"word"}, "the number that is written in a word; it is an error where there is none",
		func(_ []float64, s string) (float64, error) {
			if v, ok := written(s); ok {
				return v, nil
			}
			return 0, fmt.Errorf("%q is not a number; write number(word, default) where it may be a word", document.Clip(s))
		}},
	{"number", []param{stringParam, numberParam}, []string{"word", "default"}, "the number that is written in a word, or the default where there is none",
		func(n []float64, s string) (float64, error) {
			if v, ok := written(s); ok {
				return v, nil
			}
			return n[0], nil
		}},
}

// written reads a finite decimal number.
func written(s string) (float64, bool) {
	v, err := strconv.ParseFloat(s, 64)
	return v, err == nil && !math.IsInf(v, 0) && !math.IsNaN(v)
}

const (
	pickSignature, pickDoc     = "pick(list, x)", "one of a list: an int x counts from 0 and goes round at both ends; a double x from 0 to 1 picks its part of the list, and goes no further than the ends"
	randomSignature, randomDoc = "random()", "a number from 0 to 1, 1 not included, another at each call; the seed of the scene and the rule's name decide which, so that a take sounds the same again"
	stateSignature, stateDoc   = "state(field)", "last value of any field of the object that the transition speaks of, this transition included; empty where it was never told"
)

// Functions returns what rules may call beyond CEL's own, in the order of the
// package's comment. A Controller's program has all but random and state.
func Functions() (all []Function) {
	for i := range functions {
		all = append(all, Function{functions[i].signature(), functions[i].doc})
	}
	return append(all, Function{pickSignature, pickDoc}, Function{randomSignature, randomDoc}, Function{stateSignature, stateDoc})
}

// usage returns the signatures of a function, for errors.
func usage(name string) string {
	var all []string
	for _, f := range Functions() {
		if n, _, _ := strings.Cut(f.Signature, "("); n == name {
			all = append(all, f.Signature)
		}
	}
	return strings.Join(all, " or ")
}

// float returns the number of a value that is checked to be one.
func float(v ref.Val) float64 {
	switch v := v.(type) {
	case types.Double:
		return float64(v)
	case types.Int:
		return float64(v)
	case types.Uint:
		return float64(v)
	}
	return math.NaN()
}

// declare returns the overloads of a function: one for each way in which its
// numbers may be ints and doubles.
func (f *function) declare() []cel.FunctionOpt {
	var opts []cel.FunctionOpt
	ways := 1
	for _, p := range f.params {
		if p == numberParam {
			ways *= 2
		}
	}
	for way := range ways {
		id, bit := f.name, 0
		var args []*cel.Type
		for _, p := range f.params {
			t, name := cel.StringType, "string"
			if p == numberParam {
				t, name = cel.DoubleType, "double"
				if way>>bit&1 == 1 {
					t, name = cel.IntType, "int"
				}
				bit++
			}
			args, id = append(args, t), id+"_"+name
		}
		opts = append(opts, cel.Overload(id, args, cel.DoubleType, f.binding()))
	}
	return opts
}

func (f *function) binding() cel.OverloadOpt {
	call := func(args ...ref.Val) ref.Val {
		var numbers [5]float64
		word, n := "", 0
		for i, p := range f.params {
			if p == stringParam {
				word = string(args[i].(types.String))
			} else {
				numbers[n] = float(args[i])
				n++
			}
		}
		v, err := f.eval(numbers[:n], word)
		if err != nil {
			return types.WrapErr(err)
		}
		return types.Double(v)
	}
	switch len(f.params) {
	case 1:
		return cel.UnaryBinding(func(a ref.Val) ref.Val { return call(a) })
	case 2:
		return cel.BinaryBinding(func(a, b ref.Val) ref.Val { return call(a, b) })
	}
	return cel.FunctionBinding(call)
}

// pick is the one function of lists.
func pick() cel.EnvOption {
	a := cel.TypeParamType("A")
	list := cel.ListType(a)
	at := func(l ref.Val, place func(n int) int) ref.Val {
		items := l.(traits.Lister)
		n := int(items.Size().(types.Int))
		if n == 0 {
			return types.NewErr("there is nothing to pick in an empty list")
		}
		return items.Get(types.Int(place(n)))
	}
	return cel.Function("pick",
		cel.Overload("pick_list_int", []*cel.Type{list, cel.IntType}, a, cel.BinaryBinding(func(l, x ref.Val) ref.Val {
			return at(l, func(n int) int {
				i := int64(x.(types.Int)) % int64(n)
				return int(i+int64(n)) % n
			})
		})),
		cel.Overload("pick_list_double", []*cel.Type{list, cel.DoubleType}, a, cel.BinaryBinding(func(l, x ref.Val) ref.Val {
			v := float64(x.(types.Double))
			if math.IsNaN(v) {
				return types.NewErr("pick takes a number, this is not one")
			}
			return at(l, func(n int) int { return int(min(max(math.Floor(v*float64(n)), 0), float64(n-1))) })
		})))
}

// library returns the declarations of all functions that every expression
// has.
var library = sync.OnceValue(func() []cel.EnvOption {
	byName := map[string][]cel.FunctionOpt{}
	for i := range functions {
		f := &functions[i]
		byName[f.name] = append(byName[f.name], f.declare()...)
	}
	opts := []cel.EnvOption{pick()}
	for name, overloads := range byName {
		opts = append(opts, cel.Function(name, overloads...))
	}
	return opts
})
