package midi

// ControlKind says how a Control is numbered.
type ControlKind uint8

const (
	// Control7 is a controller of seven bits, 0…127.
	Control7 ControlKind = iota
	// Control14 is a controller 0…31, whose fine part is controller 32…63.
	Control14
	// ControlRPN is a registered parameter, 0…16383.
	ControlRPN
	// ControlNRPN is a parameter of the maker's own, 0…16383.
	ControlNRPN
)

// String returns "cc", "cc14", "rpn" or "nrpn".
func (k ControlKind) String() string {
	switch k {
	case Control7:
		return "cc"
	case Control14:
		return "cc14"
	case ControlRPN:
		return "rpn"
	case ControlNRPN:
		return "nrpn"
	}
	return "unknown"
}

// Registered parameters (MIDI 1.0 Detailed Specification 4.2; RP-053).
const (
	RPNBendRange    = 0 // semitones in the high byte, cents in the low one
	RPNFineTuning   = 1
	RPNCoarseTuning = 2
	RPNMPE          = 6 // number of member channels, in the high byte
	RPNNull         = 16383
)

// Control is a movement of one control, of whatever resolution.
type Control struct {
	Kind    ControlKind
	Channel int // 0…15
	Number  int
	// Value14 is where the control stands, 0…16383 over its whole travel: the
	// value of a control of seven bits is widened so that 0, 64 and 127 are 0,
	// 8192 and 16383. A registered parameter is not widened: its high byte has
	// a meaning of its own. After an Increment it is −1 where it is not known.
	Value14 int
	// Increment is +1 or −1 for data increment and decrement, else 0.
	Increment int
	// Fine tells that the low seven bits were sent.
	Fine bool
}

// Widen makes seven bits fourteen, so that 0, 64 and 127 become 0, 8192 and
// 16383 and equal steps stay nearly equal, as MIDI 2.0 does.
func Widen(v int) int {
	v = min(max(v, 0), 127)
	w := v << 7
	if v > 64 {
		low := v & 63
		w |= low<<1 | low>>5
	}
	return w
}

// pair assembles the two halves of one control. A high half acts at once, for
// there are controls that send no other; the low half refines it. Where both
// come, the low half that is not there yet is taken to be the one nearest to
// where the control was, so that a slow fader never jumps back as its high
// half steps. Some send the low half first: then it waits for its high half.
type pair struct {
	high, low, before uint8 // the newest halves, and the low half before the newest
	fine              uint8 // the low half that counts
	haveHigh, haveLow bool
	waits             bool // a low half waits for its high one
	lone              bool // low halves come alone where the high one is unchanged
	lowLast           bool // the newest half was a low one
	lowSince          bool // a low half came since the newest high one
	coarse            bool // high halves come alone
	raw               bool // a registered parameter
	crossed           int8 // direction of the last step of the high half, until a low one came
	moved             bool // the newest high half was another than the one before it
	lows              int8 // low halves since the newest high one, as far as 2
	wrapped           bool // the low half wrapped after a step of the high one; the next step could be what it belongs to
	order             int8 // > 0: the high half comes first; < 0: the low one
}

const pairSure = 3 // how far order goes: contrary steps until it turns

func (p *pair) value() int {
	if p.raw && !p.haveLow {
		return int(p.high) << 7
	}
	if !p.haveLow || p.coarse {
		return Widen(int(p.high))
	}
	return int(p.high)<<7 | int(p.fine)
}

func (p *pair) isFine() bool { return p.haveLow && !p.coarse }

func (p *pair) learn(d int8) { p.order = min(max(p.order+d, -pairSure), pairSure) }

// setHigh takes a high half.
func (p *pair) setHigh(v uint8) int {
	if !p.haveHigh {
		if p.order == 0 {
			p.order = 1
			if p.haveLow {
				p.order = -1
			}
		}
		p.haveHigh, p.high, p.fine = true, v, p.low
	} else {
		step := int(v) - int(p.high)
		paired := p.lowLast
		if p.wrapped && (step == 0 || p.lows >= 2) {
			p.learn(1)
		}
		p.wrapped = false
		if step == 1 || step == -1 {
			// The low half wraps with the high one: on which side of it? Where the
			// high half stepped before as well, the wrap may be that step's.
			if wrapped := paired && step*(int(p.before)-int(p.low)) > 64; wrapped && p.moved && p.lows < 2 {
				p.crossed = int8(step)
			} else if wrapped {
				p.learn(-1)
			} else {
				p.crossed = int8(step)
			}
		}
		p.high, p.moved = v, step != 0
		switch {
		case p.order < 0 && paired:
			p.fine = p.low
		case p.raw || step > 0:
			p.fine = 0
		case step < 0:
			p.fine = 127
		}
		// Two high halves without a low one between: it has none, or none now.
		p.coarse = !p.lowSince && p.haveLow && p.order > 0
	}
	p.waits, p.lowLast, p.lowSince, p.lows = false, false, false, 0
	return p.value()
}

