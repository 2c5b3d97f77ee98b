package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8s-synth/k8s-synth/hardware/sense"
)

// senseOf asks for a report that is served as the instrument does it.
func senseOf(t *testing.T, r *sense.Report, args ...string) (string, error) {
	t.Helper()
	dir, err := os.MkdirTemp("", "sense") // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	l, err := net.Listen("unix", filepath.Join(dir, "play.sock"))
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /sense", func(w http.ResponseWriter, _ *http.Request) {
		if r == nil {
			http.Error(w, "the instrument plays without a rig", http.StatusConflict)
			return
		}
		_ = json.NewEncoder(w).Encode(r)
	})
	srv := &http.Server{Handler: mux}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	var out bytes.Buffer
	c := senseCommand()
	c.SetArgs(append([]string{"--state-dir", dir}, args...))
	c.SetOut(&out)
	c.SilenceErrors, c.SilenceUsage = true, true
	err = c.ExecuteContext(t.Context())
	return out.String(), err
}

func TestSensePicture(t *testing.T) {
	s, err := sense.NewSensor(sense.Config{Rate: 48000, Outputs: make([]sense.Output, 16), Inputs: make([]string, 16)})
	if err != nil {
		t.Fatal(err)
	}
	r := s.Report() // of a real one, with what a case would have
	for i := range r.Outputs {
		r.Outputs[i].Name = fmt.Sprintf("cv %d", i+1)
		r.Inputs[i].Name = fmt.Sprintf("eingang %d", i+1)
	}
	r.Cables = []sense.Cable{
		{Output: "cv 3", Input: "eingang 16", Polarity: -1, Gain: 0.987, Offset: -0.02, Coupling: "dc", SNR: 38, Since: 0},
		{Output: "cv 1", Input: "eingang 2", Polarity: 1, Gain: 0.5, SNR: 30, Since: 48000},
		{Output: "cv 2", Input: "eingang 2", Polarity: 1, Gain: 0.5, SNR: 30, Since: 48000},
	}
	r.Mixed = []sense.Group{{Jack: "eingang 2", With: []string{"cv 1", "cv 2"}}}
	r.Inputs[4].Foreign = true
	r.Stats.Latency, r.Stats.Frames = 512, 96000
	text, err := senseOf(t, &r)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(text, "\n")
	if len(lines) < 38 {
		t.Fatalf("%d lines:\n%s", len(lines), text)
	}
	dot := "  ·"
	for i, want := range map[int]string{
		1: "cv 1  " + dot + "  ●" + strings.Repeat(dot, 14),
		3: "cv 3  " + strings.Repeat(dot, 15) + "  ○",
		4: "cv 4  " + strings.Repeat(dot, 16),
	} {
		if lines[i] != want {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	for _, want := range []string{"a mix of cv 1, cv 2", "not ours", "cv 3 > eingang 16  0.987", "inverted", "round trip 512 frames (10.7 ms)"} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	t.Logf("\n%s", text)
	text, err = senseOf(t, &r, "--json")
	var back sense.Report
	if err != nil || json.Unmarshal([]byte(text), &back) != nil || fmt.Sprint(back) != fmt.Sprint(r) {
		t.Errorf("%v, %s", err, text)
	}
	if _, err := senseOf(t, nil); err == nil || !strings.Contains(err.Error(), "without a rig") {
		t.Errorf("without a rig: %v", err)
	}
}
