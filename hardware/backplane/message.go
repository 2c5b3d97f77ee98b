package backplane

// Protocols that this implementation speaks.
const (
	OldestProtocol = 1
	Protocol       = 1
)

// Kinds of messages, the first byte of a payload. Those of panels have bit 6.
const (
	kindHello    = 0x01
	kindDescribe = 0x02
	kindBind     = 0x03
	kindOutputs  = 0x04
	kindAck      = 0x05
	kindBye      = 0x06

	kindIdentify = 0x41
	kindControl  = 0x42
	kindBound    = 0x43
	kindValues   = 0x44
	kindEdges    = 0x45
	kindAlive    = 0x46
	kindFault    = 0x47
)

// Ends of what a panel may have.
const (
	MaxValues  = 16 // knobs and CV inputs
	MaxGates   = 16 // gate inputs and buttons
	MaxOutputs = 16 // lights, bars, gate and CV outputs
	MaxName    = 24 // bytes of a kind or of a control's name
	MaxModule  = 56 // bytes of a module id
)

// Class is what a control is.
type Class uint8

// Classes. Values go to the daemon as 16 bits over their travel, gates as edges,
// outputs come from it as 16 bits.
const (
	Knob    Class = 1 // value: travel from the left end to the right
	CVIn    Class = 2 // value: −10 V … +10 V
	GateIn  Class = 3 // gate
	Button  Class = 4 // gate: high while it is pressed
	Light   Class = 16
	Bar     Class = 17 // a row of lights that fills
	GateOut Class = 18 // high from half of the range on
	CVOut   Class = 19 // −10 V … +10 V
)

// String names the class for people.
func (c Class) String() string {
	switch c {
	case Knob:
		return "knob"
	case CVIn:
		return "CV input"
	case GateIn:
		return "gate input"
	case Button:
		return "button"
	case Light:
		return "light"
	case Bar:
		return "bar"
	case GateOut:
		return "gate output"
	case CVOut:
		return "CV output"
	}
	return "control of a later protocol"
}

// IsValue tells whether a control of the class has a value.
func (c Class) IsValue() bool { return c == Knob || c == CVIn }

// IsGate tells whether a control of the class has edges.
func (c Class) IsGate() bool { return c == GateIn || c == Button }

// IsOutput tells whether a control of the class is set by the daemon.
func (c Class) IsOutput() bool { return c >= Light && c <= CVOut }

// Control is one knob, jack or light of a panel. Its name is that of the param
// or jack of the module that it stands for.
type Control struct {
	Class Class
	// Slot counts the values, the gates and the outputs of a panel, each from 0.
	Slot uint8
	Name string
}

// Identity is what a panel says of itself.
type Identity struct {
	// Kind of module, such as "pod".
	Kind string
	// Serial tells panels of a kind apart; it stays the same for the panel's
	// life.
	Serial [8]byte
	// Firmware is its version, the major one in the upper byte.
	Firmware uint16
	// Boot differs each time that the panel starts.
	Boot uint32
	// Wish is the module id that the panel would like to be, or nothing.
	Wish string
}

// FaultCode says what a panel cannot do.
type FaultCode uint8

// Faults. A panel that knows no session is not at fault: it was switched on
// again, and wants a Hello.
const (
	FaultNoSession FaultCode = 1
	FaultNoControl FaultCode = 2
	FaultBinding   FaultCode = 3
	FaultHardware  FaultCode = 4
)

// String says it for people.
func (c FaultCode) String() string {
	switch c {
	case FaultNoSession:
		return "no session"
	case FaultNoControl:
		return "no such control"
	case FaultBinding:
		return "cannot be that module"
	case FaultHardware:
		return "a part of it is broken"
	}
	return "fault of a later protocol"
}

// writer writes one payload. What does not fit is a mistake in this package.
type writer struct {
	b [MaxPayload]byte
	n int
}

func (w *writer) begin(kind byte, session uint32) {
	w.n = 0
	w.u8(kind)
	w.u32(session)
}

func (w *writer) u8(v uint8)   { w.b[w.n] = v; w.n++ }
func (w *writer) u16(v uint16) { w.u8(uint8(v)); w.u8(uint8(v >> 8)) }
func (w *writer) u32(v uint32) { w.u16(uint16(v)); w.u16(uint16(v >> 16)) }

// text writes at most limit bytes behind their number.
func text[T string | []byte](w *writer, s T, limit int) {
	n := min(len(s), limit)
	w.u8(uint8(n))
	for i := range n {
		w.u8(s[i])
	}
}

// same compares without making a string of anything.
func same[A, B string | []byte](a A, b B) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}

func (w *writer) bytes() []byte { return w.b[:w.n] }

// reader reads one payload. Past its end everything is 0 and short is set.
// Bytes that are left over are those of a later protocol, and are ignored.
type reader struct {
	b     []byte
	short bool
}

func (r *reader) u8() uint8 {
	if len(r.b) == 0 {
		r.short = true
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) u16() uint16 { v := uint16(r.u8()); return v | uint16(r.u8())<<8 }
func (r *reader) u32() uint32 { v := uint32(r.u16()); return v | uint32(r.u16())<<16 }

// text returns what lies in the payload: printable ASCII of at most limit bytes.
func (r *reader) text(limit int) []byte {
	n := int(r.u8())
	if n > limit || n > len(r.b) {
		r.short = true
		return nil
	}
	s := r.b[:n]
	r.b = r.b[n:]
	for _, c := range s {
		if c < ' ' || c > '~' {
			r.short = true
			return nil
		}
	}
	return s
}
