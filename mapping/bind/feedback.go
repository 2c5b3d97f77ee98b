package bind

import (
	"slices"
	"strconv"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// light is one thing on a surface that is told where something stands: an LED,
// a ring of them, a motor, a label.
type light struct {
	Control
	in     *lights
	routes []*route // that it shows when they are live, what counts most first
	cost   int      // bytes
	// own is the control that the light is one with, as a motor fader is: it is
	// not told while a hand is on it.
	own    *phys
	queued bool
	known  bool  // that sent is what it shows
	sent   int32 // value, and above it the channel of a colour
	at     time.Time
}

// lights are those of one device, and what is on its way to them.
type lights struct {
	device *device
	list   []*light
	by     map[Control]*light
	queue  []*light
	rate   float64 // bytes a second
	room   float64 // bytes that may be sent now
	slow   float64 // the same for what is sent again
	total  int     // bytes that all of it takes
	cursor int
	last   time.Time
	hello  []midi.Message
}

// reset empties the list; what the lights show is remembered.
func (ls *lights) reset(d *device) {
	if ls.device = d; ls.by == nil {
		ls.by = map[Control]*light{}
	}
	for _, l := range ls.list {
		l.routes, l.own = l.routes[:0], nil
	}
	ls.queue = ls.queue[:0]
	ls.rate, ls.hello = DefaultRate, nil
}

// light gives a route its light, if it has one.
func (ls *lights) light(r *route) {
	f := &r.b.Feedback
	c := r.ctl.Control
	switch {
	case f.Off, r.aim.kind == aimNothing && !c.isButton():
		return
	case r.i < len(f.To):
		c = f.To[r.i]
	case c.Kind == Pressure || c.Kind == KeyPressure || c.Kind == Program || c.Kind == RPN:
		return // there is nothing to be seen on them
	}
	if (c.Kind == OSC) != ls.device.clients {
		return
	}
	l := ls.by[c]
	if l == nil {
		l = &light{Control: c, in: ls, cost: c.cost()}
		ls.by[c] = l
		ls.list = append(ls.list, l)
	}
	l.routes = append(l.routes, r)
	r.light = l
	if c == r.ctl.Control && c.Kind != OSC && r.mode == Absolute && !c.isButton() {
		l.own = r.ctl.phys
	}
}

// all queues every light, and forgets those that nothing is shown on any more
// once they are dark.
func (ls *lights) all() {
	ls.list = slices.DeleteFunc(ls.list, func(l *light) bool {
		gone := len(l.routes) == 0 && !l.known
		if gone {
			delete(ls.by, l.Control)
		}
		return gone
	})
	ls.total, ls.cursor = 0, 0
	for _, m := range ls.device.mounts {
		ls.rate = min(ls.rate, float64(m.m.Rate))
	}
	for _, l := range ls.list {
		ls.total += l.cost
		l.queued = false
	}
	for _, l := range ls.list {
		l.mark()
	}
}

// changed queues every light: another layer is shown.
func (ls *lights) changed() {
	for _, l := range ls.list {
		l.mark()
	}
}

// greet queues the greeting and every light of a surface of which nobody knows
// what it shows.
func (ls *lights) greet() {
	ls.hello = ls.hello[:0:0]
	for i := len(ls.device.mounts) - 1; i >= 0; i-- {
		ls.hello = append(ls.hello, ls.device.mounts[i].m.hello()...)
	}
	for _, l := range ls.list {
		l.known = false
		l.at = time.Time{}
		l.mark()
	}
}

// mark queues a light to be told what it should show.
func (l *light) mark() {
	if l != nil && !l.queued {
		l.queued = true
		l.in.queue = append(l.in.queue, l)
	}
}

// stale says that a light shows something else than it was told: a fader that
// was moved and turned nothing.
func (l *light) stale() {
	if l != nil {
		l.known = false
		l.mark()
	}
}

// done says that the route's own control has moved its value: a fader is there
// already.
func (e *Engine) done(r *route) {
	l := r.light
	if l == nil || l.own != r.ctl.phys || l.own == nil || l.shown() != r {
		l.mark()
		return
	}
	l.sent, l.known = e.shows(r, l)
}

// shown returns the route that a light shows now, or nil.
func (l *light) shown() *route {
	for _, r := range l.routes {
		if r.live {
			return r
		}
	}
	return nil
}

// busy tells whether a hand is on the control.
func (l *light) busy(now time.Time) bool {
	return l.own != nil && (l.own.touched || l.own.known && now.Sub(l.own.moved) < rest)
}

// level is a colour from a value up.
type level struct {
	from   float64
	colour Colour
}

// levels reads the numbers among the colours.
func levels(colours map[string]Colour) (ls []level) {
	for k, c := range colours {
		if v, err := strconv.ParseFloat(k, 64); err == nil {
			ls = append(ls, level{v, c})
		}
	}
	slices.SortFunc(ls, func(a, b level) int {
		if a.from < b.from {
			return -1
		}
		return 1
	})
	return ls
}

// colour returns the colour of a word.
func (r *route) colour(word string) (Colour, bool) {
	for _, m := range r.colours {
		if c, ok := m[word]; ok {
			return c, true
		}
	}
	return Colour{}, false
}

// onOff returns the colour of what is on or off.
func (r *route) onOff(on bool) Colour {
	word, v := "off", r.b.Feedback.Low
	if on {
		word, v = "on", r.b.Feedback.High
	}
	if c, ok := r.colour(word); ok {
		return c
	}
	return Colour{Value: uint8(v)}
}

func (c Colour) packed() int32 { return int32(c.Value) | int32(c.Channel)<<16 }

// shows returns what a light shows of a route, and whether it shows anything.
func (e *Engine) shows(r *route, l *light) (int32, bool) {
	switch r.aim.kind {
	case aimSlot:
		p := e.slots[r.aim.n]
		word := p.String()
		if p == mapping.SlotEmpty {
			word = "empty"
		}
		if c, ok := r.colour(word); ok {
			return c.packed(), true
		}
		return r.onOff(p != mapping.SlotEmpty).packed(), true
	case aimAction:
		return r.onOff(e.lit[r.aim.action]).packed(), true
	case aimLayer:
		return r.onOff(r.mount.layer() == r.aim.n).packed(), true
	case aimParam, aimJack:
	default:
		return 0, false
	}
	if len(r.levels) > 0 {
		c := r.levels[0].colour
		for _, v := range r.levels {
			if r.value >= v.from {
				c = v.colour
			}
		}
		return c.packed(), true
	}
	if r.aim.kind == aimParam {
		if n := len(r.aim.param.Choices); n > 0 {
			if i := int(r.value); i >= 0 && i < n {
				if c, ok := r.colour(r.aim.param.Choices[i]); ok {
					return c.packed(), true
				}
			}
			if n == 2 {
				return r.onOff(r.value != 0).packed(), true
			}
		}
	} else if r.mode == Gate || r.mode == Trigger {
		return r.onOff(r.value >= 1).packed(), true
	}
	low, high := r.b.Feedback.Low, r.b.Feedback.High
	switch {
	case l.isButton() && r.mode != Absolute:
		return r.onOff(r.want >= 0.5).packed(), true
	case l.fine() || l.Kind == OSC:
		return int32(bits14(r.want)), true
	case low == 0 && high == 127:
		return int32(bits7(r.want)), true
	}
	return int32(float64(low) + r.want*float64(high-low) + 0.5), true
}

// showsNow returns what a light should show, and whether that is known. What shows
// nothing any more is dark.
func (e *Engine) showsNow(l *light) (int32, bool) {
	if r := l.shown(); r != nil {
		return e.shows(r, l)
	}
	if l.isButton() && (l.known || len(l.routes) > 0) {
		if len(l.routes) > 0 {
			if c, ok := l.routes[0].colour("none"); ok {
				return c.packed(), true
			}
		}
		return 0, true
	}
	return 0, false
}

// Tick returns what the surfaces are to be told now; call it fifty times a
// second or more. A light is told fifty times a second at most, the newest
// value always; and everything every two seconds, a bit at a time.
func (e *Engine) Tick(now time.Time) []Out {
	e.outs = e.outs[:0]
	e.learnTick(now)
	for _, d := range e.order {
		ls := &d.lights
		dt := 0.0
		if ls.last.IsZero() {
			ls.room = ls.rate
		} else {
			dt = min(max(now.Sub(ls.last).Seconds(), 0), 1)
		}
		ls.last = now
		// A quarter of a second's worth may come at once.
		ls.room = min(ls.room+dt*ls.rate, max(ls.rate/4, 64))
		if !d.present {
			for _, l := range ls.queue {
				l.queued = false
			}
			ls.queue = ls.queue[:0]
			continue
		}
		for len(ls.hello) > 0 && ls.room > 0 {
			m := ls.hello[0]
			ls.hello = ls.hello[1:]
			ls.room -= float64(len(m.SysEx))
			e.outs = append(e.outs, Out{Port: d.out, Message: m})
		}
		if len(ls.hello) > 0 {
			continue
		}
		kept := 0
		for i, l := range ls.queue {
			if ls.room < float64(l.cost) {
				kept += copy(ls.queue[kept:], ls.queue[i:])
				break
			}
			if l.busy(now) || now.Sub(l.at) < least {
				ls.queue[kept] = l
				kept++
				continue
			}
			l.queued = false
			if v, ok := e.showsNow(l); ok && (!l.known || v != l.sent) {
				e.tell(l, v, now)
			}
		}
		clear(ls.queue[kept:])
		ls.queue = ls.queue[:kept]
		e.again(ls, dt, now)
	}
	return e.outs
}

// again tells what was told before, so that a surface that missed something,
// or changed a page, is right within two seconds.
func (e *Engine) again(ls *lights, dt float64, now time.Time) {
	if len(ls.list) == 0 || ls.device == e.osc {
		return // OSC has clients, and they are told again where they ask for it
	}
	rate := min(float64(ls.total)/round.Seconds(), background, ls.rate/2)
	ls.slow = min(ls.slow+dt*rate, 48)
	for range ls.list {
		l := ls.list[ls.cursor%len(ls.list)]
		if ls.slow < float64(l.cost) || ls.room < float64(l.cost) {
			return
		}
		ls.cursor = (ls.cursor + 1) % len(ls.list)
		if v, ok := e.showsNow(l); ok && !l.queued && !l.busy(now) && now.Sub(l.at) >= least {
			e.tell(l, v, now)
		}
		// What has nothing to be told takes its time all the same, so that the
		// others keep theirs.
		ls.slow -= float64(l.cost)
	}
}

// tell sends a value to a light.
func (e *Engine) tell(l *light, v int32, now time.Time) {
	d := l.in.device
	l.sent, l.known, l.at = v, true, now
	if l.Kind == OSC {
		o := Out{Address: l.Address, Value: travel(int(v))}
		if r := l.shown(); r != nil && r.bound != nil && r.bound.asker != nil && r.bound.asker.ctl.Control == l.Control {
			o.Except = r.bound.source
		}
		e.outs = append(e.outs, o)
		return
	}
	l.in.room -= float64(l.cost)
	channel := l.Channel - 1
	if c := int(v >> 16); c > 0 {
		channel = c - 1
	}
	if channel < 0 {
		channel = 0
		if p := d.phys[l.Control]; p != nil {
			channel = p.channel
		}
	}
	e.scratch = l.appendMessages(e.scratch[:0], channel, int(v&0xffff))
	for _, m := range e.scratch {
		e.outs = append(e.outs, Out{Port: d.out, Message: m})
	}
}
