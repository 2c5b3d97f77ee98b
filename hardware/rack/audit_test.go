package rack

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; run go test ./hardware/rack -update", err)
	}
	if got != string(want) {
		t.Errorf("%s differs:\n%s\nwant:\n%s", name, got, want)
	}
}

// bench is a small rack with figures of its own, so that the golden files hold
// when a module's declaration changes.
func bench() []Module {
	var all []Module
	add := func(id string, row, at, hp, plus, minus, five int) {
		all = append(all, Module{ID: id, HP: hp, Current: [rails]int{plus, minus, five}, Row: row, At: at})
	}
	add("deployment/web", 0, 0, 16, 60, 20, 0)
	add("pod/web-1", 0, 16, 8, 45, 20, 0)
	add("pod/web-2", 0, 24, 8, 45, 20, 0)
	add("voice/chord", 1, 0, 18, 120, 90, 0)
	add("reverb/room", 1, 18, 8, 90, 20, 0)
	add("audio_out/main", 1, 26, 6, 30, 30, 0)
	add("blank/x", 1, 32, 4, 0, 0, 0)
	return all
}

func TestGoldenReports(t *testing.T) {
	crowd := append(bench(), bench()...)
	for i := range crowd {
		crowd[i].ID += fmt.Sprintf("-%d", i)
		crowd[i].Row = -1
	}
	heavy := append(bench(), Module{ID: "display/big", HP: 30, Current: [rails]int{0, 0, 240}, Row: 0, At: 32})
	for _, c := range []struct {
		name, supply string
		modules      []Module
	}{
		{"fits", "doepfer-a100g6", bench()}, {"crowded", "doepfer-a100ssb", crowd}, {"five-volts", "tiptop-uzeus-boost", heavy}, {"mini", "doepfer-a100mnt", bench()},
	} {
		s, err := Library{}.Open(c.supply)
		if err != nil {
			t.Fatal(err)
		}
		r := s.Audit(c.modules)
		var b strings.Builder
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		golden(t, c.name+".txt", b.String())
		j, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		golden(t, c.name+".json", string(j)+"\n")
	}
}

// TestSums: what is drawn and what is left is right to the milliamp.
func TestSums(t *testing.T) {
	s := &Supply{Name: "x", Inrush: 1.5, Rows: []int{20}, Headers: 2}
	s.Rails[Plus12] = Rail{Current: 1000, Peak: 1200, Derate: 0.9}
	m := func(ma int) []Module { return []Module{{ID: "a/a", HP: 10, Current: [rails]int{ma}, Row: -1}} }
	for _, c := range []struct {
		ma   int
		fits bool
		room int
		says string
	}{
		{800, true, 0, "fits: +12 V has 0 mA to spare, 10 HP are free, 1 header is free"}, // 800 · 1.5 = 1200
		{801, false, -1, "does NOT fit: +12 V lacks 2 mA at the start"},
		{901, false, -101, "does NOT fit: +12 V lacks 101 mA"},
		{300, true, 500, "fits: +12 V has 500 mA to spare, 10 HP are free, 1 header is free"},
	} {
		r := s.Audit(m(c.ma))
		if r.Fits != c.fits || r.Rails[0].Headroom != c.room || r.Verdict != c.says {
			t.Errorf("%d mA: %v, %d mA, %q; want %v, %d, %q", c.ma, r.Fits, r.Rails[0].Headroom, r.Verdict, c.fits, c.room, c.says)
		}
	}
	if r := s.Audit(nil); !r.Fits {
		t.Errorf("an empty rack: %q", r.Verdict)
	}
}

// TestEveryModule: the declarations reach the sums.
func TestEveryModule(t *testing.T) {
	var p instrument.Patch
	var hp, plus int
	for _, s := range instrument.Specs() {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(s.Kind + "/x")})
		hp, plus = hp+s.HP, plus+s.Plus12
	}
	s, err := Library{}.Open("large")
	if err != nil {
		t.Fatal(err)
	}
	r := s.Audit(Modules(&p, nil))
	if r.HP != hp || r.Rails[Plus12].Running != plus || r.Modules != len(p.Modules) || hp == 0 || plus == 0 {
		t.Errorf("%d modules, %d HP, %d mA; want %d, %d, %d", r.Modules, r.HP, r.Rails[Plus12].Running, len(p.Modules), hp, plus)
	}
	if len(r.LeftOut) > 0 {
		t.Errorf("left out %v", r.LeftOut)
	}
}

// TestPacking: no row is overfull, nothing is split or lost, and what can be
// packed to the last HP is.
func TestPacking(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for round := range 300 {
		widths := []int{84, 84, 104, 60}[:1+rng.IntN(4)]
		var modules []Module
		// Cut the rows into modules, so that a packing is known to be.
		for _, w := range widths {
			for left := w; left > 0; {
				hp := min(left, 4+rng.IntN(21))
				left -= hp
				modules = append(modules, Module{ID: fmt.Sprint("m/", len(modules)), HP: hp, Row: rng.IntN(6) - 1})
			}
		}
		rng.Shuffle(len(modules), func(i, j int) { modules[i], modules[j] = modules[j], modules[i] })
		over := round%3 == 0
		if over {
			modules = append(modules, Module{ID: "m/over", HP: 12, Row: -1})
		}
		rows, left, _ := place(modules, widths)
		seen := 0
		for i, r := range rows {
			at := 0
			for _, m := range r.Modules {
				if m.At != at {
					t.Fatalf("round %d: a hole at %d", round, at)
				}
				at += m.HP
				seen++
			}
			if at != r.Used || at > widths[i] {
				t.Fatalf("round %d: row %d has %d of %d HP", round, i, at, widths[i])
			}
		}
		if seen+len(left) != len(modules) {
			t.Fatalf("round %d: %d placed, %d left, of %d", round, seen, len(left), len(modules))
		}
		if over == (len(left) == 0) {
			t.Errorf("round %d: left out %v", round, left)
		}
	}
	// As in the patch where that can be; and not where two overlap.
	if _, _, as := place(bench(), []int{84, 84}); !as {
		t.Error("the places of the patch were not kept")
	}
	twice := append(bench(), Module{ID: "x/x", HP: 4, Row: 0, At: 30})
	if rows, left, as := place(twice, []int{84, 84}); as || len(left) > 0 || rows[0].Used+rows[1].Used != 72 {
		t.Errorf("two in one place: %v, left %v", as, left)
	}
}

