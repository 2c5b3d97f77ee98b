package main

import (
	"cmp"
	"maps"
	"strings"
	"time"
)

// quietFor is how long the log says nothing of what it has said already.
const quietFor = 10 * time.Second

// news tells whether the log is to say something that it may have said just
// now. The key is what it is about.
func (p *player) news(key string) bool {
	old := func(_ string, told time.Time) bool { return time.Since(told) > quietFor }
	if told, ok := p.problems[key]; ok && !old(key, told) {
		return false
	}
	// Keys hold names and times, so that there is no end of them.
	maps.DeleteFunc(p.problems, old)
	p.problems[key] = time.Now()
	return true
}

// refused tells who asked, and the log, why what was asked for is of no use.
func (p *player) refused(t turn, err error) {
	p.logRefused(t, err)
	p.web.refused(t, err)
	if p.osc != nil {
		p.osc.refused(t, err)
	}
}

// logRefused says once why something is refused, however often it is asked for:
// a fader asks a hundred times a second. What a hand has left alone for a while
// is said anew.
func (p *player) logRefused(t turn, err error) {
	action := t.action
	if name, _, _ := strings.Cut(action, ":"); name == actPosition {
		action = name // whatever the point
	}
	key := "refused " + cmp.Or(string(t.address), action) + " of " + clientOf(t.source)
	if p.news(key) {
		p.log.Warn("refused", "err", err, "from", t.source)
	}
	p.problems[key] = time.Now() // it goes on
}
