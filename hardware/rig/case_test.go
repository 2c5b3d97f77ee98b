package rig

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
)

var (
	_ hardware.Converter                       = (*Case)(nil)
	_ interface{ Gates() hardware.ChannelSet } = (*Case)(nil)
)

// TestNumbers: what a volt is at the converter, on each interface that ships.
func TestNumbers(t *testing.T) {
	all, err := Profiles()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range all {
		if p.Reference {
			continue
		}
		r := parse(t, string(New("x", p, Device{})))
		c, err := NewCase(r, 48000, quiet())
		if err != nil {
			t.Fatal(err)
		}
		b := newBench(c)
		b.settle(steady(0.75))
		b.play(64, 64, steady(0.75))
		for _, j := range r.Outputs {
			if j.Role == Gate {
				continue
			}
			full := WorstFullScale
			if g := p.output(j.Channel); g.FullScale > 0 {
				full = g.FullScale
			}
			if got, want := b.sent[j.Channel][63], float32(0.75/full); got != want {
				t.Errorf("%s, channel %d: 0.75 V is %g, want %g", p.Name, j.Channel+1, got, want)
			}
		}
	}
}

// TestUnknownInterface: whatever an interface gives at full scale, at most 1 V leaves one that
// nobody has measured, and pitch is refused in words that help.
func TestUnknownInterface(t *testing.T) {
	r := Safe(8, 4)
	c, err := NewCase(r, 48000, quiet())
	if err != nil {
		t.Fatal(err)
	}
	b := newBench(c)
	for _, v := range []float32{10, -10, 1e30, float32(math.Inf(1)), 3} {
		b.play(6400, 64, steady(v))
	}
	for _, full := range []float64{2.88, 5, 10, 12, 17.4, WorstFullScale} {
		for ch := 2; ch < 8; ch++ {
			for _, s := range b.sent[ch] {
				if v := math.Abs(float64(s)) * full; v > SafeVolts+1e-6 {
					t.Fatalf("%g V leave channel %d of an interface of ±%g V", v, ch+1, full)
				}
			}
		}
	}
	_, err = Parse("r.yaml", []byte("version: 1\nname: x\ninterface: motu-ultralite\ndevice: {playback: 8}\noutputs:\n  - {jack: p, channel: 3, role: pitch}\n"))
	if err == nil || !strings.Contains(err.Error(), "r.yaml:6:12: pitch is refused") || !strings.Contains(err.Error(), "voltmeter") {
		t.Error(err)
	}
	_, err = Parse("r.yaml", []byte("version: 1\nname: x\ninterface: unknown\ndevice: {playback: 8}\noutputs:\n  - {jack: p, channel: 3, limit: 5}\n"))
	if err == nil || !strings.Contains(err.Error(), "±1 V is the most") {
		t.Error(err)
	}
	// Measured, it is an interface like any other.
	r = parse(t, "version: 1\nname: x\ninterface: motu-ultralite\nfull_scale: {outputs: 8}\ndevice: {playback: 8}\noutputs:\n  - {jack: p, channel: 3, role: pitch}\n")
	if j := r.Outputs[0]; j.FullScale != 8 || j.Sure != Measured || j.Max != 8 {
		t.Errorf("%+v", j)
	}
}

// TestStandards: a pitch that goes through a jack is read back by the standard's own definition, at
// the number that the converter gets, as float32 and rounded to its 24 bits.
func TestStandards(t *testing.T) {
	for _, s := range []struct {
		text     string
		hertz    func(volts float64) float64
		low, top float64 // octaves from C4 that fit into ±10 V
	}{
		{"standard: 1V/oct", func(v float64) float64 { return dsp.C4Hertz * math.Exp2(v) }, -8, 8},
		{"standard: 1V/oct, reference: {volts: 2, hertz: 440}", func(v float64) float64 { return 440 * math.Exp2(v-2) }, -8, 7},
		{"standard: 1.2V/oct", func(v float64) float64 { return dsp.C4Hertz * math.Exp2(v/1.2) }, -8, 8},
		{"standard: 1.2V/oct, reference: {volts: 0, hertz: 65.40639}", func(v float64) float64 { return 65.40639 * math.Exp2(v/1.2) }, -8, 6},
		{"standard: Hz/V, reference: {volts: 1, hertz: 55}", func(v float64) float64 { return 55 * v }, -4, 1},
		{"standard: Hz/V, reference: {volts: 8, hertz: 1046.5}", func(v float64) float64 { return 1046.5 / 8 * v }, -4, 2},
	} {
		c := caseOf(t, "version: 1\nname: x\ninterface: virtual\noutputs:\n  - {jack: p, channel: 1, role: pitch, "+s.text+"}\ninputs:\n  - {jack: q, channel: 1, role: pitch, "+s.text+"}\n")
		b := newBench(c)
		b.settle(steady(0))
		worst, worst24, back := 0.0, 0.0, 0.0
		got := [][]float32{make([]float32, 1)}
		for octave := s.low; octave <= s.top; octave += 1.0 / 48 {
			x := float32(octave)
			b.play(1, 1, steady(x))
			n := float64(b.sent[0][len(b.sent[0])-1])
			hertz := dsp.C4Hertz * math.Exp2(float64(x))
			cents := func(n float64) float64 { return math.Abs(1200 * math.Log2(s.hertz(n*10)/hertz)) }
			worst = max(worst, cents(n))
			worst24 = max(worst24, cents(math.Round(n*(1<<23))/(1<<23)))
			in := make([][]float32, 16)
			in[0] = []float32{float32(n)}
			c.In(in, got)
			back = max(back, math.Abs(float64(got[0][0])-float64(x))*1200)
		}
		t.Logf("%-58s %+.0f…%+.0f octaves: within %.6f cents, at 24 bits %.5f, back through an input %.5f", s.text, s.low, s.top, worst, worst24, back)
		if worst > 0.01 || worst24 > 0.01 || back > 0.01 {
			t.Errorf("%s is %.5f cents off, %.5f at 24 bits, %.5f there and back", s.text, worst, worst24, back)
		}
	}
}

