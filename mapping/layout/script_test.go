package layout_test

import (
	"bytes"
	"fmt"
	"math"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/layout"
	"github.com/k8s-synth/k8s-synth/mapping/layout/touchosc"
)

// lua runs a program after testdata/host.lua and returns the lines it prints.
func lua(t *testing.T, program string) []string {
	t.Helper()
	bin, err := exec.LookPath("lua5.1")
	if err != nil {
		t.Skip("lua5.1 is not installed; the scripts of the layout are not run")
	}
	cmd := exec.Command(bin, "-e", "dofile('testdata/host.lua')", "-")
	cmd.Stdin = strings.NewReader(program)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("lua: %v: %s", err, errs.String())
	}
	return strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
}

// file returns the nodes of a layout by page and name.
func file(t *testing.T, l *layout.Layout) (all map[string]*touchosc.Node, root *touchosc.Node) {
	t.Helper()
	data, err := layout.WriteTosc(l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := touchosc.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	all = map[string]*touchosc.Node{}
	f.Root.Walk(func(n, parent *touchosc.Node) bool {
		if parent != nil {
			all[parent.Name()+"\x00"+n.Name()] = n
		}
		return true
	})
	return all, f.Root
}

func script(n *touchosc.Node) string {
	if p := n.Property("script"); p != nil {
		return p.Text
	}
	return ""
}

// long quotes a text for Lua.
func long(s string) string { return "[==[\n" + s + "]==]" }

// TestScriptsSayWhatTheModelSays runs the script of every control of every kind
// of module: moved to a place it must send the value that the Layout says is
// there and write it beside itself, and where it is told a value, be moved to
// its place and send nothing.
func TestScriptsSayWhatTheModelSays(t *testing.T) {
	l := build(t, everything(), layout.Options{})
	all, _ := file(t, l)
	type expectation struct{ what, sent, label string }
	var want []expectation
	var p strings.Builder
	for i := range l.Pages {
		for k := range l.Pages[i].Widgets {
			w := &l.Pages[i].Widgets[k]
			n := all[l.Pages[i].Name+"\x00"+w.Name]
			src := script(n)
			if src == "" || len(w.Bind) == 0 || w.Arms || w.Kind == layout.Reading {
				continue
			}
			fmt.Fprintf(&p, "do local page = node('page', {})\nlocal n = child(page, node('c', {x = 0.123, y = 0.123, touch = false}, %s))\n", long(src))
			for _, s := range w.Shows {
				fmt.Fprintf(&p, "child(page, node('%s', {text = ''}))\n", s)
			}
			p.WriteString("start(n)\nsent = {}\n")
			for a := range w.Bind {
				b := &w.Bind[a]
				key := [...]string{"x", "y"}[a]
				label := "nil"
				shows := a < len(w.Shows)
				if shows {
					label = fmt.Sprintf("page.children['%s']", w.Shows[a])
				}
				speaks := b.Send && (b.Exponential || b.Form == layout.Word)
				said := ""
				for _, x := range []float64{0, 0.5, 1} {
					v := b.At(x)
					if w.Kind == layout.Choice {
						v = math.Round(x * b.Max)
						x = v
					}
					e := expectation{what: fmt.Sprintf("%s at %g", b.Address, x)}
					if speaks {
						e.sent = fmt.Sprintf("%s f %g", b.Address, v)
						if b.Form == layout.Word {
							e.sent = fmt.Sprintf("%s s %s", b.Address, b.Words[int(v)])
							if e.sent == said {
								e.sent = "" // a word is said once
							} else {
								said = e.sent
							}
						}
					}
					if shows {
						e.label = b.Show(v)
					}
					want = append(want, e)
					fmt.Fprintf(&p, "n.values.%s = %g\nlast(%s)\n", key, x, label)
				}
				if b.Receive && speaks {
					v := b.At(0.25)
					told := fmt.Sprint(v)
					if b.Form == layout.Word {
						v = 0
						told = "'" + b.Words[0] + "'"
					}
					e := expectation{what: fmt.Sprintf("%s told %s", b.Address, told)}
					if shows {
						e.label = b.Show(v)
					}
					want = append(want, e)
					fmt.Fprintf(&p, "assert(receive(n, '%s', %s))\nlast(%s)\n", b.Address, told, label)
					at := b.Position(v)
					if w.Kind == layout.Choice {
						at = v
					}
					fmt.Fprintf(&p, "assert(math.abs(n.values.%s - %g) < 1e-9, '%s')\n", key, at, b.Address)
					fmt.Fprintf(&p, "n.values.touch = true receive(n, '%s', %g) assert(math.abs(n.values.%s - %g) < 1e-9) n.values.touch = false\n", b.Address, b.Max, key, at)
					fmt.Fprintf(&p, "sent = {}\nassert(not receive(n, '/elsewhere', 1))\n")
				}
			}
			p.WriteString("end\n")
		}
	}
	got := lua(t, p.String())
	if len(got) != len(want) {
		t.Fatalf("%d answers to %d questions", len(got), len(want))
	}
	for i, e := range want {
		sent, label, _ := strings.Cut(got[i], "\t")
		if !same(sent, e.sent) || label != e.label {
			t.Errorf("%s: sent %q and shows %q, expected %q and %q", e.what, sent, label, e.sent, e.label)
		}
	}
	t.Logf("%d values of scripts", len(want))
}

// same compares two messages; their numbers may differ as a float32 does.
func same(a, b string) bool {
	if a == b {
		return true
	}
	x, y := strings.Fields(a), strings.Fields(b)
	if len(x) != 3 || len(y) != 3 || x[0] != y[0] || x[1] != y[1] {
		return false
	}
	v, err := strconv.ParseFloat(x[2], 64)
	w, err2 := strconv.ParseFloat(y[2], 64)
	return err == nil && err2 == nil && math.Abs(v-w) <= 1e-5*math.Abs(w)
}

// TestScriptsOfTheWay runs the scripts that are no control's: the colours of
// phases, arming, the pages, errors, and the subscription.
func TestScriptsOfTheWay(t *testing.T) {
	l := build(t, everything(), layout.Options{ReplyPort: 9001, Connection: 3})
	all, root := file(t, l)
	of := func(page, name string) string {
		n := all[page+"\x00"+name]
		if n == nil || script(n) == "" {
			t.Fatalf("%s has no script %q", page, name)
		}
		return long(script(n))
	}
	var p strings.Builder
	fmt.Fprintf(&p, `
local page = node('page', {})
local box = child(page, node('slot 3', {}))
local phase = child(page, node('phase', {text = ''}, %s))
start(phase)
local empty = box.color
local seen = {}
for _, word in ipairs({%s}) do
  phase.values.text = word
  local c = string.format('%%g %%g %%g', box.color.r, box.color.g, box.color.b)
  assert(not seen[c], 'two phases have one colour: ' .. word)
  seen[c] = true
end
phase.values.text = ''
assert(box.color.r == empty.r and box.color.g == empty.g)
`, of("pods", "slot 3 phase"), "'"+strings.Join(mapping.SlotPhases()[1:], "', '")+"'")
	fmt.Fprintf(&p, `
local kill = node('kill', {x = 0}, nil, 'guarded')
local other = node('other', {x = 0})
local arm = node('arm', {x = 0}, %s)
start(arm)
assert(kill.interactive == false)
millis = 1000
arm.values.x = 1
assert(kill.interactive == true and other.interactive == false and kill.color.a == 1)
arm.values.x = 0
millis = 10900 arm.env.update()
assert(kill.interactive == true)
millis = 11100 arm.env.update()
assert(kill.interactive == false and kill.color.a < 1)
assert(#sent == 0)
`, of("play", "arm"))
	fmt.Fprintf(&p, `
child(root, node('title', {text = ''}))
local pager = child(root, node('pages', {page = 0}, %s))
start(pager)
assert(root.children.title.values.text == 'play')
local after, before = node('after', {x = 0}, %s), node('before', {x = 0}, %s)
start(after) start(before)
after.values.x = 1 after.values.x = 0
assert(pager.values.page == 1 and root.children.title.values.text == 'pods')
before.values.x = 1 before.values.x = 0 before.values.x = 1 before.values.x = 0
assert(pager.values.page == %d, pager.values.page)
`, of("test", "pages"), of("test", "page after"), of("test", "page before"), len(l.Pages)-1)
	fmt.Fprintf(&p, `
local e = node('error', {text = ''}, %s)
start(e)
assert(e.env.onReceiveOSC({'/error', {{tag = 's', value = '/vcf/x/y'}, {tag = 's', value = 'out of range'}}}))
assert(e.values.text == '/vcf/x/y: out of range')
local c = node('count', {text = ''}, %s)
start(c)
receive(c, '/deployment/one/restarts', 12, 'i')
assert(c.values.text == '12', c.values.text)
`, of("play", "error"), of("deployment", "one/restarts"))
	fmt.Fprintf(&p, `
sent = {}
local r = node('subscribe', {}, %s)
start(r)
millis = 20000 r.env.update() millis = 21000 r.env.update() millis = 41000 r.env.update()
assert(#sent == 2 and sent[1][1][1] == '/subscribe' and sent[1][1][2][1].value == 9001)
assert(#sent[1][2] == 10 and sent[1][2][3] == true and sent[1][2][1] == false)
print('good')
`, long(script(root)))
	if got := lua(t, p.String()); got[0] != "good" {
		t.Error(got)
	}
}

// TestNoScriptSpeaksOverMIDI keeps a layout that does all by controllers from
// sending the same by OSC.
func TestNoScriptSpeaksOverMIDI(t *testing.T) {
	all, _ := file(t, build(t, everything(), layout.Options{MIDI: layout.OnlyMIDI}))
	for name, n := range all {
		midi := false
		for _, m := range n.Messages {
			if mm, ok := m.(*touchosc.MIDI); ok {
				midi = true
				if !mm.Send || !mm.Receive && n.Property("buttonType") == nil {
					t.Errorf("%s: its controller goes one way only", name)
				}
			}
		}
		for _, m := range n.Messages {
			if o, ok := m.(*touchosc.OSC); ok && midi && o.Send {
				t.Errorf("%s sends MIDI and OSC", name)
			}
		}
		if midi && strings.Contains(script(n), "sendOSC") {
			t.Errorf("%s speaks by script", name)
		}
	}
}
