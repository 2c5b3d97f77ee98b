package rule

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
)

const readyPod = `kind == "pod" && field == "ready" && new == "true"`

// TestCompileErrors: every mistake is told, each at its place.
func TestCompileErrors(t *testing.T) {
	for name, tt := range map[string]struct {
		specs []Spec
		want  []string
	}{
		"the brief's": {[]Spec{{When: "true", Note: "1"}, {When: "true", Note: "1"}, {When: readyPod, Note: "60.0 * (1.0 + slto)"}},
			[]string{`rules[2].note:1:15: undeclared reference to 'slto'; did you mean "slot"?`}},
		"all at once": {[]Spec{{When: "kind = 1", Note: "60 +"}, {When: "kind", Gate: "1", CV: "new", Channel: "1.0", Note: `"a"`, Velocity: "true", Duration: "kind"}},
			[]string{
				"rules[0].when:1:6: this is not CEL: a single =; equality is written ==",
				"rules[0].note:1:5: this is not CEL: the expression ends too early",
				"rules[1].when:1:1: expected a bool, this is a string",
				"rules[1].note:1:1: expected a number, this is a string",
				"rules[1].velocity:1:1: expected a number, this is a bool",
				"rules[1].duration:1:1: expected a number, this is a string",
				"rules[1].channel:1:1: expected an int, this is a double",
				"rules[1].gate:1:1: expected a bool, this is an int",
				"rules[1].cv:1:1: expected a number, this is a string",
			}},
		"third line": {[]Spec{{When: "kind == \"pod\" &&\n  field == \"ready\" &&\n  wobble", Note: "60"}},
			[]string{"rules[0].when:3:3: undeclared reference to 'wobble'"}},
		"constants out of range": {[]Spec{{When: "true", Note: "128", Velocity: "0", Duration: "60.5", Channel: "17", CV: "-10.1"}},
			[]string{
				"rules[0].note:1:1: expected a number from 0 to 127, this is 128",
				"rules[0].velocity:1:1: expected a number from 1 to 127, this is 0",
				"rules[0].duration:1:1: expected a number from 0.001 to 60 seconds, this is 60.5",
				"rules[0].channel:1:1: expected a number from 1 to 16, this is 17",
				"rules[0].cv:1:1: expected a number from -10 to 10 volts, this is -10.1",
			}},
		"nothing":        {[]Spec{{}}, []string{`rules[0]: the rule has no when; expected a condition such as when: kind == "pod" && field == "ready" && new == "true"`, "rules[0]: the rule plays nothing; expected one or more of note, gate, cv, osc, and with a port cc, bend, pressure and program"}},
		"never":          {[]Spec{{When: `kind == "pod" && kind == "node"`, Note: "1"}, {When: "1 > 2", Note: "1"}}, []string{"rules[0].when: the condition is never true: no transition has two kinds or two fields", "rules[1].when: the condition is never true"}},
		"without a note": {[]Spec{{When: "true", OSC: &OSC{Address: "/a"}, Velocity: "1", Duration: "1", Channel: "1"}}, []string{"rules[0].velocity: velocity belongs to a note, and the rule has none", "rules[0].duration: duration belongs to a note, and the rule has none", "rules[0].channel: channel belongs to a note, gate or cv, or to what a port gets, and the rule has none"}},
		"early pitch":    {[]Spec{{When: "pitch > 1.0", Note: "pitch"}}, []string{"rules[0].when:1:1: undeclared reference to 'pitch'", "rules[0].note:1:1: undeclared reference to 'pitch'"}},
		"osc": {[]Spec{{When: "true", OSC: &OSC{}}, {When: "true", OSC: &OSC{Address: "/a*", Args: []string{"", "[1]", "time"}}}, {When: "true", OSC: &OSC{Address: "1", Args: []string{"wobble"}}}, {When: "true", OSC: &OSC{Address: "/"}}},
			[]string{
				"rules[0].osc: osc has no address; expected address: /some/where, or an expression for it",
				`rules[1].osc.address: an OSC address holds no '*', this is "/a*"`,
				"rules[1].osc.args[0]: the argument is empty; expected an int, double, bool or string, such as new, 1.0 or 'word'",
				"rules[1].osc.args[1]:1:1: expected an int, double, bool or string, this is a list(int)",
				"rules[1].osc.args[2]:1:1: expected an int, double, bool or string, this is a timestamp",
				"rules[2].osc.address:1:1: expected a string, this is an int",
				"rules[2].osc.args[0]:1:1: undeclared reference to 'wobble'",
				`rules[3].osc.address: an OSC address begins with a slash, such as /alarm, this is "/"`,
			}},
		"ports": {[]Spec{
			{When: "true", CC: &CC{Number: "7"}, MPE: "true", Bend: "1", Pressure: "1", Program: "1"},
			{When: "true", Port: "synth", Gate: "true"},
			{When: "true", Port: "= nme", Note: "60", MPE: "true", Channel: "2", Bend: "0.5"},
			{When: "true", Port: "=1", CC: &CC{Number: "120", Value: "127.5"}, Bend: "49", Pressure: "-1", Program: "0"},
			{When: "true", Port: "a\nb", CC: &CC{Number: "1.0", Value: "new"}, MPE: "1", Program: "1.5"},
			{When: "true", Port: "= ''", Note: "60", OSC: &OSC{Address: "/a", To: "somewhere"}},
			{When: "true", OSC: &OSC{Address: "/a", To: "=name + 1"}},
		},
			[]string{
				"rules[0].cc: cc has a number, 0 … 119, and a value, 0 … 127; expected both",
				`rules[0].mpe: mpe goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: "*" for all`,
				`rules[0].cc: cc goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: "*" for all`,
				`rules[0].bend: bend goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: "*" for all`,
				`rules[0].pressure: pressure goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: "*" for all`,
				`rules[0].program: program goes out by MIDI, and the rule has no port; write one, such as port: synth, or port: "*" for all`,
				"rules[1].port: port belongs to a note, cc, bend, pressure or program, and the rule has none",
				`rules[2].port:1:3: undeclared reference to 'nme'; did you mean "name"?`,
				"rules[2].channel: with mpe each pod has a channel of its own; leave one of the two out",
				"rules[2].bend: with mpe a note is bent by its own fraction; leave bend out, or give it a rule of its own",
				"rules[3].port:1:1: expected a string, this is an int",
				"rules[3].cc.number:1:1: expected a number from 0 to 119, this is 120",
				"rules[3].cc.value:1:1: expected a number from 0 to 127, this is 127.5",
				"rules[3].bend:1:1: expected a number from -48 to 48 semitones, this is 49",
				"rules[3].pressure:1:1: expected a number from 0 to 127, this is -1",
				"rules[3].program:1:1: expected a number from 1 to 128, this is 0",
				"rules[4].port: a port is a name of up to 200 characters, or a pattern with * and ?, this is \"a\\nb\"",
				"rules[4].mpe:1:1: expected a bool, this is an int",
				"rules[4].program:1:1: expected an int, this is a double",
				"rules[4].cc.number:1:1: expected an int, this is a double",
				"rules[4].cc.value:1:1: expected a number, this is a string",
				"rules[5].port: a port is a name of up to 200 characters, or a pattern with * and ?, this is \"\"",
				`rules[5].osc.to: where a message goes is host:port, such as 192.168.0.20:9000, this is "somewhere"`,
				"rules[6].osc.to:1:7: '+' does not take (string, int)",
			}},
		"names": {[]Spec{{Name: "Bell", When: "true", Note: "1"}, {Name: "a", When: "true", Note: "1"}, {Name: "a", When: "true", Note: "1"}},
			[]string{`rules[0].name: name is up to 63 lower-case letters, digits and dashes, this is "Bell"`, `rules[2].name: rules[1] is called "a" already; leave the name out or choose another`}},
		"too long": {[]Spec{{When: "true", Note: strings.Repeat("1+", MaxSource/2) + "1"}}, []string{"rules[0].note:1:1: an expression has at most 2000 characters, this has 2001"}},
		"too many": {make([]Spec, MaxRules+1), []string{"rules[256]: there are 257 rules; at most 256 are allowed"}},
	} {
		t.Run(name, func(t *testing.T) {
			set, err := Compile(tt.specs, 0)
			if set != nil || err == nil {
				t.Fatalf("compiled without an error")
			}
			if got := err.Error(); got != strings.Join(tt.want, "\n") {
				t.Errorf("got\n%s\nwant\n%s", got, strings.Join(tt.want, "\n"))
			}
			for _, e := range Errors(err) {
				if e.Line > 0 && tt.specs[e.Rule].Source(e.Field) == "" {
					t.Errorf("%v: there is no source of %s", e, e.Field)
				}
			}
			if n := len(Errors(err)); n != len(tt.want) {
				t.Errorf("Errors gives %d, want %d", n, len(tt.want))
			}
		})
	}
}