// setLow takes a low half, and tells whether it acts at once.
func (p *pair) setLow(v uint8) bool {
	if p.crossed != 0 {
		p.wrapped = int(p.crossed)*(int(p.low)-int(v)) > 64
		p.crossed = 0
	}
	act := p.haveHigh
	if act && p.order < 0 {
		jump := int(v) - int(p.low)
		if p.lowLast {
			p.lone = true
		} else if !p.lone {
			act = false
		}
		if jump > 64 || jump < -64 {
			// It steps over a border: the high half is about to follow.
			act = act && p.waits
		}
	}
	p.before, p.low, p.haveLow = p.low, v, true
	p.lowLast, p.lowSince = true, true
	p.lows = min(p.lows+1, 2)
	p.waits = !act
	if act {
		p.fine, p.coarse = v, false
	}
	return act
}

// parameter is the parameter number that a channel has selected.
type parameter struct {
	number [2][2]uint8 // of registered and other: high, low; 0xff: not said yet
	kind   ControlKind // ControlRPN, ControlNRPN, or Control7 for none
	of     int         // the number that data belongs to; −1: none yet
	ofKind ControlKind
	since  uint8 // halves since the number was selected, up to 2
	first  uint8 // controller of the first of them
	data   pair
}

// Numbers makes controls of control changes: it joins the halves of
// controllers of fourteen bits and keeps, per channel, which registered or
// other parameter data entry belongs to. The zero value is ready; it allocates
// nothing.
//
// A controller 32…63 is the fine part of controller 0…31 once that was heard
// on the channel, else a control of its own. Who binds it as it is looks at the
// message instead.
type Numbers struct {
	pairs  [channels][CCFine]pair
	params [channels]parameter
	began  bool
}

// Reset forgets all values and numbers, as when a port was replugged.
func (n *Numbers) Reset() { *n = Numbers{} }

func (n *Numbers) begin() {
	n.began = true
	for ch := range n.params {
		n.params[ch].number = [2][2]uint8{{0xff, 0xff}, {0xff, 0xff}}
		n.params[ch].of = -1
	}
}

// Control returns the movement that a message makes, and whether it makes one:
// a message that is no control change, one that only selects a number, a low
// half that waits for its high one and a channel mode message make none.
func (n *Numbers) Control(m Message) (Control, bool) {
	if m.Kind() != ControlChange {
		return Control{}, false
	}
	if !n.began {
		n.begin()
	}
	ch, number, v := m.Channel(), int(m.Data[1]&0x7f), m.Data[2]&0x7f
	p := &n.params[ch]
	switch {
	case number >= CCNRPNFine && number <= CCRPN:
		p.choose(number, v)
		return Control{}, false
	case number >= firstModeMessages:
		return Control{}, false
	case number == CCDataIncrement:
		return p.step(ch, 1)
	case number == CCDataDecrement:
		return p.step(ch, -1)
	case (number == CCDataEntry || number == CCDataEntry+CCFine) && p.kind != Control7:
		return p.enter(ch, number, v)
	case number < CCFine:
		q := &n.pairs[ch][number]
		return Control{Kind: Control14, Channel: ch, Number: number, Value14: q.setHigh(v), Fine: q.isFine()}, true
	case number < 2*CCFine:
		q := &n.pairs[ch][number-CCFine]
		act := q.setLow(v)
		switch {
		case act:
			return Control{Kind: Control14, Channel: ch, Number: number - CCFine, Value14: q.value(), Fine: true}, true
		case q.haveHigh:
			return Control{}, false
		}
	}
	return Control{Kind: Control7, Channel: ch, Number: number, Value14: Widen(int(v))}, true
}

