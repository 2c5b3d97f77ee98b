package main

import (
	"cmp"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"
	"math/cmplx"

	"golang.org/x/image/font"
	"golang.org/x/image/font/basicfont"
	"golang.org/x/image/math/fixed"

	"github.com/k8s-synth/k8s-synth/dsp/measure"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/mapping"
	"github.com/k8s-synth/k8s-synth/scenes"
)

// Measures of a picture, in pixels and the units of what is drawn.
const (
	pictureWidth  = 1500 // columns of sound
	pictureLeft   = 56
	pictureWords  = 5 // rows of words for what happened
	pictureRow    = 14
	pictureWave   = 90
	pictureBand   = 420 // height of the spectrogram
	pictureBottom = 22
	pictureLow    = 30.0 // Hz
	pictureHigh   = 20000.0
	pictureFloor  = -100.0 // dBFS of a bin, black
	pictureTop    = -20.0  // white
	pictureWindow = 8192   // frames of a spectrum
)

// picture draws a rendered sound while it is rendered: what happened, the
// level, and the spectrum, over one axis of time.
type picture struct {
	rate    float64
	frames  int64
	at      int64
	fft     *measure.FFT
	window  []float64
	ring    []float32
	low     []float32 // by column, in volts
	high    []float32
	columns [][]float64 // power by pixel row from the bottom, nil where there is none
	looks   int         // spectra that one column may be the mean of
	x       []complex128
	marks   []mark
}

// mark is something that happened.
type mark struct {
	seconds float64
	word    string
	color   color.RGBA
}

func newPicture(rate float64, frames int64) (*picture, error) {
	f, err := measure.NewFFT(pictureWindow)
	if err != nil {
		return nil, err
	}
	p := &picture{rate: rate, frames: frames, fft: f, ring: make([]float32, pictureWindow), window: make([]float64, pictureWindow),
		low: make([]float32, pictureWidth), high: make([]float32, pictureWidth), columns: make([][]float64, pictureWidth), x: make([]complex128, pictureWindow)}
	for i := range p.window {
		p.window[i] = measure.Hann.At(i, pictureWindow)
	}
	p.looks = min(max(int(frames/pictureWidth/(pictureWindow/4)), 1), 4)
	return p, nil
}

// column is the one in which a frame is.
func (p *picture) column(frame int64) int {
	return int(min(frame*pictureWidth/max(p.frames, 1), pictureWidth-1))
}

// add takes the next block, a slice of volts a channel.
func (p *picture) add(block [][]float32) {
	for i := range block[0] {
		mono := float32(0)
		for _, ch := range block {
			mono += ch[i] / float32(len(block))
		}
		c := p.column(p.at)
		p.low[c], p.high[c] = min(p.low[c], mono), max(p.high[c], mono)
		p.ring[p.at%pictureWindow] = mono
		p.at++
		// The spectra of a column end at even places within it, half a window
		// late, so that each is of what is around it.
		width := max(p.frames/pictureWidth, 1)
		if ahead := p.at - pictureWindow/2; ahead >= 0 && ahead%max(width/int64(p.looks), 1) == 0 {
			p.look(p.column(ahead))
		}
	}
}

// look adds the spectrum of the last window to a column.
func (p *picture) look(c int) {
	for i := range p.x {
		p.x[i] = complex(float64(p.ring[(p.at+int64(i))%pictureWindow])/instrument.AudioVolts*p.window[i], 0)
	}
	p.fft.Transform(p.x)
	if p.columns[c] == nil {
		p.columns[c] = make([]float64, pictureBand)
	}
	for row := range p.columns[c] {
		from := pictureLow * math.Pow(pictureHigh/pictureLow, float64(row)/pictureBand)
		to := pictureLow * math.Pow(pictureHigh/pictureLow, float64(row+1)/pictureBand)
		a := max(1, int(from/p.rate*pictureWindow+0.5))
		b := min(max(a+1, int(to/p.rate*pictureWindow+0.5)), pictureWindow/2)
		best := 0.0
		for k := a; k < b; k++ {
			// Amplitude 1 gives a quarter of the length through a Hann window.
			v := cmplx.Abs(p.x[k]) * 4 / pictureWindow
			best = max(best, v*v)
		}
		p.columns[c][row] = max(p.columns[c][row], best)
	}
}

// happened notes what a script says, if it is worth a word.
func (p *picture) happened(s scenes.Step) {
	m := mark{seconds: s.At.Seconds(), color: color.RGBA{0x9f, 0xd3, 0xff, 0xff}}
	if t := s.Transition; t != nil {
		if t.Quiet {
			return
		}
		switch t.Field {
		case mapping.FieldReason, mapping.FieldPhase:
			if t.New == "" || t.New == "Running" {
				return
			}
			m.word, m.color = t.New, color.RGBA{0xff, 0x9d, 0x7a, 0xff}
		case mapping.FieldReady, mapping.FieldCordoned:
			if m.word = t.Field; t.New != "true" {
				m.word = "not " + t.Field
			}
		case mapping.FieldReplicas, mapping.FieldReachable, mapping.FieldSynced:
			m.word = t.Field + " " + t.New
		default:
			return
		}
		if t.Object.Name != "" {
			m.word = t.Object.Name + " " + m.word
		}
	} else if s.Param != nil {
		m.word, m.color = fmt.Sprintf("%s %s", s.Param.Address, stands(s.Param)), color.RGBA{0xff, 0xe0, 0x7a, 0xff}
	}
	p.marks = append(p.marks, m)
}

