package scenes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// allOfATake is a take with every kind of line.
func allOfATake(t testing.TB) (TakeHead, []TakeLine) {
	t.Helper()
	cable, err := mapping.ParseCable("vco/v/sine -> audio_out/main/left")
	if err != nil {
		t.Fatal(err)
	}
	yes, no, mode := true, false, mapping.Real
	start := time.Date(2031, 3, 4, 5, 6, 7, 891011000, time.FixedZone("", 3600))
	module := instrument.Module{ID: "vco/v", Params: map[string]float64{"tune": -7, "fine": 1.0 / 3}}
	topology := mapping.Topology{Namespace: "a"}
	h := TakeHead{Program: "test", Time: start, Rate: 44100, Channels: 4, Lead: 900, Embedded: true, Scene: "version: 1\nname: x\n", Sockets: &TakeSockets{Outputs: map[string]int{"a": 2}}}
	lines := []TakeLine{
		{Input: mapping.Input{Fade: &yes}},
		{Input: mapping.Input{Transition: &mapping.Transition{Time: start.Add(time.Second), Revision: 7, Object: mapping.Object{Kind: "pod", Namespace: "n", Name: "<&>", UID: "u"}, Owner: "web", Replica: "r", Field: "node", Old: "x", New: "y", Quiet: true}}},
		{Input: mapping.Input{Set: &mapping.SetInput{Address: "/vco/v/tune", Setpoint: mapping.Setpoint{Value: 0.1}, Was: mapping.Setpoint{Value: -7}}}},
		{Input: mapping.Input{Set: &mapping.SetInput{Address: "/quantizer/q/tuning", Setpoint: mapping.Setpoint{Word: "19-edo"}, Was: mapping.Setpoint{Word: "equal"}}}},
		{Input: mapping.Input{MIDI: &mapping.MIDIInput{Port: "keys", Message: midi.On(2, 60, 99)}}},
		{Input: mapping.Input{MIDI: &mapping.MIDIInput{Port: "keys", Message: midi.RealTime(midi.Clock)}}},
		{Input: mapping.Input{Port: &mapping.PortInput{Name: "keys", Came: true}}},
		{Input: mapping.Input{Transport: &mapping.TransportInput{Port: "keys", Runs: true}}},
		{Input: mapping.Input{Wiring: &mapping.Wiring{Plugged: []instrument.Cable{cable}, Added: []instrument.Module{module}, Overruled: []instrument.Cable{cable}, Let: []instrument.Cable{cable}}}},
		{Input: mapping.Input{Edit: &mapping.Edit{By: "kubectl-edit", Topology: topology, Base: topology}}},
		{Input: mapping.Input{Sensed: &[]mapping.SensedCable{{Output: "a", Input: "b", Polarity: -1}}}},
		{Input: mapping.Input{Sensed: &[]mapping.SensedCable{}}},
		{Input: mapping.Input{Mode: &mode}},
		{Input: mapping.Input{Problem: &mapping.Problem{Where: "x", Text: "<&>"}}},
		{Input: mapping.Input{Kill: &mapping.KillInput{Slot: 3}}},
		{Input: mapping.Input{Kill: &mapping.KillInput{Pod: "web-1"}}},
		{Input: mapping.Input{Sockets: &instrument.Sockets{Inputs: map[string]int{"x": 0}}}},
		{Input: mapping.Input{Panic: true}},
		{Input: mapping.Input{Show: true}},
		{Input: mapping.Input{Plan: &mapping.PlanInput{Generation: 2, Settled: 1, Change: instrument.Change{Settled: 1, At: 7, Launch: true, Crossfade: 0.5, Ended: []uint32{9}}, Patch: &instrument.Patch{Modules: []instrument.Module{module}, Cables: []instrument.Cable{cable}}}}},
		{Input: mapping.Input{Applied: []instrument.Applied{
			{Frame: 5, Plan: 2}, {Frame: 6, Cut: true},
			{Frame: 7, Event: instrument.Event{Frame: 7, Module: 3, Value: 1.0 / 3, Kind: instrument.EventLevel, Index: 2, Channel: 15}},
			{Frame: 9, Event: instrument.Event{Module: 4_000_000_000, Value: float32(math.Inf(-1)), Kind: instrument.EventInput}},
			{Frame: 9, Event: instrument.Event{Frame: 3, Value: math.SmallestNonzeroFloat32}},
		}}},
		{Scene: "version: 1\nname: y\n", Launch: true, Crossfade: 1.5, Input: mapping.Input{Frame: 99, Present: 98}},
		{Action: &mapping.Action{Verb: mapping.VerbDelete, Object: mapping.Object{Kind: "pod", Name: "web-1"}}},
		{Lost: 3},
		{Input: mapping.Input{Fade: &no}},
		{Frames: 123456},
	}
	for i := range lines {
		lines[i].At = time.Duration(i) * 1234567 * time.Microsecond
		if lines[i].isInput() {
			lines[i].Present, lines[i].Frame, lines[i].Source = int64(i)*100, int64(i)*100+50, fmt.Sprintf("hand %d", i)
		}
	}
	return h, lines
}

