package bind

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/document"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// Kind is what a control sends.
type Kind uint8

// Kinds of controls.
const (
	CC          Kind = iota // a controller of seven bits
	CC14                    // a controller 0…31 with its fine part
	Note                    // a key, pad or button
	NRPN                    // a parameter of the maker's own
	RPN                     // a registered parameter
	Bend                    // pitch bend
	Pressure                // pressure of a whole channel
	KeyPressure             // pressure of one key
	Program                 // program change: one number is a button, without one the number is the value
	OSC                     // an OSC address that sends a number, 0…1 over its travel
)

var kindWords = [...]string{"cc", "cc14", "note", "nrpn", "rpn", "bend", "pressure", "key_pressure", "program", "osc"}

// String returns the word that mapping files use.
func (k Kind) String() string { return kindWords[k] }

// Control names one control of a surface. It is comparable.
type Control struct {
	Kind    Kind
	Channel int    // 1…16, 0 for any; OSC has none
	Number  int    // of a controller, key, parameter or program; −1 where there is none
	Address string // of an OSC control
}

// String returns the control as a mapping file writes it: "cc 20 ch 3".
func (c Control) String() string {
	if c.Kind == OSC {
		return "osc " + c.Address
	}
	s := c.Kind.String()
	if c.Number >= 0 {
		s += " " + strconv.Itoa(c.Number)
	}
	if c.Channel > 0 {
		s += " ch " + strconv.Itoa(c.Channel)
	}
	return s
}

// numbers returns the highest number that a kind has, and whether it needs one.
func (k Kind) numbers() (most int, needed bool) {
	switch k {
	case CC:
		return midi.CCAllSoundOff - 1, true
	case CC14:
		return midi.CCFine - 1, true
	case Note, KeyPressure:
		return 127, true
	case Program:
		return 127, false
	case NRPN, RPN:
		return midi.RPNNull - 1, true
	}
	return -1, false
}

// mostControls bounds what one binding covers.
const mostControls = 512

const controlExpected = "expected a kind, a number and a channel, such as cc 20, note 36-43 ch 10, nrpn 300 ch 1, bend ch 2 or osc /1/fader1"

// ParseControls reads what a binding is bound to: one control, or with a range
// of numbers or of channels several, such as "note 36-43 ch 10".
func ParseControls(s string) ([]Control, error) {
	words := strings.Fields(s)
	if len(words) == 0 {
		return nil, fmt.Errorf("the control is empty; %s", controlExpected)
	}
	k := slices.Index(kindWords[:], words[0])
	if k < 0 {
		return nil, fmt.Errorf("%q is not a kind of control; expected one of %s%s", document.Clip(words[0]), strings.Join(kindWords[:], ", "), document.Near(words[0], kindWords[:]))
	}
	kind, words := Kind(k), words[1:]
	if kind == OSC {
		if len(words) != 1 || !strings.HasPrefix(words[0], "/") || strings.ContainsAny(words[0], "#*,?[]{}") {
			return nil, fmt.Errorf("osc takes one address without wildcards, such as osc /1/fader1, got %q", document.Clip(strings.Join(words, " ")))
		}
		return []Control{{Kind: OSC, Number: -1, Address: words[0]}}, nil
	}
	low, high := -1, -1
	most, needed := kind.numbers()
	if len(words) > 0 && words[0] != "ch" {
		var err error
		if most < 0 {
			return nil, fmt.Errorf("%s has no number, got %q; expected %s or %s ch 1", kind, document.Clip(words[0]), kind, kind)
		}
		if low, high, err = span(words[0], 0, most, kind.String()); err != nil {
			return nil, err
		}
		words = words[1:]
	} else if needed {
		return nil, fmt.Errorf("%s has no number; expected %s 0 … %s %d", kind, kind, kind, most)
	}
	first, last := 0, 0
	if len(words) > 0 {
		if words[0] != "ch" || len(words) != 2 {
			return nil, fmt.Errorf("%q is too much; %s", document.Clip(strings.Join(words, " ")), controlExpected)
		}
		if words[1] != "any" {
			var err error
			if first, last, err = span(words[1], 1, 16, "ch"); err != nil {
				return nil, err
			}
		}
	}
	if high > low && last > first {
		return nil, fmt.Errorf("%q ranges over numbers and over channels; expected one of the two", document.Clip(s))
	}
	if high-low >= mostControls {
		return nil, fmt.Errorf("%q is %d controls; a binding covers at most %d", document.Clip(s), high-low+1, mostControls)
	}
	var cs []Control
	for n := low; n <= high; n++ {
		for ch := first; ch <= last; ch++ {
			cs = append(cs, Control{Kind: kind, Channel: ch, Number: n})
		}
	}
	return cs, nil
}

// ParseControl reads exactly one control.
func ParseControl(s string) (Control, error) {
	cs, err := ParseControls(s)
	if err != nil {
		return Control{}, err
	}
	if len(cs) != 1 {
		return Control{}, fmt.Errorf("%q is %d controls; expected one", document.Clip(s), len(cs))
	}
	return cs[0], nil
}

// span reads "5" or "5-8".
func span(s string, low, high int, what string) (from, to int, err error) {
	a, b, two := strings.Cut(s, "-")
	if !two {
		b = a
	}
	from, err1 := strconv.Atoi(a)
	to, err2 := strconv.Atoi(b)
	if err1 != nil || err2 != nil || from < low || to > high || to < from {
		return 0, 0, fmt.Errorf("%s takes a number or a range from %d to %d, such as %d or %d-%d, got %q", what, low, high, low, low, min(low+7, high), document.Clip(s))
	}
	return from, to, nil
}

// isButton tells whether a control is pressed and released, not moved.
func (c Control) isButton() bool {
	return c.Kind == Note || c.Kind == Program && c.Number >= 0
}

// appendMessages adds what moves the control on its surface to dst. Value is
// 0…16383 over its travel, of seven bits 0…127.
func (c Control) appendMessages(dst []midi.Message, channel, value int) []midi.Message {
	switch c.Kind {
	case CC:
		return append(dst, midi.CC(channel, c.Number, value))
	case CC14:
		return midi.AppendCC14(dst, channel, c.Number, value)
	case Note:
		return append(dst, midi.On(channel, c.Number, value))
	case NRPN:
		return midi.AppendNRPN(dst, channel, c.Number, value)
	case RPN:
		return midi.AppendRPN(dst, channel, c.Number, value)
	case Bend:
		return append(dst, midi.BendTo(channel, value-8192))
	case Pressure:
		return append(dst, midi.Pressure(channel, value))
	case KeyPressure:
		return append(dst, midi.KeyPressure(channel, c.Number, value))
	case Program:
		n := c.Number
		if n < 0 {
			n = value
		}
		return append(dst, midi.Program(channel, n))
	}
	return dst
}

// fine tells whether a control has fourteen bits.
func (c Control) fine() bool {
	return c.Kind == CC14 || c.Kind == NRPN || c.Kind == RPN || c.Kind == Bend
}

// cost is how many bytes telling the control its value takes.
func (c Control) cost() int {
	switch c.Kind {
	case CC14:
		return 6
	case NRPN:
		return 12
	case RPN:
		return 18
	case Program, Pressure:
		return 2
	}
	return 3
}
