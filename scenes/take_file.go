package scenes

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

const (
	// TakeVersion is the version of the takes that this program writes, and the
	// latest that it reads. Version 1 is the stream of the cluster as it was
	// told, with the params that hands turned beside it.
	TakeVersion = 2
	// maxTakeLine is the longest line of a take, in bytes.
	maxTakeLine = 16 << 20
	// takeRate is what takes that do not say so are counted in, in hertz.
	takeRate = 48000
)

// TakeHead is how a take begins: all that must be known to play it.
type TakeHead struct {
	Version int    `json:"version"`
	Program string `json:"program,omitempty"`
	// Time is when frame 0 was rendered, or about to be.
	Time     time.Time `json:"time"`
	Rate     int       `json:"rate"`     // Hz
	Channels int       `json:"channels"` // of the engine
	// Machine is the kind of machine that it was played on, as Machine names it;
	// empty where that is not known. On another kind last bits are others.
	Machine string `json:"machine,omitempty"`
	// Sockets is where the rig's jacks were among the engine's channels.
	Sockets *TakeSockets `json:"sockets,omitempty"`
	// Inputs tells where what those of the rig captured is; nil where it has none.
	Inputs *TakeInputs `json:"inputs,omitempty"`
	// Embedded and ListenOnly are how the rack was set up.
	Embedded   bool `json:"embedded,omitempty"`
	ListenOnly bool `json:"listenOnly,omitempty"`
	// Lead is how far what the rack took for the present was ahead of what the
	// engine rendered next, in frames.
	Lead int64 `json:"lead,omitempty"`
	// Scene is the text of the scene as it stood at frame 0: patch, rules,
	// tunings, seed, namespace. It is empty in takes that were not played here,
	// such as a recorded watch.
	Scene string `json:"scene,omitempty"`
	// From says what the take was made of, where it was not played here.
	From string `json:"from,omitempty"`
}

// TakeSockets are instrument.Sockets.
type TakeSockets struct {
	Outputs map[string]int `json:"outputs,omitempty"`
	Inputs  map[string]int `json:"inputs,omitempty"`
}

// Sockets returns those of the take.
func (h *TakeHead) sockets() instrument.Sockets {
	if h.Sockets == nil {
		return instrument.Sockets{}
	}
	return instrument.Sockets{Outputs: h.Sockets.Outputs, Inputs: h.Sockets.Inputs}
}

// Config returns how the rack of the take was set up, for a scene.
func (h *TakeHead) Config(s *Scene) mapping.Config {
	return mapping.Config{SampleRate: float64(h.Rate), Channels: h.Channels, Seed: s.Seed, Storm: s.Storm, StormPolicy: s.StormPolicy, Scale: s.Notes(),
		Embedded: h.Embedded, ListenOnly: h.ListenOnly, Namespace: s.Namespace, Scene: s.Name, Sockets: h.sockets()}
}

// TakeLine is one thing that happened: exactly one of an input, and Scene,
// Action, Lost and Frames.
type TakeLine struct {
	// At is the time since frame 0 at which it was recorded.
	At time.Duration
	mapping.Input
	// Scene is the text of another scene that is played from here on. If Launch
	// is set it is launched, as Rack.Launch does, at Frame, and Crossfade is how
	// long it takes to come, in seconds.
	Scene     string
	Launch    bool
	Crossfade float64
	// Action is what was asked of the cluster. It is told and never done again.
	Action *mapping.Action
	// Lost is how many lines could not be written in this place.
	Lost uint64
	// Frames is how many frames there are in all: the last line.
	Frames int64
}

// isInput tells whether the line holds an input.
func (l *TakeLine) isInput() bool {
	return l.Scene == "" && l.Action == nil && l.Lost == 0 && l.Frames == 0
}

