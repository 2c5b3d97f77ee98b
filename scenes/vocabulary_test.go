package scenes

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument"
)

// What is heard of one event is what a render with it has over the same render
// without it: everything else is the same to the sample.

// when is the time at which events happen in the renders of this file.
const when = 2.0

// situation is where an event happens.
type situation struct {
	pod  int // from 1
	pods int
	seed uint64
}

func (s situation) node(pod int) int { return (pod-1)%3 + 1 }

// stage tells a cluster that has been up for long. Of the pod the event is
// about only so much is told as it has come to: none, pending, scheduled,
// running or ready.
func (s situation) stage(came string) string {
	var b strings.Builder
	b.WriteString("version: 1\nevents:\n")
	say := func(format string, a ...any) { fmt.Fprintf(&b, "  - {at: 0, "+format+"}\n", a...) }
	for _, stage := range []string{"started", "etcd", "apiserver", "controllers", "scheduler", "nodes", "eno", "ready"} {
		say("boot: %s", stage)
	}
	for i := range 3 {
		say("node: stage-%d, ready: true, quiet: true", i+1)
	}
	say("apiserver: api, reachable: true, synced: true")
	say("param: deployment/web/replicas, value: %d", s.pods)
	say("deployment: web, replicas: %d, quiet: true", s.pods)
	var endpoints []string
	for k := 1; k <= s.pods; k++ {
		state := "ready"
		if k == s.pod {
			state = came
		}
		pod := fmt.Sprintf("pod: web-%d, owner: web, replica: a, quiet: true", k)
		switch state {
		case "none":
		case "pending":
			say("%s, phase: Pending", pod)
		case "scheduled":
			say("%s, phase: Pending, node: stage-%d", pod, s.node(k))
		case "running":
			say("%s, phase: Running, node: stage-%d", pod, s.node(k))
		case "ready":
			say("%s, phase: Running, node: stage-%d, ready: true, load: 100", pod, s.node(k))
			endpoints = append(endpoints, fmt.Sprintf("web-%d", k))
		}
	}
	say("service: web, endpoints: %q, quiet: true", strings.Join(endpoints, ","))
	return b.String()
}

// row is one line of the vocabulary.
type row struct {
	name   string
	came   string
	happen func(s situation) []string // events, each with its time
}

// at writes an event at so many seconds after the first.
func at(after float64, format string, a ...any) string {
	return fmt.Sprintf("  - {at: %.3f, ", when+after) + fmt.Sprintf(format, a...) + "}\n"
}

var vocabulary = []row{
	{"pending", "none", func(s situation) []string {
		return []string{at(0, "pod: web-%d, owner: web, replica: a, phase: Pending", s.pod)}
	}},
	{"scheduled", "pending", func(s situation) []string {
		return []string{at(0, "pod: web-%d, node: stage-%d", s.pod, s.node(s.pod))}
	}},
	{"running", "scheduled", func(s situation) []string {
		return []string{at(0, "pod: web-%d, phase: Running", s.pod)}
	}},
	{"ready", "running", func(s situation) []string {
		return []string{at(0, "pod: web-%d, ready: true", s.pod)}
	}},
	{"load", "ready", func(s situation) []string {
		return []string{at(0, "pod: web-%d, load: 1000", s.pod)}
	}},
	{"failed", "ready", func(s situation) []string {
		return []string{at(0, "pod: web-%d, phase: Failed, reason: Error", s.pod)}
	}},
	{"oom killed", "ready", func(s situation) []string {
		return []string{at(0, "pod: web-%d, phase: Failed, reason: OOMKilled", s.pod)}
	}},
	{"crash loop", "ready", func(s situation) []string {
		return []string{at(0, "pod: web-%d, ready: false, reason: CrashLoopBackOff", s.pod)}
	}},
	{"evicted", "ready", func(s situation) []string {
		return []string{
			at(0, "pod: web-%d, phase: Failed, reason: Evicted", s.pod),
			at(0.05, "pod: web-%d-new, owner: web, replica: a, phase: Pending", s.pod),
			at(0.1, "pod: web-%d-new, node: stage-%d", s.pod, s.node(s.pod+1)),
			at(0.15, "pod: web-%d-new, phase: Running", s.pod),
			at(0.3, "pod: web-%d-new, ready: true", s.pod),
		}
	}},
	{"succeeded", "ready", func(s situation) []string {
		return []string{at(0, "pod: web-%d, phase: Succeeded", s.pod)}
	}},
	{"rolling update", "ready", func(s situation) (all []string) {
		for k := 1; k <= s.pods; k++ {
			t := 0.7 * float64(k-1)
			all = append(all,
				at(t, "pod: web-%d-new, owner: web, replica: b, phase: Pending", k),
				at(t+0.05, "pod: web-%d-new, node: stage-%d", k, s.node(k)),
				at(t+0.2, "pod: web-%d-new, phase: Running", k),
				at(t+0.45, "pod: web-%d-new, ready: true", k),
				at(t+0.5, "pod: web-%d, deleting: true, ready: false", k),
				at(t+0.65, "pod: web-%d, exists: false", k))
		}
		return all
	}},
	{"request served", "ready", func(s situation) []string {
		return []string{at(0, "service: web, latency: 0.004, served: web-%d", s.pod)}
	}},
	{"request missed", "ready", func(s situation) []string {
		return []string{at(0, "service: web, missed: refused")}
	}},
	{"api unreachable", "ready", func(s situation) []string {
		return []string{at(0, "apiserver: api, reachable: false, synced: false")}
	}},
	{"scaled up", "ready", func(s situation) []string {
		return []string{at(0, "param: deployment/web/replicas, value: %d", s.pods+2)}
	}},
	{"scaled down", "ready", func(s situation) []string {
		return []string{at(0, "param: deployment/web/replicas, value: %d", s.pods-2)}
	}},
}

