package instrument

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
)

// picture renders until the scope has a new picture.
func picture(t *testing.T, r *rig, seconds float64) (tr Trace) {
	t.Helper()
	r.c.Trace("scope/"+dutName, &tr) // what was there before
	for range int(seconds * 100) {
		r.seconds(0.01)
		if r.c.Trace("scope/"+dutName, &tr) {
			return tr
		}
	}
	t.Fatalf("no picture in %v s", seconds)
	return tr
}

// TestScopeTrigger: a picture begins where the source passes the level, the way
// that slope says, and spans the time of the knob.
func TestScopeTrigger(t *testing.T) {
	for _, c := range []struct {
		seconds, level float64
		source, slope  float64
		want           float32 // of the source at the start
		rises          bool
	}{
		{0.02, 0, 0, 0, 0, true}, {0.02, 0, 0, 1, 0, false}, {0.001, 2, 0, 0, 2, true}, {0.5, 2, 0, 1, 2, false}, {0.02, -1, 1, 0, -1, true},
	} {
		r := patched(t, "scope", map[string]float64{"time": c.seconds, "level": c.level, "source": c.source, "slope": c.slope}, []string{"a", "b"}, nil)
		r.feed("a", sine(100, 4)).feed("b", sine(130, 3)).settle().seconds(0.3)
		picture(t, r, 2)
		tr := picture(t, r, 2)
		spans := tr.A[:tr.Points]
		hertz, peak := 100.0, 4.0
		if c.source == 1 {
			spans, hertz, peak = tr.B[:tr.Points], 130, 3
		}
		if !tr.Triggered || !tr.HasA || !tr.HasB {
			t.Errorf("%+v: triggered %v, a %v, b %v", c, tr.Triggered, tr.HasA, tr.HasB)
		}
		if math.Abs(tr.Seconds()/c.seconds-1) > 0.01 || tr.Points > TracePoints || c.seconds > 0.01 && tr.Points < TracePoints/2 {
			t.Errorf("%+v: %d points of %v s", c, tr.Points, tr.Step)
		}
		// One frame's step is the most that the start may be beyond the level.
		step := float32(peak * 2 * math.Pi * hertz / testRate * max(1, tr.Step*testRate))
		first := spans[0].Low
		if !c.rises {
			first = spans[0].High
		}
		if d := first - c.want; d > step || d < -step {
			t.Errorf("%+v: begins at %v V, expected %v", c, first, c.want)
		}
		if up := spans[2].High > spans[0].High; up != c.rises {
			t.Errorf("%+v: rises %v", c, up)
		}
		// Every point is what the source was then.
		var low, high float32
		for i, s := range spans {
			if s.Low > s.High {
				t.Fatalf("%+v: point %d is %v", c, i, s)
			}
			low, high = min(low, s.Low), max(high, s.High)
		}
		if c.seconds >= 0.02 && (math.Abs(float64(high)-peak) > 0.02 || math.Abs(float64(low)+peak) > 0.02) {
			t.Errorf("%+v: from %v to %v V, expected ±%v", c, low, high, peak)
		}
	}
}

// TestScopeExternalAndFree: the trigger jack takes over, and with no trigger at
// all there is still a picture.
func TestScopeExternalAndFree(t *testing.T) {
	r := patched(t, "scope", map[string]float64{"time": 0.005}, []string{"a", "trigger"}, []string{"triggered"})
	r.feed("a", func(f int64, _ int) float32 { return float32(f%9600) / 1000 })
	r.feed("trigger", func(f int64, _ int) float32 {
		if f%9600 > 4800 && f%9600 < 4860 {
			return 10
		}
		return 0
	}).settle().seconds(1)
	// Between two triggers it runs free.
	tr := picture(t, r, 1)
	for n := 0; !tr.Triggered; n++ {
		if n == 20 {
			t.Fatal("no picture begins at the trigger")
		}
		tr = picture(t, r, 1)
	}
	if math.Abs(float64(tr.A[0].Low)-4.801) > 0.002 {
		t.Errorf("begins at %v V, expected 4.8", tr.A[0].Low)
	}
	if n := len(rises(r.recorded("triggered"))); n < 4 {
		t.Errorf("%d triggers in a second and more, expected one each 0.2 s", n)
	}
	r = patched(t, "scope", map[string]float64{"level": 9}, []string{"a"}, nil)
	r.feed("a", sine(50, 1)).settle()
	if tr := picture(t, r, 1); tr.Triggered {
		t.Error("triggered by a level that was never reached")
	}
	r = patched(t, "scope", map[string]float64{"source": 2, "channel": 3}, []string{"a"}, nil)
	r.source(sourceOf("a")).channels = 4
	r.feed("a", func(_ int64, c int) float32 { return float32(c) }).settle()
	if tr := picture(t, r, 1); tr.Triggered || tr.A[0] != (Span{2, 2}) {
		t.Errorf("free: triggered %v, channel 3 is %v", tr.Triggered, tr.A[0])
	}
	var none Trace
	if r.c.Trace("scope/nobody", &none) || r.c.Trace("test_source/a", &none) {
		t.Error("a picture of what is no scope")
	}
}

