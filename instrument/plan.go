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
	// At is the frame at which it is to be taken up, 0 at once.
	At       int64
	steps    []step
	feedback []*feedback
	byHandle []*node // by handle; nil where there is none
	metered  []*node // in the order of the patch
	lamps    []lamp
}

// lamp remembers what a trigger output peaked at since the last report: a
// trigger is twenty times as short as the time between two.
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
	// The compiler's: the jacks that proc was told the channels of, if it was.
	sockets  string
	socketed bool

	// The audio thread's knowledge of where the node stands.
	generation uint64 // newest plan that it is in
	place      int    // among that plan's steps
	ran        bool   // it has been heard
	gone       bool   // it has left, and what it fed has faded
}

// param is one knob on its way.
type param struct {
	ramp  dsp.Ramp   // without CV
	flat  bool       // buf holds the ramp's resting value throughout
	bent  bool       // buf holds what a resting CV makes of it throughout
	by    [3]float32 // knob, volts and attenuverter of that
	whole float32    // of a whole number with CV: what it was last
	buf   *[BlockSize]float32
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
	at         int64 // frame at which the last plan is taken up
	nodes      map[ModuleID]*node
	leaving    map[*node]departure
	builtin    map[string]*dsp.Tuning // those that were asked for
	last       map[*node][]*Signal    // what each node's inputs read in the last plan
	plugged    map[*node]uint64       // which of its inputs had a cable in that
	loops      map[*Signal]*feedback  // of the last plan
	faders     map[socketOf]*node     // crossfades of the last plan, by the input that they feed
	ghosts     map[*node]departure    // nodes of earlier patches that it still plays
	sockets    Sockets
}

// socketOf is an input of a node.
type socketOf struct {
	node  *node
	input int
}

// departure remembers a node that is in the patch no more.
type departure struct {
	generation uint64
	source     []*Signal
	patched    uint64
}

// NewCompiler returns a Compiler for a sample rate in hertz. What modules
// leave to chance follows from the seed and their names alone.
func NewCompiler(sampleRate float64, seed uint64) *Compiler {
	return &Compiler{sampleRate: sampleRate, seed: seed, nodes: map[ModuleID]*node{},
		leaving: map[*node]departure{}, builtin: map[string]*dsp.Tuning{}, last: map[*node][]*Signal{}, faders: map[socketOf]*node{}, ghosts: map[*node]departure{}}
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
	return c.CompileChange(p, Change{Settled: settled})
}

// Ended returns the crossfades that are over: the next plan does without them.
// It may be asked at any time by the thread that compiles.
func (c *Compiler) Ended() (ended []uint32) {
	for _, n := range c.faders {
		if n.proc.(*crossfade).done.Load() {
			ended = append(ended, n.handle)
		}
	}
	slices.Sort(ended)
	return ended
}

// CompileChange is Compile with a say in how the plan takes the place of the
// one before it.
func (c *Compiler) CompileChange(p *Patch, change Change) (*Plan, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if len(p.Modules) > MaxModules {
		return nil, fmt.Errorf("the patch has %d modules; the most is %d", len(p.Modules), MaxModules)
	}
	c.generation++
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
		if d.generation <= change.Settled {
			delete(c.leaving, n)
		}
	}
	b := newBuild(c, p, nodes, order, change)
	b.run()
	if len(b.steps) > MaxModules && len(b.steps) > len(order) {
		// There is no room for both: the one that was goes at once.
		b = newBuild(c, p, nodes, order, Change{})
		b.plain = true
		b.run()
	}
	// What was played and is not in the plan any more leaves it with a fade.
	leave := func(n *node, source []*Signal, patched uint64) {
		if !b.there[n] {
			c.leaving[n] = departure{c.generation, source, patched}
		}
	}
	for n, source := range c.last {
		leave(n, source, c.plugged[n])
	}
	c.at = max(c.at, change.At)
	plan := &Plan{Generation: c.generation, At: c.at, feedback: b.feedback, metered: order}
	meter := 0
	for _, n := range order {
		for j, s := range n.out {
			if n.spec.Outputs[j].Kind == Trigger && meter < MaxMeters {
				plan.lamps = append(plan.lamps, lamp{source: s, meter: meter})
			}
			meter++
		}
	}
	// A loop that was opened moves on while what it fed fades.
	for sig, f := range c.loops {
		if b.loops[sig] == nil {
			plan.feedback = append(plan.feedback, f)
		}
	}
	slices.SortFunc(plan.feedback, func(a, b *feedback) int { return cmp.Compare(a.source.node.handle, b.source.node.handle) })
	var gone []step
	for n, d := range c.leaving {
		gone = append(gone, step{node: n, source: d.source, patched: d.patched, leaving: true})
	}
	slices.SortFunc(gone, func(a, b step) int { return cmp.Compare(a.node.handle, b.node.handle) })
	plan.steps = arrange(append(gone, b.steps...), c.last)
	// What is read now, and what was and is about to fade.
	wanted := map[*Signal]bool{}
	for _, reads := range []map[*node][]*Signal{b.last, c.last} {
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
	c.nodes, c.last, c.plugged, c.loops, c.faders, c.ghosts = nodes, b.last, b.plugged, b.loops, b.faders, b.ghosts
	c.Tune(p)
	c.Socket(p)

	plan.byHandle = make([]*node, c.nextHandle+1)
	for _, n := range order {
		plan.byHandle[n.handle] = n
	}
	return plan, nil
}

