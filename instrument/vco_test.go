package instrument

import (
	"fmt"
	"math"
	"testing"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/dsp/measure"
)

// patched builds a module with sources in the named inputs and probes in the
// named outputs, all of one name each.
func patched(t testing.TB, kind string, params map[string]float64, ins, outs []string) *rig {
	t.Helper()
	dut := ModuleID(kind + "/" + dutName)
	r := newRig(t).add(dut, params)
	s := Spec(kind)
	for _, in := range ins {
		i := s.Input(in)
		if i < 0 {
			t.Fatalf("%s has no input %s", kind, in)
		}
		id := sourceOf(in)
		r.add(id, nil).cable(string(id)+"/"+jackOf(s.Inputs[i].Kind), string(dut)+"/"+in)
	}
	for _, out := range outs {
		r.add(probeOf(out), nil).cable(string(dut)+"/"+out, string(probeOf(out))+"/in")
	}
	return r.adopt()
}

func hyphens(s string) string {
	b := []byte(s)
	for i := range b {
		if b[i] == '_' {
			b[i] = '-'
		}
	}
	return string(b)
}

func sourceOf(in string) ModuleID { return ModuleID("test_source/" + hyphens(in)) }
func probeOf(out string) ModuleID { return ModuleID("test_probe/" + hyphens(out)) }

// recorded is what came out of a jack's first channel since settle.
func (r *rig) recorded(out string) []float32 { return r.probe(probeOf(out)).rec[0] }

// feed plays a function into an input.
func (r *rig) feed(in string, play func(int64, int) float32) *rig {
	r.source(sourceOf(in)).play = play
	return r
}

// TestVCOPitch: nine octaves by volts, by the knobs, and by all together.
func TestVCOPitch(t *testing.T) {
	for _, c := range []struct{ tune, fine, volts float64 }{
		{0, 0, 0}, {0, 0, -3}, {0, 0, 4}, {12, 0, 0}, {-60, 0, 5}, {60, 0, -4}, {7, 50, 1.25}, {-5, -100, 0.5},
	} {
		r := patched(t, "vco", map[string]float64{"tune": c.tune, "fine": c.fine}, []string{"pitch"}, []string{"saw", "sine"})
		r.feed("pitch", steady(float32(c.volts))).settle().seconds(2)
		want := dsp.C4Hertz * math.Exp2(c.tune/12+c.fine/1200+c.volts)
		for _, out := range []string{"saw", "sine"} {
			got := measure.NewSpectrum(r.recorded(out), testRate, measure.BlackmanHarris).Near(want, want/20).Hertz
			if math.Abs(measure.Cents(got, want)) > 0.05 {
				t.Errorf("%+v: %s at %.4f Hz, expected %.4f", c, out, got, want)
			}
		}
	}
}

// TestVCOChannels: as many channels as the widest input, each its own pitch.
func TestVCOChannels(t *testing.T) {
	r := patched(t, "vco", nil, []string{"pitch"}, []string{"sine"})
	r.source(sourceOf("pitch")).channels = 5
	r.feed("pitch", func(_ int64, c int) float32 { return float32(c) * 0.25 }).settle().seconds(1)
	rec := r.probe(probeOf("sine")).rec
	for c := range 5 {
		want := dsp.C4Hertz * math.Exp2(float64(c)*0.25)
		if got, err := measure.Pitch(rec[c], testRate); err != nil || math.Abs(measure.Cents(got, want)) > 0.1 {
			t.Errorf("channel %d at %v Hz (%v), expected %v", c, got, err, want)
		}
	}
	if len(rec[5]) != 0 {
		t.Error("there are more channels than in pitch")
	}
}

