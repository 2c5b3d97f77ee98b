package calibration

import (
	"context"
	"fmt"
	"math"

	"github.com/k8s-synth/k8s-synth/dsp"
)

const (
	// lowestHertz and highestHertz are what an oscillator is measured at: below, half a second has
	// no nine periods; above, hardly anybody hears what is mended.
	lowestHertz, highestHertz = 20, 9000
	// wantedError is the standard error of a note that is good enough, in cents.
	wantedError = 0.05
	// agree is how near two windows in a row are when a note has settled, in cents, where their own
	// errors are not larger.
	agree = 0.08
	// longestVisit is when a note is taken as it is, in seconds.
	longestVisit = 2.5
	// firstWait is what even a fast oscillator and an envelope of its filter take, in seconds.
	firstWait = 0.04
)

// ear listens for pitches. It keeps a tracker for each length of window, as short ones are cheaper.
type ear struct {
	bench    Bench
	trackers map[float64]*dsp.PitchTracker
	settle   []float64 // seconds that notes took
}

func newEar(b Bench) *ear { return &ear{bench: b, trackers: map[float64]*dsp.PitchTracker{}} }

// windows are the lengths of what is measured at once, in seconds.
var windows = []float64{0.1, 0.2, 0.48}

func (e *ear) measure(x []float32, window float64) dsp.Pitch {
	t := e.trackers[window]
	if t == nil {
		t = new(dsp.PitchTracker)
		t.InitWindow(e.bench.SampleRate(), window, window)
		e.trackers[window] = t
	}
	return t.Measure(x)
}

// windowFor is the length that suits a pitch: thirty periods, if they are not too long.
func windowFor(hertz float64) float64 {
	for _, w := range windows {
		if w*hertz >= 30 {
			return w
		}
	}
	return windows[len(windows)-1]
}

// sound is what was heard of one note.
type sound struct {
	hertz   float64 // 0 where there is no pitch
	sigma   float64 // standard error, cents
	at      float64 // seconds, the middle of what was measured
	settled bool
	why     string  // there is no pitch, or it is not settled
	level   float64 // RMS, volts
}

// hear listens until the pitch stands still. Where about it should lie is in hertz, or 0 for
// anything; what is nearly half an octave off that is no answer.
func (e *ear) hear(ctx context.Context, about float64, tell func(hertz float64, settled bool)) (sound, error) {
	if _, _, err := e.bench.Listen(ctx, firstWait); err != nil {
		return sound{}, err
	}
	window := windows[len(windows)-1]
	if about > 0 {
		window = windowFor(about)
	}
	var heard []sound
	s := sound{why: "nothing was heard"}
	spent := firstWait
	for spent < longestVisit {
		x, at, err := e.bench.Listen(ctx, window)
		if err != nil {
			return sound{}, err
		}
		spent += window
		s.level = rms(x)
		p := e.measure(x, window)
		wrong := about > 0 && p.Hertz > 0 && math.Abs(math.Log2(p.Hertz/about)) > 0.45
		if p.Hertz <= 0 || wrong || p.Verdict != dsp.Pitched {
			switch {
			case wrong:
				s.why = fmt.Sprintf("%.5g Hz is heard and about %.5g Hz expected", p.Hertz, about)
			case p.Verdict == dsp.PitchSilent:
				s.why = "silence"
			case p.Verdict == dsp.PitchNoise:
				s.why = "only noise is heard"
			case p.Verdict == dsp.PitchUnsteady:
				s.why = "its pitch does not stand still"
			default:
				s.why = "it has no pitch that could be measured"
			}
			heard = heard[:0]
			if tell != nil {
				tell(p.Hertz, false)
			}
			if about == 0 && spent > 4*window {
				break // somebody who looks for a pitch has other places to look
			}
			continue
		}
		heard = append(heard, sound{hertz: p.Hertz, sigma: max(p.StandardError, 0.003), at: at + float64(len(x))/e.bench.SampleRate()/2})
		if about == 0 {
			about = p.Hertz
			if w := windowFor(about); w < window {
				window = w
				heard = heard[:0]
				continue
			}
		}
		if tell != nil {
			tell(p.Hertz, false)
		}
		// The last windows that agree with each other are the note.
		n := len(heard) - 1
		last := heard[n]
		sum := sound{}
		weight, same := 0.0, 0
		for i := n; i >= 0; i-- {
			h := heard[i]
			if d := math.Abs(centsOf(h.hertz, last.hertz)); d > max(agree, 2.5*math.Hypot(h.sigma, last.sigma)) {
				break
			}
			w := 1 / (h.sigma * h.sigma)
			sum.hertz += w * h.hertz
			sum.at += w * h.at
			weight += w
			same++
		}
		sum.hertz /= weight
		sum.at /= weight
		sum.sigma = 1 / math.Sqrt(weight)
		sum.level = s.level
		moving := math.Abs(p.Drift)*window > max(agree, 3*p.DriftError*window)
		if same >= 2 && !moving && (sum.sigma <= wantedError || same >= 5) {
			sum.settled = true
			e.settle = append(e.settle, spent-float64(same)*window)
			if tell != nil {
				tell(sum.hertz, true)
			}
			return sum, nil
		}
		level := s.level
		s = last
		s.level, s.why = level, "it does not settle"
	}
	return s, nil
}

func centsOf(hertz, of float64) float64 { return 1200 * math.Log2(hertz/of) }

func rms(x []float32) float64 {
	var mean, square float64
	for _, v := range x {
		mean += float64(v)
	}
	mean /= max(float64(len(x)), 1)
	for _, v := range x {
		square += (float64(v) - mean) * (float64(v) - mean)
	}
	return math.Sqrt(square / max(float64(len(x)), 1))
}
