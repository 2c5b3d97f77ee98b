package port

import "strings"

// Match tells whether a name fits a pattern, in any case of letters: "all"
// fits everything, a pattern with * or ? the whole name, any other a part of it.
func Match(pattern, name string) bool {
	pattern, name = strings.ToLower(pattern), strings.ToLower(name)
	switch {
	case pattern == "":
		return false
	case pattern == "all":
		return true
	case !strings.ContainsAny(pattern, "*?"):
		return strings.Contains(name, pattern)
	}
	// The last star takes as much as it must.
	p, n, star, from := 0, 0, -1, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, from = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			from++
			p, n = star+1, from
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// through is the sequencer's own loop: with "all" it would give us back what we
// send.
const through = "midi through"

// wanted tells whether a port is to be opened.
func wanted(patterns []string, name string) bool {
	for _, p := range patterns {
		if Match(p, name) && (!strings.Contains(strings.ToLower(name), through) || strings.Contains(strings.ToLower(p), "through")) {
			return true
		}
	}
	return false
}
