package main

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/scenes"
)

const testRate = 48000

// perform renders the default scene with a script, changed by edit, and
// returns both channels with full scale as 1.
func perform(t testing.TB, script string, seconds float64, edit func(*instrument.Patch)) [2][]float32 {
	t.Helper()
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	if edit != nil {
		edit(scene.Patch)
	}
	s, err := scenes.ParseScript("script", []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	r, err := newOffline(scene, s, testRate)
	if err != nil {
		t.Fatal(err)
	}
	var out [2][]float32
	total := int64(seconds * testRate)
	for r.frame < total {
		for c, ch := range r.block(total) {
			for _, v := range ch {
				out[c] = append(out[c], v/instrument.AudioVolts)
			}
		}
	}
	return out
}

// cut returns the frames from one time to another, in seconds.
func cut(s [2][]float32, from, to float64) [2][]float32 {
	for c := range s {
		s[c] = s[c][int(from*testRate):int(to*testRate)]
	}
	return s
}

func mono(s [2][]float32) []float32 {
	m := make([]float32, len(s[0]))
	for i := range m {
		m[i] = (s[0][i] + s[1][i]) / 2
	}
	return m
}

func level(s [2][]float32) float64 {
	return 10 * math.Log10((math.Pow(measure.RMS(s[0]), 2)+math.Pow(measure.RMS(s[1]), 2))/2+1e-20)
}

// booted is a cluster that is up before the first deployment.
const booted = `version: 1
events:
  - {at: 0, boot: started}
  - {at: 0, boot: etcd}
  - {at: 0, boot: apiserver}
  - {at: 0, boot: controllers}
  - {at: 0, boot: scheduler}
  - {at: 0, boot: nodes}
  - {at: 0, boot: eno}
  - {at: 0, boot: ready}
  - {at: 0, node: stage-1, ready: true, quiet: true}
  - {at: 0, node: stage-2, ready: true, quiet: true}
  - {at: 0, node: stage-3, ready: true, quiet: true}
  - {at: 0, apiserver: api, reachable: true}
  - {at: 0, apiserver: api, synced: true}
  - {at: 0.2, etcd: store, heartbeat: {every: 1, until: 100, latency: 0.004}}
  - {at: 0.3, deployment: web, replicas: 4, converge: {}}
`

// solo turns all channels of the mixer down but one.
func solo(channel int) func(*instrument.Patch) {
	return func(p *instrument.Patch) {
		m := p.Module("mixer/main")
		for i := 1; i <= 6; i++ {
			if i != channel {
				m.Params[fmt.Sprintf("level_%d", i)] = -60
			}
		}
	}
}

// events is a performance with rests between what happens.
const events = booted + `
  - {at: 6, param: deployment/web/replicas, value: 6}
  - {at: 9, deployment: web, replicas: 6, converge: {}}
  - {at: 16, pod: web-2, reason: Error, phase: Failed}
  - {at: 19, deployment: web, converge: {}}
  - {at: 25, node: stage-2, cordoned: true}
  - {at: 28, node: stage-2, cordoned: false}
  - {at: 31, apiserver: api, reachable: false, synced: false}
`

// When what the script asks for is done: with the delays of a converge, the
// last pod is ready 1.5 s and its stagger after it began.
const (
	converged4 = 3.0
	converged6 = 12.0
	repaired   = 22.0
)

func TestLoudnessOfTheDefaultScene(t *testing.T) {
	s := perform(t, events, 24, nil)
	l := measure.MeasureLoudness(testRate, s[0], s[1])
	peak := max(measure.TruePeak(s[0]), measure.TruePeak(s[1]))
	dc := math.Max(math.Abs(measure.DC(s[0])), math.Abs(measure.DC(s[1])))
	t.Logf("integrated %.1f LUFS, true peak %.1f dBTP, DC %.2g", l.Integrated, peak, dc)
	if math.Abs(l.Integrated+18) > 2 {
		t.Errorf("loudness is %.1f LUFS, wanted -18 within 2", l.Integrated)
	}
	if peak > -1 {
		t.Errorf("true peak is %.1f dBTP, wanted at most -1", peak)
	}
	if dc > 1e-4 {
		t.Errorf("there is DC on the speakers: %g of full scale", dc)
	}
	rest := cut(s, converged4, 5.9)
	if l := measure.MeasureLoudness(testRate, rest[0], rest[1]); math.Abs(l.Integrated+18) > 2 {
		t.Errorf("the converged chord has %.1f LUFS, wanted -18 within 2", l.Integrated)
	}
}

func TestLayersOfTheDefaultScene(t *testing.T) {
	// MUSIC's table: levels under the chord, each with what it may be off.
	chord := level(cut(perform(t, events, 6, solo(1)), converged4, 6))
	drone := level(cut(perform(t, events, 6, solo(2)), converged4, 6))
	ticks := cut(perform(t, events, 6, solo(3)), converged4, 6)
	t.Logf("chord %.1f dB; under it: drone %.1f dB, ticks %.1f dB at their peak", chord, drone-chord, measure.TruePeak(ticks[0])-chord)
	if d := drone - chord; math.Abs(d+24) > 3 {
		t.Errorf("the drone is %.1f dB against the chord, wanted -24 within 3", d)
	}
	if d := measure.TruePeak(ticks[0]) - chord; math.Abs(d+30) > 4 {
		t.Errorf("a tick peaks %.1f dB against the chord, wanted -30 within 4", d)
	}
	onsets := measure.Onsets(mono(ticks), testRate)
	if len(onsets) < 2 || len(onsets) > 4 {
		t.Errorf("%d ticks in 3 s, wanted one a second", len(onsets))
	}
}

// TestStatesCanBeTold holds the default scene to what a listener with no
// screen must hear: converged, converging, and broken in each of its ways.
func TestStatesCanBeTold(t *testing.T) {
	s := perform(t, events, 40, nil)
	rough := func(from, to float64) float64 { return measure.RoughnessOf(mono(cut(s, from, to)), testRate) }
	partial := func(from, to, hz float64) float64 {
		return measure.Decibels(measure.NewSpectrum(mono(cut(s, from, to)), testRate, measure.BlackmanHarris).Near(hz, 1.5).Amplitude)
	}

	// Tension and rest.
	rest, tense, rest6 := rough(converged4, 5.9), rough(7, 9), rough(converged6+0.5, 15.9)
	t.Logf("roughness: converged %.4f, converging %.4f (%.1f times), converged again %.4f", rest, tense, tense/rest, rest6)
	if tense < 3*rest || tense < 3*rest6 {
		t.Errorf("converging is %.1f and %.1f times as rough as converged, wanted 3", tense/rest, tense/rest6)
	}
	if n := len(measure.Onsets(mono(cut(s, converged4, 5.9)), testRate)); n > 6 {
		t.Errorf("%d onsets in 2.9 s of rest, wanted below two a second", n)
	}

	// One voice a replica: the fifth and sixth are at 10 and 12 times 55 Hz.
	// The twelfth is also the octave of the third voice, so the fifth counts
	// most: at 550 Hz only weak partials of others lie.
	before, after := partial(converged4, 5.9, 660), partial(converged6+0.5, 15.9, 660)
	if after < before+3 {
		t.Errorf("at 660 Hz there are %.1f dB with six voices and %.1f dB with four; a voice must have come in", after, before)
	}

	// Rest returns within 500 ms: half a second after the last pod is ready
	// the chord is as smooth as later.
	end := lastReady(t, events)
	soon := rough(end+0.5, end+2)
	t.Logf("the sixth pod is ready at %.2f s; roughness from half a second later %.4f", end, soon)
	if soon > 1.5*rest6 {
		t.Errorf("half a second after convergence the roughness is %.4f, at rest %.4f", soon, rest6)
	}

	// A crash: an onset, and tension until it is repaired.
	if r := rough(16.8, 18.8); r < 3*rest6 {
		t.Errorf("with one pod of six gone the roughness is %.1f times that of rest, wanted 3", r/rest6)
	}
	low := func(from, to float64) float64 {
		return measure.NewSpectrum(mono(cut(s, from, to)), testRate, measure.Hann).Level(50, 200)
	}
	if blow, calm := low(16, 16.06), low(15.9, 15.96); blow < calm+6 {
		t.Errorf("where a pod was killed the low end rises from %.1f to %.1f dB, wanted a blow of 6 dB", calm, blow)
	} else {
		t.Logf("a kill: the low end rises from %.1f to %.1f dB within 60 ms", calm, blow)
	}
	if r := rough(repaired, 24.9); r > 1.5*rest6 {
		t.Errorf("after the repair the roughness is %.1f times that of rest", r/rest6)
	}

	// A cordon mutes the voices of its node, and only them.
	open, muted, back := level(cut(s, 23, 24.9)), level(cut(s, 26.5, 27.9)), level(cut(s, 29.5, 30.9))
	t.Logf("level: open %.1f dB, a node of three cordoned %.1f dB, open again %.1f dB", open, muted, back)
	if muted > open-0.7 || muted < open-6 || math.Abs(back-open) > 1 {
		t.Errorf("a cordon of one node in three changes the level by %.1f dB, and back by %.1f", muted-open, back-open)
	}

	// API unreachable: the drone is gone, and a low pulse comes every two seconds.
	drone := perform(t, events, 40, solo(2))
	if d := level(cut(drone, 36, 39)) - level(cut(drone, 28, 30.9)); d > -40 {
		t.Errorf("the drone falls by %.1f dB when the API does not answer, wanted 40", -d)
	}
	alarm := perform(t, events, 40, solo(5))
	pulses := measure.Onsets(mono(cut(alarm, 32, 40)), testRate)
	if len(pulses) < 3 || len(pulses) > 5 {
		t.Errorf("%d pulses in 8 s without the API, wanted one each 2 s", len(pulses))
	}
}

// lastReady is when the last pod of the second converge turned ready.
func lastReady(t *testing.T, script string) (at float64) {
	t.Helper()
	s, err := scenes.ParseScript("script", []byte(script))
	if err != nil {
		t.Fatal(err)
	}
	for _, st := range s.Steps {
		if tr := st.Transition; tr != nil && tr.Object.Kind == "pod" && tr.Field == "ready" && tr.New == "true" && st.At.Seconds() < 16 {
			at = st.At.Seconds()
		}
	}
	return at
}

// TestSoundHasNoClicks holds starts, steals, changes and the end of a
// performance to MUSIC's rule that they are ramps.
func TestSoundHasNoClicks(t *testing.T) {
	// Strikes are meant to be sharp: without them, all that changes is ramped.
	s := perform(t, events, 40, func(p *instrument.Patch) {
		for _, m := range []instrument.ModuleID{"voice/chord", "voice/boot", "voice/alarm"} {
			if p.Module(m).Params == nil {
				p.Module(m).Params = map[string]float64{}
			}
			p.Module(m).Params["strikes"] = 0
		}
		// A saw has steps of its own, which stand out where its voice does.
		p.Module("voice/chord").Params["wave"] = 1
		p.Module("mixer/main").Params["level_3"] = -60
	})
	for c := range s {
		for _, k := range measure.Clicks(s[c], testRate, 20) {
			t.Errorf("channel %d: a click of %.0f dB at %.3f s", c, k.DB, k.Seconds)
		}
	}
}

// BenchmarkScene renders the converged default scene; ns/op is a second of sound.
func BenchmarkScene(b *testing.B) {
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		b.Fatal(err)
	}
	s, err := scenes.ParseScript("script", []byte(booted))
	if err != nil {
		b.Fatal(err)
	}
	r, err := newOffline(scene, s, testRate)
	if err != nil {
		b.Fatal(err)
	}
	for r.frame < 5*testRate {
		r.block(1 << 62)
	}
	b.ReportAllocs()
	for b.Loop() {
		for end := r.frame + testRate; r.frame < end; {
			r.block(1 << 62)
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "x-realtime")
}
