package kernel

import (
	"context"
	"errors"
	"math"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/dsp/measure/scsynth"
)

// peer plays a score, or skips the test where there is no scsynth.
func peer(t *testing.T, s *scsynth.Score, seconds float64, channels int) *scsynth.Rendering {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	r, err := scsynth.Render(ctx, t.TempDir(), s, seconds, rate, channels)
	if errors.Is(err, scsynth.ErrMissing) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// peerTone is a bare oscillator of scsynth.
func peerTone(t *testing.T, class string, hertz float32, frames int) []float32 {
	t.Helper()
	d, _ := scsynth.Define("tone", nil, nil)
	in := d.Constants(hertz)
	if class == "Pulse" {
		in = d.Constants(hertz, 0.3)
	}
	d.Units("Out", scsynth.Audio, 0, d.Constant(0), d.Unit(class, scsynth.Audio, in...))
	s := scsynth.NewScore(d)
	s.Synth(0, "tone", nil)
	x := peer(t, s, float64(frames+8192)/rate, 1).Channels[0]
	if len(x) < frames+4096 {
		t.Fatalf("scsynth rendered %d frames, expected %d", len(x), frames+4096)
	}
	return x[4096:][:frames]
}

// TestAliasingBesideScsynth holds the oscillators to the aliasing of those of
// scsynth, rendered in this run.
func TestAliasingBesideScsynth(t *testing.T) {
	const frames = 1 << 16
	for _, hertz := range []float32{500.7, 2500.7, 5000.7} {
		// What an increment of 32 bits makes of it.
		f0 := math.Floor(float64(hertz*float32(float64(1<<32)/rate))) * rate / (1 << 32)
		level := func(x []float32, f0 float64) float64 { return measure.AliasLevel(x, f0, rate).TotalDB }

		saw, pulse := make([]float32, frames), make([]float32, frames)
		for shape, out := range map[dsp.Waveform][]float32{dsp.Saw: saw, dsp.Pulse: pulse} {
			var o dsp.Oscillator
			o.Init(rate)
			o.SetWaveform(shape)
			o.SetPulseWidth(0.3)
			for range 4096 {
				o.Next(hertz)
			}
			for i := range out {
				out[i] = o.Next(hertz)
			}
		}
		// The filter of the kernel stands open and takes away only a part of
		// the highest partials.
		var v Voices
		v.Init(rate)
		v.SetMix(0, 5, 0)
		v.SetHertz(0, 0, hertz)
		v.SetFilter(0, rate/2, 0.7)
		v.Start(0)
		v.SetLevel(0, 1, 1)
		kernel, _ := render(&v, frames+4096)

		theirSaw, theirPulse := level(peerTone(t, "Saw", hertz, frames), float64(hertz)), level(peerTone(t, "Pulse", hertz, frames), float64(hertz))
		ourSaw, ourPulse, ourVoice := level(saw, f0), level(pulse, f0), level(kernel[4096:], f0)
		t.Logf("%6.1f Hz: saw: voice %.1f dB, oscillator %.1f dB, scsynth %.1f dB; pulse: oscillator %.1f dB, scsynth %.1f dB",
			hertz, ourVoice, ourSaw, theirSaw, ourPulse, theirPulse)
		if ourVoice > theirSaw || ourSaw > theirSaw || ourPulse > theirPulse {
			t.Errorf("%.1f Hz: more aliasing than scsynth's", hertz)
		}
	}
}

// note is what both sides play.
type note struct {
	hertz, cutoff, pan float32
	off                float64 // s, when its gate falls
}

const (
	detune                         = 1.004
	attack, decay, sustain, releas = 0.01, 0.4, 0.7, 0.5
	quality                        = 4
)

// notes are spread over four octaves, from C2 to C6.
func notes(n int, seconds float64) []note {
	out := make([]note, n)
	for i := range out {
		x := math.Mod(float64(i)*0.6180339887, 1)
		hz := 65.406 * math.Exp2(4*x)
		out[i] = note{float32(hz), float32(min(hz*6, 12000)), float32(2*math.Mod(float64(i)*0.7548776662, 1) - 1), seconds * 0.95}
	}
	return out
}

// peerVoices is the same synthesiser in scsynth: two Saws, RLPF, an EnvGen
// that is an ADSR, and Pan2.
func peerVoices(envelope scsynth.Rate, play []note) *scsynth.Score {
	d, in := scsynth.Define("voice", []string{"hertz", "cutoff", "pan", "gate"}, []float32{440, 2000, 0, 1})
	hertz, cutoff, pan, gate := in[0], in[1], in[2], in[3]
	second := d.Operator(scsynth.Multiply, scsynth.Control, hertz, d.Constant(detune))
	saws := d.Operator(scsynth.Add, scsynth.Audio, d.Unit("Saw", scsynth.Audio, hertz), d.Unit("Saw", scsynth.Audio, second))
	low := d.Unit("RLPF", scsynth.Audio, saws, cutoff, d.Constant(1.0/quality))
	adsr := append([]scsynth.Value{gate}, d.Constants(1, 0, 1, 2, // level, bias and time scales; free the synth at the end
		0, 3, 2, -99, // from 0, three segments, the third is the release, no loop
		1, attack, 5, -4,
		sustain, decay, 5, -4,
		0, releas, 5, -4)...)
	env := d.Unit("EnvGen", envelope, adsr...)
	out := d.Units("Pan2", scsynth.Audio, 2, d.Operator(scsynth.Multiply, scsynth.Audio, low, env), pan, d.Constant(0.02))
	d.Units("Out", scsynth.Audio, 0, append(d.Constants(0), out...)...)
	s := scsynth.NewScore(d)
	ids := make([]int32, len(play))
	for i, n := range play {
		ids[i] = s.Synth(0, "voice", map[string]float32{"hertz": n.hertz, "cutoff": n.cutoff, "pan": n.pan})
	}
	for i, n := range play {
		s.Set(n.off, ids[i], "gate", 0)
	}
	return s
}

// ourVoices plays the notes in banks, in blocks of 64 frames as scsynth does,
// into left and right, and returns its processor time. Moving, the pitches and
// the cutoff of each voice change in each control period.
func ourVoices(tb testing.TB, play []note, moving, scalar bool, left, right []float32) time.Duration {
	banks := make([]Voices, (len(play)+Lanes-1)/Lanes)
	for i := range banks {
		banks[i].Init(rate)
		banks[i].scalar = scalar
	}
	for i, n := range play {
		v, l := &banks[i/Lanes], i%Lanes
		v.SetHertz(l, 0, n.hertz)
		v.SetHertz(l, 1, n.hertz*detune)
		v.SetPhase(l, 0, float32(i)*0.37)
		v.SetPhase(l, 1, float32(i)*0.61)
		v.SetFilter(l, n.cutoff, quality)
		v.SetEnvelope(l, attack, decay, sustain, releas)
		a := float64(n.pan+1) * math.Pi / 4
		v.SetPan(l, float32(math.Cos(a)), float32(math.Sin(a)))
	}
	const block = 64
	off := int(play[0].off * rate / block)
	return cost(tb, func() {
		for i := range play {
			banks[i/Lanes].Gate(i%Lanes, true)
		}
		var sums [block / Period]Sum
		for at := range len(left) / block {
			if at == off {
				for i := range play {
					banks[i/Lanes].Gate(i%Lanes, false)
				}
			}
			for i := range banks {
				v := &banks[i]
				for p := range sums {
					if moving {
						for l := range min(Lanes, len(play)-i*Lanes) {
							n := &play[i*Lanes+l]
							bend := 1 + 0.001*float32((at*len(sums)+p)&63)
							v.SetHertz(l, 0, n.hertz*bend)
							v.SetHertz(l, 1, n.hertz*detune*bend)
							v.SetCutoff(l, n.cutoff*bend)
						}
					}
					v.Begin()
					v.AddTo(&sums[p], Period)
				}
			}
			for p := range sums {
				from := at*block + p*Period
				sums[p].Stereo(left[from:][:Period], right[from:][:Period])
			}
		}
	})
}

// TestSameSynthesiser: what is compared plays the same: the partials of a note
// are equally strong, on both sides, in the sustain of its envelope.
func TestSameSynthesiser(t *testing.T) {
	const seconds = 6
	play := notes(40, seconds)[7:8]
	theirs := peer(t, peerVoices(scsynth.Control, play), seconds, 2)
	left, right := make([]float32, seconds*rate), make([]float32, seconds*rate)
	ourVoices(t, play, false, false, left, right)
	const from, frames = 2 * rate, 1 << 17
	reference, worst := 0.0, 0.0
	for side, our := range [][]float32{left, right} {
		a := measure.NewSpectrum(theirs.Channels[side][from:][:frames], rate, measure.BlackmanHarris)
		b := measure.NewSpectrum(our[from:][:frames], rate, measure.BlackmanHarris)
		for k := 1.0; k < 12; k++ {
			for _, ratio := range []float64{1, detune} {
				hz := k * ratio * float64(play[0].hertz)
				d := measure.Decibels(b.Near(hz, 0.5).Amplitude / a.Near(hz, 0.5).Amplitude)
				if reference == 0 {
					reference = d
				}
				worst = max(worst, math.Abs(d-reference))
			}
		}
	}
	t.Logf("44 partials are within %.2f dB of those of scsynth", worst)
	if !(worst < 0.2) {
		t.Errorf("a partial is %.2f dB off that of scsynth", worst)
	}
}
