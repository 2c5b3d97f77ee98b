package instrument

import (
	"math"
	"sync/atomic"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument/rt"
)

const (
	// MaxModules is the most modules in one patch.
	MaxModules = 256
	// MaxMeters is the most output jacks whose volts are reported.
	MaxMeters = 4096

	rampSeconds  = 0.010 // a knob takes this long to get where it was turned: no zipper, no lag that a hand feels
	cableSeconds = 0.005 // a cable fades in and out in this time, so that neither end clicks
	wholeBand    = 0.15  // of a whole number, beyond the middle to the next: noise of 20 mV where a volt is one is beyond it less than once a year
	fadeSeconds  = 0.050 // the master fade at start and stop
	// Reports of levels a second: a lamp is on the screen within 50 ms although it
	// waits for the next report, and then for the next frame of the screen.
	meterRate = 48

	inboxSize   = 8192 // events on their way in; at 64 frames a block this is 8192 in 1.3 ms
	pendingSize = 8192 // events waiting for their frame
	outboxSize  = 8192 // events on their way out

	// MaxCaptured is the most channels of what comes in that modules are given.
	MaxCaptured = 128
)

// Meters is what the engine tells of itself, meterRate times a second.
type Meters struct {
	// Frame is the first frame after the report.
	Frame int64
	// Generation is that of the plan in use, Settled that of the newest plan
	// whose cables have all faded in.
	Generation, Settled uint64
	// Peak is the highest absolute volts on each of the first device channels
	// since the last report.
	Peak [MaxPoly]float32
	// Volts is the last sample of the first channel of each output jack, in
	// the order of the patch; see Rack.Volts. Of a trigger it is the highest
	// of any channel since the last report.
	Volts [MaxMeters]float32
	// Late counts events that came after their frame, Overflow those that
	// were applied early because too many waited, Scrubbed the slices in
	// which a module put out something that is not a number.
	Late, Overflow, Scrubbed uint64
}

// Engine renders a patch. Its control side is Inbox, Outbox, Adopt and Meters;
// Render is the only method of the audio thread.
type Engine struct {
	// Inbox takes events, from one goroutine.
	Inbox *rt.Ring[Event]
	// Outbox gives events, to one goroutine.
	Outbox *rt.Ring[Event]
	// Meters gives the newest report, to one goroutine.
	Meters *rt.Latest[Meters]
	// Journal, if set before the first Render, is told all that the engine does
	// at its control side's wish, for one goroutine; see Applied.
	Journal *rt.Ring[Applied]
	// Sliced, if set before the first Render, is called after each slice with
	// the frames in it: for who renders offline and looks into the patch with
	// Output. It is no hook for the audio thread.
	Sliced func(frames int)

	next atomic.Pointer[Plan]

	// All below belongs to the audio thread.
	plan       *Plan
	frame      int64
	pending    []Event // sorted by frame, from pendingAt
	pendingAt  int
	fadeLeft   int       // frames of cable fade to go
	fadeFrames int       // of a whole one
	fade       []float32 // share of what was, by frames to go
	panicLeft  int       // frames until a panic takes everything away
	panicking  Event     // that panic
	obeyed     Event     // the newest panic that has taken everything away, at the first frame after that
	owesPanic  bool      // that is to be reported
	riseLeft   int       // frames until what sounds by itself is back after it
	master     dsp.Ramp
	masterFlat bool // masterBuf holds the master fade at rest throughout
	masterBuf  [BlockSize]float32
	leavingBuf [BlockSize]float32 // the master fade of modules that leave
	lastN      int                // frames of the slice before
	meterEvery int64
	nextMeter  int64
	peak       [MaxPoly]float32
	late       uint64
	overflow   uint64
	scrubbed   uint64
	device     [][]float32
	captured   [][]float32
	journaled  uint64
}

// NewEngine returns a silent engine for a sample rate in hertz and a number
// of device channels. It starts with its master fade at zero; send
// EventFadeIn to be heard.
func NewEngine(sampleRate float64, channels int) *Engine {
	e := &Engine{
		Inbox:      rt.NewRing[Event](inboxSize),
		Outbox:     rt.NewRing[Event](outboxSize),
		Meters:     rt.NewLatest[Meters](),
		pending:    make([]Event, 0, 2*pendingSize),
		fadeFrames: int(cableSeconds * sampleRate),
		meterEvery: int64(sampleRate / meterRate),
		device:     make([][]float32, channels),
		captured:   make([][]float32, 0, MaxCaptured),
	}
	for left := range e.fadeFrames + 1 {
		e.fade = append(e.fade, smooth(float32(left)/float32(e.fadeFrames)))
	}
	e.master.Init(sampleRate)
	e.master.SetSeconds(fadeSeconds)
	return e
}

