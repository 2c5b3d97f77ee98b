package main

import (
	"cmp"
	"math"
	"slices"
	"testing"
)

// A sound server that takes floats at their own rate and level changes no
// sample: what a capture of it holds is the player's recording, bit for bit.
// Where it is not, frames were lost, or there is silence between them. So a
// capture is not judged by its sound, in which a gap of a server that had to
// wait for a processor is as loud as a fault of the instrument: its frames are
// looked up in what was played.

// arrivalRun is how many frames in a row must be equal to be told from a
// coincidence, and the grid on which the recording is indexed.
const arrivalRun = 32

// stretch is a run of frames of a capture that were played without a break.
type stretch struct {
	at, n  int // in the capture
	played int // the first of them in the recording
}

// hole is what lies between two stretches of a capture.
type hole struct {
	at, silent, faded, foreign int // in the capture; frames of each kind
	lost                       int // frames of the recording that never came
}

// arrival is what became of a recording on its way into a capture.
type arrival struct {
	stretches []stretch
	holes     []hole
}

type stereo [2]uint32

func (r *recording) frame(i int) stereo {
	return stereo{math.Float32bits(r.ch[0][i]), math.Float32bits(r.ch[1][i])}
}

// moves reports whether a run of frames is a sound: silence is found anywhere.
func (r *recording) moves(i int) bool {
	changes := 0
	for k := 1; k < arrivalRun; k++ {
		if r.frame(i+k) != r.frame(i+k-1) {
			changes++
		}
	}
	return changes > arrivalRun/2
}

// arrived looks a capture up in the recording of what was played. fade is how
// many frames a player that starves takes to go to silence, and back.
func arrived(played, capture *recording, fade int) (a arrival) {
	index := map[[2]stereo][]int{}
	for i := 0; i+arrivalRun <= len(played.ch[0]); i += arrivalRun {
		if played.moves(i) {
			key := [2]stereo{played.frame(i), played.frame(i + 1)}
			index[key] = append(index[key], i)
		}
	}
	next := 0 // in the recording: time does not run backwards
	frames, total := len(capture.ch[0]), len(played.ch[0])
	for i := 0; i+arrivalRun <= frames; i++ {
		for _, p := range index[[2]stereo{capture.frame(i), capture.frame(i + 1)}] {
			if p < next {
				continue
			}
			n := 0
			for i+n < frames && p+n < total && capture.frame(i+n) == played.frame(p+n) {
				n++
			}
			if n < arrivalRun {
				continue
			}
			// The index is a grid: what came before it belongs to it, too.
			end := 0
			if k := len(a.stretches); k > 0 {
				end = a.stretches[k-1].at + a.stretches[k-1].n
			}
			for i > end && p > next && capture.frame(i-1) == played.frame(p-1) {
				i, p, n = i-1, p-1, n+1
			}
			a.stretches = append(a.stretches, stretch{i, n, p})
			next = p + n
			i += n - 1
			break
		}
	}
	for k := 1; k < len(a.stretches); k++ {
		before, after := a.stretches[k-1], a.stretches[k]
		h := hole{at: before.at + before.n, lost: after.played - before.played - before.n}
		for i := h.at; i < after.at; i++ {
			switch {
			case capture.frame(i) == stereo{}:
				h.silent++
			case min(i-h.at, after.at-1-i) < fade && capture.near(i, before.at+before.n, after.at, fade):
				h.faded++
			default:
				h.foreign++
			}
		}
		a.holes = append(a.holes, h)
	}
	return a
}

// near reports whether a frame is no louder than the sound on either side of a
// hole, as one of a fade is.
func (r *recording) near(i, from, to, reach int) bool {
	for c := range r.ch {
		loudest := float32(0)
		for k := max(from-reach, 0); k < from; k++ {
			loudest = max(loudest, r.ch[c][k], -r.ch[c][k])
		}
		for k := to; k < min(to+2*reach, len(r.ch[c])); k++ {
			loudest = max(loudest, r.ch[c][k], -r.ch[c][k])
		}
		if x := r.ch[c][i]; max(x, -x) > 2*loudest {
			return false
		}
	}
	return true
}

// share is how much of what was played between two frames of the recording
// arrived.
func (a arrival) share(from, to int) float64 {
	n := 0
	for _, s := range a.stretches {
		n += max(0, min(to, s.played+s.n)-max(from, s.played))
	}
	return float64(n) / float64(max(to-from, 1))
}

