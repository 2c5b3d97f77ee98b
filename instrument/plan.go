package instrument

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// Plan is a patch made ready for the audio thread: nodes in the order in
// which they run, and what each of their inputs reads. It never changes after
// it was made; nodes are shared between plans, so that a module that stays
// keeps its sound.
type Plan struct {
	// Generation counts the plans of one Compiler from 1.
	Generation uint64
	steps      []step
	feedback   []*feedback
	byHandle   []*node // by handle; nil where there is none
	metered    []*node // in the order of the patch
	lamps      []lamp
}

// lamp remembers what a trigger output peaked at since the last report: a
// trigger is thirty times as short as the time between two.
type lamp struct {
	source *Signal
	meter  int // place in Meters.Volts
	peak   float32
}

// step is one node in its place, with the signals that its inputs read.
type step struct {
	node    *node
	source  []*Signal // by input; nil where it reads its normal
	patched uint64    // bit i: a cable is in input i
	wanted  uint64    // outputs that are read, by output
	leaving bool      // in the patch no more, but running until its cables have faded
}

// feedback delays a cable that closes a loop by exactly one block, however
// the block is sliced.
type feedback struct {
	source, ring, view *Signal
	generation         uint64 // newest plan that moves it; the audio thread's
}

// node is one module at work. The audio thread owns all of it once a plan
// with it was adopted.
type node struct {
	id     ModuleID
	spec   *ModuleSpec
	proc   Processor
	handle uint32
	params []param
	still  bool // every param rests
	out    []*Signal
	in     []input
	io     IO
	bypass dsp.Ramp    // share of what goes past the module, 0…1
	tuning *dsp.Tuning // the compiler's: what proc was tuned to

	// The audio thread's knowledge of where the node stands.
	generation uint64 // newest plan that it is in
	place      int    // among that plan's steps
	ran        bool   // it has been heard
	gone       bool   // it has left, and what it fed has faded
}

// param is one knob on its way.
type param struct {
	ramp dsp.Ramp   // without CV
	flat bool       // buf holds the ramp's resting value throughout
	bent bool       // buf holds what a resting CV makes of it throughout
	by   [3]float32 // knob, volts and attenuverter of that
	buf  *[BlockSize]float32
}

// input is one input jack.
type input struct {
	current  *Signal // what it reads; normal where nothing is plugged in
	previous *Signal // what it read before the last plan, while fading
	normal   *Signal
	volts    float32 // of the normal
	mix      *Signal // where a fade is mixed
	held     *Signal // what it read last, where that cannot go on
	patched  bool    // a cable is in it, or was a moment ago
	watch    bool
	high     bool // of a watched gate
}

// Compiler turns patches into plans on the control side. It remembers the
// nodes of modules that stay.
type Compiler struct {
	sampleRate float64
	seed       uint64
	generation uint64
	nextHandle uint32
	nodes      map[ModuleID]*node
	leaving    map[*node]departure
	builtin    map[string]*dsp.Tuning // those that were asked for
	last       map[*node][]*Signal    // what each node's inputs read in the last plan
	plugged    map[*node]uint64       // which of its inputs had a cable in that
	loops      map[*Signal]*feedback  // of the last plan
}

// departure remembers a node that a plan took out of the patch.
type departure struct {
	generation uint64
	source     []*Signal
	patched    uint64
}

// NewCompiler returns a Compiler for a sample rate in hertz. What modules
// leave to chance follows from the seed and their names alone.
func NewCompiler(sampleRate float64, seed uint64) *Compiler {
	return &Compiler{sampleRate: sampleRate, seed: seed, nodes: map[ModuleID]*node{},
		leaving: map[*node]departure{}, builtin: map[string]*dsp.Tuning{}, last: map[*node][]*Signal{}}
}

// Handle returns the number by which events name a module, 0 if the module
// is not in the last plan.
func (c *Compiler) Handle(id ModuleID) uint32 {
	if n := c.nodes[id]; n != nil {
		return n.handle
	}
	return 0
}

