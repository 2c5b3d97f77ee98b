package dsp_test

import (
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

// cents of ratios, for the tables below.
func ratioCents(n, d float64) float64 { return 1200 * math.Log2(n/d) }

func TestParseScale(t *testing.T) {
	for _, c := range []struct {
		name, text, description string
		cents                   []float64
	}{
		{"plain", "! five.scl\n!\nFive notes\n 5\n!\n 9/8\n 5/4\n 3/2\n 5/3\n 2/1\n", "Five notes",
			[]float64{ratioCents(9, 8), ratioCents(5, 4), ratioCents(3, 2), ratioCents(5, 3), 1200}},
		{"cents, integers, and what follows them", "x\n6\n100.0 cents\n408.\n.5 a point before all\n5\n 81/64   E\\\n2/1!octave\n", "x",
			[]float64{100, 408, 0.5, ratioCents(5, 1), ratioCents(81, 64), 1200}},
		{"negative cents", "down\n3\n-5.0\n-100.0 C#\n+3/2\n", "down", []float64{-5, -100, ratioCents(3, 2)}},
		{"not in its lowest terms", "a\n2\n10/20\n4294967296/2147483648\n", "a", []float64{-1200, 1200}},
		{"no description", "!c\n\n2\n3/2\n2/1\n", "", []float64{ratioCents(3, 2), 1200}},
		{"no notes", "nothing\n0\n", "nothing", nil},
		{"no last line ending", "a\n1\n2/1", "a", []float64{1200}},
		{"CR LF, comments between all", "! a\r\nb\r\n! c\r\n 2 \r\n! d\r\n3/2\r\n! e\r\n2/1\r\n", "b", []float64{ratioCents(3, 2), 1200}},
		{"CR alone", "b\r2\r3/2\r2/1\r", "b", []float64{ratioCents(3, 2), 1200}},
		{"byte order mark and DOS end", "\xef\xbb\xbfb\n1\n2/1\n\x1a junk", "b", []float64{1200}},
		{"Latin-1", "Fran\xe7ais\n1\n2/1\n", "Français", []float64{1200}},
		{"tabs and blanks in a ratio", "b\n\t2\t notes\n\t3 / 2\n2 /\t1 octave\n", "b", []float64{ratioCents(3, 2), 1200}},
		{"more lines than notes", "b\n1\n2/1\n\nmy own remarks\n3/2\n", "b", []float64{1200}},
		{"a description that looks like a number", "12\n1\n2/1\n", "12", []float64{1200}},
		{"a blank before the exclamation mark", " !not a comment here\n1\n !but here\n2/1\n", "!not a comment here", []float64{1200}},
		{"a slash in what follows", "b\n2\n3 /not a ratio\n2 and/or\n", "b", []float64{ratioCents(3, 1), 1200}},
	} {
		s, err := dsp.ParseScale([]byte(c.text))
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if s.Description != c.description {
			t.Errorf("%s: described as %q, want %q", c.name, s.Description, c.description)
		}
		if !slices.EqualFunc(s.Cents, c.cents, func(a, b float64) bool { return math.Abs(a-b) < 1e-9 }) {
			t.Errorf("%s: %v cents, want %v", c.name, s.Cents, c.cents)
		}
	}
}

func TestParseScaleErrors(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "no line that is not a comment"},
		{"comments only", "! a\n! b\n", "no line that is not a comment"},
		{"no count", "! a\nb\n! c\n", "line 3: the file ends before the number of notes"},
		{"no number", "b\ntwelve\n", `line 2: the number of notes is a whole number from 0 to 4096, got "twelve"`},
		{"negative count", "b\n-1\n", "line 2: the number of notes"},
		{"too many", "b\n4097\n", "line 2: the number of notes"},
		{"too few notes", "b\n! c\n3\n9/8\n2/1\n", "line 5: the file ends after 2 of 3 notes"},
		{"a word", "b\n1\nfifth\n", `line 3: expected a pitch, in cents as 701.955 or as a ratio as 3/2, got "fifth"`},
		{"negative ratio", "b\n1\n-3/2\n", "line 3: "},
		{"negative integer", "b\n1\n-2\n", "a ratio is not negative"},
		{"two slashes", "b\n1\n3/2/1\n", "a ratio has one slash"},
		{"nothing over", "b\n1\n3/\n", "the number after the slash is missing"},
		{"over 0", "b\n1\n3/0\n", "whole numbers above 0"},
		{"0 over", "b\n1\n0/3\n", "whole numbers above 0"},
		{"decimal comma", "b\n1\n701,955\n", "write a decimal point"},
		{"exponent", "b\n1\n7.02e2\n", "without an exponent"},
		{"a point", "b\n1\n.\n", "a point alone"},
		{"a sign", "b\n1\n-\n", "expected a pitch"},
		{"far away", "b\n1\n1000000.0\n", "within 120000 cents"},
		{"counted in its own lines", "! 1\r\n! 2\r\nb\r\n1\r\n! 5\r\n?\r\n", "line 6: "},
	} {
		_, err := dsp.ParseScale([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// whiteKeys maps seven degrees to the white keys, from middle C, with A at 440 Hz.
const whiteKeys = `! white.kbm
! Size of map
12
0
127
60
! Reference
69
440.0
! Formal octave
7
0
x
1
x
2
3
x
4
X
5
x
6
`

func TestParseKeyboardMap(t *testing.T) {
	x := dsp.Unmapped
	k, err := dsp.ParseKeyboardMap([]byte(whiteKeys))
	if err != nil {
		t.Fatal(err)
	}
	if k.First != 0 || k.Last != 127 || k.Middle != 60 || k.Reference != 69 || k.Hertz != 440 || k.Octave != 7 ||
		!slices.Equal(k.Degrees, []int{0, x, 1, x, 2, 3, x, 4, x, 5, x, 6}) {
		t.Errorf("read as %+v", k)
	}
	k, err = dsp.ParseKeyboardMap([]byte("0\r\n36\r\n96\r\n60\r\n60\r\n261.6256\r\n0\r\n"))
	if err != nil || len(k.Degrees) != 0 || k.First != 36 || k.Last != 96 {
		t.Errorf("a linear map is read as %+v, %v", k, err)
	}
	// What is missing at the end is not mapped.
	k, err = dsp.ParseKeyboardMap([]byte("4\n0\n127\n60\n60\n262\n3\n0\n1\n"))
	if err != nil || !slices.Equal(k.Degrees, []int{0, 1, x, x}) {
		t.Errorf("a short map is read as %+v, %v", k, err)
	}
	for _, c := range []struct{ name, text, want string }{
		{"empty", "", "the file ends before the size of the map"},
		{"short", "12\n0\n127\n", "line 3: the file ends before the middle note"},
		{"a note beyond", "12\n0\n128\n", `line 3: the last note is a whole number from 0 to 127, got "128"`},
		{"no frequency", "12\n0\n127\n60\n69\nA\n", "line 6: the reference frequency is a number of hertz"},
		{"no sound", "12\n0\n127\n60\n69\n-440\n", "line 6: the reference frequency"},
		{"not a number", "12\n0\n127\n60\n69\nNaN\n", "line 6: the reference frequency"},
		{"upside down", "0\n100\n50\n60\n69\n440\n0\n", "the first note, 100, is above the last, 50"},
		{"an entry", "2\n0\n127\n60\n69\n440\n2\n0\ny\n", "line 9: entry 2 of the map is x or a whole number"},
	} {
		_, err := dsp.ParseKeyboardMap([]byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
}

// volts lists the notes of a tuning between two pitches.
func volts(t *dsp.Tuning, low, high float32) (all []float64) {
	for i := range t.Len() {
		if v := t.Volts(i); v >= low && v <= high {
			all = append(all, float64(v))
		}
	}
	return all
}

func TestTuningPitches(t *testing.T) {
	// Degree by degree, 1/1 at C4, over the octaves.
	just := dsp.BuiltinTuning("just")
	want := []float64{0, ratioCents(16, 15), ratioCents(9, 8), ratioCents(6, 5), ratioCents(5, 4), ratioCents(4, 3), ratioCents(45, 32),
		ratioCents(3, 2), ratioCents(8, 5), ratioCents(5, 3), ratioCents(9, 5), ratioCents(15, 8), 1200}
	for octave := -10; octave < 10; octave++ {
		got := volts(just, float32(octave)-0.001, float32(octave)+1.001)
		if len(got) != 13 {
			t.Fatalf("octave %d has %d notes", octave, len(got))
		}
		for i, v := range got {
			if d := v*1200 - want[i] - 1200*float64(octave); math.Abs(d) > 0.001 {
				t.Errorf("degree %d of octave %d is off by %.5f cents", i, octave, d)
			}
		}
	}
	for _, c := range []struct {
		name  string
		notes int // in 20 octaves
		at    map[int]float64
	}{
		{"equal", 241, map[int]float64{7: 700}},
		{"meantone", 241, map[int]float64{1: 76.049, 4: 386.314, 7: 696.578}},
		{"werckmeister3", 241, map[int]float64{1: 90.225, 2: 192.18, 7: 696.09, 11: 1092.18}},
		{"young", 241, map[int]float64{1: 90.225, 4: 392.18, 10: 996.09}},
		{"19-edo", 381, map[int]float64{11: 11 * 1200.0 / 19}},
		{"22-edo", 441, map[int]float64{13: 13 * 1200.0 / 22}},
		{"31-edo", 621, map[int]float64{18: 18 * 1200.0 / 31}},
		{"bohlen-pierce", 165, map[int]float64{1: 146.304, 13: 1901.955}},
		{"slendro", 101, map[int]float64{2: 484, 5: 1200}},
		{"pelog", 141, map[int]float64{3: 575}},
		{"partch", 861, map[int]float64{43: 1200, 27: ratioCents(14, 9)}},
		{"carlos-gamma", 683, map[int]float64{20: 701.98}},
	} {
		tu := dsp.BuiltinTuning(c.name)
		if tu == nil {
			t.Errorf("no tuning %s", c.name)
			continue
		}
		if tu.Len() != c.notes {
			t.Errorf("%s has %d notes, want %d", c.name, tu.Len(), c.notes)
		}
		zero := tu.Nearest(0)
		for degree, cents := range c.at {
			if got := float64(tu.Volts(zero+degree)-tu.Volts(zero)) * 1200; math.Abs(got-cents) > 0.01 {
				t.Errorf("%s: degree %d is at %.3f cents, want %.3f", c.name, degree, got, cents)
			}
		}
	}
	for _, name := range dsp.BuiltinTunings() {
		if tu := dsp.BuiltinTuning(name); tu == nil || tu.Name() != name {
			t.Errorf("%s is listed and is not there", name)
		}
	}
	for _, name := range []string{"", "0-edo", "129-edo", "012-edo", "-1-edo", "+5-edo", "edo", "nothing"} {
		if dsp.BuiltinTuning(name) != nil {
			t.Errorf("there is a tuning %q", name)
		}
	}
}

// TestKeyboardMappedTuning: keys sound where the two files together put them.
func TestKeyboardMappedTuning(t *testing.T) {
	k, err := dsp.ParseKeyboardMap([]byte(whiteKeys))
	if err != nil {
		t.Fatal(err)
	}
	s, err := dsp.ParseScale([]byte("just major\n7\n9/8\n5/4\n4/3\n3/2\n5/3\n15/8\n2/1\n"))
	if err != nil {
		t.Fatal(err)
	}
	tu, err := dsp.NewTuning("white", s, k)
	if err != nil {
		t.Fatal(err)
	}
	// A4 is 440 Hz and 5/3 above C4; D5 is 9/8 above C5; the black keys are silent.
	for hertz, semitone := range map[float64]int{440: 9, 440 * 0.6: 0, 440 * 0.6 * 2 * 9 / 8: 2, 440 * 0.6 / 4 * 15 / 8: 11} {
		at := float32(math.Log2(hertz / dsp.C4Hertz))
		i := tu.Nearest(at)
		if d := float64(tu.Volts(i)-at) * 1200; math.Abs(d) > 0.001 {
			t.Errorf("%.3f Hz is off by %.4f cents", hertz, d)
		}
		if n, _, _ := tu.Among(at, 1<<semitone); n != i {
			t.Errorf("%.3f Hz does not stand for semitone %d", hertz, semitone)
		}
	}
	if n := len(volts(tu, -0.1, 0.9)); n != 7 {
		t.Errorf("an octave has %d notes, want 7", n)
	}
	// A formal octave that is not the period: each turn of the map is a fifth higher.
	k, err = dsp.ParseKeyboardMap([]byte("2\n60\n65\n60\n60\n261.6255653\n4\n0\n2\n"))
	if err != nil {
		t.Fatal(err)
	}
	tu, err = dsp.NewTuning("fifths", s, k)
	if err != nil {
		t.Fatal(err)
	}
	fifth, third := math.Log2(1.5), math.Log2(1.25)
	want := []float64{0, third, fifth, fifth + third, 2 * fifth, 2*fifth + third}
	if got := volts(tu, -10, 10); !slices.EqualFunc(got, want, func(a, b float64) bool { return math.Abs(a-b) < 1e-6 }) {
		t.Errorf("notes at %v V, want %v", got, want)
	}
	// A frequency of a key that is silent says nothing.
	k.Degrees[0] = dsp.Unmapped
	if _, err = dsp.NewTuning("silent", s, k); err == nil || !strings.Contains(err.Error(), "key 60, whose frequency is given, is not mapped") {
		t.Errorf("a silent reference: %v", err)
	}
	// Linear maps count degrees from the middle note, below it as well.
	k, err = dsp.ParseKeyboardMap([]byte("0\n48\n72\n60\n69\n440\n0\n"))
	if err != nil {
		t.Fatal(err)
	}
	if tu, err = dsp.NewTuning("linear", s, k); err != nil {
		t.Fatal(err)
	}
	a := math.Log2(440 / dsp.C4Hertz)
	// Key 69 is degree 9, the third of the second octave; key 48 is degree −12.
	if got := volts(tu, -10, 10); len(got) != 25 || math.Abs(got[21]-a) > 1e-6 || math.Abs(got[0]-(a-3)) > 1e-6 {
		t.Errorf("notes at %v", got)
	}
}

// TestTuningOddities: scales that no keyboard has still make a tuning, or say
// why not.
func TestTuningOddities(t *testing.T) {
	make := func(text string) (*dsp.Tuning, error) {
		s, err := dsp.ParseScale([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return dsp.NewTuning("odd", s, nil)
	}
	for _, c := range []struct {
		name, text string
		notes      int
	}{
		{"only 1/1", "a\n0\n", 1},
		{"unisons only", "a\n3\n1/1\n1/1\n0.0\n", 1},
		{"a period of nothing", "a\n2\n3/2\n1/1\n", 2},
		{"downwards", "a\n1\n1/2\n", 21},
		{"out of order", "a\n3\n5/4\n9/8\n2/1\n", 61},
		{"a period of nine octaves", "a\n1\n512/1\n", 3},
	} {
		tu, err := make(c.text)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if tu.Len() != c.notes {
			t.Errorf("%s: %d notes, want %d", c.name, tu.Len(), c.notes)
		}
		for i := 1; i < tu.Len(); i++ {
			if tu.Volts(i) <= tu.Volts(i-1) {
				t.Errorf("%s: note %d does not rise", c.name, i)
			}
		}
	}
	if _, err := make("a\n1\n0.01\n"); err == nil || !strings.Contains(err.Error(), "too many notes") {
		t.Errorf("a period of a hundredth of a cent: %v", err)
	}
}

func FuzzScala(f *testing.F) {
	f.Add([]byte("! a\nb\n2\n3/2\n2/1\n"), []byte(whiteKeys))
	f.Add([]byte("b\r\n3\r\n-5.0\r\n10/20 x\r\n1200.0\r\n"), []byte("0\n0\n127\n60\n69\n440.0\n0\n"))
	f.Add([]byte("\xef\xbb\xbf\r1\r0.001\r"), []byte("3\n1\n2\n3\n4\n5e3\n6\n-7\nx\n"))
	f.Fuzz(func(t *testing.T, scl, kbm []byte) {
		s, err := dsp.ParseScale(scl)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "line ") && !strings.HasPrefix(err.Error(), "the file has no line") {
				t.Errorf("an error without a place: %v", err)
			}
			return
		}
		for _, c := range s.Cents {
			if !(math.Abs(c) <= 120000) {
				t.Fatalf("a note at %v cents", c)
			}
		}
		k, err := dsp.ParseKeyboardMap(kbm)
		if err != nil {
			k = nil
		}
		tu, err := dsp.NewTuning("fuzz", s, k)
		if err != nil {
			return
		}
		last := float32(math.Inf(-1))
		for i := range tu.Len() {
			v := tu.Volts(i)
			if !(v > last && v >= -10 && v <= 10) {
				t.Fatalf("note %d at %v V after %v V", i, v, last)
			}
			last = v
			if tu.Nearest(v) != i {
				t.Fatalf("the note nearest to note %d is %d", i, tu.Nearest(v))
			}
		}
		for _, v := range []float32{-12, 0, 12, float32(math.Inf(1))} {
			note, below, above := tu.Among(v, 0x249)
			if note < 0 || note >= tu.Len() || below >= note || above >= 0 && above <= note {
				t.Fatalf("among %v V: %d, %d, %d of %d", v, note, below, above, tu.Len())
			}
		}
	})
}

func TestEuclid(t *testing.T) {
	// As Toussaint lists them.
	for _, c := range []struct {
		pulses, steps int
		want          string
	}{
		{2, 5, "x.x.."}, {3, 7, "x.x.x.."}, {3, 8, "x..x..x."}, {4, 11, "x..x..x..x."}, {5, 8, "x.xx.xx."}, {5, 12, "x..x.x..x.x."},
		{5, 16, "x..x..x..x..x..."}, {7, 12, "x.xx.x.xx.x."}, {7, 16, "x..x.x.x..x.x.x."}, {9, 16, "x.xx.x.x.xx.x.x."}, {4, 16, "x...x...x...x..."},
		{0, 4, "...."}, {4, 4, "xxxx"}, {1, 1, "x"}, {1, 3, "x.."},
	} {
		got := ""
		for i := range c.steps {
			got += string(".x"[dsp.Euclid(c.pulses, c.steps)>>i&1])
		}
		if got != c.want {
			t.Errorf("E(%d,%d) is %s, want %s", c.pulses, c.steps, got, c.want)
		}
	}
	for steps := 1; steps <= dsp.MaxEuclid; steps++ {
		for pulses := 0; pulses <= steps; pulses++ {
			bits, n := dsp.Euclid(pulses, steps), 0
			gaps := map[int]bool{}
			for i, last := 0, -1; i < 2*steps; i++ {
				if bits>>(i%steps)&1 == 1 {
					if i < steps {
						n++
					}
					if last >= 0 {
						gaps[i-last] = true
					}
					last = i
				}
			}
			if n != pulses || len(gaps) > 2 {
				t.Errorf("E(%d,%d) has %d pulses and gaps of %v", pulses, steps, n, gaps)
			}
			for a := range gaps {
				for b := range gaps {
					if a-b > 1 {
						t.Errorf("E(%d,%d) has gaps of %d and of %d", pulses, steps, a, b)
					}
				}
			}
		}
	}
}