// build is a plan in the making: nodes in the order in which they run.
type build struct {
	c       *Compiler
	change  Change
	plain   bool // nothing of earlier patches goes on
	patch   *Patch
	nodes   map[ModuleID]*node
	order   []*node
	inPatch map[*node]bool
	cables  map[JackRef]Cable

	state    map[*node]int
	there    map[*node]bool
	steps    []step
	feedback []*feedback
	last     map[*node][]*Signal
	plugged  map[*node]uint64
	loops    map[*Signal]*feedback
	faders   map[socketOf]*node
	ghosts   map[*node]departure
	departed map[*node]departure // what earlier patches have, and this one has not
	later    []*node             // to be visited when nothing is being visited
	rung     map[*node]int       // whether it rings: 1 no, 2 yes
}

func newBuild(c *Compiler, p *Patch, nodes map[ModuleID]*node, order []*node, change Change) *build {
	b := &build{c: c, change: change, patch: p, nodes: nodes, order: order, inPatch: map[*node]bool{}, cables: map[JackRef]Cable{},
		state: map[*node]int{}, there: map[*node]bool{}, last: map[*node][]*Signal{}, plugged: map[*node]uint64{}, loops: map[*Signal]*feedback{},
		faders: map[socketOf]*node{}, ghosts: map[*node]departure{}, departed: map[*node]departure{}, rung: map[*node]int{}}
	for _, n := range order {
		b.inPatch[n] = true
	}
	for _, cb := range p.Cables {
		b.cables[cb.To] = cb
	}
	for n, d := range c.ghosts {
		b.departed[n] = d
	}
	for _, n := range c.nodes {
		if !b.inPatch[n] {
			b.departed[n] = departure{c.generation, c.last[n], c.plugged[n]}
		}
	}
	return b
}

const unseen, visiting, visited = 0, 1, 2

// run visits all that is to be played.
func (b *build) run() {
	if b.change.Launch {
		b.depart()
	}
	for _, n := range b.order {
		b.visit(n)
	}
	// An Audio Out that left is heard until its crossfades are over.
	if !b.plain {
		for _, n := range sortedNodes(b.departed) {
			if n.spec.Kind == "audio_out" && slices.ContainsFunc(b.departed[n].source, b.fades) {
				b.visit(n)
			}
		}
	}
	for len(b.later) > 0 {
		n := b.later[0]
		b.later = b.later[1:]
		b.visit(n)
	}
	for at, x := range b.faders {
		if !b.there[x] {
			delete(b.faders, at) // nobody hears it
		}
	}
}

func sortedNodes(all map[*node]departure) (list []*node) {
	for n := range all {
		list = append(list, n)
	}
	slices.SortFunc(list, func(a, b *node) int { return cmp.Compare(a.handle, b.handle) })
	return list
}

// fades tells whether a signal comes from a crossfade that is not over.
func (b *build) fades(sig *Signal) bool {
	if sig == nil || sig.node == nil || sig.node.spec != crossfadeSpec {
		return false
	}
	return !slices.Contains(b.change.Ended, sig.node.handle)
}

