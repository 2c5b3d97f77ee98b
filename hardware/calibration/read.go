package calibration

import (
	"cmp"
	"fmt"
	"math"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// Load reads the file of one channel. Its errors name the file, the line and the column.
func Load(path string) (*Document, error) {
	data, err := document.ReadFile(path, maxFile)
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	return Parse(path, data)
}

// Parse reads the text of a file. The name is for its errors, which say where each mistake is.
func Parse(name string, data []byte) (*Document, error) {
	r := &reader{document.NewReader(name, "calibration", Version, maxFile)}
	_, root := r.Root(data)
	if root == nil {
		return nil, r.Err()
	}
	d := r.calibration(root)
	if err := r.Err(); err != nil {
		return nil, err
	}
	return d, nil
}

// reader reads one calibration. What is not in the file is an Entry without a Value.
type reader struct{ *document.Reader }

// fields reads a mapping with these keys by their names.
func (r *reader) fields(n *yaml.Node, what string, known ...string) map[string]document.Entry {
	fields := map[string]document.Entry{}
	for _, e := range r.Fields(n, what, known) {
		fields[e.Name] = e
	}
	return fields
}

func (r *reader) need(root *yaml.Node, what string, fields map[string]document.Entry, keys ...string) {
	for _, k := range keys {
		if fields[k].Value == nil {
			r.Node(root, "%s has no %s", what, k)
		}
	}
}

// text reads a text; a missing one is empty.
func (r *reader) text(e document.Entry) string {
	if e.Value == nil {
		return ""
	}
	return r.Prose(e, maxText)
}

// word reads one of a set of words and returns its index; a missing one is the first.
func (r *reader) word(e document.Entry, words []string) int {
	if e.Value == nil {
		return 0
	}
	return r.Word(e, words)
}

// number reads a number from low to high; a missing one is absent.
func (r *reader) number(e document.Entry, low, high float64, unit string, absent float64) float64 {
	if e.Value != nil {
		if v, ok := r.Number(e, low, high, unit); ok {
			return v
		}
	}
	return absent
}

// whole reads a whole number from low to high; a missing one is absent.
func (r *reader) whole(e document.Entry, low, high, absent int) int {
	if e.Value != nil {
		if v, ok := r.Whole(e, low, high); ok {
			return v
		}
	}
	return absent
}

// rows reads a list; a missing one is empty.
func (r *reader) rows(e document.Entry) []*yaml.Node {
	if e.Value == nil {
		return nil
	}
	return r.List(e, maxRows)
}

var nan = math.NaN()

const maxCents = 1e5 // no channel is further off than all of hearing

func (r *reader) calibration(root *yaml.Node) *Document {
	f := r.fields(root, "the calibration", documentFields...)
	r.need(root, "the calibration", f, "interface", "jack", "direction", "channel", "made", "method", "offset", "gain")
	d := &Document{
		Interface: r.text(f["interface"]),
		Jack:      r.text(f["jack"]),
		Direction: Direction(r.word(f["direction"], directionWords)),
		Channel:   r.whole(f["channel"], 1, 64, 0),
		Machine:   r.text(f["machine"]),
		Method:    methodWords[r.word(f["method"], methodWords)],
		Reference: r.text(f["reference"]),
		FullScale: r.number(f["full_scale"], 0.01, 1000, "V", 0),
		Transpose: r.whole(f["transpose"], -120, 120, 0),
		Offset:    r.number(f["offset"], -maxVolts, maxVolts, "V", 0),
		Gain:      r.number(f["gain"], minSlope, maxSlope, "", 1),
		Before:    r.residual(f["before"]),
		After:     r.residual(f["after"]),
	}
	if n := f["made"].Value; n != nil {
		made, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			r.Node(n, "made is a time such as 2026-01-31T18:05:00Z, this is %s", document.Describe(n))
		}
		d.Made = made
	}
	if n := f["standard"].Value; n != nil {
		kind, err := ParseKind(n.Value)
		if err != nil || n.Kind != yaml.ScalarNode {
			r.Node(n, "standard is one of %s, this is %s%s", strings.Join(kindWords, ", "), document.Describe(n), document.Near(n.Value, kindWords))
		}
		d.Standard.Kind = kind
	}
	d.Standard.Volts = r.number(f["reference_volts"], -maxVolts, maxVolts, "V", 0)
	d.Standard.Hertz = r.number(f["reference_hertz"], 1, 20000, "Hz", 0)
	if err := d.Standard.check(); err != nil && r.Count() == 0 {
		r.Node(cmp.Or(f["standard"].Value, root), "%w", err)
	}
	if n := f["conditions"].Value; n != nil {
		c := r.fields(n, "conditions", conditionFields...)
		d.Conditions = Conditions{
			Seconds: r.number(c["seconds"], 0, 1e6, "", 0),
			Repeats: r.whole(c["repeats"], 0, 1000, 0),
			Passes:  r.whole(c["passes"], 0, 1000, 0),
			Settle:  r.number(c["settle"], 0, 1000, "s", 0),
			Drift:   r.number(c["drift"], -maxCents, maxCents, "cents a minute", 0),
			Noise:   r.number(c["noise"], 0, maxCents, "", 0),
			Rate:    r.number(c["rate"], 0, 1e6, "Hz", 0),
			Note:    r.text(c["note"]),
		}
	}
	last := math.Inf(-1)
	for _, n := range r.rows(f["table"]) {
		e := r.fields(n, "a row of the table", rowFields...)
		r.need(n, "a row of the table", e, "volts", "mend")
		row := Row{
			Note:   r.whole(e["note"], 0, 127, -1),
			Volts:  r.number(e["volts"], -maxVolts, maxVolts, "V", 0),
			Mend:   r.number(e["mend"], -maxVolts, maxVolts, "V", 0),
			Before: r.number(e["before"], -maxCents, maxCents, "cents", nan),
			After:  r.number(e["after"], -maxCents, maxCents, "cents", nan),
		}
		if !(row.Volts > last) {
			r.Node(n, "the row of %g V follows one of %g V; expected rising volts", row.Volts, last)
		}
		last = row.Volts
		d.Table = append(d.Table, row)
	}
	for _, n := range r.rows(f["left_out"]) {
		e := r.fields(n, "a note that is left out", "note", "volts", "why")
		r.need(n, "a note that is left out", e, "volts", "why")
		d.LeftOut = append(d.LeftOut, Left{
			Note:  r.whole(e["note"], 0, 127, -1),
			Volts: r.number(e["volts"], -maxVolts, maxVolts, "V", 0),
			Why:   r.text(e["why"]),
		})
	}
	if r.Count() == 0 {
		if _, err := d.Curve(); err != nil {
			r.Node(cmp.Or(f["table"].Value, root), "%w", err)
		}
	}
	return d
}

func (r *reader) residual(of document.Entry) Residual {
	if of.Value == nil {
		return Residual{nan, nan}
	}
	e := r.fields(of.Value, of.Name, "worst", "rms")
	return Residual{
		Worst: r.number(e["worst"], 0, maxCents, "cents", nan),
		RMS:   r.number(e["rms"], 0, maxCents, "cents", nan),
	}
}

var (
	documentFields = []string{"version", "interface", "jack", "direction", "channel", "machine", "made", "method", "reference",
		"full_scale", "standard", "reference_volts", "reference_hertz", "transpose", "conditions", "before", "after", "offset", "gain", "table", "left_out"}
	conditionFields = []string{"seconds", "repeats", "passes", "settle", "drift", "noise", "rate", "note"}
	rowFields       = []string{"note", "volts", "mend", "before", "after"}
)
