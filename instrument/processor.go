package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

// Processor is the sound of one module. All its methods but Init run on the
// audio thread.
//
// What it puts out must not depend on how a stretch of time is cut into
// slices, because slices end wherever an event falls; a test holds every
// registered module to it.
type Processor interface {
	// Init makes the processor ready for a sample rate in hertz. Seed is for
	// whatever it leaves to chance. It may allocate.
	Init(sampleRate float64, seed uint64)
	// Reset returns to silence. Audio thread.
	Reset()
	// Process renders io.N frames from io.In to io.Out. Audio thread.
	Process(io *IO)
}

// Receiver is a Processor that takes events of its own: levels and triggers
// that the cluster sends to its output jacks.
type Receiver interface {
	// Receive takes one event, at the frame at which it is due. Audio thread.
	Receive(e Event)
}

// Tuned is a Processor whose module has a param that names a tuning.
type Tuned interface {
	// Tune gives it the tuning that it is to use from now on. It is called after
	// Init, at any time, from the thread that compiles patches.
	Tune(t *dsp.Tuning)
}

// IO is what a Processor works on during one slice.
type IO struct {
	// N is the number of frames, 1 to BlockSize.
	N int
	// Frame counts frames since the engine started; the slice begins there.
	Frame int64
	// In holds a signal for each input jack, Out one for each output jack;
	// Out keeps what was written in the slice before, and its Channels.
	In, Out []*Signal
	// Params holds each param frame by frame, CV and ramps included.
	Params []*[BlockSize]float32
	// Patched has bit i set when a cable is in input i, or was a moment ago.
	Patched uint64
	// Wanted has bit i set when something reads output i, or did a moment ago;
	// a module may save itself the rest.
	Wanted uint64
	// Master is the instrument's own fade, 0…1, for modules that feed a device.
	Master *[BlockSize]float32
	// Live tells that gates may go out: the instrument has been faded in, or
	// fades in, there is no panic, and the module does not leave.
	Live bool
	// Device holds the output channels of the audio device, in volts; a
	// module that feeds it adds to what is there.
	Device [][]float32
	// Captured holds what came in on the channels of the audio device, in volts;
	// it is empty where nothing is captured, and not to be written.
	Captured [][]float32

	handle uint32
	engine *Engine
	params []param
	spec   *ModuleSpec
}

// Knob returns param i, which must be declared with PolyCV, as channel c has
// it: the knob itself, or with its CV in buf. Only the slice's frames count.
// Audio thread.
func (io *IO) Knob(i, c int, buf *[BlockSize]float32) *[BlockSize]float32 {
	var tie cvParam
	for _, k := range io.spec.polyCV {
		if k.param == i {
			tie = k
		}
	}
	cv := io.In[tie.input].Channel(c)
	if cv == nil || io.Patched&(1<<tie.input) == 0 && cv[0] == 0 {
		return io.Params[i]
	}
	copy(buf[:io.N], io.Params[i][:])
	io.spec.Params[i].add(buf[:io.N], cv, io.Params[tie.att])
	return buf
}

// add turns the knob of buf by its CV, and keeps it in its range. Audio thread.
func (p *ParamSpec) add(buf []float32, cv, att *[BlockSize]float32) {
	lo, hi, per := float32(p.Min), float32(p.Max), float32(p.PerVolt)
	if p.Curve == Exponential {
		for i := range buf {
			buf[i] = min(max(buf[i]*dsp.Exp2(per*att[i]*cv[i]), lo), hi)
		}
		return
	}
	for i := range buf {
		buf[i] = min(max(buf[i]+per*att[i]*cv[i], lo), hi)
	}
}

// rests tells whether param i is one value throughout the slice. It may say
// no where it is. Audio thread.
func (io *IO) rests(i int) bool {
	return i < len(io.params) && (io.params[i].flat || io.params[i].bent)
}

// Changed tells the control side that param or input i of this module took a
// new value: what a knob with CV came to, which way a watched gate went, or
// what an input read. It returns whether there was room to say so.
// Audio thread.
func (io *IO) Changed(kind EventKind, i int, offset int, value float32) bool {
	return io.engine.report(Event{Frame: io.Frame + int64(offset), Kind: kind, Module: io.handle, Index: uint8(i), Value: value})
}

// tell is Changed for one channel of an input. Audio thread.
func (io *IO) tell(kind EventKind, i, channel, offset int, value float32) bool {
	if io.engine == nil {
		return true // it plays alone
	}
	return io.engine.report(Event{Frame: io.Frame + int64(offset), Kind: kind, Module: io.handle, Index: uint8(i), Channel: uint8(channel), Value: value})
}

// EventKind says what an Event does.
type EventKind uint8

const (
	// To the engine.

	EventParam   EventKind = iota // param Index of Module goes to Value
	EventInput                    // input jack Index reads Value while nothing is plugged in
	EventLevel                    // output jack Index of a cluster module goes to Value on Channel
	EventPulse                    // output jack Index of a cluster module gives a trigger on Channel
	EventPanic                    // within a block every module is reset and all gates are low; from the engine, that they are, from Frame on
	EventFadeIn                   // the master fade rises to 1
	EventFadeOut                  // the master fade falls to 0
	EventWord                     // text param Index of Module is another, for the Journal alone: how the word is used the Compiler has seen to

	// From the engine.

	EventWish   // param Index of Module, which the cluster hears of, came to Value, CV included
	EventGate   // a watched input of Module rose (Value 1) or fell (Value 0); a Service's or Ingress' request that is to be made; a Controller's reconciliation by its program; a note of a MIDI Out on Channel, or its clock
	EventSample // input Index of Module read Value, told because the EventGate after it needs it; of a MIDI Out on Channel, and as it moves
	EventBeat   // a Clock came to beat Index of its bar, from 0, Value frames before Frame; Channel 1 is the first after a reset
)

// Event is one thing that happens at one frame. It is a plain value, so that
// queues of events never allocate.
type Event struct {
	// Frame is when it is due; 0 means at once.
	Frame   int64
	Module  uint32 // handle of the module, see Compiler.Handle; a panic's number, see Engine.Panicked
	Value   float32
	Kind    EventKind
	Index   uint8 // of a panic: what tells it from others, which only comes back
	Channel uint8
}
