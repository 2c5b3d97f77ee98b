package dsp_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

func TestExp2WithinHundredthOfACent(t *testing.T) {
	worst := 0.0
	for v := float32(-10); v <= 10; v += 0.00037 {
		want := dsp.C4Hertz * math.Exp2(float64(v))
		worst = max(worst, math.Abs(measure.Cents(float64(dsp.VoltsToHertz(v)), want)))
		if back := dsp.HertzToVolts(dsp.VoltsToHertz(v)); math.Abs(float64(back-v)) > 3e-6 {
			t.Fatalf("%v V comes back as %v V", v, back)
		}
	}
	t.Logf("worst error %.5f cent", worst)
	if worst > 0.01 {
		t.Errorf("pitch is off by %.4f cent", worst)
	}
	if a4 := dsp.VoltsToHertz(0.75); math.Abs(float64(a4)-440) > 0.001 {
		t.Errorf("0.75 V is %v Hz, expected 440", a4)
	}
}

func TestOscillatorPitchAndHarmonics(t *testing.T) {
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Pulse, dsp.Triangle, dsp.SineWave} {
		out := tone(shape, 440, 1<<16)
		hertz, err := measure.Pitch(out, rate)
		if err != nil {
			t.Fatal(err)
		}
		if c := measure.Cents(hertz, 440); math.Abs(c) > 0.01 {
			t.Errorf("%v at 440 Hz is off by %.4f cents", shape, c)
		}
		if dc := measure.DC(out); math.Abs(dc) > 0.01 {
			t.Errorf("%v has a mean of %v V", shape, dc)
		}
		s := measure.NewSpectrum(out, rate, measure.BlackmanHarris)
		for k := 1.0; k*440 < 17000; k++ {
			want := 0.0
			odd := math.Mod(k, 2) == 1
			switch {
			case shape == dsp.Saw:
				want = 2 * 5 / (math.Pi * k)
			case shape == dsp.Pulse && odd:
				want = 4 * 5 / (math.Pi * k)
			case shape == dsp.Triangle && odd:
				want = 8 * 5 / (math.Pi * math.Pi * k * k)
			case shape == dsp.SineWave && k == 1:
				want = 5
			}
			got := s.Near(k*440, 20).Amplitude
			if want == 0 {
				if got > 2e-4 {
					t.Errorf("%v: harmonic %v is %v V, expected none", shape, k, got)
				}
				continue
			}
			if db := measure.Decibels(got / want); math.Abs(db) > 0.15 {
				t.Errorf("%v: harmonic %v is off by %.2f dB", shape, k, db)
			}
		}
	}
}

func TestHardSyncDoesNotAlias(t *testing.T) {
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Pulse, dsp.Triangle, dsp.SineWave} {
		var lead, follow dsp.Oscillator
		lead.Init(rate)
		follow.Init(rate)
		follow.SetWaveform(shape)
		out := make([]float32, 1<<16)
		for i := -512; i < len(out); i++ {
			lead.Next(987.7)
			v := follow.Next(2512.3)
			if ok, ago := lead.Wrapped(); ok {
				follow.HardSync(ago)
			}
			if i >= 0 {
				out[i] = v
			}
		}
		got := measure.AliasLevel(out, exact(987.7), rate)
		t.Logf("sync %v: %.1f dB", shape, got.TotalDB)
		if got.TotalDB > -55 {
			t.Errorf("synced %v aliases at %.1f dB", shape, got.TotalDB)
		}
	}
}

func TestOscillatorBoundedUnderWildModulation(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Pulse, dsp.Triangle, dsp.SineWave} {
		var o dsp.Oscillator
		o.Init(rate)
		o.SetWaveform(shape)
		for range 200000 {
			o.SetPulseWidth(0.5 + 0.1*float32(math.Sin(r.Float64()*6)))
			v := o.Next(float32(math.Exp2(r.Float64()*10)) * 20)
			if !(v > -12 && v < 12) {
				t.Fatalf("%v reaches %v V", shape, v)
			}
		}
	}
}

func TestSineIsPure(t *testing.T) {
	var s dsp.Sine
	s.Init(rate)
	out := make([]float32, 1<<16)
	for i := range out {
		out[i] = s.Next(997)
	}
	thd := measure.THD(out, 997, rate)
	t.Logf("THD %.1f dB", thd)
	if thd > -100 {
		t.Errorf("THD is %.1f dB, above -100", thd)
	}
	worst := 0.0
	for c := float32(-2); c < 2; c += 0.0001 {
		worst = max(worst, math.Abs(float64(dsp.SineCycles(c))-math.Sin(2*math.Pi*float64(c))))
	}
	if worst > 3e-7 {
		t.Errorf("SineCycles is off by %v", worst)
	}
}