// tail is how long an event is listened to, in seconds: a crash loop strikes
// for the last time after 3.75 s.
const tail = 4.2

// heard is an event as it is heard in the default scene.
type heard struct {
	t         testing.TB
	row       *row
	situation           // where it happens
	with      recording // all that sounds
	without   recording // had it not happened
	struck    recording // what is struck of it, alone
	state     recording // what changes of what sounds on, alone
}

// earlier keeps renders for the tests of this package.
var earlier = map[string]recording{}

// strikers are the voices of the default scene that are struck.
var strikers = []instrument.ModuleID{"voice/chord", "voice/drops", "voice/misses", "voice/alarm"}

// quiet lets a voice strike nothing.
func quiet(sc *Scene, id instrument.ModuleID) {
	m := sc.Patch.Module(id)
	if m.Params == nil {
		m.Params = map[string]float64{}
	}
	m.Params["strikes"] = 0
}

// hear renders the default scene with an event and without it, and both with
// nothing struck.
func hear(t testing.TB, r *row, s situation) heard {
	t.Helper()
	render := func(key, text string, strikes bool) recording {
		key = fmt.Sprint(key, s, strikes)
		rec, ok := earlier[key]
		if !ok {
			sc := open(t, "default")
			sc.Seed = s.seed
			quiet(sc, "voice/boot") // it is over, and its echo too
			if !strikes {
				for _, id := range strikers {
					quiet(sc, id)
				}
			}
			rec = record(t, sc, written(t, text), when+tail)
			earlier[key] = rec
		}
		return rec
	}
	event := s.stage(r.came) + strings.Join(r.happen(s), "")
	h := heard{t: t, row: r, situation: s, with: render(r.name, event, true), without: render("without "+r.came, s.stage(r.came), false)}
	calm := render(r.name, event, false)
	h.struck, h.state = h.with.less(calm), calm.less(h.without)
	return h
}

// after cuts from one time after the event to another.
func after(r recording, from, to float64) recording { return r.cut(when+from, when+to) }

// centroid is the balance point of a spectrum on a scale of octaves, weighted
// by power, from 40 Hz to 12 kHz.
func centroid(x []float32) float64 {
	s := measure.NewSpectrum(x, soundRate, measure.Hann)
	sum, weight := 0.0, 1e-18
	for i, a := range s.Amplitude {
		if f := float64(i) * s.BinHertz; f >= 40 && f <= 12000 {
			sum += a * a * math.Log2(f/440)
			weight += a * a
		}
	}
	return 440 * math.Exp2(sum/weight)
}

// takes is when so much of a sound's energy has come, in seconds.
func takes(x []float32, share float64) float64 {
	const step = soundRate / 500
	var sums []float64
	total := 0.0
	for i := 0; i+step <= len(x); i += step {
		total += math.Pow(measure.RMS(x[i:i+step]), 2)
		sums = append(sums, total)
	}
	for i, e := range sums {
		if e >= share*total {
			return float64(i+1) * step / soundRate
		}
	}
	return float64(len(x)) / soundRate
}

