package scenes

import (
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

func TestModuleText(t *testing.T) {
	s := shippedScene(t, "default")
	for i := range s.Patch.Modules {
		id := s.Patch.Modules[i].ID
		text, err := EncodeModule(s, id)
		if err != nil {
			t.Fatal(err)
		}
		m, at, err := ParseModule(string(text))
		if err != nil {
			t.Fatalf("%s: %v", id, err)
		}
		if m.ID != id || at == nil || *at != s.Places[id] {
			t.Errorf("%s came back as %s at %v", id, m.ID, at)
		}
		for _, p := range m.Spec().Params {
			if m.Value(p.Name) != s.Patch.Modules[i].Value(p.Name) || m.Word(p.Name) != s.Patch.Modules[i].Word(p.Name) {
				t.Errorf("%s/%s came back as %g %s", id, p.Name, m.Value(p.Name), m.Word(p.Name))
			}
		}
	}
	for text, want := range map[string]string{
		"id: deployment/web\nparams:\n  replicas: 99\n": "module:3:13:",
		"id: deployment/web\nparams: [\n":               "module:",
		"id: nothing/web":                               "module:1:5:",
		"":                                              "",
		"id: deployment/web\n- id: deployment/b\n": "module:",
	} {
		if _, _, err := ParseModule(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}

// Modules without a place stand where there is room, in nobody's way.
func TestArrange(t *testing.T) {
	s := shippedScene(t, "default")
	kept := s.Places
	s.Places = map[instrument.ModuleID]Place{"voice/chord": kept["voice/chord"]}
	s.Places = s.Arrange(84)
	if len(s.Places) != len(s.Patch.Modules) || s.Places["voice/chord"] != kept["voice/chord"] {
		t.Fatalf("%v", s.Places)
	}
	if err := s.Validate(); err != nil {
		t.Error(err)
	}
	for id, p := range s.Places {
		if p.HP+s.Patch.Module(id).Spec().HP > 84 {
			t.Errorf("%s stands at %v", id, p)
		}
	}
}
