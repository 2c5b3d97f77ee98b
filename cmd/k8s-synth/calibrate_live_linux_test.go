package main

import (
	"bytes"
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/oscillator"
)

// calibrationRig is a machine with an oscillator on an output, its sound on an
// input, and on a second input, which only the judge reads, what it plays in
// truth.
const calibrationRig = `version: 1
name: default
interface: virtual
device: {backend: jack, playback: 4, capture_channels: 4}
speakers: [1]
outputs:
  - {jack: vco, channel: 3, role: pitch}
  - {jack: cv, channel: 4}
inputs:
  - {jack: listen, channel: 1, role: audio}
  - {jack: truth, channel: 2}
  - {jack: back, channel: 3}
`

// calibrating makes a machine with that rig, whose files end with the test.
func calibrating(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", dir)
	path := rigLibrary().Path(defaultRig)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// calibrateWith runs the command with what a player types.
func calibrateWith(ctx context.Context, typed string, args ...string) (out, errors string, err error) {
	c := calibrateCommand()
	c.SilenceErrors, c.SilenceUsage = true, true
	var o, e bytes.Buffer
	c.SetArgs(args)
	c.SetIn(strings.NewReader(typed))
	c.SetOut(&o)
	c.SetErr(&e)
	err = c.ExecuteContext(ctx)
	return o.String(), e.String(), err
}

// wire plugs cables as soon as the instrument's ports are there.
func wire(t *testing.T, j *oscillator.JACK, cables func(out, in []string) [][2]string) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ports := j.Ports(t, "k8s-synth:")
		var out, in []string
		for _, p := range ports {
			if strings.Contains(p, ":playback") {
				out = append(out, p)
			} else if strings.Contains(p, ":capture") {
				in = append(in, p)
			}
		}
		if len(out) < 4 || len(in) < 4 {
			continue
		}
		for _, c := range cables(out, in) {
			j.Connect(t, c[0], c[1])
		}
		return
	}
	t.Fatalf("the instrument has no ports: %v", j.Ports(t, ""))
}

// TestProofCalibrateByEar runs the command on oscillators that are other
// programs, bent by means of their own, and lets what they say of themselves
// judge; K8S_SYNTH_PROOF=1.
func TestProofCalibrateByEar(t *testing.T) {
	if os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("runs with K8S_SYNTH_PROOF=1")
	}
	step := os.Getenv("K8S_SYNTH_STEP")
	if step == "" {
		step = "1"
	}
	for name, begin := range map[string]func(testing.TB, oscillator.Options) *oscillator.Gear{
		"Pure Data": oscillator.StartPureData, "scsynth": oscillator.StartSuperCollider,
	} {
		t.Run(name, func(t *testing.T) {
			j := oscillator.StartJACK(t)
			g := begin(t, oscillator.Options{Name: "gear", Voices: 1, Seed: 7})
			calibrating(t, calibrationRig)
			cables := func(out, in []string) [][2]string {
				return [][2]string{{out[2], g.CV[0]}, {g.Audio[0], in[0]}, {g.Truth[0], in[1]}}
			}
			svg := filepath.Join(t.TempDir(), "ear.svg")
			done := make(chan error, 1)
			var said, remarks string
			go func() {
				var err error
				said, remarks, err = calibrateWith(t.Context(), "", "ear", "--jack", "vco", "--input", "listen", "--step", step, "-o", svg, "--state-dir", t.TempDir(), "--yes")
				done <- err
			}()
			wire(t, j, cables)
			if err := <-done; err != nil {
				t.Fatalf("%v\n%s", err, remarks)
			}
			t.Logf("%s%s", remarks, said)
			d, err := calibrationStore().Open("virtual", "vco", calibration.Output, 3)
			if err != nil || d == nil {
				t.Fatal(d, err)
			}
			judgeCalibration(t, d, func() { wire(t, j, cables) })
		})
	}
}

