package main

import (
	"image/png"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// TestPicture draws a tone that jumps from 200 Hz to 5 kHz in the middle, and
// looks for it in the image.
func TestPicture(t *testing.T) {
	const rate, seconds = 48000, 4
	p, err := newPicture(rate, rate*seconds)
	if err != nil {
		t.Fatal(err)
	}
	p.happened(scenes.Step{At: 2 * time.Second, Transition: &mapping.Transition{
		Object: mapping.Object{Kind: mapping.KindPod, Name: "web-1"}, Field: mapping.FieldReason, New: "OOMKilled"}})
	phase := 0.0
	for at := 0; at < rate*seconds; at += 64 {
		block := [][]float32{make([]float32, 64), make([]float32, 64)}
		for i := range 64 {
			hz := 200.0
			if at+i >= rate*seconds/2 {
				hz = 5000
			}
			phase += 2 * math.Pi * hz / rate
			block[0][i] = float32(2 * math.Sin(phase))
			block[1][i] = block[0][i]
		}
		p.add(block)
	}
	file := filepath.Join(t.TempDir(), "p.png")
	if err := p.save(file); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	img, err := png.Decode(f)
	if err != nil {
		t.Fatal(err)
	}
	bottom := img.Bounds().Dy() - pictureBottom
	for _, c := range []struct {
		column int
		hertz  float64
	}{{pictureWidth / 4, 200}, {pictureWidth * 3 / 4, 5000}} {
		brightest, at := uint32(0), 0
		for row := range pictureBand {
			r, g, b, _ := img.At(pictureLeft+c.column, bottom-1-row).RGBA()
			if r+g+b > brightest {
				brightest, at = r+g+b, row
			}
		}
		if hz := pictureLow * math.Pow(pictureHigh/pictureLow, (float64(at)+0.5)/pictureBand); math.Abs(math.Log2(hz/c.hertz)) > 0.05 {
			t.Errorf("column %d is brightest at %.0f Hz, want %.0f", c.column, hz, c.hertz)
		}
	}
	mark := rgb(img.At(pictureLeft+pictureWidth/2, pictureWords*pictureRow+6-3).RGBA())
	if mark != [3]uint32{0xff, 0x9d, 0x7a} {
		t.Errorf("no mark where the pod ran out of memory: %x", mark)
	}
}

func rgb(r, g, b, _ uint32) [3]uint32 { return [3]uint32{r >> 8, g >> 8, b >> 8} }