func testTrace() *Trace {
	tr := &Trace{Step: 0.0001, Points: 200, HasA: true, HasB: true, Triggered: true}
	for i := range tr.Points {
		v := float32(5 * math.Sin(2*math.Pi*float64(i)/100))
		tr.A[i] = Span{v, v}
		tr.B[i] = Span{0, float32(i % 10)}
	}
	return tr
}

// TestScopeText: the picture has the size that was asked for, and a sine is one.
func TestScopeText(t *testing.T) {
	tr := testTrace()
	const columns, margin = 81, 9
	text := tr.Text(columns, 9)
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if len(lines) != 2*9+1 {
		t.Fatalf("%d lines, expected 19:\n%s", len(lines), text)
	}
	for i, l := range lines {
		if n := len([]rune(l)); n > columns {
			t.Errorf("line %d has %d columns", i, n)
		}
	}
	for _, want := range []string{"a +5 V", "-5 V", "b +10 V", "trigger +0 V", "20 ms"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	// The sine starts in the middle, is at the top after a quarter, at the
	// bottom after three.
	cell := func(line, column int) rune { return []rune(lines[line])[margin+column] }
	for _, c := range []struct{ line, column int }{{4, 0}, {0, 9}, {8, 27}, {0, 45}} {
		if cell(c.line, c.column) == brailleEmpty {
			t.Errorf("nothing at line %d, column %d:\n%s", c.line, c.column, text)
		}
	}
	for _, c := range []struct{ line, column int }{{8, 9}, {0, 27}, {0, 0}, {8, 0}} {
		if cell(c.line, c.column) != brailleEmpty {
			t.Errorf("something at line %d, column %d:\n%s", c.line, c.column, text)
		}
	}
	// The axis stands in one column whatever the scale.
	for _, scale := range voltScales {
		for i := range tr.Points {
			tr.A[i], tr.B[i] = Span{-scale, scale}, Span{0, scale}
		}
		lines := strings.Split(strings.TrimSuffix(tr.Text(columns, 9), "\n"), "\n")
		for i, l := range lines[:18] {
			if r := []rune(l); len(r) != columns || r[margin-1] != '┤' {
				t.Errorf("±%v V: line %d is %q", scale, i, l)
			}
		}
	}
	if got := new(Trace).Text(80, 9); got != "no picture yet\n" {
		t.Errorf("no picture is %q", got)
	}
	tr.Points = 1
	for _, size := range [][2]int{{0, 0}, {-5, 1 << 20}, {1 << 20, 3}} {
		if tr.Text(size[0], size[1]) == "" {
			t.Errorf("nothing of size %v", size)
		}
	}
}

// TestScopeSVG: it is well formed, and has both traces and both axes.
func TestScopeSVG(t *testing.T) {
	for _, tr := range []*Trace{testTrace(), {}} {
		var b bytes.Buffer
		if err := tr.WriteSVG(&b); err != nil {
			t.Fatal(err)
		}
		paths, texts := 0, ""
		d := xml.NewDecoder(&b)
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			switch e := tok.(type) {
			case xml.StartElement:
				if e.Name.Local == "path" {
					paths++
				}
			case xml.CharData:
				texts += string(e) + "|"
			}
		}
		if tr.Points == 0 {
			if paths != 0 || !strings.Contains(texts, "no picture yet") {
				t.Errorf("of nothing it draws %d traces", paths)
			}
			continue
		}
		if paths != 2 {
			t.Errorf("%d traces, expected 2", paths)
		}
		for _, want := range []string{"10 V", "-10 V", "20 ms", "10 ms", "|a|", "|b|"} {
			if !strings.Contains(texts, want) {
				t.Errorf("it does not say %q: %s", want, texts)
			}
		}
	}
	if err := testTrace().WriteSVG(full{}); err == nil {
		t.Error("a full disk is not told")
	}
}