// depart settles how the modules that leave with a scene play on, if anybody
// hears them: with the cables that they had.
func (b *build) depart() {
	cut := b.change.Crossfade <= 0
	was := map[*node]departure{}
	for n, d := range b.departed {
		was[n] = d
	}
	for _, n := range sortedNodes(was) {
		d := was[n]
		d.source = slices.Clone(d.source)
		if d.source == nil {
			d.source = make([]*Signal, len(n.in))
		}
		for i, sig := range d.source {
			switch k := n.spec.Inputs[i].Kind; {
			case cut && (k == Gate || k == Trigger || k == Presence):
				if n.spec.Tail == TailNone || n.spec.Inputs[i].Normal == 0 {
					d.source[i] = &unplugged // what is high by itself says how it sounds, not whether
				}
			case k != Audio || sig == nil || sig == &unplugged || b.rings(sig):
			case n.spec.Kind == "audio_out", n.spec.Tail == TailMemory && !cut:
				d.source[i] = b.fade(n, i, sig, &unplugged, false)
			case cut && (n.spec.Tail == TailMemory || !b.gated(n)):
				d.source[i] = &unplugged
			}
			if n.spec.Kind == "audio_out" && sig != nil && d.source[i] == sig && n.spec.Inputs[i].Kind == Audio {
				d.source[i] = b.fade(n, i, sig, &unplugged, true)
			}
		}
		b.departed[n] = d
	}
}

// rings tells whether what was on a cable goes on for a while by itself, after
// what fed it ended.
func (b *build) rings(sig *Signal) bool {
	if sig = base(sig); sig == nil || sig.node == nil {
		return false
	}
	n := sig.node
	if n.spec == crossfadeSpec {
		d := b.departed[n]
		return b.rings(d.source[0]) || b.rings(d.source[1])
	}
	d, gone := b.departed[n]
	if !gone {
		return false // it has other cables now
	}
	switch b.rung[n] {
	case 1:
		return false
	case 2:
		return true
	}
	b.rung[n] = 1
	is := n.spec.Tail == TailMemory || n.spec.Tail == TailRelease && b.change.Crossfade <= 0
	for i := 0; !is && i < len(d.source); i++ {
		if k := n.spec.Inputs[i].Kind; k == Audio || k == CV {
			is = b.rings(d.source[i])
		}
	}
	if is {
		b.rung[n] = 2
	}
	return is
}

// gated tells whether a module that leaves comes to rest when gates have fallen.
func (b *build) gated(n *node) bool {
	if n.spec.Tail == TailRelease {
		return true
	}
	for i, sig := range b.c.last[n] {
		if n.spec.Inputs[i].Kind == CV && b.rings(sig) {
			return true
		}
	}
	return false
}

// base is what comes out of a jack, where a signal is a delayed view of it.
func base(sig *Signal) *Signal {
	if sig != nil && sig.loop != nil {
		return sig.loop.source
	}
	return sig
}

// fade makes a crossfade in front of an input, and returns what comes of it.
func (b *build) fade(n *node, i int, from, to *Signal, tail bool) *Signal {
	x := b.c.hidden(crossfadeSpec)
	x.proc.(*crossfade).set(b.change.Crossfade, tail)
	b.faders[socketOf{n, i}] = x
	b.departed[x] = departure{b.c.generation, []*Signal{from, to}, 3}
	return x.out[0]
}

// reads returns what an input of a module of the patch reads when sig is
// plugged into it: that, or a crossfade to it.
func (b *build) reads(n *node, i int, sig *Signal) *Signal {
	if n.spec.Inputs[i].Kind != Audio || b.plain {
		return sig
	}
	sources, was := b.c.last[n]
	if !was {
		return sig
	}
	old := sources[i]
	if x := b.c.faders[socketOf{n, i}]; x != nil {
		if to := b.departed[x].source[1]; base(to) == orSilence(sig) && b.fades(x.out[0]) {
			b.faders[socketOf{n, i}] = x
			return x.out[0]
		} else if base(to) == orSilence(sig) {
			return sig
		}
	}
	if !b.change.Launch || orSilence(base(old)) == orSilence(sig) {
		return sig
	}
	tail := b.rings(old)
	if b.change.Crossfade <= 0 && !tail {
		return sig // a cable's own fade
	}
	return b.fade(n, i, orSilence(old), orSilence(sig), tail)
}

