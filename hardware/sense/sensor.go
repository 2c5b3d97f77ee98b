package sense

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
)

// Peaks of the codes, in volts. They are peaks of the samples; a code has the same magnitude at
// every sample, so they are RMS values too.
const (
	// PitchCode is what an output that carries pitch gets: 0.199 cent at 1 V an octave.
	PitchCode = 0.166e-3
	// OtherCode is what every other output gets: −80.2 dBFS of 10 V.
	OtherCode = 0.98e-3
)

// MaxJacks is the most outputs, and the most inputs, that a Sensor takes.
const MaxJacks = 64

const (
	defaultRoundTrip = 0.1 // seconds that a round trip may take
	slotFrames       = 64  // of a slot in the ring between the threads
	ringSeconds      = 1   // the analysis may be late by this much
	poll             = 8 * time.Millisecond
	eventQueue       = 1024
)

// Output is a jack that sends.
type Output struct {
	Name  string
	Pitch bool // carries pitch: its code stays below 0.2 cent
}

// Config says what a Sensor listens to.
type Config struct {
	Rate    int      // frames a second, 32000 … 192000
	Outputs []Output // in the order of Tap
	Inputs  []string // in the order of Tap
	// MaxRoundTrip is the longest way from an output to an input and through both converters, in
	// seconds; 0 means 0.1.
	MaxRoundTrip float64
	// RoundTrip is what is expected of it, in frames, as the device says or as it was the last time;
	// 0 is unknown. A wrong one costs a second when the first cable is plugged.
	RoundTrip int
	// Seed of the codes. Two instruments whose cables meet must differ in it.
	Seed   uint64
	Logger *slog.Logger // nil is silent
}

// Sensor finds the cables from outputs to inputs. See the package comment for how.
type Sensor struct {
	cfg  Config
	log  *slog.Logger
	code dsp.Code
	amp  []float32 // of each output's code

	// The audio thread's.
	frame   atomic.Int64 // frames that went through Tap
	enabled atomic.Bool
	slot    uint64
	slots   []float32
	ring    *rt.Ring[header]
	renewed atomic.Bool // the device was opened again

	mu       sync.Mutex // guards the analysis
	a        *analysis
	busy     time.Duration // of the analysis, in all
	load     float64
	loadBusy time.Duration
	loadAt   int64
	lost     uint64

	events chan Event
}

// header tells of one slot of the ring.
type header struct {
	frame int64
	slot  uint32
	n     uint32
}

// NewSensor returns a sensor that is on, and does not analyse until Start or Process.
func NewSensor(cfg Config) (*Sensor, error) {
	switch {
	case cfg.Rate < 32000 || cfg.Rate > 192000:
		return nil, fmt.Errorf("cable sensing at %d frames a second: want 32000 to 192000", cfg.Rate)
	case len(cfg.Outputs) == 0 || len(cfg.Inputs) == 0:
		return nil, errors.New("cable sensing needs at least one output and one input")
	case len(cfg.Outputs) > MaxJacks || len(cfg.Inputs) > MaxJacks:
		return nil, fmt.Errorf("cable sensing from %d outputs to %d inputs: want at most %d of each", len(cfg.Outputs), len(cfg.Inputs), MaxJacks)
	case cfg.MaxRoundTrip < 0 || cfg.MaxRoundTrip > 0.5:
		return nil, fmt.Errorf("a round trip of %g s: want 0 to 0.5", cfg.MaxRoundTrip)
	}
	if cfg.MaxRoundTrip == 0 {
		cfg.MaxRoundTrip = defaultRoundTrip
	}
	s := &Sensor{cfg: cfg, log: cfg.Logger, events: make(chan Event, eventQueue)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.code.Init(cfg.Seed, len(cfg.Outputs))
	s.amp = make([]float32, len(cfg.Outputs))
	for i, o := range cfg.Outputs {
		s.amp[i] = OtherCode
		if o.Pitch {
			s.amp[i] = PitchCode
		}
	}
	s.ring = rt.NewRing[header](ringSeconds * cfg.Rate / slotFrames)
	// One more than the ring holds and one more than the reader has in hand, so that none is written
	// while it is read.
	s.slots = make([]float32, (s.ring.Cap()+2)*s.slotSize())
	s.enabled.Store(true)
	s.a = newAnalysis(cfg, &s.code, s.amp)
	return s, nil
}

func (s *Sensor) slotSize() int { return (len(s.cfg.Outputs) + len(s.cfg.Inputs)) * slotFrames }

// Tap adds each output's code and takes note of what is sent and what came in. out has one slice for
// each of Config.Outputs, in one for each of Config.Inputs, in volts and of one length; jacks that
// are missing count as silent. It implements hardware.Probe. Audio thread.
func (s *Sensor) Tap(out, in [][]float32) {
	n := 0
	if len(out) > 0 {
		n = len(out[0])
	} else if len(in) > 0 {
		n = len(in[0])
	}
	frame := s.frame.Load()
	if !s.enabled.Load() {
		s.frame.Store(frame + int64(n))
		return
	}
	for at := 0; at < n; at += slotFrames {
		s.tap(out, in, frame+int64(at), at, min(n, at+slotFrames))
	}
	s.frame.Store(frame + int64(n))
}

// tap notes the frames from at to end, before their code, and adds it. Audio thread.
func (s *Sensor) tap(out, in [][]float32, frame int64, at, end int) {
	if s.ring.Len() < s.ring.Cap() {
		i := int(s.slot % uint64(s.ring.Cap()+2))
		buf := s.slots[i*s.slotSize() : (i+1)*s.slotSize()]
		for k := range s.cfg.Outputs {
			note(buf[k*slotFrames:(k+1)*slotFrames], out, k, at, end)
		}
		buf = buf[len(s.cfg.Outputs)*slotFrames:]
		for k := range s.cfg.Inputs {
			note(buf[k*slotFrames:(k+1)*slotFrames], in, k, at, end)
		}
		s.ring.Push(header{frame, uint32(i), uint32(end - at)})
		s.slot++
	} else {
		s.ring.Push(header{}) // counts the loss
	}
	for k := range min(len(out), len(s.amp)) {
		s.code.Add(k, s.amp[k], frame, out[k][at:end])
	}
}

// note copies a jack's frames into a slot. Audio thread.
func note(dst []float32, jacks [][]float32, k, at, end int) {
	if k < len(jacks) && len(jacks[k]) >= end {
		copy(dst, jacks[k][at:end])
		return
	}
	clear(dst)
}

// Begin tells that the device was opened anew: the round trip may be another one now. Cables that
// were known are kept until that is clear. It never blocks.
func (s *Sensor) Begin() { s.renewed.Store(true) }

// Expect tells what the round trip probably is, in frames, as the device says. Until a cable shows it
// that is tried first; where one has, it does nothing.
func (s *Sensor) Expect(frames int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if frames > 0 && frames < s.a.maxLag && (!s.a.locked || s.a.guessed()) {
		s.a.expect(frames)
	}
}

// Enable turns the sensor on or off. Off, nothing is added to the outputs, and all cables go.
func (s *Sensor) Enable(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.enabled.Load() == on {
		return
	}
	s.drain()
	if on {
		s.a.begin(s.frame.Load()) // nothing is known of the time between
	} else {
		s.a.clear()
		s.publish()
	}
	s.enabled.Store(on)
}

// Enabled tells whether the sensor is on.
func (s *Sensor) Enabled() bool { return s.enabled.Load() }

// Start analyses in a goroutine of its own until ctx ends.
func (s *Sensor) Start(ctx context.Context) {
	go func() {
		tick := time.NewTicker(poll)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				s.Process()
			}
		}
	}()
}