func TestNoise(t *testing.T) {
	var n, twin, other dsp.Noise
	n.Init(rate)
	twin.Init(rate)
	other.Init(rate)
	other.Seed(2)
	white, pink := make([]float32, 1<<19), make([]float32, 1<<19)
	different := false
	for i := range white {
		white[i] = n.White()
		if white[i] != twin.White() {
			t.Fatal("equal seeds differ")
		}
		different = different || white[i] != other.White()
	}
	if !different {
		t.Error("seeds do not matter")
	}
	for i := range pink {
		pink[i] = n.Pink()
	}
	if r := measure.RMS(white); math.Abs(r-5/math.Sqrt(3)) > 0.02 {
		t.Errorf("white RMS is %v V", r)
	}
	if d := measure.DC(white); math.Abs(d) > 0.02 {
		t.Errorf("white mean is %v V", d)
	}
	if r := measure.Decibels(measure.RMS(pink) / measure.RMS(white)); math.Abs(r) > 0.5 {
		t.Errorf("pink RMS is %.2f dB from white", r)
	}
	ws, ps := measure.NewSpectrum(white, rate, measure.Hann), measure.NewSpectrum(pink, rate, measure.Hann)
	var reference float64
	for octave := 0; octave < 9; octave++ {
		low := 31.25 * math.Exp2(float64(octave))
		density := 10 * math.Log10(ws.Power(low, 2*low)/low)
		want := 10 * math.Log10(25.0/3/(rate/2))
		tolerance := 0.3 + 3/math.Sqrt(low/31.25)
		if math.Abs(density-want) > tolerance {
			t.Errorf("white at %.0f Hz is off by %.2f dB", low, density-want)
		}
		level := 10 * math.Log10(ps.Power(low, min(2*low, 20000))/math.Log2(min(2*low, 20000)/low))
		if octave == 0 {
			reference = 10 * math.Log10(ps.Power(125, 8000)/6)
		}
		if math.Abs(level-reference) > 1+2/math.Sqrt(low/31.25) {
			t.Errorf("pink octave at %.0f Hz is off by %.2f dB", low, level-reference)
		}
	}
}

// response is the gain in dB of a filter at a frequency, by a settled sine.
func response(next func(float32) float32, hertz float64) float64 {
	n := int(rate/2 + 20*rate/hertz)
	var sc, ss, c2 float64
	for i := range n {
		p := 2 * math.Pi * hertz * float64(i) / rate
		v := float64(next(float32(math.Sin(p))))
		if i > n/2 {
			w := 0.5 - 0.5*math.Cos(2*math.Pi*float64(i-n/2)/float64(n-n/2))
			sc += w * v * math.Cos(p)
			ss += w * v * math.Sin(p)
			c2 += w / 2
		}
	}
	return measure.Decibels(math.Hypot(sc, ss) / c2)
}

func TestFilterResponses(t *testing.T) {
	near := func(name string, got, want, within float64) {
		t.Helper()
		if math.Abs(got-want) > within {
			t.Errorf("%s: %.2f dB, expected %.2f", name, got, want)
		}
	}
	var p dsp.OnePole
	p.Init(rate)
	p.SetHertz(2000)
	near("one-pole low at corner", response(p.LowPass, 2000), -3.01, 0.05)
	near("one-pole low a decade down", response(p.LowPass, 200), -0.043, 0.02)
	p.Reset()
	near("one-pole high at corner", response(p.HighPass, 2000), -3.01, 0.05)
	near("one-pole high a decade down", response(p.HighPass, 200), -20.04, 0.1)
	var d dsp.DCBlocker
	d.Init(rate)
	near("DC blocker at 20 Hz", response(d.Next, 20), -0.263, 0.05)
	d.Reset()
	var last float32
	for range rate {
		last = d.Next(5)
	}
	if last > 1e-4 || last < -1e-4 {
		t.Errorf("DC blocker passes %v V of 5 V after a second", last)
	}

	var f dsp.SVF
	make := func(q float32) *dsp.SVF {
		f.Init(rate)
		f.SetHertz(1000)
		f.SetQ(q)
		return &f
	}
	flat := float32(math.Sqrt2 / 2)
	near("SVF low at corner", response(make(flat).LowPass, 1000), -3.01, 0.05)
	near("SVF low at Q 10", response(make(10).LowPass, 1000), 20, 0.05)
	// The trapezoidal rule warps 5 kHz to 5.18 times the corner.
	near("SVF low above", response(make(flat).LowPass, 5000), -28.58, 0.05)
	near("SVF high a decade down", response(make(flat).HighPass, 100), -40, 0.1)
	near("SVF high at top", response(make(flat).HighPass, 15000), 0, 0.05)
	near("SVF band at centre", response(make(10).BandPass, 1000), 0, 0.05)
	near("SVF notch far away", response(make(1).Notch, 10000), 0, 0.1)
	if n := response(make(1).Notch, 1000); n > -60 {
		t.Errorf("SVF notch is only %.1f dB deep", n)
	}
}