// Adopt hands the engine the plan that it is to play next; it takes it up at
// its frame, or at the next block where that is past, as soon as no cable is
// fading. Of several only the newest counts.
func (e *Engine) Adopt(p *Plan) { e.next.Store(p) }

// Render fills out, one slice of volts a device channel, with the next
// frames; in is what came in meanwhile, one slice of volts a channel, and may
// be nil. All slices are of one length.
// Audio thread.
func (e *Engine) Render(out, in [][]float32) {
	if len(out) == 0 {
		return
	}
	total := len(out[0])
	for _, ch := range out {
		clear(ch)
	}
	for at := 0; at < total; {
		next := e.next.Load()
		if next != e.plan && e.fadeLeft == 0 && next.At <= e.frame {
			e.take(next)
		}
		e.collect()
		n := min(total-at, BlockSize-int(e.frame%BlockSize))
		if next != e.plan && next.At > e.frame {
			n = int(min(int64(n), next.At-e.frame))
		}
		for e.panicLeft == 0 && e.pendingAt < len(e.pending) {
			ev := e.pending[e.pendingAt]
			if d := ev.Frame - e.frame; d > 0 {
				n = min(n, int(min(d, BlockSize)))
				break
			}
			if e.early(ev) {
				e.note(Applied{Frame: e.frame, Cut: true})
				e.pendingAt++
				ev.Frame = max(e.frame+int64(max(e.fadeLeft, 1)), e.next.Load().At)
				e.insert(ev)
				continue
			}
			e.due()
		}
		if e.fadeLeft > 0 {
			n = min(n, e.fadeLeft)
		}
		if e.panicLeft > 0 {
			n = min(n, e.panicLeft)
		}
		dev := e.device[:min(len(out), len(e.device))]
		for c := range dev {
			dev[c] = out[c][at : at+n]
		}
		e.captured = e.captured[:min(len(in), cap(e.captured))]
		for c := range e.captured {
			e.captured[c] = in[c][at : at+n]
		}
		e.slice(n, dev)
		if e.Sliced != nil {
			e.Sliced(n)
		}
		e.riseLeft = max(e.riseLeft-n, 0)
		if e.panicLeft > 0 {
			if e.panicLeft -= n; e.panicLeft == 0 {
				e.silence()
				e.obeyed, e.owesPanic = e.panicking, true
				e.obeyed.Frame = e.frame + int64(n)
			}
		}
		if e.owesPanic {
			e.owesPanic = !e.report(e.obeyed)
		}
		at += n
		e.frame += int64(n)
		if e.frame >= e.nextMeter {
			e.publish()
		}
	}
}

// Panicked returns the number of the newest EventPanic that has taken
// everything away, 0 before the first, and how many of the frames that were
// rendered come after that. Call it from the thread that renders. Audio thread.
func (e *Engine) Panicked() (number uint32, after int) {
	return e.obeyed.Module, int(min(e.frame-e.obeyed.Frame, math.MaxInt32))
}

// take adopts a plan: each input that reads something else than before
// starts to fade. Audio thread.
func (e *Engine) take(p *Plan) {
	e.plan = p
	e.note(Applied{Frame: e.frame, Plan: p.Generation})
	for _, f := range p.feedback {
		f.generation = p.Generation
	}
	for i := range p.steps {
		nd := p.steps[i].node
		nd.generation, nd.place = p.Generation, i
		if p.steps[i].leaving && !nd.gone {
			if nd.ran {
				e.fadeLeft = e.fadeFrames
			} else {
				nd.gone = true // it came and went between two plans that were played
			}
		}
	}
	for i := range p.steps {
		st := &p.steps[i]
		for j := range st.node.in {
			in := &st.node.in[j]
			src := st.source[j]
			if src == nil {
				src = in.normal
			}
			if k := st.node.spec.Inputs[j].Kind; !st.node.ran && k != Audio {
				// A new module was never at its normal: a gate that is low from
				// the start must not begin with a falling edge.
				in.current = src
				in.patched = st.patched&(1<<j) != 0
				continue
			}
			if in.current != src {
				in.previous, in.current = in.current, src
				e.fadeLeft = e.fadeFrames
				if s := in.previous; (s.node != nil && (s.node.generation != p.Generation || s.node.place >= i)) ||
					(s.loop != nil && s.loop.generation != p.Generation) {
					// It runs no more, or too late: fade from its last volts.
					in.hold(s, e.lastN)
				}
			}
		}
	}
}