// What an ear takes from an event, and how many units of each are as much as
// an octave of pitch.
var features = []struct {
	name string
	unit float64
	of   func(h *heard) float64
}{
	{"register of the strike, octaves", 1, func(h *heard) float64 { return math.Log2(centroid(after(h.struck, 0, 0.08).mono()) / 440) }},
	{"where it goes, octaves", 0.3, func(h *heard) float64 {
		return math.Log2(centroid(after(h.struck, 0.2, 0.34).mono()) / centroid(after(h.struck, 0, 0.08).mono()))
	}},
	{"length of the strike, octaves", 1, func(h *heard) float64 { return math.Log2(takes(after(h.struck, 0, tail).mono(), 0.9) / 0.1) }},
	{"strikes, octaves", 0.5, func(h *heard) float64 { return math.Log2(1 + float64(len(h.strikes()))) }},
	{"level of the strike, dB", 6, func(h *heard) float64 { return max(after(h.struck, 0, tail).level(), -80) }},
	{"level of what sounds on, dB", 2, func(h *heard) float64 { return after(h.with, 2.5, 4).level() - after(h.without, 2.5, 4).level() }},
	{"its register, octaves", 0.5, func(h *heard) float64 {
		return math.Log2(centroid(after(h.with, 1, 4).mono()) / centroid(after(h.without, 1, 4).mono()))
	}},
	{"how long it changes, octaves", 1, func(h *heard) float64 { return math.Log2(takes(after(h.state, 0, tail).mono(), 0.3) / 0.1) }},
	{"how much, dB", 6, func(h *heard) float64 { return max(after(h.state, 0, tail).level(), -80) }},
	{"what it brings, octaves", 0.5, func(h *heard) float64 { return math.Log2(centroid(after(h.state, 0, tail).mono()) / 440) }},
	{"how far it moves aside, dB", 0.5, func(h *heard) float64 {
		return math.Abs(side(after(h.with, 2.5, 4), 600, 0.9) - side(after(h.without, 2.5, 4), 600, 0.9))
	}},
	{"tone or noise, dB", 6, func(h *heard) float64 {
		// The strongest partial of what comes over the mean around it.
		s := measure.NewSpectrum(after(h.state, 1, 4).mono(), soundRate, measure.Hann)
		p := s.Near(600, 500)
		if p.Amplitude < 1e-5 {
			return 0
		}
		return measure.Decibels(p.Amplitude) - 10*math.Log10(s.Power(p.Hertz/1.06, p.Hertz*1.06)+1e-14)
	}},
	{"under 120 Hz, dB", 6, func(h *heard) float64 {
		low := func(r recording) float64 {
			return 10 * math.Log10(measure.NewSpectrum(after(r, 1, 4).mono(), soundRate, measure.Hann).Power(40, 120)+1e-12)
		}
		return low(h.with) - low(h.without)
	}},
}

// strikes are the times of what is struck, in seconds after the event.
func (h *heard) strikes() []float64 {
	x := after(h.struck, -0.1, tail)
	if x.level() < -75 {
		return nil
	}
	var times []float64
	for _, s := range measure.Onsets(x.mono(), soundRate) {
		times = append(times, s-0.1)
	}
	return times
}

// hertz is the pitch of the pod of a situation in the default scene. One that
// has still to come takes the seat that is left.
func (h *heard) hertz() float64 {
	seat := h.pod
	if h.row.came == "none" {
		seat = h.pods
	}
	return 55 * []float64{4, 5, 6, 8, 10, 12, 3, 16}[seat-1]
}

// partial is the strongest partial within a share of a frequency.
func partial(x []float32, hz, within float64) measure.Partial {
	return measure.NewSpectrum(x, soundRate, measure.Hann).Near(hz, within*hz)
}

func partialLevel(x []float32, hz float64) float64 {
	return measure.Decibels(partial(x, hz, 0.02).Amplitude + 1e-9)
}

// cents is how far off a pitch the middle of all that sounds near it is.
func cents(x []float32, hz float64) float64 {
	s := measure.NewSpectrum(x, soundRate, measure.BlackmanHarris)
	sum, weight := 0.0, 0.0
	for i, a := range s.Amplitude {
		if c := measure.Cents(float64(i)*s.BinHertz, hz); i > 0 && math.Abs(c) < 80 {
			sum += a * a * c
			weight += a * a
		}
	}
	return sum / weight
}

