package layout

import (
	"fmt"
	"math"

	"github.com/k8s-synth/k8s-synth/mapping"
)

// pods are the pages of the bank of slots.
func (b *builder) pods() {
	f := b.area.Inset(b.margin)
	columns := max(1, min(8, int((f.W+b.gap)/(96+b.gap))))
	rows := max(1, int((f.H+b.gap)/(116+b.gap)))
	for columns > 1 && mapping.SlotCount%columns != 0 {
		columns--
	}
	rows = min(rows, mapping.SlotCount/columns)
	for first, k := 0, 1; first < mapping.SlotCount; k++ {
		name := "pods"
		if k > 1 {
			name = fmt.Sprintf("pods %d", k)
		}
		s := b.newPage(name, name, kindColor("pod"))
		for _, cell := range split(f, columns, rows, b.gap) {
			if first < mapping.SlotCount {
				s.slot(first+1, cell)
				first++
			}
		}
	}
}

// maxLoad is where a slot's bar is full, in millicores: a core.
const maxLoad = 1000

// slot draws a pod: its name, what it does, how hard, and the way to kill it.
func (s *sheet) slot(n int, f Frame) {
	at := fmt.Sprintf("slot %d", n)
	address := fmt.Sprintf("/slot/%d/", n)
	kill := math.Floor(min(56, max(touch, f.H*0.3)))
	bar := math.Floor(max(6, f.H*0.06))
	size := s.measures.caption + 1
	ph := math.Ceil(lineHeight*size) + 2
	in := Frame{f.X + 4, f.Y + 3, f.W - 8, f.H - 6}
	s.add(Widget{Kind: Box, Name: at, Frame: f, Color: phaseColors[""]})
	number := fmt.Sprint(n)
	nw := math.Ceil(textWidth("32", s.measures.caption)) + 6
	s.add(Widget{Kind: Label, Name: at + " number", Frame: Frame{in.X, in.Y, nw, ph}, Text: number, Size: s.measures.caption, TextColor: quiet, Align: Left})
	s.add(Widget{Kind: Reading, Name: at + " phase", Frame: Frame{in.X + nw, in.Y, in.W - nw, ph}, Size: s.measures.caption, TextColor: ink, Align: Right,
		Tints: at, Bind: []Binding{{Address: address + "phase", Form: Text, Receive: true, Words: mapping.SlotPhases()}}})
	y := in.Y + ph
	nh := in.Y + in.H - kill - bar - 6 - y
	s.add(Widget{Kind: Reading, Name: at + " name", Frame: Frame{in.X, y, in.W, nh}, Size: size, TextColor: ink, Text: "", Bind: []Binding{says(address+"name", "")}})
	y += nh + 2
	s.add(Widget{Kind: Meter, Name: at + " load", Frame: Frame{in.X, y, in.W, bar}, Color: ink.alpha(0.8),
		Bind: []Binding{{Address: address + "load", Form: Number, Max: maxLoad, Unit: "m", Receive: true}}})
	y += bar + 4
	s.add(Widget{Kind: Button, Name: at + " kill", Frame: Frame{in.X, y, in.W, in.Y + in.H - y}, Text: "kill", Size: math.Floor(min(18, kill*0.36)), Color: alarm, TextColor: ink,
		Guarded: true, Bind: []Binding{command(address + "kill")}})
}
