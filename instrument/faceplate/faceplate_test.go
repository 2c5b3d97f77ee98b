package faceplate

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/instrument"
)

var update = flag.Bool("update", false, "write the golden files")

// panels are the layouts of all modules that there are.
func panels(t testing.TB) []*Layout {
	t.Helper()
	var all []*Layout
	for _, s := range instrument.Specs() {
		l, err := Build(s)
		if err != nil {
			t.Errorf("%s: %v", s.Kind, err)
			continue
		}
		all = append(all, l)
	}
	return all
}

// area is what a thing covers: a disc of radius r, or a box.
type area struct {
	name       string
	x, y, w, h float64
	round      bool
}

func (c *Control) area() area { return area{c.ID, c.X, c.Y, c.W, c.H, c.Part.Round()} }

// area of a word is from its capitals to its tails.
func (w *Word) area() area {
	x := w.X
	if w.Left {
		x += w.Width / 2
	}
	top, low := w.Y-0.73*w.Size, w.Y+0.2*w.Size
	return area{fmt.Sprintf("%q", w.Text), x, (top + low) / 2, w.Width, low - top, false}
}

// apart is how far two things are from one another; below 0 they overlap.
func apart(a, b area) float64 {
	if a.round && b.round {
		return math.Hypot(a.x-b.x, a.y-b.y) - (a.w+b.w)/2
	}
	if a.round {
		a, b = b, a
	}
	dx, dy := math.Abs(a.x-b.x)-a.w/2, math.Abs(a.y-b.y)-a.h/2
	if b.round {
		if dx < 0 || dy < 0 {
			return math.Max(dx, dy) - b.w/2
		}
		return math.Hypot(dx, dy) - b.w/2
	}
	return math.Max(dx-b.w/2, dy-b.h/2)
}