func writeTake(t testing.TB, h TakeHead, lines []TakeLine) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewTakeWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	seq := uint64(0)
	for _, l := range lines {
		l.Applied = append([]instrument.Applied(nil), l.Applied...)
		for k := range l.Applied {
			seq++
			l.Applied[k].Seq = seq
		}
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

func readTake(t testing.TB, data []byte) (TakeHead, []TakeLine) {
	t.Helper()
	r, err := NewTakeReader("x.take.jsonl", bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	var all []TakeLine
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Head, all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, l)
	}
}

func TestTakeRoundTrip(t *testing.T) {
	h, lines := allOfATake(t)
	data := writeTake(t, h, lines)
	head, got := readTake(t, data)
	h.Version = TakeVersion
	if !head.Time.Equal(h.Time) {
		t.Errorf("time %v, want %v", head.Time, h.Time)
	}
	head.Time = h.Time
	if !reflect.DeepEqual(head, h) {
		t.Errorf("head %+v, want %+v", head, h)
	}
	if len(got) != len(lines) {
		t.Fatalf("%d lines, want %d", len(got), len(lines))
	}
	for i := range lines {
		if tr := got[i].Transition; tr != nil {
			if !tr.Time.Equal(lines[i].Transition.Time) {
				t.Errorf("time %v, want %v", tr.Time, lines[i].Transition.Time)
			}
			tr.Time = lines[i].Transition.Time
		}
		if !reflect.DeepEqual(got[i], lines[i]) {
			t.Errorf("line %d is\n%+v, want\n%+v", i, got[i], lines[i])
		}
		if kind, _ := got[i].Object(); kind == "" {
			t.Errorf("line %d has no kind", i)
		}
	}
	if !strings.Contains(string(data), "<&>") || strings.Contains(string(data), "\\u003c") {
		t.Error("it is not for people to read")
	}
	// A recorder that was killed leaves half a line.
	if _, half := readTake(t, data[:len(data)-5]); len(half) != len(lines)-1 {
		t.Errorf("half a last line leaves %d of %d", len(half), len(lines))
	}
	// A script of it holds what scripts hold, at the times that were told.
	s, err := ParseScript("night.take.jsonl", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Steps) != 3 || s.Title != "night.take" && s.Title != "night" || s.Steps[0].At != time.Second || !s.Steps[0].Transition.Time.Equal(epoch.Add(time.Second)) {
		t.Errorf("the script is %+v", s)
	}
	// The stream's own reader reads a take as well.
	dec := mapping.NewDecoder(bytes.NewReader(data))
	for n := 0; ; {
		m, err := dec.Decode()
		if errors.Is(err, io.EOF) {
			if n != 1 {
				t.Errorf("the stream's reader found %d transitions", n)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if m.Transition != nil {
			n++
		}
	}
}

// Every field of an Input is a kind of line, so that none is added and not
// written.
func TestTakeHasEveryInput(t *testing.T) {
	_, lines := allOfATake(t)
	typ := reflect.TypeFor[mapping.Input]()
	for i := range typ.NumField() {
		name, found := typ.Field(i).Name, false
		for _, l := range lines {
			found = found || !reflect.ValueOf(l.Input).Field(i).IsZero()
		}
		if !found {
			t.Errorf("no take has Input.%s", name)
		}
	}
}

func TestTakeOfVersion1(t *testing.T) {
	data := []byte(`{"hello":{"version":1,"program":"k8s-synth"}}
{"transition":{"time":"1970-01-01T00:00:00.5Z","object":{"kind":"node","name":"n"},"field":"exists","new":"true"}}
{"problem":{"where":"x","text":"y"}}
{"param":{"time":"1970-01-01T00:00:01Z","address":"/vco/v/tune","value":3}}
`)
	h, lines := readTake(t, data)
	if h.Version != 1 || len(lines) != 2 || lines[0].Transition == nil || lines[0].Frame != 24000 || lines[1].Set == nil || lines[1].Set.Value != 3 || lines[1].At != time.Second {
		t.Errorf("head %+v, lines %+v", h, lines)
	}
	if _, err := NewTakeSound(&TakeReader{Head: h}, nil, nil); !errors.Is(err, ErrNoSound) {
		t.Errorf("its sound: %v", err)
	}
}

func TestTakeMistakesAreTold(t *testing.T) {
	head := `{"take":{"version":2,"time":"2031-03-04T05:06:07Z","rate":48000,"channels":2}}` + "\n"
	for _, c := range []struct{ text, want string }{
		{`{"take":{"version":3}}`, "version 3"},
		{`{"take":{"version":2,"rate":1,"channels":2}}`, "8000 … 192000"},
		{`{"take":{"version":2,"rate":48000,"channels":0}}`, "1 … 128 channels"},
		{head + `{"t":1}` + "\n", "x:2:1: a line says one thing"},
		{head + `{"t":1,"panic":true,"show":true}` + "\n", "this says 2"},
		{head + `{"t":-1,"panic":true}` + "\n", "not within"},
		{head + `{"frame":-1,"panic":true}` + "\n", "not within"},
		{head + `{"midi":{"port":"a","bytes":"603c64"}}` + "\n", "no MIDI message"},
		{head + `{"set":{"address":"x","value":1}}` + "\n", "x:2:1"},
		{head + `{"transition":{"object":{"kind":"pod"}}}` + "\n", "does not say"},
		{head + `{"wiring":{"plugged":["a"]}}` + "\n", "x:2:1"},
		{head + `{"engine":[[1,2,3]]}` + "\n", "no row"},
		{head + `{"engine":[[1,99,3,4,5,6]]}` + "\n", "no row"},
		{head + `{"engine":[1]}` + "\n", "arrays in an array"},
		{head + `{"panic":}` + "\n" + `{"panic":true}` + "\n", "not a line of a take"},
		{head + head, "second head"},
		{head + `{"fade":"away"}` + "\n", "in or out"},
	} {
		r, err := NewTakeReader("x", strings.NewReader(c.text))
		for err == nil {
			_, err = r.Next()
		}
		if errors.Is(err, io.EOF) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.text, err, c.want)
		}
	}
}

