package mapping

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Input is one thing that came in to a Rack and was not refused, or, as Plan
// and Applied, what became of it in the engine. From the inputs in their order
// a Rack plays the same piece again (see Do); from plans and applied events an
// engine makes the same sound again to the bit. What rules play is no input:
// it follows from the transitions. Exactly one of the fields after Source is
// set.
type Input struct {
	// Present is the frame at which the rack was when it came, that of its last
	// Pump, and Frame the one at which it was to be heard, 0 at once.
	Present int64
	Frame   int64
	Source  string // who did it; empty is the instrument itself

	Transition *Transition
	Set        *SetInput
	MIDI       *MIDIInput
	Port       *PortInput
	Transport  *TransportInput
	Wiring     *Wiring
	Edit       *Edit
	Sensed     *[]SensedCable
	Mode       *Mode
	Problem    *Problem
	Fade       *bool // in
	Kill       *KillInput
	Sockets    *instrument.Sockets
	Panic      bool
	Show       bool

	Plan    *PlanInput
	Applied []instrument.Applied
}

// SetInput is a knob that was turned, a word that was written, or volts that
// were put on a jack; Was is how it stood before.
type SetInput struct {
	Address Address
	Setpoint
	Was Setpoint
}

// MIDIInput is a message that came in by a port.
type MIDIInput struct {
	Port    string
	Message midi.Message
}

// PortInput is a MIDI port that came, or went.
type PortInput struct {
	Name string
	Came bool
}

// TransportInput is a song that was started or stopped without a clock.
type TransportInput struct {
	Port string
	Runs bool
	// Seconds is where in the song that is, from its beginning on; nil where
	// nobody knows.
	Seconds *float64
}

// KillInput is a pod that was to be deleted, by its name or its slot from 0.
type KillInput struct {
	Pod  string
	Slot int
}

// PlanInput is a patch that was made ready for the engine.
type PlanInput struct {
	// Generation is that of the plan, Change what Compiler.CompileChange was
	// told, Settled of it.
	Generation, Settled uint64
	Change              instrument.Change
	Patch               *instrument.Patch
}

// begin opens a call that may be an input. What is called inside of it follows
// from it, and is none.
func (r *Rack) begin() { r.inside++ }

// ended closes what begin opened, and tells whether it is an input that is to be
// recorded.
func (r *Rack) ended(err error) bool {
	r.inside--
	return r.inside == 0 && err == nil && r.cfg.Recorded != nil
}

// record tells of an input.
func (r *Rack) record(in Input) {
	in.Present = r.pumped
	r.cfg.Recorded(in)
}

// Present returns the frame that was the present at the last Pump.
func (r *Rack) Present() int64 { return r.pumped }

// RecordRest tells what the engine has done since the last Pump, for who pumps
// no more.
func (r *Rack) RecordRest() { r.recordApplied() }

// recordApplied tells what the engine has done since.
func (r *Rack) recordApplied() {
	if r.Engine.Journal == nil {
		return
	}
	n := r.Engine.Journal.Len()
	if n == 0 {
		return
	}
	all := make([]instrument.Applied, 0, n)
	var a instrument.Applied
	for r.Engine.Journal.Pop(&a) {
		all = append(all, a)
	}
	r.record(Input{Applied: all})
}