const studio = `version: 1
name: studio
interface: virtual
speakers: [1, 2]
expanders:
  - {device: es-5, channels: [7, 8], headers: {2: esx-8gt, 3: esx-8cv, 6: esx-8cv}}
outputs:
  - {jack: pitch, channel: 3, role: pitch, limit: 5}
  - {jack: gate, channel: 4, role: gate, low: -1, high: 8}
  - {jack: cv, channel: 5, min: -2, max: 6.5, safe: 1}
  - {jack: slow, channel: 6, slew: 100, limit: 9}
  - {jack: loud, channel: 9, role: audio}
  - {jack: hz, channel: 10, role: pitch, standard: Hz/V, reference: {volts: 1, hertz: 55}, min: 0, max: 8}
  - {jack: clock, channel: 11, role: clock, invert: true, full_scale: 9.5}
  - {jack: kick, channel: es-5/1/1, role: trigger}
  - {jack: snare, channel: es-5/2/8, role: gate}
  - {jack: bend, channel: es-5/3/1}
  - {jack: bass, channel: es-5/6/8, role: pitch, limit: 4}
inputs:
  - {jack: in1, channel: 1}
  - {jack: in2, channel: 2, role: audio}
  - {jack: in3, channel: 3, role: pitch, standard: 1.2V/oct}
`

// addingProbe adds to every output, and says what it was shown.
type addingProbe struct {
	add     float32
	out, in int
	volts   []float32
}

func (p *addingProbe) Tap(out, in [][]float32) {
	p.out, p.in = len(out), len(in)
	p.volts = p.volts[:0]
	for k := range out {
		p.volts = append(p.volts, out[k][len(out[k])-1])
		for i := range out[k] {
			out[k][i] += p.add
		}
	}
}

func curve(t testing.TB, points ...calibration.Point) *calibration.Curve {
	t.Helper()
	c, err := calibration.NewCurve(points)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// beyond tells of a number that is outside its jack's limits.
func beyond(r *Rig, sent [][]float32) string {
	for i := range r.Outputs {
		j := &r.Outputs[i]
		if j.Expander >= 0 {
			continue
		}
		k := j.FullScale
		if j.Invert {
			k = -k
		}
		slack := 1e-6 * max(math.Abs(j.Min), math.Abs(j.Max))
		for f, s := range sent[j.Channel] {
			if v := float64(s) * k; !(v >= j.Min-slack && v <= j.Max+slack) || !(s >= -1 && s <= 1) {
				return fmt.Sprintf("frame %d of %s is %g V, its limits are %g to %g", f, j.Name, v, j.Min, j.Max)
			}
		}
	}
	return ""
}

// torment plays anything that an engine, a probe and a player could do, and tells what left its limits.
func torment(t testing.TB, seed uint64, blocks int) string {
	c := caseOf(t, studio)
	b := newBench(c)
	rng := rand.New(rand.NewPCG(seed, 1))
	nasty := []float32{0, float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32, -math.MaxFloat32, 1e-45, 12, -12, 1000}
	var last float32
	for range blocks {
		switch rng.IntN(12) {
		case 0:
			c.Begin()
		case 1:
			c.Land()
		case 2:
			c.Glide(rng.Float64() / 20)
		case 3:
			c.Raw(rng.IntN(4) == 0)
		case 4:
			j := c.OutputJacks()[rng.IntN(len(c.OutputJacks()))]
			off := rng.Float64()*10 - 5
			if err := c.Calibrate(j.Name, curve(t, calibration.Point{Volts: -5, Send: -5 * 1.3}, calibration.Point{Volts: 0, Send: off / 10}, calibration.Point{Volts: 5, Send: 6 + off/10})); err != nil {
				t.Fatal(err)
			}
		case 5:
			c.SetProbe(&addingProbe{add: nasty[rng.IntN(len(nasty))]})
		case 6:
			c.SetProbe(nil)
		}
		given := func(int, int) float32 {
			switch rng.IntN(8) {
			case 0:
				last = nasty[rng.IntN(len(nasty))]
			case 1:
				last = float32(rng.NormFloat64() * 20)
			}
			return last
		}
		if rng.IntN(20) == 0 {
			given = nil
		}
		b.play(1+rng.IntN(100), 64, given)
		for k := range b.sent[:2] {
			for _, s := range b.sent[k] {
				if s-s != 0 {
					return "a speaker gets what is no number"
				}
			}
		}
		if m := beyond(c.Rig(), b.sent); m != "" {
			return m
		}
		b.forget()
	}
	return ""
}

// TestLimits: no number ever leaves a jack's limits.
func TestLimits(t *testing.T) {
	for seed := range uint64(20) {
		if m := torment(t, seed, 200); m != "" {
			t.Fatalf("seed %d: %s", seed, m)
		}
	}
	c := caseOf(t, studio)
	b := newBench(c)
	b.settle(steady(0))
	b.play(100, 64, steady(20))
	if limited, invalid := c.Counters("cv"); limited != 100 || invalid != 0 {
		t.Errorf("100 samples of 20 V: %d limited, %d invalid", limited, invalid)
	}
	if v := c.Sent("cv"); v != 6.5 {
		t.Errorf("20 V are sent as %g V", v)
	}
}

func FuzzLimits(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(99))
	f.Fuzz(func(t *testing.T, seed uint64) {
		if m := torment(t, seed, 50); m != "" {
			t.Fatal(m)
		}
	})
}

