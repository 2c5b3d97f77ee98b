package bind

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// TestLibrary: maps are found by name and path, the player's own first, and
// one with a mistake is listed with it.
func TestLibrary(t *testing.T) {
	l := Library{Dir: t.TempDir()}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(l.Dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("knobs.yaml", "version: 1\nname: knobs\ntitle: Mine\n")
	write("broken.yaml", "version: 1\nname: broken\nbindings: [{control: cc}]\n")
	write("notes.txt", "no map")
	list, err := l.List()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := WriteList(&b, list); err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(b.String(), l.Dir, "DIR")
	golden(t, "testdata/list.output.golden", got)
	if m, err := l.Open("knobs"); err != nil || m.Title != "Mine" {
		t.Error(m, err)
	}
	if m, err := l.Open(filepath.Join(l.Dir, "knobs.yaml")); err != nil || m.Title != "Mine" {
		t.Error(m, err)
	}
	if _, err := l.Open("knbs"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), `did you mean "knobs"?`) {
		t.Error(err)
	}
	if l.Validate("broken") == nil || l.Validate("faders") != nil || l.Validate("../x") == nil {
		t.Error("Validate does not tell what is wrong")
	}
	if list, err := (Library{Dir: filepath.Join(l.Dir, "not-there")}).List(); err != nil || len(list) != 5 {
		t.Error(list, err)
	}
	if text, err := l.Text("launchpad"); err != nil || !strings.Contains(string(text), "# Programmer mode of") {
		t.Error("comments are lost", err)
	}
}

// TestShipped: what ships is of use on any scene: each map leads somewhere, and
// nothing that cannot be undone is done by a hand that fell on a control.
func TestShipped(t *testing.T) {
	r := newRig(t)
	list, err := Library{}.List()
	if err != nil {
		t.Fatal(err)
	}
	scenes := []string{"ambient", "default"}
	for _, e := range list {
		m, err := Library{}.Open(e.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if m.Name != e.Name || m.About == "" {
			t.Errorf("%s is called %q, and says of itself %q", e.Name, m.Name, m.About)
		}
		rows := Rows(m, r.Rack, scenes)
		leads := 0
		for _, row := range rows {
			if row.Leads != "" {
				leads++
			}
			if Destructive(row.Leads) && !strings.HasPrefix(row.To, "kill:slot") && !strings.HasPrefix(row.To, "drain:") || strings.HasPrefix(row.Leads, "/namespace/") || strings.HasSuffix(row.Leads, "/drain") {
				t.Errorf("%s: %v leads to %s", e.Name, row.Control, row.Leads)
			}
		}
		if leads < 8 && e.Name != "mpe" || leads < 5 {
			t.Errorf("%s leads to %d things", e.Name, leads)
		}
		var b strings.Builder
		if err := WriteMarkdown(&b, rows); err != nil {
			t.Fatal(err)
		}
		golden(t, "testdata/"+e.Name+".md.golden", b.String())
	}
}

// TestKnobsAreDeterministic: the n-th knob of a scene is the same each time, in
// the order that is documented.
func TestKnobsAreDeterministic(t *testing.T) {
	want := []mapping.Address{"/deployment/web/replicas", "/deployment/web/cpu", "/deployment/api/replicas", "/deployment/api/cpu", "/voice/chord/bright", "/voice/chord/level", "/voice/drone/bright", "/voice/drone/level", "/vcf/air/cutoff", "/vcf/air/resonance", "/reverb/room/decay", "/reverb/room/mix", "/audio_out/main/level", "/node/one/capacity", "/node/two/capacity"}
	for range 5 {
		v := newView(newRig(t).Rack, nil)
		for i, a := range want {
			if got := v.members[v.knobs[i]].Address; got != a {
				t.Errorf("knob %d is %s, want %s", i+1, got, a)
			}
		}
		seen := map[int]bool{}
		for _, k := range v.knobs {
			if seen[k] {
				t.Errorf("%s is there twice", v.members[k].Address)
			}
			seen[k] = true
			if p := v.members[k].Param; p.Text || p.Counter || len(p.Choices) > 0 {
				t.Errorf("%s is no knob", v.members[k].Address)
			}
		}
	}
}

// TestNames: what a DAW calls controls is what they turn.
func TestNames(t *testing.T) {
	m, err := Library{}.Open("daw")
	if err != nil {
		t.Fatal(err)
	}
	names := Names(m, newRig(t).Rack, []string{"a"})
	by := map[string]string{}
	for _, n := range names {
		by[n.Control.String()] = n.Name
	}
	for c, want := range map[string]string{"cc 7 ch 1": "web replicas", "cc 7 ch 3": "chord level", "cc 20 ch 16": "web replicas", "cc 119 ch 16": "panic", "cc 118 ch 16": "resume", "cc 74 ch 3": "chord bright"} {
		if by[c] != want {
			t.Errorf("%s is called %q, want %q", c, by[c], want)
		}
	}
	var b strings.Builder
	if err := WriteCSV(&b, Rows(m, nil, nil)[:2]); err != nil || b.String() != "map,layer,control,to,mode,takeover,name\ndaw,all,cc 7 ch 1,strip[1]/1,auto,jump,main\ndaw,all,cc 7 ch 2,strip[2]/1,auto,jump,main\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}
