package scenes

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

func parsed(t *testing.T, text string) *Scene {
	t.Helper()
	s, err := Parse("test", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// walk goes a morph's way as a player does, and returns the patches that stood
// and what was published of the cluster.
func walk(t *testing.T, m *Morph, steps int, from *instrument.Patch) (loads int, clusters []string, end *instrument.Patch) {
	t.Helper()
	rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})
	if err := rack.Load(from); err != nil {
		t.Fatal(err)
	}
	last := ""
	for i := range steps + 1 {
		s := m.Step(float64(i) / float64(steps))
		if s.Patch != nil {
			loads++
			if err := rack.Load(s.Patch); err != nil {
				t.Fatalf("at %d of %d: %v", i, steps, err)
			}
		}
		for _, c := range s.Params {
			if err := rack.Set(c.Address, c.Value, c.Word, "", 0); err != nil {
				t.Fatalf("at %d of %d: %v", i, steps, err)
			}
		}
		if top, changed := rack.Topology(); changed {
			if now := fmt.Sprintf("%+v", top); now != last {
				last = now
				clusters = append(clusters, now)
			}
		}
		if s.To != (i == steps) || s.From != (i == 0) {
			t.Fatalf("there at %d of %d", i, steps)
		}
	}
	return loads, clusters, rack.Patch()
}

func TestMorph(t *testing.T) {
	a := parsed(t, `{version: 1, name: a, modules: [
  {id: deployment/web, params: {replicas: 2}},
  {id: deployment/old, params: {replicas: 3}},
  {id: pod/p, params: {tune: 1}},
  {id: voice/v, params: {attack: 0.01, wave: saw, bright: 1}}],
  cables: ["deployment/web/claim_1 -> pod/p/lifecycle", "pod/p/ready -> voice/v/open"]}`)
	b := parsed(t, `{version: 1, name: b, modules: [
  {id: deployment/web, params: {replicas: 6}},
  {id: deployment/new, params: {replicas: 4}},
  {id: pod/p, params: {tune: 7}},
  {id: voice/v, params: {attack: 1, wave: sine, bright: 3}}],
  cables: ["deployment/new/claim_1 -> pod/p/lifecycle"]}`)
	m, err := NewMorph(a, b, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	at := func(x float64, address mapping.Address) float64 {
		for i := range m.courses {
			if m.courses[i].address == address {
				v, _ := m.courses[i].at(x, m.cut)
				return v
			}
		}
		return math.NaN()
	}
	for _, c := range []struct {
		x       float64
		address mapping.Address
		want    float64
	}{
		{0.5, "/voice/v/attack", 0.1}, {0.25, "/deployment/web/replicas", 3}, {0.31, "/deployment/web/replicas", 3}, {0.5, "/deployment/old/replicas", 2}, {0.5, "/deployment/new/replicas", 2},
		{0.49, "/voice/v/wave", a.Patch.Module("voice/v").Value("wave")}, {0.5, "/voice/v/wave", b.Patch.Module("voice/v").Value("wave")}, {0.5, "/pod/p/tune", 4},
	} {
		if got := at(c.x, c.address); math.Abs(got-c.want) > 1e-9 {
			t.Errorf("at %g %s is %g, want %g", c.x, c.address, got, c.want)
		}
	}
	loads, clusters, end := walk(t, m, 200, a.Patch)
	if loads != 3 {
		t.Errorf("the patch was rewired %d times, want at the beginning, the cut and the end", loads)
	}
	if len(clusters) > 12 {
		t.Errorf("the cluster saw %d states on the way", len(clusters))
	}
	if len(end.Modules) != len(b.Patch.Modules) || len(end.Cables) != 1 || end.Module("deployment/web").Value("replicas") != 6 || end.Module("voice/v").Value("attack") != 1 {
		t.Errorf("ended at %+v", end)
	}
	if _, err := NewMorph(a, b, 1.5); err == nil {
		t.Error("a cut after the end")
	}
}

// Every shipped scene can turn into every other one, at any speed.
func TestMorphBetweenShippedScenes(t *testing.T) {
	list, err := (&Store{}).List()
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range list {
		for i, to := range list {
			a, b := shippedScene(t, from.Name), shippedScene(t, to.Name)
			m, err := NewMorph(a, b, []float64{0, 0.3, 1}[i%3])
			if err != nil {
				t.Error(err)
				continue
			}
			_, clusters, end := walk(t, m, []int{1, 7, 100}[i%3], a.Patch)
			if len(clusters) > clusterSteps+3 {
				t.Errorf("%s to %s: the cluster saw %d states", from.Name, to.Name, len(clusters))
			}
			got := *b
			got.Patch = end
			for k := range end.Modules {
				// A patch that is played may hold empty maps where the file had none.
				w := b.Patch.Module(end.Modules[k].ID)
				for _, p := range w.Spec().Params {
					if w.Value(p.Name) != end.Modules[k].Value(p.Name) || w.Word(p.Name) != end.Modules[k].Word(p.Name) {
						t.Errorf("%s to %s: %s/%s is %g %s at the end", from.Name, to.Name, w.ID, p.Name, end.Modules[k].Value(p.Name), end.Modules[k].Word(p.Name))
					}
				}
			}
			if len(end.Modules) != len(b.Patch.Modules) || len(end.Cables) != len(b.Patch.Cables) {
				t.Errorf("%s to %s: ended elsewhere", from.Name, to.Name)
			}
		}
	}
}

// TestMorphBackAndForth: a hand may go the way in any direction, and holds
// what it turned itself.
func TestMorphBackAndForth(t *testing.T) {
	a, b := shippedScene(t, "default"), shippedScene(t, "autoscaler")
	m, err := NewMorph(a, b, 0.4)
	if err != nil {
		t.Fatal(err)
	}
	rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})
	if err := rack.Load(a.Patch); err != nil {
		t.Fatal(err)
	}
	held := mapping.Address("")
	for i := range a.Patch.Modules {
		if mod := &a.Patch.Modules[i]; mod.ID.Kind() == "audio_out" && b.Patch.Module(mod.ID) != nil {
			held = mapping.AddressOf(mod.ID, "level")
		}
	}
	cuts := 0
	for i, x := range []float64{0, 0.1, 0.5, 0.3, 0.39, 0.4, 1, 0.9, 0, 0.2, 1, 1, 0.41, 0.39} {
		s := m.Step(x)
		if s.Cut {
			cuts++
		}
		if s.From != (x == 0) || s.To != (x == 1) || s.After != (x >= 0.4) {
			t.Errorf("step %d to %g is %+v", i, x, s)
		}
		if s.Patch != nil {
			if err := rack.Load(s.Patch); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range s.Params {
			if err := rack.Set(c.Address, c.Value, c.Word, "", 0); err != nil {
				t.Fatal(err)
			}
		}
		for k := range m.courses {
			g := &m.courses[k]
			if s.From || s.To {
				continue
			}
			want, word := g.at(x, m.cut)
			if v, w, err := rack.Value(g.address); err != nil || v != want || w != word {
				t.Errorf("at %g %s is %g %s, want %g %s", x, g.address, v, w, want, word)
			}
		}
		if n := len(rack.Patch().Modules); s.From && n != len(a.Patch.Modules) || s.To && n != len(b.Patch.Modules) {
			t.Errorf("at %g there are %d modules", x, n)
		}
		if i == 8 && held != "" {
			m.Hold(held, -7, "")
		}
	}
	if cuts != 6 {
		t.Errorf("it was cut %d times, want 6", cuts)
	}
	if id, name, err := held.Split(); err == nil && (m.From().Patch.Module(id).Value(name) != -7 || m.To().Patch.Module(id).Value(name) != -7) {
		t.Error("what a hand holds is elsewhere at the ends")
	}
}

