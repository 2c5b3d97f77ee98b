package mapping

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

// slotsOf returns the pods and phases of the bank, as "web-1=ready web-2=…".
func slotsOf(r *rig, owner string) string {
	var list []string
	for _, s := range r.Slots() {
		if s.Pod != "" && strings.HasPrefix(s.Pod, owner) {
			list = append(list, fmt.Sprintf("%s=%s", s.Pod, s.Phase))
		}
	}
	return strings.Join(list, " ")
}

func TestSlotsShowWhatBecomesOfPods(t *testing.T) {
	r := newRig(t)
	told := map[int]Slot{}
	r.SlotChanged = func(s Slot) { told[s.Index] = s }
	want := func(s string) {
		t.Helper()
		r.run(0.1)
		if got := slotsOf(r, "web"); got != s {
			t.Errorf("slots are %q, want %q", got, s)
		}
	}
	r.create("web-1")
	want("web-1=pending")
	r.pod("web-1", FieldNode, "stage-2", FieldPhase, "Running")
	want("web-1=starting")
	r.pod("web-1", FieldReady, "true", FieldLoad, "250")
	r.ready("web-2")
	want("web-1=ready web-2=ready")
	first := slices.IndexFunc(r.Slots(), func(s Slot) bool { return s.Pod == "web-1" })
	if s := r.Slots()[first]; s.Node != "stage-2" || s.Load != 250 || s.Owner != "deployment/web" || s != told[first] {
		t.Errorf("slot %d is %+v, and was told as %+v", first, s, told[first])
	}
	r.pod("web-1", FieldReady, "false", FieldReason, "CrashLoopBackOff")
	want("web-1=crashloop web-2=ready")
	r.pod("web-1", FieldDeleting, "true")
	want("web-1=terminating web-2=ready")
	r.pod("web-1", FieldExists, "")
	want("web-2=ready")
	if told[first].Pod != "" {
		t.Errorf("the end of web-1 was not told: %+v", told[first])
	}
	second := slices.IndexFunc(r.Slots(), func(s Slot) bool { return s.Pod == "web-2" })
	if second == first {
		t.Fatal("web-2 has moved")
	}
	// Another pod takes the free slot, and the one that stays keeps its own.
	r.ready("web-3")
	r.run(0.1)
	if a, b := r.Slots()[first].Pod, r.Slots()[second].Pod; a != "web-3" || b != "web-2" {
		t.Errorf("the slots hold %q and %q, want web-3 and web-2", a, b)
	}
	r.pod("web-3", FieldPhase, "Failed")
	r.pod("web-2", FieldPhase, "Succeeded")
	want("web-3=failed web-2=succeeded")
}

func TestSlotsHoldAsManyAsThereAre(t *testing.T) {
	r := newRig(t)
	rng := rand.New(rand.NewPCG(1, 2))
	at := map[string]int{} // where each pod was seen first
	live := map[string]bool{}
	for range 400 {
		name := fmt.Sprintf("web-%d", rng.IntN(60))
		if live[name] {
			r.gone(name)
			delete(at, name)
		} else {
			r.ready(name)
		}
		live[name] = !live[name]
		r.run(0.06)
		n := 0
		for i, s := range r.Slots() {
			if s.Index != i {
				t.Fatalf("slot %d says that it is %d", i, s.Index)
			}
			if !strings.HasPrefix(s.Pod, "web") {
				if s.Pod == "" {
					n++
				}
				continue
			}
			if !live[s.Pod] {
				t.Fatalf("slot %d shows %s, which is gone", i, s.Pod)
			}
			if was, ok := at[s.Pod]; ok && was != i {
				t.Fatalf("%s went from slot %d to %d", s.Pod, was, i)
			}
			at[s.Pod] = i
		}
		pods := 0
		for _, l := range live {
			if l {
				pods++
			}
		}
		// The rig's own sixteen are there all the time.
		if free := max(SlotCount-16-pods, 0); n != free {
			t.Fatalf("%d slots are free with %d pods, want %d", n, pods, free)
		}
	}
}

func TestKillingAPod(t *testing.T) {
	r := newRig(t)
	r.ready("web-1")
	r.run(0.1)
	i := slices.IndexFunc(r.Slots(), func(s Slot) bool { return s.Pod == "web-1" })
	if err := r.KillSlot(i); err == nil {
		t.Error("a pod was killed that nobody can have meant yet")
	}
	r.run(slotSettled)
	if err := r.KillSlot(i); err != nil {
		t.Fatal(err)
	}
	if err := r.KillPod("web-1"); err != nil {
		t.Fatal(err)
	}
	for _, a := range r.acts {
		if a.Verb != VerbDelete || a.Object.Kind != KindPod || a.Object.Name != "web-1" || a.Object.UID == "" {
			t.Errorf("asked for %+v", a)
		}
	}
	if len(r.acts) != 2 {
		t.Errorf("%d actions were asked for, want 2", len(r.acts))
	}
	for _, err := range []error{r.KillSlot(SlotCount), r.KillSlot(-1), r.KillPod("other-1"), r.KillSlot(SlotCount - 1)} {
		if err == nil {
			t.Error("what is not there was killed")
		}
	}
	l := newRig(t, func(c *Config) { c.ListenOnly = true })
	l.ready("web-1")
	l.run(0.1)
	if err := l.KillPod("web-1"); !errors.Is(err, ErrListening) || len(l.acts) != 0 {
		t.Errorf("a listener killed: %v, %v", err, l.acts)
	}
}

