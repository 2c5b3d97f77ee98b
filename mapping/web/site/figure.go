package site

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument"
)

// figure is a drawing within a page. It takes its colours from the page's
// style sheet, by class; its units are pixels at its own width, so that words
// in it are as large as those around it.
type figure struct {
	strings.Builder
}

func num(v float64) string { return strconv.FormatFloat(math.Round(v*100)/100, 'f', -1, 64) }

// done wraps what was drawn.
func (f *figure) done(width, height float64, label string) template.HTML {
	class := "fig wide"
	if width < 600 {
		class = "fig narrow"
	}
	return template.HTML(fmt.Sprintf(`<svg class="%s" viewBox="0 0 %s %s" role="img" aria-label="%s">%s</svg>`, class, num(width), num(height), html.EscapeString(label), f.String()))
}

func (f *figure) put(format string, a ...any) { fmt.Fprintf(f, format, a...) }

// text sets words; of lines that are apart by a line feed each is 17 beneath
// the last.
func (f *figure) text(x, y float64, class, words string) {
	for i, line := range strings.Split(words, "\n") {
		f.put(`<text class="%s" x="%s" y="%s">%s</text>`, class, num(x), num(y+17*float64(i)), html.EscapeString(line))
	}
}

func (f *figure) line(class string, x1, y1, x2, y2 float64) {
	f.put(`<path class="%s" d="M%s %sL%s %s"/>`, class, num(x1), num(y1), num(x2), num(y2))
}

func (f *figure) path(class, d string) { f.put(`<path class="%s" d="%s"/>`, class, d) }

