package dsp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
)

// pitchCase is a sound whose pitch is known.
type pitchCase struct {
	wave    string
	rate    float64
	hertz   float64
	snr     float64 // dB; 0 for none
	hum     float64 // hertz; 0 for none; at -40 dB
	offset  float64
	seconds float64
}

var pitchWaves = []string{"saw", "square", "pulse", "triangle", "sine", "no fundamental", "weak fundamental", "formant"}

// sound renders a case and returns its true pitch.
func (c pitchCase) sound(rnd *rand.Rand) ([]float32, float64) {
	n := int(c.seconds * c.rate)
	out := make([]float32, n)
	truth := c.hertz
	additive := func(amplitude func(k int) float64) {
		sum := make([]float64, n)
		for k := 1; k <= 60 && float64(k)*c.hertz < 0.49*c.rate; k++ {
			a := amplitude(k)
			if a == 0 {
				continue
			}
			s, co := math.Sincos(2 * math.Pi * float64(k) * c.hertz / c.rate)
			step := complex(co, s)
			s, co = math.Sincos(2 * math.Pi * rnd.Float64())
			z := complex(a*co, a*s)
			for i := range sum {
				sum[i] += imag(z)
				z *= step
			}
		}
		for i, v := range sum {
			out[i] = float32(v)
		}
	}
	vco := func(w Waveform, width float64) {
		var o Oscillator
		o.Init(c.rate)
		o.SetWaveform(w)
		o.SetPulseWidth(float32(width))
		o.SetPhase(rnd.Float64())
		truth = float64(o.incrementFor(float32(c.hertz))) * c.rate / (1 << 32)
		o.Process(make([]float32, 64), float32(c.hertz))
		o.Process(out, float32(c.hertz))
	}
	switch c.wave {
	case "saw":
		vco(Saw, 0.5)
	case "square":
		vco(Pulse, 0.5)
	case "pulse":
		// As narrow as one sample may be, no narrower.
		least := max(0.01, c.hertz/c.rate)
		vco(Pulse, least+(1-2*least)*rnd.Float64())
	case "triangle":
		vco(Triangle, 0.5)
	case "sine":
		additive(func(k int) float64 {
			if k == 1 {
				return 5
			}
			return 0
		})
	case "no fundamental":
		additive(func(k int) float64 {
			if k == 1 {
				return 0
			}
			return 5 / float64(k)
		})
	case "weak fundamental":
		additive(func(k int) float64 {
			if k == 1 {
				return 0.02
			}
			return 5 / float64(k)
		})
	case "formant":
		at := min(2+6*rnd.Float64(), 0.3*c.rate/c.hertz)
		additive(func(k int) float64 {
			d := float64(k) - at
			return 5/(1+d*d) + 0.01/float64(k)
		})
	}
	square, mean := 0.0, 0.0
	for _, v := range out {
		square += float64(v) * float64(v)
		mean += float64(v) / float64(n)
	}
	rms := math.Sqrt(square/float64(n) - mean*mean)
	phase := rnd.Float64()
	for i := range out {
		v := c.offset
		if c.hum > 0 {
			v += 0.01 * math.Sqrt2 * rms * math.Sin(2*math.Pi*(phase+c.hum*float64(i)/c.rate))
		}
		if c.snr > 0 {
			v += rms * math.Pow(10, -c.snr/20) * rnd.NormFloat64()
		}
		out[i] += float32(v)
	}
	return out, truth
}

// partials tells whether a wave has enough room below half the rate to be one.
func (c pitchCase) possible() bool {
	switch c.wave {
	case "no fundamental", "weak fundamental", "formant":
		return 3*c.hertz < 0.48*c.rate
	}
	return true
}

func cents(f, of float64) float64 { return 1200 * math.Log2(f/of) }

type pitchScore struct {
	errs, normal []float64
	octaves      int
	missed       int
}

func (s *pitchScore) add(p Pitch, truth float64) {
	if !p.Found() {
		s.missed++
		return
	}
	e := math.Abs(cents(p.Hertz, truth))
	if e > 50 {
		s.octaves++
		return
	}
	s.errs = append(s.errs, e)
	s.normal = append(s.normal, e/p.StandardError)
}