// TestEveryModuleHasAPanel: everything that a spec declares is on its panel
// once, inside it, and overlaps nothing.
func TestEveryModuleHasAPanel(t *testing.T) {
	all := panels(t)
	least, small := math.Inf(1), math.Inf(1)
	for _, l := range all {
		spec := instrument.Spec(l.Kind)
		count := map[string]int{}
		ids := map[string]bool{}
		for i := range l.Controls {
			c := &l.Controls[i]
			if ids[c.ID] {
				t.Errorf("%s: %s is there twice", l.Kind, c.ID)
			}
			ids[c.ID] = true
			switch c.Part {
			case Button, LED, Bargraph, Screen:
			default:
				count[c.Name]++
			}
			a := c.area()
			if a.x-a.w/2 < 0.5 || a.x+a.w/2 > l.Width-0.3 || a.y-a.h/2 < railTop || a.y+a.h/2 > railLow {
				t.Errorf("%s: %s at %.2f, %.2f (%.1f × %.1f) is not between the rails and the edges of %.1f mm", l.Kind, c.ID, c.X, c.Y, c.W, c.H, l.Width)
			}
			for k := range i {
				o := &l.Controls[k]
				if d := apart(a, o.area()); d < 0.05 {
					t.Errorf("%s: %s and %s overlap by %.2f mm", l.Kind, c.ID, o.ID, -d)
				}
				if d := math.Hypot(c.X-o.X, c.Y-o.Y); (c.Part == Input || c.Part == Output) && (o.Part == Input || o.Part == Output) {
					least = math.Min(least, d)
					if d < JackPitch-1e-6 {
						t.Errorf("%s: the jacks %s and %s are %.2f mm apart, expected at least %d", l.Kind, c.ID, o.ID, d, JackPitch)
					}
				}
			}
			if out := c.Part == Output; l.Outputs != nil && out != (c.Y > l.Outputs.Y && c.Part != LED) && c.Part != LED {
				t.Errorf("%s: %s (%s) is on the wrong side of the plate", l.Kind, c.ID, c.Part)
			}
		}
		want := func(name string) {
			if count[name] != 1 {
				t.Errorf("%s: %s is on the panel %d times", l.Kind, name, count[name])
			}
		}
		for _, p := range spec.Params {
			want(p.Name)
		}
		for _, j := range spec.Inputs {
			want(j.Name)
			if j.Button && l.Control(j.Name+"_button") == nil {
				t.Errorf("%s: %s has no button", l.Kind, j.Name)
			}
		}
		for _, j := range spec.Outputs {
			want(j.Name)
			if l.Control(j.Name+"_led") == nil || j.Bargraph && l.Control(j.Name+"_bar") == nil {
				t.Errorf("%s: %s has no light or no bar", l.Kind, j.Name)
			}
		}
		named := map[string]bool{}
		for i := range l.Words {
			w := &l.Words[i]
			a := w.area()
			if w.Role == "label" {
				named[w.For] = true
				small = math.Min(small, w.Size)
			}
			if a.x-a.w/2 < 0.2 || a.x+a.w/2 > l.Width-0.2 || a.y-a.h/2 < 4 || a.y+a.h/2 > Height-4 {
				t.Errorf("%s: the word %q does not fit: %.2f … %.2f of %.1f mm", l.Kind, w.Text, a.x-a.w/2, a.x+a.w/2, l.Width)
			}
			for k := range l.Controls {
				if d := apart(a, l.Controls[k].area()); d < -0.02 {
					t.Errorf("%s: %q and %s overlap by %.2f mm", l.Kind, w.Text, l.Controls[k].ID, -d)
				}
			}
			for k := range i {
				if d := apart(a, l.Words[k].area()); d < 0.05 {
					t.Errorf("%s: the words %q and %q overlap by %.2f mm", l.Kind, w.Text, l.Words[k].Text, -d)
				}
			}
			for _, h := range l.Holes {
				if d := apart(a, area{x: h.X + h.W/2, y: h.Y + h.H/2, w: h.W, h: h.H}); d < 0 {
					t.Errorf("%s: %q is under a screw", l.Kind, w.Text)
				}
			}
		}
		for i := range l.Controls {
			c := &l.Controls[i]
			switch {
			case c.With != "", c.Part == Button, c.Part == LED, c.Part == Screen:
				continue // named by what they are beside
			}
			if !named[c.ID] {
				t.Errorf("%s: %s has no label", l.Kind, c.ID)
			}
		}
	}
	t.Logf("%d panels; the nearest jacks are %.2f mm apart, the smallest label is %.2f mm an em", len(all), least, small)
}

func TestWidths(t *testing.T) {
	for hp, want := range map[int]float64{4: 20, 6: 30, 8: 40.3, 10: 50.5, 12: 60.6, 14: 70.8, 16: 80.9, 24: 121.6} {
		if got := Width(hp); math.Abs(got-want) > 1e-9 {
			t.Errorf("%d HP is %g mm, expected %g", hp, got, want)
		}
	}
	before := 0.0
	for hp := 1; hp < 90; hp++ {
		w := Width(hp)
		if d := float64(hp)*Pitch - w; d < 0 || d > 0.65 || w <= before {
			t.Errorf("%d HP is %g mm, %g narrower than nominal", hp, w, d)
		}
		before = w
	}
}

// TestNarrow: a spec with more than its width holds is refused with the width
// that it needs.
func TestNarrow(t *testing.T) {
	s := *instrument.Spec("deployment")
	s.HP = 6
	_, err := Build(&s)
	var narrow *NarrowError
	if !errors.As(err, &narrow) || narrow.Need <= 6 || narrow.Need > 20 {
		t.Fatalf("6 HP for a Deployment: %v", err)
	}
	t.Log(err)
	s.HP = narrow.Need
	if _, err := Build(&s); err != nil {
		t.Error(err)
	}
}

// parse reads a drawing as XML and returns the names of its elements.
func parse(t *testing.T, what string, data []byte) map[string]int {
	t.Helper()
	names := map[string]int{}
	ids := map[string]bool{}
	for d := xml.NewDecoder(bytes.NewReader(data)); ; {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return names
		}
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if e, ok := tok.(xml.StartElement); ok {
			names[e.Name.Local]++
			for _, a := range e.Attr {
				if a.Name.Local == "id" {
					if ids[a.Value] {
						t.Errorf("%s: the id %s is there twice", what, a.Value)
					}
					ids[a.Value] = true
				}
			}
		}
	}
}

