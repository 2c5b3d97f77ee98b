package dsp

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Bounds of what a Scala file may hold. The format itself has none.
const (
	// MaxDegrees is the most notes of a scale and of a keyboard map.
	MaxDegrees = 4096
	// maxCents is a hundred octaves.
	maxCents = 120000.0
	// maxKey is the highest MIDI note.
	maxKey = 127
)

// Scale is a scale of Scala's .scl format: the pitches of one period. Degree 0
// is 1/1 and not listed; the last one is the period, mostly the octave, after
// which the scale goes on from 1/1.
type Scale struct {
	// Description is the file's own line about itself.
	Description string
	// Cents are the pitches above 1/1, in the file's order, which need not rise.
	Cents []float64
}

// ParseScale reads a scale as the .scl format defines it
// (https://www.huygens-fokker.org/scala/scl_format.html): lines that begin
// with ! are comments, the first other line describes, the second counts, and
// then comes a pitch a line, in cents if it has a point and else as a ratio;
// what follows a pitch in its line, and what follows the last, is not read.
// Lines may end as on any system. An error names the line.
func ParseScale(text []byte) (*Scale, error) {
	r := scalaLines(text)
	s := &Scale{}
	line, ok := r.next(false)
	if !ok {
		return nil, errors.New("the file has no line that is not a comment; expected a description, the number of notes, and the notes")
	}
	s.Description = strings.TrimSpace(line)
	if line, ok = r.next(true); !ok {
		return nil, r.fail("the file ends before the number of notes")
	}
	count, err := wholeNumber(line, 0, MaxDegrees)
	if err != nil {
		return nil, r.fail("the number of notes is %w", err)
	}
	for len(s.Cents) < count {
		if line, ok = r.next(true); !ok {
			return nil, r.fail("the file ends after %d of %d notes", len(s.Cents), count)
		}
		cents, err := parsePitch(line)
		if err != nil {
			return nil, r.fail("%w", err)
		}
		s.Cents = append(s.Cents, cents)
	}
	return s, nil
}

// KeyboardMap is a keyboard mapping of Scala's .kbm format: which degree of a
// scale each MIDI key plays, and how high one of them is.
type KeyboardMap struct {
	First, Last int // MIDI notes that are tuned
	Middle      int // the note where the first entry of Degrees lies
	Reference   int // the note whose frequency is given
	Hertz       float64
	// Octave is the degree by which one turn of the map is higher than the
	// turn before; 0 is the scale's period.
	Octave int
	// Degrees are the degrees of successive keys, again from the start after
	// the last; Unmapped where a key is silent. Without any each key is a
	// degree higher than the key before.
	Degrees []int
}

// Unmapped marks a key that plays nothing.
const Unmapped = math.MinInt

// ParseKeyboardMap reads a keyboard mapping as the .kbm format defines it
// (https://www.huygens-fokker.org/scala/help.htm#mappings): comments as in a
// scale, then seven numbers and the map, in which x stands for a key that is
// not mapped; keys that are missing at its end are not mapped either. An error
// names the line.
func ParseKeyboardMap(text []byte) (*KeyboardMap, error) {
	r := scalaLines(text)
	k := &KeyboardMap{}
	size := 0
	for _, f := range []struct {
		what     string
		to       *int
		low, top int
	}{
		{"the size of the map", &size, 0, MaxDegrees},
		{"the first note", &k.First, 0, maxKey},
		{"the last note", &k.Last, 0, maxKey},
		{"the middle note", &k.Middle, 0, maxKey},
		{"the reference note", &k.Reference, 0, maxKey},
		{"the reference frequency", nil, 0, 0},
		{"the formal octave", &k.Octave, 0, MaxDegrees},
	} {
		line, ok := r.next(true)
		if !ok {
			return nil, r.fail("the file ends before %s", f.what)
		}
		if f.to == nil {
			hertz, err := strconv.ParseFloat(firstWord(line), 64)
			if err != nil || !(hertz >= 0.001 && hertz <= 1e6) {
				return nil, r.fail("%s is a number of hertz from 0.001 to 1000000, got %q", f.what, clip(firstWord(line)))
			}
			k.Hertz = hertz
			continue
		}
		v, err := wholeNumber(line, f.low, f.top)
		if err != nil {
			return nil, r.fail("%s is %w", f.what, err)
		}
		*f.to = v
	}
	if k.First > k.Last {
		return nil, r.fail("the first note, %d, is above the last, %d", k.First, k.Last)
	}
	for len(k.Degrees) < size {
		line, ok := r.next(true)
		if !ok {
			break
		}
		word := firstWord(line)
		if word == "x" || word == "X" {
			k.Degrees = append(k.Degrees, Unmapped)
			continue
		}
		v, err := wholeNumber(line, -MaxDegrees, MaxDegrees)
		if err != nil {
			return nil, r.fail("entry %d of the map is x or %w", len(k.Degrees)+1, err)
		}
		k.Degrees = append(k.Degrees, v)
	}
	for len(k.Degrees) < size {
		k.Degrees = append(k.Degrees, Unmapped)
	}
	return k, nil
}

// scalaReader gives the lines of a file that are not comments.
type scalaReader struct {
	rest []byte
	line int // number of the last line
}