// hostile are expressions that try to stall the goroutine that plays.
var hostile = []string{
	// Loops in loops.
	`[0,1,2,3,4,5,6,7,8,9].all(a, [0,1,2,3,4,5,6,7,8,9].all(b, [0,1,2,3,4,5,6,7,8,9].all(c, [0,1,2,3,4,5,6,7,8,9].all(d, a+b+c+d < 100))))`,
	// Lists that double.
	`[1,2,3,4,5,6,7,8].map(x, x).all(a, ([a,a,a,a,a,a,a,a]+[a,a,a,a,a,a,a,a]).all(b, ([a,b,a,b,a,b,a,b]+[a,b,a,b,a,b,a,b]+[a,b,a,b,a,b]).all(c, ([a,b,c,a,b,c]+[a,b,c,a,b,c]).all(d, d > 0))))`,
	// Strings that grow, and are searched.
	strings.Repeat("(name+", 40) + `"x"` + strings.Repeat(")", 40) + ` == name`,
	`[name+name+name+name+name+name].all(a, [a+a+a+a+a+a].all(b, [b+b+b+b+b+b].all(c, (c+c+c+c+c+c).contains(b+b+"y") || true)))`,
	// A pattern with many states, over a long text.
	`(name+name+name+name).matches("(a|aa|aaa|aaaa|aaaaa|a?a?a?a?a?a?a?a?)*b") || true`,
	`[1,2,3,4,5,6,7,8,9,10].all(x, (name+name+name).matches("(.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?.?)*~") || true)`,
}

