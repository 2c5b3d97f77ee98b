package instrument

import (
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
)

func scopeSpec() *ModuleSpec {
	return &ModuleSpec{
		Kind: "scope", Title: "Scope", HP: 16, Plus12: 110, Minus12: 20,
		Doc: "Shows two voltages over time, from a trigger on; the picture is taken from outside.",
		New: func() Processor { return &scope{traces: rt.NewLatest[Trace]()} },
		Params: []ParamSpec{
			{Name: "time", Doc: "time that the picture spans", Unit: "s", Min: 0.001, Max: 10, Value: 0.02, Curve: Exponential},
			{Name: "level", Doc: "voltage that the source passes to start a picture", Unit: "V", Min: -10, Max: 10},
			{Name: "source", Doc: "what starts a picture with nothing in trigger; free starts one after the other", Choices: []string{"a", "b", "free"}},
			{Name: "slope", Doc: "which way the source passes the level", Choices: []string{"rising", "falling"}},
			{Name: "channel", Doc: "channel of a polyphonic cable that is shown", Min: 1, Max: MaxPoly, Value: 1, Whole: true},
		},
		Inputs: []JackSpec{
			{Name: "a", Kind: Audio, Poly: true, Doc: "first trace"},
			{Name: "b", Kind: Audio, Poly: true, Doc: "second trace"},
			{Name: "trigger", Kind: Trigger, Doc: "starts a picture, in place of the source"},
		},
		Outputs: []JackSpec{{Name: "triggered", Kind: Trigger, Doc: "a picture began at a trigger"}},
	}
}

const (
	scopeTime = iota
	scopeLevel
	scopeSource
	scopeSlope
	scopeChannel
)

const (
	// scopeHysteresis is how far, in volts, the source must have been on the
	// other side of the level, so that noise does not start a picture.
	scopeHysteresis = 0.05
	// scopePictures bounds the pictures a second: as many as a screen shows.
	scopePictures = 60
	// scopePatience is how long, in seconds, it waits for a trigger before it
	// runs free, at least; long windows wait for their own length.
	scopePatience = 0.1
)

type scope struct {
	rate    float64
	traces  *rt.Latest[Trace]
	trigger dsp.SchmittTrigger
	pulse   dsp.PulseGenerator
	armed   bool
	waiting int64 // frames since it could have begun
	rest    int64 // frames before it may begin
	running bool
	per     int // frames a point
	points  int
	point   int
	within  int // frames of the point
	a, b    Span
}

func (m *scope) Init(sampleRate float64, seed uint64) {
	m.rate = sampleRate
	m.pulse.Init(sampleRate)
}

// Reset gives up the picture that is being taken. Audio thread.
func (m *scope) Reset() {
	m.trigger.Reset()
	m.pulse.Reset()
	m.armed, m.running, m.waiting, m.rest = false, false, 0, 0
}

// Process takes the picture. Audio thread.
func (m *scope) Process(io *IO) {
	io.Out[0].Channels, io.Out[0].Held = 1, 0
	out := &io.Out[0].Volts[0]
	c := int(io.Params[scopeChannel][0]) - 1
	a, _ := io.In[0].read(c)
	b, _ := io.In[1].read(c)
	ext := &io.In[2].Volts[0]
	external := io.Patched&(1<<2) != 0
	source, falling := int(io.Params[scopeSource][0]), io.Params[scopeSlope][0] == 1
	for i := range io.N {
		va, vb := dsp.Rail(a[i]), dsp.Rail(b[i])
		began := m.trigger.Next(ext[i])
		if !external {
			v, l := va, io.Params[scopeLevel][i]
			if source == 1 {
				v = vb
			}
			if falling {
				v, l = -v, -l
			}
			began = source == 2 || m.armed && v >= l
			if v < l-scopeHysteresis {
				m.armed = true
			} else if v >= l {
				m.armed = false
			}
		}
		if !m.running {
			if m.rest > 0 {
				m.rest--
			} else {
				m.waiting++
				free := float64(m.waiting) > m.rate*max(scopePatience, float64(io.Params[scopeTime][i]))
				if began || free {
					m.begin(io, i, began && source != 2 || began && external)
				}
			}
		}
		if m.running {
			m.take(va, vb)
		}
		out[i] = m.pulse.Next()
	}
}

// begin starts a picture at frame i of the slice. Audio thread.
func (m *scope) begin(io *IO, i int, triggered bool) {
	frames := max(1, math.Round(float64(io.Params[scopeTime][i])*m.rate))
	m.per = max(1, int(math.Ceil(frames/TracePoints)))
	m.points = min(max(1, int(frames)/m.per), TracePoints)
	m.point, m.within, m.running, m.waiting = 0, 0, true, 0
	t := m.traces.Writing()
	t.Frame, t.Step, t.Points = io.Frame+int64(i), float64(m.per)/m.rate, m.points
	t.HasA, t.HasB, t.Triggered = io.Patched&1 != 0, io.Patched&2 != 0, triggered
	t.Level = io.Params[scopeLevel][i]
	if triggered {
		m.pulse.Trigger()
	}
}

// take adds a frame to the picture. Audio thread.
func (m *scope) take(a, b float32) {
	if m.within == 0 {
		m.a, m.b = Span{a, a}, Span{b, b}
	} else {
		m.a = Span{min(m.a.Low, a), max(m.a.High, a)}
		m.b = Span{min(m.b.Low, b), max(m.b.High, b)}
	}
	if m.within++; m.within < m.per {
		return
	}
	t := m.traces.Writing()
	t.A[m.point], t.B[m.point] = m.a, m.b
	m.within = 0
	if m.point++; m.point < m.points {
		return
	}
	m.traces.Publish()
	m.running = false
	m.rest = max(0, int64(m.rate/scopePictures)-int64(m.points*m.per))
}

// Trace copies the newest picture of the scope of that name to t, and tells
// whether it is another than the last that was taken. It may be called by one
// goroutine only, the one that compiles; it never waits for the audio thread.
func (c *Compiler) Trace(id ModuleID, t *Trace) bool {
	n := c.nodes[id]
	if n == nil {
		return false
	}
	s, ok := n.proc.(*scope)
	if !ok {
		return false
	}
	latest, fresh := s.traces.Load()
	*t = *latest
	return fresh && t.Points > 0
}
