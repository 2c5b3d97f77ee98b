package main

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// recording is a stereo sound that was played, in full scale, with the clock
// of the player beside it.
type recording struct {
	rate float64
	ch   [2][]float32
	// shift returns what to add to a time on the player's clock, so that it is
	// the time in the recording at which what happened then is heard.
	shift func(seconds float64) float64
}

func loadRecording(t *testing.T, path string) *recording {
	t.Helper()
	w, err := hardware.ReadWAV(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(w.Channels) != 2 {
		t.Fatalf("%s has %d channels, want 2", path, len(w.Channels))
	}
	return &recording{rate: float64(w.Rate), ch: [2][]float32{w.Channels[0], w.Channels[1]}, shift: func(float64) float64 { return 0 }}
}

func (r *recording) seconds() float64 { return float64(len(r.ch[0])) / r.rate }

// span returns both channels from one time on the player's clock to another.
func (r *recording) span(t *testing.T, from, to float64) [2][]float32 {
	t.Helper()
	a, b := int((from+r.shift(from))*r.rate), int((to+r.shift(to))*r.rate)
	if a < 0 || b > len(r.ch[0]) || a >= b {
		t.Fatalf("the recording of %.2f s does not hold %.2f … %.2f s", r.seconds(), from, to)
	}
	return [2][]float32{r.ch[0][a:b], r.ch[1][a:b]}
}

// roughness is the median over windows of a second, each the sum of both
// channels, so that no phase between them matters.
func (r *recording) roughness(t *testing.T, from, to float64) float64 {
	t.Helper()
	if to-from < 1-1e-6 {
		t.Fatalf("%.2f … %.2f s is too short to hear how rough it is", from, to)
	}
	var all []float64
	for at := from; at+1 <= to+1e-6; at += 0.25 {
		s := r.span(t, at, min(at+1, to))
		all = append(all, measure.RoughnessOf(s[0], r.rate)+measure.RoughnessOf(s[1], r.rate))
	}
	slices.Sort(all)
	return all[len(all)/2]
}

// power is the mean square around a partial in decibels, of both channels.
func (r *recording) power(t *testing.T, hertz, from, to float64) float64 {
	t.Helper()
	s := r.span(t, from, to)
	sum := 1e-13
	for _, c := range s {
		sum += measure.NewSpectrum(c, r.rate, measure.BlackmanHarris).Power(hertz-5, hertz+5)
	}
	return 10 * math.Log10(sum)
}

// novelty is how much of the sound at a time was not there 40 ms before.
func (r *recording) novelty(t *testing.T, at float64) float64 {
	t.Helper()
	fresh, all := 0.0, 1e-9
	a, b := r.span(t, at-0.04, at), r.span(t, at, at+0.04)
	for c := range a {
		was, is := measure.NewSpectrum(a[c], r.rate, measure.Hann).Amplitude, measure.NewSpectrum(b[c], r.rate, measure.Hann).Amplitude
		for i := range min(len(was), len(is)) {
			fresh += max(is[i]-was[i], 0)
			all += was[i]
		}
	}
	return fresh / all
}

// mostNovel is the largest novelty between two times, and when it was.
func (r *recording) mostNovel(t *testing.T, from, to float64) (most, at float64) {
	t.Helper()
	for x := from; x <= to; x += 0.01 {
		if n := r.novelty(t, x); n > most {
			most, at = n, x
		}
	}
	return most, at
}

// quietest is the lowest RMS of 100 ms between two times, in dBFS.
func (r *recording) quietest(t *testing.T, from, to float64) (db, at float64) {
	t.Helper()
	db = math.Inf(1)
	for x := from; x+0.1 <= to; x += 0.1 {
		s := r.span(t, x, x+0.1)
		if v := measure.Decibels(math.Hypot(measure.RMS(s[0]), measure.RMS(s[1])) / math.Sqrt2); v < db {
			db, at = v, x
		}
	}
	return db, at
}

// root and ratios are the default scene's chord: the pitch of each seat.
const root = 55.0

var ratios = []float64{4, 5, 6, 8, 10, 12, 3, 16, 2, 9, 15, 7.5, 4.5, 11.25, 13.5, 2.5}

// performance is a take, read as a listener would: who sat where, and when it
// came to rest.
type performance struct{ steps []scenes.Step }

func loadPerformance(t *testing.T, path string) *performance {
	t.Helper()
	s, err := scenes.LoadScript(path)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Steps) == 0 {
		t.Fatalf("%s: an empty take", path)
	}
	return &performance{s.Steps}
}

// first is the time of the first step after a moment that f accepts.
func (p *performance) first(t *testing.T, what string, after float64, f func(scenes.Step) bool) float64 {
	t.Helper()
	for _, s := range p.steps {
		if at := s.At.Seconds(); at >= after && f(s) {
			return at
		}
	}
	t.Fatalf("the take has no %s after %.2f s", what, after)
	return 0
}