// Object returns the kind of the line in a word, and what it is about.
func (l *TakeLine) Object() (kind, object string) {
	in := &l.Input
	switch {
	case l.Scene != "":
		return "scene", ""
	case l.Action != nil:
		return "action", l.Action.Object.String()
	case l.Lost != 0:
		return "lost", ""
	case l.Frames != 0:
		return "end", ""
	case in.Transition != nil:
		return "transition", in.Transition.Object.String()
	case in.Set != nil:
		return "param", string(in.Set.Address)
	case in.MIDI != nil:
		return "midi", in.MIDI.Port
	case in.Port != nil:
		return "port", in.Port.Name
	case in.Transport != nil:
		return "transport", in.Transport.Port
	case in.Wiring != nil:
		return "wiring", ""
	case in.Edit != nil:
		return "edit", "topology"
	case in.Sensed != nil:
		return "sensed", ""
	case in.Mode != nil:
		return "mode", ""
	case in.Problem != nil:
		return "problem", in.Problem.Where
	case in.Fade != nil:
		return "fade", ""
	case in.Kill != nil:
		return "kill", in.Kill.Pod
	case in.Sockets != nil:
		return "sockets", ""
	case in.Panic:
		return "panic", ""
	case in.Show:
		return "show", ""
	case in.Plan != nil:
		return "plan", ""
	}
	return "engine", ""
}

// The lines as they are written.
type (
	wireLine struct {
		Take   *TakeHead `json:"take,omitempty"`
		At     float64   `json:"t,omitempty"` // s
		Now    int64     `json:"now,omitempty"`
		Frame  int64     `json:"frame,omitempty"`
		Source string    `json:"source,omitempty"`

		Transition *mapping.Transition `json:"transition,omitempty"`
		Set        *wireSet            `json:"set,omitempty"`
		MIDI       *wireMIDI           `json:"midi,omitempty"`
		Port       *wirePort           `json:"port,omitempty"`
		Transport  *wireTransport      `json:"transport,omitempty"`
		Wiring     *wireWiring         `json:"wiring,omitempty"`
		Edit       *mapping.Edit       `json:"edit,omitempty"`
		Sensed     *[]wireSensed       `json:"sensed,omitempty"`
		Mode       *mapping.Mode       `json:"mode,omitempty"`
		Problem    *mapping.Problem    `json:"problem,omitempty"`
		Fade       string              `json:"fade,omitempty"` // in or out
		Kill       *wireKill           `json:"kill,omitempty"`
		Sockets    *TakeSockets        `json:"sockets,omitempty"`
		Panic      bool                `json:"panic,omitempty"`
		Show       bool                `json:"show,omitempty"`
		Plan       *wirePlan           `json:"plan,omitempty"`
		Engine     engineRows          `json:"engine,omitempty"`

		Scene     string          `json:"scene,omitempty"`
		Launch    bool            `json:"launch,omitempty"`
		Crossfade float64         `json:"crossfade,omitempty"`
		Action    *mapping.Action `json:"action,omitempty"`
		Lost      uint64          `json:"lost,omitempty"`
		Frames    int64           `json:"frames,omitempty"`
	}
	wireSet struct {
		Address mapping.Address `json:"address"`
		Value   float64         `json:"value"`
		Word    string          `json:"word,omitempty"`
		Was     float64         `json:"was,omitempty"`
		WasWord string          `json:"wasWord,omitempty"`
	}
	wireMIDI struct {
		Port  string `json:"port"`
		Bytes string `json:"bytes"` // hexadecimal
	}
	wirePort struct {
		Name string `json:"name"`
		Came bool   `json:"came"`
	}
	wireTransport struct {
		Port    string   `json:"port"`
		Runs    bool     `json:"runs"`
		Seconds *float64 `json:"seconds,omitempty"`
	}
	wireWiring struct {
		Pulled  []string     `json:"pulled,omitempty"`
		Removed []wireModule `json:"removed,omitempty"`
		Added   []wireModule `json:"added,omitempty"`
		Plugged []string     `json:"plugged,omitempty"`
		// Of the case: see mapping.Wiring.
		Overruled []string `json:"overruled,omitempty"`
		Let       []string `json:"let,omitempty"`
	}
	wireModule struct {
		ID     instrument.ModuleID `json:"id"`
		Params map[string]float64  `json:"params,omitempty"`
		Text   map[string]string   `json:"text,omitempty"`
	}
	wireSensed struct {
		Output   string `json:"output"`
		Input    string `json:"input"`
		Polarity int    `json:"polarity"`
	}
	wireKill struct {
		Pod  string `json:"pod,omitempty"`
		Slot int    `json:"slot,omitempty"`
	}
	wirePlan struct {
		Generation uint64       `json:"generation"`
		Settled    uint64       `json:"settled"`
		At         int64        `json:"at,omitempty"`
		Launch     bool         `json:"launch,omitempty"`
		Crossfade  float64      `json:"crossfade,omitempty"`
		Ended      []uint32     `json:"ended,omitempty"`
		Modules    []wireModule `json:"modules"`
		Cables     []string     `json:"cables"`
	}
)