// TestHold: what is no number is the last one that was, and is counted.
func TestHold(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	b.settle(steady(3))
	b.play(64, 64, steady(float32(math.NaN())))
	for _, ch := range []int{2, 4, 5} {
		for _, s := range b.sent[ch] {
			if s != 0.3 {
				t.Fatalf("channel %d gives %g for NaN after 3 V", ch+1, s)
			}
		}
	}
	if _, invalid := c.Counters("pitch"); invalid != 64 {
		t.Errorf("%d counted", invalid)
	}
	in := make([][]float32, 16)
	for k := range in {
		in[k] = []float32{0.25, float32(math.NaN()), float32(math.Inf(1))}
	}
	got := [][]float32{make([]float32, 3), make([]float32, 3), make([]float32, 3)}
	c.In(in, got)
	if got[0][0] != 2.5 || got[0][1] != 2.5 || got[0][2] != 2.5 {
		t.Errorf("an input of 0.25, NaN, infinity gives %v V", got[0])
	}
}

// TestStartAndEnd: a start begins at 0 V, where a device is that was just opened, and an end comes to
// the safe value, in steps that are no bang, within 50 ms; gates wait for the voltages beside them at a start and fall at once at an end.
func TestStartAndEnd(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	c.Begin()
	b.play(2400, 64, steady(5)) // 50 ms
	at := func(ch, frame int, full float64) float64 { return float64(b.sent[ch][frame]) * full }
	for _, j := range []struct {
		name      string
		ch        int
		from, to  float64
		full      float64
		mostSteps float64
	}{{"pitch", 2, 0, 5, 10, 0.004}, {"cv", 4, 0, 5, 10, 0.005}, {"slow", 5, 0, 5, 10, 0.006}, {"hz", 9, 0, 8, 10, 0.006}} {
		if got := at(j.ch, 0, j.full); math.Abs(got-j.from) > 1e-6 {
			t.Errorf("%s begins at %g V, want %g", j.name, got, j.from)
		}
		if got := at(j.ch, 2399, j.full); j.name != "slow" && math.Abs(got-j.to) > 1e-5 {
			t.Errorf("%s is at %g V after 50 ms, want %g", j.name, got, j.to)
		}
		for f := 1; f < 2400; f++ {
			if d := math.Abs(at(j.ch, f, j.full) - at(j.ch, f-1, j.full)); d > j.mostSteps {
				t.Fatalf("%s steps by %g V at frame %d of a start", j.name, d, f)
			}
		}
	}
	up := slices.IndexFunc(b.sent[3], func(s float32) bool { return s > 0.5 })
	if up != 1440 {
		t.Errorf("the gate opens at frame %d; the pitch is there at 1440", up)
	}
	if up := slices.IndexFunc(b.sent[10], func(s float32) bool { return s < -0.1 }); up != 0 {
		t.Errorf("the clock begins at frame %d", up)
	}
	for _, way := range []struct {
		name  string
		given func(int, int) float32
	}{{"rendered on", steady(5)}, {"renderer failed", nil}} {
		c.Begin()
		b.play(4800, 64, steady(5))
		b.forget()
		c.Land()
		if c.Landed() {
			t.Error("landed before it began")
		}
		b.play(2400, 64, way.given)
		if !c.Landed() {
			t.Errorf("%s: not landed after 50 ms", way.name)
		}
		if b.sent[3][0] != -0.1 || b.sent[3][2399] != -0.1 {
			t.Errorf("%s: the gate of −1/8 V is %g at once, %g at the end", way.name, b.sent[3][0]*10, b.sent[3][2399]*10)
		}
		if b.coded[6][0]>>24&1 != 0 || b.coded[6][0]>>16&0x80 != 0 {
			t.Errorf("%s: the expander's gates stay open", way.name)
		}
		for ch, safe := range map[int]float64{2: 0, 4: 1, 5: 0, 9: 0, 0: 0, 8: 0} {
			if got := at(ch, 2399, 10); math.Abs(got-safe) > 1e-6 {
				t.Errorf("%s: channel %d lands at %g V, want %g", way.name, ch+1, got, safe)
			}
			for f := 1; f < 2400; f++ {
				if d := math.Abs(at(ch, f, 10) - at(ch, f-1, 10)); d > 0.007 {
					t.Fatalf("%s: channel %d steps by %g V at frame %d of an end", way.name, ch+1, d, f)
				}
			}
		}
	}
	// An end in the middle of a start goes back from where it is.
	c.Begin()
	b.play(700, 64, steady(5))
	b.forget()
	c.Land()
	b.play(64, 64, steady(5))
	if v := at(2, 0, 10); math.Abs(v-5*700.0/1440) > 0.01 {
		t.Errorf("an end after 700 frames of a start begins at %g V", v)
	}
	b.play(2400, 64, steady(5))
	if got := at(4, 2463, 10); math.Abs(got-1) > 1e-6 || !c.Landed() {
		t.Errorf("it ends at %g V, its safe value is 1; landed %v", got, c.Landed())
	}
	for f := 1; f < 2464; f++ {
		if d := math.Abs(at(4, f, 10) - at(4, f-1, 10)); d > 0.007 {
			t.Fatalf("cv steps by %g V at frame %d of an end in a start", d, f)
		}
	}
}

