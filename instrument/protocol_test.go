package instrument

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestProtocolIsCurrent holds the document to the declarations.
func TestProtocolIsCurrent(t *testing.T) {
	var b bytes.Buffer
	if err := WriteProtocol(&b); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("SIGNALS.md", b.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile("SIGNALS.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(have, b.Bytes()) {
		t.Error("SIGNALS.md is not what the declarations say; write it with: go test ./instrument -run Protocol -update")
	}
	text := b.String()
	for _, s := range registered {
		i := strings.Index(text, fmt.Sprintf("\n### %s (`%s`)\n", s.Title, s.Kind))
		if i < 0 {
			t.Errorf("it does not speak of %s", s.Kind)
			continue
		}
		section := text[i+4:]
		if end := strings.Index(section, "\n### "); end > 0 {
			section = section[:end]
		}
		for _, p := range s.Params {
			if !strings.Contains(section, "| `"+p.Name+"` |") {
				t.Errorf("%s: it does not speak of the knob %s", s.Kind, p.Name)
			}
		}
		for _, j := range append(append([]JackSpec{}, s.Inputs...), s.Outputs...) {
			if !strings.Contains(section, "| `"+j.Name+"` |") {
				t.Errorf("%s: it does not speak of the jack %s", s.Kind, j.Name)
			}
		}
		if !strings.Contains(text, "](#"+anchor(s)+")") {
			t.Errorf("%s is in no table of modules", s.Kind)
		}
	}
	for g := range gestureWords {
		if gestureMeanings[g] == "" {
			t.Errorf("it does not say how %s sounds", Gesture(g))
		}
	}
	for k := range kindNames {
		if kindMeanings[k] == "" {
			t.Errorf("it does not say what %s means", SignalKind(k))
		}
	}
	// Each line of a table has as many cells as its head.
	cells := 0
	for n, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, "|") {
			cells = 0
			continue
		}
		c := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|")
		if cells != 0 && c != cells {
			t.Errorf("line %d has %d cells, its table %d", n+1, c-1, cells-1)
		}
		cells = c
	}
	if err := WriteProtocol(full{}); err == nil {
		t.Error("a full disk is not told")
	}
}

// full takes nothing.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// TestCableMeanings: what the document says of a cable is a cable that can be
// plugged in.
func TestCableMeanings(t *testing.T) {
	for _, m := range CableMeanings() {
		end := func(s string) JackRef {
			kind, jack, _ := strings.Cut(s, "/")
			return JackRef{ModuleID(kind + "/x"), jack}
		}
		p := Patch{Cables: []Cable{{end(m.From), end(m.To)}}}
		p.Modules = append(p.Modules, Module{ID: p.Cables[0].From.Module})
		if to := p.Cables[0].To.Module; to != p.Modules[0].ID {
			p.Modules = append(p.Modules, Module{ID: to})
		}
		if err := p.Validate(); err != nil {
			t.Errorf("%s → %s: %v", m.From, m.To, err)
		}
	}
}