// choose takes one half of a parameter number.
func (p *parameter) choose(controller int, v uint8) {
	set, half := 0, 0 // registered, high
	if controller == CCNRPN || controller == CCNRPNFine {
		set = 1
	}
	if controller == CCNRPNFine || controller == CCRPNFine {
		half = 1
	}
	p.number[set][half] = v
	p.kind = ControlRPN + ControlKind(set)
	if p.number[set] == [2]uint8{127, 127} {
		p.kind = Control7
	}
	p.since = 0
}

// selected makes data belong to the number that is chosen now, and returns
// that number, or −1.
func (p *parameter) selected() int {
	if p.kind == Control7 {
		return -1
	}
	x := p.number[p.kind-ControlRPN]
	if x[0] > 127 || x[1] > 127 {
		return -1
	}
	number := int(x[0])<<7 | int(x[1])
	if number != p.of || p.kind != p.ofKind {
		// Another parameter, but still the same sender with its habits.
		p.of, p.ofKind = number, p.kind
		p.data = pair{order: p.data.order, lone: p.data.lone, raw: p.kind == ControlRPN}
	}
	return number
}

// enter takes one half of data.
func (p *parameter) enter(ch, controller int, v uint8) (Control, bool) {
	number := p.selected()
	if number < 0 {
		return Control{}, false
	}
	if p.since < 2 {
		// Behind a number that was selected anew, the order is plain to see.
		if p.since == 0 {
			p.first = uint8(controller)
			if controller == CCDataEntry {
				p.data.order = max(p.data.order, 1)
			}
			p.data.lowLast, p.data.crossed = false, 0
		} else if p.first != uint8(controller) {
			p.data.order = pairSure
			if controller == CCDataEntry {
				p.data.order = -pairSure
			}
		}
		p.since++
	}
	c := Control{Kind: p.kind, Channel: ch, Number: number}
	if controller == CCDataEntry {
		c.Value14 = p.data.setHigh(v)
	} else if p.data.setLow(v) {
		c.Value14 = p.data.value()
	} else {
		return Control{}, false
	}
	c.Fine = p.data.isFine()
	return c, true
}

// step is a data increment or decrement: of the low half if that is known to
// be in use, else of the high one (RP-018). Its data byte means nothing.
func (p *parameter) step(ch, d int) (Control, bool) {
	number := p.selected()
	if number < 0 {
		return Control{}, false
	}
	c := Control{Kind: p.kind, Channel: ch, Number: number, Value14: -1, Increment: d}
	if q := &p.data; q.haveHigh {
		v := q.value()
		if q.isFine() {
			v = min(max(v+d, 0), 16383)
			q.high, q.fine = uint8(v>>7), uint8(v&0x7f)
			q.low, q.before = q.fine, q.fine
		} else {
			q.high = uint8(min(max(int(q.high)+d, 0), 127))
		}
		c.Value14, c.Fine = q.value(), q.isFine()
	}
	return c, true
}

// AppendCC14 adds a controller 0…31 with its fine part to dst: value 0…16383,
// the high half first.
func AppendCC14(dst []Message, channel, controller, value int) []Message {
	value = min(max(value, 0), 16383)
	controller &= CCFine - 1
	return append(dst, CC(channel, controller, value>>7), CC(channel, controller+CCFine, value))
}

// AppendNRPN adds a value of a parameter of the maker's own to dst: number and
// value 0…16383. The number stays selected, as is usual where a control moves.
func AppendNRPN(dst []Message, channel, number, value int) []Message {
	return appendParameter(dst, channel, CCNRPN, CCNRPNFine, number, value)
}

// AppendRPN adds a value of a registered parameter to dst, and the null
// parameter behind it, so that no stray data entry changes it again.
func AppendRPN(dst []Message, channel, number, value int) []Message {
	return AppendNull(appendParameter(dst, channel, CCRPN, CCRPNFine, number, value), channel)
}

// AppendNull adds the null parameter to dst: data entry on the channel then
// belongs to nothing.
func AppendNull(dst []Message, channel int) []Message {
	return append(dst, CC(channel, CCRPN, 127), CC(channel, CCRPNFine, 127))
}

func appendParameter(dst []Message, channel, high, low, number, value int) []Message {
	number, value = min(max(number, 0), 16383), min(max(value, 0), 16383)
	return append(dst, CC(channel, high, number>>7), CC(channel, low, number),
		CC(channel, CCDataEntry, value>>7), CC(channel, CCDataEntry+CCFine, value))
}
