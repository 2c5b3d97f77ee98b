package bind

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

const (
	// patience is how long learning waits for a hand.
	patience = 30 * time.Second
	// forgets is how long a control that did not move clearly is watched.
	forgets = 3 * time.Second
	// latches is how long a button must say nothing more to be one that stays
	// where it was pressed, instead of one that comes back up.
	latches = time.Second
	// moves is how often, and spread how far in steps of seven bits, a control
	// must go: a worn potentiometer trembles by one or two.
	moves  = 3
	spread = 3
	// sure is how often a control must have moved where it could still be an
	// encoder.
	sure = 8
	// pairGap is how close the two halves of fourteen bits follow each other,
	// and tickGap how close two ticks of an encoder that is being turned.
	pairGap = 10 * time.Millisecond
	tickGap = 120 * time.Millisecond
)

type learnState uint8

const (
	idle        learnState = iota
	waitControl            // it is known what to bind to
	waitFirst              // nothing is known yet
	waitAddress            // the control is known
)

// learning is what is known of a binding in the making.
type learning struct {
	state    learnState
	to       string
	source   string
	since    time.Time // zero until the first tick
	watched  map[watchKey]*watched
	found    Binding
	device   *device
	user     *Map
	events   []LearnEvent
	momentum bool // the control found is a button that comes back up
	latched  bool // one that stays
}

type watchKey struct {
	device *device
	Control
}

// watched is a control that did something while learning.
type watched struct {
	values  [16]int // the last ones, of seven bits
	n       int     // how many there were
	changes int
	low     int
	high    int
	last    time.Time
	quick   bool // two came as close as ticks of an encoder
	pairs   int
	down    bool
	touches Control // what moved while it was down
	touched bool
}

// LearnEvent is what learning has to say.
type LearnEvent struct {
	// Done says that something was bound, Failed that it was not; with neither
	// it is one step on the way.
	Done, Failed bool
	Port         string
	Control      Control
	To           string
	// Was is what the control was bound to before.
	Was  string
	Text string // a sentence for people
}

// User returns the map that learning writes to; it is to be saved after each
// event that is Done. LearnInto names it.
func (e *Engine) User() *Map { return e.learn.user }

// LearnInto makes a map the one that learning writes to. It counts more than
// all others. Without it learning makes one named learned.
func (e *Engine) LearnInto(m *Map) []Do {
	e.maps = slices.DeleteFunc(e.maps, func(o *Map) bool { return o == e.learn.user || o == m })
	e.learn.user = m
	e.maps = append(e.maps, m)
	return e.Rebind(e.target)
}

// Learn binds the next control that clearly moves to an address, or to what
// else a mapping file may bind to. Where a control was named first, by
// LearnControlFirst, it is bound to that one. The error says why nothing can be
// bound there.
func (e *Engine) Learn(to string, source string) error {
	ts, err := parseTo(to)
	if err == nil && len(ts) != 1 {
		err = fmt.Errorf("%q is more than one", document.Clip(to))
	}
	if err == nil && e.view.resolve(ts[0]).kind == aimNothing {
		err = fmt.Errorf("%q: the scene has no such thing", document.Clip(to))
		if _, no := e.target.Member(mapping.Address(to)); no != nil && strings.HasPrefix(to, "/") {
			err = no
		}
	}
	if err != nil {
		return fmt.Errorf("learn: %w", err)
	}
	if e.learn.state == waitAddress {
		e.finish(to)
		return nil
	}
	e.begin(waitControl)
	e.learn.to, e.learn.source = to, source
	e.say(LearnEvent{To: to, Text: "move the control that is to turn " + to})
	return nil
}

// LearnControlFirst binds the next control that clearly moves to the address
// that any surface touches after that.
func (e *Engine) LearnControlFirst() {
	e.begin(waitFirst)
	e.say(LearnEvent{Text: "move a control"})
}

func (e *Engine) begin(s learnState) {
	e.learn.state, e.learn.since, e.learn.to = s, time.Time{}, ""
	e.learn.watched = map[watchKey]*watched{}
	e.Lit("learn", true)
}

func (e *Engine) stop() {
	e.learn.state, e.learn.watched = idle, nil
	e.Lit("learn", false)
}

