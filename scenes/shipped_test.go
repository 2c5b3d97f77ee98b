package scenes

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// pieces are the scenes that ship with a script of their own name, each with
// a stretch of its script in which it rests, in seconds.
var pieces = []struct {
	name     string
	from, to float64
}{
	{"rolling-update", 0, 0}, {"crashloop", 0, 0}, {"autoscaler", 0, 0}, {"drain", 0, 0},
	{"etcd", 0, 0}, {"scheduler", 0, 0}, {"service", 0, 0}, {"ambient", 0, 0}, {"midi", 0, 0}, {"case", 0, 0},
}

// performed renders a piece once for all tests.
func performed(t testing.TB, name string) (*Scene, *Script, recording) {
	t.Helper()
	sc := open(t, name)
	script, err := (&Store{}).OpenScript(name)
	if err != nil {
		t.Fatal(err)
	}
	rec, ok := earlier["piece "+name]
	if !ok {
		rec = record(t, sc, script, script.Length().Seconds()+3)
		earlier["piece "+name] = rec
	}
	return sc, script, rec
}

// truePeak is measure.TruePeak of where it can be: near the highest samples.
func truePeak(x []float32) float64 {
	const stretch = 1024
	high, peak := measure.Peak(x), math.Inf(-1)
	for i := 0; i < len(x); i += stretch {
		if measure.Peak(x[i:min(i+stretch, len(x))]) > 0.7*high {
			peak = max(peak, measure.TruePeak(x[max(0, i-stretch):min(i+2*stretch, len(x))]))
		}
	}
	return peak
}

// TestPieces holds every scene that ships with a piece to what MUSIC asks of
// the whole: loudness, true peak, no DC, ramps at both ends; and prints what
// else a mixer would look at.
func TestPieces(t *testing.T) {
	t.Logf("%-15s %6s %6s %7s %8s %9s %7s %6s %6s %6s %6s", "scene", "s", "LUFS", "range", "dBTP", "onsets/s", "rough", "<120", "-500", "-2k", ">2k")
	for _, p := range pieces {
		t.Run(p.name, func(t *testing.T) {
			_, script, rec := performed(t, p.name)
			whole := measure.MeasureLoudness(soundRate, rec[0], rec[1])
			peak := max(truePeak(rec[0]), truePeak(rec[1]))
			dc := max(math.Abs(measure.DC(rec[0])), math.Abs(measure.DC(rec[1])))
			low, high := math.Inf(1), math.Inf(-1)
			for _, s := range whole.ShortTerm {
				if s > -60 {
					low, high = min(low, s), max(high, s)
				}
			}
			seconds := float64(len(rec[0])) / soundRate
			m := rec.mono()
			onsets := measure.Onsets(m, soundRate)
			from, to := p.from, p.to
			if to == 0 {
				from, to = seconds-5, seconds-3
			}
			rough := measure.RoughnessOf(rec.cut(from, to).mono(), soundRate) / max(measure.RMS(rec.cut(from, to).mono()), 1e-6)
			var bands [4]float64
			total := 1e-20
			for i := 0; i+soundRate <= len(m); i += soundRate {
				s := measure.NewSpectrum(m[i:i+soundRate], soundRate, measure.Hann)
				for b, e := range [][2]float64{{20, 120}, {120, 500}, {500, 2000}, {2000, 16000}} {
					w := s.Power(e[0], e[1])
					bands[b] += w
					total += w
				}
			}
			for b := range bands {
				bands[b] = 10 * math.Log10(bands[b]/total+1e-9)
			}
			t.Logf("%-15s %6.1f %6.1f %7.1f %8.2f %9.2f %7.3f %6.1f %6.1f %6.1f %6.1f", p.name, seconds, whole.Integrated, high-low, peak, float64(len(onsets))/seconds, rough, bands[0], bands[1], bands[2], bands[3])
			if l := script.Length().Seconds(); l < 27 || l > 60 {
				t.Errorf("the script lasts %.0f s, wanted half a minute to a minute", l)
			}
			if math.Abs(whole.Integrated+18) > 2 {
				t.Errorf("%.1f LUFS integrated, wanted -18 within 2", whole.Integrated)
			}
			if peak > -1 {
				t.Errorf("true peak %.2f dBTP, wanted at most -1", peak)
			}
			if dc > 2e-4 {
				t.Errorf("DC of %.2g on the speakers", dc)
			}
			for c := range rec {
				if a, b := measure.Peak(rec[c][:48]), measure.Peak(rec[c][len(rec[c])-48:]); a > 0.003 || b > 0.003 {
					t.Errorf("channel %d begins at %.3f and ends at %.3f: no ramps", c+1, a, b)
				}
			}
			if d := math.Abs(10 * math.Log10((recording{rec[0], rec[0]}.power()+1e-20)/(recording{rec[1], rec[1]}.power()+1e-20))); d > 3 {
				t.Errorf("one side is %.1f dB louder than the other", d)
			}
		})
	}
}

