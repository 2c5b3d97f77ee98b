package instrument

import (
	"bytes"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// To take over a change of sound that was meant: go test ./instrument -run Golden -update
var update = flag.Bool("update", false, "write the golden files anew")

// A golden file holds, for each output of a module in the order of its spec,
// what can be compared with tolerance: the level each 10 ms, and of audio
// outputs also the level in each third of an octave and a stretch of samples.
const (
	goldenSteps = 100 // levels, one each 10 ms
	goldenBands = 27  // thirds of an octave from 31.25 Hz
	goldenWave  = 240 // samples from half a second on
)

// golden describes one output's recording.
func golden(rec [MaxPoly][]float32, kind SignalKind) (levels, bands, wave []float32) {
	n := testRate / goldenSteps
	for k := range goldenSteps {
		var s float64
		for _, b := range rec {
			if len(b) >= (k+1)*n {
				r := rmsOf(b[k*n : (k+1)*n])
				s += r * r
			}
		}
		levels = append(levels, float32(math.Sqrt(s)))
	}
	if kind != Audio {
		return levels, nil, nil
	}
	sp := measure.NewSpectrum(rec[0], testRate, measure.Hann)
	for k := range goldenBands {
		f := 31.25 * math.Pow(2, float64(k)/3)
		bands = append(bands, float32(10*math.Log10(sp.Power(f/math.Pow(2, 1.0/6), f*math.Pow(2, 1.0/6))+1e-10)))
	}
	return levels, bands, rec[0][testRate/2 : testRate/2+goldenWave]
}

// goldenDiffers tells whether a figure is off: levels within 1 % and 1 mV, bands within half a decibel,
// samples within 2 mV and 0.2 %: what another processor's rounding makes.
func goldenDiffers(part string, want, got float64) bool {
	switch part {
	case "level":
		return math.Abs(got-want) > 0.001+0.01*want
	case "band":
		return math.Abs(got-want) > 0.5 && (want > -80 || got > -80)
	}
	return math.Abs(got-want) > 0.002+0.002*math.Abs(want)
}

// TestGolden renders one patch a module for a second.
func TestGolden(t *testing.T) {
	for _, s := range registered {
		t.Run(s.Kind, func(t *testing.T) {
			r := bench(t, s)
			r.settle()
			r.play(s)
			for _, ev := range r.score(s, r.e.frame, testRate) {
				r.send(ev)
			}
			r.seconds(1)
			var all []float32
			var names []string
			keep := func(name string, rec [MaxPoly][]float32, kind SignalKind) {
				levels, bands, wave := golden(rec, kind)
				for i, v := range levels {
					all, names = append(all, v), append(names, fmt.Sprintf("level|%s, %d ms", name, 10*i))
				}
				for i, v := range bands {
					all, names = append(all, v), append(names, fmt.Sprintf("band|%s, %.0f Hz", name, 31.25*math.Pow(2, float64(i)/3)))
				}
				for i, v := range wave {
					all, names = append(all, v), append(names, fmt.Sprintf("wave|%s, sample %d", name, testRate/2+i))
				}
			}
			var wav [][]float32
			for i, o := range s.Outputs {
				id := ModuleID(fmt.Sprintf("test_probe/p%d", i))
				if r.c.nodes[id] == nil {
					continue
				}
				rec := r.probe(id).rec
				keep(o.Name, rec, o.Kind)
				if o.Kind == Audio {
					wav = append(wav, rec[0])
				}
			}
			for c, b := range r.out {
				if peakOf(b) > 0 {
					keep(fmt.Sprintf("device channel %d", c+1), [MaxPoly][]float32{b}, Audio)
					wav = append(wav, b)
				}
			}
			path := filepath.Join("testdata", "golden", s.Kind+".f32")
			if *update {
				var b bytes.Buffer
				if err := binary.Write(&b, binary.LittleEndian, all); err != nil {
					t.Fatal(err)
				}
				if b.Len() > 30<<10 {
					t.Errorf("%s would have %d bytes; keep it under 30 kB", path, b.Len())
				}
				if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			file, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("%s is missing; write it with: go test ./instrument -run Golden -update", path)
			}
			if err != nil {
				t.Fatal(err)
			}
			want := make([]float32, len(file)/4)
			if err := binary.Read(bytes.NewReader(file), binary.LittleEndian, want); err != nil {
				t.Fatal(err)
			}
			if len(want) != len(all) {
				t.Fatalf("%s describes other outputs (%d figures, now %d); if that was meant, run: go test ./instrument -run Golden -update", path, len(want), len(all))
			}
			wrong := 0
			for i := range all {
				part, what, _ := bytes.Cut([]byte(names[i]), []byte("|"))
				if goldenDiffers(string(part), float64(want[i]), float64(all[i])) {
					if wrong++; wrong <= 8 {
						t.Errorf("%s of %s is %.4f, was %.4f", part, what, all[i], want[i])
					}
				}
			}
			if wrong > 0 {
				t.Errorf("%d of %d figures differ; listen, and if it was meant run: go test ./instrument -run Golden -update", wrong, len(all))
				if len(wav) > 0 {
					keepWAV(t, "golden-"+s.Kind, wav...)
				}
			}
		})
	}
}

// BenchmarkRack is the whole: a rack like the default scene's, with six pods
// that sound, in times real time.
func BenchmarkRack(b *testing.B) {
	r := newRig(b).add("deployment/web", nil).add("etcd/store", nil).add("apiserver/api", nil).add("clock/c", nil).add("voice/chord", nil).add("voice/boot", nil)
	r.add("noise/air", nil).add("vca/air", nil).add("reverb/room", nil).add("mixer/m", nil).add("audio_out/main", nil)
	for from, to := range map[string]string{
		"running": "gate", "ready": "open", "pending": "breath", "event": "strike", "kind": "kind", "error": "tension", "node": "pan",
	} {
		r.cable("deployment/web/"+from, "voice/chord/"+to)
	}
	r.cable("apiserver/api/event", "voice/boot/strike").cable("voice/chord/left", "mixer/m/left_1").cable("voice/chord/right", "mixer/m/right_1")
	r.cable("voice/boot/left", "mixer/m/left_2").cable("voice/boot/right", "mixer/m/right_2").cable("etcd/store/audio", "mixer/m/left_3")
	r.cable("noise/air/pink", "vca/air/in").cable("apiserver/api/density", "vca/air/cv").cable("vca/air/out", "mixer/m/left_4")
	r.cable("mixer/m/send_left", "reverb/room/in_left").cable("mixer/m/send_right", "reverb/room/in_right").cable("apiserver/api/sync", "reverb/room/open")
	r.cable("reverb/room/left", "mixer/m/return_left").cable("reverb/room/right", "mixer/m/return_right")
	r.cable("mixer/m/left", "audio_out/main/left").cable("mixer/m/right", "audio_out/main/right").adopt()
	r.send(Event{Kind: EventFadeIn})
	r.level("apiserver/api", "sync", 0, 10)
	for c := range 6 {
		r.level("deployment/web", "running", c, 10)
		r.level("deployment/web", "ready", c, 10)
	}
	r.param("mixer/m", "send_1", -12)
	r.seconds(0.5)
	if peakOf(r.out[0]) < 0.1 {
		b.Fatal("the rack is silent")
	}
	out := [][]float32{make([]float32, BlockSize), make([]float32, BlockSize)}
	for b.Loop() {
		r.e.Render(out, nil)
	}
	ns := float64(b.Elapsed().Nanoseconds()) / float64(b.N) / BlockSize
	b.ReportMetric(ns, "ns/frame")
	b.ReportMetric(1e9/testRate/ns, "x-realtime")
}