func TestShippedSupplies(t *testing.T) {
	list, err := Library{Dir: filepath.Join(t.TempDir(), "none")}.List()
	if err != nil || len(list) < 5 {
		t.Fatalf("%v, %v", list, err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("supply.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("supply.json")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(text []byte) error {
		var v any
		if err := yaml.Unmarshal(text, &v); err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		x, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		return schema.Validate(x)
	}
	for _, e := range list {
		if e.Err != nil {
			t.Errorf("%s: %v", e.Name, e.Err)
			continue
		}
		text, _ := shipped.ReadFile("supplies/" + e.Name + suffix)
		if err := valid(text); err != nil {
			t.Errorf("%s: %v", e.Name, err)
		}
		s, err := Library{}.Open(e.Name)
		if err != nil || s.Name != e.Name || s.Source == "" || s.Rails[Plus12].Current == 0 || !slices.Contains(sureWords, string(s.Rails[Plus12].Sure)) {
			t.Errorf("%s: %+v, %v", e.Name, s, err)
		}
	}
	for _, text := range []string{"{version: 2, name: x, rails: {+12V: {current: 1}}}", "{version: 1, name: x, rails: {}}", "{version: 1, name: X, rails: {+12V: {current: 1}}}", "{version: 1, name: x, rails: {+12V: {current: -1}}}", "{version: 1, name: x, rails: {+12V: {sure: maybe}}}"} {
		if valid([]byte(text)) == nil {
			t.Errorf("the schema takes %s", text)
		}
	}
	if _, err := (Library{}).Open("nothing"); err == nil || !strings.Contains(err.Error(), "there are doepfer-a100g6") {
		t.Errorf("error: %v", err)
	}
}

func TestMistakes(t *testing.T) {
	for text, want := range map[string]string{
		"":                                   "x.yaml:1:1: the file is empty",
		"- 1\n":                              "x.yaml:1:1: a supply is a mapping that begins with version: 1, this is a list",
		"name: a\n":                          "x.yaml:1:1: the supply has no version",
		"version: 2\nname: a\n":              "x.yaml:1:10: supply is of version 2",
		"version: 1\nname: A b\nrails: {}\n": "x.yaml:2:7: name is up to 63",
		"version: 1\nname: a\n":              "x.yaml:1:1: the supply has no rails",
		"version: 1\nname: a\nrails:\n  +12V: {current: much}\n":                     `x.yaml:4:19: current is a whole number from 0 to 100000, this is "much"`,
		"version: 1\nname: a\nrails:\n  +12V: {current: 9, peak: 8}\n":               "x.yaml:4:9: rail +12V gives 8 mA for a moment and 9 mA for good",
		"version: 1\nname: a\nrails:\n  12V: {current: 9}\n":                         `x.yaml:4:3: unknown field "12V" of rails; expected one of +12V, -12V, +5V`,
		"version: 1\nname: a\nrails: {+12V: {current: 9}}\nrows: 84\n":               "x.yaml:4:7: rows is a list",
		"version: 1\nname: a\nrails: {+12V: {current: 9}}\nrows: [84, 0]\n":          "x.yaml:4:12: a row is a whole number from 1",
		"version: 1\nname: a\nrails: {+12V: {current: 9, derate: 2}}\n":              "x.yaml:3:36: derate is a number from 0.1 to 1, this is 2",
		"version: 1\nname: a\nname: b\nrails: {+12V: {current: 9, sure: perhaps}}\n": `x.yaml:3:1: "name" is already given on line 2`,
		"version: 1\nname: a\nrails: &r {+12V: {current: 9}}\nrows: *r\n":            "x.yaml:4:7: rows is a list of at most 32 widths in HP, this is an alias",
		"version: 1\nname: a\xff\n":                                                  "x.yaml:2:8: this is not UTF-8",
		"version: 1\nname: [\n":                                                      "x.yaml:",
		"version: 1\nname: a\nrails: {+12V: {current: 9}}\n---\nversion: 1\n":        "x.yaml:4:1: a second document",
		"version: 1\nname: a\nrails: {+12V: {current: 9}}\ninrush: .nan\n":           "x.yaml:4:9: inrush is a number from 1 to 20",
		"version: 1\nname: a\nrails: {+12V: {current: 9}}\nheaders_sure: [vendor]\n": "x.yaml:4:15: headers_sure is one of vendor",
	} {
		_, err := Parse("x.yaml", []byte(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%q:\n%v\nwant %s", text, err, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	files, _ := shipped.ReadDir("supplies")
	for _, e := range files {
		text, _ := shipped.ReadFile("supplies/" + e.Name())
		f.Add(text)
	}
	f.Add([]byte("version: 1\nname: a\nrails: {+12V: {current: 9}}\nrows: [1,2]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := Parse("x", data)
		if err != nil {
			return
		}
		if r := s.Audit(bench()); r.Verdict == "" || strings.Contains(r.Verdict, "\n") {
			t.Errorf("verdict %q", r.Verdict)
		}
	})
}
