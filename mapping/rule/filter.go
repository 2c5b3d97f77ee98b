package rule

import (
	"slices"

	"github.com/google/cel-go/common/ast"
	"github.com/google/cel-go/common/operators"
	"github.com/google/cel-go/common/types"
)

// filter is what can be told of a condition without evaluating it: which
// kinds and fields of transitions it may be true for. A nil list is any.
type filter struct{ kinds, fields []string }

// pass tells whether the condition may be true.
func (f *filter) pass(kind, field string) bool {
	return (f.kinds == nil || slices.Contains(f.kinds, kind)) && (f.fields == nil || slices.Contains(f.fields, field))
}

// derive reads a condition. Where an evaluation may be an error, nothing is
// lost: in CEL, false && error is false.
func derive(e ast.Expr) filter {
	if e.Kind() != ast.CallKind {
		return filter{}
	}
	c := e.AsCall()
	args := c.Args()
	switch c.FunctionName() {
	case operators.LogicalAnd:
		all := filter{}
		for _, a := range args {
			f := derive(a)
			all = filter{both(all.kinds, f.kinds), both(all.fields, f.fields)}
		}
		return all
	case operators.LogicalOr:
		all := derive(args[0])
		for _, a := range args[1:] {
			f := derive(a)
			all = filter{either(all.kinds, f.kinds), either(all.fields, f.fields)}
		}
		return all
	case operators.Equals:
		if w, ok := literal(args[1]); ok {
			return about(args[0], []string{w})
		}
		if w, ok := literal(args[0]); ok {
			return about(args[1], []string{w})
		}
	case operators.In:
		if args[1].Kind() != ast.ListKind {
			return filter{}
		}
		words := []string{}
		for _, item := range args[1].AsList().Elements() {
			w, ok := literal(item)
			if !ok {
				return filter{}
			}
			words = append(words, w)
		}
		return about(args[0], words)
	}
	return filter{}
}

func about(e ast.Expr, words []string) filter {
	if e.Kind() == ast.IdentKind {
		switch e.AsIdent() {
		case "kind":
			return filter{kinds: words}
		case "field":
			return filter{fields: words}
		}
	}
	return filter{}
}

func literal(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	w, ok := e.AsLiteral().(types.String)
	return string(w), ok
}

// both is what is in two lists, nil being any.
func both(a, b []string) []string {
	if a == nil {
		return b
	}
	if b == nil {
		return a
	}
	out := []string{}
	for _, w := range a {
		if slices.Contains(b, w) {
			out = append(out, w)
		}
	}
	return out
}

// either is what is in one list or the other, nil being any.
func either(a, b []string) []string {
	if a == nil || b == nil {
		return nil
	}
	out := slices.Clone(a)
	for _, w := range b {
		if !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	return out
}