// rest sets what the input reads with nothing plugged in. Audio thread.
func (in *input) rest(volts float32) {
	in.volts = volts
	in.normal.Fill(volts)
}

// hold makes the input's past a standing voltage. Audio thread.
func (in *input) hold(s *Signal, n int) {
	in.held.Channels = s.Channels
	for c := range s.Channels {
		v := float32(0)
		if n > 0 {
			v = s.Volts[c][n-1]
		}
		b := &in.held.Volts[c]
		for i := range b {
			b[i] = v
		}
	}
	in.previous = in.held
}

// collect moves what is in the inbox to its place among the pending events.
// Audio thread.
func (e *Engine) collect() {
	var ev Event
	for e.Inbox.Pop(&ev) {
		if ev.Frame == 0 && e.panicLeft == 0 && !e.early(ev) {
			// It would go before all that wait; moving them costs too much. What is
			// due already was told before: a gate that fell at once would rise again.
			for e.panicLeft == 0 && e.pendingAt < len(e.pending) && e.pending[e.pendingAt].Frame <= e.frame && !e.early(e.pending[e.pendingAt]) {
				e.due()
			}
			if e.panicLeft == 0 {
				e.apply(ev)
				continue
			}
		}
		e.insert(ev)
	}
	if e.pendingAt == len(e.pending) {
		e.pending, e.pendingAt = e.pending[:0], 0
	}
}

// due applies the first of the events that wait. Audio thread.
func (e *Engine) due() {
	ev := e.pending[e.pendingAt]
	e.pendingAt++
	if ev.Frame != 0 && ev.Frame < e.frame {
		e.late++
	}
	e.apply(ev)
}

// insert puts an event in its place among those that wait. Audio thread.
func (e *Engine) insert(ev Event) {
	if len(e.pending)-e.pendingAt >= pendingSize {
		// Better early than never: a gate that falls must fall.
		e.overflow++
		if ev.Frame < e.pending[e.pendingAt].Frame {
			e.apply(ev)
			return
		}
		e.apply(e.pending[e.pendingAt])
		e.pendingAt++
	}
	if len(e.pending) == cap(e.pending) {
		n := copy(e.pending, e.pending[e.pendingAt:])
		e.pending, e.pendingAt = e.pending[:n], 0
	}
	i := len(e.pending)
	e.pending = e.pending[:i+1]
	for i > e.pendingAt && e.pending[i-1].Frame > ev.Frame {
		e.pending[i] = e.pending[i-1]
		i--
	}
	e.pending[i] = ev
}

// early tells whether an event is for a module of a plan that was handed over
// but not yet taken up. Audio thread.
func (e *Engine) early(ev Event) bool {
	if ev.Kind >= EventPanic || (e.plan != nil && int(ev.Module) < len(e.plan.byHandle)) {
		return false
	}
	p := e.next.Load()
	return p != e.plan && int(ev.Module) < len(p.byHandle)
}

// apply does what an event says. Audio thread.
func (e *Engine) apply(ev Event) {
	said := ev
	if ev.Kind == EventPanic {
		ev.Module, ev.Index = 0, 0 // number and count are this run's alone
	}
	e.note(Applied{Frame: e.frame, Event: ev})
	switch ev.Kind {
	case EventWord:
		return // it was taken over when it was said
	case EventPanic:
		e.panicking = said
		// What sounds is faded within a block, because a cut is a click; what
		// else happens waits for that.
		e.panicLeft = BlockSize
		return
	case EventFadeIn:
		e.master.Set(1)
		return
	case EventFadeOut:
		e.master.Set(0)
		return
	}
	if e.plan == nil || int(ev.Module) >= len(e.plan.byHandle) {
		return
	}
	n := e.plan.byHandle[ev.Module]
	if n == nil {
		return
	}
	switch ev.Kind {
	case EventParam:
		if int(ev.Index) < len(n.params) {
			p, s := &n.params[ev.Index], &n.spec.Params[ev.Index]
			v := float32(s.Clamp(float64(ev.Value)))
			p.flat, n.still = false, false
			if s.Whole {
				p.ramp.Jump(v)
			} else {
				p.ramp.Set(v)
			}
		}
	case EventInput:
		if int(ev.Index) < len(n.in) && ev.Value == ev.Value {
			n.in[ev.Index].rest(min(max(ev.Value, -12), 12))
		}
	default:
		if r, ok := n.proc.(Receiver); ok && int(ev.Index) < len(n.out) && ev.Channel < MaxPoly {
			r.Receive(ev)
		}
	}
}

