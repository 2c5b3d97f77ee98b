package mapping

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// texts are those of changes, the oldest first.
func texts(list []Change) string {
	var all []string
	for _, c := range list {
		all = append(all, c.Text)
	}
	return strings.Join(all, " ")
}

// TestHistoryStaysTrue: what could not be undone is to be undone still, in its
// place, whatever a hand did meanwhile; what fails twice does not bar the way.
func TestHistoryStaysTrue(t *testing.T) {
	var h History
	now := time.Now()
	act := func(text string) { h.RecordAct(text, Act{}, "hand", now) }
	is := func(past, future string) {
		t.Helper()
		if texts(h.past) != past || texts(h.future) != future {
			t.Errorf("past %q, future %q, want %q and %q", texts(h.past), texts(h.future), past, future)
		}
	}
	act("a")
	act("b")
	act("c")
	c, _ := h.Undo()
	if h.Failed(c, false) {
		t.Error("it is left behind at once")
	}
	is("a b c", "")
	c, _ = h.Undo()
	act("d") // before it is known to have failed
	is("a b d", "")
	if !h.Failed(c, false) {
		t.Error("it bars the way")
	}
	is("a b d", "")
	// One that fails once, while something else is recorded, is in its place.
	c, _ = h.Undo()
	act("e")
	h.Failed(c, false)
	is("a b d e", "")
	for range 3 {
		_, _ = h.Undo()
		h.Succeeded()
	}
	is("a", "e d b")
	c, _ = h.Redo()
	h.Failed(c, true)
	is("a", "e d b")
	c, _ = h.Redo()
	h.Succeeded()
	if c.Text != "b" {
		t.Errorf("done again is %s", c.Text)
	}
	// A redo that failed after something new is forgotten, as all of its kind are.
	c, _ = h.Redo()
	act("f")
	h.Failed(c, true)
	is("a b f", "")
}

// TestRestoreIsWhole: of a change in steps all or nothing is taken back, and
// where something stands elsewhere in between nothing moves.
func TestRestoreIsWhole(t *testing.T) {
	r := NewRack(Config{SampleRate: 48000, Channels: 2})
	patch := &instrument.Patch{Modules: []instrument.Module{{ID: "lfo/a", Params: map[string]float64{}}, {ID: "lfo/b", Params: map[string]float64{}}}}
	if err := r.Load(patch); err != nil {
		t.Fatal(err)
	}
	rate := func(id instrument.ModuleID) float64 { return r.Patch().Module(id).Value("rate") }
	failing := errors.New("no")
	var fails bool
	c := Change{Text: "all", Steps: []Change{
		{Address: "/lfo/a/rate", From: Setpoint{Value: 1}, To: Setpoint{Value: 2}},
		{Act: &Act{Do: func(bool) error {
			if fails {
				return failing
			}
			return nil
		}}},
		{Address: "/lfo/b/rate", From: Setpoint{Value: 3}, To: Setpoint{Value: 4}},
	}}
	if err := r.Restore(c, true, 0); err != nil || rate("lfo/a") != 2 || rate("lfo/b") != 4 {
		t.Fatalf("done: %g, %g, %v", rate("lfo/a"), rate("lfo/b"), err)
	}
	fails = true
	if err := r.Restore(c, false, 0); !errors.Is(err, failing) || !strings.Contains(err.Error(), "step 2 of 3") || rate("lfo/a") != 2 || rate("lfo/b") != 4 {
		t.Errorf("half undone: %g, %g, %v", rate("lfo/a"), rate("lfo/b"), err)
	}
	fails = false
	if err := r.Restore(c, false, 0); err != nil || rate("lfo/a") != 1 || rate("lfo/b") != 3 {
		t.Errorf("undone: %g, %g, %v", rate("lfo/a"), rate("lfo/b"), err)
	}
}

// TestHistoryRebase: what was recorded last of a param can be taken back, or made
// a change from elsewhere, within a larger change as well; nothing else is.
func TestHistoryRebase(t *testing.T) {
	var h History
	now := time.Now()
	at := func(v float64) Setpoint { return Setpoint{Value: v} }
	h.Record("/lfo/a/rate", at(1), at(2), "hand", now)
	h.Rebase("/lfo/b/rate", at(1), at(9))
	h.Rebase("/lfo/a/rate", at(5), at(9)) // it began before that
	if c, _ := h.Next(); c.From != at(1) {
		t.Errorf("it is from %+v", c.From)
	}
	h.Rebase("/lfo/a/rate", at(1), at(9))
	if c, _ := h.Next(); c.From != at(9) || c.To != at(2) {
		t.Errorf("it is from %+v to %+v", c.From, c.To)
	}
	h.Forget("/lfo/b/rate")
	h.Forget("")
	if _, ok := h.Next(); !ok {
		t.Fatal("another one is forgotten")
	}
	h.Begin("two", "hand", now)
	h.Forget("/lfo/a/rate") // of before
	h.Record("/lfo/b/rate", at(1), at(2), "hand", now)
	h.Record("/lfo/a/rate", at(2), at(3), "hand", now)
	h.Forget("/lfo/a/rate")
	h.End()
	if c, _ := h.Next(); len(c.Steps) != 1 || c.Steps[0].Address != "/lfo/b/rate" {
		t.Errorf("the larger one is %+v", c)
	}
	_, _ = h.Undo()
	h.Forget("/lfo/a/rate")
	if _, ok := h.Next(); ok {
		t.Error("it is not forgotten")
	}
	h.Forget("/lfo/a/rate")
}