// turned is when a hand set an address to a value.
func (p *performance) turned(t *testing.T, after float64, a mapping.Address, value float64) float64 {
	t.Helper()
	return p.first(t, fmt.Sprintf("turn of %s to %g", a, value), after, func(s scenes.Step) bool {
		return s.Param != nil && s.Param.Address == a && s.Param.Value == value
	})
}

// told is when the cluster said so.
func (p *performance) told(t *testing.T, after float64, object, field, value string) float64 {
	t.Helper()
	return p.first(t, fmt.Sprintf("%s %s=%q", object, field, value), after, func(s scenes.Step) bool {
		return s.Transition != nil && s.Transition.Object.String() == object && s.Transition.Field == field && s.Transition.New == value
	})
}

// seats follows pods to their seats: the lowest free one, for life.
type seats struct {
	seat  map[string]int // by UID
	name  map[string]string
	ready map[string]bool
	gone  map[string]bool // being deleted
}

// seatsAt returns who sits where at a time.
func (p *performance) seatsAt(at float64) *seats {
	s := &seats{seat: map[string]int{}, name: map[string]string{}, ready: map[string]bool{}, gone: map[string]bool{}}
	for _, step := range p.steps {
		if step.At.Seconds() > at {
			break
		}
		s.take(step)
	}
	return s
}

func (s *seats) take(step scenes.Step) {
	tr := step.Transition
	if tr == nil || tr.Object.Kind != mapping.KindPod || tr.Owner != "web" {
		return
	}
	uid := tr.Object.UID
	if tr.Field == mapping.FieldExists && tr.New == "" {
		delete(s.seat, uid)
		delete(s.ready, uid)
		delete(s.gone, uid)
		return
	}
	if _, ok := s.seat[uid]; !ok {
		taken := map[int]bool{}
		for _, n := range s.seat {
			taken[n] = true
		}
		n := 0
		for taken[n] {
			n++
		}
		s.seat[uid], s.name[uid] = n, tr.Object.Name
	}
	switch tr.Field {
	case mapping.FieldReady:
		s.ready[uid] = tr.New == "true"
	case mapping.FieldDeleting:
		s.gone[uid] = tr.New == "true"
	}
}

// pitches are the ratios that sing.
func (s *seats) pitches() (sing []float64) {
	for _, n := range s.seat {
		sing = append(sing, ratios[n])
	}
	slices.Sort(sing)
	return sing
}

// settled is when want pods are ready, and none leaves, for the first time
// after a moment from which on this was not always so.
func (p *performance) settled(t *testing.T, after float64, want int) float64 {
	t.Helper()
	s := p.seatsAt(after)
	disturbed := false
	for _, step := range p.steps {
		at := step.At.Seconds()
		if at <= after {
			continue
		}
		s.take(step)
		ready := 0
		for uid, r := range s.ready {
			if r && !s.gone[uid] {
				ready++
			}
		}
		calm := ready == want && len(s.gone) == 0 && len(s.seat) == want
		if calm && disturbed {
			return at
		}
		disturbed = disturbed || !calm
	}
	t.Fatalf("after %.2f s the take never comes to %d ready pods", after, want)
	return 0
}

// ownPartials are the harmonics of a voice, in multiples of the root, that no
// other that sings has. One alone would not do: the two oscillators of a voice
// come to rest in any phase, and may cancel a harmonic.
func ownPartials(ratio float64, sing ...[]float64) (own []float64) {
	others := slices.Concat(sing...)
	for n := 1.0; n <= 6; n++ {
		if !slices.ContainsFunc(others, func(q float64) bool { return q != ratio && n*ratio/q == math.Trunc(n*ratio/q) }) {
			own = append(own, n*ratio)
		}
	}
	return own
}

// checkVoices compares a stretch before and one after a change: partials that
// only a voice that came can have are there and were not, those of voices that
// went were and are not. It returns how many voices told.
func (r *recording) checkVoices(t *testing.T, was, is []float64, before, after [2]float64) (told int) {
	t.Helper()
	for _, ratio := range ratios {
		had, has := slices.Contains(was, ratio), slices.Contains(is, ratio)
		own := ownPartials(ratio, was, is)
		if had == has || len(own) == 0 {
			continue
		}
		told++
		a, b := r.powers(t, own, before), r.powers(t, own, after)
		t.Logf("voice at %g × %g Hz, by its partials %v: %.0f dB, then %.0f dB", ratio, root, own, a, b)
		if has && b < a+10 {
			t.Errorf("the voice at %g × %g Hz entered, but its own partials only went from %.0f to %.0f dB", ratio, root, a, b)
		}
		if had && b > a-10 {
			t.Errorf("the voice at %g × %g Hz left, but its own partials only went from %.0f to %.0f dB", ratio, root, a, b)
		}
	}
	return told
}