// silence resets every module and lets every gate fall. Audio thread.
func (e *Engine) silence() {
	// Twice, because modules that look ahead put out nothing at first.
	e.riseLeft = 2 * e.fadeFrames
	if e.plan == nil {
		return
	}
	for i := range e.plan.steps {
		nd := e.plan.steps[i].node
		e.reset(nd)
		for j := range nd.in {
			if s := &nd.spec.Inputs[j]; s.Kind == Gate || s.Kind == Trigger || s.Kind == Presence {
				nd.in[j].rest(s.Normal)
			}
		}
	}
	for _, f := range e.plan.feedback {
		f.ring.Volts = [MaxPoly][BlockSize]float32{}
	}
}

func (e *Engine) reset(n *node) {
	n.proc.Reset()
	for _, s := range n.out {
		s.Held = 0
		for c := range s.Channels {
			clear(s.Volts[c][:])
		}
	}
}

// slice renders n frames in which no event falls and no block ends. Audio thread.
func (e *Engine) slice(n int, device [][]float32) {
	if e.master.Moving() {
		e.masterFlat = false
		for i := range n {
			e.masterBuf[i] = e.master.Next()
		}
	} else if !e.masterFlat {
		e.masterFlat = true
		for i := range e.masterBuf {
			e.masterBuf[i] = e.master.Value()
		}
	}
	if e.panicLeft > 0 || e.riseLeft > 0 {
		e.masterFlat = false
		for i := range n {
			g := float32(1)
			if e.panicLeft > 0 {
				g = smooth(float32(e.panicLeft-i-1) / BlockSize)
			} else if e.riseLeft > i {
				g = 1 - e.fade[min(e.riseLeft-i-1, e.fadeFrames)]
			}
			e.masterBuf[i] = e.master.Value() * g
		}
	}
	p := e.plan
	if p == nil {
		return
	}
	e.lastN = n
	if e.fadeLeft > 0 {
		// Otherwise nothing is leaving.
		for i := range n {
			e.leavingBuf[i] = e.masterBuf[i] * e.fade[max(e.fadeLeft-i-1, 0)]
		}
	}
	off := int(e.frame % BlockSize)
	for _, f := range p.feedback {
		f.view.Channels = f.ring.Channels
		for c := range f.view.Channels {
			copy(f.view.Volts[c][:n], f.ring.Volts[c][off:off+n])
		}
	}
	for i := range p.steps {
		st := &p.steps[i]
		if st.node.gone {
			continue
		}
		e.step(st, n, device)
	}
	for _, f := range p.feedback {
		f.ring.Channels = max(f.ring.Channels, f.source.Channels)
		for c := range f.ring.Channels {
			if c < f.source.Channels {
				copy(f.ring.Volts[c][off:off+n], f.source.Volts[c][:n])
			} else {
				clear(f.ring.Volts[c][off : off+n])
			}
		}
	}
	if e.fadeLeft > 0 {
		if e.fadeLeft -= n; e.fadeLeft == 0 {
			for i := range p.steps {
				nd := p.steps[i].node
				nd.gone = p.steps[i].leaving
				for j := range nd.in {
					nd.in[j].previous = nil
					nd.in[j].patched = p.steps[i].patched&(1<<j) != 0
				}
			}
		}
	}
	// Two looks in a block find every trigger, which lasts 1 ms: at 32 kHz and
	// above that is at least half a block.
	for i := range p.lamps {
		l := &p.lamps[i]
		for c := range l.source.Channels {
			b := &l.source.Volts[c]
			if b[n-1] > l.peak {
				l.peak = b[n-1]
			}
			if b[n/2] > l.peak {
				l.peak = b[n/2]
			}
		}
	}
	for c := range min(len(device), len(e.peak)) {
		e.peak[c] = max(e.peak[c], dsp.Peak(device[c]))
	}
}