// total is the sum of all holes.
func (a arrival) total() (h hole) {
	for _, x := range a.holes {
		h.silent, h.faded, h.foreign, h.lost = h.silent+x.silent, h.faded+x.faded, h.foreign+x.foreign, h.lost+x.lost
	}
	return h
}

// longest is the largest hole.
func (a arrival) longest() hole {
	if len(a.holes) == 0 {
		return hole{}
	}
	return slices.MaxFunc(a.holes, func(x, y hole) int {
		return cmp.Compare(x.silent+x.faded+x.foreign+x.lost, y.silent+y.faded+y.foreign+y.lost)
	})
}

// TestArrived tells apart what can happen to a sound on its way.
func TestArrived(t *testing.T) {
	const n = 48000
	sound := func(f func(i int) float64) *recording {
		r := &recording{rate: 48000}
		for i := range n {
			v := f(i)
			r.ch[0], r.ch[1] = append(r.ch[0], float32(v)), append(r.ch[1], float32(0.7*v))
		}
		return r
	}
	// Partials that have no period in common within the second.
	chord := func(i int) float64 {
		x := 2 * math.Pi * float64(i) / 48000
		return 0.2*math.Sin(220.1*x) + 0.2*math.Sin(275.73*x) + 0.1*math.Sin(331.417*x) + 0.3
	}
	played := sound(chord)
	slice := func(from, to int) *recording {
		return &recording{rate: 48000, ch: [2][]float32{slices.Clone(played.ch[0][from:to]), slices.Clone(played.ch[1][from:to])}}
	}
	join := func(parts ...*recording) *recording {
		all := &recording{rate: 48000}
		for _, p := range parts {
			for c := range all.ch {
				all.ch[c] = append(all.ch[c], p.ch[c]...)
			}
		}
		return all
	}
	silence := func(n int) *recording {
		return &recording{ch: [2][]float32{make([]float32, n), make([]float32, n)}}
	}
	scaled := func(gain float32, r *recording) *recording {
		for c := range r.ch {
			for i := range r.ch[c] {
				r.ch[c][i] *= gain
			}
		}
		return r
	}
	for _, x := range []struct {
		name    string
		capture *recording
		holes   int
		want    hole
		share   float64
	}{
		{"whole, late and cut short", join(silence(1000), slice(37, 40000)), 0, hole{}, 39963. / n},
		{"a server that stood still", join(slice(0, 9001), silence(480), slice(9001, n)), 1, hole{silent: 480}, 1},
		{"a capture that was too late", join(slice(0, 9001), slice(9999, n)), 1, hole{lost: 998}, 1 - 998./n},
		{"both, twice", join(slice(0, 9001), silence(480), slice(9481, 20000), slice(20100, n)), 2, hole{silent: 480, lost: 580}, 1 - 580./n},
		{"another level for a moment", join(slice(0, 9000), scaled(0.9, slice(9000, 9800)), slice(9800, n)), 1, hole{foreign: 800 - 128, faded: 128, lost: 800}, 1 - 800./n},
		{"a burst", join(slice(0, 9000), scaled(3, slice(9000, 9040)), slice(9040, n)), 1, hole{foreign: 40, lost: 40}, 1 - 40./n},
		{"frames played twice", join(slice(0, 9000), slice(8000, n)), 1, hole{foreign: 1000 - 128, faded: 128}, 1},
	} {
		a := arrived(played, x.capture, 64)
		got := a.total()
		got.at = 0
		if len(a.holes) != x.holes || got != x.want {
			t.Errorf("%s: %d holes, %+v, want %d, %+v", x.name, len(a.holes), got, x.holes, x.want)
		}
		if s := a.share(0, n); math.Abs(s-x.share) > 1e-6 {
			t.Errorf("%s: %.4f of it arrived, want %.4f", x.name, s, x.share)
		}
	}
	// Other sounds are not found at all, however alike.
	for name, other := range map[string]*recording{"softer": scaled(0.5, slice(0, n)), "a bit off": sound(func(i int) float64 { return chord(i) + 1e-7 })} {
		if a := arrived(played, other, 64); a.share(0, n) > 0.01 {
			t.Errorf("%s: %.3f of it was taken for the sound", name, a.share(0, n))
		}
	}
}