// TestChannelSets: the device knows which channels fall at once where it brings them down itself.
func TestChannelSets(t *testing.T) {
	c := caseOf(t, studio)
	if got, want := c.Gates(), hardware.Channels(3, 10); got != want {
		t.Errorf("gates are on channels %b, want %b", got, want)
	}
	if got, want := c.Hold(), hardware.Channels(2, 3, 4, 5, 6, 7, 9, 10); got != want {
		t.Errorf("channels %b hold, want %b", got, want)
	}
}

// TestGlide: after a change of scene voltages arrive by an even ramp, whenever within the time they
// jump; gates are where they are.
func TestGlide(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	b.settle(steady(0))
	c.Glide(0.02)
	b.play(1200, 64, func(k, f int) float32 {
		if f < 100 {
			return 0
		}
		return 4
	})
	for _, ch := range []int{2, 4} {
		for f := 1; f < 1200; f++ {
			want := 0.4 * min(max(float64(f-99)/860, 0), 1)
			if got := float64(b.sent[ch][f]); math.Abs(got-want) > 1e-6 {
				t.Fatalf("channel %d is %g at frame %d of a glide, want %g", ch+1, got, f, want)
			}
		}
	}
	if b.sent[3][100] != 0.8 {
		t.Error("a gate is late in a glide")
	}
	b.play(64, 64, steady(-4))
	if got := b.sent[2][1200]; got != -0.4 {
		t.Errorf("a glide goes on: %g", got)
	}
}

// TestSlew: a slew limit holds for good.
func TestSlew(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	b.settle(steady(0))
	b.play(9600, 64, steady(8))
	for f := range 9600 {
		want := min(float64(f+1)*100/48000, 8)
		if got := float64(b.sent[5][f]) * 10; math.Abs(got-want) > 2e-4 {
			t.Fatalf("frame %d: %g V, want %g", f, got, want)
		}
	}
	if b.sent[5][9599] != 0.8 {
		t.Errorf("it ends at %g", b.sent[5][9599])
	}
}

// TestSpeakersGetNoDC: DC in the sound, a voltage that stays and a stuck engine leave nothing at
// the speakers.
func TestSpeakersGetNoDC(t *testing.T) {
	for _, w := range []struct {
		name  string
		given func(k, f int) float32
	}{
		{"5 V that stay", steady(5)},
		{"a tone of 440 Hz on 3 V", func(_, f int) float32 { return 3 + float32(2*math.Sin(2*math.Pi*440*float64(f)/48000)) }},
		{"noise on −4 V", func(k, f int) float32 { return -4 + float32((k*7919+f*104729)%1000)/1000 - 0.4995 }},
		{"an engine that fails", nil},
	} {
		c := caseOf(t, studio)
		b := newBench(c)
		b.play(48000, 64, steady(5))
		b.play(3*48000, 64, w.given)
		b.forget()
		b.play(48000, 64, w.given)
		for _, ch := range []int{0, 1, 8} {
			sum := 0.0
			for _, s := range b.sent[ch] {
				sum += float64(s)
			}
			db := 20 * math.Log10(math.Abs(sum)/48000+1e-20)
			t.Logf("%s: DC of channel %d is %.0f dBFS", w.name, ch+1, db)
			if db > -100 {
				t.Errorf("%s: DC of channel %d is %.1f dBFS", w.name, ch+1, db)
			}
		}
	}
}

