package faceplate

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
)

// attenuverter and its jack are named after their knob.
const (
	attSuffix = "_att"
	cvSuffix  = "_cv"
)

// param returns the control of a param, without a place.
func param(p *instrument.ParamSpec, part Part, w, h float64) Control {
	return Control{ID: p.Name, Part: part, Name: p.Name, W: w, H: h, Doc: p.Doc, Min: p.Min, Max: p.Max, Value: p.Value,
		Unit: p.Unit, Exponential: p.Curve == instrument.Exponential, Whole: p.Whole, Choices: p.Choices, Text: p.Default}
}

func jack(j *instrument.JackSpec, part Part) Control {
	return Control{ID: j.Name, Part: part, Name: j.Name, W: jackSize, H: jackSize, Signal: j.Kind.String(), Poly: j.Poly, Doc: j.Doc}
}

// columns says how n cells are spread over rows of at most so many: evenly.
func columns(n, most int) int {
	if n == 0 {
		return 1
	}
	most = max(1, most)
	rows := (n + most - 1) / most
	return (n + rows - 1) / rows
}

// displays are rows of words that are typed, of counters and of pictures.
func (b *builder) displays() {
	if b.spec.Kind == "scope" {
		w := b.width - 6
		b.add(row{cells: []cell{{w: w, h: 30, parts: []Control{{ID: "screen", Part: Screen, Name: "screen", Y: 15, W: w, H: 30}}}}, grow: 28})
	}
	var list []cell
	least := 17.5
	most := max(1, int((b.width-2)/least))
	n := 0
	for i := range b.spec.Params {
		if p := &b.spec.Params[i]; p.Text || p.Counter {
			n++
		}
	}
	per := columns(n, most)
	share := (b.width - 2) / float64(per)
	share = math.Min(share, 42)
	for i := range b.spec.Params {
		p := &b.spec.Params[i]
		part := Display
		switch {
		case p.Counter:
			part = Counter
		case !p.Text:
			continue
		}
		const h = 4.8
		c := param(p, part, share-1.8, h)
		c.Y = h / 2
		list = append(list, cell{label: b.label(p.Name, share), named: p.Name, h: h, parts: []Control{c}})
	}
	b.spread(list, row{share: share}, per)
}

// spread appends cells in rows of so many.
func (b *builder) spread(list []cell, like row, per int) {
	for len(list) > 0 {
		n := min(per, len(list))
		r := like
		r.cells = list[:n]
		list = list[n:]
		b.add(r)
	}
}

// turned are the params that are turned or switched, in two piles: those with
// a CV jack, and those without.
func (b *builder) turned() (cv, plain []*instrument.ParamSpec) {
	for i := range b.spec.Params {
		p := &b.spec.Params[i]
		switch {
		case p.Text, p.Counter, strings.HasSuffix(p.Name, attSuffix) && b.knobOf(p.Name) >= 0:
		case p.PerVolt != 0:
			cv = append(cv, p)
		default:
			plain = append(plain, p)
		}
	}
	return cv, plain
}

// knobOf returns the index of the param with CV that an attenuverter or CV
// jack belongs to, or -1.
func (b *builder) knobOf(name string) int {
	for _, suffix := range []string{attSuffix, cvSuffix} {
		if of, ok := strings.CutSuffix(name, suffix); ok {
			if i := b.spec.Param(of); i >= 0 && b.spec.Params[i].PerVolt != 0 {
				return i
			}
		}
	}
	return -1
}

// params are the rows of knobs and switches.
func (b *builder) params() {
	cv, plain := b.turned()
	most := int(b.width / b.lv.cell)
	if most < 1 {
		b.bad = true
		return
	}
	if b.strips(plain, most) {
		return
	}
	switch {
	case len(cv) > most:
		per := columns(len(cv), most)
		for len(cv) > 0 {
			n := min(per, len(cv))
			var r row
			r, plain = b.voltages(cv[:n], plain, per)
			cv = cv[n:]
			b.add(r)
		}
	case len(cv) > 0:
		// What has no CV fills the row; with fewer cells, each is wider.
		per := min(most, len(cv)+len(plain))
		r, rest := b.voltages(cv, plain, per)
		for len(r.cells) < per {
			per = len(r.cells)
			r, rest = b.voltages(cv, plain, per)
		}
		plain = rest
		b.add(r)
	}
	if len(plain) == 0 {
		return
	}
	per := columns(len(plain), most)
	share := math.Min(b.width/float64(per), 30)
	var list []cell
	for _, p := range plain {
		list = append(list, b.plain(p, share))
	}
	b.spread(list, row{share: share}, per)
}