// step runs one node. Audio thread.
func (e *Engine) step(st *step, n int, device [][]float32) {
	nd := st.node
	io := &nd.io
	io.N, io.Frame, io.engine, io.Master, io.Device, io.Captured = n, e.frame, e, &e.masterBuf, device, e.captured
	io.Live = e.master.Target() == 1 && e.panicLeft == 0
	if st.leaving {
		io.Master, io.Live = &e.leavingBuf, false
	} else {
		nd.ran = true
	}
	io.Patched, io.Wanted = st.patched, st.wanted
	for j := range nd.in {
		in := &nd.in[j]
		io.In[j] = in.current
		if in.previous != nil {
			if in.patched {
				io.Patched |= 1 << j
			}
			e.crossfade(in, n)
			io.In[j] = in.mix
		}
		if in.watch && !in.steady(io.In[j]) {
			e.watch(nd, j, io.In[j], n)
		}
	}
	if !nd.still {
		nd.still = true
		for j := range nd.params {
			p := &nd.params[j]
			if p.ramp.Moving() {
				p.bent = false
			}
			if !p.flat && !p.bent || p.ramp.Moving() {
				p.fill(n)
			}
			nd.still = nd.still && (p.flat || p.bent) && !p.ramp.Moving()
		}
	}
	for _, k := range nd.spec.cv {
		p, att := &nd.params[k.param], &nd.params[k.att]
		if io.Patched&(1<<k.input) == 0 && nd.in[k.input].volts == 0 {
			if p.bent {
				p.bent, p.flat = false, false
				p.fill(n)
			}
			continue
		}
		cv := io.In[k.input]
		if cv.held(0) && att.flat && (p.flat || p.bent) {
			// All three rest: once is enough, for as long as they are the same.
			if by := [3]float32{p.ramp.Value(), cv.Volts[0][0], att.buf[0]}; !p.bent || by != p.by {
				p.by, p.bent, p.flat = by, true, false
				v := [1]float32{by[0]}
				nd.spec.Params[k.param].add(v[:], &cv.Volts[0], att.buf)
				if k.whole {
					p.round(v[:])
				}
				for i := range p.buf {
					p.buf[i] = v[0]
				}
			}
			continue
		}
		if p.bent {
			p.bent = false
			p.fill(n)
		}
		p.flat, nd.still = false, false
		nd.spec.Params[k.param].add(p.buf[:n], &cv.Volts[0], att.buf)
		if k.whole {
			p.round(p.buf[:n])
		}
	}
	nd.proc.Process(io)
	if nd.spec.bypass >= 0 {
		nd.pass(n)
	}
	// A module that put out something that is not a number is silenced, and
	// the state that it came from is cleared.
	for _, s := range nd.out {
		for c := range s.Channels {
			if s.Held&(1<<c) == 0 && !finite(s.Volts[c][:n]) {
				e.scrubbed++
				e.reset(nd)
				return
			}
		}
	}
}

// round makes whole numbers of a knob with its CV: the nearest, but the same as
// before as long as that is no farther than the band beyond the middle, so
// that a noise of it does not turn the number to and fro. Audio thread.
func (p *param) round(b []float32) {
	for i, v := range b {
		if d := v - p.whole; d > 0.5+wholeBand || -d > 0.5+wholeBand {
			p.whole = float32(math.Floor(float64(v) + 0.5))
		}
		b[i] = p.whole
	}
}

// unplugged is what comes from a jack without a cable. It is never written.
var unplugged = Signal{Channels: 1, Held: 1}

// pass mixes what the module makes with what goes past it. Audio thread.
func (nd *node) pass(n int) {
	nd.bypass.Set(nd.io.Params[nd.spec.bypass][0])
	if !nd.bypass.Moving() && nd.bypass.Value() == 0 {
		return
	}
	var share [BlockSize]float32
	whole := !nd.bypass.Moving()
	for i := range n {
		share[i] = smooth(nd.bypass.Next())
	}
	for _, t := range nd.spec.through {
		in, out := nd.io.In[t.input], nd.out[t.output]
		if j := &nd.spec.Inputs[t.input]; j.Normal != 0 && nd.io.Patched&(1<<t.input) == 0 {
			in = &unplugged // a normal is the module's own, and no more there than the module
		}
		channels := 1
		if nd.spec.Inputs[t.input].Poly {
			channels = in.Channels
		}
		out.Held = 0
		if whole {
			out.Channels = channels
			for c := range channels {
				copy(out.Volts[c][:n], in.Volts[c][:n])
			}
			continue
		}
		for c := range max(channels, out.Channels) {
			var dry *[BlockSize]float32
			if c < channels {
				dry = &in.Volts[c]
			}
			var wet float32
			for i := range n {
				if wet = out.Volts[c][i]; c >= out.Channels {
					wet = 0
				}
				g := share[i]
				out.Volts[c][i] = wet - g*wet
				if dry != nil {
					out.Volts[c][i] += g * dry[i]
				}
			}
		}
		out.Channels = max(channels, out.Channels)
	}
}

