package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/bind"
	"github.com/k8s-synth/k8s-synth/mapping/layout"
	"github.com/k8s-synth/k8s-synth/mapping/layout/touchosc"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/mapping/osc"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// played is a surface of a scene that takes what a layout sends.
type played struct {
	*oscSurface
	rack  *mapping.Rack
	turns int
	err   error
}

func playScene(t *testing.T, s *scenes.Scene) *played {
	t.Helper()
	p := &played{rack: mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2, Scene: s.Name, Namespace: s.Namespace, Program: compileProgram})}
	if err := p.rack.Load(s.Patch); err != nil {
		t.Fatal(err)
	}
	var err error
	p.oscSurface, err = openOSC(osc.Config{Addr: "127.0.0.1:0"}, nil, p.rack, func() []string { return nil }, func(t turn) error {
		p.turns++
		if t.action == "" {
			p.err = p.rack.Set(t.address, t.value, t.word, t.source, 0)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

// hear gives a message to the surface, as if it had come from the network, and
// says why it did nothing.
func (p *played) hear(address string, args ...osc.Arg) error {
	data, err := osc.AppendMessage(nil, address, args...)
	if err != nil {
		return err
	}
	var m osc.Message
	if err := m.Decode(data); err != nil {
		return err
	}
	p.turns, p.err = 0, nil
	p.Handle(netip.MustParseAddrPort("127.0.0.1:9"), &m, time.Now())
	if p.turns != 1 {
		return fmt.Errorf("it was refused")
	}
	return p.err
}

// TestLayoutPlaysTheSurface sends all that each widget of the layout of each
// scene can send, at both ends and in the middle, to the surface of that scene,
// and asks that for all that the widgets wait for.
func TestLayoutPlaysTheSurface(t *testing.T) {
	store := &scenes.Store{}
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		t.Run(e.Name, func(t *testing.T) {
			s, err := store.Open(e.Name)
			if err != nil {
				t.Fatal(err)
			}
			l, err := layout.Build(s.Patch, s.Name, layout.Options{})
			if err != nil {
				t.Fatal(err)
			}
			data, err := layout.WriteTosc(l)
			if err != nil {
				t.Fatal(err)
			}
			f, err := touchosc.Read(data)
			if err != nil {
				t.Fatal(err)
			}
			p := playScene(t, s)
			sent, heard := p.file(t, f)
			sent += p.scripts(t, l)
			t.Logf("%d messages were taken, %d addresses are told", sent, heard)
		})
	}
}

// file plays the messages of a file, which say everything by themselves.
func (p *played) file(t *testing.T, f *touchosc.File) (sent, heard int) {
	f.Root.Walk(func(n, _ *touchosc.Node) bool {
		for _, m := range n.Messages {
			o, ok := m.(*touchosc.OSC)
			if !ok {
				continue
			}
			address := o.Path[0].Value
			for _, x := range []float64{0, 0.5, 1} {
				if !o.Send {
					break
				}
				var args []osc.Arg
				for _, a := range o.Arguments {
					args = append(args, osc.Float32(float32(a.Min.Float()+x*(a.Max.Float()-a.Min.Float()))))
				}
				if err := p.hear(address, args...); err != nil {
					t.Errorf("%s %q at %g: %s: %v", n.Type, n.Name(), x, address, err)
				}
				sent++
			}
			if !o.Receive || address == "/error" {
				continue
			}
			node := p.Namespace().Lookup([]byte(address))
			if node == nil || node.Access&osc.Read == 0 {
				t.Errorf("%s %q waits for %s, of which nothing is told", n.Type, n.Name(), address)
				continue
			}
			heard++
			value := node.Get(nil)
			if len(value) != 1 || len(o.Arguments) != 1 {
				t.Errorf("%s has %d values, and %q waits for %d", address, len(value), n.Name(), len(o.Arguments))
				continue
			}
			if _, number := value[0].Number(); !number && o.Arguments[0].Conversion != "STRING" && n.Property("script") == nil {
				t.Errorf("%s tells words, and %q takes numbers", address, n.Name())
			}
		}
		return true
	})
	return sent, heard
}

// scripts plays what scripts send: mapping/layout has proved, by running them,
// that it is this.
func (p *played) scripts(t *testing.T, l *layout.Layout) (sent int) {
	for i := range l.Pages {
		for k := range l.Pages[i].Widgets {
			w := &l.Pages[i].Widgets[k]
			for _, b := range w.Bind {
				var all []osc.Arg
				switch {
				case !b.Send:
				case b.Form == layout.Word:
					for _, word := range b.Words {
						all = append(all, osc.String(word))
					}
				case b.Exponential:
					for _, x := range []float64{0, 0.5, 1} {
						all = append(all, osc.Float32(float32(b.At(x))))
					}
				}
				for _, a := range all {
					if err := p.hear(b.Address, a); err != nil {
						t.Errorf("%s %q: %s %s: %v", w.Kind, w.Name, b.Address, a, err)
					}
					sent++
				}
			}
		}
	}
	return sent
}

// TestLayoutsOfScenes holds the layouts of all scenes in all sizes to what
// Layout.Check says, and to being read by who knows only the formats.
func TestLayoutsOfScenes(t *testing.T) {
	store := &scenes.Store{}
	list, err := store.List()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		s, err := store.Open(e.Name)
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []string{"tablet", "phone", "1366x1024", "768x1024", "375x812", "667x375", "2732x2048"} {
			w, h, err := layout.ParseSize(size)
			if err != nil {
				t.Fatal(err)
			}
			l, err := layout.Build(s.Patch, s.Name, layout.Options{Width: w, Height: h, MIDI: layout.AlsoMIDI})
			if err != nil {
				t.Fatal(err)
			}
			if err := l.Check(true); err != nil {
				t.Errorf("%s, %s: %v", e.Name, size, err)
			}
			data, err := layout.WriteTouchOSC(l)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := touchosc.ReadMk1(data); err != nil {
				t.Errorf("%s, %s: %v", e.Name, size, err)
			}
			if size != "phone" {
				continue // the others are the same to the reader, and large
			}
			if data, err = layout.WriteTosc(l); err != nil {
				t.Fatal(err)
			}
			if _, err := touchosc.Read(data); err != nil {
				t.Errorf("%s, %s: %v", e.Name, size, err)
			}
		}
	}
}

// TestLayoutsMapping plays the controllers of a layout to the mapping that is
// written for it: each must do what the layout says is at that place.
func TestLayoutsMapping(t *testing.T) {
	for _, name := range []string{"default", "cluster", "service"} {
		s, err := (&scenes.Store{}).Open(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := layout.Build(s.Patch, s.Name, layout.Options{MIDI: layout.OnlyMIDI})
		if err != nil {
			t.Fatal(err)
		}
		m, err := bind.Parse("layout", layout.WriteMapping(l))
		if err != nil {
			t.Fatal(err)
		}
		rack := mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2, Scene: s.Name, Namespace: s.Namespace, Program: compileProgram})
		if err := rack.Load(s.Patch); err != nil {
			t.Fatal(err)
		}
		e := bind.New([]*bind.Map{m}, rack)
		now, n := time.Now(), 0
		for i := range l.Pages {
			for _, w := range l.Pages[i].Widgets {
				for _, b := range w.Bind {
					if !b.MIDI.Set || b.Form == layout.Command {
						continue
					}
					for _, v := range []uint8{127, 64, 0} {
						now = now.Add(time.Second)
						do := e.MIDI("tablet", midi.CC(int(b.MIDI.Channel), int(b.MIDI.Number), int(v)), now)
						if w.Kind == layout.Button && v == 64 {
							continue // it is held already
						}
						want := b.At(float64(v) / 127)
						if v == 64 {
							want = b.At(0.5) // the middle, as MIDI has it
						}
						for _, d := range do {
							if string(d.Address) != b.Address || math.Abs(d.Value-want) > 1e-6*math.Max(1, math.Abs(want)) {
								t.Errorf("%s: %s at %d: %s becomes %g, expected %g", name, b.Address, v, d.Address, d.Value, want)
							}
							_ = rack.Set(d.Address, d.Value, "", d.Source, 0)
							e.Changed(d.Address, d.Value, "", d.Source)
						}
						if got, _, err := rack.Value(mapping.Address(b.Address)); len(do) == 0 && (err != nil || math.Abs(got-want) > 1e-6*math.Max(1, math.Abs(want))) {
							t.Errorf("%s: %s at %d does nothing; it is at %g, expected %g", name, b.Address, v, got, want)
						}
						n++
					}
				}
			}
		}
		t.Logf("%s: %d values of controllers", name, n)
	}
}

