package scenes

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"strconv"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Ends of a Transport.
const (
	DefaultPhrase = 4 // bars
	MaxPhrase     = 64
	MaxCrossfade  = instrument.MaxCrossfade // s
	maxBindings   = 32
)

// DefaultBeats is how many beats a bar has where neither a Clock nor the
// transport says.
const DefaultBeats = 4

// Transport says how a scene comes in and how time is counted in it. Where the
// scene has a Clock, that keeps the time, and tempo and beats are where its
// knobs stand. A scene without one counts by itself, from the frame on which it
// came.
type Transport struct {
	// Tempo is in beats a minute, with the ends of a Clock's knob; 0 is not said:
	// the Clock's knob says it, and without a Clock nothing is counted.
	Tempo float64
	// Beats is how many a bar has, with the ends of a Clock's knob; 0 is not
	// said: the Clock's knob says it, or DefaultBeats.
	Beats int
	// Clock is the name of the Clock that is counted by, such as main of
	// clock/main; empty is the first.
	Clock string
	// Phrase is how many bars make one, 1 … MaxPhrase.
	Phrase int
	// Launch is what the scene waits for where it is asked for without a word
	// of that.
	Launch mapping.Quantum
	// Crossfade is how long it and the one before it sound together, in seconds,
	// 0 … MaxCrossfade, likewise.
	Crossfade float64
}

// defaultTransport is that of a scene that says nothing of it.
var defaultTransport = Transport{Phrase: DefaultPhrase, Launch: mapping.Now}

var transportFields = []string{"tempo", "beats", "clock", "phrase", "launch", "crossfade"}

func (r *sceneReader) transport(e document.Entry) {
	t := &r.patched.Transport
	for _, f := range r.Fields(e.Value, "transport", transportFields) {
		switch f.Name {
		case "tempo":
			k := clockKnob("tempo")
			if v, ok := r.Number(f, k.Min, k.Max, k.Unit); ok {
				t.Tempo = v
			}
		case "beats":
			k := clockKnob("beats")
			if n, ok := r.Whole(f, int(k.Min), int(k.Max)); ok {
				t.Beats = n
			}
		case "clock":
			t.Clock, _ = r.Text(f)
		case "phrase":
			if n, ok := r.Whole(f, 1, MaxPhrase); ok {
				t.Phrase = n
			}
		case "launch":
			if w, ok := r.Text(f); ok {
				if err := mapping.Quantum(w).Check(); err != nil {
					r.Node(f.Value, "%w", err)
				} else {
					t.Launch = mapping.Quantum(w)
				}
			}
		case "crossfade":
			if v, ok := r.Number(f, 0, MaxCrossfade, "seconds"); ok {
				t.Crossfade = v
			}
		}
	}
}

// clockKnob is the declaration of a knob of a Clock.
func clockKnob(name string) *instrument.ParamSpec {
	s := instrument.Spec("clock")
	return &s.Params[s.Param(name)]
}

// ClockOf returns the Clock that a scene's time is counted by, or nil.
func (s *Scene) ClockOf() *instrument.Module {
	for i := range s.Patch.Modules {
		if m := &s.Patch.Modules[i]; m.ID.Kind() == "clock" && (s.Transport.Clock == "" || m.ID.Name() == s.Transport.Clock) {
			return m
		}
	}
	return nil
}

// clocked turns the knobs of the Clock to what the transport of a file says.
// A knob that the file turns itself, too, is a mistake: one of the two would be
// forgotten.
func (r *sceneReader) clocked(transport document.Entry) {
	s := r.patched
	m := s.ClockOf()
	if m == nil {
		return
	}
	for _, f := range r.Fields(transport.Value, "transport", transportFields) {
		var v float64
		switch f.Name {
		case "tempo":
			v = s.Transport.Tempo
		case "beats":
			v = float64(s.Transport.Beats)
		}
		if v == 0 {
			continue
		}
		if _, twice := m.Params[f.Name]; twice {
			r.Node(f.Key, "%s is said by the params of %s as well; expected it in one place", f.Name, m.ID)
			continue
		}
		m.Params[f.Name] = v
	}
}

// clockSays makes what the transport says of tempo and beats what the knobs of
// the Clock say, where the transport says it.
func (s *Scene) clockSays() {
	t, m := &s.Transport, s.ClockOf()
	if m == nil || t.Tempo == 0 && t.Beats == 0 {
		return
	}
	if m.Params == nil {
		m.Params = map[string]float64{}
	}
	if t.Tempo != 0 {
		t.Tempo = m.Value("tempo")
		m.Params["tempo"] = t.Tempo
	}
	if t.Beats != 0 {
		t.Beats = int(m.Value("beats"))
		m.Params["beats"] = float64(t.Beats)
	}
}

// ClockSays returns the scene with the tempo and beats of its transport, where
// they are said, as the knobs of its Clock are turned. The patch is the
// caller's.
func (s *Scene) ClockSays() *Scene {
	own := *s
	if m := s.ClockOf(); m != nil && (s.Transport.Tempo != 0 || s.Transport.Beats != 0) {
		own.Patch = s.Patch.Clone()
	}
	own.clockSays()
	return &own
}

