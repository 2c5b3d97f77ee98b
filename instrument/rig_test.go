package instrument

import (
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"
)

const testRate = 48000

// registered are the modules of the instrument without those that the tests
// add to the register.
var registered = registry

func TestMain(m *testing.M) {
	specs = append(append([]*ModuleSpec{}, specs...), sourceSpec(), probeSpec(), delaySpec())
	for _, s := range specs[len(registered):] {
		s.finish()
	}
	os.Exit(m.Run())
}

// source puts out what its function says, on a jack of every kind.
type source struct {
	channels int
	play     func(frame int64, channel int) float32
	kept     float32
	level    *[MaxPoly]float32 // in place of play: one standing voltage a channel
	used     [Presence]bool    // jacks with a cable; set by rig.adopt
}

func sourceSpec() *ModuleSpec {
	s := &ModuleSpec{Kind: "test_source", New: func() Processor { return &source{channels: 1} }}
	for k := Audio; k < Presence; k++ {
		s.Outputs = append(s.Outputs, JackSpec{Name: jackOf(k), Kind: k})
	}
	return s
}

// jackOf names the source's jack of a kind.
func jackOf(k SignalKind) string {
	switch k {
	case Presence:
		k = Gate
	case Selector, Placement:
		k = Pods
	}
	return fmt.Sprintf("out_%d", k)
}

func (s *source) Init(float64, uint64) {}
func (s *source) Reset()               {}
func (s *source) Process(io *IO) {
	for _, o := range io.Out {
		o.Channels = s.channels
	}
	var b [BlockSize]float32
	for c := range s.channels {
		for i := range io.N {
			switch {
			case s.level != nil:
				b[i] = s.level[c]
			case s.play != nil:
				b[i] = s.play(io.Frame+int64(i), c)
			default:
				b[i] = s.kept
			}
		}
		for k, o := range io.Out {
			if s.used[k] {
				copy(o.Volts[c][:io.N], b[:])
			}
		}
	}
}

// probe records what it reads.
type probe struct {
	rec [MaxPoly][]float32
	on  bool // set by rig.adopt; a plan compiled by other means records nothing
}

func probeSpec() *ModuleSpec {
	return &ModuleSpec{Kind: "test_probe", New: func() Processor { return &probe{} },
		Inputs: []JackSpec{{Name: "in", Kind: CV, Poly: true}}}
}

func (p *probe) Init(float64, uint64) {}
func (p *probe) Reset()               {}
func (p *probe) Process(io *IO) {
	if !p.on {
		return
	}
	for c := range io.In[0].Channels {
		p.rec[c] = append(p.rec[c], io.In[0].Volts[c][:io.N]...)
	}
}

// pass puts out a + b, so that a loop through it is only the engine's delay.
type pass struct{}

func delaySpec() *ModuleSpec {
	return &ModuleSpec{Kind: "test_pass", New: func() Processor { return pass{} },
		Inputs:  []JackSpec{{Name: "a", Kind: Audio}, {Name: "b", Kind: Audio}},
		Outputs: []JackSpec{{Name: "out", Kind: Audio}}}
}

func (pass) Init(float64, uint64) {}
func (pass) Reset()               {}
func (pass) Process(io *IO) {
	for i := range io.N {
		io.Out[0].Volts[0][i] = io.In[0].Volts[0][i] + io.In[1].Volts[0][i]
	}
}

// benchSockets are the jacks of a case: those of a module that is tested have
// its name.
var benchSockets = Sockets{Outputs: map[string]int{dutName: 0, "two": 1}, Inputs: map[string]int{dutName: 0, "two": 1}}

// rig is a patch being built and the engine that plays it.
type rig struct {
	t     testing.TB
	patch Patch
	c     *Compiler
	e     *Engine
	plan  *Plan
	chunk int // frames a call
	out   [2][]float32
	// captured is what comes in on the channels of the device.
	captured func(frame int64, channel int) float32
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, c: NewCompiler(testRate, 1), e: NewEngine(testRate, 2), chunk: BlockSize}
	r.c.SetSockets(benchSockets, &r.patch)
	return r
}

