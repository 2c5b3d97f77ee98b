package dsp_test

import (
	"encoding/json"
	"flag"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
)

var update = flag.Bool("update", false, "write the golden file anew")

// unit is a dsp type in a form that all tests below can drive: in is audio
// and, above 1 V, also gate, trigger and modulation.
type unit struct {
	process func(out, in []float32)
	reset   func()
}

// each drives a per-sample method.
func each(next func(float32) float32) func(out, in []float32) {
	return func(out, in []float32) {
		for i, v := range in {
			out[i] = next(v)
		}
	}
}

// units holds every type of the package, with settings that use all of it.
var units = []struct {
	name string
	make func() unit
}{
	{"Ramp", func() unit {
		var r dsp.Ramp
		r.Init(rate)
		var s dsp.SchmittTrigger
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				r.Set(v)
			}
			return r.Next()
		}), func() { r.Jump(0); s.Reset() }}
	}},
	{"SchmittTrigger", func() unit {
		var s dsp.SchmittTrigger
		s.Init(rate)
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				return 1
			}
			return 0
		}), s.Reset}
	}},
	{"PulseGenerator", func() unit {
		var p dsp.PulseGenerator
		var s dsp.SchmittTrigger
		p.Init(rate)
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				p.Trigger()
			}
			return p.Next()
		}), func() { p.Reset(); s.Reset() }}
	}},
	{"OnePoleLow", func() unit {
		var f dsp.OnePole
		f.Init(rate)
		return unit{each(f.LowPass), f.Reset}
	}},
	{"OnePoleHigh", func() unit {
		var f dsp.OnePole
		f.Init(rate)
		return unit{each(f.HighPass), f.Reset}
	}},
	{"DCBlocker", func() unit {
		var d dsp.DCBlocker
		d.Init(rate)
		return unit{each(d.Next), d.Reset}
	}},
	{"OscillatorSaw", oscillatorUnit(dsp.Saw)},
	{"OscillatorPulse", oscillatorUnit(dsp.Pulse)},
	{"OscillatorTriangle", oscillatorUnit(dsp.Triangle)},
	{"OscillatorSine", oscillatorUnit(dsp.SineWave)},
	{"OscillatorSync", func() unit {
		var lead, follow dsp.Oscillator
		lead.Init(rate)
		follow.Init(rate)
		return unit{each(func(v float32) float32 {
			lead.Next(220)
			out := follow.Next(dsp.VoltsToHertz(v / 5))
			if ok, ago := lead.Wrapped(); ok {
				follow.HardSync(ago)
			}
			return out
		}), func() { lead.Reset(); follow.Reset() }}
	}},
	{"Sine", func() unit {
		var s dsp.Sine
		s.Init(rate)
		return unit{each(func(v float32) float32 { return s.NextPM(440+100*v, v/5) }), s.Reset}
	}},
	{"NoiseWhite", func() unit {
		var n dsp.Noise
		n.Init(rate)
		return unit{each(func(float32) float32 { return n.White() }), n.Reset}
	}},
	{"NoisePink", func() unit {
		var n dsp.Noise
		n.Init(rate)
		return unit{each(func(float32) float32 { return n.Pink() }), n.Reset}
	}},
	{"SVF", func() unit {
		var f dsp.SVF
		f.Init(rate)
		f.SetQ(8)
		return unit{each(func(v float32) float32 {
			f.SetHertz(dsp.VoltsToHertz(v / 2))
			low, band, high := f.Next(v)
			return low + 0.3*band + 0.1*high
		}), f.Reset}
	}},
	{"ADSR", func() unit {
		var e dsp.ADSR
		e.Init(rate)
		e.Set(0.002, 0.03, 6, 0.05)
		return unit{each(func(v float32) float32 { return e.Next(v > 1) }), e.Reset}
	}},
	{"Decay", func() unit {
		var d dsp.Decay
		var s dsp.SchmittTrigger
		d.Init(rate)
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				d.Strike(v * 2)
			}
			return d.Next()
		}), func() { d.Reset(); s.Reset() }}
	}},
	{"VCO", func() unit {
		var lead dsp.Crossing
		var o dsp.VCO
		o.Init(rate)
		return unit{func(out, in []float32) {
			var inc [dsp.VCOBlock]int32
			var width [dsp.VCOBlock]uint32
			var sync, volts [dsp.VCOBlock]float32
			var shapes [dsp.VCOOutputs][dsp.VCOBlock]float32
			to := [dsp.VCOOutputs]*[dsp.VCOBlock]float32{&shapes[0], &shapes[1], &shapes[2], &shapes[3]}
			for len(in) > 0 {
				n := min(len(in), dsp.VCOBlock)
				for i, v := range in[:n] {
					// Backwards as well, with a width that moves and its own sync.
					inc[i] = o.Increment(dsp.VoltsToHertz(v/5) - 200)
					width[i] = dsp.PulseWidth(0.5 + v/20)
				}
				copy(volts[:], in[:n])
				lead.Process(&sync, &volts, n)
				o.Process(&to, n, &inc, &width, &sync)
				for i := range n {
					out[i] = shapes[0][i] + 0.7*shapes[1][i] + 0.5*shapes[2][i] + 0.3*shapes[3][i]
				}
				in, out = in[n:], out[n:]
			}
		}, func() { o.Reset(); lead.Reset() }}
	}},
	{"VCF", func() unit {
		var f dsp.VCF
		f.Init(rate)
		return unit{func(out, in []float32) {
			var x, drive, hertz, resonance [dsp.VCFBlock]float32
			var outs [dsp.VCFOutputs][dsp.VCFBlock]float32
			to := [dsp.VCFOutputs]*[dsp.VCFBlock]float32{&outs[0], &outs[1], &outs[2], &outs[3]}
			for len(in) > 0 {
				n := min(len(in), dsp.VCFBlock)
				for i, v := range in[:n] {
					x[i], drive[i], hertz[i] = v, 1.5, dsp.VoltsToHertz(v/2)
					if resonance[i] = 0.85; v > 1 {
						resonance[i] = 1
					}
				}
				f.Process(&to, n, &x, &drive, &hertz, &resonance)
				for i := range n {
					out[i] = outs[0][i] + 0.7*outs[1][i] + 0.5*outs[2][i] + 0.3*outs[3][i]
				}
				in, out = in[n:], out[n:]
			}
		}, f.Reset}
	}},
	{"ADSRLoop", func() unit {
		var e dsp.ADSR
		e.Init(rate)
		e.Set(0.01, 0.02, 4, 0.05)
		e.SetHold(0.005)
		e.SetLoop(true)
		return unit{each(func(v float32) float32 {
			e.SetPeak(5 + v)
			return e.Next(v > 1)
		}), e.Reset}
	}},
	{"Limiter", func() unit {
		var l dsp.Limiter
		l.Init(rate)
		l.SetCeiling(2)
		return unit{each(func(v float32) float32 {
			a, b := l.Next(v, -2*v)
			return a + 0.7*b
		}), l.Reset}
	}},
	{"SoftClip", func() unit {
		return unit{each(func(v float32) float32 { return dsp.SoftClip(3 * v) }), func() {}}
	}},
	{"Reverb", func() unit {
		var r dsp.Reverb
		r.Init(rate)
		r.SetDecay(0.4, 0.2)
		r.Reset()
		return unit{each(func(v float32) float32 {
			a, b := r.Next(v, v/2)
			return a + 0.7*b
		}), r.Reset}
	}},
	{"Modal", func() unit {
		var m dsp.Modal
		var s dsp.SchmittTrigger
		m.Init(rate)
		m.SetBody(dsp.Bell)
		m.Set(440, 0.3)
		return unit{each(func(v float32) float32 {
			if s.Next(v) {
				m.Strike(v)
			}
			return m.Next()
		}), func() { m.Reset(); s.Reset() }}
	}},
}

