package layout_test

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/layout"
	"github.com/k8s-synth/k8s-synth/mapping/layout/touchosc"
)

// randomPatch is a patch of modules of any kind, knobs anywhere, and some
// inputs with a cable.
func randomPatch(r *rand.Rand) *instrument.Patch {
	p := &instrument.Patch{}
	specs := instrument.Specs()
	for i := range r.IntN(32) {
		s := specs[r.IntN(len(specs))]
		name := []string{"a", "web", "main-mixer", "a-name-that-is-as-long-as-a-name-may-be-ok", "x1"}[r.IntN(5)]
		m := instrument.Module{ID: instrument.ModuleID(fmt.Sprintf("%s/%s-%d", s.Kind, name, i)), Params: map[string]float64{}, Text: map[string]string{}}
		for k := range s.Params {
			ps := &s.Params[k]
			if ps.Text {
				m.Text[ps.Name] = []string{"", "x", "words that are long, with ]]> and <b> & 'quotes' \x01 \n in them", "ünï"}[r.IntN(4)]
				continue
			}
			m.Params[ps.Name] = ps.Clamp(ps.Min + r.Float64()*(ps.Max-ps.Min))
		}
		for _, j := range s.Inputs {
			if r.IntN(3) == 0 {
				p.Cables = append(p.Cables, instrument.Cable{From: instrument.JackRef{Module: "noise/x", Jack: "white"}, To: instrument.JackRef{Module: m.ID, Jack: j.Name}})
			}
		}
		p.Modules = append(p.Modules, m)
	}
	return p
}

// everything is a patch of one module of each kind.
func everything() *instrument.Patch {
	p := &instrument.Patch{}
	for _, s := range instrument.Specs() {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(s.Kind + "/one")})
	}
	return p
}