// orSilence is a signal where there is one, and its normal does not count.
func orSilence(sig *Signal) *Signal {
	if sig == nil || sig.node == nil && sig.loop == nil {
		return &unplugged
	}
	return sig
}

// visit puts a node into the plan, after all that it reads.
func (b *build) visit(n *node) {
	if b.state[n] != unseen {
		return
	}
	b.state[n] = visiting
	b.there[n] = true
	source := make([]*Signal, len(n.in))
	var patched uint64
	if !b.inPatch[n] {
		d := b.departed[n]
		for i, sig := range d.source {
			if sig != &unplugged && sig != nil && sig.node != nil && sig.node.spec == crossfadeSpec && n.spec != crossfadeSpec && !b.fades(sig) {
				sig = &unplugged // it is over
			}
			source[i] = b.link(sig)
		}
		patched = d.patched
		b.ghosts[n] = departure{d.generation, source, patched}
		if n.spec != crossfadeSpec {
			for i, sig := range source {
				if sig != nil && sig.node != nil && sig.node.spec == crossfadeSpec {
					b.faders[socketOf{n, i}] = sig.node
				}
			}
		}
	} else {
		raw := make([]*Signal, len(n.in))
		for i := range n.spec.Inputs {
			cb, ok := b.cables[JackRef{n.id, n.spec.Inputs[i].Name}]
			if ok {
				patched |= 1 << i
				from := b.nodes[cb.From.Module]
				raw[i] = from.out[from.spec.Output(cb.From.Jack)]
			} else if f := n.spec.Input(n.spec.Inputs[i].Follows); f >= 0 {
				// Inputs that are followed come first, so theirs is known.
				if raw[i] = raw[f]; raw[i] == nil {
					raw[i] = n.in[f].normal
				}
			}
			sig := b.reads(n, i, raw[i])
			if sig != raw[i] && ok {
				patched |= 1 << i
			} else if sig != raw[i] {
				patched |= b.c.plugged[n] & (1 << i)
			}
			source[i] = b.link(sig)
		}
	}
	b.state[n] = visited
	b.last[n], b.plugged[n] = source, patched
	b.steps = append(b.steps, step{node: n, source: source, patched: patched})
}

// link visits what a signal comes from. Where that is being visited the cable
// closes a loop, and its delayed view is what is read.
func (b *build) link(sig *Signal) *Signal {
	if sig == nil {
		return nil
	}
	if f := sig.loop; f != nil {
		b.keep(f)
		b.later = append(b.later, f.source.node)
		return sig
	}
	if sig.node == nil {
		return sig
	}
	if b.state[sig.node] == unseen {
		b.visit(sig.node)
	}
	if b.state[sig.node] == visiting {
		f := b.loops[sig]
		if f == nil {
			// A loop that stays keeps what is in its delay.
			if f = b.c.loops[sig]; f == nil {
				f = &feedback{source: sig, ring: &Signal{Channels: 1}, view: &Signal{Channels: 1}}
				f.view.loop = f
			}
			b.keep(f)
		}
		return f.view
	}
	return sig
}

// keep has a loop's delay moved.
func (b *build) keep(f *feedback) {
	if b.loops[f.source] == nil {
		b.loops[f.source] = f
		b.feedback = append(b.feedback, f)
	}
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
	n := c.bare(m.ID, s)
	for i := range s.Params {
		n.params[i].buf = new([BlockSize]float32)
		n.params[i].ramp.Init(c.sampleRate)
		n.params[i].ramp.SetSeconds(rampSeconds)
		if !s.Params[i].Text {
			n.params[i].ramp.Jump(float32(m.Value(s.Params[i].Name)))
		}
		n.io.Params = append(n.io.Params, n.params[i].buf)
	}
	n.jacks()
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

// hidden makes a node that stands for no module of a patch.
func (c *Compiler) hidden(s *ModuleSpec) *node {
	n := c.bare("", s)
	n.jacks()
	n.bypass.Init(c.sampleRate)
	n.proc.Init(c.sampleRate, c.seed)
	return n
}

func (c *Compiler) bare(id ModuleID, s *ModuleSpec) *node {
	c.nextHandle++
	return &node{id: id, spec: s, handle: c.nextHandle, proc: s.New(),
		params: make([]param, len(s.Params)), in: make([]input, len(s.Inputs)), out: make([]*Signal, len(s.Outputs))}
}

func (n *node) jacks() {
	s := n.spec
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
}
