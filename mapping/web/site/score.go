package site

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"slices"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// Score is what happens in a piece, over its time: which pods there are and
// how they are, what was done to them, and how loud it is.
type Score struct {
	// Seconds is its length.
	Seconds float64
	// Lanes are pods, one after the other where one has gone before the next
	// comes.
	Lanes [][]Span
	// Marks are what happened, in order.
	Marks []Mark
	// Low and High are the ends of the wave, by column, −1…1; empty is unknown.
	Low, High []float32
}

// Span is how a pod is for some time, in seconds.
type Span struct {
	From, To float64
	State    string // waiting, running, ready or failed
	Pod      string
}

// Mark is something that happened.
type Mark struct {
	At   float64
	Text string
	Hand bool // a knob was turned
}

func colour(signal string) string { return faceplate.SignalColour(signal) }

// score draws the score of a piece.
func score(p Piece, width int) template.HTML {
	s := p.Score
	if s == nil || s.Seconds <= 0 {
		return ""
	}
	f := &figure{}
	w := float64(width)
	narrow := w < 600
	left, right := 4.0, w-4
	x := func(t float64) float64 { return left + (right-left)*math.Min(t, s.Seconds)/s.Seconds }
	// Words that would lie over others go without; their tick stays.
	const rowHigh = 18.0
	rows, used := 3, 0
	if narrow {
		rows = 2
	}
	ends, row := make([]float64, rows), make([]int, len(s.Marks))
	for i, m := range s.Marks {
		row[i] = -1
		at := x(m.At)
		for r := range ends {
			if wide := 7 * float64(len([]rune(m.Text))); at >= ends[r] && at+wide < right {
				ends[r], row[i], used = at+wide+14, r, max(used, r+1)
				break
			}
		}
	}
	lane := 9.0
	if len(s.Lanes) > 10 {
		lane = 6
	}
	top := float64(used)*rowHigh + 8
	bottom := top + lane*float64(len(s.Lanes))
	if len(s.Lanes) > 0 {
		bottom += 10
	}
	waveHigh := 0.0
	if len(s.High) > 0 || p.Sound != "" {
		waveHigh = 84
	}
	for i, m := range s.Marks {
		class, at := "happened", x(m.At)
		if m.Hand {
			class = "happened hand"
		}
		if row[i] < 0 {
			f.line(class+" tick", at, top-6, at, bottom+waveHigh)
			continue
		}
		f.line(class, at, float64(row[i])*rowHigh+2, at, bottom+waveHigh)
		f.text(at+4, float64(row[i])*rowHigh+14, "small "+class, m.Text)
	}
	for i, spans := range s.Lanes {
		y := top + lane*float64(i)
		for _, sp := range spans {
			if sp.From >= s.Seconds {
				continue
			}
			f.put(`<rect class="pod %s" x="%s" y="%s" width="%s" height="%s"><title>%s, %s</title></rect>`, sp.State, num(x(sp.From)), num(y), num(math.Max(x(sp.To)-x(sp.From)-0.5, 1)), num(lane-2), html.EscapeString(sp.Pod), sp.State)
		}
	}
	if waveHigh > 0 && len(s.High) == 0 {
		// It will be there when somebody has asked for it.
		f.line("wave-none", left, bottom+waveHigh/2, right, bottom+waveHigh/2)
	}
	if len(s.High) > 0 {
		mid := bottom + waveHigh/2
		peak := float32(1e-3)
		for i := range s.High {
			peak = max(peak, s.High[i], -s.Low[i])
		}
		scale := (waveHigh/2 - 3) / float64(peak)
		n := len(s.High)
		every := max(1, int(float64(n)/(w/1.5)))
		var d, back []string
		for i := 0; i < n; i += every {
			hi := slices.Max(s.High[i:min(i+every, n)])
			lo := slices.Min(s.Low[i:min(i+every, n)])
			at := num(left + (right-left)*float64(i)/float64(n))
			d = append(d, at+" "+num(mid-float64(hi)*scale-0.3))
			back = append(back, at+" "+num(mid-float64(lo)*scale+0.3))
		}
		slices.Reverse(back)
		f.path("wave", "M"+strings.Join(d, "L")+"L"+strings.Join(back, "L")+"Z")
	}
	end := bottom + waveHigh + 4
	f.line("axis", left, end, right, end)
	step := 5.0
	if s.Seconds > 45 || narrow {
		step = 10
	}
	for t := 0.0; t <= s.Seconds; t += step {
		class := "num mid"
		switch {
		case t == 0:
			class = "num"
		case t > s.Seconds-step/3:
			class = "num to-end"
		}
		f.line("axis", x(t), end, x(t), end+4)
		f.text(x(t), end+18, class, fmt.Sprintf("%g s", t))
	}
	if p.Sound != "" {
		// A script moves it as the sound plays.
		f.put(`<path class="playhead" d="M0 2V%s" data-from="%s" data-to="%s" data-seconds="%s"/>`, num(end), num(left), num(right), num(s.Seconds))
	}
	return f.done(w, end+22, fmt.Sprintf("%s over %g seconds: %s", p.Title, s.Seconds, p.ScriptAbout))
}
