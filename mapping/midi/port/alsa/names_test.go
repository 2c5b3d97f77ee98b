package alsa

import "testing"

func TestShown(t *testing.T) {
	for name, want := range map[string]string{
		"Test Keys:Test Keys MIDI 1 24:0":       "Test Keys MIDI 1",
		"Virtual Raw MIDI 0-0:VirMIDI 0-0 16:0": "Virtual Raw MIDI 0-0:VirMIDI 0-0",
		"IAC Driver Bus 1":                      "IAC Driver Bus 1",
		"Keys 2:":                               "Keys 2:",
		"Keys (2)":                              "Keys (2)",
		"24:0":                                  "24:0",
	} {
		if got := Shown(name); got != want {
			t.Errorf("%q is shown as %q, not %q", name, got, want)
		}
	}
}