// glide is the interval in cents from the strongest partial of one stretch to
// that of another, between two frequencies; each has so many seconds.
func glide(x recording, from, to, length, low, high float64) float64 {
	strongest := func(at float64) float64 {
		s := measure.NewSpectrum(after(x, at, at+length).mono(), soundRate, measure.Hann)
		return s.Near((low+high)/2, (high-low)/2).Hertz
	}
	return measure.Cents(strongest(to), strongest(from))
}

// side is the level of the right over the left near a frequency, in decibels.
func side(r recording, hz, within float64) float64 {
	p := func(x []float32) float64 {
		return measure.NewSpectrum(x, soundRate, measure.Hann).Power(hz*(1-within), hz*(1+within)) + 1e-14
	}
	return 10 * math.Log10(p(r[1])/p(r[0]))
}

// loudest is the highest level of 50 ms, in decibels.
func loudest(r recording) float64 {
	best := -200.0
	for at := 0; at+2400 <= len(r[0]); at += 480 {
		best = max(best, recording{r[0][at : at+2400], r[1][at : at+2400]}.level())
	}
	return best
}

// cue is one thing by which an event is known.
type cue struct {
	what      string
	value     float64
	unit      string
	low, high float64
}

const much = 1e9

func rises(what string, from, to, least float64) cue {
	return cue{what, to - from, "dB", least, much}
}

// cut is the cue of a voice that ends at once.
func (h *heard) cut() cue {
	hz := h.hertz()
	return cue{"the voice at 150…350 ms", partialLevel(after(h.state, 0.15, 0.35).mono(), hz) - partialLevel(after(h.without, 0.15, 0.35).mono(), hz), "dB of itself taken away", -3, 3}
}

func (h *heard) strikesAt(i int) float64 {
	if s := h.strikes(); i < len(s) {
		return s[i]
	}
	return -1
}

func (h *heard) onset(i int) cue {
	return cue{"struck after", 1000 * h.strikesAt(i), "ms", -5, 15}
}

func (h *heard) short(least, most float64) cue {
	return cue{"nine tenths of the strike within", 1000 * takes(after(h.struck, 0, tail).mono(), 0.9), "ms", least, most}
}