var component = regexp.MustCompile(`inkscape:label="([A-Z0-9_]+)" style="fill:#([0-9a-f]{6});`)

// TestRackPanels holds panels for Rack to its rules.
func TestRackPanels(t *testing.T) {
	total := 0
	for _, l := range panels(t) {
		var b bytes.Buffer
		if err := SVG(&b, l, Style{Rack: true}); err != nil {
			t.Fatal(err)
		}
		total += b.Len()
		for name := range parse(t, l.Kind, b.Bytes()) {
			if name != "svg" && name != "g" && name != "path" && name != "rect" && name != "circle" {
				t.Errorf("%s: <%s> is nothing that Rack draws", l.Kind, name)
			}
		}
		text := b.String()
		for _, no := range []string{"class=", "var(", "<text", "<style", "NaN", "Inf"} {
			if strings.Contains(text, no) {
				t.Errorf("%s: the panel for Rack has %q", l.Kind, no)
			}
		}
		if want := fmt.Sprintf(`width="%smm" height="128.5mm"`, mm(float64(l.HP)*Pitch)); !strings.Contains(text, want) {
			t.Errorf("%s: expected %s in %s", l.Kind, want, text[:200])
		}
		spec := instrument.Spec(l.Kind)
		found := map[string]map[string]bool{}
		for _, m := range component.FindAllStringSubmatch(text, -1) {
			if found[m[2]] == nil {
				found[m[2]] = map[string]bool{}
			}
			if found[m[2]][m[1]] {
				t.Errorf("%s: the component %s (%s) is there twice", l.Kind, m[1], m[2])
			}
			found[m[2]][m[1]] = true
		}
		for _, p := range spec.Params {
			if colour := map[bool]string{true: "ffff00", false: "ff0000"}[p.Text || p.Counter]; !found[colour][strings.ToUpper(p.Name)] {
				t.Errorf("%s: no component %s (%s)", l.Kind, p.Name, colour)
			}
		}
		for _, j := range spec.Inputs {
			if !found["00ff00"][strings.ToUpper(j.Name)] {
				t.Errorf("%s: no component for the input %s", l.Kind, j.Name)
			}
		}
		for _, j := range spec.Outputs {
			if name := strings.ToUpper(j.Name); !found["0000ff"][name] || !found["ff00ff"][name] {
				t.Errorf("%s: no component for the output %s or its light", l.Kind, j.Name)
			}
		}
	}
	t.Logf("all panels for Rack are %d kB", total/1000)
}

// TestBrowserPanels: every control is found by its id, and by the name of
// what it stands for.
func TestBrowserPanels(t *testing.T) {
	total := 0
	for _, l := range panels(t) {
		for _, style := range []Style{{ID: "x/" + l.Kind}, {Sheet: true, Theme: Stage}, {Outlines: true, Theme: Light}} {
			var b, again bytes.Buffer
			if err := errors.Join(SVG(&b, l, style), SVG(&again, l, style)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b.Bytes(), again.Bytes()) {
				t.Errorf("%s: two drawings differ", l.Kind)
			}
			names := parse(t, l.Kind, b.Bytes())
			if style.Outlines && names["text"] > len(l.Controls) {
				t.Errorf("%s: words are not paths", l.Kind)
			}
			if style.ID != "" {
				total += b.Len()
				for i := range l.Controls {
					if want := fmt.Sprintf(`<g id="x/%s-%s" `, l.Kind, l.Controls[i].ID); !strings.Contains(b.String(), want) {
						t.Errorf("%s: no %s", l.Kind, want)
					}
				}
			}
		}
	}
	t.Logf("all panels for browsers are %d kB, the style sheet %d", total/1000, len(CSS())/1000)
}