func (s *pitchScore) at(q float64) float64 {
	if len(s.errs) == 0 {
		return math.NaN()
	}
	slices.Sort(s.errs)
	return s.errs[int(q*float64(len(s.errs)-1))]
}

// off is the RMS of the errors in their own standard errors.
func (s *pitchScore) off() float64 {
	sum := 0.0
	for _, v := range s.normal {
		sum += v * v
	}
	return math.Sqrt(sum / float64(len(s.normal)))
}

// bound is the Cramér-Rao bound of a case in cents for white noise.
func (c pitchCase) bound(samples []float32, truth float64) float64 {
	// Σ k²·a² of the clean wave from its own partials.
	n := float64(len(samples))
	info := 0.0
	square := 0.0
	for k := 1; k <= 200 && float64(k)*truth < 0.49*c.rate; k++ {
		s, co := math.Sincos(-2 * math.Pi * float64(k) * truth / c.rate)
		step, z, sum := complex(co, s), complex(1, 0), complex(0, 0)
		for _, v := range samples {
			sum += complex(float64(v), 0) * z
			z *= step
		}
		a := 2 * math.Hypot(real(sum), imag(sum)) / n
		info += float64(k*k) * a * a
		square += a * a / 2
	}
	sigma2 := square * math.Pow(10, -c.snr/10)
	// var ω = 24σ²/(Σk²a²·n³)
	w := math.Sqrt(24 * sigma2 / (info * n * n * n))
	return 1200 / math.Ln2 * w * c.rate / (2 * math.Pi) / truth
}

var pitchHertz = []float64{20, 27.5, 49.3, 50, 55, 60.4, 110, 261.63, 1000, 4186, 8000}

func TestPitchTable(t *testing.T) {
	trials, pitches, snrs := 3, []float64{20, 50.2, 440, 8000}, []float64{40}
	if os.Getenv("K8S_SYNTH_PROOF") == "1" {
		trials, pitches, snrs = 30, pitchHertz, []float64{40, 60}
	}
	rnd := rand.New(rand.NewPCG(6, 2))
	trackers := map[float64]*PitchTracker{}
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "wave\tHz\trate\tSNR\tbound\tmedian\tp99\tmax\terr/SE\tmissed\toctaves\t")
	for _, wave := range pitchWaves {
		for at, hertz := range pitches {
			for _, snr := range snrs {
				for i, rate := range []float64{44100, 48000, 96000} {
					if trials < 20 && i != at%3 {
						continue
					}
					p := trackers[rate]
					if p == nil {
						p = new(PitchTracker)
						p.Init(rate)
						trackers[rate] = p
					}
					var s pitchScore
					bound := 0.0
					for i := range trials {
						c := pitchCase{wave: wave, rate: rate, hertz: hertz * (1 + 0.01*(rnd.Float64()-0.5)*float64(i&1)), snr: snr, hum: mains[i%2], offset: 3 * rnd.NormFloat64(), seconds: PitchWindow}
						if !c.possible() {
							continue
						}
						x, truth := c.sound(rnd)
						if i == 0 {
							clean := c
							clean.hum, clean.offset = 0, 0
							bound = clean.bound(x, truth)
						}
						s.add(p.Measure(x), truth)
					}
					if len(s.errs)+s.missed+s.octaves == 0 {
						continue
					}
					fmt.Fprintf(tw, "%s\t%g\t%g\t%g\t%.2f\t%.2f\t%.2f\t%.2f\t%.2f\t%d\t%d\t\n", wave, hertz, rate/1000, snr, 1000*bound, 1000*s.at(0.5), 1000*s.at(0.99), 1000*s.at(1), s.off(), s.missed, s.octaves)
					if s.missed+s.octaves > 0 || !(s.at(1) < 0.1) {
						t.Errorf("%s of %g Hz at %g: median %g, max %g, %d missed, %d octaves", wave, hertz, rate, s.at(0.5), s.at(1), s.missed, s.octaves)
					}
				}
			}
		}
	}
	tw.Flush()
	t.Log("thousandths of a cent (limit: 100), window 0.5 s, hum of 50 and 60 Hz at -40 dB, offset\n" + text.String())
}

