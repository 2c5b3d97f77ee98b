package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/k8s-synth/k8s-synth/hardware"
	"github.com/k8s-synth/k8s-synth/hardware/calibration"
)

// TestCalibrateMeter: a player types what the meter shows, slips, takes one
// back, and play finds the result.
func TestCalibrateMeter(t *testing.T) {
	calibrating(t, strings.Replace(calibrationRig, "backend: jack", "backend: 'null'", 1))
	state := t.TempDir()
	args := []string{"meter", "--jack", "cv", "--levels", "5", "--state-dir", state}
	shows := func(v float64) string { return fmt.Sprintf("%.3f", 0.012+0.98*v) }
	var typed []string
	for _, v := range []float64{0, -5, 5} {
		typed = append(typed, shows(v))
	}
	typed = append(typed, "what?", "9822 V", "u", shows(5), strings.Replace(shows(-10), ".", ",", 1), fmt.Sprintf("%.0f mV", 1000*(0.012+9.8)))
	// With the calibration in place the meter shows what is wanted.
	typed = append(typed, "-6.000", "0.001", "s")
	out, remarks, err := calibrateWith(t.Context(), strings.Join(typed, "\n"), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, remarks)
	}
	t.Logf("%s%s", remarks, out)
	for _, want := range []string{"limits -10 to 10 V", "5 levels from -10 to 10 V", `"what?" is no voltage`, "more than there is in a rack", "check 1 of 3", "kept in"} {
		if !strings.Contains(remarks+out, want) {
			t.Errorf("it does not say %q", want)
		}
	}
	d, err := calibrationStore().Open("virtual", "cv", calibration.Output, 4)
	if err != nil || d == nil {
		t.Fatal(d, err)
	}
	if math.Abs(d.Gain-1/0.98) > 0.001 || math.Abs(d.Offset+0.012/0.98) > 0.001 || d.FullScale != 10 || d.After.Worst > 2 {
		t.Errorf("%+v", d)
	}

	if out, _, err = calibrateWith(t.Context(), "", "show"); err != nil || !strings.Contains(out, "output 4") {
		t.Errorf("%s %v", out, err)
	}
	if out, _, err = calibrateWith(t.Context(), "", "show", "cv", "--json"); err != nil {
		t.Fatal(err)
	}
	var shown struct {
		Jack string  `json:"jack"`
		Gain float64 `json:"gain"`
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Jack != "cv" || shown.Gain != d.Gain {
		t.Errorf("%s %v", out, err)
	}
	if _, _, err = calibrateWith(t.Context(), "", "drift", "cv"); err == nil || !strings.Contains(err.Error(), "no calibration of cv before") {
		t.Error(err)
	}

	// Silent Way's text, out and in again; what was there before is in the drift.
	file, svg := filepath.Join(t.TempDir(), "siwa.txt"), filepath.Join(t.TempDir(), "drift.svg")
	if _, _, err = calibrateWith(t.Context(), "", "export", "cv", "-o", file); err != nil {
		t.Fatal(err)
	}
	if _, _, err = calibrateWith(t.Context(), "", "export", "cv", "-o", file); err == nil || !strings.Contains(err.Error(), "not overwritten") {
		t.Error(err)
	}
	if _, _, err = calibrateWith(t.Context(), "", "export", "cv", "-o", file, "--force"); err != nil {
		t.Error(err)
	}
	for flag, args := range map[string][]string{
		"--levels 0":      {"meter", "--jack", "cv", "--levels", "0", "--dry-run"},
		"--levels 501":    {"loop", "--jack", "cv", "--input", "listen", "--levels", "501", "--dry-run"},
		"--repeats -1":    {"loop", "--jack", "cv", "--input", "listen", "--repeats", "-1", "--dry-run"},
		"--step 0":        {"ear", "--jack", "cv", "--input", "listen", "--step", "0", "--dry-run"},
		"--passes 1":      {"ear", "--jack", "cv", "--input", "listen", "--passes", "1", "--dry-run"},
		"--aim NaN":       {"ear", "--jack", "cv", "--input", "listen", "--aim", "NaN", "--dry-run"},
		"--full-scale -1": {"export", "cv", "--full-scale", "-1"},
	} {
		if _, _, err = calibrateWith(t.Context(), "", args...); err == nil || !strings.Contains(err.Error(), flag) {
			t.Errorf("%s: %v", flag, err)
		}
	}
	if out, _, err = calibrateWith(t.Context(), "", "import", file, "--jack", "cv"); err != nil || !strings.Contains(out, "still holds") {
		t.Errorf("%s %v", out, err)
	}
	if out, _, err = calibrateWith(t.Context(), "", "drift", "cv", "-o", svg); err != nil || !strings.Contains(out, "worst +0.00") && !strings.Contains(out, "worst -0.00") {
		t.Errorf("%s %v", out, err)
	}
	if text, err := os.ReadFile(svg); err != nil || !strings.Contains(string(text), "drift since") {
		t.Errorf("%s %v", text, err)
	}
	if again, err := calibrationStore().Open("virtual", "cv", calibration.Output, 4); err != nil || math.Abs(again.Gain-d.Gain) > 1e-5 || again.Method != calibration.MethodImported {
		t.Errorf("%+v %v", again, err)
	}
	if out, _, err = calibrateWith(t.Context(), "", "schema"); err != nil || !json.Valid([]byte(out)) {
		t.Error(err)
	}
}