// engineRows are applied events, each an array of numbers: the frame, the
// kind, and of an event its module, index, channel and value, and the frame
// that was asked for where that is another one.
type engineRows []instrument.Applied

// Kinds of rows that are no events.
const (
	rowPlan = -1
	rowCut  = -2
	rowLost = -3
)

// MarshalJSON writes the rows. What is missing of the sequence is a row of its
// own.
func (rows engineRows) MarshalJSON() ([]byte, error) { return rows.append(nil), nil }

func (rows engineRows) append(b []byte) []byte {
	b = append(b, '[')
	var next uint64
	for i := range rows {
		a := &rows[i]
		if i > 0 {
			b = append(b, ',')
			if gap := a.Seq - next; gap != 0 {
				b = appendRow(b, a.Frame, rowLost, int64(gap))
				b = append(b, ',')
			}
		}
		next = a.Seq + 1
		switch e := &a.Event; {
		case a.Cut:
			b = appendRow(b, a.Frame, rowCut)
		case a.Plan != 0:
			b = appendRow(b, a.Frame, rowPlan, int64(a.Plan))
		default:
			b = appendRow(b, a.Frame, int64(e.Kind), int64(e.Module), int64(e.Index), int64(e.Channel))
			b[len(b)-1] = ','
			switch v := float64(e.Value); {
			case v != v:
				b = append(b, "null"...)
			case math.IsInf(v, 0): // a number that no float32 holds
				b = strconv.AppendFloat(b, math.Copysign(1e39, v), 'g', -1, 64)
			default:
				b = strconv.AppendFloat(b, v, 'g', -1, 32)
			}
			if e.Frame != a.Frame {
				b = append(b, ',')
				b = strconv.AppendInt(b, e.Frame, 10)
			}
			b = append(b, ']')
		}
	}
	return append(b, ']')
}

func appendRow(b []byte, numbers ...int64) []byte {
	b = append(b, '[')
	for i, n := range numbers {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendInt(b, n, 10)
	}
	return append(b, ']')
}

// UnmarshalJSON reads rows. Their Seq is 0, and 1 where some before it were
// lost.
func (rows *engineRows) UnmarshalJSON(b []byte) error {
	*rows = nil
	b = bytes.TrimSpace(b)
	if len(b) < 2 || b[0] != '[' {
		return errors.New("the engine's rows are arrays in an array")
	}
	lost := false
	b = b[1 : len(b)-1]
	for {
		b = bytes.TrimLeft(b, " \t\r\n,")
		if len(b) == 0 {
			return nil
		}
		end := bytes.IndexByte(b, ']')
		if b[0] != '[' || end < 0 {
			return errors.New("the engine's rows are arrays in an array")
		}
		a, isLost, err := parseRow(b[1:end])
		if err != nil {
			return err
		}
		b = b[end+1:]
		if isLost {
			lost = true
			continue
		}
		if lost {
			a.Seq, lost = 1, false
		}
		*rows = append(*rows, a)
	}
}

