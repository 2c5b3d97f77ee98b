package rule

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Notes are MIDI note numbers and need not be whole: 0.01 is one cent.
const (
	semitones  = 12  // in an octave
	concertA   = 69  // the note of 440 Hz (ISO 16)
	concertHz  = 440 // Hz
	zeroVolts  = 60  // the note of 0 V: C4, 261.6256 Hz
	lowestNote = 0
	topNote    = 127
)

// scales names each scale by its distances from the root, in semitones.
var scales = map[string][]int{
	"major":            {0, 2, 4, 5, 7, 9, 11},
	"minor":            {0, 2, 3, 5, 7, 8, 10},
	"harmonic_minor":   {0, 2, 3, 5, 7, 8, 11},
	"melodic_minor":    {0, 2, 3, 5, 7, 9, 11},
	"harmonic_major":   {0, 2, 4, 5, 7, 8, 11},
	"ionian":           {0, 2, 4, 5, 7, 9, 11},
	"dorian":           {0, 2, 3, 5, 7, 9, 10},
	"phrygian":         {0, 1, 3, 5, 7, 8, 10},
	"lydian":           {0, 2, 4, 6, 7, 9, 11},
	"mixolydian":       {0, 2, 4, 5, 7, 9, 10},
	"aeolian":          {0, 2, 3, 5, 7, 8, 10},
	"locrian":          {0, 1, 3, 5, 6, 8, 10},
	"phrygian_major":   {0, 1, 4, 5, 7, 8, 10},
	"hungarian_minor":  {0, 2, 3, 6, 7, 8, 11},
	"double_harmonic":  {0, 1, 4, 5, 7, 8, 11},
	"major_pentatonic": {0, 2, 4, 7, 9},
	"minor_pentatonic": {0, 3, 5, 7, 10},
	"hirajoshi":        {0, 2, 3, 7, 8},
	"in":               {0, 1, 5, 7, 8},
	"blues":            {0, 3, 5, 6, 7, 10},
	"major_blues":      {0, 2, 3, 4, 7, 9},
	"whole_tone":       {0, 2, 4, 6, 8, 10},
	"half_whole":       {0, 1, 3, 4, 6, 7, 9, 10},
	"whole_half":       {0, 2, 3, 5, 6, 8, 9, 11},
	"augmented":        {0, 3, 4, 7, 8, 11},
	"fourths":          {0, 5, 10},
	"fifths":           {0, 7},
	"octaves":          {0},
	"chromatic":        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11},
}

// chords names each chord by its distances from the root, in semitones, in
// close position.
var chords = map[string][]int{
	"major":           {0, 4, 7},
	"minor":           {0, 3, 7},
	"diminished":      {0, 3, 6},
	"augmented":       {0, 4, 8},
	"sus2":            {0, 2, 7},
	"sus4":            {0, 5, 7},
	"power":           {0, 7},
	"major6":          {0, 4, 7, 9},
	"minor6":          {0, 3, 7, 9},
	"dominant7":       {0, 4, 7, 10},
	"major7":          {0, 4, 7, 11},
	"minor7":          {0, 3, 7, 10},
	"minor_major7":    {0, 3, 7, 11},
	"half_diminished": {0, 3, 6, 10},
	"diminished7":     {0, 3, 6, 9},
	"augmented7":      {0, 4, 8, 10},
	"sus4_7":          {0, 5, 7, 10},
	"add9":            {0, 4, 7, 14},
	"minor_add9":      {0, 3, 7, 14},
	"dominant9":       {0, 4, 7, 10, 14},
	"major9":          {0, 4, 7, 11, 14},
	"minor9":          {0, 3, 7, 10, 14},
	"dominant11":      {0, 4, 7, 10, 14, 17},
	"dominant13":      {0, 4, 7, 10, 14, 21},
	"quartal":         {0, 5, 10, 15},
}

// known returns the steps of that name or an error with what there is.
func known(what string, all map[string][]int, name string) ([]int, error) {
	steps, ok := all[name]
	if !ok {
		names := make([]string, 0, len(all))
		for n := range all {
			names = append(names, n)
		}
		slices.Sort(names)
		return nil, fmt.Errorf("unknown %s %q; there are %s%s", what, document.Clip(name), strings.Join(names, ", "), document.Near(name, names))
	}
	return steps, nil
}