// TestAnyBlocks: the same numbers come out however the time is cut into blocks.
func TestAnyBlocks(t *testing.T) {
	given := func(k, f int) float32 {
		x := float32(6 * math.Sin(float64(f*(k+3))/900))
		if f%977 == 0 {
			return float32(math.NaN())
		}
		if f%1500 < 700 {
			return x
		}
		return x * 3
	}
	var want *bench
	for _, block := range []int{64, 1, 7, 63, 1000} {
		c := caseOf(t, studio)
		for _, j := range []string{"pitch", "cv", "bass"} {
			if err := c.Calibrate(j, curve(t, calibration.Point{Volts: -4, Send: -4.1}, calibration.Point{Volts: 4, Send: 4.2})); err != nil {
				t.Fatal(err)
			}
		}
		b := newBench(c)
		b.play(7000, block, given)
		c.Glide(0.05)
		b.play(6000, block, given)
		c.Land()
		b.play(3000, block, given)
		if want == nil {
			want = b
			continue
		}
		for ch := range b.sent {
			for f := range b.sent[ch] {
				if b.sent[ch][f] != want.sent[ch][f] {
					t.Fatalf("blocks of %d: frame %d of channel %d is %v, %v in blocks of 64", block, f, ch+1, b.sent[ch][f], want.sent[ch][f])
				}
			}
			if !slices.Equal(b.coded[ch], want.coded[ch]) {
				t.Fatalf("blocks of %d: other words on channel %d", block, ch+1)
			}
		}
	}
}

// TestCVIsUntouched: a control voltage is the engine's to the last bit, divided by full scale.
func TestCVIsUntouched(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	rng := rand.New(rand.NewPCG(7, 7))
	noise := make([]float32, 4096)
	for i := range noise {
		noise[i] = float32(rng.Float64()*4 - 1.9)
	}
	b.settle(steady(0))
	b.play(len(noise), 64, func(_, f int) float32 { return noise[f] })
	for f, v := range noise {
		if want := float32(float64(v) / 10); b.sent[4][f] != float32(float64(v)*(1.0/10)) || math.Abs(float64(b.sent[4][f]-want)) > 1e-8 || b.sent[2][f] != b.sent[4][f] {
			t.Fatalf("frame %d: %v V is %v", f, v, b.sent[4][f])
		}
	}
	for _, ch := range []int{11, 12, 13, 14, 15} {
		if slices.ContainsFunc(b.sent[ch], func(s float32) bool { return s != 0 }) {
			t.Errorf("something is on channel %d, which nothing is wired to", ch+1)
		}
	}
}

