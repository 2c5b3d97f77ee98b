package instrument

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// ProtocolVersion is the version of the signal protocol: voltages, gestures,
// jacks and knobs by name, and what cables mean. It is raised when a patch, a
// cable or a piece of gear that was right before would do something else:
// when a jack, knob or module is renamed or taken away, when its volts, unit,
// range or default change, or when a cable comes to mean something else. What
// is only added does not raise it.
const ProtocolVersion = 1

// kindMeanings says what the volts of each kind of signal mean, in the order
// of the kinds.
var kindMeanings = [...]string{
	Audio:     fmt.Sprintf("sound, ±%g V at its nominal peak; saturates, never wraps", float64(AudioVolts)),
	CV:        fmt.Sprintf("a control voltage, 0 … %g V or ±%g V; the jack's unit says of what", float64(dsp.UnipolarPeak), float64(AudioVolts)),
	Pitch:     fmt.Sprintf("1 V an octave; 0 V is C4, %.4f Hz", dsp.C4Hertz),
	Gate:      fmt.Sprintf("0 or %d V; high while it holds", GateVolts),
	Trigger:   fmt.Sprintf("%d V for %g ms; its edge is the event", GateVolts, dsp.TriggerSeconds*1000),
	Claim:     "a gate that is also a claim: a Deployment's replica, on its way to the Pod panel that is to show it",
	Pods:      "polyphonic gates, one a pod, that are also a label selector: the pods of a Deployment",
	Presence:  "input: takes a claim, or a gate that makes a bare pod exist while it is high",
	Selector:  "input: the pods that a Service selects",
	Placement: "input: the pods that must run on a Node",
	Scale:     "1 V a replica, and an autoscaler's hand on a Deployment",
}

// WriteProtocol writes the signal protocol as Markdown, as the declarations
// of the modules have it: voltages, kinds of signals, what cables mean,
// gestures, and every module. It returns w's error.
func WriteProtocol(w io.Writer) error {
	b := bufio.NewWriter(w)
	p := func(format string, a ...any) { fmt.Fprintf(b, format+"\n", a...) }
	p("# The signal protocol, version %d\n", ProtocolVersion)
	p("What the volts on the jacks of k8s-synth mean, and what the cluster must hold for each cable.")
	p("It is written from the declarations of the modules: `k8s-synth modules --markdown` prints it, and `go test ./instrument -run Protocol -update` writes this file anew.\n")
	p("The version is raised when a patch, a cable or a piece of gear that was right before would do something else: when a jack, knob or module is renamed or taken away, when its volts, unit, range or default change, or when a cable comes to mean something else. What is only added does not raise it. Scene files, the topology and the stream between the processes have versions of their own, which are written in them.\n")

	p("## Voltages\n")
	table(b, "what", "value", "rule")
	row(b, "audio", fmt.Sprintf("±%g V", float64(AudioVolts)), "nominal peak; full scale of a device, and where the limiter ends; what is not a number becomes 0 V and clears the module that it came from")
	row(b, "CV", fmt.Sprintf("0 … %g V or ±%g V", float64(dsp.UnipolarPeak), float64(AudioVolts)), "adds to its knob; the attenuverter, −1 … 1, sets its share; the sum stays within the knob's range")
	row(b, "pitch", "1 V an octave", fmt.Sprintf("0 V = C4 = %.4f Hz; a cent is 0.833 mV", dsp.C4Hertz))
	row(b, "gate, high", fmt.Sprintf("%d V", GateVolts), "while it holds; low is 0 V")
	row(b, "trigger", fmt.Sprintf("%d V for %g ms", GateVolts, dsp.TriggerSeconds*1000), "one that comes while the last is still high makes it last for its whole length again")
	row(b, "gate and trigger inputs", fmt.Sprintf("high above %g V, low below %g V", dsp.SchmittHigh, dsp.SchmittLow), "unchanged between the two; gates of 5 V and of 12 V work as well")
	row(b, "an input with no cable", "−12 … 12 V", "reads its normal, or what a hand sets it to")
	row(b, "a cable", fmt.Sprintf("1 … %d channels", MaxPoly), "a monophonic one serves every channel of a polyphonic input; a monophonic input reads the first channel")
	row(b, "a loop of cables", fmt.Sprintf("%d frames", BlockSize), "is delayed by one block where it closes, and nowhere else")
	row(b, "a cable put in or pulled", fmt.Sprintf("%g ms", cableSeconds*1000), "fades from what the input read before")
	row(b, "a knob", fmt.Sprintf("%g ms", rampSeconds*1000), "takes this long to get where it was turned; whole numbers and switches step")
	row(b, "status of the cluster", fmt.Sprintf("%g ms", rampSeconds*1000), "CV glides to a new value in this time, where its jack does not say otherwise; gates, triggers and pitches step at their frame")
	p("")

	p("## Kinds of signals\n")
	table(b, "kind", "what it means")
	for k, text := range kindMeanings {
		row(b, SignalKind(k).String(), text)
	}
	p("")
	p("Any output goes to any input of a sound module, as in any rack; only a claim and an autoscaler's scale do not. Inputs of cluster modules are choosier: sound changes too fast to be a wish, and a pitch is never yes or no.\n")

	p("## Cables between cluster modules\n")
	p("Such a cable says something that Kubernetes must make true; pulling it unsays it. Every other cable carries volts only.\n")
	table(b, "from", "to", "what the cluster must hold")
	for _, c := range cableMeanings {
		row(b, "`"+c.From+"`", "`"+c.To+"`", c.Holds)
	}
	p("")
	p("A number at the end of a jack's name stands for every row, place or route. Knobs marked *topology* are published with the cables, in one ConfigMap; those marked *live* are set on their object directly, because they move as fast as a hand does. Of a knob with CV the cluster hears the sum: whole numbers with a hysteresis of %g, others when they move by more than %g %% of their range or come to rest, %d times a second at most.\n", wishHysteresis, wishShare*100, wishRate)

	p("## Gestures\n")
	p("A kind jack says beside a trigger what happened: %g V a gesture.\n", gestureVolts)
	table(b, "volts", "gesture", "how a Voice plays it")
	for g := NoGesture; g < gestureCount; g++ {
		row(b, fmt.Sprintf("%g", g.Volts()), g.String(), gestureMeanings[g])
	}
	p("")

	p("## Modules\n")
	table(b, "kind", "title", "HP", "+12 V", "−12 V", "+5 V", "bound to")
	for _, s := range registry {
		bound := s.Bound
		if bound == "" {
			bound = "—"
		}
		row(b, "[`"+s.Kind+"`](#"+anchor(s)+")", s.Title, fmt.Sprint(s.HP), current(s.Plus12), current(s.Minus12), current(s.Plus5), bound)
	}
	for _, s := range registry {
		p("\n### %s (`%s`)\n", s.Title, s.Kind)
		p("%s\n", s.Doc)
		p("%d HP (%.2f mm). %s at +12 V, %s at −12 V, %s at +5 V.", s.HP, float64(s.HP)*hpMillimetres, current(s.Plus12), current(s.Minus12), current(s.Plus5))
		if s.Bound != "" {
			p("Bound to %s.", s.Bound)
		}
		if len(s.Params) > 0 {
			p("")
			table(b, "knob", "takes", "default", "a volt adds", "cluster", "what it does")
			for i := range s.Params {
				k := &s.Params[i]
				row(b, "`"+k.Name+"`", takes(k), standing(k), perVolt(k), hears(k), k.Doc)
			}
		}
		jacks(b, "in", s.Inputs)
		jacks(b, "out", s.Outputs)
	}
	return b.Flush()
}

