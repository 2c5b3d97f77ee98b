package mapping

import (
	"math"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// Scale is the notes that a scene keeps to. One without steps is none.
type Scale struct {
	Root  float64   // MIDI note
	Steps []float64 // semitones from the root, rising from 0, within an octave
}

// Nearest returns the note of the scale that is nearest to a MIDI note; of two
// as near the lower one. Without a scale that is the note itself.
func (s *Scale) Nearest(note float64) float64 {
	if len(s.Steps) == 0 {
		return note
	}
	octave := math.Floor((note - s.Root) / semitones)
	within := note - s.Root - semitones*octave
	best, least := 0.0, math.Inf(1)
	for i := range len(s.Steps) + 1 {
		step := float64(semitones)
		if i < len(s.Steps) {
			step = s.Steps[i]
		}
		if d := math.Abs(within - step); d < least {
			best, least = step, d
		}
	}
	return s.Root + semitones*octave + best
}

// semitones is how many there are in an octave.
const semitones = 12

// justChord are the pitches of pods in a scene without a scale, over middle C
// as 4: those of a Voice's just chord.
var justChord = [instrument.MaxPoly]float64{4, 5, 6, 8, 10, 12, 3, 16, 2, 9, 15, 7.5, 4.5, 11.25, 13.5, 2.5}

// chordNote returns the MIDI note of a pod's channel. In a scale of six notes
// and more neighbours are thirds apart, in one of fewer they are neighbours
// there; once every note is taken, it goes on an octave above.
func (s *Scale) chordNote(channel int) float64 {
	n := len(s.Steps)
	if n == 0 {
		return middleC + semitones*math.Log2(justChord[channel]/4)
	}
	stride := 1
	if n >= 6 {
		stride = 2
	}
	// With an even number of notes thirds meet only half of them; the next
	// round takes the others.
	round := channel / n
	degree := stride * (channel % n)
	if stride == 2 && n%2 == 0 && channel%n >= n/2 {
		degree -= n - 1
	}
	return s.Root + s.Steps[degree%n] + semitones*float64(degree/n+round)
}

// gridHistory is how many triggers of the clock are remembered. More make the
// forecast finer, fewer let it follow a new tempo sooner; it follows at once
// where the tempo changes by more than gridSlack.
const gridHistory = 33

// gridSlack is by how much two steps may differ, beside a frame of rounding,
// and still be of one tempo.
const gridSlack = 0.002

// grid foretells the steps of the clock that is patched to an API Server.
type grid struct {
	inTime bool // the timing switch
	frames [gridHistory]int64
	n      int
}

// step takes a trigger of the clock.
func (g *grid) step(frame int64) {
	if g.n > 0 && frame <= g.frames[g.n-1] {
		return
	}
	if g.n >= 3 {
		// A swung clock is long and short by turns: like is compared with like.
		pair, now := g.frames[g.n-1]-g.frames[g.n-3], frame-g.frames[g.n-2]
		if d := math.Abs(float64(now - pair)); d > 2+gridSlack*float64(pair) {
			g.frames[0] = g.frames[g.n-1]
			g.n = 1
		}
	}
	if g.n == gridHistory {
		// Two at a time, so that long and short keep their turns.
		copy(g.frames[:], g.frames[2:])
		g.n -= 2
	}
	g.frames[g.n] = frame
	g.n++
}

// next returns the first step at or after a frame, or the frame itself where
// no clock runs. Now is a frame up to which all triggers have been told.
func (g *grid) next(frame, now int64) int64 {
	if !g.inTime || g.n < 2 || frame <= 0 {
		return frame
	}
	last := g.frames[g.n-1]
	if frame <= last {
		// What is late already is not made later.
		return frame
	}
	if g.n == 2 {
		step := last - g.frames[0]
		if now-last > 2*step {
			return frame
		}
		return last + (frame-last+step-1)/step*step
	}
	first := (g.n - 1) % 2
	pair := float64(last-g.frames[first]) / float64((g.n-1-first)/2)
	if float64(now-last) > 2*pair {
		return frame // it stands
	}
	best := int64(math.MaxInt64)
	for _, from := range []int64{last, g.frames[g.n-2]} {
		k := math.Ceil((float64(frame-from) - 0.5) / pair)
		at := from + int64(math.Round(max(k, 0)*pair))
		if at >= frame {
			best = min(best, at)
		}
	}
	return best
}

// forget begins anew, after the clock was pulled.
func (g *grid) forget() { g.n = 0 }
