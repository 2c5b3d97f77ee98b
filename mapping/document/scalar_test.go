package document

import (
	"math/rand/v2"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// styles write a value as a scalar; what cannot be written so is empty.
var styles = map[string]func(value string) string{
	"plain": func(v string) string {
		if strings.ContainsAny(v, "\n#:'\"\\") {
			return ""
		}
		return v
	},
	"plain in lines":  func(v string) string { return foldFlow(v, "", "", false) },
	"single quotes":   func(v string) string { return foldFlow(v, "'", "'", false) },
	"single in lines": func(v string) string { return foldFlow(v, "'", "'", true) },
	"double quotes": func(v string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "ü", `\u00fc`, "é", `\xe9`, "☸", `\U00002638`).Replace(v) + `"`
	},
	"double in lines": func(v string) string {
		return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, " ", "\n\n      ", "e", "\\\n      e").Replace(v) + `"`
	},
	"literal":        func(v string) string { return "|-\n      " + strings.ReplaceAll(v, "\n", "\n      ") },
	"literal, tag":   func(v string) string { return "!!str |-\n      " + strings.ReplaceAll(v, "\n", "\n      ") },
	"literal, marks": func(v string) string { return "&a |2-\n      " + strings.ReplaceAll(v, "\n", "\n      ") },
	"folded": func(v string) string {
		return ">-\n      " + strings.NewReplacer("\n", "\n\n      ", " && ", " &&\n      ").Replace(v)
	},
	"after a tag": func(v string) string { return "!!str '" + strings.ReplaceAll(v, "'", "''") + "'" },
}

// foldFlow writes a flow scalar with a line break at each blank, or at each
// line feed only.
func foldFlow(v, open, end string, all bool) string {
	if open == "" && strings.ContainsAny(v, "#:'\"\\\n") {
		return ""
	}
	if open == "'" {
		v = strings.ReplaceAll(v, "'", "''")
	}
	v = strings.ReplaceAll(v, "\n", "\n\n      ")
	if all || open == "" {
		v = strings.ReplaceAll(v, " ", "\n      ")
	}
	return open + v + end
}

// TestPlaceInScalar: the place of every character, in every style. The
// character that stands there in the file must be the one of the value; where a
// line feed of the value comes from is not told so exactly.
func TestPlaceInScalar(t *testing.T) {
	values := []string{
		"kind", `kind == "pod" && field == "ready"`, "it's", `a \ b "c" 'd'`, "üé☸ && new", "one\ntwo", "one two\nthree four\nfive", "a && b && c", "eee e",
	}
	r, letters := rand.New(rand.NewPCG(3, 4)), []rune("abcdefgh ü☸\"'\\&|\n(")
	for range 300 {
		var b strings.Builder
		for range 1 + r.IntN(30) {
			b.WriteRune(letters[r.IntN(len(letters))])
		}
		v := strings.TrimSpace(b.String())
		// Blanks beside line feeds are folded away in some styles.
		v = strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == '\n' }), "\n")
		v = strings.NewReplacer(" \n", "\n", "\n ", "\n", "  ", " ").Replace(v)
		values = append(values, strings.TrimSpace(v))
	}
	tried, told := map[string]int{}, 0
	for style, write := range styles {
		for _, value := range values {
			text := write(value)
			if text == "" {
				continue
			}
			file := "a:\n    b: " + text + "\nc: 1\n"
			var doc yaml.Node
			if err := yaml.Unmarshal([]byte(file), &doc); err != nil {
				continue // such a value cannot be written in this style
			}
			n := doc.Content[0].Content[1].Content[1]
			d := &Reader{data: []byte(file)}
			lines := d.text()
			tried[style]++
			line, column := 1, 1
			for i, c := range []rune(n.Value) {
				l, k, ok := d.Within(n, line, column)
				if !ok {
					t.Fatalf("%s: character %d of %q is not found in\n%s", style, i, n.Value, file)
				}
				got := rune(0)
				if k-1 < len(lines[l-1]) {
					got = lines[l-1][k-1]
				}
				blank := c == ' ' || c == '\n'
				escaped := strings.HasPrefix(style, "double") && got == '\\'
				if got != c && !escaped && !(blank && (got == 0 || got == ' ')) && c != '\n' {
					t.Fatalf("%s: character %d of %q is %q, at %d:%d stands %q in\n%s", style, i, n.Value, c, l, k, got, file)
				}
				told++
				if column++; c == '\n' {
					line, column = line+1, 1
				}
			}
		}
	}
	for style := range styles {
		if tried[style] < 5 {
			t.Errorf("%s was tried %d times", style, tried[style])
		}
	}
	t.Logf("%d places in %v", told, tried)
}
