package rule

import (
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/cel-go/common/types"
	"github.com/google/cel-go/common/types/ref"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// evaluate compiles and evaluates an expression of a rule, about a pod.
func evaluate(t *testing.T, source string, w want) (any, error) {
	t.Helper()
	x, issues := playLanguage().compile(source, w)
	if len(issues) > 0 {
		return nil, issues[0].err
	}
	tr := mapping.Transition{Object: mapping.Object{Kind: "pod", Name: "web-a", UID: "a"}, Owner: "web", Field: "ready", New: "true"}
	c := newCluster()
	o, _ := c.take(&tr)
	v, err := x.eval(&scope{cluster: c, transition: &tr, object: o, rule: &rule{}, pitch: 60})
	if err != nil {
		return nil, err
	}
	return v.Value(), nil
}

// cent is a hundredth of a semitone; tuning is held to a millionth of it.
const cent = 0.01

func TestHelpers(t *testing.T) {
	for source, want := range map[string]float64{
		// Scales: each degree, on beyond both ends.
		`scale("major", 60, 0)`:             60,
		`scale("major", 60, 6)`:             71,
		`scale("major", 60, 7)`:             72,
		`scale("major", 60, -1)`:            59,
		`scale("major", 60, -7)`:            48,
		`scale("major", 60, -8)`:            47,
		`scale("major", 60, 15)`:            86,
		`scale("minor_pentatonic", 60, 5)`:  72,
		`scale("minor_pentatonic", 60, -1)`: 58,
		`scale("blues", 57, 3)`:             63,
		`scale("whole_tone", 60, 5)`:        70,
		`scale("chromatic", 60, -13)`:       47,
		`scale("octaves", 60, 2)`:           84,
		`scale("major", 60.25, 2)`:          64.25,
		`scale("major", 60, 1.99)`:          62,
		`scale("major", 60, -0.01)`:         59,
		`scale("harmonic_minor", 57, 6)`:    68,
		// Chords.
		`chord("major", 60, 0)`:      60,
		`chord("major", 60, 2)`:      67,
		`chord("major", 60, 3)`:      72,
		`chord("major", 60, -1)`:     55,
		`chord("minor7", 48, 3)`:     58,
		`chord("minor7", 48, 4)`:     60,
		`chord("dominant9", 48, 4)`:  62,
		`chord("dominant9", 48, 5)`:  72,
		`chord("dominant9", 48, -1)`: 38,
		// Quantizing: nearest, and of two as near the lower one.
		`quantize(61, "major", 60)`:                60,
		`quantize(61.01, "major", 60)`:             62,
		`quantize(63, "major", 60)`:                62,
		`quantize(71.4, "major", 60)`:              71,
		`quantize(71.6, "major", 60)`:              72,
		`quantize(58.9, "minor_pentatonic", 60)`:   58,
		`quantize(59.1, "minor_pentatonic", 60)`:   60,
		`quantize(-3, "octaves", 0)`:               0,
		`quantize(6, "octaves", 0)`:                0,
		`quantize(66.5, "chromatic", 60.3)`:        66.3,
		`quantize(61, "major", 62)`:                61,
		`quantize(note(300), "dorian", 62)`:        62,
		`hz(69)`:                                   440,
		`hz(60)`:                                   261.6255653005986,
		`hz(57)`:                                   220,
		`note(440)`:                                69,
		`note(880.0)`:                              81,
		`note(hz(61.37))`:                          61.37,
		`volts(60)`:                                0,
		`volts(72)`:                                1,
		`volts(48)`:                                -1,
		`volts(60.01)`:                             0.01 / 12, // 1 cent = 0.833 mV
		`ratio(2.0)`:                               12,
		`ratio(3.0 / 2.0)`:                         7.019550008653874,
		`ratio(5.0 / 4.0)`:                         3.863137138648348,
		`ratio(0.5)`:                               -12,
		`linear(5, 0, 10, 20, 40)`:                 30,
		`linear(15, 0, 10, 20, 40)`:                50,
		`linear(0, 10, 0, 1, 2)`:                   2,
		`linear(2.5, 0, 10, 0, -10)`:               -2.5,
		`clamp(11, 0, 10)`:                         10,
		`clamp(-1.5, 0, 10)`:                       0,
		`clamp(3, 0, 10)`:                          3,
		`min(1, 2.0)`:                              1,
		`max(1, 2.0)`:                              2,
		`abs(-3)`:                                  3,
		`floor(-1.5)`:                              -2,
		`ceil(1.2)`:                                2,
		`round(2.5)`:                               3,
		`round(-2.5)`:                              -3,
		`mod(7, 3)`:                                1,
		`mod(-1, 3)`:                               2,
		`mod(5.5, 2)`:                              1.5,
		`pow(2, 0.5)`:                              math.Sqrt2,
		`sine(0.25)`:                               1,
		`sine(100.75)`:                             -1,
		`number("12.5")`:                           12.5,
		`number("many", 3)`:                        3,
		`number("", -1.5)`:                         -1.5,
		`number("NaN", 7)`:                         7,
		`number("1e400", 7)`:                       7,
		`pick([1, 2, 3], 0)`:                       1,
		`pick([1, 2, 3], 4)`:                       2,
		`pick([1, 2, 3], -1)`:                      3,
		`pick([1, 2, 3], -9223372036854775807)`:    3,
		`pick([1.5, 2.5], 0.49)`:                   1.5,
		`pick([1.5, 2.5], 0.5)`:                    2.5,
		`pick([1.5, 2.5], 1.0)`:                    2.5,
		`pick([1.5, 2.5], -3.0)`:                   1.5,
		`{"web": 60, "db": 48}[owner]`:             60,
		`state("ready") == "true" ? 1.0 : 0.0`:     1,
		`state("phase") == "" ? 1.0 : 0.0`:         1,
		`pitch + 0.5`:                              60.5,
		`[0, 4, 7].map(x, x + 60)[2]`:              67,
		`name.matches("^web-[a-z]$") ? 1.0 : 0.0`:  1,
		`hash("web-a") == hash("web-a") ? 1.0:0.0`: 1,
	} {
		got, err := evaluate(t, source, aNumber)
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		v, ok := got.(float64)
		if n, whole := got.(int64); whole {
			v, ok = float64(n), true
		}
		if !ok || math.Abs(v-want) > 1e-6*cent*max(1, math.Abs(want)) {
			t.Errorf("%s = %v, want %v", source, got, want)
		}
	}
}

// TestHelperErrors: what has no answer says so.
func TestHelperErrors(t *testing.T) {
	for source, want := range map[string]string{
		`scale(owner, 60, 0)`:                       `unknown scale "web"`,
		`chord("majr", 60, 0)`:                      `did you mean "major"?`,
		`scale("major", 60, 1e9)`:                   "degree is a number from -1000000 to 1000000",
		`note(0)`:                                   "above 0 Hz",
		`note(-1.0)`:                                "above 0 Hz",
		`ratio(0)`:                                  "above 0",
		`linear(1, 2, 2, 0, 1)`:                     "from 2 to 2",
		`mod(1, 0)`:                                 "mod of 1 by 0",
		`number("many")`:                            `"many" is not a number`,
		`pick([1].filter(x, x > 1), 0)`:             "empty list",
		`quantize(1.0 / 0.0, "major", 60)`:          "finite",
		`scale("major", 60, 0.0/0.0)`:               "degree",
		`pick([1], 0.0/0.0)`:                        "pick takes a number",
		`double(name)`:                              "number(word, default)",
		`hz("a")`:                                   "it is hz(note)",
		`number(1)`:                                 "it is number(word) or number(word, default)",
		`quantize("major", 60, 60)`:                 "it is quantize(note, name, root)",
		`random(1)`:                                 "it is random()",
		`state("raedy") == "" ? 1 : 2`:              `did you mean "ready"?`,
		`kind != "Pod" ? 1 : 2`:                     `did you mean "pod"?`,
		`field in ["ready", "phaze"] ? 1 : 2`:       `did you mean "phase"?`,
		`quantize(60, "lidian", 60)`:                `did you mean "lydian"?`,
		`1 + 2.0`:                                   "do not mix",
		`time.getHours("UTC")`:                      "times are in UTC",
		`name.matches(owner) ? 1 : 2`:               "is written out",
		`name.matches("(x{100}){5}") ? 1 : 2`:       "is too large",
		`[[1]] == [[1]] ? 1 : 2`:                    "cannot be used here",
		`[dyn(1)] == [1] ? 1 : 2`:                   "undeclared reference to 'dyn'",
		`google.protobuf.ListValue{} == [] ? 1 : 2`: "messages",
		`type(1) == int ? 1 : 2`:                    "undeclared reference to 'type'",
		`null == null ? 1 : 2`:                      "no null",
	} {
		got, err := evaluate(t, source, aNumber)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s = %v, %v; want an error with %q", source, got, err, want)
		}
	}
}

