package measure_test

import (
	"math"
	"math/cmplx"
	"math/rand/v2"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

const rate = 48000

// sum renders partials with phase 0.3 each.
func sum(seconds float64, partials ...measure.Partial) []float32 {
	out := make([]float32, int(seconds*rate))
	for i := range out {
		v := 0.0
		for _, p := range partials {
			v += p.Amplitude * math.Sin(2*math.Pi*p.Hertz*float64(i)/rate+0.3)
		}
		out[i] = float32(v)
	}
	return out
}

func noise(seconds, rms float64) []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]float32, int(seconds*rate))
	for i := range out {
		out[i] = float32(rms * r.NormFloat64())
	}
	return out
}

func near(t *testing.T, name string, got, want, within float64) {
	t.Helper()
	if !(math.Abs(got-want) <= within) {
		t.Errorf("%s is %v, expected %v within %v", name, got, want, within)
	}
}

func TestFFTAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{1, 2, 4, 8, 64, 256} {
		f, err := measure.NewFFT(n)
		if err != nil {
			t.Fatal(err)
		}
		x := make([]complex128, n)
		for i := range x {
			x[i] = complex(r.NormFloat64(), r.NormFloat64())
		}
		got := append([]complex128(nil), x...)
		f.Transform(got)
		for k := range x {
			var want complex128
			for i, v := range x {
				want += v * cmplx.Rect(1, -2*math.Pi*float64(i*k)/float64(n))
			}
			if cmplx.Abs(got[k]-want) > 1e-10 {
				t.Fatalf("%d points, bin %d: %v, expected %v", n, k, got[k], want)
			}
		}
		f.Inverse(got)
		for i := range x {
			if cmplx.Abs(got[i]-x[i]) > 1e-12 {
				t.Fatalf("%d points: the inverse gives %v for %v", n, got[i], x[i])
			}
		}
	}
	for _, n := range []int{0, 3, 100} {
		if _, err := measure.NewFFT(n); err == nil {
			t.Errorf("a transform of %d points is accepted", n)
		}
	}
}

func TestWindowsHaveTheirSideLobes(t *testing.T) {
	for _, c := range []struct {
		name  string
		w     measure.Window
		floor float64
	}{{"Hann", measure.Hann, -31}, {"Blackman-Harris", measure.BlackmanHarris, -91.5}, {"Albrecht 7", measure.Albrecht7, -150}} {
		// float32 samples carry noise at about -150 dB themselves.
		hertz := 6000.37
		s := measure.NewSpectrum(sum(0.2, measure.Partial{Hertz: hertz, Amplitude: 1}), rate, c.w)
		// The main lobe of n terms is n bins wide to each side.
		reach := float64(len(c.w)) * 5 * 1.02
		level := max(s.Level(20, hertz-reach), s.Level(hertz+reach, 23000))
		if level > c.floor {
			t.Errorf("%s has side lobes at %.1f dB, expected %v", c.name, level, c.floor)
		}
	}
}

func TestSpectrumPeaks(t *testing.T) {
	want := []measure.Partial{{Hertz: 110.3, Amplitude: 1}, {Hertz: 443.77, Amplitude: 0.5}, {Hertz: 450.1, Amplitude: 0.3}, {Hertz: 9000.5, Amplitude: 0.01}}
	got := measure.NewSpectrum(sum(1, want...), rate, measure.BlackmanHarris).Peaks(-60)
	if len(got) != len(want) {
		t.Fatalf("%d peaks, expected %d: %v", len(got), len(want), got)
	}
	for i, w := range want {
		near(t, "frequency", got[i].Hertz, w.Hertz, 0.02)
		near(t, "level in dB", measure.Decibels(got[i].Amplitude/w.Amplitude), 0, 0.05)
	}
	s := measure.NewSpectrum(noise(2, 0.5), rate, measure.Hann)
	near(t, "power of noise in a quarter of the band", 10*math.Log10(s.Power(6000, 12000)), 10*math.Log10(0.25/4), 0.2)
	if p := measure.NewSpectrum(make([]float32, 1000), rate, measure.Hann).Peaks(-60); len(p) != 0 {
		t.Errorf("silence has peaks %v", p)
	}
}

