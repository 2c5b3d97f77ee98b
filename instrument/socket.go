package instrument

import (
	"strings"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Sockets is where the jacks of a rig are: for each name the channel that the
// engine renders to, and the one that what is captured comes in on.
type Sockets struct {
	// Outputs are indices into IO.Device.
	Outputs map[string]int
	// Inputs are indices into IO.Captured.
	Inputs map[string]int
}

// Socketed is a Processor whose module stands for jacks of the rig.
type Socketed interface {
	// Socket tells it the channels of the jacks that its module names, in the
	// order of their names; -1 where the rig has no such jack. It is called after
	// Init, at any time, from the thread that compiles patches.
	Socket(channels []int)
}

// wordSeparators stand between the names of several jacks in one word.
const wordSeparators = " ,\t"

// Jacks returns the names of the rig's jacks that a module stands for: what
// its param jack says or, where that is empty, the module's own name. A
// module without such a param stands for none.
func (m *Module) Jacks() []string {
	s := m.Spec()
	if s == nil {
		return nil
	}
	for k := range s.Params {
		p := &s.Params[k]
		if !p.Socket {
			continue
		}
		names := strings.FieldsFunc(m.Word(p.Name), func(r rune) bool { return strings.ContainsRune(wordSeparators, r) })
		if len(names) == 0 && !p.Optional {
			return []string{m.ID.Name()}
		}
		return names
	}
	return nil
}

// SetSockets tells the modules of the patch where the jacks of the rig are,
// now and in the plans to come.
func (c *Compiler) SetSockets(s Sockets, p *Patch) {
	c.sockets = s
	for _, n := range c.nodes {
		n.socketed = false
	}
	c.Socket(p)
}

// Socket hands the modules of the last plan the channels of the jacks that
// their words name, where those are others than before. Compile does so too;
// a word that is changed in a patch that is being played needs nothing more.
func (c *Compiler) Socket(p *Patch) {
	for i := range p.Modules {
		m := &p.Modules[i]
		n := c.nodes[m.ID]
		if n == nil {
			continue
		}
		proc, ok := n.proc.(Socketed)
		if !ok {
			continue
		}
		names := m.Jacks()
		word := strings.Join(names, " ")
		if n.socketed && n.sockets == word {
			continue
		}
		n.socketed, n.sockets = true, word
		jacks := c.sockets.Outputs
		if m.Spec().Captures {
			jacks = c.sockets.Inputs
		}
		channels := make([]int, len(names))
		for k, name := range names {
			channels[k] = -1
			if at, ok := jacks[name]; ok {
				channels[k] = at
			}
		}
		proc.Socket(channels)
	}
}

// socket is one channel that a module was told of: set from the thread that
// compiles patches, read by the audio thread.
type socket struct{ channel atomic.Int32 } // plus 1; 0 is none

func (s *socket) set(channel int) { s.channel.Store(int32(max(channel, -1)) + 1) }

// setAll sets each socket to its channel, and those that have none to none.
func setAll(channels []int, sockets ...*socket) {
	for k, s := range sockets {
		if k < len(channels) {
			s.set(channels[k])
		} else {
			s.set(-1)
		}
	}
}

// get returns the channel, -1 for none. Audio thread.
func (s *socket) get() int { return int(s.channel.Load()) - 1 }

// outlet puts a voltage on a channel of the device. It fades in where it was
// not before, and out of one that it is to leave, in the time of a cable: with
// what a module that leaves puts there that is a crossfade, and never a step.
type outlet struct {
	at     int // channel that it is on, -1 for none
	share  int // frames of fade that are over
	frames int // of a whole one
	began  bool
}

func (o *outlet) init(sampleRate float64) {
	*o = outlet{at: -1, frames: int(cableSeconds * sampleRate)}
}

// begin plugs one that was nowhere yet into a channel without a fade, for what
// fades in by itself. Audio thread.
func (o *outlet) begin(want int) {
	if !o.began {
		o.began, o.at, o.share = true, want, o.frames
	}
}

// add sends the slice's volts to a channel, -1 for none. Audio thread.
func (o *outlet) add(io *IO, want int, volts []float32) {
	if o.at == want && o.share == o.frames {
		if o.at < 0 || o.at >= len(io.Device) {
			return
		}
		d := io.Device[o.at]
		for i, v := range volts {
			d[i] += v * io.Master[i]
		}
		return
	}
	for i, v := range volts {
		switch {
		case o.at == want:
			o.share = min(o.share+1, o.frames)
		case o.share > 0:
			o.share--
		default:
			o.at, o.share = want, 1
		}
		if o.at >= 0 && o.at < len(io.Device) {
			io.Device[o.at][i] += v * io.Master[i] * smooth(float32(o.share)/float32(o.frames))
		}
	}
}

// inlet reads a voltage from a channel of the device, and fades from one to
// another.
type inlet struct{ at, share, frames int }

func (o *inlet) init(sampleRate float64) {
	*o = inlet{at: -1, frames: int(cableSeconds * sampleRate)}
}

// read writes the slice's volts, 0 V where nothing is captured on a channel.
// Audio thread.
func (o *inlet) read(io *IO, want int, volts []float32) {
	var from []float32
	if o.at >= 0 && o.at < len(io.Captured) {
		from = io.Captured[o.at]
	}
	if o.at == want && o.share == o.frames {
		if from == nil {
			clear(volts)
			return
		}
		for i := range volts {
			volts[i] = dsp.Rail(from[i])
		}
		return
	}
	for i := range volts {
		switch {
		case o.at == want:
			o.share = min(o.share+1, o.frames)
		case o.share > 0:
			o.share--
		default:
			o.share = 1
			if o.at, from = want, nil; o.at >= 0 && o.at < len(io.Captured) {
				from = io.Captured[o.at]
			}
		}
		volts[i] = 0
		if from != nil {
			volts[i] = dsp.Rail(from[i]) * smooth(float32(o.share)/float32(o.frames))
		}
	}
}