func oscillatorUnit(shape dsp.Waveform) func() unit {
	return func() unit {
		var o dsp.Oscillator
		o.Init(rate)
		o.SetWaveform(shape)
		return unit{each(func(v float32) float32 {
			o.SetPulseWidth(0.5 + v/20)
			return o.Next(dsp.VoltsToHertz(v / 5))
		}), func() { o.Reset(); o.SetWaveform(shape) }}
	}
}

// stimulus is half a second of bursts: noise and a tone over a gate, rests
// between them.
func stimulus() []float32 {
	r := rand.New(rand.NewPCG(1, 2))
	in := make([]float32, rate/2)
	for i := range in {
		if i/3000%2 == 0 {
			in[i] = 2.5 + float32(2*math.Sin(float64(i)*0.05)+0.4*r.NormFloat64())
		}
	}
	return in
}

func render(u unit, in []float32) []float32 {
	out := make([]float32, len(in))
	u.process(out, in)
	return out
}

func TestSliceInvariance(t *testing.T) {
	in := stimulus()
	for _, c := range units {
		want := render(c.make(), in)
		r := rand.New(rand.NewPCG(3, 4))
		for range 3 {
			u, out := c.make(), make([]float32, len(in))
			for at := 0; at < len(in); {
				n := min(1+r.IntN(700), len(in)-at)
				u.process(out[at:at+n], in[at:at+n])
				at += n
			}
			for i := range out {
				if math.Float32bits(out[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%s: sample %d is %v in cuts and %v in one piece", c.name, i, out[i], want[i])
				}
			}
		}
	}
}

// TestProcessIsNext proves that block methods give what Next gives, in any
// cuts.
func TestProcessIsNext(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	cuts := func(n int, do func(from, to int)) {
		for at := 0; at < n; {
			m := min(r.IntN(300), n-at)
			do(at, at+m)
			at += m
		}
	}
	in := stimulus()
	same := func(name string, got, want []float32) {
		t.Helper()
		for i := range got {
			if got[i] != want[i] {
				t.Fatalf("%s: sample %d is %v by Process and %v by Next", name, i, got[i], want[i])
			}
		}
	}
	want, left, right := make([]float32, len(in)), make([]float32, len(in)), make([]float32, len(in))

	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Pulse, dsp.Triangle, dsp.SineWave} {
		for _, hertz := range []float32{0, 55, 3000, 20000} {
			var o, o2 dsp.Oscillator
			o.Init(rate)
			o2.Init(rate)
			o.SetWaveform(shape)
			o2.SetWaveform(shape)
			for i := range want {
				want[i] = o.Next(hertz)
			}
			cuts(len(in), func(a, b int) { o2.Process(left[a:b], hertz) })
			same("Oscillator "+shape.String(), left, want)
		}
	}

	var f, f2 dsp.SVF
	f.Init(rate)
	f2.Init(rate)
	f.SetQ(6)
	f2.SetQ(6)
	for i, x := range in {
		want[i] = f.BandPass(x)
	}
	copy(left, in)
	cuts(len(in), func(a, b int) { f2.ProcessBandPass(left[a:b]) })
	same("SVF", left, want)

	var e, e2 dsp.ADSR
	e.Init(rate)
	e2.Init(rate)
	for i := range want {
		want[i] = e.Next(i < len(in)/2)
	}
	half := len(in) / 2
	cuts(half, func(a, b int) { e2.Process(left[a:b], true) })
	cuts(len(in)-half, func(a, b int) { e2.Process(left[half+a:half+b], false) })
	same("ADSR", left, want)

	var m, m2 dsp.Modal
	m.Init(rate)
	m2.Init(rate)
	m.Strike(5)
	m2.Strike(5)
	for i := range want {
		want[i] = m.Next()
	}
	cuts(len(in), func(a, b int) { m2.Process(left[a:b]) })
	same("Modal", left, want)

	var l, l2 dsp.Limiter
	l.Init(rate)
	l2.Init(rate)
	l.SetCeiling(1)
	l2.SetCeiling(1)
	for i, v := range in {
		want[i], _ = l.Next(v, -v)
		left[i], right[i] = v, -v
	}
	cuts(len(in), func(a, b int) { l2.Process(left[a:b], right[a:b]) })
	same("Limiter", left, want)

	var v, v2 dsp.Reverb
	v.Init(rate)
	v2.Init(rate)
	for i, x := range in {
		want[i], _ = v.Next(x, -x)
		left[i], right[i] = x, -x
	}
	cuts(len(in), func(a, b int) { v2.Process(left[a:b], right[a:b]) })
	same("Reverb", left, want)
}