func TestPitch(t *testing.T) {
	for _, hertz := range []float64{41.2, 110, 261.6256, 987.77, 3951} {
		for name, shape := range map[string][]measure.Partial{
			"sine":                {{Hertz: hertz, Amplitude: 1}},
			"harmonics":           {{Hertz: hertz, Amplitude: 1}, {Hertz: 2 * hertz, Amplitude: 0.5}, {Hertz: 3 * hertz, Amplitude: 0.33}},
			"missing fundamental": {{Hertz: 2 * hertz, Amplitude: 0.5}, {Hertz: 3 * hertz, Amplitude: 0.33}, {Hertz: 5 * hertz, Amplitude: 0.3}},
		} {
			got, err := measure.Pitch(sum(0.5, shape...), rate)
			if err != nil {
				t.Errorf("%s at %v Hz: %v", name, hertz, err)
				continue
			}
			if c := measure.Cents(got, hertz); math.Abs(c) > 0.1 {
				t.Errorf("%s at %v Hz is heard at %v Hz, %.2f cents away", name, hertz, got, c)
			}
		}
	}
	if hertz, err := measure.Pitch(noise(0.5, 1), rate); err == nil {
		t.Errorf("noise has a pitch of %v Hz", hertz)
	}
	if _, err := measure.Pitch(make([]float32, 9600), rate); err == nil {
		t.Error("silence has a pitch")
	}
	near(t, "an octave", measure.Cents(880, 440), 1200, 1e-9)
}

func TestRoughness(t *testing.T) {
	pair := func(low, high, a, b float64) float64 {
		return measure.Roughness([]measure.Partial{{Hertz: low, Amplitude: a}, {Hertz: high, Amplitude: b}})
	}
	// By hand: s = 0.24/(0.0207·440+18.96) = 0.00855188…, Δf = 20 Hz.
	s := 0.24 / 28.068
	near(t, "440 and 460 Hz", pair(440, 460, 1, 0.5), 0.5*(math.Exp(-70*s)-math.Exp(-115*s)), 1e-12)
	near(t, "the order of a pair", pair(460, 440, 0.5, 1), pair(440, 460, 1, 0.5), 1e-15)
	if r := pair(440, 440, 1, 1); r != 0 {
		t.Errorf("unison is %v rough", r)
	}
	if a, b := pair(440, 465, 1, 1), pair(440, 660, 1, 1); a < 20*b {
		t.Errorf("a semitone (%v) should be far rougher than a fifth (%v)", a, b)
	}
	// The steepest place of the curve: a quarter of the critical band.
	best, at := 0.0, 0.0
	for d := 1.0; d < 200; d++ {
		if r := pair(500, 500+d, 1, 1); r > best {
			best, at = r, d
		}
	}
	near(t, "the roughest distance at 500 Hz", at, math.Log(5.75/3.5)/(5.75-3.5)/(0.24/(0.0207*500+18.96)), 1)
	chord := func(cents float64) []float32 {
		var p []measure.Partial
		for i, ratio := range []float64{1, 1.25, 1.5, 2} {
			detune := math.Exp2(cents * float64(i-1) / 1200)
			for k := 1.0; k <= 6; k++ {
				p = append(p, measure.Partial{Hertz: 220 * ratio * detune * k, Amplitude: 1 / k})
			}
		}
		return sum(2, p...)
	}
	still, frayed := measure.RoughnessOf(chord(0), rate), measure.RoughnessOf(chord(25), rate)
	if frayed < 1.1*still {
		t.Errorf("a frayed chord (%v) should be rougher than a just one (%v)", frayed, still)
	}
}