// fill writes the param's next n frames. Audio thread.
func (p *param) fill(n int) {
	if p.ramp.Moving() {
		p.flat = false
		for i := range n {
			p.buf[i] = p.ramp.Next()
		}
		return
	}
	if !p.flat {
		v := p.ramp.Value()
		for i := range p.buf {
			p.buf[i] = v
		}
		p.flat = true
	}
}

// smooth turns a share of the way into one that sets off and arrives slowly: a
// straight fade has two corners, and they click.
func smooth(x float32) float32 { return x * x * (3 - 2*x) }

// crossfade mixes what an input read before with what it reads now. The two
// shares add up to 1 because they are often the same signal. Audio thread.
func (e *Engine) crossfade(in *input, n int) {
	a, b, m := in.previous, in.current, in.mix
	m.Channels = max(a.Channels, b.Channels)
	for c := range m.Channels {
		va, vb := a.Channel(c), b.Channel(c)
		for i := range n {
			g := e.fade[e.fadeLeft-i-1]
			var v float32
			if va != nil {
				v = g * va[i]
			}
			if vb != nil {
				v += (1 - g) * vb[i]
			}
			m.Volts[c][i] = v
		}
	}
}

// steady tells whether a watched gate is known to stay as it is. Audio thread.
func (in *input) steady(s *Signal) bool {
	return s.Held&1 != 0 && (in.high && s.Volts[0][0] >= dsp.SchmittLow || !in.high && s.Volts[0][0] <= dsp.SchmittHigh)
}

// watch reports the edges of a gate that means something to the cluster.
// Audio thread.
func (e *Engine) watch(nd *node, j int, s *Signal, n int) {
	in := &nd.in[j]
	if s.Held&1 != 0 {
		n = 1
	}
	for i, v := range s.Volts[0][:n] {
		told := true
		if !in.high && v > dsp.SchmittHigh {
			told = nd.io.Changed(EventGate, j, i, 1)
			in.high = told
		} else if in.high && v < dsp.SchmittLow {
			told = nd.io.Changed(EventGate, j, i, 0)
			in.high = !told
		}
		if !told {
			return // no room; the next slice tries again, so that no gate stays up
		}
	}
}

// finite tells whether all of b are numbers: the difference of a number to
// itself is 0, that of an infinity or a NaN is not. Audio thread.
func finite(b []float32) bool {
	// Four sums, so that none waits for the last.
	var s, t, u, w float32
	for len(b) >= 4 {
		s += b[0] - b[0]
		t += b[1] - b[1]
		u += b[2] - b[2]
		w += b[3] - b[3]
		b = b[4:]
	}
	for _, v := range b {
		s += v - v
	}
	return s+t+u+w == 0
}

// report queues an event for the control side, if there is room. Audio thread.
func (e *Engine) report(ev Event) bool { return e.Outbox.Push(ev) }

// publish hands the control side a report. Audio thread.
func (e *Engine) publish() {
	e.nextMeter = e.frame + e.meterEvery
	m := e.Meters.Writing()
	m.Frame = e.frame
	m.Peak = e.peak
	e.peak = [MaxPoly]float32{}
	m.Late, m.Overflow, m.Scrubbed = e.late, e.overflow, e.scrubbed
	if p := e.plan; p != nil {
		m.Generation = p.Generation
		m.Settled = p.Generation
		if e.fadeLeft > 0 {
			m.Settled--
		}
		k := 0
		for _, n := range p.metered {
			for _, s := range n.out {
				if k < MaxMeters {
					m.Volts[k] = s.Volts[0][n.io.N-1]
					k++
				}
			}
		}
		for i := range p.lamps {
			l := &p.lamps[i]
			m.Volts[l.meter] = max(m.Volts[l.meter], l.peak)
			l.peak = 0
		}
	}
	e.Meters.Publish()
}