// voltages is a row of so many cells: params with CV, and beside them such
// without, stacked. It returns those that had no room.
func (b *builder) voltages(cv, plain []*instrument.ParamSpec, per int) (row, []*instrument.ParamSpec) {
	r := row{share: b.width / float64(per), high: true}
	for _, p := range cv {
		r.cells = append(r.cells, b.voltage(p, r.share))
	}
	body := r.cells[0].h
	for len(r.cells) < per && len(plain) > 0 {
		var c cell
		c, plain = b.stack(plain, r.share, body)
		r.cells = append(r.cells, c)
	}
	slices.SortStableFunc(r.cells, func(x, y cell) int { return cmp.Compare(b.spec.Param(x.named), b.spec.Param(y.named)) })
	return r, plain
}

// strips lays out a module of equal channels, as a mixer is, in columns; it
// tells whether this is one.
func (b *builder) strips(plain []*instrument.ParamSpec, most int) bool {
	var stems []string
	count := map[string]int{}
	for _, p := range plain {
		stem, ok := family(p.Name)
		if !ok {
			continue
		}
		if count[stem] == 0 {
			stems = append(stems, stem)
		}
		count[stem]++
	}
	if len(stems) < 2 {
		return false
	}
	n := count[stems[0]]
	for _, s := range stems {
		if count[s] != n {
			return false
		}
	}
	cv, _ := b.turned()
	if n < 3 || len(cv) > 0 || n > int(b.width/JackPitch) {
		return false
	}
	if n > most {
		b.bad = true // a tighter level has room for the strips
		return true
	}
	// The stem that comes first has a row of its own; the others share rows
	// while two of them fit into a strip.
	strip := b.width / float64(n)
	group := 1
	if strip >= 2*JackPitch {
		group = 2
	}
	for i := 0; i < len(stems); {
		take := 1
		if i > 0 {
			take = min(group, len(stems)-i)
		}
		share := strip / float64(take)
		r := row{share: share}
		for k := 1; k <= n; k++ {
			for _, s := range stems[i : i+take] {
				for _, p := range plain {
					if f, ok := family(p.Name); ok && f == s && strings.HasSuffix(p.Name, "_"+itoa(k)) {
						r.cells = append(r.cells, b.plain(p, share))
					}
				}
			}
		}
		if len(r.cells) != n*take {
			b.bad = true
			return true
		}
		b.add(r)
		i += take
	}
	var rest []cell
	var loose []*instrument.ParamSpec
	for _, p := range plain {
		if _, ok := family(p.Name); !ok {
			loose = append(loose, p)
		}
	}
	per := columns(len(loose), most)
	share := math.Min(b.width/float64(per), 30)
	for _, p := range loose {
		rest = append(rest, b.plain(p, share))
	}
	b.spread(rest, row{share: share}, per)
	return true
}

func itoa(k int) string { return mm(float64(k)) }

// family returns the stem of a name that ends in a number.
func family(name string) (string, bool) {
	i := strings.LastIndexByte(name, '_')
	if i <= 0 || i == len(name)-1 {
		return "", false
	}
	for _, r := range name[i+1:] {
		if r < '0' || r > '9' {
			return "", false
		}
	}
	return name[:i], true
}

// plain is a knob or a switch of its own.
func (b *builder) plain(p *instrument.ParamSpec, share float64) cell {
	c := cell{label: b.label(p.Name, share), named: p.Name, h: b.lv.knob}
	b.body(&c, p, 0, share)
	return c
}

// between is the least that stays free between two knobs.
const between = 1.0

// body puts the knob or switch of a param at a depth of a cell.
func (b *builder) body(c *cell, p *instrument.ParamSpec, y, share float64) {
	mid := y + b.lv.knob/2
	var k Control
	switch n := len(p.Choices); {
	case n == 0:
		d := math.Min(b.lv.knob, share-between)
		k = param(p, Knob, d, d)
	case p.Switch():
		k = param(p, Toggle, 3, 6)
	case n <= 3 && b.choices(c, p, mid, share):
		k = param(p, Toggle, 3, 5.2)
	default:
		k = param(p, Selector, math.Min(share-1.2, 16), b.lv.knob)
	}
	k.Y = mid
	c.parts = append(c.parts, k)
}

