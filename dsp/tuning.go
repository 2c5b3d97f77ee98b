package dsp

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

const (
	// tuningVolts is how far from C4 a tuning reaches: 20 octaves in all.
	tuningVolts = 10.0
	// maxNotes bounds a tuning whose period is tiny.
	maxNotes = 1 << 17
	// sameCents is how near to each other two notes are one.
	sameCents = 0.001
)

// Tuning is all pitches of a tuning within ±10 V of C4, in rising order. It
// never changes after it was made, so that any thread may read it.
type Tuning struct {
	name      string
	notes     []tunedNote
	semitones uint16 // of all notes
}

// tunedNote is one pitch. Bit k of semitones is set when the note stands for
// the note k semitones above C in the twelve-note scales of Western music.
type tunedNote struct {
	volts     float32
	semitones uint16
}

// NewTuning lays a scale over all octaves. With a map, the keys that it tunes
// are the notes, at the frequencies that it gives them; without one, 1/1 is
// C4 and each degree is a note.
//
// Of a scale or map of twelve notes, each stands for a semitone; of any other,
// those notes do that are nearest to one.
func NewTuning(name string, s *Scale, k *KeyboardMap) (*Tuning, error) {
	t := &Tuning{name: name}
	var err error
	if k != nil {
		err = t.fromKeys(s, k)
	} else {
		err = t.fromScale(s)
	}
	if err != nil {
		return nil, fmt.Errorf("tuning %s: %w", name, err)
	}
	if len(t.notes) == 0 {
		return nil, fmt.Errorf("tuning %s: no key is mapped to a note within %g octaves of C4", name, tuningVolts)
	}
	return t, nil
}

// at is the pitch of any degree in cents above 1/1, over all periods.
func (s *Scale) at(degree int) float64 {
	n := len(s.Cents)
	if n == 0 {
		return 0
	}
	turn := degree / n
	if degree%n < 0 {
		turn--
	}
	cents := float64(turn) * s.Cents[n-1]
	if d := degree - turn*n; d > 0 {
		cents += s.Cents[d-1]
	}
	return cents
}

func (t *Tuning) fromScale(s *Scale) error {
	n := len(s.Cents)
	turns, period := 0, 0.0
	if n > 0 {
		period = math.Abs(s.Cents[n-1])
	}
	if period > sameCents {
		widest := 0.0
		for _, c := range s.Cents {
			widest = max(widest, math.Abs(c))
		}
		need := math.Ceil((1200*tuningVolts+widest)/period) + 1
		if need*float64(2*n) > maxNotes {
			return fmt.Errorf("a period of %g cents makes too many notes of its %d; the most is %d in 20 octaves", period, n, maxNotes)
		}
		turns = int(need)
	}
	for d := -turns * max(n, 1); d < (turns+1)*max(n, 1); d++ {
		var semitones uint16
		if n == 12 {
			semitones = 1 << (((d % 12) + 12) % 12)
		}
		t.add(s.at(d)/1200, semitones)
	}
	t.sort(n != 12)
	return nil
}

func (t *Tuning) fromKeys(s *Scale, k *KeyboardMap) error {
	octave := s.at(k.Octave)
	if k.Octave == 0 {
		octave = s.at(len(s.Cents))
	}
	size := len(k.Degrees)
	pitch := func(key int) (cents float64, ok bool) {
		d := key - k.Middle
		if size == 0 {
			return s.at(d), true
		}
		turn := d / size
		if d%size < 0 {
			turn--
		}
		degree := k.Degrees[d-turn*size]
		if degree == Unmapped {
			return 0, false
		}
		return s.at(degree) + float64(turn)*octave, true
	}
	reference, ok := pitch(k.Reference)
	if !ok {
		return fmt.Errorf("key %d, whose frequency is given, is not mapped; give the frequency of a key that is", k.Reference)
	}
	base := math.Log2(k.Hertz / C4Hertz)
	twelve := size == 12 || size == 0 && len(s.Cents) == 12
	for key := k.First; key <= k.Last; key++ {
		cents, ok := pitch(key)
		if !ok {
			continue
		}
		var semitones uint16
		if twelve {
			semitones = 1 << (key % 12)
		}
		t.add(base+(cents-reference)/1200, semitones)
	}
	t.sort(!twelve)
	return nil
}

func (t *Tuning) add(volts float64, semitones uint16) {
	if math.Abs(volts) <= tuningVolts {
		t.notes = append(t.notes, tunedNote{float32(volts), semitones})
	}
}