func TestLevels(t *testing.T) {
	s := sum(1, measure.Partial{Hertz: 1000, Amplitude: 2})
	for i := range s {
		s[i] += 0.25
	}
	near(t, "mean", measure.DC(s), 0.25, 1e-4)
	near(t, "RMS", measure.RMS(s), math.Sqrt(2+0.0625), 1e-3)
	near(t, "peak", measure.Peak(s), 2.25, 2e-3)
	if measure.RMS(nil) != 0 || measure.DC(nil) != 0 || measure.Peak(nil) != 0 {
		t.Error("nothing has a level")
	}
	// A sine at a quarter of the rate, sampled 45° off its peaks, reads 3 dB
	// low; the true peak is 0 dB.
	x := make([]float32, rate/10)
	for i := range x {
		fade := min(1, float64(i)/1000, float64(len(x)-1-i)/1000)
		x[i] = float32(fade * math.Sin(math.Pi/2*float64(i)+math.Pi/4))
	}
	near(t, "sample peak", measure.Decibels(measure.Peak(x)), -3.01, 0.02)
	near(t, "true peak", measure.TruePeak(x), 0, 0.05)
}

func TestLoudnessOfReferenceTones(t *testing.T) {
	// EBU Tech 3341, cases 1 to 4: 1 kHz sines on both sides, dBFS by peak.
	tone := func(dbfs, seconds float64) []float32 {
		return sum(seconds, measure.Partial{Hertz: 1000, Amplitude: math.Pow(10, dbfs/20)})
	}
	join := func(parts ...[]float32) (out []float32) {
		for _, p := range parts {
			out = append(out, p...)
		}
		return out
	}
	for _, c := range []struct {
		name string
		in   []float32
		want float64
	}{
		{"case 1", tone(-23, 20), -23},
		{"case 2", tone(-33, 20), -33},
		{"case 3", join(tone(-36, 10), tone(-23, 60), tone(-36, 10)), -23},
		{"case 4", join(tone(-72, 10), tone(-36, 10), tone(-23, 60), tone(-36, 10), tone(-72, 10)), -23},
	} {
		got := measure.MeasureLoudness(rate, c.in, c.in)
		near(t, c.name, got.Integrated, c.want, 0.1)
	}
	l := measure.MeasureLoudness(rate, tone(-20, 5), tone(-20, 5))
	near(t, "short-term", l.ShortTermMax, -20, 0.1)
	near(t, "momentary", l.MomentaryMax, -20, 0.1)
	if len(l.ShortTerm) != 21 {
		t.Errorf("%d short-term values in 5 s, expected 21", len(l.ShortTerm))
	}
	if got := measure.MeasureLoudness(rate, make([]float32, 2*rate)).Integrated; !math.IsInf(got, -1) {
		t.Errorf("silence has %v LUFS", got)
	}
}

func TestDistortionAndAliasing(t *testing.T) {
	in := sum(1.4, measure.Partial{Hertz: 997.3, Amplitude: 1}, measure.Partial{Hertz: 2 * 997.3, Amplitude: 0.003}, measure.Partial{Hertz: 3 * 997.3, Amplitude: 0.004})
	near(t, "THD", measure.THD(in, 997.3, rate), measure.Decibels(0.005), 0.05)
	clean := measure.AliasLevel(in, 997.3, rate)
	if clean.TotalDB > -130 {
		t.Errorf("a clean tone aliases at %.1f dB", clean.TotalDB)
	}
	dirty := sum(1.4, measure.Partial{Hertz: 997.3, Amplitude: 1}, measure.Partial{Hertz: 7321, Amplitude: 0.001}, measure.Partial{Hertz: 13777, Amplitude: 0.0005})
	got := measure.AliasLevel(dirty, 997.3, rate)
	near(t, "worst alias", got.WorstDB, -60, 0.1)
	near(t, "its frequency", got.Hertz, 7321, 1)
	near(t, "all aliases", got.TotalDB, 10*math.Log10(1.25e-6), 0.1)
	// A naive saw of 2.5 kHz is known to be bad.
	naive := make([]float32, rate)
	for i := range naive {
		_, f := math.Modf(2500.7 / rate * float64(i))
		naive[i] = float32(2*f - 1)
	}
	if a := measure.AliasLevel(naive, 2500.7, rate); a.TotalDB < -25 {
		t.Errorf("a naive saw aliases at only %.1f dB", a.TotalDB)
	}

	n := noise(2, 0.001)
	near(t, "noise floor", measure.NoiseFloor(n, rate), -60, 0.3)
	for i, v := range sum(2, measure.Partial{Hertz: 1000, Amplitude: 1}, measure.Partial{Hertz: 3000, Amplitude: 0.5}) {
		n[i] += v
	}
	near(t, "noise floor under a tone", measure.NoiseFloor(n, rate), -60, 0.5)
}