func build(t testing.TB, p *instrument.Patch, o layout.Options) *layout.Layout {
	t.Helper()
	l, err := layout.Build(p, "test", o)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestEveryKindHasItsPage(t *testing.T) {
	for _, size := range []layout.Frame{layout.Tablet, layout.Phone, {W: 1366, H: 1024}, {W: 768, H: 1024}, {W: 375, H: 812}} {
		l := build(t, everything(), layout.Options{Width: size.W, Height: size.H})
		if l.Pages[0].Name != "play" || l.Pages[1].Name != "pods" {
			t.Errorf("the first pages are %s and %s", l.Pages[0].Name, l.Pages[1].Name)
		}
		at := 0
		for _, s := range instrument.Specs() {
			name := strings.ReplaceAll(s.Kind, "_", " ")
			i := slices.IndexFunc(l.Pages, func(p layout.Page) bool { return p.Name == name || strings.HasPrefix(p.Name, name+" ") })
			if s.Kind == "noise" && i < 0 {
				continue // nothing to turn, and nothing but sound comes out
			}
			if i < at {
				t.Errorf("%g × %g: page of %s is number %d, after %d", size.W, size.H, s.Kind, i, at)
			}
			at = i
		}
		if err := l.Check(min(size.W, size.H) >= 375); err != nil {
			t.Error(err)
		}
	}
}

func TestPagesOfRandomPatches(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	n := 6
	if os.Getenv("K8S_SYNTH_PROOF") == "1" {
		n = 300
	}
	for i := range n {
		p := randomPatch(r)
		o := layout.Options{Width: float64(320 + r.IntN(1100)), Height: float64(320 + r.IntN(800)), Connection: r.IntN(11), ReplyPort: r.IntN(2) * 9001, MIDI: layout.MIDIUse(r.IntN(3))}
		switch i % 3 {
		case 0:
			o.Width, o.Height = layout.Tablet.W, layout.Tablet.H
		case 1:
			o.Width, o.Height = layout.Phone.W, layout.Phone.H
		}
		l := build(t, p, o)
		if err := l.Check(i%3 < 2); err != nil {
			t.Error(err)
		}
		members(t, p, l)
		if again := build(t, p.Clone(), o); !reflect.DeepEqual(l, again) {
			t.Error("the same patch gave another layout")
		}
		files(t, l)
		if t.Failed() {
			t.Fatalf("patch %d, %g × %g", i, o.Width, o.Height)
		}
	}
}

// members checks that every address is one of the patch, or of the
// instrument's own, and can do what it is to do.
func members(t *testing.T, p *instrument.Patch, l *layout.Layout) {
	t.Helper()
	all := map[string]mapping.Member{}
	for _, m := range mapping.Members(p) {
		all[string(m.Address)] = m
	}
	check := func(w *layout.Widget) {
		for _, b := range w.Bind {
			m, ok := all[b.Address]
			if !ok {
				if !own(b.Address) {
					t.Errorf("%s: there is no %s", w.Name, b.Address)
				}
				continue
			}
			if b.Send && m.Kind == mapping.MemberOutput {
				t.Errorf("%s sends to the output %s", w.Name, b.Address)
			}
			if m.Kind == mapping.MemberParam && b.Send {
				for _, x := range []float64{0, 0.25, 0.5, 1} {
					if err := m.Param.Check(m.Param.Clamp(b.At(x))); err != nil || m.Param.Check(b.At(x)) != nil {
						t.Errorf("%s at %g: %v", w.Name, x, err)
					}
				}
				if v := b.At(b.Position(b.Value)); math.Abs(v-b.Value) > 1e-9*max(1, math.Abs(b.Value)) {
					t.Errorf("%s: %g came back as %g", b.Address, b.Value, v)
				}
			}
		}
	}
	for i := range l.Bar {
		check(&l.Bar[i])
	}
	for i := range l.Pages {
		for k := range l.Pages[i].Widgets {
			check(&l.Pages[i].Widgets[k])
		}
	}
}

// own tells whether an address is the instrument's own.
func own(a string) bool {
	return slices.Contains([]string{"/panic", "/resume", "/silenced", "/arm", "/undo", "/redo", "/scene/next", "/scene/previous", "/scene/load", "/learn", "/error"}, a) ||
		strings.HasPrefix(a, "/slot/")
}

// files writes a layout in every form and reads it back.
func files(t *testing.T, l *layout.Layout) {
	t.Helper()
	data, err := layout.WriteTosc(l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := touchosc.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := f.Write()
	if err != nil || !bytes.Equal(again, data) {
		t.Errorf("what was read is written as %d bytes, not as the %d that were read: %v", len(again), len(data), err)
	}
	if g, err := touchosc.ReadXML(f.XML()); err != nil || !reflect.DeepEqual(f, g) {
		t.Errorf("what was written is read otherwise: %v", err)
	}
	nodes(t, l, f)

	old, err := layout.WriteTouchOSC(l)
	if err != nil {
		t.Fatal(err)
	}
	m, err := touchosc.ReadMk1(old)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := m.Write(); err != nil || !bytes.Equal(again, old) {
		t.Errorf("the .touchosc that was read is written otherwise: %v", err)
	}
	addresses := map[string]bool{}
	for _, p := range m.Pages {
		for k := range p.Controls {
			addresses[p.Controls[k].Get("osc_cs")] = true
		}
	}
	for i := range l.Pages {
		for _, w := range l.Pages[i].Widgets {
			for _, b := range w.Bind {
				if !addresses[b.Address] {
					t.Errorf("%s is not in the .touchosc", b.Address)
				}
			}
		}
	}
}

// nodes checks that the file has every widget in its place, inside of its
// parent, with its addresses.
func nodes(t *testing.T, l *layout.Layout, f *touchosc.File) {
	t.Helper()
	pages := map[string]*touchosc.Node{}
	f.Root.Walk(func(n, parent *touchosc.Node) bool {
		if parent != nil {
			x, y, w, h := n.Frame()
			_, _, pw, ph := parent.Frame()
			if x < 0 || y < 0 || x+w > pw || y+h > ph {
				t.Errorf("%s %q stands out of %q", n.Type, n.Name(), parent.Name())
			}
			if parent.Type == "PAGER" {
				pages[n.Name()] = n
			}
		}
		return true
	})
	for i := range l.Pages {
		page := pages[l.Pages[i].Name]
		if page == nil {
			t.Fatalf("page %s is missing", l.Pages[i].Name)
		}
		named := map[string]*touchosc.Node{}
		for _, c := range page.Children {
			named[c.Name()] = c
		}
		for k := range l.Pages[i].Widgets {
			w := &l.Pages[i].Widgets[k]
			n := named[w.Name]
			if n == nil {
				t.Errorf("%s: %s is missing", page.Name(), w.Name)
				continue
			}
			if x, y, fw, fh := n.Frame(); (layout.Frame{X: x, Y: y, W: fw, H: fh}) != w.Frame {
				t.Errorf("%s: %s is elsewhere", page.Name(), w.Name)
			}
			if n.Flag("interactive") != (w.Kind.Touch() && !w.Guarded) {
				t.Errorf("%s: %s takes touch: %t", page.Name(), w.Name, n.Flag("interactive"))
			}
			var have []string
			for _, m := range n.Messages {
				switch m := m.(type) {
				case *touchosc.OSC:
					have = append(have, m.Path[0].Value)
					if m.Feedback || !m.Enabled || !m.Send && !m.Receive && n.Property("script") == nil {
						t.Errorf("%s: %s has a message that is of no use", page.Name(), w.Name)
					}
				case *touchosc.MIDI:
					have = append(have, "")
				}
			}
			if len(have) < len(w.Bind) {
				t.Errorf("%s: %s has the messages %v, expected %d", page.Name(), w.Name, have, len(w.Bind))
			}
		}
	}
}

// TestResume: what a panic silenced comes back by a finger, from the bar of
// every page and from the page play, and not by hitting panic twice. The button
// is lit by what the instrument says, and that never presses it.
func TestResume(t *testing.T) {
	for _, size := range []layout.Frame{layout.Tablet, layout.Phone, {W: 1366, H: 1024}, {W: 768, H: 1024}, {W: 375, H: 812}, {W: 375, H: 375}, {W: 472, H: 343}, {W: 320, H: 320}} {
		l := build(t, everything(), layout.Options{Width: size.W, Height: size.H})
		if err := l.Check(false); err != nil {
			t.Error(err)
		}
		for page, ws := range map[string][]layout.Widget{"bar": l.Bar, "play": l.Pages[0].Widgets} {
			named := map[string]*layout.Widget{}
			for i := range ws {
				named[ws[i].Name] = &ws[i]
			}
			button, lamp, panic, arm := named["resume"], named["resume lamp"], named["panic"], named["arm"]
			if button == nil || lamp == nil || panic == nil || arm == nil {
				t.Fatalf("%v, %s: something is missing", size, page)
			}
			if b := button.Bind[0]; button.Kind != layout.Button || len(button.Bind) != 1 || b.Address != "/resume" || b.Form != layout.Command || !b.Send || b.Receive || button.Guarded {
				t.Errorf("%v, %s: the button is %+v", size, page, button)
			}
			if b := lamp.Bind[0]; lamp.Kind != layout.Lamp || len(lamp.Bind) != 1 || b.Address != "/silenced" || b.Send || !b.Receive || b.Max != 1 || lamp.Text != "RESUME" || lamp.Lights != "resume" || !button.Frame.Contains(lamp.Frame) {
				t.Errorf("%v, %s: the lamp is %+v", size, page, lamp)
			}
			if f := button.Frame; f.W < 43 || f.H < 43 {
				t.Errorf("%v, %s: a finger does not find %v", size, page, f)
			}
			if apart := panic.Frame.X - button.Frame.X - button.Frame.W; apart < 44 {
				t.Errorf("%v, %s: it is %g points from panic; a finger is 44", size, page, apart)
			}
			if button.Color == panic.Color || button.Color == arm.Color {
				t.Errorf("%v, %s: it looks like panic or arm", size, page)
			}
		}

		data, err := layout.WriteTosc(l)
		if err != nil {
			t.Fatal(err)
		}
		f, err := touchosc.Read(data)
		if err != nil {
			t.Fatal(err)
		}
		found := 0
		f.Root.Walk(func(n, parent *touchosc.Node) bool {
			if n.Name() != "resume lamp" {
				return true
			}
			found++
			at := slices.Index(parent.Children, n)
			under, over := parent.Children[at-1], parent.Children[at+1]
			if under.Name() != "resume" || !under.Flag("interactive") || n.Flag("interactive") || over.Flag("interactive") {
				t.Errorf("%v: a finger does not get to the button through %s and %s", size, n.Name(), over.Name())
			}
			press, light := under.Messages[0].(*touchosc.OSC), n.Messages[0].(*touchosc.OSC)
			if !press.Send || press.Receive || len(under.Messages) != 1 || light.Send || !light.Receive || len(n.Messages) != 1 || light.Path[0].Value != "/silenced" {
				t.Errorf("%v: %+v and %+v", size, press, light)
			}
			return true
		})
		if found != 2 {
			t.Errorf("%v: the .tosc has %d lamps", size, found)
		}

		// The older app gives a finger what is on top, so that little of the button is
		// covered.
		if data, err = layout.WriteTouchOSC(l); err != nil {
			t.Fatal(err)
		}
		old, err := touchosc.ReadMk1(data)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range old.Pages {
			leds := 0
			for k := range p.Controls {
				c := &p.Controls[k]
				if c.Get("osc_cs") != "/silenced" {
					continue
				}
				leds++
				push := &p.Controls[k-1]
				room := func(c *touchosc.Mk1Control) float64 { return c.Number("w") * c.Number("h") }
				if c.Get("type") != "led" || push.Get("type") != "push" || push.Get("osc_cs") != "/resume" || room(c)*3 > room(push) {
					t.Errorf("%v: page %d has %+v for what lights %+v", size, i, c, push)
				}
			}
			if want := 1; leds != want && (i != 0 || leds != 2) {
				t.Errorf("%v: page %d of the .touchosc has %d lamps", size, i, leds)
			}
		}
	}
}

// TestResumeLeavesControllers: what a hand knew before there was a resume has
// the controller that it had.
func TestResumeLeavesControllers(t *testing.T) {
	rows, err := csv.NewReader(bytes.NewReader(layout.WriteMIDIMap(build(t, everything(), layout.Options{MIDI: layout.AlsoMIDI})))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	last := map[string]int{}
	number := map[string]int{}
	for _, row := range rows[1:] {
		n, err := strconv.Atoi(row[3])
		if err != nil {
			t.Fatal(err)
		}
		last[row[2]] = max(last[row[2]], n)
		number[row[1]] = n
	}
	if number["/panic"] != 1 || number["/arm"] != 2 || number["/resume"] != last["1"] {
		t.Errorf("panic, arm and resume have %d, %d and %d; the last of the channel is %d", number["/panic"], number["/arm"], number["/resume"], last["1"])
	}
	if m := string(layout.WriteMapping(build(t, everything(), layout.Options{MIDI: layout.AlsoMIDI}))); !strings.Contains(m, fmt.Sprintf("  - control: cc %d ch 1\n    to: resume\n", number["/resume"])) {
		t.Error("the mapping does not bind resume")
	}
}

func TestSameBytes(t *testing.T) {
	one, err := layout.WriteTosc(build(t, everything(), layout.Options{}))
	if err != nil {
		t.Fatal(err)
	}
	two, err := layout.WriteTosc(build(t, everything().Clone(), layout.Options{}))
	if err != nil || !bytes.Equal(one, two) {
		t.Errorf("the same patch gave other bytes: %v", err)
	}
}

// TestPlainXML reads what is written with a reader of XML in general.
func TestPlainXML(t *testing.T) {
	l := build(t, everything(), layout.Options{MIDI: layout.AlsoMIDI, ReplyPort: 9001})
	data, err := layout.WriteTosc(l)
	if err != nil {
		t.Fatal(err)
	}
	f, err := touchosc.Read(data)
	if err != nil {
		t.Fatal(err)
	}
	old, err := layout.WriteTouchOSC(l)
	if err != nil {
		t.Fatal(err)
	}
	m, err := touchosc.ReadMk1(old)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"tosc": f.XML(), "touchosc": m.XML()} {
		d := xml.NewDecoder(bytes.NewReader(text))
		for {
			if _, err := d.Token(); errors.Is(err, io.EOF) {
				break
			} else if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
	}
}

func TestControllersAreOneToOne(t *testing.T) {
	l := build(t, everything(), layout.Options{MIDI: layout.AlsoMIDI})
	rows, err := csv.NewReader(bytes.NewReader(layout.WriteMIDIMap(l))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	address, controller := map[string]bool{}, map[string]bool{}
	for _, row := range rows[1:] {
		key := row[2] + "/" + row[3]
		if address[row[1]] || controller[key] {
			t.Errorf("%s on %s is there twice", row[1], key)
		}
		address[row[1]], controller[key] = true, true
		if slices.Contains([]string{"0", "6", "32", "38", "96", "97", "98", "99", "100", "101", "120"}, row[3]) {
			t.Errorf("%s has controller %s, which means something else", row[1], row[3])
		}
		if strings.Contains(row[1], "/kill") || strings.HasSuffix(row[1], "/drain") {
			t.Errorf("%s can be reached by a controller", row[1])
		}
	}
	for _, want := range []string{"/panic", "/resume", "/deployment/one/replicas", "/vcf/one/cutoff", "/clock/one/tempo"} {
		if !address[want] {
			t.Errorf("%s has no controller", want)
		}
	}
	if again := layout.WriteMIDIMap(build(t, everything(), layout.Options{MIDI: layout.AlsoMIDI})); !bytes.Equal(again, layout.WriteMIDIMap(l)) {
		t.Error("the map is another each time")
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		o    layout.Options
		want string
	}{
		{layout.Options{Width: 100, Height: 700}, "320 … 4096"},
		{layout.Options{Width: math.NaN(), Height: 700}, "320 … 4096"},
		{layout.Options{Connection: 11}, "1 … 10"},
		{layout.Options{ReplyPort: 70000}, "1 … 65535"},
	} {
		if _, err := layout.Build(&instrument.Patch{}, "x", c.o); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.o, err)
		}
	}
	for s, want := range map[string][2]float64{"tablet": {1024, 768}, "phone": {812, 375}, "1180x820": {1180, 820}, "": {1024, 768}} {
		if w, h, err := layout.ParseSize(s); err != nil || w != want[0] || h != want[1] {
			t.Errorf("%q is %g × %g, %v", s, w, h, err)
		}
	}
	for _, s := range []string{"x", "10x10", "1024", "1024x", "a×b", "99999x500", "1e3x700"} {
		if _, _, err := layout.ParseSize(s); err == nil {
			t.Errorf("%q was taken", s)
		}
	}
}

func TestConnection(t *testing.T) {
	for n, want := range map[int]string{0: "1111111111", 1: "0000000001", 10: "1000000000", 3: "0000000100"} {
		data, err := layout.WriteTosc(build(t, everything(), layout.Options{Connection: n}))
		if err != nil {
			t.Fatal(err)
		}
		f, err := touchosc.Read(data)
		if err != nil {
			t.Fatal(err)
		}
		f.Root.Walk(func(n, _ *touchosc.Node) bool {
			for _, m := range n.Messages {
				if o, ok := m.(*touchosc.OSC); ok && o.Connections != want {
					t.Errorf("%s has connections %s, expected %s", n.Name(), o.Connections, want)
					return false
				}
			}
			return true
		})
	}
}

func TestHTMLNeedsNothingElse(t *testing.T) {
	page := string(layout.WriteHTML(build(t, everything(), layout.Options{})))
	for _, never := range []string{"http:", "https:", "src=", "<script", "@import", "url("} {
		if strings.Contains(page, never) {
			t.Errorf("the page holds %s", never)
		}
	}
	if !bytes.Equal([]byte(page), layout.WriteHTML(build(t, everything(), layout.Options{}))) {
		t.Error("the page is another each time")
	}
}

func BenchmarkWriteTosc(b *testing.B) {
	l := build(b, everything(), layout.Options{})
	for b.Loop() {
		if _, err := layout.WriteTosc(l); err != nil {
			b.Fatal(err)
		}
	}
}
