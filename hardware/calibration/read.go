package calibration

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// ErrVersion says that a file is of a later version than this program reads.
var ErrVersion = errors.New("file of a later version")

// Error is one mistake in a file. Line and Column count from 1, Column in characters.
type Error struct {
	File         string
	Line, Column int
	Err          error
}

// Error returns file:line:column and what is wrong.
func (e *Error) Error() string { return fmt.Sprintf("%s:%d:%d: %v", e.File, e.Line, e.Column, e.Err) }

// Unwrap returns what is wrong.
func (e *Error) Unwrap() error { return e.Err }

// maxErrors is how many mistakes of one file are told.
const maxErrors = 50

// reader reads one YAML file by its nodes, which know their places. It never follows an alias, so
// that a short file stays a short one.
type reader struct {
	file    string
	errs    []*Error
	skipped int
}

func (r *reader) at(line, column int, format string, a ...any) {
	if len(r.errs) >= maxErrors {
		r.skipped++
		return
	}
	r.errs = append(r.errs, &Error{r.file, max(line, 1), max(column, 1), fmt.Errorf(format, a...)})
}

func (r *reader) node(n *yaml.Node, format string, a ...any) { r.at(n.Line, n.Column, format, a...) }

func (r *reader) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	slices.SortStableFunc(r.errs, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	var all []error
	for _, e := range r.errs {
		all = append(all, e)
	}
	if r.skipped > 0 {
		all = append(all, fmt.Errorf("%s: and %d more mistakes", r.file, r.skipped))
	}
	return errors.Join(all...)
}

// Load reads the file of one channel. Its errors name the file, the line and the column.
func Load(path string) (*Document, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	return Parse(path, data)
}

const expected = "expected a calibration that begins with version: 1"

// Parse reads the text of a file. The name is for its errors, which say where each mistake is.
func Parse(name string, data []byte) (*Document, error) {
	r := &reader{file: name}
	root := r.root(data)
	if root == nil {
		return nil, r.err()
	}
	d := r.document(root)
	if err := r.err(); err != nil {
		return nil, err
	}
	return d, nil
}

var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

func (r *reader) root(data []byte) *yaml.Node {
	if len(data) > maxFile {
		r.at(1, 1, "the file is longer than %d bytes, which no calibration is", maxFile)
		return nil
	}
	if i := badText(data); i >= 0 {
		line := 1 + bytes.Count(data[:i], []byte("\n"))
		column := 1 + utf8.RuneCount(data[1+bytes.LastIndexByte(data[:i], '\n'):i])
		r.at(line, column, "this is not UTF-8 text; %s", expected)
		return nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, more yaml.Node
	err := dec.Decode(&doc)
	if errors.Is(err, io.EOF) || err == nil && (len(doc.Content) == 0 || doc.Content[0].Tag == "!!null") {
		r.at(1, 1, "the file is empty; %s", expected)
		return nil
	}
	if err == nil {
		if e := dec.Decode(&more); e == nil {
			r.node(&more, "a second document begins here; a file holds one calibration")
			return nil
		} else if !errors.Is(e, io.EOF) {
			err = e
		}
	}
	if err != nil {
		text, line := err.Error(), 1
		if m := yamlLine.FindStringSubmatch(text); m != nil {
			text = text[len(m[0]):]
			if m[1] != "" {
				line, _ = strconv.Atoi(m[1])
			}
		}
		r.at(min(line, 1+bytes.Count(data, []byte("\n"))), 1, "this is not YAML: %s; %s", text, expected)
		return nil
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		r.node(root, "this is %s; %s", describe(root), expected)
		return nil
	}
	return root
}

// badText is the place of the first byte that is no text, or -1.
func badText(data []byte) int {
	for i := 0; i < len(data); {
		c, n := utf8.DecodeRune(data[i:])
		if c == utf8.RuneError && n == 1 || c == 0 {
			return i
		}
		i += n
	}
	return -1
}

// describe tells what a node is, for errors.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias (*" + clip(n.Value) + "), which is not followed here; write the value out"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!int", "!!float":
		return clip(n.Value)
	}
	return strconv.Quote(clip(n.Value))
}

// clip shortens what is quoted from a file.
func clip(s string) string {
	const longest = 60
	if utf8.RuneCountInString(s) <= longest {
		return s
	}
	return string([]rune(s)[:longest]) + "…"
}

