package mapping

import (
	"math"
	"testing"
)

// ruleRig plays two Rule modules and counts the triggers of both, and the rises
// of the first one's gate.
func ruleRig(t *testing.T) *rig {
	r := newRig(t)
	r.plug(ids("rule/r", "rule/s", "mixer/sum"), [][2]string{{"rule/r/gate", "mixer/sum/left_1"}, {"rule/r/gate", "mixer/sum/right_1"}}, map[string]string{"on": "rule/r/trigger", "gate": "rule/r/gate", "other": "rule/s/trigger"})
	return r
}

func TestNotes(t *testing.T) {
	r := ruleRig(t)
	r.Note(0, 67, 127, 0.2, r.frame+480)
	r.run(0.005)
	r.wantHits("before its time", map[string]int{"on": 1, "gate": 1, "other": 1})
	r.want("/rule/r/pitch", 7./12)
	r.want("/rule/r/velocity", 10)
	r.want("/rule/r/gate", 10)
	if v := r.value("/rule/r/gate"); v != 10 {
		t.Errorf("the gate is at %g V", v)
	}
	r.run(0.2)
	r.want("/rule/r/gate", 0)
	r.want("/rule/r/pitch", 7./12) // a release keeps its pitch
	r.Note(3, 40, 30, 0.1, 0)      // another channel
	r.wantHits("another channel", map[string]int{"on": 0, "gate": 0})
	r.Note(0, 48, 64, 0, 0)
	r.wantHits("no length", map[string]int{"on": 1, "gate": 1})
	r.want("/rule/r/pitch", -1)
	r.want("/rule/r/velocity", 64*10./127)
	r.want("/rule/r/gate", 0)
	for _, bad := range []float64{math.NaN(), math.Inf(1)} {
		r.Note(0, bad, 100, 1, 0)
	}
	r.Note(-1, 60, 100, 1, 0)
	r.Note(16, 60, 100, 1, 0)
	r.RuleCV(16, 1, 0)
	r.RuleCV(0, math.NaN(), 0)
	r.wantHits("no notes", map[string]int{"on": 0})
	r.RuleCV(0, 3.3, 0)
	r.want("/rule/r/cv", 3.3)
	r.Note(0, 60, math.NaN(), 0.1, 0)
	r.want("/rule/r/velocity", 0)
}

// TestRetrigger: each note is an edge of its own, however fast they come, and
// the gate is low for a millisecond in between.
func TestRetrigger(t *testing.T) {
	r := ruleRig(t)
	r.chunk = 8
	for i := range 20 {
		r.Note(0, float64(50+i), 100, 1, 0) // every one before the last is over
		r.run(0.01)
	}
	r.wantHits("twenty notes", map[string]int{"on": 20, "gate": 20})
	// Two at one moment are two.
	r.Note(0, 60, 100, 0.05, 0)
	r.Note(0, 61, 100, 0.05, 0)
	r.wantHits("at one moment", map[string]int{"gate": 2})
	r.run(0.2)
	r.want("/rule/r/gate", 0)
	// One that begins as the last ends.
	for i := range 10 {
		r.Note(0, float64(50+i), 100, 0.02, r.frame)
		r.run(0.02)
	}
	r.wantHits("end to end", map[string]int{"gate": 10})
	r.run(0.1)
	r.want("/rule/r/gate", 0)
}

// TestNoteEndsOnTime measures the length of a note on the device's own output.
func TestNoteEndsOnTime(t *testing.T) {
	r := newRig(t)
	r.plug(ids("rule/r", "vca/v", "audio_out/o"), [][2]string{{"rule/r/gate", "vca/v/in"}, {"vca/v/out", "audio_out/o/left"}}, nil)
	r.Fade(true)
	r.run(0.2)
	r.keep, r.sound = true, nil
	begin := r.frame + 1000
	r.Note(0, 60, 100, 0.1, begin)
	r.run(0.3)
	first, end := -1, -1
	for i, v := range r.sound {
		if v > 0.2 && first < 0 {
			first = i
		}
		if v > 0.2 {
			end = i
		}
	}
	if first < 990 || first > 1300 {
		t.Errorf("it began at frame %d, want about 1000", first)
	}
	if n := end - first; n < 4600 || n > 5300 {
		t.Errorf("it was %d frames long, want 4800", n)
	}
	if late := r.Meters().Late; late != 0 {
		t.Errorf("%d events were late", late)
	}
}