// hpMillimetres is the width of one HP: a fifth of an inch.
const hpMillimetres = 5.08

// table begins a table of Markdown.
func table(w io.Writer, heads ...string) {
	row(w, heads...)
	fmt.Fprintln(w, "|"+strings.Repeat("---|", len(heads)))
}

func row(w io.Writer, cells ...string) {
	for i, c := range cells {
		cells[i] = strings.ReplaceAll(c, "|", `\|`)
	}
	fmt.Fprintln(w, "| "+strings.Join(cells, " | ")+" |")
}

// anchor is how a page names the heading of a module: lower case, blanks are
// dashes, other marks fall away.
func anchor(s *ModuleSpec) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '_' || r == '-' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			return r
		}
		return -1
	}, strings.ToLower(s.Title+" "+s.Kind))
}

func current(mA int) string { return fmt.Sprintf("%d mA", mA) }

func takes(p *ParamSpec) string {
	t := p.Range()
	switch {
	case p.Text && p.Free:
		t = "text, or nothing"
	case p.Whole && len(p.Choices) == 0:
		t += ", whole"
	case p.Curve == Exponential:
		t += ", exponential"
	}
	return t
}

// standing is where a knob stands by default.
func standing(p *ParamSpec) string {
	switch {
	case p.Text && p.Default == "":
		return "nothing"
	case p.Text:
		return "`" + p.Default + "`"
	case len(p.Choices) > 0:
		return p.Choices[int(p.Value)]
	}
	return strings.TrimSpace(number(p.Value) + " " + p.Unit)
}

func perVolt(p *ParamSpec) string {
	switch {
	case p.PerVolt == 0:
		return "—"
	case p.Curve == Exponential && p.PerVolt == 1:
		return "1 octave"
	case p.Curve == Exponential:
		return number(p.PerVolt) + " octaves"
	}
	return strings.TrimSpace(number(p.PerVolt) + " " + p.Unit)
}

// hears says how the cluster hears of a knob.
func hears(p *ParamSpec) string {
	switch {
	case p.Cluster && p.Counter:
		return "topology, counts"
	case p.Cluster:
		return "topology"
	case p.Live:
		return "live"
	}
	return "—"
}

// jacks writes the inputs or the outputs of a module.
func jacks(w io.Writer, side string, js []JackSpec) {
	if len(js) == 0 {
		return
	}
	fmt.Fprintln(w)
	table(w, side, "kind", "volts", "what it is")
	for i := range js {
		j := &js[i]
		kind := j.Kind.String()
		if j.Poly {
			kind += fmt.Sprintf(", %d channels", MaxPoly)
		}
		unit := j.Unit
		if unit == "" {
			unit = usualVolts(j.Kind)
		}
		var more []string
		if j.Normal != 0 {
			more = append(more, fmt.Sprintf("normalled to %g V", j.Normal))
		}
		if j.Follows != "" {
			more = append(more, "normalled to `"+j.Follows+"`")
		}
		if j.Button {
			more = append(more, "has a button")
		}
		if j.Watch {
			more = append(more, "the cluster hears its edges")
		}
		if j.Bargraph {
			more = append(more, "has a bargraph")
		}
		doc := j.Doc
		if len(more) > 0 {
			doc += " (" + strings.Join(more, "; ") + ")"
		}
		row(w, "`"+j.Name+"`", kind, unit, doc)
	}
}

// usualVolts is what a jack that does not say otherwise carries.
func usualVolts(k SignalKind) string {
	switch k {
	case Audio:
		return fmt.Sprintf("±%g V", float64(AudioVolts))
	case CV:
		return fmt.Sprintf("0 … %g V or ±%g V", float64(dsp.UnipolarPeak), float64(AudioVolts))
	case Pitch:
		return "1 V an octave"
	case Scale:
		return "1 V a replica"
	}
	return fmt.Sprintf("0 or %d V", GateVolts)
}
