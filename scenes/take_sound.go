package scenes

import (
	"errors"
	"fmt"
	"io"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// toldWithin is how soon, in seconds, what the engine did is in the take.
const toldWithin = 0.05

// ErrNoSound says that a take does not hold what an engine did, or not all of
// it: what came in can be played anew.
var ErrNoSound = errors.New("the take does not hold all that the engine did")

// TakeSound renders a take as it sounded when it was played, to the bit: from
// the plans that the engine took up and the events that it applied, each at
// the frame at which it did, and not from what came in. Nothing of what
// surfaces, rules and clusters do is done again.
type TakeSound struct {
	Engine *instrument.Engine

	take     *TakeReader
	compiler *instrument.Compiler
	patch    *instrument.Patch // as it was made ready last, and the words since
	tunings  *instrument.Patch // whose Tunings count
	plans    []*mapping.PlanInput
	words    []*mapping.SetInput
	rows     []instrument.Applied
	ended    bool
	extra    []string
	frames   int64 // in all, as far as is known
	told     int64 // frames up to which the engine had told all that it did
	in       [][]float32
	captured *InputsReader
	cut      [][]float32
	rig      map[string]int // its inputs
	// Applied counts the events, Late those of them that came after their frame.
	Applied, Late uint64
	// Unheard tells that modules listened to inputs of the rig of which nothing
	// is known: they are at 0 V.
	Unheard bool
}

// NewTakeSound begins to render a take. Extra names jacks that the rig did not
// have, and which get channels after those of the take, in their order.
// Captured is what the inputs of the rig captured, nil for 0 V.
func NewTakeSound(t *TakeReader, extra []string, captured *InputsReader) (*TakeSound, error) {
	if t.Head.Version < 2 || t.Head.Scene == "" || t.Head.From != "" {
		return nil, ErrNoSound
	}
	scene, err := t.Scene(t.Head.Scene)
	if err != nil {
		return nil, err
	}
	rate := float64(t.Head.Rate)
	s := &TakeSound{take: t, Engine: instrument.NewEngine(rate, t.Head.Channels+len(extra)), compiler: instrument.NewCompiler(rate, scene.Seed),
		patch: &instrument.Patch{}, tunings: scene.Patch, extra: extra, captured: captured, rig: t.Head.sockets().Inputs}
	if captured != nil {
		s.in = make([][]float32, captured.Channels())
		for c := range s.in {
			s.in[c] = make([]float32, instrument.BlockSize)
		}
		s.cut = make([][]float32, len(s.in))
	}
	s.compiler.SetSockets(t.Head.SocketsWith(extra), s.patch)
	// What the engine did stands in the take from its first plan on.
	if err := s.more(); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if len(s.rows) == 0 {
		return nil, ErrNoSound
	}
	return s, nil
}

// SocketsWith returns where the jacks of the rig are, and those of extra after
// the channels of the take.
func (h *TakeHead) SocketsWith(extra []string) instrument.Sockets {
	s := h.sockets()
	all := instrument.Sockets{Outputs: map[string]int{}, Inputs: s.Inputs}
	for name, at := range s.Outputs {
		all.Outputs[name] = at
	}
	for i, name := range extra {
		if _, ok := all.Outputs[name]; !ok {
			all.Outputs[name] = h.Channels + i
		}
	}
	return all
}

// more reads on until there are rows.
func (s *TakeSound) more() error {
	for !s.ended && len(s.rows) == 0 {
		l, err := s.take.Next()
		if errors.Is(err, io.EOF) {
			s.ended = true
			if s.frames == 0 {
				s.frames = s.told
			}
			return io.EOF
		}
		if err != nil {
			return err
		}
		s.told = max(s.told, l.Present-s.take.Head.Lead-int64(toldWithin*float64(s.take.Head.Rate)))
		switch {
		case l.Plan != nil:
			s.plans = append(s.plans, l.Plan)
			s.listens(l.Plan.Patch.Modules)
		case l.Set != nil:
			if ps := textParam(l.Set.Address); ps != nil && (ps.Tuning || ps.Socket) {
				s.words = append(s.words, l.Set)
			}
		case l.Sockets != nil:
			h := s.take.Head
			h.Sockets = &TakeSockets{l.Sockets.Outputs, l.Sockets.Inputs}
			s.compiler.SetSockets(h.SocketsWith(s.extra), s.patch)
		case l.Scene != "":
			scene, err := s.take.Scene(l.Scene)
			if err != nil {
				return err
			}
			s.tunings = scene.Patch
		case l.Lost != 0:
			return fmt.Errorf("%w: %d lines were lost %s after its beginning", ErrNoSound, l.Lost, l.At)
		case l.Frames != 0:
			s.frames = max(s.frames, l.Frames)
		case l.Applied != nil:
			s.rows = l.Applied
			for _, a := range s.rows {
				if a.Seq != 0 {
					return fmt.Errorf("%w: the engine did more than could be recorded %s after its beginning", ErrNoSound, l.At)
				}
			}
		}
	}
	return nil
}

// listens takes note of modules that hear nothing.
func (s *TakeSound) listens(modules []instrument.Module) {
	if s.captured != nil || s.Unheard || len(s.rig) == 0 {
		return
	}
	for i := range modules {
		if m := &modules[i]; m.Spec() != nil && m.Spec().Captures {
			for _, name := range m.Jacks() {
				if _, ok := s.rig[name]; ok {
					s.Unheard = true
				}
			}
		}
	}
}

func textParam(a mapping.Address) *instrument.ParamSpec {
	id, name, err := a.Split()
	if err != nil {
		return nil
	}
	spec := instrument.Spec(id.Kind())
	if spec == nil {
		return nil
	}
	if k := spec.Param(name); k >= 0 && spec.Params[k].Text {
		return &spec.Params[k]
	}
	return nil
}

// Render fills out, volts by channel, with the next frames of the take, and
// returns how many: fewer than there is room for where something happens or a
// block ends, and none with io.EOF when the take is over. Of a take whose
// recorder was killed that is where all that the engine did, and what its inputs
// captured, is known last.
func (s *TakeSound) Render(out [][]float32) (int, error) {
	e := s.Engine
	for {
		if len(s.rows) == 0 {
			if err := s.more(); err != nil && !errors.Is(err, io.EOF) {
				return 0, err
			}
		}
		if len(s.rows) == 0 || s.rows[0].Frame > e.Frame() {
			break
		}
		a := s.rows[0]
		s.rows = s.rows[1:]
		if a.Frame < e.Frame() {
			return 0, fmt.Errorf("%w: its events are not in order at frame %d", ErrNoSound, a.Frame)
		}
		if err := s.redo(a); err != nil {
			return 0, err
		}
	}
	// In the slices in which it was played: some modules take note of what they
	// heard at the end of each.
	n := min(int64(len(out[0])), instrument.BlockSize-e.Frame()%instrument.BlockSize)
	if len(s.rows) > 0 {
		n = min(n, s.rows[0].Frame-e.Frame())
	} else {
		n = min(n, s.frames-e.Frame())
	}
	if n <= 0 {
		return 0, io.EOF
	}
	cut := make([][]float32, len(out))
	for c := range out {
		cut[c] = out[c][:n]
	}
	var in [][]float32
	if s.captured != nil {
		for c := range s.in {
			s.cut[c] = s.in[c][:n]
		}
		known, err := s.captured.Read(e.Frame(), s.cut)
		if err != nil {
			return 0, err // the recorder was stopped before it had written more
		}
		for c := range s.in {
			s.cut[c] = s.in[c][:known]
		}
		for c := range cut {
			cut[c] = cut[c][:known]
		}
		n, in = int64(known), s.cut
	}
	e.Render(cut, in)
	return int(n), nil
}

// redo does what a row says.
func (s *TakeSound) redo(a instrument.Applied) error {
	if a.Plan == 0 {
		if !a.Cut {
			s.Applied++
			if a.Event.Frame > 0 && a.Event.Frame < a.Frame {
				s.Late++
			}
			if a.Event.Kind == instrument.EventWord {
				s.word(a.Event)
			}
		}
		s.Engine.Redo(a, nil)
		return nil
	}
	for len(s.plans) > 0 && s.plans[0].Generation <= a.Plan {
		p := s.plans[0]
		s.plans = s.plans[1:]
		s.patch = p.Patch
		s.patch.Tunings = s.tunings.Tunings
		plan, err := s.compiler.CompileChange(s.patch, p.Change)
		if err != nil {
			return fmt.Errorf("plan %d of the take: %w", p.Generation, err)
		}
		if plan.Generation != p.Generation {
			return fmt.Errorf("%w: plan %d is missing", ErrNoSound, plan.Generation)
		}
		if p.Generation == a.Plan {
			s.Engine.Redo(a, plan)
			return nil
		}
	}
	return fmt.Errorf("%w: plan %d is missing", ErrNoSound, a.Plan)
}

// word takes over the word that an event tells of.
func (s *TakeSound) word(e instrument.Event) {
	if len(s.words) == 0 {
		return
	}
	w := s.words[0]
	s.words = s.words[1:]
	id, name, _ := w.Address.Split()
	if m := s.patch.Module(id); m != nil {
		if m.Text == nil {
			m.Text = map[string]string{}
		}
		m.Text[name] = w.Word
		s.compiler.Tune(s.patch)
		s.compiler.Socket(s.patch)
	}
}

// Patch returns the patch that is heard, or about to be; it must not be
// changed.
func (s *TakeSound) Patch() *instrument.Patch { return s.patch }
