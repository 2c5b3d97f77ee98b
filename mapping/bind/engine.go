package bind

import (
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// DoKind is what is to be done.
type DoKind uint8

// Kinds of Do.
const (
	DoSet    DoKind = iota // turn the param at Address to Value
	DoVolts                // put Value volts on the input jack at Address
	DoStrike               // give a trigger to the input jack at Address
	DoAction               // do what Action says
)

// Do is one thing that a control asks for.
type Do struct {
	Kind    DoKind
	Address mapping.Address
	Value   float64 // also of the action "position": where on a morph, 0…1
	Action  string  // such as "scene:+1"
	Source  string  // "midi:" and the port, or the OSC client
	At      time.Time

	route *route
}

// Out is one thing that a surface is told.
type Out struct {
	Port    string
	Message midi.Message
	// Address, if not empty, is an OSC control's, and Value where it stands,
	// 0…1; Except is the client that moved it there.
	Address string
	Value   float64
	Except  string
}

// Source returns how a port is called where sources are told apart.
func Source(port string) string { return "midi:" + port }

// oscName is how all OSC clients together are called.
const oscName = "OSC"

const (
	// rest is how long a control must not have moved before it is told where
	// it should be: a motor never fights a hand.
	rest = 300 * time.Millisecond
	// least is the time between two values for one light or motor: 50 a second.
	least = 20 * time.Millisecond
	// round is how long it takes to tell a surface everything again.
	round = 2 * time.Second
	// background is how many bytes a second that takes at most: a DIN cable
	// has room for twice as much beside it.
	background = 1000
	// armAgain is how often a held arm control arms again.
	armAgain = ArmWindow / 2
)

// Engine plays maps on a scene. It belongs to one goroutine. The slices that
// its methods return are good until the next call of the same method.
type Engine struct {
	maps   []*Map
	target Target
	view   *view
	scenes []string
	acts   []string        // "scene:" and each of them
	ports  map[string]port // by the name of each, in and out
	order  []*device
	osc    *device

	bound    map[mapping.Address]*bound
	byAction map[string][]*route
	bySlot   [mapping.SlotCount][]*route
	slots    [mapping.SlotCount]mapping.SlotPhase
	lit      map[string]bool
	source   string // of what is played now
	now      time.Time

	dos, due  []Do
	owed      []Do // what was let go while nobody could be told
	outs      []Out
	scratch   []midi.Message
	takeovers []TakeoverState
	learn     learning
}

// bound is what is bound to one address.
type bound struct {
	routes []*route
	asker  *route // who asked for the last value, and what for
	source string
	asked  float64
}

// phys is what is known of a control that somebody can touch. It outlives
// scenes and mapping files.
type phys struct {
	pos     float64 // 0…1
	known   bool
	down    bool
	touched bool
	channel int // on which it was heard last, 0…15
	moved   time.Time
	hands   []string // OSC clients that hold it down
}

// port is one end of a device: what it sends, what it is told, or both.
type port struct {
	*device
	source string
}

// device is one surface with what is bound on it. Systems that name its input
// and its output apart show it as two ports.
type device struct {
	names        []string // of its ports
	port, source string   // of the first
	pair         string   // what the names have in common
	clients      bool     // it is all OSC clients
	out          string   // the port that it is told on
	present      bool     // and that is there
	mounts       []*mount
	phys         map[Control]*phys
	controls     []*control
	cc           [16][128]*control
	note         [16][128]*control
	key          [16][128]*control
	program      [16][128]*control
	programs     [16]*control
	cc14         [16][midi.CCFine]*control
	bend         [16]*control
	pressure     [16]*control
	params       map[uint32]*control
	oscs         map[string]*control
	numbers      midi.Numbers
	lights
}

// mount is a map on a device.
type mount struct {
	m       *Map
	rank    int // later maps count more
	device  *device
	latched int
	held    []int
}

func (m *mount) layer() int {
	if n := len(m.held); n > 0 {
		return m.held[n-1]
	}
	return m.latched
}

// control is one control of a device with what is bound to it, the map that
// counts most first.
type control struct {
	Control
	*phys
	routes []*route
	touch  []*phys  // the controls that it is the touch sensor of
	any    *control // the same number on whatever channel
}

// route leads from one control to one thing.
type route struct {
	b       *Binding
	i       int // which of the binding's controls
	mount   *mount
	ctl     *control
	to      to
	aim     aim
	mode    Mode
	scale   scale
	live    bool // nothing else has the control now
	pressed bool // its release is owed
	heldAt  time.Time
	holder  string // who pressed it, of one that arms

	takeover Takeover
	value    float64 // where the target is, as far as is known
	want     float64 // the same on the control's travel
	caught   bool    // the value follows the control
	at       float64 // where the control was when it moved last
	ticked   time.Time
	light    *light
	bound    *bound
	colours  [2]map[string]Colour // the binding's, the file's
	levels   []level
}

// New returns an engine that plays maps on a target. Where two maps bind the
// same control of a port, the later one counts.
func New(maps []*Map, target Target) *Engine {
	e := &Engine{maps: slices.Clone(maps), target: target, ports: map[string]port{}, lit: map[string]bool{}}
	e.osc = &device{port: oscName, clients: true, present: true, phys: map[Control]*phys{}}
	e.order = append(e.order, e.osc)
	e.Rebind(target)
	return e
}

// Maps returns the maps that are played.
func (e *Engine) Maps() []*Map { return e.maps }

// SetMaps plays other maps, as after a file was edited.
func (e *Engine) SetMaps(maps []*Map) []Do {
	e.maps = slices.Clone(maps)
	return e.Rebind(e.target)
}

// SetScenes names the scenes in their order, for program changes and for
// scenes[1]; current is the one that plays.
func (e *Engine) SetScenes(names []string, current string) {
	if !slices.Equal(names, e.scenes) {
		e.scenes, e.acts = slices.Clone(names), nil
		for _, n := range names {
			e.acts = append(e.acts, "scene:"+n)
		}
		e.owed = append(e.owed, e.Rebind(e.target)...)
	}
	for _, n := range names {
		e.Lit("scene:"+n, n == current)
	}
}

// Rebind binds to a scene that was loaded or rewired. Where controls stand is
// remembered; what they turn is to be picked up anew. It returns what must be
// let go because its control will never say so.
func (e *Engine) Rebind(target Target) []Do {
	// What somebody may be doing just now is left alone.
	e.dos = nil
	for _, d := range e.order {
		e.letGo(d, false)
	}
	e.target = target
	e.view = newView(target, e.scenes)
	e.bound, e.byAction, e.bySlot = map[mapping.Address]*bound{}, map[string][]*route{}, [mapping.SlotCount][]*route{}
	for _, s := range target.Slots() {
		e.slots[s.Index] = s.Phase
	}
	for _, d := range e.order {
		e.bind(d)
	}
	return slices.DeleteFunc(e.dos, func(d Do) bool { _, err := target.Member(d.Address); return err != nil })
}

// device returns the device of a port, made if it is new.
func (e *Engine) device(name string) *device {
	if p, ok := e.ports[name]; ok {
		return p.device
	}
	pair := pairKey(name)
	i := slices.IndexFunc(e.order, func(d *device) bool { return d.pair == pair && !d.clients })
	if i < 0 {
		i = len(e.order)
		e.order = append(e.order, &device{port: name, source: Source(name), pair: pair, phys: map[Control]*phys{}})
	}
	d := e.order[i]
	d.names = append(d.names, name)
	e.ports[name] = port{d, Source(name)}
	if e.view != nil {
		// Another name may be one that more is bound on.
		e.bind(d)
	}
	return d
}

// pairKey is what the names of a surface's input and output have in common.
func pairKey(name string) string {
	var kept []string
	for _, w := range strings.FieldsFunc(strings.ToLower(name), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
		switch w {
		case "in", "out", "input", "output", "capture", "playback":
			continue
		}
		// As Windows names the second port and those after it.
		for _, way := range []string{"midiin", "midiout"} {
			if n, ok := strings.CutPrefix(w, way); ok {
				w = "midi" + n
			}
		}
		kept = append(kept, w)
	}
	if len(kept) == 0 {
		return name
	}
	return strings.Join(kept, " ")
}

// matches tells whether one of the device's names does.
func (d *device) matches(match func(name string) bool) bool {
	return slices.ContainsFunc(d.names, match)
}

// letGo releases what is held on a device: jacks and params, and layers where
// the device itself is gone. Nobody is armed by it.
func (e *Engine) letGo(d *device, gone bool) {
	e.source = d.source
	for _, c := range d.controls {
		e.lift(c, gone)
	}
}

// lift is letGo of one control.
func (e *Engine) lift(c *control, gone bool) {
	for _, r := range c.routes {
		if r.pressed && (r.bound != nil || gone && r.aim.kind == aimLayer) {
			e.release(r)
		}
		r.pressed = r.pressed && !gone
	}
}

// bind makes the routes of a device anew.
func (e *Engine) bind(d *device) {
	layers := map[string]*mount{}
	for _, m := range d.mounts {
		layers[m.m.Name] = m
	}
	for _, m := range d.mounts {
		for _, c := range d.controls {
			for _, r := range c.routes {
				if r.mount == m {
					e.forget(r)
				}
			}
		}
	}
	d.mounts, d.controls = d.mounts[:0:0], d.controls[:0:0]
	d.cc, d.note, d.key, d.program, d.programs = [16][128]*control{}, [16][128]*control{}, [16][128]*control{}, [16][128]*control{}, [16]*control{}
	d.cc14, d.bend, d.pressure = [16][midi.CCFine]*control{}, [16]*control{}, [16]*control{}
	d.params, d.oscs = map[uint32]*control{}, map[string]*control{}
	d.lights.reset(d)
	by := map[Control]*control{}
	at := func(c Control) *control {
		k := by[c]
		if k == nil {
			p := d.phys[c]
			if p == nil {
				p = &phys{channel: max(c.Channel-1, 0)}
				d.phys[c] = p
			}
			k = &control{Control: c, phys: p}
			by[c] = k
			d.controls = append(d.controls, k)
		}
		return k
	}
	for rank := len(e.maps) - 1; rank >= 0; rank-- {
		m := e.maps[rank]
		if d != e.osc && !d.matches(m.Matches) {
			continue
		}
		mt := &mount{m: m, rank: rank, device: d}
		if was := layers[m.Name]; was != nil {
			mt.latched, mt.held = was.latched, was.held
		}
		d.mounts = append(d.mounts, mt)
		for i := range m.Bindings {
			b := &m.Bindings[i]
			if b.Port != "" && d != e.osc && !d.matches(func(name string) bool { return matchPort(b.Port, name) }) {
				continue
			}
			for k, c := range b.Controls {
				if (c.Kind == OSC) == (d == e.osc) {
					e.route(mt, b, k, at(c), b.to[k])
					if k < len(b.Touch) {
						s := at(b.Touch[k])
						s.touch = append(s.touch, at(c).phys)
					}
				}
			}
		}
		for i := range m.Layers {
			l := &m.Layers[i]
			b := &Binding{Controls: l.Shift, Layer: -1, Mode: Momentary, Feedback: Feedback{High: 127}}
			if l.Latch {
				b.Mode = Toggle
			}
			for k, c := range l.Shift {
				if (c.Kind == OSC) == (d == e.osc) {
					e.route(mt, b, k, at(c), to{kind: toLayer, n: l.Number})
				}
			}
		}
	}
	for _, c := range d.controls {
		d.index(c, by)
		for _, r := range c.routes {
			// A shift or arm control that is held goes on being held.
			r.pressed = c.down && (r.aim.kind == aimLayer && slices.Contains(r.mount.held, r.aim.n) || r.aim.action == "arm")
			r.heldAt, r.holder = e.now, d.source
		}
	}
	e.refresh(d)
	d.lights.all()
}

// index puts a control where its messages find it.
func (d *device) index(c *control, by map[Control]*control) {
	if c.Channel > 0 {
		any := c.Control
		any.Channel = 0
		c.any = by[any]
	}
	for ch := range 16 {
		if c.Channel > 0 && ch != c.Channel-1 {
			continue
		}
		var slot **control
		switch c.Kind {
		case CC:
			slot = &d.cc[ch][c.Number]
		case CC14:
			slot = &d.cc14[ch][c.Number]
		case Note:
			slot = &d.note[ch][c.Number]
		case KeyPressure:
			slot = &d.key[ch][c.Number]
		case Program:
			if slot = &d.programs[ch]; c.Number >= 0 {
				slot = &d.program[ch][c.Number]
			}
		case Bend:
			slot = &d.bend[ch]
		case Pressure:
			slot = &d.pressure[ch]
		case NRPN, RPN:
			if k := paramKey(c.Kind, ch, c.Number); d.params[k] == nil || c.Channel > 0 {
				d.params[k] = c
			}
			continue
		case OSC:
			d.oscs[c.Address] = c
			return
		}
		if *slot == nil || c.Channel > 0 {
			*slot = c
		}
	}
}

func paramKey(k Kind, channel, number int) uint32 {
	return uint32(k)<<24 | uint32(channel)<<16 | uint32(number)
}

// route adds one route.
func (e *Engine) route(mt *mount, b *Binding, i int, c *control, t to) {
	r := &route{b: b, i: i, mount: mt, ctl: c, to: t, aim: e.view.resolve(t), takeover: b.Takeover, mode: b.Mode}
	if r.takeover == TakeoverDefault {
		r.takeover = mt.m.Takeover
	}
	r.colours, r.levels = [2]map[string]Colour{b.Feedback.Colours, mt.m.Colours}, levels(b.Feedback.Colours)
	if b.Takeover == TakeoverDefault && c.springs() {
		r.takeover = Jump
	}
	r.settle()
	c.routes = append(c.routes, r)
	switch r.aim.kind {
	case aimParam, aimJack:
		g := e.bound[r.aim.address]
		if g == nil {
			g = &bound{}
			e.bound[r.aim.address] = g
		}
		g.routes, r.bound = append(g.routes, r), g
		v, _, _ := e.target.Value(r.aim.address)
		r.moveTo(v)
	case aimAction:
		e.byAction[r.aim.action] = append(e.byAction[r.aim.action], r)
	case aimSlot:
		e.bySlot[r.aim.n] = append(e.bySlot[r.aim.n], r)
	}
	mt.device.lights.light(r)
}

// forget takes a route out of what is told of changes.
func (e *Engine) forget(r *route) {
	if r.bound != nil {
		r.bound.routes = slices.DeleteFunc(r.bound.routes, func(o *route) bool { return o == r })
		if r.bound.asker == r {
			r.bound.asker = nil
		}
	}
	same := func(o *route) bool { return o == r }
	if r.aim.kind == aimAction {
		e.byAction[r.aim.action] = slices.DeleteFunc(e.byAction[r.aim.action], same)
	}
	if r.aim.kind == aimSlot {
		e.bySlot[r.aim.n] = slices.DeleteFunc(e.bySlot[r.aim.n], same)
	}
}

// moveTo takes over where the target is.
func (r *route) moveTo(v float64) {
	r.value, r.want = v, r.scale.travel(v)
}

// settle decides how a route plays what it leads to.
func (r *route) settle() {
	button := r.ctl.isButton()
	s := scale{curve: r.b.Curve, steps: r.b.Steps}
	switch r.aim.kind {
	case aimParam:
		p := r.aim.param
		s.low, s.high, s.whole = p.Min, p.Max, p.Whole
		if len(r.b.Range) == 2 {
			s.low, s.high = p.Clamp(r.b.Range[0]), p.Clamp(r.b.Range[1])
		}
		if s.curve == CurveParam && p.Curve == instrument.Exponential {
			s.curve = CurveExponential
		}
		switch {
		case r.mode == ModeAuto && button, r.mode == Trigger && !p.Counter:
			r.mode = Toggle
		case r.mode == ModeAuto:
			r.mode = Absolute
		case r.mode == Gate:
			r.mode = Momentary
		}
	case aimJack:
		gate := false
		switch r.aim.jack.Kind {
		case instrument.Trigger:
			s.low, s.high = 0, instrument.GateVolts
			if r.mode == ModeAuto {
				r.mode = Trigger
			}
		case instrument.Gate, instrument.Presence:
			s.low, s.high, gate = 0, instrument.GateVolts, true
		case instrument.Pitch, instrument.Audio:
			s.low, s.high = -5, 5
		default:
			s.low, s.high = 0, instrument.GateVolts
			if r.ctl.Kind == Bend {
				s.low, s.high = -5, 5
			}
		}
		if len(r.b.Range) == 2 {
			s.low, s.high = min(max(r.b.Range[0], -12), 12), min(max(r.b.Range[1], -12), 12)
		}
		if r.mode == ModeAuto {
			if r.mode = Absolute; gate || button {
				r.mode = Gate
			}
		}
	case aimScenes, aimValue:
		r.mode = Absolute
	default:
		if r.mode != Momentary && r.mode != Toggle || r.aim.kind != aimLayer {
			r.mode = Trigger
		}
	}
	if s.curve == CurveParam {
		s.curve = CurveLinear
	}
	r.scale = s
}

// refresh says which routes of a device are live: those of the layer, or else
// those of all layers, of the map that counts most.
func (e *Engine) refresh(d *device) {
	for _, c := range d.controls {
		best := -1
		for _, r := range c.routes {
			layered := slices.ContainsFunc(c.routes, func(o *route) bool {
				return o.mount == r.mount && o.b.Layer == r.mount.layer() && o.aim.kind != aimNothing
			})
			r.live = r.aim.kind != aimNothing && (r.b.Layer == r.mount.layer() || r.b.Layer < 0 && !layered)
			if r.live && best < 0 {
				best = r.mount.rank
			}
			r.live = r.live && r.mount.rank == best
		}
	}
}

// MIDI plays a message that came in on a port, and returns what is to be done.
func (e *Engine) MIDI(port string, m midi.Message, at time.Time) []Do {
	e.dos = e.dos[:0]
	p, ok := e.ports[port]
	if !ok {
		e.device(port)
		p = e.ports[port]
	}
	d := p.device
	e.source, e.now = p.source, at
	if !m.IsChannel() {
		return e.dos
	}
	ch := m.Channel()
	a, b := int(m.Data[1]&0x7f), int(m.Data[2]&0x7f)
	if e.learn.state == waitControl || e.learn.state == waitFirst {
		e.letUp(d, m, at)
		e.learnMIDI(d, m, at)
		return e.dos
	}
	if e.learn.state == waitAddress && e.learn.swallows(d, m) {
		return e.dos
	}
	switch m.Kind() {
	case midi.NoteOn, midi.NoteOff:
		if c := d.note[ch][a]; c != nil {
			if m.Kind() == midi.NoteOff {
				b = 0
			}
			e.move(c, ch, travel7(b), b, at)
		}
	case midi.PolyPressure:
		if c := d.key[ch][a]; c != nil {
			e.move(c, ch, travel7(b), b, at)
		}
	case midi.ChannelPressure:
		if c := d.pressure[ch]; c != nil {
			e.move(c, ch, travel7(a), a, at)
		}
	case midi.ProgramChange:
		if c := d.program[ch][a]; c != nil {
			e.move(c, ch, 1, 127, at)
			e.move(c, ch, 0, 0, at)
		}
		if c := d.programs[ch]; c != nil {
			e.move(c, ch, travel7(a), a, at)
		}
	case midi.PitchBend:
		if c := d.bend[ch]; c != nil {
			v := m.Bend() + 8192
			e.move(c, ch, travel(v), v>>7, at)
		}
	case midi.ControlChange:
		if n, ok := d.numbers.Control(m); ok {
			var c *control
			switch n.Kind {
			case midi.Control14:
				c = d.cc14[n.Channel][n.Number]
			case midi.ControlNRPN:
				c = d.params[paramKey(NRPN, n.Channel, n.Number)]
			case midi.ControlRPN:
				c = d.params[paramKey(RPN, n.Channel, n.Number)]
			}
			// A later map may bind the halves each for itself.
			if c != nil && c.rank() >= d.cc[ch][a].rank() {
				v := n.Value14
				if n.Increment != 0 {
					e.nudge(c, ch, n.Increment, at)
					return e.dos
				}
				if n.Kind == midi.ControlRPN && !n.Fine {
					v = midi.Widen(v >> 7)
				}
				e.move(c, ch, travel(v), v>>7, at)
				return e.dos
			}
		}
		if c := d.cc[ch][a]; c != nil {
			e.move(c, ch, travel7(b), b, at)
		}
	}
	return e.dos
}

// letUp plays the release of a button that was pressed before learning began:
// what it holds is let go whatever is learned meanwhile.
func (e *Engine) letUp(d *device, m midi.Message, at time.Time) {
	ch, n := m.Channel(), m.Data[1]&0x7f
	var c *control
	switch {
	case m.IsNoteOff():
		c = d.note[ch][n]
	case m.Kind() == midi.ControlChange && m.Data[2] == 0:
		c = d.cc[ch][n]
	}
	for k := c; k != nil; k = k.any {
		if slices.ContainsFunc(k.routes, func(r *route) bool { return r.pressed }) {
			e.move(c, ch, 0, 0, at)
			return
		}
	}
}

// OSC plays a number that a client sent to an address, 0…1 over the travel of
// a control, and returns what is to be done.
func (e *Engine) OSC(address string, value float64, client string, at time.Time) []Do {
	e.dos = e.dos[:0]
	e.source, e.now = client, at
	if !(value >= 0) {
		value = 0
	}
	value = min(value, 1)
	if e.learn.state == waitControl || e.learn.state == waitFirst {
		if c := e.osc.oscs[address]; c != nil && value < 0.5 && slices.ContainsFunc(c.routes, func(r *route) bool { return r.pressed }) {
			c.hands = nil // as in letUp
			e.move(c, 0, 0, 0, at)
		}
		e.learnOSC(address, value, at)
		return e.dos
	}
	if e.learn.state == waitAddress && e.learn.device == e.osc && e.learn.found.Controls[0].Address == address {
		return e.dos
	}
	if c := e.osc.oscs[address]; c != nil {
		switch {
		case value < 0.5: // whoever lets go of it, it is up for all that show it
			c.hands = nil
		case !slices.Contains(c.hands, client):
			c.hands = append(c.hands, client)
			c.hands = c.hands[max(len(c.hands)-mostHands, 0):]
		}
		e.move(c, 0, value, bits7(value), at)
	}
	return e.dos
}

// mostHands bounds the clients that are remembered to hold one control down;
// what more hold is theirs who came last.
const mostHands = 64

// Left takes over that OSC clients are gone, and returns what is to be let go,
// not before a moment: what they alone held down. Faders and what was switched
// stay.
func (e *Engine) Left(gone func(client string) bool, at time.Time) []Do {
	e.dos = nil
	for _, c := range e.osc.controls {
		last := ""
		c.hands = slices.DeleteFunc(c.hands, func(client string) bool {
			if !gone(client) {
				return false
			}
			last = client
			return true
		})
		if last == "" || len(c.hands) > 0 {
			continue
		}
		e.source, e.now = last, at
		if c.moved.After(at) { // what was pressed has its time ahead
			e.now = c.moved
		}
		e.lift(c, true)
		c.down = false
		for _, p := range c.touch {
			p.touched, p.moved = false, e.now
		}
	}
	return e.dos
}

// Held tells whether a control holds down what an address leads to.
func (e *Engine) Held(a mapping.Address) bool {
	g := e.bound[a]
	return g != nil && slices.ContainsFunc(g.routes, func(r *route) bool { return r.pressed })
}

// Bound tells whether a control of a port is bound to anything, so that who
// reads the port can tell what else to do with its messages.
func (e *Engine) Bound(port string, m midi.Message) bool {
	d := e.ports[port].device
	if d == nil || !m.IsChannel() {
		return false
	}
	ch, n := m.Channel(), m.Data[1]&0x7f
	var c *control
	switch m.Kind() {
	case midi.NoteOn, midi.NoteOff:
		c = d.note[ch][n]
	case midi.PolyPressure:
		c = d.key[ch][n]
	case midi.ControlChange:
		if c = d.cc[ch][n]; c == nil && n < 2*midi.CCFine {
			c = d.cc14[ch][n%midi.CCFine]
		}
	case midi.ProgramChange:
		if c = d.program[ch][n]; c == nil {
			c = d.programs[ch]
		}
	case midi.ChannelPressure:
		c = d.pressure[ch]
	case midi.PitchBend:
		c = d.bend[ch]
	}
	for ; c != nil; c = c.any {
		if len(c.touch) > 0 || slices.ContainsFunc(c.routes, func(r *route) bool { return r.live }) {
			return true
		}
	}
	return false
}

// rank is how much the map counts whose routes are played, −1 for none.
func (c *control) rank() int {
	rank := -1
	for ; c != nil; c = c.any {
		for _, r := range c.routes {
			if r.live {
				rank = max(rank, r.mount.rank)
				break
			}
		}
	}
	return rank
}

// from returns the control whose routes are played: of a number that is bound
// on its channel and on any, that of the map that counts more.
func (c *control) from() *control {
	best, rank := c, -1
	for k := c; k != nil; k = k.any {
		for _, r := range k.routes {
			if r.live && r.mount.rank > rank {
				best, rank = k, r.mount.rank
			}
		}
	}
	return best
}

// move takes over that a control is somewhere else.
func (e *Engine) move(c *control, channel int, pos float64, raw int, at time.Time) {
	played := c.from()
	for k := c; k != nil; k = k.any {
		prev, known := k.pos, k.known
		press, release := false, false
		if k.isButton() {
			press, release = pos > 0, pos == 0 && k.down
			k.down = pos > 0
		} else if pos >= 0.5 {
			// A button that is never let go says the same each time.
			press = !k.down || known && pos == prev
			k.down = true
		} else {
			release, k.down = k.down, false
		}
		k.pos, k.known, k.moved, k.channel = pos, true, at, channel
		for _, p := range k.touch {
			p.touched = pos > 0
			if pos == 0 {
				p.moved = at
			}
		}
		for _, r := range k.routes {
			if release && r.pressed {
				e.release(r)
			}
		}
		if k != played {
			continue
		}
		for i := 0; i < len(k.routes); i++ {
			r := k.routes[i]
			if !r.live {
				continue
			}
			switch r.mode {
			case Absolute:
				if !k.isButton() || pos > 0 {
					e.absolute(r, prev, known, pos, raw)
				}
			case Relative:
				e.turn(r, r.b.Encoder.ticks(raw))
			default:
				if press {
					e.press(r)
				}
			}
		}
	}
}

// springs tells whether a control goes back by itself, so that there is no
// position in which it could wait for a value.
func (c *control) springs() bool {
	switch c.Kind {
	case Note, Bend, Pressure, KeyPressure, Program:
		return true
	}
	return false
}

// nudge takes over that a control said one up or one down.
func (e *Engine) nudge(c *control, channel, ticks int, at time.Time) {
	played := c.from()
	played.moved, played.channel = at, channel
	for _, r := range played.routes {
		if r.live {
			e.turn(r, ticks)
		}
	}
}

// set asks for a value.
func (e *Engine) set(r *route, want, v float64) {
	r.want = want
	if v == r.value {
		return
	}
	kind := DoSet
	if r.aim.kind == aimJack {
		kind = DoVolts
	}
	r.value = v
	r.bound.asker, r.bound.source, r.bound.asked = r, e.source, v
	e.dos = append(e.dos, Do{Kind: kind, Address: r.aim.address, Value: v, Source: e.source, At: e.now, route: r})
}

// slotActs are the actions of the slots.
var slotActs = func() (acts [stageSlots]string) {
	for i := range acts {
		acts[i] = "slot:" + strconv.Itoa(i+1)
	}
	return acts
}()

// absolute plays a control that has a position.
func (e *Engine) absolute(r *route, prev float64, known bool, pos float64, raw int) {
	if r.aim.kind == aimScenes {
		if (!known || pos != prev || r.ctl.Kind == Program) && raw < len(e.scenes) {
			e.dos = append(e.dos, Do{Kind: DoAction, Action: e.acts[raw], Source: e.source, At: e.now, route: r})
		}
		return
	}
	if r.aim.kind == aimValue {
		d := Do{Kind: DoAction, Value: pos, Source: e.source, At: e.now, route: r}
		switch moved := !known || pos != prev || r.ctl.Kind == Program; {
		case r.aim.action == "morph" && moved:
			d.Action = "position"
		case r.aim.action == "slot" && moved && raw < stageSlots:
			d.Action = slotActs[raw]
		default:
			return
		}
		e.dos = append(e.dos, d)
		return
	}
	want, ok := r.take(prev, known, pos)
	if !ok {
		// What the surface shows is to be where the value is.
		r.light.stale()
		return
	}
	e.set(r, want, r.scale.value(want))
}

// turn plays an encoder.
func (e *Engine) turn(r *route, ticks int) {
	if ticks == 0 || r.bound == nil {
		return
	}
	step := r.b.Sensitivity / 128
	gain := r.b.Acceleration
	if span := r.scale.high - r.scale.low; r.scale.whole && span != 0 && (span < 128 && span > -128) {
		if span < 0 {
			span = -span
		}
		step = r.b.Sensitivity / span
		gain = max(gain, 0) // a tick is a step, unless the file says otherwise
	} else if gain < 0 {
		gain = 1
	}
	n := float64(ticks)
	if dt := e.now.Sub(r.ticked).Seconds(); dt > 0 && dt < 1 {
		speed := n / dt
		if speed < 0 {
			speed = -speed
		}
		// Up to ten ticks a second are meant one by one; from sixty on a hand
		// wants to get somewhere.
		n *= 1 + gain*min(max(speed-10, 0)/50, 4)
	}
	r.ticked = e.now
	want := min(max(r.want+n*step, 0), 1)
	e.set(r, want, r.scale.value(want))
	r.light.mark()
}

// press plays a button that goes down.
func (e *Engine) press(r *route) {
	switch r.aim.kind {
	case aimAction, aimSlot:
		e.dos = append(e.dos, Do{Kind: DoAction, Action: r.aim.action, Source: e.source, At: e.now, route: r})
		if r.aim.action == "arm" {
			r.pressed, r.heldAt, r.holder = true, e.now, e.source
		}
		return
	case aimLayer:
		mt := r.mount
		switch r.mode {
		case Momentary:
			r.pressed = true
			mt.held = append(mt.held, r.aim.n)
		case Toggle:
			if mt.latched == r.aim.n {
				mt.latched = 0
			} else {
				mt.latched = r.aim.n
			}
		default:
			mt.latched = r.aim.n
		}
		e.layered(mt.device)
		return
	case aimParam, aimJack:
	default:
		return
	}
	s := &r.scale
	switch r.mode {
	case Gate, Momentary:
		r.pressed = true
		e.set(r, 1, s.high)
	case Toggle:
		if r.aim.kind == aimParam && len(r.aim.param.Choices) > 0 {
			low, high := min(s.low, s.high), max(s.low, s.high)
			v := r.value + 1
			if v > high || v < low {
				v = low
			}
			e.set(r, s.travel(v), v)
		} else if r.want >= 0.5 {
			e.set(r, 0, s.low)
		} else {
			e.set(r, 1, s.high)
		}
	case Trigger:
		if r.aim.kind == aimParam { // a counter
			v := r.value + 1
			if v > r.aim.param.Max {
				v = 1
			}
			e.set(r, s.travel(v), v)
			break
		}
		e.dos = append(e.dos, Do{Kind: DoStrike, Address: r.aim.address, Value: instrument.GateVolts, Source: e.source, At: e.now, route: r})
	}
	r.light.mark()
}

// release plays a button that is let go.
func (e *Engine) release(r *route) {
	r.pressed = false
	switch r.aim.kind {
	case aimAction:
		if r.aim.action == "arm" {
			// The window begins as the hand leaves.
			e.dos = append(e.dos, Do{Kind: DoAction, Action: "arm", Source: e.source, At: e.now, route: r})
		}
	case aimLayer:
		mt := r.mount
		if i := slices.Index(mt.held, r.aim.n); i >= 0 {
			mt.held = slices.Delete(mt.held, i, i+1)
		}
		e.layered(mt.device)
	case aimParam, aimJack:
		// What two hands hold is held until both let go.
		if !slices.ContainsFunc(r.bound.routes, func(o *route) bool { return o.pressed && o != r }) {
			e.set(r, 0, r.scale.low)
		}
		r.light.mark()
	}
}

// layered takes over that another layer is played.
func (e *Engine) layered(d *device) {
	e.refresh(d)
	d.lights.changed()
}

// SetLayer chooses a layer on every surface that has it.
func (e *Engine) SetLayer(n int) {
	for _, d := range e.order {
		for _, m := range d.mounts {
			if n == 0 || slices.ContainsFunc(m.m.Bindings, func(b Binding) bool { return b.Layer == n }) {
				m.latched = n
			}
		}
		e.layered(d)
	}
}

// Layer returns the layer that a port's map plays, 0 where it has none.
func (e *Engine) Layer(port string) int {
	if d := e.ports[port].device; d != nil {
		for _, m := range d.mounts {
			if n := m.layer(); n > 0 {
				return n
			}
		}
	}
	return 0
}

// Due returns what is to be done because time went by: a control that is held
// keeps its client armed. Call it with Tick.
func (e *Engine) Due(now time.Time) []Do {
	e.due = append(e.due[:0], e.owed...)
	e.owed = e.owed[:0]
	for _, r := range e.byAction["arm"] {
		if r.pressed && now.Sub(r.heldAt) >= armAgain {
			r.heldAt = now
			e.due = append(e.due, Do{Kind: DoAction, Action: "arm", Source: r.holder, At: now, route: r})
		}
	}
	return e.due
}

// Refused takes over that what was asked for was not done: the control is
// where it is, and the value where it was.
func (e *Engine) Refused(d Do) {
	r := d.route
	if r == nil || r.bound == nil {
		return
	}
	if v, _, err := e.target.Value(d.Address); err == nil {
		r.moveTo(v)
	}
	r.caught, r.bound.asker = false, nil
	r.light.stale()
}

// Changed takes over that an address has another value, and who did it. The
// control that did goes on; all others are to be picked up anew, and shown.
func (e *Engine) Changed(a mapping.Address, value float64, word, source string) {
	if e.learn.state == waitAddress && source != "" {
		e.learnAddress(string(a))
	}
	g := e.bound[a]
	if g == nil {
		return
	}
	for _, r := range g.routes {
		if r == g.asker && source == g.source && value == g.asked {
			// Its own doing. A fader is there already; a light is not.
			r.value = value
			e.done(r)
			continue
		}
		if value != r.value {
			r.moveTo(value)
			r.caught = false
		}
		r.light.mark()
	}
	if g.asker != nil && (source != g.source || value != g.asked) {
		g.asker = nil
	}
}

// Slot takes over that a slot of the bank of pods changed.
func (e *Engine) Slot(s mapping.Slot) {
	if s.Index < 0 || s.Index >= len(e.slots) {
		return
	}
	e.slots[s.Index] = s.Phase
	for _, r := range e.bySlot[s.Index] {
		r.light.mark()
	}
}

// Lit says whether what an action stands for is on: "arm" while the surface is
// armed, "learn" while something is learned, "scene:NAME" while it plays.
func (e *Engine) Lit(action string, on bool) {
	if e.lit[action] == on {
		return
	}
	e.lit[action] = on
	for _, r := range e.byAction[action] {
		r.light.mark()
	}
}

// Plugged takes over that a port appeared that can be told something: it is
// told everything at once. Ports that only send need not be told of.
func (e *Engine) Plugged(port string) {
	d := e.device(port)
	d.present, d.out = true, port
	d.numbers.Reset()
	for _, p := range d.phys {
		p.known, p.touched = false, false
	}
	d.lights.greet()
}

// Unplugged takes over that a port is gone, and returns what is to be let go.
func (e *Engine) Unplugged(port string) []Do {
	e.dos = nil
	if d := e.ports[port].device; d != nil {
		e.letGo(d, true)
		d.present = d.present && d.out != port
		for _, p := range d.phys {
			p.known, p.down, p.touched = false, false, false
		}
	}
	return e.dos
}

// Resend tells a port everything again; an empty one is all ports.
func (e *Engine) Resend(port string) {
	for _, d := range e.order {
		if port == "" || slices.Contains(d.names, port) {
			d.lights.greet()
		}
	}
}

// describe names what a route leads to, for people.
func (a aim) describe() string {
	switch a.kind {
	case aimParam, aimJack:
		return string(a.address)
	case aimAction, aimSlot:
		return a.action
	case aimLayer:
		return "layer:" + strconv.Itoa(a.n)
	case aimScenes:
		return "scene:*"
	case aimValue:
		return a.action + ":*"
	}
	return ""
}