// Next returns the first frame from after on, and later than from, that q says, of a scene without a
// Clock that came at frame from: its transport counts. Rate is in frames a
// second. Where the transport has no tempo, or q is Now, it is not ok.
func (t Transport) Next(q mapping.Quantum, from, after int64, rate float64) (frame int64, ok bool) {
	if t.Tempo <= 0 || q == mapping.Now || q == "" {
		return 0, false
	}
	beats := 1
	if q != mapping.Beat {
		beats = cmp.Or(t.Beats, DefaultBeats)
	}
	if q == mapping.Phrase {
		beats *= max(t.Phrase, 1)
	}
	step := 60 * rate / t.Tempo * float64(beats)
	k := max(math.Ceil((float64(after-from)-1e-3)/step), 1)
	return from + int64(math.Ceil(k*step-1e-3)), true
}

func (r *sceneReader) bindings(e document.Entry) {
	for _, n := range r.List(e, 0) {
		if w, ok := r.Text(document.Item(e.Name, n)); ok {
			r.patched.Bindings = append(r.patched.Bindings, w)
		}
	}
}

// checkStage finds the mistakes of the transport and the bindings.
func (s *Scene) checkStage(check func(string, error), between func(what string, v, low, high float64, unit string) error) {
	t := s.Transport
	check("transport", between("phrase", float64(t.Phrase), 1, MaxPhrase, "bars"))
	check("transport", between("crossfade", t.Crossfade, 0, MaxCrossfade, "seconds"))
	check("transport", t.Launch.Check())
	if k := clockKnob("tempo"); t.Tempo != 0 {
		check("transport", between("tempo", t.Tempo, k.Min, k.Max, k.Unit))
	}
	if k := clockKnob("beats"); t.Beats != 0 {
		check("transport", between("beats", float64(t.Beats), k.Min, k.Max, "beats"))
	}
	if t.Clock != "" && s.Patch.Module(instrument.ModuleID("clock/"+t.Clock)) == nil {
		check("transport", fmt.Errorf("the scene has no clock/%s", document.Clip(t.Clock)))
	}
	if n := len(s.Bindings); n > maxBindings {
		check("bindings", fmt.Errorf("the scene names %d mappings; the most is %d", n, maxBindings))
		return
	}
	for _, b := range s.Bindings {
		check("bindings", checkName("the name of a mapping", b))
	}
}

// transportYAML writes what is not by default; nil is nothing.
func transportYAML(t Transport) *yaml.Node {
	if t == defaultTransport {
		return nil
	}
	n := mappingNode()
	if t.Tempo != 0 {
		put(n, "tempo", number(t.Tempo))
	}
	if t.Beats != 0 {
		put(n, "beats", scalar("!!int", strconv.Itoa(t.Beats)))
	}
	if t.Clock != "" {
		put(n, "clock", word(t.Clock))
	}
	if t.Phrase != DefaultPhrase {
		put(n, "phrase", scalar("!!int", strconv.Itoa(t.Phrase)))
	}
	if t.Launch != mapping.Now {
		put(n, "launch", word(string(t.Launch)))
	}
	if t.Crossfade != 0 {
		put(n, "crossfade", number(t.Crossfade))
	}
	return n
}

// unsaid returns the Clock of a scene without the knobs that its transport
// says.
func (s *Scene) unsaid(m *instrument.Module) *instrument.Module {
	if s.ClockOf() != m {
		return m
	}
	own := *m
	own.Params = maps.Clone(m.Params)
	if s.Transport.Tempo != 0 {
		delete(own.Params, "tempo")
	}
	if s.Transport.Beats != 0 {
		delete(own.Params, "beats")
	}
	return &own
}

func transportSchema(name func(string) map[string]any) map[string]any {
	tempo, beats := clockKnob("tempo"), clockKnob("beats")
	return map[string]any{"type": "object", "description": "how the scene comes in, and how its time is counted", "additionalProperties": false, "properties": map[string]any{
		"tempo":     map[string]any{"type": "number", "description": "beats a minute, in place of the knob of the clock; a scene without a clock counts by it", "minimum": tempo.Min, "maximum": tempo.Max},
		"beats":     map[string]any{"type": "integer", "description": "beats of a bar, likewise", "minimum": beats.Min, "maximum": beats.Max},
		"clock":     name("name of the clock that is counted by; the first where it is missing"),
		"phrase":    map[string]any{"type": "integer", "description": "bars of a phrase, counted from the clock's last reset", "minimum": 1, "maximum": MaxPhrase, "default": DefaultPhrase},
		"launch":    map[string]any{"type": "string", "description": "what the scene waits for in the one before it", "enum": mapping.Quanta, "default": mapping.Now},
		"crossfade": map[string]any{"type": "number", "description": "seconds for which it and the one before it sound together", "minimum": 0, "maximum": MaxCrossfade, "default": 0},
	}}
}