func TestSVFTracksPitch(t *testing.T) {
	for _, hertz := range []float32{50, 261.6256, 1000, 4000, 10000, 18000, 22000} {
		var f dsp.SVF
		f.Init(rate)
		f.SetHertz(hertz)
		f.SetQ(200)
		out := make([]float32, 1<<15)
		in := float32(1)
		for i := range out {
			out[i] = f.BandPass(in)
			in = 0
		}
		// The ringing of a filter of quality Q lies at √(1-1/4Q²) of its
		// centre: 0.005 cent at 200.
		got := measure.NewSpectrum(out, rate, measure.Hann).Near(float64(hertz), float64(hertz)/10).Hertz
		cents := measure.Cents(got, float64(hertz))
		t.Logf("%7.1f Hz: %+.3f cents", hertz, cents)
		if math.Abs(cents) > 0.5 {
			t.Errorf("cutoff %v Hz rings at %v Hz, %.2f cents away", hertz, got, cents)
		}
	}
}

func TestSVFStableUnderAudioRateModulation(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	var f dsp.SVF
	f.Init(rate)
	peak := float32(0)
	for range 20 * rate {
		f.SetHertz(float32(20 * math.Exp2(10*r.Float64())))
		f.SetQ(float32(0.5 / (1 - r.Float64())))
		low, band, high := f.Next(float32(10*r.Float64() - 5))
		peak = max(peak, low, -low, band, -band, high, -high)
	}
	if !(peak < 100) {
		t.Errorf("reaches %v V", peak)
	}
}

func TestADSRTimes(t *testing.T) {
	for _, c := range []struct{ a, d, r float64 }{{0.001, 0.01, 0.02}, {0.01, 0.1, 0.2}, {0.3, 1, 2}, {3, 8, 10}} {
		var e dsp.ADSR
		e.Init(rate)
		const sustain = 4
		e.Set(c.a, c.d, sustain, c.r)
		n := 0
		for e.Next(true) < 10 {
			n++
		}
		attack := float64(n+1) / rate
		n = 0
		for e.Next(true)-sustain > 6e-3 {
			n++
		}
		decay := float64(n+1) / rate
		for range int(c.d * rate) {
			e.Next(true)
		}
		if v := e.Next(true); math.Abs(float64(v-sustain)) > 1e-4 || e.Stage() != dsp.Sustain {
			t.Errorf("rests at %v V in %v, expected %v", v, e.Stage(), sustain)
		}
		n = 0
		for e.Next(false) > sustain*1e-3 {
			n++
		}
		release := float64(n+1) / rate
		for range int(c.r*rate) + 1 {
			e.Next(false)
		}
		if e.Active() {
			t.Errorf("still active after twice the release")
		}
		check := func(name string, got, want float64) {
			off := got/want - 1
			t.Logf("%s %6.3f s: %+.3f %%", name, want, 100*off)
			if math.Abs(got-want) > max(0.01*want, 1.0/rate) {
				t.Errorf("%s of %v s takes %v s", name, want, got)
			}
		}
		check("attack", attack, c.a)
		check("decay", decay, c.d)
		check("release", release, c.r)
	}
}