func TestTakeTellsOfAGap(t *testing.T) {
	var b bytes.Buffer
	w, err := NewTakeWriter(&b, TakeHead{Rate: 48000, Channels: 2, Time: epoch})
	if err != nil {
		t.Fatal(err)
	}
	for _, seqs := range [][]uint64{{1, 2}, {3, 5}, {8}} {
		var l TakeLine
		for _, s := range seqs {
			l.Applied = append(l.Applied, instrument.Applied{Seq: s, Frame: int64(s), Cut: true})
		}
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	_, lines := readTake(t, b.Bytes())
	if len(lines) != 4 || lines[1].Applied[0].Seq != 0 || lines[1].Applied[1].Seq != 1 || lines[2].Lost != 2 {
		t.Errorf("%+v", lines)
	}
}

func TestTakeWriterTellsOfAFullDisk(t *testing.T) {
	if _, err := NewTakeWriter(brokenWriter{}, TakeHead{}); !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, os.ErrClosed }

// playTake plays a scene with a script and with hands that do what they like,
// at moments and in blocks that are left to chance, and returns what came out
// and the take of it.
func playTake(t testing.TB, chance uint64, seconds float64) (left []float32, take []byte) {
	t.Helper()
	s, err := (&Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	script, err := (&Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	text, err := Encode(s)
	if err != nil {
		t.Fatal(err)
	}
	const rate = 48000
	h := TakeHead{Program: "test", Time: epoch, Rate: rate, Channels: 2, Embedded: true, Scene: string(text), Lead: 900}
	var b bytes.Buffer
	w, err := NewTakeWriter(&b, h)
	if err != nil {
		t.Fatal(err)
	}
	frame := int64(0)
	say := func(l TakeLine) {
		l.At = time.Duration(frame) * time.Second / rate
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	c := h.Config(s)
	c.Recorded = func(in mapping.Input) { say(TakeLine{Input: in}) }
	r := mapping.NewRack(c)
	if err := r.Load(s.Patch); err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(chance, 1))
	steps := script.Steps
	out := [][]float32{make([]float32, 64), make([]float32, 64)}
	r.Fade(true)
	var params []mapping.Member
	for _, m := range r.Members() {
		if m.Kind == mapping.MemberParam {
			params = append(params, m)
		}
	}
	total := int64(seconds * rate)
	for frame < total {
		for len(steps) > 0 && int64(steps[0].At.Seconds()*rate) < frame {
			// Some come too late, and some at once.
			at := frame + int64(rnd.IntN(3000)) - 500
			if rnd.IntN(10) == 0 {
				at = 0
			}
			if tr := steps[0].Transition; tr != nil {
				r.Apply(*tr, max(at, 0))
			}
			steps = steps[1:]
		}
		switch rnd.IntN(400) {
		case 0, 1, 2:
			m := params[rnd.IntN(len(params))]
			v := m.Param.Min + rnd.Float64()*(m.Param.Max-m.Param.Min)
			if m.Param.Whole || len(m.Param.Choices) > 0 {
				v = math.Round(v)
			}
			_ = r.Set(m.Address, v, "", "hand", frame+int64(rnd.IntN(200))) // whatever it takes
		case 3:
			cables := r.Patch().Cables
			_ = r.Pull(cables[rnd.IntN(len(cables))].To, "hand")
		case 4:
			id := instrument.ModuleID(fmt.Sprintf("vco/extra-%d", frame))
			_ = r.Add(instrument.Module{ID: id}, "hand")
		case 5:
			r.MIDI("keys", midi.On(0, rnd.IntN(128), 100), frame+100)
		case 6:
			if rnd.IntN(8) == 0 {
				r.Panic()
			}
		case 7:
			p := s.Patch.Clone()
			if rnd.IntN(2) == 0 {
				_ = r.Load(p)
			} else {
				_ = r.Launch(p, frame+int64(rnd.IntN(4000)), rnd.Float64())
			}
		}
		n := 64 * (1 + rnd.IntN(6))
		for range n / 64 {
			r.Engine.Render(out, nil)
			left = append(left, out[0]...)
			frame += 64
		}
		r.Pump(frame + h.Lead)
		r.Topology()
	}
	r.Fade(false)
	for range 60 {
		r.Engine.Render(out, nil)
		left = append(left, out[0]...)
		frame += 64
	}
	r.RecordRest()
	say(TakeLine{Frames: frame})
	return left, b.Bytes()
}

// renderTake renders a take as it sounded.
func renderTake(t testing.TB, take []byte, block int) (left []float32, s *TakeSound) {
	t.Helper()
	r, err := NewTakeReader("x", bytes.NewReader(take))
	if err != nil {
		t.Fatal(err)
	}
	if s, err = NewTakeSound(r, nil, nil); err != nil {
		t.Fatal(err)
	}
	out := [][]float32{make([]float32, block), make([]float32, block)}
	for {
		n, err := s.Render(out)
		if errors.Is(err, io.EOF) {
			return left, s
		}
		if err != nil {
			t.Fatal(err)
		}
		left = append(left, out[0][:n]...)
	}
}

func sum(x []float32) uint64 {
	h := fnv.New64a()
	for _, v := range x {
		b := math.Float32bits(v)
		h.Write([]byte{byte(b), byte(b >> 8), byte(b >> 16), byte(b >> 24)})
	}
	return h.Sum64()
}

// A take sounds as it did when it was played, to the bit, whatever came late,
// was plugged, pulled, added, or silenced, and however it is rendered.
func TestTakeSoundsAsItWasPlayed(t *testing.T) {
	chances, seconds := uint64(3), 12.0
	if testing.Short() {
		chances, seconds = 1, 3
	}
	for chance := range chances {
		live, take := playTake(t, chance, seconds)
		if peak := func() (p float32) {
			for _, v := range live {
				p = max(p, v, -v)
			}
			return p
		}(); peak < 0.1 {
			t.Errorf("it is silent: %g V", peak)
		}
		for _, block := range []int{64, 1024} {
			got, s := renderTake(t, take, block)
			if len(got) != len(live) {
				t.Fatalf("%d frames, were %d", len(got), len(live))
			}
			for i := range got {
				if math.Float32bits(got[i]) != math.Float32bits(live[i]) {
					t.Fatalf("chance %d, block %d: frame %d is %g, was %g", chance, block, i, got[i], live[i])
				}
			}
			if s.Late == 0 {
				t.Error("nothing came late, so that nothing is shown")
			}
			t.Logf("%d frames, %d events of which %d late, take of %d bytes: %x", len(got), s.Applied, s.Late, len(take), sum(got))
		}
	}
}

func FuzzTake(f *testing.F) {
	h, lines := allOfATake(f)
	f.Add(writeTake(f, h, lines))
	f.Add([]byte(`{"take":{"version":2,"time":"2031-03-04T05:06:07Z","rate":48000,"channels":2}}`))
	f.Fuzz(func(t *testing.T, data []byte) { fuzzTake(t, data) })
}

// fuzzTake reads what may be a take, and what could be read twice.
func fuzzTake(t *testing.T, data []byte) {
	r, err := NewTakeReader("x", bytes.NewReader(data))
	if err != nil {
		if !wellPlaced(err) {
			t.Fatalf("%v", err)
		}
		return
	}
	if r.Head.Version < 2 {
		return
	}
	var b bytes.Buffer
	w, err := NewTakeWriter(&b, r.Head)
	if err != nil {
		t.Fatal(err)
	}
	var all []TakeLine
	for {
		l, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			if !wellPlaced(err) {
				t.Fatalf("%v", err)
			}
			break
		}
		for k := range l.Applied {
			l.Applied[k].Seq = 0
		}
		all = append(all, l)
		l.Applied = append([]instrument.Applied(nil), l.Applied...)
		for k := range l.Applied {
			l.Applied[k].Seq = w.seq + 1 + uint64(k)
		}
		if err := w.Write(l); err != nil {
			t.Fatal(err)
		}
	}
	_, again := readTake(t, b.Bytes())
	if len(again) != len(all) {
		t.Fatalf("%d lines became %d", len(all), len(again))
	}
	for i := range all {
		x, _ := json.Marshal(all[i].wire())
		y, _ := json.Marshal(again[i].wire())
		if !bytes.Equal(x, y) {
			t.Fatalf("%s became %s", x, y)
		}
	}
}

// A thousand broken takes, as the fuzzer makes them.
func TestTakesThatAreBroken(t *testing.T) {
	h, lines := allOfATake(t)
	whole := writeTake(t, h, lines)
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		b := bytes.Clone(whole)
		for range 1 + rnd.IntN(4) {
			switch i := rnd.IntN(len(b)); rnd.IntN(3) {
			case 0:
				b[i] = byte(rnd.IntN(256))
			case 1:
				b = append(b[:i], b[min(i+rnd.IntN(40), len(b)):]...)
			case 2:
				b[i] = "0123456789-[]{},:\"eE."[rnd.IntN(21)]
			}
			if len(b) == 0 {
				b = []byte{'{'}
			}
		}
		fuzzTake(t, b)
	}
}