// judgeCalibration plays the notes with the calibration and compares with what
// the oscillator says that it plays.
func judgeCalibration(t *testing.T, d *calibration.Document, plug func()) {
	o := benchOptions{output: "vco", input: "truth"}
	r, output, input, err := o.plan()
	if err != nil {
		t.Fatal(err)
	}
	b, err := openBench(t.Context(), r, output, input, o, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	plug()
	curve, err := d.CurveFor(output.FullScale)
	if err != nil {
		t.Fatal(err)
	}
	var raw bool
	hear := func(note int) (cents, at float64) {
		v := float32(d.Standard.VoltsOf(float64(note)))
		if !raw {
			v = curve.Correct(v)
		}
		if err := b.Set(t.Context(), float64(v)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := b.Listen(t.Context(), 0.1); err != nil {
			t.Fatal(err)
		}
		x, at, err := b.Listen(t.Context(), 0.05)
		if err != nil {
			t.Fatal(err)
		}
		sum := 0.0
		for _, v := range x {
			sum += float64(v)
		}
		return 1200*sum/float64(len(x)) - 100*float64(note+d.Transpose-60), at
	}
	first, last := d.Table[0].Note, d.Table[len(d.Table)-1].Note
	middle := (first + last) / 2
	for _, raw = range []bool{false, true} { // the calibration first: it is of the moment when it ended
		base, began := hear(middle)
		var errs []float64
		var drift float64
		for k, row := range d.Table {
			e, _ := hear(row.Note)
			if k%4 == 0 { // it goes on drifting while it is judged
				now, _ := hear(middle)
				drift = now - base
			}
			errs = append(errs, e-drift)
		}
		_, ended := hear(middle)
		lo, hi := slices.Min(errs), slices.Max(errs)
		what := "with the calibration"
		if raw {
			what = "without"
		}
		t.Logf("judged %s: %s to %s, worst %.3f cents; common %+.3f, from note to note %.3f; drift %.2f cents in %.0f s", what,
			calibration.NoteName(first), calibration.NoteName(last), max(hi, -lo), (hi+lo)/2, (hi-lo)/2, drift, ended-began)
		if raw {
			continue
		}
		if (hi-lo)/2 > 0.5 {
			t.Errorf("notes are %.3f cents off each other", (hi-lo)/2)
		}
		if math.Abs(base) > 1 { // some seconds of 3.4 cents a minute
			t.Errorf("the middle was %.3f cents off as it began", base)
		}
	}
}

// TestEndToEndCalibrateByLoop: a cable of JACK's from an output to an input whose
// profile says 3 % less than the output's.
func TestEndToEndCalibrateByLoop(t *testing.T) {
	if os.Getenv("K8S_SYNTH_E2E") != "1" && os.Getenv("K8S_SYNTH_PROOF") != "1" {
		t.Skip("runs with K8S_SYNTH_E2E=1 or K8S_SYNTH_PROOF=1")
	}
	j := oscillator.StartJACK(t)
	calibrating(t, strings.Replace(calibrationRig, "{jack: cv, channel: 4}", "{jack: cv, channel: 4, full_scale: 10.3}", 1))
	for _, side := range []string{"output", "input"} {
		var said, remarks string
		// The command looks for the cable half a second after its ports are there. One
		// that is laid later than that is laid again.
		for try := 1; ; try++ {
			done := make(chan error, 1)
			go func() {
				var err error
				said, remarks, err = calibrateWith(t.Context(), "", "loop", "--jack", "cv", "--input", "back", "--calibrate", side, "--from", "-8", "--to", "8", "--levels", "9", "--repeats", "1", "--state-dir", t.TempDir(), "--yes")
				done <- err
			}()
			wire(t, j, func(out, in []string) [][2]string { return [][2]string{{out[3], in[2]}} })
			err := <-done
			if err == nil {
				break
			}
			late := strings.Contains(err.Error(), "does not arrive at the input") || strings.Contains(err.Error(), "the loop has a gain of 0;")
			if !late || try == 3 {
				t.Fatalf("%v\n%s", err, remarks)
			}
		}
		t.Logf("%s%s", remarks, said)
		direction, jack, channel, gain := calibration.Output, "cv", 4, 1.03
		if side == "input" {
			// The output is the reference, and was calibrated a moment ago: the input is as it should be.
			direction, jack, channel, gain = calibration.Input, "back", 3, 1
		}
		d, err := calibrationStore().Open("virtual", jack, direction, channel)
		if err != nil || d == nil {
			t.Fatal(d, err)
		}
		if math.Abs(d.Gain-gain) > 1e-6 || math.Abs(d.Offset) > 1e-6 || d.After.Worst > 0.01 || len(d.LeftOut) > 0 {
			t.Errorf("%s: gain %.7f, offset %g, after %g, left out %v", side, d.Gain, d.Offset, d.After.Worst, d.LeftOut)
		}
	}
}
