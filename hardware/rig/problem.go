package rig

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

var (
	// ErrVersion says that a file is of a later version than this program reads.
	ErrVersion = errors.New("file of a later version")
	// ErrNotFound says that there is no rig or profile of that name.
	ErrNotFound = errors.New("not found")
)

// Error is one mistake in a file. Line and Column count from 1, Column in characters.
type Error struct {
	File         string
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors is how many mistakes of one file are told.
const maxErrors = 100

// problems gathers the mistakes of one file.
type problems struct {
	file    string
	errs    []*Error
	skipped int
}

func (p *problems) at(line, column int, format string, a ...any) {
	if len(p.errs) >= maxErrors {
		p.skipped++
		return
	}
	p.errs = append(p.errs, &Error{p.file, max(line, 1), max(column, 1), fmt.Errorf(format, a...)})
}

// err returns all mistakes in the order of the file, or nil.
func (p *problems) err() error {
	if len(p.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(p.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range p.errs {
		all = append(all, e)
	}
	if p.skipped > 0 {
		all = append(all, fmt.Errorf("%s: and %d more mistakes", p.file, p.skipped))
	}
	return errors.Join(all...)
}

// clip shortens what is quoted from a file.
func clip(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}

// near returns `; did you mean "name"?` for the one known name that begins as an unknown one does
// or is a letter away from it, or nothing.
func near(name string, known []string) string {
	name = strings.ToLower(name)
	for _, k := range known {
		l := strings.ToLower(k)
		if l == name || len(name) > 2 && (strings.HasPrefix(l, name) || strings.HasPrefix(name, l)) || oneOff(name, l) {
			return fmt.Sprintf("; did you mean %q?", k)
		}
	}
	return ""
}

// oneOff tells whether one letter put in, left out or changed, or two swapped, make b of a.
func oneOff(a, b string) bool {
	if a == b || len(a) < 3 {
		return false
	}
	i := 0
	for i < min(len(a), len(b)) && a[i] == b[i] {
		i++
	}
	x, y := a[i:], b[i:]
	switch len(x) - len(y) {
	case 1:
		return x[1:] == y
	case -1:
		return x == y[1:]
	case 0:
		return x[1:] == y[1:] || len(x) > 1 && x[0] == y[1] && x[1] == y[0] && x[2:] == y[2:]
	}
	return false
}