// TestMorphRewire: what a hand patches is done to each end as far as it is valid
// there, and what is returned is undone there by its Back; every patch on the way
// stays valid.
func TestMorphRewire(t *testing.T) {
	a := parsed(t, `{version: 1, name: a, modules: [
  {id: deployment/web, params: {replicas: 2}}, {id: deployment/old, params: {replicas: 3}},
  {id: pod/p, params: {tune: 1}}, {id: voice/v, params: {attack: 0.01}}, {id: vca/x}],
  cables: ["deployment/web/claim_1 -> pod/p/lifecycle", "pod/p/ready -> voice/v/open", "voice/v/left -> vca/x/in"]}`)
	b := parsed(t, `{version: 1, name: b, modules: [
  {id: deployment/web, params: {replicas: 6}}, {id: vcf/f},
  {id: pod/p, params: {tune: 7}}, {id: voice/v, params: {attack: 1}}],
  cables: ["pod/p/ready -> voice/v/gate", "voice/v/left -> vcf/f/in"]}`)
	cables := func(list ...string) (all []instrument.Cable) {
		for _, text := range list {
			c, err := mapping.ParseCable(text)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		return all
	}
	module := func(s *Scene, id instrument.ModuleID) instrument.Module { return *s.Patch.Clone().Module(id) }
	for name, c := range map[string]struct {
		at       float64
		edit     mapping.Wiring
		from, to string // of what became of it, as short says
		gone     instrument.ModuleID
	}{
		"a module of both":                {at: 0.2, edit: mapping.Wiring{Removed: []instrument.Module{module(a, "voice/v")}}, from: "-voice/v -2", to: "-voice/v -2", gone: "voice/v"},
		"a module of the first":           {at: 0.2, edit: mapping.Wiring{Removed: []instrument.Module{module(a, "deployment/old")}}, from: "-deployment/old", gone: "deployment/old"},
		"a module of the second":          {at: 0.2, edit: mapping.Wiring{Removed: []instrument.Module{module(b, "vcf/f")}}, to: "-vcf/f -1", gone: "vcf/f"},
		"a new module and a cable":        {at: 0.7, edit: mapping.Wiring{Added: []instrument.Module{{ID: "vco/n"}}, Plugged: cables("vco/n/sine -> voice/v/tension")}, from: "+vco/n +1", to: "+vco/n +1"},
		"an input that is held":           {at: 0.2, edit: mapping.Wiring{Plugged: cables("deployment/web/running -> voice/v/gate")}, from: "+1"},
		"a cable of one in two":           {at: 0.7, edit: mapping.Wiring{Pulled: cables("pod/p/ready -> voice/v/gate"), Plugged: cables("deployment/web/running -> voice/v/gate")}, from: "+1", to: "-1 +1"},
		"a claim that is taken":           {at: 0.7, edit: mapping.Wiring{Added: []instrument.Module{{ID: "pod/q"}}, Plugged: cables("deployment/web/claim_1 -> pod/q/lifecycle")}, from: "+pod/q", to: "+pod/q +1"},
		"between a module of each":        {at: 0.7, edit: mapping.Wiring{Plugged: cables("vcf/f/low -> vca/x/cv")}},
		"a deployment that both have new": {at: 0.2, edit: mapping.Wiring{Added: []instrument.Module{{ID: "deployment/n", Params: map[string]float64{"replicas": 5}}}}, from: "+deployment/n", to: "+deployment/n"},
	} {
		t.Run(name, func(t *testing.T) {
			m, err := NewMorph(a, b, 0.5)
			if err != nil {
				t.Fatal(err)
			}
			m.Step(c.at)
			from, to := m.Rewire(c.edit)
			if short(from) != c.from || short(to) != c.to {
				t.Errorf("it did %q and %q, want %q and %q", short(from), short(to), c.from, c.to)
			}
			for _, x := range []float64{0.1, 0.6, 1, 0.9, 0.4, 0, 0.3} {
				s := m.Step(x)
				if s.Patch == nil {
					continue
				}
				if err := s.Patch.Validate(); err != nil {
					t.Errorf("at %g: %v", x, err)
				}
				if c.gone != "" && s.Patch.Module(c.gone) != nil {
					t.Errorf("at %g %s is back", x, c.gone)
				}
				if d := s.Patch.Module("deployment/n"); d != nil && d.Value("replicas") != 5 {
					t.Errorf("at %g what a hand has put in has %g replicas", x, d.Value("replicas"))
				}
			}
			for i, end := range []*Scene{m.From(), m.To()} {
				rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2})
				if err := rack.Load(end.Patch); err != nil {
					t.Fatal(err)
				}
				was := []*Scene{a, b}[i].Patch
				if err := rack.Rewire([]mapping.Wiring{from, to}[i].Back(), ""); err != nil {
					t.Errorf("end %d: %v", i, err)
				}
				is := rack.Patch()
				if len(is.Modules) != len(was.Modules) || len(is.Cables) != len(was.Cables) {
					t.Errorf("end %d undone: %d modules and %d cables, were %d and %d", i, len(is.Modules), len(is.Cables), len(was.Modules), len(was.Cables))
				}
				for _, c := range was.Cables {
					if !slices.Contains(is.Cables, c) {
						t.Errorf("end %d undone lacks %s", i, mapping.FormatCable(c))
					}
				}
			}
			// The scenes that it was made of are untouched.
			if len(a.Patch.Modules) != 5 || len(b.Patch.Modules) != 4 || len(a.Patch.Cables) != 3 || len(b.Patch.Cables) != 2 {
				t.Error("the scenes have changed")
			}
		})
	}
}