// Compile validates the patch and returns its plan. Settled is the newest
// generation that the engine has adopted and finished fading into
// (Meters.Settled); nodes that left before it are let go. After an error the
// compiler is as it was.
func (c *Compiler) Compile(p *Patch, settled uint64) (*Plan, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if len(p.Modules) > MaxModules {
		return nil, fmt.Errorf("the patch has %d modules; the most is %d", len(p.Modules), MaxModules)
	}
	c.generation++
	plan := &Plan{Generation: c.generation}
	nodes := map[ModuleID]*node{}
	var order []*node
	for i := range p.Modules {
		m := &p.Modules[i]
		n := c.nodes[m.ID]
		if n == nil {
			n = c.newNode(m)
		}
		nodes[m.ID] = n
		order = append(order, n)
	}
	for n, d := range c.leaving {
		if d.generation <= settled {
			delete(c.leaving, n)
		}
	}
	for id, n := range c.nodes {
		if nodes[id] == nil {
			c.leaving[n] = departure{c.generation, c.last[n], c.plugged[n]}
		}
	}
	c.nodes = nodes

	// Feedback: an edge to a node that is still being visited closes a loop.
	cableOf := map[JackRef]Cable{}
	for _, cb := range p.Cables {
		cableOf[cb.To] = cb
	}
	plan.metered = order
	meter := 0
	for _, n := range order {
		for j, s := range n.out {
			if n.spec.Outputs[j].Kind == Trigger && meter < MaxMeters {
				plan.lamps = append(plan.lamps, lamp{source: s, meter: meter})
			}
			meter++
		}
	}
	last, plugged := map[*node][]*Signal{}, map[*node]uint64{}
	const unseen, visiting, done = 0, 1, 2
	state := map[*node]int{}
	loops := map[*Signal]*feedback{}
	var visit func(n *node)
	visit = func(n *node) {
		state[n] = visiting
		source := make([]*Signal, len(n.in))
		var patched uint64
		for i := range n.spec.Inputs {
			cb, ok := cableOf[JackRef{n.id, n.spec.Inputs[i].Name}]
			if !ok {
				// Inputs that are followed come first, so theirs is known.
				if f := n.spec.Input(n.spec.Inputs[i].Follows); f >= 0 {
					if source[i] = source[f]; source[i] == nil {
						source[i] = n.in[f].normal
					}
				}
				continue
			}
			patched |= 1 << i
			from := nodes[cb.From.Module]
			sig := from.out[from.spec.Output(cb.From.Jack)]
			if state[from] == unseen {
				visit(from)
			}
			if state[from] == visiting {
				f := loops[sig]
				if f == nil {
					// A loop that stays keeps what is in its delay.
					if f = c.loops[sig]; f == nil {
						f = &feedback{source: sig, ring: &Signal{Channels: 1}, view: &Signal{Channels: 1}}
						f.view.loop = f
					}
					loops[sig] = f
					plan.feedback = append(plan.feedback, f)
				}
				sig = f.view
			}
			source[i] = sig
		}
		state[n] = done
		last[n], plugged[n] = source, patched
		plan.steps = append(plan.steps, step{node: n, source: source, patched: patched})
	}
	for _, n := range order {
		if state[n] == unseen {
			visit(n)
		}
	}
	// A loop that was opened moves on while what it fed fades.
	for sig, f := range c.loops {
		if loops[sig] == nil {
			plan.feedback = append(plan.feedback, f)
		}
	}
	slices.SortFunc(plan.feedback, func(a, b *feedback) int { return cmp.Compare(a.source.node.handle, b.source.node.handle) })
	var gone []step
	for n, d := range c.leaving {
		gone = append(gone, step{node: n, source: d.source, patched: d.patched, leaving: true})
	}
	slices.SortFunc(gone, func(a, b step) int { return cmp.Compare(a.node.handle, b.node.handle) })
	plan.steps = arrange(append(gone, plan.steps...), c.last)
	// What is read now, and what was and is about to fade.
	wanted := map[*Signal]bool{}
	for _, reads := range []map[*node][]*Signal{last, c.last} {
		for _, sources := range reads {
			for _, sig := range sources {
				if sig != nil && sig.loop != nil {
					sig = sig.loop.source
				}
				wanted[sig] = true
			}
		}
	}
	for i := range plan.steps {
		for k, sig := range plan.steps[i].node.out {
			if wanted[sig] {
				plan.steps[i].wanted |= 1 << k
			}
		}
	}
	c.last, c.plugged, c.loops = last, plugged, loops
	c.Tune(p)

	plan.byHandle = make([]*node, c.nextHandle+1)
	for _, n := range order {
		plan.byHandle[n.handle] = n
	}
	return plan, nil
}