// Thousands of sounds of any wave, pitch and rate, with noise, hum of a grid
// that is not quite in time, and offset: not one may be an octave off, and the
// first estimates after a reset, from shorter windows, may be missing or wide,
// never wrong.
func TestPitchNeverJumps(t *testing.T) {
	trials := 150
	if os.Getenv("K8S_SYNTH_PROOF") == "1" {
		trials = 5000
	}
	rnd := rand.New(rand.NewPCG(6, 3))
	rates := []float64{44100, 48000, 96000}
	var trackers [3]PitchTracker
	for i := range trackers {
		trackers[i].Init(rates[i])
	}
	var full, early pitchScore
	short, earlyWrong := 0, 0
	for range trials {
		r := rnd.IntN(3)
		p := &trackers[r]
		c := pitchCase{
			wave: pitchWaves[rnd.IntN(len(pitchWaves))], rate: rates[r],
			hertz: 20 * math.Pow(400, rnd.Float64()), snr: 40 + 30*rnd.Float64(),
			hum: mains[rnd.IntN(2)] + 0.05*(2*rnd.Float64()-1), offset: 3 * rnd.NormFloat64(), seconds: PitchWindow,
		}
		if !c.possible() {
			c.wave = "saw"
		}
		x, truth := c.sound(rnd)
		p.Reset()
		every := int(PitchEvery * c.rate)
		for k := every; k <= len(x); k += every {
			got, fresh := p.Process(x[k-every : k])
			if !fresh {
				t.Fatal("no estimate was due")
			}
			if k == len(x) {
				before := full.octaves + full.missed
				full.add(got, truth)
				if full.octaves+full.missed > before {
					t.Errorf("%+v (%g Hz): %v", c, truth, got)
				}
				break
			}
			if !got.Found() {
				short++
				if truth*float64(k)/c.rate > 1.1*PitchPeriods {
					t.Errorf("%+v (%g Hz) after %d periods: %v", c, truth, int(truth*float64(k)/c.rate), got)
				}
				continue
			}
			early.add(got, truth)
			if e := math.Abs(cents(got.Hertz, truth)); e > 50 {
				earlyWrong++
				t.Logf("%+v (%g Hz) after %d samples: %v", c, truth, k, got)
			}
		}
	}
	t.Logf("%d sounds: median %.5f, p99 %.5f, max %.5f cent, RMS of error/standard error %.2f; %d octave errors, %d missed", trials, full.at(0.5), full.at(0.99), full.at(1), full.off(), full.octaves, full.missed)
	t.Logf("shorter windows: %d estimates, median %.5f, p99 %.5f, max %.4f cent, RMS of error/standard error %.2f; %d not yet, %d wrong", len(early.errs), early.at(0.5), early.at(0.99), early.at(1), early.off(), short, earlyWrong)
	if full.at(1) >= 0.1 || full.off() > 1.5 || full.off() < 0.6 {
		t.Error("a full window holds 0.1 cent, and says so")
	}
	if earlyWrong > 0 || early.off() > 2 {
		t.Error("a shorter window knows less, but not wrong")
	}
}

