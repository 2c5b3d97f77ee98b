package layout

import (
	"math"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// macros are the knobs beside those of the Deployments that a hand wants first,
// in that order.
var macros = [][2]string{
	{"clock", "tempo"}, {"audio_out", "level"}, {"vcf", "cutoff"}, {"reverb", "decay"}, {"delay", "feedback"}, {"hpa", "target"},
	{"etcd", "tick_pitch"}, {"voice", "bright"}, {"node", "capacity"}, {"lfo", "rate"}, {"chorus", "mix"}, {"voice", "attack"},
}

// pairs are two knobs of one module that one finger plays together, the most
// rewarding first.
var pairs = [][3]string{
	{"vcf", "cutoff", "resonance"}, {"delay", "feedback", "mix"}, {"voice", "bright", "attack"}, {"chorus", "rate", "depth"},
	{"reverb", "decay", "mix"}, {"lfo", "rate", "shape"}, {"euclid", "pulses", "rotate"}, {"etcd", "tick_pitch", "tick_decay"},
}

// first returns the first module of a kind with a param, or nil.
func (b *builder) first(kind, param string) (*instrument.Module, *instrument.ParamSpec) {
	spec := instrument.Spec(kind)
	if spec == nil || spec.Param(param) < 0 {
		return nil, nil
	}
	for i := range b.patch.Modules {
		if m := &b.patch.Modules[i]; m.ID.Kind() == kind {
			return m, &spec.Params[spec.Param(param)]
		}
	}
	return nil, nil
}

// strip is one fader of the page play.
type strip struct {
	module *instrument.Module
	param  *instrument.ParamSpec
}

// strips are the faders of the page play, at most n.
func (b *builder) strips(n int) (all []strip) {
	add := func(m *instrument.Module, p *instrument.ParamSpec) {
		if m != nil && len(all) < n {
			all = append(all, strip{m, p})
		}
	}
	spec := instrument.Spec("deployment")
	for i := range b.patch.Modules {
		if m := &b.patch.Modules[i]; spec != nil && m.ID.Kind() == spec.Kind {
			add(m, &spec.Params[spec.Param("replicas")])
			add(m, &spec.Params[spec.Param("cpu")])
		}
	}
	deployments := len(all)
	for _, k := range macros {
		if len(all) < max(deployments+2, 8) {
			add(b.first(k[0], k[1]))
		}
	}
	return all
}

// play is the page that a hand begins on.
func (b *builder) play() {
	s := b.newPage("play", "play", lit)
	f := b.area.Inset(b.margin)
	left, right := f, f
	if f.W >= f.H {
		left.W = math.Floor((f.W - b.margin) * 0.56)
		right.X, right.W = f.X+left.W+b.margin, f.W-left.W-b.margin
	} else {
		left.H = math.Floor((f.H - b.margin) * 0.46)
		right.Y, right.H = f.Y+left.H+b.margin, f.H-left.H-b.margin
	}
	strips := b.strips(max(1, int((left.W+b.gap)/(touch+14+b.gap))))
	if len(strips) == 0 {
		right = f
	} else {
		for i, cell := range split(left, len(strips), 1, b.gap) {
			s.strip(strips[i], cell)
		}
	}
	s.status(&right)
	s.transport(&right)
	s.pad(right)
}

// strip draws a tall fader, under what it is of and over what it says.
func (s *sheet) strip(st strip, f Frame) {
	color := kindColor(st.module.ID.Kind())
	bind := bound(st.module, st.param)
	at := string(st.module.ID) + "/" + st.param.Name
	s.add(Widget{Kind: Box, Name: at + " panel", Frame: f, Color: panel})
	s.add(Widget{Kind: Box, Name: at + " edge", Frame: Frame{f.X, f.Y, f.W, 3}, Color: color})
	size := math.Floor(min(18, max(s.measures.caption+1, f.W*0.22)))
	line := math.Ceil(lineHeight*size) + 2
	name, ns := fit(st.module.ID.Name(), f.W-4, line, size)
	s.add(Widget{Kind: Label, Name: at + " module", Frame: Frame{f.X + 2, f.Y + 5, f.W - 4, line}, Text: name, Size: ns, TextColor: color})
	param, ps := fit(spaced(st.param.Name), f.W-4, line, size-1)
	s.add(Widget{Kind: Label, Name: at + " name", Frame: Frame{f.X + 2, f.Y + 5 + line, f.W - 4, line}, Text: param, Size: ps, TextColor: quiet})
	top, vs := f.Y+7+2*line, min(22, max(s.value+1, f.W*0.2))
	vh := math.Ceil(lineHeight*vs) + 4
	wide := math.Floor(min(f.W-8, 96))
	s.add(Widget{Kind: Fader, Name: at, Frame: Frame{math.Floor(f.X + (f.W-wide)/2), top, wide, f.Y + f.H - vh - top}, Color: color,
		Bind: []Binding{bind}, Shows: []string{at + " value"}})
	s.readout(at+" value", bind, Frame{f.X + 2, f.Y + f.H - vh, f.W - 4, vh}, vs)
}

// status draws what the instrument says of itself at the top of a frame, and
// takes that from it.
func (s *sheet) status(f *Frame) {
	size := s.value
	h := math.Ceil(lineHeight*size) + 6
	reading := func(name, title, address, now string, f Frame, color Color) {
		nw := math.Ceil(textWidth(title, s.measures.caption)) + 10
		text, cs := fit(title, nw-8, f.H, s.measures.caption)
		s.add(Widget{Kind: Label, Name: name + " name", Frame: Frame{f.X, f.Y, nw, f.H}, Text: text, Size: cs, TextColor: quiet, Align: Left})
		said, rs := fit(now, f.W-nw-6, f.H, size)
		s.add(Widget{Kind: Reading, Name: name, Frame: Frame{f.X + nw, f.Y, f.W - nw, f.H}, Text: said, Size: rs, TextColor: color, Color: well, Align: Left,
			Bind: []Binding{says(address, now)}})
	}
	half := math.Floor((f.W - s.gap) / 2)
	reading("scene", "scene", "/scene/load", s.layout.Name, Frame{f.X, f.Y, half, h}, ink)
	reading("learn", "learn", "/learn", "", Frame{f.X + half + s.gap, f.Y, f.W - half - s.gap, h}, lit)
	reading("error", "error", "/error", "", Frame{f.X, f.Y + h + s.gap, f.W, h}, alarm)
	used := 2*h + 2*s.gap
	f.Y += used
	f.H -= used
}

// transport draws the buttons at the bottom of a frame, and takes them from
// it.
func (s *sheet) transport(f *Frame) {
	one := math.Floor(min(64, max(touch, f.H*0.1)))
	two := math.Floor(min(88, max(touch+4, f.H*0.13)))
	used := one + two + 2*s.gap
	y := f.Y + f.H - used + s.gap
	row := []Widget{
		{Name: "scene before", Text: "scene <", Color: neutral, Bind: []Binding{command("/scene/previous")}},
		{Name: "scene after", Text: "scene >", Color: neutral, Bind: []Binding{command("/scene/next")}},
		{Name: "undo", Text: "undo", Color: neutral, Bind: []Binding{command("/undo")}},
		{Name: "redo", Text: "redo", Color: neutral, Bind: []Binding{command("/redo")}},
	}
	for i, cell := range split(Frame{f.X, y, f.W, one}, 4, 1, s.gap) {
		w := row[i]
		w.Kind, w.Frame, w.TextColor = Button, cell, ink
		w.Text, w.Size = fit(w.Text, cell.W-8, cell.H, 18)
		s.add(w)
	}
	// Panic has half of the row; arm is between it and what ends it.
	row2 := Frame{f.X, y + one + s.gap, f.W, two}
	cells := split(row2, 2, 1, s.gap)
	if half := split(cells[0], 2, 1, s.gap); half[0].W >= touch {
		cells = append(half, cells[1])
	} else {
		cells = split(row2, 3, 1, s.gap)
	}
	s.resume(cells[0], 24, s.add)
	for i, w := range []Widget{
		{Name: "arm", Text: "ARM", Color: warning, Arms: true, Bind: []Binding{command("/arm")}},
		{Name: "panic", Text: "PANIC", Color: alarm, Bind: []Binding{command("/panic")}},
	} {
		w.Kind, w.Frame, w.TextColor = Button, cells[1+i], ink
		w.Text, w.Size = fit(w.Text, w.Frame.W-4, w.Frame.H, 24)
		s.add(w)
	}
	f.H -= used
}

// pad draws a pad for two knobs, with what they are and say over it.
func (s *sheet) pad(f Frame) {
	across, up := s.pair()
	if across.module == nil || f.H < 90 || f.W < 90 {
		return
	}
	color := kindColor(across.module.ID.Kind())
	size := s.value
	h := math.Ceil(lineHeight*size) + 4
	names := [2]string{}
	for i, st := range []strip{across, up} {
		half := math.Floor((f.W - s.gap) / 2)
		cell := Frame{f.X + float64(i)*(half+s.gap), f.Y, half, h}
		names[i] = "pad " + st.param.Name + " value"
		vw := math.Floor(min(96, half*0.42))
		mark := "across: "
		if i == 1 {
			mark = "up: "
		}
		text, ts := fit(mark+spaced(st.param.Name), half-vw, h, size)
		s.add(Widget{Kind: Label, Name: "pad " + st.param.Name + " name", Frame: Frame{cell.X, cell.Y, half - vw, h}, Text: text, Size: ts, TextColor: quiet, Align: Left})
		s.readout(names[i], bound(st.module, st.param), Frame{cell.X + half - vw, cell.Y, vw, h}, size)
	}
	s.add(Widget{Kind: Pad, Name: "pad", Frame: Frame{f.X, f.Y + h + 2, f.W, f.H - h - 2}, Color: color,
		Bind: []Binding{bound(across.module, across.param), bound(up.module, up.param)}, Shows: []string{names[0], names[1]}})
}

// pair returns the knobs of the pad.
func (b *builder) pair() (across, up strip) {
	for _, k := range pairs {
		m, p := b.first(k[0], k[1])
		_, q := b.first(k[0], k[2])
		if m != nil && q != nil && !p.Text && !q.Text && len(p.Choices) == 0 && len(q.Choices) == 0 {
			return strip{m, p}, strip{m, q}
		}
	}
	return strip{}, strip{}
}
