package calibration

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"github.com/k8s-synth/k8s-synth/mapping/document"
)

var update = flag.Bool("update", false, "write the golden files anew")

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// example is a calibration by ear, with everything that a file can hold.
func example() *Document {
	d := &Document{Interface: "es-8", Jack: "vco 1", Channel: 3, Machine: "studio", Made: time.Date(2026, 1, 31, 18, 5, 0, 0, time.UTC),
		Method: MethodEar, Reference: "the oscillator itself, by ear", FullScale: 10, Transpose: -12,
		Conditions: Conditions{Seconds: 214.2, Repeats: 2, Passes: 3, Settle: 0.31, Drift: 0.92, Noise: 0.041, Rate: 48000, Note: "warm for 20 minutes"},
		LeftOut:    []Left{{Note: 37, Volts: -23.0 / 12, Why: "its repeats differ by 5.2 cents"}},
		Before:     Residual{61.2, 33.1}, After: Residual{0.18, 0.07}}
	var points []Point
	var rows []Row
	for n := 36; n <= 96; n++ {
		if n == 37 {
			continue
		}
		v := d.Standard.VoltsOf(float64(n))
		points = append(points, Point{v, 0.021 + 1.038*v + 0.0011*v*v})
		rows = append(rows, Row{Note: n, Before: 10 * v, After: 0.1 * math.Sin(v)})
	}
	d.setCurve(points, rows)
	return d
}

func TestFileHoldsWhatWasMeasured(t *testing.T) {
	d := example()
	data, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/example.yaml", string(data))
	back, err := Parse("x", data)
	if err != nil {
		t.Fatal(err)
	}
	again, err := back.Encode()
	if err != nil || !bytes.Equal(data, again) {
		t.Errorf("written again it is another file (%v)", err)
	}
	c, err := back.Curve()
	if err != nil {
		t.Fatal(err)
	}
	for v := -2.0; v <= 3; v += 0.01 {
		if want := 0.021 + 1.038*v + 0.0011*v*v; math.Abs(c.At(v)-want) > 3e-4 {
			t.Errorf("at %g V it sends %g, measured was %g", v, c.At(v), want)
		}
	}
	// Somebody corrected the profile: the converter's numbers are to stay.
	k, err := back.CurveFor(12)
	if err != nil {
		t.Fatal(err)
	}
	if a, b := c.At(1)/10, k.At(1)/12; math.Abs(a-b) > 1e-12 {
		t.Errorf("at another full scale the number is %g and not %g", b, a)
	}
}

