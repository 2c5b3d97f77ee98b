package kube

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/kube/eno"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// anyTopology is one of few modules and values, so that hands meet often.
func anyTopology(r *rand.Rand, from mapping.Topology) mapping.Topology {
	f := flatten(from)
	for range 1 + r.IntN(4) {
		id := fmt.Sprintf("%s%s/%s", modulePlace, []string{"deployment", "pod"}[r.IntN(2)], []string{"a", "b", "c"}[r.IntN(3)])
		switch {
		case f[id] == nil:
			like := flatten(mapping.Topology{Version: mapping.TopologyVersion, Namespace: "n", Modules: map[instrument.ModuleID]mapping.TopologyModule{
				instrument.ModuleID(strings.TrimPrefix(id, modulePlace)): {},
			}})
			maps.Copy(f, like)
		case r.IntN(5) == 0:
			for p := range f {
				if moduleOf(p) == id {
					delete(f, p)
				}
			}
		case strings.Contains(id, "deployment"):
			if r.IntN(3) == 0 {
				f[id+".strategy"] = []string{"RollingUpdate", "Recreate"}[r.IntN(2)]
			} else {
				f[id+".replicas"] = float64(r.IntN(4))
			}
		default:
			f[id+".hold"] = r.IntN(2) == 0
		}
		deployment, service := "deployment/"+[]string{"a", "b", "c"}[r.IntN(3)], "service/s"
		if r.IntN(3) == 0 && f[modulePlace+deployment] != nil {
			maps.Copy(f, flatten(mapping.Topology{Version: mapping.TopologyVersion, Namespace: "n", Modules: map[instrument.ModuleID]mapping.TopologyModule{instrument.ModuleID(service): {}}}))
			c := cablePlace + deployment + "/pods -> " + service + "/selector"
			if f[c] == nil {
				f[c] = present
			} else {
				delete(f, c)
			}
		}
		for p := range f { // cables go with their modules
			if c, err := mapping.ParseCable(strings.TrimPrefix(p, cablePlace)); strings.HasPrefix(p, cablePlace) && (err != nil || f[modulePlace+string(c.From.Module)] == nil) {
				delete(f, p)
			}
		}
	}
	return f.topology(mapping.Topology{Version: mapping.TopologyVersion, Namespace: "n"})
}

// TestMerge checks on many meetings of two hands that what only one
// of them changed is as that one has it, that nothing is lost without a
// conflict that says so, and that no place has a value of nobody's.
func TestMerge(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	conflicted := 0
	for range 2_000 {
		base := anyTopology(r, mapping.Topology{})
		theirs, ours := anyTopology(r, base), anyTopology(r, base)
		win := r.IntN(2) == 0
		got, conflicts := Merge(base, theirs, ours, func(string) bool { return win })
		b, th, ou, m := flatten(base), flatten(theirs), flatten(ours), flatten(got)
		if err := eno.Validate(got); err != nil && !strings.Contains(err.Error(), "cables") {
			t.Fatalf("the merged topology is not one: %v\nbase %v\ntheirs %v\nours %v\nmerged %v", err, b, th, ou, m)
		}
		told := map[string]bool{}
		for _, c := range conflicts {
			told[c.Place], told[cablePlace+c.Place] = true, true
			conflicted++
		}
		all := maps.Clone(b)
		maps.Copy(all, th)
		maps.Copy(all, ou)
		maps.Copy(all, m)
		for _, place := range slices.Sorted(maps.Keys(all)) {
			vb, vt, vo, vm := b[place], th[place], ou[place], m[place]
			var want any
			switch {
			case told[place] || told[moduleOf(place)]:
				if vm != vt && vm != vo {
					t.Fatalf("%s is %v, which nobody wrote: base %v, theirs %v, ours %v", place, vm, vb, vt, vo)
				}
				continue
			case vt == vo:
				want = vt
			case vt == vb:
				want = vo
			case vo == vb:
				want = vt
			default:
				t.Fatalf("%s: both hands changed it from %v (theirs %v, ours %v), and no conflict says so: %v", place, vb, vt, vo, conflicts)
			}
			if vm != want {
				if c, ok := strings.CutPrefix(place, cablePlace); ok && want != nil {
					// It may only miss with one of its modules.
					cable, err := mapping.ParseCable(c)
					if err == nil && (m[modulePlace+string(cable.From.Module)] == nil || m[modulePlace+string(cable.To.Module)] == nil) {
						continue
					}
				}
				t.Fatalf("%s is %v, want %v: base %v, theirs %v, ours %v", place, vm, want, vb, vt, vo)
			}
		}
		for _, c := range conflicts {
			if c.OursWon != win && !strings.Contains(c.Place, "->") {
				t.Fatalf("%v, but ours wins: %v", c, win)
			}
		}
		if same, none := Merge(base, theirs, base, nil); len(none) > 0 || len(flatten(same).changed(th)) > 0 {
			t.Fatalf("only they changed anything: %v, %v", flatten(same).changed(th), none)
		}
		if same, none := Merge(base, base, ours, nil); len(none) > 0 || len(flatten(same).changed(ou)) > 0 {
			t.Fatalf("only we changed anything: %v, %v", flatten(same).changed(ou), none)
		}
	}
	if conflicted < 200 {
		t.Errorf("only %d conflicts: the hands hardly met", conflicted)
	}
}