func scalaLines(text []byte) *scalaReader {
	text = bytes.TrimPrefix(text, []byte("\xef\xbb\xbf"))
	if i := bytes.IndexByte(text, 0x1a); i >= 0 {
		text = text[:i] // where DOS ends a file
	}
	return &scalaReader{rest: text}
}

// next returns the next line that is not a comment; with data set, blank
// lines and those with blanks before the exclamation mark do not count either.
func (r *scalaReader) next(data bool) (string, bool) {
	for len(r.rest) > 0 {
		line := r.rest
		if i := bytes.IndexAny(r.rest, "\r\n"); i < 0 {
			r.rest = nil
		} else {
			line = r.rest[:i]
			n := 1
			if bytes.HasPrefix(r.rest[i:], []byte("\r\n")) {
				n = 2
			}
			r.rest = r.rest[i+n:]
		}
		r.line++
		if bytes.HasPrefix(line, []byte("!")) {
			continue
		}
		if t := bytes.TrimSpace(line); data && (len(t) == 0 || t[0] == '!') {
			continue
		}
		return text(line), true
	}
	return "", false
}

// text decodes a line: UTF-8, or else Latin-1, as older files are.
func text(line []byte) string {
	if utf8.Valid(line) {
		return string(line)
	}
	runes := make([]rune, len(line))
	for i, b := range line {
		runes[i] = rune(b)
	}
	return string(runes)
}

func (r *scalaReader) fail(format string, a ...any) error {
	return fmt.Errorf("line %d: %w", r.line, fmt.Errorf(format, a...))
}

// firstWord returns the first word of a line.
func firstWord(line string) string {
	if f := strings.Fields(line); len(f) > 0 {
		return f[0]
	}
	return ""
}

// clip keeps what is quoted in an error short.
func clip(s string) string {
	if r := []rune(s); len(r) > 40 {
		return string(r[:40]) + "…"
	}
	return s
}

// wholeNumber reads the whole number that a line begins with.
func wholeNumber(line string, low, top int) (int, error) {
	word := firstWord(line)
	v, err := strconv.Atoi(word)
	if err != nil || v < low || v > top {
		return 0, fmt.Errorf("a whole number from %d to %d, got %q", low, top, clip(word))
	}
	return v, nil
}

var errPitch = errors.New("expected a pitch, in cents as 701.955 or as a ratio as 3/2")

// parsePitch reads the pitch that a line begins with, in cents.
func parsePitch(line string) (float64, error) {
	s := strings.TrimLeft(line, " \t")
	bad := func(why string) error {
		if why == "" {
			return fmt.Errorf("%w, got %q", errPitch, clip(strings.TrimSpace(line)))
		}
		return fmt.Errorf("%w, got %q: %s", errPitch, clip(strings.TrimSpace(line)), why)
	}
	i := 0
	if i < len(s) && (s[i] == '-' || s[i] == '+') {
		i++
	}
	begin := i
	digits := func() string {
		from := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return s[from:i]
	}
	digits()
	if i < len(s) && s[i] == '.' {
		i++
		digits()
		if i == begin+1 {
			return 0, bad("a point alone is no number")
		}
		if exponent(s[i:]) {
			return 0, bad("write it without an exponent")
		}
		cents, err := strconv.ParseFloat(strings.TrimPrefix(s[:i], "+"), 64)
		if err != nil || math.Abs(cents) > maxCents {
			return 0, bad(fmt.Sprintf("a pitch is within %g cents", maxCents))
		}
		return cents, nil
	}
	whole := s[begin:i]
	switch {
	case whole == "":
		return 0, bad("")
	case begin > 0 && s[0] == '-':
		return 0, bad("a ratio is not negative")
	case exponent(s[i:]):
		return 0, bad("write it without an exponent")
	case strings.HasPrefix(s[i:], ","):
		return 0, bad("write a decimal point")
	}
	over := "1"
	slash := strings.TrimLeft(s[i:], " \t")
	if strings.HasPrefix(slash, "/") {
		tail := strings.TrimLeft(slash[1:], " \t")
		near := strings.HasPrefix(s[i:], "/")
		s, i = tail, 0
		if d := digits(); d != "" {
			over = d
			if strings.HasPrefix(s[i:], "/") {
				return 0, bad("a ratio has one slash")
			}
		} else if near {
			return 0, bad("the number after the slash is missing")
		}
	}
	n, errN := strconv.ParseFloat(whole, 64)
	d, errD := strconv.ParseFloat(over, 64)
	if errN != nil || errD != nil || n == 0 || d == 0 {
		return 0, bad("a ratio is made of whole numbers above 0")
	}
	cents := 1200 * math.Log2(n/d)
	if !(math.Abs(cents) <= maxCents) {
		return 0, bad(fmt.Sprintf("a pitch is within %g cents", maxCents))
	}
	return cents, nil
}

// exponent tells whether what follows a number makes it another number.
func exponent(s string) bool {
	if len(s) < 2 || s[0] != 'e' && s[0] != 'E' {
		return false
	}
	s = strings.TrimLeft(s[1:], "+-")
	return s != "" && s[0] >= '0' && s[0] <= '9'
}