// CancelLearn ends learning without a binding.
func (e *Engine) CancelLearn() {
	if e.learn.state != idle {
		e.stop()
		e.say(LearnEvent{Failed: true, Text: "learning was ended; nothing was bound"})
	}
}

// Learning says what learning waits for, and nothing while nothing is learned.
func (e *Engine) Learning() string {
	switch e.learn.state {
	case waitControl:
		return e.learn.to
	case waitFirst:
		return "a control"
	case waitAddress:
		return "what " + e.learn.found.Controls[0].String() + " is to turn"
	}
	return ""
}

func (e *Engine) say(ev LearnEvent) { e.learn.events = append(e.learn.events, ev) }

// LearnEvents returns what learning had to say since the last call.
func (e *Engine) LearnEvents() []LearnEvent {
	evs := e.learn.events
	e.learn.events = nil
	return evs
}

// watch notes that a control did something.
func (e *Engine) watch(d *device, c Control, v int, at time.Time) *watched {
	k := watchKey{d, c}
	w := e.learn.watched[k]
	if w == nil || at.Sub(w.last) > forgets {
		w = &watched{low: v, high: v}
		e.learn.watched[k] = w
	}
	if w.n > 0 {
		if w.values[(w.n-1)%len(w.values)] != v {
			w.changes++
		}
		w.quick = w.quick || at.Sub(w.last) < tickGap
	}
	w.values[w.n%len(w.values)] = v
	w.n++
	w.low, w.high, w.last = min(w.low, v), max(w.high, v), at
	return w
}

// learnMIDI looks at what moves while learning waits for a control. Nothing of
// it is played.
func (e *Engine) learnMIDI(d *device, m midi.Message, at time.Time) {
	ch := m.Channel() + 1
	a, b := int(m.Data[1]), int(m.Data[2])
	moved := func(c Control, v int) {
		w := e.watch(d, c, v, at)
		for k, o := range e.learn.watched {
			if k.device == d && k.Kind == Note && o.down {
				o.touches, o.touched = c, true
			}
		}
		if e.clear(c, w) {
			e.found(d, c, w)
		}
	}
	switch m.Kind() {
	case midi.NoteOn, midi.NoteOff:
		c := Control{Kind: Note, Channel: ch, Number: a}
		w := e.watch(d, c, b, at)
		if m.IsNoteOn() {
			w.down = true
			return
		}
		// Only now, because the touch of a motor fader is a note too.
		if w.down && !w.touched {
			e.found(d, c, w)
		}
		w.down = false
	case midi.ProgramChange:
		c := Control{Kind: Program, Channel: ch, Number: a}
		e.found(d, c, e.watch(d, c, 127, at))
	case midi.PitchBend:
		moved(Control{Kind: Bend, Channel: ch, Number: -1}, (m.Bend()+8192)>>7)
	case midi.ChannelPressure:
		for k, o := range e.learn.watched {
			if k.device == d && k.Kind == Note && o.down {
				return // it comes with every key
			}
		}
		moved(Control{Kind: Pressure, Channel: ch, Number: -1}, a)
	case midi.ControlChange:
		n, ok := d.numbers.Control(m)
		switch {
		case ok && (n.Kind == midi.ControlNRPN || n.Kind == midi.ControlRPN):
			c := Control{Kind: NRPN, Channel: ch, Number: n.Number}
			if n.Kind == midi.ControlRPN {
				c.Kind = RPN
			}
			if n.Increment != 0 {
				w := e.watch(d, c, 64+n.Increment, at)
				if w.n >= moves {
					e.found(d, c, w)
				}
				return
			}
			moved(c, n.Value14>>7)
			return
		case a >= midi.CCNRPNFine && a <= midi.CCRPN, a >= midi.CCAllSoundOff:
			return
		}
		if a >= midi.CCFine && a < 2*midi.CCFine {
			high := Control{Kind: CC, Channel: ch, Number: a - midi.CCFine}
			if w := e.learn.watched[watchKey{d, high}]; w != nil && at.Sub(w.last) <= pairGap {
				w.pairs++
				return
			}
		}
		moved(Control{Kind: CC, Channel: ch, Number: a}, b)
	}
}