// cues are how each event is told from silence and from its neighbours: two at
// the least, of different kinds.
var cues = map[string]func(h *heard) []cue{
	"pending": func(h *heard) []cue {
		hz, x := h.hertz(), after(h.state, 0.5, tail).mono()
		s := measure.NewSpectrum(x, soundRate, measure.Hann)
		breath := func(from, to float64) float64 { return after(h.state, from, to).level() }
		return []cue{
			{"within a third of an octave of the pod's pitch", 100 * s.Power(hz/1.123, hz*1.123) / s.Power(30, 16000), "%", 60, 100},
			{"strongest partial over the mean of the band (a tone has 30)", measure.Decibels(s.Near(hz, 0.1*hz).Amplitude) - 10*math.Log10(s.Power(hz/1.123, hz*1.123)), "dB", -much, -3},
			rises("opens from the first to the third second by", breath(0.2, 0.6), breath(2.5, 3.5), 6),
		}
	},
	"scheduled": func(h *heard) []cue {
		left, right := hear(h.t, h.row, situation{1, h.pods, h.seed}), hear(h.t, h.row, situation{3, h.pods, h.seed})
		return []cue{
			h.onset(0), h.short(20, 300),
			{"a pod on the left node is to the right by", side(after(left.struck, 0, 0.3), 1000, 0.9), "dB", -much, -6},
			{"one on the right node", side(after(right.struck, 0, 0.3), 1000, 0.9), "dB", 6, much},
		}
	},
	"running": func(h *heard) []cue {
		hz := h.hertz()
		open := hear(h.t, rowOf("ready"), h.situation)
		return []cue{
			rises("fades in from the first 40 ms to the second second by", partialLevel(after(h.state, 0, 0.04).mono(), hz), partialLevel(after(h.state, 1, 2).mono(), hz), 8),
			{"off its pitch", cents(after(h.state, 1, 4).mono(), hz), "cents", -40, -16},
			{"third harmonic under that of a ready voice", partialLevel(after(open.with, 1, 4).mono(), 3*hz) - partialLevel(after(h.with, 1, 4).mono(), 3*hz), "dB", 8, much},
		}
	},
	"ready": func(h *heard) []cue {
		hz := h.hertz()
		return []cue{
			{"off its pitch before", cents(after(h.with, -0.9, -0.1).mono(), hz), "cents", -40, -14},
			{"off its pitch from 200 ms on", cents(after(h.with, 0.2, 1.2).mono(), hz), "cents", -4, 4},
			rises("third harmonic brightens within 200 ms by", partialLevel(after(h.with, -0.4, -0.05).mono(), 3*hz), partialLevel(after(h.with, 0.2, 0.55).mono(), 3*hz), 8),
			h.onset(0),
		}
	},
	"load": func(h *heard) []cue {
		hz := h.hertz()
		// Vibrato moves it: a band counts, not a line.
		near := func(r recording) float64 {
			return 10 * math.Log10(measure.NewSpectrum(after(r, 1, 4).mono(), soundRate, measure.Hann).Power(4.88*hz, 5.12*hz))
		}
		wobble := func(r recording) float64 {
			low, high := math.Inf(1), math.Inf(-1)
			for at := 1.0; at < 3; at += 0.02 {
				c := measure.Cents(partial(after(r, at, at+0.08).mono(), hz, 0.03).Hertz, hz)
				low, high = min(low, c), max(high, c)
			}
			return high - low
		}
		return []cue{
			rises("fifth harmonic brightens by", near(h.without), near(h.with), 3),
			{"vibrato, from end to end", wobble(h.with), "cents", 15, 60},
			{"and without load", wobble(h.without), "cents", 0, 8},
		}
	},
	"failed": func(h *heard) []cue {
		return []cue{
			h.onset(0), h.short(20, 300), h.cut(),
			{"balance point of the strike", centroid(after(h.struck, 0, 0.3).mono()), "Hz", 60, 200},
		}
	},
	"oom killed": func(h *heard) []cue {
		f := 2 * h.hertz()
		for f > 640 {
			f /= 2
		}
		if f > 320 {
			f /= 2
		}
		first := after(h.struck, 0.005, 0.06).mono()
		return []cue{
			{"from 20 to 330 ms the pitch goes", glide(h.struck, 0.002, 0.3, 0.04, f/2.5, f*1.2), "cents", -1300, -1000},
			{"third harmonic of the strike", partialLevel(first, 3*partial(first, f, 0.3).Hertz) - partialLevel(first, f*0.93), "dB", -26, 0},
			h.cut(),
		}
	},
	"crash loop": func(h *heard) []cue {
		rest := func(i int) float64 { return h.strikesAt(i+1) - h.strikesAt(i) }
		return []cue{
			{"strikes", float64(len(h.strikes())), "", 5, 5},
			{"second rest over the first", rest(1) / rest(0), "", 1.9, 2.1},
			{"third rest over the second", rest(2) / rest(1), "", 1.9, 2.1},
			{"fourth rest over the third", rest(3) / rest(2), "", 1.9, 2.1},
			{"balance point of the strikes", centroid(after(h.struck, 0, tail).mono()), "Hz", 60, 200},
		}
	},
	"evicted": func(h *heard) []cue {
		hz := h.hertz()
		at := func(from, to float64) float64 { return side(after(h.with, from, to), hz, 0.02) }
		return []cue{
			{"it stands to the right by, before", at(-0.8, -0.1), "dB", -2, 2},
			{"after 4 s", at(3, 4), "dB", 6, much},
			{"and is on its way after 0.7 s", at(0.55, 0.85), "dB", 0.5, 0.9 * at(3, 4)},
			{"within 300 ms the sigh falls by", glide(h.struck, 0.002, 0.27, 0.06, 0.7*hz, 1.1*hz), "cents", -400, -180},
		}
	},
	"succeeded": func(h *heard) []cue {
		x := after(h.struck, 0, 1).mono()
		ps := measure.NewSpectrum(x, soundRate, measure.BlackmanHarris).Peaks(-26)
		off := 0.0
		for _, p := range ps {
			r := p.Hertz / ps[0].Hertz
			off = max(off, math.Abs(r-math.Round(r)))
		}
		return []cue{
			{"strikes", float64(len(h.strikes())), "", 1, 1},
			h.short(250, 2500),
			{"a partial off the harmonic series by", off, "", 0.1, 0.5},
			{"level of the strike over that of a kill", loudest(after(h.struck, 0, tail)) - loudest(after(hear(h.t, rowOf("failed"), h.situation).struck, 0, tail)), "dB", -much, -6},
		}
	},
	"rolling update": func(h *heard) []cue {
		// Each step has a pluck where its pod gets a node and one where it is
		// ready.
		near := 0
		for _, s := range h.strikes() {
			for k := range h.pods {
				for _, t := range []float64{0.05, 0.45} {
					if d := s - (0.7*float64(k) + t); d > -0.01 && d < 0.02 {
						near++
					}
				}
			}
		}
		low, high := math.Inf(1), math.Inf(-1)
		for at := 0.0; at < 3.6; at += 0.2 {
			d := after(h.with, at, at+0.2).level() - after(h.without, at, at+0.2).level()
			low, high = min(low, d), max(high, d)
		}
		return []cue{
			{"plucks at the steps of the rollout", float64(near), "", float64(2*h.pods - 1), float64(2 * h.pods)},
			{"old and new overlap: the chord falls by at most", -low, "dB", -much, 4},
		}
	},
	"request served": func(h *heard) []cue {
		return []cue{
			h.onset(0), h.short(20, 160),
			{"in 70 ms the pitch goes", glide(h.struck, 0.001, 0.065, 0.012, 700, 3000), "cents", 700, 1300},
			{"balance point of the drop", centroid(after(h.struck, 0, 0.3).mono()), "Hz", 700, 3000},
		}
	},
	"request missed": func(h *heard) []cue {
		return []cue{
			h.short(1, 20),
			{"balance point of the click", centroid(after(h.struck, 0, 0.03).mono()), "Hz", 3000, 9000},
		}
	},
	"api unreachable": func(h *heard) []cue {
		low := func(r recording) float64 {
			return 10 * math.Log10(measure.NewSpectrum(after(r, 2.2, 3.9).mono(), soundRate, measure.Hann).Power(50, 60)+1e-12)
		}
		wet := func(r recording) float64 { return after(r, 0.3, 4).level() }
		return []cue{
			{"from pulse to pulse", h.strikesAt(1) - h.strikesAt(0), "s", 1.97, 2.03},
			{"balance point of the pulse", centroid(after(h.struck, h.strikesAt(0), h.strikesAt(0)+0.5).mono()), "Hz", 40, 110},
			{"the drone at 55 Hz falls by", low(h.without) - low(h.with), "dB", 12, much},
			{"what goes out of the room is at", wet(h.state) - wet(h.without), "dB of all", -25, -3},
		}
	},
	"scaled up": func(h *heard) []cue {
		return []cue{
			{"strikes", float64(len(h.strikes())), "", 3, 3},
			{"from the first to the last", glide(h.struck, 0.005, 0.185, 0.06, 250, 1200), "cents", 600, 800},
			{"and the noise of tension is at", centroid(after(h.state, 1, 4).mono()), "Hz", 100, 4000},
		}
	},
	"scaled down": func(h *heard) []cue {
		return []cue{
			{"strikes", float64(len(h.strikes())), "", 3, 3},
			{"from the first to the last", glide(h.struck, 0.005, 0.185, 0.06, 250, 1200), "cents", -800, -600},
			{"and the noise of tension is at", centroid(after(h.state, 1, 4).mono()), "Hz", 100, 4000},
		}
	},
}