// TestCalibration: corrections come last at outputs and first at inputs, Raw leaves them out, and a
// probe sees what is meant.
func TestCalibration(t *testing.T) {
	c := caseOf(t, studio)
	bend := curve(t, calibration.Point{Volts: -4, Send: -4.1}, calibration.Point{Volts: 0, Send: 0.05}, calibration.Point{Volts: 4, Send: 4.3})
	for _, j := range []string{"pitch", "hz", "in1"} {
		if err := c.Calibrate(j, bend); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Calibrate("nobody", bend); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Error(err)
	}
	p := &addingProbe{}
	c.SetProbe(p)
	b := newBench(c)
	b.settle(steady(1.5))
	b.play(64, 64, steady(1.5))
	if got, want := float64(b.sent[2][63])*10, bend.At(1.5); math.Abs(got-want) > 1e-5 {
		t.Errorf("1.5 V are sent as %g, want %g", got, want)
	}
	volts := dsp.C4Hertz * math.Exp2(1.5) / 55
	if p.volts[0] != 1.5 || p.out != 11 || p.in != 3 || c.Sent("pitch") != 1.5 {
		t.Errorf("the probe is shown %v, %d outputs and %d inputs", p.volts[0], p.out, p.in)
	}
	if volts < 8 || math.Abs(float64(c.Sent("hz"))-(8-probeRoom)) > 1e-6 { // 13.4 V, which its limit does not let through, and room for the probe
		t.Errorf("Hz/V of C4 and an octave and a half is %g, sent as %g", volts, c.Sent("hz"))
	}
	in := make([][]float32, 16)
	for k := range in {
		in[k] = []float32{0.2}
	}
	got := [][]float32{make([]float32, 1), make([]float32, 1), make([]float32, 1)}
	c.In(in, got)
	if want := bend.At(2); math.Abs(float64(got[0][0])-want) > 1e-5 || math.Abs(float64(got[2][0])-2/1.2) > 1e-6 || c.Received("in1") != got[0][0] {
		t.Errorf("2 V are read as %v", got)
	}
	// Another correction comes in evenly.
	b.forget()
	if err := c.Calibrate("pitch", curve(t, calibration.Point{Volts: 0, Send: -0.5}, calibration.Point{Volts: 4, Send: 4})); err != nil {
		t.Fatal(err)
	}
	b.play(2400, 64, steady(1.5))
	for f := 1; f < 2400; f++ {
		if d := math.Abs(float64(b.sent[2][f])-float64(b.sent[2][f-1])) * 10; d > 0.001 {
			t.Fatalf("a new correction steps by %g V", d)
		}
	}
	if got, want := float64(b.sent[2][2399])*10, -0.5+1.5*4.5/4; math.Abs(got-want) > 1e-5 {
		t.Errorf("the new correction sends 1.5 V as %g, want %g", got, want)
	}
	// One after the other, faster than they come in.
	b.forget()
	for k := range 12 {
		to := float64(k%3) - 1
		if err := c.Calibrate("pitch", curve(t, calibration.Point{Volts: 0, Send: to}, calibration.Point{Volts: 4, Send: to + 4})); err != nil {
			t.Fatal(err)
		}
		b.play(320, 64, steady(1.5))
	}
	b.play(4800, 64, steady(1.5))
	for f := 1; f < len(b.sent[2]); f++ {
		if d := math.Abs(float64(b.sent[2][f])-float64(b.sent[2][f-1])) * 10; d > 0.002 {
			t.Fatalf("corrections in a row step by %g V at frame %d", d, f)
		}
	}
	if got := float64(b.sent[2][len(b.sent[2])-1]) * 10; math.Abs(got-2.5) > 1e-5 {
		t.Errorf("the last correction sends 1.5 V as %g, want 2.5", got)
	}
	c.Raw(true)
	c.In(in, got)
	b.play(1500, 64, steady(1.5))
	for _, ch := range []int{2, 3, 4, 9} {
		if s := b.sent[ch][len(b.sent[ch])-1]; s != 0.15 {
			t.Errorf("raw, 1.5 V on channel %d are %g", ch+1, s)
		}
	}
	if got[0][0] != 2 || got[2][0] != 2 {
		t.Errorf("raw, 2 V are read as %v", got)
	}
}

// TestCalibratedWhileItPlays: another correction of an input comes in as evenly as that of an output,
// and that of an output with a slew limit moves no faster than it may.
func TestCalibratedWhileItPlays(t *testing.T) {
	const text = `version: 1
name: x
interface: virtual
outputs:
  - {jack: slow, channel: 1, slew: 10, limit: 9}
  - {jack: quick, channel: 2}
inputs:
  - {jack: in1, channel: 1}
`
	c := caseOf(t, text)
	off := curve(t, calibration.Point{Volts: -8, Send: -7}, calibration.Point{Volts: 0, Send: 0.5}, calibration.Point{Volts: 8, Send: 9})
	in, got := make([][]float32, 16), [][]float32{make([]float32, 64)}
	for k := range in {
		in[k] = slices.Repeat([]float32{0.2}, 64)
	}
	listen := func(frames int) (v []float32) {
		for ; frames > 0; frames -= 64 {
			c.In(in, got)
			v = append(v, got[0]...)
		}
		return v
	}
	fastest := func(v []float32) (d float64) { // V a frame
		for i := 1; i < len(v); i++ {
			d = max(d, math.Abs(float64(v[i])-float64(v[i-1])))
		}
		return d
	}
	listen(640)
	b := newBench(c)
	b.settle(steady(3))
	b.play(30000, 64, steady(3)) // slow is there
	b.forget()
	for _, j := range []string{"slow", "quick", "in1"} {
		if err := c.Calibrate(j, off); err != nil {
			t.Fatal(err)
		}
	}
	heard := listen(3200)
	if want := off.At(2); math.Abs(float64(heard[len(heard)-1])-want) > 1e-5 || heard[0] != 2 {
		t.Errorf("2 V are read as %v and then as %v, want %v", heard[0], heard[len(heard)-1], want)
	}
	if d := fastest(heard); d > 1.01*(off.At(2)-2)/1440 {
		t.Errorf("an input's new correction steps by %g V", d)
	}
	b.play(9600, 64, steady(3))
	for ch, most := range []float64{10.0 / 48000, (off.At(3) - 3) / 1440} {
		v := slices.Clone(b.sent[ch])
		for i := range v {
			v[i] *= 10
		}
		if math.Abs(float64(v[0])-3) > 2*most || math.Abs(float64(v[len(v)-1])-off.At(3)) > 1e-5 {
			t.Errorf("channel %d: 3 V are sent as %v and then as %v, want %v", ch+1, v[0], v[len(v)-1], off.At(3))
		}
		if d := fastest(v); d > 1.01*most {
			t.Errorf("channel %d: a new correction moves by %g V/s, and may by %g", ch+1, d*48000, most*48000)
		}
	}
	// And away again.
	if err := c.Calibrate("in1", nil); err != nil {
		t.Fatal(err)
	}
	if heard = listen(3200); fastest(heard) > 1.01*(off.At(2)-2)/1440 || heard[len(heard)-1] != 2 {
		t.Errorf("without it 2 V are read as %v", heard[len(heard)-1])
	}
}