// step returns which of n steps a degree is, and how many times it went round.
func step(degree float64, n int) (i int, octave float64, err error) {
	if math.IsNaN(degree) || math.Abs(degree) > 1e6 {
		return 0, 0, fmt.Errorf("degree is a number from -1000000 to 1000000, this is %g", degree)
	}
	d := math.Floor(degree)
	octave = math.Floor(d / float64(n))
	return int(d - octave*float64(n)), octave, nil
}

// scaleNote returns the note of a degree of a scale; see scale in the
// package's comment.
func scaleNote(name string, root, degree float64) (float64, error) {
	steps, err := known("scale", scales, name)
	if err != nil {
		return 0, err
	}
	i, octave, err := step(degree, len(steps))
	return root + float64(steps[max(i, 0)]) + semitones*octave, err
}

// chordNote returns one note of a chord; see chord in the package's comment.
func chordNote(name string, root, index float64) (float64, error) {
	steps, err := known("chord", chords, name)
	if err != nil {
		return 0, err
	}
	i, round, err := step(index, len(steps))
	// A chord with a ninth is two octaves wide before it begins again.
	wide := semitones * (1 + steps[len(steps)-1]/semitones)
	return root + float64(steps[max(i, 0)]) + float64(wide)*round, err
}

// quantizeNote returns the note of a scale that is nearest; of two as near the
// lower one.
func quantizeNote(note float64, name string, root float64) (float64, error) {
	steps, err := known("scale", scales, name)
	if err != nil {
		return 0, err
	}
	above := note - root
	if math.IsNaN(above) || math.IsInf(above, 0) {
		return 0, fmt.Errorf("note is a finite number, this is %g", above)
	}
	octave := math.Floor(above / semitones)
	within := above - semitones*octave
	best, least := 0.0, math.Inf(1)
	try := func(s float64) {
		if d := math.Abs(within - s); d < least {
			best, least = s, d
		}
	}
	for _, s := range steps { // rising, so that the lower of two stays
		try(float64(s))
	}
	try(semitones + float64(steps[0]))
	return root + semitones*octave + best, nil
}

// noteHz returns the frequency of a note in Hz, in equal temperament.
func noteHz(note float64) float64 { return concertHz * math.Exp2((note-concertA)/semitones) }

// hzNote returns the note of a frequency in Hz.
func hzNote(hz float64) (float64, error) {
	if !(hz > 0) || math.IsInf(hz, 0) {
		return 0, fmt.Errorf("a frequency is above 0 Hz, this is %g", hz)
	}
	return concertA + semitones*math.Log2(hz/concertHz), nil
}

// noteVolts returns the pitch CV of a note at 1 V an octave.
func noteVolts(note float64) float64 { return (note - zeroVolts) / semitones }

// ratioSemitones returns how many semitones a ratio of frequencies spans.
func ratioSemitones(r float64) (float64, error) {
	if !(r > 0) || math.IsInf(r, 0) {
		return 0, fmt.Errorf("a ratio of frequencies is above 0, this is %g", r)
	}
	return semitones * math.Log2(r), nil
}

// mix64 is the finalizer of SplitMix64 (Steele, Lea and Flood, 2014): every
// bit of the answer depends on every bit of x.
func mix64(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// fnv64 is FNV-1a.
func fnv64(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// unit makes a number from 0 to 1, 1 not included, of the top 53 bits.
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }

// generator is a SplitMix64 sequence.
type generator uint64

func (g *generator) next() float64 {
	*g += 0x9e3779b97f4a7c15
	return unit(mix64(uint64(*g)))
}

// ScaleNames returns the names of the scales, in their order.
func ScaleNames() []string { return slices.Sorted(maps.Keys(scales)) }

// Scale returns the steps of a scale in semitones from its root, rising from
// 0; an unknown one is an error that names those that there are.
func Scale(name string) ([]float64, error) {
	steps, err := known("scale", scales, name)
	if err != nil {
		return nil, err
	}
	out := make([]float64, len(steps))
	for i, s := range steps {
		out[i] = float64(s)
	}
	return out, nil
}