// TestNoExpressionStalls: whatever is written, it is refused or comes to an
// end soon.
func TestNoExpressionStalls(t *testing.T) {
	tr := mapping.Transition{Object: mapping.Object{Kind: "pod", Name: strings.Repeat("a", 1<<20)}, Field: "ready", New: "true"}
	stopped := 0
	for _, source := range hostile {
		set, err := Compile([]Spec{{When: source, Note: "60"}}, 0)
		if err != nil {
			t.Logf("refused: %.60s…: %v", source, err)
			continue
		}
		// The fastest of some is what the machine takes when it is left alone.
		least := time.Hour
		for range 5 {
			start := time.Now()
			set.Apply(tr)
			least = min(least, time.Since(start))
		}
		t.Logf("%v counted=%v faults=%v: %.60s…", least, set.rules[0].when.counted, set.Faults(), source)
		if least > 20*time.Millisecond {
			t.Errorf("took %v: %s", least, source)
		}
		for _, f := range set.Faults() {
			if errors.Is(f.First, ErrCost) {
				stopped++
			}
		}
	}
	if stopped < 2 {
		t.Errorf("only %d were stopped; are these hostile?", stopped)
	}
}

// TestLongWordsAreCut: at a rune, to what costs are reckoned with.
func TestLongWordsAreCut(t *testing.T) {
	for _, s := range []string{"", "web", strings.Repeat("a", maxWord), strings.Repeat("a", maxWord+1), strings.Repeat("ü", maxWord), "a" + strings.Repeat("ü", maxWord)} {
		got := cut(s)
		if len(got) > maxWord || !strings.HasPrefix(s, got) || len(got) < min(len(s), maxWord-1) || strings.ToValidUTF8(got, "") != got {
			t.Errorf("cut of %d bytes has %d", len(s), len(got))
		}
	}
}

