package oscillator

import (
	"fmt"
	"log/slog"
	"math"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/k8s-synth/k8s-synth/dsp"
	"github.com/k8s-synth/k8s-synth/hardware"
)

// judge wires voltages to gear, records it, and compares what is heard with
// what the gear says of itself, and with theory where it is not bent.
func judge(t *testing.T, begin func(testing.TB, Options) *Gear) {
	volts := []float64{-3.5, -2, -1, 0, 1, 2, 3.25, 4.5}
	const seed, seconds = 42, 2
	j := StartJACK(t)
	perfect := begin(t, Options{Name: "perfect", Voices: len(volts), Sine: true})
	bent := begin(t, Options{Name: "bent", Voices: len(volts), Seed: seed})
	source := StartVoltages(t, "volts", volts...)
	var ports []string
	for _, g := range []*Gear{perfect, bent} {
		for i := range volts {
			j.Connect(t, source[i], g.CV[i])
		}
		ports = append(append(ports, g.Audio...), g.Truth...)
	}
	takes := j.Record(t, seconds, ports...)
	for range 3 {
		if whole(takes[len(volts):2*len(volts)]) && whole(takes[3*len(volts):]) {
			break
		}
		t.Log("the machine was busy and left a gap; once more")
		takes = j.Record(t, seconds, ports...)
	}

	var p dsp.PitchTracker
	p.InitWindow(float64(j.Rate), 1, 1)
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "gear\tV\tequal Hz\tbent cent\theard Hz\toff Hz\toff cent\t± cent\tdrift cent/s\tSNR dB\t")
	bend := 0.0
	for i, v := range append(append([]float64(nil), volts...), volts...) {
		name, sound, says := "perfect", i, len(volts)+i
		if i >= len(volts) {
			name, sound, says = "bent", len(volts)+i, 2*len(volts)+i
		}
		// The last second, over which the truth is averaged.
		n := len(takes[sound])
		got := p.Measure(takes[sound][n-j.Rate:])
		truth := 0.0
		for _, o := range takes[says][n-j.Rate:] {
			truth += 10 * float64(o) / float64(j.Rate)
		}
		equal := c4 * math.Exp2(v)
		want := c4 * math.Exp2(truth)
		off := cents(got.Hertz, want)
		if name == "perfect" {
			if math.Abs(cents(want, equal)) > 0.002 {
				t.Errorf("perfect at %g V: it says %g V", v, truth)
			}
			want = equal
		}
		bend = max(bend, math.Abs(cents(want, equal)))
		e := cents(got.Hertz, want)
		fmt.Fprintf(tw, "%s\t%g\t%.4f\t%+.2f\t%.4f\t%+.5f\t%+.4f\t%.4f\t%+.3f\t%.0f\t\n", name, v, equal, cents(want, equal), got.Hertz, got.Hertz-want, e, got.StandardError, got.Drift, got.SNR)
		// Float32 ends up there: 0.001 Hz, or 0.001 cent. What drifts is as
		// good as the truth's 24 bits.
		if !got.Found() || math.Abs(off) > 0.02 || name == "perfect" && math.Abs(got.Hertz-want) > 0.001 && math.Abs(e) > 0.001 {
			t.Errorf("%s at %g V: %v, want %.5f Hz", name, v, got, want)
		}
	}
	tw.Flush()
	t.Logf("seed %d\n%s", seed, text.String())
	if bend < 20 {
		t.Errorf("bent by at most %g cent", bend)
	}
}

// whole tells whether truths, which are steady, have no gap.
func whole(truths [][]float32) bool {
	for _, x := range truths {
		for _, v := range x[len(x)/4:] {
			if math.Abs(float64(v-x[len(x)-1])) > 0.001 {
				return false
			}
		}
	}
	return true
}

// Both programs over eight octaves, as the server itself records them.
func TestProofGear(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("takes ten seconds: set K8S_SYNTH_PROOF=1")
	}
	StartJACK(t) // one for both
	t.Run("Pure Data", func(t *testing.T) { judge(t, StartPureData) })
	t.Run("scsynth", func(t *testing.T) { judge(t, StartSuperCollider) })
}

// staircase sends one voltage after another to its first outputs and listens to
// as many inputs with trackers; the inputs after them hear the truth.
type staircase struct {
	volts   []float64
	plugged atomic.Bool
	left    chan struct{} // closed when all stairs are climbed
	flights []flight
	done    int
}