// TestEveryScaleAndChord: rising from the root, within their octaves, and each
// note of a scale is where quantize leaves it.
func TestEveryScaleAndChord(t *testing.T) {
	for what, table := range map[string]map[string][]int{"scale": scales, "chord": chords} {
		for name, steps := range table {
			if len(steps) == 0 || steps[0] != 0 || !slices.IsSorted(steps) || len(slices.Compact(slices.Clone(steps))) != len(steps) {
				t.Errorf("%s %s does not rise from its root: %v", what, name, steps)
			}
			if top := steps[len(steps)-1]; what == "scale" && top > 11 || top > 23 {
				t.Errorf("%s %s goes up to %d", what, name, top)
			}
		}
	}
	for name, steps := range scales {
		last := math.Inf(-1)
		for d := -3 * len(steps); d <= 3*len(steps); d++ {
			n, err := scaleNote(name, 60, float64(d))
			if err != nil || n <= last {
				t.Fatalf("%s degree %d = %v after %v, %v", name, d, n, last, err)
			}
			last = n
			if q, _ := quantizeNote(n, name, 60); q != n {
				t.Errorf("%s degree %d: quantize moves %v to %v", name, d, n, q)
			}
			if q, _ := quantizeNote(n+0.4, name, 60); q != n {
				t.Errorf("%s: quantize(%v) = %v, want %v", name, n+0.4, q, n)
			}
		}
	}
	for name := range chords {
		last := math.Inf(-1)
		for i := -12; i <= 12; i++ {
			n, err := chordNote(name, 60, float64(i))
			if err != nil || n <= last {
				t.Errorf("%s index %d = %v after %v, %v", name, i, n, last, err)
			}
			last = n
		}
	}
}

