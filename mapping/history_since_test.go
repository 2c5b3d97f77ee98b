package mapping

import (
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// TestHistoryDropsNoSensed: a change that is forgotten, because it is the oldest of
// too many, was nothing in the end or failed twice, leaves what a hand did in the
// case after it to the change before it, or to the time before them all.
func TestHistoryDropsNoSensed(t *testing.T) {
	cable := func(name string) instrument.Cable {
		return instrument.Cable{From: instrument.JackRef{Module: "deployment/web", Jack: "pods"}, To: instrument.JackRef{Module: instrument.ModuleID("cv_out/" + name), Jack: "in"}}
	}
	plug := func(h *History, name string) { h.RecordSensed(Wiring{Plugged: []instrument.Cable{cable(name)}}) }
	pull := func(h *History, name string) { h.RecordSensed(Wiring{Pulled: []instrument.Cable{cable(name)}}) }
	plugged := func(names ...string) string {
		var w Wiring
		for _, n := range names {
			w.Plugged = append(w.Plugged, cable(n))
		}
		return w.String()
	}
	now := time.Now()
	act := func(h *History) { h.RecordAct("act", Act{}, "hand", now) }
	all := func(h *History) {
		for {
			if _, ok := h.Undo(); !ok {
				return
			}
		}
	}

	var h History
	plug(&h, "before")
	act(&h)
	plug(&h, "first")
	act(&h)
	plug(&h, "second")
	for range mostUndo {
		act(&h)
	}
	plug(&h, "last")
	if len(h.past) != mostUndo {
		t.Fatalf("%d are kept", len(h.past))
	}
	c, _ := h.Next()
	if c.Since.String() != plugged("last") {
		t.Errorf("after the newest: %q", c.Since.String())
	}
	all(&h)
	if is, want := h.Since(), plugged("before", "first", "second"); is.String() != want {
		t.Errorf("with all undone %q stays in the case, want %q", is.String(), want)
	}

	// What was plugged before and pulled after one that is dropped is in the case no more.
	h = History{}
	plug(&h, "a")
	plug(&h, "b")
	act(&h)
	pull(&h, "a")
	for range mostUndo {
		act(&h)
	}
	all(&h)
	if is := h.Since(); is.String() != plugged("b") {
		t.Errorf("of two that were plugged, one of them pulled again, %q stays", is.String())
	}

	// One of a param that is forgotten.
	h = History{}
	act(&h)
	plug(&h, "a")
	h.Record("/lfo/a/rate", Setpoint{Value: 1}, Setpoint{Value: 2}, "hand", now)
	plug(&h, "b")
	h.Forget("/lfo/a/rate")
	if is := h.Since(); is.String() != plugged("a", "b") {
		t.Errorf("after one that is forgotten %q stays", is.String())
	}

	// One that fails twice, undone or done again.
	for _, again := range []bool{false, true} {
		h = History{}
		act(&h)
		plug(&h, "a")
		act(&h)
		plug(&h, "b")
		step := h.Undo
		if again {
			if _, ok := h.Undo(); !ok {
				t.Fatal("nothing to undo")
			}
			h.Succeeded()
			step = h.Redo
		}
		for k, left := range []bool{false, true} {
			c, ok := step()
			if !ok || h.Failed(c, again) != left {
				t.Fatalf("again %v, failure %d: %v", again, k+1, ok)
			}
		}
		if is := h.Since(); is.String() != plugged("a", "b") || len(h.past) != 1 || len(h.future) != 0 {
			t.Errorf("again %v: left behind, %q stays; past %d, future %d", again, is.String(), len(h.past), len(h.future))
		}
	}
}