// learnOSC looks at what a client's control does.
func (e *Engine) learnOSC(address string, v float64, at time.Time) {
	if _, err := ParseControls("osc " + address); err != nil {
		return
	}
	c := Control{Kind: OSC, Number: -1, Address: address}
	w := e.watch(e.osc, c, bits7(v), at)
	if e.clear(c, w) {
		e.found(e.osc, c, w)
	}
}

// recent returns the values that are still known, the oldest first.
func (w *watched) recent() []int {
	if w.n <= len(w.values) {
		return w.values[:w.n]
	}
	i := w.n % len(w.values)
	return slices.Concat(w.values[i:], w.values[:i])
}

// isPress tells whether there were only the values of a button: 0, and one in
// the upper half.
func (w *watched) isPress() bool {
	for _, v := range w.recent() {
		if v != 0 && (v < 64 || v != w.high) {
			return false
		}
	}
	return w.high >= 64
}

// encoder tells whether what was heard are the ticks of an encoder. Maybe says
// that they could be.
func (w *watched) encoder() (enc Encoder, is, maybe bool) {
	up, down, over, under := false, false, false, false
	repeats, wrap := 0, false
	last := -1
	for _, v := range w.recent() {
		switch {
		case v >= 1 && v <= 15:
			up = true
		case v >= 113:
			down = true
		case v >= 65 && v <= 79:
			over = true
		case v >= 49 && v <= 63:
			under = true
		default:
			return 0, false, false
		}
		if last >= 0 {
			if v == last {
				repeats++
			}
			// No hand takes a knob over half its travel at once.
			wrap = wrap || v-last > 45 || last-v > 45
		}
		last = v
	}
	switch {
	case !over && !under:
		enc = TwosComplement
	case up && over && !down && !under:
		enc = SignedBit
	case !up && !down:
		enc = BinaryOffset
	default:
		return 0, false, false
	}
	return enc, w.quick && w.n >= 4 && (repeats >= 2 || wrap), true
}

// clear tells whether a control moved so that no doubt is left.
func (e *Engine) clear(c Control, w *watched) bool {
	if c.Kind == CC || c.Kind == OSC {
		if c.Kind == CC {
			if _, is, maybe := w.encoder(); is || maybe && w.n < sure {
				return is
			}
		}
		if w.isPress() {
			// Down and up again: one that comes back.
			return w.n >= 2 && w.values[(w.n-1)%len(w.values)] == 0
		}
	}
	return w.changes >= moves && w.high-w.low >= spread
}

// found takes the control that is to be bound.
func (e *Engine) found(d *device, c Control, w *watched) {
	l := &e.learn
	b := Binding{Layer: -1, Acceleration: -1, Port: d.port}
	l.momentum, l.latched = false, false
	if c.Kind == CC {
		if enc, is, _ := w.encoder(); is {
			b.Mode, b.Encoder = Relative, enc
		} else if w.isPress() {
			l.latched = w.n == 1
			l.momentum = !l.latched
		} else if w.pairs >= 2 && c.Number < midi.CCFine {
			c.Kind = CC14
		}
	}
	if d == e.osc {
		b.Port = ""
	}
	for k, o := range l.watched {
		if k.device == d && k.Kind == Note && o.down && o.touched && k.Control != c {
			b.Touch = []Control{k.Control}
		}
	}
	b.Controls = []Control{c}
	l.found, l.device = b, d
	if l.state == waitControl {
		e.finish(l.to)
		return
	}
	l.state, l.since = waitAddress, time.Time{}
	e.say(LearnEvent{Port: d.port, Control: c, Text: fmt.Sprintf("%s of %s moved; now turn what it is to be bound to, on any surface", c, d.port)})
}

// learnAddress takes what a surface touched.
func (e *Engine) learnAddress(a string) {
	if t, err := parseTo(a); err == nil && len(t) == 1 && e.view.resolve(t[0]).kind != aimNothing {
		e.finish(a)
	}
}