// TestPiecesTell: each piece says what to listen for, and its Kubernetes part
// is a topology that the cluster takes.
func TestPiecesTell(t *testing.T) {
	for _, p := range pieces {
		sc := open(t, p.name)
		if len(sc.About) < 120 || !strings.Contains(sc.About, "Listen") {
			t.Errorf("%s does not say what to listen for: %q", p.name, sc.About)
		}
		if strings.Contains(sc.Title, "\n") || len(sc.Title) < 10 {
			t.Errorf("%s has the title %q", p.name, sc.Title)
		}
		topology := mapping.TopologyOf(sc.Patch, nil)
		topology.Scene, topology.Namespace = sc.Name, sc.Namespace
		if _, err := topology.Patch(); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		for _, id := range []instrument.ModuleID{"apiserver/api", "etcd/store", "audio_out/main"} {
			if sc.Patch.Module(id) == nil {
				t.Errorf("%s has no %s", p.name, id)
			}
		}
		for i := range sc.Patch.Modules {
			if s := sc.Patch.Modules[i].Spec(); s.Kind == "voice" && sc.Patch.Modules[i].Value("gesture")+1 == float64(instrument.GesturePulse) {
				topology.Generation = 1 // the silence of the API is heard
			}
		}
		if topology.Generation == 0 {
			t.Errorf("%s does not tell that the API is silent", p.name)
		}
	}
}

const (
	fingerLevels = 4    // a second
	fingerBands  = 27   // thirds of an octave from 31.25 Hz, each second
	fingerFloor  = -70. // dB; what is softer is not compared
)

// fingerprint is a render in few figures: the level of both channels each
// quarter of a second, the level of thirds of an octave each second, and the
// onsets.
func fingerprint(rec recording) []byte {
	var b bytes.Buffer
	fmt.Fprintln(&b, "# level of left and right each quarter of a second, dB")
	n := soundRate / fingerLevels
	for i := 0; i+n <= len(rec[0]); i += n {
		fmt.Fprintf(&b, "level %.2f %.1f %.1f\n", float64(i)/soundRate, max(measure.Decibels(measure.RMS(rec[0][i:i+n])), -99), max(measure.Decibels(measure.RMS(rec[1][i:i+n])), -99))
	}
	fmt.Fprintln(&b, "# thirds of an octave from 31 Hz each second, dB")
	m := rec.mono()
	for i := 0; i+soundRate <= len(m); i += soundRate {
		s := measure.NewSpectrum(m[i:i+soundRate], soundRate, measure.Hann)
		fmt.Fprintf(&b, "bands %d", i/soundRate)
		for k := range fingerBands {
			f := 31.25 * math.Pow(2, float64(k)/3)
			fmt.Fprintf(&b, " %.0f", max(10*math.Log10(s.Power(f/math.Pow(2, 1./6), f*math.Pow(2, 1./6))+1e-12), -99))
		}
		fmt.Fprintln(&b)
	}
	fmt.Fprintln(&b, "# onsets, s")
	for _, o := range measure.Onsets(m, soundRate) {
		fmt.Fprintf(&b, "onset %.2f\n", o)
	}
	return b.Bytes()
}

