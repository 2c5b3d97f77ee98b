package mapping

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// What a source held that is gone is let go, if no other holds it; a fader's
// volts and a switch of a jack that rests high are held by nobody.
func TestHolds(t *testing.T) {
	p := &instrument.Patch{}
	for _, id := range []string{"voice/a", "clock/c", "pod/solo", "vcf/f"} {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(id)})
	}
	r := NewRack(Config{SampleRate: testRate, Channels: 2})
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	var h Holds
	r.Changed = func(a Address, v float64, _, _ string) { h.Changed(a, v) }
	begun := time.Now()
	put := func(source string, a Address, volts float64, after time.Duration) {
		t.Helper()
		if err := r.Set(a, volts, "", source, 0); err != nil {
			t.Fatal(err)
		}
		m, err := r.Member(a)
		if err != nil {
			t.Fatal(err)
		}
		h.Put(m, volts, source, begun.Add(after))
	}
	left := func(want string, sources ...string) {
		t.Helper()
		got := ""
		for _, k := range h.Left(func(s string) bool { return slices.Contains(sources, s) }) {
			got += fmt.Sprintf("%s %s %v; ", k.Address, k.Source, k.At.Sub(begun))
		}
		if got != want {
			t.Errorf("%q left, and held %q, want %q", sources, got, want)
		}
	}
	left("", "a")
	put("a", "/voice/a/gate", 10, time.Second)
	put("a", "/voice/a/strike", 5, time.Second)
	put("a", "/pod/solo/lifecycle", 10, time.Second)
	put("a", "/vcf/f/cutoff_cv", 3, 0)  // a fader
	put("a", "/clock/c/run_gate", 0, 0) // a switch that lets it fall
	put("a", "/clock/c/run_gate", 10, 0)
	put("a", "/voice/a/breath", -5, 0) // low
	put("b", "/voice/a/gate", 10, 2*time.Second)
	put("a", "/voice/a/gate", 10, time.Second)
	left("/pod/solo/lifecycle a 1s; /voice/a/strike a 1s; ", "a", "x")
	left("", "a")
	if !h.Held("/voice/a/gate") || h.Held("/voice/a/strike") || h.Held("/clock/c/run_gate") || h.Held("/vcf/f/cutoff_cv") {
		t.Error("not what b holds is held")
	}
	left("/voice/a/gate b 2s; ", "b")

	// What anybody has let fall is held by nobody, also after another press.
	put("a", "/voice/a/gate", 10, 0)
	put("b", "/voice/a/gate", 0, 0)
	put("b", "/voice/a/gate", 10, 0)
	left("", "a")
	left("/voice/a/gate b 0s; ", "b")
	put("a", "/voice/a/gate", 10, 0)
	put("a", "/voice/a/strike", 10, 0)
	r.Panic()
	left("", "a")

	// Of a crowd those are known who came last.
	for i := range 2 * mostHolders {
		put(fmt.Sprint(i), "/voice/a/gate", 10, 0)
	}
	if n := len(h.by["/voice/a/gate"].sources); n != mostHolders {
		t.Errorf("%d holders are remembered, want %d", n, mostHolders)
	}
	var all []string
	for i := range 2 * mostHolders {
		all = append(all, fmt.Sprint(i))
	}
	left("", all[:2*mostHolders-1]...)
	left(fmt.Sprintf("/voice/a/gate %s 0s; ", all[2*mostHolders-1]), all...)
}

// A gate that a hand holds falls where a cable is plugged in, in the rack and in
// the engine, also if it is still to rise: it is low when the cable is pulled.
// What stands at a jack stays.
func TestCableTakesHold(t *testing.T) {
	p := &instrument.Patch{}
	for _, id := range []string{"lfo/l", "adsr/now", "adsr/later", "vcf/f", "clock/c"} {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(id)})
	}
	r := emptyRig(t, Config{SampleRate: testRate, Channels: 2})
	if err := r.Load(p); err != nil {
		t.Fatal(err)
	}
	r.run(0.05)
	puts := map[Address]float64{"/adsr/now/gate": 10, "/adsr/later/gate": 10, "/vcf/f/cutoff_cv": 3, "/clock/c/run_gate": 0}
	for a, v := range puts {
		frame := int64(0)
		if a == "/adsr/later/gate" {
			frame = r.frame + testRate/5
		}
		if err := r.Set(a, v, "", "hand", frame); err != nil {
			t.Fatal(err)
		}
	}
	r.run(0.05)
	var cables []instrument.Cable
	for a := range puts {
		cables = append(cables, cable("lfo/l/square", string(a)[1:]))
	}
	if err := r.Rewire(Wiring{Plugged: cables}, "other"); err != nil {
		t.Fatal(err)
	}
	r.run(0.05)
	if err := r.Rewire(Wiring{Pulled: cables}, "other"); err != nil {
		t.Fatal(err)
	}
	for a, v := range puts {
		if a == "/adsr/now/gate" || a == "/adsr/later/gate" {
			v = 0
		}
		if got, _, err := r.Value(a); err != nil || got != v {
			t.Errorf("%s is at %g V, want %g (%v)", a, got, v, err)
		}
	}
	r.run(1) // longer than a release
	for _, id := range []string{"now", "later"} {
		if v, _, err := r.Value(Address("/adsr/" + id + "/envelope")); err != nil || v > 0.1 {
			t.Errorf("the envelope %s is at %g V (%v)", id, v, err)
		}
	}
}