// sort brings the notes into order, joins those that are the same, and finds
// those that stand for semitones where nothing else says so.
func (t *Tuning) sort(nearest bool) {
	slices.SortStableFunc(t.notes, func(a, b tunedNote) int {
		switch {
		case a.volts < b.volts:
			return -1
		case a.volts > b.volts:
			return 1
		}
		return 0
	})
	kept := t.notes[:0]
	for _, n := range t.notes {
		if k := len(kept); k > 0 && n.volts-kept[k-1].volts < sameCents/1200 {
			kept[k-1].semitones |= n.semitones
			continue
		}
		kept = append(kept, n)
	}
	t.notes = slices.Clip(kept)
	if nearest && len(t.notes) > 0 {
		for k := -12 * tuningVolts; k <= 12*tuningVolts; k++ {
			t.notes[t.Nearest(float32(k/12))].semitones |= 1 << (((int(k) % 12) + 12) % 12)
		}
	}
	for _, n := range t.notes {
		t.semitones |= n.semitones
	}
}

// Name is what the tuning is called.
func (t *Tuning) Name() string { return t.name }

// Len is the number of notes, at least 1.
//
// Audio thread.
func (t *Tuning) Len() int { return len(t.notes) }

// Volts is the pitch of note i, from 0, the lowest.
//
// Audio thread.
func (t *Tuning) Volts(i int) float32 { return t.notes[i].volts }

// Among returns the note nearest to a pitch of those that stand for one of the
// semitones above C whose bits are set, and the nearest of those below and
// above it, -1 where there is none. Where no note is one of them, all are.
//
// Audio thread.
func (t *Tuning) Among(volts float32, semitones uint16) (note, below, above int) {
	if t.semitones&semitones == 0 {
		semitones = 0
	}
	note = t.Nearest(volts)
	if !t.stands(note, semitones) {
		below, above = t.below(note, semitones), t.above(note, semitones)
		switch {
		case below < 0:
			note = above
		case above < 0 || volts-t.notes[below].volts <= t.notes[above].volts-volts:
			note = below
		default:
			note = above
		}
	}
	return note, t.below(note, semitones), t.above(note, semitones)
}

// stands tells whether note i is one of those; without any, all are.
func (t *Tuning) stands(i int, semitones uint16) bool {
	return semitones == 0 || t.notes[i].semitones&semitones != 0
}

func (t *Tuning) below(i int, semitones uint16) int {
	for i--; i >= 0 && !t.stands(i, semitones); i-- {
	}
	return i
}

func (t *Tuning) above(i int, semitones uint16) int {
	for i++; i < len(t.notes); i++ {
		if t.stands(i, semitones) {
			return i
		}
	}
	return -1
}