// TestADSRRetriggersWithoutClick turns the gate at random: no step may exceed
// the steepest the set times allow.
func TestADSRRetriggersWithoutClick(t *testing.T) {
	var e dsp.ADSR
	e.Init(rate)
	e.Set(0.005, 0.05, 6, 0.05)
	r := rand.New(rand.NewPCG(11, 12))
	// The steepest is the start of an attack from 0 V.
	limit := float32(10 / 0.7768698 * 1.5 / (0.005 * rate) * 1.01)
	last, gate, steepest := float32(0), false, float32(0)
	for i := range 10 * rate {
		if r.IntN(400) == 0 {
			gate = !gate
		}
		if i%777 == 0 {
			e.Trigger()
		}
		v := e.Next(gate)
		steepest = max(steepest, v-last, last-v)
		if v < 0 || v > 10 {
			t.Fatalf("level %v V", v)
		}
		last = v
	}
	if steepest > limit {
		t.Errorf("steps by %v V, expected at most %v", steepest, limit)
	}
}

func TestStruckEnvelopeTimes(t *testing.T) {
	var d dsp.Decay
	d.Init(rate)
	d.Set(0.002, 0.5)
	d.Strike(8)
	n := 0
	for d.Next() < 8 {
		n++
	}
	if n+1 != 96 {
		t.Errorf("rises in %d samples, expected 96", n+1)
	}
	n = 0
	for d.Next() > 8e-3 {
		n++
	}
	if s := float64(n+1) / rate; math.Abs(s-0.5) > 0.002 {
		t.Errorf("falls 60 dB in %v s, expected 0.5", s)
	}
	d.Strike(8)
	d.Next()
	if level := d.Next(); level > 0.2 {
		t.Errorf("jumps to %v V at a strike", level)
	}
}

func TestRampPulseSchmitt(t *testing.T) {
	var r dsp.Ramp
	r.Init(rate)
	r.SetSeconds(0.01)
	r.Set(3)
	last, n := float32(0), 0
	for r.Moving() {
		v := r.Next()
		if v <= last || v-last > 3.0/480*1.001 {
			t.Fatalf("ramp goes from %v to %v", last, v)
		}
		last = v
		n++
	}
	if n != 480 || last != 3 {
		t.Errorf("ramp ends at %v after %d samples, expected 3 after 480", last, n)
	}
	r.Set(float32(math.NaN()))
	if r.Moving() || r.Next() != 3 {
		t.Error("NaN moves a ramp")
	}

	var p dsp.PulseGenerator
	p.Init(rate)
	count := func(again int) (high int) {
		p.Trigger()
		for i := range 200 {
			if i == again {
				p.Trigger()
			}
			if p.Next() == dsp.GateHigh {
				high++
			}
		}
		return high
	}
	if a, b := count(-1), count(30); a != 48 || b != 78 {
		t.Errorf("pulses of %d and, retriggered after 30, %d samples; expected 48 and 78", a, b)
	}

	var g dsp.SchmittTrigger
	nan := float32(math.NaN())
	for i, c := range []struct {
		in           float32
		rising, high bool
	}{
		{0.5, false, false}, {1.0, false, false}, {1.01, true, true}, {12, false, true}, {0.5, false, true},
		{nan, false, true}, {0.1, false, true}, {0.09, false, false}, {nan, false, false}, {0.99, false, false}, {5, true, true}, {-5, false, false},
	} {
		if got := g.Next(c.in); got != c.rising || g.High() != c.high {
			t.Errorf("step %d, %v V: rising %v, high %v", i, c.in, got, g.High())
		}
	}
}

func TestSoftClip(t *testing.T) {
	last := float32(-6)
	for v := float32(-40); v < 40; v += 0.01 {
		c := dsp.SoftClip(v)
		if c < last-1e-6 || c > 5.000001 || c < -5.000001 {
			t.Fatalf("soft clip of %v V is %v V after %v V", v, c, last)
		}
		last = c
	}
	if c := dsp.SoftClip(0.1); math.Abs(float64(c)-0.1) > 1e-4 {
		t.Errorf("soft clip changes 0.1 V to %v V", c)
	}
}