func (r *rig) add(id ModuleID, params map[string]float64) *rig {
	r.patch.Modules = append(r.patch.Modules, Module{ID: id, Params: params})
	return r
}

func (r *rig) cable(from, to string) *rig {
	r.t.Helper()
	f, err := ParseJackRef(from)
	if err != nil {
		r.t.Fatal(err)
	}
	g, err := ParseJackRef(to)
	if err != nil {
		r.t.Fatal(err)
	}
	r.patch.Cables = append(r.patch.Cables, Cable{f, g})
	return r
}

// pull removes the cable in an input.
func (r *rig) pull(to string) *rig {
	for i, c := range r.patch.Cables {
		if c.To.String() == to {
			r.patch.Cables = append(r.patch.Cables[:i:i], r.patch.Cables[i+1:]...)
			return r
		}
	}
	r.t.Fatalf("no cable in %s", to)
	return r
}

// remove takes a module out with its cables.
func (r *rig) remove(id ModuleID) *rig {
	var p Patch
	for _, m := range r.patch.Modules {
		if m.ID != id {
			p.Modules = append(p.Modules, m)
		}
	}
	for _, c := range r.patch.Cables {
		if c.From.Module != id && c.To.Module != id {
			p.Cables = append(p.Cables, c)
		}
	}
	r.patch = p
	return r
}

// settled returns the newest generation that the engine has faded into.
func (r *rig) settled() uint64 {
	m, _ := r.e.Meters.Load()
	return m.Settled
}

// adopt compiles the patch and hands the plan over.
func (r *rig) adopt() *rig {
	r.t.Helper()
	p, err := r.c.Compile(r.patch.Clone(), r.settled())
	if err != nil {
		r.t.Fatal(err)
	}
	r.plan = p
	for _, n := range r.c.nodes {
		switch p := n.proc.(type) {
		case *probe:
			p.on = true
		case *source:
			for k := range p.used {
				p.used[k] = p.used[k] || r.patch.feeds(JackRef{n.id, jackOf(SignalKind(k))})
			}
		}
	}
	r.e.Adopt(p)
	return r
}

// feeds tells whether a cable starts at a jack.
func (p *Patch) feeds(j JackRef) bool {
	for _, c := range p.Cables {
		if c.From == j {
			return true
		}
	}
	return false
}

func (r *rig) proc(id ModuleID) Processor {
	r.t.Helper()
	n, ok := r.c.nodes[id]
	if !ok {
		r.t.Fatalf("no module %s", id)
	}
	return n.proc
}

func (r *rig) source(id ModuleID) *source { return r.proc(id).(*source) }
func (r *rig) probe(id ModuleID) *probe   { return r.proc(id).(*probe) }

// send hands an event to the engine.
func (r *rig) send(ev Event) {
	r.t.Helper()
	if !r.e.Inbox.Push(ev) {
		r.t.Fatal("the inbox is full")
	}
}

// event makes an event for a module's param or jack by name.
func (r *rig) event(kind EventKind, id ModuleID, name string, channel int, value float32, frame int64) Event {
	r.t.Helper()
	s := Spec(id.Kind())
	i := -1
	switch kind {
	case EventParam:
		i = s.Param(name)
	case EventInput:
		i = s.Input(name)
	default:
		i = s.Output(name)
	}
	if i < 0 || r.c.Handle(id) == 0 {
		r.t.Fatalf("%s has no %q", id, name)
	}
	return Event{Kind: kind, Module: r.c.Handle(id), Index: uint8(i), Channel: uint8(channel), Value: value, Frame: frame}
}

func (r *rig) param(id ModuleID, name string, v float32) {
	r.t.Helper()
	r.send(r.event(EventParam, id, name, 0, v, 0))
}
func (r *rig) input(id ModuleID, name string, v float32) {
	r.t.Helper()
	r.send(r.event(EventInput, id, name, 0, v, 0))
}
func (r *rig) level(id ModuleID, name string, ch int, v float32) {
	r.t.Helper()
	r.send(r.event(EventLevel, id, name, ch, v, 0))
}
func (r *rig) pulse(id ModuleID, name string, ch int) {
	r.t.Helper()
	r.send(r.event(EventPulse, id, name, ch, 0, 0))
}