// choices prints the positions of a switch around it, the first beneath and
// the last above; it tells whether they have room.
func (b *builder) choices(c *cell, p *instrument.ParamSpec, mid, share float64) bool {
	const size = 1.5
	say := func(i int) string { return strings.ReplaceAll(p.Choices[i], "_", " ") }
	last := len(p.Choices) - 1
	if TextWidth(say(0), size, Medium, 0) > share-0.5 || TextWidth(say(last), size, Medium, 0) > share-0.5 {
		return false
	}
	if len(p.Choices) == 3 && 2.2+TextWidth(say(1), size, Medium, 0) > share/2-0.2 {
		return false
	}
	c.words = append(c.words,
		Word{Text: say(last), Y: mid - 3.1, Size: size, Role: "choice", For: p.Name},
		Word{Text: say(0), Y: mid + 4.25, Size: size, Role: "choice", For: p.Name})
	if len(p.Choices) == 3 {
		c.words = append(c.words, Word{Text: say(1), X: 2.2, Left: true, Y: mid + 0.5, Size: size, Role: "choice", For: p.Name})
	}
	return true
}

// voltage is a knob with its attenuverter and its CV jack.
func (b *builder) voltage(p *instrument.ParamSpec, share float64) cell {
	c := cell{label: b.label(p.Name, share), named: p.Name}
	b.body(&c, p, 0, share)
	att, cv := b.spec.Param(p.Name+attSuffix), b.spec.Input(p.Name+cvSuffix)
	t := param(&b.spec.Params[att], Trimmer, b.lv.trimmer, b.lv.trimmer)
	j := jack(&b.spec.Inputs[cv], Input)
	t.With, j.With = p.Name, p.Name
	d := b.lv.knob
	if b.lv.beside {
		total := jackSize + 1 + t.W
		t.X, j.X = -total/2+t.W/2, total/2-jackSize/2
		j.Y = d + 1.4 + jackSize/2
		t.Y = j.Y
		c.lines = append(c.lines, Line{t.X, t.Y, j.X, j.Y}, Line{t.X, t.Y, t.X * 0.55, d * 0.75})
		c.h = d + 1.4 + jackSize
	} else {
		t.Y = d + 0.9 + t.H/2
		j.Y = d + 0.9 + t.H + 0.8 + jackSize/2
		c.lines = append(c.lines, Line{0, d / 2, 0, j.Y})
		c.h = j.Y + jackSize/2
	}
	c.parts = append(c.parts, t, j)
	return c
}

// stack fills a body of a height with as many params as have room in it, and
// returns the others.
func (b *builder) stack(plain []*instrument.ParamSpec, share, height float64) (cell, []*instrument.ParamSpec) {
	c := b.plain(plain[0], share)
	for plain = plain[1:]; len(plain) > 0; plain = plain[1:] {
		name := b.fit(plain[0].Name, share-0.7)
		if name == nil {
			b.bad = true
			return c, plain
		}
		head := float64(len(name))*b.lv.label*leading + labelGap + 0.5
		if c.h+head+b.lv.knob > height+0.4 {
			break
		}
		for i, s := range name {
			c.words = append(c.words, Word{Text: s, Y: c.h + head - labelGap - 0.22*b.lv.label - float64(len(name)-1-i)*b.lv.label*leading, Size: b.lv.label, Role: "label", For: plain[0].Name})
		}
		b.body(&c, plain[0], c.h+head, share)
		c.h += head + b.lv.knob
	}
	return c, plain
}

// bargraphs are rows of bars of light.
func (b *builder) bargraphs() {
	var list []cell
	for i := range b.spec.Outputs {
		j := &b.spec.Outputs[i]
		if !j.Bargraph {
			continue
		}
		const h = 3.6
		w := math.Min(b.width-6, 44)
		c := Control{ID: j.Name + "_bar", Part: Bargraph, Name: j.Name, Y: h / 2, W: w, H: h, Signal: j.Kind.String(), Doc: j.Doc}
		list = append(list, cell{w: w + 2, label: b.label(j.Name, w), named: c.ID, h: h, parts: []Control{c}})
	}
	b.spread(list, row{}, 1)
}

// inputs are the rows of input jacks that belong to no knob.
func (b *builder) inputs() {
	var list []cell
	var names []string
	for i := range b.spec.Inputs {
		j := &b.spec.Inputs[i]
		if b.knobOf(j.Name) >= 0 {
			continue
		}
		c := cell{named: j.Name, h: jackSize}
		in := jack(j, Input)
		in.Y = jackSize / 2
		if j.Button {
			push := Control{ID: j.Name + "_button", Part: Button, Name: j.Name, W: pushSize, H: pushSize, Y: pushSize / 2, Signal: in.Signal, Doc: j.Doc}
			in.Y += pushSize + 0.8
			c.h += pushSize + 0.8
			c.parts = append(c.parts, push)
		}
		c.parts = append(c.parts, in)
		list = append(list, c)
		names = append(names, j.Name)
	}
	b.jacks(list, names, zoneInputs)
}

