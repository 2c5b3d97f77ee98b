package document

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// ErrVersion says that a file is of a later version than this program reads.
var ErrVersion = errors.New("file of a later version")

// LaterVersion is ErrVersion in words that say all of it.
func LaterVersion(what string, version, newest int) error {
	return Worded(fmt.Sprintf("%s is of version %d; this program reads up to %d; update k8s-synth", what, version, newest), ErrVersion)
}

// Error is one mistake in a file. Line and Column count from 1, Column in
// characters.
type Error struct {
	File         string
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

type worded struct {
	text string
	err  error
}

func (w *worded) Error() string { return w.text }
func (w *worded) Unwrap() error { return w.err }

// Worded is an error in other words, which say all of it.
func Worded(text string, err error) error { return &worded{text, err} }

// MaxErrors is how many mistakes of one file are told; a file with more is not
// what its name says.
const MaxErrors = 100

// Mistakes gathers what is wrong with one file.
type Mistakes struct {
	File string // its name in errors

	errs    []*Error
	skipped int
}

// At reports a mistake at a line and a column.
func (m *Mistakes) At(line, column int, format string, a ...any) {
	m.Add(line, column, fmt.Errorf(format, a...))
}

// Add reports a mistake that is an error already.
func (m *Mistakes) Add(line, column int, err error) {
	if m.Full() {
		m.skipped++
		return
	}
	m.errs = append(m.errs, &Error{m.File, max(line, 1), max(column, 1), err})
}

// Full tells that further mistakes are counted only, so that what takes time
// can be left out of their words.
func (m *Mistakes) Full() bool { return len(m.errs) >= MaxErrors }

// Count is how many mistakes were reported so far.
func (m *Mistakes) Count() int { return len(m.errs) + m.skipped }

// Err returns all mistakes in the order of the file, or nil.
func (m *Mistakes) Err() error {
	slices.SortStableFunc(m.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range m.errs {
		all = append(all, e)
	}
	if m.skipped > 0 {
		all = append(all, fmt.Errorf("%s: and %d more mistakes", m.File, m.skipped))
	}
	return errors.Join(all...)
}

// Clip shortens what is quoted from a file.
func Clip(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}

// Near returns `; did you mean "name"?` for the known name that an unknown one
// is a slip of: the nearest, or else the only one that begins with it. Where
// none is near, or two are equally far and both more than a slip away, it is
// empty.
func Near(name string, known []string) string {
	const longest = 64 // of what a finger may have slipped on
	n := utf8.RuneCountInString(name)
	if n == 0 || n > longest {
		return ""
	}
	small := strings.ToLower(name)
	best, least, tied := "", max(1, n/3)+1, false
	for _, k := range known {
		switch d := distance(small, strings.ToLower(k), least); {
		case k == name:
		case d < least:
			best, least, tied = k, d, false
		case d == least && best != "":
			tied = true
		}
	}
	if tied && least > 1 {
		best = ""
	}
	if best == "" && n > 2 {
		for _, k := range known {
			if !strings.HasPrefix(strings.ToLower(k), small) || k == name {
				continue
			}
			if best != "" {
				return ""
			}
			best = k
		}
	}
	if best == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", best)
}

// distance is the optimal string alignment distance: insertions, deletions,
// substitutions and swaps of neighbours that turn a into b; more than limit is
// told as more than limit.
func distance(a, b string, limit int) int {
	x, y := []rune(a), []rune(b)
	if d := len(x) - len(y); d > limit || -d > limit {
		return limit + 1
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
	return last[len(y)]
}
