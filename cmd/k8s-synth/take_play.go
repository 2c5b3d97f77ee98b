package main

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// retake plays what came in, as a take has it, anew: on a rack without a
// device, a clock and a cluster. From one take it makes the same sound each
// time, but not to the bit that of the live instrument, whose control side
// looked after its engine at moments of its own; for that see
// scenes.TakeSound.
type retake struct {
	take  *scenes.TakeReader
	scene *scenes.Scene
	own   bool // the scenes are the take's
	rack  *mapping.Rack
	rules *ruleSet
	// heard, if set, is told of each line before it is played, and of the frame
	// that the engine renders next.
	heard func(l *scenes.TakeLine, frame int64)
	// refused, if set, is told of what a rack that is another than it was refuses.
	refused func(l *scenes.TakeLine, err error)

	next    *scenes.TakeLine
	over    bool
	frame   int64 // that the engine renders next
	last    int64 // frame of the last line
	frames  int64 // in all, if the take says so
	lead    int64
	stretch float64 // frames of a second here to those of the take

	captured *scenes.InputsReader // nil for 0 V
	in       [][]float32
}

// newRetake sets up a take for a scene, nil for its own, at a sample rate
// in hertz, 0 for its own. Extra names jacks that get channels after those of
// the take; recorded, if not nil, is told of all that comes in.
func newRetake(t *scenes.TakeReader, scene *scenes.Scene, rate float64, extra []string, recorded func(mapping.Input)) (*retake, error) {
	var err error
	own := scene == nil
	if own {
		if scene, err = sceneOfTake(t); err != nil {
			return nil, err
		}
	}
	if rate == 0 {
		rate = float64(t.Head.Rate)
	}
	p := &retake{take: t, scene: scene, own: own, stretch: rate / float64(t.Head.Rate)}
	p.lead = p.at(t.Head.Lead)
	c := t.Head.Config(scene)
	c.SampleRate, c.Program, c.Recorded = rate, compileProgram, recorded
	c.Channels += len(extra)
	c.Sockets = t.Head.SocketsWith(extra)
	if t.Head.Scene == "" {
		c.Namespace = "" // wherever the objects of the take live
	}
	p.rack = mapping.NewRack(c)
	if err := p.rack.Load(scene.Patch); err != nil {
		return nil, fmt.Errorf("scene %s: %w", scene.Name, err)
	}
	if p.rules, err = newRules(scene, p.rack); err != nil {
		return nil, fmt.Errorf("scene %s: rules: %w", scene.Name, err)
	}
	if t.Head.Version < 2 || t.Head.Scene == "" {
		p.rack.Fade(true) // that of a take is in it
	}
	return p, nil
}

// sceneOfTake is the scene with which a take begins.
func sceneOfTake(t *scenes.TakeReader) (*scenes.Scene, error) {
	if t.Head.Scene == "" {
		return nil, errors.New("the take has no scene; name the one that is to play it")
	}
	return t.Scene(t.Head.Scene)
}

// at is a frame of the take, here.
func (p *retake) at(frame int64) int64 {
	if p.stretch == 1 || frame == 0 {
		return frame
	}
	return max(int64(math.Round(float64(frame)*p.stretch)), 1)
}

// block renders the next frames, at most a block of them.
func (p *retake) block(out [][]float32) error {
	n := int64(len(out[0]))
	for {
		if p.next == nil && !p.over {
			l, err := p.take.Next()
			switch {
			case errors.Is(err, io.EOF):
				p.over = true
			case err != nil:
				return err
			default:
				l.Present, l.Frame = p.at(l.Present), p.at(l.Frame)
				p.next = &l
			}
		}
		if p.next == nil || p.next.Present >= p.frame+n+p.lead {
			break
		}
		p.play(p.next)
		p.next = nil
	}
	in := p.in
	for c := range in {
		in[c] = in[c][:n]
	}
	if p.captured != nil {
		// What was not recorded to the end is at 0 V from there on.
		known, _ := p.captured.Read(p.frame, in)
		for c := range in {
			clear(in[c][known:])
		}
	}
	p.rack.Engine.Render(out, in)
	p.frame += n
	p.rack.Pump(p.frame + p.lead)
	p.rack.Topology() // so that what was asked of the cluster is known
	return nil
}

func (p *retake) play(l *scenes.TakeLine) {
	if p.heard != nil {
		p.heard(l, p.frame)
	}
	p.last = max(p.last, l.Present, l.Frame)
	if l.Frames > 0 {
		p.frames = p.at(l.Frames)
	}
	var err error
	switch {
	case l.Scene != "" && p.own:
		err = p.change(l)
	case l.Transition != nil:
		p.rack.Apply(*l.Transition, l.Frame)
		p.rules.apply(*l.Transition, l.Frame)
	case l.Scene != "", l.Action != nil, l.Lost > 0, l.Frames > 0, l.Sockets != nil && p.stretch != 1:
	default:
		err = p.rack.Do(l.Input, 0)
	}
	if err != nil && p.refused != nil {
		p.refused(l, err)
	}
	p.rack.Topology()
}

// change plays another scene.
func (p *retake) change(l *scenes.TakeLine) error {
	s, err := p.take.Scene(l.Scene)
	if err != nil {
		return err
	}
	if l.Launch {
		err = p.rack.Launch(s.Patch, l.Frame, l.Crossfade)
	} else {
		err = p.rack.Load(s.Patch)
	}
	if err != nil {
		return fmt.Errorf("scene %s: %w", s.Name, err)
	}
	p.rules.release()
	p.rack.Play(s.Name, s.Storm, s.StormPolicy, s.Notes())
	p.scene = s
	if p.rules, err = newRules(s, p.rack); err != nil {
		return fmt.Errorf("scene %s: rules: %w", s.Name, err)
	}
	return nil
}

