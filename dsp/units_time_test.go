package dsp_test

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// The units of time and effects are held to what every unit is.
func init() {
	add := func(name string, make func() unit) {
		units = append(units, struct {
			name string
			make func() unit
		}{name, make})
	}
	// struck is a drum whose strikes are the rises of the input.
	struck := func(strike func(v float32), next func() float32, reset func()) unit {
		var s dsp.SchmittTrigger
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				strike(min(max(v/5, 0), 1))
			}
			return next()
		}), func() { reset(); s.Reset() }}
	}
	add("Delay", func() unit {
		var d dsp.Delay
		d.Init(rate)
		var s dsp.SchmittTrigger
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				d.SetSeconds(0.01 + float64(dsp.Rail(v))/2000)
				d.SetTone(dsp.Rail(v) / 12)
			}
			a, b := d.Next(v, v/2, 0.3, 0.4)
			return a + 0.7*b
		}), func() { d.SetSeconds(0.5); d.SetTone(0); d.Reset(); s.Reset() }}
	})
	add("Chorus", func() unit {
		var c dsp.Chorus
		c.Init(rate)
		c.Set(2, 0.8)
		return unit{each(func(v float32) float32 {
			a, b := c.Next(v, v/2, 0.3)
			return a + 0.7*b
		}), c.Reset}
	})
	add("Compressor", func() unit {
		var c dsp.Compressor
		c.Init(rate)
		c.SetTimes(0.001, 0.02, 0.005)
		return unit{each(func(v float32) float32 { return c.Next(max(dsp.Rail(v), -dsp.Rail(v))) }), c.Reset}
	})
	add("Kick", func() unit {
		var k dsp.Kick
		k.Init(rate)
		k.Set(60, 0.1, 1.5, 0.5, 12)
		return struck(k.Strike, k.Next, k.Reset)
	})
	add("Snare", func() unit {
		var s dsp.Snare
		s.Init(rate)
		s.Set(190, 0.1, 0.5, 3000)
		return struck(s.Strike, s.Next, s.Reset)
	})
	add("Hat", func() unit {
		var h dsp.Hat
		h.Init(rate)
		h.Set(205, 0.05, 0.1, 7000)
		open := false
		return struck(func(v float32) {
			if open = !open; open {
				h.StrikeOpen(v)
			} else {
				h.StrikeClosed(v)
			}
		}, h.Next, func() { h.Reset(); open = false })
	})
	add("Clap", func() unit {
		var c dsp.Clap
		c.Init(rate)
		c.Set(1100, 0.1)
		return struck(c.Strike, c.Next, c.Reset)
	})
	add("Tempo", func() unit {
		var t dsp.Tempo
		t.Init(rate)
		var s dsp.SchmittTrigger
		return unit{each(func(v float32) float32 {
			t.Next(s.Next(v))
			return float32(t.Period() / 10000)
		}), func() { t.Reset(); s.Reset() }}
	})
}

// TestChorusArrives: once a depth is taken up it is as if it had always been so.
func TestChorusArrives(t *testing.T) {
	for _, rate := range []float64{8000, 48000, 192000} {
		var moved, was dsp.Chorus
		moved.Init(rate)
		was.Init(rate)
		for i := range int(3 * rate) {
			depth := float32(1)
			if i < 100 {
				depth = 0.1
			}
			moved.Set(0.4, depth)
			was.Set(0.4, 1)
			v := float32(5 * math.Sin(float64(i)*0.05))
			l, r := moved.Next(v, v, 0)
			x, y := was.Next(v, v, 0)
			if i > int(2.5*rate) && (l != x || r != y) {
				t.Fatalf("%v Hz: sample %d is %v, %v; at that depth from the start it is %v, %v", rate, i, l, r, x, y)
			}
		}
	}
}
