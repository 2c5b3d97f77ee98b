package bind

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
	// ErrNotFound says that there is no map of that name.
	ErrNotFound = errors.New("not found")
)

// Error is one mistake in a mapping file. Line and Column count from 1, Column
// in characters.
type Error struct {
	File         string
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// wordedError is an error in words that say all of it.
type wordedError struct {
	text string
	err  error
}

func (t *wordedError) Error() string { return t.text }
func (t *wordedError) Unwrap() error { return t.err }

// maxErrors is how many mistakes of one file are told; a file with more is not
// what its name says.
const maxErrors = 100

// problems gathers the mistakes of one file.
type problems struct {
	file    string
	errs    []*Error
	skipped int
}

func (p *problems) at(line, column int, format string, a ...any) {
	if p.full() {
		p.skipped++
		return
	}
	p.errs = append(p.errs, &Error{p.file, max(line, 1), max(column, 1), fmt.Errorf(format, a...)})
}

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

// clip shortens what is quoted from a file.
func clip(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}

// near returns `; did you mean "name"?` for the known name that is nearest to
// an unknown one, or nothing where none is near.
func near(name string, known []string) string {
	n := utf8.RuneCountInString(name)
	if n == 0 || n > 64 {
		return ""
	}
	best, least := "", max(1, n/3)+1
	for _, k := range known {
		if d := distance([]rune(strings.ToLower(name)), []rune(k), least); d < least && k != name {
			best, least = k, d
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is how many letters must be put in, left out, changed or swapped
// with their neighbour to make b of a; limit or more is told as limit.
func distance(a, b []rune, limit int) int {
	if d := len(a) - len(b); d >= limit || -d >= limit {
		return limit
	}
	before, last, this := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i, x := range a {
		this[0] = i + 1
		for j, y := range b {
			cost := 1
			if x == y {
				cost = 0
			}
			this[j+1] = min(last[j+1]+1, this[j]+1, last[j]+cost)
			if i > 0 && j > 0 && x == b[j-1] && a[i-1] == y {
				this[j+1] = min(this[j+1], before[j-1]+1)
			}
		}
		before, last, this = last, this, before
	}
	return min(last[len(b)], limit)
}
