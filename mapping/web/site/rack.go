package site

import (
	"bytes"
	"fmt"
	"math"
	"strings"

	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// hero is the rack of the first page: one row of 84 HP, patched as a player
// would. It is a patch that compiles.
var hero = struct {
	modules []instrument.Module
	cables  []string
	lit     map[string]string // jacks whose light is on
}{
	modules: []instrument.Module{
		{ID: "deployment/web", Params: map[string]float64{"replicas": 2, "cpu": 3200}},
		{ID: "pod/web-1"},
		{ID: "pod/web-2", Params: map[string]float64{"tune": 7}},
		{ID: "service/web"},
		{ID: "hpa/web"},
		{ID: "voice/chord", Params: map[string]float64{"attack": 0.8, "bright": 2.5}},
		{ID: "reverb/room"},
		{ID: "audio_out/main"},
	},
	cables: []string{
		"deployment/web/claim_1 -> pod/web-1/lifecycle", "deployment/web/claim_2 -> pod/web-2/lifecycle",
		"pod/web-1/ready -> deployment/web/ready_1", "pod/web-2/ready -> deployment/web/ready_2",
		"deployment/web/pods -> service/web/selector",
		"service/web/endpoint_1 -> pod/web-1/request", "service/web/endpoint_2 -> pod/web-2/request",
		"hpa/web/scale -> deployment/web/replicas_cv",
		"deployment/web/running -> voice/chord/gate", "deployment/web/ready -> voice/chord/open",
		"deployment/web/error -> voice/chord/tension", "deployment/web/event -> voice/chord/strike",
		"deployment/web/pitch -> voice/chord/pitch",
		"voice/chord/left -> reverb/room/in_left", "voice/chord/right -> reverb/room/in_right",
		"reverb/room/left -> audio_out/main/left", "reverb/room/right -> audio_out/main/right",
	},
	lit: map[string]string{
		"deployment/web": "claim_1 claim_2 pods running ready ready_1 ready_2 ready_count", "pod/web-1": "ready exists load audio lifecycle phase", "pod/web-2": "ready exists phase",
		"service/web": "endpoint_1 endpoint_count", "hpa/web": "current desired scale", "voice/chord": "left right", "reverb/room": "left right",
	},
}

// heroPatch is the rack as a patch.
func heroPatch() (*instrument.Patch, error) {
	p := &instrument.Patch{Modules: hero.modules}
	for _, text := range hero.cables {
		from, to, _ := strings.Cut(text, " -> ")
		a, err := instrument.ParseJackRef(from)
		if err != nil {
			return nil, err
		}
		b, err := instrument.ParseJackRef(to)
		if err != nil {
			return nil, err
		}
		p.Cables = append(p.Cables, instrument.Cable{From: a, To: b})
	}
	return p, p.Validate()
}

// heroSVG draws the rack: rails, panels, lights, and cables that hang as those
// of the page do.
func heroSVG() ([]byte, error) {
	patch, err := heroPatch()
	if err != nil {
		return nil, fmt.Errorf("site: the rack of the first page: %w", err)
	}
	const beneath, side = 36.0, 5.0
	type stand struct {
		x      float64
		layout *faceplate.Layout
	}
	stands := map[instrument.ModuleID]stand{}
	var panels, lights bytes.Buffer
	hp := 0
	for i := range patch.Modules {
		m := &patch.Modules[i]
		spec := m.Spec()
		l, err := faceplate.Build(spec)
		if err != nil {
			return nil, err
		}
		for c := range l.Controls {
			if v, ok := m.Params[l.Controls[c].Name]; ok && (l.Controls[c].Part == faceplate.Knob || l.Controls[c].Part == faceplate.Trimmer) {
				l.Controls[c].Value = v
			}
		}
		at := stand{float64(hp) * faceplate.Pitch, l}
		stands[m.ID] = at
		var b bytes.Buffer
		id := strings.ReplaceAll(string(m.ID), "/", "-")
		if err := faceplate.SVG(&b, l, faceplate.Style{Outlines: true, ID: id}); err != nil {
			return nil, err
		}
		_, body, _ := strings.Cut(strings.TrimSuffix(strings.TrimSpace(b.String()), "</svg>"), "\n")
		fmt.Fprintf(&panels, "<g class=\"fp fp-%s\" transform=\"translate(%s 0)\">\n%s</g>\n", l.Family, num(at.x), body)
		for c := range l.Controls {
			k := &l.Controls[c]
			if k.Part != faceplate.LED {
				continue
			}
			for name := range strings.FieldsSeq(hero.lit[string(m.ID)]) {
				if k.Name == name {
					fmt.Fprintf(&lights, "<circle class=\"glow\" cx=\"%s\" cy=\"%s\" r=\"2.6\"/><circle class=\"lamp\" cx=\"%s\" cy=\"%s\" r=\"0.8\"/>\n", num(at.x+k.X), num(k.Y), num(at.x+k.X), num(k.Y))
				}
			}
		}
		hp += spec.HP
	}
	// What is left of the row is a blank plate.
	const row = 84
	width := row * faceplate.Pitch
	if hp < row {
		x, w := float64(hp)*faceplate.Pitch, float64(row-hp)*faceplate.Pitch-0.3
		fmt.Fprintf(&panels, "<g class=\"fp\" transform=\"translate(%s 0)\"><rect class=\"panel\" x=\"0.15\" y=\"0.15\" width=\"%s\" height=\"%s\" rx=\"0.5\"/>", num(x), num(w-0.3), num(faceplate.Height-0.3))
		for _, y := range []float64{3, faceplate.Height - 3} {
			fmt.Fprintf(&panels, "<rect class=\"screw\" x=\"%s\" y=\"%s\" width=\"4.4\" height=\"3.2\" rx=\"1.6\"/>", num(w/2-2.2), num(y-1.6))
		}
		panels.WriteString("</g>\n")
	}
	find := func(r instrument.JackRef, part faceplate.Part) (x, y float64, signal string) {
		s := stands[r.Module]
		for i := range s.layout.Controls {
			if c := &s.layout.Controls[i]; c.Part == part && c.Name == r.Jack {
				return s.x + c.X, c.Y, c.Signal
			}
		}
		return 0, 0, ""
	}
	var shadows, cables, plugs bytes.Buffer
	for i, c := range patch.Cables {
		x1, y1, signal := find(c.From, faceplate.Output)
		x2, y2, _ := find(c.To, faceplate.Input)
		if x1 == 0 || x2 == 0 {
			return nil, fmt.Errorf("site: no jacks for the cable %s -> %s", c.From, c.To)
		}
		d := math.Hypot(x2-x1, y2-y1)
		sag := math.Min(14+d*0.2+float64(i%4)*3, 60)
		path := fmt.Sprintf("M%s %sC%s %s %s %s %s %s", num(x1), num(y1), num(x1+(x2-x1)*0.12), num(y1+sag), num(x2-(x2-x1)*0.12), num(y2+sag), num(x2), num(y2))
		fmt.Fprintf(&shadows, "<path d=\"%s\"/>", path)
		fmt.Fprintf(&cables, "<path stroke=\"%s\" d=\"%s\"/>", faceplate.SignalColour(signal), path)
		for _, at := range [][2]float64{{x1, y1}, {x2, y2}} {
			fmt.Fprintf(&plugs, "<circle class=\"plug\" stroke=\"%s\" cx=\"%s\" cy=\"%s\" r=\"3\"/><circle class=\"tip\" cx=\"%s\" cy=\"%s\" r=\"1.1\"/>", faceplate.SignalColour(signal), num(at[0]), num(at[1]), num(at[0]), num(at[1]))
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"%s -6 %s %s\">\n<style>%s%s</style>\n", num(-side), num(width+2*side), num(6+faceplate.Height+beneath), panelCSS(), heroCSS)
	fmt.Fprintf(&b, "<rect class=\"cheek\" x=\"%s\" y=\"-5\" width=\"%s\" height=\"%s\" rx=\"1.4\"/>\n", num(-side+0.6), num(width+2*side-1.2), num(faceplate.Height+10))
	fmt.Fprintf(&b, "<rect class=\"deep\" x=\"0\" y=\"-1.2\" width=\"%s\" height=\"%s\"/>\n", num(width), num(faceplate.Height+2.4))
	b.Write(panels.Bytes())
	b.Write(lights.Bytes())
	fmt.Fprintf(&b, "<g class=\"shadow\" transform=\"translate(1.4 2.2)\">%s</g>\n", shadows.Bytes())
	fmt.Fprintf(&b, "<g class=\"plugs\">%s</g>\n<g class=\"cable\">%s</g>\n", plugs.Bytes(), cables.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes(), nil
}

const heroCSS = `.cheek{fill:#262b34;stroke:#3a4250;stroke-width:.3}.deep{fill:#050608}
.cable path{fill:none;stroke-width:1.75;stroke-linecap:round}
.shadow path{fill:none;stroke:#000;stroke-opacity:.34;stroke-width:1.9;stroke-linecap:round}
.plug{fill:#14171c;stroke-width:.9}.tip{fill:#3a414d}
.lamp{fill:#d9ffe2}.glow{fill:#7dff9a;fill-opacity:.38}
@media (prefers-color-scheme:light){.cheek{fill:#a9afb8;stroke:#8d949e}.deep{fill:#3c424b}.shadow path{stroke-opacity:.22}.plug{fill:#23272f}.lamp{fill:#0f9c3c}.glow{fill:#25c45a}}
`

// iconSVG is the mark: the heptagon of the cluster with a jack in it.
const iconSVG = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 24 24"><style>.f{fill:none;stroke:#5b93ff;stroke-width:1.7;stroke-linejoin:round}.j{fill:#5b93ff}.h{fill:#0d0f13}@media (prefers-color-scheme:light){.f{stroke:#2456c8}.j{fill:#2456c8}.h{fill:#fff}}</style><path class="f" d="M12 1.6l8.1 3.9l2 8.8l-5.6 7h-9l-5.6-7l2-8.8z"/><circle class="j" cx="12" cy="12" r="4.6"/><circle class="h" cx="12" cy="12" r="2"/></svg>`