// TestHashAndChance: the same on every machine, and spread evenly.
func TestHashAndChance(t *testing.T) {
	// FNV-1a of "a" is given in its reference; the others hold what was.
	if h := fnv64("a"); h != 0xaf63dc4c8601ec8c {
		t.Errorf("fnv64(a) = %x", h)
	}
	// The first numbers of SplitMix64 from seed 1234567 are in its reference.
	g := generator(1234567)
	for i, want := range []uint64{6457827717110365317, 3203168211198807973, 9817491932198370423} {
		if got := g.next(); got != unit(want) {
			t.Errorf("number %d is %v, want %v", i, got, unit(want))
		}
	}
	var buckets [10]int
	for i := range 10000 {
		v := unit(mix64(fnv64("web-7d4b9-" + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676)))))
		if v < 0 || v >= 1 {
			t.Fatalf("hash is %v", v)
		}
		buckets[int(v*10)]++
	}
	for i, n := range buckets {
		if n < 850 || n > 1150 {
			t.Errorf("bucket %d holds %d of 10000", i, n)
		}
	}
}

// TestDocumented: the package's comment names every variable and function in
// the words of its declaration.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	if err != nil {
		t.Fatal(err)
	}
	doc := strings.Join(strings.Fields(strings.ReplaceAll(string(text), "//", "")), " ")
	for _, v := range Variables() {
		if !strings.Contains(doc, v.Name+" ("+v.Type+") "+v.Doc) {
			t.Errorf("doc.go lacks: %s (%s) %s", v.Name, v.Type, v.Doc)
		}
	}
	for _, v := range ProgramVariables() {
		if !strings.Contains(doc, v.Name+" ("+v.Type+") "+v.Doc) {
			t.Errorf("doc.go lacks: %s (%s) %s", v.Name, v.Type, v.Doc)
		}
	}
	for _, f := range Functions() {
		if !strings.Contains(doc, f.Signature+" "+f.Doc) {
			t.Errorf("doc.go lacks: %s %s", f.Signature, f.Doc)
		}
	}
	for _, table := range []map[string][]int{scales, chords} {
		for name := range table {
			if !strings.Contains(doc, " "+name) {
				t.Errorf("doc.go lacks the name %s", name)
			}
		}
	}
}

// TestVariablesHaveTheirTypes: what the scope gives is what the checker was
// told.
func TestVariablesHaveTheirTypes(t *testing.T) {
	tr := mapping.Transition{Object: mapping.Object{Kind: "pod", Name: "web-a"}, Field: "ready"}
	c := newCluster()
	o, _ := c.take(&tr)
	s := &scope{cluster: c, transition: &tr, object: o, rule: &rule{}}
	for _, v := range Variables() {
		got, ok := s.ResolveName(v.Name)
		if !ok {
			t.Errorf("%s is not there", v.Name)
			continue
		}
		if v2 := got.(ref.Val); v2.Type().TypeName() != celTypes[v.Type].TypeName() {
			t.Errorf("%s is a %s, the checker was told %s", v.Name, v2.Type().TypeName(), v.Type)
		}
	}
	for name, want := range map[string]any{"kind": types.String("pod"), "slot": types.Int(0), "load": types.Double(0), "quiet": types.False, "since": types.Double(3600)} {
		if got, _ := s.ResolveName(name); got != want {
			t.Errorf("%s is %#v, want %#v", name, got, want)
		}
	}
}