// TestVCOFM: a volt is an octave at fm_exp 1; at fm_lin 1 it is once the pitch,
// and below zero the saw falls.
func TestVCOFM(t *testing.T) {
	for _, c := range []struct{ exp, lin, volts, ratio float64 }{
		{1, 0, 1, 2}, {-1, 0, 1, 0.5}, {0.5, 0, -2, 0.5}, {0, 1, 1, 2}, {0, 0.25, 2, 1.5}, {0, 1, -3, -2}, {0, -1, 1.5, -0.5}, {1, 1, 1, 4},
	} {
		r := patched(t, "vco", map[string]float64{"fm_exp": c.exp, "fm_lin": c.lin}, []string{"fm"}, []string{"saw"})
		r.feed("fm", steady(float32(c.volts))).settle().seconds(1)
		out := r.recorded("saw")
		want := dsp.C4Hertz * math.Abs(c.ratio)
		if got, err := measure.Pitch(out, testRate); err != nil || math.Abs(measure.Cents(got, want)) > 0.05 {
			t.Errorf("%+v: %.4f Hz (%v), expected %.4f", c, got, err, want)
		}
		up := 0
		for i := 1; i < len(out); i++ {
			if out[i] > out[i-1] {
				up++
			}
		}
		if rises := up > len(out)/2; rises != (c.ratio > 0) {
			t.Errorf("%+v: the saw rises: %v", c, rises)
		}
	}
}

// TestVCOSyncAliasing: one VCO's shapes sync another, as a player patches it.
// What is not a multiple of the lead's pitch is alias.
func TestVCOSyncAliasing(t *testing.T) {
	limits := map[string]float64{"saw": -98, "pulse": -82, "triangle": -97, "sine": -97}
	for lead, limit := range limits {
		r := newRig(t).add("vco/lead", map[string]float64{"tune": 12, "fine": 13}).add("vco/follow", map[string]float64{"tune": 31})
		r.cable("vco/lead/"+lead, "vco/follow/sync").add("test_probe/p", nil).cable("vco/follow/saw", "test_probe/p/in").adopt().settle().render(1 << 16)
		hertz := math.Exp2(1+13.0/1200) * dsp.C4Hertz
		var o dsp.VCO
		o.Init(testRate)
		exact := float64(o.Increment(dsp.VoltsToHertz(float32(12)*(1.0/12)+float32(13)*(1.0/1200)))) * testRate / (1 << 32)
		if math.Abs(exact-hertz) > 0.01 {
			t.Fatalf("the lead is at %v Hz, expected %v", exact, hertz)
		}
		got := measure.AliasLevel(r.probe("test_probe/p").rec[0], exact, testRate)
		t.Logf("saw synced by %-8s at %.1f Hz: total %6.1f dB, worst %6.1f dB", lead, exact, got.TotalDB, got.WorstDB)
		if got.TotalDB > limit {
			t.Errorf("a saw that a %s syncs aliases at %.1f dB, above %v", lead, got.TotalDB, limit)
		}
	}
}

// TestVCODoesNotClick: cables in and out of pitch, fm and width, and the knob
// for fine tuning, only move the pitch; a sine stays a sine.
func TestVCODoesNotClick(t *testing.T) {
	r := patched(t, "vco", map[string]float64{"fm_exp": 0.1}, []string{"pitch", "fm", "width_cv"}, []string{"sine"})
	r.feed("pitch", steady(0.3)).feed("fm", sine(5, 2)).feed("width_cv", steady(2)).settle().seconds(0.2)
	for _, in := range []string{"pitch", "fm", "width_cv"} {
		to := "vco/" + dutName + "/" + in
		r.pull(to).adopt().seconds(0.1)
		r.cable(fmt.Sprintf("%s/%s", sourceOf(in), jackOf(Spec("vco").Inputs[Spec("vco").Input(in)].Kind)), to).adopt().seconds(0.1)
	}
	r.param("vco/"+dutName, "fine", 100)
	r.seconds(0.2)
	if db, at := measure.ClickLevel(r.recorded("sine"), testRate, clickCorner); db > -80 {
		t.Errorf("a click of %.1f dB at %.3f s", db, float64(at)/testRate)
	}
}