func rowOf(name string) *row {
	for i := range vocabulary {
		if vocabulary[i].name == name {
			return &vocabulary[i]
		}
	}
	panic("no event " + name)
}

// usual is where the cues are measured; learnt is where events are learnt, on a
// pod of the left node, and other where they are to be known again: on another
// pod of a larger chord, by other chances.
var usual, learnt, other = situation{pod: 2, pods: 4, seed: 1969}, situation{pod: 1, pods: 4, seed: 1969}, situation{pod: 3, pods: 6, seed: 7}

// TestVocabulary: every event of the vocabulary is heard in the default scene
// by at least two cues, measured in samples.
func TestVocabulary(t *testing.T) {
	for i := range vocabulary {
		r := &vocabulary[i]
		h := hear(t, r, usual)
		all := cues[r.name](&h)
		if len(all) < 2 {
			t.Errorf("%s has %d cues, expected two", r.name, len(all))
		}
		for k, c := range all {
			name := r.name
			if k > 0 {
				name = ""
			}
			t.Logf("%-16s %-52s %9.1f %s", name, c.what, c.value, c.unit)
			if !(c.value >= c.low && c.value <= c.high) {
				t.Errorf("%s: %s %.2f %s, wanted %.4g … %.4g", r.name, c.what, c.value, c.unit, c.low, c.high)
			}
		}
		if s := loudest(after(h.struck, 0, tail)); s > -80 {
			t.Logf("%-16s %-52s %9.1f dB", "", "loudest 50 ms of what is struck, under the chord", s-after(h.without, 0, 4).level())
		}
	}
}