// What has no pitch is said to have none.
func TestPitchKnowsWhenThereIsNone(t *testing.T) {
	const rate = 48000
	rnd := rand.New(rand.NewPCG(6, 4))
	n := int(PitchWindow * rate)
	fill := func(f func(i int) float64) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(f(i))
		}
		return x
	}
	saw := func(phase float64) float64 { // band-limited enough
		v := 0.0
		for k := 1.0; k <= 12; k++ {
			v += math.Sin(2*math.Pi*k*phase) / k
		}
		return v
	}
	moving := func(at func(t float64) float64) []float32 {
		phase := 0.0
		return fill(func(i int) float64 {
			phase += at(float64(i)/rate) / rate
			return saw(phase)
		})
	}
	low := 0.0
	var p PitchTracker
	p.Init(rate)
	for _, c := range []struct {
		name string
		x    []float32
		want PitchVerdict
	}{
		{"nothing", fill(func(int) float64 { return 0 }), PitchSilent},
		{"an offset", fill(func(int) float64 { return 5 }), PitchSilent},
		{"an interface's noise", fill(func(int) float64 { return 1e-5 * rnd.NormFloat64() }), PitchSilent},
		{"not numbers", fill(func(int) float64 { return math.NaN() }), PitchSilent},
		{"white noise", fill(func(int) float64 { return rnd.NormFloat64() }), PitchNoise},
		{"rumble", fill(func(int) float64 { low += 0.02 * (rnd.NormFloat64() - low); return low }), PitchUnheard}, // whatever it is, it lies below what the window tells
		{"a sine 10 dB below noise", fill(func(i int) float64 { return 0.4*math.Sin(float64(i)/10) + rnd.NormFloat64() }), PitchNoise},
		{"a glide of an octave a second", moving(func(t float64) float64 { return 200 * math.Exp2(t) }), PitchUnsteady},
		{"a glide of a semitone a second", moving(func(t float64) float64 { return 200 * math.Exp2(t/12) }), PitchUnsteady},
		{"a step of a semitone", moving(func(t float64) float64 { return 200 * math.Exp2(math.Floor(4*t)/12) }), PitchUnsteady},
		{"a step of 20 cents", moving(func(t float64) float64 { return 1000 * math.Exp2(math.Floor(4*t)/60) }), PitchUnsteady},
		{"a vibrato", moving(func(t float64) float64 { return 400 * (1 + 0.01*math.Sin(2*math.Pi*5*t)) }), PitchUnsteady},
		{"portamento that ends", moving(func(t float64) float64 { return 300 * (1 + 0.05*math.Exp(-t/0.08)) }), PitchUnsteady},
		{"a glide that a tuner follows", moving(func(t float64) float64 { return 440 * math.Exp2(t/2) }), PitchUnsteady},
		{"a tritone", fill(func(i int) float64 { return saw(float64(i)*200/rate) + saw(float64(i)*282.8427/rate) }), PitchUnsteady},
		{"seven periods", moving(func(float64) float64 { return 14 }), PitchUnheard},
	} {
		got := p.Measure(c.x)
		t.Logf("%-32s %v", c.name, got)
		if strings.HasSuffix(c.name, "follows") && math.Abs(cents(got.Hertz, 440*math.Exp2((PitchWindow-float64(got.Window)/rate/2)/2))) > 2 {
			t.Errorf("not followed: %v", got)
		}
		if got.Verdict != c.want {
			t.Errorf("%s: %v, want %v", c.name, got.Verdict, c.want)
		}
	}
}

// How fast a pitch moves is measured where it moves little, and the pitch is
// that of the window's middle.
func TestPitchDrift(t *testing.T) {
	const rate = 48000
	rnd := rand.New(rand.NewPCG(6, 5))
	var p PitchTracker
	p.Init(rate)
	worst, most := 0.0, 0.0
	for _, hertz := range []float64{30, 110, 440, 3000} {
		for _, drift := range []float64{0, 0.05, -1, 10, -40} {
			if hertz*math.Abs(drift) > 50000 {
				continue // more than 10 cycles apart over the window
			}
			x := make([]float32, p.Window())
			T := float64(len(x)) / rate
			phase := rnd.Float64()
			for i := range x {
				at := (float64(i)+0.5)/rate - T/2
				phase += hertz * math.Exp2(drift*at/1200) / rate
				v := 0.0
				for k := 1.0; k < 6; k++ {
					v += math.Sin(2*math.Pi*k*phase) / k
				}
				x[i] = float32(v + 0.01*rnd.NormFloat64())
			}
			got := p.Measure(x)
			e, d := cents(got.Hertz, hertz), got.Drift-drift
			worst, most = max(worst, math.Abs(e)), max(most, math.Abs(d)/(got.DriftError+0.01*math.Abs(drift)))
			if !got.Found() || math.Abs(e) > 0.05 || math.Abs(d) > 4*got.DriftError+0.02*math.Abs(drift) {
				t.Errorf("%g Hz, %g cent/s: %v", hertz, drift, got)
			}
		}
	}
	t.Logf("worst error of pitch %.4f cent, of drift %.1f of its error", worst, most)
}