// checkOctave looks for the fifth and the sixth voice, at 10 and 12 times the
// root. All of their harmonics are harmonics of others too, but of lower ones,
// whose filters have closed there: the upper ones grow. Phases may cancel a
// few, so what counts is the mean of many.
func (r *recording) checkOctave(t *testing.T, four, six [2]float64) {
	t.Helper()
	upper := []float64{20, 24, 30, 36, 40, 48, 50, 60, 70, 72}
	grown := 0.0
	for _, p := range upper {
		grown += (r.power(t, p*root, six[0], six[1]) - r.power(t, p*root, four[0], four[1])) / float64(len(upper))
	}
	t.Logf("voices at 10 and 12 × %g Hz: with them the partials %v are %.1f dB louder in the mean", root, upper, grown)
	if grown < 3 {
		t.Errorf("the fifth and sixth voice raised their upper partials by %.1f dB in the mean, want 3 dB", grown)
	}
}

// powers is the power of several partials together, in multiples of the root.
func (r *recording) powers(t *testing.T, partials []float64, span [2]float64) float64 {
	t.Helper()
	sum := 0.0
	for _, p := range partials {
		sum += math.Pow(10, r.power(t, p*root, span[0], span[1])/10)
	}
	return 10 * math.Log10(sum)
}

// unrest is how rough a disturbance was: the last second of it at most, the
// second that begins half a second after it was over, and the rest then.
type unrest struct{ frayed, soon, rest float64 }

// faults are what is wrong with it by the rule of tension and rest.
func (u unrest) faults() (all []string) {
	if u.frayed < 3*u.rest {
		all = append(all, fmt.Sprintf("converging is only %.1f times as rough as converged, want 3", u.frayed/u.rest))
	}
	if u.frayed < 3*u.soon || u.soon > 1.6*u.rest {
		all = append(all, fmt.Sprintf("rest has not returned 0.5 s after convergence: roughness %.4f, converging %.4f, at rest %.4f", u.soon, u.frayed, u.rest))
	}
	return all
}

// unrest measures a disturbance: from is when it began, settled when the
// cluster was as it should be, end when the rest that follows was disturbed
// again, slack how well these times are known.
func (r *recording) unrest(t *testing.T, from, settled, end, slack float64) unrest {
	t.Helper()
	return unrest{
		frayed: r.roughness(t, min(from+0.3, settled-1), settled),
		soon:   r.roughness(t, settled+0.5+slack, settled+1.5+slack),
		rest:   r.roughness(t, settled+1.5+slack, end),
	}
}

// checkRest holds a disturbance to the rule of tension and rest.
func (r *recording) checkRest(t *testing.T, what string, from, settled, end, slack float64) {
	t.Helper()
	u := r.unrest(t, from, settled, end, slack)
	t.Logf("%s: roughness %.4f while converging (%.2f s), %.4f from 0.5 s after it converged, %.4f at rest: ratio %.1f",
		what, u.frayed, settled-from, u.soon, u.rest, u.frayed/u.rest)
	for _, fault := range u.faults() {
		t.Errorf("%s: %s", what, fault)
	}
}

// TestRestIsJudged holds the rule of tension and rest against chords that
// keep it, and chords that do not.
func TestRestIsJudged(t *testing.T) {
	// Four voices of two oscillators each; off is by how much these are apart
	// in hertz at a time.
	const rate = 12000
	chord := func(off func(seconds float64) float64) *recording {
		r := &recording{rate: rate, shift: func(float64) float64 { return 0 }}
		apart := 0.0 // in cycles
		for i := range 9 * rate {
			apart += off(float64(i)/rate) / rate
			v := 0.0
			for _, ratio := range []float64{4, 5, 6, 8} {
				cycles := root * ratio * float64(i) / rate
				for n := 1.0; n <= 2; n++ {
					v += 0.05 / (n * n) * (math.Sin(2*math.Pi*n*cycles) + math.Sin(2*math.Pi*n*(cycles+apart)))
				}
			}
			for c := range r.ch {
				r.ch[c] = append(r.ch[c], float32(v))
			}
		}
		return r
	}
	// Disturbed at 2 s, settled at 4 s.
	until := func(end, hertz float64) func(float64) float64 {
		return func(seconds float64) float64 {
			if seconds > 2 && seconds < end {
				return hertz
			}
			return 0
		}
	}
	for _, x := range []struct {
		name   string
		off    func(float64) float64
		faults int
	}{
		{"tension, then rest", until(4.4, 14), 0},
		{"no tension", until(2, 0), 1 + 1},
		{"no rest", until(9, 14), 1 + 1},
		{"rest that comes late", until(5.2, 14), 1},
		{"never in tune", func(float64) float64 { return 14 }, 1 + 1},
	} {
		u := chord(x.off).unrest(t, 2, 4, 9, 0)
		if got := u.faults(); len(got) != x.faults {
			t.Errorf("%s: %d faults, want %d: %+v %q", x.name, len(got), x.faults, u, got)
		} else {
			t.Logf("%s: %+v %q", x.name, u, got)
		}
	}
}