// midiOut tells who asks of what goes out by MIDI.
func (p *retake) midiOut(say func(port string, m midi.Message, frame int64)) {
	p.rack.MIDIOut = func(port string, m midi.Message, frame int64) {
		if frame <= 0 {
			frame = p.frame
		}
		say(port, m, frame)
	}
}

// takeSource renders a take block by block, one way or the other.
type takeSource struct {
	engine *instrument.Engine
	rate   int
	// render fills out and returns how many frames it had, io.EOF at the end.
	render func(out [][]float32) (int, error)
	// exact tells that it sounds to the bit as it was played.
	exact   bool
	channel int // in all
	sound   *scenes.TakeSound
	anew    *retake
	// captured is what the inputs captured, nil where nothing is known of it, and
	// wanted tells that there were inputs.
	captured *scenes.InputsReader
	wanted   bool
	machine  string // that it was played on; empty if that is not known
}

// otherMachine says that a take was played on a machine of another kind than this
// one, empty where it was not, or that is not known.
func otherMachine(was string) string {
	if is := scenes.Machine(); was != "" && was != is {
		return fmt.Sprintf("it was played on a machine of the kind %s, and this is %s: the last bits of its samples are others", was, is)
	}
	return ""
}

// close ends the reading of what inputs captured.
func (s *takeSource) close() {
	if s.captured != nil {
		s.captured.Close()
	}
}

// remarks says what of it is not as it was played.
func (s *takeSource) remarks() (all []string) {
	if s.exact {
		if other := otherMachine(s.machine); other != "" {
			all = append(all, other)
		}
	}
	if s.sound != nil && s.sound.Late > 0 {
		all = append(all, fmt.Sprintf("%d of %d events came too late when it was played, and are heard as late as they were", s.sound.Late, s.sound.Applied))
	}
	switch c := s.captured; {
	case c == nil && s.wanted && (s.sound == nil || s.sound.Unheard):
		all = append(all, "what its inputs captured is left out: they are at 0 V, and it sounds otherwise than it did")
	case c == nil:
	case c.Damaged != nil:
		all = append(all, "it ends early: "+c.Damaged.Error())
	case c.Missing > 0:
		all = append(all, fmt.Sprintf("%d frames of what its inputs captured were lost when it was recorded: they are at 0 V, and it sounds otherwise than it did", c.Missing))
	}
	return all
}

// how tells in a few words what it is.
func (s *takeSource) how() string {
	switch {
	case !s.exact:
		return "played anew"
	case s.captured == nil && s.sound.Unheard || s.captured != nil && s.captured.Missing > 0:
		return "as it was played but for its inputs"
	}
	return "as it was played"
}

// takeHow says how a take is played.
type takeHow struct {
	anew bool // what came in, instead of what it sounded like
	deaf bool // inputs are at 0 V
}

// takeSourceOf opens a take as it sounded or, where that is not known or how, a
// scene, or a rate in Hz (0 is the take's) asks for it, to be played anew. Extra
// names jacks that get channels after those of the take. Tail is how long, in
// seconds, a take that does not say when it ends sounds after its last line.
// Close it.
func takeSourceOf(t *scenes.TakeReader, scene *scenes.Scene, rate int, how takeHow, extra []string, tail float64) (s *takeSource, err error) {
	s = &takeSource{rate: t.Head.Rate, machine: t.Head.Machine, channel: t.Head.Channels + len(extra), wanted: t.Head.Sockets != nil && len(t.Head.Sockets.Inputs) > 0}
	if rate != 0 {
		s.rate = rate
	}
	// Samples of another rate are others.
	if !how.deaf && s.rate == t.Head.Rate {
		if s.captured, err = t.Inputs(); err != nil {
			return nil, fmt.Errorf("%w; --inputs=false plays it without", err)
		}
	}
	defer func() {
		if err != nil {
			s.close()
			s = nil
		}
	}()
	if !how.anew && scene == nil && s.rate == t.Head.Rate {
		sound, err := scenes.NewTakeSound(t, extra, s.captured)
		switch {
		case err == nil:
			s.engine, s.exact, s.sound = sound.Engine, true, sound
			s.render = func(out [][]float32) (int, error) {
				n, err := sound.Render(out)
				if errors.Is(err, scenes.ErrNoSound) {
					err = fmt.Errorf("%w; --anew plays what came in anew", err)
				}
				return n, err
			}
			return s, nil
		case !errors.Is(err, scenes.ErrNoSound) || t.Head.Version >= 2 && t.Head.Scene != "" && t.Head.From == "":
			return s, fmt.Errorf("%w; --anew plays what came in anew", err)
		}
	}
	p, err := newRetake(t, scene, float64(rate), extra, nil)
	if err != nil {
		return s, err
	}
	if s.captured != nil {
		p.captured = s.captured
		for range s.captured.Channels() {
			p.in = append(p.in, make([]float32, instrument.BlockSize))
		}
	}
	ending := false
	s.engine, s.anew = p.rack.Engine, p
	s.render = func(out [][]float32) (int, error) {
		end := p.frames
		if end == 0 && p.over {
			end = p.last + int64(tail*float64(s.rate))
			if !ending && p.frame >= end-int64(fadeSeconds*float64(s.rate)) {
				ending = true
				p.rack.Fade(false)
			}
		}
		n := int64(min(len(out[0]), instrument.BlockSize))
		if end > 0 {
			if n = min(n, end-p.frame); n <= 0 {
				return 0, io.EOF
			}
		}
		cut := make([][]float32, len(out))
		for c := range out {
			cut[c] = out[c][:n]
		}
		return int(n), p.block(cut)
	}
	return s, nil
}
