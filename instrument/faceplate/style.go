package faceplate

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Themes of a panel in a browser: classes of the svg or of anything around it.
const (
	Matte = "fp-matte" // dark and matte; what there is without a class
	Light = "fp-light" // brushed aluminium
	Stage = "fp-stage" // black, for a dark stage: nothing but what is played shines
)

// palette names the colours of one theme.
type palette map[string]string

var matte = palette{
	"panel": "#1b1f27", "panel-edge": "#2b313c", "ink": "#dde3ec", "dim": "#8b95a5", "line": "#3a4250",
	"plate": "#d5dbe4", "plate-ink": "#161a21", "plate-dim": "#56606f",
	"knob": "#2c323d", "knob-edge": "#0c0e12", "knob-top": "#434b59", "pointer": "#f4f7fb", "tick": "#717b8b",
	"metal": "#aeb6c2", "metal-edge": "#5b6370", "metal-dark": "#343a45", "hole": "#07080a",
	"glass": "#07090c", "led": "#3a1d1d", "led-edge": "#0c0e12", "screw": "#0b0d11",
}

var light = palette{
	"panel": "#e6e8eb", "panel-edge": "#c3c8cf", "ink": "#1a1e26", "dim": "#5c6675", "line": "#b2b9c3",
	"plate": "#262b35", "plate-ink": "#eef2f7", "plate-dim": "#a3adbb",
	"tick": "#7b8594", "knob": "#23272f", "knob-top": "#3a414d", "screw": "#8d949e", "metal-edge": "#7b838f",
}

var stage = palette{
	"panel": "#000000", "panel-edge": "#20242b", "ink": "#ffffff", "dim": "#aab4c3", "line": "#3c4452",
	"plate": "#15191f", "plate-ink": "#ffffff", "plate-dim": "#aab4c3",
	"knob": "#14171c", "knob-top": "#20252d", "knob-edge": "#59626f", "tick": "#8b96a6", "pointer": "#ffffff",
	"metal": "#59626f", "metal-edge": "#2d333c", "metal-dark": "#14171c", "led": "#1c1f24",
}

// accents are the colours of families, on a dark panel and on a light one.
var accents = map[string][2]string{
	"workload": {"#5b93ff", "#2456c8"},
	"network":  {"#37c3d6", "#0b7f90"},
	"machine":  {"#a78bfa", "#6840cf"},
	"control":  {"#f5b945", "#a36a00"},
	"source":   {"#ff7a6b", "#c23a2b"},
	"shaper":   {"#6fd388", "#23803d"},
	"time":     {"#f283c0", "#b13a7f"},
	"utility":  {"#9fb3cc", "#4d627d"},
	"io":       {"#e3d9b8", "#7d6c33"},
}

// signals are the colours of what jacks carry, the same for cables.
var signals = map[string]string{
	"audio": "#ff7a6b", "CV": "#5b93ff", "pitch": "#f283c0", "gate": "#f5b945", "trigger": "#ffdf6b",
	"claim": "#a78bfa", "pods": "#37c3d6", "lifecycle": "#a78bfa", "selector": "#37c3d6", "placement": "#6fd388", "scale": "#9fb3cc",
}

// SignalColour returns the colour of a kind of signal as #rrggbb: of the ring
// of a jack, and by custom of a cable from it.
func SignalColour(kind string) string {
	if c, ok := signals[kind]; ok {
		return c
	}
	return signals["CV"]
}

// FamilyColour returns the colour of a family as #rrggbb on a dark panel.
func FamilyColour(family string) string {
	if c, ok := accents[family]; ok {
		return c[0]
	}
	return accents["utility"][0]
}

// paint is how a role is drawn: names of the palette, or none.
type paint struct {
	fill, stroke string
	width        float64
	more         string // attributes that are the same in both flavours
}

