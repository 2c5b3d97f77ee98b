package site

import (
	"cmp"
	"fmt"
	"html/template"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/instrument"
	"github.com/k8s-synth/k8s-synth/instrument/faceplate"
)

// sheet is what a page tells of one module.
type sheet struct {
	Spec    *instrument.ModuleSpec
	Family  string
	Example Example
	layout  *faceplate.Layout
}

// families are those of faceplate, in the order of the index, with what they
// have in common.
var families = []struct{ Name, Title, About string }{
	{"workload", "Workloads", "What runs. Replicas are voices, a Job is an envelope, a CronJob a slow clock, an autoscaler a hand on a knob."},
	{"network", "Network", "What leads to it. A request is a trigger, an endpoint is struck, a route is a switch."},
	{"machine", "Machines", "What it runs on: the nodes as places in the room, the store as a clock, the API as the door."},
	{"control", "Control", "Loops of the player's own, and rules that turn what happens into notes."},
	{"source", "Sources", "What sounds."},
	{"shaper", "Shapers", "What sound goes through."},
	{"time", "Time and envelopes", "What moves by itself."},
	{"utility", "Utilities", "Voltages, held, bent, quantized and looked at."},
	{"io", "In and out", "Speakers, instruments, MIDI and the jacks of a case."},
}

// sheets makes a sheet of each module, in the order of the families.
func (s *Site) sheets() error {
	for _, spec := range instrument.Specs() {
		l, err := faceplate.Build(spec)
		if err != nil {
			return fmt.Errorf("site: %w", err)
		}
		s.modules = append(s.modules, &sheet{Spec: spec, Family: l.Family, layout: l, Example: s.cfg.Examples[spec.Kind]})
	}
	rank := func(m *sheet) int {
		for i, f := range families {
			if f.Name == m.Family {
				return i
			}
		}
		return len(families)
	}
	slices.SortStableFunc(s.modules, func(a, b *sheet) int { return cmp.Compare(rank(a), rank(b)) })
	return nil
}

// Path is the page of the module, from the root of the pages.
func (m *sheet) Path() string { return "module/" + m.Spec.Kind + ".html" }

// FamilyTitle is the family's name for people.
func (m *sheet) FamilyTitle() string {
	for _, f := range families {
		if f.Name == m.Family {
			return f.Title
		}
	}
	return m.Family
}

// Panel is the panel, to stand within the page.
func (m *sheet) Panel() (template.HTML, error) {
	return inline(m.layout, "p", fmt.Sprintf("The panel of %s: %d knobs and switches, %d inputs, %d outputs", m.Spec.Title, m.count(faceplate.Knob, faceplate.Selector, faceplate.Toggle), len(m.Spec.Inputs), len(m.Spec.Outputs)))
}

func (m *sheet) count(kinds ...faceplate.Part) (n int) {
	for i := range m.layout.Controls {
		if slices.Contains(kinds, m.layout.Controls[i].Part) {
			n++
		}
	}
	return n
}

// Width is how wide the panel is cut, in millimetres; Wide tells that it needs
// more of the page than others.
func (m *sheet) Width() string { return strconv.FormatFloat(m.layout.Width, 'f', -1, 64) }

// Wide tells that the panel needs more of the page than others.
func (m *sheet) Wide() bool { return m.Spec.HP >= 20 }

// Rail is what the module draws from one rail.
type Rail struct {
	Name string
	MA   int
}

// Rails are those of the case.
func (m *sheet) Rails() []Rail {
	return []Rail{{"+12 V", m.Spec.Plus12}, {"−12 V", m.Spec.Minus12}, {"+5 V", m.Spec.Plus5}}
}

// Object is what the module stands for, and Fields are what it shows of it.
func (m *sheet) Object() string {
	what, _, _ := strings.Cut(m.Spec.Bound, ":")
	return what
}

// Fields are what the module shows of its object.
func (m *sheet) Fields() (list []string) {
	_, rest, _ := strings.Cut(m.Spec.Bound, ":")
	for f := range strings.FieldsFuncSeq(rest, func(r rune) bool { return r == ',' || r == ';' }) {
		list = append(list, strings.TrimSpace(f))
	}
	return list
}

// Knob is a row of the table of knobs.
type Knob struct {
	ID, Name, Range, Default, CV, Doc string
	Tags                              []string
}

