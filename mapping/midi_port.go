package mapping

import "strings"

// PortMatches tells whether a pattern is for a MIDI port: nothing, all and *
// are for every port, a word for those whose name holds it, and one with * or ?
// for names that it describes as a whole; capitals do not matter.
func PortMatches(pattern, port string) bool {
	pattern, port = strings.ToLower(strings.TrimSpace(pattern)), strings.ToLower(port)
	if !strings.ContainsAny(pattern, "*?") {
		if pattern == "all" {
			return true
		}
		return strings.Contains(port, pattern)
	}
	// Back to the last * wherever it does not go on.
	p, n, star, mark := 0, 0, -1, 0
	for n < len(port) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == port[n]):
			p++
			n++
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
