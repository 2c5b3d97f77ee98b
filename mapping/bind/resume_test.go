package bind

import (
	"slices"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// TestResumeByHand: on each surface that has a panic there is a control that
// ends it, which is lit for as long as there is something to end.
func TestResumeByHand(t *testing.T) {
	for _, c := range []struct {
		name, port  string
		panic, back midi.Message
		dark, lit   string
	}{
		{"launchpad", "Launchpad X LPX MIDI In", midi.CC(0, 98, 127), midi.CC(0, 39, 127), "cc ch 1 number 39 value 1", "cc ch 3 number 39 value 37"},
		{"faders", "nanoKONTROL2", midi.CC(0, 42, 127), midi.CC(0, 43, 127), "cc ch 1 number 43 value 0", "cc ch 1 number 43 value 127"},
		{"daw", "k8s-synth", midi.CC(15, 119, 127), midi.CC(15, 118, 127), "cc ch 16 number 118 value 0", "cc ch 16 number 118 value 127"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			m, err := Library{}.Open(c.name)
			if err != nil {
				t.Fatal(err)
			}
			r.e = New([]*Map{m}, r.Rack)
			r.e.SetScenes([]string{"test"}, "test")
			r.e.Plugged(c.port)
			shows := func(what string) {
				t.Helper()
				if got := told(r.tick(1500*time.Millisecond), c.port); !slices.Contains(got, what) {
					t.Errorf("it is told %q, and not %q", got, what)
				}
			}
			shows(c.dark)
			r.midi(c.port, c.panic)
			r.wantDo("panic")
			r.e.Lit("resume", true)
			shows(c.lit)
			r.midi(c.port, c.back)
			r.wantDo("resume")
			r.e.Lit("resume", false)
			shows(c.dark)
		})
	}
}
