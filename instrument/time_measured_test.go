package instrument

import (
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// toneIn feeds a tone to the audio inputs, and nothing to the others.
func toneIn(a *alone, hertz float64, volts float32) {
	s := sine(hertz, volts)
	a.play = func(i, c int, f int64) float32 {
		if a.spec.Inputs[i].Kind == Audio {
			return s(f, c)
		}
		return 0
	}
}

// plug says which inputs hold a cable.
func (a *alone) plug(names ...string) *alone {
	a.io.Patched = 0
	for _, n := range names {
		a.io.Patched |= 1 << a.spec.Input(n)
	}
	return a
}

// TestDelayTimes: the echoes of an impulse are where they should be, to the
// sample, and as loud as feedback makes them.
func TestDelayTimes(t *testing.T) {
	for _, seconds := range []float64{0.001, 0.01, 0.25, 1.7} {
		a := newAlone("delay", map[string]float64{"time": seconds, "feedback": 0.5, "tone": 0, "mix": 1}).plug("in_left")
		a.play = func(i, c int, f int64) float32 {
			if i < 2 && f == 640 {
				return 4
			}
			return 0
		}
		n := int(math.Round(float64(float32(seconds)) * testRate))
		rec := a.out("left", (640+3*n)/BlockSize+4)
		for k := 1; k <= 3; k++ {
			at := 640 + k*n
			best, where := 0.0, 0
			for f := at - n/2; f < at+min(n/2, 20); f++ {
				if v := math.Abs(float64(rec[f])); v > best {
					best, where = v, f
				}
			}
			// The tone at 0 takes a little of the highest highs, pass by pass.
			want := 4 * math.Pow(0.5, float64(k-1))
			if db := measure.Decibels(best / want); where != at || db > 0.1 || db < -0.5*float64(k) {
				t.Errorf("%g s: echo %d of %.3f V at frame %d, want %.3f V at %d", seconds, k, best, where, want, at)
			}
		}
	}
}

// TestDelayClocked: a division of the clock is the time, to the sample.
func TestDelayClocked(t *testing.T) {
	const beat = 20000
	for k, d := range delayDivisions {
		a := newAlone("delay", map[string]float64{"division": float64(k), "ppqn": 2, "feedback": 0, "tone": 0, "mix": 1}).plug("in_left", "clock")
		const at = 3*beat + 500
		a.play = func(i, c int, f int64) float32 {
			switch {
			case i < 2 && f == at, i == 2 && f%(beat/4) < 48:
				return 4
			}
			return 0
		}
		want := int(math.Round(d.beats * beat))
		rec := a.out("left", (at+want)/BlockSize+2)
		_, where := steepestPeak(rec[at+10:])
		if where+10 != want {
			t.Errorf("%s: the echo comes after %d frames, want %d", d.name, where+10, want)
		}
	}
}

// steepestPeak is the loudest sample and where it is.
func steepestPeak(b []float32) (peak float64, at int) {
	for i, v := range b {
		if p := math.Abs(float64(v)); p > peak {
			peak, at = p, i
		}
	}
	return peak, at
}

// TestDelayMovesWithoutClicks: a time that is turned, both ways and from one
// end to the other, bends the pitch by no more than an octave, or fades.
func TestDelayMovesWithoutClicks(t *testing.T) {
	for change, name := range []string{"glide", "fade"} {
		a := newAlone("delay", map[string]float64{"time": 0.3, "change": float64(change), "feedback": 0, "mix": 1}).plug("in_left")
		toneIn(a, 220, 4)
		a.out("left", 600)
		var rec []float32
		for _, s := range []float32{0.3, 0.31, 0.12, 0.9, 0.013} {
			a.knob("time", s)
			rec = append(rec, a.out("left", 500)...)
		}
		db, at := measure.ClickLevel(rec, testRate, 3000)
		t.Logf("%s: %.1f dB above 3 kHz, at frame %d", name, db, at)
		if db > -60 {
			t.Errorf("%s: a click of %.1f dB at frame %d", name, db, at)
		}
		if p := peakOf(rec); p > 4.3 {
			t.Errorf("%s: %.2f V come out of 4 V", name, p)
		}
	}
}

// TestDelaySings: beyond full feedback it sings for ever and stays within the
// rails; below, it falls silent, and then costs nothing.
func TestDelaySings(t *testing.T) {
	a := newAlone("delay", map[string]float64{"time": 0.05, "feedback": 1.1, "mix": 1}).plug("in_left")
	burst := sine(440, 1)
	a.play = func(i, c int, f int64) float32 {
		if i < 2 && f < 2400 {
			return burst(f, c)
		}
		return 0
	}
	a.out("left", 20*750)
	rec := a.out("left", 750)
	if p, r := peakOf(rec), rmsOf(rec); p > 10 || r < 1 {
		t.Errorf("after 20 s it sings at %.2f V, peaks of %.2f V", r, p)
	}
	a.knob("feedback", 0.3)
	a.out("left", 30*750)
	if a.io.Out[0].Held != 1 || a.io.Out[0].Volts[0][0] != 0 {
		t.Error("half a minute after it was told to stop the delay is still at work")
	}
}

// TestDelayPingPong: with full spread the echoes go from side to side.
func TestDelayPingPong(t *testing.T) {
	a := newAlone("delay", map[string]float64{"time": 0.02, "feedback": 0.8, "spread": 1, "mix": 1, "tone": 0}).plug("in_left")
	a.play = func(i, c int, f int64) float32 {
		if i < 2 && f < 80 { // a wave without highs and lows, from frame 0 to 80
			return float32(3.85 * (1 - math.Cos(2*math.Pi*float64(f)/80)) * math.Sin(2*math.Pi*float64(f)/80))
		}
		return 0
	}
	var l, r []float32
	for range 70 {
		a.block()
		l, r = append(l, a.io.Out[0].Volts[0][:]...), append(r, a.io.Out[1].Volts[0][:]...)
	}
	for k := 1; k <= 4; k++ {
		x, y := peakOf(l[k*960:k*960+80]), peakOf(r[k*960:k*960+80])
		if k%2 == 0 {
			x, y = y, x
		}
		if want := 5 * math.Pow(0.8, float64(k-1)); math.Abs(x-want) > 0.04*want || y > 0.03 {
			t.Errorf("echo %d: %.4f V on its side and %.4f V on the other, want %.4f V", k, x, y, want)
		}
	}
}

// TestChorusIsClean: what the moving voices add beside their swing is far below
// the sound.
func TestChorusIsClean(t *testing.T) {
	for _, hertz := range []float64{440, 2000, 5000, 9000} {
		a := newAlone("chorus", map[string]float64{"rate": 0.5, "depth": 1, "mix": 1}).plug("in_left")
		toneIn(a, hertz, 4)
		a.out("left", 200)
		rec := a.out("left", 1024)
		s := measure.NewSpectrum(rec, testRate, measure.BlackmanHarris)
		// The swing keeps within 50 cents, 3 %; further out only errors are left.
		signal := s.Power(hertz*0.94, hertz*1.06)
		rest := s.Power(20, hertz*0.9) + s.Power(hertz*1.1, 23900)
		db := 10 * math.Log10(rest/signal)
		t.Logf("%5.0f Hz: %.1f dB beside the tone", hertz, db)
		want := -80.0
		if hertz > 8000 {
			want = -60
		}
		if db > want {
			t.Errorf("%.0f Hz: %.1f dB beside the tone, want less than %.0f", hertz, db, want)
		}
	}
}

// TestChorusBend: its voices are never out of tune by more than 50 cents,
// however fast they swing.
func TestChorusBend(t *testing.T) {
	for _, rate := range []float64{0.3, 1, 8} {
		a := newAlone("chorus", map[string]float64{"rate": rate, "depth": 1, "mix": 1}).plug("in_left")
		toneIn(a, 1000, 4)
		a.out("left", 200)
		s := measure.NewSpectrum(a.out("left", 4096), testRate, measure.BlackmanHarris)
		all := s.Power(20, 20000)
		out := 1 - s.Power(1000/math.Pow(2, 65.0/1200), 1000*math.Pow(2, 65.0/1200))/all
		if out > 0.02 {
			t.Errorf("at %g Hz %.1f %% of the sound are more than 65 cents away", rate, out*100)
		}
	}
}

// compressed is the level that comes out, in decibels of 5 V, of a tone.
func compressed(a *alone, db float64) float64 {
	toneIn(a, 1000, float32(5*math.Pow(10, db/20)))
	a.out("left", 1500)
	return measure.Decibels(rmsOf(a.out("left", 750)) * math.Sqrt2 / 5)
}

// TestCompressorCurve: what comes out for each level that comes in is within a
// tenth of a decibel of the curve that the knobs describe, and so is the CV
// that tells of it.
func TestCompressorCurve(t *testing.T) {
	worst, told := 0.0, 0.0
	for _, c := range []struct{ threshold, ratio, knee float64 }{{-18, 4, 6}, {-30, 2, 0}, {-12, 100, 12}, {-40, 8, 24}, {-20, 1, 6}} {
		for db := -60.0; db <= 0; db += 4 {
			a := newAlone("compressor", map[string]float64{"threshold": c.threshold, "ratio": c.ratio, "knee": c.knee, "makeup": 3}).plug("in_left")
			got := compressed(a, db) - 3
			over := db - c.threshold
			want := db
			switch {
			case 2*math.Abs(over) <= c.knee && c.knee > 0:
				want += (1/c.ratio - 1) * math.Pow(over+c.knee/2, 2) / (2 * c.knee)
			case over > 0:
				want = c.threshold + over/c.ratio
			}
			worst = max(worst, math.Abs(got-want))
			told = max(told, math.Abs(float64(a.io.Out[2].Volts[0][0])-min(db-want, 12)))
			if math.Abs(got-want) > 0.1 {
				t.Errorf("threshold %g, ratio %g, knee %g: %.0f dB become %.2f dB, want %.2f", c.threshold, c.ratio, c.knee, db, got, want)
			}
		}
	}
	t.Logf("the curve is met within %.3f dB, the reduction told within %.3f V", worst, told)
	if told > 0.1 {
		t.Errorf("the reduction is told with an error of %.3f V", told)
	}
}

// TestCompressorTimes: attack and release cover 63 % of their way in the time
// that the knobs say.
func TestCompressorTimes(t *testing.T) {
	for _, c := range []struct{ attack, release float64 }{{0.001, 0.05}, {0.01, 0.15}, {0.1, 1}} {
		a := newAlone("compressor", map[string]float64{"threshold": -20, "ratio": 2, "knee": 0, "attack": c.attack, "release": c.release, "hold": 0.0001}).plug("in_left", "sidechain")
		const on = 4800
		off := on + int64(10*c.attack*testRate)
		a.play = func(i, c int, f int64) float32 {
			if i == 2 && f >= on && f < off {
				return 5
			}
			return 0
		}
		rec := a.out("reduction", int(off+int64(3*c.release*testRate))/BlockSize)
		full := float64(rec[off-1])
		if math.Abs(full-10) > 0.01 {
			t.Errorf("20 dB above the threshold at 2:1 it takes away %.3f dB, want 10", full)
		}
		var up, down int
		for i := on; i < len(rec); i++ {
			if up == 0 && float64(rec[i]) >= full*(1-1/math.E) {
				up = i - on + 1
			}
			if down == 0 && i > int(off) && float64(rec[i]) <= full/math.E {
				down = i - int(off) + 1
			}
		}
		hold := 0.0001 * testRate
		a1, r1 := float64(up)/testRate/c.attack-1, (float64(down)-hold)/testRate/c.release-1
		t.Logf("attack %g s: %+.2f %%; release %g s: %+.2f %%", c.attack, a1*100, c.release, r1*100)
		if math.Abs(a1) > 0.03 || math.Abs(r1) > 0.01 {
			t.Errorf("attack of %g s takes %d frames, release of %g s %d", c.attack, up, c.release, down)
		}
	}
}

// TestCompressorLinked: both sides are turned down alike, by the louder.
func TestCompressorLinked(t *testing.T) {
	a := newAlone("compressor", map[string]float64{"threshold": -40, "ratio": 10}).plug("in_left", "in_right")
	loud, soft := sine(300, 5), sine(500, 0.05)
	a.play = func(i, c int, f int64) float32 {
		switch i {
		case 0:
			return loud(f, c)
		case 1:
			return soft(f, c)
		}
		return 0
	}
	a.out("left", 800)
	var l, r []float32
	for range 750 {
		a.block()
		l, r = append(l, a.io.Out[0].Volts[0][:]...), append(r, a.io.Out[1].Volts[0][:]...)
	}
	x, y := measure.Decibels(rmsOf(l)*math.Sqrt2/5), measure.Decibels(rmsOf(r)*math.Sqrt2/0.05)
	if math.Abs(x-y) > 0.05 || x > -30 {
		t.Errorf("the loud side is turned down by %.2f dB, the soft one by %.2f", -x, -y)
	}
}

// TestDrums: each drum sounds on its own output and in its place of the mix, at
// its frame, at a good level, and is silent and free afterwards.
func TestDrums(t *testing.T) {
	for k, c := range []struct {
		in, out   string
		low, high float64 // where most of its sound is
	}{{"kick", "kick_out", 20, 250}, {"snare", "snare_out", 100, 24000}, {"hat", "hat_out", 5000, 24000}, {"open_hat", "hat_out", 5000, 24000}, {"clap", "clap_out", 400, 6000}} {
		a := newAlone("drum", nil)
		struck := a.spec.Input(c.in)
		a.play = func(i, ch int, f int64) float32 {
			if i == struck && f >= 1000 && f < 1048 || i == drumAccent {
				return 10
			}
			return 0
		}
		var rec [drums + 2][]float32
		for range 750 {
			a.block()
			for o := range rec {
				rec[o] = append(rec[o], a.io.Out[o].Volts[0][:]...)
			}
		}
		own := rec[a.spec.Output(c.out)]
		first := -1
		for i, v := range own {
			if v != 0 {
				first = i
				break
			}
		}
		if first < 1000 || first > 1001 {
			t.Errorf("%s sounds from frame %d, it was struck at 1000", c.in, first)
		}
		peak := peakOf(own)
		s := measure.NewSpectrum(own[1000:1000+16384], testRate, measure.Hann)
		share := s.Power(c.low, c.high) / s.Power(10, 24000)
		t.Logf("%-8s peak %.2f V, %.0f %% between %.0f and %.0f Hz", c.in, peak, share*100, c.low, c.high)
		if peak < 2 || peak > 8 || share < 0.8 {
			t.Errorf("%s: a peak of %.2f V, %.0f %% of its sound between %.0f and %.0f Hz", c.in, peak, share*100, c.low, c.high)
		}
		for o := range drums {
			if o != a.spec.Output(c.out) && peakOf(rec[o]) > 0 {
				t.Errorf("%s sounds in %s as well", c.in, a.spec.Outputs[o].Name)
			}
		}
		if l, r := rmsOf(rec[drumLeft]), rmsOf(rec[drumRight]); math.Abs(math.Hypot(l, r)/rmsOf(own)-1) > 0.01 {
			t.Errorf("%s: %.3f and %.3f V in the mix of %.3f V", c.in, l, r, rmsOf(own))
		}
		for range 6 * 750 {
			a.block()
		}
		if a.io.Out[k%drums].Held != 1 || a.io.Out[drumLeft].Held != 1 {
			t.Errorf("%s: still at work after seven seconds", c.in)
		}
	}
}

// TestDrumAccent: a strike without accent is softer by what the knob says.
func TestDrumAccent(t *testing.T) {
	for _, in := range []string{"kick", "snare", "hat", "open_hat", "clap"} {
		level := func(accent float32) float64 {
			a := newAlone("drum", map[string]float64{"kick_drive": 0, "accent_depth": 0.5})
			struck := a.spec.Input(in)
			a.play = func(i, c int, f int64) float32 {
				switch {
				case i == struck && f < 48:
					return 10
				case i == drumAccent:
					return accent
				}
				return 0
			}
			return rmsOf(a.out("left", 300))
		}
		if db := measure.Decibels(level(0) / level(10)); math.Abs(db+6.02) > 0.1 {
			t.Errorf("%s without accent is softer by %.2f dB, want 6.02", in, -db)
		}
	}
}

// TestDrumRetriggers: a drum that is struck while it sounds does not click: of
// its low sound nothing gets above 3 kHz, where there is no beater and no noise.
func TestDrumRetriggers(t *testing.T) {
	for _, c := range []struct {
		name   string
		params map[string]float64
		out    string
	}{
		{"kick", map[string]float64{"kick_click": 0, "kick_bend": 0, "kick_tune": 50, "kick_decay": 3, "kick_drive": 0}, "kick_out"},
		{"snare", map[string]float64{"snare_snap": 0, "snare_tune": 80, "snare_decay": 1}, "snare_out"},
	} {
		worst := math.Inf(-1)
		for _, gap := range []int64{1200, 4817, 7003, 9601, 14111} {
			a := newAlone("drum", c.params)
			struck := a.spec.Input(c.name)
			a.play = func(i, ch int, f int64) float32 {
				if i == struck && f%gap < 48 || i == drumAccent {
					return 10
				}
				return 0
			}
			rec := a.out(c.out, 750)
			// The first strike comes out of silence.
			db, _ := measure.ClickLevel(rec[480:], testRate, 3000)
			worst = max(worst, db)
		}
		t.Logf("%s: %.1f dB above 3 kHz", c.name, worst)
		if worst > -60 {
			t.Errorf("%s clicks at %.1f dB when it is struck again", c.name, worst)
		}
	}
}

// TestHatChokes: a closed hat ends an open one.
func TestHatChokes(t *testing.T) {
	a := newAlone("drum", map[string]float64{"open_decay": 4, "hat_decay": 0.03})
	a.play = func(i, c int, f int64) float32 {
		if i == drumOpenHat && f < 48 || i == drumHat && f >= 9600 && f < 9648 || i == drumAccent {
			return 10
		}
		return 0
	}
	rec := a.out("hat_out", 300)
	open, choked := rmsOf(rec[7200:9600]), rmsOf(rec[9600+2400:9600+4800])
	if db := measure.Decibels(choked / open); db > -60 {
		t.Errorf("50 ms after it was closed the hat is at %.1f dB", db)
	}
}