// Do does an input again, to be heard so many frames later than it was then.
// What was asked of the cluster is not asked again: what came of it is among
// the inputs. Plan and Applied do nothing: they follow. It returns why it is
// refused where the rack is another than it was.
func (r *Rack) Do(in Input, later int64) error {
	frame := in.Frame
	if frame > 0 {
		frame = max(frame+later, 1)
	}
	switch {
	case in.Transition != nil:
		r.Apply(*in.Transition, frame)
	case in.Set != nil:
		return r.Set(in.Set.Address, in.Set.Value, in.Set.Word, in.Source, frame)
	case in.MIDI != nil:
		r.MIDI(in.MIDI.Port, in.MIDI.Message, frame)
	case in.Port != nil && in.Port.Came:
		r.PortCame(in.Port.Name)
	case in.Port != nil:
		r.PortGone(in.Port.Name, frame)
	case in.Transport != nil:
		r.Transport(*in.Transport, frame)
	case in.Wiring != nil:
		return r.Rewire(*in.Wiring, in.Source)
	case in.Edit != nil:
		_, refused := r.Adopt(*in.Edit)
		return errors.Join(refused...)
	case in.Sensed != nil:
		r.Sensed(*in.Sensed, frame)
	case in.Mode != nil:
		return r.SetMode(*in.Mode)
	case in.Problem != nil:
		r.Problem(*in.Problem)
	case in.Fade != nil:
		r.Fade(*in.Fade)
	case in.Sockets != nil:
		r.SetSockets(*in.Sockets)
	case in.Panic:
		r.Panic()
	case in.Show:
		r.Show()
	}
	return nil
}

// String says in a few words what came.
func (in *Input) String() string {
	switch {
	case in.Transition != nil:
		t := in.Transition
		return fmt.Sprintf("%s %s %s -> %s", t.Object, t.Field, t.Old, t.New)
	case in.Set != nil && (in.Set.Word != "" || in.Set.Was.Word != ""):
		return fmt.Sprintf("%s %q", in.Set.Address, in.Set.Word)
	case in.Set != nil:
		return fmt.Sprintf("%s %.4g", in.Set.Address, in.Set.Value)
	case in.MIDI != nil:
		return fmt.Sprintf("midi % x from %s", in.MIDI.Message.Bytes(nil), in.MIDI.Port)
	case in.Port != nil && in.Port.Came:
		return "port came: " + in.Port.Name
	case in.Port != nil:
		return "port gone: " + in.Port.Name
	case in.Transport != nil && in.Transport.Runs:
		return "song runs: " + in.Transport.Port
	case in.Transport != nil:
		return "song stands: " + in.Transport.Port
	case in.Wiring != nil:
		return in.Wiring.String()
	case in.Edit != nil:
		return "the topology was edited by " + in.Edit.By
	case in.Sensed != nil:
		var all []string
		for _, p := range *in.Sensed {
			all = append(all, p.Output+arrow+p.Input)
		}
		return "sensed " + strings.Join(all, ", ")
	case in.Mode != nil:
		return "mode " + [...]string{"simulated", "real", "listen_only"}[min(*in.Mode, ListenOnly)]
	case in.Problem != nil:
		return in.Problem.Where + ": " + in.Problem.Text
	case in.Fade != nil && *in.Fade:
		return "fade in"
	case in.Fade != nil:
		return "fade out"
	case in.Kill != nil && in.Kill.Pod != "":
		return "kill pod " + in.Kill.Pod
	case in.Kill != nil:
		return fmt.Sprintf("kill slot %d", in.Kill.Slot+1)
	case in.Sockets != nil:
		return "the rig's jacks are on other channels"
	case in.Panic:
		return "panic"
	case in.Show:
		return "show"
	case in.Plan != nil:
		return fmt.Sprintf("plan %d", in.Plan.Generation)
	}
	return fmt.Sprintf("%d engine events", len(in.Applied))
}

// String says in one line what an edit of the patch does.
func (w *Wiring) String() string {
	var all []string
	for _, c := range slices.Concat(w.Pulled, w.Overruled) {
		all = append(all, "pull "+FormatCable(c))
	}
	for _, m := range w.Removed {
		all = append(all, "remove "+string(m.ID))
	}
	for _, m := range w.Added {
		all = append(all, "add "+string(m.ID))
	}
	for _, c := range w.Plugged {
		all = append(all, "plug "+FormatCable(c))
	}
	for _, c := range w.Let {
		if !slices.Contains(w.Plugged, c) {
			all = append(all, "let in from the case "+FormatCable(c))
		}
	}
	return strings.Join(all, ", ")
}
