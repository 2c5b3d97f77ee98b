package document

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRoot: what is no such file is told at its place.
func TestRoot(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "x:1:1: the file is empty; expected a map that begins with version: 2",
		"# nothing\n":                        "x:1:1: the file is empty; expected a map that begins with version: 2",
		"null\n":                             "x:1:1: the file is empty; expected a map that begins with version: 2",
		"- a\n":                              "x:1:1: a map is a mapping that begins with version: 2, this is a list",
		"just words":                         `x:1:1: a map is a mapping that begins with version: 2, this is "just words"`,
		"name: a\n":                          "x:1:1: the map has no version; it begins with version: 2",
		"name: a\nversion: 3\n":              "x:2:10: map is of version 3; this program reads up to 2; update k8s-synth",
		"version: 0\n":                       "x:1:10: version is a whole number from 1 to 2, this is 0",
		"version: '1'\n":                     `x:1:10: version is a whole number from 1 to 2, this is "1"`,
		"version: 1\nname: \xff\n":           "x:2:7: this is not UTF-8 text; expected a map in YAML",
		"version: 1\nname: ü\x00\n":          "x:2:8: this is not UTF-8 text; expected a map in YAML",
		"version: 1\n---\nversion: 1\n":      "x:2:1: a second document begins here; a file holds one map",
		"version: 1\n---\na: [\n":            "x:3:1: this is not YAML: did not find expected node content; expected a map",
		"version: 1\na: {b: 1\nc: 2}\n":      "x:2:1: this is not YAML: did not find expected ',' or '}'; expected a map",
		"version: 1\n\ta: 1\n":               "x:2:2: this is not YAML: found a tab character that violates indentation; expected a map",
		"version: 1\na: *b\n":                "x:2:1: this is not YAML: unknown anchor 'b' referenced; expected a map",
		strings.Repeat("# too long\n", 1000): "x:1:1: the file has more than 4096 bytes, which no map has",
	} {
		r := NewReader("x", "map", 2, 4096)
		doc, root := r.Root([]byte(text))
		if err := r.Err(); err == nil || err.Error() != want || doc != nil || root != nil {
			t.Errorf("%.30q:\n got %v\nwant %s", text, err, want)
		}
	}
	r := NewReader("x", "map", 1, 4096)
	if _, root := r.Root([]byte("version: one")); root != nil || r.Err().Error() != `x:1:10: version is 1, this is "one"` {
		t.Errorf("got %v", r.Err())
	}
	r = NewReader("x", "map", 2, 4096)
	if doc, root := r.Root([]byte("# about\nversion: 1\n")); r.Err() != nil || root == nil || !strings.Contains(doc.HeadComment+root.HeadComment+root.Content[0].HeadComment, "about") {
		t.Errorf("%+v, %v", doc, r.Err())
	}
}

// TestFields reads one of each kind, and tells every mistake of each.
func TestFields(t *testing.T) {
	const text = `version: 1
text: &t some words
number: 1.5
whole: 7
word: loud
truth: true
list: [1, 2, 3]
text: again
nubmer: 2
[a]: 3
`
	r := NewReader("x", "map", 1, 4096)
	_, root := r.Root([]byte(text))
	all := r.Fields(root, "a map", []string{"version", "text", "number", "whole", "word", "truth", "list"})
	at := func(name string) Entry {
		e, ok := Find(all, name)
		if !ok {
			t.Fatalf("there is no %s among %v", name, all)
		}
		return e
	}
	words := []string{"soft", "loud"}
	v, _ := r.Number(at("number"), 1, 2, "V")
	n, _ := r.Whole(at("whole"), 0, 10)
	if r.Prose(at("text"), 20) != "some words" || v != 1.5 || n != 7 || r.Word(at("word"), words) != 1 || !r.Truth(at("truth")) || len(r.List(at("list"), 3)) != 3 {
		t.Errorf("%v, %v", v, n)
	}
	_, _ = r.Number(at("number"), 2, 3, "V")
	_, _ = r.Whole(at("number"), 2, 3)
	_ = r.Prose(at("text"), 3)
	_ = r.Prose(at("list"), 3)
	_ = r.Word(Item("the third", at("list").Value.Content[2]), words)
	_ = r.Word(Item("word", at("truth").Value), []string{"trust"})
	_ = r.Truth(at("word"))
	_ = r.List(at("list"), 2)
	_ = r.List(at("word"), 0)
	_ = r.Entries(at("word").Value, "the word")
	want := `x:2:7: text has 10 characters; at most 3 are read
x:3:9: number is a number from 2 to 3 V, this is 1.5
x:3:9: number is a whole number from 2 to 3, this is 1.5
x:5:7: word is true or false, this is "loud"
x:5:7: word is a list, this is "loud"
x:5:7: the word is a mapping, this is "loud"
x:6:8: word is one of trust, this is "true"
x:7:7: list is a text, this is a list
x:7:7: list has 3 entries; at most 2 are read
x:7:14: the third is one of soft, loud, this is 3
x:8:1: "text" is already given on line 2; leave one of the two
x:9:1: unknown field "nubmer" of a map; expected one of version, text, number, whole, word, truth, list; did you mean "number"?
x:10:1: a key of a map is a word, this is a list`
	if got := r.Err().Error(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	// An alias is never followed: of a list of lists of lists it would make gigabytes.
	r = NewReader("x", "map", 1, 4096)
	_, root = r.Root([]byte("version: 1\na: &a [1, 2]\nb: *a\n"))
	if r.List(r.Fields(root, "a map", []string{"version", "a", "b"})[2], 0); r.Err() == nil || r.Err().Error() != "x:3:4: b is a list, this is an alias (*a), which is not followed here; write the value out" {
		t.Errorf("got %v", r.Err())
	}
}

// TestReadFile: never more than is needed to tell that a file is too long.
func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x")
	if _, err := ReadFile(path, 5); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte("0123456789"), 0o600); err != nil {
		t.Fatal(err)
	}
	if text, err := ReadFile(path, 5); err != nil || string(text) != "012345" {
		t.Errorf("%q, %v", text, err)
	}
	if _, err := ReadFile(filepath.Dir(path), 5); err == nil || !strings.Contains(err.Error(), "is a folder") {
		t.Errorf("a folder: %v", err)
	}
}