func TestPitchNeeds(t *testing.T) {
	rnd := rand.New(rand.NewPCG(6, 6))
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "Hz	cent	SNR	needs s	max error of 30	")
	for _, hertz := range []float64{20, 110, 1000, 8000} {
		for _, limit := range []float64{0.1, 1} {
			for _, snr := range []float64{40, 20} {
				var p PitchTracker
				p.Init(48000)
				need := p.Needs(hertz, limit, snr)
				p.InitWindow(48000, max(need*1.01, 0.01), 0.1)
				var s pitchScore
				for range 30 {
					c := pitchCase{wave: "sine", rate: 48000, hertz: hertz, snr: snr, seconds: need * 1.0001}
					x, truth := c.sound(rnd)
					s.add(p.Measure(x), truth)
				}
				fmt.Fprintf(tw, "%g\t%g\t%g\t%.4f\t%.4f\t\n", hertz, limit, snr, need, s.at(1))
				if s.at(1) > 1.4*limit || s.missed > 0 || s.octaves > 0 {
					t.Errorf("%g Hz in %.4f s: %.4f cent, %d missed", hertz, need, s.at(1), s.missed)
				}
			}
		}
	}
	tw.Flush()
	t.Log("\n" + text.String())
}

// However a stream is cut, the estimates are the same; and none allocates.
func TestPitchStreams(t *testing.T) {
	const rate = 48000
	rnd := rand.New(rand.NewPCG(6, 7))
	x, _ := pitchCase{wave: "saw", rate: rate, hertz: 123.4, snr: 50, hum: 50, seconds: 1.2}.sound(rnd)
	var a, b PitchTracker
	a.Init(rate)
	b.Init(rate)
	var one, other []Pitch
	for i := 0; i+64 <= len(x); i += 64 {
		if p, ok := a.Process(x[i : i+64]); ok {
			one = append(one, p)
		}
	}
	for i := 0; i < len(x)/64*64; {
		n := min(1+rnd.IntN(3000), len(x)/64*64-i)
		if p, ok := b.Process(x[i : i+n]); ok {
			other = append(other, p)
		}
		i += n
	}
	if len(one) != 11 && len(one) != 12 || !slices.Equal(one, other) {
		t.Errorf("%v\n%v", one, other)
	}
	if p := b.Last(); !p.Found() || p.Window != b.Window() || p.End != int64(len(x)/4800*4800) {
		t.Errorf("%+v", p)
	}
	// A window of a stretch is what a stream of it says.
	if p := a.Measure(x[one[10].End-24000 : one[10].End]); p.Hertz != one[10].Hertz {
		t.Errorf("%v, streamed %v", p, one[10])
	}
	b.Reset()
	if p, ok := b.Process(x[:100]); ok || p != (Pitch{}) {
		t.Errorf("after a reset: %v", p)
	}
	if n := testing.AllocsPerRun(5, func() { a.Process(x[:6000]) }); n != 0 {
		t.Errorf("%g allocations", n)
	}
}

func FuzzPitch(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 250, 100, 7}, uint16(3))
	f.Add([]byte{255, 0, 127}, uint16(900))
	f.Add([]byte("10"), uint16(1099)) // half the rate
	var p PitchTracker
	p.InitWindow(8000, 0.25, 0.05)
	f.Fuzz(func(t *testing.T, b []byte, stretch uint16) {
		if len(b) == 0 {
			return
		}
		x := make([]float32, 64+int(stretch)%2000)
		for i := range x {
			switch v := b[i%len(b)]; v {
			case 255:
				x[i] = float32(math.Inf(1))
			case 254:
				x[i] = 3e38
			default:
				x[i] = float32(v) - 127
			}
		}
		got := p.Measure(x)
		for _, v := range []float64{got.Hertz, got.StandardError, got.Confidence, got.Drift, got.DriftError, got.Wander} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Fatalf("%v of %v", got, b)
			}
		}
		if got.Found() && (got.Hertz < 20 || got.Hertz > 4000) || got.Confidence < 0 || got.Confidence > 1 {
			t.Fatalf("%v of %v", got, b)
		}
	})
}

func BenchmarkPitch(b *testing.B) {
	for _, rate := range []float64{48000, 96000} {
		for _, hertz := range []float64{20, 1000} {
			b.Run(fmt.Sprint(hertz, "Hz/", rate), func(b *testing.B) {
				var p PitchTracker
				p.Init(rate)
				x, _ := pitchCase{wave: "saw", rate: rate, hertz: hertz, snr: 40, seconds: PitchWindow}.sound(rand.New(rand.NewPCG(1, 1)))
				b.ReportAllocs()
				for b.Loop() {
					p.Measure(x)
				}
			})
		}
	}
}