// TestCalibrateKeepsNothingHalfDone: interrupted, left by its player, or for
// want of a device, a calibration leaves no file.
func TestCalibrateKeepsNothingHalfDone(t *testing.T) {
	dir := calibrating(t, strings.Replace(calibrationRig, "backend: jack", "backend: 'null'", 1))
	state := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 1200*time.Millisecond)
	defer cancel()
	_, _, err := calibrateWith(ctx, "", "ear", "--jack", "vco", "--input", "listen", "--state-dir", state)
	if err == nil || !strings.Contains(err.Error(), "interrupted: the voltages are at rest, and nothing was kept") {
		t.Error(err)
	}
	if _, _, err = calibrateWith(t.Context(), "0.01\n", "meter", "--jack", "cv", "--state-dir", state); err == nil || !strings.Contains(err.Error(), "nobody who answers; nothing was kept") {
		t.Error(err)
	}
	if _, _, err = calibrateWith(t.Context(), "", "loop", "--jack", "cv", "--input", "back", "--state-dir", state, "--levels", "5"); err == nil || !strings.Contains(err.Error(), "does not arrive at the input") {
		t.Error(err)
	}
	if files, _ := filepath.Glob(filepath.Join(dir, "k8s-synth", "calibrations", "*", "*")); len(files) > 0 {
		t.Errorf("there is %v", files)
	}
}

// TestCalibrateSaysBeforeItSends: a dry run sends nothing, what may hurt is
// asked, and a device that plays is left alone.
func TestCalibrateSaysBeforeItSends(t *testing.T) {
	calibrating(t, strings.Replace(strings.Replace(calibrationRig, "backend: jack", "backend: 'null'", 1), "{jack: back, channel: 3}", "{jack: back, channel: 3, full_scale: 2.88}", 1))
	state := t.TempDir()
	_, say, err := calibrateWith(t.Context(), "", "ear", "--jack", "vco", "--input", "listen", "--from", "C2", "--to", "C7", "--dry-run")
	for _, want := range []string{"output vco, channel 3 of another program", "notes C2 to C7: about -2.000 to 3.000 V", "dry run: nothing was sent", "output-03-vco.yaml"} {
		if err != nil || !strings.Contains(say, want) {
			t.Errorf("%v: no %q in\n%s", err, want, say)
		}
	}
	_, say, err = calibrateWith(t.Context(), "", "loop", "--jack", "cv", "--input", "back", "--state-dir", state)
	if err == nil || !strings.Contains(err.Error(), "--yes") || !strings.Contains(say, "up to 10 V are sent, and the input takes ±2.88 V") {
		t.Errorf("%v\n%s", err, say)
	}
	for want, args := range map[string][]string{
		"name the output with --jack":  {"ear", "--jack", "vco"},
		`no output "bass"`:             {"ear", "--jack", "bass", "--input", "listen"},
		"--from: note \"H2\"":          {"ear", "--jack", "vco", "--input", "listen", "--from", "H2", "--to", "C4"},
		"not below":                    {"ear", "--jack", "vco", "--input", "listen", "--from", "C9", "--to", "C2", "--dry-run"},
		"--from 8 and --to -8":         {"meter", "--jack", "vco", "--from", "8", "--to", "-8", "--dry-run"},
		"--from -40 and --to 40":       {"loop", "--jack", "vco", "--input", "listen", "--from", "-40", "--to", "40", "--dry-run"},
		"go together":                  {"ear", "--jack", "vco", "--input", "listen", "--from", "C2"},
		"--calibrate is output or":     {"loop", "--jack", "cv", "--input", "back", "--calibrate", "both"},
		"name an output with --jack, ": {"meter"},
		"no calibration of \"cv\"":     {"export", "cv"},
		"name one file":                {"import"},
	} {
		if _, _, err := calibrateWith(t.Context(), "", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %s", args, err, want)
		}
	}

	// Somebody plays.
	l, err := net.Listen("unix", socketPath(state))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(playStatus{PID: 4711, Case: &caseStatus{Rig: "default"}, Audio: hardware.Stats{Device: "ES-8", Backend: "alsa"}})
	})}
	go func() { _ = s.Serve(l) }()
	defer s.Close()
	if _, _, err = calibrateWith(t.Context(), "", "meter", "--jack", "cv", "--state-dir", state); err == nil || !strings.Contains(err.Error(), "the device is busy: the instrument plays (process 4711, ES-8 on alsa)") {
		t.Error(err)
	}
}

func TestParseReading(t *testing.T) {
	for text, want := range map[string]float64{"1.024": 1.024, " -2,5 V ": -2.5, "1024 mV": 1.024, "−0.5v": -0.5, "+3": 3, "512mV": 0.512} {
		if got, err := parseReading(text); err != nil || math.Abs(got-want) > 1e-12 {
			t.Errorf("%q is %g, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "V", "one", "NaN", "inf", "1.2.3", "1 A"} {
		if got, err := parseReading(text); err == nil {
			t.Errorf("%q is %g", text, got)
		}
	}
}