// TestGoldenPieces compares each piece with what it was: levels within 1 dB,
// bands within 3 dB, nine onsets of ten within 30 ms.
func TestGoldenPieces(t *testing.T) {
	for _, p := range pieces {
		t.Run(p.name, func(t *testing.T) {
			_, _, rec := performed(t, p.name)
			got := fingerprint(rec)
			path := filepath.Join("testdata", "golden", p.name+".txt")
			if *update {
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, got, 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			want, err := os.ReadFile(path)
			if err != nil {
				t.Fatalf("%v; write it with: go test ./scenes -run GoldenPieces -update", err)
			}
			if wrong := differs(want, got); len(wrong) > 0 {
				t.Errorf("%d figures differ; listen, and if it was meant run: go test ./scenes -run GoldenPieces -update\n%s", len(wrong), strings.Join(wrong[:min(len(wrong), 8)], "\n"))
				keep(t, "scene-"+p.name, rec)
			}
		})
	}
}

// differs compares two fingerprints.
func differs(want, got []byte) (wrong []string) {
	read := func(text []byte) (rows map[string][]float64, onsets []float64) {
		rows = map[string][]float64{}
		for s := bufio.NewScanner(bytes.NewReader(text)); s.Scan(); {
			words := strings.Fields(s.Text())
			if len(words) < 2 || words[0] == "#" {
				continue
			}
			var v []float64
			for _, w := range words[1:] {
				var x float64
				fmt.Sscan(w, &x)
				v = append(v, x)
			}
			if words[0] == "onset" {
				onsets = append(onsets, v[0])
			} else {
				rows[words[0]+" at "+words[1]+" s"] = v[1:]
			}
		}
		return rows, onsets
	}
	was, struck := read(want)
	is, strikes := read(got)
	for key, w := range was {
		g := is[key]
		if len(g) != len(w) {
			wrong = append(wrong, key+" is missing")
			continue
		}
		within := 1.0
		if strings.HasPrefix(key, "bands") {
			within = 3
		}
		for i := range w {
			if math.Abs(g[i]-w[i]) > within && max(g[i], w[i]) > fingerFloor {
				wrong = append(wrong, fmt.Sprintf("%s, %d: %.1f dB, was %.1f", key, i+1, g[i], w[i]))
			}
		}
	}
	missed := 0
	for _, o := range struck {
		near := math.Inf(1)
		for _, s := range strikes {
			near = min(near, math.Abs(s-o))
		}
		if near > 0.03 {
			missed++
		}
	}
	if 10*missed > len(struck) || math.Abs(float64(len(struck)-len(strikes))) > 1+0.1*float64(len(struck)) {
		wrong = append(wrong, fmt.Sprintf("%d onsets, were %d, of which %d are missing", len(strikes), len(struck), missed))
	}
	return wrong
}

// TestFingerprintTells: what an ear would notice is a difference, what only a
// processor's rounding makes is none.
func TestFingerprintTells(t *testing.T) {
	_, _, rec := performed(t, pieces[0].name)
	rec = rec.cut(4, 10)
	want := fingerprint(rec)
	change := func(f func(c, i int, v float32) float32) []byte {
		var other recording
		for c := range rec {
			for i, v := range rec[c] {
				other[c] = append(other[c], f(c, i, v))
			}
		}
		return fingerprint(other)
	}
	if wrong := differs(want, change(func(_, i int, v float32) float32 { return v * (1 + 1e-4*float32(i%3)) })); len(wrong) > 0 {
		t.Errorf("rounding makes a difference: %v", wrong[:min(len(wrong), 3)])
	}
	for what, f := range map[string]func(c, i int, v float32) float32{
		"2 dB softer":     func(_, _ int, v float32) float32 { return v * 0.79 },
		"sides exchanged": func(c, i int, _ float32) float32 { return rec[1-c][i] },
		"a second of silence": func(_, i int, v float32) float32 {
			return v * float32(min(1, max(0, i/soundRate-3)+max(0, 3-i/soundRate)))
		},
		"a tenth of a second on": func(c, i int, _ float32) float32 { return rec[c][max(0, i-soundRate/10)] },
		"dull":                   func(c, i int, v float32) float32 { return (v + rec[c][max(0, i-12)]) / 2 },
	} {
		if len(differs(want, change(f))) == 0 {
			t.Errorf("%s makes no difference", what)
		}
	}
}

// keep writes what was heard where the tests keep such things.
func keep(t *testing.T, name string, rec recording) {
	t.Helper()
	dir := filepath.Join(os.TempDir(), "k8s-synth-test")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Log(err)
		return
	}
	n := len(rec[0])
	head := []byte("RIFF....WAVEfmt ")
	put := func(v uint32, bytes int) {
		for range bytes {
			head = append(head, byte(v))
			v >>= 8
		}
	}
	put(16, 4)
	put(1, 2) // PCM
	put(2, 2)
	put(soundRate, 4)
	put(soundRate*4, 4)
	put(4, 2)
	put(16, 2)
	head = append(head, "data"...)
	put(uint32(4*n), 4)
	for i := range n {
		for c := range rec {
			put(uint32(uint16(int16(min(max(rec[c][i], -1), 1)*32767))), 2)
		}
	}
	size := uint32(len(head) - 8)
	copy(head[4:], []byte{byte(size), byte(size >> 8), byte(size >> 16), byte(size >> 24)})
	path := filepath.Join(dir, name+".wav")
	if err := os.WriteFile(path, head, 0o644); err != nil {
		t.Log(err)
		return
	}
	t.Logf("what was heard: %s", path)
}

// TestPiecesAreTheSameAgain: a scene, a script and a seed give the same sound,
// to the bit.
func TestPiecesAreTheSameAgain(t *testing.T) {
	for _, name := range []string{"ambient", "etcd", "service"} {
		all := func(*Scene) {}
		a, b := changed(t, name, 6, all), changed(t, name, 6, all)
		for c := range a {
			if !slices.Equal(a[c], b[c]) {
				t.Errorf("%s: channel %d is not the same again; the difference has %.1f dB", name, c+1, a.less(b).level())
			}
		}
	}
}