// Knobs are the knobs, switches and words. An attenuverter is told of with the
// knob that it belongs to.
func (m *sheet) Knobs() (list []Knob) {
	for i := range m.Spec.Params {
		p := &m.Spec.Params[i]
		if base, ok := strings.CutSuffix(p.Name, "_att"); ok && m.Spec.Param(base) >= 0 {
			continue
		}
		k := Knob{ID: "p-" + p.Name, Name: p.Name, Range: takes(p), Default: standing(p), Doc: p.Doc}
		if p.PerVolt != 0 {
			k.CV = fmt.Sprintf("%s a volt at %s_cv; %s_att sets its share", perVolt(p), p.Name, p.Name)
		}
		switch {
		case p.Counter && p.Cluster:
			k.Tags = append(k.Tags, "topology, counts")
		case p.Cluster:
			k.Tags = append(k.Tags, "topology")
		case p.Live:
			k.Tags = append(k.Tags, "live")
		}
		list = append(list, k)
	}
	return list
}

// Jack is a row of a table of jacks: one, or several in a row that differ in
// their number.
type Jack struct {
	IDs, Name, Last, Kind, Volts, Doc string
	Poly                              bool
	More                              []string
}

// Ins are the inputs.
func (m *sheet) Ins() []Jack { return jacks(m.Spec.Inputs) }

// Outs are the outputs.
func (m *sheet) Outs() []Jack { return jacks(m.Spec.Outputs) }

var ending = regexp.MustCompile(`^(.*)_(\d+)$`)

func jacks(specs []instrument.JackSpec) (list []Jack) {
	for i := 0; i < len(specs); i++ {
		s := &specs[i]
		j := Jack{IDs: "p-" + s.Name, Name: s.Name, Kind: s.Kind.String(), Volts: s.Unit, Doc: s.Doc, Poly: s.Poly}
		if j.Volts == "" {
			j.Volts = usual(s.Kind)
		}
		if s.Normal != 0 {
			j.More = append(j.More, fmt.Sprintf("normalled to %g V", s.Normal))
		}
		if s.Follows != "" {
			j.More = append(j.More, "normalled to "+s.Follows)
		}
		if s.Button {
			j.More = append(j.More, "has a button")
		}
		if s.Watch {
			j.More = append(j.More, "the cluster hears its edges")
		}
		if s.Bargraph {
			j.More = append(j.More, "has a bargraph")
		}
		if at := ending.FindStringSubmatch(s.Name); at != nil && at[2] == "1" {
			n := 1
			for i+n < len(specs) {
				next := &specs[i+n]
				if next.Name != fmt.Sprintf("%s_%d", at[1], n+1) || next.Kind != s.Kind || next.Unit != s.Unit || next.Poly != s.Poly || next.Follows != "" != (s.Follows != "") {
					break
				}
				j.IDs += " p-" + next.Name
				n++
			}
			if n > 2 {
				j.Last = specs[i+n-1].Name
				j.Doc = regexp.MustCompile(`\b1\b`).ReplaceAllString(j.Doc, "n")
				if s.Follows != "" {
					j.More[0] = "normalled to " + regexp.MustCompile(`1$`).ReplaceAllString(s.Follows, "n")
				}
				i += n - 1
			} else {
				j.IDs = "p-" + s.Name
			}
		}
		list = append(list, j)
	}
	return list
}

// takes is what a knob may stand at.
func takes(p *instrument.ParamSpec) string {
	t := p.Range()
	switch {
	case p.Text && (p.Free || p.Optional):
		t = "text, or nothing"
	case p.Whole && len(p.Choices) == 0:
		t += ", whole"
	case p.Curve == instrument.Exponential:
		t += ", exponential"
	}
	return t
}

// standing is where a knob stands by default.
func standing(p *instrument.ParamSpec) string {
	switch {
	case p.Text:
		return cmp.Or(p.Default, "nothing")
	case len(p.Choices) > 0:
		return p.Choices[int(p.Value)]
	}
	return strings.TrimSpace(strconv.FormatFloat(p.Value, 'f', -1, 64) + " " + p.Unit)
}

func perVolt(p *instrument.ParamSpec) string {
	n := strconv.FormatFloat(p.PerVolt, 'f', -1, 64)
	switch {
	case p.Curve == instrument.Exponential && p.PerVolt == 1:
		return "an octave"
	case p.Curve == instrument.Exponential:
		return n + " octaves"
	case p.PerVolt == 1:
		return strings.TrimSpace("1 " + strings.TrimSuffix(p.Unit, "s"))
	}
	return strings.TrimSpace(n + " " + p.Unit)
}