// TestVocabularyIsNotConfused: each event, on another pod, in a larger chord
// and by other chances, is nearest to itself among all.
func TestVocabularyIsNotConfused(t *testing.T) {
	vector := func(r *row, s situation) (v []float64) {
		h := hear(t, r, s)
		if len(h.strikes()) == 0 {
			// What is left of a strike that was none is rounding.
			h.struck = recording{make([]float32, len(h.struck[0])), make([]float32, len(h.struck[1]))}
		}
		for _, f := range features {
			v = append(v, f.of(&h)/f.unit)
		}
		return v
	}
	var known [][]float64
	for i := range vocabulary {
		known = append(known, vector(&vocabulary[i], learnt))
	}
	for i := range vocabulary {
		v := vector(&vocabulary[i], other)
		best, second, which, next := math.Inf(1), math.Inf(1), 0, 0
		for k, w := range known {
			d := 0.0
			for j := range v {
				d += (v[j] - w[j]) * (v[j] - w[j])
			}
			switch d = math.Sqrt(d); {
			case d < best:
				second, next = best, which
				best, which = d, k
			case d < second:
				second, next = d, k
			}
		}
		t.Logf("%-16s is heard as %-16s at %5.1f, next is %-16s at %5.1f", vocabulary[i].name, vocabulary[which].name, best, vocabulary[next].name, second)
		if which != i {
			t.Errorf("%s is taken for %s", vocabulary[i].name, vocabulary[which].name)
		}
	}
}

// TestTensionAndRest: while the cluster is on its way to what was asked for,
// the chord is at least three times as rough as at rest, and half a second
// after it has come there it rests.
func TestTensionAndRest(t *testing.T) {
	s := situation{pods: 4, seed: 1969}
	text := s.stage("")
	const ready = 5.4
	for k, t := range []float64{4.6, ready} {
		pod := fmt.Sprintf("pod: web-%d", 5+k)
		text += at(0, "param: deployment/web/replicas, value: 6")[:0] +
			at(0.4, "%s, owner: web, replica: a, phase: Pending", pod) +
			at(0.5, "%s, node: stage-%d", pod, k+1) + at(1, "%s, phase: Running", pod) + at(t-when, "%s, ready: true", pod)
	}
	text += at(0, "param: deployment/web/replicas, value: 6") + at(0.1, "deployment: web, replicas: 6")
	sc := open(t, "default")
	quiet(sc, "voice/boot")
	rec := record(t, sc, written(t, text), ready+2.6)
	rough := func(from, to float64) float64 { return measure.RoughnessOf(rec.cut(from, to).mono(), soundRate) }
	before, tense, soon, later := rough(0.6, 2), rough(3.1, 4.5), rough(ready+0.5, ready+1.5), rough(ready+1.5, ready+2.5)
	t.Logf("roughness: four at rest %.4f, on the way to six %.4f (%.0f times), half a second after the last is ready %.4f, a second later %.4f", before, tense, tense/max(before, later), soon, later)
	if tense < 3*before || tense < 3*later {
		t.Errorf("converging is %.1f and %.1f times as rough as converged, wanted 3", tense/before, tense/later)
	}
	if soon > 1.5*max(later, before) {
		t.Errorf("half a second after convergence the roughness is %.4f, at rest %.4f", soon, later)
	}
}