// checkFade holds the end to a fade over 50 ms that ends in silence.
func (r *recording) checkFade(t *testing.T) {
	t.Helper()
	last := 0
	for i := range r.ch[0] {
		if math.Abs(float64(r.ch[0][i])) > 1e-5 || math.Abs(float64(r.ch[1][i])) > 1e-5 {
			last = i
		}
	}
	ms := int(r.rate / 1000)
	if left := (len(r.ch[0]) - last) / ms; left > 1000 {
		t.Errorf("%d ms of silence at the end", left)
	}
	if len(r.ch[0])-last < 2 {
		t.Errorf("the recording ends before its fade does")
	}
	for c, x := range r.ch {
		before := measure.RMS(x[last-500*ms : last-60*ms])
		if before < 1e-3 {
			t.Errorf("channel %d: nothing sounded before the fade", c)
		}
		if tail := measure.Peak(x[last-ms : last+1]); tail > 0.03*measure.Peak(x[last-500*ms:last-60*ms]) {
			t.Errorf("channel %d: a peak of %.5f in the last millisecond of the fade: that is no fade to nothing", c, tail)
		}
		if half := measure.RMS(x[last-12*ms : last+1]); half > 0.5*before {
			t.Errorf("channel %d: %.4f in the last 12 ms, %.4f before: the fade is not smooth", c, half, before)
		}
		for _, k := range measure.Clicks(x[last-1000*ms:], r.rate, 20) {
			if k.Seconds > 0.5 {
				t.Errorf("channel %d: a click %.0f ms before silence: %.0f dB", c, 1000*(1-k.Seconds), k.DB)
			}
		}
	}
}

// The default scene's loudness at rest, in LUFS, and what it may differ by.
const (
	wantLoudness      = -18.0
	loudnessTolerance = 2.0
)

// checkLoudness holds stretches, heard one after the other, to the loudness
// that every scene aims at.
func (r *recording) checkLoudness(t *testing.T, what string, spans ...[2]float64) {
	t.Helper()
	var all [2][]float32
	for _, x := range spans {
		s := r.span(t, x[0], x[1])
		for c := range all {
			all[c] = append(all[c], s[c]...)
		}
	}
	l := measure.MeasureLoudness(r.rate, all[0], all[1]).Integrated
	t.Logf("%s: %.1f LUFS", what, l)
	if math.Abs(l-wantLoudness) > loudnessTolerance {
		t.Errorf("%s: loudness %.1f LUFS, want %g ± %g", what, l, wantLoudness, loudnessTolerance)
	}
}

// longestGap is the longest time that the sound stays below a level.
func (r *recording) longestGap(t *testing.T, db, from, to float64) (seconds, at float64) {
	t.Helper()
	const step = 0.05
	gap := 0.0
	for x := from; x+step <= to; x += step {
		s := r.span(t, x, x+step)
		if measure.Decibels(math.Hypot(measure.RMS(s[0]), measure.RMS(s[1]))/math.Sqrt2) >= db {
			gap = 0
			continue
		}
		if gap += step; gap > seconds {
			seconds, at = gap, x+step-gap
		}
	}
	return seconds, at
}

func (r *recording) checkPeak(t *testing.T) {
	t.Helper()
	for c, x := range r.ch {
		if p := measure.TruePeak(x); p > -1 {
			t.Errorf("channel %d: true peak %.1f dBTP, want at most -1", c, p)
		}
		if dc := math.Abs(measure.DC(x)); dc > 1e-3 {
			t.Errorf("channel %d: DC of %.5f on the speakers", c, dc)
		}
	}
}

// The chord of the default scene is what the tests think it is.
func TestRatiosAreTheScene(t *testing.T) {
	scene, err := (&scenes.Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	m := scene.Patch.Module(instrument.ModuleID("voice/chord"))
	if m == nil || m.Value("root") != root {
		t.Fatalf("voice/chord stands over another root than %g Hz", root)
	}
	if spec := m.Spec(); spec.Params[spec.Param("chord")].Choices[int(m.Value("chord"))] != "just" {
		t.Fatal("voice/chord sings another chord than just")
	}
}
