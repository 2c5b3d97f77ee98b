package measure

import (
	"math"
	"testing"
)

// TestClickLevel: a tone alone has nothing above the corner, a step in it has
// as much as theory says, and a corner in its envelope less.
func TestClickLevel(t *testing.T) {
	const rate, n, at = 48000, 9600, 5000
	tone := func(gain func(i int) float64) []float32 {
		b := make([]float32, n)
		for i := range b {
			b[i] = float32(5 * gain(i) * math.Cos(2*math.Pi*220*float64(i-at)/rate))
		}
		return b
	}
	if db, _ := ClickLevel(tone(func(int) float64 { return 1 }), rate, 4000); db > -95 {
		t.Errorf("a steady tone clicks at %.1f dB, want nothing", db)
	}
	// Of a step of 1 the high-pass leaves half, less half of its kernel's largest
	// tap, which is 2·corner/rate.
	want := Decibels(0.5 - 4000.0/rate)
	db, where := ClickLevel(tone(func(i int) float64 {
		if i < at {
			return 0
		}
		return 1
	}), rate, 4000)
	if math.Abs(db-want) > 0.2 || math.Abs(float64(where-at)) > 2 {
		t.Errorf("a step clicks at %.1f dB, sample %d; want %.1f dB at %d", db, where, want, at)
	}
	straight, _ := ClickLevel(tone(func(i int) float64 { return min(max(float64(i-at)/240, 0), 1) }), rate, 4000)
	round, _ := ClickLevel(tone(func(i int) float64 { x := min(max(float64(i-at)/240, 0), 1); return x * x * (3 - 2*x) }), rate, 4000)
	if !(straight > -62 && straight < -45 && round < -75) {
		t.Errorf("a fade of 5 ms clicks at %.1f dB when it is straight and %.1f when it is smooth; want about -52 and below -75", straight, round)
	}
}