// TestVocabulary: the words that conditions are checked for are those of the
// stream.
func TestVocabulary(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "../stream.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string][]string{}
	ast.Inspect(f, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		lit, ok := v.Values[0].(*ast.BasicLit)
		if !ok || lit.Kind != token.STRING {
			return true
		}
		word, _ := strconv.Unquote(lit.Value)
		for prefix, about := range map[string]string{"Kind": "kind", "Field": "field"} {
			if strings.HasPrefix(v.Names[0].Name, prefix) {
				found[about] = append(found[about], word)
			}
		}
		return true
	})
	for about, words := range vocabulary {
		if len(found[about]) < 5 {
			t.Fatalf("found %d constants of %s in stream.go", len(found[about]), about)
		}
		for _, w := range found[about] {
			if !slices.Contains(words, w) {
				t.Errorf("stream.go has the %s %q; conditions do not know it: add it to vocabulary", about, w)
			}
		}
		for _, w := range words {
			if !slices.Contains(found[about], w) {
				t.Errorf("conditions know the %s %q; stream.go has none", about, w)
			}
		}
	}
}

// TestFilter: what is derived of a condition loses no transition.
func TestFilter(t *testing.T) {
	for source, want := range map[string]string{
		readyPod: "[pod] [ready]",
		`"pod" == kind && (field == "ready" || field == "phase")`:                     "[pod] [ready phase]",
		`kind in ["pod", "node"] && kind != "node"`:                                   "[pod node] any",
		`kind == "pod" || kind == "node" && field == "cordoned"`:                      "[pod node] any",
		`kind == "pod" || new == "true"`:                                              "any any",
		`!(kind == "pod")`:                                                            "any any",
		`kind == "pod" ? field == "ready" : field == "phase"`:                         "any any",
		`field == "ready" && ["a"].exists(kind, kind == "pod")`:                       "any [ready]",
		`kind == name && field == "ready"`:                                            "any [ready]",
		`(kind == "pod" && field == "ready") || (kind == "node" && field == "ready")`: "[pod node] [ready]",
	} {
		x, issues := ruleLanguage().compile(source, aTruth)
		if len(issues) > 0 {
			t.Fatal(source, issues)
		}
		f := derive(x.checked)
		show := func(w []string) string {
			if w == nil {
				return "any"
			}
			return fmt.Sprint(w)
		}
		if got := show(f.kinds) + " " + show(f.fields); got != want {
			t.Errorf("%s: %s, want %s", source, got, want)
		}
		// Against the evaluation, for all that the words can be.
		for _, kind := range vocabulary["kind"] {
			for _, field := range vocabulary["field"] {
				tr := mapping.Transition{Object: mapping.Object{Kind: kind, Name: "web"}, Field: field, New: "true"}
				c := newCluster()
				o, _ := c.take(&tr)
				v, err := x.eval(&scope{cluster: c, transition: &tr, object: o, rule: &rule{}})
				if err == nil && v.Value() == true && !f.pass(kind, field) {
					t.Errorf("%s is true for %s %s, and the filter drops it", source, kind, field)
				}
			}
		}
	}
}

