package alsa

import "strings"

// Shown is a port's name for a player. In full it is "CLIENT:PORT 20:0", with
// numbers that are others at the next plugging; often the port's name says the
// client's, too.
func Shown(name string) string {
	if a := Address(name); a != "" {
		name = strings.TrimSuffix(name, " "+a)
		if client, port, ok := strings.Cut(name, ":"); ok && strings.HasPrefix(port, client) {
			name = port
		}
	}
	return strings.TrimSpace(name)
}

// Address returns the sequencer's address at the end of a name, as "20:0", or "".
func Address(name string) string {
	if i := strings.LastIndexByte(name, ' '); i > 0 && IsAddress(name[i+1:]) {
		return name[i+1:]
	}
	return ""
}

// IsAddress tells whether s is two numbers with a colon between them.
func IsAddress(s string) bool {
	client, port, ok := strings.Cut(s, ":")
	return ok && isNumber(client) && isNumber(port)
}

func isNumber(s string) bool { return s != "" && strings.Trim(s, "0123456789") == "" }
