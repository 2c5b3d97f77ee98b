package main

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
	"github.com/k8s-synth/k8s-synth/hardware/rig"
)

// steadyVolts renders the same on every output.
type steadyVolts float32

func (v steadyVolts) Render(out, _ [][]float32) {
	for _, o := range out {
		for i := range o {
			o[i] = float32(v)
		}
	}
}

// offBy keeps the calibration of an output of calibrationRig that is off by
// some volts, and returns its path.
func offBy(t *testing.T, jack string, channel int, offset float64, change func(d *calibration.Document)) string {
	t.Helper()
	nan := math.NaN()
	d := &calibration.Document{Method: calibration.MethodMeter, Offset: offset, Gain: 1,
		Before: calibration.Residual{Worst: nan, RMS: nan}, After: calibration.Residual{Worst: nan, RMS: nan}}
	d.Stamp("virtual", jack, channel, 10, "box", time.Now())
	path := calibrationStore().Path(d)
	if change != nil {
		change(d)
	}
	if err := d.Save(path); err != nil {
		t.Fatal(err)
	}
	return path
}

// A calibration that is made, spoilt, mended or taken away while a case plays is
// taken over without a step, or refused with a reason while the one before stays.
func TestCalibrationWhileItPlays(t *testing.T) {
	calibrating(t, strings.Replace(calibrationRig, "backend: jack", "backend: 'null'", 1))
	r, err := openRig("")
	if err != nil {
		t.Fatal(err)
	}
	quiet := slog.New(slog.DiscardHandler)
	box, err := rig.NewCase(r, 48000, quiet)
	if err != nil {
		t.Fatal(err)
	}
	const volts = 1.5
	d, err := hardware.Open(context.Background(), r.Device.Settings(hardware.Settings{Backend: "null", Rate: 48000, Converter: box, Logger: quiet, Priority: -1}), steadyVolts(volts))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	wav := filepath.Join(t.TempDir(), "played.wav")
	if err := errors.Join(d.Record(wav), d.Start()); err != nil {
		t.Fatal(err)
	}
	// passed lets frames pass, so that each state is heard.
	passed := func() {
		t.Helper()
		for from, end := d.Stats().Frames, time.Now().Add(10*time.Second); d.Stats().Frames < from+9600; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatal("nothing is rendered")
			}
		}
	}
	c := newCalibrations(box, calibrationStore())
	look := func(whole bool, wants ...string) {
		t.Helper()
		news := c.look(whole, nil)
		if len(news) != min(len(wants), 1) {
			t.Fatalf("told %v, want %q", news, wants)
		}
		for _, want := range wants {
			text := news[0].text
			if news[0].err != nil {
				text = "refused: " + news[0].err.Error()
			}
			if !strings.Contains(text, want) {
				t.Errorf("told %q, want %q", text, want)
			}
		}
		passed()
	}
	status := func(method, refused string) {
		t.Helper()
		s := c.status("vco")
		if s == nil {
			s = &calibrationStatus{}
		}
		if s.Method != method || (s.Refused != "") != (refused != "") || !strings.Contains(s.Refused, refused) {
			t.Errorf("the status is %+v, want %q and %q", s, method, refused)
		}
	}
	look(true)
	status("", "")
	path := offBy(t, "vco", 3, 0.5, nil)
	look(false) // it may be half written
	look(false, "corrected as calibrated by meter")
	look(false)
	status("meter", "")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(good[:len(good)/2])
	look(false)
	look(false, "refused: calibration of vco", path, "by meter", "stays in use")
	look(false)
	status("meter", path)
	// One of another jack, and one of another kind of oscillator.
	other := offBy(t, "cv", 4, 0.7, nil)
	text, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	write(text)
	look(true, "refused: ", "calibration of another channel", "it is of cv, output 4 of virtual, and here is vco, output 3", "stays in use")
	offBy(t, "vco", 3, 0.9, func(d *calibration.Document) {
		d.Method, d.Standard = calibration.MethodEar, calibration.Standard{Kind: calibration.HertzPerVolt}
	})
	look(true, "refused: ", "an oscillator of Hz/V", "stays in use")
	status("meter", "Hz/V")
	offBy(t, "vco", 3, 0.2, func(d *calibration.Document) { d.Method = calibration.MethodLoop })
	look(true, "corrected as calibrated by loop", "no longer by meter")
	status("loop", "")
	// A folder that is away is not a file that was taken away.
	if err := os.Rename(calibrationStore().Dir, calibrationStore().Dir+".away"); err != nil {
		t.Fatal(err)
	}
	look(true)
	status("loop", "")
	if err := os.Rename(calibrationStore().Dir+".away", calibrationStore().Dir); err != nil {
		t.Fatal(err)
	}
	look(true)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	look(true, "taken away")
	status("", "")
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}

	// What was heard: each of them in turn, without a step.
	w, err := hardware.ReadWAV(wav)
	if err != nil {
		t.Fatal(err)
	}
	sent := w.Channels[2]
	var heard []float64
	steepest, same := 0.0, 0
	for i := 4800; i < len(sent)-4800; i++ {
		d := math.Abs(float64(sent[i])-float64(sent[i-1])) * 10
		steepest = max(steepest, d)
		if same++; d > 1e-6 {
			same = 0
		}
		if v := math.Round(float64(sent[i])*1e4) / 1e3; same == 2400 && (len(heard) == 0 || heard[len(heard)-1] != v) {
			heard = append(heard, v)
		}
	}
	if want := []float64{volts, volts + 0.5, volts + 0.2, volts}; !slices.Equal(heard, want) {
		t.Errorf("heard were %v V, want %v", heard, want)
	}
	if most := 0.5 / (0.03 * 48000); steepest > 1.02*most {
		t.Errorf("it moves by %g V a frame, and half a volt in 30 ms is %g", steepest, most)
	}
	t.Logf("heard %v V, at most %.3g V a frame", heard, steepest)
}