// Nearest is the note nearest to a pitch; the lower of two.
//
// Audio thread.
func (t *Tuning) Nearest(volts float32) int {
	low, high := 0, len(t.notes)-1
	for low < high {
		mid := (low + high) / 2
		if volts > 0.5*(t.notes[mid].volts+t.notes[mid+1].volts) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// ratios is a scale from pitches as a .scl file has them.
func ratios(words string) *Scale {
	s := &Scale{}
	for _, w := range strings.Fields(words) {
		cents, err := parsePitch(w)
		if err != nil {
			panic(err)
		}
		s.Cents = append(s.Cents, cents)
	}
	return s
}

// fifths is a scale of twelve notes from the circle of fifths: how much
// narrower than 3/2 each is, in cents, from C–G to F–C.
func fifths(narrow [12]float64) *Scale {
	cents := make([]float64, 12)
	at := 0.0
	for i := range 11 {
		at = math.Mod(at+1200*math.Log2(1.5)-narrow[i]+1200, 1200)
		cents[(i+1)*7%12] = at
	}
	return &Scale{Cents: append(cents[1:], 1200)}
}

// equalScale divides an interval into equal steps.
func equalScale(steps int, cents float64) *Scale {
	s := &Scale{}
	for k := 1; k <= steps; k++ {
		s.Cents = append(s.Cents, cents*float64(k)/float64(steps))
	}
	return s
}

var (
	// pythagoreanComma is by how much twelve fifths of 3/2 pass seven octaves,
	// in cents; the syntonic comma is by how much four pass two octaves and 5/4.
	pythagoreanComma = 1200 * (12*math.Log2(1.5) - 7)
	syntonicComma    = 1200 * math.Log2(81.0/80)
)

// circle narrows n fifths in a row, from the one that begins at from on, by the
// same cents; the rest are 3/2.
func circle(from, n int, cents float64) (narrow [12]float64) {
	for i := range n {
		narrow[(from+i)%12] = cents
	}
	return narrow
}

// The circle of fifths from C: which fifth begins on which note.
const (
	fifthC = iota
	fifthG
	fifthD
	fifthA
	fifthE
	fifthB
	fifthFSharp
	fifthCSharp
	fifthGSharp
	fifthEFlat
	fifthBFlat
	fifthF
)

// builtin are the tunings that need no file.
var builtin = []struct {
	name string
	make func() *Scale
}{
	{"equal", func() *Scale { return equalScale(12, 1200) }},
	// The twelve notes of three rows of fifths, a major third apart.
	{"just", func() *Scale { return ratios("16/15 9/8 6/5 5/4 4/3 45/32 3/2 8/5 5/3 9/5 15/8 2/1") }},
	{"just-major", func() *Scale { return ratios("9/8 5/4 4/3 3/2 5/3 15/8 2/1") }},
	{"just-minor", func() *Scale { return ratios("9/8 6/5 4/3 3/2 8/5 9/5 2/1") }},
	{"pythagorean", func() *Scale {
		return ratios("256/243 9/8 32/27 81/64 4/3 729/512 3/2 128/81 27/16 16/9 243/128 2/1")
	}},
	// Quarter-comma meantone from E-flat to G-sharp, with the wolf between them.
	{"meantone", func() *Scale {
		n := circle(fifthEFlat, 11, syntonicComma/4)
		n[fifthGSharp] = pythagoreanComma - 11*syntonicComma/4
		return fifths(n)
	}},
	{"werckmeister3", func() *Scale {
		n := circle(fifthC, 3, pythagoreanComma/4)
		n[fifthB] = pythagoreanComma / 4
		return fifths(n)
	}},
	{"kirnberger3", func() *Scale {
		n := circle(fifthC, 4, syntonicComma/4)
		n[fifthFSharp] = pythagoreanComma - syntonicComma
		return fifths(n)
	}},
	{"vallotti", func() *Scale { return fifths(circle(fifthF, 6, pythagoreanComma/6)) }},
	{"young", func() *Scale { return fifths(circle(fifthC, 6, pythagoreanComma/6)) }},
	{"harmonics", func() *Scale { return ratios("9/8 5/4 11/8 3/2 13/8 7/4 15/8 2/1") }},
	{"partch", func() *Scale {
		return ratios("81/80 33/32 21/20 16/15 12/11 11/10 10/9 9/8 8/7 7/6 32/27 6/5 11/9 5/4 14/11 9/7 21/16 4/3 27/20 11/8 7/5 " +
			"10/7 16/11 40/27 3/2 32/21 14/9 11/7 8/5 18/11 5/3 27/16 12/7 7/4 16/9 9/5 20/11 11/6 15/8 40/21 64/33 160/81 2/1")
	}},
	{"bohlen-pierce", func() *Scale { return equalScale(13, 1200*math.Log2(3)) }},
	{"bohlen-pierce-just", func() *Scale {
		return ratios("27/25 25/21 9/7 7/5 75/49 5/3 9/5 49/25 15/7 7/3 63/25 25/9 3/1")
	}},
	// The two as Ellis measured them, in Helmholtz, "On the Sensations of Tone"
	// (1885).
	{"slendro", func() *Scale { return ratios("228. 484. 728. 960. 2/1") }},
	{"pelog", func() *Scale { return ratios("137. 446. 575. 687. 820. 1098. 2/1") }},
	// Equal steps of which so many make 3/2 and so many 5/4 that no octave is
	// among them, of Wendy Carlos.
	{"carlos-alpha", func() *Scale { return ratios("77.965") }},
	{"carlos-beta", func() *Scale { return ratios("63.833") }},
	{"carlos-gamma", func() *Scale { return ratios("35.099") }},
}

// maxEqual is the most equal divisions of the octave that have a name.
const maxEqual = 128

// BuiltinTunings lists the tunings that need no file. Beside them there is
// N-edo, N equal divisions of the octave, for N from 1 to 128.
func BuiltinTunings() (names []string) {
	for _, b := range builtin {
		names = append(names, b.name)
	}
	return names
}

// BuiltinTuning makes the tuning of that name, or returns nil. It allocates.
func BuiltinTuning(name string) *Tuning {
	var s *Scale
	for _, b := range builtin {
		if b.name == name {
			s = b.make()
		}
	}
	if n, ok := strings.CutSuffix(name, "-edo"); ok {
		if steps, err := strconv.Atoi(n); err == nil && steps >= 1 && steps <= maxEqual && n == strconv.Itoa(steps) {
			s = equalScale(steps, 1200)
		}
	}
	if s == nil {
		return nil
	}
	t, err := NewTuning(name, s, nil)
	if err != nil {
		panic(err)
	}
	return t
}