// TestCalibratedWhileItMoves: a jack that moves at its slew limit moves no faster as a correction comes
// in; one that is wanted in the meantime begins where it is; and what comes to rest is where it should be.
func TestCalibratedWhileItMoves(t *testing.T) {
	c := caseOf(t, `version: 1
name: x
interface: virtual
outputs:
  - {jack: slow, channel: 1, slew: 10, limit: 9}
  - {jack: quick, channel: 2}
`)
	b := newBench(c)
	sway := func(_, frame int) float32 { // for longer than it takes from end to end
		return float32(4 - 8*(frame/48000%2))
	}
	b.settle(steady(4))
	b.play(24000, 64, steady(4))
	b.forget()
	calibrate := func(jack string, points ...calibration.Point) {
		t.Helper()
		var to *calibration.Curve
		if points != nil {
			to = curve(t, points...)
		}
		if err := c.Calibrate(jack, to); err != nil {
			t.Fatal(err)
		}
	}
	at := func(ch int) float64 { return float64(b.sent[ch][len(b.sent[ch])-1]) * 10 }
	b.play(52800, 64, sway)
	for _, offset := range []float64{1, -1, 0.5, -2} {
		calibrate("slow", calibration.Point{Volts: 0, Send: offset})
		b.play(6400, 64, sway)
	}
	b.play(96000-b.frame+40000, 64, sway)
	for f, v := range b.sent[0][1:] {
		if d := math.Abs(float64(v)-float64(b.sent[0][f])) * 10 * 48000; d > 10.1 {
			t.Fatalf("frame %d: it moves by %g V/s, and may by 10", f, d)
		}
	}
	if v := at(0); math.Abs(v-2) > 1e-5 {
		t.Errorf("4 V are sent as %g, want 2", v)
	}

	b.play(640, 64, steady(3))
	b.forget()
	calibrate("quick", calibration.Point{Volts: 0, Send: 1})
	b.play(640, 64, steady(3))
	if v, want := at(1), 3+640.0/1440; math.Abs(v-want) > 0.002 {
		t.Errorf("on its way to 4 V it is at %g, want %g", v, want)
	}
	calibrate("quick")
	b.play(1472, 64, steady(3))
	if v := at(1); math.Abs(v-3) > 1e-6 {
		t.Errorf("30 ms after its correction was taken away 3 V are sent as %g", v)
	}
	for f, v := range b.sent[1][1:] {
		if d := math.Abs(float64(v)-float64(b.sent[1][f])) * 10; d > 1.01/1440 {
			t.Fatalf("frame %d: it steps by %g V", f, d)
		}
	}

	calibrate("slow", calibration.Point{Volts: 0, Send: 3})
	b.play(640, 64, steady(3))
	b.forget()
	c.Land()
	b.play(1600, 64, steady(3))
	if v := at(0); !c.Landed() || math.Abs(v-3) > 1e-5 {
		t.Errorf("at rest 0 V are sent as %g, want 3", v)
	}
	for f, v := range b.sent[0][1:] {
		if d := math.Abs(float64(v)-float64(b.sent[0][f])) * 10; d > 0.01 {
			t.Fatalf("frame %d: it steps by %g V as it comes to rest", f, d)
		}
	}
}

// TestNothingIsAllocated: not with every stage at work.
func TestNothingIsAllocated(t *testing.T) {
	c := caseOf(t, studio)
	for _, j := range []string{"pitch", "cv", "in1"} {
		if err := c.Calibrate(j, curve(t, calibration.Point{Volts: 0, Send: 0.1}, calibration.Point{Volts: 4, Send: 4.2})); err != nil {
			t.Fatal(err)
		}
	}
	c.SetProbe(&addingProbe{add: 0.0001, volts: make([]float32, 0, 64)})
	bends := []*calibration.Curve{curve(t, calibration.Point{Volts: 0, Send: 0.2}), nil}
	b := newBench(c)
	_, inputs, playback, capture := c.Shape()
	in, heard := make([][]float32, capture), make([][]float32, inputs)
	for k := range in {
		in[k] = make([]float32, 64)
	}
	for k := range heard {
		heard[k] = make([]float32, 64)
	}
	v, s, w := make([][]float32, len(b.volts)), make([][]float32, playback), make([][]int32, playback)
	for k := range v {
		v[k] = b.volts[k][:64]
	}
	for k := range s {
		if b.samples[k] != nil {
			s[k] = b.samples[k][:64]
		} else {
			w[k] = b.words[k][:64]
		}
	}
	n := 0
	if a := testing.AllocsPerRun(500, func() {
		switch n++; n % 50 {
		case 0:
			c.Begin()
		case 20:
			c.Glide(0.01)
		case 40:
			c.Land()
		case 30:
			for _, j := range []string{"pitch", "slow", "in1"} {
				_ = c.Calibrate(j, bends[n/50%2])
			}
		}
		for i := range v[0] {
			v[n%len(v)][i] = float32(n%13) - 6 + float32(i)/64
		}
		c.In(in, heard)
		if n%49 == 0 {
			c.Out(nil, s, w)
		} else {
			c.Out(v, s, w)
		}
		c.Landed()
	}); a != 0 {
		t.Errorf("%g allocations a block", a)
	}
}

