package bind

import (
	"strings"
	"time"
)

// ArmWindow is how long a client may do what cannot be undone after it armed.
const ArmWindow = 10 * time.Second

// Arms remembers which clients are armed: those that said shortly before that
// they mean it. The zero Arms has none. It belongs to one goroutine.
type Arms struct {
	until map[string]time.Time
	held  map[string]bool
}

// mostArms bounds how many clients are remembered.
const mostArms = 256

// Arm opens the window of a client.
func (a *Arms) Arm(client string, now time.Time) {
	if a.until == nil {
		a.until = map[string]time.Time{}
	}
	if len(a.until) >= mostArms {
		for c, t := range a.until {
			if !now.Before(t) {
				delete(a.until, c)
			}
		}
		if len(a.until) >= mostArms {
			return // who comes too late waits for ten seconds
		}
	}
	a.until[client] = now.Add(ArmWindow)
}

// Hold keeps a client armed until it lets go; then its window begins.
func (a *Arms) Hold(client string, on bool, now time.Time) {
	if a.held == nil {
		a.held = map[string]bool{}
	}
	switch {
	case on && len(a.held) < mostArms:
		a.held[client] = true
	case !on && a.held[client]:
		delete(a.held, client)
	default:
		return
	}
	a.Arm(client, now)
}

// Disarm closes the window of a client, as when it left.
func (a *Arms) Disarm(client string) {
	delete(a.until, client)
	delete(a.held, client)
}

// Armed tells whether a client is armed.
func (a *Arms) Armed(client string, now time.Time) bool {
	if a.held[client] {
		return true
	}
	t, ok := a.until[client]
	return ok && now.Before(t)
}

// Any tells whether any client is armed, for lights that all see.
func (a *Arms) Any(now time.Time) bool {
	if len(a.held) > 0 {
		return true
	}
	for _, t := range a.until {
		if now.Before(t) {
			return true
		}
	}
	return false
}

// Destructive tells whether an action cannot be undone, so that who asks for
// it must be armed: to kill a pod, to drain a node, and to switch a namespace
// off, which is asked for as power:NAME.
func Destructive(action string) bool {
	name, _, _ := strings.Cut(action, ":")
	return name == "kill" || name == "drain" || name == "power"
}