// Whoever keeps a calibration is told what the instrument that plays does with it.
func TestCalibrateTellsWhoPlays(t *testing.T) {
	calibrating(t, strings.Replace(calibrationRig, "backend: jack", "backend: 'null'", 1))
	state, err := os.MkdirTemp("", "calibrated") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(state)
	file := filepath.Join(t.TempDir(), "siwa.txt")
	path := offBy(t, "vco", 3, 0.25, nil)
	if _, _, err := calibrateWith(t.Context(), "", "export", "vco", "-o", file); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	imported := func(jack string) string {
		t.Helper()
		out, say, err := calibrateWith(t.Context(), "", "import", file, "--jack", jack, "--state-dir", state)
		if err != nil || !strings.Contains(out, "kept in") {
			t.Errorf("%v: %s%s", err, out, say)
		}
		return say
	}
	if say := imported("vco"); say != "" {
		t.Errorf("nobody plays, and it says %q", say)
	}
	r, err := openRig("")
	if err != nil {
		t.Fatal(err)
	}
	box, err := rig.NewCase(r, 48000, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	p := &player{log: slog.New(slog.NewTextHandler(&log, nil)), calls: make(chan func(), 4), ended: make(chan struct{}), box: box, corrected: newCalibrations(box, calibrationStore())}
	p.corrected.look(true, nil)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case f := <-p.calls:
				f()
			case <-p.ended:
				return
			}
		}
	}()
	defer func() { close(p.ended); <-done }()
	l, err := net.Listen("unix", socketPath(state))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /calibrated", p.serveCalibrated)
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	for _, jack := range []string{"vco", "cv"} {
		if say := imported(jack); !strings.Contains(say, "the instrument plays: "+jack+" is corrected by it from now on") {
			t.Errorf("%s: it says %q", jack, say)
		}
		if s := p.corrected.status(jack); s == nil || s.Method != calibration.MethodImported {
			t.Errorf("%s: the status is %+v", jack, s)
		}
		if !strings.Contains(log.String(), "jack="+jack) {
			t.Errorf("the log says %q", log.String())
		}
	}
	// What another hand is writing at the time is not looked at, nor is what an editor renames.
	cv := calibrationStore().Path(&calibration.Document{Interface: "virtual", Jack: "cv", Direction: calibration.Output, Channel: 4})
	for _, by := range []struct {
		what  string
		write func() error
	}{
		{"half", func() error { return os.WriteFile(cv, []byte("version: "), 0o644) }},
		{"renamed", func() error { return os.Remove(cv) }},
	} {
		if err := by.write(); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if say := imported("vco"); !strings.Contains(say, "vco is corrected") {
				t.Errorf("it says %q", say)
			}
		}
		if s := p.corrected.status("cv"); s == nil || s.Method != calibration.MethodImported || s.Refused != "" {
			t.Errorf("%s: the status of the other jack is %+v", by.what, s)
		}
	}
	// One whose jack it does not have is no matter of its.
	p.corrected.jacks = p.corrected.jacks[1:]
	if say := imported("vco"); say != "" {
		t.Errorf("it plays another rig, and it says %q", say)
	}
}