// TestFromAnywhere: what is not for the audio thread may be called while it runs.
func TestFromAnywhere(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	bend := curve(t, calibration.Point{Volts: 0, Send: 0.1})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			c.Glide(0.001)
			c.Raw(i%7 == 0)
			if i%2 == 0 {
				_, _ = c.Calibrate("pitch", bend), c.Calibrate("in1", nil)
				c.SetProbe(&addingProbe{})
			} else {
				_, _ = c.Calibrate("pitch", nil), c.Calibrate("in1", bend)
				c.SetProbe(nil)
			}
			c.Sent("pitch")
			c.Received("in1")
			c.Counters("pitch")
		}
	}()
	for i := 0; ; i++ {
		select {
		case <-done:
			return
		default:
			b.forget()
			b.play(64, 64, steady(float32(i%5)))
		}
	}
}

// sixteen is a full house.
func sixteen() string {
	var b strings.Builder
	b.WriteString("version: 1\nname: full\ninterface: virtual\noutputs:\n")
	for i := range 16 {
		fmt.Fprintf(&b, "  - {jack: out%d, channel: %d, role: %s}\n", i+1, i+1, roleWords[i%3])
	}
	b.WriteString("inputs:\n")
	for i := range 16 {
		fmt.Fprintf(&b, "  - {jack: in%d, channel: %d}\n", i+1, i+1)
	}
	return b.String()
}

func TestSixteenBySixteen(t *testing.T) {
	c := caseOf(t, sixteen())
	if o, i, p, k := c.Shape(); o != 16 || i != 16 || p != 16 || k != 16 {
		t.Errorf("%d outputs, %d inputs, %d and %d channels", o, i, p, k)
	}
	if c.Hold() != 1<<16-1 || c.Exact() != 0 {
		t.Errorf("holds %b", c.Hold())
	}
	s := c.Sockets()
	if s.Outputs["out16"] != 15 || s.Inputs["in1"] != 0 || len(s.Outputs) != 16 {
		t.Errorf("%+v", s)
	}
	c = caseOf(t, studio)
	if s := c.Sockets(); s.Outputs["pitch"] != 2 || s.Outputs["bass"] != 12 || s.Inputs["in3"] != 2 {
		t.Errorf("%+v", s)
	}
	if want := hardware.Channels(2, 3, 4, 5, 9, 10, 6, 7); c.Hold() != want || c.Exact() != hardware.Channels(6, 7) {
		t.Errorf("holds %b, exact %b", c.Hold(), c.Exact())
	}
}

func BenchmarkSixteenBySixteen(b *testing.B) {
	c := caseOf(b, sixteen())
	for i := range 16 {
		if err := c.Calibrate(fmt.Sprintf("out%d", i+1), curve(b, calibration.Point{Volts: 0, Send: 0.1}, calibration.Point{Volts: 4, Send: 4.2})); err != nil {
			b.Fatal(err)
		}
	}
	buffers := func() [][]float32 {
		all := make([][]float32, 16)
		for k := range all {
			all[k] = make([]float32, 64)
			for i := range all[k] {
				all[k][i] = float32(i) / 100
			}
		}
		return all
	}
	v, s, in, heard := buffers(), buffers(), buffers(), buffers()
	w := make([][]int32, 16)
	for b.Loop() {
		c.In(in, heard)
		c.Out(v, s, w)
	}
}

// A glide that is asked for later leaves what plays until then alone.
func TestGlideAfter(t *testing.T) {
	c := caseOf(t, studio)
	b := newBench(c)
	b.settle(steady(1))
	c.GlideAfter(0.02, 0.01) // 960 frames, and then 480
	at := len(b.sent[2])
	b.play(480, 64, steady(2)) // within the time that it waits: at once
	if v := float64(b.sent[2][at+10]) * 10; math.Abs(v-2) > 1e-4 {
		t.Errorf("a note before the glide is %g V, want 2", v)
	}
	b.play(480, 64, steady(2))
	from := len(b.sent[2])
	b.play(960, 64, steady(0))
	most := 0.0
	for i := from; i < len(b.sent[2]); i++ {
		most = max(most, math.Abs(float64(b.sent[2][i]-b.sent[2][i-1]))*10)
	}
	if last := float64(b.sent[2][len(b.sent[2])-1]) * 10; most > 0.01 || math.Abs(last) > 1e-4 {
		t.Errorf("the glide's largest step is %g V a sample, and it came to %g V", most, last)
	}
}
