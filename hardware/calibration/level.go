package calibration

import (
	"context"
	"math"
	"slices"
)

const (
	// levelSamples is how many samples a level is the median of: noise of a millivolt becomes ten
	// microvolts.
	levelSamples = 20000
	// glance is what is listened to at once while a level settles, in seconds.
	glance = 0.02
	// longestSettle is when a level is measured as it is, in seconds.
	longestSettle = 1.5
)

// level is a steady voltage that was heard.
type level struct {
	volts   float64 // median
	noise   float64 // RMS around it
	at      float64 // seconds
	settle  float64 // seconds that it took
	settled bool
}

// hearLevel waits until a voltage stands still and takes the median of many samples.
func hearLevel(ctx context.Context, b Bench, seconds float64) (level, error) {
	var l level
	last := math.NaN()
	calm := 0
	for l.settle = 0; l.settle < longestSettle && calm < 2; l.settle += glance {
		x, _, err := b.Listen(ctx, glance)
		if err != nil {
			return l, err
		}
		m, s := middle(x)
		// The median of n samples strays by 1.25 σ/√n, a difference of two by √2 more.
		if d := math.Abs(m - last); d <= max(5e-6, 5*s/math.Sqrt(float64(len(x)))) {
			calm++
		} else {
			calm = 0
		}
		last = m
	}
	l.settled = calm >= 2
	x, at, err := b.Listen(ctx, max(seconds, levelSamples/b.SampleRate()))
	if err != nil {
		return l, err
	}
	l.volts, l.noise = middle(x)
	l.at = at + float64(len(x))/b.SampleRate()/2
	return l, nil
}

// middle is the median of samples and their RMS around it. Of samples that are steps of a converter
// the median is one of the steps; the mean of those near it is between them.
func middle(x []float32) (volts, noise float64) {
	if len(x) == 0 {
		return nan, nan
	}
	s := slices.Clone(x)
	slices.Sort(s)
	n := len(s)
	// The middle half's mean is as robust, and has less noise.
	var sum float64
	for _, v := range s[n/4 : n-n/4] {
		sum += float64(v)
	}
	volts = sum / float64(n-2*(n/4))
	for _, v := range s {
		noise += (float64(v) - volts) * (float64(v) - volts)
	}
	return volts, math.Sqrt(noise / float64(n))
}
