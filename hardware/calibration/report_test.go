package calibration

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"strings"
	"testing"
	"time"
)

// aged is the example some days later, when the oscillator sounds so many cents higher, and an
// octave is wider by some.
func aged(t *testing.T, days, cents, scale float64) *Document {
	t.Helper()
	d := example()
	d.Made = d.Made.Add(time.Duration(days * 24 * float64(time.Hour)))
	c, err := d.Curve()
	if err != nil {
		t.Fatal(err)
	}
	var points []Point
	for _, r := range d.Table {
		// It sounds at v what was wanted at a lower voltage.
		points = append(points, Point{r.Volts, c.At((r.Volts - cents/1200) / (1 + scale/1200))})
	}
	d.setCurve(points, d.Table)
	return d
}

func TestDriftReport(t *testing.T) {
	r, err := Drift([]*Document{aged(t, 0, 0, 0)}, aged(t, 30, 4, 0.5))
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Shift-4) > 0.02 || math.Abs(r.Scale-0.5) > 0.01 || r.Rest > 0.02 || !math.IsNaN(r.ShiftTrend) || r.At != "C7" {
		t.Errorf("%+v", r)
	}
	r, err = Drift([]*Document{aged(t, 0, 0, 0), aged(t, 10, 1, 0), aged(t, 20, 2, 0)}, aged(t, 30, 3, 0))
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(r.Shift-1) > 0.02 || math.Abs(r.ShiftTrend-3) > 0.05 || math.Abs(r.ScaleTrend) > 0.01 || r.Count != 4 || math.Abs(r.Notes[7].Trend-3) > 0.05 {
		t.Errorf("trend %g, scale %g of %d, note %+v", r.ShiftTrend, r.ScaleTrend, r.Count, r.Notes[7])
	}
	text := r.Text(80)
	for _, want := range []string{"from 2026-02-20 to 2026-03-02 (10 days)", "shift +1.00 cents", "trend of 4 calibrations: shift +3.0", "still holds within 2 cents", "C4"} {
		if !strings.Contains(text, want) {
			t.Errorf("the report has no %q:\n%s", want, text)
		}
	}
	if _, err := Drift(nil, example()); err == nil {
		t.Error("drift against nothing")
	}
	moved := aged(t, 0, 0, 0)
	moved.Transpose = 0
	if r, err = Drift([]*Document{moved}, aged(t, 30, 30, 0)); err != nil || !strings.Contains(r.Moved, "by -12 semitones") || !strings.Contains(r.Text(80), "tune knob would have done") {
		t.Errorf("%v, %v", r, err)
	}
	other := aged(t, 0, 0, 0)
	other.Standard.Kind = BuchlaPerOctave
	if _, err := Drift([]*Document{other}, example()); err == nil || !strings.Contains(err.Error(), "cannot be compared") {
		t.Error(err)
	}
	// Inputs: what is there is read higher.
	a, b := example(), example()
	a.Direction, b.Direction, a.Table, b.Table = Input, Input, nil, nil
	a.Offset, a.Gain, b.Offset, b.Gain = 0, 1, -0.001, 1
	if r, err = Drift([]*Document{a}, b); err != nil || math.Abs(r.Shift-1.2) > 0.01 {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestPlot(t *testing.T) {
	d := example()
	r, err := Drift([]*Document{aged(t, -30, 2, 1)}, d)
	if err != nil {
		t.Fatal(err)
	}
	d.Jack = `a <jack> & "more"` + "\x01"
	line := example()
	line.Table = nil
	levels := example()
	for i := range levels.Table {
		levels.Table[i].Note = -1
	}
	for name, k := range map[string]*Document{"example": d, "line": line, "levels": levels} {
		for _, report := range []*DriftReport{nil, r} {
			var b bytes.Buffer
			if err := k.WriteSVG(&b, report); err != nil {
				t.Fatal(err)
			}
			x := xml.NewDecoder(bytes.NewReader(b.Bytes()))
			for {
				_, err := x.Token()
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf") {
				t.Errorf("%s: a figure is none", name)
			}
			if dir := os.Getenv("K8S_SYNTH_PLOTS"); dir != "" && report != nil {
				if err := os.WriteFile(dir+"/"+name+".svg", b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			text := k.Text(80, 7, report)
			for _, l := range strings.Split(text, "\n") {
				if n := len([]rune(l)); n > 82 && !strings.HasPrefix(l, "left out") {
					t.Errorf("%s: a line of %d columns: %s", name, n, l)
				}
			}
			if testing.Verbose() && report != nil {
				t.Logf("%s\n%s", name, text)
			}
		}
	}
	if err := d.WriteSVG(broken{}, nil); err == nil {
		t.Error("a broken writer is no error")
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("full") }
