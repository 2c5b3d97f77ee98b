package instrument

import (
	"math"
	"sync/atomic"
)

const (
	// MaxCrossfade is the longest crossfade between two scenes, in seconds.
	MaxCrossfade = 30

	tailMost     = 20.0 // s: a tail that is still heard then
	tailFade     = 4.0  // s: fades in the end of them
	tailSilence  = 0.3  // s: a tail that is silent for so long is over
	tailAudible  = 5e-4 // V: 80 dB below full scale
	leastFade    = 0.005
	crossfadeOut = "out"
)

// Change says how a plan takes the place of the one before it.
type Change struct {
	// Settled is the newest generation that the engine has adopted and finished
	// fading into (Meters.Settled); what left before it is let go.
	Settled uint64
	// At is the frame at which the engine takes it up, 0 at once.
	At int64
	// Launch tells that the patch is another scene's. What feeds those of its
	// modules that stay, and the device, fades over Crossfade seconds, 0 …
	// MaxCrossfade, from what fed them in the last one, equal in power; modules
	// of the last one play until they are not heard any more. Echoes and rooms
	// ring out, and where Crossfade is 0 what is played by gates does as well:
	// those fall.
	Launch    bool
	Crossfade float64
	// Ended are the crossfades that are over; see Compiler.Ended.
	Ended []uint32
}

// crossfadeSpec is the module that the Compiler puts in front of an input while
// what feeds it changes with the scene. It is in no patch. Its inputs are CVs in
// that what is plugged in is there at once.
var crossfadeSpec = &ModuleSpec{Kind: "crossfade", bypass: -1,
	Inputs:  []JackSpec{{Name: "from", Kind: CV, Poly: true}, {Name: "to", Kind: CV, Poly: true}},
	Outputs: []JackSpec{{Name: crossfadeOut, Kind: Audio}},
	New:     func() Processor { return &crossfade{} }}

// crossfade goes from one signal to another.
type crossfade struct {
	frames  int64 // of the fade
	tail    bool  // what was is at full level until it is silent by itself
	rate    float64
	at      int64 // frames since it began
	quiet   int64 // frames for which the tail is silent
	over    bool
	tailEnd int64 // the frame at which the tail is gone
	done    atomic.Bool
}

// set makes it ready, before it is first played.
func (m *crossfade) set(seconds float64, tail bool) {
	m.frames = int64(max(min(seconds, MaxCrossfade), leastFade) * m.rate)
	if m.tail = tail; tail && seconds == 0 {
		m.frames = 0 // the cable's own fade brings in what comes
	}
	m.tailEnd = int64(tailMost*m.rate) + m.frames
}

func (m *crossfade) Init(sampleRate float64, _ uint64) { m.rate = sampleRate }

// Reset ends it: what was is gone. Audio thread.
func (m *crossfade) Reset() { m.over = true }

// gains are the shares of what was and of what comes. Audio thread.
func (m *crossfade) gains() (from, to float32) {
	x := 1.0
	if m.at < m.frames {
		x = float64(m.at) / float64(m.frames)
		x = x * x * (3 - 2*x) // without a corner at either end
	}
	s, c := math.Sincos(x * math.Pi / 2)
	from, to = float32(c), float32(s)
	if x == 1 {
		from, to = 0, 1
	}
	if m.tail {
		left := float64(m.tailEnd-m.at) / (tailFade * m.rate)
		from = smooth(float32(min(max(left, 0), 1)))
	}
	return from, to
}

// Process renders the crossfade. Audio thread.
func (m *crossfade) Process(io *IO) {
	a, b, out := io.In[0], io.In[1], io.Out[0]
	if m.over {
		m.done.Store(true)
		out.Channels, out.Held = b.Channels, 0
		for c := range b.Channels {
			copy(out.Volts[c][:io.N], b.Volts[c][:io.N])
		}
		return
	}
	out.Channels, out.Held = max(a.Channels, b.Channels), 0
	for i := range io.N {
		from, to := m.gains()
		m.at++
		heard := false
		for c := range out.Channels {
			var v float32
			if s := a.Channel(c); s != nil {
				heard = heard || s[i] > tailAudible || s[i] < -tailAudible
				v = from * s[i]
			}
			if s := b.Channel(c); s != nil {
				v += to * s[i]
			}
			out.Volts[c][i] = v
		}
		if m.quiet++; heard {
			m.quiet = 0
		}
	}
	m.over = m.at >= m.frames && (!m.tail || m.at >= m.tailEnd || m.quiet > int64(tailSilence*m.rate))
}