// stands is where a hand turned a param to.
func stands(c *scenes.ParamChange) string { return cmp.Or(c.Word, fmt.Sprintf("%g", c.Value)) }

// heat is the colour of a level between 0 and 1: black, blue, red, yellow, white.
func heat(v float64) color.RGBA {
	stops := [...][3]float64{{4, 5, 18}, {32, 24, 110}, {150, 30, 110}, {240, 100, 50}, {252, 210, 90}, {255, 255, 240}}
	v = min(max(v, 0), 1) * float64(len(stops)-1)
	i := min(int(v), len(stops)-2)
	f := v - float64(i)
	at := func(k int) uint8 { return uint8(stops[i][k] + f*(stops[i+1][k]-stops[i][k])) }
	return color.RGBA{at(0), at(1), at(2), 255}
}

// draw makes the image of what was added so far.
func (p *picture) draw() *image.RGBA {
	words, wave := pictureWords*pictureRow+6, pictureWave
	img := image.NewRGBA(image.Rect(0, 0, pictureLeft+pictureWidth+12, words+wave+pictureBand+pictureBottom))
	draw.Draw(img, img.Bounds(), image.NewUniform(color.RGBA{16, 18, 24, 255}), image.Point{}, draw.Src)
	grey := color.RGBA{0x8a, 0x90, 0x9c, 255}
	write := func(x, y int, s string, c color.Color) int {
		d := font.Drawer{Dst: img, Src: image.NewUniform(c), Face: basicfont.Face7x13, Dot: fixed.P(x, y)}
		d.DrawString(s)
		return d.Dot.X.Round()
	}
	column := func(x, from, to int, c color.Color) {
		for y := from; y < to; y++ {
			img.Set(x, y, c)
		}
	}
	middle := words + wave/2
	peak := float32(1e-3)
	for c := range pictureWidth {
		peak = max(peak, p.high[c], -p.low[c])
	}
	for c := range pictureWidth {
		x := pictureLeft + c
		scale := float64(wave/2-2) / float64(peak)
		column(x, middle-int(float64(p.high[c])*scale), middle-int(float64(p.low[c])*scale)+1, color.RGBA{0x6c, 0xc7, 0x8c, 255})
		spectrum := p.columns[c]
		for k := c; spectrum == nil && k > 0; k-- {
			spectrum = p.columns[k-1]
		}
		for row, v := range spectrum {
			level := (10*math.Log10(v+1e-20) - pictureFloor) / (pictureTop - pictureFloor)
			img.Set(x, words+wave+pictureBand-1-row, heat(level))
		}
	}
	for _, hz := range []float64{50, 100, 200, 500, 1000, 2000, 5000, 10000} {
		y := words + wave + pictureBand - 1 - int(pictureBand*math.Log(hz/pictureLow)/math.Log(pictureHigh/pictureLow))
		word := fmt.Sprintf("%g Hz", hz)
		if hz >= 1000 {
			word = fmt.Sprintf("%g kHz", hz/1000)
		}
		write(2, y+4, word, grey)
		for x := pictureLeft; x < pictureLeft+pictureWidth; x += 8 {
			img.Set(x, y, color.RGBA{255, 255, 255, 40})
		}
	}
	write(2, middle-4, "peak", grey)
	write(2, middle+9, fmt.Sprintf("%.0f dB", 20*math.Log10(float64(peak/instrument.AudioVolts))), grey)
	seconds := float64(p.frames) / p.rate
	step := 0.1
	for _, s := range []float64{0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 3600} {
		if seconds/step > 20 {
			step = s
		}
	}
	for s := 0.0; s <= seconds; s += step {
		x := pictureLeft + int(s/seconds*pictureWidth)
		write(x, words+wave+pictureBand+15, fmt.Sprintf("%g s", math.Round(s*10)/10), grey)
		column(x, words+wave+pictureBand, words+wave+pictureBand+4, grey)
	}
	// Words that would lie over another go without; their tick stays.
	var ends [pictureWords]int
	for _, m := range p.marks {
		x := pictureLeft + int(m.seconds/seconds*pictureWidth)
		if x >= pictureLeft+pictureWidth {
			continue
		}
		column(x, words-5, words, m.color)
		for row := range ends {
			if x >= ends[row] {
				ends[row] = write(x, (row+1)*pictureRow-2, m.word, m.color) + 8
				column(x, (row+1)*pictureRow, words-5, color.RGBA{m.color.R / 3, m.color.G / 3, m.color.B / 3, 255})
				break
			}
		}
	}
	return img
}

// save writes the picture as PNG, whole or not at all.
func (p *picture) save(path string) error {
	return writeWhole(path, func(w io.Writer) error { return png.Encode(w, p.draw()) })
}
