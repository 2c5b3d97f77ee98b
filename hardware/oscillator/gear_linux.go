package oscillator

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Options say which gear.
type Options struct {
	// Name is that of the JACK client; "" is vco. Two at a time need two names.
	Name string
	// Voices is how many oscillators it has, 1…16, each with a CV input of its
	// own; 0 is one.
	Voices int
	// Seed bends every voice in its own way; with 0 they are perfect.
	Seed int
	// Sine makes sines instead of waves with eight partials.
	Sine bool
}

func (o Options) defaults() Options {
	if o.Name == "" {
		o.Name = "vco"
	}
	o.Voices = min(max(o.Voices, 1), 16)
	return o
}

// Gear is a program that stands for external oscillators. Its ports are full
// scale at 10 V: a CV of 0.1 is an octave, and its sound peaks at half or less.
type Gear struct {
	Name string
	// CV and Audio are the JACK ports of its voices' inputs and outputs.
	CV, Audio []string
	// Truth are ports for judges: a tenth of the octaves above C4 that each voice
	// plays right now.
	Truth []string

	program *process
}

// Said is what the program has written to its terminal.
func (g *Gear) Said() string { return g.program.said() }

// Stop switches it off before the test ends.
func (g *Gear) Stop() { g.program.stop() }

// wait waits for the ports.
func (g *Gear) wait(t testing.TB, j *JACK, voices int, in, out string) {
	t.Helper()
	for i := range voices {
		g.CV = append(g.CV, fmt.Sprintf("%s:%s_%d", g.Name, in, i+1))
		g.Audio = append(g.Audio, fmt.Sprintf("%s:%s_%d", g.Name, out, i+1))
		g.Truth = append(g.Truth, fmt.Sprintf("%s:%s_%d", g.Name, out, voices+i+1))
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		have := map[string]bool{}
		for _, p := range j.Ports(t, g.Name+":") {
			have[p] = true
		}
		missing := ""
		for _, ports := range [][]string{g.CV, g.Audio, g.Truth} {
			for _, p := range ports {
				if !have[p] {
					missing = p
				}
			}
		}
		if missing == "" {
			return
		}
		if g.program.ended() || time.Now().After(end) {
			t.Fatalf("%s has no port %s:\n%s", g.Name, missing, g.program.said())
		}
	}
}

// refuse fails the test where another client has the name.
func refuse(t testing.TB, j *JACK, name string) {
	t.Helper()
	if have := j.Ports(t, name+":"); len(have) > 0 {
		t.Fatalf("there is a JACK client %s already: %s", name, strings.Join(have, " "))
	}
}
