package scenes

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/mapping/midi"
)

// set turns knobs of a scene.
func set(sc *Scene, id instrument.ModuleID, params map[string]float64) {
	m := sc.Patch.Module(id)
	if m.Params == nil {
		m.Params = map[string]float64{}
	}
	for name, v := range params {
		m.Params[name] = v
	}
}

// changed renders a piece, or its first seconds, after a change.
func changed(t testing.TB, name string, seconds float64, change func(sc *Scene)) recording {
	t.Helper()
	sc := open(t, name)
	change(sc)
	script, err := (&Store{}).OpenScript(name)
	if err != nil {
		t.Fatal(err)
	}
	return record(t, sc, script, seconds)
}

// alone keeps one channel of a mixer.
func alone(mixer instrument.ModuleID, keep int) func(sc *Scene) {
	return func(sc *Scene) {
		for i := 1; i <= 6; i++ {
			if i != keep {
				set(sc, mixer, map[string]float64{fmt.Sprintf("level_%d", i): -60})
			} else {
				set(sc, mixer, map[string]float64{fmt.Sprintf("send_%d", i): -60})
			}
		}
	}
}

func noteHertz(note float64) float64 { return 440 * math.Exp2((note-69)/12) }

// ideas is what each piece shows, measured.
var ideas = map[string]func(t *testing.T) []cue{
	"rolling-update": func(t *testing.T) []cue {
		// The second rollout: two beats a pod, from 5 s on, in time with
		// sixteenths of 96 beats a minute.
		rec := changed(t, "rolling-update", 14, func(sc *Scene) {
			alone("mixer/main", 2)(sc)
			set(sc, "delay/echo", map[string]float64{"mix": 0})
		})
		const beat = 60. / 96
		worst := 0.0
		onsets := measure.Onsets(rec.cut(5, 13).mono(), soundRate)
		for i := range onsets {
			onsets[i] += 5
			worst = max(worst, math.Abs(onsets[i]-math.Round(onsets[i]/(beat/4))*beat/4))
		}
		// The strongest tone of a side after the first onset from a time on.
		pitch := func(from float64, c int) float64 {
			at := math.Inf(1)
			for _, o := range onsets {
				if o > from-0.01 {
					at = min(at, o)
				}
			}
			top := measure.NewSpectrum(rec.cut(at+0.02, at+0.14)[c], soundRate, measure.Hann).Near(1100, 950)
			return 69 + 12*math.Log2(top.Hertz/440)
		}
		var comes, goes []float64
		for k := range 6 {
			a := 5 + 2*beat*float64(k)
			comes = append(comes, pitch(a+beat, 0))
			goes = append(goes, pitch(a+1.5*beat, 1))
		}
		up, down := 0, 0
		for k := 1; k < 6; k++ {
			if comes[k] > comes[k-1]+0.5 {
				up++
			}
			if goes[k] < goes[k-1]-0.5 {
				down++
			}
		}
		t.Logf("who comes: %.1f; who goes: %.1f", comes, goes)
		return []cue{
			{"farthest onset from a sixteenth", 1000 * worst, "ms", 0, 12},
			{"steps up of who comes", float64(up), "of 5", 5, 5},
			{"steps down of who goes", float64(down), "of 5", 5, 5},
			{"they begin apart by", goes[0] - comes[0], "semitones", 7, 36},
			{"and end, having passed each other, by", goes[5] - comes[5], "semitones", -36, -7},
		}
	},
	"crashloop": func(t *testing.T) []cue {
		rec := changed(t, "crashloop", 17, func(sc *Scene) {
			alone("mixer/main", 2)(sc)
			alone("mixer/events", 3)(sc)
		})
		at := measure.Onsets(rec.mono(), soundRate)
		const beat = 60. / 112
		var all []cue
		all = append(all, cue{"blows of the drum", float64(len(at)), "", 5, 5})
		for i := 2; i < len(at); i++ {
			all = append(all, cue{fmt.Sprintf("rest %d over the one before", i), (at[i] - at[i-1]) / (at[i-1] - at[i-2]), "", 1.95, 2.05})
		}
		for _, o := range at {
			all = append(all, cue{"a blow off its sixteenth by", 1000 * math.Abs(o-math.Round(o/(beat/4))*beat/4), "ms", 0, 22})
		}
		return all
	},
	"autoscaler": func(t *testing.T) []cue {
		_, _, rec := performed(t, "autoscaler")
		calm, loaded, full, over := rec.cut(3.5, 4.9), rec.cut(6.6, 7.4), rec.cut(23.5, 26.5), rec.cut(43.5, 45)
		high := func(r recording) float64 {
			return 10 * math.Log10(measure.NewSpectrum(r.mono(), soundRate, measure.Hann).Power(600, 12000))
		}
		return []cue{
			rises("from two voices to twelve it swells by", calm.level(), full.level(), 6),
			rises("load brightens two voices above 600 Hz, before any is added, by", high(calm), high(loaded), 4),
			rises("and all of them by", high(calm), high(full), 10),
			rises("and falls again by", over.level(), full.level(), 5),
		}
	},
	"drain": func(t *testing.T) []cue {
		_, _, rec := performed(t, "drain")
		balance := func(from, to float64) float64 {
			r := rec.cut(from, to)
			return 10 * math.Log10(recording{r[1], r[1]}.power()/recording{r[0], r[0]}.power())
		}
		line := func(note float64, from, to float64) float64 {
			return partialLevel(rec.cut(from, to).mono(), noteHertz(note))
		}
		low := math.Inf(1)
		for at := 4.0; at < 27; at += 0.5 {
			low = min(low, rec.cut(at, at+1).level()-rec.cut(4, 8).level())
		}
		return []cue{
			{"at first it stands to the right by", balance(4, 8), "dB", -20, -3},
			{"then", balance(22, 27), "dB", 3, 20},
			{"and home again", balance(40, 44), "dB", -20, -3},
			rises("A2 goes: it falls by", line(45, 22, 27), line(45, 4, 8), 15),
			rises("F2 comes: it rises by", line(41, 4, 8), line(41, 22, 27), 15),
			{"no voice stops: the chord falls by at most", -low, "dB", -10, 6},
		}
	},
	"etcd": func(t *testing.T) []cue {
		rec := changed(t, "etcd", 40, func(sc *Scene) {
			alone("mixer/main", 2)(sc)
			set(sc, "delay/echo", map[string]float64{"mix": 0})
		})
		count := func(from, to float64) float64 {
			return float64(len(measure.Onsets(rec.cut(from, to).mono(), soundRate))) / (to - from)
		}
		hz := func(from, to float64) float64 {
			return measure.NewSpectrum(rec.cut(from, to).mono(), soundRate, measure.Hann).Near(8000, 6000).Hertz
		}
		_, _, whole := performed(t, "etcd")
		drone := func(from, to float64) float64 { return whole.cut(from, to).level() }
		return []cue{
			{"ticks a second", count(9.9, 15.9), "", 1.8, 2.2},
			{"of a busy store", count(16.5, 19.5), "", 7, 9},
			{"a tick of 90 ms over one of 3 ms", 12 * math.Log2(hz(24.6, 27)/hz(10, 15)), "semitones", 17, 19},
			{"while it does not answer", count(34, 39), "", 0, 0},
			rises("the drone is built by its stages, by", drone(1, 2), drone(10, 14), 6),
			rises("and sinks in the silence by", drone(37.5, 39), drone(30.5, 32.5), 3),
		}
	},
	"scheduler": func(t *testing.T) []cue {
		rec := changed(t, "scheduler", 12, func(sc *Scene) {
			alone("mixer/main", 1)(sc)
			set(sc, "delay/echo", map[string]float64{"mix": 0})
		})
		// The first rollout: nodes 1, 2, 3, 2, 1, a beat apart.
		const beat = 60. / 108
		var wrong, pans float64
		onsets := measure.Onsets(rec.mono(), soundRate)
		last := 0.0
		for k, node := range []float64{1, 2, 3, 2, 1} {
			at := (12 + float64(k)) * beat
			// At the next swung sixteenth: within a third of a beat.
			onset := math.Inf(1)
			for _, o := range onsets {
				if o > at+0.05 {
					onset = min(onset, o)
				}
			}
			r := rec.cut(onset+0.01, onset+0.16)
			s := measure.NewSpectrum(r.mono(), soundRate, measure.Hann)
			ps := s.Peaks(-16)
			if len(ps) == 0 {
				wrong++
				continue
			}
			hz := ps[0].Hertz
			if k > 0 && (node > []float64{1, 2, 3, 2, 1}[k-1]) != (hz > last) {
				wrong++
			}
			last = hz
			t.Logf("node %g: %.1f Hz, %.1f dB to the right", node, hz, 10*math.Log10(recording{r[1], r[1]}.power()/recording{r[0], r[0]}.power()))
			if d := 10 * math.Log10(recording{r[1], r[1]}.power()/recording{r[0], r[0]}.power()); node == 1 && d < -6 || node == 2 && math.Abs(d) < 6 || node == 3 && d > 6 {
				pans++
			}
		}
		return []cue{
			{"leaps of the melody against those from node to node", wrong, "of 4", 0, 0},
			{"notes on their node's side", pans, "of 5", 5, 5},
		}
	},
	"service": func(t *testing.T) []cue {
		const bar = 4 * 60. / 118
		rec := changed(t, "service", 12*bar, func(sc *Scene) {
			alone("mixer/main", 1)(sc)
			set(sc, "drum/kit", map[string]float64{"hat_level": -60, "snare_level": -60, "clap_level": -60})
		})
		// Eleven requests a bar, of which the kick takes its turn.
		kicks := func(from, to float64) float64 {
			n := float64(len(measure.Onsets(rec.cut(from*bar, to*bar-0.03).mono(), soundRate)))
			return n / (to - from)
		}
		return []cue{
			{"kicks a bar with one endpoint", kicks(1, 2), "of 11", 10, 11},
			{"with two", kicks(2.5, 4), "of 11", 4.5, 6.5},
			{"with three", kicks(4.5, 6), "of 11", 3, 4.7},
			{"with four", kicks(7, 11), "of 11", 2.4, 3.1},
		}
	},
	"ambient": func(t *testing.T) []cue {
		_, _, rec := performed(t, "ambient")
		loud := func(from, to float64) measure.Loudness {
			r := rec.cut(from, to)
			return measure.MeasureLoudness(soundRate, r[0], r[1])
		}
		rest := loud(10, 19)
		news := rec.less(changed(t, "ambient", 19.5, func(sc *Scene) {
			quiet(sc, "voice/bells")
			set(sc, "voice/tones", map[string]float64{"level": -60})
		}))
		return []cue{
			{"onsets a second", float64(len(measure.Onsets(rec.mono(), soundRate))) / 58, "", 0, 1},
			{"a storm of 25 events a second is louder than rest by", loud(36, 41).ShortTermMax - rest.Integrated, "LU", -3, 5},
			{"nothing startles: loudest 400 ms over the whole", loud(10, 57).MomentaryMax - loud(10, 57).Integrated, "LU", 0, 6},
			{"a note under the floor", loudest(news.cut(8, 19)) - rec.cut(8, 19).level(), "dB", -18, -4},
		}
	},
	"midi": func(t *testing.T) []cue {
		sc, script, dry := performed(t, "midi")
		seconds := script.Length().Seconds() + 3
		on := map[int]bool{}                            // by channel
		zone := midi.NewMPEIn(midi.NewMPEConfig(15, 0)) // the receiver was told as the scene was loaded
		notes, most, shared, wanted, clocks, starts, drums := 0, 0, 0, 0, 0, 0, 0
		var held []bool
		daw := 0
		rec := played(t, sc, script, seconds, func(rack *mapping.Rack, frame int64) {
			rack.MIDIOut = func(port string, m midi.Message, frame int64) {
				switch {
				case m.Kind() == midi.Clock:
					clocks++
				case m.Kind() == midi.Start:
					starts++
				case port == "*" && m.IsNoteOn() && m.Channel() == 9:
					drums++
				case port == "*" && m.Kind() == midi.ControlChange && m.Channel() == 15 && m.Data[1] == 20:
					wanted++
				case port == "":
					zone.Message(m, func(change midi.MPEChange, n midi.MPENote) {
						switch change {
						case midi.MPEBegan:
							notes++
							if _, taken := on[n.Channel]; taken || n.Channel == 0 {
								shared++
							}
							on[n.Channel] = true
							most = max(most, len(on))
						case midi.MPEEnded:
							delete(on, n.Channel)
						}
					})
				}
			}
			// A hand on the keys: C2 from 18 to 20 s, a chord from 5 s on.
			now := func(second float64) bool {
				f := int64(second * soundRate)
				return frame <= f && f < frame+instrument.BlockSize
			}
			play := func(second float64, m midi.Message) {
				if now(second) {
					rack.MIDI("keys", m, frame+1)
				}
			}
			play(5, midi.On(0, 62, 100))
			play(5, midi.On(0, 69, 100))
			play(9, midi.Off(0, 62, 0))
			play(9, midi.Off(0, 69, 0))
			play(18, midi.On(0, 36, 100))
			play(20, midi.Off(0, 36, 0))
			for _, s := range []float64{17.9, 18.2, 19.9, 20.2} {
				if now(s) {
					topology, _ := rack.Topology()
					held = append(held, topology.Modules["pod/key-c"]["hold"] == true)
				}
			}
			// The DAW runs for two bars of 120, from 28 s on.
			play(28, midi.RealTime(midi.Start))
			if daw < 24*8 && float64(frame)/soundRate >= 28.01+float64(daw)/48 {
				rack.MIDI("keys", midi.RealTime(midi.Clock), frame+1)
				daw++
			}
			play(32.1, midi.RealTime(midi.Stop))
		})
		news := rec.less(dry)
		want := 0.0
		if len(held) == 4 && !held[0] && held[1] && held[2] && !held[3] {
			want = 1
		}
		return []cue{
			{"notes of pods", float64(notes), "", 13, 15},
			{"at once at most", float64(most), "", 5, 7},
			{"two of them on one channel, or one on the master's", float64(shared), "times", 0, 0},
			{"notes that did not end", float64(len(on)), "", 0, 0},
			{"clocks a beat", float64(clocks) / (seconds * 100 / 60), "", 23.8, 24.1},
			{"starts", float64(starts), "", 1, 1},
			{"a crash is a drum", float64(drums), "", 1, 1},
			{"what is wanting is told", float64(wanted), "times", 10, 40},
			{"a key holds up a pod while it is down", want, "", 1, 1},
			{"keys over what was without them", loudest(news.cut(5, 9)) - dry.cut(5, 9).level(), "dB", -20, 6},
			{"snare and clap of the DAW", loudest(news.cut(28, 32)) - dry.cut(28, 32).level(), "dB", -25, 6},
			{"and before it runs", max(news.cut(24, 27.9).level(), -120), "dB", -120, -100},
		}
	},
	"case": playCase,
}

// TestPiecesShowTheirIdea measures in each piece what it is about.
func TestPiecesShowTheirIdea(t *testing.T) {
	for _, p := range pieces {
		t.Run(p.name, func(t *testing.T) {
			for _, c := range ideas[p.name](t) {
				t.Logf("%-15s %-56s %8.1f %s", p.name, c.what, c.value, c.unit)
				if !(c.value >= c.low && c.value <= c.high) {
					t.Errorf("%s: %.2f %s, wanted %.4g … %.4g", c.what, c.value, c.unit, c.low, c.high)
				}
			}
		})
	}
}