func TestRuleGates(t *testing.T) {
	r := ruleRig(t)
	r.RuleGate(0, true, 0)
	r.want("/rule/r/gate", 10)
	r.RuleGate(0, true, 0)
	r.wantHits("raised twice", map[string]int{"gate": 1, "on": 0})
	r.Note(0, 60, 100, 0.05, 0) // a note on a held gate is heard, and the gate goes on
	r.wantHits("a note", map[string]int{"gate": 1, "on": 1})
	r.run(0.2)
	r.want("/rule/r/gate", 10)
	r.RuleGate(0, false, 0)
	r.want("/rule/r/gate", 0)
	r.Note(0, 60, 100, 5, 0)
	r.RuleGate(0, false, 0)
	r.want("/rule/r/gate", 0)
	r.RuleGate(99, true, 0)
	r.run(6)
	r.want("/rule/r/gate", 0)
}

// TestNoStuckNotes: whatever ends the music ends its notes, also those that
// are only on their way.
func TestNoStuckNotes(t *testing.T) {
	for name, end := range map[string]func(r *rig){
		"panic": func(r *rig) { r.Panic() },
		"load": func(r *rig) {
			if err := r.Load(r.Patch().Clone()); err != nil {
				r.t.Fatal(err)
			}
		},
		"the end": func(r *rig) { r.Fade(false) },
	} {
		for _, ahead := range []int64{0, 2000} {
			r := ruleRig(t)
			r.Note(0, 60, 100, 1e9, r.frame+ahead)
			if name != "load" { // which leaves alone what a rule holds
				r.RuleGate(1, true, r.frame+ahead)
			}
			if ahead == 0 && name != "load" {
				r.want("/mixer/sum/left", 20)
			}
			end(r)
			r.run(0.1)
			r.want("/rule/r/gate", 0)
			if got := r.value("/mixer/sum/left"); got != 0 {
				t.Errorf("%s, %d frames ahead: %g V of gates are up", name, ahead, got)
			}
			// And the next note is heard, after a panic when a hand lets it.
			resume(r)
			clear(r.hits)
			r.Note(0, 60, 100, 0.1, 0)
			r.wantHits(name, map[string]int{"gate": 1})
			r.run(0.2)
			r.want("/rule/r/gate", 0)
		}
	}
}

// resume ends the silence after a panic, in which there are no notes.
func resume(r *rig) {
	if !r.Silenced() {
		return
	}
	clear(r.hits)
	r.Note(0, 60, 100, 0.1, 0)
	r.wantHits("silenced", map[string]int{"gate": 0})
	r.Show()
}

// TestNoStuckNotesAhead is the same where Pump is ahead of the engine by a
// latency, as in the instrument that plays: the note's time has passed there,
// and is still to come here.
func TestNoStuckNotesAhead(t *testing.T) {
	const latency, later = 1440, 240
	for name, end := range map[string]func(r *rig){
		"panic": func(r *rig) { r.Panic() },
		"load": func(r *rig) {
			if err := r.Load(r.Patch().Clone()); err != nil {
				r.t.Fatal(err)
			}
		},
		"the end": func(r *rig) { r.Fade(false) },
	} {
		r := ruleRig(t)
		r.Rack.Pump(r.frame + latency)
		r.Note(0, 60, 100, 1e9, 0)
		r.Rack.Pump(r.frame + latency + later)
		end(r)
		r.run(0.1)
		if got := r.value("/rule/r/gate"); got != 0 {
			t.Errorf("%s: the gate is at %g V, want 0 V", name, got)
		}
		if late := r.Meters().Late; late != 0 {
			t.Errorf("%s: %d events were late", name, late)
		}
		resume(r)
		clear(r.hits)
		r.Note(0, 60, 100, 0.1, 0)
		r.wantHits(name, map[string]int{"gate": 1})
		r.run(0.2)
		r.want("/rule/r/gate", 0)
	}
}

// TestRulesHold: what rules hold outlives another patch, and comes back after a
// panic with everything else.
func TestRulesHold(t *testing.T) {
	r := ruleRig(t)
	r.RuleGate(0, true, 0)
	r.RuleCV(0, 3, 0)
	r.wantHits("held", map[string]int{"gate": 1})
	r.plug(ids("vca/more", "rule/late"), nil, nil)
	r.wantHits("another patch", map[string]int{"gate": 0})
	for _, id := range []string{"r", "late"} {
		r.want("/rule/"+Address(id)+"/gate", 10)
		r.want("/rule/"+Address(id)+"/cv", 3)
	}
	r.Panic()
	r.want("/rule/r/gate", 0)
	r.say(KindPod, "web-0", FieldPhase, "Pending")
	r.want("/rule/r/gate", 0)
	r.Show()
	r.want("/rule/r/gate", 10)
	r.want("/rule/r/cv", 3)
	r.Panic()
	r.RuleGate(0, false, 0)
	r.Show()
	r.want("/rule/r/gate", 0)
}