// finish binds.
func (e *Engine) finish(what string) {
	l := &e.learn
	b := l.found
	b.To = []string{what}
	c := b.Controls[0]
	ev := LearnEvent{Port: l.device.port, Control: c, To: what}
	e.stop()
	if t, err := parseTo(what); err == nil && c.Kind == Program && (t[0].kind == toScene && t[0].n == 0 || t[0].kind == toValue) {
		// Not that program, but whatever program.
		c.Number = -1
		b.Controls[0], ev.Control = c, c
	} else if err == nil && b.Mode == ModeAuto {
		// A button that comes back up switches a param; one that stays is one.
		if k := e.view.resolve(t[0]).kind; k == aimParam && l.momentum {
			b.Mode = Toggle
		}
	}
	if l.user == nil {
		l.user = NewMap("learned", "What was learned")
		e.maps = append(e.maps, l.user)
	}
	for _, k := range l.device.controls {
		if k.Control != c && (k.Kind != c.Kind || k.Number != c.Number || k.Channel != 0 || k.Address != c.Address) {
			continue
		}
		for _, r := range k.routes {
			if r.live && r.mount.m != l.user {
				ev.Was = fmt.Sprintf("%s in the map %s", r.aim.describe(), r.mount.m.Name)
			}
		}
	}
	was, err := l.user.Bind(b)
	if err != nil {
		ev.Failed, ev.Text = true, fmt.Sprintf("%s could not be bound to %s: %v", c, what, err)
		e.say(ev)
		return
	}
	if was != "" {
		ev.Was = was
	}
	how := ""
	switch {
	case b.Mode == Relative:
		how = ", an encoder (" + b.Encoder.String() + "),"
	case c.Kind == CC14:
		how = ", of fourteen bits,"
	case l.momentum || c.isButton():
		how = ", a button,"
	case l.latched:
		how = ", a switch,"
	}
	ev.Done = true
	ev.Text = fmt.Sprintf("%s of %s%s is bound to %s", c, l.device.port, how, what)
	switch {
	case ev.Was != "" && ev.Was != what:
		ev.Text += "; before it was bound to " + ev.Was
	case len(b.Touch) > 0:
		ev.Text += "; " + b.Touch[0].String() + " tells that a hand is on it"
	}
	e.rebound()
	e.say(ev)
}

// Forget frees a control on a port that was learned, and tells what it was
// bound to.
func (e *Engine) Forget(port string, c Control) (was string, err error) {
	if e.learn.user == nil {
		return "", errors.New("nothing was learned")
	}
	if was, err = e.learn.user.Unbind(c, port, -1); err == nil {
		e.rebound()
	}
	return was, err
}

// rebound binds anew what is there. What that lets go is told by Due.
func (e *Engine) rebound() {
	e.owed = append(e.owed, e.Rebind(e.target)...)
	e.dos = nil
}

// learnTick looks at the clock: buttons that stay down, and hands that do not
// come.
func (e *Engine) learnTick(now time.Time) {
	l := &e.learn
	if l.state == idle {
		return
	}
	if l.since.IsZero() {
		l.since = now
	}
	if l.state == waitControl || l.state == waitFirst {
		for k, w := range l.watched {
			if k.Kind == CC && w.isPress() && w.n == 1 && now.Sub(w.last) >= latches {
				e.found(k.device, k.Control, w)
				return
			}
		}
	}
	if now.Sub(l.since) > patience {
		e.stop()
		e.say(LearnEvent{Failed: true, Text: fmt.Sprintf("nothing came for %d seconds; nothing was bound", int(patience.Seconds()))})
	}
}

// swallows tells whether a message is of the control that was named first, and
// is not to be played while its address is waited for.
func (l *learning) swallows(d *device, m midi.Message) bool {
	if l.state != waitAddress || d != l.device {
		return false
	}
	c := l.found.Controls[0]
	if c.Channel != m.Channel()+1 {
		return false
	}
	n := int(m.Data[1])
	switch m.Kind() {
	case midi.NoteOn, midi.NoteOff:
		return c.Kind == Note && c.Number == n
	case midi.ControlChange:
		return c.Kind == CC && c.Number == n || c.Kind == CC14 && c.Number == n%midi.CCFine || c.Kind == NRPN || c.Kind == RPN
	case midi.PitchBend:
		return c.Kind == Bend
	case midi.ChannelPressure:
		return c.Kind == Pressure
	case midi.ProgramChange:
		return c.Kind == Program
	}
	return false
}
