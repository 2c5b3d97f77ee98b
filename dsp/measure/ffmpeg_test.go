package measure_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os/exec"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// wave is a stereo WAV file of 32-bit floats.
func wave(left, right []float32) []byte {
	var b bytes.Buffer
	size := uint32(len(left) * 8)
	b.WriteString("RIFF")
	for _, v := range []any{
		36 + size, []byte("WAVEfmt "), uint32(16), uint16(3), uint16(2), uint32(rate), uint32(rate * 8), uint16(8), uint16(32),
		[]byte("data"), size,
	} {
		binary.Write(&b, binary.LittleEndian, v)
	}
	for i := range left {
		binary.Write(&b, binary.LittleEndian, [2]float32{left[i], right[i]})
	}
	return b.Bytes()
}

// TestAgainstFFmpeg compares loudness and true peak with ffmpeg's ebur128, an
// independent implementation.
func TestAgainstFFmpeg(t *testing.T) {
	program, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed; loudness is not compared with it")
	}
	chirp := make([]float32, 8*rate)
	for i := range chirp {
		s := float64(i) / rate
		chirp[i] = float32(0.4 * min(1, s*20, (8-s)*20) * math.Sin(2*math.Pi*40*8/math.Log(450)*(math.Pow(450, s/8)-1)))
	}
	dynamic := noise(12, 0.2)
	for i := range dynamic {
		s := float64(i) / rate
		dynamic[i] *= float32(math.Pow(10, -1.5-1.5*math.Cos(2*math.Pi*s/5)))
	}
	quarter := make([]float32, 4*rate)
	for i := range quarter {
		s := float64(i) / rate
		quarter[i] = float32(0.5 * min(1, s*20, (4-s)*20) * math.Sin(math.Pi/2*float64(i)+math.Pi/4))
	}
	for _, c := range []struct {
		name        string
		left, right []float32
	}{
		{"tones", sum(6, measure.Partial{Hertz: 100, Amplitude: 0.2}, measure.Partial{Hertz: 997, Amplitude: 0.1}), sum(6, measure.Partial{Hertz: 5000, Amplitude: 0.1})},
		{"noise", noise(6, 0.1), noise(6, 0.05)},
		{"sweep", chirp, chirp},
		{"swelling noise", dynamic, dynamic},
		{"quarter rate", quarter, make([]float32, len(quarter))},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		cmd := exec.CommandContext(ctx, program, "-hide_banner", "-nostats", "-i", "pipe:0", "-af", "ebur128=peak=true:framelog=verbose", "-f", "null", "-")
		cmd.Stdin = bytes.NewReader(wave(c.left, c.right))
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", c.name, err, out)
		}
		find := func(pattern string) float64 {
			all := regexp.MustCompile(pattern).FindAllSubmatch(out, -1)
			if len(all) == 0 {
				t.Fatalf("%s: no %s in\n%s", c.name, pattern, out)
			}
			v, err := strconv.ParseFloat(string(all[len(all)-1][1]), 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
		loud, peak := find(`I:\s+(-?[\d.]+) LUFS`), find(`Peak:\s+(-?[\d.]+) dBFS`)
		got := measure.MeasureLoudness(rate, c.left, c.right).Integrated
		gotPeak := max(measure.TruePeak(c.left), measure.TruePeak(c.right))
		t.Logf("%-14s %.2f LUFS (ffmpeg %.1f), %.2f dBTP (ffmpeg %.1f)", c.name, got, loud, gotPeak, peak)
		near(t, c.name+" loudness", got, loud, 0.1)
		near(t, c.name+" true peak", gotPeak, peak, 0.2)
	}
}
