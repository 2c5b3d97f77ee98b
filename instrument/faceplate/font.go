package faceplate

import (
	"math"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/gobold"
	"golang.org/x/image/font/gofont/gomedium"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"
)

// Weight is the weight of a word.
type Weight uint8

const (
	Medium Weight = iota
	Bold
)

// face is one font, whose outlines are read at 1000 units an em.
type face struct {
	once sync.Once
	data []byte
	font *sfnt.Font
}

const emUnits = 1000

var faces = [...]*face{Medium: {data: gomedium.TTF}, Bold: {data: gobold.TTF}}

func (f *face) open() *sfnt.Font {
	f.once.Do(func() {
		font, err := sfnt.Parse(f.data)
		if err != nil {
			panic("faceplate: the font that is built in: " + err.Error())
		}
		f.font = font
	})
	return f.font
}

// TextWidth returns how wide a line of text runs, in millimetres, at a size
// in millimetres an em. Track is what is put between letters, in ems.
func TextWidth(s string, size float64, w Weight, track float64) float64 {
	width, n := 0.0, 0
	glyphs(s, w, func(_ sfnt.GlyphIndex, at float64) { n++ })
	width = advance(s, w)
	if n > 1 {
		width += float64(n-1) * track
	}
	return width * size
}

// advance is the width of a line at 1 mm an em.
func advance(s string, w Weight) float64 {
	total := 0.0
	var end float64
	f, b := faces[w].open(), sfnt.Buffer{}
	glyphs(s, w, func(g sfnt.GlyphIndex, at float64) {
		a, err := f.GlyphAdvance(&b, g, fixed.I(emUnits), font.HintingNone)
		if err == nil {
			end = at + float64(a)/64/emUnits
		}
		total = end
	})
	return total
}

// glyphs calls each glyph of a line with where it begins, in ems.
func glyphs(s string, w Weight, each func(g sfnt.GlyphIndex, at float64)) {
	f, b := faces[w].open(), sfnt.Buffer{}
	x, before := 0.0, sfnt.GlyphIndex(0)
	for i, r := range []rune(s) {
		g, err := f.GlyphIndex(&b, r)
		if err != nil {
			continue
		}
		if i > 0 {
			if k, err := f.Kern(&b, before, g, fixed.I(emUnits), font.HintingNone); err == nil {
				x += float64(k) / 64 / emUnits
			}
		}
		each(g, x)
		if a, err := f.GlyphAdvance(&b, g, fixed.I(emUnits), font.HintingNone); err == nil {
			x += float64(a) / 64 / emUnits
		}
		before = g
	}
}

// outline returns a line of text as the data of an SVG path whose baseline
// begins at x, y.
func outline(s string, x, y, size float64, w Weight, track float64) string {
	var d strings.Builder
	f, b := faces[w].open(), sfnt.Buffer{}
	n := 0
	glyphs(s, w, func(g sfnt.GlyphIndex, at float64) {
		gx := x + (at+float64(n)*track)*size
		n++
		segments, err := f.LoadGlyph(&b, g, fixed.I(emUnits), nil)
		if err != nil {
			return
		}
		put := func(p fixed.Point26_6) {
			d.WriteString(mm(gx + float64(p.X)/64/emUnits*size))
			d.WriteByte(' ')
			d.WriteString(mm(y + float64(p.Y)/64/emUnits*size))
		}
		open := false
		for _, seg := range segments {
			switch seg.Op {
			case sfnt.SegmentOpMoveTo:
				if open {
					d.WriteByte('Z')
				}
				open = true
				d.WriteByte('M')
				put(seg.Args[0])
			case sfnt.SegmentOpLineTo:
				d.WriteByte('L')
				put(seg.Args[0])
			case sfnt.SegmentOpQuadTo:
				d.WriteByte('Q')
				put(seg.Args[0])
				d.WriteByte(' ')
				put(seg.Args[1])
			case sfnt.SegmentOpCubeTo:
				d.WriteByte('C')
				put(seg.Args[0])
				d.WriteByte(' ')
				put(seg.Args[1])
				d.WriteByte(' ')
				put(seg.Args[2])
			}
		}
		if open {
			d.WriteByte('Z')
		}
	})
	return d.String()
}

// mm writes a length to the micrometre, without what a number does not need.
func mm(v float64) string {
	v = math.Round(v*1000) / 1000
	if v == 0 {
		v = 0 // never -0
	}
	return strconv.FormatFloat(v, 'f', -1, 64)
}
