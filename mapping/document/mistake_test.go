package document

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

func TestNear(t *testing.T) {
	known := []string{"replicas", "ready", "running", "image", "in", "deployment/web"}
	for name, want := range map[string]string{
		"replcas": "replicas", "relpicas": "replicas", "Ready": "ready", "runing": "running",
		"deployment/wbe": "deployment/web", "ni": "in", "depl": "deployment/web", "r": "", "re": "", "runs": "", "wobble": "", "x": "", "": "", strings.Repeat("r", 1000): "",
	} {
		got := Near(name, known)
		if want == "" && got != "" || want != "" && got != fmt.Sprintf("; did you mean %q?", want) {
			t.Errorf("Near(%.20q) = %q, want %q", name, got, want)
		}
	}
}

func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{{"", "", 0}, {"a", "", 1}, {"ab", "ba", 1}, {"kitten", "sitting", 3}, {"gate", "gates", 1}, {"übung", "ubung", 1}, {"ca", "abc", 3}} {
		if got := distance(tt.a, tt.b, 99); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.a, tt.b, got, tt.want)
		}
		if got := distance(tt.b, tt.a, 99); got != tt.want {
			t.Errorf("distance(%q, %q) = %d, want %d", tt.b, tt.a, got, tt.want)
		}
	}
}

// TestMistakes: in the order of the file, so many and no more.
func TestMistakes(t *testing.T) {
	m := Mistakes{File: "x"}
	if m.Err() != nil || m.Count() != 0 {
		t.Errorf("no mistake is %v", m.Err())
	}
	for i := range MaxErrors + 7 {
		m.At(MaxErrors-i, 0, "mistake %d", i)
	}
	all := strings.Split(m.Err().Error(), "\n")
	if m.Count() != MaxErrors+7 || len(all) != MaxErrors+1 || all[0] != "x:1:1: mistake 99" || all[MaxErrors] != "x: and 7 more mistakes" {
		t.Errorf("%d mistakes are told as %q", m.Count(), all)
	}
	later := LaterVersion("map", 3, 1)
	m = Mistakes{File: "x"}
	m.Add(2, 3, later)
	var e *Error
	if err := m.Err(); !errors.Is(err, ErrVersion) || !errors.As(err, &e) || e.Line != 2 || e.Column != 3 || err.Error() != "x:2:3: map is of version 3; this program reads up to 1; update k8s-synth" {
		t.Errorf("a later version: %v", err)
	}
}
