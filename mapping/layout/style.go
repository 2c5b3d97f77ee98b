package layout

import (
	"math"
	"strings"
	"unicode/utf8"
)

// The stage is dark, and what matters is bright.
var (
	ground   = rgb(0x0a0d12)
	barColor = rgb(0x131822)
	panel    = rgb(0x161c27)
	well     = rgb(0x222b3a) // what a control is filled from
	ink      = rgb(0xf4f7fb)
	quiet    = rgb(0xa9b5c7)
	alarm    = rgb(0xff4d5e)
	warning  = rgb(0xffb020)
	lit      = rgb(0x3ddc97)
	calm     = rgb(0x2484ff) // far from alarm and warning, to every eye
	neutral  = rgb(0x7f8ea6)
)

// kindColors are what a kind of module is known by on every page: each of the
// cluster its own, those of sound by what they do.
var kindColors = map[string]Color{
	"deployment": rgb(0x5b9dff), "pod": rgb(0x3ddc97), "service": rgb(0xff7ab8), "ingress": rgb(0xff9a4d), "node": rgb(0xffc93c),
	"namespace": rgb(0xa9b5c7), "hpa": rgb(0xb49bff), "cronjob": rgb(0x38d6ee), "job": rgb(0x35dcc6), "controller": rgb(0xff8585),
	"etcd": rgb(0xcf94ff), "apiserver": rgb(0x7bb6ff), "rule": rgb(0xee8cf5),
	"vco": rgb(0xffb766), "voice": rgb(0xffb766), "noise": rgb(0xffb766), "drum": rgb(0xffb766),
	"vcf": rgb(0x80d4ff), "vca": rgb(0x80d4ff), "mixer": rgb(0x80d4ff), "compressor": rgb(0x80d4ff), "audio_out": rgb(0x80d4ff),
	"adsr": rgb(0xbdea6b), "lfo": rgb(0xbdea6b), "slew": rgb(0xbdea6b), "attenuverter": rgb(0xbdea6b), "sample_hold": rgb(0xbdea6b),
	"clock": rgb(0xfde36b), "euclid": rgb(0xfde36b), "quantizer": rgb(0xfde36b),
	"midi_in": rgb(0xe6a8ff), "midi_out": rgb(0xe6a8ff),
	"delay": rgb(0xaab9ff), "reverb": rgb(0xaab9ff), "chorus": rgb(0xaab9ff), "scope": rgb(0x93f0b4),
}

func kindColor(kind string) Color {
	if c, ok := kindColors[kind]; ok {
		return c
	}
	return neutral
}

// shortKinds are kinds whose name does not fit on a tab.
var shortKinds = map[string]string{
	"deployment": "deploy", "namespace": "space", "controller": "control", "apiserver": "api", "attenuverter": "atten",
	"sample_hold": "s & h", "compressor": "comp", "quantizer": "quant", "audio_out": "out",
}

func shortKind(kind string) string {
	if s, ok := shortKinds[kind]; ok {
		return s
	}
	return spaced(kind)
}

// phaseColors are a pod's phases on a tablet, in the order of the words.
var phaseColors = map[string]Color{
	"": rgb(0x1b2230), "pending": rgb(0x8a6a12), "starting": rgb(0x1f5fae), "ready": rgb(0x14804f), "failed": rgb(0xa31d2c),
	"crashloop": rgb(0xc2461a), "terminating": rgb(0x5a4a78), "succeeded": rgb(0x2c6f78),
}

// glyph is how wide a character is on average, of the height of its font; the
// wide ones count by themselves. It errs to the wide side.
const glyph = 0.56

// textWidth estimates how wide a line is in points.
func textWidth(line string, size float64) float64 {
	w := 0.0
	for _, r := range line {
		switch {
		case strings.ContainsRune("ijlI.,:;'|!()/ -", r):
			w += 0.36
		case strings.ContainsRune("mwMW%@", r):
			w += 0.88
		case r >= 'A' && r <= 'Z' || r > 0x2000:
			w += 0.68
		default:
			w += glyph
		}
	}
	return w * size
}

// lineHeight is from one line to the next, of the height of the font.
const lineHeight = 1.2

// smallest is the smallest type that is set, in points.
const smallest = 9

// fit sets words in w × h: in the size wanted or less, on one line or more. It
// shortens a line that fits in no way.
func fit(text string, w, h, size float64) (string, float64) {
	w = max(w-2, 1)
	for size = math.Floor(size); ; size-- {
		if size < smallest {
			size = smallest
		}
		lines := wrap(text, w, size, max(1, int(h/(lineHeight*size))))
		if lines != "" || text == "" {
			return lines, size
		}
		if size <= smallest {
			break
		}
	}
	most := max(1, int(h/(lineHeight*size)))
	all := strings.Fields(text)
	if most == 1 || len(all) == 1 {
		return cut(text, w, size), size
	}
	out := ""
	for i, word := range all[:min(most, len(all))] {
		if i == most-1 {
			word = strings.Join(all[i:], " ")
		}
		if i > 0 {
			out += "\n"
		}
		out += cut(word, w, size)
	}
	return out, size
}

// wrap breaks words into at most so many lines, or returns nothing.
func wrap(text string, w, size float64, most int) string {
	if textWidth(text, size) <= w {
		return text
	}
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if textWidth(word, size) > w {
			return ""
		}
		longer := word
		if line != "" {
			longer = line + " " + word
		}
		if textWidth(longer, size) > w {
			lines = append(lines, line)
			longer = word
		}
		line = longer
	}
	if lines = append(lines, line); len(lines) > most {
		return ""
	}
	return strings.Join(lines, "\n")
}

// cut shortens a line to a width.
func cut(line string, w, size float64) string {
	if textWidth(line, size) <= w {
		return line
	}
	for line != "" {
		_, n := utf8.DecodeLastRuneInString(line)
		line = line[:len(line)-n]
		if textWidth(line+"…", size) <= w {
			break
		}
	}
	return strings.TrimRight(line, " ") + "…"
}