// render plays frames and appends them to out.
func (r *rig) render(frames int) *rig {
	var bufs, ins [2][]float32
	for frames > 0 {
		n := min(frames, r.chunk)
		in := ins[:]
		for c := range ins {
			if ins[c] = ins[c][:0]; r.captured == nil {
				in = nil
				break
			}
			for i := range n {
				ins[c] = append(ins[c], r.captured(r.e.frame+int64(i), c))
			}
		}
		for c := range bufs {
			if cap(bufs[c]) < n {
				bufs[c] = make([]float32, n)
			}
			bufs[c] = bufs[c][:n]
		}
		r.e.Render(bufs[:], in)
		for c := range bufs {
			r.out[c] = append(r.out[c], bufs[c]...)
		}
		frames -= n
	}
	return r
}

// seconds plays for a time.
func (r *rig) seconds(s float64) *rig { return r.render(int(math.Round(s * testRate))) }

// settle plays until cables and fades have come to rest, then forgets what
// was recorded.
func (r *rig) settle() *rig {
	r.send(Event{Kind: EventFadeIn})
	r.render(64 * BlockSize)
	r.forget()
	return r
}

// forget empties the recordings.
func (r *rig) forget() {
	r.out = [2][]float32{}
	for _, n := range r.c.nodes {
		if p, ok := n.proc.(*probe); ok {
			p.rec = [MaxPoly][]float32{}
		}
	}
}

func sine(hertz float64, volts float32) func(int64, int) float32 {
	return func(f int64, _ int) float32 {
		return volts * float32(math.Sin(2*math.Pi*math.Mod(hertz*float64(f)/testRate, 1)))
	}
}

func steady(v float32) func(int64, int) float32 { return func(int64, int) float32 { return v } }

// steepest is the largest step from sample to sample, and where it is.
func steepest(b []float32) (step float64, at int) {
	for i := 1; i < len(b); i++ {
		if d := math.Abs(float64(b[i]) - float64(b[i-1])); d > step || math.IsNaN(d) {
			step, at = d, i
		}
	}
	return step, at
}

func peakOf(b []float32) (p float64) {
	for _, v := range b {
		p = max(p, math.Abs(float64(v)))
	}
	return p
}

func rmsOf(b []float32) float64 {
	var s float64
	for _, v := range b {
		s += float64(v) * float64(v)
	}
	return math.Sqrt(s / float64(max(1, len(b))))
}

// rises lists the frames at which a gate or trigger goes high.
func rises(b []float32) (at []int) {
	for i, v := range b {
		if v > 1 && (i == 0 || b[i-1] <= 1) {
			at = append(at, i)
		}
	}
	return at
}

// keepWAV writes what was heard beside a failing test and says where.
func keepWAV(t *testing.T, name string, channels ...[]float32) {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "k8s-synth-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Log(err)
		return
	}
	path := filepath.Join(dir, name+".wav")
	n := len(channels[0])
	size := 4 * n * len(channels)
	b := make([]byte, 0, 44+size)
	u16 := func(v int) { b = binary.LittleEndian.AppendUint16(b, uint16(v)) }
	u32 := func(v int) { b = binary.LittleEndian.AppendUint32(b, uint32(v)) }
	b = append(b, "RIFF"...)
	u32(36 + size)
	b = append(b, "WAVEfmt "...)
	u32(16)
	u16(3) // IEEE float
	u16(len(channels))
	u32(testRate)
	u32(testRate * 4 * len(channels))
	u16(4 * len(channels))
	u16(32)
	b = append(b, "data"...)
	u32(size)
	for i := range n {
		for _, ch := range channels {
			u32(int(math.Float32bits(ch[i] / AudioVolts)))
		}
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Log(err)
		return
	}
	t.Logf("what was heard: %s", path)
}