func TestLimiterHoldsTruePeak(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	sine := func(hertz, phase float64) func(int) (float32, float32) {
		return func(i int) (float32, float32) {
			a := 20 * math.Sin(2*math.Pi*hertz*float64(i)/rate+phase)
			return float32(a), float32(a / 3)
		}
	}
	signals := map[string]func(int) (float32, float32){
		"quarter rate": sine(rate/4, math.Pi/4),
		"sixth rate":   sine(rate/6, math.Pi/6),
		"1 kHz":        sine(997, 0),
		"18 kHz":       sine(18000, 1),
		"bursts": func(i int) (float32, float32) {
			if i/2500%3 == 0 {
				return float32(8 * r.NormFloat64()), float32(20 * r.NormFloat64())
			}
			return float32(math.Sin(float64(i) * 0.03)), 0
		},
		"steps": func(i int) (float32, float32) {
			return float32(30 * (i / 700 % 2)), float32(-15 * (i / 1100 % 2))
		},
	}
	for _, name := range slices.Sorted(func(yield func(string) bool) {
		for k := range signals {
			if !yield(k) {
				return
			}
		}
	}) {
		var l dsp.Limiter
		l.Init(rate)
		const ceiling = 4.4563 // -1 dB from 5 V
		l.SetCeiling(ceiling)
		left, right := make([]float32, rate), make([]float32, rate)
		for i := range left {
			// The signal stops early, so that the limiter and not the end of
			// the array makes the last edge.
			var a, b float32
			if i < rate-1000 {
				a, b = signals[name](i)
			}
			left[i], right[i] = l.Next(a, b)
		}
		four := max(measure.TruePeakAt(left, 4), measure.TruePeakAt(right, 4))
		eight := max(measure.TruePeakAt(left, 8), measure.TruePeakAt(right, 8))
		t.Logf("%-12s true peak at 4x %+.2f dB, at 8x %+.2f dB of the ceiling, samples %+.2f dB", name,
			measure.Decibels(four/ceiling), measure.Decibels(eight/ceiling), measure.Decibels(max(measure.Peak(left), measure.Peak(right))/ceiling))
		if four > ceiling || eight > ceiling {
			t.Errorf("%s: true peak %v V at 4x, %v V at 8x, above %v V", name, four, eight, ceiling)
		}
		if four < ceiling*0.75 {
			t.Errorf("%s: limits to %v V, far below %v V", name, four, ceiling)
		}
	}
}

func TestLimiterLeavesQuietSoundAlone(t *testing.T) {
	var l dsp.Limiter
	l.Init(rate)
	l.SetCeiling(5)
	in := make([]float32, 8000)
	r := rand.New(rand.NewPCG(15, 16))
	for i := range in {
		in[i] = float32(r.Float64()*4 - 2)
		a, b := l.Next(in[i], -in[i])
		if j := i - l.Latency(); j >= 0 && (a != in[j] || b != -in[j]) {
			t.Fatalf("sample %d is %v, went in as %v", j, a, in[j])
		}
	}
}

// t60 estimates a decay time from tails by Schroeder's backward integration of
// their common energy, between 10 and 40 dB down.
func t60(tails ...[]float32) float64 {
	n := len(tails[0])
	energy := make([]float64, n+1)
	for i := n - 1; i >= 0; i-- {
		energy[i] = energy[i+1]
		for _, tail := range tails {
			energy[i] += float64(tail[i]) * float64(tail[i])
		}
	}
	at := func(db float64) float64 {
		i := 0
		for i < n && 10*math.Log10(energy[i]/energy[0]) > db {
			i++
		}
		return float64(i) / rate
	}
	return 2 * (at(-40) - at(-10))
}

// band filters by four state-variable band-passes in a row.
func band(in []float32, hertz, q float32) []float32 {
	out := slices.Clone(in)
	for range 3 {
		var f dsp.SVF
		f.Init(rate)
		f.SetHertz(hertz)
		f.SetQ(q)
		for i, v := range out {
			out[i] = f.BandPass(v)
		}
	}
	return out
}

func TestReverbDecayTimes(t *testing.T) {
	for _, c := range []struct{ low, high float64 }{{0.5, 0.25}, {2, 1}, {2, 2}, {6, 2}} {
		var v dsp.Reverb
		v.Init(rate)
		v.SetDecay(c.low, c.high)
		v.Reset()
		var n dsp.Noise
		n.Init(rate)
		// One tail fluctuates by some per cent; several together do not.
		var lows, highs [][]float32
		for range 8 {
			for range rate / 5 {
				v.Next(n.White(), n.White())
			}
			left, right := make([]float32, int(1.2*c.low*rate)), make([]float32, int(1.2*c.low*rate))
			for i := range left {
				left[i], right[i] = v.Next(0, 0)
			}
			lows = append(lows, band(left, 500, 0.7), band(right, 500, 0.7))
			highs = append(highs, band(left, 6000, 4), band(right, 6000, 4))
		}
		low, high := t60(lows...), t60(highs...)
		t.Logf("T60 %.2f s: %+.1f %%; at 6 kHz %.2f s: %+.1f %%", c.low, 100*(low/c.low-1), c.high, 100*(high/c.high-1))
		if math.Abs(low/c.low-1) > 0.05 {
			t.Errorf("decay of %v s lasts %.3f s", c.low, low)
		}
		if math.Abs(high/c.high-1) > 0.08 {
			t.Errorf("decay at 6 kHz of %v s lasts %.3f s", c.high, high)
		}
	}
}