// layoutOf runs the command.
func layoutOf(args ...string) (stdout string, err error) {
	c := layoutCommand()
	var out bytes.Buffer
	c.SetOut(&out)
	c.SetErr(&bytes.Buffer{})
	c.SetArgs(append([]string{"touchosc"}, args...))
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.Execute()
	return out.String(), err
}

func TestLayoutCommand(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct{ file, begins string }{{"a.tosc", "\x78\xda"}, {"a.touchosc", "PK"}, {"a.html", "<!DOCTYPE html>"}, {"a.csv", "page,address,channel"}, {"a.yaml", "version: 1\n"}, {"a", "\x78\xda"}, {"a.HTM", "<!DOCTYPE html>"}, {"a.yml", "version: 1\n"}} {
		path := filepath.Join(dir, c.file)
		if _, err := layoutOf("default", "-o", path, "--size", "phone", "--osc-connection", "2", "--midi", "also"); err != nil {
			t.Errorf("%s: %v", c.file, err)
			continue
		}
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasPrefix(string(data), c.begins) {
			t.Errorf("%s begins with %q, %v", c.file, data[:min(20, len(data))], err)
		}
	}
	// An ending that is none of these is a mistake, unless the form is said.
	other := filepath.Join(dir, "a.other")
	if _, err := layoutOf("default", "-o", other); err == nil || !strings.Contains(err.Error(), ".tosc, .touchosc, .html, .csv or .yaml") {
		t.Errorf("a.other: %v", err)
	}
	if _, err := layoutOf("default", "-o", other, "--format", "tosc"); err != nil {
		t.Error(err)
	} else if data, err := os.ReadFile(other); err != nil || !strings.HasPrefix(string(data), "\x78\xda") {
		t.Errorf("a.other: %v", err)
	}
	if out, err := layoutOf("default", "-o", "-", "--format", "csv"); err != nil || !strings.Contains(out, "/deployment/") {
		t.Errorf("csv to the standard output: %q, %v", out[:min(80, len(out))], err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"default"}, "-o names the file"},
		{[]string{"-o", "x.tosc"}, "name one scene, or --live"},
		{[]string{"default", "--live", "-o", "x.tosc"}, "name one scene, or --live"},
		{[]string{"default", "-o", "x", "--format", "pdf"}, `--format is tosc, touchosc, html, csv or yaml, got "pdf"`},
		{[]string{"default", "-o", "x", "--size", "big"}, `--size: size "big" is not tablet`},
		{[]string{"default", "-o", "x", "--midi", "yes"}, `--midi is no, also or only, got "yes"`},
		{[]string{"default", "-o", "x", "--osc-connection", "11"}, "--osc-connection is 1 … 10, got 11"},
		{[]string{"default", "-o", "x", "--reply-port", "-1"}, "--reply-port is 1 … 65535"},
		{[]string{"no-such-scene", "-o", filepath.Join(dir, "x")}, "no-such-scene"},
	} {
		if _, err := layoutOf(c.args...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, expected %s", c.args, err, c.want)
		}
	}
}

// TestPlayedPatchGivesTheSameLayout sends a patch as the status socket does.
func TestPlayedPatchGivesTheSameLayout(t *testing.T) {
	s, err := (&scenes.Store{}).Open("cluster")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(playedPatch{s.Name, s.Patch.Modules, s.Patch.Cables})
	if err != nil {
		t.Fatal(err)
	}
	var p playedPatch
	if err := json.Unmarshal(text, &p); err != nil {
		t.Fatal(err)
	}
	one, err := layout.Build(s.Patch, s.Name, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	two, err := layout.Build(p.patch(), p.Scene, layout.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(layout.WriteHTML(one), layout.WriteHTML(two)) {
		t.Error("the layout of the patch that is played is another than the scene's")
	}
}
