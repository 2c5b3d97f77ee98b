package main

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// TestRefusedOnce: a fader that asks in vain again and again is told of in the
// log once, and again after it has rested.
func TestRefusedOnce(t *testing.T) {
	p := handsOn(t, "default", noMap)
	var log strings.Builder
	p.log = slog.New(slog.NewTextHandler(&log, nil))
	said := func() int { return strings.Count(log.String(), "msg=refused") }
	const fader, other = "127.0.0.1:4000", "127.0.0.2:4000"
	move := func(by string, n int) {
		for i := range n {
			p.apply(turn{action: actPosition, value: float64(i) / float64(n), source: by, at: time.Now()})
		}
	}
	move(fader, 300)
	if n := said(); n != 1 {
		t.Fatalf("a fader without a morph: %d lines\n%s", n, log.String())
	}
	// As a mapping and the command line ask, and from another port of the same host.
	p.apply(turn{action: actPosition + ":0.5", source: "127.0.0.1:4001", at: time.Now()})
	if n := said(); n != 1 {
		t.Errorf("the same in other words: %d lines\n%s", n, log.String())
	}
	move(other, 3)
	p.apply(turn{action: actSlot + ":99", source: fader, at: time.Now()})
	p.apply(turn{address: "/deployment/none/replicas", value: 1, source: fader, at: time.Now()})
	if n := said(); n != 4 {
		t.Errorf("another hand, another action, a knob: %d lines\n%s", n, log.String())
	}
	// It goes on for longer than the log waits: that is still the same.
	age := func(by time.Duration) {
		for k, told := range p.problems {
			p.problems[k] = told.Add(-by)
		}
	}
	for range 4 {
		age(quietFor * 2 / 3)
		move(fader, 3)
	}
	if n := said(); n != 4 {
		t.Errorf("a fader that never rests: %d lines\n%s", n, log.String())
	}
	age(quietFor + time.Second)
	move(fader, 3)
	if n := said(); n != 5 {
		t.Errorf("after a rest: %d lines\n%s", n, log.String())
	}
	if len(p.problems) > 1 {
		t.Errorf("what is long ago is remembered: %v", p.problems)
	}
	// Another reason is news, one that only names another value is not.
	for i := range 300 {
		p.logRefused(turn{action: actPosition, source: fader}, fmt.Errorf("%g is too much", 1+float64(i)/100))
	}
	if n := said(); n != 6 || !strings.Contains(log.String(), "1 is too much") {
		t.Errorf("another reason: %d lines\n%s", n, log.String())
	}
	// Nor is there an end of what a hand thinks up.
	for i := range 3 * maxProblems {
		p.logRefused(turn{action: actSlot + fmt.Sprint(":", i), source: fader}, errors.New("no"))
	}
	if n := len(p.problems); n != maxProblems || said() > n+6 {
		t.Errorf("%d things are remembered, %d were said", n, said())
	}
}
