package calibration

import (
	"fmt"
	"math"
	"strings"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Kind is how a pitch becomes a voltage.
type Kind int

// The kinds of pitch voltage that oscillators of the trade take.
const (
	// VoltPerOctave: 1 V an octave (Eurorack, Moog, Doepfer).
	VoltPerOctave Kind = iota
	// BuchlaPerOctave: 1.2 V an octave, 0.1 V a semitone (Buchla).
	BuchlaPerOctave
	// HertzPerVolt: a volt is a number of hertz (Korg, Yamaha).
	HertzPerVolt
)

// kindWords are how the kinds are written in files and on the command line.
var kindWords = []string{"1V/oct", "1.2V/oct", "Hz/V"}

// String returns 1V/oct, 1.2V/oct or Hz/V.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindWords) {
		return fmt.Sprintf("Kind(%d)", int(k))
	}
	return kindWords[k]
}

// ParseKind reads what String writes, whatever the case and blanks.
func ParseKind(s string) (Kind, error) {
	plain := strings.ToLower(strings.ReplaceAll(s, " ", ""))
	for k, w := range kindWords {
		if plain == strings.ToLower(w) {
			return Kind(k), nil
		}
	}
	return 0, fmt.Errorf("standard %q: expected one of %s", document.Clip(s), strings.Join(kindWords, ", "))
}

// Standard is how the notes of one jack become volts. The zero value is 1 V an octave with C4 (MIDI
// note 60) at 0 V.
type Standard struct {
	Kind Kind
	// Volts is the voltage at which the pitch is Hertz; with Hertz 0 that is C4, 261.63 Hz. Of Hz/V
	// it is above 0, and 0 stands for 1 V.
	Volts, Hertz float64
}

// String names the standard, and its reference where it is not C4 at 0 V.
func (s Standard) String() string {
	if s.Kind == HertzPerVolt {
		return fmt.Sprintf("%.4g Hz/V", s.hertz()/s.volts())
	}
	if s.Volts != 0 || s.Hertz != 0 {
		return fmt.Sprintf("%s with %.5g Hz at %g V", s.Kind, s.hertz(), s.Volts)
	}
	return s.Kind.String()
}

func (s Standard) hertz() float64 {
	if s.Hertz > 0 {
		return s.Hertz
	}
	return dsp.C4Hertz
}

func (s Standard) volts() float64 {
	if s.Kind == HertzPerVolt && !(s.Volts > 0) {
		return 1
	}
	return s.Volts
}

func (s Standard) perOctave() float64 {
	if s.Kind == BuchlaPerOctave {
		return 1.2
	}
	return 1
}

// check tells whether the figures of a standard make sense.
func (s Standard) check() error {
	switch {
	case s.Kind == HertzPerVolt && (s.Volts < 0 || s.volts() < 0.01 || s.volts() > maxVolts):
		return fmt.Errorf("the reference of Hz/V is at %g V; expected 0.01 to %d V", s.Volts, maxVolts)
	case !(math.Abs(s.Volts) <= maxVolts):
		return fmt.Errorf("the reference is at %g V; expected -%d to %d V", s.Volts, maxVolts, maxVolts)
	case s.Hertz != 0 && !(s.Hertz >= 1 && s.Hertz <= 20000):
		return fmt.Errorf("the reference is %g Hz; expected 1 to 20000 Hz", s.Hertz)
	}
	return nil
}

// VoltsOf is the voltage of a note, a MIDI number with or without a fraction; 60 is C4.
func (s Standard) VoltsOf(note float64) float64 {
	octaves := (note - HertzNote(s.hertz())) / 12
	if s.Kind == HertzPerVolt {
		return s.volts() * math.Exp2(octaves)
	}
	return s.Volts + octaves*s.perOctave()
}

// NoteOf is the inverse of VoltsOf. Volts of Hz/V that are not above 0 have no note: NaN.
func (s Standard) NoteOf(volts float64) float64 {
	reference := HertzNote(s.hertz())
	if s.Kind == HertzPerVolt {
		if !(volts > 0) {
			return math.NaN()
		}
		return reference + 12*math.Log2(volts/s.volts())
	}
	return reference + 12*(volts-s.Volts)/s.perOctave()
}

// Cents is how far a voltage is from the one that is wanted, as it is heard.
func (s Standard) Cents(wanted, got float64) float64 {
	return 100 * (s.NoteOf(got) - s.NoteOf(wanted))
}

// semitone is how many volts a semitone is at a voltage.
func (s Standard) semitone(volts float64) float64 {
	if s.Kind == HertzPerVolt {
		return math.Abs(volts) * math.Ln2 / 12
	}
	return s.perOctave() / 12
}

// NoteHertz is the frequency of a note, with A4 (69) at 440 Hz.
func NoteHertz(note float64) float64 { return dsp.C4Hertz * math.Exp2((note-60)/12) }

// HertzNote is the note of a frequency, with a fraction; NaN where there is none.
func HertzNote(hertz float64) float64 { return 60 + 12*math.Log2(hertz/dsp.C4Hertz) }

var noteNames = [12]string{"C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B"}

// NoteName is the name of a note: 60 is C4.
func NoteName(note int) string {
	octave := note / 12
	if note%12 < 0 {
		octave--
	}
	return fmt.Sprintf("%s%d", noteNames[(note%12+12)%12], octave-1)
}

// ParseNote reads a note's name (C4, f#2, Bb-1) or its MIDI number.
func ParseNote(s string) (int, error) {
	wrong := fmt.Errorf("note %q: expected a name from C-1 to G9 or a MIDI number from 0 to 127", document.Clip(s))
	t := strings.TrimSpace(s)
	var n int
	if _, err := fmt.Sscanf(t, "%d", &n); err == nil && fmt.Sprint(n) == t {
		if n < 0 || n > 127 {
			return 0, wrong
		}
		return n, nil
	}
	if t == "" {
		return 0, wrong
	}
	at := strings.IndexByte("C D EF G A B", t[0]&^0x20)
	if at < 0 || t[0]|0x20 < 'a' || t[0]|0x20 > 'g' {
		return 0, wrong
	}
	rest := t[1:]
	switch {
	case strings.HasPrefix(rest, "#"):
		at, rest = at+1, rest[1:]
	case strings.HasPrefix(rest, "b"):
		at, rest = at-1, rest[1:]
	}
	var octave int
	if _, err := fmt.Sscanf(rest, "%d", &octave); err != nil || fmt.Sprint(octave) != rest {
		return 0, wrong
	}
	if n = 12*(octave+1) + at; n < 0 || n > 127 {
		return 0, wrong
	}
	return n, nil
}
