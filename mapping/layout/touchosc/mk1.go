package touchosc

import (
	"archive/zip"
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Mk1 is a .touchosc file, of the first TouchOSC.
type Mk1 struct {
	// Attributes tell the size of the page as it would be held upright, in mode
	// 3. With the orientation vertical it is held on its side: then x goes up
	// the page and y along it.
	Attributes []Attribute
	Pages      []Mk1Page
}

// Mk1Page is a page.
type Mk1Page struct {
	Attributes []Attribute
	Controls   []Mk1Control
}

// Mk1Control is a control.
type Mk1Control struct {
	Attributes []Attribute
	MIDI       [][]Attribute
}

// Attribute is one of an element's, in the order of the file. Names and words
// are as they are read, not in base64.
type Attribute struct{ Name, Value string }

func get(as []Attribute, name string) string {
	for _, a := range as {
		if a.Name == name {
			return a.Value
		}
	}
	return ""
}

// Get returns an attribute, empty where there is none.
func (m *Mk1) Get(name string) string { return get(m.Attributes, name) }

// Get returns an attribute, empty where there is none.
func (p *Mk1Page) Get(name string) string { return get(p.Attributes, name) }

// Get returns an attribute, empty where there is none.
func (c *Mk1Control) Get(name string) string { return get(c.Attributes, name) }

// Number returns an attribute's value.
func (c *Mk1Control) Number(name string) float64 {
	v, _ := strconv.ParseFloat(c.Get(name), 64)
	return v
}

// form is what an attribute may be.
type form struct {
	kind      byte // n number, w whole number, t words in base64, b true or false, e one of of, s nothing
	low, high float64
	of        []string
	optional  bool
}

var (
	mk1Palette = []string{"red", "green", "blue", "yellow", "purple", "gray", "orange", "brown", "pink"}

	mk1Layout = map[string]form{"version": {kind: 'w', low: 1, high: 17}, "mode": {kind: 'w', low: 0, high: 3}, "w": {kind: 'w', low: 1, high: 1e5, optional: true},
		"h": {kind: 'w', low: 1, high: 1e5, optional: true}, "orientation": {kind: 'e', of: []string{"horizontal", "vertical"}}}
	mk1Tab = map[string]form{"name": {kind: 't'}, "scalef": {kind: 'n'}, "scalet": {kind: 'n'},
		"li_t": {kind: 't'}, "li_c": {kind: 'e', of: mk1Palette}, "li_s": {kind: 'w', low: 1, high: 1000}, "li_o": {kind: 'b'}, "li_b": {kind: 'b'},
		"la_t": {kind: 't'}, "la_c": {kind: 'e', of: mk1Palette}, "la_s": {kind: 'w', low: 1, high: 1000}, "la_o": {kind: 'b'}, "la_b": {kind: 'b'}}
	mk1Common = map[string]form{"name": {kind: 't'}, "x": {kind: 'w', low: 0, high: 1e5}, "y": {kind: 'w', low: 0, high: 1e5}, "w": {kind: 'w', low: 1, high: 1e5},
		"h": {kind: 'w', low: 1, high: 1e5}, "color": {kind: 'e', of: mk1Palette}, "osc_cs": {kind: 't', optional: true}, "type": {kind: 'e'}}
	mk1Scale  = map[string]form{"scalef": {kind: 'n'}, "scalet": {kind: 'n'}}
	mk1Fader  = map[string]form{"response": {kind: 'e', of: []string{"absolute", "relative"}}, "inverted": {kind: 'b'}, "centered": {kind: 'b'}}
	mk1Rotary = map[string]form{"norollover": {kind: 'b'}}
	mk1Label  = map[string]form{"text": {kind: 't'}, "size": {kind: 'w', low: 1, high: 1000}, "background": {kind: 'b'}, "outline": {kind: 'b'}}
	mk1Push   = map[string]form{"local_off": {kind: 'b'}, "sp": {kind: 'b'}, "sr": {kind: 'b'}}
	mk1Toggle = map[string]form{"local_off": {kind: 'b'}}

	mk1Types = map[string]map[string]form{
		"labelh": mix(mk1Label), "labelv": mix(mk1Label), "led": mix(mk1Scale), "faderh": mix(mk1Scale, mk1Fader), "faderv": mix(mk1Scale, mk1Fader),
		"rotaryh": mix(mk1Scale, mk1Fader, mk1Rotary), "rotaryv": mix(mk1Scale, mk1Fader, mk1Rotary), "push": mix(mk1Scale, mk1Push), "toggle": mix(mk1Scale, mk1Toggle),
		"multitoggle": mix(mk1Scale, mk1Toggle, map[string]form{"number_x": {kind: 'w', low: 1, high: 100}, "number_y": {kind: 'w', low: 1, high: 100}, "ex_mode": {kind: 'b'}}),
		"multipush":   mix(mk1Scale, mk1Toggle, map[string]form{"number_x": {kind: 'w', low: 1, high: 100}, "number_y": {kind: 'w', low: 1, high: 100}}),
		"xy":          mix(mk1Scale, map[string]form{"inverted_x": {kind: 'b'}, "inverted_y": {kind: 'b'}, "rev_xy": {kind: 'b', optional: true}}),
		"multixy":     mix(mk1Scale, map[string]form{"inverted_x": {kind: 'b'}, "inverted_y": {kind: 'b'}}),
		"encoder":     mix(),
	}
	mk1MIDI = map[string]form{"var": {kind: 'e'}, "type": {kind: 'w', low: 0, high: 5}, "channel": {kind: 'w', low: 1, high: 16}, "data1": {kind: 'w', low: 0, high: 127},
		"data2f": {kind: 'w', low: 0, high: 127}, "data2t": {kind: 'w', low: 0, high: 127}, "sysex": {kind: 's'}}
)

func mix(all ...map[string]form) map[string]form {
	m := map[string]form{}
	for _, part := range append(all, mk1Common) {
		maps.Copy(m, part)
	}
	return m
}

// ReadMk1 reads a .touchosc file and says where the first mistake is.
func ReadMk1(data []byte) (*Mk1, error) {
	z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("touchosc: expected a zip: %w", err)
	}
	if len(z.File) != 1 || z.File[0].Name != "index.xml" {
		return nil, errors.New("touchosc: expected a zip that holds index.xml and nothing else")
	}
	f, err := z.File[0].Open()
	if err != nil {
		return nil, fmt.Errorf("touchosc: index.xml: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxXML+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("touchosc: index.xml: %w", err)
	case len(text) > maxXML:
		return nil, fmt.Errorf("touchosc: index.xml: more than %d MB", maxXML>>20)
	}
	return ReadMk1XML(text)
}

const mk1Declaration = `<?xml version="1.0" encoding="UTF-8"?>`

// ReadMk1XML reads index.xml.
func ReadMk1XML(text []byte) (m *Mk1, err error) {
	if !utf8.Valid(text) {
		return nil, errors.New("touchosc: index.xml is not UTF-8")
	}
	r := &mk1Reader{reader: reader{rest: string(text)}}
	defer func() {
		if e := recover(); e != nil {
			mis, ok := e.(mistake)
			if !ok {
				panic(e)
			}
			m, err = nil, mis.error
		}
	}()
	m = &Mk1{}
	r.place = "layout"
	r.expect(mk1Declaration)
	r.expect("<layout")
	m.Attributes = r.attributes(mk1Layout, false)
	w, h := get(m.Attributes, "w"), get(m.Attributes, "h")
	if own := get(m.Attributes, "mode") == "3"; own != (w != "") || own != (h != "") {
		r.fail("w and h belong to mode 3 and to no other")
	}
	width, _ := strconv.ParseFloat(w, 64)
	height, _ := strconv.ParseFloat(h, 64)
	for !r.take("</layout>") {
		r.place = fmt.Sprintf("tabpage[%d]", len(m.Pages))
		r.expect("<tabpage")
		p := Mk1Page{Attributes: r.attributes(mk1Tab, false)}
		page := fmt.Sprintf("tabpage %q", p.Get("name"))
		for _, q := range m.Pages {
			if q.Get("name") == p.Get("name") {
				r.fail("there are two pages named %q", p.Get("name"))
			}
		}
		names := map[string]bool{}
		for r.place = page; !r.take("</tabpage>"); r.place = page {
			r.place = fmt.Sprintf("%s/control[%d]", page, len(p.Controls))
			r.expect("<control")
			c := Mk1Control{Attributes: r.attributes(nil, false)}
			r.place = fmt.Sprintf("%s/%s %q", page, c.Get("type"), c.Get("name"))
			if names[c.Get("name")] {
				r.fail("there are two controls of that name")
			}
			names[c.Get("name")] = true
			if width > 0 && (c.Number("x")+c.Number("w") > width || c.Number("y")+c.Number("h") > height) {
				r.fail("it stands out of the %g × %g page: x %s, y %s, w %s, h %s", width, height, c.Get("x"), c.Get("y"), c.Get("w"), c.Get("h"))
			}
			if a := c.Get("osc_cs"); a != "" && !strings.HasPrefix(a, "/") {
				r.fail("osc_cs is %q, expected a slash first", a)
			}
			for !r.take("</control>") {
				r.expect("<midi")
				c.MIDI = append(c.MIDI, r.attributes(mk1MIDI, true))
			}
			p.Controls = append(p.Controls, c)
		}
		m.Pages = append(m.Pages, p)
	}
	if r.rest != "" {
		r.fail("%d bytes after </layout>", len(r.rest))
	}
	if len(m.Pages) == 0 {
		r.fail("there are no pages")
	}
	return m, nil
}

// mk1Reader has another grammar than .tosc and the same way through it.
type mk1Reader struct {
	reader
	place string
}

func (r *mk1Reader) fail(format string, a ...any) {
	panic(mistake{fmt.Errorf("touchosc: %s: %s", r.place, fmt.Sprintf(format, a...))})
}

func (r *mk1Reader) expect(s string) {
	if !r.take(s) {
		r.fail("expected %s, got %s", s, r.begin())
	}
}

// attributes reads those of an element to its end: all that are known, none
// that are not, none twice. Those of a control are known by its type.
func (r *mk1Reader) attributes(known map[string]form, closed bool) (as []Attribute) {
	for r.take(" ") {
		name, rest, ok := strings.Cut(r.rest, `="`)
		value, rest, ok2 := strings.Cut(rest, `"`)
		if !ok || !ok2 || strings.ContainsAny(name, " <>/") || strings.ContainsAny(value, "<>&") {
			r.fail("expected an attribute, got %s", r.begin())
		}
		if slices.ContainsFunc(as, func(a Attribute) bool { return a.Name == name }) {
			r.fail("%s is there twice", name)
		}
		r.rest = rest
		as = append(as, Attribute{name, value})
	}
	if closed {
		r.expect("/>")
	} else {
		r.expect(">")
	}
	if known == nil {
		if known = mk1Types[get(as, "type")]; known == nil {
			r.fail("there is no type %q of controls; there are %s", get(as, "type"), strings.Join(slices.Sorted(maps.Keys(mk1Types)), ", "))
		}
	}
	for i, a := range as {
		f, ok := known[a.Name]
		if !ok {
			r.fail("there is no attribute %q; there are %s", a.Name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		as[i].Value = r.value(a, f)
	}
	for _, name := range slices.Sorted(maps.Keys(known)) {
		if !known[name].optional && !slices.ContainsFunc(as, func(a Attribute) bool { return a.Name == name }) {
			r.fail("%s is missing", name)
		}
	}
	return as
}

func (r *mk1Reader) value(a Attribute, f form) string {
	switch f.kind {
	case 'n', 'w':
		v, err := strconv.ParseFloat(a.Value, 64)
		if _, whole := strconv.Atoi(a.Value); err != nil || !decimal.MatchString(a.Value) || f.kind == 'w' && whole != nil {
			r.fail("%s is %q, expected a number", a.Name, a.Value)
		}
		if f.low < f.high && (v < f.low || v > f.high) {
			r.fail("%s is %s, expected %g … %g", a.Name, a.Value, f.low, f.high)
		}
	case 't':
		text, err := base64.StdEncoding.Strict().DecodeString(a.Value)
		if err != nil || !utf8.Valid(text) {
			r.fail("%s is %q, expected base64", a.Name, a.Value)
		}
		return string(text)
	case 'b':
		if a.Value != "true" && a.Value != "false" {
			r.fail("%s is %q, expected true or false", a.Name, a.Value)
		}
	case 'e':
		if f.of != nil && !slices.Contains(f.of, a.Value) {
			r.fail("%s is %q, expected one of %s", a.Name, a.Value, strings.Join(f.of, ", "))
		}
	case 's':
		if a.Value != "" {
			r.fail("%s is %q, expected nothing", a.Name, a.Value)
		}
	}
	return a.Value
}

// XML returns index.xml.
func (m *Mk1) XML() []byte {
	var b bytes.Buffer
	attributes := func(as []Attribute, known map[string]form) {
		for _, a := range as {
			v := a.Value
			if known[a.Name].kind == 't' {
				v = base64.StdEncoding.EncodeToString([]byte(v))
			}
			fmt.Fprintf(&b, ` %s="%s"`, a.Name, v)
		}
	}
	b.WriteString(mk1Declaration + "<layout")
	attributes(m.Attributes, mk1Layout)
	b.WriteString(">")
	for i := range m.Pages {
		b.WriteString("<tabpage")
		attributes(m.Pages[i].Attributes, mk1Tab)
		b.WriteString(">")
		for k := range m.Pages[i].Controls {
			c := &m.Pages[i].Controls[k]
			b.WriteString("<control")
			attributes(c.Attributes, mk1Types[c.Get("type")])
			b.WriteString(">")
			for _, as := range c.MIDI {
				b.WriteString("<midi")
				attributes(as, mk1MIDI)
				b.WriteString("/>")
			}
			b.WriteString("</control>")
		}
		b.WriteString("</tabpage>")
	}
	b.WriteString("</layout>")
	return b.Bytes()
}

// Write returns the file.
func (m *Mk1) Write() ([]byte, error) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	f, err := z.CreateHeader(&zip.FileHeader{Name: "index.xml", Method: zip.Deflate, Modified: time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)})
	if err == nil {
		_, err = f.Write(m.XML())
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("touchosc: %w", err)
	}
	return b.Bytes(), nil
}
