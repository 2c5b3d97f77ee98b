package instrument

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// choir is a Voice played by sources: gate, open, tension, strike and kind.
func choir(t testing.TB, params map[string]float64) *rig {
	t.Helper()
	r := newRig(t).add("voice/v", params).add("test_probe/l", nil).add("test_probe/r", nil)
	for jack, out := range map[string]string{"gate": "out_3", "open": "out_3", "strike": "out_4", "kind": "out_1", "tension": "out_1", "breath": "out_3", "pan": "out_1", "load": "out_1"} {
		r.add(ModuleID("test_source/"+jack), nil).cable("test_source/"+jack+"/"+out, "voice/v/"+jack)
	}
	slices.SortFunc(r.patch.Modules, func(a, b Module) int { return cmpString(string(a.ID), string(b.ID)) })
	r.cable("voice/v/left", "test_probe/l/in").cable("voice/v/right", "test_probe/r/in").adopt()
	for _, jack := range []string{"gate", "open", "strike", "kind", "breath", "pan", "load"} {
		r.source(ModuleID("test_source/" + jack)).channels = MaxPoly
	}
	return r.settle()
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func (r *rig) hold(jack string, volts float32, channels ...int) {
	level := new([MaxPoly]float32)
	for c := range level {
		if len(channels) == 0 || slices.Contains(channels, c) {
			level[c] = volts
		}
	}
	r.source(ModuleID("test_source/" + jack)).level = level
}

// blow strikes channel 0 with a gesture at the next frame.
func (r *rig) blow(g Gesture) {
	at := r.e.frame
	r.source("test_source/kind").play = steady(g.Volts())
	r.source("test_source/strike").play = func(f int64, c int) float32 {
		if c == 0 && f >= at && f < at+48 {
			return 10
		}
		return 0
	}
}

func (r *rig) heard() []float32 { return r.probe("test_probe/l").rec[0] }

var gestureNames = map[Gesture]string{
	GestureScheduled: "scheduled", GestureReady: "ready", GestureServed: "served", GestureMissed: "missed", GestureFailed: "failed", GestureOOM: "OOM",
	GestureCrashLoop: "crash loop", GestureSucceeded: "succeeded", GestureEvicted: "evicted", GestureUp: "up", GestureDown: "down", GesturePulse: "pulse",
}

// portrait is what tells one sound from another: its length, how bright it
// is, where its pitch goes, and how many blows it has.
type portrait struct {
	seconds, start, end, centroid, spread float64
	onsets                                int
}

func portraitOf(b []float32) portrait {
	var p portrait
	peak := peakOf(b)
	last := 0
	for i, v := range b {
		if math.Abs(float64(v)) > peak/100 {
			last = i
		}
	}
	p.seconds = float64(last) / testRate
	p.centroid = centroid(b[:max(last, 512)])
	p.spread = spread(b[:max(last, 512)]) / p.centroid
	p.start = centroid(b[:2048])
	p.end = centroid(b[max(0, last-4096):max(last, 2048)])
	p.onsets = len(measure.Onsets(append(make([]float32, 4800), b[:max(last, 512)]...), testRate))
	return p
}

func centroid(b []float32) float64 { c, _ := moments(b); return c }
func spread(b []float32) float64   { _, s := moments(b); return s }

// moments are the mean and the standard deviation of the power spectrum in hertz.
func moments(b []float32) (mean, deviation float64) {
	s := measure.NewSpectrum(b, testRate, measure.Hann)
	var sum, square, weight float64
	for i, a := range s.Amplitude {
		f := float64(i) * s.BinHertz
		sum += a * a * f
		square += a * a * f * f
		weight += a * a
	}
	weight = math.Max(weight, 1e-12)
	mean = sum / weight
	return mean, math.Sqrt(math.Max(square/weight-mean*mean, 1))
}

// TestGesturesDiffer strikes every gesture on a silent voice. Each two differ
// in two cues at least: length, register, the way of the pitch, the number of
// blows, and how rich the spectrum is.
func TestGesturesDiffer(t *testing.T) {
	all := map[Gesture]portrait{}
	for g := GestureScheduled; g < gestureCount; g++ {
		r := choir(t, map[string]float64{"root": 55})
		r.blow(g)
		if g == GestureCrashLoop {
			r.seconds(2)
		}
		r.seconds(2.5)
		b := r.heard()
		if p := peakOf(b[480:]); g != GestureMissed && (p < 0.1 || p > AudioVolts) {
			t.Errorf("%s peaks at %.3f V", gestureNames[g], p)
		}
		if p := peakOf(b[len(b)-4800:]); p > 0.02 {
			t.Errorf("%s still sounds at its end, with %.3f V", gestureNames[g], p)
		}
		all[g] = portraitOf(b)
		p := all[g]
		t.Logf("%-10s %.2f s, centroid %5.0f Hz, from %5.0f to %5.0f Hz, %d blows, peak %.2f V", gestureNames[g], p.seconds, p.centroid, p.start, p.end, p.onsets, peakOf(b))
	}
	octaves := func(a, b float64) float64 { return math.Abs(math.Log2(a / b)) }
	for a := GestureScheduled; a < gestureCount; a++ {
		for b := a + 1; b < gestureCount; b++ {
			p, q := all[a], all[b]
			cues := 0
			if octaves(p.seconds, q.seconds) > 0.3 {
				cues++
			}
			if octaves(p.centroid, q.centroid) > 0.2 {
				cues++
			}
			if octaves(p.end/p.start, q.end/q.start) > 0.3 {
				cues++
			}
			if p.onsets != q.onsets {
				cues++
			}
			if octaves(p.spread, q.spread) > 0.5 {
				cues++
			}
			if cues < 2 {
				t.Errorf("%s and %s differ in %d cues only; a listener in a loud room needs two", gestureNames[a], gestureNames[b], cues)
			}
		}
	}
	if p := all[GestureUp]; p.end <= p.start*1.1 {
		t.Errorf("up goes from %.0f to %.0f Hz", p.start, p.end)
	}
	if p := all[GestureDown]; p.end >= p.start*0.95 {
		t.Errorf("down goes from %.0f to %.0f Hz", p.start, p.end)
	}
	if p := all[GestureOOM]; octaves(p.start, p.end) < 0.5 || p.end > p.start {
		t.Errorf("OOM goes from %.0f to %.0f Hz; it falls an octave", p.start, p.end)
	}
}

// TestCrashLoopRests: the rests between the blows double.
func TestCrashLoopRests(t *testing.T) {
	r := choir(t, nil)
	r.blow(GestureCrashLoop)
	r.seconds(6)
	on := measure.Onsets(append(make([]float32, 4800), r.heard()...), testRate)
	if len(on) < 4 {
		t.Fatalf("blows at %v", on)
	}
	var rests []float64
	for i := 1; i < len(on); i++ {
		rests = append(rests, on[i]-on[i-1])
	}
	for i := 1; i < len(rests); i++ {
		if q := rests[i] / rests[i-1]; math.Abs(q-2) > 0.1 {
			t.Errorf("rests of %.3f s; each is to be twice the last", rests)
		}
	}
}

// TestChordIsJust measures every pod's pitch: open and without tension, each
// stands at its ratio to a tenth of a cent; closed, 28 cents below.
func TestChordIsJust(t *testing.T) {
	for _, open := range []bool{true, false} {
		worst := 0.0
		for c := range MaxPoly {
			r := choir(t, map[string]float64{"wave": 2, "attack": 0.005})
			r.hold("gate", 10, c)
			if open {
				r.hold("open", 10)
			}
			if !open && c > 3 {
				break // all stand as flat
			}
			r.seconds(1).forget()
			r.seconds(1.4)
			want := 55 * float64(chords[0][c])
			if !open {
				want *= math.Pow(2, closedCents/1200.0)
			}
			b := r.heard()[:65536]
			got := measure.NewSpectrum(b, testRate, measure.BlackmanHarris).Near(want, want*0.03).Hertz
			d := measure.Cents(got, want)
			worst = max(worst, math.Abs(d))
			if math.Abs(d) > 0.1 {
				t.Errorf("open %v: voice %d sounds at %.4f Hz, %+.3f cents from %.4f", open, c, got, d, want)
			}
		}
		t.Logf("open %v: the worst of 16 voices is %.4f cents away", open, worst)
	}
}

// TestReadyInTime: a voice that turns ready is in tune within 200 ms.
func TestReadyInTime(t *testing.T) {
	r := choir(t, map[string]float64{"wave": 2})
	r.hold("gate", 10, 1)
	r.seconds(2)
	dull := rmsOf(r.heard()[testRate:])
	r.hold("open", 10)
	r.seconds(0.2)
	v := r.proc("voice/v").(*voice)
	if c := v.voices[1].tune; c < -1.2 {
		t.Errorf("200 ms after it is ready it is %.2f cents flat", -c)
	}
	r.forget()
	r.seconds(1)
	if got := rmsOf(r.heard()[testRate/2:]); got < 2*dull {
		t.Errorf("ready it is at %.3f V, before at %.3f; the second cue is missing", got, dull)
	}
}

// TestTension: four volts of it make a chord at least three times as rough,
// and half a second after it ends the chord rests as before.
func TestTension(t *testing.T) {
	for _, n := range []int{3, 5} {
		t.Run(fmt.Sprint(n, " voices"), func(t *testing.T) {
			r := choir(t, nil)
			var on []int
			for c := range n {
				on = append(on, c)
			}
			r.hold("gate", 10, on...)
			r.hold("open", 10)
			r.seconds(2).forget()
			part := func(s float64) float64 {
				r.forget()
				r.seconds(s)
				return measure.RoughnessOf(r.heard(), testRate)
			}
			calm := part(4)
			r.source("test_source/tension").play = steady(4)
			r.seconds(1)
			tense := part(4)
			r.source("test_source/tension").play = steady(-4)
			r.seconds(1)
			down := part(4)
			r.source("test_source/tension").play = steady(0)
			r.seconds(0.5)
			rest := part(4)
			t.Logf("roughness %.4f at 0 V, %.4f at 4 V (%.1f times), %.4f at −4 V, %.4f half a second after", calm, tense, tense/calm, down, rest)
			if tense < 3*calm || down < 3*calm {
				t.Errorf("4 V make it %.2f times as rough, −4 V %.2f times; 3 times are heard", tense/calm, down/calm)
			}
			if rest > 1.25*calm {
				t.Errorf("half a second after tension it is %.2f times as rough as at rest", rest/calm)
			}
			v := r.proc("voice/v").(*voice)
			for c := range n {
				if s := v.voices[c].tension; s != 0 && math.Abs(float64(s)) > 0.02 {
					t.Errorf("%v V of tension are left in voice %d", s, c)
				}
			}
		})
	}
}

// TestPlayingDoesNotClick plays, strikes over what rings, cuts and releases.
// The waves are sines, so that a step from sample to sample stays within what
// a note and two single strikes make.
func TestPlayingDoesNotClick(t *testing.T) {
	for g := NoGesture; g < gestureCount; g++ {
		if g == GestureMissed {
			continue // it is a click
		}
		name := gestureNames[g]
		if g == NoGesture {
			name = "notes"
		}
		t.Run(name, func(t *testing.T) {
			params := map[string]float64{"wave": 2, "attack": 0.02, "release": 0.05, "breaths": 0}
			one := choir(t, params)
			one.hold("open", 10)
			one.hold("gate", 10, 0, 2)
			bound, _ := steepest(one.seconds(0.4).heard())
			one.hold("gate", 0)
			one.seconds(0.6).forget()
			one.blow(g)
			strike, _ := steepest(one.seconds(1).heard())
			bound = 1.2*bound + 2*strike
			r := choir(t, params)
			r.hold("open", 10)
			for i := range 12 {
				r.hold("gate", float32(10*(1-i%2)), 0, 2)
				if g != NoGesture {
					r.blow(g)
				}
				r.seconds(0.05 + 0.031*float64(i))
				if g != NoGesture {
					r.blow(g) // again, while the last one rings
				}
				r.seconds(0.04 + 0.017*float64(i))
			}
			if step, at := steepest(r.heard()); step > bound {
				t.Errorf("a step of %.4f V at %.4f s; a note and two strikes make %.4f V", step, float64(at)/testRate, bound)
				keepWAV(t, "clicks-"+name, r.heard())
			}
			if p := peakOf(r.heard()); p < 0.2 {
				t.Errorf("it peaks at %.3f V", p)
			}
		})
	}
}

// TestSilenceIsExact: what was played ends in zeros, and a block of silence
// costs no more after a minute than at once: no denormals stay behind.
func TestSilenceIsExact(t *testing.T) {
	r := newRig(t).add("voice/v", nil).add("pod/p", nil).add("reverb/r", nil).add("mixer/m", nil).add("audio_out/o", nil).add("etcd/e", nil).add("vca/a", nil)
	r.cable("voice/v/left", "mixer/m/left_1").cable("pod/p/audio", "vca/a/in").cable("vca/a/out", "mixer/m/left_2").cable("etcd/e/audio", "mixer/m/left_3")
	r.cable("mixer/m/send_left", "reverb/r/in_left").cable("reverb/r/left", "mixer/m/return_left").cable("mixer/m/left", "audio_out/o/left").adopt()
	r.send(Event{Kind: EventFadeIn})
	r.param("mixer/m", "send_1", 0)
	r.input("voice/v", "gate", 10)
	r.input("voice/v", "strike", 10)
	r.level("pod/p", "phase", 0, 5)
	r.level("pod/p", "exists", 0, 10)
	r.pulse("etcd/e", "heartbeat", 0)
	r.input("voice/v", "tension", 3)
	r.seconds(1)
	r.input("voice/v", "gate", 0)
	r.input("voice/v", "strike", 0)
	r.level("pod/p", "phase", 0, 0)
	r.level("pod/p", "exists", 0, 0)
	r.seconds(1)
	if peakOf(r.out[0]) < 0.3 {
		t.Fatal("nothing was heard")
	}
	r.seconds(18).forget()
	r.seconds(4)
	if p := peakOf(r.out[0]); p != 0 {
		t.Errorf("22 s after all was released there are %g V left", p)
	}
	for range 12 {
		r.forget()
		r.seconds(5)
	}
	// Beside it runs a rack that was never played; denormals cost ten times
	// and more, a busy machine slows both.
	fresh := newRig(t)
	fresh.patch = r.patch
	fresh.adopt().settle()
	cost := func(r *rig) time.Duration {
		r.forget()
		at := time.Now()
		r.render(64 * 100)
		return time.Since(at)
	}
	never, late := time.Hour, time.Hour
	for range 30 {
		never, late = min(never, cost(fresh)), min(late, cost(r))
	}
	t.Logf("100 blocks of silence take %v before anything was played, %v a minute after", never, late)
	if late > 3*never {
		t.Errorf("100 blocks of silence take %v before anything was played, %v a minute after", never, late)
	}
}

// TestPodVoice: a pod's own jacks play it, and a request is answered by its
// state.
func TestPodVoice(t *testing.T) {
	r := newRig(t).add("pod/p", map[string]float64{"tune": -12}).add("test_source/req", nil).add("test_probe/l", nil)
	r.cable("test_source/req/out_4", "pod/p/request").cable("pod/p/audio", "test_probe/l/in").adopt().settle()
	r.seconds(1)
	if peakOf(r.heard()) != 0 {
		t.Error("a pod that does not exist sounds")
	}
	part := func(s float64) []float32 { r.forget(); r.seconds(s); return r.heard() }
	r.level("pod/p", "exists", 0, 10)
	breath := part(2)
	r.level("pod/p", "phase", 0, 5)
	part(1)
	dull := part(1)
	r.level("pod/p", "ready", 0, 10)
	part(1)
	ready := part(1)
	if rmsOf(breath) < 0.01 || rmsOf(dull) < 1.5*rmsOf(breath)/4 || rmsOf(ready) < 1.5*rmsOf(dull) {
		t.Errorf("pending %.3f V, running %.3f V, ready %.3f V", rmsOf(breath), rmsOf(dull), rmsOf(ready))
	}
	brightness := func(b []float32) float64 {
		s := measure.NewSpectrum(b, testRate, measure.Hann)
		return 10 * math.Log10(s.Power(350, 5000)/s.Power(60, 200))
	}
	if d := brightness(ready) - brightness(dull); d < 4 {
		t.Errorf("ready it is %.1f dB brighter than running; 4 dB are heard", d)
	}
	want := 261.6255653 / 2
	if got, err := measure.Pitch(ready, testRate); err != nil || math.Abs(measure.Cents(got, want)) > 1 {
		t.Errorf("it sounds at %.3f Hz (%v), want %.3f", got, err, want)
	}
	strike := func() []float32 {
		at := r.e.frame + 100
		r.source("test_source/req").play = func(f int64, _ int) float32 {
			if f >= at && f < at+48 {
				return 10
			}
			return 0
		}
		return part(0.5)
	}
	drop := func(b []float32) float64 {
		return measure.NewSpectrum(b[200:5000], testRate, measure.Hann).Power(540, 1100)
	}
	if b := strike(); drop(b) < 2*drop(ready) {
		t.Errorf("a request to a ready pod adds %.1f dB where its drop is", 10*math.Log10(drop(b)/drop(ready)))
	}
	r.level("pod/p", "ready", 0, 0)
	r.level("pod/p", "phase", 0, 0)
	r.level("pod/p", "exists", 0, 0)
	part(4)
	if b := strike(); centroid(b) < 3000 || peakOf(b) < 0.05 {
		t.Errorf("a missed request is no dry click: %.0f Hz, %.3f V", centroid(b), peakOf(b))
	}
	if p := peakOf(part(1)); p != 0 {
		t.Errorf("%g V after the click", p)
	}
}