type flight struct {
	ear   dsp.PitchTracker
	wait  int // frames until a voltage has got through and the gear has settled
	heard []dsp.Pitch
	truth []float64
	sum   float64
	n     int
	again int
}

// settling is longer than the way through rings and servers.
const settling = 12000

func (s *staircase) Render(out, in [][]float32) {
	for k := range out {
		clear(out[k])
	}
	for k := range s.flights {
		f := &s.flights[k]
		step := len(f.heard)
		for i := range out[k] {
			out[k][i] = float32(s.volts[min(step, len(s.volts)-1)])
		}
		if in == nil || step == len(s.volts) || !s.plugged.Load() {
			continue
		}
		if f.wait > 0 {
			f.wait -= len(out[k])
			continue
		}
		for _, v := range in[len(s.flights)+k] {
			f.sum += float64(v)
			f.n++
		}
		p, fresh := f.ear.Process(in[k])
		if !fresh {
			continue
		}
		if !p.Found() && f.again < 3 {
			f.again++ // a busy machine leaves gaps
			f.ear.Reset()
			f.wait, f.sum, f.n = settling, 0, 0
			continue
		}
		f.heard, f.truth = append(f.heard, p), append(f.truth, f.sum/float64(f.n))
		f.ear.Reset()
		f.wait, f.sum, f.n = settling, 0, 0
		if step+1 == len(s.volts) {
			if s.done++; s.done == len(s.flights) {
				close(s.left)
			}
		}
	}
}

// TestGear plays perfect and bent gear by the duplex device of package hardware:
// the way that a calibration goes.
func TestGear(t *testing.T) {
	j := StartJACK(t)
	gear := []*Gear{
		StartPureData(t, Options{Name: "perfect", Sine: true}),
		StartSuperCollider(t, Options{Name: "bent", Seed: 7}),
	}
	n := len(gear)
	s := &staircase{volts: []float64{-3, 0, 1.5, 4}, left: make(chan struct{}), flights: make([]flight, n)}
	for k := range s.flights {
		s.flights[k].ear.InitWindow(float64(j.Rate), dsp.PitchWindow, dsp.PitchWindow)
		s.flights[k].wait = settling
	}
	// Deep enough for a busy machine: nobody plays this by hand.
	d, err := hardware.Open(t.Context(), hardware.Settings{Backend: "jack", Rate: j.Rate, Period: jackPeriod, Depth: 64,
		Channels: 2 * n, Capture: 2 * n, CV: hardware.Channels(0, 1, 2, 3), CVFullScale: 10, Logger: slog.New(slog.DiscardHandler)}, s)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Start(); err != nil {
		t.Fatal(err)
	}
	out, in := j.Ports(t, "k8s-synth:playback"), j.Ports(t, "k8s-synth:capture")
	if len(out) < 2*n || len(in) != 2*n {
		t.Fatalf("the device's ports are %v and %v", out, in)
	}
	for k, g := range gear {
		j.Connect(t, out[k], g.CV[0])
		j.Connect(t, g.Audio[0], in[k])
		j.Connect(t, g.Truth[0], in[n+k])
	}
	s.plugged.Store(true)
	select {
	case <-s.left:
	case <-time.After(40 * time.Second):
		t.Fatalf("not done: %+v", d.Stats())
	}
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "gear\tV\tequal Hz\tbent cent\theard Hz\toff cent\t± cent\t")
	for k, g := range gear {
		f := &s.flights[k]
		for i, v := range s.volts {
			got, equal := f.heard[i], c4*math.Exp2(v)
			want := c4 * math.Exp2(f.truth[i])
			e := cents(got.Hertz, want)
			fmt.Fprintf(tw, "%s\t%g\t%.3f\t%+.2f\t%.4f\t%+.4f\t%.4f\t\n", g.Name, v, equal, cents(want, equal), got.Hertz, e, got.StandardError)
			if !got.Found() || math.Abs(e) > 0.05 || k == 0 && math.Abs(got.Hertz-equal) > 0.001 {
				t.Errorf("%s at %g V: %v, want %.5f Hz", g.Name, v, got, want)
			}
		}
	}
	tw.Flush()
	st := d.Stats()
	t.Logf("%d underruns, %d and %d windows heard again\n%s", st.Underruns, s.flights[0].again, s.flights[1].again, text.String())
}