// outputs are the rows of output jacks, each with its light.
func (b *builder) outputs() {
	var list []cell
	var names []string
	for i := range b.spec.Outputs {
		j := &b.spec.Outputs[i]
		out := jack(j, Output)
		out.Y = jackSize / 2
		led := Control{ID: j.Name + "_led", Part: LED, Name: j.Name, W: ledSize, H: ledSize, X: 3.75, Y: jackSize/2 + 3.75, Signal: out.Signal}
		list = append(list, cell{named: j.Name, h: jackSize, parts: []Control{out, led}})
		names = append(names, j.Name)
	}
	b.jacks(list, names, zoneOutputs)
}

// jacks spreads jacks over rows. Jacks of a family stay together where they
// can.
func (b *builder) jacks(list []cell, names []string, zone int) {
	if len(list) == 0 {
		return
	}
	most := int(b.width/b.lv.jacks + 1e-9)
	if most < 1 {
		b.bad = true
		return
	}
	// A family that has room in one row closer together stands so.
	groups := runs(names)
	from := 0
	for _, to := range groups {
		if n := to - from; n > most && n <= int(b.width/JackPitch+1e-9) {
			most = n
		}
		from = to
	}
	per := columns(len(list), most)
	rows := (len(list) + per - 1) / per
	cuts := keepRuns(groups, len(names), most)
	if len(cuts) > rows {
		cuts = nil
		for i := per; i < len(list)+per; i += per {
			cuts = append(cuts, min(i, len(list)))
		}
	}
	widest := 0
	from = 0
	for _, to := range cuts {
		widest = max(widest, to-from)
		from = to
	}
	from = 0
	for _, to := range cuts {
		n := widest
		if (to-from)*2 <= widest {
			n = to - from
		}
		r := row{zone: zone, share: math.Min(b.width/float64(n), 19)}
		for i := from; i < to; i++ {
			c := list[i]
			c.label = b.label(names[i], r.share)
			r.cells = append(r.cells, c)
		}
		if zone == zoneOutputs {
			r.below = 0.5
		}
		b.low(&r)
		b.add(r)
		from = to
	}
}

// low makes the cells of a row stand on its foot: jacks in one line, buttons
// above those that have one.
func (b *builder) low(r *row) {
	h := 0.0
	for _, c := range r.cells {
		h = math.Max(h, c.h)
	}
	for i := range r.cells {
		c := &r.cells[i]
		if d := h - c.h; d > 0 {
			// The label stays with its jack.
			for p := range c.parts {
				c.parts[p].Y += d
			}
			base := d - labelGap - 0.22*b.lv.label
			for k, s := range c.label {
				c.words = append(c.words, Word{Text: s, Y: base - float64(len(c.label)-1-k)*b.lv.label*leading, Size: b.lv.label, Role: "label", For: c.named})
			}
			c.label = nil
			c.h = h
		}
	}
}

// runs returns where each run of names with rising numbers ends: claim_1,
// claim_2 … is one, as is left_1, right_1, left_2 …; a name without a number
// is one of its own.
func runs(names []string) (ends []int) {
	last := -1
	for i, n := range names {
		k := -1
		if stem, ok := family(n); ok {
			k, _ = strconv.Atoi(n[len(stem)+1:])
		}
		if i > 0 && (k < 0 || k < last) {
			ends = append(ends, i)
		}
		if i > 0 && k >= 0 && last < 0 {
			ends = append(ends, i)
		}
		last = k
	}
	return append(ends, len(names))
}

// keepRuns cuts total names into rows of at most so many, not within a run
// that has room in one; it returns where rows end.
func keepRuns(runs []int, total, most int) (cuts []int) {
	var whole []int
	from := 0
	for _, to := range runs {
		if to-from > most {
			for i := from + 1; i < to; i++ {
				whole = append(whole, i)
			}
		}
		whole = append(whole, to)
		from = to
	}
	rows := (total + most - 1) / most
	aim := (total + rows - 1) / rows
	from = 0
	for i, to := range whole {
		last := i+1 == len(whole)
		if last || whole[i+1]-from > most || to-from >= aim {
			cuts = append(cuts, to)
			from = to
		}
	}
	return cuts
}
