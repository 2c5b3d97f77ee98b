package mapping

import (
	"errors"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// What is refused is said in a whole sentence, without the name of its kind
// behind it, and is of that kind all the same.
func TestRefusals(t *testing.T) {
	r := newRig(t).Rack
	cable := func(from, to string) instrument.Cable {
		c, err := ParseCable(from + "->" + to)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	for want, x := range map[string]struct{ err, kind error }{
		"takes −12 … 12 V":    {r.Set("/deployment/web/restart", 13, "", "hand", 0), ErrRange},
		"got 17":              {r.Set("/deployment/web/replicas", 17, "", "hand", 0), ErrRange},
		"it can only be read": {r.Set("/deployment/web/error", 1, "", "hand", 0), ErrReadOnly},
		"holds no cable":      {r.Pull(instrument.JackRef{Module: "deployment/web", Jack: "restart"}, "hand"), ErrRange},
		"expected 1 … 32":     {r.KillSlot(SlotCount), ErrRange},
		`has a pod "nope"`:    {r.KillPod("nope"), ErrNoAddress},
		"there is no mode 7":  {r.SetMode(7), ErrRange},
		`has no jack "nope"`:  {r.Plug(cable("deployment/web/error", "deployment/web/nope"), "hand"), ErrRange},
	} {
		if x.err == nil || !errors.Is(x.err, x.kind) || !strings.Contains(x.err.Error(), want) {
			t.Errorf("%v, want %q of kind %q", x.err, want, x.kind)
			continue
		}
		if strings.HasSuffix(x.err.Error(), ": "+x.kind.Error()) {
			t.Errorf("%q ends with its kind", x.err)
		}
	}
}