func TestResetReturnsToStart(t *testing.T) {
	in := stimulus()
	for _, c := range units {
		u := c.make()
		want := render(u, in)
		u.reset()
		got := render(u, in)
		for i := range got {
			if got[i] != want[i] {
				t.Errorf("%s: sample %d after Reset is %v, was %v", c.name, i, got[i], want[i])
				break
			}
		}
	}
}

// TestHostileInput feeds what no cable should carry: the output must stay
// finite and bounded, and ordinary input must bring it back to life.
func TestHostileInput(t *testing.T) {
	nan, inf := float32(math.NaN()), float32(math.Inf(1))
	hostile := []float32{nan, inf, -inf, math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, 0, 1e30, nan, nan, 5}
	for _, c := range units {
		u := c.make()
		in := stimulus()
		for i := range 4000 {
			in[i] = hostile[(i*7+i/11)%len(hostile)]
		}
		out := render(u, in)
		for i, v := range out {
			if v != v || v > 1e5 || v < -1e5 {
				t.Fatalf("%s: sample %d is %v after hostile input", c.name, i, v)
			}
		}
		alive := false
		for _, v := range out[len(out)/2:] {
			alive = alive || v != 0
		}
		if !alive {
			t.Errorf("%s stays silent after hostile input", c.name)
		}
	}
}