// short says which modules an edit removes and adds, and how many cables.
func short(w mapping.Wiring) (text string) {
	word := func(sign string, what any) {
		if text != "" {
			text += " "
		}
		text += sign + fmt.Sprint(what)
	}
	for _, m := range w.Removed {
		word("-", m.ID)
	}
	if n := len(w.Pulled); n > 0 {
		word("-", n)
	}
	for _, m := range w.Added {
		word("+", m.ID)
	}
	if n := len(w.Plugged); n > 0 {
		word("+", n)
	}
	return text
}

// TestMorphRewireKeepsHolds: what a hand holds stays held when something else is
// patched, and the knobs that glide go on where they are.
func TestMorphRewireKeepsHolds(t *testing.T) {
	a, b := shippedScene(t, "default"), shippedScene(t, "autoscaler")
	m, err := NewMorph(a, b, 0.5)
	if err != nil {
		t.Fatal(err)
	}
	m.Step(0.2)
	if len(m.courses) < 3 {
		t.Fatal("nothing glides")
	}
	var held *course // one that grows from nothing has no other end to stand at
	for i := range m.courses {
		if g := &m.courses[i]; g.address == "/deployment/web/replicas" || !g.text && !g.leap && held == nil {
			held = g
		}
	}
	address, n := held.address, len(m.courses)
	m.Hold(address, held.told, "")
	m.Rewire(mapping.Wiring{Added: []instrument.Module{{ID: "deployment/n", Params: map[string]float64{"replicas": 5}}}})
	if len(m.courses) != n-1 || slices.ContainsFunc(m.courses, func(g course) bool { return g.address == address }) {
		t.Errorf("%d knobs have a way, of %d before one was held", len(m.courses), n)
	}
	if s := m.Step(0.2); s.Patch != nil || len(s.Params) > 0 {
		t.Errorf("where it stands already it goes on by %+v", s)
	}
}