// paints are the roles of shapes. A role is a class in a browser.
var paints = map[string]paint{
	"panel":     {fill: "panel", stroke: "panel-edge", width: 0.3},
	"screw":     {fill: "screw"},
	"accent":    {stroke: "accent", width: 0.45},
	"fill":      {fill: "accent"},
	"frame":     {stroke: "accent", width: 0.32, more: ` stroke-linejoin="round"`},
	"icon":      {stroke: "accent", width: 0.32, more: ` stroke-linejoin="round" stroke-linecap="round"`},
	"art":       {stroke: "accent", width: 0.5, more: ` stroke-linejoin="round" stroke-linecap="round"`},
	"art-frame": {stroke: "line", width: 0.4, more: ` stroke-linejoin="round"`},
	"line":      {stroke: "line", width: 0.25},
	"link":      {stroke: "tick", width: 0.3},
	"plate":     {fill: "plate"},
	"title":     {fill: "ink"},
	"bound":     {fill: "accent"},
	"label":     {fill: "ink"},
	"choice":    {fill: "dim"},
	"zone":      {fill: "dim"},
	"maker":     {fill: "dim"},
	"on-plate":  {fill: "plate-ink"},
	"dim-plate": {fill: "plate-dim"},
	"ticks":     {stroke: "tick", width: 0.22, more: ` stroke-linecap="round"`},
	"mark":      {stroke: "accent", width: 0.4, more: ` stroke-linecap="round"`},
	"skirt":     {fill: "knob", stroke: "knob-edge", width: 0.25},
	"cap":       {fill: "knob-top"},
	"pointer":   {stroke: "pointer", width: 0.55, more: ` stroke-linecap="round"`},
	"nut":       {fill: "metal", stroke: "metal-edge", width: 0.2},
	"bush":      {fill: "metal-dark"},
	"hole":      {fill: "hole"},
	"lever":     {fill: "metal", stroke: "metal-edge", width: 0.15},
	"slot":      {stroke: "hole", width: 0.55, more: ` stroke-linecap="round"`},
	"push":      {fill: "accent", stroke: "knob-edge", width: 0.3},
	"glass":     {fill: "glass", stroke: "line", width: 0.2},
	"grid":      {stroke: "line", width: 0.12},
	"segment":   {fill: "led"},
	"led":       {fill: "led", stroke: "led-edge", width: 0.15},
	"value":     {fill: "glow"},
}

// CSS returns the style sheet of panels in a browser, for a page that shows
// many. Every colour is a variable that begins with --fp-.
func CSS() string {
	var b strings.Builder
	vars := func(selector string, p palette) {
		fmt.Fprintf(&b, "%s{", selector)
		for _, k := range slices.Sorted(maps.Keys(p)) {
			fmt.Fprintf(&b, "--fp-%s:%s;", k, p[k])
		}
		b.WriteString("}\n")
	}
	vars(":root,."+Matte, matte)
	vars("."+Light, light)
	vars("."+Stage, stage)
	for _, f := range slices.Sorted(maps.Keys(accents)) {
		fmt.Fprintf(&b, ".fp-%[1]s{--fp-accent:%[2]s;--fp-glow:%[2]s}.%[3]s .fp-%[1]s,.fp-%[1]s.%[3]s{--fp-accent:%[4]s}\n", f, accents[f][0], Light, accents[f][1])
	}
	for _, k := range slices.Sorted(maps.Keys(signals)) {
		fmt.Fprintf(&b, ".fp-%s{stroke:var(--fp-signal-%s,%s)}\n", signalClass(k), strings.ToLower(k), signals[k])
	}
	for _, r := range slices.Sorted(maps.Keys(paints)) {
		p := paints[r]
		fmt.Fprintf(&b, ".fp .%s{", r)
		if p.fill != "" {
			fmt.Fprintf(&b, "fill:var(--fp-%s)", p.fill)
		} else {
			b.WriteString("fill:none")
		}
		if p.stroke != "" {
			fmt.Fprintf(&b, ";stroke:var(--fp-%s);stroke-width:%s", p.stroke, mm(p.width))
		}
		b.WriteString("}\n")
	}
	b.WriteString(`.fp{display:block;user-select:none;-webkit-user-select:none}
.fp text{font-family:"Go","Go Medium","Inter","Helvetica Neue",Arial,sans-serif;font-weight:500;stroke:none;pointer-events:none}
.fp .title,.fp .maker,.fp .zone,.fp .dim-plate{font-weight:700}
.fp text.value{font-family:"Go Mono","DejaVu Sans Mono",ui-monospace,monospace;font-weight:400}
.fp .signal{fill:none;stroke-width:.7}
.fp [data-param],.fp [data-input],.fp [data-output]{cursor:pointer}
.fp .lit{fill:var(--fp-lit,#ff5a4a)}
`)
	return b.String()
}

func signalClass(kind string) string { return "signal-" + strings.ToLower(kind) }