func TestReverbClosesAndKeepsItsLevel(t *testing.T) {
	var v dsp.Reverb
	v.Init(rate)
	v.SetDecay(6, 3)
	v.Reset()
	var n dsp.Noise
	n.Init(rate)
	// Pink, because that is how the power of music is spread.
	run := func(seconds float64) []float32 {
		out := make([]float32, int(seconds*rate))
		for i := range out {
			out[i], _ = v.Next(n.Pink(), n.Pink())
		}
		return out
	}
	run(6)
	open := run(1)
	if d := measure.Decibels(measure.RMS(open) / (5 / math.Sqrt(3))); math.Abs(d) > 4 {
		t.Errorf("the wet sound is %.1f dB from the dry", d)
	}
	v.SetOpen(false)
	closing := run(0.4)
	if clicks := measure.Clicks(append(slices.Clone(open[rate/2:]), closing...), rate, 26); len(clicks) != 0 {
		t.Errorf("closing clicks: %+v", clicks)
	}
	after := measure.Decibels(measure.RMS(run(0.05)) / measure.RMS(open))
	t.Logf("400 ms after closing, with noise still coming in: %.1f dB", after)
	if after > -60 {
		t.Errorf("a closed reverb still sounds at %.1f dB", after)
	}
	v.SetOpen(true)
	run(4)
	if d := measure.Decibels(measure.RMS(run(1)) / measure.RMS(open)); math.Abs(d) > 2 {
		t.Errorf("after opening again the level differs by %.1f dB", d)
	}
	// Other decay times, same level.
	for _, seconds := range []float64{0.5, 1.5} {
		v.SetDecay(seconds, seconds/2)
		run(2)
		if d := measure.Decibels(measure.RMS(run(1)) / measure.RMS(open)); math.Abs(d) > 2 {
			t.Errorf("at a decay of %v s the level differs by %.1f dB", seconds, d)
		}
	}
}

func TestModalBody(t *testing.T) {
	var m dsp.Modal
	m.Init(rate)
	m.SetBody(dsp.Bell)
	m.Set(440, 4)
	m.Strike(5)
	out := make([]float32, 1<<16)
	m.Process(out)
	if p := measure.Peak(out); p > 5 || p < 1 {
		t.Errorf("a strike of 5 V peaks at %v V", p)
	}
	s := measure.NewSpectrum(out[:1<<15], rate, measure.Hann)
	for _, p := range dsp.Bell {
		got := s.Near(440*p.Ratio, 15)
		if c := math.Abs(measure.Cents(got.Hertz, 440*p.Ratio)); c > 2 {
			t.Errorf("the partial at ratio %v is off by %.2f cents", p.Ratio, c)
		}
	}
	one := []dsp.Partial{{Ratio: 1, Level: 1, Decay: 1}}
	m.Init(rate)
	m.SetBody(one)
	m.Set(440, 1.5)
	m.Strike(5)
	out = make([]float32, 3*rate)
	m.Process(out)
	if d := t60(out); math.Abs(d/1.5-1) > 0.01 {
		t.Errorf("a T60 of 1.5 s lasts %v s", d)
	}
	// Strikes on a ringing body add no step: no sample differs from the last
	// by more than the steepest slope of all the energy there can be.
	m.Reset()
	last := float32(0)
	limit := float32(2 * 3 * 2 * math.Pi * 440 / rate)
	for i := range rate {
		if i%9601 == 100 {
			m.Strike(3)
		}
		v := m.Next()
		if d := v - last; d > limit || d < -limit {
			t.Fatalf("sample %d steps by %v V, expected at most %v", i, d, limit)
		}
		last = v
	}
	m.Damp(50)
	for range rate / 10 {
		m.Next()
	}
	if m.Active() {
		t.Error("still rings 100 ms after it was damped")
	}
}