// fields reads a mapping whose keys are known; unknown and double ones are reported.
func (r *reader) fields(n *yaml.Node, what string, known ...string) map[string]*yaml.Node {
	fields := map[string]*yaml.Node{}
	if n.Kind != yaml.MappingNode {
		r.node(n, "%s is a mapping, this is %s", what, describe(n))
		return fields
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		switch {
		case key.Kind != yaml.ScalarNode:
			r.node(key, "a key of %s is a word, this is %s", what, describe(key))
		case !slices.Contains(known, key.Value):
			r.node(key, "unknown field %q of %s; expected one of %s", clip(key.Value), what, strings.Join(known, ", "))
		case fields[key.Value] != nil:
			r.node(key, "%q is given twice; leave one of the two", key.Value)
		default:
			fields[key.Value] = n.Content[i+1]
		}
	}
	return fields
}

func (r *reader) need(root *yaml.Node, what string, fields map[string]*yaml.Node, keys ...string) {
	for _, k := range keys {
		if fields[k] == nil {
			r.node(root, "%s has no %s", what, k)
		}
	}
}

// text reads a text; a missing one is empty.
func (r *reader) text(n *yaml.Node, what string) string {
	switch {
	case n == nil:
		return ""
	case n.Kind != yaml.ScalarNode || n.Tag == "!!null":
		r.node(n, "%s is a text, this is %s", what, describe(n))
		return ""
	case utf8.RuneCountInString(n.Value) > maxText:
		r.node(n, "%s has more than %d characters", what, maxText)
		return ""
	}
	return n.Value
}

func (r *reader) word(n *yaml.Node, what string, words []string) int {
	if n == nil {
		return 0
	}
	if n.Kind == yaml.ScalarNode {
		if i := slices.Index(words, n.Value); i >= 0 {
			return i
		}
	}
	r.node(n, "%s is one of %s, this is %s", what, strings.Join(words, ", "), describe(n))
	return 0
}

// number reads a number from low to high; a missing one is absent.
func (r *reader) number(n *yaml.Node, what string, low, high float64, unit string, absent float64) float64 {
	if n == nil {
		return absent
	}
	var v float64
	if n.Kind == yaml.ScalarNode && (n.Tag == "!!int" || n.Tag == "!!float") && n.Decode(&v) == nil && v >= low && v <= high {
		return v
	}
	if unit != "" {
		unit = " " + unit
	}
	r.node(n, "%s is a number from %g to %g%s, this is %s", what, low, high, unit, describe(n))
	return absent
}

func (r *reader) whole(n *yaml.Node, what string, low, high, absent int) int {
	if n == nil {
		return absent
	}
	var v int
	if n.Kind == yaml.ScalarNode && n.Tag == "!!int" && n.Decode(&v) == nil && v >= low && v <= high {
		return v
	}
	r.node(n, "%s is a whole number from %d to %d, this is %s", what, low, high, describe(n))
	return absent
}

func (r *reader) items(n *yaml.Node, what string) []*yaml.Node {
	switch {
	case n == nil || n.Kind == yaml.ScalarNode && n.Tag == "!!null":
		return nil
	case n.Kind != yaml.SequenceNode:
		r.node(n, "%s is a list, this is %s", what, describe(n))
		return nil
	case len(n.Content) > maxRows:
		r.node(n, "%s has %d rows; expected at most %d", what, len(n.Content), maxRows)
		return nil
	}
	return n.Content
}

var nan = math.NaN()

const maxCents = 1e5 // no channel is further off than all of hearing

