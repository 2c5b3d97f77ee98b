package osc

import (
	"bytes"
	"fmt"
	"strings"
)

// Pattern is a valid OSC address pattern. In each part between slashes, ?
// stands for one character, * for any number of them, [a-z] for one of a set
// and [!a-z] for one outside it, {x,y} for one of the given texts; none of
// them reaches across a slash. From OSC 1.1, // stands for any number of
// levels, so that /a//b matches /a/b and /a/x/y/b. A pattern is matched
// against the whole address.
type Pattern struct {
	text     []byte
	descends bool // has a //
}

// ParsePattern checks text and returns it as a Pattern, which refers to text.
// The error names the offset and what was expected.
func ParsePattern(text []byte) (Pattern, error) {
	p := Pattern{text: text}
	if len(text) == 0 || text[0] != '/' {
		return Pattern{}, patternError(text, 0, "a '/'")
	}
	if len(text) > MaxAddress {
		return Pattern{}, fmt.Errorf("osc: pattern of %d bytes, expected at most %d", len(text), MaxAddress)
	}
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '/':
			if i+1 == len(text) {
				return Pattern{}, patternError(text, i+1, "a name after '/'")
			}
			if text[i+1] == '/' {
				if i > 0 && text[i-1] == '/' {
					return Pattern{}, patternError(text, i+1, "a name after '//'")
				}
				p.descends = true
			}
		case '[':
			n, expected := checkSet(text[i:])
			if expected != "" {
				return Pattern{}, patternError(text, i+n, expected)
			}
			i += n - 1
		case '{':
			n := bytes.IndexByte(text[i:], '}')
			if n < 0 {
				return Pattern{}, patternError(text, len(text), "a '}'")
			}
			if bad := bytes.IndexAny(text[i+1:i+n], "/?*[]{"); bad >= 0 {
				return Pattern{}, patternError(text, i+1+bad, "plain text between '{' and '}'")
			}
			i += n
		case ']', '}':
			return Pattern{}, patternError(text, i, "an opening bracket before the closing one")
		}
	}
	return p, nil
}

// checkSet returns the size of the set in brackets that text begins with, or
// the offset of a fault in it and what was expected there.
func checkSet(text []byte) (n int, expected string) {
	i := 1
	if i < len(text) && text[i] == '!' {
		i++
	}
	if i < len(text) && text[i] == ']' {
		return i, "a character between '[' and ']'"
	}
	for ; i < len(text); i++ {
		switch text[i] {
		case ']':
			return i + 1, ""
		case '/', '[', '{', '}', '*', '?':
			return i, "a plain character or ']'"
		}
		if i+2 < len(text) && text[i+1] == '-' && text[i+2] != ']' {
			if text[i+2] < text[i] {
				return i, "a range from the lower to the higher character"
			}
			if bytes.IndexByte([]byte("/[{}*?"), text[i+2]) >= 0 {
				return i + 2, "a plain character or ']'"
			}
			i += 2
		}
	}
	return i, "a ']'"
}

func patternError(text []byte, offset int, expected string) error {
	return fmt.Errorf("osc: pattern %q, offset %d: expected %s", text, offset, expected)
}

// HasWildcard reports whether an address is a pattern rather than a plain
// address.
func HasWildcard(address []byte) bool {
	for i, c := range address {
		switch c {
		case '?', '*', '[', ']', '{', '}':
			return true
		case '/':
			if i > 0 && address[i-1] == '/' {
				return true
			}
		}
	}
	return false
}

// String returns the text of the pattern.
func (p Pattern) String() string { return string(p.text) }

// Match reports whether the pattern matches the whole address. It does not
// allocate, and its time is bounded by the product of the two lengths.
// Addresses longer than MaxAddress match nothing.
func (p Pattern) Match(address string) bool { return p.match(address, false) }

// MatchUnder reports whether the pattern matches the address or a container
// above it, so that /* matches everything and /a/b all that begins with /a/b/.
func (p Pattern) MatchUnder(address string) bool { return p.match(address, true) }

