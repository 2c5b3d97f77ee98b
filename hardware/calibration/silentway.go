package calibration

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

// silentHeader is the first line of a calibration of Expert Sleepers' Silent Way.
const silentHeader = "Silent Way Calibration Data"

// SilentNote is one line of a Silent Way calibration.
type SilentNote struct {
	Note int     // MIDI
	CV   float64 // −1…1 of full scale
}

// ParseSilentWay reads the plain text calibration of Expert Sleepers' Silent Way: a header, which
// may be missing, "version: 1", then a MIDI note and what to send for it on each line. Errors name
// the file and the line.
func ParseSilentWay(name string, data []byte) ([]SilentNote, error) {
	line := 0
	wrong := func(format string, a ...any) error {
		return &document.Error{File: name, Line: max(line, 1), Column: 1, Err: fmt.Errorf(format, a...)}
	}
	if len(data) > maxFile {
		return nil, wrong("the file is longer than %d bytes, which no calibration is", maxFile)
	}
	if at, _, ok := document.IsText(data); !ok {
		line = at
		return nil, wrong("this is no text; expected a Silent Way calibration")
	}
	var notes []SilentNote
	var seen [128]int
	header, version := false, false
	text := strings.TrimPrefix(string(data), "\ufeff")
	for l := range strings.Lines(strings.ReplaceAll(text, "\r\n", "\n")) {
		line++
		l = strings.TrimSpace(l)
		switch {
		case l == "":
			continue
		case l == silentHeader && !header && !version:
			header = true
			continue
		case !version:
			key, value, _ := strings.Cut(l, ":")
			if key != "version" {
				return nil, wrong("%q: expected version: 1", document.Clip(l))
			}
			if v := strings.TrimSpace(value); v != "1" {
				return nil, wrong("version %q: expected version: 1", document.Clip(v))
			}
			version = true
			continue
		}
		words := strings.Fields(l)
		if len(words) != 2 {
			return nil, wrong("%q: expected a MIDI note and a CV", document.Clip(l))
		}
		n, err := strconv.Atoi(words[0])
		if err != nil || n < 0 || n > 127 {
			return nil, wrong("note %q: expected a MIDI note from 0 to 127", document.Clip(words[0]))
		}
		cv, err := strconv.ParseFloat(words[1], 64)
		if err != nil || !(cv >= -1 && cv <= 1) {
			return nil, wrong("CV %q of note %d: expected a number from -1 to 1", document.Clip(words[1]), n)
		}
		if seen[n] != 0 {
			return nil, wrong("note %d is on line %d as well", n, seen[n])
		}
		seen[n] = line
		notes = append(notes, SilentNote{n, cv})
	}
	switch {
	case !version:
		return nil, wrong("the file has no version; expected version: 1")
	case len(notes) == 0:
		return nil, wrong("the file has no notes; expected a MIDI note and a CV on each line")
	}
	return notes, nil
}

// FromSilentWay makes the curve of notes for a channel with that many volts at full scale. What is
// not in the document already, such as its jack, is left alone.
func (d *Document) FromSilentWay(notes []SilentNote, fullScale float64) error {
	if !(fullScale > 0) {
		return fmt.Errorf("full scale of %g V: expected the volts at CV 1", fullScale)
	}
	var points []Point
	for _, n := range notes {
		points = append(points, Point{d.Standard.VoltsOf(float64(n.Note - d.Transpose)), n.CV * fullScale})
	}
	c, err := NewCurve(points)
	if err != nil {
		return fmt.Errorf("the notes make no calibration: %w", err)
	}
	points = c.Points()
	rows := make([]Row, len(points))
	for i, p := range points {
		rows[i] = Row{Note: int(math.Round(d.Standard.NoteOf(p.Volts))), Before: nan, After: nan}
	}
	d.FullScale, d.Method = fullScale, MethodImported
	d.Before, d.After = Residual{nan, nan}, Residual{nan, nan}
	d.setCurve(points, rows)
	return nil
}

// WriteSilentWay writes the calibration of an output as the plain text of Expert Sleepers' Silent
// Way. Notes whose voltage is beyond full scale are left out, as that program does.
func (d *Document) WriteSilentWay(w io.Writer, fullScale float64) error {
	switch {
	case !(fullScale > 0):
		return fmt.Errorf("full scale of %g V: expected the volts at CV 1", fullScale)
	case d.Direction != Output:
		return errors.New("the text is of outputs, this is an input")
	}
	c, err := d.CurveFor(fullScale)
	if err != nil {
		return err
	}
	b := bufio.NewWriter(w)
	fmt.Fprintf(b, "%s\nversion: 1\n", silentHeader)
	wrote := 0
	for n := range 128 {
		cv := c.At(d.Standard.VoltsOf(float64(n-d.Transpose))) / fullScale
		if cv < -1 || cv > 1 {
			continue
		}
		wrote++
		fmt.Fprintf(b, "%d %.8f\n", n, cv)
	}
	if wrote == 0 {
		return errors.New("no note is within full scale")
	}
	return b.Flush()
}
