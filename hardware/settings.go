package hardware

import (
	"fmt"
	"log/slog"
	"math"
	"strings"
)

// BlockFrames is the number of frames that Renderer.Render is asked for at a time.
const BlockFrames = 64

// MaxChannels is the most output channels that a device can have here.
const MaxChannels = 64

// ChannelSet is a set of output channels: bit i is channel i, counted from 0.
type ChannelSet uint64

// Channels makes a set of the given channels, counted from 0.
func Channels(index ...int) ChannelSet {
	var s ChannelSet
	for _, i := range index {
		s |= 1 << uint(i)
	}
	return s
}

// Has reports whether channel i is in the set.
func (s ChannelSet) Has(i int) bool { return s>>uint(i)&1 == 1 }

// Renderer produces sound. Render fills out, one slice a channel, all of the same length
// (BlockFrames), with volts. in holds what was captured, one slice a channel, or is nil when nothing is.
// It is called from one goroutine that is locked to its own thread, and must not allocate, block or lock.
type Renderer interface {
	Render(out, in [][]float32)
}

// Settings say which device is opened and how. The zero value is a stereo device of the system's
// choice at 48 kHz.
type Settings struct {
	// Backend is "" (the first that opens: pulse, alsa, jack; the system's own elsewhere), one of
	// Backends, or "null", which keeps time and makes no sound.
	Backend string
	// Device is an id or a part of a name as Devices lists them, or "" for the default.
	// A raw ALSA id such as "hw:2,0" is taken as it stands.
	Device string
	// Rate in Hz; 0 is 48000.
	Rate int
	// Period is the device's block in frames, 16 to 8192; 0 is 128, and 256 with PulseAudio. The device may
	// choose another.
	Period int
	// Periods in the device's own buffer, 2 to 16; 0 is 3.
	Periods int
	// Depth of the ring in front of the device, in blocks of 64 frames, 1 to 256; 0 is 8 (10.7 ms at
	// 48 kHz, several times the worst lag of the render goroutine with real-time priority; without, no
	// depth is safe on a busy machine).
	Depth int
	// Channels is the number of outputs, 1 to 64; 0 is 2.
	Channels int
	// Capture is the number of inputs, 0 to 64. With any, Render is given what they captured, in volts,
	// by the full scale of the outputs of the same numbers.
	Capture int
	// CaptureDevice is what Device is, for capture; "" is the same device where that can be told, else
	// the default of the same backend.
	CaptureDevice string
	// Converter stands between the renderer's volts and the device; with one, Channels, Capture, CV, Gate
	// and the full scales are not looked at.
	Converter Converter
	// CV are the channels that carry control voltages: they hold their value when the ring runs
	// empty, and are scaled by CVFullScale.
	CV ChannelSet
	// Gate are channels that carry gates. They are treated as CV, and fall to 0 V at once on Close.
	Gate ChannelSet
	// FullScale is the voltage that becomes 1.0 on audio channels; 0 is 5 V (Eurorack audio is ±5 V).
	FullScale float64
	// CVFullScale is the same for CV and gate channels; 0 is 10 V, what DC-coupled interfaces give.
	CVFullScale float64
	// Priority is the SCHED_FIFO priority asked for the render thread, 1 to 95; 0 is 50, below
	// the audio server's, above everything that is not audio. The process's other threads get the lowest
	// real-time priority while the device plays. Negative: do not ask for either.
	Priority int
	// Panicked, if set, lets Device.Panic silence what was rendered and is not played yet. It is asked
	// after each Render, and returns the number of the newest panic that the renderer has obeyed (one
	// of those that Device.Panic returned, or 0), and how many of the frames that it rendered last come
	// after that, and so may be heard. Audio thread.
	Panicked func() (number uint32, after int)
	// anyPeriod tells that Period was left to us.
	anyPeriod bool
	// What the converter says of the playback channels: which hold in an underrun, which of them fall at
	// once where the others slew, and which are words.
	hold, gates, exact ChannelSet
	panics             *panicCount // nil without Panicked
	// Logger gets one line at each change of state; nil is slog.Default().
	Logger *slog.Logger
}

// A PulseAudio client gets its time from a server without real-time priority: of three periods of 128
// frames a busy server found more empty than it did of longer ones (343 gaps in 22 s to 30 in 19 s with 512).
const (
	defaultPeriod = 128
	pulsePeriod   = 256
)

// exacting tells that what is played or captured must not be resampled or mixed on the way.
func (s Settings) exacting() bool { return s.Converter != nil || s.hold|s.exact != 0 || s.Capture > 0 }

// ApplyDefaults returns s with every zero value replaced by its default, or an error that names the first
// setting that is out of range.
func (s Settings) ApplyDefaults() (Settings, error) {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&s.Rate, 48000)
	s.anyPeriod = s.anyPeriod || s.Period == 0
	def(&s.Period, defaultPeriod)
	def(&s.Periods, 3)
	def(&s.Depth, 8)
	def(&s.Channels, 2)
	def(&s.Priority, 50)
	if s.FullScale == 0 {
		s.FullScale = 5
	}
	if s.CVFullScale == 0 {
		s.CVFullScale = 10
	}
	if s.Logger == nil {
		s.Logger = slog.Default()
	}
	s.Backend = strings.ToLower(strings.TrimSpace(s.Backend))
	s.hold, s.gates, s.exact = s.CV|s.Gate, s.Gate, 0
	if c := s.Converter; c != nil {
		var outputs, inputs int
		outputs, inputs, s.Channels, s.Capture = c.Shape()
		if outputs < 0 || inputs < 0 {
			return s, fmt.Errorf("a converter of %d outputs and %d inputs is none", outputs, inputs)
		}
		s.CV, s.Gate = 0, 0
		s.exact = c.Exact()
		s.hold, s.gates = c.Hold()|s.exact, 0
		if g, ok := c.(interface{ Gates() ChannelSet }); ok {
			s.gates = g.Gates()
		}
	}
	for _, r := range []struct {
		name      string
		v, lo, hi int
		unit      string
	}{
		{"rate", s.Rate, 8000, 384000, "Hz"},
		{"period", s.Period, 16, 8192, "frames"},
		{"periods", s.Periods, 2, 16, "periods"},
		{"depth", s.Depth, 1, 256, "blocks of 64 frames"},
		{"channels", s.Channels, 1, MaxChannels, "channels"},
		{"capture", s.Capture, 0, MaxChannels, "channels"},
	} {
		if r.v < r.lo || r.v > r.hi {
			return s, fmt.Errorf("audio %s %d is out of range: use %d to %d %s", r.name, r.v, r.lo, r.hi, r.unit)
		}
	}
	if s.Priority > 95 {
		return s, fmt.Errorf("audio priority %d is out of range: use 1 to 95, or a negative number for none", s.Priority)
	}
	for name, v := range map[string]float64{"full scale": s.FullScale, "CV full scale": s.CVFullScale} {
		if !(v > 0) || math.IsInf(v, 0) {
			return s, fmt.Errorf("audio %s of %g V is out of range: use a voltage above 0, such as 5", name, v)
		}
	}
	if s.Channels < 64 && (s.hold|s.gates|s.exact)>>uint(s.Channels) != 0 {
		return s, fmt.Errorf("a CV or gate channel is beyond the last of %d channels: raise the number of channels", s.Channels)
	}
	if s.Backend != "" && s.Backend != "null" {
		if _, err := backendNumber(s.Backend); err != nil {
			return s, err
		}
	}
	return s, nil
}