// TestSlots plays pods that come, fail and go against a plain model of seats.
func TestSlots(t *testing.T) {
	set, err := Compile([]Spec{{When: `kind == "pod"`, CV: "slot", Channel: "1"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	r := rand.New(rand.NewPCG(1, 2))
	seats := map[string]map[int]string{"web": {}, "db": {}}
	owner, alive := map[string]string{}, map[string]int{}
	for i := range 5000 {
		id := strconv.Itoa(r.IntN(150))
		t0 := mapping.Transition{Object: mapping.Object{Kind: "pod", Namespace: "n", Name: id, UID: id}, Field: "exists", New: "true"}
		if owner[id] == "" {
			owner[id] = []string{"web", "db"}[r.IntN(2)]
		}
		t0.Owner = owner[id]
		slot, was := alive[id], alive[id] > 0
		switch {
		case !was:
			if _, dead := alive[id]; dead { // of phase Failed: it goes
				t0.New = ""
				set.Apply(t0)
				delete(alive, id)
				delete(owner, id)
				continue
			}
			slot = 0
			for seats[t0.Owner][slot] != "" {
				slot++
			}
			seats[t0.Owner][slot], alive[id] = id, slot+1
		case r.IntN(3) == 0:
			t0.Field, t0.New = "phase", "Failed"
			slot--
			delete(seats[t0.Owner], slot)
			alive[id] = 0
		case r.IntN(2) == 0:
			t0.New = ""
			slot--
			delete(seats[t0.Owner], slot)
			delete(alive, id)
			delete(owner, id)
		default:
			t0.Field, t0.New = "load", "5"
			slot--
		}
		out := set.Apply(t0)
		if want := min(slot, MaxVolts); len(out) != 1 || int(out[0].Volts) != want {
			t.Fatalf("step %d: %s %s=%q plays %v, want slot %d", i, id, t0.Field, t0.New, out, want)
		}
	}
	if g := set.cluster.groups["n/web"]; g == nil || g.pods != len(seats["web"]) {
		t.Errorf("group counts %v pods, the model %d", g, len(seats["web"]))
	}
}

func TestFaultsAreToldOnce(t *testing.T) {
	set, err := Compile([]Spec{{Name: "w", When: `double(new) > 1.0`, Note: "60"}, {When: "true", Note: "61"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	var told []Fault
	set.OnFault(func(f Fault) { told = append(told, f) })
	for range 10 {
		if out := set.Apply(mapping.Transition{Object: mapping.Object{Kind: "node", Name: "a"}, Field: "ready", New: "word"}); len(out) != 1 {
			t.Fatalf("played %v", out)
		}
	}
	if len(told) != 1 || told[0].Rule != "w" || told[0].First.Error() != "rules[0].when: double was given a word that is not one; number(word, default) takes any word" {
		t.Errorf("told %v", told)
	}
	if f := set.Faults(); len(f) != 1 || f[0].Count != 10 {
		t.Errorf("faults %v", f)
	}
}

// storm returns 20 rules as a scene may have them and transitions as 500 pods
// that come and go make them.
func storm(tb testing.TB) (*Set, []mapping.Transition) {
	var specs []Spec
	for i := range 4 {
		specs = append(specs,
			Spec{When: readyPod + fmt.Sprintf(` && owner == "web-%d"`, i), Note: `scale("minor_pentatonic", 60, slot)`, Velocity: `40 + int(load / 10.0)`, Duration: "0.2", Channel: "slot % 16 + 1"},
			Spec{When: `kind == "pod" && field == "phase" && new == "Running"`, Note: `quantize(60.0 + 24.0 * hash(name), "dorian", 62)`, Velocity: "clamp(linear(since, 0, 1, 40, 120), 40, 120)"},
			Spec{When: `kind == "pod" && field == "reason" && new in ["OOMKilled", "Error"]`, OSC: &OSC{Address: `"/alarm/" + name`, Args: []string{"pitch", "new", "1.0"}}},
			Spec{When: `kind == "deployment" && field == "readyPods"`, CV: "number(new, 0) / 10.0 * 10.0", Channel: "3"},
			// One that no filter can help.
			Spec{When: `name.startsWith("web-") && new != old && random() < 0.25`, Gate: "ready", Channel: fmt.Sprint(i + 4)},
		)
	}
	set, err := Compile(specs, 1)
	if err != nil {
		tb.Fatal(err)
	}
	var all []mapping.Transition
	for i := range 500 {
		o := mapping.Object{Kind: "pod", Namespace: "k8s-synth", Name: fmt.Sprintf("web-%d-7d4b9c-%d", i%4, i), UID: fmt.Sprintf("u%d", i)}
		for _, f := range [][2]string{{"exists", "true"}, {"node", "stage-1"}, {"phase", "Pending"}, {"phase", "Running"}, {"load", "250"}, {"ready", "true"}, {"reason", "Error"}, {"ready", "false"}, {"exists", ""}} {
			all = append(all, mapping.Transition{Time: time.Unix(0, int64(len(all))*2e6), Object: o, Owner: fmt.Sprintf("web-%d", i%4), Replica: "7d4b9c", Field: f[0], New: f[1]})
		}
	}
	return set, all
}

// TestStormIsCheap: 500 transitions a second with 20 rules take less than 5 %
// of a core, which is 100 µs a transition.
func TestStormIsCheap(t *testing.T) {
	set, all := storm(t)
	least, played := time.Hour, 0
	for range 5 {
		start := time.Now()
		for _, tr := range all {
			played += len(set.Apply(tr))
		}
		least = min(least, time.Since(start)/time.Duration(len(all)))
	}
	t.Logf("%v a transition with %d rules: %.2f %% of a core at 500 a second; %d outputs", least, len(set.rules), least.Seconds()*500*100, played)
	if least > 100*time.Microsecond {
		t.Errorf("%v a transition, want at most 100 µs", least)
	}
	if played < len(all) {
		t.Errorf("only %d outputs of %d transitions", played, len(all))
	}
	if f := set.Faults(); len(f) > 0 {
		t.Errorf("faults: %v", f)
	}
}

func BenchmarkStorm(b *testing.B) {
	set, all := storm(b)
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		set.Apply(all[i%len(all)])
		i++
	}
}

func BenchmarkMiss(b *testing.B) {
	set, all := storm(b)
	tr := all[0]
	tr.Object.Kind, tr.Object.Name, tr.Field = "etcd", "etcd", "revision"
	b.ReportAllocs()
	for b.Loop() {
		set.Apply(tr)
	}
}

func BenchmarkCompile(b *testing.B) {
	for b.Loop() {
		storm(b)
	}
}

// FuzzCompile: no source makes the compiler or the evaluation panic or stall,
// and every mistake has a place in the source.
func FuzzCompile(f *testing.F) {
	for _, s := range hostile {
		f.Add(s)
	}
	for _, s := range []string{readyPod, "1", "slot", `scale("major", 60, slot)`, "'", "a.b.c", "[1,2].map(x,x)", "{}", "\"\\u00fc\" == kind", "random()", `state("ready") == "" && random() < 1.0`, "((((((((", "1/0", "9223372036854775807 + 1", "b'\\xff'", "-9223372036854775808 / -1", "timestamp('2026-01-01T00:00:00Z') < time"} {
		f.Add(s)
	}
	tr := mapping.Transition{Object: mapping.Object{Kind: "pod", Name: "web-a", UID: "a"}, Owner: "web", Field: "ready", New: "true"}
	f.Fuzz(func(t *testing.T, source string) {
		for _, spec := range []Spec{{When: source, Note: "60"}, {When: "true", Note: source}, {When: "true", OSC: &OSC{Address: "/a", Args: []string{source}}}} {
			start := time.Now()
			set, err := Compile([]Spec{spec}, 1)
			for _, e := range Errors(err) {
				lines := strings.Count(spec.Source(e.Field), "\n") + 1
				if e.Line > lines+1 || e.Column > len(source)+2 || (e.Line > 0) != (e.Column > 0) {
					t.Errorf("%v is not in %q", e, source)
				}
			}
			if set != nil {
				set.Apply(tr)
			} else if err == nil || len(Errors(err)) == 0 {
				t.Errorf("%q: no set and error %v", source, err)
			}
			if d := time.Since(start); d > 2*time.Second {
				t.Errorf("%q took %v", source, d)
			}
		}
	})
}

// TestGatesAreShared: a channel is high as long as any object holds it by any
// rule, and an object that moves to another channel lets go of the first.
func TestGatesAreShared(t *testing.T) {
	set, err := Compile([]Spec{
		{Name: "a", When: `field == "ready"`, Gate: "ready"},
		{Name: "b", When: `field == "pressure"`, Gate: `new == "true"`},
		{Name: "c", When: `field == "load"`, Gate: "load > 0.0", Channel: "int(load) / 100 + 2"},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}
	say := func(field, value string, want ...string) {
		t.Helper()
		var got []string
		for _, o := range set.Apply(mapping.Transition{Object: mapping.Object{Kind: "node", Name: "n"}, Field: field, New: value}) {
			got = append(got, fmt.Sprintf("%d %t", o.Channel, o.High))
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s %s: %q, want %q", field, value, got, want)
		}
	}
	say("exists", "true")
	say("ready", "true", "1 true")
	say("pressure", "true", "1 true")
	say("ready", "false")
	say("pressure", "false", "1 false")
	say("load", "10", "2 true")
	say("load", "250", "2 false", "4 true")
	say("load", "9000") // no such channel: it stays where it was
	say("load", "-9000", "4 false")
	say("load", "120", "3 true")
	say("exists", "", "3 false")
}