// Process analyses what Tap has noted so far. Start does it in the background; a renderer that does
// not wait for real time calls it itself, at least once a second of sound.
func (s *Sensor) Process() {
	if s.ring.Len() == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	runtime.LockOSThread() // its CPU time is read
	defer runtime.UnlockOSThread()
	began := threadTime()
	if s.renewed.Swap(false) {
		s.a.renew()
	}
	if s.enabled.Load() {
		s.drain()
	}
	s.busy += threadTime() - began
	if d := s.a.now - s.loadAt; d >= int64(s.cfg.Rate)*2 {
		s.load = (s.busy - s.loadBusy).Seconds() * float64(s.cfg.Rate) / float64(d)
		s.loadBusy, s.loadAt = s.busy, s.a.now
	}
	s.publish()
}

// drain analyses what is in the ring, with s.mu held.
func (s *Sensor) drain() {
	var h header
	for s.ring.Pop(&h) {
		size := s.slotSize()
		s.a.take(h.frame, int(h.n), s.slots[int(h.slot)*size:(int(h.slot)+1)*size])
	}
}

// publish hands over the analysis' events, with s.mu held.
func (s *Sensor) publish() {
	for _, e := range s.a.events {
		verb := "pulled"
		if e.On {
			verb = "plugged"
		}
		s.log.Info("cable "+verb, "output", e.Cable.Output, "input", e.Cable.Input, "polarity", e.Cable.Polarity,
			"gain", round(e.Cable.Gain, 1e-3), "latency", e.Cable.Latency, "snr", round(e.Cable.SNR, 0.1))
		select {
		case s.events <- e:
		default:
			s.lost++
		}
	}
	s.a.events = s.a.events[:0]
}

// Events are the cables that come and go, in order. Of a reader that sleeps for a thousand of them
// the next are lost, and counted; Cables always has the whole picture.
func (s *Sensor) Events() <-chan Event { return s.events }

// Frame is how many frames have gone through Tap: the clock of Event.At and Cable.Since.
func (s *Sensor) Frame() int64 { return s.frame.Load() }

// Cables returns the cables that are plugged, by input and output in the order of Config.
func (s *Sensor) Cables() []Cable {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.a.cables()
}

// Stats tells what the sensor has done and what it costs.
func (s *Sensor) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stats()
}

func (s *Sensor) stats() Stats {
	st := Stats{
		Enabled: s.enabled.Load(), Rate: s.cfg.Rate, Frames: s.frame.Load(), Dropped: s.ring.Dropped(), Gaps: s.a.gaps,
		Latency: -1, Searching: s.a.searching(), Relearned: s.a.relearned, LostEvents: s.lost,
		Load: round(s.load, 1e-4), CPU: s.busy.Seconds(), FalseAlarms: falseAlarms,
	}
	if s.a.locked {
		st.Latency = s.a.lag
	}
	if s.loadAt == 0 && s.a.now > 0 {
		st.Load = s.busy.Seconds() * float64(s.cfg.Rate) / float64(s.a.now)
	}
	return st
}

// Report returns the whole picture, as GET /sense has it.
func (s *Sensor) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := Report{Stats: s.stats(), Cables: s.a.cables()}
	for _, o := range s.cfg.Outputs {
		r.Outputs = append(r.Outputs, OutputState(o))
	}
	for i, name := range s.cfg.Inputs {
		r.Inputs = append(r.Inputs, s.a.input(i, name))
	}
	r.Mixed, r.Split = groups(r.Cables)
	return r
}

// Mixed returns the inputs in which more than one output arrives.
func (s *Sensor) Mixed() []Group {
	m, _ := groups(s.Cables())
	return m
}

func round(v, step float64) float64 { return math.Round(v/step) * step }