func parseRow(b []byte) (a instrument.Applied, lost bool, err error) {
	wrong := func() (instrument.Applied, bool, error) {
		return a, false, fmt.Errorf("%q is no row of the engine; expected [frame, kind, module, index, channel, value]", document.Clip(string(b)))
	}
	var fields [7][]byte
	n := 0
	for rest := b; ; n++ {
		if n == len(fields) {
			return wrong()
		}
		f, tail, more := bytes.Cut(rest, []byte{','})
		fields[n], rest = bytes.TrimSpace(f), tail
		if !more {
			n++
			break
		}
	}
	whole := func(i int, low, high int64) int64 {
		v, e := strconv.ParseInt(string(fields[i]), 10, 64)
		if e != nil || v < low || v > high {
			err = strconv.ErrRange
		}
		return v
	}
	if n < 2 {
		return wrong()
	}
	a.Frame = whole(0, 0, math.MaxInt64/2)
	kind := whole(1, rowLost, int64(instrument.EventWord))
	switch {
	case err != nil:
	case kind == rowCut && n == 2:
		a.Cut = true
	case kind == rowPlan && n == 3:
		a.Plan = uint64(whole(2, 1, math.MaxInt64))
	case kind == rowLost && n == 3:
		whole(2, 1, math.MaxInt64)
		lost = true
	case kind >= 0 && (n == 6 || n == 7):
		e := &a.Event
		e.Kind, e.Frame = instrument.EventKind(kind), a.Frame
		e.Module, e.Index, e.Channel = uint32(whole(2, 0, math.MaxUint32)), uint8(whole(3, 0, 255)), uint8(whole(4, 0, 255))
		if string(fields[5]) == "null" {
			e.Value = float32(math.NaN())
		} else {
			v, e2 := strconv.ParseFloat(string(fields[5]), 32)
			if e2 != nil && !errors.Is(e2, strconv.ErrRange) {
				err = e2
			}
			e.Value = float32(v)
		}
		if n == 7 {
			e.Frame = whole(6, math.MinInt64/2, math.MaxInt64/2)
		}
	default:
		return wrong()
	}
	if err != nil {
		return wrong()
	}
	return a, lost, nil
}

func wireModules(ms []instrument.Module) (out []wireModule) {
	for _, m := range ms {
		out = append(out, wireModule(m))
	}
	return out
}

func wireCables(cs []instrument.Cable) (out []string) {
	for _, c := range cs {
		out = append(out, mapping.FormatCable(c))
	}
	return out
}

func modulesOf(ms []wireModule) (out []instrument.Module) {
	for _, m := range ms {
		out = append(out, instrument.Module(m))
	}
	return out
}