// TestStormIsATexture: of a hundred restarts in two seconds the first and the
// last are heard singly, most of the others become the air, which rises.
func TestStormIsATexture(t *testing.T) {
	s := situation{pods: 4, seed: 1969}
	const many, over = 100, 2.0
	text := s.stage("")
	for i := range many {
		text += at(over*float64(i)/many, "pod: web-%d, restarts: %d", 1+i%4, 1+i/4)
	}
	render := func(storm bool, change func(sc *Scene)) recording {
		sc := open(t, "default")
		quiet(sc, "voice/boot")
		change(sc)
		if storm {
			return record(t, sc, written(t, text), when+over+1.5)
		}
		return record(t, sc, written(t, s.stage("")), when+over+1.5)
	}
	all := func(*Scene) {}
	calm := render(true, func(sc *Scene) { quiet(sc, "voice/chord") })
	struck := render(true, all).less(calm)
	// Strikes blur where they are dense; each has a blow of its own under 120 Hz.
	onsets := measure.Onsets(after(struck, -0.2, over+1).mono(), soundRate)
	for i := range onsets {
		onsets[i] -= 0.2
	}
	air := render(true, func(sc *Scene) {
		m := sc.Patch.Module("mixer/main")
		for _, i := range []string{"1", "2", "3", "5", "6"} {
			m.Params["level_"+i] = -60
		}
	})
	under := after(air, 1, 2).level() - after(render(false, all), 1, 2).level()
	high := func(r recording, from, to float64) float64 {
		return 10 * math.Log10(measure.NewSpectrum(after(r, from, to).mono(), soundRate, measure.Hann).Power(4500, 12000)+1e-12)
	}
	rise := high(calm, 1, 2) - high(calm, -1, 0)
	t.Logf("of %d restarts %d are struck; the first %.0f ms after it happened, the last %.0f ms; the air comes to %.1f dB under the chord, and what is above 4.5 kHz rises by %.1f dB", many, len(onsets), 1000*onsets[0], 1000*(onsets[len(onsets)-1]-over*(many-1)/many), under, rise)
	if d := onsets[0]; d < -0.01 || d > 0.03 {
		t.Errorf("the first of the storm is heard after %.3f s", d)
	}
	if d := onsets[len(onsets)-1] - over*(many-1)/many; d < -0.01 || d > 0.4 {
		t.Errorf("the last of the storm is heard %.3f s after it happened", d)
	}
	if len(onsets) > many*2/5 || len(onsets) < 8 {
		t.Errorf("%d of %d are struck", len(onsets), many)
	}
	if under < -39 || under > -24 {
		t.Errorf("the air of a storm is %.1f dB under the chord, wanted -36 at rest and some more in a storm", under)
	}
	if rise < 3 {
		t.Errorf("the air rises by %.1f dB, wanted 3", rise)
	}
}

// TestLayers: each layer of the default scene has its place under the chord.
func TestLayers(t *testing.T) {
	solo := func(keep int, text string) recording {
		sc := open(t, "default")
		quiet(sc, "voice/boot")
		m := sc.Patch.Module("mixer/main")
		for i := 1; i <= 6; i++ {
			if i != keep {
				m.Params[fmt.Sprintf("level_%d", i)] = -60
			}
		}
		return after(record(t, sc, written(t, text), when+tail), 0, tail-0.1)
	}
	s := situation{pods: 4, seed: 1969}
	rest := s.stage("") + "  - {at: 0.2, etcd: store, heartbeat: {every: 1, until: 10, latency: 0.004}}\n"
	chord := solo(1, rest)
	drone, ticks := solo(2, rest), solo(3, rest)
	busy := rest
	for i := range 40 {
		busy += at(0.1*float64(i), "pod: web-%d, load: %d", 1+i%4, 100+i%2)
	}
	level := chord.level()
	low := measure.NewSpectrum(drone.mono(), soundRate, measure.BlackmanHarris).Peaks(-3)[0].Hertz
	high := centroid(ticks.mono())
	var events []string
	worst, best := math.Inf(1), math.Inf(-1)
	for i := range vocabulary {
		h := hear(t, &vocabulary[i], usual)
		if l := loudest(after(h.struck, 0, tail)) - after(h.without, 0, tail).level(); len(h.strikes()) > 0 {
			events = append(events, fmt.Sprintf("%s %.1f", vocabulary[i].name, l))
			worst, best = min(worst, l), max(best, l)
		}
	}
	t.Logf("chord %.1f dB; under it: drone %.1f dB at %.0f Hz, a tick %.1f dB at its peak around %.0f Hz", level, drone.level()-level, low, measure.Decibels(measure.Peak(ticks[0]))-level, high)
	t.Logf("strikes, the loudest 50 ms of each against the chord, in dB: %s", strings.Join(events, ", "))
	for _, c := range []cue{
		{"the drone", drone.level() - level, "dB", -27, -21}, {"the drone's pitch", low, "Hz", 54, 111},
		{"a tick's peak", measure.Decibels(measure.Peak(ticks[0])) - level, "dB", -34, -26}, {"a tick's pitch", high, "Hz", 3000, 6000},
		{"the loudest strike", best, "dB", -6, 1}, {"the softest", worst, "dB", -32, -12},
	} {
		if !(c.value >= c.low && c.value <= c.high) {
			t.Errorf("%s: %.1f %s, wanted %g … %g", c.what, c.value, c.unit, c.low, c.high)
		}
	}
}