func TestHistory(t *testing.T) {
	var h History
	now := time.Unix(1000, 0)
	turn := func(a Address, from, to float64, source string, after time.Duration) {
		now = now.Add(after)
		h.Record(a, Setpoint{Value: from}, Setpoint{Value: to}, source, now)
	}
	turn("/a/a/x", 0, 1, "midi", 0)
	turn("/a/a/x", 1, 2, "midi", 100*time.Millisecond) // the same gesture
	turn("/a/a/y", 5, 6, "osc", 10*time.Millisecond)
	turn("/a/a/x", 2, 3, "midi", 10*time.Millisecond)
	turn("/a/a/x", 3, 4, "midi", 2*time.Second) // another gesture
	turn("/a/a/x", 4, 4, "midi", 0)             // none
	expect := func(c Change, ok bool, a Address, from, to float64) {
		t.Helper()
		if !ok || c.Address != a || c.From.Value != from || c.To.Value != to {
			t.Errorf("got %+v, %v; want %s from %g to %g", c, ok, a, from, to)
		}
	}
	c, ok := h.Undo()
	expect(c, ok, "/a/a/x", 3, 4)
	c, ok = h.Undo()
	expect(c, ok, "/a/a/x", 2, 3)
	c, ok = h.Redo()
	expect(c, ok, "/a/a/x", 2, 3)
	c, ok = h.Undo()
	expect(c, ok, "/a/a/x", 2, 3)
	c, ok = h.Undo()
	expect(c, ok, "/a/a/y", 5, 6)
	c, ok = h.Undo()
	expect(c, ok, "/a/a/x", 0, 2)
	if _, ok = h.Undo(); ok {
		t.Error("there was more to undo than was done")
	}
	c, ok = h.Redo()
	expect(c, ok, "/a/a/x", 0, 2)
	c, ok = h.Redo()
	expect(c, ok, "/a/a/y", 5, 6)
	h.Undo()
	h.Undo()
	// A new turn forgets what was undone; a gesture that comes back is none.
	turn("/a/a/x", 0, 1, "midi", time.Second)
	if _, ok = h.Redo(); ok {
		t.Error("what was undone came back after a new turn")
	}
	turn("/a/a/x", 1, 0, "midi", time.Millisecond)
	if _, ok = h.Undo(); ok {
		t.Error("a gesture that ended where it began can be undone")
	}
	for i := range 2 * mostUndo {
		turn("/a/a/x", float64(i), float64(i+1), "midi", time.Minute)
	}
	n := 0
	for ; ; n++ {
		if _, ok := h.Undo(); !ok {
			break
		}
	}
	if n != mostUndo {
		t.Errorf("%d changes are remembered, want %d", n, mostUndo)
	}
}

// TestHistoryOfSteps: what belongs together is undone together, back to front,
// and what is no knob and no cable says itself how it is undone.
func TestHistoryOfSteps(t *testing.T) {
	r := newRig(t)
	var h History
	now := time.Unix(1000, 0)
	at := func(a Address) float64 { v, _, _ := r.Value(a); return v }
	set := func(a Address, v float64) {
		from := at(a)
		if err := r.Set(a, v, "", "hand", 0); err != nil {
			t.Fatal(err)
		}
		h.Record(a, Setpoint{Value: from}, Setpoint{Value: v}, "hand", now)
	}
	did := ""
	h.Begin("nothing", "hand", now)
	h.End()
	h.Begin("both", "hand", now)
	set("/deployment/web/replicas", 3)
	set("/deployment/web/replicas", 5)
	h.Begin("inner", "hand", now)
	h.RecordAct("flag", Act{Do: func(again bool) error { did += map[bool]string{true: "+", false: "-"}[again]; return nil }}, "hand", now)
	h.End()
	set("/deployment/web/max_surge", 2)
	h.End()
	c, ok := h.Undo()
	if !ok || c.Text != "both" || len(c.Steps) != 4 {
		t.Fatalf("undo gives %+v", c)
	}
	if err := r.Restore(c, false, 0); err != nil {
		t.Fatal(err)
	}
	if at("/deployment/web/replicas") != 1 || at("/deployment/web/max_surge") != 1 || did != "-" {
		t.Errorf("undone are %g replicas, a surge of %g, %q", at("/deployment/web/replicas"), at("/deployment/web/max_surge"), did)
	}
	if _, ok := h.Undo(); ok {
		t.Error("there is more to undo")
	}
	c, _ = h.Redo()
	if err := r.Restore(c, true, 0); err != nil {
		t.Fatal(err)
	}
	if at("/deployment/web/replicas") != 5 || at("/deployment/web/max_surge") != 2 || did != "-+" {
		t.Errorf("done again are %g replicas, a surge of %g, %q", at("/deployment/web/replicas"), at("/deployment/web/max_surge"), did)
	}
}