// TestLayoutIsJSON: what a browser and other tools read comes back as it was.
func TestLayoutIsJSON(t *testing.T) {
	for _, l := range panels(t) {
		data, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		var back Layout
		if err := json.Unmarshal(data, &back); err != nil {
			t.Fatal(err)
		}
		again, _ := json.Marshal(&back)
		if !bytes.Equal(data, again) {
			t.Errorf("%s: the layout changes on its way", l.Kind)
		}
	}
}

func TestAt(t *testing.T) {
	c := Control{Min: 20, Max: 20000, Exponential: true}
	if v := c.At(632.4555); math.Abs(v-0.5) > 1e-6 {
		t.Errorf("632 Hz of 20 … 20000 stands at %g", v)
	}
	c = Control{Min: -5, Max: 5}
	if c.At(0) != 0.5 || c.At(-9) != 0 || c.At(9) != 1 {
		t.Error("a bipolar knob")
	}
}

// TestOutlines holds the outlines of text to its width.
func TestOutlines(t *testing.T) {
	number := regexp.MustCompile(`-?[0-9.]+ -?[0-9.]+`)
	for _, s := range []string{"Deployment", "max unavailable", "k8s-synth", "AVAT"} {
		w := TextWidth(s, 10, Bold, 0)
		left, right := math.Inf(1), math.Inf(-1)
		for _, p := range number.FindAllString(outline(s, 0, 0, 10, Bold, 0), -1) {
			var x, y float64
			fmt.Sscan(p, &x, &y)
			left, right = math.Min(left, x), math.Max(right, x)
			if y < -10 || y > 3 {
				t.Errorf("%s reaches %g", s, y)
			}
		}
		if left < -0.5 || left > 1.5 || right > w+0.5 || right < w-1.5 {
			t.Errorf("%s runs from %.2f to %.2f, expected 0 … %.2f", s, left, right, w)
		}
	}
}

// TestGolden holds a few panels to what they were: whoever changes them looks
// at them.
func TestGolden(t *testing.T) {
	for _, g := range []struct {
		kind  string
		style Style
	}{{"service", Style{}}, {"adsr", Style{}}, {"noise", Style{Rack: true}}} {
		l, err := Build(instrument.Spec(g.kind))
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		if err := SVG(&b, l, g.style); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join("testdata", g.kind+".svg")
		if *update {
			if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(file, b.Bytes(), 0o644)); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, b.Bytes()) {
			t.Errorf("the panel of %s is another than %s; look at it, then go test ./instrument/faceplate -update", g.kind, file)
		}
	}
}

// FuzzBuild builds panels of modules that nobody declared.
func FuzzBuild(f *testing.F) {
	f.Add(uint8(8), "tune fine width_cv", "in pitch", "out")
	f.Add(uint8(2), "a_1 a_2 a_3 b_1 b_2 b_3", "", "x_1 x_2 x_3 x_4")
	f.Add(uint8(4), "", "", "")
	f.Fuzz(func(t *testing.T, hp uint8, params, ins, outs string) {
		s := &instrument.ModuleSpec{Kind: "fuzz", Title: params + ins, HP: int(hp%60) + 1}
		for i, p := range strings.Fields(params) {
			q := instrument.ParamSpec{Name: p, Max: float64(i)}
			switch i % 4 {
			case 1:
				q.Choices = strings.Split("one two three four five", " ")[:2+i%4]
			case 2:
				q.Text = true
			}
			s.Params = append(s.Params, q)
		}
		for i, j := range strings.Fields(ins) {
			s.Inputs = append(s.Inputs, instrument.JackSpec{Name: j, Button: i%2 == 0})
		}
		for _, j := range strings.Fields(outs) {
			s.Outputs = append(s.Outputs, instrument.JackSpec{Name: j})
		}
		l, err := Build(s)
		if err != nil {
			return
		}
		for _, style := range []Style{{}, {Rack: true}} {
			if err := SVG(io.Discard, l, style); err != nil {
				t.Fatal(err)
			}
		}
	})
}
