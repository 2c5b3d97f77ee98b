package bind

import (
	"flag"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

var update = flag.Bool("update", false, "write the files that the tests compare with")

// rig is a rack with an engine on it, wired as cmd wires them.
type rig struct {
	t testing.TB
	*mapping.Rack
	e     *Engine
	now   time.Time
	done  []Do
	frame int64
	out   [2][]float32
}

func cable(t testing.TB, text string) instrument.Cable {
	from, to, _ := strings.Cut(text, " -> ")
	a, err1 := instrument.ParseJackRef(from)
	b, err2 := instrument.ParseJackRef(to)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return instrument.Cable{From: a, To: b}
}

// stage is two Deployments, their voice, and a node.
func stage(t testing.TB) *instrument.Patch {
	p := &instrument.Patch{}
	for _, id := range []string{"deployment/web", "deployment/api", "pod/solo", "node/one", "node/two", "apiserver/api", "etcd/store", "voice/chord", "voice/drone", "vcf/air", "reverb/room", "audio_out/main", "namespace/case"} {
		p.Modules = append(p.Modules, instrument.Module{ID: instrument.ModuleID(id)})
	}
	for _, c := range []string{"deployment/web/running -> voice/chord/gate", "voice/chord/left -> reverb/room/in_left", "reverb/room/left -> audio_out/main/left"} {
		p.Cables = append(p.Cables, cable(t, c))
	}
	return p
}

func newRig(t testing.TB, maps ...string) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Unix(1000, 0), Rack: mapping.NewRack(mapping.Config{SampleRate: 48000, Channels: 2, Seed: 1, Storm: 8, Namespace: "k8s-synth", Scene: "test", Embedded: true})}
	for i := range r.out {
		r.out[i] = make([]float32, instrument.BlockSize)
	}
	if err := r.Load(stage(t)); err != nil {
		t.Fatal(err)
	}
	var ms []*Map
	for i, text := range maps {
		m, err := Parse(fmt.Sprintf("map%d", i), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		ms = append(ms, m)
	}
	r.e = New(ms, r.Rack)
	r.Changed = r.e.Changed
	r.SlotChanged = r.e.Slot
	return r
}

func parse(t testing.TB, text string) *Map {
	t.Helper()
	m, err := Parse("map", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// wrap makes a map of bindings.
func wrap(head string, bindings ...string) string {
	return "version: 1\nname: test\n" + head + "\nbindings:\n  - " + strings.Join(bindings, "\n  - ") + "\n"
}

// carry does what the engine asks for.
func (r *rig) carry(dos []Do) {
	r.done = append(r.done[:0], dos...)
	for _, d := range r.done {
		switch d.Kind {
		case DoSet, DoVolts:
			if err := r.Set(d.Address, d.Value, "", d.Source, 0); err != nil {
				r.e.Refused(d)
			}
		case DoStrike:
			if err := r.Set(d.Address, d.Value, "", d.Source, 0); err != nil {
				r.t.Errorf("%s: %v", d.Address, err)
			}
			_ = r.Set(d.Address, 0, "", d.Source, 48)
		}
	}
}

func (r *rig) midi(port string, ms ...midi.Message) {
	for _, m := range ms {
		r.carry(r.e.MIDI(port, m, r.now))
		r.now = r.now.Add(time.Millisecond)
	}
}

func (r *rig) after(d time.Duration) *rig { r.now = r.now.Add(d); return r }

// tick lets time go by in steps of 10 ms and returns what surfaces are told.
func (r *rig) tick(d time.Duration) (outs []Out) {
	for end := r.now.Add(d); r.now.Before(end); r.now = r.now.Add(10 * time.Millisecond) {
		outs = append(outs, r.e.Tick(r.now)...)
		r.carry(r.e.Due(r.now))
	}
	return outs
}

func (r *rig) value(a mapping.Address) float64 {
	r.t.Helper()
	v, _, err := r.Value(a)
	if err != nil {
		r.t.Fatal(err)
	}
	return v
}

func (r *rig) wantValue(a mapping.Address, want float64) {
	r.t.Helper()
	if got := r.value(a); math.Abs(got-want) > 1e-6*(1+math.Abs(want)) {
		r.t.Errorf("%s is at %g, want %g", a, got, want)
	}
}

// wantDo checks what the last message asked for, as "action", or "address=value".
func (r *rig) wantDo(want ...string) {
	r.t.Helper()
	var got []string
	for _, d := range r.done {
		if d.Kind == DoAction {
			got = append(got, d.Action)
		} else {
			got = append(got, fmt.Sprintf("%s=%g", d.Address, d.Value))
		}
	}
	if strings.Join(got, " ") != strings.Join(want, " ") {
		r.t.Errorf("asked for %q, want %q", got, want)
	}
}

// told says what was sent to a port, in the words of package midi.
func told(outs []Out, port string) (s []string) {
	for _, o := range outs {
		if o.Port == port {
			s = append(s, o.Message.String())
		}
	}
	return s
}

// play lets the rack run for a while, with its cluster's pods.
func (r *rig) play(seconds float64) {
	for end := r.frame + int64(seconds*48000); r.frame < end; {
		r.Engine.Render([][]float32{r.out[0], r.out[1]}, nil)
		r.frame += instrument.BlockSize
		r.Pump(r.frame)
	}
}

func (r *rig) pod(name, owner string, fields ...string) {
	o := mapping.Object{Kind: mapping.KindPod, Namespace: "k8s-synth", Name: name, UID: "uid-" + name}
	for i := 0; i < len(fields); i += 2 {
		r.Apply(mapping.Transition{Time: time.Unix(0, 0), Object: o, Owner: owner, Replica: "a", Field: fields[i], New: fields[i+1]}, r.frame+1)
	}
}