func (f *figure) rect(class string, x, y, w, h, r float64) {
	f.put(`<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, class, num(x), num(y), num(w), num(h), num(r))
}

func (f *figure) dot(class string, x, y, r float64) {
	f.put(`<circle class="%s" cx="%s" cy="%s" r="%s"/>`, class, num(x), num(y), num(r))
}

// arrow is a line with a head at its end, by way of the points.
func (f *figure) arrow(class string, points ...float64) {
	var d strings.Builder
	for i := 0; i+1 < len(points); i += 2 {
		if i == 0 {
			d.WriteByte('M')
		} else {
			d.WriteByte('L')
		}
		d.WriteString(num(points[i]) + " " + num(points[i+1]))
	}
	f.path(class, d.String())
	n := len(points)
	x, y := points[n-2], points[n-1]
	a := math.Atan2(y-points[n-3], x-points[n-4])
	const size, wide = 8, 0.42
	f.path(class+" head", fmt.Sprintf("M%s %sL%s %sL%s %sZ", num(x), num(y),
		num(x-size*math.Cos(a-wide)), num(y-size*math.Sin(a-wide)), num(x-size*math.Cos(a+wide)), num(y-size*math.Sin(a+wide))))
}

// What happens in the figure of reconciliation, in seconds: a hand asks for
// two replicas more, the fifth turns ready, the sixth.
const (
	reconcileLength = 5.0
	askedAt         = 1.0
	fifthAt         = 2.7
	sixthAt         = 3.3
)

// Of a voice under tension, as instrument's Voice has it: how fast it follows,
// and the volts at which 63 % of its spread is reached.
const (
	tensionSeconds = 0.09
	tensionVolts   = 1.2
)

// reconcile draws what is asked for, what is there, the voltage between them,
// and what that does to the voices of a chord.
func reconcile(width int) template.HTML {
	f := &figure{}
	w := float64(width)
	narrow := w < 600
	left, right := 148.0, w-12
	if narrow {
		left, right = 8, w-8
	}
	x := func(t float64) float64 { return left + (right-left)*t/reconcileLength }
	head := 0.0 // of each lane, where its name stands above it
	if narrow {
		head = 26
	}
	name := func(y float64, title, about string) {
		if narrow {
			f.text(left, y-8, "strong", title)
			return
		}
		f.text(0, y+14, "strong", title)
		f.text(0, y+33, "dim", about)
	}

	// Replicas.
	top := 34.0 + head
	const rep = 22.0
	y := func(n float64) float64 { return top + 4 + (6-n)*rep*1.5 }
	name(top, "Replicas", "asked for,\nand there")
	f.path("gap", fmt.Sprintf("M%s %sH%sV%sH%sV%sH%sZ", num(x(askedAt)), num(y(6)), num(x(sixthAt)), num(y(5)), num(x(fifthAt)), num(y(4)), num(x(askedAt))))
	f.path("asked", fmt.Sprintf("M%s %sH%sV%sH%s", num(x(0)), num(y(4)), num(x(askedAt)), num(y(6)), num(x(reconcileLength))))
	f.path("there", fmt.Sprintf("M%s %sH%sV%sH%sV%sH%s", num(x(0)), num(y(4)+4), num(x(fifthAt)), num(y(5)), num(x(sixthAt)), num(y(6)+4), num(x(reconcileLength))))
	f.text(x(0)+2, y(4)-9, "num", "4")
	f.text(x(reconcileLength)-10, y(6)+24, "num", "6")
	end := y(4) + 8

	// Volts.
	vtop := end + 34 + head
	name(vtop, "error", "1 V a replica")
	v := func(volts float64) float64 { return vtop + 4 + (2-volts)*26 }
	f.line("axis", x(0), v(0), x(reconcileLength), v(0))
	d := fmt.Sprintf("M%s %sH%sV%sH%sV%sH%sV%sH%s", num(x(0)), num(v(0)), num(x(askedAt)), num(v(2)), num(x(fifthAt)), num(v(1)), num(x(sixthAt)), num(v(0)), num(x(reconcileLength)))
	f.path("volts-area", d+"Z")
	f.path("volts", d)
	f.text(x(askedAt)+8, v(2)+17, "num", "2 V")
	f.text(x(fifthAt)+6, v(1)+17, "num", "1 V")
	f.text(x(reconcileLength)-26, v(0)-7, "num", "0 V")

	// Voices.
	stop := v(0) + 40 + head
	name(stop, "The chord", "two oscillators\na voice")
	const apart, most = 35.0, 15.0 // pixels from voice to voice, and of a full spread
	steps := 260
	tension := make([]float64, steps+1)
	for i := 1; i <= steps; i++ {
		t := reconcileLength * float64(i) / float64(steps)
		to := 0.0
		switch {
		case t >= sixthAt:
		case t >= fifthAt:
			to = 1
		case t >= askedAt:
			to = 2
		}
		a := 1 - math.Exp(-reconcileLength/float64(steps)/tensionSeconds)
		tension[i] = tension[i-1] + a*(to-tension[i-1])
	}
	for voice := range 6 {
		from := 0.0
		switch voice {
		case 4:
			from = fifthAt
		case 5:
			from = sixthAt
		}
		base := stop + 8 + apart*float64(5-voice)
		if from > 0 {
			// A pod that waits breathes; its voice comes in as it is ready.
			f.line("breath", x(askedAt+0.15), base, x(from), base)
		}
		var up, down strings.Builder
		var back []string
		for i := range tension {
			t := reconcileLength * float64(i) / float64(steps)
			if t < from {
				continue
			}
			pull := most * (1 - math.Exp(-tension[i]/tensionVolts))
			// It wanders, at another place in each voice, and to another side.
			pull *= 0.75 + 0.25*math.Sin(float64(voice)*2.4+1)
			if voice%2 == 1 {
				pull = -pull
			}
			cmd := "L"
			if up.Len() == 0 {
				cmd = "M"
			}
			a, b := num(x(t))+" "+num(base-pull), num(x(t))+" "+num(base+0.55*pull)
			up.WriteString(cmd + a)
			down.WriteString(cmd + b)
			back = append(back, b)
		}
		band := up.String()
		for i := len(back) - 1; i >= 0; i-- {
			band += "L" + back[i]
		}
		f.path("beat", band+"Z")
		f.path("voice", up.String())
		f.path("voice", down.String())
	}
	bottom := stop + 8 + 5*apart + 14

	// What happened, over all lanes.
	marks := []struct {
		at   float64
		long string
		few  string
	}{{askedAt, "a hand asks for six", "asked"}, {fifthAt, "fifth ready", "5th"}, {sixthAt, "sixth ready: rest", "6th: rest"}}
	for i, m := range marks {
		f.line("mark", x(m.at), 22, x(m.at), bottom)
		text, class := m.long, "small"
		if narrow {
			text = m.few
		}
		at := x(m.at) + 4
		if i == 1 {
			class, at = "small to-end", x(m.at)-4
		}
		f.text(at, 16, class, text)
	}
	f.line("axis", x(0), bottom, x(reconcileLength), bottom)
	for t := 0.0; t <= reconcileLength; t++ {
		class := "num mid"
		switch t {
		case 0:
			class = "num"
		case reconcileLength:
			class = "num to-end"
		}
		f.line("axis", x(t), bottom, x(t), bottom+5)
		f.text(x(t), bottom+21, class, fmt.Sprintf("%g s", t))
	}
	return f.done(w, bottom+28, "Over five seconds: replicas asked for go from four to six at once, replicas that are there follow one by one; the error jack rises to two volts and falls to zero; the two oscillators of each voice part while there is an error and meet when there is none.")
}

// box is a place in a diagram.
type box struct{ x, y, w, h float64 }

func (b box) mid() (x, y float64) { return b.x + b.w/2, b.y + b.h/2 }

func (f *figure) box(class string, b box, title, about string) {
	f.rect("box "+class, b.x, b.y, b.w, b.h, 6)
	x, y := b.mid()
	if about == "" {
		f.text(x, y+5, "strong mid", title)
		return
	}
	lines := float64(strings.Count(about, "\n") + 1)
	f.text(x, y-8.5*lines+6, "strong mid", title)
	f.text(x, y-8.5*lines+24, "dim small mid", about)
}

// loop draws the way from a hand to the cluster and home.
func loop(width int) template.HTML {
	f := &figure{}
	const label = "From hands to the rack; from its patch through the topology ConfigMap and Eno to the objects of the cluster; from their status through the observer's transitions home to the rack; and from its engine to the speakers."
	if width < 600 {
		w := float64(width)
		y := 6.0
		place := func(h float64) box { b := box{26, y, w - 52, h}; y += h + 40; return b }
		frame := func(from, to box, name string) {
			f.rect("process", 8, from.y-26, w-16, to.y+to.h-from.y+42, 10)
			f.text(20, from.y-9, "proc", name)
		}
		hands := place(52)
		y += 22
		patch := place(52)
		engine := place(52)
		y += 30
		topo := place(52)
		eno := place(52)
		objects := place(52)
		status := place(52)
		y += 26
		observer := place(52)
		frame(patch, engine, "k8s-synth")
		frame(topo, status, "k8s-synth-cluster, or yours")
		frame(observer, observer, "k8s-synth-kube")
		f.box("hand", hands, "Hands", "MIDI, OSC, browser, kubectl")
		f.box("rack", patch, "Patch", "what the player wants")
		f.box("rack", engine, "Plan and engine", "real-time thread → speakers")
		f.box("want", topo, "Topology", "one ConfigMap")
		f.box("want", eno, "Eno", "makes it objects")
		f.box("kube", objects, "Objects", "Deployments, Services, …")
		f.box("kube", status, "Status", "controllers, scheduler, kubelet")
		f.box("home", observer, "Observer", "difference of snapshots")
		down := func(class string, a, b box) { f.arrow(class, w/2, a.y+a.h, w/2, b.y-1) }
		down("way-hand", hands, patch)
		down("way-hand", patch, engine)
		f.arrow("way-want", patch.x+patch.w, patch.y+26, w-12, patch.y+26, w-12, topo.y+26, topo.x+topo.w+1, topo.y+26)
		down("way-want", topo, eno)
		down("way-want", eno, objects)
		down("way-home", objects, status)
		down("way-home", status, observer)
		f.arrow("way-home", observer.x, observer.y+26, 13, observer.y+26, 13, patch.y+26, patch.x-1, patch.y+26)
		return f.done(w, observer.y+observer.h+24, label)
	}
	w := float64(width)
	const h, row1, row2 = 64, 58, 236
	step := (w - 36) / 4
	bw := step - 46
	at := func(col, y float64) box { return box{18 + col*step + 23, y, bw, h} }
	// Processes behind the boxes.
	process := func(from, to, top, bottom float64, name string) {
		f.rect("process", 18+from*step+5, top, (to-from+1)*step-10, bottom-top, 12)
		f.text(18+from*step+20, top+21, "proc", name)
	}
	process(1, 1, row1-40, row2+h+20, "k8s-synth")
	process(2, 2, row2-40, row2+h+20, "k8s-synth-kube")
	process(3, 3, row1-40, row2+h+20, "k8s-synth-cluster, or yours")
	hands, patch, topo, objects := at(0, row1), at(1, row1), at(2, row1), at(3, row1)
	sound, engine, observer, status := at(0, row2), at(1, row2), at(2, row2), at(3, row2)
	f.box("hand", hands, "Hands", "MIDI, OSC, a browser,\nhardware, kubectl")
	f.box("rack", patch, "Patch", "what the player wants")
	f.box("want", topo, "Topology", "one ConfigMap,\nmade objects by Eno")
	f.box("kube", objects, "Objects", "Deployments, Pods,\nServices, …")
	f.box("kube", status, "Status", "controllers, scheduler,\nkubelet or KWOK")
	f.box("home", observer, "Observer", "transitions: the difference\nof two snapshots")
	f.box("rack", engine, "Plan and engine", "one real-time thread")
	f.box("hand", sound, "Speakers", "and the jacks of a case")
	across := func(class string, a, b box) {
		y := a.y + a.h/2
		if a.x < b.x {
			f.arrow(class, a.x+a.w, y, b.x-1, y)
		} else {
			f.arrow(class, a.x, y, b.x+b.w+1, y)
		}
	}
	across("way-hand", hands, patch)
	across("way-want", patch, topo)
	across("way-want", topo, objects)
	x, _ := objects.mid()
	f.arrow("way-home", x, objects.y+h, x, status.y-1)
	f.text(x-12, (objects.y+h+status.y)/2-5, "small way-word to-end", "becomes so,\nor not yet")
	across("way-home", status, observer)
	across("way-home", observer, engine)
	x, _ = patch.mid()
	f.arrow("way-hand", x, patch.y+h, x, engine.y-1)
	f.text(x+12, (patch.y+h+engine.y)/2+4, "small way-word", "compiled")
	across("way-hand", engine, sound)
	return f.done(w, row2+h+26, label)
}

// What the figure of the real-time boundary tells of sizes that other packages
// keep to themselves; a test holds them to what is there.
const (
	eventsIn   = 8192 // inboxSize of instrument
	eventsOut  = 8192 // outboxSize of instrument
	reports    = 48   // meterRate of instrument
	ringBlocks = 8    // of 64 frames: Settings.Depth of hardware, where nothing is set
)

// boundary draws what may cross into the thread that renders, and out of it.
func boundary(width int) template.HTML {
	f := &figure{}
	w := float64(width)
	const label = "The control goroutine and the render goroutine are apart. In go events with their frames, by a ring, and the newest plan, by a pointer; out come edges, by a ring, and levels, by the newest report. The render goroutine fills a ring in C memory, which a callback in C empties into the device."
	crossings := []struct {
		in                 bool
		class, what, about string
	}{
		{true, "way-hand", "Ring[Event]", fmt.Sprintf("up to %d, each with its frame", eventsIn)},
		{true, "way-want", "Pointer[Plan]", "the compiled patch, read once a block"},
		{false, "way-home", "Ring[Event]", fmt.Sprintf("up to %d: edges, wishes", eventsOut)},
		{false, "way-home", "Latest[Meters]", fmt.Sprintf("levels and counters, %d times a second", reports)},
	}
	render := fmt.Sprintf("%d frames at a time,\nsplit where an event is due", instrument.BlockSize)
	ring := fmt.Sprintf("%d blocks, %.1f ms at 48 kHz", ringBlocks, 1000*ringBlocks*float64(instrument.BlockSize)/48000)
	if width < 600 {
		y := 34.0
		zone := func(h float64, name string) float64 {
			f.rect("process", 8, y-28, w-16, h+44, 10)
			f.text(20, y-10, "proc", name)
			at := y
			y += h + 44
			return at
		}
		at := zone(120, "control: may wait")
		f.box("hand", box{26, at, w - 52, 52}, "Rack", "one goroutine merges all sources")
		f.box("want", box{26, at + 66, w - 52, 52}, "Compiler", "patch → plan")
		f.text(w/2, y, "small strong mid", "the real-time boundary")
		y += 12
		f.line("threshold", 8, y, w-8, y)
		y += 14
		for _, c := range crossings {
			if c.in {
				f.arrow(c.class, 26, y-2, 26, y+30)
			} else {
				f.arrow(c.class, 26, y+30, 26, y-2)
			}
			f.text(46, y+11, "code", c.what)
			f.text(46, y+29, "dim small", c.about)
			y += 50
		}
		y += 34
		at = zone(66, "render: real-time thread")
		engine := box{26, at, w - 52, 66}
		f.box("rack", engine, "Engine.Render", render)
		y += 24
		at = zone(124, "device: C, never Go")
		cring := box{26, at, w - 52, 52}
		f.box("home", cring, "Ring in C memory", ring)
		device := box{26, at + 72, w - 52, 52}
		f.box("home", device, "C callback", "holds CV, fades audio, if it is empty")
		f.arrow("way-hand", w/2, engine.y+engine.h, w/2, cring.y-1)
		f.arrow("way-hand", w/2, cring.y+cring.h, w/2, device.y-1)
		return f.done(w, y-24, label)
	}
	const top, high = 40.0, 354.0
	zone := func(x, w float64, name string) {
		f.rect("process", x, top-22, w, high, 12)
		f.text(x+16, top, "proc", name)
	}
	zone(18, 242, "control: may wait")
	zone(600, 230, "render: real-time thread")
	zone(858, w-18-858, "device: C, never Go")
	rack, compiler := box{36, 66, 206, 70}, box{36, 156, 206, 70}
	hear := box{36, 246, 206, 102}
	f.box("hand", rack, "Rack", "one goroutine merges\nall sources")
	f.box("want", compiler, "Compiler", "patch → plan, with errors\nbefore it plays")
	f.box("home", hear, "Meters, notes, wishes", "to panels, pages, cluster")
	engine := box{618, 66, 194, 282}
	f.rect("box rack", engine.x, engine.y, engine.w, engine.h, 6)
	mx, _ := engine.mid()
	f.text(mx, 146, "strong mid", "Engine.Render")
	f.text(mx, 168, "dim small mid", render)
	f.text(mx, 222, "dim small mid", "no allocation, no lock,\nno channel, no map,\nno clock, no system call")
	cring, device := box{876, 66, w - 18 - 858 - 36, 84}, box{876, 264, w - 18 - 858 - 36, 84}
	f.box("home", cring, "Ring in C memory", strings.Replace(ring, ", ", ",\n", 1))
	f.box("home", device, "C callback", "if the ring is empty it\nholds CV and fades audio")
	middle := (rack.x + rack.w + engine.x) / 2
	f.line("threshold", middle, top-22, middle, top-22+high)
	f.text(middle, 12, "small strong mid", "the real-time boundary")
	ys := []float64{101, 186, 268, 328}
	for i, c := range crossings {
		y := ys[i]
		if c.in {
			f.arrow(c.class, rack.x+rack.w, y, engine.x-1, y)
		} else {
			f.arrow(c.class, engine.x, y, rack.x+rack.w+1, y)
		}
		f.text(middle, y-8, "code mid halo", c.what)
		f.text(middle, y+18, "dim small mid halo", c.about)
	}
	f.arrow("way-hand", engine.x+engine.w, 108, cring.x-1, 108)
	x, _ := cring.mid()
	f.arrow("way-hand", x, cring.y+cring.h, x, device.y-1)
	return f.done(w, top-22+high+4, label)
}

// buses draws what runs behind the panels of a case.
func buses(width int) template.HTML {
	f := &figure{}
	w := float64(width)
	narrow := w < 600
	const label = "A row of panels over three buses: power with plus and minus twelve and five volts, the CV and gate bus with one voltage and one gate, and the control bus, a USB cable from each panel to a hub and from there to the machine that plays."
	names := []string{"Deployment", "Pod", "Pod", "Service", "Node", "HPA"}
	left, right := 150.0, w-8
	if narrow {
		names = names[:3]
		left, right = 8, w-8
	}
	n := float64(len(names))
	gap := 8.0
	pw := (right - left - gap*(n-1)) / n
	const top, ph = 8.0, 128.0
	f.line("rail", left-6, top+4, right+6, top+4)
	f.line("rail", left-6, top+ph-4, right+6, top+ph-4)
	type bus struct {
		class, name, about string
		y                  float64
	}
	head := 0.0
	if narrow {
		head = 24
	}
	y := top + ph + 46 + head
	all := []bus{{"bus-power", "Power", "±12 V, +5 V", y}, {"bus-cv", "CV and gate", "a pitch, a gate", y + 64 + head}, {"bus-usb", "Control", "USB, a cable a panel", y + 128 + 2*head}}
	late := &figure{} // words, which lie over lines
	for bi, b := range all {
		if narrow {
			late.text(left, b.y-16, "strong halo", b.name)
			late.text(right, b.y-16, "dim small to-end halo", b.about)
		} else {
			f.text(0, b.y+1, "strong", b.name)
			f.text(0, b.y+19, "dim small", b.about)
		}
		switch bi {
		case 0:
			for k, c := range []string{"p12", "m12", "gnd"} {
				f.line("bus "+c, left, b.y-6+float64(k)*6, right, b.y-6+float64(k)*6)
			}
		case 1:
			f.line("bus pitch", left, b.y-3, right, b.y-3)
			f.line("bus gate", left, b.y+4, right, b.y+4)
		}
	}
	usb := all[2]
	hub := box{right - 260, usb.y + 28, 260, 40}
	if narrow {
		hub.x, hub.w = left, right-left
	}
	for i, name := range names {
		x := left + float64(i)*(pw+gap)
		f.rect("panel", x, top, pw, ph, 3)
		f.text(x+10, top+26, "small strong", name)
		f.line("panel-accent", x+10, top+34, x+pw-10, top+34)
		for k := range 2 {
			f.dot("panel-knob", x+pw*(0.32+0.36*float64(k)), top+62, math.Min(12, pw/8))
		}
		f.rect("panel-plate", x+8, top+86, pw-16, 32, 4)
		for k := range 3 {
			f.dot("panel-jack", x+pw*(0.25+0.25*float64(k)), top+102, math.Min(7, pw/12))
		}
		for bi, b := range all {
			sx := x + pw*(0.3+0.2*float64(bi))
			to := b.y - 6
			class := "stub s-" + b.class
			if bi == 2 {
				f.path("stub "+b.class, fmt.Sprintf("M%s %sV%sQ%s %s %s %s", num(sx), num(top+ph), num(usb.y-8), num(sx), num(usb.y+14), num(math.Min(math.Max(sx, hub.x+16+12*float64(i)), hub.x+hub.w-16)), num(hub.y)))
				continue
			}
			f.line(class, sx, top+ph, sx, to)
			f.dot("tap", sx, to, 3.5)
		}
	}
	f.WriteString(late.String())
	f.box("want", hub, "Hub → the machine that plays", "")
	return f.done(w, hub.y+hub.h+8, label)
}

// ladder draws which volts are what.
func ladder(width int) template.HTML {
	f := &figure{}
	w := float64(width)
	narrow := w < 600
	left, right := 130.0, w-14
	step := 46.0
	if narrow {
		left, right, step = 12, w-12, 58
	}
	x := func(v float64) float64 { return left + (right-left)*(v+12)/24 }
	const audio, cv, gate = float64(dsp.AudioPeak), float64(dsp.UnipolarPeak), float64(dsp.GateHigh)
	rows := []struct {
		name, signal string
		from, to     float64
		words        string
	}{
		{"audio", "audio", -audio, audio, fmt.Sprintf("±%g V, nominal peak", audio)},
		{"CV, both ways", "CV", -audio, audio, fmt.Sprintf("±%g V", audio)},
		{"CV, one way", "CV", 0, cv, fmt.Sprintf("0 … %g V", cv)},
		{"pitch", "pitch", -5, 5, "1 V an octave, 0 V = C4"},
		{"gate", "gate", gate, gate, fmt.Sprintf("0 or %g V; read as high above %g V, as low below %g V", gate, dsp.SchmittHigh, dsp.SchmittLow)},
		{"trigger", "trigger", gate, gate, fmt.Sprintf("%g V for %g ms", gate, 1000*dsp.TriggerSeconds)},
	}
	const top = 34
	bottom := top + step*float64(len(rows))
	every := 2.0
	if narrow {
		every = 4
	}
	for v := -12.0; v <= 12; v += every {
		class := "grid"
		if v == 0 {
			class = "grid zero"
		}
		f.line(class, x(v), top-8, x(v), bottom)
		sign := num(v)
		if v > 0 {
			sign = "+" + sign
		}
		f.text(x(v), top-15, "num mid", strings.ReplaceAll(sign, "-", "−"))
	}
	for i, r := range rows {
		y := top + step*float64(i) + step/2
		if narrow {
			y += 12
			f.text(left, y-18, "strong halo", r.name)
			words, _, _ := strings.Cut(r.words, ";")
			f.text(right, y-18, "dim small to-end halo", words)
		} else {
			f.text(0, y+5, "strong", r.name)
		}
		style := ` style="--c:` + colour(r.signal) + `"`
		switch r.signal {
		case "gate":
			f.put(`<path class="level"%s d="M%s %sH%s"/>`, style, num(x(-0.1)), num(y), num(x(0.1)))
			f.put(`<circle class="spot"%s cx="%s" cy="%s" r="7"/><circle class="spot"%s cx="%s" cy="%s" r="7"/>`, style, num(x(0)), num(y), style, num(x(gate)), num(y))
			f.line("threshold", x(float64(dsp.SchmittHigh)), y-8, x(float64(dsp.SchmittHigh)), y+12)
		case "trigger":
			f.put(`<path class="pulse"%s d="M%s %sH%s"/>`, style, num(x(0)), num(y), num(x(gate)))
			f.put(`<circle class="spot"%s cx="%s" cy="%s" r="7"/>`, style, num(x(gate)), num(y))
		default:
			f.put(`<path class="level"%s d="M%s %sH%s"/>`, style, num(x(r.from)), num(y), num(x(r.to)))
			if r.signal == "pitch" {
				for v := r.from; v <= r.to; v++ {
					f.line("octave", x(v), y-5, x(v), y+5)
				}
			}
		}
		if !narrow {
			at, class := x(r.to)+14, "dim small halo"
			if r.to == gate {
				at, class = x(gate)-16, "dim small to-end halo"
				f.text(at, y-10, class, r.words)
				continue
			}
			f.text(at, y+5, class, r.words)
		}
	}
	return f.done(w, bottom+6, fmt.Sprintf("Volts from minus to plus twelve: audio, CV and pitch lie between minus and plus %g, one-way CV between zero and %g; gates are zero or %g, with the threshold at %g; triggers are pulses of %g.", audio, cv, gate, dsp.SchmittHigh, gate))
}