// TestSilenceIsExact proves that states that have faded do not linger as
// denormal numbers.
func TestSilenceIsExact(t *testing.T) {
	const least = 1.1754944e-38 // smallest normal float32
	in := make([]float32, 12*rate)
	copy(in, stimulus())
	for _, c := range units {
		out := render(c.make(), in)
		for i, v := range out {
			if v != 0 && v < least && v > -least {
				t.Fatalf("%s: sample %d is the denormal %v", c.name, i, v)
			}
		}
		switch c.name {
		case "OnePoleLow", "OnePoleHigh", "DCBlocker", "SVF", "VCF", "ADSR", "ADSRLoop", "Decay", "Limiter", "Reverb", "Modal", "SoftClip":
			if v := out[len(out)-1]; v != 0 {
				t.Errorf("%s: still %v V after 11 s of silence", c.name, v)
			}
		}
	}
}

func TestNoAllocations(t *testing.T) {
	in := stimulus()[:2048]
	out := make([]float32, len(in))
	for _, c := range units {
		u := c.make()
		if n := testing.AllocsPerRun(20, func() { u.process(out, in) }); n != 0 {
			t.Errorf("%s allocates %v times a block", c.name, n)
		}
	}
	var m dsp.Modal
	var r dsp.Reverb
	var e dsp.ADSR
	m.Init(rate)
	r.Init(rate)
	e.Init(rate)
	x := 0.5
	if n := testing.AllocsPerRun(20, func() {
		x += 0.01
		m.SetBody(dsp.Bell)
		m.Set(220, x)
		m.Strike(5)
		m.Damp(4)
		r.SetDecay(x, x/2)
		r.SetOpen(!r.Open())
		r.SetMix(float32(x / 4))
		e.Set(x, x, 5, x)
	}); n != 0 {
		t.Errorf("settings allocate %v times", n)
	}
}

// TestGolden compares every 499th sample with those on file, so that a change
// of sound is never an accident. The tolerance leaves room for fused
// multiply-add on other processors.
func TestGolden(t *testing.T) {
	path := filepath.Join("testdata", "units.json")
	got := map[string][]float32{}
	in := stimulus()
	for _, c := range units {
		out := render(c.make(), in)
		for i := 0; i < len(out); i += 499 {
			got[c.name] = append(got[c.name], out[i])
		}
	}
	if *update {
		data, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(data, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v; write it with go test ./dsp -run Golden -update", err)
	}
	want := map[string][]float32{}
	if err := json.Unmarshal(data, &want); err != nil {
		t.Fatal(err)
	}
	for _, c := range units {
		if len(want[c.name]) != len(got[c.name]) {
			t.Errorf("%s: %d samples on file, expected %d; write the file with -update", c.name, len(want[c.name]), len(got[c.name]))
			continue
		}
		for i, w := range want[c.name] {
			if d := math.Abs(float64(got[c.name][i] - w)); d > 2e-3 {
				t.Errorf("%s: sample %d is %v, on file %v", c.name, i*499, got[c.name][i], w)
				break
			}
		}
	}
}

func BenchmarkUnits(b *testing.B) {
	in := stimulus()[:4096]
	out := make([]float32, len(in))
	for _, c := range units {
		b.Run(c.name, func(b *testing.B) {
			u := c.make()
			for b.Loop() {
				u.process(out, in)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(in)), "ns/sample")
		})
	}
}

// BenchmarkSteady shows single units at steady settings, without the cost of
// changing them for each sample.
func BenchmarkSteady(b *testing.B) {
	out, right := make([]float32, 4096), make([]float32, 4096)
	run := func(name string, do func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				do()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/sample")
		})
	}
	for _, shape := range []dsp.Waveform{dsp.Saw, dsp.Pulse, dsp.Triangle, dsp.SineWave} {
		for _, hertz := range []float32{220, 2500} {
			var o dsp.Oscillator
			o.Init(rate)
			o.SetWaveform(shape)
			run(shape.String()+map[bool]string{true: "220Hz", false: "2500Hz"}[hertz == 220], func() { o.Process(out, hertz) })
		}
	}
	var f dsp.SVF
	f.Init(rate)
	run("SVF", func() {
		for i, v := range out {
			out[i] = f.LowPass(v)
		}
	})
	var s dsp.Sine
	s.Init(rate)
	run("Sine", func() {
		for i := range out {
			out[i] = s.Next(440)
		}
	})
	var l dsp.Limiter
	l.Init(rate)
	clear(out)
	run("LimiterQuiet", func() { l.Process(out, right) })
}
