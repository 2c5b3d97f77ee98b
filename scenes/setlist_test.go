package scenes

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"sigs.k8s.io/yaml"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const evening = `version: 1
name: evening
title: An evening
scenes:
  - default
  - {scene: ambient, launch: phrase, crossfade: 4, note: "wait for the\nlast bell"}
  - {scene: drain, morph: 30, cut: 0.25}
  - {scene: slot-3, launch: now, crossfade: 0}
`

func TestSetList(t *testing.T) {
	l, err := ParseSetList("evening", []byte(evening))
	if err != nil {
		t.Fatal(err)
	}
	want := []SetEntry{{Scene: "default", Crossfade: -1, Cut: DefaultCut}, {Scene: "ambient", Launch: mapping.Phrase, Crossfade: 4, Cut: DefaultCut, Note: "wait for the\nlast bell"},
		{Scene: "drain", Crossfade: -1, Morph: 30, Cut: 0.25}, {Scene: "slot-3", Launch: mapping.Now, Cut: DefaultCut}}
	if !l.Equal(&SetList{"evening", "An evening", want}) {
		t.Errorf("read as %+v", l)
	}
	text, err := EncodeSetList(l)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := ParseSetList("again", text); err != nil || !again.Equal(l) {
		t.Errorf("written as\n%s%v", text, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "evening.setlist.yaml"), []byte(evening), 0o600); err != nil {
		t.Fatal(err)
	}
	st := &Store{Dir: dir}
	all, err := st.SetLists()
	if err != nil || len(all) != 1 || all[0].Name != "evening" || all[0].Title != "An evening" || all[0].Err != nil {
		t.Errorf("listed are %+v, %v", all, err)
	}
	scenes, err := st.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range scenes {
		if strings.Contains(s.Name, "evening") {
			t.Error("a set list is listed as a scene")
		}
	}
	if o, err := st.OpenSetList("evening"); err != nil || !o.Equal(l) {
		t.Errorf("opened is %+v, %v", o, err)
	}
	if _, err := st.OpenSetList("other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("one that is not there: %v", err)
	}
	if _, err := st.OpenSetList("../x"); err == nil {
		t.Error("a path that is none is opened")
	}
	if err := st.Check(l); err == nil || !strings.Contains(err.Error(), "scene 4 of evening") || strings.Contains(err.Error(), "scene 1") {
		t.Errorf("checked: %v", err)
	}
}

func TestSlots(t *testing.T) {
	for i := 1; i <= Slots; i++ {
		if n, err := SlotName(i); err != nil || SlotOf(n) != i {
			t.Errorf("slot %d is %q, %v", i, n, err)
		}
	}
	for _, i := range []int{0, -1, Slots + 1} {
		if _, err := SlotName(i); err == nil {
			t.Errorf("there is a slot %d", i)
		}
	}
	if SlotOf("default") != 0 || SlotOf("slot-99") != 0 {
		t.Error("a scene is in a slot that is in none")
	}
}

// TestSetListSchema: the schema takes what the reader takes, and both refuse
// the same mistakes.
func TestSetListSchema(t *testing.T) {
	golden(t, "setlist.schema.json", SetListSchema())
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SetListSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("setlist.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("setlist.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		data, err := yaml.YAMLToJSON([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	if err := check(evening); err != nil {
		t.Error(err)
	}
	for _, text := range []string{"", "scenes: []", "scenes: default", "scenes: [{launch: bar}]", "scenes: [{scene: a, launch: soon}]", "scenes: [{scene: a, crossfade: 31}]", "scenes: [{scene: a, crossfade: -1}]",
		"scenes: [{scene: a, morph: 4000}]", "scenes: [{scene: a, morph: 1, cut: 2}]", "scenes: [{scene: A}]", "scenes: [{scene: a, tempo: 1}]", "scenes: [a]\ntitle: [b]"} {
		text = "version: 1\nname: x\n" + text + "\n"
		if check(text) == nil {
			t.Errorf("the schema takes\n%s", text)
		}
		if _, err := ParseSetList("x", []byte(text)); err == nil {
			t.Errorf("the reader takes\n%s", text)
		}
	}
	for text, want := range map[string]string{
		"{version: 2, name: x, scenes: [a]}":                                  "version",
		"{version: 1, name: x, scenes: [{scene: a, cut: 0.5}]}":               "cut is a point of a morph",
		"{version: 1, name: x, scenes: [{scene: a, morph: 3, crossfade: 1}]}": "leave crossfade out",
		"{version: 1, scenes: [a]}":                                           "no name",
	} {
		if _, err := ParseSetList("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func FuzzSetList(f *testing.F) {
	f.Add([]byte(evening))
	f.Add([]byte("{version: 1, name: x, scenes: [a]}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l, err := ParseSetList("x", data)
		if err != nil {
			return
		}
		text, err := EncodeSetList(l)
		if err != nil {
			t.Fatalf("what was read is not written: %v", err)
		}
		if again, err := ParseSetList("x", text); err != nil || !again.Equal(l) {
			t.Errorf("written as\n%s%v", text, err)
		}
	})
}