func cablesOf(all []string) (out []instrument.Cable, err error) {
	for _, text := range all {
		c, err := mapping.ParseCable(text)
		if err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// wire returns the line as it is written.
func (l *TakeLine) wire() *wireLine {
	in := &l.Input
	w := &wireLine{At: math.Round(l.At.Seconds()*1e6) / 1e6, Now: in.Present, Frame: in.Frame, Source: in.Source,
		Transition: in.Transition, Edit: in.Edit, Mode: in.Mode, Problem: in.Problem, Panic: in.Panic, Show: in.Show, Engine: engineRows(in.Applied),
		Scene: l.Scene, Launch: l.Launch, Crossfade: l.Crossfade, Action: l.Action, Lost: l.Lost, Frames: l.Frames}
	switch {
	case in.Set != nil:
		w.Set = &wireSet{in.Set.Address, in.Set.Value, in.Set.Word, in.Set.Was.Value, in.Set.Was.Word}
	case in.MIDI != nil:
		w.MIDI = &wireMIDI{in.MIDI.Port, hex.EncodeToString(in.MIDI.Message.Bytes(nil))}
	case in.Port != nil:
		w.Port = (*wirePort)(in.Port)
	case in.Transport != nil:
		w.Transport = (*wireTransport)(in.Transport)
	case in.Wiring != nil:
		w.Wiring = &wireWiring{wireCables(in.Wiring.Pulled), wireModules(in.Wiring.Removed), wireModules(in.Wiring.Added), wireCables(in.Wiring.Plugged),
			wireCables(in.Wiring.Overruled), wireCables(in.Wiring.Let)}
	case in.Sensed != nil:
		all := make([]wireSensed, 0, len(*in.Sensed))
		for _, c := range *in.Sensed {
			all = append(all, wireSensed(c))
		}
		w.Sensed = &all
	case in.Fade != nil:
		if w.Fade = "out"; *in.Fade {
			w.Fade = "in"
		}
	case in.Kill != nil:
		w.Kill = (*wireKill)(in.Kill)
	case in.Sockets != nil:
		w.Sockets = &TakeSockets{in.Sockets.Outputs, in.Sockets.Inputs}
	case in.Plan != nil:
		c := &in.Plan.Change
		w.Plan = &wirePlan{in.Plan.Generation, c.Settled, c.At, c.Launch, c.Crossfade, c.Ended, wireModules(in.Plan.Patch.Modules), wireCables(in.Plan.Patch.Cables)}
	}
	return w
}

// line returns what was written.
func (w *wireLine) line() (l TakeLine, err error) {
	finite := w.At == w.At && w.At >= 0 && w.At <= MaxLength.Seconds()
	if !finite {
		return l, fmt.Errorf("the time %g s is not within %s of the beginning", w.At, MaxLength)
	}
	if most := int64(MaxLength.Seconds() * 192000); w.Frame > 2*most || w.Now > 2*most || w.Frame < 0 || w.Now < 0 {
		return l, fmt.Errorf("frame %d at %d is not within %s of the beginning", w.Frame, w.Now, MaxLength)
	}
	l = TakeLine{At: time.Duration(math.Round(w.At * 1e9)), Scene: w.Scene, Launch: w.Launch, Crossfade: w.Crossfade, Action: w.Action, Lost: w.Lost, Frames: w.Frames}
	l.Input = mapping.Input{Present: w.Now, Frame: w.Frame, Source: w.Source,
		Transition: w.Transition, Edit: w.Edit, Mode: w.Mode, Problem: w.Problem, Panic: w.Panic, Show: w.Show, Applied: w.Engine}
	in := &l.Input
	n := 0
	for _, is := range []bool{w.Transition != nil, w.Set != nil, w.MIDI != nil, w.Port != nil, w.Transport != nil, w.Wiring != nil, w.Edit != nil, w.Sensed != nil, w.Mode != nil,
		w.Problem != nil, w.Fade != "", w.Kill != nil, w.Sockets != nil, w.Panic, w.Show, w.Plan != nil, w.Engine != nil, w.Scene != "", w.Action != nil, w.Lost != 0, w.Frames != 0} {
		if is {
			n++
		}
	}
	if n != 1 {
		return l, fmt.Errorf("a line says one thing, such as transition, set, midi, wiring or scene; this says %d", n)
	}
	switch {
	case w.Transition != nil:
		if t := w.Transition; t.Object.Kind == "" || t.Object.Name == "" || t.Field == "" {
			return l, errors.New("the transition does not say of which kind, name and field it is")
		}
	case w.Set != nil:
		if _, _, err := w.Set.Address.Split(); err != nil {
			return l, err
		}
		in.Set = &mapping.SetInput{Address: w.Set.Address, Setpoint: mapping.Setpoint{Value: w.Set.Value, Word: w.Set.Word}, Was: mapping.Setpoint{Value: w.Set.Was, Word: w.Set.WasWord}}
	case w.MIDI != nil:
		b, err := hex.DecodeString(w.MIDI.Bytes)
		if err != nil || len(b) == 0 || len(b) > 3 || b[0] < 0x80 {
			return l, fmt.Errorf("%q is no MIDI message in hexadecimal, such as 903c64", document.Clip(w.MIDI.Bytes))
		}
		m := midi.Message{Size: uint8(len(b))}
		copy(m.Data[:], b)
		in.MIDI = &mapping.MIDIInput{Port: w.MIDI.Port, Message: m}
	case w.Port != nil:
		in.Port = (*mapping.PortInput)(w.Port)
	case w.Transport != nil:
		in.Transport = (*mapping.TransportInput)(w.Transport)
	case w.Wiring != nil:
		in.Wiring = &mapping.Wiring{Removed: modulesOf(w.Wiring.Removed), Added: modulesOf(w.Wiring.Added)}
		for _, c := range []struct {
			to   *[]instrument.Cable
			from []string
		}{{&in.Wiring.Pulled, w.Wiring.Pulled}, {&in.Wiring.Plugged, w.Wiring.Plugged}, {&in.Wiring.Overruled, w.Wiring.Overruled}, {&in.Wiring.Let, w.Wiring.Let}} {
			if *c.to, err = cablesOf(c.from); err != nil {
				return l, err
			}
		}
	case w.Sensed != nil:
		all := []mapping.SensedCable{}
		for _, c := range *w.Sensed {
			all = append(all, mapping.SensedCable(c))
		}
		in.Sensed = &all
	case w.Mode != nil:
		if *w.Mode > mapping.ListenOnly {
			return l, fmt.Errorf("there is no mode %d", *w.Mode)
		}
	case w.Fade != "":
		if w.Fade != "in" && w.Fade != "out" {
			return l, fmt.Errorf("fade is in or out, got %q", document.Clip(w.Fade))
		}
		fadeIn := w.Fade == "in"
		in.Fade = &fadeIn
	case w.Kill != nil:
		in.Kill = (*mapping.KillInput)(w.Kill)
	case w.Sockets != nil:
		in.Sockets = &instrument.Sockets{Outputs: w.Sockets.Outputs, Inputs: w.Sockets.Inputs}
	case w.Plan != nil:
		patch := &instrument.Patch{Modules: modulesOf(w.Plan.Modules)}
		if patch.Cables, err = cablesOf(w.Plan.Cables); err != nil {
			return l, err
		}
		if w.Plan.Crossfade < 0 || w.Plan.Crossfade > instrument.MaxCrossfade {
			return l, fmt.Errorf("a crossfade of %g s", w.Plan.Crossfade)
		}
		in.Plan = &mapping.PlanInput{Generation: w.Plan.Generation, Settled: w.Plan.Settled, Patch: patch,
			Change: instrument.Change{Settled: w.Plan.Settled, At: w.Plan.At, Launch: w.Plan.Launch, Crossfade: w.Plan.Crossfade, Ended: w.Plan.Ended}}
	case w.Crossfade < 0 || w.Crossfade > instrument.MaxCrossfade:
		return l, fmt.Errorf("a crossfade of %g s", w.Crossfade)
	case w.Frames < 0:
		return l, fmt.Errorf("a take of %d frames", w.Frames)
	}
	return l, nil
}

// TakeWriter records a performance as a take: a head, and then one line after
// the other as it happens. It is not safe for concurrent use.
type TakeWriter struct {
	w   io.Writer
	buf bytes.Buffer
	enc *json.Encoder
	seq uint64 // of the last entry of the engine's journal
}

// NewTakeWriter begins a take.
func NewTakeWriter(w io.Writer, h TakeHead) (*TakeWriter, error) {
	t := &TakeWriter{w: w}
	t.enc = json.NewEncoder(&t.buf)
	t.enc.SetEscapeHTML(false)
	h.Version = TakeVersion
	return t, t.write(&wireLine{Take: &h})
}

// Write records a line, in one Write.
func (t *TakeWriter) Write(l TakeLine) error {
	if n := len(l.Applied); n > 0 {
		if gap := l.Applied[0].Seq - t.seq - 1; gap != 0 {
			if err := t.write(&wireLine{At: l.At.Seconds(), Now: l.Present, Lost: gap}); err != nil {
				return err
			}
		}
		t.seq = l.Applied[n-1].Seq
	}
	return t.write(l.wire())
}

func (t *TakeWriter) write(w *wireLine) error {
	t.buf.Reset()
	if err := t.enc.Encode(w); err != nil {
		return fmt.Errorf("take: %w", err)
	}
	if _, err := t.w.Write(t.buf.Bytes()); err != nil {
		return fmt.Errorf("take: %w", err)
	}
	return nil
}

// beginsTake tells whether data is a take of version 2 or later.
func beginsTake(data []byte) bool {
	return bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n"), []byte(`{"take":`))
}

// TakeReader reads a take of any version line by line, however long it is.
type TakeReader struct {
	Head TakeHead

	file  string
	close func() error
	r     *bufio.Reader
	line  int
	steps []Step // of version 1
	done  bool
}

// OpenTake begins to read the take at a path. Close it.
func OpenTake(path string) (*TakeReader, error) {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a folder; expected a file", path)
	}
	var f *os.File
	if err == nil {
		f, err = os.Open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("take: %w", err)
	}
	r, err := NewTakeReader(path, f)
	if err != nil {
		f.Close()
		return nil, err
	}
	r.close = f.Close
	return r, nil
}

// NewTakeReader begins to read a take: of version 2 from its head on, or whole
// where it is of version 1 or a stream as it was told. File is its name in
// errors.
func NewTakeReader(file string, in io.Reader) (*TakeReader, error) {
	t := &TakeReader{file: file, r: bufio.NewReaderSize(in, 1<<16)}
	start, _ := t.r.Peek(64)
	if !beginsTake(start) {
		data, err := io.ReadAll(io.LimitReader(t.r, MaxTake+1))
		if err != nil {
			return nil, fmt.Errorf("take: %w", err)
		}
		s, err := parseTake(file, data)
		if err != nil {
			return nil, err
		}
		t.Head = TakeHead{Version: 1, Time: epoch, Rate: takeRate, Channels: 2, Embedded: true}
		t.steps = s.Steps
		return t, nil
	}
	w, err := t.next()
	if err != nil {
		return nil, err
	}
	switch h := w.Take; {
	case h == nil:
		err = errors.New("the first line is not a take's head")
	case h.Version > TakeVersion:
		err = document.LaterVersion("take", h.Version, TakeVersion)
	case h.Version < 2:
		err = fmt.Errorf("there is no take of version %d with a head", h.Version)
	case h.Rate < 8000 || h.Rate > 192000:
		err = fmt.Errorf("its rate is 8000 … 192000 Hz, got %d", h.Rate)
	case h.Lead < 0 || h.Lead > int64(h.Rate):
		err = fmt.Errorf("its lead is at most a second of frames, got %d", h.Lead)
	case h.Channels < 1 || h.Channels > 128:
		err = fmt.Errorf("it has 1 … 128 channels, got %d", h.Channels)
	default:
		t.Head = *h
	}
	if err != nil {
		return nil, t.at(1, err)
	}
	return t, nil
}

// Scene reads the scene of a take's head, or of a line.
func (t *TakeReader) Scene(text string) (*Scene, error) {
	s, err := Parse(filepath.Base(t.file)+": its scene", []byte(text))
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close ends the reading of a file.
func (t *TakeReader) Close() error {
	if t.close == nil {
		return nil
	}
	return t.close()
}

func (t *TakeReader) at(column int, err error) error {
	p := &document.Mistakes{File: t.file}
	p.Add(max(t.line, 1), column, err)
	return p.Err()
}

// Next returns the next line, io.EOF after the last one. A last line without
// its end is what was being written when the recording stopped, and left out.
func (t *TakeReader) Next() (TakeLine, error) {
	if t.Head.Version == 1 {
		return t.nextStep()
	}
	w, err := t.next()
	if err != nil {
		return TakeLine{}, err
	}
	if w.Take != nil {
		return TakeLine{}, t.at(1, errors.New("a second head; one file is one take"))
	}
	l, err := w.line()
	if err != nil {
		return l, t.at(1, err)
	}
	return l, nil
}

// nextStep returns the next line of a take of version 1. What happened then is
// heard then.
func (t *TakeReader) nextStep() (TakeLine, error) {
	if len(t.steps) == 0 {
		return TakeLine{}, io.EOF
	}
	s := t.steps[0]
	t.steps = t.steps[1:]
	frame := max(int64(math.Round(s.At.Seconds()*float64(t.Head.Rate))), 1)
	l := TakeLine{At: s.At, Input: mapping.Input{Present: frame, Frame: frame, Transition: s.Transition}}
	if s.Param != nil {
		l.Set = &mapping.SetInput{Address: s.Param.Address, Setpoint: mapping.Setpoint{Value: s.Param.Value, Word: s.Param.Word}}
	}
	return l, nil
}

func (t *TakeReader) next() (*wireLine, error) {
	for !t.done {
		line, err := t.readLine()
		t.line++
		ended := err == nil
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, t.at(1, err)
		}
		t.done = !ended
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		w := &wireLine{}
		if err := json.Unmarshal(line, w); err != nil {
			if !ended && t.line > 1 {
				break
			}
			return nil, t.at(jsonColumn(line, err), fmt.Errorf("this is not a line of a take: %w", err))
		}
		return w, nil
	}
	return nil, io.EOF
}

// readLine is ReadBytes, which refuses what is longer than a line can be.
func (t *TakeReader) readLine() ([]byte, error) {
	var line []byte
	for {
		part, err := t.r.ReadSlice('\n')
		if len(line)+len(part) > maxTakeLine {
			return nil, fmt.Errorf("the line is longer than %d bytes", maxTakeLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			line = append(line, part...)
			continue
		}
		if line == nil {
			return part, err
		}
		return append(line, part...), err
	}
}

// scriptOfTake reads of a take what a script can hold: transitions, at the
// times at which they were told, and params.
func scriptOfTake(file string, data []byte) (*Script, error) {
	if len(data) > MaxTake {
		return nil, &document.Error{File: file, Line: 1, Column: 1, Err: fmt.Errorf("the take is longer than %d bytes, the most that a script may have; render it with --take, which reads takes of any length", MaxTake)}
	}
	t, err := NewTakeReader(file, bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	s := &Script{Title: bareName(filepath.Base(file))}
	for {
		l, err := t.Next()
		if errors.Is(err, io.EOF) {
			slices.SortStableFunc(s.Steps, byTime)
			return s, nil
		}
		if err != nil {
			return nil, err
		}
		switch {
		case l.Transition != nil:
			// A stamp of another day is by another clock.
			at := l.At
			if since := l.Transition.Time.Sub(t.Head.Time); since >= 0 && since <= MaxLength {
				at = since.Round(time.Microsecond)
			}
			l.Transition.Time = epoch.Add(at)
			s.Steps = append(s.Steps, Step{At: at, Transition: l.Transition})
		case l.Set != nil:
			s.Steps = append(s.Steps, Step{At: l.At, Param: &ParamChange{l.Set.Address, l.Set.Value, l.Set.Word}})
		}
	}
}

// TakeFrames returns how many frames the take at a path has, as its last line
// says; false where it does not, because its recorder was killed. It reads the
// end of the file alone.
func TakeFrames(path string) (int64, bool) {
	f, err := os.Open(path)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return 0, false
	}
	tail := make([]byte, min(info.Size(), 1<<12))
	if _, err := f.ReadAt(tail, info.Size()-int64(len(tail))); err != nil && !errors.Is(err, io.EOF) {
		return 0, false
	}
	tail = bytes.TrimSpace(tail)
	var w wireLine
	if json.Unmarshal(tail[bytes.LastIndexByte(tail, '\n')+1:], &w) != nil || w.Frames <= 0 {
		return 0, false
	}
	return w.Frames, true
}