func (r *reader) document(root *yaml.Node) *Document {
	f := r.fields(root, "the calibration", documentFields...)
	if f["version"] == nil {
		r.node(root, "the calibration has no version; it begins with version: %d", Version)
		return nil
	}
	switch v := r.whole(f["version"], "version", 1, 1<<30, 0); {
	case v == 0:
		return nil
	case v > Version:
		r.node(f["version"], "version %d: %w; this program reads up to %d", v, ErrVersion, Version)
		return nil
	}
	r.need(root, "the calibration", f, "interface", "jack", "direction", "channel", "made", "method", "offset", "gain")
	d := &Document{
		Interface: r.text(f["interface"], "interface"),
		Jack:      r.text(f["jack"], "jack"),
		Direction: Direction(r.word(f["direction"], "direction", directionWords)),
		Channel:   r.whole(f["channel"], "channel", 1, 64, 0),
		Machine:   r.text(f["machine"], "machine"),
		Method:    methodWords[r.word(f["method"], "method", methodWords)],
		Reference: r.text(f["reference"], "reference"),
		FullScale: r.number(f["full_scale"], "full_scale", 0.01, 1000, "V", 0),
		Transpose: r.whole(f["transpose"], "transpose", -120, 120, 0),
		Offset:    r.number(f["offset"], "offset", -maxVolts, maxVolts, "V", 0),
		Gain:      r.number(f["gain"], "gain", minSlope, maxSlope, "", 1),
		Before:    r.residual(f["before"], "before"),
		After:     r.residual(f["after"], "after"),
	}
	if n := f["made"]; n != nil {
		made, err := time.Parse(time.RFC3339, n.Value)
		if err != nil {
			r.node(n, "made is a time such as 2026-01-31T18:05:00Z, this is %s", describe(n))
		}
		d.Made = made
	}
	if n := f["standard"]; n != nil {
		kind, err := ParseKind(n.Value)
		if err != nil || n.Kind != yaml.ScalarNode {
			r.node(n, "standard is one of %s, this is %s", strings.Join(kindWords, ", "), describe(n))
		}
		d.Standard.Kind = kind
	}
	d.Standard.Volts = r.number(f["reference_volts"], "reference_volts", -maxVolts, maxVolts, "V", 0)
	d.Standard.Hertz = r.number(f["reference_hertz"], "reference_hertz", 1, 20000, "Hz", 0)
	if err := d.Standard.check(); err != nil && len(r.errs) == 0 {
		r.node(f["standard"], "%w", err)
	}
	if n := f["conditions"]; n != nil {
		c := r.fields(n, "conditions", conditionFields...)
		d.Conditions = Conditions{
			Seconds: r.number(c["seconds"], "seconds", 0, 1e6, "", 0),
			Repeats: r.whole(c["repeats"], "repeats", 0, 1000, 0),
			Passes:  r.whole(c["passes"], "passes", 0, 1000, 0),
			Settle:  r.number(c["settle"], "settle", 0, 1000, "s", 0),
			Drift:   r.number(c["drift"], "drift", -maxCents, maxCents, "cents a minute", 0),
			Noise:   r.number(c["noise"], "noise", 0, maxCents, "", 0),
			Rate:    r.number(c["rate"], "rate", 0, 1e6, "Hz", 0),
			Note:    r.text(c["note"], "note"),
		}
	}
	last := math.Inf(-1)
	for _, n := range r.items(f["table"], "table") {
		e := r.fields(n, "a row of the table", rowFields...)
		r.need(n, "a row of the table", e, "volts", "mend")
		row := Row{
			Note:   r.whole(e["note"], "note", 0, 127, -1),
			Volts:  r.number(e["volts"], "volts", -maxVolts, maxVolts, "V", 0),
			Mend:   r.number(e["mend"], "mend", -maxVolts, maxVolts, "V", 0),
			Before: r.number(e["before"], "before", -maxCents, maxCents, "cents", nan),
			After:  r.number(e["after"], "after", -maxCents, maxCents, "cents", nan),
		}
		if !(row.Volts > last) {
			r.node(n, "the row of %g V follows one of %g V; expected rising volts", row.Volts, last)
		}
		last = row.Volts
		d.Table = append(d.Table, row)
	}
	for _, n := range r.items(f["left_out"], "left_out") {
		e := r.fields(n, "a note that is left out", "note", "volts", "why")
		r.need(n, "a note that is left out", e, "volts", "why")
		d.LeftOut = append(d.LeftOut, Left{
			Note:  r.whole(e["note"], "note", 0, 127, -1),
			Volts: r.number(e["volts"], "volts", -maxVolts, maxVolts, "V", 0),
			Why:   r.text(e["why"], "why"),
		})
	}
	if len(r.errs) == 0 {
		at := root
		if f["table"] != nil {
			at = f["table"]
		}
		if _, err := d.Curve(); err != nil {
			r.node(at, "%w", err)
		}
	}
	return d
}

func (r *reader) residual(n *yaml.Node, what string) Residual {
	if n == nil {
		return Residual{nan, nan}
	}
	e := r.fields(n, what, "worst", "rms")
	return Residual{
		Worst: r.number(e["worst"], "worst", 0, maxCents, "cents", nan),
		RMS:   r.number(e["rms"], "rms", 0, maxCents, "cents", nan),
	}
}

var (
	documentFields = []string{"version", "interface", "jack", "direction", "channel", "machine", "made", "method", "reference",
		"full_scale", "standard", "reference_volts", "reference_hertz", "transpose", "conditions", "before", "after", "offset", "gain", "table", "left_out"}
	conditionFields = []string{"seconds", "repeats", "passes", "settle", "drift", "noise", "rate", "note"}
	rowFields       = []string{"note", "volts", "mend", "before", "after"}
)
