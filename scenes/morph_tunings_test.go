package scenes

import (
	"fmt"
	"maps"
	"testing"
)

// TestMorphTunings: what stands in the middle of a way between scenes that bring
// tunings can be written, and read again, with those that its modules name.
func TestMorphTunings(t *testing.T) {
	scene := func(name string, tunings ...string) *Scene {
		t.Helper()
		text := fmt.Sprintf("version: 1\nname: %s\ntunings:\n  both: {scl: \"%s\\n1\\n2/1\\n\"}\n", name, name)
		for _, tuning := range tunings {
			text += fmt.Sprintf("  %s: {scl: \"%s\\n2\\n3/2\\n2/1\\n\"}\n", tuning, tuning)
		}
		text += fmt.Sprintf("modules:\n  - id: quantizer/%s\n    params: {tuning: %s, scale: tuning}\n  - id: quantizer/both-%s\n    params: {tuning: both}\n", name, tunings[len(tunings)-1], name)
		s, err := Parse(name, []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	var many, more []string
	for i := range MaxTunings - 1 {
		many, more = append(many, fmt.Sprintf("m%02d", i)), append(more, fmt.Sprintf("n%02d", i))
	}
	for what, ends := range map[string][2]*Scene{"a few": {scene("a", "thirds"), scene("b", "fifths")}, "no room": {scene("a", many...), scene("b", more...)}} {
		a, b := ends[0], ends[1]
		m, err := NewMorph(a, b, 0.5)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range []float64{0.3, 0.7, 1, 0.6, 0.2, 0} {
			step := m.Step(x)
			if step.Patch == nil {
				t.Fatalf("%s: at %g nothing changes", what, x)
			}
			s := *a
			if step.After {
				s = *b
			}
			end := s.Tunings
			s.Patch = step.Patch.Clone()
			s.Tunings = m.Tunings(s.Patch)
			text, err := Encode(&s)
			if err != nil {
				t.Fatalf("%s: at %g: %v", what, x, err)
			}
			again, err := Parse("again", text)
			if err != nil {
				t.Errorf("%s: at %g it cannot be read again: %v", what, x, err)
				continue
			}
			if !again.Equal(&s) || again.Tunings["both"] != end["both"] {
				t.Errorf("%s: at %g another scene is read again", what, x)
			}
			if x == 0 || x == 1 {
				if !maps.Equal(again.Tunings, end) {
					t.Errorf("%s: at %g the other scene's tunings are there", what, x)
				}
			}
		}
	}
}
