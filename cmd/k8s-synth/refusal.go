package main

import (
	"cmp"
	"maps"
	"strings"
	"time"
)

// quietFor is how long the log says nothing of what it has said already.
const quietFor = 10 * time.Second

// maxProblems is how many different things are told in quietFor. The log is no
// help to anybody who sends more, and memory has an end.
const maxProblems = 1000

// news tells whether the log is to say something that it may have said just
// now. The key is what it is about.
func (p *player) news(key string) bool {
	old := func(_ string, told time.Time) bool { return time.Since(told) > quietFor }
	if told, ok := p.problems[key]; ok && !old(key, told) {
		return false
	}
	// Keys hold names and times, so that there is no end of them.
	maps.DeleteFunc(p.problems, old)
	if len(p.problems) >= maxProblems {
		return false
	}
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
// a fader asks a hundred times a second. Another reason is said at once, and
// what a hand has left alone for a while is said anew.
func (p *player) logRefused(t turn, err error) {
	action := t.action
	if name, _, _ := strings.Cut(action, ":"); name == actPosition {
		action = name // whatever the point
	}
	// A reason that names a value is the same at every place of a fader.
	reason := strings.Map(func(r rune) rune {
		if strings.ContainsRune("0123456789.+-", r) {
			return -1
		}
		return r
	}, err.Error())
	key := "refused " + cmp.Or(string(t.address), action) + " of " + clientOf(t.source) + ": " + reason
	if p.news(key) {
		p.log.Warn("refused", "err", err, "from", t.source)
	} else if _, told := p.problems[key]; told {
		p.problems[key] = time.Now() // it goes on
	}
}