func TestSchema(t *testing.T) {
	golden(t, "calibration.schema.json", string(Schema()))
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("c.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("c.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(text string) error {
		var v any
		if err := yaml.Unmarshal([]byte(text), &v); err != nil {
			t.Fatal(err)
		}
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if v, err = jsonschema.UnmarshalJSON(bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		return schema.Validate(v)
	}
	data, err := example().Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := check(string(data)); err != nil {
		t.Error(err)
	}
	for _, change := range [][2]string{{"version: 1", "version: 2"}, {"channel: 3", "channel: 0"}, {"method: ear", "method: guess"},
		{"direction: output", "direction: up"}, {"gain: ", "gain: 99\nfoo: "}, {"standard: 1V/oct", "standard: volts"}, {"jack: vco 1\n", ""}, {"volts: -2, ", ""}} {
		text := strings.Replace(string(data), change[0], change[1], 1)
		if text == string(data) {
			t.Fatalf("%q is not in the file", change[0])
		}
		if check(text) == nil {
			t.Errorf("the schema takes %q", change[1])
		}
		if _, err := Parse("x", []byte(text)); err == nil {
			t.Errorf("the reader takes %q", change[1])
		}
	}
}

func TestMistakesHaveTheirPlace(t *testing.T) {
	const head = "version: 1\ninterface: a\njack: b\ndirection: output\nchannel: 1\nmade: 2026-01-31T18:05:00Z\nmethod: ear\noffset: 0\n"
	for text, want := range map[string]string{
		"":                          "x:1:1: the file is empty",
		"version: 9":                "x:1:10: calibration is of version 9; this program reads up to 1",
		"- a":                       "x:1:1: a calibration is a mapping that begins with version: 1, this is a list",
		"a: [":                      "this is not YAML",
		"\xff":                      "x:1:1: this is not UTF-8",
		head:                        "x:1:1: the calibration has no gain",
		head + "gain: heavy\n":      `x:9:7: gain is a number from 0.05 to 20, this is "heavy"`,
		head + "gain: .nan\n":       "x:9:7: gain is a number",
		head + "gain: 1\ngain: 1\n": `x:10:1: "gain" is already given on line 9`,
		head + "gain: 1\ntable:\n- {volts: 1, mend: 0}\n- {volts: 0, mend: 0}": "x:12:3: the row of 0 V follows one of 1 V",
		head + "gain: 1\ntable:\n- {volts: 1, mend: 3}\n- {volts: 2, mend: 0}": "x:11:1: between 1 V and 2 V the calibration goes from 4 V to 2 V",
		head + "gain: 1\ntable:\n- {volts: 1}":                                 "x:11:3: a row of the table has no mend",
		head + "gain: 1\nstandard: Hz/V\nreference_volts: -1":                  "x:10:11: the reference of Hz/V",
		head + "gain: 1\ntuning: 1":                                            `x:10:1: unknown field "tuning"`,
		head + "gain: 1\n---\nversion: 1":                                      "x:10:1: a second document",
		head + "gain: &a 1\nfull_scale: *a":                                    "an alias (*a)",
	} {
		_, err := Parse("x", []byte(text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
	if _, err := Parse("x", []byte("version: 9")); !errors.Is(err, document.ErrVersion) {
		t.Errorf("a later version: %v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

func TestStoreKeepsTheLastOnes(t *testing.T) {
	s := Store{t.TempDir()}
	d := example()
	if got, err := s.Open(d.Interface, d.Jack, d.Direction, d.Channel); got != nil || err != nil {
		t.Fatalf("an empty store has %v, %v", got, err)
	}
	path := s.Path(d)
	first := d.Made
	for i := range History + 4 {
		d.Made = first.Add(time.Duration(i) * time.Hour)
		if err := d.Save(path); err != nil {
			t.Fatal(err)
		}
	}
	got, err := s.Open(d.Interface, d.Jack, d.Direction, d.Channel)
	if err != nil || !got.Made.Equal(d.Made) {
		t.Fatalf("the newest is %v, %v", got, err)
	}
	old, err := Past(path)
	if err != nil || len(old) != History || !old[0].Made.Equal(first.Add(3*time.Hour)) || !old[History-1].Made.Equal(d.Made.Add(-time.Hour)) {
		t.Errorf("history has %d, %v", len(old), err)
	}
	other := *d
	other.Jack, other.Channel = "../../etc/Ünïcode !", 4
	if err := other.Save(s.Path(&other)); err != nil {
		t.Fatal(err)
	}
	all, err := s.List()
	if err != nil || len(all) != 2 || all[1].Jack != other.Jack {
		t.Errorf("the list has %d, %v", len(all), err)
	}
	// Nothing but the files themselves is left, and all of it is in the folder.
	n := 0
	_ = filepath.WalkDir(s.Dir, func(p string, e fs.DirEntry, _ error) error {
		if !e.IsDir() {
			n++
		}
		if strings.HasPrefix(e.Name(), ".") {
			t.Errorf("%s is left", p)
		}
		return nil
	})
	if n != History+2 {
		t.Errorf("%d files, want %d", n, History+2)
	}
	// One that somebody broke by hand is told, kept, and does not stop the next.
	if err := os.WriteFile(path, []byte("version: 1\nbroken"), 0o644); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err == nil || len(all) != 1 || !strings.Contains(err.Error(), filepath.Base(path)) {
		t.Errorf("a broken file: %d, %v", len(all), err)
	}
	if err := d.Save(path); err != nil {
		t.Fatal(err)
	}
	if names, _ := past(path); len(names) != History {
		t.Errorf("%d in the history", len(names))
	}
	// A document that makes no sense does not replace one that does.
	bad := *d
	bad.Gain = 0
	if err := bad.Save(path); err == nil {
		t.Error("saved a gain of 0")
	}
	if got, err := Load(path); err != nil || got.Gain != d.Gain {
		t.Errorf("after a failed save: %v", err)
	}
}

func TestSilentWay(t *testing.T) {
	const text = "Silent Way Calibration Data\r\nversion: 1\r\n48 -0.2448\n60 0.0001\n\n72 0.2449\n"
	notes, err := ParseSilentWay("x", []byte(text))
	if err != nil || !reflect.DeepEqual(notes, []SilentNote{{48, -0.2448}, {60, 0.0001}, {72, 0.2449}}) {
		t.Fatal(notes, err)
	}
	d := &Document{Interface: "es-3", Jack: "a", Channel: 1, Made: time.Unix(0, 0), Before: Residual{nan, nan}, After: Residual{nan, nan}}
	if err := d.FromSilentWay(notes, 4.08); err != nil {
		t.Fatal(err)
	}
	c, err := d.Curve()
	if err != nil || math.Abs(c.At(1)-0.2449*4.08) > 1e-8 {
		t.Errorf("1 V becomes %g, %v", c.At(1), err)
	}
	if _, err := d.Encode(); err != nil {
		t.Error(err)
	}
	var b bytes.Buffer
	if err := d.WriteSilentWay(&b, 4.08); err != nil {
		t.Fatal(err)
	}
	back, err := ParseSilentWay("y", b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	at := map[int]float64{}
	for _, n := range back {
		at[n.Note] = n.CV
	}
	for _, n := range notes {
		if math.Abs(at[n.Note]-n.CV) > 2e-8 {
			t.Errorf("note %d comes back as %g, was %g", n.Note, at[n.Note], n.CV)
		}
	}
	for text, want := range map[string]string{
		"":                                 "x:1:1: the file has no version",
		"version: 2\n":                     `x:1:1: version "2"`,
		"hello":                            `x:1:1: "hello": expected version: 1`,
		"version: 1\n":                     "has no notes",
		"version: 1\n60":                   "x:2:1: \"60\": expected a MIDI note and a CV",
		"version: 1\n\n128 0":              "x:3:1: note \"128\"",
		"version: 1\n1 2":                  "CV \"2\" of note 1",
		"version: 1\n1 NaN":                "CV \"NaN\"",
		"version: 1\n1 0\n2 0.1\n1 0.2":    "x:4:1: note 1 is on line 2",
		"version: 1\nversion: 1\n":         "note \"version:\"",
		"version: 1\n1 0 0":                "expected a MIDI note and a CV",
		silentHeader + "\n" + silentHeader: "expected version: 1",
		"\x00":                             "no text",
	} {
		if _, err := ParseSilentWay("x", []byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

func TestStandards(t *testing.T) {
	for _, c := range []struct {
		s     Standard
		note  float64
		volts float64
	}{
		{Standard{}, 60, 0}, {Standard{}, 72, 1}, {Standard{Kind: BuchlaPerOctave}, 72, 1.2}, {Standard{Kind: BuchlaPerOctave}, 61, 0.1},
		{Standard{Kind: HertzPerVolt}, 60, 1}, {Standard{Kind: HertzPerVolt}, 84, 4}, {Standard{Kind: HertzPerVolt, Volts: 1, Hertz: 55}, 69, 8},
		{Standard{Volts: 2, Hertz: 440}, 69, 2}, {Standard{Volts: 2, Hertz: 440}, 57, 1},
	} {
		if got := c.s.VoltsOf(c.note); math.Abs(got-c.volts) > 1e-9 {
			t.Errorf("%v: note %g is %g V, want %g", c.s, c.note, got, c.volts)
		}
		if got := c.s.NoteOf(c.volts); math.Abs(got-c.note) > 1e-9 {
			t.Errorf("%v: %g V is note %g, want %g", c.s, c.volts, got, c.note)
		}
		if got := c.s.Cents(c.volts, c.volts+c.s.semitone(c.volts)*0.01); math.Abs(got-1) > 0.001 {
			t.Errorf("%v: a hundredth of a semitone at %g V is %g cents", c.s, c.volts, got)
		}
	}
	for text, want := range map[string]int{"C4": 60, "c-1": 0, "A4": 69, "f#2": 42, "Bb3": 58, "G9": 127, "61": 61, "0": 0, "127": 127, "B#3": 60} {
		if got, err := ParseNote(text); err != nil || got != want {
			t.Errorf("ParseNote(%q) = %d, %v, want %d", text, got, err, want)
		}
	}
	for _, text := range []string{"", "H4", "C", "C10", "G#9", "128", "-1", "4C", "C4x", "#4", " ", "@4", "C 4"} {
		if got, err := ParseNote(text); err == nil {
			t.Errorf("ParseNote(%q) = %d", text, got)
		}
	}
	for n := range 128 {
		if got, err := ParseNote(NoteName(n)); got != n || err != nil {
			t.Errorf("%s is %d, %v", NoteName(n), got, err)
		}
	}
}

func checkParse(t *testing.T, data []byte) {
	d, err := Parse("x", data)
	if err != nil {
		var e *document.Error
		if !errors.As(err, &e) || e.Line < 1 {
			t.Fatalf("%q: %v has no place", data, err)
		}
		return
	}
	out, err := d.Encode()
	if err != nil {
		t.Fatalf("%q is read and not written: %v", data, err)
	}
	again, err := Parse("y", out)
	if err != nil {
		t.Fatal(err)
	}
	twice, err := again.Encode()
	if err != nil || !bytes.Equal(out, twice) {
		t.Fatalf("%q\nbecomes\n%s\nand then\n%s", data, out, twice)
	}
}

func checkSilent(t *testing.T, data []byte) {
	notes, err := ParseSilentWay("x", data)
	if err != nil {
		var e *document.Error
		if !errors.As(err, &e) || e.Line < 1 {
			t.Fatalf("%q: %v has no place", data, err)
		}
		return
	}
	var b strings.Builder
	b.WriteString("version: 1\n")
	for _, n := range notes {
		fmt.Fprintf(&b, "%d %v\n", n.Note, n.CV)
	}
	again, err := ParseSilentWay("y", []byte(b.String()))
	if err != nil || !reflect.DeepEqual(notes, again) {
		t.Fatalf("%q: %v, %v", data, again, err)
	}
	d := &Document{Interface: "i", Jack: "j", Channel: 1}
	if d.FromSilentWay(notes, 10) == nil {
		if _, err := d.Encode(); err != nil {
			t.Fatal(err)
		}
	}
}

func FuzzParse(f *testing.F) {
	data, _ := os.ReadFile("testdata/example.yaml")
	f.Add(data)
	for _, s := range []string{"", "version: 1", "{", "a: &a [*a]", "version: 1\ntable: [[1]]", "version: 1\ngain: !!float x"} {
		f.Add([]byte(s))
	}
	f.Fuzz(checkParse)
}

func FuzzSilentWay(f *testing.F) {
	for _, s := range []string{"", "version: 1\n60 0\n", silentHeader + "\nversion: 1\n0 -0.98\n127 1e-3", "version: 1\r\n1 +0x1p-2"} {
		f.Add([]byte(s))
	}
	f.Fuzz(checkSilent)
}

// TestRandomFiles is the fuzzing that every test run does: the example with some bytes changed.
func TestRandomFiles(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	file, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file = append(bytes.Clone(file[:2400]), '\n') // half a table is enough
	silent := []byte(silentHeader + "\nversion: 1\n0 -0.98\n60 0.0\n127 0.98\n")
	for range 400 {
		for i, base := range [][]byte{file, silent} {
			data := bytes.Clone(base)
			for range 1 + r.IntN(4) {
				at := r.IntN(len(data))
				switch r.IntN(3) {
				case 0:
					data[at] = byte(r.IntN(256))
				case 1:
					data[at] = "0123456789-:{}[],. \n#&*!"[r.IntN(24)]
				default:
					data = append(data[:at], data[min(at+r.IntN(9), len(data)):]...)
				}
			}
			if i == 0 {
				checkParse(t, data)
			} else {
				checkSilent(t, data)
			}
		}
	}
}
