package bind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Version is the version of mapping files that are written.
const Version = 1

const (
	// mostLayer is the highest layer; 0 is where a surface begins.
	mostLayer = 99
	// MaxFile is the longest mapping file that is read, in bytes.
	MaxFile     = 1 << 20
	mostBinding = 2048 // bindings in a file
	mostInAll   = 4096 // controls in a file
	maxTitle    = 80
	maxAbout    = 8000
	maxHello    = 16 // exclusive messages
	// DefaultRate is how many bytes a second a port is sent at most: what a
	// USB port takes with ease. A DIN cable takes 3125.
	DefaultRate = 24000
	leastRate   = 300
)

// Takeover says what a control does whose position is not the one of what it
// turns.
type Takeover uint8

// Ways to take over.
const (
	TakeoverDefault Takeover = iota // as the file says; in a file, pickup
	Jump                            // the value goes where the control is
	Pickup                          // nothing happens until the control passes the value
	Scaled                          // the value goes the control's way and meets it at the end
)

var takeoverWords = [...]string{"default", "jump", "pickup", "scaled"}

// String returns the word that mapping files use.
func (t Takeover) String() string { return takeoverWords[t] }

// Mode says how a control acts.
type Mode uint8

// Modes.
const (
	ModeAuto  Mode = iota // what fits the control and what it is bound to
	Absolute              // the value is where the control is
	Relative              // the control says how far to go: an encoder without ends
	Toggle                // a press goes on to the next position
	Momentary             // high while it is pressed
	Gate                  // 10 V while it is pressed
	Trigger               // a trigger at each press
)

var modeWords = [...]string{"auto", "absolute", "relative", "toggle", "momentary", "gate", "trigger"}

// String returns the word that mapping files use.
func (m Mode) String() string { return modeWords[m] }

// Encoder is how an encoder says how far it was turned.
type Encoder uint8

// Encoders.
const (
	TwosComplement Encoder = iota // 1 is one up, 127 one down
	SignedBit                     // 1 is one up, 65 one down
	BinaryOffset                  // 65 is one up, 63 one down
)

var encoderWords = [...]string{"twos_complement", "signed_bit", "binary_offset"}

// String returns the word that mapping files use.
func (e Encoder) String() string { return encoderWords[e] }

// ticks returns how far seven bits say an encoder was turned.
func (e Encoder) ticks(v int) int {
	switch e {
	case SignedBit:
		if v >= 64 {
			return 64 - v
		}
		return v
	case BinaryOffset:
		return v - 64
	}
	if v >= 64 {
		return v - 128
	}
	return v
}

// Colour is what a lit control is sent: a value 0…127, on a channel of its own
// where surfaces tell steady, flashing and pulsing lights apart by it.
type Colour struct {
	Value   uint8
	Channel uint8 // 1…16; 0 is the control's own
}

// String returns the colour as a mapping file writes it: "21" or "21@3".
func (c Colour) String() string {
	if c.Channel > 0 {
		return fmt.Sprintf("%d@%d", c.Value, c.Channel)
	}
	return strconv.Itoa(int(c.Value))
}

// Feedback says what a surface is told of what a control is bound to.
type Feedback struct {
	Off bool
	// To are the controls that are told, one for each control of the binding;
	// empty is the controls themselves.
	To []Control
	// Low and High are what the ends of the travel are sent as, of 127; for LED
	// rings that show 1…11.
	Low, High int
	// Colours by what is shown: a phase, the word of a switch, on and off, or
	// a number, which means from that value up.
	Colours map[string]Colour
}

// Binding binds controls to as many things.
type Binding struct {
	Name         string // for people
	Controls     []Control
	To           []string // as the file has it; with Pods empty
	Pods         bool     // each control is the pad of a pod
	First        int      // slot of the first pad, from 1
	Range        []float64
	Curve        Curve
	Steps        int
	Mode         Mode
	Encoder      Encoder
	Sensitivity  float64 // of an encoder: 1 is 128 ticks, or one tick a step, over the range
	Acceleration float64 // of an encoder: how much faster it is when it is turned fast
	Takeover     Takeover
	Feedback     Feedback
	Layer        int // −1 for all
	Touch        []Control
	Port         string // only on ports that match; empty for all of the file

	to   []to
	node *yaml.Node
}

// Layer is one layer of a surface.
type Layer struct {
	Number int
	Name   string
	// Shift chooses the layer while it is held, or with Latch from one press
	// to the next.
	Shift []Control
	Latch bool
}

// Map is a mapping file.
type Map struct {
	Name     string
	Title    string
	About    string
	Ports    []string // patterns of the ports that it is for
	Takeover Takeover
	Rate     int // bytes a second that a port is sent at most
	// Hello are exclusive messages that a port is sent when it appears.
	Hello    [][]byte
	Colours  map[string]Colour // for all bindings
	Layers   []Layer
	Bindings []Binding

	file string
	doc  *yaml.Node // what was read, with its comments
}

// NewMap returns an empty map, for learning into.
func NewMap(name, title string) *Map {
	m, err := Parse(name, []byte(fmt.Sprintf("version: %d\nname: %s\ntitle: %s\nbindings: []\n", Version, name, strconv.Quote(title))))
	if err != nil {
		panic(fmt.Sprintf("bind: %v", err)) // a name that is none is a mistake in the program
	}
	return m
}

// Matches tells whether the map is for a port.
func (m *Map) Matches(port string) bool {
	return len(m.Ports) == 0 || slices.ContainsFunc(m.Ports, func(p string) bool { return matchPort(p, port) })
}

// matchPort tells whether a port's name matches a pattern: in part, or with *
// as a whole; upper and lower case are alike.
func matchPort(pattern, port string) bool {
	pattern, port = strings.ToLower(pattern), strings.ToLower(port)
	if strings.Contains(pattern, "*") {
		return glob(pattern, port)
	}
	return strings.Contains(port, pattern)
}

// hello returns the messages that a port is sent when it appears.
func (m *Map) hello() (ms []midi.Message) {
	for _, b := range m.Hello {
		ms = append(ms, midi.Message{SysEx: b})
	}
	return ms
}
