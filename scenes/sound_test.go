package scenes

import (
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/mapping"
)

// play renders a script through a scene, as an offline render does, and
// returns left and right at full scale 1.
func play(t *testing.T, sc *Scene, script *Script, rate float64) (left, right []float32) {
	t.Helper()
	rack := mapping.NewRack(mapping.Config{SampleRate: rate, Channels: 2, Seed: sc.Seed, Storm: sc.Storm, Embedded: true, Namespace: sc.Namespace, Scene: sc.Name})
	if err := rack.Load(sc.Patch); err != nil {
		t.Fatal(err)
	}
	rack.Fade(true)
	const block = 480
	out := [][]float32{make([]float32, block), make([]float32, block)}
	steps := script.Steps
	total := int64((script.Length() + time.Second).Seconds() * rate)
	for frame := int64(0); frame < total; frame += block {
		for len(steps) > 0 && float64(frame+block) > steps[0].At.Seconds()*rate {
			s := steps[0]
			steps = steps[1:]
			due := int64((s.At.Seconds() + sc.Latency) * rate)
			if s.Param != nil {
				if err := rack.Set(s.Param.Address, s.Param.Value, s.Param.Word, "script", due); err != nil {
					t.Fatal(err)
				}
				continue
			}
			rack.Apply(*s.Transition, due)
		}
		rack.Pump(frame)
		rack.Engine.Render(out, nil)
		for i := range block {
			left, right = append(left, out[0][i]/5), append(right, out[1][i]/5)
		}
	}
	return left, right
}

// The default scene plays its demonstration: sound is where the script has it,
// the way out stays under its ceiling, and the whole is as loud as it should
// be.
func TestDefaultScenePlaysTheDemo(t *testing.T) {
	sc, err := (&Store{}).Open("default")
	if err != nil {
		t.Fatal(err)
	}
	script, err := (&Store{}).OpenScript("demo")
	if err != nil {
		t.Fatal(err)
	}
	const rate = 48000
	left, right := play(t, sc, script, rate)
	cut := func(x []float32, from, to float64) []float32 { return x[int(from*rate):int(to*rate)] }
	level := func(from, to float64) float64 {
		return measure.Decibels(measure.RMS(cut(left, from, to)) + 1e-9)
	}
	boot, chord := level(1, 4), level(7.5, 9)
	peak := max(measure.TruePeak(left), measure.TruePeak(right))
	t.Logf("boot %.1f dB, chord of four %.1f dB, true peak %.2f dBTP", boot, chord, peak)
	if chord < boot+6 || boot < -60 {
		t.Errorf("the chord has %.1f dB, the boot before it %.1f dB", chord, boot)
	}
	if peak > -1 {
		t.Errorf("true peak %.2f dBTP", peak)
	}
	more, six, gone, rest := level(12.1, 14), level(16, 20), level(44, 47), level(56, 60)
	loud := measure.MeasureLoudness(rate, cut(left, 8, 60), cut(right, 8, 60))
	t.Logf("asked for more %.1f dB, six %.1f dB, API gone %.1f dB, rest %.1f dB, integrated %.1f LUFS", more, six, gone, rest, loud.Integrated)
	if gone < -60 {
		t.Errorf("the sound stopped with the API: %.1f dB", gone)
	}
	if loud.Integrated < -20 || loud.Integrated > -16 {
		t.Errorf("%.1f LUFS integrated, expected -18 ± 2", loud.Integrated)
	}
}
