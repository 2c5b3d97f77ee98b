package scenes

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
	// ErrNotFound says that there is no scene or script of that name.
	ErrNotFound = errors.New("not found")
)

// Error is one mistake in a file.
type Error struct {
	File string
	// Line and Column count from 1, Column in characters.
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors is how many mistakes of one file are reported; a file with more
// is not what its name says.
const maxErrors = 100

// problems gathers the mistakes of one file.
type problems struct {
	file    string
	errs    []*Error
	skipped int
}

func (p *problems) at(line, column int, format string, a ...any) {
	p.add(line, column, fmt.Errorf(format, a...))
}

func (p *problems) add(line, column int, err error) {
	if len(p.errs) >= maxErrors {
		p.skipped++
		return
	}
	p.errs = append(p.errs, &Error{p.file, max(line, 1), max(column, 1), err})
}

// full tells that no more mistakes will be told, so that looking for near
// names can be left out.
func (p *problems) full() bool { return len(p.errs) >= maxErrors }

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

// told is an error in other words.
type told struct {
	text string
	err  error
}

func (t *told) Error() string { return t.text }
func (t *told) Unwrap() error { return t.err }

// laterVersion is ErrVersion of one file.
func laterVersion(what string, version, newest int) error {
	return &told{fmt.Sprintf("%s is of version %d; this program reads up to %d; update k8s-synth", what, version, newest), ErrVersion}
}

// near returns `; did you mean "name"?` for the known name that is nearest to
// an unknown one, or nothing where none is near.
func near(name string, known []string) string {
	const longest = 64 // of what a finger may have slipped on
	n := utf8.RuneCountInString(name)
	if n == 0 || n > longest {
		return ""
	}
	best, least := "", max(1, n/3)+1
	for _, k := range known {
		if d := distance(strings.ToLower(name), strings.ToLower(k), least); d < least && k != name {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours that turn a into b; limit or more is
// told as limit.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d >= limit || -d >= limit {
		return limit
	}
	before, last, this := make([]int, len(y)+1), make([]int, len(y)+1), make([]int, len(y)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(x); i++ {
		this[0] = i
		for j := 1; j <= len(y); j++ {
			cost := 1
			if x[i-1] == y[j-1] {
				cost = 0
			}
			this[j] = min(last[j]+1, this[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && x[i-1] == y[j-2] && x[i-2] == y[j-1] {
				this[j] = min(this[j], before[j-2]+1)
			}
		}
		before, last, this = last, this, before
	}
	return min(last[len(y)], limit)
}
