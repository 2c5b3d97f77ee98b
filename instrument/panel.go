package instrument

import "github.com/k8s-synth/k8s-synth/dsp"

// panel is what all cluster modules are made of: output jacks whose levels
// and triggers come from the cluster as events, and knobs whose CV makes
// wishes for it. Gates step, CV glides for 10 ms so that no status clicks in
// what it modulates.
type panel struct {
	jacks  []panelJack
	wishes []wish
}

type panelJack struct {
	steps bool
	rests bool // every channel is flat, and the signal has its channels
	on    []panelChannel
}

type panelChannel struct {
	level dsp.Ramp
	pulse dsp.PulseGenerator
	flat  bool // the signal already holds the resting level throughout
}

// plain is a panel that only shows.
type plain struct {
	panel
	kind string
}

func newPanel(kind string) *plain { return &plain{kind: kind} }

func (p *plain) Init(sampleRate float64, seed uint64) { p.panel.init(Spec(p.kind), sampleRate) }

// Process renders the panel and tells of new wishes. Audio thread.
func (p *plain) Process(io *IO) {
	p.tell(io)
	p.write(io, 0, len(p.jacks))
}

func (p *panel) init(spec *ModuleSpec, sampleRate float64) {
	p.jacks = make([]panelJack, len(spec.Outputs))
	for i := range p.jacks {
		o := &spec.Outputs[i]
		n := 1
		if o.Poly {
			n = MaxPoly
		}
		j := &p.jacks[i]
		j.steps = o.Step || o.Kind == Gate || o.Kind == Trigger || o.Kind == Claim || o.Kind == Pods || o.Kind == Pitch
		j.on = make([]panelChannel, n)
		for c := range j.on {
			j.on[c].level.Init(sampleRate)
			j.on[c].level.SetSeconds(max(o.Glide, rampSeconds))
			j.on[c].pulse.Init(sampleRate)
		}
	}
	p.wishes = newWishes(spec, sampleRate)
}

// Reset lowers every gate and level. Audio thread.
func (p *panel) Reset() {
	for i := range p.jacks {
		p.jacks[i].rests = false
		for c := range p.jacks[i].on {
			ch := &p.jacks[i].on[c]
			ch.level.Jump(0)
			ch.pulse.Reset()
			ch.flat = false
		}
	}
}

// Receive takes a level or a trigger from the cluster. Audio thread.
func (p *panel) Receive(e Event) {
	j := &p.jacks[e.Index]
	if int(e.Channel) >= len(j.on) {
		return
	}
	ch := &j.on[e.Channel]
	ch.flat, j.rests = false, false
	switch {
	case e.Kind == EventPulse:
		ch.pulse.Trigger()
	case j.steps:
		ch.level.Jump(e.Value)
	default:
		ch.level.Set(e.Value)
	}
}

// tell reports what knobs with CV came to. Audio thread.
func (p *panel) tell(io *IO) {
	for k := range p.wishes {
		p.wishes[k].tell(io)
	}
}

// level is where the first channel of a jack is, or is going. Audio thread.
func (p *panel) level(k int) float32 { return p.jacks[k].on[0].level.Target() }

// write renders the jacks from first to before last. Audio thread.
func (p *panel) write(io *IO, first, last int) {
	for k := first; k < last; k++ {
		j := &p.jacks[k]
		if j.rests {
			continue
		}
		out := io.Out[k]
		out.Channels = len(j.on)
		j.rests = true
		for c := range j.on {
			ch := &j.on[c]
			if ch.flat {
				continue
			}
			b := &out.Volts[c]
			if ch.pulse.High() || ch.level.Moving() {
				out.Held &^= 1 << c
				j.rests = false
				for i := range io.N {
					b[i] = ch.level.Next()
					if p := ch.pulse.Next(); p > 0 {
						b[i] = max(b[i], p)
					}
				}
				continue
			}
			v := ch.level.Value()
			for i := range b {
				b[i] = v
			}
			ch.flat = true
			out.Held |= 1 << c
		}
	}
}

// strike starts a trigger on a stepping jack at frame i of a slice that is
// already written. Audio thread.
func (p *panel) strike(io *IO, k, c, i int) {
	j, out := &p.jacks[k], io.Out[k]
	ch := &j.on[c]
	ch.pulse.Trigger()
	ch.flat, j.rests = false, false
	out.Held &^= 1 << c
	v, b := ch.level.Value(), &out.Volts[c]
	for ; i < io.N; i++ {
		b[i] = max(v, ch.pulse.Next())
	}
}