// usual is what a jack carries that does not say otherwise.
func usual(k instrument.SignalKind) string {
	switch k {
	case instrument.Audio:
		return fmt.Sprintf("±%d V", instrument.AudioVolts)
	case instrument.CV:
		return fmt.Sprintf("0 … 10 V or ±%d V", instrument.AudioVolts)
	case instrument.Pitch:
		return "1 V an octave"
	case instrument.Scale:
		return "1 V a replica"
	}
	return fmt.Sprintf("0 or %d V", instrument.GateVolts)
}

// OSC is an example of the module's addresses.
func (m *sheet) OSC() (list []string) {
	name := m.name()
	for i := range m.Spec.Params {
		p := &m.Spec.Params[i]
		a := fmt.Sprintf("/%s/%s/%s", m.Spec.Kind, name, p.Name)
		switch {
		case len(list) >= 2:
			return append(list, m.read(name)...)
		case p.Text:
		case len(p.Choices) > 0:
			list = append(list, a+" "+p.Choices[len(p.Choices)-1])
		case !p.Counter:
			v := p.Value
			if v == p.Min || v == 0 {
				v = p.Min + (p.Max-p.Min)/4
			} else {
				v = p.Min + (p.Max-p.Min)/2
			}
			if p.Whole || p.Max-p.Min > 20 {
				v = float64(int(v))
			}
			list = append(list, fmt.Sprintf("%s %g", a, v))
		}
	}
	return append(list, m.read(name)...)
}

func (m *sheet) read(name string) []string {
	if len(m.Spec.Outputs) == 0 {
		return nil
	}
	return []string{fmt.Sprintf("/%s/%s/%s", m.Spec.Kind, name, m.Spec.Outputs[len(m.Spec.Outputs)-1].Name)}
}

// name is that of the module in the example.
func (m *sheet) name() string {
	if at := regexp.MustCompile(`id: [a-z_]+/([a-z0-9-]+)`).FindStringSubmatch(m.Example.YAML); at != nil {
		return at[1]
	}
	return "main"
}

// Address is the beginning of the module's addresses.
func (m *sheet) Address() string { return "/" + m.Spec.Kind + "/" + m.name() }

// funcs are what templates call.
func (s *Site) funcs() template.FuncMap {
	return template.FuncMap{
		"words":    words,
		"signal":   faceplate.SignalColour,
		"mod":      func(a, b int) int { return a % b },
		"families": func() any { return families },
		"of": func(family string) (list []*sheet) {
			for _, m := range s.modules {
				if m.Family == family {
					list = append(list, m)
				}
			}
			return list
		},
		"prose":     func(s string) []string { return strings.Split(strings.TrimSpace(s), "\n") },
		"reconcile": reconcile,
		"loop":      loop,
		"buses":     buses,
		"boundary":  boundary,
		"ladder":    ladder,
		"threshold": func() string { return fmt.Sprintf("%g", dsp.SchmittHigh) },
		"score":     func(p Piece, width int) template.HTML { return score(p, width) },
		"title": func(kind string) string {
			if spec := instrument.Spec(kind); spec != nil {
				return spec.Title
			}
			return kind
		},
		"camel": func(s string) template.HTML { // a long name may break where a word of it begins
			return template.HTML(hump.ReplaceAllString(template.HTMLEscapeString(s), "$1<wbr>$2"))
		},
		"split": func(s, sep string) []string { return strings.Split(s, sep) },
		"isKind": func(head []string) bool {
			return len(head) == 2 && head[0] == "kind" // of signals
		},
		"isCable":  func(head []string) bool { return len(head) > 1 && head[0] == "from" && head[1] == "to" },
		"cableEnd": cableEnd,
	}
}

var hump = regexp.MustCompile(`([a-z])([A-Z])`)

// cableEnd is an end of a cable in a table, `kind/jack`, with the kind of its
// signal.
func cableEnd(text string, output bool) (e struct{ Kind, Jack, Signal string }) {
	e.Kind, e.Jack, _ = strings.Cut(strings.Trim(text, "`"), "/")
	spec := instrument.Spec(e.Kind)
	if spec == nil {
		return e
	}
	list := spec.Inputs
	if output {
		list = spec.Outputs
	}
	for _, j := range list {
		if j.Name == e.Jack {
			e.Signal = j.Kind.String()
		}
	}
	return e
}