// match walks both part by part. One point to return to is enough for //, as
// it is for * within a part: whatever an earlier one could still swallow, the
// latest one can swallow as well.
func (p Pattern) match(address string, under bool) bool {
	if len(p.text) == 0 || address == "" || address[0] != '/' || len(address) > MaxAddress {
		return false
	}
	pi, ai := 0, 0                 // at a slash, or at the end
	retryPattern, retryAt := -1, 0 // after the latest //
	for {
		switch {
		case pi == len(p.text):
			if under || ai == len(address) {
				return true
			}
		case p.text[pi+1] == '/':
			pi++
			retryPattern, retryAt = pi, ai
			continue
		case ai < len(address):
			pEnd, aEnd := partEnd(p.text, pi), partEndString(address, ai)
			if matchPart(p.text[pi+1:pEnd], address[ai+1:aEnd]) {
				pi, ai = pEnd, aEnd
				continue
			}
		}
		if retryPattern < 0 || retryAt == len(address) {
			return false
		}
		retryAt = partEndString(address, retryAt)
		pi, ai = retryPattern, retryAt
	}
}

// partEnd returns the index of the slash that ends the part after the slash
// at text[i], or the end of text.
func partEnd(text []byte, i int) int {
	if n := bytes.IndexByte(text[i+1:], '/'); n >= 0 {
		return i + 1 + n
	}
	return len(text)
}

func partEndString(text string, i int) int {
	if n := strings.IndexByte(text[i+1:], '/'); n >= 0 {
		return i + 1 + n
	}
	return len(text)
}

// matchPart matches one part of a valid pattern against one name.
func matchPart(pattern []byte, name string) bool {
	if len(pattern) == 1 && pattern[0] == '*' {
		return true // by far the most frequent
	}
	if bytes.IndexByte(pattern, '{') >= 0 {
		return matchAlternatives(pattern, name)
	}
	pi, ni := 0, 0
	star, starAt := -1, 0
	for {
		step := 0
		switch {
		case pi == len(pattern):
			if ni == len(name) {
				return true
			}
		case pattern[pi] == '*':
			star, starAt = pi, ni
			pi++
			continue
		case ni < len(name):
			step = matchOne(pattern[pi:], name[ni])
		}
		if step > 0 {
			pi += step
			ni++
			continue
		}
		if star < 0 || starAt == len(name) {
			return false
		}
		starAt++
		pi, ni = star+1, starAt
	}
}

// matchOne matches one character against the character, ? or set that the
// pattern begins with, and returns the size of the latter, or 0.
func matchOne(pattern []byte, c byte) int {
	switch pattern[0] {
	case '?':
		return 1
	case '[':
		return matchSet(pattern, c)
	case c:
		return 1
	}
	return 0
}

// matchSet is matchOne for a set, whose closing bracket is there.
func matchSet(pattern []byte, c byte) int {
	i := 1
	negated := pattern[i] == '!'
	if negated {
		i++
	}
	found := false
	for ; pattern[i] != ']'; i++ {
		low, high := pattern[i], pattern[i]
		if pattern[i+1] == '-' && pattern[i+2] != ']' {
			high = pattern[i+2]
			i += 2
		}
		found = found || low <= c && c <= high
	}
	if found == negated {
		return 0
	}
	return i + 1
}

// positions is a set of positions in a name.
type positions [(MaxAddress + 64) / 64]uint64

func (s *positions) add(i int)      { s[i/64] |= 1 << (i % 64) }
func (s *positions) has(i int) bool { return s[i/64]&(1<<(i%64)) != 0 }

// matchAlternatives is matchPart for patterns with braces. Texts of different
// lengths would make backtracking exponential, so it carries the set of all
// positions that the pattern so far can have reached.
func matchAlternatives(pattern []byte, name string) bool {
	var now positions
	now.add(0)
	for i := 0; i < len(pattern); {
		var next positions
		alive := false
		switch pattern[i] {
		case '*':
			for at := range len(name) + 1 {
				if alive = alive || now.has(at); alive {
					next.add(at)
				}
			}
			i++
		case '{':
			end := i + bytes.IndexByte(pattern[i:], '}')
			for rest, more := pattern[i+1:end], true; more; {
				var text []byte
				text, rest, more = bytes.Cut(rest, []byte{','})
				for at := 0; at+len(text) <= len(name); at++ {
					if now.has(at) && name[at:at+len(text)] == string(text) {
						next.add(at + len(text))
						alive = true
					}
				}
			}
			i = end + 1
		default:
			size := 1
			if pattern[i] == '[' {
				size = bytes.IndexByte(pattern[i:], ']') + 1
			}
			for at := range len(name) {
				if now.has(at) && matchOne(pattern[i:], name[at]) > 0 {
					next.add(at + 1)
					alive = true
				}
			}
			i += size
		}
		if !alive {
			return false
		}
		now = next
	}
	return now.has(len(name))
}