// arrange puts steps in an order in which each runs after all that it reads
// and, where that is possible, after all that it read in the last plan, from
// which it is about to fade. Steps that have a choice keep their order.
func arrange(steps []step, last map[*node][]*Signal) []step {
	in := map[*node]bool{}
	for i := range steps {
		in[steps[i].node] = true
	}
	waits := func(s *step, sources []*Signal, done map[*node]bool) bool {
		for _, sig := range sources {
			if sig != nil && sig.node != nil && sig.node != s.node && in[sig.node] && !done[sig.node] {
				return true
			}
		}
		return false
	}
	done := map[*node]bool{}
	order := make([]step, 0, len(steps))
	for len(order) < len(steps) {
		pick := -1
		for i := range steps {
			s := &steps[i]
			if done[s.node] || waits(s, s.source, done) {
				continue
			}
			if !waits(s, last[s.node], done) {
				pick = i
				break
			}
			if pick < 0 {
				pick = i
			}
		}
		done[steps[pick].node] = true
		order = append(order, steps[pick])
	}
	return order
}

// Tune hands the modules of the last plan the tunings that their words in the
// patch name, where those are others than before. Compile does so too; a word
// that is changed in a patch that is being played needs nothing more. Names
// that there are no tunings of change nothing; see Patch.Tuning.
func (c *Compiler) Tune(p *Patch) {
	for i := range p.Modules {
		m := &p.Modules[i]
		n := c.nodes[m.ID]
		if n == nil {
			continue
		}
		tuned, ok := n.proc.(Tuned)
		if !ok {
			continue
		}
		for k := range n.spec.Params {
			if ps := &n.spec.Params[k]; ps.Tuning {
				word := m.Word(ps.Name)
				t := p.Tunings[word]
				if t == nil {
					if t = c.builtin[word]; t == nil {
						t, _ = p.Tuning(word)
						c.builtin[word] = t
					}
				}
				if t != nil && t != n.tuning {
					n.tuning = t
					tuned.Tune(t)
				}
			}
		}
	}
}

func (c *Compiler) newNode(m *Module) *node {
	s := m.Spec()
	c.nextHandle++
	n := &node{id: m.ID, spec: s, handle: c.nextHandle, proc: s.New(),
		params: make([]param, len(s.Params)), in: make([]input, len(s.Inputs)), out: make([]*Signal, len(s.Outputs))}
	for i := range s.Params {
		n.params[i].buf = new([BlockSize]float32)
		n.params[i].ramp.Init(c.sampleRate)
		n.params[i].ramp.SetSeconds(rampSeconds)
		if !s.Params[i].Text {
			n.params[i].ramp.Jump(float32(m.Value(s.Params[i].Name)))
		}
		n.io.Params = append(n.io.Params, n.params[i].buf)
	}
	for i := range s.Inputs {
		in := &n.in[i]
		in.normal = &Signal{}
		in.rest(s.Inputs[i].Normal)
		in.current = in.normal
		in.mix = &Signal{Channels: 1}
		in.held = &Signal{Channels: 1}
		in.watch = s.Inputs[i].Watch
		n.io.In = append(n.io.In, in.current)
	}
	for i := range n.out {
		n.out[i] = &Signal{Channels: 1, node: n}
	}
	n.io.Out = n.out
	n.io.handle, n.io.params, n.io.spec = n.handle, n.params, s
	n.bypass.Init(c.sampleRate)
	n.bypass.SetSeconds(cableSeconds)
	if s.bypass >= 0 {
		n.bypass.Jump(float32(m.Value("bypass")))
	}
	h := fnv.New64a()
	h.Write([]byte(m.ID))
	n.proc.Init(c.sampleRate, c.seed^h.Sum64())
	return n
}