func TestOnsets(t *testing.T) {
	want := []float64{0, 0.5, 0.73, 1.1, 1.6, 2.25}
	in := noise(3, 0.0005)
	for k, at := range want {
		hertz := []float64{220, 440, 1500, 330, 660, 3000}[k]
		level := []float64{1, 0.5, 0.3, 0.5, 1, 0.2}[k]
		for i := int(at * rate); i < len(in); i++ {
			s := float64(i)/rate - at
			in[i] += float32(level * math.Exp(-s*14) * min(1, s*1000) * math.Sin(2*math.Pi*hertz*s))
		}
	}
	got := measure.Onsets(in, rate)
	if len(got) != len(want) {
		t.Fatalf("onsets at %v, expected %v", got, want)
	}
	for i := range want {
		near(t, "onset", got[i], want[i], 0.008)
	}
	if got := measure.Onsets(make([]float32, rate), rate); len(got) != 0 {
		t.Errorf("silence has onsets at %v", got)
	}
	// A steady chord that fades in and out has one at most.
	pad := sum(3, measure.Partial{Hertz: 220, Amplitude: 0.3}, measure.Partial{Hertz: 275, Amplitude: 0.3}, measure.Partial{Hertz: 330, Amplitude: 0.3})
	for i := range pad {
		s := float64(i) / rate
		pad[i] *= float32(min(1, s/0.5, (3-s)/0.5))
	}
	if got := measure.Onsets(pad, rate); len(got) > 1 {
		t.Errorf("a pad has onsets at %v", got)
	}
}

func TestClicks(t *testing.T) {
	tone := func() []float32 {
		s := sum(1, measure.Partial{Hertz: 330, Amplitude: 1}, measure.Partial{Hertz: 1230, Amplitude: 0.2})
		for i := range s {
			s[i] *= float32(min(1, float64(i)/480, float64(len(s)-1-i)/480))
		}
		return s
	}
	if got := measure.Clicks(tone(), rate, 20); len(got) != 0 {
		t.Errorf("a clean tone clicks: %+v", got)
	}
	if got := measure.Clicks(noise(1, 1), rate, 20); len(got) != 0 {
		t.Errorf("noise clicks: %+v", got)
	}
	step := tone()
	for i := 20000; i < len(step); i++ {
		step[i] *= 0.8
	}
	// At 20000 the tone must not happen to be near zero.
	if math.Abs(float64(step[20000])) < 0.1 {
		t.Fatalf("the tone is %v at the step", step[20000])
	}
	single := tone()
	single[30000] += 0.05
	cut := tone()[:33333]
	for name, c := range map[string]struct {
		in []float32
		at float64
	}{"step": {step, 20000.0 / rate}, "sample": {single, 30000.0 / rate}, "cut end": {cut, 33332.0 / rate}} {
		got := measure.Clicks(c.in, rate, 20)
		if len(got) != 1 {
			t.Errorf("%s: clicks %+v, expected one at %v", name, got, c.at)
			continue
		}
		near(t, name, got[0].Seconds, c.at, 0.0001)
	}
}
